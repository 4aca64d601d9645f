"""``nunbit analyze`` on 720p video: times real time, memory over length, beside a peer.

python benchmarks/analyze_speed.py [--seconds 60] [--minutes 10,120] [--peer-env DIR]
    [--older-network]

A drawn talking face at 1280 x 720 is analysed end to end by the command line: decoding, faces at
10 Hz, landmarks, emotions, voice, measures, Parquet and report. The peer is the package ``fer`` as
its README uses it (its own detector, Haar cascade, and its own model) on the same frames at the
same rate: no voice, no landmarks, no report; ``--peer-env`` is a folder for its environment (7 GB
with TensorFlow), made at first use. Memory: peak of the whole tree of processes, shared pages
counted once (PSS), for files of different lengths: the same small clip repeated without decoding it
again. Bars: 5 times real time and 0.22 CPU seconds a second; two hours within 10% of ten minutes
and below 1.5 GB. ``--older-network`` also analyses without face-landmarker: the detector in every
frame, landmarks by face-mesh.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import psutil

from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

SPEED_BAR = 5.0
CPU_BAR = 0.22
MEMORY_BAR_MB = 1500.0
GROWTH_BAR = 1.1

PEER = "fer==25.10.3"
SAMPLE_S = 0.25

_PEER = """
import sys
import cv2
from fer.fer import FER
detector, film = FER(), cv2.VideoCapture(sys.argv[1])
rate, frames, sampled, seen = film.get(cv2.CAP_PROP_FPS), 0, 0, 0
while film.grab():
    if frames / rate >= sampled / 10.0:
        sampled += 1
        seen += bool(detector.detect_emotions(film.retrieve()[1]))
    frames += 1
print(sampled, seen)
"""


def run(
    command: list[str], environment: dict[str, str] | None = None
) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak megabytes of a command with its child processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = psutil.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | (environment or {}),
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, tree_bytes(process))
        time.sleep(SAMPLE_S)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, peak / 1e6


def tree_bytes(process: psutil.Process) -> int:
    """What a process and its children hold now; pages they share count once where that is known."""
    total = 0
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in members:
        try:
            memory = member.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(memory, "pss", memory.rss)
    return total


def peer_python(folder: Path) -> Path:
    """Python of the peer's environment, made if it is not there."""
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
        done.touch()
    return python


def repeat(source: Path, target: Path, seconds: float) -> None:
    """Write a long file by copying the packets of a short one again and again."""
    with av.open(str(source)) as first:
        length = max(float(s.duration * s.time_base) for s in first.streams if s.duration)
    with av.open(str(target), "w") as out:
        made = {}
        last: dict[int, int] = {}
        at = 0.0
        while at < seconds:
            with av.open(str(source)) as again:
                for stream in again.streams:
                    if stream.index not in made:
                        made[stream.index] = out.add_stream_from_template(stream)
                for packet in again.demux():
                    if packet.dts is None:
                        continue
                    shift = round(at / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    if packet.dts <= last.get(packet.stream.index, packet.dts - 1):
                        continue  # the sound's encoder starts a little early
                    last[packet.stream.index] = packet.dts
                    packet.stream = made[packet.stream.index]
                    out.mux(packet)
            at += length


def analysed(
    media: Path, out: Path, environment: dict[str, str] | None = None
) -> tuple[float, float, float]:
    """Analyse a file by the command line."""
    line = [sys.executable, "-m", "nunbit", "analyze", str(media), "--out", str(out)]
    return run([*line, "--set", "single_speaker=true"], environment)


def main() -> int:
    """Measure, print, and say whether the bars are reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", default="10,120")
    parser.add_argument("--peer-env", type=Path, help="folder for fer's own environment")
    parser.add_argument("--older-network", action="store_true")
    parser.add_argument("--no-speed", action="store_true")
    a = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not a.no_speed:
            clip = folder / "clip.mp4"
            sizes = ("width=1280", "height=720", f"duration_s={min(a.seconds, 46.0)}")
            render_video(clip, load_script(None, overrides=sizes))
            long = folder / "long.mp4"
            repeat(clip, long, a.seconds)
            with av.open(str(long)) as media:
                seconds = float(media.duration / 1e6)
            wall, cpu, peak = analysed(long, folder / "out")
            print(
                f"720p, {seconds:.0f} s: {seconds / wall:.1f} x real time "
                f"({wall:.1f} s, CPU {cpu:.1f} s = {cpu / seconds:.3f} a second, {peak:.0f} MB), "
                f"bars {SPEED_BAR}, {CPU_BAR}"
            )
            good &= seconds / wall >= SPEED_BAR and cpu / seconds <= CPU_BAR
            if a.older_network:
                (folder / "none").mkdir()
                without = {"NUNBIT_WEIGHTS": str(folder / "none")}
                other, cpu, _ = analysed(long, folder / "older", without)
                print(f"with face-mesh: {other:.1f} s, CPU {cpu / seconds:.3f} a second")
            if a.peer_env:
                command = [str(peer_python(a.peer_env)), "-c", _PEER, str(long)]
                other, cpu, peak = run(command)
                print(
                    f"{PEER}, faces alone: {seconds / other:.1f} x real time ({other:.1f} s, CPU "
                    f"{cpu:.1f} s, {peak:.0f} MB); nunbit is {other / wall:.2f} x as fast"
                )
        peaks = {}
        small = folder / "small.mp4"
        sizes = ("width=320", "height=240", "duration_s=46")
        minutes = [float(m) for m in a.minutes.split(",") if m]
        if minutes:
            render_video(small, load_script(None, overrides=sizes))
        for length in minutes:
            media_path = folder / f"{length:g}min.mp4"
            repeat(small, media_path, 60 * length)
            began = time.perf_counter()
            wall, cpu, peaks[length] = analysed(media_path, folder / "out")
            print(
                f"{length:g} min at 320 x 240: peak {peaks[length]:.0f} MB, "
                f"{60 * length / wall:.1f} x real time ({time.perf_counter() - began:.0f} s)"
            )
        if len(peaks) > 1:
            growth = max(peaks.values()) / min(peaks.values())
            print(f"growth {growth:.2f} x (bar {GROWTH_BAR}), largest bar {MEMORY_BAR_MB:.0f} MB")
            good &= growth <= GROWTH_BAR and max(peaks.values()) <= MEMORY_BAR_MB
    print(json.dumps({"bars_reached": bool(good), "own_peak": resource.getrusage(0).ru_maxrss}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
