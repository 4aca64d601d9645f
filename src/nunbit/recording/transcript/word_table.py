"""Read tables of utterances or words: CSV, TSV, DAIC-WOZ, Audacity's labels.

``nunbit.runtime.textfile`` splits the rows; here is what the columns mean.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nunbit.core.messages import Text
from nunbit.core.timebase import place_text
from nunbit.recording.transcript.cues import (
    ROWS,
    Cue,
    Cues,
    Notes,
    RawWord,
    bad_file,
    clock_s,
    cue_of_words,
    cues_of_words,
    medium_names,
    unit_of,
)
from nunbit.recording.transcript.tiers import is_silence
from nunbit.runtime.files import from_spreadsheet_text
from nunbit.runtime.textfile import Row, first_cells, read_rows

_NAMES = {
    "start": ("start", "starttime", "starts", "startsec", "startseconds", "begin", "onset",
              "from", "tmin", "xmin", "tstart", "beginn", "anfang", "début", "debut", "inicio",
              "開始", "开始", "시작", "시작시간", "시작시각"),
    "end": ("end", "endtime", "ends", "endsec", "endseconds", "stop", "stoptime", "to", "tmax",
            "xmax", "tend", "ende", "fin", "終了", "结束", "종료", "종료시간", "종료시각",
            "끝", "끝시간"),
    "start_ms": ("startms", "beginms", "startmilliseconds", "시작ms", "시작밀리초"),
    "end_ms": ("endms", "stopms", "endmilliseconds", "종료ms", "종료밀리초"),
    "duration": ("duration", "dur", "durations", "길이", "지속시간"),
    "text": ("text", "value", "transcript", "utterance", "content", "sentence", "subtitle",
             "texte", "texto", "発話", "内容",
             "발화", "내용", "대사", "텍스트", "전사", "발화내용", "문장"),
    "word": ("word", "token", "단어", "어절"),
    "speaker": ("speaker", "spk", "speakerid", "participant", "who", "role",
                "sprecher", "locuteur", "hablante",
                "話者", "说话人", "화자", "발화자", "참가자"),
    "confidence": ("confidence", "conf", "score", "probability", "prob", "신뢰도", "확률"),
    "group": ("utteranceindex", "utteranceid", "cue", "cueid", "segment", "segmentid"),
    "file": ("file", "filename", "파일", "파일명"),
}  # fmt: skip
_COLUMN = {spelling: column for column, spellings in _NAMES.items() for spelling in spellings}
_DAIC_HEADER = ["starttime", "stoptime", "speaker", "value"]
_EXPORTED_HEADER = [
    "start", "end", "speaker", "word", "confidence", "syllables", "filler", "estimated",
    "utteranceindex",
]  # fmt: skip
_EVENT = re.compile(r"<[a-z_]+>")  # <laughter>, <sync>
# Its interviewer's lines: an id of the prompt, then in brackets what was said.
_PROMPT = re.compile(r"\w+\s\((.+)\)")
_WHOLE = re.compile(r"\s*\d{1,12}\s*")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions of the named columns.

    ``prompts`` is for DAIC-WOZ, which has its own spelling; ``exported`` for our own words table,
    whose cells have a ``'`` in front where a spreadsheet would take them for formulas.
    """

    columns: dict[str, int]
    prompts: bool = False
    exported: bool = False

    def value(self, cells: Sequence[str], column: str) -> str:
        position = self.columns.get(column)
        cell = "" if position is None or position >= len(cells) else cells[position].strip()
        return from_spreadsheet_text(cell) if self.exported else cell


