"""Figures for papers: of an evaluation beside its report, and of a timeline.

All are drawn by matplotlib, which the extra ``figures`` installs, in a font that has Hangul.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nunbit.core.messages import Lang, MissingExtra, Text
from nunbit.core.spans import runs
from nunbit.core.streams import Flags, Floats
from nunbit.core.timebase import clock
from nunbit.pictures.crops import FAMILY, font_path
from nunbit.report.shapes import ConfusionTexts, Document, draw_confusion
from nunbit.report.timeline_data import Series, Voice, read_recording
from nunbit.report.timeline_meaning import MODALITY_COLOURS, class_colours, stacking_order
from nunbit.report.timeline_signals import bins, speech_spans
from nunbit.report.timeline_view import SOURCES, TimelineView
from nunbit.report.view import View
from nunbit.runtime.files import atomic_path
from nunbit.runtime.progress import say

BLUE, ORANGE, GREY = "#1f5f9e", "#b55a00", "#5a6775"
PALE = "#dde3e9"
_DASHED = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 3))}
HATCHED = {"facecolor": "white", "edgecolor": "#9aa6b2", "hatch": "////", "linewidth": 0.0}
_EPISODES = {"joy": "#e9a820", "depgroup": "#2a63a8", "incongruence": ORANGE,
             "low_agreement": "#7d3c8c"}  # fmt: skip
_DPI = 200
_POINTS = 4000
_WIDTH = 9.0
TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds

Painter = Callable[[Any, TimelineView], None]


def write_figures(folder: Path, view: View) -> None:
    """Write ``confusion`` and, in ``figures/``, the calibration charts; each as PNG and SVG.

    Without matplotlib only ``confusion`` is written, and one line says so.
    """
    titles = {n: view.t(f"confusion.{n}") for n in ("counts", "shares", "prediction", "truth")}
    classes = tuple(view.name(label) for label in view.d["labels"])
    draw_confusion(
        folder / "confusion", view.d["confusion"], ConfusionTexts(**titles, classes=classes)
    )
    try:
        load_matplotlib()
    except MissingExtra as exc:
        say(exc.text)
        return
    rows = sum(len(s["groups"]) + 1 for s in view.d["subgroups"].values())
    size = (4.2, 3.8)
    save_figure(folder / "figures" / "reliability", view, _reliability, size)
    save_figure(folder / "figures" / "risk_coverage", view, _risk_coverage, size)
    if rows:
        save_figure(folder / "figures" / "subgroups", view, _subgroups, (5.6, 0.6 + 0.24 * rows))


def load_matplotlib() -> ModuleType:
    """Matplotlib.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import matplotlib
    except ImportError as exc:
        line = "pip install 'nunbit[figures]'"
        raise MissingExtra(
            Text(
                f"charts for papers are not drawn, because matplotlib is not installed: {line}",
                f"matplotlib이 없어 논문용 그림을 그리지 않습니다: {line}",
            )
        ) from exc
    return matplotlib


def figure_style() -> dict[str, Any]:
    """Settings of matplotlib with the font that has Hangul."""
    from matplotlib import font_manager

    font_manager.fontManager.addfont(str(font_path()))
    return {
        "font.family": FAMILY,
        "font.size": 9.0,
        "axes.unicode_minus": False,  # the font has no U+2212
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "path",  # readable without the font
        "svg.hashsalt": "nunbit",
    }


def new_figure(
    view: Any,
    draw: Callable[[Any, Any], None],
    size: tuple[float, float],
    style: Callable[[], dict[str, Any]] | None = None,
) -> Any:
    """A matplotlib figure of ``size`` inches with ``view`` drawn on it, in our style for good."""
    made = style or figure_style
    mpl = load_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class Styled(Figure):
        """Whoever saves or shows it: the font and its minus are looked up while drawing."""

        def draw(self, renderer: Any) -> None:
            with mpl.rc_context(made()):
                super().draw(renderer)

    with mpl.rc_context(made()):
        figure = Styled(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, view)
    return figure


def write_figure(stem: Path, figure: Any) -> None:
    """Write a figure as ``stem`` .png and .svg."""
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        with atomic_path(stem.with_name(f"{stem.name}.{suffix}")) as partial:
            figure.savefig(partial, format=suffix, dpi=_DPI, metadata=metadata)


