"""A measure on many spans, and what is usual for the person.

Most measures are a function of sums (a mean, a standard deviation, a rate). They keep the sums as
``parts``: the interval of a session value is read from the parts of its seconds, without touching
the samples again. A missing value has a reason.

Windows are held against the windows of the stretch that the user marked as neutral, like with like:
as much speech against as much speech. Without a marked stretch nothing is normalised, and never to
a population. S spans, W windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import Rows, Spans, lengths, sum_rows, union_s
from nunbit.core.streams import REASONS, Flags, Floats
from nunbit.core.timebase import SAME_S
from nunbit.statistics.series import memory_in_pieces

Codes = NDArray[np.int8]
Counts = NDArray[np.int64]
Formula = Literal["ratio", "sd", "decibel", "given"]
Rule = tuple[NDArray[np.bool_], str | Codes]

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
        if formula == "sd":
            count, total, squares = parts
            value = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
        else:
            value = parts[0] / parts[1]
            value = value if formula == "ratio" else 10.0 * np.log10(value)
    return np.where(np.isfinite(value), value, np.nan)


def missing(n_spans: int, reason: str) -> Estimate:
    """An estimate without any value, for one reason."""
    return Estimate(
        formula="given",
        parts=(np.full(n_spans, np.nan),),
        n_expected=np.zeros(n_spans, np.int64),
        n_valid=np.zeros(n_spans, np.int64),
        confidence=np.full(n_spans, np.nan),
        reason=np.full(n_spans, CODE[reason], np.int8),
    )


def all_missing(names: Iterable[str], spans: Spans, reason: str) -> dict[str, Estimate]:
    """Measure name -> an estimate without any value, for one reason."""
    return {name: missing(len(spans), reason) for name in names}


def first_reason(*rules: Rule, n: int) -> Codes:
    """(n,) the reason of the first rule that applies, 0 where none does.

    Args:
        rules: Pairs of where the rule applies, and the reason or its codes.
        n: Number of spans.
    """
    codes = np.zeros(n, np.int8)
    for applies, reason in reversed(rules):
        codes = np.where(applies, CODE[reason] if isinstance(reason, str) else reason, codes)
    return codes.astype(np.int8)


def estimate_of(
    formula: Formula,
    parts: tuple[Floats, ...],
    counts: tuple[NDArray[np.generic], NDArray[np.generic]],
    *rules: Rule,
    confidence: Floats | None = None,
) -> Estimate:
    """An estimate whose reason is that of the first rule that applies.

    Args:
        formula: How the value follows from ``parts``.
        parts: Arrays (S,).
        counts: (S,) samples expected and samples used, rounded to whole ones.
        rules: Pairs of where a rule applies, and the reason or its codes.
        confidence: (S,) or None where there is none.
    """
    n = len(counts[0])
    expected, valid = (np.rint(each).astype(np.int64) for each in counts)
    sure = np.full(n, np.nan) if confidence is None else confidence
    return Estimate(formula, parts, expected, valid, sure, first_reason(*rules, n=n))


def moments(values: Floats, rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Parts of an ``sd`` over the samples of each row: (S,) n, sum and sum of squares.

    They are taken about the mean of all samples, so that no digits are lost.
    """
    centred = values - (values.mean() if len(values) else 0.0)
    sums = sum_rows(np.stack([centred, centred**2], axis=1), rows)
    return lengths(rows).astype(np.float64), sums[:, 0], sums[:, 1]


# -- what is usual ---------------------------------------------------------------------------------

BaselineForm = Literal["z", "openwillis"]

MIN_BASELINE_S = 60.0
"""Less of valid windows says too little about what is usual: fifteen that share no sample."""

MIN_BASELINE_INDEPENDENT = 2
"""Fewer independent windows in the baseline say too little about its mean and spread for a z."""

MIN_LIKE_S = 5.0
"""Seconds of speech (or of silence) in the baseline that windows of the same kind need."""

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Baseline:
    """The usual values of the person in one measure.

    Attributes:
        median: Of the windows inside the marked stretch, NaN where no window has a value.
        mean: Of these windows.
        sd: Of these windows, corrected for their likeness.
        n_independent: Independent windows that they are worth.
        freedom: Degrees of freedom of ``sd``.
        whole: The measure on the marked stretch as a whole; longer spans are compared with it.
    """

    median: float
    mean: float
    sd: float
    n_independent: float
    freedom: float
    whole: float


NO_BASELINE = Baseline(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)


