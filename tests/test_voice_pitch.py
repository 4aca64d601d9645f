"""Pitch: known frequencies, the fast way against the plain one, voice quality."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from development.voice_tracks import f0_track
from make_voice import RATE, chunked, noise, pulses, silence, talk
from nunbit.core.streams import AudioChunk, Interval, VoiceStream
from nunbit.recording.voice.level import CENTRE, HOP, iter_blocks, voice_times
from nunbit.recording.voice.pitch import (
    WIDE_RANGE_HZ,
    Candidates,
    PitchSettings,
    PitchTracker,
    find_candidates,
    find_path,
    half_window,
    personal_range,
)
from nunbit.recording.voice.quality import read_quality, voice_quality


@pytest.mark.parametrize("f0_hz", [70.0, 120.0, 210.0, 333.3, 450.0])
def test_pulse_trains(f0_hz: float) -> None:
    f0, f0_range = f0_track(pulses(f0_hz, 2.0))
    assert f0_range is not None
    assert f0_range[0] == pytest.approx(0.75 * f0_hz, rel=0.01)
    assert np.isfinite(f0[10:-10]).all()
    assert f0[10:-10] == pytest.approx(f0_hz, rel=0.005)


def test_pulse_train_in_noise() -> None:
    x = pulses(120.0, 2.0)
    f0, _ = f0_track(x + noise(2.0, float(np.std(x)) / 10))
    assert np.nanmedian(f0) == pytest.approx(120, rel=0.005)
    assert np.isfinite(f0[10:-10]).mean() > 0.99


def test_glide() -> None:
    t = np.arange(2 * RATE) / RATE
    phase = 2 * math.pi * (100 * t + 25 * t**2)  # 100 to 200 Hz
    x = sum(np.cos(h * phase) / h for h in range(1, 20)).astype(np.float32) * 0.1
    f0, _ = f0_track(x)
    want = 100 + 50 * voice_times(len(f0))
    assert np.abs(12 * np.log2(f0 / want))[10:-10].max() < 0.1


@pytest.mark.parametrize("name", ["silence", "noise", "offset", "one sample", "empty"])
def test_what_has_no_pitch(name: str) -> None:
    x = {
        "silence": silence(1.0),
        "noise": noise(2.0, 0.1),
        "offset": silence(1.0) + np.float32(0.3),
        "one sample": silence(1 / RATE),
        "empty": silence(0),
    }[name]
    f0, f0_range = f0_track(x)
    assert np.isfinite(f0).mean() < 0.05 if len(f0) else f0_range is None


def test_polarity_gain_and_shift_leave_the_pitch_alone() -> None:
    x = talk(1.5)
    f0, f0_range = f0_track(x)
    for other in (-x, x * np.float32(0.01), x + np.float32(0.2)):
        same, same_range = f0_track(other)
        assert same_range == pytest.approx(f0_range, rel=0.01)
        assert np.nanmedian(np.abs(12 * np.log2(same / f0))) < 0.01
    later, _ = f0_track(np.concatenate([silence(0.5), x]), f0_range)
    first, _ = f0_track(x, f0_range)
    assert later[53 : 50 + len(f0) - 3] == pytest.approx(first[3:-3], rel=1e-3, nan_ok=True)


def test_candidates_against_the_plain_autocorrelation() -> None:
    x = talk(1.0)
    block = next(iter_blocks([AudioChunk(0.0, x)]))
    half = half_window(WIDE_RANGE_HZ)
    k = int(np.flatnonzero(np.isfinite(f0_track(x)[0]))[8])
    begin = block.margin - half + k * HOP
    frame = block.samples[begin : begin + 2 * half]
    found = find_candidates(frame[None], WIDE_RANGE_HZ)
    size = 2 * half
    window = 0.5 - 0.5 * np.cos(2 * math.pi * (np.arange(size) + 0.5) / size)
    y = (frame - frame.mean()) * window

    def plain(lag: int) -> float:
        def r(v: np.ndarray) -> float:
            return float(np.dot(v[: size - lag], v[lag:]) / np.dot(v, v))

        return r(y) / r(window)

    low, high = RATE // 500, RATE // 60
    curve = np.array([plain(lag) for lag in range(low - 1, high + 2)])
    inner = curve[1:-1]
    tops = np.flatnonzero((inner > curve[:-2]) & (inner >= curve[2:]) & (inner > 0.225)) + low
    lags = np.sort(RATE / found.f0_hz[0][np.isfinite(found.f0_hz[0])])
    assert len(lags) == min(len(tops), 7)
    for lag in lags:
        assert np.abs(tops - lag).min() < 1
    strongest = found.strength[0].max()
    assert strongest == pytest.approx(curve.max(), abs=0.02)


def test_path_against_trying_all_paths() -> None:
    rng = np.random.default_rng(3)
    settings = PitchSettings(n_candidates=2)
    for _ in range(20):
        f0 = rng.uniform(60, 500, (6, 2))
        f0[rng.random((6, 2)) < 0.3] = np.nan
        strength = np.where(np.isfinite(f0), rng.uniform(0.2, 1.0, (6, 2)), 0)
        loud = rng.choice([0.0, 0.01, 1.0], 6)
        got = find_path(Candidates(f0, strength), loud, WIDE_RANGE_HZ, settings)
        states = [[(math.nan, 0.0), *zip(f0[t], strength[t], strict=True)] for t in range(6)]
        best = max(
            (path for path in itertools.product(*states) if _possible(path, f0)),
            key=lambda path: _worth(path, loud, settings),
        )
        assert np.array_equal(got, [f for f, _ in best], equal_nan=True)


def _possible(path: tuple[tuple[float, float], ...], f0: np.ndarray) -> bool:
    # A candidate that is not there looks like the unvoiced state; count that only once.
    return all(math.isfinite(f) or s == 0.0 for f, s in path)


def _worth(
    path: tuple[tuple[float, float], ...], loud: np.ndarray, settings: PitchSettings
) -> float:
    total, before = 0.0, None
    limit = settings.silence_threshold / (1 + settings.voicing_threshold)
    for (f, s), volume in zip(path, loud, strict=True):
        if math.isnan(f):
            total += settings.voicing_threshold + max(0.0, 2 - volume / limit)
        else:
            total += s - settings.octave_cost * math.log2(WIDE_RANGE_HZ[1] / f)
        if before is not None:
            if math.isnan(f) != math.isnan(before):
                total -= settings.voicing_cost
            elif not math.isnan(f):
                total -= settings.octave_jump_cost * abs(math.log2(f / before))
        before = f
    return total


@pytest.mark.parametrize(
    ("setting", "value", "want"),
    [
        ("voicing_threshold", 0.9, math.nan),
        ("silence_threshold", 0.5, math.nan),
        ("octave_cost", 0.2, 200.0),
        ("octave_jump_cost", 0.0, 100.0),
        ("voicing_cost", 0.0, 100.0),
    ],
)
def test_every_setting_of_the_path_has_its_effect(setting: str, value: float, want: float) -> None:
    """A frame of weak 100 Hz, or 200 Hz by a hair less, between two of 200 Hz."""
    f0 = np.array([[200.0, np.nan], [100.0, 200.0], [200.0, np.nan]])
    strength = np.array([[0.8, 0.0], [0.62, 0.5], [0.8, 0.0]])
    if setting == "voicing_cost":  # the neighbours are unvoiced
        strength[[0, 2]] = 0.3
    if setting == "octave_cost":  # all frames alike
        f0[:], strength[:] = (100.0, 200.0), (0.95, 0.9)
    loud = np.full(3, 0.3)
    plain = find_path(Candidates(f0, strength), loud, WIDE_RANGE_HZ)[1]
    assert not np.array_equal(plain, want, equal_nan=True)
    settings = PitchSettings(**{setting: value})
    got = find_path(Candidates(f0, strength), loud, WIDE_RANGE_HZ, settings)[1]
    assert np.array_equal(got, want, equal_nan=True)


def test_tracker_splits_runs_and_leaves_unwanted_frames_out() -> None:
    tracker = PitchTracker(WIDE_RANGE_HZ)
    got: dict[int, float] = {}
    for block in iter_blocks([AudioChunk(0.0, np.tile(pulses(150.0, 2.0), 20))]):
        wanted = (np.arange(block.first, block.first + block.n) // 500) % 4 != 1
        for frames, f0 in tracker.add(block, wanted, np.ones(block.n)):
            got.update(zip(range(frames.start, frames.stop), f0.tolist(), strict=True))
    for frames, f0 in tracker.flush():
        got.update(zip(range(frames.start, frames.stop), f0.tolist(), strict=True))
    assert sorted(got) == [k for k in range(4000) if (k // 500) % 4 != 1]
    assert np.nanmedian(list(got.values())) == pytest.approx(150, rel=1e-3)


@pytest.mark.parametrize(
    ("f0_hz", "want"),
    [
        (np.full(100, 200.0), (150.0, 300.0)),
        (np.full(5, 200.0), WIDE_RANGE_HZ),
        (np.full(100, np.nan), None),
        (np.zeros(0), None),
    ],
)
def test_personal_range(f0_hz: np.ndarray, want: tuple[float, float] | None) -> None:
    assert personal_range(f0_hz) == want


# Praat 6.1.38 (parselmouth 0.4.7) on the same signals: 0.0091, 0.0190, 0.0096, 0.0202.
@pytest.mark.parametrize(
    ("f0_hz", "sigma", "praat"),
    [(120.0, 0.01, 0.0091), (120.0, 0.02, 0.0190), (210.0, 0.01, 0.0096), (210.0, 0.02, 0.0202)],
)
def test_jitter(f0_hz: float, sigma: float, praat: float) -> None:
    x = pulses(f0_hz, jitter=sigma)
    f0, f0_range = f0_track(x)
    assert f0_range is not None
    found = voice_quality(x, f0, f0_range)
    assert found.jitter_local == pytest.approx(praat, rel=0.1)
    assert found.n_periods > 0.9 * 4.8 * f0_hz


def test_shimmer_and_a_steady_voice() -> None:
    steady, shaky = (pulses(120.0, shimmer=sigma) for sigma in (0.0, 0.05))
    f0, f0_range = f0_track(steady)
    assert f0_range is not None
    found = voice_quality(steady, f0, f0_range)
    assert found.jitter_local < 0.001
    assert found.shimmer_local_db < 0.02
    assert found.hnr_db > 35
    found = voice_quality(shaky, *_tracked(shaky))
    assert found.shimmer_local_db == pytest.approx(0.465, abs=0.05)  # Praat: 0.465


def _tracked(x: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    f0, f0_range = f0_track(x)
    assert f0_range is not None
    return f0, f0_range


def test_harmonicity_of_a_known_mixture() -> None:
    """Tone and noise at 20 and 10 dB: the ratio is what was mixed."""
    t = np.arange(3 * RATE) / RATE
    x = sum(np.cos(2 * math.pi * 150 * h * t) for h in range(1, 50)).astype(np.float32)
    x *= np.float32(0.1 / np.std(x))
    for snr in (20.0, 10.0):
        y = x + noise(3.0, 0.1 * 10 ** (-snr / 20))
        assert voice_quality(y, *_tracked(y)).hnr_db == pytest.approx(snr, abs=0.7)


def test_quality_by_interval_does_not_depend_on_the_chunks() -> None:
    x = np.concatenate(
        [
            pulses(120.0, jitter=0.01)[: 3 * RATE],
            silence(1.0),
            np.tile(pulses(140.0, 2.0), 2)[: 3 * RATE],
        ]
    )
    f0, f0_range = _tracked(x)
    voice = VoiceStream(
        times_s=(np.arange(len(f0)) * HOP + CENTRE) / RATE,
        present=np.ones(len(f0), bool),
        speech=np.isfinite(f0),
        f0_hz=f0,
        level_dbfs=np.zeros(len(f0), np.float32),
        segments=(),
        f0_range_hz=f0_range,
    )
    wanted = [Interval(0, 3), Interval(3.1, 3.9), Interval(4, 7), Interval(0, 7)]
    whole = read_quality(lambda: [AudioChunk(0.0, x)], voice, wanted)
    parts = read_quality(lambda: chunked(x, [1111, 16_000]), voice, wanted)
    assert repr(whole) == repr(parts)
    rough, none, steady, all_of_it = whole
    assert rough.jitter_local == pytest.approx(0.0091, rel=0.15)
    assert steady.jitter_local < 0.001
    assert steady.jitter_local < all_of_it.jitter_local < rough.jitter_local
    assert none.n_periods == 0
    assert math.isnan(none.jitter_local)
    assert math.isnan(none.shimmer_local_db)
    assert math.isnan(none.hnr_db)
