"""The work on labelled face pictures, in a child process, and the model of later analyses.

A set of pictures is a folder ``DATA/faces/ID``: ``set.json`` with class and person of every
picture, the pictures under numbers, and in ``made`` what came of them: an adapted bundle or an
evaluation. Knows no HTTP besides the refusals that it raises.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nunbit.app.access import Refusal
from nunbit.app.children import CHILD
from nunbit.app.jobs import LENGTH_FILE
from nunbit.app.store import Row
from nunbit.core.messages import NunbitError, Text
from nunbit.runtime.files import json_text, read_json, write_json

SHIPPED = "shipped"
FACE_JOBS = ("adapt", "evaluate")
SET, RESULT, PICTURES, MADE = "set.json", "result.json", "pictures", "made"
WRITING = threading.Lock()
"""Held while ``set.json`` of a set is changed; who needs the database beside it takes that first,
as the end of a job does."""

_KEPT_DAYS = 7  # of pictures that nothing was done with
_EVALUATE = "from nunbit.app.face_work import run_evaluation; run_evaluation()"


@dataclass(frozen=True, slots=True)
class ScoreShown:
    """A share with its 95% interval, where one can be given."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class FaceOutcome:
    """What came of a set.

    ``hits`` is the share of right answers, ``recall`` the mean over classes; ``after`` is judged on
    persons that took no part in the fit. ``written`` says whether there is a new model; ``reason``
    why not; ``limits`` what speaks against the figures.
    """

    written: bool
    images: int
    persons: int | None
    hits_before: ScoreShown | None
    hits_after: ScoreShown | None
    recall_before: ScoreShown | None
    recall_after: ScoreShown | None
    reason: dict[str, str] | None
    limits: list[dict[str, str]]


def outcome_of(document: Mapping[str, Any]) -> FaceOutcome | None:
    """What came of a set; None where nothing has yet."""
    found = document.get("outcome")
    if not found:
        return None
    tried = (found.get("tried") or {}).get("after")
    after = found.get("after") if found["written"] else tried
    before = found["before"]
    return FaceOutcome(
        found["written"], found["n_images"], found["n_persons"],
        _score(before, "top1"), _score(after, "top1"), _score(before, "uar"), _score(after, "uar"),
        found["reason"], found["limits"],
    )  # fmt: skip


def _score(scores: Mapping[str, Any] | None, name: str) -> ScoreShown | None:
    if not scores:
        return None
    low, high = (scores.get("ci95") or {}).get(name) or (None, None)
    return ScoreShown(scores[name], low, high)


# -- the job ---------------------------------------------------------------------------------------


def face_command(folder: Path, row: Row, base: Path | None) -> list[str]:
    """The command of a job on a set, as arguments of Python."""
    place = folder / "faces" / json.loads(row["options"])["set"]
    document = read_json(place / SET)
    made = place / MADE
    shutil.rmtree(made, ignore_errors=True)  # of a job that was cut off
    if row["kind"] == "evaluate":
        return ["-c", _EVALUATE, str(place), "" if base is None else str(base)]
    from nunbit.model.bundle import find_bundle

    table = place / "table.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "subject"))
        writer.writerows(
            (f"{PICTURES}/{number}.jpg", label, person)
            for number, (label, person) in document["pictures"].items()
        )
    crops = ["--crops"] if document["crops"] else []
    beside = folder / "jobs" / row["id"] / LENGTH_FILE
    return ["-c", CHILD, str(beside), "", "adapt", str(find_bundle(base)), str(table), "--out",
            str(made), "--json", "--lang", document["lang"], *crops]  # fmt: skip


def face_job_ended(folder: Path, row: Row, state: str, told: dict[str, Any] | None) -> None:
    """Keep what a job on a set has come to; its pictures are erased where it is done."""
    place = folder / "faces" / json.loads(row["options"])["set"]
    with WRITING:
        if not (place / SET).is_file():  # deleted
            return
        document = read_json(place / SET)
        if state != "done" or told is None:
            document["problem"] = row["problem"]
            write_json(place / SET, document)
            return
        shutil.rmtree(place / PICTURES, ignore_errors=True)
        shutil.rmtree(place / "data", ignore_errors=True)
        (place / "table.csv").unlink(missing_ok=True)
        pictures = document["pictures"].values()
        document |= {
            "done": True, "outcome": told, "pictures": {},
            "counts": dict(Counter(label for label, _ in pictures)),
            "persons": len({person for _, person in pictures if person}),
        }  # fmt: skip
        write_json(place / SET, document)


