"""From values on spans to rows of the timeline: intervals, functionals, baseline.

Every session value is a sum over seconds, or close to one; how well that sum is known is read from
the seconds themselves (:mod:`nunbit.measures.interval`), because neighbouring moments are alike and
nobody knows beforehand for how long. A baseline is a stretch the user marked as neutral; without
one nothing is normalised, and never to a population. S spans, B seconds, W windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nunbit.measures.definitions import FUNCTIONALS, Definition
from nunbit.measures.estimate import CODE, NAMES, Estimate, Formula
from nunbit.measures.inputs import BaselineForm
from nunbit.measures.interval import STUDENT_12, long_run
from nunbit.measures.likeness import Memory, memory
from nunbit.measures.spans import Spans, lengths, quantile_rows, rows_in, sum_rows
from nunbit.streams import Flags, Floats, MeasureBlock, Scope

BLOCK_S = 1.0
"""Steps that a session value is split into; how many of them hang together is estimated."""

MIN_BASELINE_S = 60.0
MIN_BASELINE_INDEPENDENT = 2
"""Fewer independent windows in the baseline say too little about its mean and spread for a z."""

MIN_LIKE_S = 5.0
"""Seconds of speech (or of silence) in the baseline that windows of the same kind need."""

EPS = 1e-9
_NONE = (np.nan, np.nan)
_LEVELS = {"median": 0.5, "p20": 0.2, "p80": 0.8}


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual for the person in one measure.

    Attributes:
        median: Of the windows inside the marked stretch, NaN where no window has a value.
        mean: Of these windows.
        sd: Of these windows, without the bias that their likeness brings.
        n_independent: Independent windows that they are worth.
        freedom: Degrees of freedom of ``sd``.
        whole: The measure on the marked stretch as one; what longer spans are held against.
    """

    median: float
    mean: float
    sd: float
    n_independent: float
    freedom: float
    whole: float


