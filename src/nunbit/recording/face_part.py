"""Rows of faces over time, packed in memory and kept on disk in parts until a recording is done.

Hours then need no more memory than minutes, and a killed analysis can be resumed. With landmarks a
sample takes about 0.6 kB: 43 MB for two hours of one face at 10 Hz. Numbers only, no pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.schema import Box
from nunbit.core.streams import REASONS, FaceStream, FaceTrack, Floats, Singles
from nunbit.pictures.expression_channels import KEPT_CHANNELS
from nunbit.pictures.landmarks import KEPT_POINTS, pose_angles
from nunbit.recording.face_looks import FaceChange
from nunbit.recording.face_search import SearchState
from nunbit.runtime.files import PartStore

_PACK_AT = 256  # loose rows take 100 bytes more each


class Column:
    """Rows of one shape and type; packed every 256 rows."""

    def __init__(self, shape: tuple[int, ...], kind: type[np.generic]) -> None:
        self._shape, self._kind = shape, kind
        self._packed: list[NDArray[Any]] = []
        self._loose: list[Any] = []

    def add(self, row: Any) -> None:
        """Append one row."""
        self._loose.append(row)
        if len(self._loose) == _PACK_AT:
            self._pack()

    def take(self) -> NDArray[Any]:
        """All rows as one array; the column is empty afterwards."""
        self._pack()
        parts, self._packed = self._packed, []
        return np.concatenate(parts)

    def _pack(self) -> None:
        rows = np.array(self._loose, self._kind).reshape(len(self._loose), *self._shape)
        self._packed.append(rows)
        self._loose = []


@dataclass(frozen=True, eq=False, slots=True)
class FaceSample:
    """Measurements of one face in one frame; the fields are those of ``FaceTrack``.

    Attributes:
        time_s: Of the frame.
        box_xyxy: Pixels of the upright picture.
        reason: Position in ``REASONS``.
        landmarks: (L, 3) of ``KEPT_POINTS``, NaN where they were not found.
        channels: (C,) of ``KEPT_CHANNELS``, likewise.
    """

    time_s: float
    box_xyxy: Box
    det_score: float
    sharpness: float
    reason: int
    rotation: Floats
    landmarks: Floats
    mouth_open: float
    eye_aspect: float
    channels: Singles


_COLUMNS: dict[str, tuple[str, tuple[int, ...], type[np.generic]]] = {
    "times_s": ("time_s", (), np.float64),
    "boxes_xyxy": ("box_xyxy", (4,), np.float32),
    "det_score": ("det_score", (), np.float32),
    "sharpness": ("sharpness", (), np.float32),
    "reasons": ("reason", (), np.int8),
    "rotation": ("rotation", (3, 3), np.float32),
    "mouth_open": ("mouth_open", (), np.float32),
    "eye_aspect": ("eye_aspect", (), np.float32),
    "landmarks": ("landmarks", (len(KEPT_POINTS), 3), np.float32),
    "channels": ("channels", (len(KEPT_CHANNELS),), np.float32),
}
"""Column of a track -> field of a sample, shape and type of a row."""


class TrackRows:
    """Samples of tracks while they are read.

    Args:
        without: Columns that there is no network for.
    """

    def __init__(self, without: Collection[str]) -> None:
        self._columns = {
            name: Column(shape, kind)
            for name, (_, shape, kind) in _COLUMNS.items()
            if name not in without
        }

    def add(self, sample: FaceSample) -> None:
        """Append a sample."""
        for name, (field, _, _) in _COLUMNS.items():
            if name in self._columns:
                self._columns[name].add(getattr(sample, field))

    def add_answer(self, chances: Singles, vector: Singles | None) -> None:
        """Append the model's probabilities of the oldest sample that has none yet."""
        given = {"probabilities": chances} | ({} if vector is None else {"embeddings": vector})
        for name, row in given.items():
            self._columns.setdefault(name, Column(row.shape, np.float32)).add(row)

    def take(self) -> dict[str, NDArray[Any]]:
        """All rows by the names of ``FaceTrack``; ``reasons`` as indices; empty afterwards."""
        return {name: column.take() for name, column in self._columns.items()}


Rows = dict[str, NDArray[Any]]
"""Column of a track -> its rows, as :meth:`TrackRows.take` gives them."""


def track_of(track_id: int, pieces: Sequence[Rows]) -> FaceTrack:
    """A track from its rows, in one or more pieces in order of time."""
    rows = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    rotation = rows["rotation"].astype(np.float64)
    return FaceTrack(
        track_id=track_id,
        times_s=rows["times_s"],
        boxes_xyxy=rows["boxes_xyxy"],
        det_score=rows["det_score"],
        sharpness=rows["sharpness"],
        reasons=np.array(REASONS)[rows["reasons"]],
        rotation=rotation,
        pose_deg=pose_angles(rotation),
        landmarks=rows.get("landmarks"),
        mouth_open=rows["mouth_open"],
        eye_aspect=rows["eye_aspect"],
        embeddings=rows.get("embeddings"),
        probabilities=rows.get("probabilities"),
        channels=rows.get("channels"),
    )


