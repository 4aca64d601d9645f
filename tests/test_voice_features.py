"""Functionals of speech: known truth, gain, gaps, and how windows are cut from a stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from development.voice_data import usual_spread
from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import AudioChunk, Interval, VoiceStream
from nunbit.measures.class_probabilities import describe_windows, own_speech
from nunbit.recording.voice.functionals import (
    FRAME,
    MEL_RANGE_HZ,
    N_MELS,
    SILENT_MEL,
    Speech,
    describe,
    functional_names,
    log_mel,
    standardise_persons,
)
from nunbit.recording.voice.level import iter_blocks
from nunbit.recording.voice.pitch import cut_frames

NAMES = functional_names()


def sine(hertz: float, seconds: float, gain: float = 0.1) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype("f4")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.05 * np.random.default_rng(seed).normal(size=int(seconds * RATE))).astype("f4")


def bands(sound: np.ndarray) -> np.ndarray:
    blocks = iter_blocks([AudioChunk(0.0, sound)])
    return np.concatenate([log_mel(cut_frames(block, FRAME // 2)) for block in blocks])


def speech_of(sound: np.ndarray, f0: float = 120.0) -> Speech:
    mel = bands(sound)
    time = np.arange(len(mel))
    pitch = np.where(time % 40 < 25, f0 * 2 ** (np.sin(time / 9) / 12), np.nan)
    level = -30 + 5 * np.sin(time / 6)
    return Speech(mel, pitch.astype("f4"), level.astype("f4"), np.ones(len(mel), bool))


def value(row: np.ndarray, name: str) -> float:
    return float(row[NAMES.index(name)])


@pytest.mark.parametrize("hertz", [150.0, 1000.0, 4000.0])
def test_a_tone_is_loudest_in_its_band(hertz: float) -> None:
    low, high = (2595 * np.log10(1 + f / 700) for f in MEL_RANGE_HZ)
    place = (2595 * np.log10(1 + hertz / 700) - low) / (high - low) * (N_MELS + 1) - 1
    best = bands(sine(hertz, 0.5))[20].argmax()
    assert abs(best - place) <= 1


def test_a_gain_adds_one_number_and_digital_silence_is_the_floor() -> None:
    quiet, loud = bands(noise(0.3)), bands(10 * noise(0.3))
    assert np.allclose(loud - quiet, np.log(100), atol=1e-2)
    assert np.allclose(bands(np.zeros(RATE, np.float32)), SILENT_MEL)


def test_bands_against_the_sum_over_the_spectrum() -> None:
    frame = noise(0.025)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(FRAME) + 0.5) / FRAME)
    power = np.abs(np.fft.fft(np.pad(frame * window, (0, 512 - FRAME)))) ** 2
    low, high = (2595 * np.log10(1 + f / 700) for f in MEL_RANGE_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, N_MELS + 2) / 2595) - 1)
    for band in (0, 17, 39):
        a, b, c = edges[band : band + 3]
        total = 0.0
        for k in range(257):
            f = k * RATE / 512
            total += power[k] * max(0.0, min((f - a) / (b - a), (c - f) / (c - b)))
        assert np.isclose(log_mel(frame[None])[0, band], np.log(total + 1e-10), atol=1e-4)


def test_names_are_distinct_and_no_row_depends_on_what_is_not_speech() -> None:
    assert len(set(NAMES)) == len(NAMES) > 300
    speech = speech_of(noise(4.0))
    own = np.zeros(len(speech.mel), bool)
    own[50:300] = True
    first = describe(Speech(speech.mel, speech.f0_hz, speech.level_dbfs, own))
    changed = speech.mel.copy()
    changed[320:] += 7.0
    second = describe(Speech(changed, speech.f0_hz, speech.level_dbfs, own))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_pitch_and_level_move_the_functionals_that_name_them() -> None:
    speech = speech_of(noise(3.0))
    up = Speech(speech.mel, 2 * speech.f0_hz, speech.level_dbfs + 6, speech.speech)
    before, after = describe(speech), describe(up)
    assert value(after, "pitch_mean") - value(before, "pitch_mean") == pytest.approx(12, abs=1e-3)
    assert value(after, "pitch_std") == pytest.approx(value(before, "pitch_std"), rel=1e-4)
    assert value(after, "level_p50") - value(before, "level_p50") == pytest.approx(6, abs=1e-3)
    assert value(after, "level_std") == pytest.approx(value(before, "level_std"), rel=1e-4)
    assert value(before, "voiced_share") == pytest.approx(195 / 300)
    assert value(before, "speech_s") == pytest.approx(3.0)
    assert value(before, "modulation_level_2") > value(before, "modulation_level_8")


def test_little_speech_is_missing_and_no_voice_leaves_pitch_open() -> None:
    speech = speech_of(noise(3.0))
    short = speech.speech & (np.arange(len(speech.speech)) < 99)
    few = Speech(speech.mel, speech.f0_hz, speech.level_dbfs, short)
    assert np.isnan(describe(few)).all()
    whisper = Speech(
        speech.mel, np.full_like(speech.f0_hz, np.nan), speech.level_dbfs, speech.speech
    )
    row = describe(whisper)
    assert np.isnan(value(row, "pitch_mean"))
    assert np.isfinite(value(row, "level_mean"))


def test_standardising_takes_the_person_away_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    persons = np.repeat([0, 1], 200)
    state = generator.normal(size=(400, 3))
    rows = state * [1, 5, 0.1] + np.array([[0, 10, 3], [100, -40, 2]])[persons]
    rows[7, 1] = np.nan
    rows[9] = np.nan
    spread = usual_spread(rows, persons)
    assert np.allclose(spread, [1, 5, 0.1], rtol=0.1)
    out = standardise_persons(rows, persons, spread, trust=0)
    assert np.isnan(out[9]).all()
    assert out[7, 1] == 0
    heard = np.arange(400) != 9
    for person in (0, 1):
        own = out[heard & (persons == person)]
        assert np.allclose(own.mean(axis=0), 0, atol=0.02)
        assert np.allclose(own.std(axis=0), 1, atol=0.02)
    fixed = standardise_persons(rows, persons, 2 * spread)
    assert np.nanstd(fixed[:, 0]) == pytest.approx(0.5, abs=0.05)
    between = standardise_persons(rows, persons, 2 * spread, trust=200)
    assert 0.5 < np.nanstd(between[:, 0]) < 1


def test_windows_from_a_stream_are_those_of_the_whole() -> None:
    sound = noise(12.0)
    n = 1200
    time = np.arange(n)
    voice = VoiceStream(
        times_s=(time + 0.5) / 100,
        present=np.ones(n, bool),
        speech=time % 300 < 260,
        f0_hz=np.where(time % 40 < 25, 150.0, np.nan).astype("f4"),
        level_dbfs=(-30 + 5 * np.sin(time / 6)).astype("f4"),
        segments=(Interval(0.0, 12.0),),
    )
    windows = [Interval(float(s), min(s + 4.0, 12.0)) for s in range(11)]
    speech = own_speech(voice, [Interval(0.0, 9.0)])
    assert not speech[900:].any()
    whole = bands(sound)

    def replay() -> Iterator[AudioChunk]:
        for start in range(0, len(sound), 5000):
            yield AudioChunk(start / RATE, sound[start : start + 5000])

    rows = describe_windows(replay, windows, voice, speech)
    for row, window in zip(rows, windows, strict=True):
        a, b = int(window.start_s * 100), int(window.end_s * 100)
        expected = describe(
            Speech(whole[a:b], voice.f0_hz[a:b], voice.level_dbfs[a:b], speech[a:b])
        )
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)
    assert np.isnan(rows[9:]).all()


def test_a_gap_and_a_late_end_keep_the_windows_in_place() -> None:
    n = 1000
    time = np.arange(n)
    gone = (time >= 400) & (time < 600)
    voice = VoiceStream(
        times_s=(time + 0.5) / 100,
        present=~gone & (time < 900),
        speech=~gone & (time < 900),
        f0_hz=np.full(n, 120, "f4"),
        level_dbfs=np.where(gone | (time >= 900), np.nan, -20 + np.sin(time)).astype("f4"),
        segments=(Interval(0.0, 4.0), Interval(6.0, 9.0)),
    )
    before, after = noise(4.0, 1), noise(3.0, 2)
    chunks = [AudioChunk(0.0, before), AudioChunk(6.0, after)]
    windows = [Interval(0.0, 4.0), Interval(4.0, 6.0), Interval(6.0, 10.0)]
    rows = describe_windows(lambda: chunks, windows, voice, voice.speech)
    assert np.isfinite(rows[[0, 2]]).any(axis=1).all()
    assert np.isnan(rows[1]).all()
    expected = describe(
        Speech(bands(after), voice.f0_hz[600:900], voice.level_dbfs[600:900], voice.speech[600:900])
    )
    name = NAMES.index("band_5_mean")
    assert rows[2, name] == pytest.approx(expected[name], rel=1e-4)
