"""Parts of the pages: texts, number formats, dot plots, and the confusion matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nunbit.core.messages import Lang
from nunbit.language.labels import LabelSet, load_label_set
from nunbit.pictures.crops import FAMILY, load_font
from nunbit.runtime.files import atomic_path, write_text
from nunbit.runtime.resources import packaged_table

Document = dict[str, Any]
"""``result.json`` or ``summary.json``, or a part of it, as it was written."""

Parts = Mapping[str, object]
"""What a template lays out: texts, numbers, rows and plots by their names."""


class Texts:
    """Texts in one language: ``texts("headline.title")``, ``texts("facts.n_images", n="3")``.

    Args:
        lang: Language of all texts.
        file: Their table beside this module; ``plain``: its words of that section come first.
    """

    def __init__(self, lang: Lang, file: str = "texts.toml", *, plain: bool = False) -> None:
        self.lang: Lang = lang
        self._tables = packaged_table(f"report/{file}")
        self._plain = self._tables["plain"] if plain else {}

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key with its gaps filled.

        Raises:
            KeyError: There is no such text, or a gap was not given.
        """
        section, _, name = key.partition(".")
        text: str = (self._plain.get(key) or self._tables[section][name])[self.lang]
        return text.format(**values) if values else text

    def get(self, key: str) -> str:
        """The text of a key, or its last part where there is no such text (a user's own name)."""
        section, _, name = key.partition(".")
        return self(key) if name in self._tables.get(section, {}) else name

    def section(self, name: str) -> dict[str, str]:
        """All texts of a section, for a script that fills its own gaps."""
        return {key: self(f"{name}.{key}") for key in self._tables[name]}


class ClassNames:
    """Names of classes in the language of a page; an unknown class is called by its id.

    The package's classes are known first: a stand-in or merged group names some the own set lacks.
    """

    def __init__(self, label_set: LabelSet, lang: Lang) -> None:
        self._names = {
            label.id: label.name.pick(lang)
            for known in (load_label_set("fer7"), load_label_set("aihub7"), label_set)
            for label in known.labels
        }

    def name(self, label: str) -> str:
        """Name of a class."""
        return self._names.get(label, label)

    def names(self, labels: Iterable[str]) -> str:
        """Names of several classes."""
        return ", ".join(self.name(label) for label in labels)


MISSING = "–"
Interval = Sequence[float] | None


def signed(number: str) -> str:
    """A formatted number with a real minus, and none before zero: -0.31 -> −0.31, -0.0 -> 0.0."""
    return number.replace("-", "−" if number.strip("-0.,%") else "")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent: 0.5628 -> 56.3%; a dash where there is none."""
    return MISSING if value is None else signed(f"{100 * value:.{digits}f}%")


def percent_interval(interval: Interval, digits: int = 1) -> str:
    """An interval of shares: 55.9–56.7%, within what a share can be.

    A t interval over few people can reach beyond 0 or 100%; nothing lies there.
    """
    if interval is None:
        return MISSING
    low, high = (min(max(end, 0.0), 1.0) for end in interval)
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}%"


def points(value: float | None) -> str:
    """A difference of shares in points with its sign: +1.2."""
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def points_interval(interval: Interval) -> str:
    """An interval of differences in points: [−0.4, +2.8]."""
    return MISSING if interval is None else f"[{points(interval[0])}, {points(interval[1])}]"


def p_value(p: float) -> str:
    """A p-value in a sentence."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def whole(value: float | None) -> str:
    """A count with thousands separated."""
    return MISSING if value is None else f"{int(value):,}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A plain number."""
    return MISSING if value is None else f"{value:.{digits}f}"


