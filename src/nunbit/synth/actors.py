"""Who is drawn and what the face does: traits of a person, and facial parameters.

Traits stay with a person from photo to photo; shapes are in face units (see ``drawing``), colours
8-bit RGB. The few continuous parameters of an expression follow the action units of FACS (named in
the comments), so it can be blended, weakened, animated or combined with speech; the seven emotions
are such expressions. Knows nothing of poses, pixels or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from nunbit.core.streams import Floats

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
class DrawnPerson:
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


def sample_person(rng: np.random.Generator) -> DrawnPerson:
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
    return DrawnPerson(
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


@dataclass(frozen=True, slots=True)
class Expression:
    """State of a face; zero everywhere (eyes open at 1) is the resting face.

    Attributes:
        brow_inner: Inner brow ends, -1 lowered (AU4) to 1 raised (AU1).
        brow_outer: Outer brow ends, -1 lowered to 1 raised (AU2).
        brow_skew: -1 to 1; lifts the brow on the image's right and lowers the other.
        furrow: 0 to 1; brows drawn together with creases between them (AU4).
        eye_open: 0 closed (AU45), 1 at rest, 1.5 wide (AU5).
        squint: 0 to 1; lower lids pushed up by the cheeks (AU6, AU7).
        lid_droop: 0 to 1; upper lids sink towards the outer corners.
        gaze_x: -1 to 1, towards the image's right.
        gaze_y: -1 to 1, downwards.
        smile: Mouth corners, -1 pulled down (AU15) to 1 pulled up (AU12).
        mouth_open: 0 to 1; lips apart and jaw dropped (AU25, AU26).
        stretch: -1 pursed (AU18) to 1 stretched wide (AU20).
        mouth_skew: -1 to 1; the mouth is pulled up towards the image's right.
        lip_press: 0 to 1; lips pressed thin (AU23, AU24).
        tremble: 0 to 1; wavering lower lip and dimpled chin (AU17).
        teeth: 0 to 1; how much of the teeth an open mouth shows.
        flare: 0 to 1; nostrils flared, nose wrinkled (AU9, AU38).
        blush: 0 to 1; red cheeks and ears.
        pale: 0 to 1; the skin loses colour.
        tear: 0 none, up to 0.5 standing in the eye, to 1 running down.
        sweat: 0 to 1; drops on the temple.
    """

    brow_inner: float = 0.0
    brow_outer: float = 0.0
    brow_skew: float = 0.0
    furrow: float = 0.0
    eye_open: float = 1.0
    squint: float = 0.0
    lid_droop: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    smile: float = 0.0
    mouth_open: float = 0.0
    stretch: float = 0.0
    mouth_skew: float = 0.0
    lip_press: float = 0.0
    tremble: float = 0.0
    teeth: float = 0.0
    flare: float = 0.0
    blush: float = 0.0
    pale: float = 0.0
    tear: float = 0.0
    sweat: float = 0.0


NEUTRAL = Expression()

# Each emotion has ways of showing it that a person who looks still reads as the same emotion.
EMOTIONS: dict[str, tuple[Expression, ...]] = {
    "joy": (  # AU6 + AU12 (+ AU25)
        Expression(brow_inner=0.2, brow_outer=0.25, eye_open=0.75, squint=0.9, smile=1.0,
                   mouth_open=0.5, stretch=0.45, teeth=1.0, blush=0.25),
        Expression(brow_inner=0.1, brow_outer=0.15, eye_open=0.7, squint=0.8, smile=1.0,
                   stretch=0.55, blush=0.2),
        Expression(brow_inner=0.25, brow_outer=0.35, eye_open=0.1, squint=1.0, smile=1.0,
                   mouth_open=0.75, stretch=0.5, teeth=0.8, blush=0.3),
    ),
    "flustered": (  # uneven brows, averted gaze, crooked mouth, blush
        Expression(brow_inner=0.45, brow_outer=0.45, brow_skew=0.8, eye_open=1.25, gaze_x=0.85,
                   smile=0.05, mouth_open=0.3, stretch=-0.15, mouth_skew=0.9, blush=1.0,
                   sweat=0.7),
        Expression(brow_inner=0.5, brow_outer=0.5, brow_skew=-0.8, eye_open=1.3, gaze_x=-0.9,
                   gaze_y=0.2, smile=0.15, stretch=0.1, mouth_open=0.12, mouth_skew=-1.0,
                   teeth=0.6, blush=1.0, sweat=0.6),
        Expression(brow_inner=0.65, brow_outer=0.65, brow_skew=0.6, eye_open=1.4, gaze_x=-0.5,
                   gaze_y=-0.5, mouth_open=0.55, stretch=-0.5, mouth_skew=0.5, blush=0.9,
                   sweat=0.8),
    ),
    "anger": (  # AU4 + AU5 + AU7 + AU23
        Expression(brow_inner=-1.0, brow_outer=0.55, furrow=1.0, eye_open=0.95, squint=0.45,
                   smile=-0.45, lip_press=0.9, flare=0.8, blush=0.35),
        Expression(brow_inner=-1.0, brow_outer=0.65, furrow=0.9, eye_open=1.05, squint=0.4,
                   smile=-0.5, mouth_open=0.45, stretch=0.3, teeth=1.0, flare=1.0, blush=0.45),
        Expression(brow_inner=-0.9, brow_outer=0.4, furrow=1.0, eye_open=0.8, squint=0.55,
                   smile=-0.7, lip_press=0.5, flare=0.7, gaze_y=-0.2, blush=0.25),
    ),
    "anxiety": (  # AU1 + AU2 + AU4 + AU5 + AU20
        Expression(brow_inner=0.85, brow_outer=0.25, furrow=0.7, eye_open=1.5, smile=-0.3,
                   mouth_open=0.16, stretch=0.95, teeth=1.0, pale=0.9, sweat=1.0),
        Expression(brow_inner=0.95, brow_outer=0.3, furrow=0.8, eye_open=1.5, gaze_x=0.3,
                   smile=-0.4, mouth_open=0.3, stretch=0.85, teeth=0.8, pale=1.0, sweat=0.6),
        Expression(brow_inner=0.8, brow_outer=0.2, furrow=0.9, eye_open=1.4, gaze_x=-0.35,
                   smile=-0.35, stretch=0.9, lip_press=0.25, tremble=0.3, pale=0.9, sweat=0.9),
    ),
    "hurt": (  # AU1 + AU4, lowered gaze and lids, AU17 with a small mouth, a tear that stands
        Expression(brow_inner=0.95, brow_outer=-0.4, furrow=0.7, eye_open=0.5, gaze_y=1.0,
                   gaze_x=-0.25, smile=-0.3, stretch=-0.6, lip_press=0.3, tremble=1.0, tear=0.55),
        Expression(brow_inner=0.9, brow_outer=-0.3, furrow=0.8, eye_open=0.45, gaze_y=1.0,
                   gaze_x=0.3, smile=-0.2, stretch=-0.65, lip_press=0.7, tremble=0.9, tear=0.45),
    ),
    "sadness": (  # AU1 + AU4 + AU15, drooping lids, running tears
        Expression(brow_inner=1.0, brow_outer=-0.55, furrow=0.3, eye_open=0.75, lid_droop=0.9,
                   smile=-1.0, stretch=0.05, tear=1.0),
        Expression(brow_inner=0.95, brow_outer=-0.5, furrow=0.3, eye_open=0.68, lid_droop=1.0,
                   gaze_y=0.3, smile=-1.0, mouth_open=0.25, tear=0.9),
        Expression(brow_inner=1.0, brow_outer=-0.6, furrow=0.4, eye_open=0.0, lid_droop=0.7,
                   smile=-1.0, mouth_open=0.5, stretch=0.1, tear=1.0, blush=0.15),
    ),
    "neutral": (
        NEUTRAL,
        Expression(brow_outer=0.05, eye_open=0.95, lip_press=0.1),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeadTilt:
    """Mean pose that goes with an expression, degrees (see ``drawing.Pose``)."""

    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


UPRIGHT = HeadTilt()
TILTS: dict[str, HeadTilt] = {
    "joy": HeadTilt(pitch=-2), "flustered": HeadTilt(roll=3), "anger": HeadTilt(pitch=3),
    "anxiety": HeadTilt(pitch=-2), "hurt": HeadTilt(pitch=9), "sadness": HeadTilt(pitch=4),
    "neutral": UPRIGHT,
}  # fmt: skip

PARAMETERS = tuple(f.name for f in fields(Expression))
"""Names of the parameters, in the order of the columns of :func:`rows_of`."""

_BOUNDS = {
    "brow_inner": (-1.2, 1.2), "brow_outer": (-1.2, 1.2), "brow_skew": (-1.2, 1.2),
    "eye_open": (0.0, 1.6), "gaze_x": (-1.1, 1.1), "gaze_y": (-1.1, 1.1),
    "smile": (-1.15, 1.15), "stretch": (-1.0, 1.2), "mouth_skew": (-1.2, 1.2),
}  # fmt: skip
# Parameters that waver from photo to photo; the others are either there or not.
_WAVERING = tuple(_BOUNDS)


def rows_of(expressions: Sequence[Expression]) -> Floats:
    """Expressions as numbers: (N, parameters)."""
    return np.array([[getattr(e, name) for name in PARAMETERS] for e in expressions])


def within_bounds(rows: Floats) -> Floats:
    """Rows (N, parameters) clipped to what a face can do."""
    low, high = np.array([_BOUNDS.get(name, (0.0, 1.0)) for name in PARAMETERS]).T
    return np.asarray(np.clip(rows, low, high))


def blend(parts: list[tuple[Expression, float]]) -> Expression:
    """Weighted sum of expressions, clipped to what a face can do.

    Args:
        parts: Expressions and weights; weights that sum to 1 give a mixture.
    """
    totals = {name: sum(getattr(e, name) * weight for e, weight in parts) for name in PARAMETERS}
    bounds = {name: _BOUNDS.get(name, (0.0, 1.0)) for name in PARAMETERS}
    return Expression(
        **{name: min(max(totals[name], low), high) for name, (low, high) in bounds.items()}
    )


def expression_of(emotion: str, rng: np.random.Generator, intensity: float = 1.0) -> Expression:
    """One way of showing an emotion.

    Args:
        emotion: A key of ``EMOTIONS`` (the ids of label set ``aihub7``).
        rng: Source of the variation.
        intensity: 0 is neutral, 1 full; up to 1.2.
    """
    chosen = EMOTIONS[emotion][int(rng.integers(len(EMOTIONS[emotion])))]
    mixed = blend([(NEUTRAL, 1.0 - intensity), (chosen, intensity)])
    changes = {
        name: min(max(getattr(mixed, name) + float(delta), low), high)
        for name, delta in zip(_WAVERING, rng.normal(0.0, 0.09, len(_WAVERING)), strict=True)
        for low, high in [_BOUNDS[name]]
    }
    return replace(mixed, **changes)
