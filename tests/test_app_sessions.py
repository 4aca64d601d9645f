"""Consent before recording, what a session holds, deletion with a receipt, retention, the audit."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from threading import Lock, Thread
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import parquet

httpx = pytest.importorskip("httpx")
pytest.importorskip("websockets")

from make_app import RunningApp, consent, new_session, running_app
from make_timeline import make_timeline
from nunbit.app import choosing, comparing, exporting, live_socket, routes
from nunbit.app.access import Refusal
from nunbit.app.children import AgreedPart
from nunbit.app.exporting import send_table
from nunbit.app.house import _House
from nunbit.app.sessions import SUMMARY_FILE, Sessions
from nunbit.app.store import Consent, Store
from nunbit.app.transfers import Received
from nunbit.core.messages import InputError
from nunbit.core.streams import Interval, Turn
from nunbit.stories.analyze.findings import speech_facts

pytestmark = pytest.mark.seconds


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture
def client(app: RunningApp) -> Iterator[httpx.Client]:
    with app.client() as opened:
        yield opened


def _audit(app: RunningApp) -> list[tuple[str, str]]:
    with sqlite3.connect(app.folder / "nunbit.sqlite") as base:
        return base.execute("SELECT action, detail FROM audit ORDER BY id").fetchall()


# -- consent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"everybody_agrees": False}, "not_everybody"),
        ({"minor": True}, "no_guardian"),
        ({"purpose": "rating_people"}, "rating_people"),
        ({"purpose_text": "Rate job applicants by their faces"}, "rating_people"),
        ({"purpose_text": "We evaluate our employees' motivation"}, "rating_people"),
        ({"purpose_text": "monitoring pupils in class"}, "rating_people"),
        ({"purpose_text": "채용 면접에서 지원자를 평가"}, "rating_people"),
        ({"purpose_text": "상담원 직원의 감정 점수를 인사 고과에 반영"}, "rating_people"),
        ({"purpose_text": "수업 시간 학생들의 집중도 감시"}, "rating_people"),
        ({"purpose_text": "   "}, "no_purpose"),
        ({"date": (date.today() + timedelta(days=3)).isoformat()}, "future_date"),
        ({"scope": {"face": False, "voice": False}}, "nothing_agreed"),
        ({"participant": "nobody"}, "no_participant"),
        ({"date": "yesterday"}, "invalid"),
        ({"retention_days": 0}, "invalid"),
        ({"retention_days": 100_000}, "invalid"),
        ({"scope": {"brain": True}}, "invalid"),
        ({"purpose": "anything"}, "invalid"),
        ({"everybody_agrees": None}, "invalid"),
    ],
    ids=str,
)
def test_a_consent_that_allows_nothing_is_refused_with_the_reason(
    client: httpx.Client, changes: dict[str, Any], code: str
) -> None:
    client.post("/api/participants", json={"code": "P-refused"})
    answer = client.post("/api/consents", json=consent("P-refused") | changes)
    assert answer.status_code in (404, 422)
    error = answer.json()["error"]
    assert error["code"] == code
    if code == "rating_people":
        assert "applicants" in error["en"]
        assert "지원자" in error["ko"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"minor": True, "guardian": True},
        {"purpose_text": "Interview research on how stress shows in the voice of students"},
        {"purpose_text": "상담 실습에서 내담자와 상담자의 표정을 돌아보기"},
        {"purpose": "self_observation", "purpose_text": "나의 발표 연습을 다시 보기"},
    ],
    ids=str,
)
def test_a_consent_that_is_whole_is_kept(client: httpx.Client, changes: dict[str, Any]) -> None:
    client.post("/api/participants", json={"code": "P-whole"})
    assert client.post("/api/consents", json=consent("P-whole") | changes).status_code == 201


@pytest.mark.parametrize(
    "code", ["", " ", "홍 길동", "a@b.kr", "010-1234-5678", "01012345678", "../x", "x" * 33, "a\nb"]
)
def test_a_code_names_nobody(client: httpx.Client, code: str) -> None:
    answer = client.post("/api/participants", json={"code": code})
    assert answer.status_code == 422


def test_the_same_code_is_the_same_participant(client: httpx.Client) -> None:
    first, second = (client.post("/api/participants", json={"code": "참여자-7"}) for _ in range(2))
    assert first.json() == second.json()


def test_no_session_without_a_consent_of_this_participant(client: httpx.Client) -> None:
    for code in ("P-a", "P-b"):
        client.post("/api/participants", json={"code": code})
    agreed = client.post("/api/consents", json=consent("P-a")).json()["id"]
    for given, code in (
        ({"participant": "P-b", "consent": agreed}, "no_consent"),
        ({"participant": "P-a", "consent": "none"}, "no_consent"),
        ({"participant": "P-c", "consent": agreed}, "no_participant"),
        ({"participant": "P-a", "consent": agreed, "retention_days": 31}, "kept_too_long"),
        ({"participant": "P-a"}, "invalid"),
    ):
        answer = client.post("/api/sessions", json=given)
        assert answer.json()["error"]["code"] == code
    narrow = consent("P-a", scope={"face": True, "voice": True, "words": False, "media": False})
    agreed = client.post("/api/consents", json=narrow).json()["id"]
    given = {"participant": "P-a", "consent": agreed, "keep_media": True}
    answer = client.post("/api/sessions", json=given)
    assert answer.json()["error"]["code"] == "not_in_scope"


def test_the_consent_lies_beside_the_data_and_is_exported_with_it(
    app: RunningApp, client: httpx.Client
) -> None:
    mine = new_session(client, "P-export")
    told = json.loads((app.folder / "sessions" / mine["id"] / "consent.json").read_text("utf-8"))
    assert told["participant"] == "P-export"
    assert told["everybody_agrees"] is True
    assert "면담자" in told["statement"]["ko"]
    for name in ("purpose", "purpose_text", "date", "scope", "retention_days", "keep_until"):
        assert told[name] is not None
    headers = {"X-Session-Key": mine["key"]}
    assert client.get(f"/api/sessions/{mine['id']}", headers=headers).json()["consent"] == told
    packed = client.get(f"/api/sessions/{mine['id']}/exports/zip", headers=headers)
    assert f"{mine['id']}/consent.json".encode() in packed.content
    assert mine["key"].encode() not in packed.content


# -- notes -----------------------------------------------------------------------------------------


def test_notes_stand_on_the_axis_by_time(app: RunningApp, client: httpx.Client) -> None:
    mine = new_session(client)
    headers = {"X-Session-Key": mine["key"]}
    place = f"/api/sessions/{mine['id']}"
    for note in ({"t": 9.5, "kind": "answer", "text": "네"}, {"t": 2.0, "kind": "question",
                 "text": "어제는 어땠나요?"}, {"t": 4, "kind": "marker"}):  # fmt: skip
        assert client.post(f"{place}/notes", json=note, headers=headers).status_code == 201
    for bad in ({"t": -1}, {"t": 1e9}, {"t": "NaN"}, {"t": 1, "kind": "smell"},
                {"t": 1, "text": "x" * 5000}):  # fmt: skip
        assert client.post(f"{place}/notes", json=bad, headers=headers).status_code == 422
    notes = client.get(place, headers=headers).json()["notes"]
    assert [(n["t"], n["kind"]) for n in notes] == [
        (2.0, "question"), (4.0, "marker"), (9.5, "answer")]  # fmt: skip
    written = (app.folder / "sessions" / mine["id"] / "notes.csv").read_text("utf-8")
    assert written.splitlines()[1] == "2.0,question,어제는 어땠나요?"
    table = client.get(f"{place}/tables/notes?format=json", headers=headers).json()
    assert table["rows"][2]["text"] == "네"


def test_notes_come_back_as_they_were(client: httpx.Client) -> None:
    mine = new_session(client)
    headers = {"X-Session-Key": mine["key"]}
    place = f"/api/sessions/{mine['id']}"
    said = ["007", "10", "-3", "=1+1", "'-3", "true", "", "2026-11-30", 'one\ntwo, "three"']
    for t, text in enumerate(said):
        sent = {"t": t, "kind": "answer", "text": text}
        assert client.post(f"{place}/notes", json=sent, headers=headers).status_code == 201
    rows = [{"t": float(t), "kind": "answer", "text": text} for t, text in enumerate(said)]
    # Parquet first: it is what a fresh app is asked for.
    answer = client.get(f"{place}/tables/notes", headers=headers)
    assert pq.read_table(io.BytesIO(answer.content)).to_pylist() == rows
    answer = client.get(f"{place}/tables/notes?format=json", headers=headers)
    assert answer.json()["rows"] == rows


def test_a_transcript_that_is_a_table_comes_back_as_it_was(
    app: RunningApp, client: httpx.Client
) -> None:
    mine = new_session(client)
    headers = {"X-Session-Key": mine["key"]}
    given = app.folder / "sessions" / mine["id"] / "transcript.csv"
    given.write_text("start,text\n0.5,007\n1.5,\n", "utf-8")
    place = f"/api/sessions/{mine['id']}/tables/transcript"
    rows = client.get(f"{place}?format=json", headers=headers).json()["rows"]
    assert rows == [{"start": "0.5", "text": "007"}, {"start": "1.5", "text": ""}]


def test_a_table_that_is_too_long_for_json_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "nunbit.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row, _ = sessions.create_for_upload(30)
    for t in range(3):
        sessions.add_note(row["id"], t, "marker", "")
    sessions.write_notes(row)
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    monkeypatch.setattr(exporting, "_MOST_ROWS", 3)
    assert exporting.send_table(desk, row, "notes", "json").status_code == 200
    monkeypatch.setattr(exporting, "_MOST_ROWS", 2)
    with pytest.raises(Refusal) as refused:
        exporting.send_table(desk, row, "notes", "json")
    assert (refused.value.code, refused.value.status) == ("too_many_rows", 413)
    assert exporting.send_table(desk, row, "notes", "parquet").status_code == 200


# -- deletion --------------------------------------------------------------------------------------


def test_deletion_lists_verifies_and_gives_a_receipt(app: RunningApp, client: httpx.Client) -> None:
    mine = new_session(client, "P-gone")
    headers = {"X-Session-Key": mine["key"]}
    place = app.folder / "sessions" / mine["id"]
    secret = "a sentence that nobody may find again"
    client.post(f"/api/sessions/{mine['id']}/notes", json={"t": 1, "text": secret}, headers=headers)
    (place / "parts").mkdir()
    (place / "parts" / "one.part").write_bytes(b"x" * 10)
    (place / "link").symlink_to(app.folder / "key")
    wrong = client.request("DELETE", f"/api/sessions/{mine['id']}", json={"confirm": "P-other"})
    assert wrong.json()["error"]["code"] == "confirm"
    assert place.exists()
    receipt = client.request("DELETE", f"/api/sessions/{mine['id']}", json={"confirm": "P-gone"})
    told = receipt.json()
    assert receipt.status_code == 200
    assert told["verified"] is True
    names = {file["name"]: file for file in told["deleted"]}
    assert {"consent.json", "notes.csv", "parts/one.part", "link", ".key"} <= set(names)
    assert names["parts/one.part"] == {"name": "parts/one.part", "bytes": 10, "gone": True}
    assert not place.exists()
    assert (app.folder / "key").exists()
    answer = client.get(f"/api/sessions/{mine['id']}", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "deleted_session")
    assert mine["id"] not in [s["id"] for s in client.get("/api/sessions").json()["sessions"]]
    for path in app.folder.iterdir():
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    with sqlite3.connect(app.folder / "nunbit.sqlite") as base:
        stored = base.execute("SELECT document FROM receipts WHERE id = ?", (told["receipt"],))
        assert json.loads(stored.fetchone()[0])["session"] == mine["id"]


def test_what_cannot_be_deleted_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row, _ = sessions.create_for_upload(1)
    with monkeypatch.context() as patch, pytest.raises(Exception, match="remain"):
        for name in ("unlink", "rmdir"):
            patch.setattr(Path, name, lambda *_, **__: None)
        sessions.delete(row["id"])
    assert sessions.find(row["id"])["state"] == "open"
    assert store.rows("receipts") == []
    store.close()


def test_withdrawing_a_consent_deletes_what_rests_on_it(
    app: RunningApp, client: httpx.Client
) -> None:
    client.post("/api/participants", json={"code": "P-withdraws"})
    agreed = client.post("/api/consents", json=consent("P-withdraws")).json()["id"]
    given = {"participant": "P-withdraws", "consent": agreed}
    made = [client.post("/api/sessions", json=given).json() for _ in range(2)]
    answer = client.delete(f"/api/consents/{agreed}").json()
    assert {r["session"] for r in answer["receipts"]} == {m["id"] for m in made}
    assert not any((app.folder / "sessions" / m["id"]).exists() for m in made)
    refused = client.post("/api/sessions", json=given)
    assert refused.json()["error"]["code"] == "withdrawn"


def test_a_participant_can_be_forgotten(app: RunningApp, client: httpx.Client) -> None:
    mine = new_session(client, "P-forgotten")
    url = "/api/participants/P-forgotten"
    assert client.request("DELETE", url, json={"confirm": "P-1"}).status_code == 422
    told = client.request("DELETE", url, json={"confirm": "P-forgotten"}).json()
    assert [r["session"] for r in told["receipts"]] == [mine["id"]]
    for path in app.folder.iterdir():
        assert path.is_dir() or b"P-forgotten" not in path.read_bytes(), path


@pytest.mark.slow
def test_retention_is_enforced_at_the_start(tmp_path: Path) -> None:
    with running_app(tmp_path) as app, app.client() as client:
        old, new = new_session(client, "P-old"), new_session(client, "P-new")
    with sqlite3.connect(tmp_path / "nunbit.sqlite") as base:
        base.execute("UPDATE sessions SET keep_until = '2020-01-01T00:00:00.000+00:00' "
                     "WHERE id = ?", (old["id"],))  # fmt: skip
    base.close()
    with running_app(tmp_path) as app, app.client() as client:
        left = [s["id"] for s in client.get("/api/sessions").json()["sessions"]]
        assert left == [new["id"]]
        assert not (tmp_path / "sessions" / old["id"]).exists()
        assert ("session_deleted", "retention, 2 files") in _audit(app)


def test_retention_is_enforced_daily(tmp_path: Path) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    over, kept = (sessions.create_for_upload(1)[0]["id"] for _ in range(2))
    assert sessions.end_retention() == 0
    store.set("sessions", over, keep_until="2020-01-01T00:00:00.000+00:00")
    assert sessions.end_retention() == 1
    assert sessions.find(kept)
    store.close()


def _finished(sessions: Sessions, row: dict[str, Any]) -> dict[str, Any]:
    document = {"session": row["id"], "media": {"name": "x", "path": "y"}}
    (sessions.place(row) / SUMMARY_FILE).write_text(json.dumps(document), encoding="utf-8")
    sessions.store.set("sessions", row["id"], state="done", duration_s=100.0)
    return sessions.find(row["id"])


def test_nothing_is_written_of_a_session_after_it_is_deleted(tmp_path: Path) -> None:
    """A note and an upload that were on their way when another page deleted the session."""
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row = sessions.create_for_upload(30)[0]
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    (sessions.place(row) / "recording.wav").write_bytes(b"first")
    sessions.delete(row["id"])
    with pytest.raises(Refusal, match="deleted"):
        routes.add_note(row, routes.NewNote(t=1.0, kind="note", text="secret"), desk)
    got = Received({}, {})
    stale = row | {"choice": json.dumps({"files": {"media": "recording.wav"}})}
    with pytest.raises(Refusal, match="deleted"):
        choosing._taken(desk, stale, got, frozenset(("voice",)))
    assert not sessions.place(row).exists()
    assert store.rows("notes", session=row["id"]) == []
    store.close()


def test_an_upload_that_comes_after_the_start_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    sessions.add_participant("P1")
    agreed = Consent("P1", True, "other", "x", date.today(), 30)
    row = sessions.create("P1", sessions.add_consent(agreed), False, None)[0]
    stale = row | {"choice": json.dumps({"files": {"media": "recording.wav"}})}
    store.set("sessions", row["id"], state="analysing")
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    with pytest.raises(Refusal) as refused:
        choosing._taken(desk, stale, Received({}, {}), frozenset(("voice",)))
    assert refused.value.code == "not_open"
    assert sessions.find(row["id"])["state"] == "analysing"
    store.close()


def _agreed(sessions: Sessions) -> dict[str, Any]:
    sessions.add_participant("P1")
    consent_id = sessions.add_consent(Consent("P1", True, "other", "x", date.today(), 30))
    return sessions.create("P1", consent_id, False, None)[0]


def _upload(folder: Path, body: bytes) -> Received:
    (folder / "uploaded").write_bytes(body)
    return Received({"media": (folder / "uploaded", b"RIFF\0\0\0\0WAVEfmt ")}, {})


def test_a_start_is_refused_where_another_recording_came_during_its_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    row, scope = _agreed(sessions), frozenset(("face", "voice"))
    choosing._taken(desk, row, _upload(tmp_path, b"first"), scope)
    row = sessions.find(row["id"])

    def look(*_: Any) -> Any:  # the second is called like the first
        choosing._taken(desk, row, _upload(tmp_path, b"second"), scope)
        return SimpleNamespace(doubted=False, has_video=False, speakers=(), duration_s=9.0)

    monkeypatch.setattr(choosing, "_look", look)
    with pytest.raises(Refusal) as refused:
        choosing.start(row, choosing.Begin(), desk)
    assert refused.value.code == "other_recording"
    assert sessions.find(row["id"])["state"] == "open"
    assert store.rows("jobs", order="number") == []
    store.close()


def test_an_unreadable_look_removes_nothing_of_what_came_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path, looking=Lock())
    row, scope = _agreed(sessions), frozenset(("face", "voice"))
    choosing._taken(desk, row, _upload(tmp_path, b"first"), scope)
    row = sessions.find(row["id"])

    def look(*_: Any) -> dict[str, Any]:
        choosing._taken(desk, row, _upload(tmp_path, b"second"), scope)
        return {"error": {"en": "x", "ko": "x"}}

    monkeypatch.setattr(choosing, "look_at", look)
    with pytest.raises(Refusal):
        choosing._look(desk, row)
    files = json.loads(sessions.find(row["id"])["choice"])["files"]
    assert (sessions.place(row) / files["media"]).read_bytes() == b"second"
    store.close()


def test_a_deleted_session_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a baseline, a key or a camera that were on their way when another page deleted it."""
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path, here=True)
    row = _finished(sessions, sessions.create_for_upload(30)[0])
    sessions.delete(row["id"])
    stretch = routes.BaselineStretch.model_validate({"from": 0, "to": 90})
    with pytest.raises(Refusal, match="deleted"):
        choosing.set_baseline(row, stretch, desk)
    live: Any = SimpleNamespace(sessions=sessions)
    for change in ("delete", "upload"):
        row = _agreed(sessions)
        if change == "delete":
            sessions.delete(row["id"])
        else:
            store.set("sessions", row["id"], origin="file")
        with pytest.raises(Refusal):
            live_socket.LiveDesk._mark(live, row, "recording", "recording_started")
        assert store.row("sessions", id=row["id"])["state"] in ("deleted", "open")
    row, waits = sessions.create_for_upload(30)[0], ThreadPoolExecutor(1)
    real, asked = choosing.new_key, []

    def key() -> str:
        asked.append(waits.submit(sessions.delete, row["id"]))
        with suppress(TimeoutError):
            asked[0].result(timeout=0.3)
        return real()

    (sessions.place(row) / choosing.KEY_FILE).unlink(missing_ok=True)
    monkeypatch.setattr(choosing, "new_key", key)
    choosing.session_key(row["id"], desk)
    asked[0].result(timeout=5)
    assert not sessions.place(row).exists()
    waits.shutdown()
    store.close()