def save_figure(
    stem: Path, view: Any, draw: Callable[[Any, Any], None], size: tuple[float, float]
) -> None:
    """Draw ``view`` on a figure of ``size`` inches and write it as ``stem`` .png and .svg."""
    write_figure(stem, new_figure(view, draw, size))


def figure_beside(
    stem: Path, view: Any, draw: Callable[[Any, Any], None], size: tuple[float, float]
) -> None:
    """Save a figure beside a report; without matplotlib one line says that there is none."""
    try:
        save_figure(stem, view, draw, size)
    except MissingExtra as exc:
        say(exc.text)


def _reliability(figure: Any, view: View) -> None:
    axes, c, t = figure.subplots(), view.d["calibration"], view.t
    axes.plot([0, 1], [0, 1], **_DASHED)
    (x, y), after = _dots(c["bins_before"]), c["bins"]
    label = f"{t('calibration.before')} (ECE {c['ece_before']:.3f})"
    axes.plot(x, y, "o", markerfacecolor="none", color=ORANGE, markersize=4, label=label)
    x, y = _dots(after)
    if all(b["ci95"] for b in after):
        low = [max(0.0, b["accuracy"] - b["ci95"][0]) for b in after]
        high = [max(0.0, b["ci95"][1] - b["accuracy"]) for b in after]
        axes.errorbar(x, y, yerr=[low, high], fmt="none", ecolor=BLUE, elinewidth=0.8, alpha=0.6)
    label = f"{t('calibration.after')} (ECE {c['ece_after']:.3f})"
    axes.plot(x, y, "o-", color=BLUE, markersize=4, linewidth=1.2, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=t("calibration.confidence"),
             ylabel=t("calibration.accuracy"))  # fmt: skip
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def _dots(found: list[Document]) -> tuple[list[float], list[float]]:
    """Confidence and accuracy of the bins of a reliability diagram."""
    return [b["confidence"] for b in found], [b["accuracy"] for b in found]


def _risk_coverage(figure: Any, view: View) -> None:
    axes, curve = figure.subplots(), view.d["calibration"]["risk_coverage"]
    axes.plot(curve["coverage"], curve["accuracy"], color=BLUE, linewidth=1.4)
    axes.plot([1.0], [view.d["top1"]], "o", color=BLUE, markersize=4, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=view.t("calibration.coverage"),
             ylabel=view.t("calibration.accuracy"))  # fmt: skip
    axes.grid(color=PALE, linewidth=0.6)


def _subgroups(figure: Any, view: View) -> None:
    axes, ticks, line = figure.subplots(), {}, 0.0
    for attribute, section in view.d["subgroups"].items():
        axes.text(-0.02, line, view.t.get(f"subgroups.{attribute}"), ha="right", va="center",
                  transform=axes.get_yaxis_transform(), color=BLUE, fontsize=8)  # fmt: skip
        for group in section["groups"]:
            line += 1.0
            ticks[line] = f"{group['value']} (n={group['n']:,})"
            if group["top1"] is None:
                continue
            shade = 0.35 if group["small"] else 1.0
            if group["ci95"]["top1"]:
                axes.plot(group["ci95"]["top1"], [line, line], color=BLUE, alpha=0.5 * shade,
                          linewidth=3, solid_capstyle="round")  # fmt: skip
            axes.plot([group["top1"]], [line], "o", color=BLUE, alpha=shade, markersize=4)
        line += 1.4
    axes.axvline(view.d["top1"], **_DASHED)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(view.t("metric.top1"))
    axes.tick_params(axis="y", length=0)


# -- of a timeline --


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
    stem = folder / "timeline"
    write_figure(stem, timeline_figure(folder, lang=lang))
    return stem.with_suffix(".png"), stem.with_suffix(".svg")


def timeline_figure(folder: Path, *, lang: Lang) -> Any:
    """The tracks of a recording as a matplotlib figure.

    Args:
        folder: ``OUT/<stem>/``.
        lang: Language of the labels.

    Raises:
        InputError: There is no timeline here, or it is damaged.
        MissingExtra: Matplotlib is not installed.
    """
    load_matplotlib()
    view = TimelineView(read_recording(folder), lang)
    rows = _rows(view)
    height = 0.75 + sum(size for _, _, size in rows)
    return new_figure(view, lambda figure, v: _draw_tracks(figure, v, rows), (_WIDTH, height))


