"""Other ways to ask: a group of classes against the rest, other prompts and ensembles.

The group is a grouping of apparent expressions, never a diagnosis. The paper's two-class experiment
is asked in five ways: (a) the sum of the group's posteriors; (b) two prompts on the same model,
several wordings; (c) the best constant answer, which any classifier must beat; (d) a threshold on
(a) that was chosen on other images; and the K-class prediction collapsed to the two sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.core.messages import Text
from nunbit.datasets.policies import person_folds
from nunbit.datasets.predictions import Predictions, deciding_templates
from nunbit.language.labels import DEPRESSION_RELATED, LabelSet
from nunbit.language.prompts import prompts_for
from nunbit.model.zeroshot import ENSEMBLES, Ensemble, combine_cosines, normalise
from nunbit.stories.evaluate.board import Board, number, numbers
from nunbit.stories.evaluate.scoring import Cosines, PromptWording, TextBank

# --- the two-class experiment

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

_FOLDS = 5
# A classifier that gives one answer to this share of the images is called nearly constant.
NEARLY_CONSTANT = 0.95


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold on the group's posterior and where it was chosen.

    Attributes:
        value: In [0, 1].
        chosen_on: ``bundle`` (its selection split) or ``validation``.
    """

    value: float
    chosen_on: str


@dataclass(frozen=True, eq=False)
class PromptEvidence:
    """What only a model with prompts provides.

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


def group_members(label_set: LabelSet) -> list[int] | None:
    """Positions of the depression-related classes; None if the label set has no such group."""
    group = label_set.groups.get(DEPRESSION_RELATED)
    return None if group is None else [label_set.index(label) for label in group.labels]


def joined_classes(label_set: LabelSet, labels: Iterable[str]) -> list[str]:
    """The classes before merging if the label set names them, else the classes."""
    origin = next(iter(label_set.merges.values())) if len(label_set.merges) == 1 else {}
    return [old for label in labels for old in origin.get(label, (label,))]


def choose_threshold(posterior: Floats, inside: NDArray[np.bool_]) -> float:
    """The threshold with the best balanced accuracy: answers "inside" from it upwards.

    It lies halfway between two neighbouring scores, so that no image has exactly this score.
    """
    order = np.argsort(posterior, kind="stable")
    score, hit = posterior[order], inside[order]
    # Cutting before position i: the images i, i+1, … are answered "inside".
    sensitivity = 1.0 - np.concatenate([[0.0], np.cumsum(hit)]) / max(1, int(hit.sum()))
    specificity = np.concatenate([[0.0], np.cumsum(~hit)]) / max(1, int((~hit).sum()))
    possible = np.concatenate([[True], score[1:] > score[:-1], [True]])
    cut = int(np.where(possible, sensitivity + specificity, -1.0).argmax())
    edges = np.concatenate([[0.0], (score[1:] + score[:-1]) / 2.0, [1.0]])
    return float(edges[cut])


def binary_section(
    p: Predictions, evidence: PromptEvidence | None, board: Board, *, seed: int
) -> Callable[[], dict[str, Any]]:
    """Add the sums of the two-class answers; returns the function that reads the section off.

    Args:
        p: Predictions.
        evidence: Prompts and cosines; without a threshold one is chosen by cross-fitting over
            persons.
        board: Where sums go.
        seed: Seed of the folds.
    """
    members = group_members(p.label_set)
    if members is None:
        reason = Text(
            f"label set {p.label_set.name} names no group {DEPRESSION_RELATED}",
            f"레이블 집합 {p.label_set.name}에 {DEPRESSION_RELATED} 묶음이 없습니다",
        )
        return lambda: {"group": None, "reason": reason.to_dict()}
    labelled = p.truth >= 0
    inside = np.isin(p.truth, members)
    truth = np.where(labelled, inside, -1).astype(np.int64)
    posterior = p.probability[:, members].sum(axis=1, dtype=np.float64)
    answers = _Answers(board, truth)
    answers.add("posterior_sum", posterior > 0.5, posterior)
    answers.add("collapsed", np.isin(p.predicted, members), None)
    given = None if evidence is None else evidence.threshold
    cut, chosen_on = _thresholds(p, posterior, inside, labelled, given, seed)
    answers.add("threshold", posterior >= cut, posterior)
    asked = () if evidence is None else evidence.bank.wordings
    if evidence is not None and asked:
        sides = evidence.cosines.sides
        margins = (sides[:, :, 0] - sides[:, :, 1]).astype(np.float64)
        answers.add("two_prompt", margins.mean(axis=1) > 0, margins.mean(axis=1))
        for w, wording in enumerate(asked):
            answers.add(f"wording/{wording.id}", margins[:, w] > 0, margins[:, w])

    def read() -> dict[str, Any]:
        group = p.label_set.groups[DEPRESSION_RELATED]
        return {
            "group": DEPRESSION_RELATED,
            "members": list(group.labels),
            "joined": joined_classes(p.label_set, group.labels),
            "stand_in_for": list(group.stand_in_for),
            "n": int(labelled.sum()),
            "prevalence": number(inside[labelled].mean()),
            "posterior_sum": answers.read("posterior_sum"),
            "collapsed": answers.read("collapsed"),
            "constant": _constant(answers),
            "threshold": {
                "value": number(float(np.median(cut))),
                "chosen_on": chosen_on,
                **answers.read("threshold"),
            },
            "two_prompt": _two_prompt(answers, asked),
        }

    return read


def _two_prompt(answers: _Answers, asked: tuple[PromptWording, ...]) -> dict[str, Any]:
    if not asked:
        return {"n": 0, "wordings": {}}
    listed = {
        w.id: {"texts": list(w.texts) if w.texts else None, **answers.read(f"wording/{w.id}")}
        for w in asked
    }
    return {**answers.read("two_prompt"), "wordings": listed}


class _Answers:
    """The sums of two-class answers: 2 x 2 counts and, if there is a score, its ranking."""

    def __init__(self, board: Board, truth: Codes) -> None:
        self._board, self._truth = board, truth
        self._auroc: dict[str, float] = {}
        for name, answer in (("always_outside", 0), ("always_inside", 1)):
            self.add(name, np.full(len(truth), bool(answer)), None)

    def add(self, name: str, answer: NDArray[np.bool_], score: Floats | None) -> None:
        labelled = self._truth >= 0
        cells = np.where(labelled, 2 * self._truth + answer, -1).astype(np.int32)
        self._board.add(f"binary/{name}", statistics.Additive(cells, 4))
        if score is not None and labelled.any():
            positive = self._truth[labelled] == 1
            bins = statistics.rank_bins(score[labelled], positive)
            everywhere = np.full(len(labelled), -1, dtype=np.int32)
            everywhere[labelled] = bins.cells
            self._board.add(f"ranks/{name}", statistics.Additive(everywhere, bins.n_cells))
            self._auroc[name] = statistics.auroc(score[labelled], positive)

    def read(self, name: str) -> dict[str, Any]:
        entry = f"binary/{name}"
        counts = self._board.total(entry).reshape(2, 2)
        answered = counts.sum(axis=0) / max(1.0, counts.sum())
        scores: dict[str, Any] = {
            "n": int(counts.sum()),
            "share_answered_inside": number(answered[1]),
            "constant": bool(answered.max() == 1.0),
            "nearly_constant": bool(answered.max() >= NEARLY_CONSTANT),
            "counts": [[int(c) for c in row] for row in counts],
        }
        ci95: dict[str, Any] = {}
        for key, score in _BINARY.items():
            scores[key] = number(score(counts))
            ci95[key] = self._board.interval(
                entry,
                _of_two(score),
                sides=lambda cells, key=key: _COUNTED[key](cells),
                mean_of_sides=key == "balanced_accuracy",
            )
        exact = self._auroc.get(name)
        scores["auroc"], ci95["auroc"] = number(exact), None
        if exact is not None:
            # The bins' own small error is the same in the total and in the draws.
            shift = exact - statistics.auroc_from_bins(self._board.total(f"ranks/{name}"))
            # Either side may rest on few persons.
            ci95["auroc"] = self._board.interval(
                f"ranks/{name}",
                lambda counts: statistics.auroc_from_bins(counts) + shift,
                sides=lambda cells: (cells[:, 0::2], cells[:, 1::2]),
            )
        return {**scores, "ci95": ci95}


_BINARY: dict[str, Callable[[Any], Floats]] = {
    "accuracy": statistics.top1,
    "balanced_accuracy": statistics.uar,
    "sensitivity": lambda counts: statistics.recall(counts)[..., 1],
    "specificity": lambda counts: statistics.recall(counts)[..., 0],
}


def _of_two(score: Callable[[Any], Floats]) -> Callable[[Any], Floats]:
    return lambda cells: score(cells.reshape(*cells.shape[:-1], 2, 2))


# Cells (2 * truth + answer) that a score counts: sensitivity rests on those inside the group only.
_COUNTED: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "accuracy": lambda cells: (cells,),
    "balanced_accuracy": lambda cells: (cells[:, :2], cells[:, 2:]),
    "sensitivity": lambda cells: (cells[:, 2:],),
    "specificity": lambda cells: (cells[:, :2],),
}


def _constant(answers: _Answers) -> dict[str, Any]:
    """The better of the two constant answers, which every two-class result must beat."""
    outside, inside = answers.read("always_outside"), answers.read("always_inside")
    best, name = (
        (inside, "inside")
        if (inside["accuracy"] or 0.0) > (outside["accuracy"] or 0.0)
        else (outside, "outside")
    )
    return {**best, "answer": name, "always_inside_accuracy": inside["accuracy"]}


def _thresholds(
    p: Predictions,
    posterior: Floats,
    inside: NDArray[np.bool_],
    labelled: NDArray[np.bool_],
    given: Threshold | None,
    seed: int,
) -> tuple[Floats, str]:
    """A threshold per image, and how it was chosen; never on the image's own person."""
    if given is not None:
        return np.full(len(p), given.value), given.chosen_on
    rows = np.flatnonzero(labelled)
    subjects = [p.subject_id[row] for row in rows]
    n_persons = len(set(subjects) - {None}) + subjects.count(None)
    n_folds = min(_FOLDS, n_persons)
    if n_folds < 2:
        return np.full(len(p), 0.5), "fixed"
    folds = person_folds(subjects, [p.record_id[row] for row in rows], n_folds, seed)
    cut = np.full(len(p), 0.5)
    for fold in range(n_folds):
        others = rows[folds != fold]
        cut[rows[folds == fold]] = choose_threshold(posterior[others], inside[others])
    return cut, "crossfit"


