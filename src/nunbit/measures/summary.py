"""From values on spans to rows of the timeline: intervals, functionals, baseline.

The bootstrap draws blocks of 10 s with replacement, because neighbouring windows overlap and
neighbouring moments are alike. A baseline is a stretch the user marked as neutral; without one
nothing is normalised, and never to a population. S spans, B blocks, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nunbit.measures.definitions import FUNCTIONALS, Definition
from nunbit.measures.estimate import CODE, NAMES, Estimate, combine
from nunbit.measures.inputs import BaselineForm
from nunbit.measures.spans import Rows, Spans, lengths, quantile_rows, rows_in, sum_rows
from nunbit.streams import Floats, MeasureBlock, Scope

BLOCK_S = 10.0
RESAMPLES = 1000
MIN_BLOCKS = 6
MIN_BASELINE_S = 60.0
MAD_TO_SD = 1.4826
EPS = 1e-9
_BINS = 200
_NONE = (np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual for the person in one measure.

    Attributes:
        median: Of the windows inside the marked stretch, NaN where no window has a value.
        mad: Median absolute deviation of these windows.
        mean: Of these windows.
        whole: The measure on the marked stretch as one; what longer spans are held against.
    """

    median: float
    mad: float
    mean: float
    whole: float


NO_BASELINE = Baseline(np.nan, np.nan, np.nan, np.nan)


def normalised(value: Floats, baseline: Baseline, form: BaselineForm) -> Floats:
    """A value against the person's own baseline.

    ``z`` = (x - median) / (1.4826 MAD + eps), NaN where the baseline does not vary at all;
    ``openwillis`` = (x + 1) / (mean + 1) - 1.
    """
    if form == "openwillis":
        return np.asarray((value + 1.0) / (baseline.mean + 1.0) - 1.0)
    if not baseline.mad > 0:
        return np.full(len(value), np.nan)
    return np.asarray((value - baseline.median) / (MAD_TO_SD * baseline.mad + EPS))


