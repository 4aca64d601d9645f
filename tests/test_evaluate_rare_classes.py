"""Intervals of means over classes that rest on few persons, and of shares near 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nunbit import statistics
from nunbit.stories.adapt.adaptation_result import scores_of
from nunbit.stories.adapt.choice import Labelled
from nunbit.stories.evaluate.board import Board
from nunbit.stories.evaluate.variants import _Answers


def _board(person: Any, truth: Any, answer: Any, k: int, seed: int = 0) -> Board:
    board = Board(person, persons=True, n_classes=k, n_resamples=400, seed=seed)
    board.add_confusion("x", truth, answer)
    board.run()
    return board


def test_a_class_of_two_persons_who_are_all_right_says_little() -> None:
    person, truth = np.arange(52), np.repeat([0, 1], [50, 2])
    scores = _board(person, truth, truth, 2).scores("x")
    expected = (0.025 ** (1 / 50) + 0.025 ** (1 / 2)) / 2
    assert scores["ci95"]["uar"] == pytest.approx([expected, 1.0], abs=1e-6)
    assert scores["ci95"]["macro_f1"] == pytest.approx([expected, 1.0], abs=1e-6)
    assert scores["ci95"]["top1"] == pytest.approx([0.025 ** (1 / 52), 1.0], abs=1e-6)


def test_a_class_of_one_person_leaves_the_mean_over_classes_nearly_open() -> None:
    person, truth = np.repeat(np.arange(60), 3), np.repeat([0, 1], [177, 3])
    answer = np.where(np.arange(180) % 7 == 0, 1 - truth, truth)
    ci95 = _board(person, truth, answer, 2).scores("x")["ci95"]
    for key, width in (("top1", 0.2), ("uar", 0.4), ("macro_f1", 0.4)):
        assert (ci95[key][1] - ci95[key][0] < width) == (key == "top1"), key
    right = _board(person, truth, truth, 2).scores("x")["ci95"]["uar"]
    assert right == pytest.approx([(0.025 ** (1 / 59) + 0.025) / 2, 1.0], abs=1e-6)


def _rare(seed: int, persons: int, rare: int, k: int) -> tuple[Any, Any, Any, float]:
    """Persons of 10 images; the last class belongs to ``rare`` persons only; and the true UAR."""
    rng = np.random.default_rng([seed, persons, rare, k])
    person = np.repeat(np.arange(persons), 10)
    truth = rng.integers(0, k - 1, len(person)) if k > 2 else np.zeros(len(person), np.int64)
    truth[person < rare] = k - 1
    mean = np.where(np.arange(persons) < rare, 0.5, 0.85)
    own = rng.beta(1.5 * mean, 1.5 * (1 - mean))
    right = rng.random(len(person)) < own[person]
    answer = np.where(right, truth, (truth + rng.integers(1, k, len(person))) % k)
    return person, truth, answer, (0.5 + (k - 1) * 0.85) / k


@pytest.mark.parametrize(("persons", "rare", "k"), [(60, 1, 2), (60, 2, 2), (60, 3, 2), (60, 5, 2)])
def test_the_interval_of_the_uar_covers_where_a_class_has_few_persons(
    persons: int, rare: int, k: int
) -> None:
    new = old = 0
    worlds = 200
    for seed in range(worlds):
        person, truth, answer, true = _rare(1000 + seed, persons, rare, k)
        board = _board(person, truth, answer, k, seed)
        interval = board.scores("x")["ci95"]["uar"]
        assert interval is not None
        new += interval[0] <= true <= interval[1]
        percentiles = statistics.interval(statistics.uar(board.confusion_draws("x")))
        assert percentiles is not None
        old += percentiles[0] <= true <= percentiles[1]
    assert new / worlds >= 0.92, (new, old)
    assert old / worlds <= 0.91, (new, old)


def test_many_persons_in_every_class_keep_the_bootstrap() -> None:
    person, truth, answer, _ = _rare(1, 200, 60, 3)
    board = _board(person, truth, answer, 3)
    for key, score in (("uar", statistics.uar), ("macro_f1", statistics.macro_f1)):
        found = board.scores("x")["ci95"][key]
        assert found == pytest.approx(
            statistics.interval(score(board.confusion_draws("x"))), abs=1e-6
        )
    both = board.difference("x", "x")["ci95"]
    assert both["uar"] == [0.0, 0.0]


def test_the_section_of_two_classes_agrees_with_the_headline() -> None:
    person, truth, answer, _ = _rare(5, 60, 2, 2)
    board = Board(person, persons=True, n_classes=2, n_resamples=400, seed=0)
    board.add_confusion("x", truth, answer)
    answers = _Answers(board, truth)
    answers.add("model", answer == 1, None)
    board.run()
    assert answers.read("model")["ci95"]["balanced_accuracy"] == board.scores("x")["ci95"]["uar"]
    assert board.rarest("x") == 2


def test_a_difference_knows_the_rarest_class_too() -> None:
    person, truth, answer, _ = _rare(3, 60, 3, 2)
    board = Board(person, persons=True, n_classes=2, n_resamples=400, seed=0)
    board.add_confusion("x", truth, answer)
    board.add_confusion("y", truth, np.where(np.arange(600) % 5 == 0, 1 - truth, answer))
    board.run()
    low, high = board.difference("x", "y")["ci95"]["uar"]
    draws = [statistics.uar(board.confusion_draws(name)) for name in ("x", "y")]
    plain = statistics.interval(draws[0] - draws[1])
    assert plain is not None
    assert high - low > 1.5 * (plain[1] - plain[0])


@pytest.mark.parametrize(("p", "persons"), [(0.98, 60), (0.02, 60), (0.995, 200)])
def test_the_interval_of_a_share_near_an_end_covers(p: float, persons: int) -> None:
    outside = {"new": [0, 0], "old": [0, 0]}
    worlds = 200
    for seed in range(worlds):
        rng = np.random.default_rng([seed, persons])
        person = np.repeat(np.arange(persons), 5)
        truth = np.zeros(len(person), np.int64)
        own = rng.beta(8 * p, 8 * (1 - p), persons)
        answer = (rng.random(len(person)) >= own[person]).astype(np.int64)
        board = _board(person, truth, answer, 2, seed)
        found = board.scores("x")["ci95"]["top1"]
        plain = statistics.interval(statistics.top1(board.confusion_draws("x")))
        assert plain is not None
        for name, pair in (("new", found), ("old", plain)):
            outside[name][0] += pair[0] > p
            outside[name][1] += pair[1] < p
    assert sum(outside["new"]) / worlds <= 0.07, outside
    assert max(outside["new"]) / worlds <= 0.05, outside
    assert sum(outside["old"]) / worlds > 0.07, outside


def test_a_share_nearer_to_one_than_a_thousandth_lies_in_its_interval() -> None:
    person = np.repeat(np.arange(1000), 20)
    truth = np.zeros(20_000, np.int64)
    answer = truth.copy()
    answer[[5, 700, 701, 9000]] = 1
    scores = _board(person, truth, answer, 2).scores("x")
    low, high = scores["ci95"]["top1"]
    assert 0.998 < low < scores["top1"] == 0.9998 < high < 1.0


def test_adapting_a_bundle_reports_the_same_bounds() -> None:
    truth = np.repeat([0, 1], [50, 2])
    faces = Labelled(np.zeros((52, 2)), truth, np.arange(52), np.full((52, 2), np.nan))
    low, high = scores_of(np.eye(2)[truth], faces, 0)["ci95"]["uar"]
    assert (low, high) == (pytest.approx(0.5435, abs=1e-3), 1.0)
