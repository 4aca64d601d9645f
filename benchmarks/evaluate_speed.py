"""What an evaluation costs: scores and intervals, the report, and memory per image.

Three measurements, each in a process of its own so that peaks do not mix:

* `scores`: 52,107 made-up predictions of 999 persons, 2,000 resamples by person, every section;
  once more without persons, where every image is resampled for itself;
* `report`: the HTML file of the first, its size, and figures and tables beside it;
* `images`: a toy bundle over 8,000 and 32,000 prepared crops: only the rows of the prediction file
  may stay in memory, a few kilobytes an image.

    python benchmarks/evaluate_speed.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

N, PERSONS = 52_107, 999
LIMITS = {"seconds": 20.0, "peak_mb": 1024.0, "report_mb": 6.0, "kb_per_image": 4.0}
SIZES = (8_000, 32_000)


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scores(persons: str, keep: str = "") -> dict[str, Any]:
    """Assess made-up predictions; write the result below ``keep`` if given."""
    from make import make_world
    from nunbit.stories.evaluate.assess import EvaluateSettings, assess

    world = make_world(N, persons=int(persons) or None)
    settings = EvaluateSettings(compare="paper")
    start = time.perf_counter()
    document = assess(world.predictions, settings, evidence=world.evidence)
    seconds = time.perf_counter() - start
    if keep:
        from nunbit.runtime.files import write_json
        from nunbit.runtime.resources import provenance

        extra = {"bundle": None, "dataset": None, "provenance": provenance("evaluate", {})}
        write_json(Path(keep) / "result.json", document | extra)
    return {"seconds": round(seconds, 2), "peak_mb": round(peak_mb()), "unit": document["ci_unit"]}


def report(folder: str) -> dict[str, Any]:
    """Render the report of a kept result."""
    from nunbit.report import render_evaluation

    start = time.perf_counter()
    path = render_evaluation(Path(folder), lang="ko")
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 2), "report_mb": round(path.stat().st_size / 1e6, 3)}


def images(data: str, bundle: str, out: str) -> dict[str, Any]:
    """Evaluate prepared crops."""
    from nunbit.stories.evaluate import evaluate
    from nunbit.stories.evaluate.assess import EvaluateSettings

    start = time.perf_counter()
    result = evaluate(Path(data), Path(bundle), Path(out), EvaluateSettings())
    seconds = time.perf_counter() - start
    return {"n": result.n, "seconds": round(seconds, 2), "peak_mb": round(peak_mb())}


def run(task: str, *arguments: object) -> dict[str, Any]:
    """One measurement in a fresh process."""
    line = [sys.executable, __file__, task, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{task:8s} {found}", flush=True)
    return found


def main() -> int:
    """Measure all; 1 if a limit is broken."""
    from make_eval import make_bundle, make_colours

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "eval").mkdir()
        by_person = run("scores", PERSONS, folder / "eval")
        run("scores", 0)
        page = run("report", folder / "eval")
        bundle = make_bundle(folder / "bundle")
        peaks = []
        for n in SIZES:
            make_colours(folder / f"data{n}", n=n, splits=("test",))
            peaks.append(run("images", folder / f"data{n}", bundle, folder / f"eval{n}")["peak_mb"])
    growth = 1024 * (peaks[1] - peaks[0]) / (SIZES[1] - SIZES[0])
    print(f"memory that follows the number of images: {growth:.1f} kB an image")
    broken = [
        by_person["seconds"] > LIMITS["seconds"],
        by_person["peak_mb"] > LIMITS["peak_mb"],
        page["report_mb"] > LIMITS["report_mb"],
        growth > LIMITS["kb_per_image"],
    ]
    return int(any(broken))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
    else:
        sys.exit(main())
