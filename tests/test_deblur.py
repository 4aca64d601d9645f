"""Blur is estimated and taken off; sharp faces, and bundles that do not ask, stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle, resize_crop
from nunbit.pictures.deblur import LEAST, deblurred, estimated_blur


def drawn_face(seed: int, side: int = 72) -> np.ndarray:
    """Noise with the falling spectrum of pictures, which the estimate takes for a sharp face."""
    rng = np.random.default_rng(seed)
    down, along = np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None] * side
    # 1.9 is the fall of the power of 48 px faces enlarged to 72: SHARP is about -1.6, -2.8, -3.8.
    height = 1.0 / np.maximum(np.hypot(down, along), 1.0) ** 1.75
    shape = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * height, s=(side, side))
    scaled = 128 + 45 * (shape - shape.mean()) / shape.std()
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def blurred(grey: np.ndarray, spread: float) -> np.ndarray:
    """Blur in pixels of a face of 48 px."""
    scaled = ImageFilter.GaussianBlur(spread * grey.shape[0] / 48)
    return np.asarray(Image.fromarray(grey).filter(scaled))


@pytest.mark.parametrize("side", [48, 72, 112])
def test_blur_is_estimated_whatever_the_side(side: int) -> None:
    faces = [drawn_face(seed, side) for seed in range(12)]
    assert np.median([estimated_blur(face) for face in faces]) < LEAST
    for spread in (1.6, 2.0):
        found = np.median([estimated_blur(blurred(face, spread)) for face in faces])
        assert found == pytest.approx(spread, abs=0.3)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of the inner parts."""
    inner = (slice(8, -8), slice(8, -8))
    return float(np.abs(one[inner].astype(float) - other[inner]).mean())


def test_what_was_blurred_comes_nearer_to_what_it_was() -> None:
    for seed in range(6):
        face = drawn_face(seed)
        soft = blurred(face, 2.0)
        assert apart(deblurred(soft), face) < 0.8 * apart(soft, face)


def test_a_sharp_face_and_an_empty_one_are_not_touched() -> None:
    sharp = drawn_face(1)
    assert deblurred(sharp) is sharp
    for level in (0, 128, 255):
        flat = np.full((72, 72), level, np.uint8)
        assert np.array_equal(deblurred(flat), flat)


def test_the_shipped_bundle_reads_a_sharp_face_as_before_and_a_blurred_one_more_alike() -> None:
    bundle = load_bundle(default_bundle_path(), threads=1)
    own = bundle.preprocessing
    assert own.deblur

    def cosines(face: np.ndarray) -> tuple[float, float]:
        """Of the sharp face with the given one, with and without."""
        found = []
        for deblur in (True, False):
            bundle.preprocessing = replace(own, deblur=deblur)
            crops = np.stack([np.repeat(f[..., None], 3, axis=2) for f in (sharp, face)])
            one, other = bundle.embed_images(crops)
            found.append(float(one @ other))
        return found[0], found[1]

    gained = []
    for seed in range(4):
        sharp = drawn_face(seed)
        with_it, without = cosines(sharp)
        assert with_it == without
        with_it, without = cosines(blurred(sharp, 2.0))
        gained.append(with_it - without)
    assert np.mean(gained) > 0


def test_a_bundle_takes_blur_off_only_where_it_says_so() -> None:
    plain = load_bundle(default_bundle_path(), threads=1).preprocessing
    soft = np.repeat(blurred(drawn_face(2, 96), 2.0)[..., None], 3, axis=2)
    off = resize_crop(soft, replace(plain, deblur=False))
    on = resize_crop(soft, replace(plain, deblur=True))
    assert off.shape == on.shape == (72, 72, 3)
    assert np.array_equal(on[..., 0], deblurred(off[..., 0]))
    assert not np.array_equal(on, off)
    colour = replace(plain, grey=False, deblur=True)
    without = resize_crop(soft, replace(colour, deblur=False))
    assert np.array_equal(resize_crop(soft, colour), without)
