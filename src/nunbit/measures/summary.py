"""Turn values on spans into rows of the timeline: intervals, functionals, baseline.

Every session value is a sum over seconds, or close to one; how well that sum is known is read from
the seconds themselves (:mod:`nunbit.statistics.series`), because neighbouring moments are alike and
nobody knows beforehand for how long. S spans, B seconds, W windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import Spans, lengths, quantile_rows, rows_in, sum_rows
from nunbit.core.streams import Floats, Grade, MeasureBlock, Modality, Scope
from nunbit.measures.definitions import Definition
from nunbit.measures.estimate import (
    CODE,
    NAMES,
    NO_BASELINE,
    Baseline,
    BaselineForm,
    Codes,
    Comparison,
    Estimate,
    Formula,
)
from nunbit.statistics.series import (
    FUNCTIONALS,
    NOT_A_MEAN,
    Known,
    around,
    around_quantile,
    functionals_of,
)

BLOCK_S = 1.0
"""Steps that a session value is split into; how many of them hang together is estimated."""

_ABSENT = [
    CODE[reason]
    for reason in ("no_video", "no_audio", "no_transcript", "no_model", "no_label", "unvalidated",
                   "no_landmarks", "not_full_rate")
]  # fmt: skip
"""What is missing from a recording altogether: such a reason is said in every scope, also in one
without spans; else that scope has nothing to be measured on."""

NO_INTERVAL = Known(np.nan, np.nan, "")


class _Interval(TypedDict):
    ci_low: Floats
    ci_high: Floats
    ci_reason: str


@dataclass(frozen=True, slots=True)
class Named:
    """What rows are called: fields of :class:`nunbit.core.streams.MeasureBlock` of these names."""

    measure: str
    modality: Modality
    unit: str
    grade: Grade | None = None
    version: str = "1"
    experimental: bool = False


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
    def comparison(self) -> Comparison:
        """With what is usual for the person."""
        return Comparison(self.spans, self.baseline_form)

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
            split: The same while speaking and while not; windows are then compared with what is
                usual for as much speech as they have.
        """
        named = Named(
            measure or definition.id,
            definition.modality,
            definition.unit,
            definition.grade,
            definition.version,
            definition.experimental,
        )
        value = estimate.value
        baseline = self.comparison.baseline(value) if compared else NO_BASELINE
        rows = {scope: self._rows(named, scope, estimate, baseline) for scope in self.scopes}
        made = list(rows.values())
        if definition.functionals and not measure:
            made += self._functionals(rows["session"], value, estimate)
        if np.isfinite(baseline.mean):
            windows, why = self.comparison.compared(value, baseline, split)
            made += self._normalised(made[: len(rows)], windows, why)
        return made

    def context(
        self, named: Named, estimate: Estimate, *, marked: bool = False
    ) -> Iterator[MeasureBlock]:
        """Rows of every scope for what is context and no measure of its own.

        Args:
            named: What they are called.
            estimate: On all spans.
            marked: Whether values are shown although they have a reason.
        """
        value = estimate.parts[0] if marked else estimate.value
        for scope, empty in self.scopes.items():
            codes = estimate.reason[self.spans.parts[scope]]
            codes = np.where((codes == 0) & bool(empty), CODE[empty], codes)
            yield self._block(named, scope, estimate, value, codes)

    def _rows(
        self, named: Named, scope: Scope, estimate: Estimate, baseline: Baseline
    ) -> MeasureBlock:
        """Rows of one scope of a measure, with the interval of the session."""
        codes, empty = estimate.reason[self.spans.parts[scope]], self.scopes[scope]
        if empty:
            codes = np.where(np.isin(codes, _ABSENT), codes, CODE[empty])
        block = self._block(named, scope, estimate, estimate.value, codes)
        block = replace(block, baseline=baseline.median if scope == "window" else baseline.whole)
        if scope != "session" or empty:
            return block
        return replace(block, **_interval_of(self.interval(estimate, named.unit)))

    def _block(
        self, named: Named, scope: Scope, estimate: Estimate, value: Floats, codes: Codes
    ) -> MeasureBlock:
        part, empty = self.spans.parts[scope], self.scopes[scope]
        shown = np.full(len(codes), np.nan) if empty else value[part].copy()
        # A ratio of nothing: the rules should have caught it, and a value needs no excuse.
        codes = np.where(np.isnan(shown) & (codes == 0), CODE["too_few"], codes)
        n_valid = estimate.n_valid[part]
        return MeasureBlock(
            scope=scope,
            t_start=self.spans.start_s[part],
            t_end=self.spans.end_s[part],
            value=shown,
            n_expected=estimate.n_expected[part],
            n_valid=np.zeros_like(n_valid) if empty else n_valid,
            confidence=estimate.confidence[part],
            mask_reason=NAMES[codes],
            **asdict(named),
        )

    def interval(self, estimate: Estimate, unit: str = "") -> Known:
        """95% interval of the session value, or why there is none."""
        session, block = self.spans.parts["session"], self.spans.of("block")
        value = float(estimate.value[session][0])
        if not np.isfinite(value):
            return NO_INTERVAL  # the value itself says why it is missing
        if estimate.sample is not None:
            rows = rows_in(estimate.sample[0], block)
            return around_quantile(
                estimate.sample[1], 0.5, lambda below: sum_rows(below, rows), lengths(rows)
            )
        if estimate.formula in ("given", "sd"):
            return NOT_A_MEAN
        parts = [part[self.spans.parts["block"]] for part in estimate.parts]
        influence, total = _influence(estimate.formula, *map(np.nan_to_num, parts))
        known = around(value, influence, total != 0)
        if known.reason or estimate.formula == "decibel":
            return known
        # What cannot be below 0 or above 1 is not: cutting there loses no truth.
        low = max(known.low, 0.0) if (parts[0] >= 0).all() else known.low
        return Known(low, min(known.high, max(1.0, value)) if unit == "0–1" else known.high, "")

    def _functionals(
        self, session: MeasureBlock, value: Floats, estimate: Estimate
    ) -> list[MeasureBlock]:
        """Mean, SD, median, P20, P80 and slope per minute of the window values."""
        part = self.spans.parts["window"]
        series = value[part]
        n_good = int(np.isfinite(series).sum())
        found = (
            functionals_of(self.spans.of("window").centre_s, series)
            if n_good >= 2
            else dict.fromkeys(FUNCTIONALS, (np.nan, NO_INTERVAL))
        )
        why = "too_few" if n_good else commonest(NAMES[estimate.reason[part]])
        return [
            replace(
                session,
                measure=f"{session.measure}.{kind}",
                unit=f"{session.unit}/min" if kind == "slope" else session.unit,
                value=np.array([number]),
                n_expected=np.array([len(series)]),
                n_valid=np.array([n_good]),
                confidence=np.array([np.nan]),
                mask_reason=np.array(["" if np.isfinite(number) else why]),
                baseline=np.nan,
                **_interval_of(known),
            )
            for kind, (number, known) in found.items()
        ]

    def _normalised(
        self, rows: list[MeasureBlock], compared: Floats, why: NDArray[np.str_]
    ) -> Iterator[MeasureBlock]:
        """Windows against the baseline's windows; longer spans as the median of their windows.

        The spread of a whole session is larger than that of any 4 s of it, so a session's value
        must not be held against the values of windows.
        """
        suffix = "z" if self.baseline_form == "z" else "relative"
        good = np.flatnonzero(np.isfinite(compared))
        within = rows_in(self.spans.of("window").centre_s[good], self.spans)
        middle, counts = quantile_rows(compared[good], within, 0.5), lengths(within)
        usual = commonest(why[np.isnan(compared)])
        for row in rows:
            here, own = self.spans.parts[row.scope], row.scope == "window"
            valid = row.mask_reason == ""
            value = compared if own else np.where(valid, middle[here], np.nan)
            yield replace(
                row,
                measure=f"{row.measure}.{suffix}",
                unit=suffix,
                value=value,
                n_valid=row.n_valid if own else counts[here],
                mask_reason=np.where(
                    np.isnan(value) & valid, why if own else usual, row.mask_reason
                ),
                baseline=np.nan,
                ci_low=None,
                ci_high=None,
                ci_reason="",
            )


def commonest(reasons: NDArray[np.str_]) -> str:
    """The most frequent reason, ``too_few`` where there is none."""
    names, counts = np.unique(reasons[reasons != ""], return_counts=True)
    return str(names[np.argmax(counts)]) if len(names) else "too_few"


def _interval_of(known: Known) -> _Interval:
    return {
        "ci_low": np.array([known.low]),
        "ci_high": np.array([known.high]),
        "ci_reason": known.reason,
    }


def _influence(formula: Formula, above: Floats, below: Floats) -> tuple[Floats, Floats]:
    """(B,) what each second adds to the error of the value, and (B,) what it rests on."""
    scale = below.sum()
    value = above.sum() / scale
    if formula == "decibel":
        scale = scale * value * np.log(10.0) / 10.0
    return (above - value * below) / scale, below
