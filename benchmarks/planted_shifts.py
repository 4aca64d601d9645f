"""What ``nunbit adapt`` does in worlds whose shift is known: written how often, and what is gained.

python benchmarks/planted_shifts.py [--seeds 10]

Faces of a model that is calibrated but for the shift (``tests/make_shifts.py``): other shares,
a bias of each class, swapped confusions, a drift of each person's neutral face; and none, where
writing would be wrong. Sizes from 28 to 168 labelled faces. Gains are of nested cross-validation,
as adapt prints them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy as np

from make_shifts import SHIFTS, plant
from nunbit import statistics
from nunbit.statistics.remapping import softmax
from nunbit.stories.adapt.choice import FORMS, OF_NEUTRAL, Labelled, helps, judge

SIZES = ((4, 1), (7, 1), (12, 1), (12, 2))  # persons, pictures of a class and person


def scores(answers: np.ndarray, faces: Labelled) -> tuple[float, float]:
    """Top-1 and mean recall."""
    cells = statistics.confusion_matrix(faces.truth, answers.argmax(axis=1), 7)
    return float(statistics.top1(cells)), float(statistics.uar(cells))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    print("| shift | faces | persons | written | top-1 before → after | UAR before → after |")
    print("|---|---|---|---|---|---|")
    for shift in (None, *SHIFTS):
        names = [*FORMS, *OF_NEUTRAL] if shift == "neutral_drift" else list(FORMS)
        for persons, each in SIZES:
            written, rows = 0, []
            for seed in range(seeds):
                faces = plant(shift, seed, persons=persons, per_class=each)
                judged = judge(faces, names, 0)
                took = helps(judged, faces)
                written += took
                before = scores(softmax(faces.x), faces)
                rows.append((before, scores(judged.after, faces) if took else before))
            (t0, u0), (t1, u1) = np.mean(rows, axis=0)
            print(
                f"| {shift or 'none'} | {7 * persons * each} | {persons} | {written} of {seeds} | "
                f"{t0:.3f} → {t1:.3f} | {u0:.3f} → {u1:.3f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
