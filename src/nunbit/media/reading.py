"""Read a media file: what it holds, its frames and its sound."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nunbit.errors import SettingsError
from nunbit.media.container import Source, load_av, open_media
from nunbit.media.pictures import Pictures, display_size, orientation_of
from nunbit.media.refusals import (
    Notices,
    check_file,
    cut_off_notices,
    damage_notices,
    nothing_decoded,
)
from nunbit.media.sound import Sound
from nunbit.streams import AudioChunk, AudioInfo, Frame, Interval, MediaInfo, VideoInfo

if TYPE_CHECKING:
    from av.packet import Packet

_TRIES = 500  # packets without one decoded frame after which a stream counts as unreadable
_PADDING_S = 0.1  # a header's length this much shorter than the packets leaves out their padding


def probe_media(path: Path, *, audio_stream: int = 0, notices: Notices | None = None) -> MediaInfo:
    """What a file holds and how long it really is.

    Goes through all packets once without decoding them (a second for ten minutes), because
    headers are wrong in cut-off files and missing in others; times agree with
    :func:`read_media` to within a frame.

    Args:
        path: Any video or sound file.
        audio_stream: Which of its sound streams, from 0.
        notices: Gets what was odd, as (en, ko) pairs.

    Raises:
        MediaError: It cannot be read at all.
        InputError: It has no such sound stream.
        MissingExtra: PyAV is not installed.
    """
    with open_media(path, audio_stream=audio_stream) as source:
        film, sound = _Span(source, "video"), _Span(source, "audio")
        for packet in source.packets():
            (film if packet.stream is source.video else sound).add(packet)
        video, audio = _video_info(source, film), _audio_info(source, sound)
        if video is None and audio is None:
            raise nothing_decoded(path)
        duration_s = max(each.end_s for each in (video, audio) if each is not None)
        if notices is not None:
            _tell(notices, _notices(source, duration_s))
            _tell(notices, _unreadable_notices(source, film, sound))
            _tell(notices, _choice_notices(source))
    name = unicodedata.normalize("NFC", path.name)
    return MediaInfo(name, duration_s, video, audio)


def read_media(
    path: Path,
    *,
    rate_hz: float | None = 10.0,
    audio_stream: int = 0,
    start_s: float = 0.0,
    want_video: bool = True,
    want_audio: bool = True,
    max_side: int = 1280,
    threads: int = 1,
    notices: Notices | None = None,
) -> Iterator[Frame | AudioChunk]:
    """Frames and sound of a file in one pass, each in the order of its times.

    Args:
        path: Any video or sound file.
        rate_hz: Frames per second: of each grid time k / rate_hz the frame nearest to it, if one
            is within 50 ms and half a step, with its own time. None gives every frame.
        audio_stream: Which sound stream, from 0.
        start_s: What comes before is left out.
        want_video: Whether to give frames.
        want_audio: Whether to give sound; a chunk is about half a second.
        max_side: Larger pictures are shrunk to this longer side, so a frame may be smaller than
            ``MediaInfo.video``.
        threads: Threads of the video decoder.
        notices: Gets what was odd, as (en, ko) pairs, when the file has been read to its end:
            damaged pieces, a file that is cut off.

    Raises:
        MediaError: The file is missing, empty, no media file, encrypted, or nothing in it can be
            decoded.
        InputError: It has no such sound stream.
        SettingsError: ``rate_hz`` or ``max_side`` is not positive.
        MissingExtra: PyAV is not installed.
    """
    if (rate_hz is not None and not 0 < rate_hz < math.inf) or max_side < 1:
        raise SettingsError(
            en=f"rate_hz = {rate_hz}, max_side = {max_side}: expected more than 0",
            ko=f"rate_hz = {rate_hz}, max_side = {max_side}: 0보다 커야 합니다",
        )
    load_av()
    check_file(path)  # now, not when the first frame is asked for
    return _read(
        path,
        _Wish(rate_hz, audio_stream, start_s, want_video, want_audio, max_side, threads),
        notices,
    )


def iter_audio(path: Path, *, audio_stream: int = 0) -> Iterator[AudioChunk]:
    """The sound of a file alone; nothing where it has none. Errors as in :func:`read_media`."""
    for item in read_media(path, audio_stream=audio_stream, want_video=False):
        if isinstance(item, AudioChunk):
            yield item


def iter_frames(path: Path, interval: Interval, *, max_side: int = 1280) -> Iterator[Frame]:
    """Every frame whose time lies in ``interval``, at native rate; reads only near it.

    Errors as in :func:`read_media`, but an interval in which nothing can be decoded gives nothing.
    """
    for item in read_media(
        path, rate_hz=None, start_s=interval.start_s, want_audio=False, max_side=max_side
    ):
        if isinstance(item, Frame):
            if item.time_s >= interval.end_s:
                return
            yield item


@dataclass(frozen=True, slots=True)
class _Wish:
    """The arguments of :func:`read_media`."""

    rate_hz: float | None
    audio_stream: int
    start_s: float
    want_video: bool
    want_audio: bool
    max_side: int
    threads: int


def _read(path: Path, wish: _Wish, notices: Notices | None) -> Iterator[Frame | AudioChunk]:
    with open_media(
        path,
        audio_stream=wish.audio_stream,
        want_video=wish.want_video,
        want_audio=wish.want_audio,
        threads=wish.threads,
    ) as source:
        if source.video is None and source.audio is None:
            return  # what is wanted is not in the file
        pictures = sound = None
        if source.video is not None:
            pictures = Pictures(
                source, rate_hz=wish.rate_hz, start_s=wish.start_s, max_side=wish.max_side
            )
        if source.audio is not None:
            sound = Sound(source, start_s=wish.start_s)
        source.seek(wish.start_s)
        for packet in source.packets():
            if pictures is not None and packet.stream is source.video:
                yield from pictures.add(packet)
            elif sound is not None:
                yield from sound.add(packet)
        if pictures is not None:
            yield from pictures.finish()
        if sound is not None:
            yield from sound.finish()
        read_to_s = max(each.end_s for each in (pictures, sound) if each is not None)
        if read_to_s == 0.0 and wish.start_s <= 0:
            raise nothing_decoded(path)
        if notices is not None:
            _tell(notices, _notices(source, read_to_s))


class _Span:
    """Where a stream begins and ends, and its first decoded frame."""

    def __init__(self, source: Source, kind: str) -> None:
        self._source = source
        self.stream: Any = source.video if kind == "video" else source.audio
        self.first: Any = None
        self.n_packets = 0
        self.end_s = -math.inf
        self._left = _TRIES

    def add(self, packet: Packet[Any]) -> None:
        """Note a packet's time; decode until there is one frame."""
        if packet.size:
            self.n_packets += 1
            at = self._source.packet_time_s(packet)
            if at is not None and not packet.is_discard:
                length = float((packet.duration or 0) * packet.time_base)
                self.end_s = max(self.end_s, at + length)
        if self.first is None and self._left > 0:
            self._left -= 1
            self._source.refuse_encrypted(packet)
            try:
                frames: list[Any] = packet.decode()
            except (load_av().FFmpegError, ValueError):
                return
            if frames:
                self.first = frames[0]

    def bounds_s(self) -> tuple[float, float]:
        """Start of the first decoded frame and end of the last packet."""
        first = self.first
        start_s = 0.0
        if first.pts is not None and first.time_base:
            start_s = self._source.time_s(first.pts, first.time_base)
        announced = self._source.stream_end_s(self.stream)
        if announced is not None and 0 < self.end_s - announced < _PADDING_S:
            return start_s, announced
        return start_s, self.end_s


