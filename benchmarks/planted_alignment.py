"""Alignment on drawn recordings whose shared state is known: is it found, and nothing else?

python benchmarks/planted_alignment.py FOLDER [--people 40] [--bundle BUNDLE]

Two sets of recordings of the same drawn people at 160 x 120: in ``shared`` one hidden state moves
face and voice, in ``identity`` each follows a state of its own and only the person is common. Both
go through rendering, decoding, face detection, the bundle's image tower, the voice reader and
``align``. Bars: the shared state is found with a within-person R@1 among 20 candidates of at least
0.45; without it nothing is; identity probe passed; 600 windows judged, each by heads that never saw
its person. Recordings and windows are kept in FOLDER: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from nunbit.core.schema import SYNTHETIC_MARK
from nunbit.runtime.workers import Tools, available_cores, run_tasks
from nunbit.space.window_reading import AlignSettings
from nunbit.stories.align import align
from nunbit.synth.truth import PlantedSettings, planted_script
from nunbit.synth.video import render_video

KINDS = ("shared", "identity")
DURATION_S, FPS, MEMORY_S = 64.0, 2, 4.0
LEAST_SHARED, FEWEST_WINDOWS = 0.45, 600


def render(job: tuple[Path, int, str], tools: Tools) -> Path:
    """One person's recording, unless it is there."""
    path, person, kind = job
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / SYNTHETIC_MARK).touch()
        settings = PlantedSettings(
            shared=kind == "shared", duration_s=DURATION_S, fps=FPS, hold_s=1.0 / FPS,
            memory_s=MEMORY_S,
        )  # fmt: skip
        render_video(path, planted_script(person, 0, settings)[0])
    return path


def judge(kind: str, document: dict[str, Any]) -> bool:
    """Print the figures of a set and say whether they keep to the bars."""
    judged = document["assessment"]
    good = judged["windows"] >= FEWEST_WINDOWS
    print(f"\n{kind}: {judged['windows']} windows of {judged['people']} people, "
          f"{document['independent_windows']} without overlap")  # fmt: skip
    pair = judged["pairs"]["face-voice"]
    print(f"  {pair['verdict']['text']}")
    for name, step in pair["steps"].items():
        null = "–" if step["null"] is None else f"{step['null']:.3f}"
        print(f"  {name:<16} R@1 {step['r1']:.3f} [{step['ci95'][0]:.3f}, {step['ci95'][1]:.3f}]  "
              f"chance {null}")  # fmt: skip
    found = pair["verdict"]["code"] == "found"
    good &= found == (kind == "shared")
    for direction in ("forward", "backward"):
        side = pair[direction]
        within = side["within"]
        low, high = within["ci95"]["r1"]
        print(f"  {direction:<9} R@1 {within['r1']:.3f} [{low:.3f}, {high:.3f}]  R@5 "
              f"{within['r5']:.3f}  median rank {within['median_rank']:.1f}  chance "
              f"{side['null']['r1']:.3f}  other people {side['across']['r1']:.3f}")  # fmt: skip
        good &= kind != "shared" or within["r1"] >= LEAST_SHARED
    for modality, probe in judged["identity"].items():
        figures = {s: {r: round(v, 3) for r, v in a.items()} for s, a in probe["accuracy"].items()}
        print(f"  identity, {modality}: {probe['state']}, chance "
              f"{probe['chance']:.3f}, {figures}")  # fmt: skip
        good &= probe["state"] == "passed"
    print(f"  correlations on people left out: {document['correlations'][:6]}")
    return good


def main() -> int:
    """Render, align, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--bundle", type=Path)
    given = parser.parse_args()
    began, good = time.perf_counter(), True
    for kind in KINDS:
        jobs = [(given.folder / "media" / kind / f"p{p:02d}" / f"{kind}-p{p:02d}.mp4", p, kind)
                for p in range(given.people)]  # fmt: skip
        paths = sorted(
            run_tasks(render, jobs, num_workers=available_cores(), advance=lambda units: None)
        )
        # The faces move twice a second: more samples would see the same again.
        settings = AlignSettings(rate_hz=float(FPS))
        document = align(paths, given.folder / "runs" / kind, settings, bundle=given.bundle)
        good &= judge(kind, document)
    print(f"\n{'bars kept' if good else 'BARS MISSED'}, {time.perf_counter() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
