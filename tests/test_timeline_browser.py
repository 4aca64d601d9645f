"""The timeline's page under a pointer and keys, in Chromium, spoken to through a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_timeline import Recipe, make_timeline
from nunbit.report import render_timeline

pytestmark = pytest.mark.slow

LENGTH_S = 40.0
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
PLAYED = "document.querySelector('audio').currentTime"
CURSOR = "Number(document.querySelector('[aria-valuetext]').getAttribute('aria-valuenow'))"
SHOWN = """(() => {
  const sound = document.querySelector("audio"), said = document.querySelector("[aria-valuetext]");
  return {at: sound.currentTime, ready: sound.readyState, now: said.getAttribute("aria-valuetext")};
})()"""
TRACK = """(() => {
  const track = document.querySelectorAll("canvas")[1];
  track.scrollIntoView({block: "center", behavior: "instant"});
  const r = track.getBoundingClientRect();
  return [r.x, r.y, r.width, r.height];
})()"""


class Browser:
    """A page in Chromium, by the DevTools protocol over two pipes: no port, no network."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        options = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        # Chromium reads descriptor 3 and writes 4.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 50) for end in (theirs_in, theirs_out)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *map(str, high), program, *options],
            pass_fds=high, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self._buffer, self._number, self._session = b"", 0, None
        self.errors: list[Any] = []
        targets = self.ask("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self.ask("Runtime.enable")
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command and wait for its answer; exceptions of the page are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                more = os.read(self._in, 1 << 20)
                if not more:
                    self.close()
                    pytest.skip("the browser does not start here")
                self._buffer += more
            text, self._buffer = self._buffer.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, script: str) -> Any:
        """What an expression of the page is."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        for _ in range(200):
            if self.value(script):
                return
            time.sleep(0.05)
        pytest.fail(f"not within ten seconds: {script}; {self.value(SHOWN)}")

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def track(browser: Browser, tmp_path: Path) -> tuple[float, float, float, float]:
    """A page with sound it can play, and where its first track lies: x, y, width, height."""
    recipe = Recipe(duration_s=LENGTH_S, face=False)
    folder = make_timeline(tmp_path / "s", recipe, path="s.wav")
    with wave.open(str(tmp_path / "s.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(np.zeros(int(8000 * LENGTH_S), "<i2").tobytes())
    page = render_timeline(folder, lang="en", media=tmp_path / "s.wav")
    browser.errors.clear()
    browser.ask("Page.navigate", url=page.as_uri())
    browser.until("document.documentElement.dataset.ready === '1'")
    browser.until("document.querySelector('audio').readyState >= 2")
    x, y, width, height = browser.value(TRACK)
    return x, y + height / 2, width, height


def test_a_click_moves_sound_and_cursor(
    browser: Browser, track: tuple[float, float, float, float]
) -> None:
    x, y, width, _ = track
    for share in (0.25, 0.75, 0.1):
        browser.click(x + share * width, y)
        browser.until(f"Math.abs({PLAYED} - {share * LENGTH_S}) < 0.1")
        browser.until(f"Math.abs({CURSOR} - {share * LENGTH_S}) < 0.6")  # said in whole seconds
    assert browser.errors == []


def test_zoom_keeps_the_place_under_the_pointer(
    browser: Browser, track: tuple[float, float, float, float]
) -> None:
    x, y, width, _ = track
    browser.ask(
        "Input.dispatchMouseEvent", type="mouseWheel", x=x + 0.75 * width, y=y,
        deltaX=0, deltaY=-400, modifiers=2,
    )  # fmt: skip
    browser.click(x + 0.75 * width, y)
    browser.until(f"Math.abs({PLAYED} - 30) < 0.1")
    browser.click(x, y)  # the left edge no longer is the beginning
    browser.until(f"{PLAYED} < 29")
    assert 3.0 < browser.value(SHOWN)["at"] < 29.0
    browser.value("document.getElementById('fit').click()")
    browser.click(x + 0.5 * width, y)
    browser.until(f"Math.abs({PLAYED} - 20) < 0.1")
    assert browser.errors == []


def test_the_cursor_runs_with_the_sound(
    browser: Browser, track: tuple[float, float, float, float]
) -> None:
    x, y, width, _ = track
    browser.click(x + 0.25 * width, y)
    browser.until(f"Math.abs({PLAYED} - 10) < 0.1")
    before = browser.value(SHOWN)
    browser.value("document.getElementById('play').click()")
    browser.until(f"{PLAYED} > 10.4")
    browser.value("document.getElementById('play').click()")
    browser.until("document.querySelector('audio').paused")
    after = browser.value(SHOWN)
    assert after["at"] > before["at"]
    browser.until(f"Math.abs({CURSOR} - {PLAYED}) < 0.6")
    assert browser.errors == []
