"""Jitter, shimmer and harmonics-to-noise ratio; experimental and sensitive to the microphone.

Definitions are Praat's. Periods: P. Boersma & D. Weenink, Praat manual, "Sound & Pitch: To
PointProcess (cc)", "PointProcess: Get jitter (local)", "Get shimmer (local_dB)"; harmonicity:
Boersma (1993), see :mod:`nunbit.recording.voice.pitch`. The sound is read once more, because only
10 ms sums of it are kept; one voiced stretch is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nunbit.core.spans import runs
from nunbit.core.streams import (
    AUDIO_RATE_HZ,
    AudioChunk,
    Flags,
    Floats,
    Interval,
    Singles,
    VoiceStream,
)
from nunbit.core.timebase import equal_parts
from nunbit.recording.voice.level import CENTRE, HOP, Block, iter_blocks
from nunbit.recording.voice.pitch import (
    PitchSettings,
    Range,
    cut_frames,
    find_candidates,
    half_window,
)

MIN_PERIODS = 20
"""Fewer periods give no jitter or shimmer, fewer voiced frames no harmonicity."""

_HNR_PERIODS, _HNR_LOWEST_HZ = 4.5, 75.0  # window of the harmonicity, Praat's choice
_LONGEST_PERIOD_S = 0.02
_PERIOD_FACTOR = 1.3  # neighbouring periods that differ more are not compared
_AMPLITUDE_FACTOR = 1.6
_SEARCH = (0.8, 1.25)  # the next pulse, in periods
_LEAST_CORRELATION = 0.3  # below it the moment is passed over without a pulse
_RUN_FRAMES = 1000  # a voiced stretch is cut after 10 s, so that memory stays flat
QUALITY_S = 2.0  # longest stretch whose quality is taken at once
_LARGEST_HNR_DB = 60.0  # beyond this the interpolation is what is measured


@dataclass(frozen=True, slots=True)
class StretchQuality:
    """Voice quality of one interval.

    Attributes:
        interval: Seconds.
        n_periods: Pairs of neighbouring periods that were compared.
        n_frames: Voiced frames that were used for the harmonicity.
        jitter_local: Mean absolute difference of neighbouring periods over the mean period; NaN
            with too few.
        shimmer_local_db: Mean absolute level difference of neighbouring periods; NaN with too few.
        hnr_db: Mean harmonics-to-noise ratio of the voiced frames; NaN with too few.
        clipped: Whether clipping prevented the measurement.
    """

    interval: Interval
    n_periods: int
    n_frames: int
    jitter_local: float
    shimmer_local_db: float
    hnr_db: float
    clipped: bool = False


@dataclass(frozen=True, eq=False)
class VoiceQuality:
    """Voice quality of stretches of speech; experimental.

    Attributes:
        times_s: (V,) centres of the stretches, increasing.
        n_periods: (V,) pairs of periods that jitter and shimmer rest on.
        n_frames: (V,) voiced frames that the harmonicity rests on.
        jitter_local: (V,) mean |T_i - T_i+1| / mean T, NaN where not measurable.
        shimmer_local_db: (V,) mean |20 log10(A_i+1 / A_i)|.
        hnr_db: (V,) 10 log10(r / (1 - r)).
        clipped: (V,) whether clipping prevented the measurement, None if it did nowhere.
    """

    times_s: Floats
    n_periods: Floats
    n_frames: Floats
    jitter_local: Floats
    shimmer_local_db: Floats
    hnr_db: Floats
    clipped: Flags | None = None

    @classmethod
    def of(cls, stretches: Sequence[StretchQuality]) -> VoiceQuality:
        """Gather stretches, in any order."""
        found = sorted(stretches, key=lambda s: s.interval.start_s + s.interval.end_s)
        return cls(
            times_s=np.array([(s.interval.start_s + s.interval.end_s) / 2.0 for s in found]),
            clipped=np.array([s.clipped for s in found], np.bool_),
            **{
                name: np.array([getattr(s, name) for s in found], np.float64)
                for name in ("n_periods", "n_frames", "jitter_local", "shimmer_local_db", "hnr_db")
            },
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Pulses:
    """Moments of closure of the vocal folds.

    Attributes:
        times_s: (P,) increasing.
        amplitude: (P,) RMS around the pulse, NaN at both ends of a stretch.
        first: (P,) True where a new voiced stretch begins.
    """

    times_s: Floats
    amplitude: Floats
    first: Flags


def read_quality(
    replay: Callable[[], Iterable[AudioChunk]],
    voice: VoiceStream,
    intervals: Iterable[Interval],
) -> tuple[StretchQuality, ...]:
    """Voice quality of intervals, which may overlap.

    Args:
        replay: Replays the sound that ``voice`` was read from.
        voice: Speech and pitch of the recording.
        intervals: For example all turns and the whole session.

    Returns:
        One for each interval, in their order.
    """
    wanted = tuple(intervals)
    if voice.f0_range_hz is None or not wanted:
        return tuple(_none(interval) for interval in wanted)
    hnr, pulses = _listen(replay(), voice.f0_hz, voice.f0_range_hz)
    edges = np.array([(each.start_s, each.end_s) for each in wanted], np.float64)
    spoilt = voice.are_clipped(edges[:, 0], edges[:, 1])
    return tuple(
        replace(_none(interval), clipped=True)
        if clipped
        else _summary(interval, voice.times_s, hnr, pulses)
        for interval, clipped in zip(wanted, spoilt.tolist(), strict=True)
    )


def quality_stretches(voice: VoiceStream) -> tuple[Interval, ...]:
    """Stretches of speech of two seconds at most, short enough to belong to a window."""
    return tuple(
        piece
        for segment in voice.segments
        for piece in equal_parts(
            segment, max(1, math.ceil(round(segment.duration_s / QUALITY_S, 6)))
        )
    )


def voice_quality(samples: Singles | Floats, f0_hz: Singles, f0_range_hz: Range) -> StretchQuality:
    """Voice quality of a whole recording that starts at time zero.

    Args:
        samples: (n,) mono at 16 kHz.
        f0_hz: (M,) on the 10 ms grid, NaN where unvoiced.
        f0_range_hz: It was looked for in.
    """
    hnr, pulses = _listen([AudioChunk(0.0, np.asarray(samples, np.float32))], f0_hz, f0_range_hz)
    times = (np.arange(len(f0_hz)) * HOP + CENTRE) / AUDIO_RATE_HZ
    return _summary(Interval(0.0, len(samples) / AUDIO_RATE_HZ), times, hnr, pulses)


def _listen(
    chunks: Iterable[AudioChunk], f0_hz: Singles, f0_range_hz: Range
) -> tuple[Floats, _Pulses]:
    """Harmonicity of each frame, NaN where unvoiced, and the pulses of all voiced stretches."""
    hnr = np.full(len(f0_hz), np.nan)
    finder = _PulseFinder(f0_hz)
    hnr_range = (min(f0_range_hz[0], _HNR_LOWEST_HZ), f0_range_hz[1])
    margin = half_window(hnr_range, _HNR_PERIODS)
    for block in iter_blocks(chunks, margin):
        f0 = f0_hz[block.frames]
        voiced = np.flatnonzero(np.isfinite(f0))
        if len(voiced):
            ratio = _harmonicity(cut_frames(block, margin)[voiced], f0[voiced], hnr_range)
            hnr[block.first + voiced] = ratio
        finder.add(block)
    return hnr, finder.end()


def _harmonicity(frames: Singles, f0: Singles, f0_range_hz: Range) -> Floats:
    """(T,) dB of frames whose pitch is known; NaN where no peak is near it."""
    found = find_candidates(
        frames, f0_range_hz, PitchSettings(voicing_threshold=0.02), _HNR_PERIODS
    )
    apart = np.abs(np.log2(found.f0_hz / f0[:, None]))
    near = np.where(apart < 0.25, found.strength, -np.inf).max(axis=1)
    r = np.where(near > 0, near, np.nan)
    ratio: Floats = 10 * np.log10(r / np.maximum(1 - r, 1e-9))
    return np.clip(ratio, -_LARGEST_HNR_DB, _LARGEST_HNR_DB)


class _PulseFinder:
    """Collects the sound of one voiced stretch after the other and finds its pulses."""

    def __init__(self, f0_hz: Singles) -> None:
        self._f0 = f0_hz.astype(np.float64)
        voiced = (
            (begin, min(begin + _RUN_FRAMES, stop))
            for start, stop in runs(np.isfinite(f0_hz)).tolist()
            for begin in range(start, stop, _RUN_FRAMES)
        )
        self._runs = list(voiced)[::-1]
        self._held: list[Singles] = []
        self._from = 0  # frame of the first sample held
        self._until = 0
        self._found: list[tuple[Floats, Floats]] = []

    def add(self, block: Block) -> None:
        begin = block.margin - CENTRE
        if block.first != self._until:
            self._close()
            self._held, self._from = [], block.first
        self._held.append(block.samples[begin : begin + block.n * HOP])
        self._until = block.first + block.n
        # A stretch that reaches the end of what is held may go on.
        while self._runs and self._runs[-1][1] < self._until:
            self._take(*self._runs.pop())
        self._forget()

    def end(self) -> _Pulses:
        self._close()
        times = [t for t, _ in self._found]
        sizes = [len(t) for t in times]
        first = np.zeros(sum(sizes), bool)
        first[np.cumsum([0, *sizes[:-1]])[: len(sizes)]] = bool(sizes)
        empty = [np.zeros(0)]
        return _Pulses(
            np.concatenate(times or empty),
            np.concatenate([a for _, a in self._found] or empty),
            first,
        )

    def _close(self) -> None:
        while self._runs and self._runs[-1][0] < self._until:
            self._take(*self._runs.pop())

    def _forget(self) -> None:
        start = self._runs[-1][0] if self._runs else self._until
        if start > self._from:
            self._held = [np.concatenate(self._held)[(start - self._from) * HOP :]]
            self._from = min(start, self._until)

    def _take(self, start: int, stop: int) -> None:
        begin, end = max(start, self._from), min(stop, self._until)
        if begin >= end:
            return
        samples = np.concatenate(self._held)[(begin - self._from) * HOP : (end - self._from) * HOP]
        times = find_pulses(samples, self._f0[begin:end])
        if len(times) > 1:
            times_s = times / AUDIO_RATE_HZ + begin * HOP / AUDIO_RATE_HZ
            self._found.append((times_s, _amplitudes(samples, times)))


def find_pulses(samples: Singles, f0_hz: Floats) -> Floats:
    """Pulses of one voiced stretch, from its middle outwards.

    The next pulse is where one period of sound around the last one correlates best with what
    comes 0.8 to 1.25 periods later.

    Args:
        samples: (T * HOP,) of the stretch.
        f0_hz: (T,) finite.

    Returns:
        (P,) places in samples from the start, increasing.
    """
    x = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    middle = len(x) // 2
    half = round(AUDIO_RATE_HZ / f0_hz[middle // HOP] / 2)
    near = np.abs(x[max(0, middle - half) : middle + half])
    start = float(max(0, middle - half) + int(near.argmax()))
    return np.array([*reversed([*_walk(x, f0_hz, start, -1)]), start, *_walk(x, f0_hz, start, 1)])


def _walk(x: Floats, f0_hz: Floats, at: float, direction: int) -> Iterator[float]:
    while True:
        frame = min(max(int(at) // HOP, 0), len(f0_hz) - 1)
        following = _next_pulse(x, at, AUDIO_RATE_HZ / f0_hz[frame], direction)
        if following is None:
            return
        at, correlation = following
        if correlation >= _LEAST_CORRELATION:
            yield at


def _next_pulse(x: Floats, at: float, period: float, direction: int) -> tuple[float, float] | None:
    """Place and height of the best correlation one period on; None at the end of the sound."""
    half = round(period / 2)
    centre = round(at)
    lags = direction * np.arange(
        math.floor(_SEARCH[0] * period), math.ceil(_SEARCH[1] * period) + 1
    )
    low, high = centre - half, centre + half
    first, last = low + int(lags.min()), high + int(lags.max())
    if min(low, first) < 0 or max(high, last) > len(x):
        return None
    template, region = x[low:high], x[first:last]
    products = np.correlate(region, template, "valid")
    squares = np.concatenate([[0.0], np.cumsum(np.square(region))])
    norms = (squares[2 * half :] - squares[: len(products)]) * np.dot(template, template)
    curve = products / np.sqrt(np.maximum(norms, 1e-20))
    best = int(curve[1:-1].argmax()) + 1
    left, mid, right = curve[best - 1], curve[best], curve[best + 1]
    bend = 2 * mid - left - right
    shift = 0.5 * (right - left) / bend if bend > 1e-12 else 0.0
    return at + float(lags.min()) + best + min(max(float(shift), -1.0), 1.0), float(mid)


def _amplitudes(samples: Singles, places: Floats) -> Floats:
    """(P,) RMS in a Hann window of 0.2 periods to each side; NaN for the first and the last."""
    x = samples.astype(np.float64)
    out = np.full(len(places), np.nan)
    for i in range(1, len(places) - 1):
        left = 0.2 * (places[i] - places[i - 1])
        right = 0.2 * (places[i + 1] - places[i])
        begin, end = math.ceil(places[i] - left), math.floor(places[i] + right)
        offset = np.arange(begin, end + 1) - places[i]
        weight = 0.5 + 0.5 * np.cos(math.pi * offset / np.where(offset < 0, left, right))
        out[i] = math.sqrt(np.square(weight * x[begin : end + 1]).sum() / np.square(weight).sum())
    return out


def _none(interval: Interval) -> StretchQuality:
    return StretchQuality(interval, 0, 0, math.nan, math.nan, math.nan)


def _summary(interval: Interval, times_s: Floats, hnr: Floats, pulses: _Pulses) -> StretchQuality:
    frames = hnr[slice(*np.searchsorted(times_s, (interval.start_s, interval.end_s)))]
    frames = frames[np.isfinite(frames)]
    inside = slice(*np.searchsorted(pulses.times_s, (interval.start_s, interval.end_s)))
    place, amplitude = pulses.times_s[inside], pulses.amplitude[inside]
    jitter, shimmer, n = _perturbation(place, amplitude, pulses.first[inside])
    few = len(frames) < MIN_PERIODS
    return StretchQuality(
        interval, n, len(frames), jitter, shimmer, math.nan if few else float(frames.mean())
    )


def _perturbation(place: Floats, amplitude: Floats, first: Flags) -> tuple[float, float, int]:
    """Jitter, shimmer in dB, and the number of pairs of periods."""
    period = np.diff(place)
    sound = ~first[1:] & (period <= _LONGEST_PERIOD_S)
    ratio = np.maximum(period[1:] / period[:-1], period[:-1] / period[1:])
    pairs = sound[1:] & sound[:-1] & (ratio <= _PERIOD_FACTOR)
    n = int(pairs.sum())
    if n < MIN_PERIODS:
        return math.nan, math.nan, n
    jitter = float(np.abs(np.diff(period))[pairs].mean() / period[sound].mean())
    # A silent pulse has no level; it is not compared.
    change = np.abs(np.diff(20 * np.log10(np.where(amplitude > 0, amplitude, np.nan))))
    change = change[sound & (change <= 20 * math.log10(_AMPLITUDE_FACTOR))]
    return jitter, float(change.mean()) if len(change) >= MIN_PERIODS else math.nan, n
