"""Looking before doing: what would be read of a file, and what a deletion would remove.

A file is looked at in a child process (``nunbit check``), because a damaged one may take its
process with it. What was uploaded for that is not kept. Lists of files name what would be deleted;
they tell nothing of what is inside.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from nunbit.app.access import Refusal
from nunbit.app.routes import AtDesk, Desk, Opened, Owner
from nunbit.app.store import Receipt
from nunbit.app.transfers import Received, incoming, receive
from nunbit.core.messages import Lang, Text
from nunbit.recording.paths import content_kind, is_text, media_ending, transcript_ending

_CHECK_S = 120  # ten frames and two minutes of sound take some 5 s
_FORM = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object",
        "properties": {name: {"type": "string", "format": "binary"}
                       for name in ("media", "transcript", "speakers")}}}}}
}  # fmt: skip

router = APIRouter(prefix="/api")


@dataclass(frozen=True, slots=True)
class LookNote:
    """A sentence on what is read, repaired or left out; ``count`` times, first at ``first``."""

    code: str
    count: int
    first: str
    ko: str
    en: str


@dataclass(frozen=True, slots=True)
class LookFaces:
    """Of ``frames`` looked at: with a face, with several; ``size_px`` is the median largest."""

    frames: int
    with_face: int
    several: int
    size_px: float | None


@dataclass(frozen=True, slots=True)
class FileLook:
    """What would become of a file: ``state`` is ok, noted or failed, ``error`` says why.

    ``speech_share`` and ``words_in_speech`` are shares, None where unknown.
    """

    state: str
    error: str | None
    read: list[LookNote]
    repaired: list[LookNote]
    left_out: list[LookNote]
    duration_s: float | None
    faces: LookFaces | None
    speech_share: float | None
    words_in_speech: float | None


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file that would be deleted."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class HeldSession:
    """A session that would be deleted; ``busy`` where a job waits or runs that would be ended."""

    id: str
    origin: str
    created: str
    state: str
    duration_s: float | None
    busy: bool
    files: list[HeldFile]


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that is held of a participant."""

    id: str
    code: str
    consents: int
    sessions: list[HeldSession]
    bytes: int


@dataclass(frozen=True, slots=True)
class KeptReceipts:
    """Receipts of earlier deletions, newest first."""

    receipts: list[Receipt]


# -- files -----------------------------------------------------------------------------------------


@router.post("/checks", dependencies=[Owner], openapi_extra=_FORM)
async def check_upload(
    request: Request, desk: AtDesk, lang: Annotated[Lang, Query()] = "ko"
) -> FileLook:
    """Say what would be read, repaired and left out of a file; nothing is kept."""
    limits = {"media": desk.limits["media"], "transcript": desk.limits["transcript"],
              "speakers": desk.limits["transcript"]}  # fmt: skip
    with incoming(desk) as folder:
        got = await receive(request, folder, limits, desk.keep_free_mb)
        return await run_in_threadpool(lambda: look(*_with_endings(got), lang))


@router.get("/sessions/{session}/check")
def check_session(row: Opened, desk: AtDesk, lang: Annotated[Lang, Query()] = "ko") -> FileLook:
    """The same of the recording that a session keeps."""
    media = desk.sessions.media(row)
    if media is None:
        raise Refusal("nothing_there", what=Text("media", "녹화 파일"))
    files = desk.sessions.files(row)
    beside = {Path(name).stem: path for name, path in files.items() if path.suffix != ".csv"}
    with desk.sessions.standing(row):
        return look(media, beside.get("transcript"), beside.get("speakers"), lang)


def _with_endings(got: Received) -> tuple[Path | None, Path | None, Path | None]:
    """The files of a form under endings by their content."""
    found: dict[str, Path] = {}
    for name, (path, head) in got.files.items():
        if not head:
            raise Refusal("empty_upload")
        if name == "media":
            ending = media_ending(head)
            if ending is None:
                raise Refusal("not_media", kind=content_kind(head))
        else:
            if not is_text(head):
                raise Refusal("not_text")
            ending = "rttm" if name == "speakers" else transcript_ending(head)
        found[name] = path.rename(path.with_suffix(f".{ending}"))
    if not found:
        raise Refusal("no_media", field="media")
    return found.get("media"), found.get("transcript"), found.get("speakers")


