"""Boxes and labels on copies of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nunbit.core.messages import InputError
from nunbit.pictures.crops import Mark, draw_marks, font_path, load_font, write_picture

GREY = np.full((700, 900, 3), 128, np.uint8)
BOX = (300.0, 250.0, 500.0, 500.0)


def changed(picture: Image.Image, pixels: np.ndarray = GREY) -> np.ndarray:
    return np.abs(np.asarray(picture).astype(int) - pixels).max(axis=2) > 30


def test_box_label_and_nothing_else() -> None:
    mask = changed(draw_marks(GREY, [Mark(BOX, "기쁨 0.93", 1)]))
    assert mask[375, 300]
    assert mask[375, 500]
    assert mask[500, 400]
    assert not mask[300:480, 320:480].any()  # the face itself stays clear
    rows, columns = np.nonzero(mask)
    assert rows.min() < 250  # the label stands above the box
    assert (rows.min(), columns.min()) > (180, 295)
    assert (rows.max(), columns.max()) < (505, 505)


def test_the_input_is_not_drawn_on() -> None:
    before = GREY.copy()
    draw_marks(GREY, [Mark(BOX, "x", 0)], "caption")
    assert (before == GREY).all()


def test_hangul_is_drawn_as_hangul() -> None:
    texts = ["기쁨", "슬픔", "분노", "가나"]
    drawn = [np.asarray(draw_marks(GREY, [Mark(BOX, text)])) for text in texts]
    for first in range(len(texts)):  # a font without Hangul draws the same box for all
        for second in range(first):
            assert (drawn[first] != drawn[second]).any()


def test_valence_is_told_by_colour() -> None:
    edges = [np.asarray(draw_marks(GREY, [Mark(BOX, "", v)]))[375, 300] for v in (-1, 0, 1)]
    assert len({tuple(edge) for edge in edges}) == 3


def test_a_class_has_the_colour_of_the_reports() -> None:
    edge = np.asarray(draw_marks(GREY, [Mark(BOX, "", 1, "#e9a820")]))[375, 300]
    assert tuple(edge) == (0xE9, 0xA8, 0x20)


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -50.0, 60.0, 60.0),
        (880.0, 680.0, 990.0, 790.0),
        (0.0, 0.0, 900.0, 700.0),
        (895.0, 300.0, 896.0, 301.0),
        (2000.0, 2000.0, 2100.0, 2100.0),
        None,
    ],
)
def test_boxes_at_and_beyond_the_edge(box: tuple[float, float, float, float] | None) -> None:
    picture = draw_marks(GREY, [Mark(box, "아주 긴 설명이 붙은 얼굴 0.12", -1)])
    assert picture.size == (900, 700)
    assert changed(picture).any()


def test_small_pictures_are_enlarged_so_that_texts_can_be_read() -> None:
    small = np.zeros((48, 48, 3), np.uint8)
    picture = draw_marks(small, [Mark((10.0, 10.0, 40.0, 40.0), "joy 0.5", 1)])
    assert picture.size == (13 * 48, 13 * 48)
    assert np.asarray(picture)[25 * 13, 10 * 13].max() > 100


def test_the_caption_stands_below_the_picture() -> None:
    caption = "겉으로 드러난 표정의 추정이며 진단이 아닙니다. " * 6
    picture = draw_marks(GREY, [], caption)
    assert picture.width == 900
    assert picture.height > 700 + 30  # wrapped over several lines
    pixels = np.asarray(picture)
    assert (pixels[:700] == 128).all()
    assert (pixels[700:] == 255).any()


def test_many_faces() -> None:
    marks = [
        Mark((x, y, x + 20.0, y + 25.0), f"{x}", 0)
        for x in range(0, 880, 40)
        for y in range(0, 660, 60)
    ]
    assert len(marks) > 200
    assert changed(draw_marks(GREY, marks)).mean() > 0.1


@pytest.mark.parametrize(("suffix", "form"), [(".jpg", "JPEG"), (".PNG", "PNG"), (".webp", "WEBP")])
def test_written_in_the_format_of_the_name(tmp_path: Path, suffix: str, form: str) -> None:
    path = tmp_path / "new" / f"out{suffix}"
    write_picture(Image.new("RGB", (40, 30), (200, 0, 0)), path)
    with Image.open(path) as read:
        assert (read.format, read.size) == (form, (40, 30))
        assert len(read.getexif()) == 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in one of \.jpg"):
        write_picture(Image.new("RGB", (4, 4)), tmp_path / "out.tiff")
    assert list(tmp_path.iterdir()) == []


def test_the_font_has_hangul_and_its_licence_lies_beside_it() -> None:
    assert load_font(20).getmask("슬픔").getbbox() != load_font(20).getmask("기쁨").getbbox()
    missing = load_font(20).getmask("\U0001f600")  # the box that stands for what it lacks
    for text in ("각", "힣", "ㄱ", "é", "≥", "×"):
        assert bytes(load_font(20).getmask(text)) != bytes(missing)
    licence = (font_path().parent / "OFL.txt").read_text(encoding="utf-8")
    assert "SIL OPEN FONT LICENSE" in licence
    assert "Nanum" not in "".join(load_font(20).getname())  # a reserved name
