"""How head and face move between frames, freed of the tremor of the landmarks.

Speeds are taken between a frame and the one about 0.1 s before it, whatever the frame rate, so that
jitter does not make a recording at 60 frames a second look livelier. Landmarks tremble even on a
still photo. The size of this tremor is estimated from the recording: tremor has no memory, so it
shows in the difference between neighbouring steps, which real turns hardly affect. It is subtracted
from the squares of all speeds, and a speed that does not exceed it is missing. M samples, L
landmarks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nunbit.core.schema import Box
from nunbit.core.streams import FaceTrack, Flags, Floats, Frame, MediaInfo, Singles
from nunbit.core.timebase import SAME_S
from nunbit.pictures.face_mesh import Landmarker
from nunbit.pictures.faces import DetectorSettings, detect_faces
from nunbit.pictures.landmarks import KEPT_EYES, geodesic_deg, kept_lip_height, lip_height
from nunbit.recording.face_search import overlapping

FACE_MIN_SCORE = 0.8
"""Detections below this take no part. The detector's score is no calibrated probability: faces of
25 real clips score 0.92 to 0.95, so this drops false alarms. Size and blur are the reader's own
reasons, which come first."""

STEP_S = 0.1
"""Speeds are measured over about this time."""

LONGEST_STEP_S = 0.25
"""Frames further apart say nothing about speed (signals.md, measure 6)."""

QUIET = 0.25
"""Tremor is read in the quietest quarter of the recording: the rest may be talking or nodding."""

QUIET_OF_CHI2_3 = 1.2125
"""Lower quartile of the squared length of a normal vector in three dimensions."""

MIN_QUIET_STEPS = 20
"""Fewer steps say too little about the tremor: 2 s."""

_NO_TREMOR = 1e-3
"""Degrees or eye distances a second: below what the smallest landmarks of float32 carry."""

EyePoints = tuple[tuple[int, ...], tuple[int, ...]]
"""Landmarks whose mean is the right eye, and the left one."""

_SEARCH_AGAIN_PX = 320  # where the mouth of the frame before is lost
_CHUNK = 2048  # frames whose landmarks are in work at once: 8 MB with all 468 points


@dataclass(frozen=True, eq=False)
class Steps:
    """Which earlier sample each sample is compared with.

    Attributes:
        partner: (M,) index of the earlier sample, -1 where none is near enough.
        delta_s: (M,) time between them, NaN where there is none.
    """

    partner: NDArray[np.int64]
    delta_s: Floats


def steps_between(times_s: Floats, usable: Flags) -> Steps:
    """Pair each usable sample with the usable one nearest to 0.1 s earlier.

    Args:
        times_s: (M,) increasing.
        usable: (M,) samples that may be used at all.
    """
    n = len(times_s)
    partner, delta = np.full(n, -1, np.int64), np.full(n, np.nan)
    index = np.flatnonzero(usable)
    if len(index) < 2:
        return Steps(partner, delta)
    times = times_s[index]
    place = np.arange(len(index))
    after = np.searchsorted(times, times - STEP_S - SAME_S)
    right = np.minimum(after, place - 1)  # never the sample itself
    left = np.maximum(np.minimum(after - 1, place - 1), 0)
    far = np.abs(times - STEP_S - times[left]) < np.abs(times - STEP_S - times[right]) - SAME_S
    chosen = np.where(far & (left < place), left, right)
    chosen[0] = 0
    apart = times - times[chosen]
    good = (apart > 0) & (apart <= LONGEST_STEP_S + SAME_S)
    partner[index[good]] = index[chosen[good]]
    delta[index[good]] = apart[good]
    return Steps(partner, delta)


@dataclass(frozen=True, eq=False)
class Motion:
    """A speed without tremor, and its ratio to the tremor.

    Attributes:
        measured: (M,) with tremor.
        speed: (M,) speed without tremor, NaN if unknown.
        above_noise: (M,) measured speed in units of what tremor alone brings about.
    """

    measured: Floats
    speed: Floats
    above_noise: Floats


def head_turns(rotation: Floats, steps: Steps) -> Motion:
    """Head speed in degrees per second, averaged over five steps and freed of tremor.

    Five steps, half a second, divide tremor by five; a nod of 1 Hz loses a third, slow turns none.

    Unsigned angles per axis would call a turn from +10 to -10 degrees no turn; this is 20 degrees.

    Args:
        rotation: (M, 3, 3).
        steps: Pairs.
    """
    turns = np.full((len(rotation), 3), np.nan)
    later = np.flatnonzero(steps.partner >= 0)
    turns[later] = _turns_deg(rotation[steps.partner[later]], rotation[later])
    turns /= steps.delta_s[:, None]
    before, after = _neighbours(steps)
    first, last = _taken(turns, before), _taken(turns, after)
    # A step shares one end with its neighbour, which tremor moves both ways: 1, -3, 3, -1 of the
    # angles themselves, whose squares add up to 20; a step alone has 2, n together 2 / n^2.
    rough = ((first - 2.0 * turns + last) ** 2).sum(axis=1)
    around = np.stack([_taken(first, before), first, turns, last, _taken(last, after)])
    known = np.isfinite(around[:, :, 0])
    count = known.sum(axis=0)
    mean = np.where(known[:, :, None], around, 0.0).sum(axis=0) / np.maximum(count, 1)[:, None]
    size = np.where(known[2], np.linalg.norm(mean, axis=1), np.nan)
    per_step = 2.0 / 20.0 * _quiet(rough) * 3.0 / QUIET_OF_CHI2_3
    return _freed(size, np.sqrt(per_step) / np.maximum(count, 1))


def _turns_deg(before: Floats, after: Floats) -> Floats:
    """(n, 3) turn from one rotation to the other: axis times angle, degrees."""
    turn = np.swapaxes(before, 1, 2) @ after
    axis = np.stack(
        [
            turn[:, 2, 1] - turn[:, 1, 2],
            turn[:, 0, 2] - turn[:, 2, 0],
            turn[:, 1, 0] - turn[:, 0, 1],
        ],
        axis=1,
    )
    size = np.linalg.norm(axis, axis=1, keepdims=True)
    angle = geodesic_deg(before, after)[:, None]
    return np.asarray(np.divide(axis * angle, size, out=np.zeros_like(axis), where=size > 0))


def _neighbours(steps: Steps) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(M,) the step that ends where a step begins and the one that begins where it ends, or -1."""
    before = np.where(steps.partner >= 0, steps.partner, -1)
    before = np.where((before >= 0) & (steps.partner[before] >= 0), before, -1)
    after = np.full(len(before), -1, np.int64)
    known = np.flatnonzero(before >= 0)
    after[before[known]] = known
    return before, after


