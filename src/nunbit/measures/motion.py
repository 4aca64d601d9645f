"""How head and face move from one sampled frame to the next.

Speeds are taken between a frame and the one about 0.1 s before it, whatever the frame rate, so
that a recording at 60 frames a second is not called livelier for its jitter. Landmarks tremble
even on a still photo; how much is read from the recording itself: tremor has no memory, so it
shows in how a step differs from its neighbours, where turning heads hardly do. It is taken out of
the squares of all speeds, and what does not stand out of it is no speed. Knows nothing of models or
windows. M samples, L landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunbit.headpose import geodesic_deg
from nunbit.measures.spans import Spans, quantile_rows, rows_in, runs
from nunbit.streams import Flags, Floats, Singles

STEP_S = 0.1
"""Speeds are measured over about this time."""

LONGEST_STEP_S = 0.25
"""Frames further apart say nothing about speed (signals.md, measure 6)."""

STEADY_DEG_S = 20.0
"""Above this head speed, rotation out of the picture plane leaks into face motion."""

QUIET = 0.25
"""Tremor is read in the quietest quarter of the recording: the rest may be talking or nodding."""

QUIET_OF_CHI2_3 = 1.2125
"""Lower quartile of the squared length of a normal vector in three dimensions."""

MIN_QUIET_STEPS = 20
"""Fewer steps say too little about the tremor: 2 s."""

_NO_TREMOR = 1e-3
"""Degrees or eye distances a second: below what the smallest landmarks of float32 carry."""

BLINK_SHARE = 0.7
BLINK_MEDIAN_S = 5.0
BLINK_S = (0.05, 0.5)
BLINK_RATE_HZ = 25.0

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
    after = np.searchsorted(times, times - STEP_S - 1e-9)
    right = np.minimum(after, place - 1)  # never the sample itself
    left = np.maximum(np.minimum(after - 1, place - 1), 0)
    far = np.abs(times - STEP_S - times[left]) < np.abs(times - STEP_S - times[right]) - 1e-9
    chosen = np.where(far & (left < place), left, right)
    chosen[0] = 0
    apart = times - times[chosen]
    good = (apart > 0) & (apart <= LONGEST_STEP_S + 1e-9)
    partner[index[good]] = index[chosen[good]]
    delta[index[good]] = apart[good]
    return Steps(partner, delta)


@dataclass(frozen=True, eq=False)
class Motion:
    """A speed, freed of tremor, and how far it stood out.

    Attributes:
        measured: (M,) with tremor.
        speed: (M,) what is left without it, NaN where it cannot be told.
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
    m = len(steps.partner)
    before = np.where(steps.partner >= 0, steps.partner, -1)
    before = np.where((before >= 0) & (steps.partner[before] >= 0), before, -1)
    after = np.full(m, -1, np.int64)
    known = np.flatnonzero(before >= 0)
    after[before[known]] = known
    return before, after


def _taken(rows: Floats, index: NDArray[np.int64]) -> Floats:
    there = index.reshape(-1, *[1] * (rows.ndim - 1)) >= 0
    return np.where(there, rows[index], np.nan)


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


