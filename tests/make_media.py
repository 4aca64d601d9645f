"""Small synthetic media files with known truth, for all tests that read video or sound.

Every picture carries its number as black and white blocks (:func:`number_of` reads it back), so
a test can say which picture it got and not only when. Sound is what the test gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("av")

import av

RATES = {
    "23.976": Fraction(24000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
    "60": Fraction(60),
}
_BITS = 12
_PACKET = 1024


@dataclass(frozen=True, eq=False)
class Film:
    """A video stream.

    Attributes:
        stamps: Presentation time of each picture in steps of ``time_base``, increasing.
        time_base: Seconds per step.
        rate: What the encoder is told; 1 / time_base by default.
        size: Width and height as stored, pixels.
        codec: Encoder.
        options: Of the encoder.
        rotation_deg: Turn that players are asked for, clockwise.
        mirror: Whether they are asked to mirror it left and right afterwards.
        pixel_aspect: Width of a pixel over its height.
        draw: Gives the upright (H, W, 3) picture of a number; :func:`numbered` by default.
        default: Whether the stream is marked as the one to play.
    """

    stamps: Sequence[int]
    time_base: Fraction
    rate: Fraction | None = None
    size: tuple[int, int] = (96, 64)
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    rotation_deg: int = 0
    mirror: bool = False
    pixel_aspect: Fraction | None = None
    draw: Callable[[int], NDArray[np.uint8]] | None = None
    default: bool = True

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Presentation times in the file's own time."""
        return np.array([float(stamp * self.time_base) for stamp in self.stamps])


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound stream.

    Attributes:
        samples: (channels, n) in [-1, 1], one or two channels.
        rate_hz: Of these.
        start_s: Time of the first sample in the file's own time.
        gaps: Stretches (start, end), relative to the first sample, whose packets are left out.
        codec: Encoder.
    """

    samples: NDArray[np.float32]
    rate_hz: int = 48_000
    start_s: float = 0.0
    gaps: Sequence[tuple[float, float]] = ()
    codec: str = "aac"


def film(rate: str | Fraction | int = "30", n: int = 60, **changes: Any) -> Film:
    """A constant frame rate, ``n`` pictures."""
    exact = RATES[rate] if isinstance(rate, str) else Fraction(rate)
    settings: dict[str, Any] = {"stamps": range(n), "time_base": 1 / exact, "rate": exact}
    return Film(**(settings | changes))


def clicks(
    times_s: Iterable[float], duration_s: float, *, rate_hz: int = 48_000, channels: int = 1
) -> NDArray[np.float32]:
    """Silence with short pulses (3 ms, positive) whose peaks lie exactly at the given times."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    x = np.zeros(len(t))
    for at in times_s:
        x += 0.8 * np.exp(-0.5 * ((t - at) / 0.0006) ** 2)
    return np.tile(x.astype(np.float32), (channels, 1))


