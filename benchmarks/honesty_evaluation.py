"""Do an evaluation's intervals hold? Coverage over few persons, subgroup gaps, calibration error.

A part of ``honesty.py``. Worlds of persons who differ: each has an ability of their own, images of
one person err together, some persons have many images and some few, seven classes of unequal
difficulty. The baseline is what version 0.1 did: percentiles of a bootstrap by person, and for
subgroups the percentile interval of the best group minus the worst.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from honesty import Row
from nunbit import statistics
from nunbit.stories.evaluate.board import HEADLINE, Board

K = 7
PERSONS = (4, 6, 8, 12, 20)
SCORES = {"top1": "accuracy", "uar": "UAR", "macro_f1": "macro-F1"}


@dataclass(frozen=True, slots=True)
class World:
    """How persons and images come about.

    Attributes:
        accuracy: Of the middle class for a middling person.
        person_sd: Spread of persons, logits.
        size_sd: Spread of the logarithm of images per person; 0 = all alike.
        images: Mean images per person.
        class_range: Logits from the middle class to the easiest and hardest.
    """

    accuracy: float
    person_sd: float
    size_sd: float
    images: int
    class_range: float = 1.0


WORLDS = (
    World(0.60, 0.5, 0.8, 40),
    World(0.85, 0.7, 0.8, 30),
    World(0.60, 1.0, 1.2, 40),
    World(0.95, 0.7, 0.8, 30, 0.5),
    World(0.70, 0.8, 0.0, 30, 0.5),
)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images of P persons: person, truth and the answers of two models."""

    person: NDArray[np.int64]
    truth: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def draw(world: World, persons: int, rng: np.random.Generator) -> Images:
    """Draw persons and their images; wrong answers favour the next class."""
    sizes = world.images * np.exp(world.size_sd * rng.normal(size=persons) - world.size_sd**2 / 2)
    person = np.repeat(np.arange(persons), np.maximum(2, sizes.round()).astype(int))
    truth = rng.integers(0, K, len(person))
    base = np.log(world.accuracy / (1 - world.accuracy))
    ability = world.person_sd * rng.normal(size=(persons, 1))
    habits = ability + 0.3 * world.person_sd * rng.normal(size=(persons, K))
    logit = base + np.linspace(-1, 1, K)[truth] * world.class_range + habits[person, truth]
    # The second model is a little worse and shares most of a person's difficulty.
    other = logit - 0.3 + 0.4 * world.person_sd * rng.normal(size=persons)[person]
    return Images(person, truth, _answers(truth, logit, rng), _answers(truth, other, rng))


