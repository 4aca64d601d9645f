"""Results taken away: tables for Excel and SPSS, figures, ELAN, a report to print; names left out.

Each is made of sessions gathered under names that people use, then sent; the sessions themselves
stay as they are. With ``leave_out`` persons are numbered, and everything that was said, every note
and the consent are left out.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from pydantic import Field
from starlette.background import BackgroundTask

from nunbit.app.access import REPORT_POLICY, Refusal
from nunbit.app.comparing import (
    MOST_SESSIONS,
    Gathered,
    KeyedSession,
    derived,
    gathered,
    names_in,
    number_of_persons,
    opened_sessions,
)
from nunbit.app.jobs import bundle_option, choice_options
from nunbit.app.routes import AtDesk, Desk, Link, Opened, Owner, _Sent
from nunbit.app.sessions import CONSENT_FILE, EXPORTS, NOTES_FILE, SUMMARY_FILE
from nunbit.app.store import Row
from nunbit.app.transfers import MEGABYTE, SessionFile, require_room
from nunbit.core.messages import InputError, Lang, Text
from nunbit.runtime.textfile import delimiter_of, read_decoded, read_rows

if TYPE_CHECKING:
    import pyarrow as pa

router = APIRouter(prefix="/api")

Track = Literal["together", "face", "voice", "words", "valence", "disagreement", "episodes",
                "speech", "pitch", "level"]  # fmt: skip
Form = Literal["excel", "csv", "spss", "elan", "figure"]
_FORM_NAMES = {"excel": "tables.xlsx", "csv": "tables.zip", "spss": "spss.zip"}
_TABLES = {
    "excel": ("tables.xlsx",),
    "csv": ("sessions_wide.csv", "windows_wide.csv", "episodes.csv"),
    "spss": ("sessions_wide.sav", "windows_wide.sav", "episodes.sav"),
}
_EXPORT_S = 300  # the tables of two hours take some 40 s
_MOST_ROWS = 200_000  # in JSON: 100 MB
_MOST_TABLE_BYTES = 256 << 20
_MOST_ELAN = 20  # each is derived anew, 5 to 40 s
_KINDS = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "zip": "application/zip", "eaf": "application/xml", "pdf": "application/pdf",
    "svg": "image/svg+xml", "png": "image/png",
}  # fmt: skip
PRINT_POLICY = f"{REPORT_POLICY} allow-modals"
"""A report that is to be printed may open the browser's dialogue, and nothing else."""


class AskedFigure(_Sent):
    """A figure: tracks of one session, or one measure over the sessions of one person."""

    kind: Literal["pdf", "svg", "png"] = "pdf"
    tracks: Annotated[tuple[Track, ...], Field(max_length=10)] = ()
    start: Annotated[float | None, Field(alias="from", ge=0, le=86_400)] = None
    end: Annotated[float | None, Field(alias="to", gt=0, le=86_400)] = None
    measure: Annotated[str, Field(max_length=60, pattern=r"^(?:[a-z]+\.[a-z0-9_.]+)?$")] = ""


class AskedExport(_Sent):
    """What is to be taken away."""

    sessions: Annotated[list[KeyedSession], Field(min_length=1, max_length=MOST_SESSIONS)]
    form: Form
    leave_out: Annotated[bool, Field(description="Leave out names and words.")] = False
    lang: Lang = "ko"
    figure: AskedFigure = AskedFigure()


class AskedReport(_Sent):
    """A report to read or to print; the browser's own dialogue makes the PDF."""

    session: KeyedSession
    leave_out: bool = False
    lang: Lang = "ko"


@dataclass(frozen=True, slots=True)
class MeasureWords:
    """A measure that can be compared or drawn: its name and one sentence."""

    id: str
    label: dict[str, str]
    meaning: dict[str, str]
    unit: str


@dataclass(frozen=True, slots=True)
class MeasureList:
    """Measures in the order of their source: face, voice, words."""

    measures: list[MeasureWords]


@router.get("/sessions/{session}/exports/{kind}")
def get_export(row: Opened, kind: str, desk: AtDesk) -> Response:
    """The session in another form: csv, eaf, textgrid, vtt, openface; zip is everything."""
    return send_export(desk, row, kind)


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
        with desk.exporting, desk.sessions.standing(row):  # each takes a core
            found = (
                _other_form(desk, row, kind, place) if kind != "zip" else desk.sessions.files(row)
            )
            need = sum(path.stat().st_size for path in found.values()) // MEGABYTE
            require_room(place, need, desk.keep_free_mb)
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


def _other_form(desk: Desk, row: Row, kind: str, out: Path) -> dict[str, Path]:
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


