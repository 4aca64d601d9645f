"""JSON of speech recognisers: Whisper and its kin, WhisperX, whisper.cpp, Vosk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nunbit.errors import InputError
from nunbit.transcript.cues import (
    Cue,
    Cues,
    RawWord,
    bad_file,
    cue_of_words,
    joined_pieces,
    with_words,
)

_CONFIDENCES = ("confidence", "probability", "score", "prob", "conf")
Record = Mapping[str, Any]


def read_json_transcript(path: Path, text: str) -> Cues:
    """Read the JSON of a recogniser.

    Known are ``segments`` with or without ``words`` (Whisper, faster-whisper, WhisperX and its
    ``speaker``), ``transcription`` (whisper.cpp), ``chunks`` (the pipeline of transformers) and
    ``result`` (Vosk, one object, a list of them or one after another).

    Raises:
        InputError: The JSON is cut off or broken, or is not a transcript.
    """
    documents = _documents(path, text)
    try:
        cues, source, language = _understood(path, documents)
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise _no_transcript(path) from exc
    return Cues(tuple(cues), source, language)


def _documents(path: Path, text: str) -> list[Any]:
    """The JSON values of a file, one after another."""
    decoder = json.JSONDecoder()
    values, position = [], 0
    text = text.strip()
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as exc:
            raise _broken(path, text, exc) from exc
        except RecursionError as exc:
            raise _no_transcript(path) from exc
        values.append(value)
        while position < len(text) and text[position] in " \t\n,":
            position += 1
    return values


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


def _understood(path: Path, documents: list[Any]) -> tuple[list[Cue], str, str | None]:
    first = documents[0]
    if len(documents) == 1 and isinstance(first, list):
        documents, first = first, (first[0] if first else None)
        if isinstance(first, Mapping) and "start" in first and "result" not in first:
            return list(_segments(documents)), "whisper", None
    if not isinstance(first, Mapping):
        raise _no_transcript(path)
    if "segments" in first:
        cues = list(_segments(first["segments"]))
        loose = first.get("words") or first.get("word_segments") or []
        if loose and not any(cue.words for cue in cues):
            cues = with_words(cues, joined_pieces(map(_word, loose)))
        return cues, "whisper", first.get("language")
    if "transcription" in first:
        language = (first.get("result") or {}).get("language")
        return list(_whisper_cpp(first["transcription"])), "whisper", language
    if "chunks" in first:
        return list(_chunks(first["chunks"])), "whisper", first.get("language")
    if {"result", "alternatives", "partial"} & set(first) or _is_silent_vosk(first):
        return list(_vosk(documents)), "vosk", None
    raise _no_transcript(path)


def _is_silent_vosk(record: Record) -> bool:
    return set(record) == {"text"}


def _segments(segments: Sequence[Record]) -> Iterator[Cue]:
    for segment in segments:
        words = joined_pieces(_word(word) for word in segment.get("words") or ())
        text = str(segment.get("text") or " ".join(word.text for word in words))
        confidence = _confidence(segment)
        if confidence is None and not words and segment.get("avg_logprob") is not None:
            confidence = min(1.0, math.exp(float(segment["avg_logprob"])))
        speaker = segment.get("speaker")
        yield Cue(
            float(segment["start"]),
            float(segment["end"]),
            text,
            None if speaker is None else str(speaker),
            confidence,
            words,
        )


def _word(record: Record) -> RawWord:
    text = str(record["word"] if "word" in record else record["text"])
    start, end = record.get("start"), record.get("end")
    if start is None or end is None:  # WhisperX leaves out the times of numbers
        return RawWord(text, None, _confidence(record))
    return RawWord(text, (float(start), float(end)), _confidence(record))


def _confidence(record: Record) -> float | None:
    for key in _CONFIDENCES:
        value = record.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return min(1.0, max(0.0, float(value))) if math.isfinite(value) else None
    return None


def _whisper_cpp(segments: Sequence[Record]) -> Iterator[Cue]:
    for segment in segments:
        offsets = segment["offsets"]  # milliseconds
        yield Cue(offsets["from"] / 1000.0, offsets["to"] / 1000.0, str(segment["text"]))


def _chunks(chunks: Sequence[Record]) -> Iterator[Cue]:
    for chunk in chunks:
        start, end = chunk["timestamp"]
        # The last chunk of a cut recording has no end.
        yield Cue(float(start), float(start if end is None else end), str(chunk["text"]))


def _vosk(documents: Sequence[Record]) -> Iterator[Cue]:
    for document in documents:
        best = document
        if document.get("alternatives"):
            best = document["alternatives"][0]
        words = [_word(word) for word in best.get("result") or ()]
        if cue := cue_of_words(words, best.get("text")):
            yield cue


def _no_transcript(path: Path) -> InputError:
    return bad_file(
        path,
        "JSON, but not a transcript: expected segments with start, end and text (Whisper, "
        "WhisperX) or result with words (Vosk)",
        "JSON이지만 전사 파일이 아닙니다. start, end, text가 든 segments(Whisper, WhisperX)나 "
        "단어가 든 result(Vosk)가 필요합니다",
    )
