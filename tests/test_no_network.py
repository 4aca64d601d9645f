"""No command asks a network, by any process that it starts; only `models get` may.

Every command of the command line is run, in order, in an interpreter whose sockets are watched by
an audit hook that its child processes inherit; where the system allows it, in a network namespace
without a network, so that libraries in C are shut in as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from nunbit.cli import cli

ASKS = {"models get"}
"""What downloads, when it is asked to: nothing else may be here."""

# A line for each command; they build on one another. `{…}` are files of the fixture.
LINES: dict[str, list[str]] = {
    "doctor": ["doctor"],
    "measures": ["measures", "--label-set", "fer7"],
    "models": ["models"],
    "models list": ["models", "list"],
    "models verify": ["models", "verify"],
    "synth aihub": ["synth", "aihub", "tree", "--per-class", "2"],
    "prepare": ["prepare", "tree", "--out", "prepared", "--size", "32", "--set", "num_workers=2"],
    "train": [
        *("train", "{data}", "--out", "run", "--init", "tiny", "--set", "image_size=16"),
        *("--set", "max_steps=2", "--set", "batch_size=6", "--set", "num_workers=0"),
    ],
    "export": ["export", "run", "--out", "bundle"],
    "evaluate": ["evaluate", "{data}", "--bundle", "bundle", "--out", "eval"],
    "predict": ["predict", "{photos}/happy", "--annotate", "marked"],
    "adapt": ["adapt", "fer7-lite", "{photos}", "--out", "adapted"],
    "synth video": ["synth", "video", "media/talk.mp4", "--script", "{script}"],
    "check": ["check", "media/talk.mp4"],
    "analyze": ["analyze", "media/talk.mp4", "--out", "timelines"],
    "align": ["align", "media", "--out", "aligned"],
    "search": ["search", "timelines", "웃는 얼굴", "--bundle", "bundle"],
    "figure": ["figure", "timelines/talk", "--out", "figure.svg"],
    "tables": ["tables", "timelines"],
    "methods": ["methods", "timelines"],
    "compare": ["compare", "timelines", "--by", "speaking", "--out", "comparison"],
    "report": ["report", "timelines/talk"],
    "synth study": ["synth", "study", "world", "--world", "null"],
    "study": ["study", "world/timelines", "--labels", "world/labels.csv", "--out", "study",
              "--plan-only"],
    "demo": ["demo", "--out", "demo"],
    "app": ["app", "--port", "0", "--no-browser", "--data", "appdata"],
}  # fmt: skip

MAY_FAIL = {"adapt", "align", "search", "compare"}
"""With so little material these end in one clear line; they have read everything by then."""

SLOW = {"demo"}

HOOK = """
import os, sys
_log = os.environ["NUNBIT_SOCKET_LOG"]
def _watch(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        if isinstance(address, tuple) and str(address[0]) not in ("127.0.0.1", "::1"):
            _tell(event, address)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        if args[0] not in (None, "127.0.0.1", "::1", "localhost", "", "0.0.0.0"):
            _tell(event, args)
def _tell(event, what):
    with open(_log, "a") as log:
        log.write(f"{' '.join(sys.argv)[:200]}: {event} {what}\\n")
    raise OSError(101, "Network is unreachable")
sys.addaudithook(_watch)
"""


def commands(group: click.Group, before: str = "") -> Iterator[str]:
    """Every command of the command line, groups that do something by themselves included."""
    for name, each in group.commands.items():
        if not isinstance(each, click.Group) or each.invoke_without_command:
            yield before + name
        if isinstance(each, click.Group):
            yield from commands(each, f"{before}{name} ")


def test_no_command_is_forgotten() -> None:
    assert set(commands(cli)) == set(LINES) | ASKS


@pytest.fixture
def material(tmp_path: Path) -> dict[str, Path]:
    pytest.importorskip("torch")
    from make_data import make_data

    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for label in ("happy", "sad"):
        (photos / label).mkdir(parents=True)
        for n in range(3):
            pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(photos / label / f"{label}{n}.png")
    (tmp_path / "media").mkdir()
    script = tmp_path / "script.toml"
    script.write_text(
        "duration_s = 8.0\nwidth = 240\nheight = 180\nfps = 10\nseed = 1\nface_scale = 0.3\n"
        "emotions = [{ at_s = 0.0 }, { at_s = 4.0, joy = 1.0 }]\n"
    )
    return {"data": make_data(tmp_path / "data"), "photos": photos, "script": script}


def without_network() -> list[str]:
    """How to start a program without a network, or nothing where the system does not allow it."""
    program = shutil.which("unshare")
    if program is None:
        return []
    inside = [program, "-r", "-n"] if os.geteuid() else [program, "-n"]
    tried = subprocess.run([*inside, "true"], capture_output=True, check=False)
    # The loopback of a new namespace is down; the app needs it.
    up = ["sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh"]
    return [*inside, *up] if tried.returncode == 0 else []


def run_watched(folder: Path, line: list[str], log: Path, *, app: bool) -> tuple[int, str]:
    """Run a command line with watched sockets; the app is stopped when it has answered."""
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    source = str(Path(sys.modules["nunbit"].__file__ or "").parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder / "hook"), source]),
        "NUNBIT_SOCKET_LOG": str(log),
        "LANG": "C.UTF-8",
        "NUNBIT_APP_DATA": str(folder / "appdata"),
    }
    inside = [] if app else without_network()  # its browser is this test, on the outside
    command = [*inside, sys.executable, "-m", "nunbit", *line]
    with subprocess.Popen(
        [*command, *(["--json"] if app else [])], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        try:
            if app:
                assert run.stdout is not None
                _ask(json.loads(run.stdout.readline())["url"])
                run.terminate()
            _, said = run.communicate(timeout=600)
        finally:
            run.kill()
    return run.returncode, said


def _ask(url: str) -> None:
    import urllib.request

    for path in ("", "/api/health", "/openapi.json"):
        with urllib.request.urlopen(url.rstrip("/") + (path or "/"), timeout=60) as answer:
            assert answer.status == 200 or path == "/openapi.json"
            if path == "":
                page = answer.read().decode()
                assert "http://" not in page.replace("http://127.0.0.1", "")
            if path == "/api/health":
                return


@pytest.mark.slow
@pytest.mark.train
def test_no_command_asks_a_network(tmp_path: Path, material: dict[str, Path]) -> None:
    log = tmp_path / "sockets.log"
    told = {}
    for name, line in LINES.items():
        if name in SLOW and os.environ.get("NUNBIT_TEST_DEMO") is None:
            continue  # its parts are commands of this list
        filled = [word.format(**material) for word in line]
        code, said = run_watched(tmp_path, filled, log, app=name == "app")
        assert "Traceback" not in said, (name, said[-2000:])
        told[name] = (code, said[-300:])
        assert not log.exists(), f"{name}: {log.read_text()}"
    failed = {n: t for n, t in told.items() if t[0] not in (0, 130) and n not in MAY_FAIL}
    assert not failed


@pytest.mark.slow
def test_the_watch_notices(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    log = tmp_path / "log"
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r])" % (  # noqa: UP031
        "import urllib.request as u\ntry: u.urlopen('http://192.0.2.1/')\nexcept OSError: pass"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "hook"), "NUNBIT_SOCKET_LOG": str(log)},
    )  # fmt: skip
    assert "192.0.2.1" in log.read_text()
