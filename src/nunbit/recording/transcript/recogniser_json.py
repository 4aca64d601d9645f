"""JSON of speech recognisers: values whatever their type, and the layouts of Whisper and Vosk.

No library reads these files; recognisers only write them. A file may hold anything anywhere: null,
NaN, numbers of a thousand digits, a list in place of a text. Nothing here raises: what cannot be
used is left out with a note, and the rest is read.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nunbit.core.messages import Text
from nunbit.recording.transcript.cues import (
    Cue,
    Notes,
    RawWord,
    cue_of_words,
    cues_of_words,
    joined_pieces,
    number_of,
    text_value,
    unit_of,
    with_ends,
    with_words,
    words_joined,
)

Record = Mapping[str, Any]
Span = tuple[Any, Any]
"""Start and end as the file has them."""
Found = tuple[list[Cue], str, str | None]
"""Cues, source and language of a file."""
Spoken = tuple[str | None, RawWord]
"""A word and who says it."""

_CONFIDENCES = (
    "confidence", "probability", "score", "prob", "conf", "p", "Confidence", "acAsrConf",
)  # fmt: skip
_LONGEST_NAME = 200  # characters of a speaker's name
_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}")
# OpenAI's service writes the language's English name.
_LANGUAGES = {
    "korean": "ko", "english": "en", "japanese": "ja", "chinese": "zh", "german": "de",
    "french": "fr", "spanish": "es", "italian": "it", "russian": "ru", "vietnamese": "vi",
}  # fmt: skip


_START = ("start", "startTime", "start_time", "startOffset")
_END = ("end", "endTime", "end_time", "endOffset")
_TEXT = ("text", "body", "transcript")
_SPECIAL = re.compile(r"\s*(?:\[_[^\]]{0,20}\]|<\|[^|]{0,40}\|>)\s*")  # whisper.cpp's marks


@dataclass(frozen=True, slots=True)
class At:
    """Where a value is, for notes, and the unit of its times.

    Attributes:
        notes: Receive notes about unusable values.
        place: For them.
        unit_s: Seconds per unit.
    """

    notes: Notes
    place: str
    unit_s: float


@dataclass(frozen=True, slots=True)
class Keys:
    """How the fields of an utterance or a word are called; of several names the first that is.

    Attributes:
        text: What is said.
        start: When it starts.
        end: When it ends; empty where ``length`` says so.
        length: How long it lasts.
        speaker: Who says it.
    """

    text: tuple[str, ...]
    start: tuple[str, ...]
    end: tuple[str, ...] = ()
    length: tuple[str, ...] = ()
    speaker: tuple[str, ...] = ("speaker",)

    def span(self, record: Record) -> Span:
        """Start and end, or start and length together."""
        start = value_of(record, *self.start)
        if self.end:
            return start, value_of(record, *self.end)
        return start, end_of(start, value_of(record, *self.length))


_KEYS = Keys(_TEXT, _START, _END)
_WORD_KEYS = Keys(("word", "text"), _START, _END)

# --- values


def value_of(record: Record, *names: str) -> Any:
    """The value of the first name that is there and not null."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def at_path(document: Any, path: Iterable[str]) -> Any:
    """The value at a path of keys; None if there is none."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def end_of(start: Any, length: Any) -> Any:
    """Start and length together; what cannot be added is handed on to be noted."""
    a, b = number_of(start), number_of(length)
    return length if a is None or b is None else a + b


def entries_of(
    value: Any, notes: Notes, where: str = "entry", unit_s: float = 1.0
) -> list[tuple[At, Record]]:
    """The objects of a list with their places; anything else in it is noted."""
    if not isinstance(value, list):
        if value is not None:
            notes.add("not_understood", where)
        return []
    placed = [(At(notes, f"{where} {k}", unit_s), entry) for k, entry in enumerate(value, start=1)]
    for at, entry in placed:
        if not isinstance(entry, dict):
            notes.add("not_understood", at.place)
    return [(at, entry) for at, entry in placed if isinstance(entry, dict)]


def confidence_of(record: Record) -> float | None:
    """0 to 1, or None."""
    numbers = (number_of(record.get(name)) for name in _CONFIDENCES)
    number = next((n for n in numbers if n is not None), None)
    return None if number is None else min(1.0, max(0.0, number))


def speaker_of(value: Any, at: At) -> str | None:
    """A speaker's name: a text, a number, or an object with a name or label."""
    if isinstance(value, dict):
        value = value_of(value, "name", "label", "id", "speaker")
    name = text_value(value)
    if name is None and value is not None:
        at.notes.add("speaker_not_a_name", at.place)
    return " ".join((name or "")[:_LONGEST_NAME].split()) or None


def language_of(value: Any, notes: Notes) -> str | None:
    """A language code, or None."""
    text = value.strip() if isinstance(value, str) else ""
    if _CODE.fullmatch(text) or text.casefold() in _LANGUAGES:
        return _LANGUAGES.get(text.casefold(), text.replace("_", "-"))
    if value is not None and value != "":
        notes.add("language_unknown", text_value(value) or "language")
    return None


