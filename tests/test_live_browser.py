"""The live page in the system's Chromium, with a made talking face as camera and microphone.

The app is the real one, in a process of its own; the only thing put in is a recogniser that knows
what the made face says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("playwright")

from make_live import (
    AWAY,
    MASKED,
    PAUSE_S,
    RECORD,
    SADNESS,
    SMILE,
    TALKING,
    App,
    Fake,
    as_fake,
    running_app,
    talking_face,
)

pytest.importorskip("fastapi", reason="the extra web is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300)]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CODE = "P-012"
PERIOD_S = TALKING.duration_s
RECORDED_S = PERIOD_S + 10.0


def _busy() -> float:
    """How many times more work waits than there are cores: limits of time are stretched by it."""
    return min(4.0, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


class Live:
    """A page of the app, and what it was told."""

    def __init__(self, page: Any, app: App) -> None:
        self.page, self.app = page, app

    def until(self, script: str, seconds: float = 20.0) -> None:
        """Wait until an expression is true; the page's policy forbids what Playwright would use."""
        end = time.monotonic() + seconds * _busy()
        while time.monotonic() < end:
            if self.page.evaluate(f"Boolean({script})"):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"not within {seconds} s: {script}\n{self.page.inner_text('body')[:2000]}")

    def stage(self, name: str, seconds: float = 20.0) -> None:
        self.until(f"document.documentElement.dataset.live === '{name}'", seconds)

    def number(self, name: str) -> float:
        return float(self.page.evaluate(f"Number(document.documentElement.dataset.{name})"))

    def events(self, kind: str) -> list[dict[str, Any]]:
        found = self.page.evaluate(f"window.seen.filter((e) => e.type === '{kind}')")
        return list(found)

    def open(self, address: str = "#/live") -> None:
        self.page.goto(self.app.url)
        self.page.wait_for_selector("h1")
        self.page.evaluate(f"location.hash = {json.dumps(address)}")

    def turn_on(self) -> None:
        self.page.wait_for_selector("#live-open:visible")
        self.page.click("#live-open")
        self.stage("preview")

    def start(self) -> float:
        """Begin; returns the page's clock at the click."""
        before = float(self.page.evaluate("performance.now()"))
        self.page.click("#live-begin")
        self.stage("running", 30)
        return before

    def stop(self) -> None:
        self.page.click("#live-stop")

    def consent(self, *, media: bool = True) -> None:
        """From the first page to the camera, by its links and boxes."""
        self.page.goto(self.app.url)
        self.page.click("a.primary[href='#/consent']")
        self.page.fill("#code", CODE)
        self.page.select_option("#purpose", "research_interview")
        self.page.fill("#purpose-text", "면담 방법 연구")
        for box in ("everybody", "may-stop", *(["scope-media"] if media else [])):
            self.page.check(f"#{box}")
        self.page.click("#consent-go")
        self.page.wait_for_selector("#live-open:visible")


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return talking_face(tmp_path_factory.mktemp("face"))


