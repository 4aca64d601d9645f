"""Open a media file, choose its streams, and report every failure in one line.

PyAV carries its own FFmpeg. Only the formats listed here are opened, and only from disk: FFmpeg
alone would also render a text file as a film and follow the addresses in a playlist.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from nunbit.core.messages import InputError, MissingExtra, Text
from nunbit.recording.media.file_notes import (
    check_file,
    encrypted,
    impossible_rate,
    is_cut_off,
    mp3_length_s,
    no_streams,
    not_opened,
    wav_data,
)

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoStream
    from av.container import InputContainer
    from av.stream import Stream

_FORMATS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpeg", "mpegts",
    "mpegvideo", "m4v", "h264", "hevc", "flv", "asf", "rm", "mxf", "nut", "dv", "ogg", "wav",
    "w64", "flac", "mp3", "aac", "aiff", "caf", "amr", "amrnb", "amrwb", "au", "ac3", "eac3",
    "ape", "wv", "tta",
)  # fmt: skip
_PROBE_BYTES = "20000000"  # MPEG-TS and FLV name their streams only when the first packet comes:
_PROBE_MICROSECONDS = "20000000"  # sound may begin many seconds after the picture

# Bare streams: length and seeking are guessed from the bit rate. They are read from the start.
GUESSED_LENGTH = {"mp3", "aac", "ac3", "eac3", "h264", "hevc", "m4v", "mpegvideo", "amr"}
_SEEK_MARGINS_S = (1.0, 15.0, 120.0)

# A packet later than all before it by more than this has a broken time stamp; taken at its word,
# a flipped bit would make a timeline of weeks.
_MAX_JUMP_S = 6 * 3600.0

_RATES_HZ = (1000, 768_000)
"""Sampling rates of sound; others are damage of the header, or no sound."""

_ENCRYPTED_TAGS = {"encv", "enca", "drms", "drmi", "drmt"}


def load_av() -> ModuleType:
    """PyAV.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import av
    except ImportError as exc:
        raise MissingExtra("av", "media") from exc
    return av


