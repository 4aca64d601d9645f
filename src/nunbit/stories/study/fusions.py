"""Fusions of face, voice and words for labelled stretches of time, through nested folds.

Each modality has a ridge regression on one-hot classes; its scores, cut at a small share and
normalised, are its class probabilities. ``mean`` averages the modalities that are there, ``pool``
multiplies what each adds to the prior, ``concat`` is one ridge on all measures, ``hybrid`` the
geometric mean of ``pool`` (decision level) and ``concat`` (feature level), after [6]. Probabilities
get one temperature a model and fold, fitted on persons of the inner folds. N stretches, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nunbit.core.streams import Singles
from nunbit.space.cca import fit_cca
from nunbit.space.vectors import WindowTable, detrended
from nunbit.statistics.nested import (
    Codes,
    Flags,
    Floats,
    Ridge,
    Scaler,
    Split,
    rows_there,
    training_means,
)
from nunbit.statistics.remapping import softmax
from nunbit.statistics.scores import fit_temperature

FUSIONS = ("mean", "pool", "concat", "hybrid")
_FLOOR = 1e-3
"""Least share a class keeps: a linear score below it is no proof against the class."""


@dataclass(frozen=True, eq=False)
class CrossModalTask:
    """One fold for the cross-modal transformer.

    Attributes:
        train: Modality -> (n, F) scaled measures, NaN rows where the modality is missing.
        test: Modality -> (m, F) likewise.
        truth: (n,) classes of the training rows.
        person: (n,) persons of the training rows; some are kept to stop by.
        patterns: Sets of modalities that the tested rows are reduced to.
        n_classes: K.
        seed: Of weights and dropout.
    """

    train: Mapping[str, Floats]
    test: Mapping[str, Floats]
    truth: Codes
    person: Codes
    patterns: tuple[tuple[str, ...], ...]
    n_classes: int
    seed: int


CrossModal = Callable[[CrossModalTask], Floats]
"""(patterns, m, K) probabilities of the tested rows; the training extra has it."""


@dataclass(frozen=True, eq=False)
class LabelledStretches:
    """Labelled stretches of time.

    Attributes:
        person: (N,) codes 0 … P-1.
        truth: (N,) codes 0 … K-1.
        classes: K names.
        modalities: Face, voice, text -> (N, F) measures, NaN where missing.
        names: Their measures.
        index: (N, K) the label-free fused index, NaN where missing; None where the timelines'
            classes are others.
        interviewer: (N, G), or None.
        covariates: (N, C).
        covariate_names: C names.
        site: (N,) codes, or None.
        windows: All windows of the participants, labelled or not; None with fewer than two
            modalities.
        inside: N pairs: rows of ``windows`` that overlap a stretch, and by how many seconds.
        aligned: (N, E) mean vectors in the shared space of an aligned bundle, NaN where missing;
            None where recordings were not analysed with one.
    """

    person: Codes
    truth: Codes
    classes: tuple[str, ...]
    modalities: Mapping[str, Floats]
    names: Mapping[str, tuple[str, ...]]
    index: Floats | None
    interviewer: Floats | None
    covariates: Floats
    covariate_names: tuple[str, ...]
    site: Codes | None = None
    windows: WindowTable | None = None
    inside: tuple[tuple[Codes, Floats], ...] = ()
    aligned: Floats | None = None

    @property
    def n_persons(self) -> int:
        """P."""
        return int(self.person.max()) + 1

    @property
    def there(self) -> dict[str, Flags]:
        """Modality -> (N,) whether it is there."""
        return {m: rows_there(x) for m, x in self.modalities.items()}

    @property
    def patterns(self) -> tuple[tuple[str, ...], ...]:
        """Every set of modalities, the whole first."""
        names = tuple(self.modalities)
        sizes = range(len(names), 0, -1)
        return tuple(p for size in sizes for p in itertools.combinations(names, size))


@dataclass(frozen=True, eq=False)
class Answered:
    """What a model says of every stretch.

    Attributes:
        plain: (N, K) probabilities before the temperature; they decide the class.
        probability: (N, K) with it.
        prior: (N, K) shares of the classes in the training part of each row.
    """

    plain: Floats
    probability: Floats
    prior: Floats

    @property
    def answer(self) -> Codes:
        """(N,) the class that gains most over its share in training: rare ones are not lost."""
        return np.asarray((self.plain / self.prior).argmax(axis=1))


def one_hot(truth: Codes, n_classes: int) -> Floats:
    """(N, K), or (N, P, K) of (N, P) classes."""
    return np.asarray(np.eye(n_classes)[truth])


def fuse(
    scores: Mapping[str, Floats], there: Mapping[str, Flags], prior: Floats
) -> dict[str, Floats]:
    """Probabilities (N, ..., K) of each modality and fusion from linear scores.

    Args:
        scores: Modality, and ``concat`` -> (N, ..., K).
        there: Modality -> (N,).
        prior: (..., K) or (N, ..., K).
    """
    single = {m: _shares(s) for m, s in scores.items()}
    prior = np.broadcast_to(prior, next(iter(single.values())).shape)
    total, count = np.zeros(prior.shape), np.zeros((len(prior), *[1] * (prior.ndim - 1)))
    evidence = np.log(prior)
    for m, flags in there.items():
        mask = flags.reshape(count.shape)
        single[m] = np.where(mask, single[m], prior)
        total, count = total + np.where(mask, single[m], 0.0), count + mask
        evidence = evidence + np.where(mask, np.log(single[m]) - np.log(prior), 0.0)
    mean = np.where(count > 0, total / np.maximum(count, 1), prior)
    pooled = _softmax(evidence)
    hybrid = _softmax((np.log(pooled) + np.log(single["concat"])) / 2.0)
    return {**single, "mean": mean, "pool": pooled, "hybrid": hybrid}


def _shares(scores: Floats) -> Floats:
    cut = np.maximum(scores, _FLOOR)
    return np.asarray(cut / cut.sum(axis=-1, keepdims=True))


def _softmax(logits: Floats) -> Floats:
    return np.asarray(np.maximum(softmax(logits), 1e-12))


def _centres(table: WindowTable) -> dict[str, Singles]:
    return {
        m: np.asarray(table.vectors[m][table.present(m)].mean(axis=0), np.float32)
        for m in table.modalities
    }


class FoldedModels:
    """All linear models of a sample through the folds of one repeat."""

    def __init__(self, sample: LabelledStretches, splits: Sequence[Split]) -> None:
        self.sample, self.splits = sample, tuple(splits)
        self.k = len(sample.classes)
        self.tables = {**sample.modalities, "concat": np.hstack(list(sample.modalities.values()))}
        self.ridges = {m: Ridge(x, self.splits) for m, x in self.tables.items()}
        self.labels = one_hot(sample.truth, self.k)
        self.prior = self._priors(self.labels)

    def answers(self) -> dict[str, Answered]:
        """Every modality and fusion."""
        outer = {m: r.predict(self.labels, self.k) for m, r in self.ridges.items()}
        plain = fuse(outer, self.sample.there, self.prior)
        self._temperatures = self._fit_temperatures(tuple(plain))
        return {m: self._tempered(m, p) for m, p in plain.items()}

    def patterns(self) -> dict[tuple[str, ...], dict[str, Answered]]:
        """Fusions with parts of the modalities hidden when tested, not when trained.

        Only after :meth:`answers`, whose temperatures are used.
        """
        outer = {m: r.predict(self.labels, self.k) for m, r in self.ridges.items()}
        found = {}
        for pattern in self.sample.patterns:
            hidden = [
                x if m in pattern else np.full(x.shape, np.nan)
                for m, x in self.sample.modalities.items()
            ]
            there = {m: f if m in pattern else f & False for m, f in self.sample.there.items()}
            concat = self.ridges["concat"].masked(self.labels, np.hstack(hidden), self.k)
            plain = fuse({**outer, "concat": concat}, there, self.prior)
            found[pattern] = {m: self._tempered(m, plain[m]) for m in FUSIONS}
        return found

    def permuted(self, labels: Codes, model: str) -> Floats:
        """(N, P) classes answered where (N, P) labels stand in for the true ones."""
        n, p = labels.shape
        hot = one_hot(labels, self.k)
        rows = hot.reshape(n, p * self.k)
        scores = {m: r.predict(rows, self.k).reshape(n, p, self.k) for m, r in self.ridges.items()}
        prior = self._priors(hot)  # (N, P, K) of the training parts, as the true labels have it
        return np.asarray((fuse(scores, self.sample.there, prior)[model] / prior).argmax(axis=2))

    def of_table(self, rows: Floats) -> Answered:
        """A single table of numbers through the same folds: a control, or a shared space."""
        ridge = Ridge(rows, self.splits)
        plain = _shares(ridge.predict(self.labels, self.k))
        probability = np.empty_like(plain)
        inner = ridge.inner_predictions(self.labels, self.k)
        for split, (train, scores) in zip(self.splits, inner, strict=True):
            t = fit_temperature(np.log(_shares(scores)), self.sample.truth[train])
            probability[split.test] = _softmax(np.log(plain[split.test]) / t)
        return Answered(plain, probability, self.prior)

    def shared_space(self) -> Answered | None:
        """Ridge on the space of ``align``: label-free heads of windows of the training persons."""
        sample = self.sample
        if sample.aligned is not None:
            return self.of_table(sample.aligned)
        if sample.windows is None or len(sample.windows.modalities) < 2:
            return None
        raw = sample.windows.only(sample.windows.modalities)
        level = detrended(raw)
        if len(level.modalities) < len(raw.modalities):
            return None  # recordings too short to take a trend out of
        plain, probability = np.empty((2, len(sample.truth), self.k))
        for split in self.splits:
            known = np.isin(level.person, np.unique(sample.person[split.train]))
            heads = fit_cca(level.rows(known), centres=_centres(raw.rows(known)))
            placed = heads.project(level)
            strength = [np.abs(h.weight).sum(axis=0) for h in heads.heads.values()]
            useful = np.flatnonzero(np.concatenate(strength) > 0)
            ridge = Ridge(self._in_space(np.hstack(list(placed.values())), useful), [split])
            found = ridge.predict(self.labels, self.k)[split.test]
            ((train, scores),) = ridge.inner_predictions(self.labels, self.k)
            t = fit_temperature(np.log(_shares(scores)), sample.truth[train])
            plain[split.test] = _shares(found)
            probability[split.test] = _softmax(np.log(plain[split.test]) / t)
        return Answered(plain, probability, self.prior)

    def _in_space(self, placed: Floats, useful: Codes) -> Floats:
        """(N, E) mean of the windows of each stretch; NaN where none is there."""
        rows = np.full((len(self.sample.inside), len(useful)), np.nan)
        for at, (windows, seconds) in enumerate(self.sample.inside):
            values = placed[windows][:, useful].astype(np.float64)
            weight = np.where(np.isfinite(values), seconds[:, None], 0.0)
            with np.errstate(invalid="ignore"):
                rows[at] = (weight * np.nan_to_num(values)).sum(axis=0) / weight.sum(axis=0)
        return rows

    def label_free(self) -> Answered | None:
        """The fused index of the timelines as it is: nothing was trained on these labels."""
        index = self.sample.index
        if index is None:
            return None
        whole = np.asarray(np.isfinite(index).all(axis=1))[:, None]
        plain = np.where(whole, _shares(np.nan_to_num(index)), self.prior)
        return Answered(plain, plain, np.full(plain.shape, 1.0 / self.k))

    def cross_modal_task(self, split: Split, seed: int) -> CrossModalTask:
        """One fold for the transformer, scaled within its training part."""
        train, test = {}, {}
        for m, x in self.sample.modalities.items():
            scaler = Scaler.of(x[split.train])
            scaled = np.where(self.sample.there[m][:, None], scaler.apply(x), np.nan)
            train[m], test[m] = scaled[split.train], scaled[split.test]
        s = self.sample
        return CrossModalTask(train, test, s.truth[split.train], s.person[split.train],
                              s.patterns, self.k, seed)  # fmt: skip

    def _priors(self, hot: Floats) -> Floats:
        """Shares of the classes in the training part of each row, in the shape of the labels."""
        return np.maximum(training_means(hot, self.splits), _FLOOR)

    def _fit_temperatures(self, models: Sequence[str]) -> dict[str, list[float]]:
        """Model -> temperature of each fold, from the inner folds."""
        inner = {m: list(r.inner_predictions(self.labels, self.k)) for m, r in self.ridges.items()}
        found: dict[str, list[float]] = {m: [] for m in models}
        for at, split in enumerate(self.splits):
            train = split.train
            scores = {m: parts[at][1] for m, parts in inner.items()}
            there = {m: f[train] for m, f in self.sample.there.items()}
            plain = fuse(scores, there, self.prior[split.test[0]])
            for m in models:
                found[m].append(fit_temperature(np.log(plain[m]), self.sample.truth[train]))
        return found

    def _tempered(self, model: str, plain: Floats) -> Answered:
        probability = np.empty_like(plain)
        for split, t in zip(self.splits, self._temperatures[model], strict=True):
            probability[split.test] = _softmax(np.log(plain[split.test]) / t)
        return Answered(plain, probability, self.prior)
