"""Draws a person with an expression in a pose: the figure, its mask and the face's box.

Hair, ears, neck, clothes and glasses surround the face. Reusable for stills and for video: the same
person, expression and pose give the same pixels. Knows nothing of backgrounds, cameras, labels or
files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nunbit.core.schema import Box
from nunbit.synth.actors import DrawnPerson, Expression, Rgb
from nunbit.synth.drawing import (
    Canvas,
    Points,
    Pose,
    Projector,
    Tint,
    ellipse,
    mirrored,
    mix,
    moved,
    point_rows,
    ribbon,
    shade,
    smooth,
)
from nunbit.synth.features import (
    Sketch,
    draw_brows,
    draw_drops,
    draw_eyes,
    draw_forehead,
    draw_mouth,
    draw_nose,
)

_LONG = {"long", "long_fringe"}
_FRINGES = {"long_fringe", "bob_fringe", "fringe"}
# Colour and width of the frames, face units.
_GLASSES: dict[str, tuple[Rgb, float]] = {
    "round": ((70, 52, 44), 0.02), "square": ((30, 30, 34), 0.026), "thin": ((150, 140, 120), 0.011)
}  # fmt: skip


def draw_body(canvas: Canvas, project: Projector, person: DrawnPerson, skin: Rgb) -> None:
    """Shoulders with a collar, and the neck; they follow the head's place, not its turn."""
    wide = 1.55 if person.gender == "f" else 1.85
    top = person.chin + 0.27
    half = point_rows(
        (-wide - 0.35, 4.2), (-wide - 0.15, top + 0.85), (-wide + 0.25, top + 0.38),
        (-0.75, top + 0.16), (-0.42, top - 0.02), (0.0, top + 0.05),
    )  # fmt: skip
    neck_width = 0.40 if person.gender == "f" else 0.50
    neck = point_rows((-neck_width - 0.22, top + 0.22), (-neck_width, top - 0.05),
                  (-neck_width + 0.02, 0.6), (0.0, 0.6))  # fmt: skip
    throat = project.flat(mirrored(point_rows((-neck_width - 0.3, 0.9), (-0.5, person.chin + 0.1),
                                          (0.0, person.chin + 0.2))), -0.05)  # fmt: skip
    shadow = Tint([(throat, 0.75)], shade(skin, 0.66), 0.05 * project.unit)
    canvas.shaded(project.flat(mirrored(neck), -0.05), shade(skin, 0.93), [shadow])
    body = np.concatenate([smooth(mirrored(half), 4), point_rows((3, 4.2), (-3, 4.2))])
    canvas.fill(project.flat(body), person.clothes)
    _draw_collar(canvas, project, person, skin, top)


def _draw_collar(
    canvas: Canvas, project: Projector, person: DrawnPerson, skin: Rgb, top: float
) -> None:
    color, dark = person.clothes, shade(person.clothes, 0.78)
    if person.collar == "v":
        opening = mirrored(point_rows((-0.5, top - 0.12), (-0.3, top + 0.35), (0.0, top + 0.75)))
        canvas.ink(project.flat(opening), shade(skin, 0.95))
        for side in (-1, 1):
            edge = point_rows((side * 0.58, top), (side * 0.3, top + 0.37), (0.0, top + 0.78))
            canvas.ink(ribbon(project.flat(edge), 0.035 * project.unit), dark)
    elif person.collar == "shirt":
        opening = mirrored(point_rows((-0.42, top - 0.02), (-0.2, top + 0.3), (0.0, top + 0.5)))
        canvas.ink(project.flat(opening), shade(skin, 0.93))
        for side in (-1, 1):
            flap = point_rows((side * 0.45, top - 0.12), (side * 0.72, top + 0.12),
                          (side * 0.42, top + 0.55), (0.0, top + 0.42))  # fmt: skip
            canvas.ink(project.flat(flap), mix(color, (255, 255, 255), 0.22))
            canvas.ink(ribbon(project.flat(flap), 0.014 * project.unit), dark)
    elif person.collar == "hood":
        for side in (-1, 1):
            fold = point_rows((side * 0.44, top - 0.16), (side * 0.85, top + 0.05),
                          (side * 0.55, top + 0.5), (side * 0.05, top + 0.62))  # fmt: skip
            canvas.ink(project.flat(smooth(fold, 5, closed=True)), mix(color, (0, 0, 0), 0.14))
    else:
        rim = smooth(
            mirrored(point_rows((-0.62, top - 0.04), (-0.4, top + 0.16), (0.0, top + 0.26))), 5
        )
        inside = np.concatenate([rim, point_rows((0.5, top - 0.1), (-0.5, top - 0.1))])
        canvas.ink(project.flat(inside), shade(skin, 0.93))
        canvas.ink(ribbon(project.flat(rim), 0.04 * project.unit), dark)


