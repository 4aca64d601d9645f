"""Nested folds and ridge against plain references; scores against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from nunbit.statistics.nested import (
    PENALTIES,
    Ridge,
    Scaler,
    nested_splits,
    permuted_rows,
    splits_of,
)
from nunbit.statistics.outcome_scores import (
    above_by_chance,
    concordance,
    drawn_concordance,
    drawn_interval,
    false_discovery,
    person_draws,
    spearman,
)


def _rows(n: int = 90, f: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, f)) * np.arange(1, f + 1)
    y = x @ rng.normal(size=f) + rng.normal(size=n)
    return x, y, np.arange(n) // 3


def test_persons_never_cross_folds_and_every_row_is_tested_once() -> None:
    _, _, person = _rows()
    for repeat in nested_splits(person, 5, 4, 3, seed=1):
        tested = np.concatenate([s.test for s in repeat])
        assert sorted(tested.tolist()) == list(range(90))
        for s in repeat:
            assert not set(person[s.train]) & set(person[s.test])
            for fit, held in s.inner:
                assert not set(person[fit]) & set(person[held])
                assert set(fit) | set(held) == set(s.train)
    first, second = nested_splits(person, 5, 4, 2, seed=1)
    assert any((a.test.tolist() != b.test.tolist()) for a, b in zip(first, second, strict=True))


def test_ridge_equals_scikit_learn_for_one_penalty() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x, y, person = _rows()
    splits = nested_splits(person, 5, 3, 1, seed=2)[0]
    found = Ridge(x, splits, penalties=(0.3,)).predict(y[:, None])[:, 0]
    for s in splits:
        scaler = Scaler.of(x[s.train])
        known, asked = scaler.apply(x[s.train]), scaler.apply(x[s.test])
        unit = (np.linalg.svd(known, compute_uv=False) ** 2).mean()
        model = linear.Ridge(alpha=0.3 * unit).fit(known, y[s.train])
        np.testing.assert_allclose(found[s.test], model.predict(asked), atol=1e-8)


def test_many_labels_at_once_equal_one_at_a_time_with_the_penalty_chosen_for_each() -> None:
    x, y, person = _rows()
    splits = nested_splits(person, 4, 3, 1, seed=3)[0]
    rng = np.random.default_rng(4)
    labels = np.stack([y, rng.permutation(y), rng.permutation(y)], axis=1)
    ridge = Ridge(x, splits)
    together = ridge.predict(labels)
    for column in range(3):
        alone = ridge.predict(labels[:, column : column + 1])[:, 0]
        np.testing.assert_allclose(together[:, column], alone, atol=1e-9)
    # What the tested persons' labels are cannot matter to their own predictions.
    changed = labels.copy()
    changed[splits[0].test] += 100.0
    np.testing.assert_allclose(ridge.predict(changed)[splits[0].test], together[splits[0].test])


def test_features_that_carry_nothing_lead_to_the_mean() -> None:
    rng = np.random.default_rng(0)
    spread = []
    for seed in range(20):
        x, y = rng.normal(size=(80, 30)), rng.normal(size=80)
        splits = nested_splits(np.arange(80), 5, 5, 1, seed)[0]
        spread.append(Ridge(x, splits).predict(y[:, None]).std())
    assert np.median(spread) < 0.35
    assert PENALTIES[-1] >= 1e4


def test_missing_values_are_the_training_mean_and_empty_columns_are_left_out() -> None:
    rows = np.array([[1.0, np.nan, 5.0], [3.0, np.nan, 5.0], [np.nan, np.nan, 5.0]])
    scaler = Scaler.of(rows)
    assert scaler.kept.tolist() == [0]
    np.testing.assert_allclose(scaler.apply(rows)[:, 0], [-1.0, 1.0, 0.0])
    everything = np.full((6, 2), np.nan)
    splits = nested_splits(np.arange(6), 3, 2, 1, 0)[0]
    y = np.arange(6.0)
    found = Ridge(everything, splits).predict(y[:, None])[:, 0]
    for s in splits:
        np.testing.assert_allclose(found[s.test], y[s.train].mean())


def test_permutations_move_persons_whole_and_stay_within_blocks() -> None:
    person = np.repeat(np.arange(12), 3)
    block = (person >= 6).astype(np.int64)
    rows = permuted_rows(person, block, np.random.default_rng(0))
    for each in range(12):
        given = rows[person == each]
        assert len(set(person[given])) == 1
        assert np.diff(given).tolist() == [1, 1]
    assert (block[rows] == block).all()
    assert (rows != np.arange(36)).any()
    turned = permuted_rows(person, block * 0, np.random.default_rng(1), turned=True)
    assert {tuple(np.diff(turned[person == p])) for p in range(12)} > {(1, 1)}


def test_sites_are_left_out_whole() -> None:
    site = np.repeat([0, 1, 2], 10)
    for s in splits_of(site, np.arange(30), 3, 0):
        assert len(set(site[s.test])) == 1
        assert not set(site[s.test]) & set(site[s.train])


def test_concordance_is_lins() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=50)
    assert concordance(y, y[:, None])[0] == pytest.approx(1.0)
    assert concordance(y, np.full((50, 1), y.mean()))[0] == pytest.approx(0.0)
    q = 0.5 * y + rng.normal(size=50) + 1.0
    expected = 2 * np.cov(y, q, bias=True)[0, 1] / (y.var() + q.var() + (y.mean() - q.mean()) ** 2)
    assert concordance(y, q[:, None])[0] == pytest.approx(expected)
    person = np.arange(50) // 2
    ones = np.ones((1, 25))
    assert drawn_concordance(y, q[:, None], person, ones)[0] == pytest.approx(expected)
    draws = person_draws(25, 1000, 0)
    assert draws.sum(axis=1).tolist() == [25.0] * 1000
    low, high = drawn_interval(drawn_concordance(y, q[:, None], person, draws))
    assert low < expected < high
    picked = np.repeat(np.arange(25), draws[0].astype(int))
    rows = np.concatenate([np.flatnonzero(person == p) for p in picked])
    again = concordance(y[rows], q[rows][:, None])[0]
    assert drawn_concordance(y, q[:, None], person, draws[:1])[0] == pytest.approx(again)


def test_spearman_equals_scipy_and_its_interval_covers() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=40), 1)
    y = np.round(x + rng.normal(size=40), 1)
    rho, ci, p = spearman(x, y)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert ci is not None
    assert p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.01)
    hits = 0
    for _ in range(300):
        a = rng.normal(size=30)
        b = 0.5 * a + np.sqrt(0.75) * rng.normal(size=30)
        _, ci, _ = spearman(a, b)
        assert ci is not None
        hits += ci[0] < 6 / np.pi * np.arcsin(0.25) < ci[1]
    assert 0.91 <= hits / 300 <= 0.985
    assert spearman(np.ones(9), y[:9])[1] is None
    assert spearman(x[:4], y[:4])[1] is None


def test_spearman_of_few_persons_is_exact() -> None:
    stats = pytest.importorskip("scipy.stats")
    rho, ci, p = spearman(np.arange(5.0), 2 * np.arange(5.0))
    assert (rho, ci) == (pytest.approx(1.0), None)
    assert p == pytest.approx(2 / 120)  # of all orders, two are as strong
    rng = np.random.default_rng(1)
    for n in (6, 8, 12, 20):
        x, y = rng.normal(size=n), np.round(rng.normal(size=n))
        both = stats.spearmanr(x, y)
        assert spearman(x, y)[0] == pytest.approx(both.statistic)
        permuted = stats.permutation_test(
            (x,), lambda a, y=y: stats.spearmanr(a, y).statistic, permutation_type="pairings",
            n_resamples=4000, rng=0,
        )  # fmt: skip
        assert spearman(x, y)[2] == pytest.approx(permuted.pvalue, abs=0.03)
    x, y = rng.normal(size=60), rng.normal(size=60)
    for other in (y, x + 0.1 * y, x + y):
        assert spearman(x, other)[2] == pytest.approx(stats.spearmanr(x, other).pvalue, rel=1e-4)


@pytest.mark.parametrize("n", [5, 8, 12, 20])
def test_of_many_measures_without_an_effect_few_studies_find_one(n: int) -> None:
    rng = np.random.default_rng(n)
    found = 0
    for _ in range(20):
        outcome = rng.normal(size=n)
        p_values = [spearman(rng.normal(size=n), outcome)[2] for _ in range(60)]
        found += min(false_discovery(p_values)) < 0.05
    assert found <= 4


def test_false_discovery_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    p = [0.001, 0.2, 0.03, 0.03, 0.9, 0.5]
    np.testing.assert_allclose(false_discovery(p), stats.false_discovery_control(p))
    with_gap = false_discovery([0.01, float("nan"), 0.04])
    assert with_gap[0] == pytest.approx(0.02)
    assert np.isnan(with_gap[1])


def test_a_permutation_p_is_never_zero() -> None:
    assert above_by_chance(9.0, np.zeros(99)) == 0.01
    assert above_by_chance(0.0, np.zeros(99)) == 1.0


@pytest.mark.parametrize("persons", [3, 4, 5])
def test_few_persons_leave_two_to_fit_on(persons: int) -> None:
    person = np.repeat(np.arange(persons), 4)
    for split in nested_splits(person, 2, 2, 3, seed=0):
        for fold in split:
            assert len(np.unique(person[fold.train])) >= 2
            assert all(len(fit) and len(held) for fit, held in fold.inner)
