"""What taking blur off a face is worth: sharp faces, blurred ones, and blurred ones with noise.

    python benchmarks/deblurring.py FERPLUS [--bundle fer7-lite] [--images 1000] [--test]

`FERPLUS` is FER2013 prepared with `fer2013_table.py --truth ferplus`. The same bundle and images
with and without `deblur`, paired; intervals by image. Blur is Gaussian, in pixels of 48; JPEG and
noise come after it, as in a camera. 'Touched' is the share of faces that were deblurred.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from nunbit.datasets.shards import open_dataset
from nunbit.model.bundle import find_bundle
from nunbit.model.encoders import load_bundle, resize_crop
from nunbit.pictures.deblur import LEAST, estimated_blur
from wider_faces import SEED, Pixels, answers, read_part, shown, top1_draws


def blurred(spread: float) -> Callable[[Pixels], Pixels]:
    """A Gaussian blur."""
    return lambda crop: np.asarray(
        Image.fromarray(crop).filter(ImageFilter.GaussianBlur(spread * crop.shape[0] / 48))
    )


def compressed(crop: Pixels, quality: int) -> Pixels:
    """A crop after JPEG."""
    packed = io.BytesIO()
    Image.fromarray(crop).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed).convert("RGB"))


def noisy(crop: Pixels, spread: float) -> Pixels:
    """A crop with grey noise of a camera, the same for the same crop."""
    draw = np.random.default_rng(int(crop.sum()))
    noise = draw.normal(0, spread, (*crop.shape[:2], 1))
    return np.clip(np.rint(crop + noise), 0, 255).astype(np.uint8)


def small(crop: Pixels, side: int) -> Pixels:
    """A crop from so many pixels."""
    whole, box, up = crop.shape[1::-1], Image.Resampling.BOX, Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(crop).resize((side, side), box).resize(whole, up))


def moved(crop: Pixels, length: int) -> Pixels:
    """A crop blurred by a movement to the side."""
    parts = [np.roll(crop.astype(float), k, axis=1) for k in range(length)]
    return np.rint(np.mean(parts, axis=0)).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda crop: crop,
    "blur 1 px": blurred(1.0),
    "blur 1.5 px": blurred(1.5),
    "blur 2 px": blurred(2.0),
    "blur 2 px, JPEG 75": lambda crop: compressed(blurred(2.0)(crop), 75),
    "blur 2 px, JPEG 40": lambda crop: compressed(blurred(2.0)(crop), 40),
    "blur 2 px, noise 3": lambda crop: noisy(blurred(2.0)(crop), 3.0),
    "movement 6 px": lambda crop: moved(crop, 6),
    "from 20 px": lambda crop: small(crop, 20),
}


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("ferplus", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("fer7-lite"))
    parser.add_argument("--images", type=int, default=1000, help="0 = all")
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()
    split = "test" if options.test else "validation"
    part = read_part(open_dataset(options.ferplus), split, options.images)
    bundle = load_bundle(find_bundle(options.bundle), threads=1)
    plain = replace(bundle.preprocessing, deblur=False)
    print(f"{split}, {len(part.truth):,} images, seed {SEED}\n")
    print("| change | touched | top-1 without | with | difference |\n|---|---|---|---|---|")
    for name, change in CHANGES.items():
        crops = np.stack([change(crop) for crop in part.crops])
        greys = [resize_crop(crop, plain)[..., 0] for crop in crops]
        touched = np.mean([estimated_blur(grey) >= LEAST for grey in greys])
        right: list[NDArray[np.bool_]] = []
        for deblur in (False, True):
            bundle.preprocessing = replace(plain, deblur=deblur)
            same = deblur and not touched
            right.append(right[0] if same else answers(bundle, crops) == part.truth)
        change_of = right[1].astype(float) - right[0].astype(float)
        cells = [f"{100 * touched:.0f}%", *(f"{100 * r.mean():.1f}" for r in right)]
        cells.append(shown(change_of.mean(), top1_draws(change_of), sign=True))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