def erase_old_sets(folder: Path) -> None:
    """Erase pictures with which nothing was done for a week."""
    least = (datetime.now(UTC) - timedelta(days=_KEPT_DAYS)).isoformat(timespec="milliseconds")
    for path in (folder / "faces").glob(f"*/{SET}"):
        with WRITING:
            document = read_json(path) if path.is_file() else {"done": True}
            touched = str(document.get("started") or document.get("created"))
            if not document.get("done") and touched < least:
                shutil.rmtree(path.parent, ignore_errors=True)


def run_evaluation() -> None:
    """Judge a model by the pictures of a set; ``sys.argv``: its folder, the bundle's or ''."""
    place, bundle = Path(sys.argv[1]), sys.argv[2]
    try:
        document = _evaluated(place, Path(bundle) if bundle else None)
    except NunbitError as exc:
        document = {"error": exc.text.to_dict()}
    print(json_text(document))  # noqa: T201  (the app reads it)


def _evaluated(place: Path, bundle: Path | None) -> dict[str, Any]:
    from nunbit.model.bundle import find_bundle
    from nunbit.model.encoders import load_bundle
    from nunbit.report.page import render_evaluation
    from nunbit.stories.evaluate import evaluate
    from nunbit.stories.evaluate.assess import EvaluateSettings
    from nunbit.stories.prepare import PrepareSettings, prepare

    document = read_json(place / SET)
    path = find_bundle(bundle)
    labels = load_bundle(path, threads=1).label_set
    table, missed = place / "table.csv", 0
    with table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "subject", "split", "x0", "y0", "x1", "y1"))
        for number, label, person, box in _boxed(place, document):
            missed += box is None
            if box is not None:
                name = f"{PICTURES}/{number}.jpg"
                writer.writerow((name, label, person or f"?{number}", "test", *box))
    data, made = place / "data", place / MADE
    shutil.rmtree(data, ignore_errors=True)
    prepare([table], data, PrepareSettings(kind="table", label_set=labels.name, num_workers=1))
    result = evaluate(data, path, made, EvaluateSettings(split="test")).document
    render_evaluation(made, lang=document["lang"])
    shutil.rmtree(data, ignore_errors=True)
    limits = [] if not missed else [_NO_FACE.fill(n=missed).to_dict()]
    persons = len({person for _, person in document["pictures"].values() if person})
    scores = {name: result[name] for name in ("top1", "uar", "ci95")}
    return {"written": False, "n_images": result["n"], "n_persons": persons or None,
            "before": scores, "after": None, "reason": None, "limits": limits}  # fmt: skip


_NO_FACE = Text("no face was found in {n} pictures, which were left out",
                "사진 {n}장에서 얼굴을 찾지 못해 뺐습니다")  # fmt: skip


def _boxed(
    place: Path, document: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, tuple[Any, ...] | None]]:
    """Number, class, person and box of the largest face; crops are taken whole."""
    from nunbit.pictures.faces import detect_faces, end_detector_process
    from nunbit.pictures.photos import read_photo

    for number, (label, person) in document["pictures"].items():
        if document["crops"]:
            yield number, label, person, ("", "", "", "")
            continue
        faces = detect_faces(read_photo(place / PICTURES / f"{number}.jpg").pixels)
        yield number, label, person, faces[0].box_xyxy if faces else None
    end_detector_process()


# -- models ----------------------------------------------------------------------------------------


def chosen_model(folder: Path) -> str:
    """Id of the model of later analyses."""
    path = folder / "model.json"
    found = read_json(path).get("chosen", SHIPPED) if path.is_file() else SHIPPED
    there = found != SHIPPED and (folder / "faces" / found / MADE / "bundle.json").is_file()
    return str(found) if there else SHIPPED


def model_folder(folder: Path, base: Path | None) -> Path | None:
    """Folder of the model of later analyses; None for the shipped one."""
    chosen = chosen_model(folder)
    return base if chosen == SHIPPED else folder / "faces" / chosen / MADE


def model_of(folder: Path, base: Path | None, summary: Mapping[str, Any]) -> Path | None:
    """Folder of the model that a session was analysed with.

    Raises:
        Refusal: It is not there any more, so nothing of the session can be made anew.
    """
    from nunbit.model.bundle import BUNDLE_FILE, find_bundle
    from nunbit.runtime.files import sha256_file

    wanted = str((summary.get("bundle") or {}).get("hash") or "")
    adapted = [path.parent for path in (folder / "faces").glob(f"*/{MADE}/{BUNDLE_FILE}")]
    for path in (base, *adapted):
        if not wanted or sha256_file(find_bundle(path) / BUNDLE_FILE).startswith(wanted):
            return path
    raise Refusal("model_gone")
