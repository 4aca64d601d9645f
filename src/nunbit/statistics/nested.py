"""Person-grouped nested cross-validation of ridge regression, for many sets of labels at once.

Scaling, filling of missing values and the choice of the penalty happen inside every training part.
With features and folds fixed, a prediction is a fixed matrix times the labels: its factors are made
once, and a thousand permutations of the labels cost a thousand columns of a product instead of a
thousand fits (closed form: Hoerl and Kennard 1970). The penalty is chosen anew for every column, so
a permutation goes through the whole pipeline. Intervals are over persons, too. Pure arrays. N rows,
F features, P sets of labels, K columns a set (1 for an outcome, classes for one-hot rows), L
penalties.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.statistics.resampling import (
    FEW,
    Additive,
    all_alike_interval,
    interval,
    jackknife_interval,
    per_cluster,
    resample,
)

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]

PENALTIES = tuple(float(10.0**e) for e in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 4.0))
"""Multiples of the mean squared singular value. The last one is as good as predicting the mean, so
that features which carry nothing lead to no spread of predictions."""

MIN_SHARE = 0.2
"""Of the training rows in which a feature must be there; a feature in fewer is mostly filling."""

_TINY = 1e-9
_CLIP = 5.0
"""Standard deviations beyond which a scaled value counts no further: one broken recording must not
carry a fold."""


def rows_there(table: Floats) -> Flags:
    """(N,) rows of (N, F) with any value."""
    return np.asarray(np.isfinite(table).any(axis=1))


def columns_there(table: Floats) -> Flags:
    """(F,) columns of (N, F) with any value."""
    return np.asarray(np.isfinite(table).any(axis=0))


@dataclass(frozen=True, eq=False)
class Split:
    """One outer fold.

    Attributes:
        train: (n,) rows to learn from.
        test: (m,) rows of other persons.
        inner: Pairs of rows of ``train``: to fit, and to choose the penalty on (other persons).
    """

    train: Codes
    test: Codes
    inner: tuple[tuple[Codes, Codes], ...]


def nested_splits(
    person: Codes, outer: int, inner: int, repeats: int, seed: int
) -> tuple[tuple[Split, ...], ...]:
    """Repeated outer folds with inner folds, whole persons at a time.

    Args:
        person: (N,) codes 0 … of the persons.
        outer: Folds; at most one a person, and so many that two persons are left to fit on.
        inner: Folds inside.
        repeats: How often persons are dealt anew.
        seed: Of the dealing.

    Returns:
        For each repeat its folds; every row is tested once in each.
    """
    n = len(np.unique(person))
    while outer < n and n - math.ceil(n / outer) < 2:  # one to fit, one to choose the penalty
        outer += 1
    return tuple(
        splits_of(_dealt(person, outer, np.random.default_rng([seed, r])), person, inner, seed)
        for r in range(repeats)
    )


def splits_of(fold: Codes, person: Codes, inner: int, seed: int) -> tuple[Split, ...]:
    """The outer folds of given codes (a site a fold, for example), with inner folds by person.

    Rows of persons who are tested are not trained on, also where they lie in another fold (somebody
    at two sites).
    """
    found = []
    for each in np.unique(fold):
        test = np.flatnonzero(fold == each)
        train = np.flatnonzero(~np.isin(person, person[test]))
        dealt = _dealt(person[train], inner, np.random.default_rng([seed, 1 + int(each)]))
        pairs = tuple((train[dealt != i], train[dealt == i]) for i in np.unique(dealt))
        found.append(Split(train, test, pairs))
    return tuple(found)


def _dealt(person: Codes, folds: int, rng: np.random.Generator) -> Codes:
    """(N,) fold of every row, persons dealt evenly."""
    known = np.unique(person)
    order = rng.permutation(len(known)) % min(folds, len(known))
    return np.asarray(order[np.searchsorted(known, person)], np.int64)


def training_means(labels: Floats, splits: Sequence[Split]) -> Floats:
    """(N, ...) mean of the labels that each row's model was trained on, its own not among them."""
    means = np.empty_like(labels)
    for split in splits:
        means[split.test] = labels[split.train].mean(axis=0)
    return means


