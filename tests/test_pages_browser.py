"""The way of a clinical researcher through the pages, in the system's Chromium, in two languages.

The interviews are drawn and spoken by the tests; the app is the real one, in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")
pytest.importorskip("playwright")
pytest.importorskip("fastapi", reason="the extra web is not installed")

from make_interview import Interview, made_interview
from make_live import App, running_app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MOST_CLICKS = 12
ANALYSED_S = 400.0
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
NAMELESS = """
[...document.querySelectorAll(
  "button, input, select, textarea, a[href], video, iframe, [role=img], [role=slider], summary"
)].filter((e) => {
  if (!e.checkVisibility()) return false;
  const name = e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.title
    || (e.labels?.length && e.labels[0].innerText) || e.innerText
    || e.closest("label")?.innerText;
  return !name || !name.trim();
}).map((e) => e.outerHTML.slice(0, 120))
"""


def _busy() -> float:
    """How many times more work waits than there are cores: limits of time are stretched by it."""
    return min(4.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


class Walk:
    """A page of the app that counts the clicks."""

    def __init__(self, page: Any, app: App) -> None:
        self.page, self.app, self.clicks = page, app, 0

    def click(self, selector: str) -> None:
        self.clicks += 1
        self.page.click(selector)

    def choose(self, selector: str, value: str) -> None:
        self.clicks += 1
        self.page.select_option(selector, value)

    def files(self, *paths: Path) -> None:
        """One click opens the dialogue of the system, in which the files are chosen."""
        self.clicks += 1
        self.page.wait_for_selector("#files", state="attached")
        self.page.set_input_files("#files", [str(path) for path in paths])

    def until(self, script: str, seconds: float = 20.0) -> None:
        """Wait until an expression is true; the page's policy forbids what Playwright would use."""
        end = time.monotonic() + seconds * _busy()
        while time.monotonic() < end:
            if self.page.evaluate(f"Boolean({script})"):
                return
            self.page.wait_for_timeout(100)
        pytest.fail(f"not within {seconds} s: {script}\n{self.page.inner_text('body')[:2000]}")

    def text(self, selector: str = "main") -> str:
        found: str = self.page.inner_text(selector)
        return found

    def tab_to(self, selector: str, most: int = 120) -> None:
        """Press Tab until something has the focus."""
        for _ in range(most):
            if self.page.evaluate(f"Boolean(document.activeElement?.matches({selector!r}))"):
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"Tab does not reach {selector}")

    def key(self, selector: str, key: str = "Enter") -> None:
        self.tab_to(selector)
        self.page.keyboard.press(key)

    def write(self, selector: str, text: str) -> None:
        self.tab_to(selector)
        self.page.keyboard.type(text)

    def drag_rest(self, start: float, end: float) -> None:
        """Drag on the time axis, between shares of its length."""
        self.page.eval_on_selector(".axis-track", "(e) => e.scrollIntoView({ block: 'center' })")
        box = self.page.locator(".axis-track").bounding_box()
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + start * box["width"], y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + (start + end) / 2 * box["width"], y, steps=4)
        self.page.mouse.move(box["x"] + end * box["width"], y, steps=4)
        self.page.mouse.up()

    def result_is_shown(self) -> None:
        self.until("location.hash.startsWith('#/sessions/')", ANALYSED_S)
        self.until("document.documentElement.dataset.result === 'shown'", 60)
        self.until("document.querySelector('iframe.report-frame')?.dataset.ready", 60)

    def saved(self, act: Callable[[], None], seconds: float = 120.0) -> bytes:
        """What is downloaded after an act; fails with what the page says instead."""
        got: list[Any] = []
        self.page.once("download", lambda found: got.append(found))
        act()
        end = time.monotonic() + seconds * _busy()
        while not got and time.monotonic() < end:
            self.page.wait_for_timeout(200)
            told = self.page.locator("[role=alert]:visible").all_inner_texts()
            assert not any(told), told
        assert got, self.text()[-500:]
        return Path(got[0].path()).read_bytes()

    def framed(self, script: str) -> Any:
        frame = next(each for each in self.page.frames if "/open/" in each.url)
        return frame.evaluate(script)


