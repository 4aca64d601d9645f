"""Plans and writes a tree like the AI Hub download: two roots, CP949 zips, label files.

All follows from the seed, record by record, before a pixel is drawn; so label files, truth and
pictures can be made in any order and by any number of processes. Every zip is written under a
temporary name and renamed, and its bytes follow from the settings alone; a run that was killed goes
on with the zips that are missing.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nunbit.core.messages import InputError, Text
from nunbit.core.schema import SYNTHETIC_MARK, Box
from nunbit.core.spans import lists_by_key
from nunbit.runtime.claims import remove_left
from nunbit.runtime.files import atomic_path, read_json, write_json, write_text, writing
from nunbit.runtime.progress import Progress
from nunbit.runtime.workers import Tools, available_cores, run_tasks
from nunbit.synth.actors import EMOTIONS, TILTS, DrawnPerson, blend, expression_of, sample_person
from nunbit.synth.aihub_records import (
    KOREAN,
    PARTS,
    PLACES,
    UNKNOWN,
    Annotation,
    Part,
    Subject,
    SynthRecord,
    SynthSettings,
    damage,
    gender_of,
    giant_jpeg,
    sample_boxes,
    sample_votes,
    strange_cases,
)
from nunbit.synth.drawn_photo import DrawnPhoto, draw_photo, encode_photo, sample_photo

_PLACE_SHARE = (0.11, 0.09, 0.11, 0.042, 0.08, 0.11, 0.10, 0.11, 0.063, 0.185)
_TAGS = (1, 3, 0, 4, 8, 2, 6, 5, 7)
_TAG_SHARE = (0.595, 0.252, 0.086, 0.058, 0.004, 0.004, 0.0004, 0.0003, 0.0003)
# First word of every seed, so that no two kinds of draw share a stream.
_PEOPLE, _RECORDS, _UNSEEN, _ODD, _EXTRA = 1, 2, 3, 4, 5


class TreePlan:
    """All records of a tree, made class by class on request.

    Args:
        settings: What to write.
    """

    def __init__(self, settings: SynthSettings) -> None:
        self.settings = settings
        labels = len(EMOTIONS)
        seen = settings.persons or max(8, labels * settings.per_class // 10)
        unseen = max(6, labels * settings.count("validation") // 8)
        self.seen = [self._subject(_PEOPLE, k) for k in range(seen)]
        self.unseen = [self._subject(_UNSEEN, k) for k in range(unseen)]

    def records(self, part: Part, label: str) -> list[SynthRecord]:
        """Ordinary records with a photo, of one class folder."""
        count, row = self.settings.count(part), _row(part, label)
        rng = np.random.default_rng([self.settings.seed, _RECORDS, row])
        known = round(self.settings.shared * count) if part == "validation" else count
        pools = [self.seen] * known + [self.unseen] * (count - known)
        turns = {id(pool): rng.permutation(len(pool)) for pool in (self.seen, self.unseen)}
        subjects = [pool[int(turns[id(pool)][k % len(pool)])] for k, pool in enumerate(pools)]
        return [self._record((_RECORDS, row, k), s, label) for k, s in enumerate(subjects)]

    def extras(self, part: Part, label: str) -> list[SynthRecord]:
        """Records whose photos would be in the parts that are not there."""
        if part == "validation":
            return []
        count, row = round(self.settings.extra_records * self.settings.per_class), _row(part, label)
        rng = np.random.default_rng([self.settings.seed, _EXTRA, row])
        made = (self._record((_EXTRA, row, k), self._anybody(rng), label) for k in range(count))
        return [replace(record, photo=None) for record in made]

    def odd(self, part: Part, label: str) -> list[SynthRecord]:
        """The strange cases of one class folder."""
        row, made = _row(part, label), []
        for k, change in enumerate(strange_cases(self.settings, part, label)):
            rng = np.random.default_rng([self.settings.seed, _ODD, row, k])
            made.append(change.apply(self._record((_ODD, row, k), self._anybody(rng), label)))
        return made

    def _anybody(self, rng: np.random.Generator) -> Subject:
        return self.seen[int(rng.integers(len(self.seen)))]

    def _subject(self, kind: int, number: int) -> Subject:
        rng = np.random.default_rng([self.settings.seed, kind, number])
        text = f"nunbit synth {self.settings.seed} {kind} {number}"
        return Subject(
            key=hashlib.sha256(text.encode()).hexdigest(),
            person=sample_person(rng),
            professional=bool(rng.random() < 0.48),
            habit=int(rng.choice(_TAGS, p=_TAG_SHARE)),
        )

    def _record(self, seed: tuple[int, int, int], subject: Subject, label: str) -> SynthRecord:
        rng = np.random.default_rng([self.settings.seed, *seed])
        votes = sample_votes(label, rng)
        drawn = votes[0]
        photo_rng = np.random.default_rng([self.settings.seed, *seed, 1])
        place, code, scene = PLACES[int(rng.choice(len(PLACES), p=_PLACE_SHARE))]
        photo = _photo(votes, subject.person, scene, self.settings.photo_width, photo_rng)
        if rng.random() < 0.004:
            k = int(rng.integers(1, 3))
            votes = (votes[0], UNKNOWN, votes[2]) if k == 1 else (votes[0], votes[1], UNKNOWN)
        tag = subject.habit if rng.random() < 0.6 else int(rng.choice(_TAGS, p=_TAG_SHARE))
        suffix = "jpeg" if rng.random() < 0.0145 else "jpg"
        name = _file_name(subject, label, place, code, seed, suffix)
        notes = tuple(_annotation(v, photo.box_xyxy, place, rng) for v in votes)
        if rng.random() < 0.05:  # annotators often left the model's pre-drawn box as it was
            notes[1]["boxes"] = dict(notes[0]["boxes"])
        return SynthRecord(
            file_name=name,
            subject=subject,
            uploader=label,
            votes=votes,
            drawn=drawn,
            place=place,
            photo=photo,
            annotations=(notes[0], notes[1], notes[2]),
            orientation=tag,
        )


def _row(part: Part, label: str) -> int:
    return PARTS.index(part) * len(EMOTIONS) + list(EMOTIONS).index(label)


def _photo(
    votes: tuple[str, str, str],
    person: DrawnPerson,
    scene: str,
    width: int,
    rng: np.random.Generator,
) -> DrawnPhoto:
    """A's vote is what the face shows; a dissenting vote leaves a trace of itself in it."""
    intensity = float(np.clip(rng.normal(0.85, 0.17), 0.45, 1.15))
    main = expression_of(votes[0], rng, intensity)
    others = [(expression_of(v, rng, intensity), 0.15) for v in votes[1:] if v != votes[0]]
    mixed = blend([(main, 1.0 - 0.15 * len(others)), *others])
    return sample_photo(person, mixed, scene, width, rng, tilt=TILTS[votes[0]])


