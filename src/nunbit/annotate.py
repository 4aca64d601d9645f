"""Draw boxes and labels on a copy of a picture.

Knows nothing of models: it draws the texts it is given. Output carries no EXIF, so no place and
no time of the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nunbit.errors import InputError
from nunbit.files import atomic_path
from nunbit.fonts import load_font
from nunbit.schema import Box

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}

# Wong's colours (Nature Methods 8, 441), told apart by colour-blind people: -1, 0, 1.
_BY_VALENCE = {-1: (213, 94, 0), 0: (86, 180, 233), 1: (0, 158, 115)}
_INK, _PAPER = (255, 255, 255), (0, 0, 0)
_MIN_OUTPUT_PX = 640  # texts on smaller pictures could not be read
_TEXT_PX = (12, 40)


@dataclass(frozen=True, slots=True)
class Mark:
    """What to draw on one face.

    Attributes:
        box_xyxy: Pixels of the picture; None frames the whole picture.
        text: One short line.
        valence: -1, 0 or 1; chooses the colour.
    """

    box_xyxy: Box | None
    text: str
    valence: int = 0


def draw_marks(pixels: NDArray[np.uint8], marks: Sequence[Mark], caption: str = "") -> Image.Image:
    """Draw boxes with labels, smallest face last so that it stays visible.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        marks: Any number.
        caption: Line below the picture; empty for none.

    Returns:
        A new RGB picture: the input, enlarged by a whole factor if small, with the caption in a
        strip of its own below.
    """
    picture = Image.fromarray(pixels)
    factor = max(1, _MIN_OUTPUT_PX // max(picture.size))
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    placed = [(_scaled(m.box_xyxy, factor, picture.size), m) for m in marks]
    placed.sort(key=lambda pair: -(pair[0][2] - pair[0][0]))
    canvas = _with_caption(picture, caption)
    draw = ImageDraw.Draw(canvas)
    for box, mark in placed:
        line = max(2, round(max(picture.size) / 600))
        draw.rectangle(box, outline=_BY_VALENCE[mark.valence], width=line)
    for box, mark in placed:
        _draw_label(draw, box, mark, picture.size)
    return canvas


def write_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture atomically in the format its suffix names.

    Raises:
        InputError: The suffix is not one of ``FORMATS``, or the place cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise InputError(
            en=f"{path}: an annotated picture ends in one of {known}",
            ko=f"{path}: 표시한 그림의 확장자는 {known} 중 하나여야 합니다",
        )
    with atomic_path(path) as partial, partial.open("wb") as stream:
        picture.save(stream, FORMATS[path.suffix.lower()], quality=92)


def _scaled(
    box: Box | None, factor: int, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (v * factor for v in box) if box else (0.0, 0.0, *map(float, size))
    right, bottom = size[0] - 1.0, size[1] - 1.0
    x0, y0 = min(max(x0, 0.0), right), min(max(y0, 0.0), bottom)
    return x0, y0, min(max(x1, x0), right), min(max(y1, y0), bottom)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    mark: Mark,
    size: tuple[int, int],
) -> None:
    if not mark.text:
        return
    text_px = int(min(max((box[2] - box[0]) / 6, _TEXT_PX[0]), _TEXT_PX[1]))
    font, pad = load_font(text_px), max(1, text_px // 6)
    width, height = draw.textlength(mark.text, font) + 2 * pad, text_px * 1.25 + 2 * pad
    left = min(max(box[0], 0.0), max(size[0] - width, 0.0))
    top = box[1] - height if box[1] >= height else min(box[3], max(size[1] - height, 0.0))
    colour = _BY_VALENCE[mark.valence]
    draw.rectangle((left, top, left + width, top + height), fill=_PAPER, outline=colour)
    draw.text((left + pad, top + pad), mark.text, font=font, fill=_INK)


def _with_caption(picture: Image.Image, caption: str) -> Image.Image:
    if not caption:
        return picture.copy()
    text_px = max(_TEXT_PX[0], picture.width // 60)
    font = load_font(text_px)
    lines = _wrapped(caption, font, picture.width - text_px)
    strip = round(text_px * (1.35 * len(lines) + 0.6))
    canvas = Image.new("RGB", (picture.width, picture.height + strip), _PAPER)
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        y = picture.height + text_px * (0.3 + 1.35 * row)
        draw.text((text_px / 2, y), line, font=font, fill=_INK)
    return canvas


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
