"""SubRip (SRT), YouTube's SBV and WebVTT.

All are read leniently: a cue is a line with two times and the lines below it, whatever the
numbering. Malformed time lines (``->``, ``—>``, ``00:00:07:000``) are read as times or left out
with their text; they never become speech.

Why not pysubs2 (1.8.1, MIT), tried on the same files: it takes ``-->`` in a NOTE for a cue, leaves
time marks inside WebVTT cues in the text, drops voices (``<v Name>``), entities stay (``&amp;``),
cues with an unreadable time vanish without a word, 100 hours become 0, a file with ``->`` is
'multiple suitable formats', and CP949 or UTF-16 must be known beforehand.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nunbit.core.messages import Text
from nunbit.recording.transcript.cues import Cue, Cues, Notes, RawWord, bad_file, clock_s

_ARROW = "-->"
_TIME = r"\d{1,4}(?:\s?:\s?\d{1,2}){1,2}(?:\s?[.,:]\s?\d{1,3})?"
_LOOSE = re.compile(
    rf"[^\w\s]?\s?({_TIME})\s{{0,3}}(-{{1,3}}\s?>{{0,2}}|[—–―─]{{1,3}}\s?>?|=+>|→|➔|⇒|~|,|;)"
    rf"\s{{0,3}}({_TIME})(?:\s{{1,3}}(?:align|line|position|size|region|vertical|X1):.*)?[^\w\s]?"
)
_MINUS = re.compile(r"[-−–]\d")
_SECONDS = re.compile(r"\d{1,9}(?:[.,]\d{1,9})?")
_CLOCK = re.compile(r"(\d{1,4}(?::\d{1,2}){1,2})(?:([.,:])(\d{1,9}))?")
# A time that nobody says: three parts, or a fraction of a second.
_STAMPED = re.compile(r"\d{1,3}:\d{2}:\d{2}(?:[.,:]\d{1,3})?|\d{1,3}:\d{2}[.,]\d{1,3}")
_ARROWS = re.compile(r"[-—–=]>|→|➔|⇒|—|–")
_HEADER = re.compile(
    r"WEBVTT(?:\s.*)?|X-TIMESTAMP-MAP\s*=.*|Kind:\s?\w+|Language:\s?[\w-]{2,12}", re.IGNORECASE
)
_MAP = re.compile(r"X-TIMESTAMP-MAP\s?=\s?(\S{1,80})")
_MPEG_HZ = 90_000.0  # the clock of MPEG transport streams (ISO/IEC 13818-1)
_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
_STAMP = re.compile(r"<((?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{1,3})>")
_NEAR_STAMP = re.compile(r"<[\d:.,\s]{1,40}>")
# No class may hold another's delimiter: then the time is linear in the length of any text.
_VOICE = re.compile(r"<v(?:\.[^\s.<>]+)*[ \t]([^<>]*)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|\{\\[^{}]*\}")
# Written by our own export: not speech.
_EMOTION = re.compile(r"<c\.emotion>(?:(?!<c\.emotion>).)*?</c>", re.DOTALL)
# Longer numbers are no characters, and Python refuses to read very long ones.
_HUGE_ENTITY = re.compile(r"&#[xX]?[0-9a-fA-F]{10,};?")


@dataclass(frozen=True, slots=True)
class _Block:
    """A cue before its text is understood."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Timing:
    """The times in a timing line; none if it cannot be read."""

    start_s: float | None
    end_s: float | None
    repaired: bool


def read_srt(path: Path, text: str, notes: Notes) -> Cues:
    """Read SubRip, or SBV (``0:00:01.000,0:00:02.000``).

    Raises:
        InputError: There is no readable cue.
    """
    cues = (
        Cue(block.start_s, block.end_s, _plain("\n".join(block.lines)))
        for block in _blocks(path, text, notes)
    )
    return Cues(tuple(cues), "srt")


def read_vtt(path: Path, text: str, notes: Notes) -> Cues:
    """Read WebVTT with its voices and word times.

    Captions that roll (as YouTube writes them) repeat the line before; repeats are left out.

    Raises:
        InputError: There is no readable cue.
    """
    # Comments and styles become blank lines, so that line numbers stay true.
    text = "\n\n".join(
        "\n" * part.count("\n") if _BLOCK.match(part.lstrip("\n")) else part
        for part in text.split("\n\n")
    )
    blocks = _without_repeats(_blocks(path, text, notes))
    cues = tuple(cue for block in blocks for cue in _voices(block))
    language = re.search(r"^Language:[ \t]*(\S{1,40})", text.split("\n\n", 1)[0], re.MULTILINE)
    return Cues(cues, "vtt", language[1] if language else None)


