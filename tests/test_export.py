"""Bundles of runs: what they hold, that they agree with torch, that nothing half-made appears."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from make_data import make_data, tiny_clip, training_settings
from nunbit.core.messages import InputError, TrainingError
from nunbit.datasets.shards import open_dataset
from nunbit.language.labels import label_set_names, load_label_set
from nunbit.language.prompts import load_template_set, prompts_for, template_set_names
from nunbit.model.encoders import load_bundle
from nunbit.model.posterior import carried_shares
from nunbit.model.zeroshot import ensemble_cosines, probabilities
from nunbit.runtime.files import read_json
from nunbit.runtime.progress import set_lang

torch = pytest.importorskip("torch")
from nunbit.training import export
from nunbit.training.export import export_run, torch_embed_images, torch_embed_texts
from nunbit.training.loop import fit, train
from nunbit.training.networks import load_network

pytestmark = [pytest.mark.train, pytest.mark.slow]

FILES = {
    "MODEL_CARD.md",
    "bundle.json",
    "image.onnx",
    "prompts.npz",
    "text.onnx",
    "tokenizer.json",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "data", unlabelled=1)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished run and what ``train`` returned."""
    out = tmp_path_factory.mktemp("run") / "run"
    return out, train(data, out, training_settings(), resume=False)


