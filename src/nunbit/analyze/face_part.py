"""What was read of the faces in a stretch of a recording, kept on disk until the recording is done.

So that hours take no more memory than minutes, and a killed analysis goes on from there. A part
holds numbers only, no pixels.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.analyze.face_looks import FaceChange
from nunbit.analyze.face_rows import Column, FaceSample, TrackRows
from nunbit.analyze.face_search import SearchState
from nunbit.errors import InputError
from nunbit.files import atomic_path, read_json, write_json, writing
from nunbit.schema import Box
from nunbit.streams import Floats

_KEY = "key.json"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
_PLAIN = ("times_s", "counts", "cuts", "n_read", "boxes", "tracks", "changed")
_FACES = "faces_"  # before the names of the columns that have a row a face


@dataclass(frozen=True, eq=False, slots=True)
class FacePart:
    """Consecutive frames.

    Attributes:
        times_s: (F,) when.
        counts: (F,) how many faces there are.
        cuts: (F,) whether the picture changed altogether.
        n_read: (F,) how many of the faces were read.
        boxes: (N, 4) float64, N = sum of ``n_read``; linking compares them to the last bit.
        tracks: (N,) ids of the tracks that the faces belong to.
        faces: Columns as ``TrackRows.take`` gives them, (N, ...), in order of frames.
        state: How the search goes on after the last frame.
        changed: (C, 3) where another face came into the place of one: track, time, and the track
            in which the first goes on, -1 for none.
    """

    times_s: Floats
    counts: NDArray[np.int64]
    cuts: NDArray[np.bool_]
    n_read: NDArray[np.int64]
    boxes: Floats
    tracks: NDArray[np.int64]
    faces: dict[str, NDArray[Any]]
    state: SearchState
    changed: Floats

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

    def changes(self) -> list[FaceChange]:
        """Where another face came into the place of one."""
        return [
            FaceChange(int(track), time_s, None if goes_on < 0 else int(goes_on))
            for track, time_s, goes_on in self.changed.tolist()
        ]

    def faces_at(self, time_s: float) -> tuple[Floats, NDArray[np.int64]]:
        """Boxes (n, 4) and tracks (n,) of the faces of one frame."""
        at = int(np.searchsorted(self.times_s, time_s))
        stop = int(self.n_read[: at + 1].sum())
        own = slice(stop - int(self.n_read[at]), stop)
        return self.boxes[own], self.tracks[own]

    def rows_of(self, track_id: int) -> dict[str, NDArray[Any]]:
        """The faces of one track."""
        chosen = self.tracks == track_id
        return {name: rows[chosen] for name, rows in self.faces.items()}


class PartRows:
    """The part that grows while frames are read; see :class:`FacePart`."""

    def __init__(self, *, with_landmarks: bool) -> None:
        self._with_landmarks = with_landmarks
        self._clear()

    def _clear(self) -> None:
        self._frames: list[tuple[float, int, bool, int]] = []
        self._state = SearchState()
        self._boxes, self._tracks = Column((4,), np.float64), Column((), np.int64)
        self._changed = Column((3,), np.float64)
        self.faces = TrackRows(with_landmarks=self._with_landmarks)

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

    def add_changes(self, changes: Iterable[FaceChange]) -> None:
        """Append what was found about earlier faces."""
        for each in changes:
            goes_on = -1 if each.goes_on is None else each.goes_on
            self._changed.add((each.track, each.time_s, goes_on))

    def take(self) -> FacePart:
        """The finished part; empty afterwards. Every face must have its answer."""
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
            changed=self._changed.take(),
        )
        self._clear()
        return part


class Unfinished:
    """The parts of one recording that is not done.

    Args:
        folder: For this recording's parts alone.
        key: What decides the parts, as it comes back from JSON; parts of another key are not used.
    """

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        self._folder, self._key = folder, key
        self._next = 0

    def recover(self) -> Iterator[FacePart]:
        """What an earlier run has read, in order, up to a file that is missing or damaged."""
        if not self._is_mine():
            remove_parts(self._folder)
            return
        while True:
            try:
                part = _load(self._path(self._next))
            except _UNREADABLE:
                return
            self._next += 1
            yield part

    def parts(self) -> Iterator[FacePart]:
        """All parts recovered and added, in order.

        Raises:
            InputError: A file was changed or deleted in the meantime.
        """
        for number in range(self._next):
            path = self._path(number)
            try:
                yield _load(path)
            except _UNREADABLE as exc:
                raise InputError(
                    en=f"{path}: written by this run and unreadable now: {exc}; run the same line "
                    "again",
                    ko=f"{path}: 이번 실행에서 쓴 파일을 다시 읽을 수 없습니다: {exc}. 같은 "
                    "명령을 다시 실행하십시오",
                ) from exc

    def add(self, part: FacePart) -> None:
        """Write the next part.

        Raises:
            InputError: The disk is full, or the like.
        """
        if self._next == 0:
            write_json(self._folder / _KEY, self._key)
        with atomic_path(self._path(self._next)) as partial, partial.open("wb") as stream:
            rows: dict[str, Any] = {_FACES + name: column for name, column in part.faces.items()}
            rows |= {name: getattr(part, name) for name in _PLAIN}
            rows["state"] = np.frombuffer(msgspec.msgpack.encode(part.state), np.uint8)
            np.savez(stream, **rows)
        self._next += 1

    def _is_mine(self) -> bool:
        try:
            return bool(read_json(self._folder / _KEY) == self._key)
        except InputError:
            return False

    def _path(self, number: int) -> Path:
        return self._folder / f"faces-{number:05d}.npz"


def remove_parts(folder: Path) -> None:
    """Delete a recording's parts: it is done, or they are of another file or settings.

    Raises:
        InputError: They cannot be deleted.
    """
    if folder.exists():
        with writing(folder):
            shutil.rmtree(folder)


def _load(path: Path) -> FacePart:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        rows = {name: stored[name] for name in stored.files}
    state = msgspec.msgpack.decode(rows["state"].tobytes(), type=SearchState)
    part = FacePart(
        **{name: rows[name] for name in _PLAIN},
        faces={n.removeprefix(_FACES): r for n, r in rows.items() if n.startswith(_FACES)},
        state=state,
    )
    if len(part.times_s) == 0 or any(len(r) != len(part.boxes) for r in part.faces.values()):
        raise ValueError(f"{path}: no frames, or columns of different lengths")
    return part
