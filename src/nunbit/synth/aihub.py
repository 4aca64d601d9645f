"""Writes a tree like the AI Hub download: two roots, CP949 zips, label files that cover more.

Every zip is written under a temporary name and renamed, and its bytes follow from the settings
alone; a run that was killed goes on with the zips that are missing.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nunbit.errors import InputError, Lang
from nunbit.files import atomic_path, read_json, write_json, write_text, writing
from nunbit.progress import Progress
from nunbit.schema import SYNTHETIC_MARK
from nunbit.synth.expression import EMOTIONS
from nunbit.synth.jpegs import damage, giant_jpeg, truncate
from nunbit.synth.oddities import strange_cases
from nunbit.synth.photo import draw_photo, encode_photo
from nunbit.synth.plan import Plan
from nunbit.synth.records import KOREAN, PARTS, Part, SynthRecord, SynthSettings
from nunbit.workers import Tools, available_cores, run_tasks

__all__ = ["MARK", "TRUTH", "SynthSettings", "write_tree"]

MARK = SYNTHETIC_MARK
"""File in OUT that says it is synthetic and from which settings; not data."""

TRUTH = "nunbit_synth_truth.jsonl"
"""File in OUT with what was drawn, one line per photo; not data."""

_FORMAT = "nunbit-synth-aihub-1"
_ROOT = "한국인 감정인식을 위한 복합 영상"
_SECOND_ROOT = "092.한국인 감정인식을 위한 복합 영상 데이터/01.데이터/2.Validation"
_MOMENT = (2021, 4, 15, 12, 0, 0)  # of every zip member: archives must not depend on the clock


class _Cp949Info(zipfile.ZipInfo):
    """A member whose name is stored as CP949 without the UTF-8 flag, as AI Hub's zips have it."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802  (zipfile's own hook)
        return self.filename.encode("cp949"), self.flag_bits & ~0x800


@dataclass(frozen=True, slots=True)
class _Folder:
    """One class folder to write: a task of a worker."""

    out: Path
    settings: SynthSettings
    part: Part
    label: str


@dataclass(frozen=True, slots=True)
class _Written:
    """What a class folder holds, for the truth file and the summary."""

    part: Part
    label: str
    truth: tuple[str, ...]
    subjects: frozenset[str]
    strange: tuple[tuple[str, str], ...]
    records: int


def write_tree(out: Path, settings: SynthSettings, *, lang: Lang) -> dict[str, Any]:
    """Write a synthetic AI Hub download.

    Args:
        out: Folder; new, empty, or one that an interrupted run with the same settings left.
        settings: What to write.
        lang: Language of the progress lines.

    Returns:
        Plain data: settings, photos and records per part and class, persons, strange cases.

    Raises:
        InputError: ``out`` holds something else or cannot be written, or a worker died.
    """
    document = {"format": _FORMAT, "synthetic": True, "settings": _lasting(settings)}
    _claim(out, document)
    folders = [_Folder(out, settings, part, label) for part in PARTS for label in EMOTIONS]
    total = sum(
        settings.count(f.part) + len(strange_cases(settings, f.part, f.label)) for f in folders
    )
    workers = settings.num_workers or available_cores()
    if total < 64:  # starting a process costs as much as a few dozen photos
        workers = 1
    title = "그림 그리기" if lang == "ko" else "drawing"
    with Progress(title, total, "img", lang=lang) as progress:
        done = run_tasks(_write_folder, folders, num_workers=workers, advance=progress.advance)
        found = {(w.part, w.label): w for w in done}
    written = [found[f.part, f.label] for f in folders]
    write_text(out / TRUTH, "".join(line + "\n" for w in written for line in w.truth))
    document |= _summary(written)
    write_json(out / MARK, document)
    return document


def _summary(written: list[_Written]) -> dict[str, Any]:
    counts: dict[str, Any] = {part: {"photos": {}, "records": {}} for part in PARTS}
    people: dict[str, set[str]] = {part: set() for part in PARTS}
    strange: dict[str, list[str]] = {}
    for folder in written:
        counts[folder.part]["photos"][folder.label] = len(folder.truth)
        counts[folder.part]["records"][folder.label] = folder.records
        people[folder.part] |= folder.subjects
        for note, name in folder.strange:
            strange.setdefault(note, []).append(name)
    persons = {part: len(keys) for part, keys in people.items()}
    persons["shared"] = len(people["train"] & people["validation"])
    return {"counts": counts, "persons": persons, "strange_cases": strange, "truth": TRUTH}


def _write_folder(folder: _Folder, tools: Tools) -> _Written:
    """Draw one class folder, unless it is there already, and write its label file."""
    plan, part, label = Plan(folder.settings), folder.part, folder.label
    photos = plan.records(part, label) + plan.odd(part, label)
    photos = _in_order(photos, plan, part, label)
    images, labels = (folder.out / p for p in _zip_paths(part, label))
    if images.exists():
        tools.advance(len(photos))
    else:
        _write_images(images, folder, photos, tools)
    records = [r for r in photos if r.oddity != "orphan"] + plan.extras(part, label)
    _write_labels(labels, part, label, _in_order(records, plan, part, label))
    archive = images.relative_to(folder.out).as_posix()
    return _Written(
        part=part,
        label=label,
        truth=tuple(_truth_line(r, archive, part) for r in photos),
        subjects=frozenset(r.subject.key for r in photos),
        strange=tuple((r.note, r.file_name) for r in photos if r.note),
        records=len(records),
    )


