"""Outcomes of persons: nested predictions by modality and fusion, and the controls they must beat.

Arrays in, plain data out; nothing of a single person comes out. N rows (sessions), R repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nunbit.core.messages import Text
from nunbit.runtime.files import PartStore
from nunbit.runtime.progress import Progress
from nunbit.statistics.nested import (
    Codes,
    Floats,
    Ridge,
    Split,
    interval_over_persons,
    nested_splits,
    permuted_rows,
    rows_there,
    splits_of,
    training_means,
)
from nunbit.statistics.outcome_scores import (
    RESAMPLES,
    above_by_chance,
    concordance,
    drawn_concordance,
    drawn_interval,
    drawn_means,
    false_discovery,
    person_draws,
    spearman,
)
from nunbit.statistics.resampling import auroc_from_bins, rank_bins
from nunbit.statistics.scores import auroc
from nunbit.stories.study.study_plan import AUROC_FROM, FEWEST, StudySettings, why_no_sites

FUSIONS = ("mean", "concat", "hybrid")
_CHUNK = 100
_MOST_RANKS = 2_000
"""Ranks that an AUROC tells apart; with fewer than there are persons, a perfect one looks less."""
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class OutcomeSample:
    """What is studied.

    Attributes:
        person: (N,) codes 0 … P-1.
        outcome: (N,).
        modalities: Name -> (N, F) measures of the participant, NaN where missing.
        names: Name -> F measures.
        interviewer: (N, G), or None where nothing of an interviewer is known.
        interviewer_names: G measures.
        covariates: (N, C) covariates, duration and what could be read.
        covariate_names: C names.
        site: (N,) codes, or None.
    """

    person: Codes
    outcome: Floats
    modalities: Mapping[str, Floats]
    names: Mapping[str, tuple[str, ...]]
    interviewer: Floats | None
    interviewer_names: tuple[str, ...]
    covariates: Floats
    covariate_names: tuple[str, ...]
    site: Codes | None = None

    @property
    def n_persons(self) -> int:
        """P."""
        return int(self.person.max()) + 1


@dataclass(frozen=True)
class PermutedScores:
    """Scores of one chunk of permutations: model -> CCC of each."""

    scores: dict[str, list[float]] = field(default_factory=dict)


def assess_outcomes(
    sample: OutcomeSample, settings: StudySettings, store: PartStore[PermutedScores] | None = None
) -> dict[str, Any]:
    """Score every model and control, and judge.

    Args:
        sample: What is studied.
        settings: Folds, repeats, permutations, headline, seed.
        store: Keeps finished permutations, so that an interrupted run goes on.

    Returns:
        ``models``, ``controls``, ``measures``, ``permutations`` (the null of the headline in
        quantiles) and ``code``.
    """
    measures = {
        "participant": _correlations(sample, sample.modalities, sample.names),
        **_control_correlations(sample),
    }
    if sample.n_persons < FEWEST:
        return {"models": {}, "controls": _not_run(sample), "measures": measures,
                "permutations": None, "code": "too_few"}  # fmt: skip
    study = _Nested(sample, settings)
    predicted = study.predictions()
    draws = person_draws(sample.n_persons, RESAMPLES, settings.seed)
    drawn = {n: drawn_concordance(sample.outcome, p, sample.person, draws)
             for n, p in predicted.items()}  # fmt: skip
    null = study.permuted(store)
    participant = [n for n in predicted if not n.startswith(_CONTROL)]
    models = {n: _model(sample, predicted[n], drawn[n], draws, settings) for n in participant}
    _add_permutations(models, null)
    head = settings.headline
    controls = _compared(sample, predicted, drawn, head)
    controls["leave_site_out"] = _sites_left_out(sample, settings)
    controls["permutations"] = {
        "state": "run", "n": settings.permutations, "p": models[head]["p"],
        "beaten": models[head]["p"] < ALPHA,
        "within_sites": sample.site is not None,
    }  # fmt: skip
    for name, model in models.items():
        model["headline"] = name == head
    return {
        "models": models,
        "controls": controls,
        "measures": measures,
        "permutations": quantiles(null[head]),
        "code": verdict_code(controls),
    }


def verdict_code(controls: Mapping[str, Mapping[str, Any]]) -> str:
    """``more_than_controls`` where every control that could be run was beaten, else not."""
    run = [c for c in controls.values() if c["state"] == "run"]
    return "more_than_controls" if all(c["beaten"] for c in run) else "not_more_than_controls"


_CONTROL = "control:"


class _Nested:
    """The nested folds of a sample, and everything that is predicted through them."""

    def __init__(self, sample: OutcomeSample, settings: StudySettings) -> None:
        self.sample, self.settings = sample, settings
        self.repeats = nested_splits(
            sample.person, settings.folds, settings.inner_folds, settings.repeats, settings.seed
        )
        self.tables = {**sample.modalities, "concat": np.hstack(list(sample.modalities.values()))}
        self._labels: dict[tuple[int, int], Floats] = {}

    def predictions(self) -> dict[str, Floats]:
        """Model or control -> (N, R) predictions for persons left out."""
        controls = {f"{_CONTROL}covariates": self.sample.covariates}
        if self.sample.interviewer is not None:
            controls[f"{_CONTROL}interviewer"] = self.sample.interviewer
        labels = self.sample.outcome[:, None]
        found: dict[str, list[Floats]] = {}
        for splits in self.repeats:
            own = self._predicted(self._ridges(splits), labels) | {
                n: Ridge(x, splits).predict(labels) for n, x in controls.items()
            }
            for name, columns in own.items():
                found.setdefault(name, []).append(columns[:, 0])
        return {name: np.stack(columns, axis=1) for name, columns in found.items()}

    def permuted(self, store: PartStore[PermutedScores] | None) -> dict[str, Floats]:
        """Model -> (permutations,) CCC with permuted outcomes, the mean of the repeats.

        The same permutations go through every repeat, and the penalty is chosen anew for each.
        """
        total, n = self.settings.permutations, len(self.repeats)
        chunks = [(at, min(_CHUNK, total - at)) for at in range(0, total, _CHUNK)]
        sums: dict[str, Floats] = {}
        with Progress(Text("permutations", "순열"), n * total, "perm") as bar:
            for repeat, splits in enumerate(self.repeats):
                ridges: dict[str, Ridge] | None = None
                for at, size in chunks:
                    name = f"permuted-{repeat}-{at}"
                    part = None if store is None else store.read(name)
                    if part is None:
                        ridges = ridges or self._ridges(splits)
                        part = self._chunk(ridges, at, size)
                        if store is not None:
                            store.write(name, part)
                    for model, scores in part.scores.items():
                        kept = sums.setdefault(model, np.zeros(total))
                        kept[at : at + size] += np.array(scores) / n
                    bar.advance(size)
        return sums

    def _chunk(self, ridges: Mapping[str, Ridge], at: int, size: int) -> PermutedScores:
        if (at, size) not in self._labels:  # the same in every repeat
            self._labels[at, size] = self._permuted_labels(at, size)
        labels = self._labels[at, size]
        predicted = self._predicted(ridges, labels)
        return PermutedScores(
            {name: concordance(labels, each).tolist() for name, each in predicted.items()}
        )

    def _permuted_labels(self, at: int, size: int) -> Floats:
        """(N, size) outcomes with persons permuted, within sites where there are any."""
        block = np.zeros_like(self.sample.person) if self.sample.site is None else self.sample.site
        rows = [
            permuted_rows(self.sample.person, block,
                          np.random.default_rng([self.settings.seed, 11, i]))
            for i in range(at, at + size)
        ]  # fmt: skip
        return np.asarray(self.sample.outcome[np.stack(rows, axis=1)])

    def _ridges(self, splits: Sequence[Split]) -> dict[str, Ridge]:
        return {name: Ridge(rows, splits) for name, rows in self.tables.items()}

    def _predicted(self, ridges: Mapping[str, Ridge], labels: Floats) -> dict[str, Floats]:
        """Every model, the equal mean of the modalities, and the hybrid of both levels.

        A modality that a person does not have takes no part in that person's mean; whoever has
        none is given the mean outcome of those who were trained on.
        """
        single = {name: ridge.predict(labels) for name, ridge in ridges.items()}
        known = training_means(labels, ridges["concat"].splits)
        own = {n: p for n, p in single.items() if n != "concat"}
        there = {n: rows_there(self.sample.modalities[n]) for n in own}
        count = np.sum(list(there.values()), axis=0)[:, None]
        total = np.sum([np.where(there[n][:, None], p, 0.0) for n, p in own.items()], axis=0)
        mean = np.where(count > 0, total / np.maximum(count, 1), known)
        return {**single, "mean": mean, "hybrid": (mean + single["concat"]) / 2.0}


def _model(
    sample: OutcomeSample, predicted: Floats, drawn: Floats, draws: Floats, settings: StudySettings
) -> dict[str, Any]:
    """Scores of one model over persons."""
    y, person = sample.outcome, sample.person
    error = np.abs(predicted - y[:, None]).mean(axis=1)
    plain = np.abs(y - _others_mean(y, person))
    gain = drawn_means(plain - error, person, draws)
    by_person = [_by_person(values, person) for values in (y, predicted.mean(axis=1))]
    rho, rho_ci, _ = spearman(*by_person)
    value = float(concordance(y, predicted).mean())
    return {
        "ccc": value,
        "ci95": list(drawn_interval(drawn)),
        "mae": float(error.mean()),
        "mae_of_mean": float(plain.mean()),
        "mae_gain": {"value": float((plain - error).mean()), "ci95": list(drawn_interval(gain))},
        "spearman": {"value": _finite(rho), "ci95": None if rho_ci is None else list(rho_ci)},
        "auroc": _auroc(by_person[0], by_person[1], settings),
    }


def _others_mean(outcome: Floats, person: Codes) -> Floats:
    """(N,) mean outcome of all other persons: what predicts without any measure."""
    n = np.bincount(person)
    own = np.bincount(person, weights=outcome)
    return np.asarray((outcome.sum() - own[person]) / np.maximum(len(outcome) - n[person], 1))


def _auroc(outcome: Floats, predicted: Floats, settings: StudySettings) -> dict[str, Any]:
    """AUROC of persons above the cutoff; only from 100 persons on, else the reason."""
    levels = np.unique(outcome)
    cutoff = settings.cutoff
    if cutoff is None and len(levels) == 2:
        cutoff = float(levels[1])
    if cutoff is None:
        return {"value": None, "ci95": None, "reason": "no_cutoff"}
    if len(outcome) < AUROC_FROM:
        return {"value": None, "ci95": None, "reason": "below_100_persons"}
    positive = outcome >= cutoff
    if positive.all() or not positive.any():
        return {"value": None, "ci95": None, "reason": "one_side_empty"}
    ranks = rank_bins(predicted, positive, min(len(outcome), _MOST_RANKS))
    found = interval_over_persons(
        auroc_from_bins, [ranks], np.arange(len(outcome)), [positive, ~positive],
        resamples=RESAMPLES, seed=settings.seed,
    )  # fmt: skip
    return {"value": auroc(predicted, positive), "ci95": None if found is None else list(found),
            "reason": "", "cutoff": cutoff, "n_positive": int(positive.sum())}  # fmt: skip


def _add_permutations(models: dict[str, Any], null: Mapping[str, Floats]) -> None:
    """P of each model alone, and against the best of all models (one for many tries)."""
    best = np.max([null[name] for name in models], axis=0)
    for name, model in models.items():
        model["p"] = above_by_chance(model["ccc"], null[name])
        model["p_of_best"] = above_by_chance(model["ccc"], best)


def _compared(
    sample: OutcomeSample, predicted: Mapping[str, Floats], drawn: Mapping[str, Floats], head: str
) -> dict[str, dict[str, Any]]:
    """The paired comparison of the headline with each control that is a prediction."""
    own = float(concordance(sample.outcome, predicted[head]).mean())
    found = {"mean": _control(own, 0.0, drawn[head], drawn[head] * 0.0)}
    for name in ("interviewer", "covariates"):
        key = f"{_CONTROL}{name}"
        if key not in predicted:
            found[name] = {"state": "absent", "reason": f"no_{name}"}
            continue
        theirs = float(concordance(sample.outcome, predicted[key]).mean())
        found[name] = _control(own, theirs, drawn[head], drawn[key])
        names = sample.interviewer_names if name == "interviewer" else sample.covariate_names
        found[name]["features"] = list(names)
    return found


def _control(own: float, theirs: float, drawn: Floats, drawn_theirs: Floats) -> dict[str, Any]:
    low, high = drawn_interval(drawn - drawn_theirs)
    ci = drawn_interval(drawn_theirs) if drawn_theirs.any() else None
    return {"state": "run", "ccc": theirs, "ci95": None if ci is None else list(ci),
            "difference": own - theirs, "difference_ci95": [low, high],
            "beaten": low > 0.0}  # fmt: skip


def _sites_left_out(sample: OutcomeSample, settings: StudySettings) -> dict[str, Any]:
    """The headline trained without a site and tested in it, compared within sites.

    Means of sites are taken out of outcome and prediction: what only tells sites apart counts for
    nothing.
    """
    if (why := why_no_sites(sample.site, sample.person)) is not None:
        return why
    assert sample.site is not None  # else it says so
    splits = splits_of(sample.site, sample.person, settings.inner_folds, settings.seed)
    study = _Nested(sample, settings)
    labels = sample.outcome[:, None]
    ridges = study._ridges(splits)
    predicted = study._predicted(ridges, labels)[settings.headline][:, 0]
    truth, found = (_within(v, sample.site) for v in (sample.outcome, predicted))
    draws = person_draws(sample.n_persons, RESAMPLES, settings.seed)
    low, high = drawn_interval(drawn_concordance(truth, found[:, None], sample.person, draws))
    value = float(concordance(truth, found[:, None])[0])
    return {"state": "run", "sites": len(np.unique(sample.site)), "ccc": value, "ci95": [low, high],
            "difference": value, "difference_ci95": [low, high], "beaten": low > 0.0}  # fmt: skip


def _within(values: Floats, site: Codes) -> Floats:
    means = np.bincount(site, weights=values) / np.maximum(np.bincount(site), 1)
    return np.asarray(values - means[site])


# -- measures one by one ---------------------------------------------------------------------------


def _correlations(
    sample: OutcomeSample, tables: Mapping[str, Floats], names: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Rank correlation of every measure with the outcome over persons, corrected over measures."""
    outcome = _by_person(sample.outcome, sample.person)
    rows: list[dict[str, Any]] = []
    for modality, table in tables.items():
        for at, name in enumerate(names[modality]):
            values = _by_person(table[:, at], sample.person)
            known = np.isfinite(values)
            rho, ci, p = spearman(values[known], outcome[known])
            rows.append({"measure": name, "modality": modality, "n": int(known.sum()),
                         "rho": _finite(rho), "ci95": None if ci is None else list(ci),
                         "p": _finite(p)})  # fmt: skip
    adjusted = false_discovery([math.nan if r["p"] is None else r["p"] for r in rows])
    for row, q in zip(rows, adjusted, strict=True):
        row["q"] = _finite(q)
    return rows


