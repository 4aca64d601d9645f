"""Comparing, exporting, deleting, looking at files and labelled pictures, over the app's routes."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("websockets")
pytest.importorskip("av")
from PIL import Image

from make_app import RunningApp, consent, running_app
from make_pages import Finished, Picture, drawn_pictures, fill
from make_timeline import Recipe, make_timeline
from nunbit.synth.script import EmotionKey, Saying, VideoScript
from nunbit.synth.video import render_video
from test_app_jobs import sound

pytestmark = [pytest.mark.slow, pytest.mark.seconds]

SPEAKER = "이순신"
SAID = "비밀스러운 이야기를 했어요"
WORDS = ("새벽에", "친구가", "걱정할까", "비밀스러운", SPEAKER)
"""Of what is said in the made sessions, and who says it."""


@dataclass
class Study:
    """A running app with finished sessions.

    Attributes:
        app: The app.
        client: With its key.
        made: P-01's three sessions, then P-02's one, P-03's one that was really analysed.
    """

    app: RunningApp
    client: Any
    made: list[dict[str, str]]

    def post(self, path: str, **sent: Any) -> Any:
        return self.client.post(f"/api/{path}", json=sent)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    import nunbit

    place = tmp_path_factory.mktemp("study")
    lengths = (1300.0, 1300.0, 1300.0, 240.0)  # shorter ones have no intervals
    folders = [
        make_timeline(place / f"made{n}", Recipe(duration_s=seconds, seed=n + 1))
        for n, seconds in enumerate(lengths)
    ]
    film = place / "real.mp4"
    render_video(film, VideoScript(
        duration_s=8.0, width=320, height=240, fps=5, person=94, face_scale=0.3, scene="room",
        emotions=(EmotionKey(0.0), EmotionKey(3.0, joy=1.0)), sayings=(Saying(1.0, SAID),),
    ))  # fmt: skip
    words = film.with_suffix(".vtt")
    words.write_text(f"WEBVTT\n\n00:01.000 --> 00:03.400\n<v {SPEAKER}>{SAID}\n", "utf-8")
    real = nunbit.analyze(film, place / "real", transcript=str(words), target_speaker=SPEAKER)
    notes = ((12.0, "question", "비밀스러운 질문"), (90.0, "question", "다른 질문"))
    given = [Finished("P-01", folders[0], None, 30, notes), Finished("P-01", folders[1], None, 20),
             Finished("P-01", folders[2], None, 10), Finished("P-02", folders[3]),
             Finished("P-03", real.folder, film)]  # fmt: skip
    made = fill(place / "data", given)
    with running_app(place / "data") as app, app.client() as client:
        yield Study(app, client, made)


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


# -- comparing -------------------------------------------------------------------------------------


def test_sessions_of_a_person_are_compared_with_intervals(study: Study) -> None:
    answer = study.post("comparisons", sessions=study.made[:3])
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["participant"] == "P-01"
    assert [one["visit"] for one in found["sessions"]] == [1, 2, 3]
    joy = next(m for m in found["measures"] if m["id"] == "face.p_joy")
    assert joy["label"]["ko"].startswith("기쁨")
    assert joy["meaning"]["ko"].endswith(".")
    assert {(d["start"], d["to"]) for d in joy["differences"]} == {
        ("P-01_1", "P-01_2"), ("P-01_1", "P-01_3")}  # fmt: skip
    for one in joy["differences"]:
        assert one["low"] <= one["value"] <= one["high"]
    assert found["intervals"] == sum(
        d["low"] is not None for m in found["measures"] for d in m["differences"]
    )
    # What the command says of the same folders, to the digit.
    from nunbit.stories.within_person import CompareOrder, compare

    place = study.app.folder / "sessions"
    table = study.app.folder.parent / "conditions.csv"
    rows = [f"{one['id']},0,2000,{n}" for n, one in enumerate(study.made[:3])]
    table.write_text("\n".join(["recording,start,end,condition", *rows]), encoding="utf-8")
    told = compare([place / one["id"] for one in study.made[:3]], table.parent / "told",
                   CompareOrder(("face.p_joy",), conditions=table))  # fmt: skip
    cells = {row["recording"]: row for row in told.cells.to_pylist()}
    for cell in joy["cells"]:
        expected = cells[cell["session"]]
        assert cell["value"] == expected["value"]
        assert (cell["low"], cell["high"]) == (expected["low"], expected["high"])


def test_conditions_within_a_session(study: Study) -> None:
    first = study.made[0]
    stretches = [
        {"session": first["id"], "from": 0, "to": 120, "condition": "쉬운 질문"},
        {"session": first["id"], "from": 120, "to": 240, "condition": "어려운, 질문"},
    ]
    answer = study.post("comparisons", sessions=[first], by="stretches", stretches=stretches)
    assert answer.json()["conditions"] == ["쉬운 질문", "어려운, 질문"]
    assert study.post("comparisons", sessions=[first], by="speaking").json()["conditions"] == [
        "speaking", "not_speaking"]  # fmt: skip


def test_what_cannot_be_compared_is_said(study: Study) -> None:
    first, other = study.made[0], study.made[3]
    assert code(study.post("comparisons", sessions=[first])) == "one_session"
    assert code(study.post("comparisons", sessions=[first, other])) == "several_persons"
    wrong = {"id": first["id"], "key": other["key"]}
    refused = study.post("comparisons", sessions=[wrong])
    assert (refused.status_code, code(refused)) == (403, "session_key")
    assert (
        code(study.post("comparisons", sessions=[{"id": "../../etc", "key": ""}])) == "no_session"
    )
    assert code(study.post("comparisons", sessions=[])) == "invalid"
    one = {"session": first["id"], "from": 0, "to": 20, "condition": "a"}
    ask = {"sessions": [first], "by": "stretches"}
    assert code(study.post("comparisons", **ask, stretches=[one])) == "one_condition"
    late = one | {"from": 1200, "to": 1900, "condition": "b"}
    assert code(study.post("comparisons", **ask, stretches=[one, late])) == "bad_stretch"
    foreign = one | {"session": other["id"], "condition": "b"}
    assert code(study.post("comparisons", **ask, stretches=[one, foreign])) == "stretch_elsewhere"


# -- exporting -------------------------------------------------------------------------------------


def export(
    study: Study, sessions: list[dict[str, str]], form: str, **more: Any
) -> tuple[str, bytes]:
    answer = study.post("exports", sessions=sessions, form=form, lang="ko", **more)
    assert answer.status_code == 200, answer.text
    from urllib.parse import unquote

    return unquote(answer.headers["content-disposition"].split("''")[1]), answer.content


def inside(content: bytes) -> dict[str, bytes]:
    """What a zip holds, a zip in it (Excel) opened, too."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_tables_for_excel_csv_and_spss(study: Study) -> None:
    pytest.importorskip("openpyxl")
    pytest.importorskip("pyreadstat")
    name, content = export(study, study.made[:4], "excel")
    assert name == "nunbit_tables.xlsx"
    text = b"".join(inside(content).values()).decode("utf-8", "ignore")
    assert "P-01_1" in text
    assert "P-02_1" in text
    name, content = export(study, study.made[:3], "csv")
    files = inside(content)
    assert name == "P-01_tables.zip"
    assert {"sessions_wide.csv", "windows_wide.csv", "episodes.csv", "P-01_1_consent.json",
            "P-01_1_notes.csv"} <= set(files)  # fmt: skip
    rows = files["sessions_wide.csv"].decode("utf-8-sig").splitlines()
    assert len(rows) == 4
    assert rows[1].startswith('"P-01_1","P-01","1",')
    files = inside(export(study, study.made[:3], "spss")[1])
    assert {"sessions_wide.sav", "windows_wide.sav", "episodes.sav"} <= set(files)


