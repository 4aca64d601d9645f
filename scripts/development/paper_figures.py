"""The figures of ``docs/paper.md``, drawn as SVG text: the same bytes on every machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from nunbit.core.messages import Lang

_BLUE, _ORANGE, _GREY, _INK, _RULE = "#1f5f9e", "#b55a00", "#5a6775", "#1b2530", "#dde3e9"
_FONTS = "system-ui, 'Noto Sans KR', 'Noto Sans CJK KR', 'Apple SD Gothic Neo', sans-serif"
_WIDTH = 760


def truth_figure(names: Sequence[str], findings: dict[str, Any], lang: Lang) -> str:
    """Images of each class: Table 2's rows, the folders, the annotators' majority."""
    total = findings["table_sum"]
    columns = (
        findings["folder_counts"],
        [share * total for share in findings["majority_shares"]],
        findings["truth_counts"],
    )
    legend = {
        "en": ("folders (uploader)", "annotators' majority, scaled", "Table 2, row sums"),
        "ko": ("폴더(게시자)", "주석자 다수결(비율 환산)", "표 2의 행 합계"),
    }[lang]
    title = {"en": "Images of each class", "ko": "클래스별 이미지 수"}[lang]
    left, right, top, step = 130.0, 34.0, 82.0, 34.0
    largest = 12_000

    def x(count: float) -> float:
        return left + (_WIDTH - left - right) * count / largest

    bottom = top + step * len(names) - 10
    parts = [_text(24, 32, title, size=17, weight=600)]
    marks = (_ring(_GREY), _diamond(_ORANGE), _dot(_BLUE))
    parts += _legend(zip(marks, legend, strict=True), left, 54)
    for tick in range(0, largest + 1, 2000):
        parts.append(_line(x(tick), top - 14, x(tick), bottom, _RULE))
        parts.append(_text(x(tick), bottom + 18, f"{tick:,}", colour=_GREY, anchor="middle"))
    for row, name in enumerate(names):
        y = top + step * row + 4
        folder, majority, table = (column[row] for column in columns)
        parts.append(_text(left - 14, y + 5, name, anchor="end", size=14))
        parts.append(_line(x(folder), y, x(table), y, _BLUE, width=2, opacity=0.35))
        for mark, count in zip(marks, (folder, majority, table), strict=True):
            parts.append(mark(x(count), y))
    return _svg(parts, bottom + 34, title)


def binary_figure(findings: dict[str, Any], lang: Lang) -> str:
    """Accuracy of two-class answers, the paper's among them."""
    two = findings["binary"]
    texts = {
        "en": (
            "Two classes: accuracy on Table 2's images",
            "answering “depression-related” every time",
            "the paper's two-class result, as printed",
            "answering “not” every time",
            "the paper's own seven-class answers, collapsed",
        ),
        "ko": (
            "두 클래스: 표 2 이미지에서의 정확도",
            "언제나 ‘우울 관련’이라고 답함",
            "논문에 적힌 두 클래스 결과",
            "언제나 ‘아니다’라고 답함",
            "논문의 일곱 클래스 답을 두 묶음으로 합침",
        ),
    }[lang]
    bars = (
        (two["share_of_group"], _GREY, 2),
        (two["accuracy_stated"], _ORANGE, 1),
        (two["best_constant"], _GREY, 1),
        (two["collapsed_accuracy"], _BLUE, 2),
    )
    left, top, step = 330.0, 62.0, 36.0
    full = _WIDTH - left - 90
    parts = [_text(24, 32, texts[0], size=17, weight=600)]
    for row, ((share, colour, digits), name) in enumerate(zip(bars, texts[1:], strict=True)):
        y = top + step * row
        parts.append(_text(left - 14, y + 15, name, anchor="end", size=13))
        parts.append(
            f'<rect x="{left:.1f}" y="{y:.1f}" width="{full * share:.1f}" height="20" rx="3" '
            f'fill="{colour}"/>'
        )
        value = f"{100 * share:.{digits}f}%"
        parts.append(_text(left + full * share + 8, y + 15, value, size=14, weight=600))
    return _svg(parts, top + step * len(bars) + 8, texts[0])


