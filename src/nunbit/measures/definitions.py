"""What each measure is: formula, unit, validity, meaning, source and grade, in two languages.

The texts are data (``definitions.toml``) that the command line, the report and the documentation
share. A name found in a table may carry a suffix: a part of the session (``_speaking``), a
functional (``.sd``) or a comparison with the baseline (``.z``); :func:`definition_of` knows them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import msgspec

from nunbit.labels import DEPRESSION_RELATED, LabelSet
from nunbit.measures.roles import Role, roles_of
from nunbit.streams import Grade, Modality, Scope

SCOPES: tuple[Scope, ...] = ("window", "turn", "question", "session")
FUNCTIONALS = ("mean", "sd", "median", "p20", "p80", "slope")
"""Of the window values over the session; ``slope`` per minute."""

SUFFIXES = ("_speaking", "_not_speaking")

GROUP_SUM = "depgroup_share"


@dataclass(frozen=True, slots=True)
class Definition:
    """One measure.

    Attributes:
        id: Name in every file.
        number: Of the measure in the list of twenty; None for what is not on it.
        name_en: Short name.
        name_ko: The same in Korean.
        formula: Plain text.
        unit: Of the value.
        valid_if_en: When there is a value.
        valid_if_ko: The same in Korean.
        meaning_en: What it says, in plain words.
        meaning_ko: The same in Korean.
        source: Where formula or evidence come from.
        grade: Strength of evidence as a depression-related signal; None for context.
        modality: Where the value comes from.
        needs: Parts of the classes it needs.
        split: Whether it is also given for speaking and not speaking.
        functionals: Whether its window values are summed up over the session.
        experimental: Kept out of summaries unless asked for.
        version: Goes up when the formula changes.
        scopes: What it is computed for; every one has rows, valid or not.
        classes: Label ids that play the needed parts, where a label set was given.
        stand_in_for: Label ids they stand in for, where the label set lacks these.
    """

    id: str
    number: int | None
    name_en: str
    name_ko: str
    formula: str
    unit: str
    valid_if_en: str
    valid_if_ko: str
    meaning_en: str
    meaning_ko: str
    source: str
    grade: Grade | None
    modality: Modality
    needs: tuple[Role, ...] = ()
    split: bool = False
    functionals: bool = False
    experimental: bool = False
    version: str = "1"
    scopes: tuple[Scope, ...] = SCOPES
    classes: tuple[str, ...] = ()
    stand_in_for: tuple[str, ...] = ()

    def name(self, lang: str) -> str:
        """Short name, ``ko`` or ``en``."""
        return self.name_ko if lang == "ko" else self.name_en

    def valid_if(self, lang: str) -> str:
        """When there is a value."""
        return self.valid_if_ko if lang == "ko" else self.valid_if_en

    def meaning(self, lang: str) -> str:
        """What it says, in plain words."""
        return self.meaning_ko if lang == "ko" else self.meaning_en


def definitions(label_set: LabelSet | None = None) -> tuple[Definition, ...]:
    """All measures, in the order of tables.

    Args:
        label_set: Fills in which classes play the needed parts, and what they stand in for.
    """
    if label_set is None:
        return _read()
    roles = roles_of(label_set.ids, label_set=label_set)
    filled = []
    for definition in _read():
        wanted = {label for role in definition.needs for label in roles.parts[role].ids}
        if definition.id == GROUP_SUM and (group := label_set.groups.get(DEPRESSION_RELATED)):
            members = [label_set.labels[label_set.index(label)] for label in group.labels]
            definition = replace(
                definition,
                name_en=sum_name([label.en for label in members], "en"),
                name_ko=sum_name([label.ko for label in members], "ko"),
            )
        filled.append(
            replace(
                definition,
                classes=tuple(label for label in label_set.ids if label in wanted),
                stand_in_for=roles.stand_in_for if "depgroup" in definition.needs else (),
            )
        )
    return tuple(filled)


def sum_name(members: Sequence[str], lang: str) -> str:
    """What people call the sum of the paper's group, by the classes a model has of it."""
    return f"{'·'.join(members)} 확률의 합" if lang == "ko" else f"sum of {', '.join(members)}"


def definition_of(measure: str) -> Definition | None:
    """The definition behind a name in a table; None for class probabilities and unknown names."""
    base = measure.split(".")[0]
    table = _by_id()
    if base in table:
        return table[base]
    for suffix in reversed(SUFFIXES):  # the longer one first
        if base.endswith(suffix):
            return table.get(base.removesuffix(suffix))
    return None


@cache
def _read() -> tuple[Definition, ...]:
    source = resources.files("nunbit") / "measures" / "definitions.toml"
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    rows = [{"number": None, "grade": None, **row} for row in document["measures"]]
    # TOML has no null: '' is the grade of what is no depression-related signal.
    rows = [row | {"grade": row["grade"] or None} for row in rows]
    return tuple(msgspec.convert(rows, list[Definition]))


@cache
def _by_id() -> dict[str, Definition]:
    return {definition.id: definition for definition in _read()}
