"""Controls of an alignment: means over few people, identity, and what talking explains.

Means over people have Student's t intervals over the people's own means: a 95% bootstrap over eight
people covers 87%, the t interval is right from four people on (their means are averages of many
windows, hence nearly normal).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nunbit.core.spans import groups_of
from nunbit.core.streams import Flags, Floats, Ints, Singles
from nunbit.core.timebase import SAME_S
from nunbit.space.cca import Heads, scales_of
from nunbit.space.vectors import MIN_TO_CENTRE, NUISANCES, WindowTable
from nunbit.statistics.remapping import softmax
from nunbit.statistics.resampling import t_quantile


@dataclass(frozen=True, slots=True)
class PeopleMean:
    """A mean over people.

    Attributes:
        value: Mean of the people's means; NaN without any.
        error: Its standard error; None with one person.
        n: People.
    """

    value: float
    error: float | None
    n: int

    @property
    def shown(self) -> float | None:
        """The mean for a document: None without any."""
        return self.value if self.n else None

    def ci(self, level: float = 0.95) -> list[float] | None:
        """Two-sided interval; None with one person."""
        if self.error is None:
            return None
        reach = t_quantile(self.n - 1, level) * self.error
        return [self.value - reach, self.value + reach]


def mean_of(means: Floats | None) -> PeopleMean:
    """Mean and standard error of (P,) people's means; those that are NaN are left out."""
    means = np.zeros(0) if means is None else means[np.isfinite(means)]
    n = len(means)
    error = float(means.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return PeopleMean(float(means.mean()) if n else math.nan, error, n)


def gain_over(means: Floats, others: Floats | None) -> PeopleMean:
    """Mean over people of how far their (P,) means are above ``others``; nobody without these."""
    return mean_of(None if others is None else means - others)


def person_means(values: Floats, person: Ints, n_people: int) -> Floats:
    """(P,) mean of each person's values, NaN for a person without any."""
    counts = np.bincount(person, minlength=n_people)
    sums = np.bincount(person, weights=values, minlength=n_people)
    means = np.full(n_people, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def over_persons(values: Floats, person: Ints) -> PeopleMean:
    """Mean over people of (Q,) values."""
    return mean_of(person_means(values, person, int(person.max(initial=-1)) + 1))


# -- identity --------------------------------------------------------------------------------------
#
# Two simple classifiers, nearest centroid and logistic regression, learn the people from every
# second stretch of their recordings and are tested on the others. With few people a missing effect
# proves nothing: the probe passes only if the upper bound of recognition above chance is below a
# margin (an equivalence test), fails if the lower bound is above zero, and is undecided otherwise.
# The comparison is with chance, not with the mean-removed input: removing a mean makes one half of
# a recording the reverse of the other, and a classifier of means is then worse than guessing.

_STRETCH_S = 16.0
_STEPS, _RATE, _DECAY = 200, 1.0, 1e-3

IDENTITY_MARGIN = 0.05
"""Recognition above chance that still counts as none: 5 points. It was six to nine where identity
had been left in, so the margin is below that."""

MOST_TOLD_APART = 20
"""People who are told apart at once; more of a pool are parted. One of twenty is harder to hide
than one of hundreds, the margin keeps its meaning, and time does not grow with their square."""


def identity_probe(
    table: WindowTable,
    spaces: dict[str, Singles],
    *,
    pool: Ints | None = None,
) -> dict[str, Any] | None:
    """Measure how well people are recognised from several embeddings of the same windows.

    Args:
        table: Person and time of the N windows.
        spaces: Name -> (N, any) rows; only windows that all have are used. The first is tested, the
            others are for comparison.
        pool: (N,) people are distinguished within a pool (a fold) only, 20 at once.

    Returns:
        Plain data: chance, per space and reader the accuracy (mean over people), per reader how
        far that of the first space is above chance with its 95% interval over people and the upper
        bound that counts, the margin, and ``state``: ``passed``, ``failed`` or ``cannot_tell``;
        None with one person a pool.
    """
    pool = np.zeros(len(table), np.int64) if pool is None else pool
    usable: Flags = np.all([np.isfinite(rows).all(axis=1) for rows in spaces.values()], axis=0)
    train, test = _split(table, usable)
    correct = {(s, r): np.full(len(table), np.nan) for s in spaces for r in READERS}
    chance_of = np.full(len(table), np.nan)
    for people, own in _circles(table.person, pool, train, test):
        known = own & np.isin(table.person, people)
        learn, ask = known & train, known & test
        chance_of[ask] = 1.0 / len(people)
        truth, wanted = (np.searchsorted(people, table.person[rows]) for rows in (learn, ask))
        for space, rows in spaces.items():
            known_rows, asked_rows = _standardised(rows[learn], rows[ask])
            for reader, read in READERS.items():
                correct[space, reader][ask] = read(known_rows, truth, asked_rows) == wanted
    asked = np.isfinite(chance_of)
    if not asked.any():
        return None
    first, person = next(iter(spaces)), table.person[asked]
    right = {key: rows[asked] for key, rows in correct.items()}
    above = {r: _above(right[first, r] - chance_of[asked], person) for r in READERS}
    return {
        "n": int(asked.sum()),
        "people": len(np.unique(person)),
        "chance": over_persons(chance_of[asked], person).value,
        "accuracy": {
            space: {reader: over_persons(right[space, reader], person).value for reader in READERS}
            for space in spaces
        },
        "above_chance": above,
        "margin": IDENTITY_MARGIN,
        "state": _state(list(above.values())),
    }


def _circles(person: Ints, pool: Ints, train: Flags, test: Flags) -> Iterator[tuple[Ints, Flags]]:
    """The people who are told apart at once, with both kinds of windows, and (N,) their pool."""
    for each in np.unique(pool[train]):
        own = pool == each
        people = np.intersect1d(person[own & train], person[own & test])
        if len(people) >= 2:
            for circle in np.array_split(people, -(-len(people) // MOST_TOLD_APART)):
                yield circle, own


def _above(gain: Floats, person: Ints) -> dict[str, Any]:
    """Mean gain over chance, its 95% interval and its one-sided 95% upper bound over people."""
    found = over_persons(gain, person)
    both_sides = found.ci(0.90) or (None, None)
    return {"value": found.value, "ci95": found.ci(), "upper": both_sides[1]}


def _state(above: list[dict[str, Any]]) -> str:
    """State by both classifiers together."""
    if any(each["ci95"] is not None and each["ci95"][0] > 0.0 for each in above):
        return "failed"
    if all(each["upper"] is not None and each["upper"] < IDENTITY_MARGIN for each in above):
        return "passed"
    return "cannot_tell"


def _split(table: WindowTable, usable: Flags) -> tuple[Flags, Flags]:
    """Every second stretch of 16 s to learn from, the others to be asked, half a window between."""
    number = np.floor(table.start_s / _STRETCH_S).astype(np.int64)
    inside = table.start_s - number * _STRETCH_S + table.length_s <= _STRETCH_S + SAME_S
    return usable & inside & (number % 2 == 0), usable & inside & (number % 2 == 1)


def _standardised(known: Singles, asked: Singles) -> tuple[Floats, Floats]:
    mean, spread = known.mean(axis=0), known.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0) * np.sqrt(known.shape[1])
    return ((known - mean) / scale).astype(np.float64), ((asked - mean) / scale).astype(np.float64)


def _nearest(known: Floats, truth: Ints, asked: Floats) -> Ints:
    n = int(truth.max()) + 1
    sums = np.zeros((n, known.shape[1]))
    np.add.at(sums, truth, known)
    centres = sums / np.bincount(truth, minlength=n)[:, None]
    return np.asarray(((centres**2).sum(axis=1) - 2.0 * asked @ centres.T).argmin(axis=1))


def _logistic(known: Floats, truth: Ints, asked: Floats) -> Ints:
    """Softmax regression by accelerated gradient steps from zero: deterministic."""
    n, k = len(known), int(truth.max()) + 1
    target = np.eye(k)[truth]
    x = np.concatenate([known, np.ones((n, 1))], axis=1)
    weight = np.zeros((x.shape[1], k))
    ahead, t = weight, 1.0
    curvature = float(np.linalg.norm(x, 2) ** 2) / (2.0 * n) + _DECAY
    for _ in range(_STEPS):
        gradient = x.T @ (softmax(x @ ahead) - target) / n + _DECAY * ahead
        new = ahead - _RATE * gradient / curvature
        t_new = (1.0 + np.sqrt(1.0 + 4.0 * t * t)) / 2.0
        ahead, weight, t = new + (t - 1.0) / t_new * (new - weight), new, t_new
    logits = np.concatenate([asked, np.ones((len(asked), 1))], axis=1) @ weight
    return np.asarray(logits.argmax(axis=1))


READERS = {"centroid": _nearest, "logistic": _logistic}

# -- talking ---------------------------------------------------------------------------------------
#
# Talking opens the mouth and fills the window with voice: both modalities then share a number that
# is no emotion, and a shift of time destroys it just as it destroys a state. Three controls:
# candidates with as much talking as the right window (``match`` of retrieval); ``Eraser``, which
# removes the directions that carry talking and mouth from the vectors; ``nuisance_rows``, retrieval
# by time, talking and mouth alone, of which an alignment must find more.
#
# Regressing on the *measured* share is not enough: the measure is noisy, and the rest stays in both
# modalities. A noisy measure still has the right direction (its noise is unrelated to the vectors),
# so the whole direction is removed, as in spectral attribute removal (Shao, Ziser and Cohen 2023)
# and LEACE (Belrose et al. 2023).

TALK = "talk_share"
MOUTH = "mouth_open"

_CLIP = 3.0  # standard deviations: a landmark that slipped must not make a square of its own
_SHIFTS = 24
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Eraser:
    """Directions to take out of each modality's vectors.

    Attributes:
        scale: Modality -> (D,) what the vectors are divided by first.
        axes: Modality -> (D, R) orthonormal directions; R may be 0.
    """

    scale: Mapping[str, Singles]
    axes: Mapping[str, Floats]

    def apply(self, table: WindowTable) -> WindowTable:
        """The table without these directions; NaN stays NaN."""
        vectors = dict(table.vectors)
        for m, axes in self.axes.items():
            if axes.shape[1]:
                scaled = vectors[m] / self.scale[m]
                scaled = scaled - (scaled @ axes) @ axes.T
                vectors[m] = np.asarray(scaled * self.scale[m], np.float32)
        return replace(table, vectors=vectors)

    def before(self, heads: Heads) -> Heads:
        """Heads that erase the directions themselves, for vectors that were not erased."""
        found = {}
        for m, head in heads.heads.items():
            axes, scale = self.axes[m], self.scale[m]
            weight = head.weight / head.scale[:, None] * scale[:, None]
            erased = (weight - axes @ (axes.T @ weight)) / scale[:, None] * head.scale[:, None]
            found[m] = replace(head, weight=np.asarray(erased, np.float32))
        return replace(heads, heads=found)


def measured(table: WindowTable, name: str) -> Flags:
    """(N,) whether a nuisance is known."""
    values = table.nuisance.get(name)
    return np.zeros(len(table), bool) if values is None else np.isfinite(values)


def nuisance_basis(table: WindowTable) -> Floats:
    """(N, 2 K) every measured nuisance, centred per recording, and its square; NaN where unknown.

    The square is for what is no straight line: an embedding moves with an opening mouth, but not
    in proportion.
    """
    columns = []
    for name in NUISANCES:
        known = measured(table, name)
        if known.sum() < MIN_TO_CENTRE:
            continue
        values = _per_recording(table.nuisance[name], table.recording, known)
        spread = float(values[known].std())
        if spread < _TINY:
            continue
        scaled = np.clip(values / spread, -_CLIP, _CLIP)
        columns += [scaled, _per_recording(scaled**2, table.recording, known)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))


def fit_eraser(table: WindowTable) -> Eraser:
    """Find the directions of talking and mouth in the vectors.

    How many there are is measured: a direction counts where its correlation with the nuisances is
    above what these have with the vectors of another time (the same series shifted within the
    recording). Otherwise noise would be erased, and states with it.

    Args:
        table: Training windows, detrended.
    """
    basis = nuisance_basis(table)
    scale, axes = {}, {}
    for m in table.modalities:
        scale[m] = scales_of(table, m)
        rows = (table.vectors[m] / scale[m]).astype(np.float64)
        axes[m] = _directions(rows, basis, table.recording)
    return Eraser(scale, axes)


def _directions(rows: Floats, basis: Floats, recording: Ints) -> Floats:
    """(D, R) strongest directions of the covariance with the nuisances, above their null."""
    there = np.isfinite(rows).all(axis=1)
    known = there & np.isfinite(basis).all(axis=1) if basis.shape[1] else there & False
    if known.sum() < MIN_TO_CENTRE:
        return np.zeros((rows.shape[1], 0))
    rows, basis, recording = rows[known], basis[known], recording[known]
    basis = basis / np.maximum(basis.std(axis=0), _TINY)
    found, strength, _ = np.linalg.svd(rows.T @ basis / len(rows), full_matrices=False)
    shifted = (_moved_on(basis, recording, k / (_SHIFTS + 1.0)) for k in range(1, _SHIFTS + 1))
    null = [np.linalg.svd(rows.T @ moved / len(rows), compute_uv=False) for moved in shifted]
    # The first of the true ones against the first of the null, the second against the second.
    real = strength > np.max(null, axis=0)
    count = int(np.argmin(real)) if not real.all() else len(real)
    return np.asarray(found[:, :count])


def _moved_on(basis: Floats, recording: Ints, part: float) -> Floats:
    """Every recording's rows moved on by a part of its length, around its end."""
    moved = basis.copy()
    for own in groups_of(recording):
        moved[own] = np.roll(basis[own], max(1, round(part * len(own))), axis=0)
    return moved


def nuisance_rows(table: WindowTable) -> Singles:
    """(N, ...) time in the recording (three powers), talking and mouth as one more modality."""
    time = np.zeros(len(table))
    for own in groups_of(table.recording):
        start = table.start_s[own]
        time[own] = 2.0 * (start - start.min()) / max(float(np.ptp(start)), _TINY) - 1.0
    everything = np.ones(len(table), bool)
    powers = [_per_recording(time**k, table.recording, everything) for k in (1, 2, 3)]
    return np.column_stack([*powers, nuisance_basis(table)]).astype(np.float32)


def _per_recording(values: Floats, recording: Ints, known: Flags) -> Floats:
    """Values less the mean of their recording; NaN where not known."""
    means = person_means(values[known], recording[known], int(recording.max(initial=-1)) + 1)
    return np.where(known, values - means[recording], np.nan)