def _control_correlations(sample: OutcomeSample) -> dict[str, list[dict[str, Any]]]:
    found = {
        "covariates": _correlations(
            sample, {"covariates": sample.covariates}, {"covariates": sample.covariate_names}
        )
    }
    if sample.interviewer is not None:
        found["interviewer"] = _correlations(
            sample, {"interviewer": sample.interviewer}, {"interviewer": sample.interviewer_names}
        )
    return found


def _not_run(sample: OutcomeSample) -> dict[str, dict[str, Any]]:
    """Controls below 50 persons: correlations alone, no prediction."""
    found: dict[str, dict[str, Any]] = {
        name: {"state": "correlations"} for name in ("interviewer", "covariates")
    }
    if sample.interviewer is None:
        found["interviewer"] = {"state": "absent", "reason": "no_interviewer"}
    for name in ("mean", "leave_site_out", "permutations"):
        found[name] = {"state": "absent", "reason": "too_few"}
    return found


def _by_person(values: Floats, person: Codes) -> Floats:
    """(P,) mean of each person's finite values, NaN without any."""
    there = np.isfinite(values)
    n = int(person.max()) + 1
    count = np.bincount(person[there], minlength=n)
    total = np.bincount(person[there], weights=values[there], minlength=n)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(count > 0, count, np.nan))


def quantiles(null: Floats) -> dict[str, Any]:
    """What the permutations gave, without any of them alone."""
    shown = (0.025, 0.5, 0.95, 0.975)
    return {"n": len(null), "mean": float(null.mean()),
            "quantiles": {f"{q:g}": float(np.quantile(null, q)) for q in shown}}  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