def read_table(path: Path, text: str, notes: Notes, media: str | None = None) -> Cues:
    """Read a table with start, end and text (or word), and perhaps speaker and confidence.

    Headers are recognised in English and Korean, whatever their case, blanks or underscores; times
    are seconds or clock times, or milliseconds where the header or their size says so. A table
    without a header must begin with start, end, text. With a column ``word`` every row is a word;
    words are joined to utterances by a column ``utterance_index`` or at gaps of 0.7 s. Of several
    recordings (column ``file``) the one with the medium's name is read.

    Raises:
        InputError: Columns are missing, or half of the rows or more have no readable time: then a
            column is not what its name says.
    """
    notes.what = ROWS
    try:
        rows = read_rows(text)
    except csv.Error as exc:
        raise bad_file(
            path, Text(f"cannot read this table: {exc}", f"표를 읽을 수 없습니다: {exc}")
        ) from exc
    rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    layout, rows = _layout(path, rows, notes)
    rows = _own_rows(path, rows, layout, media, notes)
    scale = _scale(rows, layout, notes)
    read = [(cells, _cue(line, cells, layout, scale, notes)) for line, cells in rows]
    if rows and 2 * sum(isinstance(cue, Cue) for _, cue in read) <= len(rows):
        bad = [cue for _, cue in read if not isinstance(cue, Cue)]
        first, shown = bad[0], bad[0].value[:40]
        raise bad_file(
            path,
            Text(
                f"row {first.line}: {first.column} is no time: '{shown}' (seconds or 0:01:02.5); "
                f"the same in {len(bad)} row(s)",
                f"{first.line}행: {first.column} 값이 시간이 아닙니다: '{shown}' (초 또는 "
                f"0:01:02.5). 그런 행이 {len(bad)}개입니다",
            ),
        )
    good = [(cells, cue) for cells, cue in read if isinstance(cue, Cue)]
    cues = [cue for _, cue in good]
    if "word" in layout.columns and "text" not in layout.columns:
        groups = [layout.value(cells, "group") for cells, _ in good]
        cues = [*_from_words(cues, groups, notes)]
    return Cues(tuple(cues), "csv")


def looks_like_table(text: str) -> bool:
    """Whether the first row is a header with a start, or two times before a text."""
    try:
        cells = first_cells(text)
    except csv.Error:
        return False
    return _named(cells) is not None or _is_bare(cells)


def _key(name: str) -> str:
    return re.sub(r"[\s_\-()\[\]./]", "", name).lower()


def columns_of(cells: Sequence[str]) -> dict[str, int]:
    """Meaning -> position of the cells of a header that are known column names."""
    named = [_COLUMN.get(_key(cell)) for cell in cells]
    return {column: named.index(column) for column in named if column is not None}


def _named(cells: Sequence[str]) -> dict[str, int] | None:
    columns = columns_of(cells)
    return columns if {"start", "start_ms"} & set(columns) else None


def _is_bare(cells: Sequence[str]) -> bool:
    return len(cells) >= 3 and clock_s(cells[0]) is not None and clock_s(cells[1]) is not None


def _layout(path: Path, rows: list[Row], notes: Notes) -> tuple[_Layout, list[Row]]:
    """The columns, and the rows without the header.

    A header that is not the first row (sorted by a spreadsheet) is one all the same: without it
    names could be taken for speech.
    """
    headers = [cells for _, cells in rows if {"text", "word"} & set(_named(cells) or ())]
    first = headers[0] if headers else rows[0][1] if rows else []
    columns = _named(first)
    if columns is None:
        if _is_bare(first):
            return _bare_layout(rows, notes), rows
        shown = ", ".join(cell.strip()[:40] for cell in first[:8])
        raise bad_file(
            path,
            Text(
                f"no columns start, end and text in the first row ({shown})",
                f"첫 행에 start, end, text 열이 없습니다 ({shown})",
            ),
        )
    if not {"text", "word"} & set(columns):
        raise bad_file(
            path,
            Text(
                "no column text (or word), so there are no words",
                "text(또는 word) 열이 없습니다. 발화 내용이 없습니다",
            ),
        )
    if not {"end", "end_ms", "duration"} & set(columns):
        raise bad_file(
            path, Text("no column end (or duration)", "end(또는 duration) 열이 없습니다")
        )
    keys = [_key(cell) for cell in first]
    layout = _Layout(columns, keys == _DAIC_HEADER, keys == _EXPORTED_HEADER)
    return layout, [row for row in rows if row[1] != first]


def _bare_layout(rows: Sequence[Row], notes: Notes) -> _Layout:
    """Columns of a table without a header: start, end, then text and speaker; text is longer."""
    lengths = [sum(len(cells[k].strip()) for _, cells in rows if len(cells) > k) for k in (2, 3)]
    if not lengths[1]:
        return _Layout({"start": 0, "end": 1, "text": 2})
    text, speaker = (2, 3) if lengths[0] >= lengths[1] else (3, 2)
    order = "start, end, text, speaker" if text == 2 else "start, end, speaker, text"
    notes.add("columns_guessed", f"row {rows[0][0]}", len(rows), order=order)
    return _Layout({"start": 0, "end": 1, "text": text, "speaker": speaker, "confidence": 4})


