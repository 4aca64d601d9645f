"""The queue of analyses: one child process at a time, progress, cancel, and resuming after a kill.

A job is a command of its own, so it neither slows the app's threads nor takes the app down. Its
output goes to files, and it holds a lock on one of them as long as it lives: an app that was killed
finds at its next start whether the child goes on, and then waits for it instead of starting anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nunbit.app.access import Refusal
from nunbit.app.store import Row, Store, now_text
from nunbit.core.messages import Text, text_of
from nunbit.runtime.files import remove_folder

try:
    import fcntl
except ImportError:  # Windows: a child that outlived the app is not found, its work is done anew
    fcntl = None  # type: ignore[assignment]

_LOOK_S = 0.2
_MOST_TRIES = 3
LENGTH_FILE = "length_s"
_PROGRESS = re.compile(r": (\d+)(?:/\d+)? s, ([\d.]+) s/s")
_REMEMBERED = 20
Done = Callable[[Row, str, dict[str, Any] | None], None]


@dataclass(frozen=True, slots=True)
class Outline:
    """How far a job is, for people.

    Attributes:
        id, session, kind, state: Of the job.
        progress: 0 to 1, None where it cannot be told.
        minutes_left: Until it is done, the jobs before it included; None where unknown.
        place: 1 is next; None where it does not wait.
        problem: Why it failed.
        created, started, ended: Times.
    """

    id: str
    session: str | None
    kind: str
    state: str
    progress: float | None
    minutes_left: float | None
    place: int | None
    problem: dict[str, str] | None
    created: str
    started: str | None
    ended: str | None


class JobQueue:
    """Runs the jobs of the database, oldest first.

    Args:
        store: The database.
        folder: ``DATA/jobs``: logs and locks.
        command: The command of a job.
        done: Called when one has ended, with its row, its new state and its document.
        at_once: Jobs that run at the same time.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        command: Callable[[Row], Sequence[str]],
        done: Done,
        at_once: int = 1,
    ) -> None:
        self._store, self._folder, self._command, self._done = store, folder, command, done
        self._wake, self._closing = threading.Event(), threading.Event()
        self._cancelled: set[str] = set()
        self._mine: set[str] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"job-{n}", daemon=True)
            for n in range(at_once)
        ]

    def start(self) -> None:
        """Take up what an earlier app left, and begin."""
        for row in self._store.rows("jobs", order="number", state="running"):
            if not self._is_alive(row["id"]):  # it may have ended well meanwhile
                self._judge(row, self._folder / row["id"], None)
        for place in self._folder.glob("*"):
            job = self._store.row("jobs", id=place.name)
            if job is None or job["state"] not in ("queued", "running"):
                remove_folder(place)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the running children; their jobs wait for the next start."""
        self._closing.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)

    def add(self, kind: str, session: str | None, options: dict[str, Any]) -> Row:
        """Put a job at the end of the queue."""
        new = f"j-{os.urandom(6).hex()}"
        with self._store.changing():
            number = self._store.add(
                "jobs", id=new, session=session, kind=kind, options=options, state="queued",
                created=now_text(),
            )  # fmt: skip
            self._store.note_down("job_added", new, kind)
        self._wake.set()
        found = self._store.row("jobs", number=number)
        assert found is not None
        return found

    def find(self, job: str) -> Row:
        """A job.

        Raises:
            Refusal: There is none.
        """
        found = self._store.row("jobs", id=job)
        if found is None:
            raise Refusal("no_job", id=job[:40])
        return found

    def outline(self, row: Row) -> Outline:
        """How far a job is."""
        rows = self._store.rows("jobs", order="number")
        return next((o for o in self._outlines(rows) if o.id == row["id"]), _outline(row))

    def outlines(self) -> list[Outline]:
        """How far all jobs are, oldest first: places and states of one moment."""
        return list(self._outlines(self._store.rows("jobs", order="number")))

    def _outlines(self, rows: Sequence[Row]) -> Iterator[Outline]:
        rate = _minutes_per_byte(rows)
        told = {row["id"]: self._told(row, rate) for row in rows if row["state"] == "running"}
        minutes, place = [left for _, left in told.values()], 0
        for row in rows:
            if row["state"] == "queued":
                place += 1
                minutes.append(_guess(row, rate))
                known = [m for m in minutes if m is not None]
                left = sum(known) if len(known) == len(minutes) else None
                yield _outline(row, row["progress"], left, place)
            else:
                yield _outline(row, *told.get(row["id"], (row["progress"], None)))

    def cancel(self, job: str) -> Row:
        """End a job; what it has made so far is not shown.

        Raises:
            Refusal: There is none, or it has ended.
        """
        with self._store.changing():
            row = self.find(job)
            if row["state"] not in ("queued", "running"):
                raise Refusal("job_over")
            if row["state"] == "queued":
                self._store.set("jobs", job, state="cancelled", ended=now_text())
            self._store.note_down("job_cancelled", job)
        if row["state"] == "running":
            self._cancelled.add(job)
        else:
            self._done(row, "cancelled", None)
            remove_folder(self._folder / job)
        return self.find(job)

    def cancel_session(self, session: str) -> int:
        """End all jobs of a session and wait until they have ended; returns how many."""
        ended = 0
        for row in self._store.rows("jobs", order="number", session=session):
            with contextlib.suppress(Refusal):
                self.cancel(row["id"])
                ended += 1
        self._wait_until_over(session=session)
        return ended

    def cancel_and_wait(self, job: str) -> None:
        """End a job and wait until it has ended.

        Raises:
            Refusal: There is none, or it has ended already.
        """
        self.cancel(job)
        self._wait_until_over(id=job)

    def _wait_until_over(self, **where: str) -> None:
        until = time.monotonic() + 15
        while time.monotonic() < until:
            if not self._store.rows("jobs", order="number", state="running", **where):
                return
            time.sleep(_LOOK_S)

    # -- one thread per child --

    def _work(self) -> None:
        while not self._closing.is_set():
            row = self._adopted() or self._store.take_job()
            if row is None:
                self._wake.wait(timeout=1.0)
                self._wake.clear()
                continue
            try:
                self._follow(row)
            except Exception as exc:  # the queue goes on whatever one job does
                self._end(row, "failed", None, Text(f"{exc}", f"{exc}"))

    def _adopted(self) -> Row | None:
        """A job whose child outlived an earlier app."""
        for row in self._store.rows("jobs", order="number", state="running"):
            if row["pid"] and row["id"] not in self._mine and self._is_alive(row["id"]):
                self._mine.add(row["id"])
                return row
        return None

    def _follow(self, row: Row) -> None:
        place = self._folder / row["id"]
        child = None
        if not self._is_alive(row["id"]):
            place.mkdir(parents=True, exist_ok=True)
            child = self._start(row, place)
        self._mine.add(row["id"])
        while child.poll() is None if child else self._is_alive(row["id"]):
            if row["id"] in self._cancelled or self._closing.is_set():
                _stop(child.pid if child else row["pid"], child)
                break
            done = self._store.rows("jobs", order="number", state="done", kind="analyze")
            progress, left = self._told(row, _minutes_per_byte(done))
            self._store.set("jobs", row["id"], progress=progress, minutes_left=left)
            time.sleep(_LOOK_S)
        self._mine.discard(row["id"])
        self._judge(row, place, None if child is None else child.poll())

    def _start(self, row: Row, place: Path) -> subprocess.Popen[bytes]:
        with (
            _locked(place / "lock") as lock,
            (place / "out").open("wb") as out,
            (place / "log").open("ab") as log,
        ):
            child = subprocess.Popen(
                [sys.executable, "-P", *self._command(row)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True,
                pass_fds=() if lock is None else (lock.fileno(),),
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        self._store.set("jobs", row["id"], pid=child.pid)
        return child

    def _judge(self, row: Row, place: Path, code: int | None) -> None:
        """What has become of a job whose child has ended."""
        if row["id"] in self._cancelled:
            self._cancelled.discard(row["id"])
            self._end(row, "cancelled", None, None)
            return
        document = _document(place / "out")
        if document is not None and "error" not in document and code in (0, None):
            self._end(row, "done", document, None)
        elif document is not None:
            self._end(row, "failed", document, self._placeless(text_of(_first_error(document))))
        elif code is not None and code > 0 and not self._closing.is_set():
            said = Text(_last_line(place / "log"), _last_line(place / "log"))
            self._end(row, "failed", None, said)
        elif self._closing.is_set() or row["tries"] < _MOST_TRIES:
            kept = row["tries"] - 1 if self._closing.is_set() else row["tries"]
            self._store.set("jobs", row["id"], state="queued", pid=None, tries=kept)
        else:
            self._end(row, "failed", None, Refusal("job_lost", times=row["tries"]).text)

    def _end(
        self, row: Row, state: str, document: dict[str, Any] | None, problem: Text | None
    ) -> None:
        with self._store.changing():
            told = None if problem is None else problem.to_dict()
            self._store.set("jobs", row["id"], state=state, ended=now_text(), pid=None,
                            problem=told, minutes_left=None)  # fmt: skip
            self._store.note_down(f"job_{state}", row["id"])
            # With its session at once: a page that sees the one must not see the other's past.
            self._done({**row, "problem": told}, state, document)
        with contextlib.suppress(Exception):
            remove_folder(self._folder / row["id"])

    def _placeless(self, text: Text) -> Text:
        """A sentence without the place of a file in the data folder, where nobody looks."""
        place = re.compile(rf"{re.escape(str(self._folder.parent))}\S*: ")
        return Text(place.sub("", text.en), place.sub("", text.ko))

    def _told(self, row: Row, rate: float | None) -> tuple[float | None, float | None]:
        """Share done and minutes left, as the child's last line has it."""
        place = self._folder / row["id"]
        try:
            total = float((place / LENGTH_FILE).read_text())
            with (place / "log").open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 4096))
                lines = stream.read().decode("utf-8", "replace").splitlines()
        except (OSError, ValueError):
            return None, _guess(row, rate)
        for line in reversed(lines):
            if found := _PROGRESS.search(line):
                done, speed = float(found[1]), float(found[2])
                left = (total - done) / speed / 60 if speed else _guess(row, rate)
                return min(1.0, done / total), None if left is None else max(0.0, left)
        return None, _guess(row, rate)

    def _is_alive(self, job: str) -> bool:
        """Whether a child holds the lock of a job."""
        path = self._folder / job / "lock"
        if fcntl is None or not path.is_file():
            return False
        with path.open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Any:
    """A locked file; the lock passes to the child that inherits it."""
    if fcntl is None:
        yield None
        return
    with path.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def _stop(pid: int | None, child: subprocess.Popen[bytes] | None) -> None:
    """End a child and what it has started: kindly, then not."""
    if not pid:
        return
    for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, sign)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if child is not None and child.poll() is not None:
                return
            if child is None and not Path(f"/proc/{pid}").exists():
                return
            time.sleep(0.05)


