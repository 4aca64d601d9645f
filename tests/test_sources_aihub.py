"""The AI Hub source against every trait of the real download, on tiny trees built here."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import subprocess
import sys
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nunbit.core.messages import InputError, SettingsError
from nunbit.core.schema import FaceRecord, ImageRef
from nunbit.datasets import aihub_labels
from nunbit.datasets.aihub_labels import folder_traits, parse_photo_name
from nunbit.datasets.archives import (
    ReadError,
    distinct_record_id,
    read_image_bytes,
    record_id_from,
    repair_name,
)
from nunbit.datasets.scan import Listing
from nunbit.datasets.sources import read_source
from nunbit.language.labels import load_label_set

AIHUB7 = load_label_set("aihub7")
P1, P2, P3 = ("0a" * 32, "1B" * 32, "2c" * 32)
PLACE = "공공시설/종교/의료시설"


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (200, 150, 120)).save(buffer, "JPEG")
    return buffer.getvalue()


JPEG = _jpeg()


@dataclass(frozen=True)
class Photo:
    """One photo and its label entry, as the release has them."""

    person: str = P1
    gender: str = "여"
    age: int = 30
    label: str = "기쁨"
    place: str = PLACE
    number: int = 1
    suffix: str = "jpg"
    votes: tuple[str, str, str] = ("기쁨", "기쁨", "중립")
    box: tuple[float, float, float, float] = (1187.25, 579.0625, 1912.5, 1582.125)

    @property
    def name(self) -> str:
        place = self.place.replace("/", "&")
        who = f"{self.person}_{self.gender}_{self.age}_{self.label}_{place}"
        return f"{who}_20210126165538-001-{self.number:03d}.{self.suffix}"

    @property
    def record_id(self) -> str:
        return self.name.rpartition(".")[0]

    def entry(self, **changes: Any) -> dict[str, Any]:
        x0, y0, x1, y1 = self.box
        entry: dict[str, Any] = {
            "filename": self.name,
            "gender": self.gender,
            "age": self.age,
            "isProf": "전문인",
            "faceExp_uploader": self.label,
            "bg_uploader": self.place,
        }
        for shift, (letter, vote) in enumerate(zip("ABC", self.votes, strict=True)):
            boxes = {"maxX": x1 + shift, "maxY": y1, "minX": x0 + shift, "minY": y0}
            entry[f"annot_{letter}"] = {"boxes": boxes, "faceExp": vote, "bg": self.place}
        return {k: v for k, v in (entry | changes).items() if v is not ...}


class Cp949Info(zipfile.ZipInfo):
    """A member whose name is CP949 without the UTF-8 flag, as in the real zips."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("cp949"), self.flag_bits & ~0x800


