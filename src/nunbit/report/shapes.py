"""Numbers as people read them, and the geometry of the report's plots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

MISSING = "–"
Interval = Sequence[float] | None


def signed(number: str) -> str:
    """A formatted number with a real minus, and none before zero: -0.31 -> −0.31, -0.0 -> 0.0."""
    return number.replace("-", "−" if number.strip("-0.,%") else "")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent: 0.5628 -> 56.3%; a dash where there is none."""
    return MISSING if value is None else signed(f"{100 * value:.{digits}f}%")


def percent_interval(interval: Interval, digits: int = 1) -> str:
    """An interval of shares: 55.9–56.7%, within what a share can be.

    A t interval over few people can reach beyond 0 or 100%; nothing lies there.
    """
    if interval is None:
        return MISSING
    low, high = (min(max(end, 0.0), 1.0) for end in interval)
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}%"


def points(value: float | None) -> str:
    """A difference of shares in points with its sign: +1.2."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def points_interval(interval: Interval) -> str:
    """An interval of differences in points: [−0.4, +2.8]."""
    return MISSING if interval is None else f"[{points(interval[0])}, {points(interval[1])}]"


def p_value(p: float) -> str:
    """A p-value in a sentence."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def whole(value: float | None) -> str:
    """A count with thousands separated."""
    return MISSING if value is None else f"{int(value):,}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A plain number."""
    return MISSING if value is None else f"{value:.{digits}f}"


def decimal_interval(interval: Interval, digits: int = 3) -> str:
    """An interval of plain numbers."""
    if interval is None:
        return MISSING
    return f"{interval[0]:.{digits}f}–{interval[1]:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a dot plot.

    Attributes:
        label: What it is.
        value: Where the dot stands, or None.
        interval: Its 95% interval, or None.
        text: The value as people read it.
        interval_text: The interval as people read it.
        detail: Small print beside the label.
        tag: Short mark beside the label, for example "small".
        kind: ``plain``, ``strong`` (the headline), ``pale`` (too small) or ``other``.
    """

    label: str
    value: float | None
    interval: Interval
    text: str
    interval_text: str
    detail: str = ""
    tag: str = ""
    kind: str = "plain"


@dataclass(frozen=True, slots=True)
class Plot:
    """A dot plot: rows on one scale.

    Attributes:
        rows: Lines from top to bottom.
        low: Left end of the scale.
        high: Right end.
        ticks: Values with their texts.
        reference: A vertical line, or None.
    """

    rows: tuple[Row, ...]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...] = field(default=())
    reference: float | None = None

    def at(self, value: float) -> float:
        """Position of a value in per cent of the width, kept inside."""
        return min(100.0, max(0.0, 100.0 * (value - self.low) / (self.high - self.low)))


def share_row(
    label: str,
    value: float | None,
    interval: Interval,
    *,
    detail: str = "",
    tag: str = "",
    kind: str = "plain",
) -> Row:
    """A line for a share."""
    return Row(
        label,
        value,
        interval,
        percent(value),
        percent_interval(interval) if interval else "",
        detail,
        tag,
        kind,
    )


def share_plot(
    rows: Iterable[Row], *, reference: float | None = None, span: tuple[float, float] | None = None
) -> Plot:
    """Shares on a scale that fits them, with round ticks.

    Args:
        rows: Lines.
        reference: Vertical line.
        span: Fixed ends of the scale, or None to fit the rows.
    """
    rows = tuple(rows)
    low, high = span or _span(rows, reference, 0.0, 1.0)
    return Plot(rows, low, high, tuple((t, f"{100 * t:g}%") for t in _ticks(low, high)), reference)


def points_plot(rows: Iterable[Row]) -> Plot:
    """Differences in points around zero."""
    rows = tuple(rows)
    low, high = _span(rows, 0.0, -1.0, 1.0)
    ticks = tuple((t, f"{100 * t:+g}".replace("-", "−") if t else "0") for t in _ticks(low, high))
    return Plot(rows, low, high, ticks, 0.0)


def _span(
    rows: tuple[Row, ...], reference: float | None, lowest: float, highest: float
) -> tuple[float, float]:
    values = [v for row in rows for v in (row.value, *(row.interval or ())) if v is not None]
    values += [] if reference is None else [reference]
    if not values:
        return lowest, highest
    low, high = min(values), max(values)
    margin = max(0.1 * (high - low), 0.01)
    step = _step(high - low + 2 * margin)
    low, high = math.floor((low - margin) / step) * step, math.ceil((high + margin) / step) * step
    return max(lowest, round(low, 6)), min(highest, round(high, 6))


def _step(width: float) -> float:
    """A round step that gives four to eight ticks."""
    raw = width / 5.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw - 1e-12)


def _ticks(low: float, high: float) -> list[float]:
    step = _step(high - low)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 6) for i in range(count)]
