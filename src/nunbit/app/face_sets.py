"""Labelled face pictures from the page: a model fitted to one's people, or judged by them.

Pictures come one at a time, with the class and the code of the person that the user gives; they
are stored under numbers, and erased as soon as the work on them is done. Fitting and judging are
jobs of the queue; what they are worth is decided by the stories of ``adapt`` and ``evaluate``.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from nunbit.app.access import REPORT_POLICY, Refusal
from nunbit.app.face_work import (
    MADE,
    PICTURES,
    RESULT,
    SET,
    SHIPPED,
    WRITING,
    FaceOutcome,
    chosen_model,
    outcome_of,
)
from nunbit.app.jobs import Outline
from nunbit.app.routes import AtDesk, Desk, Link, Owner, _Sent
from nunbit.app.store import Row, now_text
from nunbit.app.transfers import incoming, receive
from nunbit.core.messages import InputError, Lang, Text
from nunbit.runtime.files import read_json, write_json

MOST_PICTURES = 2000
FEWEST = {"adapt": 20, "evaluate": 10}
_ID = re.compile(r"f-[0-9a-f]{16}")
_PERSON = re.compile(r"[\w-]{1,32}")

router = APIRouter(prefix="/api")

What = Literal["adapt", "evaluate"]


# -- what is sent and answered ---------------------------------------------------------------------


class NewFaceSet(_Sent):
    """A set of pictures: everybody in them agrees; ``crops`` are pictures of the face alone."""

    what: What
    everybody_agrees: bool
    crops: bool = False
    lang: Lang = "ko"


class ChosenModel(_Sent):
    """The model of later analyses: ``shipped`` or the id of an adapted one."""

    id: Annotated[str, Field(max_length=40)]


class AskedEvaluation(_Sent):
    """In which language a report is to be."""

    lang: Lang = "ko"


@dataclass(frozen=True, slots=True)
class FacePicture:
    """A picture that was added; ``number`` names it."""

    number: int
    label: str
    person: str


@dataclass(frozen=True, slots=True)
class FaceSetShown:
    """A set: ``state`` is collecting, queued, running, done, failed or cancelled.

    ``counts`` and ``persons`` are of the pictures that came; ``what`` is ``opened`` for an
    evaluation that was made elsewhere.
    """

    id: str
    what: str
    created: str
    state: str
    crops: bool
    counts: dict[str, int]
    persons: int
    job: Outline | None
    problem: dict[str, str] | None
    outcome: FaceOutcome | None
    has_report: bool


@dataclass(frozen=True, slots=True)
class FaceSets:
    """All sets, newest first."""

    sets: list[FaceSetShown]


@dataclass(frozen=True, slots=True)
class ModelShown:
    """A model for later analyses."""

    id: str
    chosen: bool
    created: str | None
    outcome: FaceOutcome | None


@dataclass(frozen=True, slots=True)
class ModelList:
    """The shipped model and all adapted ones."""

    models: list[ModelShown]


@dataclass(frozen=True, slots=True)
class FacesDeleted:
    """What was deleted of a set, and that it is gone."""

    files: int
    verified: bool


# -- sets ------------------------------------------------------------------------------------------


def sets_folder(desk: Desk) -> Path:
    """``DATA/faces``."""
    return desk.folder / "faces"


def _place(desk: Desk, face_set: str) -> Path:
    """The folder of a set.

    Raises:
        Refusal: There is none.
    """
    place = sets_folder(desk) / face_set
    if not _ID.fullmatch(face_set) or not (place / SET).is_file():
        raise Refusal("no_face_set")
    return place


@contextmanager
def _changing(desk: Desk, face_set: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder and the document of a set that nobody else changes or deletes meanwhile."""
    with desk.sessions.store.changing(), WRITING:  # in the order of a job's end
        place = _place(desk, face_set)
        yield place, read_json(place / SET)


def _labels(desk: Desk) -> list[str]:
    return [label["id"] for label in desk.about()["labels"]]


@router.post("/face-sets", status_code=201, dependencies=[Owner])
def add_face_set(sent: NewFaceSet, desk: AtDesk) -> FaceSetShown:
    """Begin a set of labelled face pictures; everybody in them must agree."""
    if not sent.everybody_agrees:
        raise Refusal("not_everybody")
    new = f"f-{secrets.token_hex(8)}"
    place = sets_folder(desk) / new
    (place / PICTURES).mkdir(parents=True)
    document = {"id": new, "what": sent.what, "created": now_text(), "crops": sent.crops,
                "lang": sent.lang, "next": 1, "pictures": {}}  # fmt: skip
    write_json(place / SET, document)
    desk.sessions.store.note_down("face_set_added", new, sent.what)
    return _shown(desk, place)


