"""``nunbit analyze`` on 720p video: times real time, memory over length, beside a peer.

python benchmarks/analyze_speed.py [--seconds 60] [--minutes 10,120] [--peer-env DIR]
    [--older-network] [--stages]

A drawn talking face at 1280 x 720 is analysed end to end by the command line: decoding, faces at
10 Hz, landmarks, emotions, voice, measures, Parquet and report. The peer is the package ``fer`` as
its README uses it (its own detector, Haar cascade, and its own model) on the same frames at the
same rate: no voice, no landmarks, no report; ``--peer-env`` is a folder for its environment (7 GB
with TensorFlow), made at first use. Memory: peak of the whole tree of processes, shared pages
counted once (PSS), for files of different lengths: the same small clip repeated without decoding it
again. Bars: 5 times real time and 0.22 CPU seconds a second; two hours within 10% of ten minutes
and below 1.5 GB. ``--older-network`` also analyses without face-landmarker: the detector in every
frame, landmarks by face-mesh. ``--stages`` analyses the same file again in one thread and prints
where its CPU goes (``--stages-of FILE`` any file of yours, and nothing else).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import psutil

from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

SPEED_BAR = 5.0
CPU_BAR = 0.22
MEMORY_BAR_MB = 1500.0
GROWTH_BAR = 1.1

STAGES = {
    "decoding": ("recording.media.container:Source.decoded",),
    "upright RGB": ("recording.media.frames:Upright.convert",),
    "cuts": ("recording.face_search:FaceSearch._is_cut",),
    "detector (its process apart)": ("recording.face_search:detect_faces",),
    "landmark network": ("pictures.face_mesh:Landmarker._run",),
    "its square": ("pictures.face_mesh:_cut", "pictures.face_mesh:_scaled"),
    "channels": ("pictures.face_mesh:Landmarker.channels",),
    "crop, size, blur": ("recording.face_reader:frame_face", "model.encoders:resize_crop"),
    "expression model": ("model.encoders:Bundle._run",),
    "looks, sharpness, cover, pose": (
        "recording.face_reader:looks_of",
        "recording.face_reader:sharpness",
        "recording.face_reader:mouth_is_covered",
        "recording.face_reader:head_rotation",
    ),
    "voice": (
        "recording.voice.voice_reader:VoiceReader.add",
        "recording.voice.voice_reader:VoiceReader.finish",
        "recording.observer:read_quality",
    ),
    "synchrony": ("stories.analyze.answers:check_synchrony",),
    "measures": (
        "stories.analyze.session:compute_measures",
        "stories.analyze.session:fuse_windows",
    ),
    "tables and report": (
        "stories.analyze.session:write_timeline",
        "stories.analyze.session:render_timeline",
        "stories.analyze:_join",
    ),
}
"""Stage -> functions whose CPU it is, without that of other stages they call."""

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


class Stages:
    """CPU seconds by stage; threads of their own are those of the check of synchrony."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._own = threading.local()
        self._turn = threading.Lock()

    def watch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose CPU is counted."""

        def watched(*given: Any, **named: Any) -> Any:
            stack = self._own.__dict__.setdefault("stack", [])
            stack.append(0.0)  # of stages that it calls
            began = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                used, others = time.thread_time() - began, stack.pop()
                if stack:
                    stack[-1] += used
                main = threading.current_thread() is threading.main_thread()
                with self._turn:
                    self.spent[name if main else "synchrony"] += used - others

        return watched


def print_stages(media: Path) -> None:
    """Analyse a file here, in one thread, and print where the CPU goes."""
    import nunbit.stories.analyze as story
    from nunbit.stories.analyze.job import AnalyzeSettings

    stages = Stages()
    for name, places in STAGES.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(f"nunbit.{module}")
            *heads, last = path.split(".")
            for head in heads:
                owner = getattr(owner, head)
            setattr(owner, last, stages.watch(name, getattr(owner, last)))
    with av.open(str(media)) as opened, tempfile.TemporaryDirectory() as out:
        seconds = float(opened.duration / 1e6)
        start = time.process_time()
        settings = AnalyzeSettings(single_speaker=True, overlap=False)
        story.analyze([media], Path(out) / "out", settings)
    used = time.process_time() - start
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = dict(stages.spent) | {"the detector's process": child.ru_utime + child.ru_stime}
    rows |= {"imports": start, "all else": used - sum(stages.spent.values())}
    print(f"{media.name}, {seconds:.0f} s: ms of CPU a second, one thread")
    for name, value in sorted(rows.items(), key=lambda row: -row[1]):
        print(f"  {name:32} {1e3 * value / seconds:6.1f}")
    print(f"  {'together':32} {1e3 * sum(rows.values()) / seconds:6.1f}", flush=True)


def main() -> int:
    """Measure, print, and say whether the bars are reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--minutes", default="10,120")
    parser.add_argument("--peer-env", type=Path, help="folder for fer's own environment")
    parser.add_argument("--older-network", action="store_true")
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--stages-of", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.stages_of is not None:
        print_stages(a.stages_of)
        return 0
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
            if a.stages:
                line = [sys.executable, __file__, "--stages-of", str(long)]
                subprocess.run(line, check=True, stderr=subprocess.DEVNULL)
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