def _lasting(settings: SynthSettings) -> dict[str, Any]:
    """The settings that decide about bytes."""
    values = asdict(settings)
    del values["num_workers"]
    return values


def _claim(out: Path, document: dict[str, Any]) -> None:
    """Take a new or empty folder, or go on with one of the same settings."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        present = any(out.iterdir())
    mark = out / MARK
    if present and not mark.is_file():
        raise InputError(
            en=f"{out}: is not empty and not from `nunbit synth aihub`; choose another folder",
            ko=f"{out}: 비어 있지 않고 `nunbit synth aihub`이 만든 폴더도 아닙니다. "
            "다른 폴더를 고르십시오",
        )
    if present:
        found = read_json(mark)
        same = isinstance(found, dict) and all(found.get(k) == v for k, v in document.items())
        if not same:
            raise InputError(
                en=f"{out}: holds a synthetic tree made with other settings; delete the folder "
                "or choose another",
                ko=f"{out}: 다른 설정으로 만든 합성 자료가 있습니다. 폴더를 지우거나 다른 폴더를 "
                "고르십시오",
            )
        with writing(out):
            for left in out.rglob(".*.partial"):  # of a run that was killed
                left.unlink()
    else:
        write_json(mark, document)


def _zip_paths(part: Part, label: str) -> tuple[str, str]:
    """Image zip and label zip of a class folder, relative to OUT."""
    name = KOREAN[label]
    if part == "train":
        folder = f"{_ROOT}/Training"
        return (
            f"{folder}/[원천]EMOIMG_{name}_TRAIN_01.zip",
            f"{folder}/[라벨]EMOIMG_{name}_TRAIN.zip",
        )
    if label == "joy":  # the one pair that sits elsewhere, both with the same file name
        return (
            f"{_SECOND_ROOT}/원천데이터_0114_add/EMOIMG_{name}_VALID.zip",
            f"{_SECOND_ROOT}/라벨링데이터_231004_add/EMOIMG_{name}_VALID.zip",
        )
    return (
        f"{_ROOT}/Validation/[원천]EMOIMG_{name}_VALID.zip",
        f"{_ROOT}/Validation/[라벨]EMOIMG_{name}_VALID.zip",
    )


def _in_order(records: list[SynthRecord], plan: Plan, part: Part, label: str) -> list[SynthRecord]:
    """A fixed shuffle: odd cases and records without a photo stand anywhere."""
    row = [plan.settings.seed, 9, PARTS.index(part), list(EMOTIONS).index(label), len(records)]
    return [records[int(k)] for k in np.random.default_rng(row).permutation(len(records))]


def _write_images(path: Path, folder: _Folder, records: list[SynthRecord], tools: Tools) -> None:
    # 기쁨_TRAIN_01 alone has its photos in an inner folder.
    nested = (folder.part, folder.label) == ("train", "joy")
    inner = f"EMOIMG_{KOREAN[folder.label]}_TRAIN_01/" if nested else ""
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        if inner:
            archive.writestr(_info(inner, zipfile.ZIP_STORED), b"")
        for record in records:
            data = file_bytes(record)
            archive.writestr(_info(inner + record.file_name, zipfile.ZIP_STORED), data)
            tools.advance(1)


def _write_labels(path: Path, part: Part, label: str, records: list[SynthRecord]) -> None:
    word = "training" if part == "train" else "validation"
    text = json.dumps([r.document() for r in records], ensure_ascii=False, indent=1)
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        info = _info(f"img_emotion_{word}_data({KOREAN[label]}).json", zipfile.ZIP_DEFLATED)
        archive.writestr(info, text.encode("utf-8"))


def _info(name: str, method: int) -> zipfile.ZipInfo:
    info = _Cp949Info(name, _MOMENT)
    info.compress_type = method
    info.create_system = 0  # made under Windows, whatever this runs on
    return info


def _truth_line(record: SynthRecord, archive: str, part: Part) -> str:
    line = {
        "file": record.file_name,
        "zip": archive,
        "split": part,
        "drawn": record.drawn,
        "uploader": record.uploader,
        "votes": record.votes,
        "subject": record.subject.key,
        "gender": record.subject.person.gender,
        "age": record.subject.person.age,
        "glasses": record.subject.person.glasses is not None,
        "place": record.place,
        "orientation": record.orientation,
        "face_box_xyxy": [round(v, 2) for v in record.face_box],
        "note": record.note,
    }
    return json.dumps(line, ensure_ascii=False)


def file_bytes(record: SynthRecord) -> bytes:
    """The image file of a record; depends on nothing else."""
    photo = record.photo
    if photo is None:
        raise ValueError(f"{record.file_name} has no photo")
    picture = draw_photo(photo)
    if record.oddity == "giant":
        return giant_jpeg(picture, record.zoom, photo.quality)
    if record.zoom > 1:
        size = (picture.width * record.zoom, picture.height * record.zoom)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    data = encode_photo(picture, photo.quality, record.orientation)
    if record.oddity == "truncated":
        return truncate(data)
    return damage(data) if record.oddity == "damaged" else data
