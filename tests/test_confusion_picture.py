"""The drawn confusion matrix: what is written where, and that both files say the same."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from nunbit.report.shapes import ConfusionTexts, draw_confusion

SVG = "{http://www.w3.org/2000/svg}"
KOREAN = ConfusionTexts("개수", "행의 비율(%)", "예측", "정답", ("기쁨", "슬픔", "중립 & <그 외>"))


def test_every_count_and_share_is_in_the_picture(tmp_path: Path) -> None:
    counts = [[1200, 3, 0], [0, 0, 0], [1, 1, 2]]
    png, svg = draw_confusion(tmp_path / "confusion", counts, KOREAN)
    root = ElementTree.parse(svg).getroot()
    written = [node.text for node in root.iter(f"{SVG}text")]
    for text in ("1,200", "3", "99.8", "0.2", "25.0", "50.0", "개수", "예측", "정답"):
        assert text in written
    assert written.count("중립 & <그 외>") == 4  # row and column of both panels
    cells = [node for node in root.iter(f"{SVG}rect") if node.get("x")]
    assert len(cells) == 2 * 9
    assert cells[0].get("fill") == cells[9].get("fill")  # shaded by the share, left and right
    width, height = (float(root.get(name, "0")) for name in ("width", "height"))
    with Image.open(png) as picture:
        assert picture.size == (round(2.5 * width), round(2.5 * height))
        pixels = np.asarray(picture)
    # The middle of a cell's left edge has its colour in the PNG, too.
    for cell in cells:
        x, y, h = (float(cell.get(name, "0")) for name in ("x", "y", "height"))
        seen = pixels[round(2.5 * (y + h / 2)), round(2.5 * x) + 2]
        assert "#" + "".join(f"{v:02x}" for v in seen) == cell.get("fill")
    for node in root.iter(f"{SVG}text"):
        assert 0 < float(node.get("x", "0")) < width
        assert 0 < float(node.get("y", "0")) < height


def test_darker_means_more(tmp_path: Path) -> None:
    names = tuple("abcde")
    counts = np.diag([0, 25, 50, 75, 100]) + np.eye(5, k=1, dtype=int) * 25
    _, svg = draw_confusion(tmp_path / "c", counts, ConfusionTexts("n", "%", "p", "t", names))
    fills = re.findall(r'<rect x[^>]*fill="(#\w+)"', svg.read_text(encoding="utf-8"))
    grey = [sum(int(f[i : i + 2], 16) for i in (1, 3, 5)) for f in fills[:25]]
    diagonal = [grey[6 * i] for i in range(5)]
    assert diagonal == sorted(diagonal, reverse=True)
    assert len(set(diagonal)) == 5


def test_many_long_names_fit(tmp_path: Path) -> None:
    names = tuple(f"a rather long name {n}" for n in range(12))
    counts = np.ones((12, 12), int)
    png, svg = draw_confusion(tmp_path / "c", counts, ConfusionTexts("n", "%", "p", "t", names))
    root = ElementTree.parse(svg).getroot()
    assert sum("rotate" in (n.get("transform") or "") for n in root.iter(f"{SVG}text")) == 2 * 13
    with Image.open(png) as picture:
        edge = np.concatenate([np.asarray(picture)[0], np.asarray(picture)[-1]])
    assert (edge == 255).all()  # nothing is cut off


def test_the_matrix_must_fit_the_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected \(3, 3\)"):
        draw_confusion(tmp_path / "c", [[1, 2], [3, 4]], KOREAN)
    assert list(tmp_path.iterdir()) == []
