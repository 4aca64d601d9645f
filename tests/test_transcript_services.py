"""Files of speech recognition services, made after their public documentation."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from nunbit.core.messages import InputError
from nunbit.core.streams import Transcript
from nunbit.recording.transcript import read_transcript

Row = tuple[float, float, str | None, str]

CLOVA = {
    "result": "COMPLETED", "message": "Succeeded", "version": "ncp_v2",
    "params": {"language": "ko-KR"},
    "segments": [
        {"start": 500, "end": 1500, "text": "안녕 하세요", "textEdited": "안녕 하세요",
         "confidence": 0.9, "diarization": {"label": "1"},
         "speaker": {"label": "1", "name": "A", "edited": False},
         "words": [[500, 900, "안녕"], [900, 1500, "하세요"]]},
        {"start": 2000, "end": 2600, "text": "네", "diarization": {"label": "2"}, "words": []},
    ],
    "speakers": [{"label": "1", "name": "A"}],
}  # fmt: skip
RTZR = {
    "id": "x", "status": "completed",
    "results": {"utterances": [
        {"start_at": 500, "duration": 1000, "msg": "안녕 하세요", "spk": 0},
        {"start_at": 2000, "duration": 600, "msg": "네", "spk": 1},
    ]},
}  # fmt: skip
_ASSEMBLY_WORDS = [
    {"text": "hello", "start": 500, "end": 900, "confidence": 0.9, "speaker": "A"},
    {"text": "there", "start": 900, "end": 1500, "confidence": 0.8, "speaker": "A"},
]
ASSEMBLYAI = {
    "id": "x", "status": "completed", "language_code": "en_us", "audio_duration": 3,
    "words": _ASSEMBLY_WORDS,
    "utterances": [{"start": 500, "end": 1500, "text": "hello there", "speaker": "A",
                    "confidence": 0.85, "words": _ASSEMBLY_WORDS}],
}  # fmt: skip
_DEEPGRAM_WORDS = [
    {"word": "hello", "punctuated_word": "Hello", "start": 0.5, "end": 0.9, "speaker": 0},
    {"word": "there", "punctuated_word": "there.", "start": 0.9, "end": 1.5, "speaker": 0},
]
DEEPGRAM = {
    "metadata": {"duration": 3.0},
    "results": {
        "channels": [{"detected_language": "en", "alternatives": [
            {"transcript": "Hello there.", "confidence": 0.9, "words": _DEEPGRAM_WORDS}]}],
        "utterances": [{"start": 0.5, "end": 1.5, "transcript": "Hello there.", "speaker": 0,
                        "words": _DEEPGRAM_WORDS}],
    },
}  # fmt: skip
GOOGLE = {"results": [
    {"alternatives": [{"transcript": "hello there", "words": [
        {"endTime": "0.900s", "word": "hello"},
        {"startTime": "0.900s", "endTime": "1.500s", "word": "there"}]}],
     "resultEndTime": "1.600s", "languageCode": "en-us"},
    {"alternatives": [{"words": [
        {"endTime": "0.900s", "word": "hello", "speakerTag": 1},
        {"startTime": "0.900s", "endTime": "1.500s", "word": "there", "speakerTag": 2}]}]},
]}  # fmt: skip
GOOGLE_PLAIN = {"results": [
    {"alternatives": [{"transcript": "hello there"}], "resultEndTime": "1.600s"},
    {"alternatives": [{"transcript": "good bye"}], "resultEndTime": "3.100s"},
]}  # fmt: skip
DAGLO = {"status": "transcribed", "sttResults": [{"transcript": "안녕 하세요", "words": [
    {"word": "안녕", "startTime": {"seconds": "0", "nanos": 500000000},
     "endTime": {"seconds": "0", "nanos": 900000000}},
    {"word": "하세요", "startTime": {"seconds": 0, "nanos": 900000000},
     "endTime": {"seconds": "1", "nanos": 500000000}}]}]}  # fmt: skip
AZURE = {"source": "x", "recognizedPhrases": [
    {"recognitionStatus": "Success", "speaker": 1, "offset": "PT0.5S", "duration": "PT1S",
     "offsetInTicks": 5000000.0, "durationInTicks": 10000000.0,
     "nBest": [{"confidence": 0.9, "display": "Hello there.", "words": [
         {"word": "hello", "offsetInTicks": 5000000.0, "durationInTicks": 4000000.0},
         {"word": "there", "offset": "PT0.9S", "duration": "PT0.6S"}]}]},
    {"recognitionStatus": "Failure", "offset": "PT9S", "duration": "PT1S"},
]}  # fmt: skip
AZURE_FAST = {
    "durationMilliseconds": 3000, "combinedPhrases": [{"text": "Hello there."}],
    "phrases": [{"speaker": 1, "offsetMilliseconds": 500, "durationMilliseconds": 1000,
                 "text": "Hello there.", "locale": "en-US", "confidence": 0.9, "words": [
        {"text": "Hello", "offsetMilliseconds": 500, "durationMilliseconds": 400},
        {"text": "there.", "offsetMilliseconds": 900, "durationMilliseconds": 600}]}],
}  # fmt: skip
AZURE_SDK = {"RecognitionStatus": "Success", "Offset": 5000000, "Duration": 10000000,
             "DisplayText": "Hello there.", "NBest": [{"Confidence": 0.9, "Display": "Hello there.",
             "Words": [{"Word": "hello", "Offset": 5000000, "Duration": 4000000},
                       {"Word": "there", "Offset": 9000000, "Duration": 6000000}]}]}  # fmt: skip


def _aws(content: str, start: str | None, end: str | None, kind: str = "pronunciation") -> object:
    item: dict[str, object] = {
        "type": kind,
        "alternatives": [{"confidence": "0.9", "content": content}],
        "speaker_label": "spk_0",
    }
    return item if start is None else item | {"start_time": start, "end_time": end}


AWS = {"jobName": "x", "results": {
    "transcripts": [{"transcript": "Hello there."}],
    "items": [_aws("Hello", "0.5", "0.9"), _aws("there", "0.9", "1.5"),
              _aws(".", None, None, "punctuation")]}}  # fmt: skip
SPEECHMATICS = {"format": "2.7", "results": [
    {"type": "word", "start_time": 0.5, "end_time": 0.9,
     "alternatives": [{"content": "Hello", "confidence": 0.9, "speaker": "S1"}]},
    {"type": "word", "start_time": 0.9, "end_time": 1.5,
     "alternatives": [{"content": "there", "speaker": "S1"}]},
    {"type": "punctuation", "start_time": 1.5, "end_time": 1.5,
     "alternatives": [{"content": ".", "speaker": "S1"}]}]}  # fmt: skip
YOUTUBE = {"wireMagic": "pb3", "events": [
    {"tStartMs": 0, "dDurationMs": 9000, "id": 1},
    {"tStartMs": 500, "dDurationMs": 3000, "segs": [
        {"utf8": "hello"}, {"utf8": " there", "tOffsetMs": 400}]},
    {"tStartMs": 1500, "dDurationMs": 900, "aAppend": 1, "segs": [{"utf8": "\n"}]},
    {"tStartMs": 2000, "dDurationMs": 600, "segs": [{"utf8": "typed line"}]}]}  # fmt: skip
REV = {"monologues": [{"speaker": 0, "elements": [
    {"type": "text", "value": "Hello", "ts": 0.5, "end_ts": 0.9, "confidence": 0.9},
    {"type": "punct", "value": " "},
    {"type": "text", "value": "there", "ts": 0.9, "end_ts": 1.5},
    {"type": "punct", "value": "."}]}]}  # fmt: skip
GLADIA = {"result": {"transcription": {"full_transcript": "x", "utterances": [
    {"start": 0.5, "end": 1.5, "text": "Hello there.", "speaker": 0, "words": [
        {"word": "Hello", "start": 0.5, "end": 0.9}, {"word": " there.", "start": 0.9, "end": 1.5}]}
]}}}  # fmt: skip
OPENAI = {
    "task": "transcribe",
    "language": "english",
    "text": "Hello there",
    "words": [
        {"word": "Hello", "start": 0.5, "end": 0.9},
        {"word": "there", "start": 0.9, "end": 1.5},
    ],
}
PODCAST = {"version": "1.0.0", "segments": [
    {"speaker": "A", "startTime": 0.5, "endTime": 1.5, "body": "Hello there."}]}  # fmt: skip

HELLO: Row = (0.5, 1.5, None, "Hello there.")


def by(speaker: str | None, text: str = "Hello there.") -> list[Row]:
    return [(0.5, 1.5, speaker, text)]


FILES: list[tuple[str, object, str, list[Row], list[float]]] = [
    ("clova", CLOVA, "in milliseconds",
     [(0.5, 1.5, "A", "안녕 하세요"), (2.0, 2.6, "2", "네")], [0.5, 0.9]),
    ("rtzr", RTZR, "in milliseconds",
     [(0.5, 1.5, "0", "안녕 하세요"), (2.0, 2.6, "1", "네")], []),
    ("assemblyai", ASSEMBLYAI, "in milliseconds", by("A", "hello there"), [0.5, 0.9]),
    ("assemblyai", ASSEMBLYAI | {"utterances": None}, "in milliseconds",
     by("A", "hello there"), [0.5, 0.9]),
    ("deepgram", DEEPGRAM, "in seconds", by("0"), [0.5, 0.9]),
    ("deepgram", {"results": {"channels": DEEPGRAM["results"]["channels"]}},  # type: ignore[index]
     "in seconds", by("0"), [0.5, 0.9]),
    ("google", GOOGLE, "in seconds",
     [(0.0, 0.9, "1", "hello"), (0.9, 1.5, "2", "there")], [0.0, 0.9]),
    ("google", {"response": GOOGLE_PLAIN}, "in seconds",
     [(0.0, 1.6, None, "hello there"), (1.6, 3.1, None, "good bye")], []),
    ("daglo", DAGLO, "in seconds", by(None, "안녕 하세요"), [0.5, 0.9]),
    ("azure", AZURE, "in ticks of 100 ns", by("1"), [0.5, 0.9]),
    ("azure", AZURE_FAST, "in milliseconds", by("1"), [0.5, 0.9]),
    ("azure", AZURE_SDK, "in ticks of 100 ns", by(None), [0.5, 0.9]),
    ("aws", AWS, "in seconds", by("spk_0"), [0.5, 0.9]),
    ("speechmatics", SPEECHMATICS, "in seconds", by("S1"), [0.5, 0.9]),
    ("youtube", YOUTUBE, "in milliseconds",
     [(0.5, 2.0, None, "hello there"), (2.0, 2.6, None, "typed line")], [0.5, 0.9]),
    ("revai", REV, "in seconds", by("0"), [0.5, 0.9]),
    ("gladia", GLADIA, "in seconds", by("0"), [0.5, 0.9]),
    ("whisper", OPENAI, "", by(None, "Hello there"), [0.5, 0.9]),
    ("whisper", PODCAST, "", by("A"), []),
]  # fmt: skip


@pytest.mark.parametrize(
    "events",
    [
        [{"tStartMs": 0, "dDurationMs": 9000, "id": 1}],
        [{"tStartMs": 0, "dDurationMs": 900, "segs": []}],
    ],
)
def test_captions_without_a_word_are_refused(tmp_path: Path, events: list[object]) -> None:
    with pytest.raises(InputError, match="json"):
        read(tmp_path, {"wireMagic": "pb3", "events": events})


def read(tmp_path: Path, value: object) -> Transcript:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return read_transcript(path)


@pytest.mark.parametrize(("source", "value", "unit", "rows", "starts"), FILES)
def test_files_of_services(
    tmp_path: Path, source: str, value: object, unit: str, rows: list[Row], starts: list[float]
) -> None:
    found = read(tmp_path, value)
    assert found.source == source
    got = [
        (round(u.interval.start_s, 3), round(u.interval.end_s, 3), u.speaker, u.text)
        for u in found.utterances
    ]
    assert got == rows
    words = [w for u in found.utterances for w in u.words if not w.estimated]
    assert [round(w.interval.start_s, 3) for w in words] == starts
    told = [note for note in found.reading if note.code == "service_layout"]
    assert [unit in note.text.en for note in told] == [True] * bool(unit)
    assert {note.code for note in found.reading} <= {"service_layout"}


@pytest.mark.parametrize(("source", "value"), [(row[0], row[1]) for row in FILES])
def test_any_value_of_any_type_in_them(tmp_path: Path, source: str, value: object) -> None:
    """Every value in turn becomes something else: read or refused in one line, never a crash."""
    text = json.dumps(value)
    places = list(_places(json.loads(text)))
    for number, place in enumerate(places):
        odd: tuple[object, ...] = (None, float("nan"), "x", [], {}, 10**400, True)
        changed = json.loads(text)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = odd[number % len(odd)]
        with contextlib.suppress(InputError):
            found = read(tmp_path, changed)
            assert all(u.text and u.interval.duration_s > 0 for u in found.utterances)


def _places(value: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    pairs = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    return [found for key, inner in pairs for found in ((*at, key), *_places(inner, (*at, key)))]


def test_an_unknown_layout_is_named_by_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, {"blocks": [{"t0": 1, "t1": 2, "said": "x"}], "engine": "y"})
    assert "it holds: blocks, engine" in caught.value.text.en
    assert "SRT나 WebVTT" in caught.value.text.ko