def _document(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _first_error(document: dict[str, Any]) -> Any:
    """What a child says that went wrong: the error of its only recording, or of the command."""
    inside = (each["error"] for each in document.get("sessions", ()) if each.get("error"))
    return next(inside, None) or document.get("error") or ""


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1][:500] if lines else "?"


def _outline(
    row: Row, progress: float | None = None, left: float | None = None, place: int | None = None
) -> Outline:
    return Outline(
        row["id"], row["session"], row["kind"], row["state"],
        1.0 if row["state"] == "done" else progress,
        None if left is None else round(left, 1), place,
        json.loads(row["problem"]) if row["problem"] else None,
        row["created"], row["started"], row["ended"],
    )  # fmt: skip


def _minutes_per_byte(rows: Sequence[Row]) -> float | None:
    """Of the last analyses that are done; None where there is none."""
    done = [row for row in rows if (row["state"], row["kind"]) == ("done", "analyze")]
    sizes = [(row, float(json.loads(row["options"]).get("bytes") or 0))
             for row in done[-_REMEMBERED:]]  # fmt: skip
    whole = sum(size for _, size in sizes)
    return sum(_minutes(row) for row, size in sizes if size) / whole if whole else None


def _guess(row: Row, rate: float | None) -> float | None:
    """Minutes a job may take, by the size of its file and the jobs before; None where unknown.

    A guess from one kind of file to another is off by a factor of some units.
    """
    size = json.loads(row["options"]).get("bytes")
    if rate is None or not size:
        return None
    return max(0.0, rate * float(size) - (_minutes(row) if row["started"] else 0.0))


