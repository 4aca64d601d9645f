"""The WebSocket of a live session: hello, frames, sound and notes in; events out.

One session at a time: it needs the machine's cores. A socket that breaks may come back within a
minute and the session's clock goes on; what waits for a slow page is bounded, and what is left out
then are pictures and levels, never windows, words or notes. Knows nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import secrets
import shutil
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from nunbit.app.access import Hello, Keyring, Refusal, error_document, is_key, key_hash, read_hello
from nunbit.app.sessions import Sessions
from nunbit.app.store import NoteKind, Row, now_text
from nunbit.app.transfers import check_frame
from nunbit.core.messages import NunbitError, Text

if TYPE_CHECKING:
    from nunbit.live import Event, LiveSession, LiveSettings

HEADER = struct.Struct("<BBHIdQ")  # kind, version, 0, seq, captured_ms, first_sample
FRAME, SOUND = 1, 2
RESUME_S = 60.0
MOST_MESSAGE_BYTES = 4_000_000

_MOST_WAITING, _MOST_TEXT = 400, 16_384
_LEFT_OUT = ("face", "voice", "health")  # the next one says the same again
_ROOM_EVERY_S = 2.0
_MOST_SAMPLES = 16_000 * 86_400  # a day


class _Box:
    """Events on their way to a page; bounded."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._came = asyncio.Event()

    def put(self, kind: str, body: bytes) -> None:
        """Add one; of too many the oldest picture or level is left out, else the oldest."""
        self._waiting.append((kind, body))
        if len(self._waiting) > _MOST_WAITING:
            at = next((i for i, (k, _) in enumerate(self._waiting) if k in _LEFT_OUT), 0)
            del self._waiting[at]
        self._came.set()

    async def take(self) -> bytes:
        """The next one."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        return self._waiting.popleft()[1]

    async def emptied(self) -> None:
        """Return once all is sent."""
        while self._waiting:
            await asyncio.sleep(0.02)

    def put_back(self, body: bytes) -> None:
        """Put one back that could not be sent."""
        self._waiting.appendleft(("", body))


@dataclass(eq=False)
class _Running:
    """The session that runs.

    Attributes:
        id: Of the session, or made for a try-out.
        live, box: The engine, and what waits to be sent.
        ready, socket: The event that opens a page, and the page while there is one.
        row, scope: Of the database, None for a try-out; what may be taken.
        next_sample: First sample that has not come yet.
        ending: Ends the session when the page stays away.
        stopping, finished: Whether it is being ended; set once it has ended.
    """

    id: str
    box: _Box
    row: Row | None
    scope: frozenset[str]
    live: LiveSession | None = None
    ready: dict[str, Any] = field(default_factory=dict)
    socket: WebSocket | None = None
    next_sample: int = 0
    ending: asyncio.TimerHandle | None = None
    stopping: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class LiveDesk:
    """The one live session of the app.

    Attributes:
        sessions: Sessions.
        bundle, settings: Give the loaded model, and how sessions are read.
        key: The app's.
        ended: Called with the row of a session that has ended, and whether it is whole; may give
            the job that goes on with it.
        keep_free_mb: Recording ends before the disk has less room.
    """

    sessions: Sessions
    bundle: Callable[[], Any]
    settings: Callable[[], LiveSettings]
    key: str
    ended: Callable[[Row, bool], str | None]
    keep_free_mb: int
    running: _Running | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def serve(self, socket: WebSocket) -> None:
        """One page, from its hello to its end."""
        await socket.accept()
        try:
            hello = await read_hello(socket)
            running = await self._attach(socket, hello, self._keys(hello))
        except (Refusal, NunbitError) as exc:
            await _close(socket, getattr(exc, "code", "failed"), exc)
            return
        except WebSocketDisconnect:
            return
        except Exception as exc:
            logging.getLogger("nunbit.app").exception("a session could not be started")
            await _close(socket, "live_fault", _fault(exc))
            return
        sender = asyncio.create_task(self._send(running, socket))
        try:
            await self._receive(running, socket)
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender
            if running.socket is socket:
                running.socket = None
                self._wait_for_return(running)

    def _keys(self, hello: Hello) -> Keyring:
        """The keys of a page.

        Raises:
            Refusal: Neither the app's nor that of the session it names.
        """
        is_own = is_key(hello.key, key_hash(self.key))
        keys = Keyring(is_own, hello.key, hello.session_key or "")
        named = hello.resume or hello.session
        row = self.sessions.store.row("sessions", id=named) if named else None
        if not is_own and (row is None or not keys.opens(row["key_hash"])):
            raise Refusal("wrong_key" if hello.key else "no_key")
        return keys

    async def _attach(self, socket: WebSocket, hello: Hello, keys: Keyring) -> _Running:
        """The session that a page asks for: the one that runs, or a new one.

        Raises:
            Refusal: There is another, or it may not be recorded.
            NunbitError: The model cannot be loaded.
        """
        async with self.opening:
            running = self.running
            if hello.resume is not None:
                if running is None or running.id != hello.resume or running.stopping:
                    raise Refusal("cannot_resume", seconds=f"{RESUME_S:.0f}")
                if running.row is not None and not keys.opens(running.row["key_hash"]):
                    raise Refusal("session_key")
                if running.socket is not None:
                    await _close(running.socket, "taken_over", Refusal("taken_over"))
                if running.ending is not None:
                    running.ending.cancel()
                running.socket, running.ending = socket, None
                again = running.ready | {"next_sample": running.next_sample}
                running.box.put("ready", _encoded(again))
                return running
            if running is not None:
                if running.socket is not None or running.row is not None:
                    raise Refusal("second_tab")
                await self.stop(running)  # a try-out whose page went away
            return await self._open(socket, hello, keys)

    async def _open(self, socket: WebSocket, hello: Hello, keys: Keyring) -> _Running:
        from nunbit.live import LiveSession  # here: the app starts without the models' code
        from nunbit.stories.analyze.live_end import finish_live

        row, scope, folder = None, frozenset(("face", "voice", "words")), None
        if hello.session is not None:
            row = self.sessions.open(hello.session, keys)
            if row["state"] != "open" or row["origin"] != "live":
                raise Refusal("recorded_before")
            scope, folder = self.sessions.scope(row), self.sessions.place(row)
            self._require_room()
        running = _Running(row["id"] if row else f"try-{secrets.token_hex(6)}", _Box(), row, scope)
        loop = asyncio.get_running_loop()

        def emit(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before a thread
                loop.call_soon_threadsafe(self._take, running, event)

        given = self.settings()
        settings = replace(
            given,
            camera="face" in scope,
            sound="voice" in scope,
            asr=given.asr if "words" in scope else "",
            session=running.id,
            subject=self.sessions.summary(row).participant or "" if row else "",
        )
        if row is not None:
            self._mark(row, "recording", "recording_started", started=now_text())
        self.running, running.socket = running, socket
        try:
            running.live = await run_in_threadpool(
                lambda: LiveSession(
                    self.bundle(), settings, folder, bool(row and row["keep_media"]), emit,
                    None if row is None else finish_live,
                )
            )  # fmt: skip
        except BaseException:
            self.running = None
            if row is not None:
                self._mark(row, "open", "recording_not_started", started=None)
            raise
        return running

    def _mark(self, row: Row, state: str, action: str, **changes: Any) -> None:
        with (store := self.sessions.store).folders, store.changing():
            if state == "recording" and self.sessions.find(row["id"]) != row:  # changed meanwhile
                raise Refusal("recorded_before")
            store.set("sessions", row["id"], state=state, **changes)
            store.note_down(action, row["id"])

    def _wait_for_return(self, running: _Running) -> None:
        if running.stopping or self.running is not running:
            return
        running.ending = asyncio.get_running_loop().call_later(
            RESUME_S, lambda: asyncio.ensure_future(self.stop(running))
        )

    async def stop(self, running: _Running, *, fault: str = "") -> None:
        """End a session; what was recorded is kept, and its tables are written."""
        if running.stopping:
            await running.finished.wait()
            return
        running.stopping = True
        row, live, faults = running.row, running.live, [fault] if fault else []

        async def step(work: Callable[..., Any], *given: Any) -> Any:
            """Do a step of the end; one that fails is told, and the next is done."""
            try:
                return await run_in_threadpool(work, *given)
            except Exception as exc:
                faults.append("live_fault")
                logging.getLogger("nunbit.app").exception("a session could not be finished")
                running.box.put("problem", _problem("live_fault", _fault(exc)))

        if row is not None:
            await step(lambda: self._mark(row, "analysing", "recording_stopped", ended=now_text()))
        done, job = None if live is None else await step(live.stop), None
        if row is not None:
            await step(self.sessions.write_notes, row)
            job = await step(self._record_end, row, not faults, dict(done or {}))
        told = {"type": "stopped", "session": row and row["id"], "job": job}
        running.box.put("stopped", _encoded(told))
        self.running = None if self.running is running else self.running
        running.finished.set()

    def _record_end(self, row: Row, whole: bool, done: dict[str, Any]) -> str | None:
        state, media = "done" if whole else "cut_off", done.get("media") or done
        length = media.get("duration_s")
        self.sessions.store.set("sessions", row["id"], state=state, duration_s=length)
        return self.ended(self.sessions.find(row["id"]), whole)

    async def close(self) -> None:
        """End what runs, when the app ends."""
        if self.running is not None:
            running = self.running
            running.box.put("problem", _problem("shutting_down", Refusal("shutting_down")))
            await self.stop(running)

    # -- messages --

    async def _receive(self, running: _Running, socket: WebSocket) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            try:
                message = await socket.receive()
            except RuntimeError:  # closed from this side
                return
            if message["type"] == "websocket.disconnect":
                return
            if running.socket is not socket or running.live is None:
                return
            try:
                if (body := message.get("bytes")) is not None:
                    self._binary(running, body)
                elif await self._said(running, message.get("text") or ""):
                    return
                if running.row is not None and loop.time() - looked > _ROOM_EVERY_S:
                    looked = loop.time()
                    self._require_room()
            except Refusal as refusal:
                fatal = refusal.code == "disk_full"
                running.box.put("problem", _problem(refusal.code, refusal, fatal=fatal))
                if fatal:
                    await self._finish(running, socket)
                    return

    def _binary(self, running: _Running, body: bytes) -> None:
        """A frame or sound.

        Raises:
            Refusal: It is neither, or too large.
        """
        if len(body) <= HEADER.size or len(body) > MOST_MESSAGE_BYTES:
            raise Refusal("bad_message", problem=Text(f"{len(body)} bytes", f"{len(body)}바이트"))
        kind, version, _, seq, captured_ms, first_sample = HEADER.unpack_from(body)
        if version != 1 or not math.isfinite(captured_ms):
            raise Refusal("bad_message", problem=Text("version or time", "버전이나 시각"))
        payload = body[HEADER.size :]
        assert running.live is not None
        if kind == FRAME and "face" in running.scope:
            check_frame(payload)
            running.live.push_frame(payload, captured_ms, seq)
        elif kind == SOUND and "voice" in running.scope:
            if first_sample > _MOST_SAMPLES:
                raise Refusal("bad_message", problem=Text("first_sample", "소리의 위치"))
            again = max(0, running.next_sample - first_sample)  # sent before a cut, too
            if 2 * again < len(payload):
                running.next_sample = first_sample + len(payload) // 2
                running.live.push_sound(
                    payload[2 * again :], first_sample + again, captured_ms + again / 16, 16_000
                )
        elif kind not in (FRAME, SOUND):
            raise Refusal("bad_message", problem=Text(f"kind {kind}", f"종류 {kind}"))

    async def _said(self, running: _Running, text: str) -> bool:
        """A message in JSON; whether it ended the session.

        Raises:
            Refusal: It is not understood.
        """
        if len(text) > _MOST_TEXT:
            raise Refusal("bad_message", problem=Text("too long", "너무 긺"))
        try:
            said = json.loads(text)
            kind = said["type"]
            captured = said.get("captured_ms")
            if captured is not None and not math.isfinite(captured):
                raise ValueError("captured_ms")
        except Exception as exc:  # whatever is wrong with it
            raise Refusal("bad_message", problem=Text("no JSON", "형식이 잘못됨")) from exc
        live = running.live
        assert live is not None
        if kind == "stop":
            if running.socket is not None:
                await self._finish(running, running.socket)
            return True
        if kind == "note":
            if said.get("kind") not in _NOTES:
                raise Refusal("bad_message", problem=Text("kind of note", "메모의 종류"))
            live.note(said["kind"], str(said.get("text", ""))[:4000], captured)
        elif kind == "drawn":
            latency = said.get("latency_ms")
            if isinstance(latency, int | float) and 0 <= latency < 60_000:
                live.drawn(float(latency))
        elif kind == "ping":
            running.box.put("pong", _encoded({"type": "pong", "captured_ms": captured}))
        else:
            raise Refusal("bad_message", problem=Text("type", "메시지의 종류"))
        return False

    async def _finish(self, running: _Running, socket: WebSocket) -> None:
        """End a session that its page wants to end; the page hears all before it is closed."""
        await self.stop(running)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await running.box.emptied()
        running.socket = None
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(1000)

    async def _send(self, running: _Running, socket: WebSocket) -> None:
        while True:
            body = await running.box.take()
            try:
                await socket.send_text(body.decode())
            except BaseException as exc:  # for the page that comes back
                running.box.put_back(body)
                if isinstance(exc, RuntimeError | WebSocketDisconnect | OSError):
                    return
                raise

    def _take(self, running: _Running, event: Event) -> None:
        """An event of the engine, on the loop's thread."""
        if event.type == "stopped":
            return  # said once the database knows it
        if event.type == "ready":
            running.ready = msgspec.to_builtins(event) | {"session": running.id}
            running.box.put("ready", _encoded(running.ready | {"next_sample": 0}))
            return
        if event.type == "note" and running.row is not None:
            self.sessions.add_note(running.row["id"], event.t, event.kind, event.text)
        running.box.put(event.type, msgspec.json.encode(event))
        if event.type == "problem" and event.fatal and not running.stopping:
            asyncio.ensure_future(self.stop(running, fault=event.code))  # noqa: RUF006

    def _require_room(self) -> None:
        if shutil.disk_usage(self.sessions.folder).free < self.keep_free_mb * 1_000_000:
            raise Refusal("disk_full")


_NOTES = get_args(NoteKind)


def _fault(exc: Exception) -> NunbitError:
    """What went wrong, in words; only Python's own are English."""
    told = Text(f"{exc}", type(exc).__name__)
    return exc if isinstance(exc, NunbitError) else Refusal("live_fault", problem=told)


async def _close(socket: WebSocket, code: str, problem: NunbitError) -> None:
    """Say why, and close; 4000 and the status of HTTP tell it to a program."""
    status = getattr(problem, "status", 500)
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_text(_problem(code, problem, fatal=True).decode())
        await socket.close(4000 + status)


def _problem(code: str, problem: NunbitError, *, fatal: bool = False) -> bytes:
    told = error_document(code, problem.text)["error"]
    return _encoded({"type": "problem", **told, "fatal": fatal})


_encoded = msgspec.json.encode
