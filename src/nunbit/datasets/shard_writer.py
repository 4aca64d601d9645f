"""Write one shard (read its photos, cut the faces, fill a tar, record the rows), and count them.

A shard is the unit of work and of resuming. Its tar and its part (the rows and rejects) are renamed
into place when complete, the part last: a shard with a part is finished. Runs inside workers and
therefore loads no pyarrow.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import warnings
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.messages import InputError, MediaError, Text
from nunbit.core.schema import POLICIES, SPLITS, Box, FaceRecord, ImageRef, Reject, Split
from nunbit.datasets.archives import read_image_bytes
from nunbit.datasets.policies import label_under
from nunbit.pictures.crops import (
    MIN_BOX_PX,
    PAD_RGB,
    Crop,
    CropSettings,
    decode_crop,
    sharpness_of,
)
from nunbit.pictures.decode import PIXEL_CAP, TRANSPARENT_RGB
from nunbit.runtime.claims import remove_left
from nunbit.runtime.files import PartStore, atomic_path
from nunbit.runtime.workers import Tools

JPEG_QUALITY = 95
PARTS = ".parts"

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Everything a worker needs to write one shard.

    Attributes:
        index: Number of the shard.
        split: All its records are of this split.
        records: In the order in which the shard holds them.
        out: ``DATA/``.
        crop: Framing.
        fingerprint: Of the plan; a part with another one belongs to another run.
    """

    index: int
    split: Split
    records: tuple[FaceRecord, ...]
    out: Path
    crop: CropSettings
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A row of the manifest without ``label``, which only the policy decides; see ``shards``."""

    record_id: str
    shard: str
    split: Split
    subject_id: str | None
    uploader_label: str | None
    votes: tuple[str | None, ...]
    gender: str | None
    age: str | None
    place: str | None
    box_xyxy: Box | None
    source_path: str
    orientation: int | None
    box_index: int | None
    offset: int
    nbytes: int
    box_px: float
    blur: float
    image_sha1: str


@dataclass(frozen=True, slots=True)
class Part:
    """The results of a shard's records.

    Attributes:
        tar_bytes: Size of the shard.
        rows: Of the records with a crop.
        rejects: Records without a crop.
    """

    tar_bytes: int
    rows: list[ManifestRow]
    rejects: list[Reject]


def shard_name(index: int) -> str:
    """File name of a shard's tar."""
    return f"shard-{index:05d}.tar"


def part_store(out: Path, fingerprint: str) -> PartStore[Part]:
    """Where the rows of finished shards stand until all shards of a plan are finished."""
    return PartStore(out / PARTS, Part, fingerprint)


def write_shard(task: ShardTask, tools: Tools) -> int:
    """Write one shard and its part.

    Returns:
        The number of the shard.

    Raises:
        InputError: The disk is full or not writable, or the source has gone away.
    """
    remove_partial_shards(task.out, task.index)
    rows: list[ManifestRow] = []
    rejects: list[Reject] = []
    # Pillow warns of odd metadata; what matters becomes a reject with a reason.
    with (
        warnings.catch_warnings(action="ignore"),
        atomic_path(task.out / shard_name(task.index)) as partial,
        partial.open("wb") as stream,
    ):
        tar = TarWriter(stream)
        for record in task.records:
            try:
                crop, digest = _crop(record, task, tools.turn)
            except MediaError as exc:
                rejects.append(Reject(record.image.source_path, exc.reason, exc.text.flat()))
            else:
                rows.append(_row(record, task.index, crop, digest, tar))
            tools.advance(1)
        tar_bytes = tar.finish()
    write_part(task, Part(tar_bytes, rows, rejects))
    return task.index


def write_part(task: ShardTask, part: Part) -> None:
    """Write the part of a shard whose tar is complete: from then on it counts as finished."""
    part_store(task.out, task.fingerprint).write(_part_name(task.index), part)


def part_path(task: ShardTask) -> Path:
    """Where a shard's part is; without it the shard counts as missing."""
    return part_store(task.out, task.fingerprint).path(_part_name(task.index))


def read_part(out: Path, index: int, fingerprint: str) -> Part | None:
    """The part of a finished shard; None where it is missing, damaged or of another plan."""
    part = part_store(out, fingerprint).read(_part_name(index))
    tar = out / shard_name(index)
    # A size that differs: the machine, not only the process, went down while writing.
    return part if part and tar.is_file() and tar.stat().st_size == part.tar_bytes else None


def remove_partial_shards(out: Path, index: int | None = None) -> None:
    """Remove the tars that a killed run left half-written: of one shard, or (None) of all."""
    tar = shard_name(index) if index is not None else "shard-[0-9][0-9][0-9][0-9][0-9].tar"
    remove_left(out, f"{tar}.*")


