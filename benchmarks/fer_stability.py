"""How far an answer depends on what is not the expression: finding, framing, light, resolution.

python benchmarks/fer_stability.py DATA [--bundle B] [--split validation|test] [--images 600]

``DATA`` is FER2013 with FER+ votes, prepared as finished crops; the truth is ``uploader`` (at least
5 of 10 raters). Two tables over the same images, drawn with a fixed seed:

* detect, crop, predict: each face is set into a larger canvas of coloured texture under a coloured
  light, at several sizes; the detector finds it and the bundle's framing cuts it out. Faces that
  are not found are counted apart; accuracy is of the found ones, beside the accuracy of the given
  crops of just these faces. FER2013 faces are cut inside the hair line, so a face here has no head
  around it: a real photograph is easier to search.
* stability: the given crop, changed in one way at a time. 'Same answer' is the share of images
  whose answer is that of the unchanged crop; the change of accuracy has a paired 95% bootstrap
  interval over images.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from nunbit.core.schema import Box, box_iou
from nunbit.datasets.predictions import truth_of
from nunbit.datasets.shards import DataSet, open_dataset
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import BUNDLE_FILE, default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.zeroshot import ensemble_cosines
from nunbit.pictures.crops import PAD_RGB
from nunbit.pictures.faces import FaceDetection, detect_faces, frame_face, framing_of
from nunbit.statistics import Additive, interval, resample

POLICY = "uploader"
RESAMPLES, SEED = 2_000, 0
FACE_SIDES = (32, 48, 96, 192)
CANVAS = 3  # sides of the face
FOUND_IOU = 0.3

Pixels = NDArray[np.uint8]
Codes = NDArray[np.int64]
Bools = NDArray[np.bool_]
Change = Callable[[Pixels, np.random.Generator], Pixels]


class Classifier:
    """A bundle with its trained prompts: crops to class positions."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        templates = load_template_set(bundle.default_template_set)
        self._prompts = bundle.prompt_embeddings(templates, bundle.label_set)

    def answers(self, crops: list[Pixels]) -> Codes:
        """(N,) class positions of crops of one size."""
        embedded = self.bundle.embed_images(np.stack(crops))
        best: Codes = ensemble_cosines(embedded, self._prompts, "mean_embedding").argmax(axis=1)
        return best


def images_of(data: DataSet, split: str, count: int) -> tuple[list[Pixels], Codes]:
    """``count`` labelled crops of a split, drawn with a fixed seed, and their classes."""
    rows = data.split_rows(split)  # type: ignore[arg-type]
    truth = truth_of(data, rows, POLICY)
    labelled = np.flatnonzero(truth >= 0)
    drawn = np.random.default_rng(SEED).permutation(labelled)[:count]
    return [data.pixels(int(row)) for row in rows[drawn]], truth[drawn]


def change_of_accuracy(before: Bools, after: Bools) -> str:
    """Difference in points with its paired interval."""
    cells = Additive(cells=(2 * before + after).astype(np.int64), n_cells=4)
    drawn = resample({"x": cells}, np.arange(len(before)), n_resamples=RESAMPLES, seed=SEED)["x"]
    found = interval((drawn[:, 1] - drawn[:, 2]) / len(before)) or (math.nan, math.nan)
    value = float(after.mean() - before.mean())
    return f"{100 * value:+.1f} [{100 * found[0]:+.1f}, {100 * found[1]:+.1f}]"


def canvas_with(face: Pixels, side: int, draw: np.random.Generator) -> tuple[Pixels, Box]:
    """Set a face into coloured texture and put a coloured light on all of it.

    Args:
        face: (S, S, 3) uint8.
        side: The face's side on the canvas, pixels.
        draw: Place, texture and light.

    Returns:
        The canvas, ``CANVAS * side`` wide and high, and the face's box.
    """
    size = CANVAS * side
    canvas = np.zeros((size, size, 3), np.float32)
    for cells, weight in ((3, 0.6), (12, 0.25), (48, 0.15)):  # from patches to grain
        coarse = draw.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        canvas += weight * np.asarray(smooth, np.float32)
    pasted = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
    left, top = (int(x) for x in draw.integers(0, size - side + 1, 2))
    canvas[top : top + side, left : left + side] = np.asarray(pasted, np.float32)
    canvas *= draw.uniform(0.75, 1.15, 3).astype(np.float32)
    canvas += draw.normal(0.0, 3.0, canvas.shape).astype(np.float32)
    box = (float(left), float(top), float(left + side), float(top + side))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), box


