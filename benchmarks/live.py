"""`nunbit app` live, with a real browser on the same machine: speed, delay, memory, clock.

python benchmarks/live.py [--minutes 10] [--clock-seconds 40] [--face FOLDER] [--asr NAME]
                           [--only PART…]

Parts, each against what is named beside it: **start** (command to page, command to face),
**run** (analysed frames a second, captured to drawn, memory of the server and slopes over the run;
beside it the engine alone, which is given the same pictures without a browser), **clock** (the
picture shows its own time as bars, the sound beeps at known times; both are found again in the
session's file), **busy** (the same clock with four processes that compute)
and **scripted** (smile, pause and agreement against the script of the made face). The camera is a
drawn face. Prints a Markdown table; the limits stand in its last column.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from make_live import MASKED, RECORD, SADNESS, SMILE, App, Fake, running_app, talking_face

LIMITS = {"fps": 10.0, "drawn_ms": 300.0, "memory_mb": 700.0, "start_s": 3.0, "clock_ms": 40.0}
_BITS = 20  # of the picture's time, milliseconds: 17 minutes
_BEEP_S = 1.0

FLASH = """
(() => {
  // A camera whose picture is its own time in bars, a microphone that beeps when the time is whole.
  const BITS = 20, canvas = document.createElement("canvas");
  canvas.width = 640; canvas.height = 360;
  const c = canvas.getContext("2d");
  const draw = () => {
    const now = Math.round(performance.now()), gray = now ^ (now >> 1);
    c.fillStyle = "#000"; c.fillRect(0, 0, 640, 360);
    for (let i = 0; i < BITS; i++) {
      c.fillStyle = (gray >> i) & 1 ? "#fff" : "#222";
      c.fillRect(32 * i, 40, 32, 280);
    }
    requestAnimationFrame(draw);
  };
  navigator.mediaDevices.getUserMedia = async () => {
    draw();
    const stream = canvas.captureStream(30);
    const context = new AudioContext(), out = context.createMediaStreamDestination();
    await context.resume();
    window.beeps = [];
    // When a time of the context is heard: the least difference to the page's clock.
    let least = Infinity;
    const now = () => performance.now() - 1000 * context.currentTime;
    setInterval(() => { least = Math.min(least, now()); }, 5);
    let next = context.currentTime + 1.5;
    setInterval(() => {
      while (next < context.currentTime + 1) {
        const tone = context.createOscillator(), gain = context.createGain();
        tone.frequency.value = 1000; gain.gain.value = 0.5;
        tone.connect(gain).connect(out);
        tone.start(next); tone.stop(next + 0.1);
        const at = next;
        const later = 1000 * (at - context.currentTime) + 500;
        setTimeout(() => window.beeps.push(1000 * at + least), later);
        next += 1;
      }
    }, 200);
    return new MediaStream([...stream.getVideoTracks(), ...out.stream.getAudioTracks()]);
  };
})();
"""
"""Picture and sound made in the page: when each was made is known on the page's clock."""


