"""Read a media file: what it holds, its frames and its sound."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nunbit.errors import SettingsError
from nunbit.media.container import Source, load_av, open_media
from nunbit.media.levels import SoundFacts, channel_notes, level_notes
from nunbit.media.notes import (
    choice_notes,
    cut_off_notes,
    damage_notes,
    hdr_note,
    longer_notes,
    rate_notes,
    strange_bytes_notes,
    unreadable_notes,
)
from nunbit.media.pictures import Pictures, display_size, orientation_of
from nunbit.media.refusals import Notices, check_file, nothing_decoded
from nunbit.media.sound import SampledSound, Sound
from nunbit.reading import ReadingNote
from nunbit.streams import AudioChunk, AudioInfo, Frame, Interval, MediaInfo, VideoInfo

if TYPE_CHECKING:
    from av.packet import Packet

_TRIES = 500  # packets without one decoded frame after which a stream counts as unreadable
_SPEECH_RATE_HZ = 8000
_BARE_SOUND = {"mp3", "aac"}
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
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
        heard = None if source.audio is None else SampledSound(source)
        for packet in source.packets():
            if packet.stream is source.video:
                film.add(packet)
            elif heard is not None:
                heard.add(packet, sound.add(packet))
        video, audio = _video_info(source, film), _audio_info(source, sound)
        if video is None and audio is None:
            raise nothing_decoded(path)
        duration_s = max(each.end_s for each in (video, audio) if each is not None)
        facts = None if heard is None or audio is None else heard.facts()
        if facts is not None:
            _FACTS.put(path, audio_stream, facts)
        notes = (*_end_notes(source, duration_s), *_probe_notes(source, film, sound, facts))
        _tell(notices, notes)
    name = unicodedata.normalize("NFC", path.name)
    return MediaInfo(name, duration_s, video, audio, notes)


def sample_sound(path: Path, *, audio_stream: int = 0) -> SoundFacts | None:
    """How loud the channels of a file are, on up to two minutes of it; None without sound.

    What is said of the channels holds for every reading of the file: which of them are read is
    decided here. Costs nothing after :func:`probe_media`. Errors as there.
    """
    known = _FACTS.get(path, audio_stream)
    if known is not None:
        return known
    with open_media(path, audio_stream=audio_stream, want_video=False) as source:
        if source.audio is None:
            return None
        heard = SampledSound(source)
        for packet in source.packets():
            heard.add(packet)
        facts = heard.facts()
    _FACTS.put(path, audio_stream, facts)
    return facts


class _Facts:
    """What was found of files, so that each is sampled once, while they stay as they are."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int, int], SoundFacts] = {}

    def get(self, path: Path, stream: int) -> SoundFacts | None:
        return self._known.get(self._key(path, stream))

    def put(self, path: Path, stream: int, facts: SoundFacts) -> None:
        while len(self._known) >= _KEPT_FACTS:
            self._known.pop(next(iter(self._known)))
        self._known[self._key(path, stream)] = facts

    @staticmethod
    def _key(path: Path, stream: int) -> tuple[str, int, int, int]:
        about = path.stat()
        return str(path.absolute()), about.st_size, about.st_mtime_ns, stream


_KEPT_FACTS = 64
_FACTS = _Facts()


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
    reading: list[ReadingNote] | None = None,
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
        reading: Likewise, as notes of the reading protocol, with what only decoding shows: silence,
            clipped samples, interlaced pictures.

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
        reading,
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


def _read(
    path: Path, wish: _Wish, notices: Notices | None, reading: list[ReadingNote] | None
) -> Iterator[Frame | AudioChunk]:
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
            several = source.audio.codec_context.layout.nb_channels > 1
            used = _used_channels(path, wish) if several else ()
            sound = Sound(source, start_s=wish.start_s, used=used)
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
        notes = _end_notes(source, read_to_s)
        _tell(notices, notes)
        if reading is not None:
            reading += notes
            reading += () if pictures is None else pictures.notes()
            reading += () if sound is None else level_notes(sound.facts())


