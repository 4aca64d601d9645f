"""Figures of timelines for papers (``nunbit figure``): one recording's tracks, or many recordings.

Widths are those of a journal's column and page, fonts are embedded and have Hangul, and nothing
rests on colour alone: classes are hatched, sources have line styles, and a legend names both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nunbit.core.messages import InputError, Lang, SettingsError, Text
from nunbit.core.spans import runs
from nunbit.core.streams import Floats
from nunbit.core.timebase import clock
from nunbit.report.figures import (
    GREY,
    PALE,
    TIME_STEPS,
    figure_style,
    hatch_missing,
    hatch_without,
    load_matplotlib,
    new_figure,
    paint_episodes,
    paint_level,
    paint_pitch,
    paint_speech,
    stacked,
    stretched,
)
from nunbit.report.timeline_data import Series, read_recording
from nunbit.report.timeline_meaning import (
    MODALITY_COLOURS,
    class_colours,
    disagreements,
    stacking_order,
)
from nunbit.report.timeline_view import SOURCES, TimelineView
from nunbit.runtime.files import atomic_path

SUFFIXES = ("pdf", "svg", "png")
Width = Literal["one", "two"]
WIDTHS: dict[Width, float] = {"one": 3.35, "two": 7.09}
"""Inches of one column (85 mm) and of two (180 mm), as most journals have them."""

TRACKS = ("together", "face", "voice", "words", "valence", "disagreement", "episodes", "speech",
          "pitch", "level")  # fmt: skip
_SOURCE = {"together": "fused", "face": "face", "voice": "voice", "words": "text"}
_TRACK_OF = {source: track for track, source in _SOURCE.items()}
_USUAL = ("together", "face", "words", "valence", "episodes", "speech", "pitch")
"""Where nothing is asked for; the voice's classes are experimental, so only on request."""

_STYLES = {"fused": "-", "face": (0, (5, 1.5)), "voice": (0, (1, 1)), "text": (0, (4, 1, 1, 1))}
_HATCHES = {"sadness": "\\\\\\", "distress": "\\\\\\", "anxiety": "....", "fear": "....",
            "hurt": "|||", "anger": "xxx", "disgust": "+++", "surprise": "ooo",
            "flustered": "ooo"}  # fmt: skip
_MARKS = ("—", "– –", "···", "–·–")
"""The line styles as text, for a track that has names of its own."""

_HEIGHTS = {"valence": 0.75, "disagreement": 0.55, "episodes": 0.45, "speech": 0.22, "pitch": 0.5,
            "level": 0.45}  # fmt: skip
_RIBBON_IN = 0.5
_DPI = 300  # what journals ask of pictures with lines and shades
_SMALL, _NORMAL = 6.5, 7.5  # points; journals want 6 to 8 at the printed size
_MOST_STACKED = 8


@dataclass(frozen=True)
class Wanted:
    """What a figure of tracks shows.

    Attributes:
        tracks: Of ``TRACKS``; empty = the usual ones that have values.
        start_s: Left end, seconds; None = the recording's start.
        end_s: Right end; None = its end.
        width: One column or two.
        lang: Language of the labels.
    """

    tracks: tuple[str, ...] = ()
    start_s: float | None = None
    end_s: float | None = None
    width: Width = "two"
    lang: Lang = "en"


@dataclass(frozen=True, eq=False)
class _Panel:
    """One track of one recording: name, title, height in inches, and who paints it."""

    name: str
    title: str
    height: float
    paint: Callable[[Any, TimelineView], None]
    view: TimelineView
    span: tuple[float, float]


def paper_style() -> dict[str, Any]:
    """The style of all figures, at the size of a column, with fonts that travel in the file."""
    return {
        **figure_style(),
        "font.size": _NORMAL,
        "hatch.linewidth": 0.35,
        "pdf.fonttype": 42,  # TrueType: text can be searched and edited
        "axes.titlesize": _SMALL,
        "axes.titlepad": 2.0,
    }