@dataclass(frozen=True, eq=False)
class Summariser:
    """Turns estimates into blocks of the timeline.

    Attributes:
        spans: All spans; ``block`` and ``baseline`` ones do not reach the timeline.
        scopes: Reason for a scope without spans (its one row then covers the session), else ''.
        baseline_form: How values are normalised.
        seed: Of the bootstrap.
    """

    spans: Spans
    scopes: dict[Scope, str]
    baseline_form: BaselineForm
    seed: int

    @cached_property
    def draws(self) -> Floats:
        """(R, B) how often each block was drawn."""
        rng = np.random.default_rng(self.seed)
        n = len(self.block_edges)
        return rng.multinomial(n, np.full(n, 1.0 / n), RESAMPLES).astype(np.float64)

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
    ) -> list[MeasureBlock]:
        """All rows of one measure: every scope, functionals and comparison with the baseline.

        Args:
            definition: Of the measure.
            estimate: On all spans.
            measure: Name where it differs from the definition's (``_speaking``).
            compared: Whether the marked stretch is this person's baseline.
        """
        name = measure or definition.id
        value = estimate.value
        baseline = self.baseline(value) if compared else NO_BASELINE
        made = [self._rows(definition, name, scope, estimate, baseline) for scope in self.scopes]
        if definition.functionals and not measure:
            made += self._functionals(definition, name, value, estimate)
        if np.isfinite(baseline.mean):
            made += self._normalised(definition, name, made[: len(self.scopes)], baseline)
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
            return Baseline(np.nan, np.nan, np.nan, whole) if long else NO_BASELINE
        starts, ends = self.spans.start_s[window][good], self.spans.end_s[window][good]
        # Windows overlap: the time they cover counts, not the number of windows.
        more = np.maximum(ends[1:] - np.maximum(starts[1:], ends[:-1]), 0.0).sum()
        if ends[0] - starts[0] + more < MIN_BASELINE_S - EPS:
            return NO_BASELINE
        usual = value[window][good]
        middle = float(np.median(usual))
        mad = float(np.median(np.abs(usual - middle)))
        return Baseline(middle, mad, float(usual.mean()), whole)

    def _rows(
        self,
        definition: Definition,
        name: str,
        scope: Scope,
        estimate: Estimate,
        baseline: Baseline,
    ) -> MeasureBlock:
        part, empty = self.spans.parts[scope], self.scopes[scope]
        low = high = None
        if scope == "session" and not empty:
            low, high = (np.array([edge]) for edge in self.interval(estimate))
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
            ci_low=low,
            ci_high=high,
            baseline=baseline.median if scope == "window" else baseline.whole,
            version=definition.version,
            experimental=definition.experimental,
        )

    def interval(self, estimate: Estimate) -> tuple[float, float]:
        """95% interval of the session value by resampling blocks; NaN where there is none."""
        session, block = self.spans.parts["session"], self.spans.parts["block"]
        if not np.isfinite(estimate.value[session]).all() or len(self.block_edges) < MIN_BLOCKS:
            return _NONE
        if estimate.sample is not None:
            return self._median_interval(*estimate.sample)
        if estimate.formula == "given":
            return _NONE
        parts = tuple(self.draws @ part[block] for part in estimate.parts)
        return _percentiles(combine(estimate.formula, parts))

    def _median_interval(self, times_s: Floats, values: Floats) -> tuple[float, float]:
        if len(values) < MIN_BLOCKS:
            return _NONE
        counts, levels = self._bins(values, rows_in(times_s, self.block_spans))
        grown = np.cumsum(self.draws @ counts, axis=1)
        return _percentiles(_quantile_of_bins(grown, levels, 0.5))

    @staticmethod
    def _bins(values: Floats, rows: Rows) -> tuple[Floats, Floats]:
        """(B, bins) samples of each block in bins of about equal mass, and the bins' levels."""
        order = np.argsort(values, kind="stable")
        n_bins = min(_BINS, len(values))
        bin_of = np.empty(len(values), np.int64)
        bin_of[order] = np.arange(len(values)) * n_bins // len(values)
        levels = np.bincount(bin_of, weights=values) / np.bincount(bin_of)
        owner = np.repeat(np.arange(len(rows)), lengths(rows))
        inside = np.concatenate([np.arange(a, b) for a, b in rows]) if len(rows) else owner
        flat = np.bincount(owner * n_bins + bin_of[inside], minlength=len(rows) * n_bins)
        return flat.reshape(len(rows), n_bins).astype(np.float64), levels

    def _functionals(
        self, definition: Definition, name: str, value: Floats, estimate: Estimate
    ) -> list[MeasureBlock]:
        """Mean, SD, median, P20, P80 and slope per minute of the window values."""
        part = self.spans.parts["window"]
        series = value[part]
        good = np.flatnonzero(np.isfinite(series))
        centres = (self.spans.start_s[part] + self.spans.end_s[part]) / 2.0
        found = dict.fromkeys(FUNCTIONALS, (np.nan, _NONE))
        if len(good) >= 2:
            found = self._of_series(centres, series, good)
        reasons = NAMES[estimate.reason[part]]
        kinds, counts = np.unique(reasons[reasons != ""], return_counts=True)
        why = str(kinds[np.argmax(counts)]) if len(good) == 0 and len(kinds) else "too_few"
        return [
            self._single(definition, f"{name}.{kind}", numbers, (len(series), len(good)), why)
            for kind, numbers in found.items()
        ]

    def _of_series(
        self, times_s: Floats, series: Floats, good: Rows
    ) -> dict[str, tuple[float, tuple[float, float]]]:
        x, minutes = series[good], times_s[good] / 60.0
        mean, middle = float(x.mean()), float(minutes.mean())
        u, t = x - mean, minutes - middle
        sums = np.stack([np.ones(len(x)), u, u * u, t, t * t, t * u], axis=1)
        enough = len(self.block_edges) >= MIN_BLOCKS
        rows = rows_in(times_s[good], self.block_spans)
        drawn = self.draws @ sum_rows(sums, rows) if enough else np.empty((0, 6))
        result = {}
        for kind, of in (("mean", _mean_of), ("sd", _sd_of), ("slope", _slope_of)):
            shift = mean if kind == "mean" else 0.0
            value = float(of(sums.sum(axis=0)[None])[0]) + shift
            result[kind] = (value, _percentiles(of(drawn) + shift))
        levels = np.empty(1)
        if enough:
            counts, levels = self._bins(x, rows)
            drawn = np.cumsum(self.draws @ counts, axis=1)
        for kind, q in (("median", 0.5), ("p20", 0.2), ("p80", 0.8)):
            edges = _percentiles(_quantile_of_bins(drawn, levels, q)) if enough else _NONE
            result[kind] = (float(np.quantile(x, q)), edges)
        return {kind: result[kind] for kind in FUNCTIONALS}

    def _single(
        self,
        definition: Definition,
        name: str,
        numbers: tuple[float, tuple[float, float]],
        counts: tuple[int, int],
        why: str,
    ) -> MeasureBlock:
        part = self.spans.parts["session"]
        value, (low, high) = numbers
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
            ci_low=np.array([low]),
            ci_high=np.array([high]),
            version=definition.version,
            experimental=definition.experimental,
        )

    def _normalised(
        self,
        definition: Definition,
        name: str,
        rows: list[MeasureBlock],
        baseline: Baseline,
    ) -> list[MeasureBlock]:
        """Windows against the baseline's windows; longer spans as the median of their windows.

        The spread of a whole session is larger than that of any 4 s of it, so a session's value
        must not be held against the values of windows.
        """
        suffix = "z" if self.baseline_form == "z" else "relative"
        part = self.spans.parts["window"]
        windows = next(row for row in rows if row.scope == "window")
        compared = normalised(windows.value, baseline, self.baseline_form)
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
                    mask_reason=np.where(flat, "too_few", row.mask_reason),
                    version=definition.version,
                    experimental=definition.experimental,
                )
            )
        return made


def _mean_of(sums: Floats) -> Floats:
    return combine("ratio", (sums[:, 1], sums[:, 0]))


def _sd_of(sums: Floats) -> Floats:
    return combine("sd", (sums[:, 0], sums[:, 1], sums[:, 2]))


def _slope_of(sums: Floats) -> Floats:
    """Least-squares slope from n, sum u, sum u^2, sum t, sum t^2, sum t u."""
    n, u, _, t, tt, tu = sums.T
    return combine("ratio", (n * tu - t * u, n * tt - t * t))


def _quantile_of_bins(grown: Floats, levels: Floats, quantile: float) -> Floats:
    """(R,) level of the bin in which each row's quantile lies; NaN for an empty row.

    Args:
        grown: (R, bins) samples in a bin and those before it.
        levels: (bins,) value that stands for each bin.
        quantile: 0 to 1.
    """
    total = grown[:, -1]
    place = (grown < (quantile * total)[:, None]).sum(axis=1)
    return np.where(total > 0, levels[np.minimum(place, len(levels) - 1)], np.nan)


def _percentiles(draws: Floats) -> tuple[float, float]:
    known = draws[np.isfinite(draws)]
    if not len(known) or 2 * len(known) < len(draws):
        return _NONE
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
