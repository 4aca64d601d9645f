"""Sessions: consent before anything is recorded, what a session holds, its end and its deletion.

A session's files lie in ``DATA/sessions/ID``; ``ID`` is made here and looked up in the database, so
nothing that a client sends becomes a path. Rows in, rows and documents out; knows no HTTP besides
the refusals that it raises.
"""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nunbit.app.access import Keyring, Refusal, key_hash, new_key, write_secret
from nunbit.app.jobs import Outline
from nunbit.app.store import (
    MEDIA_ENDINGS,
    NOT_SHREDDED,
    Consent,
    NoteShown,
    Receipt,
    Row,
    SessionFacts,
    SessionShown,
    Store,
    now_text,
)
from nunbit.core.messages import NunbitError
from nunbit.runtime.files import spreadsheet_text, write_json, write_text, writing

MEDIA_FILE = "session.mkv"
CONSENT_FILE, NOTES_FILE, KEY_FILE = "consent.json", "notes.csv", ".key"
SUMMARY_FILE, REPORT_FILE = "summary.json", "report.html"
EXPORTS = ("csv", "eaf", "textgrid", "vtt", "openface")

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
_CODE = re.compile(r"[\w-]{1,32}")
_TELEPHONE = re.compile(r"0\d{1,2}-?\d{3,4}-?\d{4}")
_BUSY = ("recording", "analysing")


@dataclass(frozen=True)
class SessionWhole(SessionFacts):
    """A session with its consent, files, tables, notes and job."""

    job: Outline | None
    consent: dict[str, Any] | None
    files: list[dict[str, str | int]]
    tables: list[str]
    exports: list[str]
    notes: list[NoteShown]
    baseline: dict[str, float] | None
    has_report: bool
    has_media: bool
    title: str = ""


