"""Scores of predicted outcomes with intervals over persons; correlations; correction over many.

CCC (Lin 1989) is the headline of outcomes: unlike a correlation it falls when predictions have the
wrong level or spread, and unlike an error it is 0 for the mean of everybody. Persons are drawn with
replacement, all predictions with the same draws, so differences are paired. Pure arrays. N rows,
P sets of predictions, R draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import permutations

import numpy as np

from nunbit.statistics.nested import Codes, Floats

RESAMPLES = 2000

_ALL_ORDERS, _DRAWN_ORDERS = 8, 20
"""Persons up to which all orders are tried (40,320), and up to which ``_DRAWS`` of them are."""

_DRAWS = 20_000
_FEWEST_FOR_INTERVAL = 10


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

    The p-value (two-sided) is the share of all orders of one row, of up to 20 persons of 20,000
    drawn ones, that give as strong a correlation; of more persons it is that of Student's t with
    n - 2 degrees of freedom. The interval is Fisher's z with Bonett and Wright's variance (2000,
    Psychometrika 65), which holds from about ten persons on.

    Returns:
        NaN, None and NaN where one does not vary or there are fewer than five. No interval of fewer
        than ten persons, and none where both have the same order: their spread says nothing then.
    """
    n = len(first)
    if n < 5 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan, None, math.nan
    a, b = (each - each.mean() for each in (ranked(first), ranked(second)))
    length = math.sqrt(float(a @ a) * float(b @ b))
    r = min(max(float(a @ b) / length, -1.0), 1.0)
    if n <= _DRAWN_ORDERS:
        as_strong = np.abs(b[_orders(n)] @ a) >= (abs(r) - 1e-9) * length
        drawn = n > _ALL_ORDERS  # the order found is one of all, but not of those drawn
        p = float((as_strong.sum() + drawn) / (len(as_strong) + drawn))
    else:
        p = _beyond(r, n - 2)
    if n < _FEWEST_FOR_INTERVAL or abs(r) > 1.0 - 1e-9:
        return r, None, p
    z, reach = math.atanh(r), 1.959964 * math.sqrt((1.0 + r * r / 2.0) / (n - 3.0))
    return r, (math.tanh(z - reach), math.tanh(z + reach)), p


@cache
def _orders(n: int) -> Codes:
    """(R, n) orders of n places: all of them, or as many as are drawn."""
    if n <= _ALL_ORDERS:
        return np.array(list(permutations(range(n))), np.int64)
    rng = np.random.default_rng(n)
    return rng.permuted(np.tile(np.arange(n), (_DRAWS, 1)), axis=1)


def _beyond(r: float, df: int) -> float:
    """Two-sided p of a correlation: what Student's t with ``df`` degrees has beyond it."""
    # With t = sqrt(df) tan(angle), r is the sine of the angle, and the density a power of the
    # cosine, whose whole integral is known.
    angle = np.linspace(math.asin(abs(r)), math.pi / 2.0, 2001)
    density = np.cos(angle) ** (df - 1.0)
    tail = float((density[1:] + density[:-1]).sum() / 2.0 * (angle[1] - angle[0]))
    whole = math.exp(math.lgamma(df / 2.0) - math.lgamma((df + 1) / 2.0)) * math.sqrt(math.pi) / 2.0
    return min(tail / whole, 1.0)


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
