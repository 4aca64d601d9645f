"""The table of recordings (``--people``): which file is of whom, in which session and group.

A row that cannot be used is named with its number and does not stop the others.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from nunbit.core.messages import InputError, NunbitError, SettingsError, Text
from nunbit.datasets.tabular import OpenTable, TableRow, open_table
from nunbit.recording.paths import (
    MEDIA_SUFFIXES,
    SPEAKER_SUFFIXES,
    TRANSCRIPT_SUFFIXES,
    companion,
    safe_name,
    session_names,
)
from nunbit.report.exports import SUFFIXES
from nunbit.report.joined_tables import FILES
from nunbit.runtime.files import as_given, require_regular
from nunbit.runtime.progress import listed
from nunbit.stories.analyze.job import AnalyzeSettings, SessionJob, summary_before

COLUMNS = {
    "file": ("file", "media", "path", "파일", "녹화"),
    "person": ("person", "subject", "participant", "사람", "참가자", "대상자"),
    "session": ("session", "visit", "회기", "세션"),
    "group": ("group", "condition", "집단", "그룹", "조건"),
    "baseline": ("baseline", "기준", "기준 구간", "기준구간"),
    "transcript": ("transcript", "words", "전사", "전사 파일", "자막"),
    "speakers": ("speakers", "rttm", "화자", "화자 파일"),
    "neutral": ("neutral", "중립", "중립 구간"),
}
"""Column of the table -> the headers under which it is known."""

_MOST_NAMED = 8


@dataclass(frozen=True)
class PersonRow:
    """One usable row.

    Attributes:
        line: Its number in the file; the header is 1.
        media: The recording.
        about: Session, group and the user's own columns, as they stand in the tables of results.
        settings: Those of the run, with what the row says; ``transcript`` and ``speakers`` are
            empty where the row gives the file itself.
        transcript: Of this recording, or None.
        speakers: Who speaks when in this recording, or None.
    """

    line: int
    media: Path
    about: tuple[tuple[str, str], ...]
    settings: AnalyzeSettings
    transcript: Path | None
    speakers: Path | None

    @property
    def code(self) -> str:
        """Person and session, for names that tell nothing of the file; '' where neither is given.

        Both are safe in a file name.
        """
        parts = (self.settings.subject, dict(self.about).get("session", ""))
        return safe_name("_".join(filter(None, parts))) if any(parts) else ""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used.

    Attributes:
        name: What it is called in the list of results.
        error: Why, with file and row.
    """

    name: str
    error: Text


@dataclass(frozen=True)
class People:
    """A table that was read.

    Attributes:
        rows: Those that can be used, in order.
        bad: The others.
        notices: What a reader should know of the table.
    """

    rows: tuple[PersonRow, ...]
    bad: tuple[BadRow, ...]
    notices: tuple[Text, ...]


def read_people(path: Path, settings: AnalyzeSettings) -> People:
    """Read a table of recordings.

    Columns may be in any order and have Korean headers (``COLUMNS``); ``file`` alone is needed.
    Other columns are kept for the tables of results. CSV in UTF-8, UTF-16 (Excel's 'Unicode text')
    or CP949 with commas, semicolons or tabs, or Parquet. Files are relative to the table.

    Args:
        path: The table.
        settings: Of the whole run; what a row says wins.

    Raises:
        InputError: The table cannot be read, has no column ``file``, or one twice.
    """
    table = open_table(path)
    names = _columns(table)
    rows: list[PersonRow] = []
    bad: list[BadRow] = []
    seen: dict[str, int] = {}
    for row in table.rows_or_errors():
        if isinstance(row, InputError):
            bad.append(BadRow(path.name, row.text))
            continue
        try:
            person = _person(row, names, settings)
            place = os.path.normcase(os.path.realpath(person.media))
            if place in seen:
                raise row.error(_twice(person.media.name, seen[place]))
            seen[place] = person.line
            rows.append(person)
        except NunbitError as exc:
            name = Path(row.text(names["file"]) or f"{path.name}:{row.line}").stem
            bad.append(BadRow(safe_name(name), exc.text))
    if not rows and not bad:
        raise table.error(Text("no rows below the header", "머리글 아래에 행이 없습니다"))
    return People(tuple(rows), tuple(bad), tuple(_notices(path, names, rows)))


