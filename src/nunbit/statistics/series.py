"""One series of values in time: how alike neighbours are, and how well its mean is known.

Neighbouring values of a time series are alike, so n of them carry less information than n. How long
that likeness lasts is read from the series itself; nothing here assumes a block length or a shape
of the distribution. The variance of the mean is taken from the slowest parts of the series (its
first cosines, after a first-order autoregression has been taken out), where likeness of neighbours
shows, and averaged, two to one, with the variance of the means of 24 blocks. A Student interval
from it covers 95% if the series is worth 20 independent values or more; the former bootstrap over
blocks of 10 s covered 37 to 74% (benchmarks/honesty_series.py). Pure numpy; knows no measures. M
rows, N values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import Flags, Floats, Ints


@dataclass(frozen=True, slots=True)
class Memory:
    """How long the values of a series stay alike.

    Attributes:
        lag: Steps after which they are half alike at most.
        likeness: Their correlation over this lag.
        n: Values it was estimated from.
    """

    lag: int
    likeness: float
    n: int

    def independent(self, n: int, sure: float = 0.0) -> float:
        """How many independent values n values are worth.

        Args:
            n: Values.
            sure: Standard errors to be on the safe side.
        """
        error = math.sqrt(max(1.0 - self.likeness**2, 0.0) * self.lag / self.n)
        most = min(max(self.likeness + sure * error, 0.0), 1.0 - self.lag / max(n, self.lag + 1))
        return n / self.lag * (1.0 - most) / (1.0 + most)

    def freedom(self, n: int) -> float:
        """Degrees of freedom of the variance of n values: squares forget sooner (Bartlett 1946)."""
        square = max(self.likeness, 0.0) ** 2
        return max(n / self.lag * (1.0 - square) / (1.0 + square) - 1.0, 1.0)


def memory(d: Floats, here: Flags) -> Memory:
    """Memory of a series, read at the lag where its values are half alike.

    At the first lag already, overlapping windows and smooth series look more alike than the
    seconds behind them are.

    Args:
        d: (M, N) deviations from the mean of each row, 0 where missing, not all 0; N > 3.
        here: (M, N) what is not missing.
    """
    lag, n = 1, int(here.sum())
    while lag < d.shape[1] // 10 and _alike(d, here, lag) >= 0.5:
        lag += 1
    return Memory(lag, likeness(d, here, lag), n)


def _alike(d: Floats, here: Flags, lag: int) -> float:
    n, pairs = int(here.sum()), int((here[:, lag:] & here[:, :-lag]).sum())
    raw = float((d[:, lag:] * d[:, :-lag]).sum()) / max(pairs, 1)
    return raw / (float((d * d).sum()) / n)


def likeness(d: Floats, here: Flags, lag: int) -> float:
    """Correlation over a lag, without the bias that taking out the means of the rows brings."""
    n = here.sum() / len(d) / lag
    # Kendall 1954: E raw = phi - (1 + 3 phi) / n
    corrected = (_alike(d, here, lag) * n + 1.0) / max(n - 3.0, 1.0)
    return float(np.clip(corrected, -0.5, 1.0 - 1.0 / max(n, 2.0)))


def memory_in_pieces(series: Floats, length: int) -> Memory:
    """Memory of a series within pieces of a length; a change between pieces takes no part."""
    pieces = max(len(series) // length, 1)
    rows = series[: pieces * length].reshape(pieces, -1)
    rows = rows[np.isfinite(rows).sum(axis=1) > 1]
    there = np.isfinite(rows)
    centred = np.where(there, rows - np.nanmean(rows, axis=1, keepdims=True), 0.0)
    return memory(centred, there) if centred.any() else Memory(1, 0.0, 1)


@lru_cache(maxsize=8)
def _scores_of_ranks(n: int) -> Floats:
    """(n,) what ranks 1 to n are worth on a normal distribution (Blom 1958)."""
    bell = NormalDist()
    return np.array([bell.inv_cdf((rank - 0.375) / (n + 0.25)) for rank in range(1, n + 1)])


def normal_scores(values: Floats) -> Floats:
    """(n,) values by their rank as if they were normal, equal ones alike.

    So a bounded or skewed series becomes comparable with what random phases make of it.
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    edges = np.concatenate([[0], np.cumsum(count)])
    total = np.concatenate([[0.0], np.cumsum(_scores_of_ranks(len(values)))])
    per_level = (total[edges[1:]] - total[edges[:-1]]) / count
    return np.asarray(per_level[place])


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
    """Mean of a series and its uncertainty.

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
    """Uncertainty of a sum over a series.

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
        seed: Unused, because nothing is drawn; all statistics have the same arguments.

    Raises:
        InputError: The values are not one row of numbers, or the step is not positive.
    """
    del seed
    series = series_of(values, hop_s)
    there = np.isfinite(series)
    n = int(there.sum())
    mean = float(series[there].mean()) if n else math.nan
    found = long_run(np.where(there, series - mean, 0.0), there)
    half = STUDENT_12 * found.error / max(n, 1)
    ci95 = None if found.reason else (mean - half, mean + half)
    return SeriesSummary(mean, ci95, found.reason or None, found.n_independent)


def series_of(values: ArrayLike, hop_s: float) -> Floats:
    """(N,) values as a series.

    Raises:
        InputError: They are not one row of numbers, or the step is not positive.
    """
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or np.isinf(series).any():
        raise InputError(
            Text(
                f"series: expected one row of finite numbers or NaN, got shape {series.shape}",
                f"계열: 유한한 수 또는 NaN의 한 줄이어야 하는데 모양이 {series.shape}입니다",
            )
        )
    if not (math.isfinite(hop_s) and hop_s > 0):
        raise InputError(
            Text(
                f"hop_s: expected seconds above 0, got {hop_s}",
                f"hop_s: 0보다 큰 초여야 하는데 {hop_s}입니다",
            )
        )
    return series


def long_run(deviations: Floats, there: Flags) -> LongRun:
    """Estimate the uncertainty of the sum of a stationary series from the series itself.

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
    # Two to one with the long-run variance from sums over blocks, which are alike themselves.
    total, alike = _block_likeness(d, BLOCKS)
    blocks = total / len(d) * (1.0 + alike) / (1.0 - alike)
    power = (2.0 * _slow_power(d, phi) + blocks) / 3.0
    coarse = max(_block_likeness(d, COARSE)[1], 0.0)
    fewest = min(independent, COARSE * (1.0 - coarse) / (1.0 + coarse))
    return LongRun(math.sqrt(power * len(d) * (1.0 + (WIDEN / fewest) ** 3)), independent, "")