def _file_name(
    subject: Subject, label: str, place: str, code: int, seed: tuple[int, int, int], suffix: str
) -> str:
    kind, row, number = seed
    # Kind and class shift the clock, so no two records of a tree share a time.
    moment = datetime(2020, 11, 2, 9) + timedelta(days=20 * row + 3 * kind, seconds=97 * number)
    person = subject.person
    spot = place.replace("/", "&")
    return (
        f"{subject.key}_{gender_of(person)}_{person.age}_{KOREAN[label]}_{spot}_"
        f"{moment:%Y%m%d%H%M%S}-{code:03d}-{number % 999 + 1:03d}.{suffix}"
    )


def _annotation(vote: str, box: Box, place: str, rng: np.random.Generator) -> Annotation:
    spelled = place if rng.random() < 0.9 else place.replace("의료시설", "의료")
    return {"boxes": sample_boxes(box, rng), "faceExp": KOREAN.get(vote, vote), "bg": spelled}


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


def write_tree(out: Path, settings: SynthSettings) -> dict[str, Any]:
    """Write a synthetic AI Hub download.

    Args:
        out: Folder; new, empty, or one that an interrupted run with the same settings left.
        settings: What to write.

    Returns:
        Plain data: settings, photos and records per part and class, persons, strange cases.

    Raises:
        InputError: ``out`` holds something else or cannot be written, or a worker died.
    """
    lasting = {k: v for k, v in asdict(settings).items() if k != "num_workers"}  # of no byte
    document = {"format": _FORMAT, "synthetic": True, "settings": lasting}
    _claim(out, document)
    folders = [_Folder(out, settings, part, label) for part in PARTS for label in EMOTIONS]
    total = sum(
        settings.count(f.part) + len(strange_cases(settings, f.part, f.label)) for f in folders
    )
    # Starting a process costs as much as a few dozen photos.
    workers = 1 if total < 64 else settings.num_workers or available_cores()
    with Progress(Text("drawing", "그림 그리기"), total, "img") as progress:
        done = run_tasks(_write_folder, folders, num_workers=workers, advance=progress.advance)
        found = {(w.part, w.label): w for w in done}
    written = [found[f.part, f.label] for f in folders]
    write_text(out / TRUTH, "".join(line + "\n" for w in written for line in w.truth))
    document |= _summary(written)
    write_json(out / MARK, document)
    return document