def _part_name(index: int) -> str:
    return f"part-{index:05d}"


class TarWriter:
    """Writes a tar whose bytes depend only on names and contents, and reports offsets."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0

    def add(self, name: str, data: bytes) -> int:
        """Add a file and return the position of its first byte in the tar."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        # GNU headers hold UTF-8 names as they are and up to any length.
        header = info.tobuf(tarfile.GNU_FORMAT, "utf-8")
        offset = self._position + len(header)
        padding = -len(data) % _BLOCK
        for piece in (header, data, bytes(padding)):
            self._stream.write(piece)
        self._position = offset + len(data) + padding
        return offset

    def finish(self) -> int:
        """Write the end marker and return the size of the tar."""
        end = 2 * _BLOCK
        end += -(self._position + end) % tarfile.RECORDSIZE
        self._stream.write(bytes(end))
        return self._position + end


def encode_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A crop as the shards hold it: 8-bit RGB JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


def _crop(
    record: FaceRecord, task: ShardTask, turn: AbstractContextManager[object]
) -> tuple[Crop, str]:
    """The crop, and the digest of the photo."""
    try:
        data = read_image_bytes(record.image)
        crop = decode_crop(data, record.box_xyxy, record.fallback_boxes, task.crop, turn)
    except MediaError as exc:
        if not Path(record.image.path).parent.exists():
            raise _source_gone(record.image) from exc
        raise
    return crop, photo_digest(data)