def _taken(rows: Floats, index: NDArray[np.int64]) -> Floats:
    return np.where(index.reshape(-1, *[1] * (rows.ndim - 1)) >= 0, rows[index], np.nan)


def _quiet(rough: Floats) -> float:
    """Lower quartile, NaN where too few are known."""
    known = rough[np.isfinite(rough)]
    return float(np.quantile(known, QUIET)) if len(known) >= MIN_QUIET_STEPS else np.nan


def _freed(size: Floats, noise: Floats) -> Motion:
    """Speeds whose squares have lost those of the tremor; NaN where the tremor is not known."""
    left = np.sqrt(np.maximum(size**2 - noise**2, 0.0))
    known = np.isfinite(size) & np.isfinite(noise)
    above = size / np.maximum(noise, _NO_TREMOR)  # of drawn faces, which have none
    return Motion(size, np.where(known, left, np.nan), np.where(known, above, np.nan))


def face_motions(motions: Floats, tremor: float) -> Motion:
    """Face motion freed of tremor, from what :func:`measured_motions` gave."""
    return _freed(motions, np.full(len(motions), tremor))


def measured_motions(
    landmarks: Singles, steps: Steps, eye_points: EyePoints
) -> tuple[Floats, float]:
    """Mean landmark speed after similarity alignment, eye distances per second, with its tremor.

    The earlier face is moved, turned and scaled onto the later one by least squares; what is left
    is motion of the face itself.

    Args:
        landmarks: (M, L, 2 or 3) pixels; only x and y are used.
        steps: Pairs.
        eye_points: Landmarks whose mean is each eye.

    Returns:
        (M,) speeds, NaN where there is none, and what tremor alone brings about in them.
    """
    motions, rough = np.full(len(landmarks), np.nan), np.full(len(landmarks), np.nan)
    before, _ = _neighbours(steps)
    later = np.flatnonzero(steps.partner >= 0)
    for at in range(0, len(later), _CHUNK):
        now = later[at : at + _CHUNK]
        here, eyes = _centred(landmarks[now], eye_points)
        there, _ = _centred(landmarks[steps.partner[now]], eye_points)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = here - _laid_on(there, here)
            moved = np.sqrt(left.real**2 + left.imag**2).mean(axis=1, dtype=np.float64)
            motions[now] = moved / (eyes * steps.delta_s[now])
            rough[now] = _roughness(landmarks, steps, before, now, eye_points)
    # 1, -2, 1 of the places: squares add up to 6, those of a step to 2; sqrt(pi) / 2 is the mean
    # length of a normal vector in the plane against the root of its mean square.
    tremor = float(np.sqrt(_quiet(rough) * 2.0 / 6.0 * np.pi / 4.0))
    return np.where(np.isfinite(motions), motions, np.nan), tremor


