"""Sound on the 10 ms grid: blocks of frames with margins, and their level.

The blocks do not depend on how the sound was cut into chunks, so no result does. Energy is kept in
cells of 5 ms, from which windows of any even length are added up without reading the sound again;
means are kept beside it, so that a constant offset can be taken out at the end. About five seconds
of sound are in memory at most. Knows nothing of pitch or speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from nunbit.core.spans import runs
from nunbit.core.streams import AUDIO_RATE_HZ, VOICE_HOP_S, AudioChunk, Flags, Floats, Singles
from nunbit.runtime.files import writing

# --- frames

HOP = round(VOICE_HOP_S * AUDIO_RATE_HZ)
"""Samples from one frame to the next."""

CENTRE = HOP // 2
"""Frame k is centred on sample k * HOP + CENTRE of the media clock."""

MARGIN = 560
"""Samples of a block before its first and after its last frame centre: 35 ms."""

_BLOCK_FRAMES = 512
# Time stamps of a container may be rounded to milliseconds; a smaller jump is no gap.
_JITTER = CENTRE


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Consecutive frames of one unbroken stretch of sound.

    Attributes:
        first: Index of the first frame on the grid.
        n: How many frames.
        samples: (2 * margin + (n - 1) * HOP,) float32, from ``margin`` before the first centre;
            zero outside the stretch.
        margin: Samples before the first and after the last centre.
        start: Position of the stretch's first sample on the media clock.
        stop: Position after the last sample known so far; the stretch's end in its last block.
    """

    first: int
    n: int
    samples: Singles
    margin: int
    start: int
    stop: int

    @property
    def frames(self) -> slice:
        """Where the frames are on the grid."""
        return slice(self.first, self.first + self.n)


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """Samples that follow the piece before, unless they start a new stretch."""

    position: int
    samples: Singles
    starts: bool


class Splicer:
    """Turns chunk times into sample positions and separates gaps from rounded time stamps."""

    def __init__(self) -> None:
        self._next: int | None = None

    def place(self, chunk: AudioChunk) -> Iterator[Piece]:
        """The chunk's pieces: one, or several where samples are not finite.

        Sound that overlaps what was given before is cut off, and what lies before time zero.
        """
        finite = np.isfinite(chunk.samples)
        at = round(chunk.start_s * AUDIO_RATE_HZ)
        if self._next is not None and abs(at - self._next) <= _JITTER:
            at = self._next
        for start, stop in runs(finite).tolist():
            skip = max(0, (self._next or 0) - at - start)
            samples = chunk.samples[start + skip : stop]
            if not len(samples):
                continue
            position = at + start + skip
            yield Piece(position, samples, starts=position != self._next)
            self._next = position + len(samples)


