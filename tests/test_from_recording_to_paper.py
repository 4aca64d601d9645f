"""docs/from-recording-to-paper.md is walked as it stands; its pictures are what the code draws."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("matplotlib")

from command import run_command

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {"en": DOCS / "from-recording-to-paper.md", "ko": DOCS / "from-recording-to-paper.ko.md"}
REDRAW = "NUNBIT_REDRAW"
"""Set it to write the pictures of the pages anew: NUNBIT_REDRAW=1 pytest tests/test_from_…py"""


def blocks(page: Path, kind: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
    return [text for name, text in found if name == kind]


def test_both_languages_walk_the_same_way() -> None:
    for kind in ("python", ""):
        assert blocks(PAGES["en"], kind) == blocks(PAGES["ko"], kind)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk")
    (made,) = blocks(PAGES["en"], "python")
    with contextlib.chdir(folder):
        exec(compile(made, "five interviews", "exec"), {"__name__": "walk"})
    for line in "".join(blocks(PAGES["en"], "")).splitlines():
        words = shlex.split(line)
        assert words[0] == "nunbit"
        if {"xlsx,sav"} & set(words):
            pytest.importorskip("pyreadstat")
        done = run_command(*words[1:], folder=folder)
        assert done.returncode == 0, (line, done.stderr)
    return folder


@pytest.mark.slow
def test_the_walk_ends_with_figure_table_and_paragraph(walked: Path) -> None:
    assert (walked / "tracks.pdf").read_bytes().startswith(b"%PDF")
    assert (walked / "groups.pdf").stat().st_size > 5000
    with (walked / "timelines" / "sessions_wide.csv").open(encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["person"], r["session"], r["group"]) for r in rows] == [
        ("P01", "1", "before"), ("P01", "2", "after"), ("P02", "1", "before"),
        ("P02", "2", "after"), ("P02", "3", "after"),
    ]  # fmt: skip
    joy = [float(r["face.p_joy"]) for r in rows]
    assert min(joy[1], joy[3], joy[4]) > max(joy[0], joy[2])  # the drawn smiles
    text = (walked / "methods.txt").read_text(encoding="utf-8")
    assert "5 recordings of 2 persons" in text
    with (walked / "comparison" / "differences.csv").open(encoding="utf-8-sig") as stream:
        found = {(r["person"], r["measure"]): r for r in csv.DictReader(stream)}
    assert float(found["*", "face.p_joy"]["difference"]) > 0
    assert found["*", "face.p_joy"]["low"] == ""  # two persons
    for path in (walked / "shared").rglob("*"):
        if path.is_file():
            assert "친구를".encode() not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_pictures_are_what_the_code_draws(walked: Path, lang: str, tmp_path: Path) -> None:
    lines = {
        "tracks": "timelines/P02_2 --tracks face,words,valence,speech",
        "groups": "timelines --measure face.p_joy --by group",
    }
    for name, line in lines.items():
        drawn, kept = tmp_path / f"{name}.png", DOCS / "figures" / f"walk-{name}-{lang}.png"
        done = run_command("figure", *line.split(), "--lang", lang, "--out", drawn, folder=walked)
        assert done.returncode == 0, done.stderr
        if os.environ.get(REDRAW):
            shutil.copy(drawn, kept)
        with Image.open(drawn) as new, Image.open(kept) as old:
            assert new.size == old.size
            a, b = (np.asarray(each.convert("L"), np.float64) for each in (new, old))
        assert np.abs(a - b).mean() < 3.0, name  # another processor moves a curve by a pixel
