"""Peak memory and speed of reading a long recording: ten minutes against two hours.

python benchmarks/media_memory.py [--minutes 120] [--size 1280x720]

One coded minute is copied packet by packet into files of both lengths, so that making them costs
little; each is probed and read at 10 Hz in a fresh process. FFmpeg holds the index of an MP4 file,
some 20 MB an hour, from opening on; reading itself must add nothing that grows. Bars: what reading
adds to opening is at most 25 MB more for the long file than for the short one, and the peak is
below 1.5 GB. Baseline: the same pictures and sound in two passes that convert every frame.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from nunbit.runtime.workers import available_cores

PEAK_BAR_MB = 1500
GROWTH_BAR_MB = 25
RATE = 30
VOICE_HZ = 48_000
READ = """
import psutil, sys, time
from pathlib import Path
from nunbit.recording.media import probe_media, read_media
from nunbit.recording.media.container import open_media
from nunbit.core.streams import Frame
path, threads, me = Path(sys.argv[1]), int(sys.argv[2]), psutil.Process()
with open_media(path):
    opened = me.memory_info().rss
begun = time.perf_counter()
info = probe_media(path)
probed = time.perf_counter() - begun
begun, cpu = time.perf_counter(), time.process_time()
frames = samples = peak = 0
for item in read_media(path, threads=threads):
    if isinstance(item, Frame):
        frames += 1
    else:
        samples += len(item.samples)
        peak = max(peak, me.memory_info().rss)
print(info.duration_s, probed, time.perf_counter() - begun, time.process_time() - cpu)
print(opened / 1e6, peak / 1e6, frames, samples / 16000)
"""
PLAIN = """
import av, psutil, sys, time
begun, cpu, me = time.perf_counter(), time.process_time(), psutil.Process()
frames = samples = peak = 0
with av.open(sys.argv[1]) as container:
    container.streams.video[0].thread_count = int(sys.argv[2])
    for frame in container.decode(video=0):
        frame.to_ndarray(format='rgb24')
        frames += 1
        peak = max(peak, me.memory_info().rss) if frames % 15 == 0 else peak
with av.open(sys.argv[1]) as container:
    resampler = av.AudioResampler('flt', 'mono', 16000)
    for frame in container.decode(audio=0):
        samples += sum(each.samples for each in resampler.resample(frame))
print(frames / 30, 0, time.perf_counter() - begun, time.process_time() - cpu)
print(0, peak / 1e6, frames, samples / 16000)
"""


def write_minute(path: Path, size: tuple[int, int]) -> None:
    """One minute of a moving, slightly noisy picture with two channels of sound."""
    rng = np.random.default_rng(0)
    width, height = size
    coarse = rng.integers(0, 255, (height // 8 + 32, width // 8 + 32, 3)).astype(np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        film: Any = container.add_stream("libx264", rate=RATE)
        film.width, film.height, film.pix_fmt = width, height, "yuv420p"
        film.options = {"preset": "veryfast", "crf": "26"}
        voice: Any = container.add_stream("aac", rate=VOICE_HZ, layout="stereo")
        for number in range(60 * RATE):
            x, y = (round(96 + 80 * f(number / 30)) for f in (np.sin, np.cos))
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(scene[y : y + height, x : x + width])
            )
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(film.encode(frame))
        container.mux(film.encode())
        for at in range(0, 60 * VOICE_HZ, 1024):
            noise = rng.uniform(-0.3, 0.3, (2, 1024)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(noise, "fltp", "stereo")
            sound.sample_rate, sound.pts = VOICE_HZ, at
            sound.time_base = Fraction(1, VOICE_HZ)
            container.mux(voice.encode(sound))
        container.mux(voice.encode())


def repeat(minute: Path, path: Path, times: int) -> None:
    """Copy a file's packets again and again, each time a minute later."""
    with av.open(str(path), "w") as target:
        streams: dict[int, Any] = {}
        for number in range(times):
            with av.open(str(minute)) as source:
                for stream in source.streams:
                    if number == 0:
                        streams[stream.index] = target.add_stream_from_template(stream)
                for packet in source.demux():
                    if packet.dts is None or packet.pts < 0:
                        continue
                    later = round(60 * number / packet.time_base)
                    packet.pts, packet.dts = packet.pts + later, packet.dts + later
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)


def run(code: str, path: Path, threads: int) -> list[float]:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(each) for each in done.stdout.split()]


def main() -> int:
    """Print peaks and speeds; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--size", default="1280x720")
    arguments = parser.parse_args()
    width, height = (int(each) for each in arguments.size.split("x"))
    print(f"{platform.machine()}, {available_cores()} cores, Python {platform.python_version()}")
    peaks, added = {}, {}
    with tempfile.TemporaryDirectory() as name:
        begun = time.perf_counter()
        minute = Path(name) / "minute.mp4"
        write_minute(minute, (width, height))
        files = {each: Path(name) / f"{each}.mp4" for each in (10, arguments.minutes)}
        for minutes, path in files.items():
            repeat(minute, path, minutes)
        print(f"files made in {time.perf_counter() - begun:.0f} s")
        print("what              probe s   read s  x real time  x per CPU s  opened MB   peak MB")
        jobs = [(f"{minutes} min", READ, path, 1) for minutes, path in files.items()]
        jobs += [("10 min, 2 threads", READ, files[10], 2), ("10 min, plain", PLAIN, files[10], 1)]
        for what, code, path, threads in jobs:
            length, probed, wall, cpu, opened, peak, frames, sound = run(code, path, threads)
            peaks[what], added[what] = peak, peak - opened
            print(
                f"{what:18} {probed:6.1f} {wall:8.1f} {length / wall:12.1f} {length / cpu:12.1f} "
                f"{opened:10.0f} {peak:9.0f}   ({frames:.0f} frames, {sound:.1f} s of sound)"
            )
    short, long = "10 min", f"{arguments.minutes} min"
    more = added[long] - added[short]
    print(
        f"long against short: peak {peaks[long] / peaks[short]:.2f} x; reading adds {more:.0f} MB"
    )
    return int(peaks[long] > PEAK_BAR_MB or more > GROWTH_BAR_MB)


if __name__ == "__main__":
    sys.exit(main())