@pytest.mark.parametrize("form", ["excel", "csv", "spss", "elan", "figure"])
def test_names_words_and_dates_can_be_left_out(study: Study, form: str) -> None:
    sessions = study.made[4:] if form in ("elan", "figure") else [*study.made[:4], study.made[4]]
    more = {"figure": {"kind": "svg"}} if form == "figure" else {}
    name, content = export(study, sessions, form, leave_out=True, **more)
    assert "P-0" not in name
    parts = inside(content) if content[:2] == b"PK" else {name: content}
    kept = "\n".join(parts)
    for part, body in parts.items():
        kept += body.decode("utf-8", "ignore") + body.decode("utf-16", "ignore") + part
    hidden = [*WORDS, "P-01", "P-02", "P-03", "consent", *(one["id"] for one in sessions)]
    assert [word for word in hidden if word in kept] == []
    if form == "csv":
        assert '"P1_1","P1"' in kept
        assert '"P2_1","P2"' in kept


def test_a_report_to_print_without_names_and_words(study: Study) -> None:
    real = study.made[4]
    with_words = study.post("exports/report", session=real, lang="ko")
    page = study.client.get(with_words.json()["url"])
    assert SAID.split()[0] in page.text
    assert "P-03_1" in page.text
    assert "sandbox" in page.headers["content-security-policy"]
    assert "allow-modals" in page.headers["content-security-policy"]
    assert study.client.get(with_words.json()["url"]).status_code == 410  # once
    link = study.post("exports/report", session=real, lang="en", leave_out=True).json()["url"]
    text = study.client.get(link).text
    for word in (*WORDS, "P-03", real["id"]):
        assert word not in text
    assert '<html lang="en"' in text


