"""``OUT/<stem>/report.html``: video and all tracks of a recording under one cursor, in one file.

The page loads nothing from anywhere but the recording itself, and its content security policy
forbids the rest. Reads what ``nunbit analyze`` wrote; knows nothing of models.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from nunbit.errors import InputError, Lang
from nunbit.files import write_text
from nunbit.measures import FUNCTIONALS
from nunbit.provenance import nunbit_version
from nunbit.report import timeline_tables as tables
from nunbit.report.page import REPORT, asset, environment
from nunbit.report.texts import Texts
from nunbit.report.timeline_colours import MODALITIES, class_colours
from nunbit.report.timeline_data import read_recording
from nunbit.report.timeline_passages import passages
from nunbit.report.timeline_tracks import payload
from nunbit.report.timeline_view import TimelineView

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
    folder: Path, *, lang: Lang, embed: bool = False, media: Path | None = None
) -> Path:
    """Write ``report.html`` from the files of a timeline.

    Args:
        folder: ``OUT/<stem>/``.
        lang: Language of the page.
        embed: Put the recording into the page instead of linking it.
        media: Where the recording is; None takes the path in ``summary.json``.

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
    source = _embedded(where) if embed and where is not None else _link(folder, where)
    path = folder / REPORT
    write_text(path, timeline_html(TimelineView(recording, lang), source))
    return path


def check_embeddable(media: Path | None, name: str) -> None:
    """Refuse a recording that cannot lie inside the page; worth calling before hours of work.

    Raises:
        InputError: It is missing or larger than ``EMBED_LIMIT_BYTES``.
    """
    if media is None or not media.is_file():
        raise InputError(
            en=f"{name}: cannot embed a recording that is not there; put it beside the report or "
            "leave out --embed",
            ko=f"{name}: 파일이 없어 보고서에 넣을 수 없습니다. 보고서 옆에 두거나 --embed를 "
            "빼십시오",
        )
    size, limit = media.stat().st_size, EMBED_LIMIT_BYTES
    if size > limit:
        raise InputError(
            en=f"{media.name}: {size / 2**20:.0f} MB, --embed takes at most {limit / 2**20:.0f} "
            "MB; leave it out (the page then links the file), or give a shorter or smaller copy",
            ko=f"{media.name}: {size / 2**20:.0f} MB입니다. --embed는 {limit / 2**20:.0f} MB까지 "
            "됩니다. --embed를 빼서 파일을 연결하거나, 더 짧거나 작은 사본을 주십시오",
        )


def timeline_html(view: TimelineView, source: str | None) -> str:
    """The page as text.

    Args:
        view: The recording and its texts.
        source: Relative link or data URI of the recording, or None.
    """
    data = payload(view)
    script = Markup('"use strict";\n') + Markup("\n").join(asset(name) for name in _SCRIPTS)
    plain, experimental = tables.measure_tables(view)
    sync, warns = view.sync()
    html: str = (
        environment()
        .get_template("timeline.html")
        .render(
            lang=view.lang,
            t=view.t,
            d=view.d,
            view=view,
            version=nunbit_version(),
            style=asset("style.css") + colour_variables(view) + asset("timeline.css"),
            script=script,
            script_hash=_script_hash(script),
            data=_safe_json(data),
            tracks=data["tracks"],
            source=source,
            is_audio=view.d["media"].get("video") is None,
            colours=class_colours(view.r.label_set),
            findings=view.findings(),
            notices=view.notices(),
            missing=view.missing(),
            passages=passages(view),
            figures=tables.glance(view),
            shares=tables.class_shares(view),
            measures=plain,
            experimental=experimental,
            based=any(row.baseline for group in (*plain, *experimental) for row in group.rows),
            episodes=tables.episode_rows(view),
            expected=tables.expected_lines(view),
            interval_note=tables.interval_note(view),
            states=tables.state_groups(view),
            sync=sync,
            sync_warns=warns,
            definitions=view.definitions(),
            spreads=tables.spread_rows(view),
            functionals=[view.t(f"functional.{name}") for name in FUNCTIONALS],
            crisis=crisis_line(view.t),
            legend=[c for c in view.classes if c not in view.r.unvalidated],
        )
    )
    return html


def colour_variables(view: TimelineView) -> Markup:
    """Colours of classes and modalities as custom properties, for light and dark pages."""
    pairs = {f"--class-{i}": c for i, c in enumerate(class_colours(view.r.label_set).values())}
    pairs |= {f"--{name}": colour for name, colour in MODALITIES.items()}

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
    """JSON that cannot end the element it stands in, whatever a transcript says."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"),
                            ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):  # fmt: skip
        text = text.replace(character, code)
    return Markup(text)


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")


def _stored_path(folder: Path, summary: dict[str, Any]) -> Path:
    """Where the summary says the recording is, if it is there; else beside the report."""
    stored = summary["media"].get("path")
    names = [str(name) for name in (stored, summary["media"]["name"]) if name]
    places = [base / name for name in names for base in (folder, folder.parent)]
    return next((path for path in places if path.is_file()), places[0])


def _link(folder: Path, media: Path | None) -> str | None:
    """How the page finds the recording: relative, so that the folders can move together."""
    if media is None:
        return None
    try:
        relative = os.path.relpath(media.resolve(), folder.resolve())
    except ValueError:  # another drive of Windows
        return quote(os.fsencode(media.name))
    return quote(os.fsencode(Path(relative).as_posix()))


def _embedded(media: Path) -> str:
    kind = _TYPES.get(media.suffix.lower(), "application/octet-stream")
    return f"data:{kind};base64,{base64.b64encode(media.read_bytes()).decode('ascii')}"
