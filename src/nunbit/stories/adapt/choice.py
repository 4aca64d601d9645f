"""Choose a correction by cross-validation, and judge the whole choice on persons left out of it.

Simple forms come first. Inside, folds of persons say how well each form does on others, and the
best one is taken, the simplest of equals. Around that, other folds of persons judge the choice with
all that belongs to it. Arrays in, arrays out. N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.datasets.policies import person_folds
from nunbit.statistics.remapping import Correction, Form, fit_correction, softmax

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

NOTHING = "none"
FORMS: dict[str, Form] = {
    NOTHING: Form(),
    "temperature": Form(scale=True),
    "bias_temperature_little": Form(scale=True, bias=True, bias_sd=0.5),
    "bias_temperature": Form(scale=True, bias=True),
    # Log-probabilities span about ten nats: a width of .2 moves them by two.
    "remap_little": Form(scale=True, bias=True, bias_sd=0.5, weight_sd=0.05),
    "remap": Form(scale=True, bias=True, weight_sd=0.2),
}
"""From the simplest to the richest; 'little' is drawn more towards changing nothing."""

OF_NEUTRAL: dict[str, Form] = {
    f"{name}_own_neutral": replace(FORMS[name], neutral=True)
    for name in ("bias_temperature", "remap")
}
"""The same with the person's own neutral face; a face without one gets the plain form."""

_INNER, _OUTER = 4, 4  # five of each take twice the time and choose alike
MOST_IMAGES = 1500
"""More are drawn from at random, by persons: 56 numbers are known well from these."""

MOST_LOST = 0.05
"""Neither top-1 nor mean recall may fall by more on persons left out."""

FEWEST_OF_CLASS = 3
"""Images that a class needs to be touched, and to count in the mean recall of the guard."""

_LEVEL = 0.90  # its lower end is a one-sided 95% bound


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """Labelled faces and what the model said of them.

    Attributes:
        x: (N, K) centred log-probabilities, see ``statistics.remapping``.
        truth: (N,) classes.
        person: (N,) codes 0 … P-1.
        x0: (N, K) of the same person's neutral face, another picture than the row's own; rows of
            NaN where there is none.
    """

    x: Floats
    truth: Codes
    person: Codes
    x0: Floats

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, rows: NDArray[Any]) -> Labelled:
        """Some of them."""
        return Labelled(self.x[rows], self.truth[rows], self.person[rows], self.x0[rows])

    @property
    def has_neutral(self) -> NDArray[np.bool_]:
        """(N,) whether there is a neutral face of the person."""
        return np.asarray(np.isfinite(self.x0).all(axis=1))


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    """A fitted form.

    Attributes:
        form: Its name.
        plain: For faces without a neutral face of the person.
        own_neutral: For the others; None where the form does not use it.
    """

    form: str
    plain: Correction
    own_neutral: Correction | None

    def probabilities(self, faces: Labelled) -> Floats:
        """(N, K)."""
        logits = self.plain.logits(faces.x)
        if self.own_neutral is not None:
            there = faces.has_neutral
            logits[there] = self.own_neutral.logits(faces.x[there], faces.x0[there])
        return softmax(logits)


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """A choice and what it is worth on persons who took no part in it.

    Attributes:
        chosen: Fitted to everybody.
        after: (N, K) probabilities of each image by a choice made without its person.
        gain: Log loss before minus after, mean over images, each class counting as in the fit.
        gain_low: Lower end of the one-sided 95% interval of the gain, by persons; NaN if unknown.
        losses: Form -> cross-validated log loss on everybody.
    """

    chosen: Fitted
    after: Floats
    gain: float
    gain_low: float
    losses: dict[str, float]


def balancing_weights(truth: Codes, n_classes: int) -> Floats:
    """(N,) weights of images, mean 1: a class weighs as the square root of its share.

    Between as many as the user happened to label (1) and all alike (0): few labels of a rare class
    neither vanish nor decide.
    """
    counts = np.bincount(truth, minlength=n_classes)
    each = 1.0 / np.sqrt(np.maximum(counts, 1))[truth]
    return np.asarray(each * len(each) / each.sum())