def tracks_figure(folders: Sequence[Path], wanted: Wanted) -> Any:
    """Tracks of recordings below one another as a matplotlib figure.

    Args:
        folders: ``OUT/<stem>/``, at most eight.
        wanted: What to show.

    Raises:
        InputError: A folder holds no timeline, or nothing of what is asked for.
        SettingsError: There is no such track, or the stretch is none.
        MissingExtra: Matplotlib is not installed.
    """
    load_matplotlib()
    if unknown := [name for name in wanted.tracks if name not in TRACKS]:
        raise SettingsError(
            Text(
                f"--tracks {','.join(unknown)}: choose from {', '.join(TRACKS)}",
                f"--tracks {','.join(unknown)}: {', '.join(TRACKS)} 중에서 고르십시오",
            )
        )
    if len(folders) > _MOST_STACKED:
        raise SettingsError(
            Text(
                f"{len(folders)} recordings are too many below one another (at most "
                f"{_MOST_STACKED}); give `measure`, for example face.p_joy, to compare them",
                f"녹화 {len(folders)}개는 위아래로 그리기에 너무 많습니다(최대 {_MOST_STACKED}개). "
                "비교하려면 face.p_joy처럼 `measure`를 주십시오",
            )
        )
    views = [TimelineView(read_recording(folder), wanted.lang) for folder in folders]
    panels = [panel for view in views for panel in _panels(view, wanted, named=len(views) > 1)]
    gap = 0.24 if wanted.width == "one" else 0.2
    legend = 0.17 * (1 + len(_handles(panels, views)) // (3 if wanted.width == "one" else 7))
    size = (WIDTHS[wanted.width], 0.45 + legend + sum(panel.height + gap for panel in panels))
    return new_figure(views, lambda f, _: _draw(f, panels, views, wanted), size, paper_style)


def drawable_tracks(folder: Path, wanted: Wanted) -> tuple[str, ...]:
    """The tracks of a recording that have something to draw in a stretch, as ``TRACKS`` has them.

    Raises:
        InputError: There is no timeline.
    """
    view = TimelineView(read_recording(folder), wanted.lang)
    length = view.r.duration_s
    span = (wanted.start_s or 0.0, min(length if wanted.end_s is None else wanted.end_s, length))
    return tuple(name for name in TRACKS if _track(view, name, span) is not None)


def save_paper_figure(path: Path, figure: Any) -> Path:
    """Write a figure; the name's ending says the format.

    Raises:
        SettingsError: It is none of ``SUFFIXES``.
        InputError: The file cannot be written.
    """
    kind = check_figure_name(path)
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    with atomic_path(path) as partial, load_matplotlib().rc_context(paper_style()):
        figure.savefig(partial, format=kind, dpi=_DPI, metadata=metadata[kind])
    return path


def check_figure_name(path: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        SettingsError: It is none of ``SUFFIXES``.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in SUFFIXES:
        raise SettingsError(
            Text(
                f"`out` is {path.name}: end its name in {', '.join(f'.{s}' for s in SUFFIXES)}",
                f"`out`이 {path.name}입니다. 이름을 {', '.join(f'.{s}' for s in SUFFIXES)} 중 "
                "하나로 끝내십시오",
            )
        )
    return kind


def seconds_of(text: str, option: str) -> float:
    """A time as people write it: ``90``, ``1:30`` or ``1:02:03.5``.

    Raises:
        SettingsError: It is no time.
    """
    try:
        parts = [float(part) for part in text.strip().split(":")]
        if not 1 <= len(parts) <= 3 or any(p < 0 or not np.isfinite(p) for p in parts):
            raise ValueError(text)
    except ValueError as exc:
        raise SettingsError(
            Text(
                f"--{option} {text}: expected seconds or minutes:seconds, for example 1:30",
                f"--{option} {text}: 초 또는 분:초로 적으십시오. 예: 1:30",
            )
        ) from exc
    return float(sum(part * 60.0**n for n, part in enumerate(reversed(parts))))


# --- panels ---


def _panels(view: TimelineView, wanted: Wanted, *, named: bool) -> list[_Panel]:
    length = view.r.duration_s
    start, end = wanted.start_s or 0.0, length if wanted.end_s is None else wanted.end_s
    if not 0 <= start < min(end, length):
        asked = f"{clock(start)}–{clock(end)}"
        raise SettingsError(
            Text(
                f"{view.d['session']}: the stretch {asked} is not in the recording (0:00–"
                f"{clock(length)})",
                f"{view.d['session']}: {asked} 구간이 녹화(0:00–{clock(length)}) 안에 없습니다",
            )
        )
    span = (start, min(end, length))
    there = {name: made for name in TRACKS if (made := _track(view, name, span)) is not None}
    if missing := [name for name in wanted.tracks if name not in there]:
        have = ", ".join(there) or "-"
        raise InputError(
            Text(
                f"{view.d['session']}: nothing to draw for {', '.join(missing)}; there are: {have}",
                f"{view.d['session']}: {', '.join(missing)} 트랙에는 그릴 값이 없습니다. 있는 "
                f"트랙: {have}",
            )
        )
    chosen = [there[n] for n in (wanted.tracks or _USUAL) if n in there] or [*there.values()]
    if not chosen:
        raise InputError(Text("nothing to draw", "그릴 값이 없습니다").under(view.d["session"]))
    if named:
        title = f"{view.d['session']} · {chosen[0].title}"
        chosen[0] = replace(chosen[0], title=title)
    return chosen


def _track(view: TimelineView, name: str, span: tuple[float, float]) -> _Panel | None:
    """The panel of a track, None where it has no values."""
    t, voice, height = view.t, view.r.voice, _HEIGHTS.get(name, _RIBBON_IN)

    def panel(title: str, paint: Callable[[Any, TimelineView], None]) -> _Panel:
        return _Panel(name, title, height, paint, view, span)

    if name in _SOURCE:
        source = _SOURCE[name]
        found = bool(view.probabilities(source))
        return panel(view.source(source), _ribbon(source)) if found else None
    if name == "valence":
        return panel(t("track.valence"), _valence) if view.valences() else None
    if name == "disagreement":
        return panel(t("track.agreement"), _disagreement) if disagreements(view) else None
    if name == "episodes":
        inside = [e for e in view.d.get("episodes") or () if e["start"] < span[1] and
                  e["end"] > span[0]]  # fmt: skip
        return panel(t("track.episodes"), paint_episodes) if inside else None
    if voice is None:
        return None
    if name == "speech":
        return panel(t("track.speech"), paint_speech)
    values, unit = (voice.f0_hz, "Hz") if name == "pitch" else (voice.level_dbfs, "dBFS")
    if not np.isfinite(values).any():
        return None
    return panel(f"{t(f'track.{name}')} ({unit})", paint_pitch if name == "pitch" else paint_level)


def _ribbon(source: str) -> Callable[[Any, TimelineView], None]:
    def paint(axes: Any, view: TimelineView) -> None:
        from matplotlib.collections import PolyCollection

        order, values, there = stacked(view, source)
        colours = class_colours(view.r.label_set)
        hatch_missing(axes, view, there)
        shapes: dict[str, list[Floats]] = {name: [] for name in order}
        for first, stop in runs(there):
            x, y = stretched(view, values, first, stop)
            edges = np.vstack([np.zeros(len(x)), np.cumsum(y, axis=0)])
            for name, low, top in zip(order, edges, edges[1:], strict=False):
                around = np.concatenate([x, x[::-1]]), np.concatenate([low, top[::-1]])
                shapes[name].append(np.stack(around, axis=1))
        for name, polygons in shapes.items():  # one artist a class: a shape each takes much longer
            axes.add_collection(PolyCollection(
                polygons, facecolors=colours[name][0], edgecolors="white", linewidths=0.3,
                hatch=_HATCHES.get(name)), autolim=False)  # fmt: skip
        axes.set(ylim=(0, 1), yticks=(0, 1))

    return paint


def _lines(axes: Any, view: TimelineView, found: dict[str, Series], styles: list[Any]) -> None:
    for series, (colour, style, width) in zip(found.values(), styles, strict=True):
        for first, stop in runs(series.there):
            x, y = stretched(view, series.value, first, stop)
            axes.plot(x, y, color=colour, linestyle=style, linewidth=width)


def _valence(axes: Any, view: TimelineView) -> None:
    found = view.valences()
    hatch_without(axes, view, found)
    axes.axhline(0, color=PALE, linewidth=0.6)
    _lines(axes, view, found, [_line_of(source) for source in found])
    axes.set(ylim=(-1, 1), yticks=(-1, 0, 1))


def _line_of(source: str) -> tuple[str, Any, float]:
    return MODALITY_COLOURS[source][0], _STYLES[source], 1.3 if source == "fused" else 0.9


def _disagreement(axes: Any, view: TimelineView) -> None:
    found = disagreements(view)
    hatch_without(axes, view, found)
    axes.axhline(0, color=PALE, linewidth=0.6)
    styles: list[Any] = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1))]
    shades = ("#1b2530", "#7d3c8c", "#b55a00", "#4d7d3a")
    _lines(axes, view, found, [(shades[k % 4], styles[k % 4], 0.9) for k in range(len(found))])
    names = " · ".join(f"{_MARKS[k % 4]} {name}" for k, name in enumerate(found))
    axes.set_title(names, loc="right", fontsize=_SMALL - 0.5)


