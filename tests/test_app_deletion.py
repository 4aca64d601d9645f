"""Deletion while something else is under way: nothing comes back, and every request is told so."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from make_timeline import make_timeline
from nunbit.app import (
    AppSettings,
    children,
    choosing,
    comparing,
    exporting,
    face_sets,
    face_work,
    looking,
    routes,
    sessions,
)
from nunbit.app.access import Refusal
from nunbit.app.children import LOOK_FILE, LOOK_FOLDER, AgreedPart
from nunbit.app.house import create_app
from nunbit.app.jobs import JobQueue
from nunbit.app.live_socket import LiveDesk
from nunbit.app.routes import Desk
from nunbit.app.sessions import Sessions
from nunbit.app.store import Consent, Row, Store

pytestmark = pytest.mark.seconds

_KEY = "k" * 40
_WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(64)


class House:
    """The whole app without its queue's threads, and a client that is its owner."""

    def __init__(self, folder: Path) -> None:
        guarded = create_app(AppSettings(), folder, _KEY)
        (folder / "incoming").mkdir()
        self.folder = folder
        self.desk: Desk = guarded.app.state.desk
        self.sessions: Sessions = self.desk.sessions
        self.store: Store = self.sessions.store
        self.client = TestClient(guarded, "http://127.0.0.1", raise_server_exceptions=False)
        self.client.headers["Authorization"] = f"Bearer {_KEY}"

    def agreed(self, code: str = "P1") -> Row:
        self.sessions.add_participant(code)
        given = Consent(code, True, "other", "x", date.today(), 30)
        row, key = self.sessions.create(code, self.sessions.add_consent(given), False, None)
        self.client.headers["X-Session-Key"] = key
        return row

    def recorded(self) -> Row:
        """A session with an upload that has not been looked at."""
        row = self.agreed()
        (self.sessions.place(row) / f"{row['id']}.wav").write_bytes(_WAV)
        choice = {"files": {"media": f"{row['id']}.wav"}, "upload": "first"}
        self.store.set("sessions", row["id"], origin="file", choice=choice)
        return self.sessions.find(row["id"])

    def finished(self) -> Row:
        """A session with a result, a report, a recording and a frame."""
        row, key = self.sessions.create_for_upload(30)
        self.client.headers["X-Session-Key"] = key
        place, hidden = self.sessions.place(row), self.sessions.place(row) / ".key"
        kept = hidden.read_bytes()
        shutil.rmtree(place)
        shutil.copytree(make_timeline(self.folder / "made"), place)
        shutil.rmtree(self.folder / "made")
        hidden.write_bytes(kept)
        (place / f"{row['id']}.wav").write_bytes(_WAV)
        (place / "report.html").write_text("<p>", encoding="utf-8")
        (place / "transcript.csv").write_text("start,text\n0.5,a\n", encoding="utf-8")
        (place / LOOK_FOLDER).mkdir()
        (place / LOOK_FOLDER / "0.jpg").write_bytes(b"\xff\xd8\xff")
        self.store.set("sessions", row["id"], state="done", duration_s=100.0)
        return self.sessions.find(row["id"])

    def asked(self, row: Row) -> dict[str, str]:
        return {"id": row["id"], "key": self.client.headers["X-Session-Key"]}

    def nothing_is_left(self, row: Row) -> None:
        assert not self.sessions.place(row).exists()
        assert list((self.folder / "incoming").iterdir()) == []
        now = self.store.row("sessions", id=row["id"])
        assert now is not None
        assert (now["state"], now["choice"], now["title"]) == ("deleted", "{}", "")
        for table in ("notes", "jobs"):
            assert self.store.rows(table, "rowid", session=row["id"]) == []


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


def _refused(answer: Any, *codes: str) -> None:
    assert answer.status_code in (404, 409, 410), answer.text
    error = answer.json()["error"]
    assert error["code"] in codes
    assert error["en"].strip()
    assert re.search("[가-힣]", error["ko"])


