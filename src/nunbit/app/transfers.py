"""Files that come in and go out: uploads within limits, tables, exports, reports, recordings.

A form is read as it arrives, straight to disk, and judged by its content: a file's own name is
never used, not even its ending. Nothing is unpacked or decoded here. Lists that make FFmpeg open
other files (playlists) are text and therefore refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastapi import Response
from fastapi.responses import FileResponse
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from nunbit.app.access import REPORT_POLICY, Refusal
from nunbit.app.sessions import REPORT_FILE, Sessions
from nunbit.app.store import Row
from nunbit.core.messages import MediaError, Text
from nunbit.pictures.decode import open_image
from nunbit.recording.paths import content_kind, is_text, media_ending
from nunbit.runtime.files import write_error

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from nunbit.app.routes import Desk

MEGABYTE = 1_000_000
_FIELD_BYTES = 65_536
_STALL_S = 60.0
_MOST_SIDE_PX = 2048  # of a camera's frame
_MOST_PIXELS = 60_000_000  # of a picture asked about here: 180 MB while it is decoded
_MOST_PARTS = 16
_MOST_HEADER_BYTES = 4096
_NO_BOUNDARY = Text("no multipart/form-data with a boundary",
                    "구분자(boundary)가 있는 multipart/form-data가 아님")  # fmt: skip
_MANY_PARTS = Text(f"more than {_MOST_PARTS} parts", f"항목이 {_MOST_PARTS}개를 넘음")
_NO_FILE_HERE = Text("no file is expected in '{name}'", "'{name}' 항목에는 파일을 받지 않음")
_LONG_FIELD = Text("the field '{name}' is too long", "'{name}' 항목이 너무 긺")
_DRAIN_S, _DRAIN_BYTES = 2.0, 64 * MEGABYTE
"""After a refusal so much more is read, so that a browser sees the answer and no broken line."""


@dataclass(slots=True)
class Received:
    """What a form held.

    Attributes:
        files: Field -> path and first bytes of a file.
        fields: Field -> text.
    """

    files: dict[str, tuple[Path, bytes]] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)

    def media(self) -> tuple[Path, str]:
        """The recording and its ending by its content.

        Raises:
            Refusal: There is none, it is empty, or no recording.
        """
        path, head = self._file("media")
        ending = media_ending(head)
        if ending is None:
            raise Refusal("not_media", kind=content_kind(head))
        return path, ending

    def picture(self) -> Path:
        """The picture, still encoded.

        Raises:
            Refusal: There is none, it is empty, no picture, or one of too many pixels.
        """
        path, head = self._file("image")
        try:
            width, height = open_image(path.read_bytes()).size
        except MediaError as exc:
            if exc.reason != "too_large":
                raise Refusal("not_picture", kind=content_kind(head)) from exc
            width, height = _MOST_PIXELS, 2
        if width * height > _MOST_PIXELS:
            raise Refusal("too_many_pixels", limit=_MOST_PIXELS // 1_000_000)
        return path

    def text(self, name: str) -> Path | None:
        """A transcript, or who speaks when, if one came.

        Raises:
            Refusal: It is no text.
        """
        if name not in self.files:
            return None
        path, head = self._file(name)
        if not is_text(head):
            raise Refusal("not_text")
        return path

    def _file(self, name: str) -> tuple[Path, bytes]:
        if name not in self.files:
            raise Refusal("no_media", field=name)
        path, head = self.files[name]
        if not head:
            raise Refusal("empty_upload")
        return path, head


async def receive(
    request: Request, folder: Path, limits: dict[str, int], keep_free_mb: int
) -> Received:
    """Read a form to files in a folder.

    Args:
        request: The request.
        folder: Made here; removed again if anything goes wrong.
        limits: Field -> largest size in MB; other files are refused.
        keep_free_mb: Room that must stay on the disk.

    Raises:
        Refusal: It is no form, too large, broken off, or there is no room for it.
        InputError: It cannot be written.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary or len(boundary) > 200:
        raise Refusal("bad_form", problem=_NO_BOUNDARY)
    stream = request.stream()
    try:
        most = sum(limits.values()) * MEGABYTE + _MOST_PARTS * _FIELD_BYTES
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise Refusal("too_large", limit=f"{max(limits.values()):,}")
        need = int(declared) // MEGABYTE if declared.isdigit() else 0
        require_room(folder.parent, need, keep_free_mb)
        folder.mkdir(parents=True)
        form = _Form(folder, limits, boundary)
        await _fill(form, stream, folder, keep_free_mb)
        return form.received
    except BaseException as exc:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
        if isinstance(exc, Refusal):
            await _drain(stream)
        if isinstance(exc, ClientDisconnect | TimeoutError):
            raise Refusal("cut_upload") from exc
        if isinstance(exc, OSError) and exc.errno == errno.ENOSPC:
            raise Refusal("no_room", free=0, need=f"{keep_free_mb:,}") from exc
        if isinstance(exc, OSError):
            raise write_error(folder, exc) from exc
        raise


async def _fill(form: _Form, stream: AsyncIterator[bytes], folder: Path, keep_free_mb: int) -> None:
    waiting, written, now = bytearray(), 0, asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(_STALL_S) as patience:
            async for chunk in stream:
                patience.reschedule(now() + _STALL_S)
                waiting += chunk
                if len(waiting) >= MEGABYTE:
                    await run_in_threadpool(form.write, bytes(waiting))
                    written += len(waiting)
                    waiting.clear()
                    if written % (64 * MEGABYTE) < MEGABYTE:
                        require_room(folder, 0, keep_free_mb)
        await run_in_threadpool(form.write, bytes(waiting))
        form.finish()
    finally:
        form.close()