@dataclass(frozen=True, eq=False)
class Scaler:
    """How the features of a training part are scaled and filled.

    Attributes:
        kept: (G,) columns used: there in a fifth of the rows, and varying.
        mean: (G,) of the training rows; it is also what fills a missing value.
        spread: (G,) standard deviation.
    """

    kept: Codes
    mean: Floats
    spread: Floats

    @staticmethod
    def of(rows: Floats) -> Scaler:
        """The scaling of (N, F) training rows."""
        there = np.isfinite(rows)
        count = np.maximum(there.sum(axis=0), 1)
        mean = np.where(there, rows, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(there, rows - mean, 0.0) ** 2).sum(axis=0) / count)
        usable = there.mean(axis=0) >= MIN_SHARE if len(rows) else np.zeros(rows.shape[1], bool)
        kept = np.flatnonzero(usable & (spread > _TINY * np.maximum(np.abs(mean), 1.0)))
        return Scaler(kept, mean[kept], spread[kept])

    def apply(self, rows: Floats) -> Floats:
        """(N, G) scaled rows, 0 (the mean) where missing."""
        scaled = (rows[:, self.kept] - self.mean) / self.spread
        return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), -_CLIP, _CLIP))


@dataclass(frozen=True, eq=False)
class _Factors:
    """The label-free part of fitting on one set of rows and predicting others.

    Attributes:
        left: (m, R) tested rows in the directions of the training rows.
        right: (R, n) what turns labels into coefficients.
        squares: (R,) squared singular values.
    """

    left: Floats
    right: Floats
    squares: Floats

    @staticmethod
    def of(train: Floats, test: Floats) -> _Factors:
        scaler = Scaler.of(train)
        known, asked = scaler.apply(train), scaler.apply(test)
        if not known.shape[1]:
            return _Factors(np.zeros((len(test), 0)), np.zeros((0, len(train))), np.zeros(0))
        if known.shape[1] > len(known):
            u, s, vt = np.linalg.svd(known, full_matrices=False)
            return _Factors(asked @ vt.T, s[:, None] * u.T, s**2)
        # The same from the small Gram matrix, several times as fast.
        squares, axes = np.linalg.eigh(known.T @ known)
        return _Factors(asked @ axes, axes.T @ known.T, np.maximum(squares, 0.0))

    @property
    def unit(self) -> float:
        """Mean squared singular value, which penalties are multiples of."""
        return float(self.squares.mean()) if len(self.squares) else 1.0


class Ridge:
    """Ridge regression of one feature table through given splits.

    Args:
        rows: (N, F) features, NaN where missing.
        splits: Folds of one repeat.
        penalties: Multiples of the mean squared singular value to choose from.
    """

    def __init__(
        self, rows: Floats, splits: Sequence[Split], penalties: Sequence[float] = PENALTIES
    ) -> None:
        self._rows, self.splits = rows, splits
        self._penalties = np.array(penalties)
        self._outer = [_Factors.of(rows[s.train], rows[s.test]) for s in splits]
        self._inner = [
            [_Factors.of(rows[fit], rows[held]) for fit, held in s.inner] for s in splits
        ]

    def predict(self, labels: Floats, columns: int = 1) -> Floats:
        """(N, P K) predictions of every row by persons other than its own.

        Args:
            labels: (N, P K) sets of labels side by side.
            columns: K.
        """
        return self._predicted(self._outer, labels, columns)

    def inner_predictions(self, labels: Floats, columns: int = 1) -> Iterator[tuple[Codes, Floats]]:
        """For every outer fold its training rows, and their predictions by the inner folds.

        What is fitted on top (a temperature, weights of modalities) is fitted to these.
        """
        for split, inner in zip(self.splits, self._inner, strict=True):
            chosen = self._chosen(split, inner, labels, columns)
            found = np.empty((len(labels), labels.shape[1]))
            for (fit, held), factors in zip(split.inner, inner, strict=True):
                found[held] = _fitted(factors, labels[fit], chosen)
            yield split.train, found[split.train]

    def masked(self, labels: Floats, rows: Floats, columns: int = 1) -> Floats:
        """Predictions for the same folds where the tested rows are ``rows`` (parts of them NaN)."""
        outer = (_Factors.of(self._rows[s.train], rows[s.test]) for s in self.splits)
        return self._predicted(outer, labels, columns)

    def _predicted(self, outer: Iterable[_Factors], labels: Floats, columns: int) -> Floats:
        found = np.empty(labels.shape)
        for split, factors, inner in zip(self.splits, outer, self._inner, strict=True):
            chosen = self._chosen(split, inner, labels, columns)
            found[split.test] = _fitted(factors, labels[split.train], chosen)
        return found

    def _chosen(
        self, split: Split, inner: Sequence[_Factors], labels: Floats, columns: int
    ) -> Floats:
        """(P K,) penalty with the least squared error on persons of the inner folds."""
        loss = np.zeros((len(self._penalties), labels.shape[1]))
        for (fit, held), factors in zip(split.inner, inner, strict=True):
            mean = labels[fit].mean(axis=0)
            turned = factors.right @ (labels[fit] - mean)  # (R, P K)
            divisors = factors.squares + self._penalties[:, None] * factors.unit  # (L, R)
            error = factors.left @ (turned / divisors[:, :, None])  # (L, m, P K)
            error -= labels[held] - mean
            loss += np.square(error, out=error).sum(axis=1)
        together = loss.reshape(len(loss), -1, columns).sum(axis=2)
        return np.repeat(self._penalties[together.argmin(axis=0)], columns)