# --- prompts


def prompts_section(
    p: Predictions, bank: TextBank, cosines: Cosines, board: Board
) -> Callable[[], dict[str, Any]]:
    """Add the sums of every way of prompting; returns the function that reads the section off.

    Returns:
        Keys ``per_template``, ``ensembles``, ``leave_one_template_out``, ``template_sets``,
        ``prompt_similarity`` and ``deciding_template``. Every difference is paired with the
        headline on the same images.
    """
    c, headline = cosines.prompts, cast(Ensemble, p.ensemble or "mean_embedding")
    for t, template in enumerate(bank.templates.templates):
        board.add_confusion(f"template/{template.id}", p.truth, c[:, t].argmax(axis=1))
        if len(bank.templates.templates) > 1:
            rest = [i for i in range(c.shape[1]) if i != t]
            combined = combine_cosines(c[:, rest], bank.prompts[rest], headline)
            board.add_confusion(f"without/{template.id}", p.truth, combined.argmax(axis=1))
    for rule in ENSEMBLES:
        combined = combine_cosines(c, bank.prompts, rule)
        board.add_confusion(f"ensemble/{rule}", p.truth, combined.argmax(axis=1))
    for s, (other, _) in enumerate(bank.other_sets):
        board.add_confusion(f"set/{other.name}", p.truth, cosines.other_sets[:, s].argmax(axis=1))

    def read() -> dict[str, Any]:
        return {
            "per_template": _templates(bank, p.label_set, board),
            "ensembles": {r: _entry(board, f"ensemble/{r}") for r in ENSEMBLES},
            "leave_one_template_out": {
                t.id: _entry(board, f"without/{t.id}")
                for t in bank.templates.templates
                if len(bank.templates.templates) > 1
            },
            "template_sets": _sets(bank, p.label_set, board),
            "prompt_similarity": prompt_similarity(bank, p.label_set),
            "deciding_template": _deciding(p),
        }

    return read


