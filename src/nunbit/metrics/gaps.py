"""The distance between the best and the worst of several groups, judged for having been chosen.

Whoever looks at ten groups and compares the highest with the lowest finds a difference always. An
interval of that one difference ignores the choosing: under no difference at all it excludes zero in
40 of 100 cases with six groups. Here the whole range of the groups is compared with the range that
chance alone gives (the studentised-range idea, Tukey 1953, with bootstrap draws for its law).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.metrics.few import NORMAL, t_quantile

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gap:
    """Best minus worst of G groups.

    Attributes:
        best: Position of the highest group.
        worst: Position of the lowest group.
        difference: Highest minus lowest, >= 0.
        expected: What it is on average where all groups are alike: it is never zero.
        low: Lower end of the 95% interval of the true gap; zero unless the test rejects.
        high: Upper end.
        p_value: Chance of a gap at least as large where all groups are alike.
    """

    best: int
    worst: int
    difference: float
    expected: float
    low: float
    high: float
    p_value: float


def largest_gap(values: Floats, draws: NDArray[Any], persons: NDArray[np.float64]) -> Gap | None:
    """Judge the range of several groups by a max-statistic bootstrap.

    The draws around the groups' own values show how far chance moves them; the range of these
    movements is the law of the range under no difference. A few persons' draws are too calm, so
    they are stretched: by n / (n - 1) in variance, and by a t quantile in place of the normal one.

    Args:
        values: (G,) score of each group, G >= 2.
        draws: (R, G) the same, resampled jointly; undefined draws are NaN and left out.
        persons: (G,) effective persons in each group (``few.effective``; images, where no persons
            are known), > 1.

    Returns:
        The gap; None where fewer than half of the draws are defined.
    """
    defined = draws[~np.isnan(draws).any(axis=1)].astype(np.float64)
    if 2 * len(defined) < len(draws):
        return None
    free = np.maximum(persons - 1.0, 1.0)
    # As in Tukey's studentised range, the spreads of all groups together carry the uncertainty.
    pooled = t_quantile(float(free.sum())) / NORMAL
    moved = (defined - values) * np.sqrt(np.maximum(persons, 1.0) / free) * pooled
    ranges = moved.max(axis=1) - moved.min(axis=1)
    best, worst = int(values.argmax()), int(values.argmin())
    gap = float(values[best] - values[worst])
    # The truly best and worst are some pair, so no pair's upper limit can be left out of account.
    spread = np.sqrt(_covariance_of_differences(moved))
    high = float((values[:, None] - values[None, :] + NORMAL * spread).max())
    return Gap(
        best=best,
        worst=worst,
        difference=gap,
        expected=float(ranges.mean()),
        low=max(0.0, gap - float(np.quantile(ranges, 0.95))),
        high=high,
        p_value=float((1 + (ranges >= gap).sum()) / (1 + len(ranges))),
    )


def _covariance_of_differences(moved: Floats) -> Floats:
    """Variance of the difference of each pair of groups; (G, G), zero on the diagonal."""
    covariance = np.atleast_2d(np.cov(moved, rowvar=False))
    own = np.diag(covariance)
    return np.maximum(own[:, None] + own[None, :] - 2.0 * covariance, 0.0)
