"""Files of annotation programs that say who speaks when: ELAN (.eaf) and diarisation (RTTM).

Why not pympi-ling (1.71, MIT), tried on the same ELAN files: it raises KeyError for files without a
schema location, needs whole numbers in every time slot, drops annotations without a time slot
value, and ignores TIME_ORIGIN. The part of the format that is used here fits on one page.

The fields of an RTTM line have no quotes, so a blank in the recording's or the speaker's name moves
them. They are counted from both ends: the two numbers before ``<NA> <NA>`` are the times, what lies
behind is the name. pyannote and lhotse split at every blank and take the eighth field, which is
``<NA>`` or half a name then.
"""

from __future__ import annotations

import math
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np

from nunbit.core.messages import Text
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import Interval
from nunbit.recording.transcript.cues import (
    LINES,
    Cue,
    Cues,
    Notes,
    RawWord,
    bad_file,
    clock_s,
    medium_names,
    read_text,
    shown,
)
from nunbit.recording.transcript.tiers import Tier, cues_of, meaning_of

# --- ELAN

_MOST_MS = 1_000_000_000_000  # 31 years; more is no time
_CONTROLLED = "CONTROLLED_VOCABULARY_REF"


def read_eaf(path: Path, text: str, notes: Notes, media: str | None = None) -> Cues:
    """Read the tiers of an ELAN file that hold words or utterances.

    Time slots without a value are spread evenly between their neighbours, as ELAN shows them.
    Words that only subdivide an utterance (no times of their own) get estimated times later.

    Args:
        path: For messages.
        text: The file's text.
        notes: Receives notes.
        media: File name of the recording: an ELAN file may name several media, each with a start
            of its own (TIME_ORIGIN).

    Raises:
        InputError: The file is cut off, not ELAN, or has no such tier.
    """
    root = _root(path, text)
    units = root.find("HEADER")
    unit = units.get("TIME_UNITS", "milliseconds") if units is not None else "milliseconds"
    if unit != "milliseconds":
        raise bad_file(
            path,
            Text(
                f"times in {unit[:40]}; save it from ELAN with milliseconds",
                f"시간 단위가 {unit[:40]}입니다. ELAN에서 밀리초로 저장하십시오",
            ),
        )
    origin_s = _origin_s(root, media, notes)
    slots = {slot: time + origin_s for slot, time in _slots(path, root, notes).items()}
    tiers = list(_tiers(root, slots))
    if origin_s:
        notes.add("time_shifted", shift_s=origin_s)
    # No language: DEFAULT_LOCALE is what the interface was set to, often 'en' in Korean files.
    return Cues(cues_of(path, tiers, notes), "eaf")


def _root(path: Path, text: str) -> ET.Element:
    # The text is decoded already: the declaration may name the encoding it came in.
    declared = text.lstrip().startswith("<?xml") and "?>" in text
    try:
        root = ET.fromstring(text[text.index("?>") + 2 :] if declared else text)
    except (ET.ParseError, UnicodeError, ValueError) as exc:
        line, _ = exc.position if isinstance(exc, ET.ParseError) else (1, 0)
        raise bad_file(
            path,
            Text(
                f"not a complete XML file (line {line}); it may be cut off: save it from ELAN "
                "again",
                f"온전한 XML 파일이 아닙니다({line}행). 잘렸을 수 있으니 ELAN에서 다시 "
                "저장하십시오",
            ),
        ) from exc
    if root.tag != "ANNOTATION_DOCUMENT":
        raise bad_file(
            path,
            Text(
                f"an XML file, but not ELAN (<{root.tag[:60]}>)",
                f"XML 파일이지만 ELAN 파일이 아닙니다 (<{root.tag[:60]}>)",
            ),
        )
    return root


def _origin_s(root: ET.Element, media: str | None, notes: Notes) -> float:
    """Offset of the recording: its time is the annotation's time plus this."""
    media_named = root.findall("HEADER/MEDIA_DESCRIPTOR")
    if not media_named:
        return 0.0
    chosen = _own_medium(media_named, media)
    if chosen is None:
        chosen = media_named[0]
        if media is not None and len({m.get("TIME_ORIGIN", "0") for m in media_named}) > 1:
            notes.add("medium_not_named", _file_name(chosen) or "1", len(media_named), name=media)
    milliseconds = _whole_ms(chosen.get("TIME_ORIGIN", "0"))
    if milliseconds is None:
        notes.add("time_origin_unreadable", _file_name(chosen) or "1")
    return (milliseconds or 0) / 1000.0