def test_the_database_is_free_while_a_copy_without_pictures_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    row = _agreed(sessions)

    def part(path: Path, ending: str, scope: frozenset[str]) -> AgreedPart:
        other = Thread(target=store.note_down, args=("looked", row["id"]), daemon=True)
        other.start()
        other.join(timeout=1)
        assert not other.is_alive()
        return AgreedPart(path, ending)

    monkeypatch.setattr(choosing, "part_of", part)
    choosing._taken(desk, row, _upload(tmp_path, b"first"), frozenset(("voice",)))
    store.close()


def test_recordings_without_a_participant_are_people_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    sessions.add_participant("P1")
    consent_id = sessions.add_consent(Consent("P1", True, "other", "x", date.today(), 30))
    nobody, other = (_finished(sessions, sessions.create_for_upload(30)[0]) for _ in range(2))
    first, second = (
        _finished(sessions, sessions.create("P1", consent_id, False, None)[0]) for _ in range(2)
    )
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    for number, rows in enumerate(([nobody, first], [nobody, second], [nobody, other, first])):
        found = list(comparing._laid_out(desk, rows, tmp_path / str(number), False))
        people = [json.loads((g.folder / SUMMARY_FILE).read_text())["subject"] for g in found]
        assert len(set(people)) == len(rows)
        assert people[-1] == "P1"
    assert comparing.number_of_persons([nobody, other]) == 2
    assert comparing.number_of_persons([first, second]) == 1
    store.close()


