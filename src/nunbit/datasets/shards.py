"""A prepared data set (``DATA/`` of the contract): join its finished shards, and read it.

``DATA/`` holds ``shard-NNNNN.tar`` in WebDataset layout, ``manifest.parquet`` with one row per
record, ``rejects.jsonl`` and ``dataset.json``, which is written last: it says the data set is
whole. Every row has the offset of its JPEG in the shard, so a crop takes one read at a position
and the tar is never scanned. Rows are in the order of the shards, no matter which process wrote
them and when: parts made on several machines give the same bytes as one run. Knows nothing of
sources or models.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.messages import InputError, MediaError, Text, text_of
from nunbit.core.schema import Reject, Split
from nunbit.datasets.policies import labels_under
from nunbit.datasets.shard_writer import (
    PARTS,
    ManifestRow,
    Part,
    ShardTally,
    read_part,
    remove_partial_shards,
)
from nunbit.language.labels import LabelSet, label_set_from_dict, label_set_to_dict, merge_labels
from nunbit.pictures.given import CROP_WITHOUT_MARGIN, FEWEST_FACES, faces_found
from nunbit.runtime.files import atomic_path, read_json, read_parquet, remove_folder

FORMAT = "nunbit-dataset/1"
MANIFEST = "manifest.parquet"
REJECTS = "rejects.jsonl"
DOCUMENT = "dataset.json"

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),  # file name of the tar
        pa.field("split", pa.string(), nullable=False),
        pa.field("subject_id", pa.string()),
        pa.field("label", pa.string()),  # under the policy named in dataset.json
        pa.field("uploader_label", pa.string()),
        pa.field("votes", pa.list_(pa.string()), nullable=False),
        pa.field("gender", pa.string()),
        pa.field("age", pa.string()),
        pa.field("place", pa.string()),
        pa.field("box_xyxy", pa.list_(pa.float64())),  # clamped, upright source px; null = whole
        pa.field("source_path", pa.string(), nullable=False),
        pa.field("orientation", pa.int32()),  # raw EXIF tag; null = the image has none
        pa.field("box_index", pa.int32()),  # 0 = annotator A's box, 1… = fallback; null = whole
        pa.field("offset", pa.int64(), nullable=False),  # of the JPEG inside its shard, bytes
        pa.field("nbytes", pa.int64(), nullable=False),
        pa.field("box_px", pa.float32(), nullable=False),  # longer side of the box, source px
        pa.field("blur", pa.float32(), nullable=False),  # variance of the crop's Laplacian
        pa.field("image_sha1", pa.string(), nullable=False),  # of the source image's bytes
    ]
)

_OPEN_SHARDS = 64


class DataSet:
    """A prepared data set; rows are in shard order, which is shuffled inside each split.

    Safe to pickle and to use after a fork and from threads: shards are opened at first use and
    read at absolute positions.

    Attributes:
        path: The folder.
        settings: ``dataset.json``.
        label_set: The K classes.
        manifest: N rows of ``MANIFEST_SCHEMA``.
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        label_set: LabelSet,
        manifest: pa.Table,
        merged: LabelSet | None = None,
    ) -> None:
        self.path = path
        self.settings = settings
        self.label_set = label_set
        self.manifest = manifest
        codes = pc.dictionary_encode(manifest.column("shard").combine_chunks())
        self._shard_of: NDArray[np.int32] = codes.indices.to_numpy()
        self._shards = tuple(str(name) for name in codes.dictionary.to_pylist())
        self._offset: NDArray[np.int64] = manifest.column("offset").to_numpy()
        self._nbytes: NDArray[np.int64] = manifest.column("nbytes").to_numpy()
        self._files: OrderedDict[int, _ShardFile] = OrderedDict()
        self._lock = threading.Lock()
        self._merged = merged

    def __len__(self) -> int:
        return int(self.manifest.num_rows)

    def __reduce__(self) -> tuple[object, ...]:
        # A path is all a worker needs; pickling the table would copy it through a pipe.
        return (open_dataset, (self.path, self._merged))

    @property
    def vote_names(self) -> tuple[str, ...]:
        """Names of the annotators, in the order of ``votes``; () where there are none."""
        return tuple(self.settings.get("vote_names", ()))

    @property
    def policy(self) -> str:
        """The label policy that made the column ``label``."""
        return str(self.settings["policy"])

    def column(self, name: str) -> list[Any]:
        """One manifest column as Python values, in row order."""
        return list(self.manifest.column(name).to_pylist())

    def split_rows(self, split: Split) -> NDArray[np.int64]:
        """Row numbers of one split, ascending; empty where the split is missing."""
        own = pc.equal(self.manifest.column("split"), split)
        return np.flatnonzero(own.to_numpy()).astype(np.int64)

    def jpeg(self, row: int) -> bytes:
        """JPEG bytes of the crop.

        Raises:
            InputError: The shard is gone or shorter than the manifest says.
        """
        nbytes = int(self._nbytes[row])
        code = int(self._shard_of[row])
        where = self.path / self._shards[code]
        try:
            data = self._file(code, where).read_at(int(self._offset[row]), nbytes)
        except OSError as exc:
            raise _damaged(where, text_of(str(exc.strerror or exc))) from exc
        if len(data) != nbytes:
            raise _damaged(where, _SHORT)
        return data

    def pixels(self, row: int) -> NDArray[np.uint8]:
        """The crop, (S, S, 3) uint8 RGB.

        Raises:
            InputError: The shard cannot be read or the crop in it is damaged.
        """
        data = self.jpeg(row)
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as exc:
            where = self.path / self._shards[int(self._shard_of[row])]
            raise MediaError(
                Text(
                    f"{where}: crop {self.manifest['record_id'][row]} is damaged ({exc}); "
                    "delete the folder and prepare again",
                    f"{where}: 얼굴 이미지 {self.manifest['record_id'][row]}이(가) 손상되었습니다 "
                    f"({exc}). 폴더를 지우고 prepare를 다시 실행하십시오",
                )
            ) from exc

    def _file(self, code: int, where: Path) -> _ShardFile:
        with self._lock:
            file = self._files.get(code)
            if file is None:
                file = self._files[code] = _ShardFile(where)
                if len(self._files) > _OPEN_SHARDS:
                    self._files.popitem(last=False)
            self._files.move_to_end(code)
            return file


