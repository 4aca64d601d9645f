"""Run a training from settings to bundle, in one process or many.

The parts of a run are chosen here, or read back when it is resumed; ``trainer`` does the steps and
``export`` writes the bundle. With many processes the first one decides and the others read its
files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.datasets.shards import DataSet, open_dataset
from nunbit.language.labels import label_set_to_dict
from nunbit.language.prompts import load_template_set
from nunbit.model.bundle import find_bundle
from nunbit.runtime.claims import claimed
from nunbit.runtime.workers import keep_freed_memory
from nunbit.training.bundle_start import keep_bundle
from nunbit.training.checkpoints import (
    START,
    fitting,
    load_newest,
    load_step,
    newest_path,
    remove_partials,
    save_weights,
)
from nunbit.training.data import (
    crop_document,
    dataset_hash,
    label_set_of,
    open_training_data,
    select_rows,
    template_set_of,
    training_data_statement,
)
from nunbit.training.export import bundle_of_run
from nunbit.training.networks import is_described, load_network, load_start, save_network
from nunbit.training.optimisers import pretrained_part
from nunbit.training.processes import World, joined_world, torch_threads
from nunbit.training.settings import (
    CONFIG_FILE,
    RunFolder,
    TrainSettings,
    resumed_settings,
    start_kind,
)
from nunbit.training.steps import Captions
from nunbit.training.trainer import Job, Trainer


def train(data: Path, out: Path, settings: TrainSettings, *, resume: bool) -> Mapping[str, Any]:
    """Fine-tune both encoders and end with a bundle.

    Args:
        data: A prepared data set.
        out: ``RUN/``.
        settings: May hold ``auto``.
        resume: Go on with the run in ``out``, or begin one if there is none.

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
    with ExitStack() as claim:
        with joined_world() as world:
            if world.first:
                claim.enter_context(claimed(out))
            summary = _fit(data, out, settings, resume, world)
        if not world.first:
            raise SystemExit(0)
        run = RunFolder(out)
        with torch_threads(run.settings().threads):
            document = bundle_of_run(run, run.bundle, open_dataset(data))
    return summary | {
        "run": str(out),
        "bundle": str(run.bundle),
        "parity": document["parity"],
        "seconds": round(time.monotonic() - started, 1),
    }


def fit(data: Path, out: Path, settings: TrainSettings, *, resume: bool) -> dict[str, Any]:
    """:func:`train` without the bundle at the end.

    Returns:
        Plain data: init, steps, epochs, best_step, validation, image counts.
    """
    with joined_world() as world, claimed(out) if world.first else nullcontext():
        return _fit(data, out, settings, resume, world)


def _fit(
    data: Path, out: Path, settings: TrainSettings, resume: bool, world: World
) -> dict[str, Any]:
    run = RunFolder(out)
    if world.first:
        dataset, job, state = _open(data, run, settings, resume, world)
        with fitting(newest_path(run.checkpoints)):
            step = None if state is None else int(state["progress"]["step"])
        world.of_first(step)
    else:
        dataset, job, state = _follow(data, run, world)
    if world.device.type == "cpu":
        keep_freed_memory()
    with torch_threads(job.settings.threads, world.local_size):
        trainer = Trainer(job, dataset, run, state)
        trainer.run()
    return trainer.summary()


def _open(
    data: Path, run: RunFolder, settings: TrainSettings, resume: bool, world: World
) -> tuple[DataSet, Job, dict[str, Any] | None]:
    """Begin a run or go on with it."""
    state = load_newest(run.checkpoints) if resume else None
    if state is not None:
        run.put_back(state.get("description", {}))
    run.check_free(resume)
    if run.exists() and (run.path / CONFIG_FILE).is_file():
        settings = resumed_settings(run.settings(), settings, run.path)
    dataset = open_training_data(data, settings)
    remove_partials(run.checkpoints)
    if state is None:
        return dataset, _begin(dataset, run, settings, world), None
    return dataset, _continue(dataset, run, settings, world), state


def _follow(data: Path, run: RunFolder, world: World) -> tuple[DataSet, Job, dict[str, Any] | None]:
    """Join the run that the first process began or resumed."""
    step = world.of_first(None)
    if not run.exists():
        raise InputError(
            Text(
                f"{run.path}: process {world.rank} does not see the run that process 0 began; give "
                "an `out` that all machines share",
                f"{run.path}: 프로세스 0이 시작한 학습이 프로세스 {world.rank}에서 보이지 "
                "않습니다. 모든 기계가 함께 쓰는 `out`을 주십시오",
            )
        )
    settings = run.settings()
    dataset = open_training_data(data, settings)
    return (
        dataset,
        _continue(dataset, run, settings, world),
        None if step is None else load_step(run.checkpoints, step),
    )