@pytest.fixture(scope="module")
def interview(tmp_path_factory: pytest.TempPathFactory) -> Interview:
    """Long enough for a stretch at rest."""
    folder = tmp_path_factory.mktemp("interview")
    return made_interview(folder, "면담 1회", 72.0, fps=5, hold_s=0.2)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Interview:
    folder = tmp_path_factory.mktemp("short")
    return made_interview(folder, "interview 2", 24.0, fps=5, hold_s=0.2)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("app") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with driver.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
        except driver.Error as error:
            pytest.skip(f"the browser does not start here: {error}")
        yield opened
        opened.close()


@contextmanager
def _page(browser: Any, app: App, lang: str = "ko", **context: Any) -> Iterator[Walk]:
    """A page; its test fails if a script fails, the policy is broken or another place is asked."""
    opened = browser.new_context(**context)
    # The framed report has no storage.
    opened.add_init_script(f"try {{ localStorage.setItem('nunbit.lang', '{lang}'); }} catch {{ }}")
    page = opened.new_page()
    page.set_default_timeout(30_000 * _busy())
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if "Content Security" in m.text else None)
    opened.on("request", lambda request: asked.append(request.url))
    page.goto(app.url)
    page.wait_for_selector("h1")
    yield Walk(page, app)
    opened.close()
    assert errors == []
    own = (app.origin, app.origin.replace("http", "ws"), "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []


def _consent(walk: Walk, code: str) -> None:
    walk.click("a.primary[href='#/consent']")
    walk.page.fill("#code", code)
    walk.choose("#purpose", "research_interview")
    walk.page.fill("#purpose-text", "면담에서 표정과 목소리의 변화를 봅니다")
    for box in ("everybody", "may-stop", "scope-media"):
        walk.click(f"#{box}")
    walk.click("#consent-file")


def test_the_whole_way_in_korean(
    browser: Any,
    app: App,
    interview: Interview,
    request: pytest.FixtureRequest,
) -> None:
    with _page(browser, app, viewport={"width": 1400, "height": 900}) as walk:
        _consent(walk, "P-101")
        walk.files(interview.video, interview.words)
        walk.page.wait_for_selector(".face-box", timeout=60_000 * _busy())
        assert "면담 1회.mp4" in walk.text()
        assert walk.page.locator(".face-box").count() == 2
        assert walk.page.is_checked("input[name=speaker][value=참여자]")  # the name says so
        walk.drag_rest(0.02, 0.3)
        assert "초 더 필요합니다" in walk.text(".axis-told")
        walk.page.click(".axis .quiet")  # another try is no step of the way
        walk.drag_rest(0.0, 0.93)
        assert "초 더" not in walk.text(".axis-told")
        walk.click(".face-box >> nth=0")
        assert "1번 얼굴을 골랐습니다" in walk.text(".picked")
        walk.click("#start")
        walk.until("location.hash.startsWith('#/progress')")
        walk.page.wait_for_selector(".job-card")
        assert "이 컴퓨터 밖으로 나가지 않습니다" in walk.text()
        assert "P-101 · 면담 1회.mp4" in walk.text()
        walk.until("/남았습니다|안에 끝납니다/.test(document.body.innerText)", 200)
        walk.result_is_shown()
        _the_result_tells_what_was_read(walk)
        walk.click("#to-export")
        walk.page.wait_for_selector("#export-go")
        walk.click("input[name='export-form'][value='figure']")
        assert walk.saved(lambda: walk.click("#export-go"))[:4] == b"%PDF"
        request.node.user_properties.append(("clicks", walk.clicks))
        assert walk.clicks <= MOST_CLICKS


def _the_result_tells_what_was_read(walk: Walk) -> None:
    text = walk.text()
    assert "얼마나 읽을 수 있었습니까" in text
    assert "읽지 못한 까닭: 다른 사람이 말함" in text
    assert "참여자: 참여자" in text
    assert "`" not in text
    assert "--" not in text
    moments = walk.page.locator("#moments .moment-go")
    assert 1 <= moments.count() <= 5
    # The largest face never smiles: that joy is found shows whose face was followed.
    assert "기쁨" in walk.text("#moments")
    at = moments.nth(0).inner_text()
    moments.nth(0).click()
    walk.page.wait_for_timeout(600)
    assert walk.framed("document.getElementById('now-time').textContent").startswith(at)
    assert walk.framed("document.getElementById('media').readyState") >= 1
    assert walk.framed("document.querySelectorAll('.track').length") > 5
    # The frame is told times only: it has neither the key nor the page.
    assert (
        walk.framed("(() => { try { return sessionStorage.length; } catch { return -1; } })()")
        == -1
    )
    walk.page.fill("#new-note", "웃으며 동생 이야기를 함")
    walk.page.press("#new-note", "Enter")
    walk.until("document.querySelector('.note-list q')?.textContent.includes('동생 이야기')")
    assert walk.text(".note-list .moment-go") == at
    walk.page.locator(".fold > summary").first.press("Enter")
    walk.until("document.querySelector('.fold').open")
    assert walk.page.locator(".measure-table tbody th small").count() > 10
    assert "평온할 때" in walk.text(".measure-table thead >> nth=0")


def test_the_whole_way_in_english_by_keyboard_alone(
    browser: Any, app: App, short: Interview
) -> None:
    with _page(browser, app, "en", viewport={"width": 390, "height": 800}) as walk:
        walk.key("a.primary[href='#/consent']")
        walk.page.wait_for_selector("#code")
        walk.write("#code", "P-102")
        walk.tab_to("#purpose")
        walk.page.keyboard.type("Research")
        walk.write("#purpose-text", "How an interview goes")
        for box in ("everybody", "may-stop"):
            walk.key(f"#{box}", "Space")
        walk.key("#consent-file")
        walk.page.wait_for_selector("#files", state="attached")
        walk.tab_to("#files")
        walk.files(short.video, short.other)
        walk.page.wait_for_selector(".face-box", timeout=60_000 * _busy())
        assert "may be of another recording" in walk.text("#doubt")
        walk.key("#start")
        assert "No face is chosen yet" in walk.text("#choose-trouble")
        walk.until("document.activeElement.classList.contains('face-box')")
        walk.page.keyboard.press("Space")
        walk.key("#start")
        assert "First decide about the transcript" in walk.text("#choose-trouble")
        walk.files(short.words)  # the right one instead
        walk.until("document.querySelector('.face-box') && !document.querySelector('#doubt')", 60)
        walk.key(".face-box", "Space")
        walk.key("input[name=speaker]", "Space")
        assert "shorter than 60 s" in walk.text()
        walk.key("#start")
        walk.until("location.hash.startsWith('#/progress')")
        walk.page.wait_for_selector(".job-card")
        walk.key("[data-act^='cancel-']")
        walk.until("document.activeElement.dataset.act?.startsWith('no-')")  # not by a slip
        walk.page.keyboard.press("Enter")
        walk.page.wait_for_selector("[data-act^='cancel-']")
    # The browser was closed; another one finds the work again.
    with _page(browser, app, "en") as walk:
        walk.key(".way a[href='#/progress']")
        walk.page.wait_for_selector(".job-card")
        assert "interview 2.mp4" in walk.text()
        walk.until("[...document.querySelectorAll('.job-card.done')].some((e) => "
                   "e.innerText.includes('P-102'))", ANALYSED_S)  # fmt: skip
        walk.key(".job-card.done a")
        walk.result_is_shown()
        text = walk.text()
        assert "How much could be read" in text
        assert "By the consent the recording was not kept" in text
        names = "면담참여자"  # only what the transcript says may be Korean
        assert not [c for c in text if "가" <= c <= "힣" and c not in names]
        walk.key("#to-export")
        walk.page.wait_for_selector("#export-go")
        walk.tab_to("input[name='export-form']")
        while not walk.page.evaluate("document.activeElement.value === 'figure'"):
            walk.page.keyboard.press("ArrowDown")
        assert walk.saved(lambda: walk.key("#export-go"))[:4] == b"%PDF"


def test_a_cancelled_analysis_can_be_chosen_again(browser: Any, app: App, short: Interview) -> None:
    with _page(browser, app) as walk:
        _consent(walk, "P-103")
        walk.files(short.video)
        walk.page.wait_for_selector(".face-box", timeout=60_000 * _busy())
        assert "누가 언제 말하는지 모릅니다" in walk.text()
        walk.page.click(".face-box >> nth=1")
        walk.page.click("#start")
        walk.page.wait_for_selector(".job-card [data-act^='cancel-']")
        walk.page.click(".job-card [data-act^='cancel-']")
        walk.page.click(".confirm .danger")
        walk.until("document.querySelector('.job-card.cancelled')", 30)
        walk.page.click(".job-card.cancelled a")
        walk.page.wait_for_selector(".face-box", timeout=60_000 * _busy())
        # A consent that is there need not be asked for again.
        walk.page.click(".way a[href='#/consent']")
        walk.page.click(".known li:has-text('P-103') button")
        walk.page.wait_for_selector(".drop")
        assert "P-103" in walk.text("h1")


def test_files_are_matched_by_their_names(browser: Any, app: App) -> None:
    with _page(browser, app) as walk:
        found = walk.page.evaluate(
            """async () => {
              const { matched } = await import("/page/choose.js");
              const told = (...names) => matched(names.map((name) => new File([], name)))
                .map((each) => ["media", "transcript", "speakers"].map((k) => each[k]?.name ?? ""));
              return [
                told("b.srt", "a.mp4", "a.vtt", "b.mkv", "b.rttm", "c.wav"),
                told("면담.mp4".normalize("NFD"), "면담.srt"),
                told("one.mp4", "other name.srt"),
                told("only.srt"),
                told(),
              ];
            }"""
        )
        assert found[0] == [
            ["a.mp4", "a.vtt", ""], ["b.mkv", "b.srt", "b.rttm"], ["c.wav", "", ""],
        ]  # fmt: skip
        assert found[1][0][1] == "면담.srt"
        assert found[2] == [["one.mp4", "other name.srt", ""]]
        assert found[3] == [["", "only.srt", ""]]
        assert found[4] == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1400, "dark")])
