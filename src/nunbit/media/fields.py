"""Interlaced pictures: two moments in one, line by line; of these one is taken.

What a file says of itself is not asked: it is often wrong in both ways. A picture is looked at:
where something moved between the two moments, neighbouring lines alternate. Where nothing moved,
the whole picture is one moment and stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nunbit.media.container import load_av
from nunbit.media.notes import interlaced_note
from nunbit.reading import ReadingNote

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_COLUMNS = 8  # every eighth column is looked at
_BLOCK = (16, 8)  # lines and columns looked at, 16 x 64 pixels
# A line differs from both neighbours by more than this, the neighbours from each other by less:
# grey levels of 8 bits.
_APART, _ALIKE = 10, 8
# Of the pixels of a block. Progressive clips (24 of seven sources) reach 0.12 in their worst block,
# an interlaced one of a moving head 0.27 to 0.94.
_BLOCK_SHARE, _LEAST_BLOCKS = 0.25, 2
_LEAST_LINES = 64
_LOOK_EVERY = 4


class Fields:
    """Takes one moment of the pictures that hold two.

    Args:
        every: One picture of so many is looked at until one holds two moments.

    Attributes:
        count: Pictures that held two.
        first_s: Time of the first, or None.
    """

    def __init__(self, every: int = _LOOK_EVERY) -> None:
        self.count = 0
        self.first_s: float | None = None
        self._every = every
        self._seen = 0
        self._graph: Any = None
        self._kind: tuple[Any, ...] = ()

    def one_moment(self, time_s: float, frame: VideoFrame) -> VideoFrame:
        """The picture itself, or one of half its height with every other line."""
        self._seen += 1
        # Looking takes 2 ms of a full HD picture: not at each, until there is a reason.
        suspect = bool(self.count) or frame.interlaced_frame
        if not (suspect or (self._seen - 1) % self._every == 0) or not is_combed(luma(frame)):
            return frame
        self.count += 1
        if self.first_s is None:
            self.first_s = time_s
        kind = (frame.width, frame.height, frame.format.name)
        if kind != self._kind:
            self._graph, self._kind = _graph(frame), kind
        self._graph.push(frame)
        taken: VideoFrame = self._graph.pull()
        return taken

    def notes(self) -> tuple[ReadingNote, ...]:
        """What to say of the pictures so far."""
        if not self.count or self.first_s is None:
            return ()
        return (interlaced_note(self.count, self.first_s),)


def luma(frame: VideoFrame) -> NDArray[np.int16] | None:
    """(H, w) brightness of every eighth column, 0 to 255; None where it is no plane of its own."""
    kind_of = frame.format
    component = kind_of.components[0]
    if kind_of.is_rgb or not kind_of.is_planar or not component.is_luma:
        return None
    bits = component.bits
    plane: Any = frame.planes[0]
    lines: NDArray[Any] = np.frombuffer(plane, np.uint8 if bits <= 8 else np.uint16)
    across = plane.line_size // lines.itemsize
    rows = lines[: across * frame.height].reshape(frame.height, across)
    rows = rows[:, : frame.width : _COLUMNS]
    return np.asarray(rows if bits <= 8 else rows >> (bits - 8), np.int16)


def is_combed(rows: NDArray[np.int16] | None) -> bool:
    """Whether neighbouring lines alternate in some part of a picture.

    Args:
        rows: (H, w) as :func:`luma` gives them; None is not combed.
    """
    if rows is None or len(rows) < _LEAST_LINES or rows.shape[1] < _BLOCK[1]:
        return False
    down = rows[1:] - rows[:-1]
    up, low = down[:-1], down[1:]
    # A line above both neighbours or below both, by enough on either side.
    combed = (up > _APART) & (low < -_APART)
    combed |= (up < -_APART) & (low > _APART)
    if np.count_nonzero(combed) < _LEAST_BLOCKS * _BLOCK_SHARE * _BLOCK[0] * _BLOCK[1]:
        return False
    combed &= np.abs(rows[2:] - rows[:-2]) < _ALIKE
    lines, columns = (n // b for n, b in zip(combed.shape, _BLOCK, strict=True))
    blocks = combed[: lines * _BLOCK[0], : columns * _BLOCK[1]].reshape(
        lines, _BLOCK[0], columns, _BLOCK[1]
    )
    share = blocks.mean(axis=(1, 3))
    return bool(np.count_nonzero(share >= _BLOCK_SHARE) >= _LEAST_BLOCKS)


def _graph(frame: VideoFrame) -> Any:
    """FFmpeg's filter that gives every other line."""
    graph = load_av().filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    field, sink = graph.add("field", "top"), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    return graph
