"""``nunbit check`` on one hour of 720p video, and on a folder of a hundred recordings.

python benchmarks/check_speed.py [--minutes 60] [--files 100] [--decoded-minutes 2]

A drawn talking face at 1280 x 720 is repeated, packet by packet, to an hour; the command line
checks it, and a hundred links to a copy of two minutes in one call. Baseline: decoding the hour's
every frame and all its sound with the same decoder, measured on the first minutes and scaled.
Bars: 10 s for the hour, a fiftieth of decoding it. Both times depend on how busy the machine is, so
the CPU seconds stand beside them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from analyze_speed import repeat
from nunbit.recording.media import read_media
from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

HOUR_BAR_S = 10.0
RATIO_BAR = 50.0


def checked(files: Sequence[Path]) -> tuple[float, float]:
    """Seconds and CPU seconds of one call of the command line, start-up included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    line = [sys.executable, "-m", "nunbit", "check", *map(str, files)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def decoded(path: Path, seconds: float) -> tuple[float, float]:
    """Seconds and CPU seconds of decoding the first part of a file."""
    began, cpu = time.perf_counter(), time.process_time()
    for item in read_media(path, rate_hz=None):
        at = getattr(item, "time_s", None) or getattr(item, "start_s", 0.0)
        if at >= seconds:
            break
    return time.perf_counter() - began, time.process_time() - cpu


def main() -> int:
    """Measure, print, and say whether the bars are reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--decoded-minutes", type=float, default=2.0)
    parser.add_argument("--clip", type=Path, help="720p clip to repeat (default: one is drawn)")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = a.clip or folder / "clip.mp4"
        if a.clip is None:
            sizes = ("width=1280", "height=720")
            render_video(clip, load_script(None, overrides=sizes))
        long, short = folder / "long.mp4", folder / "short.mp4"
        repeat(clip, long, 60 * a.minutes)
        repeat(clip, short, 120)
        wall, cpu = checked([long])
        part_wall, part_cpu = decoded(long, 60 * a.decoded_minutes)
        scale = a.minutes / a.decoded_minutes
        ratio = part_cpu * scale / cpu
        print(f"{a.minutes:g} min 720p: check {wall:.1f} s (CPU {cpu:.1f} s), bar {HOUR_BAR_S} s")
        print(
            f"decoding it whole: {part_wall * scale:.0f} s (CPU {part_cpu * scale:.0f} s; "
            f"{a.decoded_minutes:g} min measured); check takes 1/{ratio:.0f} of the CPU, "
            f"bar 1/{RATIO_BAR:.0f}"
        )
        many = folder / "many"
        many.mkdir()
        for k in range(a.files):
            (many / f"P{k:03d}.mp4").symlink_to(short)
        if a.files:
            each, each_cpu = checked([many])
            print(
                f"{a.files} recordings of 2 min: {each:.0f} s (CPU {each_cpu:.0f} s), "
                f"{each / a.files:.2f} s each"
            )
    reached = wall <= HOUR_BAR_S * a.minutes / 60 and ratio >= RATIO_BAR
    print(f"bars reached: {reached}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