def has_timing_line(text: str) -> bool:
    """Whether a line of the text holds two times of a cue."""
    return any(
        (timing := _timing(line)) is not None and timing.start_s is not None
        for line in text.split("\n")
        if line[:1].isdigit() or _ARROW in line or line[:1].isspace()
    )


def first_unreadable_time(text: str) -> str | None:
    """The first timing line that cannot be read; None if all can."""
    timed = ((line.strip(), _timing(line)) for line in text.split("\n"))
    return next((line for line, timing in timed if timing and timing.start_s is None), None)


def _timing(line: str) -> _Timing | None:
    """The times of a line; None for a line that is no timing line at all."""
    if len(line) > 300 and _ARROW not in line[:300]:
        return None
    if _ARROW in line:
        left, _, right = line[:300].partition(_ARROW)
        until = right.split()[0] if right.strip() else ""
        start, end = _cue_time(left), _cue_time(until)
        if (start is None or end is None) and (loose := _LOOSE.fullmatch(line[:300].strip())):
            start, end = _cue_time(loose[1]), _cue_time(loose[3])
            if start is not None and _MINUS.match(line.strip()):
                start = -start  # before the medium: cut in an editor, the times were shifted
        if start is None or end is None:
            meant = any(map(str.isdigit, line))  # 'A --> B' is said; times have digits
            return _Timing(None, None, False) if meant else None
        return _Timing(start, end, _has_frames(left) or _has_frames(until))
    bare = line.strip()
    loose = _LOOSE.fullmatch(bare)
    if loose and (_STAMPED.fullmatch(loose[1]) or _STAMPED.fullmatch(loose[3])):
        start, end = _cue_time(loose[1]), _cue_time(loose[3])
        if start is None or end is None:
            return _Timing(None, None, False)
        return _Timing(start, end, loose[2] != "," or _has_frames(loose[1]))  # SBV has a comma
    if not _STAMPED.search(bare):
        return None
    rest = _STAMPED.sub("", bare)
    alone = not any(map(str.isalpha, rest)) and len(rest) <= 24
    return _Timing(None, None, False) if alone or _ARROWS.search(rest) else None


def _cue_time(text: str) -> float | None:
    """Seconds of a cue's time; a colon before three digits is read as a decimal point."""
    bare = "".join(text.split())
    match = _CLOCK.fullmatch(bare)
    if match is None:
        return clock_s(bare) if _SECONDS.fullmatch(bare) else None
    whole, mark, fraction = match.groups()
    if mark == ":" and len(fraction) != 3:
        return None  # frames: how long one lasts is not said
    return clock_s(f"{whole}.{fraction}" if fraction else whole)


def _has_frames(text: str) -> bool:
    match = _CLOCK.fullmatch("".join(text.split()))
    return match is not None and match[2] == ":"


def _blocks(path: Path, text: str, notes: Notes) -> list[_Block]:
    lines = text.split("\n")
    timings = {number: timing for number, line in enumerate(lines) if (timing := _timing(line))}
    shifts = _shifts(lines, notes)
    blocks: list[_Block] = []
    for number, following in itertools.pairwise([*timings, len(lines) + 1]):
        timing, place = timings[number], f"line {number + 1}"
        if timing.start_s is None or timing.end_s is None:
            notes.add("not_a_timing_line", place)
            continue
        if timing.repaired:
            notes.add("timing_line_repaired", place)
        own = lines[number + 1 : following]
        shift = next((s for line, s in reversed(shifts) if line <= number), 0.0)
        said = _cue_lines(own, last=following > len(lines))
        blocks.append(_Block(timing.start_s + shift, timing.end_s + shift, said))
    if not blocks:
        raise bad_file(
            path,
            Text(
                "no cue with a readable time (00:00:01,000 --> 00:00:02,000)",
                "시간을 읽을 수 있는 자막이 없습니다 (00:00:01,000 --> 00:00:02,000)",
            ),
        )
    _note_text_above(lines, next(iter(timings)), notes)
    return blocks


def _note_text_above(lines: Sequence[str], first: int, notes: Notes) -> None:
    """Text above the first time; a WebVTT header's block and a cue's own number are none."""
    above = list(lines[:first])
    if above and above[-1].strip():
        above.pop()  # the number or name of the first cue
    begins = next((i for i, line in enumerate(above) if line.strip()), 0)
    if above and above[begins].startswith("WEBVTT"):
        begins = next((i for i in range(begins, len(above)) if not above[i].strip()), len(above))
    for number in range(begins, len(above)):
        line = above[number].strip()
        if line and not line.isdigit() and not _HEADER.fullmatch(line):
            notes.add("text_without_time", f"line {number + 1}")


