"""Put sound on the 10 ms grid: chunks in, blocks of frames with their surroundings out.

The blocks do not depend on how the sound was cut into chunks, so neither does anything computed
from them. Holds about five seconds of sound at most; knows nothing of pitch or speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nunbit.streams import AUDIO_RATE_HZ, VOICE_HOP_S, AudioChunk, Floats, Singles

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
    """Turns chunk times into sample positions and tells gaps from rounded time stamps."""

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
        edges = np.flatnonzero(np.diff(finite, prepend=False, append=False))
        for start, stop in edges.reshape(-1, 2).tolist():
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
    """

    def __init__(self, margin: int = MARGIN) -> None:
        self._margin = margin
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
        size = 2 * self._margin + (_BLOCK_FRAMES - 1) * HOP
        while self._length >= size:
            yield self._cut(_BLOCK_FRAMES, size)

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


def frame_times(n: int) -> Floats:
    """(n,) centres of the first frames, seconds."""
    times: Floats = (np.arange(n) * HOP + CENTRE) / AUDIO_RATE_HZ
    return times