def _then(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, do: Callable[[], Any]) -> None:
    """The function does its work, then something else happens."""
    real = getattr(owner, name)

    def both(*given: Any, **more: Any) -> Any:
        found = real(*given, **more)
        do()
        return found

    monkeypatch.setattr(owner, name, both)


def _once(house: House, row: Row) -> Callable[[], None]:
    def delete() -> None:
        with suppress(Refusal):
            house.sessions.delete(row["id"])

    return delete


_REQUESTS: dict[str, tuple[str, str, Any]] = {
    "whole": ("GET", "", None),
    "notes": ("POST", "/notes", {"t": 1.0, "text": "secret"}),
    "baseline": ("POST", "/baseline", {"from": 0, "to": 90}),
    "table": ("GET", "/tables/timeline?format=parquet", None),
    "table json": ("GET", "/tables/timeline?format=json", None),
    "table csv": ("GET", "/tables/transcript?format=json", None),
    "zip": ("GET", "/exports/zip", None),
    "eaf": ("GET", "/exports/eaf", None),
    "report": ("GET", "/report", None),
    "media": ("GET", "/media", None),
    "frame": ("GET", "/frames/0", None),
    "plain": ("GET", "/plain", None),
    "check": ("GET", "/check", None),
    "look": ("GET", "/recording", None),
    "start": ("POST", "/start", {}),
}


@pytest.mark.parametrize("name", _REQUESTS)
def test_what_was_deleted_after_it_was_opened_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    row = house.recorded() if name in ("look", "start") else house.finished()
    _then(monkeypatch, Sessions, "open", _once(house, row))
    method, rest, body = _REQUESTS[name]
    answer = house.client.request(method, f"/api/sessions/{row['id']}{rest}", json=body)
    _refused(answer, "deleted_session")
    house.nothing_is_left(row)


@pytest.mark.parametrize(
    ("name", "owner", "step"),
    [
        ("table", Sessions, "tables"),
        ("table csv", Sessions, "tables"),
        ("report", Sessions, "files"),
        ("media", Sessions, "media"),
        ("zip", exporting, "require_room"),
        ("check", looking, "look"),
        ("whole", Sessions, "files"),
    ],
)
def test_what_was_deleted_while_it_was_read_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str, owner: Any, step: str
) -> None:
    row = house.finished()
    _then(monkeypatch, owner, step, _once(house, row))
    method, rest, body = _REQUESTS[name]
    answer = house.client.request(method, f"/api/sessions/{row['id']}{rest}", json=body)
    _refused(answer, "deleted_session")
    house.nothing_is_left(row)


@pytest.mark.parametrize("what", ["media", "report", "export:zip", "table:timeline"])
def test_a_link_opens_nothing_of_what_is_deleted_as_it_opens(
    house: House, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    row = house.finished()
    url = house.client.post(f"/api/sessions/{row['id']}/ticket", json={"what": what}).json()["url"]
    assert house.client.get(url).status_code == 200
    url = house.client.post(f"/api/sessions/{row['id']}/ticket", json={"what": what}).json()["url"]
    _then(monkeypatch, Sessions, "files", _once(house, row))
    _refused(house.client.get(url), "deleted_session")
    house.nothing_is_left(row)


def test_a_part_of_a_recording_that_plays_is_whole_or_refused(house: House) -> None:
    row = house.finished()
    place = f"/api/sessions/{row['id']}/media"
    answer = house.client.get(place, headers={"Range": "bytes=4-7"})
    assert (answer.status_code, answer.content) == (206, _WAV[4:8])
    assert house.client.get(place).content == _WAV
    house.sessions.delete(row["id"])
    _refused(house.client.get(place, headers={"Range": "bytes=4-7"}), "deleted_session")


@pytest.mark.parametrize("path", ["comparisons", "exports", "exports/report"])
@pytest.mark.parametrize("step", ["open", "laid out"])
def test_a_comparison_of_what_is_deleted_meanwhile_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch, path: str, step: str
) -> None:
    row = house.finished()
    asked = house.asked(row)
    body = {
        "comparisons": {"sessions": [asked], "by": "speaking"},
        "exports": {"sessions": [asked], "form": "csv"},
        "exports/report": {"session": asked},
    }[path]
    owner: Any = Sessions if step == "open" else comparing
    _then(monkeypatch, owner, "open" if step == "open" else "who_and_when", _once(house, row))
    _refused(house.client.post(f"/api/{path}", json=body), "deleted_session")
    house.nothing_is_left(row)