class Driven:
    """A page of the app."""

    def __init__(self, page: Page, app: App) -> None:
        self.page, self.app = page, app

    def until(self, script: str, seconds: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.page.evaluate(script):
                return
            time.sleep(0.02)
        raise SystemExit(f"not within {seconds} s: {script}\n{self.page.inner_text('body')[:800]}")

    def begin(self, *, record: bool) -> None:
        """From the first page to a session that runs."""
        self.page.goto(self.app.url)
        if record:
            self.page.click("a.primary[href='#/consent']")
            self.page.fill("#code", "B-001")
            self.page.select_option("#purpose", "self_observation")
            self.page.fill("#purpose-text", "a benchmark")
            for box in ("everybody", "may-stop", "scope-media"):
                self.page.check(f"#{box}")
            self.page.click("#consent-go")
        else:
            self.page.wait_for_selector("h1")
            self.page.evaluate("location.hash = '#/live'")
        self.page.click("#live-open")
        self.until("document.documentElement.dataset.live === 'preview'")
        self.page.click("#live-begin")
        self.until("document.documentElement.dataset.live === 'running'")

    def stop(self) -> str:
        """End the session; its id, '' for a try-out."""
        self.page.click("#live-stop")
        self.until("document.documentElement.dataset.live !== 'stopping'", 120)
        found = self.page.evaluate("location.hash")
        return str(found).split("/")[-1] if "/sessions/" in found else ""

    def drain(self, name: str) -> list[Any]:
        """Take what the page has noted since the last time."""
        return list(self.page.evaluate(f"{name}.splice(0)"))


@contextmanager
def browsing(app: App, *options: str, script: str = "") -> Iterator[Driven]:
    """The system's Chromium with one page."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        raise SystemExit("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream", *options],
        )
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        context.add_init_script(RECORD + script)
        yield Driven(context.new_page(), app)
        browser.close()


def memory_mb(process: int) -> float:
    """Memory of a process and its children, MB."""
    whole = psutil.Process(process)
    return sum(p.memory_info().rss for p in [whole, *whole.children(recursive=True)]) / 2**20


def cpu_s(app: int) -> tuple[float, float]:
    """Processor time so far of the app and of the browser, with their children, seconds."""
    total = {True: 0.0, False: 0.0}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            own = process.pid == app or app in (each.pid for each in process.parents())
            times = process.cpu_times()
            total[own] += times.user + times.system
    return total[True], total[False]


def slope(times_s: list[float], values: list[float]) -> tuple[float, float]:
    """Change a minute, and the half width of its 95% interval."""
    x, y = np.array(times_s) / 60, np.array(values)
    if len(x) < 4:
        return float("nan"), float("nan")
    x = x - x.mean()
    b = float((x * y).sum() / (x * x).sum())
    rest = y - y.mean() - b * x
    # Neighbours are alike: fewer values are independent, as many as their correlation leaves.
    r = float(np.corrcoef(rest[:-1], rest[1:])[0, 1]) if rest.std() > 0 else 0.0
    free = max(3.0, len(x) * (1 - max(0.0, r)) / (1 + max(0.0, r)))
    error = float(np.sqrt((rest**2).sum() / (free - 2 + 1e-9) / (x * x).sum()))
    return b, 1.96 * error


def drawn(folder: Path) -> Fake:
    """The made talking face of a folder; drawn where it is not there yet."""
    truth = folder / "made.truth.json"
    if not truth.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        return talking_face(folder)
    document = json.loads(truth.read_text(encoding="utf-8"))
    return Fake(
        folder / "camera.mjpeg", folder / "microphone.wav", document["duration_s"], document
    )


# -- parts -----------------------------------------------------------------------------------------


def start(fake: Fake, folder: Path, times: int) -> dict[str, Any]:
    """Seconds from the command to its address, and from the click to the first box."""
    listening, face = [], []
    for k in range(times):
        with (
            running_app(folder / f"start-{k}" / "data") as app,
            browsing(app, *fake.options) as page,
        ):
            listening.append(app.started_s)
            page.page.goto(app.url)
            page.page.wait_for_selector(".choices")
            page.begin(record=False)
            began = time.monotonic()
            page.until("window.sent.drawn.length && window.seen.some((e) => e.p)")
            face.append(time.monotonic() - began)
            page.stop()
    return {"listening_s": sorted(listening)[times // 2], "face_s": sorted(face)[times // 2]}


def run(fake: Fake, folder: Path, minutes: float, asr: str | None = None) -> dict[str, Any]:
    """A recorded session of some minutes; with ``asr`` its words are recognised too."""
    line = ("--asr", asr) if asr else ()
    with running_app(folder / "run" / "data", *line) as app, browsing(app, *fake.options) as page:
        page.begin(record=True)
        page.until("window.seen.some((e) => e.p)")
        page.page.wait_for_timeout(3000)
        page.drain("window.seen"), page.drain("window.sent.drawn")
        began, rows, latencies, words = time.monotonic(), [], [], 0
        before = cpu_s(app.process.pid)
        while (passed := time.monotonic() - began) < 60 * minutes:
            page.page.wait_for_timeout(5000)
            events, drawn = page.drain("window.seen"), page.drain("window.sent.drawn")
            page.drain("window.sent.frames"), page.drain("window.sent.sounds")
            faces = [e for e in events if e["type"] == "face"]
            words += sum(1 for e in events if e["type"] == "words" and e["text"])
            took = time.monotonic() - began - passed
            delays = [d[2] for d in drawn]
            latencies += delays
            rows.append({
                "at_s": passed, "fps": len(faces) / took, "memory_mb": memory_mb(app.process.pid),
                "p50_ms": float(np.median(delays)) if delays else float("nan"),
                "dropped": faces[-1]["dropped"] if faces else 0, "load": os.getloadavg()[0],
            })  # fmt: skip
        took = time.monotonic() - began
        used = [b - a for a, b in zip(before, cpu_s(app.process.pid), strict=True)]
        heap = page.page.evaluate("performance.memory?.usedJSHeapSize ?? 0") / 2**20
        page.stop()
    settled = [row for row in rows if row["at_s"] > 15] or rows
    at = [row["at_s"] for row in settled]
    return {
        "minutes": minutes,
        "words": words,
        "asr": asr,
        "fps": float(np.mean([row["fps"] for row in rows])),
        "p50_ms": float(np.percentile(latencies, 50)),
        "p95_ms": float(np.percentile(latencies, 95)),
        "dropped": rows[-1]["dropped"],
        "memory_mb": max(row["memory_mb"] for row in rows),
        "memory_slope": slope(at, [row["memory_mb"] for row in settled]),
        "latency_slope": slope(at, [row["p50_ms"] for row in settled]),
        "page_mb": heap,
        "cpu_app": used[0] / took,
        "cpu_browser": used[1] / took,
        "load": float(np.mean([row["load"] for row in rows])),
    }


def alone(fake: Fake, seconds: float = 30.0) -> dict[str, Any]:
    """The engine without browser and server: the same pictures, ten a second."""
    from nunbit.live import LiveSession, LiveSettings

    pictures = []
    with av.open(str(fake.pictures), format="mjpeg") as source:
        for k, packet in enumerate(source.demux(video=0)):
            if packet.size and k % 3 == 0:
                pictures.append(bytes(packet))
    given: dict[int, float] = {}
    delays, came = [], threading.Lock()

    def emit(event: Any) -> None:
        if event.type == "face":
            with came:
                delays.append(1000 * (time.monotonic() - given[event.seq]))

    live = LiveSession(None, LiveSettings(sound=False), emit=emit)
    began = time.monotonic()
    for k in range(round(10 * seconds)):
        due = began + 0.1 * k
        time.sleep(max(0.0, due - time.monotonic()))
        given[k] = time.monotonic()
        live.push_frame(pictures[k % len(pictures)], 1000 * (due - began), k)
    time.sleep(0.5)
    live.abort("measured")
    return {"fps": len(delays) / seconds, "p50_ms": float(np.percentile(delays, 50)),
            "p95_ms": float(np.percentile(delays, 95))}  # fmt: skip


def scripted(fake: Fake) -> dict[str, Any]:
    """What the engine says of the made face against its script, pushed as fast as it reads.

    The recogniser is that of the tests, which knows the words by their sound.
    """
    words = fake.sound.with_name("words.json")
    words.write_text(json.dumps({"utterances": fake.truth["utterances"]}), encoding="utf-8")
    os.environ["NUNBIT_ECHO"] = f"{fake.sound}{os.pathsep}{words}"
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "recogniser"))
    import sitecustomize

    from nunbit.live import LiveSession, LiveSettings, live_session

    live_session.load_recogniser = sitecustomize.load
    with av.open(str(fake.pictures), format="mjpeg") as source:
        pictures = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    with wave.open(str(fake.sound)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")[
            :: file.getframerate() // 16000
        ]
    events: list[Any] = []
    live = LiveSession(None, LiveSettings(asr="vosk", rate_hz=5.0), emit=events.append)
    for k in range(round(20 * fake.duration_s)):
        live.push_sound(sound[800 * k : 800 * (k + 1)].tobytes(), 800 * k, 50.0 * k, 16_000)
        if k % 4 == 0:
            live.push_frame(pictures[min(len(pictures) - 1, round(1.5 * k))], 50.0 * k + 5, k)
        live.wait()
    time.sleep(1)
    live.abort("measured")
    windows = {e.t_start: e for e in events if e.type == "window"}.values()

    def agreement(span: tuple[float, float]) -> float:
        inside = [w.agreement.face_words.value for w in windows
                  if w.t_start >= span[0] - 0.5 and w.t_end <= span[1] + 0.5]  # fmt: skip
        return float(np.mean([value for value in inside if value is not None]))

    joy = next(e.t for e in events if e.type == "face" and e.p and e.t > 5 and e.p["joy"] > 0.5)
    said = fake.truth["utterances"][0]["words"]
    gap = max(((b["start_s"] - a["end_s"]), a["end_s"], b["start_s"]) for a, b in pairwise(said))
    pause = min((e for e in events if e.type == "pause"), key=lambda e: abs(e.t_start - gap[1]))
    return {
        "smile_s": joy - (SMILE[0] - 0.25),
        "pause_s": max(abs(pause.t_start - gap[1]), abs(pause.t_end - gap[2])),
        "agree": agreement(SMILE), "sad": agreement(SADNESS), "differ": agreement(MASKED),
    }  # fmt: skip


def clock(folder: Path, seconds: float, busy: int = 0) -> dict[str, Any]:
    """How far sound and picture of the session's file lie apart, milliseconds."""
    with running_app(folder / f"clock-{busy}" / "data") as app, browsing(app, script=FLASH) as page:
        page.begin(record=True)
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            page.page.wait_for_timeout(1000 * seconds)
            beeps = page.page.evaluate("window.beeps")
            dropped = page.page.evaluate(
                "window.seen.filter((e) => e.type === 'face').at(-1).dropped"
            )
        finally:
            for other in others:
                other.kill()
                other.wait()
        kept = app.data / "sessions" / page.stop() / "session.mkv"
        return clock_of(kept, beeps) | {"dropped": dropped}


def clock_of(kept: Path, beeps_ms: list[float]) -> dict[str, Any]:
    """Compare the picture's own time with that of the beeps, both by their place in the file."""
    shown = []  # page time in the picture minus file time
    with av.open(str(kept)) as file:
        for frame in file.decode(video=0):
            grey = frame.to_ndarray(format="gray")
            wide = grey.shape[1] / _BITS
            rows = grey[grey.shape[0] // 3 : 2 * grey.shape[0] // 3]
            bits = [rows[:, int((i + 0.25) * wide) : int((i + 0.75) * wide)].mean() > 140
                    for i in range(_BITS)]  # fmt: skip
            gray = sum(1 << i for i, bit in enumerate(bits) if bit)
            value = 0
            while gray:
                value ^= gray
                gray >>= 1
            shown.append((float(frame.time), value - 1000 * float(frame.time)))
        file.seek(0)
        parts = [(float(f.time), f.to_ndarray()[0], f.sample_rate) for f in file.decode(audio=0)]
    rate = parts[0][2]
    heard = []
    level = np.concatenate([np.abs(p.astype(np.float64)) for _, p, _ in parts])
    level /= level.max()
    loud = level > 0.3
    edges = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
    last = -np.inf
    for edge in edges.tolist():
        if edge - last > 0.5 * rate:
            heard.append(parts[0][0] + edge / rate)
            last = edge
        last = max(last, edge)
    times, offsets = np.array(shown).T
    errors = []
    for at in heard:
        by_picture = 1000 * at + float(np.median(offsets[np.abs(times - at) < 2.0]))
        nearest = min(beeps_ms, key=lambda b: abs(b - by_picture))
        if abs(nearest - by_picture) < 400:
            errors.append(by_picture - nearest)
    if len(errors) < 5:
        raise SystemExit(f"only {len(errors)} beeps were found in {kept.name}")
    return {"beeps": len(errors), "mean_ms": float(np.mean(errors)),
            "worst_ms": float(np.max(np.abs(errors))), "frames": len(shown),
            "picture_sd_ms": float(np.std(offsets))}  # fmt: skip


def table(found: dict[str, Any]) -> Iterator[str]:
    """The results as rows of Markdown."""
    yield "| what | found | limit |"
    yield "|---|---|---|"
    if s := found.get("start"):
        yield f"| command to address | {s['listening_s']:.1f} s | {LIMITS['start_s']:.0f} s |"
        yield f"| start of a session to the first face drawn | {s['face_s']:.1f} s | 2 s |"
    if r := found.get("run"):
        a, fps, drawn = found["alone"], LIMITS["fps"], LIMITS["drawn_ms"]
        beside = f"engine alone {a['fps']:.1f}"
        said = f"{r['fps']:.2f} ({beside})"
        yield f"| frames analysed a second, {r['minutes']:g} min | {said} | ≥ {fps:.0f} |"
        beside = f"engine alone {a['p50_ms']:.0f} / {a['p95_ms']:.0f}"
        found_ms = f"{r['p50_ms']:.0f} / {r['p95_ms']:.0f} ms ({beside})"
        yield f"| captured to drawn, p50 / p95 | {found_ms} | p95 ≤ {drawn:.0f} ms |"
        b, w = r["latency_slope"]
        yield f"| … its slope | {b:+.1f} ± {w:.1f} ms a minute | 0 in the interval |"
        b, w = r["memory_slope"]
        yield f"| memory of the app | {r['memory_mb']:.0f} MB | ≤ {LIMITS['memory_mb']:.0f} MB |"
        yield f"| … its slope | {b:+.2f} ± {w:.2f} MB a minute | – |"
        yield f"| frames left out | {r['dropped']} | said |"
        yield f"| cores used, app / browser | {r['cpu_app']:.2f} / {r['cpu_browser']:.2f} | 2 |"
        if r["asr"]:
            yield f"| utterances by {r['asr']}, open ones too | {r['words']} | – |"
        yield f"| load of the machine meanwhile | {r['load']:.1f} | – |"
    if c := found.get("scripted"):
        yield f"| smile seen after it was half made | {c['smile_s']:+.2f} s | 1 s |"
        yield f"| pause, begin and end against the script | {c['pause_s']:.2f} s | – |"
        said = f"{c['agree']:.2f}, {c['sad']:.2f}; {c['differ']:.2f}"
        yield f"| agreement, face and words: joy, sadness; smile over sad words | {said} | falls |"
    for name, words in (("clock", ""), ("busy", ", four processes computing beside it")):
        if c := found.get(name):
            said = f"mean {c['mean_ms']:+.0f}, worst {c['worst_ms']:.0f} ms"
            frames = f"{c['frames']} frames, {c['dropped']} left out"
            what = f"sound against picture in the file{words}, {c['beeps']} beeps"
            yield f"| {what} | {said}; {frames} | ≤ {LIMITS['clock_ms']:.0f} ms |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--clock-seconds", type=float, default=30.0)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=["start", "run", "clock", "busy", "scripted"])
    parser.add_argument("--face", type=Path, help="folder that keeps the drawn face for other runs")
    parser.add_argument("--asr", help="recognise the words of the part run")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    parts = given.only or ["start", "run", "scripted", "clock", "busy"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fake = drawn(given.face or folder) if {"start", "run", "scripted"} & set(parts) else None
        if "start" in parts:
            found["start"] = start(fake, folder, given.starts)
        if "run" in parts:
            found["alone"] = alone(fake)
            found["run"] = run(fake, folder, given.minutes, given.asr)
        if "scripted" in parts:
            found["scripted"] = scripted(fake)
        if "clock" in parts:
            found["clock"] = clock(folder, given.clock_seconds)
        if "busy" in parts:
            found["busy"] = clock(folder, given.clock_seconds, busy=4)
    print(json.dumps(found) if given.json else "\n".join(table(found)))


if __name__ == "__main__":
    main()
