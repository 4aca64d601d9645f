"""Find the layout of a JSON transcript; read those of services: CLOVA, RTZR, Google and others.

Each service has a layout and a unit of its own; reading milliseconds as seconds would put every
word somewhere else. A layout is recognised by fields that no other has; the field names are those
of the services' public documentation (2026). Layouts with one list of utterances are rows of
``LISTS``; each of the others has a function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Text, joined
from nunbit.recording.transcript.cues import (
    ENTRIES,
    Cue,
    Cues,
    Notes,
    RawWord,
    bad_file,
    cue_of_words,
    json_values,
    number_of,
    shown,
    text_value,
    with_ends,
)
from nunbit.recording.transcript.recogniser_json import (
    At,
    Found,
    Keys,
    Record,
    Span,
    Spoken,
    at_path,
    by_speaker,
    confidence_of,
    cue_of,
    end_of,
    entries_of,
    head_of,
    language_of,
    read_list,
    read_recogniser,
    speaker_of,
    spoken_words,
    stripped,
    value_of,
    with_marks,
    word_in,
    word_of,
)

_TICK_S = 1e-7  # Azure counts in 100 ns
_UNITS = {1.0: Text("in seconds", "초"), 1e-3: Text("in milliseconds", "밀리초"), _TICK_S: Text(
    "in ticks of 100 ns", "100나노초")}  # fmt: skip


def read_json_transcript(path: Path, text: str, notes: Notes) -> Cues:
    """Read the JSON of a recogniser.

    Known are ``segments`` with or without ``words`` (Whisper, faster-whisper, WhisperX and its
    ``speaker``), ``words`` alone, ``transcription`` (whisper.cpp, with its tokens), ``chunks`` (the
    pipeline of transformers), ``result`` (Vosk, one object, a list of them or one after another)
    and the layouts of services.

    Raises:
        InputError: The JSON is cut off or broken, is not a transcript, or no entry has a time.
    """
    notes.what = ENTRIES
    try:
        documents = json_values(path, text)
    except RecursionError as exc:
        raise _no_transcript(path, "…") from exc
    before = len(notes.listed())
    found = _understood(documents, notes)
    if found is None:
        raise _no_transcript(path, documents[0])
    cues, source, language = found
    if not cues and len(notes.listed()) > before:
        unusable = Text(
            "JSON, but not a transcript that can be used", "JSON이지만 쓸 수 있는 전사가 아닙니다"
        )
        reasons = joined("; ", (note.text for note in notes.listed()))
        raise bad_file(path, joined(": ", (unusable, reasons)))
    return Cues(tuple(with_ends(cues, notes)), source, language)


def _no_transcript(path: Path, first: Any) -> InputError:
    keys = shown(list(first)) if isinstance(first, dict) else type(first).__name__
    return bad_file(
        path,
        Text(
            "JSON, but not a transcript of a known layout: expected segments with start, end "
            "and text (Whisper, WhisperX), result with words (Vosk), or the files of CLOVA, "
            f"AssemblyAI, Google, Azure, AWS, Deepgram, RTZR or YouTube; it holds: {keys}. "
            "Export SRT or WebVTT there",
            "JSON이지만 알려진 전사 형식이 아닙니다. start, end, text가 든 segments(Whisper, "
            "WhisperX), 단어가 든 result(Vosk), 또는 CLOVA, AssemblyAI, Google, Azure, AWS, "
            f"Deepgram, 리턴제로, YouTube의 파일이어야 합니다. 들어 있는 것: {keys}. 해당 "
            "서비스에서 SRT나 WebVTT로 내보내십시오",
        ),
    )


def _understood(documents: list[Any], notes: Notes) -> Found | None:
    """Cues, source and language; None for no known layout."""
    first = documents[0]
    if (bare := read_list(documents, notes)) is not None:
        return bare
    if len(documents) == 1 and isinstance(first, list):
        documents = first
        first = next((entry for entry in documents if isinstance(entry, dict)), None)
    if not isinstance(first, dict):
        return None
    readers = (
        _list, _assemblyai_words, _deepgram, _azure_batch, _aws, _google, _youtube, _rev,
        read_recogniser,
    )  # fmt: skip
    found = (reader(documents, first, notes) for reader in readers)
    return next((own for own in found if own is not None), None)


# --- services that write one list of utterances


@dataclass(frozen=True, slots=True)
class ServiceList:
    """A layout that is a list of utterances.

    Attributes:
        service: Its name.
        source: As in ``Transcript.source``.
        path: Keys that lead to the list.
        marks: Any of these keys must be in the document, around the list, or in its first item.
        unit_s: Seconds per unit of all times.
        keys: Fields of an utterance; its ``words`` are a list.
        word: Fields of a word.
    """

    service: str
    source: str
    path: tuple[str, ...]
    marks: tuple[str, ...]
    unit_s: float
    keys: Keys
    word: Keys


_WHO = ("speaker", "diarization")
_TEXTS = ("punctuated_word", "text", "word")
_UTTERANCE = Keys(("text",), ("start",), ("end",), speaker=_WHO)
_WORD = Keys(("punctuated_word", "word"), ("start",), ("end",))
_OFFSET, _LENGTH = ("offsetMilliseconds",), ("durationMilliseconds",)
LISTS = (
    ServiceList("CLOVA Speech", "clova", ("segments",),
                ("textEdited", "diarization", "eventTypes"),
                1e-3, _UTTERANCE, Keys(_TEXTS, ("start",), ("end",))),
    ServiceList("AssemblyAI", "assemblyai", ("utterances",),
                ("audio_duration", "acoustic_model", "speech_model", "language_code",
                 "audio_url", "punctuate", "speaker_labels"),
                1e-3, _UTTERANCE, Keys(_TEXTS, ("start",), ("end",))),
    ServiceList("RTZR", "rtzr", ("results", "utterances"), ("msg", "start_at", "spk"), 1e-3,
                Keys(("msg",), ("start_at",), (), ("duration",), ("spk", "diarization")),
                Keys(_TEXTS, ("start_at",), (), ("duration",))),
    ServiceList("Deepgram", "deepgram", ("results", "utterances"), ("metadata", "transcript"), 1.0,
                Keys(("transcript",), ("start",), ("end",), speaker=_WHO), _WORD),
    ServiceList("Azure Speech", "azure", ("phrases",), ("combinedPhrases", "offsetMilliseconds"),
                1e-3, Keys(("text",), _OFFSET, (), _LENGTH, _WHO),
                Keys(_TEXTS, _OFFSET, (), _LENGTH)),
    ServiceList("Gladia", "gladia", ("result", "transcription", "utterances"),
                ("full_transcript", "words"), 1.0, _UTTERANCE, _WORD),
    ServiceList("Gladia", "gladia", ("transcription", "utterances"), ("full_transcript",),
                1.0, _UTTERANCE, _WORD),
)  # fmt: skip


def _list(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    for layout in LISTS:
        utterances = at_path(first, layout.path)
        if isinstance(utterances, list) and utterances:
            head = next((entry for entry in utterances if isinstance(entry, dict)), {})
            places = (first, head, at_path(first, layout.path[:-1]))
            marks = set(layout.marks)
            if any(isinstance(place, dict) and marks & set(place) for place in places):
                return _from_list(layout, utterances, first, notes)
    return None


def _told(notes: Notes, service: str, unit_s: float) -> None:
    """Note which layout was read, and in what unit."""
    notes.add("service_layout", service, service=service, unit=_UNITS[unit_s])


def _language_in(first: Record, notes: Notes) -> str | None:
    """The language a service's document names."""
    given = value_of(first, "language", "language_code", "languageCode", "locale")
    if given is None:
        given = at_path(first, ("params", "language"))
    return language_of(given, notes) if given != "enko" else "ko"  # CLOVA: Korean with English