def loss_figure(rows: Sequence[dict[str, Any]], lang: Lang) -> str:
    """InfoNCE by batch size: a guess, the floor, and the room between them."""
    texts = {
        "en": (
            "InfoNCE in nats, by batch size",
            "a guess, ln B",
            "floor: class known",
            "batch size",
        ),
        "ko": (
            "배치 크기별 InfoNCE 손실(nat)",
            "추측: ln B",
            "바닥: 클래스를 다 맞힘",
            "배치 크기",
        ),
    }[lang]
    room = {"en": "room to learn", "ko": "배울 수 있는 폭"}[lang]
    left, right, top, height = 60.0, 160.0, 62.0, 250.0
    first, last = (math.log2(rows[i]["batch_size"]) for i in (0, -1))

    def x(batch: int) -> float:
        return left + (_WIDTH - left - right) * (math.log2(batch) - first) / (last - first)

    def y(loss: float) -> float:
        return top + height * (1.0 - loss / 8.0)

    guess = [(x(r["batch_size"]), y(r["uniform"])) for r in rows]
    floor = [(x(r["batch_size"]), y(r["floor"])) for r in rows]
    parts = [_text(24, 32, texts[0], size=17, weight=600)]
    for tick in range(0, 9, 2):
        parts.append(_line(left, y(tick), _WIDTH - right, y(tick), _RULE))
        parts.append(_text(left - 10, y(tick) + 4, str(tick), colour=_GREY, anchor="end"))
    parts.append(
        f'<polygon points="{_points([*guess, *floor[::-1]])}" fill="{_BLUE}" opacity=".1"/>'
    )
    parts.append(_polyline(guess, _GREY, dashed=True))
    parts.append(_polyline(floor, _ORANGE))
    parts += [_dot(_ORANGE)(*point) for point in floor]
    for row, point in zip(rows, floor, strict=True):
        parts.append(_text(point[0], point[1] + 22, f"{row['floor']:.2f}", anchor="middle"))
        label = str(row["batch_size"])
        parts.append(_text(point[0], top + height + 20, label, colour=_GREY, anchor="middle"))
    middle = (left + _WIDTH - right) / 2
    parts.append(_text(middle, top + height + 42, texts[3], colour=_GREY, anchor="middle"))
    end = _WIDTH - right + 14
    parts.append(_text(end, guess[-1][1] + 4, texts[1], colour=_GREY))
    parts.append(_text(end, (guess[-1][1] + floor[-1][1]) / 2 + 4, room, colour=_BLUE))
    parts.append(_text(end, floor[-1][1] + 4, texts[2], colour=_ORANGE))
    return _svg(parts, top + height + 58, texts[0])


def _svg(parts: Iterable[str], height: float, title: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}" role="img" font-family="{_FONTS}" font-size="12">\n'
        f"<title>{escape(title)}</title>\n"
        # Its own paper: a dark page would swallow the ink.
        f'<rect width="100%" height="100%" rx="10" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    colour: str = _INK,
    anchor: str = "start",
    size: int = 12,
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" '
        f'font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
    )


def _line(
    x0: float, y0: float, x1: float, y1: float, colour: str, width: float = 1, opacity: float = 1
) -> str:
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}" opacity="{opacity:g}"/>'
    )


def _polyline(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 5"' if dashed else ""
    return (
        f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" '
        f'stroke-width="2"{dash}/>'
    )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _dot(colour: str) -> Any:
    return lambda x, y: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>'


def _ring(colour: str) -> Any:
    return lambda x, y: (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#ffffff" stroke="{colour}" '
        'stroke-width="2"/>'
    )


def _diamond(colour: str) -> Any:
    return lambda x, y: (
        f'<path d="M{x:.1f} {y - 7:.1f}l6 7l-6 7l-6 -7z" fill="{colour}" opacity=".85"/>'
    )


def _legend(entries: Iterable[tuple[Any, str]], x: float, y: float) -> list[str]:
    parts = []
    for mark, text in entries:
        parts += [mark(x, y - 4), _text(x + 13, y, text, colour=_GREY)]
        x += 30 + 12 * sum(0.55 if c.isascii() else 1.0 for c in text)
    return parts