def test_a_printed_report_is_gone_with_its_session(house: House) -> None:
    row = house.finished()
    answer = house.client.post("/api/exports/report", json={"session": house.asked(row)})
    assert answer.status_code == 201, answer.text
    house.sessions.delete(row["id"])
    _refused(house.client.get(answer.json()["url"]), "deleted_session")


# -- looks and uploads -----------------------------------------------------------------------------


def _look_of(house: House, during: Callable[[], Any]) -> Callable[..., None]:
    """A look's child that finds a sound of 100 s, and what happens before it has written."""

    def run(name: str, place: str, *rest: str, seconds: float) -> None:
        out = Path(rest[0]) if name == "run_look" and Path(rest[0]).is_dir() else None
        during()
        found = {"duration_s": 100.0, "has_video": False, "has_sound": True, "frames": [],
                 "people": 0, "speakers": [], "stretches": [], "least_baseline_s": 60.0,
                 "notes": []}  # fmt: skip
        target = (out or Path(place) / LOOK_FOLDER) / LOOK_FILE
        with suppress(OSError):  # as a child whose folder is gone
            target.write_text(json.dumps(found), encoding="utf-8")

    return run


@pytest.mark.parametrize("request_of", ["look", "start"])
def test_a_look_brings_nothing_of_a_deleted_session_back(
    house: House, monkeypatch: pytest.MonkeyPatch, request_of: str
) -> None:
    row = house.recorded()
    monkeypatch.setattr(children, "_run_apart", _look_of(house, _once(house, row)))
    method, rest, body = _REQUESTS[request_of]
    answer = house.client.request(method, f"/api/sessions/{row['id']}{rest}", json=body)
    _refused(answer, "deleted_session")
    house.nothing_is_left(row)


def test_a_look_that_waits_for_another_sees_the_deletion(house: House) -> None:
    row = house.recorded()
    with ThreadPoolExecutor(1) as other:
        with house.desk.looking:
            asked = other.submit(house.client.get, f"/api/sessions/{row['id']}/recording")
            with suppress(TimeoutError):
                asked.result(timeout=0.5)
            house.sessions.delete(row["id"])
        _refused(asked.result(timeout=20), "deleted_session")
    house.nothing_is_left(row)


def test_a_look_of_an_earlier_recording_is_not_kept_for_the_later_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = house.recorded()
    later = {"files": {"media": f"{row['id']}.wav"}, "upload": "second"}

    def replaced() -> None:
        house.store.set("sessions", row["id"], choice=later)

    monkeypatch.setattr(children, "_run_apart", _look_of(house, replaced))
    _refused(house.client.get(f"/api/sessions/{row['id']}/recording"), "other_recording")
    assert not (house.sessions.place(row) / LOOK_FOLDER).exists()
    monkeypatch.setattr(children, "_run_apart", _look_of(house, lambda: None))
    look = house.client.get(f"/api/sessions/{row['id']}/recording").json()
    assert look["upload"] == "second"
    assert (house.sessions.place(row) / LOOK_FOLDER / LOOK_FILE).is_file()
    place = f"/api/sessions/{row['id']}/start"
    _refused(house.client.post(place, json={"upload": "first"}), "other_recording")
    assert house.store.rows("jobs", "rowid") == []
    assert house.client.post(place, json={"upload": "second"}).status_code == 202


