"""Tables of utterances or words: CSV, TSV, the tab file of DAIC-WOZ, Audacity's labels."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nunbit.errors import InputError
from nunbit.transcript.cues import Cue, Cues, RawWord, bad_file, clock_s, cue_of_words, grouped
from nunbit.transcript.tiers import is_silence

_NAMES = {
    "start": ("start", "starttime", "starts", "startsec", "startseconds", "begin", "onset",
              "from", "tmin", "xmin", "tstart", "시작", "시작시간", "시작시각"),
    "end": ("end", "endtime", "ends", "endsec", "endseconds", "stop", "stoptime", "to", "tmax",
            "xmax", "tend", "종료", "종료시간", "종료시각", "끝", "끝시간"),
    "start_ms": ("startms", "beginms", "startmilliseconds", "시작ms", "시작밀리초"),
    "end_ms": ("endms", "stopms", "endmilliseconds", "종료ms", "종료밀리초"),
    "duration": ("duration", "dur", "durations", "길이", "지속시간"),
    "text": ("text", "value", "transcript", "utterance", "content", "sentence", "subtitle",
             "발화", "내용", "대사", "텍스트", "전사", "발화내용", "문장"),
    "word": ("word", "token", "단어", "어절"),
    "speaker": ("speaker", "spk", "speakerid", "participant", "who", "role", "화자", "발화자",
                "참가자"),
    "confidence": ("confidence", "conf", "score", "probability", "prob", "신뢰도", "확률"),
    "group": ("utteranceindex", "utteranceid", "cue", "cueid", "segment", "segmentid"),
    "file": ("file", "filename", "파일", "파일명"),
}  # fmt: skip
_COLUMN = {spelling: column for column, spellings in _NAMES.items() for spelling in spellings}
_DELIMITERS = "\t,;|"
_DAIC_HEADER = ["starttime", "stoptime", "speaker", "value"]
_EVENT = re.compile(r"<[a-z_]+>")  # <laughter>, <sync>
# Its interviewer's lines: an id of the prompt, then in brackets what was said.
_PROMPT = re.compile(r"\w+\s\((.+)\)")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Positions of the named columns; ``prompts`` for DAIC-WOZ, which has its own spelling."""

    columns: dict[str, int]
    header: bool
    prompts: bool = False

    def value(self, cells: Sequence[str], column: str) -> str:
        position = self.columns.get(column)
        return "" if position is None or position >= len(cells) else cells[position].strip()


def read_table(path: Path, text: str) -> Cues:
    """Read a table with start, end and text (or word), and perhaps speaker and confidence.

    Headers are recognised in English and Korean, whatever their case, blanks or underscores; times
    are seconds or clock times. A table without a header must begin with start, end, text. With a
    column ``word`` every row is a word; words are joined to utterances by a column
    ``utterance_index`` or at gaps of 0.7 s.

    Raises:
        InputError: Columns are missing or a time cannot be read.
    """
    rows = _rows(path, text)
    layout = _layout(path, rows[0][1])
    cues = []
    for line, cells in rows[1:] if layout.header else rows:
        if _filled(cells):
            cues.append(_cue(path, line, cells, layout))
    _one_file(path, rows, layout)
    if "word" in layout.columns and "text" not in layout.columns:
        groups = [layout.value(cells, "group") for _, cells in rows[1:] if _filled(cells)]
        cues = _from_words(cues, groups)
    return Cues(tuple(cues), "csv")