def test_notes_come_back_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row = sessions.create_for_upload(30)[0]
    texts = ["007", "10", "-3", "=1+1"]
    for number, text in enumerate(texts):
        sessions.add_note(row["id"], float(number), "answer", text)
    sessions.write_notes(row)
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    told = json.loads(bytes(send_table(desk, row, "notes", "json").body))
    assert [each["text"] for each in told["rows"]] == texts
    whole = parquet.read_table(io.BytesIO(bytes(send_table(desk, row, "notes", "parquet").body)))
    assert whole["text"].to_pylist() == texts
    monkeypatch.setattr("nunbit.app.exporting._MOST_ROWS", 3)
    with pytest.raises(Refusal) as refused:
        send_table(desk, row, "notes", "json")
    assert (refused.value.code, refused.value.status) == ("too_many_rows", 413)
    store.close()


def test_every_speaker_of_a_session_is_a_name_to_leave_out(tmp_path: Path) -> None:
    """Also the one who is not analysed, where there is no transcript."""
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row = _finished(sessions, sessions.create_for_upload(30)[0])
    turns = [Turn(Interval(0.0, 1.0), "Minsu", True), Turn(Interval(1.0, 2.0), "DrLee", False)]
    document = {"speech": speech_facts(turns), "media": {"name": "x"}}
    (sessions.place(row) / SUMMARY_FILE).write_text(json.dumps(document), encoding="utf-8")
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    assert set(comparing.names_in(desk, row)) == {"Minsu", "DrLee"}
    store.close()


