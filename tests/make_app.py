"""A really running ``nunbit app``, a client for it, and what is sent to it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from websockets.sync.client import ClientConnection, connect

HEADER = struct.Struct("<BBHIdQ")
RATE = 16_000


@dataclass
class RunningApp:
    """The app as a process of its own.

    Attributes:
        folder: Its data folder.
        options: Of its command line.
        wrapper: Words before ``python``.
    """

    folder: Path
    options: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    told: dict[str, Any] = field(default_factory=dict)

    def start(self) -> float:
        """Start it; returns the seconds until it answered."""
        began = time.monotonic()
        line = [*self.wrapper, sys.executable, "-m", "nunbit", "app", "--port", "0", "--no-browser",
                "--json", "--data", str(self.folder), *self.options]  # fmt: skip
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"} | self.environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if not first:
            raise AssertionError(self.process.communicate()[1])
        self.told = json.loads(first)
        try:
            answer = httpx.get(f"{self.told['url']}api/health", trust_env=False, timeout=60)
            assert answer.json() == {"status": "ok"}
        except BaseException:
            self.kill()
            raise
        return time.monotonic() - began

    @property
    def key(self) -> str:
        return str(self.told["key"])

    def client(self, **headers: str) -> httpx.Client:
        """A client with the app's key."""
        given = {"Authorization": f"Bearer {self.key}"} | headers
        return httpx.Client(base_url=self.told["url"], headers=given, timeout=180, trust_env=False)

    @contextlib.contextmanager
    def socket(
        self, *, hello: dict[str, Any] | None = None, **kwargs: Any
    ) -> Iterator[ClientConnection]:
        """A WebSocket; with ``hello`` it has said so."""
        url = f"ws://127.0.0.1:{self.told['port']}/api/live"
        with connect(url, max_size=None, proxy=None, **kwargs) as opened:
            if hello is not None:
                told = {"type": "hello", "key": self.key, "session": None, "sample_rate": RATE,
                        "width": 320, "height": 240, "resume": None, "lang": "ko"}  # fmt: skip
                opened.send(json.dumps(told | hello))
            yield opened

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def stop(self) -> int:
        """An interrupt, as Ctrl-C gives."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=60)
        self.kill()
        return int(self.process.returncode)


@contextlib.contextmanager
def running_app(folder: Path, *options: str, **kwargs: Any) -> Iterator[RunningApp]:
    """The app while the body runs."""
    app = RunningApp(folder, options, **kwargs)
    app.start()
    try:
        yield app
    finally:
        app.kill()


def consent(participant: str, **changes: Any) -> dict[str, Any]:
    """A consent that allows everything."""
    scope = {"face": True, "voice": True, "words": True, "media": True}
    return {
        "participant": participant, "everybody_agrees": True, "minor": False, "guardian": False,
        "purpose": "research_interview", "purpose_text": "면담에서 표정과 목소리의 변화를 연구",
        "date": date.today().isoformat(), "scope": scope, "retention_days": 30, "lang": "ko",
    } | changes  # fmt: skip


def new_session(client: httpx.Client, code: str = "P-01", **changes: Any) -> dict[str, str]:
    """A session that may be recorded: its id and key."""
    person = client.post("/api/participants", json={"code": code}).json()["id"]
    agreed = client.post("/api/consents", json=consent(person)).json()["id"]
    given = {"participant": person, "consent": agreed, "keep_media": False} | changes
    answer = client.post("/api/sessions", json=given)
    assert answer.status_code == 201, answer.text
    found: dict[str, str] = answer.json()
    return found


def frame(picture: Image.Image | None = None, size: tuple[int, int] = (320, 240)) -> bytes:
    """A JPEG of the camera; grey where none is given."""
    stream = io.BytesIO()
    (picture or Image.new("RGB", size, (128, 128, 128))).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def frame_message(jpeg: bytes, seq: int, captured_ms: float) -> bytes:
    return HEADER.pack(1, 1, 0, seq, captured_ms, 0) + jpeg


def sound_message(samples: np.ndarray, seq: int, captured_ms: float, first: int) -> bytes:
    return HEADER.pack(2, 1, 0, seq, captured_ms, first) + samples.astype("<i2").tobytes()


def hum(first: int, n: int) -> np.ndarray:
    """A quiet tone, int16."""
    return np.rint(3000 * np.sin(2 * np.pi * 150 * (first + np.arange(n)) / RATE)).astype(np.int16)


@dataclass
class Sender:
    """Sends frames and sound in time to a socket and keeps what comes back.

    Attributes:
        socket: Of the app.
        jpeg: The frame, always the same.
        at_s: What has been sent so far, seconds.
        events: What came.
    """

    socket: ClientConnection
    jpeg: bytes = field(default_factory=frame)
    at_s: float = 0.0
    seq: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def send(self, seconds: float, *, speed: float = 1.0) -> None:
        """Send so much, a tenth of a second at a time."""
        for _ in range(round(seconds * 10)):
            self.seq += 1
            ms = 1000 * self.at_s + 5000
            first = round(self.at_s * RATE)
            self.socket.send(sound_message(hum(first, RATE // 10), self.seq, ms, first))
            self.socket.send(frame_message(self.jpeg, self.seq, ms + 5))
            self.at_s = round(self.at_s + 0.1, 3)
            self.receive(0.1 / speed)

    def receive(self, seconds: float) -> None:
        """Take what comes in so many seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                self.events.append(json.loads(self.socket.recv(timeout=left)))
            except TimeoutError:
                return

    def until(self, kind: str, seconds: float = 60.0) -> dict[str, Any]:
        """Take what comes until an event of this kind."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            event: dict[str, Any] = json.loads(self.socket.recv(timeout=end - time.monotonic()))
            self.events.append(event)
            if event["type"] == kind:
                return event
        raise AssertionError(f"no {kind} among {[e['type'] for e in self.events]}")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """What came of a kind."""
        return [event for event in self.events if event["type"] == kind]


def stocked(folder: Path, sessions: int, hours: float = 0.0) -> str:
    """A data folder with so many sessions of fifty people, made without the app.

    The last one has the tables of an interview of ``hours``; returns its id.
    """
    from make_timeline import Recipe, make_timeline
    from nunbit.app.sessions import Sessions
    from nunbit.app.store import Consent, Scope, Store

    (folder / "sessions").mkdir(parents=True)
    store = Store(folder / "nunbit.sqlite")
    kept = Sessions(store, folder / "sessions")
    agreed = {}
    for n in range(50):
        code = f"P-{n:03}"
        kept.add_participant(code)
        agreed[code] = kept.add_consent(
            Consent(code, True, "research_interview", "면담 연구", date.today(), 365, Scope())
        )
    new = ""
    for n in range(sessions):
        code = f"P-{n % 50:03}"
        row, _ = kept.create(code, agreed[code], False, None)
        new = row["id"]
        store.set("sessions", new, state="done", origin="file", title=f"면담 {n // 50 + 1}회.mp4",
                  duration_s=3600.0 * hours or 1800.0)  # fmt: skip
    if hours:
        place = folder / "sessions" / new
        made = make_timeline(folder / "made" / new, Recipe(duration_s=3600 * hours))
        for each in made.iterdir():
            each.replace(place / each.name)
        from nunbit.report.timeline_page import render_timeline

        render_timeline(place, lang="ko")
    store.close()
    return new
