"""The confusion matrix as PNG and SVG: shaded cells, for which no plotting library is needed.

Counts on the left, shares of the row on the right; both shaded by the share. K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nunbit.files import atomic_path, write_text
from nunbit.fonts import FAMILY, load_font

_INK, _PAPER = "#1b2530", "#ffffff"
# ColorBrewer "Blues" (Cynthia Brewer, Apache-2.0), from nothing to all of a row.
_SHADES = ("#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c",
           "#08306b")  # fmt: skip
_DARK_FROM = 0.6  # white letters from this share on
_PNG_SCALE = 2.5
_TITLE, _LABEL, _CELL = 14, 12, 11  # sizes of letters, pixels
_GAP = 12
_WIDE, _NARROW = (62, 40), (44, 30)  # width and height of a cell, up to and above 9 classes
_FONTS = f"'{FAMILY}', NanumGothic, 'Malgun Gothic', 'Apple SD Gothic Neo', sans-serif"

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class ConfusionTexts:
    """What is written around the matrix.

    Attributes:
        counts: Title of the left panel.
        shares: Title of the right panel.
        prediction: Name of the columns.
        truth: Name of the rows.
        classes: K class names.
    """

    counts: str
    shares: str
    prediction: str
    truth: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True, slots=True)
class _Text:
    """A line of text; (x, y) is its middle height, at the anchor's end; upright or turned left."""

    x: float
    y: float
    text: str
    size: int
    fill: str = _INK
    anchor: Anchor = "middle"
    turned: bool = False


def draw_confusion(
    stem: Path, counts: NDArray[np.int64] | Sequence[Sequence[int]], texts: ConfusionTexts
) -> tuple[Path, Path]:
    """Write ``stem``.png and ``stem``.svg.

    Args:
        stem: Path without suffix.
        counts: (K, K), rows are the truth.
        texts: Titles and class names.

    Returns:
        Both paths.

    Raises:
        ValueError: The matrix does not fit the names.
        InputError: A file cannot be written.
    """
    matrix = np.asarray(counts, np.int64)
    k = len(texts.classes)
    if matrix.shape != (k, k):
        raise ValueError(f"counts: expected ({k}, {k}), got {matrix.shape}")
    width, height, shapes = _layout(matrix, texts)
    png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    with atomic_path(png) as partial:
        _raster(width, height, shapes).save(partial, "PNG", dpi=(200, 200))
    write_text(svg, _vector(width, height, shapes))
    return png, svg


def _layout(
    counts: NDArray[np.int64], texts: ConfusionTexts
) -> tuple[float, float, list[_Cell | _Text]]:
    """Width, height and everything to draw, in pixels from the upper left."""
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros(counts.shape), where=sums > 0)
    k = len(counts)
    cell_w, cell_h = _WIDE if k <= 9 else _NARROW
    names = [_length(name, _LABEL) for name in texts.classes]
    slanted = max(names) > cell_w - 4
    left = _GAP + _LABEL + _GAP + max(names) + 8
    top = _GAP + _TITLE + _GAP
    below = (max(names) if slanted else _LABEL) + _GAP + _LABEL + _GAP
    panel = left + k * cell_w + 2 * _GAP
    shapes: list[_Cell | _Text] = []
    written = (
        (texts.counts, [[f"{count:,}" for count in row] for row in counts.tolist()]),
        (texts.shares, [[f"{100 * share:.1f}" for share in row] for row in shares.tolist()]),
    )
    for number, (title, rows) in enumerate(written):
        x0 = number * panel + left
        middle_x, middle_y = x0 + k * cell_w / 2, top + k * cell_h / 2
        shapes += [
            _Text(middle_x, _GAP + _TITLE / 2, title, _TITLE),
            _Text(middle_x, top + k * cell_h + below - _GAP - _LABEL / 2, texts.prediction, _LABEL),
            _Text(number * panel + _GAP + _LABEL / 2, middle_y, texts.truth, _LABEL, turned=True),
        ]
        for i, (name, row) in enumerate(zip(texts.classes, rows, strict=True)):
            y = top + i * cell_h
            shapes.append(_Text(x0 - 8, y + cell_h / 2, name, _LABEL, anchor="end"))
            x = x0 + (i + 0.5) * cell_w
            under = top + k * cell_h + 8
            shapes.append(
                _Text(x, under, name, _LABEL, anchor="end", turned=True)
                if slanted
                else _Text(x, under + _LABEL / 2 - 2, name, _LABEL)
            )
            shapes += _row(x0, y, (cell_w, cell_h), row, shares[i])
    return 2 * panel, top + k * cell_h + below, shapes


