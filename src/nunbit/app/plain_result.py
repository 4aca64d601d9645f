"""The plain page of a result: how much could be read, what not and why, and where to look first.

Names, sentences and moments are those of the report, made by the same code; the player and the
tracks are the report itself in a frame. What is measured is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from nunbit.app.access import REPORT_POLICY, Refusal
from nunbit.app.exporting import send_export, send_table
from nunbit.app.routes import PROBLEMS, AtDesk, Desk, Opened
from nunbit.app.sessions import SUMMARY_FILE
from nunbit.app.store import Row, Store
from nunbit.app.transfers import send_media, send_report
from nunbit.core.messages import LANGS, Lang, Text
from nunbit.runtime.files import write_text
from nunbit.runtime.resources import nunbit_version, packaged_table

if TYPE_CHECKING:  # arrays and reports take most of a second to import: the app starts without
    from nunbit.core.streams import Flags
    from nunbit.report.timeline_data import Recording
    from nunbit.report.timeline_tables import MeasureGroup
    from nunbit.report.timeline_view import TimelineView

router = APIRouter(prefix="/api", responses=PROBLEMS)

MEDIA_MARK = "/open/the-recording"
"""Stands in a kept frame for the address of the recording, which is another each time."""

_VOICED = "f0_median"
_WITNESS = {"face": "p_", "voice": _VOICED, "words": "p_"}
"""Measures that are there in a window exactly where its part could be read."""
_MODALITY = {"face": "face", "voice": "voice", "words": "text"}
_LEAST_SHARE = 0.005

Part = Literal["face", "voice", "words"]


@dataclass(frozen=True)
class WhyNot:
    """A reason why something could not be read, and its share of the recording, 0 to 1."""

    reason: str
    share: float


@dataclass(frozen=True)
class PartRead:
    """How much of the face, the voice or the words could be read.

    Attributes:
        part: Which.
        share: Of the windows of the recording, 0 to 1; None where there is nothing of the kind.
        why: What could not be read, the most frequent reason first.
    """

    part: Part
    share: float | None
    why: tuple[WhyNot, ...]


@dataclass(frozen=True)
class Moment:
    """A moment to watch: seconds of the recording, the stretch in words, and why."""

    t: float
    time: str
    why: str


@dataclass(frozen=True)
class MeasurePlain:
    """A measure in words: name, what it means, value with unit, interval, why it is missing."""

    name: str
    meaning: str
    value: str
    interval: str
    reason: str
    baseline: str


@dataclass(frozen=True)
class MeasuresOf:
    """The measures of one source; ``missing`` are reasons with the names they concern."""

    title: str
    rows: tuple[MeasurePlain, ...]
    missing: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PlainResult:
    """A result in plain words, in one language.

    Attributes:
        duration_s: Of the recording.
        speaker: Name of the participant in the transcript, or None.
        words: How many words were read.
        parts: How much could be read.
        moments: At most five.
        moments_note: By what rule they were chosen.
        notices: What to know before anything else.
        missing: What is missing altogether, and why.
        measures, experimental: In words.
        baseline_used: Whether values are compared with a neutral stretch.
        synthetic: Whether the recording was drawn.
    """

    duration_s: float
    speaker: str | None
    words: int
    parts: tuple[PartRead, ...]
    moments: tuple[Moment, ...]
    moments_note: str
    notices: tuple[str, ...]
    missing: tuple[str, ...]
    measures: tuple[MeasuresOf, ...]
    experimental: tuple[MeasuresOf, ...]
    baseline_used: bool
    synthetic: bool


@router.get("/sessions/{session}/plain")
def show_plain(row: Opened, desk: AtDesk, lang: Annotated[Lang, Query()] = "ko") -> PlainResult:
    """The result in plain words; refused where the session has none yet."""
    place, _ = _ready(desk, row)
    return _restored(kept_plain(place, lang))


def kept_plain(folder: Path, lang: Lang) -> dict[str, Any]:
    """The plain page of an analysed recording, kept in its folder, hidden.

    It is made again when the result has changed, from what it needs: of two hours a tenth.

    Raises:
        InputError: The folder holds no timeline, or a damaged one.
    """
    from nunbit.report.timeline_data import read_glance
    from nunbit.report.timeline_view import TimelineView

    place, key = folder / f".plain.{lang}.json", _key(folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        document = json.loads(place.read_text(encoding="utf-8"))
        if document["key"] == key:
            return dict(document["result"])
    recording = read_glance(folder, more=(_VOICED,), reasons=True)
    result = asdict(_result(TimelineView(recording, lang, plain=True)))
    _keep(folder, place, json.dumps({"key": key, "result": result}, ensure_ascii=False))
    return result


def kept_frame(folder: Path, lang: Lang, *, has_media: bool) -> str:
    """The framed report, kept likewise; the address of its recording is ``MEDIA_MARK``.

    Raises:
        InputError: The folder holds no timeline, or a damaged one.
    """
    from nunbit.report.timeline_data import read_recording
    from nunbit.report.timeline_page import timeline_html
    from nunbit.report.timeline_view import TimelineView

    place, key = folder / f".framed.{lang}.html", f"<!-- {_key(folder)} {has_media} -->\n"
    with _drawing:  # who opens it while it is drawn beforehand takes that one
        with contextlib.suppress(OSError):
            if (html := place.read_text(encoding="utf-8")).endswith(key):
                return html
        if key not in _read_last:
            _read_last.clear()
            _read_last[key] = read_recording(folder)
        view = TimelineView(_read_last[key], lang, plain=True)
        html = timeline_html(view, MEDIA_MARK if has_media else None, framed=True) + key
    _keep(folder, place, html)
    return html


def _keep(folder: Path, place: Path, text: str) -> None:
    """Write into a session's folder, unless it was deleted meanwhile."""
    with Store.folders:
        _key(folder)
        write_text(place, text)