def prompt_similarity(bank: TextBank, label_set: LabelSet) -> dict[str, Any]:
    """Cosines between the texts of different classes: whether the prompts distinguish the classes.

    Returns:
        ``classes`` (K, K) cosines of the class embeddings, the ``most_alike`` pair, the mean over
        pairs, and per template the smallest, mean and largest cosine of two classes.
    """
    unit = normalise(bank.prompts)
    classes = normalise(unit.mean(axis=0))
    similarity = classes @ classes.T
    upper = np.triu_indices(len(classes), 1)
    most = int(similarity[upper].argmax())
    first, second = (label_set.ids[int(axis[most])] for axis in upper)
    pairs = {
        template.id: (vectors @ vectors.T)[upper]
        for template, vectors in zip(bank.templates.templates, unit, strict=True)
    }
    return {
        "classes": numbers(similarity, 4),
        "most_alike": {
            "labels": [first, second],
            "cosine": number(similarity[upper][most]),
        },
        "mean": number(similarity[upper].mean()),
        "per_template": {
            name: {
                "smallest": number(found.min()),
                "mean": number(found.mean()),
                "largest": number(found.max()),
            }
            for name, found in pairs.items()
        },
    }


def _templates(bank: TextBank, label_set: LabelSet, board: Board) -> dict[str, Any]:
    rows = prompts_for(bank.templates, label_set)
    return {
        template.id: {
            "text": template.text,
            "trained": _trained([texts], bank),
            **_entry(board, f"template/{template.id}"),
        }
        for template, texts in zip(bank.templates.templates, rows, strict=True)
    }


