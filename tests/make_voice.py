"""Sound of known pitch, level and pauses that a speech detector takes for speech."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from nunbit.core.streams import AUDIO_RATE_HZ as RATE
from nunbit.core.streams import AudioChunk, Singles, VoiceStream
from nunbit.recording.voice.voice_reader import VoiceReader

VOWELS = ((750, 1250, 2600), (300, 2250, 3000), (350, 800, 2500), (480, 1900, 2600))


def noise(duration_s: float, rms: float, seed: int = 0) -> Singles:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=round(duration_s * RATE)) * rms).astype(np.float32)


def silence(duration_s: float) -> Singles:
    return np.zeros(round(duration_s * RATE), np.float32)


@lru_cache(maxsize=32)
def pulses(
    f0_hz: float, duration_s: float = 5.0, *, jitter: float = 0.0, shimmer: float = 0.0
) -> Singles:
    """A train of pulses through three resonances, made at 16 times the rate."""
    rng = np.random.default_rng(0)
    fine = 16 * RATE
    x = np.zeros(round(fine * duration_s), np.float32)
    at = 0.05
    while at < duration_s - 0.05:
        x[int(at * fine)] = 1 + shimmer * rng.normal()
        at += (1 + jitter * rng.normal()) / f0_hz
    hz = np.fft.rfftfreq(len(x), 1 / fine)
    gain = 1 / (1 + (hz / 100) ** 2) * (hz < 7800) + 0j
    for centre, width in ((700, 80), (1220, 100), (2600, 160)):
        pole = complex(-math.pi * width, 2 * math.pi * centre)
        s = 2j * math.pi * hz
        gain *= abs(pole) ** 2 / ((s - pole) * (s - pole.conjugate()))
    y = np.fft.irfft(np.fft.rfft(x) * gain, len(x))[::16]
    return (y / np.abs(y).max() * 0.5).astype(np.float32)


@lru_cache(maxsize=64)
def talk(duration_s: float, f0_hz: float = 130.0, seed: int = 0) -> Singles:
    """Syllables of changing vowel and gliding pitch with a hiss between them, no pauses."""
    rng = np.random.default_rng(seed)
    parts: list[Singles] = []
    while sum(len(part) for part in parts) < duration_s * RATE:
        n = int(RATE * rng.uniform(0.12, 0.22))
        f0 = f0_hz * (1 + 0.15 * np.sin(np.linspace(0, 2, n) + rng.uniform(0, 6)))
        phase = 2 * math.pi * np.cumsum(f0) / RATE
        formants = VOWELS[rng.integers(len(VOWELS))]
        x = np.zeros(n)
        for h in range(1, int(7600 / f0.max())):
            at = h * f0_hz
            resonance = [
                1 / math.hypot(1 - (at / f) ** 2, at * 90 / f**2) for f in formants
            ]  # fmt: skip
            x += np.cos(h * phase) * math.prod(resonance) / h
        shape = np.sqrt(np.sin(np.linspace(0.05, math.pi - 0.05, n)))
        parts.append((x / np.abs(x).max() * shape * 0.4).astype(np.float32))
        hiss = rng.normal(size=int(RATE * rng.uniform(0.03, 0.07))) * 0.08
        parts.append(np.diff(hiss, prepend=0.0).astype(np.float32))
    return np.concatenate(parts)[: round(duration_s * RATE)]


def chunked(samples: Singles, sizes: list[int], start_s: float = 0.0) -> list[AudioChunk]:
    """The samples cut at the sizes, over and over."""
    chunks, at, k = [], 0, 0
    while at < len(samples):
        size = sizes[k % len(sizes)]
        chunks.append(AudioChunk(start_s + at / RATE, samples[at : at + size]))
        at, k = at + size, k + 1
    return chunks


def read(chunks: list[AudioChunk], duration_s: float) -> VoiceStream:
    reader = VoiceReader()
    for chunk in chunks:
        reader.add(chunk)
    return reader.finish(lambda: chunks, duration_s)