def look(
    media: Path | None, transcript: Path | None, speakers: Path | None, lang: Lang
) -> FileLook:
    """Look at a recording with what belongs to it, or at a transcript or diarisation alone.

    Raises:
        Refusal: The file keeps its process busy for too long, or takes it down.
    """
    first = media or transcript or speakers
    assert first is not None
    line = [sys.executable, "-P", "-m", "nunbit", "check", str(first), "--json", "--lang", lang]
    for option, path in (("--transcript", transcript), ("--speakers", speakers)):
        if media is not None and path is not None:
            line += [option, str(path)]
    try:
        run = subprocess.run(line, capture_output=True, text=True, timeout=_CHECK_S, check=False)
        document = json.loads(run.stdout)
    except (subprocess.TimeoutExpired, ValueError) as exc:
        raise Refusal("check_lost") from exc
    if "files" not in document:
        return FileLook("failed", _unnamed(_error_of(document, lang)), [], [], [], None, None, None,
                        None)  # fmt: skip
    return _shown(document["files"][0])


def _error_of(document: dict[str, Any], lang: Lang) -> str:
    error = document.get("error") or {}
    return str(error.get(lang) or error.get("message") or error) if error else "?"


def _shown(found: dict[str, Any]) -> FileLook:
    reading = {
        kind: [LookNote(n["code"], n["count"], str(n["first"]), _unnamed(n["ko"]),
                        _unnamed(n["en"])) for n in found["reading"][kind]]
        for kind in ("read", "repaired", "left_out")
    }  # fmt: skip
    fit, faces = found["transcript_fit"], found["faces"]
    return FileLook(
        found["state"],
        None if found["error"] is None else _unnamed(found["error"]),
        **reading,
        duration_s=(found["media"] or {}).get("duration_s"),
        faces=None if faces is None else LookFaces(**faces),
        speech_share=(found["sound"] or {}).get("speech_share"),
        words_in_speech=fit["in_speech"] / fit["words"] if fit and fit["words"] else None,
    )


_PATH = re.compile(r"(?:[A-Za-z]:)?[/\\][^\s'\"]*[/\\]([\w.-]+)(?::\s*)?")


def _unnamed(sentence: str) -> str:
    """A sentence without the path of the upload, which is this app's own and means nothing."""
    return _PATH.sub("", sentence).strip()


# -- what a deletion would remove ------------------------------------------------------------------


@router.get("/participants/{participant}/holdings", dependencies=[Owner])
def show_holdings(participant: str, desk: AtDesk) -> Holdings:
    """Every file that a participant's deletion would remove, and the jobs that it would end."""
    sessions, store = desk.sessions, desk.sessions.store
    person = sessions.participant(participant)
    mine = [r for r in store.rows("sessions", participant=person["id"]) if r["state"] != "deleted"]
    held = [_held(desk, row) for row in mine]
    return Holdings(
        person["id"], person["code"], len(store.rows("consents", participant=person["id"])), held,
        sum(file.bytes for session in held for file in session.files),
    )  # fmt: skip


def _held(desk: Desk, row: dict[str, Any]) -> HeldSession:
    jobs = desk.sessions.store.rows("jobs", order="number", session=row["id"])
    files = []
    for path in sorted(desk.sessions.place(row).rglob("*")):
        with suppress(FileNotFoundError):  # deleted meanwhile
            if path.is_symlink() or path.is_file():
                name = path.relative_to(desk.sessions.place(row)).as_posix()
                files.append(HeldFile(name, path.lstat().st_size))
    return HeldSession(
        row["id"], row["origin"], row["started"] or row["created"], row["state"],
        row["duration_s"], any(job["state"] in ("queued", "running") for job in jobs), files,
    )  # fmt: skip


@router.get("/receipts", dependencies=[Owner])
def list_receipts(desk: AtDesk) -> KeptReceipts:
    """Receipts of earlier deletions, newest first."""
    rows = desk.sessions.store.rows("receipts")
    known = set(Receipt.__dataclass_fields__)
    documents = [json.loads(row["document"]) for row in reversed(rows)]
    return KeptReceipts(
        [Receipt(**{k: v for k, v in one.items() if k in known}) for one in documents]
    )