def decimal_interval(interval: Interval, digits: int = 3) -> str:
    """An interval of plain numbers."""
    return MISSING if interval is None else "–".join(decimal(end, digits) for end in interval)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a dot plot.

    Attributes:
        label: What it is.
        value: Where the dot stands, or None.
        interval: Its 95% interval, or None.
        text: The value as people read it.
        interval_text: The interval as people read it.
        detail: Small print beside the label.
        tag: Short mark beside the label, for example "small".
        kind: ``plain``, ``strong`` (the headline), ``pale`` (too small) or ``other``.
    """

    label: str
    value: float | None
    interval: Interval
    text: str
    interval_text: str
    detail: str = ""
    tag: str = ""
    kind: str = "plain"


@dataclass(frozen=True, slots=True)
class Plot:
    """A dot plot: rows on one scale.

    Attributes:
        rows: Lines from top to bottom.
        low: Left end of the scale.
        high: Right end.
        ticks: Values with their texts.
        reference: A vertical line, or None.
    """

    rows: tuple[Row, ...]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...] = field(default=())
    reference: float | None = None

    def at(self, value: float) -> float:
        """Position of a value in per cent of the width, kept inside."""
        return min(100.0, max(0.0, 100.0 * (value - self.low) / (self.high - self.low)))


def share_row(label: str, value: float | None, interval: Interval, **marks: str) -> Row:
    """A line for a share; ``marks`` are its ``detail``, ``tag`` and ``kind``."""
    text = percent_interval(interval) if interval else ""
    return Row(label, value, interval, percent(value), text, **marks)


def strong(marked: object) -> str:
    """The kind of a line: the headline's or another's."""
    return "strong" if marked else "plain"


def difference_row(label: str, found: Document, key: str, *, kind: str = "plain") -> Row:
    """A line for a difference of two scores, in points."""
    value, interval = found[key], found["ci95"][key]
    return Row(label, value, interval, points(value), points_interval(interval), kind=kind)


def share_plot(
    rows: Iterable[Row], *, reference: float | None = None, span: tuple[float, float] | None = None
) -> Plot:
    """Shares on a scale that fits them, with round ticks.

    Args:
        rows: Lines.
        reference: Vertical line.
        span: Fixed ends of the scale, or None to fit the rows.
    """
    rows = tuple(rows)
    low, high = span or _span(rows, reference, 0.0, 1.0)
    return Plot(rows, low, high, tuple((t, f"{100 * t:g}%") for t in _ticks(low, high)), reference)


def points_plot(rows: Iterable[Row]) -> Plot:
    """Differences in points around zero."""
    rows = tuple(rows)
    low, high = _span(rows, 0.0, -1.0, 1.0)
    ticks = tuple((t, f"{100 * t:+g}".replace("-", "−") if t else "0") for t in _ticks(low, high))
    return Plot(rows, low, high, ticks, 0.0)


def _span(
    rows: tuple[Row, ...], reference: float | None, lowest: float, highest: float
) -> tuple[float, float]:
    ends = (v for row in rows for v in (row.value, *(row.interval or ())))
    values = [v for v in (*ends, reference) if v is not None]
    if not values:
        return lowest, highest
    low, high = min(values), max(values)
    margin = max(0.1 * (high - low), 0.01)
    step = _step(high - low + 2 * margin)
    low, high = math.floor((low - margin) / step) * step, math.ceil((high + margin) / step) * step
    return max(lowest, round(low, 6)), min(highest, round(high, 6))


def _step(width: float) -> float:
    """A round step that gives four to eight ticks."""
    raw = width / 5.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw - 1e-12)


def _ticks(low: float, high: float) -> list[float]:
    step = _step(high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 6) for i in range(first, last + 1)]


# --- the confusion matrix as PNG and SVG: shaded cells, counts left, shares of the row right ---

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
    anchor: Literal["middle", "end"] = "middle"
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
    names = [float(load_font(_LABEL).getlength(name)) for name in texts.classes]
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
            shift = line.height // 2 if shape.anchor == "middle" else 0
            place = (px(shape.x) - line.width // 2, px(shape.y) - shift)
            picture.paste(Image.new("RGB", line.size, shape.fill), place, line)
        else:
            side = "m" if shape.anchor == "middle" else "r"
            draw.text((px(shape.x), px(shape.y)), shape.text, shape.fill, font, anchor=f"{side}m")
    return picture


def _vector(width: float, height: float, shapes: list[_Cell | _Text]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" font-family="{escape(_FONTS)}">',
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>',
        *map(_element, shapes),
        "</svg>\n",
    ]
    return "\n".join(lines)


def _element(shape: _Cell | _Text) -> str:
    if isinstance(shape, _Cell):
        return (
            f'<rect x="{shape.x:g}" y="{shape.y:g}" width="{shape.width:g}" '
            f'height="{shape.height:g}" fill="{shape.fill}"/>'
        )
    turn = f' transform="rotate(-90 {shape.x:g} {shape.y:g})"' if shape.turned else ""
    return (
        f'<text x="{shape.x:g}" y="{shape.y:g}" font-size="{shape.size}" fill="{shape.fill}" '
        f'text-anchor="{shape.anchor}" dominant-baseline="central"{turn}>'
        f"{escape(shape.text)}</text>"
    )
