"""Can a person be recognised from what is left? The probe that catches an alignment of identity.

Two simple readers, nearest centroid and linear logistic regression, learn the people from every
second stretch of their recordings and are tested on the others. What counts is the comparison:
from the aligned embeddings a person must not be better recognised than from the mean-removed
vectors they were made of, or than by chance where these are below it: taking a mean out makes one
half of a recording the reverse of the other, so a reader of means is then worse than guessing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.table import WindowTable
from nunbit.metrics.bootstrap import Additive, interval, resample
from nunbit.streams import Flags, Floats, Singles

Codes = NDArray[np.int64]

_STRETCH_S = 16.0
_STEPS, _RATE, _DECAY = 200, 1.0, 1e-3
READERS = ("centroid", "logistic")


def identity_probe(
    table: WindowTable,
    spaces: dict[str, Singles],
    *,
    pool: Codes | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
) -> dict[str, Any] | None:
    """How well people are recognised from several descriptions of the same windows.

    Args:
        table: Whose the N windows are, and when.
        spaces: Name -> (N, any) rows; only windows that all have are used. The first is the one in
            question, the others are what it is compared with.
        pool: (N,) people are told apart within a pool (a fold) only.
        seed: Of the bootstrap.
        n_resamples: Of people.

    Returns:
        Plain data: chance, per space and reader the accuracy, per other space and reader the
        difference ``first - other`` with its interval over people, chance in place of an accuracy
        below it; None with one person a pool.
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
    accuracy = {s: {r: float(c[asked].mean()) for r, c in by.items()} for s, by in correct.items()}
    differences = {
        other: {
            reader: _difference(
                correct[first][reader][asked],
                _not_below(correct[other][reader][asked], chance_of[asked]),
                table.person[asked],
                (seed, n_resamples),
            )
            for reader in READERS
        }
        for other in list(spaces)[1:]
    }
    return {
        "n": int(asked.sum()),
        "chance": float(chance_of[asked].mean()),
        "accuracy": accuracy,
        "difference": differences,
    }


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


def _not_below(theirs: Floats, chance: Floats) -> Floats:
    """Per window whether it was right, or its chance if that is better on the whole."""
    return theirs if theirs.mean() >= chance.mean() else chance


def _difference(
    ours: Floats, theirs: Floats, person: Codes, draw: tuple[int, int]
) -> dict[str, Any]:
    """Mean difference of being right, with its interval over people."""
    _, codes = np.unique(person, return_inverse=True)
    zeros = np.zeros(len(ours), np.int32)
    sums = {"n": Additive(zeros, 1), "d": Additive(zeros, 1, ours - theirs)}
    draws = resample(sums, codes, n_resamples=draw[1], seed=draw[0])
    found = interval(draws["d"][:, 0] / draws["n"][:, 0])
    return {
        "value": float((ours - theirs).mean()),
        "ci95": None if found is None else [found[0], found[1]],
    }
