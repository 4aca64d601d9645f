"""The paper's Table 2 as data, and what it says when it is recomputed.

Figures are arithmetic on what the paper prints. Readings of them are inference and are marked so:
they say 'most likely' and name the alternatives.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit import metrics
from nunbit.evaluate.board import number, numbers


@dataclass(frozen=True, slots=True)
class PaperTable:
    """What the paper prints; see ``data/paper_table2.toml``.

    Attributes:
        label_set: Name of the label set.
        labels: K label ids.
        confusion: Table 2, rows = truth.
        n_train_stated: Training images the text names.
        n_validation_stated: Validation images the text names.
        per_class_stated: Validation images a class, about, that the text names.
        accuracy_stated: Seven-class accuracy the text names.
        binary_accuracy_stated: Two-class accuracy the text names.
        binary_group: Labels of the depression-related side.
        official_validation: Images per folder of the official Validation.
        official_train_01: Images of TRAIN_01.
        majority_shares: Share of each class under the annotators' majority, ties by the uploader.
        majority_exists: Share of records with a majority of the annotators.
        unanimous: Share of records whose three annotators all give one label.
        majority_is_uploader: Share of records with a majority that is the uploader's label.
        folder_cnn_accuracy: Lowest and highest accuracy of public CNNs on folder labels.
    """

    label_set: str
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    n_train_stated: int
    n_validation_stated: int
    per_class_stated: int
    accuracy_stated: float
    binary_accuracy_stated: float
    binary_group: tuple[str, ...]
    official_validation: tuple[int, ...]
    official_train_01: int
    majority_shares: tuple[float, ...]
    majority_exists: float
    unanimous: float
    majority_is_uploader: float
    folder_cnn_accuracy: tuple[float, float]

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Table 2 as an array, (K, K)."""
        return np.array(self.confusion, dtype=np.int64)


def paper_table() -> PaperTable:
    """Read the shipped table."""
    source = resources.files("nunbit") / "data" / "paper_table2.toml"
    return msgspec.convert(tomllib.loads(source.read_text(encoding="utf-8")), PaperTable)


def paper_scores(table: PaperTable) -> dict[str, Any]:
    """Scores of Table 2 in the shape of ``result.json``; no intervals: no images are known."""
    matrix = table.matrix
    columns = {
        "precision": metrics.precision(matrix),
        "recall": metrics.recall(matrix),
        "f1": metrics.f1(matrix),
        "support": matrix.sum(axis=1),
    }
    return {
        "labels": list(table.labels),
        "n": int(matrix.sum()),
        "top1": number(metrics.top1(matrix)),
        "macro_f1": number(metrics.macro_f1(matrix)),
        "uar": number(metrics.uar(matrix)),
        "confusion": [[int(c) for c in row] for row in matrix],
        "per_class": {
            label: {
                name: int(values[i]) if name == "support" else number(values[i])
                for name, values in columns.items()
            }
            for i, label in enumerate(table.labels)
        },
    }