NO_BASELINE = Baseline(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Known:
    """A session value's interval.

    Attributes:
        low: NaN where there is none.
        high: Likewise.
        reason: '' or why there is none.
    """

    low: float
    high: float
    reason: str


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
class Summariser:
    """Turns estimates into blocks of the timeline.

    Attributes:
        spans: All spans; ``block`` and ``baseline`` ones do not reach the timeline.
        scopes: Reason for a scope without spans (its one row then covers the session), else ''.
        baseline_form: How values are normalised.
    """

    spans: Spans
    scopes: dict[Scope, str]
    baseline_form: BaselineForm

    @cached_property
    def block_edges(self) -> Floats:
        """(B, 2) seconds."""
        part = self.spans.parts["block"]
        return np.stack([self.spans.start_s[part], self.spans.end_s[part]], axis=1)

    @cached_property
    def block_spans(self) -> Spans:
        """The blocks alone."""
        return Spans(self.block_edges[:, 0], self.block_edges[:, 1], {})

    @cached_property
    def in_baseline(self) -> np.ndarray:
        """(W,) windows that lie in the marked stretch."""
        part, marked = self.spans.parts["window"], self.spans.parts["baseline"]
        starts, ends = self.spans.start_s[part], self.spans.end_s[part]
        inside = np.zeros(len(starts), bool)
        for a, b in zip(self.spans.start_s[marked], self.spans.end_s[marked], strict=True):
            inside |= (starts >= a - EPS) & (ends <= b + EPS)
        return inside

    def blocks(
        self,
        definition: Definition,
        estimate: Estimate,
        measure: str = "",
        *,
        compared: bool = True,
        split: tuple[Estimate, Estimate] | None = None,
    ) -> list[MeasureBlock]:
        """All rows of one measure: every scope, functionals and comparison with the baseline.

        Args:
            definition: Of the measure.
            estimate: On all spans.
            measure: Name where it differs from the definition's (``_speaking``).
            compared: Whether the marked stretch is this person's baseline.
            split: The same while speaking and while not; then windows are held against what is
                usual for as much speech as they have.
        """
        name = measure or definition.id
        value = estimate.value
        baseline = self.baseline(value) if compared else NO_BASELINE
        made = [self._rows(definition, name, scope, estimate, baseline) for scope in self.scopes]
        if definition.functionals and not measure:
            made += self._functionals(definition, name, value, estimate)
        if np.isfinite(baseline.mean):
            rows = made[: len(self.scopes)]
            windows, why = self._compared(value, baseline, split)
            made += self._normalised(definition, name, rows, windows, why)
        return made

    def baseline(self, value: Floats) -> Baseline:
        """What is usual in the marked stretch, if at least a minute of it is valid."""
        marked = self.spans.parts["baseline"]
        if marked.stop == marked.start:
            return NO_BASELINE
        window = self.spans.parts["window"]
        whole = float(value[marked][0])
        good = self.in_baseline & np.isfinite(value[window])
        if not good.any():
            long = float(self.spans.duration_s[marked][0]) >= MIN_BASELINE_S - EPS
            return replace(NO_BASELINE, whole=whole) if long else NO_BASELINE
        starts, ends = self.spans.start_s[window][good], self.spans.end_s[window][good]
        # Windows overlap: the time they cover counts, not the number of windows.
        more = np.maximum(ends[1:] - np.maximum(starts[1:], ends[:-1]), 0.0).sum()
        if ends[0] - starts[0] + more < MIN_BASELINE_S - EPS:
            return NO_BASELINE
        return self._usual(value[window], good, whole)

    def _usual(self, series: Floats, good: np.ndarray, whole: float) -> Baseline:
        """Mean and spread of the baseline's windows; their likeness is that of all windows."""
        usual, n = series[good], int(good.sum())
        mean = float(usual.mean())
        found = _memory_in_pieces(series, max(n, 4))
        independent, freedom = found.independent(n), found.freedom(n)
        shrunk = max(1.0 - 1.0 / max(independent, 1.0 + EPS), EPS)
        sd = float(np.sqrt(np.mean((usual - mean) ** 2) / shrunk))
        return Baseline(float(np.median(usual)), mean, sd, independent, freedom, whole)

    def _compared(
        self, value: Floats, baseline: Baseline, split: tuple[Estimate, Estimate] | None
    ) -> tuple[Floats, np.ndarray]:
        """(W,) windows against the baseline, like with like, and (W,) why not."""
        window = self.spans.parts["window"]
        series = value[window]
        why = np.full(len(series), "", dtype=object)
        if self.baseline_form == "z":
            if split is not None:
                series, unlike = self._apart_from_speech(series, split)
                good = self.in_baseline & np.isfinite(series)
                baseline = self._usual(series, good, np.nan) if good.any() else NO_BASELINE
                why[unlike] = "no_like_baseline"
            flat = not baseline.sd > 0
            why[why == ""] = "constant" if flat else "too_few_independent"
        return normalised(series, baseline, self.baseline_form), why

    def _apart_from_speech(
        self, series: Floats, split: tuple[Estimate, Estimate]
    ) -> tuple[Floats, np.ndarray]:
        """(W,) windows less what is usual for as much speech as they have, and (W,) unlike ones.

        Speech moves the mouth: without this a talkative stretch looks livelier than a quiet
        baseline although nothing else has changed.
        """
        window = self.spans.parts["window"]
        usual, share = [], []
        for part in split:
            n = part.n_valid[window].astype(np.float64)
            value = part.value[window]
            known = self.in_baseline & np.isfinite(value)
            seconds = n[known] / np.maximum(part.n_expected[window][known], 1)
            enough = known.any() and seconds.sum() >= MIN_LIKE_S
            usual.append(float(np.average(value[known], weights=n[known])) if enough else np.nan)
            share.append(n)
        total = share[0] + share[1]
        spoken = np.divide(share[0], total, out=np.zeros(len(total)), where=total > 0)
        expected = np.where(spoken > 0, spoken * usual[0], 0.0)
        expected = expected + np.where(spoken < 1, (1.0 - spoken) * usual[1], 0.0)
        if np.isnan(usual).all():  # no sound: nobody knows who speaks when
            return series, np.zeros(len(series), bool)
        return series - expected, np.isnan(expected) & np.isfinite(series)

    def _rows(
        self,
        definition: Definition,
        name: str,
        scope: Scope,
        estimate: Estimate,
        baseline: Baseline,
    ) -> MeasureBlock:
        part, empty = self.spans.parts[scope], self.scopes[scope]
        known = Known(*_NONE, "")
        if scope == "session" and not empty:
            known = self.interval(estimate, definition.unit)
        reason = estimate.reason[part].copy()
        shown = estimate.value[part]
        if empty:
            # What is missing altogether says so; else the scope has nothing to be measured on.
            absent = ("no_video", "no_audio", "no_transcript", "no_model", "no_label",
                      "unvalidated", "no_landmarks", "not_full_rate")  # fmt: skip
            keep = np.isin(reason, [CODE[r] for r in absent])
            reason = np.where(keep, reason, CODE[empty]).astype(np.int8)
            shown[:] = np.nan
        # A ratio of nothing: the rules should have caught it, and a value needs no excuse.
        reason = np.where(np.isnan(shown) & (reason == 0), CODE["too_few"], reason)
        return MeasureBlock(
            scope=scope,
            modality=definition.modality,
            measure=name,
            unit=definition.unit,
            grade=definition.grade,
            t_start=self.spans.start_s[part],
            t_end=self.spans.end_s[part],
            value=shown,
            n_expected=estimate.n_expected[part],
            n_valid=np.zeros_like(estimate.n_valid[part]) if empty else estimate.n_valid[part],
            confidence=estimate.confidence[part],
            mask_reason=NAMES[reason],
            ci_low=np.array([known.low]) if scope == "session" and not empty else None,
            ci_high=np.array([known.high]) if scope == "session" and not empty else None,
            ci_reason=known.reason,
            baseline=baseline.median if scope == "window" else baseline.whole,
            version=definition.version,
            experimental=definition.experimental,
        )

    def interval(self, estimate: Estimate, unit: str = "") -> Known:
        """95% interval of the session value, or why there is none."""
        session, block = self.spans.parts["session"], self.spans.parts["block"]
        value = float(estimate.value[session][0])
        if not np.isfinite(value):
            return Known(*_NONE, "")  # the value itself says why it is missing
        if estimate.sample is not None:
            return self._of_median(*estimate.sample)
        if estimate.formula in ("given", "sd"):  # SD of skewed values: 51 to 85% instead of 95%
            return Known(*_NONE, "not_a_mean")
        influence, total = _influence(
            estimate.formula, tuple(np.nan_to_num(part[block]) for part in estimate.parts)
        )
        found = long_run(influence, total != 0)
        if found.reason:
            return Known(*_NONE, found.reason)
        half = STUDENT_12 * found.error
        low, high = value - half, value + half
        if estimate.formula == "decibel":
            return Known(low, high, "")
        positive = (estimate.parts[0][block] >= 0).all()
        # What cannot be below 0 or above 1 is not: cutting there loses no truth.
        low = max(low, 0.0) if positive else low
        return Known(low, min(high, max(1.0, value)) if unit == "0–1" else high, "")

    def _of_median(self, times_s: Floats, values: Floats) -> Known:
        rows = rows_in(times_s, self.block_spans)
        return _of_quantile(values, 0.5, lambda below: sum_rows(below, rows), lengths(rows))

    def _functionals(
        self, definition: Definition, name: str, value: Floats, estimate: Estimate
    ) -> list[MeasureBlock]:
        """Mean, SD, median, P20, P80 and slope per minute of the window values."""
        part = self.spans.parts["window"]
        series = value[part]
        good = np.flatnonzero(np.isfinite(series))
        centres = (self.spans.start_s[part] + self.spans.end_s[part]) / 2.0
        found = dict.fromkeys(FUNCTIONALS, (np.nan, Known(*_NONE, "")))
        if len(good) >= 2:
            found = functionals_of(centres, series)
        reasons = NAMES[estimate.reason[part]]
        kinds, counts = np.unique(reasons[reasons != ""], return_counts=True)
        why = str(kinds[np.argmax(counts)]) if len(good) == 0 and len(kinds) else "too_few"
        return [
            self._single(definition, f"{name}.{kind}", numbers, (len(series), len(good)), why)
            for kind, numbers in found.items()
        ]

    def _single(
        self,
        definition: Definition,
        name: str,
        numbers: tuple[float, Known],
        counts: tuple[int, int],
        why: str,
    ) -> MeasureBlock:
        part = self.spans.parts["session"]
        value, known = numbers
        unit = f"{definition.unit}/min" if name.endswith(".slope") else definition.unit
        return MeasureBlock(
            scope="session",
            modality=definition.modality,
            measure=name,
            unit=unit,
            grade=definition.grade,
            t_start=self.spans.start_s[part],
            t_end=self.spans.end_s[part],
            value=np.array([value]),
            n_expected=np.array([counts[0]]),
            n_valid=np.array([counts[1]]),
            confidence=np.array([np.nan]),
            mask_reason=np.array(["" if np.isfinite(value) else why]),
            ci_low=np.array([known.low]),
            ci_high=np.array([known.high]),
            ci_reason=known.reason,
            version=definition.version,
            experimental=definition.experimental,
        )

    def _normalised(
        self,
        definition: Definition,
        name: str,
        rows: list[MeasureBlock],
        compared: Floats,
        why: np.ndarray,
    ) -> list[MeasureBlock]:
        """Windows against the baseline's windows; longer spans as the median of their windows.

        The spread of a whole session is larger than that of any 4 s of it, so a session's value
        must not be held against the values of windows.
        """
        suffix = "z" if self.baseline_form == "z" else "relative"
        part = self.spans.parts["window"]
        good = np.flatnonzero(np.isfinite(compared))
        centres = ((self.spans.start_s[part] + self.spans.end_s[part]) / 2.0)[good]
        within = rows_in(centres, self.spans)
        middle, counts = quantile_rows(compared[good], within, 0.5), lengths(within)
        made = []
        for row in rows:
            here = self.spans.parts[row.scope]
            own = row.scope == "window"
            value = compared if own else np.where(row.mask_reason == "", middle[here], np.nan)
            flat = np.isnan(value) & (row.mask_reason == "")
            kinds = why if own else np.full(len(value), _commonest(why, compared), dtype=object)
            made.append(
                MeasureBlock(
                    scope=row.scope,
                    modality=row.modality,
                    measure=f"{name}.{suffix}",
                    unit=suffix,
                    grade=definition.grade,
                    t_start=row.t_start,
                    t_end=row.t_end,
                    value=value,
                    n_expected=row.n_expected,
                    n_valid=row.n_valid if own else counts[here],
                    confidence=row.confidence,
                    mask_reason=np.where(flat, kinds, row.mask_reason).astype(np.str_),
                    version=definition.version,
                    experimental=definition.experimental,
                )
            )
        return made


def _memory_in_pieces(series: Floats, length: int) -> Memory:
    """Memory of the windows within pieces as long as the baseline.

    A change between pieces takes no part: it is what the baseline is there to show.
    """
    pieces = max(len(series) // length, 1)
    rows = series[: pieces * length].reshape(pieces, -1)
    there = np.isfinite(rows)
    rows, there = rows[there.sum(axis=1) > 1], there[there.sum(axis=1) > 1]
    if not len(rows):
        return Memory(1, 0.0, 1)
    mean = np.where(there, rows, 0.0).sum(axis=1, keepdims=True) / there.sum(axis=1, keepdims=True)
    centred = np.where(there, rows - mean, 0.0)
    return memory(centred, there) if centred.any() else Memory(1, 0.0, 1)


def _commonest(why: np.ndarray, compared: Floats) -> str:
    """Why most windows without a comparison have none."""
    reasons = why[np.isnan(compared) & (why != "")].astype(str)
    names, counts = np.unique(reasons, return_counts=True)
    return str(names[np.argmax(counts)]) if len(names) else "too_few"


def _influence(formula: Formula, parts: tuple[Floats, ...]) -> tuple[Floats, Floats]:
    """(B,) what each second adds to the error of the value, and (B,) what it rests on."""
    above, below = parts
    value = above.sum() / below.sum()
    scale = below.sum()
    if formula == "decibel":
        scale = scale * value * np.log(10.0) / 10.0
    return (above - value * below) / scale, below


def _of_quantile(
    values: Floats, quantile: float, total: Callable[[Floats], Floats], counts: NDArray[np.int64]
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
    share = float(below.mean())
    found = long_run(total(below) - share * counts, counts > 0)
    if reason := whole.reason or found.reason:
        return Known(*_NONE, reason)
    half = STUDENT_12 * found.error / max(float(counts.sum()), 1.0)
    edges = np.clip([quantile - half, quantile + half], 0.0, 1.0)
    low, high = np.quantile(values, edges)
    return Known(float(low), float(high), "")


def functionals_of(times_s: Floats, series: Floats) -> dict[str, tuple[float, Known]]:
    """Functionals of the window values, each with its interval.

    None of the SD: of skewed values 51 to 85% of the intervals held it (simulated), not 95%.
    """
    there = np.isfinite(series)
    x, minutes = series[there], times_s / 60.0
    n, mean = len(x), float(x.mean())
    u = np.where(there, series - mean, 0.0)
    t = np.where(there, minutes - minutes[there].mean(), 0.0)
    length = float(t @ t)
    slope = float(t @ u) / length if length > 0 else np.nan
    found = {
        "mean": (mean, _around(mean, u / n, there)),
        "sd": (float(x.std()), Known(*_NONE, "not_a_mean")),
        "slope": (slope, _around(slope, t * (u - slope * t) / (length or 1.0), there)),
    }
    steps = there.astype(np.int64)

    def spread(below: Floats) -> Floats:
        whole = np.zeros(len(series))
        whole[there] = below
        return whole

    for kind, q in _LEVELS.items():
        found[kind] = (float(np.quantile(x, q)), _of_quantile(x, q, spread, steps))
    return {kind: found[kind] for kind in FUNCTIONALS}


def _around(value: float, influence: Floats, there: Flags) -> Known:
    found = long_run(influence, there)
    if found.reason:
        return Known(*_NONE, found.reason)
    half = STUDENT_12 * found.error
    return Known(value - half, value + half, "")
