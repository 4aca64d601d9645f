"""Crops changed at random in training: framing, light, cameras and files, and what covers faces.

What covers a face in daily life is drawn: masks, hands, glasses. Its places are shares of the side
in a crop framed as detectors frame faces: eyes at 0.40 of the height and 0.30 and 0.70 of the
width, the mouth at 0.77 (where FER2013's training images have them). It is drawn three times as
large and averaged, so that edges are as soft as a camera's. S = side.
"""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from nunbit.pictures.crops import PAD_RGB
from nunbit.training.settings import TrainSettings

Pixels = NDArray[np.uint8]

# Limits of the degradation, as shares of the side and as JPEG quality. More than 2 px of blur on a
# face of 48 px leaves nothing visible.
_BLUR = (0.005, 0.045)
_STRONG_BLUR = (0.02, 0.055)
_RESOLUTION = (0.35, 0.9)
_QUALITY = (20.0, 80.0)


def augment(
    crop: NDArray[np.uint8], settings: TrainSettings, draw: np.random.Generator
) -> NDArray[np.uint8]:
    """Mirror, turn, scale, shift, light, tint, degrade and cover a crop at random.

    Args:
        crop: (S, S, 3) uint8.
        settings: From ``flip`` to ``tint``.
        draw: The crop's own for this epoch.

    Returns:
        (S, S, 3) uint8.
    """
    flip, erase, area, aspect, left, top = draw.random(6)
    turn, size, dx, dy, light, contrast = draw.uniform(-1.0, 1.0, 6)
    happens, how, strength = draw.random(3)
    # Drawn last, so that what is drawn above is what it was before these were there.
    blurred, spread, covered = draw.random(3)
    side = crop.shape[0]
    if flip < settings.flip:
        crop = crop[:, ::-1]
    if covered < settings.occlude:
        crop = cover_face(crop, draw)
        if settings.grey:
            crop = np.asarray(Image.fromarray(crop).convert("L").convert("RGB"))
    if settings.rotate or settings.zoom or settings.shift:
        angle = math.radians(settings.rotate * turn)
        offset = (settings.shift * side * dx, settings.shift * side * dy)
        crop = _affine(crop, angle, 1.0 + settings.zoom * size, offset)
    if settings.brightness or settings.contrast:
        gain = 1.0 + settings.contrast * contrast
        level = np.arange(256, dtype=np.float32)
        middle = float(crop.mean())
        table = ((level - middle) * gain + middle) * (1.0 + settings.brightness * light)
        crop = np.clip(np.rint(table), 0, 255).astype(np.uint8)[crop]
    if settings.tint and not settings.grey:
        crop = _tinted(crop, settings.tint * draw.uniform(-1.0, 1.0, 4))
    if happens < settings.degrade:
        crop = _degrade(crop, how, strength)
    if blurred < settings.blur:
        crop = _blur(crop, side * (_STRONG_BLUR[0] + spread * (_STRONG_BLUR[1] - _STRONG_BLUR[0])))
    if erase < settings.erase:
        crop = _cover(crop, 0.02 + 0.18 * area, 0.5 + 1.5 * aspect, (left, top))
    return crop


def _affine(
    crop: NDArray[np.uint8], angle: float, scale: float, offset: tuple[float, float]
) -> NDArray[np.uint8]:
    """Turn and scale about the centre, then shift; what comes in from outside is grey."""
    height, width = crop.shape[:2]
    cx, cy = width / 2, height / 2  # Pillow puts pixel centres at halves
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    # Pillow wants the map from output to input pixels.
    x0, y0 = cx + offset[0], cy + offset[1]
    image = Image.fromarray(np.ascontiguousarray(crop)).transform(
        (width, height),
        Image.Transform.AFFINE,
        (cos, sin, cx - cos * x0 - sin * y0, -sin, cos, cy + sin * x0 - cos * y0),
        resample=Image.Resampling.BILINEAR,
        fillcolor=PAD_RGB,
    )
    return np.asarray(image)


def _degrade(crop: NDArray[np.uint8], how: float, strength: float) -> NDArray[np.uint8]:
    """Blur a crop, lower its resolution or compress it.

    Args:
        crop: (S, S, 3) uint8.
        how: In [0, 1): each of the three takes a third.
        strength: In [0, 1), 0 = least.
    """
    image = Image.fromarray(np.ascontiguousarray(crop))
    side = crop.shape[0]
    if how < 1 / 3:
        return _blur(crop, side * (_BLUR[0] + strength * (_BLUR[1] - _BLUR[0])))
    if how < 2 / 3:
        low = max(1, round(side * (_RESOLUTION[1] - strength * (_RESOLUTION[1] - _RESOLUTION[0]))))
        small = image.resize((low, low), Image.Resampling.BOX)
        return np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=round(_QUALITY[1] - strength * (_QUALITY[1] - _QUALITY[0])))
    return np.asarray(Image.open(packed).convert("RGB"))