@dataclass
class Source:
    """An open media file and the streams that are read from it.

    Attributes:
        path: The file, for messages.
        container: PyAV's, open.
        video: None where there is none or it is not wanted.
        audio: Likewise.
        audio_index: Which of the sound streams ``audio`` is.
        n_audio: Sound streams in the file.
        n_video: Picture streams in the file, cover pictures left out.
        zero: Zero of the media clock in the file's own time, seconds.
        damaged: Packets or frames that could not be decoded.
        damaged_at_s: Where the first of them was.
        cut_off: Whether reading stops at an error, or the file is shorter than its header states.
        said_end_s: End of the sound by a header that FFmpeg ignores, or None.
        bad_rate_hz: Impossible sampling rate because of which a sound stream is left out, or None.
    """

    path: Path
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    audio_index: int
    n_audio: int
    n_video: int
    zero: Fraction
    damaged: int = 0
    damaged_at_s: float | None = None
    cut_off: bool = False
    said_end_s: float | None = None
    bad_rate_hz: int | None = None
    _queue: list[Packet[Any]] = field(default_factory=list)
    _latest_s: float = 0.0
    _bases: dict[int, Fraction] = field(default_factory=dict)
    _asked: Packet[Any] | None = None  # three ask for the time of every packet
    _asked_s: float | None = None

    @property
    def guessed(self) -> bool:
        """Whether it is a bare stream, whose length and places are guessed."""
        return self.container.format.name in GUESSED_LENGTH

    def time_s(self, stamp: int, time_base: Fraction) -> float:
        """A stream's time stamp on the media clock; exact, then rounded once to a double."""
        # Whole numbers, rounded once by the division: as exact as Fractions and ten times as fast,
        # and an hour has half a million of these.
        zero, base = self.zero.denominator, time_base.denominator
        return (stamp * time_base.numerator * zero - self.zero.numerator * base) / (base * zero)

    def frame_time_s(self, frame: Any) -> float | None:
        """Presentation time of a decoded frame, or None."""
        known = frame.pts is not None and frame.time_base
        return self.time_s(frame.pts, frame.time_base) if known else None

    def packet_time_s(self, packet: Packet[Any]) -> float | None:
        """Presentation time of a packet, its decoding time where it has no other, or None."""
        if packet is self._asked:
            return self._asked_s
        stamp = packet.pts if packet.pts is not None else packet.dts
        at = None if stamp is None else self.time_s(stamp, self.packet_base(packet))
        self._asked, self._asked_s = packet, at
        return at

    def packet_base(self, packet: Packet[Any]) -> Fraction:
        """Seconds per step of a packet's times: that of its stream.

        PyAV makes a Fraction at every asking, and an hour has 300,000 packets.
        """
        if packet.stream_index not in self._bases:
            self._bases[packet.stream_index] = packet.time_base
        return self._bases[packet.stream_index]

    def stream_end_s(self, stream: VideoStream | AudioStream | None) -> float | None:
        """End of a stream by its header; None if the header does not state it or only guesses."""
        if stream is None or not stream.duration or not stream.time_base or self.guessed:
            return None
        return self.time_s((stream.start_time or 0) + stream.duration, stream.time_base)

    def announced_end_s(self) -> float | None:
        """End of the streams that are read, by the header, or None."""
        if self.said_end_s is not None and self.video is None:
            return self.said_end_s
        ends = map(self.stream_end_s, (self.video, self.audio))
        if known := [each for each in ends if each is not None]:
            return max(known)
        everything = (self.video or self.n_video == 0) and (self.audio or self.n_audio == 0)
        if self.guessed or not everything or not self.container.duration:
            return None  # the container's length may be that of the stream that is not read
        start = self.container.start_time or 0
        return float(Fraction(start + self.container.duration, 1_000_000) - self.zero)

    def packets(self) -> Iterator[Packet[Any]]:
        """Packets of the chosen streams from the present position on, then empty ones at the end.

        An error in the file's structure ends it like the end of the file. Packets whose time
        cannot be true are counted as damage and left out.
        """
        av = load_av()
        streams = tuple(each for each in (self.video, self.audio) if each is not None)
        queued, self._queue = self._queue, []
        yield from queued
        while True:
            try:
                yield from filter(self._is_plausible, self.container.demux(streams))
            except IndexError:
                continue  # damage looks like a stream that was not there when the file was opened
            except (av.FFmpegError, OSError):
                self.cut_off = True
                for stream in streams:  # what the decoder still holds
                    flush = av.Packet()
                    flush.stream = stream
                    yield flush
            return

    def _is_plausible(self, packet: Packet[Any]) -> bool:
        at = self.packet_time_s(packet)
        if at is None:
            return True
        if at > self._latest_s + _MAX_JUMP_S:
            self.note_damage(self._latest_s)
            return False
        self._latest_s = max(self._latest_s, at)
        return True

    def seek(self, time_s: float) -> None:
        """Seek to a position from which decoding gives everything from ``time_s`` on."""
        self._latest_s = max(0.0, time_s)
        if time_s <= _SEEK_MARGINS_S[0] or self.guessed:
            return
        av = load_av()
        for margin_s in (*_SEEK_MARGINS_S, math.inf):
            stamp = math.floor((float(self.zero) + max(0.0, time_s - margin_s)) * 1_000_000)
            try:
                self.container.seek(stamp, backward=True)
            except av.FFmpegError:
                continue
            if margin_s == math.inf or self._starts_before(time_s):
                return

    def _starts_before(self, time_s: float) -> bool:
        """Whether the leading stream goes on from a key frame at or before ``time_s``."""
        leading = self.video or self.audio
        kept = []
        for packet in self.packets():
            kept.append(packet)
            if packet.stream is leading and packet.size:
                at = self.packet_time_s(packet)
                good = packet.is_keyframe and at is not None and at <= time_s
                self._queue = kept if good else []
                return good
        return False

    def note_damage(self, time_s: float | None) -> None:
        """Count something that could not be decoded."""
        self.damaged += 1
        if self.damaged_at_s is None:
            self.damaged_at_s = time_s

    def try_decode(self, packet: Packet[Any]) -> list[Any] | None:
        """The frames of a packet; None where it cannot be decoded.

        Raises:
            MediaError: Only its key would open the packet.
        """
        if packet.has_sidedata("encryption_info"):
            raise encrypted(self.path)
        try:
            return packet.decode()
        except (load_av().FFmpegError, ValueError):
            return None

    def decoded(self, packet: Packet[Any]) -> list[Any]:
        """As :meth:`try_decode`; what cannot be decoded is noted as damage and gives no frame."""
        frames = self.try_decode(packet)
        if frames is None:
            self.note_damage(self.packet_time_s(packet))
        return frames or []