@pytest.fixture(scope="module")
def app(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running_app(tmp_path_factory.mktemp("app") / "data", fake=fake) as running:
        yield running


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Starts the system's Chromium with options."""
    driver = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with driver.sync_playwright() as playwright:

        def start(*options: str) -> Any:
            arguments = ["--no-sandbox", "--disable-gpu", *options]
            try:
                return playwright.chromium.launch(executable_path=program, args=arguments)
            except driver.Error as error:
                pytest.skip(f"the browser does not start here: {error}")

        yield start


@contextmanager
def _page(browser: Any, app: App, **context: Any) -> Iterator[Live]:
    """A page; its test fails if a script fails, the policy is broken or another place is asked."""
    opened = browser.new_context(**context)
    opened.add_init_script(RECORD)
    page = opened.new_page()
    page.set_default_timeout(20_000)
    errors: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if "Content Security" in m.text else None)
    page.on("dialog", lambda dialog: dialog.accept())
    opened.on("request", lambda request: asked.append(request.url))
    yield Live(page, app)
    opened.close()
    assert errors == []
    own = (app.origin, app.origin.replace("http", "ws"), "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any], fake: Fake) -> Iterator[Any]:
    with launch("--use-fake-ui-for-media-stream", *fake.options) as opened:
        yield opened


@pytest.fixture
def live(browser: Any, app: App) -> Iterator[Live]:
    with _page(browser, app) as page:
        yield page


# -- one recorded session, from the consent on -----------------------------------------------------


class Recorded:
    """What a session of one turn of the made face left behind."""

    def __init__(self, live: Live) -> None:
        self.live = live
        live.consent()
        live.turn_on()
        self.opened_ms = live.number("openedMs")
        self.clicked_ms = live.start()
        live.until("window.seen.some((e) => e.type === 'face' && e.state === 'ok')")
        live.page.keyboard.press("m")
        live.page.keyboard.press("q")
        live.page.keyboard.type("요즘 어떻게 지내셨어요?")
        live.page.keyboard.press("Enter")
        live.page.keyboard.press("Escape")
        live.page.wait_for_timeout(RECORDED_S * 1000)
        self.load = os.getloadavg()[0] / (os.cpu_count() or 1)
        self.drawn = live.page.evaluate("window.sent.drawn")
        self.sounds = live.page.evaluate("window.sent.sounds")
        self.text = live.page.inner_text("main")
        live.stop()
        live.until("location.hash.startsWith('#/sessions/')", 60)
        self.id = live.page.evaluate("location.hash.split('/').at(-1)")
        kinds = ("face", "voice", "pause", "words", "window", "note", "health")
        self.events = {kind: live.events(kind) for kind in kinds}
        face = self.events["face"][-1]
        self.zero_ms = face["captured_ms"] - 1000 * face["t"]
        self.folder = live.app.data / "sessions" / self.id
        live.until("document.querySelector('#open-report')", 60)

    def at(self, script_s: float) -> list[float]:
        """Session times of a moment of the script, which the camera plays again and again."""
        first = (self.opened_ms - self.zero_ms) / 1000 + script_s
        end = self.events["face"][-1]["t"]
        return [t for k in range(4) if 0 <= (t := first + k * PERIOD_S) <= end]

    def faces(self, key: Callable[[dict[str, Any]], float | None]) -> tuple[np.ndarray, np.ndarray]:
        rows = [(e["t"], value) for e in self.events["face"] if (value := key(e)) is not None]
        return np.array([t for t, _ in rows]), np.array([v for _, v in rows])

    def windows(self) -> list[dict[str, Any]]:
        """The last form of every window."""
        return list({e["t_start"]: e for e in self.events["window"]}.values())

    def require_frames(self) -> None:
        """Skip what needs frames where the machine computes other things."""
        faces = self.events["face"]
        rate = len(faces) / max(1.0, faces[-1]["t"] - faces[0]["t"])
        if rate < 4:
            pytest.skip(f"the machine is busy (load {os.getloadavg()[0]:.0f}): {rate:.1f} frames/s")

    def require_calm(self) -> None:
        """Skip what a browser cannot keep where many times more work waits than there are cores.

        The made camera itself falls behind then (1.4 s in half a minute at a load of ten on each
        core), and sound is lost before it reaches the page.
        """
        if self.load > 3:
            pytest.skip(f"the machine is busy: load {self.load:.0f} on each core")

    def agreement(self, span: tuple[float, float], pair: str = "face_words") -> list[float]:
        """Agreement in the windows that lie within a stretch of the script."""
        found = []
        for start in self.at(span[0]):
            end = start + span[1] - span[0]
            found += [
                w["agreement"][pair]["value"] for w in self.windows()
                if w["t_start"] >= start - 0.5 and w["t_end"] <= end + 0.5
                and w["agreement"][pair]["value"] is not None
            ]  # fmt: skip
        return found


@pytest.fixture(scope="module")
def recorded(browser: Any, app: App) -> Iterator[Recorded]:
    with _page(browser, app) as live:
        yield Recorded(live)


def test_the_face_is_there_within_two_seconds(recorded: Recorded) -> None:
    recorded.require_calm()
    first = next(e for e in recorded.events["face"] if e["state"] == "ok")
    drawn = next(at for seq, _, _, at in recorded.drawn if seq >= first["seq"])
    assert first["t"] < 2.0
    assert (drawn - recorded.clicked_ms) / 1000 < 2.0 * _busy()


def test_the_smile_is_seen_when_it_is_made(recorded: Recorded) -> None:
    recorded.require_calm()
    recorded.require_frames()
    times, joy = recorded.faces(lambda e: e["p"] and e["p"]["joy"])
    begun = recorded.at(SMILE[0] - 0.25)  # half way up
    assert begun
    for due in begun:
        near = (times > due - 2.5) & (times < due + 2.5)
        if not near.any() or due + 2 > times[-1] or due < 2:
            continue
        rises = times[near][joy[near] > 0.5]
        assert len(rises)
        assert abs(rises[0] - due) < 1.0
        return
    pytest.fail(f"no smile lies inside the session: {begun}, {times[-1]}")


def test_the_pause_is_where_it_is(recorded: Recorded, fake: Fake) -> None:
    recorded.require_calm()  # else the browser loses sound
    for due in recorded.at(_pause_begins(fake)):
        if due + 4 > recorded.events["face"][-1]["t"] or due < 1:
            continue
        near = [p for p in recorded.events["pause"] if abs(p["t_start"] - due) < 0.6]
        assert near, recorded.events["pause"]
        assert abs(near[0]["t_end"] - near[0]["t_start"] - PAUSE_S) < 0.5
        assert near[0]["provisional"]
        return
    pytest.fail("no pause lies inside the session")


def _pause_begins(fake: Fake) -> float:
    """Script time at which the first saying pauses."""
    words = fake.truth["utterances"][0]["words"]
    gaps = [(b["start_s"] - a["end_s"], a["end_s"]) for a, b in pairwise(words)]
    return float(max(gaps)[1])


def test_agreement_rises_where_face_and_words_agree(recorded: Recorded) -> None:
    recorded.require_calm()
    recorded.require_frames()
    agree, differ = recorded.agreement(SMILE), recorded.agreement(MASKED)
    assert agree
    assert differ
    assert np.mean(agree) > np.mean(differ) + 0.3
    if sad := recorded.agreement(SADNESS):
        assert np.mean(sad) > np.mean(differ)


def test_a_face_that_leaves_is_said_to_be_gone(recorded: Recorded) -> None:
    recorded.require_calm()
    recorded.require_frames()
    middle = (AWAY[0] + AWAY[1]) / 2
    inside = [due for due in recorded.at(middle) if due > 1]
    assert inside
    near = [e for e in recorded.events["face"] if abs(e["t"] - inside[0]) < 0.3]
    assert near
    assert {e["state"] for e in near} == {"no_face"}
    assert all(e["p"] is None for e in near)


def test_final_windows_of_the_face_never_change(recorded: Recorded) -> None:
    first: dict[float, Any] = {}
    for event in recorded.events["window"]:
        assert first.setdefault(event["t_start"], event["face"]) == event["face"]
        assert event["face"]["final"]
        assert not event["voice"]["final"]


def test_notes_lie_on_the_axis(recorded: Recorded) -> None:
    kinds = [note["kind"] for note in recorded.events["note"]]
    assert kinds[:2] == ["marker", "question"]
    assert "요즘 어떻게 지내셨어요?" in recorded.text
    assert "요즘 어떻게 지내셨어요?" in recorded.live.page.inner_text("main")  # and in the session


def test_sound_has_hardly_a_gap(recorded: Recorded) -> None:
    """Where the audio thread of a browser without a sound card falls behind, it is a gap, said."""
    at, lost = 0, 0
    for _, first, size in recorded.sounds:
        assert first >= at
        lost += first - at
        at = first + size // 2
    recorded.require_calm()
    assert lost <= 0.01 * at


def test_the_file_is_what_was_analysed(recorded: Recorded, tmp_path: Path) -> None:
    kept = recorded.folder / "session.mkv"
    assert kept.is_file()
    line = [sys.executable, "-m", "nunbit", "analyze", str(kept), "--out", str(tmp_path)]
    subprocess.run(line, check=True, capture_output=True, timeout=200)
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "session" / "timeline.parquet").to_pandas()
    rows = table[(table.modality == "face") & (table.scope == "window")]
    again = {
        (round(r.t_start, 2), r.measure): (r.t_start, r.value)
        for r in rows.itertuples() if r.measure.startswith("p_")
    }  # fmt: skip
    compared = 0
    for window in recorded.windows():
        for label, p in (window["face"]["p"] or {}).items():
            start, value = again[(round(window["t_start"], 2), f"p_{label}")]
            assert abs(value - p) < 1e-3
            assert abs(start - window["t_start"]) < 0.02
            compared += 1
    recorded.require_frames()
    assert compared > 100


