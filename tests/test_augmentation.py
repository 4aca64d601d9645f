"""Further augmentation: what is drawn lies where it should, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image, ImageFilter

from make_data import training_settings
from nunbit.training.augmentation import KINDS, Kind, augment, cover_face

pytestmark = pytest.mark.train

SIDE = 72
OFF = dict.fromkeys(
    ("flip", "rotate", "zoom", "shift", "brightness", "contrast", "erase", "degrade"), 0.0
)
Pixels = np.ndarray[Any, Any]


def face(value: int = 140) -> Pixels:
    """One tone: every change is one that was drawn."""
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def share_covered(kind: Kind, top: float, bottom: float, left: float, right: float) -> float:
    """Share of a region of the face that is changed, over 60 draws."""
    rows = slice(round(top * SIDE), round(bottom * SIDE))
    columns = slice(round(left * SIDE), round(right * SIDE))
    changed = [
        (cover_face(face(), np.random.default_rng(n), kind) != 140).any(axis=2)[rows, columns]
        for n in range(60)
    ]
    return float(np.mean(changed))


def changed(**only: float) -> Callable[[Pixels, int], Pixels]:
    settings = training_settings(**(OFF | {"grey": False} | only))
    return lambda crop, seed: augment(crop, settings, np.random.default_rng(seed))


def test_a_mask_covers_mouth_and_chin_and_leaves_the_eyes() -> None:
    assert share_covered("mask", 0.65, 0.85, 0.3, 0.7) > 0.99
    assert share_covered("mask", 0.0, 0.36, 0.0, 1.0) < 0.01


def test_glasses_are_around_the_eyes_and_leave_the_mouth() -> None:
    assert share_covered("glasses", 0.25, 0.55, 0.1, 0.9) > 0.15
    assert share_covered("glasses", 0.62, 1.0, 0.0, 1.0) == 0.0
    lenses = [
        (cover_face(face(), np.random.default_rng(n), "glasses") != 140).any(axis=2)[29, 22]
        for n in range(300)
    ]
    assert np.mean(lenses) == pytest.approx(0.45, abs=0.1)  # tinted ones cover the eye itself


def test_a_hand_has_the_tone_of_the_face_and_covers_a_part() -> None:
    parts = []
    for n in range(60):
        drawn = cover_face(face(100), np.random.default_rng(n), "hand").astype(int)
        hand = (drawn != 100).any(axis=2)
        parts.append(hand.mean())
        assert drawn.min() >= 60
        assert drawn.max() <= 140
    assert min(parts) > 0.03
    assert max(parts) < 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_edges_are_soft_and_the_crop_given_stays(kind: Kind) -> None:
    crop = face()
    drawn = cover_face(crop, np.random.default_rng(1), kind)
    assert (crop == 140).all()
    assert drawn.shape == crop.shape
    again = cover_face(crop, np.random.default_rng(1), kind)
    np.testing.assert_array_equal(drawn, again)
    # A bright cloth on a dark face has no pixel darker than both: edges mix the two.
    dark = cover_face(face(5), np.random.default_rng(1), kind)
    assert dark.min() >= 1


def test_covers_come_as_often_as_asked_and_grey_stays_grey() -> None:
    often = changed(occlude=0.3)
    hit = [(often(face(), n) != 140).any() for n in range(400)]
    assert np.mean(hit) == pytest.approx(0.3, abs=0.06)
    grey = changed(occlude=1.0, grey=True)
    for n in range(30):
        drawn = grey(face(), n)
        assert (drawn == drawn[..., :1]).all()


def test_strong_blur_is_one_to_two_and_a_half_pixels_of_a_face_of_48() -> None:
    rng = np.random.default_rng(0)
    crop = np.clip(128 + 40 * rng.standard_normal((SIDE, SIDE, 3)), 0, 255).astype(np.uint8)

    def detail(pixels: Pixels) -> float:
        return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())

    def known(spread_of_48: float) -> float:
        image = Image.fromarray(crop).filter(ImageFilter.GaussianBlur(spread_of_48 * SIDE / 48))
        return detail(np.asarray(image))

    found = [detail(changed(blur=1.0)(crop, n)) for n in range(40)]
    assert known(2.64) <= min(found)
    assert max(found) <= known(0.96)
    assert max(found) > 1.5 * min(found)
    spared = changed(blur=0.25)
    sharp = [(spared(crop, n) == crop).all() for n in range(400)]
    assert np.mean(sharp) == pytest.approx(0.75, abs=0.06)


def test_a_tint_changes_channels_by_no_more_than_asked_and_not_grey_input() -> None:
    tinted = changed(tint=0.2)
    ratios = np.stack([tinted(face(100), n)[0, 0] / 100 for n in range(200)])
    assert ratios.min() >= 0.79
    assert ratios.max() <= 1.21
    assert ratios.std(axis=0).min() > 0.08
    assert (ratios[:, 0] != ratios[:, 2]).mean() > 0.9
    untouched = changed(tint=0.2, grey=True)
    np.testing.assert_array_equal(untouched(face(), 3), face())


def test_the_strength_of_colours_changes_around_luminance() -> None:
    crop = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop[...] = (160, 110, 60)

    class Stronger:
        """Half as much colour again, and each channel as it is."""

        def random(self, count: int) -> Pixels:
            return np.ones(count)

        def uniform(self, low: float, high: float, count: int) -> Pixels:
            return np.array([1.0, 0.0, 0.0, 0.0]) if count == 4 else np.zeros(count)

    settings = training_settings(**(OFF | {"grey": False, "tint": 0.5}))
    draw: Any = Stronger()
    luminance = 0.299 * 160 + 0.587 * 110 + 0.114 * 60
    expected = luminance + 1.5 * (np.array([160, 110, 60]) - luminance)
    np.testing.assert_allclose(augment(crop, settings, draw)[0, 0], expected, atol=1)
