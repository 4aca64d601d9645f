"""Odd transcripts through the command line: one message each, and the rest is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av")

from click.testing import CliRunner

from make_media import Sound, write_media
from make_voice import silence, talk
from nunbit.cli import cli
from nunbit.core.messages import InputError
from nunbit.core.streams import AUDIO_RATE_HZ

pytestmark = pytest.mark.slow

Cue = tuple[float, float, str]
SAID: tuple[Cue, ...] = (
    (0.2, 2.0, "음 저는 2024년에 AI를 배웠어요"),
    (2.2, 3.9, "그러니까 3명이 100% 어 좋다고"),
    (4.6, 7.4, "KBS에서 말했습니다"),
)


@dataclass(frozen=True)
class Run:
    """What a command said and wrote."""

    result: Any
    folder: Path

    @property
    def words(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.folder / "words.parquet").to_pylist())

    @property
    def lines(self) -> list[str]:
        """What was said about the recording on stderr."""
        return [x for x in self.result.stderr.splitlines() if x.startswith("talk:")]


def srt(cues: Sequence[Cue]) -> str:
    def clock(seconds: float) -> str:
        return f"00:00:{int(seconds):02d},{round(seconds % 1 * 1000):03d}"

    return "\n".join(
        f"{k}\n{clock(a)} --> {clock(b)}\n{text}\n" for k, (a, b, text) in enumerate(cues, 1)
    )


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sound = np.concatenate([talk(4.0), silence(0.5), talk(3.0, seed=3)])
    path = tmp_path_factory.mktemp("sound") / "talk.wav"
    return write_media(path, sounds=Sound(sound[None], AUDIO_RATE_HZ, codec="pcm_s16le"))


def analyze(media: Path, transcript: bytes | str, folder: Path, lang: str = "en") -> Run:
    data = transcript.encode() if isinstance(transcript, str) else transcript
    (folder / "words.srt").write_bytes(data)
    line = ["analyze", str(media), "--transcript", str(folder / "words.srt"), "--out",
            str(folder / "out"), "--set", "workers=1", "--lang", lang]  # fmt: skip
    return Run(CliRunner().invoke(cli, line), folder / "out" / "talk")


def test_cp949_numbers_letters_fillers_and_estimated_times(media: Path, tmp_path: Path) -> None:
    done = analyze(media, srt(SAID).encode("cp949"), tmp_path)
    assert done.result.exit_code == 0, done.result.output
    assert sum("read as CP949" in line for line in done.lines) == 1
    words = {w["text"]: w for w in done.words}
    # 이천이십사년에, 에이아이를, 세명이, 백퍼센트, 케이비에스에서.
    spoken = {"2024년에": 7, "AI를": 5, "3명이": 3, "100%": 4, "KBS에서": 7}
    assert {text: words[text]["syllables"] for text in spoken} == spoken
    assert [text for text, w in words.items() if w["filler"]] == ["음", "어"]
    # Nowhere is an estimated time passed off as measured: table, message, summary, report.
    assert all(w["estimated"] for w in done.words)
    assert sum("have no time; it was estimated" in line for line in done.lines) == 1
    summary = json.loads((done.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["transcript"]["timed_words_share"] == 0
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert "have no time; it was estimated" in page
    # Fillers are no syllables of the rate.
    (rate,) = [m for m in summary["measures"] if m["measure"] == "speech_rate"]
    syllables = sum(w["syllables"] for w in done.words if not w["filler"])
    assert rate["value"] == pytest.approx(syllables / 7.5, rel=0.05)


def test_overlapping_cues_are_kept(media: Path, tmp_path: Path) -> None:
    cues = [(0.2, 2.8, "첫 번째 말입니다"), (2.2, 3.9, "두 번째 말"), (4.6, 7.0, "세 번째 말")]
    done = analyze(media, srt(cues), tmp_path)
    assert done.result.exit_code == 0, done.result.output
    assert sum("begin before the previous one ends; they are kept" in x for x in done.lines) == 1
    assert len(done.words) == 9
    assert len({w["utterance"] for w in done.words}) == 3


def test_cues_after_the_end_are_left_out_and_the_rest_is_kept(media: Path, tmp_path: Path) -> None:
    done = analyze(media, srt([*SAID[:2], (14.6, 18.0, "여기는 없습니다")]), tmp_path, "ko")
    assert done.result.exit_code == 0, done.result.output
    assert sum("녹화의 끝(7.50초)을 넘는 자막 1개를 제외" in line for line in done.lines) == 1
    assert "여기는" not in {w["text"] for w in done.words}
    assert len(done.words) == 10


def test_lines_of_a_diarisation_that_are_left_out_are_told(media: Path, tmp_path: Path) -> None:
    lines = [(0.1, 3.8, "Lee Sora"), (4.0, 0.0, "Ben"), (4.5, 2.8, "Ben")]
    rttm = tmp_path / "who.rttm"
    rttm.write_text(
        "".join(f"SPEAKER talk 1 {a} {n} <NA> <NA> {who} <NA> <NA>\n" for a, n, who in lines)
    )
    line = ["analyze", str(media), "--speakers", str(rttm), "--out", str(tmp_path / "out"),
            "--set", "workers=1", "--lang", "en"]  # fmt: skip
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("1 line(s) that end before they start, or have no length") == 1
    summary = (tmp_path / "out" / "talk" / "summary.json").read_text(encoding="utf-8")
    told = " ".join(
        note["en"] for notes in json.loads(summary)["reading"].values() for note in notes
    )
    assert "speakers: Lee Sora, Ben" in told


@pytest.mark.parametrize(
    ("transcript", "message"),
    [
        (srt([(a + 40, b + 40, text) for a, b, text in SAID]), "the transcript of another"),
        (b"1\n00:00:00,200 --> 00:00:02,000\ncaf\xe9 \xff\xff\n", "neither UTF-8, UTF-16 nor"),
        ("", "the file is empty"),
    ],
)
def test_transcripts_that_cannot_be_used_are_refused_once(
    media: Path, tmp_path: Path, transcript: bytes | str, message: str
) -> None:
    done = analyze(media, transcript, tmp_path)
    # `main` says the error in one line; nothing was said before.
    assert isinstance(done.result.exception, InputError)
    assert message in done.result.exception.text.en
    assert message not in done.result.stderr
    assert not (done.folder / "summary.json").exists()


def test_the_other_recordings_are_kept(media: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.wav").write_bytes(media.read_bytes())
    (tmp_path / "one.srt").write_text(srt([(70.0, 72.0, "다른 녹화")]), encoding="utf-8")
    (tmp_path / "two.srt").write_text(srt(SAID), encoding="utf-8")
    line = ["analyze", str(tmp_path), "--transcript", str(tmp_path), "--out",
            str(tmp_path / "out"), "--set", "workers=1", "--lang", "en", "--json"]  # fmt: skip
    result = CliRunner().invoke(cli, line)
    assert isinstance(result.exception, InputError)
    assert "1 of 2 recordings could not be analysed" in result.exception.text.en
    assert result.stderr.count("the transcript of another recording") == 1
    sessions = json.loads(result.stdout)["sessions"]
    assert [s["state"] for s in sessions] == ["failed", "done"]
    assert (tmp_path / "out" / "two" / "report.html").is_file()
