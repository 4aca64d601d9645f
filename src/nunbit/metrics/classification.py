"""Scores of confusion matrices, ranking scores and the paired test of two classifiers.

Every function of a confusion matrix takes (..., K, K) with rows = truth and works on all leading
axes at once, so that 2,000 bootstrap matrices cost one call. What is undefined is NaN, never 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.float64] | NDArray[np.float32] | NDArray[np.int64]
Codes = NDArray[np.int64]


def confusion_matrix(truth: Codes, prediction: Codes, n_classes: int) -> Codes:
    """Count images by true and predicted class.

    Args:
        truth: (N,) class positions in [0, K).
        prediction: (N,) class positions in [0, K).
        n_classes: K.

    Returns:
        (K, K) int64, rows = truth.
    """
    cells = truth * n_classes + prediction
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def top1(confusion: Counts) -> Floats:
    """Share of images whose predicted class is the true one (accuracy, WAR); (...)."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def recall(confusion: Counts) -> Floats:
    """Share of each true class that was found; (..., K), NaN for a class without images."""
    return _ratio(_diagonal(confusion), confusion.sum(axis=-1))


def precision(confusion: Counts) -> Floats:
    """Share of each predicted class that is right; (..., K), NaN for a class never predicted."""
    return _ratio(_diagonal(confusion), confusion.sum(axis=-2))


def f1(confusion: Counts) -> Floats:
    """Harmonic mean of precision and recall; (..., K).

    Zero where a class is never right, NaN only where it is neither true nor predicted anywhere.
    """
    hits = _diagonal(confusion)
    return _ratio(2.0 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2))


def macro_f1(confusion: Counts) -> Floats:
    """Mean F1 over classes true or predicted somewhere (as scikit-learn does); (...)."""
    return _mean_of_defined(f1(confusion))


def uar(confusion: Counts) -> Floats:
    """Unweighted average recall over the classes that have images (balanced accuracy); (...)."""
    return _mean_of_defined(recall(confusion))


def binary_confusion(confusion: Counts, members: list[int]) -> Floats:
    """Collapse K classes to (outside, inside) a group; (..., 2, 2), rows = truth."""
    inside = np.zeros((confusion.shape[-1], 2))
    inside[:, 0] = 1.0
    inside[members] = (0.0, 1.0)
    collapsed: Floats = inside.T @ confusion.astype(np.float64) @ inside
    return collapsed


def auroc(score: Floats, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counting half.

    Args:
        score: (N,) any ordered numbers.
        positive: (N,) bool.

    Returns:
        In [0, 1]; NaN when one side is empty.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return math.nan
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    # Mid-ranks: a group of ties shares the mean of the ranks it spans.
    mid_rank = np.cumsum(sizes) - (sizes - 1) / 2.0
    rank_sum = float(mid_rank[group][positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2.0) / (n_positive * n_negative)


def mcnemar(
    first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_]
) -> dict[str, float]:
    """Exact McNemar test of two classifiers on the same images.

    The two-sided binomial test of the images that only one of them gets right. It takes images as
    independent; where one person gives many, the paired bootstrap by person is the one to quote.

    Returns:
        ``only_first``, ``only_second`` (counts) and ``p_value`` in [0, 1].
    """
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    n, smaller = only_first + only_second, min(only_first, only_second)
    if n == 0:
        p_value = 1.0
    else:
        log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
        k = np.arange(smaller + 1)
        log_terms = log_factorial[n] - log_factorial[k] - log_factorial[n - k] - n * math.log(2.0)
        p_value = min(1.0, 2.0 * float(np.exp(log_terms).sum()))
    return {"only_first": only_first, "only_second": only_second, "p_value": p_value}


def best_relabelling(confusion: Counts) -> tuple[tuple[int, ...], float]:
    """The permutation of predicted classes that would make accuracy largest.

    A data set or a bundle whose labels were mixed up shows itself here: a permutation that gains
    much is no chance (Kuhn's Hungarian method, exact for any K).

    Returns:
        ``order`` with ``order[k]`` = the predicted class that true class k should be read as, and
        the accuracy it would give.
    """
    order = _assign(-np.asarray(confusion, dtype=np.float64))
    hits = sum(float(confusion[row, column]) for row, column in enumerate(order))
    total = float(confusion.sum())
    return order, hits / total if total else math.nan


def _assign(cost: Floats) -> tuple[int, ...]:
    """Columns of the cheapest one-to-one assignment of rows; shortest augmenting paths."""
    size = len(cost)
    row_price, column_price = np.zeros(size + 1), np.zeros(size + 1)
    row_of = np.zeros(size + 1, dtype=np.int64)  # 1-based; 0 = free
    for row in range(1, size + 1):
        row_of[0], column = row, 0
        shortest = np.full(size + 1, np.inf)
        came_from = np.zeros(size + 1, dtype=np.int64)
        done = np.zeros(size + 1, dtype=bool)
        while row_of[column]:
            done[column] = True
            current = row_of[column]
            reduced = cost[current - 1] - row_price[current] - column_price[1:]
            better = ~done[1:] & (reduced < shortest[1:])
            shortest[1:][better] = reduced[better]
            came_from[1:][better] = column
            nearest = int(np.where(done, np.inf, shortest)[1:].argmin()) + 1
            step = shortest[nearest]
            row_price[row_of[done]] += step
            column_price[done] -= step
            shortest[~done] -= step
            column = nearest
        while column:
            previous = int(came_from[column])
            row_of[column], column = row_of[previous], previous
    return tuple(int(i) for i in np.argsort(row_of[1:]))


def _diagonal(confusion: Counts) -> Floats:
    return np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)


def _ratio(part: Counts, whole: Counts) -> Floats:
    whole = np.asarray(whole, dtype=np.float64)
    result = np.full(np.broadcast_shapes(np.shape(part), whole.shape), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _mean_of_defined(values: Floats) -> Floats:
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))
