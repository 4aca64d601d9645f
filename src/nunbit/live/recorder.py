"""What a session keeps on disk, written so that a crash loses a second at most.

``session.mkv`` holds what was analysed, where it is kept: the JPEGs as they came and the sound as
FLAC. ``live.jsonl`` holds what was said, a line an event, and ``live.parts`` what was observed, as
numbers. All are written by one thread, so that a slow disk holds nobody up. Where the disk is full
the session goes on, and what was written stays.
"""

from __future__ import annotations

import hashlib
import os
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import Text
from nunbit.core.streams import AUDIO_RATE_HZ, AudioChunk, Flags, Singles
from nunbit.live.events import LiveSettings
from nunbit.model.encoders import Bundle
from nunbit.recording.face_part import FacePart
from nunbit.recording.media.container import load_av
from nunbit.recording.media.levels import SoundFacts, SoundMeter
from nunbit.recording.observer import ReadingSettings
from nunbit.runtime.files import packed, unpacked
from nunbit.runtime.resources import nunbit_version

MEDIA_FILE, LINES_FILE, PARTS_FILE = "session.mkv", "live.jsonl", "live.parts"

Samples = NDArray[np.int16]

_FLUSH_S = 0.5
_CLUSTER_MS = 500  # a cluster is written when it is whole
_SIZE_S = 1.0  # sound that waits for the first picture, whose size the header needs
_UNKNOWN_SIZE = (640, 480)
_MOST_WAITING = 2_000  # pieces; a disk this far behind is as good as full
_FLAC_BLOCK = 1152  # 72 ms at 16 kHz, FFmpeg's own choice
_REPLAYED = 8000  # samples of a chunk


@dataclass(frozen=True, eq=False, slots=True)
class HeardPart:
    """The voice as it was heard, frame by frame; (n,) each, from frame ``first`` on."""

    first: int
    level_dbfs: Singles
    probability: Singles
    f0_hz: Singles
    present: Flags
    clipped: Flags


Part = FacePart | HeardPart
_KINDS: dict[bytes, type[Any]] = {b"F": FacePart, b"V": HeardPart}


class MediaFile:
    """``session.mkv`` while it grows.

    Args:
        stream: Open for writing.
        rate_hz: Pictures a second, at most.
        camera: Whether there will be pictures.
        sound: Whether there will be sound.
    """

    def __init__(self, stream: IO[bytes], rate_hz: float, *, camera: bool, sound: bool) -> None:
        self._av, self._stream = load_av(), stream
        self._rate_hz, self._camera, self._has_sound = rate_hz, camera, sound
        self._file: Any = None
        self._pictures: Any = None
        self._sound: Any = None
        self._encoder: Any = None
        self._waiting: list[tuple[int, Samples]] = []
        self._next = 0

    def frame(self, time_s: float, jpeg: bytes, size: tuple[int, int]) -> None:
        """Append a picture."""
        self._open(size)
        packet = self._av.Packet(jpeg)
        packet.stream = self._pictures
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = round(time_s * 1000)
        packet.duration = round(1000 / self._rate_hz)
        packet.is_keyframe = True
        self._file.mux(packet)

    def sound(self, position: int, samples: Samples) -> None:
        """Append sound; a gap before it stays a gap."""
        if self._file is None:
            self._waiting.append((position, samples))
            held = sum(len(each) for _, each in self._waiting)
            if self._camera and held < _SIZE_S * AUDIO_RATE_HZ:
                return
            self._open(_UNKNOWN_SIZE)
            return
        if self._encoder is None or position != self._next:
            self._flush()
            self._encoder = self._new_encoder()
        self._next = position + len(samples)
        frame = self._av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate, frame.pts = AUDIO_RATE_HZ, position
        frame.time_base = Fraction(1, AUDIO_RATE_HZ)
        self._mux(self._encoder.encode(frame))

    def close(self) -> None:
        """Write what waits and the end of the file."""
        if self._file is None and self._waiting:
            self._open(_UNKNOWN_SIZE)
        if self._file is not None:
            self._flush()
            self._file.close()

    def _open(self, size: tuple[int, int]) -> None:
        if self._file is not None:
            return
        options = {
            "cluster_time_limit": str(_CLUSTER_MS),
            "flush_packets": "1",
            "max_interleave_delta": "300000",  # microseconds that one stream waits for the other
        }
        self._file = self._av.open(self._stream, "w", format="matroska", options=options)
        if self._camera:
            rate = Fraction(self._rate_hz).limit_denominator(1000)
            self._pictures = self._file.add_stream("mjpeg", rate=rate)
            self._pictures.width, self._pictures.height = size
            self._pictures.pix_fmt = "yuvj420p"
        if self._has_sound:
            self._sound = self._file.add_stream("flac", rate=AUDIO_RATE_HZ)
            self._sound.codec_context.layout, self._sound.codec_context.format = "mono", "s16"
        self._file.start_encoding()
        waiting, self._waiting = self._waiting, []
        for position, samples in waiting:
            self.sound(position, samples)

    def _new_encoder(self) -> Any:
        """A coder for sound without a gap: one cannot go on after it was flushed."""
        made = self._av.CodecContext.create("flac", "w")
        made.sample_rate, made.layout, made.format = AUDIO_RATE_HZ, "mono", "s16"
        made.time_base = Fraction(1, AUDIO_RATE_HZ)
        made.options = {"frame_size": str(_FLAC_BLOCK)}
        return made

    def _flush(self) -> None:
        if self._encoder is not None:
            self._mux(self._encoder.encode(None))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.stream = self._sound
            self._file.mux(packet)