class Utf8Info(zipfile.ZipInfo):
    """UTF-8 bytes without the flag, as macOS's archiver writes them."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("utf-8"), self.flag_bits & ~0x800


def write_zip(
    path: Path, members: dict[str, bytes], info: Callable[[str], zipfile.ZipInfo] = Cp949Info
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(info(name), data)


def labels_json(entries: Iterable[dict[str, Any]]) -> bytes:
    return json.dumps(list(entries), ensure_ascii=False).encode()


def write_tree(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def train(root: Path, photos: list[Photo], extra: list[Photo] | None = None) -> None:
    """A TRAIN_01 image zip and its label zip, which also covers ``extra`` photos."""
    label = photos[0].label
    entries = [p.entry() for p in [*photos, *(extra or [])]]
    write_zip(
        root / "Training" / f"[원천]EMOIMG_{label}_TRAIN_01.zip", {p.name: JPEG for p in photos}
    )
    write_zip(
        root / "Training" / f"[라벨]EMOIMG_{label}_TRAIN.zip",
        {f"img_emotion_training_data({label}).json": labels_json(entries)},
    )


def valid(root: Path, photos: list[Photo]) -> None:
    label = photos[0].label
    write_zip(
        root / "Validation" / f"[원천]EMOIMG_{label}_VALID.zip", {p.name: JPEG for p in photos}
    )
    write_zip(
        root / "Validation" / f"[라벨]EMOIMG_{label}_VALID.zip",
        {f"img_emotion_validation_data({label}).json": labels_json(p.entry() for p in photos)},
    )


def read(*paths: Path, kind: str | None = None, lang: str = "en") -> Listing:
    listing = read_source(paths, kind, AIHUB7)
    assert all(said.en != said.ko for said in listing.notes)
    return replace(listing, notes=tuple(pair.pick(lang) for pair in listing.notes))


def reasons(listing: Listing) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reject in listing.rejects:
        counts[reject.reason] = counts.get(reject.reason, 0) + 1
    return counts


def only(listing: Listing) -> FaceRecord:
    assert len(listing.records) == 1
    return listing.records[0]


# One row per trait of the real data: a function that builds the tree, reads it and checks it.
TRAITS: list[Callable[[Path], None]] = []


def trait(check: Callable[[Path], None]) -> Callable[[Path], None]:
    TRAITS.append(check)
    return check


@pytest.mark.parametrize("check", TRAITS, ids=lambda f: f.__name__)
def test_trait(check: Callable[[Path], None], tmp_path: Path) -> None:
    check(tmp_path / "한국인 감정인식을 위한 복합 영상")


@trait
def zips_are_read_in_place(root: Path) -> None:
    train(root, [Photo()])
    before = sorted(p.name for p in root.rglob("*"))
    record = only(read(root))
    assert record.image.path.endswith("TRAIN_01.zip")
    assert read_image_bytes(record.image) == JPEG
    assert sorted(p.name for p in root.rglob("*")) == before


@trait
def unpacked_trees(root: Path) -> None:
    photo = Photo()
    write_tree(root / "Training", {f"EMOIMG_기쁨_TRAIN_01/{photo.name}": JPEG})
    write_tree(
        root / "Training",
        {"EMOIMG_기쁨_TRAIN/img_emotion_training_data(기쁨).json": labels_json([photo.entry()])},
    )
    record = only(read(root))
    assert record.image.member is None
    assert record.image.source_path == f"Training/EMOIMG_기쁨_TRAIN_01/{photo.name}"
    assert read_image_bytes(record.image) == JPEG


@trait
def zips_and_trees_mixed(root: Path) -> None:
    zipped, plain = Photo(number=1), Photo(number=2)
    train(root, [zipped], extra=[plain])
    write_tree(root / "Training" / "EMOIMG_기쁨_TRAIN_02", {plain.name: JPEG})
    listing = read(root)
    assert {r.record_id for r in listing.records} == {zipped.record_id, plain.record_id}
    assert set(listing.raw_counts["images_by_part"]) == {"TRAIN_01", "TRAIN_02"}


@trait
def joy_valid_pair_of_one_name_in_the_second_root(root: Path) -> None:
    train(root, [Photo(number=1)])
    photo = Photo(number=2)
    second = root.parent / "092.한국인 감정인식을 위한 복합 영상 데이터/01.데이터/2.Validation"
    write_zip(
        second / "라벨링데이터_231004_add/EMOIMG_기쁨_VALID.zip",
        {"img_emotion_validation_data(기쁨).json": labels_json([photo.entry()])},
    )
    write_zip(second / "원천데이터_0114_add/EMOIMG_기쁨_VALID.zip", {photo.name: JPEG})
    listing = read(root, root.parent / "092.한국인 감정인식을 위한 복합 영상 데이터")
    assert [r.split for r in listing.records] == ["train", "validation"]
    assert listing.raw_counts["images_by_part"]["VALID"] == {"joy": 1}
    assert not listing.rejects
    # The same when the two zips are given by name.
    pair = sorted(second.rglob("*.zip"))
    assert only(read(*pair)).split == "validation"


@trait
def newer_tree_with_underscores(root: Path) -> None:
    photo = Photo()
    base = root / "092.한국인_감정인식을_위한_복합_영상_데이터/01.데이터/1.Training"
    write_tree(base / "원천데이터/기쁨", {photo.name: JPEG})
    write_tree(base / "라벨링데이터", {"기쁨.json": labels_json([photo.entry()])})
    listing = read(root)
    assert only(listing).split == "train"
    assert listing.raw_counts["images_by_part"] == {"TRAIN": {"joy": 1}}


@trait
def inner_folder_in_an_image_zip(root: Path) -> None:
    inner, beside = Photo(number=1), Photo(number=2)
    members = {
        "EMOIMG_기쁨_TRAIN_01/": b"",
        f"EMOIMG_기쁨_TRAIN_01/{inner.name}": JPEG,
        beside.name: JPEG,
    }
    write_zip(root / "[원천]EMOIMG_기쁨_TRAIN_01.zip", members)
    write_tree(
        root,
        {"img_emotion_training_data(기쁨).json": labels_json([inner.entry(), beside.entry()])},
    )
    listing = read(root)
    assert len(listing.records) == 2
    assert listing.raw_counts["images_by_part"] == {"TRAIN_01": {"joy": 2}}
    assert all(read_image_bytes(r.image) == JPEG for r in listing.records)


@trait
def cp949_member_names_without_flag(root: Path) -> None:
    photo = Photo()
    train(root, [photo])
    record = only(read(root))
    assert record.record_id == photo.record_id
    assert record.image.source_path == f"Training/[원천]EMOIMG_기쁨_TRAIN_01.zip!{photo.name}"
    assert record.image.member == photo.name.encode("cp949").decode("cp437")  # raw, to open it
    assert (record.gender, record.uploader_label) == ("여", "joy")


@trait
def member_names_that_are_fine_are_left_alone(root: Path) -> None:
    for number, info in enumerate((zipfile.ZipInfo, Utf8Info)):
        photo = Photo(number=number)
        folder = root / str(number)
        write_zip(folder / "EMOIMG_기쁨_TRAIN_01.zip", {photo.name: JPEG}, info)
        write_zip(
            folder / "l.zip",
            {"img_emotion_training_data(기쁨).json": labels_json([photo.entry()])},
            info,
        )
        record = only(read(folder))
        assert record.image.source_path.endswith(f"!{photo.name}")
        assert read_image_bytes(record.image) == JPEG


@trait
def nfd_names_in_trees_zips_and_json(root: Path) -> None:
    disk, zipped, label = Photo(number=1), Photo(number=2), Photo(number=3)
    nfd = [unicodedata.normalize("NFD", p.name) for p in (disk, zipped, label)]
    assert nfd[0] != disk.name
    write_tree(
        root / unicodedata.normalize("NFD", "EMOIMG_기쁨_TRAIN_01"),
        {nfd[0]: JPEG, label.name: JPEG},
    )
    write_zip(root / "EMOIMG_기쁨_TRAIN_02.zip", {nfd[1]: JPEG}, zipfile.ZipInfo)
    entries = [disk.entry(), zipped.entry(), label.entry(filename=nfd[2])]
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json(entries)})
    listing = read(root)
    assert {r.record_id for r in listing.records} == {p.record_id for p in (disk, zipped, label)}
    assert all(unicodedata.is_normalized("NFC", r.image.source_path) for r in listing.records)
    assert all(read_image_bytes(r.image) == JPEG for r in listing.records)


@trait
def mojibake_on_disk(root: Path) -> None:
    photo = Photo()
    garbled = photo.name.encode("cp949").decode("cp437")
    write_tree(root / "EMOIMG_TRAIN_01", {garbled: JPEG})
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json([photo.entry()])})
    record = only(read(root))
    assert record.image.source_path == f"EMOIMG_TRAIN_01/{photo.name}"
    assert read_image_bytes(record.image) == JPEG


@trait
def suffixes_in_any_case(root: Path) -> None:
    photos = [
        Photo(number=k, suffix=s) for k, s in enumerate(("jpg", "jpeg", "JPG", "JPEG", "Jpg"))
    ]
    train(root, photos)
    listing = read(root)
    assert sorted(r.record_id for r in listing.records) == sorted(p.record_id for p in photos)


@trait
def json_with_bom(root: Path) -> None:
    photo = Photo()
    write_tree(root / "EMOIMG_기쁨_TRAIN_01", {photo.name: JPEG})
    data = b"\xef\xbb\xbf" + labels_json([photo.entry()])
    write_tree(root, {"img_emotion_training_data(기쁨).json": data})
    assert only(read(root)).record_id == photo.record_id


@trait
def label_file_covers_parts_that_are_not_here(root: Path) -> None:
    train(root, [Photo(number=1)], extra=[Photo(number=k) for k in range(2, 5)])
    listing = read(root)
    assert len(listing.records) == 1
    assert not listing.rejects
    assert listing.raw_counts["label_records"] == {"train": {"joy": 4}}
    assert listing.raw_counts["label_records_without_image"] == 3
    assert any("3 label entries have no image" in note for note in listing.notes)


@trait
def labels_come_from_all_files_not_per_folder(root: Path) -> None:
    # The photo lies with 기쁨, its entry in the file of 슬픔.
    photo = Photo(label="슬픔")
    write_zip(root / "[원천]EMOIMG_기쁨_TRAIN_01.zip", {photo.name: JPEG})
    write_tree(root, {"img_emotion_training_data(슬픔).json": labels_json([photo.entry()])})
    assert only(read(root)).uploader_label == "sadness"


@trait
def image_without_entry_is_a_reject(root: Path) -> None:
    train(root, [Photo(number=1)])
    stray = Photo(number=9, label="상처")
    write_tree(root / "Training" / "EMOIMG_상처_TRAIN_01", {stray.name: JPEG})
    listing = read(root)
    assert len(listing.records) == 1
    (reject,) = listing.rejects
    assert (reject.reason, reject.file) == (
        "no_record",
        f"Training/EMOIMG_상처_TRAIN_01/{stray.name}",
    )
    assert listing.raw_counts["images_by_part"]["TRAIN_01"] == {"joy": 1, "hurt": 1}
    assert "1 images have no entry" in listing.notes[0]


@trait
def entry_that_occurs_twice(root: Path) -> None:
    photo = Photo()
    train(root, [photo], extra=[photo])
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json([photo.entry()])})
    listing = read(root)
    assert len(listing.records) == 1
    assert listing.raw_counts["label_records_repeated"] == 2
    assert listing.raw_counts["label_records"] == {"train": {"joy": 1}}


@trait
def entries_that_contradict_each_other(root: Path) -> None:
    train(root, [Photo(number=1), Photo(number=2)])
    changed = replace(Photo(number=2), votes=("슬픔", "슬픔", "슬픔")).entry()
    write_tree(root / "old", {"img_emotion_training_data(기쁨).json": labels_json([changed])})
    listing = read(root)
    assert only(listing).record_id == Photo(number=1).record_id
    assert reasons(listing) == {"conflicting_records": 1}


@trait
def cannot_tell_is_a_null_vote(root: Path) -> None:
    train(root, [Photo(votes=("알수없음", "슬픔", "기쁨 "))])
    listing = read(root)
    assert only(listing).votes == (None, "sadness", "joy")
    assert listing.vote_names == ("annot_a", "annot_b", "annot_c")
    assert listing.raw_counts["records_with_null_vote"] == 1


@trait
def float_boxes_verbatim(root: Path) -> None:
    box = (684.1234567890123, -3.5, 1136.000000000001, 99999.25)
    train(root, [Photo(box=box)])
    record = only(read(root))
    assert record.box_xyxy == box
    assert record.fallback_boxes == (
        (box[0] + 1, box[1], box[2] + 1, box[3]),
        (box[0] + 2, box[1], box[2] + 2, box[3]),
    )


@trait
def zero_area_box_is_left_to_the_cropper(root: Path) -> None:
    train(root, [Photo(box=(10.0, 20.0, 10.0, 20.0))])
    assert only(read(root)).box_xyxy == (10.0, 20.0, 10.0, 20.0)


@trait
def missing_annotator_and_missing_box(root: Path) -> None:
    first = Photo(number=1).entry(annot_A=...)
    second = Photo(number=2).entry(annot_B={"faceExp": "슬픔", "bg": PLACE})
    third = Photo(number=3).entry(annot_C=None)
    photos = [Photo(number=k) for k in (1, 2, 3)]
    write_zip(root / "EMOIMG_기쁨_TRAIN_01.zip", {p.name: JPEG for p in photos})
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json([first, second, third])})
    listing = read(root)
    a, b, c = listing.records
    assert a.box_xyxy is not None
    assert all(math.isnan(v) for v in a.box_xyxy)  # not None, which would be the whole photo
    assert a.votes == (None, "joy", "neutral")
    assert all(math.isnan(v) for v in b.fallback_boxes[0])
    assert not math.isnan(b.fallback_boxes[1][0])
    assert b.votes == ("joy", "sadness", "neutral")
    assert c.votes == ("joy", "joy", None)
    assert listing.raw_counts["records_with_missing_box"] == 3
    assert any("lack the box" in note for note in listing.notes)


@trait
def older_layout_with_labels_inside_boxes(root: Path) -> None:
    photo = Photo()
    entry = photo.entry(annot_A=..., annot_B=..., annot_C=...)
    for letter in "ABC":
        boxes = {"minX": 1.5, "minY": 2, "maxX": 3, "maxY": 4, "label": "분노"}
        entry[f"faceBB_{letter}"] = {"boxes": boxes}
    write_zip(root / "EMOIMG_기쁨_TRAIN_01.zip", {photo.name: JPEG})
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json([entry])})
    record = only(read(root))
    assert record.votes == ("anger",) * 3
    assert record.box_xyxy == (1.5, 2.0, 3.0, 4.0)


@trait
def person_key_verbatim(root: Path) -> None:
    train(root, [Photo(person=P2)])
    assert only(read(root)).subject_id == P2  # upper case kept


@trait
def name_without_person_key(root: Path) -> None:
    photo = Photo(person="user7")
    train(root, [photo, Photo(number=2)])
    listing = read(root)
    subjects = {r.record_id: r.subject_id for r in listing.records}
    assert subjects == {photo.record_id: None, Photo(number=2).record_id: P1}
    assert listing.raw_counts["records_without_person"] == 1
    assert any("64 hex digits" in note for note in listing.notes)


@trait
def facts_from_json_before_file_name(root: Path) -> None:
    photo = Photo()
    entry = photo.entry(gender="남", age=50, bg_uploader="도심 환경")
    write_zip(root / "EMOIMG_기쁨_TRAIN_01.zip", {photo.name: JPEG})
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json([entry])})
    record = only(read(root))
    assert (record.gender, record.age, record.place) == ("남", "50", "도심 환경")


@trait
def facts_from_file_name_where_json_has_none(root: Path) -> None:
    photo = Photo(gender="남", age=60, label="상처", place="교통/이동수단(엘리베이터 포함)")
    missing = dict.fromkeys(("gender", "age", "bg_uploader", "faceExp_uploader", "isProf"), ...)
    write_zip(root / "EMOIMG_TRAIN_01.zip", {photo.name: JPEG})
    write_tree(
        root, {"img_emotion_training_data(상처).json": labels_json([photo.entry(**missing)])}
    )
    record = only(read(root))
    assert (record.gender, record.age, record.place) == ("남", "60", photo.place)
    assert record.uploader_label == "hurt"


@trait
def ampersand_turned_into_underscore(root: Path) -> None:
    photo = Photo()
    renamed = photo.name.replace("&", "_")
    write_tree(root / "EMOIMG_기쁨_TRAIN_01", {renamed: JPEG})
    entry = photo.entry(gender=..., bg_uploader=...)
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json([entry])})
    listing = read(root)
    record = only(listing)
    assert not listing.rejects
    assert record.record_id == renamed.rpartition(".")[0]
    assert (record.gender, record.place) == ("여", PLACE)


@trait
def official_split_and_unseen_persons(root: Path) -> None:
    train(root, [Photo(person=P1, number=1), Photo(person=P2, number=2)])
    valid(root, [Photo(person=P2, number=3), Photo(person=P3, number=4)])
    listing = read(root)
    assert [r.split for r in listing.records] == ["train"] * 2 + ["validation"] * 2
    persons = listing.raw_counts["persons"]
    assert persons["train"] == persons["validation"] == 2
    assert persons["train_and_validation"] == 1
    assert persons["images_of_validation_unseen"] == 1
    assert any("1 of 2 validation persons also occur in train" in n for n in listing.notes)


@trait
def user_subsample_split_by_folders(root: Path) -> None:
    first, second = Photo(number=1), Photo(number=2)
    write_tree(root, {f"train/기쁨/{first.name}": JPEG, f"val/기쁨/{second.name}": JPEG})
    entries = labels_json([first.entry(), second.entry()])
    write_tree(root, {"labels/기쁨_sampled.json": entries})
    assert [r.split for r in read(root).records] == ["train", "validation"]


@trait
def label_file_wins_over_folder(root: Path) -> None:
    photo = Photo()
    write_tree(root, {f"EMOIMG_기쁨_TRAIN_01/{photo.name}": JPEG})
    write_tree(root, {"img_emotion_validation_data(기쁨).json": labels_json([photo.entry()])})
    listing = read(root)
    assert only(listing).split == "validation"
    assert listing.raw_counts["split_conflicts"] == 1


@trait
def sample_package(root: Path) -> None:
    here, elsewhere = Photo(number=1), [Photo(number=k) for k in range(2, 8)]
    write_tree(root, {f"원천데이터/EMOIMG_기쁨_SAMPLE/{here.name}": JPEG})
    entries = labels_json(p.entry() for p in [here, *elsewhere])
    write_tree(
        root, {"라벨링데이터/EMOIMG_기쁨_SAMPLE/img_emotion_sample_data(기쁨).json": entries}
    )
    listing = read(root)
    assert only(listing).split == "train"
    assert listing.raw_counts["images_by_part"] == {"SAMPLE": {"joy": 1}}
    assert listing.raw_counts["label_records_without_image"] == 6
    assert any("neither TRAIN nor VALID" in note for note in listing.notes)


@trait
def source_folder_called_test_is_no_split(root: Path) -> None:
    photo, home = Photo(), root / "my test_run"
    write_tree(home, {f"EMOIMG_기쁨/{photo.name}": JPEG, "l.json": labels_json([photo.entry()])})
    assert only(read(home)).split == "train"


@trait
def broken_zip_among_good_ones(root: Path) -> None:
    train(root, [Photo()])
    write_tree(root, {"Training/[원천]EMOIMG_분노_TRAIN_01.zip": b"PK\x03\x04 not all of it"})
    listing = read(root)
    assert len(listing.records) == 1
    (reject,) = listing.rejects
    assert reject.reason == "broken_zip"
    assert reject.file == "Training/[원천]EMOIMG_분노_TRAIN_01.zip"
    assert listing.notes[0].startswith("WARNING: 1 broken_zip")
    assert read(root, lang="ko").notes[0].startswith("경고: broken_zip")


@trait
def encrypted_zip_among_good_ones(root: Path) -> None:
    train(root, [Photo()])
    path = root / "Training/[원천]EMOIMG_분노_TRAIN_01.zip"
    write_zip(path, {Photo(label="분노").name: JPEG})
    path.write_bytes(encrypted(path.read_bytes()))
    assert reasons(read(root)) == {"encrypted_zip": 1}


@trait
def members_that_point_outside(root: Path) -> None:
    names = ["../up.jpg", "/abs.jpg", "a/../../b.jpg", "C:/drive.jpg", "..\\win.jpg"]
    train(root, [Photo()])
    write_zip(root / "EMOIMG_기쁨_TRAIN_02.zip", dict.fromkeys(names, JPEG))
    listing = read(root)
    assert len(listing.records) == 1
    assert reasons(listing) == {"unsafe_path": len(names)}


@trait
def zip_inside_a_zip(root: Path) -> None:
    train(root, [Photo()])
    write_zip(root / "download.zip", {"inner.zip": b"PK"})
    assert reasons(read(root)) == {"nested_zip": 1}


@trait
def same_image_zipped_and_unpacked(root: Path) -> None:
    photo = Photo()
    train(root, [photo])
    write_tree(root / "Training/EMOIMG_기쁨_TRAIN_01", {photo.name: JPEG})
    listing = read(root)
    assert len(listing.records) == 1
    assert reasons(listing) == {"duplicate_image": 1}
    assert listing.raw_counts["images_by_part"] == {"TRAIN_01": {"joy": 1}}


@trait
def pieces_left_beside_their_whole(root: Path) -> None:
    train(root, [Photo()])
    write_tree(root / "Training", {"[원천]EMOIMG_기쁨_TRAIN_01.zip.part0": b"left over"})
    assert len(read(root).records) == 1


@trait
def broken_json_and_broken_entry_among_good_ones(root: Path) -> None:
    train(root, [Photo(number=1)])
    train(root, [Photo(number=2, label="분노"), Photo(number=3, label="분노")])
    good, bad = Photo(number=2, label="분노").entry(), Photo(number=3, label="분노").entry()
    bad["annot_A"]["boxes"]["minX"] = "left"
    write_zip(
        root / "Training/[라벨]EMOIMG_분노_TRAIN.zip",
        {"img_emotion_training_data(분노).json": labels_json([good, bad])},
    )
    write_tree(
        root,
        {
            "img_emotion_training_data(슬픔).json": b'[{"filename": "a.jpg"',
            "img_emotion_training_data(상처).json": "[{}]".encode("utf-16"),
            "img_emotion_training_data(불안).json": b"{}",
            "기쁨.json": b'[{"filename"',
            "package.json": b'{"name": "no labels"}',
            "coco.json": b'[{"filename": "a.jpg", "width": 3}]',
        },
    )
    listing = read(root)
    assert len(listing.records) == 2
    # package.json and coco.json are somebody's own files, not broken labels.
    assert reasons(listing) == {"broken_json": 3, "not_labels": 1, "bad_record": 1, "no_record": 1}
    assert listing.raw_counts["other_json_files"] == 2
    assert any("label files or entries could not be read" in note for note in listing.notes)


@trait
def hidden_and_system_files(root: Path) -> None:
    photo = Photo()
    train(root, [photo])
    write_tree(root, {f"__MACOSX/._{photo.name}": b"x", ".cache/a.jpg": b"x", "Thumbs.db": b"x"})
    write_zip(root / "more.zip", {f"__MACOSX/._{photo.name}": b"x"}, zipfile.ZipInfo)
    listing = read(root)
    assert len(listing.records) == 1
    assert not listing.rejects


@trait
def ids_of_one_stem_differ(root: Path) -> None:
    photos = [Photo(suffix="jpg"), Photo(suffix="jpeg")]
    train(root, photos)
    ids = [r.record_id for r in read(root).records]
    assert len(set(ids)) == 2
    assert all(i.startswith(photos[0].record_id) and "." not in i and "/" not in i for i in ids)


@trait
def order_does_not_depend_on_the_file_system(root: Path) -> None:
    photos = [Photo(number=k, person=p) for k in range(4) for p in (P1, P2)]
    train(root / "a", photos)
    train(root / "b", list(reversed(photos)))
    first, second = read(root / "a"), read(root / "b")
    assert [r.record_id for r in first.records] == [r.record_id for r in second.records]


@trait
def linked_folder_is_followed_once(root: Path) -> None:
    train(root / "real", [Photo()])
    (root / "src").mkdir()
    (root / "src/link").symlink_to(root / "real", target_is_directory=True)
    (root / "real/loop").symlink_to(root / "real", target_is_directory=True)
    assert len(read(root / "src").records) == 1


def encrypted(data: bytes) -> bytes:
    """Set the 'encrypted' flag in every local and central header."""
    raw = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(signature)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(signature, at + 4)
    return bytes(raw)


def _nothing(root: Path) -> None:
    root.mkdir()


def _labels_only(root: Path) -> None:
    write_tree(root, {"img_emotion_training_data(기쁨).json": labels_json([Photo().entry()])})


def _images_only(root: Path) -> None:
    write_zip(root / "[원천]EMOIMG_기쁨_TRAIN_01.zip", {Photo().name: JPEG})


def _broken_json_only(root: Path) -> None:
    _images_only(root)
    write_tree(root, {"img_emotion_training_data(기쁨).json": b"[{"})


def _broken_zip_only(root: Path) -> None:
    write_tree(root, {"[원천]EMOIMG_기쁨_TRAIN_01.zip": b"half a download"})


def _encrypted_only(root: Path) -> None:
    _images_only(root)
    path = root / "[원천]EMOIMG_기쁨_TRAIN_01.zip"
    path.write_bytes(encrypted(path.read_bytes()))


def _pieces(root: Path) -> None:
    write_tree(root, {f"[원천]EMOIMG_기쁨_TRAIN_01.zip.part{k}": b"x" for k in (0, 1073741824)})


def _other_part(root: Path) -> None:
    train(root, [Photo(number=1)])
    write_zip(root / "Training/[원천]EMOIMG_기쁨_TRAIN_01.zip", {Photo(number=2).name: JPEG})


def _holiday_photos(root: Path) -> None:
    write_tree(root, {"2019/beach.jpg": JPEG, "2020/hill.jpg": JPEG})


def _tar(root: Path) -> None:
    write_tree(root, {"download.tar": b"x"})


def _unknown_label(root: Path) -> None:
    train(root, [Photo(label="행복")])


@pytest.mark.parametrize(
    ("build", "kind", "says"),
    [
        (_nothing, None, "no image and no label JSON"),
        (_nothing, "aihub", "no image and no label JSON"),
        (_tar, None, "unpack first: 1 .tar"),
        (_labels_only, None, "label files but no image"),
        (_images_only, None, "no usable label JSON"),
        (_broken_json_only, None, "broken_json"),
        (_broken_zip_only, None, "broken_zip"),
        (_encrypted_only, None, "encrypted_zip"),
        (_pieces, None, "xargs -d '\\n' cat > '[원천]EMOIMG_기쁨_TRAIN_01.zip'"),
        (_other_part, None, "none of 1 images has an entry"),
        (_holiday_photos, None, "neither AI Hub's data"),
        (_holiday_photos, "aihub", "no usable label JSON"),
        (_unknown_label, None, "unknown label '행복'"),
    ],
)
def test_bad_input_is_one_clear_error(
    build: Callable[[Path], None], kind: str | None, says: str, tmp_path: Path
) -> None:
    root = tmp_path / "src"
    build(root)
    with pytest.raises(InputError) as caught:
        read(root, kind=kind)
    for lang in ("en", "ko"):
        assert "src" in caught.value.text.line(lang)
    assert says in caught.value.text.en
    assert caught.value.text.en != caught.value.text.ko


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "notes.pdf").write_text("x")
    for path, says in (
        ("absent", "no such file"),
        ("notes.txt", "no column"),
        ("notes.pdf", "not a folder, zip"),
    ):
        with pytest.raises(InputError, match=says):
            read(tmp_path / path)
    with pytest.raises(InputError, match="no SRC"):
        read()
    with pytest.raises(SettingsError, match="unknown source"):
        read(tmp_path, kind="video")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_cp949_bytes_on_disk(tmp_path: Path) -> None:
    photo = Photo()
    write_tree(tmp_path / "EMOIMG_TRAIN_01", {os.fsdecode(photo.name.encode("cp949")): JPEG})
    write_tree(tmp_path, {"img_emotion_training_data.json": labels_json([photo.entry()])})
    record = only(read(tmp_path))
    assert record.image.source_path == f"EMOIMG_TRAIN_01/{photo.name}"
    json.dumps(record.image.source_path).encode()
    assert read_image_bytes(record.image) == JPEG


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_folder_without_permission(tmp_path: Path) -> None:
    train(tmp_path, [Photo()])
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert reasons(read(tmp_path)) == {"unreadable": 1}
        with pytest.raises(InputError, match="cannot list"):
            read(closed)
    finally:
        closed.chmod(0o700)


def test_reading_image_bytes_names_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    write_zip(path, {"a.jpg": JPEG, "b.jpg": JPEG}, zipfile.ZipInfo)
    data = bytearray(path.read_bytes())
    data[data.find(JPEG) + 100] ^= 0xFF  # damages a.jpg only: its checksum no longer fits
    path.write_bytes(bytes(data))
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    write_zip(tmp_path / "locked.zip", {"a.jpg": JPEG}, zipfile.ZipInfo)
    locked = tmp_path / "locked.zip"
    locked.write_bytes(encrypted(locked.read_bytes()))
    assert read_image_bytes(ImageRef(str(path), "b.jpg", "z.zip!b.jpg")) == JPEG
    for file, member, reason in (
        ("z.zip", "a.jpg", "broken_zip_member"),
        ("z.zip", "c.jpg", "missing_file"),
        ("bad.zip", "a.jpg", "broken_zip"),
        ("locked.zip", "a.jpg", "encrypted"),
        ("gone.zip", "a.jpg", "missing_file"),
        ("gone.jpg", None, "missing_file"),
        ("", None, "unreadable"),
    ):
        with pytest.raises(ReadError) as caught:
            read_image_bytes(ImageRef(str(tmp_path / file), member, f"shown/{file}"))
        assert caught.value.reason == reason
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (copy.reason, copy.text.ko) == (reason, caught.value.text.ko)


def test_an_image_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as stream:
        stream.truncate((1 << 29) + 1)  # sparse
    with pytest.raises(ReadError, match="512 MiB"):
        read_image_bytes(ImageRef(str(path), None, "huge.jpg"))


def test_forked_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    members = {f"{k}.jpg": bytes([k]) * 5000 for k in range(20)}
    path = tmp_path / "z.zip"
    write_zip(path, members, zipfile.ZipInfo)
    code = """
