"""Label sets: ids, Korean and English names, valence and groups.

Files store a label id (``joy``); people read its Korean or English name. Sets are TOML: ``aihub7``,
``fer7`` and ``dep2`` come with the package, a path gives the user's own. Knows nothing of images,
prompts or models.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import msgspec

from nunbit.core.messages import NO_TEXT, InputError, Lang, Text
from nunbit.runtime.resources import Shelf

DEPRESSION_RELATED = "depression_related"

_SHELF = Shelf("language/data/labels", Text("label set", "레이블 집합"))


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a label set.

    Attributes:
        id: Canonical id, ASCII, as files store it.
        name: What people read; in Korean a noun.
        noun: Noun for the gap of a prompt; models were trained with it, so it must not change. The
            name, where that is a noun in both languages.
        adjective: Form that stands before a noun (sad, 슬픈); '' in a language that has none.
        valence: -1, 0 or 1.
        aliases: Other spellings that sources use.
    """

    id: str
    name: Text
    noun: Text
    adjective: Text = NO_TEXT
    valence: int = 0
    aliases: tuple[str, ...] = ()


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

    def names(self, lang: Lang) -> tuple[str, ...]:
        """The K names people read."""
        return tuple(label.name.pick(lang) for label in self.labels)

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
                Text(
                    f"unknown label '{spelling}': label set {self.name} has {known}; "
                    "map it with `aliases` in a label set TOML and pass `label_set=FILE`",
                    f"알 수 없는 레이블 '{spelling}': 레이블 집합 {self.name}에는 {known}이(가) "
                    "있습니다. 레이블 집합 TOML의 `aliases`에 적고 `label_set=파일`로 주십시오",
                )
            )
        return table[key]


def load_label_set(name_or_path: str) -> LabelSet:
    """Read a label set by name or from a TOML file.

    Raises:
        InputError: No such set or file, or the file does not describe a label set.
    """
    return _packaged(name_or_path) if name_or_path in label_set_names() else _read(name_or_path)


def _read(name_or_path: str) -> LabelSet:
    document, where = _SHELF.read(name_or_path)
    document.setdefault("groups", {})
    return _validated(document, where)


@cache
def _packaged(name: str) -> LabelSet:
    """A set of the package, read once: a list over 500 recordings asks for it 1,500 times."""
    return _read(name)


@cache
def label_set_names() -> tuple[str, ...]:
    """Names of the label sets in the package, sorted."""
    return _SHELF.names()


def label_set_to_dict(label_set: LabelSet) -> dict[str, Any]:
    """Plain data for a bundle or a data set's settings; ``label_set_from_dict`` reads it back."""
    plain: dict[str, Any] = msgspec.to_builtins(label_set)
    if not label_set.merges:
        del plain["merges"]
    return plain | {"labels": [_stored(label) for label in label_set.labels]}


