"""The prediction file: everything that an evaluation needs of each image, without pixels.

One row per image of the split, labelled or not, with its probabilities and with what the manifest
knows of it, so that every label policy, subgroup and comparison is computed from this file alone.
Files of other programs are read too: ``record_id``, ``truth`` and ``probability`` are enough.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.core.errors import InputError
from nunbit.core.text import Text
from nunbit.datasets.policies import labels_under
from nunbit.language.labels import LabelSet, label_set_from_dict, label_set_to_dict, merge_labels
from nunbit.runtime.files import atomic_path

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]

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
    truth: Codes
    probability: Floats
    cosine: Floats | None = None
    prompt_cosine: Floats | None = None
    logit_scale: float = 1.0
    temperature: float = 1.0
    ensemble: str | None = None
    templates: dict[str, Any] | None = None
    subject_id: list[str | None] = field(default_factory=list)
    uploader_label: list[str | None] = field(default_factory=list)
    votes: list[tuple[str | None, ...]] = field(default_factory=list)
    vote_names: tuple[str, ...] = ()
    attributes: dict[str, list[str | None]] = field(default_factory=dict)
    box_px: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    blur: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    seen: Codes = field(default_factory=lambda: np.zeros(0, np.int64))
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
    def predicted(self) -> Codes:
        """(N,) the most probable class."""
        best: Codes = self.probability.argmax(axis=1)
        return best

    @property
    def knows_persons(self) -> bool:
        """Whether any image has a person key."""
        return any(subject is not None for subject in self.subject_id)


def codes_of(labels: list[str | None], label_set: LabelSet) -> Codes:
    """Label ids as class positions, -1 for None; (N,)."""
    index: dict[str | None, int] = {label: k for k, label in enumerate(label_set.ids)}
    index[None] = -1
    return np.fromiter((index[label] for label in labels), np.int64, len(labels))


def merge_predictions(p: Predictions, merged: LabelSet) -> Predictions:
    """Merge the answers into coarser classes: a class has the sum of its members' probabilities.

    The truth is decided anew from the joined labels and votes. Cosines of single prompts do not
    apply to a sum and are dropped.

    Raises:
        InputError: ``merged`` does not cover the classes.
    """
    if merged.name == p.label_set.name:
        return p
    label_set, new_id = merge_labels(p.label_set, merged)
    column = np.array([label_set.index(new_id[old]) for old in p.label_set.ids])
    joining = (column[:, None] == np.arange(len(label_set.labels))).astype(np.float32)  # (old, new)
    uploader = [None if x is None else new_id[x] for x in p.uploader_label]
    votes = [tuple(None if v is None else new_id[v] for v in cast) for cast in p.votes]
    truth = np.where(p.truth >= 0, column[p.truth], -1)
    if p.policy != "uploader" and any(votes):
        truth = codes_of(labels_under(p.policy, uploader, votes), label_set)
    return replace(
        p,
        label_set=label_set,
        truth=truth,
        probability=p.probability @ joining,
        uploader_label=uploader,
        votes=votes,
        temperature=1.0,  # of the single classes; a sum has none
        cosine=None,
        prompt_cosine=None,
        ensemble=None,
        templates=None,
    )


def deciding_templates(predictions: Predictions) -> Codes | None:
    """Index of the template with the largest margin of the answer over the runner-up; (N,).

    The margin between the two classes is the sum of the templates' margins, so the largest of them
    decides. None for a model without prompts.
    """
    if predictions.prompt_cosine is None:
        return None
    order = np.argsort(-predictions.probability, axis=1, kind="stable")
    rows = np.arange(len(predictions))
    best, second = order[:, 0], order[:, min(1, order.shape[1] - 1)]
    margins = (
        predictions.prompt_cosine[rows, :, best] - predictions.prompt_cosine[rows, :, second]
    )  # (N, T)
    deciding: Codes = margins.argmax(axis=1)
    return deciding


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
    schema = _schema(p).with_metadata({_META: json.dumps(meta, ensure_ascii=False).encode()})
    deciding = deciding_templates(p)
    with atomic_path(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for start in range(0, len(p), _ROW_GROUP):
            writer.write_table(_rows(p, deciding, slice(start, start + _ROW_GROUP), schema))


def read_predictions(path: Path, label_set: LabelSet | None = None) -> Predictions:
    """Read a prediction file of nunbit or of another program.

    Args:
        path: Parquet with at least ``record_id``, ``truth`` and ``probability`` (a list per row).
        label_set: The classes, needed for a file that does not carry them.

    Raises:
        InputError: The file cannot be read, has no rows, lacks a column, names an unknown label
            or holds numbers that are no probabilities.
    """
    try:
        table = pq.read_table(path, memory_map=False)
    except (OSError, pa.ArrowException) as exc:
        reason = str(exc).splitlines()[0]
        raise InputError(
            Text(
                f"{path}: cannot read this prediction file: {reason}",
                f"{path}: 예측 파일을 읽을 수 없습니다: {reason}",
            )
        ) from exc
    meta = json.loads((table.schema.metadata or {}).get(_META, b"{}"))
    if meta:
        label_set = label_set_from_dict(meta["label_set"], str(path))
    if label_set is None:
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
    return _from_table(table, meta, label_set, path)


def _from_table(
    table: pa.Table, meta: dict[str, Any], label_set: LabelSet, path: Path
) -> Predictions:
    n, k = table.num_rows, len(label_set.labels)

    def column(name: str) -> list[Any]:
        values: list[Any] = table[name].to_pylist() if name in table.column_names else []
        return values

    def numbers(name: str) -> Floats:
        if name not in table.column_names:
            return np.zeros(0, np.float32)
        return np.array([np.nan if v is None else v for v in column(name)], np.float32)

    known = set(label_set.ids)
    votes = [tuple(v or ()) for v in column("votes")]
    named = {*column("truth"), *column("uploader_label"), *(v for row in set(votes) for v in row)}
    unknown = sorted(str(label) for label in named - known - {None})
    if unknown:
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
    seen = [UNKNOWN if s is None else int(s) for s in column("seen_subject")]
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
        seen=np.array(seen, np.int64),
        source_path=column("source_path"),
        model=meta.get("model"),
    )


def _matrix(table: pa.Table, name: str, path: Path) -> Floats | None:
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


def _checked_probability(values: Floats | None, n: int, k: int, path: Path) -> Floats:
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


def _schema(p: Predictions) -> pa.Schema:
    k = len(p.label_set.labels)
    fields = [
        ("record_id", pa.string()),
        ("subject_id", pa.string()),
        ("truth", pa.string()),
        ("prediction", pa.string()),
        ("probability", pa.list_(pa.float32(), k)),
    ]
    if p.cosine is not None:
        fields.append(("cosine", pa.list_(pa.float32(), k)))
    if p.prompt_cosine is not None:
        fields.append(("prompt_cosine", pa.list_(pa.float32(), p.prompt_cosine.shape[1] * k)))
        fields.append(("deciding_template", pa.string()))
    fields += [
        ("uploader_label", pa.string()),
        ("votes", pa.list_(pa.string())),
        *((name, pa.string()) for name in p.attributes),
        ("box_px", pa.float32()),
        ("blur", pa.float32()),
        ("seen_subject", pa.bool_()),
        ("source_path", pa.string()),
    ]
    return pa.schema([pa.field(name, kind) for name, kind in fields])


def _rows(p: Predictions, deciding: Codes | None, part: slice, schema: pa.Schema) -> pa.Table:
    ids = np.array([*p.label_set.ids, None], dtype=object)  # position -1 is None
    columns: dict[str, Any] = {
        "record_id": p.record_id[part],
        "subject_id": p.subject_id[part],
        "truth": ids[p.truth[part]],
        "prediction": ids[p.predicted[part]],
        "probability": _lists(p.probability[part]),
        "uploader_label": p.uploader_label[part],
        "votes": [list(v) for v in p.votes[part]],
        **{name: values[part] for name, values in p.attributes.items()},
        "box_px": pa.array(p.box_px[part], pa.float32(), from_pandas=True),
        "blur": pa.array(p.blur[part], pa.float32(), from_pandas=True),
        "seen_subject": [None if s == UNKNOWN else bool(s) for s in p.seen[part]],
        "source_path": p.source_path[part],
    }
    if p.cosine is not None:
        columns["cosine"] = _lists(p.cosine[part])
    if p.prompt_cosine is not None and deciding is not None and p.templates is not None:
        columns["prompt_cosine"] = _lists(
            p.prompt_cosine[part].reshape(-1, schema.field("prompt_cosine").type.list_size)
        )
        names = np.array([t["id"] for t in p.templates["templates"]], dtype=object)
        columns["deciding_template"] = names[deciding[part]]
    return pa.table(columns, schema=schema)


def _lists(values: Floats) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