def _own_medium(media_named: list[ET.Element], media: str | None) -> ET.Element | None:
    """The descriptor of the recording: by its file name, else by the name without suffix."""
    if media is None:
        return None
    name = unicodedata.normalize("NFC", PurePosixPath(media).name).casefold()
    named = [(_file_name(medium).casefold(), medium) for medium in media_named]
    same = (
        medium for key in (str, _stem) for own, medium in named if own and key(own) == key(name)
    )
    return next(same, None)


def _file_name(medium: ET.Element) -> str:
    url = medium.get("MEDIA_URL") or medium.get("RELATIVE_MEDIA_URL") or ""
    return unicodedata.normalize("NFC", unquote(url).replace("\\", "/").rpartition("/")[2])


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _whole_ms(text: str) -> int | None:
    """Whole milliseconds; None for anything else."""
    digits = text.strip().removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return None
    value = int(text)
    return value if abs(value) <= _MOST_MS else None


def _slots(path: Path, root: ET.Element, notes: Notes) -> dict[str, float]:
    """Time slot id -> seconds; slots whose value is no number are as if they had none."""
    slots = list(root.iterfind("TIME_ORDER/TIME_SLOT"))
    written = {
        i: _whole_ms(slot.attrib["TIME_VALUE"])
        for i, slot in enumerate(slots)
        if "TIME_VALUE" in slot.attrib
    }
    values = {i: ms / 1000.0 for i, ms in written.items() if ms is not None}
    bad = [slots[i].get("TIME_SLOT_ID", "?") for i, ms in written.items() if ms is None]
    if bad and not values:
        raise bad_file(
            path,
            Text(
                f"no time slot holds a number (first: {bad[0]})",
                f"시간 값이 모두 수가 아닙니다 (처음: {bad[0]})",
            ),
        )
    if bad:
        notes.add("time_not_a_number", bad[0], len(bad), what=Text("time slot(s)", "시간 칸"))
    if not values:
        return {}
    times = np.interp(range(len(slots)), list(values), list(values.values()))
    lost = set(bad)
    return {
        name: float(t)
        for slot, t in zip(slots, times, strict=True)
        if (name := slot.get("TIME_SLOT_ID", "")) not in lost
    }


def _tiers(root: ET.Element, slots: Mapping[str, float]) -> Iterator[Tier]:
    """All tiers; subdivisions of an utterance become its words."""
    children = _subdivisions(root)
    coded = {
        kind.get("LINGUISTIC_TYPE_ID")
        for kind in root.iterfind("LINGUISTIC_TYPE")
        if kind.get(_CONTROLLED)
    }
    for tier in root.iterfind("TIER"):
        if cues := tuple(_aligned(tier, slots, children)):
            yield Tier(
                tier.get("TIER_ID", ""),
                cues,
                tier.get("PARTICIPANT") or None,
                tier.get("LINGUISTIC_TYPE_REF") in coded,
            )


def _aligned(
    tier: ET.Element, slots: Mapping[str, float], children: Mapping[str, list[str]]
) -> Iterator[Cue]:
    for annotation in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
        start = slots.get(annotation.get("TIME_SLOT_REF1", ""))
        end = slots.get(annotation.get("TIME_SLOT_REF2", ""))
        text = " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())
        if start is not None and end is not None and text:
            words = children.get(annotation.get("ANNOTATION_ID", ""), [])
            yield Cue(start, end, text, words=tuple(RawWord(word) for word in words))


def _subdivisions(root: ET.Element) -> dict[str, list[str]]:
    """Annotation id -> texts of the word annotations that refer to it, in order."""
    children: dict[str, list[str]] = {}
    of_words = (
        reference
        for tier in root.iterfind("TIER")
        if meaning_of(tier.get("TIER_ID", "")).role == "words"
        for reference in tier.iterfind("ANNOTATION/REF_ANNOTATION")
    )
    for reference in of_words:
        if text := " ".join((reference.findtext("ANNOTATION_VALUE") or "").split()):
            children.setdefault(reference.get("ANNOTATION_REF", ""), []).append(text)
    return children