def _from_list(layout: ServiceList, utterances: list[Any], first: Record, notes: Notes) -> Found:
    _told(notes, layout.service, layout.unit_s)
    cues: list[Cue] = []
    for at, entry in entries_of(utterances, notes, "utterance", layout.unit_s):
        keys, given = layout.keys, entry.get("words")
        words = _list_words(layout, given, at) if isinstance(given, list) else ()
        cues += cue_of(
            at, keys.span(entry), value_of(entry, *keys.text), words=tuple(words),
            speaker=value_of(entry, *keys.speaker), confidence=confidence_of(entry),
        )  # fmt: skip
    return cues, layout.source, _language_in(first, notes)


def _list_words(layout: ServiceList, given: list[Any], at: At) -> Iterator[RawWord]:
    for word in given:
        if isinstance(word, list) and len(word) == 3:  # CLOVA: [start, end, text]
            yield from stripped(word_of(at, (word[0], word[1]), word[2], None))
        elif isinstance(word, dict):
            yield from stripped(word_in(at, word, layout.word))
        else:
            at.notes.add("not_understood", at.place)


# --- services with a layout of their own


def _assemblyai_words(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """AssemblyAI without speakers: ``words`` in milliseconds."""
    layout = next(layout for layout in LISTS if layout.source == "assemblyai")
    words = first.get("words")
    if not (isinstance(words, list) and words and set(layout.marks) & set(first)):
        return None
    _told(notes, layout.service, layout.unit_s)
    found = spoken_words(
        entries_of(words, notes, "word", layout.unit_s), replace(_UTTERANCE, speaker=("speaker",))
    )
    return by_speaker(found), layout.source, _language_in(first, notes)


def _deepgram(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Deepgram without utterances: ``results.channels[].alternatives[0].words`` in seconds."""
    channels = at_path(first, ("results", "channels"))
    if not isinstance(channels, list):
        return None
    _told(notes, "Deepgram", 1.0)
    cues: list[Cue] = []
    for at, channel in entries_of(channels, notes, "channel"):
        words = head_of(channel.get("alternatives")).get("words")
        found = spoken_words(entries_of(words, notes, f"{at.place} word"), _WORD)
        if len(channels) > 1:  # one person each
            found = [(who or at.place, word) for who, word in found]
        cues += by_speaker(found)
    return cues, "deepgram", language_of(head_of(channels).get("detected_language"), notes)


def _azure_batch(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Azure: ``recognizedPhrases`` of a batch, or the detailed results of its SDK, in ticks."""
    phrases: Any = first.get("recognizedPhrases")
    if phrases is None:
        if "NBest" not in first:
            return None
        phrases = list(documents)
    _told(notes, "Azure Speech", _TICK_S)
    cues: list[Cue] = []
    for at, phrase in entries_of(phrases, notes, "phrase", _TICK_S):
        if best := head_of(value_of(phrase, "nBest", "NBest")):  # else nothing was recognised
            given = entries_of(value_of(best, "words", "Words"), notes, at.place, _TICK_S)
            words = [
                word
                for place, own in given
                for word in word_of(
                    place, _ticks(own), value_of(own, "word", "Word", "displayText"),
                    confidence_of(own),
                )
            ]  # fmt: skip
            cues += cue_of(
                at, _ticks(phrase), value_of(best, "display", "Display", "lexical", "Lexical"),
                words=tuple(words), speaker=phrase.get("speaker"), confidence=confidence_of(best),
            )  # fmt: skip
    return cues, "azure", language_of(value_of(first, "locale"), notes)


def _ticks(record: Record) -> Span:
    """Start and end in ticks, from ticks or from ISO 8601 lengths (PT1.5S)."""
    start = value_of(record, "offsetInTicks", "Offset")
    length = value_of(record, "durationInTicks", "Duration")
    if start is None:
        start, length = (
            None if (seconds := number_of(record.get(name))) is None else seconds / _TICK_S
            for name in ("offset", "duration")
        )
    return start, end_of(start, length)


def _aws(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """AWS Transcribe (``results.items``) and Speechmatics (``results`` with types), in seconds."""
    items = at_path(first, ("results", "items"))
    service, source = "AWS Transcribe", "aws"
    if not isinstance(items, list):
        items = first.get("results")
        service, source = "Speechmatics", "speechmatics"
        if not (isinstance(items, list) and {"type", "alternatives"} <= set(head_of(items))):
            return None
    _told(notes, service, 1.0)
    given = [
        (at, own, head_of(own.get("alternatives"))) for at, own in entries_of(items, notes, "item")
    ]
    words = with_marks(
        (
            at, item.get("type") == "punctuation", best.get("content"),
            (item.get("start_time"), item.get("end_time")), confidence_of(best),
            best.get("speaker") if item.get("speaker_label") is None else item["speaker_label"],
        )
        for at, item, best in given
    )  # fmt: skip
    return by_speaker(words), source, _language_in(first, notes)


_GOOGLE = Keys(
    ("word", "text"),
    ("startTime", "start_time", "startOffset", "start_offset"),
    ("endTime", "end_time", "endOffset", "end_offset"),
    speaker=("speakerLabel", "speaker_label", "speakerTag", "speaker_tag", "speaker"),
)


def _google(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Google Cloud Speech (v1, v2) and Daglo (``sttResults``): durations such as ``1.300s``."""
    service, source, results = "Google Speech", "google", first.get("results")
    if results is None:  # of a long-running operation
        results = at_path(first, ("response", "results"))
    if results is None and "sttResults" in first:
        service, source, results = "Daglo", "daglo", first["sttResults"]
    if not isinstance(results, list):
        return None
    _told(notes, service, 1.0)
    parts: list[list[Spoken]] = []
    cues: list[Cue] = []
    before: Any = 0.0
    for at, result in entries_of(results, notes, "result"):
        best = head_of(result.get("alternatives")) or result
        given = entries_of(best.get("words"), notes, f"{at.place} word")
        words = spoken_words([(place, _with_start(word)) for place, word in given], _GOOGLE)
        end = value_of(result, "resultEndTime", "result_end_time", "resultEndOffset")
        if words:
            parts.append([(None if who == "0" else who, word) for who, word in words])
        elif (text := best.get("transcript")) is not None:
            start = before if end is not None else None
            cues += cue_of(at, (start, end), text, confidence=confidence_of(best))
        before = end if end is not None else before
    earlier = [word.text for part in parts[:-1] for _, word in part]
    if earlier and [word.text for _, word in parts[-1]][: len(earlier)] == earlier:
        parts = parts[-1:]  # the last says all words again, with speakers (diarisation of v1)
    cues += [cue for words in parts for cue in by_speaker(words)]
    language = value_of(head_of(results), "languageCode", "language_code")
    return cues, source, language_of(language, notes)


def _with_start(word: Record) -> Record:
    """Google leaves out a start of zero."""
    start, end = _GOOGLE.span(word)
    return {**word, "startTime": 0.0} if start is None and end is not None else word


def _youtube(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """YouTube's json3: ``events`` with ``segs``, in milliseconds."""
    events = first.get("events")
    if not isinstance(events, list) or not any(
        isinstance(event, dict) and "tStartMs" in event for event in events
    ):
        return None
    _told(notes, "YouTube", 1e-3)
    lines = [
        (at, event)
        for at, event in entries_of(events, notes, "event", 1e-3)
        if isinstance(event.get("segs"), list) and not event.get("aAppend")
    ]
    starts = [number_of(event.get("tStartMs")) for _, event in lines]
    cues: list[Cue] = []
    for (at, event), (start, following) in zip(lines, pairwise([*starts, None]), strict=True):
        length = number_of(event.get("dDurationMs"))
        end = None if start is None or length is None else start + length
        # Captions roll: a line stays while the next one is spoken.
        if end is not None and following is not None and start is not None and following > start:
            end = min(end, following)
        pieces = [piece for _, piece in entries_of(event["segs"], notes, at.place)]
        text = "".join(text_value(piece.get("utf8")) or "" for piece in pieces)
        if text.strip():
            words = tuple(_youtube_words(pieces, start, end))
            own = cue_of(at, (event.get("tStartMs"), end), text)
            cues += [replace(cue, words=words) for cue in own]
    return cues, "youtube", None


def _youtube_words(
    pieces: Sequence[Record], start: float | None, end: float | None
) -> Iterator[RawWord]:
    """Words of an automatic caption: one a piece, each until the next; none of typed ones."""
    if start is None or not any("tOffsetMs" in piece for piece in pieces):
        return
    texts = [(text_value(piece.get("utf8")) or "").split() for piece in pieces]
    offsets = [number_of(piece.get("tOffsetMs", 0)) for piece in pieces]
    begins = [None if o is None else start + o for o in offsets]
    for text, (a, b) in zip(texts, pairwise([*begins, end]), strict=True):
        alone = len(text) == 1 and a is not None and b is not None and a <= b
        span = (a * 1e-3, b * 1e-3) if alone and a is not None and b is not None else None
        yield from (RawWord(word, span) for word in text)


def _rev(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Rev.ai: ``monologues`` of ``elements``, in seconds."""
    monologues = first.get("monologues")
    if not isinstance(monologues, list):
        return None
    _told(notes, "Rev", 1.0)
    cues = []
    for at, monologue in entries_of(monologues, notes, "monologue"):
        words = with_marks(
            (
                place, own.get("type") == "punct", own.get("value"),
                (own.get("ts"), own.get("end_ts")), confidence_of(own), None,
            )
            for place, own in entries_of(monologue.get("elements"), notes, at.place)
        )  # fmt: skip
        speaker = speaker_of(monologue.get("speaker"), at)
        if (cue := cue_of_words([word for _, word in words], speaker=speaker)) is not None:
            cues.append(cue)
        elif words:
            notes.add("no_times", at.place)
    return cues, "revai", None
