"""A scripted recording through the shipped reader, detector and model: what the script said.

The tolerances are those of the measures against their oracles: F0 median 1%, |dF0| 0.1 semitone,
gross errors 2%, level 0.05 dB, pauses 30 ms, offset of sound and picture 40 ms.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av")

from make_truth import read_truth
from nunbit.core.streams import Interval
from nunbit.pictures.face_mesh import landmarks_missing
from nunbit.runtime.files import read_json
from nunbit.stories.analyze import analyze
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.synth.script import load_script
from nunbit.synth.truth import VideoTruth, VoiceTruth
from nunbit.synth.video import render_video, truth_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

OFFSET_S = 0.2
SCRIPT = f"""
duration_s = 14.0
width = 256
height = 192
fps = 25
person = 94
voice = "formant"
level_dbfs = -22.0
noise_dbfs = -60.0
audio_codec = "flac"
audio_offset_s = {OFFSET_S}
voice_keys = [
  {{ at_s = 6.0, f0_st = 0.0, level_db = 0.0 }},
  {{ at_s = 6.5, f0_st = 4.0, level_db = 6.0 }},
]
sayings = [
  {{ start_s = 0.6, text = "오늘은 아침에 일찍 [0.4] 일어나서 공원을 [0.3] 걸었어요" }},
  {{ start_s = 7.0, text = "그래서 친구에게 [0.5] 전화를 했더니 [1.2] 반가워했어요" }},
]
dropouts = [
  {{ start_s = 5.2, end_s = 6.4, kind = "face" }},
  {{ start_s = 12.8, end_s = 13.4, kind = "sound" }},
]
"""


@dataclass(frozen=True)
class Analysed:
    """Truth, and the folder that analyze wrote."""

    truth: VideoTruth
    folder: Path

    @property
    def voice(self) -> VoiceTruth:
        assert self.truth.voice is not None
        return self.truth.voice

    def stream(self) -> dict[str, Any]:
        """Columns of voice.parquet, as many frames as the truth has."""
        table = pq.read_table(self.folder / "voice.parquet").to_pydict()
        return {k: np.array(v, float)[: len(self.voice.times_s)] for k, v in table.items()}

    def session(self, measure: str) -> float:
        rows = pq.read_table(self.folder / "timeline.parquet").to_pylist()
        (row,) = [r for r in rows if r["measure"] == measure and r["scope"] == "session"]
        return float(row["value"])


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    folder = tmp_path_factory.mktemp("scripted")
    (folder / "script.toml").write_text(SCRIPT, encoding="utf-8")
    clip = folder / "clip.mkv"
    render_video(clip, load_script(folder / "script.toml"))
    settings = AnalyzeSettings(
        transcript=str(clip.with_suffix(".srt")), single_speaker=True, workers=1
    )
    analyze([clip], folder / "out", settings)
    return Analysed(read_truth(truth_path(clip)), folder / "out" / "clip")


def runs(flags: Any) -> list[tuple[float, float]]:
    """Stretches of frames of 10 ms, in seconds."""
    edges = np.flatnonzero(np.diff(flags.astype(int), prepend=0, append=0))
    return [(a / 100, b / 100) for a, b in edges.reshape(-1, 2).tolist()]


def test_pitch(analysed: Analysed) -> None:
    truth, found = analysed.voice.f0_hz, analysed.stream()["f0_hz"]
    assert truth is not None
    both = np.isfinite(truth) & np.isfinite(found)
    assert both.sum() > 0.95 * np.isfinite(truth).sum()
    apart = np.abs(12 * np.log2(found[both] / truth[both]))
    assert np.median(apart) <= 0.1
    assert np.mean(apart > 12 * np.log2(1.2)) <= 0.02
    assert np.nanmedian(found) == pytest.approx(np.nanmedian(truth), rel=0.01)
    assert analysed.session("f0_median") == pytest.approx(np.nanmedian(truth), rel=0.01)
    semitones = 12 * np.log2(truth[np.isfinite(truth)] / 27.5)
    assert analysed.session("f0_sd_st") == pytest.approx(semitones.std(), rel=0.05)


def test_level(analysed: Analysed) -> None:
    voice, found = analysed.voice, analysed.stream()["level_dbfs"]
    both = voice.speech & np.isfinite(found) & np.isfinite(voice.level_dbfs)
    apart = np.abs(found - voice.level_dbfs)[both]
    assert np.percentile(apart, 95) <= 0.05
    energy = 10 * np.log10(np.mean(10 ** (voice.level_dbfs[both] / 10)))
    # The edges of speech differ by some frames, which are soft.
    assert analysed.session("level_mean") == pytest.approx(energy, abs=0.2)


def test_pauses(analysed: Analysed) -> None:
    speech = runs(analysed.stream()["speech"] > 0)
    found = [(a[1], b[0]) for a, b in itertools.pairwise(speech)]
    truth = [(p.start_s, p.end_s) for p in analysed.voice.pauses]
    assert len(found) == len(truth)
    assert np.array(found) == pytest.approx(np.array(truth), abs=0.03)
    lengths = np.array([b - a for a, b in truth])
    assert (lengths >= 0.25).all()
    assert len(lengths) == 5  # the fewest that the measures take
    assert analysed.session("pause_mean") == pytest.approx(lengths.mean(), abs=0.03)
    assert analysed.session("pause_sd") == pytest.approx(lengths.std(), abs=0.03)


def test_dropouts_are_states_and_not_values(analysed: Analysed) -> None:
    dropouts = dict(analysed.truth.dropouts)
    gap = dropouts["sound"]
    stream = analysed.stream()
    absent = runs(stream["present"] == 0)
    # Sound begins and ends with the stream.
    (found,) = [run for run in absent if run[0] > 1 and run[1] < 13.9]
    assert found == pytest.approx((gap.start_s, gap.end_s), abs=0.011)
    inside = (stream["time"] > gap.start_s + 0.02) & (stream["time"] < gap.end_s - 0.02)
    assert np.isnan(stream["level_dbfs"][inside]).all()
    states = read_json(analysed.folder / "summary.json")["states"]
    gone = [Interval(s["start"], s["end"]) for s in states if s["kind"] == "no_face"]
    away = dropouts["face"]
    assert sum(g.overlap_s(away) for g in gone) == pytest.approx(away.duration_s, abs=0.15)
    seen = pq.read_table(analysed.folder / "frames.parquet")["time"].to_numpy()  # faces only
    assert len(seen) > 100
    assert not ((seen >= away.start_s) & (seen < away.end_s)).any()


def test_offset_of_sound_and_picture(analysed: Analysed) -> None:
    if landmarks_missing() is not None:
        pytest.skip("the landmark model is not installed")
    sync = read_json(analysed.folder / "summary.json")["sync"]
    assert sync["offset_s"] == pytest.approx(OFFSET_S, abs=0.04)
    assert sync["warning"]
