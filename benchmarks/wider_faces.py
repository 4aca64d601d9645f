"""Bundles beside one another on FER2013 and on faces from elsewhere, sharp and blurred.

    python benchmarks/wider_faces.py FERPLUS FACES --bundle OLD --bundle NEW... [--test]
    python benchmarks/wider_faces.py FERPLUS FACES --bundle OLD --mix '0.6*RUN:800,1200+0.4*start'

`FERPLUS` is FER2013 prepared with `fer2013_table.py --truth ferplus`, `FACES` the table of
`faces_web_table.py` prepared alone (see docs/results.md). The first bundle is the baseline: changes
against it are paired; all are averaged over mirror images, as the shipped one is. Without `--test`
the validation parts are read, which may choose; with it the test split and the persons that are
held out, which may not.

`--mix` is a mean of averages that `scripts/train_wider.py` kept, in the place of the first bundle's
image tower (`start`): to choose before exporting; validation only.

* FER+: images on which one class has 5 of 10 votes or more; intervals by image.
* faces_web: recall of joy, surprise, anger, sadness and neutral, in which each person who shows a
  class counts once in it, and their mean; seven answers allowed; intervals by person. Disgust and
  fear show too few persons.
* blur: the same FER+ images (the first `--blur-images` of them) after a Gaussian blur of 2 px of
  48, the change of top-1.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from nunbit.datasets.predictions import truth_of
from nunbit.datasets.shards import DataSet, open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import find_bundle
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.statistics import confusion_matrix, macro_f1

JUDGED = ("joy", "surprise", "anger", "sadness", "neutral")
BLUR_PX = 2.0
RESAMPLES, SEED = 2_000, 0

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Part:
    """Crops with classes, and who is shown where that is known."""

    crops: Pixels
    truth: Codes
    persons: Codes | None = None


def read_part(data: DataSet, split: Any, images: int) -> Part:
    """The labelled crops of a split; ``images`` of them, drawn with a fixed seed, or 0 for all."""
    rows = data.split_rows(split)
    truth = truth_of(data, rows, "uploader")
    kept = np.random.default_rng(SEED).permutation(np.flatnonzero(truth >= 0))
    kept = kept[: images or None]
    rows, truth = rows[kept], truth[kept]
    crops = np.stack([data.pixels(int(row)) for row in rows])
    subjects = data.column("subject_id")
    named = [subjects[row] for row in rows]
    persons = np.unique(named, return_inverse=True)[1] if all(named) else None
    return Part(crops, truth, persons)


def blurred(crops: Pixels) -> Pixels:
    """Crops of 48 px after a blur of 2 px."""
    spread = BLUR_PX * crops.shape[1] / 48
    blur = ImageFilter.GaussianBlur(spread)
    return np.stack([np.asarray(Image.fromarray(crop).filter(blur)) for crop in crops])


def answers(bundle: Bundle, crops: Pixels) -> Codes:
    """(N,) class positions by the bundle's own prompts."""
    templates = load_template_set(bundle.default_template_set)
    prompts = bundle.prompt_embeddings(templates, bundle.label_set)
    cosines = ensemble_cosines(bundle.embed_images(crops), prompts, "mean_embedding")
    return np.asarray(cosines.argmax(axis=1), np.int64)


def with_mixture(folder: Path, text: str) -> Bundle:
    """The bundle of a folder, its image tower a mean of kept averages; run by torch."""
    import torch

    from nunbit.training.bundle_start import folded_weights, load_on_bundle, mixture

    torch.set_num_threads(1)
    bundle = load_bundle(folder, threads=1)
    tower = load_on_bundle(folder)[0].image.eval()
    tower.load_state_dict(mixture(text, folded_weights(folder, tower)))
    tower = tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(_name: str, feed: dict[str, Any]) -> Any:
        pixels = torch.from_numpy(feed["pixels"]).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return tower(pixels).numpy()

    bundle._run = run  # type: ignore[method-assign,assignment]
    return bundle


def recalls(right: NDArray[np.bool_], part: Part, classes: int) -> Floats:
    """(P, K) share of a person's pictures of a class that are right; NaN where there is none."""
    assert part.persons is not None
    cell = part.persons * classes + part.truth
    size = (int(part.persons.max()) + 1) * classes
    counts, hits = np.bincount(cell, minlength=size), np.bincount(cell, right, minlength=size)
    with np.errstate(invalid="ignore"):
        return (hits / np.where(counts, counts, np.nan)).reshape(-1, classes)


def mean_recall(table: Floats, judged: list[int]) -> float:
    """Mean over classes of the mean over persons."""
    return float(np.nanmean(table[:, judged], axis=0).mean())


def person_draws(table: Floats, judged: list[int]) -> Floats:
    """(R,) bootstrap of :func:`mean_recall` over persons."""
    draw = np.random.default_rng(SEED)
    n = len(table)
    return np.array([mean_recall(table[draw.integers(0, n, n)], judged) for _ in range(RESAMPLES)])


