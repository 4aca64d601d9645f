"""Observed once, derived often: a finished hour with other settings, against a whole analysis.

python benchmarks/derive_speed.py [--minutes 60] [--folder DIR]

A drawn talking face (the same small clip repeated without decoding it again) with a transcript is
analysed whole by the command line: the baseline. Then again with another export, language and
baseline, and once more from its folder of results with the recording gone. The tables of a derived
result are compared bit for bit with those of a whole analysis with the same settings. Bars: 5 s on
two idle cores, observed.npz 3 MB an hour, no table differs. ``--folder`` keeps all for another run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from analyze_speed import repeat
from nunbit.synth.script import load_script
from nunbit.synth.video import render_video

SPEED_BAR_S = 5.0
SIZE_BAR_MB = 3.0
TABLES = ("timeline", "frames", "words", "voice")
SAYINGS = (
    "오늘은 정말 기분이 좋아요.",
    "어제는 조금 힘들었지만 괜찮았어요.",
    "내일은 더 좋을 거예요.",
)


def analysed(media: Path, out: Path, *more: str) -> tuple[float, float]:
    """Seconds of one command line, and of the processor, which a busy machine changes less."""
    line = [sys.executable, "-m", "nunbit", "analyze", str(media), "--out", str(out), *more]
    began, cpu = time.perf_counter(), sum(os.times()[2:4])
    subprocess.run([*line, "--set", "single_speaker=true"], check=True, capture_output=True)
    return time.perf_counter() - began, sum(os.times()[2:4]) - cpu


def clock(seconds: float) -> str:
    """As SubRip writes times."""
    whole = round(seconds * 1000)
    hours, minutes = whole // 3_600_000, whole // 60_000 % 60
    return f"{hours:02d}:{minutes:02d}:{whole // 1000 % 60:02d},{whole % 1000:03d}"


def made(folder: Path, minutes: float) -> Path:
    """A recording of this length with its transcript."""
    media = folder / "hour.mp4"
    if media.is_file():
        return media
    small = folder / "small.mp4"
    sizes = ("width=320", "height=240", "fps=25")
    render_video(small, load_script(None, overrides=sizes))
    repeat(small, media, 60 * minutes)
    cues = [
        f"{k + 1}\n{clock(4.0 * k + 0.5)} --> {clock(4.0 * k + 3.5)}\n{SAYINGS[k % 3]}\n"
        for k in range(int(15 * minutes) - 1)
    ]
    media.with_suffix(".srt").write_text("\n".join(cues), encoding="utf-8")
    return media


def report(name: str, took: tuple[float, float], baseline_s: float, minutes: float) -> bool:
    """Say one line; whether the bar is met."""
    seconds, cpu_s = took
    hourly = seconds * 60 / minutes
    good = seconds <= SPEED_BAR_S
    print(
        f"{name:<34} {seconds:8.1f} s   {baseline_s / seconds:6.0f} times faster   "
        f"({hourly:.1f} s an hour; processor {cpu_s:.1f} s) {'' if good else 'ABOVE THE BAR'}",
        flush=True,
    )
    return good


def main() -> int:
    """Run all and compare with the bars; 1 where one is missed."""
    parser = argparse.ArgumentParser(description="Derived results against whole analyses.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        media = made(folder, args.minutes)
        out, words = folder / "out", ("--transcript", str(media.with_suffix(".srt")))
        results = out / "hour"
        same = ("--export", "vtt", "--baseline", "0-75")
        baseline_s, _ = analysed(media, folder / "whole", *words, *same)
        print(f"{'whole analysis':<34} {baseline_s:8.1f} s", flush=True)
        if not (results / "observed.npz").is_file():
            analysed(media, out, *words)
        size = (results / "observed.npz").stat().st_size / 1e6 * 60 / args.minutes
        print(f"observed.npz: {size:.2f} MB an hour (bar {SIZE_BAR_MB})")
        good = size <= SIZE_BAR_MB
        changes = (
            ("another export", ("--export", "eaf")),
            ("another language", ("--lang", "ko")),
            ("another person and seed", ("--subject", "P07", "--set", "seed=7")),
            ("another export and baseline", same),
        )
        for name, more in changes:
            good &= report(name, analysed(media, out, *words, *more), baseline_s, args.minutes)
        for name in TABLES:
            ours, theirs = (p / "hour" / f"{name}.parquet" for p in (out, folder / "whole"))
            equal = ours.read_bytes() == theirs.read_bytes()
            good &= equal
            print(f"{name}.parquet: {'identical' if equal else 'DIFFERS'}")
        away = media.with_suffix(".away")
        media.rename(away)
        try:
            gone = analysed(results, out, "--export", "textgrid")
        finally:
            away.rename(media)
        good &= report("the recording gone", gone, baseline_s, args.minutes)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