def paper_findings(table: PaperTable) -> dict[str, Any]:
    """What follows from the printed numbers by arithmetic."""
    matrix = table.matrix
    total, hits = int(matrix.sum()), int(np.trace(matrix))
    members = [table.labels.index(label) for label in table.binary_group]
    two = metrics.binary_confusion(matrix, members)
    columns = matrix.sum(axis=0)
    rows, folders = matrix.sum(axis=1), np.array(table.official_validation)
    return {
        "table_sum": total,
        "n_stated": table.n_validation_stated,
        "sum_minus_stated": total - table.n_validation_stated,
        "hits": hits,
        "accuracy_by_stated_n": number(hits / table.n_validation_stated),
        "accuracy_by_table_sum": number(hits / total),
        "accuracy_stated": table.accuracy_stated,
        "truth_counts": [int(c) for c in rows],
        "truth_shares": numbers(rows / total),
        "folder_counts": list(table.official_validation),
        "folder_shares": numbers(folders / folders.sum()),
        "largest_row_to_folder": number((rows / folders).max()),
        "smallest_row_to_folder": number((rows / folders).min()),
        "majority_shares": list(table.majority_shares),
        # Total variation: the share of images that would have to change their class.
        "distance_to_folders": number(_distance(rows, folders)),
        "distance_to_majority": number(_distance(rows, np.array(table.majority_shares))),
        "n_if_ties_were_dropped": round(int(folders.sum()) * table.majority_exists),
        "majority_is_uploader": table.majority_is_uploader,
        "majority_exists": table.majority_exists,
        "unanimous": table.unanimous,
        # Of three annotators, two who agree against the third are one pair of three.
        "pairwise_agreement": number(
            table.unanimous + (table.majority_exists - table.unanimous) / 3.0
        ),
        # If the columns were the truth, their sums would have to follow the annotators; and the
        # two-class figure the paper prints would be the columns' share.
        "columns": {
            "share_of_group": number(columns[members].sum() / total),
            "distance_to_majority": number(_distance(columns, np.array(table.majority_shares))),
        },
        "over_predicted": {
            label: number(columns[i] / rows[i] - 1.0) for i, label in enumerate(table.labels)
        },
        "images_missing": {
            "train": table.official_train_01 - table.n_train_stated,
            "validation": int(folders.sum()) - table.n_validation_stated,
        },
        "binary": {
            "accuracy_stated": table.binary_accuracy_stated,
            "n_of_group": int(rows[members].sum()),
            "share_of_group": number(rows[members].sum() / total),
            "best_constant": number(max(rows[members].sum(), total - rows[members].sum()) / total),
            "collapsed_accuracy": number(metrics.top1(two)),
            "collapsed_sensitivity": number(metrics.recall(two)[1]),
            "collapsed_specificity": number(metrics.recall(two)[0]),
        },
    }


def false_negatives(
    batch_size: int, class_shares: Sequence[float], n_templates: int
) -> dict[str, Any]:
    """How often InfoNCE calls a fitting text a negative, and the loss it can never get below.

    Each image of a batch has one caption: its class in a template drawn at random. A model that
    knows the class of every image, and no more, gives all captions of that class the same logit,
    so its loss is E[ln(1 + S)], where S, the other images of the class in the batch, is binomial.
    If it could also know which template was drawn, only word-for-word equal captions would tie.

    Args:
        batch_size: Images, B.
        class_shares: K shares of the classes; they sum to one.
        n_templates: Templates.

    Returns:
        ``batch_size``; ``same_class`` and ``same_text``, expected negatives of an image that fit
        it; ``share`` of its B - 1 negatives; ``floor`` and ``floor_if_template_known``, nats;
        ``uniform``, the loss of a guess, ln B.
    """
    others = batch_size - 1
    share = sum(p * p for p in class_shares)
    floors = [
        sum(p * _mean_log_ties(others, p / texts) for p in class_shares)
        for texts in (1, n_templates)
    ]
    return {
        "batch_size": batch_size,
        "same_class": number(others * share),
        "same_text": number(others * share / n_templates),
        "share": number(share),
        "floor": number(floors[0]),
        "floor_if_template_known": number(floors[1]),
        "uniform": number(math.log(batch_size)),
    }


def _mean_log_ties(n: int, p: float) -> float:
    """E[ln(1 + S)] for S binomial(n, p)."""
    # Through logarithms: the binomial coefficients themselves overflow.
    log_choose = [
        math.lgamma(n + 1) - math.lgamma(s + 1) - math.lgamma(n - s + 1) for s in range(n + 1)
    ]
    chances = (
        math.exp(c + s * math.log(p) + (n - s) * math.log1p(-p)) for s, c in enumerate(log_choose)
    )
    return sum(chance * math.log1p(s) for s, chance in enumerate(chances))


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Total variation distance of two distributions given as counts or shares."""
    return float(np.abs(a / a.sum() - b / b.sum()).sum() / 2)
