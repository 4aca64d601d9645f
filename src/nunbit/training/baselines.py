"""Baseline classifiers on the data, splits and selection of ``train``, to compare with zero-shot.

``majority`` (the most frequent class of train), ``linear`` and ``knn`` on the frozen embeddings of
a bundle, ``efficientnet`` (ImageNet weights) and ``resnet`` (random weights) as classifiers. Each
ends with ``RUN/predictions.parquet``, which ``nunbit evaluate`` reads like any other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.datasets.predictions import (
    predictions_of,
    require_labels,
    rows_of_split,
    truth_of,
    write_predictions,
)
from nunbit.datasets.shards import MANIFEST, DataSet
from nunbit.language.labels import label_set_to_dict
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.runtime.config import settings_to_dict
from nunbit.runtime.files import atomic_path, read_json, sha256_file, write_json, write_text
from nunbit.runtime.progress import Progress
from nunbit.runtime.workers import available_cores
from nunbit.training.checkpoints import load_newest, remove_partials
from nunbit.training.classifiers import (
    ClassifierJob,
    ClassifierTrainer,
    Head,
    build_classifier,
    fit_linear,
    linear_logits,
    neighbour_logits,
    zero_head,
)
from nunbit.training.data import (
    Selection,
    crop_document,
    open_training_data,
    select_rows,
    training_data_statement,
)
from nunbit.training.networks import plain_preprocessing
from nunbit.training.processes import World, joined_world, torch_threads
from nunbit.training.settings import (
    AUTO,
    CONFIG_FILE,
    RUN_FILE,
    MetricsLog,
    RunFolder,
    TrainSettings,
    resolve_auto,
)
from nunbit.training.steps import Validation, score_logits

BASELINES = ("linear", "knn", "efficientnet", "resnet", "majority")
FORMAT = "nunbit-baseline/1"
PREDICTIONS = "predictions.parquet"

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]

#: What ``auto`` means for a network that starts at random and has far more to learn.
_RESNET_AUTO: dict[str, Any] = {"epochs": 20, "lr": 1e-3}
_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_NEIGHBOURS = (1, 5, 10, 20, 50, 100, 200)
_AT_ONCE = 64
# Settings of ``train`` that a baseline reads; the others stay out of its config.toml.
_FROZEN = ("label_set", "vote_weight", "holdout", "select_by", "seed", "threads")
_CNN = (
    *("label_set", "vote_weight", "class_balance", "image_size", "grey", "epochs", "max_steps"),
    *("batch_size", "lr", "weight_decay", "schedule", "warmup", "grad_clip", "flip", "rotate"),
    *("zoom", "shift", "brightness", "contrast", "erase", "holdout", "eval_every", "patience"),
    *("select_by", "seed", "log_every", "checkpoint_minutes", "keep_checkpoints", "num_workers"),
    "threads",
)


@dataclass(frozen=True, eq=False)
class _Answer:
    """Result of a baseline.

    Attributes:
        name: For tables.
        logits: (N, K) of the evaluated rows; a softmax at the temperature gives probabilities.
        validation: Scores on the selection split.
        chosen: The choice made there.
    """

    name: str
    logits: Floats
    validation: Validation
    chosen: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Task:
    """Input of every baseline."""

    data: DataSet
    run: RunFolder
    settings: TrainSettings
    selection: Selection
    rows: Codes
    bundle: Bundle | None


def train_baseline(
    data: Path, out: Path, kind: str, settings: TrainSettings, *, bundle: Path | None, resume: bool
) -> Mapping[str, Any]:
    """Train a baseline and let it answer for the split that ``evaluate`` takes by default.

    Args:
        data: A prepared data set.
        out: ``RUN/``.
        kind: One of ``BASELINES``.
        settings: Of ``train``; those about captions are not used.
        bundle: Whose embeddings ``linear`` and ``knn`` use; the others need none.
        resume: Go on with the run in ``out``, or begin one if there is none.

    Returns:
        Plain data: baseline, validation, chosen, image counts, predictions, seconds.

    Raises:
        SettingsError: The kind is unknown, a bundle is missing, a resumed run had other
            settings, or a launcher started many processes.
        TrainingError: A class or split is missing, the loss is not finite, or a run is in ``out``.
        InputError: The data set or the bundle cannot be read, or the run cannot be written.
        KeyboardInterrupt: After a checkpoint, on Ctrl-C or SIGTERM.
    """
    started = time.monotonic()
    with joined_world() as world:
        _check(kind, bundle, world)
    run = RunFolder(out)
    run.check_free(resume)
    own = _RESNET_AUTO if kind == "resnet" else {}
    own = {k: v for k, v in own.items() if getattr(settings, k) == AUTO}
    settings = resolve_auto(replace(settings, init="lite", **own))
    dataset = open_training_data(data, settings)
    rows, split = rows_of_split(dataset, None)
    truth = truth_of(dataset, rows, dataset.policy)
    require_labels(int((truth >= 0).sum()), dataset.policy, str(data))
    threads = settings.threads or available_cores()
    model = load_bundle(bundle, threads=threads) if bundle and kind in _ON_EMBEDDINGS else None
    selection = select_rows(dataset, settings)
    document = _begin(run, kind, settings, dataset, selection, model)
    task = _Task(dataset, run, settings, selection, rows, model)
    with torch_threads(threads):
        torch.manual_seed(settings.seed)
        answer = _KINDS[kind](task)
    _write_answer(answer, task, kind, truth, split)
    return {
        "baseline": kind,
        "model": answer.name,
        "run": str(out),
        "validation": asdict(answer.validation),
        "chosen": answer.chosen,
        **document["training_data"],
        "split": split,
        "predictions": str(out / PREDICTIONS),
        "seconds": round(time.monotonic() - started, 1),
    }


def _write_answer(answer: _Answer, task: _Task, kind: str, truth: Codes, split: str) -> None:
    data, temperature = task.data, answer.validation.temperature
    scaled = torch.from_numpy(answer.logits / np.float32(temperature))
    probabilities = torch.softmax(scaled, dim=1).numpy()
    predictions = predictions_of(
        data, task.rows, truth, probabilities, split=split, policy=data.policy
    )
    predictions = replace(predictions, temperature=temperature, model=answer.name)
    origin = {
        "baseline": kind,
        "dataset": sha256_file(data.path / MANIFEST),
        **({"bundle": task.bundle.hash} if task.bundle else {}),
    }
    write_predictions(task.run.path / PREDICTIONS, predictions, origin=origin)


def _check(kind: str, bundle: Path | None, world: World) -> None:
    if world.size > 1:
        raise SettingsError(
            Text(
                f"`baseline={kind}` trains in one process, {world.size} were started: call nunbit "
                "without torchrun or accelerate",
                f"`baseline={kind}`은(는) 프로세스 하나로 학습하는데 {world.size}개가 "
                "시작되었습니다. torchrun이나 accelerate 없이 nunbit을 부르십시오",
            )
        )
    if kind not in BASELINES:
        known = ", ".join(BASELINES)
        raise SettingsError(
            Text(
                f"unknown baseline '{kind}'; there are: {known}",
                f"알 수 없는 기준 모델 '{kind}'. 쓸 수 있는 것: {known}",
            )
        )
    if kind in _ON_EMBEDDINGS and bundle is None:
        raise SettingsError(
            Text(
                f"`baseline={kind}` works on the embeddings of a bundle; give `model`",
                f"`baseline={kind}`은(는) 번들의 임베딩을 씁니다. `model`을 주십시오",
            )
        )


def _begin(
    run: RunFolder,
    kind: str,
    settings: TrainSettings,
    data: DataSet,
    selection: Selection,
    bundle: Bundle | None,
) -> dict[str, Any]:
    """Write ``run.json``, or check that a resumed run has the same."""
    document = {
        "format": FORMAT,
        "baseline": kind,
        "label_set": label_set_to_dict(data.label_set),
        "training_data": training_data_statement(data, selection.counts()),
        "data": os.path.relpath(data.path.resolve(), run.path.resolve()),
        "bundle": {"name": bundle.document.name, "hash": bundle.hash} if bundle else None,
    }
    plain = settings_to_dict(settings)
    names = _CNN if kind in _ON_PIXELS else _FROZEN
    config = {"baseline": kind, **{name: plain[name] for name in names}}
    # As it comes back from a file: tuples as lists.
    if run.exists() and read_json(run.path / RUN_FILE) != json.loads(json.dumps(document)):
        raise InputError(
            Text(
                f"{run.path}: another run, other data or another bundle; train into a new `out`",
                f"{run.path}: 다른 학습이거나 데이터 또는 번들이 다릅니다. 새 `out`에 학습하십시오",
            )
        )
    text, path = tomli_w.dumps(config), run.path / CONFIG_FILE
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise SettingsError(
            Text(
                f"{path}: this run has other settings; resume with the same line, or train into a "
                "new `out`",
                f"{path}: 이 학습의 설정과 다릅니다. 같은 명령으로 이어 가거나 새 `out`에 "
                "학습하십시오",
            )
        )
    write_json(run.path / RUN_FILE, document)
    write_text(path, text)
    return document


def _majority(task: _Task) -> _Answer:
    selection, k = task.selection, len(task.data.label_set.labels)
    shares = np.bincount(selection.labels, minlength=k) / len(selection.labels)
    line = np.log(shares).astype(np.float32)
    logits = np.tile(line, (len(selection.choosing_rows), 1))
    # One distribution for every image has nothing to calibrate: the shares of train are its best.
    validation = replace(score_logits(logits, selection.choosing_labels), temperature=1.0)
    chosen = {"label": task.data.label_set.ids[int(shares.argmax())]}
    return _Answer("majority class", np.tile(line, (len(task.rows), 1)), validation, chosen)


def _linear(task: _Task) -> _Answer:
    """Logistic regression with an L2 penalty, the strength chosen on the selection split."""
    name, train, choosing, asked = _embeddings(task)
    head = zero_head(train.shape[1], task.selection.targets.shape[1])
    tried: list[tuple[float, Head, Validation]] = []
    for penalty in _PENALTIES:
        # From strong to weak, each from where the stronger one ended: fewer iterations.
        head = fit_linear(train, task.selection.targets, penalty, head)
        scores = score_logits(linear_logits(head, choosing), task.selection.choosing_labels)
        tried.append((penalty, head, scores))
    _write_tried(task, "penalty", [(penalty, scores) for penalty, _, scores in tried])
    penalty, head, scores = max(tried, key=lambda entry: _selected_by(task, entry[2]))
    logits = linear_logits(head, asked)
    return _Answer(f"linear probe on {name}", logits, scores, {"penalty": penalty})


def _knn(task: _Task) -> _Answer:
    """Cosine-weighted neighbours, their number chosen on the selection split."""
    name, train, choosing, asked = _embeddings(task)
    targets = task.selection.targets
    sizes = [k for k in _NEIGHBOURS if k <= len(train)]
    tried = [
        (k, score_logits(logits, task.selection.choosing_labels))
        for k, logits in zip(sizes, neighbour_logits(train, targets, choosing, sizes), strict=True)
    ]
    _write_tried(task, "k", tried)
    k, scores = max(tried, key=lambda entry: _selected_by(task, entry[1]))
    logits = neighbour_logits(train, targets, asked, [k])[0]
    return _Answer(f"{k}-NN on {name}", logits, scores, {"k": k})


def _network(kind: str, name: str) -> Callable[[_Task], _Answer]:
    def answer(task: _Task) -> _Answer:
        s = task.settings
        preprocessing = plain_preprocessing(s, crop_document(task.data))
        model = build_classifier(kind, int(s.image_size), len(task.data.label_set.labels))
        remove_partials(task.run.checkpoints)
        state = load_newest(task.run.checkpoints)
        job = ClassifierJob(model, preprocessing, s, task.selection, task.data, task.run)
        trainer = ClassifierTrainer(job, state)
        summary = trainer.run()
        scores = Validation(**summary.pop("validation"))
        return _Answer(name, trainer.logits(task.rows), scores, summary)

    return answer


_ON_EMBEDDINGS = ("linear", "knn")
_ON_PIXELS = ("efficientnet", "resnet")
_KINDS: dict[str, Callable[[_Task], _Answer]] = {
    "majority": _majority,
    "linear": _linear,
    "knn": _knn,
    "efficientnet": _network("efficientnet", "EfficientNet-lite0 (ImageNet start)"),
    "resnet": _network("resnet", "ResNet-18 (random start)"),
}


def _embeddings(task: _Task) -> tuple[str, Floats, Floats, Floats]:
    """The bundle's name, and its embeddings of the training, choosing and evaluated rows."""
    bundle = task.bundle
    assert bundle is not None  # _check asks for it
    return (
        bundle.document.name,
        _embedded(task, bundle, "train", task.selection.rows),
        _embedded(task, bundle, "choosing", task.selection.choosing_rows),
        _embedded(task, bundle, "evaluated", task.rows),
    )


def _embedded(task: _Task, bundle: Bundle, name: str, rows: Codes) -> Floats:
    """Embeddings of some rows; kept in the run, so that it can go on."""
    path = task.run.path / "embeddings" / f"{name}.npy"
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False))
    vectors = np.empty((len(rows), bundle.embedding_size), np.float32)
    with Progress(Text(f"embedding ({name})", f"임베딩 ({name})"), len(rows), "img") as bar:
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            vectors[start : start + len(part)] = bundle.embed_images(
                np.stack([task.data.pixels(int(row)) for row in part])
            )
            bar.advance(len(part))
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.save(stream, vectors, allow_pickle=False)
    return vectors


def _selected_by(task: _Task, scores: Validation) -> float:
    return float(getattr(scores, task.settings.select_by))


def _write_tried(task: _Task, name: str, tried: Sequence[tuple[float, Validation]]) -> None:
    """One line of ``metrics.jsonl`` for each value that was tried."""
    with closing(MetricsLog(task.run.path, 0, 0)) as log:
        for number, (value, scores) in enumerate(tried, start=1):
            log.write(number, 0, {name: float(value), **scores.logged()})
