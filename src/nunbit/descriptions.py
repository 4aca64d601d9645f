"""Sentences that describe the faces of a class and may caption images in training.

Templates differ from class to class in one word; descriptions differ in all. With them the text
side learns what a face of a class looks like, in more words than the label's own. They are
disjoint from the paraphrases that test it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

from nunbit.errors import InputError
from nunbit.files import parse_toml
from nunbit.labels import LabelSet


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    ko: tuple[str, ...] = ()
    en: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    labels: tuple[_Entry, ...]


def load_descriptions(name_or_path: str, label_set: LabelSet) -> tuple[tuple[str, ...], ...]:
    """Read the descriptions of a label set by name or from a TOML file.

    Returns:
        K rows of equally many texts, Korean first, in the label set's order.

    Raises:
        InputError: No such file, it is no table of descriptions, a class is missing, or the
            classes have different numbers of texts.
    """
    source = resources.files("nunbit") / "data" / "descriptions" / f"{name_or_path}.toml"
    path = Path(name_or_path)
    try:
        inside = "/" not in name_or_path and source.is_file()
        text = (source if inside else path).read_text(encoding="utf-8")
        file = msgspec.convert(parse_toml(text), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise InputError(
            en=f"{name_or_path}: cannot read these descriptions: {exc}",
            ko=f"{name_or_path}: 설명 문장을 읽을 수 없습니다: {exc}",
        ) from exc
    found = {entry.id: entry.ko + entry.en for entry in file.labels}
    missing = [label for label in label_set.ids if not found.get(label)]
    if missing:
        names = ", ".join(missing)
        raise InputError(
            en=f"{name_or_path}: no descriptions of {names} in label set {label_set.name}",
            ko=f"{name_or_path}: 레이블 집합 {label_set.name}의 {names} 설명이 없습니다",
        )
    rows = tuple(found[label] for label in label_set.ids)
    if len({len(row) for row in rows}) > 1:
        counts = ", ".join(f"{k} {len(row)}" for k, row in zip(label_set.ids, rows, strict=True))
        raise InputError(
            en=f"{name_or_path}: every class needs as many descriptions as the others: {counts}",
            ko=f"{name_or_path}: 모든 클래스의 설명 수가 같아야 합니다: {counts}",
        )
    return rows
