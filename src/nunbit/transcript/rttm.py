"""Who spoke when, from a diarisation file (RTTM).

The fields of a line have no quotes, so a blank in the recording's or the speaker's name moves them.
They are counted from both ends: the two numbers before ``<NA> <NA>`` are the times, what lies
behind is the name. pyannote and lhotse split at every blank and take the eighth field, which is
``<NA>`` or half a name then.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nunbit.reading import ReadingNote
from nunbit.streams import Interval
from nunbit.transcript.cues import bad_file, clock_s
from nunbit.transcript.decoding import read_text
from nunbit.transcript.notes import LINES, Notes, shown

_NONE = "<NA>"
_START = 3  # SPEAKER file channel start duration <NA> <NA> name confidence lookahead
_BEHIND = 2  # confidence and lookahead


@dataclass(frozen=True, slots=True)
class Diarisation:
    """Who spoke when.

    Attributes:
        stretches: With their speaker, by start; they may overlap.
        reading: What was read, repaired and left out of the file.
    """

    stretches: tuple[tuple[Interval, str], ...]
    reading: tuple[ReadingNote, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    recording: str
    start_s: float
    duration_s: float
    speaker: str


def read_rttm(
    path: Path, *, duration_s: float | None = None, media: str | None = None
) -> Diarisation:
    """Read the SPEAKER lines of an RTTM file.

    Args:
        path: The file.
        duration_s: Length of the medium; lines are clipped to it.
        media: The medium's file name: of several recordings in the file, its own is read.

    Raises:
        InputError: Not RTTM, several recordings and none of them the medium, no usable line, or
            most lines lie beyond the medium's end.
    """
    notes = Notes(LINES)
    text = unicodedata.normalize("NFC", read_text(path, notes))
    lines, first_bad = _lines(text, notes)
    if not lines:
        raise bad_file(
            path,
            f"no usable SPEAKER line ({first_bad}): expected SPEAKER file channel start duration "
            "<NA> <NA> name"
            if first_bad
            else "no SPEAKER line: this is not an RTTM file",
            f"쓸 수 있는 SPEAKER 행이 없습니다({first_bad}). SPEAKER 파일 채널 시작 길이 <NA> <NA> "
            "이름 형식이어야 합니다"
            if first_bad
            else "SPEAKER 행이 없습니다. RTTM 파일이 아닙니다",
        )
    lines = _own_recording(path, lines, media, notes)
    found: list[tuple[Interval, str]] = []
    beyond = 0
    for line in lines:
        end = line.start_s + line.duration_s
        if line.start_s < 0:
            notes.add("before_the_start", f"line {line.number}")
        if duration_s is not None and line.start_s >= duration_s:
            beyond += 1
            continue
        end = end if duration_s is None else min(end, duration_s)
        found.append((Interval(max(0.0, line.start_s), end), line.speaker))
    if beyond > len(found):
        raise bad_file(
            path,
            f"{beyond} of {beyond + len(found)} lines start after the medium's end "
            f"({duration_s:.1f} s): it belongs to another recording",
            f"{beyond + len(found)}행 중 {beyond}행이 매체의 끝({duration_s:.1f}초) 뒤에 "
            "시작합니다. 다른 녹화의 파일입니다",
        )
    if beyond:
        notes.add("after_the_end", count=beyond, beyond=beyond, clipped=0, end_s=duration_s)
    return Diarisation(tuple(sorted(found, key=lambda entry: entry[0])), notes.listed())


def _lines(text: str, notes: Notes) -> tuple[list[_Line], str]:
    """The usable lines, and the place of the first that is not, or ''."""
    lines: list[_Line] = []
    spaced: list[_Line] = []
    first_bad = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        fields = _fields(raw)
        if not fields or fields[0] != "SPEAKER":
            continue
        place = f"line {number}"
        line = _line(number, fields)
        code = ""
        if line is None:
            code = "not_understood"
        elif not (math.isfinite(line.start_s) and math.isfinite(line.duration_s)):
            code = "time_not_a_number"
        elif line.duration_s <= 0 or line.start_s + line.duration_s <= max(0.0, line.start_s):
            code = "no_duration"
        if code or line is None:
            notes.add(code, place)
            first_bad = first_bad or place
            continue
        lines.append(line)
        if " " in line.speaker or " " in line.recording:
            spaced.append(line)
    if spaced:
        names = shown(dict.fromkeys(line.speaker for line in lines))
        first = f"line {spaced[0].number}"
        notes.add("speaker_names_with_spaces", first, len(spaced), names=names)
    return lines, first_bad


def _fields(raw: str) -> list[str]:
    """Fields between blanks; where there are tabs enough, tabs alone part them."""
    by_tab = [field.strip() for field in raw.split("\t")]
    return by_tab if len(by_tab) > _START + 4 else raw.split()


def _line(number: int, fields: Sequence[str]) -> _Line | None:
    """A line whose names may hold blanks; None where the fields are not there."""
    places = [i for i in range(_START, len(fields) - 4) if _is_time(fields, i)]
    if not places:
        return None
    # Numbers in a recording's name look like times; <NA> <NA> behind them does not.
    marked = [i for i in places if fields[i + 2] == fields[i + 3] == _NONE]
    at = marked[0] if marked else places[0]
    name = list(fields[at + 4 :])
    for _ in range(_BEHIND):
        if len(name) > 1 and name[-1] == _NONE:
            name.pop()
    given = len(fields) - (at + 4) - len(name)
    if len(name) > 1 and given < _BEHIND and _is_confidence(name[-1], after_none=given > 0):
        name.pop()
    speaker = " ".join(name)
    if speaker == _NONE:
        return None
    start, duration = _number(fields[at]), _number(fields[at + 1])
    return _Line(number, " ".join(fields[1 : at - 1]), start, duration, speaker)


def _is_time(fields: Sequence[str], at: int) -> bool:
    return all(_number_like(fields[i]) for i in (at, at + 1))


def _number_like(text: str) -> bool:
    return text.lower() in ("nan", "inf", "-inf", "+inf") or clock_s(text) is not None


def _number(text: str) -> float:
    value = clock_s(text)
    return math.nan if value is None else value


def _is_confidence(text: str, *, after_none: bool) -> bool:
    """Whether a number behind the name is a confidence: 0.93, or any from 0 to 1 before <NA>."""
    value = clock_s(text)
    return value is not None and 0 <= value <= 1 and (after_none or "." in text)


def _own_recording(path: Path, lines: list[_Line], media: str | None, notes: Notes) -> list[_Line]:
    """The lines of one recording: the only one, or that with the medium's name."""
    counts = Counter(line.recording for line in lines)
    if len(counts) == 1:
        return lines
    wanted = set()
    if media is not None:
        name = unicodedata.normalize("NFC", Path(media).name)
        wanted = {name.casefold(), Path(name).stem.casefold()}
    own = [line for line in lines if line.recording.casefold() in wanted]
    if not own:
        raise bad_file(
            path,
            f"lines of {len(counts)} recordings ({shown(counts)}), none named like this one; keep "
            "the lines of one",
            f"녹화 {len(counts)}개({shown(counts)})의 행이 섞여 있고 이 녹화의 이름은 없습니다. "
            "하나의 행만 남기십시오",
        )
    other = next(line for line in lines if line.recording.casefold() not in wanted)
    notes.add(
        "other_recordings",
        f"line {other.number}",
        len(lines) - len(own),
        name=own[0].recording,
    )
    return own
