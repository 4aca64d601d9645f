"""A supersampled picture with a coverage mask: hard shapes, and soft shading from a small layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from nunbit.synth.geometry import Points
from nunbit.synth.people import Rgb

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
                level = round(255 * min(opacity, 1.0))
                draw.polygon(_flat((part - origin) / _SMALL), fill=level)
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
    flat: list[float] = shape.ravel().tolist()
    return flat