@router.post(
    "/face-sets/{face_set}/pictures",
    status_code=201,
    dependencies=[Owner],
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["image", "label"],
        "properties": {"image": {"type": "string", "format": "binary"},
                       "label": {"type": "string"}, "person": {"type": "string"}}}}}}},
)  # fmt: skip
async def add_face_picture(face_set: str, request: Request, desk: AtDesk) -> FacePicture:
    """Add a picture with its class and the code of the person."""
    _place(desk, face_set)
    with incoming(desk) as folder:
        got = await receive(request, folder, {"image": desk.limits["image"]}, desk.keep_free_mb)
        return await run_in_threadpool(lambda: _added(desk, face_set, got.picture(), got.fields))


def _added(desk: Desk, face_set: str, picture: Path, fields: Mapping[str, str]) -> FacePicture:
    label, person = fields.get("label", ""), fields.get("person", "").strip()
    if label not in _labels(desk):
        raise Refusal("no_class", given=label[:40])
    if person and not _PERSON.fullmatch(person):
        raise Refusal("bad_code", given=person[:40])
    with _changing(desk, face_set) as (place, document):
        _require_open(desk, document)
        if len(document["pictures"]) >= MOST_PICTURES:
            raise Refusal("too_many_pictures", most=MOST_PICTURES)
        number = document["next"]
        picture.replace(place / PICTURES / f"{number}.jpg")  # decoded by its content
        document["next"] = number + 1
        document["pictures"][str(number)] = [label, person]
        write_json(place / SET, document)
    return FacePicture(number, label, person)


@router.delete("/face-sets/{face_set}/pictures/{number}", dependencies=[Owner])
def remove_face_picture(face_set: str, number: int, desk: AtDesk) -> FaceSetShown:
    """Take a picture out again."""
    with _changing(desk, face_set) as (place, document):
        _require_open(desk, document)
        if document["pictures"].pop(str(number), None) is None:
            raise Refusal("nothing_there", what=f"{number}")
        (place / PICTURES / f"{number}.jpg").unlink(missing_ok=True)
        write_json(place / SET, document)
    return _shown(desk, place)


@router.get("/face-sets", dependencies=[Owner])
def list_face_sets(desk: AtDesk) -> FaceSets:
    """All sets of pictures with what came of them, newest first."""
    found = []
    for path in sets_folder(desk).glob(f"*/{SET}"):
        with suppress(Refusal):  # deleted meanwhile
            found.append(_shown(desk, path.parent))
    return FaceSets(sorted(found, key=lambda one: one.created, reverse=True))


@router.get("/face-sets/{face_set}", dependencies=[Owner])
def show_face_set(face_set: str, desk: AtDesk) -> FaceSetShown:
    """A set: how many pictures of each class, how far its job is, what came of it."""
    return _shown(desk, _place(desk, face_set))


@router.post("/face-sets/{face_set}/start", status_code=202, dependencies=[Owner])
def start_face_set(face_set: str, desk: AtDesk) -> FaceSetShown:
    """Fit the model to the pictures, or judge it by them, as a job."""
    with _changing(desk, face_set) as (place, document):
        _require_open(desk, document)
        _require_enough(document)
        job = desk.jobs.add(document["what"], None, {"set": face_set})
        document |= {"job": job["id"], "problem": None, "started": now_text()}
        write_json(place / SET, document)
    return _shown(desk, place)


@router.delete("/face-sets/{face_set}", dependencies=[Owner])
def delete_face_set(face_set: str, desk: AtDesk) -> FacesDeleted:
    """Delete a set with its pictures, its result and its model; its job is ended first."""
    _end_job(desk, _document(_place(desk, face_set)))
    with _changing(desk, face_set) as (place, document):
        if chosen_model(desk.folder) == face_set:
            raise Refusal("model_in_use")
        job = _job(desk, document)
        if job is not None and job["state"] in ("queued", "running"):  # begun again meanwhile
            raise Refusal("still_recording")
        files = [path for path in place.rglob("*") if path.is_file()]
        shutil.rmtree(place, ignore_errors=True)
        left = [path for path in files if path.exists()]
        if left or place.exists():
            raise Refusal("still_there", files=", ".join(path.name for path in left[:5]))
        desk.sessions.store.note_down("face_set_deleted", face_set, f"{len(files)} files")
    return FacesDeleted(len(files), True)


@router.post("/face-sets/{face_set}/report", status_code=201, dependencies=[Owner])
def open_face_report(face_set: str, sent: AskedEvaluation, desk: AtDesk) -> Link:
    """A link, good once within a minute, to the report of an evaluation."""
    made = _place(desk, face_set) / MADE
    if not (made / RESULT).is_file():
        raise Refusal("nothing_there", what=Text("report", "보고서"))
    return Link(url=_report_link(desk, made, sent.lang))


def _report_link(desk: Desk, made: Path, lang: Lang) -> str:
    from nunbit.report.page import render_evaluation

    with desk.exporting, incoming(desk) as out:  # the set may be deleted while it is written
        out.mkdir()
        try:
            shutil.copyfile(made / RESULT, out / RESULT)
        except OSError as exc:
            raise Refusal("no_face_set") from exc
        text = render_evaluation(out, lang=lang).read_text(encoding="utf-8")
    headers = {"content-security-policy": f"{REPORT_POLICY} allow-modals"}
    made_page = Response(text, media_type="text/html", headers=headers)
    return f"/open/{desk.tickets.issue(lambda: made_page)}"