def top1_draws(right: NDArray[np.bool_]) -> Floats:
    """(R,) bootstrap of the share of right answers."""
    draw = np.random.default_rng(SEED)
    n = len(right)
    return np.array([right[draw.integers(0, n, n)].mean() for _ in range(RESAMPLES)])


def f1_draws(truth: Codes, given: Codes, classes: int) -> Floats:
    """(R,) bootstrap of macro-F1."""
    draw = np.random.default_rng(SEED)
    n, found = len(truth), []
    for _ in range(RESAMPLES):
        k = draw.integers(0, n, n)
        found.append(float(macro_f1(confusion_matrix(truth[k], given[k], classes))))
    return np.array(found)


def shown(value: float, draws: Floats, sign: bool = False, digits: int = 1) -> str:
    """A figure in points with its 95% interval."""
    low, high = np.percentile(draws, [2.5, 97.5])
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{100 * value:{form}} [{100 * low:{form}}, {100 * high:{form}}]"


def judge(bundle: Bundle, fer: Part, web: Part, soft: Pixels) -> dict[str, Any]:
    """Answers of a bundle and what is drawn from them."""
    k = len(bundle.label_set.ids)
    judged = [bundle.label_set.ids.index(name) for name in JUDGED]
    fer_given, web_given = answers(bundle, fer.crops), answers(bundle, web.crops)
    right = fer_given == fer.truth
    soft_right = answers(bundle, soft) == fer.truth[: len(soft)]
    sharp_right = right[: len(soft)]
    table = recalls(web_given == web.truth, web, k)
    return {
        "top1": (right.mean(), top1_draws(right)),
        "macro_f1": (
            float(macro_f1(confusion_matrix(fer.truth, fer_given, k))),
            f1_draws(fer.truth, fer_given, k),
        ),
        "web": (mean_recall(table, judged), person_draws(table, judged)),
        "blur": (
            soft_right.mean() - sharp_right.mean(),
            top1_draws(soft_right.astype(float) - sharp_right.astype(float)),  # type: ignore[arg-type]
        ),
        "web_classes": np.nanmean(table, axis=0),
        "fer_classes": np.array([right[fer.truth == c].mean() for c in range(k)]),
        "web_top1": float((web_given == web.truth).mean()),
    }


def _name(path: Path) -> str:
    return path.parent.name if path.name == "bundle" else path.name


def main() -> int:
    """Print one table, and the recalls by class."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("ferplus", type=Path)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--bundle", type=Path, action="append", required=True)
    parser.add_argument("--images", type=int, default=0, help="of FER+; 0 = all")
    parser.add_argument("--blur-images", type=int, help="of these; default: all")
    parser.add_argument("--mix", action="append", default=[], metavar="SHARE*RUN:STEPS+…")
    parser.add_argument("--test", action="store_true")
    arguments = parser.parse_args()
    if arguments.test and arguments.mix:
        parser.error("--mix is to choose, and --test may not choose: export the mean first")
    split = "test" if arguments.test else "validation"
    fer = read_part(open_dataset(arguments.ferplus), split, arguments.images)
    web = read_part(open_dataset(arguments.faces), split, 0)
    soft = blurred(fer.crops[: arguments.blur_images])
    print(f"{split}: FER+ {len(fer.truth):,} images; faces_web {len(web.truth):,} images\n")
    print("| | FER+ top-1 | change | macro-F1 | change | faces_web | change | blur 2 px |")
    print("|---|---|---|---|---|---|---|---|")
    base: dict[str, Any] = {}
    classes = []
    found_bundles = [(_name(path), find_bundle(path), "") for path in arguments.bundle]
    first = found_bundles[0][1]
    for name, folder, mix in [*found_bundles, *((text, first, text) for text in arguments.mix)]:
        bundle = with_mixture(folder, mix) if mix else load_bundle(folder, threads=1)
        bundle.preprocessing = replace(bundle.preprocessing, mirror=True)
        found = judge(bundle, fer, web, soft)
        base = base or found
        cells = [name]
        for key in ("top1", "macro_f1", "web"):
            value, draws = found[key]
            # The same seed draws the same images and persons: the differences are paired.
            digits = 2 if key == "top1" else 1
            change = shown(value - base[key][0], draws - base[key][1], True, digits)
            cells += [shown(value, draws), change if found is not base else "–"]
        print("| " + " | ".join([*cells, shown(*found["blur"], sign=True)]) + " |", flush=True)
        for part in ("fer", "web"):
            each = zip(bundle.label_set.ids, found[f"{part}_classes"], strict=True)
            classes.append(f"{name}, {part}: " + ", ".join(f"{c} {v:.2f}" for c, v in each))
        classes.append(f"{name}, web top-1: {found['web_top1']:.3f}")
    print("\nRecall by class\n\n" + "\n".join(classes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
