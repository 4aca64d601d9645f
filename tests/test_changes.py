"""Statistics of one series hold by simulation: intervals, changes, z against a baseline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nunbit
from nunbit.core.spans import lay_out
from nunbit.measures.estimate import Comparison, normalised
from nunbit.statistics import changes


def autoregressive(rng: np.random.Generator, rows: int, n: int, memory_s: float) -> np.ndarray:
    """(rows, n) of variance one, likeness falling to 1 / e after so many steps."""
    phi = np.exp(-1.0 / memory_s)
    x = rng.standard_normal((rows, n))
    for t in range(1, n):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * x[:, t]
    return x


def summaries(rows: np.ndarray, truth: float = 0.0) -> tuple[float, float]:
    """Share with an interval, and how often these hold the truth."""
    found = [nunbit.summarise(row, 1.0) for row in rows]
    shown = [f.ci95 for f in found if f.ci95 is not None]
    held = [low <= truth <= high for low, high in shown]
    return len(shown) / len(rows), float(np.mean(held)) if held else np.nan


@pytest.mark.parametrize(
    ("memory_s", "n"), [(2, 180), (2, 600), (5, 600), (5, 1800), (10, 1800), (30, 1800)]
)
def test_intervals_cover_where_they_are_shown(memory_s: float, n: int) -> None:
    shown, covered = summaries(autoregressive(np.random.default_rng(n), 200, n, memory_s))
    assert covered >= 0.90
    if shown > 0.5:
        assert covered <= 0.995
    if n >= 600 and memory_s <= 5:
        assert shown >= 0.8


@pytest.mark.parametrize(("memory_s", "n"), [(2, 60), (5, 60), (30, 60), (10, 180), (30, 600)])
def test_no_interval_below_twenty_independent_values(memory_s: float, n: int) -> None:
    rows = autoregressive(np.random.default_rng(7), 200, n, memory_s)
    assert summaries(rows)[0] <= 0.03
    assert {nunbit.summarise(row, 1.0).reason for row in rows} <= {None, "too_few_independent"}


def test_intervals_of_other_shapes_cover() -> None:
    rng = np.random.default_rng(3)
    white = rng.standard_normal((300, 602))
    smooth = (white[:, :-2] + white[:, 1:-1] + white[:, 2:]) / 3  # windows of 3 s every second
    gappy = autoregressive(rng, 300, 600, 5)
    for row in gappy:
        for start in rng.integers(0, 590, 14):
            row[start : start + 10] = np.nan
    bounded = 1 / (1 + np.exp(-2 * autoregressive(rng, 300, 600, 5)))
    for rows, truth in ((smooth, 0.0), (gappy, 0.0), (bounded, 0.5)):
        shown, covered = summaries(rows, truth)
        assert shown > 0.7
        assert 0.90 <= covered <= 0.995


def test_slow_drift_beneath_fast_noise_is_not_taken_for_noise() -> None:
    # Neighbours are hardly alike there; the memory shows in longer blocks only.
    rng = np.random.default_rng(8)
    rows = 0.7 * autoregressive(rng, 300, 600, 20) + rng.standard_normal((300, 600))
    assert summaries(rows)[1] >= 0.93
    assert summaries(rows[:, :180])[1] >= 0.85  # 65% and 58% before


def test_a_mean_of_few_bursts_or_one_outlier_has_no_interval() -> None:
    rng = np.random.default_rng(9)
    few = np.zeros((50, 600))
    for row in few:
        row[rng.choice(600, 5, replace=False)] = 1.0
    assert summaries(few)[0] == 0.0
    assert summaries(rng.poisson(0.2, (50, 600)).astype(float))[0] == 1.0
    outlier = rng.standard_normal((1, 600))
    outlier[0, 300] = 1e6
    assert summaries(outlier)[0] == 0.0


def test_likeness_is_seen_beneath_skew() -> None:
    rows = np.exp(autoregressive(np.random.default_rng(10), 200, 180, 5))
    assert summaries(rows)[0] <= 0.03  # as without the skew: 18 independent values


def share_with_changes(rows: np.ndarray) -> float:
    return float(np.mean([bool(nunbit.find_changes(r, 1.0, seed=i)) for i, r in enumerate(rows)]))


@pytest.mark.parametrize("memory_s", [2, 5, 10, 30])
def test_nothing_is_found_where_nothing_changes(memory_s: float) -> None:
    # A few recordings, seeded; hundreds in benchmarks/honesty_series.py. The old rule fired in all.
    rows = autoregressive(np.random.default_rng(11), 8, 600, memory_s)
    assert share_with_changes(rows) <= 0.13


def test_skew_and_gaps_are_no_change() -> None:
    rng = np.random.default_rng(5)
    skewed = np.exp(autoregressive(rng, 6, 600, 5))
    gappy = autoregressive(rng, 6, 600, 10)
    gappy[:, 100:160] = gappy[:, 400:460] = np.nan
    assert share_with_changes(skewed) <= 0.17
    assert share_with_changes(gappy) <= 0.17


def test_a_change_is_found_where_it_is() -> None:
    rows = autoregressive(np.random.default_rng(13), 8, 600, 2)
    rows[:, 300:320] += 2.5
    hits = 0
    for i, row in enumerate(rows):
        found = nunbit.find_changes(row, 1.0, seed=i)
        hits += any(start < 318 and end > 302 for start, end in found)
    assert hits >= 6


@pytest.mark.parametrize("baseline", [None, (0.0, 200.0)])
@pytest.mark.parametrize(("size", "length"), [(12.0, 30), (6.0, 30)])
def test_a_long_large_change_is_found(
    size: float, length: int, baseline: tuple[float, float] | None
) -> None:
    # Its own draws take it for a long memory: the rest of the series must speak.
    for row in autoregressive(np.random.default_rng(1), 3, 600, 2):
        row[300 : 300 + length] += size
        found = nunbit.find_changes(row, 1.0, baseline=baseline)
        assert any(290 <= start <= 300 + length / 2 <= end <= 312 + length for start, end in found)


@given(st.floats(-50, 50), st.floats(0.01, 100), st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_shift_scale_and_missing_ends(shift: float, scale: float, ends: int) -> None:
    row = autoregressive(np.random.default_rng(2), 1, 300, 2)[0]
    plain = nunbit.summarise(row, 1.0)
    padded = np.concatenate([np.full(ends, np.nan), row * scale + shift, np.full(ends, np.nan)])
    moved = nunbit.summarise(padded, 0.5)
    assert plain.ci95 is not None
    assert moved.ci95 is not None
    np.testing.assert_allclose(
        moved.ci95, np.array(plain.ci95) * scale + shift, rtol=1e-6, atol=1e-6
    )


def test_changes_do_not_depend_on_unit_or_order_of_calls() -> None:
    row = autoregressive(np.random.default_rng(13), 1, 600, 2)[0]
    row[200:230] += 4
    first = nunbit.find_changes(row, 1.0, seed=3)
    assert first == nunbit.find_changes(7 * row - 2, 1.0, seed=3) != []
    doubled = nunbit.find_changes(row, 2.0, seed=3)
    assert all(start % 2 == 0 for start, _ in doubled)


@pytest.mark.parametrize(
    ("values", "reason"),
    [([], "too_few"), ([np.nan] * 9, "too_few"), ([1.0], "too_few"),
     ([1.0, 2.0, 3.0], "too_few_independent"), ([4.0] * 600, "constant")],
)  # fmt: skip
def test_what_cannot_be_told_says_why(values: list[float], reason: str) -> None:
    found = nunbit.summarise(values, 1.0)
    assert (found.ci95, found.reason) == (None, reason)
    assert nunbit.find_changes(values, 1.0) == []


@pytest.mark.parametrize("call", [nunbit.summarise, nunbit.find_changes])
def test_bad_series_are_refused(call: object) -> None:
    assert callable(call)
    for values, hop in (([[1.0, 2.0]], 1.0), ([np.inf, 1.0], 1.0), ([1.0, 2.0], 0.0)):
        with pytest.raises(nunbit.InputError):
            call(values, hop)
    with pytest.raises(nunbit.InputError, match="baseline"):
        nunbit.find_changes([np.nan] * 50 + [1.0] * 50, 1.0, baseline=(0, 40))


@pytest.mark.slow
def test_two_hours_take_seconds() -> None:
    row = autoregressive(np.random.default_rng(0), 1, 7200, 5)[0]
    assert len(changes.scan_series(row, 1.0)) <= 1


@pytest.mark.parametrize("memory_s", [2, 5, 10, 30])
def test_windows_are_rarely_far_from_the_baseline_where_nothing_changes(memory_s: float) -> None:
    far = []
    spans = lay_out({"window": [(float(k), k + 1.0) for k in range(600)], "turn": [(0.0, 600.0)],
                     "question": [(0.0, 600.0)], "session": [(0.0, 600.0)],
                     "block": [(float(k), k + 1.0) for k in range(600)],
                     "baseline": [(0.0, 60.0)]})  # fmt: skip
    comparison = Comparison(spans, "z")
    for row in autoregressive(np.random.default_rng(4), 60, 600, memory_s):
        value = np.full(len(spans), np.nan)
        value[spans.parts["window"]] = row
        z = normalised(row, comparison.baseline(value), "z")
        far += [np.mean(np.abs(z) > 2)] if np.isfinite(z).any() else []
    if memory_s <= 5:
        assert len(far) > 50
    assert not far or np.mean(far) <= 0.07


@pytest.mark.parametrize(
    ("memory_s", "above"),
    [
        pytest.param(1.0, 2.0, marks=pytest.mark.slow),
        pytest.param(3.0, 1.5, marks=pytest.mark.slow),
        (10.0, 1.0),
    ],
)
def test_rare_bursts_are_no_change(memory_s: float, above: float) -> None:
    rows = autoregressive(np.random.default_rng(5), 40, 600, memory_s)
    assert share_with_changes(np.maximum(rows - above, 0.0)) <= 0.1
