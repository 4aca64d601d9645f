"""Sessions of one person compared, and conditions within them, with intervals.

What is counted lies in the story of ``nunbit compare``. Here sessions are gathered into one folder
under names that people use (the participant's code and the number of the visit), because a
session's own folder has neither. Exports stand on the same folder.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from nunbit.app.access import Keyring, Refusal
from nunbit.app.jobs import bundle_option, choice_options
from nunbit.app.routes import AtDesk, Desk, Owner, _Sent
from nunbit.app.sessions import SUMMARY_FILE
from nunbit.app.store import Name, Row
from nunbit.core.messages import InputError, Lang, Text
from nunbit.runtime.files import read_json, write_json

MOST_SESSIONS = 200
_MOST_STRETCHES = 500
_DERIVE_S = 300  # of two hours some 40 s

router = APIRouter(prefix="/api", tags=["compare"])


# -- what is sent and answered ---------------------------------------------------------------------


class KeyedSession(_Sent):
    """A session and its key."""

    id: Name
    key: Annotated[str, Field(max_length=200)] = ""


class AskedStretch(_Sent):
    """A stretch of a session in one condition, seconds."""

    session: Name
    start: Annotated[float, Field(alias="from", ge=0, le=86_400)]
    end: Annotated[float, Field(alias="to", gt=0, le=86_400)]
    condition: Annotated[str, Field(min_length=1, max_length=40)]


class AskedComparison(_Sent):
    """Sessions with one another, or conditions within them."""

    sessions: Annotated[list[KeyedSession], Field(min_length=1, max_length=MOST_SESSIONS)]
    by: Literal["sessions", "speaking", "stretches"] = "sessions"
    stretches: Annotated[tuple[AskedStretch, ...], Field(max_length=_MOST_STRETCHES)] = ()


@dataclass(frozen=True, slots=True)
class ComparedSession:
    """A session as the comparison calls it: ``visit`` is its number among the person's."""

    id: str
    name: str
    visit: int
    created: str
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """One measure of one session in one condition; ``low`` to ``high`` is its 95% interval.

    ``why`` says in words why there is no value or no interval.
    """

    session: str
    condition: str
    value: float | None
    low: float | None
    high: float | None
    windows: int
    independent: float | None
    why: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class ComparedDifference:
    """``value`` in ``to`` minus that in ``start``, with its 95% interval where one can be given.

    ``over`` says what the interval is over: ``time``, ``recordings`` or '' for none.
    """

    start: str
    to: str
    value: float
    low: float | None
    high: float | None
    over: str


@dataclass(frozen=True, slots=True)
class ComparedMeasure:
    """A measure in words, its values and their differences."""

    id: str
    label: dict[str, str]
    meaning: dict[str, str]
    unit: str
    cells: list[ComparedCell]
    differences: list[ComparedDifference]


@dataclass(frozen=True, slots=True)
class SessionsCompared:
    """A comparison; ``chance`` says how many intervals miss 0 where nothing differs."""

    participant: str | None
    by: str
    sessions: list[ComparedSession]
    conditions: list[str]
    measures: list[ComparedMeasure]
    intervals: int
    chance: float


# -- gathering -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gathered:
    """A session in a folder of many.

    Attributes:
        row: Of the database.
        name: Of its folder: code and number of the visit, or ``P1_1`` where names are left out.
        person: The code, or ``P1``; None without a participant.
        visit: Number among the person's sessions, from 1.
        folder: Its files, as links; the summary is rewritten.
    """

    row: Row
    name: str
    person: str | None
    visit: int
    folder: Path


def opened_sessions(desk: Desk, asked: Sequence[KeyedSession]) -> list[Row]:
    """The sessions of a request, each opened with its key, in the order of their dates.

    Raises:
        Refusal: One is not there, not finished, or not opened by its key.
    """
    rows = {}
    for each in asked:
        row = desk.sessions.open(each.id, Keyring(True, "", each.key))
        with desk.sessions.standing(row):
            if SUMMARY_FILE not in desk.sessions.files(row) or row["state"] != "done":
                raise Refusal("not_finished")
        rows[row["id"]] = row
    return sorted(rows.values(), key=_began)