def looks_like_table(text: str) -> bool:
    """Whether the first line is a header with a start, or two times before a text."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    cells = next(csv.reader([first], delimiter=_delimiter(first)), [])
    return _named(cells) is not None or _is_bare(cells)


def _rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    first = next(line for line in text.split("\n") if line.strip())
    delimiter = _delimiter(first)
    # A quotation mark inside a tab file is part of what was said.
    literal = delimiter == "\t" and not first.startswith('"')
    quoting: Literal[0, 3] = csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as exc:
        raise bad_file(
            path,
            f"row {reader.line_num}: cannot read this table: {exc}",
            f"{reader.line_num}행: 표를 읽을 수 없습니다: {exc}",
        ) from exc


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _key(name: str) -> str:
    return re.sub(r"[\s_\-()\[\]./]", "", name).lower()


def _named(cells: Sequence[str]) -> dict[str, int] | None:
    columns: dict[str, int] = {}
    for position, cell in enumerate(cells):
        column = _COLUMN.get(_key(cell))
        if column is not None:
            columns.setdefault(column, position)
    return columns if {"start", "start_ms"} & set(columns) else None


def _is_bare(cells: Sequence[str]) -> bool:
    return len(cells) >= 3 and clock_s(cells[0]) is not None and clock_s(cells[1]) is not None


def _layout(path: Path, first: Sequence[str]) -> _Layout:
    columns = _named(first)
    if columns is None:
        if _is_bare(first):
            return _Layout({"start": 0, "end": 1, "text": 2, "speaker": 3, "confidence": 4}, False)
        shown = ", ".join(cell.strip() for cell in first[:8])
        raise bad_file(
            path,
            f"no columns start, end and text in the first row ({shown})",
            f"첫 행에 start, end, text 열이 없습니다 ({shown})",
        )
    if not {"text", "word"} & set(columns):
        raise bad_file(
            path,
            "no column text (or word): what was said is missing",
            "text(또는 word) 열이 없습니다. 발화 내용이 없습니다",
        )
    if not {"end", "end_ms", "duration"} & set(columns):
        raise bad_file(path, "no column end (or duration)", "end(또는 duration) 열이 없습니다")
    return _Layout(columns, True, [_key(cell) for cell in first] == _DAIC_HEADER)


def _cue(path: Path, line: int, cells: Sequence[str], layout: _Layout) -> Cue:
    start = _time(path, line, cells, layout, "start")
    end = _time(path, line, cells, layout, "end")
    text = layout.value(cells, "text") or layout.value(cells, "word")
    if layout.prompts:
        text = _EVENT.sub(" ", text)
        prompt = _PROMPT.fullmatch(text)
        text = prompt[1] if prompt else text
    confidence = clock_s(layout.value(cells, "confidence"))
    return Cue(
        start,
        end,
        text,
        layout.value(cells, "speaker") or None,
        None if confidence is None else min(1.0, max(0.0, confidence)),
    )


def _time(path: Path, line: int, cells: Sequence[str], layout: _Layout, column: str) -> float:
    for name, scale in ((column, 1.0), (f"{column}_ms", 0.001)):
        if name in layout.columns:
            seconds = clock_s(layout.value(cells, name))
            if seconds is None:
                raise _bad_time(path, line, name, layout.value(cells, name))
            return seconds * scale
    duration = clock_s(layout.value(cells, "duration"))
    if duration is None:
        raise _bad_time(path, line, "duration", layout.value(cells, "duration"))
    return _time(path, line, cells, layout, "start") + duration


def _bad_time(path: Path, line: int, column: str, value: str) -> InputError:
    return bad_file(
        path,
        f"row {line}: {column} is no time: '{value}' (seconds or 0:01:02.5)",
        f"{line}행: {column} 값이 시간이 아닙니다: '{value}' (초 또는 0:01:02.5)",
    )


def _one_file(path: Path, rows: list[tuple[int, list[str]]], layout: _Layout) -> None:
    if not layout.header or "file" not in layout.columns:
        return
    names = {layout.value(cells, "file") for _, cells in rows[1:]} - {""}
    if len(names) > 1:
        raise bad_file(
            path,
            f"rows of {len(names)} recordings (column file); keep the rows of one",
            f"녹화 {len(names)}개의 행이 섞여 있습니다(file 열). 하나의 행만 남기십시오",
        )


def _filled(cells: Sequence[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _from_words(cues: Sequence[Cue], groups: Sequence[str]) -> list[Cue]:
    by_owner: dict[tuple[str | None, str], list[RawWord]] = {}
    for cue, group in zip(cues, groups, strict=True):
        if not is_silence(cue.text) and cue.start_s < cue.end_s:
            word = RawWord(cue.text, (cue.start_s, cue.end_s), cue.confidence)
            by_owner.setdefault((cue.speaker, group), []).append(word)
    found: list[Cue] = []
    for (speaker, group), words in by_owner.items():
        whole = cue_of_words(words, speaker=speaker) if group else None
        found += [whole] if whole else grouped(words, speaker)
    return found
