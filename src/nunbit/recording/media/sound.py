"""Turn decoded sound into 16 kHz mono samples whose times stay correct over hours.

Time stamps of sound jitter, because they are rounded or were taken from a clock, and drift,
because two clocks never agree. Samples inside a run are exactly evenly spaced; jitter is averaged
away, drift is followed by leaving out or doubling single samples where the sound is quietest, and
a jump begins a new run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Interval, Singles
from nunbit.recording.media.container import Source, load_av
from nunbit.recording.media.levels import SoundMeter, mean_channel

if TYPE_CHECKING:
    from av import AudioFrame, Packet

GAP_S = 0.02
"""A time stamp this far from where the samples so far end is a gap, not jitter."""

_BLOCK_S = 0.5
_SMOOTHING_S = 5.0
_DRIFT_S = 0.002  # smaller differences are left alone: no clean file is touched
_COMPANDED, _COMPANDED_STEP = ("pcm_alaw", "pcm_mulaw"), 0.03  # coarse where it is loud
_FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0, "s64": 9223372036854775808.0}


def channel_samples(frame: AudioFrame) -> Singles:
    """A frame's channels, (C, n) float32 with full scale at 1; float sound may have more."""
    kind = frame.format.name.removesuffix("p")
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if kind not in _FULL_SCALE:
        return np.asarray(raw, np.float32)
    wide: NDArray[np.floating] = raw.astype(np.float32 if raw.itemsize <= 2 else np.float64)
    scale = _FULL_SCALE[kind]
    return np.asarray((wide - (scale if kind == "u8" else 0.0)) / scale, np.float32)


def meter_of(source: Source) -> SoundMeter:
    """A meter for the sound stream of a file."""
    assert source.audio is not None
    context = source.audio.codec_context
    if context.codec.name in _COMPANDED:
        return SoundMeter(step=_COMPANDED_STEP)
    kind = "" if context.format is None else context.format.name.removesuffix("p")
    step = 1.0 / _FULL_SCALE[kind] if kind in _FULL_SCALE else 0.0
    return SoundMeter(step=step, lossy=not context.codec.lossless)


@dataclass
class _Run:
    """Sound without a gap.

    Attributes:
        start_s: Time of its first sample.
        rate_hz: Of what comes in.
        n_in: Samples taken.
        n_out: Samples given, at 16 kHz.
        late_s: How much later the time stamps are than the counted samples, smoothed.
        shifted: Samples doubled minus samples left out so far.
        waiting: Samples not yet resampled.
        n_waiting: How many.
    """

    start_s: float
    rate_hz: int
    n_in: int = 0
    n_out: int = 0
    late_s: float = 0.0
    shifted: int = 0
    waiting: list[Singles] = field(default_factory=list)
    n_waiting: int = 0

    @property
    def next_s(self) -> float:
        """Where the samples taken so far end."""
        return self.start_s + self.n_in / self.rate_hz + self.shifted / AUDIO_RATE_HZ


