"""Read a media file: its properties, its frames and its sound, all of it or samples."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nunbit.core.messages import SettingsError, Text
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import AudioChunk, AudioInfo, Frame, Interval, MediaInfo, VideoInfo
from nunbit.recording.media.container import Source, load_av, open_media
from nunbit.recording.media.file_notes import (
    UNREADABLE_PICTURES,
    UNREADABLE_SOUND,
    check_file,
    choice_notes,
    damage_notes,
    end_notes,
    hdr_note,
    impossible_rate_note,
    low_rate_note,
    nothing_decoded,
    strange_bytes_notes,
    tag_bytes,
)
from nunbit.recording.media.frames import Pictures, display_size, orientation_of
from nunbit.recording.media.levels import SoundFacts, channel_notes, level_notes
from nunbit.recording.media.sound import SampledSound, Sound

if TYPE_CHECKING:
    from av import Packet

_TRIES = 500  # packets without one decoded frame after which a stream counts as unreadable
_SPEECH_RATE_HZ = 8000
_BARE_SOUND = {"mp3", "aac"}
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
_PADDING_S = 0.1  # a header's length this much shorter than the packets leaves out their padding


def probe_media(path: Path, *, audio_stream: int = 0) -> MediaInfo:
    """What a file holds, how long it really is, and what is odd about it.

    Goes through all packets once without decoding them (a second for ten minutes), because
    headers are wrong in cut-off files and missing in others; times agree with
    :func:`read_media` to within a frame.

    Args:
        path: Any video or sound file.
        audio_stream: Which of its sound streams, from 0.

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
        facts = (
            None
            if heard is None or audio is None
            else _kept(_facts_key(path, audio_stream), heard.meter.facts())
        )
        notes = (*_end_notes(source, duration_s), *_probe_notes(source, film, sound, facts))
    return MediaInfo(unicodedata.normalize("NFC", path.name), duration_s, video, audio, notes)


def sample_sound(path: Path, *, audio_stream: int = 0) -> SoundFacts | None:
    """Measure the channels of a file on up to two minutes of sound; None without sound.

    This decides which channels every reading of the file uses. Takes no time after
    :func:`probe_media`; the same errors.
    """
    key = _facts_key(path, audio_stream)
    if key in _FACTS:
        return _FACTS[key]
    with open_media(path, audio_stream=audio_stream, want_video=False) as source:
        if source.audio is None:
            return None
        heard = SampledSound(source)
        for packet in source.packets():
            heard.add(packet)
        return _kept(key, heard.meter.facts())


_FactsKey = tuple[str, int, int, int]

# Each unchanged file is sampled only once; the facts of the last files are kept.
_FACTS: dict[_FactsKey, SoundFacts] = {}
_KEPT_FACTS = 64


def _facts_key(path: Path, stream: int) -> _FactsKey:
    about = path.stat()
    return str(path.absolute()), about.st_size, about.st_mtime_ns, stream


