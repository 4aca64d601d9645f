"""Read the voice of a recording: speech, pitch, level on one grid, in bounded memory.

The sound passes once while it is decoded (level, speech, a first look at the pitch) and a second
time for the pitch within the range that the first look found. Only the sums of the 10 ms frames are
kept, in a temporary file without a name. Knows nothing of media files, words or measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from nunbit.files import writing
from nunbit.streams import (
    VOICE_HOP_S,
    AudioChunk,
    Flags,
    Floats,
    Interval,
    Singles,
    VoiceStream,
)
from nunbit.voice.activity import (
    CHUNK,
    ActivitySettings,
    SpeechDetector,
    dilate,
    grid_of,
    intervals_of,
    speech_runs,
)
from nunbit.voice.framing import (
    CENTRE,
    HOP,
    Block,
    Framer,
    Piece,
    Splicer,
    frame_count,
    frame_times,
    iter_blocks,
)
from nunbit.voice.level import Cells, level_of, measure_cells, peak_of, swift_level_of
from nunbit.voice.pitch import (
    WIDE_RANGE_HZ,
    PitchSettings,
    PitchTracker,
    Range,
    half_window,
    personal_range,
)

_SURE = 0.5  # the first pass looks at frames that are likely speech
_EDGE_FRAMES = 3  # pitch is looked for this far beyond the speech, so that windows are not cut
_SUMS = np.dtype(
    [
        ("energy", np.float32, 2),
        ("mean", np.float32, 2),
        ("count", np.uint8, 2),
        ("high", np.float32),
        ("low", np.float32),
        ("probability", np.float32),
    ]
)
_LOUDEST_S = 3.0  # "nearby" for the silence threshold of the pitch


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """How the voice is read.

    Attributes:
        activity: Of the speech detection.
        pitch: Of both passes.
    """

    activity: ActivitySettings = field(default_factory=ActivitySettings)
    pitch: PitchSettings = field(default_factory=PitchSettings)


class VoiceReader:
    """Takes the sound of one recording, chunk by chunk.

    Args:
        settings: None takes the defaults.

    Raises:
        MissingExtra: The speech detector is not installed.
    """

    def __init__(self, settings: VoiceSettings | None = None) -> None:
        self._settings = settings or VoiceSettings()
        self._detector = SpeechDetector()
        self._splicer, self._framer = Splicer(), Framer()
        self._chunks = np.zeros(0, np.float32)  # probabilities not yet on the grid
        self._chunks_from = 0  # position of the first of them
        self._sums = _Sums()
        self._tracker = PitchTracker(WIDE_RANGE_HZ, self._settings.pitch)
        self._first_look: list[Singles] = []
        self._clipped: list[Interval] = []

    def add(self, chunk: AudioChunk) -> None:
        """Take the next chunk; chunks come in order, gaps between them are allowed."""
        self._clipped += chunk.clipped
        for piece in self._splicer.place(chunk):
            if piece.starts:
                self._end_stretch()
                self._chunks_from = piece.position
            self._hear(piece)

    def finish(self, replay: Callable[[], Iterable[AudioChunk]], duration_s: float) -> VoiceStream:
        """Read the pitch and put everything together.

        Args:
            replay: Gives the same chunks again.
            duration_s: Of the recording; frames with their centre at or after it are left out,
                frames without sound are marked absent.
        """
        self._end_stretch()
        n = frame_count(duration_s)
        runs, present, level, peak = self._hear_all(n)
        speech = np.zeros(n, bool)
        for start, stop in runs.tolist():
            speech[start:stop] = True
        looks = self._first_look or [np.zeros(0, np.float32)]
        f0_range = personal_range(np.concatenate(looks)) if speech.any() else None
        f0 = np.full(n, np.nan, np.float32)
        if f0_range:
            f0 = self._read_pitch(replay, f0_range, speech & present, peak)
        return VoiceStream(
            times_s=frame_times(n),
            present=present,
            speech=speech,
            f0_hz=f0,
            level_dbfs=level,
            segments=intervals_of(runs, duration_s),
            f0_range_hz=f0_range,
            clipped=frames_of(self._clipped, n),
        )

    def _hear(self, piece: Piece) -> None:
        # The detector runs ahead of the blocks, which reach beyond their last frame by more than
        # one of its chunks.
        self._chunks = np.concatenate([self._chunks, self._detector.add(piece.samples)])
        for block in self._framer.push(piece):
            self._look(block)
            # What lies before the next block is not asked for again.
            done = ((block.first + block.n) * HOP - self._chunks_from) // CHUNK
            self._chunks = self._chunks[done:]
            self._chunks_from += done * CHUNK

    def _end_stretch(self) -> None:
        self._chunks = np.concatenate([self._chunks, self._detector.end()])
        for block in self._framer.flush():
            self._look(block)
        self._keep_voiced(self._tracker.flush())
        self._chunks = self._chunks[:0]

    def _look(self, block: Block) -> None:
        centres = np.arange(block.first, block.first + block.n) * HOP + CENTRE
        probability = grid_of(self._chunks, self._chunks_from, centres)
        self._sums.add(block.frames, measure_cells(block), probability)
        sound = np.ones(block.n)
        self._keep_voiced(self._tracker.add(block, probability >= _SURE, sound))

    def _keep_voiced(self, found: Iterable[tuple[slice, Floats]]) -> None:
        for _, f0 in found:
            self._first_look.append(f0[np.isfinite(f0)].astype(np.float32))

    def _hear_all(self, n: int) -> tuple[NDArray[np.int64], Flags, Singles, Singles]:
        """Speech, presence, level and peak of the whole grid; the sums are given up."""
        cells, present = Cells.absent(n), np.zeros(n, bool)
        probability = np.zeros(n, np.float32)
        for frames, block, values in self._sums.take():
            cells.put(frames, block)
            present[frames] = True
            probability[frames] = values[: len(probability[frames])]
        swift = swift_level_of(cells, present)
        runs = speech_runs(probability, swift, present, self._settings.activity)
        return runs, present, level_of(cells, present), peak_of(cells)

    def _read_pitch(
        self,
        replay: Callable[[], Iterable[AudioChunk]],
        f0_range: Range,
        speech: Flags,
        peak: Singles,
    ) -> Singles:
        n = len(speech)
        near = dilate(speech, _EDGE_FRAMES)
        loudness = peak / np.maximum(_loudest_nearby(np.where(speech, peak, 0)), 1e-9)
        f0 = np.full(n, np.nan, np.float32)
        tracker = PitchTracker(f0_range, self._settings.pitch)

        def put(found: Iterable[tuple[slice, Floats]]) -> None:
            for frames, values in found:
                f0[frames] = values

        for block in iter_blocks(replay(), max(half_window(f0_range), CENTRE)):
            wanted = np.zeros(block.n, bool)
            wanted[: len(near[block.frames])] = near[block.frames]
            loud = np.ones(block.n)
            loud[: len(near[block.frames])] = loudness[block.frames]
            put(tracker.add(block, wanted, loud))
        put(tracker.flush())
        f0[~speech] = np.nan
        return f0


def frames_of(places: Iterable[Interval], n: int) -> Flags:
    """(n,) frames of the 10 ms grid that any of the stretches touches."""
    flags = np.zeros(n, bool)
    for place in places:
        start, stop = place.start_s / VOICE_HOP_S, place.end_s / VOICE_HOP_S
        flags[max(0, math.floor(start + 1e-6)) : math.ceil(stop - 1e-6)] = True
    return flags


class _Sums:
    """What is kept of every 10 ms until the end, 30 bytes: on disk, so that memory stays flat."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115  # open as long as the reader
        finalize(self, self._file.close)  # a recording that fails half-way is never finished
        self._frames: list[slice] = []

    def add(self, frames: slice, cells: Cells, probability: Singles) -> None:
        rows = np.zeros(len(probability), _SUMS)
        for name in ("energy", "mean", "count", "high", "low"):
            rows[name] = getattr(cells, name)
        rows["probability"] = probability
        self._frames.append(frames)
        with writing(Path(gettempdir())):
            self._file.write(rows.tobytes())

    def take(self) -> Iterator[tuple[slice, Cells, Singles]]:
        """Everything, in order; given up."""
        with self._file as stream:
            stream.seek(0)
            for frames in self._frames:
                size = (frames.stop - frames.start) * _SUMS.itemsize
                rows = np.frombuffer(stream.read(size), _SUMS)
                cells = Cells(*(rows[n] for n in ("energy", "mean", "count", "high", "low")))
                yield frames, cells, rows["probability"]
        self._frames = []


def _loudest_nearby(peak: Singles) -> Singles:
    """(M,) the largest peak within three seconds, half a second at a time."""
    step = 50
    blocks = -(-len(peak) // step)
    padded = np.zeros(blocks * step, np.float32)
    padded[: len(peak)] = peak
    highest = padded.reshape(blocks, step).max(axis=1)
    reach = round(_LOUDEST_S / VOICE_HOP_S / step)
    around = np.pad(highest, reach)
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * reach + 1)
    loudest: Singles = np.repeat(windows.max(axis=1), step)[: len(peak)]
    return loudest
