"""From a consent to an analysis: upload a recording, choose the participant, begin.

The recording belongs to a session on a consent from the start. What the consent leaves out is not
taken: without ``media`` the uploaded copy goes once it is analysed, without ``words`` no transcript
is read, without ``face`` or ``voice`` only a copy without pictures or without sound is kept. Who is
analysed is chosen by a click on a face and by a name of the transcript, and stays with the session.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from nunbit.app.access import Refusal, key_hash, new_key, write_secret
from nunbit.app.children import (
    LOOK_FOLDER,
    AgreedPart,
    FrameShown,
    Look,
    LookHint,
    NumberedFace,
    SpeakerShown,
    SpokenStretch,
    look_at,
    part_of,
)
from nunbit.app.jobs import Outline
from nunbit.app.routes import PROBLEMS, AtDesk, BaselineStretch, Desk, Opened, Owner
from nunbit.app.sessions import KEY_FILE, Sessions
from nunbit.app.store import Row, SessionKey
from nunbit.app.transfers import Received, SessionFile, incoming, receive
from nunbit.core.messages import Text, text_of
from nunbit.recording.paths import transcript_ending

_OPEN = ("open", "failed")
_MOST_TITLE = 120
_TEXTS = ("transcript", "speakers")
_LATER_S = 0.5  # cues and windows do not notice less

router = APIRouter(prefix="/api", responses=PROBLEMS)


@dataclass(frozen=True)
class ConsentShown:
    """A consent that still holds: whose, when, for what, how long, and what it covers."""

    id: str
    participant: str
    date: str
    purpose: str
    purpose_text: str
    retention_days: int
    scope: dict[str, bool]
    sessions: int


class ClickedFace(BaseModel):
    """The face that was clicked: number of the frame from 0, number of the face from 1."""

    model_config = ConfigDict(extra="forbid")
    frame: Annotated[int, Field(ge=0, le=100)]
    number: Annotated[int, Field(ge=1, le=1000)]


class Begin(BaseModel):
    """What is analysed of a recording.

    ``face`` is needed where several people are seen, ``speaker`` where several speak. A transcript
    that seems to be of another recording is left out (``use_transcript`` false) or confirmed.
    ``upload`` is that of the look by which all this was chosen.
    """

    model_config = ConfigDict(extra="forbid")
    face: ClickedFace | None = None
    speaker: Annotated[str, Field(max_length=200)] = ""
    baseline: BaselineStretch | None = None
    use_transcript: bool = True
    transcript_fits: bool = False
    lang: Literal["ko", "en"] = "ko"
    upload: Annotated[str, Field(max_length=64)] = ""


@router.get("/consents", dependencies=[Owner])
def list_consents(desk: AtDesk) -> dict[Literal["consents"], list[ConsentShown]]:
    """Consents that hold, newest first, with the number of sessions that rest on each."""
    store = desk.sessions.store
    people = {row["id"]: row["code"] for row in store.rows("participants")}
    counts: dict[str, int] = {}
    for row in store.rows("sessions"):
        if row["state"] != "deleted" and row["consent"]:
            counts[row["consent"]] = counts.get(row["consent"], 0) + 1
    shown = [
        _consent(row, people[row["participant"]], counts.get(row["id"], 0))
        for row in reversed(store.rows("consents", withdrawn=None))
    ]
    return {"consents": shown}


def _consent(row: Row, code: str, sessions: int) -> ConsentShown:
    told = json.loads(row["document"])
    return ConsentShown(row["id"], code, told["date"], told["purpose"], told["purpose_text"],
                        told["retention_days"], told["scope"], sessions)  # fmt: skip


@router.post("/sessions/{session}/key", status_code=201, dependencies=[Owner])
def session_key(session: str, desk: AtDesk) -> SessionKey:
    """The key of a session, for another browser on this machine; refused to other machines."""
    if not desk.here:
        desk.sessions.find(session)
        raise Refusal("session_key")
    with desk.sessions.store.folders:  # nobody deletes it while its key is written
        row = desk.sessions.find(session)
        path = desk.sessions.place(row) / KEY_FILE
        try:
            key = path.read_text(encoding="utf-8").strip()
        except OSError:
            key = ""
        if key_hash(key) != row["key_hash"]:
            key = new_key()
            write_secret(path, key)
            desk.sessions.store.set("sessions", row["id"], key_hash=key_hash(key))
        desk.sessions.store.note_down("key_asked", row["id"])
    return SessionKey(row["id"], key)


@router.post(
    "/sessions/{session}/recording",
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object",
        "properties": {
            "media": {"type": "string", "format": "binary"},
            "transcript": {"type": "string", "format": "binary"},
            "speakers": {"type": "string", "format": "binary"},
            "title": {"type": "string", "maxLength": _MOST_TITLE},
        }}}}}},
)  # fmt: skip
async def add_recording(row: Opened, request: Request, desk: AtDesk) -> Look:
    """Upload the recording of a session, its transcript or who speaks when (RTTM), and look."""
    scope = _may_change(desk, row)
    limits = {"media": desk.limits["media"]} | dict.fromkeys(_TEXTS, desk.limits["transcript"])
    with incoming(desk) as folder:
        got = await receive(request, folder, limits, desk.keep_free_mb)
        await run_in_threadpool(_taken, desk, row, got, scope)
    return await run_in_threadpool(_look, desk, desk.sessions.find(row["id"]))


@router.get("/sessions/{session}/recording")
def show_recording(row: Opened, desk: AtDesk) -> Look:
    """What the recording of a session shows at first sight; refused where none was uploaded."""
    return _look(desk, row)


@router.get("/sessions/{session}/frames/{number}")
def show_frame(row: Opened, number: int, desk: AtDesk) -> Response:
    """A frame of the first look, JPEG; gone once the recording is analysed."""
    path = desk.sessions.place(row) / LOOK_FOLDER / f"{number}.jpg"
    if not path.is_file():
        raise Refusal("nothing_there", what=Text(f"frame {number}", f"{number}번 장면"))
    return SessionFile(desk.sessions, row, path, media_type="image/jpeg")


@router.post("/sessions/{session}/start", status_code=202)
def start(row: Opened, sent: Begin, desk: AtDesk) -> Outline:
    """Begin the analysis of the chosen person; it goes on whatever becomes of the page."""
    scope = _may_change(desk, row)
    look, choice = _look(desk, row), json.loads(row["choice"])
    if sent.upload and sent.upload != choice.get("upload"):  # chosen by the look of an earlier one
        raise Refusal("other_recording")
    files = dict(choice["files"])
    if not sent.use_transcript:
        files.pop("transcript", None)
    elif look.doubted and not sent.transcript_fits:
        raise Refusal("other_transcript")
    choice |= {"box": None, "time_s": None, "speaker": "", "subject": _code(desk, row)}
    if look.has_video and "face" in scope:
        choice |= _clicked(look, sent.face)
    names = [each.name for each in look.speakers] if files.keys() & set(_TEXTS) else []
    if len(names) > 1 and not sent.speaker:
        raise Refusal("no_speaker_chosen")
    if names:
        if sent.speaker and sent.speaker not in names:
            raise Refusal("no_such_speaker", name=sent.speaker[:40])
        choice["speaker"] = sent.speaker or names[0]
    wanted = {"choice": choice, "state": "analysing", "problem": None,
              "baseline_from": None, "baseline_to": None}  # fmt: skip
    if sent.baseline is not None:
        _check_baseline(
            row | {"duration_s": look.duration_s}, sent.baseline.start, sent.baseline.end
        )
        wanted |= {"baseline_from": sent.baseline.start, "baseline_to": sent.baseline.end}
    with desk.sessions.store.folders, desk.sessions.store.changing():
        now = desk.sessions.find(row["id"])
        _may_change(desk, now)  # a second click
        if now["choice"] != row["choice"]:  # what was looked at is no longer there
            raise Refusal("other_recording")
        size = (desk.sessions.place(row) / files["media"]).stat().st_size
        desk.sessions.store.set("sessions", row["id"], **wanted)
        job = desk.jobs.add("analyze", row["id"], files | {"lang": sent.lang, "bytes": size})
    return desk.jobs.outline(job)


@router.post("/sessions/{session}/baseline", status_code=202)
def set_baseline(row: Opened, sent: BaselineStretch, desk: AtDesk) -> Outline:
    """Compare the session's values with a neutral stretch of the same person; 60 s or more."""
    options = {"from": sent.start, "to": sent.end}
    with desk.sessions.store.folders, desk.sessions.store.changing():
        row = desk.sessions.find(row["id"])  # it may have been deleted meanwhile
        if row["state"] != "done":
            raise Refusal("still_recording")
        _check_baseline(row, sent.start, sent.end)
        desk.sessions.store.set("sessions", row["id"], state="analysing")
        desk.sessions.store.note_down("baseline_set", row["id"])
        job = desk.jobs.add("baseline", row["id"], options)
    return desk.jobs.outline(job)


