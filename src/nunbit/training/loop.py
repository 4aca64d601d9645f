"""A training run from its settings to its bundle.

What a run is made of is decided here, or read back where it goes on; ``trainer`` does the steps
and ``export`` writes the bundle.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nunbit.encoders import available_cores
from nunbit.errors import InputError, Lang
from nunbit.labels import load_label_set
from nunbit.prompts import load_template_set
from nunbit.shards import DataSet, open_dataset
from nunbit.training.captions import Captions
from nunbit.training.checkpoints import load_newest, remove_partials
from nunbit.training.data import HOLDOUT_SEED, select_rows
from nunbit.training.export import bundle_of_run
from nunbit.training.network import load_network, save_network
from nunbit.training.runfolder import (
    RunFolder,
    dataset_hash,
    label_set_of,
    run_document,
    template_set_of,
    training_data_statement,
)
from nunbit.training.settings import TrainSettings, resumed_settings
from nunbit.training.starts import load_start
from nunbit.training.trainer import Job, Trainer


def train(
    data: Path, out: Path, settings: TrainSettings, *, resume: bool, lang: Lang
) -> dict[str, Any]:
    """Fine-tune both encoders and end with a bundle.

    Args:
        data: A prepared data set.
        out: ``RUN/``.
        settings: May hold ``auto``.
        resume: Go on with the run in ``out``, or begin one if there is none.
        lang: Language of progress and notices.

    Returns:
        Plain data: steps, epochs, best_step, validation, image counts, bundle, parity, seconds.

    Raises:
        TrainingError: A class or split is missing, the loss is not finite, or a run is in ``out``.
        InputError: The data set, the starting weights or the run cannot be read or written.
        SettingsError: Settings do not fit one another, the weights or the resumed run.
        KeyboardInterrupt: After a checkpoint, on Ctrl-C or SIGTERM.
    """
    started = time.monotonic()
    summary = fit(data, out, settings, resume=resume, lang=lang)
    run = RunFolder(out)
    with _threads(run.settings().threads):
        document = bundle_of_run(run, run.bundle, open_dataset(data), lang=lang)
    return summary | {
        "run": str(out),
        "bundle": str(run.bundle),
        "parity": document["parity"],
        "seconds": round(time.monotonic() - started, 1),
    }


def fit(
    data: Path, out: Path, settings: TrainSettings, *, resume: bool, lang: Lang
) -> dict[str, Any]:
    """:func:`train` without the bundle at the end.

    Returns:
        Plain data: init, steps, epochs, best_step, validation, image counts.
    """
    run = RunFolder(out)
    run.check_free(resume)
    if run.exists() and run.has_settings():
        settings = resumed_settings(run.settings(), settings, run.path)
    dataset = open_training_data(data, settings)
    remove_partials(run.checkpoints)
    state = load_newest(run.checkpoints)
    job = _begin(dataset, run, settings) if state is None else _continue(dataset, run, settings)
    with _threads(job.settings.threads):
        trainer = Trainer(job, dataset, run, state, lang)
        trainer.run()
    return trainer.summary()


def open_training_data(data: Path, settings: TrainSettings) -> DataSet:
    """The data set with the classes the settings ask for.

    Raises:
        InputError: It cannot be read, or the label set does not cover its classes.
    """
    return open_dataset(data, load_label_set(settings.label_set) if settings.label_set else None)


def _begin(dataset: DataSet, run: RunFolder, settings: TrainSettings) -> Job:
    selection = select_rows(dataset, settings)
    templates = load_template_set(settings.prompts)
    framing = dataset.settings.get("crop") or {}
    crop = {key: framing[key] for key in ("kind", "margin", "size") if key in framing}
    network, settings = load_start(settings, dataset.label_set, templates, crop)
    captions = Captions(
        network, templates, dataset.label_set, settings, selection.labels
    )
    counts = {
        "train_images": len(selection.rows),
        "choosing_images": len(selection.choosing_rows),
        "choosing_from": selection.choosing_from,
        "holdout": settings.holdout if selection.choosing_from == "train" else None,
        "holdout_seed": HOLDOUT_SEED if selection.choosing_from == "train" else None,
        "skipped_without_label": selection.skipped,
    }
    statement = training_data_statement(dataset, counts)
    run.begin(settings, run_document(dataset, templates, run.path, statement))
    save_network(network, run.path)
    return Job(settings, network, selection, captions)


def _continue(dataset: DataSet, run: RunFolder, settings: TrainSettings) -> Job:
    document = run.read()
    if dataset_hash(dataset.path) != document["training_data"]["sha256"]:
        raise InputError(
            en=f"{dataset.path}: not the data set this run was begun with; give that one, or train "
            "into a new --out",
            ko=f"{dataset.path}: 이 학습을 시작한 데이터 세트가 아닙니다. 그 데이터 세트를 주거나 "
            "새 --out에 학습하십시오",
        )
    network = load_network(run.path)
    templates = template_set_of(document, run.path)
    selection = select_rows(dataset, settings)
    label_set = label_set_of(document, run.path)
    captions = Captions(network, templates, label_set, settings, selection.labels)
    return Job(settings, network, selection, captions)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or available_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
