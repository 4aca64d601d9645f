"""From predictions to ``result.json``: all sections, one bootstrap, the warnings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import metrics
from nunbit.evaluate.binary import Threshold, binary_section
from nunbit.evaluate.board import Board, number, numbers
from nunbit.evaluate.calibration import calibration_section, confident_mistakes
from nunbit.evaluate.compare import compare_with_evaluation, compare_with_paper
from nunbit.evaluate.notices import notices
from nunbit.evaluate.people import (
    agreement_section,
    annotators_section,
    fold_scores,
    policies_section,
    seen_section,
    subgroups_section,
)
from nunbit.evaluate.predictions import Predictions
from nunbit.evaluate.prompts import prompts_section
from nunbit.evaluate.scoring import Cosines, TextBank
from nunbit.evaluate.seeds import seeds_section
from nunbit.evaluate.settings import EvaluateSettings
from nunbit.labels import label_set_to_dict

RESULT_FORMAT = "nunbit-evaluation-1"


@dataclass(frozen=True, eq=False)
class PromptEvidence:
    """What only a model with prompts has to show.

    Attributes:
        bank: Texts and their embeddings.
        cosines: Cosines of the images with them.
        threshold: Of the two-class experiment, chosen on a selection split, or None.
        label_set: Name of the label set the model was trained for, or None.
    """

    bank: TextBank
    cosines: Cosines
    threshold: Threshold | None = None
    label_set: str | None = None


def assess(
    p: Predictions,
    settings: EvaluateSettings,
    *,
    evidence: PromptEvidence | None = None,
    n_rejected: int = 0,
) -> dict[str, Any]:
    """Everything of ``result.json`` but provenance.

    Args:
        p: Predictions with at least one labelled image.
        settings: Of the evaluation.
        evidence: Prompts and cosines; None for a model without prompts or a prediction file.
        n_rejected: Images that preparation could not use.

    Raises:
        InputError: ``settings.compare`` names something that cannot be compared.
    """
    board = Board(
        metrics.cluster_codes(p.subject_id if p.knows_persons else None, len(p)),
        persons=p.knows_persons,
        n_classes=len(p.label_set.labels),
        n_resamples=settings.n_resamples,
        seed=settings.seed,
    )
    board.add_confusion("headline", p.truth, p.predicted)
    sections = {
        "policies": policies_section(p, board),
        "agreement": agreement_section(p, board),
        "subgroups": subgroups_section(p, board, settings.min_group),
        "calibration": calibration_section(p, board, settings.n_bins),
        "binary": binary_section(
            p,
            evidence.cosines.sides if evidence else None,
            evidence.bank.wordings if evidence else (),
            evidence.threshold if evidence else None,
            board,
            seed=settings.seed,
        ),
    }
    read_seen = seen_section(p, board)
    read_prompts = prompts_section(p, evidence.bank, evidence.cosines, board) if evidence else dict
    board.run()
    document = {
        **_headline(p, settings, board, n_rejected),
        **{name: read() for name, read in sections.items()},
        **read_seen(),
        "per_template": {},
        "ensembles": {},
        **read_prompts(),
        "person_folds": fold_scores(p, settings.seed),
        "annotators": annotators_section(p, board, settings.n_resamples, settings.seed),
        "confident_mistakes": confident_mistakes(p, settings.max_mistakes),
    }
    document["trained_label_set"] = evidence.label_set if evidence else None
    document["seeds"] = seeds_section(document, settings.seeds)
    comparisons = _comparisons(document, p, settings)
    document["comparison"] = comparisons[0] if comparisons else None
    document["further_comparisons"] = comparisons[1:]
    document["warnings"] = notices(document, p)
    return document


def _headline(
    p: Predictions, settings: EvaluateSettings, board: Board, n_rejected: int
) -> dict[str, Any]:
    scores = board.scores("headline")
    confusion = board.confusion("headline")
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    ids = p.label_set.ids
    return {
        "format": RESULT_FORMAT,
        "labels": list(ids),
        "label_set": label_set_to_dict(p.label_set),
        "n": scores["n"],
        "n_subjects": scores["n_subjects"],
        "n_rejected": n_rejected,
        "n_skipped": {"no_label": int((p.truth < 0).sum()), "rejected": n_rejected},
        "model": p.model,
        "policy": p.policy,
        "split": p.split,
        "prompts": p.templates["name"] if p.templates else None,
        "ensemble": p.ensemble,
        "logit_scale": number(p.logit_scale),
        **{key: scores[key] for key in ("top1", "macro_f1", "uar")},
        "ci95": scores["ci95"],
        "ci_unit": board.unit,
        "ci_method": _method_text(board, settings),
        "chance": {
            "uniform": number(1.0 / len(ids)),
            "largest_class": number(truth.max() / truth.sum()),
        },
        "confusion": [[int(c) for c in row] for row in confusion],
        "per_class": _per_class(p, board),
        "truth_distribution": dict(zip(ids, numbers(truth / truth.sum()), strict=True)),
        "prediction_distribution": dict(zip(ids, numbers(predicted / truth.sum()), strict=True)),
    }


def _method_text(board: Board, settings: EvaluateSettings) -> str:
    """How the headline's intervals were made; entries with fewer persons say so themselves."""
    if board.method("headline") == "bootstrap":
        return f"percentile bootstrap, {settings.n_resamples} resamples by {board.unit}"
    return (
        f"t interval, jackknife over {board.n_clusters('headline')} {board.unit}s (effective "
        f"number minus one degrees of freedom; the bootstrap is too narrow below {metrics.FEW})"
    )


def _per_class(p: Predictions, board: Board) -> dict[str, Any]:
    confusion = board.confusion("headline")
    support = confusion.sum(axis=1)
    return {
        label: {
            **{name: number(score(confusion)[k]) for name, score in _OF_CLASSES.items()},
            "support": int(support[k]),
            "ci95": {name: _class_interval(board, name, k) for name in _OF_CLASSES},
        }
        for k, label in enumerate(p.label_set.ids)
    }


_OF_CLASSES: dict[str, Callable[[Any], Any]] = {
    "precision": metrics.precision,
    "recall": metrics.recall,
    "f1": metrics.f1,
}


def _class_interval(board: Board, name: str, k: int) -> list[float] | None:
    """Of the score of class k, which rests on the persons whose images it counts."""

    def counted(cells: NDArray[Any]) -> list[NDArray[Any]]:
        matrices = cells.reshape(-1, board.n_classes, board.n_classes)
        row, column = matrices[:, k, :], matrices[:, :, k]
        return [{"precision": column, "recall": row}.get(name, np.hstack([row, column]))]

    of = board.of(_OF_CLASSES[name])
    return board.interval("headline", lambda cells: of(cells)[..., k], sides=counted)


def _comparisons(
    document: dict[str, Any], p: Predictions, settings: EvaluateSettings
) -> list[dict[str, Any]]:
    return [
        compare_with_paper(document)
        if other == "paper"
        else compare_with_evaluation(
            Path(other), document, p, n_resamples=settings.n_resamples, seed=settings.seed
        )
        for other in settings.comparisons
    ]


def labelled(p: Predictions) -> int:
    """Images with a label under the policy."""
    return int(np.count_nonzero(p.truth >= 0))