class Keeper:
    """Writes what a session keeps, in a thread of its own.

    Args:
        folder: Of the session; it exists.
        media: Whether pictures and sound are kept.
        rate_hz, camera, sound: As for :class:`MediaFile`.
        failed: Called once, with the reason, where writing ends before the session.
    """

    def __init__(
        self, folder: Path, *, media: bool, rate_hz: float, camera: bool, sound: bool,
        failed: Callable[[str, Text], None],
    ) -> None:  # fmt: skip
        self.folder, self._failed = folder, failed
        self._lines = open_file(folder / LINES_FILE, "ab")
        self._parts = open_file(folder / PARTS_FILE, "ab")
        self._stream = open_file(folder / MEDIA_FILE, "wb") if media else None
        self._media: MediaFile | None = None
        if self._stream is not None:
            self._media = MediaFile(self._stream, rate_hz, camera=camera, sound=sound)
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="live-disk", daemon=True)
        self.works = True
        self._thread.start()

    @property
    def records(self) -> bool:
        """Whether pictures and sound are being written."""
        return self.works and self._media is not None

    @property
    def n_bytes(self) -> int:
        """Written so far."""
        streams = (self._stream, self._lines, self._parts)
        try:
            return sum(os.fstat(s.fileno()).st_size for s in streams if s is not None)
        except (OSError, ValueError):
            return 0

    def frame(self, time_s: float, jpeg: bytes, size: tuple[int, int]) -> None:
        """Keep an analysed picture."""
        if self._media is not None:
            media = self._media
            self._ask(lambda: media.frame(time_s, jpeg, size))

    def sound(self, position: int, samples: Samples) -> None:
        """Keep sound."""
        if self._media is not None:
            media = self._media
            self._ask(lambda: media.sound(position, samples))

    def line(self, document: Any) -> None:
        """Keep an event, or other plain data."""
        self._ask(lambda: self._lines.write(msgspec.json.encode(document) + b"\n"))

    def part(self, part: Part) -> None:
        """Keep what was observed."""
        kind = b"F" if isinstance(part, FacePart) else b"V"

        def write() -> None:
            body = kind + packed(part)
            digest = hashlib.blake2b(body, digest_size=8).digest()
            self._parts.write(struct.pack("<I", len(body)) + digest + body)

        self._ask(write)

    def close(self) -> None:
        """Write all that waits, and end the files."""
        self._queue.put(None)
        self._thread.join()

    def _ask(self, work: Callable[[], object]) -> None:
        if not self.works:
            return
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            self._give_up(Text("the disk is too slow", "디스크가 너무 느립니다"))

    def _run(self) -> None:
        flushed_s = time.monotonic()
        while True:
            try:
                work = self._queue.get(timeout=_FLUSH_S)
            except queue.Empty:
                work = _nothing
            if work is None:
                break
            if self.works:
                self._try(work)
            if time.monotonic() - flushed_s >= _FLUSH_S and self.works:
                flushed_s = time.monotonic()
                self._try(self._flush)
        self._end()

    def _try(self, work: Callable[[], object]) -> None:
        # Whatever goes wrong, this thread goes on and it is said: else all that follows is lost.
        try:
            work()
        except Exception as exc:
            reason = getattr(exc, "strerror", None) or str(exc)
            self._give_up(Text(str(reason), str(reason)))

    def _flush(self) -> None:
        for stream in (self._lines, self._parts, self._stream):
            if stream is not None:
                stream.flush()

    def _give_up(self, reason: Text) -> None:
        if self.works:
            self.works = False
            self._failed("disk_full", _NOT_WRITTEN.fill(folder=self.folder, reason=reason))

    def _end(self) -> None:
        """Close each file, whatever becomes of the others."""
        closes = [s.close for s in (self._stream, self._lines, self._parts) if s is not None]
        for close in [*([self._media.close] if self._media else []), *closes]:
            try:
                close()
            except Exception as exc:
                self._give_up(Text(str(exc), str(exc)))