def _row(
    x0: float, y: float, size: tuple[int, int], written: list[str], shares: NDArray[np.float64]
) -> Iterator[_Cell | _Text]:
    width, height = size
    for j, (text, share) in enumerate(zip(written, shares.tolist(), strict=True)):
        x = x0 + j * width
        yield _Cell(x, y, width, height, _shade(share))
        ink = _PAPER if share >= _DARK_FROM else _INK
        yield _Text(x + width / 2, y + height / 2, text, _CELL, ink)


def _shade(share: float) -> str:
    """A colour between two neighbours of the scale."""
    place = share * (len(_SHADES) - 1)
    low = min(int(place), len(_SHADES) - 2)
    ends = [[int(_SHADES[low + n][c : c + 2], 16) for c in (1, 3, 5)] for n in (0, 1)]
    mixed = (round(a + (b - a) * (place - low)) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _length(text: str, size: int) -> float:
    return float(load_font(size).getlength(text))


def _raster(width: float, height: float, shapes: list[_Cell | _Text]) -> Image.Image:
    def px(value: float) -> int:
        return round(value * _PNG_SCALE)

    picture = Image.new("RGB", (px(width), px(height)), _PAPER)
    draw = ImageDraw.Draw(picture)
    for shape in shapes:
        if isinstance(shape, _Cell):
            corner = (px(shape.x + shape.width) - 1, px(shape.y + shape.height) - 1)
            draw.rectangle((px(shape.x), px(shape.y), *corner), fill=shape.fill)
            continue
        font = load_font(px(shape.size))
        if shape.turned:
            box = font.getbbox(shape.text, anchor="lm")
            line = Image.new("L", (round(box[2]) + 2, px(shape.size * 1.6)))
            ImageDraw.Draw(line).text((0, line.height // 2), shape.text, 255, font, anchor="lm")
            line = line.transpose(Image.Transpose.ROTATE_90)
            shift = {"start": line.height, "middle": line.height // 2, "end": 0}[shape.anchor]
            place = (px(shape.x) - line.width // 2, px(shape.y) - shift)
            picture.paste(Image.new("RGB", line.size, shape.fill), place, line)
        else:
            side = {"start": "l", "middle": "m", "end": "r"}[shape.anchor]
            draw.text((px(shape.x), px(shape.y)), shape.text, shape.fill, font, anchor=f"{side}m")
    return picture


def _vector(width: float, height: float, shapes: list[_Cell | _Text]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" font-family="{escape(_FONTS)}">',
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
    ]
    for shape in shapes:
        if isinstance(shape, _Cell):
            lines.append(
                f'<rect x="{shape.x:g}" y="{shape.y:g}" width="{shape.width:g}" '
                f'height="{shape.height:g}" fill="{shape.fill}"/>'
            )
            continue
        turn = f' transform="rotate(-90 {shape.x:g} {shape.y:g})"' if shape.turned else ""
        lines.append(
            f'<text x="{shape.x:g}" y="{shape.y:g}" font-size="{shape.size}" fill="{shape.fill}" '
            f'text-anchor="{shape.anchor}" dominant-baseline="central"{turn}>'
            f"{escape(shape.text)}</text>"
        )
    return "\n".join([*lines, "</svg>", ""])
