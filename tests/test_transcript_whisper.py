"""faster-whisper itself, on a model of known words that is made here: no weights, no network."""

from __future__ import annotations

import json
import logging
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nunbit.core.messages import InputError
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Interval
from nunbit.recording.transcript import load_recogniser
from nunbit.recording.transcript.whisper import EARLY_S

pytestmark = [
    pytest.mark.slow,
    # Of the packages themselves, on being imported.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
    from make_whisper import write_whisper

    return write_whisper(tmp_path_factory.mktemp("whisper") / "model")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("faster-whisper went to the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """The model, to be damaged."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


def sound(start_s: float, seconds: float) -> AudioChunk:
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.normal(size=round(seconds * AUDIO_RATE_HZ))
    return AudioChunk(start_s, samples.astype(np.float32))


def test_words_come_with_times_on_the_media_clock(model: Path) -> None:
    found = load_recogniser("faster-whisper", str(model)).transcribe(
        [sound(3.0, 2.0), sound(100.0, 2.0)]
    )
    assert (found.source, found.language) == ("faster-whisper", "ko")  # as the model finds it
    assert [u.text for u in found.utterances] == ["저는 2024년에 AI를, 음 배웠어요."] * 2
    for utterance, begin in zip(found.utterances, (3.0, 100.0), strict=True):
        words = utterance.words
        assert [w.text for w in words] == ["저는", "2024년에", "AI를,", "음", "배웠어요."]
        # 이천이십사년에 and 에이아이를: numbers and letters are spoken out.
        assert [w.syllables for w in words] == [2, 7, 5, 1, 4]
        assert [w.filler for w in words] == [False, False, False, True, False]
        assert not any(w.estimated for w in words)
        # The model looks for its seven tokens at equal shares of 1.5 s.
        edges = begin + 1.5 / 7 * np.array([0, 1, 3, 5, 6])
        edges[1:] += EARLY_S  # where boundaries between words really are
        starts = [w.interval.start_s for w in words]
        assert starts == pytest.approx(edges, abs=0.05)
        assert utterance.confidence == pytest.approx(1.0, abs=0.01)
        plain = [utterance.interval.start_s, words[0].confidence, words[0].interval.end_s]
        assert {type(value) for value in plain} == {float}  # and not NumPy's


@pytest.mark.parametrize("language", [None, "ko"])
def test_words_in_a_hurry_are_the_same(model: Path, language: str | None) -> None:
    recogniser = load_recogniser("faster-whisper", str(model))
    assert recogniser.swift is not None
    cues, heard_as = recogniser.swift((3.0, sound(3.0, 2.0).samples), language)
    assert heard_as == "ko"
    (cue,) = cues
    assert cue.text == "저는 2024년에 AI를, 음 배웠어요."
    assert (cue.start_s, cue.end_s, cue.doubt, cue.words) == (3.0, 5.0, "", ())
    assert 0.5 < cue.confidence <= 1.0


def test_a_loop_in_a_hurry_ends_and_is_doubted(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
    from make_whisper import write_whisper

    recogniser = load_recogniser(
        "faster-whisper", str(write_whisper(tmp_path, (" 정말", " 그래요"), loops=True))
    )
    assert recogniser.swift is not None
    ((cue,), _) = recogniser.swift((0.0, sound(0.0, 1.0).samples), "ko")
    assert cue.doubt == "invented_text"
    assert len(cue.text.split()) <= 60  # no more than anybody says in a second


def test_words_without_speech_under_them_are_dropped(model: Path) -> None:
    heard = [Interval(3.0, 3.05), Interval(4.8, 4.85)]  # one stretch with its pause
    found = load_recogniser("faster-whisper", str(model)).transcribe(
        [sound(3.0, 2.0)], speech=heard
    )
    assert [w.text for w in found.utterances[0].words] == ["저는", "2024년에", "배웠어요."]
    assert any("2 recognised word(s)" in notice.en for notice in found.notices)


def test_sound_too_short_for_words_gives_none(model: Path) -> None:
    found = load_recogniser("faster-whisper", str(model)).transcribe([sound(0.0, 0.001)])
    assert found.utterances == ()
    assert load_recogniser("faster-whisper", str(model)).transcribe([]).utterances == ()


@pytest.mark.parametrize("language", ["ko", "ko-KR", "KO"])
def test_language_as_people_write_it(model: Path, language: str) -> None:
    found = load_recogniser("faster-whisper", str(model)).transcribe(
        [sound(0.0, 2.0)], language=language
    )
    assert len(found.utterances) == 1


def test_language_the_model_does_not_know(model: Path) -> None:
    with pytest.raises(InputError, match="language 'klingon': this faster-whisper model knows"):
        load_recogniser("faster-whisper", str(model)).transcribe(
            [sound(0.0, 1.0)], language="klingon"
        )


def test_english_only_models_refuse_korean(copy: Path) -> None:
    # The empty token is what tells multilingual models.
    vocabulary = json.loads((copy / "vocabulary.json").read_text(encoding="utf-8"))
    vocabulary[vocabulary.index("")] = "unused"
    (copy / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    recogniser = load_recogniser("faster-whisper", str(copy))
    recogniser.check_language("en")
    with pytest.raises(InputError, match="knows en"):
        recogniser.check_language("ko")


def test_folder_without_tokenizer_is_refused_and_nothing_fetched(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="has no tokenizer.json") as caught:
        load_recogniser("faster-whisper", str(copy))
    assert "tokenizer.json이 없습니다" in caught.value.text.ko


def test_sizes_that_are_not_here_are_not_fetched(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("small", "huge", "somebody/else", str(tmp_path / "none")):
        with pytest.raises(InputError, match="is not on this machine or cannot be loaded"):
            load_recogniser("faster-whisper", name)


def test_damaged_models_are_told_in_one_line(
    model: Path, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    (copy / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_recogniser("faster-whisper", str(copy))
    shutil.copy(model / "tokenizer.json", copy)
    weights = (copy / "model.bin").read_bytes()
    (copy / "model.bin").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_recogniser("faster-whisper", str(copy))


def test_model_converted_without_alignment_heads(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    del config["alignment_heads"]
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    recogniser = load_recogniser("faster-whisper", str(copy))
    with pytest.raises(InputError, match="alignment_heads"):
        recogniser.transcribe([sound(0.0, 2.0)])


def test_analyze_on_the_command_line_recognises_words(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    import pyarrow.parquet as pq
    from click.testing import CliRunner

    from make_media import Sound, write_media
    from make_voice import talk
    from nunbit.cli import cli

    voice = Sound(talk(3.0)[None], rate_hz=AUDIO_RATE_HZ, codec="pcm_s16le")
    media = write_media(tmp_path / "talk.wav", sounds=voice)
    line = ["analyze", str(media), "--out", str(tmp_path / "out"), "--asr", "faster-whisper",
            "--set", "workers=1", "--json", "--lang", "en"]  # fmt: skip
    done = CliRunner().invoke(cli, [*line, "--set", f"asr_model={model}"])
    assert done.exit_code == 0, done.output
    words = pq.read_table(tmp_path / "out" / "talk" / "words.parquet").to_pylist()
    assert [w["text"] for w in words] == ["저는", "2024년에", "AI를,", "음", "배웠어요."]
    assert not any(w["estimated"] for w in words)

    # A model that is not there is told before anything is read.
    monkeypatch.setattr("nunbit.recording.read._observe", None)
    done = CliRunner().invoke(cli, [*line, "--set", f"asr_model={tmp_path}"])
    assert isinstance(done.exception, InputError)
    assert "has no tokenizer.json" in done.exception.text.en