def test_deleted_with_a_receipt(recorded: Recorded) -> None:
    page = recorded.live.page
    page.click("#delete > summary")
    page.fill("#delete-code", "someone else")
    page.click("#delete-go")
    assert recorded.folder.is_dir()
    page.fill("#delete-code", CODE)
    page.click("#delete-go")
    page.wait_for_selector("#receipt")
    assert "session.mkv" in page.inner_text("main")
    assert not recorded.folder.exists()
    page.evaluate("location.hash = '#/sessions'")
    page.wait_for_selector("h1")
    page.wait_for_timeout(500)
    assert page.query_selector(f"a[href='#/sessions/{recorded.id}']") is None


# -- what can go wrong -----------------------------------------------------------------------------


def test_a_try_out_stores_nothing(live: Live) -> None:
    before = {p for p in live.app.data.rglob("*") if "nunbit.sqlite" not in p.name}
    live.open()
    live.turn_on()
    live.start()
    live.page.wait_for_timeout(3000)
    assert "저장하지 않음" in live.page.inner_text(".livebar")
    live.stop()
    live.stage("ended", 30)
    assert "아무것도 저장하지 않았습니다" in live.page.inner_text("#live-ended")
    assert {p for p in live.app.data.rglob("*") if "nunbit.sqlite" not in p.name} <= before


