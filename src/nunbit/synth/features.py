"""Eyes, brows, nose, mouth, and the marks a feeling leaves: blush, sweat, tears, creases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nunbit.synth.actors import DrawnPerson, Expression, Rgb
from nunbit.synth.drawing import (
    Canvas,
    Points,
    Projector,
    ellipse,
    mix,
    moved,
    point_rows,
    ribbon,
    shade,
    smooth,
)

_INK: Rgb = (38, 28, 28)
_WHITE: Rgb = (246, 244, 242)
_WATER: Rgb = (206, 232, 250)


@dataclass(frozen=True, slots=True)
class Sketch:
    """Everything that a feature needs to draw itself.

    Attributes:
        canvas: Where to draw.
        project: Face coordinates to canvas pixels.
        person: Who.
        expression: What the face does.
        skin: The person's skin with the expression's flush or pallor.
        moving: A frame of a video: an opening and closing mouth must be told from its lips.
    """

    canvas: Canvas
    project: Projector
    person: DrawnPerson
    expression: Expression
    skin: Rgb
    moving: bool = False

    def stroke(self, path: Points, width: float, color: Rgb, *, taper: float = 1.0) -> None:
        """A line on the skin; ``width`` in face units, thinning to ``1 - taper`` at the ends."""
        along = np.linspace(-1.0, 1.0, len(path))
        self.line(path, 0.5 * width * self.project.unit * (1.0 - taper * along**2), color)

    def line(self, path: Points, half_width: Points | float, color: Rgb, lift: float = 0.0) -> None:
        """A line ``lift`` face units above the skin; ``half_width`` in canvas pixels."""
        self.canvas.ink(ribbon(self.project.surface(path, lift), half_width), color)

    def ink(self, shape: Points, color: Rgb, lift: float = 0.0) -> None:
        """A filled shape ``lift`` face units above the skin."""
        self.canvas.ink(self.project.surface(shape, lift), color)


def _between(upper: Points, lower: Points) -> Points:
    return np.concatenate([upper, lower[::-1]])


def _lowered(path: Points, by: Points) -> Points:
    return path + np.stack([np.zeros(len(path)), by], axis=1)


# --- eyes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EyeShape:
    """One eye's curves in face units, from the inner to the outer corner."""

    side: int
    middle: float
    half_width: float
    upper: Points
    lower: Points


def eye_shape(person: DrawnPerson, expression: Expression, side: int) -> EyeShape:
    """Curves of the eye on the image's left (side -1) or right (side 1)."""
    e, size = expression, person.eye_size
    half = 0.2 * size**0.6
    t = np.linspace(-1.0, 1.0, 17)
    arch = np.maximum(1.0 - np.abs(t) ** 2.3, 0.0)
    upper = (0.115 * size * e.eye_open) * arch * (1.0 + 0.12 * t * (1.0 - arch))
    upper -= e.lid_droop * 0.045 * (0.4 + 0.6 * t) * np.minimum(e.eye_open, 1.0) * np.sqrt(arch)
    lower = 0.062 * size * arch * min(1.0, 0.35 + 0.65 * e.eye_open) * (1.0 - e.squint * 1.35)
    # A closed eye lies on the lower lid's curve, or on its arch when the cheek pushes it up.
    if e.eye_open < 0.35:
        lift = 1.0 - e.eye_open / 0.35
        resting = arch * (0.055 if e.squint > 0.5 else -0.045)
        upper = upper * (1 - lift) + resting * lift
        lower = lower * (1 - lift) - resting * lift
    upper = np.maximum(upper, -lower)
    middle = side * person.eye_distance
    x = middle + side * t * half
    tilt = -0.028 * t * (person.eye_tilt - 0.9 * e.lid_droop)
    return EyeShape(
        side, middle, half, np.stack([x, tilt - upper], axis=1), np.stack([x, tilt + lower], axis=1)
    )


def draw_eyes(sketch: Sketch) -> None:
    """Both eyes: white, iris, lids, lashes, crease, standing tears."""
    for side in (-1, 1):
        shape = eye_shape(sketch.person, sketch.expression, side)
        gap = float((shape.lower - shape.upper)[:, 1].max())
        if gap > 0.015:
            _draw_eyeball(sketch, shape)
        _draw_lids(sketch, shape, gap)