def match(found: tuple[FaceDetection, ...], box: Box) -> FaceDetection | None:
    """The detection that lies on the face, if one does."""
    if not found:
        return None
    overlap = box_iou(np.array([box]), np.array([face.box_xyxy for face in found]))[0]
    best = int(overlap.argmax())
    return found[best] if overlap[best] >= FOUND_IOU else None


def detection_table(model: Classifier, crops: list[Pixels], truth: Codes) -> None:
    """Detect, crop and predict against the given crops."""
    bundle = model.bundle
    framing = framing_of(bundle.document.preprocessing, str(bundle.path / BUNDLE_FILE))
    given = model.answers(crops)
    print(f"\nDetect, crop, predict ({len(crops)} faces, canvas {CANVAS} times the face)\n")
    print(
        "| face on the canvas | missed | false alarms per canvas | accuracy, given crops of the "
        "found % | accuracy, detected % | change | same answer |"
    )
    print("|---:|---:|---:|---:|---:|---|---:|")
    for side in FACE_SIDES:
        draw = np.random.default_rng([SEED, side])
        kept, cut, false_alarms = [], [], 0
        for number, crop in enumerate(crops):
            canvas, box = canvas_with(crop, side, draw)
            detections = detect_faces(canvas)
            face = match(detections, box)
            false_alarms += len(detections) - (face is not None)
            if face is not None:
                kept.append(number)
                cut.append(frame_face(canvas, face.box_xyxy, framing))
        missed = 1.0 - len(kept) / len(crops)
        line = f"| {side} px | {100 * missed:.1f}% | {false_alarms / len(crops):.3f} |"
        if not kept:
            print(f"{line} – | – | – | – |")
            continue
        answers = model.answers(cut)
        before, after = given[kept] == truth[kept], answers == truth[kept]
        same = float((answers == given[kept]).mean())
        print(
            f"{line} {100 * before.mean():.1f} | {100 * after.mean():.1f} | "
            f"{change_of_accuracy(before, after)} | {same:.3f} |",
            flush=True,
        )


def moved(
    shift: float = 0.0, grow: float = 0.0, degrees: float = 0.0
) -> Callable[[Pixels, np.random.Generator], Pixels]:
    """A crop from a box that lies elsewhere, in a random direction; grey beyond the edge.

    Args:
        shift: Share of the side, to both axes.
        grow: The box's side changes by this share; positive sees more than the given crop.
        degrees: The box is turned by this much.
    """

    def change(crop: Pixels, draw: np.random.Generator) -> Pixels:
        side = crop.shape[0]
        sign_x, sign_y, sign_turn = draw.choice((-1.0, 1.0), 3)
        angle = math.radians(degrees * sign_turn)
        cos, sin = math.cos(angle) * (1 + grow), math.sin(angle) * (1 + grow)
        centre = side / 2
        x0 = centre - cos * centre + sin * centre + shift * side * sign_x
        y0 = centre - sin * centre - cos * centre + shift * side * sign_y
        turned = Image.fromarray(crop).transform(
            (side, side),
            Image.Transform.AFFINE,
            (cos, -sin, x0, sin, cos, y0),
            resample=Image.Resampling.BICUBIC,
            fillcolor=PAD_RGB,
        )
        return np.asarray(turned)

    return change


def resized(size: int) -> Change:
    """The crop at another resolution."""

    def change(crop: Pixels, _: np.random.Generator) -> Pixels:
        return np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC))

    return change


def blurred(radius: float) -> Change:
    """Gaussian blur, standard deviation in pixels of the crop."""

    def change(crop: Pixels, _: np.random.Generator) -> Pixels:
        return np.asarray(Image.fromarray(crop).filter(ImageFilter.GaussianBlur(radius)))

    return change


