"""Baselines: on data they can and cannot learn, and as input of ``evaluate``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from make_data import make_data, training_settings
from make_eval import make_bundle, make_colours
from nunbit.core.messages import InputError, SettingsError, TrainingError
from nunbit.datasets.predictions import read_predictions
from nunbit.stories.evaluate import evaluate
from nunbit.stories.evaluate.assess import EvaluateSettings
from nunbit.training import classifiers
from nunbit.training.baselines import BASELINES, train_baseline
from nunbit.training.classifiers import (
    ResNet18,
    build_classifier,
    fit_linear,
    linear_logits,
    neighbour_logits,
    zero_head,
)

pytestmark = pytest.mark.train

# 49 training images: a network does not learn much from them, but it runs.
CNN = {"image_size": 32, "epochs": 2, "eval_every": 3, "num_workers": 0}


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_colours(tmp_path_factory.mktemp("data") / "d", n=140, noise=15.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nunbit.report.page.write_figures", lambda folder, view: None)


def run(
    data: Path, out: Path, kind: str, *, bundle: Path | None = None, resume: bool = False, **s: Any
) -> dict[str, Any]:
    settings = training_settings(**s)
    return train_baseline(data, out, kind, settings, bundle=bundle, resume=resume)


@pytest.mark.parametrize(("kind", "least"), [("linear", 0.9), ("knn", 0.9), ("majority", 0.0)])
def test_a_baseline_ends_in_a_file_that_evaluate_reads(
    kind: str, least: float, colours: Path, bundle: Path, tmp_path: Path
) -> None:
    document = run(colours, tmp_path / "run", kind, bundle=bundle)
    p = read_predictions(tmp_path / "run" / "predictions.parquet")
    assert (p.split, p.policy, len(p)) == ("test", "annot_a", 140)
    assert p.model == document["model"]
    assert p.knows_persons
    settings = EvaluateSettings(n_resamples=100)
    file = Path(document["predictions"])
    found = evaluate(file, bundle, tmp_path / "e", settings).document
    assert found["top1"] >= least
    assert found["per_template"] == {}
    assert found["seen_subjects"]["n"] > 0
    assert document["model"] in (tmp_path / "e" / "report.html").read_text()
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["baseline"] == kind
    assert "prompts" not in config
    if kind != "majority":
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        best = max(json.loads(line)["validation_uar"] for line in lines)
        assert best == document["validation"]["uar"]
    else:
        assert "constant_classifier" in {w["id"] for w in found["warnings"]}


@pytest.mark.slow
def test_a_table_puts_zero_shot_beside_the_baselines(
    colours: Path, bundle: Path, tmp_path: Path
) -> None:
    folders = []
    for kind in ("majority", "knn"):
        document = run(colours, tmp_path / kind, kind, bundle=bundle)
        out = tmp_path / f"eval-{kind}"
        file = Path(document["predictions"])
        evaluate(file, bundle, out, EvaluateSettings(n_resamples=100))
        folders.append(str(out))
    settings = EvaluateSettings(n_resamples=100, compare=tuple(folders))
    found = evaluate(colours, bundle, tmp_path / "zero", settings).document
    assert found["comparison"]["name"]["en"] == "majority class (eval-majority)"
    assert found["comparison"]["paired"]["n"] == 140
    assert found["comparison"]["paired"]["difference"]["top1"] > 0.3
    assert "All models on the same data" in (tmp_path / "zero" / "report.html").read_text()


def test_shuffled_labels_are_not_learned(bundle: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "d", per_class=10, shuffle=True)
    document = run(data, tmp_path / "run", "knn", bundle=bundle)
    p = read_predictions(Path(document["predictions"]))
    assert (p.predicted == p.truth).mean() < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "efficientnet"])
def test_networks_train_and_resume_exactly(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "d", per_class=3)
    whole = run(data, tmp_path / "whole", kind, **CNN)
    before = classifiers.ClassifierTrainer._step

    def interrupted(self: Any, batch: torch.Tensor) -> float:
        if self._state.step == 4:
            raise KeyboardInterrupt
        return before(self, batch)

    monkeypatch.setattr(classifiers.ClassifierTrainer, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "parts", kind, **CNN)
    monkeypatch.setattr(classifiers.ClassifierTrainer, "_step", before)
    with pytest.raises(TrainingError, match="`resume=True`"):
        run(data, tmp_path / "parts", kind, **CNN)
    with pytest.raises(SettingsError, match="other settings"):
        run(data, tmp_path / "parts", kind, resume=True, **(CNN | {"seed": 1}))
    parts = run(data, tmp_path / "parts", kind, resume=True, **CNN)
    assert parts["validation"] == whole["validation"]
    answers = [read_predictions(Path(d["predictions"])).probability for d in (whole, parts)]
    np.testing.assert_array_equal(*answers)
    for name in ("whole", "parts"):
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(steps)
        assert len(lines) == len(set(lines))


@pytest.mark.slow
def test_a_network_learns_stripes(tmp_path: Path) -> None:
    data = make_data(tmp_path / "d", per_class=12, label_set="aihub7")
    settings = CNN | {"epochs": 8, "batch_size": 14, "lr": 2e-3, "rotate": 0, "flip": 0.0}
    settings |= {"label_set": "dep2", "eval_every": 0}
    document = run(data, tmp_path / "run", "resnet", **settings)
    p = read_predictions(Path(document["predictions"]))
    assert p.label_set.ids == ("distress", "other")
    assert (p.predicted == p.truth).mean() > 0.75  # always 'other' would be 0.57


def test_resnet18_has_the_published_size() -> None:
    assert sum(p.numel() for p in ResNet18(1000).parameters()) == 11_689_512
    assert ResNet18(7)(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


def test_efficientnet_starts_from_imagenet() -> None:
    first, second = (build_classifier("efficientnet", 32, 7).state_dict() for _ in range(2))
    stem = "backbone._conv_stem.weight"
    assert torch.equal(first[stem], second[stem])
    assert not torch.equal(first["projection.weight"], second["projection.weight"])


# Probes against scikit-learn ---------------------------------------------------------------------


def unit_rows(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    rows = rng.normal(size=(n, 6)) + 2.0 * np.eye(3, 6)[labels]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_linear_probe_equals_sklearn(penalty: float) -> None:
    (x, y), (queries, _) = unit_rows(0, 200), unit_rows(1, 40)
    head = fit_linear(x, np.eye(3, dtype=np.float32)[y], penalty, zero_head(6, 3))
    linear = pytest.importorskip("sklearn.linear_model")
    reference = linear.LogisticRegression(C=1.0 / (penalty * len(x)), max_iter=2000, tol=1e-8)
    reference.fit(x * np.sqrt(6), y)
    logits = linear_logits(head, queries)
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        probability, reference.predict_proba(queries * np.sqrt(6)), atol=2e-3
    )


@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_equal_sklearn(k: int) -> None:
    (x, y), (queries, _) = unit_rows(0, 200), unit_rows(1, 40)
    found = neighbour_logits(x, np.eye(3, dtype=np.float32)[y], queries, [1, k, 20])[1]

    def weights(distance: np.ndarray) -> np.ndarray:
        cosine = 1.0 - distance**2 / 2.0
        return np.exp((cosine - cosine.max(axis=1, keepdims=True)) / 0.07)

    neighbours = pytest.importorskip("sklearn.neighbors")
    reference = neighbours.KNeighborsClassifier(k, weights=weights).fit(x, y)
    shares = reference.predict_proba(queries)
    prior = np.bincount(y) / len(y)
    expected = k * shares * _mean(reference, queries, k) + _mean(reference, queries, k) * prior
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-3)


def _mean(reference: Any, queries: np.ndarray, k: int) -> np.ndarray:
    distance, _ = reference.kneighbors(queries, k)
    cosine = 1.0 - distance**2 / 2.0
    return np.exp((cosine - cosine.max(axis=1, keepdims=True)) / 0.07).mean(axis=1, keepdims=True)


# Bad input ---------------------------------------------------------------------------------------


def test_bad_input_is_one_clear_error(colours: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown baseline 'svm'; there are: linear, knn"):
        run(colours, tmp_path / "a", "svm")
    for kind in ("linear", "knn"):
        with pytest.raises(SettingsError, match="give `model`") as caught:
            run(colours, tmp_path / "a", kind)
        assert "`model`" in caught.value.text.ko
    assert not (tmp_path / "a").exists()
    run(colours, tmp_path / "run", "majority")
    with pytest.raises(TrainingError, match="there is already a run"):
        run(colours, tmp_path / "run", "majority")
    with pytest.raises(InputError, match="another run, other data or another bundle"):
        run(colours, tmp_path / "run", "knn", bundle=bundle, resume=True)
    assert set(BASELINES) == {"linear", "knn", "efficientnet", "resnet", "majority"}
