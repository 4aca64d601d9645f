"""A bundle as a starting point: the same answers before, and all but the image tower after."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from make_data import make_data, training_settings
from nunbit.core.messages import InputError
from nunbit.language.tokenizer import tokenise
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.runtime.files import read_json, sha256_file, write_json
from nunbit.training.bundle_start import START_BUNDLE, load_on_bundle, mixture
from nunbit.training.export import torch_embed_images
from nunbit.training.loop import train
from nunbit.training.networks import load_network, load_start
from nunbit.training.settings import TrainSettings, start_kind

pytestmark = pytest.mark.train

SHIPPED = default_bundle_path()
KEPT = ("prompts.npz", "sentences.npz", "text.onnx", "tokenizer.json", "voice.onnx")


def faces(n: int) -> np.ndarray[Any, Any]:
    coarse = np.random.default_rng(3).integers(0, 256, (n, 6, 6, 1), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, 8, 8, 3), np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data", per_class=2)


def on_bundle(init: str = "fer7-lite", **changes: Any) -> TrainSettings:
    given = {"init": init, "image_size": "auto", "grey": True, "prompts": "natural-0.1"}
    given |= {"captions": "classes", "max_steps": 2, "eval_every": 2, "lr": 1e-4}
    return training_settings(**(given | changes))


def test_a_bundle_is_recognised_by_name_and_by_folder(tmp_path: Path) -> None:
    assert start_kind("fer7-lite") == start_kind(str(SHIPPED)) == "bundle"
    assert start_kind(str(tmp_path)) == "clip"


@pytest.mark.slow
def test_the_image_tower_answers_as_the_bundle_does() -> None:
    model, bundle, _, _ = load_on_bundle(SHIPPED)
    network, _ = load_start(on_bundle(), bundle.label_set, _templates(), {})
    network.model.eval()
    given = faces(6)
    expected = bundle._run("image.onnx", {"pixels": _pixels(given, bundle)})
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(torch_embed_images(network, given), expected, atol=2e-5)
    assert float(model.logit_scale.detach()) == pytest.approx(bundle.logit_scale, rel=1e-6)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


@pytest.mark.slow
def test_cached_prompts_come_to_the_bit_and_other_texts_from_the_text_tower() -> None:
    model, bundle, _, _ = load_on_bundle(SHIPPED)
    with np.load(SHIPPED / "prompts.npz") as cache:
        texts, cached = [str(t) for t in cache["texts"][:5]], cache["embeddings"][:5]
    ids, mask = (torch.from_numpy(a) for a in tokenise(bundle._tokenizer, texts, None))
    assert np.array_equal(model.text(ids, mask).numpy(), cached)
    other = ["눈썹이 올라갔다.", "the corners of the mouth are pulled down, and more"]
    ids, mask = (torch.from_numpy(a) for a in tokenise(bundle._tokenizer, other, None))
    got = model.embed_texts(ids, mask).numpy()
    np.testing.assert_allclose(got, bundle.embed_texts(other), atol=1e-5)


@pytest.mark.slow
def test_a_run_changes_the_image_tower_and_nothing_else(data: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(SHIPPED, start)
    document = read_json(start / "bundle.json")
    # Thresholds that were fitted to the old tower must not be carried over.
    write_json(start / "bundle.json", document | {"thresholds": {"depression_related": 0.5}})
    summary = train(data, tmp_path / "run", on_bundle(str(start)), resume=False)
    made = tmp_path / "run" / "bundle"
    for name in KEPT:
        assert sha256_file(made / name) == sha256_file(SHIPPED / name), name
    assert sha256_file(made / "image.onnx") != sha256_file(SHIPPED / "image.onnx")
    assert summary["parity"]["image_cosine_min"] > 0.9999
    after = read_json(made / "bundle.json")
    kept = ("logit_scale", "trained_prompts", "text_emotion", "voice", "cached_prompts")
    assert all(after[name] == document[name] for name in kept)
    assert "thresholds" not in after
    assert after["preprocessing"]["detector_framing"] == {"scale": 0.98, "shift_y": -0.01}
    assert after["training"]["settings"]["init"] == "fer7-lite"
    assert "21,615 images" in after["starting_point"]["weights"]
    assert load_bundle(made).voice is not None

    # The run stands alone: neither resuming nor going on needs the bundle it began with.
    shutil.rmtree(start)
    load_network(tmp_path / "run")
    again = train(data, tmp_path / "run2", on_bundle(str(tmp_path / "run")), resume=False)
    assert again["steps"] == 2
    assert (tmp_path / "run2" / START_BUNDLE / "voice.onnx").is_file()
    assert sha256_file(tmp_path / "run2" / "bundle" / "prompts.npz") == sha256_file(
        SHIPPED / "prompts.npz"
    )


@pytest.mark.slow
def test_a_bundle_of_another_network_is_refused(data: Path, tmp_path: Path) -> None:
    run = train(data, tmp_path / "tiny", training_settings(max_steps=2, eval_every=2), resume=False)
    with pytest.raises(InputError, match="init=lite"):
        load_on_bundle(Path(run["bundle"]))


def _templates() -> Any:
    from nunbit.language.prompts import load_template_set

    return load_template_set("natural-0.1")


def _pixels(crops: np.ndarray[Any, Any], bundle: Any) -> np.ndarray[Any, Any]:
    from nunbit.model.encoders import resize_crop, standardise

    resized = np.stack([resize_crop(crop, bundle.preprocessing) for crop in crops])
    return standardise(resized, bundle.preprocessing)


def test_a_mean_of_kept_averages_is_the_mean_that_its_text_names(tmp_path: Path) -> None:
    start = {"w": torch.tensor([1.0, 2.0])}
    for step, value in ((200, 10.0), (400, 30.0)):
        torch.save({"w": torch.full((2,), value)}, tmp_path / f"average-{step}.pt")
    found = mixture(f"0.6*{tmp_path}:200,400+0.4*start", start)
    torch.testing.assert_close(found["w"], torch.tensor([12.4, 12.8]))
    torch.testing.assert_close(mixture("1*start", start)["w"], start["w"])
    for wrong in ("0.5*start", "start", f"1*{tmp_path}", "0.5*start+0.6*start"):
        with pytest.raises(ValueError, match=r"SHARE|do not make 1"):
            mixture(wrong, start)
    with pytest.raises(OSError, match="average-600"):
        mixture(f"1*{tmp_path}:600", start)