def test_an_upload_to_a_session_that_is_deleted_meanwhile_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = house.agreed()

    def part(path: Path, ending: str, scope: frozenset[str]) -> AgreedPart:
        house.sessions.delete(row["id"])
        return AgreedPart(path, ending)

    monkeypatch.setattr(choosing, "part_of", part)
    answer = house.client.post(f"/api/sessions/{row['id']}/recording", files={"media": _WAV})
    _refused(answer, "deleted_session")
    house.nothing_is_left(row)


def _by_others(do: Callable[[], Any], waits: ThreadPoolExecutor, told: list[Any]) -> None:
    told.append(waits.submit(do))
    with suppress(Exception):
        told[-1].result(timeout=0.4)


def test_an_upload_of_a_program_is_deleted_whole_or_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def delete_all() -> None:
        for row in house.store.rows("sessions"):
            house.sessions.delete(row["id"])

    with ThreadPoolExecutor(1) as waits:
        meanwhile = _by_others
        _then(monkeypatch, routes, "transcript_ending", lambda: meanwhile(delete_all, waits, told))
        sent = {"media": _WAV, "transcript": b"00:01 hello"}
        answer = house.client.post("/api/analyses", files=sent)
    assert answer.status_code == 202, answer.text
    row = house.store.rows("sessions")[0]
    left = {path.stem for path in house.sessions.place(row).iterdir()}
    assert left == {".key", row["id"], "transcript"}
    assert isinstance(told[0].exception(), Refusal)
    assert row["state"] == "analysing"


@pytest.mark.parametrize("end", ["withdraw", "forget"])
def test_a_session_made_while_its_consent_ends_is_gone_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    house.sessions.add_participant("P7")
    given = Consent("P7", True, "other", "x", date.today(), 30)
    consent, told = house.sessions.add_consent(given), list[Any]()

    def ended() -> None:
        if end == "withdraw":
            house.sessions.withdraw(consent)
        else:
            house.sessions.forget_participant("P7")

    with ThreadPoolExecutor(1) as waits:
        real = sessions.write_secret

        def slow(*given: Any) -> None:
            _by_others(ended, waits, told)
            real(*given)

        monkeypatch.setattr(sessions, "write_secret", slow)
        body = {"participant": "P7", "consent": consent}
        answer = house.client.post("/api/sessions", json=body)
    assert answer.status_code in (201, 409), answer.text
    told[0].result(timeout=5)
    assert [row["state"] for row in house.store.rows("sessions")] in ([], ["deleted"])
    assert list(house.sessions.folder.iterdir()) == []


def test_a_consent_of_someone_forgotten_meanwhile_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = house.sessions.add_participant("P8")["id"]
    _then(monkeypatch, Consent, "check", lambda: house.sessions.forget_participant(person))
    body = {"participant": person, "everybody_agrees": True, "purpose": "other",
            "purpose_text": "x", "date": str(date.today()), "retention_days": 3}  # fmt: skip
    _refused(house.client.post("/api/consents", json=body), "no_participant")


def test_who_is_forgotten_while_another_page_deletes_is_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [house.agreed("P9"), house.agreed("P9")]
    real = Sessions.delete

    def both(mine: Sessions, session: str, why: str = "asked") -> Any:
        if why == "participant" and session == rows[0]["id"]:
            real(mine, session)
        return real(mine, session, why)

    monkeypatch.setattr(Sessions, "delete", both)
    answer = house.client.request("DELETE", "/api/participants/P9", json={"confirm": "P9"})
    assert answer.status_code == 200, answer.text
    assert house.store.rows("participants") == []
    assert list(house.sessions.folder.iterdir()) == []


def test_the_end_of_a_live_session_that_is_deleted_brings_nothing_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = house.agreed()
    house.store.set("sessions", row["id"], state="analysing")
    live: Any = SimpleNamespace(sessions=house.sessions, ended=lambda *_: pytest.fail("went on"))
    real = Store.set

    def then_deleted(mine: Store, table: str, key: str, **values: Any) -> None:
        real(mine, table, key, **values)
        if values.get("state") == "done":
            house.sessions.delete(row["id"])

    monkeypatch.setattr(Store, "set", then_deleted)
    with pytest.raises(Refusal, match="deleted"):
        LiveDesk._record_end(live, row, True, {})
    house.nothing_is_left(row)