def _use_towers_of(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the graphs of a bundle instead of exporting them again, which takes seconds."""
    for name, file in (("export_image_tower", "image.onnx"), ("export_text_tower", "text.onnx")):
        copy = partial(_copy, bundle / file)
        monkeypatch.setattr(export, name, copy)


def _copy(source: Path, *given: Any) -> None:
    shutil.copy(source, given[-1])


def test_a_run_ends_with_a_bundle_that_agrees_with_torch(
    data: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    run, summary = trained
    assert {path.name for path in (run / "bundle").iterdir()} == FILES
    bundle = load_bundle(run / "bundle", threads=1)
    network = load_network(run)
    best = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    network.model.load_state_dict(best["model"])
    network.model.eval()
    dataset = open_dataset(data)
    crops = np.stack([dataset.pixels(int(row)) for row in dataset.split_rows("validation")])
    np.testing.assert_allclose(
        bundle.embed_images(crops), torch_embed_images(network, crops), atol=1e-5
    )
    texts = ["이 사람의 표정은 슬픔이다.", "침울한 얼굴", "a happy face", ""]
    np.testing.assert_allclose(
        bundle.embed_texts(texts), torch_embed_texts(network, texts), atol=1e-5
    )
    assert bundle.logit_scale == pytest.approx(float(network.model.logit_scale.detach()))
    assert bundle.temperature == best["validation"]["temperature"]
    assert summary["parity"]["image_cosine_min"] >= 0.999
    assert summary["parity"]["same_answer"] == 1.0
    assert summary["best_step"] == best["step"]


def test_the_bundle_scores_the_selection_split_as_the_run_did(
    data: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    run, summary = trained
    dataset, bundle = open_dataset(data), load_bundle(run / "bundle", threads=1)
    rows = dataset.split_rows("validation")
    prompts = bundle.prompt_embeddings(load_template_set("paper"), dataset.label_set)
    images = bundle.embed_images(np.stack([dataset.pixels(int(row)) for row in rows]))
    answers = ensemble_cosines(images, prompts, "mean_embedding").argmax(axis=1)
    label = dataset.column("label")
    truth = [dataset.label_set.index(label[row]) for row in rows]
    assert (answers == truth).mean() == pytest.approx(summary["validation"]["top1"])


def test_a_bundle_says_what_class_shares_its_probabilities_carry(
    data: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    dataset, bundle = open_dataset(data), load_bundle(trained[0] / "bundle", threads=1)
    rows = dataset.split_rows("validation")
    prompts = bundle.prompt_embeddings(load_template_set("paper"), dataset.label_set)
    images = bundle.embed_images(np.stack([dataset.pixels(int(row)) for row in rows]))
    cosines = ensemble_cosines(images, prompts, "mean_embedding")
    chances = probabilities(cosines, bundle.logit_scale, bundle.temperature)
    said = bundle.document.class_shares
    assert said is not None
    assert list(said) == list(bundle.label_set.ids)
    assert list(said.values()) == pytest.approx(chances.mean(axis=0), abs=1e-3)
    carried = carried_shares(bundle)
    assert carried is not None
    assert carried.sum() == pytest.approx(1)


def test_every_template_set_and_label_set_is_cached(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    bundle = load_bundle(trained[0] / "bundle", threads=1)
    everything = {name: list(template_set_names()) for name in label_set_names()}
    assert read_json(bundle.path / "bundle.json")["cached_prompts"] == everything
    assert bundle.document.template_sets == ("paper", "english", "natural")
    with np.load(bundle.path / "prompts.npz") as arrays:
        cached = set(arrays["texts"].tolist())
    for template_set in template_set_names():
        for label_set in label_set_names():
            rows = prompts_for(load_template_set(template_set), load_label_set(label_set))
            assert {text for row in rows for text in row} <= cached


def test_the_document_and_the_card_say_what_the_model_is(
    trained: tuple[Path, dict[str, Any]], data: Path
) -> None:
    run, _ = trained
    document = json.loads((run / "bundle" / "bundle.json").read_text(encoding="utf-8"))
    assert document["training_data"]["train_images"] == 41
    assert document["training_data"]["skipped_without_label"] == 1
    assert document["training_data"]["policy"] == "uploader"
    assert document["preprocessing"]["crop"] == {"kind": "square", "margin": 0.1, "size": 16}
    assert document["training"]["settings"]["init"] == "tiny"
    assert len(document["trained_prompts"]) == 35
    assert document["parity"]["images"] == 42
    card = (run / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for words in ("not a diagnosis", "| train_images | 41 |", "기쁨", "| lr |", "Licence"):
        assert words in card
    assert str(data.parent) not in card + json.dumps(document)


@pytest.mark.slow
def test_export_of_an_interrupted_run_uses_the_best_checkpoint_and_is_silent(
    data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    clip = tiny_clip(tmp_path / "my clip")
    fit(data, run, training_settings(init=str(clip), max_steps=4), resume=False)
    capfd.readouterr()
    set_lang("ko")
    document = export_run(run, tmp_path / "bundle")
    assert capfd.readouterr() == ("", "번들로 내보냅니다\n")
    set_lang("en")
    assert document["name"] == "my clip-aihub7"
    assert document["training"]["step"] == 4
    assert str(tmp_path) not in json.dumps(document)
    assert "kept apart" in document["parity"]["images_from"]
    assert load_bundle(tmp_path / "bundle").embed_texts(["슬픈 얼굴"]).shape == (1, 8)
    # Without the data the check still runs, and says on what.
    (run / "run.json").write_text(
        (run / "run.json").read_text().replace(os.path.relpath(data, run), "../gone")
    )
    copied = tmp_path / "copied"
    shutil.copytree(tmp_path / "bundle", copied)
    _use_towers_of(copied, monkeypatch)
    again = export_run(run, tmp_path / "bundle")
    assert again["parity"]["images_from"] == "random pictures"
    assert "parity is checked on random pictures" in capfd.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_model_that_differs_after_export_gives_no_bundle(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(network: Any, crops: np.ndarray) -> np.ndarray:
        return torch_embed_images(network, 255 - crops)

    monkeypatch.setattr(export, "torch_embed_images", other)
    _use_towers_of(trained[0] / "bundle", monkeypatch)
    with pytest.raises(TrainingError, match="exported model differs"):
        export_run(trained[0], tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_earlier_bundle(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "bundle.json").write_text("earlier")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "export_image_tower", full)
    with pytest.raises(InputError, match="the disk is full"):
        export_run(trained[0], out)
    assert (out / "bundle.json").read_text() == "earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_what_is_not_a_bundle_is_not_replaced(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a bundle"):
        export_run(trained[0], tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_folders_that_are_no_runs_are_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(InputError, match=r"not a run \(run\.json is missing\)"):
        export_run(data, tmp_path / "bundle")
    run = tmp_path / "run"
    fit(data, run, training_settings(max_steps=1), resume=False)
    (run / "checkpoints" / "best.pt").unlink()
    with pytest.raises(InputError, match="no evaluated checkpoint yet"):
        export_run(run, tmp_path / "bundle")


@pytest.mark.slow
def test_a_users_own_templates_and_labels_travel_with_the_run(tmp_path: Path) -> None:
    templates = tmp_path / "mine.toml"
    templates.write_text(
        'name = "mine"\nlanguage = "ko"\n[[templates]]\nid = "M1"\ntext = "{감정} 얼굴"\n',
        encoding="utf-8",
    )
    data = make_data(tmp_path / "data")
    # A label set without adjectives: the template sets that need them are not cached.
    document = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    document["label_set"]["name"] = "own"
    for label in document["label_set"]["labels"]:
        label.update(ko_adjective=None, en_adjective=None)
    (data / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    settings = dataclasses.replace(
        training_settings(max_steps=1, captions="all"), prompts=str(templates)
    )
    fit(data, tmp_path / "run", settings, resume=False)
    templates.unlink()
    written = export_run(tmp_path / "run", tmp_path / "bundle")
    assert written["cached_prompts"]["own"] == ["mine", "paper"]
    assert written["template_sets"] == ["mine", "paper"]
    assert written["trained_template_set"] == written["training"]["settings"]["prompts"] == "mine"
    assert written["trained_prompts"][0] == "기쁨 얼굴"


@pytest.mark.parametrize(
    ("document", "file", "words"),
    [
        ({"adaptation": {"method": "bias"}}, "image.onnx", "that `adapt` made"),
        ({"alignment": {"verdict": "ok"}}, "image.onnx", "that `align` made"),
        ({}, "NOTES.txt", "NOTES.txt is no file of a bundle"),
    ],
)
def test_a_bundle_that_is_more_than_an_export_is_not_replaced(
    document: dict[str, Any],
    file: str,
    words: str,
    trained: tuple[Path, dict[str, Any]],
    tmp_path: Path,
) -> None:
    (tmp_path / "bundle.json").write_text(json.dumps(document))
    (tmp_path / file).write_text("mine")
    with pytest.raises(InputError, match=words):
        export_run(trained[0], tmp_path)
    assert (tmp_path / file).read_text() == "mine"
