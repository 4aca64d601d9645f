"""Keep half a million records in memory, in a few hundred bytes each.

A ``FaceRecord`` of AI Hub with its strings and boxes takes about 1.8 KB as Python objects, which
for the whole download is more memory than everything else together. Here records lie in columns
and are made on access. Two sequences: ``PackedRefs`` (image references) and ``PackedRecords``;
both pickle compactly and are shared by forked processes without being copied.
"""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from nunbit.core.schema import FaceRecord, ImageRef, Split
from nunbit.datasets.archives import distinct_record_id, repair_name

T = TypeVar("T", bound=Hashable)


class StringColumn:
    """Many different strings, stored as UTF-8 end to end."""

    __slots__ = ("_blob", "_ends")

    def __init__(self) -> None:
        self._blob = bytearray()
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return self._blob[start : self._ends[index]].decode("utf-8", "surrogateescape")

    def append(self, text: str) -> None:
        """Add one string; file names that are not UTF-8 come back unchanged."""
        self._blob += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._blob))


class CodedColumn(Generic[T]):
    """Few different values, each stored once, and a number per row."""

    __slots__ = ("_codes", "_numbers", "_values")

    def __init__(self) -> None:
        self._values: list[T] = []
        self._numbers: dict[T, int] = {}
        self._codes = array("I")

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> T:
        return self._values[self._codes[index]]

    def append(self, value: T) -> None:
        """Add one value."""
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        self._codes.append(number)