@router.get("/sessions/{session}/tables/{name}")
def get_table(
    row: Opened,
    name: str,
    desk: AtDesk,
    kind: Annotated[Literal["parquet", "csv", "json"], Query(alias="format")] = "parquet",
) -> Response:
    """A table of a session: timeline, windows_wide, frames, words, voice, episodes, notes."""
    return send_table(desk, row, name, kind)


def send_table(desk: Desk, row: Row, name: str, kind: str) -> Response:
    """A table, as it is or in another form; refused where there is none."""
    tables = desk.sessions.tables(row)
    stem = name.removesuffix(".parquet").removesuffix(".csv")
    if stem not in tables:
        raise Refusal("nothing_there", what=Text(f"table '{stem[:40]}'", f"표 '{stem[:40]}'"))
    desk.sessions.store.note_down("table_read", row["id"], stem)
    path = tables[stem]
    if f".{kind}" == path.suffix:
        return SessionFile(desk.sessions, row, path, filename=f"{row['id']}_{path.name}")
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
        whole = _given_table(path)
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


def _given_table(path: Path) -> pa.Table:
    """A table that was given, as texts: short rows are filled up, and every column has a name.

    Raises:
        InputError: It is no text.
    """
    import pyarrow as pa

    text = read_decoded(path, most_bytes=_MOST_TABLE_BYTES).text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        rows = [cells for _, cells in read_rows(text)]
    except csv.Error:  # a quoted cell is never closed: as it stands there
        lines = [line for line in text.split("\n") if line.strip()]
        rows = [line.split(delimiter_of(lines[0])) for line in lines]
    head, *below = rows or [[]]
    names: list[str] = []
    for n in range(max(map(len, rows), default=0)):
        name = head[n].strip() if n < len(head) else ""
        names.append(name if name and name not in names else f"{name or 'column'}_{n + 1}")
    columns = [[row[n] if n < len(row) else "" for row in below] for n in range(len(names))]
    return pa.table([pa.array(each, pa.string()) for each in columns], names)


def _attachment(body: bytes, kind: str, name: str) -> Response:
    return Response(
        body, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'}
    )


@router.get("/measures", dependencies=[Owner])
def list_measures() -> MeasureList:
    """The usual measures in words."""
    from nunbit.report.codebook import Codebook
    from nunbit.stories.within_person import USUAL

    book = Codebook()
    found = [book.column(name) for name in USUAL]
    return MeasureList(
        [MeasureWords(c.name, c.label.to_dict(), c.meaning.to_dict(), c.unit) for c in found]
    )


@router.post("/exports", dependencies=[Owner], response_class=Response)
def export_sessions(sent: AskedExport, desk: AtDesk) -> Response:
    """Tables, ELAN or a figure of sessions, as one file; several files come as a zip."""
    rows = opened_sessions(desk, sent.sessions)
    by_measure = sent.form == "figure" and sent.figure.measure
    if by_measure and number_of_persons(rows) > 1:
        raise Refusal("several_persons")
    if sent.form == "elan" and len(rows) > _MOST_ELAN:
        raise Refusal("many_elan", most=_MOST_ELAN)
    if sent.form == "figure" and not by_measure and len(rows) > 1:
        raise Refusal("one_figure_each")
    without = ", without names and words" if sent.leave_out else ""
    for row in rows:
        desk.sessions.store.note_down("export_made", row["id"], sent.form + without)
    with (
        desk.exporting,  # each takes a core
        gathered(desk, rows, leave_out=sent.leave_out) as found,
    ):
        name, content = _made(desk, sent, found)
        absent = _absent(sent, found)
        kind = _KINDS[name.rpartition(".")[2]]
        called = {g.person for g in found}
        who = next(iter(called)) if len(called) == 1 and None not in called else "nunbit"
        answer = _sent_as(content.read_bytes(), kind, f"{who}_{name}")
        if absent:
            answer.headers["x-left-out"] = ",".join(absent)
        return answer


def _sent_as(body: bytes, kind: str, name: str) -> Response:
    from urllib.parse import quote

    told = f"attachment; filename=\"export.{name.rpartition('.')[2]}\"; filename*=UTF-8''"
    return Response(body, media_type=kind, headers={"content-disposition": told + quote(name)})