def _kept(key: _FactsKey, facts: SoundFacts) -> SoundFacts:
    while len(_FACTS) >= _KEPT_FACTS:
        del _FACTS[next(iter(_FACTS))]
    _FACTS[key] = facts
    return facts


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
) -> MediaItems:
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

    Raises:
        MediaError: The file is missing, empty, no media file, encrypted, or nothing in it can be
            decoded.
        InputError: It has no such sound stream.
        SettingsError: ``rate_hz`` or ``max_side`` is not positive.
        MissingExtra: PyAV is not installed.
    """
    if (rate_hz is not None and not 0 < rate_hz < math.inf) or max_side < 1:
        raise SettingsError(
            Text(
                f"rate_hz = {rate_hz}, max_side = {max_side}: expected more than 0",
                f"rate_hz = {rate_hz}, max_side = {max_side}: 0보다 커야 합니다",
            )
        )
    load_av()
    check_file(path)  # now, not when the first frame is asked for
    wish = _Wish(rate_hz, audio_stream, start_s, want_video, want_audio, max_side, threads)
    return MediaItems(path, wish)


def iter_audio(path: Path, *, audio_stream: int = 0, start_s: float = 0.0) -> Iterator[AudioChunk]:
    """Yield the sound of a file; nothing if it has none. Errors as in :func:`read_media`."""
    for item in read_media(path, start_s=start_s, want_video=False, audio_stream=audio_stream):
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


@dataclass(slots=True)
class Oddities:
    """What only decoding shows, there when a file has been read to its end.

    Attributes:
        ends: Notes on damaged pieces and on a file that is cut off.
        signals: Notes on silence, clipped samples, interlaced pictures.
    """

    ends: tuple[ReadingNote, ...] = ()
    signals: tuple[ReadingNote, ...] = ()


class MediaItems(Iterator[Frame | AudioChunk]):
    """The frames and the sound of a file, from :func:`read_media`.

    Attributes:
        odd: Filled after the last item.
    """

    def __init__(self, path: Path, wish: _Wish) -> None:
        self.odd = Oddities()
        # Not a method: a generator that holds its owner would keep an abandoned file open.
        self._items = _read(path, wish, self.odd)

    def __next__(self) -> Frame | AudioChunk:
        return next(self._items)


def _read(path: Path, wish: _Wish, odd: Oddities) -> Iterator[Frame | AudioChunk]:
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
            used: tuple[int, ...] = ()
            if source.audio.codec_context.layout.nb_channels > 1:
                # The channels whose mean is read are the same in every pass.
                facts = sample_sound(path, audio_stream=wish.audio_stream)
                used = () if facts is None else facts.used
            sound = Sound(source, start_s=wish.start_s, used=used)
        source.seek(wish.start_s)
        for packet in source.packets():
            if pictures is not None and packet.stream is source.video:
                yield from pictures.add(packet)
            elif sound is not None:
                yield from sound.add(packet)
        readers = [each for each in (pictures, sound) if each is not None]
        for reader in readers:
            yield from reader.finish()
        read_to_s = max(reader.end_s for reader in readers)
        if read_to_s == 0.0 and wish.start_s <= 0:
            raise nothing_decoded(path)
        odd.ends = _end_notes(source, read_to_s)
        odd.signals = (
            *(() if pictures is None else pictures.fields.notes()),
            *(() if sound is None else level_notes(sound.meter.facts())),
        )


_HEADER_BYTES = 4096  # a note of the encoder before the first packet is no damage


def _first_byte(source: Source) -> int | None:
    """Where the sound of a bare stream begins behind its tags; None for containers."""
    if source.container.format.name not in _BARE_SOUND:
        return None
    with source.path.open("rb") as stream:
        return tag_bytes(stream.read(10))


class _Span:
    """Start and end of a stream, its first decoded frame, and foreign bytes in it."""

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
        """Record the time of a packet; decode until there is one frame, and return it."""
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
        frames = self._source.try_decode(packet) or []
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
        start_s = self._source.frame_time_s(self.first) or 0.0
        announced = self._source.stream_end_s(self.stream)
        if announced is not None and 0 < self.end_s - announced < _PADDING_S:
            return start_s, announced
        return start_s, self.end_s


def _video_info(source: Source, span: _Span) -> VideoInfo | None:
    if span.first is None:
        return None
    start_s, end_s = span.bounds_s()
    rate = None if source.video is None else source.video.average_rate
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


def _end_notes(source: Source, read_to_s: float) -> tuple[ReadingNote, ...]:
    return (
        *end_notes(read_to_s, source.announced_end_s(), cut_off=source.cut_off),
        *damage_notes(source.damaged, source.damaged_at_s),
    )


def _probe_notes(
    source: Source, film: _Span, sound: _Span, facts: SoundFacts | None
) -> Iterator[ReadingNote]:
    """Notes about the streams, except about their ends."""
    if film.first is None and source.n_video:
        yield UNREADABLE_PICTURES
    if sound.first is None and source.n_audio and source.bad_rate_hz is None:
        yield UNREADABLE_SOUND
    yield from choice_notes(source.n_audio, source.audio_index, source.n_video)
    if source.bad_rate_hz is not None:
        yield impossible_rate_note(source.bad_rate_hz)
    elif sound.first is not None and sound.first.sample_rate < _SPEECH_RATE_HZ:
        yield low_rate_note(sound.first.sample_rate)
    yield from strange_bytes_notes(sound.strange_bytes, sound.strange_at_s)
    if film.first is not None and film.first.color_trc in _HDR:
        yield hdr_note(_HDR[film.first.color_trc])
    if facts is not None:
        yield from channel_notes(facts)


def sample_stretches(
    path: Path, stretches: Sequence[Interval], *, audio_stream: int = 0
) -> Iterator[tuple[Interval, tuple[AudioChunk, ...]]]:
    """Sound in each stretch, as far as the file has any there; chunks may begin or end outside.

    Args:
        path: Any file with sound.
        stretches: In order, not overlapping.
        audio_stream: Which sound stream, from 0.

    Raises:
        MediaError: The file cannot be opened.
        InputError: It has no such sound stream.
        MissingExtra: PyAV is not installed.
    """
    with open_media(path, audio_stream=audio_stream, want_video=False) as source:
        in_one_pass = source.guessed  # seeking would only guess, too
    if in_one_pass:
        yield from _in_one_pass(path, stretches, audio_stream)
        return
    for stretch in stretches:
        chunks = iter_audio(path, audio_stream=audio_stream, start_s=stretch.start_s)
        yield stretch, tuple(_until(stretch.end_s, chunks))


def _until(end_s: float, chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
    return itertools.takewhile(lambda chunk: chunk.start_s < end_s, chunks)


def _in_one_pass(
    path: Path, stretches: Sequence[Interval], audio_stream: int
) -> Iterator[tuple[Interval, tuple[AudioChunk, ...]]]:
    left = list(stretches)
    chunks: list[AudioChunk] = []
    for chunk in iter_audio(path, audio_stream=audio_stream):
        if not left:
            return
        if chunk.start_s >= left[0].end_s:
            yield left.pop(0), tuple(chunks)
            chunks = []
        elif chunk.start_s >= left[0].start_s:
            chunks.append(chunk)
    for stretch in left:
        yield stretch, tuple(chunks)
        chunks = []
