"""What the measures are called and mean, in one language, from ``nunbit.measures``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from nunbit.errors import Lang
from nunbit.measures import SUFFIXES, definition_of, definitions
from nunbit.measures.definitions import Definition


@dataclass(frozen=True, slots=True)
class Meaning:
    """A measure as the report explains it.

    Attributes:
        id: Name in ``timeline.parquet``.
        name: What people call it.
        meaning: One or two plain sentences.
        formula: As printed by ``nunbit measures``.
        unit: Of the value.
        valid: When there is a value.
        source: Where the definition comes from.
        grade: A to C, or ''.
        experimental: Kept out of summaries.
    """

    id: str
    name: str
    meaning: str
    formula: str
    unit: str
    valid: str
    source: str
    grade: str
    experimental: bool


@cache
def meanings(lang: Lang) -> dict[str, Meaning]:
    """Every measure by its id, in the order of the definitions."""
    return {d.id: _meaning(d, lang) for d in definitions()}


def meaning_of(measure: str, lang: Lang) -> Meaning | None:
    """The meaning behind a name in a table, whatever its suffix; None for unknown names."""
    found = definition_of(measure)
    return None if found is None else meanings(lang)[found.id]


def parts_of(measure: str) -> tuple[str, str, str]:
    """A name in a table as base, part of the session and functional.

    ``expressivity_speaking`` gives ("expressivity", "speaking", ""), ``head_speed.sd`` gives
    ("head_speed", "", "sd").
    """
    name, _, functional = measure.partition(".")
    for suffix in reversed(SUFFIXES):  # the longer one first
        if name.endswith(suffix):
            return name.removesuffix(suffix), suffix.removeprefix("_"), functional
    return name, "", functional


def _meaning(d: Definition, lang: Lang) -> Meaning:
    return Meaning(
        d.id,
        d.name(lang),
        d.meaning(lang),
        d.formula,
        d.unit,
        d.valid_if(lang),
        d.source,
        d.grade or "",
        d.experimental,
    )