def label_set_from_dict(document: dict[str, Any], where: str) -> LabelSet:
    """Read a label set from plain data, with the same checks as a file.

    In version 0.1 the classes had the nouns of the prompts as names: they get today's names.

    Raises:
        InputError: ``where`` does not describe a label set.
    """
    label_set = _validated(document, where)
    if label_set.name not in label_set_names():
        return label_set
    today = {label.id: label for label in load_label_set(label_set.name).labels}
    renamed = tuple(
        replace(label, name=today[label.id].name, noun=Text(label.name.en, label.noun.ko))
        if label.id in today and label.name.en == today[label.id].noun.en != today[label.id].name.en
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
        InputError: ``merged`` does not define the new class of every class of ``base``.
    """
    table = merged.merges.get(base.name, {})
    new_id = {old: new for new, members in table.items() for old in members}
    if lost := [label for label in base.ids if label not in new_id]:
        raise InputError(
            Text(
                f"label set {merged.name} does not define the new class of {', '.join(lost)} of "
                f"{base.name}; add a table [merges.{base.name}] to its TOML file",
                f"레이블 집합 {merged.name}에는 {base.name}의 {', '.join(lost)}을(를) 어떤 "
                f"클래스로 합칠지 적혀 있지 않습니다. TOML 파일에 [merges.{base.name}] 표를 "
                "적으십시오",
            )
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
    return dict.fromkeys(map(_key, ignored)) | {
        _key(word): label.id
        for label in labels
        for word in (label.id, label.name.ko, label.name.en, label.noun.en, *label.aliases)
    }


def _key(spelling: str) -> str:
    # Folder names unpacked on macOS are NFD, and AI Hub's xlsx labels carry trailing blanks.
    return unicodedata.normalize("NFC", spelling).strip().casefold()


def _validated(document: dict[str, Any], where: str) -> LabelSet:
    stored = _SHELF.convert(document, _StoredSet, where)
    label_set = LabelSet(
        stored.name,
        tuple(
            Label(
                each.id,
                Text(each.en, each.ko),
                Text(each.en_noun or each.en, each.ko),
                Text(each.en_adjective or "", each.ko_adjective or ""),
                each.valence,
                each.aliases,
            )
            for each in stored.labels
        ),
        stored.groups,
        stored.ignored,
        stored.merges,
    )
    if (problem := _problem(label_set)) is not None:
        raise _SHELF.refused(where, problem)
    return label_set


@dataclass(frozen=True, slots=True)
class _StoredLabel:
    """A label as files have it; ``en_noun`` only where the English name is no noun (neutral)."""

    id: str
    ko: str
    en: str
    ko_adjective: str | None = None
    en_adjective: str | None = None
    valence: int = 0
    aliases: tuple[str, ...] = ()
    en_noun: str | None = None


@dataclass(frozen=True, slots=True)
class _StoredSet:
    name: str
    labels: tuple[_StoredLabel, ...]
    groups: dict[str, Group]
    ignored: tuple[str, ...] = ()
    merges: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)


def _stored(label: Label) -> dict[str, Any]:
    return dict(
        msgspec.to_builtins(
            _StoredLabel(
                label.id,
                label.name.ko,
                label.name.en,
                label.adjective.ko or None,
                label.adjective.en or None,
                label.valence,
                label.aliases,
                None if label.noun == label.name else label.noun.en,
            )
        )
    )


def _problem(label_set: LabelSet) -> Text | None:
    """What is wrong with a label set; None where nothing is."""
    ids = label_set.ids
    unknown = [m for g in label_set.groups.values() for m in g.labels if m not in ids]
    targets = {new for table in label_set.merges.values() for new in table}
    found: list[str] = []
    if len(ids) < 2:
        said = Text("fewer than two labels", "레이블이 둘보다 적습니다")
    elif len(set(ids)) != len(ids):
        said = Text("a label id occurs twice", "레이블 id가 두 번 나옵니다")
    elif found := unknown:
        said = Text("a group names labels that do not exist", "묶음에 없는 레이블이 있습니다")
    elif found := sorted(targets - set(ids)):
        said = Text("merges name labels that do not exist", "merges에 없는 레이블이 있습니다")
    elif found := _joined_twice(label_set):
        said = Text("merges join a class twice", "merges가 한 클래스를 두 번 합칩니다")
    elif found := [i for i in ids if not i.isascii() or not i.replace("_", "").isalnum()]:
        said = Text(
            "label ids must be ASCII letters, digits and _",
            "레이블 id는 ASCII 글자, 숫자, _로 써야 합니다",
        )
    elif found := [lb.id for lb in label_set.labels if lb.valence not in (-1, 0, 1)]:
        said = Text("valence must be -1, 0 or 1", "valence는 -1, 0, 1 가운데 하나여야 합니다")
    else:
        return None
    named = f": {', '.join(found)}" if found else ""
    return Text(said.en + named, said.ko + named)


def _joined_twice(label_set: LabelSet) -> list[str]:
    tables = [
        [old for group in table.values() for old in group] for table in label_set.merges.values()
    ]
    return [old for table in tables for old in sorted(set(table)) if table.count(old) > 1]
