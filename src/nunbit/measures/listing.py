"""The definitions as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nunbit.errors import Lang
from nunbit.measures.definitions import Definition


def definitions_text(found: Sequence[Definition], lang: Lang) -> str:
    """Every measure with formula, unit, validity, grade and source; a blank line between."""
    return "\n\n".join(_entry(definition, lang) for definition in found)


def definitions_document(found: Sequence[Definition]) -> list[dict[str, Any]]:
    """Plain data for ``--json``."""
    return [asdict(definition) for definition in found]


def _entry(d: Definition, lang: Lang) -> str:
    korean = lang == "ko"
    number = "" if d.number is None else f"#{d.number} "
    name = d.name_ko if korean else d.name_en
    marks = [] if d.grade is None else [f"{'등급' if korean else 'grade'} {d.grade}"]
    if d.experimental:
        marks.append("실험적" if korean else "experimental")
    lines = [
        f"{number}{d.id}: {name} [{d.modality}; {d.unit}{'; ' if marks else ''}{', '.join(marks)}]",
        f"  {d.meaning_ko if korean else d.meaning_en}",
        f"  {'식' if korean else 'formula'}: {d.formula}",
        f"  {'유효 조건' if korean else 'valid if'}: {d.valid_if_ko if korean else d.valid_if_en}",
    ]
    if d.stand_in_for:
        played, missing = ", ".join(d.classes), ", ".join(d.stand_in_for)
        lines.append(
            f"  {missing} 대신 {played}" if korean else f"  {played} stand in for {missing}"
        )
    lines.append(f"  {'출처' if korean else 'source'}: {d.source}")
    return "\n".join(lines)
