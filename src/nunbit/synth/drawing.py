"""Curves in face coordinates, their projection to pixels, and the picture they are drawn in.

Face coordinates: the origin lies between the eyes, x points to the image's right, y down, z to the
viewer; the unit is about half a face's width (the chin is near y = 1.3, the crown near y = -1.3).
Everything a face is drawn from passes through ``Projector``, so one pose turns the whole head. The
picture is supersampled and has a coverage mask: hard shapes, and soft shading from a small layer.
Knows nothing of expressions or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from nunbit.synth.actors import Rgb

Points = NDArray[np.float64]
"""(N, 2): x, y."""

_PIVOT_Y = 0.25  # the head turns about the middle of the skull, not about the eyes
_PERSPECTIVE = 0.07
# Rows and what lies above the ellipsoid there: the ridge of the nose, and the middle of the face.
# With these, nose tip, lips, chin and forehead stand out from the outer corners of the eyes as in
# MediaPipe's canonical face (0.50, 0.34, 0.18 and 0.16 of the distance of those corners).
_NOSE = ((-0.3, -0.1, 0.03, 0.5, 0.58, 0.66, 0.72), (0.0, 0.15, 0.2, 0.38, 0.32, 0.08, 0.0))
_MIDDLE = (
    (-1.0, -0.7, -0.35, -0.1, 0.3, 0.6, 0.8, 1.0, 1.25),
    (0.15, 0.2, 0.1, 0.0, 0.0, 0.15, 0.3, 0.27, 0.26),
)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head is in the picture and how it is turned.

    Attributes:
        x: Column of the point between the eyes when the head is not turned, pixels.
        y: Row of that point, pixels.
        scale: Pixels per face unit; a face is about 1.9 units wide.
        roll_deg: Clockwise tilt as the viewer sees it.
        yaw_deg: Turn towards the image's right.
        pitch_deg: Nod downwards.
    """

    x: float
    y: float
    scale: float
    roll_deg: float = 0.0
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0


class Projector:
    """Turns face coordinates into pixels for one pose.

    Args:
        pose: The pose, in pixels of the final picture.
        zoom: Factor of supersampling.
        shift: Pixels of the final picture that the canvas starts at (left, top).
        relief: Gives nose, lips, chin and forehead the depth of a real head, so that a model of
            faces sees the turn that was asked for; without it the face is a smooth ellipsoid.
    """

    def __init__(
        self,
        pose: Pose,
        zoom: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
        *,
        relief: bool = False,
    ) -> None:
        self._relief = relief
        self.unit = pose.scale * zoom
        yaw, pitch, roll = (math.radians(a) for a in (pose.yaw_deg, pose.pitch_deg, pose.roll_deg))
        self._yaw, self._pitch = (math.cos(yaw), math.sin(yaw)), (math.cos(pitch), math.sin(pitch))
        self._roll = (math.cos(roll), math.sin(roll))
        self._origin = ((pose.x - shift[0]) * zoom, (pose.y - shift[1]) * zoom)

    def surface(self, points: Points, lift: float = 0.0) -> Points:
        """Project points that lie on the front of the head, ``lift`` units above the skin."""
        x, y = points[:, 0], points[:, 1]
        return self.project(x, y, self._depth(x, y) + lift)

    def visor(self, points: Points, lift: float = 0.0) -> Points:
        """Like ``surface`` without relief: glasses do not follow the nose."""
        x, y = points[:, 0], points[:, 1]
        return self.project(x, y, _ellipsoid(x, y) + lift)

    def temple(self, points: Points, lift: float = 0.0) -> Points:
        """Like ``surface``, but what lies at the skull's edge stays inside the outline.

        On the side that turns away, points of the surface would pass the silhouette and hang free.
        """
        x, y = points[:, 0], points[:, 1]
        z = self._depth(x, y) + lift
        away = np.clip(np.sign(x) * self._yaw[1] / 0.12, 0.0, 1.0)
        edge = away * np.clip((np.abs(x) - 0.5) / 0.35, 0.0, 1.0)
        x = x * (1.0 + edge * (self._yaw[0] ** -0.8 - 1.0))
        return self.project(x, y, z + edge * (0.12 - z))

    def _depth(self, x: Points, y: Points) -> Points:
        depth = _ellipsoid(x, y)
        if self._relief:
            depth = depth + np.interp(y, *_NOSE) * np.exp(-((x / 0.15) ** 2))
            depth += np.interp(y, *_MIDDLE) * np.exp(-((x / 0.55) ** 2))
        return depth

    def outline(self, points: Points) -> Points:
        """Project points of the silhouette; the chin lies further forward than the temples."""
        x, y = points[:, 0], points[:, 1]
        # A skull is about as deep as wide: a turned head does not get narrower, so undo cos(yaw).
        return self.project(x / self._yaw[0] ** 0.8, y, 0.12 + 0.3 * np.clip(y, 0.0, 1.4))

    def flat(self, points: Points, z: float = 0.0) -> Points:
        """Project points of a plane at depth ``z`` (hair behind the head has z < 0)."""
        return self.project(points[:, 0], points[:, 1], np.full(len(points), z))

    def project(self, x: Points, y: Points, z: Points) -> Points:
        """Rotate by yaw, pitch and roll about the middle of the skull and scale to pixels."""
        y = y - _PIVOT_Y
        (cy, sy), (cp, sp), (cr, sr) = self._yaw, self._pitch, self._roll
        x, z = x * cy + z * sy, z * cy - x * sy
        y, z = y * cp + z * sp, z * cp - y * sp
        near = 1.0 / (1.0 - _PERSPECTIVE * (z - 0.8))
        x, y = x * near, y * near
        column = self._origin[0] + self.unit * (x * cr - y * sr)
        row = self._origin[1] + self.unit * (x * sr + y * cr + _PIVOT_Y)
        pixels = np.empty((len(column), 2))
        pixels[:, 0], pixels[:, 1] = column, row
        return pixels