import os, sys
from nunbit.core.schema import ImageRef
from nunbit.datasets.archives import read_image_bytes
def check():
    for _ in range(30):
        for k in range(20):
            assert read_image_bytes(ImageRef(sys.argv[1], f"{k}.jpg", "s")) == bytes([k]) * 5000
check()
child = os.fork()
check()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    if hasattr(os, "fork"):
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_records_are_a_compact_sequence(tmp_path: Path) -> None:
    photos = [Photo(number=k, person=p) for k in range(300) for p in (P1, P2, P3)]
    train(tmp_path, photos)
    records = read(tmp_path).records
    assert len(records) == 900
    assert records[-1] == records[899] == list(records)[-1]
    assert records[3:5] == (records[3], records[4])
    with pytest.raises(IndexError):
        records[900]
    packed = pickle.dumps(records)
    assert len(packed) / len(records) < 500  # bytes; as plain objects some 1800
    assert list(pickle.loads(packed)) == list(records)


def test_same_listing_in_another_process(tmp_path: Path) -> None:
    train(tmp_path, [Photo(suffix=s) for s in ("jpg", "jpeg", "JPG")])
    code = (
        "import sys; from pathlib import Path\n"
        "from nunbit.language.labels import load_label_set\n"
        "from nunbit.datasets.sources import read_source\n"
        "listing = read_source([Path(sys.argv[1])], None, load_label_set('aihub7'))\n"
        "print([ascii(r.record_id) for r in listing.records])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("plain.jpg", "plain.jpg"),
        ("기쁨.jpg", "기쁨.jpg"),
        ("기쁨".encode("cp949").decode("cp437"), "기쁨"),
        ("기쁨".encode().decode("cp437"), "기쁨"),
        (unicodedata.normalize("NFD", "기쁨"), "기쁨"),
        (os.fsdecode("남".encode("cp949")), "남"),
        ("café.jpg", "café.jpg"),
        ("éA naïve.jpg", "éA naïve.jpg"),
        ("日本.jpg", "日本.jpg"),
    ],
)
def test_repair_name(raw: str, name: str) -> None:
    assert repair_name(raw) == name