def _draw_eyeball(sketch: Sketch, shape: EyeShape) -> None:
    e, person, project = sketch.expression, sketch.person, sketch.project
    contour = project.surface(_between(shape.upper, shape.lower))
    # Wide eyes show white around the iris: that is what makes fear readable.
    radius = 0.105 * person.eye_size**0.7 * (1.0 - 0.16 * max(0.0, e.eye_open - 1.1) / 0.4)
    x = shape.middle + e.gaze_x * 0.085
    y = -0.012 + e.gaze_y * (0.062 if e.gaze_y > 0 else 0.045)

    def disc(radius: float, dx: float = 0.0, dy: float = 0.0) -> Points:
        return project.surface(ellipse(x + dx, y + dy, radius, radius, 22))

    shadow = _between(moved(shape.upper, 0.0, -0.05), moved(shape.upper, 0.0, 0.028))
    white = mix(_WHITE, (236, 190, 184), 0.45 * max(e.tear, 0.3 * e.blush))
    shapes = [
        (contour, white),
        (project.surface(shadow), shade(white, 0.82)),
        (disc(radius), shade(person.iris, 0.62)),
        (disc(radius * 0.86), mix(person.iris, (150, 104, 70), 0.28)),
        (disc(radius * 0.5), (16, 12, 12)),
        (disc(radius * 0.26, -0.38 * radius, -0.42 * radius), (255, 255, 255)),
        (disc(radius * 0.13, 0.42 * radius, 0.4 * radius), (214, 214, 220)),
    ]
    if e.tear > 0.2:
        rim = moved(shape.lower, 0.0, 0.01)
        pool = moved(rim, 0.0, -min(e.tear, 0.6) * 0.05)
        shapes.append((project.surface(_between(rim, pool)), _WATER))
    sketch.canvas.patch(contour, shapes)


def _draw_lids(sketch: Sketch, shape: EyeShape, gap: float) -> None:
    e, person, skin = sketch.expression, sketch.person, sketch.skin
    woman = person.gender == "f"
    thick = (0.042 if woman else 0.032) * (1.0 if gap > 0.015 else 0.85)
    t = np.linspace(-1.0, 1.0, len(shape.upper))
    lash = shape.upper.copy()
    if woman:  # the lash line runs out beyond the outer corner
        tail = lash[-1] + np.array([[shape.side * 0.022, -0.012], [shape.side * 0.045, -0.03]])
        lash = np.concatenate([lash, tail if gap > 0.015 else moved(tail, 0.0, 0.03)])
        t = np.linspace(-1.0, 1.0, len(lash))
    half = 0.5 * thick * sketch.project.unit * np.clip(1.05 - 0.75 * np.abs(t) ** 3, 0.2, 1.0)
    sketch.line(lash, half, _INK)
    sketch.stroke(shape.lower[2:-1], 0.013, mix(skin, _INK, 0.42), taper=0.6)
    if person.double_lid and e.eye_open > 0.5:
        crease = moved(shape.upper[2:], 0.0, -0.035 - 0.012 * min(e.eye_open, 1.2))
        sketch.stroke(crease, 0.014, mix(skin, _INK, 0.38), taper=0.8)
    bag = 0.55 * person.wrinkles + 0.5 * e.squint + 0.25 * e.tear
    if bag > 0.15:
        x = shape.middle + shape.side * np.linspace(-0.8, 0.7, 9) * shape.half_width
        sag = 0.04 * (1 - np.linspace(-1, 1, 9) ** 2)
        fold = np.stack([x, shape.lower[:, 1].max() + 0.045 + sag], axis=1)
        sketch.stroke(fold, 0.013, mix(skin, shade(skin, 0.6), min(bag, 0.9)), taper=0.9)
    crow = max(person.wrinkles - 0.2, 0.0) + 0.45 * e.squint * (e.smile > 0.4)
    if crow > 0.15:
        for k in (-1, 0, 1):
            start = np.array([shape.middle + shape.side * (shape.half_width + 0.05), 0.02 * k])
            path = np.linspace(start, moved(start, shape.side * 0.1, 0.05 * k), 5)
            sketch.stroke(path, 0.011, mix(skin, shade(skin, 0.55), min(crow, 0.8)))


# --- brows and forehead ---------------------------------------------------------------------------


