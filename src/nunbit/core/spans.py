"""Sums, quantiles and overlaps of samples in many stretches of time at once; runs of flags.

The stretches of a recording (windows, turns, questions, the session, blocks for the bootstrap) are
laid out one after the other in one :class:`Spans`, so that each measure is computed in one pass. A
sample belongs to a span by its centre time, half-open; intervals (words, turns, pauses) count by
the part that lies in the span. Knows nothing of faces, voices or words. S spans, N samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import Flags, Floats, Interval, Ints
from nunbit.core.timebase import SAME_S, bounds, merge_intervals

Rows = Ints
K = TypeVar("K")
V = TypeVar("V")
Kind = Literal["window", "turn", "question", "session", "block", "baseline"]

_MOST_ENTRIES = 1_000_000  # of one padded table in quantile_rows: 8 MB
_SHORTEST_S = 1e-3  # shorter stretches would turn rounding errors of the density into mass


@dataclass(frozen=True, eq=False)
class Spans:
    """S stretches of time, kinds one after the other.

    Attributes:
        start_s: (S,) seconds.
        end_s: (S,) seconds, never before the start.
        parts: Where each kind lies in the arrays; a kind without stretches is empty.
    """

    start_s: Floats
    end_s: Floats
    parts: dict[Kind, slice]

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def duration_s(self) -> Floats:
        """(S,) lengths, seconds."""
        return self.end_s - self.start_s

    @property
    def centre_s(self) -> Floats:
        """(S,) middles, seconds."""
        return (self.start_s + self.end_s) / 2.0

    def of(self, kind: Kind) -> Spans:
        """The spans of one kind alone."""
        part = self.parts[kind]
        return Spans(self.start_s[part], self.end_s[part], {})

    def is_a(self, *kinds: Kind) -> Flags:
        """(S,) whether a span is of one of these kinds."""
        flags = np.zeros(len(self), bool)
        for kind in kinds:
            flags[self.parts[kind]] = True
        return flags


def lay_out(kinds: dict[Kind, Sequence[tuple[float, float]]]) -> Spans:
    """Put the stretches of several kinds into one :class:`Spans`."""
    parts: dict[Kind, slice] = {}
    everything: list[tuple[float, float]] = []
    for kind, stretches in kinds.items():
        parts[kind] = slice(len(everything), len(everything) + len(stretches))
        everything += stretches
    edges = np.array(everything, np.float64).reshape(-1, 2)
    return Spans(edges[:, 0].copy(), edges[:, 1].copy(), parts)


def spans_of(intervals: Iterable[Interval]) -> Spans:
    """Intervals as spans of no kind."""
    edges = bounds(intervals)
    return Spans(edges[:, 0], edges[:, 1], {})


def union_s(starts_s: Floats, ends_s: Floats) -> float:
    """Seconds that stretches cover together, overlaps counted once; starts and ends increase."""
    if not len(starts_s):
        return 0.0
    more = np.maximum(ends_s[1:] - np.maximum(starts_s[1:], ends_s[:-1]), 0.0).sum()
    return float(ends_s[0] - starts_s[0] + more)


def rows_in(times_s: Floats, spans: Spans) -> Rows:
    """(S, 2) first and one-past-last sample whose time lies in [start, end)."""
    # A centre computed as k * 0.01 + 0.005 may miss an edge by a rounding error.
    first = np.searchsorted(times_s, spans.start_s - SAME_S, "left")
    last = np.searchsorted(times_s, spans.end_s - SAME_S, "left")
    return np.stack([first, np.maximum(first, last)], axis=1).astype(np.int64)


def lengths(rows: Rows) -> Ints:
    """(S,) number of samples in each row."""
    return np.asarray(rows[:, 1] - rows[:, 0])


def sum_rows(values: NDArray[np.generic], rows: Rows) -> Floats:
    """Sum of the samples of each row; (S,) or (S, C). An empty row sums to zero.

    Each row is added up by itself: differences of one long cumulative sum would lose the digits
    of quiet stretches after loud ones.
    """
    values = np.asarray(values, np.float64)
    shape = (len(rows), *values.shape[1:])
    if not len(rows) or not len(values):
        return np.zeros(shape)
    # An index equal to the length is needed for rows that end with the last sample.
    padded = np.concatenate([values, np.zeros((1, *values.shape[1:]))])
    # Every second entry is what lies between the end of one row and the start of the next.
    totals = np.add.reduceat(padded, rows.ravel(), axis=0)[::2]
    totals[rows[:, 0] >= rows[:, 1]] = 0.0
    return np.asarray(totals, np.float64)


def quantile_rows(values: Floats, rows: Rows, quantile: float) -> Floats:
    """A quantile of the samples of each row, linear between neighbours; NaN for an empty row.

    Args:
        values: (N,) without NaN.
        rows: (S, 2).
        quantile: 0 to 1.
    """
    result = np.full(len(rows), np.nan)
    for some, table, counts in _tables(values, rows):
        result[some] = _quantile_sorted(table, counts, quantile)
    return result


def mad_rows(values: Floats, rows: Rows) -> Floats:
    """Median absolute deviation from each row's own median; NaN for an empty row."""
    result = np.full(len(rows), np.nan)
    for some, table, counts in _tables(values, rows):
        # What pads the rows stays infinite.
        away = np.abs(table - _quantile_sorted(table, counts, 0.5)[:, None])
        away.sort(axis=1)
        result[some] = _quantile_sorted(away, counts, 0.5)
    return result