@pytest.mark.parametrize(
    ("path", "split", "part", "label"),
    [
        ("Training/[원천]EMOIMG_기쁨_TRAIN_01.zip", "train", "TRAIN_01", "기쁨"),
        (
            "Training/[원천]EMOIMG_상처_TRAIN_4.zip/EMOIMG_상처_TRAIN_04",
            "train",
            "TRAIN_04",
            "상처",
        ),
        ("2.Validation/원천데이터_0114_add/EMOIMG_기쁨_VALID.zip", "validation", "VALID", "기쁨"),
        ("01.데이터/1.Training/원천데이터", "train", "TRAIN", None),
        ("Validation_221115_add/x", "validation", "VALID", None),
        ("EMOIMG_중립_SAMPLE", None, "SAMPLE", "중립"),
        ("a/img_emotion_training_data(기쁨).json", "train", "TRAIN", None),
        ("a/img_emotion_validation_data(기쁨).json", "validation", "VALID", None),
        ("constrained/values/latest", None, "unknown", None),
        ("", None, "unknown", None),
    ],
)
def test_folder_traits(path: str, split: str | None, part: str, label: str | None) -> None:
    traits = folder_traits(path)
    assert (traits.split, traits.part, traits.label) == (split, part, label)


@pytest.mark.parametrize(
    ("middle", "place"),
    [
        ("숙박 및 거주공간", "숙박 및 거주공간"),
        ("공공시설&종교&의료시설", "공공시설/종교/의료시설"),
        ("공공시설_종교_의료시설", "공공시설/종교/의료시설"),
        ("교통&이동수단(엘리베이터 포함)", "교통/이동수단(엘리베이터 포함)"),
    ],
)
def test_photo_name_fields(middle: str, place: str) -> None:
    fields = parse_photo_name(f"{P1}_여_20_기쁨_{middle}_20210126165538-010-011.jpg")
    assert (fields.subject_id, fields.gender, fields.age) == (P1, "여", "20")
    assert (fields.label, fields.place) == ("기쁨", place)


