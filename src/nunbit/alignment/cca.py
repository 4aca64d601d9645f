"""Ridge canonical correlation for two modalities and more, with gaps: deterministic, small data.

For M modalities the directions w maximise the covariance between modalities against the variance
within (MAXVAR; Kettenring 1971, "Canonical analysis of several sets of variables", Biometrika 58):
``A w = lambda B w`` with A the covariances between modalities and B those within plus a ridge. For
two modalities this is ridge CCA (Vinod 1976). Every block of A is taken over the windows in which
both of its modalities are there, so nothing has to be filled in.

How many directions are real is measured, not assumed: people are left out in turn, and a direction
counts by the correlation it has on them. What held for nobody else gets no weight.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.heads import SPACE, Head, Heads, scales_of
from nunbit.alignment.table import WindowTable
from nunbit.streams import Floats, Singles

RIDGES = (0.001, 0.01, 0.1, 1.0)

# A correlation of one would count without bound.
_HIGHEST = 0.98


@dataclass(frozen=True, slots=True)
class CcaSettings:
    """How the heads are fitted.

    Attributes:
        size: E, directions of the shared space.
        ridges: Tried on left-out people; each is added to the diagonal of correlation matrices.
        n_folds: Groups of people left out in turn.
        components: Each modality is first brought to so many principal components: the rest is
            below the ridge, and the time grows with the cube.
    """

    size: int = SPACE
    components: int = 128
    ridges: tuple[float, ...] = RIDGES
    n_folds: int = 4


@dataclass(frozen=True, eq=False)
class _Moments:
    """Covariances of scaled vectors: blocks by pair of modalities, and how many windows each has.

    Sums and not means are kept, so that those of all people but some are a difference.
    """

    sums: dict[tuple[str, str], Floats]
    counts: dict[tuple[str, str], int]

    def __sub__(self, other: _Moments) -> _Moments:
        return _Moments(
            {k: v - other.sums[k] for k, v in self.sums.items()},
            {k: n - other.counts[k] for k, n in self.counts.items()},
        )


def fit_cca(
    table: WindowTable, settings: CcaSettings | None = None, *, centres: dict[str, Singles]
) -> Heads:
    """Fit the heads.

    Args:
        table: Mean-removed windows of the training people; two modalities at least.
        settings: None takes the defaults.
        centres: Modality -> (D,) mean of the vectors before the mean was removed.

    Returns:
        Heads whose directions are ordered by strength; the matrix of each is (D, E), zero in the
        directions that did not hold on people left out.

    Raises:
        ValueError: Fewer than two modalities are there.
    """
    settings = settings or CcaSettings()
    names = table.modalities
    if len(names) < 2:
        raise ValueError(f"two modalities are needed, got {names}")
    scales = {m: scales_of(table, m) for m in names}
    rows = {m: _scaled(table, m, scales[m]) for m in names}
    axes = {m: _axes(x, settings.components) for m, x in rows.items()}
    rows = {m: x @ axes[m] for m, x in rows.items()}
    moments = _moments(rows, table, np.ones(len(table), bool))
    parts = _parts(rows, table, moments, _folds(table, settings.n_folds))
    tried = {ridge: _left_out(parts, names, ridge, settings.size) for ridge in settings.ridges}
    best = max(tried, key=lambda r: (float((np.clip(tried[r], 0.0, None) ** 2).sum()), r))
    held = tried[best]
    weights = _directions(moments, names, best, settings.size)
    counted = _importance(held)
    heads = {
        m: Head(
            centre=np.asarray(centres[m], np.float32),
            scale=scales[m],
            weight=np.asarray(axes[m] @ weights[m] * counted, np.float32),
        )
        for m in names
    }
    details = {
        "ridge": best,
        "ridges": {str(r): round(float((np.clip(h, 0.0, None) ** 2).sum()), 4)
                   for r, h in tried.items()},
        "directions": int((counted > 0).sum()),
        "windows": len(table),
        "people": len(np.unique(table.person)),
    }  # fmt: skip
    return Heads(heads, "cca", held, details)


def _importance(held: Floats) -> Floats:
    """(E,) factor of each direction in both heads: the square root of r / (1 - r^2).

    The inner product is then the part of the log likelihood ratio of "same moment" against
    "another moment" that both modalities share (probabilistic CCA, Bach and Jordan 2005).
    """
    r = np.clip(held, 0.0, _HIGHEST)
    counted: Floats = np.sqrt(r / (1.0 - r**2))
    if not counted.any():  # nothing held on others: keep a space, of the first direction alone
        counted = np.zeros_like(held)
        counted[0] = 1.0
    return counted


def _scaled(table: WindowTable, modality: str, scale: Singles) -> Floats:
    """(N, D) float64, zero rows where the modality is missing: they add nothing to sums."""
    rows = table.vectors[modality] / scale
    return np.where(table.present(modality)[:, None], rows, 0.0).astype(np.float64)


def _axes(rows: Floats, most: int) -> Floats:
    """(D, C) orthonormal principal axes, strongest first; the identity where D is small enough."""
    width = rows.shape[1]
    if width <= most:
        return np.eye(width)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return np.asarray(vectors[:, ::-1][:, :most])


def _moments(rows: dict[str, Floats], table: WindowTable, chosen: NDArray[np.bool_]) -> _Moments:
    sums, counts = {}, {}
    for a, b in itertools.combinations_with_replacement(rows, 2):
        sums[a, b] = rows[a][chosen].T @ rows[b][chosen]
        counts[a, b] = int((table.present(a) & table.present(b) & chosen).sum())
    return _Moments(sums, counts)


def _directions(
    moments: _Moments, names: tuple[str, ...], ridge: float, size: int
) -> dict[str, Floats]:
    """Modality -> (D, E) directions, strongest first, of unit variance in their modality."""
    whiteners, starts, at = {}, {}, 0
    for m in names:
        within = moments.sums[m, m] / max(1, moments.counts[m, m])
        width = len(within)
        factor = np.linalg.cholesky(within + ridge * np.eye(width))
        whiteners[m] = np.linalg.inv(factor).T  # (D, D): rows @ it have unit variance
        starts[m] = slice(at, at + width)
        at += width
    between = np.zeros((at, at))
    for a, b in itertools.combinations(names, 2):
        if not moments.counts[a, b]:
            continue
        cross = moments.sums[a, b] / moments.counts[a, b]
        block = whiteners[a].T @ cross @ whiteners[b]
        between[starts[a], starts[b]] = block
        between[starts[b], starts[a]] = block.T
    values, vectors = np.linalg.eigh(between)
    order = np.argsort(-values, kind="stable")[:size]
    found = {}
    for m in names:
        part = whiteners[m] @ vectors[starts[m]][:, order]
        variance = ((_within(moments, m) @ part) * part).sum(axis=0)
        spread = np.sqrt(np.maximum(variance, 0.0))
        unit = np.divide(part, spread, out=np.zeros_like(part), where=spread > 1e-9)
        unit[:, values[order] <= 1e-9] = 0.0  # no shared direction is left
        found[m] = np.pad(unit, ((0, 0), (0, size - unit.shape[1])))
    _settle_signs(found)
    return found


def _within(moments: _Moments, modality: str) -> Floats:
    return np.asarray(moments.sums[modality, modality] / max(1, moments.counts[modality, modality]))


def _settle_signs(found: dict[str, Floats]) -> None:
    """A direction and its reverse are the same answer: fix the sign, for equal files everywhere."""
    first = next(iter(found.values()))
    largest = np.abs(first).argmax(axis=0)
    signs = np.where(first[largest, np.arange(first.shape[1])] < 0, -1.0, 1.0)
    for rows in found.values():
        rows *= signs


def _folds(table: WindowTable, n_folds: int) -> NDArray[np.int64]:
    """(N,) fold of each window: people left out together; stretches of time if there is one."""
    people = np.unique(table.person)
    if len(people) >= 2:
        return np.asarray(np.searchsorted(people, table.person) % min(n_folds, len(people)))
    return np.arange(len(table)) * n_folds // max(1, len(table))


@dataclass(frozen=True, eq=False)
class _Part:
    """A fold: covariances of all other people, and its own windows by pair of modalities."""

    others: _Moments
    own: dict[tuple[str, str], tuple[Floats, Floats]]


def _parts(
    rows: dict[str, Floats], table: WindowTable, moments: _Moments, folds: NDArray[np.int64]
) -> list[_Part]:
    """What does not depend on the ridge, once for all ridges."""
    present = {m: table.present(m) for m in rows}
    parts = []
    for fold in np.unique(folds):
        out = folds == fold
        both = {(a, b): out & present[a] & present[b] for a, b in itertools.combinations(rows, 2)}
        parts.append(
            _Part(
                moments - _moments(rows, table, out),
                {(a, b): (rows[a][there], rows[b][there])
                 for (a, b), there in both.items() if there.sum() >= 3},
            )
        )  # fmt: skip
    return parts


def _left_out(parts: list[_Part], names: tuple[str, ...], ridge: float, size: int) -> Floats:
    """(E,) mean correlation of each direction on the people it was not fitted to."""
    total, weight = np.zeros(size), 0.0
    for part in parts:
        found = _directions(part.others, names, ridge, size)
        # Directions beyond the modalities' own sizes are zero: no need to multiply them.
        used = max(1, max(int(np.flatnonzero(w.any(axis=0)).max(initial=0)) + 1
                          for w in found.values()))  # fmt: skip
        for (a, b), (x, y) in part.own.items():
            x, y = x @ found[a][:, :used], y @ found[b][:, :used]
            spread = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
            r = np.divide((x * y).sum(axis=0), spread, out=np.zeros_like(spread),
                          where=spread > 1e-9)  # fmt: skip
            total[:used] += r * len(x)
            weight += float(len(x))
    return np.asarray(total / max(1.0, weight))
