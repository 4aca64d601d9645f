"""A drawn talking face as a browser would send it: JPEGs and PCM with the times of its clock."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nunbit.core.streams import Frame
from nunbit.live import LiveSession
from nunbit.recording.media import read_media
from nunbit.synth.script import Dropout, EmotionKey, HeadKey, Saying, VideoScript, Visitor
from nunbit.synth.video import render_video

CLOCK_ZERO_MS = 5_000.0
"""The sender's clock at the first sample."""

SCRIPT = VideoScript(
    duration_s=10.0, width=480, height=360, fps="15", seed=5, person=94, scene="plain",
    face_scale=0.26, hold_s=0.1, sway_deg=0.5,
    emotions=(EmotionKey(1.5), EmotionKey(2.2, joy=1.0), EmotionKey(4.0, joy=1.0), EmotionKey(4.7)),
    sayings=(Saying(0.6, "오늘은 정말 기쁜 하루였어요"), Saying(4.2, "그래서 조금 걸었어요")),
    visitors=(Visitor(5.6, 6.6, person=3, x=0.82, scale=0.2),),
    head=(HeadKey(6.7, pitch_deg=0.0), HeadKey(7.4, pitch_deg=-42.0), HeadKey(7.9, pitch_deg=-42.0),
          HeadKey(8.6, pitch_deg=0.0)),
    dropouts=(Dropout(9.0, 9.7, "face"),),
)  # fmt: skip
"""Smiles, speaks twice, has a visitor, looks up, leaves."""


def drawn_clip(folder: Path) -> Clip:
    """The clip of ``SCRIPT``."""
    render_video(folder / "talking.mp4", SCRIPT)
    return clip_of(folder / "talking.mp4")


@dataclass(frozen=True, eq=False)
class Clip:
    """What a camera and a microphone give.

    Attributes:
        frames: JPEG and time in seconds of each.
        sound: int16 at 16 kHz.
    """

    frames: tuple[tuple[float, bytes], ...]
    sound: np.ndarray

    @property
    def duration_s(self) -> float:
        return len(self.sound) / 16_000


def jpeg_of(pixels: np.ndarray, quality: int = 85) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def clip_of(path: Path, fps: float = 15.0) -> Clip:
    """Read a video file as a sender's clip."""
    frames: list[tuple[float, bytes]] = []
    sound: list[np.ndarray] = []
    for item in read_media(path, rate_hz=fps):
        if isinstance(item, Frame):
            frames.append((item.time_s, jpeg_of(item.pixels)))
        else:
            sound.append(item.samples)
    samples = np.concatenate([*sound, np.zeros(0, np.float32)])
    return Clip(tuple(frames), np.round(np.clip(samples, -1, 1) * 32767).astype("<i2"))


def pieces(clip: Clip, step: int = 1600) -> Iterator[tuple[float, str, int]]:
    """Time at which each frame and each piece of sound is sent, in order."""
    sent = [(start + step, "sound", start) for start in range(0, len(clip.sound), step)]
    times = [(at / 16_000, kind, k) for at, kind, k in sent]
    times += [(at, "frame", k) for k, (at, _) in enumerate(clip.frames)]
    yield from sorted(times, key=lambda each: (each[0], each[1]))


def send(
    session: LiveSession,
    clip: Clip,
    *,
    live: bool = False,
    step: int = 1600,
    late_ms: float = 0.0,
    lost: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Push a clip, as fast as it is read, or in real time.

    Args:
        session: Gets it.
        clip: What is sent.
        live: In real time.
        step: Samples of a message.
        late_ms: Stamps of sound are late by up to so much, those of frames off by up to 5 ms.
        lost: Sound between these times is not sent.
    """
    rng = np.random.default_rng(7)
    began = time.monotonic()
    for at, kind, k in pieces(clip, step):
        if live:
            time.sleep(max(0.0, began + at - time.monotonic()))
        if kind == "frame":
            when, jpeg = clip.frames[k]
            off_ms = rng.uniform(-5, 5) if late_ms else 0.0
            session.push_frame(jpeg, CLOCK_ZERO_MS + 1000 * when + off_ms, k)
        elif not lost[0] <= k / 16_000 < lost[1]:
            piece = clip.sound[k : k + step].tobytes()
            delay_ms = rng.choice([0.0, rng.uniform(0, late_ms)])
            session.push_sound(piece, k, CLOCK_ZERO_MS + k / 16 + delay_ms, 16_000)
        if not live:
            session.wait()
