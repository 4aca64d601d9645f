"""What a drawn face does: a few continuous facial parameters, and the seven emotions in them.

The parameters follow the action units of FACS (named in the comments), so an expression can be
blended, weakened, animated or combined with speech. Knows nothing of people or pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from nunbit.streams import Floats


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
    """Mean pose that goes with an expression, degrees (see ``geometry.Pose``)."""

    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


UPRIGHT = HeadTilt()
TILTS: dict[str, HeadTilt] = {
    "joy": HeadTilt(pitch=-2), "flustered": HeadTilt(roll=3), "anger": HeadTilt(pitch=3),
    "anxiety": HeadTilt(pitch=-2), "hurt": HeadTilt(pitch=9), "sadness": HeadTilt(pitch=4),
    "neutral": UPRIGHT,
}  # fmt: skip

_NAMES = tuple(f.name for f in fields(Expression))
_BOUNDS = {
    "brow_inner": (-1.2, 1.2), "brow_outer": (-1.2, 1.2), "brow_skew": (-1.2, 1.2),
    "eye_open": (0.0, 1.6), "gaze_x": (-1.1, 1.1), "gaze_y": (-1.1, 1.1),
    "smile": (-1.15, 1.15), "stretch": (-1.0, 1.2), "mouth_skew": (-1.2, 1.2),
}  # fmt: skip
# Parameters that waver from photo to photo; the others are either there or not.
_WAVERING = (
    "brow_inner", "brow_outer", "brow_skew", "eye_open", "gaze_x", "gaze_y", "smile", "stretch",
    "mouth_skew",
)  # fmt: skip


PARAMETERS = _NAMES
"""Names of the parameters, in the order of the columns of :func:`rows_of`."""


def rows_of(expressions: Sequence[Expression]) -> Floats:
    """Expressions as numbers: (N, parameters)."""
    return np.array([[getattr(e, name) for name in _NAMES] for e in expressions])


def within_bounds(rows: Floats) -> Floats:
    """Rows (N, parameters) clipped to what a face can do."""
    low, high = np.array([_BOUNDS.get(name, (0.0, 1.0)) for name in _NAMES]).T
    clipped: Floats = np.clip(rows, low, high)
    return clipped


def blend(parts: list[tuple[Expression, float]]) -> Expression:
    """Weighted sum of expressions, clipped to what a face can do.

    Args:
        parts: Expressions and weights; weights that sum to 1 give a mixture.
    """
    values = {}
    for name in _NAMES:
        total = sum(getattr(expression, name) * weight for expression, weight in parts)
        low, high = _BOUNDS.get(name, (0.0, 1.0))
        values[name] = min(max(total, low), high)
    return Expression(**values)


def expression_of(emotion: str, rng: np.random.Generator, intensity: float = 1.0) -> Expression:
    """One way of showing an emotion.

    Args:
        emotion: A key of ``EMOTIONS`` (the ids of label set ``aihub7``).
        rng: Source of the variation.
        intensity: 0 is neutral, 1 full; up to 1.2.
    """
    variants = EMOTIONS[emotion]
    chosen = variants[int(rng.integers(len(variants)))]
    mixed = blend([(NEUTRAL, 1.0 - intensity), (chosen, intensity)])
    noise = rng.normal(0.0, 0.09, len(_WAVERING))
    changes = {
        name: min(max(getattr(mixed, name) + float(delta), low), high)
        for name, delta in zip(_WAVERING, noise, strict=True)
        for low, high in [_BOUNDS[name]]
    }
    return dataclasses.replace(mixed, **changes)