def _made(desk: Desk, sent: AskedExport, found: Sequence[Gathered]) -> tuple[str, Path]:
    """The name of what is sent, and the file."""
    folder = found[0].folder.parent
    if sent.form == "figure":
        return _figure(sent, found)
    if sent.form == "elan":
        files = dict(_tiers(desk, sent, found))
        if len(files) == 1:
            name, path = next(iter(files.items()))
            return name, path
        return "elan.zip", _zipped(folder.parent / "elan.zip", files)
    from nunbit.report.table_files import write_table_files

    formats = {"excel": ("xlsx",), "csv": ("csv",), "spss": ("sav",)}[sent.form]
    write_table_files(folder, formats, lang=sent.lang)
    files = {name: folder / name for name in _TABLES[sent.form]}
    if sent.form == "excel":
        return _FORM_NAMES["excel"], folder / "tables.xlsx"
    if not sent.leave_out:
        files |= _beside(found)
    return _FORM_NAMES[sent.form], _zipped(folder.parent / "tables.zip", files)


def _beside(found: Sequence[Gathered]) -> dict[str, Path]:
    """Consent and notes, which go with the data."""
    there = {f"{g.name}_{name}": g.folder / name
             for g in found for name in (CONSENT_FILE, NOTES_FILE)}  # fmt: skip
    return {name: path for name, path in there.items() if path.is_file()}


def _tiers(desk: Desk, sent: AskedExport, found: Sequence[Gathered]) -> Iterator[tuple[str, Path]]:
    """Name -> file for ELAN, made anew of every session."""
    for each in found:
        out = each.folder.parent.parent / "elan" / each.name
        person = each.name.rpartition("_")[0]
        hidden = ["--without-words", "--subject", person] if sent.leave_out else []
        made = derived(desk, each.row, out, sent.lang, "--export", "eaf", *hidden)
        names = {str(each.row["id"]): each.name}
        if sent.leave_out:
            names |= {n: s for n, s in names_in(desk, each.row).items() if len(n) > 1}
        for path in made.glob("*.eaf"):
            text = path.read_text(encoding="utf-8")
            for name in sorted(names, key=len, reverse=True):
                text = text.replace(name, names[name])
            path.write_text(text, encoding="utf-8")
            yield f"{each.name}.eaf", path


def _figure(sent: AskedExport, found: Sequence[Gathered]) -> tuple[str, Path]:
    from nunbit.report.group_figures import group_figure
    from nunbit.report.paper_figures import Wanted, save_paper_figure, tracks_figure

    absent = _absent(sent, found)
    if absent and set(absent) == set(sent.figure.tracks):
        raise Refusal("nothing_drawn")

    asked, folders = sent.figure, [each.folder for each in found]
    out = found[0].folder.parent.parent / f"figure.{asked.kind}"
    figure: Any
    if asked.measure:
        figure = group_figure(folders, asked.measure, by="session", lang=sent.lang)
    else:
        tracks = tuple(name for name in asked.tracks if name not in absent)
        wanted = Wanted(tracks, asked.start, asked.end, "two", sent.lang)
        figure = tracks_figure(folders, wanted)
    return f"figure.{asked.kind}", save_paper_figure(out, figure)


def _absent(sent: AskedExport, found: Sequence[Gathered]) -> tuple[str, ...]:
    """Tracks that were asked for and of which the session has nothing to draw."""
    from nunbit.report.paper_figures import Wanted, drawable_tracks

    if sent.form != "figure" or sent.figure.measure or not sent.figure.tracks:
        return ()
    asked = Wanted((), sent.figure.start, sent.figure.end, "two", sent.lang)
    there = drawable_tracks(found[0].folder, asked)
    return tuple(name for name in sent.figure.tracks if name not in there)


def _zipped(target: Path, files: dict[str, Path]) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, path in files.items():
            packed.write(path, name)
    return target


@router.post("/exports/report", status_code=201, dependencies=[Owner])
def print_report(sent: AskedReport, desk: AtDesk) -> Link:
    """A link, good once within a minute, to the report of a session; with ``#print`` it prints."""
    from nunbit.report.timeline_data import read_recording
    from nunbit.report.timeline_page import timeline_html
    from nunbit.report.timeline_view import TimelineView

    rows = opened_sessions(desk, [sent.session])
    with desk.exporting, gathered(desk, rows, leave_out=sent.leave_out) as found:
        view = TimelineView(read_recording(found[0].folder), sent.lang)
        text = timeline_html(view, None)
    desk.sessions.store.note_down("report_read", rows[0]["id"], "printed")
    headers = {"content-security-policy": PRINT_POLICY}

    def printed() -> Response:
        desk.sessions.find(rows[0]["id"])  # it may have been deleted meanwhile
        return Response(text, media_type="text/html", headers=headers)

    ticket = desk.tickets.issue(printed)
    return Link(url=f"/open/{ticket}")
