"""Decoded pictures: their times, which are kept, how they become upright RGB.

Only kept pictures are converted, and large ones are shrunk in the same step, so a 4K file costs
little more memory than a small one. Interlaced pictures hold two moments, line by line: one of them
is read. The header is ignored, because it is often wrong in both ways. The pictures decide: where
something moved between the two moments, neighbouring lines alternate. A picture without movement
stays as it is.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nunbit.core.schema import ReadingNote
from nunbit.core.streams import Frame
from nunbit.core.timebase import SAME_S, TOLERANCE_S
from nunbit.recording.media.container import Source, load_av, open_media
from nunbit.recording.media.file_notes import interlaced_note

if TYPE_CHECKING:
    from av import Packet, VideoFrame

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
    """Reads one moment of the pictures that hold two.

    Args:
        every: One picture in so many is examined until one holds two moments.

    Attributes:
        count: Pictures that held two.
        first_s: Time of the first, or None.
    """

    def __init__(self, every: int = _LOOK_EVERY) -> None:
        self.count = self._seen = 0
        self.first_s: float | None = None
        self._every = every
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
        """Notes about the pictures so far."""
        return () if self.first_s is None else (interlaced_note(self.count, self.first_s),)


def luma(frame: VideoFrame) -> NDArray[np.int16] | None:
    """(H, w) brightness of every eighth column, 0 to 255; None where it is no plane of its own."""
    component = frame.format.components[0]
    if frame.format.is_rgb or not frame.format.is_planar or not component.is_luma:
        return None
    bits = component.bits
    plane: Any = frame.planes[0]
    lines: NDArray[Any] = np.frombuffer(plane, np.uint8 if bits <= 8 else np.uint16)
    across = plane.line_size // lines.itemsize
    rows = lines[: across * frame.height].reshape(frame.height, across)[:, : frame.width : _COLUMNS]
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
    combed = ((up > _APART) & (low < -_APART)) | ((up < -_APART) & (low > _APART))
    if np.count_nonzero(combed) < _LEAST_BLOCKS * _BLOCK_SHARE * _BLOCK[0] * _BLOCK[1]:
        return False
    combed &= np.abs(rows[2:] - rows[:-2]) < _ALIKE
    lines, columns = (n // b for n, b in zip(combed.shape, _BLOCK, strict=True))
    blocks = combed[: lines * _BLOCK[0], : columns * _BLOCK[1]].reshape(
        lines, _BLOCK[0], columns, _BLOCK[1]
    )
    return bool(np.count_nonzero(blocks.mean(axis=(1, 3)) >= _BLOCK_SHARE) >= _LEAST_BLOCKS)


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


_LOOK_AHEAD = 32  # packets; H.264 and H.265 move a picture by 16 places at most
_HD_ROWS = 720  # untagged pictures of this height and more are taken for BT.709, as players do
_UNTAGGED_COLOURS = 2
_BT709 = 1

T = TypeVar("T")


class GridPicker(Generic[T]):
    """Keeps the picture nearest to each time k / rate_hz, as :func:`timebase.nearest_within` does.

    Takes pictures in order and holds only one of them.

    Args:
        rate_hz: Of the grid.
        start_s: Grid times before it are left out.
    """

    def __init__(self, rate_hz: float, start_s: float = 0.0) -> None:
        self._rate_hz = rate_hz
        self._first = math.ceil(round(start_s * rate_hz, 6))
        self._place: int | None = None
        self._best: tuple[float, float, T] | None = None  # distance, time, picture

    def place(self, time_s: float) -> tuple[int, float] | None:
        """The grid step that a time belongs to and its distance, None where it is too far."""
        # Half-way times belong to the earlier step.
        step = math.ceil(time_s * self._rate_hz - 0.5 - SAME_S * self._rate_hz)
        distance = abs(time_s - step / self._rate_hz)
        if step < self._first or distance > TOLERANCE_S + SAME_S:
            return None
        return step, distance

    def offer(self, time_s: float, picture: T) -> Iterator[tuple[float, T]]:
        """Take one picture; return the one before it if its grid step is complete."""
        found = self.place(time_s)
        if found is None:
            return
        step, distance = found
        if step != self._place:
            yield from self.finish()
            self._place, self._best = step, (distance, time_s, picture)
        elif self._best is None or distance < self._best[0] - SAME_S:
            self._best = (distance, time_s, picture)

    def finish(self, end_s: float = math.inf) -> Iterator[tuple[float, T]]:
        """Return the last picture, unless it stands for a grid time at or after ``end_s``."""
        inside = self._place is not None and self._place / self._rate_hz < end_s - SAME_S
        if self._best is not None and inside:
            yield self._best[1], self._best[2]
        self._best = None


@dataclass(frozen=True, slots=True)
class Orientation:
    """How stored pixels become upright ones: exchange rows and columns, then mirror.

    Attributes:
        transpose: Exchange rows and columns first.
        flip_x: Then mirror left and right.
        flip_y: Then mirror top and bottom.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation_deg(self) -> int:
        """The turn in it, clockwise, mirroring left aside: 0, 90, 180, 270."""
        return (90 if self.transpose else 0) + (180 if self.flip_y else 0)

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn (H, W, 3) pixels; a copy in memory order."""
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        return np.ascontiguousarray(
            pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        )


def orientation_of(frame: VideoFrame) -> Orientation:
    """How the file wants pictures to be shown (its display matrix).

    The matrix maps x' = a x + c y, y' = b x + d y, with y down (FFmpeg, libavutil/display.h). Other
    turns are rounded to the nearest multiple of 90 degrees.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32, 9).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(flip_x=a < 0, flip_y=d < 0)


