"""JSON of speech recognisers: which layout a file has, and those of Whisper and Vosk.

Services on the net have layouts of their own (``service_json``). No library reads these files; each
recogniser brings a writer only. Any value of any type may stand anywhere: what cannot be used is
left out with a note, and the rest is read.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nunbit.errors import InputError
from nunbit.hangul import syllables_per_word
from nunbit.transcript.cues import (
    Cue,
    Cues,
    RawWord,
    bad_file,
    cue_of_words,
    grouped,
    joined_pieces,
    media_time,
    milliseconds_typical,
    with_words,
)
from nunbit.transcript.fields import (
    At,
    Record,
    confidence_of,
    cue_of,
    language_of,
    number_of,
    records_of,
    span_of,
    text_of,
    value_of,
    word_of,
)
from nunbit.transcript.notes import ENTRIES, Notes, shown
from nunbit.transcript.service_json import read_service

_START = ("start", "startTime", "start_time", "startOffset")
_END = ("end", "endTime", "end_time", "endOffset")
_TEXT = ("text", "body", "transcript")
_LONGEST_INT = 300  # digits; longer ones are beyond every float, and slow to read
_SPECIAL = re.compile(r"\s*(?:\[_[^\]]{0,20}\]|<\|[^|]{0,40}\|>)\s*")  # whisper.cpp's marks
_TOUCHING_S = 0.05  # words of one utterance follow one another at once
_SYLLABLE_S = 0.2  # conversation has about five syllables a second
_SHORTEST_S = 0.3  # a syllable alone


def read_json_transcript(path: Path, text: str, notes: Notes) -> Cues:
    """Read the JSON of a recogniser.

    Known are ``segments`` with or without ``words`` (Whisper, faster-whisper, WhisperX and its
    ``speaker``), ``words`` alone, ``transcription`` (whisper.cpp, with its tokens), ``chunks`` (the
    pipeline of transformers), ``result`` (Vosk, one object, a list of them or one after another)
    and the layouts of ``service_json``.

    Raises:
        InputError: The JSON is cut off or broken, is not a transcript, or no entry has a time.
    """
    notes.what = ENTRIES
    documents = _documents(path, text)
    before = len(notes.listed())
    found = _understood(documents, notes)
    if found is None:
        raise _no_transcript(path, documents)
    cues, source, language = found
    if not cues and len(notes.listed()) > before:
        raise _nothing_usable(path, notes)
    return Cues(tuple(with_ends(cues, notes)), source, language)


def _documents(path: Path, text: str) -> list[Any]:
    """The JSON values of a file, one after another."""
    decoder = json.JSONDecoder(parse_int=_int)
    values, position = [], 0
    text = text.strip()
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as exc:
            raise _broken(path, text, exc) from exc
        except RecursionError as exc:
            raise _no_transcript(path, ["…"]) from exc
        values.append(value)
        while position < len(text) and text[position] in " \t\n,":
            position += 1
    return values


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else math.inf


def _broken(path: Path, text: str, exc: json.JSONDecodeError) -> InputError:
    # The decoder stops at the opening quote of a string that never ends.
    tail = text[exc.pos :]
    if exc.pos >= len(text) or "Unterminated" in exc.msg or not tail.strip():
        return bad_file(
            path,
            f"the JSON is cut off (line {exc.lineno}); copy the file again",
            f"JSON이 도중에 잘렸습니다({exc.lineno}행). 파일을 다시 복사하십시오",
        )
    return bad_file(
        path,
        f"not valid JSON at line {exc.lineno}, column {exc.colno}",
        f"{exc.lineno}행 {exc.colno}열에서 JSON 형식이 잘못되었습니다",
    )


def _understood(documents: list[Any], notes: Notes) -> tuple[list[Cue], str, str | None] | None:
    """Cues, source and language; None for no known layout."""
    first = documents[0]
    if len(documents) == 1 and isinstance(first, list):
        documents = first
        first = next((entry for entry in documents if isinstance(entry, dict)), None)
        if first is not None and value_of(first, *_START) is not None and "result" not in first:
            return _segments(documents, notes), "whisper", None
    if not isinstance(first, dict):
        return None
    if len(documents) > 1 and all(_is_segment(document) for document in documents):
        return _segments(documents, notes), "whisper", None  # JSON lines
    service = read_service(documents, first, notes)
    if service is not None:
        return service
    if _is_vosk(first):
        return _vosk(documents, notes), "vosk", None
    found = _recognisers(first, notes)
    if found is not None and len(documents) > 1:
        notes.add("other_documents", "value 2", len(documents) - 1)
    return found


def _is_segment(document: Any) -> bool:
    """Whether a value of JSON lines is an utterance or word by itself."""
    if not isinstance(document, dict):
        return False
    text = value_of(document, *_TEXT, "word")
    return value_of(document, *_START) is not None and isinstance(text, str)


def _is_vosk(first: dict[str, Any]) -> bool:
    if {"segments", "transcription", "chunks"} & set(first) or isinstance(first.get("words"), list):
        return False
    return bool({"result", "alternatives", "partial"} & set(first)) or set(first) == {"text"}


def _recognisers(first: dict[str, Any], notes: Notes) -> tuple[list[Cue], str, str | None] | None:
    """Whisper and its relatives: one object a file."""
    language = first.get("language")
    if "segments" in first:
        cues = _segments(first["segments"], notes)
        loose = first.get("words") or first.get("word_segments")
        if isinstance(loose, list) and loose and not any(cue.words for cue in cues):
            cues = with_words(with_ends(cues, notes), _words(loose, notes, "word"))
        return cues, "whisper", language_of(language, notes)
    if "transcription" in first:
        result = first.get("result")
        language = result.get("language") if isinstance(result, dict) else None
        cues = _whisper_cpp(first["transcription"], notes)
        return cues, "whisper", language_of(language, notes)
    if "chunks" in first:
        return _chunks(first["chunks"], notes), "whisper", language_of(language, notes)
    if isinstance(first.get("words"), list):
        cues = grouped(_words(first["words"], notes, "word"))
        return cues, "whisper", language_of(language, notes)
    return None


def _segments(segments: Any, notes: Notes) -> list[Cue]:
    found = records_of(segments, notes, "segment")
    unit_s = _unit_s([record for _, record in found], notes)
    cues = []
    for place, segment in found:
        words = _words(segment.get("words") or [], notes, f"{place} word", unit_s)
        confidence = confidence_of(segment)
        logarithm = number_of(segment.get("avg_logprob"))
        if confidence is None and not words and logarithm is not None:
            confidence = math.exp(min(0.0, logarithm))
        start, end = value_of(segment, *_START), value_of(segment, *_END)
        text, speaker = value_of(segment, *_TEXT), segment.get("speaker")
        cue = cue_of(start, end, text, At(notes, place, unit_s), words, speaker)
        if cue is not None:
            cues.append(replace(cue, confidence=confidence))
    return words_joined(cues, notes)


def _unit_s(segments: Sequence[Record], notes: Notes) -> float:
    """Seconds per unit: whole numbers of which the usual segment lasts long are milliseconds."""
    spans = [(value_of(s, *_START), value_of(s, *_END)) for s in segments]
    whole = [(a, b) for a, b in spans if _is_whole(a) and _is_whole(b)]
    if not whole or len(whole) < sum(a is not None and b is not None for a, b in spans):
        return 1.0
    said = sum(len(text_of(value_of(s, *_TEXT)) or "") for s in segments)
    typical = milliseconds_typical([b - a for a, b in whole], said)
    if typical is None:
        return 1.0
    what = ("segment", "항목")
    notes.add("times_in_ms", "segment 1", len(whole), what=what, typical=min(typical, 1e9))
    return 0.001


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**12


def _words(words: Any, notes: Notes, where: str, unit_s: float = 1.0) -> tuple[RawWord, ...]:
    found = []
    for place, record in records_of(words, notes, where):
        text = value_of(record, "word", "text")
        start, end = value_of(record, *_START), value_of(record, *_END)
        confidence = confidence_of(record)
        word = word_of(text, start, end, confidence, At(notes, place, unit_s))
        if word is not None:
            found.append(word)
    return joined_pieces(found)


def _whisper_cpp(segments: Any, notes: Notes) -> list[Cue]:
    cues = []
    for place, segment in records_of(segments, notes, "segment"):
        start, end = _offsets(segment)
        text = segment.get("text")
        cue = cue_of(start, end, text, At(notes, place, 0.001))
        if cue is not None:
            words = _tokens(segment.get("tokens"), cue.text)
            cues.append(replace(cue, words=words))
    return words_joined(cues, notes)


def _offsets(record: Record) -> tuple[Any, Any]:
    """Milliseconds from ``offsets``, else from ``timestamps`` (clock times)."""
    offsets = record.get("offsets")
    if isinstance(offsets, dict):
        return offsets.get("from"), offsets.get("to")
    stamps = record.get("timestamps")
    if isinstance(stamps, dict):
        times = [number_of(stamps.get(name)) for name in ("from", "to")]
        return tuple(None if t is None else 1000 * t for t in times)  # type: ignore[return-value]
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
        spans = [span for token in group if (span := span_of(*_offsets(token), 0.001))]
        known = [c for token in group if (c := confidence_of(token)) is not None]
        span = (spans[0][0], max(spans[0][0], spans[-1][1])) if spans else None
        words.append(RawWord(word, span, min(known) if known else None))
    return tuple(words) if any(word.span for word in words) else ()


def _chunks(chunks: Any, notes: Notes) -> list[Cue]:
    cues = []
    for place, chunk in records_of(chunks, notes, "chunk"):
        times = chunk.get("timestamp")
        start, end = times if isinstance(times, list) and len(times) == 2 else (None, None)
        # The last chunk of a cut recording has no end.
        text, speaker = chunk.get("text"), chunk.get("speaker")
        cue = cue_of(start, end, text, At(notes, place, 1.0), speaker=speaker)
        if cue is not None:
            cues.append(cue)
    return words_joined(cues, notes)


def _vosk(documents: Sequence[Any], notes: Notes) -> list[Cue]:
    cues = []
    for place, document in records_of(list(documents), notes, "result"):
        best: Record = document
        alternatives = document.get("alternatives")
        if isinstance(alternatives, list) and alternatives and isinstance(alternatives[0], dict):
            best = alternatives[0]
        words = _words(best.get("result") or [], notes, f"{place} word")
        text = text_of(best.get("text"))
        cue = cue_of_words(words, text)
        if cue is not None:
            cues.append(cue)
        elif text and text.strip():
            notes.add("no_times", place)
    return cues


def words_joined(cues: list[Cue], notes: Notes) -> list[Cue]:
    """Utterances of entries that hold one word (or Whisper's piece of one) each.

    Entries are words where all hold one and most follow at once upon the one before.
    """
    cues = [cue for cue in cues if cue.text.strip()]
    single = all(len(cue.text.split()) == 1 and not cue.words for cue in cues)
    if len(cues) < 2 or not single:
        return cues
    pairs = list(itertools.pairwise(cues))
    touching = sum(abs(b.start_s - a.end_s) <= _TOUCHING_S for a, b in pairs)
    if 2 * touching <= len(pairs):
        return cues
    notes.add("words_joined", media_time(cues[0].start_s), len(cues))
    timed = with_ends(cues, notes)
    found: list[Cue] = []
    for speaker, own in itertools.groupby(timed, key=lambda cue: cue.speaker):
        pieces = (
            RawWord(c.text, (c.start_s, c.end_s) if c.start_s <= c.end_s else None, c.confidence)
            for c in own
        )
        found += grouped(joined_pieces(pieces), speaker)
    return found


def with_ends(cues: Iterable[Cue], notes: Notes) -> list[Cue]:
    """Give cues without an end one: by their syllables, at most up to the next cue."""
    cues = list(cues)
    starts = sorted(cue.start_s for cue in cues)
    following = dict(itertools.pairwise(starts))
    result = []
    for cue in cues:
        if math.isnan(cue.end_s):
            notes.add("no_end", media_time(cue.start_s))
            syllables = sum(syllables_per_word(cue.text.split()))
            end = cue.start_s + max(_SHORTEST_S, _SYLLABLE_S * syllables)
            limit = following.get(cue.start_s, math.inf)
            cue = replace(cue, end_s=min(end, limit) if limit > cue.start_s else end)
        result.append(cue)
    return result


def _nothing_usable(path: Path, notes: Notes) -> InputError:
    said = notes.listed()
    return bad_file(
        path,
        "JSON, but not a transcript that can be used: " + "; ".join(note.en for note in said),
        "JSON이지만 쓸 수 있는 전사가 아닙니다: " + "; ".join(note.ko for note in said),
    )


def _no_transcript(path: Path, documents: Sequence[Any]) -> InputError:
    first = documents[0] if documents else None
    keys = shown(list(first)) if isinstance(first, dict) else type(first).__name__
    return bad_file(
        path,
        "JSON, but not a transcript of a known layout: expected segments with start, end and text "
        "(Whisper, WhisperX), result with words (Vosk), or the files of CLOVA, AssemblyAI, "
        f"Google, Azure, AWS, Deepgram, RTZR or YouTube; it holds: {keys}. Export SRT or WebVTT "
        "there",
        "JSON이지만 알려진 전사 형식이 아닙니다. start, end, text가 든 segments(Whisper, "
        "WhisperX), 단어가 든 result(Vosk), 또는 CLOVA, AssemblyAI, Google, Azure, AWS, Deepgram, "
        f"리턴제로, YouTube의 파일이어야 합니다. 들어 있는 것: {keys}. 해당 서비스에서 SRT나 "
        "WebVTT로 내보내십시오",
    )
