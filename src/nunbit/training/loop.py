"""A training run from its settings to its bundle, in one process or in many.

What a run is made of is decided here, or read back where it goes on; ``trainer`` does the steps
and ``export`` writes the bundle. Of many processes the first one decides; the others read what it
wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nunbit.encoders import available_cores
from nunbit.errors import InputError, Lang, SettingsError
from nunbit.labels import load_label_set
from nunbit.prompts import load_template_set
from nunbit.shards import DataSet, open_dataset
from nunbit.training.allocator import keep_freed_memory
from nunbit.training.averages import pretrained_part
from nunbit.training.captions import Captions
from nunbit.training.checkpoints import (
    START,
    load_newest,
    load_step,
    remove_partials,
    save_weights,
)
from nunbit.training.data import HOLDOUT_SEED, select_rows
from nunbit.training.export import bundle_of_run
from nunbit.training.network import load_network, save_network
from nunbit.training.processes import World, joined_world
from nunbit.training.runfolder import (
    RunFolder,
    dataset_hash,
    label_set_of,
    run_document,
    template_set_of,
    training_data_statement,
)
from nunbit.training.settings import TrainSettings, resumed_settings, start_kind
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
        SystemExit: In all but the first of several processes, when the weights are done: the
            first one alone writes the bundle and reports.
    """
    started = time.monotonic()
    with joined_world() as world:
        summary = _fit(data, out, settings, resume, lang, world)
    if not world.first:
        raise SystemExit(0)
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
    with joined_world() as world:
        return _fit(data, out, settings, resume, lang, world)


def _fit(
    data: Path, out: Path, settings: TrainSettings, resume: bool, lang: Lang, world: World
) -> dict[str, Any]:
    run = RunFolder(out)
    if world.first:
        dataset, job, state = _open(data, run, settings, resume, world)
        world.of_first(None if state is None else state["progress"]["step"])
    else:
        dataset, job, state = _follow(data, run, world)
    if world.device.type == "cpu":
        keep_freed_memory()
    with _threads(job.settings.threads, world.local_size):
        trainer = Trainer(job, dataset, run, state, lang)
        trainer.run()
    return trainer.summary()


def _open(
    data: Path, run: RunFolder, settings: TrainSettings, resume: bool, world: World
) -> tuple[DataSet, Job, dict[str, Any] | None]:
    """Begin a run or go on with it."""
    run.check_free(resume)
    if run.exists() and run.has_settings():
        settings = resumed_settings(run.settings(), settings, run.path)
    dataset = open_training_data(data, settings)
    remove_partials(run.checkpoints)
    state = load_newest(run.checkpoints)
    if state is None:
        return dataset, _begin(dataset, run, settings, world), None
    return dataset, _continue(dataset, run, settings, world), state


def _follow(data: Path, run: RunFolder, world: World) -> tuple[DataSet, Job, dict[str, Any] | None]:
    """Take part in the run that the first process began or goes on with."""
    step = world.of_first(None)
    if not run.exists():
        raise InputError(
            en=f"{run.path}: process {world.rank} does not see the run that process 0 began; give "
            "an --out that all machines share",
            ko=f"{run.path}: 프로세스 0이 시작한 학습이 프로세스 {world.rank}에서 보이지 "
            "않습니다. 모든 기계가 함께 쓰는 --out을 주십시오",
        )
    settings = run.settings()
    dataset = open_training_data(data, settings)
    job = _continue(dataset, run, settings, world)
    return dataset, job, None if step is None else load_step(run.checkpoints, step)


def open_training_data(data: Path, settings: TrainSettings) -> DataSet:
    """The data set with the classes the settings ask for.

    Raises:
        InputError: It cannot be read, or the label set does not cover its classes.
    """
    return open_dataset(data, load_label_set(settings.label_set) if settings.label_set else None)


def _begin(dataset: DataSet, run: RunFolder, settings: TrainSettings, world: World) -> Job:
    selection = select_rows(dataset, settings)
    templates = load_template_set(settings.prompts)
    framing = dataset.settings.get("crop") or {}
    crop = {key: framing[key] for key in ("kind", "margin", "size") if key in framing}
    network, settings = load_start(settings, dataset.label_set, templates, crop)
    captions = Captions(network, templates, dataset.label_set, settings, selection.labels)
    _check_divisible(settings, len(selection.rows), world)
    kind = "run" if start_kind(settings.init) == "run" else network.architecture["kind"]
    start = pretrained_part(network.model.state_dict(), kind)
    if settings.start_shares and not start:
        raise SettingsError(
            en=f"average_with_start = {settings.average_with_start}: --init {settings.init} starts "
            "at random, which is nothing to average with; use --set average_with_start=0",
            ko=f"average_with_start = {settings.average_with_start}: --init {settings.init}는 "
            "무작위로 시작하므로 평균할 가중치가 없습니다. --set average_with_start=0 으로 "
            "하십시오",
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
    if settings.start_shares:
        save_weights(run.checkpoints, START, {"model": start})
    return Job(settings, network, selection, captions, world)


def _continue(dataset: DataSet, run: RunFolder, settings: TrainSettings, world: World) -> Job:
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
    _check_divisible(settings, len(selection.rows), world)
    return Job(settings, network, selection, captions, world)


def _check_divisible(settings: TrainSettings, images: int, world: World) -> None:
    """Refuse a batch that cannot be divided evenly; each part must weigh the same in batch norms.

    Raises:
        SettingsError: It cannot.
    """
    parts = world.size * settings.accumulate
    batch = min(int(settings.batch_size), images)
    if batch % parts == 0:
        return
    lower, upper = batch // parts * parts, -(-batch // parts) * parts
    fitting = [str(n) for n in (lower, upper) if 2 <= n <= images]
    en = f"use --set batch_size={' or '.join(fitting)}" if fitting else "use fewer"
    ko = f"--set batch_size={' 또는 '.join(fitting)}" if fitting else "더 적은 수"
    raise SettingsError(
        en=f"a batch of {batch} images cannot be divided evenly among {world.size} process(es) x "
        f"accumulate = {settings.accumulate}; {en}",
        ko=f"이미지 {batch}장의 배치를 프로세스 {world.size}개 x accumulate = "
        f"{settings.accumulate}에 똑같이 나눌 수 없습니다. {ko}(으)로 하십시오",
    )


@contextmanager
def _threads(count: int, processes: int = 1) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or max(available_cores() // processes, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