def _began(row: Row) -> tuple[str, str]:
    return (row["started"] or row["created"], row["id"])


@contextmanager
def gathered(
    desk: Desk, rows: Sequence[Row], *, leave_out: bool = False
) -> Iterator[list[Gathered]]:
    """Sessions side by side in a folder that is gone afterwards.

    Args:
        desk: The desk.
        rows: Finished sessions.
        leave_out: Leave out names and words: persons are numbered, and what was said, notes, the
            consent and the recording are not there.
    """
    place = Path(tempfile.mkdtemp(dir=desk.folder / "incoming"))
    try:
        with desk.sessions.standing(*rows):
            yield list(_laid_out(desk, rows, place / "gathered", leave_out))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def derived(desk: Desk, row: Row, out: Path, lang: Lang, *options: str) -> Path:
    """The folder of a session made anew from what was observed, with further options.

    Raises:
        Refusal: The model that made it is gone.
        InputError: It cannot be derived.
    """
    line = [sys.executable, "-P", "-m", "nunbit", "analyze", str(desk.sessions.place(row)),
            "--out", str(out), "--lang", lang, *bundle_option(desk.bundle_of(row)),
            *choice_options(row), *options]  # fmt: skip
    run = subprocess.run(line, capture_output=True, text=True, check=False, timeout=_DERIVE_S)
    if run.returncode:
        said = (run.stderr.strip().splitlines() or ["?"])[-1].removeprefix("nunbit: error: ")
        raise InputError(Text(said, said))
    return out / str(row["id"])


def _laid_out(desk: Desk, rows: Sequence[Row], out: Path, leave_out: bool) -> Iterator[Gathered]:
    persons: dict[str, str] = {}
    known = {code for code, _ in (who_and_when(desk, row) for row in rows) if code}
    free = (name for name in (f"P{n}" for n in count(1)) if leave_out or name not in known)
    for row in rows:
        code, visit = who_and_when(desk, row)
        who = code or str(row["id"])  # nobody says that two without a participant are one person
        if who not in persons:
            persons[who] = code if code and not leave_out else next(free)
        shown = persons[who]
        name = f"{shown}_{visit}"
        folder = out / name
        folder.mkdir(parents=True)
        for path in desk.sessions.files(row).values():
            if path.stem != row["id"] and (path.name in _MEASURES or not leave_out):
                _link(path, folder / path.name)
        (folder / SUMMARY_FILE).unlink(missing_ok=True)
        summary = _named(read_json(desk.sessions.place(row) / SUMMARY_FILE), shown, visit)
        if leave_out:
            names = names_in(desk, row)
            told = {key: _without(summary[key], names) for key in _TELLING if key in summary}
            summary = _wordless(summary | told)
            _rewrite_tracks(folder / "timeline.parquet", names, shown, name)
        write_json(folder / SUMMARY_FILE, summary)
        yield Gathered(row, name, None if code is None else shown, visit, folder)


_MEASURES = ("timeline.parquet", "frames.parquet", "voice.parquet")
"""All that a session without its words has, besides the summary."""
_TELLING = ("speech", "persons", "transcript", "reading", "notices", "told", "sync", "missing")
"""Parts of a summary in which sentences quote words or name people."""


def _named(summary: dict[str, Any], person: str, visit: int) -> dict[str, Any]:
    """A summary that calls the session by person and visit."""
    name = f"{person}_{visit}"
    media = {**summary["media"], "name": name, "path": ""}
    media = {key: value for key, value in media.items() if key in summary["media"]}
    about = {**dict(summary.get("about") or {}), "session": str(visit)}
    return {**summary, "session": name, "subject": person, "about": about, "media": media}


def number_of_persons(rows: Sequence[Row]) -> int:
    """How many people sessions are of; one without a participant counts as a person of its own."""
    return len({row["participant"] or row["id"] for row in rows})