def test_a_cut_socket_comes_back_without_losing_the_clock(live: Live) -> None:
    live.open()
    live.turn_on()
    live.start()
    live.until("window.seen.some((e) => e.type === 'face' && e.t > 3)")
    zero_ms = live.number("zeroMs")
    live.page.evaluate("window.sockets.at(-1).close()")
    live.until("document.documentElement.dataset.connection === 'cut'")
    assert "다시 잇는 중" in live.page.inner_text("#problems")
    live.until("document.documentElement.dataset.connection === 'back'")
    cut_at = live.page.evaluate("performance.now()")
    live.until(f"window.seen.some((e) => e.type === 'face' && e.captured_ms > {cut_at} + 2000)")
    assert abs(live.number("zeroMs") - zero_ms) < 40
    times = [e["t"] for e in live.events("face")]
    assert times == sorted(times)
    # Every sample was heard once: the steps of the voice have no hole.
    voice = live.events("voice")
    ends = [e["t"] + e["hop_s"] * len(e["level_dbfs"]) for e in voice]
    assert max(b["t"] - a for a, b in zip(ends, voice[1:], strict=False)) < 0.06
    live.stop()
    live.stage("ended", 30)


@pytest.mark.parametrize("refused", ["no connection", "with words"])
def test_a_start_that_was_refused_can_be_tried_again(live: Live, refused: str) -> None:
    """The devices were let go, so they are turned on again before the next start."""
    live.open()
    live.turn_on()
    once = "let path = '/api/none';" if refused == "no connection" else "let path = '/api/live';"
    live.page.evaluate(
        f"(() => {{ const Real = window.WebSocket; {once} let words = path === '/api/live';"
        " window.WebSocket = class extends Real {"
        " constructor(url) { super(url.replace('/api/live', path)); path = '/api/live'; }"
        " send(data) {"
        ' if (words) { words = false; data = data.replace(/"key":"[^"]*"/, \'"key":"x"\'); }'
        " super.send(data); } }; })()"
    )
    live.page.click("#live-begin")
    live.stage("idle")
    live.page.wait_for_selector(".problem")
    assert live.page.is_hidden("#live-begin")
    assert live.page.evaluate("document.activeElement.id") == "live-open"
    live.turn_on()
    live.start()
    live.until("window.seen.some((e) => e.type === 'face')")
    live.stop()
    live.stage("ended", 30)


def test_a_second_tab_is_told(browser: Any, app: App) -> None:
    with _page(browser, app) as first:
        first.open()
        first.turn_on()
        second = first.page.context.new_page()
        second.goto(app.url)
        second.wait_for_selector("h1")
        second.evaluate("location.hash = '#/live'")
        second.click("#live-open")
        second.wait_for_selector(".problem")
        assert "다른 탭에서 이미" in second.inner_text("#problems")


def test_an_unplugged_camera_is_said_and_can_be_replaced(live: Live) -> None:
    live.open()
    live.turn_on()
    live.start()
    live.until("window.seen.some((e) => e.type === 'face')")
    live.page.evaluate(
        "(() => { const track = document.querySelector('video').srcObject.getVideoTracks()[0];"
        " track.stop(); track.dispatchEvent(new Event('ended')); })()"
    )
    live.page.wait_for_selector(".problem")
    assert "카메라 연결이 끊겼습니다" in live.page.inner_text("#problems")
    heard = len(live.events("voice"))
    live.page.wait_for_timeout(1500)
    assert len(live.events("voice")) > heard  # sound goes on
    seen = len(live.events("face"))
    live.page.click(".problem button >> nth=0")
    live.until(f"window.seen.filter((e) => e.type === 'face').length > {seen} + 5")
    live.stop()
    live.stage("ended", 30)