def numbered(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture that carries its number, most significant bit on the left, in its upper half.

    The lower left quarter is grey, the lower right one red, so that turns can be told.
    """
    width, height = size
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[height // 2 :, width // 2 :] = (220, 20, 20)
    edges = np.linspace(0, width, _BITS + 1).astype(int)
    for bit in range(_BITS):
        on = number >> (_BITS - 1 - bit) & 1
        picture[: height // 2, edges[bit] : edges[bit + 1]] = 235 if on else 20
    return picture


def number_of(pixels: NDArray[np.uint8]) -> int:
    """The number in a picture of :func:`numbered`, upright, at any size."""
    height, width = pixels.shape[:2]
    row = pixels[height // 8 : height * 3 // 8].mean(axis=(0, 2))
    centres = ((np.arange(_BITS) + 0.5) * width / _BITS).astype(int)
    return int("".join("1" if row[x] > 128 else "0" for x in centres), 2)


def write_media(
    path: Path,
    films: Film | Sequence[Film] = (),
    sounds: Sound | Sequence[Sound] = (),
    *,
    cover: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a file; the suffix says the container.

    Args:
        path: Where to.
        films: Video streams.
        sounds: Sound streams.
        cover: Attach a cover picture, as music files have.
        options: Of the container.
    """
    films = [films] if isinstance(films, Film) else list(films)
    sounds = [sounds] if isinstance(sounds, Sound) else list(sounds)
    with av.open(str(path), "w", container_options=options or {}) as container:
        packets: list[Any] = []
        streams = [_add_film(container, each) for each in films]
        voices = [_add_sound(container, each) for each in sounds]
        if cover:
            packets += _cover(container)
        for stream, each in zip(streams, films, strict=True):
            packets += _film_packets(stream, each)
        for stream, sound in zip(voices, sounds, strict=True):
            packets += _sound_packets(stream, sound)
        packets.sort(key=lambda p: -1.0 if p.dts is None else float(p.dts * p.time_base))
        for packet in packets:
            container.mux(packet)
    return path


def _add_film(container: Any, each: Film) -> Any:
    stream = container.add_stream(each.codec, rate=each.rate or 1 / each.time_base)
    stream.width, stream.height = each.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = each.time_base
    quick = {"preset": "ultrafast", "crf": "18"} if each.codec == "libx264" else {"q": "3"}
    stream.options = quick | each.options
    if each.pixel_aspect is not None:
        stream.codec_context.sample_aspect_ratio = each.pixel_aspect
    if each.rotation_deg or each.mirror:
        stream.set_display_rotation(-each.rotation_deg, hflip=each.mirror)
    if not each.default:
        stream.disposition = 0
    return stream


def _film_packets(stream: Any, each: Film) -> list[Any]:
    packets: list[Any] = []
    for number, stamp in enumerate(each.stamps):
        frame = av.VideoFrame.from_ndarray(_stored(each, number), "rgb24")
        frame.pts, frame.time_base = stamp, each.time_base
        packets += stream.encode(frame)
    return packets + stream.encode()


def _stored(each: Film, number: int) -> NDArray[np.uint8]:
    """The picture as the camera stored it: turned against what players are asked for."""
    width, height = each.size
    upright_size = (height, width) if each.rotation_deg % 180 else each.size
    picture = each.draw(number) if each.draw else numbered(number, upright_size)
    if each.mirror:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(np.rot90(picture, each.rotation_deg // 90))


def _add_sound(container: Any, each: Sound) -> Any:
    layout = "mono" if len(each.samples) == 1 else "stereo"
    return container.add_stream(each.codec, rate=each.rate_hz, layout=layout)


def _sound_packets(stream: Any, each: Sound) -> list[Any]:
    context = stream.codec_context
    context.open()
    kind = context.format.name
    start = round(each.start_s * each.rate_hz)
    size = context.frame_size or _PACKET
    packets: list[Any] = []
    for at in range(0, each.samples.shape[1], size):
        block = _in_format(each.samples[:, at : at + size], kind)
        frame = av.AudioFrame.from_ndarray(block, kind, context.layout.name)
        frame.sample_rate = each.rate_hz
        frame.pts, frame.time_base = start + at, Fraction(1, each.rate_hz)
        packets += stream.encode(frame)
    packets += stream.encode()
    return [p for p in packets if not _in_gap(float(p.pts * p.time_base) - each.start_s, each)]


def _in_gap(time_s: float, each: Sound) -> bool:
    return any(low <= time_s < high for low, high in each.gaps)


def _in_format(samples: NDArray[np.float32], kind: str) -> NDArray[Any]:
    form = kind.removesuffix("p")
    block: NDArray[Any] = samples.astype(np.float64)
    if form == "u8":
        block = np.round(block * 127 + 128).astype(np.uint8)
    elif form == "s16":
        block = np.round(block * 32_767).astype(np.int16)
    elif form == "s32":
        block = np.round(block * 2_147_483_647).astype(np.int32)
    else:
        block = block.astype(np.float64 if form == "dbl" else np.float32)
    return np.ascontiguousarray(block if kind.endswith("p") else block.T.reshape(1, -1))


def _cover(container: Any) -> list[Any]:
    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic
    frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "rgb24")
    frame.pts, frame.time_base = 0, Fraction(1)
    return [*stream.encode(frame), *stream.encode()]