def draw_pages(folder: Path, *, has_media: bool) -> None:
    """Make the pages of a result in both languages before somebody opens them.

    Raises:
        InputError: The folder holds no timeline, or a damaged one.
    """
    try:
        for lang in LANGS:
            kept_plain(folder, lang)
            kept_frame(folder, lang, has_media=has_media)
    finally:
        with _drawing:
            _read_last.clear()


_drawing = threading.RLock()
_read_last: dict[str, Recording] = {}
"""The recording read last, for the second of its two pages."""


def _key(folder: Path) -> str:
    """Changes with the result and with nunbit; refused where the result was deleted meanwhile."""
    try:
        stamp = (folder / SUMMARY_FILE).stat()
    except FileNotFoundError as exc:
        raise Refusal("nothing_there", what=Text("result", "결과")) from exc
    return f"{nunbit_version()} {stamp.st_mtime_ns} {stamp.st_size}"


def _ready(desk: Desk, row: Row) -> tuple[Path, bool]:
    if SUMMARY_FILE not in desk.sessions.files(row):
        raise Refusal("nothing_there", what=Text("result", "결과"))
    return desk.sessions.place(row), desk.sessions.media(row) is not None


def _result(view: TimelineView) -> PlainResult:
    from nunbit.report import timeline_tables as tables
    from nunbit.report.timeline_view import said_plainly

    plain, experimental = tables.measure_tables(view)
    measured = view.d["measures"]
    words = view.d.get("transcript") or {}
    return PlainResult(
        duration_s=view.r.duration_s,
        speaker=view.target_speaker,
        words=int(words.get("words") or 0),
        parts=tuple(_parts(view)),
        moments=tuple(
            Moment(m["at"], m["time"], m["why"][:1].upper() + m["why"][1:])
            for m in tables.first_moments(view)
        ),
        moments_note=view.t("moments.note"),
        notices=tuple(_reworded((*view.notices(), *view.findings()))),
        missing=tuple(
            _reworded(f"{what}: {said_plainly(reason)}" for what, reason, _ in view.missing())
        ),
        measures=tuple(_measures(plain)),
        experimental=tuple(_measures(experimental)),
        baseline_used=any(each.get("baseline") is not None for each in measured),
        synthetic=bool(view.d.get("synthetic")),
    )


def _reworded(notices: Iterable[str]) -> Iterator[str]:
    """Notices in a clinician's words; the result itself keeps those it was written with."""
    words = [pair for pairs in packaged_table("app/plain_words.toml").values() for pair in pairs]
    for notice in dict.fromkeys(notices):
        for old, new in words:
            notice = notice.replace(old, new)
        yield notice