def test_figures_and_elan(study: Study) -> None:
    name, content = export(study, study.made[:3], "figure", figure={"measure": "face.p_joy"})
    assert (name, content[:5]) == ("P-01_figure.pdf", b"%PDF-")
    wanted = {"kind": "png", "tracks": ["face", "episodes"], "from": 10, "to": 60}
    sent = {"sessions": study.made[:1], "form": "figure"}
    answer = study.post("exports", **sent, figure=wanted)
    assert answer.headers["x-left-out"] == "episodes"  # nothing of them in this session
    content = answer.content
    wanted["tracks"] = ["episodes"]
    assert code(study.post("exports", **sent, figure=wanted)) == "nothing_drawn"
    assert content[1:4] == b"PNG"
    name, content = export(study, study.made[4:], "elan")
    assert name == "P-03_P-03_1.eaf"
    assert SAID.split()[0].encode() in content
    assert b"<ANNOTATION_DOCUMENT" in content


def test_what_cannot_be_exported_is_said(study: Study) -> None:
    refused = [
        ({"sessions": study.made[:2], "form": "figure"}, "one_figure_each"),
        ({"sessions": [study.made[0], study.made[3]], "form": "figure",
          "figure": {"measure": "face.p_joy"}}, "several_persons"),
        ({"sessions": study.made[:1], "form": "figure",
          "figure": {"measure": "../../etc/passwd"}}, "invalid"),
        ({"sessions": study.made[:1], "form": "figure", "figure": {"tracks": ["nose"]}}, "invalid"),
        ({"sessions": study.made[:1], "form": "virus"}, "invalid"),
        ({"sessions": study.made[:1] * 30, "form": "elan"}, "input"),
    ]  # fmt: skip
    for sent, expected in refused[:5]:
        answer = study.post("exports", **sent)
        assert (answer.status_code, code(answer)) == (422, expected), answer.text
    assert list((study.app.folder / "incoming").iterdir()) == []


def test_only_the_owner_and_only_finished_sessions(study: Study) -> None:
    key = {"Authorization": f"Bearer {study.made[0]['key']}"}
    for path in ("comparisons", "exports", "face-sets", "exports/report"):
        answer = study.client.post(f"/api/{path}", json={}, headers=key)
        assert answer.status_code == 401, path
    for path in ("measures", "models", "face-sets", "receipts", "participants/P-01/holdings"):
        assert study.client.get(f"/api/{path}", headers=key).status_code == 401, path
    person = study.client.post("/api/participants", json={"code": "P-09"}).json()["id"]
    agreed = study.client.post("/api/consents", json=consent(person)).json()["id"]
    made = study.client.post("/api/sessions", json={"participant": person, "consent": agreed})
    answer = study.post("exports", sessions=[made.json()], form="csv")
    assert (answer.status_code, code(answer)) == (409, "not_finished")