def _laid_on(points: NDArray[np.complex64], onto: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Points as complex numbers, moved by a similarity: one complex factor, by least squares."""
    size = np.einsum("nl,nl->n", points.conj(), points)
    factor = np.einsum("nl,nl->n", points.conj(), onto) / size
    return np.asarray(factor[:, None] * points)


def _roughness(
    landmarks: Singles, steps: Steps, before: NDArray[np.int64], now: NDArray[np.int64],
    eye_points: EyePoints,
) -> Floats:  # fmt: skip
    """(n,) mean square over the landmarks of how a step differs from the one before it."""
    here, eyes = _centred(landmarks[now], eye_points)
    earlier, first = (
        _laid_on(_centred(landmarks[index], eye_points)[0], here)
        for index in (steps.partner[now], steps.partner[np.maximum(before[now], 0)])
    )
    bent = here - 2.0 * earlier + first
    square = (bent.real**2 + bent.imag**2).mean(axis=1, dtype=np.float64)
    rough = square / (eyes * steps.delta_s[now]) ** 2
    return np.asarray(np.where(before[now] >= 0, rough, np.nan))


def _centred(landmarks: Singles, eye_points: EyePoints) -> tuple[NDArray[np.complex64], Floats]:
    """Points around their centre as complex numbers, and the distance of the eyes."""
    xy = np.ascontiguousarray(landmarks[:, :, :2], np.float32)
    xy -= xy.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    right, left = (xy[:, list(eye)].mean(axis=1, dtype=np.float64) for eye in eye_points)
    return np.asarray(xy.view(np.complex64)[:, :, 0]), np.linalg.norm(right - left, axis=1)


def without_landmarks(track: FaceTrack, eye_points: EyePoints = KEPT_EYES) -> FaceTrack:
    """The track with motion and lips of its face in place of the points they are measured from.

    Nothing else is measured from them, and they take most of a track's memory.
    """
    if track.landmarks is None:
        return track
    steps = steps_between(
        track.times_s, (track.reasons == "") & (track.det_score >= FACE_MIN_SCORE)
    )
    motion, tremor = measured_motions(track.landmarks, steps, eye_points)
    lips = kept_lip_height(track.landmarks)
    return replace(track, landmarks=None, motion=motion, tremor=tremor, lips=lips)


def mouth_curve(
    frames: Iterable[Frame],
    landmarker: Landmarker,
    start_box: Box,
    media: MediaInfo,
) -> tuple[Floats, Floats]:
    """Height of the lips in every frame, for the check of synchrony between sound and picture.

    Args:
        frames: Consecutive, at native rate.
        landmarker: From ``load_landmarker``.
        start_box: The face in or shortly before the first frame.
        media: Its upright picture's pixels are those of ``start_box``.

    Returns:
        Times in seconds and heights of the lips in eye distances, (M,) each; NaN where no face is
        seen.
    """
    times, heights = [], []
    box: Box | None = None
    roll_deg: float | None = None
    for frame in frames:
        box = box or _in_frame(start_box, frame, media)
        mesh = landmarker.find(frame.pixels, box, roll_deg=roll_deg)
        if mesh is None:
            seen = detect_faces(frame.pixels, DetectorSettings((_SEARCH_AGAIN_PX,)))
            again = overlapping(box, seen)
            mesh = None if again is None else landmarker.find(frame.pixels, again.box_xyxy)
        times.append(frame.time_s)
        heights.append(np.nan if mesh is None else float(lip_height(mesh.points)))
        box, roll_deg = (box, None) if mesh is None else (mesh.box_xyxy, mesh.roll_deg)
    return np.array(times, np.float64), np.array(heights, np.float64)


def _in_frame(box: Box, frame: Frame, media: MediaInfo) -> Box:
    assert media.video is not None
    height, width = frame.pixels.shape[:2]
    across, down = width / media.video.width, height / media.video.height
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down