def draw_back_hair(canvas: Canvas, project: Projector, person: DrawnPerson) -> None:
    """Hair behind the head and neck."""
    v, w, color = person.volume, person.cheek, shade(person.hair, 0.78)
    crown = [(-w - 0.14 - 0.3 * v, -0.1), (-w - 0.1 - 0.3 * v, -0.65), (-0.62, -1.2 - 0.6 * v),
             (0.0, -1.36 - v)]  # fmt: skip
    if person.style in _LONG:
        half = point_rows((-0.35, 2.45), (-1.05, 2.4), (-1.2, 1.6), (-w - 0.18, 0.7), *crown)
    elif person.style in {"bob", "bob_fringe"}:
        half = point_rows((-0.3, 1.12), (-0.95, 1.2), (-1.16, 0.85), (-w - 0.2, 0.4), *crown)
    elif person.style == "perm":
        half = point_rows((-0.5, 0.7), (-1.05, 0.62), (-w - 0.32, 0.3), (-w - 0.36, -0.3),
                      (-w - 0.15, -0.95), (-0.55, -1.4 - v), (0.0, -1.5 - v))  # fmt: skip
    else:
        half = point_rows((-w + 0.05, 0.15), *crown)
    canvas.fill(project.flat(smooth(mirrored(half), 6), -0.25), color)
    if person.style == "tied":
        canvas.fill(project.flat(ellipse(0.0, -1.52 - v, 0.36, 0.32), -0.5), person.hair)


def draw_ears(sketch: Sketch) -> None:
    """Ears; long hair covers them later."""
    color = mix(sketch.skin, (214, 92, 84), 0.3 * sketch.expression.blush)
    for side in (-1, 1):
        x = side * (sketch.person.cheek + 0.03)
        sketch.canvas.fill(
            sketch.project.flat(ellipse(x, 0.14, 0.12, 0.24), -0.1), shade(color, 0.96)
        )
        sketch.canvas.ink(
            sketch.project.flat(ellipse(x + side * 0.02, 0.14, 0.06, 0.15), -0.1),
            shade(color, 0.82),
        )


