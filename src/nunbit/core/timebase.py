"""The clock: what counts as the same time, grids, sets of intervals, and times as text.

Pure: seconds in, arrays and intervals out. Time is the media clock of :mod:`nunbit.core.streams`;
intervals are half-open. Knows nothing of files, models or measures. Sums and quantiles over many
stretches at once are in :mod:`nunbit.core.spans`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import SettingsError, Text
from nunbit.core.streams import Floats, Interval

TOLERANCE_S = 0.05
"""A sample further than this from its grid time counts as missing."""

SAME_S = 1e-9
"""Two times closer than this are the same. Differences such as 0.3 - 0.2 are off by some 1e-17, and
by 1e-12 a few hours into a recording; ties and edges are decided above this."""

SAME_SUM_S = 1e-6
"""Two sums of times closer than this are the same. Overlaps are read off a running sum over a whole
recording, which is off by more than a single difference; a microsecond is no speech either way."""

PAUSE_S = 0.25
"""Shorter silences inside a turn are closures of consonants, no pauses (Goldman-Eisler 1968)."""

MIN_SPEECH_S = 1.0
"""Less speech, some four syllables, says too little about a voice or about a face that speaks."""


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
            Text(
                f"hop_s = {hop_s}, length_s = {length_s}: expected 0 < hop_s <= length_s",
                f"hop_s = {hop_s}, length_s = {length_s}: 0 < hop_s <= length_s여야 합니다",
            )
        )
    if not 0 < duration_s < math.inf:
        return ()
    # (0.8 - 0.2) / 0.2 is 3.0000000000000004: without rounding, ceil adds an empty window.
    count = 1 + max(0, math.ceil(round((duration_s - length_s) / hop_s, 9)))
    return tuple(Interval(k * hop_s, min(k * hop_s + length_s, duration_s)) for k in range(count))


def sample_grid(start_s: float, end_s: float, rate_hz: float) -> Floats:
    """Times k / rate_hz with integer k in [start_s, end_s); (M,), the same for every start.

    Raises:
        SettingsError: ``rate_hz`` is not positive.
    """
    if not 0 < rate_hz < math.inf:
        raise SettingsError(
            Text(
                f"rate_hz = {rate_hz}: expected more than 0",
                f"rate_hz = {rate_hz}: 0보다 커야 합니다",
            )
        )
    first, stop = (math.ceil(round(t * rate_hz, 6)) for t in (start_s, end_s))
    return np.arange(first, max(first, stop)) / rate_hz


def nearest_within(
    times_s: Floats, grid_s: Floats, tolerance_s: float = TOLERANCE_S
) -> NDArray[np.int64]:
    """Assign samples to grid times; grid times without a sample are missing.

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
    owner = np.where(to_right < to_left - SAME_S, right, left)
    distance = np.minimum(to_left, to_right)
    near = np.flatnonzero(distance <= tolerance_s + SAME_S)
    # Sorted by grid time, then distance, then sample: the first of each grid time wins.
    order = near[np.lexsort((near, np.round(distance[near] / SAME_S), owner[near]))]
    owners, firsts = np.unique(owner[order], return_index=True)
    found[owners] = order[firsts]
    return found


def nearest_indices(grid_s: Floats, times_s: Floats) -> NDArray[np.int64]:
    """Which grid time is nearest to each time, however far; of two equally near the later one.

    Args:
        grid_s: (M,) increasing, M >= 1.
        times_s: (N,) in any order.

    Returns:
        (N,) indices into ``grid_s``.
    """
    right = np.clip(np.searchsorted(grid_s, times_s), 0, len(grid_s) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.abs(times_s - grid_s[left]) < np.abs(grid_s[right] - times_s)
    return np.where(nearer, left, right).astype(np.int64)


# -- sets of intervals -----------------------------------------------------------------------------


def merge_intervals(intervals: Iterable[Interval], join_s: float = 0.0) -> tuple[Interval, ...]:
    """The union, sorted; stretches that touch or lie at most ``join_s`` apart become one."""
    merged: list[Interval] = []
    for each in sorted(intervals):
        if merged and each.start_s - merged[-1].end_s <= join_s + SAME_S:
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
    holes = (t for each in merge_intervals(b) for t in (each.start_s, each.end_s))
    edges = [kept[0].start_s, *holes, kept[-1].end_s]
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


def bounds(intervals: Iterable[Interval]) -> Floats:
    """(N, 2) starts and ends."""
    flat = [(each.start_s, each.end_s) for each in intervals]
    return np.array(flat, np.float64).reshape(-1, 2)


# -- times as text ---------------------------------------------------------------------------------


def clock(seconds: float, *, tenths: bool = False) -> str:
    """Clock text of a time: 1:02:03, 12:34 or, with tenths, 12:34.5.

    Tenths are cut off, so that what is shown never lies after the time; whole seconds are rounded.
    """
    scale = 10 if tenths else 1
    whole = math.floor(seconds * scale + SAME_SUM_S) if tenths else round(seconds)
    rest, part = divmod(whole, scale)
    minutes, s = divmod(rest, 60)
    hours, m = divmod(minutes, 60)
    text = f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
    return f"{text}.{part}" if tenths else text


def place_text(seconds: float) -> str:
    """A place in a recording for a note, to the nearest tenth: ``0:03.2``; ``?`` for none."""
    known = math.isfinite(seconds)
    return clock(round(max(0.0, seconds), 1), tenths=True) if known else "?"


def stamp(seconds: float, mark: str = ".") -> str:
    """A time as subtitle files have it: ``00:02:03.400``; SubRip wants ``,`` as the mark."""
    minutes, ms = divmod(round(max(seconds, 0.0) * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{ms // 1000:02d}{mark}{ms % 1000:03d}"


def frame_rate(fps: str | None) -> str:
    """Text of an exact frame rate: ``29.97``; '' for none."""
    if not fps:
        return ""
    top, _, bottom = fps.partition("/")
    return f"{float(top) / float(bottom or 1):.2f}".rstrip("0").rstrip(".")
