"""Choose how much the words weigh beside the face in the fused index, on development parts.

    python scripts/fit_fusion.py UNSEEN.npy [--bundle BUNDLE]

Faces of FER+'s validation part are paired with comments of KOTE's part `val` of the same class, at
random, as `benchmarks/honesty_fusion.py` pairs their test parts. The comments' scores are those of
a side that had not seen them (`scripts/fit_words.py` writes them: `CACHE/val-unseen.npy`); the map
from scores to classes had. Printed: loss, accuracy and accuracy less confidence of the pool for
every weight and prior that was tried. Pairs of one class are independent given it; recordings are
not.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import numpy as np

from development.comments import read_named, shares
from fit_words import truth_of
from honesty_fusion import DATA, PAIRINGS, loss, read_faces, right_less_sure
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.model.said import words_side_of
from nunbit.statistics.pooling import pool

Array = np.ndarray[Any, Any]
WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
FACE_WEIGHTS = (0.8, 0.9, 1.0, 1.1)


def tried(faces: Array, truth: Array, words: Array, classes: Array) -> list[tuple[str, Array]]:
    """Mean (loss, accuracy, accuracy less confidence) of each setting over random pairings."""
    k = faces.shape[1]
    counts = np.bincount(truth, minlength=k).astype(float)
    said = np.bincount(classes[classes >= 0], minlength=k).astype(float)
    priors = {
        "equal": None,
        "of faces": counts / counts.sum(),
        "of words": words.mean(axis=0),
        "of comments": said / said.sum(),
    }
    pairings = []
    for seed in range(PAIRINGS):
        rng = np.random.default_rng(seed)
        pairings.append(words[[rng.choice(np.flatnonzero(classes == c)) for c in truth]])
    found = []
    for name, prior in priors.items():
        for face in FACE_WEIGHTS if prior is None else (1.0,):
            for text in WEIGHTS:
                weights = np.repeat([[face], [text]], len(truth), axis=1)
                rows = [judged(pool(np.stack([faces, s]), weights, prior), truth) for s in pairings]
                found.append((f"prior {name}, face {face}, words {text}", np.mean(rows, axis=0)))
    return found


def judged(table: Array, truth: Array) -> tuple[float, float, float]:
    """Loss, accuracy, accuracy less confidence."""
    return loss(table, truth), *right_less_sure(table, truth)


def main() -> int:
    """Read, pair, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("unseen", type=Path)
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    a = parser.parse_args()
    bundle = load_bundle(a.bundle, threads=1)
    side = words_side_of(bundle)
    if side is None:
        parser.error("the bundle has no side for words")
    faces, truth = read_faces(bundle, None, split="validation")
    words = side.chances(np.load(a.unseen)).astype(np.float64)
    _, named = read_named(DATA / "text" / "kote.csv", "val")
    classes = truth_of(shares(named, bundle.label_set))
    own = classes >= 0
    print(f"{len(truth)} faces, {own.sum()} comments")
    print("face alone: {:.4f} {:.3f} {:+.3f}".format(*judged(faces, truth)))
    print("words alone: {:.4f} {:.3f} {:+.3f}".format(*judged(words[own], classes[own])))
    for name, row in sorted(tried(faces, truth, words, classes), key=lambda each: each[1][0]):
        print(f"{name}: " + "{:.4f} {:.3f} {:+.3f}".format(*row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
