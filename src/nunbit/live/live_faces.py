"""Faces of a running session: JPEGs in, what each frame shows and what its windows hold out.

Pictures are decoded by the same path as those of a file, and read by the same reader, so that the
file of the session gives the same. Of each step of the sampling grid the first frame is taken: the
file then holds one frame a step, and reading it picks just these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import (
    FaceStream,
    FaceTrack,
    Floats,
    Frame,
    Interval,
    MeasureBlock,
    Singles,
    VideoInfo,
)
from nunbit.live.events import Chances, FaceBox, FaceState, FaceWindow, LiveSettings
from nunbit.measures.fusion import WindowStream, causal_blocks
from nunbit.model.encoders import Bundle
from nunbit.model.posterior import Posterior
from nunbit.recording.face_looks import FaceChange, rows_of_track, split_tracks
from nunbit.recording.face_part import FacePart
from nunbit.recording.face_reader import FaceSettings
from nunbit.recording.media.container import load_av
from nunbit.recording.media.frames import GridPicker, Upright
from nunbit.recording.observer import Observer
from nunbit.recording.tracking import choose_targets
from nunbit.space.vectors import face_vectors

MAX_SIDE = 1280
"""Larger pictures are shrunk to this, as those of files are."""

# Mean grey levels: a room lit by a screen alone has 15 to 30, a face that can be read 60 and more.
_DARK_PICTURE, _DARK_FACE = 32.0, 48.0


class JpegReader:
    """Decodes the JPEGs of one session.

    Attributes:
        upright: Makes them upright RGB; has the notes on interlaced pictures.
    """

    def __init__(self) -> None:
        self._av = load_av()
        self._decoder = self._av.CodecContext.create("mjpeg", "r")
        self.upright = Upright(MAX_SIDE)

    def read(self, jpeg: bytes, time_s: float) -> tuple[Frame, tuple[int, int]] | None:
        """The picture and its upright size before shrinking; None where it is no JPEG."""
        if not jpeg:  # to the decoder this is the end of all pictures
            return None
        try:
            frames = self._decoder.decode(self._av.Packet(jpeg))
        except (self._av.FFmpegError, ValueError):
            self._decoder = self._av.CodecContext.create("mjpeg", "r")
            return None
        if not frames or frames[-1].is_corrupt:
            return None
        decoded = frames[-1]
        frame = self.upright.convert(time_s, decoded)
        size = decoded.width, decoded.height
        tall = (frame.pixels.shape[0] > frame.pixels.shape[1]) != (size[1] > size[0])
        return frame, (size[1], size[0]) if tall else size


@dataclass(frozen=True, eq=False, slots=True)
class FaceRead:
    """One analysed frame.

    Attributes:
        state: What is wrong, ``ok`` if nothing.
        faces: Largest first.
        p, valence: Of the target, None without a readable one.
        part: To be kept.
        windows: Those that are final now.
    """

    state: FaceState
    faces: tuple[FaceBox, ...]
    p: Chances | None
    valence: float | None
    part: FacePart
    windows: tuple[tuple[Interval, FaceWindow], ...]


class LiveFaces:
    """Reads the frames of one session.

    Args:
        observer: With a reader of faces.
        bundle: Gave the observer its model.
        settings: Of the session.

    Attributes:
        vectors: Start of a window -> (D,) mean of the model's vectors in it, for an aligned bundle;
            windows without enough of a face are not in it.
    """

    def __init__(self, observer: Observer, bundle: Bundle, settings: LiveSettings) -> None:
        assert observer.faces is not None
        self._observer, self._reader = observer, observer.faces
        self._labels, self._settings = bundle.label_set, settings
        self._posterior = Posterior.of(bundle)
        self._signs = np.array([label.valence for label in bundle.label_set.labels], np.float64)
        unvalidated = frozenset(bundle.document.unvalidated_labels or ())
        self._blocks = partial(causal_blocks, labels=bundle.label_set, unvalidated=unvalidated)
        self._windows = WindowStream(self._measure, settings.window_s, settings.hop_s)
        self._persons = _Persons()
        self._picker = GridPicker[None](settings.rate_hz)
        self._step: int | None = None
        self._size: tuple[int, int] | None = None
        self._target: int | None = None
        self._final_s = 0.0
        self._keeps_vectors = bundle.is_aligned
        self.vectors: dict[float, Singles] = {}
        self.jpegs = JpegReader()

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the first picture, upright; boxes of the tables come in these."""
        return self._size

    def wants(self, time_s: float) -> bool:
        """Whether a frame of this time would be analysed: the first of its step, and not late."""
        found = self._picker.place(time_s)
        late = time_s < self._final_s
        return not late and found is not None and (self._step is None or found[0] > self._step)

    def read(self, jpeg: bytes, time_s: float) -> FaceRead | None:
        """Analyse a frame; None where it is no JPEG.

        Args:
            jpeg: Of the camera, not mirrored.
            time_s: On the session's clock; :meth:`wants` said yes.
        """
        decoded = self.jpegs.read(jpeg, time_s)
        if decoded is None:
            return None
        frame, size = decoded
        found = self._picker.place(time_s)
        self._step = None if found is None else found[0]
        if self._size is None:
            self._size = size
            self._reader.set_picture(*size)
        self._observer.push(frame)
        part = self._observer.take()
        assert part is not None
        self._persons.add(part)
        # What was observed is kept in the part; shown is what the bundle's adaptation makes of it.
        stream = self._posterior.faces(part.stream(self._settings.rate_hz, self._labels.ids))
        windows = self._given(self._windows.add(stream))
        target = self._chosen(stream)
        reason = "" if target is None else str(target.reasons[0])
        p = None
        if target is not None and not reason and target.probabilities is not None:
            p = self._chances(target.probabilities[0])
        state = self._state(frame, stream, target, reason)
        valence = None if p is None else self.valence(p)
        return FaceRead(state, self._boxes(stream, target), p, valence, part, windows)

    def until(self, time_s: float) -> tuple[tuple[Interval, FaceWindow], ...]:
        """Windows that end by a time: no frame from before it is taken any more."""
        if time_s <= self._final_s:
            return ()
        self._final_s = time_s
        return self._given(self._windows.add(no_faces(self._settings.rate_hz), time_s))

    def _measure(self, faces: FaceStream, window: Interval) -> tuple[MeasureBlock, ...]:
        own = _with_person(faces, self._persons.choose(self._reader.cuts_s))
        rows = face_vectors(own, [window]) if self._keeps_vectors else None
        if rows is not None and np.isfinite(rows).all():
            self.vectors[round(window.start_s, 6)] = rows[0]
        return self._blocks(own, window)

    def valence(self, p: Chances) -> float:
        """Positive less negative probabilities."""
        return float(np.array([p[label] for label in self._labels.ids]) @ self._signs)

    def _chances(self, row: Singles) -> Chances:
        return {k: round(float(v), 6) for k, v in zip(self._labels.ids, row, strict=True)}

    def _given(
        self, found: Iterable[tuple[MeasureBlock, ...]]
    ) -> tuple[tuple[Interval, FaceWindow], ...]:
        return tuple(_window(blocks, self._labels.ids) for blocks in found)

    def _chosen(self, stream: FaceStream) -> FaceTrack | None:
        """The largest face, or the one before where it is not much smaller."""
        if not stream.tracks:
            return None
        largest = max(stream.tracks, key=_area)
        before = [t for t in stream.tracks if t.track_id == self._target]
        chosen = before[0] if before and _area(before[0]) > _area(largest) / 2 else largest
        self._target = chosen.track_id
        return chosen

    def _boxes(self, stream: FaceStream, target: FaceTrack | None) -> tuple[FaceBox, ...]:
        assert self._size is not None
        scale = np.array([*self._size, *self._size], np.float64)
        return tuple(
            FaceBox(
                tuple(np.round(track.boxes_xyxy[0] / scale, 4).tolist()),
                target is not None and track.track_id == target.track_id,
                str(track.reasons[0]),
            )
            for track in sorted(stream.tracks, key=_area, reverse=True)
        )

    def _state(
        self, frame: Frame, stream: FaceStream, target: FaceTrack | None, reason: str
    ) -> FaceState:
        if target is None:
            return "too_dark" if _brightness(frame.pixels) < _DARK_PICTURE else "no_face"
        limits = FaceSettings()
        yaw, pitch, _ = np.abs(target.pose_deg[0])
        if yaw > limits.max_yaw_deg or pitch > limits.max_pitch_deg:
            return "turned_away"
        if reason == "mouth_covered":
            return "mouth_covered"
        if reason:
            dark = _brightness(_cut(frame.pixels, self._boxes(stream, target))) < _DARK_FACE
            return "too_dark" if dark else "low_quality"
        return "two_people" if int(stream.n_faces[0]) > 1 else "ok"


