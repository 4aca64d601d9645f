"""A model's answers for images of a data set: which rows, which truth, and the prediction file.

One row per image of the split, labelled or not, with its probabilities and with what the manifest
knows of it, without pixels, so that every label policy, subgroup and comparison is computed from
this file alone. Files of other programs are read too: ``record_id``, ``truth`` and ``probability``
are enough.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nunbit.core.messages import InputError, Text
from nunbit.core.schema import SPLITS, Split
from nunbit.core.streams import Ints, Singles
from nunbit.datasets.policies import labels_under, refuse_anonymous
from nunbit.datasets.shards import DataSet
from nunbit.language.labels import LabelSet, label_set_from_dict, label_set_to_dict
from nunbit.runtime.files import atomic_path, read_parquet

FORMAT = "nunbit-predictions-1"
_META = b"nunbit"
_ROW_GROUP = 4096

SEEN, UNSEEN, UNKNOWN = 1, 0, -1


@dataclass(frozen=True, eq=False)
class Predictions:
    """N images and a model's answers; K classes, T templates.

    Attributes:
        label_set: The K classes.
        split: Evaluated split.
        policy: Label policy of ``truth``.
        record_id: N ids.
        truth: (N,) class positions, -1 where the policy gives no label.
        probability: (N, K) float32, rows sum to one, at ``temperature``.
        cosine: (N, K) float32 after the ensemble, or None for a model without prompts.
        prompt_cosine: (N, T, K) float32, or None.
        logit_scale: Factor of the cosines; 1 without cosines.
        temperature: Divisor of the logits.
        ensemble: Rule that combined the templates, or None.
        templates: ``{name, language, templates: [{id, text}]}`` of the prompts, or None.
        subject_id: N person keys or None.
        uploader_label: N label ids or None.
        votes: N tuples of label ids, None for a null vote.
        vote_names: Names of the annotators.
        attributes: ``gender``, ``age``, ``place``: N raw values or None.
        box_px: (N,) longer side of the face box in source pixels, NaN where unknown.
        blur: (N,) variance of the crop's Laplacian (small = blurred), NaN where unknown.
        seen: (N,) 1 if the person occurs in the train split, 0 if not, -1 unknown.
        source_path: N references to the photo, or None.
        model: Name of the model, or None.
    """

    label_set: LabelSet
    split: str
    policy: str
    record_id: list[str]
    truth: Ints
    probability: Singles
    cosine: Singles | None = None
    prompt_cosine: Singles | None = None
    logit_scale: float = 1.0
    temperature: float = 1.0
    ensemble: str | None = None
    templates: dict[str, Any] | None = None
    subject_id: list[str | None] = field(default_factory=list)
    uploader_label: list[str | None] = field(default_factory=list)
    votes: list[tuple[str | None, ...]] = field(default_factory=list)
    vote_names: tuple[str, ...] = ()
    attributes: dict[str, list[str | None]] = field(default_factory=dict)
    box_px: Singles = field(default_factory=lambda: np.zeros(0, np.float32))
    blur: Singles = field(default_factory=lambda: np.zeros(0, np.float32))
    seen: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    source_path: list[str | None] = field(default_factory=list)
    model: str | None = None

    def __post_init__(self) -> None:
        n, k = len(self.record_id), len(self.label_set.labels)
        if self.probability.shape != (n, k):
            raise ValueError(f"probability: expected {(n, k)}, got {self.probability.shape}")
        defaults: dict[str, Any] = {
            "subject_id": [None] * n,
            "uploader_label": [None] * n,
            "votes": [()] * n,
            "source_path": [None] * n,
            "box_px": np.full(n, np.nan, np.float32),
            "blur": np.full(n, np.nan, np.float32),
            "seen": np.full(n, UNKNOWN, np.int64),
        }
        for name, default in defaults.items():
            if not len(getattr(self, name)):
                object.__setattr__(self, name, default)
            elif len(getattr(self, name)) != n:
                raise ValueError(f"{name}: expected {n} entries, got {len(getattr(self, name))}")
        if self.truth.shape != (n,):
            raise ValueError(f"truth: expected {(n,)}, got {self.truth.shape}")

    def __len__(self) -> int:
        return len(self.record_id)

    @property
    def predicted(self) -> Ints:
        """(N,) the most probable class."""
        return np.asarray(self.probability.argmax(axis=1))

    @property
    def knows_persons(self) -> bool:
        """Whether any image has a person key."""
        return any(subject is not None for subject in self.subject_id)


def codes_of(labels: Sequence[str | None], label_set: LabelSet) -> Ints:
    """Label ids as class positions, -1 for None; (N,)."""
    index: dict[str | None, int] = {None: -1, **{label: k for k, label in enumerate(label_set.ids)}}
    return np.fromiter((index[label] for label in labels), np.int64, len(labels))


def deciding_templates(predictions: Predictions) -> Ints | None:
    """Index of the template with the largest margin of the answer over the runner-up; (N,).

    The margin between the two classes is the sum of the templates' margins, so the largest of them
    decides. None for a model without prompts.
    """
    cosine = predictions.prompt_cosine
    if cosine is None:
        return None
    order = np.argsort(-predictions.probability, axis=1, kind="stable")
    rows = np.arange(len(predictions))
    best, second = order[:, 0], order[:, min(1, order.shape[1] - 1)]
    margins = cosine[rows, :, best] - cosine[rows, :, second]  # (N, T)
    return np.asarray(margins.argmax(axis=1))


def rows_of_split(dataset: DataSet, asked: Split | Literal["all"] | None) -> tuple[Ints, str]:
    """Rows of the split asked for (``all`` = every one); of test if there is one, else validation.

    Raises:
        InputError: The split has no image.
    """
    if asked == "all":
        return np.sort(np.concatenate([dataset.split_rows(split) for split in SPLITS])), asked
    sizes = {split: len(dataset.split_rows(split)) for split in SPLITS}
    split: Split = asked or ("test" if sizes["test"] else "validation")
    if sizes[split]:
        return dataset.split_rows(split), split
    present = ", ".join(f"{name} ({size})" for name, size in sizes.items() if size) or "-"
    raise InputError(
        Text(
            f"{dataset.path}: no image in split {split}; there are: {present}. Choose one with "
            "`split`",
            f"{dataset.path}: {split} 분할에 이미지가 없습니다. 있는 분할: {present}. `split`으로 "
            "고르십시오",
        )
    )


def truth_of(dataset: DataSet, rows: Ints, policy: str) -> Ints:
    """(N,) class positions under a policy, -1 where it gives no label.

    Raises:
        SettingsError: The policy asks for annotator A and the votes have no names.
    """
    votes = column(dataset, "votes", rows)
    refuse_anonymous(policy, dataset.vote_names, votes, str(dataset.path))
    labels = (
        column(dataset, "label", rows)
        if policy == dataset.policy
        else labels_under(policy, column(dataset, "uploader_label", rows), votes)
    )
    return codes_of(labels, dataset.label_set)


def require_labels(n: int, policy: str, where: str) -> None:
    """Raise if there is not a single labelled image.

    Raises:
        InputError: ``n`` is 0.
    """
    if n == 0:
        raise InputError(
            Text(
                f"{where}: no image has a label under policy {policy}; choose another `policy`",
                f"{where}: {policy} 정책으로 레이블이 정해지는 이미지가 없습니다. 다른 `policy`를 "
                "고르십시오",
            )
        )


def column(dataset: DataSet, name: str, rows: Ints) -> list[Any]:
    """A manifest column as Python values; equal values are one object, lists become tuples."""
    known: dict[Any, Any] = {}
    values = dataset.manifest[name].take(rows).to_pylist()
    for i, value in enumerate(values):
        plain = tuple(value) if isinstance(value, list) else value
        values[i] = known.setdefault(plain, plain)
    return list(values)


def predictions_of(
    dataset: DataSet, rows: Ints, truth: Ints, probability: Singles, *, split: str, policy: str
) -> Predictions:
    """Predictions for some rows, with everything that the manifest holds about them.

    Args:
        dataset: Prepared data.
        rows: (N,) rows of the manifest.
        truth: (N,) class positions, -1 without a label.
        probability: (N, K).
        split: Of the rows.
        policy: Of the truth.
    """
    copied = ("record_id", "subject_id", "uploader_label", "source_path", "votes")
    columns: dict[str, Any] = {name: column(dataset, name, rows) for name in copied}
    return Predictions(
        label_set=dataset.label_set,
        split=split,
        policy=policy,
        truth=truth,
        probability=probability,
        vote_names=dataset.vote_names,
        attributes={a: column(dataset, a, rows) for a in ("gender", "age", "place")},
        box_px=np.array(column(dataset, "box_px", rows), np.float32),
        blur=np.array(column(dataset, "blur", rows), np.float32),
        seen=_seen(dataset, columns["subject_id"]),
        **columns,
    )


def _seen(dataset: DataSet, subjects: list[str | None]) -> Ints:
    """Whether each person occurs in the train split; unknown without a person or a train split."""
    train = dataset.split_rows("train")
    trained = set(column(dataset, "subject_id", train))
    known = [s is not None and len(train) > 0 for s in subjects]
    seen = [SEEN if s in trained else UNSEEN for s in subjects]
    return np.where(known, seen, UNKNOWN).astype(np.int64)


def write_predictions(path: Path, predictions: Predictions, *, origin: dict[str, Any]) -> None:
    """Write the prediction file, some thousand rows at a time.

    Args:
        path: ``predictions.parquet``.
        predictions: What to write.
        origin: Provenance of the file, kept in its metadata.
    """
    p = predictions
    meta = {
        "format": FORMAT,
        "label_set": label_set_to_dict(p.label_set),
        "split": p.split,
        "policy": p.policy,
        "logit_scale": p.logit_scale,
        "temperature": p.temperature,
        "ensemble": p.ensemble,
        "templates": p.templates,
        "vote_names": list(p.vote_names),
        "model": p.model,
        "origin": origin,
    }
    deciding = deciding_templates(p)
    plain = _rows(p, deciding, slice(0)).schema
    schema = plain.with_metadata({_META: json.dumps(meta, ensure_ascii=False).encode()})
    with atomic_path(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for start in range(0, len(p), _ROW_GROUP):
            writer.write_table(_rows(p, deciding, slice(start, start + _ROW_GROUP)))


def read_predictions(path: Path) -> Predictions:
    """Read a prediction file of nunbit or of another program.

    Args:
        path: Parquet with at least ``record_id``, ``truth`` and ``probability`` (a list per row),
            and the label set in its metadata.

    Raises:
        InputError: The file cannot be read, has no rows, lacks a column, names an unknown label
            or holds numbers that are no probabilities.
    """
    unreadable = Text(
        "cannot read this prediction file: {reason}", "예측 파일을 읽을 수 없습니다: {reason}"
    )
    table = read_parquet(path, unreadable)
    meta = json.loads((table.schema.metadata or {}).get(_META, b"{}"))
    if not meta:
        raise InputError(
            Text(
                f"{path}: the file does not name its label set; write it with nunbit",
                f"{path}: 파일에 레이블 집합 정보가 없습니다. nunbit으로 만드십시오",
            )
        )
    missing = [c for c in ("record_id", "truth", "probability") if c not in table.column_names]
    if missing or not table.num_rows:
        what = f"columns missing: {', '.join(missing)}" if missing else "no rows"
        raise InputError(
            Text(
                f"{path}: not a prediction file ({what}); it needs record_id, truth, probability",
                f"{path}: 예측 파일이 아닙니다({what}). record_id, truth, probability 열이 "
                "필요합니다",
            )
        )
    return _from_table(table, meta, label_set_from_dict(meta["label_set"], str(path)), path)


def _from_table(
    table: pa.Table, meta: dict[str, Any], label_set: LabelSet, path: Path
) -> Predictions:
    n, k = table.num_rows, len(label_set.labels)

    def column(name: str) -> list[Any]:
        return list(table[name].to_pylist()) if name in table.column_names else []

    def numbers(name: str) -> Singles:
        if name not in table.column_names:
            return np.zeros(0, np.float32)
        return np.array([np.nan if v is None else v for v in column(name)], np.float32)

    known = set(label_set.ids)
    votes = [tuple(v or ()) for v in column("votes")]
    named = {*column("truth"), *column("uploader_label"), *(v for row in set(votes) for v in row)}
    if unknown := sorted(str(label) for label in named - known - {None}):
        raise InputError(
            Text(
                f"{path}: unknown labels {', '.join(unknown)}; label set {label_set.name} has "
                f"{', '.join(label_set.ids)}",
                f"{path}: 알 수 없는 레이블 {', '.join(unknown)}. 레이블 집합 {label_set.name}: "
                f"{', '.join(label_set.ids)}",
            )
        )
    prompt_cosine = _matrix(table, "prompt_cosine", path)
    templates = meta.get("templates")
    n_templates = len(templates["templates"]) if templates else 0
    return Predictions(
        label_set=label_set,
        split=meta.get("split", "test"),
        policy=meta.get("policy", "uploader"),
        record_id=column("record_id"),
        truth=codes_of(column("truth"), label_set),
        probability=_checked_probability(_matrix(table, "probability", path), n, k, path),
        cosine=_matrix(table, "cosine", path),
        prompt_cosine=None if prompt_cosine is None else prompt_cosine.reshape(n, n_templates, k),
        logit_scale=meta.get("logit_scale", 1.0),
        temperature=meta.get("temperature", 1.0),
        ensemble=meta.get("ensemble"),
        templates=templates,
        subject_id=column("subject_id"),
        uploader_label=column("uploader_label"),
        votes=votes,
        vote_names=tuple(meta.get("vote_names", ())),
        attributes={a: column(a) for a in ("gender", "age", "place") if a in table.column_names},
        box_px=numbers("box_px"),
        blur=numbers("blur"),
        seen=np.array([UNKNOWN if s is None else int(s) for s in column("seen_subject")], np.int64),
        source_path=column("source_path"),
        model=meta.get("model"),
    )


def _matrix(table: pa.Table, name: str, path: Path) -> Singles | None:
    """A list column as (N, width) float32; None where the file has none."""
    if name not in table.column_names or table[name].null_count == table.num_rows:
        return None
    try:
        flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, np.float32).reshape(table.num_rows, -1)
    except (ValueError, pa.ArrowException) as exc:
        raise InputError(
            Text(
                f"{path}: column {name} must hold one list of numbers of equal length per row",
                f"{path}: {name} 열에는 행마다 길이가 같은 숫자 목록이 있어야 합니다",
            )
        ) from exc


def _checked_probability(values: Singles | None, n: int, k: int, path: Path) -> Singles:
    if values is None or values.shape != (n, k):
        problem = Text(f"expected {k} numbers a row", f"행마다 숫자가 {k}개 있어야 합니다")
    elif not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        problem = Text(f"row {row} holds NaN or infinity", f"{row}행에 NaN이나 무한대가 있습니다")
    elif (values < 0).any() or not np.allclose(values.sum(axis=1), 1.0, atol=1e-3):
        problem = Text("rows must be >= 0 and sum to 1", "행은 0 이상이고 합이 1이어야 합니다")
    else:
        return values
    raise InputError(
        Text(
            f"{path}: column probability: {problem.en}; correct the program that wrote it",
            f"{path}: probability 열 오류: {problem.ko}. 파일을 만든 프로그램을 고치십시오",
        )
    )


def _rows(p: Predictions, deciding: Ints | None, part: slice) -> pa.Table:
    ids = np.array([*p.label_set.ids, None], dtype=object)  # position -1 is None
    columns = {
        "record_id": _strings(p.record_id[part]),
        "subject_id": _strings(p.subject_id[part]),
        "truth": _strings(ids[p.truth[part]]),
        "prediction": _strings(ids[p.predicted[part]]),
        "probability": _lists(p.probability[part]),
    }
    if p.cosine is not None:
        columns["cosine"] = _lists(p.cosine[part])
    if p.prompt_cosine is not None and deciding is not None and p.templates is not None:
        columns["prompt_cosine"] = _lists(p.prompt_cosine[part])
        names = np.array([t["id"] for t in p.templates["templates"]], dtype=object)
        columns["deciding_template"] = _strings(names[deciding[part]])
    return pa.table(
        {
            **columns,
            "uploader_label": _strings(p.uploader_label[part]),
            "votes": pa.array([list(v) for v in p.votes[part]], pa.list_(pa.string())),
            **{name: _strings(values[part]) for name, values in p.attributes.items()},
            "box_px": pa.array(p.box_px[part], pa.float32(), from_pandas=True),
            "blur": pa.array(p.blur[part], pa.float32(), from_pandas=True),
            "seen_subject": pa.array(
                [None if s == UNKNOWN else bool(s) for s in p.seen[part]], pa.bool_()
            ),
            "source_path": _strings(p.source_path[part]),
        }
    )


def _strings(values: Any) -> pa.Array:
    return pa.array(values, pa.string())


def _lists(values: Singles) -> pa.FixedSizeListArray:
    """Everything about a row as one list."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, math.prod(values.shape[1:]))