def test_a_camera_whose_session_is_deleted_is_told_in_words(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = house.agreed()
    live: Any = LiveDesk(house.sessions, None, None, _KEY, lambda *_: None, 0)  # type: ignore[arg-type]
    _then(monkeypatch, Sessions, "scope", _once(house, row))
    live.settings = lambda: pytest.importorskip("nunbit.live").LiveSettings()
    keys: Any = SimpleNamespace(app=True, opens=lambda _: True)
    hello: Any = SimpleNamespace(session=row["id"])
    with pytest.raises(Refusal) as refused:
        asyncio.run(live._open(None, hello, keys))
    assert refused.value.code == "deleted_session"
    house.nothing_is_left(row)


def test_what_a_participant_has_is_told_while_a_session_is_deleted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = house.agreed("P4")
    _then(monkeypatch, Path, "rglob", lambda: None)
    real = Path.is_file

    def is_file(path: Path) -> bool:
        found = real(path)
        if path.parent == house.sessions.place(row):
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "is_file", is_file)
    answer = house.client.get("/api/participants/P4/holdings")
    assert answer.status_code == 200, answer.text


# -- pictures of faces -----------------------------------------------------------------------------


def _face_set(house: House, what: str = "adapt") -> str:
    sent = {"what": what, "everybody_agrees": True}
    return str(house.client.post("/api/face-sets", json=sent).json()["id"])


def test_a_picture_of_a_set_that_is_deleted_meanwhile_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _face_set(house)

    def labels(_: Any) -> list[str]:
        assert house.client.delete(f"/api/face-sets/{name}").status_code == 200
        return ["happy"]

    monkeypatch.setattr(face_sets, "_labels", labels)
    monkeypatch.setattr("nunbit.app.transfers.Received.picture", lambda got: got.files["image"][0])
    answer = house.client.post(
        f"/api/face-sets/{name}/pictures", files={"image": b"x"}, data={"label": "happy"}
    )
    _refused(answer, "no_face_set")
    assert list((house.folder / "faces").iterdir()) == []


def test_a_set_is_begun_or_deleted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    name, told = _face_set(house), list[Any]()
    desk = house.desk
    with ThreadPoolExecutor(1) as waits:
        delete = lambda: face_sets.delete_face_set(name, desk)  # noqa: E731
        monkeypatch.setattr(face_sets, "_require_enough", lambda _: _by_others(delete, waits, told))
        answer = house.client.post(f"/api/face-sets/{name}/start")
    assert answer.status_code == 202
    assert isinstance(told[0].exception(), Refusal)  # begun, so it must be ended first
    assert (house.folder / "faces" / name / "set.json").is_file()
    assert house.client.delete(f"/api/face-sets/{name}").status_code == 200
    assert list((house.folder / "faces").iterdir()) == []


def test_a_report_of_a_set_that_is_deleted_meanwhile_brings_nothing_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nunbit.report import page

    name = _face_set(house, "evaluate")
    made = house.folder / "faces" / name / "made"
    made.mkdir()
    (made / "result.json").write_text("{}", encoding="utf-8")

    def render(folder: Path, **_: Any) -> Path:
        assert house.client.delete(f"/api/face-sets/{name}").status_code == 200
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text("<p>", encoding="utf-8")
        return folder / "report.html"

    monkeypatch.setattr(page, "render_evaluation", render)
    house.client.post(f"/api/face-sets/{name}/report", json={})
    assert list((house.folder / "faces").iterdir()) == []
    assert list((house.folder / "incoming").iterdir()) == []
    _refused(house.client.post(f"/api/face-sets/{name}/report", json={}), "no_face_set")


