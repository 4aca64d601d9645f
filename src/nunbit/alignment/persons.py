"""Means over few people, with intervals that hold: Student's t over the people's own means.

A bootstrap over eight people covers 87% where it says 95%; the t interval holds from four on (the
people's means are averages of many windows, hence nearly normal).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunbit.metrics.few import t_quantile
from nunbit.streams import Floats

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over people.

    Attributes:
        value: Mean of the people's means; NaN without any.
        error: Its standard error; None with one person.
        n: People.
    """

    value: float
    error: float | None
    n: int

    def ci(self, level: float = 0.95) -> list[float] | None:
        """Two-sided interval; None with one person."""
        if self.error is None:
            return None
        reach = t_quantile(self.n - 1, level) * self.error
        return [self.value - reach, self.value + reach]


def estimate(means: Floats) -> Estimate:
    """Mean and standard error of (P,) people's means; those that are NaN are left out."""
    means = means[np.isfinite(means)]
    n = len(means)
    if not n:
        return Estimate(math.nan, None, 0)
    error = float(means.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return Estimate(float(means.mean()), error, n)


def person_means(values: Floats, person: Codes, n_people: int) -> Floats:
    """(P,) mean of each person's values, NaN for a person without any."""
    counts = np.bincount(person, minlength=n_people)
    sums = np.bincount(person, weights=values, minlength=n_people)
    means = np.full(n_people, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def over_persons(values: Floats, person: Codes) -> Estimate:
    """Mean over people of (Q,) values."""
    n_people = int(person.max()) + 1 if len(person) else 0
    return estimate(person_means(values, person, n_people))