def test_speakers_of_a_session_of_an_earlier_nunbit_are_left_out(tmp_path: Path) -> None:
    """Its summary names the target alone, and quotes the other in a sentence."""
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row = _finished(sessions, sessions.create_for_upload(30)[0])
    told = [{"en": "2 speakers (Minsu, DrLee)", "ko": "2명(Minsu, DrLee)"}]
    document = {"speech": {"turns": 2, "target": "Minsu"}, "media": {"name": "x"}, "reading": told}
    place = sessions.place(row)
    (place / SUMMARY_FILE).write_text(json.dumps(document), encoding="utf-8")
    lines = (f"SPEAKER x 1 {n} 1 <NA> <NA> {who} <NA> <NA>\n" for n, who in enumerate(
        ("Minsu", "DrLee")))  # fmt: skip
    (place / "speakers.rttm").write_text("".join(lines), encoding="utf-8")
    pq.write_table(pa.table({"track": ["Minsu"]}), place / "timeline.parquet")
    desk: Any = SimpleNamespace(sessions=sessions, folder=tmp_path)
    found = next(comparing._laid_out(desk, [row], tmp_path / "out", leave_out=True))
    kept = (found.folder / SUMMARY_FILE).read_text(encoding="utf-8")
    assert "(S1, S2)" in kept
    assert "DrLee" not in kept
    assert "Minsu" not in kept
    store.close()


