"""``OUT/index.html``: every analysed recording of a folder with key measures and a small ribbon.

Reads the summaries and the class probabilities of the windows; one row a session, one table a
person, since sessions of different persons are not to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from nunbit.errors import InputError, Lang, NunbitError
from nunbit.files import write_text
from nunbit.provenance import nunbit_version
from nunbit.report import shapes
from nunbit.report.page import REPORT, asset, environment
from nunbit.report.texts import Texts
from nunbit.report.timeline_colours import class_colours, stacking_order
from nunbit.report.timeline_data import Recording, read_recording
from nunbit.report.timeline_page import crisis_line
from nunbit.report.timeline_tables import quantity, span
from nunbit.report.timeline_view import TEXTS_FILE, TimelineView
from nunbit.streams import Floats
from nunbit.timebase import clock

Document = dict[str, Any]
Paths = tuple[tuple[tuple[str, str], str], ...]
Gaps = tuple[tuple[float, float], ...]
Classes = tuple[tuple[str, tuple[str, str]], ...]

INDEX = "index.html"

COLUMNS = ("face_coverage", "speech_share", "speech_rate", "pause_sd", "response_latency",
           "expressivity", "joy_time")  # fmt: skip
"""How much could be read, then the ordinary measures of grades A and B."""

_BINS = 120
_HEIGHT = 30


@dataclass(frozen=True)
class Cell:
    """A value of the table: its text, its interval, and why it is missing."""

    text: str
    interval: str = ""
    reason: str = ""


@dataclass(frozen=True)
class SessionRow:
    """One recording.

    Attributes:
        session: Its name.
        link: Relative link to its report, or '' where there is none.
        subject: The person, '' if not named.
        length: As people read it.
        paths: Colour and outline of every class of the small ribbon.
        ribbon: Source of the small ribbon, '' where there is none.
        lost: Stretches (left, width) without a value, in bins.
        cells: Values in the order of ``COLUMNS``.
        classes: Names and colours of the classes of the small ribbon, from top to bottom.
        notes: What is odd about it.
    """

    session: str
    link: str = ""
    subject: str = ""
    length: str = ""
    paths: Paths = ()
    ribbon: str = ""
    lost: Gaps = ()
    cells: tuple[Cell, ...] = ()
    classes: Classes = ()
    notes: tuple[str, ...] = field(default=())


def render_sessions(out: Path, *, lang: Lang) -> Path:
    """Write ``index.html`` over all sessions below a folder.

    Args:
        out: Folder whose subfolders ``nunbit analyze`` wrote.
        lang: Language of the page.

    Returns:
        The path of ``index.html``.

    Raises:
        InputError: There is no session here, or the page cannot be written.
    """
    folders = sorted(p.parent for p in out.glob("*/summary.json"))
    if not folders:
        raise InputError(
            en=f"{out}: no analysed recordings here (no */summary.json); give the --out of nunbit "
            "analyze",
            ko=f"{out}: 분석한 녹화가 없습니다(*/summary.json 없음). nunbit analyze의 --out 폴더를 "
            "주십시오",
        )
    rows = [_row(folder, lang) for folder in folders]
    path = out / INDEX
    write_text(path, sessions_html(rows, lang))
    return path


def sessions_html(rows: Sequence[SessionRow], lang: Lang) -> str:
    """The page as text."""
    t = Texts(lang, TEXTS_FILE)
    people: dict[str, list[SessionRow]] = {}
    for row in rows:
        people.setdefault(row.subject, []).append(row)
    names = TimelineView.column_names(lang, COLUMNS)
    legend = dict(pair for row in rows for pair in row.classes)
    html: str = (
        environment()
        .get_template("sessions.html")
        .render(
            lang=lang,
            t=t,
            version=nunbit_version(),
            style=asset("style.css") + asset("timeline.css"),
            people=sorted(people.items()),
            n=len(rows),
            columns=names,
            legend=legend,
            crisis=crisis_line(t),
            height=_HEIGHT,
            bins=_BINS,
        )
    )
    return html


def _row(folder: Path, lang: Lang) -> SessionRow:
    t = Texts(lang, TEXTS_FILE)
    link = f"{quote(folder.name)}/{REPORT}" if (folder / REPORT).is_file() else ""
    try:
        recording = read_recording(folder)
    except NunbitError as exc:
        # One damaged session must not hide the others.
        return SessionRow(folder.name, link, notes=(t("sessions.unreadable",
                                                      reason=exc.text(lang)),))  # fmt: skip
    view = TimelineView(recording, lang)
    paths, lost, classes, source = _ribbon(view)
    return SessionRow(
        session=str(recording.summary["session"]),
        link=link,
        subject=str(recording.summary.get("subject") or ""),
        length=clock(recording.duration_s),
        paths=paths,
        classes=classes,
        ribbon=source,
        lost=lost,
        cells=tuple(_cell(view, measure) for measure in COLUMNS),
        notes=_notes(view),
    )


def _cell(view: TimelineView, measure: str) -> Cell:
    entry = next(
        (m for m in view.d["measures"] if m["measure"] == measure and not m.get("track")), None
    )
    if entry is None:
        return Cell(shapes.MISSING)
    if entry.get("value") is None:
        reason = view.reason(entry.get("mask_reason") or "unknown")
        return Cell(shapes.MISSING, reason=reason)
    unit, ci = entry.get("unit") or "", entry.get("ci")
    return Cell(quantity(view, entry["value"], unit), span(view, ci, unit) if ci else "")


def _notes(view: TimelineView) -> tuple[str, ...]:
    notes, sync = [], view.d.get("sync") or {}
    if odd := len(view.findings()):
        notes.append(view.t("sessions.findings", n=odd))
    if view.d.get("synthetic"):
        notes.append(view.t("sessions.synthetic"))
    if sync.get("warning") and sync.get("offset_s") is not None:
        notes.append(view.t("sessions.sync", ms=round(abs(sync["offset_s"]) * 1000)))
    absent = [what for what, _, _ in view.missing()]
    media = view.d["media"]
    absent += [view.t(f"what.{name}") for name in ("video", "audio") if media.get(name) is None]
    if absent:
        notes.append(view.t("sessions.missing", list=", ".join(dict.fromkeys(absent))))
    return tuple(notes)


def _ribbon(view: TimelineView) -> tuple[Paths, Gaps, Classes, str]:
    """Outlines of the classes from the widest to the lowest, gaps, names, source."""
    columns: dict[str, Any] = {}
    source = ""
    for modality in ("fused", "face", "voice", "text"):
        if not columns and (columns := view.probabilities(modality)):
            source = view.source(modality)
    if not columns:
        return (), ((0.0, float(_BINS)),), (), ""
    order = stacking_order(view.r.label_set, tuple(columns))
    shares = np.stack([_binned(view.r, columns[c].value) for c in order])  # (K, bins)
    there = np.isfinite(shares).all(axis=0)
    tops = np.cumsum(np.where(there, shares, 0.0), axis=0)
    colours = class_colours(view.r.label_set)
    paths = [
        (colours[order[k]], outline)
        for k in reversed(range(len(order)))
        if (outline := _outline(tops[k], there))
    ]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~there, [False]]).astype(int)))
    gaps = tuple((float(a), float(b - a)) for a, b in edges.reshape(-1, 2))
    names = tuple((view.name(c), colours[c]) for c in reversed(order))
    return tuple(paths), gaps, names, source


def _binned(recording: Recording, values: Floats) -> Floats:
    """Mean of the windows of each of the bins of the small ribbon, NaN where none is valid."""
    middles = (recording.starts + recording.ends) / 2
    edges = np.linspace(0.0, recording.duration_s, _BINS + 1)
    if len(middles) < 2 * _BINS:  # too few to average: the nearest window stands for the bin
        nearest = np.abs(middles[None, :] - ((edges[1:] + edges[:-1]) / 2)[:, None]).argmin(axis=1)
        return np.asarray(values[nearest])
    at = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, _BINS - 1)
    there = np.isfinite(values)
    total = np.bincount(at[there], values[there], minlength=_BINS)
    count = np.bincount(at[there], minlength=_BINS)
    means = np.full(_BINS, np.nan)
    # A bin of mostly missing windows is missing.
    enough = 2 * count >= np.maximum(np.bincount(at, minlength=_BINS), 1)
    np.divide(total, count, out=means, where=enough & (count > 0))
    return means


def _outline(top: Floats, there: Any) -> str:
    """SVG path from the bottom edge up to ``top``, with steps, one piece per stretch."""
    pieces = []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    for a, b in edges.reshape(-1, 2):
        steps = "".join(
            f"V{_HEIGHT * (1 - min(1.0, top[i])):.1f}H{i + 1}" for i in range(int(a), int(b))
        )
        pieces.append(f"M{a} {_HEIGHT}{steps}V{_HEIGHT}Z")
    return "".join(pieces)
