"""Sources: one adapter per kind of labelled photo collection, all giving a ``Listing``.

``aihub`` reads AI Hub's data set 82, ``table`` a CSV or Parquet file; class folders are read here.
Listing opens no photo; ``archives.read_image_bytes`` does, in the workers of ``prepare``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.core.schema import FaceRecord, Reject, Split
from nunbit.datasets.aihub import read_aihub
from nunbit.datasets.aihub_labels import is_aihub_path, is_photo_name
from nunbit.datasets.archives import implicit_split, parse_split, record_id_from, split_name
from nunbit.datasets.packed import RecordPacker
from nunbit.datasets.scan import (
    GIVEN_TABLE_SUFFIXES,
    Listing,
    Scan,
    container_notes,
    nothing_found,
    scan,
)
from nunbit.datasets.table import read_tables
from nunbit.language.labels import LabelSet, label_set_names, load_label_set

# -- class folders: the name of the folder is the label -------------------------------------------
# ``joy/a.jpg`` or ``train/joy/a.jpg`` at any depth, on disk or in zips; a zip counts as one more
# folder, so ``train.zip`` holding ``joy/a.jpg`` is the same as ``train/joy/a.jpg``. The deepest
# folder that names a class gives the label, the deepest that names a split gives the split.
#
# Without split folders, one image in ten is validation and the rest is train. A hash of class and
# file name decides, so that an image stays in its split when others are added or removed. Persons
# are unknown here, so one person can be on both sides of such a split. The notes report both.


@dataclass(frozen=True, slots=True)
class FolderName:
    """What the folders above an image state.

    Attributes:
        label: Label id; None with ``ignored`` or ``unknown``.
        split: Named split, or None.
        ignored: The folder names what is no class ("contempt").
        unknown: Name of the folder that should have named a class; None if there is no folder.
    """

    label: str | None = None
    split: Split | None = None
    ignored: bool = False
    unknown: str | None = None

    @property
    def says_class(self) -> bool:
        """Whether the folders name a class, which may be an ignored one."""
        return self.label is not None or self.ignored


class FolderReader:
    """Reads class and split from folder paths under one label set."""

    def __init__(self, label_set: LabelSet) -> None:
        self._label_set = label_set
        self.read = lru_cache(maxsize=65536)(self._read)

    def _read(self, root: str, folder: str) -> FolderName:
        """What ``folder`` (below ``root``, zips as folders) says.

        The name of SRC itself and of a zip stand in for folders only where there are none below:
        otherwise a misspelt class folder would take its label from the name above it.
        """
        unknown = None
        split = None
        # Deepest first; the flag tells real folders from names that stand in for them.
        deepest_first = (part for part in reversed(folder.split("/")) if part)
        candidates = [(_without_zip(part), not _is_zip(part)) for part in deepest_first]
        said: FolderName | None = None
        for name, is_folder in [*candidates, (_without_zip(root), False)]:
            if (named_split := parse_split(name)) is not None:
                split = split or named_split
            elif said is None and (is_folder or unknown is None):
                try:
                    label = self._label_set.find(name)
                    said = FolderName(label, ignored=label is None)
                except InputError:
                    unknown = unknown or (name if is_folder else None)
        return replace(said or FolderName(unknown=unknown), split=split)


def read_folders(found: Scan, label_set: LabelSet, where: str) -> Listing:
    """Turn the images of a scan into records by their folders.

    Args:
        found: What the SRC paths hold.
        label_set: Must know every class folder's name, as a label or as an ignored spelling.
        where: The SRC paths, for messages.

    Raises:
        InputError: No image, an unknown class folder, or no image in a class folder.
    """
    if not found.images:
        raise nothing_found(where, found)
    reader = FolderReader(label_set)
    rejects = list(found.rejects)
    entries: list[tuple[int, FolderName]] = []
    unknown: Counter[str] = Counter()
    ignored: Counter[str] = Counter()
    for index, root, folder, _ in found.directories():
        said = reader.read(found.roots[root], folder)
        if said.unknown is not None:
            unknown[said.unknown] += 1
        elif said.ignored:
            ignored[folder] += 1
        elif said.label is None:
            rejects.append(Reject(found.images[index].source_path, "no_class_folder", _NO_FOLDER))
        else:
            entries.append((index, said))
    if unknown:
        raise _unknown_folders(where, unknown, label_set)
    if not entries:
        raise InputError(
            Text(
                f"{where}: {len(found.images):,} images but none in a class folder; put them into "
                f"folders named after the labels of {label_set.name}: {', '.join(label_set.ids)}",
                f"{where}: 이미지 {len(found.images):,}개가 클래스 폴더에 들어 있지 않습니다. "
                f"{label_set.name}의 레이블 이름으로 된 폴더에 넣으십시오: "
                f"{', '.join(label_set.ids)}",
            )
        )
    splits_named = any(said.split is not None for _, said in entries)
    packer, counts = RecordPacker(found.images), Counter[tuple[str, str]]()
    without_split = 0
    for index, said in entries:
        image = found.images[index]
        name = image.source_path.rpartition("/")[2].rpartition("!")[2]
        without_split += said.split is None
        split = said.split or ("train" if splits_named else implicit_split(f"{said.label}/{name}"))
        counts[split, said.label or ""] += 1
        packer.append(
            index,
            FaceRecord(
                record_id=record_id_from(name), image=image, split=split, uploader_label=said.label
            ),
        )
    raw_counts = _raw_counts(found, counts, ignored)
    notes = (
        *container_notes(rejects, found.others),
        *_notes(splits_named, without_split, sum(ignored.values())),
    )
    return Listing("folder", packer.finish(), tuple(rejects), (), raw_counts, notes)


def _raw_counts(
    found: Scan, counts: Counter[tuple[str, str]], ignored: Counter[str]
) -> dict[str, Any]:
    by_split: dict[str, dict[str, int]] = {}
    for (split, label), n in sorted(counts.items()):
        by_split.setdefault(split, {})[label] = n
    return {
        "images": len(found.images),
        "images_by_split": by_split,
        "images_ignored": dict(ignored),
        "other_files": dict(found.others),
    }


_NO_FOLDER = Text("not in a class folder", "클래스 폴더 안에 있지 않음")


def _notes(splits_named: bool, without_split: int, ignored: int) -> Iterator[Text]:
    if not splits_named:
        yield Text(
            "no train/validation/test folders: one image in ten (by hash of its name) is "
            "validation; persons are unknown, so the same person may be on both sides",
            "train/validation/test 폴더가 없어 이미지 열에 하나를 (파일 이름의 해시로) "
            "validation으로 둡니다. 인물을 알 수 없으니 같은 사람이 양쪽에 있을 수 있습니다",
        )
    elif without_split:
        yield Text(
            f"{without_split:,} images outside the split folders count as train",
            f"분할 폴더 밖의 이미지 {without_split:,}개는 train으로 봅니다",
        )
    if ignored:
        yield Text(
            f"{ignored:,} images lie in folders whose name means no usable label: not used",
            f"이미지 {ignored:,}개는 레이블로 쓰지 않는 폴더에 있어 쓰지 않습니다",
        )


def _unknown_folders(where: str, unknown: Counter[str], label_set: LabelSet) -> InputError:
    names = ", ".join(f"'{name}' ({n:,})" for name, n in unknown.most_common(5))
    known = ", ".join(label_set.ids)
    if fitting := [name for name in label_set_names() if _takes(load_label_set(name), unknown)]:
        return InputError(
            Text(
                f"{where}: class folder {names} is no label of {label_set.name} ({known}); they "
                f"are labels of {fitting[0]}: give `label_set={fitting[0]}`",
                f"{where}: 클래스 폴더 {names}은(는) {label_set.name}의 레이블({known})이 "
                f"아닙니다. {fitting[0]}의 레이블이니 `label_set={fitting[0]}`을 주십시오",
            )
        )
    return InputError(
        Text(
            f"{where}: class folder {names} is no label of {label_set.name} ({known}); rename it, "
            "move it away, or list it under `aliases` or `ignored` in a label set TOML and pass "
            "it as `label_set`",
            f"{where}: 클래스 폴더 {names}은(는) {label_set.name}의 레이블({known})이 아닙니다. "
            "이름을 바꾸거나 옮기거나, 레이블 집합 TOML의 `aliases`나 `ignored`에 적고 "
            "그 파일을 `label_set`으로 주십시오",
        )
    )


def _takes(label_set: LabelSet, folders: Counter[str]) -> bool:
    """Whether all class folders are labels of a set, or names it ignores."""
    try:
        for name in folders:
            label_set.find(name)
    except InputError:
        return False
    return True


def _is_zip(part: str) -> bool:
    return part.lower().endswith(".zip")


def _without_zip(part: str) -> str:
    return split_name(part)[0] if _is_zip(part) else part


# -- any source -----------------------------------------------------------------------------------

KINDS = ("aihub", "folder", "table")


def read_source(paths: Sequence[Path], kind: str | None, label_set: LabelSet) -> Listing:
    """List all records of a source without opening a photo.

    Args:
        paths: The SRC arguments: folders, zips, label files or tables.
        kind: ``aihub``, ``folder``, ``table``, or None to find out.
        label_set: Labels that the source's spellings are looked up in.

    Raises:
        InputError: Nothing usable, an unknown label, or not the kind it was said to be.
        SettingsError: ``kind`` is unknown.
    """
    if kind is not None and kind not in KINDS:
        raise SettingsError(
            Text(
                f"unknown source '{kind}'; there are: {', '.join(KINDS)}",
                f"알 수 없는 자료 종류 '{kind}'. 쓸 수 있는 종류: {', '.join(KINDS)}",
            )
        )
    where = ", ".join(str(path) for path in paths)
    if not paths:
        raise InputError(Text("no SRC given", "SRC가 없습니다"))
    tables = [p for p in paths if p.suffix.lower() in GIVEN_TABLE_SUFFIXES and p.is_file()]
    if kind == "table" or (kind is None and tables):
        if len(tables) < len(paths):
            raise InputError(
                Text(
                    f"{where}: a table source is CSV or Parquet files only; give the files "
                    "themselves",
                    f"{where}: 표 자료는 CSV나 Parquet 파일만 받습니다. 파일 자체를 주십시오",
                )
            )
        return read_tables(tables, label_set)
    found = scan(paths)
    kind = kind or _detect(found, label_set, where)
    read = read_aihub if kind == "aihub" else read_folders
    return read(found, label_set, where)


def _detect(found: Scan, label_set: LabelSet, where: str) -> str:
    """AI Hub by its names, else class folders, else an error that lists what is accepted.

    Raises:
        InputError: Neither.
    """
    if any(is_aihub_path(ref.source_path) for ref, _ in found.labels):
        return "aihub"
    reader = FolderReader(label_set)
    classes = False
    for _, root, path, name in found.directories():
        if is_photo_name(name) or is_aihub_path(path) or is_aihub_path(found.roots[root]):
            return "aihub"
        classes = classes or reader.read(found.roots[root], path).says_class
    if classes:
        return "folder"
    if not found.images and (not found.labels or found.rejects):
        raise nothing_found(where, found)
    folders = [(found.roots[root], path) for _, root, path, _ in found.directories()]
    for name in label_set_names():
        other = FolderReader(load_label_set(name))
        if any(other.read(root, path).says_class for root, path in folders):
            raise InputError(
                Text(
                    f"{where}: class folders, but of {name} and not of {label_set.name} "
                    f"({', '.join(label_set.ids)}): give `label_set={name}`",
                    f"{where}: 클래스 폴더인데 {label_set.name}({', '.join(label_set.ids)})이 "
                    f"아니라 {name}의 이름입니다. `label_set={name}`을 주십시오",
                )
            )
    raise InputError(
        Text(
            f"{where}: neither AI Hub's data (EMOIMG_* names, label JSON) nor folders named after "
            f"the labels of {label_set.name} ({', '.join(label_set.ids)}); check the path, or say "
            "`kind` and `label_set`",
            f"{where}: AI Hub 자료(EMOIMG_* 이름, 레이블 JSON)도 아니고 {label_set.name}의 "
            f"레이블({', '.join(label_set.ids)}) 이름으로 된 폴더도 아닙니다. 경로를 확인하거나 "
            "`kind`와 `label_set`을 주십시오",
        )
    )