def _check_baseline(row: Mapping[str, Any], start_s: float, end_s: float) -> None:
    """Refuse a neutral stretch that the session does not have.

    Raises:
        Refusal: It is too short or lies outside.
    """
    from nunbit.measures.estimate import MIN_BASELINE_S  # numpy

    duration = row["duration_s"] or 0.0
    if not (start_s >= 0 and start_s + MIN_BASELINE_S <= end_s <= duration + 0.5):
        raise Refusal("bad_baseline", start=f"{start_s:g}", end=f"{end_s:g}",
                      duration=f"{duration:.1f}", least=f"{MIN_BASELINE_S:g}")  # fmt: skip


def _may_change(desk: Desk, row: Row) -> frozenset[str]:
    """What the consent of a session covers, where its recording may still be chosen.

    Raises:
        Refusal: There is none, it was withdrawn, or the session is recorded already.
    """
    if row["state"] not in _OPEN or row["origin"] not in ("live", "file"):
        raise Refusal("not_open")
    if row["origin"] == "live" and row["started"]:
        raise Refusal("not_open")
    return desk.sessions.scope(row)


def _code(desk: Desk, row: Row) -> str:
    person = desk.sessions.store.row("participants", id=row["participant"])
    return str(person["code"]) if person else ""


def _taken(desk: Desk, row: Row, got: Received, scope: frozenset[str]) -> None:
    """Put what was uploaded into the session's folder."""
    # A copy without pictures or sound takes minutes, in which the database must not be held.
    part = part_of(*got.media(), scope) if "media" in got.files else None
    with desk.sessions.store.folders, desk.sessions.store.changing():
        row = desk.sessions.find(row["id"])
        _may_change(desk, row)  # another page may have begun it, or deleted it, during the upload
        _put(desk, row, got, scope, part)


