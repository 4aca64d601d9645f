"""The timeline's page under a pointer and keys, in the system's Chromium."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_timeline import Recipe, add_channels, make_timeline
from nunbit.report import render_sessions, render_timeline

LENGTH_S = 40.0
PLAYED = "document.querySelector('audio').currentTime"
CURSOR = "Number(document.querySelector('[aria-valuetext]').getAttribute('aria-valuenow'))"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with sound it can play."""
    folder = tmp_path_factory.mktemp("played")
    recipe = Recipe(duration_s=LENGTH_S, face=False)
    timeline = make_timeline(folder / "s", recipe, path="s.wav")
    with wave.open(str(folder / "s.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(np.zeros(int(8000 * LENGTH_S), "<i2").tobytes())
    return render_timeline(timeline, lang="en", media=folder / "s.wav")


class Opened:
    """The page, and where its first track lies."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.until("document.documentElement.dataset.ready === '1'")
        self.until("document.querySelector('audio').readyState >= 2")
        track = page.locator("canvas").nth(1)
        track.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
        box = track.bounding_box()
        self._x, self._width = box["x"], box["width"]
        self._y = box["y"] + box["height"] / 2

    def until(self, script: str) -> None:
        """Wait until an expression is true.

        ``wait_for_function`` polls by ``eval``, which the page's own policy rightly forbids.
        """
        for _ in range(200):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"not within ten seconds: {script}; played {self.played()}")

    def move(self, share: float) -> None:
        """Put the pointer on the track, ``share`` of its width from the left."""
        self.page.mouse.move(self._x + share * self._width, self._y)

    def click(self, share: float) -> None:
        self.page.mouse.click(self._x + share * self._width, self._y)

    def played(self) -> float:
        return float(self.page.evaluate(PLAYED))


@pytest.fixture
def opened(browser_page: Any, recording: Path) -> Opened:
    browser_page.goto(recording.as_uri())
    return Opened(browser_page)


def test_a_click_moves_sound_and_cursor(opened: Opened) -> None:
    for share in (0.25, 0.75, 0.1):
        opened.click(share)
        opened.until(f"Math.abs({PLAYED} - {share * LENGTH_S}) < 0.1")
        opened.until(f"Math.abs({CURSOR} - {share * LENGTH_S}) < 0.6")  # said in whole seconds


def test_zoom_keeps_the_place_under_the_pointer(opened: Opened) -> None:
    opened.move(0.75)
    opened.page.keyboard.down("Control")
    opened.page.mouse.wheel(0, -400)
    opened.page.keyboard.up("Control")
    opened.click(0.75)
    opened.until(f"Math.abs({PLAYED} - 30) < 0.1")
    opened.click(0.0)  # the left edge no longer is the beginning
    opened.until(f"{PLAYED} < 29")
    assert 3.0 < opened.played() < 29.0
    opened.page.locator("#fit").click()
    opened.click(0.5)
    opened.until(f"Math.abs({PLAYED} - 20) < 0.1")


def test_the_cursor_runs_with_the_sound(opened: Opened) -> None:
    opened.click(0.25)
    opened.until(f"Math.abs({PLAYED} - 10) < 0.1")
    before = opened.played()
    opened.page.locator("#play").click()
    opened.until(f"{PLAYED} > 10.4")
    opened.page.locator("#play").click()
    opened.until("document.querySelector('audio').paused")
    assert opened.played() > before
    opened.until(f"Math.abs({CURSOR} - {PLAYED}) < 0.6")


@pytest.mark.slow
def test_expression_channels_unfold(browser_page: Any, tmp_path: Path) -> None:
    folder = make_timeline(tmp_path / "s", Recipe(duration_s=20.0))
    page = browser_page
    page.goto(render_timeline(add_channels(folder, ("smile", "jaw_open")), lang="en").as_uri())
    track = page.locator("[data-folded] canvas").first
    assert not track.is_visible()
    page.locator("#fold").click()
    assert page.locator("[data-folded] canvas").count() == 2
    assert track.is_visible()
    drawn = "e => e.getContext('2d').getImageData(0, 0, e.width, e.height).data.some((v) => v > 0)"
    page.wait_for_timeout(200)
    assert track.evaluate(drawn)
    page.locator("#fold").click()
    assert not track.is_visible()


def test_a_long_list_is_searched(browser_page: Any, tmp_path: Path) -> None:
    first = make_timeline(tmp_path / "r00", Recipe(duration_s=20.0))
    for n in range(14):
        folder = first if n == 0 else tmp_path / f"r{n:02d}"
        if n:
            shutil.copytree(first, folder)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        summary |= {"session": f"r{n:02d}", "subject": f"P{n % 3}",
                    "about": {"group": "전" if n < 7 else "후"}}  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    page = browser_page
    page.goto(render_sessions(tmp_path, lang="ko").as_uri())
    rows = page.locator(".sessions tbody tr:visible")
    assert rows.count() == 14
    page.fill("#find", "P1 후")
    assert rows.count() == 3
    assert page.locator("main > section:visible").count() == 1
    assert page.locator("#found").inner_text() == "14개 중 3개"
    page.fill("#find", "")
    assert rows.count() == 14
    # A short list has none, and no script.
    for n in range(3, 14):
        shutil.rmtree(tmp_path / f"r{n:02d}")
    assert "<script" not in render_sessions(tmp_path, lang="en").read_text(encoding="utf-8")
