"""Whether sound and picture run together: mouth opening against the level of the voice.

The level of speech follows the opening of the mouth, so the lag at which the two agree best is
the offset between sound and picture. It takes mouth openings, best at native frame rate (on GRID,
10 Hz loses a tenth of the correlation and moves the estimate by up to 6 ms), over some tens of
seconds of speech. The offset is reported, never corrected: mouths lead voices by some tens of
milliseconds by nature, and a wrong correction would be worse than a warning. Pure; knows nothing
of files and landmarks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nunbit.streams import Flags, Floats, Interval
from nunbit.timebase import clip_intervals, covered_s, intersect_intervals, merge_intervals

WARN_S = 0.12
"""Offsets beyond this are warned of; viewers notice +45 and -125 ms."""

MAX_OFFSET_S = 1.0
STRETCH_S = 10.0
MAX_STRETCHES = 6

_HOP_S = 0.01
_SMOOTH_S = 0.035  # Gaussian sigma: what is faster than syllables (5 Hz) is noise here
_TREND_S = 0.4  # Gaussian sigma: what is slower than syllables says nothing about the lag
_FILL_S = 0.15  # frames further apart than this are a hole, not a line
_BREAK_S = 0.5  # mouth openings further apart than this belong to different stretches
_LEVEL_RANGE_DB = 40.0  # below the loud parts by more is room noise, however deep
_APART_S = 0.3  # lags this far from the peak are another peak
_LEAST_S = 3.2  # shorter stretches leave no room for a surrogate
_SURROGATES = 199

# Tried on sentences of eight GRID talkers set end to end: with its own sound an offset is given
# for 26 of 60 sets of 12 s, 53 of 60 of 21 s and 60 of 60 of 30 s (all within 50 ms); with the
# sound of other sentences of nearly the same rhythm for 7 of 60 of 21 s, with random curves for 2
# of 60.
_MIN_CONFIDENCE = 0.99
_MIN_CORRELATION = 0.25
_ENOUGH_S = 20.0  # what agrees by chance shrinks with the root of the length: below, more is asked
_MAX_SECOND = 0.75

_LEAST_SPEECH_S = 3.0
_LEAST_FACE = 0.8


@dataclass(frozen=True, slots=True)
class StretchOffset:
    """One stretch by itself; weaker than all together, but shows a drift.

    Attributes:
        interval: The stretch.
        offset_s: Lag of its own best agreement, + = sound late.
        correlation: At that lag.
    """

    interval: Interval
    offset_s: float
    correlation: float


@dataclass(frozen=True, slots=True)
class SyncResult:
    """Offset between sound and picture.

    Attributes:
        offset_s: + = sound late, or NaN where there is no estimate.
        correlation: Of mouth opening and level at the best lag, NaN without data.
        confidence: Share of surrogates (the same curves shifted by seconds) that agree less, 0 to
            1; NaN without data.
        reason: '' with an estimate; ``too_few``: not enough speech with a mouth to be seen;
            ``low_conf``: the agreement is weak, ambiguous or at the end of the range.
        stretches: Each by itself.
    """

    offset_s: float
    correlation: float
    confidence: float
    reason: str = ""
    stretches: tuple[StretchOffset, ...] = ()

    @property
    def warning(self) -> bool:
        """Whether there is an estimate, and it is large enough to be warned of."""
        return not math.isnan(self.offset_s) and abs(self.offset_s) > WARN_S


@dataclass(frozen=True, eq=False)
class _Curves:
    """One stretch on a 10 ms grid, band-limited; 0 where masked.

    Attributes:
        interval: Where.
        mouth: (n,).
        seen: (n,) whether ``mouth`` is known.
        level: (n + 2 L,) with L lags before and after.
        heard: Likewise.
    """

    interval: Interval
    mouth: Floats
    seen: Flags
    level: Floats
    heard: Flags


def av_offset(
    mouth_times: ArrayLike,
    mouth_open: ArrayLike,
    level_times: ArrayLike,
    level: ArrayLike,
    *,
    stretches: Sequence[Interval] | None = None,
) -> SyncResult:
    """Find the lag at which mouth opening and voice level agree best, within one second.

    Args:
        mouth_times: (N,) increasing, need not be regular.
        mouth_open: (N,) any unit, NaN where unknown.
        level_times: (M,) increasing; 10 ms apart or so.
        level: (M,) decibels, NaN where there is no sound.
        stretches: Where to look; by default wherever the mouth is seen without a break.

    Returns:
        The offset, + = sound late, or why there is none.
    """
    times, mouth = _finite(mouth_times, mouth_open)
    heard_times, heard = _finite(level_times, level)
    if len(times) < 2 or len(heard) < 2:
        return _nothing("too_few")
    heard = np.maximum(heard, np.percentile(heard, 95) - _LEVEL_RANGE_DB)
    if stretches is None:
        stretches = _unbroken(times)
    found = [_curves(each, times, mouth, heard_times, heard) for each in stretches]
    curves = [each for each in found if each is not None]
    if not curves:
        return _nothing("too_few")
    agreement, weights = zip(*(_agreement(each) for each in curves), strict=True)
    shares = np.array(weights) / sum(weights)
    combined = np.tensordot(shares, np.array(agreement), axes=1)  # (L,)
    peak, offset_s = _peak(combined)
    own = tuple(
        StretchOffset(each.interval, _peak(lags)[1], _peak(lags)[0])
        for each, lags in zip(curves, agreement, strict=True)
    )
    confidence = _confidence(curves, shares, peak)
    least = _MIN_CORRELATION * max(1.0, math.sqrt(_ENOUGH_S / (sum(weights) * _HOP_S)))
    unsure = peak < least or confidence < _MIN_CONFIDENCE
    if unsure or not _is_clear(combined, peak, offset_s):
        return SyncResult(math.nan, peak, confidence, "low_conf", own)
    return SyncResult(offset_s, peak, confidence, "", own)


def choose_stretches(
    speech: Sequence[Interval],
    face_times_s: Floats,
    *,
    face_rate_hz: float = 10.0,
    length_s: float = STRETCH_S,
    count: int = MAX_STRETCHES,
) -> tuple[Interval, ...]:
    """Pick where to look: much speech, and the face there nearly all the time.

    Args:
        speech: Of the person analysed.
        face_times_s: (N,) sample times at which the face can be read.
        face_rate_hz: Rate of these samples.
        length_s: Longest stretch; shorter where face or speech is shorter.
        count: At most so many, spread over the recording, so that a drift would show.

    Returns:
        Sorted, not overlapping; empty where there is too little of either.
    """
    half_s = 0.5 / face_rate_hz + 1e-3
    seen = merge_intervals(
        (Interval(t - half_s, t + half_s) for t in np.asarray(face_times_s).tolist()),
        join_s=2 * half_s,  # single frames may be lost
    )
    if not seen or not speech:
        return ()
    first, last = min(each.start_s for each in speech), max(each.end_s for each in speech)
    steps = max(1, math.ceil((last - first - length_s) / (length_s / 5)) + 1)
    windows = [
        Interval(first + k * length_s / 5, min(first + k * length_s / 5 + length_s, last))
        for k in range(steps)
    ]
    windows = [each for each in windows if each.duration_s > 0]
    both = covered_s(intersect_intervals(speech, seen), windows)
    shown = covered_s(seen, windows) / np.array([each.duration_s for each in windows])
    usable = np.flatnonzero((both >= _LEAST_SPEECH_S) & (shown >= _LEAST_FACE))
    # First the best of each part of the recording, then the best of the rest.
    part = np.minimum((usable * count) // steps, count - 1)
    off_centre = np.abs(usable - (part + 0.5) * steps / count)
    ranked = usable[np.lexsort((off_centre, -both[usable].round(1)))]
    best_of_part = [ranked[np.isin(ranked, usable[part == k])][:1] for k in np.unique(part)]
    taken: list[Interval] = []
    for row in [*np.concatenate([*best_of_part, np.zeros(0, int)]), *ranked]:
        free = all(not windows[row].overlap_s(each) for each in taken)
        if free and len(taken) < count:
            taken.append(windows[row])
    bounds = (max(0.0, seen[0].start_s), seen[-1].end_s)
    return tuple(sorted(clip_intervals(taken, *bounds)))


def _nothing(reason: str) -> SyncResult:
    return SyncResult(math.nan, math.nan, math.nan, reason)


def _finite(times: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    t, v = np.asarray(times, np.float64), np.asarray(values, np.float64)
    known = np.isfinite(t) & np.isfinite(v)
    return t[known], v[known]


def _unbroken(times: Floats) -> list[Interval]:
    """Stretches without a hole, cut to at most the usual length."""
    edges = np.flatnonzero(np.diff(times) > _BREAK_S) + 1
    pieces: list[Interval] = []
    for run in np.split(times, edges):
        n = max(1, round((run[-1] - run[0]) / STRETCH_S))
        marks = np.linspace(run[0], run[-1], n + 1).tolist()
        pieces += [Interval(a, b) for a, b in itertools.pairwise(marks) if a < b]
    return pieces


def _curves(
    interval: Interval, times: Floats, mouth: Floats, heard_times: Floats, heard: Floats
) -> _Curves | None:
    """One stretch ready for comparison; None if there is too little in it."""
    lags = round(MAX_OFFSET_S / _HOP_S)
    n = math.floor(interval.duration_s / _HOP_S)
    if interval.duration_s < _LEAST_S:
        return None
    grid = np.asarray(interval.start_s + np.arange(-lags, n + lags) * _HOP_S, np.float64)
    opening, seen = _band(grid, times, mouth)
    level, known = _band(grid, heard_times, heard)
    inside = slice(lags, lags + n)
    seen = seen[inside]
    opening = np.where(seen, opening[inside], 0.0)
    level = np.where(known, level, 0.0)
    if (
        seen.mean() < 0.5
        or known.mean() < 0.5
        or _is_flat(opening, mouth)
        or _is_flat(level, heard)
    ):
        return None
    return _Curves(interval, opening, seen, level, known)


def _is_flat(curve: Floats, values: Floats) -> bool:
    """Whether nothing but rounding errors is left of a curve."""
    return float(np.abs(curve).max()) <= 1e-6 * float(np.abs(values).max())


def _band(grid: Floats, times: Floats, values: Floats) -> tuple[Floats, Flags]:
    """Values on the grid between 1 and 5 Hz, and where they are known."""
    right = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    known = times[right] - times[right - 1] <= _FILL_S
    known &= (grid >= times[0] - _HOP_S) & (grid <= times[-1] + _HOP_S)
    raw = np.where(known, np.interp(grid, times, values), 0.0)
    weight = known.astype(np.float64)

    def smooth(sigma_s: float) -> Floats:
        # Normalised by what is known, so that a hole does not pull towards zero.
        reach = math.ceil(3 * sigma_s / _HOP_S)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _HOP_S / sigma_s) ** 2)
        total = np.convolve(weight, kernel, "full")[reach : reach + len(grid)]
        blurred = np.convolve(raw, kernel, "full")[reach : reach + len(grid)]
        return np.asarray(blurred / np.maximum(total, 1e-12))

    return smooth(_SMOOTH_S) - smooth(_TREND_S), known


def _correlate(curves: _Curves, mouths: Floats, seen: Floats) -> Floats:
    """Correlation at every lag of S mouth curves with the level; (S, n) in, (S, L) out."""
    n = mouths.shape[1]
    levels = np.lib.stride_tricks.sliding_window_view(curves.level, n)  # (L, n)
    heard = np.lib.stride_tricks.sliding_window_view(curves.heard.astype(np.float64), n)
    both = mouths @ levels.T
    mouth_power = np.square(mouths) @ heard.T
    level_power = seen @ np.square(levels).T
    scale = np.sqrt(mouth_power * level_power)
    return np.asarray(np.where(scale > 1e-12, both / np.maximum(scale, 1e-12), 0.0))


def _agreement(curves: _Curves) -> tuple[Floats, float]:
    """(L,) correlations and what the stretch counts for."""
    seen = curves.seen.astype(np.float64)
    return _correlate(curves, curves.mouth[None], seen[None])[0], float(seen.sum())


def _confidence(curves: Sequence[_Curves], shares: Floats, peak: float) -> float:
    """Share of surrogates whose best lag agrees less than ``peak``.

    A surrogate is the same curves with every mouth turned round within its stretch by more than
    the lags searched: rhythm and loudness stay, the common time goes.
    """
    rng = np.random.default_rng(0)
    total = np.zeros((_SURROGATES, 2 * round(MAX_OFFSET_S / _HOP_S) + 1))
    for each, share in zip(curves, shares, strict=True):
        n = len(each.mouth)
        least = round((MAX_OFFSET_S + _APART_S) / _HOP_S)
        shifts = rng.integers(least, n - least, _SURROGATES)
        rows = (np.arange(n)[None] - shifts[:, None]) % n
        total += share * _correlate(each, each.mouth[rows], each.seen[rows].astype(np.float64))
    beaten = int((total.max(axis=1) >= peak).sum())
    return 1 - (1 + beaten) / (1 + _SURROGATES)


def _peak(agreement: Floats) -> tuple[float, float]:
    """Height and lag (seconds) of the largest correlation, between lags by a parabola."""
    at = int(np.argmax(agreement))
    height = float(agreement[at])
    shift = 0.0
    if 0 < at < len(agreement) - 1:
        before, after = float(agreement[at - 1]), float(agreement[at + 1])
        bend = before - 2 * height + after
        if bend < 0:
            shift = 0.5 * (before - after) / bend
            height -= 0.25 * (before - after) * shift
    return height, (at + shift) * _HOP_S - MAX_OFFSET_S


def _is_clear(agreement: Floats, peak: float, offset_s: float) -> bool:
    """Whether the best lag lies inside the range and no other comes near it."""
    lags = np.arange(len(agreement)) * _HOP_S - MAX_OFFSET_S
    others = agreement[np.abs(lags - offset_s) > _APART_S]
    inside = abs(offset_s) < MAX_OFFSET_S - 2 * _HOP_S
    return bool(inside and others.max() <= _MAX_SECOND * peak)