def face_motions(
    landmarks: Singles, steps: Steps, eye_points: tuple[tuple[int, ...], tuple[int, ...]]
) -> Motion:
    """Mean landmark speed after similarity alignment, eye distances per second, freed of tremor.

    The earlier face is moved, turned and scaled onto the later one by least squares; what is left
    is motion of the face itself.

    Args:
        landmarks: (M, L, 2 or 3) pixels; only x and y are used.
        steps: Pairs.
        eye_points: Landmarks whose mean is each eye.
    """
    motions, rough = np.full(len(landmarks), np.nan), np.full(len(landmarks), np.nan)
    before, _ = _neighbours(steps)
    later = np.flatnonzero(steps.partner >= 0)
    for at in range(0, len(later), _CHUNK):
        now = later[at : at + _CHUNK]
        here, eyes = _centred(landmarks[now], eye_points)
        there, _ = _centred(landmarks[steps.partner[now]], eye_points)
        # Points as complex numbers: a similarity is one complex factor, by least squares.
        size = np.einsum("nl,nl->n", there.conj(), there)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.einsum("nl,nl->n", there.conj(), here) / size
            left = here - factor[:, None] * there
            moved = np.sqrt(left.real**2 + left.imag**2).mean(axis=1, dtype=np.float64)
            motions[now] = moved / (eyes * steps.delta_s[now])
            rough[now] = _roughness(landmarks, steps, before, now, eye_points)
    # 1, -2, 1 of the places: squares add up to 6, those of a step to 2; sqrt(pi) / 2 is the mean
    # length of a normal vector in the plane against the root of its mean square.
    noise = np.sqrt(_quiet(rough) * 2.0 / 6.0 * np.pi / 4.0)
    motions = np.where(np.isfinite(motions), motions, np.nan)
    return _freed(motions, np.full(len(motions), noise))


def _roughness(
    landmarks: Singles, steps: Steps, before: NDArray[np.int64], now: NDArray[np.int64],
    eye_points: tuple[tuple[int, ...], tuple[int, ...]],
) -> Floats:  # fmt: skip
    """(n,) mean square over the landmarks of how a step differs from the one before it."""
    here, eyes = _centred(landmarks[now], eye_points)
    shapes = []
    for index in (steps.partner[now], steps.partner[np.maximum(before[now], 0)]):
        other, _ = _centred(landmarks[index], eye_points)
        size = np.einsum("nl,nl->n", other.conj(), other)
        factor = np.einsum("nl,nl->n", other.conj(), here) / size
        shapes.append(factor[:, None] * other)
    bent = here - 2.0 * shapes[0] + shapes[1]
    square = (bent.real**2 + bent.imag**2).mean(axis=1, dtype=np.float64)
    found: Floats = np.where(before[now] >= 0, square / (eyes * steps.delta_s[now]) ** 2, np.nan)
    return found


def _centred(
    landmarks: Singles, eye_points: tuple[tuple[int, ...], tuple[int, ...]]
) -> tuple[NDArray[np.complex64], Floats]:
    """Points around their centre as complex numbers, and the distance of the eyes."""
    xy = np.ascontiguousarray(landmarks[:, :, :2], np.float32)
    xy -= xy.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    right, left = (xy[:, list(eye)].mean(axis=1, dtype=np.float64) for eye in eye_points)
    distance = np.linalg.norm(right - left, axis=1)
    points: NDArray[np.complex64] = xy.view(np.complex64)[:, :, 0]
    return points, distance


def blink_times(times_s: Floats, eye_aspect: Floats, rate_hz: float) -> Floats:
    """When the person blinked: middles of the stretches with the eyes nearly shut.

    Shut = below 0.7 of the median of the 5 s around, for 50 to 500 ms.

    Args:
        times_s: (M,) of valid samples.
        eye_aspect: (M,) without NaN.
        rate_hz: Of the samples; below 25 a blink falls between frames.
    """
    if len(times_s) < 2:
        return np.empty(0)
    half = BLINK_MEDIAN_S / 2.0
    # The median moves slowly: four times a second is plenty, 250 times less work than per frame.
    centres = np.arange(times_s[0], times_s[-1] + 0.25, 0.25)
    around = Spans(centres - half, centres + half, {})
    usual = quantile_rows(eye_aspect, rows_in(times_s, around), 0.5)
    known = np.isfinite(usual)
    level = np.interp(times_s, centres[known], usual[known])
    breaks = np.concatenate([[True], np.diff(times_s) > 1.5 / rate_hz])
    shut = runs(eye_aspect < BLINK_SHARE * level, breaks)
    lasted = (shut[:, 1] - shut[:, 0]) / rate_hz
    good = (lasted >= BLINK_S[0] - 1e-9) & (lasted <= BLINK_S[1] + 1e-9)
    return np.asarray((times_s[shut[good, 0]] + times_s[shut[good, 1] - 1]) / 2.0)
