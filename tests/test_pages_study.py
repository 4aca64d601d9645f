"""The pages for comparing, exporting, deleting and studying in a browser; axe-core over all pages.

A screen reader's user and one without a mouse come through: no serious finding of axe-core in both
languages, light and dark, wide and narrow; the whole of a comparison, an export and a deletion by
keyboard; every chart has a name and a table beside it.
"""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")
pytest.importorskip("playwright")
pytest.importorskip("fastapi", reason="the extra web is not installed")

from make_live import App, running_app
from make_pages import Finished, Picture, drawn_pictures, fill
from make_timeline import Recipe, make_timeline
from nunbit.app.sessions import Sessions
from nunbit.app.store import Store
from nunbit.measures.definitions import definitions
from nunbit.report.timeline_page import render_timeline
from page_words import wrong_words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PAGES = ("", "consent", "choose", "progress", "sessions", "live", "compare?person=P-01", "export",
         "delete?person=P-01", "check", "evaluations", "faces", "program")  # fmt: skip
FORBIDDEN = ("parquet 파일", "JSON", "undefined", "null", "[object", "NaN")


SPOKEN = """
[...document.querySelectorAll("[aria-label], [title], [alt], [placeholder]")]
  .filter((e) => e.checkVisibility())
  .map((e) => ["aria-label", "title", "alt", "placeholder"].map((n) => e.getAttribute(n) ?? ""))
  .flat().join("\\n")
"""


@dataclass
class Place:
    """The app with finished sessions, and their ids."""

    app: App
    made: list[dict[str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pages")
    made = [make_timeline(folder / f"m{n}", Recipe(duration_s=240.0, seed=n)) for n in range(4)]
    for each in made:
        render_timeline(each, lang="ko")
    notes = ((5.0, "question", "쉬운 질문"), (120.0, "question", "어려운 질문"))
    given = [Finished("P-01", made[0], None, 20, notes), Finished("P-01", made[1], None, 10),
             Finished("P-01", made[2], None, 1), Finished("P-02", made[3])]  # fmt: skip
    ids = fill(folder / "data", given)
    with running_app(folder / "data") as app:
        yield Place(app, ids)


class Visitor:
    """A page of the app; its test fails where a script fails."""

    def __init__(self, browser: Any, app: App, **options: Any) -> None:
        lang = options.pop("lang", "ko")
        self.app = app
        self.context = browser.new_context(
            **({"viewport": {"width": 1400, "height": 900}} | options)
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self._heard(said))
        self.page.add_init_script(
            f"try {{ localStorage.setItem('nunbit.lang', '{lang}') }} catch {{}}"
        )
        self.page.goto(app.url)
        self.page.wait_for_selector("h1")

    def _heard(self, said: Any) -> None:
        if said.type == "error" and "Failed to load resource" not in said.text:
            self.wrong.append(said.text)

    def go(self, name: str) -> None:
        self.page.goto(f"{self.app.origin}#/{name}")
        self.page.wait_for_selector("main h1")
        self.quiet()

    def quiet(self, seconds: float = 60.0) -> None:
        """Until nothing is being done."""
        end = time.monotonic() + seconds
        self.page.wait_for_timeout(300)
        while time.monotonic() < end:
            if not self.page.evaluate(
                "[...document.querySelectorAll('.busy')].some(b => b.checkVisibility())"
            ):
                return
            self.page.wait_for_timeout(200)
        pytest.fail("still busy: " + self.page.inner_text("main")[:500])

    def framed_is_shown(self) -> None:
        """Until the recording's tracks are drawn in their frame."""
        self.page.wait_for_selector("iframe.report-frame[data-ready]", timeout=60_000)
        self.page.wait_for_timeout(300)

    def spoken(self) -> str:
        """What a screen reader says besides the text."""
        found: str = self.page.evaluate(SPOKEN)
        return "\n" + found

    def names(self) -> tuple[str, ...]:
        """File names, devices and versions: words that are not the page's."""
        found: list[str] = self.page.evaluate(
            "[...document.querySelectorAll('code, option, .job-card h2, .device, .version')]"
            ".map(e => e.innerText.trim()).filter(Boolean)"
        )
        return tuple(found)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, selector: str, most: int = 80) -> None:
        """Go with the tabulator until something has the focus."""
        for _ in range(most):
            if self.page.evaluate(f"document.activeElement?.matches({selector!r}) ?? false"):
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"the tabulator does not come to {selector}")

    def close(self) -> None:
        self.context.close()
        assert self.wrong == []