def _minutes(row: Row) -> float:
    """How long a job took, or has taken."""
    end = row["ended"] or now_text()
    took = datetime.fromisoformat(end) - datetime.fromisoformat(row["started"])
    return took.total_seconds() / 60


def bundle_option(bundle: Path | None) -> list[str]:
    """``--bundle`` of a child's command."""
    return [] if bundle is None else ["--bundle", str(bundle)]


def baseline_option(row: Mapping[str, Any]) -> list[str]:
    """``--baseline`` of a child's command, where the session has one."""
    if row["baseline_from"] is None:
        return []
    return ["--baseline", f"{row['baseline_from']:g}-{row['baseline_to']:g}"]


def choice_options(row: Mapping[str, Any]) -> list[str]:
    """Whom and what a session's analysis is of, as options: face, speaker, code, baseline.

    Everything that is made of the session later must repeat them, or it is of somebody else.
    """
    choice = json.loads(row["choice"] or "{}")
    line = baseline_option(row)
    if box := choice.get("box"):
        line += ["--set", f"target_box={box}", "--set", f"target_time={choice['time_s']}"]
    if speaker := choice.get("speaker"):
        line += ["--set", f"target_speaker={json.dumps(speaker, ensure_ascii=False)}"]
    if subject := choice.get("subject"):
        line += ["--subject", subject]
    return line