# -- looking at files ------------------------------------------------------------------------------


def test_a_file_is_looked_at_and_not_kept(study: Study) -> None:
    words = b"1\n00:00:00,100 --> 00:00:01,000\nhello\n\n2\n00:00:xx --> 00:00:02,000\nthere\n"
    sent = {"media": ("a.wav", sound()), "transcript": ("b.srt", words)}
    answer = study.client.post("/api/checks?lang=ko", files=sent)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["state"] == "noted"
    assert found["duration_s"] == pytest.approx(2.0, abs=0.1)
    assert {note["code"] for note in found["read"]} >= {"sound"}
    assert [note["code"] for note in found["left_out"]] == ["not_a_timing_line"]
    assert str(study.app.folder) not in answer.text
    assert list((study.app.folder / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"media": b"PK\x03\x04" + bytes(2000)}, "not_media"),
        ({"media": b""}, "empty_upload"),
        ({"transcript": bytes(range(256)) * 8}, "not_text"),
        ({"other": b"x"}, "bad_form"),
        ({}, "no_media"),
    ],
)
def test_files_that_are_none_are_refused(
    study: Study, files: dict[str, bytes], expected: str
) -> None:
    sent = {name: (f"{name}.bin", body) for name, body in files.items()}
    answer = study.client.post("/api/checks", files=sent or {"lang": (None, b"ko")})
    assert code(answer) == expected


def test_a_transcript_alone_and_a_kept_recording(study: Study) -> None:
    broken = study.client.post("/api/checks?lang=ko", files={"transcript": ("a.srt", b"--> no")})
    assert broken.json()["state"] == "failed"
    assert "/" not in broken.json()["error"].split("'")[0]
    real = study.made[4]
    headers = {"X-Session-Key": real["key"]}
    kept = study.client.get(f"/api/sessions/{real['id']}/check", headers=headers).json()
    assert kept["faces"]["with_face"] > 0
    none = study.client.get(f"/api/sessions/{study.made[0]['id']}/check",
                            headers={"X-Session-Key": study.made[0]["key"]})  # fmt: skip
    assert code(none) == "nothing_there"


# -- deleting --------------------------------------------------------------------------------------


def test_what_a_deletion_would_remove_is_what_it_removes(study: Study) -> None:
    held = study.client.get("/api/participants/P-02/holdings").json()
    listed = {file["name"] for one in held["sessions"] for file in one["files"]}
    assert {".key", "consent.json", "timeline.parquet", "words.parquet"} <= listed
    assert not any(one["busy"] for one in held["sessions"])
    assert code(study.client.get("/api/participants/nobody/holdings")) == "no_participant"
    refused = study.client.request("DELETE", f"/api/participants/{held['id']}",
                                   json={"confirm": "P-01"})  # fmt: skip
    assert code(refused) == "confirm"
    gone = study.client.request("DELETE", f"/api/participants/{held['id']}",
                                json={"confirm": "P-02"}).json()["receipts"]  # fmt: skip
    assert {file["name"] for one in gone for file in one["deleted"]} == listed
    assert all(one["verified"] and one["cancelled"] == 0 for one in gone)
    assert not (study.app.folder / "sessions" / study.made[3]["id"]).exists()
    kept = study.client.get("/api/receipts").json()["receipts"]
    assert kept[0]["receipt"] == gone[-1]["receipt"]