def compressed(quality: int) -> Change:
    """Through a JPEG of this quality."""

    def change(crop: Pixels, _: np.random.Generator) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(crop).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB"))

    return change


def lit(
    gain: float = 1.0,
    contrast: float = 1.0,
    gamma: float = 1.0,
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Change:
    """Other light: gain, contrast about the crop's mean, gamma, a gain of each colour."""

    def change(crop: Pixels, _: np.random.Generator) -> Pixels:
        values = crop.astype(np.float32)
        middle = values.mean()
        values = np.clip(((values - middle) * contrast + middle) * gain, 0, 255)
        values = 255.0 * (values / 255.0) ** gamma * np.array(cast, np.float32)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    return change


def mirrored(crop: Pixels, _: np.random.Generator) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(crop[:, ::-1])


def changes() -> Iterator[tuple[str, Change]]:
    """Everything the second table changes, one thing at a time."""
    yield from ((f"resolution {size} px", resized(size)) for size in (24, 32, 40, 64, 96))
    yield from ((f"box shifted {p}% both ways", moved(shift=p / 100)) for p in (5, 10))
    yield from ((f"box {p:+d}% in size", moved(grow=p / 100)) for p in (-10, -5, 5, 10))
    yield from ((f"rotation ±{angle}°", moved(degrees=angle)) for angle in (5, 10, 15))
    yield "mirror image", mirrored
    yield from ((f"blur, {radius} px", blurred(radius)) for radius in (0.5, 1.0, 1.5, 2.0))
    yield from ((f"JPEG quality {quality}", compressed(quality)) for quality in (90, 70, 50, 30))
    yield from ((f"brightness × {gain}", lit(gain=gain)) for gain in (0.5, 0.75, 1.25, 1.5))
    yield from ((f"contrast × {contrast}", lit(contrast=contrast)) for contrast in (0.5, 1.5))
    yield from ((f"gamma {gamma}", lit(gamma=gamma)) for gamma in (0.5, 0.7, 1.5, 2.0))
    for name, cast in (
        ("warm", (1.15, 1.0, 0.7)),
        ("cold", (0.75, 0.95, 1.2)),
        ("green", (0.8, 1.1, 0.8)),
    ):
        yield f"colour cast, {name}", lit(cast=cast)


def stability_table(model: Classifier, crops: list[Pixels], truth: Codes) -> None:
    """The given crop, changed in one way at a time."""
    plain = model.answers(crops)
    right = plain == truth
    print(f"\nStability ({len(crops)} crops of {crops[0].shape[0]} px; unchanged: ", end="")
    print(f"{100 * right.mean():.1f}% right)\n")
    print("| change | accuracy % | change of accuracy | same answer |")
    print("|---|---:|---|---:|")
    for name, change in changes():
        draw = np.random.default_rng(SEED)
        answers = model.answers([change(crop, draw) for crop in crops])
        after = answers == truth
        print(
            f"| {name} | {100 * after.mean():.1f} | {change_of_accuracy(right, after)} | "
            f"{float((answers == plain).mean()):.3f} |",
            flush=True,
        )


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="FER2013 with FER+ votes, prepared")
    parser.add_argument("--bundle", type=Path, help="default: the shipped one")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--images", type=int, default=600)
    arguments = parser.parse_args()
    started: dict[str, Any] = {"clock": time.perf_counter(), "cpu": time.process_time()}
    bundle = load_bundle(arguments.bundle or default_bundle_path(), threads=1)
    model = Classifier(bundle)
    crops, truth = images_of(open_dataset(arguments.data), arguments.split, arguments.images)
    print(
        f"{bundle.document.name} ({bundle.hash[:8]}), {arguments.split}, {len(crops)} images; "
        "not validated on Korean faces or on video"
    )
    detection_table(model, crops, truth)
    stability_table(model, crops, truth)
    clock = time.perf_counter() - started["clock"]
    print(f"\n{clock:.0f} s, of which processor {time.process_time() - started['cpu']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
