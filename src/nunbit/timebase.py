"""The clock and the grids that face, voice and words share.

Pure: seconds in, arrays and intervals out. Time is the media clock of :mod:`nunbit.streams`;
intervals are half-open. Knows nothing of files, models or measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nunbit.errors import SettingsError
from nunbit.streams import Floats, Interval

TOLERANCE_S = 0.05
"""A sample further than this from its grid time is missing, not moved."""

# Differences of times such as 0.3 - 0.2 are off by some 1e-17; ties are decided above this.
_SAME_S = 1e-9


def window_grid(
    duration_s: float, length_s: float = 4.0, hop_s: float = 1.0
) -> tuple[Interval, ...]:
    """Cut a medium into the windows that face, voice and text share.

    Window k starts at ``k * hop_s``; the last is clipped to the media end. Media shorter than one
    window gives one clipped window.

    Args:
        duration_s: Media length, seconds; zero gives no windows.
        length_s: Window length, seconds.
        hop_s: Step between starts, seconds, 0 < hop_s <= length_s (no gaps).

    Raises:
        SettingsError: ``hop_s`` or ``length_s`` is out of range.
    """
    if not 0 < hop_s <= length_s < math.inf:
        raise SettingsError(
            en=f"hop_s = {hop_s}, length_s = {length_s}: expected 0 < hop_s <= length_s",
            ko=f"hop_s = {hop_s}, length_s = {length_s}: 0 < hop_s <= length_s여야 합니다",
        )
    if not 0 < duration_s < math.inf:
        return ()
    # (0.8 - 0.2) / 0.2 is 3.0000000000000004: without rounding, ceil adds an empty window.
    steps = round((duration_s - length_s) / hop_s, 9)
    count = 1 + max(0, math.ceil(steps))
    return tuple(Interval(k * hop_s, min(k * hop_s + length_s, duration_s)) for k in range(count))


def sample_grid(start_s: float, end_s: float, rate_hz: float) -> Floats:
    """Times k / rate_hz with integer k in [start_s, end_s); (M,), the same for every start.

    Raises:
        SettingsError: ``rate_hz`` is not positive.
    """
    if not 0 < rate_hz < math.inf:
        raise SettingsError(
            en=f"rate_hz = {rate_hz}: expected more than 0",
            ko=f"rate_hz = {rate_hz}: 0보다 커야 합니다",
        )
    first = math.ceil(round(start_s * rate_hz, 6))
    stop = math.ceil(round(end_s * rate_hz, 6))
    return np.arange(first, max(first, stop)) / rate_hz


def nearest_within(
    times_s: Floats, grid_s: Floats, tolerance_s: float = TOLERANCE_S
) -> NDArray[np.int64]:
    """Which sample stands for which grid time; the others are missing.

    A sample belongs to the grid time nearest to it, and a grid time takes the nearest of the
    samples that belong to it: so no sample is used twice, and none is moved by more than the
    tolerance or half a step of the grid. Of two equally near the earlier one is taken.

    Args:
        times_s: (N,) increasing.
        grid_s: (M,) increasing.
        tolerance_s: Largest distance, inclusive.

    Returns:
        (M,) indices into ``times_s``, -1 where nothing is near enough.
    """
    found = np.full(len(grid_s), -1, np.int64)
    if not len(times_s) or not len(grid_s):
        return found
    right = np.clip(np.searchsorted(grid_s, times_s), 1, max(1, len(grid_s) - 1))
    left = right - 1
    right = np.minimum(right, len(grid_s) - 1)
    to_left, to_right = np.abs(times_s - grid_s[left]), np.abs(grid_s[right] - times_s)
    owner = np.where(to_right < to_left - _SAME_S, right, left)
    distance = np.minimum(to_left, to_right)
    near = np.flatnonzero(distance <= tolerance_s + _SAME_S)
    if not len(near):
        return found
    # Sorted by grid time, then distance, then sample: the first of each grid time wins.
    order = near[np.lexsort((near, np.round(distance[near] / _SAME_S), owner[near]))]
    owners, firsts = np.unique(owner[order], return_index=True)
    found[owners] = order[firsts]
    return found


def rows_of(times_s: Floats, windows: Sequence[Interval]) -> NDArray[np.int64]:
    """The samples whose centre time lies in each window, as half-open row ranges.

    Args:
        times_s: (N,) increasing.
        windows: W intervals in any order.

    Returns:
        (W, 2) start and stop, so that ``times_s[start:stop]`` lies in ``[start_s, end_s)``.
    """
    bounds = _bounds(windows)
    # A centre computed as k * 0.01 + 0.005 may miss an edge by a rounding error.
    return np.searchsorted(times_s, bounds - _SAME_S).astype(np.int64)


def overlap_fraction(
    intervals: Sequence[Interval], windows: Sequence[Interval], values: ArrayLike | None = None
) -> Floats:
    """How many intervals lie in each window, those at its edge counted by their share inside.

    A word of 0.4 s that reaches 0.1 s into a window counts 0.25 there.

    Args:
        intervals: N intervals in any order; they may overlap.
        windows: W intervals in any order.
        values: (N,) what each counts for, for example its syllables; 1 by default.

    Returns:
        (W,) weighted counts; memory and time grow with N + W, not with N x W.
    """
    if not intervals:
        return np.zeros(len(windows))
    ends = _bounds(intervals)
    weights = np.ones(len(ends)) if values is None else np.asarray(values, np.float64)
    slopes = weights / (ends[:, 1] - ends[:, 0])
    knots, where = np.unique(ends, return_inverse=True)
    where = where.reshape(ends.shape)
    steps = np.bincount(where[:, 0], slopes, len(knots))
    steps -= np.bincount(where[:, 1], slopes, len(knots))
    counted = np.concatenate([[0.0], np.cumsum(np.cumsum(steps)[:-1] * np.diff(knots))])
    low, high = np.interp(_bounds(windows), knots, counted).T
    return np.asarray(high - low)


def covered_s(intervals: Sequence[Interval], windows: Sequence[Interval]) -> Floats:
    """Seconds of each window that any interval covers; (W,)."""
    merged = merge_intervals(intervals)
    return overlap_fraction(merged, windows, [each.duration_s for each in merged])


def merge_intervals(intervals: Iterable[Interval], join_s: float = 0.0) -> tuple[Interval, ...]:
    """The union, sorted; stretches that touch or lie at most ``join_s`` apart become one."""
    merged: list[Interval] = []
    for each in sorted(intervals):
        if merged and each.start_s - merged[-1].end_s <= join_s + _SAME_S:
            last = merged[-1]
            merged[-1] = Interval(last.start_s, max(last.end_s, each.end_s))
        else:
            merged.append(each)
    return tuple(merged)


def intersect_intervals(a: Iterable[Interval], b: Iterable[Interval]) -> tuple[Interval, ...]:
    """What lies in both unions, sorted."""
    left, right = merge_intervals(a), merge_intervals(b)
    shared: list[Interval] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start = max(left[i].start_s, right[j].start_s)
        end = min(left[i].end_s, right[j].end_s)
        if start < end:
            shared.append(Interval(start, end))
        if left[i].end_s <= right[j].end_s:
            i += 1
        else:
            j += 1
    return tuple(shared)


def subtract_intervals(a: Iterable[Interval], b: Iterable[Interval]) -> tuple[Interval, ...]:
    """What lies in the union of ``a`` and not in that of ``b``, sorted."""
    kept = merge_intervals(a)
    if not kept:
        return ()
    holes = merge_intervals(b)
    edges = [kept[0].start_s, *(t for each in holes for t in (each.start_s, each.end_s))]
    edges.append(kept[-1].end_s)
    outside = [
        Interval(start, end)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if start < end
    ]
    return intersect_intervals(kept, outside)


def clip_intervals(
    intervals: Iterable[Interval], start_s: float, end_s: float
) -> tuple[Interval, ...]:
    """The parts within [start_s, end_s), order kept; what lies outside is left out."""
    return tuple(
        Interval(max(each.start_s, start_s), min(each.end_s, end_s))
        for each in intervals
        if max(each.start_s, start_s) < min(each.end_s, end_s)
    )


def _bounds(intervals: Sequence[Interval]) -> Floats:
    """Starts and ends, (N, 2)."""
    flat = [(each.start_s, each.end_s) for each in intervals]
    return np.array(flat, np.float64).reshape(-1, 2)


def clock(seconds: float, *, tenths: bool = False) -> str:
    """A time as people read it: 1:02:03, 12:34 or, with tenths, 12:34.5."""
    scale = 10 if tenths else 1
    whole = math.floor(seconds * scale + 1e-6) if tenths else round(seconds)
    rest, part = divmod(whole, scale)
    minutes, s = divmod(rest, 60)
    hours, m = divmod(minutes, 60)
    text = f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
    return f"{text}.{part}" if tenths else text


def frame_rate(fps: str | None) -> str:
    """An exact fraction of frames per second as people read it: ``29.97``; '' for none."""
    if not fps:
        return ""
    top, _, bottom = fps.partition("/")
    return f"{float(top) / float(bottom or 1):.2f}".rstrip("0").rstrip(".")
