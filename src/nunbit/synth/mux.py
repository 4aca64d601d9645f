"""Pictures and samples to a media file, with PyAV: exact presentation times, nothing else.

There are no B-frames, so no decoder delay hides in the container; the sound starts at the sample
it says. Knows nothing of scripts and faces.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import MissingExtra, SettingsError
from nunbit.streams import Singles

MARK = "nunbit-synth-video"
"""Comment in the container that says it is drawn."""

_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".m4a": "mp4", ".mkv": "matroska",
               ".mka": "matroska", ".wav": "wav"}  # fmt: skip
_CODECS = {  # the first of each is what auto takes
    "mp4": ("aac",), "mov": ("aac",), "matroska": ("flac", "pcm", "aac"), "wav": ("pcm",),
}  # fmt: skip
_SOUND_ONLY = {".m4a", ".mka", ".wav"}


@dataclass(frozen=True, slots=True)
class Container:
    """How a file is written.

    Attributes:
        format: FFmpeg's name.
        audio_codec: ``aac``, ``flac`` or ``pcm``.
        has_video: Whether the suffix allows pictures.
    """

    format: str
    audio_codec: str
    has_video: bool


@dataclass(frozen=True, slots=True)
class Video:
    """A stream of pictures.

    Attributes:
        size: Width and height.
        time_base: Seconds of one tick.
        rate: Nominal frames per second.
        crf: Quality of x264.
    """

    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction
    crf: int


@dataclass(frozen=True, eq=False, slots=True)
class Audio:
    """A stream of samples.

    Attributes:
        samples: (n,) float32 mono.
        rate_hz: Of them.
        first: Index that the first sample has on the clock of the file.
        block: Samples that are encoded together, from :func:`block_of`.
        holes: Stretches [a, b) of these indices without samples, on multiples of ``block`` after
            ``first``.
    """

    samples: Singles
    rate_hz: int
    first: int
    block: int
    holes: tuple[tuple[int, int], ...]


Pictures = Iterator[tuple[int, NDArray[np.uint8]]]
"""(tick, (H, W, 3) uint8 RGB) in order."""


def container_of(path: Path, audio_codec: str) -> Container:
    """How a file of this name is written.

    Raises:
        SettingsError: The suffix is unknown or does not hold the codec.
    """
    suffix = path.suffix.lower()
    if suffix not in _CONTAINERS:
        known = ", ".join(_CONTAINERS)
        raise SettingsError(
            en=f"{path}: the suffix says what is written; choose one of {known}",
            ko=f"{path}: 확장자로 형식이 정해집니다. 다음 가운데 고르십시오: {known}",
        )
    name = _CONTAINERS[suffix]
    codec = _CODECS[name][0] if audio_codec == "auto" else audio_codec
    if codec not in _CODECS[name]:
        known = ", ".join(_CODECS[name])
        raise SettingsError(
            en=f"audio_codec = {codec}: {suffix} holds {known}; choose that or another suffix",
            ko=f"audio_codec = {codec}: {suffix}에는 {known}만 쓸 수 있습니다. 그것을 고르거나 "
            "확장자를 바꾸십시오",
        )
    return Container(name, codec, suffix not in _SOUND_ONLY)


def load_av() -> Any:
    """PyAV.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import av
    except ImportError as exc:
        raise MissingExtra("av", "media") from exc
    return av


def block_of(codec: str, rate_hz: int) -> int:
    """Samples that a codec encodes together: where a hole in the stream may begin and end."""
    if codec == "pcm":
        return 1024  # any number would do
    context = load_av().CodecContext.create(codec, "w")
    context.sample_rate, context.layout = rate_hz, "mono"
    context.format = "fltp" if codec == "aac" else "s16"
    context.time_base = Fraction(1, rate_hz)
    context.open()
    size: int = context.frame_size
    return size


@dataclass(frozen=True, slots=True)
class Stored:
    """What a container made of a stream's times.

    Attributes:
        start_s: First presentation time, not yet counted from the earliest stream.
        time_base: Seconds to which times are rounded.
    """

    start_s: Fraction
    time_base: Fraction


def stored_streams(path: Path) -> dict[str, Stored]:
    """Start of each stream as the file has it, by ``video`` and ``audio``."""
    with load_av().open(str(path)) as file:
        return {
            s.type: Stored(Fraction(s.start_time or 0) * s.time_base, Fraction(s.time_base))
            for s in file.streams
        }


def write_media(
    path: Path, container: Container, video: Video | None, audio: Audio | None, pictures: Pictures
) -> None:
    """Encode a file.

    Args:
        path: File to write; its suffix does not matter.
        container: How.
        video: None for sound alone.
        audio: None for silent video.
        pictures: The frames; consumed as they are encoded.
    """
    av = load_av()
    options = {}
    if container.format in ("mp4", "mov"):
        # The start of a stream is stored in this unit; the usual millisecond would round it.
        units = [video.time_base.denominator] if video is not None else []
        units += [audio.rate_hz] if audio is not None else []
        options["movie_timescale"] = str(math.lcm(*units))
    with av.open(str(path), "w", format=container.format, options=options) as file:
        file.metadata["comment"] = MARK
        sound = _Sound(av, file, audio, container.audio_codec) if audio is not None else None
        if video is not None:
            stream = _video_stream(file, video)
            for tick, pixels in pictures:
                if sound is not None:  # interleave: players and memory want both at one pace
                    sound.write_until(float(tick * video.time_base))
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", threads=1)
                frame.pts, frame.time_base = tick, video.time_base
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        if sound is not None:
            sound.finish()


def _video_stream(file: Any, video: Video) -> Any:
    stream = file.add_stream("libx264", rate=video.rate)
    stream.width, stream.height = video.size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = video.time_base
    context.thread_count = 1  # the number of threads changes the bits
    stream.options = {"preset": "veryfast", "crf": str(video.crf), "bf": "0", "g": "50"}
    return stream


class _Sound:
    """Feeds an encoder block by block.

    Args:
        av: The library.
        file: Open container.
        audio: What to write.
        codec: ``aac``, ``flac`` or ``pcm``.
    """

    def __init__(self, av: Any, file: Any, audio: Audio, codec: str) -> None:
        name = {"pcm": "pcm_s16le"}.get(codec, codec)
        self._av, self._file, self._audio, self._codec = av, file, audio, codec
        self._stream = file.add_stream(name, rate=audio.rate_hz, layout="mono")
        if codec == "aac":
            self._stream.codec_context.bit_rate = 96_000
        self._done = 0

    def write_until(self, time_s: float) -> None:
        """Encode blocks that begin before a time of the file."""
        audio = self._audio
        while self._done < len(audio.samples):
            index = audio.first + self._done
            if index / audio.rate_hz >= time_s:
                return
            block = audio.samples[self._done : self._done + audio.block]
            self._done += len(block)
            if not any(a <= index < b for a, b in audio.holes):
                self._file.mux(self._stream.encode(self._frame(block, index)))

    def finish(self) -> None:
        """Encode the rest."""
        self.write_until(float("inf"))
        self._file.mux(self._stream.encode())

    def _frame(self, block: Singles, index: int) -> Any:
        if self._codec == "aac":
            frame = self._av.AudioFrame.from_ndarray(
                np.ascontiguousarray(block[None]), format="fltp", layout="mono"
            )
        else:
            whole = np.round(np.clip(block, -1.0, 1.0) * 32767.0).astype(np.int16)
            frame = self._av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = self._audio.rate_hz
        frame.pts, frame.time_base = index, Fraction(1, self._audio.rate_hz)
        return frame