def _restored(document: dict[str, Any]) -> PlainResult:
    """The result as it was kept."""

    def groups(name: str) -> tuple[MeasuresOf, ...]:
        return tuple(
            MeasuresOf(
                each["title"],
                tuple(MeasurePlain(**row) for row in each["rows"]),
                tuple((why, names) for why, names in each["missing"]),
            )
            for each in document[name]
        )

    parts = tuple(
        PartRead(each["part"], each["share"], tuple(WhyNot(**why) for why in each["why"]))
        for each in document["parts"]
    )
    return PlainResult(**{
        **document, "parts": parts,
        "moments": tuple(Moment(**each) for each in document["moments"]),
        "notices": tuple(document["notices"]), "missing": tuple(document["missing"]),
        "measures": groups("measures"), "experimental": groups("experimental"),
    })  # fmt: skip


def _measures(groups: Sequence[MeasureGroup]) -> Iterator[MeasuresOf]:
    for group in groups:
        rows = tuple(
            MeasurePlain(row.name, row.meaning, row.value, row.interval, row.reason,
                         " ".join(filter(None, (row.baseline, row.z))))
            for row in group.rows
        )  # fmt: skip
        yield MeasuresOf(group.title, rows, group.missing)


def _parts(view: TimelineView) -> Iterator[PartRead]:
    import numpy as np

    media = view.d["media"]
    there: dict[Part, bool] = {
        "face": media.get("video") is not None,
        "voice": media.get("audio") is not None,
        "words": view.d.get("transcript") is not None,
    }
    for part, has in there.items():
        read, reasons = _read(view.r, part) if has else (None, None)
        if read is None or reasons is None or not len(read):
            yield PartRead(part, None, ())
            continue
        names, counts = np.unique(reasons[~read], return_counts=True)
        order = sorted(zip(counts.tolist(), names.tolist(), strict=True), reverse=True)
        why = tuple(
            WhyNot(view.reason(str(name) or "unknown"), round(count / len(read), 4))
            for count, name in order
            if count / len(read) >= _LEAST_SHARE
        )
        yield PartRead(part, round(float(read.mean()), 4), why)


def _read(recording: Recording, part: Part) -> tuple[Flags, Any] | tuple[None, None]:
    """(W,) whether a part could be read in each window, and (W,) why not."""
    wanted, modality = _WITNESS[part], _MODALITY[part]
    own = [
        series
        for (source, measure, track), series in recording.series.items()
        if source == modality and not track and measure.startswith(wanted)
        and measure.removeprefix("p_") not in recording.unvalidated
    ]  # fmt: skip
    if not own:
        return None, None
    best = max(own, key=lambda series: int(series.there.sum()))
    return best.there, best.reasons


def send_view(desk: Desk, row: Row, lang: Lang) -> Response:
    """The player and the tracks of the report, to be shown in a frame of the page.

    Raises:
        Refusal: There is no result yet.
    """
    place, has_media = _ready(desk, row)
    desk.sessions.store.note_down("report_read", row["id"])
    html = kept_frame(place, lang, has_media=has_media)
    if has_media:
        ticket = desk.tickets.issue((row["id"], "media"), player=True)
        html = html.replace(MEDIA_MARK, f"/open/{ticket}", 1)
    policy = REPORT_POLICY.replace("frame-ancestors 'none'", "frame-ancestors 'self'")
    return Response(
        html,
        media_type="text/html",
        headers={
            "content-security-policy": policy,
            "x-frame-options": "SAMEORIGIN",
            # In its sandbox it has no origin, so that nothing is the same origin for it.
            "cross-origin-opener-policy": "unsafe-none",
            "cross-origin-resource-policy": "cross-origin",
        },
    )


def open_ticket(ticket: str, desk: Desk) -> Response:
    """What a ticket was made for."""
    held = desk.tickets.use(ticket)
    if callable(held):
        answer: Response = held()
        return answer
    session, what = held
    row = desk.sessions.find(session)
    with desk.sessions.standing(row):
        return _opened(desk, row, what)


def _opened(desk: Desk, row: Row, what: str) -> Response:
    kind, _, name = what.partition(":")
    if kind == "table":
        return send_table(desk, row, name, "csv")
    if kind == "export":
        return send_export(desk, row, name)
    if kind == "view":
        return send_view(desk, row, "en" if name == "en" else "ko")
    if kind == "report":
        return send_report(desk, row)
    played = send_media(desk, row)
    played.headers["cross-origin-resource-policy"] = "cross-origin"  # a framed report has no origin
    return played
