"""Files that come in and go out: uploads within limits, tables, exports, reports, recordings.

A form is read as it arrives, straight to disk, and judged by its content: a file's own name is
never used, not even its ending. Nothing is unpacked or decoded here. Lists that make FFmpeg open
other files (playlists) are text and therefore refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastapi import Response
from fastapi.responses import FileResponse
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from nunbit.app.access import REPORT_POLICY, Refusal
from nunbit.app.jobs import bundle_option, choice_options
from nunbit.app.sessions import CONSENT_FILE, EXPORTS, NOTES_FILE, REPORT_FILE, SUMMARY_FILE
from nunbit.app.store import Row
from nunbit.core.messages import InputError, MediaError, Text
from nunbit.pictures.decode import open_image
from nunbit.recording.paths import content_kind, is_text, media_ending
from nunbit.runtime.files import write_error

if TYPE_CHECKING:
    from nunbit.app.routes import Desk

_EXPORT_S = 300  # the tables of two hours take some 40 s
_MOST_ROWS = 200_000  # in JSON: 100 MB
MEGABYTE = 1_000_000
_FIELD_BYTES = 65_536
_STALL_S = 60.0
_MOST_SIDE_PX = 2048  # of a camera's frame
_MOST_PIXELS = 60_000_000  # of a picture asked about here: 180 MB while it is decoded
_MOST_PARTS = 16
_MOST_HEADER_BYTES = 4096
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
        raise Refusal("bad_form", problem="no multipart/form-data with a boundary")
    stream = request.stream()
    try:
        most = sum(limits.values()) * MEGABYTE + _MOST_PARTS * _FIELD_BYTES
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise Refusal("too_large", limit=f"{max(limits.values()):,}")
        need = int(declared) // MEGABYTE if declared.isdigit() else 0
        _require_room(folder.parent, need, keep_free_mb)
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
                        _require_room(folder, 0, keep_free_mb)
        await run_in_threadpool(form.write, bytes(waiting))
        form.finish()
    finally:
        form.close()


def _require_room(folder: Path, need_mb: int, keep_free_mb: int) -> None:
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
            raise Refusal("bad_form", problem=str(exc)[:120]) from exc

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
            raise Refusal("bad_form", problem=f"more than {_MOST_PARTS} parts")
        self._name, self._disposition, self._size, self._is_file = "", b"", 0, False
        self._header = self._value = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header = self._bounded(self._header + data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._bounded(self._value + data[start:end])

    @staticmethod
    def _bounded(header: bytes) -> bytes:
        if len(header) > _MOST_HEADER_BYTES:
            raise Refusal("bad_form", problem="a header is too long")
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
            raise Refusal("bad_form", problem=f"no file is expected in '{self._name[:40]}'")
        self._is_file = True
        path = self._folder / self._name  # one of our own names
        self.received.files[self._name] = (path, b"")
        self._sink = path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if not self._is_file:
            if self._size > _FIELD_BYTES:
                raise Refusal("bad_form", problem=f"the field '{self._name[:40]}' is too long")
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
        raise Refusal("bad_message", problem="no JPEG picture")
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


def send_table(desk: Desk, row: Row, name: str, kind: str) -> Response:
    """A table, as it is or in another form; refused where there is none."""
    tables = desk.sessions.tables(row)
    stem = name.removesuffix(".parquet").removesuffix(".csv")
    if stem not in tables:
        raise Refusal("nothing_there", what=Text(f"table '{stem[:40]}'", f"표 '{stem[:40]}'"))
    desk.sessions.store.note_down("table_read", row["id"], stem)
    path = tables[stem]
    if f".{kind}" == path.suffix:
        return FileResponse(path, filename=f"{row['id']}_{path.name}")
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from nunbit.runtime.files import read_parquet
    from nunbit.runtime.results import decoded, spreadsheet_table

    if path.name == NOTES_FILE:  # as they were written; the file is made for spreadsheets
        columns = {"t": pa.float64(), "kind": pa.string(), "text": pa.string()}
        notes = [asdict(note) for note in desk.sessions.notes(row["id"])]
        whole = pa.Table.from_pylist(notes, pa.schema(columns))
    elif path.suffix == ".csv":  # a transcript that was given
        names = pyarrow.csv.open_csv(path).schema.names
        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        whole = pyarrow.csv.read_csv(path, convert_options=texts)
    else:
        whole = read_parquet(path, Text("unreadable: {reason}", "읽을 수 없습니다: {reason}"))
    if kind == "json" and whole.num_rows > _MOST_ROWS:
        raise Refusal("too_many_rows", rows=f"{whole.num_rows:,}", limit=f"{_MOST_ROWS:,}")
    stream = io.BytesIO()
    if kind == "csv":
        pyarrow.csv.write_csv(spreadsheet_table(whole), stream)
        return _attachment(stream.getvalue(), "text/csv; charset=utf-8", f"{row['id']}_{stem}.csv")
    if kind == "parquet":
        pyarrow.parquet.write_table(whole, stream)
        return _attachment(stream.getvalue(), "application/octet-stream", f"{stem}.parquet")
    rows = [
        {k: None if v != v else v for k, v in one.items()} for one in decoded(whole).to_pylist()
    ]
    return Response(
        json.dumps({"table": stem, "rows": rows}, ensure_ascii=False, default=str),
        media_type="application/json",
    )


def send_export(desk: Desk, row: Row, kind: str) -> Response:
    """A zip: an export with consent and notes, or everything that the session holds.

    Raises:
        Refusal: There is none.
    """
    if kind != "zip" and kind not in EXPORTS:
        raise Refusal("nothing_there", what=f"'{kind[:40]}'")
    if kind != "zip" and SUMMARY_FILE not in desk.sessions.files(row):
        raise Refusal("nothing_there", what=kind)
    desk.sessions.store.note_down("export_made", row["id"], kind)
    place = Path(tempfile.mkdtemp(dir=desk.folder / "incoming"))
    try:
        with desk.exporting:  # each takes a core
            found = _made(desk, row, kind, place) if kind != "zip" else desk.sessions.files(row)
            need = sum(path.stat().st_size for path in found.values()) // MEGABYTE
            _require_room(place, need, desk.keep_free_mb)
            target = place / "export.zip"
            beside = {n: p for n, p in desk.sessions.files(row).items()
                      if n in (CONSENT_FILE, NOTES_FILE)}  # fmt: skip
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
                for name, path in (beside | found).items():
                    packed.write(path, f"{row['id']}/{name}")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return FileResponse(
        target,
        filename=f"{row['id']}_{kind}.zip",
        media_type="application/zip",
        background=BackgroundTask(shutil.rmtree, place, ignore_errors=True),
    )


def _made(desk: Desk, row: Row, kind: str, out: Path) -> dict[str, Path]:
    """Write an export from what was observed; the session's own folder stays as it is."""
    source = desk.sessions.place(row)
    line = [sys.executable, "-m", "nunbit", "analyze", str(source), "--out", str(out),
            "--export", kind, *bundle_option(desk.bundle_of(row)),
            *choice_options(row)]  # fmt: skip
    run = subprocess.run(line, capture_output=True, text=True, timeout=_EXPORT_S, check=False)
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["?"])[-1].removeprefix("nunbit: error: ")
        raise InputError(Text(said, said))
    made = sorted((out / row["id"]).iterdir())
    there = set(desk.sessions.files(row))
    return {p.name: p for p in made if p.is_file() and p.name not in there} or {
        p.name: p for p in made if kind in p.name.lower() or p.suffix.lower() == f".{kind}"
    }


def send_report(desk: Desk, row: Row) -> Response:
    """The report, in a sandbox of its own; refused where there is none."""
    path = desk.sessions.files(row).get(REPORT_FILE)
    if path is None:
        raise Refusal("nothing_there", what=Text("report", "보고서"))
    desk.sessions.store.note_down("report_read", row["id"])
    return FileResponse(
        path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY}
    )


def send_media(desk: Desk, row: Row) -> Response:
    """The recording, where it was kept; refused where there is none."""
    path = desk.sessions.media(row)
    if path is None:
        raise Refusal("nothing_there", what=Text("media", "녹화 파일"))
    desk.sessions.store.note_down("media_read", row["id"])
    return FileResponse(path, filename=f"{row['id']}{path.suffix}")


def _attachment(body: bytes, kind: str, name: str) -> Response:
    return Response(
        body, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'}
    )