@dataclass(frozen=True, slots=True)
class _BadTime:
    """A row's time that cannot be read."""

    line: int
    column: str
    value: str


def _cue(
    line: int, cells: Sequence[str], layout: _Layout, scale: float, notes: Notes
) -> Cue | _BadTime:
    start = _time(line, cells, layout, "start")
    end = _time(line, cells, layout, "end")
    for time in (start, end):
        if isinstance(time, _BadTime):
            notes.add("time_not_a_number" if time.value else "no_times", f"row {line}")
            return time
    text = layout.value(cells, "text") or layout.value(cells, "word")
    if layout.prompts:
        text = _EVENT.sub(" ", text)
        prompt = _PROMPT.fullmatch(text)
        text = prompt[1] if prompt else text
    confidence = clock_s(layout.value(cells, "confidence"))
    return Cue(
        start * scale,  # type: ignore[operator]
        end * scale,  # type: ignore[operator]
        text,
        layout.value(cells, "speaker") or None,
        None if confidence is None else min(1.0, max(0.0, confidence)),
    )


def _time(line: int, cells: Sequence[str], layout: _Layout, column: str) -> float | _BadTime:
    for name, scale in ((column, 1.0), (f"{column}_ms", 0.001)):
        if name in layout.columns:
            seconds = clock_s(layout.value(cells, name))
            if seconds is None:
                return _BadTime(line, name, layout.value(cells, name))
            return seconds * scale
    duration = clock_s(layout.value(cells, "duration"))
    if duration is None:
        return _BadTime(line, "duration", layout.value(cells, "duration"))
    start = _time(line, cells, layout, "start")
    return start if isinstance(start, _BadTime) else start + duration


def _scale(rows: Sequence[Row], layout: _Layout, notes: Notes) -> float:
    """Seconds per unit of the columns ``start`` and ``end``: Whisper writes whole milliseconds."""
    if not {"start", "end"} <= set(layout.columns):
        return 1.0
    spans = [(layout.value(cells, "start"), layout.value(cells, "end")) for _, cells in rows]
    known = [span for span in spans if any(span)]
    if not known or not all(_WHOLE.fullmatch(cell) for span in known for cell in span):
        return 1.0
    said = sum(len(layout.value(cells, k)) for _, cells in rows for k in ("text", "word"))
    lengths = [float(end) - float(start) for start, end in known]
    return unit_of(lengths, said, notes, f"row {rows[0][0]}", Text("row", "행"))


def _own_rows(
    path: Path, rows: list[Row], layout: _Layout, media: str | None, notes: Notes
) -> list[Row]:
    """The rows of one recording: the only one in ``file``, or that with the medium's name."""
    names = Counter(layout.value(cells, "file") for _, cells in rows)
    names.pop("", None)
    if len(names) <= 1:
        return rows
    wanted = medium_names(media)
    own = [row for row in rows if medium_names(layout.value(row[1], "file")) & wanted]
    if not own:
        raise bad_file(
            path,
            Text(
                f"rows of {len(names)} recordings (column file), none named like this one; keep "
                "the rows of one",
                f"녹화 {len(names)}개의 행이 섞여 있고(file 열) 이 녹화의 이름은 없습니다. "
                "하나의 행만 남기십시오",
            ),
        )
    kept = {line for line, _ in own}
    other = next(line for line, _ in rows if line not in kept)
    notes.add("other_recordings", f"row {other}", len(rows) - len(own), name=media)
    return own


def _from_words(cues: Sequence[Cue], groups: Sequence[str], notes: Notes) -> Iterator[Cue]:
    by_owner: dict[tuple[str | None, str], list[RawWord]] = {}
    for cue, group in zip(cues, groups, strict=True):
        if is_silence(cue.text):
            continue
        if not cue.start_s < cue.end_s:
            notes.add("no_duration", place_text(cue.start_s))
            continue
        word = RawWord(cue.text, (cue.start_s, cue.end_s), cue.confidence)
        by_owner.setdefault((cue.speaker, group), []).append(word)
    for (speaker, group), words in by_owner.items():
        whole = cue_of_words(words, speaker=speaker) if group else None
        yield from [whole] if whole else cues_of_words(words, speaker)