_SETTLED = 10  # samples: tracks are joined by their first and last ten

_Stretch = tuple[int, float, float]
"""Track, first and last time of a piece of it that shows the person; inf where it goes on."""


class _Persons:
    """Who the person analysed is by all that was seen so far: as a file up to here would have it.

    Holds times and boxes: 24 bytes a face and sample.
    """

    def __init__(self) -> None:
        self._times: dict[int, list[Floats]] = {}
        self._boxes: dict[int, list[Singles]] = {}
        self._changes: list[FaceChange] = []
        self._chosen: tuple[_Stretch, ...] = ()
        self._settled: set[int] = set()  # tracks whose beginning stays as it is
        self._grown: set[int] = set()  # tracks with samples since the choice
        self._knew = (0, 0, 0)  # tracks, changes and cuts at the choice

    def add(self, part: FacePart) -> None:
        """Take what was read."""
        times = np.repeat(part.times_s, part.n_read)
        for track in np.unique(part.tracks).tolist():
            self._grown.add(track)
            own = part.tracks == track
            self._times.setdefault(track, []).append(times[own])
            self._boxes.setdefault(track, []).append(part.faces["boxes_xyxy"][own])
        self._changes += part.changes

    def choose(self, cuts_s: Sequence[float]) -> tuple[_Stretch, ...]:
        """The pieces of tracks that show the person; none where nobody was seen."""
        knows = len(self._times), len(self._changes), len(cuts_s)
        going_on = {k for k, _, last in self._chosen if last == np.inf and k in self._settled}
        if knows == self._knew and self._grown <= going_on:
            return self._chosen  # nobody else was seen: the heaviest person only became heavier
        self._knew, self._grown = knows, set()
        whole = {k: _bare(k, np.concatenate(self._times[k]), self._boxes[k]) for k in self._times}
        for track_id, track in whole.items():  # one array from now on
            self._times[track_id], self._boxes[track_id] = [track.times_s], [track.boxes_xyxy]
        tracks, follows = split_tracks([whole[k] for k in sorted(whole)], self._changes)
        choice = choose_targets(
            tracks, cuts_s=cuts_s, changes_s=[c.time_s for c in self._changes], follows=follows
        )
        pieces = {track.track_id: track for track in tracks}
        self._settled = {k for k, track in whole.items() if len(track.times_s) >= _SETTLED}
        self._chosen = tuple(_stretch(pieces[k], whole) for k in choice.target_tracks)
        return self._chosen