def _ellipsoid(x: Points, y: Points) -> Points:
    inside = 1.0 - (x / 1.12) ** 2 - ((y - 0.2) / 1.6) ** 2
    return np.asarray(0.85 * np.sqrt(np.maximum(inside, 0.0)))


def rotation_of(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Points:
    """The head's rotation, camera from head, as ``streams.FaceTrack.rotation`` has it.

    Axes: x to the image's right, y down, z away from the viewer; the same order of turns as
    ``Projector``: yaw first, then pitch, then roll.

    Returns:
        (3, 3)
    """
    yaw, pitch, roll = (math.radians(a) for a in (yaw_deg, pitch_deg, roll_deg))
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (yaw, pitch, roll))
    # Projector's z points to the viewer, hence the signs of the sines in the third row and column.
    about_y = np.array([[cy, 0.0, -sy], [0.0, 1.0, 0.0], [sy, 0.0, cy]])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
    about_z = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(about_z @ about_x @ about_y)


def point_rows(*pairs: tuple[float, float]) -> Points:
    """An (N, 2) array from pairs."""
    return np.array(pairs, dtype=np.float64)


def moved(path: Points, dx: float, dy: float) -> Points:
    """The path, shifted."""
    return np.asarray(path + np.array([dx, dy]))


def mirrored(half: Points) -> Points:
    """Continue a path that ends on the middle line with its mirror image in x."""
    other = half[::-1] * (-1.0, 1.0)
    return np.concatenate([half, other[1:] if abs(half[-1, 0]) < 1e-9 else other])


def smooth(path: Points, steps: int = 6, *, closed: bool = False) -> Points:
    """Catmull-Rom curve through the points, ``steps`` samples a piece."""
    if closed:
        ring = np.concatenate([path[-1:], path, path[:2]])
    else:
        ring = np.concatenate([2 * path[:1] - path[1:2], path, 2 * path[-1:] - path[-2:-1]])
    t, square, cube = _powers(steps)
    a, b, c, d = (ring[k : len(ring) - 3 + k, None, :] for k in range(4))
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * square + (3 * b - a - 3 * c + d) * cube
    )
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, path[-1:]])


def ribbon(path: Points, half_width: Points | float) -> Points:
    """Outline of a stroke along pixels ``path`` whose half width may vary along it."""
    tangent = np.empty_like(path)  # as np.gradient, whose checks cost more than its sums
    tangent[1:-1] = (path[2:] - path[:-2]) / 2.0
    tangent[0], tangent[-1] = path[1] - path[0], path[-1] - path[-2]
    length = np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)
    offset = np.empty_like(path)
    offset[:, 0], offset[:, 1] = -tangent[:, 1] / length, tangent[:, 0] / length
    offset *= half_width[:, None] if isinstance(half_width, np.ndarray) else half_width
    return np.concatenate([path + offset, (path - offset)[::-1]])


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 28) -> Points:
    """Points of an ellipse."""
    cosine, sine = _circle(count)
    path = np.empty((count, 2))
    path[:, 0], path[:, 1] = x + rx * cosine, y + ry * sine
    return path


@cache
def _circle(count: int) -> tuple[Points, Points]:
    angle = np.linspace(0.0, 2 * math.pi, count, endpoint=False)
    return np.cos(angle), np.sin(angle)


