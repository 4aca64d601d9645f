"""Labels of stretches of time: fusions side by side, and the controls they must beat.

Arrays in, plain data out. Intervals are over persons: every person is left out in turn where few
show a class, else persons are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from nunbit.core.messages import Text
from nunbit.runtime.files import PartStore
from nunbit.runtime.progress import Progress
from nunbit.statistics.nested import (
    Codes,
    Floats,
    interval_over_persons,
    nested_splits,
    permuted_rows,
    splits_of,
)
from nunbit.statistics.outcome_scores import (
    RESAMPLES,
    above_by_chance,
    drawn_interval,
    drawn_means,
    person_draws,
)
from nunbit.statistics.resampling import all_alike_interval, confusion_cells
from nunbit.statistics.scores import (
    confusion_matrix,
    ece_noise_floor,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    uar,
)
from nunbit.stories.study.fusions import (
    FUSIONS,
    Answered,
    CrossModal,
    FoldedModels,
    LabelledStretches,
)
from nunbit.stories.study.outcome_study import ALPHA, quantiles, verdict_code
from nunbit.stories.study.study_plan import FEWEST_LABELLED, StudySettings, why_no_sites

_CHUNK = 50
_Scale = Literal["share", "difference"]


@dataclass(frozen=True)
class PermutedUars:
    """UAR of one chunk of permutations."""

    scores: list[float] = field(default_factory=list)


def assess_stretches(
    sample: LabelledStretches,
    settings: StudySettings,
    cross_modal: CrossModal | None = None,
    kept: PartStore[PermutedUars] | None = None,
) -> dict[str, Any]:
    """Score every model, pattern of missing modalities and control, and judge.

    Args:
        sample: Labelled stretches.
        settings: Folds, permutations, headline, seed.
        cross_modal: The transformer; None where torch is not installed or it was not wanted.
        kept: Finished permutations of an interrupted run. Predictions are never kept, so the
            transformer is trained again.

    Returns:
        ``models``, ``fusion``, ``patterns``, ``controls``, ``permutations`` and ``code``.
    """
    splits = nested_splits(sample.person, settings.folds, settings.inner_folds, 1, settings.seed)
    study = FoldedModels(sample, splits[0])
    answers = study.answers()
    patterns = study.patterns() if len(sample.modalities) > 1 else {}
    for name, found in (("shared_space", study.shared_space()), ("index", study.label_free())):
        if found is not None:
            answers[name] = found
    if cross_modal is not None and len(sample.modalities) > 1:
        _add_transformer(study, answers, patterns, settings, cross_modal)
    judge = _Judge(sample, settings)
    models = {name: judge.model(found) for name, found in answers.items()}
    best = max(sample.modalities, key=lambda m: float(models[m]["uar"]))
    head = settings.headline
    for name, model in models.items():
        model["headline"] = name == head
        ci = judge.difference(answers[name], answers[best]) if name != best else None
        model["against_best_single"] = {
            "value": model["uar"] - models[best]["uar"], "ci95": ci}  # fmt: skip
    controls = _controls(study, judge, answers[head])
    null = _permutations(study, settings, kept)
    p = above_by_chance(models[head]["uar"], null)
    controls["leave_site_out"] = _sites_left_out(sample, settings)
    controls["permutations"] = {
        "state": "run", "n": settings.permutations, "p": p, "beaten": p < ALPHA,
        "within_sites": sample.site is not None,
    }  # fmt: skip
    few = sample.n_persons < FEWEST_LABELLED
    return {
        "models": models,
        "fusion": _fusion(models, best),
        "patterns": [
            {"modalities": list(pattern),
             "models": {n: judge.model(a, calibrated=False) for n, a in found.items()}}
            for pattern, found in patterns.items()
        ],
        "controls": controls,
        "permutations": quantiles(null),
        "code": "too_few" if few else verdict_code(controls),
    }  # fmt: skip


class _Judge:
    """Scores with intervals over the persons of a sample."""

    def __init__(self, sample: LabelledStretches, settings: StudySettings) -> None:
        self._sample, self._seed = sample, settings.seed
        self._k = len(sample.classes)
        # A class is known from the persons who show it.
        known = np.unique(sample.truth)
        self._sides = [np.bincount(sample.person, sample.truth == each) for each in known]
        self._draws = person_draws(sample.n_persons, RESAMPLES, settings.seed)

    def model(self, found: Answered, *, calibrated: bool = True) -> dict[str, Any]:
        """UAR with its interval; NLL and ECE where probabilities were calibrated."""
        truth, answer = self._sample.truth, found.answer
        scores: dict[str, Any] = {
            "uar": float(uar(confusion_matrix(truth, answer, self._k))),
            "ci95": self.interval(answer),
        }
        if calibrated:
            p = found.probability
            loss = negative_log_likelihood(p, truth)
            drawn = drawn_means(loss, self._sample.person, self._draws)
            bins = reliability(p.max(axis=1), p.argmax(axis=1) == truth)
            scores |= {"nll": float(loss.mean()), "nll_ci95": list(drawn_interval(drawn)),
                       "ece": expected_calibration_error(p, truth),
                       "ece_by_chance": ece_noise_floor(p.max(axis=1), bins)}  # fmt: skip
        return scores

    def interval(self, answer: Codes) -> list[float] | None:
        """95% interval of the UAR."""
        return self._interval(self._uar, [answer], "share")

    def difference(self, first: Answered, second: Answered) -> list[float] | None:
        """95% interval of the first's UAR minus the second's, on the same persons."""
        answers = [first.answer, second.answer]
        return self._interval(lambda a, b: self._uar(a) - self._uar(b), answers, "difference")

    def _interval(
        self, of: Callable[..., Floats], answers: Sequence[Codes], scale: _Scale
    ) -> list[float] | None:
        cells = [confusion_cells(self._sample.truth, answer, self._k) for answer in answers]
        found = interval_over_persons(
            of, cells, self._sample.person, self._sides,
            scale=scale, unseen=self._unseen(answers), resamples=RESAMPLES, seed=self._seed,
        )  # fmt: skip
        return None if found is None else list(found)

    def _unseen(self, answers: Sequence[Codes]) -> tuple[float, float]:
        """How far an UAR, or a first minus a second, may be below and above by classes alike.

        Where all persons of a class are right (or wrong), their recall has no spread to see.
        """
        known, below, above = np.unique(self._sample.truth), 0.0, 0.0
        for sign, answer in zip((1, -1), answers, strict=False):
            for each, side in zip(known, self._sides, strict=True):
                right = answer[self._sample.truth == each] == each
                if right.any() and not right.all():
                    continue
                part = (1.0 - all_alike_interval(1.0, int((side > 0).sum()))[0]) / len(known)
                if bool(right.all()) == (sign > 0):
                    below += part
                else:
                    above += part
        return below, above

    def _uar(self, cells: Any) -> Floats:
        return uar(np.asarray(cells).reshape(*np.shape(cells)[:-1], self._k, self._k))


def _controls(study: FoldedModels, judge: _Judge, head: Answered) -> dict[str, dict[str, Any]]:
    """The headline against the prior, the interviewer and the covariates, in pairs."""
    sample = study.sample
    tables = {"interviewer": sample.interviewer, "covariates": sample.covariates}
    ours = judge.model(head, calibrated=False)
    chance = 1.0 / len(np.unique(sample.truth))
    own = ours["ci95"]
    low_high = None if own is None else [end - chance for end in own]
    found: dict[str, dict[str, Any]] = {
        "prior": {"state": "run", "uar": chance, "ci95": None, "difference": ours["uar"] - chance,
                  "difference_ci95": low_high,
                  "beaten": low_high is not None and low_high[0] > 0.0}
    }  # fmt: skip
    for name, table in tables.items():
        if table is None:
            found[name] = {"state": "absent", "reason": f"no_{name}"}
            continue
        answered = study.of_table(table)
        theirs = judge.model(answered, calibrated=False)
        ci = judge.difference(head, answered)
        found[name] = {"state": "run", "uar": theirs["uar"], "ci95": theirs["ci95"],
                       "difference": ours["uar"] - theirs["uar"], "difference_ci95": ci,
                       "beaten": ci is not None and ci[0] > 0.0}  # fmt: skip
    return found


def _sites_left_out(sample: LabelledStretches, settings: StudySettings) -> dict[str, Any]:
    """The headline with whole sites left out, against chance."""
    if (why := why_no_sites(sample.site, sample.person)) is not None:
        return why
    assert sample.site is not None  # else it says so
    splits = splits_of(sample.site, sample.person, settings.inner_folds, settings.seed)
    answered = FoldedModels(sample, splits).answers()[settings.headline]
    judge = _Judge(sample, settings)
    found, chance = judge.model(answered, calibrated=False), 1.0 / len(np.unique(sample.truth))
    ci = None if found["ci95"] is None else [end - chance for end in found["ci95"]]
    return {"state": "run", "sites": len(np.unique(sample.site)), "uar": found["uar"],
            "ci95": found["ci95"], "difference": found["uar"] - chance, "difference_ci95": ci,
            "beaten": ci is not None and ci[0] > 0.0}  # fmt: skip


def _permutations(
    study: FoldedModels, settings: StudySettings, kept: PartStore[PermutedUars] | None
) -> Floats:
    """(permutations,) UAR of the headline where persons were given one another's labels."""
    sample, total = study.sample, settings.permutations
    block = np.zeros_like(sample.person) if sample.site is None else sample.site
    scores: list[float] = []
    with Progress(Text("permutations", "순열"), total, "perm") as bar:
        for at in range(0, total, _CHUNK):
            size = min(_CHUNK, total - at)
            part = None if kept is None else kept.read(f"permuted-{at}")
            if part is None:
                rows = [
                    permuted_rows(sample.person, block,
                                  np.random.default_rng([settings.seed, 11, i]), turned=True)
                    for i in range(at, at + size)
                ]  # fmt: skip
                labels = sample.truth[np.stack(rows, axis=1)]
                answer = study.permuted(labels, settings.headline)
                part = PermutedUars(_uars(labels, answer, len(sample.classes)))
                if kept is not None:
                    kept.write(f"permuted-{at}", part)
            scores += part.scores
            bar.advance(size)
    return np.array(scores)