def test_deleting_while_a_job_runs_cancels_it_first(study: Study) -> None:
    """A baseline of a long session keeps the queue busy; deletion ends it and says so."""
    form = {"media": ("a.wav", sound(240.0))}
    made = [study.client.post("/api/analyses", files=form).json() for _ in range(2)]
    ids = [one["session"]["id"] for one in made]
    end = time.monotonic() + 60
    while study.client.get(f"/api/jobs/{made[0]['job']['id']}").json()["state"] != "running":
        assert time.monotonic() < end
        time.sleep(0.1)
    for one in reversed(ids):
        answer = study.client.request("DELETE", f"/api/sessions/{one}", json={"confirm": one})
        assert answer.status_code == 200, answer.text
        assert answer.json()["cancelled"] == 1
        assert answer.json()["verified"]
        assert not (study.app.folder / "sessions" / one).exists()


# -- labelled pictures -----------------------------------------------------------------------------


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (120, 90, 80)).save(stream, "JPEG")
    return stream.getvalue()


def new_set(study: Study, what: str = "adapt", **more: Any) -> str:
    sent = {"what": what, "everybody_agrees": True} | more
    answer = study.post("face-sets", **sent)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def add(study: Study, where: str, label: str, person: str, body: bytes) -> Any:
    return study.client.post(f"/api/face-sets/{where}/pictures", files={"image": ("a", body)},
                             data={"label": label, "person": person})  # fmt: skip


def over(study: Study, where: str) -> dict[str, Any]:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        found: dict[str, Any] = study.client.get(f"/api/face-sets/{where}").json()
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.3)
    raise AssertionError("the work on the pictures does not end")


def test_pictures_that_do_not_serve_are_refused(study: Study) -> None:
    assert code(study.post("face-sets", what="adapt", everybody_agrees=False)) == "not_everybody"
    one = new_set(study, crops=True)
    assert code(add(study, one, "nonsense", "a", picture())) == "no_class"
    assert code(add(study, one, "joy", "../x", picture())) == "bad_code"
    assert code(add(study, one, "joy", "a", b"no picture at all")) == "not_picture"
    assert code(add(study, one, "joy", "a", b"")) == "empty_upload"
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    assert code(add(study, one, "joy", "a", bomb.getvalue())) == "too_many_pixels"
    for where in ("f-0000000000000000", "set.json", "..%2Fsessions", "%2e%2e"):
        assert add(study, where, "joy", "a", picture()).status_code in (404, 405)
    assert code(study.client.post(f"/api/face-sets/{one}/start")) == "too_few_pictures"
    for n in range(20):
        assert add(study, one, "joy", "a", picture()).json()["number"] == n + 1
    assert code(study.client.post(f"/api/face-sets/{one}/start")) == "one_class"
    assert add(study, one, "anger", "a", picture()).status_code == 201
    assert code(study.client.post(f"/api/face-sets/{one}/start")) == "one_person"
    taken = study.client.delete(f"/api/face-sets/{one}/pictures/21").json()
    assert taken["counts"] == {"joy": 20}
    assert study.client.delete(f"/api/face-sets/{one}/pictures/21").status_code == 404
    gone = study.client.delete(f"/api/face-sets/{one}").json()
    assert gone["verified"]
    assert not (study.app.folder / "faces" / one).exists()
    assert code(study.client.get(f"/api/face-sets/{one}")) == "no_face_set"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return drawn_pictures(tmp_path_factory.mktemp("drawn"), (94, 21, 12, 33, 47, 58))


SWAPPED = {"joy": "surprise", "neutral": "sadness", "sadness": "neutral", "anger": "joy"}


