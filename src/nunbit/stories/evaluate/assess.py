"""From predictions to ``result.json``: the settings, all sections, one bootstrap, the warnings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.core.schema import Policy, Split
from nunbit.datasets.predictions import Predictions
from nunbit.language.labels import label_set_to_dict
from nunbit.model.encoders import Bundle
from nunbit.model.posterior import BALANCED, TRAIN, Posterior, carried_shares
from nunbit.model.zeroshot import Ensemble, probabilities
from nunbit.runtime.config import BatchSize, Seed, Threads, Workers
from nunbit.runtime.engines import EngineName
from nunbit.stories.evaluate.board import (
    Board,
    calibration_section,
    confident_mistakes,
    number,
    numbers,
)
from nunbit.stories.evaluate.compare import (
    compare_with_evaluation,
    compare_with_paper,
    seeds_section,
)
from nunbit.stories.evaluate.objections import notices
from nunbit.stories.evaluate.people import (
    agreement_section,
    annotators_section,
    fold_scores,
    policies_section,
    seen_section,
    subgroups_section,
)
from nunbit.stories.evaluate.scoring import Scorer
from nunbit.stories.evaluate.variants import PromptEvidence, binary_section, prompts_section

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """What to evaluate and how.

    Attributes:
        split: Split of the data set; ``all`` = every image; None = test if there is one, else
            validation.
        policy: Label policy of the truth; None = that of the data set.
        label_set: Merge the classes into those of this label set (``dep2`` or a TOML file); None =
            the classes the data were prepared with.
        prompts: Template set, or a TOML file; None = the first set of the bundle.
        ensemble: How the templates of a class are combined.
        prior: Class shares that the probabilities assume: ``train`` = as the bundle is,
            ``balanced`` = all classes alike, or a file with ``label,share``.
        compare: ``paper``, or the folder of another evaluation of the same images; or a list of
            these.
        seeds: Folders of evaluations of the same recipe with other seeds; their results are
            summarised together.
        part: ``i/n``: embed only the i-th of n parts (for job arrays). The job that finishes last
            joins them all.
        engine: Who scores the images: ``local`` = this process with all threads, ``ray`` = a Ray
            cluster, one thread a part.
        address: Of ``ray``: HOST:PORT; '' = what RAY_ADDRESS names, else one started here.
        workers: Of ``ray``: most parts at once; 0 = as many as the cluster has CPUs.
        with_images: Show the crops of the most confident errors in the report.
        batch_size: Crops embedded at once; bounds memory.
        threads: Threads of the image tower; None = one for every core.
        n_resamples: Bootstrap resamples.
        seed: Decides the resamples and the folds.
        n_bins: Bins of the reliability diagram.
        min_group: Subgroups with fewer images are marked as small.
        max_mistakes: Most confident errors that are listed.
    """

    split: Split | Literal["all"] | None = None
    policy: Policy | None = None
    label_set: str | None = None
    prompts: str | None = None
    ensemble: Ensemble = "mean_embedding"
    prior: str = "train"
    compare: str | tuple[str, ...] | None = None
    seeds: tuple[str, ...] = ()
    part: str | None = None
    engine: EngineName = "local"
    address: str = ""
    workers: Workers = 0
    with_images: bool = False
    batch_size: BatchSize = 64
    threads: Threads | None = None
    n_resamples: Annotated[int, Meta(ge=100, le=20_000)] = 2_000
    seed: Seed = 0
    n_bins: Annotated[int, Meta(ge=2, le=100)] = 15
    min_group: Annotated[int, Meta(ge=1, le=1_000_000)] = 50
    max_mistakes: Annotated[int, Meta(ge=0, le=200)] = 24

    @property
    def comparisons(self) -> tuple[str, ...]:
        """The comparisons, the most interesting first."""
        if self.compare is None:
            return ()
        return (self.compare,) if isinstance(self.compare, str) else self.compare


RESULT_FORMAT = "nunbit-evaluation-1"


def assess(
    p: Predictions,
    settings: EvaluateSettings,
    *,
    evidence: PromptEvidence | None = None,
    n_rejected: int = 0,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make ``result.json`` without its provenance.

    Args:
        p: Predictions with at least one labelled image.
        settings: Of the evaluation.
        evidence: Prompts and cosines; None for a model without prompts or a prediction file.
        n_rejected: Images that preparation could not use.
        about: What acts on the probabilities (``posterior_section``).

    Raises:
        InputError: ``settings.compare`` names something that cannot be compared.
    """
    board = Board(
        statistics.cluster_codes(p.subject_id if p.knows_persons else None, len(p)),
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
        "binary": binary_section(p, evidence, board, seed=settings.seed),
    }
    seen = seen_section(p, board)
    prompts = prompts_section(p, evidence.bank, evidence.cosines, board) if evidence else dict
    board.run()
    document: dict[str, Any] = {
        **_headline(p, settings, board, n_rejected),
        **(about or {}),
        **{name: read() for name, read in sections.items()},
        **seen(),
        "per_template": {},
        "ensembles": {},
        **prompts(),
        "person_folds": fold_scores(p, settings.seed),
        "annotators": annotators_section(p, board, settings.n_resamples, settings.seed),
        "confident_mistakes": confident_mistakes(p, settings.max_mistakes),
        "trained_label_set": evidence.label_set if evidence else None,
    }
    document["seeds"] = seeds_section(document, settings.seeds)
    comparisons = [
        compare_with_paper(document)
        if other == "paper"
        else compare_with_evaluation(
            Path(other), document, p, n_resamples=settings.n_resamples, seed=settings.seed
        )
        for other in settings.comparisons
    ]
    document["comparison"] = next(iter(comparisons), None)
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
    """How the intervals of the headline were made; entries with few persons have notes."""
    if board.method("headline") == "bootstrap":
        rarest = board.rarest("headline")
        classes = f"; UAR, macro-F1: jackknife t, as a class has {rarest} {board.unit}(s)"
        return (
            f"percentile bootstrap, {settings.n_resamples} resamples by {board.unit}"
            f"{classes if rarest < statistics.FEW else ''}"
        )
    return (
        f"t interval, jackknife over {board.n_clusters('headline')} {board.unit}s (effective "
        f"number minus one degrees of freedom; the bootstrap is too narrow below {statistics.FEW})"
    )


