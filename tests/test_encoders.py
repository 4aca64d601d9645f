"""Bundles made of toy ONNX graphs of a few hundred bytes: reading, embedding, refusing."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("tokenizers")

import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from nunbit.core.messages import BundleError, InputError
from nunbit.language.labels import label_set_to_dict, load_label_set
from nunbit.language.prompts import load_template_set, prompts_for
from nunbit.model.bundle import (
    BUNDLE_FILE,
    BUNDLE_FORMAT,
    IMAGE_FILE,
    PROMPTS_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    VOICE_FILE,
    Preprocessing,
)
from nunbit.model.encoders import load_bundle, resize_crop, standardise
from nunbit.runtime.files import sha256_file

SIDE, SIZE, MAX_TOKENS = 8, 4, 80
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
RNG = np.random.default_rng(0)
IMAGE_WEIGHT = RNG.normal(size=(3 * SIDE * SIDE, SIZE)).astype(np.float32)
TEXT_WEIGHT = RNG.normal(size=(258, SIZE)).astype(np.float32)


def save_graph(path: Path, nodes: list[Any], inputs: list[Any], weights: dict[str, Any]) -> None:
    output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", SIZE])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "toy", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def save_image_graph(path: Path) -> None:
    """A linear map of all pixels."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["vectors"]),
    ]
    save_graph(path, nodes, [pixels], {"weight": IMAGE_WEIGHT})


def save_text_graph(path: Path) -> None:
    """The mean of the vectors of the visible tokens."""
    names = ("input_ids", "attention_mask")
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "l"]) for n in names]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["tokens", "wide"], ["visible"]),
        helper.make_node("ReduceSum", ["visible", "one"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["wide", "one"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["vectors"]),
    ]
    weights = {"table": TEXT_WEIGHT, "last": np.array([2]), "one": np.array([1])}
    save_graph(path, nodes, inputs, weights)


def byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", "<s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.enable_padding(pad_id=0, pad_token="<pad>")
    return tokenizer


def make_bundle(
    folder: Path, *, text: bool = True, cached: tuple[str, ...] = ("paper",), **changes: Any
) -> Path:
    """Write a bundle; ``changes`` replace parts of ``bundle.json``."""
    folder.mkdir()
    labels = load_label_set("aihub7")
    save_image_graph(folder / IMAGE_FILE)
    if text:
        save_text_graph(folder / TEXT_FILE)
        (folder / TOKENIZER_FILE).write_text(byte_tokenizer().to_str(), encoding="utf-8")
    prompts = [t for s in cached for row in prompts_for(load_template_set(s), labels) for t in row]
    vectors = np.arange(len(prompts) * SIZE, dtype=np.float32).reshape(-1, SIZE) + 1
    np.savez(folder / PROMPTS_FILE, texts=np.array(prompts), embeddings=vectors)
    document: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "name": "toy",
        "label_set": label_set_to_dict(labels),
        "preprocessing": {"image_size": SIDE, "mean": MEAN, "std": STD, "resample": "bilinear"},
        "logit_scale": 20.0,
        "temperature": 1.5,
        "embedding_size": SIZE,
        "template_sets": list(cached),
        "max_tokens": MAX_TOKENS,
    } | changes
    document.setdefault("checksums", {p.name: sha256_file(p) for p in folder.iterdir()})
    (folder / BUNDLE_FILE).write_text(json.dumps(document), encoding="utf-8")
    return folder


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_reads_what_bundle_json_says(tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b"), threads=1)
    assert (bundle.logit_scale, bundle.temperature) == (20.0, 1.5)
    assert (bundle.embedding_size, bundle.image_size) == (SIZE, SIDE)
    assert bundle.label_set == load_label_set("aihub7")
    assert bundle.document.name == "toy"
    assert bundle.hash == sha256_file(tmp_path / "b" / BUNDLE_FILE)
    assert bundle.has_text_tower


@pytest.mark.parametrize("count", [0, 1, 33, 70])
def test_images_in_bounded_batches_give_what_one_by_one_gives(tmp_path: Path, count: int) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b"), threads=1)
    crops = RNG.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    rows = bundle.embed_images(crops)
    pixels = ((crops / 255.0 - MEAN) / STD).transpose(0, 3, 1, 2).reshape(count, 3 * SIDE * SIDE)
    assert rows.shape == (count, SIZE)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, unit(pixels @ IMAGE_WEIGHT), atol=1e-5)


