"""Plain cues between the formats and the transcript, and the error every format raises."""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nunbit.errors import InputError
from nunbit.reading import ReadingNote

Notice = tuple[str, str]
"""What was odd, as (en, ko)."""

_TYPICAL_MS = 100.0  # no cue lasts a tenth of a second as a rule, few last a hundred
_FEWEST_PER_S = 0.05  # characters
_UTTERANCE_GAP_S = 0.7  # words further apart than this are taken for two utterances


@dataclass(frozen=True, slots=True)
class RawWord:
    """A word as the file has it.

    Attributes:
        text: As written; a recogniser's leading blank is kept until the pieces are joined.
        span: Start and end, seconds; None where the file has no time.
        confidence: 0 to 1, or None.
    """

    text: str
    span: tuple[float, float] | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """One entry of a transcript file.

    Attributes:
        start_s: Seconds; may be nonsense, ``assemble`` checks.
        end_s: Likewise.
        text: Markup taken off, blanks as in the file; line breaks may part speakers.
        speaker: Where the format names one.
        confidence: 0 to 1, or None.
        words: Empty where the format has no word times.
    """

    start_s: float
    end_s: float
    text: str
    speaker: str | None = None
    confidence: float | None = None
    words: tuple[RawWord, ...] = ()


@dataclass(frozen=True, slots=True)
class Cues:
    """What a reader found.

    Attributes:
        cues: In the order of the file.
        source: As in ``Transcript.source``.
        language: Where the file says so.
        notices: About the file itself.
        reading: What was read, repaired and left out of the file.
    """

    cues: tuple[Cue, ...]
    source: str
    language: str | None = None
    notices: tuple[Notice, ...] = ()
    reading: tuple[ReadingNote, ...] = ()


def bad_file(path: Path, en: str, ko: str) -> InputError:
    """An error that names the file."""
    return InputError(en=f"{path}: {en}", ko=f"{path}: {ko}")


def clock_s(text: str) -> float | None:
    """Seconds of ``12.5``, ``1:02.5``, ``01:02:03,250``; None for anything else."""
    parts = text.strip().replace(",", ".").split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        return None
    seconds = 0.0
    for part in parts:
        if not all(c.isdigit() or c in ".eE-+" for c in part):
            return None
        try:
            seconds = 60.0 * seconds + float(part)
        except ValueError:
            return None
    return seconds if math.isfinite(seconds) else None


def milliseconds_typical(lengths: Sequence[float], characters: int) -> float | None:
    """The usual length of whole-number entries if they are milliseconds, else None.

    Seconds it cannot be where the usual entry lasts a hundred of them and fewer than one character
    is said in twenty: people say five to fifteen a second. Long seconds with as much text as
    somebody says in that time stay seconds.

    Args:
        lengths: End minus start of the entries, in the unit to be told.
        characters: Of all their texts.
    """
    total = sum(length for length in lengths if length > 0)
    if not lengths or statistics.median(lengths) < _TYPICAL_MS:
        return None
    return statistics.median(lengths) if characters < _FEWEST_PER_S * total else None


def media_time(seconds: float) -> str:
    """A place on the media clock for a note: ``0:03.2``; ``?`` where there is none."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(0.0, seconds), 60.0)
    return f"{int(minutes)}:{rest:04.1f}"


def grouped(words: Sequence[RawWord], speaker: str | None = None) -> list[Cue]:
    """Join timed words into cues; a gap of 0.7 s or more begins a new one.

    Args:
        words: In order; those without a time are left out.
        speaker: Of all of them.
    """
    groups: list[list[RawWord]] = []
    end = -math.inf
    for word in words:
        if word.span is not None:
            if not groups or word.span[0] - end >= _UTTERANCE_GAP_S:
                groups.append([])
            groups[-1].append(word)
            end = word.span[1]
    return [cue for group in groups if (cue := cue_of_words(group, speaker=speaker))]


def with_words(cues: Sequence[Cue], words: Sequence[RawWord]) -> list[Cue]:
    """Give each cue the timed words whose middle it holds; words outside become cues of their own.

    Args:
        cues: Of one speaker, not overlapping.
        words: Of the same speaker; those without a time are left out.
    """
    cues = sorted(cues, key=lambda cue: cue.start_s)
    starts = [cue.start_s for cue in cues]
    taken: list[list[RawWord]] = [[] for _ in cues]
    left: list[RawWord] = []
    for word in words:
        if word.span is not None:
            middle = sum(word.span) / 2
            last = bisect.bisect_right(starts, middle) - 1
            inside = last >= 0 and middle < cues[last].end_s
            (taken[last] if inside else left).append(word)
    full = [replace(cue, words=tuple(own)) for cue, own in zip(cues, taken, strict=True)]
    return full + grouped(left, cues[0].speaker if cues else None)


def cue_of_words(
    words: Sequence[RawWord], text: str | None = None, speaker: str | None = None
) -> Cue | None:
    """A cue from the first to the last timed word; None where no word has a time."""
    spans = [word.span for word in words if word.span is not None]
    if not spans:
        return None
    end = max(end for _, end in spans)
    text = text or " ".join(word.text for word in words)
    return Cue(min(start for start, _ in spans), end, text, speaker, words=tuple(words))


def joined_pieces(words: Iterable[RawWord]) -> tuple[RawWord, ...]:
    """Whole words from Whisper's pieces.

    Whisper puts a blank before a new word; a piece without one, such as punctuation, belongs to
    the word before. Where no piece has a blank (WhisperX), every piece is a word.
    """
    words = list(words)
    marked = any(word.text.startswith(" ") for word in words)
    whole: list[RawWord] = []
    for word in words:
        if whole and marked and not word.text.startswith(" "):
            whole[-1] = _with_piece(whole[-1], word)
        else:
            whole.append(replace(word, text=word.text.strip()))
    return tuple(whole)


def _with_piece(word: RawWord, piece: RawWord) -> RawWord:
    span = word.span or piece.span
    if word.span and piece.span:
        span = (word.span[0], piece.span[1])
    known = [c for c in (word.confidence, piece.confidence) if c is not None]
    return RawWord(word.text + piece.text.strip(), span, min(known) if known else None)