def _cue_lines(own: list[str], *, last: bool) -> tuple[str, ...]:
    """The text below a timing line, without the number (or id) of the next cue."""
    said = [line.strip() for line in own]
    # A number directly below the text belongs to the next cue too: blank lines get lost.
    below_blank = len(said) > 1 and not said[-2]
    if not last and said and (below_blank or said[-1].isdigit()):
        said.pop()
    # Headers stand inside where files were joined.
    return tuple(line for line in said if line and not _HEADER.fullmatch(line))


def _shifts(lines: Sequence[str], notes: Notes) -> list[tuple[int, float]]:
    """Shifts by X-TIMESTAMP-MAP lines (HTTP Live Streaming, RFC 8216): (line, seconds).

    A map says which time of the cues is which time of the stream. The recording's own place in the
    stream is not known here, so the first map is taken for its clock; parts joined behind it with
    other maps are brought onto that clock.
    """
    maps = [
        (number, *found)
        for number, line in enumerate(lines)
        if line.startswith("X-TIMESTAMP-MAP") and (found := _map_of(line))
    ]
    if not maps:
        return []
    first, local, clock = maps[0]
    notes.add("timestamp_map", f"line {first + 1}", local_s=local, clock_s=clock)
    shifts = [(number, (c - clock) - (own - local)) for number, own, c in maps]
    if moved := [(number, shift) for number, shift in shifts if abs(shift) > 5e-4]:
        notes.add("timestamp_map_applied", f"line {moved[0][0] + 1}", len(moved))
    return shifts


def _map_of(line: str) -> tuple[float, float] | None:
    match = _MAP.match(line)
    fields = (
        dict(part.split(":", 1) for part in match[1].split(",") if ":" in part) if match else {}
    )
    local = _cue_time(fields.get("LOCAL", ""))
    mpeg = fields.get("MPEGTS", "")
    if local is None or not (mpeg.isascii() and mpeg.isdigit() and len(mpeg) < 12):
        return None
    return local, int(mpeg) / _MPEG_HZ


def _without_repeats(blocks: list[_Block]) -> Iterator[_Block]:
    rolling = any(_STAMP.search(line) for block in blocks for line in block.lines)
    previous: tuple[str, ...] = ()
    for block in blocks:
        lines = block.lines
        if rolling:
            lines = tuple(x for x in lines if _STAMP.search(x) or _plain(x) not in previous)
        if lines:
            yield replace(block, lines=lines)
        previous = tuple(_plain(line) for line in block.lines) or previous


def _voices(block: _Block) -> Iterator[Cue]:
    """One cue for each voice of a block; voices of one block share its time."""
    text = _without_emotions("\n".join(block.lines))
    parts = _VOICE.split(text)  # before, name, text, name, text ...
    for speaker, part in [(None, parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]:
        said, name = _plain(part), _unescaped(speaker).strip() if speaker else None
        if said.strip():
            words = tuple(_timed_words(part, block))
            yield Cue(block.start_s, block.end_s, said, name, words=words)


def _timed_words(text: str, block: _Block) -> Iterator[RawWord]:
    """Words between time marks; a word lasts until the next mark."""
    parts = _STAMP.split(text)
    if len(parts) == 1:
        return
    times = [block.start_s, *((clock_s(stamp) or 0.0) for stamp in parts[1::2]), block.end_s]
    for start, end, part in zip(times, times[1:], parts[0::2], strict=False):
        words = _plain(part).split()
        # Several words under one mark: the assembling spreads them.
        yield from (RawWord(word, (start, end) if len(words) == 1 else None) for word in words)


def _plain(text: str) -> str:
    """Text without markup; its lines stay lines."""
    text = _TAG.sub("", _NEAR_STAMP.sub("", _without_emotions(text)))
    lines = (" ".join(line.split()) for line in _unescaped(text).replace("\u200b", "").split("\n"))
    return "\n".join(line for line in lines if line)


def _without_emotions(text: str) -> str:
    return _EMOTION.sub("", text).replace("<c.emotion>", "")


def _unescaped(text: str) -> str:
    return html.unescape(_HUGE_ENTITY.sub("\ufffd", text)) if "&" in text else text
