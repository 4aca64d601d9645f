"""The app's database: what a consent must say, what rows look like to a client, and the rows.

Participants, consents, sessions, notes, jobs, receipts and the audit.

SQLite in WAL mode, one connection behind one lock: a person's clicks are few, and a statement
takes under a millisecond. What is committed survives kill -9. Rows are plain dictionaries whose
keys are the columns. Knows nothing of files besides its own.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from datetime import date as date_type
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from nunbit.app.access import Refusal
from nunbit.core.messages import InputError, Lang, Text

Row = dict[str, Any]

_MIGRATIONS = (
    """
    CREATE TABLE participants (
        id TEXT PRIMARY KEY, code TEXT NOT NULL UNIQUE, created TEXT NOT NULL);
    CREATE TABLE consents (
        id TEXT PRIMARY KEY, participant TEXT NOT NULL REFERENCES participants (id),
        document TEXT NOT NULL, withdrawn TEXT, created TEXT NOT NULL);
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY, origin TEXT NOT NULL, key_hash TEXT NOT NULL,
        participant TEXT REFERENCES participants (id), consent TEXT REFERENCES consents (id),
        state TEXT NOT NULL, keep_media INTEGER NOT NULL, keep_until TEXT NOT NULL,
        created TEXT NOT NULL, started TEXT, ended TEXT, duration_s REAL,
        baseline_from REAL, baseline_to REAL, problem TEXT);
    CREATE TABLE notes (
        id INTEGER PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions (id),
        t REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, created TEXT NOT NULL);
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, session TEXT, kind TEXT NOT NULL,
        options TEXT NOT NULL, state TEXT NOT NULL, progress REAL, minutes_left REAL,
        tries INTEGER NOT NULL DEFAULT 0, pid INTEGER, problem TEXT,
        created TEXT NOT NULL, started TEXT, ended TEXT);
    CREATE TABLE receipts (
        id TEXT PRIMARY KEY, session TEXT NOT NULL, document TEXT NOT NULL, created TEXT NOT NULL);
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY, at TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
        detail TEXT NOT NULL);
    CREATE INDEX jobs_by_state ON jobs (state, number);
    CREATE INDEX notes_by_session ON notes (session, t);
    """,
    """
    ALTER TABLE sessions ADD COLUMN title TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN choice TEXT NOT NULL DEFAULT '{}';
    """,
)
"""Each brings the database from one version to the next; a released one never changes."""

_TABLES = frozenset(("participants", "consents", "sessions", "notes", "jobs", "receipts", "audit"))


def now_text() -> str:
    """The time now as rows have it: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# -- consent ---------------------------------------------------------------------------------------

MOST_RETENTION_DAYS = 3650


# What is said of people at work, at school or who apply, and of what is done with them.
_WHOM = (
    r"\b(?:employees?|workers?|staff|applicants?|candidates?|recruits?|interviewees?|pupils?|"
    r"students?|trainees?)\b|"
    r"직원|사원|근로자|노동자|상담원|지원자|응시자|구직자|후보자|학생|수험생|원생|훈련생"
)
_RATED = (
    r"\b(?:rat(?:e|es|ed|ing)|assess\w*|evaluat\w*|apprais\w*|scor(?:e|es|ed|ing)|screen\w*|"
    r"select\w*|rank\w*|grad(?:e|es|ed|ing)|monitor\w*|surveil\w*|proctor\w*|"
    r"hir(?:e|es|ed|ing))\b|"
    r"평가|선발|심사|채점|점수|등급|순위|서열|감시|모니터링|선별|합격|탈락|판정|고과|채용"
)
_ALONE = (
    r"\b(?:job interviews?|recruitment|hiring|performance reviews?|proctoring)\b|"
    r"채용|입사\s*(?:면접|시험)|면접\s*(?:평가|심사|점수)|인사\s*(?:고과|평가)|근무\s*(?:평가|감시)|"
    r"입학\s*(?:면접|사정)|수업\s*감시"
)
_RATING = re.compile(
    rf"(?=.*(?:{_WHOM}))(?=.*(?:{_RATED}))|(?:{_ALONE})", re.IGNORECASE | re.DOTALL
)


Days = Annotated[int, Field(ge=1, le=MOST_RETENTION_DAYS)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Purpose = Literal[
    "research_interview",
    "self_observation",
    "counselling_practice",
    "teaching_demo",
    "rating_people",
    "other",
]
_STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True)


