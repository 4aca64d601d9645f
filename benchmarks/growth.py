"""How time and memory grow: images, persons, hours, windows, sessions, classes x templates.

python benchmarks/growth.py [--only images hours] [--largest 10000] [--write] [--draw]

Every point runs in a process of its own, three decades each: CPU seconds, and the peak of resident
memory above what the process had before the work. The exponent is the slope of the last decade in
the log-log plot, after what the smallest size takes is taken off: 1 is linear. Baseline: the
exponent 1. Bar: 1.15 for time and memory, where more than 30 ms or 5 MB are taken.
``--write`` writes docs/measured/growth.json, ``--draw`` docs/growth.svg from it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

ROOT = Path(__file__).resolve().parents[1]
WRITTEN, PICTURE = ROOT / "docs" / "measured" / "growth.json", ROOT / "docs" / "growth.svg"
BAR = 1.15
LEAST_S, LEAST_MB = 0.03, 5.0
Work = Callable[[], object]


def images(n: int, folder: Path) -> Work:
    """``prepare`` from listing to manifest, one process, photos of 64 px."""
    import numpy as np
    from PIL import Image

    from nunbit.stories.prepare import PrepareSettings, prepare

    rng = np.random.default_rng(0)
    for label in ("joy", "anger"):
        (folder / "src" / "train" / label).mkdir(parents=True)
    for number in range(n):
        pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        place = folder / "src" / "train" / ("joy", "anger")[number % 2] / f"{number}.jpg"
        Image.fromarray(pixels).resize((64, 64)).save(place)
    settings = PrepareSettings(label_set="fer7", size=32, num_workers=1)
    return lambda: prepare([folder / "src"], folder / "data", settings)


def predictions(n: int, _: Path) -> Work:
    """All scores and intervals of an evaluation of n images of 100 persons."""
    from make import make_world

    world = make_world(n, persons=min(100, n // 2))
    return lambda: _assessed(world)


def persons(n: int, _: Path) -> Work:
    """All scores and intervals of an evaluation of 20,000 images of n persons."""
    from make import make_world

    world = make_world(20_000, persons=n)
    return lambda: _assessed(world)


def _assessed(world: Any) -> object:
    from nunbit.stories.evaluate.assess import EvaluateSettings, assess

    return assess(world.predictions, EvaluateSettings(), evidence=world.evidence)


def hours(n: float, _: Path) -> Work:
    """All measures of a recording of n hours that was read, with turns and words."""
    from make_measures import long_recording
    from nunbit.measures import compute_measures

    given = long_recording(n)
    return lambda: compute_measures(given)


def windows(n: int, _: Path) -> Work:
    """Heads of an alignment fitted to n windows, and tested on persons left out."""
    import numpy as np

    from nunbit.space.cca import fit_cca
    from nunbit.space.held_out import assess_alignment
    from nunbit.space.vectors import NUISANCES, WindowTable, centred

    rng = np.random.default_rng(0)
    each = 100
    person = np.repeat(np.arange(max(1, n // each)), each)
    state = rng.standard_normal((len(person), 4))
    vectors = {
        name: (state @ rng.standard_normal((4, width)) + rng.standard_normal((len(person), width)))
        .astype(np.float32)
        for name, width in (("face", 24), ("voice", 12))
    }  # fmt: skip
    start = np.tile(np.arange(each) * 1.0, len(person) // each)
    noise = {name: rng.standard_normal(len(person)) for name in NUISANCES}
    raw = WindowTable(vectors, person, person, start, nuisance=noise)
    centres = {m: np.zeros(v.shape[1], np.float32) for m, v in vectors.items()}
    return lambda: assess_alignment(
        centred(raw, "recording"), raw, lambda part: fit_cca(part, centres=centres)
    )


def sessions(n: int, folder: Path) -> Work:
    """Tables and the list over n recordings of a minute."""
    import shutil

    from make_timeline import Recipe, make_timeline
    from nunbit.report.joined_tables import write_joined

    first = make_timeline(folder / "r00000", Recipe(duration_s=60.0))
    for k in range(1, n):
        shutil.copytree(first, folder / f"r{k:05d}")
    return lambda: write_joined(folder, lang="en")


def prompts(n: int, _: Path) -> Work:
    """1,000 images compared with n prompts: classes x ten templates, in batches of 64."""
    import numpy as np

    from nunbit.model.zeroshot import combine_cosines, normalise, probabilities, prompt_cosines

    rng = np.random.default_rng(0)
    templates = min(10, max(1, n // 7))
    vectors = normalise(rng.standard_normal((templates, n // templates, 128)).astype(np.float32))
    faces = normalise(rng.standard_normal((1_000, 128)).astype(np.float32))

    def compared() -> object:
        for start in range(0, len(faces), 64):  # batches, as evaluate has them
            cosines = prompt_cosines(faces[start : start + 64], vectors)
            probabilities(combine_cosines(cosines, vectors, "mean_embedding"), 20.0, 1.0)
        return None

    return compared


AXES: dict[str, tuple[Callable[[Any, Path], Work], tuple[float, ...], str]] = {
    "images": (images, (5, 50, 500, 5_000), "images prepared"),
    "predictions": (predictions, (100, 1_000, 10_000, 100_000), "images scored"),
    "persons": (persons, (10, 100, 1000, 10_000), "persons"),
    "hours": (hours, (0.006, 0.06, 0.6, 6), "hours of a recording"),
    "windows": (windows, (200, 2000, 20_000), "windows aligned"),
    "sessions": (sessions, (1, 10, 100, 500, 1000), "recordings in the tables"),
    "prompts": (prompts, (70, 700, 7000, 70_000), "classes x templates"),
}


def memory_mb(kind: str) -> float:
    """Resident memory of this process now (``VmRSS``), or its largest since :func:`forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(kind)


def forget_peak() -> None:
    """Let the largest resident memory (``VmHWM``) count from now on.

    What the small run freed is given back first: kept, it would hide as much of what comes.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def point(axis: str, n: float) -> dict[str, float]:
    """One measurement, in this process."""
    make, _, _ = AXES[axis]
    size = n if axis == "hours" else int(n)
    with tempfile.TemporaryDirectory() as name:
        # A small run first: imports and caches are no growth.
        (Path(name) / "small").mkdir()
        make(AXES[axis][1][1], Path(name) / "small")()
        (Path(name) / "large").mkdir()
        work = make(size, Path(name) / "large")
        forget_peak()
        before, cpu = memory_mb("VmRSS"), time.process_time()
        work()
        spent, peak = time.process_time() - cpu, memory_mb("VmHWM")
        return {"n": n, "cpu_s": spent, "mb": max(0.0, peak - before)}


def exponent(points: list[dict[str, float]], what: str, least: float) -> float | None:
    """Slope of the last decade, without what the smallest size takes; None where it is too little.

    What the smallest takes is what does not grow; left in, it would make every slope look flat.
    """
    import numpy as np

    grown = [(p["n"], p[what] - points[0][what]) for p in points[1:]]
    decade = [(n, y) for n, y in grown if n >= 0.099 * points[-1]["n"] and y >= least]
    if len(decade) < 2:
        return None
    x, y = np.log(np.array(decade)).T
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def refit() -> None:
    """Exponents anew from the points that were written."""
    document = json.loads(WRITTEN.read_text())
    for found in document["axes"].values():
        found["time_exponent"] = exponent(found["points"], "cpu_s", LEAST_S)
        found["memory_exponent"] = exponent(found["points"], "mb", LEAST_MB)
    WRITTEN.write_text(json.dumps(document, indent=1) + "\n")


def draw() -> None:
    """The plot, from the numbers that were written."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    document = json.loads(WRITTEN.read_text())
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    figure, axes = pyplot.subplots(2, len(document["axes"]), figsize=(16, 5.2))
    for column, (_name, found) in enumerate(document["axes"].items()):
        for row, (what, label, key) in enumerate(
            (("cpu_s", "CPU seconds", "time_exponent"), ("mb", "MB more", "memory_exponent"))
        ):
            points = [(p["n"], p[what]) for p in found["points"] if p[what] > 0]
            ax = axes[row, column]
            ax.loglog([x for x, _ in points], [y for _, y in points], "o-", color="#20639b")
            last = points[-1]
            ax.loglog([p[0] for p in points], [last[1] * p[0] / last[0] for p in points], ":",
                      color="#999999")  # fmt: skip
            slope = found[key]
            ax.set_title(f"exponent {slope:.2f}" if slope is not None else "too small", fontsize=9)
            ax.set_ylabel(label if column == 0 else "")
            ax.tick_params(labelsize=7)
            if row:
                ax.set_xlabel(found["what"], fontsize=8)
    figure.suptitle("Growth over three decades; dotted: linear through the last point", fontsize=10)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> int:
    """Measure, print, write; 1 where something grows faster than linear."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=list(AXES))
    parser.add_argument("--largest", type=float, default=1.0, help="share of the largest sizes")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--fit", action="store_true", help="fit what is written again")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.point:
        print(json.dumps(point(a.point[0], float(a.point[1]))))
        return 0
    if a.fit:
        refit()
    good = True
    for axis in a.only or ([] if (a.draw or a.fit) and not a.write else AXES):
        points = []
        for n in AXES[axis][1]:
            line = [sys.executable, __file__, "--point", axis, str(n * a.largest)]
            run = subprocess.run(
                line, capture_output=True, text=True, check=False,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            if run.returncode:
                raise SystemExit(run.stderr)
            points.append(json.loads(run.stdout.splitlines()[-1]))
        slopes = exponent(points, "cpu_s", LEAST_S), exponent(points, "mb", LEAST_MB)
        found = {
            "what": AXES[axis][2],
            "points": [{k: round(v, 4) for k, v in p.items()} for p in points],
            "time_exponent": slopes[0],
            "memory_exponent": slopes[1],
        }
        over = [s for s in slopes if s is not None and s > BAR]
        good &= not over
        told = ", ".join(f"{p['n']:g}: {p['cpu_s']:.2f} s {p['mb']:.0f} MB" for p in points)
        print(f"{axis:12} time {slopes[0]}, memory {slopes[1]}  {'ABOVE' if over else ''} {told}",
              flush=True)  # fmt: skip
        if a.write:  # read again: another run may have measured other axes meanwhile
            kept = json.loads(WRITTEN.read_text())["axes"] if WRITTEN.is_file() else {}
            kept[axis] = found
            ordered = {name: kept[name] for name in AXES if name in kept}
            WRITTEN.write_text(json.dumps({"axes": ordered}, indent=1) + "\n")
    if a.draw:
        draw()
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
