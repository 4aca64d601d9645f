"""For how long the values of a series are alike, and what values are worth by their rank.

Neighbouring values of a series in time are alike, so that n of them say less than n. How long that
likeness lasts is read from the series itself. Pure numpy; knows no measures. M rows, N values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from nunbit.streams import Flags, Floats


@dataclass(frozen=True, slots=True)
class Memory:
    """For how long the values of a series are alike.

    Attributes:
        lag: Steps after which they are half alike at most.
        likeness: Their correlation over this lag.
        n: Values it was estimated from.
    """

    lag: int
    likeness: float
    n: int

    def independent(self, n: int, sure: float = 0.0) -> float:
        """How many independent values n of them are worth.

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
