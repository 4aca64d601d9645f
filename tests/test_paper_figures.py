"""Figures for papers: their size, fonts, stretch, greyscale, and what they refuse."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

import nunbit
from command import run_command
from make_timeline import Recipe, make_timeline
from nunbit.core.messages import InputError
from nunbit.report import render_timeline
from nunbit.report.group_figures import mean_over_persons, read_values


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_timeline(tmp_path_factory.mktemp("figures") / "면담", Recipe(duration_s=90.0))


def test_a_pdf_embeds_the_hangul_font_and_has_the_width_of_the_page(
    session: Path, tmp_path: Path
) -> None:
    started = time.process_time()
    done = run_command("figure", session, "--out", tmp_path / "f.pdf", "--lang", "ko")
    assert time.process_time() - started < 6.0  # 3 s alone; the machine of a test is not alone
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"NunbitHangul" in data
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", data)
    assert box is not None
    assert float(box[1]) / 72 * 25.4 == pytest.approx(180, abs=0.5)


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_one_column_and_a_stretch(session: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"f.{kind}"
    done = run_command("figure", session, "--tracks", "face,words,valence", "--from", "0:30",
                       "--to", "1:00", "--width", "one", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 5000
    if kind == "png":
        with Image.open(out) as image:
            assert image.width == pytest.approx(3.35 * 300, abs=2)


def test_the_legend_names_classes_and_sources(session: Path) -> None:
    figure: Any = nunbit.read_timeline(session).plot(["face", "valence"], start_s=10, end_s=50)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"joy", "neutral", "sadness", "face", "voice", "words", "together (index)",
            "missing"} <= set(named)  # fmt: skip
    assert figure.axes[0].get_xlim() == (10.0, 50.0)
    ribbon: Any = nunbit.read_timeline(session).plot(["face"])
    assert "words" not in [text.get_text() for text in ribbon.legends[0].get_texts()]


def test_neighbours_differ_without_colour(session: Path) -> None:
    """Two classes that touch have another lightness or another hatch."""
    figure: Any = nunbit.read_timeline(session).plot(["face"])
    bands = {}
    for patch in figure.axes[0].collections:
        colour = patch.get_facecolor()[0][:3] @ np.array([0.2126, 0.7152, 0.0722])
        bands[round(float(colour), 3), patch.get_hatch()] = True
    assert len(bands) == 7  # as many as there are classes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracks", "faces"], "--tracks faces: choose from together, face"),
        (["--from", "soon"], "--from soon: expected seconds or minutes:seconds"),
        (["--from", "5:00"], "the stretch 5:00–1:30 is not in the recording"),
        (["--by", "group"], "give the one or the other"),
        (["--measure", "face.nothing"], "no recording has a value of face.nothing; there are"),
    ],
)
def test_a_wrong_wish_is_one_line(
    session: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run_command("figure", session, *arguments, "--out", tmp_path / "f.pdf")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "f.pdf").exists()


def test_another_ending_or_a_missing_track_is_refused(tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=30.0, words=False))
    done = run_command("figure", folder, "--out", tmp_path / "f.jpg")
    assert "--out is f.jpg: end its name in .pdf, .svg, .png" in done.stderr
    with pytest.raises(InputError, match="nothing to draw for words; there are: together, face"):
        nunbit.read_timeline(folder).plot(["words"])


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four persons before and after."""
    out = tmp_path_factory.mktemp("visits")
    for n, person in enumerate(("P1", "P2", "P3", "P4")):
        for k, group in enumerate(("before", "after")):
            folder = make_timeline(out / f"{person}{k}", Recipe(duration_s=40.0, seed=2 * n + k))
            path = folder / "summary.json"
            summary = json.loads(path.read_text(encoding="utf-8"))
            for row in summary["measures"]:
                if (row["modality"], row["measure"]) == ("face", "expressivity"):
                    row["value"], row["ci"] = 0.3 + 0.1 * k + 0.01 * n, [0.25, 0.5]
            summary |= {"subject": person, "about": {"group": group, "session": str(k + 1)}}
            path.write_text(json.dumps(summary), encoding="utf-8")
    return out


@pytest.mark.parametrize("by", ["person", "group", "session", "time"])
def test_a_measure_over_recordings_shows_every_recording(
    visits: Path, tmp_path: Path, by: str
) -> None:
    measure = "face.p_joy" if by == "time" else "face.expressivity"
    done = run_command("figure", visits, "--measure", measure, "--by", by, "--out",
                       tmp_path / "g.svg")  # fmt: skip
    assert done.returncode == 0, done.stderr
    if by == "time":
        return
    figure: Any = nunbit.read_sessions(visits).plot(measure, by)
    points = [line for line in figure.axes[0].lines if line.get_marker() in list("osD^vP*X")]
    assert sorted(float(p.get_ydata()[0]) for p in points) == pytest.approx(
        [0.3, 0.31, 0.32, 0.33, 0.4, 0.41, 0.42, 0.43]
    )
    if by == "group":
        assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["before", "after"]


def test_persons_are_the_units(visits: Path) -> None:
    """Ten recordings of one person are one value, and two persons give no interval."""
    values = [("a", 0.0)] * 10 + [("b", 1.0)]
    assert mean_over_persons(values)[0] == 0.5
    assert np.isnan(mean_over_persons(values)[1:]).all()
    mean, low, high = mean_over_persons([("a", 1.0), ("b", 2.0), ("c", 3.0)])
    assert (mean, low, high) == pytest.approx(
        (2.0, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4
    )
    assert len(read_values(sorted(p for p in visits.iterdir()), "face.expressivity")) == 8


@pytest.mark.slow
def test_the_report_gives_the_line_of_the_figure(session: Path, browser_page: Any) -> None:
    browser_page.goto(render_timeline(session, lang="en").as_uri())
    browser_page.evaluate("document.getElementById('paper').open = true")
    browser_page.locator("#paper-copy").click()
    line = browser_page.locator("#paper-line").inner_text()
    assert line == 'nunbit figure "면담" --out figure.pdf'
    browser_page.locator("#zoom-in").click()
    browser_page.locator("#paper-copy").click()
    assert re.search(r"--from \d+:\d\d(\.\d)? --to \d+:\d\d", browser_page.locator(
        "#paper-line").inner_text())  # fmt: skip
