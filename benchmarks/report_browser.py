"""A long report and a long list of recordings in Chromium: until drawn, and memory.

``python benchmarks/report_browser.py [MINUTES] [RECORDINGS]`` (120, 500). Time: from the start of
loading a file until the page says it is ready and two frames were painted. Memory: proportional set
size of the page's own process, once ready, after a scroll over the whole page, and after zooming.
Baseline in the same run: an empty page, and a report of three minutes. Needs Playwright and a
Chromium; the recordings are made up.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from playwright.sync_api import sync_playwright

from make_timeline import Recipe, add_channels, make_timeline
from nunbit.report import render_timeline
from nunbit.report.timeline_page import render_sessions

CHANNELS = ("smile", "jaw_open", "brow_raise", "brow_lower", "eye_close")


def page_memory_mb(browser: Any) -> float:
    """Proportional set size of the largest page process, MB."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    sizes = []
    for process in (p for p in found if p["type"] == "renderer"):
        text = Path(f"/proc/{process['id']}/smaps_rollup").read_text(encoding="ascii")
        line = next(each for each in text.splitlines() if each.startswith("Pss:"))
        sizes.append(int(line.split()[1]) / 1024)
    return max(sizes)


def opened(browser: Any, url: str, ready: str, name: str) -> None:
    """Print how long a page takes and what it needs."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    counters = page.context.new_cdp_session(page)
    counters.send("Performance.enable", {"timeDomain": "threadTicks"})
    began = time.perf_counter()
    page.goto(url, wait_until="load")
    while not page.evaluate(ready):
        page.wait_for_timeout(20)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    took, memory = time.perf_counter() - began, [page_memory_mb(browser)]
    metrics = {m["name"]: m["value"] for m in counters.send("Performance.getMetrics")["metrics"]}
    busy = {n: metrics[f"{n}Duration"] for n in ("Task", "Script", "Layout", "RecalcStyle")}
    height = page.evaluate("document.documentElement.scrollHeight")
    for y in range(0, height, 800):
        page.evaluate(f"window.scrollTo(0, {y})")
        page.wait_for_timeout(30)
    memory.append(page_memory_mb(browser))
    slowest = 0.0
    if page.locator("canvas").count() > 1:
        canvas = page.locator("canvas").nth(1)
        canvas.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.keyboard.down("Control")
        for _ in range(10):
            at = time.perf_counter()
            page.mouse.wheel(0, -200)
            page.evaluate("new Promise(done => requestAnimationFrame(() =>"
                          " requestAnimationFrame(done)))")  # fmt: skip
            slowest = max(slowest, time.perf_counter() - at)
        page.keyboard.up("Control")
        memory.append(page_memory_mb(browser))
    shown = ", ".join(f"{m:.0f}" for m in memory)
    print(f"{name:28} {took:5.2f} s until drawn; {shown} MB (ready, scrolled, zoomed); slowest "
          f"zoom step {1000 * slowest:.0f} ms; processor seconds of the page's thread: "
          + ", ".join(f"{n} {v:.2f}" for n, v in busy.items()), flush=True)  # fmt: skip
    page.close()


def main(minutes: float, recordings: int) -> None:
    """Make, open, print, remove."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        (out / "empty.html").write_text("<!doctype html><title>empty</title>", encoding="utf-8")
        pages = {"empty page (baseline)": (out / "empty.html", "true")}
        ready = "document.documentElement.dataset.ready === '1'"
        for length in (3.0, minutes):
            folder = make_timeline(out / f"m{length:g}", Recipe(duration_s=60.0 * length))
            add_channels(folder, CHANNELS[:2])
            at = time.perf_counter()
            report = render_timeline(folder, lang="ko")
            print(f"report of {length:g} min: written in {time.perf_counter() - at:.1f} s, "
                  f"{report.stat().st_size / 2**20:.1f} MB", flush=True)  # fmt: skip
            pages[f"report of {length:g} minutes"] = (report, ready)
        many = out / "many"
        first = make_timeline(many / "r0000", Recipe(duration_s=600.0))
        for k in range(1, recordings):
            shutil.copytree(first, many / f"r{k:04d}")
        index = render_sessions(many, lang="ko")
        print(f"list: {index.stat().st_size / 2**20:.1f} MB")
        pages[f"list of {recordings} recordings"] = (index, "document.readyState === 'complete'")
        with sync_playwright() as playwright:
            path = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path)
            for what, (path_of, wait) in pages.items():
                opened(browser, path_of.as_uri(), wait, what)
            browser.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(float(given[0]) if given else 120.0, int(given[1]) if len(given) > 1 else 500)