# --- RTTM

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
    lines, first_bad = _lines(unicodedata.normalize("NFC", read_text(path, notes)), notes)
    if not lines:
        raise bad_file(
            path,
            Text(
                f"no usable SPEAKER line ({first_bad}): expected SPEAKER file channel start "
                "duration <NA> <NA> name"
                if first_bad
                else "no SPEAKER line: this is not an RTTM file",
                f"쓸 수 있는 SPEAKER 행이 없습니다({first_bad}). SPEAKER 파일 채널 시작 길이 "
                "<NA> <NA> 이름 형식이어야 합니다"
                if first_bad
                else "SPEAKER 행이 없습니다. RTTM 파일이 아닙니다",
            ),
        )
    lines = _own_recording(path, lines, media, notes)
    limit_s = math.inf if duration_s is None else duration_s
    found: list[tuple[Interval, str]] = []
    for line in lines:
        if line.start_s < 0:
            notes.add("before_the_start", f"line {line.number}")
        if line.start_s < limit_s:
            end_s = min(line.start_s + line.duration_s, limit_s)
            found.append((Interval(max(0.0, line.start_s), end_s), line.speaker))
    beyond = len(lines) - len(found)
    if beyond > len(found):
        raise bad_file(
            path,
            Text(
                f"{beyond} of {beyond + len(found)} lines start after the medium's end "
                f"({duration_s:.1f} s): it belongs to another recording",
                f"{beyond + len(found)}행 중 {beyond}행이 녹화의 끝({duration_s:.1f}초) 뒤에 "
                "시작합니다. 다른 녹화의 파일입니다",
            ),
        )
    if beyond:
        notes.add("after_the_end", count=beyond, beyond=beyond, clipped=0, end_s=duration_s)
    return Diarisation(tuple(sorted(found, key=lambda entry: entry[0])), notes.listed())


def _lines(text: str, notes: Notes) -> tuple[list[_Line], str]:
    """The usable lines, and the place of the first that is not, or ''."""
    lines: list[_Line] = []
    first_bad = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        fields = _fields(raw)
        if not fields or fields[0] != "SPEAKER":
            continue
        line = _line(number, fields)
        if line is None:
            code = "not_understood"
        elif not (math.isfinite(line.start_s) and math.isfinite(line.duration_s)):
            code = "time_not_a_number"
        elif line.duration_s <= 0 or line.start_s + line.duration_s <= max(0.0, line.start_s):
            code = "no_duration"
        else:
            lines.append(line)
            continue
        notes.add(code, f"line {number}")
        first_bad = first_bad or f"line {number}"
    if spaced := [line for line in lines if " " in line.speaker or " " in line.recording]:
        names = shown(dict.fromkeys(line.speaker for line in lines))
        notes.add("speaker_names_with_spaces", f"line {spaced[0].number}", len(spaced), names=names)
    return lines, first_bad


def _fields(raw: str) -> list[str]:
    """Fields between blanks; where there are tabs enough, tabs alone part them."""
    by_tab = [field.strip() for field in raw.split("\t")]
    return by_tab if len(by_tab) > _START + 4 else raw.split()


def _line(number: int, fields: Sequence[str]) -> _Line | None:
    """A line whose names may hold blanks; None where the fields are not there."""
    ends = range(_START, len(fields) - 4)
    places = [i for i in ends if all(map(_number_like, fields[i : i + 2]))]
    if not places:
        return None
    # Numbers in a recording's name look like times; <NA> <NA> behind them does not.
    at = next((i for i in places if fields[i + 2] == fields[i + 3] == _NONE), places[0])
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
    recording = " ".join(fields[1 : at - 1])
    return _Line(number, recording, _number(fields[at]), _number(fields[at + 1]), speaker)


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
    wanted = medium_names(media)
    own = [line for line in lines if line.recording.casefold() in wanted]
    if not own:
        raise bad_file(
            path,
            Text(
                f"lines of {len(counts)} recordings ({shown(counts)}), none named like this one; "
                "keep the lines of one",
                f"녹화 {len(counts)}개({shown(counts)})의 행이 섞여 있고 이 녹화의 이름은 "
                "없습니다. 하나의 행만 남기십시오",
            ),
        )
    other = next(line for line in lines if line.recording.casefold() not in wanted)
    notes.add(
        "other_recordings",
        f"line {other.number}",
        len(lines) - len(own),
        name=own[0].recording,
    )
    return own
