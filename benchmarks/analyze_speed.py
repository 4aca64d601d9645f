"""``nunbit analyze`` on 720p video: times real time, memory over length, beside a peer.

python benchmarks/analyze_speed.py [--seconds 60] [--minutes 10,120]

A drawn talking face at 1280 x 720 is analysed end to end by the command line: decoding, faces at
10 Hz, landmarks, emotions, voice, measures, Parquet and report. The peer is the package ``fer``'s
emotion model behind the same detector at the same rate, no voice, no landmarks, no report, where
``--peer MODEL.tflite`` says where its model file is (benchmarks/peers_fer.py sets up its own
environment). Memory: peak resident size of the process for files of different lengths, the same
small clip repeated without decoding it again. Bars: 5 times real time; two hours within 10% of ten
minutes and below 1.5 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

SPEED_BAR = 5.0
MEMORY_BAR_MB = 1500.0
GROWTH_BAR = 1.1

_MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""

_PEER = """
import sys, time
import numpy as np
from PIL import Image
from ai_edge_litert.interpreter import Interpreter
from pathlib import Path
from nunbit.faces import DetectorSettings, detect_faces
from nunbit.media import read_media
from nunbit.streams import Frame
model = Interpreter(model_path=sys.argv[2], num_threads=1)
model.allocate_tensors()
given, answer = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]
for item in read_media(Path(sys.argv[1]), rate_hz=10.0, want_audio=False):
    if isinstance(item, Frame):
        for face in detect_faces(item.pixels, DetectorSettings()):
            box = [round(v) for v in face.box_xyxy]
            grey = Image.fromarray(item.pixels).crop(box).convert("L").resize((64, 64))
            pixels = (np.asarray(grey, np.float32)[None, :, :, None] / 255 - 0.5) * 2
            model.set_tensor(given, pixels)
            model.invoke()
            model.get_tensor(answer)
"""


def run(command: list[str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak megabytes of a command."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], check=True, capture_output=True, text=True
    )
    wall, cpu, peak_kb = (float(v) for v in done.stdout.split())
    return wall, cpu, peak_kb / (1024 if sys.platform == "linux" else 1024 * 1024)


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


def analysed(media: Path, out: Path) -> tuple[float, float, float]:
    """Analyse a file by the command line."""
    line = [sys.executable, "-m", "nunbit", "analyze", str(media), "--out", str(out)]
    return run([*line, "--set", "single_speaker=true"])


def main() -> int:
    """Measure, print, and say whether the bars are reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", default="10,120")
    parser.add_argument("--peer", type=Path, help="emotion_model_quantized.tflite of fer")
    parser.add_argument("--no-speed", action="store_true")
    a = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not a.no_speed:
            clip = folder / "clip.mp4"
            sizes = ("width=1280", "height=720", f"duration_s={min(a.seconds, 46.0)}")
            render_video(clip, load_script(None, overrides=sizes), lang="en")
            long = folder / "long.mp4"
            repeat(clip, long, a.seconds)
            with av.open(str(long)) as media:
                seconds = float(media.duration / 1e6)
            wall, cpu, peak = analysed(long, folder / "out")
            print(
                f"720p, {seconds:.0f} s: {seconds / wall:.1f} x real time "
                f"({wall:.1f} s, CPU {cpu:.1f} s, {peak:.0f} MB), bar {SPEED_BAR}"
            )
            good &= seconds / wall >= SPEED_BAR
            if a.peer:
                wall, cpu, _ = run([sys.executable, "-c", _PEER, str(long), str(a.peer)])
                print(f"fer's model behind the same detector: {seconds / wall:.1f} x real time")
        peaks = {}
        small = folder / "small.mp4"
        sizes = ("width=320", "height=240", "duration_s=46")
        minutes = [float(m) for m in a.minutes.split(",") if m]
        if minutes:
            render_video(small, load_script(None, overrides=sizes), lang="en")
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
