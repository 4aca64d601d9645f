"""How loud the sound is on the 10 ms grid.

Energy is kept in cells of 5 ms, from which windows of any even length are added up without reading
the sound again; means are kept beside it, so that a constant offset can be taken out at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunbit.streams import AudioChunk, Flags, Floats, Singles
from nunbit.voice.framing import CENTRE, HOP, Block, frame_count, iter_blocks

FLOOR_DBFS = -120.0
"""Level of digital silence."""

CELL = CENTRE
"""Samples of a cell: two to a frame."""


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
        for name in ("energy", "mean", "count", "high", "low"):
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
    some = np.maximum(count, 1)
    mean = cells.sum(axis=1) / some
    # The zeros outside the stretch add count-free energy mean**2 each: take them out again.
    energy = np.square(cells - mean[:, None]).sum(axis=1) - (CELL - count) * np.square(mean)
    if not inner:
        inside = np.arange(CELL) < count[:, None]
        if block.start > first:  # the cells before the start hold theirs at the end
            head = (block.start - first) // CELL + 1
            inside[:head] = np.arange(CELL)[::-1] < count[:head, None]
        filled = np.where(inside, cells, mean[:, None]).astype(np.float32)
        hops = filled.reshape(block.n, HOP)
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

    Sharper in time, and deaf to rumble: below 50 Hz little is left, so that the noise between the
    words of a noisy room stays even.

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
    power = total / np.maximum(n, 1)
    level: Floats = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DBFS / 10)))
    return level


def peak_of(cells: Cells) -> Singles:
    """(M,) largest distance from the recording's offset within each 10 ms; 0 where absent."""
    offset = np.float32(offset_of(cells))
    peak: Singles = np.maximum(cells.high - offset, offset - cells.low)
    peak[~cells.count.any(axis=1)] = 0
    return peak


def level_track(samples: Singles | Floats) -> Singles:
    """Level of a whole recording that starts at time zero.

    Args:
        samples: (n,) mono at 16 kHz, full scale 1.

    Returns:
        (M,) dBFS, see :func:`level_of`.
    """
    total = frame_count(len(samples) / (HOP * 100))
    cells, present = Cells.absent(total), np.zeros(total, bool)
    for block in iter_blocks([AudioChunk(0.0, np.asarray(samples, np.float32))]):
        cells.put(block.frames, measure_cells(block))
        present[block.frames] = True
    return level_of(cells, present)
