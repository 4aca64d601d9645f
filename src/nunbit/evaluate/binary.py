"""A group of classes against the rest, five ways: what the paper's two-class experiment asks.

The group is a grouping of apparent expressions, never a diagnosis. (a) The sum of the group's
posteriors; (b) two prompts on the same model, several wordings; (c) the best constant answer,
which any classifier must beat; (d) a threshold on (a) that was chosen on other images; and the
K-class prediction collapsed to the two sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import metrics
from nunbit.evaluate.board import Board, number
from nunbit.evaluate.predictions import Predictions
from nunbit.evaluate.scoring import Wording
from nunbit.labels import DEPRESSION_RELATED, LabelSet
from nunbit.splits import person_folds

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


def group_members(label_set: LabelSet) -> list[int] | None:
    """Positions of the depression-related classes; None where the label set has no such group."""
    group = label_set.groups.get(DEPRESSION_RELATED)
    return None if group is None else [label_set.index(label) for label in group.labels]


def joined_classes(label_set: LabelSet, labels: Iterable[str]) -> list[str]:
    """The classes as they were before merging, where the label set says; else the classes."""
    origin = next(iter(label_set.merges.values())) if len(label_set.merges) == 1 else {}
    return [old for label in labels for old in origin.get(label, (label,))]


def choose_threshold(posterior: Floats, inside: NDArray[np.bool_]) -> float:
    """The threshold with the best balanced accuracy: answers "inside" from it upwards.

    Halfway between the two neighbouring scores, so that it does not sit on an image.
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
    p: Predictions,
    sides: NDArray[np.float32] | None,
    wordings: tuple[Wording, ...],
    threshold: Threshold | None,
    board: Board,
    *,
    seed: int,
) -> Callable[[], dict[str, Any]]:
    """Put the two-class answers on the board; read them off afterwards.

    Args:
        p: Predictions.
        sides: (N, W, 2) cosines with the two prompts of each wording, or None.
        wordings: W wordings.
        threshold: From a selection split; None chooses one by cross-fitting over persons.
        board: Where sums go.
        seed: Seed of the folds.
    """
    members = group_members(p.label_set)
    if members is None:
        reason = {
            "en": f"label set {p.label_set.name} names no group {DEPRESSION_RELATED}",
            "ko": f"레이블 집합 {p.label_set.name}에 {DEPRESSION_RELATED} 묶음이 없습니다",
        }
        return lambda: {"group": None, "reason": reason}
    labelled = p.truth >= 0
    inside = np.isin(p.truth, members)
    truth = np.where(labelled, inside, -1).astype(np.int64)
    posterior = p.probability[:, members].sum(axis=1, dtype=np.float64)
    answers = _Answers(board, truth)
    answers.add("posterior_sum", posterior > 0.5, posterior)
    answers.add("collapsed", np.isin(p.predicted, members), None)
    cut, chosen_on = _thresholds(p, posterior, inside, labelled, threshold, seed)
    answers.add("threshold", posterior >= cut, posterior)
    if sides is not None and len(wordings):
        margins = (sides[:, :, 0] - sides[:, :, 1]).astype(np.float64)
        answers.add("two_prompt", margins.mean(axis=1) > 0, margins.mean(axis=1))
        for w, wording in enumerate(wordings):
            answers.add(f"wording/{wording.id}", margins[:, w] > 0, margins[:, w])

    def read() -> dict[str, Any]:
        group = p.label_set.groups[DEPRESSION_RELATED]
        result = {
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
        }
        if sides is None or not len(wordings):
            return {**result, "two_prompt": {"n": 0, "wordings": {}}}
        listed = {
            w.id: {
                "texts": list(w.texts) if w.texts else None,
                **answers.read(f"wording/{w.id}"),
            }
            for w in wordings
        }
        return {**result, "two_prompt": {**answers.read("two_prompt"), "wordings": listed}}

    return read


class _Answers:
    """Two-class answers on a board: 2 x 2 counts and, where there is a score, its ranking."""

    def __init__(self, board: Board, truth: Codes) -> None:
        self._board, self._truth = board, truth
        self._auroc: dict[str, float] = {}
        for name, answer in (("always_outside", 0), ("always_inside", 1)):
            self.add(name, np.full(len(truth), bool(answer)), None)

    def add(self, name: str, answer: NDArray[np.bool_], score: Floats | None) -> None:
        labelled = self._truth >= 0
        cells = np.where(labelled, 2 * self._truth + answer, -1).astype(np.int32)
        self._board.add(f"binary/{name}", metrics.Additive(cells, 4))
        if score is not None and labelled.any():
            positive = self._truth[labelled] == 1
            bins = metrics.rank_bins(score[labelled], positive)
            everywhere = np.full(len(labelled), -1, dtype=np.int32)
            everywhere[labelled] = bins.cells
            self._board.add(f"ranks/{name}", metrics.Additive(everywhere, bins.n_cells))
            self._auroc[name] = metrics.auroc(score[labelled], positive)

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
                entry, _of_two(score), sides=lambda cells, key=key: _COUNTED[key](cells)
            )
        scores["auroc"], ci95["auroc"] = None, None
        if name in self._auroc:
            exact = self._auroc[name]
            # The bins' own small error is the same in the total and in the draws.
            shift = exact - metrics.auroc_from_bins(self._board.total(f"ranks/{name}"))
            scores["auroc"] = number(exact)
            # Either side may rest on few persons.
            ci95["auroc"] = self._board.interval(
                f"ranks/{name}",
                lambda counts: metrics.auroc_from_bins(counts) + shift,
                sides=lambda cells: (cells[:, 0::2], cells[:, 1::2]),
            )
        return {**scores, "ci95": ci95}


_BINARY: dict[str, Callable[[Any], Floats]] = {
    "accuracy": metrics.top1,
    "balanced_accuracy": metrics.uar,
    "sensitivity": lambda counts: metrics.recall(counts)[..., 1],
    "specificity": lambda counts: metrics.recall(counts)[..., 0],
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
    """The better of the two constant answers: the floor of every two-class figure."""
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
    ids = [p.record_id[row] for row in rows]
    n_persons = len(set(subjects) - {None}) + subjects.count(None)
    n_folds = min(_FOLDS, n_persons)
    if n_folds < 2:
        return np.full(len(p), 0.5), "fixed"
    folds = person_folds(subjects, ids, n_folds, seed)
    cut = np.full(len(p), 0.5)
    for fold in range(n_folds):
        chosen = choose_threshold(posterior[rows[folds != fold]], inside[rows[folds != fold]])
        cut[rows[folds == fold]] = chosen
    return cut, "crossfit"