def _draw(figure: Any, panels: list[_Panel], views: list[TimelineView], wanted: Wanted) -> None:
    from matplotlib.ticker import MultipleLocator

    grid = figure.subplots(
        len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": [p.height for p in panels]}
    )[:, 0]
    for place, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        panel.paint(axes, panel.view)
        axes.set_title(panel.title, loc="left", fontsize=_SMALL)
        axes.tick_params(length=2, labelsize=_SMALL - 0.5, colors=GREY, pad=1.5)
        axes.set_xlim(*panel.span)
        length, most = panel.span[1] - panel.span[0], 6 if wanted.width == "one" else 12
        step = next((s for s in TIME_STEPS if length / s <= most), 7200)
        axes.xaxis.set_major_locator(MultipleLocator(step))
        axes.xaxis.set_major_formatter(lambda t, _: clock(t))
        last = place + 1 == len(panels) or panels[place + 1].view is not panel.view
        axes.tick_params(axis="x", labelbottom=last)
        if last:
            axes.set_xlabel(panel.view.t("figure.time"), fontsize=_SMALL, labelpad=1.5)
    figure.legend(handles=_handles(panels, views), loc="outside upper left", frameon=False,
                  ncols=3 if wanted.width == "one" else 7, fontsize=_SMALL, handlelength=1.8,
                  columnspacing=1.0, handletextpad=0.4, borderaxespad=0.2)  # fmt: skip


def _handles(panels: list[_Panel], views: list[TimelineView]) -> list[Any]:
    """The legend: classes, then the sources with their lines, then what is missing."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    first = views[0]
    colours = class_colours(first.r.label_set)
    ribbons = [m for m in SOURCES if any(panel.name == _TRACK_OF[m] for panel in panels)]
    shown = [c for view in views for m in ribbons for c in view.probabilities(m)]
    order = stacking_order(first.r.label_set, tuple(dict.fromkeys(shown)))
    classes = [Patch(facecolor=colours[c][0], edgecolor="white", hatch=_HATCHES.get(c),
                     label=first.name(c)) for c in reversed(order)]  # fmt: skip
    lined = any(panel.name == "valence" for panel in panels)
    sources = dict.fromkeys(m for view in views if lined for m in view.valences())
    lines = [Line2D([], [], color=c, linestyle=s, linewidth=w,
                    label=first.t(f"figure.{m}")) for m in SOURCES if m in sources
             for c, s, w in [_line_of(m)]]  # fmt: skip
    gap = Patch(facecolor="white", edgecolor=GREY, hatch="////", linewidth=0.4,
                label=first.t("figure.missing"))  # fmt: skip
    return [*classes, *lines, gap]
