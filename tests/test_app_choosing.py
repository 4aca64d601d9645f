"""From a consent to an analysis: uploads, faces to click, names, doubtful transcripts, refusals."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("websockets")
pytest.importorskip("av")

from PIL import Image

from make_app import RunningApp, consent, new_session, running_app
from make_interview import Interview, made_interview
from nunbit.app.jobs import choice_options
from nunbit.app.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.seconds]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture(scope="module")
def interview(tmp_path_factory: pytest.TempPathFactory) -> Interview:
    """Twelve seconds: both speak once."""
    return made_interview(tmp_path_factory.mktemp("interview"), length_s=12.0, fps=5, hold_s=0.2)


@pytest.fixture
def client(app: RunningApp) -> Iterator[httpx.Client]:
    with app.client() as opened:
        yield opened


def _session(client: httpx.Client, code: str = "P-20", **scope: bool) -> str:
    """A session on a consent of this scope; its key goes into the client."""
    person = client.post("/api/participants", json={"code": code}).json()["id"]
    given = consent(person)
    given["scope"] |= scope
    agreed = client.post("/api/consents", json=given).json()["id"]
    made = client.post("/api/sessions", json={
        "participant": person, "consent": agreed, "keep_media": given["scope"]["media"],
    }).json()  # fmt: skip
    client.headers["X-Session-Key"] = made["key"]
    return f"/api/sessions/{made['id']}"


def _add(client: httpx.Client, place: str, **files: Path | bytes) -> httpx.Response:
    sent = {
        kind: (each.name if isinstance(each, Path) else "x",
               each.read_bytes() if isinstance(each, Path) else each)
        for kind, each in files.items()
    }  # fmt: skip
    title = {"title": "면담\u202e 1회\n.mp4"} if "media" in files else {}
    return client.post(f"{place}/recording", files=sent, data=title)


def _wait(client: httpx.Client, job: str, seconds: float = 240) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.5)
    raise AssertionError(found)


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_a_recording_is_looked_at_and_its_person_is_chosen(
    client: httpx.Client, interview: Interview, app: RunningApp
) -> None:
    place = _session(client, media=False)
    assert _code(client.get(f"{place}/recording")) == "no_recording"
    assert _code(client.post(f"{place}/start", json={})) == "no_recording"
    answer = _add(client, place, media=interview.video, transcript=interview.words)
    assert answer.status_code == 200, answer.text
    look = answer.json()
    assert look["title"] == "면담 1회.mp4"  # one line, nothing that turns text around
    assert look["duration_s"] == pytest.approx(12, abs=0.2)
    assert look["people"] == 2
    assert [each["name"] for each in look["speakers"]] == ["면담자", "참여자"]
    assert look["speakers"][1]["says"].startswith("네 안녕하세요")
    assert look["notes"] == []
    first = look["frames"][0]
    assert [face["number"] for face in first["faces"]] == [1, 2]
    left, right = (face["box"] for face in first["faces"])
    assert left[0] < 0.27 < left[2] < right[0] < 0.74 < right[2]  # where they are drawn
    picture = client.get(f"{place}/frames/0")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (640, 360)
    assert client.get(f"{place}/frames/99").status_code == 404
    for wish, code in (
        ({}, "no_face_clicked"),
        ({"face": {"frame": 0, "number": 3}}, "no_such_face"),
        ({"face": {"frame": 77, "number": 1}}, "no_such_face"),
        ({"face": {"frame": 0, "number": 1}}, "no_speaker_chosen"),
        ({"face": {"frame": 0, "number": 1}, "speaker": "누구"}, "no_such_speaker"),
        ({"face": {"frame": 0, "number": 1}, "speaker": "참여자",
          "baseline": {"from": 0, "to": 10}}, "bad_baseline"),
        ({"face": {"frame": -1, "number": 1}}, "invalid"),
        ({"nonsense": 1}, "invalid"),
    ):  # fmt: skip
        assert _code(client.post(f"{place}/start", json=wish)) == code, wish
    wish = {"face": {"frame": 0, "number": 1}, "speaker": "참여자"}
    job = client.post(f"{place}/start", json=wish)
    assert job.status_code == 202, job.text
    assert _code(client.post(f"{place}/start", json=wish)) == "not_open"
    done = _wait(client, job.json()["id"])
    assert done["state"] == "done", done
    whole = client.get(place).json()
    assert whole["title"] == "면담 1회.mp4"
    assert not whole["has_media"]  # the consent does not cover keeping it
    assert client.get(f"{place}/frames/0").status_code == 404
    folder = app.folder / place.removeprefix("/api/")
    assert not list(folder.glob("*.mp4"))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["speech"]["target"] == "참여자"
    assert summary["subject"] == "P-20"
    own = next(person for person in summary["persons"] if person["target"])
    assert len(summary["persons"]) == 2
    assert summary["persons"][1] is not own or own["share"] > 0
    _the_plain_page_tells_what_was_read(client, place)


def _the_plain_page_tells_what_was_read(client: httpx.Client, place: str) -> None:
    ko = client.get(f"{place}/plain").json()
    en = client.get(f"{place}/plain?lang=en").json()
    assert ko == client.get(f"{place}/plain?lang=ko").json()  # kept
    assert [part["part"] for part in ko["parts"]] == ["face", "voice", "words"]
    for part in ko["parts"]:
        lost = sum(why["share"] for why in part["why"])
        assert part["share"] + lost == pytest.approx(1, abs=0.02), part
    assert ko["parts"][0]["share"] > 0.9
    assert ko["parts"][1]["share"] < 0.9  # the other speaks, too
    assert len(ko["moments"]) <= 5
    assert ko["speaker"] == "참여자"
    assert ko["synthetic"] is False  # the mark is in the file of the truth, which is not sent
    assert any("가" <= c <= "힣" for group in ko["measures"] for c in group["title"])
    told = " ".join(row["name"] + row["value"] for group in en["measures"] for row in group["rows"])
    assert not any("가" <= c <= "힣" for c in told)
    rows = [row for group in ko["measures"] for row in group["rows"]]
    assert rows
    assert all(row["meaning"] for row in rows)
    link = client.post(f"{place}/ticket", json={"what": "view:en"}).json()["url"]
    view = client.get(link)
    assert "frame-ancestors 'self'" in view.headers["content-security-policy"]
    assert "sandbox allow-scripts" in view.headers["content-security-policy"]
    assert view.headers["x-frame-options"] == "SAMEORIGIN"
    assert 'class="timeline-page framed"' in view.text
    assert client.get(link).status_code == 410  # once
    report = client.get(f"{place}/report")
    assert "frame-ancestors 'none'" in report.headers["content-security-policy"]
    assert client.post(f"{place}/ticket", json={"what": "view:fr"}).status_code == 422


def test_a_transcript_of_another_recording_is_doubted(
    client: httpx.Client, interview: Interview
) -> None:
    place = _session(client)
    look = _add(client, place, media=interview.video, transcript=interview.other).json()
    assert any(note["doubt"] for note in look["notes"]), look["notes"]
    wish = {"face": {"frame": 0, "number": 1}, "speaker": "참여자"}
    assert _code(client.post(f"{place}/start", json=wish)) == "other_transcript"
    late = interview.words.read_bytes().replace(b"00:00:", b"01:10:")
    look = _add(client, place, transcript=late).json()  # alone, in place of the first
    assert [note["code"] for note in look["notes"]] == ["bad_transcript"]
    assert "transcript.srt" not in look["notes"][0]["ko"]
    assert look["speakers"] == []
    assert _code(client.post(f"{place}/start", json=wish)) == "other_transcript"
    job = client.post(f"{place}/start", json={**wish, "use_transcript": False, "speaker": ""})
    assert job.status_code == 202, job.text
    assert client.delete(f"/api/jobs/{job.json()['id']}").status_code == 200
    assert _wait(client, job.json()["id"])["state"] == "cancelled"
    assert client.get(place).json()["state"] == "open"  # and can be chosen again
    assert client.get(f"{place}/recording").status_code == 200
    whole = client.get(place).json()
    receipt = client.request("DELETE", place, json={"confirm": whole["participant"]}).json()
    names = {file["name"] for file in receipt["deleted"]}
    assert {".look/0.jpg", "transcript.srt"} <= names  # frames of the look are deleted with it


def test_speakers_come_from_an_rttm(client: httpx.Client, interview: Interview) -> None:
    place = _session(client)
    lines = "SPEAKER x 1 1.0 5.0 <NA> <NA> spk0 <NA> <NA>\n"
    lines += "SPEAKER x 1 7.0 4.0 <NA> <NA> spk1 <NA> <NA>\n"
    look = _add(client, place, media=interview.video, speakers=lines.encode()).json()
    assert [each["name"] for each in look["speakers"]] == ["spk0", "spk1"]
    assert [each["who"] for each in look["stretches"]] == [0, 1]
    look = _add(client, place, media=interview.video).json()  # a new recording has other speakers
    assert look["speakers"] == []
    assert not look["has_transcript"]


@pytest.mark.parametrize(
    ("scope", "files", "code"),
    [
        ({"words": False}, ("media", "transcript"), "words_not_agreed"),
        ({}, ("transcript",), "no_media"),
    ],
    ids=str,
)
def test_what_the_consent_leaves_out_is_not_taken(
    client: httpx.Client, interview: Interview, app: RunningApp,
    scope: dict[str, bool], files: tuple[str, ...], code: str,
) -> None:  # fmt: skip
    place = _session(client, **scope)
    given = {"media": interview.video, "transcript": interview.words}
    answer = _add(client, place, **{name: given[name] for name in files})
    assert _code(answer) == code
    folder = app.folder / place.removeprefix("/api/")
    assert not list(folder.glob("*.mp4"))
    assert not (folder / ".look").exists()


def _kinds(path: Path) -> set[str]:
    """Kinds of streams in a file; none where it is no recording.

    A key is random bytes, which some formats take for sound.
    """
    import av

    if path.name == ".key":
        return set()
    try:
        with av.open(str(path)) as opened:
            return {stream.type for stream in opened.streams}
    except (av.FFmpegError, ValueError):
        return set()


@pytest.mark.parametrize(("part", "other", "gone"), [("face", "voice", "audio"),
                                                     ("voice", "face", "video")])  # fmt: skip
def test_a_part_that_is_not_agreed_is_in_no_file(
    client: httpx.Client, interview: Interview, app: RunningApp, part: str, other: str, gone: str
) -> None:
    place = _session(client, **{other: False})
    folder = app.folder / place.removeprefix("/api/")
    answer = _add(client, place, media=interview.video, transcript=interview.words)
    assert answer.status_code == 200, answer.text
    look = answer.json()
    assert look["left_out"] == [other]
    assert look["has_video"] is (part == "face")
    assert look["has_sound"] is (part == "voice")
    assert look["duration_s"] == pytest.approx(12, abs=0.3)
    wish: dict[str, Any] = {"speaker": "참여자"}
    if part == "face":
        wish["face"] = {"frame": 0, "number": 1}
    job = client.post(f"{place}/start", json=wish)
    assert job.status_code == 202, job.text
    done = _wait(client, job.json()["id"])
    assert done["state"] == "done", done
    whole = client.get(place).json()
    assert whole["has_media"]  # the consent covers keeping what is left
    held = [path for path in app.folder.rglob("*") if path.is_file()]
    kept = [path for path in held if path.parent == folder and _kinds(path) & {"video", "audio"}]
    assert len(kept) == 1
    assert gone not in _kinds(kept[0])
    assert not any((app.folder / "incoming").rglob("*"))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["media"][gone] is None
    measured = {m["modality"] for m in summary["measures"] if m["value"] is not None}
    assert other not in measured
    assert (part if part == "face" else "voice") in measured
    if gone == "video":
        assert not [p for p in folder.rglob("*") if p.suffix in (".jpg", ".png")]
        assert not (folder / "frames.parquet").exists() or not _rows(folder / "frames.parquet")
    else:
        assert not (folder / "voice.parquet").exists() or not _rows(folder / "voice.parquet")
    plain = client.get(f"{place}/plain?lang=ko").json()
    shares = {each["part"]: each["share"] for each in plain["parts"]}
    assert shares[other] is None
    assert shares[part] is not None


def _rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.ParquetFile(path).metadata.num_rows)


def test_nothing_is_left_of_a_recording_that_has_only_the_other_part(
    client: httpx.Client, interview: Interview, app: RunningApp, tmp_path: Path
) -> None:
    from nunbit.recording.media import copy_without

    sound = tmp_path / "sound.mp4"
    assert copy_without(interview.video, sound, frozenset({"video"})) == pytest.approx(0, abs=0.1)
    assert _kinds(sound) == {"audio"}
    place = _session(client, voice=False)
    assert _code(_add(client, place, media=sound)) == "voice_not_agreed"
    folder = app.folder / place.removeprefix("/api/")
    # The key is random: now and then its bytes look like sound.
    assert not [p for p in folder.rglob("*") if _kinds(p)]
    place = _session(client, face=False)
    look = _add(client, place, media=sound).json()
    assert look["left_out"] == []  # there was nothing to leave out


def test_a_broken_recording_says_so_and_is_not_kept(client: httpx.Client, app: RunningApp) -> None:
    place = _session(client)
    broken = b"\0\0\0\x18ftypmp42" + b"\0" * 5000
    answer = _add(client, place, media=broken)
    assert answer.status_code == 422
    assert _code(answer) == "unreadable_recording"
    assert str(app.folder) not in answer.text
    assert _code(client.get(f"{place}/recording")) == "no_recording"
    assert _code(_add(client, place, media=b"just text")) == "not_media"


def test_another_browser_on_this_machine_gets_the_key(app: RunningApp) -> None:
    with app.client() as client:
        made = new_session(client)
        place = f"/api/sessions/{made['id']}"
        assert client.get(place).status_code == 403
        found = client.post(f"{place}/key").json()
        assert found == made
        client.headers["X-Session-Key"] = found["key"]
        assert client.get(place).status_code == 200
        (app.folder / "sessions" / made["id"] / ".key").unlink()
        fresh = client.post(f"{place}/key").json()["key"]
        assert fresh != made["key"]
        assert client.get(place).status_code == 403
        client.headers["X-Session-Key"] = fresh
        assert client.get(place).status_code == 200
    with httpx.Client(base_url=app.told["url"], trust_env=False) as other:
        # A session's key opens that session and no other key.
        other.headers["Authorization"] = f"Bearer {fresh}"
        assert other.post(f"{place}/key").status_code == 401
    with sqlite3.connect(app.folder / "nunbit.sqlite") as base:
        (count,) = base.execute("SELECT count(*) FROM audit WHERE action = 'key_asked'").fetchone()
    assert count == 2


def test_consents_that_hold_are_listed(client: httpx.Client) -> None:
    place = _session(client, "P-listed")
    found = [each for each in client.get("/api/consents").json()["consents"]
             if each["participant"] == "P-listed"]  # fmt: skip
    assert [each["sessions"] for each in found] == [1]
    assert found[0]["scope"]["media"] is True
    client.delete(f"/api/consents/{found[0]['id']}")
    listed = client.get("/api/consents").json()["consents"]
    assert not [each for each in listed if each["participant"] == "P-listed"]
    assert client.get(place).status_code == 410


def test_who_is_analysed_is_repeated_for_everything_made_later() -> None:
    choice = {"box": [1.0, 2.0, 3.0, 4.5], "time_s": 2.5, "speaker": '그 "분"', "subject": "P-1"}
    row = {"choice": json.dumps(choice), "baseline_from": 0.0, "baseline_to": 61.5}
    assert choice_options(row) == [
        "--baseline", "0-61.5", "--set", "target_box=[1.0, 2.0, 3.0, 4.5]",
        "--set", "target_time=2.5", "--set", 'target_speaker="그 \\"분\\""', "--subject", "P-1",
    ]  # fmt: skip
    assert choice_options({"choice": "{}", "baseline_from": None, "baseline_to": None}) == []


def test_an_older_database_gets_the_new_columns(tmp_path: Path) -> None:
    from nunbit.app import store as module

    path = tmp_path / "nunbit.sqlite"
    with sqlite3.connect(path) as base:
        base.executescript(f"{module._MIGRATIONS[0]}; PRAGMA user_version = 1;")
        base.execute(
            "INSERT INTO sessions (id, origin, key_hash, state, keep_media, keep_until, created)"
            " VALUES ('x', 'live', '', 'open', 0, '', '')"
        )
    store = Store(path)
    row = store.row("sessions", id="x")
    assert row is not None
    assert (row["title"], row["choice"]) == ("", "{}")
    store.close()