def test_a_model_is_fitted_chosen_and_taken_back(study: Study, drawn: list[Picture]) -> None:
    """Faces that are all called by another name: the fit surely helps, and says by how much."""
    one = new_set(study)
    for each in drawn:
        given = add(study, one, SWAPPED[each.label], each.person, each.path.read_bytes())
        assert given.status_code == 201, given.text
    assert study.client.post(f"/api/face-sets/{one}/start").status_code == 202
    found = over(study, one)
    assert found["state"] == "done", found
    result = found["outcome"]
    assert result["written"]
    assert result["hits_before"]["value"] < 0.3 < 0.8 < result["hits_after"]["value"]
    assert result["hits_after"]["low"] is not None
    assert found["persons"] == 6
    assert not (study.app.folder / "faces" / one / "pictures").exists()  # erased
    assert code(add(study, one, "joy", "a", picture())) == "face_set_over"
    models = study.client.get("/api/models").json()["models"]
    assert [(m["id"], m["chosen"]) for m in models] == [("shipped", True), (one, False)]
    before = study.client.get("/api/about").json()["bundle"]
    assert study.client.put("/api/models", json={"id": one}).status_code == 200
    assert study.client.get("/api/about").json()["bundle"]
    # Later analyses use it; what was analysed before is exported with the model that made it.
    queued = study.client.post("/api/analyses", files={"media": ("a.wav", sound())}).json()
    while study.client.get(f"/api/jobs/{queued['job']['id']}").json()["state"] != "done":
        time.sleep(0.3)
    place = study.app.folder / "sessions" / queued["session"]["id"]
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    bundle = json.loads((study.app.folder / "faces" / one / "made" / "bundle.json").read_text())
    assert summary["adapted"]
    assert summary["bundle"]["name"] == bundle["name"]
    assert export(study, study.made[4:], "elan")[1]
    assert code(study.client.delete(f"/api/face-sets/{one}")) == "model_in_use"
    assert study.client.put("/api/models", json={"id": "shipped"}).status_code == 200
    assert study.client.get("/api/about").json()["bundle"] == before
    assert study.client.delete(f"/api/face-sets/{one}").json()["verified"]
    assert code(study.client.put("/api/models", json={"id": one})) == "no_face_set"
    assert code(study.client.put("/api/models", json={"id": "../.."})) == "no_face_set"
    stale = {"id": queued["session"]["id"], "key": queued["session"]["key"]}
    assert code(study.post("exports", sessions=[stale], form="elan")) == "model_gone"


def test_a_model_is_evaluated_and_a_finished_evaluation_opened(
    study: Study, drawn: list[Picture]
) -> None:
    one = new_set(study, "evaluate")
    for each in drawn:
        add(study, one, each.label, each.person, each.path.read_bytes())
    study.client.post(f"/api/face-sets/{one}/start")
    found = over(study, one)
    assert found["state"] == "done", found
    hits = found["outcome"]["hits_before"]
    assert hits["low"] < hits["value"] < hits["high"]
    assert found["outcome"]["images"] == len(drawn)
    link = study.post(f"face-sets/{one}/report", lang="ko").json()["url"]
    page = study.client.get(link)
    assert '<html lang="ko"' in page.text
    assert "sandbox" in page.headers["content-security-policy"]
    result = (study.app.folder / "faces" / one / "made" / "result.json").read_bytes()
    opened = study.client.post("/api/evaluations", files={"result": ("result.json", result)})
    assert opened.status_code == 201, opened.text
    assert opened.json()["has_report"]
    link = study.post(f"face-sets/{opened.json()['id']}/report", lang="en").json()["url"]
    assert '<html lang="en"' in study.client.get(link).text
    for wrong in (b"{}", b"[", b"\x00", json.dumps({"format": "nunbit-evaluation-1"}).encode()):
        answer = study.client.post("/api/evaluations", files={"result": ("result.json", wrong)})
        assert code(answer) in ("no_evaluation", "empty_upload")


def test_the_description_of_the_routes_is_whole(study: Study) -> None:
    paths = study.client.get("/openapi.json").json()["paths"]
    asked = ("comparisons", "exports", "exports/report", "checks", "face-sets", "models",
             "participants/{participant}/holdings", "face-sets/{face_set}/pictures",
             "evaluations", "receipts")  # fmt: skip
    for path in (f"/api/{name}" for name in asked):
        for method in paths[path].values():
            assert method["security"] == [{"key": []}]
            assert "requestBody" in method or "get" in paths[path] or "delete" in paths[path]
            assert method["summary"]