def photo_digest(data: bytes) -> str:
    """Digest of a photo's bytes: tells identical ones, protects nothing, so the fastest will do."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _row(record: FaceRecord, index: int, crop: Crop, digest: str, tar: TarWriter) -> ManifestRow:
    jpeg = encode_jpeg(crop.pixels)
    grey = np.asarray(Image.fromarray(crop.pixels).convert("L"), dtype=np.float32)
    x0, y0, x1, y1 = crop.box_xyxy or (0, 0, *crop.upright_size)
    return ManifestRow(
        record_id=record.record_id,
        shard=shard_name(index),
        split=record.split,
        subject_id=record.subject_id,
        uploader_label=record.uploader_label,
        votes=record.votes,
        gender=record.gender,
        age=record.age,
        place=record.place,
        box_xyxy=crop.box_xyxy,
        source_path=record.image.source_path,
        orientation=crop.orientation,
        box_index=crop.box_index,
        offset=tar.add(f"{record.record_id}.jpg", jpeg),
        nbytes=len(jpeg),
        box_px=max(x1 - x0, y1 - y0),
        blur=sharpness_of(grey),
        image_sha1=digest,
    )


def _source_gone(image: ImageRef) -> InputError:
    # One missing photo is a reject; a lost disk must not turn half a million photos into rejects.
    folder = Path(image.path).parent
    return InputError(
        Text(
            f"{folder}: the source is gone (disk or network drive disconnected?); connect it and "
            "run the same line again; finished work is kept",
            f"{folder}: 원본 폴더가 사라졌습니다(디스크나 네트워크 드라이브 연결 끊김?). 다시 "
            "연결하고 같은 명령을 다시 실행하십시오. 완료된 작업은 보존됩니다",
        )
    )


UNLABELLED = "unlabelled"


@dataclass(slots=True)
class ShardTally:
    """Counts made while the parts are read.

    Attributes:
        labels: Records by split, uploader label and votes.
        persons: Records by split and subject.
        rejects: Rejects by reason.
        whole_images: Records without a box.
        fallback_boxes: Records whose first box was unusable.
        photos: First 8 bytes of each photo's digest, by split.
        first_reject: For the error when nothing is usable.
    """

    labels: Counter[tuple[str, str | None, tuple[str | None, ...]]] = field(default_factory=Counter)
    persons: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    whole_images: int = 0
    fallback_boxes: int = 0
    photos: dict[str, array[int]] = field(default_factory=dict)
    first_reject: Mapping[str, str] | None = None

    def add_rows(self, rows: Iterable[ManifestRow]) -> None:
        """Count manifest rows."""
        for row in rows:
            split, subject = row.split, row.subject_id
            self.labels[split, row.uploader_label, row.votes] += 1
            if subject is not None:
                self.persons[split, subject] += 1
            self.whole_images += row.box_index is None
            self.fallback_boxes += (row.box_index or 0) > 0
            self.photos.setdefault(split, array("Q")).append(int(row.image_sha1[:16], 16))


def cropping_document(settings: dict[str, Any]) -> dict[str, Any]:
    """How faces are cropped, as ``dataset.json`` tells it."""
    return {
        "kind": settings["crop"],
        "size": settings["size"],
        "margin": settings["margin"] if settings["crop"] == "square" else 0.0,
        "outside_frame_rgb": list(PAD_RGB),
        "transparent_rgb": list(TRANSPARENT_RGB),
        "resample": "bicubic",
        "jpeg_quality": JPEG_QUALITY,
        "min_box_px": MIN_BOX_PX,
        "pixel_cap": PIXEL_CAP,
        "blur": "variance of the 4-neighbour Laplacian of the grey crop",
        "box_px": "longer side of the box in pixels of the upright photo",
    }


def counts_document(tally: ShardTally, label_ids: tuple[str, ...]) -> dict[str, Any]:
    """The counts of ``dataset.json``, for every policy and not only the chosen one.

    Args:
        tally: All records.
        label_ids: The K ids; records without a label count as ``UNLABELLED``.
    """
    by_split = _by_split(tally)
    return {
        "records": sum(by_split.values()),
        "by_split": by_split,
        "by_policy": {
            policy: {split: _classes(tally, policy, split, label_ids) for split in by_split}
            for policy in POLICIES
        },
        "rejects": dict(sorted(tally.rejects.items())),
        "whole_images": tally.whole_images,
        "fallback_boxes": tally.fallback_boxes,
        "subjects": _subjects(tally),
        "identical_photos": _identical_photos(tally),
    }


def count_notes(tally: ShardTally, policy: str, label_ids: tuple[str, ...]) -> Iterator[Text]:
    """Sentences about what a reader of the counts should not overlook."""
    if tally.rejects:
        listed = ", ".join(f"{reason} {n:,}" for reason, n in sorted(tally.rejects.items()))
        yield Text(
            f"inputs not used (rejects.jsonl): {listed}",
            f"쓰지 않은 입력(rejects.jsonl): {listed}",
        )
    if n := tally.fallback_boxes:
        yield Text(
            f"{n:,} images have an unusable first box; another annotator's was used (box_index)",
            f"이미지 {n:,}개는 첫째 상자를 쓸 수 없어 다른 주석자의 상자를 썼습니다(box_index)",
        )
    yield from (
        Text(
            f"{n:,} byte-identical photos occur in both {splits} (image_sha1)",
            f"똑같은 파일 {n:,}개가 {splits} 양쪽에 있습니다(image_sha1)",
        )
        for splits, n in _identical_photos(tally)["across_splits"].items()
    )
    for split in _by_split(tally):
        classes = _classes(tally, policy, split, label_ids)
        if absent := [label for label in label_ids if not classes[label]]:
            listed = ", ".join(absent)
            yield Text(
                f"classes without a single image in {split} under {policy}: {listed}",
                f"{split}에 {policy} 기준으로 한 장도 없는 클래스: {listed}",
            )


def _by_split(tally: ShardTally) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for (split, _, _), n in tally.labels.items():
        totals[split] += n
    return {split: totals[split] for split in SPLITS if totals[split]}


def _classes(
    tally: ShardTally, policy: str, split: str, label_ids: tuple[str, ...]
) -> dict[str, int]:
    classes = dict.fromkeys((*label_ids, UNLABELLED), 0)
    for (own, uploader_label, votes), n in tally.labels.items():
        if own == split:
            classes[label_under(policy, uploader_label, votes) or UNLABELLED] += n
    return classes


def _subjects(tally: ShardTally) -> dict[str, Any]:
    persons = {split: {who for own, who in tally.persons if own == split} for split in SPLITS}
    seen = persons["train"]
    present = [split for split in SPLITS if persons[split]]
    return {
        "by_split": {split: len(persons[split]) for split in present},
        "shared": {f"{a}+{b}": len(persons[a] & persons[b]) for a, b in combinations(present, 2)},
        "unseen": {
            split: {
                "subjects": len(persons[split] - seen),
                "records": sum(
                    n for (own, who), n in tally.persons.items() if own == split and who not in seen
                ),
            }
            for split in present
            if split != "train"
        },
    }


def _identical_photos(tally: ShardTally) -> dict[str, dict[str, int]]:
    digests: dict[str, NDArray[np.uint64]] = {
        split: np.unique(np.frombuffer(tally.photos[split], dtype=np.uint64))
        for split in SPLITS
        if split in tally.photos
    }
    across = {
        f"{a}+{b}": int(np.intersect1d(digests[a], digests[b], assume_unique=True).size)
        for a, b in combinations(digests, 2)
    }
    repeated = {split: len(tally.photos[split]) - len(digests[split]) for split in digests}
    return {
        "repeated_in_split": {split: n for split, n in repeated.items() if n},
        "across_splits": {splits: n for splits, n in across.items() if n},
    }
