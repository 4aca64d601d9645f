"""Planted worlds of labelled faces: what a model says of them is known, and how it is off."""

from __future__ import annotations

import numpy as np

from nunbit.statistics.remapping import centred_logs, softmax
from nunbit.stories.adapt.choice import Labelled

_OTHERS = np.array([4, 3, 5, 0, 6, 1, 2])  # rare classes are common, and the other way round
SHIFTS = ("prior", "bias", "swapped", "neutral_drift")
TRAIN_SHARES = np.array([0.26, 0.13, 0.09, 0.04, 0.03, 0.14, 0.31])
"""About those of FER2013 under its ten raters."""


def plant(
    shift: str | None,
    seed: int,
    *,
    persons: int = 12,
    per_class: int = 1,
    shares: np.ndarray | None = None,
) -> Labelled:
    """Faces of 7 classes of a model that is calibrated, but for the shift; None = it is right.

    Each person has two more neutral pictures, whose mean answer is the person's neutral face.
    """
    rng = np.random.default_rng([seed, 0 if shift is None else 1 + SHIFTS.index(shift)])
    if shares is None:
        shares = TRAIN_SHARES[_OTHERS] if shift == "prior" else TRAIN_SHARES
    n = 7 * per_class
    truth = np.stack([rng.choice(7, n, p=shares) for _ in range(persons)]).ravel()
    person = np.repeat(np.arange(persons), n)
    bias = rng.normal(size=7) * 1.8
    drift = rng.normal(size=(persons, 7)) * 2.5
    order = np.array([0, 3, 4, 1, 2, 6, 5])  # surprise for fear, anger for disgust, and so on

    def says(label: np.ndarray, who: np.ndarray) -> np.ndarray:
        signal = 2.2  # leaves about three in four right
        seen = signal * np.eye(7)[label] + rng.normal(size=(len(label), 7))
        logits = signal * seen + np.log(TRAIN_SHARES)  # the posterior of that world, exactly
        if shift == "bias":
            logits = logits + bias
        elif shift == "swapped":
            logits = logits[:, order]
        elif shift == "neutral_drift":
            logits = logits + drift[who]
        return centred_logs(softmax(logits))

    x = says(truth, person)
    own = [says(np.full(persons, 6), np.arange(persons)) for _ in range(2)]
    x0 = np.mean(own, axis=0)[person]
    return Labelled(x, truth, person, x0)