def _rows(view: TimelineView) -> list[tuple[str, Painter, float]]:
    """Title, painter and height (inches) of every track there is."""
    ribbons = [m for m in SOURCES if view.probabilities(m)]
    rows = [(view.t(f"modality.{m}"), _ribbon(m), 0.62) for m in ribbons]
    if view.valences():
        rows.append((view.t("track.valence"), _valence, 0.7))
    if view.d.get("episodes"):
        rows.append((view.t("track.episodes"), paint_episodes, 0.42))
    if (voice := view.r.voice) is not None:
        rows.append((view.t("track.speech"), paint_speech, 0.3))
        if np.isfinite(voice.f0_hz).any():
            rows.append((f"{view.t('track.pitch')} (Hz)", paint_pitch, 0.62))
        if np.isfinite(voice.level_dbfs).any():
            rows.append((f"{view.t('track.level')} (dBFS)", paint_level, 0.55))
    return rows


def _draw_tracks(figure: Any, view: TimelineView, rows: list[tuple[str, Painter, float]]) -> None:
    from matplotlib.ticker import MultipleLocator

    grid = figure.subplots(
        max(1, len(rows)), 1, sharex=True, squeeze=False,
        gridspec_kw={"height_ratios": [size for _, _, size in rows] or [1.0]},
    )[:, 0]  # fmt: skip
    for axes, (title, paint, _) in zip(grid, rows, strict=False):
        paint(axes, view)
        axes.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8.5)
        axes.tick_params(length=2, labelsize=7, colors=GREY)
        axes.margins(x=0)
    last, length = grid[-1], view.r.duration_s
    last.set_xlim(0, length)
    last.xaxis.set_major_locator(
        MultipleLocator(next((s for s in TIME_STEPS if length / s <= 12), 7200))
    )
    last.xaxis.set_major_formatter(lambda t, _: clock(t))
    last.set_xlabel(view.t("figure.time"), fontsize=8)
    if handles := _legend(view):
        figure.legend(handles=handles, loc="outside upper left", ncols=8, fontsize=8,
                      frameon=False, handlelength=1.0, columnspacing=1.2)  # fmt: skip


def _legend(view: TimelineView) -> list[Any]:
    from matplotlib.patches import Patch

    shown = [m for m in SOURCES if view.probabilities(m)]
    if not shown:
        return []
    colours = class_colours(view.r.label_set)
    order = stacking_order(view.r.label_set, tuple(view.probabilities(shown[0])))
    handles = [Patch(color=colours[c][0], label=view.name(c)) for c in reversed(order)]
    gap = Patch(facecolor="white", edgecolor=GREY, hatch="////", linewidth=0.4,
                label=view.t("figure.missing"))  # fmt: skip
    return [*handles, gap]


def _centres(view: TimelineView) -> Floats:
    return (view.r.starts + view.r.ends) / 2


def reach_of(view: TimelineView, first: int, stop: int) -> tuple[float, float]:
    """Time of windows first .. stop-1; the outer ones reach the ends of the recording."""
    x, half = _centres(view), view.r.hop_s / 2
    left = 0.0 if first == 0 else float(x[first] - half)
    return left, view.r.duration_s if stop == len(x) else float(x[stop - 1] + half)


def hatch_without(axes: Any, view: TimelineView, found: Mapping[str, Series]) -> None:
    """Hatch the stretches in which none of several series has a value."""
    hatch_missing(axes, view, np.asarray(np.stack([s.there for s in found.values()]).any(axis=0)))


def stacked(view: TimelineView, source: str) -> tuple[tuple[str, ...], Floats, Flags]:
    """Classes of a source as they are stacked, (K, W) probabilities, (W,) where there are any."""
    columns = view.probabilities(source)
    order = stacking_order(view.r.label_set, tuple(columns))
    values = np.stack([columns[c].value for c in order])
    return order, values, np.asarray(np.isfinite(values).all(axis=0))


def hatch_missing(axes: Any, view: TimelineView, there: Flags) -> None:
    """Hatch the stretches without a value."""
    for first, stop in runs(~there):
        axes.axvspan(*reach_of(view, first, stop), zorder=0, **HATCHED)


def stretched(view: TimelineView, values: Floats, first: int, stop: int) -> tuple[Floats, Floats]:
    """Times and values of windows first .. stop-1, drawn to both ends of the stretch."""
    left, right = reach_of(view, first, stop)
    part = values[..., first:stop]
    x = np.concatenate([[left], _centres(view)[first:stop], [right]])
    return x, np.concatenate([part[..., :1], part, part[..., -1:]], axis=-1)


