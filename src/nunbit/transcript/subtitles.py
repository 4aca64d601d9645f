"""SubRip (SRT) and WebVTT.

Both are read leniently: a cue is a line with ``-->`` and the lines below it, whatever the
numbering. A cue whose time cannot be read is left out with a notice.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nunbit.transcript.cues import Cue, Cues, Notice, RawWord, bad_file, clock_s

_ARROW = "-->"
_TIMING = re.compile(r"^\s*([\d:.,]+)\s*-->\s*([\d:.,]+)(?:\s|$)")
_BLOCK = re.compile(r"^(?:NOTE|STYLE|REGION)(?:\s|$)")
_STAMP = re.compile(r"<((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})>")
_VOICE = re.compile(r"<v(?:\.[^\s>]+)*\s+([^>]+)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|\{\\[^}]*\}")
# Written by our own export: not speech.
_EMOTION = re.compile(r"<c\.emotion>.*?</c>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Block:
    """A cue before its text is understood; ``line`` counts from 1."""

    line: int
    start_s: float
    end_s: float
    lines: tuple[str, ...]


def read_srt(path: Path, text: str) -> Cues:
    """Read SubRip.

    Raises:
        InputError: There is no readable cue.
    """
    blocks, notices = _blocks(path, text)
    cues = []
    for block in blocks:
        plain = _plain("\n".join(block.lines))
        cues.append(Cue(block.start_s, block.end_s, plain))
    return Cues(tuple(cues), "srt", notices=notices)


def read_vtt(path: Path, text: str) -> Cues:
    """Read WebVTT with its voices and word times.

    Captions that roll (as YouTube writes them) repeat the line before; repeats are left out.

    Raises:
        InputError: There is no readable cue.
    """
    blocks, notices = _blocks(path, _without_comments(text))
    blocks = list(_without_repeats(blocks))
    cues = [cue for block in blocks for cue in _voices(block)]
    header = text.split("\n\n", 1)[0]
    language = re.search(r"^Language:\s*(\S+)", header, re.MULTILINE)
    return Cues(tuple(cues), "vtt", language[1] if language else None, notices)


def _blocks(path: Path, text: str) -> tuple[list[_Block], tuple[Notice, ...]]:
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if _ARROW in line]
    blocks: list[_Block] = []
    unreadable = []
    for number, following in itertools.pairwise([*starts, len(lines) + 1]):
        timing = _TIMING.match(lines[number])
        start, end = (clock_s(timing[1]), clock_s(timing[2])) if timing else (None, None)
        if start is None or end is None:
            unreadable.append(number + 1)
            continue
        own = lines[number + 1 : following]
        blocks.append(_Block(number + 1, start, end, _cue_lines(own, last=following > len(lines))))
    if not blocks:
        raise bad_file(
            path,
            "no cue with a readable time (00:00:01,000 --> 00:00:02,000)",
            "시간을 읽을 수 있는 자막이 없습니다 (00:00:01,000 --> 00:00:02,000)",
        )
    if not unreadable:
        return blocks, ()
    n, first = len(unreadable), unreadable[0]
    notice = (
        f"{n} cue(s) without a readable time were left out (first at line {first})",
        f"시간을 읽을 수 없는 자막 {n}개를 제외했습니다 (처음: {first}행)",
    )
    return blocks, (notice,)


def _cue_lines(own: list[str], *, last: bool) -> tuple[str, ...]:
    """The text below a timing line, without the number (or id) of the next cue."""
    rest = own
    if not last and own and own[-1].strip():
        after_blank = len(own) > 1 and not own[-2].strip()
        # A number directly below the text belongs to the next cue too: blank lines get lost.
        if after_blank or own[-1].strip().isdigit():
            rest = own[:-1]
    return tuple(line.strip() for line in rest if line.strip())


def _without_comments(text: str) -> str:
    kept = (block for block in text.split("\n\n") if not _BLOCK.match(block.lstrip("\n")))
    return "\n\n".join(kept)


def _without_repeats(blocks: list[_Block]) -> Iterator[_Block]:
    rolling = any(_STAMP.search(line) for block in blocks for line in block.lines)
    previous: tuple[str, ...] = ()
    for block in blocks:
        lines = block.lines
        if rolling:
            lines = tuple(x for x in lines if _STAMP.search(x) or _plain(x) not in previous)
        if lines:
            yield _Block(block.line, block.start_s, block.end_s, lines)
        previous = tuple(_plain(line) for line in block.lines) or previous


def _voices(block: _Block) -> Iterator[Cue]:
    """One cue for each voice of a block; voices of one block share its time."""
    text = _EMOTION.sub("", "\n".join(block.lines))
    parts = _VOICE.split(text)  # before, name, text, name, text ...
    named = [(None, parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    for speaker, part in named:
        if not _plain(part):
            continue
        name = html.unescape(speaker).strip() if speaker else None
        words = tuple(_timed_words(part, block))
        yield Cue(block.start_s, block.end_s, _plain(part), name, words=words)


def _timed_words(text: str, block: _Block) -> Iterator[RawWord]:
    """Words between time marks; a word lasts until the next mark."""
    parts = _STAMP.split(text)
    if len(parts) == 1:
        return
    times = [block.start_s, *((clock_s(stamp) or 0.0) for stamp in parts[1::2]), block.end_s]
    for start, end, part in zip(times, times[1:], parts[0::2], strict=False):
        words = _plain(part).split()
        for word in words:
            # Several words under one mark: the assembling spreads them.
            timed = len(words) == 1
            yield RawWord(word, (start, end) if timed else None)


def _plain(text: str) -> str:
    text = _TAG.sub("", _STAMP.sub("", _EMOTION.sub("", text)))
    return " ".join(html.unescape(text).replace("\u200b", "").split())