def _used_channels(path: Path, wish: _Wish) -> tuple[int, ...]:
    """Channels whose mean is read: the same in every pass."""
    facts = sample_sound(path, audio_stream=wish.audio_stream)
    return () if facts is None else facts.used


_HEADER_BYTES = 4096  # a note of the encoder before the first packet is no damage


def _first_byte(source: Source) -> int | None:
    """Where the sound of a bare stream begins behind its tags; None for containers."""
    if source.container.format.name not in _BARE_SOUND:
        return None
    with source.path.open("rb") as stream:
        head = stream.read(10)
    if head[:3] != b"ID3":
        return 0
    a, b, c, d = head[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d)


class _Span:
    """Where a stream begins and ends, its first decoded frame, and bytes that are none of it."""

    def __init__(self, source: Source, kind: str) -> None:
        self._source = source
        self.stream: Any = source.video if kind == "video" else source.audio
        self.first: Any = None
        self.n_packets = 0
        self.end_s = -math.inf
        self.strange_bytes, self.strange_at_s = 0, 0.0
        # In a bare stream one packet follows the other; what lies between is damage.
        self._next_byte = _first_byte(source) if kind == "audio" else None
        self._left = _TRIES

    def add(self, packet: Packet[Any]) -> list[Any] | None:
        """Note a packet's time; decode until there is one frame. What was decoded, if it was."""
        if packet.size:
            self.n_packets += 1
            at = self._source.packet_time_s(packet)
            self._note_strange(packet, at)
            if at is not None and not packet.is_discard:
                base = self._source.packet_base(packet)
                length = (packet.duration or 0) * base.numerator / base.denominator
                self.end_s = max(self.end_s, at + length)
        if self.first is not None or self._left <= 0:
            return None
        self._left -= 1
        self._source.refuse_encrypted(packet)
        try:
            frames: list[Any] = packet.decode()
        except (load_av().FFmpegError, ValueError):
            return []
        if frames:
            self.first = frames[0]
        return frames

    def _note_strange(self, packet: Packet[Any], at: float | None) -> None:
        if self._next_byte is None or packet.pos is None or packet.pos < 0:
            return
        between = packet.pos - self._next_byte
        if between > (_HEADER_BYTES if self.n_packets == 1 else 0):
            if not self.strange_bytes:
                self.strange_at_s = at or 0.0
            self.strange_bytes += between
        self._next_byte = packet.pos + packet.size

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


def _tell(notices: Notices | None, new: Iterable[ReadingNote]) -> None:
    """Add what has not been said: probing and reading find the same end of a cut-off file."""
    if notices is not None:
        pairs = [(note.en, note.ko) for note in new]
        notices += [each for each in pairs if each not in notices]


def _end_notes(source: Source, read_to_s: float) -> tuple[ReadingNote, ...]:
    announced = source.announced_end_s()
    return (
        *cut_off_notes(read_to_s, announced, cut_off=source.cut_off),
        *longer_notes(read_to_s, announced),
        *damage_notes(source.damaged, source.damaged_at_s),
    )


def _probe_notes(
    source: Source, film: _Span, sound: _Span, facts: SoundFacts | None
) -> tuple[ReadingNote, ...]:
    """What the streams are like, apart from their ends."""
    notes = unreadable_notes(
        pictures=film.first is None and bool(source.n_video),
        sound=sound.first is None and bool(source.n_audio) and source.bad_rate_hz is None,
    )
    notes += choice_notes(source.n_audio, source.audio_index, source.n_video)
    if source.bad_rate_hz is not None:
        notes += rate_notes(source.bad_rate_hz, usable=False)
    elif sound.first is not None and sound.first.sample_rate < _SPEECH_RATE_HZ:
        notes += rate_notes(sound.first.sample_rate, usable=True)
    notes += strange_bytes_notes(sound.strange_bytes, sound.strange_at_s)
    kind = None if film.first is None else _HDR.get(film.first.color_trc)
    if kind is not None:
        notes += (hdr_note(kind),)
    return notes if facts is None else (*notes, *channel_notes(facts))