def _video_info(source: Source, span: _Span) -> VideoInfo | None:
    if span.first is None:
        return None
    start_s, end_s = span.bounds_s()
    rate = source.video.average_rate if source.video is not None else None
    if not math.isfinite(end_s) or end_s <= start_s:
        end_s = start_s + (span.n_packets / float(rate) if rate else 0.04)
    turn = orientation_of(span.first)
    width, height = display_size(span.first, span.stream.sample_aspect_ratio)
    if turn.transpose:
        width, height = height, width
    return VideoInfo(
        width=width,
        height=height,
        rotation_deg=turn.rotation_deg,
        fps=str(rate) if rate else None,
        start_s=start_s,
        end_s=end_s,
    )


def _audio_info(source: Source, span: _Span) -> AudioInfo | None:
    if span.first is None:
        return None
    start_s, end_s = span.bounds_s()
    return AudioInfo(
        rate_hz=span.first.sample_rate,
        channels=span.first.layout.nb_channels,
        start_s=start_s,
        end_s=max(end_s, start_s + span.first.samples / span.first.sample_rate),
        stream=source.audio_index,
        n_streams=source.n_audio,
    )


def _tell(notices: Notices, new: Notices) -> None:
    """Add what has not been said: probing and reading find the same end of a cut-off file."""
    notices += [each for each in new if each not in notices]


def _notices(source: Source, read_to_s: float) -> Notices:
    name = source.path.name
    return [
        *cut_off_notices(name, read_to_s, source.announced_end_s(), cut_off=source.cut_off),
        *damage_notices(name, source.damaged, source.damaged_at_s),
    ]


def _unreadable_notices(source: Source, film: _Span, sound: _Span) -> Notices:
    """Streams that are there and cannot be decoded."""
    name = source.path.name
    notices: Notices = []
    if film.first is None and source.n_video:
        notices.append(
            (
                f"{name}: its pictures cannot be decoded; only the sound is used",
                f"{name}: 영상을 읽을 수 없어 소리만 사용합니다",
            )
        )
    if sound.first is None and source.n_audio:
        notices.append(
            (
                f"{name}: its sound cannot be decoded; only the pictures are used",
                f"{name}: 소리를 읽을 수 없어 영상만 사용합니다",
            )
        )
    return notices


def _choice_notices(source: Source) -> Notices:
    """Streams that are left out because another was taken."""
    name, n_audio, n_video = source.path.name, source.n_audio, source.n_video
    notices: Notices = []
    if n_audio > 1:
        taken = source.audio_index
        others = ", ".join(f"--set audio_stream={k}" for k in range(n_audio) if k != taken)
        notices.append(
            (
                f"{name}: has {n_audio} sound streams, counted from 0; number {taken} is read, "
                f"another with {others}",
                f"{name}: 소리 스트림이 {n_audio}개이며(0부터 셉니다) {taken}번을 읽습니다. 다른 "
                f"것을 읽으려면 {others}",
            )
        )
    if n_video > 1:
        notices.append(
            (
                f"{name}: has {n_video} picture streams; only the one marked as default (else the "
                "first) is read",
                f"{name}: 영상 스트림이 {n_video}개입니다. 기본으로 표시된 것(없으면 첫째)만 "
                "읽습니다",
            )
        )
    return notices