def test_the_daily_look_goes_on_after_a_failure_and_takes_faces_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def end_retention() -> int:
        looks.append("sessions")
        if len(looks) == 1:
            raise OSError("no room")
        return 0

    house = SimpleNamespace(sessions=SimpleNamespace(end_retention=end_retention), folder=tmp_path)
    monkeypatch.setattr("nunbit.app.house._LOOK_S", 0.01)
    monkeypatch.setattr("nunbit.app.house._DAY_S", 0.02)
    monkeypatch.setattr("nunbit.app.house.erase_old_sets", lambda _: looks.append("faces"))

    async def some_days() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(_House.every_day(house), 1.0)  # type: ignore[arg-type]

    asyncio.run(some_days())
    assert looks.count("sessions") > 2
    assert looks.count("faces") > 2


def test_every_change_is_in_the_audit_and_nothing_that_was_said(
    app: RunningApp, client: httpx.Client
) -> None:
    mine = new_session(client, "P-audit")
    headers = {"X-Session-Key": mine["key"]}
    client.post(f"/api/sessions/{mine['id']}/notes", json={"t": 1, "text": "말한 것"},
                headers=headers)  # fmt: skip
    client.post("/api/consents", json=consent("P-audit", purpose="rating_people"))
    client.request("DELETE", f"/api/sessions/{mine['id']}", json={"confirm": "P-audit"})
    actions = _audit(app)
    assert {"participant_added", "consent_added", "consent_refused", "session_added", "note_added",
            "session_deleted"} <= {action for action, _ in actions}  # fmt: skip
    assert not any("말한 것" in detail or "P-audit" in detail for _, detail in actions)