def test_the_end_of_a_job_and_the_start_of_another_do_not_wait_for_each_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both need the database and the sets: whoever took them in another order would stand still."""
    first, second = _face_set(house), _face_set(house)
    row = house.desk.jobs.add("adapt", None, {"set": first})
    began, ending = threading.Event(), threading.Event()

    def enough(_: Any) -> None:
        began.set()
        ending.wait(1)

    def end() -> None:
        began.wait(5)
        with house.store.changing():
            ending.set()
            face_work.face_job_ended(house.folder, row | {"problem": None}, "failed", None)

    monkeypatch.setattr(face_sets, "_require_enough", enough)
    threads = [
        threading.Thread(target=end, daemon=True),
        threading.Thread(target=lambda: face_sets.start_face_set(second, house.desk), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=8)
    stand_still = [thread for thread in threads if thread.is_alive()]
    if stand_still:
        house.store.close = lambda: None  # type: ignore[method-assign]  # it is held for ever
    assert stand_still == []


def test_locks_are_taken_in_one_order(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a request takes while it holds something else is never taken the other way round."""
    pairs, held = set(), threading.local()

    class Watched:
        def __init__(self, name: str, real: Any) -> None:
            self.name, self.real = name, real

        def __enter__(self) -> Any:
            mine = held.__dict__.setdefault("names", [])
            if self.name not in mine:
                pairs.update((other, self.name) for other in mine)
            found = self.real.__enter__()
            mine.append(self.name)
            return found

        def __exit__(self, *given: Any) -> None:
            held.names.remove(self.name)
            self.real.__exit__(*given)

    monkeypatch.setattr(Store, "folders", Watched("folders", Store.folders))
    house.store._lock = Watched("database", house.store._lock)  # type: ignore[assignment]
    for module in (face_sets, face_work):
        monkeypatch.setattr(module, "WRITING", Watched("faces", face_work.WRITING))
    house.desk.looking = Watched("looking", house.desk.looking)  # type: ignore[assignment]
    house.desk.exporting = Watched("exporting", house.desk.exporting)  # type: ignore[assignment]
    monkeypatch.setattr(children, "_run_apart", _look_of(house, lambda: None))
    row = house.recorded()
    place = f"/api/sessions/{row['id']}"
    assert house.client.get(f"{place}/recording").status_code == 200
    assert house.client.post(f"{place}/start", json={}).status_code == 202
    assert house.client.get("/api/jobs").json()["jobs"][0]["place"] == 1
    name = _face_set(house)
    monkeypatch.setattr(face_sets, "_require_enough", lambda _: None)
    assert house.client.post(f"/api/face-sets/{name}/start").status_code == 202
    for job in house.store.rows("jobs", "number"):
        house.desk.jobs._end(job, "failed", None, None)
    assert house.client.delete(f"/api/face-sets/{name}").status_code == 200
    house.client.request("DELETE", place, json={"confirm": row["id"]})
    row = house.finished()
    for method, rest, body in _REQUESTS.values():
        if rest not in ("/start", "/baseline", "/exports/eaf", "/check", "/recording"):
            house.client.request(method, f"/api/sessions/{row['id']}{rest}", json=body)
    house.client.post("/api/exports", json={"sessions": [house.asked(row)], "form": "csv"})
    house.client.post("/api/analyses", files={"media": _WAV})
    house.sessions.delete(row["id"])
    assert {("folders", "database"), ("database", "faces"), ("looking", "folders"),
            ("exporting", "database")} <= pairs  # fmt: skip
    reached = set(pairs)
    while more := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= more
    assert [a for a, b in reached if a == b] == []


# -- what is done while the database is held -----------------------------------------------------


