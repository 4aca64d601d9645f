"""How head and face move from one sampled frame to the next.

Speeds are taken between a frame and the one about 0.1 s before it, whatever the frame rate, so
that a recording at 60 frames a second is not called livelier for its jitter. Knows nothing of
models or windows. M samples, L landmarks.
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


def head_speeds(rotation: Floats, steps: Steps) -> Floats:
    """Geodesic head speed, degrees per second; (M,), NaN where there is no pair.

    Unsigned angles per axis would call a turn from +10 to -10 degrees no turn; this is 20 degrees.

    Args:
        rotation: (M, 3, 3).
        steps: Pairs.
    """
    speeds = np.full(len(rotation), np.nan)
    later = np.flatnonzero(steps.partner >= 0)
    turned = geodesic_deg(rotation[steps.partner[later]], rotation[later])
    speeds[later] = turned / steps.delta_s[later]
    return speeds


def face_motions(
    landmarks: Singles, steps: Steps, eye_points: tuple[tuple[int, ...], tuple[int, ...]]
) -> Floats:
    """Mean landmark speed after similarity alignment, eye distances per second; (M,).

    The earlier face is moved, turned and scaled onto the later one by least squares; what is left
    is motion of the face itself.

    Args:
        landmarks: (M, L, 2 or 3) pixels; only x and y are used.
        steps: Pairs.
        eye_points: Landmarks whose mean is each eye.
    """
    motions = np.full(len(landmarks), np.nan)
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
    return np.where(np.isfinite(motions), motions, np.nan)


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