def draw_brows(sketch: Sketch) -> None:
    """Both brows, drawn over the hair so that a fringe hides nothing of them."""
    e, person = sketch.expression, sketch.person
    color = mix(mix(person.hair, _INK, 0.25), sketch.skin, 0.12)
    for side in (-1, 1):
        uneven = 0.10 * e.brow_skew * side
        inner = -0.285 - 0.135 * e.brow_inner - uneven + 0.05 * person.brow_slope
        outer = -0.285 - 0.10 * e.brow_outer - uneven - 0.05 * person.brow_slope
        middle = -0.345 - 0.055 * (e.brow_inner + e.brow_outer) - 1.15 * uneven
        start = 0.205 - 0.055 * e.furrow
        path = point_rows(
            (side * start, inner), (side * (start + 0.16), 0.6 * inner + 0.4 * middle - 0.005),
            (side * 0.5, middle), (side * 0.69, outer + 0.045),
        )  # fmt: skip
        path = smooth(path, 5)
        along = np.linspace(0.0, 1.0, len(path))
        thick = 0.036 * person.brow_weight * np.clip(1.15 - along**2.2, 0.16, 1.0)
        sketch.line(
            path, thick * (np.clip(0.55 + 3.0 * along, 0.0, 1.0) * sketch.project.unit), color
        )


def draw_forehead(sketch: Sketch) -> None:
    """Creases between drawn-together brows and the lines of a raised forehead."""
    e, skin = sketch.expression, sketch.skin
    if e.furrow > 0.25:
        tone = mix(skin, shade(skin, 0.5), 0.9 * e.furrow)
        top = -0.37 - 0.08 * e.brow_inner
        for side in (-1, 1):
            path = point_rows(
                (side * 0.085, top), (side * 0.06, top + 0.07), (side * 0.075, top + 0.15)
            )
            sketch.stroke(smooth(path, 4), 0.02, tone)
    raised = max(0.0, 0.5 * (e.brow_inner + e.brow_outer) - 0.25) + 0.45 * sketch.person.wrinkles
    if raised > 0.18:
        tone = mix(skin, shade(skin, 0.6), min(raised, 0.75))
        t = np.linspace(-1.0, 1.0, 11)
        for k, half in ((0, 0.4), (1, 0.33)):
            row = -0.56 - 0.09 * k + 0.02 * np.cos(3 * t) - 0.03 * e.brow_inner
            sketch.stroke(np.stack([half * t, row], axis=1), 0.014, tone, taper=0.95)


# --- nose -----------------------------------------------------------------------------------------


def draw_nose(sketch: Sketch) -> None:
    """Bridge line on the shaded side, wings and nostrils."""
    e, person, skin = sketch.expression, sketch.person, sketch.skin
    tip, line = person.nose_length, mix(skin, shade(skin, 0.45), 0.62)
    wide = 0.135 * person.nose_width * (1.0 + 0.16 * e.flare) * (1.0 + 0.08 * max(e.smile, 0.0))
    for side in (-1, 1):
        wing = point_rows(
            (side * (wide - 0.02), tip - 0.075), (side * (wide + 0.005), tip - 0.02),
            (side * (wide - 0.02), tip + 0.035), (side * (wide - 0.06), tip + 0.03),
        )  # fmt: skip
        sketch.stroke(smooth(wing, 4), 0.018, line, taper=0.7)
        hole = ellipse(side * 0.055 * person.nose_width, tip + 0.035, 0.03 + 0.01 * e.flare,
                       0.014 + 0.012 * e.flare, 14)  # fmt: skip
        sketch.ink(hole, shade(skin, 0.42), 0.1)
    base = point_rows((-0.05, tip + 0.05), (0.0, tip + 0.066), (0.05, tip + 0.05))
    sketch.line(smooth(base, 4), 0.008 * sketch.project.unit, line, 0.14)
    if e.flare > 0.4:
        tone = mix(skin, shade(skin, 0.6), 0.7 * e.flare)
        for side in (-1, 1):
            wrinkle = point_rows((side * 0.05, 0.1), (side * 0.09, 0.15), (side * 0.1, 0.21))
            sketch.stroke(smooth(wrinkle, 3), 0.014, tone)


# --- mouth ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MouthShape:
    """Curves of the mouth in face units, from the image's left corner to its right one."""

    outer_upper: Points
    outer_lower: Points
    inner_upper: Points
    inner_lower: Points


