"""Choose a correction by cross-validation, and judge the whole choice on persons left out of it.

Simple forms come first. Inside, folds of persons say how well each form does on others, and the
simplest one within half a standard error of the best is taken. Around that, other folds of persons
judge the choice with all that belongs to it. Arrays in, arrays out. N images, K classes.
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
    "bias": Form(bias=True),
    "bias_temperature": Form(scale=True, bias=True),
    # Log-probabilities span about ten nats: a width of .2 moves them by two.
    "remap": Form(scale=True, bias=True, weight_sd=0.2),
}
"""From the simplest to the richest."""

OF_NEUTRAL: dict[str, Form] = {
    f"{name}_own_neutral": replace(FORMS[name], neutral=True)
    for name in ("bias_temperature", "remap")
}
"""The same with the person's own neutral face; a face without one gets the plain form."""

_INNER, _OUTER = 4, 4  # five of each take twice the time and choose alike
MOST_IMAGES = 1500
"""More are drawn from at random, by persons: 56 numbers are known well from these."""

MOST_LOST = 0.05
"""Neither top-1 nor mean recall may fall by more on persons left out, and their mean not at all."""

_WITHIN = 0.5  # standard errors
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
    """The simplest form that is about as good as the best on persons left out, and all losses."""
    folds = _folds(faces.person, _INNER, seed)
    weights = balancing_weights(faces.truth, faces.x.shape[1])
    losses = {name: np.zeros(len(faces)) for name in names}
    for fold in np.unique(folds):
        train, test = faces.rows(folds != fold), faces.rows(folds == fold)
        for name in names:
            losses[name][folds == fold] = _loss(fit_form(name, train).probabilities(test), test)
    means = {name: float((weights * loss).sum() / weights.sum()) for name, loss in losses.items()}
    best = min(names, key=means.__getitem__)
    for name in names:
        more, error = mean_by_person(losses[name] - losses[best], weights, faces.person)
        if name == best or more <= _WITHIN * error:
            return fit_form(name, faces), means
    raise AssertionError("the best is among the names")


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

    On persons left out the log loss is lower, with its interval above zero; the mean of top-1 and
    mean recall is not lower; and neither of the two falls by more than ``MOST_LOST``.
    """
    if judged.chosen.form == NOTHING or not judged.gain_low > 0:
        return False
    before, after = _scores(faces.x, faces.truth), _scores(judged.after, faces.truth)
    lost = [b - a for b, a in zip(before, after, strict=True)]
    return max(lost) <= MOST_LOST and sum(lost) <= 1e-9


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
    k = answers.shape[1]
    cells = statistics.confusion_cells(truth, answers.argmax(axis=1), k).total().reshape(k, k)
    return float(statistics.top1(cells)), float(statistics.uar(cells))


def _loss(probability: Floats, faces: Labelled) -> Floats:
    own = probability[np.arange(len(faces)), faces.truth]
    return np.asarray(-np.log(np.maximum(own, 1e-12)))


def _folds(person: Codes, n: int, seed: int) -> Codes:
    """Folds of persons; of images where there is one person only, as inside a fold of two."""
    keys: list[str | None] = [str(code) for code in person]
    persons = len(set(keys))
    if persons == 1:
        keys, persons = [None] * len(keys), len(keys)
    records = [f"{row:06d}" for row in range(len(keys))]
    return person_folds(keys, records, min(n, persons), seed)