def _ribbon(modality: str) -> Painter:
    def paint(axes: Any, view: TimelineView) -> None:
        order, values, there = stacked(view, modality)
        colours = [class_colours(view.r.label_set)[c][0] for c in order]
        hatch_missing(axes, view, there)
        for first, stop in runs(there):
            x, y = stretched(view, values, first, stop)
            axes.stackplot(x, y, colors=colours, linewidth=0)
        axes.set(ylim=(0, 1), yticks=(0, 1))

    return paint


def _line(axes: Any, view: TimelineView, series: Series, colour: str) -> None:
    banded = np.isfinite(series.low) & np.isfinite(series.high)
    for first, stop in runs(series.there):
        x, y = stretched(view, series.value, first, stop)
        axes.plot(x, y, color=colour, linewidth=1.0)
        if banded[first:stop].all():
            ends = (stretched(view, end, first, stop)[1] for end in (series.low, series.high))
            axes.fill_between(x, *ends, color=colour, alpha=0.18, linewidth=0)


def _valence(axes: Any, view: TimelineView) -> None:
    valences = view.valences()
    hatch_without(axes, view, valences)
    axes.axhline(0, color=PALE, linewidth=0.7)
    for i, (modality, series) in enumerate(valences.items()):
        colour = MODALITY_COLOURS[modality][0]
        _line(axes, view, series, colour)
        axes.text(1.005, 0.9 - 0.26 * i, view.t(f"modality.{modality}"), color=colour,
                  transform=axes.transAxes, fontsize=7, va="center")  # fmt: skip
    axes.set(ylim=(-1, 1), yticks=(-1, 0, 1))


def paint_episodes(axes: Any, view: TimelineView) -> None:
    """Episodes as bars, a line a kind."""
    kinds = list(dict.fromkeys(e["kind"] for e in view.d["episodes"]))
    for e in view.d["episodes"]:
        axes.broken_barh([(e["start"], e["end"] - e["start"])],
                         (kinds.index(e["kind"]) - 0.4, 0.8),
                         color=_EPISODES.get(e["kind"], BLUE), linewidth=0)  # fmt: skip
    axes.set(ylim=(len(kinds) - 0.5, -0.5))
    axes.set_yticks(range(len(kinds)), [view.kind(k) for k in kinds])


def paint_speech(axes: Any, view: TimelineView) -> None:
    """Speech and the pauses inside turns as bars."""
    speech, pauses = speech_spans(view)
    axes.broken_barh([(a, b - a) for a, b in speech], (0.2, 0.6), color=BLUE, linewidth=0)
    axes.broken_barh([(a, b - a) for a, b in pauses], (0.42, 0.16), color=ORANGE, linewidth=0)
    axes.set(ylim=(0, 1), yticks=())


def _curve(axes: Any, voice: Voice, values: Floats) -> None:
    size = max(1, -(-len(values) // _POINTS))
    low, median, high = bins(values, size)
    x = voice.start_s + (np.arange(len(median)) + 0.5) * size * voice.hop_s
    if size > 1:
        axes.fill_between(x, low, high, color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(x, median, color=BLUE, linewidth=0.8)
    for first, stop in runs(~voice.present):
        axes.axvspan(*(voice.start_s + at * voice.hop_s for at in (first, stop)), **HATCHED)


def paint_pitch(axes: Any, view: TimelineView) -> None:
    """Pitch on a logarithmic scale."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    voice = view.r.voice
    assert voice is not None
    _curve(axes, voice, voice.f0_hz)
    ends = np.nanpercentile(voice.f0_hz, (0.5, 99.5))
    low, high = ends[0] / 1.12, ends[1] * 1.12
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    ticks = [f for f in (50, 75, 100, 150, 200, 300, 400) if low < f < high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(lambda f, _: f"{f:g}")
    axes.minorticks_off()


def paint_level(axes: Any, view: TimelineView) -> None:
    """Level of the voice."""
    voice = view.r.voice
    assert voice is not None
    _curve(axes, voice, voice.level_dbfs)
    axes.set_ylim(max(-90.0, float(np.nanpercentile(voice.level_dbfs, 1)) - 5), 0)
