"""Pages of timelines: one recording, and many side by side."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from nunbit.core.messages import InputError, Lang, NunbitError, Text
from nunbit.core.spans import lists_by_key, runs
from nunbit.core.streams import Floats
from nunbit.core.timebase import clock
from nunbit.measures import FUNCTIONALS
from nunbit.report import shapes
from nunbit.report import timeline_tables as tables
from nunbit.report.page import REPORT, asset, page
from nunbit.report.shapes import Document, Texts
from nunbit.report.timeline_data import Recording, read_glance, read_recording
from nunbit.report.timeline_meaning import MODALITY_COLOURS, class_colours, stacking_order
from nunbit.report.timeline_tables import quantity, span
from nunbit.report.timeline_tracks import passages, payload
from nunbit.report.timeline_view import TEXTS_FILE, TimelineView
from nunbit.runtime.files import write_text
from nunbit.runtime.resources import nunbit_version
from nunbit.statistics.scores import ratio

# --- ``OUT/<stem>/report.html``: video and all tracks of a recording under one cursor ---
#
# The page loads nothing from anywhere but the recording itself, and its content security policy
# forbids the rest. Reads what ``nunbit analyze`` wrote; knows nothing of models.

EMBED_LIMIT_BYTES = 64 * 1024 * 1024
"""Largest recording that is put into the page; browsers become slow beyond."""

_SCRIPTS = ("timeline_data.js", "timeline_draw.js", "timeline_media.js", "timeline.js")

_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm",
    ".mkv": "video/x-matroska", ".avi": "video/x-msvideo", ".ogv": "video/ogg",
    ".mp3": "audio/mpeg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".wav": "audio/wav",
    ".flac": "audio/flac", ".ogg": "audio/ogg", ".opus": "audio/ogg",
}  # fmt: skip


def render_timeline(
    folder: Path,
    *,
    lang: Lang,
    embed: bool = False,
    media: Path | None = None,
    unscored: Container[int] | None = None,
) -> Path:
    """Write ``report.html`` from the files of a timeline.

    Args:
        folder: ``OUT/<stem>/``.
        lang: Language of the page.
        embed: Put the recording into the page instead of linking it.
        media: Where the recording is; None takes the path in ``summary.json``.
        unscored: Numbers of the utterances whose wording is not scored, where they are known: then
            the analyser need not be loaded again for the rest.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: There is no timeline here, a file is damaged, or the recording is to be
            embedded and is missing or too large.
    """
    recording = read_recording(folder)
    where = media if media is not None else _stored_path(folder, recording.summary)
    if embed:
        check_embeddable(where, recording.summary["media"]["name"])
    source = _embedded(where) if embed else _link(folder, where)
    view = TimelineView(recording, lang, unscored=unscored)
    write_text(folder / REPORT, timeline_html(view, source))
    return folder / REPORT


def check_embeddable(media: Path, name: str) -> None:
    """Raise for a recording that cannot be embedded; call it before hours of work.

    Raises:
        InputError: It is missing or larger than ``EMBED_LIMIT_BYTES``.
    """
    if not media.is_file():
        raise InputError(
            Text(
                f"{name}: cannot embed a recording that is not there; put it beside the report or "
                "leave out `embed`",
                f"{name}: 파일이 없어 보고서에 넣을 수 없습니다. 보고서 옆에 두거나 `embed`를 "
                "빼십시오",
            )
        )
    size, limit = (f"{n / 2**20:.0f} MB" for n in (media.stat().st_size, EMBED_LIMIT_BYTES))
    if media.stat().st_size > EMBED_LIMIT_BYTES:
        raise InputError(
            Text(
                f"{media.name}: {size}, `embed` takes at most {limit}; leave it out (the page then "
                "links the file), or give a shorter or smaller copy",
                f"{media.name}: {size}입니다. `embed`는 {limit}까지 됩니다. `embed`를 빼서 파일을 "
                "연결하거나, 더 짧거나 작은 사본을 주십시오",
            )
        )


def timeline_html(view: TimelineView, source: str | None, *, framed: bool = False) -> str:
    """The page as text.

    Args:
        view: The recording and its texts.
        source: Relative link or data URI of the recording, or None.
        framed: Show the player and the tracks only, inside another page, which is told the height
            and the time of the cursor and may ask for a time (``postMessage``: ``{"seek": t}``).
    """
    data = payload(view)
    script = Markup('"use strict";\n') + Markup("\n").join(asset(name) for name in _SCRIPTS)
    return page(
        "timeline.html",
        view.t,
        view=view,
        d=view.d,
        more_style=colour_variables(view) + asset("timeline.css"),
        version=nunbit_version(),
        script=script,
        script_hash=_script_hash(script),
        data=_safe_json(data),
        tracks=data["tracks"],
        source=source,
        framed=framed,
        is_audio=view.d["media"].get("video") is None,
        legend=[c for c in view.classes if c not in view.r.unvalidated],
        **({} if framed else _around(view)),
    )


def _around(view: TimelineView) -> dict[str, Any]:
    """What the page has besides the player and the tracks."""
    sync, warns = view.sync()
    plain, experimental = tables.measure_tables(view)
    return {
        "findings": view.findings(),
        "notices": view.notices(),
        "missing": view.missing(),
        "passages": passages(view),
        "figures": tables.glance(view),
        "shares": tables.class_shares(view),
        "measures": plain,
        "experimental": experimental,
        "based": any(row.baseline for group in (*plain, *experimental) for row in group.rows),
        "episodes": tables.episode_rows(view),
        "moments": tables.first_moments(view),
        "expected": tables.expected_lines(view),
        "interval_note": tables.interval_note(view),
        "states": tables.state_groups(view),
        "sync": sync,
        "sync_warns": warns,
        "definitions": view.definitions(),
        "spreads": tables.spread_rows(view),
        "functionals": [view.t(f"functional.{name}") for name in FUNCTIONALS],
        "crisis": crisis_line(view.t),
    }


def colour_variables(view: TimelineView) -> Markup:
    """Colours of classes and modalities as custom properties, for light and dark pages."""
    pairs = {
        **{f"--class-{i}": c for i, c in enumerate(class_colours(view.r.label_set).values())},
        **{f"--{name}": colour for name, colour in MODALITY_COLOURS.items()},
    }

    def block(which: int) -> str:
        return ":root{" + "".join(f"{name}:{c[which]};" for name, c in pairs.items()) + "}"

    dark = f"@media screen and (prefers-color-scheme:dark){{{block(1)}}}"
    return Markup(f"\n{block(0)}\n{dark}\n")


def crisis_line(t: Texts) -> Markup:
    """The crisis line with its number and address as links; the texts are the package's."""
    phone = Markup('<a href="tel:109"><b>109</b></a>')
    site = Markup('<a href="https://findahelpline.com" rel="noreferrer">findahelpline.com</a>')
    return Markup(t("care.crisis")).format(phone=phone, site=site)


