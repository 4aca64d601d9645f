"""Cut a face box out of a photo; draw boxes and labels on a copy of a picture.

A phone photo has twelve megapixels, a crop fifty thousand pixels. JPEGs are therefore decoded at
1/2, 1/4 or 1/8 (libjpeg does that in the frequency domain) as long as the face keeps twice the
pixels of the crop; the crop is cut from the raw frame and only the finished crop is turned
upright. The result stays within 1.5 grey levels (mean absolute difference) of decoding
everything, turning it upright, cutting and resizing. Knows nothing of sources, labels or models.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, JpegImagePlugin

from nunbit.core.messages import InputError, Text
from nunbit.core.schema import Box
from nunbit.pictures.decode import (
    BIG_DECODE_BYTES,
    OVERSAMPLING,
    SIDEWAYS,
    STRIP_PIXELS,
    TURNS,
    CropError,
    checked_cost,
    choose_reduction,
    decode_bytes,
    load_pixels,
    load_rows,
    open_image,
    read_orientation,
    to_rgb,
)
from nunbit.runtime.files import atomic_path
from nunbit.runtime.resources import packaged_path

# Training data, prediction and landmarks cut alike: a model must be shown what it was trained on.

PAD_RGB = (127, 127, 127)
"""Colour beyond the picture's edge: mid-grey is nearly zero after a model's normalisation."""


def require_rgb(pixels: NDArray[np.uint8]) -> None:
    """Refuse what is no (H, W, 3) uint8 picture.

    Raises:
        ValueError: The array has another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels: expected (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")


def square_around(box: Box, scale: float, shift_y: float = 0.0) -> tuple[int, int, int, int]:
    """The square around a box, in whole pixels; it may reach beyond the picture.

    Args:
        box: x0, y0, x1, y1 in pixels.
        scale: Side of the square as a multiple of the box's longer side.
        shift_y: How far the centre moves down, as a share of the box's height.
    """
    x0, y0, x1, y1 = box
    side = max(1, round(max(x1 - x0, y1 - y0) * scale))
    left = round((x0 + x1) / 2 - side / 2)
    top = round((y0 + y1) / 2 + shift_y * (y1 - y0) - side / 2)
    return left, top, left + side, top + side


def sharpness_of(grey: NDArray[np.float32]) -> float:
    """Variance of the Laplacian (4 neighbours) of grey levels, (H, W); small means blurred.

    Comparable only between pictures of the same size and framing.
    """
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


CropKind = Literal["square", "box"]

MIN_BOX_PX = 8
"""A box with a shorter side than this, after clamping to the frame, is not a face box."""


@dataclass(frozen=True, slots=True)
class CropSettings:
    """How a crop is framed.

    Attributes:
        kind: ``square`` = a square around the box centre, padded where it leaves the frame;
            ``box`` = the box as it is, squeezed to a square.
        size: Side of the crop, pixels.
        margin: ``square`` only: added on every side, as a share of the box's longer side. A whole
            image (no box) gets no margin.
    """

    kind: CropKind = "square"
    size: Annotated[int, msgspec.Meta(ge=16, le=1024)] = 224
    margin: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A finished crop and where it came from.

    Attributes:
        pixels: (S, S, 3) uint8 RGB, upright.
        box_xyxy: The box used, clamped to the upright frame; None = whole image.
        box_index: 0 for the first box, 1… for a fallback; None = whole image.
        orientation: Raw EXIF orientation tag; None where the image has none.
        upright_size: Width and height after orientation, pixels of the full image.
    """

    pixels: NDArray[np.uint8]
    box_xyxy: Box | None
    box_index: int | None
    orientation: int | None
    upright_size: tuple[int, int]


def decode_crop(
    data: bytes,
    box: Box | None,
    fallback_boxes: Iterable[Box],
    settings: CropSettings,
    big_decode: contextlib.AbstractContextManager[object] | None = None,
) -> Crop:
    """Cut one face out of one encoded image.

    Args:
        data: A JPEG, PNG, WebP or BMP file.
        box: Face box in the upright frame, or None for the whole image.
        fallback_boxes: Tried in this order where ``box`` is unusable.
        settings: Framing.
        big_decode: Held while an image that needs more than ``BIG_DECODE_BYTES`` is decoded, so
            that several processes together stay within the memory of one such image.

    Raises:
        CropError: The image cannot be decoded within ``DECODE_BUDGET_BYTES`` or all boxes given
            are unusable; ``reason`` says which.
    """
    image = open_image(data)
    is_jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
    with contextlib.ExitStack() as turns:

        def take_turn(nbytes: int) -> None:
            if nbytes > BIG_DECODE_BYTES and big_decode is not None:
                turns.enter_context(big_decode)

        if not is_jpeg:
            # Before the tag is read, because reading a PNG's decodes it.
            take_turn(checked_cost(image, data))
        orientation = read_orientation(image)
        upright = (image.height, image.width) if orientation in SIDEWAYS else image.size
        used, index = _first_usable(box, fallback_boxes, upright)
        cut = raw_rect(_cut_rect(used, upright, settings), orientation, upright)
        reduction = 1
        if is_jpeg:
            reduction = choose_reduction(image, data, cut, settings.size)
            take_turn(decode_bytes(image, data, reduction))
            image.draft(None, (image.width // reduction, image.height // reduction))
            load_rows(image, data, math.ceil(cut[3] / reduction))
        else:
            load_pixels(image)
        pixels = _resized(image, tuple(v / reduction for v in cut), settings.size)
    if orientation in TURNS:
        pixels = pixels.transpose(TURNS[orientation])
    return Crop(np.asarray(pixels), used, index, orientation, upright)


def usable_box(box: Box, size: tuple[int, int]) -> Box | None:
    """Clamp a box to a frame of ``size`` (width, height).

    Returns:
        The clamped box; None where it is not finite, reversed, outside the frame, or has a side
        shorter than ``MIN_BOX_PX`` (shorter than the frame itself, where that is smaller).
    """
    if not all(math.isfinite(v) for v in box):
        return None
    x0, x1 = (min(max(float(v), 0.0), float(size[0])) for v in (box[0], box[2]))
    y0, y1 = (min(max(float(v), 0.0), float(size[1])) for v in (box[1], box[3]))
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= min(MIN_BOX_PX, *size) else None


def raw_rect(
    rect: tuple[int, int, int, int], orientation: int | None, upright: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Where a rectangle of the upright frame lies in the frame as the file stores it.

    Args:
        rect: x0, y0, x1, y1 in upright pixels; may reach beyond the frame.
        orientation: EXIF tag; anything but 2…8 is upright.
        upright: Width and height of the upright frame.
    """
    x0, y0, x1, y1 = rect
    width, height = upright
    return {
        2: (width - x1, y0, width - x0, y1),
        3: (width - x1, height - y1, width - x0, height - y0),
        4: (x0, height - y1, x1, height - y0),
        5: (y0, x0, y1, x1),
        6: (y0, width - x1, y1, width - x0),
        7: (height - y1, width - x1, height - y0, width - x0),
        8: (height - y1, x0, height - y0, x1),
    }.get(orientation or 1, rect)


def _first_usable(
    box: Box | None, fallback_boxes: Iterable[Box], size: tuple[int, int]
) -> tuple[Box | None, int | None]:
    candidates = ([] if box is None else [(0, box)]) + list(enumerate(fallback_boxes, start=1))
    for index, candidate in candidates:
        if (clamped := usable_box(candidate, size)) is not None:
            return clamped, index
    if not candidates:
        return None, None
    shown = "; ".join(" ".join(f"{v:g}" for v in b) for _, b in candidates)
    raise CropError(
        Text(
            f"no usable box in a {size[0]}x{size[1]} frame: {shown}",
            f"{size[0]}x{size[1]} 화면에서 쓸 수 있는 박스가 없습니다: {shown}",
        ),
        "bad_box",
    )


def _cut_rect(
    box: Box | None, upright: tuple[int, int], settings: CropSettings
) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box or (0.0, 0.0, float(upright[0]), float(upright[1]))
    if settings.kind == "box":
        return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
    return square_around((x0, y0, x1, y1), 1 if box is None else 1 + 2 * settings.margin)


def _resized(image: Image.Image, rect: tuple[float, ...], size: int) -> Image.Image:
    """Cut ``rect`` (pixels of ``image``, may reach beyond it), pad and resize to a square.

    A region much larger than the result is first averaged in blocks of whole pixels, so that
    neither a huge picture nor the padding around an extremely long one needs memory of its size.
    """
    left, top = math.floor(rect[0]), math.floor(rect[1])
    right, bottom = math.ceil(rect[2]), math.ceil(rect[3])
    block = (
        max(1, math.floor((rect[2] - rect[0]) / (OVERSAMPLING * size))),
        max(1, math.floor((rect[3] - rect[1]) / (OVERSAMPLING * size))),
    )
    columns, rows = -(-(right - left) // block[0]), -(-(bottom - top) // block[1])
    canvas = Image.new("RGB", (columns, rows), PAD_RGB)
    x0, x1 = max(left, 0), min(right, image.width)
    rows_per_strip = max(1, STRIP_PIXELS // (block[1] * max(1, x1 - x0)))
    for row in range(0, rows, rows_per_strip):
        y0 = max(top + row * block[1], 0)
        y1 = min(top + (row + rows_per_strip) * block[1], bottom, image.height)
        if x0 < x1 and y0 < y1:
            strip = _averaged(to_rgb(image.crop((x0, y0, x1, y1))), (x0 - left, y0 - top), block)
            canvas.paste(strip, ((x0 - left) // block[0], (y0 - top) // block[1]))
    box = (
        (rect[0] - left) / block[0],
        (rect[1] - top) / block[1],
        min((rect[2] - left) / block[0], columns),
        min((rect[3] - top) / block[1], rows),
    )
    return canvas.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _averaged(strip: Image.Image, position: tuple[int, int], block: tuple[int, int]) -> Image.Image:
    """Average in blocks that start at the rectangle's corner, not at the strip's."""
    if block == (1, 1):
        return strip
    lead = (position[0] % block[0], position[1] % block[1])
    if lead != (0, 0):
        padded = Image.new("RGB", (strip.width + lead[0], strip.height + lead[1]), PAD_RGB)
        padded.paste(strip, lead)
        strip = padded
    return strip.reduce(block)


# -- boxes and labels on a copy, which tells neither place nor time of the original ---------------

FAMILY = "Nunbit Hangul"


def font_path() -> Path:
    """The font file; it has Latin, Greek, Hangul and common symbols."""
    return packaged_path("pictures/data/fonts/NunbitHangul.ttf")


@cache
def load_font(size_px: int) -> ImageFont.FreeTypeFont:
    """The font at a size, for Pillow."""
    return ImageFont.truetype(str(font_path()), size_px)


FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}

# Wong's colours (Nature Methods 8, 441), told apart by colour-blind people: -1, 0, 1.
_BY_VALENCE = {-1: (213, 94, 0), 0: (86, 180, 233), 1: (0, 158, 115)}
_INK, _PAPER = (255, 255, 255), (0, 0, 0)
_MIN_OUTPUT_PX = 640  # texts on smaller pictures would be unreadable
_TEXT_PX = (12, 40)


@dataclass(frozen=True, slots=True)
class Mark:
    """What to draw on one face.

    Attributes:
        box_xyxy: Pixels of the picture; None frames the whole picture.
        text: One short line.
        valence: -1, 0 or 1; chooses the colour where none is given.
        colour: ``#rrggbb`` of the class, as reports and figures have it; '' = by valence.
    """

    box_xyxy: Box | None
    text: str
    valence: int = 0
    colour: str = ""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour of frame and label."""
        given = self.colour.lstrip("#")
        if not given:
            return _BY_VALENCE[self.valence]
        return int(given[:2], 16), int(given[2:4], 16), int(given[4:6], 16)


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
    line = max(2, round(max(picture.size) / 600))
    for box, mark in placed:
        draw.rectangle(box, outline=mark.rgb, width=line)
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
            Text(
                f"{path}: an annotated picture ends in one of {known}",
                f"{path}: 표시한 그림의 확장자는 {known} 중 하나여야 합니다",
            )
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
    draw.rectangle((left, top, left + width, top + height), fill=_PAPER, outline=mark.rgb)
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
        place = (text_px / 2, picture.height + text_px * (0.3 + 1.35 * row))
        draw.text(place, line, font=font, fill=_INK)
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