def _begin(dataset: DataSet, run: RunFolder, settings: TrainSettings, world: World) -> Job:
    selection = select_rows(dataset, settings)
    templates = load_template_set(settings.prompts)
    network, settings = load_start(settings, dataset.label_set, templates, crop_document(dataset))
    captions = Captions(network, templates, dataset.label_set, settings, selection.labels)
    _check_divisible(settings, len(selection.rows), world)
    kind = "run" if start_kind(settings.init) == "run" else network.architecture["kind"]
    start = pretrained_part(network.model.state_dict(), kind)
    if settings.start_shares and not start:
        raise SettingsError(
            Text(
                f"average_with_start = {settings.average_with_start}: `init={settings.init}` "
                "starts with random weights, which must not be averaged; use "
                "`average_with_start=0`",
                f"average_with_start = {settings.average_with_start}: `init={settings.init}`는 "
                "무작위로 시작하므로 평균할 가중치가 없습니다. `average_with_start=0`으로 "
                "하십시오",
            )
        )
    held = selection.choosing_from == "train"
    counts = selection.counts(
        holdout=settings.holdout if held else None, holdout_seed=selection.holdout_seed
    )
    document = {
        "label_set": label_set_to_dict(dataset.label_set),
        "template_set": {
            "name": templates.name,
            "language": templates.language,
            "templates": [{"id": t.id, "text": t.text} for t in templates.templates],
        },
        "training_data": training_data_statement(dataset, counts),
        # Relative, so that no home directory is named and moving both folders keeps it valid.
        "data": os.path.relpath(dataset.path.resolve(), run.path.resolve()),
    }
    run.begin(settings, document)
    save_network(network, run.path)
    if network.architecture["kind"] == "bundle":
        keep_bundle(find_bundle(settings.init), run.path)
    if settings.start_shares:
        save_weights(run.checkpoints, START, {"model": start})
    return Job(settings, network, selection, captions, world)


def _continue(dataset: DataSet, run: RunFolder, settings: TrainSettings, world: World) -> Job:
    document = run.read()
    if dataset_hash(dataset.path) != document["training_data"]["sha256"]:
        raise InputError(
            Text(
                f"{dataset.path}: not the data set of this run; give that one, or train into a "
                "new `out`",
                f"{dataset.path}: 이 학습을 시작한 데이터 세트가 아닙니다. 그 데이터 세트를 주거나 "
                "새 `out`에 학습하십시오",
            )
        )
    if not is_described(run.path):  # a file of it was removed: it is made as at the beginning
        given = load_template_set(settings.prompts)
        start, _ = load_start(settings, dataset.label_set, given, crop_document(dataset))
        save_network(start, run.path)
    network, selection = load_network(run.path), select_rows(dataset, settings)
    templates, label_set = template_set_of(document, run.path), label_set_of(document, run.path)
    captions = Captions(network, templates, label_set, settings, selection.labels)
    _check_divisible(settings, len(selection.rows), world)
    return Job(settings, network, selection, captions, world)


def _check_divisible(settings: TrainSettings, images: int, world: World) -> None:
    """Refuse a batch that cannot be divided evenly; each part must weigh the same in batch norms.

    Raises:
        SettingsError: It cannot.
    """
    parts, batch = world.size * settings.accumulate, min(int(settings.batch_size), images)
    if batch % parts == 0:
        return
    fitting = [str(n * parts) for n in (batch // parts, batch // parts + 1)
               if 2 <= n * parts <= images]  # fmt: skip
    en = f"use `batch_size={' or '.join(fitting)}`" if fitting else "use fewer"
    ko = f"`batch_size={' 또는 '.join(fitting)}`" if fitting else "더 적은 수"
    raise SettingsError(
        Text(
            f"a batch of {batch} images cannot be divided evenly among {world.size} process(es) x "
            f"accumulate = {settings.accumulate}; {en}",
            f"이미지 {batch}장의 배치를 프로세스 {world.size}개 x accumulate = "
            f"{settings.accumulate}에 똑같이 나눌 수 없습니다. {ko}(으)로 하십시오",
        )
    )
