"""The live WebSocket against the running app: try-out, recording, cut, second tab, kill, faults."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

httpx = pytest.importorskip("httpx")
from PIL import Image

import nunbit
from make_app import (
    HEADER,
    RunningApp,
    Sender,
    consent,
    frame,
    frame_message,
    hum,
    new_session,
    running_app,
    sound_message,
)

pytestmark = pytest.mark.seconds
websockets = pytest.importorskip("websockets")
pytest.importorskip("av")
from nunbit.app.live_socket import LiveDesk, _Box, _Running
from nunbit.app.sessions import Sessions
from nunbit.app.store import Store
from nunbit.live.recorder import Keeper


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running


def _record(app: RunningApp, seconds: float, jpeg: bytes | None = None, **session: Any) -> Any:
    """Record a session from hello to stopped: its id, key and events."""
    with app.client() as client:
        made = new_session(client, **session)
    with app.socket(hello={"session": made["id"], "session_key": made["key"]}) as live:
        sender = Sender(live, jpeg or frame())
        sender.until("ready")
        sender.send(seconds)
        live.send(json.dumps({"type": "note", "kind": "question", "text": "어땠나요?",
                              "captured_ms": 6000}))  # fmt: skip
        sender.until("note")
        live.send(json.dumps({"type": "stop"}))
        sender.until("stopped", 120)
    return made, sender


@pytest.mark.slow
def test_a_try_out_is_shown_and_nothing_is_stored(app: RunningApp, hopper: Image.Image) -> None:
    before = sorted(p.name for p in app.folder.rglob("*"))
    with app.socket(hello={}) as live:
        sender = Sender(live, frame(hopper.resize((320, 375))))
        ready = sender.until("ready")
        assert ready["session"].startswith("try-")
        assert ready["next_sample"] == 0
        assert ready["recording"] is False
        assert len(ready["labels"]) == 7
        sender.send(4)
        live.send(json.dumps({"type": "ping", "captured_ms": 1.5}))
        assert sender.until("pong")["captured_ms"] == 1.5
        live.send(json.dumps({"type": "stop"}))
        stopped = sender.until("stopped")
    assert (stopped["session"], stopped["job"]) == (None, None)
    faces = [event for event in sender.of("face") if event["p"]]
    assert faces
    assert sum(faces[-1]["p"].values()) == pytest.approx(1, abs=1e-3)
    assert sender.of("voice")
    assert sender.of("health")
    assert sorted(p.name for p in app.folder.rglob("*")) == before


@pytest.mark.slow
def test_a_recorded_session_is_a_timeline(app: RunningApp, hopper: Image.Image) -> None:
    made, sender = _record(app, 8, frame(hopper.resize((320, 375))), keep_media=True, code="P-rec")
    assert sender.of("window")
    folder = app.folder / "sessions" / made["id"]
    timeline = nunbit.read_timeline(folder)
    assert timeline.duration_s == pytest.approx(8, abs=0.3)
    assert timeline.windows().data.num_rows > 0
    assert (folder / "session.mkv").stat().st_size > 10_000
    with app.client(**{"X-Session-Key": made["key"]}) as client:
        whole = client.get(f"/api/sessions/{made['id']}").json()
        assert whole["state"] == "done"
        assert whole["participant"] == "P-rec"
        assert whole["has_media"]
        assert whole["has_report"]
        assert [(n["kind"], n["text"]) for n in whole["notes"]] == [("question", "어땠나요?")]
        assert {"timeline", "frames", "notes"} <= set(whole["tables"])
        again = client.post(f"/api/sessions/{made['id']}/baseline", json={"from": 0, "to": 5})
        assert again.json()["error"]["code"] == "bad_baseline"
        gone = client.request("DELETE", f"/api/sessions/{made['id']}", json={"confirm": "P-rec"})
        assert gone.json()["verified"] is True
    assert not folder.exists()


@pytest.mark.slow
def test_without_keep_media_no_picture_and_no_sound_is_written(app: RunningApp) -> None:
    made, _ = _record(app, 3)
    folder = app.folder / "sessions" / made["id"]
    names = {p.name for p in folder.rglob("*") if p.is_file()}
    assert not any(n.endswith((".mkv", ".jpg", ".flac", ".wav")) for n in names), names
    for path in folder.rglob("*"):
        assert path.is_dir() or b"\xff\xd8\xff\xe0" not in path.read_bytes(), path
    with app.client(**{"X-Session-Key": made["key"]}) as client:  # from what was observed alone
        packed = client.get(f"/api/sessions/{made['id']}/exports/eaf")
    with zipfile.ZipFile(io.BytesIO(packed.content)) as found:
        inside = {Path(name).suffix: name for name in found.namelist()}
    assert {".eaf", ".json", ".csv"} <= set(inside), packed.text[:300]


@pytest.mark.slow
def test_a_session_is_recorded_once(app: RunningApp) -> None:
    made, _ = _record(app, 1)
    with app.socket(hello={"session": made["id"], "session_key": made["key"]}) as live:
        assert json.loads(live.recv(timeout=20))["code"] == "recorded_before"


def test_recording_needs_the_sessions_key_and_a_standing_consent(app: RunningApp) -> None:
    with app.client() as client:
        made = new_session(client)
        with app.socket(hello={"session": made["id"]}) as live:
            assert json.loads(live.recv(timeout=20))["code"] == "session_key"
        client.post("/api/participants", json={"code": "P-w"})
        agreed = client.post("/api/consents", json=consent("P-w")).json()["id"]
        given = {"participant": "P-w", "consent": agreed}
        other = client.post("/api/sessions", json=given).json()
        client.delete(f"/api/consents/{agreed}")
    hello = {"session": other["id"], "session_key": other["key"]}
    with app.socket(hello=hello) as live:
        assert json.loads(live.recv(timeout=20))["code"] == "deleted_session"


@pytest.mark.slow
def test_what_the_consent_leaves_out_is_not_taken(app: RunningApp, hopper: Image.Image) -> None:
    scope = {"face": False, "voice": True, "words": False, "media": False}
    with app.client() as client:
        client.post("/api/participants", json={"code": "P-voice"})
        agreed = client.post("/api/consents", json=consent("P-voice", scope=scope)).json()["id"]
        made = client.post("/api/sessions", json={"participant": "P-voice", "consent": agreed})
    hello = {"session": made.json()["id"], "session_key": made.json()["key"]}
    with app.socket(hello=hello) as live:
        sender = Sender(live, frame(hopper))
        sender.until("ready")
        sender.send(3)
        live.send(json.dumps({"type": "stop"}))
        sender.until("stopped", 60)
    assert sender.of("face") == []
    assert sender.of("voice")
    folder = app.folder / "sessions" / made.json()["id"]
    assert nunbit.read_timeline(folder).frames.to_arrow().num_rows == 0


@pytest.mark.slow
def test_a_cut_socket_comes_back_and_the_clock_goes_on(app: RunningApp) -> None:
    with app.client() as client:
        made = new_session(client)
    hello = {"session": made["id"], "session_key": made["key"]}
    with app.socket(hello=hello) as live:
        sender = Sender(live)
        sender.until("ready")
        sender.send(3)
        live.close_socket() if hasattr(live, "close_socket") else live.socket.close()
    time.sleep(1)
    with app.client() as client:
        other = new_session(client)
    for wrong, code in (
        ({}, "session_key"),
        ({"session_key": other["key"]}, "session_key"),
        ({"key": other["key"]}, "wrong_key"),
        ({"key": other["key"], "session": other["id"]}, "wrong_key"),
    ):
        with app.socket(hello={"resume": made["id"]} | wrong) as live:
            assert json.loads(live.recv(timeout=20))["code"] == code
    with app.socket(hello={"resume": made["id"], "session_key": made["key"]}) as live:
        again = Sender(live, at_s=sender.at_s, seq=sender.seq)
        ready = again.until("ready")
        assert ready["next_sample"] == round(sender.at_s * 16_000)
        assert ready["session"] == made["id"]
        again.at_s = round(sender.at_s - 0.5, 3)  # half a second is sent again
        again.send(0.5)
        again.at_s = sender.at_s
        again.send(3)
        live.send(json.dumps({"type": "stop"}))
        again.until("stopped", 60)
    times = [event["t"] for event in sender.of("voice") + again.of("voice")]
    assert times == sorted(times)
    timeline = nunbit.read_timeline(app.folder / "sessions" / made["id"])
    assert timeline.duration_s == pytest.approx(6, abs=0.3)


def test_a_second_tab_is_told_and_a_resumed_one_takes_over(app: RunningApp) -> None:
    with app.socket(hello={}) as first:
        one = Sender(first)
        session = one.until("ready")["session"]
        with app.socket(hello={}) as second:
            said = json.loads(second.recv(timeout=20))
            assert (said["code"], said["fatal"]) == ("second_tab", True)
            assert "다른 탭" in said["ko"]
        one.send(0.5)  # the first goes on
        with app.socket(hello={"resume": session}) as third:
            three = Sender(third, at_s=one.at_s)
            three.until("ready")
            assert one.until("problem")["code"] == "taken_over"
            three.send(0.5)
            third.send(json.dumps({"type": "stop"}))
            three.until("stopped")


def test_a_try_out_whose_page_went_away_makes_room(app: RunningApp) -> None:
    with app.socket(hello={}) as first:
        Sender(first).until("ready")
    time.sleep(0.5)
    with app.socket(hello={}) as second:
        sender = Sender(second)
        sender.until("ready")
        second.send(json.dumps({"type": "stop"}))
        sender.until("stopped")


_BOMB = frame(size=(3000, 2100))


def test_bad_messages_are_told_and_the_session_goes_on(app: RunningApp) -> None:
    bad: list[tuple[bytes | str, str]] = [
        (b"", "bad_message"),
        (b"\x01\x01", "bad_message"),
        (HEADER.pack(1, 9, 0, 1, 0.0, 0) + b"x", "bad_message"),
        (HEADER.pack(7, 1, 0, 1, 0.0, 0) + b"x", "bad_message"),
        (HEADER.pack(1, 1, 0, 1, float("nan"), 0) + b"x", "bad_message"),
        (HEADER.pack(1, 1, 0, 1, 0.0, 0) + b"no picture", "bad_message"),
        (HEADER.pack(2, 1, 0, 1, 0.0, 2**60) + b"xxxx", "bad_message"),
        (frame_message(frame(size=(3000, 2100)), 1, 0.0), "frame_too_large"),
        ("", "bad_message"),
        ("[" * 10_000, "bad_message"),
        ('{"type": "note", "kind": "smell"}', "bad_message"),
        ('{"type": "note", "kind": "note", "captured_ms": 1e999}', "bad_message"),
        ('{"type": "note", "kind": "note", "captured_ms": "now"}', "bad_message"),
        ('{"type": "evil"}', "bad_message"),
        ('{"type": "note", "kind": "note", "captured_ms": 1' + 400 * "0" + "}", "bad_message"),
    ]
    with app.socket(hello={}) as live:
        sender = Sender(live)
        sender.until("ready")
        for message, code in bad:
            live.send(message)
            said = sender.until("problem", 20)
            assert (said["code"], said["fatal"]) == (code, False), message[:40]
        sender.send(0.5)
        live.send(json.dumps({"type": "stop"}))
        sender.until("stopped")
    assert sender.of("voice")


def test_half_a_character_in_a_note_costs_nothing(app: RunningApp) -> None:
    """`JSON.stringify` of an emoji that was cut in half: no UTF-8 can hold it."""
    with app.client() as client:
        made = new_session(client, keep_media=True)
    with app.socket(hello={"session": made["id"], "session_key": made["key"]}) as live:
        sender = Sender(live)
        sender.until("ready")
        sender.send(1)
        live.send('{"type": "note", "kind": "question", "text": "half \\ud83d"}')
        sender.until("note")
        sender.send(2)
        live.send(json.dumps({"type": "stop"}))
        sender.until("stopped", 60)
    assert not sender.of("problem")
    with app.client() as client:
        assert client.get(f"/api/sessions/{made['id']}", headers={"X-Session-Key": made["key"]}
                          ).json()["state"] == "done"  # fmt: skip


def test_a_keeper_whose_work_fails_says_so_and_closes(tmp_path: Path) -> None:
    told: list[str] = []
    keeper = Keeper(
        tmp_path, media=False, rate_hz=10, camera=False, sound=True,
        failed=lambda code, text: told.append(text.en),
    )  # fmt: skip
    keeper.line({"a": object()})  # no JSON
    keeper.close()
    assert len(told) == 1
    assert not keeper.works


@pytest.mark.parametrize("broken", ["write_notes", "set"])
def test_a_failure_at_the_end_of_a_session_frees_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row = sessions.create_for_upload(1)[0]
    desk = LiveDesk(sessions, None, None, "key", lambda *_: None, 0)  # type: ignore[arg-type]

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no room")

    async def run() -> list[bytes]:
        desk.running = running = _Running(row["id"], _Box(), row, frozenset(("face",)))
        with monkeypatch.context() as patch:
            patch.setattr(Store if broken == "set" else Sessions, broken, fail)
            await asyncio.wait_for(desk.stop(running), 20)
        assert desk.running is None
        assert running.finished.is_set()
        await asyncio.wait_for(desk.close(), 5)
        return [body for _, body in running.box._waiting]

    said = asyncio.run(run())
    assert b"live_fault" in b"".join(said)
    assert b"stopped" in said[-1]
    if broken == "write_notes":
        assert sessions.find(row["id"])["state"] == "cut_off"
    store.close()


def test_a_message_of_five_megabytes_ends_the_socket(app: RunningApp) -> None:
    with app.socket(hello={}) as live:
        sender = Sender(live)
        sender.until("ready")
        with pytest.raises(websockets.ConnectionClosed):
            live.send(b"\x01" * 5_000_000)
            sender.until("never", 20)
    time.sleep(0.3)


@pytest.mark.slow
def test_a_kill_loses_the_last_second_at_most(tmp_path: Path, hopper: Image.Image) -> None:
    """Both with the recording kept and without; the next start makes the tables."""
    for keep in (True, False):
        folder = tmp_path / str(keep)
        with running_app(folder) as app:
            with app.client() as client:
                made = new_session(client, keep_media=keep)
            with app.socket(hello={"session": made["id"], "session_key": made["key"]}) as live:
                sender = Sender(live, frame(hopper.resize((320, 375))))
                sender.until("ready")
                sender.send(7)
                live.send(json.dumps({"type": "note", "kind": "marker", "text": "여기"}))
                sender.until("note")
                heard = sender.of("voice")[-1]["t"]
                app.kill()
        with running_app(folder) as app, app.client(**{"X-Session-Key": made["key"]}) as client:
            until = time.monotonic() + 120
            whole: dict[str, Any] = {}
            while whole.get("state") not in ("done", "failed") and time.monotonic() < until:
                whole = client.get(f"/api/sessions/{made['id']}").json()
                time.sleep(0.3)
            assert whole["state"] == "done", whole
            assert whole["duration_s"] >= heard - 1
            assert [n["text"] for n in whole["notes"]] == ["여기"]
            assert nunbit.read_timeline(folder / "sessions" / made["id"]).duration_s > 3


@pytest.mark.slow
def test_an_interrupt_finishes_the_session(tmp_path: Path) -> None:
    with running_app(tmp_path) as app:
        with app.client() as client:
            made = new_session(client)
        with app.socket(hello={"session": made["id"], "session_key": made["key"]}) as live:
            sender = Sender(live)
            sender.until("ready")
            sender.send(3)
            app.stop()
    assert nunbit.read_timeline(tmp_path / "sessions" / made["id"]).duration_s > 2.5


@pytest.mark.slow
def test_a_full_disk_ends_the_recording_in_words(tmp_path: Path) -> None:
    """The room is asked for while it records: a disk that is nearly full ends it, what is kept."""
    room = tmp_path / "room"
    room.mkdir()
    if os.name != "posix" or not _small_disk(room, 60):
        pytest.skip("no small disk can be mounted here")
    try:
        with running_app(room / "data", "--set", "keep_free_mb=20") as app:
            with app.client() as client:
                made = new_session(client, keep_media=True)
            hello = {"session": made["id"], "session_key": made["key"]}
            with app.socket(hello=hello) as live:
                sender = Sender(live)
                sender.until("ready")
                sender.send(3)
                left = shutil.disk_usage(room).free
                (room / "other").write_bytes(b"\0" * (left - 10_000_000))
                with suppress(websockets.exceptions.ConnectionClosed):
                    sender.send(3)  # it may have ended before all is sent
                if not sender.of("stopped"):
                    sender.until("stopped", 60)
            assert [e["code"] for e in sender.of("problem") if e["fatal"]] == ["disk_full"]
            timeline = nunbit.read_timeline(room / "data" / "sessions" / made["id"])
            assert timeline.duration_s > 3
    finally:
        subprocess.run(["umount", "-l", str(room)], check=False)


def _small_disk(folder: Path, megabytes: int) -> bool:
    line = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    return not subprocess.run(line, check=False, capture_output=True).returncode


# -- nothing leaves the machine --------------------------------------------------------------------

_WATCHED = """
import sys, runpy
def watch(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        where = args[1] if event != "socket.getaddrinfo" else args[0]
        host = where[0] if isinstance(where, tuple) else where
        if host not in ("127.0.0.1", "::1", "localhost", None):
            print("LEAVES", event, where, file=sys.stderr, flush=True)
            raise PermissionError("blocked network")
sys.addaudithook(watch)
sys.argv = ["nunbit", *sys.argv[1:]]
runpy.run_module("nunbit", run_name="__main__")
"""


@pytest.mark.slow
def test_with_a_blocked_network_everything_works_and_nothing_asks_for_it(
    tmp_path: Path, hopper: Image.Image
) -> None:
    """In a network namespace without any network where that is allowed; always watched."""
    script = tmp_path / "watched.py"
    script.write_text(_WATCHED, encoding="utf-8")
    line = [sys.executable, str(script), "app", "--port", "0", "--no-browser", "--json",
            "--data", str(tmp_path / "data")]  # fmt: skip
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "LANG": "C.UTF-8"})  # fmt: skip
    assert process.stdout is not None
    try:
        app = RunningApp(tmp_path / "data", process=process,
                         told=json.loads(process.stdout.readline()))  # fmt: skip
        made, _ = _record(app, 3, frame(hopper.resize((320, 375))), keep_media=True)
        with app.client(**{"X-Session-Key": made["key"]}) as client:
            assert client.get("/api/about").status_code == 200
            page = client.get("/").text
            assert client.get(f"/api/sessions/{made['id']}/report").status_code == 200
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert "LEAVES" not in said
    for address in ("http://", "https://"):
        assert address not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "unshare") and shutil.which("unshare") is None,
                    reason="no namespaces here")  # fmt: skip
def test_it_starts_without_any_network_at_all(tmp_path: Path) -> None:
    inside = (
        "import json, subprocess, sys, urllib.request\n"
        "p = subprocess.Popen([sys.executable, '-m', 'nunbit', 'app', '--port', '0', '--json', "
        f"'--no-browser', '--data', {str(tmp_path)!r}], stdout=subprocess.PIPE, text=True)\n"
        "told = json.loads(p.stdout.readline())\n"
        "print(urllib.request.urlopen(told['url'] + 'api/health').read().decode())\n"
        "p.kill()\n"
    )
    line = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1"',
            sys.executable, inside]  # fmt: skip
    run = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in run.stderr or "ip:" in run.stderr or "RTNETLINK" in run.stderr:
        pytest.skip("no network namespace may be made here")
    assert run.stdout.strip() == '{"status":"ok"}', run.stderr


def test_it_starts_within_three_seconds_of_computing(tmp_path: Path) -> None:
    """Seconds of the processor, which other work on the machine does not change."""
    with running_app(tmp_path) as app:
        assert app.process is not None
        fields = Path(f"/proc/{app.process.pid}/stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    assert spent < 3


@pytest.mark.slow
def test_the_audit_has_the_recording(app: RunningApp) -> None:
    made, _ = _record(app, 1)
    with sqlite3.connect(app.folder / "nunbit.sqlite") as base:
        actions = [a for (a,) in base.execute(
            "SELECT action FROM audit WHERE object = ? ORDER BY id", (made["id"],))]  # fmt: skip
    base.close()
    assert actions[:3] == ["session_added", "recording_started", "recording_stopped"]


def test_messages_are_as_the_contract_has_them() -> None:
    body = sound_message(hum(0, 4), 7, 1.5, 99)
    assert len(body) == 24 + 8
    assert HEADER.unpack_from(body) == (2, 1, 0, 7, 1.5, 99)
    assert np.frombuffer(body[24:], "<i2").tolist() == hum(0, 4).tolist()
    assert isinstance(httpx.URL("http://x"), httpx.URL)
