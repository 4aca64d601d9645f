"""Intervals over few persons, where the bootstrap is too narrow: the jackknife with a t quantile.

A bootstrap of n persons knows no more than these n: its intervals cover 80% at 4 persons and 90% at
12 instead of 95% (``benchmarks/honesty_evaluation.py``). Here every person is left out in turn.
That gives a standard error of any statistic, also of a nonlinear one such as UAR or macro-F1 (Efron
and Stein 1981; as 'CV3' the best of the cluster-robust estimators where clusters are few,
MacKinnon, Nielsen and Webb 2023), and a t quantile pays for the error of that standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scale = Literal["share", "positive", "difference"]

# Below this many persons the bootstrap is too narrow; from here on both agree within a tenth.
FEW = 40
LEVEL = 0.95
# Half-width of a 95% interval of the normal law, in standard errors.
NORMAL = 1.959964
# Steps of the integral behind a t quantile: six exact digits.
_STEPS = 20_001
# A share next to 0 or 1 counts as this far away from it, so that its logit stays finite.
_EDGE = 1e-3


def jackknife_interval(
    statistic: Callable[..., Any],
    tables: Sequence[NDArray[Any]],
    sizes: Sequence[NDArray[Any]],
    *,
    scale: Scale = "share",
) -> tuple[float, float] | None:
    """95% interval of a statistic of sums over persons, by leaving out each person in turn.

    The degrees of freedom are Kish's effective number of persons minus one: a person with half of
    all images counts for more than one of many, and n - 1 would be too many. Shares are treated as
    logits and positive numbers as logarithms: their intervals stay inside their range and lean the
    right way near its end.

    Args:
        statistic: Takes one array (..., cells) for each table and gives (...).
        tables: Sums per person, each (P, cells).
        sizes: (P,) images of each person, for each side that the statistic compares; the side with
            the fewest effective persons decides.
        scale: ``share`` in [0, 1], ``positive`` in (0, inf), or a ``difference``.

    Returns:
        Low and high; None for fewer than two persons on a side, where the statistic is undefined
        with a person left out, and where all persons are alike, so that nothing tells how far
        others would differ.
    """
    if min(int((size > 0).sum()) for size in sizes) < 2:
        return None
    taking_part = np.any([size > 0 for size in sizes], axis=0)
    totals = [np.asarray(table, dtype=np.float64).sum(axis=0) for table in tables]
    left_out = [t - table[taking_part] for t, table in zip(totals, tables, strict=True)]
    there, back = _TRANSFORMS[scale]
    value = there(np.asarray(statistic(*totals), dtype=np.float64))
    values = there(np.asarray(statistic(*left_out), dtype=np.float64))
    n = len(values)
    error = math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))
    if not error > 1e-12:  # NaN where undefined; rounding alone is below 1e-12
        return None
    reach = error * t_quantile(max(1.0, min(effective(size) for size in sizes) - 1.0))
    return float(back(value - reach)), float(back(value + reach))


def all_alike_interval(value: float, n: int) -> tuple[float, float]:
    """95% interval of a share of exactly 0 or 1, found in every one of n persons.

    Resampling or leaving out such persons changes nothing: it would give an interval of no width.
    But n persons who are all right have a chance of at most p^n where the share is p, however alike
    the images of a person are (Clopper and Pearson 1934, a person counting as one trial).
    """
    bound = ((1.0 - LEVEL) / 2.0) ** (1.0 / n)
    return (bound, 1.0) if value == 1.0 else (0.0, 1.0 - bound)


def effective(sizes: NDArray[Any]) -> float:
    """Kish's effective number of persons: as many of equal size would be as informative."""
    sizes = np.asarray(sizes, dtype=np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def stretch(persons: float) -> float:
    """How much wider than a bootstrap's an interval over few effective persons has to be, >= 1.

    A bootstrap divides by n where n - 1 are free, and its law knows no error of the spread.
    """
    free = max(persons - 1.0, 1.0)
    return math.sqrt(max(persons, 1.0) / free) * t_quantile(free) / NORMAL


def t_quantile(df: float, level: float = LEVEL) -> float:
    """The half-width of a central interval of Student's t, in standard errors.

    Args:
        df: Degrees of freedom, >= 1, not necessarily whole.
        level: Probability inside.
    """
    # With t = sqrt(df) tan(angle) the density is a power of the cosine, and the range is finite.
    angle = np.linspace(0.0, math.pi / 2.0, _STEPS)
    density = np.cos(angle[:-1]) ** (df - 1.0)
    density = np.append(density, 1.0 if df == 1.0 else 0.0)
    inside = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2.0))
    return math.sqrt(df) * math.tan(float(np.interp(level * inside[-1], inside, angle)))


def _logit(share: Floats) -> Floats:
    inner = np.clip(share, _EDGE, 1.0 - _EDGE)
    odds: Floats = np.log(inner / (1.0 - inner))
    return odds


def _expit(odds: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-odds))


def _same(value: Any) -> Any:
    return value


def _log(value: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(value, 1e-12))
    return logs


_TRANSFORMS: dict[Scale, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "share": (_logit, _expit),
    "positive": (_log, np.exp),
    "difference": (_same, _same),
}
