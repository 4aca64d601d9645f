"""Draws a person with an expression in a pose: the figure, its mask and the face's box.

Reusable for stills and for video: the same person, expression and pose give the same pixels.
Knows nothing of backgrounds, cameras, labels or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nunbit.schema import Box
from nunbit.synth.canvas import Canvas, Tint, mix, shade
from nunbit.synth.expression import Expression
from nunbit.synth.features import (
    Sketch,
    draw_brows,
    draw_drops,
    draw_eyes,
    draw_forehead,
    draw_mouth,
    draw_nose,
)
from nunbit.synth.geometry import Points, Pose, Projector, ellipse, mirrored, points, ribbon, smooth
from nunbit.synth.hair import (
    draw_back_hair,
    draw_body,
    draw_ears,
    draw_front_hair,
    draw_glasses,
    draw_sides,
)
from nunbit.synth.people import Person


@dataclass(frozen=True, eq=False, slots=True)
class Figure:
    """A drawn person.

    Attributes:
        image: RGB, the size that was asked for.
        mask: L, 255 where the figure is.
        box_xyxy: The face from hairline to chin, pixels; may reach past the frame.
    """

    image: Image.Image
    mask: Image.Image
    box_xyxy: Box


def render_face(
    person: Person,
    expression: Expression,
    pose: Pose,
    size: tuple[int, int],
    *,
    zoom: int = 2,
    turning: bool = False,
) -> Figure:
    """Draw a person.

    Args:
        person: Who.
        expression: What the face does.
        pose: Where the head is and how it is turned, in pixels of ``size``.
        size: Width and height of the picture.
        zoom: Supersampling; 2 is smooth enough for photos, 1 for previews.
        turning: Draws depth and hair so that a head may turn far from the viewer; for video.
    """
    canvas = Canvas(*size, zoom)
    project = Projector(pose, zoom, relief=turning)
    # The neck stays with the trunk: it follows a third of the head's roll.
    trunk = Pose(pose.x, pose.y, pose.scale, roll_deg=pose.roll_deg / 3)
    skin = mix(person.skin, (222, 216, 206), 0.34 * expression.pale)
    skin = mix(skin, (226, 118, 100), 0.14 * expression.blush)
    sketch = Sketch(canvas, project, person, expression, skin, moving=turning)
    draw_back_hair(canvas, project, person)
    draw_body(canvas, Projector(trunk, zoom), person, skin)
    draw_ears(sketch)
    if turning:
        draw_sides(sketch, behind=True)
    _draw_skin(sketch)
    draw_forehead(sketch)
    draw_nose(sketch)
    draw_mouth(sketch)
    draw_eyes(sketch)
    draw_front_hair(sketch, sides=not turning)
    draw_brows(sketch)
    draw_glasses(sketch)
    draw_drops(sketch)
    image, mask = canvas.finish()
    return Figure(image, mask, face_box(person, expression, pose))


def face_box(person: Person, expression: Expression, pose: Pose) -> Box:
    """The face's box without drawing it: hairline to chin, cheek to cheek."""
    outline = head_outline(person, expression)
    outline = outline[outline[:, 1] > -0.72]
    pixels = Projector(pose).outline(outline)
    x0, y0 = pixels.min(axis=0)
    x1, y1 = pixels.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def head_outline(person: Person, expression: Expression) -> Points:
    """Silhouette of the head in face units; an open mouth drops the chin."""
    drop = 0.13 * expression.mouth_open
    chin, jaw, cheek = person.chin + drop, person.jaw, person.cheek
    return smooth(
        mirrored(
            points(
                (0.0, chin),
                (-person.chin_width, chin - 0.03),
                (-0.5 * (jaw + 0.22), chin - 0.17),
                (-jaw, 0.72 + 0.6 * drop),
                (-cheek + 0.02, 0.32),
                (-cheek, -0.05),
                (-cheek + 0.02, -0.45),
                (-0.72, -0.92),
                (-0.4, -1.15),
                (0.0, -1.22),
            )
        )[:-1],
        6,
        closed=True,
    )


