"""Descriptions of faces that training never uses: they test whether a model understands texts.

A model that only knows its templates has seven fixed vectors; a model whose text tower carries
meaning also recognises 침울한 얼굴. The texts are frozen.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nunbit.core.messages import InputError, Lang, Text
from nunbit.language.labels import LabelSet, load_label_set

_FOLDER = Path(__file__).parent / "data" / "paraphrases"
_SHARED_FROM = "fer7"


@dataclass(frozen=True, slots=True)
class Paraphrases:
    """Paraphrases of the K labels of a set.

    Attributes:
        label_set: The K classes.
        ko: Label id -> Korean texts, in the label set's order.
        en: Label id -> English texts, in the label set's order.
        sha256: Of all texts, to be stated with every figure measured on them.
    """

    label_set: LabelSet
    ko: dict[str, tuple[str, ...]]
    en: dict[str, tuple[str, ...]]
    sha256: str

    def texts(self, lang: Lang) -> tuple[tuple[str, str], ...]:
        """Every text with its label id, in the label set's order."""
        by_label: dict[str, tuple[str, ...]] = getattr(self, lang)
        return tuple((label, text) for label, texts in by_label.items() for text in texts)


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    ko: tuple[str, ...]
    en: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    labels: tuple[_Entry, ...]
    same_as_fer7: tuple[str, ...] = ()


def paraphrase_set_names() -> tuple[str, ...]:
    """Names of the label sets that have paraphrases, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_paraphrases(label_set_name: str) -> Paraphrases:
    """Read the paraphrases of a label set of the package.

    Raises:
        InputError: There are none for this label set.
    """
    if label_set_name not in paraphrase_set_names():
        known = ", ".join(paraphrase_set_names())
        raise InputError(
            Text(
                f"no paraphrases for label set '{label_set_name}'; there are: {known}",
                f"레이블 집합 '{label_set_name}'의 바꿔 쓴 문장이 없습니다. 있는 것: {known}",
            )
        )
    label_set = load_label_set(label_set_name)
    entries = _entries(label_set_name)
    ko = {label: entries[label].ko for label in label_set.ids}
    en = {label: entries[label].en for label in label_set.ids}
    return Paraphrases(label_set, ko, en, hashlib.sha256(msgspec.json.encode([ko, en])).hexdigest())


def _entries(name: str) -> dict[str, _Entry]:
    file = msgspec.convert(tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8")), _File)
    entries = {entry.id: entry for entry in file.labels}
    if file.same_as_fer7:
        shared = _entries(_SHARED_FROM)
        entries |= {label: shared[label] for label in file.same_as_fer7}
    return entries
