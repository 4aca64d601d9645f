"""Every metric against scikit-learn or a naive loop; intervals against simulation."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest

from nunbit import statistics
from nunbit.statistics.resampling import _weights
from nunbit.statistics.scores import ABSENT, MAJORITY, SPLIT, UNANIMOUS, UNJUDGED, vote_counts

K = 5
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def make_predictions(seed: int, n: int = 400, k: int = K, skip: int | None = None) -> Arrays:
    """Truth, probabilities that know something of it, and predictions."""
    rng = np.random.default_rng(seed)
    classes = [c for c in range(k) if c != skip]
    truth = rng.choice(classes, n, p=rng.dirichlet(np.full(len(classes), 3.0)))
    logits = rng.normal(size=(n, k)) + 1.3 * np.eye(k)[truth]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, probability, probability.argmax(axis=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("skip", [None, 2], ids=["all classes", "one class without images"])
def test_classification_equals_sklearn(seed: int, skip: int | None, reference: Any) -> None:
    truth, _, predicted = make_predictions(seed, skip=skip)
    confusion = statistics.confusion_matrix(truth, predicted, K)
    labels = list(range(K))
    assert (confusion == reference.confusion_matrix(truth, predicted, labels=labels)).all()
    assert statistics.top1(confusion) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert statistics.macro_f1(confusion) == pytest.approx(
        reference.f1_score(truth, predicted, average="macro")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference warns of a class that is only predicted
        assert statistics.uar(confusion) == pytest.approx(
            reference.balanced_accuracy_score(truth, predicted)
        )
        expected = reference.precision_recall_fscore_support(
            truth, predicted, labels=labels, zero_division=np.nan
        )
    np.testing.assert_allclose(statistics.precision(confusion), expected[0])
    np.testing.assert_allclose(statistics.recall(confusion), expected[1])
    np.testing.assert_allclose(statistics.f1(confusion), expected[2])


def test_undefined_scores_are_nan_and_left_out_of_means() -> None:
    confusion = np.array([[4, 0, 0], [2, 0, 0], [0, 0, 0]])  # 1 never predicted, 2 nowhere
    assert statistics.precision(confusion).tolist()[0] == pytest.approx(4 / 6)
    assert np.isnan(statistics.precision(confusion)[1:]).all()
    assert np.isnan(statistics.recall(confusion)[2])
    assert statistics.f1(confusion)[1] == 0.0
    assert statistics.macro_f1(confusion) == pytest.approx((0.8 + 0.0) / 2)
    assert statistics.uar(confusion) == pytest.approx(0.5)
    assert np.isnan(statistics.top1(np.zeros((3, 3))))


def test_scores_work_on_stacks_of_matrices() -> None:
    stack = np.random.default_rng(0).integers(0, 9, (4, 3, K, K))
    for score in (
        statistics.top1,
        statistics.macro_f1,
        statistics.uar,
        statistics.recall,
        statistics.f1,
    ):
        np.testing.assert_allclose(score(stack)[2, 1], score(stack[2, 1]))


def test_binary_confusion_collapses_groups(reference: Any) -> None:
    truth, _, predicted = make_predictions(3)
    members = [1, 4]
    collapsed = statistics.binary_confusion(
        statistics.confusion_matrix(truth, predicted, K), members
    )
    expected = reference.confusion_matrix(np.isin(truth, members), np.isin(predicted, members))
    assert (collapsed == expected).all()


@pytest.mark.parametrize("decimals", [16, 1], ids=["distinct", "many ties"])
def test_auroc_equals_sklearn(decimals: int, reference: Any) -> None:
    rng = np.random.default_rng(7)
    positive = rng.random(500) < 0.3
    score = np.round(rng.normal(size=500) + positive, decimals)
    expected = reference.roc_auc_score(positive, score)
    assert statistics.auroc(score, positive) == pytest.approx(expected)
    bins = statistics.rank_bins(score, positive)
    assert statistics.auroc_from_bins(bins.total()) == pytest.approx(expected, abs=5e-4)


def test_auroc_of_one_side_is_undefined() -> None:
    assert math.isnan(statistics.auroc(np.arange(3.0), np.ones(3, dtype=bool)))
    assert statistics.auroc(np.zeros(4), np.array([True, False, True, False])) == 0.5


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 1), (12, 30), (900, 1100)])
@pytest.mark.seconds
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    first = np.repeat([True, False, True], [only_first, only_second, 5])
    second = np.repeat([False, True, True], [only_first, only_second, 5])
    result = statistics.mcnemar(first, second)
    n = only_first + only_second
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(only_first, n).pvalue if n else 1.0
    assert result["p_value"] == pytest.approx(expected, rel=1e-6)
    assert (result["only_first"], result["only_second"]) == (only_first, only_second)


@pytest.mark.parametrize("seed", range(20))
def test_best_relabelling_is_the_optimal_assignment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confusion = rng.integers(0, 50, (seed % 8 + 1, seed % 8 + 1))
    order, accuracy = statistics.best_relabelling(confusion)
    optimize = pytest.importorskip("scipy.optimize")
    rows, columns = optimize.linear_sum_assignment(-confusion)
    assert sorted(order) == list(range(len(confusion)))
    assert accuracy == pytest.approx(confusion[rows, columns].sum() / confusion.sum())


@pytest.mark.parametrize("seed", range(3))
def test_proper_scores_equal_sklearn(seed: int, reference: Any) -> None:
    truth, probability, _ = make_predictions(seed)
    labels = list(range(K))
    assert statistics.brier(probability, truth).mean() == pytest.approx(
        reference.brier_score_loss(truth, probability, labels=labels, scale_by_half=False)
    )
    expected = reference.log_loss(truth, probability, labels=labels)
    assert statistics.negative_log_likelihood(probability, truth).mean() == pytest.approx(expected)
    one_hot = np.eye(K)[truth]
    assert statistics.soft_cross_entropy(probability, one_hot).mean() == pytest.approx(expected)


@pytest.mark.parametrize(("n", "n_bins"), [(400, 15), (7, 15), (1, 15), (31, 10)])
def test_ece_equals_a_naive_loop(n: int, n_bins: int) -> None:
    truth, probability, predicted = make_predictions(5, n=n)
    order = np.argsort(probability.max(axis=1), kind="stable")
    # The same equal-mass bins by hand: image of rank r goes to bin floor(r * B / N).
    n_used = min(n, n_bins)
    bins: list[list[int]] = [[] for _ in range(n_used)]
    for rank, image in enumerate(order):
        bins[rank * n_used // n].append(int(image))
    naive = sum(
        len(b) / n * abs((predicted[b] == truth[b]).mean() - probability.max(axis=1)[b].mean())
        for b in bins
    )
    assert statistics.expected_calibration_error(probability, truth, n_bins) == pytest.approx(naive)
    sizes = [len(b) for b in bins]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(true_temperature: float) -> None:
    rng = np.random.default_rng(11)
    logits = rng.normal(size=(20_000, K)) * 2.0
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) > rng.random((len(logits), 1))).argmax(axis=1)
    fitted = statistics.fit_temperature(logits * true_temperature, truth)
    assert fitted == pytest.approx(true_temperature, rel=0.05)


def test_temperature_of_a_faultless_model_is_the_end_of_the_range() -> None:
    assert statistics.fit_temperature(np.eye(K) * 3.0, np.arange(K)) == pytest.approx(
        0.05, rel=1e-3
    )


def test_risk_coverage_equals_a_naive_loop() -> None:
    truth, probability, predicted = make_predictions(9, n=200)
    confidence, correct = probability.max(axis=1), predicted == truth
    curve = statistics.risk_coverage(confidence, correct, n_points=200)
    order = np.argsort(-confidence)
    naive = [correct[order[: i + 1]].mean() for i in range(200)]
    np.testing.assert_allclose(curve.accuracy, naive)
    np.testing.assert_allclose(curve.coverage, np.arange(1, 201) / 200)
    assert curve.aurc == pytest.approx(1.0 - np.mean(naive))
    assert curve.accuracy[-1] == pytest.approx(correct.mean())


def test_risk_coverage_ignores_the_order_of_ties() -> None:
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    correct = np.array([True, True, False, False, False])
    forwards = statistics.risk_coverage(confidence, correct)
    backwards = statistics.risk_coverage(confidence[::-1], correct[::-1])
    np.testing.assert_allclose(forwards.accuracy, backwards.accuracy)
    assert forwards.accuracy[1] == pytest.approx((1 + 1 / 3) / 2)


def test_clusters_number_persons_and_lone_images() -> None:
    codes = statistics.cluster_codes(["b", None, "a", "b", None], 5)
    assert codes.tolist() == [0, 1, 2, 0, 3]
    assert statistics.cluster_codes(None, 3).tolist() == [0, 1, 2]
    assert statistics.cluster_codes(["1", None], 2).tolist() == [0, 1]  # person "1" is not image 1


def test_resampled_sums_equal_a_naive_bootstrap(reference: Any) -> None:
    truth, probability, predicted = make_predictions(1, n=60)
    clusters = np.random.default_rng(2).integers(0, 9, 60)
    values = statistics.brier(probability, truth)
    truth_with_gap = np.where(np.arange(60) < 5, -1, truth)
    draws = statistics.resample(
        {
            "confusion": statistics.confusion_cells(truth_with_gap, predicted, K),
            "brier": statistics.Additive(np.zeros(60, dtype=np.int64), 1, values),
        },
        clusters,
        n_resamples=20,
        seed=4,
    )
    weights = np.concatenate(list(_weights(9, 20, 4)))
    assert (weights.sum(axis=1) == 9).all()
    for r in range(20):
        images = np.repeat(np.arange(60), weights[r, clusters].astype(int))
        assert draws["brier"][r, 0] == pytest.approx(values[images].sum(), rel=1e-5)
        images = images[truth_with_gap[images] >= 0]
        naive = reference.confusion_matrix(truth[images], predicted[images], labels=range(K))
        assert (draws["confusion"][r].reshape(K, K) == naive).all()


def test_draws_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, _, predicted = make_predictions(1, n=300)
    sums = {"c": statistics.confusion_cells(truth, predicted, K)}
    clusters = np.arange(300) // 3
    whole = statistics.resample(sums, clusters, n_resamples=50, seed=0)["c"]
    monkeypatch.setattr("nunbit.statistics.resampling._MOST_ENTRIES", 2_000)
    monkeypatch.setattr("nunbit.statistics.resampling._MOST_WEIGHTS", 700)
    pieces = statistics.resample(sums, clusters, n_resamples=50, seed=0)["c"]
    assert (whole == pieces).all()
    other = statistics.resample(sums, clusters, n_resamples=50, seed=1)["c"]
    assert (whole != other).any()


def test_many_persons_are_drawn_in_groups_with_the_same_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth, _, predicted = make_predictions(1, n=6_000)
    sums = {"c": statistics.confusion_cells(truth, predicted, K)}
    spread = {}
    for most in (6_000, 1_000):
        monkeypatch.setattr("nunbit.statistics.resampling._MOST_CLUSTERS", most)
        draws = statistics.resample(sums, np.arange(6_000), n_resamples=1_000, seed=3)["c"]
        spread[most] = statistics.top1(draws.reshape(-1, K, K)).std()
    accuracy = (truth == predicted).mean()
    assert spread[6_000] == pytest.approx(math.sqrt(accuracy * (1 - accuracy) / 6_000), rel=0.1)
    assert spread[1_000] == pytest.approx(spread[6_000], rel=0.1)


def test_interval_of_mostly_undefined_draws_is_absent() -> None:
    assert statistics.interval(np.array([np.nan, np.nan, 0.5])) is None
    assert statistics.interval(np.full(10, 0.25)) == (0.25, 0.25)
    low, high = statistics.interval(np.linspace(0.0, 1.0, 2001))  # type: ignore[misc]
    assert (low, high) == pytest.approx((0.025, 0.975))


@pytest.mark.slow
def test_interval_by_person_covers_95_in_100() -> None:
    """500 persons with 1 to 12 images each, hard for some persons: 95% +- 2."""
    rng = np.random.default_rng(20260101)
    n_persons, n_worlds, k = 500, 700, 3
    # Expected scores of the population, from one very large draw.
    truth, predicted, _ = _draw_world(rng, 400_000, k)
    population = statistics.confusion_matrix(truth, predicted, k)
    scores = (statistics.top1, statistics.macro_f1, statistics.uar)
    hits = np.zeros(len(scores))
    for world in range(n_worlds):
        truth, predicted, person = _draw_world(rng, n_persons, k)
        sums = {"c": statistics.confusion_cells(truth, predicted, k)}
        draws = statistics.resample(sums, person, n_resamples=400, seed=world)["c"]
        for i, score in enumerate(scores):
            found = statistics.interval(score(draws.reshape(-1, k, k)))
            assert found is not None
            hits[i] += found[0] <= score(population) <= found[1]
    coverage = hits / n_worlds
    assert ((coverage >= 0.93) & (coverage <= 0.97)).all(), coverage


@pytest.mark.parametrize("bend", [0.0, 0.3], ids=["calibrated", "overconfident"])
@pytest.mark.seconds
def test_ece_interval_covers_where_a_percentile_interval_fails(bend: float) -> None:
    rng = np.random.default_rng(5)

    def world(n_persons: int) -> Arrays:
        person = np.repeat(np.arange(n_persons), rng.integers(1, 13, n_persons))
        confidence = 0.2 + 0.8 / (1.0 + np.exp(-rng.normal(0.5, 1.2, len(person))))
        habit = rng.normal(0.0, 0.03, n_persons)[person]
        chance = np.clip(confidence - bend * (1.0 - confidence) + habit, 0.0, 1.0)
        return confidence, rng.random(len(person)) < chance, person

    expected = statistics.reliability(*world(200_000)[:2]).ece
    hits, n_worlds = 0, 150
    for seed in range(n_worlds):
        confidence, correct, person = world(500)
        bins = statistics.reliability(confidence, correct)
        sums = {
            "gap": statistics.Additive(bins.bin_of, 15, confidence - correct),
            "n": statistics.Additive(np.zeros(len(person), dtype=np.int64), 1),
        }
        draws = statistics.resample(sums, person, n_resamples=300, seed=seed)
        low, high = statistics.ece_interval(
            sums["gap"].total(), len(person), draws["gap"], draws["n"][:, 0]
        )
        assert 0.0 <= low <= bins.ece <= high
        hits += low <= expected <= high
    assert hits / n_worlds >= 0.9


def _draw_world(rng: np.random.Generator, n_persons: int, k: int) -> Arrays:
    person = np.repeat(np.arange(n_persons), rng.integers(1, 13, n_persons))
    ability = rng.beta(3.0, 2.0, n_persons)[person]
    truth = rng.choice(k, len(person), p=[0.5, 0.3, 0.2])
    right = rng.random(len(person)) < ability
    return truth, np.where(right, truth, (truth + rng.integers(1, k, len(person))) % k), person


VOTES = np.array(
    [
        [0, 0, 0],  # unanimous
        [1, 1, 2],  # majority
        [0, 1, 2],  # split
        [1, 1, -1],  # two of three: a majority, not unanimous
        [2, -1, -1],  # one of three is no majority
        [-1, -1, -1],
    ]
)


def test_agreement_levels() -> None:
    levels = statistics.agreement_level(VOTES, 3)
    assert levels.tolist() == [UNANIMOUS, MAJORITY, SPLIT, MAJORITY, SPLIT, SPLIT]
    assert statistics.agreement_level(VOTES[:, :1], 3).tolist() == [UNJUDGED] * 6
    assert vote_counts(VOTES, 3)[1].tolist() == [0, 2, 1]
    shorter = np.array([[0, 0, ABSENT], [0, 1, ABSENT], [2, ABSENT, ABSENT]])
    assert statistics.agreement_level(shorter, 3).tolist() == [UNANIMOUS, SPLIT, UNJUDGED]


@pytest.mark.parametrize("n_annotators", [2, 3, 10])
def test_one_against_others_equals_a_naive_loop(n_annotators: int) -> None:
    votes = np.random.default_rng(n_annotators).integers(-1, 3, (40, n_annotators))
    votes[3, -1] = ABSENT
    expected, n_null = [], 0
    for annotator, image in itertools.product(range(n_annotators), range(40)):
        if votes[image, annotator] == ABSENT:
            continue
        others = [int(v) for a, v in enumerate(votes[image]) if a != annotator and v != ABSENT]
        best = max(range(3), key=others.count)
        if 2 * others.count(best) > len(others):
            if votes[image, annotator] < 0:
                n_null += 1
            else:
                expected.append((best, int(votes[image, annotator]), image, annotator))
    ceiling = statistics.one_against_others(votes, 3)
    columns = (ceiling.truth, ceiling.answer, ceiling.image, ceiling.annotator)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == expected
    assert ceiling.n_null == n_null


def test_one_against_others_needs_two_annotators() -> None:
    assert len(statistics.one_against_others(VOTES[:, :1], 3).truth) == 0
