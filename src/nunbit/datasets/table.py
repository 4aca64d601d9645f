"""A CSV or Parquet table with one row per image.

Columns (any order, any case; only ``path`` is required):

- ``path``: relative to the table's folder, absolute, or ``zip!member``.
- ``label``: any spelling of the label set; empty or an ignored spelling = none.
- ``votes``: a list, or spellings separated by ``;``; an empty place or an ignored spelling is a
  null vote. Or counts: ``votes_<spelling>`` columns with whole numbers, one vote per rater,
  ignored spellings as null votes (FER+: ``votes_joy = 7, votes_contempt = 1, votes_unknown = 2``
  is ten votes, three of them null).
- ``x0, y0, x1, y1`` or ``box`` (four numbers): pixels of the upright image; empty = whole image.
- ``subject``, ``gender``, ``age``, ``place``: as they are.
- ``split``: train, validation or test (or training, valid, val, dev, testing). Without this column
  one image in ten, or one person in ten where ``subject`` is given, is validation, by hash.
- ``record_id``: by default the file name's stem.

A row whose image is not there is a reject; a value that does not fit stops with its row number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Text
from nunbit.core.schema import Box, FaceRecord, Reject, Split
from nunbit.datasets.archives import (
    check_record_id,
    implicit_split,
    nfc,
    parse_split,
    record_id_from,
)
from nunbit.datasets.packed import PackedRefs, RecordPacker
from nunbit.datasets.scan import ImageFinder, Listing
from nunbit.datasets.tabular import OpenTable, TableRow, open_table
from nunbit.language.labels import LabelSet

_CORNERS = ("x0", "y0", "x1", "y1")
_PLAIN = ("path", "label", "votes", "box", "subject", "split", "gender", "age", "place")
_KNOWN = frozenset((*_PLAIN, *_CORNERS, "record_id"))
_COUNT_PREFIX = "votes_"
_MAX_COUNT = 1000  # raters per label; a larger number is surely another column


def read_tables(paths: Sequence[Path], label_set: LabelSet) -> Listing:
    """Turn the rows of one or more tables into records, in the order of the rows.

    Raises:
        InputError: Not a readable table, no ``path`` column, a value that does not fit (with its
            row number), or no image found at all.
    """
    reader = _TableReader(label_set)
    for path in paths:
        reader.read(path)
    return reader.listing(", ".join(str(path) for path in paths))


@dataclass(slots=True)
class _Columns:
    """Which columns a table has, checked."""

    names: frozenset[str]
    counts: tuple[tuple[str, str | None], ...]  # (column, label id or None for a null vote)
    unknown: tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    empty_splits: int = 0
    with_split_column: int = 0
    longest_votes: int = 0
    counted_votes: bool = False
    by_split: dict[str, Counter[str]] = field(default_factory=dict)


class _TableReader:
    def __init__(self, label_set: LabelSet) -> None:
        self._label_set = label_set
        self._labels: dict[str, str | None] = {}
        self._images = PackedRefs()
        self._packer = RecordPacker(self._images)
        self._rejects: list[Reject] = []
        self._notes: list[Text] = []
        self._given_ids: set[int] = set()
        self._files = ImageFinder()
        self._tally = _Tally()

    def read(self, path: Path) -> None:
        table = open_table(path)
        columns = self._columns(table)
        if table.encoding == "cp949":
            self._notes.append(
                Text(
                    f"{path.name}: not UTF-8, read as CP949",
                    f"{path.name}: UTF-8이 아니어서 CP949로 읽었습니다",
                )
            )
        if columns.unknown:
            names = ", ".join(columns.unknown)
            self._notes.append(
                Text(
                    f"{path.name}: columns not used: {names}", f"{path.name}: 쓰지 않는 열: {names}"
                )
            )
        for row in table.rows():
            self._add(row, columns, path.parent)

    def _columns(self, table: OpenTable) -> _Columns:
        names = table.columns
        if twice := [name for name, n in Counter(names).items() if n > 1]:
            raise table.error(
                Text(f"column {twice[0]} occurs twice", f"열 {twice[0]}이(가) 두 번 있음")
            )
        if "path" not in names:
            have = ", ".join(names)
            raise table.error(
                Text(
                    f"no column 'path'; the columns are: {have} (separated by commas, first line = "
                    "names)",
                    f"'path' 열이 없음. 있는 열: {have} (쉼표로 나누고 첫 줄은 열 이름)",
                )
            )
        counts = []
        for name in names:
            if name.startswith(_COUNT_PREFIX):
                try:
                    counts.append((name, self._label_set.find(name.removeprefix(_COUNT_PREFIX))))
                except InputError as exc:
                    raise table.error(
                        Text(f"column {name}: {exc.text.en}", f"열 {name}: {exc.text.ko}")
                    ) from exc
        if counts and "votes" in names:
            raise table.error(
                Text(
                    "both 'votes' and 'votes_…' columns; keep one kind",
                    "'votes' 열과 'votes_…' 열이 함께 있음. 하나만 두십시오",
                )
            )
        corners = [name for name in _CORNERS if name in names]
        if corners and (len(corners) < 4 or "box" in names):
            raise table.error(
                Text(
                    "a box is either the column 'box' or all of x0, y0, x1, y1",
                    "상자는 'box' 열 하나이거나 x0, y0, x1, y1 네 열이어야 함",
                )
            )
        unknown = tuple(n for n in names if n not in _KNOWN and not n.startswith(_COUNT_PREFIX))
        return _Columns(frozenset(names), tuple(counts), unknown)

    def _add(self, row: TableRow, columns: _Columns, folder: Path) -> None:
        tally = self._tally
        tally.rows += 1
        written = row.text("path")
        if written is None:
            raise row.error(Text("path is empty", "path가 비어 있음"))
        # Values are checked before the image is looked for, so a bad table never depends on
        # which files happen to be there.
        label = self._find(row, "label", row.text("label"))
        votes = self._votes(row, columns)
        box = _box(row, columns.names)
        subject = row.text("subject")
        name = nfc(written.replace("\\", "/").rpartition("/")[2].rpartition("!")[2])
        split = self._split(row, columns, subject or f"{label}/{name}")
        record_id = self._record_id(row, name)
        image = self._files.find(written, folder)
        if isinstance(image, Reject):
            self._rejects.append(image)
            return
        tally.longest_votes = max(tally.longest_votes, len(votes))
        tally.by_split.setdefault(split, Counter())[label or "none"] += 1
        self._packer.append(
            self._images.append(image),
            FaceRecord(
                record_id=record_id,
                image=image,
                split=split,
                uploader_label=label,
                votes=votes,
                subject_id=subject,
                box_xyxy=box,
                gender=row.text("gender"),
                age=row.text("age"),
                place=row.text("place"),
            ),
        )

    def _find(self, row: TableRow, column: str, spelling: str | None) -> str | None:
        if not spelling:
            return None
        if spelling not in self._labels:
            try:
                self._labels[spelling] = self._label_set.find(spelling)
            except InputError as exc:
                raise row.error(exc.text.under(column)) from exc
        return self._labels[spelling]

    def _votes(self, row: TableRow, columns: _Columns) -> tuple[str | None, ...]:
        if columns.counts:
            self._tally.counted_votes = True
            return tuple(
                label for column, label in columns.counts for _ in range(_count(row, column))
            )
        return tuple(self._find(row, "votes", spelling) for spelling in row.items("votes"))

    def _split(self, row: TableRow, columns: _Columns, key: str) -> Split:
        if "split" not in columns.names:
            return implicit_split(key)
        self._tally.with_split_column += 1
        word = row.text("split")
        if word is None:
            self._tally.empty_splits += 1
            return "train"
        split = parse_split(word)
        if split is None:
            raise row.error(
                Text(
                    f"split: '{word}' is none of train, validation, test",
                    f"split: '{word}'은(는) train, validation, test가 아님",
                )
            )
        return split

    def _record_id(self, row: TableRow, name: str) -> str:
        given = row.text("record_id")
        if given is None:
            return record_id_from(name)
        if not check_record_id(given):
            raise row.error(
                Text(
                    f"record_id: '{given}' must be 1 to 200 bytes without . / \\ and the like",
                    f"record_id: '{given}'은(는) 1~200바이트이고 . / \\ 등이 없어야 함",
                )
            )
        key = hash(given.casefold())
        if key in self._given_ids:
            raise row.error(
                Text(f"record_id: '{given}' occurs twice", f"record_id: '{given}'이(가) 두 번 나옴")
            )
        self._given_ids.add(key)
        return given

    def listing(self, where: str) -> Listing:
        """Everything read; call once."""
        tally = self._tally
        if not len(self._packer):
            raise self._nothing(where)
        notes = list(self._notes)
        if self._rejects:
            notes.insert(
                0,
                Text(
                    f"WARNING: the images of {len(self._rejects):,} rows are missing: rejected",
                    f"경고: 행 {len(self._rejects):,}개의 이미지가 없어 제외합니다",
                ),
            )
        if not tally.with_split_column:
            notes.append(
                Text(
                    "no column 'split': one in ten (by hash of the subject, else of the name) is "
                    "validation",
                    "split 열이 없어 열에 하나를 (인물의, 없으면 이름의 해시로) validation으로 "
                    "둡니다",
                )
            )
        elif tally.empty_splits:
            notes.append(
                Text(
                    f"{tally.empty_splits:,} rows with an empty split count as train",
                    f"split이 빈 행 {tally.empty_splits:,}개는 train으로 봅니다",
                )
            )
        # Counts show how many raters chose a label, not who did: their positions have no names.
        raters = 0 if tally.counted_votes else tally.longest_votes
        counts: dict[str, Any] = {
            "rows": tally.rows,
            "records": len(self._packer),
            "missing_files": len(self._rejects),
            "records_by_split": {s: dict(tally.by_split[s]) for s in sorted(tally.by_split)},
        }
        return Listing(
            "table",
            self._packer.finish(),
            tuple(self._rejects),
            tuple(f"vote_{k + 1}" for k in range(raters)),
            counts,
            tuple(notes),
        )

    def _nothing(self, where: str) -> InputError:
        if not self._rejects:
            return InputError(
                Text(f"{where}: the table has no rows", f"{where}: 표에 행이 없습니다")
            )
        first = self._rejects[0]
        return InputError(
            Text(
                f"{where}: none of {len(self._rejects):,} images exists (first: {first.file}: "
                f"{first.text.en}); paths are relative to the table's own folder",
                f"{where}: 이미지 {len(self._rejects):,}개가 모두 없습니다(첫째: {first.file}: "
                f"{first.text.ko}). 경로는 표가 있는 폴더를 기준으로 합니다",
            )
        )


def _count(row: TableRow, column: str) -> int:
    number = row.number(column)
    if number is None:
        return 0
    if number != int(number) or not 0 <= number <= _MAX_COUNT:
        raise row.error(
            Text(
                f"{column}: expected a whole number from 0 to {_MAX_COUNT}, got {number:g}",
                f"{column}: 0에서 {_MAX_COUNT} 사이의 정수여야 함: {number:g}",
            )
        )
    return int(number)


def _box(row: TableRow, names: frozenset[str]) -> Box | None:
    if "box" in names:
        values: Sequence[float | None] = row.numbers("box")
    elif "x0" in names:
        values = [row.number(corner) for corner in _CORNERS]
    else:
        return None
    if all(value is None for value in values):
        return None
    if len(values) != 4 or any(value is None for value in values):
        raise row.error(
            Text(
                "a box needs all four numbers x0, y0, x1, y1, or none",
                "상자는 x0, y0, x1, y1 네 수가 모두 있거나 모두 없어야 함",
            )
        )
    x0, y0, x1, y1 = (value for value in values if value is not None)
    return (x0, y0, x1, y1)
