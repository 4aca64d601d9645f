"""The clock: what counts as the same time, grids, sets of intervals, live clocks, times as text.

Pure: seconds in, arrays and intervals out. Time is the media clock of :mod:`nunbit.core.streams`;
intervals are half-open. Knows nothing of files, models or measures. Sums and quantiles over many
stretches at once are in :mod:`nunbit.core.spans`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from nunbit.core.messages import SettingsError, Text
from nunbit.core.streams import Floats, Interval, Ints

T = TypeVar("T")

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


def nearest_within(times_s: Floats, grid_s: Floats, tolerance_s: float = TOLERANCE_S) -> Ints:
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


def nearest_indices(grid_s: Floats, times_s: Floats) -> Ints:
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


def equal_parts(whole: Interval, n: int) -> list[Interval]:
    """So many parts of the same length."""
    edges = np.linspace(whole.start_s, whole.end_s, n + 1).tolist()
    return [Interval(a, b) for a, b in itertools.pairwise(edges)]


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
    return np.array([(each.start_s, each.end_s) for each in intervals], np.float64).reshape(-1, 2)


# -- the clock of a live session -------------------------------------------------------------------

JUMP_S = 0.25
"""A difference of clocks this large is no delay of a stamp and no drift."""

_SURE_S = 0.3  # of the sender's clock that confirms a jump: a busy page stamps what it has at once
_WINDOW_S = 10.0  # the least delay is looked for in this much sound: 1 ms at 100 ppm
_LEAST_S = 2.0  # sound from which the error and, ten times as long, the drift can be told
_DRIFT_POINTS = 300  # seconds


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """A piece of sound with its time.

    Attributes:
        start_s: Time of its first sample.
        piece: As given.
        jump_s: Sound that was lost right before it, 0 for none.
    """

    start_s: float
    piece: T
    jump_s: float = 0.0


@dataclass(slots=True)
class _Held(Generic[T]):
    at_s: float  # by its samples
    captured_s: float
    length_s: float
    piece: T


class SessionClock(Generic[T]):
    """Places frames and pieces of sound that come from a browser on one clock.

    Sound is the clock: a sample's time is its number over the rate. Frames carry the sender's clock
    in milliseconds, and so does every piece of sound. The difference between the two clocks is the
    least delay seen lately: a late stamp is delay, never an early one. Where the sender's clock
    runs away from the samples for good, sound was lost (the tab slept, the microphone was away):
    the sound that follows goes to its true time, behind a gap. Where it leaps back, frames are
    placed anew.

    Attributes:
        leaps: How often the sender's clock leapt back.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._shift_s = 0.0  # lost sound: session time minus sample time
        self._end_s = 0.0  # of the sound, on the session's clock
        self._recent: deque[tuple[float, float]] = deque()  # sample time, sender minus session
        self._offset_s: float | None = None  # sender minus session
        self._frame_zero_s: float | None = None
        self._last_captured_s = -math.inf
        self._held: list[_Held[T]] = []
        self._minima: deque[tuple[float, float]] = deque(maxlen=_DRIFT_POINTS)
        self._second: tuple[int, float] | None = None
        self.leaps = 0

    @property
    def has_sound(self) -> bool:
        """Whether any sound came."""
        return self._first is not None

    @property
    def sound_end_s(self) -> float:
        """Where the sound so far ends."""
        return self._end_s

    def sound(
        self, first_sample: int, n: int, rate_hz: int, captured_ms: float, piece: T
    ) -> list[Placed[T]]:
        """Take a piece of sound; returns the pieces whose place is certain now.

        Args:
            first_sample: Its number since the sender began; a leap forward is a gap.
            n: Samples in it.
            rate_hz: Of these.
            captured_ms: The sender's clock at its first sample.
            piece: Given back with its time.
        """
        if self._first is None:
            self._first = first_sample
            if self._frame_zero_s is not None:  # the pictures began before
                self._shift_s = max(0.0, captured_ms / 1000 - self._frame_zero_s)
                self._frame_zero_s = None
        at_s = (first_sample - self._first) / rate_hz
        self._held.append(_Held(at_s, captured_ms / 1000, n / rate_hz, piece))
        return self._release()

    def flush(self) -> list[Placed[T]]:
        """The pieces that still wait, at the end."""
        return self._release(final=True)

    def _release(self, *, final: bool = False) -> list[Placed[T]]:
        found: list[Placed[T]] = []
        while self._held:
            ahead = [self._offset(each) for each in self._held]
            known = self._offset_s
            jump_s = 0.0
            if known is not None and abs(ahead[0] - known) >= JUMP_S:
                least = min(ahead)
                if ahead[0] > known and least - known < JUMP_S:
                    jump_s = 0.0  # the page was busy and has caught up: a late stamp
                elif not final and self._held[-1].captured_s < self._held[0].captured_s + _SURE_S:
                    return found
                else:
                    jump_s = least - known
                    self._begin_anew(jump_s)
            found.append(self._place(self._held.pop(0), max(0.0, jump_s)))
        return found

    def _offset(self, held: _Held[T]) -> float:
        return held.captured_s - (held.at_s + self._shift_s)

    def _begin_anew(self, jump_s: float) -> None:
        """The clocks differ otherwise from now on."""
        self._recent.clear()
        self._minima.clear()
        self._second = None
        if jump_s > 0:
            # Samples were lost: what comes keeps its place on the sender's clock. Whole
            # milliseconds, as the file has them.
            self._shift_s += round(jump_s, 3)
        else:
            self.leaps += 1
            self._offset_s = None

    def _place(self, held: _Held[T], jump_s: float) -> Placed[T]:
        start_s, offset_s = held.at_s + self._shift_s, self._offset(held)
        while self._recent and self._recent[-1][1] >= offset_s:
            self._recent.pop()  # a running minimum
        self._recent.append((start_s, offset_s))
        while self._recent[0][0] < start_s - _WINDOW_S:
            self._recent.popleft()
        self._offset_s = self._recent[0][1]
        second = int(start_s)
        if self._second is not None and self._second[0] == second:
            self._second = (second, min(self._second[1], offset_s))
        else:
            if self._second is not None:
                self._minima.append(self._second)
            self._second = (second, offset_s)
        self._end_s = max(self._end_s, start_s + held.length_s)
        return Placed(start_s, held.piece, jump_s)

    def frame_s(self, captured_ms: float) -> float | None:
        """Session time of a frame, whole milliseconds; None where it lies before the session."""
        captured_s = captured_ms / 1000
        if self._offset_s is None and not self.has_sound and self._frame_zero_s is None:
            self._frame_zero_s = captured_s
        if not self.has_sound and captured_s < self._last_captured_s - JUMP_S:
            # Without sound the frames themselves show a leap; the session goes on.
            assert self._frame_zero_s is not None
            self._frame_zero_s += captured_s - self._last_captured_s
            self.leaps += 1
        self._last_captured_s = captured_s
        zero_s = self._offset_s if self.has_sound else self._frame_zero_s
        if zero_s is None:
            return None
        time_s = round(captured_s - zero_s, 3)
        return time_s if time_s >= 0 else None

    def place_s(self, captured_ms: float) -> float | None:
        """Where a moment of the sender's clock lies, for what is no frame; None where unknown."""
        zero_s = self._offset_s if self.has_sound else self._frame_zero_s
        return None if zero_s is None else max(0.0, round(captured_ms / 1000 - zero_s, 3))

    @property
    def error_ms(self) -> float | None:
        """How far the clocks of the last second are from where frames are placed."""
        if self._offset_s is None or not self._minima:
            return None
        return abs(self._minima[-1][1] - self._offset_s) * 1000

    @property
    def drift_ppm(self) -> float | None:
        """How much faster the sender's clock goes than the sound; None in the first 20 s."""
        if len(self._minima) < 10 * _LEAST_S:
            return None
        at, offset = np.array(self._minima).T
        return float(np.polyfit(at - at[0], offset, 1)[0]) * 1e6


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
    return clock(round(max(0.0, seconds), 1), tenths=True) if math.isfinite(seconds) else "?"


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
