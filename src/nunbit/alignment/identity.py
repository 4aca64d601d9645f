"""Can a person be recognised from what is left? The probe that catches an alignment of identity.

Two simple readers, nearest centroid and linear logistic regression, learn the people from every
second stretch of their recordings and are tested on the others. That nothing was *seen* is no
proof with few people: the probe passes only where the upper bound of what recognition may be above
chance lies below a margin (an equivalence test), fails where the lower bound lies above zero, and
cannot tell otherwise. Chance, and not the mean-removed input, is what is compared with: taking a
mean out makes one half of a recording the reverse of the other, and a reader of means is then
worse than guessing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.persons import over_persons
from nunbit.alignment.table import WindowTable
from nunbit.streams import Flags, Floats, Singles

Codes = NDArray[np.int64]

_STRETCH_S = 16.0
_STEPS, _RATE, _DECAY = 200, 1.0, 1e-3
READERS = ("centroid", "logistic")

IDENTITY_MARGIN = 0.05
"""Recognition above chance that is still called none: 5 points. Six to nine were seen where
identity had been left in, so the margin lies below."""


def identity_probe(
    table: WindowTable,
    spaces: dict[str, Singles],
    *,
    pool: Codes | None = None,
) -> dict[str, Any] | None:
    """How well people are recognised from several descriptions of the same windows.

    Args:
        table: Whose the N windows are, and when.
        spaces: Name -> (N, any) rows; only windows that all have are used. The first is the one in
            question, the others are shown beside it.
        pool: (N,) people are told apart within a pool (a fold) only.

    Returns:
        Plain data: chance, per space and reader the accuracy (mean over people), per reader how
        far that of the first space is above chance with its 95% interval over people and the upper
        bound that counts, the margin, and ``state``: ``passed``, ``failed`` or ``cannot_tell``;
        None with one person a pool.
    """
    pool = np.zeros(len(table), np.int64) if pool is None else pool
    usable: Flags = np.all([np.isfinite(rows).all(axis=1) for rows in spaces.values()], axis=0)
    train, test = _split(table, usable)
    correct: dict[str, dict[str, Floats]] = {s: {r: np.full(len(table), np.nan) for r in READERS}
                                             for s in spaces}  # fmt: skip
    chance_of = np.full(len(table), np.nan)
    for each in np.unique(pool[usable]):
        own = (pool == each) & usable
        people = np.intersect1d(table.person[own & train], table.person[own & test])
        if len(people) < 2:
            continue
        known = np.isin(table.person, people)
        learn, ask = own & train & known, own & test & known
        chance_of[ask] = 1.0 / len(people)
        truth, wanted = (np.searchsorted(people, table.person[rows]) for rows in (learn, ask))
        for name, rows in spaces.items():
            known_rows, asked_rows = _standardised(rows[learn], rows[ask])
            answers = {
                "centroid": _nearest(known_rows, truth, asked_rows),
                "logistic": _logistic(known_rows, truth, asked_rows),
            }
            for reader, answer in answers.items():
                correct[name][reader][ask] = answer == wanted
    asked = np.isfinite(chance_of)
    if not asked.any():
        return None
    first = next(iter(spaces))
    person = table.person[asked]
    accuracy = {
        space: {reader: over_persons(right[asked], person).value for reader, right in by.items()}
        for space, by in correct.items()
    }
    above = {
        reader: _above(correct[first][reader][asked] - chance_of[asked], person)
        for reader in READERS
    }
    return {
        "n": int(asked.sum()),
        "people": len(np.unique(person)),
        "chance": over_persons(chance_of[asked], person).value,
        "accuracy": accuracy,
        "above_chance": above,
        "margin": IDENTITY_MARGIN,
        "state": _state(list(above.values())),
    }


def _above(gain: Floats, person: Codes) -> dict[str, Any]:
    """Mean gain over chance, its 95% interval and its one-sided 95% upper bound over people."""
    found = over_persons(gain, person)
    one_sided = found.ci(0.90)
    return {
        "value": found.value,
        "ci95": found.ci(),
        "upper": None if one_sided is None else one_sided[1],
    }


def _state(above: list[dict[str, Any]]) -> str:
    """What both readers together say."""
    if any(each["ci95"] is not None and each["ci95"][0] > 0.0 for each in above):
        return "failed"
    if all(each["upper"] is not None and each["upper"] < IDENTITY_MARGIN for each in above):
        return "passed"
    return "cannot_tell"


def _split(table: WindowTable, usable: Flags) -> tuple[Flags, Flags]:
    """Every second stretch of 16 s to learn from, the others to be asked, half a window between."""
    number = np.floor(table.start_s / _STRETCH_S).astype(np.int64)
    inside = table.start_s - number * _STRETCH_S + table.length_s <= _STRETCH_S + 1e-9
    return usable & inside & (number % 2 == 0), usable & inside & (number % 2 == 1)


def _standardised(known: Singles, asked: Singles) -> tuple[Floats, Floats]:
    mean, spread = known.mean(axis=0), known.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0) * np.sqrt(known.shape[1])
    return ((known - mean) / scale).astype(np.float64), ((asked - mean) / scale).astype(np.float64)


def _nearest(known: Floats, truth: Codes, asked: Floats) -> Codes:
    n = int(truth.max()) + 1
    sums = np.zeros((n, known.shape[1]))
    np.add.at(sums, truth, known)
    centres = sums / np.bincount(truth, minlength=n)[:, None]
    distances = (centres**2).sum(axis=1) - 2.0 * asked @ centres.T
    return np.asarray(distances.argmin(axis=1))


def _logistic(known: Floats, truth: Codes, asked: Floats) -> Codes:
    """Softmax regression by accelerated gradient steps from zero: deterministic."""
    n, k = len(known), int(truth.max()) + 1
    target = np.eye(k)[truth]
    x = np.concatenate([known, np.ones((n, 1))], axis=1)
    weight = np.zeros((x.shape[1], k))
    ahead, t = weight, 1.0
    curvature = float(np.linalg.norm(x, 2) ** 2) / (2.0 * n) + _DECAY
    for _ in range(_STEPS):
        logits = x @ ahead
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        gradient = x.T @ (chances - target) / n + _DECAY * ahead
        new = ahead - _RATE * gradient / curvature
        t_new = (1.0 + np.sqrt(1.0 + 4.0 * t * t)) / 2.0
        ahead, weight, t = new + (t - 1.0) / t_new * (new - weight), new, t_new
    logits = np.concatenate([asked, np.ones((len(asked), 1))], axis=1) @ weight
    return np.asarray(logits.argmax(axis=1))