@pytest.mark.parametrize("lang", ["ko", "en"])
def test_every_page_fits_and_is_named(
    browser: Any, app: App, short: Interview, lang: str, width: int, scheme: str
) -> None:
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with _page(browser, app, lang, **look) as walk:
        done = [session for session in _sessions(app) if session[1] == "done"]
        opened = [session for session in _sessions(app) if session[1] == "open"]
        pages = ["#/", "#/consent", "#/choose", "#/progress", "#/sessions"]
        pages += [f"#/sessions/{done[0][0]}"] if done else []
        pages += [f"#/choose?session={opened[0][0]}"] if opened else []
        for address in pages:
            walk.page.evaluate(f"location.hash = '{address}'")
            walk.page.wait_for_timeout(1200)
            if address.startswith("#/sessions/"):
                walk.result_is_shown()
            assert walk.page.evaluate(WIDER) <= 0, address
            assert walk.page.evaluate(NAMELESS) == [], address
            foot = walk.text("footer")
            assert "109" in foot
            assert ("진단이 아닙니다" if lang == "ko" else "not a diagnosis") in foot


def _sessions(app: App) -> list[tuple[str, str]]:
    with sqlite3.connect(app.data / "nunbit.sqlite") as base:
        return base.execute("SELECT id, state FROM sessions WHERE origin = 'file'").fetchall()
