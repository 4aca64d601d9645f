"""A still figure of a timeline for papers: ``timeline.png`` and ``timeline.svg``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.errors import Lang
from nunbit.report.figures import figure_style, load_matplotlib, save_figure
from nunbit.report.timeline_colours import MODALITIES as MODALITY_COLOURS
from nunbit.report.timeline_colours import class_colours, stacking_order
from nunbit.report.timeline_data import Series, read_recording
from nunbit.report.timeline_pack import bins, runs
from nunbit.report.timeline_signals import speech_spans
from nunbit.report.timeline_view import MODALITIES, TimelineView
from nunbit.streams import Flags, Floats
from nunbit.timebase import clock

_INK, _SOFT, _LINE, _BLUE, _ORANGE = "#1b2530", "#5a6775", "#dde3e9", "#1f5f9e", "#b55a00"
_POINTS = 4000
_WIDTH = 9.0

Painter = Callable[[Any, TimelineView], None]


def draw_timeline(folder: Path, *, lang: Lang) -> tuple[Path, Path]:
    """Draw the tracks of a recording over its whole length.

    Args:
        folder: ``OUT/<stem>/``.
        lang: Language of the labels.

    Returns:
        Paths of the PNG and the SVG file.

    Raises:
        InputError: There is no timeline here, or it is damaged.
        MissingExtra: Matplotlib is not installed.
    """
    mpl = load_matplotlib()

    view = TimelineView(read_recording(folder), lang)
    rows = _rows(view)
    height = 0.75 + sum(size for _, _, size in rows)
    stem = folder / "timeline"
    with mpl.rc_context(figure_style()):
        save_figure(stem, view, lambda figure, v: _draw(figure, v, rows), (_WIDTH, height))
    return stem.with_suffix(".png"), stem.with_suffix(".svg")


def _rows(view: TimelineView) -> list[tuple[str, Painter, float]]:
    """Title, painter and height (inches) of every track there is."""
    rows: list[tuple[str, Painter, float]] = []
    rows += [
        (view.t(f"modality.{modality}"), _ribbon(modality), 0.62)
        for modality in MODALITIES
        if view.probabilities(modality)
    ]
    if view.valences():
        rows.append((view.t("track.valence"), _valence, 0.7))
    if view.d.get("episodes"):
        rows.append((view.t("track.episodes"), _episodes, 0.42))
    if view.r.voice is not None:
        rows.append((view.t("track.speech"), _speech, 0.3))
        if np.isfinite(view.r.voice.f0_hz).any():
            rows.append((f"{view.t('track.pitch')} (Hz)", _pitch, 0.62))
        if np.isfinite(view.r.voice.level_dbfs).any():
            rows.append((f"{view.t('track.level')} (dBFS)", _level, 0.55))
    return rows


def _draw(figure: Any, view: TimelineView, rows: list[tuple[str, Painter, float]]) -> None:
    grid = figure.subplots(
        max(1, len(rows)), 1, sharex=True, squeeze=False,
        gridspec_kw={"height_ratios": [size for _, _, size in rows] or [1.0]},
    )[:, 0]  # fmt: skip
    for axes, (title, paint, _) in zip(grid, rows, strict=False):
        paint(axes, view)
        axes.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8.5)
        axes.tick_params(length=2, labelsize=7, colors=_SOFT)
        axes.margins(x=0)
    last = grid[-1]
    last.set_xlim(0, view.r.duration_s)
    last.xaxis.set_major_locator(_time_ticks(view.r.duration_s))
    last.xaxis.set_major_formatter(lambda t, _: clock(t))
    last.set_xlabel(view.t("figure.time"), fontsize=8)
    handles = _legend(view)
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=8, fontsize=8,
                      frameon=False, handlelength=1.0, columnspacing=1.2)  # fmt: skip


def _time_ticks(duration_s: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
    step = next((s for s in steps if duration_s / s <= 12), 7200)
    return MultipleLocator(step)


def _legend(view: TimelineView) -> list[Any]:
    from matplotlib.patches import Patch

    shown = [m for m in MODALITIES if view.probabilities(m)]
    if not shown:
        return []
    colours = class_colours(view.r.label_set)
    order = stacking_order(view.r.label_set, tuple(view.probabilities(shown[0])))
    handles = [Patch(color=colours[c][0], label=view.name(c)) for c in reversed(order)]
    gap = Patch(facecolor="white", edgecolor=_SOFT, hatch="////", linewidth=0.4,
                label=view.t("figure.missing"))  # fmt: skip
    return [*handles, gap]


def _centres(view: TimelineView) -> Floats:
    return (view.r.starts + view.r.ends) / 2


def _reach(view: TimelineView, first: int, stop: int) -> tuple[float, float]:
    """What windows first .. stop-1 stand for; the outer ones reach the ends of the recording."""
    x, half = _centres(view), view.r.hop_s / 2
    left = 0.0 if first == 0 else float(x[first] - half)
    right = view.r.duration_s if stop == len(x) else float(x[stop - 1] + half)
    return left, right


def _hatch(axes: Any, view: TimelineView, there: Flags) -> None:
    for first, stop in runs(~there):
        axes.axvspan(*_reach(view, first, stop), facecolor="white", edgecolor="#9aa6b2",
                     hatch="////", linewidth=0.0, zorder=0)  # fmt: skip


def _stretched(view: TimelineView, values: Floats, first: int, stop: int) -> tuple[Floats, Floats]:
    left, right = _reach(view, first, stop)
    part = values[..., first:stop]
    x = np.concatenate([[left], _centres(view)[first:stop], [right]])
    return x, np.concatenate([part[..., :1], part, part[..., -1:]], axis=-1)


def _ribbon(modality: str) -> Painter:
    def paint(axes: Any, view: TimelineView) -> None:
        columns = view.probabilities(modality)
        order = stacking_order(view.r.label_set, tuple(columns))
        colours = [class_colours(view.r.label_set)[c][0] for c in order]
        values = np.stack([columns[c].value for c in order])
        there = np.asarray(np.isfinite(values).all(axis=0))
        _hatch(axes, view, there)
        for first, stop in runs(there):
            x, y = _stretched(view, values, first, stop)
            axes.stackplot(x, y, colors=colours, linewidth=0)
        axes.set(ylim=(0, 1), yticks=(0, 1))

    return paint


def _line(axes: Any, view: TimelineView, series: Series, colour: str) -> None:
    banded = np.isfinite(series.low) & np.isfinite(series.high)
    for first, stop in runs(series.there):
        x, y = _stretched(view, series.value, first, stop)
        axes.plot(x, y, color=colour, linewidth=1.0)
        if banded[first:stop].all():
            _, low = _stretched(view, series.low, first, stop)
            _, high = _stretched(view, series.high, first, stop)
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def _valence(axes: Any, view: TimelineView) -> None:
    valences = view.valences()
    there = np.asarray(np.stack([s.there for s in valences.values()]).any(axis=0))
    _hatch(axes, view, there)
    axes.axhline(0, color=_LINE, linewidth=0.7)
    for modality, series in valences.items():
        _line(axes, view, series, MODALITY_COLOURS[modality][0])
    lines = [f"{view.t(f'modality.{m}')}" for m in valences]
    for i, (name, modality) in enumerate(zip(lines, valences, strict=True)):
        axes.text(1.005, 0.9 - 0.26 * i, name, transform=axes.transAxes, fontsize=7,
                  color=MODALITY_COLOURS[modality][0], va="center")  # fmt: skip
    axes.set(ylim=(-1, 1), yticks=(-1, 0, 1))


def _episodes(axes: Any, view: TimelineView) -> None:
    kinds = list(dict.fromkeys(e["kind"] for e in view.d["episodes"]))
    colours = {"joy": "#e9a820", "depgroup": "#2a63a8", "incongruence": _ORANGE,
               "low_agreement": "#7d3c8c"}  # fmt: skip
    for e in view.d["episodes"]:
        axes.broken_barh([(e["start"], e["end"] - e["start"])],
                         (kinds.index(e["kind"]) - 0.4, 0.8),
                         color=colours.get(e["kind"], _BLUE), linewidth=0)  # fmt: skip
    axes.set(ylim=(len(kinds) - 0.5, -0.5))
    axes.set_yticks(range(len(kinds)), [view.kind(k) for k in kinds])


def _speech(axes: Any, view: TimelineView) -> None:
    speech, pauses = speech_spans(view)
    axes.broken_barh([(a, b - a) for a, b in speech], (0.2, 0.6), color=_BLUE, linewidth=0)
    axes.broken_barh([(a, b - a) for a, b in pauses], (0.42, 0.16), color=_ORANGE, linewidth=0)
    axes.set(ylim=(0, 1), yticks=())


def _curve(axes: Any, view: TimelineView, values: Floats) -> None:
    voice = view.r.voice
    assert voice is not None
    size = max(1, -(-len(values) // _POINTS))
    low, median, high = bins(values, size)
    x = voice.start_s + (np.arange(len(median)) + 0.5) * size * voice.hop_s
    if size > 1:
        axes.fill_between(x, low, high, color=_BLUE, alpha=0.25, linewidth=0)
    axes.plot(x, median, color=_BLUE, linewidth=0.8)
    for first, stop in runs(~voice.present):
        axes.axvspan(voice.start_s + first * voice.hop_s, voice.start_s + stop * voice.hop_s,
                     facecolor="white", edgecolor="#9aa6b2", hatch="////", linewidth=0)  # fmt: skip


def _pitch(axes: Any, view: TimelineView) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter

    voice = view.r.voice
    assert voice is not None
    _curve(axes, view, voice.f0_hz)
    low, high = np.nanpercentile(voice.f0_hz, (0.5, 99.5))
    axes.set_yscale("log")
    axes.set_ylim(low / 1.12, high * 1.12)
    ticks = [f for f in (50, 75, 100, 150, 200, 300, 400) if low / 1.12 < f < high * 1.12]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(lambda f, _: f"{f:g}")
    axes.minorticks_off()


def _level(axes: Any, view: TimelineView) -> None:
    voice = view.r.voice
    assert voice is not None
    _curve(axes, view, voice.level_dbfs)
    axes.set_ylim(max(-90.0, float(np.nanpercentile(voice.level_dbfs, 1)) - 5), 0)
