"""kill -9 loses at most a second of a session; flash and beep stay together."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from make_sender import drawn_clip, jpeg_of
from nunbit.core.messages import InputError
from nunbit.core.streams import Frame
from nunbit.live import LiveSession, LiveSettings
from nunbit.live.recorder import HeardPart, read_lines, read_parts
from nunbit.recording.media import probe_media, read_media
from nunbit.stories.analyze.live_end import finish_live
from nunbit.stories.timelines import read_timeline

pytestmark = pytest.mark.seconds


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    path = folder / "clip.pickle"
    path.write_bytes(pickle.dumps(drawn_clip(folder)))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["keep", pytest.param("forget", marks=pytest.mark.slow)])
def test_kill_loses_a_second_at_most(clip_file: Path, tmp_path: Path, keep: str) -> None:
    folder = tmp_path / "session"
    script = Path(__file__).with_name("run_live_session.py")
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = subprocess.run(
        [sys.executable, str(script), str(folder), str(clip_file), keep, "7"],
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, run.stderr
    reached_s = float(run.stdout)
    assert reached_s > 3
    parts = list(read_parts(folder))
    heard = [p for p in parts if isinstance(p, HeardPart)]
    faces = [p for p in parts if not isinstance(p, HeardPart)]
    assert (heard[-1].first + len(heard[-1].present)) / 100 > reached_s - 1.0
    assert len(faces) > 5
    if keep == "keep":
        assert probe_media(folder / "session.mkv").duration_s > reached_s - 1.0
    summary = finish_live(folder)
    assert summary["session"] == "session"
    timeline = read_timeline(folder)
    assert len(timeline.frames) >= len(faces) - 2
    texts = [en for en, _ in summary["notices"]]
    assert any("cut off" in text for text in texts) == (keep == "forget")
    assert finish_live(folder)["provenance"] == summary["provenance"]  # once more: as it is


def test_what_is_no_session_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no live session here"):
        finish_live(tmp_path)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "live.jsonl").write_bytes(b'{"type":"start"}\n{"type":"note","t"')
    assert list(read_lines(tmp_path)) == [{"type": "start"}]
    (tmp_path / "live.parts").write_bytes(b"\x10\x00\x00\x00broken")
    assert list(read_parts(tmp_path)) == []


@pytest.mark.slow
def test_flash_and_beep_stay_within_forty_milliseconds(tmp_path: Path) -> None:
    """The sender's clock is 150 ppm fast and its stamps of sound come up to 40 ms late."""
    rng = np.random.default_rng(11)
    seconds, ppm = 90, 150e-6
    moments = np.arange(4.0, seconds - 2, 8.3)
    sound = rng.normal(0, 30, seconds * 16_000)
    for moment in moments:
        at = round(moment * 16_000)
        sound[at : at + 1600] += 15_000 * np.sin(2 * np.pi * 1000 * np.arange(1600) / 16_000)
    pcm = sound.clip(-32768, 32767).astype("<i2")
    dark, bright = (jpeg_of(np.full((96, 128, 3), level, np.uint8)) for level in (30, 220))
    settings = LiveSettings(rate_hz=20)
    session = LiveSession(None, settings, tmp_path / "s", keep_media=True)
    frame_at, k = 0.0, 0
    for first in range(0, len(pcm), 800):
        at = (first + 800) / 16_000
        stamp_ms = 1000 * (first / 16_000 * (1 + ppm)) + rng.choice([0.0, rng.uniform(0, 40)])
        session.push_sound(pcm[first : first + 800].tobytes(), first, 7_000 + stamp_ms, 16_000)
        while frame_at < at:
            since = frame_at - moments
            if (np.abs(since) < 0.2).any():  # elsewhere there is nothing to see
                lit = bool(((since >= 0) & (since < 0.1)).any())
                session.push_frame(bright if lit else dark, 7_000 + 1000 * frame_at * (1 + ppm), k)
                session.wait()
            frame_at, k = frame_at + 1 / 30, k + 1
        session.wait()
    session.stop()
    flashes, level = [], {}
    for item in read_media(tmp_path / "s" / "session.mkv", rate_hz=None):
        if isinstance(item, Frame):
            flashes.append((item.time_s, float(item.pixels.mean()) > 100))
        else:
            n = len(item.samples) // 16 * 16
            for j, loud in enumerate(np.abs(item.samples[:n]).reshape(-1, 16).max(axis=1) > 0.2):
                level[round(item.start_s * 1000) + j] = bool(loud)
    lit = [t for (t, on), (_, before) in zip(flashes[1:], flashes, strict=False) if on > before]
    beeps = [ms / 1000 for ms in sorted(level) if level[ms] and not level.get(ms - 1, False)]
    beeps = [b for b, before in zip(beeps, [-1.0, *beeps], strict=False) if b - before > 1]
    assert len(lit) == len(beeps) == len(moments)
    # A flash is seen in the first frame taken after it: 50 ms apart, in the mean 25 later.
    late = np.array(lit) - np.array(beeps)
    assert np.abs(late - 0.025).max() <= 0.040
    assert abs(late.mean() - 0.025) < 0.015