def _put(
    desk: Desk, row: Row, got: Received, scope: frozenset[str], part: AgreedPart | None
) -> None:
    place, store = desk.sessions.place(row), desk.sessions.store
    choice = json.loads(row["choice"])
    files: dict[str, str] = dict(choice.get("files", {}))
    new: dict[str, tuple[Path, str]] = {}
    if part is not None:
        new["media"] = part.path, f"{row['id']}.{part.ending}"
        choice |= {"left_out": part.left_out, "later_s": part.later_s}
    elif "media" not in files:
        raise Refusal("no_media", field="media")
    for kind in _TEXTS:
        if (found := got.text(kind)) is not None:
            if kind == "transcript" and "words" not in scope:
                raise Refusal("words_not_agreed")
            ending = "rttm" if kind == "speakers" else transcript_ending(got.files[kind][1])
            new[kind] = found, f"{kind}.{ending}"
    if "media" in new:  # another recording has other words
        files = {}
    for kind in (*(_TEXTS if "media" in new else ()), *new):
        for old in place.glob(f"{row['id'] if kind == 'media' else kind}.*"):
            old.unlink()
    for kind, (path, name) in new.items():
        path.replace(place / name)
        files[kind] = name
    shutil.rmtree(place / LOOK_FOLDER, ignore_errors=True)
    kept = {name: choice[name] for name in ("left_out", "later_s") if name in choice}
    kept |= {"files": files, "upload": secrets.token_hex(8)}  # another may be called the same
    wanted = {"choice": kept, "origin": "file", "state": "open", "problem": None}
    if title := _title(got.fields.get("title", "")):
        wanted["title"] = title
    store.set("sessions", row["id"], **wanted)
    store.note_down("recording_added", row["id"], ", ".join(sorted(new)))


def _title(given: str) -> str:
    """What the researcher calls the recording, in one line without what could steer a terminal."""
    plain = "".join(c for c in unicodedata.normalize("NFC", given) if c.isprintable())
    return re.sub(r"\s+", " ", plain).strip()[:_MOST_TITLE]


