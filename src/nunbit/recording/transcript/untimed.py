"""Read transcripts without times: a text file, a Word document, or a table of speakers and lines.

What is read is who says what, in order. When it was said, the sound tells (``placing``).
"""

from __future__ import annotations

import csv
import importlib
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nunbit.core.messages import MissingExtra, Text
from nunbit.core.schema import ReadingNote
from nunbit.recording.transcript.cues import LINES, Cue, Notes, bad_file
from nunbit.recording.transcript.speakers import with_speakers, without_sounds
from nunbit.recording.transcript.word_table import columns_of
from nunbit.runtime.files import ZIP_ERRORS
from nunbit.runtime.textfile import read_rows

_MOST_BYTES = 64 << 20  # a Word document with pictures; an interview's text has 0.2 MB
# 'Name 00:12', '[00:12]', '00:01:02 Name:': what dictation services write between the lines.
_CLOCK = re.compile(r"[\[(<]?\b(?:\d{1,2}:)?\d{1,2}:\d{2}(?:[.,]\d{1,3})?\b[\])>]?")
_SENTENCE_END = re.compile(r"(?<=[.?!…])[\"'”’)]?\s+")
_LETTER = re.compile(r"[^\W\d_]")
_NAME_LETTERS = 20  # a line beside a clock time that is no longer names who speaks next


@dataclass(frozen=True, slots=True)
class Line:
    """What one person says without a break.

    Attributes:
        text: NFC, in one line.
        speaker: As the file names them, or None.
        number: Line of the file (row of a table, paragraph of a document), from 1.
    """

    text: str
    speaker: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Script:
    """A transcript without times.

    Attributes:
        lines: In order; one a sentence.
        source: ``txt``, ``docx`` or ``table``.
        reading: What was read, repaired and left out.
    """

    lines: tuple[Line, ...]
    source: str
    reading: tuple[ReadingNote, ...] = ()