def mouth_shape(person: DrawnPerson, expression: Expression) -> MouthShape:
    """Where the lips are."""
    e, t = expression, np.linspace(-1.0, 1.0, 25)
    smile = e.smile + person.mouth_rest
    wide = person.mouth_width * (1.0 + 0.30 * e.stretch + 0.20 * max(smile, 0.0))
    wide *= 1.0 - 0.12 * e.mouth_open * (1.0 - max(smile, 0.0))
    arch = np.maximum(1.0 - t**2, 0.0)
    row = 0.785 - 0.05 * person.nose_width + 0.25 * (person.nose_length - 0.5)
    bend = 0.16 * smile if smile > 0 else 0.17 * smile
    middle = row + bend * (0.35 - t**2) - 0.075 * e.mouth_skew * t - 0.03 * e.mouth_skew * t**2
    middle = middle + 0.022 * e.tremble * np.sin(8.0 * t) * arch
    column = wide * t + 0.05 * e.mouth_skew
    inner_up = middle - 0.045 * e.mouth_open * arch**0.7
    inner_low = middle + 0.34 * e.mouth_open * arch ** (0.62 if smile > 0.3 else 0.5)
    full = person.lip_fullness * (1.0 - 0.72 * e.lip_press)
    full *= 1.0 - 0.25 * max(e.stretch, 0.0) - 0.12 * max(smile, 0.0)
    bow = 1.0 - 0.28 * np.exp(-((t / 0.16) ** 2)) + 0.12 * np.exp(-(((np.abs(t) - 0.3) / 0.2) ** 2))
    upper = inner_up - 0.062 * full * arch**0.75 * bow
    lower = inner_low + 0.092 * full * arch**0.7 + 0.012 * e.tremble * np.sin(14.0 * t) * arch
    return MouthShape(*(np.stack([column, y], axis=1) for y in (upper, lower, inner_up, inner_low)))


def draw_mouth(sketch: Sketch) -> None:
    """Lips, teeth, tongue, the line between closed lips, folds beside the mouth."""
    e, skin = sketch.expression, sketch.skin
    lips = mix(sketch.person.lips, skin, 0.2 * e.pale + 0.35 * e.lip_press)
    shape = mouth_shape(sketch.person, e)
    lower_lip = _between(shape.inner_lower, shape.outer_lower)
    sketch.ink(lower_lip, mix(lips, (255, 255, 255), 0.08), 0.03)
    sketch.ink(_between(shape.outer_upper, shape.inner_upper), shade(lips, 0.88), 0.03)
    if e.mouth_open > 0.05:
        _draw_opening(sketch, shape)
    line = mix(shade(lips, 0.42), _INK, 0.25)
    sketch.stroke(shape.inner_upper, (0.02 + 0.012 * e.lip_press) + 0.004, line, taper=0.45)
    if e.mouth_open > 0.05:
        sketch.stroke(shape.inner_lower, 0.012, line, taper=0.8)
    _draw_corners(sketch, shape)


def _draw_opening(sketch: Sketch, shape: MouthShape) -> None:
    e, surface, unit = sketch.expression, sketch.project.surface, sketch.project.unit
    upper, lower = shape.inner_upper, shape.inner_lower
    depth = lower[:, 1] - upper[:, 1]
    contour = surface(_between(upper, lower), 0.02)
    inside, tongue = ((44, 12, 16), 0.2) if sketch.moving else ((92, 28, 32), 0.42)
    shapes: list[tuple[Points, Rgb]] = [
        (contour, inside),
        (surface(_between(_lowered(lower, -tongue * depth), lower)), (190, 92, 92)),
    ]
    if sketch.moving and e.teeth <= 0.1:  # speech shows the edge of the upper teeth
        shapes.append((surface(_between(upper, _lowered(upper, 0.22 * depth))), (236, 230, 222)))
    elif e.teeth > 0.1:
        reach = np.minimum(depth, (0.05 + 0.06 * e.mouth_open) * e.teeth + 0.02)
        shapes.append((surface(_between(upper, _lowered(upper, reach))), (250, 248, 242)))
        if e.smile < 0.2:  # bared or clenched: both rows show, with the lines between the teeth
            row = _between(_lowered(lower, -0.4 * depth * e.teeth), lower)
            cuts = [np.linspace(upper[k], lower[k], 4) for k in range(5, 21, 3)]
            shapes.append((surface(row), (238, 234, 226)))
            shapes += [(ribbon(surface(cut), 0.005 * unit), (170, 150, 146)) for cut in cuts]
    sketch.canvas.patch(contour, shapes)