# -- the database ----------------------------------------------------------------------------------


def test_the_database_is_in_wal_mode_and_has_a_version(app: RunningApp) -> None:
    with sqlite3.connect(app.folder / "nunbit.sqlite") as base:
        assert base.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert base.execute("PRAGMA user_version").fetchone()[0] >= 1


def test_an_older_database_is_brought_up_to_date(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "old.sqlite").close()  # version 0, no tables
    store = Store(tmp_path / "old.sqlite")
    assert store.rows("sessions") == []
    store.close()
    Store(tmp_path / "old.sqlite").close()  # and again


@pytest.mark.parametrize("damage", ["newer", "no_database"])
def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "base.sqlite"
    if damage == "newer":
        with sqlite3.connect(path) as base:
            base.execute("PRAGMA user_version = 99")
        base.close()
    else:
        path.write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=str(path)):
        Store(path)


def test_a_change_is_whole_or_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "base.sqlite")
    with pytest.raises(RuntimeError), store.changing():
        store.add("participants", id="a", code="A", created="now")
        raise RuntimeError
    assert store.rows("participants") == []
    store.close()


def test_openapi_describes_every_route(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    expected = {
        "/api/health", "/api/about", "/api/predict", "/api/analyses", "/api/jobs",
        "/api/jobs/{job}", "/api/participants", "/api/participants/{participant}",
        "/api/consents", "/api/consents/{consent}", "/api/sessions", "/api/sessions/{session}",
        "/api/sessions/{session}/notes", "/api/sessions/{session}/baseline",
        "/api/sessions/{session}/tables/{name}", "/api/sessions/{session}/exports/{kind}",
        "/api/sessions/{session}/report", "/api/sessions/{session}/media",
        "/api/sessions/{session}/ticket", "/api/sessions/{session}/key",
        "/api/sessions/{session}/recording", "/api/sessions/{session}/frames/{number}",
        "/api/sessions/{session}/start", "/api/sessions/{session}/plain",
        "/api/sessions/{session}/check", "/api/checks", "/api/comparisons", "/api/evaluations",
        "/api/exports", "/api/exports/report", "/api/measures", "/api/models", "/api/receipts",
        "/api/participants/{participant}/holdings", "/api/face-sets", "/api/face-sets/{face_set}",
        "/api/face-sets/{face_set}/pictures", "/api/face-sets/{face_set}/pictures/{number}",
        "/api/face-sets/{face_set}/report", "/api/face-sets/{face_set}/start", "/api/program",
        "/api/program/shortcut", "/api/program/end",
    }  # fmt: skip
    bare = {"/api/sessions/{session}/key", "/api/face-sets/{face_set}/start",
            "/api/program/shortcut", "/api/program/end"}  # fmt: skip  # nothing is sent
    assert expected == set(schema["paths"])
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            assert told["description"], (method, path)
            assert told["security"] == [] if path == "/api/health" else told["security"]
            if method == "post" and path not in bare:
                assert told["requestBody"]["content"], path
    for name in ("Consent", "Receipt", "Outline", "SessionWhole", "Problem"):
        assert schema["components"]["schemas"][name]["properties"]


def test_a_session_whose_tables_are_being_written_is_not_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row, _ = sessions.create_for_upload(1)
    for state in ("recording", "analysing"):
        store.set("sessions", row["id"], state=state, keep_until="2020-01-01")
        with pytest.raises(Refusal, match="still being"):
            sessions.delete(row["id"])
        assert sessions.end_retention() == 0
    assert (tmp_path / "sessions" / row["id"] / ".key").is_file()
    store.close()


def test_an_upload_that_was_never_answered_is_removed_at_the_start(tmp_path: Path) -> None:
    store = Store(tmp_path / "base.sqlite")
    sessions = Sessions(store, tmp_path / "sessions")
    row, _ = sessions.create_for_upload(1)
    assert sessions.end_cut_off() == []
    assert not (tmp_path / "sessions" / row["id"]).exists()
    store.close()


@pytest.mark.parametrize("page", ["plain", "frame"])
def test_a_page_drawn_while_its_session_is_deleted_brings_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """The drawing began before, and would write after."""
    from nunbit.app import plain_result
    from nunbit.report import timeline_data

    folder = make_timeline(tmp_path / "session")
    name = "read_glance" if page == "plain" else "read_recording"
    read = getattr(timeline_data, name)

    def deleted_meanwhile(*given: Any, **more: Any) -> Any:
        recording = read(*given, **more)
        shutil.rmtree(folder)
        return recording

    def draw() -> Any:
        if page == "plain":
            return plain_result.kept_plain(folder, "ko")
        return plain_result.kept_frame(folder, "ko", has_media=False)

    monkeypatch.setattr(timeline_data, name, deleted_meanwhile)
    for _ in range(2):  # while it is drawn, and afterwards
        with pytest.raises(Refusal):
            draw()
        assert not folder.exists()


def test_who_deletes_waits_for_a_page_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nunbit.app import plain_result

    folder = make_timeline(tmp_path / "session")
    write, waited = plain_result.write_text, []

    def held(*given: Any) -> None:
        with ThreadPoolExecutor(1) as other:
            waited.append(not other.submit(Store.folders.acquire, timeout=0.2).result())
        write(*given)

    monkeypatch.setattr(plain_result, "write_text", held)
    assert plain_result.kept_plain(folder, "ko")
    assert waited == [True]
