"""Values of JSON documents, whatever type they have: numbers, texts, names, languages.

A recogniser's file may hold anything anywhere: null, NaN, numbers of a thousand digits, a list in
place of a text. Nothing here raises; what cannot be used is None, and the caller says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nunbit.transcript.cues import Cue, RawWord, clock_s
from nunbit.transcript.notes import Notes

Record = Mapping[str, Any]

_CONFIDENCES = (
    "confidence",
    "probability",
    "score",
    "prob",
    "conf",
    "p",
    "Confidence",
    "acAsrConf",
)
_NAMES = ("name", "label", "id", "speaker")
_LONGEST_NAME = 200  # characters of a speaker's name
_ISO = re.compile(r"PT(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?")
_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}")
# OpenAI's service writes the language's English name.
_LANGUAGES = {
    "korean": "ko", "english": "en", "japanese": "ja", "chinese": "zh", "german": "de",
    "french": "fr", "spanish": "es", "italian": "it", "russian": "ru", "vietnamese": "vi",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class At:
    """Where a value stands: for its notes, and in what unit its times are.

    Attributes:
        notes: Take what cannot be used.
        place: For them.
        unit_s: Seconds per unit.
    """

    notes: Notes
    place: str
    unit_s: float


def value_of(record: Record, *names: str) -> Any:
    """The value of the first name that is there and not null."""
    for name in names:
        if record.get(name) is not None:
            return record[name]
    return None


def records_of(value: Any, notes: Notes, where: str = "entry") -> list[tuple[str, Record]]:
    """The objects of a list with their places; anything else in it is noted."""
    if not isinstance(value, list):
        if value is not None:
            notes.add("not_understood", where)
        return []
    found: list[tuple[str, Record]] = []
    for number, entry in enumerate(value, start=1):
        place = f"{where} {number}"
        if isinstance(entry, dict):
            found.append((place, entry))
        else:
            notes.add("not_understood", place)
    return found


def number_of(value: Any) -> float | None:
    """A finite number: also ``"1.5"``, ``"1.5s"``, ``PT1.5S`` and {seconds, nanos}."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    if isinstance(value, str):
        return _number_in(value[:80].strip())
    if isinstance(value, dict) and {"seconds", "nanos"} & set(value):
        seconds, nanos = (number_of(value.get(name, 0)) for name in ("seconds", "nanos"))
        return None if seconds is None or nanos is None else seconds + nanos * 1e-9
    return None


def _number_in(text: str) -> float | None:
    if (match := _ISO.fullmatch(text)) and any(match.groups()):
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return 3600 * hours + 60 * minutes + seconds
    return clock_s(text.removesuffix("s"))


def text_of(value: Any) -> str | None:
    """A text, or a number as text; None for anything else."""
    if isinstance(value, str):
        return value
    number = number_of(value)
    return None if number is None or not isinstance(value, (int, float)) else f"{number:.15g}"


def confidence_of(record: Record) -> float | None:
    """0 to 1, or None."""
    for name in _CONFIDENCES:
        value = record.get(name)
        number = None if value is None else number_of(value)
        if number is not None:
            return min(1.0, max(0.0, number))
    return None


def speaker_of(value: Any, notes: Notes, place: str) -> str | None:
    """A speaker's name: a text, a number, or an object with a name or label."""
    if isinstance(value, dict):
        value = value_of(value, *_NAMES)
    if value is None:
        return None
    name = text_of(value)
    if name is None:
        notes.add("speaker_not_a_name", place)
        return None
    return " ".join(name[:_LONGEST_NAME].split()) or None


def language_of(value: Any, notes: Notes) -> str | None:
    """A language code, or None."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        text = value.strip()
        known = _LANGUAGES.get(text.casefold())
        if known:
            return known
        if _CODE.fullmatch(text):
            return text.replace("_", "-")
    notes.add("language_unknown", text_of(value) or "language")
    return None


def span_of(start: Any, end: Any, unit_s: float) -> tuple[float, float] | None:
    """Start and end in seconds; None where one is no number or they are reversed."""
    a, b = number_of(start), number_of(end)
    if a is None or b is None or b < a:
        return None
    return a * unit_s, b * unit_s


def word_of(text: Any, start: Any, end: Any, confidence: float | None, at: At) -> RawWord | None:
    """A word; None where it has no text. A time that cannot be used is noted."""
    own = text_of(text)
    if own is None:
        if text is not None:
            at.notes.add("not_understood", at.place)
        return None
    span = span_of(start, end, at.unit_s)
    if span is None and (start is not None or end is not None):
        at.notes.add("word_time_unusable", at.place)
    return RawWord(own, span, confidence)


def cue_of(
    start: Any, end: Any, text: Any, at: At, words: tuple[RawWord, ...] = (), speaker: Any = None
) -> Cue | None:
    """An utterance; None (and a note) where it has no time or no text.

    Where only the end is missing it is NaN, for ``with_ends``; where the times are missing and the
    words have some, theirs are taken.
    """
    spans = [word.span for word in words if word.span is not None]
    if start is None and spans:
        start = min(a for a, _ in spans) / at.unit_s
    if end is None and spans:
        end = max(b for _, b in spans) / at.unit_s
    own = text_of(text)
    if own is None and text is not None:
        at.notes.add("not_understood", at.place)
        return None
    own = own or " ".join(word.text.strip() for word in words)
    if start is None:
        at.notes.add("no_times", at.place)
        return None
    begins, ends = number_of(start), number_of(end)
    if begins is None or (end is not None and ends is None):
        at.notes.add("time_not_a_number", at.place)
        return None
    return Cue(
        begins * at.unit_s,
        math.nan if ends is None else ends * at.unit_s,
        own,
        speaker_of(speaker, at.notes, at.place),
        words=words,
    )
