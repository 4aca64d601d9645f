"""Decoded pictures: their times, which of them are kept, and how they become upright RGB.

Only kept pictures are converted, and large ones are shrunk in the same step, so a 4K file costs
little more memory than a small one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nunbit.media.container import Source, load_av
from nunbit.media.fields import Fields
from nunbit.reading import ReadingNote
from nunbit.streams import Frame
from nunbit.timebase import TOLERANCE_S

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

_LOOK_AHEAD = 32  # packets; H.264 and H.265 move a picture by 16 places at most
_SAME_S = 1e-9
_HD_ROWS = 720  # untagged pictures of this height and more are taken for BT.709, as players do
_UNTAGGED_COLOURS = 2
_BT709 = 1

T = TypeVar("T")


class GridPicker(Generic[T]):
    """Keeps the picture nearest to each time k / rate_hz, as :func:`timebase.nearest_within` does.

    Takes pictures one by one, in order, and holds only one of them.

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
        step = math.ceil(time_s * self._rate_hz - 0.5 - _SAME_S * self._rate_hz)
        distance = abs(time_s - step / self._rate_hz)
        if step < self._first or distance > TOLERANCE_S + _SAME_S:
            return None
        return step, distance

    def offer(self, time_s: float, picture: T) -> Iterator[tuple[float, T]]:
        """Take one picture; give the one before it if its grid step is complete."""
        found = self.place(time_s)
        if found is None:
            return
        step, distance = found
        if step != self._place:
            yield from self.finish()
            self._place, self._best = step, (distance, time_s, picture)
        elif self._best is None or distance < self._best[0] - _SAME_S:
            self._best = (distance, time_s, picture)

    def finish(self, end_s: float = math.inf) -> Iterator[tuple[float, T]]:
        """Give the last picture, unless it stands for a grid time at or after ``end_s``."""
        inside = self._place is not None and self._place / self._rate_hz < end_s - _SAME_S
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
        if self.transpose:
            return 270 if self.flip_y else 90
        return 180 if self.flip_y else 0

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn (H, W, 3) pixels; a copy in memory order."""
        if self.transpose:
            pixels = pixels.swapaxes(0, 1)
        pixels = pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(pixels)


def orientation_of(frame: VideoFrame) -> Orientation:
    """What the file asks players to do with a picture (its display matrix).

    The matrix maps x' = a x + c y, y' = b x + d y, with y down (FFmpeg, libavutil/display.h).
    Turns that are no multiple of 90 degrees are taken for the nearest one.
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
    aspect = float(pixel_aspect or 1)
    if not 0.1 < aspect < 10:  # damaged headers
        aspect = 1.0
    return round(frame.width * max(1.0, aspect)), round(frame.height / min(1.0, aspect))


class Pictures:
    """The pictures of one pass.

    Args:
        source: Open, with a video stream.
        rate_hz: Pictures kept per second; None keeps all.
        start_s: Earlier ones are left out.
        max_side: Larger pictures are shrunk to this longer side, pixels.
        fields: Looks for interlacing over several passes; one of its own by default.
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
        self._source = source
        self._stream = source.video
        self._start_s = start_s
        self._max_side = max_side
        self._picker = None if rate_hz is None else GridPicker["VideoFrame"](rate_hz, start_s)
        self._converter = load_av().video.reformatter.VideoReformatter()
        self._fields = fields or Fields()
        self._turn: tuple[int, Orientation] | None = None
        self._waiting: deque[Packet[Any]] = deque()
        self._nearest: dict[int, tuple[float, int]] = {}
        self.last_s: float | None = None
        self.end_s = 0.0

    def add(self, packet: Packet[Any]) -> Iterator[Frame]:
        """Take one packet; give the pictures that are ready."""
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
        """Give the last picture."""
        if self._picker is not None:
            for time_s, frame in self._picker.finish(self.end_s):
                yield self._convert(time_s, frame)

    def notes(self) -> tuple[ReadingNote, ...]:
        """What decoding showed, after :meth:`finish`."""
        return self._fields.notes()

    def _note_candidate(self, packet: Packet[Any]) -> None:
        assert self._picker is not None
        if packet.pts is None:
            return
        found = self._picker.place(self._source.time_s(packet.pts, packet.time_base))
        if found is None:
            return
        step, distance = found
        best = self._nearest.get(step)
        nearer = best is None or distance < best[0] - _SAME_S
        if nearer or (best and distance < best[0] + _SAME_S and packet.pts < best[1]):
            self._nearest[step] = (distance, packet.pts)
        while len(self._nearest) > 2 * _LOOK_AHEAD:
            del self._nearest[min(self._nearest)]

    def _wanted(self, packet: Packet[Any]) -> bool:
        assert self._picker is not None
        if packet.pts is None:
            return True
        found = self._picker.place(self._source.time_s(packet.pts, packet.time_base))
        if found is None:
            return False
        best = self._nearest.get(found[0])
        return best is None or best[1] == packet.pts

    def _decode(self, packet: Packet[Any]) -> Iterator[Frame]:
        av = load_av()
        self._source.refuse_encrypted(packet)
        try:
            frames: list[Any] = packet.decode()
        except (av.FFmpegError, ValueError):
            self._source.note_damage(self._source.packet_time_s(packet))
            return
        for frame in frames:
            yield from self._keep(frame)

    def _keep(self, frame: VideoFrame) -> Iterator[Frame]:
        time_s = self._time_of(frame)
        if frame.is_corrupt or (self.last_s is not None and time_s <= self.last_s):
            if time_s >= self._start_s:  # after a seek the first ones are incomplete by nature
                self._source.note_damage(time_s)
            return
        self.last_s = time_s
        self.end_s = max(self.end_s, time_s + self._period_s())
        if self._picker is not None:
            for kept_s, kept in self._picker.offer(time_s, frame):
                yield self._convert(kept_s, kept)
        elif time_s >= self._start_s - _SAME_S:
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
        width, height = display_size(frame, self._stream.sample_aspect_ratio)
        scale = min(1.0, self._max_side / max(width, height))
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        untagged = frame.colorspace == _UNTAGGED_COLOURS and frame.height >= _HD_ROWS
        one_moment = self._fields.one_moment(time_s, frame)
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