def _safe_json(data: Any) -> Markup:
    """JSON that cannot close its HTML element, whatever a transcript contains."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"),
                            ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):  # fmt: skip
        text = text.replace(character, code)
    return Markup(text)


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _stored_path(folder: Path, summary: Document) -> Path:
    """Path of the recording by the summary, if it exists; else beside the report."""
    names = [str(summary["media"][key]) for key in ("path", "name") if summary["media"].get(key)]
    places = [base / name for name in names for base in (folder, folder.parent)]
    return next((path for path in places if path.is_file()), places[0])


def _link(folder: Path, media: Path) -> str:
    """Relative link to the recording, so that the folders can be moved together."""
    try:
        relative = os.path.relpath(media.resolve(), folder.resolve())
    except ValueError:  # another drive of Windows
        return quote(os.fsencode(media.name))
    return quote(os.fsencode(Path(relative).as_posix()))


def _embedded(media: Path) -> str:
    kind = _TYPES.get(media.suffix.lower(), "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(media.read_bytes()).decode('ascii')}"


# --- ``OUT/index.html``: every recording of a folder with key measures and a small ribbon ---
#
# One row a session, one table a person: sessions of different persons are not to be compared.

Paths = tuple[tuple[tuple[str, str], str], ...]
Gaps = tuple[tuple[float, float], ...]
Classes = tuple[tuple[str, tuple[str, str]], ...]

INDEX = "index.html"

COLUMNS = ("face_coverage", "speech_share", "speech_rate", "pause_sd", "response_latency",
           "expressivity", "joy_time")  # fmt: skip
"""How much could be read, then the ordinary measures of grades A and B."""

_FIND_FROM = 12
"""Recordings above which the list has a search: fewer fit on a screen or two."""

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
        group: Group or condition, '' if none was given.
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
    group: str = ""
    length: str = ""
    paths: Paths = ()
    ribbon: str = ""
    lost: Gaps = ()
    cells: tuple[Cell, ...] = ()
    classes: Classes = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def find(self) -> str:
        """What a search in the list looks at."""
        return " ".join(filter(None, (self.session, self.subject, self.group, *self.notes)))


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
        raise no_recordings(out)
    write_text(out / INDEX, sessions_html([_row(folder, lang) for folder in folders], lang))
    return out / INDEX


def no_recordings(out: Path) -> InputError:
    """The error for a folder in which nothing was analysed."""
    return InputError(
        Text(
            f"{out}: no analysed recordings here (no */summary.json); give the `out` of `analyze`",
            f"{out}: 분석한 녹화가 없습니다(*/summary.json 없음). `analyze`의 `out` 폴더를 "
            "주십시오",
        )
    )


def sessions_html(rows: Sequence[SessionRow], lang: Lang) -> str:
    """The page as text."""
    t = Texts(lang, TEXTS_FILE)
    script = Markup('"use strict";\n') + asset("sessions.js") if len(rows) > _FIND_FROM else ""
    return page(
        "sessions.html",
        t,
        script=script,
        script_hash=_script_hash(script),
        more_style=asset("timeline.css"),
        version=nunbit_version(),
        people=sorted(lists_by_key((row.subject, row) for row in rows).items()),
        n=len(rows),
        columns=TimelineView.column_names(lang, COLUMNS),
        legend=dict(pair for row in rows for pair in row.classes),
        crisis=crisis_line(t),
        height=_HEIGHT,
        bins=_BINS,
    )


def _row(folder: Path, lang: Lang) -> SessionRow:
    t = Texts(lang, TEXTS_FILE)
    link = f"{quote(folder.name)}/{REPORT}" if (folder / REPORT).is_file() else ""
    try:
        recording = read_glance(folder)
    except NunbitError as exc:
        # One damaged session must not hide the others.
        return SessionRow(folder.name, link, notes=(t("sessions.unreadable",
                                                      reason=exc.text.line(lang)),))  # fmt: skip
    view = TimelineView(recording, lang)
    paths, lost, classes, source = _ribbon(view)
    return SessionRow(
        session=str(recording.summary["session"]),
        link=link,
        subject=str(recording.summary.get("subject") or ""),
        group=str((recording.summary.get("about") or {}).get("group") or ""),
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
        return Cell(shapes.MISSING, reason=view.reason(entry.get("mask_reason") or "unknown"))
    unit, ci = entry.get("unit") or "", entry.get("ci")
    return Cell(quantity(view, entry["value"], unit), span(view, ci, unit) if ci else "")


def _notes(view: TimelineView) -> tuple[str, ...]:
    t, sync, media, odd = view.t, view.d.get("sync") or {}, view.d["media"], len(view.findings())
    apart = sync.get("offset_s") if sync.get("warning") else None
    absent = (t(f"what.{name}") for name in ("video", "audio") if media.get(name) is None)
    missing = ", ".join(dict.fromkeys((*(what for what, _, _ in view.missing()), *absent)))
    notes = (
        t("sessions.findings", n=odd) if odd else "",
        t("sessions.synthetic") if view.d.get("synthetic") else "",
        t("sessions.sync", ms=round(abs(apart) * 1000)) if apart is not None else "",
        t("sessions.missing", list=missing) if missing else "",
    )
    return tuple(note for note in notes if note)


def _ribbon(view: TimelineView) -> tuple[Paths, Gaps, Classes, str]:
    """Outlines of the classes from the widest to the lowest, gaps, names, source."""
    sources = (m for m in ("fused", "face", "voice", "text") if view.probabilities(m))
    if (modality := next(sources, None)) is None:
        return (), ((0.0, float(_BINS)),), (), ""
    columns = view.probabilities(modality)
    order = stacking_order(view.r.label_set, tuple(columns))
    shares = np.stack([_binned(view.r, columns[c].value) for c in order])  # (K, bins)
    there = np.asarray(np.isfinite(shares).all(axis=0))
    tops = np.cumsum(np.where(there, shares, 0.0), axis=0)
    colours = class_colours(view.r.label_set)
    paths = [
        (colours[order[k]], outline)
        for k in reversed(range(len(order)))
        if (outline := _outline(tops[k], there))
    ]
    gaps = tuple((float(a), float(b - a)) for a, b in runs(~there))
    names = tuple((view.name(c), colours[c]) for c in reversed(order))
    return tuple(paths), gaps, names, view.source(modality)


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
    # A bin of mostly missing windows is missing.
    return ratio(total, np.where(2 * count >= np.bincount(at, minlength=_BINS), count, 0))


def _outline(top: Floats, there: Any) -> str:
    """SVG path from the bottom edge up to ``top``, with steps, one piece per stretch."""
    steps = [f"V{_HEIGHT * (1 - min(1.0, y)):.1f}H{x}" for x, y in enumerate(top, start=1)]
    return "".join(f"M{a} {_HEIGHT}{''.join(steps[a:b])}V{_HEIGHT}Z" for a, b in runs(there))
