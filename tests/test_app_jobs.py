"""Uploads judged by their content and within limits; the queue, its progress, cancel and resume."""

from __future__ import annotations

import contextlib
import gc
import io
import re
import socket
import subprocess
import sys
import threading
import time
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("websockets")
from PIL import Image

import nunbit.app
from make_app import RunningApp, hum, running_app

pytestmark = pytest.mark.seconds
pytest.importorskip("av")


def sound(seconds: float = 2.0) -> bytes:
    """A WAV file."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(hum(0, round(seconds * 16_000)).astype("<i2").tobytes())
    return stream.getvalue()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running_app(
        tmp_path_factory.mktemp("app"), "--set", "media_mb=30", "--set", "image_mb=2",
        "--set", "transcript_mb=1",
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def client(app: RunningApp) -> Iterator[httpx.Client]:
    with app.client() as opened:
        yield opened


def _wait(client: httpx.Client, job: str, seconds: float = 150) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.3)
    raise AssertionError(found)


def _upload(client: httpx.Client, data: bytes, name: str = "a.wav", **more: Any) -> httpx.Response:
    return client.post("/api/analyses", files={"media": (name, data), **more})


def _nothing_left(app: RunningApp) -> bool:
    return not any((app.folder / "incoming").iterdir())


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "status", "code"),
    [
        ("empty.mp4", b"", 422, "empty_upload"),
        ("text.mp4", "이것은 글입니다. no film".encode(), 415, "not_media"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\nfile:///etc/passwd\n", 415, "not_media"),
        ("list.wav", b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "not_media"),
        ("picture.mp4", b"\xff\xd8\xff\xe0" + b"x" * 500, 415, "not_media"),
        ("zip.mp4", b"PK\x03\x04" + b"x" * 500, 415, "not_media"),
        ("noise.mp4", bytes(range(256)) * 8, 415, "not_media"),
        ("../../../etc/cron.d/x.wav", b"text", 415, "not_media"),
    ],
)
def test_a_file_is_judged_by_its_content(
    app: RunningApp, client: httpx.Client, name: str, data: bytes, status: int, code: str
) -> None:
    answer = _upload(client, data, name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert _nothing_left(app)


def test_what_it_is_is_said_in_words(client: httpx.Client) -> None:
    error = _upload(client, b"a text", "film.mp4").json()["error"]
    assert "it is text" in error["en"]
    assert "텍스트" in error["ko"]


@pytest.mark.slow
def test_ten_gigabytes_are_refused_before_they_come(app: RunningApp) -> None:
    head = (
        f"POST /api/analyses HTTP/1.1\r\nHost: 127.0.0.1:{app.told['port']}\r\n"
        f"Authorization: Bearer {app.key}\r\nContent-Length: 10000000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", app.told["port"]), timeout=30) as line:
        line.sendall(head.encode())
        line.sendall(b"--x\r\n" + b"x" * 100_000)
        said = b"".join(iter(lambda: line.recv(65_536), b""))
    assert b" 413 " in said.split(b"\r\n")[0]
    assert b"too_large" in said
    assert _nothing_left(app)


def test_without_a_length_reading_ends_at_the_limit(app: RunningApp, client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield (b'--x\r\nContent-Disposition: form-data; name="media"; filename="a.wav"\r\n\r\n'
               + sound(0.1))  # fmt: skip
        for _ in range(2000):
            sent += 1_000_000
            yield b"\0" * 1_000_000

    answer = client.post("/api/analyses", content=endless(),
                         headers={"Content-Type": "multipart/form-data; boundary=x"})  # fmt: skip
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert sent < 300_000_000
    assert _nothing_left(app)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"no form at all"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: " + b"b" * 10_000 + b"\r\n\r\n"),
        ("multipart/form-data; boundary=x",
         b'--x\r\nContent-Disposition: form-data; name="evil"; filename="a"\r\n\r\nx\r\n--x--\r\n'),
        ("multipart/form-data; boundary=x",
         b'--x\r\nContent-Disposition: form-data; name="lang"\r\n\r\n' + b"k" * 100_000
         + b"\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"".join(
            b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % n
            for n in range(40)) + b"--x--\r\n"),
    ],
    ids=range(7),
)  # fmt: skip
def test_what_is_no_form_is_refused(
    app: RunningApp, client: httpx.Client, kind: str, body: bytes
) -> None:
    answer = client.post("/api/analyses", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] in ("bad_form", "cut_upload", "no_media")
    assert _nothing_left(app)


def test_an_upload_that_breaks_off_leaves_nothing(app: RunningApp) -> None:
    head = (
        f"POST /api/analyses HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {app.key}\r\n"
        "Content-Length: 1000000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="media"; filename="a.wav"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", app.told["port"]), timeout=30) as line:
        line.sendall(head.encode() + sound(1))
    until = time.monotonic() + 20
    while not _nothing_left(app) and time.monotonic() < until:
        time.sleep(0.1)
    assert _nothing_left(app)


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({"lang": "fr"}, {}),
        ({"retention_days": "-1"}, {}),
        ({"retention_days": "1e9"}, {}),
        ({}, {"transcript": ("a.srt", b"\0\1\2\3" * 100)}),
        ({}, {"transcript": ("a.srt", b"x" * 1_100_000)}),
    ],
    ids=str,
)
def test_what_is_beside_a_recording_is_looked_at_too(
    app: RunningApp, client: httpx.Client, fields: dict[str, str], files: dict[str, Any]
) -> None:
    answer = client.post("/api/analyses", data=fields, files={"media": ("a.wav", sound())} | files)
    assert answer.status_code in (413, 415, 422)
    assert _nothing_left(app)


def test_a_full_disk_is_said_before_anything_is_taken(tmp_path: Path) -> None:
    with running_app(tmp_path, "--set", "keep_free_mb=1000000") as app, app.client() as client:
        answer = _upload(client, sound())
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "no_room")


# -- pictures --------------------------------------------------------------------------------------


def _png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def test_a_picture_is_answered_and_not_kept(
    app: RunningApp, client: httpx.Client, hopper: Image.Image
) -> None:
    stream = io.BytesIO()
    hopper.save(stream, "JPEG")
    answer = client.post("/api/predict", files={"image": ("../../x.jpg", stream.getvalue())})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["state"] == "ok"
    assert told["file"] is None
    assert sum(told["faces"][0]["probability"].values()) == pytest.approx(1, abs=1e-3)
    assert _nothing_left(app)


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 422), (b"text", 415), (sound(0.1), 415), (_png(20_000, 20_000), 413),
     (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, 415), (b"\xff\xd8\xff" + b"\0" * 100, 415),
     (b"x" * 2_100_000, 413)],
    ids=["empty", "text", "sound", "bomb", "broken_png", "broken_jpeg", "long"],
)  # fmt: skip
def test_a_picture_that_cannot_be_used(client: httpx.Client, data: bytes, status: int) -> None:
    answer = client.post("/api/predict", files={"image": ("a.png", data)})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["ko"]


# -- jobs ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_upload_becomes_a_session_with_tables_and_exports(
    app: RunningApp, client: httpx.Client
) -> None:
    words = "1\n00:00:00,200 --> 00:00:01,500\n오늘은 기분이 좋아요.\n".encode()
    answer = _upload(client, sound(3), "../etc/내 녹음.mp4", transcript=("x.exe", words))
    assert answer.status_code == 202, answer.text
    job, session = answer.json()["job"], answer.json()["session"]
    assert job["state"] in ("queued", "running")
    done = _wait(client, job["id"])
    assert (done["state"], done["progress"]) == ("done", 1.0), done
    folder = app.folder / "sessions" / session["id"]
    assert {p.name for p in folder.iterdir() if p.suffix in (".wav", ".srt")} == {
        f"{session['id']}.wav", "transcript.srt"}  # fmt: skip
    timeline = nunbit.read_timeline(folder)
    assert timeline.duration_s == pytest.approx(3, abs=0.1)
    assert timeline.words.to_arrow().num_rows == 3
    headers = {"X-Session-Key": session["key"]}
    place = f"/api/sessions/{session['id']}"
    whole = client.get(place, headers=headers).json()
    assert whole["state"] == "done"
    assert whole["duration_s"] == pytest.approx(3, abs=0.1)
    assert {"timeline", "words", "voice"} <= set(whole["tables"])
    assert whole["has_report"]
    assert whole["has_media"]
    rows = client.get(f"{place}/tables/words?format=json", headers=headers).json()["rows"]
    assert [row["text"] for row in rows] == ["오늘은", "기분이", "좋아요."]
    assert client.get(f"{place}/tables/words?format=csv", headers=headers).text.startswith('"t_st')
    report = client.get(f"{place}/report", headers=headers)
    assert "sandbox allow-scripts" in report.headers["content-security-policy"]
    media = client.get(f"{place}/media", headers=headers | {"Range": "bytes=0-3"})
    assert (media.status_code, media.content) == (206, b"RIFF")
    packed = client.get(f"{place}/exports/textgrid", headers=headers)
    with zipfile.ZipFile(io.BytesIO(packed.content)) as found:
        assert any(name.endswith(".TextGrid") for name in found.namelist()), found.namelist()
    gone = client.request("DELETE", place, json={"confirm": session["id"]}).json()
    assert f"{session['id']}.wav" in {file["name"] for file in gone["deleted"]}
    assert not folder.exists()


def test_a_recording_that_cannot_be_read_fails_with_its_reason(client: httpx.Client) -> None:
    broken = b"\0\0\0\x18ftypmp42" + b"\0" * 5000
    done = _wait(client, _upload(client, broken).json()["job"]["id"])
    assert done["state"] == "failed"
    assert len(done["problem"]["en"]) > 10


@pytest.mark.slow
def test_a_job_that_waits_has_its_place_and_can_be_cancelled(client: httpx.Client) -> None:
    made = [_upload(client, sound(20)).json() for _ in range(4)]
    ids = [one["job"]["id"] for one in made]
    listed = {job["id"]: job for job in client.get("/api/jobs").json()["jobs"]}
    places = [listed[job]["place"] for job in ids if listed[job]["state"] == "queued"]
    assert places == sorted(places)
    assert places[-1] == len(places)
    for job in reversed(ids):
        answer = client.delete(f"/api/jobs/{job}")
        assert answer.status_code == 200
    for job in ids:
        assert _wait(client, job, 30)["state"] == "cancelled"
    again = client.delete(f"/api/jobs/{ids[0]}")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job_over")
    done = _wait(client, _upload(client, sound(1)).json()["job"]["id"])
    assert done["state"] == "done"  # the queue goes on


@pytest.mark.slow
def test_deleting_a_session_ends_its_job(app: RunningApp, client: httpx.Client) -> None:
    made = _upload(client, sound(60)).json()
    until = time.monotonic() + 30
    while client.get(f"/api/jobs/{made['job']['id']}").json()["state"] == "queued":
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1)
    gone = client.request("DELETE", f"/api/sessions/{made['session']['id']}",
                          json={"confirm": made["session"]["id"]})  # fmt: skip
    assert gone.status_code == 200, gone.text
    time.sleep(1)
    assert not (app.folder / "sessions" / made["session"]["id"]).exists()
    assert client.get(f"/api/jobs/{made['job']['id']}").status_code == 404


@pytest.mark.slow
def test_a_neutral_stretch_is_set_afterwards(app: RunningApp, client: httpx.Client) -> None:
    made = _upload(client, sound(66)).json()
    assert _wait(client, made["job"]["id"])["state"] == "done"
    place = f"/api/sessions/{made['session']['id']}"
    headers = {"X-Session-Key": made["session"]["key"]}
    for bad in ({"from": 0, "to": 30}, {"from": 10, "to": 90}, {"from": 9, "to": 3}):
        answer = client.post(f"{place}/baseline", json=bad, headers=headers)
        assert answer.json()["error"]["code"] == "bad_baseline"
    job = client.post(f"{place}/baseline", json={"from": 2, "to": 64}, headers=headers).json()
    assert job["kind"] == "baseline"
    assert _wait(client, job["id"])["state"] == "done"
    whole = client.get(place, headers=headers).json()
    assert whole["baseline"] == {"from": 2.0, "to": 64.0}
    assert whole["state"] == "done"
    summary = nunbit.read_timeline(app.folder / "sessions" / made["session"]["id"]).summary
    assert summary["provenance"]["settings"]["baseline"] == "2-64"


@pytest.mark.slow
def test_twenty_at_once_and_a_kill_lose_nothing(tmp_path: Path) -> None:
    """All finish or wait with their place; the child that ran goes on or is taken up again."""
    answers: list[httpx.Response] = []

    def send(app: RunningApp) -> None:
        with app.client() as client:
            answers.append(_upload(client, sound(2)))

    with running_app(tmp_path) as app:
        threads = [threading.Thread(target=send, args=(app,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [a.status_code for a in answers] == [202] * 20
        ids = {a.json()["job"]["id"] for a in answers}
        assert len(ids) == 20
        with app.client() as client:
            jobs = client.get("/api/jobs").json()["jobs"]
        waiting = sorted(job["place"] for job in jobs if job["state"] == "queued")
        assert waiting == list(range(1, len(waiting) + 1))
        app.kill()
    with running_app(tmp_path, "--set", "jobs_at_once=2") as app, app.client() as client:
        assert {job["id"] for job in client.get("/api/jobs").json()["jobs"]} == ids
        until = time.monotonic() + 200
        states: list[str] = []
        while time.monotonic() < until and states.count("done") < 20:
            jobs = client.get("/api/jobs").json()["jobs"]
            states = [job["state"] for job in jobs]
            assert set(states) <= {"queued", "running", "done"}
            places = sorted(job["place"] for job in jobs if job["state"] == "queued")
            assert places == list(range(1, len(places) + 1))
            time.sleep(0.5)
        assert states.count("done") > 1  # all of them on an idle machine, in a minute and a half
        assert app.stop() in (0, 130, -2)


@pytest.mark.slow
def test_a_job_survives_the_app(tmp_path: Path) -> None:
    """The child of a killed app goes on; the next app waits for it and does not start it anew."""
    with running_app(tmp_path) as app, app.client() as client:
        job = _upload(client, sound(150)).json()["job"]["id"]
        until = time.monotonic() + 60
        while client.get(f"/api/jobs/{job}").json()["state"] != "running":
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.3)
        app.kill()
    with running_app(tmp_path) as app, app.client() as client:
        found = _wait(client, job)
        assert found["state"] == "done"
    import sqlite3

    with contextlib.closing(sqlite3.connect(tmp_path / "nunbit.sqlite")) as base:
        assert base.execute("SELECT tries FROM jobs").fetchone()[0] == 1


@pytest.mark.slow
def test_an_interrupt_puts_the_running_job_back(tmp_path: Path) -> None:
    with running_app(tmp_path) as app, app.client() as client:
        job = _upload(client, sound(60)).json()["job"]["id"]
        until = time.monotonic() + 60
        while client.get(f"/api/jobs/{job}").json()["state"] != "running":
            assert time.monotonic() < until
            time.sleep(0.05)
        assert app.stop() in (0, 130, -2)
    with running_app(tmp_path) as app, app.client() as client:
        assert _wait(client, job)["state"] == "done"


def test_packages_are_whole_before_the_threads_begin() -> None:
    """Two threads that began one package at two ends: one of them got a module half there."""
    app = Path(nunbit.app.__file__).parent
    inner = re.compile(r"^ +from (nunbit[\w.]*) import", re.MULTILINE)
    wanted = {"nunbit.stories.within_person", "nunbit.stories.analyze.live_end"}
    for path in app.glob("*.py"):
        wanted |= set(inner.findall(path.read_text(encoding="utf-8")))
    packages = set()
    for name in wanted:
        parts = name.split(".")
        for n in range(2, len(parts) + 1):
            init = app.parent.joinpath(*parts[1:n], "__init__.py")
            if init.is_file() and "from nunbit" in init.read_text(encoding="utf-8"):
                packages.add(".".join(parts[:n]))
    assert {"nunbit.report", "nunbit.stories.analyze"} <= packages
    code = (
        "import sys, nunbit.app.house as house; house.load_packages(); "
        f"print([p for p in {sorted(packages)!r} if p not in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_app_begins_without_folders_of_jobs_that_are_over(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "j-00e832e49547").mkdir(parents=True)
    (tmp_path / "jobs" / "j-00e832e49547" / "log").write_text("what was said", encoding="utf-8")
    with running_app(tmp_path):
        assert list((tmp_path / "jobs").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("page", ["app.md", "app.ko.md"])
def test_the_client_in_ten_lines_works(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[1] / "docs" / page).read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    assert len(code.strip().splitlines()) <= 12
    (tmp_path / "sound.wav").write_bytes(sound(1))
    start = f'[{sys.executable!r}, "-m", "nunbit", "app", "--data", {str(tmp_path / "data")!r},'
    code = code.replace('["nunbit", "app",', start).replace(
        "interview.mp4", str(tmp_path / "sound.wav")
    )
    found: dict[str, Any] = {}
    try:
        exec(code, found)
        assert {row["scope"] for row in found["rows"]} >= {"window", "session"}
    finally:
        found["app"].kill()
        found["app"].communicate()
        found["web"].close()
        found.clear()
        gc.collect()  # what the lines leave open is told of here, not in a later test