def is_document(path: Path) -> bool:
    """Whether a file is a Word document (its content tells, not its name)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "word/document.xml" in archive.namelist()
    except (*ZIP_ERRORS, OSError):
        return False


def read_document(path: Path) -> Script:
    """Read a Word document: its paragraphs, and its tables as speaker and text.

    Raises:
        InputError: It cannot be read or has no text.
        MissingExtra: python-docx is not installed.
    """
    try:
        docx = importlib.import_module("docx")
    except ImportError as exc:
        raise MissingExtra("python-docx", "asr") from exc
    if not is_document(path):
        raise bad_file(
            path,
            Text(
                "this is no Word document (.docx); older .doc files must be saved as .docx",
                "Word 문서(.docx)가 아닙니다. 예전 .doc 파일은 .docx로 저장하십시오",
            ),
        )
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("word/document.xml").file_size
    if size > _MOST_BYTES:
        raise bad_file(
            path,
            Text(
                f"the document's text has {size >> 20} MB, too much for a transcript; save the "
                "text alone as .txt",
                f"문서의 글이 {size >> 20}MB로 전사라기에는 너무 큽니다. 글만 .txt로 저장하십시오",
            ),
        )
    try:
        rows = list(_paragraphs(docx.Document(str(path))))
    except Exception as exc:  # python-docx passes on what lxml and zipfile raise
        raise bad_file(
            path,
            Text(
                "the Word document is damaged; open it and save it again",
                "Word 문서가 손상되었습니다. 문서를 열어 다시 저장하십시오",
            ),
        ) from exc
    return _script(path, rows, "docx", Notes(LINES))


def read_script(path: Path, text: str, notes: Notes) -> Script:
    """Read a text file or a table without times.

    Args:
        path: For messages.
        text: Its content, NFC.
        notes: Receives what was odd.

    Raises:
        InputError: There is nothing that anybody says.
    """
    if table := _table(text):
        return _script(path, table, "table", notes)
    rows = [(number, None, line) for number, line in enumerate(text.split("\n"), start=1)]
    return _script(path, rows, "txt", notes)


def has_script_table(text: str) -> bool:
    """Whether a text is a table with a column of what is said and none of the time."""
    return bool(_table(text))


def looks_like_script(text: str) -> bool:
    """Whether a text is writing and no structure of data."""
    letters = len(_LETTER.findall(text))
    lines = [line for line in text.split("\n") if line.strip()]
    plain = sum(line.lstrip()[:1] not in "{}<>#;|\\" or bool(_CLOCK.match(line.strip()))
                for line in lines)  # fmt: skip
    return letters >= 0.5 * len("".join(text.split())) and plain >= 0.8 * len(lines)


_Row = tuple[int, str | None, str]
"""Number, speaker where a column names one, text."""


def _table(text: str) -> list[_Row]:
    """Rows of a table with a column for the text and none for the time; empty if it is none."""
    try:
        rows = read_rows(text)
    except csv.Error:
        return []
    columns = columns_of(rows[0][1]) if rows else {}
    if "text" not in columns or {"start", "start_ms"} & set(columns) or len(rows[0][1]) < 2:
        return []
    return list(_columns(rows[1:], columns))


def _columns(rows: Iterable[tuple[int, list[str]]], columns: dict[str, int]) -> Iterator[_Row]:
    for number, cells in rows:
        value = {name: cells[at].strip() for name, at in columns.items() if at < len(cells)}
        if value.get("text"):
            yield number, value.get("speaker") or None, value["text"]


def _paragraphs(document: Any) -> Iterator[_Row]:
    number = 0
    for block in document.iter_inner_content():
        if not hasattr(block, "rows"):
            number += 1
            yield number, None, block.text
            continue
        cells = [[cell.text.strip() for cell in row.cells] for row in block.rows]
        columns = columns_of(cells[0]) if cells else {}
        if "text" in columns:
            yield from _columns(list(enumerate(cells[1:], start=number + 2)), columns)
        else:
            for at, row in enumerate(cells, start=number + 1):
                # Two columns without a header are who and what; the text is the longer.
                named = len(row) == 2 and len(row[0]) <= _NAME_LETTERS and bool(row[1])
                yield at, (row[0] or None) if named else None, row[1] if named else " ".join(row)
        number += len(cells)


def _script(path: Path, rows: Iterable[_Row], source: str, notes: Notes) -> Script:
    cues, clocks, first = [], 0, 0
    for number, speaker, raw in rows:
        text = unicodedata.normalize("NFC", raw.replace("\t", " ")).strip()
        bare = _CLOCK.sub(" ", text) if _CLOCK.search(text) and _is_heading(text) else text
        if bare != text:
            clocks, first = clocks + 1, first or number
            if bare.strip(" -–:"):  # a name alone speaks the lines that follow
                cues.append(Cue(number, number + 1, f"{bare.strip(' -–:')}:"))
            continue
        if text:
            cues.append(Cue(number, number + 1, text, speaker))
    if clocks:
        notes.add("clock_times_unused", f"line {first}", clocks)
    lines = tuple(_said(_headed(cues), notes))
    if not lines:
        raise bad_file(path, Text("there is no text in this transcript", "전사에 글이 없습니다"))
    return Script(lines, source, notes.listed())


def _is_heading(text: str) -> bool:
    """Whether a line holds a clock time and a short name at most."""
    rest = _CLOCK.sub(" ", text).strip(" -–:")
    return len(rest) <= _NAME_LETTERS and not _SENTENCE_END.search(rest + " ")


def _headed(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Cues under a heading of their own ('Name:' alone in a line) with its name."""
    name: str | None = None
    for cue in cues:
        head = cue.text.removesuffix(":").strip()
        if cue.text.endswith(":") and 0 < len(head) <= _NAME_LETTERS and cue.speaker is None:
            name = head
        else:
            yield replace(cue, speaker=cue.speaker or name)


def _said(cues: Iterable[Cue], notes: Notes) -> Iterator[Line]:
    inner = Notes(LINES)
    named = with_speakers(list(cues), inner)
    inferred = [note for note in inner.listed() if note.code == "speakers_inferred"]
    names = list(dict.fromkeys(c.speaker for c in named if c.speaker))
    if inferred and names:
        first = next(int(cue.start_s) for cue in named if cue.speaker)
        notes.add("speakers_inferred", f"line {first}", len(names), names=", ".join(names[:12]))
    for cue in _known(named, names):
        for sentence in _SENTENCE_END.split(without_sounds(cue.text)):
            if any(map(str.isalnum, sentence)):
                yield Line(sentence.strip(), cue.speaker, int(cue.start_s))


def _known(cues: Iterable[Cue], names: Sequence[str]) -> Iterator[Cue]:
    """Cues with a name of the file taken off the text, where it stands there alone."""
    for cue in cues:
        head, colon, rest = cue.text.partition(":")
        if colon and cue.speaker is None and head.strip() in names and rest.strip():
            yield replace(cue, speaker=head.strip(), text=rest.strip())
        else:
            yield cue