@contextmanager
def open_media(
    path: Path,
    *,
    audio_stream: int = 0,
    want_video: bool = True,
    want_audio: bool = True,
    threads: int = 1,
) -> Iterator[Source]:
    """Open a file and choose its streams.

    Args:
        path: Any video or sound file; its content decides, not its name.
        audio_stream: Which of its sound streams, from 0.
        want_video: Whether pictures will be read.
        want_audio: Whether sound will be read.
        threads: Threads of the video decoder.

    Raises:
        MediaError: It is missing, empty, a folder, no media file, or encrypted.
        InputError: It has no such sound stream.
        MissingExtra: PyAV is not installed.
    """
    av = load_av()
    check_file(path)
    with ExitStack() as opened:
        container = _open(path, opened)
        source = _choose(path, container, audio_stream)
        source.video = source.video if want_video else None
        source.audio = source.audio if want_audio else None
        for stream in container.streams:
            if stream is not source.video and stream is not source.audio:
                stream.discard = av.stream.Discard.all  # so that it is not even read from disk
        if source.video is not None:
            source.video.codec_context.thread_count = threads
            source.video.codec_context.thread_type = "AUTO" if threads > 1 else "SLICE"
        yield source


def _open(path: Path, opened: ExitStack) -> InputContainer:
    """Open by name or, if that fails, by content alone; ``opened`` closes the file.

    Raises:
        MediaError: This is no media file.
    """
    av = load_av()
    wav = wav_data(path)
    options = {
        "format_whitelist": ",".join(_FORMATS),
        "protocol_whitelist": "file",
        "probesize": _PROBE_BYTES,
        "analyzeduration": _PROBE_MICROSECONDS,
    }
    if wav is not None and wav.goes_on:
        options["ignore_length"] = "1"
    # "concat:a.mp4" means something to FFmpeg; "file:" takes that away. The suffix helps with bare
    # streams, but a video named .png is taken for a row of pictures: then the name is withheld.
    stream = opened.enter_context(path.open("rb"))
    # Since PyAV 19 what is not UTF-8 in a title raises nothing, and there is no such argument.
    lenient = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    nameless = SimpleNamespace(read=stream.read, seek=stream.seek, tell=stream.tell)
    for target in (f"file:{path.absolute()}", nameless):
        try:
            container: InputContainer = av.open(target, container_options=options, **lenient)
        except (av.FFmpegError, OSError, ValueError) as exc:
            refused = exc
        else:
            opened.enter_context(container)
            return container
    raise not_opened(path) from refused


