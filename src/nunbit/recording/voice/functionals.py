"""Functionals that describe how something is said, for the voice tower: arrays in, arrays out.

Sound becomes 40 log-mel bands on the 10 ms grid of :class:`nunbit.core.streams.VoiceStream`; bands,
pitch and level of one stretch of speech become F functionals; functionals are standardised per
person, so that they describe how the person speaks now compared with how the person usually speaks.
Knows nothing of files, models or windows. T frames, N stretches, F functionals.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from nunbit.core.spans import lengths, runs
from nunbit.core.streams import AUDIO_RATE_HZ, Flags, Floats, Ints, Singles
from nunbit.core.timebase import MIN_SPEECH_S

FEATURE_FORMAT = "nunbit-voice-functionals-1"
"""Changes whenever the same sound would give other numbers."""

FRAME = 400
"""Samples of a frame: 25 ms."""

N_MELS = 40
MEL_RANGE_HZ = (60.0, 7600.0)
N_CEPSTRA = 20

_FRAMES_PER_S = 100
_POWER_FLOOR = 1e-10  # below the rounding noise of 16 bit
SILENT_MEL = float(np.log(_POWER_FLOOR))
"""A band of digital silence."""

_DELTA = 4  # frames to each side: a slope over 90 ms
_FEW = 3  # frames or runs that a statistic needs
_MODULATION_HZ = (0.5, 2.0, 4.0, 8.0, 16.0)
_N_FFT = 512


@dataclass(frozen=True, eq=False, slots=True)
class Speech:
    """One stretch of sound on the 10 ms grid.

    Attributes:
        mel: (T, 40) natural log of band power, see :func:`log_mel`.
        f0_hz: (T,) NaN where unvoiced.
        level_dbfs: (T,) NaN where absent.
        speech: (T,) whether the person analysed speaks there.
    """

    mel: Singles
    f0_hz: Singles
    level_dbfs: Singles
    speech: Flags


def log_mel(frames: Singles) -> Singles:
    """Log power in 40 triangular bands, equally wide on O'Shaughnessy's mel scale.

    Args:
        frames: (T, 400) samples at 16 kHz, full scale 1, centred on the frames of the grid.

    Returns:
        (T, 40) float32; a gain of the sound adds the same number everywhere.
    """
    window, filters = _analysis()
    spectrum = np.abs(np.fft.rfft(frames * window, _N_FFT)) ** 2
    return np.asarray(np.log(spectrum.astype(np.float32) @ filters + _POWER_FLOOR))


def describe(speech: Speech) -> Singles:
    """The functionals of one stretch.

    Returns:
        (F,) float32 in the order of :func:`functional_names`; all NaN with less than a second of
        speech, single NaN where a functional has nothing to say (no voiced frame, for example).
    """
    names = functional_names()
    own = speech.speech & np.isfinite(speech.level_dbfs)
    if np.count_nonzero(own) < MIN_SPEECH_S * _FRAMES_PER_S:
        return np.full(len(names), np.nan, np.float32)
    found = _functionals(speech, own)
    return np.array([found[name] for name in names], np.float32)


@lru_cache(maxsize=1)
def functional_names() -> tuple[str, ...]:
    """The F names, in order."""
    time = np.arange(3 * _FRAMES_PER_S)
    wave = np.sin(time / 7.0)
    probe = Speech(
        mel=np.tile(wave[:, None], (1, N_MELS)).astype(np.float32),
        f0_hz=np.where(time % 50 < 30, 150 + 10 * wave, np.nan).astype(np.float32),
        level_dbfs=(wave - 30).astype(np.float32),
        speech=np.ones(len(time), bool),
    )
    return tuple(_functionals(probe, probe.speech))


def standardise_persons(
    rows: ArrayLike, persons: Ints, spread: ArrayLike, *, trust: float = math.inf
) -> Singles:
    """Each person's rows less the person's mean, over the usual spread.

    The usual spread comes from acted emotions. Dividing by the person's own spread would make the
    small changes of an even speaker look large.

    Args:
        rows: (N, F), NaN where unknown.
        persons: (N,) who speaks, codes from 0.
        spread: (F,) usual standard deviation within a person.
        trust: How many rows ``spread`` counts as beside the person's own; 0 takes only the own.

    Returns:
        (N, F) float32 within ±5; what is unknown is 0, the person's own mean. Rows without any
        number stay NaN.
    """
    values, usual = np.asarray(rows, np.float64), np.asarray(spread, np.float64)
    unknown = ~np.isfinite(values)
    out = np.zeros_like(values)
    for person in np.unique(persons):
        own = persons == person
        known = ~unknown[own]
        n = np.maximum(known.sum(axis=0), 1)
        filled = np.where(known, values[own], 0.0)
        centred = np.where(known, filled - filled.sum(axis=0) / n, 0.0)
        variance = usual**2
        if math.isfinite(trust):
            variance = (np.square(centred).sum(axis=0) + trust * variance) / (n + trust)
        out[own] = centred / np.maximum(np.sqrt(variance), 1e-6)
    out = np.clip(out, -5.0, 5.0)
    out[unknown.all(axis=1)] = np.nan
    return out.astype(np.float32)


@lru_cache(maxsize=1)
def _analysis() -> tuple[Singles, Singles]:
    """Hann window (400,) and mel filters (257, 40)."""
    window = 0.5 - 0.5 * np.cos(2 * math.pi * (np.arange(FRAME) + 0.5) / FRAME)
    low, high = (2595 * math.log10(1 + f / 700) for f in MEL_RANGE_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, N_MELS + 2) / 2595) - 1)
    hertz = np.arange(_N_FFT // 2 + 1)[:, None] * (AUDIO_RATE_HZ / _N_FFT)
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return window.astype(np.float32), filters.astype(np.float32)


@lru_cache(maxsize=1)
def _cosines() -> Singles:
    """(40, 20) orthonormal type-II DCT: bands to cepstra."""
    k, n = np.arange(N_CEPSTRA)[None, :], np.arange(N_MELS)[:, None]
    basis = np.sqrt(2 / N_MELS) * np.cos(math.pi * k * (n + 0.5) / N_MELS)
    basis[:, 0] /= math.sqrt(2)
    return np.asarray(basis, np.float32)


def _functionals(speech: Speech, own: Flags) -> dict[str, float]:
    mel = speech.mel.astype(np.float64)
    voiced = own & np.isfinite(speech.f0_hz)
    cepstra = mel @ _cosines()
    shape = np.column_stack([*_shapes(mel)])
    level = speech.level_dbfs.astype(np.float64)
    return {
        **_spread_of("cepstrum", cepstra[own]),
        **_spread_of("change", _slope(cepstra)[own][:, :13], means=False),
        **_spread_of("shape", shape[own]),
        **_spread_of("voiced", np.column_stack([cepstra[:, :13], shape])[voiced]),
        **_band_means(mel, own),
        **_pitch(speech.f0_hz.astype(np.float64), voiced),
        **_loudness(level, own),
        **_rhythm(own, voiced),
        **_modulation(level, cepstra, own),
    }


def _shapes(mel: Floats) -> tuple[Floats, ...]:
    """Tilt, the balances of eGeMAPS on mel bands, flux; each (T,)."""
    power = np.exp(mel)
    centre = np.arange(N_MELS) - (N_MELS - 1) / 2
    tilt = mel @ centre / np.square(centre).sum()
    # Bands 0-12 reach 1 kHz, 13-27 lie in 1-3.3 kHz, 0-19 reach 2 kHz, 20-33 lie in 2-5 kHz.
    alpha = np.log(power[:, 1:13].sum(axis=1) / power[:, 13:34].sum(axis=1))
    hammarberg = mel[:, :20].max(axis=1) - mel[:, 20:34].max(axis=1)
    share = power / power.sum(axis=1, keepdims=True)
    centroid = share @ np.arange(N_MELS)
    width = np.sqrt(share @ np.square(np.arange(N_MELS)) - np.square(centroid))
    flux = np.linalg.norm(np.diff(mel, axis=0, prepend=mel[:1]), axis=1)
    return tilt, alpha, hammarberg, centroid, width, flux


def _spread_of(name: str, values: Floats, *, means: bool = True) -> dict[str, float]:
    """Mean, standard deviation, 10th, 50th and 90th percentile of each column."""
    n = values.shape[1]
    if len(values) < _FEW:
        rows = np.full((5, n), np.nan)
    else:
        order = np.percentile(values, (10, 50, 90), axis=0)
        rows = np.vstack([values.mean(axis=0), values.std(axis=0), order])
    return {
        f"{name}_{i}_{part}": float(value)
        for part, row in zip(("mean", "std", "p10", "p50", "p90"), rows, strict=True)
        if means or part not in ("mean", "p50")
        for i, value in enumerate(row)
    }


def _band_means(mel: Floats, own: Flags) -> dict[str, float]:
    """Bands about their frame's mean: the long-term spectrum without the level."""
    relative = mel[own] - mel[own].mean(axis=1, keepdims=True)
    return {f"band_{i}_mean": float(v) for i, v in enumerate(relative.mean(axis=0))}


