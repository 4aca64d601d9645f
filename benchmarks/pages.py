"""How fast the pages open: 500 recordings in the list, and the result of a two-hour interview.

    python benchmarks/pages.py [--sessions 500] [--hours 2] [--times 3] [--way] [--out pages.json]

The app is a process of its own, the browser the system's Chromium without a picture card, both on
this machine. Times run from the click to the drawn page. Baselines of the same run: a list of ten
recordings, and the whole report of the same interview opened as a file. The interview is made up
(``tests/make_timeline.py``); its first opening reads the tables, as after an update of nunbit or
where it was analysed from a command line; later ones take what was kept. ``--way`` counts the
clicks from the first page to an exported figure and the findings of axe-core, by running their
tests.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from playwright.sync_api import Page, sync_playwright

from make_app import stocked
from make_live import App, running_app

_LOOK_S = 0.005
_SHOWN = "document.documentElement.dataset.result === 'shown'"
_FRAME = "document.querySelector('iframe.report-frame')?.dataset.ready === '1'"


@contextmanager
def browsing() -> Iterator[Page]:
    """A page of the system's Chromium."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser.new_page(viewport={"width": 1400, "height": 900})
        browser.close()


def until(page: Page, script: str, began: float, seconds: float = 60.0) -> float:
    """Seconds since ``began`` at which an expression is true."""
    while time.perf_counter() - began < seconds:
        if page.evaluate(f"Boolean({script})"):
            return time.perf_counter() - began
        time.sleep(_LOOK_S)
    raise TimeoutError(script)


def opened(page: Page, address: str, *scripts: str) -> list[float]:
    """Seconds from the click on an address to each of the expressions."""
    page.evaluate("location.hash = '#/consent'")
    until(page, "document.querySelector('#consent-go')", time.perf_counter())
    began = time.perf_counter()
    page.evaluate(f"location.hash = {json.dumps(address)}")
    return [until(page, script, began) for script in scripts]


def listed(page: Page, app: App, sessions: int, times: int) -> list[float]:
    """Seconds until so many recordings are listed."""
    page.goto(app.url)
    page.wait_for_selector("h1")
    rows = f"document.querySelectorAll('.sessions-list tbody tr').length === {sessions}"
    return [opened(page, "#/sessions", rows)[0] for _ in range(times)]


def measured(folder: Path, sessions: int, hours: float, times: int) -> dict[str, Any]:
    """All figures, seconds."""
    long = stocked(folder / "many", sessions, hours)
    stocked(folder / "few", 10)
    report = folder / "many" / "sessions" / long / "report.html"
    found: dict[str, Any] = {"sessions": sessions, "hours": hours}
    with browsing() as page:
        with running_app(folder / "few") as app:
            found["list_of_10_s"] = listed(page, app, 10, times)
        with running_app(folder / "many") as app:
            found["list_s"] = listed(page, app, sessions, times)
            both = [opened(page, f"#/sessions/{long}", _SHOWN, _FRAME) for _ in range(times + 1)]
            found["first_page_s"], found["first_player_s"] = both[0]
            found["page_s"] = [page_s for page_s, _ in both[1:]]
            found["player_s"] = [player_s for _, player_s in both[1:]]
        began = time.perf_counter()
        page.goto(report.as_uri())
        found["report_s"] = until(page, "document.documentElement.dataset.ready === '1'", began)
    return found


_WAY = (
    "tests/test_pages_browser.py::test_the_whole_way_in_korean",
    "tests/test_pages_study.py::test_axe_finds_nothing_serious_on_any_page",
)


def walked(folder: Path) -> dict[str, Any]:
    """What the tests of the whole way and of axe-core note, and whether they passed."""
    told = folder / "way.xml"
    line = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={told}", *_WAY]
    run = subprocess.run(line, cwd=Path(__file__).parents[1], capture_output=True, check=False)
    found: dict[str, Any] = {"way_passed": run.returncode == 0}
    for each in ElementTree.parse(told).iter("property"):
        name, value = str(each.get("name")), int(str(each.get("value")))
        found[name] = max(value, found.get(name, 0))
    return found


def table(found: dict[str, Any]) -> str:
    """The rows of docs/results.md."""

    def worst(name: str) -> str:
        values = found[name] if isinstance(found[name], list) else [found[name]]
        return f"{statistics.median(values):.2f} (worst {max(values):.2f})"

    rows = (
        (f"list of {found['sessions']} recordings", worst("list_s"), "≤ 1"),
        ("baseline: list of 10", worst("list_of_10_s"), ""),
        (f"result of {found['hours']:g} h, first opening", worst("first_page_s"), "≤ 3"),
        ("… with player and tracks", worst("first_player_s"), ""),
        (f"result of {found['hours']:g} h, later", worst("page_s"), "≤ 3"),
        ("… with player and tracks", worst("player_s"), ""),
        ("baseline: its whole report as a file", worst("report_s"), ""),
    )
    if "clicks" in found:
        rows += (
            ("clicks from the first page to an exported figure", str(found["clicks"]), "≤ 12"),
            (f"axe-core, {found['axe_pages']} pages in two languages, light and dark, wide and "
             "narrow: serious findings", str(found["axe_findings"]), "0"),
        )  # fmt: skip
    lines = ["| page | s | bar |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--way", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), given.sessions, given.hours, given.times)
        if given.way:
            found |= walked(Path(folder))
    print(table(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