def _choose(path: Path, container: InputContainer, audio_stream: int) -> Source:
    """The picture and the sound stream to read, and the zero of the clock.

    Raises:
        MediaError: There is neither, or they are encrypted.
        InputError: There is no such sound stream.
    """
    films = [each for each in container.streams.video if _is_film(each)]
    sounds = list(container.streams.audio)
    if any(_tag(each) in _ENCRYPTED_TAGS for each in (*films, *sounds)):
        raise encrypted(path)
    # Which sound stream is meant must not depend on which can be decoded.
    if audio_stream >= max(1, len(sounds)):
        raise InputError(
            Text(
                f"{path}: has {len(sounds)} sound streams, counted from 0; there is no number "
                f"{audio_stream}",
                f"{path}: 소리 스트림이 {len(sounds)}개입니다(0부터 셉니다). {audio_stream}번은 "
                "없습니다",
            )
        )
    readable = [each for each in films if each.codec_context is not None]
    default = [each for each in readable if each.disposition & load_av().stream.Disposition.default]
    video = next(iter(default or readable), None)
    audio = sounds[audio_stream] if sounds and sounds[audio_stream].codec_context else None
    bad_rate_hz = None
    rate_hz = None if audio is None else audio.sample_rate
    if rate_hz and not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
        bad_rate_hz, audio = rate_hz, None  # 1 Hz would make a timeline of weeks
    if video is None and bad_rate_hz is not None:
        raise impossible_rate(path, bad_rate_hz)
    if video is None and audio is None:
        raise no_streams(path)
    starts = [
        each.start_time * each.time_base
        for each in (*films, *sounds)
        if each.start_time is not None and each.time_base
    ]
    return Source(
        path=path,
        container=container,
        video=video,
        audio=audio,
        audio_index=audio_stream,
        n_audio=len(sounds),
        n_video=len(films),
        zero=min(starts, default=Fraction(0)),
        cut_off=is_cut_off(path),
        said_end_s=_said_end_s(path, container, audio),
        bad_rate_hz=bad_rate_hz,
    )


def _said_end_s(path: Path, container: InputContainer, audio: AudioStream | None) -> float | None:
    """End of the sound by the header of a WAV or MP3 file; None if it does not state one."""
    if container.format.name == "mp3":
        return mp3_length_s(path)
    context = None if audio is None or container.format.name != "wav" else audio.codec_context
    # The rate that a header gives for a coded sound (ADPCM, GSM) is often that of the plain sound.
    if context is None or not context.bit_rate or not context.name.startswith("pcm_"):
        return None
    data = wav_data(path)
    return None if data is None else data.said * 8 / context.bit_rate


def _tag(stream: Stream) -> str:
    """The four-letter code of a stream's format; '' if there is none, or no decoder knows it."""
    try:
        return stream.codec_tag
    except (AttributeError, UnicodeDecodeError):
        return ""


def _is_film(stream: VideoStream) -> bool:
    """Whether it is moving pictures: cover pictures and thumbnails are streams of their own."""
    kinds = load_av().stream.Disposition
    still = kinds.attached_pic | kinds.timed_thumbnails | kinds.still_image
    return not stream.disposition & still


def copy_without(path: Path, target: Path, leave_out: frozenset[str]) -> float:
    """Copy a recording without its pictures or without its sound; nothing is decoded.

    Subtitles, data, cover pictures and tags go as well. Raises as :func:`open_media`.

    Args:
        path: The recording.
        target: To be written; ``.mp4`` and ``.webm`` are, every other ending is Matroska.
        leave_out: ``video``, ``audio``.

    Returns:
        How much later than the recording the copy begins, seconds: its own clock begins there.

    Raises:
        InputError: Nothing would be left of it, or its packets cannot stand in another file.
    """
    av = load_av()
    kind = {".mp4": "mp4", ".webm": "webm"}.get(target.suffix, "matroska")
    with open_media(path) as source:
        kept = [
            s for s in (source.video, source.audio) if s is not None and s.type not in leave_out
        ]
        if not kept:
            gone = Text("there is nothing else in this recording", "이 녹화에는 다른 것이 없습니다")
            raise InputError(gone.under(path.name))
        first_s: float | None = None
        try:
            with av.open(str(target), "w", format=kind) as out:
                made = {stream.index: out.add_stream_from_template(stream) for stream in kept}
                for packet in source.container.demux(*kept):
                    at_s = source.packet_time_s(packet)
                    if packet.dts is None or at_s is None:
                        continue
                    first_s = at_s if first_s is None else min(first_s, at_s)
                    packet.stream = made[packet.stream.index]
                    out.mux(packet)
        except (av.FFmpegError, ValueError) as exc:
            raise InputError(
                Text(
                    f"{path.name}: its picture and sound cannot be parted; save it as MP4 and "
                    "choose it again",
                    f"{path.name}: 영상과 소리를 따로 나눌 수 없습니다. MP4로 저장해 다시 "
                    "고르십시오",
                )
            ) from exc
    return max(0.0, first_s or 0.0)
