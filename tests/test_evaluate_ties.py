"""Ties: an ECE that the order of a file cannot change, and ranges that keep different names."""

from __future__ import annotations

import numpy as np
import pytest

from nunbit import statistics
from nunbit.stories.evaluate.people import _quantile_ranges


def test_the_ece_of_one_confidence_does_not_depend_on_the_order() -> None:
    confidence, correct = np.full(300, 0.8), np.arange(300) < 240
    bins = statistics.reliability(confidence, correct)
    assert bins.ece == pytest.approx(0.0, abs=1e-9)
    assert bins.count.tolist() == [300]


def test_rounded_probabilities_have_the_same_ece_in_any_order() -> None:
    rng = np.random.default_rng(5)
    confidence = np.round(0.4 + 0.6 * rng.random(600), 1)
    correct = rng.random(600) < confidence
    orders = [np.argsort(~correct, kind="stable"), *(rng.permutation(600) for _ in range(5))]
    found = [statistics.reliability(confidence[o], correct[o]) for o in orders]
    assert [bins.ece for bins in found] == pytest.approx([found[0].ece] * 6)
    assert found[0].ece < 0.06
    for bins, order in zip(found, orders, strict=True):
        assert np.isfinite(bins.accuracy).all()
        assert int(bins.count.sum()) == 600
        pairs = {(c, b) for c, b in zip(confidence[order], bins.bin_of, strict=True)}
        assert len(pairs) == len(np.unique(confidence))  # no tie is cut


@pytest.mark.parametrize("n", [1, 7, 15, 16, 299, 1000])
def test_without_ties_bins_are_of_equal_mass(n: int) -> None:
    rng = np.random.default_rng(n)
    confidence = rng.permutation((np.arange(n) + 0.5) / n)
    expected = np.empty(n, dtype=np.int64)
    expected[np.argsort(confidence)] = np.arange(n) * min(15, n) // n
    bins = statistics.reliability(confidence, rng.random(n) < 0.5)
    assert (bins.bin_of == expected).all()


@pytest.mark.parametrize("low", [10.0, 1000.0, 0.0, -20.0])
def test_quarters_of_a_narrow_range_keep_their_own_names(low: float) -> None:
    values = low + np.linspace(0.05, 0.45, 400)
    ranges = _quantile_ranges(values)
    assert ranges is not None
    assert len(set(ranges)) == 4
    assert sorted(ranges.count(name) for name in set(ranges)) == [100] * 4


def test_quarters_of_a_wide_range_stay_short() -> None:
    ranges = _quantile_ranges(np.array([1.234, 30.2, 60.4, 90.1, 120.0]))
    assert ranges is not None
    assert ranges[0] == "1.2–30"
