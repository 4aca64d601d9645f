"""Class folders and tables as sources."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nunbit.core.messages import InputError, MediaError
from nunbit.core.schema import FaceRecord
from nunbit.datasets.archives import read_image_bytes
from nunbit.datasets.scan import Listing
from nunbit.datasets.sources import read_source
from nunbit.language.labels import load_label_set

FER7 = load_label_set("fer7")
IMAGE = b"not decoded while listing"


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE)


def write_zip(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, IMAGE)


def read(*paths: Path, kind: str | None = None, lang: str = "en") -> Listing:
    listing = read_source(paths, kind, FER7)
    assert all(said.en != said.ko for said in listing.notes)
    return replace(listing, notes=tuple(pair.pick(lang) for pair in listing.notes))


def shown(listing: Listing) -> dict[str, tuple[str, str | None]]:
    return {r.image.source_path: (r.split, r.uploader_label) for r in listing.records}


# Folders


FOLDERS: list[tuple[str, tuple[str, ...], dict[str, tuple[str, str]]]] = [
    (
        "splits above classes",
        ("train/happy/a.jpg", "val/기쁨/b.png", "test/SAD/c.webp", "Validation/joy/d.bmp"),
        {
            "train/happy/a.jpg": ("train", "joy"),
            "val/기쁨/b.png": ("validation", "joy"),
            "test/SAD/c.webp": ("test", "sadness"),
            "Validation/joy/d.bmp": ("validation", "joy"),
        },
    ),
    (
        "classes above splits, inner folders, a wrapper",
        ("fer/angry/train/x/a.JPEG", "fer/angry/test/b.jpg"),
        {
            "fer/angry/train/x/a.JPEG": ("train", "anger"),
            "fer/angry/test/b.jpg": ("test", "anger"),
        },
    ),
    (
        "only one split",
        ("train/happy/a.jpg", "train/sad/b.jpg"),
        {"train/happy/a.jpg": ("train", "joy"), "train/sad/b.jpg": ("train", "sadness")},
    ),
    (
        "images outside the split folders",
        ("test/happy/a.jpg", "sad/b.jpg"),
        {"test/happy/a.jpg": ("test", "joy"), "sad/b.jpg": ("train", "sadness")},
    ),
]


@pytest.mark.parametrize(
    ("files", "expected"), [row[1:] for row in FOLDERS], ids=[row[0] for row in FOLDERS]
)
def test_folder_layouts(
    files: tuple[str, ...], expected: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    write_images(tmp_path / "src", *files)
    listing = read(tmp_path / "src")
    assert listing.kind == "folder"
    assert shown(listing) == expected
    # The same inside a zip.
    write_zip(tmp_path / "z" / "all.zip", *files)
    zipped = read(tmp_path / "z")
    assert shown(zipped) == {f"all.zip!{name}": value for name, value in expected.items()}
    assert all(read_image_bytes(r.image) == IMAGE for r in zipped.records)


def test_zip_and_source_names_stand_in_for_folders(tmp_path: Path) -> None:
    write_zip(tmp_path / "train.zip", "happy/a.jpg")
    write_zip(tmp_path / "test.zip", "happy/a.jpg")
    write_zip(tmp_path / "val" / "angry.zip", "b.jpg")
    write_images(tmp_path / "classes" / "sad", "c.jpg")
    listing = read(
        tmp_path / "train.zip", tmp_path / "test.zip", tmp_path / "val", tmp_path / "classes/sad"
    )
    assert shown(listing) == {
        "train.zip!happy/a.jpg": ("train", "joy"),
        "test.zip!happy/a.jpg": ("test", "joy"),
        "angry.zip!b.jpg": ("validation", "anger"),
        "c.jpg": ("train", "sadness"),
    }
    ids = [r.record_id for r in listing.records]
    assert len(set(ids)) == 4  # a.jpg twice
    assert ids[0] == "a"
    assert ids[1].startswith("a-")


def test_misspelt_class_folder_never_borrows_a_name_from_above(tmp_path: Path) -> None:
    write_images(tmp_path / "happy", "angri/a.jpg", "sad/b.jpg")
    with pytest.raises(InputError, match="class folder 'angri' \\(1\\) is no label of fer7"):
        read(tmp_path / "happy")


def test_folder_records_know_no_person_and_no_box(tmp_path: Path) -> None:
    write_images(tmp_path, "train/happy/a.jpg")
    record = read(tmp_path).records[0]
    assert record == FaceRecord("a", record.image, "train", "joy")
    assert read(tmp_path).vote_names == ()


def test_without_split_folders_one_in_ten_is_validation(tmp_path: Path) -> None:
    names = [f"{c}/{k}.jpg" for c in ("happy", "sad") for k in range(500)]
    write_images(tmp_path / "src", *names)
    listing = read(tmp_path / "src")
    splits = {r.image.source_path: r.split for r in listing.records}
    share = Counter(splits.values())
    assert share["validation"] == pytest.approx(100, abs=30)
    assert share["train"] + share["validation"] == 1000
    assert any("one image in ten" in note for note in listing.notes)
    # Other files come, the place changes, a zip instead of a folder: nobody moves.
    write_zip(tmp_path / "other" / "faces.zip", *names, "angry/new.jpg")
    again = {r.image.source_path: r.split for r in read(tmp_path / "other").records}
    assert {k: again[f"faces.zip!{k}"] for k in splits} == splits


def test_ignored_folders_loose_images_and_other_files_are_said(tmp_path: Path) -> None:
    write_images(
        tmp_path / "src", "happy/a.jpg", "contempt/b.jpg", "contempt/c.jpg", "loose.jpg", "x.gif"
    )
    (tmp_path / "src" / "broken.zip").write_bytes(b"no")
    for lang in ("en", "ko"):
        listing = read(tmp_path / "src", lang=lang)
        assert len(listing.records) == 1
        assert {r.file: r.reason for r in listing.rejects} == {
            "broken.zip": "broken_zip",
            "loose.jpg": "no_class_folder",
        }
        assert listing.raw_counts["images_ignored"] == {"contempt": 2}
        assert any(".gif" in note for note in listing.notes)
        assert any("2" in note for note in listing.notes)
    json.dumps([listing.raw_counts, listing.notes])


@pytest.mark.parametrize(
    ("files", "kind", "says"),
    [
        (("pleased/a.jpg",), "folder", "class folder 'pleased'"),
        (("pleased/a.jpg", "happy/b.jpg"), None, "class folder 'pleased'"),
        (("a.jpg", "b.jpg"), "folder", "none in a class folder"),
        (("train/a.jpg",), "folder", "none in a class folder"),
        (("readme.txt",), "folder", "no image"),
        (("faces.csv",), None, "give the file itself: faces.csv"),
        (("pleased/a.jpg",), None, "nor folders named after the labels"),
    ],
)
def test_bad_folders(files: tuple[str, ...], kind: str | None, says: str, tmp_path: Path) -> None:
    write_images(tmp_path / "src", *files)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "src", kind=kind)
    assert says in caught.value.text.en
    assert "src" in caught.value.text.en
    assert "src" in caught.value.text.ko


# Tables


def write_table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "faces.csv"
    path.write_bytes(text.encode(encoding))
    return path


def one_row(folder: Path, header: str, cells: str) -> FaceRecord:
    write_images(folder, "a.jpg")
    listing = read(write_table(folder, f"path,{header}\na.jpg,{cells}\n"))
    assert listing.kind == "table"
    return listing.records[0]


@pytest.mark.parametrize(
    ("header", "cells", "attribute", "value"),
    [
        ("label", "행복", "uploader_label", InputError),
        ("label", "HAPPY ", "uploader_label", "joy"),
        ("label", "contempt", "uploader_label", None),
        ("label", "", "uploader_label", None),
        ("votes", "joy;;슬픔;unknown", "votes", ("joy", None, "sadness", None)),
        ("votes", "", "votes", ()),
        (
            "votes_joy,votes_contempt,votes_unknown",
            "7,1,2",
            "votes",
            ("joy",) * 7 + (None,) * 3,
        ),
        ("votes_joy,votes_sad", "2.0,", "votes", ("joy", "joy")),
        ("votes_joy,votes_NF", ",", "votes", ()),
        ("x0,y0,x1,y1", "1,2.5,30,1e2", "box_xyxy", (1.0, 2.5, 30.0, 100.0)),
        ("x0,y0,x1,y1", ",,,", "box_xyxy", None),
        ("box", '"1, 2, 3, 4"', "box_xyxy", (1.0, 2.0, 3.0, 4.0)),
        ("box", "[1 2 3 4]", "box_xyxy", (1.0, 2.0, 3.0, 4.0)),
        ("box", "", "box_xyxy", None),
        ("subject", " s7 ", "subject_id", "s7"),
        ("subject", "", "subject_id", None),
        ("gender,age,place", "여,30대,집", "age", "30대"),
        ("split", "Training", "split", "train"),
        ("split", "val", "split", "validation"),
        ("split", "TEST", "split", "test"),
        ("split", "", "split", "train"),
        ("record_id", "face 1", "record_id", "face 1"),
        ("record_id", "", "record_id", "a"),
        ("label", "joy", "record_id", "a"),
    ],
)
def test_columns(header: str, cells: str, attribute: str, value: Any, tmp_path: Path) -> None:
    if value is InputError:
        with pytest.raises(InputError, match="row 2: label: unknown label"):
            one_row(tmp_path, header, cells)
    else:
        assert getattr(one_row(tmp_path, header, cells), attribute) == value


def test_table_paths(tmp_path: Path) -> None:
    write_images(tmp_path / "data", "in/한글.jpg", "back/slash.jpg", "odd!name.jpg")
    write_images(tmp_path / "else", "where.jpg")
    write_zip(tmp_path / "data" / "z!1.zip", "train/a.jpg")
    with zipfile.ZipFile(tmp_path / "data" / "old.zip", "w") as archive:
        info = zipfile.ZipInfo("슬픔.jpg".encode("cp949").decode("cp437"))
        archive.writestr(info, IMAGE)
    rows = [
        "in/한글.jpg",
        str(tmp_path / "else" / "where.jpg"),
        "back\\slash.jpg",
        "odd!name.jpg",
        "z!1.zip!train/a.jpg",
        "old.zip!슬픔.jpg",
        "in/gone.jpg",
        "old.zip!gone.jpg",
        "gone.zip!a.jpg",
    ]
    path = write_table(tmp_path / "data", "\n".join(["path", *rows]) + "\n")
    listing = read(path)
    assert [r.image.source_path for r in listing.records] == [
        "in/한글.jpg",
        "../else/where.jpg",
        "back/slash.jpg",
        "odd!name.jpg",
        "z!1.zip!train/a.jpg",
        "old.zip!슬픔.jpg",
    ]
    assert all(read_image_bytes(r.image) == IMAGE for r in listing.records)
    assert [(r.file, r.reason) for r in listing.rejects] == [
        (name, "missing_file") for name in rows[6:]
    ]
    assert listing.notes[0].startswith("WARNING: the images of 3 rows")


def test_broken_zip_of_a_table(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "bad.zip")
    listing = read(write_table(tmp_path, "path\na.jpg\nbad.zip!b.jpg\nbad.zip!c.jpg\n"))
    assert [r.reason for r in listing.rejects] == ["broken_zip"] * 2


@pytest.mark.parametrize(
    ("encoding", "note"), [("utf-8", False), ("utf-8-sig", False), ("cp949", True)]
)
def test_encodings(encoding: str, note: bool, tmp_path: Path) -> None:
    write_images(tmp_path, "얼굴.jpg")
    path = write_table(tmp_path, "path,label\r\n얼굴.jpg,기쁨\r\n,\r\n\r\n", encoding)
    listing = read(path)
    assert listing.records[0].uploader_label == "joy"
    assert any("CP949" in n for n in listing.notes) == note


def test_unknown_columns_are_said_once_and_names_in_any_case(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    listing = read(write_table(tmp_path, "Path, LABEL ,camera\na.jpg,joy,x\nb.jpg,sad,y\n"))
    assert [r.uploader_label for r in listing.records] == ["joy", "sadness"]
    assert sum("camera" in note for note in listing.notes) == 1


def test_vote_names(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg", "b.jpg")
    listed = write_table(tmp_path / "l", "path,votes\n../a.jpg,joy;sad\n../b.jpg,joy;sad;fear\n")
    assert read(listed).vote_names == ("vote_1", "vote_2", "vote_3")
    counted = write_table(tmp_path / "c", "path,votes_joy\n../a.jpg,3\n")
    assert read(counted).vote_names == ()


def test_without_split_column_persons_stay_together(tmp_path: Path) -> None:
    names = [f"{k}.jpg" for k in range(600)]
    write_images(tmp_path, *names)
    rows = [f"{name},joy,s{k % 60}" for k, name in enumerate(names)]
    listing = read(write_table(tmp_path, "\n".join(["path,label,subject", *rows])))
    splits: dict[str | None, set[str]] = {}
    for record in listing.records:
        splits.setdefault(record.subject_id, set()).add(record.split)
    assert all(len(of_person) == 1 for of_person in splits.values())
    assert {s for of_person in splits.values() for s in of_person} == {"train", "validation"}
    assert any("one in ten" in note for note in listing.notes)


def test_several_faces_of_one_image_are_several_records(tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg")
    text = "path,label,box\na.jpg,joy,1 2 3 4\na.jpg,sad,5 6 7 8\na.jpg,joy,9 9 9 9\n"
    records = read(write_table(tmp_path, text)).records
    assert len({r.record_id for r in records}) == 3
    assert [r.box_xyxy for r in records][1] == (5.0, 6.0, 7.0, 8.0)
    assert records[0].record_id == "a"


def test_several_tables(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_images(tmp_path / name, "a.jpg")
        write_table(tmp_path / name, "path,label,split\na.jpg,joy,test\n")
    listing = read(tmp_path / "one" / "faces.csv", tmp_path / "two" / "faces.csv")
    assert [Path(r.image.path).parent.name for r in listing.records] == ["one", "two"]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_images(tmp_path, "a.jpg", "b.jpg")
    table = pa.table(
        {
            "path": ["a.jpg", "b.jpg"],
            "label": ["joy", None],
            "votes": [["joy", None, "sad"], None],
            "box": [[1.0, 2.0, 3.0, 4.0], None],
            "subject": pa.array([7.0, None]),
            "age": [30, 40],
            "split": ["train", "test"],
        }
    )
    path = tmp_path / "faces.parquet"
    pq.write_table(table, path)
    first, second = read(path).records
    assert first.votes == ("joy", None, "sadness")
    assert (first.box_xyxy, first.subject_id, first.age) == ((1.0, 2.0, 3.0, 4.0), "7", "30")
    assert (second.votes, second.box_xyxy, second.subject_id) == ((), None, None)
    assert second.split == "test"
    pq.write_table(table.set_column(1, "label", [["joy", "glee"]]), path)
    with pytest.raises(InputError, match="row 2: label: unknown label 'glee'"):
        read(path)


def _binary(folder: Path) -> Path:
    (folder / "faces.csv").write_bytes(b"path\n\xff\xfe\xff\n")
    return folder / "faces.csv"


def _no_parquet(folder: Path) -> Path:
    (folder / "faces.parquet").write_bytes(b"PAR1 not really")
    return folder / "faces.parquet"


def _csv(text: str) -> Callable[[Path], Path]:
    return lambda folder: write_table(folder, text)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (_csv(""), "the table is empty"),
        (_csv("path,label\n"), "the table has no rows"),
        (_csv("file;label\na.jpg;joy\n"), "no column 'path'; the columns are: file, label"),
        (_csv("path,path\na.jpg,a.jpg\n"), "column path occurs twice"),
        (_csv("path,label\na.jpg,joy\na.jpg,glee\n"), "row 3: label: unknown label 'glee'"),
        (_csv("path,votes\na.jpg,joy;glee\n"), "row 2: votes: unknown label 'glee'"),
        (_csv("path,votes_glee\na.jpg,1\n"), "column votes_glee: unknown label 'glee'"),
        (_csv("path,votes,votes_joy\na.jpg,joy,1\n"), "keep one kind"),
        (_csv("path,votes_joy\na.jpg,many\n"), "row 2: votes_joy: expected a number, got 'many'"),
        pytest.param(
            _csv("path,votes_joy\na.jpg,-1\n"),
            "row 2: votes_joy: expected a whole number",
            id="below zero",
        ),
        pytest.param(
            _csv("path,votes_joy\na.jpg,1.5\n"),
            "row 2: votes_joy: expected a whole number",
            id="a fraction",
        ),
        pytest.param(
            _csv("path,votes_joy\na.jpg,999999999\n"),
            "row 2: votes_joy: expected a whole number",
            id="far too many",
        ),
        (_csv("path,x0,y0,x1\na.jpg,1,2,3\n"), "all of x0, y0, x1, y1"),
        pytest.param(
            _csv("path,x0,y0,x1,y1\na.jpg,1,2,,4\n"),
            "row 2: a box needs all four",
            id="an empty cell",
        ),
        (_csv("path,x0,y0,x1,y1\na.jpg,1,2,nan,4\n"), "row 2: x1: expected a number"),
        pytest.param(
            _csv("path,box\na.jpg,1 2 3\n"), "row 2: a box needs all four", id="three numbers"
        ),
        (_csv("path,box\na.jpg,left top\n"), "row 2: box: expected a number, got 'left'"),
        (_csv("path,split\na.jpg,holdout\n"), "row 2: split: 'holdout' is none of"),
        (_csv("path,record_id\na.jpg,a/b\n"), "row 2: record_id: 'a/b'"),
        (_csv("path,record_id\na.jpg,k\na.jpg,K\n"), "row 3: record_id: 'K' occurs twice"),
        (_csv("path,label\na.jpg\n"), "row 2: 1 cells, the header has 2"),
        (_csv('path,label\n"a.jpg,joy\n'), "cannot read this table"),
        (_csv("path,label\n,joy\n"), "row 2: path is empty"),
        (_csv("path,label\nb.jpg,joy\n"), "none of 1 images exists (first: b.jpg"),
        (_binary, "neither UTF-8, UTF-16 nor CP949"),
        (_no_parquet, "cannot read this table"),
    ],
)
def test_bad_tables(build: Callable[[Path], Path], says: str, tmp_path: Path) -> None:
    write_images(tmp_path, "a.jpg")
    path = build(tmp_path)
    with pytest.raises(InputError) as caught:
        read(path)
    assert says in caught.value.text.en
    assert str(path) in caught.value.text.en
    assert str(path) in caught.value.text.ko
    assert "\n" not in caught.value.text.line("ko")


def test_values_are_checked_even_where_the_image_is_missing(tmp_path: Path) -> None:
    path = write_table(tmp_path, "path,label\ngone.jpg,glee\n")
    with pytest.raises(InputError, match="row 2: label"):
        read(path)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    write_images(tmp_path, "happy/a.jpg")
    path = write_table(tmp_path, "path\nhappy/a.jpg\n")
    for paths in ((tmp_path,), (path, tmp_path)):
        with pytest.raises(InputError, match="CSV or Parquet files only"):
            read(*paths, kind="table")


# Real data


@pytest.mark.data
def test_fer2013_zips_as_class_folders(real_data: Path) -> None:
    folder = real_data / "fer2013"
    listing = read(*(folder / f"{name}.zip" for name in ("train", "validation", "test")))
    counts = Counter(r.split for r in listing.records)
    assert counts == {"train": 24419, "validation": 3082, "test": 3027}
    assert {r.uploader_label for r in listing.records} == set(FER7.ids)
    assert not listing.rejects
    assert read_image_bytes(listing.records[12345].image)[:2] == b"\xff\xd8"


@pytest.mark.data
def test_ferplus_votes_as_a_table(real_data: Path, tmp_path: Path) -> None:
    import csv

    folder = real_data / "fer2013"
    raters = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
    raters += ("contempt", "unknown", "NF")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["usage"] == "PrivateTest"]
    with (tmp_path / "faces.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split", *(f"votes_{name}" for name in raters)])
        for row in rows:
            path = f"{folder / 'test.zip'}!{row['file']}"
            counts = [row[f"ferplus_{name}"] for name in raters]
            writer.writerow([path, row["label"], row["usage"], *counts])
    listing = read(tmp_path / "faces.csv")
    assert len(listing.records) == 3027
    assert {r.split for r in listing.records} == {"test"}
    assert {len(r.votes) for r in listing.records} <= {0, 9, 10}
    nulls = sum(vote is None for r in listing.records for vote in r.votes)
    ignored = ("contempt", "unknown", "NF")
    assert nulls == sum(int(row[f"ferplus_{n}"] or 0) for row in rows for n in ignored)
    assert read_image_bytes(listing.records[-1].image)[:2] == b"\xff\xd8"


def test_folders_of_another_label_set_are_told_which(tmp_path: Path) -> None:
    write_images(tmp_path, "happy/a.jpg", "angry/b.jpg", "fear/c.jpg")
    with pytest.raises(InputError, match="of fer7 and not of aihub7 .*: give `label_set=fer7`"):
        read_source((tmp_path,), None, load_label_set("aihub7"))
    write_images(tmp_path, "neutral/d.jpg")  # a label of both
    with pytest.raises(InputError, match="labels of fer7: give `label_set=fer7`"):
        read_source((tmp_path,), None, load_label_set("aihub7"))


def test_of_two_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "src" / "faces.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("happy/a.jpg", b"old")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("happy/a.jpg", IMAGE)
    listing = read(path.parent)
    assert [read_image_bytes(r.image) for r in listing.records] == [IMAGE]
    assert [(r.file, r.reason) for r in listing.rejects] == [
        ("faces.zip!happy/a.jpg", "replaced_member")
    ]


def test_a_zip_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "src" / "faces.zip"
    write_zip(path, "happy/a.jpg", "sad/b.jpg")
    (tmp_path / "link.zip").symlink_to(path)
    once = read(path)
    for paths in ((path, path), (path.parent, path), (path, tmp_path / "link.zip")):
        listing = read(*paths)
        assert len(listing.records) == len(once.records) == 2
        assert [r.reason for r in listing.rejects] == ["repeated_zip"]


def test_a_damaged_member_of_any_compression_is_refused_in_a_line(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = tmp_path / f"{method}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("happy/a.jpg", bytes(range(256)) * 20)
        data = bytearray(path.read_bytes())
        for at in range(60, 90):
            data[at] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(MediaError):
            read_image_bytes(read(path).records[0].image)