def test_a_hidden_tab_is_said(live: Live) -> None:
    live.open()
    live.turn_on()
    live.start()
    hide = (
        "((hidden) => {"
        " Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); })"
    )
    live.page.evaluate(f"{hide}(true)")
    assert live.page.get_attribute(".state", "data-state") == "hidden"
    live.page.wait_for_timeout(1500)
    live.page.evaluate(f"{hide}(false)")
    assert "가려져" in live.page.inner_text("#problems")
    live.stop()
    live.stage("ended", 30)


def test_a_microphone_of_another_rate_is_resampled(browser: Any, app: App) -> None:
    with _page(browser, app) as live:
        live.page.add_init_script(
            "const Real = AudioContext; window.AudioContext = class extends Real {"
            " constructor(o) {"
            " if (o && o.sampleRate) throw new DOMException('no', 'NotSupportedError');"
            " super({...o, sampleRate: 44100}); } };"
        )
        live.open()
        live.turn_on()
        live.start()
        live.until("window.sent.sounds.length > 140")
        assert "44100 Hz" in live.page.inner_text("#problems")
        # 16000 samples a second reach the server.
        sounds = live.page.evaluate("window.sent.sounds")[20:]
        seconds = (sounds[-1][0] - sounds[0][0]) / 1000
        assert abs((sounds[-1][1] - sounds[0][1]) / seconds / 16_000 - 1) < 0.02
        levels = [x for e in live.events("voice") for x in e["level_dbfs"]]
        assert max(levels) > -45
        live.stop()
        live.stage("ended", 30)


def test_without_a_sound_output_pictures_go_on(browser: Any, app: App) -> None:
    """Firefox reads no microphone then, and its promise stays open for ever."""
    with _page(browser, app) as live:
        live.page.add_init_script(
            "Object.defineProperty(AudioContext.prototype, 'state', { get: () => 'suspended' });"
            "AudioContext.prototype.resume = () => new Promise(() => {});"
        )
        live.open()
        live.turn_on()
        live.start()
        live.page.wait_for_selector(".problem")
        assert "스피커나 이어폰이 열리지 않아" in live.page.inner_text("#problems")
        live.until("window.seen.filter((e) => e.type === 'face').length > 5")
        live.stop()
        live.stage("ended", 30)


