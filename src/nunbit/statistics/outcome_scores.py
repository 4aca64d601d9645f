"""Scores of predicted outcomes with intervals over persons; correlations; correction over many.

CCC (Lin 1989) is the headline of outcomes: unlike a correlation it falls when predictions have the
wrong level or spread, and unlike an error it is 0 for the mean of everybody. Persons are drawn with
replacement, all predictions with the same draws, so differences are paired. Pure arrays. N rows,
P sets of predictions, R draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nunbit.statistics.nested import Codes, Floats

RESAMPLES = 2000


def concordance(truth: Floats, predicted: Floats) -> Floats:
    """(P,) concordance correlation of (N,) or (N, P) outcomes with (N, P) predictions.

    2 cov / (var + var + squared difference of means), population moments: 0 for a constant.
    """
    truth = truth[:, None] if truth.ndim == 1 else truth
    mean, own = truth.mean(axis=0), predicted.mean(axis=0)
    shared = ((truth - mean) * (predicted - own)).mean(axis=0)
    return np.asarray(
        2.0 * shared / (truth.var(axis=0) + predicted.var(axis=0) + (mean - own) ** 2)
    )


def person_draws(n_persons: int, resamples: int, seed: int) -> Floats:
    """(R, n) how often each person was drawn."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.bincount(rng.integers(0, n_persons, n_persons), minlength=n_persons)
         for _ in range(resamples)]
    ).astype(np.float64)  # fmt: skip


def drawn_concordance(truth: Floats, predicted: Floats, person: Codes, draws: Floats) -> Floats:
    """(R,) CCC of drawn persons, the mean over (N, P) predictions of repeats."""
    n = draws.shape[1]

    def sums(values: Floats) -> Floats:
        return np.asarray(draws @ np.bincount(person, weights=values, minlength=n))

    # Centred first: moments of large numbers would lose their digits.
    y = truth - truth.mean()
    count, first, second = sums(np.ones(len(y))), sums(y), sums(y * y)
    total: Floats = np.zeros(len(draws))
    for column in predicted.T:
        q = column - truth.mean()
        own, square, cross = sums(q), sums(q * q), sums(q * y)
        shared = cross / count - first * own / count**2
        spread = second / count - (first / count) ** 2 + square / count - (own / count) ** 2
        total += 2.0 * shared / (spread + ((first - own) / count) ** 2)
    return np.asarray(total / predicted.shape[1])


def drawn_means(values: Floats, person: Codes, draws: Floats) -> Floats:
    """(R,) mean of (N,) values of drawn persons."""
    n = draws.shape[1]
    total = draws @ np.bincount(person, weights=values, minlength=n)
    return np.asarray(total / (draws @ np.bincount(person, minlength=n)))


def drawn_interval(draws: Floats) -> tuple[float, float]:
    """95% percentile interval of draws."""
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    return low, high


def ranked(values: Floats) -> Floats:
    """(N,) ranks from 0, equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2.0
    return np.asarray(middle[place])


def spearman(first: Floats, second: Floats) -> tuple[float, tuple[float, float] | None, float]:
    """Rank correlation of two rows of numbers, its 95% interval and p-value.

    Interval and p by Fisher's z with Bonett and Wright's variance (2000, Psychometrika 65), which
    holds from about ten persons on.

    Returns:
        NaN, None and NaN where one does not vary or there are fewer than five.
    """
    if len(first) < 5 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan, None, math.nan
    a, b = ranked(first), ranked(second)
    r = float(np.corrcoef(a, b)[0, 1])
    z = math.atanh(min(max(r, -0.999999), 0.999999))
    reach = 1.959964 * math.sqrt((1.0 + r * r / 2.0) / (len(first) - 3.0))
    p = math.erfc(abs(z) * math.sqrt(len(first) - 3.0) / math.sqrt(2.0))
    return r, (math.tanh(z - reach), math.tanh(z + reach)), p


def false_discovery(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values (1995); NaN stays NaN and is not counted."""
    p = np.array(p_values, np.float64)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(-p[known], kind="stable")]
    m = len(order)
    adjusted = np.minimum.accumulate(p[order] * m / np.arange(m, 0, -1)) if m else p[order]
    found = np.full(len(p), np.nan)
    found[order] = np.minimum(adjusted, 1.0)
    return [float(each) for each in found]


def above_by_chance(value: float, permuted: Floats) -> float:
    """One-sided p of a score among those of permuted labels (Phipson and Smyth 2010: never 0)."""
    return float((1 + (permuted >= value - 1e-12).sum()) / (1 + len(permuted)))