def test_mirror_averaging_gives_a_face_and_its_reflection_one_answer(tmp_path: Path) -> None:
    plain = load_bundle(make_bundle(tmp_path / "plain"), threads=1)
    preprocessing = {**plain.document.preprocessing, "mirror": True}
    both = load_bundle(make_bundle(tmp_path / "both", preprocessing=preprocessing), threads=1)
    crops = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    reflected = np.ascontiguousarray(crops[:, :, ::-1])
    answers = both.embed_images(crops)
    np.testing.assert_allclose(both.embed_images(reflected), answers, atol=1e-6)
    one, other = plain.embed_images(crops), plain.embed_images(reflected)
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_allclose(answers, unit(one + other), atol=1e-6)


def test_any_crop_size_is_resized_as_the_bundle_says(tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b"), threads=1)
    large = np.repeat(np.repeat(RNG.integers(0, 256, (2, 4, 4, 3), np.uint8), 9, 1), 6, 2)
    small = np.stack([resize_crop(crop, bundle.preprocessing) for crop in large])
    assert small.shape == (2, SIDE, SIDE, 3)
    np.testing.assert_array_equal(bundle.embed_images(large), bundle.embed_images(small))


def test_grey_gives_three_equal_channels_and_colour_does_not() -> None:
    crop = RNG.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    half = (0.5, 0.5, 0.5)
    grey = resize_crop(crop, Preprocessing(SIDE, half, half, grey=True))
    luminance = crop @ np.array([0.299, 0.587, 0.114])
    assert (grey == grey[..., :1]).all()
    assert abs(grey[..., 0] - luminance).max() <= 1.0
    np.testing.assert_array_equal(resize_crop(crop, Preprocessing(SIDE, half, half)), crop)


def test_standardise_uses_mean_and_std_of_each_channel() -> None:
    crops = np.full((1, 2, 2, 3), 255, np.uint8)
    crops[0, 1, 0] = (0, 51, 102)
    pixels = standardise(crops, Preprocessing(2, tuple(MEAN), tuple(STD)))  # type: ignore[arg-type]
    np.testing.assert_allclose(pixels[0, :, 1, 0], [-2.0, -1.2, -2 / 3], atol=1e-6)
    np.testing.assert_allclose(pixels[0, :, 0, 1], [3.0, 2.0, 4 / 3], atol=1e-6)


@pytest.mark.parametrize(
    "crops", [np.zeros((2, 8, 8), np.uint8), np.zeros((1, 8, 8, 3), np.float32)]
)
def test_wrong_arrays_are_refused(tmp_path: Path, crops: np.ndarray) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b"), threads=1)
    with pytest.raises(ValueError, match=r"expected \(N, H, W, 3\) uint8"):
        bundle.embed_images(crops)


def test_texts_of_different_lengths_do_not_change_one_another(tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b"), threads=1)
    texts = ["슬픈 얼굴", "", "a happy face 😀", *(f"문장 {i}" for i in range(70))]
    together = bundle.embed_texts(texts)
    alone = np.concatenate([bundle.embed_texts([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    decomposed = unicodedata.normalize("NFD", texts[0])  # as macOS spells file names
    np.testing.assert_array_equal(bundle.embed_texts([decomposed])[0], alone[0])
    assert bundle.embed_texts([]).shape == (0, SIZE)


def test_a_text_longer_than_the_tower_reads_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b"), threads=1)
    with pytest.raises(InputError, match=r"'aaaaa.*has 101 tokens.*reads 80") as caught:
        bundle.embed_texts(["short", "a" * 100])
    assert "줄여" in caught.value.text.ko


def test_prompts_come_from_the_cache_first_and_from_the_text_tower_else(tmp_path: Path) -> None:
    labels = load_label_set("aihub7")
    paper, natural = load_template_set("paper"), load_template_set("natural")
    bundle = load_bundle(make_bundle(tmp_path / "b"), threads=1)
    cached = bundle.prompt_embeddings(paper, labels)
    assert cached.shape == (5, 7, SIZE)
    stored = unit(np.arange(35 * SIZE).reshape(5, 7, SIZE) + 1.0)
    np.testing.assert_allclose(cached, stored, atol=1e-6)
    computed = bundle.prompt_embeddings(natural, labels)
    text = prompts_for(natural, labels)[2][5]
    np.testing.assert_allclose(computed[2, 5], bundle.embed_texts([text])[0], atol=1e-6)


def test_without_a_text_tower_only_cached_prompts_work(tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b", text=False), threads=1)
    assert not bundle.has_text_tower
    paper = load_template_set("paper")
    assert bundle.prompt_embeddings(paper, load_label_set("aihub7")).shape == (5, 7, SIZE)
    with pytest.raises(BundleError, match=r"no text tower for paper × fer7.*nunbit export") as e:
        bundle.prompt_embeddings(paper, load_label_set("fer7"))
    assert "텍스트 인코더가 없고" in e.value.text.ko
    with pytest.raises(BundleError, match="no text tower, only cached prompts"):
        bundle.embed_texts(["a sentence"])


def _remove(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _overwrite(name: str, data: bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove(BUNDLE_FILE), r"no bundle here.*RUN/bundle"),
        pytest.param(
            _overwrite(BUNDLE_FILE, b"{"), r"bundle\.json: the bundle is damaged", id="cut off"
        ),
        pytest.param(
            _overwrite(BUNDLE_FILE, b"\xff\xfe"),
            r"bundle\.json: the bundle is damaged",
            id="no text",
        ),
        pytest.param(
            _overwrite(BUNDLE_FILE, b'{"format": 3}'),
            r"bundle\.json: the bundle is damaged",
            id="format no text",
        ),
        (_remove(IMAGE_FILE), r"image\.onnx: the bundle is damaged"),
        (_overwrite(IMAGE_FILE, b"other"), r"image\.onnx: the checksum differs"),
        (_overwrite(PROMPTS_FILE, b"other"), r"prompts\.npz: the checksum differs"),
    ],
)
def test_damaged_bundles_are_refused_when_opened(tmp_path: Path, damage: Any, message: str) -> None:
    folder = make_bundle(tmp_path / "b")
    damage(folder)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "nunbit-bundle-99"}, r"format 'nunbit-bundle-99'"),
        ({"checksums": {}}, r"no checksum of image\.onnx"),
        ({"checksums": {"../x": "0", IMAGE_FILE: "0"}}, r"names a path outside: \.\./x"),
        ({"label_set": {"name": "x", "labels": []}}, r"not a label set"),
        ({"logit_scale": "high"}, r"damaged"),
    ],
)
def test_documents_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(make_bundle(tmp_path / "b", **changes))


def test_a_missing_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        load_bundle(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "use"),
    [
        (IMAGE_FILE, lambda b: b.embed_images(np.zeros((1, 8, 8, 3), np.uint8))),
        (TEXT_FILE, lambda b: b.embed_texts(["x"])),
        (TOKENIZER_FILE, lambda b: b.embed_texts(["x"])),
        (
            PROMPTS_FILE,
            lambda b: b.prompt_embeddings(load_template_set("paper"), load_label_set("aihub7")),
        ),
    ],
)
def test_files_with_a_right_checksum_and_wrong_content_are_refused_when_used(
    tmp_path: Path, name: str, use: Any
) -> None:
    folder = make_bundle(tmp_path / "b")
    (folder / name).write_bytes(b"not a model")
    document = json.loads((folder / BUNDLE_FILE).read_text())
    document["checksums"][name] = sha256_file(folder / name)
    (folder / BUNDLE_FILE).write_text(json.dumps(document))
    with pytest.raises(BundleError, match=rf"{name}: the bundle is damaged"):
        use(load_bundle(folder, threads=1))


def test_inference_and_settings_load_no_torch() -> None:
    code = (
        "import sys, nunbit.model.encoders, nunbit.training.settings as s; "
        "s.recipe_path('paper'); "
        "print([m for m in ('torch', 'transformers', 'onnxruntime') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def voice_bundle(folder: Path) -> Path:
    """A bundle whose voice tower is one matrix, (2, SIZE)."""
    make_bundle(folder)
    inputs = [helper.make_tensor_value_info("functionals", TensorProto.FLOAT, ["n", 2])]
    nodes = [helper.make_node("MatMul", ["functionals", "weight"], ["vectors"])]
    weight = np.arange(2 * SIZE, dtype=np.float32).reshape(2, SIZE) + 1
    save_graph(folder / VOICE_FILE, nodes, inputs, {"weight": weight})
    document = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    document["checksums"][VOICE_FILE] = sha256_file(folder / VOICE_FILE)
    document["voice"] = {
        "format": "toy",
        "rate_hz": 16000,
        "window_s": 4.0,
        "logit_scale": 30.0,
        "temperature": 1.1,
        "spread": [1.0, 2.0],
        "labels_seen": ["joy"],
        "corpora": ["toy"],
        "note": "not validated on spontaneous speech",
        "parity": {"min_cosine": 1.0},
    }
    (folder / BUNDLE_FILE).write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_voices_are_embedded_by_the_tower_of_the_bundle(tmp_path: Path) -> None:
    bundle = load_bundle(voice_bundle(tmp_path / "b"), threads=1)
    assert bundle.voice is not None
    assert bundle.voice is not None
    assert (bundle.voice.spread, bundle.voice.rate_hz) == ((1.0, 2.0), 16000)
    rows = np.array([[1, 0], [0, 2], [1, -3]], np.float32)
    weight = np.arange(2 * SIZE, dtype=np.float32).reshape(2, SIZE) + 1
    np.testing.assert_allclose(bundle.embed_voice(rows), unit(rows @ weight), atol=1e-6)
    assert bundle.embed_voice(rows[:0]).shape == (0, SIZE)
    for wrong in (rows[:, :1], rows[0], np.full((1, 2), np.nan, np.float32)):
        with pytest.raises(ValueError, match="functionals"):
            bundle.embed_voice(wrong)


def test_a_bundle_without_a_voice_tower_says_so(tmp_path: Path) -> None:
    bundle = load_bundle(make_bundle(tmp_path / "b"))
    assert bundle.voice is None
    assert bundle.voice is None
    with pytest.raises(BundleError, match="no voice tower"):
        bundle.embed_voice(np.zeros((1, 2), np.float32))


def test_a_broken_voice_section_is_a_damaged_bundle(tmp_path: Path) -> None:
    path = voice_bundle(tmp_path / "b")
    document = json.loads((path / BUNDLE_FILE).read_text(encoding="utf-8"))
    del document["voice"]["spread"]
    (path / BUNDLE_FILE).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(path)


def test_sentences_go_through_the_map_of_a_bundle_that_has_one(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "b")
    plain = load_bundle(folder, threads=1)
    texts = ["기뻐요", "슬퍼요"]
    np.testing.assert_array_equal(plain.embed_sentences(texts), plain.embed_texts(texts))
    turned = np.roll(np.eye(SIZE, dtype=np.float32), 1, axis=0)
    np.savez(folder / "sentences.npz", weight=turned, bias=np.zeros(SIZE, np.float32))
    document = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    document["checksums"]["sentences.npz"] = sha256_file(folder / "sentences.npz")
    (folder / BUNDLE_FILE).write_text(json.dumps(document), encoding="utf-8")
    mapped = load_bundle(folder, threads=1).embed_sentences(texts)
    np.testing.assert_allclose(mapped, np.roll(plain.embed_texts(texts), 1, axis=1), atol=1e-6)
    np.savez(folder / "sentences.npz", weight=turned[:2], bias=np.zeros(SIZE, np.float32))
    document["checksums"]["sentences.npz"] = sha256_file(folder / "sentences.npz")
    (folder / BUNDLE_FILE).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(BundleError, match="shape"):
        load_bundle(folder, threads=1).embed_sentences(texts)
