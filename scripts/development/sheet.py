"""Contact sheets: drawn emotions side by side, named in Korean, for documents and for looking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from nunbit.language.labels import load_label_set
from nunbit.pictures.crops import load_font
from nunbit.runtime.files import atomic_path
from nunbit.synth.actors import EMOTIONS, TILTS, expression_of, sample_person
from nunbit.synth.drawing import Pose
from nunbit.synth.drawn_face import render_face


def contact_sheet(path: Path, *, persons: int = 6, seed: int = 0, cell: int = 200) -> None:
    """Draw every emotion of several persons as one PNG.

    Args:
        path: PNG to write.
        persons: Number of rows.
        seed: Seed of persons and variants.
        cell: Side of one drawing, pixels.

    Raises:
        InputError: The file cannot be written.
    """
    label_set = load_label_set("aihub7")
    head = cell // 4
    sheet = Image.new("RGB", (cell * len(EMOTIONS), head + cell * persons), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    big, small = load_font(round(0.11 * cell)), load_font(round(0.065 * cell))
    for column, label in enumerate(label_set.labels):
        middle = (column + 0.5) * cell
        draw.text((middle, 0.4 * head), label.name.ko, fill=(30, 30, 34), font=big, anchor="mm")
        draw.text(
            (middle, 0.8 * head), label.name.en, fill=(110, 110, 116), font=small, anchor="mm"
        )
        for row in range(persons):
            face = _cell(label.id, row, column, seed, cell)
            sheet.paste(face, (column * cell, head + row * cell))
    with atomic_path(path) as partial:
        sheet.save(partial, "PNG", optimize=True)


def _cell(emotion: str, row: int, column: int, seed: int, side: int) -> Image.Image:
    person = sample_person(np.random.default_rng([seed, 0, row]))
    rng = np.random.default_rng([seed, 1, row, column])
    pose = Pose(
        x=0.5 * side,
        y=0.46 * side,
        scale=0.29 * side,
        roll_deg=TILTS[emotion].roll + float(rng.normal(0, 3)),
        yaw_deg=TILTS[emotion].yaw + float(rng.normal(0, 5)),
        pitch_deg=TILTS[emotion].pitch,
    )
    figure = render_face(person, expression_of(emotion, rng), pose, (side, side), zoom=3)
    tone = (222, 226, 232) if (row + column) % 2 else (230, 234, 238)
    picture = Image.new("RGB", (side, side), tone)
    picture.paste(figure.image, (0, 0), figure.mask)
    return picture