@dataclass(frozen=True, eq=False, slots=True)
class FacePart:
    """Consecutive frames.

    Attributes:
        times_s: (F,) when.
        counts: (F,) how many faces there are.
        cuts: (F,) whether the whole picture changed.
        n_read: (F,) how many of the faces were read.
        boxes: (N, 4) float64, N = sum of ``n_read``; linking compares them to the last bit.
        tracks: (N,) ids of the tracks that the faces belong to.
        faces: Columns as ``TrackRows.take`` gives them, (N, ...), in order of frames.
        state: State of the search after the last frame.
        changes: Faces that were replaced by another in the same place.
    """

    times_s: Floats
    counts: NDArray[np.int64]
    cuts: NDArray[np.bool_]
    n_read: NDArray[np.int64]
    boxes: Floats
    tracks: NDArray[np.int64]
    faces: dict[str, NDArray[Any]]
    state: SearchState
    changes: tuple[FaceChange, ...]

    @property
    def end_s(self) -> float:
        """Time of the last frame."""
        return float(self.times_s[-1])

    def frames(self) -> Iterator[tuple[float, int, bool, list[Box]]]:
        """Time, count, cut and boxes of the faces read, of each frame."""
        boxes = iter([(x0, y0, x1, y1) for x0, y0, x1, y1 in self.boxes.tolist()])
        columns = (self.times_s, self.counts, self.cuts, self.n_read)
        for time_s, count, cut, n in zip(*(c.tolist() for c in columns), strict=True):
            yield time_s, count, cut, list(islice(boxes, n))

    def faces_at(self, time_s: float) -> tuple[Floats, NDArray[np.int64], Singles]:
        """Boxes (n, 4), tracks (n,) and landmarks (n, L, 3) of the faces of one frame."""
        at = int(np.searchsorted(self.times_s, time_s))
        stop = int(self.n_read[: at + 1].sum())
        own = slice(stop - int(self.n_read[at]), stop)
        nothing = np.full((len(self.boxes), len(KEPT_POINTS), 3), np.nan, np.float32)
        return self.boxes[own], self.tracks[own], self.faces.get("landmarks", nothing)[own]

    def stream(self, rate_hz: float, labels: tuple[str, ...] = ()) -> FaceStream:
        """The samples of this part as a stream, without anybody chosen."""
        return FaceStream(
            rate_hz=rate_hz,
            sample_times_s=self.times_s,
            n_faces=self.counts,
            tracks=tuple(track_of(k, [self.rows_of(k)]) for k in np.unique(self.tracks).tolist()),
            targets=(),
            labels=labels,
            has_landmarks="landmarks" in self.faces,
        )

    def rows_of(self, track_id: int) -> Rows:
        """The faces of one track."""
        chosen = self.tracks == track_id
        return {name: rows[chosen] for name, rows in self.faces.items()}


class PartRows:
    """The part that grows while frames are read; see :class:`FacePart`.

    Args:
        without: Columns of the faces that there is no network for.
    """

    def __init__(self, *, without: Collection[str] = ()) -> None:
        self._without = without
        self._clear()

    def _clear(self) -> None:
        self._frames: list[tuple[float, int, bool, int]] = []
        self._state = SearchState()
        self._boxes, self._tracks = Column((4,), np.float64), Column((), np.int64)
        self.changes: list[FaceChange] = []
        self.faces = TrackRows(self._without)

    def __len__(self) -> int:
        return len(self._frames)

    def add_frame(self, time_s: float, count: int, cut: bool, state: SearchState) -> None:
        """Begin a frame; the state is that after it."""
        self._frames.append((time_s, count, cut, 0))
        self._state = state

    def add(self, sample: FaceSample, track_id: int) -> None:
        """Append a face of the frame begun last."""
        time_s, count, cut, n = self._frames[-1]
        self._frames[-1] = (time_s, count, cut, n + 1)
        self._tracks.add(track_id)
        self._boxes.add(sample.box_xyxy)
        self.faces.add(sample)

    def take(self) -> FacePart:
        """The finished part; empty afterwards. Every face must have its probabilities."""
        times, counts, cuts, n_read = zip(*self._frames, strict=True)
        part = FacePart(
            times_s=np.array(times, np.float64),
            counts=np.array(counts, np.int64),
            cuts=np.array(cuts, np.bool_),
            n_read=np.array(n_read, np.int64),
            boxes=self._boxes.take(),
            tracks=self._tracks.take(),
            faces=self.faces.take(),
            state=self._state,
            changes=tuple(self.changes),
        )
        self._clear()
        return part


class Unfinished:
    """The parts of one unfinished recording.

    Args:
        folder: For this recording's parts alone.
        key: What decides the parts; parts of another key are not used.
    """

    def __init__(self, folder: Path, key: object) -> None:
        self._store = PartStore(folder / "faces", FacePart, key)
        self._next = 0

    def recover(self) -> Iterator[FacePart]:
        """Parts of an earlier run, in order, up to the first file that is missing or damaged."""
        self._store.remove_stale()
        while (part := self._store.read(_name(self._next))) is not None:
            self._next += 1
            yield part

    def parts(self) -> Iterator[FacePart]:
        """All parts recovered and added, in order.

        Raises:
            InputError: A file was changed or deleted in the meantime.
        """
        return map(self._store.read_own, map(_name, range(self._next)))

    def add(self, part: FacePart) -> None:
        """Write the next part.

        Raises:
            InputError: The disk is full, or the like.
        """
        self._store.write(_name(self._next), part)
        self._next += 1


def _name(number: int) -> str:
    return f"faces-{number:05d}"
