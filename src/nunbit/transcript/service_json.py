"""JSON of the services that recognise speech: CLOVA, RTZR, AssemblyAI, Google and others.

Each service has a layout and a unit of its own; reading milliseconds as seconds would put every
word somewhere else. A layout is known by fields that no other has; the field names are those of
the services' public documentation (2026). Layouts that are one list of utterances stand in
``service_lists``; the others have a function each, here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from nunbit.transcript.cues import Cue, RawWord, cue_of_words, grouped
from nunbit.transcript.fields import (
    At,
    Record,
    confidence_of,
    cue_of,
    language_of,
    number_of,
    records_of,
    speaker_of,
    text_of,
    value_of,
    word_of,
)
from nunbit.transcript.notes import Notes
from nunbit.transcript.service_lists import (
    LISTS,
    TICK_S,
    Found,
    at_path,
    language_in,
    read_list,
    told,
)


def read_service(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Cues, source and language of a service's file; None where it is none of those known."""
    listed = read_list(first, notes)
    if listed is not None:
        return listed
    for reader in (_assemblyai_words, _deepgram, _azure_batch, _aws, _google, _youtube, _rev):
        found = reader(documents, first, notes)
        if found is not None:
            return found
    return None


def _spoken_words(
    words: Iterable[tuple[str, Record]],
    notes: Notes,
    *,
    keys: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    unit_s: float,
    speaker: tuple[str, ...] = ("speaker",),
) -> list[tuple[str | None, RawWord]]:
    """Words with who says them; ``keys`` name the text, the start and the end."""
    found = []
    for place, word in words:
        own = word_of(
            value_of(word, *keys[0]), value_of(word, *keys[1]), value_of(word, *keys[2]),
            confidence_of(word), At(notes, place, unit_s),
        )  # fmt: skip
        if own is not None and own.text.strip():
            who = speaker_of(value_of(word, *speaker), notes, place)
            found.append((who, RawWord(own.text.strip(), own.span, own.confidence)))
    return found


def _by_speaker(words: Iterable[tuple[str | None, RawWord]]) -> list[Cue]:
    """Utterances: runs of one speaker, new at gaps of 0.7 s."""
    cues: list[Cue] = []
    for speaker, own in itertools.groupby(words, key=lambda entry: entry[0]):
        cues += grouped([word for _, word in own], speaker)
    return cues