def test_the_database_is_free_while_the_jobs_are_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = house.desk.jobs.add("analyze", None, {"bytes": 5})
    house.store.set("jobs", job["id"], state="running", started=job["created"])
    real = JobQueue._told

    def told(*given: Any) -> Any:
        other = threading.Thread(target=house.store.note_down, args=("x", "y"), daemon=True)
        other.start()
        other.join(timeout=2)
        assert not other.is_alive()
        return real(*given)

    monkeypatch.setattr(JobQueue, "_told", told)
    assert house.client.get("/api/jobs").json()["jobs"][0]["state"] == "running"


def test_a_long_queue_is_told_from_one_look(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(30):
        job = house.desk.jobs.add("analyze", None, {"bytes": 60 * 1000 * (n + 1)})
        if n < 3:
            house.store.set("jobs", job["id"], state="done", started="2026-01-01T00:00:00+00:00",
                            ended=f"2026-01-01T00:0{n + 1}:00+00:00")  # fmt: skip
    asked: list[str] = []
    real = Store.rows

    def rows(mine: Store, table: str, *given: Any, **more: Any) -> Any:
        asked.append(table)
        return real(mine, table, *given, **more)

    monkeypatch.setattr(Store, "rows", rows)
    told = house.client.get("/api/jobs").json()["jobs"]
    assert [job["place"] for job in told] == [None] * 3 + list(range(1, 28))
    assert [job["minutes_left"] for job in told[3:6]] == [4.0, 9.0, 15.0]
    assert asked == ["jobs"]
    assert house.client.get(f"/api/jobs/{told[5]['id']}").json() == told[5]


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        (b"start,text\n0.5,a,b\n1.5\n", [{"start": "0.5", "text": "a", "column_3": "b"},
                                         {"start": "1.5", "text": "", "column_3": ""}]),
        ("start;text\n0,5;안녕\n".encode("cp949"), [{"start": "0,5", "text": "안녕"}]),
        (b"\xef\xbb\xbftext,text,\n=1+1,2,3\n", [{"text": "=1+1", "text_2": "2", "column_3": "3"}]),
        (b'start,text\n0.5,"open\n1.5,b\n', [{"start": "0.5", "text": '"open'},
                                             {"start": "1.5", "text": "b"}]),
        (b"start,text\n", []),
        (b"start,text\n0.5,b\xff\xfed\n" + b"1.5,plain\n" * 300, None),
    ],
    ids=["ragged", "cp949", "twice", "open quote", "head alone", "odd bytes"],
)  # fmt: skip
def test_an_unclean_table_of_words_is_shown(
    house: House, given: bytes, rows: list[dict[str, str]] | None
) -> None:
    row = house.finished()
    (house.sessions.place(row) / "transcript.csv").write_bytes(given)
    place = f"/api/sessions/{row['id']}/tables/transcript?format="
    answer = house.client.get(f"{place}json")
    assert answer.status_code == 200, answer.text
    assert rows is None or answer.json()["rows"] == rows
    for kind in ("parquet", "csv"):
        assert house.client.get(f"{place}{kind}").status_code == 200


def test_refusals_of_programs_are_korean_in_korean() -> None:
    """A gap filled with English words made a Korean sentence half English."""
    bare = re.compile(r'Refusal\(\s*"(?:bad_form|bad_message|bad_hello|live_fault)",\s*'
                      r'problem=(?!Text\(|_[A-Z]|told)')  # fmt: skip
    for path in sorted(Path(routes.__file__).parent.glob("*.py")):
        assert bare.findall(path.read_text(encoding="utf-8")) == [], path.name


def test_a_form_that_is_none_is_refused_in_korean(house: House) -> None:
    for kind, body in (
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=x", b"no form at all"),
        ("multipart/form-data; boundary=x",
         b'--x\r\nContent-Disposition: form-data; name="e"; filename="a"\r\n\r\nx\r\n--x--\r\n'),
    ):  # fmt: skip
        answer = house.client.post("/api/analyses", content=body, headers={"Content-Type": kind})
        error = answer.json()["error"]
        assert error["code"] == "bad_form"
        assert re.search("[가-힣]", error["ko"].rpartition(": ")[2])