def _draw_skin(sketch: Sketch) -> None:
    """The head's shape with its soft shading, flush, stubble and mole."""
    canvas, project, person = sketch.canvas, sketch.project, sketch.person
    edge = project.outline(head_outline(person, sketch.expression))
    tints = [_shadows(sketch, edge), _lights(sketch), _flush(sketch)]
    if person.stubble > 0.1:
        tints.append(_stubble(sketch))
    canvas.shaded(edge, sketch.skin, tints)
    if person.mole is not None:
        spot = ellipse(*person.mole, 0.022, 0.022, 12)
        canvas.ink(project.surface(spot), shade(sketch.skin, 0.45))


def _shadows(sketch: Sketch, edge: Points) -> Tint:
    person, surface, unit = sketch.person, sketch.project.surface, sketch.project.unit
    tip, chin = person.nose_length, person.chin + 0.13 * sketch.expression.mouth_open
    bridge = points((0.05, -0.12), (0.1, 0.2), (0.15 * person.nose_width, tip - 0.03),
                    (0.06, tip), (0.04, 0.1))  # fmt: skip
    parts: list[tuple[Points, float]] = [(ribbon(edge, 0.07 * unit), 0.5)]
    for side in (-1, 1):
        socket, hollow = (
            ellipse(side * 0.34, -0.06, 0.26, 0.13),
            ellipse(side * 0.78, 0.62, 0.16, 0.3),
        )
        parts.append((surface(socket), 0.22 + 0.12 * person.wrinkles))
        parts.append((surface(hollow), 0.28))
    parts.append((surface(bridge, 0.08), 0.4))
    parts.append((surface(ellipse(0.0, tip + 0.07, 0.17, 0.05), 0.05), 0.5))
    parts.append((surface(ellipse(0.0, chin - 0.27, 0.17, 0.045)), 0.35))
    return Tint(parts, shade(sketch.skin, 0.72), 0.055 * unit)


def _lights(sketch: Sketch) -> Tint:
    person, surface = sketch.person, sketch.project.surface
    tip, chin = person.nose_length, person.chin + 0.13 * sketch.expression.mouth_open
    parts = [
        (surface(ellipse(0.0, -0.5, 0.36, 0.16)), 0.3),
        (surface(ellipse(-0.015, tip - 0.1, 0.05, 0.11), 0.1), 0.5),
        (surface(ellipse(0.0, chin - 0.13, 0.13, 0.07)), 0.3),
    ]
    parts += [(surface(ellipse(side * 0.52, 0.28, 0.18, 0.1)), 0.3) for side in (-1, 1)]
    return Tint(parts, mix(sketch.skin, (255, 250, 240), 0.6), 0.07 * sketch.project.unit)


def _flush(sketch: Sketch) -> Tint:
    e, surface = sketch.expression, sketch.project.surface
    rosy = 0.10 if sketch.person.gender == "f" else 0.04
    strength = rosy * (1 - e.pale) + 0.48 * e.blush
    parts = [(surface(ellipse(side * 0.56, 0.36, 0.24, 0.15)), strength) for side in (-1, 1)]
    if e.blush > 0.6:
        parts.append((surface(ellipse(0.0, 0.3, 0.14, 0.1), 0.05), 0.3 * e.blush))
    if e.tear > 0.3:  # crying reddens the nose and the lids
        nose = ellipse(0.0, sketch.person.nose_length, 0.12, 0.08)
        parts.append((surface(nose, 0.1), 0.45 * e.tear))
        lids = [ellipse(side * 0.42, 0.07, 0.2, 0.06) for side in (-1, 1)]
        parts += [(surface(lid), 0.35 * e.tear) for lid in lids]
    return Tint(parts, (226, 86, 84), 0.07 * sketch.project.unit)


def _stubble(sketch: Sketch) -> Tint:
    person = sketch.person
    outline = head_outline(person, sketch.expression)
    beard = outline[outline[:, 1] > 0.6]
    beard = beard[np.argsort(beard[:, 0])]
    band = np.concatenate([beard, points((0.4, 0.66), (0.0, 0.6), (-0.4, 0.66))])
    return Tint(
        [(sketch.project.surface(band), 0.45 * person.stubble)],
        mix(sketch.skin, (70, 72, 80), 0.7),
        0.06 * sketch.project.unit,
    )
