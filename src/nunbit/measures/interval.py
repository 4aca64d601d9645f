"""The mean of a series in time with an interval that holds, or why there is none.

Nothing here assumes a block length or a shape of the distribution. The variance of the mean is
taken from the slowest parts of the series (its first cosines, after a first-order autoregression
has been taken out), where likeness of neighbours shows, and averaged, two to one, with the variance
of the means of 24 blocks. A Student interval made of it covers 95% wherever the series is surely
worth 20 independent values; the bootstrap over blocks of 10 s that stood here covered 37 to 74%
(benchmarks/honesty_series.py). Pure numpy; knows no measures. N values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from nunbit.errors import InputError
from nunbit.measures.likeness import likeness, memory, normal_scores
from nunbit.streams import Flags, Floats

MIN_INDEPENDENT = 20
"""Fewer values that do not repeat their neighbours give no interval: it could not keep its 95%."""

COSINES = 8
"""Slowest parts that the variance of a mean is read from; more would reach into faster ones."""

STUDENT_12 = 2.1788128296634177
"""97.5% of Student's t with 12 degrees of freedom. The cosines alone have 8, with the blocks 16;
the lower the number, the safer."""

BLOCKS = 24
"""Of which the second opinion on that variance is made; 2.5 min in an hour."""

SURE = 2.3263478740408408
"""Standard errors between the likeness found and the largest one that it may well be (99%).
With 95% one short recording in fifty showed an interval it should not have, and that one failed."""

MIN_CARRIERS, CARRIES = 10, 0.1
"""Runs of values farther from the middle than a tenth of the farthest that a mean must rest on: of
fewer than ten events or bursts (of one outlier alone) no interval of the mean keeps its 95%."""

COARSE = 60
"""Blocks in which slow parts are looked for that lie beneath fast ones, and thus escape the lag at
which neighbours are half alike: 3 s in 3 min."""

WIDEN = 23.0
"""What is not known about the memory: widens the variance by 1 + (23 / n)^3, n the independent
values; more than doubles it at the least n that is shown, and is of no weight from 60 on."""

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """Mean of a series and how well it is known.

    Attributes:
        mean: Of the values that are there; NaN without any.
        ci95: 95% interval of the mean, or None where none can be given.
        reason: Why there is no interval, else None: ``too_few`` (no or one value),
            ``constant``, ``too_few_independent``.
        n_independent: Independent values that the series is worth at least; NaN if unknown.
    """

    mean: float
    ci95: tuple[float, float] | None
    reason: str | None
    n_independent: float


@dataclass(frozen=True, slots=True)
class LongRun:
    """How well a sum over a series is known.

    Attributes:
        error: Standard error of the sum, widened for what is not known about the memory.
        n_independent: Lower 95% bound of the number of independent values.
        reason: '' or why no interval may be made of it.
    """

    error: float
    n_independent: float
    reason: str


def summarise(values: ArrayLike, hop_s: float, seed: int = 0) -> SeriesSummary:
    """Mean of a series of autocorrelated values, with a 95% interval where one can be given.

    Args:
        values: (N,) at equal steps, NaN where missing.
        hop_s: Step, seconds.
        seed: Of no effect (nothing is drawn); here so that all statistics are called alike.

    Raises:
        InputError: The values are not one row of numbers, or the step is not positive.
    """
    del seed
    series = series_of(values, hop_s)
    there = np.isfinite(series)
    n = int(there.sum())
    mean = float(series[there].mean()) if n else math.nan
    found = long_run(np.where(there, series - mean, 0.0), there)
    if found.reason:
        return SeriesSummary(mean, None, found.reason, found.n_independent)
    half = STUDENT_12 * found.error / n
    return SeriesSummary(mean, (mean - half, mean + half), None, found.n_independent)


def series_of(values: ArrayLike, hop_s: float) -> Floats:
    """(N,) values as a series.

    Raises:
        InputError: They are not one row of numbers, or the step is not positive.
    """
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or np.isinf(series).any():
        raise InputError(
            en=f"series: expected one row of finite numbers or NaN, got shape {series.shape}",
            ko=f"계열: 유한한 수 또는 NaN의 한 줄이어야 하는데 모양이 {series.shape}입니다",
        )
    if not (math.isfinite(hop_s) and hop_s > 0):
        raise InputError(
            en=f"hop_s: expected seconds above 0, got {hop_s}",
            ko=f"hop_s: 0보다 큰 초여야 하는데 {hop_s}입니다",
        )
    return series


def long_run(deviations: Floats, there: Flags) -> LongRun:
    """How well the sum of a stationary series is known, from the series itself.

    Missing values are zeros, which is what they add to the sum (Parzen's amplitude modulation).

    Args:
        deviations: (N,) that sum to zero, 0 where missing.
        there: (N,) what is not missing.
    """
    n = int(there.sum())
    if n < 2:
        return LongRun(math.nan, math.nan, "too_few")
    # Zeros before the first and after the last value are outside the recording.
    first, last = np.flatnonzero(there)[[0, -1]]
    d, here = deviations[first : last + 1], there[first : last + 1]
    variance = float(d @ d) / n
    if variance <= (_TINY * float(np.abs(d).max(initial=0.0))) ** 2 or n <= MIN_INDEPENDENT:
        return LongRun(math.nan, float(n), "constant" if variance == 0 else "too_few_independent")
    away = np.where(here, d - np.median(d[here]), 0.0)
    side = np.where(np.abs(away) > CARRIES * np.abs(away).max(), np.sign(away), 0.0)
    if (np.diff(side, prepend=0.0)[side != 0] != 0).sum() < MIN_CARRIERS:
        return LongRun(math.nan, float(n), "too_few_independent")
    # Rare high values hide how alike the others are: ranks see it.
    scores = np.zeros(len(d))
    scores[here] = normal_scores(d[here])
    independent = min(memory(each[None], here[None]).independent(n, SURE) for each in (d, scores))
    if independent < MIN_INDEPENDENT:
        return LongRun(math.nan, independent, "too_few_independent")
    phi = likeness(d[None], here[None], 1)
    power = (2.0 * _slow_power(d, phi) + _block_power(d)) / 3.0
    coarse = max(_block_likeness(d, COARSE)[1], 0.0)
    fewest = min(independent, COARSE * (1.0 - coarse) / (1.0 + coarse))
    error = math.sqrt(power * len(d) * (1.0 + (WIDEN / fewest) ** 3))
    return LongRun(error, independent, "")


def _slow_power(d: Floats, phi: float) -> float:
    """Long-run variance from the first cosines of what the autoregression leaves unexplained."""
    rest = d.copy()
    rest[1:] -= phi * d[:-1]
    rest[0] *= math.sqrt(1.0 - phi * phi)
    parts = rest @ _cosines(len(d))
    return float(parts @ parts) / COSINES / (1.0 - phi) ** 2


@lru_cache(maxsize=8)
def _cosines(n: int) -> Floats:
    at = (np.arange(n) + 0.5) / n
    waves: Floats = np.sqrt(2.0 / n) * np.cos(np.pi * np.outer(at, np.arange(1, COSINES + 1)))
    return waves


def _block_power(d: Floats) -> float:
    """Long-run variance from sums over blocks and the likeness of neighbouring ones."""
    total, phi = _block_likeness(d, BLOCKS)
    return total / len(d) * (1.0 + phi) / (1.0 - phi)


def _block_likeness(d: Floats, n: int) -> tuple[float, float]:
    """Sum of squares of the sums over n blocks, and likeness of neighbours, -0.3 to 0.97."""
    sums = np.add.reduceat(d, np.arange(n) * len(d) // n)
    total = float(sums @ sums)
    if total == 0:
        return 0.0, 0.0
    raw = float(sums[1:] @ sums[:-1]) / total * n / (n - 1)
    return total, float(np.clip((raw * n + 1.0) / (n - 3.0), -0.3, 0.97))