@dataclass(frozen=True)
class Sessions:
    """All sessions of one data folder.

    Attributes:
        store: The database.
        folder: ``DATA/sessions``.
        stop_jobs: Ends the jobs of a session before it is deleted; returns how many.
    """

    store: Store
    folder: Path
    stop_jobs: list[Callable[[str], int]] = field(default_factory=list)

    # -- people and consents --

    def add_participant(self, code: str) -> Row:
        """Register a participant code, or find the one there is.

        Raises:
            Refusal: It is no code.
        """
        code = code.strip()
        if not _CODE.fullmatch(code) or _TELEPHONE.fullmatch(code):
            raise Refusal("bad_code", given=code[:40])
        with self.store.changing():
            found = self.store.row("participants", code=code)
            if found is None:
                new = secrets.token_hex(8)
                self.store.add("participants", id=new, code=code, created=now_text())
                self.store.note_down("participant_added", new)
                found = self.store.row("participants", id=new)
        assert found is not None
        return found

    def participant(self, id_or_code: str) -> Row:
        """A participant.

        Raises:
            Refusal: There is none.
        """
        found = self.store.row("participants", id=id_or_code) or self.store.row(
            "participants", code=id_or_code
        )
        if found is None:
            raise Refusal("no_participant", id=id_or_code[:40])
        return found

    def add_consent(self, consent: Consent) -> str:
        """Record a consent; returns its id.

        Raises:
            Refusal: It allows nothing, or the purpose is refused (which the audit keeps).
        """
        participant = self.participant(consent.participant)["id"]
        try:
            consent.check()
        except Refusal as refusal:
            self.store.note_down("consent_refused", participant, refusal.code)
            raise
        new = secrets.token_hex(8)
        with self.store.changing():
            self.participant(participant)  # it may have been forgotten meanwhile
            self.store.add("consents", id=new, participant=participant,
                           document=consent.document(), created=now_text())  # fmt: skip
            self.store.note_down("consent_added", new)
        return new

    def withdraw(self, consent: str) -> list[Receipt]:
        """Withdraw a consent and delete what was recorded on it; returns the receipts.

        Raises:
            Refusal: There is none, or a session on it is being recorded.
        """
        found = self.store.row("consents", id=consent)
        if found is None:
            raise Refusal("no_consent")
        with self.store.changing():
            self.store.set("consents", consent, withdrawn=found["withdrawn"] or now_text())
            self.store.note_down("consent_withdrawn", consent)
        return self._delete_all("withdrawn", consent=consent)

    def forget_participant(self, id_or_code: str) -> list[Receipt]:
        """Delete a participant with all sessions and consents; returns the receipts.

        Raises:
            Refusal: There is none, or a session is being recorded.
        """
        person = self.participant(id_or_code)["id"]
        receipts: list[Receipt] = []
        while True:
            receipts += self._delete_all("participant", participant=person)
            with self.store.changing():
                if self._standing(participant=person):
                    continue  # made meanwhile
                for row in self.store.rows("sessions", participant=person):
                    self.store.set("sessions", row["id"], participant=None, consent=None)
                self.store.remove("consents", participant=person)
                self.store.remove("participants", id=person)
                self.store.note_down("participant_deleted", person, f"{len(receipts)} sessions")
                break
        self.store.settle()
        return receipts

    def _standing(self, **where: str) -> list[Row]:
        return [r for r in self.store.rows("sessions", **where) if r["state"] != "deleted"]

    def _delete_all(self, why: str, **where: str) -> list[Receipt]:
        receipts = []
        for row in self._standing(**where):
            try:
                receipts.append(self.delete(row["id"], why))
            except Refusal as refusal:
                if refusal.code != "deleted_session":  # by another page
                    raise
        return receipts

    # -- sessions --

    def create(
        self, participant: str, consent: str, keep_media: bool, retention_days: int | None
    ) -> tuple[Row, str]:
        """Make a session that may be recorded; returns it and its key.

        Raises:
            Refusal: There is no consent, or it does not cover this.
        """
        with self.store.folders:  # who deletes it sees it whole
            with self.store.changing():  # and who is forgotten meanwhile has no new session
                person, agreed = self._agreed(participant, consent)
                document = json.loads(agreed["document"])
                days = document["retention_days"] if retention_days is None else retention_days
                if days > document["retention_days"]:
                    raise Refusal("kept_too_long", days=document["retention_days"])
                if keep_media and not document["scope"]["media"]:
                    raise Refusal("not_in_scope")
                row, key = self._new("live", days, keep_media, person["id"], consent)
            told = {"participant": person["code"], **document, "consent": consent,
                    "session": row["id"], "keep_media": keep_media,
                    "keep_until": row["keep_until"]}  # fmt: skip
            write_json(self.place(row) / CONSENT_FILE, told)
        return row, key

    def _agreed(self, participant: str, consent: str) -> tuple[Row, Row]:
        person, agreed = self.participant(participant), self.store.row("consents", id=consent)
        if agreed is None or agreed["participant"] != person["id"]:
            raise Refusal("no_consent")
        if agreed["withdrawn"]:
            raise Refusal("withdrawn")
        return person, agreed

    def create_for_upload(self, retention_days: int) -> tuple[Row, str]:
        """Make a session for a recording that was made elsewhere; returns it and its key."""
        return self._new("upload", retention_days, True, None, None)

    def _new(
        self, origin: str, days: int, keep_media: bool, person: str | None, consent: str | None
    ) -> tuple[Row, str]:
        now, key = datetime.now(UTC), new_key()
        new = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        until = (now + timedelta(days=days)).isoformat(timespec="milliseconds")
        write_secret(self.folder / new / KEY_FILE, key)
        with self.store.changing():
            self.store.add("sessions", id=new, origin=origin, key_hash=key_hash(key),
                           participant=person, consent=consent, state="open", created=now_text(),
                           keep_media=int(keep_media), keep_until=until)  # fmt: skip
            self.store.note_down("session_added", new, origin)
        return self.find(new), key

    def find(self, session: str) -> Row:
        """A session that is not deleted.

        Raises:
            Refusal: There is none.
        """
        found = self.store.row("sessions", id=session) if _ID.fullmatch(session) else None
        if found is None or found["state"] == "deleted":
            raise Refusal("no_session" if found is None else "deleted_session")
        return found

    def open(self, session: str, keys: Keyring) -> Row:
        """A session, to someone who has its key; no other hears whether it exists.

        Raises:
            Refusal: There is none, or the key is another's.
        """
        if not keys.app:
            row = self.store.row("sessions", id=session)
            if row is None or not keys.opens(row["key_hash"]):
                raise Refusal("wrong_key")
        row = self.find(session)
        if not keys.opens(row["key_hash"]):
            raise Refusal("session_key")
        return row

    @contextmanager
    def standing(self, *rows: Row) -> Iterator[None]:
        """Work on sessions that may be deleted meanwhile: then nothing comes of it but that.

        Raises:
            Refusal: One of them was deleted.
        """
        try:
            yield
        finally:
            for row in rows:
                self.find(row["id"])

    def place(self, row: Row) -> Path:
        """The folder of a session."""
        return self.folder / str(row["id"])

    def scope(self, row: Row) -> frozenset[str]:
        """What the consent of a session covers.

        Raises:
            Refusal: It was withdrawn.
        """
        agreed = self.store.row("consents", id=row["consent"])
        if agreed is None or agreed["withdrawn"]:
            raise Refusal("withdrawn")
        scope = json.loads(agreed["document"])["scope"]
        return frozenset(name for name, allowed in scope.items() if allowed)

    def add_note(self, session: str, t: float, kind: str, text: str) -> NoteShown:
        """Put a note on the axis of a session."""
        new = self.store.add("notes", session=session, t=t, kind=kind, text=text,
                             created=now_text())  # fmt: skip
        return NoteShown(new, t, kind, text)

    def notes(self, session: str) -> list[NoteShown]:
        """The notes of a session, by time."""
        return [NoteShown(row["id"], row["t"], row["kind"], row["text"])
                for row in self.store.rows("notes", order="t", session=session)]  # fmt: skip

    def write_notes(self, row: Row) -> None:
        """Write ``notes.csv`` beside the tables, so that data and notes go together."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("t", "kind", "text"))
        for note in self.notes(row["id"]):
            writer.writerow((note.t, note.kind, spreadsheet_text(note.text)))
        write_text(self.place(row) / NOTES_FILE, stream.getvalue())

    # -- what a session holds --

    def summary(self, row: Row) -> SessionShown:
        """A session as the list has it."""
        person = self.store.row("participants", id=row["participant"]) or {}
        jobs = self.store.rows("jobs", order="number", session=row["id"]) or [{}]
        return self._shown(row, person.get("code"), jobs[-1].get("id"))

    def summaries(self) -> list[SessionShown]:
        """All sessions that are not deleted, as the list has them: three questions for all."""
        codes = {row["id"]: row["code"] for row in self.store.rows("participants")}
        jobs = {row["session"]: row["id"] for row in self.store.rows("jobs", order="number")}
        return [
            self._shown(row, codes.get(row["participant"]), jobs.get(row["id"]))
            for row in self.store.rows("sessions")
            if row["state"] != "deleted"
        ]

    @staticmethod
    def _shown(row: Row, code: str | None, job: str | None) -> SessionShown:
        return SessionShown(
            row["id"], row["origin"], code, row["created"], row["started"], row["ended"],
            row["duration_s"], row["state"], bool(row["keep_media"]), row["keep_until"],
            json.loads(row["problem"]) if row["problem"] else None, job, row["title"],
        )  # fmt: skip

    def whole(self, row: Row, outline: Callable[[Row], Outline]) -> SessionWhole:
        """A session with what it holds."""
        shown, files = self.summary(row), self.files(row)
        consent = files.get(CONSENT_FILE)
        job = self.store.row("jobs", id=shown.job)
        start, end = row["baseline_from"], row["baseline_to"]
        return SessionWhole(
            **(asdict(shown) | {"job": None if job is None else outline(job)}),
            consent=json.loads(consent.read_text(encoding="utf-8")) if consent else None,
            files=[{"name": n, "bytes": p.stat().st_size} for n, p in files.items()],
            tables=sorted(self.tables(row)),
            exports=["zip", *(EXPORTS if SUMMARY_FILE in files else ())],
            notes=self.notes(row["id"]),
            baseline=None if start is None else {"from": start, "to": end},
            has_report=REPORT_FILE in files,
            has_media=self.media(row) is not None,
        )

    def files(self, row: Row) -> dict[str, Path]:
        """Name -> path of what a session holds; what it is called is decided by this app alone."""
        place = self.place(row)
        found = sorted(place.iterdir()) if place.is_dir() else []
        return {p.name: p for p in found if p.is_file() and not p.name.startswith(".")}

    def tables(self, row: Row) -> dict[str, Path]:
        """Name without ending -> table; Parquet where there are both."""
        found = self.files(row).values()
        by_ending = [p for end in (".csv", ".parquet") for p in found if p.suffix == end]
        return {path.stem: path for path in by_ending}

    def media(self, row: Row) -> Path | None:
        """The recording, where it was kept."""
        files = self.files(row)
        uploads = (p for name, p in files.items() if Path(name).stem == row["id"])
        own = [p for p in uploads if p.suffix.lstrip(".") in MEDIA_ENDINGS]
        return files.get(MEDIA_FILE) or next(iter(own), None)

    # -- the end of a session --

    def delete(self, session: str, why: str = "asked") -> Receipt:
        """Delete a session's files and notes, look that they are gone, and write a receipt.

        Raises:
            Refusal: It is being recorded, or something remains.
        """
        row = self.find(session)
        if row["state"] == "recording":
            raise Refusal("still_recording")
        ended = sum(stop(session) for stop in self.stop_jobs)
        with self.store.folders:  # until the database knows it: nothing may be written between
            if self.find(session)["state"] in _BUSY:  # its tables are being written
                raise Refusal("still_recording")
            receipt = self._erased(session, self.place(row), why, ended)
        self.store.settle()
        return receipt

    def _erased(self, session: str, place: Path, why: str, ended: int) -> Receipt:
        with writing(place):
            listed = [
                (path, path.lstat().st_size) for path in sorted(place.rglob("*"), reverse=True)
            ]
            for path in (*(path for path, _ in listed), place):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink(missing_ok=True)
        left = [
            *(path for path, _ in listed if path.exists()),
            *([place] if place.exists() else []),
        ]
        if left:
            self.store.note_down("session_not_deleted", session, f"{len(left)} files left")
            raise Refusal("still_there", files=", ".join(path.name for path in left[:5]))
        gone: list[dict[str, str | int | bool]] = [
            {"name": path.relative_to(place).as_posix(), "bytes": size, "gone": True}
            for path, size in listed
        ]
        receipt = Receipt(secrets.token_hex(8), session, why, now_text(), True, gone,
                          NOT_SHREDDED.to_dict(), ended)  # fmt: skip
        with self.store.changing():
            self.store.remove("notes", session=session)
            self.store.remove("jobs", session=session)
            self.store.set("sessions", session, state="deleted", problem=None, title="",
                           choice="{}")  # fmt: skip
            self.store.add("receipts", id=receipt.receipt, session=session,
                           document=asdict(receipt), created=receipt.at)  # fmt: skip
            self.store.note_down("session_deleted", session, f"{why}, {len(gone)} files")
        return receipt

    def end_retention(self) -> int:
        """Delete every session whose time is over; returns how many."""
        ended = 0
        for row in self.store.rows("sessions"):
            if row["state"] not in ("deleted", "recording") and row["keep_until"] <= now_text():
                try:
                    self.delete(row["id"], "retention")
                    ended += 1
                except NunbitError as exc:
                    self.store.note_down("retention_failed", row["id"], type(exc).__name__)
        return ended

    def end_cut_off(self) -> list[Row]:
        """Sessions that were being recorded or finished when the app was killed, marked so."""
        for row in self.store.rows("sessions", origin="upload", state="open"):
            self.delete(row["id"], "unfinished")  # no answer was given for it
        busy = [row for state in _BUSY for row in self.store.rows("sessions", state=state)]
        waiting = {row["session"] for state in ("queued", "running")
                   for row in self.store.rows("jobs", state=state)}  # fmt: skip
        cut = [row for row in busy if row["id"] not in waiting]
        for row in cut:
            with self.store.changing():
                self.store.set("sessions", row["id"], state="cut_off", ended=now_text())
                self.store.note_down("session_cut_off", row["id"])
        return cut