def test_photo_names_of_another_form() -> None:
    assert parse_photo_name("selfie_1.jpg").subject_id is None
    assert parse_photo_name(f"{P1}.jpg").subject_id == P1
    assert parse_photo_name(f"{P1[:-1]}_여_20_기쁨_집_1-1-1.jpg").subject_id is None


@pytest.mark.parametrize(
    ("file_name", "record_id"),
    [
        ("a.jpg", "a"),
        ("v1.5 final.JPEG", "v1_5 final"),
        ("a/b\\c:d.png", "a_b_c_d"),
        (".jpg", "_jpg"),
        ("  .jpg", "_"),
    ],
)
def test_record_id_from(file_name: str, record_id: str) -> None:
    assert record_id_from(file_name) == record_id


def test_long_record_ids_are_bounded_and_differ() -> None:
    long_a, long_b = (record_id_from("가" * 300 + tail + ".jpg") for tail in "ab")
    assert long_a != long_b
    for record_id in (long_a, long_b, distinct_record_id(long_a, "x/y.jpg")):
        assert len(record_id.encode()) <= 200
    assert distinct_record_id("a", "x") != distinct_record_id("a", "y")
    assert record_id_from(unicodedata.normalize("NFD", "기쁨.jpg")) == "기쁨"


def _real_counts() -> dict[str, Any]:
    images = aihub_labels.KNOWN_COUNTS["images"]
    return {
        "images_by_part": {part: dict(images[part]) for part in ("TRAIN_01", "VALID")},
        "label_records": {
            s: dict(c) for s, c in aihub_labels.KNOWN_COUNTS["label_records"].items()
        },
    }