class _ShardFile:
    """A file read at absolute positions; closed when its last reader lets go of it."""

    def __init__(self, path: Path) -> None:
        self._fd = -1
        self._lock = threading.Lock()
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def read_at(self, offset: int, nbytes: int) -> bytes:
        if sys.platform != "win32":
            return os.pread(self._fd, nbytes, offset)
        with self._lock:
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, nbytes)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def open_dataset(path: Path, merged: LabelSet | None = None, *, whole: bool = True) -> DataSet:
    """Open a prepared data set and check that it is whole.

    Args:
        path: ``DATA/``.
        merged: A coarser label set: labels and votes are joined into its classes, and the label
            under the policy is decided anew from the joined votes (three annotators who name three
            sad expressions agree once these are one class). Photos are not read again.
        whole: Its shards must be there; if False, :func:`broken_shards` says which are not.

    Raises:
        InputError: Not a prepared data set, not finished, of another format, a shard is missing
            or too short, or ``merged`` does not cover the data set's classes.
    """
    path = Path(path)
    if not (path / DOCUMENT).is_file() or not (path / MANIFEST).is_file():
        raise InputError(
            Text(
                f"{path}: not a complete data set ({DOCUMENT} or {MANIFEST} is missing); make it "
                "with `prepare`, or run the same line again to complete it",
                f"{path}: 완성된 데이터 세트가 아닙니다({DOCUMENT} 또는 {MANIFEST} 없음). "
                "`prepare`로 만들거나 같은 명령을 다시 실행하십시오",
            )
        )
    document = read_json(path / DOCUMENT)
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise InputError(
            Text(
                f"{path / DOCUMENT}: format is {found!r}, this nunbit reads {FORMAT!r}; "
                "prepare the data again",
                f"{path / DOCUMENT}: 형식이 {found!r}입니다. 이 nunbit은 {FORMAT!r}만 읽습니다. "
                "prepare를 다시 실행하십시오",
            )
        )
    label_set = label_set_from_dict(document.get("label_set", {}), str(path / DOCUMENT))
    manifest = _read_manifest(path / MANIFEST)
    for name, why in broken_shards(path, manifest).items() if whole else ():
        raise _damaged(path / name, why)
    if merged is None or merged.name == label_set.name:
        return DataSet(path, document, label_set, manifest)
    own, new_id = merge_labels(label_set, merged)
    document |= {"label_set": label_set_to_dict(own), "merged_from": label_set.name}
    manifest = _merge_manifest(manifest, new_id, str(document["policy"]))
    return DataSet(path, document, own, manifest, merged)