def normalised(value: Floats, baseline: Baseline, form: BaselineForm) -> Floats:
    """A value against the person's own baseline.

    ``z`` = (x - mean) / (SD sqrt(1 + 1 / n)), n the independent windows of the baseline, read on
    Student's distribution and given as the standard normal value of the same probability: where
    nothing has changed |z| > 2 in 5% of the windows, however short the baseline. NaN where the
    baseline does not vary or is worth fewer than 2 independent windows.
    ``openwillis`` = (x + 1) / (mean + 1) - 1.
    """
    if form == "openwillis":
        return np.asarray((value + 1.0) / (baseline.mean + 1.0) - 1.0)
    if not baseline.sd > 0 or not baseline.n_independent >= MIN_BASELINE_INDEPENDENT:
        return np.full(len(value), np.nan)
    spread = baseline.sd * np.sqrt(1.0 + 1.0 / baseline.n_independent)
    return _as_normal((value - baseline.mean) / spread, baseline.freedom)


def _as_normal(t: Floats, freedom: float) -> Floats:
    """Standard normal values as improbable as Student's (Wallace 1959, within 0.02 from 3 on)."""
    size = np.sqrt(freedom * np.log1p(t * t / freedom))
    return np.asarray(np.sign(t) * size * (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Holds values on spans against the marked stretch.

    Attributes:
        spans: All spans, those of kind ``baseline`` among them.
        form: How values are normalised.
    """

    spans: Spans
    form: BaselineForm

    @cached_property
    def in_baseline(self) -> Flags:
        """(W,) windows that lie in the marked stretch."""
        windows, marked = self.spans.of("window"), self.spans.of("baseline")
        inside = np.zeros(len(windows), bool)
        for a, b in zip(marked.start_s, marked.end_s, strict=True):
            inside |= (windows.start_s >= a - SAME_S) & (windows.end_s <= b + SAME_S)
        return inside

    def baseline(self, value: Floats) -> Baseline:
        """What is usual in the marked stretch, if at least a minute of it is valid."""
        marked, windows = self.spans.of("baseline"), self.spans.of("window")
        if not len(marked):
            return NO_BASELINE
        series = value[self.spans.parts["window"]]
        whole = float(value[self.spans.parts["baseline"]][0])
        good = self.in_baseline & np.isfinite(series)
        # Windows overlap: the time they cover counts, not the number of windows.
        covered = union_s(windows.start_s[good], windows.end_s[good])
        if (covered if good.any() else marked.duration_s[0]) < MIN_BASELINE_S - SAME_S:
            return NO_BASELINE
        return self._usual(series, good, whole)

    def _usual(self, series: Floats, good: Flags, whole: float) -> Baseline:
        """Mean and spread of the baseline's windows; their likeness is that of all windows."""
        usual, n = series[good], int(good.sum())
        if not n:
            return replace(NO_BASELINE, whole=whole)
        mean = float(usual.mean())
        found = memory_in_pieces(series, max(n, 4))
        independent, freedom = found.independent(n), found.freedom(n)
        shrunk = max(1.0 - 1.0 / max(independent, 1.0 + _TINY), _TINY)
        sd = float(np.sqrt(np.mean((usual - mean) ** 2) / shrunk))
        return Baseline(float(np.median(usual)), mean, sd, independent, freedom, whole)

    def compared(
        self, value: Floats, baseline: Baseline, split: tuple[Estimate, Estimate] | None
    ) -> tuple[Floats, NDArray[np.str_]]:
        """(W,) windows against the baseline, like with like, and (W,) why not."""
        series = value[self.spans.parts["window"]]
        why = np.full(len(series), "", NAMES.dtype)
        if self.form == "z":
            if split is not None:
                series, unlike = self._apart_from_speech(series, split)
                baseline = self._usual(series, self.in_baseline & np.isfinite(series), np.nan)
                why[unlike] = "no_like_baseline"
            why[why == ""] = "too_few_independent" if baseline.sd > 0 else "constant"
        return normalised(series, baseline, self.form), why

    def _apart_from_speech(
        self, series: Floats, split: tuple[Estimate, Estimate]
    ) -> tuple[Floats, Flags]:
        """(W,) windows less what is usual for as much speech as they have, and (W,) unlike ones.

        Speech moves the mouth: without this a talkative stretch looks livelier than a quiet
        baseline although nothing else has changed.
        """
        window = self.spans.parts["window"]
        share = [part.n_valid[window].astype(np.float64) for part in split]
        usual = []
        for part, n in zip(split, share, strict=True):
            value = part.value[window]
            known = self.in_baseline & np.isfinite(value)
            seconds = n[known] / np.maximum(part.n_expected[window][known], 1)
            enough = known.any() and seconds.sum() >= MIN_LIKE_S
            usual.append(float(np.average(value[known], weights=n[known])) if enough else np.nan)
        total = share[0] + share[1]
        spoken = np.divide(share[0], total, out=np.zeros(len(total)), where=total > 0)
        expected = np.where(spoken > 0, spoken * usual[0], 0.0)
        expected = expected + np.where(spoken < 1, (1.0 - spoken) * usual[1], 0.0)
        if np.isnan(usual).all():  # no sound: nobody knows who speaks when
            return series, np.zeros(len(series), bool)
        return series - expected, np.isnan(expected) & np.isfinite(series)