def test_known_counts_add_up() -> None:
    for kind, totals in aihub_labels.KNOWN_COUNTS["totals"].items():
        for part, total in totals.items():
            assert sum(aihub_labels.KNOWN_COUNTS[kind][part].values()) == total
    images, records = (aihub_labels.KNOWN_COUNTS[kind] for kind in ("images", "label_records"))
    for label in aihub_labels.KNOWN_COUNTS["images"]["TRAIN_01"]:
        parts = sum(images[p][label] for p in images if p.startswith("TRAIN"))
        assert parts == records["train"][label]
        assert images["VALID"][label] == records["validation"][label]


def test_counts_of_the_real_set_are_compared() -> None:
    counts = _real_counts()
    assert aihub_labels.compare_counts(counts)["differences"] == []
    assert "equal the known ones" in aihub_labels.difference_lines(counts)[0].en
    counts["images_by_part"]["TRAIN_01"]["joy"] -= 68
    del counts["images_by_part"]["VALID"]["hurt"]
    lines = [said.en for said in aihub_labels.difference_lines(counts)]
    assert lines[0] == "images TRAIN_01, joy: 16,004 found, 16,072 known (-68)"
    assert lines[1] == "images VALID, hurt: 0 found, 7,423 known (-7,423)"
    assert len(lines) == 2


