"""The REST routes: a request checked, one thing done, a plain document back.

What is sent is described by types, so that ``/openapi.json`` is complete. Every change of a
session, a consent or a job leaves a line in the audit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Path as PathPart
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from nunbit.app.access import Keyring, Refusal, Tickets
from nunbit.app.face_work import model_of
from nunbit.app.jobs import JobQueue, Outline
from nunbit.app.sessions import SUMMARY_FILE, Sessions, SessionWhole
from nunbit.app.store import (
    MOST_RETENTION_DAYS,
    Consent,
    Days,
    Name,
    NewId,
    NoteKind,
    NoteShown,
    ParticipantShown,
    Receipt,
    Row,
    SessionKey,
    SessionShown,
)
from nunbit.app.transfers import (
    Received,
    incoming,
    receive,
    send_media,
    send_report,
)
from nunbit.core.messages import LANGS
from nunbit.recording.paths import transcript_ending
from nunbit.runtime.files import read_json

_UPLOAD_DAYS = 30


@dataclass
class Desk:
    """What the routes work with.

    Attributes:
        sessions: Sessions.
        jobs: The queue.
        tickets: Links for a moment.
        folder: The data folder.
        about: Fills the answer of ``/api/about``.
        predict: Encoded picture and its language to the answer of ``/api/predict``.
        limits: Field of an upload -> MB.
        keep_free_mb: Room that stays on the disk.
        bundle: Folder of another bundle than the shipped one.
        here: Whether only this machine reaches the app.
        exporting, looking: One at a time, for each takes a core.
        model_changed: Called when another model was chosen for later analyses.
        end: Ends the app.
    """

    sessions: Sessions
    jobs: JobQueue
    tickets: Tickets
    folder: Path
    about: Any
    predict: Any
    limits: dict[str, int]
    keep_free_mb: int
    bundle: Path | None = None
    here: bool = True
    exporting: threading.Lock = field(default_factory=threading.Lock)
    looking: threading.Lock = field(default_factory=threading.Lock)
    model_changed: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None

    def bundle_of(self, row: Row) -> Path | None:
        """Folder of the model that a finished session was analysed with; None if shipped.

        Raises:
            Refusal: It is not there any more.
        """
        summary = read_json(self.sessions.place(row) / SUMMARY_FILE)
        return model_of(self.folder, self.bundle, summary)


# -- what is sent ----------------------------------------------------------------------------------


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class NewParticipant(_Sent):
    """A participant, by a code that names nobody."""

    code: Annotated[str, Field(max_length=64, description="1-32 letters, digits, '-' or '_'.")]


class NewSession(_Sent):
    """A session that is to be recorded."""

    participant: Annotated[Name, Field(description="Id or code.")]
    consent: Name
    keep_media: bool = False
    retention_days: Days | None = None


class NewNote(_Sent):
    """A note on the axis."""

    t: Annotated[float, Field(ge=0, le=86_400, description="Seconds of the session.")]
    kind: NoteKind = "note"
    text: Annotated[str, Field(max_length=4000)] = ""


class BaselineStretch(_Sent):
    """A neutral stretch of the person, in seconds."""

    start: Annotated[float, Field(alias="from", ge=0, le=86_400)]
    end: Annotated[float, Field(alias="to", gt=0, le=86_400)]


class Wish(_Sent):
    """What a link is to open: report, view:LANG, media, table:NAME or export:KIND."""

    what: Annotated[
        str, Field(max_length=80, pattern=r"^(report|view:(ko|en)|media|table:.+|export:.+)$")
    ]


class Confirmation(_Sent):
    """The participant's code or the session's id, so that nothing is deleted by a slip."""

    confirm: Name


# -- what is answered ------------------------------------------------------------------------------


class ProblemWords(BaseModel):
    """The same in two languages."""

    code: str
    ko: str
    en: str


class Problem(BaseModel):
    """Every answer from 400 on."""

    error: ProblemWords


class Queued(BaseModel):
    """An upload that waits for its analysis."""

    job: Outline
    session: SessionKey


class SessionsShown(BaseModel):
    """All sessions that are not deleted."""

    sessions: list[SessionShown]


class Receipts(BaseModel):
    """A receipt for every session that was deleted."""

    receipts: list[Receipt]


class Link(BaseModel):
    """An address that opens once, within a minute; media for ten minutes."""

    url: str


# -- the routes ------------------------------------------------------------------------------------

PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": words}
    for code, words in {
        401: "No key, or a wrong one", 403: "Another page, or not this session's key",
        404: "There is none", 409: "Not now", 413: "Too long", 422: "It does not fit",
    }.items()
}  # fmt: skip

router = APIRouter(prefix="/api", responses=PROBLEMS)


def desk_of(request: Request) -> Desk:
    """The desk of this app."""
    found: Desk = request.app.state.desk
    return found


def keys_of(request: Request) -> Keyring:
    """The keys that a request came with; the guard has looked at them."""
    found: Keyring = request.scope["state"]["keys"]
    return found


def opened(
    session: Annotated[str, PathPart(max_length=40)],
    request: Request,
    x_session_key: Annotated[str, Header(description="The session's key.")] = "",
) -> Iterator[Row]:
    """The session of a path, to someone with its key; what fails as it is deleted is told so."""
    sessions = desk_of(request).sessions
    row = sessions.open(session, keys_of(request))
    try:
        yield row
    except Exception:
        sessions.find(session)
        raise


AtDesk = Annotated[Desk, Depends(desk_of)]
Opened = Annotated[Row, Depends(opened)]


def owner(request: Request) -> None:
    """Only with the app's own key: a session's key opens that session and nothing else."""
    if not keys_of(request).app:
        raise Refusal("wrong_key")


Owner = Depends(owner)


@router.get("/about", dependencies=[Owner])
def about(desk: AtDesk) -> dict[str, Any]:
    """Version, model, classes with their colours, recogniser, and what this is not."""
    found: dict[str, Any] = desk.about()
    return found


@router.post(
    "/predict",
    dependencies=[Owner],
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["image"],
        "properties": {"image": {"type": "string", "format": "binary"}}}}}}},
)  # fmt: skip
async def predict_picture(request: Request, desk: AtDesk) -> dict[str, Any]:
    """Faces of a picture and their class probabilities; the picture is not kept."""
    with incoming(desk) as folder:
        got = await receive(request, folder, {"image": desk.limits["image"]}, desk.keep_free_mb)
        return await run_in_threadpool(lambda: desk.predict(got.picture()))


@router.post(
    "/analyses",
    status_code=202,
    dependencies=[Owner],
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["media"],
        "properties": {
            "media": {"type": "string", "format": "binary"},
            "transcript": {"type": "string", "format": "binary"},
            "lang": {"type": "string", "enum": ["ko", "en"]},
            "retention_days": {"type": "integer", "minimum": 1, "maximum": MOST_RETENTION_DAYS},
        }}}}}},
)  # fmt: skip
async def analyse_upload(request: Request, desk: AtDesk) -> Queued:
    """Upload a recording; it is analysed in the queue and is a session from then on."""
    limits = {name: desk.limits[name] for name in ("media", "transcript")}
    with incoming(desk) as folder:
        got = await receive(request, folder, limits, desk.keep_free_mb)
        return await run_in_threadpool(_queued, desk, got)


def _queued(desk: Desk, got: Received) -> Queued:
    media, ending = got.media()
    transcript = got.text("transcript")
    spoken = got.fields.get("lang", "ko")
    days = got.fields.get("retention_days", str(_UPLOAD_DAYS))
    if spoken not in LANGS:
        raise Refusal("invalid", where="lang", problem="ko, en")
    if not days.isdecimal() or not 1 <= int(days) <= MOST_RETENTION_DAYS:
        raise Refusal("invalid", where="retention_days", problem=f"1-{MOST_RETENTION_DAYS}")
    with desk.sessions.store.folders:  # who deletes it sees it whole
        row, key = desk.sessions.create_for_upload(int(days))
        place, name = desk.sessions.place(row), f"{row['id']}.{ending}"
        options = {"media": name, "lang": spoken, "bytes": media.stat().st_size}
        media.replace(place / name)
        if transcript is not None:
            name = f"transcript.{transcript_ending(got.files['transcript'][1])}"
            transcript.replace(place / name)
            options["transcript"] = name
        with desk.sessions.store.changing():
            desk.sessions.store.set("sessions", row["id"], state="analysing")
            job = desk.jobs.add("analyze", row["id"], options)
    return Queued(job=desk.jobs.outline(job), session=SessionKey(row["id"], key))


@router.get("/jobs", dependencies=[Owner])
def list_jobs(desk: AtDesk) -> dict[Literal["jobs"], list[Outline]]:
    """All jobs, oldest first."""
    return {"jobs": desk.jobs.outlines()}


@router.get("/jobs/{job}", dependencies=[Owner])
def show_job(job: str, desk: AtDesk) -> Outline:
    """A job: state, progress, minutes left, place in the queue."""
    return desk.jobs.outline(desk.jobs.find(job))


@router.delete("/jobs/{job}", dependencies=[Owner])
def cancel_job(job: str, desk: AtDesk) -> Outline:
    """Cancel a job that waits or runs."""
    return desk.jobs.outline(desk.jobs.cancel(job))


@router.get("/participants", dependencies=[Owner])
def list_participants(desk: AtDesk) -> dict[Literal["participants"], list[ParticipantShown]]:
    """All participant codes."""
    rows = desk.sessions.store.rows("participants")
    return {"participants": [ParticipantShown(r["id"], r["code"]) for r in rows]}


@router.post("/participants", status_code=201, dependencies=[Owner])
def add_participant(sent: NewParticipant, desk: AtDesk) -> ParticipantShown:
    """Register a participant by a code that names nobody; the same code is the same participant."""
    row = desk.sessions.add_participant(sent.code)
    return ParticipantShown(row["id"], row["code"])


@router.delete("/participants/{participant}", dependencies=[Owner])
def forget_participant(participant: str, sent: Confirmation, desk: AtDesk) -> Receipts:
    """Delete a participant with all sessions and consents."""
    row = desk.sessions.participant(participant)
    if sent.confirm not in (row["code"], row["id"]):
        raise Refusal("confirm")
    return Receipts(receipts=desk.sessions.forget_participant(row["id"]))


@router.post("/consents", status_code=201, dependencies=[Owner])
def add_consent(sent: Consent, desk: AtDesk) -> NewId:
    """Record what everybody agreed to; what may not be recorded is refused with the reason."""
    return NewId(desk.sessions.add_consent(sent))


@router.delete("/consents/{consent}", dependencies=[Owner])
def withdraw_consent(consent: str, desk: AtDesk) -> Receipts:
    """Withdraw a consent: what was recorded on it is deleted."""
    return Receipts(receipts=desk.sessions.withdraw(consent))


@router.get("/sessions", dependencies=[Owner])
def list_sessions(desk: AtDesk) -> SessionsShown:
    """All sessions, without what is in them."""
    return SessionsShown(sessions=desk.sessions.summaries())


@router.post("/sessions", status_code=201, dependencies=[Owner])
def add_session(sent: NewSession, desk: AtDesk) -> SessionKey:
    """Make a session on a consent; it is recorded over the WebSocket ``/api/live``."""
    row, key = desk.sessions.create(
        sent.participant, sent.consent, sent.keep_media, sent.retention_days
    )
    return SessionKey(row["id"], key)


@router.get("/sessions/{session}")
def show_session(row: Opened, desk: AtDesk) -> SessionWhole:
    """A session with its consent, files, tables, notes and job."""
    with desk.sessions.standing(row):
        return desk.sessions.whole(row, desk.jobs.outline)


@router.delete("/sessions/{session}", dependencies=[Owner])
def delete_session(session: str, sent: Confirmation, desk: AtDesk) -> Receipt:
    """Delete a session, look that its files are gone, and give a receipt."""
    row = desk.sessions.find(session)
    person = desk.sessions.store.row("participants", id=row["participant"])
    if sent.confirm not in (row["id"], person and person["code"]):
        raise Refusal("confirm")
    return desk.sessions.delete(session)


@router.post("/sessions/{session}/notes", status_code=201)
def add_note(row: Opened, sent: NewNote, desk: AtDesk) -> NoteShown:
    """Put a marker, note, question or answer on the axis of a session."""
    with desk.sessions.store.folders:
        row = desk.sessions.find(row["id"])  # it may have been deleted meanwhile
        note = desk.sessions.add_note(row["id"], sent.t, sent.kind, sent.text)
        desk.sessions.store.note_down("note_added", row["id"], sent.kind)
        desk.sessions.write_notes(row)
    return note


@router.get("/sessions/{session}/report")
def get_report(row: Opened, desk: AtDesk) -> Response:
    """The report, a page of its own."""
    return send_report(desk, row)


@router.get("/sessions/{session}/media")
def get_media(row: Opened, desk: AtDesk) -> Response:
    """The recording, where it was kept."""
    return send_media(desk, row)


@router.post("/sessions/{session}/ticket", status_code=201)
def make_ticket(row: Opened, sent: Wish, desk: AtDesk) -> Link:
    """A link that a browser may open by itself: once within a minute, media for ten minutes."""
    ticket = desk.tickets.issue((row["id"], sent.what), player=sent.what == "media")
    return Link(url=f"/open/{ticket}")