def _slow_power(d: Floats, phi: float) -> float:
    """Long-run variance from the first cosines of what the autoregression leaves unexplained."""
    rest = d.copy()
    rest[1:] -= phi * d[:-1]
    rest[0] *= math.sqrt(1.0 - phi * phi)
    parts = rest @ _cosines(len(d))
    return float(parts @ parts) / COSINES / (1.0 - phi) ** 2


@lru_cache(maxsize=8)
def _cosines(n: int) -> Floats:
    at = np.outer((np.arange(n) + 0.5) / n, np.arange(1, COSINES + 1))
    return np.asarray(np.sqrt(2.0 / n) * np.cos(np.pi * at))


def _block_likeness(d: Floats, n: int) -> tuple[float, float]:
    """Sum of squares of the sums over n blocks, and likeness of neighbours, -0.3 to 0.97."""
    sums = np.add.reduceat(d, np.arange(n) * len(d) // n)
    total = float(sums @ sums)
    if total == 0:
        return 0.0, 0.0
    raw = float(sums[1:] @ sums[:-1]) / total * n / (n - 1)
    return total, float(np.clip((raw * n + 1.0) / (n - 3.0), -0.3, 0.97))


# -- intervals of single values --------------------------------------------------------------------


FUNCTIONALS = ("mean", "sd", "median", "p20", "p80", "slope")
"""What is said of a series as a whole, in the order of its rows; ``slope`` per minute."""


@dataclass(frozen=True, slots=True)
class Known:
    """The 95% interval of a value.

    Attributes:
        low: NaN where there is none.
        high: Likewise.
        reason: '' or why there is none.
    """

    low: float
    high: float
    reason: str


NOT_A_MEAN = Known(math.nan, math.nan, "not_a_mean")
"""Of an SD: of skewed values 51 to 85% of the intervals held it (simulated), not 95%."""


def around(value: float, influence: Floats, there: Flags) -> Known:
    """Interval of a value whose error is the sum of ``influence``, over what is ``there``; (N,)."""
    found = long_run(influence, there)
    half = STUDENT_12 * found.error  # NaN where there is a reason
    return Known(value - half, value + half, found.reason)


def around_quantile(
    values: Floats, quantile: float, total: Callable[[Floats], Floats], counts: Ints
) -> Known:
    """Interval of a quantile: where the share below it may lie, read off the values.

    Woodruff 1952. Nothing has to be assumed about how dense the values are there.

    Args:
        values: (n,).
        quantile: 0 to 1.
        total: Sums (n,) over the steps of the series.
        counts: Values in each step.
    """
    # Above or below forgets sooner than the values do: these must be many enough themselves.
    whole = long_run(total(values - values.mean()), counts > 0)
    below = (values <= np.quantile(values, quantile)).astype(np.float64)
    found = long_run(total(below) - float(below.mean()) * counts, counts > 0)
    if reason := whole.reason or found.reason:
        return Known(math.nan, math.nan, reason)
    half = STUDENT_12 * found.error / max(float(counts.sum()), 1.0)
    low, high = np.quantile(values, np.clip([quantile - half, quantile + half], 0.0, 1.0)).tolist()
    return Known(low, high, "")


def functionals_of(times_s: Floats, series: Floats) -> dict[str, tuple[float, Known]]:
    """Functionals of the window values, each with its interval.

    The SD has none: for skewed values 51 to 85% of such intervals covered it (simulated), not 95%.
    """
    there = np.isfinite(series)
    x, minutes = series[there], times_s / 60.0
    n, mean, steps = len(x), float(x.mean()), there.astype(np.int64)
    u = np.where(there, series - mean, 0.0)
    t = np.where(there, minutes - minutes[there].mean(), 0.0)
    length = float(t @ t)
    slope = float(t @ u) / length if length > 0 else np.nan

    def spread(below: Floats) -> Floats:
        whole = np.zeros(len(series))
        whole[there] = below
        return whole

    return {
        "mean": (mean, around(mean, u / n, there)),
        "sd": (float(x.std()), NOT_A_MEAN),
        **{
            kind: (float(np.quantile(x, q)), around_quantile(x, q, spread, steps))
            for kind, q in (("median", 0.5), ("p20", 0.2), ("p80", 0.8))
        },
        "slope": (slope, around(slope, t * (u - slope * t) / (length or 1.0), there)),
    }