@pytest.fixture
def visitor(chromium: Any, place: Place) -> Iterator[Visitor]:
    opened = Visitor(chromium, place.app)
    yield opened
    opened.close()


def findings(page: Any) -> list[str]:
    """Serious and critical findings of axe-core."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} ({node['failureSummary'].splitlines()[1].strip()})"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


LOOKS = [("ko", "light", 1400), ("en", "dark", 390)]


@pytest.mark.parametrize(("lang", "scheme", "width"), LOOKS)
def test_axe_finds_nothing_serious_on_any_page(
    chromium: Any,
    place: Place,
    lang: str,
    scheme: str,
    width: int,
    request: pytest.FixtureRequest,
) -> None:
    seen = Visitor(chromium, place.app, lang=lang, color_scheme=scheme,
                   viewport={"width": width, "height": 900})  # fmt: skip
    session = place.made[0]["id"]
    wrong = []
    pages = (*PAGES, f"sessions/{session}", f"choose?session={session}")
    for name in pages:
        seen.go(name)
        seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        seen.page.wait_for_timeout(200)
        wrong += [f"{name}: {each}" for each in findings(seen.page)]
        text = seen.page.inner_text("body")
        assert "109" in text
        assert ("진단이 아닙니다" if lang == "ko" else "not a diagnosis") in text
        assert [word for word in FORBIDDEN if word in seen.page.inner_text("main h1")] == []
        assert seen.page.evaluate(WIDER) <= 0, f"{name} scrolls sideways"
    request.node.user_properties.append(("axe_pages", len(pages)))
    request.node.user_properties.append(("axe_findings", len(wrong)))
    assert wrong == []
    seen.close()


def test_charts_have_names_and_tables_beside_them(visitor: Visitor) -> None:
    visitor.go("compare?person=P-01")
    charts = visitor.page.query_selector_all(".dots")
    assert len(charts) >= 5
    for chart in charts:
        name = chart.get_attribute("aria-label")
        assert chart.get_attribute("role") == "img"
        assert "1회기: " in name
        assert "3회기: " in name
        beside = chart.evaluate("c => c.parentElement.querySelector('table')?.innerText ?? ''")
        assert "1회기" in beside
        assert "95% 구간" in beside
    text = visitor.page.inner_text("main")
    assert "1회기 → 3회기" in text
    assert "병의 경과나 느낀 감정의 변화가 아닙니다" in text
    assert "face.p_joy" not in text


def test_sessions_are_compared_exported_and_deleted_by_keyboard(
    chromium: Any, tmp_path: Path
) -> None:
    made = make_timeline(tmp_path / "m", Recipe(duration_s=120.0, seed=3))
    fill(tmp_path / "data", [Finished("K-01", made), Finished("K-01", made)])
    with running_app(tmp_path / "data") as app:
        seen = Visitor(chromium, app, accept_downloads=True)
        seen.tab_to("nav a[href='#/compare']")
        seen.press("Enter")
        seen.page.wait_for_selector("#compare-result h2")
        seen.tab_to("input[name=compare-by]")
        seen.press("ArrowDown")
        seen.quiet()
        assert "말할 때" in seen.page.inner_text("#compare-result")
        seen.tab_to("#compare-go")
        seen.press("Shift+Tab", "Space")  # the last session is left out
        seen.page.goto(f"{app.origin}#/export")
        seen.page.wait_for_selector("#export-go")
        seen.tab_to("#leave-out")
        seen.press("Space")
        seen.tab_to("#export-go")
        with seen.page.expect_download() as awaited:
            seen.press("Enter")
        saved = tmp_path / awaited.value.suggested_filename
        awaited.value.save_as(saved)
        assert saved.name == "P1_tables.xlsx"
        assert b"K-01" not in b"".join(
            zipfile.ZipFile(saved).read(n) for n in zipfile.ZipFile(saved).namelist()
        )
        seen.page.goto(f"{app.origin}#/delete")
        seen.page.wait_for_selector("#remove-person")
        seen.tab_to("#remove-person")
        seen.press("ArrowDown")
        seen.page.wait_for_selector("#remove-code")
        assert "timeline.parquet" in seen.page.inner_text("#held")
        seen.tab_to("#remove-code")
        seen.page.keyboard.type("K-02")
        seen.press("Enter")
        assert "코드가 다릅니다" in seen.page.inner_text("#held")
        seen.press("Control+A")
        seen.page.keyboard.type("K-01")
        seen.press("Enter")
        seen.page.wait_for_selector("#receipt")
        assert seen.page.evaluate("document.activeElement.tagName") == "H1"
        assert "모두 없어진 것을 확인했습니다" in seen.page.inner_text("#receipt")
        seen.tab_to("#receipt-save")
        with seen.page.expect_download() as awaited:
            seen.press("Enter")
        receipt = tmp_path / "receipt.txt"
        awaited.value.save_as(receipt)
        assert "K-01" in receipt.read_text(encoding="utf-8-sig")
        assert not any((tmp_path / "data" / "sessions").iterdir())
        seen.close()


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_a_recording_without_a_participant_is_deleted_by_its_number(
    chromium: Any, tmp_path: Path, lang: str
) -> None:
    store = Store(tmp_path / "data" / "nunbit.sqlite")
    row, _ = Sessions(store, tmp_path / "data" / "sessions").create_for_upload(30)
    store.set("sessions", row["id"], state="failed")
    store.close()
    with running_app(tmp_path / "data") as app:
        seen = Visitor(chromium, app, lang=lang)
        seen.go("delete")
        assert row["id"] in seen.page.inner_text("#unnamed")
        seen.page.click("#unnamed a")
        seen.page.click("#delete > summary")
        assert "null" not in seen.page.inner_text("#delete")
        asked = seen.page.inner_text("label[for=delete-code]")
        assert asked.endswith(f": {row['id']}")
        seen.page.fill("#delete-code", "null")
        seen.page.click("#delete-go")
        seen.page.wait_for_selector("#delete [role=alert]:not([hidden])")
        told = seen.page.inner_text("#delete [role=alert]")
        assert {"ko": "녹화의 번호", "en": "the recording's number"}[lang] in told
        seen.page.fill("#delete-code", asked.rsplit(" ", 1)[1])
        seen.page.click("#delete-go")
        seen.page.wait_for_selector("#receipt")
        assert not any((tmp_path / "data" / "sessions").iterdir())
        seen.close()


def test_conditions_by_one_s_own_times_and_from_notes(visitor: Visitor) -> None:
    visitor.go("compare?person=P-01")
    visitor.page.check("#compare-by-stretches")
    visitor.page.click("#compare-go")
    assert "구간을 하나 이상 적으십시오" in visitor.page.inner_text(
        "main [role=alert]:not([hidden])"
    )
    visitor.page.click("text=적어 둔 질문으로 채우기")
    for _ in range(50):
        if visitor.page.input_value("#condition-1"):
            break
        visitor.page.wait_for_timeout(100)
    assert visitor.page.input_value("#condition-1") == "쉬운 질문"
    assert visitor.page.input_value("#to-1") == "2:00"
    visitor.page.fill("#from-1", "abc")
    visitor.page.click("#compare-go")
    assert "구간 1" in visitor.page.inner_text("main [role=alert]:not([hidden])")
    visitor.page.fill("#from-1", "0:05")
    visitor.page.click("#compare-go")
    visitor.quiet()
    assert "쉬운 질문 → 어려운 질문" in visitor.page.inner_text("#compare-result")


def test_a_figure_and_a_report_are_taken_away(visitor: Visitor, place: Place) -> None:
    visitor.go(f"export?session={place.made[0]['id']}")
    visitor.page.check("#export-form-figure")
    visitor.page.fill("#figure-from", "0:10")
    visitor.page.fill("#figure-to", "1:10")
    with visitor.page.expect_download() as awaited:
        visitor.page.click("#export-go")
    assert Path(awaited.value.path()).read_bytes()[:5] == b"%PDF-"
    assert awaited.value.suggested_filename == "P-01_figure.pdf"
    visitor.page.wait_for_selector(".box.good:not([hidden])")
    assert "그릴 값이 없어 뺀 것: 눈여겨볼 순간" in visitor.page.inner_text(".box.good")
    visitor.page.check("#export-form-report")
    visitor.page.check("#leave-out")
    with visitor.context.expect_page() as opened:
        visitor.page.click("#export-go")
    report = opened.value
    report.wait_for_url("**/open/*#print")
    assert "P1_1" in report.inner_text("h1")
    report.evaluate("window.stop()")


def test_the_printed_report_is_a_clean_pdf(chromium: Any, place: Place, tmp_path: Path) -> None:
    import httpx

    app, session = place.app, place.made[0]
    headers = {"Authorization": f"Bearer {app.key}"}
    sent = {"session": session, "lang": "ko", "leave_out": True}
    where = f"{app.origin}api/exports/report"
    told = httpx.post(where, headers=headers, json=sent, trust_env=False, timeout=60)
    page = chromium.new_context().new_page()
    page.goto(app.origin.rstrip("/") + told.json()["url"])
    page.evaluate("history.replaceState(null, '', '#print')")
    made = page.pdf(format="A4", prefer_css_page_size=True)
    (tmp_path / "report.pdf").write_bytes(made)
    assert made[:5] == b"%PDF-"
    assert b"/Type /Page" in made
    assert 2 <= made.count(b"/Type /Page\n") <= 16
    assert not page.query_selector("video, audio")
    assert page.evaluate("getComputedStyle(document.querySelector('#paper')).display") != "none"
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('#paper')).display") == "none"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return drawn_pictures(tmp_path_factory.mktemp("drawn"), (94, 21, 12, 33, 47, 58))


def test_pictures_are_added_taken_out_and_the_model_is_fitted_or_not(
    visitor: Visitor, drawn: list[Picture]
) -> None:
    page = visitor.page
    visitor.go("faces")
    page.set_input_files("#faces-joy", [str(drawn[2].path)])
    assert "동의를 확인" in page.inner_text("main [role=alert]:not([hidden])")

    def add_all() -> None:
        page.check("#faces-agree")
        for person in dict.fromkeys(each.person for each in drawn):
            page.fill("#faces-person", person)
            for label in ("neutral", "joy", "sadness", "anger"):
                own = [str(e.path) for e in drawn if (e.person, e.label) == (person, label)]
                page.set_input_files(f"#faces-{label}", own)
        for _ in range(100):
            if f"사진 {len(drawn)}장, 6명" in page.inner_text("main"):
                break
            page.wait_for_timeout(200)
        assert f"사진 {len(drawn)}장, 6명" in page.inner_text("main")

    add_all()
    page.click(".thumb >> nth=0")
    page.wait_for_timeout(500)
    assert f"사진 {len(drawn) - 1}장, 6명" in page.inner_text("main")
    assert findings(page) == []
    visitor.go("evaluations")
    visitor.go("faces")  # somebody who leaves finds what was added, and can delete it
    page.click("text=끝내지 않은 사진 묶음")
    assert f"사진 {len(drawn) - 1}장" in page.inner_text("main")
    page.click("details[open] .lines button")
    visitor.quiet()
    page.wait_for_timeout(500)
    assert "끝내지 않은" not in page.inner_text("main")
    add_all()
    page.click("#faces-go")
    page.wait_for_selector("#faces-work .measure", timeout=200_000)
    text = page.inner_text("#faces-work")
    assert "맞힌 비율" in text
    assert "95% 구간" in text
    assert "사진은 지웠습니다" in text
    assert not any(word in page.inner_text("main") for word in ("anger", "f-", "--", "uar"))
    assert findings(page) == []


def test_a_file_is_looked_at_in_sentences(visitor: Visitor, tmp_path: Path) -> None:
    words = tmp_path / "words.srt"
    words.write_text(
        "1\n00:00:00,100 --> 00:00:01,000\n안녕하세요\n\n2\n00:00:xx --> 00:00:02,000\n네\n"
    )
    visitor.go("check")
    visitor.page.click("#check-go")
    assert "파일을 하나 이상" in visitor.page.inner_text("main [role=alert]:not([hidden])")
    visitor.page.set_input_files("#check-transcript", str(words))
    visitor.page.click("#check-go")
    visitor.page.wait_for_selector("#check-result h2")
    text = visitor.page.inner_text("#check-result")
    assert "알아 두실 것이 있습니다" in text
    assert "빼고 읽는 것" in text
    assert "not_a_timing_line" not in text
    assert findings(visitor.page) == []


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_all_pages_speak_a_clinician_s_words(chromium: Any, place: Place, lang: str) -> None:
    seen = Visitor(chromium, place.app, lang=lang)
    session = place.made[0]["id"]
    own = ("쉬운 질문", "어려운 질문", "표정의 연구", "P-01", "P-02", "한국어", "눈빛", "언어",
           session)  # fmt: skip
    if lang == "en":  # Korean words that a measure counts
        own += tuple(re.findall("[가-힣]+", " ".join(d.meaning.en for d in definitions())))
    wrong = []
    for name in (*PAGES, f"sessions/{session}", f"choose?session={session}"):
        seen.go(name)
        if name.startswith("sessions/"):
            seen.framed_is_shown()
        seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        text = seen.page.inner_text("body") + seen.spoken()
        wrong += [f"{name}: {word}" for word in wrong_words(text, lang, (*own, *seen.names()))]
        if name.startswith("sessions/"):
            frame = next(each for each in seen.page.frames if "/open/" in each.url)
            frame.evaluate("document.querySelectorAll('#fold').forEach(b => b.click())")
            said = frame.inner_text("body")
            assert len(said) > 300
            words = tuple(frame.evaluate(SAID).split("\n"))
            wrong += [f"frame: {word}" for word in wrong_words(said, lang, (*own, *words))]
            notes = frame.evaluate("[...document.querySelectorAll('.track:not(.axis)')].length")
            assert notes > 5
            rows = seen.page.query_selector_all(".measure-table tbody th")
            assert len(rows) > 10
            assert all(row.query_selector("small") for row in rows)  # each with its sentence
    assert wrong == []
    seen.close()


SAID = "document.getElementById('said')?.innerText ?? ''"


def test_the_tracks_follow_the_language(chromium: Any, place: Place) -> None:
    seen = Visitor(chromium, place.app)
    seen.go(f"sessions/{place.made[0]['id']}")
    seen.framed_is_shown()
    korean = seen.page.locator("iframe.report-frame").get_attribute("src")
    seen.page.click("[data-lang=en]")
    for _ in range(100):
        frame = seen.page.query_selector("iframe.report-frame")
        if frame and frame.get_attribute("src") not in (None, korean):
            break
        seen.page.wait_for_timeout(100)
    seen.framed_is_shown()
    shown = next(each for each in seen.page.frames if "/open/" in each.url)
    assert "Positive or negative" in shown.inner_text("body")
    assert shown.evaluate("document.documentElement.lang") == "en"
    seen.close()