def _tables(values: Floats, rows: Rows) -> Iterator[tuple[Rows, Floats, Rows]]:
    """Rows of similar length as sorted tables padded with infinity: indices, table, lengths."""
    counts = lengths(rows)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    at = 0
    while at < len(order):
        shortest = counts[order[at]]
        some = order[at : at + max(1, int(_MOST_ENTRIES // (2 * shortest)))]
        some = some[counts[some] <= 2 * shortest]
        at += len(some)
        columns = np.arange(counts[some].max())
        index = np.minimum(rows[some, :1] + columns, len(values) - 1)
        table = np.where(columns < counts[some, None], values[index], np.inf)
        table.sort(axis=1)
        yield some, table, counts[some]


def _quantile_sorted(table: Floats, counts: Rows, quantile: float) -> Floats:
    place = quantile * (counts - 1)
    low = np.floor(place).astype(np.int64)
    line = np.arange(len(counts))
    below, above = table[line, low], table[line, np.minimum(low + 1, counts - 1)]
    return np.asarray(below + (place - low) * (above - below))


class Mass:
    """Mass spread evenly over stretches of time; stretches may overlap.

    The mass before an instant is a broken line, so the mass inside any span is one difference.

    Args:
        edges_s: (n, 2) starts and ends, seconds, in any order.
        mass: (n,) what each stretch holds in all; None for its length in seconds.
        shortest_s: Stretches are taken to last so long at least.
    """

    def __init__(
        self, edges_s: Floats, mass: Floats | None = None, shortest_s: float = _SHORTEST_S
    ) -> None:
        starts = np.asarray(edges_s[:, 0], np.float64)
        ends = np.maximum(np.asarray(edges_s[:, 1], np.float64), starts + shortest_s)
        held = ends - starts if mass is None else np.asarray(mass, np.float64)
        density = held / (ends - starts)
        knots = np.concatenate([starts, ends])
        order = np.argsort(knots, kind="stable")
        slope = np.cumsum(np.concatenate([density, -density])[order])
        self._knots = knots[order]
        self._before = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(self._knots))])

    def before(self, times_s: Floats) -> Floats:
        """Mass before each time."""
        if not len(self._knots):
            return np.zeros(len(times_s))
        return np.asarray(np.interp(times_s, self._knots, self._before))

    def within(self, spans: Spans) -> Floats:
        """(S,) mass inside each span."""
        return np.asarray(np.maximum(self.before(spans.end_s) - self.before(spans.start_s), 0.0))