def _merge_manifest(manifest: pa.Table, new_id: dict[str, str], policy: str) -> pa.Table:
    uploader = [None if x is None else new_id[x] for x in manifest["uploader_label"].to_pylist()]
    votes = [
        tuple(None if v is None else new_id[v] for v in cast)
        for cast in manifest["votes"].to_pylist()
    ]
    columns = {
        "uploader_label": uploader,
        "votes": votes,
        "label": labels_under(policy, uploader, votes),
    }
    for name, values in columns.items():
        place = manifest.column_names.index(name)
        column = pa.array(values, MANIFEST_SCHEMA.field(name).type)
        manifest = manifest.set_column(place, MANIFEST_SCHEMA.field(name), column)
    return manifest


_UNREADABLE = Text(
    "cannot read the manifest: {reason}; prepare the data again",
    "목록을 읽을 수 없습니다: {reason}. prepare를 다시 실행하십시오",
)


def _read_manifest(path: Path) -> pa.Table:
    table = read_parquet(path, _UNREADABLE)
    if missing := [name for name in MANIFEST_SCHEMA.names if name not in table.column_names]:
        raise InputError(
            Text(
                f"{path}: columns missing: {', '.join(missing)}; prepare the data again",
                f"{path}: 열이 없습니다: {', '.join(missing)}. prepare를 다시 실행하십시오",
            )
        )
    return table


def broken_shards(path: Path, manifest: pa.Table) -> dict[str, Text]:
    """Shards that are missing or shorter than the manifest says, and which of both."""
    broken: dict[str, Text] = {}
    ends = pa.table(
        {
            "shard": manifest["shard"],
            "end": pc.add(manifest["offset"], manifest["nbytes"]),
        }
    )
    for row in ends.group_by("shard").aggregate([("end", "max")]).to_pylist():
        try:
            if (path / row["shard"]).stat().st_size < row["end_max"]:
                broken[row["shard"]] = _SHORT
        except OSError:
            broken[row["shard"]] = Text("missing", "파일이 없음")
    return broken


_SHORT = Text("shorter than manifest.parquet says", "manifest.parquet보다 짧음")


def _damaged(where: Path, detail: Text) -> InputError:
    return InputError(
        Text(
            f"{where}: cannot read this shard: {detail.en}; copy it again or prepare the data "
            "again",
            f"{where}: 샤드를 읽을 수 없습니다: {detail.ko}. 다시 복사하거나 prepare를 다시 "
            "실행하십시오",
        )
    )


_ROWS_PER_GROUP = 16_384


def missing_shards(out: Path, indices: Iterable[int], fingerprint: str) -> list[int]:
    """The unfinished shards among ``indices``."""
    return [index for index in indices if read_part(out, index, fingerprint) is None]