def open_file(path: Path, mode: str) -> IO[bytes]:
    """Open a file of a session; tests put a full disk here."""
    return path.open(mode)


def _nothing() -> None:
    return


_NOT_WRITTEN = Text(
    "{folder}: no more can be written ({reason}); what was recorded until now is kept, and the "
    "session goes on without a recording: free some space and start another one",
    "{folder}: 더 쓸 수 없습니다({reason}). 지금까지 기록한 것은 남아 있으며 세션은 기록 없이 "
    "계속됩니다. 공간을 비운 뒤 새 세션을 시작하십시오",
)


def read_parts(folder: Path) -> Iterator[Part]:
    """The whole parts of a session, in order; what a crash cut off is left out."""
    path = folder / PARTS_FILE
    if not path.is_file():
        return
    with path.open("rb") as stream:
        while len(head := stream.read(12)) == 12:
            (size,) = struct.unpack("<I", head[:4])
            body = stream.read(size)
            if hashlib.blake2b(body, digest_size=8).digest() != head[4:]:
                return
            yield unpacked(body[1:], _KINDS[body[:1]])


def read_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a session, in order; one that a crash cut off is left out."""
    path = folder / LINES_FILE
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                yield msgspec.json.decode(line)
            except msgspec.DecodeError:
                return


class KeptSound:
    """The sound of a running session, in a temporary file without a name."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115  # open as long as the session
        self._runs: list[list[int]] = []  # position, samples
        self._meter = SoundMeter()

    def add(self, position: int, samples: Samples) -> None:
        """Append sound."""
        self._file.write(samples.astype("<i2").tobytes())
        if self._runs and sum(self._runs[-1]) == position:
            self._runs[-1][1] += len(samples)
        else:
            self._runs.append([position, len(samples)])

    def replay(self) -> Iterator[AudioChunk]:
        """The sound as a file would give it, with the places where it is clipped."""
        self._meter = meter = SoundMeter(step=1 / 32768)
        at = 0
        places: tuple[Any, ...] = ()
        end_s = 0.0
        for position, n in tuple(map(tuple, self._runs)):
            for start in range(0, n, _REPLAYED):
                self._file.seek(2 * (at + start))
                raw = self._file.read(2 * min(_REPLAYED, n - start))
                samples = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)
                start_s = (position + start) / AUDIO_RATE_HZ
                places += meter.add(start_s, samples[None], AUDIO_RATE_HZ)
                yield AudioChunk(start_s, samples, places)
                places, end_s = (), start_s + len(samples) / AUDIO_RATE_HZ
            at += n
        if places := (*places, *meter.flush()):
            yield AudioChunk(end_s, np.zeros(0, np.float32), places)

    def facts(self) -> SoundFacts:
        """Properties of the sound, once it was replayed."""
        return self._meter.facts()

    @property
    def end_s(self) -> float:
        """Where it ends."""
        return sum(self._runs[-1]) / AUDIO_RATE_HZ if self._runs else 0.0

    def close(self) -> None:
        """Forget it."""
        self._file.close()


def reading_settings(given: LiveSettings, bundle: Bundle) -> ReadingSettings:
    """How a file is read as the session is."""
    return ReadingSettings(
        keep_embeddings=bundle.is_aligned,
        rate_hz=given.rate_hz,
        min_face_px=given.min_face_px,
        asr=given.asr,
        asr_model=given.asr_model,
        language=given.language,
        threads=given.threads,
    )


def start_line(bundle: Bundle, given: LiveSettings, *, keep_media: bool) -> dict[str, Any]:
    """The first line of a session: with what it is read."""
    return {
        "type": "start",
        "bundle": str(bundle.path.resolve()),
        "bundle_hash": bundle.hash,
        "settings": given,
        "keep_media": keep_media,
        "nunbit": nunbit_version(),
        "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