def draw_front_hair(sketch: Sketch, *, sides: bool = True) -> None:
    """Hair on the forehead and crown, with strands and a sheen.

    Args:
        sketch: What to draw on.
        sides: Also draws the sides; without them the head may turn far.
    """
    person, project, canvas = sketch.person, sketch.project, sketch.canvas
    v, w = person.volume, person.cheek
    if person.style == "receding":
        v *= 0.5
    outer = smooth(mirrored(point_rows(
        (-w - 0.03, 0.12), (-w - 0.09 - 0.2 * v, -0.25), (-w - 0.02 - 0.4 * v, -0.72),
        (-0.6, -1.18 - 0.7 * v), (0.0, -1.34 - v),
    )), 6)  # fmt: skip
    line = smooth(_hairline(person), 5)
    # The silhouette lies at the skull's edge, the hairline on the forehead's surface.
    lay = project.surface if sides else project.temple
    rim, front = project.outline(outer), lay(line, 0.05)
    shape = np.concatenate([rim, front[::-1]])
    band = rim[len(rim) // 5 : -len(rim) // 5]
    forehead = np.stack([np.linspace(-0.5, 0.5, len(band)), np.full(len(band), -0.6)], axis=1)
    sheen = ribbon(0.62 * band + 0.38 * project.surface(forehead), 0.05 * project.unit)
    glow = mix(person.hair, (255, 245, 235), 0.45)
    canvas.shaded(shape, person.hair, [Tint([(sheen, 0.4)], glow, 0.05 * project.unit)])
    dark, light = shade(person.hair, 0.72), mix(person.hair, (255, 240, 225), 0.16)
    for k in np.linspace(0.08, 0.92, 13):
        a, b = rim[int(k * (len(rim) - 1))], front[int(k * (len(front) - 1))]
        middle = 0.5 * (a + b) + 0.1 * (a - b)[::-1] * (0.5 - k)
        strand = smooth(np.stack([a + 0.08 * (b - a), middle, b]), 4)
        width = 0.5 * np.sin(np.linspace(0.2, 3.0, len(strand))) * 0.02 * project.unit
        canvas.ink(ribbon(strand, width), dark if int(k * 100) % 2 else light)
    if sides:
        draw_sides(sketch)


def _hairline(person: DrawnPerson) -> Points:
    """The lower edge of the front hair from the image's left temple to the right one."""
    w = person.cheek
    temple = [(-w + 0.02, 0.14), (-w + 0.06, -0.2), (-0.78, -0.42)]
    if person.style in _FRINGES:
        teeth = [(-0.62, -0.44), (-0.5, -0.58), (-0.36, -0.47), (-0.22, -0.6), (-0.06, -0.48)]
        return np.concatenate(
            [point_rows(*temple, *teeth), point_rows(*temple, *teeth)[::-1] * (-1, 1)]
        )
    if person.style in {"parted", "bob", "crop"}:
        high = -0.74 if person.style != "crop" else -0.7
        sweep = [(-0.62, -0.6), (-0.42, high), (-0.3, high - 0.1)]
        other = [(0.1, -0.74), (0.45, -0.6), (0.72, -0.42), (w - 0.05, -0.2), (w - 0.02, 0.14)]
        return point_rows(*temple, *sweep, *other)
    if person.style == "receding":
        return mirrored(point_rows((-w + 0.02, 0.1), (-w + 0.05, -0.3), (-0.74, -0.66),
                               (-0.55, -0.98), (-0.3, -0.93), (0.0, -0.9)))  # fmt: skip
    if person.style in {"perm", "perm_short"}:
        curl = [(-0.66, -0.58), (-0.52, -0.52), (-0.4, -0.66), (-0.22, -0.58), (-0.1, -0.7),
                (0.0, -0.64)]  # fmt: skip
        return mirrored(point_rows(*temple, *curl))
    return mirrored(point_rows(*temple, (-0.6, -0.66), (-0.35, -0.8), (0.0, -0.84)))


def draw_sides(sketch: Sketch, *, behind: bool = False) -> None:
    """Locks in front of the ears of long hair and bobs; curls of a perm.

    Args:
        sketch: What to draw on.
        behind: Hangs them beside the skull instead of in front of the cheeks; to be called before
            the skin is drawn. Locks in front would cover the far eye of a head that turns away.
    """
    person, project, canvas = sketch.person, sketch.project, sketch.canvas
    w = person.cheek

    def place(path: Points) -> Points:
        return project.flat(path, -0.2) if behind else project.outline(path)

    if person.style in _LONG | {"bob", "bob_fringe"}:
        end = 2.2 if person.style in _LONG else 1.08
        for side in (-1, 1):
            lock = point_rows(
                (side * (w - 0.16), -0.5), (side * (w - 0.07), 0.1), (side * (w - 0.04), 0.6),
                (side * (w - 0.1), end), (side * (w + 0.22), end - 0.05), (side * (w + 0.2), 0.6),
                (side * (w + 0.13), -0.2), (side * (w - 0.02), -0.7),
            )  # fmt: skip
            canvas.fill(place(smooth(lock, 5, closed=True)), person.hair)
            strand = place(smooth(moved(lock[1:4], side * 0.1, 0.0), 5))
            canvas.ink(ribbon(strand, 0.012 * project.unit), shade(person.hair, 0.72))
    elif person.style in {"perm", "perm_short"}:
        spread = 0.24 if person.style == "perm" else 0.12
        for k, angle in enumerate(np.linspace(np.pi * 1.02, np.pi * 1.98, 11)):
            x = (w + 0.02 + spread * 0.4) * np.cos(angle)
            y = -0.15 + (1.02 + person.volume + spread * 0.3) * np.sin(angle)
            curl = ellipse(float(x), float(y), 0.2 + 0.3 * spread, 0.19 + 0.3 * spread, 18)
            canvas.fill(
                project.flat(curl, -0.2 if behind else 0.1),
                shade(person.hair, 0.9 if k % 2 else 1.08),
            )


def draw_glasses(sketch: Sketch) -> None:
    """Frames over the eyes, bridge and temples."""
    person, project = sketch.person, sketch.project
    if person.glasses is None:
        return
    color, width = _GLASSES[person.glasses]
    for side in (-1, 1):
        x = side * (person.eye_distance + 0.005)
        if person.glasses == "round":
            rim = ellipse(x, 0.04, 0.31, 0.29, 36)
        else:
            corners = point_rows(
                (x - 0.3, -0.17), (x + 0.3, -0.17), (x + 0.28, 0.22), (x - 0.28, 0.22)
            )
            rim = smooth(np.concatenate([corners, corners])[:4], 7, closed=True)
        sketch.canvas.ink(
            ribbon(project.visor(np.concatenate([rim, rim[:2]]), 0.12), width * project.unit), color
        )
        arm = point_rows((x + side * 0.3, -0.04), (side * (person.cheek - 0.02), -0.02))
        sketch.canvas.ink(ribbon(project.visor(arm, 0.06), width * project.unit), color)
    inner = person.eye_distance - 0.3
    bridge = smooth(point_rows((-inner, 0.0), (0.0, -0.05), (inner, 0.0)), 5)
    sketch.canvas.ink(ribbon(project.visor(bridge, 0.16), width * project.unit), color)


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
    person: DrawnPerson,
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


def face_box(person: DrawnPerson, expression: Expression, pose: Pose) -> Box:
    """The face's box without drawing it: hairline to chin, cheek to cheek."""
    outline = head_outline(person, expression)
    outline = outline[outline[:, 1] > -0.72]
    pixels = Projector(pose).outline(outline)
    x0, y0 = pixels.min(axis=0)
    x1, y1 = pixels.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def head_outline(person: DrawnPerson, expression: Expression) -> Points:
    """Silhouette of the head in face units; an open mouth drops the chin."""
    drop = 0.13 * expression.mouth_open
    chin, jaw, cheek = person.chin + drop, person.jaw, person.cheek
    half = point_rows(
        (0.0, chin), (-person.chin_width, chin - 0.03), (-0.5 * (jaw + 0.22), chin - 0.17),
        (-jaw, 0.72 + 0.6 * drop), (-cheek + 0.02, 0.32), (-cheek, -0.05), (-cheek + 0.02, -0.45),
        (-0.72, -0.92), (-0.4, -1.15), (0.0, -1.22),
    )  # fmt: skip
    return smooth(mirrored(half)[:-1], 6, closed=True)


def _draw_skin(sketch: Sketch) -> None:
    """The head's shape with its soft shading, flush, stubble and mole."""
    person = sketch.person
    edge = sketch.project.outline(head_outline(person, sketch.expression))
    tints = [_shadows(sketch, edge), _lights(sketch), _flush(sketch)]
    if person.stubble > 0.1:
        tints.append(_stubble(sketch))
    sketch.canvas.shaded(edge, sketch.skin, tints)
    if person.mole is not None:
        sketch.ink(ellipse(*person.mole, 0.022, 0.022, 12), shade(sketch.skin, 0.45))


def _shadows(sketch: Sketch, edge: Points) -> Tint:
    person, surface, unit = sketch.person, sketch.project.surface, sketch.project.unit
    tip, chin = person.nose_length, person.chin + 0.13 * sketch.expression.mouth_open
    bridge = point_rows((0.05, -0.12), (0.1, 0.2), (0.15 * person.nose_width, tip - 0.03),
                    (0.06, tip), (0.04, 0.1))  # fmt: skip
    parts = [(ribbon(edge, 0.07 * unit), 0.5)]
    for side in (-1, 1):  # sockets and cheeks
        parts += [
            (surface(ellipse(side * 0.34, -0.06, 0.26, 0.13)), 0.22 + 0.12 * person.wrinkles),
            (surface(ellipse(side * 0.78, 0.62, 0.16, 0.3)), 0.28),
        ]
    parts += [
        (surface(bridge, 0.08), 0.4),
        (surface(ellipse(0.0, tip + 0.07, 0.17, 0.05), 0.05), 0.5),
        (surface(ellipse(0.0, chin - 0.27, 0.17, 0.045)), 0.35),
    ]
    return Tint(parts, shade(sketch.skin, 0.72), 0.055 * unit)


def _lights(sketch: Sketch) -> Tint:
    person, surface = sketch.person, sketch.project.surface
    tip, chin = person.nose_length, person.chin + 0.13 * sketch.expression.mouth_open
    parts = [
        (surface(ellipse(0.0, -0.5, 0.36, 0.16)), 0.3),
        (surface(ellipse(-0.015, tip - 0.1, 0.05, 0.11), 0.1), 0.5),
        (surface(ellipse(0.0, chin - 0.13, 0.13, 0.07)), 0.3),
        *((surface(ellipse(side * 0.52, 0.28, 0.18, 0.1)), 0.3) for side in (-1, 1)),
    ]
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
        lids = (surface(ellipse(side * 0.42, 0.07, 0.2, 0.06)) for side in (-1, 1))
        parts += [(lid, 0.35 * e.tear) for lid in lids]
    return Tint(parts, (226, 86, 84), 0.07 * sketch.project.unit)


def _stubble(sketch: Sketch) -> Tint:
    person = sketch.person
    outline = head_outline(person, sketch.expression)
    beard = outline[outline[:, 1] > 0.6]
    beard = beard[np.argsort(beard[:, 0])]
    band = np.concatenate([beard, point_rows((0.4, 0.66), (0.0, 0.6), (-0.4, 0.66))])
    parts = [(sketch.project.surface(band), 0.45 * person.stubble)]
    return Tint(parts, mix(sketch.skin, (70, 72, 80), 0.7), 0.06 * sketch.project.unit)