def _uars(labels: Codes, answer: Floats, k: int) -> list[float]:
    """UAR of each column."""
    return [
        float(uar(confusion_matrix(labels[:, i], answer[:, i].astype(np.int64), k)))
        for i in range(labels.shape[1])
    ]


def _add_transformer(
    study: FoldedModels,
    answers: dict[str, Answered],
    patterns: Mapping[tuple[str, ...], dict[str, Answered]],
    settings: StudySettings,
    cross_modal: CrossModal,
) -> None:
    """Train the transformer fold by fold, and add its answers for every pattern."""
    shown = study.sample.patterns
    chances = np.empty((len(shown), len(study.sample.truth), study.k))
    with Progress(Text("transformer", "트랜스포머"), len(study.splits), "folds") as bar:
        for at, split in enumerate(study.splits):
            task = study.cross_modal_task(split, settings.seed + at)
            chances[:, split.test] = np.asarray(cross_modal(task), np.float64)
            bar.advance()
    for pattern, found in zip(shown, chances, strict=True):
        answered = Answered(found, found, study.prior)
        if pattern == shown[0]:
            answers["transformer"] = answered
        patterns[pattern]["transformer"] = answered


def _fusion(models: Mapping[str, Any], best: str) -> dict[str, Any]:
    """Whether any fusion adds to the best single modality, by its paired interval.

    The best single modality is chosen on the same scores, which is to its advantage.
    """
    shown = [n for n in (*FUSIONS, "transformer") if n in models]
    adds = [
        n for n in shown
        if (ci := models[n]["against_best_single"]["ci95"]) is not None and ci[0] > 0.0
    ]  # fmt: skip
    head = next(n for n, m in models.items() if m["headline"])
    return {"best_single": best, "adding": adds,
            "code": "adds" if head in adds else "does_not_add"}  # fmt: skip