def _span_of(span: Span, unit_s: float) -> tuple[float, float] | None:
    """Start and end in seconds; None where one is no number or they are reversed."""
    a, b = map(number_of, span)
    return None if a is None or b is None or b < a else (a * unit_s, b * unit_s)


def word_of(at: At, span: Span, text: Any, confidence: float | None) -> tuple[RawWord, ...]:
    """One word, or none where it has no text. A time that cannot be used is noted."""
    own = text_value(text)
    if own is None:
        if text is not None:
            at.notes.add("not_understood", at.place)
        return ()
    seconds = _span_of(span, at.unit_s)
    if seconds is None and span != (None, None):
        at.notes.add("word_time_unusable", at.place)
    return (RawWord(own, seconds, confidence),)


def word_in(at: At, record: Record, keys: Keys) -> tuple[RawWord, ...]:
    """One word with fields of these names, or none."""
    return word_of(at, keys.span(record), value_of(record, *keys.text), confidence_of(record))


def cue_of(
    at: At,
    span: Span,
    text: Any,
    *,
    words: tuple[RawWord, ...] = (),
    speaker: Any = None,
    confidence: float | None = None,
) -> tuple[Cue, ...]:
    """One utterance; none (and a note) where it has no time or no text.

    Where only the end is missing it is NaN, for ``with_ends``; where the times are missing and the
    words have some, theirs are taken.
    """
    start, end = span
    spans = [word.span for word in words if word.span is not None]
    if start is None and spans:
        start = min(a for a, _ in spans) / at.unit_s
    if end is None and spans:
        end = max(b for _, b in spans) / at.unit_s
    own, begins, ends = text_value(text), number_of(start), number_of(end)
    if own is None and text is not None:
        at.notes.add("not_understood", at.place)
    elif start is None:
        at.notes.add("no_times", at.place)
    elif begins is None or (end is not None and ends is None):
        at.notes.add("time_not_a_number", at.place)
    else:
        own = own or " ".join(word.text.strip() for word in words)
        stop_s = math.nan if ends is None else ends * at.unit_s
        return (Cue(begins * at.unit_s, stop_s, own, speaker_of(speaker, at), confidence, words),)
    return ()


def head_of(records: Any) -> Record:
    """The first of a list, such as the best alternative, or an empty record."""
    listed = isinstance(records, list) and records and isinstance(records[0], dict)
    return records[0] if listed else {}


# --- words and who says them


def stripped(words: Iterable[RawWord]) -> Iterator[RawWord]:
    """Words that say something, without blanks around them."""
    return (replace(word, text=word.text.strip()) for word in words if word.text.strip())


def spoken_words(entries: Iterable[tuple[At, Record]], keys: Keys) -> list[Spoken]:
    """Words with who says them."""
    return [
        (speaker_of(value_of(record, *keys.speaker), at), word)
        for at, record in entries
        for word in stripped(word_in(at, record, keys))
    ]


def by_speaker(words: Iterable[Spoken]) -> list[Cue]:
    """Utterances: runs of one speaker, new at gaps of 0.7 s."""
    runs = itertools.groupby(words, key=lambda entry: entry[0])
    return [cue for who, own in runs for cue in cues_of_words([word for _, word in own], who)]


def with_marks(
    items: Iterable[tuple[At, bool, Any, Span, float | None, Any]],
) -> list[Spoken]:
    """Words of (place, whether it is punctuation, text, times, confidence, speaker).

    Punctuation is an item of its own without a time; it goes with the word before it.
    """
    words: list[Spoken] = []
    for at, is_mark, content, span, confidence, named in items:
        text = text_value(content)
        if text is None or not text.strip():
            continue
        if not is_mark:
            words += [(speaker_of(named, at), word) for word in word_of(at, span, text, confidence)]
        elif words:
            who, last = words[-1]
            words[-1] = who, replace(last, text=last.text + text.strip())
    return words


# --- layouts of Whisper, its relatives and Vosk


def read_recogniser(documents: list[Any], first: Record, notes: Notes) -> Found | None:
    """Cues, source and language of Whisper, its relatives and Vosk; None where it is none."""
    language = first.get("language")
    if "segments" in first:
        cues = words_joined(_segments(first["segments"], notes), notes)
        loose = first.get("words") or first.get("word_segments")
        if isinstance(loose, list) and loose and not any(cue.words for cue in cues):
            cues = with_words(with_ends(cues, notes), _words(loose, notes, "word"))
    elif "transcription" in first:
        language = at_path(first, ("result", "language"))
        timed = (
            replace(cue, words=_tokens(segment.get("tokens"), cue.text))
            for at, segment in entries_of(first["transcription"], notes, "segment", 0.001)
            for cue in cue_of(at, _offsets(segment), segment.get("text"))
        )
        cues = words_joined(timed, notes)
    elif "chunks" in first:
        cues = words_joined(_chunks(first["chunks"], notes), notes)
    elif isinstance(first.get("words"), list):
        cues = cues_of_words(_words(first["words"], notes, "word"))
    elif {"result", "alternatives", "partial"} & set(first) or set(first) == {"text"}:
        return list(_vosk(documents, notes)), "vosk", None
    else:
        return None
    code = language_of(language, notes)
    if len(documents) > 1:
        notes.add("other_documents", "value 2", len(documents) - 1)
    return cues, "whisper", code