class SampleClock:
    """Puts pieces of mono sound with jittering times onto one clock, at 16 kHz.

    Args:
        start_s: Samples before this time are left out.
        gap_s: Least jump of a time stamp that is a gap.
    """

    def __init__(self, start_s: float = 0.0, gap_s: float = GAP_S) -> None:
        self._start_s, self._gap_s = start_s, gap_s
        self._run: _Run | None = None
        self._resampler: Any = None
        self.dropped_s = 0.0
        self.dropped_at_s: float | None = None

    @property
    def next_s(self) -> float | None:
        """Where the sound taken so far ends; None before the first."""
        return None if self._run is None else self._run.next_s

    def add(self, time_s: float | None, samples: Singles, rate_hz: int) -> Iterator[AudioChunk]:
        """Take a piece; return the chunks that are ready.

        Args:
            time_s: Of its first sample; None where the file does not say.
            samples: (n,) mono.
            rate_hz: Of these.
        """
        run = self._run
        ahead_s = 0.0 if run is None or time_s is None else time_s - run.next_s
        if run is not None and ahead_s < -self._gap_s:
            samples = self._without_repeats(run, -ahead_s, samples, rate_hz)
            time_s = None
        late = ahead_s > self._gap_s
        if run is not None and (late or run.rate_hz != rate_hz):
            yield from self.finish()
            time_s = time_s if late else run.start_s + run.n_out / AUDIO_RATE_HZ
            run = None
        if run is None:
            run = self._begin(time_s or 0.0, rate_hz)
        elif time_s is not None:
            run.late_s += (ahead_s - run.late_s) * min(1.0, len(samples) / rate_hz / _SMOOTHING_S)
        run.waiting.append(samples)
        run.n_waiting += len(samples)
        run.n_in += len(samples)
        if run.n_waiting >= _BLOCK_S * rate_hz:
            yield from self._emit(run, self._resample(run))

    def finish(self) -> Iterator[AudioChunk]:
        """Return what is left and end the run."""
        run, self._run = self._run, None
        if run is None:
            return
        rest = self._resample(run, last=True)
        # The resampler's tail would reach up to a millisecond beyond the last sample.
        whole = round(run.n_in * AUDIO_RATE_HZ / run.rate_hz) + run.shifted
        yield from self._emit(run, rest[: max(0, whole - run.n_out)], last=True)

    def _begin(self, time_s: float, rate_hz: int) -> _Run:
        self._run, same = _Run(time_s, rate_hz), rate_hz == AUDIO_RATE_HZ
        self._resampler = None if same else load_av().AudioResampler("flt", "mono", AUDIO_RATE_HZ)
        return self._run

    def _without_repeats(self, run: _Run, back_s: float, samples: Singles, rate_hz: int) -> Singles:
        """Leave out what a step back in time would give twice."""
        repeated = min(len(samples), round(back_s * rate_hz))
        self.dropped_s += repeated / rate_hz
        if self.dropped_at_s is None:
            self.dropped_at_s = run.next_s
        return samples[repeated:]

    def _resample(self, run: _Run, *, last: bool = False) -> Singles:
        block = np.concatenate([*run.waiting, np.zeros(0, np.float32)])
        run.waiting, run.n_waiting = [], 0
        if self._resampler is None:
            return block
        pieces = []
        if len(block):
            frame = load_av().AudioFrame.from_ndarray(block[None], "flt", "mono")
            frame.sample_rate = run.rate_hz
            frame.pts = run.n_in - len(block)
            frame.time_base = Fraction(1, run.rate_hz)
            pieces += self._resampler.resample(frame)
        if last:
            pieces += self._resampler.resample(None)
        return np.concatenate(
            [np.zeros(0, np.float32), *(each.to_ndarray().reshape(-1) for each in pieces)]
        )

    def _emit(self, run: _Run, samples: Singles, *, last: bool = False) -> Iterator[AudioChunk]:
        if not last and abs(run.late_s) > _DRIFT_S:
            samples = self._correct(run, samples)
        start_s = run.start_s + run.n_out / AUDIO_RATE_HZ
        run.n_out += len(samples)
        early = max(0, min(len(samples), round((self._start_s - start_s) * AUDIO_RATE_HZ)))
        if early < len(samples):
            yield AudioChunk(start_s + early / AUDIO_RATE_HZ, samples[early:])

    def _correct(self, run: _Run, samples: Singles) -> Singles:
        """Move the clock towards the time stamps, by at most one sample in a thousand."""
        count = min(round(abs(run.late_s) * AUDIO_RATE_HZ), len(samples) // 1000)
        for part in range(count):
            # One in each part of the block, so that no two corrections lie side by side.
            low, high = (len(samples) * k // count for k in (part, part + 1))
            loud = np.abs(samples[low : high - 1]) + np.abs(np.diff(samples[low:high]))
            at = low + int(np.argmin(loud))
            again = run.late_s > 0
            samples = np.insert(samples, at, samples[at]) if again else np.delete(samples, at)
        signed = count if run.late_s > 0 else -count
        run.shifted += signed
        run.late_s -= signed / AUDIO_RATE_HZ
        return samples


class Sound:
    """The sound of one pass.

    Args:
        source: Open, with a sound stream.
        start_s: Earlier samples are left out.
        used: Channels whose mean is read; empty takes all.

    Attributes:
        meter: Knows the properties of the channels, after :meth:`finish`.
    """

    def __init__(self, source: Source, *, start_s: float, used: Sequence[int] = ()) -> None:
        self._source, self._used = source, tuple(used)
        self._clock, self.meter = SampleClock(start_s), meter_of(source)
        self._clipped: list[Interval] = []
        self._end_s: float | None = None
        if source.audio is not None and source.container.format.name.startswith("mov"):
            self._end_s = source.stream_end_s(source.audio)
        self.end_s = 0.0

    def add(self, packet: Packet[Any]) -> Iterator[AudioChunk]:
        """Take one packet; return the chunks that are ready."""
        for frame in self._source.decoded(packet):
            yield from self._add_frame(frame)

    def finish(self) -> Iterator[AudioChunk]:
        """Return what is left."""
        self._clipped += self.meter.flush()
        end_s = self._clock.next_s
        yield from map(self._with_places, self._clock.finish())
        if self._clipped and end_s is not None:  # nothing was left to give them with
            yield self._with_places(AudioChunk(end_s, np.zeros(0, np.float32)))
        if self._clock.dropped_s:
            self._source.note_damage(self._clock.dropped_at_s)

    def _add_frame(self, frame: AudioFrame) -> Iterator[AudioChunk]:
        time_s = self._source.frame_time_s(frame)
        samples, rate_hz = channel_samples(frame), frame.sample_rate
        begin_s = time_s if time_s is not None else self._clock.next_s or 0.0
        if self._end_s is not None:
            # Encoders pad the last packet; MP4 says where the sound really ends.
            beyond_s = begin_s + samples.shape[1] / rate_hz - self._end_s
            if 0 < beyond_s < 0.1:
                samples = samples[:, : max(0, samples.shape[1] - round(beyond_s * rate_hz))]
        if samples.shape[1]:
            self._clipped += self.meter.add(begin_s, samples, rate_hz)
            self.end_s = max(self.end_s, begin_s + samples.shape[1] / rate_hz)
            chunks = self._clock.add(time_s, mean_channel(samples, self._used), rate_hz)
            yield from map(self._with_places, chunks)

    def _with_places(self, chunk: AudioChunk) -> AudioChunk:
        places, self._clipped = tuple(self._clipped), []
        return replace(chunk, clipped=places)


_SAMPLED_S, _STRETCHES = 1.0, 120  # two minutes in all; shorter files are heard whole
_UNKNOWN_PERIOD_S = 10.0  # where the header does not say how long it is
_WARM_UP = 2  # frames after a jump that codecs with overlap decode wrong


class SampledSound:
    """Stretches of the sound of a file whose packets pass by.

    Args:
        source: Open, with a sound stream.

    Attributes:
        meter: Knows the properties of the channels.
    """

    def __init__(self, source: Source) -> None:
        self._source, self.meter = source, meter_of(source)
        length_s = source.announced_end_s()
        self._period_s = (
            _UNKNOWN_PERIOD_S if length_s is None else max(_SAMPLED_S, length_s / _STRETCHES)
        )
        self._skipped, self._cold = False, 0

    def add(self, packet: Packet[Any], frames: Sequence[Any] | None = None) -> None:
        """Take the next packet of the sound stream.

        Args:
            packet: Decoded only where its stretch is wanted.
            frames: What it held, where it was decoded before.
        """
        at = self._source.packet_time_s(packet)
        if frames is None:
            if at is None or at % self._period_s >= _SAMPLED_S or not packet.size:
                self._skipped = True
                return
            frames = self._decode(packet)
        for frame in frames:
            if self._cold:
                self._cold -= 1
                continue
            samples = channel_samples(frame)
            if samples.shape[1] and frame.sample_rate:
                self.meter.add(at or 0.0, samples, frame.sample_rate)

    def _decode(self, packet: Packet[Any]) -> list[Any]:
        if self._skipped:
            assert self._source.audio is not None
            self._source.audio.codec_context.flush_buffers()
            self._skipped, self._cold = False, _WARM_UP
        try:
            return list(packet.decode())
        except (load_av().FFmpegError, ValueError):
            return []