def fit_form(name: str, faces: Labelled) -> Fitted:
    """Fit a form to labelled faces."""
    form = FORMS.get(name) or OF_NEUTRAL[name]
    weights = balancing_weights(faces.truth, faces.x.shape[1])
    if not form.neutral:
        return Fitted(name, fit_correction(faces.x, faces.truth, form, weights=weights), None)
    plain = fit_correction(faces.x, faces.truth, replace(form, neutral=False), weights=weights)
    there = faces.has_neutral
    some = faces.rows(there)
    own = fit_correction(some.x, some.truth, form, x0=some.x0, weights=weights[there])
    return Fitted(name, plain, own)


def choose_form(
    faces: Labelled, names: Sequence[str], seed: int
) -> tuple[Fitted, dict[str, float]]:
    """The form that is best on persons left out, fitted to everybody, and all losses."""
    folds = _folds(faces.person, _INNER, seed)
    weights = balancing_weights(faces.truth, faces.x.shape[1])
    losses = {name: np.zeros(len(faces)) for name in names}
    for fold in np.unique(folds):
        train, test = faces.rows(folds != fold), faces.rows(folds == fold)
        for name in names:
            losses[name][folds == fold] = _loss(fit_form(name, train).probabilities(test), test)
    means = {name: float((weights * loss).sum() / weights.sum()) for name, loss in losses.items()}
    return fit_form(min(names, key=means.__getitem__), faces), means


def judge(faces: Labelled, names: Sequence[str], seed: int) -> Judged:
    """Choose a form, and measure the choice on persons left out of it.

    Args:
        faces: Of two persons or more.
        names: Forms, the simplest first.
        seed: Decides the folds.
    """
    after = np.zeros_like(faces.x)
    folds = _folds(faces.person, _OUTER, seed + 1)
    for fold in np.unique(folds):
        chosen, _ = choose_form(faces.rows(folds != fold), names, seed)
        after[folds == fold] = chosen.probabilities(faces.rows(folds == fold))
    weights = balancing_weights(faces.truth, faces.x.shape[1])
    gained = _loss(softmax(faces.x), faces) - _loss(after, faces)
    gain, error = mean_by_person(gained, weights, faces.person)
    persons = statistics.effective(np.bincount(faces.person, weights=weights))
    reach = statistics.t_quantile(max(1.0, persons - 1.0), _LEVEL) * error
    chosen, losses = choose_form(faces, names, seed)
    return Judged(chosen, after, gain, gain - reach, losses)


def helps(judged: Judged, faces: Labelled) -> bool:
    """Whether a choice is worth writing.

    On persons left out the log loss is lower, with its interval above zero, and neither top-1 nor
    mean recall falls by more than ``MOST_LOST``. That their mean does not fall at all was asked
    once: over fifty images it falls by chance where the log loss surely gains.
    """
    if judged.chosen.form == NOTHING or not judged.gain_low > 0:
        return False
    before, after = _scores(faces.x, faces.truth), _scores(judged.after, faces.truth)
    return all(b - a <= MOST_LOST for b, a in zip(before, after, strict=True))


def mean_by_person(values: Floats, weights: Floats, person: Codes) -> tuple[float, float]:
    """Weighted mean of values, and its standard error if persons are drawn; NaN of one person."""
    total = float(weights.sum())
    mean = float((weights * values).sum()) / total
    sums = np.bincount(person, weights=weights * (values - mean))
    n = int((np.bincount(person) > 0).sum())
    if n < 2:
        return mean, math.nan
    return mean, math.sqrt(n / (n - 1) * float((sums**2).sum())) / total


def _scores(answers: Floats, truth: Codes) -> tuple[float, float]:
    """Top-1, and mean recall of the classes that have enough images."""
    hit = answers.argmax(axis=1) == truth
    counts = np.bincount(truth)
    known = np.flatnonzero(counts >= min(FEWEST_OF_CLASS, counts.max()))
    return float(hit.mean()), float(np.mean([hit[truth == k].mean() for k in known]))


def _loss(probability: Floats, faces: Labelled) -> Floats:
    return np.asarray(-np.log(np.maximum(probability[np.arange(len(faces)), faces.truth], 1e-12)))


def _folds(person: Codes, n: int, seed: int) -> Codes:
    """Folds of persons; of images where there is one person only, as inside a fold of two."""
    keys: list[str | None] = [str(code) for code in person]
    persons = len(set(keys))
    if persons == 1:
        keys, persons = [None] * len(keys), len(keys)
    records = [f"{row:06d}" for row in range(len(keys))]
    return person_folds(keys, records, min(n, persons), seed)
