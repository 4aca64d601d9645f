"""Phones to a waveform: glottal pulses at exact times, each ringing in the formants.

Each pulse starts one damped sinusoid per formant (formant-wave functions: Rodet 1984, Computer
Music Journal 8(3)), evaluated at the pulse's own fraction of a sample. So the pitch is exactly the
contour that was asked for, without jitter or rounding to samples. Knows nothing of scripts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunbit.streams import Floats, Singles
from nunbit.synth.phones import Phone

_BANDWIDTHS_HZ = (120.0, 75.0, 95.0, 140.0, 260.0)  # of the voice's base and four formants
_ATTACK_S = (0.003, 0.0012, 0.0008, 0.0006, 0.0005)
_FOURTH_HZ = 3500.0
_DECAYED = 5.5  # time constants after which a formant has rung out: 0.4%
_RAMP_S = 0.012  # of voicing at its edges


@dataclass(frozen=True, slots=True)
class VoicedRun:
    """A stretch in which the folds swing without a break.

    Attributes:
        start_s: First pulse.
        end_s: End of the stretch.
    """

    start_s: float
    end_s: float


def voiced_runs(phones: Sequence[Phone]) -> list[tuple[VoicedRun, list[Phone]]]:
    """Consecutive voiced phones, joined."""
    runs: list[list[Phone]] = []
    before: Phone | None = None
    for phone in phones:
        if phone.voiced:
            if before is not None and before.voiced:
                runs[-1].append(phone)
            else:
                runs.append([phone])
        before = phone
    return [(VoicedRun(run[0].start_s, run[-1].end_s), run) for run in runs]


def pulse_times(run: VoicedRun, f0_hz: Callable[[Floats], Floats]) -> Floats:
    """Times of the pulses whose rate is the contour: where its integral is a whole number."""
    count = max(2, math.ceil((run.end_s - run.start_s) * 2000.0) + 1)
    grid = np.linspace(run.start_s, run.end_s, count)
    rate = f0_hz(grid)
    step = (run.end_s - run.start_s) / (count - 1)
    phase = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * step)])
    whole = np.arange(0.0, math.floor(phase[-1]) + 1.0)
    times: Floats = np.interp(whole, phase, grid)
    return times


def voice_phones(
    phones: Sequence[Phone],
    f0_hz: Callable[[Floats], Floats],
    tract: float,
    out: Singles,
    rate_hz: int,
) -> None:
    """Add the voiced sounds to ``out``.

    Args:
        phones: Of one phrase.
        f0_hz: Contour.
        tract: Factor of all formants: 1 for a long vocal tract, 1.17 for a short one.
        out: (n,) samples from time 0; changed.
        rate_hz: Of ``out``.
    """
    for run, members in voiced_runs(phones):
        times = pulse_times(run, f0_hz)
        targets, levels = _targets(members, times)
        ramp = np.minimum(times - run.start_s, run.end_s - times) / _RAMP_S
        levels = levels * np.sin(0.5 * math.pi * np.clip(ramp, 0.15, 1.0)) ** 2
        base = f0_hz(times)
        fourth = np.full(len(times), _FOURTH_HZ * tract)
        hertz = np.column_stack([base, targets * tract, fourth])  # (P, 5)
        _ring(times, hertz, levels, run.end_s, out, rate_hz)


def noise_phones(
    phones: Sequence[Phone], rng: np.random.Generator, out: Singles, rate_hz: int
) -> None:
    """Add bursts, friction and breath to ``out``; all energy lies below 7.5 kHz."""
    for phone in phones:
        if phone.kind != "noise":
            continue
        first, last = round(phone.start_s * rate_hz), round(phone.end_s * rate_hz)
        n = min(last, len(out)) - first
        if n < 8:
            continue
        # Drawn at one rate whatever the file's: the same words sound alike in every container.
        white = rng.standard_normal(max(16, round((last - first) / rate_hz * 16_000)))
        hertz = np.fft.rfftfreq(len(white), 1 / 16_000)
        width = 0.3 * phone.hz + 250.0
        shape = np.exp(-0.5 * ((hertz - phone.hz) / width) ** 2) * (hertz < 7500)
        noise = resample(np.fft.irfft(np.fft.rfft(white) * shape, len(white)), n)
        noise *= phone.level * 0.6 / max(float(np.sqrt(np.mean(noise**2))), 1e-9)
        edge = np.minimum(np.arange(n), np.arange(n)[::-1]) / max(1.0, 0.2 * n)
        out[first : first + n] += noise * np.minimum(edge, 1.0)


def resample(samples: Floats, count: int) -> Floats:
    """The same band-limited periodic signal with another number of samples."""
    spectrum = np.fft.rfft(samples)
    stretched: Floats = np.fft.irfft(spectrum, count) * (count / len(samples))
    return stretched


def _targets(members: Sequence[Phone], times: Floats) -> tuple[Floats, Floats]:
    """Formants (P, 3) and amplitudes (P,) at the pulses, gliding between the phones."""
    at, formants, level_at, level = [], [], [], []
    for phone in members:
        length = phone.end_s - phone.start_s
        for k, target in enumerate(phone.formants):
            place = (k + 0.5) / len(phone.formants)
            at.append(phone.start_s + length * (0.5 if len(phone.formants) == 1 else place))
            formants.append(target)
        # A syllable swells and fades; that is what opens and closes the mouth.
        low = phone.level * (0.45 if phone.kind == "vowel" else 1.0)
        level_at += [phone.start_s + 0.08 * length, phone.start_s + 0.4 * length,
                     phone.end_s - 0.08 * length]  # fmt: skip
        level += [low, phone.level, low]
    table = np.array(formants)
    glide = np.column_stack([np.interp(times, at, table[:, k]) for k in range(3)])
    return glide, np.interp(times, level_at, level)


def _ring(
    times: Floats, hertz: Floats, levels: Floats, end_s: float, out: Singles, rate_hz: int
) -> None:
    """Add what each pulse starts: (P,) times, (P, 5) frequencies, (P,) amplitudes."""
    first = np.ceil(times * rate_hz).astype(np.int64)
    early = (first / rate_hz - times).astype(np.float32)  # how long after the pulse
    # Nothing sounds past the end of the voicing by more than a few milliseconds.
    stop = min(len(out), math.ceil((end_s + 0.004) * rate_hz))
    weight = levels[:, None] * np.column_stack(
        [np.full(len(times), 0.55), (500.0 / hertz[:, 1:]) ** 0.85]
    )
    for k, (bandwidth, attack) in enumerate(zip(_BANDWIDTHS_HZ, _ATTACK_S, strict=True)):
        n = math.ceil(_DECAYED / (math.pi * bandwidth) * rate_hz)
        t = early[:, None] + np.arange(n, dtype=np.float32) / np.float32(rate_hz)  # (P, n)
        grain = np.exp(t * np.float32(-math.pi * bandwidth))
        grain *= np.sin(t * (2.0 * math.pi * hertz[:, k, None]).astype(np.float32))
        rise = t < attack
        grain[rise] *= 0.5 - 0.5 * np.cos(t[rise] * np.float32(math.pi / attack))
        grain *= weight[:, k, None].astype(np.float32)
        _overlap_add(grain, first, stop, out)


def _overlap_add(grain: Singles, first: NDArray[np.int64], stop: int, out: Singles) -> None:
    n = grain.shape[1]
    for row, start in zip(grain, first.tolist(), strict=True):
        if start + n <= stop:
            out[start : start + n] += row
        elif start < stop:
            out[start:stop] += row[: stop - start]