def display_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels, before turning; never smaller than stored."""
    given = float(pixel_aspect or 1)
    aspect = given if 0.1 < given < 10 else 1.0  # damaged headers
    return round(frame.width * max(1.0, aspect)), round(frame.height / min(1.0, aspect))


class Upright:
    """Makes decoded pictures upright RGB of bounded size.

    Args:
        max_side: Larger pictures are shrunk to this longer side, pixels.
        fields: Looks for interlacing; one of its own by default.

    Attributes:
        fields: Has the notes on interlaced pictures.
    """

    def __init__(self, max_side: int, fields: Fields | None = None) -> None:
        self._max_side = max_side
        self._converter = load_av().video.reformatter.VideoReformatter()
        self.fields = fields or Fields()
        self._turn: tuple[int, Orientation] | None = None

    def convert(
        self, time_s: float, frame: VideoFrame, pixel_aspect: Fraction | None = None
    ) -> Frame:
        """The next picture, in order of time; its pixels are square."""
        width, height = display_size(frame, pixel_aspect)
        scale = min(1.0, self._max_side / max(width, height))
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        untagged = frame.colorspace == _UNTAGGED_COLOURS and frame.height >= _HD_ROWS
        one_moment = self.fields.one_moment(time_s, frame)
        smaller = self._converter.reformat(
            one_moment,
            width,
            height,
            format="rgb24",
            src_colorspace=_BT709 if untagged else None,
            interpolation="AREA" if scale < 1 and one_moment is frame else "BILINEAR",
            threads=1,
        )
        # Reading side data ties a frame into a cycle that keeps its memory: so not for each.
        if self._turn is None or self._turn[0] != frame.rotation:
            self._turn = (frame.rotation, orientation_of(frame))
        return Frame(time_s, self._turn[1].apply(smaller.to_ndarray()))


class Pictures:
    """The pictures of one pass.

    Args:
        source: Open, with a video stream.
        rate_hz: Pictures kept per second; None keeps all.
        start_s: Earlier ones are left out.
        max_side: Larger pictures are shrunk to this longer side, pixels.
        fields: Looks for interlacing over several passes; one of its own by default.

    Attributes:
        fields: Has the notes on interlaced pictures after :meth:`finish`.
    """

    def __init__(
        self,
        source: Source,
        *,
        rate_hz: float | None,
        start_s: float,
        max_side: int,
        fields: Fields | None = None,
    ) -> None:
        assert source.video is not None
        self._source, self._stream = source, source.video
        self._start_s = start_s
        self._picker = None if rate_hz is None else GridPicker["VideoFrame"](rate_hz, start_s)
        self._upright = Upright(max_side, fields)
        self.fields = self._upright.fields
        self._waiting: deque[Packet[Any]] = deque()
        self._nearest: dict[int, tuple[float, int]] = {}
        self.last_s: float | None = None
        self.end_s = 0.0

    def add(self, packet: Packet[Any]) -> Iterator[Frame]:
        """Take one packet; return the pictures that are ready."""
        context = self._stream.codec_context
        # Pictures that no other depends on, and that nobody wants, need not be decoded: a quarter
        # less work for files with B-frames, the same pictures. With several threads the setting
        # would reach the wrong packet.
        if self._picker is None or not context.has_b_frames or context.thread_count > 1:
            yield from self._decode(packet)
            return
        if packet.size:
            self._note_candidate(packet)
            self._waiting.append(packet)
        while self._waiting and (not packet.size or len(self._waiting) > _LOOK_AHEAD):
            ready = self._waiting.popleft()
            context.skip_frame = "DEFAULT" if self._wanted(ready) else "NONREF"
            yield from self._decode(ready)
        if not packet.size:
            yield from self._decode(packet)

    def finish(self) -> Iterator[Frame]:
        """Return the last picture."""
        if self._picker is not None:
            yield from itertools.starmap(self._convert, self._picker.finish(self.end_s))

    def _note_candidate(self, packet: Packet[Any]) -> None:
        if packet.pts is None or (found := self._place(packet)) is None:
            return
        step, distance = found
        best = self._nearest.get(step)
        nearer = best is None or distance < best[0] - SAME_S
        if nearer or (best and distance < best[0] + SAME_S and packet.pts < best[1]):
            self._nearest[step] = (distance, packet.pts)
        while len(self._nearest) > 2 * _LOOK_AHEAD:
            del self._nearest[min(self._nearest)]

    def _wanted(self, packet: Packet[Any]) -> bool:
        if packet.pts is None:
            return True
        found = self._place(packet)
        best = None if found is None else self._nearest.get(found[0])
        return found is not None and (best is None or best[1] == packet.pts)

    def _place(self, packet: Packet[Any]) -> tuple[int, float] | None:
        assert self._picker is not None
        assert packet.pts is not None
        return self._picker.place(self._source.time_s(packet.pts, packet.time_base))

    def _decode(self, packet: Packet[Any]) -> Iterator[Frame]:
        return (kept for frame in self._source.decoded(packet) for kept in self._keep(frame))

    def _keep(self, frame: VideoFrame) -> Iterator[Frame]:
        time_s = self._time_of(frame)
        if frame.is_corrupt or (self.last_s is not None and time_s <= self.last_s):
            if time_s >= self._start_s:  # after a seek the first ones are incomplete by nature
                self._source.note_damage(time_s)
            return
        self.last_s = time_s
        self.end_s = max(self.end_s, time_s + self._period_s())
        if self._picker is not None:
            yield from itertools.starmap(self._convert, self._picker.offer(time_s, frame))
        elif time_s >= self._start_s - SAME_S:
            yield self._convert(time_s, frame)

    def _time_of(self, frame: VideoFrame) -> float:
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is not None and frame.time_base:
            return self._source.time_s(stamp, frame.time_base)
        return 0.0 if self.last_s is None else self.last_s + self._period_s()

    def _period_s(self) -> float:
        rate = self._stream.average_rate or self._stream.guessed_rate
        return 1 / float(rate) if rate else 0.04

    def _convert(self, time_s: float, frame: VideoFrame) -> Frame:
        return self._upright.convert(time_s, frame, self._stream.sample_aspect_ratio)


_LATER_S = 1e-6  # the frame that was given is not given again


def sample_frames(
    path: Path,
    times_s: Sequence[float],
    *,
    max_side: int = 1280,
    noted: list[ReadingNote] | None = None,
) -> Iterator[Frame]:
    """About one frame for each time: a key frame before it, or a later one where that was given.

    For a first look without reading the rest: the file decides which frame comes.

    Args:
        path: Any video file.
        times_s: Increasing, media clock.
        max_side: Larger pictures are shrunk to this longer side.
        noted: Gets what decoding showed of the pictures (interlacing) after the last frame; counts
            are of the frames given.

    Returns:
        Frames with increasing times, fewer than asked for where the file has fewer; none without
        video.

    Raises:
        MediaError: The file cannot be opened.
        MissingExtra: PyAV is not installed.
    """
    with open_media(path, want_audio=False) as source:
        if source.video is None:
            return
        fields = Fields(every=1)
        least_s = 0.0
        for time_s, next_s in zip(times_s, (*times_s[1:], None), strict=False):
            # A key frame further back than half a step would stand for another stretch.
            half_s = 0.0 if next_s is None else (next_s - time_s) / 2
            frame = _frame_near(source, time_s, max(least_s, time_s - half_s), max_side, fields)
            if frame is not None:
                least_s = frame.time_s + _LATER_S
                yield frame
        if noted is not None:
            noted += fields.notes()


def _frame_near(
    source: Source, time_s: float, least_s: float, max_side: int, fields: Fields
) -> Frame | None:
    """The first frame at ``least_s`` or later that decoding from before ``time_s`` gives."""
    source.seek(time_s)
    # Frames before the wanted one are decoded but not converted.
    pictures = Pictures(source, rate_hz=None, start_s=least_s, max_side=max_side, fields=fields)
    ready = (frame for packet in source.packets() for frame in pictures.add(packet))
    return next(itertools.chain(ready, pictures.finish()), None)