class PackedRefs(Sequence[ImageRef]):
    """Image references; folder and zip paths are stored once.

    What comes after the folder or zip in ``source_path`` is not stored: it is the repaired name.
    """

    __slots__ = ("_names", "_places")

    def __init__(self) -> None:
        # (folder or zip, what stands before the repaired name in source_path, is a zip)
        self._places: CodedColumn[tuple[str, str, bool]] = CodedColumn()
        self._names = StringColumn()

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> ImageRef: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImageRef, ...]: ...
    def __getitem__(self, index: int | slice) -> ImageRef | tuple[ImageRef, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        row = _checked(index, len(self))
        place, head, is_zip = self._places[row]
        name = self._names[row]
        path, member = (place, name) if is_zip else (os.path.join(place, name), None)  # noqa: PTH118
        return ImageRef(path, member, head + repair_name(name))

    def append(self, ref: ImageRef) -> int:
        """Add a reference and return its index.

        Raises:
            ValueError: ``source_path`` does not end with the repaired name of the file or member.
        """
        if ref.member is None:
            place, name = os.path.split(ref.path)
        else:
            place, name = ref.path, ref.member
        tail = repair_name(name)
        if not ref.source_path.endswith(tail):
            raise ValueError(f"source_path: expected it to end with {tail}, got {ref.source_path}")
        head = ref.source_path.removesuffix(tail)
        return self.add(place, head, name, in_zip=ref.member is not None)

    def add(self, place: str, head: str, name: str, *, in_zip: bool) -> int:
        """Add a reference by its pieces and return its index.

        Args:
            place: Absolute path of the folder or zip.
            head: What stands in ``source_path`` before the repaired name, with its mark.
            name: Raw name of the file or member.
            in_zip: Whether ``place`` is a zip.
        """
        self._places.append((place, head, in_zip))
        self._names.append(name)
        return len(self) - 1


class PackedRecords(Sequence[FaceRecord]):
    """Records in columns; made by ``RecordPacker``.

    An index gives a ``FaceRecord``, a slice a tuple of them. Making one costs some 5 microseconds.
    """

    __slots__ = (
        "_box_ends",
        "_boxes",
        "_ids",
        "_images",
        "_labels",
        "_order",
        "_persons",
        "_places",
        "_renamed",
        "_rows",
    )

    def __init__(self, images: PackedRefs) -> None:
        self._images = images
        self._rows = array("I")  # image of each stored row
        self._ids = StringColumn()
        # Three columns and not one: a combination of all would hardly occur twice.
        self._labels: CodedColumn[tuple[Split, str | None, tuple[str | None, ...]]] = CodedColumn()
        self._persons: CodedColumn[tuple[str | None, str | None, str | None]] = CodedColumn()
        self._places: CodedColumn[str | None] = CodedColumn()
        self._boxes = array("d")
        self._box_ends = array("Q")
        self._order: NDArray[np.uint32] = np.empty(0, dtype=np.uint32)
        self._renamed: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> FaceRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FaceRecord, ...]: ...
    def __getitem__(self, index: int | slice) -> FaceRecord | tuple[FaceRecord, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        row = int(self._order[_checked(index, len(self))])
        split, uploader_label, votes = self._labels[row]
        subject_id, gender, age = self._persons[row]
        start = self._box_ends[row - 1] if row else 0
        flat = self._boxes[start : self._box_ends[row]]
        boxes = tuple(
            (flat[i], flat[i + 1], flat[i + 2], flat[i + 3]) for i in range(0, len(flat), 4)
        )
        return FaceRecord(
            record_id=self._renamed.get(row) or self._ids[row],
            image=self._images[self._rows[row]],
            split=split,
            uploader_label=uploader_label,
            votes=votes,
            subject_id=subject_id,
            box_xyxy=boxes[0] if boxes else None,
            fallback_boxes=boxes[1:],
            gender=gender,
            age=age,
            place=self._places[row],
        )

    def subjects(self) -> Iterator[tuple[Split, str | None]]:
        """Split and person of each record, without making the records."""
        yield from ((self._labels[row][0], self._persons[row][0]) for row in self._order.tolist())


class RecordPacker:
    """Builds ``PackedRecords`` one record at a time, in any order.

    Args:
        images: Where the records' images are; ``append`` names them by index.
    """

    def __init__(self, images: PackedRefs) -> None:
        self._records = PackedRecords(images)
        self._id_hashes = array("q")

    def __len__(self) -> int:
        return len(self._id_hashes)

    def append(self, image: int, record: FaceRecord) -> None:
        """Add a record; ``record.image`` is not stored, ``image`` is its index.

        Raises:
            ValueError: There are fallback boxes but no box.
        """
        if record.box_xyxy is None and record.fallback_boxes:
            raise ValueError("fallback_boxes: expected none without box_xyxy")
        to = self._records
        to._rows.append(image)
        to._ids.append(record.record_id)
        # Case is folded because tars are unpacked on file systems that ignore it.
        self._id_hashes.append(hash(record.record_id.casefold()))
        to._labels.append((record.split, record.uploader_label, record.votes))
        to._persons.append((record.subject_id, record.gender, record.age))
        to._places.append(record.place)
        for box in () if record.box_xyxy is None else (record.box_xyxy, *record.fallback_boxes):
            to._boxes.extend(box)
        to._box_ends.append(len(to._boxes))

    def finish(self, drop_images: Iterable[int] = ()) -> PackedRecords:
        """Sort by image, leave out those of ``drop_images`` and make the record ids unique.

        Of the records that want the same id the first keeps it; the others get a digest of their
        ``source_path``, so the same input always gives the same ids.
        """
        records = self._records
        images = np.frombuffer(records._rows, dtype=np.uintc) if len(self) else np.empty(0)
        kept = ~np.isin(images, np.fromiter(drop_images, dtype=np.int64))
        order = np.argsort(images, kind="stable")
        records._order = order[kept[order]].astype(np.uint32)
        self._rename_clashes()
        return records

    def _rename_clashes(self) -> None:
        records, order = self._records, self._records._order
        if not len(order):
            return
        hashes = np.frombuffer(self._id_hashes, dtype=np.int64)[order]
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        if counts.max() == 1:
            return
        later = np.ones(len(order), dtype=np.bool_)
        later[first] = False
        taken = set(hashes.tolist())
        for position in np.flatnonzero(later):
            row = int(order[position])
            source = records._images[records._rows[row]].source_path
            tried = (
                distinct_record_id(records._ids[row], f"{source}#{attempt}")
                for attempt in itertools.count()
            )
            new_id = next(each for each in tried if hash(each.casefold()) not in taken)
            taken.add(hash(new_id.casefold()))
            records._renamed[row] = new_id


def _checked(index: int, length: int) -> int:
    row = index + length if index < 0 else index
    if not 0 <= row < length:
        raise IndexError(f"expected an index below {length}, got {index}")
    return row