def folder_names(people: People, settings: AnalyzeSettings) -> tuple[str, ...]:
    """A folder's name per row: the file's stem, or person and session with ``codes``.

    Raises:
        SettingsError: Codes are asked for, and a row has none, or two rows have the same.
    """
    if not settings.codes:
        return session_names([row.media for row in people.rows])
    codes = [row.code for row in people.rows]
    for row, code in zip(people.rows, codes, strict=True):
        same = [r.line for r, c in zip(people.rows, codes, strict=True) if c == code]
        if not code or len(same) > 1:
            where = listed([str(n) for n in same], _MOST_NAMED)
            raise SettingsError(
                Text(
                    f"`codes=true` needs a person and session of its own in every row; rows "
                    f"{where} have '{code}'",
                    f"`codes=true`를 쓰려면 행마다 사람과 회기가 달라야 합니다. {where}행이 모두 "
                    f"'{code}'입니다",
                )
                if len(same) > 1
                else Text(
                    f"`codes=true`: row {row.line} has neither person nor session",
                    f"`codes=true`: {row.line}행에 사람도 회기도 없습니다",
                )
            )
    return tuple(codes)


def as_before(paths: Sequence[Path], names: Sequence[str], out: Path) -> tuple[str, ...]:
    """The folders' names; a recording that had its own before others had its name keeps it.

    Args:
        paths: The recordings.
        names: As :func:`folder_names` or ``session_names`` give them.
        out: Folder of the results.
    """
    kept = []
    for path, name in zip(paths, names, strict=True):
        plain = safe_name(path.stem)
        shown = (summary_before(out / plain).get("media") or {}).get("path")
        own = shown and os.path.realpath(out / plain / shown) == os.path.realpath(path)
        kept.append(plain if own and plain not in names else name)
    return tuple(kept)


def refuse_inputs(jobs: Sequence[SessionJob], people: Path | None, out: Path) -> None:
    """Refuse to write over what is read.

    Raises:
        InputError: The table of people, or a transcript, is a file that the run would write.
    """
    written = {out / name: people for name in FILES if people is not None}
    for job in jobs:
        files = (job.folder / f"{job.session}{SUFFIXES[kind]}" for kind in job.settings.export)
        read = (job.recording.transcript, job.recording.speakers)
        written |= {place: path for place in files for path in read if path and _same(place, path)}
    for place, path in written.items():
        if path is not None and _same(place, path):
            raise InputError(
                Text(
                    f"{path}: is read, and would be written over; choose another `out`, or move it",
                    f"{path}: 읽는 파일인데 그 위에 쓰게 됩니다. 다른 `out`을 고르거나 파일을 "
                    "옮기십시오",
                )
            )


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _columns(table: OpenTable) -> dict[str, str]:
    """Column -> its header in this table; the user's own columns as themselves.

    Raises:
        InputError: ``file`` is missing, or a column is there twice.
    """
    known = {header: name for name, headers in COLUMNS.items() for header in headers}
    found: dict[str, str] = {}
    for header in table.columns:
        if not header:
            continue
        # `group` and `condition` may both be there: the second is then the user's own.
        name = known.get(header, header)
        if name in found and header in COLUMNS[known.get(header, "file")][1:]:
            name = header
        if name in found:
            raise table.error(
                Text(
                    f"the column {header} is there twice; keep one",
                    f"{header} 열이 두 번 있습니다. 하나만 남기십시오",
                )
            )
        found[name] = header
    if "file" not in found:
        raise table.error(
            Text(
                f"no column `file`; there are: {', '.join(filter(None, table.columns))}".replace(
                    "`file`", "'file'"
                ),
                f"'file'(파일) 열이 없습니다. 있는 열: {', '.join(filter(None, table.columns))}",
            )
        )
    return found


