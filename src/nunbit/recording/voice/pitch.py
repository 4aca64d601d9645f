"""Fundamental frequency: autocorrelation, candidates and the cheapest path through them.

After P. Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 97-110: the autocorrelation of the
windowed sound over that of the window, its peaks as candidates, and a Viterbi path with costs for
octave jumps and for changes between voiced and unvoiced. Works on blocks of frames; reads nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import runs
from nunbit.core.streams import AUDIO_RATE_HZ, Flags, Floats, Singles
from nunbit.recording.voice.level import HOP, Block

Range = tuple[float, float]

WIDE_RANGE_HZ: Range = (60.0, 500.0)
"""Search range of the first pass."""

PITCH_PERIODS = 3.0
"""Window in periods of the lowest frequency: Boersma's choice for pitch."""

_MIN_VOICED = 20  # fewer voiced frames say nothing of a person's range
_RUN_FRAMES = 3000  # a path is closed after 30 s at the latest, so that memory stays flat
_HALF_SINC = 15  # samples on each side in the interpolation of the autocorrelation


@dataclass(frozen=True, slots=True)
class PitchSettings:
    """Costs and thresholds; the defaults are Boersma's, for a step of 10 ms.

    Attributes:
        voicing_threshold: Autocorrelation below which a frame tends to be unvoiced, 0 to 1.
        silence_threshold: Peak, as a share of the loudest nearby, below which likewise.
        octave_cost: Bonus of a candidate per octave above the lowest frequency.
        octave_jump_cost: Cost of a jump, per octave.
        voicing_cost: Cost of a change between voiced and unvoiced.
        n_candidates: Voiced candidates kept per frame.
    """

    voicing_threshold: float = 0.45
    silence_threshold: float = 0.03
    octave_cost: float = 0.01
    octave_jump_cost: float = 0.35
    voicing_cost: float = 0.14
    n_candidates: int = 7


@dataclass(frozen=True, eq=False, slots=True)
class Candidates:
    """Pitch candidates of T frames, C each.

    Attributes:
        f0_hz: (T, C) NaN where there is no such candidate.
        strength: (T, C) height of the autocorrelation peak, at most 1.
    """

    f0_hz: Floats
    strength: Floats

    @classmethod
    def joined(cls, parts: Iterable[Candidates]) -> Candidates:
        """Those of parts that follow each other, at least one."""
        each = [(part.f0_hz, part.strength) for part in parts]
        return cls(*map(np.concatenate, zip(*each, strict=True)))


@dataclass(frozen=True, eq=False, slots=True)
class _Analysis:
    """What depends only on the search range."""

    window: Singles
    window_autocorrelation: Singles  # at lags 0 to max_lag
    n_fft: int
    min_lag: int
    max_lag: int


@lru_cache(maxsize=8)
def _analysis(f0_range_hz: Range, periods: float) -> _Analysis:
    low, high = f0_range_hz
    size = 2 * round(periods / 2 * AUDIO_RATE_HZ / low)
    window = 0.5 - 0.5 * np.cos(2 * math.pi * (np.arange(size) + 0.5) / size)
    # Peaks beyond the range are needed to tell its edge from a peak, and by the interpolation.
    max_lag = min(math.ceil(AUDIO_RATE_HZ / low) + _HALF_SINC + 2, size - 1)
    n_fft = _next_fast(size + max_lag)
    spectrum = np.abs(np.fft.rfft(window, n_fft)) ** 2
    own = np.fft.irfft(spectrum, n_fft)[: max_lag + 1]
    own = own / own[0]
    min_lag = max(2, math.floor(AUDIO_RATE_HZ / high))
    return _Analysis(window.astype(np.float32), own.astype(np.float32), n_fft, min_lag, max_lag)


def _next_fast(n: int) -> int:
    """The next even length without prime factors above 5: fast to transform."""
    # Such a length divides a high power of 2 * 3 * 5, and no other does.
    return next(m for m in itertools.count(n + n % 2, 2) if pow(30, m.bit_length(), m) == 0)


def half_window(f0_range_hz: Range, periods: float = PITCH_PERIODS) -> int:
    """Samples that a frame needs on each side of its centre."""
    return len(_analysis(f0_range_hz, periods).window) // 2


def cut_frames(block: Block, half: int) -> Singles:
    """(n, 2 * half) the samples around each centre, as a view."""
    views = np.lib.stride_tricks.sliding_window_view(block.samples, 2 * half)
    return np.asarray(views[block.margin - half :: HOP][: block.n])


