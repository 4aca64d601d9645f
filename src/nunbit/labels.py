"""Label sets: ids, Korean and English names, valence and groups.

A label id (``joy``) is what files store; the Korean and English names are what people read. Sets
are TOML: ``aihub7``, ``fer7`` and ``dep2`` come with the package, a path gives the user's own.
Knows nothing of images, prompts or models.
"""

from __future__ import annotations

import tomllib
import unicodedata
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from nunbit.errors import InputError
from nunbit.files import parse_toml

DEPRESSION_RELATED = "depression_related"


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a label set.

    Attributes:
        id: Canonical id, ASCII, as files store it.
        ko: Korean name, a noun.
        en: English name.
        ko_adjective: Form that stands before a Korean noun (슬픈), or None.
        en_adjective: Form that stands before an English noun (sad), or None.
        valence: -1, 0 or 1.
        aliases: Other spellings that sources use.
        en_noun: English noun that fills prompts, where the name is none (neutral); else None.
    """

    id: str
    ko: str
    en: str
    ko_adjective: str | None = None
    en_adjective: str | None = None
    valence: int = 0
    aliases: tuple[str, ...] = ()
    en_noun: str | None = None

    def noun(self, lang: str) -> str:
        """What fills the gap of a prompt; models were trained with it, so it stays as it is."""
        return self.ko if lang == "ko" else self.en_noun or self.en

    def name(self, lang: str) -> str:
        """The name people read, ``ko`` or ``en``."""
        return self.ko if lang == "ko" else self.en


@dataclass(frozen=True, slots=True)
class Group:
    """A named union of labels.

    Attributes:
        labels: Member ids.
        stand_in_for: Ids of the grouping that this one replaces because the label set lacks some
            of its classes; empty where the grouping is the original.
    """

    labels: tuple[str, ...]
    stand_in_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The K classes of an experiment, in the order of every array and table.

    Attributes:
        name: ``aihub7``, ``fer7`` or the user's own.
        labels: K labels.
        groups: Named unions, for example ``depression_related``.
        ignored: Source spellings that mean "no usable label" and become null votes.
        merges: Name of a finer label set -> id of this set -> ids of the finer set that it joins.
    """

    name: str
    labels: tuple[Label, ...]
    groups: dict[str, Group]
    ignored: tuple[str, ...] = ()
    merges: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The K ids."""
        return tuple(label.id for label in self.labels)

    def names(self, lang: str) -> tuple[str, ...]:
        """The K names people read."""
        return tuple(label.name(lang) for label in self.labels)

    def index(self, label_id: str) -> int:
        """Position of an id; raises ``ValueError`` where there is none."""
        return self.ids.index(label_id)

    def find(self, spelling: str) -> str | None:
        """The id for an id, a name or an alias in any case; None for an ignored spelling.

        Raises:
            InputError: The spelling is unknown.
        """
        key = _key(spelling)
        table = _spellings(self.labels, self.ignored)
        if key not in table:
            known = ", ".join(self.ids)
            raise InputError(
                en=f"unknown label '{spelling}': label set {self.name} has {known}; "
                "map it with `aliases` in a label set TOML and pass --label-set FILE",
                ko=f"알 수 없는 레이블 '{spelling}': 레이블 집합 {self.name}에는 {known} 이(가) "
                "있습니다. 레이블 집합 TOML의 `aliases`에 적고 --label-set FILE로 주십시오",
            )
        return table[key]


def load_label_set(name_or_path: str) -> LabelSet:
    """Read a label set by name or from a TOML file.

    Raises:
        InputError: No such set or file, or the file does not describe a label set.
    """
    source = resources.files("nunbit") / "data" / "labels" / f"{name_or_path}.toml"
    if "/" not in name_or_path and source.is_file():
        return _parse(source.read_text(encoding="utf-8"), f"{name_or_path}.toml")
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(label_set_names())
        raise InputError(
            en=f"label set '{name_or_path}' is neither one of {known} nor a TOML file",
            ko=f"레이블 집합 '{name_or_path}'은(는) {known} 중 하나도, TOML 파일도 아닙니다",
        )
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            en=f"{path}: cannot read the label set: {exc}",
            ko=f"{path}: 레이블 집합을 읽을 수 없습니다: {exc}",
        ) from exc


def label_set_names() -> tuple[str, ...]:
    """Names of the label sets in the package, sorted."""
    folder = resources.files("nunbit") / "data" / "labels"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir()))


def label_set_to_dict(label_set: LabelSet) -> dict[str, Any]:
    """Plain data for a bundle or a data set's settings; ``label_set_from_dict`` reads it back."""
    plain: dict[str, Any] = msgspec.to_builtins(label_set)
    if not label_set.merges:
        del plain["merges"]
    return plain


