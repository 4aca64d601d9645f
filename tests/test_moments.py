"""The first page of a timeline: at most five moments, ranked, each with why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command import run_command
from make_timeline import Recipe, make_timeline
from nunbit.report import render_timeline
from nunbit.report.timeline_data import read_recording
from nunbit.report.timeline_tables import first_moments
from nunbit.report.timeline_view import TimelineView


def episode(kind: str, start: float, peak: float, note: str = "") -> dict[str, Any]:
    return {"kind": kind, "start": start, "end": start + 5.0, "peak": peak, "note": note}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = make_timeline(tmp_path / "s", Recipe(duration_s=120.0))
    summary = json.loads((made / "summary.json").read_text(encoding="utf-8"))
    summary["episodes"] = [
        *(episode("incongruence", 5.0 * k, 0.2 + k / 100, "face+ text−: 네") for k in range(20)),
        episode("joy", 3.0, 0.8), episode("joy", 50.0, 0.9),
        episode("low_agreement", 70.0, -0.5), episode("low_agreement", 80.0, -0.7),
    ]  # fmt: skip
    (made / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return made


def test_kinds_take_turns_and_the_strongest_comes_first(folder: Path) -> None:
    found = first_moments(TimelineView(read_recording(folder), "en"))
    assert [(row["at"], row["kind"]) for row in found] == [
        (95.0, "disagreement"), (80.0, "unusually low agreement"), (50.0, "joy"),
        (90.0, "disagreement"), (70.0, "unusually low agreement"),
    ]  # fmt: skip
    assert found[0]["why"].startswith("disagreement, peak 0.39, 5.0 s: the strongest of 20.")
    assert "Face more positive than Words: 네" in found[0]["why"]
    assert "number 2 of 20" in found[3]["why"]


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_page_begins_with_them_and_folds_the_rest(folder: Path, lang: Any) -> None:
    page = render_timeline(folder, lang=lang).read_text(encoding="utf-8")
    title = "Moments to watch first" if lang == "en" else "먼저 볼 순간"
    assert page.index(title) < page.index('<section id="timeline">')
    assert '<details class="episodes"><summary>' in page


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_breaks_or_scrolls_sideways(folder: Path, browser_page: Any, width: int) -> None:
    browser_page.set_viewport_size({"width": width, "height": 900})
    browser_page.goto(render_timeline(folder, lang="en").as_uri())
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= width
    broken = browser_page.evaluate(
        """[...document.querySelectorAll('.gutter .title, .value span')].filter((e) => {
             const r = document.createRange(); r.selectNodeContents(e);
             const words = e.textContent.trim().split(/\\s+/).length;
             return new Set([...r.getClientRects()].map((b) => Math.round(b.top))).size > words;
           }).map((e) => e.textContent)"""
    )
    assert broken == []


def test_report_of_a_folder_renders_every_report(folder: Path) -> None:
    make_timeline(folder.parent / "t", Recipe(duration_s=20.0))
    make_timeline(folder.parent / "u", Recipe(duration_s=20.0))
    (folder.parent / "u" / "timeline.parquet").write_bytes(b"PAR1")
    done = run_command("report", folder.parent, "--lang", "ko")
    assert done.returncode == 0, done.stderr
    for name in ("s", "t"):
        page = (folder.parent / name / "report.html").read_text(encoding="utf-8")
        assert "타임라인 보고서" in page
    assert "u" in done.stderr