def covered_s(intervals: Iterable[Interval], spans: Spans) -> Floats:
    """(S,) seconds of each span that any interval covers."""
    return Mass(bounds(merge_intervals(intervals)), shortest_s=0.0).within(spans)


def grid_counts(spans: Spans, rate_hz: float) -> Ints:
    """(S,) grid times k / rate in [start, end): what a complete span would hold."""
    # 0.3 * 10 is 3.0000000000000004 in some spellings: the rounding keeps such edges on the grid.
    first, stop = (np.ceil(np.round(t * rate_hz, 6)) for t in (spans.start_s, spans.end_s))
    return np.asarray(np.maximum(stop - first, 0), np.int64)


def runs(flags: Flags, breaks: Flags | None = None) -> Rows:
    """(R, 2) first and one-past-last index of each run of true flags.

    Args:
        flags: (N,).
        breaks: (N,) true where a sample does not follow on the one before it; a run ends there.
    """
    if breaks is None:
        return np.flatnonzero(np.diff(flags, prepend=False, append=False)).reshape(-1, 2)
    before, after = np.append(False, flags), np.append(flags, False)
    first = flags & (~before[:-1] | breaks)
    last = flags & (~after[1:] | np.append(breaks[1:], True))
    return np.stack([np.flatnonzero(first), np.flatnonzero(last) + 1], axis=1)


def flags_of(found: Rows, n: int) -> Flags:
    """(n,) true within each run, as :func:`runs` gives them."""
    flags = np.zeros(n, bool)
    for start, stop in found.tolist():
        flags[start:stop] = True
    return flags


def after_gaps(times_s: Floats, longest_s: float) -> Flags:
    """(N,) true where a sample does not follow on the one before it within ``longest_s``."""
    return np.append(True, np.diff(times_s) > longest_s)[: len(times_s)]


def held(values: Floats, on: float, off: float, breaks: Flags | None = None) -> Flags:
    """Hysteresis: true from a value >= on until a value < off; a break begins anew.

    Args:
        values: (N,) without NaN.
        on: Where it begins.
        off: Where it ends, <= on.
        breaks: (N,) true where a sample does not follow on the one before it.
    """
    index = np.arange(len(values))
    event = np.where(values >= on, 1, np.where(values < off, -1, 0))
    last = np.maximum.accumulate(np.where(event != 0, index, -1))
    start = 0 if breaks is None else np.maximum.accumulate(np.where(breaks, index, 0))
    return np.asarray((last >= start) & (event[last] == 1))


@dataclass(frozen=True, eq=False)
class Stretches:
    """Stretches of time that do not overlap, for example when the person speaks.

    Attributes:
        edges_s: (n, 2) starts and ends, sorted.
    """

    edges_s: Floats

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> Stretches:
        """The union of intervals in any order."""
        return cls(bounds(merge_intervals(intervals)))

    def at(self, times_s: Floats) -> Flags:
        """(N,) whether each time lies in one of them, half-open."""
        if not len(self.edges_s):
            return np.zeros(len(times_s), bool)
        place = np.searchsorted(self.edges_s[:, 0] - SAME_S, times_s, "right") - 1
        ends = self.edges_s[np.maximum(place, 0), 1]
        return np.asarray((place >= 0) & (times_s < ends - SAME_S))

    def within(self, spans: Spans) -> Floats:
        """(S,) seconds of them in each span."""
        return Mass(self.edges_s).within(spans)


def lists_by_key(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The values of every key in their order; keys in the order in which they come first."""
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def groups_of(codes: Rows) -> list[Rows]:
    """The rows of every code, codes and rows in order; one sort, however many codes there are."""
    if not len(codes):
        return []
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