class Framer:
    """Cuts a stream of pieces into blocks.

    Args:
        margin: Samples wanted around each centre. The pieces given so far reach at least this
            far beyond the last centre of a block, unless the stretch ends there; at least HOP.
        size: Frames of a block; small ones come sooner.
    """

    def __init__(self, margin: int = MARGIN, size: int = _BLOCK_FRAMES) -> None:
        self._margin, self._block = margin, size
        self._start = 0  # of the stretch
        self._held_from = 0
        self._held: list[Singles] = []
        self._length = 0
        self._frame = 0

    def push(self, piece: Piece) -> Iterator[Block]:
        """Take a piece; yields the blocks that are complete now."""
        if piece.starts:
            yield from self.flush()
            self._start = piece.position
            self._frame = -(-(piece.position - CENTRE) // HOP)
            # The stretch is preceded by silence, so that its first frames have a left side.
            self._held_from = self._frame * HOP + CENTRE - self._margin
            self._length = piece.position - self._held_from
            self._held = [np.zeros(self._length, np.float32)]
        self._held.append(np.asarray(piece.samples, np.float32))
        self._length += len(piece.samples)
        size = 2 * self._margin + (self._block - 1) * HOP
        while self._length >= size:
            yield self._cut(self._block, size)

    def flush(self) -> Iterator[Block]:
        """End the stretch: the frames that are left, with silence after them."""
        stop = self._held_from + self._length
        left = -(-(stop - CENTRE) // HOP) - self._frame  # frames with their centre before the end
        if self._held and left > 0:
            size = 2 * self._margin + (left - 1) * HOP
            self._held.append(np.zeros(max(0, size - self._length), np.float32))
            yield self._cut(left, size, stop)
        self._held, self._length = [], 0

    def _cut(self, n: int, size: int, stop: int | None = None) -> Block:
        joined = np.concatenate(self._held)
        stop = self._held_from + len(joined) if stop is None else stop
        block = Block(self._frame, n, joined[:size], self._margin, self._start, stop)
        self._frame += n
        self._held_from += n * HOP
        rest = joined[n * HOP :]
        self._held, self._length = [rest], len(rest)
        return block


def iter_blocks(chunks: Iterable[AudioChunk], margin: int = MARGIN) -> Iterator[Block]:
    """All blocks of a recording."""
    splicer, framer = Splicer(), Framer(margin)
    for chunk in chunks:
        for piece in splicer.place(chunk):
            yield from framer.push(piece)
    yield from framer.flush()


def frame_count(duration_s: float) -> int:
    """Frames whose centre lies before the end."""
    # 0.015 / 0.01 - 0.5 is not 1 in binary: rounding keeps an extra frame out.
    return max(0, int(np.ceil(round(duration_s / VOICE_HOP_S - 0.5, 6))))


def voice_times(n: int) -> Floats:
    """(n,) centres of the first frames, seconds."""
    return np.asarray((np.arange(n) * HOP + CENTRE) / AUDIO_RATE_HZ)


# --- level

FLOOR_DBFS = -120.0
"""Level of digital silence."""

CELL = CENTRE
"""Samples of a cell: two to a frame."""

_CELLS = ("energy", "mean", "count", "high", "low")
_KEPT = np.dtype(
    [
        *((name, np.float32, 2) for name in _CELLS[:2]),
        ("count", np.uint8, 2),
        *((name, np.float32) for name in (*_CELLS[3:], "probability")),
    ]
)


@dataclass(frozen=True, eq=False, slots=True)
class Cells:
    """Sums from which levels are made; B frames.

    Attributes:
        energy: (B, 2) sum of squares about the cell's own mean.
        mean: (B, 2) of the samples there are.
        count: (B, 2) samples there are, 0 to CELL.
        high: (B,) largest sample of the frame's 10 ms.
        low: (B,) smallest.
    """

    energy: Singles
    mean: Singles
    count: NDArray[np.uint8]
    high: Singles
    low: Singles

    @classmethod
    def absent(cls, n: int) -> Cells:
        """Cells of n frames without sound."""
        pair = np.zeros((n, 2), np.float32)
        zero = np.zeros(n, np.float32)
        return cls(pair, pair.copy(), np.zeros((n, 2), np.uint8), zero, zero.copy())

    def put(self, frames: slice, other: Cells) -> None:
        """Write other's frames into these; what lies beyond the last frame is dropped."""
        n = len(self.energy[frames])
        for name in _CELLS:
            getattr(self, name)[frames] = getattr(other, name)[:n]


def measure_cells(block: Block) -> Cells:
    """Sums of one block."""
    # Frame j is the 160 samples from HOP * j - CENTRE about the first centre.
    begin = block.margin - CENTRE
    hops = block.samples[begin : begin + block.n * HOP].reshape(block.n, HOP)
    first = block.first * HOP
    inner = first >= block.start and first + block.n * HOP <= block.stop
    cells = hops.reshape(-1, CELL).astype(np.float64)
    if inner:
        count = np.full(len(cells), CELL)
    else:
        starts = first + CELL * np.arange(len(cells))
        count = np.minimum(starts + CELL, block.stop) - np.maximum(starts, block.start)
        count = np.clip(count, 0, CELL)
    mean = cells.sum(axis=1) / np.maximum(count, 1)
    # The zeros outside the stretch add count-free energy mean**2 each: take them out again.
    energy = np.square(cells - mean[:, None]).sum(axis=1) - (CELL - count) * np.square(mean)
    if not inner:
        inside = np.arange(CELL) < count[:, None]
        if block.start > first:  # the cells before the start hold theirs at the end
            head = (block.start - first) // CELL + 1
            inside[:head] = np.arange(CELL)[::-1] < count[:head, None]
        hops = np.where(inside, cells, mean[:, None]).astype(np.float32).reshape(block.n, HOP)
    high, low = hops.max(axis=1), hops.min(axis=1)
    pair = (block.n, 2)
    return Cells(
        np.maximum(energy, 0.0).astype(np.float32).reshape(pair),
        mean.astype(np.float32).reshape(pair),
        count.astype(np.uint8).reshape(pair),
        high,
        low,
    )


def offset_of(cells: Cells) -> float:
    """Constant offset of the recording: the median of the means of 5 ms.

    The mean of all samples would do for the loud parts only: where they are noise it is off by
    enough to cover what is soft.
    """
    whole = cells.mean[cells.count == CELL]
    return float(np.median(whole)) if len(whole) else 0.0


def level_of(cells: Cells, present: Flags) -> Singles:
    """Level of the 20 ms around each frame's centre.

    Args:
        cells: Sums of M frames.
        present: (M,) frames that have sound.

    Returns:
        (M,) dBFS, 20 log10 of the RMS about the recording's offset; at least FLOOR_DBFS; NaN
        where absent. A window that reaches into a gap or beyond an end holds only the part that
        lies in present frames.
    """
    offset = offset_of(cells)
    level = np.empty(len(present), np.float32)
    for part in _parts(len(present)):
        wide = slice(max(0, part.start - 1), part.stop + 1)
        count = cells.count[wide].astype(np.float64)
        energy = cells.energy[wide] + count * np.square(cells.mean[wide] - offset)
        total, n = energy.sum(axis=1), count.sum(axis=1)
        for values, sums in ((energy, total), (count, n)):
            sums[1:] += values[:-1, 1]
            sums[:-1] += values[1:, 0]
        own = slice(part.start - wide.start, part.stop - wide.start)
        level[part] = _decibels(total[own], n[own])
    level[~present] = np.nan
    return level


def swift_level_of(cells: Cells, present: Flags) -> Singles:
    """Level of each frame's own 10 ms about its own mean.

    It is sharper in time and insensitive to rumble: little is left below 50 Hz, so that the noise
    between words stays even.

    Returns:
        (M,) dBFS, NaN where absent.
    """
    level = np.empty(len(present), np.float32)
    for part in _parts(len(present)):
        count = cells.count[part].astype(np.float64)
        n = count.sum(axis=1)
        means = cells.mean[part]
        mean = (count * means).sum(axis=1, keepdims=True) / np.maximum(n, 1)[:, None]
        energy = cells.energy[part] + count * np.square(means - mean)
        level[part] = _decibels(energy.sum(axis=1), n)
    level[~present] = np.nan
    return level


def _parts(n: int) -> Iterator[slice]:
    """Ten minutes at a time: the sums of a long recording take more room than the result."""
    step = 60_000
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _decibels(total: Floats, n: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(total / np.maximum(n, 1), 10 ** (FLOOR_DBFS / 10))))


def peak_of(cells: Cells) -> Singles:
    """(M,) largest distance from the recording's offset within each 10 ms; 0 where absent."""
    offset = np.float32(offset_of(cells))
    peak: Singles = np.maximum(cells.high - offset, offset - cells.low)
    peak[~cells.count.any(axis=1)] = 0
    return peak


class KeptSums:
    """The 30 bytes kept for every 10 ms, on disk so that memory stays bounded."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115  # open as long as the reader
        finalize(self, self._file.close)  # a recording that fails half-way is never finished
        self._frames: list[slice] = []

    def add(self, frames: slice, cells: Cells, probability: Singles) -> None:
        """Keep the sums and speech probabilities of frames."""
        rows = np.zeros(len(probability), _KEPT)
        for name in _CELLS:
            rows[name] = getattr(cells, name)
        rows["probability"] = probability
        self._frames.append(frames)
        with writing(Path(gettempdir())):
            self._file.write(rows.tobytes())

    def take(self) -> Iterator[tuple[slice, Cells, Singles]]:
        """Everything, in order; empty afterwards."""
        with self._file as stream:
            stream.seek(0)
            for frames in self._frames:
                size = (frames.stop - frames.start) * _KEPT.itemsize
                rows = np.frombuffer(stream.read(size), _KEPT)
                yield frames, Cells(*(rows[n] for n in _CELLS)), rows["probability"]
        self._frames = []