@dataclass(frozen=True)
class Scope:
    """What may be taken; ``media``: pictures and sound may be kept."""

    __pydantic_config__ = _STRICT
    face: bool = True
    voice: bool = True
    words: bool = False
    media: bool = False


@dataclass(frozen=True)
class Consent:
    """What everybody agreed to, before anything is recorded.

    Attributes:
        participant: Id or code.
        everybody_agrees: Everybody here, the interviewer too, agrees.
        purpose: What it is for; ``rating_people`` is refused.
        purpose_text: The same in a sentence.
        date: When it was given.
        retention_days: How long it may be kept.
        scope: What may be taken.
        minor: Whether the participant is under age.
        guardian: Whether a legal guardian agrees.
        lang: Language in which it was asked.
    """

    __pydantic_config__ = _STRICT
    participant: Name
    everybody_agrees: bool
    purpose: Purpose
    purpose_text: Annotated[str, Field(max_length=2000)]
    date: date_type
    retention_days: Days
    scope: Scope = Scope()
    minor: bool = False
    guardian: bool = False
    lang: Lang = "ko"

    def check(self) -> None:
        """Refuse what must not be recorded.

        Raises:
            Refusal: And why.
        """
        if self.purpose == "rating_people" or _RATING.search(self.purpose_text):
            raise Refusal("rating_people")
        if not self.everybody_agrees:
            raise Refusal("not_everybody")
        if self.minor and not self.guardian:
            raise Refusal("no_guardian")
        if not self.purpose_text.strip():
            raise Refusal("no_purpose")
        if self.date > datetime.now(UTC).date() + timedelta(days=1):  # east of Greenwich
            raise Refusal("future_date", date=self.date)
        if not (self.scope.face or self.scope.voice):
            raise Refusal("nothing_agreed")

    def document(self) -> dict[str, Any]:
        """As it is stored and exported."""
        told = asdict(self) | {"date": self.date.isoformat(), "statement": _STATEMENT.to_dict()}
        told.pop("participant")
        return told


_STATEMENT = Text(
    "Everybody here, the interviewer too, agrees.",
    "면담자를 포함하여 여기 있는 모든 사람이 동의합니다.",
)


# -- as a client sees them -------------------------------------------------------------------------

NoteKind = Literal["marker", "note", "question", "answer", "neutral_start", "neutral_end"]


@dataclass(frozen=True, slots=True)
class NewId:
    """The id of what was made."""

    id: str