def label_set_from_dict(document: dict[str, Any], where: str) -> LabelSet:
    """Read a label set from plain data, with the same checks as a file.

    Version 0.1 called the classes by the nouns of its prompts: they get today's names.

    Raises:
        InputError: ``where`` does not describe a label set.
    """
    label_set = _validated(document, where)
    if label_set.name not in label_set_names():
        return label_set
    today = {label.id: label for label in load_label_set(label_set.name).labels}
    renamed = tuple(
        replace(label, en=today[label.id].en, en_noun=label.en)
        if label.id in today and label.en == today[label.id].en_noun
        else label
        for label in label_set.labels
    )
    return replace(label_set, labels=renamed)


def merge_labels(base: LabelSet, merged: LabelSet) -> tuple[LabelSet, dict[str, str]]:
    """How data with the classes of ``base`` become data with those of ``merged``.

    Returns:
        ``merged`` for data of this origin (its groups name what they stand in for where those of
        ``base`` do, its ``merges`` keep only ``base``), and the new id of every id of ``base``.

    Raises:
        InputError: ``merged`` does not say what becomes of every class of ``base``.
    """
    table = merged.merges.get(base.name, {})
    new_id = {old: new for new, members in table.items() for old in members}
    lost = [label for label in base.ids if label not in new_id]
    if lost:
        raise InputError(
            en=f"label set {merged.name} does not say what becomes of {', '.join(lost)} of "
            f"{base.name}; add a table [merges.{base.name}] to its TOML file",
            ko=f"레이블 집합 {merged.name}에는 {base.name}의 {', '.join(lost)}을(를) 무엇으로 "
            f"합칠지 적혀 있지 않습니다. TOML 파일에 [merges.{base.name}] 표를 적으십시오",
        )
    groups = {
        name: replace(group, stand_in_for=base.groups[name].stand_in_for)
        if name in base.groups
        else group
        for name, group in merged.groups.items()
    }
    return replace(merged, groups=groups, merges={base.name: table}), new_id


@cache
def _spellings(labels: tuple[Label, ...], ignored: tuple[str, ...]) -> dict[str, str | None]:
    table: dict[str, str | None] = {_key(word): None for word in ignored}
    for label in labels:
        for word in (label.id, label.ko, label.en, label.noun("en"), *label.aliases):
            table[_key(word)] = label.id
    return table


def _key(spelling: str) -> str:
    # Folder names unpacked on macOS are NFD, and AI Hub's xlsx labels carry trailing blanks.
    return unicodedata.normalize("NFC", spelling).strip().casefold()


def _parse(text: str, where: str) -> LabelSet:
    try:
        document = parse_toml(text)
    except tomllib.TOMLDecodeError as exc:
        raise InputError(
            en=f"{where}: not valid TOML: {exc}", ko=f"{where}: TOML 형식이 아닙니다: {exc}"
        ) from exc
    document.setdefault("groups", {})
    return _validated(document, where)


def _validated(document: dict[str, Any], where: str) -> LabelSet:
    try:
        label_set = msgspec.convert(document, LabelSet)
    except msgspec.ValidationError as exc:
        raise InputError(
            en=f"{where}: not a label set: {exc}", ko=f"{where}: 레이블 집합이 아닙니다: {exc}"
        ) from exc
    en, ko = _problem(label_set)
    if en:
        raise InputError(
            en=f"{where}: not a label set: {en}", ko=f"{where}: 레이블 집합이 아닙니다: {ko}"
        )
    return label_set


def _problem(label_set: LabelSet) -> tuple[str, str]:
    """What is wrong with a label set, as (en, ko); empty texts where nothing is."""
    ids = label_set.ids
    unknown = [m for g in label_set.groups.values() for m in g.labels if m not in ids]
    targets = {new for table in label_set.merges.values() for new in table}
    found: list[str] = []
    if len(ids) < 2:
        en, ko = "fewer than two labels", "레이블이 둘보다 적습니다"
    elif len(set(ids)) != len(ids):
        en, ko = "a label id occurs twice", "레이블 id가 두 번 나옵니다"
    elif found := unknown:
        en, ko = "a group names labels that do not exist", "묶음에 없는 레이블이 있습니다"
    elif found := sorted(targets - set(ids)):
        en, ko = "merges name labels that do not exist", "merges에 없는 레이블이 있습니다"
    elif found := _joined_twice(label_set):
        en, ko = "merges join a class twice", "merges가 한 클래스를 두 번 합칩니다"
    elif found := [i for i in ids if not i.isascii() or not i.replace("_", "").isalnum()]:
        en = "label ids must be ASCII letters, digits and _"
        ko = "레이블 id는 ASCII 글자, 숫자, _로 써야 합니다"
    elif found := [lb.id for lb in label_set.labels if lb.valence not in (-1, 0, 1)]:
        en, ko = "valence must be -1, 0 or 1", "valence는 -1, 0, 1 가운데 하나여야 합니다"
    else:
        return "", ""
    named = f": {', '.join(found)}" if found else ""
    return en + named, ko + named


def _joined_twice(label_set: LabelSet) -> list[str]:
    twice = []
    for table in label_set.merges.values():
        members = [old for group in table.values() for old in group]
        twice += sorted({old for old in members if members.count(old) > 1})
    return twice