def _assemblyai_words(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """AssemblyAI without speakers: ``words`` in milliseconds."""
    layout = next(layout for layout in LISTS if layout.source == "assemblyai")
    words = first.get("words")
    if not (isinstance(words, list) and words and layout.marks & set(first)):
        return None
    told(notes, layout.service, layout.unit_s)
    keys = (("text",), ("start",), ("end",))
    found = _spoken_words(records_of(words, notes, "word"), notes, keys=keys, unit_s=1e-3)
    return _by_speaker(found), layout.source, language_in(first, notes)


def _deepgram(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Deepgram without utterances: ``results.channels[].alternatives[0].words`` in seconds."""
    channels = at_path(first, ("results", "channels"))
    if not isinstance(channels, list):
        return None
    told(notes, "Deepgram", 1.0)
    keys = (("punctuated_word", "word"), ("start",), ("end",))
    cues: list[Cue] = []
    for place, channel in records_of(channels, notes, "channel"):
        best = _best(channel, "alternatives")
        words = records_of(best.get("words"), notes, f"{place} word")
        found = _spoken_words(words, notes, keys=keys, unit_s=1.0)
        if len(channels) > 1:  # one person each
            found = [(who or place, word) for who, word in found]
        cues += _by_speaker(found)
    head = channels[0] if channels and isinstance(channels[0], dict) else {}
    return cues, "deepgram", language_of(head.get("detected_language"), notes)


def _best(record: Record, *names: str) -> Record:
    """The first alternative, or an empty record."""
    alternatives = value_of(record, *names)
    if isinstance(alternatives, list) and alternatives and isinstance(alternatives[0], dict):
        return alternatives[0]
    return {}


def _azure_batch(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Azure: ``recognizedPhrases`` of a batch, or the detailed results of its SDK, in ticks."""
    phrases: Any = first.get("recognizedPhrases")
    if phrases is None:
        if "NBest" not in first:
            return None
        phrases = list(documents)
    told(notes, "Azure Speech", TICK_S)
    cues = []
    for place, phrase in records_of(phrases, notes, "phrase"):
        best = _best(phrase, "nBest", "NBest")
        if not best:
            continue  # nothing was recognised
        words = []
        for word_place, word in records_of(value_of(best, "words", "Words"), notes, place):
            start, end = _ticks(word)
            text = value_of(word, "word", "Word", "displayText")
            own = word_of(text, start, end, confidence_of(word), At(notes, word_place, TICK_S))
            words += [] if own is None else [own]
        text = value_of(best, "display", "Display", "lexical", "Lexical")
        start, end = _ticks(phrase)
        at = At(notes, place, TICK_S)
        cue = cue_of(start, end, text, at, tuple(words), phrase.get("speaker"))
        if cue is not None:
            cues.append(replace(cue, confidence=confidence_of(best)))
    return cues, "azure", language_of(value_of(first, "locale"), notes)


def _ticks(record: Record) -> tuple[Any, Any]:
    """Start and end in ticks, from ticks or from ISO 8601 lengths (PT1.5S)."""
    start = value_of(record, "offsetInTicks", "Offset")
    length = value_of(record, "durationInTicks", "Duration")
    if start is None:
        start, length = (
            None if (seconds := number_of(record.get(name))) is None else seconds / TICK_S
            for name in ("offset", "duration")
        )
    a, b = number_of(start), number_of(length)
    return start, length if a is None or b is None else a + b


def _aws(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """AWS Transcribe (``results.items``) and Speechmatics (``results`` with types), in seconds.

    Punctuation is an item of its own without a time; it goes with the word before it.
    """
    items = at_path(first, ("results", "items"))
    service, source = "AWS Transcribe", "aws"
    if not isinstance(items, list):
        items = first.get("results")
        service, source = "Speechmatics", "speechmatics"
        head = items[0] if isinstance(items, list) and items else None
        if not (isinstance(head, dict) and "type" in head and "alternatives" in head):
            return None
    told(notes, service, 1.0)
    words: list[tuple[str | None, RawWord]] = []
    for place, item in records_of(items, notes, "item"):
        best = _best(item, "alternatives")
        text = text_of(best.get("content"))
        if text is None or not text.strip():
            continue
        if item.get("type") == "punctuation":
            if words:
                who, last = words[-1]
                words[-1] = who, RawWord(last.text + text.strip(), last.span, last.confidence)
            continue
        own = word_of(
            text, item.get("start_time"), item.get("end_time"), confidence_of(best),
            At(notes, place, 1.0),
        )  # fmt: skip
        if own is not None:
            named = value_of(item, "speaker_label")
            named = best.get("speaker") if named is None else named
            words.append((speaker_of(named, notes, place), own))
    return _by_speaker(words), source, language_in(first, notes)


def _google(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Google Cloud Speech (v1, v2) and Daglo (``sttResults``): durations such as ``1.300s``."""
    service, source = "Google Speech", "google"
    results = first.get("results")
    response = first.get("response")
    if results is None and isinstance(response, dict):  # of a long-running operation
        results = response.get("results")
    if results is None and "sttResults" in first:
        service, source, results = "Daglo", "daglo", first["sttResults"]
    if not isinstance(results, list):
        return None
    told(notes, service, 1.0)
    keys = (("word", "text"), ("startTime", "start_time", "startOffset", "start_offset"),
            ("endTime", "end_time", "endOffset", "end_offset"))  # fmt: skip
    speakers = ("speakerLabel", "speaker_label", "speakerTag", "speaker_tag", "speaker")
    parts: list[list[tuple[str | None, RawWord]]] = []
    cues: list[Cue] = []
    before: Any = 0.0
    for place, result in records_of(results, notes, "result"):
        best = _best(result, "alternatives") or result
        given = records_of(best.get("words"), notes, f"{place} word")
        timed = [(p, _with_start(word)) for p, word in given]
        words = _spoken_words(timed, notes, keys=keys, unit_s=1.0, speaker=speakers)
        end = value_of(result, "resultEndTime", "result_end_time", "resultEndOffset")
        if words:
            parts.append([(None if who == "0" else who, word) for who, word in words])
        elif (text := best.get("transcript")) is not None:
            start = before if end is not None else None
            cue = cue_of(start, end, text, At(notes, place, 1.0))
            cues += [] if cue is None else [replace(cue, confidence=confidence_of(best))]
        before = end if end is not None else before
    if len(parts) > 1 and _repeats_all(parts):
        parts = parts[-1:]
    for words in parts:
        cues += _by_speaker(words)
    head = results[0] if results and isinstance(results[0], dict) else {}
    return cues, source, language_of(value_of(head, "languageCode", "language_code"), notes)


def _with_start(word: Record) -> Record:
    """Google leaves out a start of zero."""
    names = ("startTime", "start_time", "startOffset", "start_offset")
    ends = ("endTime", "end_time", "endOffset", "end_offset")
    if value_of(word, *names) is None and value_of(word, *ends) is not None:
        return {**word, "startTime": 0.0}
    return word


def _repeats_all(parts: Sequence[Sequence[tuple[str | None, RawWord]]]) -> bool:
    """Whether the last result says all words again, with speakers (diarisation of v1)."""
    earlier = [word.text for part in parts[:-1] for _, word in part]
    last = [word.text for _, word in parts[-1]]
    return len(last) >= len(earlier) and last[: len(earlier)] == earlier


def _youtube(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """YouTube's json3: ``events`` with ``segs``, in milliseconds."""
    events = first.get("events")
    if not isinstance(events, list):
        return None
    if not any(isinstance(event, dict) and "tStartMs" in event for event in events):
        return None
    told(notes, "YouTube", 1e-3)
    shown = [
        (place, event)
        for place, event in records_of(events, notes, "event")
        if isinstance(event.get("segs"), list) and not event.get("aAppend")
    ]
    starts = [number_of(event.get("tStartMs")) for _, event in shown]
    cues = []
    for k, (place, event) in enumerate(shown):
        start, length = starts[k], number_of(event.get("dDurationMs"))
        end = None if start is None or length is None else start + length
        following = starts[k + 1] if k + 1 < len(starts) else None
        # Captions roll: a line stays while the next one is spoken.
        if end is not None and following is not None and start is not None and following > start:
            end = min(end, following)
        pieces = records_of(event["segs"], notes, place)
        text = "".join(text_of(piece.get("utf8")) or "" for _, piece in pieces)
        if not text.strip():
            continue
        cue = cue_of(event.get("tStartMs"), end, text, At(notes, place, 1e-3))
        if cue is not None:
            words = _youtube_words([piece for _, piece in pieces], start, end)
            cues.append(Cue(cue.start_s, cue.end_s, cue.text, words=words))
    return cues, "youtube", None


def _youtube_words(
    pieces: Sequence[Record], start: float | None, end: float | None
) -> tuple[RawWord, ...]:
    """Words of an automatic caption: one a piece, each until the next; empty for typed ones."""
    if start is None or not any("tOffsetMs" in piece for piece in pieces):
        return ()
    texts = [(text_of(piece.get("utf8")) or "").strip() for piece in pieces]
    offsets = [number_of(piece.get("tOffsetMs", 0)) for piece in pieces]
    begins = [None if o is None else start + o for o in offsets]
    words = []
    for k, text in enumerate(texts):
        if not text:
            continue
        a = begins[k]
        b = begins[k + 1] if k + 1 < len(begins) else end
        one = len(text.split()) == 1
        good = one and a is not None and b is not None and a <= b
        span = (a * 1e-3, b * 1e-3) if good and a is not None and b is not None else None
        words += [RawWord(word, span) for word in text.split()]
    return tuple(words)


def _rev(documents: Sequence[Any], first: Record, notes: Notes) -> Found | None:
    """Rev.ai: ``monologues`` of ``elements``, in seconds."""
    monologues = first.get("monologues")
    if not isinstance(monologues, list):
        return None
    told(notes, "Rev", 1.0)
    cues = []
    for place, monologue in records_of(monologues, notes, "monologue"):
        words: list[RawWord] = []
        for word_place, element in records_of(monologue.get("elements"), notes, place):
            text = text_of(element.get("value"))
            if text is None or not text.strip():
                continue
            if element.get("type") == "punct":
                if words:
                    last = words[-1]
                    words[-1] = RawWord(last.text + text.strip(), last.span, last.confidence)
                continue
            own = word_of(
                text, element.get("ts"), element.get("end_ts"), confidence_of(element),
                At(notes, word_place, 1.0),
            )  # fmt: skip
            words += [] if own is None else [own]
        cue = cue_of_words(words, speaker=speaker_of(monologue.get("speaker"), notes, place))
        if cue is not None:
            cues.append(cue)
        elif words:
            notes.add("no_times", place)
    return cues, "revai", None
