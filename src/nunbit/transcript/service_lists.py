"""JSON of services that write one list of utterances: CLOVA, RTZR, AssemblyAI, Deepgram and others.

Such a layout is a row of ``LISTS``: where the list is, how its fields are called, and the unit of
its times. The field names are those of the services' public documentation (2026).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from nunbit.transcript.cues import Cue, RawWord
from nunbit.transcript.fields import (
    At,
    Record,
    confidence_of,
    cue_of,
    language_of,
    number_of,
    records_of,
    value_of,
    word_of,
)
from nunbit.transcript.notes import Notes

Found = tuple[list[Cue], str, str | None]

TICK_S = 1e-7  # Azure counts in 100 ns
_UNITS = {1.0: ("in seconds", "초"), 1e-3: ("in milliseconds", "밀리초"), TICK_S: (
    "in ticks of 100 ns", "100나노초")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServiceList:
    """A layout that is a list of utterances.

    Attributes:
        service: Its name.
        source: As in ``Transcript.source``.
        path: Keys that lead to the list; ``*`` takes every item of a list.
        marks: Any of these keys must be in the document, or in the first utterance.
        unit_s: Seconds per unit of all times.
        start: Key of the start; ``end`` or ``duration`` says the rest.
        end: Key of the end, or None.
        duration: Key of the length, or None.
        text: Key of the text.
        speaker: Key of the speaker.
        words: Key of the words, or None.
        word: Their keys: text, start, end, duration.
    """

    service: str
    source: str
    path: tuple[str, ...]
    marks: frozenset[str]
    unit_s: float
    start: str
    end: str | None
    text: str
    speaker: str
    words: str | None = "words"
    word: tuple[str, str, str | None] = ("text", "start", "end")
    duration: str | None = None
    word_duration: str | None = None


LISTS = (
    ServiceList("CLOVA Speech", "clova", ("segments",),
          frozenset(("textEdited", "diarization", "eventTypes")),
          1e-3, "start", "end", "text", "speaker"),
    ServiceList("AssemblyAI", "assemblyai", ("utterances",),
          frozenset(("audio_duration", "acoustic_model", "speech_model", "language_code",
                     "audio_url", "punctuate", "speaker_labels")),
          1e-3, "start", "end", "text", "speaker"),
    ServiceList("RTZR", "rtzr", ("results", "utterances"), frozenset(("msg", "start_at", "spk")),
          1e-3, "start_at", None, "msg", "spk", duration="duration",
          word=("text", "start_at", None), word_duration="duration"),
    ServiceList("Deepgram", "deepgram", ("results", "utterances"),
          frozenset(("metadata", "transcript")),
          1.0, "start", "end", "transcript", "speaker", word=("word", "start", "end")),
    ServiceList("Azure Speech", "azure", ("phrases",),
          frozenset(("combinedPhrases", "offsetMilliseconds")),
          1e-3, "offsetMilliseconds", None, "text", "speaker", duration="durationMilliseconds",
          word=("text", "offsetMilliseconds", None), word_duration="durationMilliseconds"),
    ServiceList("Gladia", "gladia", ("result", "transcription", "utterances"),
          frozenset(("full_transcript", "words")),
          1.0, "start", "end", "text", "speaker", word=("word", "start", "end")),
    ServiceList("Gladia", "gladia", ("transcription", "utterances"),
          frozenset(("full_transcript",)),
          1.0, "start", "end", "text", "speaker", word=("word", "start", "end")),
)  # fmt: skip


def read_list(first: Record, notes: Notes) -> Found | None:
    """Cues, source and language of a list of utterances; None where it is none of those known."""
    for layout in LISTS:
        utterances = at_path(first, layout.path)
        if isinstance(utterances, list) and utterances and _is_marked(first, utterances, layout):
            return _from_list(layout, utterances, first, notes)
    return None


def at_path(document: Any, path: Iterable[str]) -> Any:
    """What a path of keys leads to; None where it leads nowhere."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _is_marked(first: Record, utterances: list[Any], layout: ServiceList) -> bool:
    head = next((entry for entry in utterances if isinstance(entry, dict)), {})
    parent = at_path(first, layout.path[:-1])
    places = [set(first), set(head), set(parent) if isinstance(parent, dict) else set()]
    return any(layout.marks & keys for keys in places)


def told(notes: Notes, service: str, unit_s: float) -> None:
    """Say whose layout was read, and in what unit."""
    unit, unit_ko = _UNITS[unit_s]
    notes.add("service_layout", service, service=service, unit=unit, unit_ko=unit_ko)


def language_in(first: Record, notes: Notes) -> str | None:
    """The language a service's document names."""
    params = first.get("params")
    given = value_of(first, "language", "language_code", "languageCode", "locale")
    if given is None and isinstance(params, dict):
        given = params.get("language")
    return language_of(given, notes) if given != "enko" else "ko"  # CLOVA: Korean with English


def _from_list(layout: ServiceList, utterances: list[Any], first: Record, notes: Notes) -> Found:
    told(notes, layout.service, layout.unit_s)
    cues = []
    for place, entry in records_of(utterances, notes, "utterance"):
        start = entry.get(layout.start)
        end = _end(entry, start, layout.end, layout.duration)
        words = _list_words(layout, entry, place, notes) if layout.words else ()
        speaker = value_of(entry, layout.speaker, "diarization")
        at = At(notes, place, layout.unit_s)
        cue = cue_of(start, end, entry.get(layout.text), at, words, speaker)
        if cue is not None:
            cues.append(replace(cue, confidence=confidence_of(entry)))
    return cues, layout.source, language_in(first, notes)


def _end(entry: Record, start: Any, end: str | None, duration: str | None) -> Any:
    """The end, or start and length together; what cannot be added is handed on to be noted."""
    if end is not None:
        return entry.get(end)
    length = entry.get(duration or "")
    a, b = number_of(start), number_of(length)
    return length if a is None or b is None else a + b


def _list_words(
    layout: ServiceList, entry: Record, place: str, notes: Notes
) -> tuple[RawWord, ...]:
    given = entry.get(layout.words or "")
    if not isinstance(given, list):
        return ()
    found = []
    for word in given:
        if isinstance(word, list) and len(word) == 3:  # CLOVA: [start, end, text]
            start, end, text = word
            confidence = None
        elif isinstance(word, dict):
            start = word.get(layout.word[1])
            text = value_of(word, "punctuated_word", layout.word[0], "word")
            end = _end(word, start, layout.word[2], layout.word_duration)
            confidence = confidence_of(word)
        else:
            notes.add("not_understood", place)
            continue
        own = word_of(text, start, end, confidence, At(notes, place, layout.unit_s))
        if own is not None and own.text.strip():
            found.append(RawWord(own.text.strip(), own.span, own.confidence))
    return tuple(found)