def test_refused_permission_is_said(launch: Callable[..., Any], app: App) -> None:
    options = ("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    with launch(*options) as browser, _page(browser, app) as live:
        live.open()
        live.page.click("#live-open")
        live.page.wait_for_selector(".problem")
        assert "거절되었습니다" in live.page.inner_text("#problems")
        assert live.page.is_visible("#live-open")  # and can be tried again


def test_no_camera_is_said(browser: Any, app: App) -> None:
    with _page(browser, app) as live:
        live.open()
        live.page.evaluate(
            "void (navigator.mediaDevices.getUserMedia ="
            " () => Promise.reject(new DOMException('', 'NotFoundError')))"
        )
        live.page.click("#live-open")
        live.page.wait_for_selector(".problem")
        assert "카메라도 마이크도 찾지 못했습니다" in live.page.inner_text("#problems")


def test_rating_people_is_refused_with_the_reason(live: Live) -> None:
    live.open("#/consent")
    live.page.wait_for_selector("#purpose")
    live.page.select_option("#purpose", "rating_people")
    assert "부당한 피해" in live.page.inner_text("#refusal")
    assert live.page.is_disabled("#consent-go")
    # And by the server, whatever a page says.
    answer = live.page.evaluate(
        """(async () => {
          const headers = {
            Authorization: `Bearer ${sessionStorage.getItem("nunbit.key")}`,
            "Content-Type": "application/json",
          };
          const post = (path, body) =>
            fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
          const who = await (await post("api/participants", { code: "P-013" })).json();
          const made = await post("api/consents", {
            participant: who.id, everybody_agrees: true, minor: false, guardian: false,
            purpose: "rating_people", purpose_text: "-", date: "2026-11-30",
            scope: { face: true, voice: true, words: true, media: false },
            retention_days: 10, lang: "ko",
          });
          return [made.status, await made.json()];
        })()"""
    )
    assert answer[0] == 422
    assert answer[1]["error"]["ko"]


def test_consent_says_what_is_missing(live: Live) -> None:
    live.open("#/consent")
    live.page.wait_for_selector("#consent-go")
    live.page.fill("#code", CODE)
    live.page.check("#minor")
    live.page.click("#consent-go")
    told = live.page.inner_text("#consent-trouble")
    assert "목적" in told
    assert "보호자의 동의" in told
    assert live.page.evaluate("document.activeElement.id") == "purpose"


def test_a_wrong_key_is_said(browser: Any, app: App) -> None:
    with _page(browser, app) as live:
        live.page.goto(app.origin)
        live.page.wait_for_selector("#key")
        live.page.fill("#key", "wrong")
        live.page.keyboard.press("Enter")
        live.page.wait_for_timeout(500)
        assert "주소가 맞지 않습니다" in live.page.inner_text("main")
        live.page.fill("#key", app.url)  # the whole address does, too
        live.page.keyboard.press("Enter")
        live.page.wait_for_selector(".choices")


# -- look ------------------------------------------------------------------------------------------

NAMELESS = """
[...document.querySelectorAll(
  "button, input, select, textarea, a[href], video, [role=img], table"
)].filter((e) => {
  if (!e.checkVisibility()) return false;
  const name = e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
    || (e.labels?.length && e.labels[0].innerText) || e.innerText
    || e.closest("label")?.innerText;
  return !name || !name.trim();
}).map((e) => e.outerHTML.slice(0, 120))
"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1600, "dark")])
def test_every_view_fits_and_is_named(browser: Any, app: App, width: int, scheme: str) -> None:
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with _page(browser, app, **look) as live:
        for address in ("#/", "#/consent", "#/sessions", "#/choose", "#/live"):
            live.open(address)
            live.page.wait_for_timeout(400)
            assert live.page.evaluate(WIDER) <= 0, address
            assert live.page.evaluate(NAMELESS) == [], address
            foot = live.page.inner_text("footer")
            assert "비언어 신호 요약이며 진단이 아닙니다" in foot
            assert "109" in foot
        live.turn_on()
        live.start()
        live.until("document.querySelectorAll('.track').length > 5")
        live.page.wait_for_timeout(1500)
        assert live.page.evaluate(WIDER) <= 0
        assert live.page.evaluate(NAMELESS) == []
        live.page.click("[data-lang=en]")
        live.page.wait_for_timeout(300)
        assert "Not stored" in live.page.inner_text(".livebar")  # the session goes on
        assert "not a diagnosis" in live.page.inner_text("footer")
        assert not _korean(live)
        live.stop()
        live.stage("ended", 30)


def _korean(live: Live) -> str:
    """Korean letters in the English page, but for what was said."""
    rest: str = live.page.evaluate(
        "(() => { const m = document.querySelector('main').cloneNode(true);"
        " m.querySelectorAll('q').forEach((q) => q.remove()); return m.textContent; })()"
    )
    return "".join(c for c in rest if "가" <= c <= "힣")


def test_the_keyboard_alone_is_enough(live: Live) -> None:
    live.open("#/live")
    page = live.page
    page.wait_for_selector("#live-open:visible")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "live-open":
            break
    page.keyboard.press("Enter")
    live.stage("preview")
    assert page.evaluate("document.activeElement.id") == "live-begin"
    page.keyboard.press("Enter")
    live.stage("running", 30)
    assert page.evaluate("document.activeElement.id") == "live-stop"
    page.keyboard.press("b")
    live.until("document.getElementById('neutral').getAttribute('aria-pressed') === 'true'")
    page.keyboard.press("b")
    live.until("window.seen.some((e) => e.type === 'note' && e.kind === 'neutral_end')")
    page.keyboard.press("Enter")
    live.stage("ended", 30)


# -- a person --------------------------------------------------------------------------------------


@pytest.mark.data
def test_a_talking_person(
    launch: Callable[..., Any], real_data: Path, app: App, tmp_path: Path
) -> None:
    clips = sorted((real_data / "video" / "talking").glob("*.mp4"))
    if not clips:
        pytest.skip("no talking clip among the data")
    fake = as_fake(clips[0], tmp_path)
    options = ("--use-fake-ui-for-media-stream", *fake.options)
    with launch(*options) as browser, _page(browser, app) as live:
        live.open()
        live.turn_on()
        live.start()
        live.until("window.seen.some((e) => e.type === 'face' && e.state === 'ok')")
        first = next(e for e in live.events("face") if e["state"] == "ok")
        assert first["t"] < 2.0
        live.until("window.seen.some((e) => e.type === 'face' && e.p)")
        live.until("window.seen.some((e) => e.type === 'window')")
        live.stop()
        live.stage("ended", 30)