def _person(row: TableRow, names: dict[str, str], settings: AnalyzeSettings) -> PersonRow:
    """One row, checked.

    Raises:
        NunbitError: Something in it cannot be used; names the row.
    """
    given = {name: row.text(header) or "" for name, header in names.items()}
    media = _file(row, given["file"], Text("recording", "녹화"))
    if media.suffix.lower() not in MEDIA_SUFFIXES:
        raise row.error(
            Text(
                f"{given['file']} is no video or sound file",
                f"{given['file']} 파일은 영상이나 음성이 아닙니다",
            )
        )
    own = {name: text for name, text in given.items() if name not in COLUMNS}
    about = {"session": given.get("session", ""), "group": given.get("group", "")} | own
    wanted = replace(
        settings,
        subject=given.get("person") or settings.subject,
        baseline=_stretch(given.get("baseline", "")) or settings.baseline,
        neutral=_stretch(given.get("neutral", "")) or settings.neutral,
        transcript="" if given.get("transcript") else settings.transcript,
        speakers="" if given.get("speakers") else settings.speakers,
    )
    try:
        wanted.baseline_interval()
        wanted.neutral_interval()
    except SettingsError as exc:
        raise row.error(exc.text) from exc
    files = {
        "transcript": (settings.transcript, TRANSCRIPT_SUFFIXES, Text("transcript", "전사 파일")),
        "speakers": (settings.speakers, SPEAKER_SUFFIXES, Text("diarisation", "화자 파일")),
    }
    beside = {
        name: _file(row, given[name], what)
        if given.get(name)
        else companion(folder, media, 2 if folder else 1, suffixes)
        for name, (folder, suffixes, what) in files.items()
    }
    return PersonRow(row.line, media, tuple(about.items()), wanted, **beside)


def _stretch(text: str) -> str:
    """``A-B`` as people write it: with blanks, a wave, or an en dash."""
    return "".join(text.split()).replace("–", "-").replace("~", "-").removesuffix("s")


def _file(row: TableRow, given: str, what: Text) -> Path:
    """A file of a row; relative to the table.

    Raises:
        InputError: None is given, or it is not there.
    """
    if not given:
        raise row.error(Text("no file is given", "파일이 적혀 있지 않습니다"))
    # A table made on Windows has backslashes; elsewhere they are no separators.
    spelled = [given] if os.sep == "\\" else [given, given.replace("\\", "/")]
    # macOS stores Hangul taken apart, others do not; the table may come from either.
    spelled += [unicodedata.normalize(form, name) for name in spelled for form in ("NFC", "NFD")]
    for name in spelled:
        path = as_given(name)
        place = path if path.is_absolute() else row.path.parent / path
        with suppress(OSError):  # a name that is too long for any file
            if place.is_file():
                require_regular(place)
                return place
    raise row.error(
        Text(
            f"the {what.en} {given} is not there; give its path from the table's folder",
            f"{what.ko} {given}이(가) 없습니다. 표가 있는 폴더에서 본 경로를 적으십시오",
        )
    )


def _twice(name: str, line: int) -> Text:
    return Text(
        f"{name} is in row {line} already; one row a recording",
        f"{name} 파일은 {line}행에 이미 있습니다. 녹화마다 한 행만 두십시오",
    )


def _notices(path: Path, names: dict[str, str], rows: Sequence[PersonRow]) -> Iterator[Text]:
    if own := [name for name in names if name not in COLUMNS]:
        kept = listed(own, _MOST_NAMED)
        yield Text(
            f"{path.name}: other columns are kept for the tables: {kept}",
            f"{path.name}: 다른 열은 결과 표에 그대로 옮깁니다: {kept}",
        )
    without = [row for row in rows if not row.settings.baseline]
    if without and len(without) < len(rows):
        lines = listed([str(row.line) for row in without], _MOST_NAMED)
        yield Text(
            f"{path.name}, rows {lines}: no baseline; these recordings are compared with "
            "what is usual in them",
            f"{path.name}, {lines}행: 기준 구간이 없어 그 녹화에서 평소의 값과 비교합니다",
        )