def _summary(written: list[_Written]) -> dict[str, Any]:
    folders = {part: [w for w in written if w.part == part] for part in PARTS}
    counts = {
        part: {
            "photos": {w.label: len(w.truth) for w in inside},
            "records": {w.label: w.records for w in inside},
        }
        for part, inside in folders.items()
    }
    people = {part: set().union(*(w.subjects for w in found)) for part, found in folders.items()}
    persons: dict[str, int] = {part: len(keys) for part, keys in people.items()}
    persons["shared"] = len(people["train"] & people["validation"])
    strange = lists_by_key(case for w in written for case in w.strange)
    return {"counts": counts, "persons": persons, "strange_cases": strange, "truth": TRUTH}


def _write_folder(folder: _Folder, tools: Tools) -> _Written:
    """Draw one class folder, unless it is there already, and write its label file."""
    plan, part, label = TreePlan(folder.settings), folder.part, folder.label
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


def _claim(out: Path, document: dict[str, Any]) -> None:
    """Take a new or empty folder, or go on with one of the same settings."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        present = any(out.iterdir())
    mark = out / MARK
    if present and not mark.is_file():
        raise InputError(
            Text(
                f"{out}: is not empty and not from `nunbit synth aihub`; choose another folder",
                f"{out}: 비어 있지 않고 `nunbit synth aihub`이 만든 폴더도 아닙니다. "
                "다른 폴더를 고르십시오",
            )
        )
    if present:
        found = read_json(mark)
        if not (isinstance(found, dict) and all(found.get(k) == v for k, v in document.items())):
            raise InputError(
                Text(
                    f"{out}: holds a synthetic tree made with other settings; delete the folder "
                    "or choose another",
                    f"{out}: 다른 설정으로 만든 합성 자료가 있습니다. 폴더를 지우거나 다른 폴더를 "
                    "고르십시오",
                )
            )
        remove_left(out, deep=True)
    else:
        write_json(mark, document)


def _zip_paths(part: Part, label: str) -> tuple[str, str]:
    """Image zip and label zip of a class folder, relative to OUT."""
    name = KOREAN[label]
    if part == "train":
        return (
            f"{_ROOT}/Training/[원천]EMOIMG_{name}_TRAIN_01.zip",
            f"{_ROOT}/Training/[라벨]EMOIMG_{name}_TRAIN.zip",
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


def _in_order(
    records: list[SynthRecord], plan: TreePlan, part: Part, label: str
) -> list[SynthRecord]:
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
            archive.writestr(
                _info(inner + record.file_name, zipfile.ZIP_STORED), file_bytes(record)
            )
            tools.advance(1)


def _write_labels(path: Path, part: Part, label: str, records: list[SynthRecord]) -> None:
    word = "training" if part == "train" else "validation"
    info = _info(f"img_emotion_{word}_data({KOREAN[label]}).json", zipfile.ZIP_DEFLATED)
    text = json.dumps([r.document() for r in records], ensure_ascii=False, indent=1)
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(info, text.encode("utf-8"))


def _info(name: str, method: int) -> zipfile.ZipInfo:
    info = _Cp949Info(name, _MOMENT)
    info.compress_type = method
    info.create_system = 0  # made under Windows, whatever this runs on
    return info


def _truth_line(record: SynthRecord, archive: str, part: Part) -> str:
    person = record.subject.person
    line = {
        "file": record.file_name,
        "zip": archive,
        "split": part,
        "drawn": record.drawn,
        "uploader": record.uploader,
        "votes": record.votes,
        "subject": record.subject.key,
        "gender": person.gender,
        "age": person.age,
        "glasses": person.glasses is not None,
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
        return data[: int(len(data) * 0.6)]  # as an interrupted copy leaves it
    return damage(data) if record.oddity == "damaged" else data