def names_in(desk: Desk, row: Row) -> dict[str, str]:
    """Names of speakers in a session, and what stands for each: S1, S2; and the person's code."""
    from pyarrow import parquet

    from nunbit.recording.transcript import read_rttm

    found: dict[str, None] = {}
    files = desk.sessions.files(row)
    words, spoken_by = files.get("words.parquet"), files.get("speakers.rttm")
    if words is not None:
        found |= dict.fromkeys(parquet.read_table(words)["speaker"].to_pylist())
    spoken = read_json(desk.sessions.place(row) / SUMMARY_FILE).get("speech") or {}
    found |= dict.fromkeys([str(spoken.get("target") or ""), *(spoken.get("speakers") or ())])
    if spoken_by is not None:  # a summary of an earlier nunbit has the name of the target alone
        with suppress(InputError):
            found |= dict.fromkeys(name for _, name in read_rttm(spoken_by).stretches)
    return {name: f"S{n}" for n, name in enumerate((f for f in found if f), 1)}


def _without(value: Any, names: Mapping[str, str]) -> Any:
    """The same with other words for names: alone, or inside a sentence where they are no letter."""
    if isinstance(value, str):
        if value in names:
            return names[value]
        for name in sorted(names, key=len, reverse=True):
            value = value.replace(name, names[name]) if len(name) > 1 else value
        return value
    if isinstance(value, dict):
        return {key: _without(each, names) for key, each in value.items()}
    return [_without(each, names) for each in value] if isinstance(value, list) else value


def _rewrite_tracks(path: Path, names: Mapping[str, str], person: str, session: str) -> None:
    """A timeline whose rows call nobody by a name."""
    import pyarrow as pa
    from pyarrow import parquet

    table = parquet.read_table(path)
    path.unlink()
    for column, fixed in (("subject", person), ("session", session), ("track", None)):
        at = table.schema.get_field_index(column)
        if at >= 0:
            values = table[column].to_pylist()
            new = [fixed if fixed is not None else names.get(v, v) for v in values]
            kind = table.schema.field(at).type
            table = table.set_column(at, column, pa.array(new, pa.string()).cast(kind))
    parquet.write_table(table, path, compression="zstd")


