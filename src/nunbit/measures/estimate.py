"""A measure on many spans: its value, what it rests on, and why it is missing.

Most measures are a function of sums (a mean, a standard deviation, a rate). They keep the sums as
``parts``, so that the bootstrap can add up the parts of resampled blocks instead of touching the
samples again. S spans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.streams import REASONS, Floats

Codes = NDArray[np.int8]
Counts = NDArray[np.int64]
Formula = Literal["ratio", "sd", "decibel", "given"]

CODE = {reason: code for code, reason in enumerate(REASONS)}
"""Position of a reason in ``streams.REASONS``; 0 is valid."""

NAMES = np.array(REASONS)


@dataclass(frozen=True, eq=False)
class Estimate:
    """One measure on S spans.

    Attributes:
        formula: How the value follows from ``parts``: ``ratio`` a / b; ``sd`` from n, sum and sum
            of squares; ``decibel`` 10 log10(a / b); ``given`` the part itself.
        parts: Arrays (S,) that add up over spans that do not overlap (not for ``given``).
        n_expected: (S,) samples there would be in a complete span.
        n_valid: (S,) samples that were used.
        confidence: (S,) mean confidence of these, NaN where there is none.
        reason: (S,) codes of ``REASONS``; 0 where the value is valid.
        sample: For medians, the (times, values) that they are taken of; else None.
    """

    formula: Formula
    parts: tuple[Floats, ...]
    n_expected: Counts
    n_valid: Counts
    confidence: Floats
    reason: Codes
    sample: tuple[Floats, Floats] | None = None

    @property
    def value(self) -> Floats:
        """(S,) NaN where there is a reason."""
        return np.where(self.reason == 0, combine(self.formula, self.parts), np.nan)


def combine(formula: Formula, parts: tuple[Floats, ...]) -> Floats:
    """The value that follows from the parts; NaN where a denominator is zero."""
    if formula == "given":
        return np.asarray(parts[0], np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if formula == "ratio":
            value = parts[0] / parts[1]
        elif formula == "decibel":
            value = 10.0 * np.log10(parts[0] / parts[1])
        else:
            count, total, squares = parts
            variance = squares / count - (total / count) ** 2
            value = np.sqrt(np.maximum(variance, 0.0))
    return np.where(np.isfinite(value), value, np.nan)


def missing(n_spans: int, reason: str) -> Estimate:
    """No value anywhere, for one reason."""
    return Estimate(
        formula="given",
        parts=(np.full(n_spans, np.nan),),
        n_expected=np.zeros(n_spans, np.int64),
        n_valid=np.zeros(n_spans, np.int64),
        confidence=np.full(n_spans, np.nan),
        reason=np.full(n_spans, CODE[reason], np.int8),
    )


def first_reason(*rules: tuple[NDArray[np.bool_], str | Codes], n: int) -> Codes:
    """(n,) the reason of the first rule that applies, 0 where none does.

    Args:
        rules: Pairs of where the rule applies, and the reason or its codes.
        n: Number of spans.
    """
    codes = np.zeros(n, np.int8)
    open_ = np.ones(n, bool)
    for applies, reason in rules:
        here = open_ & applies
        codes[here] = CODE[reason] if isinstance(reason, str) else reason[here]
        open_ &= ~applies
    return codes


def mean_confidence(total: Floats, n: NDArray[np.generic]) -> Floats:
    """(S,) total / n, NaN where n is zero."""
    count = np.asarray(n, np.float64)
    result = np.full(len(count), np.nan)
    np.divide(total, count, out=result, where=count > 0)
    return result