def find_candidates(
    frames: Singles,
    f0_range_hz: Range,
    settings: PitchSettings | None = None,
    periods: float = PITCH_PERIODS,
) -> Candidates:
    """Peaks of the normalised autocorrelation.

    Args:
        frames: (T, 2 * half_window) samples around each frame's centre.
        f0_range_hz: Lowest and highest frequency looked for.
        settings: None takes the defaults.
        periods: Length of the window in periods of the lowest frequency.

    Returns:
        The strongest peaks within the range, none for silence.
    """
    settings = settings or PitchSettings()
    plan = _analysis(f0_range_hz, periods)
    frames = (frames - frames.mean(axis=1, keepdims=True)) * plan.window
    spectrum = np.fft.rfft(frames, plan.n_fft, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    sums = np.fft.irfft(power, plan.n_fft, axis=1)[:, : plan.max_lag + 1]
    energy = sums[:, :1]
    scaled = sums / np.where(energy > 0, energy, 1) / plan.window_autocorrelation
    r: Singles = scaled.astype(np.float32, copy=False)
    rows, lags = _peaks(r, plan.min_lag, settings.voicing_threshold / 2)
    lag, height = _interpolate(r, rows, lags)
    # White noise and other wideband sound can exceed 1 by the normalisation; Boersma's mirror.
    height = np.where(height > 1, 1 / height, height)
    f0 = AUDIO_RATE_HZ / lag
    inside = (f0 >= f0_range_hz[0]) & (f0 <= f0_range_hz[1])
    return _strongest(len(frames), rows[inside], f0[inside], height[inside], settings)


def _peaks(r: Singles, min_lag: int, least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and lags of the local maxima above ``least``."""
    stop = r.shape[1] - _HALF_SINC
    mid = r[:, min_lag:stop]
    before, after = r[:, min_lag - 1 : stop - 1], r[:, min_lag + 1 : stop + 1]
    rows, columns = np.nonzero((mid > least) & (mid > before) & (mid >= after))
    return rows, columns + min_lag


def _interpolate(
    r: Singles, rows: NDArray[np.intp], lags: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Place and height of the peaks between the samples.

    A parabola through three samples is too low and a little off where the peak is narrow (high
    voices with energy at high frequencies), so the band-limited curve is evaluated around it and
    the parabola laid through that.
    """
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    # The autocorrelation is even: lags below zero are those above.
    taps = np.arange(-_HALF_SINC, _HALF_SINC + 1)
    near = r[rows[:, None], np.abs(lags[:, None] + taps)].astype(np.float64)  # (P, taps)
    left, mid, right = near[:, _HALF_SINC - 1], near[:, _HALF_SINC], near[:, _HALF_SINC + 1]
    shift = _vertex(left, mid, right)
    step = 0.2
    move = step * _vertex(*(_sinc(near, taps, shift + d) for d in (-step, 0.0, step)))
    place = np.clip(shift + np.clip(move, -step, step), -1, 1)
    return lags + place, np.asarray(_sinc(near, taps, place))


def _vertex(left: Floats, mid: Floats, right: Floats) -> Floats:
    """Where the parabola through three points one apart has its top, from the middle one."""
    bend = 2 * mid - left - right
    top: Floats = 0.5 * (right - left) / np.where(bend > 1e-12, bend, 1.0)
    return np.clip(np.where(bend > 1e-12, top, 0.0), -1, 1)


def _sinc(near: Floats, taps: NDArray[np.intp], shift: Floats) -> Floats:
    """The band-limited curve through ``near`` (P, taps) at ``shift`` (P,) from the middle."""
    distance = shift[:, None] - taps
    weights = np.sinc(distance) * (0.5 + 0.5 * np.cos(math.pi * distance / (_HALF_SINC + 1.5)))
    return np.asarray((near * weights).sum(axis=1))


def _strongest(
    n: int, rows: NDArray[np.intp], f0: Floats, height: Floats, settings: PitchSettings
) -> Candidates:
    """The best candidates of each row, after the bonus for high ones."""
    score = height + settings.octave_cost * np.log2(f0)
    order = np.lexsort((-score, rows))
    rows = rows[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = rank < settings.n_candidates
    found = Candidates(
        np.full((n, settings.n_candidates), np.nan), np.zeros((n, settings.n_candidates))
    )
    found.f0_hz[rows[kept], rank[kept]] = f0[order][kept]
    found.strength[rows[kept], rank[kept]] = height[order][kept]
    return found


def find_path(
    candidates: Candidates,
    loudness: Floats,
    f0_range_hz: Range,
    settings: PitchSettings | None = None,
) -> Floats:
    """The cheapest path through the candidates.

    Args:
        candidates: Of T frames.
        loudness: (T,) peak of each frame as a share of the loudest nearby, 0 to 1.
        f0_range_hz: Lowest and highest frequency looked for.
        settings: None takes the defaults.

    Returns:
        (T,) Hz, NaN where unvoiced.
    """
    settings = settings or PitchSettings()
    t = len(loudness)
    if not t:
        return np.zeros(0)
    f0 = np.concatenate([np.full((t, 1), np.nan), candidates.f0_hz], axis=1)  # 0 = unvoiced
    octaves = np.log2(f0)  # NaN stays NaN
    voiced = np.isfinite(octaves)
    limit = settings.silence_threshold / (1 + settings.voicing_threshold)
    local = np.where(
        voiced[:, 1:],
        candidates.strength - settings.octave_cost * (math.log2(f0_range_hz[1]) - octaves[:, 1:]),
        -np.inf,
    )
    unvoiced = settings.voicing_threshold + np.maximum(0.0, 2 - loudness / limit)
    local = np.concatenate([unvoiced[:, None], local], axis=1)
    height = np.where(voiced, octaves, 0.0)
    cost = settings.octave_jump_cost * np.abs(height[1:, :, None] - height[:-1, None, :])
    both = voiced[1:, :, None] & voiced[:-1, None, :]
    change = settings.voicing_cost * (voiced[1:, :, None] != voiced[:-1, None, :])
    cost = np.where(both, cost, change)  # (T - 1, to, from)
    return np.asarray(f0[np.arange(t), _best_states(local, cost)])


def _best_states(local: Floats, cost: Floats) -> NDArray[np.intp]:
    """Viterbi: (T,) the states with the largest sum of ``local`` less ``cost``."""
    t, states = local.shape
    back = np.empty((t, states), np.intp)
    score = local[0]
    every = np.arange(states)
    for k in range(1, t):
        arrivals = score - cost[k - 1]
        back[k] = arrivals.argmax(axis=1)
        score = arrivals[every, back[k]] + local[k]
    path = np.empty(t, np.intp)
    path[-1] = score.argmax()
    for k in range(t - 1, 0, -1):
        path[k - 1] = back[k, path[k]]
    return path


class PitchTracker:
    """Tracks the pitch through blocks; yields results when a run of wanted frames ends.

    Args:
        f0_range_hz: Lowest and highest frequency looked for.
        settings: None takes the defaults.
    """

    def __init__(self, f0_range_hz: Range, settings: PitchSettings | None = None) -> None:
        self.f0_range_hz, self._settings = f0_range_hz, settings
        self._half = half_window(f0_range_hz)
        self._first = 0
        self._held: list[tuple[Candidates, Floats]] = []
        self._n = 0

    def add(self, block: Block, wanted: Flags, loudness: Floats) -> Iterator[tuple[slice, Floats]]:
        """Take a block.

        Args:
            block: Its margin must hold the window.
            wanted: (n,) frames to look at; the others are unvoiced and end a run.
            loudness: (n,) see :func:`find_path`.

        Yields:
            Frames on the grid and their F0 in Hz.
        """
        for start, stop in runs(wanted).tolist():
            if self._n and self._first + self._n != block.first + start:
                yield from self.flush()
            for begin in range(start, stop, _RUN_FRAMES):
                end = min(begin + _RUN_FRAMES, stop)
                if self._n + end - begin > _RUN_FRAMES:
                    yield from self.flush()
                if not self._n:
                    self._first = block.first + begin
                frames = cut_frames(block, self._half)[begin:end]
                found = find_candidates(frames, self.f0_range_hz, self._settings)
                self._held.append((found, loudness[begin:end]))
                self._n += end - begin

    def flush(self) -> Iterator[tuple[slice, Floats]]:
        """End the run."""
        if self._n:
            found = Candidates.joined(c for c, _ in self._held)
            loudness = np.concatenate([x for _, x in self._held])
            f0 = find_path(found, loudness, self.f0_range_hz, self._settings)
            yield slice(self._first, self._first + self._n), f0
        self._held, self._n = [], 0


def personal_range(f0_hz: Singles | Floats) -> Range | None:
    """Search range of the second pass, from the quartiles of the first.

    Returns:
        0.75 Q1 and 1.5 Q3; the wide range where fewer than 20 frames are voiced; None where none.
    """
    voiced = f0_hz[np.isfinite(f0_hz)]
    if not len(voiced):
        return None
    if len(voiced) < _MIN_VOICED:
        return WIDE_RANGE_HZ
    q1, q3 = np.percentile(voiced.astype(np.float64), (25, 75))
    # Rounded so that equal recordings share the tables of one range.
    return round(float(0.75 * q1), 1), round(float(1.5 * q3), 1)
