"""Every page of ``nunbit app`` as a picture: two languages, two widths, light and dark.

    python scripts/page_pictures.py OUT [--only result,compare] [--lang ko]
    python scripts/page_pictures.py docs --way   # those of docs/app.md that show an interview

One sheet a page, its looks side by side, and the single pictures beside it. The sessions are drawn
by the tests' makers. Look at them: no test sees that a page is ugly.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from PIL import Image
from playwright.sync_api import sync_playwright

from make_interview import made_interview
from make_live import App, running_app
from make_pages import Finished, fill
from make_timeline import Recipe, make_timeline
from nunbit.report.timeline_page import render_timeline

PAGES = {
    "home": "", "consent": "consent", "choose": "choose", "progress": "progress",
    "sessions": "sessions", "result": "sessions/{id}", "compare": "compare?person=P-01",
    "export": "export?session={id}", "delete": "delete?person=P-01", "live": "live",
    "check": "check", "evaluations": "evaluations", "faces": "faces", "program": "program",
}  # fmt: skip
LOOKS = [(lang, width, scheme) for lang in ("ko", "en") for width in (1400, 390)
         for scheme in ("light", "dark")]  # fmt: skip
_MOST_PX = 2600  # of a page's height on a sheet: what is below is folded tables


@contextmanager
def stocked_app(folder: Path) -> Iterator[tuple[App, str]]:
    """The app with finished sessions of two people, and the id of one."""
    made = [make_timeline(folder / f"m{n}", Recipe(duration_s=240.0, seed=n)) for n in range(4)]
    for each in made:
        render_timeline(each, lang="ko")
    notes = ((5.0, "question", "쉬운 질문"), (120.0, "question", "어려운 질문"))
    given = [Finished("P-01", made[0], None, 20, notes), Finished("P-01", made[1], None, 10),
             Finished("P-01", made[2], None, 1), Finished("P-02", made[3])]  # fmt: skip
    ids = fill(folder / "data", given)
    with running_app(folder / "data") as app:
        yield app, ids[0]["id"]


def taken(browser: Any, app: App, address: str, look: tuple[str, int, str], path: Path) -> None:
    """One page in one look."""
    lang, width, scheme = look
    context = browser.new_context(
        viewport={"width": width, "height": 900 if width > 700 else 800}, color_scheme=scheme
    )
    context.add_init_script(f"try {{ localStorage.setItem('nunbit.lang', '{lang}') }} catch {{}}")
    page = context.new_page()
    page.goto(app.url)
    page.wait_for_selector("h1")
    page.goto(f"{app.origin}#/{address}")
    page.wait_for_selector("main h1")
    if address.startswith("sessions/"):
        page.wait_for_selector("iframe.report-frame[data-ready]", timeout=90_000)
    # A frame is painted where it is in view: the window becomes as high as the page.
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": max(800, min(height, 4000))})
    page.wait_for_timeout(3000 if address.startswith("sessions/") else 500)
    page.screenshot(path=path)
    context.close()


def sheet(pictures: list[Path], target: Path) -> None:
    """Pictures side by side, on grey."""
    opened = [Image.open(path).convert("RGB") for path in pictures]
    cut = [each.crop((0, 0, each.width, min(each.height, _MOST_PX))) for each in opened]
    whole = Image.new("RGB", (sum(each.width + 20 for each in cut), max(e.height for e in cut)),
                      (128, 128, 128))  # fmt: skip
    left = 0
    for each in cut:
        whole.paste(each, (left, 0))
        left += each.width + 20
    whole.thumbnail((2400, 2400))
    whole.save(target)


def way_taken(browser: Any, out: Path, folder: Path, lang: str) -> None:
    """The pictures of docs/app.md from the consent to the result of a made interview."""
    ending = ".ko.png" if lang == "ko" else ".png"
    interview = made_interview(folder, "면담 1회" if lang == "ko" else "interview 1", fps=5)
    with running_app(folder / f"data_{lang}") as app:
        context = browser.new_context(viewport={"width": 1100, "height": 1000})
        context.add_init_script(
            f"try {{ localStorage.setItem('nunbit.lang', '{lang}') }} catch {{}}"
        )
        page = context.new_page()
        page.set_default_timeout(120_000)

        def take(name: str, most: int = 2000) -> None:
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({"width": 1100, "height": min(height, most)})
            page.wait_for_timeout(1500)
            page.screenshot(path=out / f"app_{name}{ending}")
            page.set_viewport_size({"width": 1100, "height": 1000})

        page.goto(app.url)
        page.click("a.primary[href='#/consent']")
        page.fill("#code", "P-01")
        page.select_option("#purpose", "research_interview")
        page.fill("#purpose-text", "면담에서 표정과 목소리의 변화를 봅니다" if lang == "ko"
                  else "How face and voice change in an interview")  # fmt: skip
        for box in ("everybody", "may-stop", "scope-media"):
            page.click(f"#{box}")
        take("consent")
        page.click("#consent-file")
        page.wait_for_selector("#files", state="attached")
        page.set_input_files("#files", [str(interview.video), str(interview.words)])
        page.click(".face-box >> nth=0")
        page.click("input[name=speaker] >> nth=1")
        page.click(".axis .actions button >> nth=0")  # the first minute is at rest
        take("choose")
        page.click("#start")
        page.wait_for_selector(".job-card")
        page.wait_for_timeout(20_000)
        take("progress", 640)
        page.wait_for_selector("iframe.report-frame[data-ready]", timeout=600_000)
        page.click("#moments .moment-go >> nth=0")
        page.wait_for_timeout(1000)
        page.evaluate("scrollTo(0, 0)")
        take("result", 2200)
        context.close()


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default=",".join(PAGES))
    parser.add_argument("--lang", choices=["ko", "en"])
    parser.add_argument("--way", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    looks = [look for look in LOOKS if given.lang in (None, look[0])]
    if given.way:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            for lang in dict.fromkeys(look[0] for look in looks):
                way_taken(browser, given.out, Path(folder), lang)
            browser.close()
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        stocked_app(Path(folder)) as (app, session),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        for name in given.only.split(","):
            pictures = []
            for look in looks:
                path = given.out / f"{name}_{look[0]}_{look[1]}_{look[2]}.png"
                taken(browser, app, PAGES[name].format(id=session), look, path)
                pictures.append(path)
            for lang in dict.fromkeys(look[0] for look in looks):
                own = [path for path in pictures if f"_{lang}_" in path.name]
                sheet(own, given.out / f"sheet_{name}_{lang}.png")
            print(name, flush=True)
        browser.close()


if __name__ == "__main__":
    main()