@dataclass(frozen=True, slots=True)
class ParticipantShown:
    """A participant: its id and its code, which names nobody."""

    id: str
    code: str


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session and the key that opens it; the key is shown this once."""

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class NoteShown:
    """A note on the axis; ``t`` is seconds of the session."""

    id: int
    t: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What every view of a session tells first."""

    id: str
    origin: str
    participant: str | None
    created: str
    started: str | None
    ended: str | None
    duration_s: float | None
    state: str
    keep_media: bool
    keep_until: str
    problem: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class SessionShown(SessionFacts):
    """A session: state is open, recording, analysing, done, cut_off or failed.

    ``title`` is what the researcher calls the recording; it is shown here and never exported.
    """

    job: str | None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was deleted, and that it is gone: ``why`` is asked, retention, withdrawn, participant.

    ``deleted`` names every file with its ``bytes`` and that it is ``gone``; ``cancelled`` counts
    the jobs that were ended first.
    """

    receipt: str
    session: str
    why: str
    at: str
    verified: bool
    deleted: list[dict[str, str | int | bool]]
    note: dict[str, str]
    cancelled: int = 0


MEDIA_ENDINGS = ("mp4", "mkv", "webm", "avi", "mpg", "ts", "wav", "mp3", "flac", "ogg", "aac",
                 "flv", "wma", "aiff", "caf", "amr")  # fmt: skip
"""What an upload is called by its content."""

NOT_SHREDDED = Text(
    "The files are deleted. Backups and the disk's own spare blocks are beyond this app.",
    "파일을 삭제했습니다. 백업과 디스크의 예비 영역은 이 앱이 지울 수 없습니다.",
)


# -- the database ----------------------------------------------------------------------------------


class Store:
    """The database of one data folder.

    Args:
        path: The file; made if missing, brought up to date if older.

    Raises:
        InputError: It cannot be opened, is damaged, or was written by a newer nunbit.
    """

    folders: ClassVar = threading.RLock()
    """Held while a session's folder is deleted, and by who writes into one besides its job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON",
                            "secure_delete = ON", "busy_timeout = 5000"):  # fmt: skip
                self._base.execute(f"PRAGMA {setting}")
            self._migrate()
        except (sqlite3.Error, OSError) as exc:
            raise InputError(
                Text(
                    f"{path}: cannot open the app's database: {exc}. Recordings are in the folder "
                    "beside it; move the database away to start with an empty one",
                    f"{path}: 앱의 데이터베이스를 열 수 없습니다: {exc}. 녹화는 옆 폴더에 "
                    "있습니다. 빈 데이터베이스로 시작하려면 이 파일을 옮기십시오",
                )
            ) from exc

    def _migrate(self) -> None:
        version = int(self._base.execute("PRAGMA user_version").fetchone()[0])
        if version > len(_MIGRATIONS):
            raise InputError(
                Text(
                    f"{self.path}: written by a newer nunbit (version {version}); update nunbit",
                    f"{self.path}: 더 새로운 nunbit(버전 {version})이 쓴 파일입니다. nunbit을 "
                    "업데이트하십시오",
                )
            )
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            self._base.executescript(f"BEGIN; {script}; PRAGMA user_version = {number}; COMMIT;")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All changes of the body, or none.

        Raises:
            InputError: The disk is full or the database is damaged.
        """
        with self._lock:
            if self._base.in_transaction:
                yield
                return
            try:
                self._base.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._base.rollback()
                    raise
                self._base.commit()
            except sqlite3.OperationalError as exc:
                raise InputError(
                    Text(
                        f"the app's database cannot be written: {exc}; is the disk full?",
                        f"앱의 데이터베이스에 쓸 수 없습니다: {exc}. 디스크가 가득 찼는지 "
                        "확인하십시오",
                    )
                ) from exc

    def add(self, table: str, **values: Any) -> int:
        """Add a row; returns its number."""
        names = ", ".join(values)
        gaps = ", ".join("?" * len(values))
        with self.changing():
            found = self._base.execute(
                f"INSERT INTO {_known(table)} ({names}) VALUES ({gaps})", _stored(values)
            )
            return int(found.lastrowid or 0)

    def set(self, table: str, key: str, **values: Any) -> None:
        """Change columns of the row with this ``id``."""
        names = ", ".join(f"{name} = ?" for name in values)
        with self.changing():
            self._base.execute(
                f"UPDATE {_known(table)} SET {names} WHERE id = ?", (*_stored(values), key)
            )

    def remove(self, table: str, **where: Any) -> None:
        """Delete the rows that have these values."""
        with self.changing():
            self._base.execute(
                f"DELETE FROM {_known(table)} WHERE {_clause(where)}", _stored(where)
            )

    def rows(self, table: str, order: str = "created", **where: Any) -> list[Row]:
        """Rows that have these values, in the order of a column."""
        with self._lock:
            found = self._base.execute(
                f"SELECT * FROM {_known(table)} WHERE {_clause(where)} ORDER BY {order}, rowid",
                _stored(where),
            )
            return [dict(row) for row in found]

    def row(self, table: str, **where: Any) -> Row | None:
        """The first row that has these values, or None."""
        return next(iter(self.rows(table, order="rowid", **where)), None)

    def take_job(self) -> Row | None:
        """The job that is next in the queue, marked as running; None where none waits."""
        with self.changing():
            waiting = self.rows("jobs", order="number", state="queued")
            if not waiting:
                return None
            first = waiting[0]
            self.set("jobs", first["id"], state="running", tries=first["tries"] + 1,
                     started=now_text())  # fmt: skip
            return self.row("jobs", id=first["id"])

    def note_down(self, action: str, what: str, detail: str = "") -> None:
        """Write a line of the audit: ids and counts, never what was said or seen."""
        self.add("audit", at=now_text(), action=action, object=what, detail=detail)

    def settle(self) -> None:
        """Bring all changes into the main file, so that deleted rows are in no log beside it."""
        with self._lock:
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._base.close()


def _known(table: str) -> str:
    if table not in _TABLES:
        raise KeyError(table)
    return table


def _clause(where: Mapping[str, Any]) -> str:
    return " AND ".join(f"{name} IS ?" for name in where) or "1"


def _stored(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for value in values.values()
    )