def _answers(
    truth: NDArray[np.int64], logit: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    right = rng.random(len(truth)) < 1 / (1 + np.exp(-logit))
    shift = np.where(rng.random(len(truth)) < 0.5, 1, rng.integers(1, K, len(truth)))
    return np.where(right, truth, (truth + shift) % K)


def coverage(draws: int) -> list[Row]:
    """Share of worlds whose truth lies inside the interval, per score and a paired difference."""
    hits: dict[str, list[tuple[float, float]]] = {name: [] for name in (*SCORES, "difference")}
    for w, world in enumerate(WORLDS):
        # The truth: the same world with thousands of persons.
        truth = _scores(draw(world, 20_000, np.random.default_rng([w, 1])))
        for persons in PERSONS:
            rng = np.random.default_rng([w, persons])
            found = [_inside(draw(world, persons, rng), truth, seed) for seed in range(draws)]
            for name, entries in hits.items():
                old, new = np.mean([f[name] for f in found], axis=0)
                entries.append((old, new))
    rows = []
    for name, entries in hits.items():
        old, new = np.array(entries).T
        what = SCORES.get(name, "paired difference in accuracy")
        rows.append(
            Row(
                f"coverage of 95% intervals, {what}, 4–20 persons (5 worlds × 5 numbers)",
                f"{old.min():.0%}–{old.max():.0%}, mean {old.mean():.1%}",
                f"{new.min():.1%}–{new.max():.1%}, mean {new.mean():.1%}",
                "≥ 93%",
                bool(new.min() >= 0.93),
            )
        )
    return rows


def _scores(images: Images) -> dict[str, float]:
    first = statistics.confusion_matrix(images.truth, images.first, K)
    second = statistics.confusion_matrix(images.truth, images.second, K)
    scores = {name: float(score(first)) for name, score in HEADLINE.items()}
    return scores | {"difference": scores["top1"] - float(statistics.top1(second))}


def _inside(images: Images, truth: dict[str, float], seed: int) -> dict[str, tuple[bool, bool]]:
    """Whether the truth is inside the old and the new interval; a missing interval misses."""
    board = Board(images.person, persons=True, n_classes=K, n_resamples=400, seed=seed)
    board.add_confusion("first", images.truth, images.first)
    board.add_confusion("second", images.truth, images.second)
    board.run()
    new = board.scores("first")["ci95"] | {
        "difference": board.difference("first", "second")["ci95"]["top1"]
    }
    draws, others = board.confusion_draws("first"), board.confusion_draws("second")
    old: dict[str, Any] = {name: statistics.interval(f(draws)) for name, f in HEADLINE.items()}
    old["difference"] = statistics.interval(statistics.top1(draws) - statistics.top1(others))
    return {
        name: tuple(i is not None and i[0] <= truth[name] <= i[1] for i in (old[name], new[name]))
        for name in truth
    }


def gaps(draws: int) -> list[Row]:
    """How often the gap between subgroups excludes zero where there is none; and where there is."""
    rows = []
    for what, groups in (("6 ages", 6), ("10 places", 10)):
        old, new = [], []
        for per_group in (12, 30, 100):
            found = [_gap(groups, per_group, 0.0, [groups, per_group, s]) for s in range(draws)]
            o, n, _ = np.mean(found, axis=0)
            old.append(o)
            new.append(n)
        rows.append(
            Row(
                f"subgroup gap excludes 0 under no difference, {what}, 12, 30, 100 persons each",
                ", ".join(f"{v:.0%}" for v in old),
                ", ".join(f"{v:.1%}" for v in new),
                "≤ 7%",
                max(new) <= 0.07,
            )
        )
    # One group of six is better by 0.8 logits: 15 points.
    for per_group in (12, 30, 100):
        found = [_gap(6, per_group, 0.8, [6, per_group, 9, s]) for s in range(draws)]
        o, n, inside = np.mean(found, axis=0)
        rows.append(
            Row(
                f"… finds one of 6 ages better by 15 points, {per_group} persons each (the "
                f"interval holds the true gap in {inside:.0%})",
                f"{o:.0%}",
                f"{n:.0%}",
                "–",
                None,
            )
        )
    return rows


def _gap(groups: int, per_group: int, effect: float, seed: list[int]) -> tuple[bool, bool, bool]:
    """Old and new interval exclude zero; the new one holds the true gap."""
    rng = np.random.default_rng(seed)
    persons = groups * per_group
    group = np.arange(persons) % groups
    sizes = np.maximum(2, (20 * np.exp(0.8 * rng.normal(size=persons) - 0.32)).round()).astype(int)
    person = np.repeat(np.arange(persons), sizes)
    logit = 0.85 + 0.7 * rng.normal(size=persons) + effect * (group == 0)
    right = rng.random(len(person)) < 1 / (1 + np.exp(-logit[person]))
    cells = (2 * group[person] + right).astype(np.int32)
    sums = statistics.Additive(cells, 2 * groups)
    counts = statistics.resample({"c": sums}, person, n_resamples=500, seed=seed[-1])["c"]

    def accuracy(cells: Any) -> Any:
        pairs = cells.reshape(*cells.shape[:-1], groups, 2)
        return pairs[..., 1] / np.maximum(pairs.sum(axis=-1), 1)

    values, resampled = accuracy(sums.total()), accuracy(counts)
    persons_of = [statistics.effective(sizes[group == g]) for g in range(groups)]
    gap = statistics.largest_gap(values, resampled, np.array(persons_of))
    assert gap is not None
    old = statistics.interval(resampled[:, gap.best] - resampled[:, gap.worst])
    true = _mean_accuracy(0.85 + effect) - _mean_accuracy(0.85)
    return bool(old and old[0] > 0), gap.low > 0, gap.low <= true <= gap.high


def _mean_accuracy(logit: float) -> float:
    spread = np.random.default_rng(0).normal(size=200_000)
    return float((1 / (1 + np.exp(-(logit + 0.7 * spread)))).mean())


def calibration(draws: int) -> list[Row]:
    """The floor of the ECE against simulation; coverage of its interval over few persons."""
    rng = np.random.default_rng(5)
    confidence = np.clip(1 - rng.gamma(0.9, 0.17, 2_630), 0.2, 0.999)
    shown = [
        statistics.reliability(confidence, rng.random(2_630) < confidence).ece for _ in range(draws)
    ]
    floor = statistics.ece_noise_floor(
        confidence, statistics.reliability(confidence, confidence > 0)
    )
    rows = [
        Row(
            "expected ECE of a perfectly calibrated model, n = 2,630: printed against simulated",
            "not printed",
            f"{floor:.4f} / {np.mean(shown):.4f}",
            "within 5%",
            bool(abs(floor / np.mean(shown) - 1) < 0.05),
        )
    ]
    for persons in (6, 12, 20):
        found = np.mean([_ece(persons, seed) for seed in range(draws)], axis=0)
        rows.append(
            Row(
                f"coverage of the ECE's interval, {persons} persons, perfectly calibrated / 8 "
                "points overconfident",
                f"{found[0]:.0%} / {found[2]:.0%}",
                f"{found[1]:.0%} / {found[3]:.0%}",
                "≥ 90%",
                bool(min(found[1], found[3]) >= 0.90),
            )
        )
    return rows


def _ece(persons: int, seed: int) -> list[bool]:
    """Old and new interval hold the true ECE, for a calibrated and an overconfident model."""
    hits = []
    for over in (0.0, 0.08):
        rng = np.random.default_rng([persons, seed, int(100 * over)])
        person = np.repeat(np.arange(persons), 60)
        confidence = np.clip(1 - rng.gamma(0.9, 0.17, len(person)), 0.3, 0.97)
        # Persons differ around the stated chances, without moving their mean.
        chance = np.clip(confidence - over + 0.08 * rng.normal(size=persons)[person], 0.02, 1.0)
        right = rng.random(len(person)) < chance
        bins = statistics.reliability(confidence, right)
        entry = statistics.Additive(bins.bin_of, len(bins.count), confidence - right)
        one = statistics.Additive(np.zeros(len(person), dtype=np.int64), 1)
        drawn = statistics.resample({"g": entry, "n": one}, person, n_resamples=400, seed=seed)
        arguments = (entry.total(), len(person), drawn["g"], drawn["n"][:, 0])
        wide = statistics.stretch(statistics.effective(np.bincount(person)))
        for low, high in (
            statistics.ece_interval(*arguments),
            statistics.ece_interval(*arguments, stretch=wide),
        ):
            hits.append(low <= over <= high)
    return hits


def rows(quick: bool) -> list[Row]:
    """All rows of this part."""
    parts: tuple[tuple[Callable[[int], list[Row]], int, int], ...] = (
        (coverage, 300, 60),
        (gaps, 500, 150),
        (calibration, 300, 100),
    )
    return [row for part, full, short in parts for row in part(short if quick else full)]
