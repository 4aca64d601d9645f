"""Write one shard: read its photos, cut the faces, fill a tar, note the rows.

A shard is the unit of work and of resuming. Its tar and its part (the rows and rejects) are each
renamed into place when whole, the part last: a shard whose part stands is finished. Runs inside
workers and therefore loads no pyarrow.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.crops import Crop, CropSettings, decode_crop
from nunbit.errors import InputError, MediaError
from nunbit.files import atomic_path
from nunbit.schema import FaceRecord, ImageRef, Reject, Split
from nunbit.sources import read_image_bytes
from nunbit.workers import Tools

JPEG_QUALITY = 95
PARTS = ".parts"

_BLOCK = tarfile.BLOCKSIZE
_PARTIAL = re.compile(r"^\.(shard-\d{5}\.tar|part-\d{5}\.json)\.\d+\.partial$")


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
class Part:
    """What became of a shard's records.

    Attributes:
        fingerprint: Of the plan it belongs to.
        tar_bytes: Size of the shard.
        rows: Manifest rows without ``label``, which only the policy decides.
        rejects: Records without a crop.
    """

    fingerprint: str
    tar_bytes: int
    rows: list[dict[str, Any]]
    rejects: list[Reject]


def shard_name(index: int) -> str:
    """File name of a shard's tar."""
    return f"shard-{index:05d}.tar"


def part_path(out: Path, index: int) -> Path:
    """Where a finished shard's rows stand until all shards are finished."""
    return out / PARTS / f"part-{index:05d}.json"


def write_shard(task: ShardTask, tools: Tools) -> int:
    """Write one shard and its part.

    Returns:
        The number of the shard.

    Raises:
        InputError: The disk is full or not writable, or the source has gone away.
    """
    remove_partials(task.out, task.index)
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    # Pillow warns of odd metadata; what matters becomes a reject with a reason.
    with (
        warnings.catch_warnings(action="ignore"),
        atomic_path(task.out / shard_name(task.index)) as partial,
        partial.open("wb") as stream,
    ):
        tar = TarWriter(stream)
        for record in task.records:
            taken = _crop(record, task, tools.turn)
            if isinstance(taken, Reject):
                rejects.append(taken)
            else:
                rows.append(_row(record, task.index, taken, tar))
            tools.advance(1)
        tar_bytes = tar.finish()
    part = Part(task.fingerprint, tar_bytes, rows, rejects)
    with atomic_path(part_path(task.out, task.index)) as partial:
        partial.write_bytes(msgspec.json.encode(part))
    return task.index


def read_part(out: Path, index: int, fingerprint: str) -> Part | None:
    """The part of a finished shard; None where it is missing, damaged or of another plan."""
    try:
        part = msgspec.json.decode(part_path(out, index).read_bytes(), type=Part)
        tar_bytes = (out / shard_name(index)).stat().st_size
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    # A size that differs: the machine, not only the process, went down while writing.
    return part if (part.fingerprint, part.tar_bytes) == (fingerprint, tar_bytes) else None


def remove_partials(out: Path, index: int | None = None) -> None:
    """Remove what a killed run left half-written: of one shard, or (None) of all."""
    number = "*" if index is None else f"{index:05d}"
    for folder in (out, out / PARTS):
        for path in folder.glob(f".*-{number}.*.partial"):
            if _PARTIAL.match(path.name):
                path.unlink(missing_ok=True)


class TarWriter:
    """A tar whose bytes depend on nothing but names and contents, and which tells offsets."""

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


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian (4 neighbours) of the grey crop; small means blurred.

    Comparable only between crops of the same size and framing.
    """
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


@dataclass(frozen=True, slots=True)
class _Taken:
    crop: Crop
    image_sha1: str


def _crop(
    record: FaceRecord, task: ShardTask, turn: AbstractContextManager[object]
) -> _Taken | Reject:
    try:
        data = read_image_bytes(record.image)
        crop = decode_crop(data, record.box_xyxy, record.fallback_boxes, task.crop, turn)
    except MediaError as exc:
        if not Path(record.image.path).parent.exists():
            raise _source_gone(record.image) from exc
        reason = getattr(exc, "reason", "unreadable")
        return Reject(record.image.source_path, reason, exc.text("en"), exc.text("ko"))
    # To tell byte-identical photos, not to protect anything: the fastest digest will do.
    return _Taken(crop, hashlib.sha1(data, usedforsecurity=False).hexdigest())


def _row(record: FaceRecord, index: int, taken: _Taken, tar: TarWriter) -> dict[str, Any]:
    crop = taken.crop
    jpeg = encode_jpeg(crop.pixels)
    x0, y0, x1, y1 = crop.box_xyxy or (0, 0, *crop.upright_size)
    return {
        "record_id": record.record_id,
        "shard": shard_name(index),
        "split": record.split,
        "subject_id": record.subject_id,
        "uploader_label": record.uploader_label,
        "votes": record.votes,
        "gender": record.gender,
        "age": record.age,
        "place": record.place,
        "box_xyxy": crop.box_xyxy,
        "source_path": record.image.source_path,
        "orientation": crop.orientation,
        "box_index": crop.box_index,
        "offset": tar.add(f"{record.record_id}.jpg", jpeg),
        "nbytes": len(jpeg),
        "box_px": max(x1 - x0, y1 - y0),
        "blur": sharpness(crop.pixels),
        "image_sha1": taken.image_sha1,
    }


def _source_gone(image: ImageRef) -> InputError:
    # One missing photo is a reject; a vanished disk must not turn half a million into rejects.
    folder = Path(image.path).parent
    return InputError(
        en=f"{folder}: the source is gone (disk or network drive disconnected?); connect it and "
        "run the same line again, finished work is kept",
        ko=f"{folder}: 원본 폴더가 사라졌습니다(디스크나 네트워크 드라이브 연결 끊김?). 다시 "
        "연결하고 같은 명령을 다시 실행하십시오. 끝난 작업은 남아 있습니다",
    )