def read_list(documents: list[Any], notes: Notes) -> Found | None:
    """The same for utterances or words with nothing around them: JSON lines, or one list."""
    whole = documents[0] if len(documents) == 1 else None
    listed = whole if isinstance(whole, list) else documents
    head = next((entry for entry in listed if isinstance(entry, dict)), {})
    begins = listed is whole and value_of(head, *_START) is not None and "result" not in head
    if begins or (len(listed) > 1 and all(map(_is_segment, listed))):
        return words_joined(_segments(listed, notes), notes), "whisper", None
    return None


def _is_segment(record: Any) -> bool:
    """Whether a value is an utterance or word by itself."""
    return (
        isinstance(record, dict)
        and value_of(record, *_START) is not None
        and isinstance(value_of(record, *_TEXT, "word"), str)
    )


def _segments(segments: Any, notes: Notes) -> Iterator[Cue]:
    """Utterances of Whisper and whoever writes as it does."""
    unit_s = _unit_s([record for _, record in entries_of(segments, Notes())], notes)
    for at, segment in entries_of(segments, notes, "segment", unit_s):
        words = _words(segment.get("words") or [], notes, f"{at.place} word", unit_s)
        confidence = confidence_of(segment)
        logarithm = number_of(segment.get("avg_logprob"))
        if confidence is None and not words and logarithm is not None:
            confidence = math.exp(min(0.0, logarithm))
        yield from cue_of(
            at, _KEYS.span(segment), value_of(segment, *_TEXT),
            words=words, speaker=segment.get("speaker"), confidence=confidence,
        )  # fmt: skip


def _unit_s(segments: Sequence[Record], notes: Notes) -> float:
    """Seconds per unit: whole numbers of which the usual segment lasts long are milliseconds."""
    spans = [_KEYS.span(segment) for segment in segments]
    whole = [(a, b) for a, b in spans if _is_whole(a) and _is_whole(b)]
    if not whole or len(whole) < sum(a is not None and b is not None for a, b in spans):
        return 1.0
    said = sum(len(text_value(value_of(s, *_TEXT)) or "") for s in segments)
    return unit_of([b - a for a, b in whole], said, notes, "segment 1", Text("segment", "항목"))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**12


def _words(words: Any, notes: Notes, where: str, unit_s: float = 1.0) -> tuple[RawWord, ...]:
    entries = entries_of(words, notes, where, unit_s)
    return joined_pieces(word for at, own in entries for word in word_in(at, own, _WORD_KEYS))


def _offsets(record: Record) -> Span:
    """Milliseconds from ``offsets``, else from ``timestamps`` (clock times)."""
    offsets = record.get("offsets")
    if isinstance(offsets, dict):
        return offsets.get("from"), offsets.get("to")
    stamps = record.get("timestamps")
    if isinstance(stamps, dict):
        start, end = (number_of(stamps.get(name)) for name in ("from", "to"))
        return None if start is None else 1000 * start, None if end is None else 1000 * end
    return None, None


def _tokens(tokens: Any, text: str) -> tuple[RawWord, ...]:
    """Words with the times of whisper.cpp's tokens.

    A token may be half a Hangul syllable, so the words are those of the text; the tokens only
    date them, a leading blank beginning the next word. Empty where they do not fit.
    """
    if not isinstance(tokens, list):
        return ()
    groups: list[list[Record]] = []
    for token in tokens:
        piece = token.get("text") if isinstance(token, dict) else None
        if not isinstance(piece, str) or _SPECIAL.fullmatch(piece) or not piece:
            continue
        if not groups or piece.startswith(" "):
            groups.append([])
        groups[-1].append(token)
    written = text.split()
    if len(groups) != len(written):
        return ()
    words = []
    for word, group in zip(written, groups, strict=True):
        spans = [span for token in group if (span := _span_of(_offsets(token), 0.001))]
        known = [c for token in group if (c := confidence_of(token)) is not None]
        span = (spans[0][0], max(spans[0][0], spans[-1][1])) if spans else None
        words.append(RawWord(word, span, min(known) if known else None))
    return tuple(words) if any(word.span for word in words) else ()


def _chunks(chunks: Any, notes: Notes) -> Iterator[Cue]:
    for at, chunk in entries_of(chunks, notes, "chunk"):
        times = chunk.get("timestamp")
        # The last chunk of a cut recording has no end.
        start, end = times if isinstance(times, list) and len(times) == 2 else (None, None)
        yield from cue_of(at, (start, end), chunk.get("text"), speaker=chunk.get("speaker"))


def _vosk(documents: Sequence[Any], notes: Notes) -> Iterator[Cue]:
    for at, document in entries_of(list(documents), notes, "result"):
        best = head_of(document.get("alternatives")) or document
        words = _words(best.get("result") or [], notes, f"{at.place} word")
        text = text_value(best.get("text"))
        if (cue := cue_of_words(words, text)) is not None:
            yield cue
        elif text and text.strip():
            notes.add("no_times", at.place)
