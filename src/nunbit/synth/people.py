"""Who is drawn: traits that stay with a person from photo to photo.

Shapes are in face units (see ``geometry``), colours 8-bit RGB. Knows nothing of expressions, poses
or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Gender = Literal["f", "m"]
Rgb = tuple[int, int, int]

AGES = (10, 20, 30, 40, 50, 60)
"""Decades, as AI Hub has them."""

_AGE_SHARE = (0.08, 0.30, 0.27, 0.17, 0.11, 0.07)
_LIGHT_SKIN, _DARK_SKIN = np.array([252.0, 224, 203]), np.array([205.0, 156, 122])
_HAIR: tuple[Rgb, ...] = (
    (28, 24, 24), (40, 31, 28), (58, 40, 32), (84, 56, 40), (112, 78, 52), (74, 44, 50),
)  # fmt: skip
_CLOTHES: tuple[Rgb, ...] = (
    (236, 236, 232), (58, 66, 84), (120, 132, 148), (182, 84, 74), (92, 128, 100), (214, 190, 150),
    (44, 44, 48), (126, 104, 150), (222, 170, 178), (70, 118, 168), (160, 142, 110),
)  # fmt: skip
STYLES: dict[Gender, tuple[str, ...]] = {
    "f": ("long", "long_fringe", "bob", "bob_fringe", "tied", "perm"),
    "m": ("crop", "parted", "fringe", "up", "perm_short", "receding"),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Fixed traits of one drawn person.

    Attributes:
        gender: ``f`` or ``m``.
        age: Decade, one of ``AGES``.
        cheek: Half width at the cheekbones.
        jaw: Half width at the jaw's corner.
        chin: Row of the chin.
        chin_width: Half width of the chin's flat.
        eye_size: Factor of the eyes.
        eye_tilt: Outer corners up (positive) or down.
        eye_distance: Column of each pupil.
        double_lid: Whether the upper lid has a crease.
        brow_weight: Factor of the brows' thickness.
        brow_slope: The resting brows' slope, positive with lowered inner ends.
        nose_width: Factor.
        nose_length: Row of the nose's tip.
        mouth_width: Half width of the resting mouth.
        lip_fullness: Factor.
        mouth_rest: Resting lift of the mouth's corners.
        wrinkles: 0 to 1.
        stubble: 0 to 1.
        style: Hair style, one of ``STYLES``.
        volume: Height of the hair above the skull.
        glasses: None, ``round``, ``square`` or ``thin``.
        mole: Place of a mole, or None.
        collar: ``round``, ``v``, ``shirt`` or ``hood``.
        skin: Colour.
        lips: Colour.
        hair: Colour.
        iris: Colour.
        clothes: Colour.
    """

    gender: Gender
    age: int
    cheek: float
    jaw: float
    chin: float
    chin_width: float
    eye_size: float
    eye_tilt: float
    eye_distance: float
    double_lid: bool
    brow_weight: float
    brow_slope: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_fullness: float
    mouth_rest: float
    wrinkles: float
    stubble: float
    style: str
    volume: float
    glasses: str | None
    mole: tuple[float, float] | None
    collar: str
    skin: Rgb
    lips: Rgb
    hair: Rgb
    iris: Rgb
    clothes: Rgb


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a person: gender and age first, then traits that go with them."""
    gender: Gender = "f" if rng.random() < 0.55 else "m"
    age = int(rng.choice(AGES, p=_AGE_SHARE))
    woman, young, old = gender == "f", age == 10, max(0.0, (age - 35) / 25)

    def around(center: float, spread: float) -> float:
        return float(center + spread * rng.uniform(-1.0, 1.0))

    skin = _LIGHT_SKIN + (_DARK_SKIN - _LIGHT_SKIN) * rng.beta(1.6, 2.2 if woman else 1.5)
    skin = np.clip(skin + rng.normal(0, 3, 3), 0, 255)
    lips = skin * ((0.86, 0.62, 0.62) if woman else (0.84, 0.69, 0.66)) + rng.normal(0, 5, 3)
    hair = np.array(_HAIR[int(rng.integers(len(_HAIR)))], dtype=np.float64)
    grey = float(np.clip(rng.normal(0.62 * old, 0.14), 0.0, 0.85)) if age >= 50 else 0.0
    hair += (np.array([176.0, 174, 172]) - hair) * grey
    return Person(
        gender=gender,
        age=age,
        cheek=around(0.93 if woman else 0.95, 0.05),
        jaw=around(0.70 if woman else 0.78, 0.06) + (0.03 if young else 0.03 * old),
        chin=around(1.22 if woman else 1.30, 0.06) - (0.07 if young else 0.0),
        chin_width=around(0.22 if woman else 0.30, 0.06),
        eye_size=around(1.12 if woman else 0.98, 0.10) + (0.10 if young else -0.08 * old),
        eye_tilt=around(0.3, 0.7),
        eye_distance=around(0.425, 0.025),
        double_lid=bool(rng.random() < (0.65 if woman else 0.4)),
        brow_weight=around(0.85 if woman else 1.25, 0.22),
        brow_slope=around(0.0, 0.16),
        nose_width=around(0.92 if woman else 1.08, 0.12),
        nose_length=around(0.50, 0.05) - (0.04 if young else 0.0),
        mouth_width=around(0.30 if woman else 0.33, 0.03),
        lip_fullness=around(1.08 if woman else 0.9, 0.18) - 0.12 * old,
        mouth_rest=around(0.02, 0.10),
        wrinkles=float(np.clip(rng.normal(0.75 * old, 0.12), 0.0, 1.0)) if age >= 40 else 0.0,
        stubble=0.0 if woman or age < 20 else float(max(0.0, rng.uniform(-0.8, 0.8))),
        style=_hair_style(gender, age, rng),
        volume=around(0.15, 0.06),
        glasses=str(rng.choice(["round", "square", "thin"])) if rng.random() < 0.24 else None,
        mole=(around(0.0, 0.6), around(0.55, 0.35)) if rng.random() < 0.2 else None,
        collar=str(rng.choice(["round", "v", "shirt", "hood"])),
        skin=_rgb(skin),
        lips=_rgb(lips),
        hair=_rgb(hair),
        iris=_rgb(np.array([62.0, 42, 32]) + rng.normal(0, 9, 3)),
        clothes=_CLOTHES[int(rng.integers(len(_CLOTHES)))],
    )


def _hair_style(gender: Gender, age: int, rng: np.random.Generator) -> str:
    styles = STYLES[gender]
    if age >= 50 and rng.random() < 0.6:
        return styles[-1]
    # The last style of each list (a perm, a receding hairline) belongs to older people.
    return styles[int(rng.integers(len(styles) - 1))]


def _rgb(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Rgb:
    r, g, b = (int(v) for v in np.clip(np.round(values), 0, 255))
    return r, g, b
