"""The data of a run: which records train and choose, and the batches of every step.

Order, augmentation and template choice are pure functions of (seed, epoch, position): a resumed
run, or one with other workers, sees exactly the same batches. Knows nothing of models. N training
images, K classes, T templates, S input side.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nunbit.core.messages import Text, TrainingError
from nunbit.datasets.policies import person_holdout, vote_distributions
from nunbit.datasets.shards import DOCUMENT, DataSet, open_dataset
from nunbit.language.labels import LabelSet, label_set_from_dict, load_label_set
from nunbit.language.prompts import TemplateSet, template_set_from_dict
from nunbit.model.bundle import CropDocument, Preprocessing
from nunbit.model.encoders import resize_crop
from nunbit.runtime.files import sha256_file
from nunbit.training.augmentation import augment
from nunbit.training.losses import class_weights
from nunbit.training.settings import RUN_FILE, TrainSettings

HOLDOUT_SEED = 0
"""The hold-out does not follow the run's seed, so that several seeds choose on the same persons.
Small sets in which that deal lacks a class take the next one that has them all."""

Share = Callable[[NDArray[np.int64]], NDArray[np.int64]]

# First words of the random streams, so that no two draws share one (captions.py has 4).
_ORDER, _AUGMENT, _TEMPLATE = 1, 2, 3


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of the data set for training, and rows for choosing the checkpoint.

    Attributes:
        rows: (N,) manifest rows that train.
        labels: (N,) class positions.
        targets: (N, K) float32, rows sum to one: one-hot, or mixed with the annotators' votes.
        weights: (N,) float32, what each image counts in the loss.
        choosing_rows: (M,) manifest rows for early stopping and temperature.
        choosing_labels: (M,) class positions.
        choosing_from: ``validation``, or ``train`` where persons of train are held out.
        skipped: Records without a label under the policy, in both parts.
        holdout_seed: Which deal of persons was held out; None where validation chooses.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    choosing_rows: NDArray[np.int64]
    choosing_labels: NDArray[np.int64]
    choosing_from: str
    skipped: int
    holdout_seed: int | None = None

    def counts(self, **held_out: object) -> dict[str, Any]:
        """How many images train and choose, for summaries and ``run.json``."""
        return {
            "train_images": len(self.rows),
            "choosing_images": len(self.choosing_rows),
            "choosing_from": self.choosing_from,
            **held_out,
            "skipped_without_label": self.skipped,
        }


def select_rows(data: DataSet, settings: TrainSettings) -> Selection:
    """Divide the labelled records into training and selection.

    With a test split, the validation split is for selection. Without one, validation is for the
    report (AI Hub), and a person-grouped share of train is held out for selection.

    Raises:
        TrainingError: A split or a class is missing, or votes are asked for and there are none.
    """
    code = {label: k for k, label in enumerate(data.label_set.ids)}
    codes = np.array([code.get(label, -1) for label in data.column("label")], np.int64)
    train = data.split_rows("train")
    if len(train) == 0:
        text = Text("the split train has no records", "train 분할에 레코드가 없습니다")
        raise TrainingError(text.under(data.path))
    deal: int | None = None
    if len(data.split_rows("test")):
        choosing, choosing_from = data.split_rows("validation"), "validation"
    else:
        subjects, records = data.column("subject_id"), data.column("record_id")
        persons, names = [subjects[row] for row in train], [records[row] for row in train]
        held, deal = _held_out(persons, names, codes[train], settings.holdout)
        train, choosing, choosing_from = train[~held], train[held], "train"
    parts = [rows[codes[rows] >= 0] for rows in (train, choosing)]
    kept_apart = "validation" if choosing_from == "validation" else "the hold-out of train"
    for rows, part in zip(parts, ("train", kept_apart), strict=True):
        _check_classes(data, codes[rows], part)
    return Selection(
        rows=parts[0],
        labels=codes[parts[0]],
        targets=_targets(data, parts[0], codes[parts[0]], settings.vote_weight),
        weights=image_weights(data, parts[0], settings),
        choosing_rows=parts[1],
        choosing_labels=codes[parts[1]],
        choosing_from=choosing_from,
        skipped=len(train) + len(choosing) - len(parts[0]) - len(parts[1]),
        holdout_seed=deal,
    )


_HOLDOUT_TRIES = 200


def _held_out(
    persons: list[Any], names: list[Any], codes: NDArray[np.int64], share: float
) -> tuple[NDArray[np.bool_], int]:
    """(N,) who is held out, and the deal: the first in which no class is missing on either side.

    A small set loses a class by chance; its labels alone decide which deal is taken, before
    anything is trained. Where no deal has all classes, the first one stands and is refused later.
    """
    present = set(codes[codes >= 0].tolist())
    for deal in range(HOLDOUT_SEED, HOLDOUT_SEED + _HOLDOUT_TRIES):
        held = person_holdout(persons, names, share, deal)
        if all(present <= set(codes[side].tolist()) for side in (held, ~held)):
            return held, deal
    return person_holdout(persons, names, share, HOLDOUT_SEED), HOLDOUT_SEED


class Crops(Dataset[Tensor]):
    """Crops of some rows, resized to the model's input: (S, S, 3) uint8.

    A key is ``(epoch, position)``; ``epoch`` -1 means without augmentation.
    """

    def __init__(
        self,
        data: DataSet,
        rows: NDArray[np.int64],
        preprocessing: Preprocessing,
        settings: TrainSettings,
    ) -> None:
        self._data, self._rows = data, rows
        self._preprocessing, self._settings = preprocessing, settings

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        epoch, position = key
        crop = resize_crop(self._data.pixels(int(self._rows[position])), self._preprocessing)
        if epoch >= 0:
            draw = np.random.default_rng([_AUGMENT, self._settings.seed, epoch, position])
            crop = augment(crop, self._settings, draw)
        return torch.from_numpy(np.array(crop))  # a copy: the decoder's array is read-only


class Schedule:
    """Images and templates of each step of a run.

    Args:
        labels: (N,) class positions.
        n_templates: T.
        settings: Without ``auto``.
    """

    def __init__(
        self, labels: NDArray[np.int64], n_templates: int, settings: TrainSettings
    ) -> None:
        self._labels, self._n_templates, self._settings = labels, n_templates, settings
        self.batch_size = min(int(settings.batch_size), len(labels))
        # An incomplete last batch is dropped; the next epoch's order brings its images in.
        self.steps_per_epoch = len(labels) // self.batch_size
        steps = int(settings.epochs) * self.steps_per_epoch
        self.total_steps = min(steps, settings.max_steps) if settings.max_steps else steps
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._templates = lru_cache(maxsize=2)(self._draw_templates)

    def epoch(self, step: int) -> int:
        """The epoch that a step (counted from 0) belongs to, from 0."""
        return step // self.steps_per_epoch

    def positions(self, step: int) -> NDArray[np.int64]:
        """(B,) positions in the training rows."""
        start = step % self.steps_per_epoch * self.batch_size
        return self._order(self.epoch(step))[start : start + self.batch_size]

    def templates(self, step: int) -> NDArray[np.int64]:
        """(B,) the template each image of the step is captioned with."""
        return self._templates(self.epoch(step))[self.positions(step)]

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        draw = np.random.default_rng([_ORDER, self._settings.seed, epoch])
        n = len(self._labels)
        if self._settings.class_balance != "sampler":
            return draw.permutation(n)
        counts = np.bincount(self._labels)
        share = 1.0 / (len(counts) * counts[self._labels])
        return draw.choice(n, n, p=share / share.sum())

    def _draw_templates(self, epoch: int) -> NDArray[np.int64]:
        draw = np.random.default_rng([_TEMPLATE, self._settings.seed, epoch])
        return draw.integers(0, self._n_templates, len(self._labels))


def _all_of(batch: NDArray[np.int64]) -> NDArray[np.int64]:
    return batch


def training_batches(
    crops: Crops, schedule: Schedule, steps: range, workers: int, share: Share = _all_of
) -> Any:
    """A DataLoader of (B, S, S, 3) uint8 batches, one per step.

    Args:
        crops: Of the training rows.
        schedule: Which positions each step has.
        steps: Which steps.
        workers: Processes that read and augment.
        share: Which of a step's positions this process takes.
    """
    keys = ([(schedule.epoch(step), int(p)) for p in share(schedule.positions(step))]
            for step in steps)  # fmt: skip
    return _loader(crops, keys, workers)


def plain_batches(
    crops: Crops, batch_size: int, workers: int, positions: range | None = None
) -> Any:
    """A DataLoader of crops in order, without augmentation; of all or of some positions."""
    keys = [(-1, p) for p in (range(len(crops)) if positions is None else positions)]
    return _loader(
        crops, [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)], workers
    )


def _loader(crops: Crops, steps: Any, workers: int) -> Any:
    return DataLoader(
        crops,
        batch_sampler=steps,
        num_workers=workers,
        # Without its own generator a loader draws from torch's, and resuming would not be exact.
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
    )


def _start_worker(number: int) -> None:
    # Ctrl-C reaches the whole process group; the parent stops its workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def _targets(
    data: DataSet, rows: NDArray[np.int64], labels: NDArray[np.int64], vote_weight: float
) -> NDArray[np.float32]:
    one_hot = np.eye(len(data.label_set.labels), dtype=np.float32)[labels]
    if vote_weight == 0:
        return one_hot
    votes = data.column("votes")
    shares = vote_distributions([votes[row] for row in rows], data.label_set.ids)
    known = ~np.isnan(shares[:, 0])
    if not known.any():
        raise TrainingError(
            Text(
                f"vote_weight = {vote_weight}, but no record has votes; use `vote_weight=0`",
                f"vote_weight = {vote_weight} 인데 투표가 있는 레코드가 없습니다. "
                "`vote_weight=0`으로 하십시오",
            ).under(data.path)
        )
    # Where nobody voted, the label is all that is known.
    shares[~known] = one_hot[~known]
    return (1.0 - vote_weight) * one_hot + np.float32(vote_weight) * shares


def image_weights(
    data: DataSet, rows: NDArray[np.int64], settings: TrainSettings
) -> NDArray[np.float32]:
    """What each image counts in the loss: 1 where the person is unknown.

    Args:
        data: Whose ``subject_id`` names persons.
        rows: (N,) that train.
        settings: ``person_balance`` and ``person_factor``.

    Returns:
        (N,) positive.
    """
    subjects = data.column("subject_id")
    persons = [subjects[row] for row in rows]
    images = Counter(person for person in persons if person)
    power, factor = -settings.person_balance, settings.person_factor
    return np.array([factor * images[p] ** power if p else 1.0 for p in persons], np.float32)


def _check_classes(data: DataSet, labels: NDArray[np.int64], part: str) -> None:
    counts = np.bincount(labels, minlength=len(data.label_set.labels))
    names = ", ".join(i for i, n in zip(data.label_set.ids, counts, strict=True) if n == 0)
    if names:
        raise TrainingError(
            Text(
                f"no image of {names} in {part}; add some, use another label policy or label "
                "set, or hold out more persons with `holdout=0.2`",
                f"{part}에 {names} 이미지가 없습니다. 이미지를 더하거나, 다른 레이블 정책이나 "
                "레이블 집합을 쓰거나, `holdout=0.2`로 더 많은 인물을 떼어 두십시오",
            ).under(data.path)
        )


def open_training_data(data: Path, settings: TrainSettings) -> DataSet:
    """The data set with the classes the settings ask for.

    Raises:
        InputError: It cannot be read, or the label set does not cover its classes.
    """
    return open_dataset(data, load_label_set(settings.label_set) if settings.label_set else None)


# --- what RUN/ says of it -------------------------------------------------------------------------


def crop_document(data: DataSet) -> CropDocument:
    """How the data set's crops were cut, for the bundle."""
    framing = data.settings.get("crop") or {}
    return {key: framing[key] for key in ("kind", "margin", "size") if key in framing}


def balance(selection: Selection, settings: TrainSettings) -> Tensor:
    """(K,) weight of each class in the loss."""
    counts = torch.from_numpy(np.bincount(selection.labels))
    return class_weights(counts) if settings.class_balance == "loss" else torch.ones(len(counts))


def training_data_statement(data: DataSet, counts: dict[str, Any]) -> dict[str, Any]:
    """Statement about the training data, for bundle and model card."""
    return {
        "source": str(data.settings.get("source", "unknown")),
        "label_set": data.label_set.name,
        "policy": data.policy,
        **counts,
        "sha256": dataset_hash(data.path),
    }


def dataset_hash(path: Path) -> str:
    """sha256 of ``dataset.json``, which describes the whole data set."""
    return sha256_file(path / DOCUMENT)


def label_set_of(document: dict[str, Any], where: Path) -> LabelSet:
    """The label set in ``run.json``."""
    return label_set_from_dict(document["label_set"], str(where / RUN_FILE))


def template_set_of(document: dict[str, Any], where: Path) -> TemplateSet:
    """The caption templates in ``run.json``."""
    return template_set_from_dict(document["template_set"], str(where / RUN_FILE))