def _slope(values: Floats) -> Floats:
    """Least-squares slope over 2 x 4 + 1 frames, per second; edges repeat the last frame."""
    steps = np.arange(-_DELTA, _DELTA + 1)
    padded = np.pad(values, ((_DELTA, _DELTA), *[(0, 0)] * (values.ndim - 1)), mode="edge")
    total = sum(s * padded[_DELTA + s : _DELTA + s + len(values)] for s in steps)
    return np.asarray(total / np.square(steps).sum() * _FRAMES_PER_S)


def _pitch(f0_hz: Floats, voiced: Flags) -> dict[str, float]:
    """Pitch in semitones: place, spread, slopes, trend, and how thirds of the stretch differ."""
    names = ("mean", "std", "p5", "p20", "p50", "p80", "p95", "range", "skew",
             "change", "rise", "fall", "trend", "last_less_first")  # fmt: skip
    if np.count_nonzero(voiced) < 10:
        return {f"pitch_{name}": math.nan for name in names}
    semitones = 12 * np.log2(np.where(voiced, f0_hz, 1.0) / 27.5)
    values, at = semitones[voiced], np.flatnonzero(voiced)
    mean, std = values.mean(), values.std()
    p5, p20, p50, p80, p95 = np.percentile(values, (5, 20, 50, 80, 95))
    steps = np.diff(semitones)[voiced[1:] & voiced[:-1]] * _FRAMES_PER_S
    steps = steps[np.abs(steps) < 300]  # an octave jump is an error of the pitch, no glide
    third = max(1, len(values) // 3)
    skew = ((values - mean) ** 3).mean() / max(std, 1e-3) ** 3
    return dict(
        zip(
            (f"pitch_{name}" for name in names),
            (mean, std, p5, p20, p50, p80, p95, p80 - p20, skew,
             _mean(np.abs(steps)), _mean(steps[steps > 0]), _mean(steps[steps < 0]),
             _trend(at, values), values[-third:].mean() - values[:third].mean()),
            strict=True,
        )
    )  # fmt: skip


def _loudness(level: Floats, own: Flags) -> dict[str, float]:
    """Level in decibels: place, spread, speed, peaks, trend."""
    values, at = level[own], np.flatnonzero(own)
    p5, p20, p50, p80, p95 = np.percentile(values, (5, 20, 50, 80, 95))
    slope = _slope(np.where(own, level, p20))[own]
    smooth = np.convolve(np.where(own, level, p5), np.ones(7) / 7, mode="same")
    top = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:]) & (smooth[1:-1] > p50)
    third = max(1, len(values) // 3)
    return {
        "level_mean": float(values.mean()),
        "level_power": 10 * math.log10(np.mean(10 ** (values / 10))),
        "level_std": float(values.std()),
        "level_p20": float(p20),
        "level_p50": float(p50),
        "level_p80": float(p80),
        "level_p95": float(p95),
        "level_range": float(p80 - p20),
        "level_rise": _mean(slope[slope > 0]),
        "level_fall": _mean(slope[slope < 0]),
        "level_peaks": float(np.count_nonzero(top) / len(values) * _FRAMES_PER_S),
        "level_trend": _trend(at, values),
        "level_last_less_first": float(values[-third:].mean() - values[:third].mean()),
    }


def _rhythm(own: Flags, voiced: Flags) -> dict[str, float]:
    """Lengths of voiced and unvoiced runs and of pauses between the first and last speech."""
    at = np.flatnonzero(own)
    inside = slice(int(at[0]), int(at[-1]) + 1)
    n_own = np.count_nonzero(own)
    on, off = _run_lengths(voiced[inside]), _run_lengths(~voiced[inside] & own[inside])
    return {
        "voiced_share": np.count_nonzero(voiced) / n_own,
        "voiced_runs": len(on) / n_own * _FRAMES_PER_S,
        "voiced_run_mean": _mean(on),
        "voiced_run_std": float(on.std()) if len(on) >= _FEW else math.nan,
        "unvoiced_run_mean": _mean(off),
        "unvoiced_run_std": float(off.std()) if len(off) >= _FEW else math.nan,
        "pause_share": float(_run_lengths(~own[inside]).sum()) / (inside.stop - inside.start),
        "speech_s": n_own / _FRAMES_PER_S,
    }


def _modulation(level: Floats, cepstra: Floats, own: Flags) -> dict[str, float]:
    """Share of slow and fast movement of level and the first cepstra, log power per octave band."""
    at = np.flatnonzero(own)
    inside = slice(int(at[0]), int(at[-1]) + 1)
    floor = np.percentile(level[own], 5)
    curves = {
        "level": np.maximum(np.where(own, level, floor), floor)[inside],
        **{f"cepstrum_{i}": cepstra[inside, i] for i in (1, 2, 3)},
    }
    hertz = np.fft.rfftfreq(inside.stop - inside.start, 1 / _FRAMES_PER_S)
    powers = {
        name: np.square(np.abs(np.fft.rfft((x - x.mean()) * np.hanning(len(x))))) / len(x)
        for name, x in curves.items()
    }
    return {
        f"modulation_{name}_{low:g}": float(
            np.log(power[(hertz >= low) & (hertz < high)].sum() + 1e-6)
        )
        for name, power in powers.items()
        for low, high in itertools.pairwise(_MODULATION_HZ)
    }


def _run_lengths(flags: Flags) -> Floats:
    """Lengths of the stretches of True, frames."""
    return lengths(runs(flags)).astype(np.float64)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _trend(at: Ints, values: Floats) -> float:
    """Least-squares slope per second."""
    centred = (at - at.mean()) / _FRAMES_PER_S
    return float(centred @ values / max(float(np.square(centred).sum()), 1e-9))