def merge_parts(
    out: Path, n_shards: int, fingerprint: str, policy: str, rejects: Iterable[Reject]
) -> ShardTally | None:
    """Write manifest and rejects from the parts of all shards.

    Args:
        out: ``DATA/``.
        n_shards: Number of shards of the plan.
        fingerprint: Of the plan.
        policy: Decides the column ``label``.
        rejects: What the source itself rejected; they come first.

    Returns:
        The counts; None where a part is missing, because another run has merged meanwhile.

    Raises:
        InputError: Not a single image could be used, or writing failed.
    """
    tally = ShardTally()
    try:
        with (
            atomic_path(out / MANIFEST) as manifest,
            atomic_path(out / REJECTS) as reject_lines,
            reject_lines.open("w", encoding="utf-8", newline="\n") as lines,
            pq.ParquetWriter(manifest, MANIFEST_SCHEMA, compression="zstd") as writer,
        ):
            _write_rejects(lines, (reject.to_row() for reject in rejects), tally)
            waiting: list[pa.Table] = []
            for part in _parts(out, n_shards, fingerprint):
                tally.add_rows(part.rows)
                _write_rejects(lines, (reject.to_row() for reject in part.rejects), tally)
                waiting.append(_table(part.rows, policy))
                if sum(table.num_rows for table in waiting) >= _ROWS_PER_GROUP:
                    _write_group(writer, waiting)
            _write_group(writer, waiting)
            if not tally.labels:
                raise _nothing_usable(out, tally)
    except _PartMissing:
        return None
    return tally


def remove_parts(out: Path) -> None:
    """Remove the files that only an unfinished data set needs."""
    remove_partial_shards(out)
    remove_folder(out / PARTS)


class _PartMissing(Exception):  # noqa: N818  (a signal, not an error)
    pass


def _parts(out: Path, n_shards: int, fingerprint: str) -> Iterator[Part]:
    for index in range(n_shards):
        part = read_part(out, index, fingerprint)
        if part is None:
            raise _PartMissing
        yield part


def _write_rejects(lines: TextIO, rows: Iterable[Mapping[str, str]], tally: ShardTally) -> None:
    for row in rows:
        tally.rejects[row["reason"]] += 1
        tally.first_reject = tally.first_reject or row
        lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def whole_photos(dataset: DataSet) -> Text | None:
    """What to say where pictures without a box, which are taken whole, are no face crops."""
    whole = np.flatnonzero([box is None for box in dataset.column("box_index")])
    if not len(whole):
        return None
    some = [dataset.pixels(int(row)) for row in whole[:: len(whole) // 30 + 1]]
    found, of = faces_found(some, CROP_WITHOUT_MARGIN)
    if found >= FEWEST_FACES * of:
        return None
    return Text(
        f"{len(whole):,} pictures have no box and were taken whole, and in {of - found} of {of} "
        "looked at no face fills the picture: give face crops, or a table with x0, y0, x1, y1",
        f"상자가 없어 사진 전체를 쓴 그림이 {len(whole):,}개인데, 살펴본 {of}개 중 "
        f"{of - found}개에서 그림을 채우는 얼굴을 찾지 못했습니다. 얼굴만 자른 그림이나 x0, y0, "
        "x1, y1이 있는 표를 주십시오",
    )


def _table(rows: list[ManifestRow], policy: str) -> pa.Table:
    labels = labels_under(policy, [row.uploader_label for row in rows], [row.votes for row in rows])
    plain: list[dict[str, Any]] = msgspec.to_builtins(rows)
    labelled = [row | {"label": label} for row, label in zip(plain, labels, strict=True)]
    return pa.Table.from_pylist(labelled, schema=MANIFEST_SCHEMA)


def _write_group(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> None:
    # One group for many shards: groups of a few hundred rows compress badly and read slowly.
    if waiting:
        table = pa.concat_tables(waiting).combine_chunks()
        writer.write_table(table, row_group_size=max(1, table.num_rows))
        waiting.clear()


def _nothing_usable(out: Path, tally: ShardTally) -> InputError:
    listed = ", ".join(f"{reason} {n:,}" for reason, n in sorted(tally.rejects.items()))
    first = tally.first_reject or {"detail": "-", "detail_ko": "", "file": "-"}
    example = Text(first["detail"], first["detail_ko"] or first["detail"]).under(first["file"])
    return InputError(
        Text(
            f"{out}: not a single image could be used ({listed}); the first: {example.en}; check "
            "SRC",
            f"{out}: 쓸 수 있는 이미지가 하나도 없습니다({listed}). 첫째: {example.ko}. "
            "SRC를 확인하십시오",
        )
    )
