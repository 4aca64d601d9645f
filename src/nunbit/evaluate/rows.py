"""From a prepared data set to the rows, truths and persons that an evaluation needs.

Knows nothing of models: what answers for the images (prompts, a baseline) is the caller's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import InputError
from nunbit.evaluate.predictions import SEEN, UNKNOWN, UNSEEN, Predictions, codes_of
from nunbit.labels import load_label_set
from nunbit.policies import labels_under, refuse_anonymous
from nunbit.schema import SPLITS, Split
from nunbit.shards import DataSet, open_dataset

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]

_COPIED = ("record_id", "subject_id", "uploader_label", "source_path")


def open_for_evaluation(path: Path, label_set: str | None) -> DataSet:
    """A prepared data set, its classes merged if a label set is named.

    Raises:
        InputError: It cannot be read, or the label set does not cover its classes.
    """
    return open_dataset(path, None if label_set is None else load_label_set(label_set))


def rows_of_split(dataset: DataSet, asked: Split | None) -> tuple[Codes, Split]:
    """Rows of the split asked for; of test if there is one, else of validation.

    Raises:
        InputError: The split has no image.
    """
    sizes = {split: len(dataset.split_rows(split)) for split in SPLITS}
    held_out: Split = "test" if sizes["test"] else "validation"
    split = asked or held_out
    if sizes[split]:
        return dataset.split_rows(split), split
    present = ", ".join(f"{name} ({size})" for name, size in sizes.items() if size) or "-"
    raise InputError(
        en=f"{dataset.path}: no image in split {split}; there are: {present}. Choose one with "
        "--split",
        ko=f"{dataset.path}: {split} 분할에 이미지가 없습니다. 있는 분할: {present}. --split으로 "
        "고르십시오",
    )


def truth_of(dataset: DataSet, rows: Codes, policy: str) -> Codes:
    """(N,) class positions under a policy, -1 where it gives no label.

    Raises:
        SettingsError: The policy asks for annotator A and the votes have no names.
    """
    votes = column(dataset, "votes", rows)
    refuse_anonymous(policy, dataset.vote_names, votes, str(dataset.path))
    if policy == dataset.policy:
        labels = column(dataset, "label", rows)
    else:
        labels = labels_under(policy, column(dataset, "uploader_label", rows), votes)
    return codes_of(labels, dataset.label_set)


def require_labels(n: int, policy: str, where: str) -> None:
    """Refuse an evaluation without a single labelled image.

    Raises:
        InputError: ``n`` is 0.
    """
    if n == 0:
        raise InputError(
            en=f"{where}: no image has a label under policy {policy}; choose another --labels",
            ko=f"{where}: {policy} 정책으로 레이블이 정해지는 이미지가 없습니다. 다른 --labels를 "
            "고르십시오",
        )


def column(dataset: DataSet, name: str, rows: Codes) -> list[Any]:
    """A manifest column as Python values; equal values are one object, lists become tuples."""
    known: dict[Any, Any] = {}
    values = dataset.manifest[name].take(rows).to_pylist()
    for i, value in enumerate(values):
        plain = tuple(value) if isinstance(value, list) else value
        values[i] = known.setdefault(plain, plain)
    return list(values)


def predictions_of(
    dataset: DataSet,
    rows: Codes,
    truth: Codes,
    probability: Floats,
    *,
    split: str,
    policy: str,
    **model: Any,
) -> Predictions:
    """Answers for some rows, with all that the manifest knows of them.

    Args:
        dataset: Prepared data.
        rows: (N,) rows of the manifest.
        truth: (N,) class positions, -1 without a label.
        probability: (N, K).
        split: What the rows are.
        policy: What the truth is.
        model: Fields of ``Predictions`` that only some models have: cosines, temperature.
    """
    columns: dict[str, Any] = {name: column(dataset, name, rows) for name in _COPIED}
    return Predictions(
        label_set=dataset.label_set,
        split=split,
        policy=policy,
        truth=truth,
        probability=probability,
        votes=column(dataset, "votes", rows),
        vote_names=dataset.vote_names,
        attributes={a: column(dataset, a, rows) for a in ("gender", "age", "place")},
        box_px=np.array(column(dataset, "box_px", rows), np.float32),
        blur=np.array(column(dataset, "blur", rows), np.float32),
        seen=_seen(dataset, columns["subject_id"]),
        **columns,
        **model,
    )


def _seen(dataset: DataSet, subjects: list[str | None]) -> Codes:
    """Whether each person occurs in the train split; unknown without a person or a train split."""
    trained = set(column(dataset, "subject_id", dataset.split_rows("train"))) - {None}
    if not len(dataset.split_rows("train")):
        return np.full(len(subjects), UNKNOWN, np.int64)
    states = [UNKNOWN if s is None else SEEN if s in trained else UNSEEN for s in subjects]
    return np.array(states, np.int64)
