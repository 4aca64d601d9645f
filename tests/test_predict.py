"""The story of predict: a toy model of colours, photos good and bad, prompts and sentences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command import run_command
from nunbit.core.messages import BundleError, InputError, SettingsError
from nunbit.language.labels import label_set_to_dict, load_label_set
from nunbit.language.prompts import load_template_set, prompts_for
from nunbit.model.bundle import default_bundle_path, shipped_bundles
from nunbit.pictures.faces import FaceDetection
from nunbit.runtime.config import read_settings
from nunbit.runtime.progress import set_lang
from nunbit.runtime.progress import width as columns
from nunbit.stories.predict import annotation_targets, predict
from nunbit.stories.predict.result import PredictResult
from nunbit.stories.predict.texts import PredictSettings

onnx = pytest.importorskip("onnx", reason="the toy model is built with onnx (extra train)")

# The toy model embeds a picture as its mean colour, and each class is a colour.
COLOUR = {
    "joy": (255, 230, 0),
    "surprise": (0, 220, 255),
    "anger": (255, 0, 0),
    "fear": (130, 0, 255),
    "disgust": (0, 255, 0),
    "sadness": (0, 0, 255),
    "neutral": (255, 255, 255),
}
WORDS = {"red": (255, 0, 0), "blue": (0, 0, 255), "white": (255, 255, 255), "얼굴": (0, 0, 0)}
SIDE, LOGIT_SCALE, TEMPERATURE = 16, 20.0, 2.0
HOPPER_BOX = (177, 123, 354, 333)


def centred(colour: Sequence[int]) -> np.ndarray:
    return (np.asarray(colour, np.float32) / 255 - 0.5) / 0.5


def write_image_tower(path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    axes = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    node = helper.make_node("ReduceMean", ["pixels", "axes"], ["embedding"], keepdims=0)
    graph = helper.make_graph(
        [node],
        "image",
        [helper.make_tensor_value_info("pixels", kind, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", kind, ["n", 3])],
        [axes],
    )
    save(graph, path)


def write_text_tower(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    vocabulary = {"[PAD]": 0, **{word: i for i, word in enumerate(WORDS, start=1)}}
    tokenizer = Tokenizer(WordLevel({**vocabulary, "[UNK]": len(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    tokenizer.save(str(folder / "tokenizer.json"))
    helper, kinds = onnx.helper, onnx.TensorProto
    table = np.zeros((len(vocabulary) + 1, 3), np.float32)
    table[1:-1] = [centred(colour) for colour in WORDS.values()]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=kinds.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["rows", "mask3"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["embedding"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [
            helper.make_tensor_value_info(name, kinds.INT64, ["m", "l"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", kinds.FLOAT, ["m", 3])],
        [
            onnx.numpy_helper.from_array(table, "table"),
            onnx.numpy_helper.from_array(np.array([-1], np.int64), "last"),
            onnx.numpy_helper.from_array(np.array([1], np.int64), "middle"),
        ],
    )
    save(graph, folder / "text.onnx")


def save(graph: Any, path: Path) -> None:
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), path)


def toy_bundle(folder: Path, *, text_tower: bool = True, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    label_set = load_label_set("fer7")
    write_image_tower(folder / "image.onnx")
    if text_tower:
        write_text_tower(folder)
    texts, vectors = [], []
    for row in prompts_for(load_template_set("natural"), label_set):
        texts += row
        vectors += [centred(COLOUR[label]) for label in label_set.ids]
    np.savez(folder / "prompts.npz", texts=np.array(texts), embeddings=np.array(vectors))
    files = sorted(p.name for p in folder.iterdir())
    document = {
        "format": "nunbit-bundle-1",
        "name": "toy",
        "label_set": label_set_to_dict(label_set),
        "template_sets": ["natural"],
        "trained_template_set": "natural",
        "preprocessing": {
            "image_size": SIDE,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "crop": {"kind": "square", "margin": 0.0, "size": 32},
        },
        "logit_scale": LOGIT_SCALE,
        "temperature": TEMPERATURE,
        "embedding_size": 3,
        "licence": {"code": "Apache-2.0", "trained_weights": "none, a toy"},
        "checksums": {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in files},
        **changes,
    }
    (folder / "bundle.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("model") / "wordless", text_tower=False)


def paint(folder: Path, label: str, size: tuple[int, int] = (40, 40)) -> Path:
    path = folder / f"{label}.png"
    Image.new("RGB", size, COLOUR[label]).save(path)
    return path


def run(files: Sequence[Path], bundle: Path, **settings: Any) -> PredictResult:
    return predict(files, PredictSettings(threads=1, **settings), bundle=bundle)


def labels(result: PredictResult) -> list[list[str]]:
    return [[face["label"] for face in file["faces"]] for file in result.document["files"]]


def see(monkeypatch: pytest.MonkeyPatch, *boxes: tuple[float, float, float, float]) -> None:
    found = tuple(FaceDetection(box, 0.9) for box in boxes)
    monkeypatch.setattr("nunbit.stories.predict.detect_faces", lambda pixels, settings: found)


# What comes out


def test_crops_are_classified_by_prompt(tmp_path: Path, bundle: Path) -> None:
    files = [paint(tmp_path, label) for label in COLOUR]
    result = run(files, bundle, crops=True)
    assert labels(result) == [[label] for label in COLOUR]
    for file in result.files:
        (face,) = file.faces
        assert face.box_xyxy is None
        assert face.detection_score is None
        assert face.size_px == 40
        assert face.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
        assert face.prompt_cosines.shape == (5, 7)


def test_figures_equal_a_calculation_by_hand(tmp_path: Path, bundle: Path) -> None:
    result = run([paint(tmp_path, "anger")], bundle, crops=True)
    (face,) = result.files[0].faces
    units = [centred(c) / np.linalg.norm(centred(c)) for c in COLOUR.values()]
    cosines = np.array([u @ units[2] for u in units])
    logits = np.exp(cosines * LOGIT_SCALE / TEMPERATURE)
    assert face.cosines == pytest.approx(cosines, abs=1e-3)
    assert face.prompt_cosines == pytest.approx(np.tile(cosines, (5, 1)), abs=1e-3)
    assert face.probabilities == pytest.approx(logits / logits.sum(), abs=1e-3)


def test_a_face_in_a_photo(tmp_path: Path, bundle: Path, hopper: Image.Image) -> None:
    hopper.save(tmp_path / "photo.png")
    result = run([tmp_path / "photo.png"], bundle)
    (face,) = result.files[0].faces
    assert face.box_xyxy == pytest.approx(HOPPER_BOX, abs=25)
    assert face.detection_score is not None
    assert 0.6 <= face.detection_score <= 1.0
    assert not face.tiny
    assert result.counts == {"files": 1, "ok": 1, "no_face": 0, "error": 0, "faces": 1}
    assert result.failure is None


def test_boxes_are_in_pixels_of_the_full_photo_although_it_was_reduced(
    tmp_path: Path, bundle: Path, hopper: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nunbit.pictures.photos.MAX_PIXELS", 90_000)
    hopper.save(tmp_path / "photo.png")
    (file,) = run([tmp_path / "photo.png"], bundle).files
    assert file.notes == ("reduced",)
    assert file.size == (512, 600)
    assert file.faces[0].box_xyxy == pytest.approx(HOPPER_BOX, abs=25)


def test_the_crop_is_cut_where_the_face_is(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Image.new("RGB", (300, 200), COLOUR["neutral"])
    photo.paste(COLOUR["sadness"], (40, 30, 80, 70))
    photo.paste(COLOUR["disgust"], (200, 100, 260, 160))
    photo.save(tmp_path / "two.png")
    see(monkeypatch, (200.0, 100.0, 260.0, 160.0), (40.0, 30.0, 80.0, 70.0))
    assert labels(run([tmp_path / "two.png"], bundle)) == [["disgust", "sadness"]]


def test_framing_comes_from_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = Image.new("RGB", (300, 300), COLOUR["sadness"])
    photo.paste(COLOUR["disgust"], (100, 160, 200, 260))
    photo.save(tmp_path / "low.png")
    see(monkeypatch, (100.0, 100.0, 200.0, 200.0))
    document = {"image_size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3}
    moved = document | {"detector_framing": {"scale": 1.0, "shift_y": 0.6}}
    straight = toy_bundle(tmp_path / "straight", preprocessing=document)
    lower = toy_bundle(tmp_path / "lower", preprocessing=moved)
    assert labels(run([tmp_path / "low.png"], straight)) == [["sadness"]]
    assert labels(run([tmp_path / "low.png"], lower)) == [["disgust"]]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_change_nothing(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    rng = np.random.default_rng(0)
    for name in "abc":
        pixels = rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    see(monkeypatch, (0.0, 0.0, 60.0, 60.0), (30.0, 30.0, 80.0, 80.0), (5.0, 40.0, 50.0, 85.0))
    result = run([tmp_path], bundle, batch_size=batch_size)
    alone = [run([tmp_path / f"{name}.png"], bundle).files[0] for name in "abc"]
    for together, single in zip(result.files, alone, strict=True):
        for face, other in zip(together.faces, single.faces, strict=True):
            assert face.box_xyxy == other.box_xyxy
            assert face.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_two_hundred_faces_and_tiny_ones(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Image.new("RGB", (820, 420), COLOUR["neutral"])
    boxes = []
    for n, label in enumerate(list(COLOUR) * 29):
        x, y = n % 20 * 40, n // 20 * 40
        side = 36 if n % 2 else 20
        photo.paste(COLOUR[label], (x, y, x + side, y + side))
        boxes.append((float(x), float(y), float(x + side), float(y + side)))
    photo.save(tmp_path / "crowd.png")
    see(monkeypatch, *boxes)
    (file,) = run([tmp_path / "crowd.png"], bundle).files
    assert len(file.faces) == 203
    assert [face.tiny for face in file.faces] == [n % 2 == 0 for n in range(203)]
    assert labels(run([tmp_path / "crowd.png"], bundle)) == [list(COLOUR) * 29]


# Bad input


def test_every_file_has_its_own_answer(tmp_path: Path, bundle: Path, hopper: Image.Image) -> None:
    hopper.save(tmp_path / "1_good.jpg")
    hopper.convert("CMYK").save(tmp_path / "2_cmyk.jpg")
    grey16 = np.asarray(hopper.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey16).save(tmp_path / "3_16bit.png")
    small = hopper.resize((256, 300))
    other = Image.new("RGB", small.size)
    small.save(tmp_path / "4_animated.gif", save_all=True, append_images=[other])
    Image.new("RGB", (300, 200), (90, 140, 60)).save(tmp_path / "5_no_face.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "6_one_pixel.png")
    (tmp_path / "7_cut.jpg").write_bytes((tmp_path / "1_good.jpg").read_bytes()[:9000])
    (tmp_path / "8_text.jpg").write_text("not a photo")
    (tmp_path / "9_empty.png").write_bytes(b"")
    result = run([tmp_path, tmp_path / "gone.jpg", Path("https://example.org/a.jpg")], bundle)
    found = [(f.file.split("/")[-1], f.state, f.reason, len(f.faces)) for f in result.files]
    assert found == [
        ("1_good.jpg", "ok", None, 1),
        ("2_cmyk.jpg", "ok", None, 1),
        ("3_16bit.png", "ok", None, 1),
        ("4_animated.gif", "ok", None, 1),
        ("5_no_face.png", "no_face", None, 0),
        ("6_one_pixel.png", "no_face", None, 0),
        ("7_cut.jpg", "error", "truncated", 0),
        ("8_text.jpg", "error", "not_an_image", 0),
        ("9_empty.png", "error", "empty_file", 0),
        ("gone.jpg", "error", "missing", 0),
        ("a.jpg", "error", "url", 0),
    ]
    assert result.counts == {"files": 11, "ok": 4, "no_face": 2, "error": 5, "faces": 4}
    assert result.failure is not None
    assert result.failure.text.en == "5 of 11 files could not be read; the others are done"
    assert result.files[3].notes == ("first_frame",)
    text = result.text("en")
    assert "first picture of several" in text
    assert "no face found" in text
    assert sum(line.startswith("! ") for line in text.splitlines()) == 5


def test_one_unreadable_file_ends_with_its_own_message(tmp_path: Path, bundle: Path) -> None:
    result = run([tmp_path / "gone.jpg"], bundle)
    assert result.failure is not None
    assert (
        result.failure.text.en == f"{tmp_path / 'gone.jpg'}: there is no such file; check the path"
    )
    assert result.text("en") == ""  # the command says the error; an empty table adds nothing


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("https://example.org/a.jpg", "https://example.org/a.jpg: an address"),
        ("~/a.jpg", "without quotes"),
        ("album/*.jpg", "pattern"),
    ],
)
def test_what_is_missing_says_why(name: str, says: str, bundle: Path) -> None:
    failure = run([Path(name)], bundle).failure
    assert failure is not None
    assert says in failure.text.en


def test_a_recording_is_sent_to_analyze(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    failure = run([tmp_path / "x.mp4"], bundle).failure
    assert failure is not None
    assert "`analyze` reads recordings" in failure.text.en
    assert "`analyze`" in failure.text.ko


def test_heic_without_its_package_does_not_stop_the_others(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nunbit.pictures.photos.find_spec", lambda name: None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(64))
    paint(tmp_path, "joy")
    result = run([tmp_path], bundle, crops=True)
    assert [f.state for f in result.files] == ["error", "ok"]
    assert result.files[0].reason == "missing_extra"
    assert "pip install pi-heif" in result.text("en")


def test_a_file_named_twice_is_answered_once(tmp_path: Path, bundle: Path) -> None:
    file = paint(tmp_path, "joy")
    assert len(run([file, tmp_path, file], bundle, crops=True).files) == 1


def test_no_file_at_all(bundle: Path) -> None:
    with pytest.raises(InputError, match="no photo given"):
        run([], bundle)


def test_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    changed = toy_bundle(tmp_path / "changed")
    (changed / "image.onnx").write_bytes((changed / "image.onnx").read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"image\.onnx: the checksum differs"):
        run([paint(tmp_path, "joy")], changed, crops=True)


# Prompts and sentences


def test_sentences_are_compared_among_themselves(tmp_path: Path, bundle: Path) -> None:
    result = run([paint(tmp_path, "anger")], bundle, crops=True, prompt=("red 얼굴", "blue"))
    (face,) = result.files[0].faces
    assert result.sentences == ("red 얼굴", "blue")
    red = centred((255, 0, 0))
    both = red + centred((0, 0, 0))
    assert face.sentence_cosines == pytest.approx(
        [
            red @ both / np.linalg.norm(red) / np.linalg.norm(both),
            red @ centred((0, 0, 255)) / 3,
        ],
        abs=1e-3,
    )
    assert face.sentence_probabilities is not None
    assert face.sentence_probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert face.sentence_probabilities.argmax() == 0
    assert labels(result) == [["anger"]]  # the classes are answered as well
    assert "red 얼굴" in result.text("ko")


def test_one_sentence_alone_has_a_cosine_but_no_probability(tmp_path: Path, bundle: Path) -> None:
    result = run([paint(tmp_path, "anger")], bundle, crops=True, prompt=("red",))
    (face,) = result.files[0].faces
    assert face.sentence_cosines == pytest.approx([1.0], abs=1e-3)
    assert face.sentence_probabilities is None
    assert result.document["files"][0]["faces"][0]["sentence_probability"] is None


def test_a_text_file_adds_its_sentences(tmp_path: Path, bundle: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text("\ufeffred\n\n# a remark\n  blue \nred\n", encoding="utf-8")
    result = run(
        [paint(tmp_path, "anger")], bundle, crops=True, prompts=str(file), prompt=("white",)
    )
    assert result.sentences == ("red", "blue", "white")
    assert result.template_set == "natural"


def test_a_template_file_takes_the_place_of_the_templates(tmp_path: Path, bundle: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\nlanguage = "en"\n[[templates]]\nid = "M1"\ntext = "red {emotion}"\n'
    )
    result = run([paint(tmp_path, "anger")], bundle, crops=True, prompts=str(file))
    assert result.template_set == "mine"
    assert result.document["prompts"] == {
        "M1": [f"red {label.noun.en}" for label in load_label_set("fer7").labels]
    }
    # The toy tower knows none of the nouns: every class is 'red' and as likely as any other.
    (face,) = result.files[0].faces
    assert face.probabilities == pytest.approx([1 / 7] * 7, abs=1e-5)


def test_another_label_set(tmp_path: Path, bundle: Path) -> None:
    result = run([paint(tmp_path, "anger")], bundle, crops=True, label_set="aihub7")
    assert list(result.label_set.ids)[1] == "flustered"
    assert [n.en.split(":")[0] for n in result.notices] == ["flustered, anxiety, hurt"]
    assert "거의 찾지 못합니다" in result.text("ko")
    assert not run([paint(tmp_path, "anger")], bundle, crops=True).notices
    assert len(result.files[0].faces[0].probabilities) == 7


def test_without_a_text_tower_only_cached_prompts_work(tmp_path: Path, wordless: Path) -> None:
    file = paint(tmp_path, "sadness")
    assert labels(run([file], wordless, crops=True)) == [["sadness"]]
    for settings in ({"prompt": ("red",)}, {"prompts": "paper"}, {"label_set": "aihub7"}):
        with pytest.raises(BundleError, match=r"no text tower.*only cached prompts \(natural"):
            run([file], wordless, crops=True, **settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no sentence in this file"),
        (b"# only a remark\n", "no sentence in this file"),
        (b"\xff\xfe\x00", "expected UTF-8"),
        (b"a" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_files_without_sentences(
    tmp_path: Path, bundle: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        run([paint(tmp_path, "joy")], bundle, crops=True, prompts=str(file))


def test_prompts_that_are_neither_a_set_nor_a_file(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(InputError, match="'poetry' is neither one of"):
        run([paint(tmp_path, "joy")], bundle, crops=True, prompts="poetry")


def test_an_empty_sentence_is_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(SettingsError, match="`prompt` is empty"):
        run([paint(tmp_path, "joy")], bundle, crops=True, prompt=("red", " "))


@pytest.mark.parametrize(
    "override",
    ["sizes_px=[]", "sizes_px=[10]", "min_score=0.1", "batch_size=0", "ensemble=vote", "sise=1"],
)
def test_settings_out_of_range_are_refused(override: str) -> None:
    with pytest.raises(SettingsError):
        read_settings(PredictSettings, overrides=[override])


# Output


def test_the_document_is_json_and_says_where_it_comes_from(
    tmp_path: Path, bundle: Path, hopper: Image.Image
) -> None:
    hopper.save(tmp_path / "photo.png")
    before = sorted(p.name for p in tmp_path.iterdir())
    result = run([tmp_path / "photo.png", tmp_path / "gone.png"], bundle, prompt=("red", "blue"))
    document = json.loads(json.dumps(result.document, allow_nan=False, ensure_ascii=False))
    digest = hashlib.sha256((tmp_path / "photo.png").read_bytes()).hexdigest()
    assert document["format"] == "nunbit-predict-1"
    assert document["labels"] == list(COLOUR)
    assert document["bundle"]["name"] == "toy"
    assert document["files"][0]["sha256"] == digest
    assert document["files"][1]["message"]["en"].endswith("check the path")
    face = document["files"][0]["faces"][0]
    assert set(face["probability"]) == set(face["cosine"]) == set(COLOUR)
    assert set(face["prompt_cosine"]) == {"N1", "N2", "N3", "N4", "N5"}
    assert len(face["sentence_probability"]) == 2
    assert document["provenance"]["command"] == "predict"
    assert document["provenance"]["inputs"] == {"bundle": result.bundle_hash, "file 1": digest}
    assert str(tmp_path) not in json.dumps(document["provenance"])
    assert "not a diagnosis" in document["statement"]["en"]
    assert sorted(p.name for p in tmp_path.iterdir()) == before  # nothing is stored


def test_the_statement_of_the_bundle_stands_under_the_table(tmp_path: Path) -> None:
    statement = {"en": "Not validated on Korean faces or on video.", "ko": "한국인 미검증."}
    model = toy_bundle(tmp_path / "toy", statement=statement)
    result = run([paint(tmp_path, "joy")], model, crops=True)
    assert result.text("en").splitlines()[-1] == statement["en"]
    assert result.text("ko").splitlines()[-1] == statement["ko"]


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_table_is_aligned_in_terminal_columns(
    tmp_path: Path, bundle: Path, lang: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("가족 사진.png", "a.png", "이름이 아주 아주 아주 긴 사진 파일의 이름.png"):
        Image.new("RGB", (90, 90), COLOUR["fear"]).save(tmp_path / name)
    see(monkeypatch, (0.0, 0.0, 60.0, 60.0), (10.0, 10.0, 30.0, 30.0))
    lines = run([tmp_path], bundle, prompt=("red", "blue 얼굴")).text(lang).splitlines()
    # Under every face stand its sentences.
    head, rows = lines[0], [each for each in lines[1:19] if not each.startswith("    ")]
    assert len(rows) == 6
    word, sentence = ("expression", "closest") if lang == "en" else ("표정", "가장 가까운")
    fear = "fear" if lang == "en" else "공포"
    for row in rows:
        assert columns(row[: row.index(fear)]) == columns(head[: head.index(word)])
        assert columns(row[: row.index("blue")]) == columns(head[: head.index(sentence)])
    tiny = "tiny face" if lang == "en" else "아주 작은 얼굴"
    assert [tiny in row for row in rows] == [False, True] * 3


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("기쁨", 4), ("a기", 3), ("é", 1), ("e\u0301", 1), ("（", 2)],
)
def test_terminal_columns(text: str, width: int) -> None:
    assert columns(text) == width


def test_control_characters_in_file_names_do_not_reach_the_terminal(
    tmp_path: Path, bundle: Path
) -> None:
    path = tmp_path / "x\x1b[31m.png"
    Image.new("RGB", (20, 20)).save(path)
    assert "\x1b" not in run([path], bundle, crops=True).text("en")


# Annotated copies


def test_annotated_copies(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    see(monkeypatch, (200.0, 200.0, 400.0, 400.0))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (800, 700), COLOUR["sadness"]).save(photos / name)
    (photos / "c.png").write_bytes(b"broken")
    before = {p.name: p.read_bytes() for p in photos.iterdir()}
    out = tmp_path / "out"
    set_lang("ko")
    result = predict([photos], PredictSettings(), bundle=bundle, annotate=out)
    assert sorted(p.name for p in out.iterdir()) == ["a.annotated.jpg", "b.annotated.jpg"]
    assert {p.name: p.read_bytes() for p in photos.iterdir()} == before
    assert [f.annotated for f in result.files] == [
        str(out / "a.annotated.jpg"),
        str(out / "b.annotated.jpg"),
        None,
    ]
    drawn = np.asarray(Image.open(out / "a.annotated.jpg")).astype(int)
    assert drawn.shape[1] == 800
    assert drawn.shape[0] > 700  # the caption
    assert np.abs(drawn[300, 200] - COLOUR["sadness"]).max() > 60
    assert np.abs(drawn[300, 300] - COLOUR["sadness"]).max() < 20


def test_annotating_a_reduced_photo_puts_the_box_where_the_face_is(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nunbit.pictures.photos.MAX_PIXELS", 800 * 700)
    see(monkeypatch, (200.0, 200.0, 400.0, 400.0))
    Image.new("RGB", (1600, 1400), COLOUR["sadness"]).save(tmp_path / "a.png")
    out = tmp_path / "marked.png"
    (file,) = predict([tmp_path / "a.png"], PredictSettings(), bundle=bundle, annotate=out).files
    assert file.faces[0].box_xyxy == (400.0, 400.0, 800.0, 800.0)
    drawn = np.asarray(Image.open(out)).astype(int)
    assert drawn.shape[1] == 800
    assert np.abs(drawn[300, 200] - COLOUR["sadness"]).max() > 60


@pytest.mark.parametrize(
    ("names", "out", "wanted"),
    [
        (["a.png"], "marked.png", ["marked.png"]),
        (["a.png"], "folder", ["folder/a.annotated.jpg"]),
        (
            ["one/a.png", "two/A.jpg", "two/a.gif"],
            "out",
            ["out/a.annotated.jpg", "out/A.annotated-2.jpg", "out/a.annotated-3.jpg"],
        ),
    ],
)
def test_where_annotated_copies_go(
    tmp_path: Path, names: list[str], out: str, wanted: list[str]
) -> None:
    targets = annotation_targets([tmp_path / n for n in names], tmp_path / out)
    assert list(targets.values()) == [tmp_path / w for w in wanted]


def test_a_picture_is_no_place_for_the_copies_of_two_photos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names a picture, but there are 2 photos; give a folder"):
        annotation_targets([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "two.jpg")


def test_the_table_names_the_copies_and_a_csv_has_a_row_a_face(
    tmp_path: Path, bundle: Path
) -> None:
    photo = paint(tmp_path, "joy")
    done = run_command(
        "predict", photo, "--crops", "--bundle", bundle, "--annotate", tmp_path / "marked",
        "--csv", tmp_path / "faces.csv", "--prompt", "red", "--prompt", "blue",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"annotated copies: {tmp_path / 'marked'}" in done.stdout
    head, row = (tmp_path / "faces.csv").read_text(encoding="utf-8-sig").splitlines()
    cells = dict(zip(head.replace('"', "").split(","), row.replace('"', "").split(","),
                     strict=True))  # fmt: skip
    assert cells["label"] == "joy"
    assert {"p_joy", "p: red", "p: blue", "cosine: red"} <= set(cells)
    assert "detection" in done.stdout.splitlines()[0]
    # Every sentence is shown with its share, the closest first.
    shown = [line.split() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert {line[2] for line in shown} == {"red", "blue"}
    assert float(shown[0][0]) >= float(shown[1][0])
    assert sum(float(line[1]) for line in shown) == pytest.approx(1.0, abs=0.011)


def test_no_photo_is_ever_overwritten(tmp_path: Path, bundle: Path) -> None:
    photo = paint(tmp_path, "joy")
    before = photo.read_bytes()
    link = tmp_path / "link.png"
    link.symlink_to(photo)
    (tmp_path / "joy.annotated.jpg").write_bytes(before)
    for out, files in (
        (photo, [photo]),
        (link, [photo]),
        (tmp_path, [photo, tmp_path / "joy.annotated.jpg"]),
    ):
        with pytest.raises(InputError, match="`annotate` would overwrite this photo"):
            predict(files, PredictSettings(crops=True), bundle=bundle, annotate=out)
    assert photo.read_bytes() == before
    assert (tmp_path / "joy.annotated.jpg").read_bytes() == before


# The shipped bundle


def test_without_a_shipped_bundle_the_remedy_is_named(tmp_path: Path) -> None:
    assert shipped_bundles(tmp_path) == ()
    with pytest.raises(BundleError, match="ships no model: give a folder as `model`"):
        default_bundle_path(tmp_path)


def test_the_shipped_bundle_is_found(tmp_path: Path) -> None:
    toy_bundle(tmp_path / "b-model")
    (tmp_path / "a-empty").mkdir()
    (tmp_path / "README").write_text("x")
    assert default_bundle_path(tmp_path) == tmp_path / "b-model"
    assert [(b.name, b.licence) for b in shipped_bundles(tmp_path)] == [("b-model", "none, a toy")]


@pytest.mark.parametrize(("named", "wanted"), [("b\n", "b"), ("a", "a"), ("c", None), (None, None)])
def test_of_several_the_named_one_is_taken(
    tmp_path: Path, named: str | None, wanted: str | None
) -> None:
    for name in "ab":
        toy_bundle(tmp_path / name)
    if named is not None:
        (tmp_path / "default.txt").write_text(named)
    if wanted is None:
        with pytest.raises(BundleError, match=r"this build ships several models \(a, b\)"):
            default_bundle_path(tmp_path)
    else:
        assert default_bundle_path(tmp_path) == tmp_path / wanted


@pytest.mark.data
def test_real_photos(real_data: Path, bundle: Path) -> None:
    result = run([real_data / "image"], bundle)
    assert [(f.state, len(f.faces)) for f in result.files] == [("ok", 5), ("ok", 1)]