def _fitted(factors: _Factors, labels: Floats, penalty: Floats) -> Floats:
    """(m, P K) predictions with one penalty a column."""
    mean = labels.mean(axis=0)
    turned = factors.right @ (labels - mean)
    return np.asarray(
        factors.left @ (turned / (factors.squares[:, None] + penalty * factors.unit)) + mean
    )


def permuted_rows(
    person: Codes, block: Codes, rng: np.random.Generator, *, turned: bool = False
) -> Codes:
    """(N,) rows whose labels stand in for each row's own: every person gets another one's.

    A person's rows stay together and in order; a longer sequence is cut, a shorter one begins
    again. So the labels keep what persons have in common with themselves.

    Args:
        person: (N,) codes.
        block: (N,) persons change places within a block only (a site).
        rng: For the draw.
        turned: Whether a sequence also begins at a random place: where everybody was asked the same
            things in the same order, changing persons alone would change nothing.
    """
    order = np.argsort(person, kind="stable")
    own = np.split(order, np.searchsorted(person[order], np.unique(person))[1:])
    of_block = np.array([block[rows[0]] for rows in own])
    source = np.arange(len(own))
    for each in np.unique(of_block):
        members = np.flatnonzero(of_block == each)
        source[members] = rng.permutation(members)
    found = np.empty(len(person), np.int64)
    for rows, giver in zip(own, source, strict=True):
        given = own[giver]
        begin = int(rng.integers(len(given))) if turned else 0
        found[rows] = given[(begin + np.arange(len(rows))) % len(given)]
    return found


# -- intervals over persons ------------------------------------------------------------------------

_NO_WIDTH = 1e-9
_LOWEST = {"share": 0.0, "difference": -1.0}


def interval_over_persons(
    statistic: Callable[..., Any],
    sums: Sequence[Additive],
    persons: Codes,
    sides: Sequence[NDArray[Any]],
    *,
    scale: Literal["share", "difference"] = "share",
    unseen: tuple[float, float] = (0.0, 0.0),
    resamples: int,
    seed: int,
) -> tuple[float, float] | None:
    """95% interval of a share, or of a difference of two shares, over persons.

    A score over sides is known no better than its rarest side: a class that three of a hundred
    persons show is known from three. And persons who are all alike say little of others, though
    neither drawing them nor leaving them out changes anything: an interval of no width would claim
    to know, none at all would call a perfect score chance. So every person is left out in turn
    where a side has few persons, else persons are drawn; where that gives no width, an exact bound
    stands for it.

    Args:
        statistic: Takes the sums (..., cells) of each entry and gives (...).
        sums: Entries over the same N rows.
        persons: (N,) codes 0 … P-1.
        sides: (P,) rows of each person on each side; the side with the fewest persons decides.
        scale: Range of the statistic: [0, 1] or [-1, 1].
        unseen: How far sides whose persons are all alike may move the statistic down and up, which
            neither draws nor leaving out shows; squares add.
        resamples: How often persons are drawn.
        seed: Of the draws.

    Returns:
        Low and high; None where a side has fewer than two persons or the statistic is undefined.
    """
    n = min(int((side > 0).sum()) for side in sides)
    value = float(statistic(*(entry.total() for entry in sums)))
    if n < 2 or not np.isfinite(value):
        return None
    if n < FEW:
        tables = [per_cluster(entry, persons) for entry in sums]
        found = jackknife_interval(statistic, tables, sides, scale=scale)
    else:
        named = {str(at): entry for at, entry in enumerate(sums)}
        drawn = resample(named, persons, n_resamples=resamples, seed=seed)
        found = interval(statistic(*drawn.values()))
    at_end = scale == "share" and value in (0.0, 1.0)
    if at_end or found is None or found[1] - found[0] < _NO_WIDTH:
        return without_spread(value, n, _LOWEST[scale])
    low, high = value - found[0], found[1] - value
    return (max(_LOWEST[scale], value - math.hypot(low, unseen[0])),
            min(1.0, value + math.hypot(high, unseen[1])))  # fmt: skip


def without_spread(value: float, n: int, lowest: float = 0.0) -> tuple[float, float]:
    """95% interval of a mean in [lowest, 1] that is the same whoever of n persons is left out.

    With the shares that the interval of persons who are all alike leaves open, others are as
    different as they can be. Of a share of 0 or 1 it is that very interval.
    """
    alike, _ = all_alike_interval(1.0, n)
    return lowest + alike * (value - lowest), 1.0 - alike * (1.0 - value)