def _sets(bank: TextBank, label_set: LabelSet, board: Board) -> dict[str, Any]:
    entries: dict[str, Any] = {
        bank.templates.name: {
            "language": bank.templates.language,
            "trained": _trained(prompts_for(bank.templates, label_set), bank),
            "headline": True,
            **_entry(board, "headline"),
        }
    }
    for other, _ in bank.other_sets:
        entries[other.name] = {
            "language": other.language,
            "trained": _trained(prompts_for(other, label_set), bank),
            "headline": False,
            **_entry(board, f"set/{other.name}"),
        }
    for name, reason in bank.unserved.items():
        entries[name] = {"n": 0, "unserved": reason}
    return entries


def _entry(board: Board, name: str) -> dict[str, Any]:
    return {**board.scores(name), "difference": board.difference(name, "headline")}


def _trained(rows: Iterable[tuple[str, ...]], bank: TextBank) -> bool | None:
    """Whether the model saw every prompt in training."""
    return None if bank.trained is None else all(set(row) <= bank.trained for row in rows)


def _deciding(p: Predictions) -> dict[str, float | None]:
    deciding = deciding_templates(p)
    if deciding is None or p.templates is None:
        return {}
    ids = [t["id"] for t in p.templates["templates"]]
    shares = np.bincount(deciding, minlength=len(ids)) / len(p)
    return {name: number(share) for name, share in zip(ids, shares, strict=True)}
