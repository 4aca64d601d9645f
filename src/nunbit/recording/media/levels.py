"""Measure the channels of a recording: level, cancellation and clipping.

Takes decoded samples at the file's own rate, before anything is mixed or resampled: afterwards a
plateau of clipped samples is no plateau any more, and what two channels cancelled is gone. Serves
a whole pass and sampled stretches alike. Opens nothing.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nunbit.core.schema import ReadingNote
from nunbit.core.spans import lengths, runs
from nunbit.core.streams import Flags, Floats, Interval, Singles
from nunbit.core.timebase import place_text
from nunbit.recording.media.file_notes import media_note

BLOCK_S = 0.5
"""Samples are judged this long at a time: a plateau is one of the extremes of its block."""

_FLOOR_DB = -120.0
_SILENT_DBFS = -70.0  # no half second is louder: below the noise of any microphone that is open
_EMPTY_DBFS, _EMPTY_BELOW_DB = -70.0, 30.0  # an empty channel beside one that is not
_LOUD_DB = 30.0  # half seconds this far below the loud ones say nothing of the channels
# The mean of n channels of which one alone is heard has 1 / n^2 of its power; less than 0.8 of that
# is what only channels against each other give.
_CANCELLED = 0.8
_CANCELS_SHARE, _CANCELS_IN_PART = 0.5, 0.1  # of the loud half seconds
_DIFFERENT_DB = 20.0
_CLIP_PEAK = 0.01  # plateaus below -40 dBFS are noise of few bits
_PLATEAU = 3  # samples of the same extreme value in a row
# The top of a smooth curve may be flat for three samples, too, but then it falls by at most six
# steps of quantisation to the next one; cut off, it is left at the slope of the sound.
_LEFT_STEPS, _LEFT_SHARE = 8.0, 0.002
_LOSSY_FULL_SCALE = 0.999  # plateaus do not survive a lossy codec; samples beyond the scale do
_TOLD_SAMPLES, _TOLD_LOSSY = 10, 50
_NEAR_S = 0.01  # clipped samples closer than this are one stretch


@dataclass(frozen=True, slots=True)
class SoundFacts:
    """Properties of a sound stream.

    Attributes:
        heard_s: Seconds that were examined.
        levels_dbfs: Of each channel, 20 log10 of the RMS about the mean; at least -120.
        peaks: Of each channel, largest distance from zero; full scale is 1, float sound may have
            more.
        correlation: Between the loudest channel and the one that agrees least with it, -1 to 1;
            None for one channel or where a channel is constant.
        used: Channels whose mean is read.
        cancel_share: Share of the loud half seconds in which the mean of the channels cancels.
        empty: Channels without sound beside one with sound.
        silent: Whether no half second of any channel is louder than -70 dBFS.
        clipped: Samples of all channels that are clipped.
        clipped_share: Of all samples.
        clipped_at_s: Where the first is, or None.
        over_full_scale: Whether float sound goes beyond full scale, which costs nothing: it is
            read as it is.
    """

    heard_s: float
    levels_dbfs: tuple[float, ...]
    peaks: tuple[float, ...]
    correlation: float | None
    used: tuple[int, ...]
    cancel_share: float
    empty: tuple[int, ...]
    silent: bool
    clipped: int
    clipped_share: float
    clipped_at_s: float | None
    over_full_scale: bool

    @property
    def level_dbfs(self) -> float:
        """Level of the loudest channel."""
        return max(self.levels_dbfs, default=_FLOOR_DB)

    @property
    def peak(self) -> float:
        """Largest peak of all channels."""
        return max(self.peaks, default=0.0)


class SoundMeter:
    """Measures sound as it is read; keeps half a second of it and four numbers for each.

    Args:
        step: Step of quantisation with full scale at 1; 0 for float sound.
        lossy: Whether it went through a codec that does not keep samples as they are.
    """

    def __init__(self, *, step: float = 0.0, lossy: bool = False) -> None:
        self._step, self._lossy = step, lossy
        self._held: list[Singles] = []
        self._n_held = self._rate_hz = self._samples = self._clipped = 0
        self._from_s = self._seconds = 0.0
        self._clipped_at_s: float | None = None
        self._begin(0)

    def _begin(self, channels: int) -> None:
        """Start again: a file that changes its channels half-way is judged by its second part."""
        self._n_channels, self._peaks = channels, np.zeros(channels)
        self._cross = np.zeros((channels, channels))  # sums of products about the block's mean
        # Per block and channel: energy; then that of the mean.
        self._blocks, self._weights = array("f"), array("f")

    def add(self, time_s: float, samples: Singles, rate_hz: int) -> tuple[Interval, ...]:
        """Take a piece.

        Args:
            time_s: Of its first sample.
            samples: (C, n) float32, full scale 1.
            rate_hz: Of these.

        Returns:
            Times of clipped samples, as far as judged by now.
        """
        found: tuple[Interval, ...] = ()
        channels = samples.shape[0]
        expected_s = self._from_s + self._n_held / max(self._rate_hz, 1)
        if self._n_held and (
            channels != self._n_channels
            or rate_hz != self._rate_hz
            or abs(time_s - expected_s) > BLOCK_S
        ):
            found = self.flush()
        if channels != self._n_channels:
            self._begin(channels)
        if not self._n_held:
            self._from_s, self._rate_hz = time_s, rate_hz
        self._held.append(samples)
        self._n_held += samples.shape[1]
        if self._n_held >= BLOCK_S * rate_hz:
            found += self.flush()
        return found

    def flush(self) -> tuple[Interval, ...]:
        """Judge the samples that are held; returns times of clipped ones."""
        if not self._n_held:
            return ()
        block = np.concatenate(self._held, axis=1)
        self._held, self._n_held = [], 0
        n = block.shape[1]
        self._seconds += n / self._rate_hz
        self._samples += block.size
        if not np.isfinite(block).all():
            block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        highest, lowest = block.max(axis=1), block.min(axis=1)
        self._peaks = np.maximum(self._peaks, np.maximum(highest, -lowest))
        centred = block - block.mean(axis=1, dtype=np.float64).astype(np.float32)[:, None]
        products = (centred @ centred.T).astype(np.float64)
        self._cross += products
        self._blocks.extend((np.diag(products) / n).tolist())
        self._blocks.append(float(products.sum() / n / len(block) ** 2))
        self._weights.append(n / self._rate_hz)
        flags = np.zeros(n, bool)
        for row, high, low in zip(block, highest.tolist(), lowest.tolist(), strict=True):
            own = clipped_samples(row, high, low, step=self._step, lossy=self._lossy)
            self._clipped += int(np.count_nonzero(own))
            flags |= own
        return self._places(flags)

    def facts(self) -> SoundFacts:
        """What was measured so far."""
        self.flush()
        n = self._n_channels
        table = np.asarray(self._blocks, np.float64).reshape(-1, n + 1)
        weights = np.asarray(self._weights, np.float64)
        own, mean = table[:, :n], table[:, n]
        power = (own * weights[:, None]).sum(axis=0) / max(weights.sum(), 1e-9)
        levels = _decibels(power)
        loudest = float(levels.max(initial=_FLOOR_DB))
        empty = tuple(
            np.flatnonzero((levels < _EMPTY_DBFS) & (levels < loudest - _EMPTY_BELOW_DB)).tolist()
        )
        heard = [k for k in range(n) if k not in empty]
        share = _cancel_share(own[:, heard], mean * (n / max(len(heard), 1)) ** 2)
        is_clipped = self._clipped >= (_TOLD_LOSSY if self._lossy else _TOLD_SAMPLES)
        return SoundFacts(
            heard_s=self._seconds,
            levels_dbfs=tuple(levels.tolist()),
            peaks=tuple(self._peaks.tolist()),
            correlation=_least_correlation(self._cross, heard),
            used=(int(power.argmax()),) if share >= _CANCELS_SHARE else tuple(heard),
            cancel_share=share,
            empty=empty,
            silent=bool(len(own)) and float(_decibels(own.max(axis=1)).max()) < _SILENT_DBFS,
            clipped=self._clipped if is_clipped else 0,
            clipped_share=self._clipped / self._samples if is_clipped else 0.0,
            clipped_at_s=self._clipped_at_s if is_clipped else None,
            over_full_scale=not (self._step or self._lossy) and bool((self._peaks > 1.0).any()),
        )

    def _places(self, flags: Flags) -> tuple[Interval, ...]:
        at = np.flatnonzero(flags)
        if not len(at):
            return ()
        if self._clipped_at_s is None:
            self._clipped_at_s = self._from_s + float(at[0]) / self._rate_hz
        return tuple(
            Interval(
                self._from_s + int(piece[0]) / self._rate_hz,
                self._from_s + (int(piece[-1]) + 1) / self._rate_hz,
            )
            for piece in np.split(at, np.flatnonzero(np.diff(at) > _NEAR_S * self._rate_hz) + 1)
        )


def clipped_samples(
    samples: Singles, high: float, low: float, *, step: float, lossy: bool
) -> Flags:
    """Which samples of a block are clipped: plateaus at its largest or smallest value.

    Any height counts, because sound that was clipped is often made softer afterwards. Sound of
    whole numbers is clipped wherever it reaches the end of their range.

    Args:
        samples: (n,) of one channel, full scale 1.
        high: Largest of them.
        low: Smallest.
        step: Step of quantisation, 0 for float sound.
        lossy: Plateaus cannot be told any more: only samples at and beyond full scale count.

    Returns:
        (n,).
    """
    found = np.zeros(len(samples), np.bool_)
    if max(high, -low) < _CLIP_PEAK:
        return found
    for extreme, values in ((high, samples), (-low, -samples)):
        if lossy:
            near = values >= _LOSSY_FULL_SCALE
        elif step and extreme >= 1.0 - 1.5 * step:
            near = values >= 1.0 - 1.5 * step
        else:
            near = values >= extreme - 1.5 * step
            if np.count_nonzero(near) < _PLATEAU:
                continue
            near = _plateaus(values, near, max(_LEFT_STEPS * step, _LEFT_SHARE * abs(extreme)))
        found |= near
    return found


def _plateaus(values: Singles, near: Flags, least_fall: float) -> Flags:
    """Runs that are long enough and are left steeply at both ends."""
    edges, kept = runs(near), np.zeros(len(values), bool)
    for start, stop in edges[lengths(edges) >= _PLATEAU].tolist():
        top = float(values[start:stop].min())
        falls = [top - float(values[k]) for k in (start - 1, stop) if 0 <= k < len(values)]
        if falls and min(falls) > least_fall:
            kept[start:stop] = True
    return kept


def _cancel_share(own: Floats, mean: Floats) -> float:
    """Share of the loud blocks in which the mean has less power than one channel would give it."""
    channels = own.shape[1]
    if channels < 2 or not len(own):
        return 0.0
    loudest = own.max(axis=1)
    loud = (loudest >= np.percentile(loudest, 95) * 10 ** (-_LOUD_DB / 10)) & (
        loudest > 10 ** (_SILENT_DBFS / 10)
    )
    if not loud.any():
        return 0.0
    return float((mean[loud] < _CANCELLED / channels**2 * loudest[loud]).mean())


def _least_correlation(cross: Floats, heard: Sequence[int]) -> float | None:
    if len(heard) < 2:
        return None
    own = np.diag(cross)
    first = max(heard, key=own.__getitem__)
    others = [k for k in heard if k != first and own[k] > 0]
    if not others or own[first] <= 0:
        return None
    return float(min(cross[first, k] / math.sqrt(own[first] * own[k]) for k in others))


def _decibels(power: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10))))


def mean_channel(samples: Singles, used: Sequence[int]) -> Singles:
    """The mean of the channels that are used, (n,); of all where the file has fewer by now."""
    if len(samples) == 1:
        return np.asarray(samples[0])
    every = not used or max(used) >= len(samples) or len(used) == len(samples)
    return np.asarray((samples if every else samples[list(used)]).mean(axis=0, dtype=np.float32))


def channel_notes(facts: SoundFacts) -> Iterator[ReadingNote]:
    """Notes about how the channels relate to each other."""
    n = len(facts.levels_dbfs)
    agree = "" if facts.correlation is None else f" (correlation {facts.correlation:+.2f})"
    agree_ko = "" if facts.correlation is None else f"(상관 {facts.correlation:+.2f})"
    if facts.cancel_share >= _CANCELS_SHARE:
        taken = facts.used[0] + 1
        yield media_note(
            "repaired",
            "channels_cancel",
            f"the sound channels cancel each other{agree}; only the louder one, channel "
            f"{taken} of {n}, is read; check the wiring of the microphone",
            f"소리 채널이 서로 상쇄합니다{agree_ko}. 더 큰 채널({n}개 중 {taken}번)만 "
            "읽었습니다. 마이크 배선을 확인하십시오",
            count=n,
        )
    elif facts.cancel_share >= _CANCELS_IN_PART:
        share = f"{100 * facts.cancel_share:.0f}%"
        yield media_note(
            "read",
            "channels_cancel",
            f"the sound channels cancel each other in {share} of the loud half "
            f"seconds{agree}; their mean is read; check the recording",
            f"소리가 큰 0.5초 구간의 {share}에서 채널이 서로 상쇄합니다{agree_ko}. 채널의 "
            "평균을 읽었습니다. 녹음을 확인하십시오",
            count=n,
        )
    if facts.empty:
        which = ", ".join(str(k + 1) for k in facts.empty)
        yield media_note(
            "left_out",
            "channel_empty",
            f"sound channel {which} of {n} is empty; the others are read",
            f"소리 채널 {n}개 중 {which}번이 비어 있어 나머지만 읽었습니다",
            count=len(facts.empty),
        )
    heard = [level for k, level in enumerate(facts.levels_dbfs) if k not in facts.empty]
    if heard and max(heard) - min(heard) >= _DIFFERENT_DB:
        differ = f"{max(heard) - min(heard):.0f} dB"
        yield media_note(
            "read",
            "channels_differ",
            f"the sound channels differ by {differ} in level; their mean is read",
            f"소리 채널의 크기가 {differ} 차이 납니다. 채널의 평균을 읽었습니다",
            count=n,
        )


def level_notes(facts: SoundFacts) -> Iterator[ReadingNote]:
    """Notes about the level: a silent stream, clipped samples."""
    if facts.silent:
        yield media_note(
            "read",
            "silent",
            f"the sound stream is silent (no half second above {_SILENT_DBFS:.0f} dBFS); "
            "check the microphone, or choose another stream",
            f"소리 스트림에 소리가 없습니다({_SILENT_DBFS:.0f} dBFS를 넘는 0.5초가 없음). "
            "마이크를 확인하거나 다른 스트림을 고르십시오",
        )
    if facts.clipped:
        share, first_s = f"{100 * facts.clipped_share:.2g}%", facts.clipped_at_s or 0.0
        at = place_text(first_s)
        yield media_note(
            "read",
            "clipped",
            f"{facts.clipped} samples ({share}) are clipped, the first at {at}; voice "
            "quality is left out where it suffers; record with less gain",
            f"표본 {facts.clipped}개({share})가 잘려(클리핑) 있습니다. 처음: {at}. "
            "영향을 받는 곳에서는 음질 지표를 뺐습니다. 녹음 크기를 낮추십시오",
            count=facts.clipped,
            first_s=first_s,
        )
    if facts.over_full_scale:
        yield media_note(
            "read",
            "over_full_scale",
            f"the sound reaches {facts.peak:.2f} times full scale (float samples); it is "
            "read unchanged",
            f"소리가 최대 진폭의 {facts.peak:.2f}배까지 올라갑니다(부동소수점 표본). 그 "
            "값 그대로 읽었습니다",
        )