def _look(desk: Desk, row: Row) -> Look:
    """The first look at the recording of a session.

    Raises:
        Refusal: There is none, it cannot be read, or the consent does not cover what is in it.
    """
    choice = json.loads(row["choice"])
    files = choice.get("files", {})
    place = desk.sessions.place(row)
    if not files.get("media") or not (place / files["media"]).is_file():
        raise Refusal("no_recording")
    with desk.looking, incoming(desk) as out:
        _require_same(desk.sessions, row)  # it may have waited for another look
        try:
            found = look_at(place, files, out)
        finally:
            _require_same(desk.sessions, row)
        if "error" in found:
            _forget(desk.sessions, row)
            raise Refusal("unreadable_recording", why=text_of(found["error"]))
        scope = desk.sessions.scope(row)
        for part, has in (("face", "has_video"), ("voice", "has_sound")):
            if found[has] and part not in scope:
                _forget(desk.sessions, row)
                raise Refusal(f"{part}_not_agreed")
        _keep_look(desk.sessions, row, out, found["duration_s"])
    frames = tuple(
        FrameShown(**{**frame, "faces": tuple(
            NumberedFace(face["number"], tuple(face["box"])) for face in frame["faces"])})
        for frame in found.pop("frames")
    )  # fmt: skip
    speakers = tuple(SpeakerShown(**each) for each in found.pop("speakers"))
    stretches = tuple(SpokenStretch(**each) for each in found.pop("stretches"))
    notes = tuple(LookHint(**each) for each in found.pop("notes"))
    if files.keys() & set(_TEXTS) and choice.get("later_s", 0.0) > _LATER_S:
        notes += (LookHint("begins_later", round(choice["later_s"]) or 1, "", ""),)
    return Look(title=row["title"], has_transcript="transcript" in files, frames=frames,
                speakers=speakers, stretches=stretches, notes=notes,
                left_out=tuple(choice.get("left_out", ())), upload=choice.get("upload", ""),
                **found)  # fmt: skip


def _keep_look(sessions: Sessions, row: Row, out: Path, duration_s: float) -> None:
    """Put what a look wrote into the session's folder, where it is of what lies there now."""
    kept = sessions.place(row) / LOOK_FOLDER
    with sessions.store.folders, sessions.store.changing():
        _require_same(sessions, row)
        if _unchanged(sessions, row):
            if out.is_dir():
                shutil.rmtree(kept, ignore_errors=True)
                out.rename(kept)
            sessions.store.set("sessions", row["id"], duration_s=duration_s)


def _require_same(sessions: Sessions, row: Row) -> None:
    """Refuse what was looked at and is no longer there.

    Raises:
        Refusal: The session was deleted, or another recording was added.
    """
    now, before = json.loads(sessions.find(row["id"])["choice"]), json.loads(row["choice"])
    if any(now.get(name) != before.get(name) for name in ("upload", "files")):
        raise Refusal("other_recording")


def _forget(sessions: Sessions, row: Row) -> None:
    """Remove an upload that cannot be used, unless there is another or its analysis has begun."""
    place = sessions.place(row)
    with sessions.store.folders, sessions.store.changing():
        if not _unchanged(sessions, row):
            return
        for name in json.loads(row["choice"]).get("files", {}).values():
            (place / name).unlink(missing_ok=True)
        shutil.rmtree(place / LOOK_FOLDER, ignore_errors=True)
        sessions.store.set("sessions", row["id"], choice={}, title="")


def _unchanged(sessions: Sessions, row: Row) -> bool:
    """Whether a session is as it was before a look, which takes a while."""
    now = sessions.store.row("sessions", id=row["id"]) or {}
    return all(now.get(name) == row[name] for name in ("state", "choice"))


def _clicked(look: Look, face: ClickedFace | None) -> dict[str, Any]:
    """The box that the analysis follows.

    Raises:
        Refusal: Several people are seen and nobody was clicked, or there is no such face.
    """
    if face is None:
        if look.people > 1:
            raise Refusal("no_face_clicked", people=look.people)
        return {}
    frame = next((each for each in look.frames if each.number == face.frame), None)
    found = next((f for f in frame.faces if f.number == face.number), None) if frame else None
    if frame is None or found is None:
        raise Refusal("no_such_face")
    sides = (frame.width, frame.height) * 2
    return {
        "box": [round(v * s, 1) for v, s in zip(found.box, sides, strict=True)],
        "time_s": frame.t,
    }


def end_of_analysis(sessions: Sessions, row: Row, *, done: bool) -> None:
    """Once a recording is analysed, remove its frames, and its copy where that is not agreed to."""
    if not done:
        return
    place = sessions.place(row)
    shutil.rmtree(place / LOOK_FOLDER, ignore_errors=True)
    if not row["keep_media"]:
        name = json.loads(row["choice"]).get("files", {}).get("media", "")
        if name:
            (place / name).unlink(missing_ok=True)
            sessions.store.note_down("recording_removed", row["id"], "not agreed to keep")