def _blur(crop: NDArray[np.uint8], spread: float) -> NDArray[np.uint8]:
    """A Gaussian blur of ``spread`` pixels (standard deviation)."""
    image = Image.fromarray(np.ascontiguousarray(crop))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(spread))))


def _tinted(crop: NDArray[np.uint8], change: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Change the strength of the colours, then each channel.

    Args:
        crop: (S, S, 3) uint8.
        change: (4,) relative changes: of the colours' distance from grey, of red, green and blue.
    """
    pixels = crop.astype(np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    pixels = grey[..., None] + (pixels - grey[..., None]) * np.float32(1.0 + change[0])
    pixels *= (1.0 + change[1:]).astype(np.float32)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _cover(
    crop: NDArray[np.uint8], area: float, aspect: float, corner: tuple[float, float]
) -> NDArray[np.uint8]:
    """Cover a rectangle of a share of the crop with grey (random erasing, Zhong et al. 2020)."""
    height, width = crop.shape[:2]
    h = min(height, max(1, round(math.sqrt(area * aspect) * height)))
    w = min(width, max(1, round(math.sqrt(area / aspect) * width)))
    y, x = round(corner[1] * (height - h)), round(corner[0] * (width - w))
    covered = np.array(crop)
    covered[y : y + h, x : x + w] = PAD_RGB
    return covered


# --- what covers a face ---------------------------------------------------------------------------

Kind = Literal["mask", "hand", "glasses"]
KINDS: tuple[Kind, ...] = ("mask", "hand", "glasses")

_Points = list[tuple[float, float]]
_Colour = tuple[int, int, int]
_Ink = int | _Colour

_FINER = 3
_JITTER = 0.04  # of the place of the whole thing, as a share of the side
_EYES = ((0.30, 0.40), (0.70, 0.40))
# A mask, from its upper edge over the nose's bridge to below the chin.
_MASK = ((0.08, 0.53), (0.30, 0.50), (0.50, 0.45), (0.70, 0.50), (0.92, 0.53),
         (0.86, 0.84), (0.66, 1.00), (0.34, 1.00), (0.14, 0.84))  # fmt: skip
# White, surgical blue and green, black, grey, pink, beige.
_CLOTH: tuple[_Colour, ...] = (
    *((235, 235, 235), (150, 190, 215), (150, 200, 180), (35, 35, 38)),
    *((120, 120, 125), (220, 170, 180), (205, 185, 160)),
)
_SHADED = 0.45  # of the glasses have tinted lenses


def cover_face(crop: Pixels, draw: np.random.Generator, kind: Kind | None = None) -> Pixels:
    """Draw one thing over a face.

    Args:
        crop: (S, S, 3) uint8, a face framed by a detector.
        draw: Kind, place, size and colour.
        kind: None draws one of the three.

    Returns:
        (S, S, 3) uint8, a new array.
    """
    kind = kind or KINDS[int(draw.integers(len(KINDS)))]
    side = crop.shape[0] * _FINER
    layer = Image.new("RGB", (side, side))
    alpha = Image.new("L", (side, side))
    pen = _Pen(ImageDraw.Draw(layer), ImageDraw.Draw(alpha), side, draw)
    if kind == "mask":
        _mask(pen, draw)
    elif kind == "hand":
        _hand(pen, draw, _skin(crop))
    else:
        _glasses(pen, draw)
    small = crop.shape[1::-1]
    box = Image.Resampling.BOX
    share = np.asarray(alpha.resize(small, box), np.float32)[..., None] / 255
    colours = np.asarray(layer.resize(small, box), np.float32)
    # Where the thing covers a cell in part, the layer's cell is dark by just as much.
    drawn = np.asarray(alpha.point(lambda v: 255 * (v > 0)).resize(small, box), np.float32)
    solid = colours * 255 / np.maximum(drawn[..., None], 1)
    mixed = crop * (1 - share) + np.clip(solid, 0, 255) * share
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


class _Pen:
    """Draws shapes given in shares of the side on a layer and on its opacity."""

    def __init__(
        self,
        layer: ImageDraw.ImageDraw,
        alpha: ImageDraw.ImageDraw,
        side: int,
        draw: np.random.Generator,
    ) -> None:
        self._layer, self._alpha, self._side = layer, alpha, side
        self._dx, self._dy = draw.uniform(-_JITTER, _JITTER, 2)

    def _at(self, points: _Points) -> _Points:
        return [((x + self._dx) * self._side, (y + self._dy) * self._side) for x, y in points]

    def _inks(self, colour: _Colour, opacity: int = 255) -> list[tuple[ImageDraw.ImageDraw, _Ink]]:
        return [(self._layer, colour), (self._alpha, opacity)]

    def polygon(self, points: _Points, colour: _Colour, opacity: int = 255) -> None:
        for image, ink in self._inks(colour, opacity):
            image.polygon(self._at(points), fill=ink)

    def stroke(self, points: _Points, width: float, colour: _Colour) -> None:
        """A line with round ends."""
        placed, thick = self._at(points), max(1, round(width * self._side))
        for image, ink in self._inks(colour):
            image.line(placed, fill=ink, width=thick)
            for x, y in placed:
                half = thick / 2
                image.ellipse((x - half, y - half, x + half, y + half), fill=ink)

    def ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        colour: _Colour,
        opacity: int = 255,
        width: float = 0.0,
    ) -> None:
        """Filled, or a ring where ``width`` is given."""
        (x, y), (rx, ry) = self._at([centre])[0], (r * self._side for r in radii)
        corners, thick = (x - rx, y - ry, x + rx, y + ry), max(1, round(width * self._side))
        for image, ink in self._inks(colour, opacity):
            if width:
                image.ellipse(corners, outline=ink, width=thick)
            else:
                image.ellipse(corners, fill=ink)


def _mask(pen: _Pen, draw: np.random.Generator) -> None:
    cloth = _CLOTH[int(draw.integers(len(_CLOTH)))]
    light = draw.uniform(0.7, 1.1)
    colour = _scaled(cloth, light)
    lower = draw.uniform(0.0, 0.06)
    pen.polygon([(x, y + (lower if y < 0.6 else 0.0)) for x, y in _MASK], colour)
    fold = _scaled(cloth, 0.85 * light)
    for y in draw.uniform(0.62, 0.9, int(draw.integers(0, 4))):
        pen.stroke([(0.2, float(y) - 0.02), (0.5, float(y)), (0.8, float(y) - 0.02)], 0.01, fold)
    if draw.random() < 0.5:  # the bands to the ears
        pen.stroke([(0.1, 0.56), (-0.1, 0.45)], 0.02, colour)
        pen.stroke([(0.9, 0.56), (1.1, 0.45)], 0.02, colour)


def _hand(pen: _Pen, draw: np.random.Generator, skin: _Colour) -> None:
    """Two to four fingers and a palm that come from below or from a side."""
    left = draw.random() < 0.5
    tip_x, tip_y = draw.uniform(0.25, 0.75), draw.uniform(0.3, 0.85)
    angle = draw.uniform(0.15, 0.5) * np.pi  # from the side to straight below
    away = np.array([np.cos(angle) * (-1 if left else 1), np.sin(angle)])
    across = np.array([-away[1], away[0]])
    width, tone = draw.uniform(0.08, 0.12), draw.uniform(0.75, 1.25)
    fingers = int(draw.integers(2, 5))
    for k in range(fingers):
        place = (k - (fingers - 1) / 2) * width * 1.05
        tip = np.array([tip_x, tip_y]) + across * place - away * draw.uniform(-0.04, 0.04)
        end = tip + away * 0.35
        pen.stroke([tuple(tip), tuple(end)], width, _scaled(skin, tone * draw.uniform(0.92, 1.08)))
    palm = np.array([tip_x, tip_y]) + away * 0.5
    radius = max(0.16, fingers * width * 0.6)
    pen.ellipse((float(palm[0]), float(palm[1])), (radius, radius * 1.2), _scaled(skin, tone))


def _glasses(pen: _Pen, draw: np.random.Generator) -> None:
    frame = int(draw.integers(10, 120))
    colour = _scaled((frame, frame, frame), 1.0)
    radii = (float(draw.uniform(0.13, 0.18)), float(draw.uniform(0.09, 0.14)))
    width = float(draw.uniform(0.015, 0.04))
    if draw.random() < _SHADED:
        opacity = int(draw.uniform(0.5, 1.0) * 255)
        for eye in _EYES:
            pen.ellipse(eye, radii, _scaled((30, 30, 32), draw.uniform(0.5, 2.0)), opacity)
    for eye in _EYES:
        pen.ellipse(eye, radii, colour, width=width)
    (lx, y), (rx, _) = _EYES
    pen.stroke([(lx + radii[0], y - 0.01), (rx - radii[0], y - 0.01)], width, colour)
    pen.stroke([(lx - radii[0], y - 0.02), (-0.05, y - 0.05)], width, colour)
    pen.stroke([(rx + radii[0], y - 0.02), (1.05, y - 0.05)], width, colour)


def _skin(crop: Pixels) -> _Colour:
    """The mean colour between eyes and mouth, where skin is."""
    side = crop.shape[0]
    part = crop[int(0.45 * side) : int(0.65 * side), int(0.3 * side) : int(0.7 * side)]
    r, g, b = part.reshape(-1, 3).mean(axis=0)
    return int(r), int(g), int(b)


def _scaled(colour: _Colour, by: float) -> _Colour:
    r, g, b = (max(1, min(255, round(v * by))) for v in colour)
    return r, g, b