def test_parts_three_and_four_are_compared_as_a_sum() -> None:
    counts = _real_counts()
    both = aihub_labels.KNOWN_COUNTS["images"]["TRAIN_03+TRAIN_04"]
    counts["images_by_part"]["TRAIN_03"] = {k: n - 14000 for k, n in both.items()}
    assert "images TRAIN_03+TRAIN_04" not in aihub_labels.compare_counts(counts)["compared"]
    counts["images_by_part"]["TRAIN_04"] = dict.fromkeys(both, 14000)
    result = aihub_labels.compare_counts(counts)
    assert "images TRAIN_03+TRAIN_04" in result["compared"]
    assert result["differences"] == []


def test_counts_of_anything_else_are_not_compared() -> None:
    small = {
        "images_by_part": {"TRAIN_01": {"joy": 1000}},
        "label_records": {"train": {"joy": 60103}},
    }
    assert aihub_labels.compare_counts(small) == {"compared": [], "differences": []}
    assert aihub_labels.difference_lines(small) == ()


@pytest.mark.parametrize(
    "body",
    ["[" * 200_000, "[" + "[" * 50_000 + "]" * 50_000 + "]", '[{"filename":' * 60_000],
)
def test_a_label_file_of_deep_nesting_is_a_reject_with_a_reason(body: str) -> None:
    decoded = aihub_labels.decode_labels(body.encode(), "a.json")
    assert decoded.records == []
    (reject,) = decoded.rejects
    assert reject.reason in {"broken_json", "not_labels"}
    assert reject.text.en
    assert "\n" not in reject.text.line("ko")