@router.post(
    "/evaluations",
    status_code=201,
    dependencies=[Owner],
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
        "type": "object", "required": ["result"],
        "properties": {"result": {"type": "string", "format": "binary"}}}}}}},
)  # fmt: skip
async def open_evaluation(request: Request, desk: AtDesk) -> FaceSetShown:
    """Take up a finished evaluation: the ``result.json`` of its folder."""
    with incoming(desk) as folder:
        limit = {"result": desk.limits["transcript"]}
        got = await receive(request, folder, limit, desk.keep_free_mb)
        if "result" not in got.files:
            raise Refusal("no_media", field="result")
        return await run_in_threadpool(lambda: _opened(desk, got.files["result"][0]))


def _opened(desk: Desk, path: Path) -> FaceSetShown:
    new = f"f-{secrets.token_hex(8)}"
    place = sets_folder(desk) / new
    (place / MADE).mkdir(parents=True)
    try:
        path.replace(place / MADE / RESULT)
        _report_link(desk, place / MADE, "ko")  # it can be shown, or it is refused now
    except Exception as exc:
        shutil.rmtree(place, ignore_errors=True)
        raise Refusal("no_evaluation") from exc
    document = {"id": new, "what": "opened", "created": now_text(), "crops": False, "lang": "ko",
                "next": 1, "pictures": {}, "done": True}  # fmt: skip
    write_json(place / SET, document)
    desk.sessions.store.note_down("evaluation_opened", new)
    return _shown(desk, place)


# -- what a set holds ------------------------------------------------------------------------------


def _require_open(desk: Desk, document: Mapping[str, Any]) -> None:
    if _state(_job(desk, document), document) in ("queued", "running", "done"):
        raise Refusal("face_set_over")


def _require_enough(document: Mapping[str, Any]) -> None:
    pictures = list(document["pictures"].values())
    least = FEWEST[document["what"]]
    if len(pictures) < least:
        raise Refusal("too_few_pictures", n=len(pictures), least=least)
    if len({label for label, _ in pictures}) < 2:
        raise Refusal("one_class")
    if document["what"] == "adapt" and len({person for _, person in pictures if person}) == 1:
        raise Refusal("one_person")


def _job(desk: Desk, document: Mapping[str, Any]) -> Row | None:
    return desk.sessions.store.row("jobs", id=document["job"]) if document.get("job") else None


def _state(job: Row | None, document: Mapping[str, Any]) -> str:
    if document.get("done"):
        return "done"
    if job is None:
        return "collecting"
    return "running" if job["state"] == "done" else str(job["state"])  # its result is being kept


def _end_job(desk: Desk, document: Mapping[str, Any]) -> None:
    job = _job(desk, document)
    if job is not None and job["state"] in ("queued", "running"):
        desk.jobs.cancel_and_wait(job["id"])


def _document(place: Path) -> dict[str, Any]:
    try:
        return dict(read_json(place / SET))
    except InputError as exc:
        if (place / SET).is_file():
            raise
        raise Refusal("no_face_set") from exc


def _shown(desk: Desk, place: Path) -> FaceSetShown:
    document = _document(place)
    job = _job(desk, document)
    pictures = document["pictures"].values()
    counts = document.get("counts") or dict(Counter(label for label, _ in pictures))
    persons = document.get("persons") or len({person for _, person in pictures if person})
    problem = document.get("problem") or (
        json.loads(job["problem"]) if job and job["problem"] else None
    )
    return FaceSetShown(
        place.name, document["what"], document["created"], _state(job, document),
        document["crops"], counts, persons, None if job is None else desk.jobs.outline(job),
        problem, outcome_of(document), (place / MADE / RESULT).is_file(),
    )  # fmt: skip


# -- models ----------------------------------------------------------------------------------------


@router.get("/models", dependencies=[Owner])
def list_analysis_models(desk: AtDesk) -> ModelList:
    """The shipped model and the adapted ones; one is chosen for later analyses."""
    chosen = chosen_model(desk.folder)
    adapted = [
        ModelShown(each.id, each.id == chosen, each.created, each.outcome)
        for each in list_face_sets(desk).sets
        if each.what == "adapt" and each.outcome is not None and each.outcome.written
    ]
    return ModelList([ModelShown(SHIPPED, chosen == SHIPPED, None, None), *adapted])


@router.put("/models", dependencies=[Owner])
def choose_model(sent: ChosenModel, desk: AtDesk) -> ModelList:
    """Choose the model of later analyses; sessions that are there stay as they are."""
    with desk.sessions.store.changing(), WRITING:
        if sent.id != SHIPPED and not (_place(desk, sent.id) / MADE / "bundle.json").is_file():
            raise Refusal("no_model")
        write_json(desk.folder / "model.json", {"chosen": sent.id})
        desk.sessions.store.note_down("model_chosen", sent.id)
    desk.model_changed()
    return list_analysis_models(desk)