def _bare(track_id: int, times_s: Floats, boxes: Sequence[Singles]) -> FaceTrack:
    """A track of times and boxes alone."""
    n = len(times_s)
    no, pose = np.zeros(n, np.float32), np.zeros((n, 3))
    return FaceTrack(
        track_id, times_s, np.concatenate(boxes), no, no, np.full(n, ""), np.zeros((n, 3, 3)),
        pose, None, no, no,
    )  # fmt: skip


def _stretch(piece: FaceTrack, whole: Mapping[int, FaceTrack]) -> _Stretch:
    """Where a piece of a track that may have been split is."""
    first, last = float(piece.times_s[0]), float(piece.times_s[-1])
    for track_id, track in whole.items():
        at = int(np.searchsorted(track.times_s, first))
        there = at < len(track.times_s) and track.times_s[at] == first
        if there and np.array_equal(track.boxes_xyxy[at], piece.boxes_xyxy[0]):
            return track_id, first, np.inf if last == track.times_s[-1] else last
    raise AssertionError("a piece of no track")


def _with_person(faces: FaceStream, chosen: Sequence[_Stretch]) -> FaceStream:
    """The same samples with the person's as the target's tracks."""
    tracks, targets = [], []
    next_id = max((track.track_id for track in faces.tracks), default=0) + 1
    for track in faces.tracks:
        own = np.zeros(len(track.times_s), bool)
        for track_id, first, last in chosen:
            if track_id == track.track_id:
                own |= (track.times_s >= first) & (track.times_s <= last)
        if own.all():
            targets.append(track.track_id)
        if own.all() or not own.any():
            tracks.append(track)
            continue
        tracks += [rows_of_track(track, own, next_id), rows_of_track(track, ~own, track.track_id)]
        targets.append(next_id)
        next_id += 1
    return replace(faces, tracks=tuple(tracks), targets=tuple(sorted(targets)))


def _window(blocks: Iterable[MeasureBlock], labels: Sequence[str]) -> tuple[Interval, FaceWindow]:
    """A window's rows as an event."""
    found = {b.measure: b for b in blocks if b.modality == "face" and not b.track}
    first = next(iter(found.values()))
    span = Interval(round(float(first.t_start[0]), 6), round(float(first.t_end[0]), 6))
    value = {name: _number(block.value[0]) for name, block in found.items()}
    p = {k: value[f"p_{k}"] for k in labels if f"p_{k}" in value}
    known = {k: v for k, v in p.items() if v is not None}
    measures = {
        name: v for name, v in value.items() if not name.startswith("p_") and name != "valence"
    }
    reason = next(
        (str(found[f"p_{k}"].mask_reason[0]) for k in labels if f"p_{k}" in found), "no_model"
    )
    why = reason if not known else ""
    return span, FaceWindow(known or None, value.get("valence"), why, measures)


def no_faces(rate_hz: float) -> FaceStream:
    """A stretch without any frame."""
    return FaceStream(rate_hz, np.zeros(0), np.zeros(0, np.int64), (), ())


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _area(track: FaceTrack) -> float:
    x0, y0, x1, y1 = track.boxes_xyxy[0].tolist()
    return float((x1 - x0) * (y1 - y0))


def _brightness(pixels: NDArray[np.uint8]) -> float:
    """Mean grey level of every eighth pixel, 0 to 255."""
    return float(pixels[::8, ::8].mean()) if pixels.size else 255.0


def _cut(pixels: NDArray[np.uint8], boxes: Sequence[FaceBox]) -> NDArray[np.uint8]:
    """The picture inside the target's box."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = next(face.box for face in boxes if face.target)
    return pixels[
        max(0, int(y0 * height)) : int(y1 * height), max(0, int(x0 * width)) : int(x1 * width)
    ]


def video_info(width: int, height: int, rate_hz: float, end_s: float = 0.0) -> VideoInfo:
    """The session's pictures as a stream."""
    return VideoInfo(width, height, 0, f"{rate_hz:g}", 0.0, end_s)