def _per_class(p: Predictions, board: Board) -> dict[str, Any]:
    confusion = board.confusion("headline")
    return {
        label: {
            **{name: number(score(confusion)[k]) for name, score in _OF_CLASSES.items()},
            "support": int(confusion[k].sum()),
            "ci95": {name: _class_interval(board, name, k) for name in _OF_CLASSES},
        }
        for k, label in enumerate(p.label_set.ids)
    }


_OF_CLASSES: dict[str, Callable[[Any], Any]] = {
    "precision": statistics.precision,
    "recall": statistics.recall,
    "f1": statistics.f1,
}


def _class_interval(board: Board, name: str, k: int) -> list[float] | None:
    """Interval of the score of class k, over the persons whose images count for it."""

    def counted(cells: NDArray[Any]) -> list[NDArray[Any]]:
        matrices = cells.reshape(-1, board.n_classes, board.n_classes)
        row, column = matrices[:, k, :], matrices[:, :, k]
        return [{"precision": column, "recall": row}.get(name, np.hstack([row, column]))]

    of = board.of(_OF_CLASSES[name])
    return board.interval("headline", lambda cells: of(cells)[..., k], sides=counted)


# --- probabilities: what acts on them after the cosines, and other class shares


def class_probabilities(
    cosine: Floats, model: Bundle, rule: Ensemble, posterior: Posterior
) -> Floats:
    """Probabilities of an ensemble's cosines as the bundle shows them; (N, K).

    A ``vote`` is no cosine: its probabilities are the templates' shares, on which nothing acts.
    """
    if rule == "vote":
        return np.asarray(cosine / cosine.sum(axis=1, keepdims=True))
    return posterior.probabilities(probabilities(cosine, model.logit_scale, model.temperature))


def posterior_section(
    p: Predictions, scorer: Scorer, posterior: Posterior, settings: EvaluateSettings
) -> dict[str, Any]:
    """``adapted``, ``prior``, ``adaptation_notes`` and ``priors`` of the result.

    ``priors`` has the scores under the class shares of training and under balanced ones, where
    the two differ in an answer: ``train``, ``balanced`` and the paired ``difference`` (balanced
    minus train); else None.
    """
    about: dict[str, Any] = posterior.to_dict(relative=False)
    about["adaptation_notes"] = [note.to_dict() for note in posterior.notes]
    about["priors"] = None
    model, classes = scorer.bundle, scorer.dataset.label_set
    known = classes.ids == model.label_set.ids and carried_shares(model) is not None
    if not known or p.cosine is None or scorer.rule == "vote":
        return about
    shown = {
        name: class_probabilities(
            p.cosine, model, scorer.rule, Posterior.of(model, label_set=classes, prior=name)
        ).argmax(axis=1)
        for name in (TRAIN, BALANCED)
    }
    if (shown[TRAIN] == shown[BALANCED]).all():
        return about
    board = Board(
        statistics.cluster_codes(p.subject_id if p.knows_persons else None, len(p)),
        persons=p.knows_persons,
        n_classes=len(classes.labels),
        n_resamples=settings.n_resamples,
        seed=settings.seed,
    )
    for name, answer in shown.items():
        board.add_confusion(name, p.truth, answer)
    board.run()
    about["priors"] = {
        **{name: board.scores(name) for name in shown},
        "difference": board.difference(BALANCED, TRAIN),
    }
    return about