@pytest.mark.parametrize("piece", ["1,", "[],", "{},", '"a",', "null,"])
def test_a_large_file_of_tiny_entries_is_refused_before_it_fills_the_memory(piece: str) -> None:
    body = ("[" + piece * (9 * 2**20 // len(piece)) + "1]").encode()
    tracemalloc.start()
    decoded = aihub_labels.decode_labels(body, "a.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [r.reason for r in decoded.rejects] == ["not_labels"]
    assert peak < 3 * len(body)


def test_real_labels_are_not_taken_for_tiny_entries() -> None:
    """The annotation document's layout, as dense as it can be written, in a file of 9 MB."""
    box = {"minX": 1, "minY": 2, "maxX": 3, "maxY": 4}
    entry = {
        "filename": "a" * 64 + "_여_20_기쁨_공공시설_20201205_1.jpg",
        "gender": "여", "age": 20, "isProf": "일반인", "faceExp_uploader": "기쁨",
        "bg_uploader": "공공시설",
        **{f"annot_{k}": {"boxes": box, "faceExp": "기쁨", "bg": "공공시설"} for k in "ABC"},
    }  # fmt: skip
    body = json.dumps([entry] * 17_000, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(body) > 8 * 2**20
    assert len(aihub_labels.decode_labels(body, "a.json").records) == 17_000


def test_a_label_bomb_in_a_small_zip_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "Training" / "[라벨]EMOIMG_기쁨_TRAIN.zip"
    path.parent.mkdir()
    name = "img_emotion_training_data(기쁨).json"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w") as stream,
    ):
        for _ in range(140):
            stream.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(InputError):
        read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_pipes_in_place_of_zips_and_labels_are_rejects(tmp_path: Path) -> None:
    root = tmp_path / "data"
    train(root, [Photo()])
    os.mkfifo(root / "Training" / "[원천]EMOIMG_분노_TRAIN_01.zip")
    os.mkfifo(root / "Training" / "labels.json")
    listing = read(root)
    assert len(listing.records) == 1
    found = {r.file.rpartition("/")[2]: r.reason for r in listing.rejects}
    assert found["[원천]EMOIMG_분노_TRAIN_01.zip"] == "broken_zip"
    assert found["labels.json"] == "not_a_file"


@pytest.mark.parametrize("body", [b"[1, 2", b'[{"filename": 1}, {"filename"'])
def test_a_label_file_that_ends_after_a_strange_entry_is_a_reject(body: bytes) -> None:
    decoded = aihub_labels.decode_labels(body, "a.json")
    assert decoded.records == []
    assert [reject.reason for reject in decoded.rejects] == ["broken_json"]
