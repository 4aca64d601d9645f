"""Figures over recordings: one measure by person, group, session or time, every recording shown.

Persons are the units: a mean over recordings of two persons says nothing of people, so intervals
are over persons, each of whom counts once, and there is none below three of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from nunbit.core.messages import InputError, Lang, SettingsError, Text
from nunbit.core.spans import lists_by_key
from nunbit.core.streams import Floats
from nunbit.core.timebase import clock
from nunbit.report.codebook import Codebook
from nunbit.report.figures import GREY, load_matplotlib, new_figure
from nunbit.report.joined_tables import in_order
from nunbit.report.paper_figures import (
    WIDTHS,
    Wanted,
    Width,
    check_figure_name,
    paper_style,
    save_paper_figure,
    seconds_of,
    tracks_figure,
)
from nunbit.report.shapes import Texts
from nunbit.report.summary_document import read_summary
from nunbit.report.timeline_data import Recording, read_recording
from nunbit.report.timeline_view import TEXTS_FILE
from nunbit.runtime.progress import say
from nunbit.statistics import t_quantile

By = Literal["person", "group", "session", "time"]
BYS: tuple[By, ...] = get_args(By)
MIN_PERSONS = 3
"""Of two persons a t interval is six times as wide as their difference: it tells nothing."""

_INK, _PALE = "#1b2530", "#9aa6b2"
_MARKERS = "osD^vP*X"
_BINS = 60
_SMALL = 6.5


@dataclass(frozen=True)
class MeasuredValue:
    """A measure of one recording.

    Attributes:
        recording: Its folder.
        person: Who; the recording's name where nobody is named.
        group: '' if there is none.
        session: As the table of people calls it, else the recording's name.
        value: NaN where missing.
        ci: 95% interval or None.
    """

    recording: Path
    person: str
    group: str
    session: str
    value: float
    ci: tuple[float, float] | None


def mean_over_persons(values: Sequence[tuple[str, float]]) -> tuple[float, float, float]:
    """Mean of the persons' own means, with its 95% interval.

    The interval is Student's t; NaN below ``MIN_PERSONS``, and where all have the same mean: that
    few people are alike does not say that all are.

    Args:
        values: Person and value; NaN is left out.
    """
    own = lists_by_key((person, value) for person, value in values if math.isfinite(value))
    means = np.array([np.mean(each) for each in own.values()])
    if not len(means):
        return math.nan, math.nan, math.nan
    mean = float(means.mean())
    if len(means) < MIN_PERSONS:
        return mean, math.nan, math.nan
    half = t_quantile(len(means) - 1.0) * float(means.std(ddof=1)) / math.sqrt(len(means))
    return (mean, mean - half, mean + half) if np.ptp(means) > 0 else (mean, math.nan, math.nan)


def read_values(folders: Sequence[Path], measure: str) -> tuple[MeasuredValue, ...]:
    """A measure of every recording.

    Args:
        folders: ``OUT/<stem>/``.
        measure: ``<modality>.<measure>``, as in ``sessions_wide.csv``.

    Raises:
        InputError: A folder holds no timeline, or no recording has the measure.
    """
    modality, _, name = measure.partition(".")
    found, known = [], set()
    for folder in folders:
        summary = read_summary(folder)
        own = {
            f"{m['modality']}.{m['measure']}": m for m in summary["measures"] if not m.get("track")
        }
        known |= set(own)
        entry, about = own.get(f"{modality}.{name}"), dict(summary.get("about") or {})
        value = math.nan if entry is None or entry["value"] is None else float(entry["value"])
        ci = entry.get("ci") if entry else None
        found.append(
            MeasuredValue(
                folder,
                str(summary.get("subject") or folder.name),
                about.get("group") or "",
                about.get("session") or folder.name,
                value,
                None if ci is None else (float(ci[0]), float(ci[1])),
            )
        )
    if not any(math.isfinite(value.value) for value in found):
        near = [n for n in in_order(known) if name and name in n] or in_order(known)
        raise InputError(
            Text(
                f"no recording has a value of {measure}; there are: {', '.join(near[:8])}, …",
                f"{measure} 값이 있는 녹화가 없습니다. 있는 측정값: {', '.join(near[:8])}, …",
            )
        )
    return tuple(found)


def group_figure(
    folders: Sequence[Path], measure: str, *, by: By = "person", width: Width = "one", lang: Lang
) -> Any:
    """One measure over recordings as a matplotlib figure.

    Args:
        folders: ``OUT/<stem>/``.
        measure: ``<modality>.<measure>``, as in ``sessions_wide.csv``.
        by: What lies along the axis: ``time`` draws the windows, the others whole recordings.
        width: One column or two.
        lang: Language of the labels.

    Raises:
        InputError: A folder holds no timeline, or no recording has the measure.
        SettingsError: ``by`` is unknown.
        MissingExtra: Matplotlib is not installed.
    """
    load_matplotlib()
    if by not in BYS:
        raise SettingsError(
            Text(
                f"--by {by}: choose from {', '.join(BYS)}",
                f"--by {by}: {', '.join(BYS)} 중에서 고르십시오",
            )
        )
    values = read_values(folders, measure)
    column, t = Codebook().column(measure), Texts(lang, TEXTS_FILE)
    unit = t.get(f"unit.{column.unit}") if column.unit not in ("", "0–1") else ""
    label = column.label.pick(lang) + (f" ({unit})" if unit else "")

    def draw(figure: Any, _: Any) -> None:
        axes = figure.subplots()
        if by == "time":
            _over_time(axes, values, measure, t)
        else:
            _by_category(axes, values, by, t)
        axes.set_title(label, loc="left", fontsize=_SMALL + 0.5)
        axes.tick_params(length=2, labelsize=_SMALL, colors=GREY)

    return new_figure(values, draw, (WIDTHS[width], 2.6), style=paper_style)


def _by_category(axes: Any, values: Sequence[MeasuredValue], by: By, t: Texts) -> None:
    """Every recording as a point with its interval; a mean over persons where there are several."""
    keys = [getattr(value, by) or t("figure.no_group") for value in values]
    # Groups in the order of the sessions that they hold: before, then after.
    first = {k: min(_natural(v.session) for v, own in zip(values, keys, strict=True) if own == k)
             for k in set(keys)}  # fmt: skip
    names = sorted(first, key=lambda k: (first[k], _natural(k)) if by == "group" else _natural(k))
    persons = sorted({value.person for value in values}, key=_natural)
    spread = 0.5 / max(len(persons), 1)
    at: dict[str, list[tuple[float, float]]] = {}
    for value, key in zip(values, keys, strict=True):
        if not math.isfinite(value.value):
            continue
        who = persons.index(value.person)
        x = names.index(key) + ((who + 0.5) * spread - 0.25 if by != "person" else 0.0)
        if by == "person":  # recordings of one person beside one another
            same = [v for v in values if v.person == value.person]
            x += (same.index(value) + 0.5) / len(same) * 0.5 - 0.25
        if value.ci is not None:
            axes.plot([x, x], value.ci, color=_PALE, linewidth=0.8, zorder=1)
        axes.plot([x], [value.value], _MARKERS[who % 8], color=_INK, markersize=3, zorder=3,
                  markerfacecolor="white" if who % 2 else _INK, markeredgewidth=0.7)  # fmt: skip
        at.setdefault(value.person, []).append((x, value.value))
    for points in at.values() if by != "person" else ():
        x_y = np.array(sorted(points))
        axes.plot(x_y[:, 0], x_y[:, 1], color=_PALE, linewidth=0.5, zorder=0)
    _means(axes, values, keys, names, by)
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 6 else 0,
                    ha="right" if len(names) > 6 else "center")  # fmt: skip
    axes.set_xlim(-0.6, len(names) - 0.4)
    missing = sum(not math.isfinite(value.value) for value in values)
    notes = [t("figure.points")] + ([t("figure.left_out", n=missing)] if missing else [])
    if by != "person" and len(persons) < MIN_PERSONS:
        notes.append(t("figure.few_persons", n=MIN_PERSONS))
    axes.set_xlabel("\n".join(notes), fontsize=_SMALL - 0.5, color=GREY, linespacing=1.6)


def _means(
    axes: Any, values: Sequence[MeasuredValue], keys: Sequence[str], names: Sequence[str], by: By
) -> None:
    for place, name in enumerate(names if by != "person" else ()):
        own = [(v.person, v.value) for v, key in zip(values, keys, strict=True) if key == name]
        mean, low, high = mean_over_persons(own)
        axes.plot([place - 0.3, place + 0.3], [mean, mean], color=_INK, linewidth=1.2)
        if math.isfinite(low):
            axes.fill_between([place - 0.3, place + 0.3], low, high, color=_PALE, alpha=0.35,
                              linewidth=0, zorder=0)  # fmt: skip


def _natural(text: str) -> tuple[bool, float, str]:
    """Sorts ``2`` before ``10``."""
    return (False, float(text), text) if text.isdigit() else (True, 0.0, text)


def _over_time(axes: Any, values: Sequence[MeasuredValue], measure: str, t: Texts) -> None:
    modality, _, name = measure.partition(".")
    rows, who, length = [], [], 0.0
    for value in values:
        recording = read_recording(value.recording)
        series = recording.find(modality, name)
        length = max(length, recording.duration_s)
        if series is not None:
            rows.append(((recording.starts + recording.ends) / 2, series.value))
            who.append(value.person)
    if not rows:
        raise InputError(
            Text(
                f"{measure} is not measured in windows; choose another --by",
                f"{measure}은(는) 창마다 재지 않습니다. 다른 --by를 고르십시오",
            )
        )
    edges = np.linspace(0.0, length, _BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    binned = [_mean_in_bins(times, series, edges) for times, series in rows]
    for each in binned:
        axes.plot(middles, each, color=_PALE, linewidth=0.5)
    means = np.array(
        [mean_over_persons([(p, b[k]) for p, b in zip(who, binned, strict=True)])
         for k in range(_BINS)]
    )  # fmt: skip
    axes.plot(middles, means[:, 0], color=_INK, linewidth=1.3)
    axes.fill_between(middles, means[:, 1], means[:, 2], color=_PALE, alpha=0.35, linewidth=0)
    axes.xaxis.set_major_formatter(lambda x, _: clock(x))
    axes.set_xlim(0, length)
    few = len(set(who)) < MIN_PERSONS
    note = t("figure.few_persons", n=MIN_PERSONS) if few else t("figure.band")
    axes.set_xlabel(
        f"{t('figure.time')}\n{note}", fontsize=_SMALL - 0.5, color=GREY, linespacing=1.6
    )


def _mean_in_bins(times_s: Floats, values: Floats, edges: Floats) -> Floats:
    at = np.clip(np.searchsorted(edges, times_s, side="right") - 1, 0, len(edges) - 2)
    there = np.isfinite(values)
    total = np.bincount(at[there], values[there], minlength=len(edges) - 1)
    count = np.bincount(at[there], minlength=len(edges) - 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class FigureOrder:
    """What ``nunbit figure`` was asked for; None and empty take what is usual.

    Attributes:
        tracks: Tracks of recordings.
        start: Left end as people write it, for example ``1:30``.
        end: Right end.
        measure: Compare recordings by this measure.
        by: Along what.
        width: One column or two.
    """

    tracks: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    measure: str | None = None
    by: str | None = None
    width: str | None = None


def draw_figure(sessions: Sequence[Path], out: Path, order: FigureOrder, *, lang: Lang) -> Path:
    """Draw tracks of recordings, or one measure over recordings, into a file.

    Raises:
        InputError: There is no timeline, or nothing of what is asked for.
        SettingsError: Two kinds of figure are asked for at once, or something unknown.
        MissingExtra: matplotlib is not installed.
    """
    check_figure_name(out)
    below = [sorted(p.parent for p in each.glob("*/summary.json")) or [each] for each in sessions]
    folders = [folder for found in below for folder in found]
    of_tracks = order.tracks or order.start or order.end
    if (order.measure and of_tracks) or (order.by and not order.measure):
        raise SettingsError(
            Text(
                "--measure and --by compare recordings, --tracks, --from and --to show them: give "
                "the one or the other",
                "--measure와 --by는 녹화를 비교하고 --tracks, --from, --to는 녹화를 보여 줍니다. "
                "둘 중 하나만 주십시오",
            )
        )
    if order.measure:
        by: Any = order.by or "person"
        width: Any = order.width or "one"
        figure = group_figure(folders, order.measure, by=by, width=width, lang=lang)
    else:
        start = None if order.start is None else seconds_of(order.start, "from")
        end = None if order.end is None else seconds_of(order.end, "to")
        wide: Any = order.width or "two"
        figure = tracks_figure(folders, Wanted(order.tracks, start, end, wide, lang))
    return save_paper_figure(out, figure)


# --- recordings, each once


def recordings_below(timelines: Sequence[Path]) -> list[Recording]:
    """The recordings below the folders; one that is damaged is named and left out."""
    below = [sorted(p.parent for p in each.glob("*/summary.json")) or [each] for each in timelines]
    folders: dict[Path, Path] = {}
    for folder in (folder for found in below for folder in found):
        folders.setdefault(folder.resolve(), folder)
    recordings: list[Recording] = []
    damaged: list[InputError] = []
    for folder in folders.values():
        try:
            recordings.append(read_recording(folder))
        except InputError as exc:
            if not (folder / "summary.json").is_file():
                raise  # no recording at all
            damaged.append(exc)
    if damaged and not recordings:
        raise damaged[0]
    for error in damaged:
        say(Text(f"left out: {error.text.en}", f"뺐습니다: {error.text.ko}"))
    return recordings


def distinct_names(folders: Sequence[Path]) -> dict[Path, str]:
    """The name of every folder, with as many folders above it as tell it from others."""
    parts = {folder: folder.absolute().parts for folder in folders}
    found = {}
    for folder, own in parts.items():
        n = 1
        while n < len(own) and sum(each[-n:] == own[-n:] for each in parts.values()) > 1:
            n += 1
        found[folder] = "/".join(own[-n:])
    return found
