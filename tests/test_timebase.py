"""The clock and its grids: known answers, and properties against the naive way."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

import nunbit
from nunbit.core.messages import SettingsError
from nunbit.core.spans import (
    Mass,
    Spans,
    Stretches,
    after_gaps,
    covered_s,
    rows_in,
    runs,
    spans_of,
    union_s,
)
from nunbit.core.streams import Interval
from nunbit.core.timebase import (
    bounds,
    clip_intervals,
    clock,
    intersect_intervals,
    merge_intervals,
    nearest_indices,
    nearest_within,
    place_text,
    sample_grid,
    stamp,
    subtract_intervals,
    window_grid,
)


def _random_intervals(rng: np.random.Generator, n: int, end: float = 20.0) -> list[Interval]:
    starts = rng.uniform(0, end, n).round(2)
    return [
        Interval(s, s + length) for s, length in zip(starts, rng.uniform(0.01, 3, n), strict=True)
    ]


@pytest.mark.parametrize(
    ("duration_s", "length_s", "hop_s", "expected"),
    [
        (0.0, 4.0, 1.0, []),
        (3.0, 4.0, 1.0, [(0, 3)]),
        (4.0, 4.0, 1.0, [(0, 4)]),
        (5.5, 4.0, 1.0, [(0, 4), (1, 5), (2, 5.5)]),
        (0.8, 0.2, 0.2, [(0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8)]),
        (-1.0, 4.0, 1.0, []),
        (math.nan, 4.0, 1.0, []),
    ],
)
def test_windows(
    duration_s: float, length_s: float, hop_s: float, expected: list[tuple[float, float]]
) -> None:
    found = [(w.start_s, w.end_s) for w in window_grid(duration_s, length_s, hop_s)]
    assert len(found) == len(expected)
    if expected:
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("seed", range(30))
def test_windows_cover_the_medium(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = rng.uniform(0.5, 5)
    hop, duration = rng.uniform(0.05, length), rng.uniform(0.01, 60)
    windows = window_grid(duration, length, hop)
    assert windows[0].start_s == 0
    assert windows[-1].end_s == pytest.approx(duration)
    assert len(merge_intervals(windows)) == 1
    assert all(w.duration_s <= length + 1e-9 for w in windows)
    # No window is there only for what another one holds already.
    assert len(windows) == 1 or windows[-2].end_s < duration


@pytest.mark.parametrize(
    ("length_s", "hop_s"), [(4, 0), (4, -1), (1, 2), (math.inf, 1), (4, math.nan)]
)
def test_windows_refuse_gaps(length_s: float, hop_s: float) -> None:
    with pytest.raises(SettingsError):
        window_grid(10, length_s, hop_s)


def test_sample_grid_is_the_same_for_every_start() -> None:
    everything = sample_grid(0, 7200, 10)
    assert len(everything) == 72_000
    rng = np.random.default_rng(0)
    for start in rng.uniform(0, 7000, 50):
        part = sample_grid(start, start + 100, 10)
        assert part[0] >= start - 1e-6
        assert part[-1] < start + 100
        first = np.flatnonzero(everything == part[0])[0]
        np.testing.assert_array_equal(part, everything[first : first + len(part)])
    assert sample_grid(0.3, 0.6, 10).tolist() == [0.3, 0.4, 0.5]  # 0.3 is rounded
    assert len(sample_grid(1, 1, 10)) == len(sample_grid(2, 1, 10)) == 0
    with pytest.raises(SettingsError):
        sample_grid(0, 1, 0)


def _naive_nearest(times: np.ndarray, grid: np.ndarray, tolerance: float) -> list[int]:
    found = []
    for i, g in enumerate(grid):
        best = -1
        for j, t in enumerate(times):
            others = [abs(t - h) for k, h in enumerate(grid) if k != i]
            nearer = [abs(t - h) for h in grid[:i]]
            owns = all(abs(t - g) <= d + 1e-9 for d in others)
            owns = owns and all(abs(t - g) < d - 1e-9 for d in nearer)
            if not owns or abs(t - g) > tolerance + 1e-9:
                continue
            if best < 0 or abs(t - g) < abs(times[best] - g) - 1e-9:
                best = j
        found.append(best)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_nearest_is_the_naive_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = rng.choice([1 / 5, 1 / 8, 1 / 25, 1 / 30, 1 / 60])
    times = np.arange(0, 2, step) + rng.choice([0, 1]) * rng.uniform(0, step)
    if seed % 2:
        times = np.sort(rng.uniform(0, 2, rng.integers(0, 40)))
    grid = sample_grid(0, 2, float(rng.choice([4, 10, 12.5, 30])))
    found = nearest_within(times, grid, 0.05)
    assert found.tolist() == _naive_nearest(times, grid, 0.05)
    used = found[found >= 0]
    assert len(set(used.tolist())) == len(used)
    assert (np.diff(used) > 0).all()
    assert (np.abs(times[used] - grid[found >= 0]) <= 0.05 + 1e-9).all()


def test_nearest_of_nothing() -> None:
    none = np.zeros(0)
    assert nearest_within(none, np.array([0.0, 0.1])).tolist() == [-1, -1]
    assert nearest_within(np.array([0.0]), none).tolist() == []
    assert nearest_within(np.array([5.0]), np.array([5.04])).tolist() == [0]


def test_rows_by_centre_time() -> None:
    times = np.arange(1000) * 0.01 + 0.005
    windows = window_grid(10.0)
    rows = rows_in(times, spans_of(windows))
    for (start, stop), window in zip(rows, windows, strict=True):
        inside = (times >= window.start_s) & (times < window.end_s)
        np.testing.assert_array_equal(np.arange(start, stop), np.flatnonzero(inside))
    assert rows_in(np.array([0.0, 1.0]), spans_of([Interval(0, 1), Interval(1, 2)])).tolist() == [
        [0, 1],
        [1, 2],
    ]
    assert rows_in(times, spans_of([])).shape == (0, 2)


@pytest.mark.parametrize("seed", range(20))
def test_overlap_is_the_naive_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words, windows = _random_intervals(rng, 30), list(window_grid(22.0))
    values = rng.integers(0, 5, 30)
    naive = [
        sum(v * word.overlap_s(w) / word.duration_s for word, v in zip(words, values, strict=True))
        for w in windows
    ]
    np.testing.assert_allclose(
        Mass(bounds(words), values).within(spans_of(windows)), naive, atol=1e-9
    )
    fine = np.arange(0, 23, 0.001) + 0.0005
    held = np.zeros(len(fine), bool)
    for word in words:
        held |= (fine >= word.start_s) & (fine < word.end_s)
    for got, w in zip(covered_s(words, spans_of(windows)), windows, strict=True):
        inside = (fine >= w.start_s) & (fine < w.end_s)
        assert got == pytest.approx((held & inside).sum() * 0.001, abs=0.05)


def test_overlap_of_nothing() -> None:
    one = spans_of([Interval(0, 1)])
    assert Mass(bounds([])).within(one).tolist() == [0.0]
    assert covered_s([], one).tolist() == [0.0]
    assert covered_s([Interval(0, 1)], spans_of([])).tolist() == []
    assert covered_s([Interval(0.2, 0.2001)], one) == pytest.approx([0.0001])  # shorter than 1 ms


def test_overlap_needs_no_table_of_words_by_windows() -> None:
    """Two hours: 20,000 words and 7,200 windows in a fraction of a second."""
    starts = np.arange(20_000) * 0.36
    words = Mass(np.stack([starts, starts + 0.3], axis=1), np.ones(len(starts)))
    counted = words.within(spans_of(window_grid(7200.0)))
    assert counted[:7000] == pytest.approx(4 / 0.36, abs=1)
    assert words.within(spans_of([Interval(0, 7200)]))[0] == pytest.approx(20_000)


@pytest.mark.parametrize("seed", range(20))
def test_stretches_and_unions_equal_the_naive_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = _random_intervals(rng, int(rng.integers(0, 12)))
    times = np.sort(rng.uniform(0, 24, 300))
    naive = [any(each.start_s <= t < each.end_s for each in said) for t in times]
    np.testing.assert_array_equal(Stretches.of(said).at(times), naive)
    windows = window_grid(22.0, 4.0, 2.5)
    spans = spans_of(windows)
    fine = np.arange(0, 22, 0.0005)
    seconds = sum((fine >= w.start_s) & (fine < w.end_s) for w in windows).astype(bool).sum()
    assert union_s(spans.start_s, spans.end_s) == pytest.approx(seconds * 0.0005, abs=2e-3)
    assert union_s(np.zeros(0), np.zeros(0)) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_runs_equal_the_naive_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flags = rng.random(rng.integers(0, 40)) < 0.6
    times = rng.choice([0.1, 0.1, 0.3], len(flags)).cumsum()
    breaks = after_gaps(times, 0.15)
    assert breaks.tolist() == [i == 0 or times[i] - times[i - 1] > 0.15 for i in range(len(times))]

    def naive(cut: np.ndarray) -> list[list[int]]:
        found: list[list[int]] = []
        for i, flag in enumerate(flags):
            if flag and found and found[-1][1] == i and not cut[i]:
                found[-1][1] = i + 1
            elif flag:
                found.append([i, i + 1])
        return found

    assert runs(flags).tolist() == naive(np.zeros(len(flags), bool))
    assert runs(flags, breaks).tolist() == naive(breaks)


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_grid_time_is_the_naive_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = np.sort(rng.uniform(0, 10, rng.integers(1, 30)))
    times = rng.uniform(-2, 12, 50)
    naive = [int(np.abs(grid - t).argmin()) for t in times]
    assert nearest_indices(grid, times).tolist() == naive
    assert nearest_indices(np.array([0.0, 1.0]), np.array([0.5])).tolist() == [
        1
    ]  # a tie: the later one


def test_the_spans_of_one_kind() -> None:
    spans = Spans(np.array([0.0, 1.0, 4.0]), np.array([2.0, 3.0, 8.0]),
                  {"window": slice(0, 2), "session": slice(2, 3)})  # fmt: skip
    assert spans.of("window").centre_s.tolist() == [1.0, 2.0]
    assert spans.of("session").duration_s.tolist() == [4.0]


@pytest.mark.parametrize("seed", range(30))
def test_interval_sets_are_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = _random_intervals(rng, rng.integers(0, 8)), _random_intervals(rng, rng.integers(0, 8))
    points = np.arange(0, 25, 0.0037)

    def held(intervals: object) -> np.ndarray:
        inside = np.zeros(len(points), bool)
        for each in intervals:  # type: ignore[attr-defined]
            inside |= (points >= each.start_s) & (points < each.end_s)
        return inside

    np.testing.assert_array_equal(held(merge_intervals(a)), held(a))
    np.testing.assert_array_equal(held(intersect_intervals(a, b)), held(a) & held(b))
    np.testing.assert_array_equal(held(subtract_intervals(a, b)), held(a) & ~held(b))
    np.testing.assert_array_equal(held(clip_intervals(a, 3, 9)), held(a) & held([Interval(3, 9)]))
    for result in (merge_intervals(a), intersect_intervals(a, b), subtract_intervals(a, b)):
        for first, second in itertools.pairwise(result):
            assert first.end_s < second.start_s


def test_merging_joins_what_lies_close() -> None:
    pieces = [Interval(2.0, 3.0), Interval(0.0, 1.0), Interval(3.2, 4.0)]
    assert merge_intervals(pieces, 0.25) == (Interval(0.0, 1.0), Interval(2.0, 4.0))
    assert merge_intervals([Interval(0, 0.1 + 0.2), Interval(0.3, 1)]) == (Interval(0, 1),)
    assert subtract_intervals([Interval(0, 1)], []) == (Interval(0, 1),)
    assert subtract_intervals([], [Interval(0, 1)]) == ()


# -- times as text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "short", "tenths", "place", "stamped"),
    [
        (0.0, "0:00", "0:00.0", "0:00.0", "00:00:00.000"),
        (59.96, "1:00", "0:59.9", "1:00.0", "00:00:59.960"),  # never 0:60.0
        (754.56, "12:35", "12:34.5", "12:34.6", "00:12:34.560"),
        (3723.04, "1:02:03", "1:02:03.0", "1:02:03.0", "01:02:03.040"),
        (0.3 - 0.2, "0:00", "0:00.1", "0:00.1", "00:00:00.100"),
    ],
)
def test_clock_texts(seconds: float, short: str, tenths: str, place: str, stamped: str) -> None:
    assert clock(seconds) == short
    assert clock(seconds, tenths=True) == tenths
    assert place_text(seconds) == place
    assert stamp(seconds) == stamped
    assert stamp(seconds, ",") == stamped.replace(".", ",")


def test_a_place_that_is_none() -> None:
    assert place_text(math.nan) == place_text(math.inf) == "?"
    assert place_text(-0.4) == "0:00.0"


@pytest.mark.parametrize(
    "seconds", np.random.default_rng(0).uniform(0, 9000, 200).round(3).tolist()
)
def test_a_stamp_is_the_time(seconds: float) -> None:
    hours, minutes, rest = stamp(seconds).split(":")
    assert 3600 * int(hours) + 60 * int(minutes) + float(rest) == pytest.approx(seconds, abs=1e-9)


# -- one of each ----------------------------------------------------------------------------------


def test_tolerances_and_runs_have_one_home() -> None:
    """Nobody else names a tolerance of time, a shortest pause, or finds runs of flags by hand."""
    root = Path(nunbit.__file__).parent
    own = re.compile(
        r"^_?(SAME_S|PAUSE_S|MIN_SPEECH_S)\b.*=|np\.diff\([^\n]*prepend=False, append=False\)"
        r"|np\.concatenate\(\[\[False\], ~?\w+, \[False\]\]\)",
        re.MULTILINE,
    )
    found = {
        str(path.relative_to(root)): own.findall(path.read_text(encoding="utf-8"))
        for path in root.rglob("*.py")
        if path.parent.name != "core"
    }
    assert not {name: hits for name, hits in found.items() if hits}