@cache
def _powers(steps: int) -> tuple[Points, Points, Points]:
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    return t, t**2, t**3


_SMALL = 4  # soft shading needs no detail: a sixteenth of the pixels costs a tenth of the time


@dataclass(frozen=True, eq=False, slots=True)
class Tint:
    """A blurred color over parts of a shape.

    Attributes:
        parts: Polygons in canvas pixels with their opacity, 0 to 1; later ones replace earlier.
        color: The color.
        blur: Radius in canvas pixels.
    """

    parts: list[tuple[Points, float]]
    color: Rgb
    blur: float


class Canvas:
    """What a figure is drawn on.

    Args:
        width: Columns of the final picture.
        height: Rows of the final picture.
        zoom: Factor of supersampling.
    """

    def __init__(self, width: int, height: int, zoom: int) -> None:
        self.zoom = zoom
        self.image = Image.new("RGB", (width * zoom, height * zoom))
        self.mask = Image.new("L", self.image.size)
        self._draw = ImageDraw.Draw(self.image)
        self._cover = ImageDraw.Draw(self.mask)

    def fill(self, shape: Points, color: Rgb) -> None:
        """Draw a shape that belongs to the figure's outline."""
        flat = _flat(shape)
        self._draw.polygon(flat, fill=color)
        self._cover.polygon(flat, fill=255)

    def ink(self, shape: Points, color: Rgb) -> None:
        """Draw a shape inside the figure; it covers no background."""
        self._draw.polygon(_flat(shape), fill=color)

    def patch(self, clip: Points, shapes: list[tuple[Points, Rgb]]) -> None:
        """Draw shapes that show only inside ``clip`` (an iris behind its lids)."""
        left, top, right, bottom = self._bounds(clip)
        if right <= left or bottom <= top:
            return
        box, origin = (left, top, right, bottom), np.array([left, top])
        piece = self.image.crop(box)
        window = Image.new("L", piece.size)
        ImageDraw.Draw(window).polygon(_flat(clip - origin), fill=255)
        draw = ImageDraw.Draw(piece)
        for shape, color in shapes:
            draw.polygon(_flat(shape - origin), fill=color)
        self.image.paste(piece, box, window)

    def shaded(self, shape: Points, color: Rgb, tints: list[Tint]) -> None:
        """Draw a shape filled with a color that soft tints vary.

        The tints are painted on a small layer and enlarged once: that is the costly step.
        """
        self._cover.polygon(_flat(shape), fill=255)
        left, top, right, bottom = self._bounds(shape)
        if right <= left or bottom <= top:
            return
        wide, tall = right - left, bottom - top
        size = (-(-wide // _SMALL), -(-tall // _SMALL))
        origin = np.array([left, top])
        layer = Image.new("RGB", size, color)
        for tint in tints:
            veil = Image.new("L", size)
            draw = ImageDraw.Draw(veil)
            for part, opacity in tint.parts:
                draw.polygon(_flat((part - origin) / _SMALL), fill=round(255 * min(opacity, 1.0)))
            veil = veil.filter(ImageFilter.GaussianBlur(max(tint.blur / _SMALL, 0.4)))
            layer.paste(tint.color, (0, 0), veil)
        window = Image.new("L", (wide, tall))
        ImageDraw.Draw(window).polygon(_flat(shape - origin), fill=255)
        enlarged = layer.resize(
            (wide, tall),
            Image.Resampling.BILINEAR,
            box=(0, 0, wide / _SMALL, tall / _SMALL),
        )
        self.image.paste(enlarged, (left, top), window)

    def finish(self) -> tuple[Image.Image, Image.Image]:
        """Average the supersampled pixels: the picture and its mask at the final size."""
        return self.image.reduce(self.zoom), self.mask.reduce(self.zoom)

    def _bounds(self, shape: Points) -> tuple[int, int, int, int]:
        low, high = np.floor(shape.min(axis=0)), np.ceil(shape.max(axis=0)) + 1
        width, height = self.image.size
        return (
            max(0, int(low[0])),
            max(0, int(low[1])),
            min(width, int(high[0])),
            min(height, int(high[1])),
        )


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """``share`` of color ``b`` in color ``a``."""
    r, g, bl = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, bl


def shade(color: Rgb, factor: float) -> Rgb:
    """A darker (factor < 1) or lighter tone of a color."""
    r, g, b = (min(255, round(c * factor)) for c in color)
    return r, g, b


def _flat(shape: Points) -> list[float]:
    return list(shape.ravel().tolist())
