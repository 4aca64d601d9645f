"""The engine of a live session alone: CPU for a second of it, latency, memory over ten minutes.

Baseline, in the same run: the same pictures read as a file is read, without a session around it.
A drawn talking face of 640 x 480 at 15 pictures a second is pushed in; ten are analysed.

    python benchmarks/live_engine.py            # 30 s in real time, then ten minutes, faster
    python benchmarks/live_engine.py --quick    # 10 s, then one minute
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.live import LiveSession
from nunbit.live.inbox import memory_mb
from nunbit.live.live_faces import JpegReader
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.recording.media import probe_media
from nunbit.recording.observer import Observer, ReadingSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from make_sender import SCRIPT, Clip, clip_of, send
from nunbit.synth.video import render_video


def drawn(folder: Path) -> tuple[Path, Clip]:
    """A clip of ten seconds."""
    path = folder / "talking.mp4"
    script = replace(SCRIPT, width=640, height=480, head=(), dropouts=(), visitors=())
    render_video(path, script)
    return path, clip_of(path)


def repeated(clip: Clip, seconds: float) -> Clip:
    """The clip over and over."""
    times = int(np.ceil(seconds / clip.duration_s))
    frames = [(at + k * clip.duration_s, jpeg) for k in range(times) for at, jpeg in clip.frames]
    sound = np.concatenate([clip.sound] * times)[: round(seconds * 16_000)]
    return Clip(tuple(f for f in frames if f[0] < seconds), sound)


def cpu_ms_as_file(path: Path, clip: Clip) -> float:
    """CPU of one analysed picture, read as a file is."""
    media = probe_media(path)
    settings = ReadingSettings().face_settings(media)
    observer = Observer(load_bundle(default_bundle_path(), threads=1), settings, media)
    reader = JpegReader()
    frames = [clip.frames[k] for k in range(0, len(clip.frames), 2)][:60]
    began = 0.0
    for k, (at, jpeg) in enumerate(frames):
        if k == 5:  # models are loaded
            began = time.process_time()
        decoded = reader.read(jpeg, at)
        assert decoded is not None
        observer.push(decoded[0])
    observer.take()
    return 1000 * (time.process_time() - began) / (len(frames) - 5)


def in_real_time(clip: Clip) -> dict[str, Any]:
    """A session at the pace of its clock."""
    events: list[Any] = []
    started = time.perf_counter()
    session = LiveSession(emit=events.append)
    start_s = time.perf_counter() - started
    cpu = time.process_time()
    send(session, clip, live=True)
    session.wait()
    used = time.process_time() - cpu
    session.stop()
    faces = [e for e in events if e.type == "face"]
    health = [e for e in events if e.type == "health" and e.latency_p95_ms is not None]
    return {
        "start_s": start_s,
        "fps": len(faces) / clip.duration_s,
        "p50": float(np.median([e.latency_p50_ms for e in health])),
        "p95": float(np.median([e.latency_p95_ms for e in health])),
        "dropped": faces[-1].dropped,
        "cpu_share": used / clip.duration_s,
    }


def long_session(clip: Clip, folder: Path) -> dict[str, Any]:
    """A session with a recording, faster than its clock: memory and time of an answer."""
    events: list[Any] = []
    session = LiveSession(emit=events.append, folder=folder, keep_media=True)
    memory: list[tuple[float, float]] = []
    taken: list[tuple[float, float]] = []
    before = time.process_time()

    def note(event: Any) -> None:
        nonlocal before
        if event.type == "face":
            now = time.process_time()
            taken.append((event.t, 1000 * (now - before)))
            before = now
            memory.append((event.t, memory_mb()))

    session._emit = note
    send(session, clip)
    session.stop()
    at, mb = np.array(memory).T
    t, ms = np.array(taken).T
    first, last = (at > 30) & (at < 90), at > at[-1] - 60
    slope = np.polyfit(t, np.minimum(ms, np.percentile(ms, 99)), 1)[0]
    return {
        "mb_first": float(mb[first].mean() if first.any() else mb[0]),
        "mb_last": float(mb[last].mean()),
        "mb_most": float(mb.max()),
        "ms_slope_per_min": float(slope * 60),
        "minutes": float(at[-1] / 60),
        "frames": len(t),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fps", type=float, default=15.0, help="pictures in the long session")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path, clip = drawn(Path(name))
        alone = cpu_ms_as_file(path, clip)
        print(f"as a file is read: {alone:.1f} ms of CPU a picture")
        live = in_real_time(repeated(clip, 10 if given.quick else 30))
        print(
            f"in real time: start {live['start_s']:.2f} s, {live['fps']:.1f} pictures a second, "
            f"latency p50 {live['p50']:.0f} ms, p95 {live['p95']:.0f} ms, dropped "
            f"{live['dropped']}, {live['cpu_share']:.2f} s of CPU for a second (pictures alone: "
            f"{alone * 10 / 1000:.2f})"
        )
        long = repeated(clip, 60 if given.quick else 600)
        step = max(1, round(15 / given.fps))
        thinned = Clip(long.frames[::step], long.sound)
        found = long_session(thinned, Path(name) / "session")
        print(
            f"{found['minutes']:.1f} min, {found['frames']} pictures: memory "
            f"{found['mb_first']:.0f} MB in the second minute, {found['mb_last']:.0f} MB in the "
            f"last, at most {found['mb_most']:.0f} MB; CPU of a picture with its sound changes by "
            f"{found['ms_slope_per_min']:+.2f} ms a minute"
        )


if __name__ == "__main__":
    main()
