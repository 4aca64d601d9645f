"""Check that a track still shows the same face, by small pictures of it.

After a cut another person can be in the same place before the same background; then place and size
do not help. A small grey picture of the face (and one of what is around it) changes by far more at
once than turning, talking and laughing change it. The pictures of the last three samples are held
in memory and nowhere else: what is kept is that, and when, a face changed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from PIL import Image

from nunbit.core.schema import Box, ReadingNote
from nunbit.core.streams import FaceTrack, Flags, Floats, Pixels, Singles
from nunbit.core.timebase import SAME_S, place_text
from nunbit.pictures.crops import sharpness_of
from nunbit.pictures.landmarks import KEPT_EYES, KEPT_POINTS
from nunbit.recording.media.file_notes import media_note

LOOKS_SAMPLES = 4
"""Samples of a track that are compared: two and two."""

_SIDE, _SHARP_PX = 16, 64
_READ_PX = 160  # lines that are looked at; more take longer and show no more
_FINE = 2  # times finer before it is averaged down
_FACE, _AROUND = 2.6, 5.0  # side in the mean of eye distance and eye-mouth distance
_MOUTH_CORNERS = (KEPT_POINTS.index(61), KEPT_POINTS.index(291))
_BOX_FACE, _BOX_AROUND = 1.0, 1.9  # side in face boxes, without landmarks
# 1 - correlation of the pictures two samples before and two after, the least of the four pairs. Of
# 3869 consecutive samples of single persons (clips of seven sources) none had a face above 0.35 and
# surroundings above 0.10 with a product above 0.067; of two different persons put one after the
# other 87% are above all three, of two in front of the same backdrop 27%: rather a change unseen
# than a person in two (benchmarks/face_changes.py).
_CHANGED_FACE, _CHANGED_AROUND, _CHANGED_BOTH = 0.35, 0.10, 0.09
# Where one face changed, the picture was cut: then less will do for the others.
_ALSO_FACE, _ALSO_BOTH = 0.2, 0.02
# The same face elsewhere after a cut: this alike, and any other this many times less alike.
_SAME_FACE, _CLEAR_BY = 0.15, 2.5


@dataclass(frozen=True, eq=False, slots=True)
class Looks:
    """Small grey pictures of one face in one frame.

    Attributes:
        face: (256,) about mean zero, length 1; zero where it is all the same grey.
        around: (256,) likewise, with what surrounds the face.
        aligned: Whether eyes and mouth lie at the same places, which needs landmarks.
    """

    face: Singles
    around: Singles
    aligned: bool


@dataclass(frozen=True, slots=True)
class FaceChange:
    """A face that was replaced by another in the same place.

    Attributes:
        track: Id of the track that both were taken for.
        time_s: First sample of the other face.
        goes_on: Id of the track in which the first face continues; None if it is in none, or
            unclear.
    """

    track: int
    time_s: float
    goes_on: int | None = None


class LooksWatch:
    """Compares the faces of each track; holds the pictures of its last four samples."""

    def __init__(self) -> None:
        self._tracks: dict[int, deque[tuple[float, Looks]]] = {}

    def add(
        self, time_s: float, faces: Sequence[tuple[int, Looks]], *, longest_gap_s: float
    ) -> tuple[FaceChange, ...]:
        """Take the faces of one frame, each with its track.

        Args:
            time_s: Later than the frame before.
            faces: Track ids and pictures.
            longest_gap_s: Tracks unseen for longer are forgotten.

        Returns:
            Tracks whose face changed one sample ago.
        """
        for track, looks in faces:
            self._tracks.setdefault(track, deque(maxlen=LOOKS_SAMPLES)).append((time_s, looks))
        found = {track: apart([own for _, own in self._tracks[track]]) for track, _ in faces}
        before = {k: recent[-2][0] for k, recent in self._tracks.items() if len(recent) > 1}
        changed = {track for track, (face, around) in found.items() if is_other(face, around)}
        when = {before[track] for track in changed}
        changed |= {
            track
            for track, (face, around) in found.items()
            if face > _ALSO_FACE and face * around > _ALSO_BOTH and before[track] in when
        }
        changes = tuple(
            FaceChange(track, before[track], self._elsewhere(track, changed))
            for track in sorted(changed)
        )
        self._tracks = {
            track: recent
            for track, recent in self._tracks.items()
            if time_s - recent[-1][0] <= longest_gap_s + SAME_S
        }
        return changes

    def _elsewhere(self, track: int, changed: set[int]) -> int | None:
        """The changed track that goes on with the face that this one showed."""
        before, after = ({k: self._tracks[k][at][1] for k in changed} for at in (1, 2))
        gone = before[track]
        distances = {k: _distance(gone.face, after[k].face) for k in changed}
        best = min(distances, key=distances.__getitem__)
        came, nearest = after[best], distances.pop(best)
        if best == track or not gone.aligned or not came.aligned or nearest > _SAME_FACE:
            return None
        others = (_distance(before[k].face, came.face) for k in changed if k != track)
        clear = all(d >= _CLEAR_BY * nearest for d in (*distances.values(), *others))
        return best if clear else None


def apart(looks: Sequence[Looks]) -> tuple[float, float]:
    """Distance between two samples of a face and the two before, face and surroundings, 0 to 2.

    The least of the four pairs, so that one odd sample makes no difference; 0 with fewer than four
    samples, or where some are aligned and some are not.
    """
    if len(looks) < LOOKS_SAMPLES or len({each.aligned for each in looks}) > 1:
        return 0.0, 0.0
    first, last = list(looks)[:2], list(looks)[2:]
    return (
        min(_distance(a.face, b.face) for a in first for b in last),
        min(_distance(a.around, b.around) for a in first for b in last),
    )


def looks_of(pixels: Pixels, box: Box, points: Floats | None) -> Looks:
    """Small pictures of a face.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: Of the face.
        points: (L, 2 or more) of ``KEPT_POINTS`` in the same pixels, or None.
    """
    if points is None or not np.isfinite(points[:, :2]).all():
        centre = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        size, across = max(box[2] - box[0], box[3] - box[1], 1.0), np.array([1.0, 0.0])
        sides = (_BOX_FACE * size, _BOX_AROUND * size)
    else:
        flat = np.asarray(points[:, :2], np.float64)
        left, right = (flat[list(eye)].mean(axis=0) for eye in KEPT_EYES)
        mouth = flat[list(_MOUTH_CORNERS)].mean(axis=0)
        between = (left + right) / 2
        eyes, down = math.dist(left, right), math.dist(between, mouth)
        size = max(math.hypot(eyes, down) / math.sqrt(2), 1.0)
        across = (right - left) / max(eyes, 1e-6)
        centre = between + 0.45 * (mouth - between)
        sides = (_FACE * size, _AROUND * size)
    # Only what is needed becomes an image: a whole one costs more than both small ones.
    reach = math.ceil(sides[1] * 0.75)
    height, width = pixels.shape[:2]
    x0, y0 = max(0, int(centre[0]) - reach), max(0, int(centre[1]) - reach)
    x1, y1 = min(width, int(centre[0]) + reach), min(height, int(centre[1]) + reach)
    if x1 - x0 < 2 or y1 - y0 < 2:
        nothing = np.zeros(_SIDE * _SIDE, np.float32)
        return Looks(nothing, nothing, points is not None)
    step = max(1, (y1 - y0) // _READ_PX)
    grey = Image.fromarray(np.ascontiguousarray(pixels[y0:y1:step, x0:x1:step])).convert("L")
    local = (centre - (x0, y0)) / step
    face, around = (_picture(grey, local, across, side / step) for side in sides)
    return Looks(face, around, points is not None)


def split_tracks(
    tracks: Sequence[FaceTrack], changes: Sequence[FaceChange]
) -> tuple[tuple[FaceTrack, ...], dict[int, int]]:
    """End tracks at the point where another face took their place.

    Args:
        tracks: Of a recording.
        changes: In order of time.

    Returns:
        Tracks by id, each with one face; and ids of tracks with the id of the one in which the same
        face goes on.
    """
    pieces: dict[int, list[FaceTrack]] = {track.track_id: [track] for track in tracks}
    next_id = max(pieces, default=-1) + 1
    cut: dict[tuple[int | None, float], tuple[int, int]] = {}  # ids before and after
    for change in changes:
        *done, last = pieces[change.track]
        first = int(np.searchsorted(last.times_s, change.time_s - SAME_S))
        if 0 < first < len(last.times_s):
            before = rows_of_track(last, slice(first), last.track_id)
            after = rows_of_track(last, slice(first, None), next_id)
            pieces[change.track] = [*done, before, after]
            cut[change.track, change.time_s] = (last.track_id, next_id)
            next_id += 1
    follows = {
        cut[change.track, change.time_s][0]: cut[change.goes_on, change.time_s][1]
        for change in changes
        if {(change.track, change.time_s), (change.goes_on, change.time_s)} <= cut.keys()
    }
    every = sorted((t for own in pieces.values() for t in own), key=lambda t: t.track_id)
    return tuple(every), follows


def rows_of_track(track: FaceTrack, rows: slice | Flags, track_id: int) -> FaceTrack:
    """Some samples of a track, as a track of its own."""
    columns: dict[str, Any] = {
        each.name: value[rows]
        for each in fields(track)
        if isinstance(value := getattr(track, each.name), np.ndarray)
    }
    return replace(track, track_id=track_id, **columns)


def change_notes(changes: Sequence[FaceChange]) -> tuple[ReadingNote, ...]:
    """Notes about faces that changed; empty if none did."""
    times = sorted({change.time_s for change in changes})
    if not times:
        return ()
    count, at = len(times), place_text(times[0])
    return (
        media_note(
            "read",
            "people_changed_at_cut",
            f"{count} times another face suddenly takes the place of one (a cut), first at {at}: "
            "tracks end there and continue only if the faces look alike; check who is analysed",
            f"한 얼굴의 자리에 갑자기 다른 얼굴이 나타난 곳(장면 전환)이 {count}번 있습니다. 처음: "
            f"{at}. 그곳에서 트랙을 끊고, 얼굴 모습이 같을 때만 이었습니다. 누구를 분석했는지 "
            "확인하십시오",
            count=count,
            first_s=times[0],
        ),
    )


def _picture(grey: Image.Image, centre: Floats, across: Floats, side: float) -> Singles:
    n = _FINE * _SIDE
    down = np.array([-across[1], across[0]])
    corner = centre - (across + down) * side / 2
    a, b = across * side / n, down * side / n
    seen = grey.transform(
        (n, n),
        Image.Transform.AFFINE,
        (a[0], b[0], corner[0], a[1], b[1], corner[1]),
        Image.Resampling.BILINEAR,
    )
    flat = np.asarray(seen, np.float32).reshape(_SIDE, _FINE, _SIDE, _FINE).mean(axis=(1, 3))
    flat = flat.reshape(-1) - flat.mean()
    length = float(np.linalg.norm(flat))
    return np.asarray(flat / length if length > 1.0 else flat * 0.0, np.float32)


def is_other(face: float, around: float) -> bool:
    """Whether a distance, see :func:`apart`, means two persons."""
    return face > _CHANGED_FACE and around > _CHANGED_AROUND and face * around > _CHANGED_BOTH


def _distance(first: Singles, second: Singles) -> float:
    return 1.0 - float(first @ second)


def sharpness(pixels: Pixels, box: Box) -> float:
    """Variance of the Laplacian of a face, seen as 64 x 64 grey pixels; grey levels squared.

    All faces are scaled to one size, so that it measures blur and not distance; a small face, which
    is enlarged, counts as blurred.
    """
    height, width = pixels.shape[:2]
    x0, y0 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    part = pixels[y0 : min(height, math.ceil(box[3])), x0 : min(width, math.ceil(box[2]))]
    if part.size == 0:
        return 0.0
    face = Image.fromarray(np.ascontiguousarray(part))
    # As `reducing_gap` does it, but before the colours go: fewer pixels are then converted.
    across, down = (max(1, int(side / (2.0 * _SHARP_PX))) for side in face.size)
    grey = (face.reduce((across, down)) if across * down > 1 else face).convert("L")
    small = grey.resize(
        (_SHARP_PX, _SHARP_PX),
        Image.Resampling.BICUBIC,
        box=(0.0, 0.0, face.width / across, face.height / down),
    )
    return sharpness_of(np.asarray(small, np.float32))