def require_room(folder: Path, need_mb: int, keep_free_mb: int) -> None:
    """Refuse what does not fit on the disk.

    Raises:
        Refusal: There is too little room.
    """
    free = shutil.disk_usage(folder).free // MEGABYTE
    if free < need_mb + keep_free_mb:
        raise Refusal("no_room", free=f"{free:,}", need=f"{need_mb + keep_free_mb:,}")


async def _drain(stream: AsyncIterator[bytes]) -> None:
    read = 0
    with contextlib.suppress(ClientDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for chunk in stream:
                read += len(chunk)
                if read > _DRAIN_BYTES:
                    return


class _Form:
    """Writes the parts of a form to files as their bytes come."""

    def __init__(self, folder: Path, limits: dict[str, int], boundary: bytes) -> None:
        self.received = Received()
        self._folder, self._limits = folder, limits
        self._name, self._is_file = "", False
        self._header, self._value, self._disposition = b"", b"", b""
        self._size, self._parts, self._ended = 0, 0, False
        self._sink: IO[bytes] | None = None
        calls: dict[str, Callable[..., Any]] = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._headers_done,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finished,
        }
        self._parser = MultipartParser(boundary, calls)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        """Take the next bytes of the request."""
        try:
            self._parser.write(data)
        except MultipartParseError as exc:
            raise Refusal("bad_form", problem=Text(str(exc)[:120], "형식이 잘못됨")) from exc

    def finish(self) -> None:
        """Look that the form was whole."""
        if not self._ended:
            raise Refusal("cut_upload")

    def close(self) -> None:
        """Close the file that is open."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise Refusal("bad_form", problem=_MANY_PARTS)
        self._name, self._disposition, self._size, self._is_file = "", b"", 0, False
        self._header = self._value = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header = self._bounded(self._header + data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._bounded(self._value + data[start:end])

    @staticmethod
    def _bounded(header: bytes) -> bytes:
        if len(header) > _MOST_HEADER_BYTES:
            raise Refusal("bad_form", problem=Text("a header is too long", "머리글이 너무 긺"))
        return header

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_done(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options and self._name not in self._limits:
            self.received.fields[self._name] = ""
            return
        if self._name not in self._limits or self._name in self.received.files:
            raise Refusal("bad_form", problem=_NO_FILE_HERE.fill(name=self._name[:40]))
        self._is_file = True
        path = self._folder / self._name  # one of our own names
        self.received.files[self._name] = (path, b"")
        self._sink = path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if not self._is_file:
            if self._size > _FIELD_BYTES:
                raise Refusal("bad_form", problem=_LONG_FIELD.fill(name=self._name[:40]))
            self.received.fields[self._name] += data[start:end].decode("utf-8", "replace")
            return
        limit = self._limits[self._name]
        if self._size > limit * MEGABYTE:
            raise Refusal("too_large", limit=f"{limit:,}")
        path, head = self.received.files[self._name]
        if len(head) < 1024:
            self.received.files[self._name] = (path, head + data[start : min(end, start + 1024)])
        assert self._sink is not None
        self._sink.write(data[start:end])

    def _end(self) -> None:
        self.close()

    def _finished(self) -> None:
        self._ended = True


def check_frame(data: bytes) -> None:
    """Look at the header of a frame; nothing is decoded.

    Raises:
        Refusal: It is no JPEG, or too large.
    """
    try:
        width, height = open_image(data).size if data[:3] == b"\xff\xd8\xff" else (0, 0)
    except MediaError:
        width = 0
    if not width:
        raise Refusal("bad_message", problem=Text("no JPEG picture", "JPEG 사진이 아님"))
    if max(width, height) > _MOST_SIDE_PX:
        raise Refusal("frame_too_large", width=width, height=height, limit=_MOST_SIDE_PX)


@contextlib.contextmanager
def incoming(desk: Desk) -> Iterator[Path]:
    """A place for one upload, gone afterwards."""
    parent = desk.folder / "incoming"
    parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield place / "form"
    finally:
        shutil.rmtree(place, ignore_errors=True)


# -- files of a session ----------------------------------------------------------------------------


class SessionFile(FileResponse):
    """A file of a session; nothing is answered before it is open, for it may be deleted meanwhile.

    Args:
        sessions: To which it belongs.
        row: Of its session.
        path: The file.
        more: As in ``FileResponse``.
    """

    def __init__(self, sessions: Sessions, row: Row, path: Path, **more: Any) -> None:
        super().__init__(path, **more)
        self._sessions, self._session = sessions, str(row["id"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            Refusal: It is gone.
        """
        held: list[Message] = []
        begun = False

        async def once_open(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                held.append(message)
                return
            begun = True
            while held:
                await send(held.pop())
            await send(message)

        try:
            await super().__call__(scope, receive, once_open)
        except (RuntimeError, OSError) as exc:
            if begun:
                raise
            self._sessions.find(self._session)
            raise Refusal("nothing_there", what=Text("file", "파일")) from exc


def send_report(desk: Desk, row: Row) -> Response:
    """The report, in a sandbox of its own; refused where there is none."""
    path = desk.sessions.files(row).get(REPORT_FILE)
    if path is None:
        raise Refusal("nothing_there", what=Text("report", "보고서"))
    desk.sessions.store.note_down("report_read", row["id"])
    policy = {"content-security-policy": REPORT_POLICY}
    return SessionFile(desk.sessions, row, path, media_type="text/html", headers=policy)


def send_media(desk: Desk, row: Row) -> Response:
    """The recording, where it was kept; refused where there is none."""
    path = desk.sessions.media(row)
    if path is None:
        raise Refusal("nothing_there", what=Text("media", "녹화 파일"))
    desk.sessions.store.note_down("media_read", row["id"])
    return SessionFile(desk.sessions, row, path, filename=f"{row['id']}{path.suffix}")