def _wordless(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without what was said, as ``--without-words`` writes it, and without dates."""
    episodes = [
        # A note is codes, then a colon and what was said.
        {**each, "note": str(each.get("note") or "").partition(":")[0]}
        for each in summary.get("episodes") or ()
    ]
    made = {key: value for key, value in dict(summary.get("provenance") or {}).items()
            if key not in ("created", "settings", "inputs")}  # fmt: skip
    quoted = {key: _unquoted(summary[key]) for key in _TELLING if key in summary}
    return summary | quoted | {"episodes": episodes, "provenance": made, "files": {}}


_QUOTED = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"|“[^”]{2,}”|‘[^’]{2,}’")


def _unquoted(value: Any) -> Any:
    """The same without what stands in quotation marks: a sentence may quote a line of the words."""
    if isinstance(value, str):
        return _QUOTED.sub("…", value)
    if isinstance(value, dict):
        return {key: _unquoted(each) for key, each in value.items()}
    return [_unquoted(each) for each in value] if isinstance(value, list) else value


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # Windows without the right to make links
        shutil.copyfile(source, target)


def who_and_when(desk: Desk, row: Row) -> tuple[str | None, int]:
    """The participant's code, and the number of the session among theirs, from 1."""
    store = desk.sessions.store
    person = store.row("participants", id=row["participant"]) if row["participant"] else None
    beside = store.rows("sessions", participant=row["participant"])
    mine = sorted((r for r in beside if r["state"] != "deleted"), key=_began)
    return (str(person["code"]) if person else None), [r["id"] for r in mine].index(row["id"]) + 1


# -- comparing -------------------------------------------------------------------------------------


@router.post("/comparisons", dependencies=[Owner])
def compare_sessions(sent: AskedComparison, desk: AtDesk) -> SessionsCompared:
    """Compare the sessions of one person, or conditions within sessions, with intervals."""
    rows = opened_sessions(desk, sent.sessions)
    if number_of_persons(rows) > 1:
        raise Refusal("several_persons")
    if sent.by == "sessions" and len(rows) < 2:
        raise Refusal("one_session")
    if sent.by == "stretches":
        _check_stretches(rows, sent.stretches)
    desk.sessions.store.note_down("compared", rows[0]["id"], f"{sent.by}, {len(rows)} sessions")
    with desk.exporting, gathered(desk, rows) as found:
        return _compared(found, sent)


def _check_stretches(rows: Sequence[Row], stretches: Sequence[AskedStretch]) -> None:
    lengths = {row["id"]: row["duration_s"] or 0.0 for row in rows}
    for each in stretches:
        if each.session not in lengths:
            raise Refusal("stretch_elsewhere", condition=each.condition)
        if not each.start < each.end <= lengths[each.session] + 0.5:
            raise Refusal("bad_stretch", condition=each.condition, start=f"{each.start:g}",
                          end=f"{each.end:g}", duration=f"{lengths[each.session]:.0f}")  # fmt: skip
    if len({each.condition.strip() for each in stretches}) < 2:
        raise Refusal("one_condition")


def _compared(found: Sequence[Gathered], sent: AskedComparison) -> SessionsCompared:
    from nunbit.report.codebook import Codebook
    from nunbit.stories.within_person import CompareOrder, compare

    folder = found[0].folder.parent.parent
    table = folder / "conditions.csv"
    names = {each.row["id"]: each.name for each in found}
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("recording", "start", "end", "condition"))
        if sent.by == "sessions":
            writer.writerows((g.name, 0, (g.row["duration_s"] or 0) + 60, g.name) for g in found)
        else:
            writer.writerows(
                (names[s.session], s.start, s.end, s.condition.strip()) for s in sent.stretches
            )
    order = CompareOrder(
        by="speaking" if sent.by == "speaking" else "group",
        conditions=None if sent.by == "speaking" else table,
    )
    try:
        result = compare([each.folder for each in found], folder / "compared", order)
    except InputError as exc:
        raise Refusal("nothing_to_compare") from exc
    document, book = result.document, Codebook()
    ids = {each.name: each.row["id"] for each in found}
    reasons = book.reasons()
    first = document["conditions"][0]
    measures = []
    for measure in document["measures"]:
        about = book.column(measure)
        own = [r for r in document["differences"]
               if r["measure"] == measure and r["person"] != "*"
               and (sent.by != "sessions" or r["from"] == first)]  # fmt: skip
        cells = [_cell(r, ids, reasons) for r in result.cells.to_pylist()
                 if r["measure"] == measure]  # fmt: skip
        differences = [
            ComparedDifference(r["from"], r["to"], r["difference"], r["low"], r["high"],
                               r["interval_of"] or "")
            for r in own
        ]  # fmt: skip
        measures.append(ComparedMeasure(measure, about.label.to_dict(), about.meaning.to_dict(),
                                        about.unit, cells, differences))  # fmt: skip
    n = sum(d.low is not None for m in measures for d in m.differences)
    return SessionsCompared(
        found[0].person, sent.by,
        [ComparedSession(g.row["id"], g.name, g.visit, _began(g.row)[0], g.row["duration_s"])
         for g in found],
        list(document["conditions"]), measures, n, n / 20,
    )  # fmt: skip


def _cell(row: dict[str, Any], ids: dict[str, str], reasons: dict[str, Text]) -> ComparedCell:
    value, low, high = (_finite(row[name]) for name in ("value", "low", "high"))
    why = row["why"]
    told = None if not why else reasons.get(why, Text(why, why)).to_dict()
    return ComparedCell(ids[row["recording"]], row["condition"], value, low, high,
                        row["n_windows"], _finite(row["n_independent"]), told)  # fmt: skip


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value else value
