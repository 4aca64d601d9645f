"""Speeds of heads in pictures: a still photo under sensor noise, a talker, heads drawn turning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from make_measures import make_input, pick
from nunbit.core.streams import FaceStream, Frame
from nunbit.measures import compute_measures
from nunbit.pictures.face_mesh import load_landmarker
from nunbit.recording.face_reader import FaceReader
from nunbit.synth.script import HeadKey, VideoScript
from nunbit.synth.video import render_video

media = pytest.importorskip("nunbit.recording.media")
pytestmark = pytest.mark.skipif(load_landmarker() is None, reason="no landmark model")


def frames_of(path: Path, most: int) -> list[Frame]:
    items = media.read_media(path, rate_hz=10.0, want_audio=False)
    return [item for item in items if isinstance(item, Frame)][:most]


def noisy(frame: Frame, sd: float, rng: np.random.Generator, time_s: float) -> Frame:
    pixels = frame.pixels + rng.normal(0, sd, frame.pixels.shape)
    return replace(frame, time_s=time_s, pixels=np.clip(pixels, 0, 255).astype(np.uint8))


def read(frames: Iterable[Frame]) -> FaceStream:
    reader = FaceReader(None)
    for frame in frames:
        reader.add(frame)
    return reader.finish().choose()[0]


def head_speed(frames: list[Frame]) -> tuple[float, str]:
    given = make_input(len(frames) / 10.0, faces=read(frames))
    block = pick(compute_measures(given), "head_speed")
    return float(block.value[0]), str(block.mask_reason[0])


@pytest.mark.data
@pytest.mark.slow
def test_a_still_photo_has_no_head_speed_and_a_talker_has(real_data: Path) -> None:
    clip = frames_of(real_data / "video" / "grid" / "s1_bbaf2n.mpg", 40)
    rng = np.random.default_rng(0)
    still = [noisy(clip[15], 10.0, rng, k / 10.0) for k in range(50)]
    speed, why = head_speed(still)  # 7 to 10 degrees a second before
    assert why == "below_noise" or speed <= 1.0
    speed, why = head_speed(clip)
    assert why == ""
    assert 1.0 < speed < 12.0


@pytest.mark.slow
@pytest.mark.parametrize("speed", [5.0, 20.0])
def test_drawn_heads_keep_their_speed_under_sensor_noise(tmp_path: Path, speed: float) -> None:
    keys = tuple(
        HeadKey(2.0 * k, yaw_deg=-speed if k % 2 else speed, ease="linear") for k in range(5)
    )
    script = VideoScript(
        duration_s=8.0, width=320, height=240, fps=10, person=94, scene="room", sound=False,
        head=keys,
    )  # fmt: skip
    path = tmp_path / "turning.mp4"
    render_video(path, script)
    rng = np.random.default_rng(0)
    found, why = head_speed([noisy(f, 10.0, rng, f.time_s) for f in frames_of(path, 80)])
    assert why == ""
    assert found == pytest.approx(speed, rel=0.3)  # 13.8 and 26.5 before