def _draw_corners(sketch: Sketch, shape: MouthShape) -> None:
    e, person, skin = sketch.expression, sketch.person, sketch.skin
    dark = shade(skin, 0.55)
    fold = 0.75 * max(e.smile, 0.0) + 0.6 * person.wrinkles + 0.5 * e.flare
    for side, corner in ((-1, shape.inner_upper[0]), (1, shape.inner_upper[-1])):
        if abs(e.smile) > 0.3 or e.stretch > 0.5:
            turn = -0.03 * np.sign(e.smile + 0.01)
            dimple = corner + point_rows(
                (side * 0.012, 0.02), (side * 0.035, 0.0), (side * 0.03, turn)
            )
            sketch.stroke(smooth(dimple, 4), 0.018, mix(skin, dark, 0.6))
        if fold > 0.25:
            nose = np.array([side * 0.17, person.nose_length - 0.02])
            end = moved(corner, side * 0.055, 0.05 if e.smile < 0.3 else 0.02)
            path = smooth(np.stack([nose, moved(0.5 * (nose + end), side * 0.045, 0.0), end]), 5)
            sketch.stroke(path, 0.018, mix(skin, dark, min(0.75 * fold, 0.7)))
    if e.tremble > 0.3:  # a dimpled chin
        chin = moved(shape.outer_lower[12], 0.0, 0.1)
        for dx, dy in ((-0.07, 0.0), (0.06, 0.01), (-0.01, 0.05), (0.03, -0.03), (-0.05, 0.06)):
            pit = chin + point_rows((dx - 0.02, dy), (dx, dy + 0.012), (dx + 0.02, dy))
            sketch.stroke(pit, 0.014, mix(skin, dark, 0.6 * e.tremble))


# --- what runs down a face ------------------------------------------------------------------------


def draw_drops(sketch: Sketch) -> None:
    """Tears on the cheeks and sweat on the temples."""
    e = sketch.expression
    if e.tear > 0.6:
        for side in (-1, 1):
            _draw_tear(sketch, side)
    elif e.tear > 0.2:
        x = (1 if e.gaze_x >= 0 else -1) * (sketch.person.eye_distance + 0.13)
        _draw_drop(sketch, x, 0.16, 0.075 * (0.6 + e.tear))
    if e.sweat > 0.3:
        _draw_drop(sketch, 0.7, -0.34, 0.07 * e.sweat + 0.02)
        if e.sweat > 0.75:
            _draw_drop(sketch, -0.66, -0.5, 0.06 * e.sweat)


def _draw_tear(sketch: Sketch, side: int) -> None:
    x = side * (sketch.person.eye_distance + 0.05)
    end = 0.35 + 0.4 * sketch.expression.tear
    path = smooth(point_rows((x, 0.07), (x + side * 0.03, 0.28), (x + side * 0.01, end)), 6)
    half = (0.018 + 0.026 * np.linspace(0.0, 1.0, len(path)) ** 2) * sketch.project.unit
    sketch.line(path, half * 1.35, mix(sketch.skin, (120, 150, 180), 0.55), 0.01)
    sketch.line(path, half, _WATER, 0.01)
    _draw_drop(sketch, float(path[-1, 0]), float(path[-1, 1]), 0.052)


def _draw_drop(sketch: Sketch, x: float, y: float, size: float) -> None:
    angle = np.linspace(0.0, 2 * math.pi, 22, endpoint=False)
    # A circle whose upper half is drawn out to a point.
    sine = np.sin(angle)
    rise, narrow = np.where(sine < 0, 1.9, 1.0), np.where(sine < 0, 1 + 0.55 * sine, 1)
    shape = np.stack([x + size * 0.62 * np.cos(angle) * narrow, y + size * rise * sine], axis=1)
    sketch.ink(shape, mix(sketch.skin, (96, 132, 170), 0.7), 0.02)
    sketch.ink(np.array([x, y]) + 0.74 * (shape - (x, y)), _WATER, 0.02)
    glint = ellipse(x - 0.2 * size, y + 0.1 * size, 0.14 * size, 0.24 * size, 10)
    sketch.ink(glint, (255, 255, 255), 0.02)
