"""Linear heads to the shared space, and their fit by ridge canonical correlation.

A head scales every dimension of a mean-removed vector, multiplies by a matrix and brings the row to
length one. It holds nothing about a person: the person's mean is removed from its input.

The fit is deterministic, for small data, two modalities and more, with gaps.
For M modalities the directions w maximise the covariance between modalities against the variance
within (MAXVAR; Kettenring 1971, "Canonical analysis of several sets of variables", Biometrika 58):
``A w = lambda B w`` with A the covariances between modalities and B those within plus a ridge. For
two modalities this is ridge CCA (Vinod 1976). Every block of A is taken over the windows in which
both of its modalities are there, so nothing has to be filled in.

The number of real directions is measured, not assumed: people are left out in turn, and the
correlation of a direction on them is its weight. A direction that fails on others has weight zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nunbit.core.streams import Flags, Floats, Ints, Singles
from nunbit.core.timebase import SAME_S
from nunbit.space.vectors import WindowTable

SPACE = 128
"""E, the size of the shared space; where fewer directions are shared the others are zero."""

_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Head:
    """The head of one modality.

    Attributes:
        centre: (D,) mean over the training windows before the person's mean was removed: subtracted
            from a vector without a recording, such as a query sentence.
        scale: (D,) divisor of mean-removed vectors.
        weight: (D, E).
    """

    centre: Singles
    scale: Singles
    weight: Singles

    def project(self, rows: Singles) -> Singles:
        """(N, E) unit rows of mean-removed (N, D) ones; NaN stays NaN, a zero row becomes NaN."""
        projected = (rows / self.scale) @ self.weight
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        unit = np.full_like(projected, np.nan)
        np.divide(projected, norms, out=unit, where=norms > _TINY)
        return np.asarray(unit, np.float32)

    def project_alone(self, rows: Singles) -> Singles:
        """(N, E) unit rows of vectors that belong to no recording."""
        return self.project(np.asarray(rows, np.float32) - self.centre)


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of an alignment.

    Attributes:
        heads: Modality -> head.
        method: ``cca`` or ``infonce``.
        correlations: (E,) correlation of each direction on people left out, mean over pairs of
            modalities; empty where not measured.
        details: Plain data about the fit.
    """

    heads: Mapping[str, Head]
    method: str
    correlations: Floats = field(default_factory=lambda: np.zeros(0))
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What they were fitted to."""
        return tuple(self.heads)

    @property
    def size(self) -> int:
        """E."""
        return int(next(iter(self.heads.values())).weight.shape[1])

    def project(self, table: WindowTable) -> dict[str, Singles]:
        """Modality -> (N, E) unit rows of a mean-removed table, NaN where missing."""
        return {
            m: head.project(table.vectors[m])
            for m, head in self.heads.items()
            if m in table.vectors
        }


def scales_of(table: WindowTable, modality: str) -> Singles:
    """(D,) standard deviation of each dimension, 1 where there is none."""
    rows = table.vectors[modality][table.present(modality)].astype(np.float64)
    spread = rows.std(axis=0) if len(rows) else np.ones(rows.shape[1])
    return np.asarray(np.where(spread > _TINY, spread, 1.0), np.float32)


# -- fitting ---------------------------------------------------------------------------------------


def independent_windows(table: WindowTable) -> int:
    """Number of windows with two modalities or more that do not overlap."""
    if not len(table):
        return 0
    several = np.sum([table.present(m) for m in table.vectors], axis=0) >= 2
    count, recording, free_from = 0, -1, -np.inf
    for row in np.flatnonzero(several):
        if table.recording[row] != recording:
            recording, free_from = int(table.recording[row]), -np.inf
        if table.start_s[row] >= free_from - SAME_S:
            count += 1
            free_from = table.start_s[row] + table.length_s
    return count


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
    parts = [*_parts(rows, table, moments, table.folds(settings.n_folds)[0])]
    tried = {ridge: _left_out(parts, names, ridge, settings.size) for ridge in settings.ridges}
    held_by = {r: float((np.clip(held, 0.0, None) ** 2).sum()) for r, held in tried.items()}
    best = max(held_by, key=lambda r: (held_by[r], r))
    weights = _directions(moments, names, best, settings.size)
    counted = _importance(tried[best])
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
        "ridges": {str(ridge): round(strength, 4) for ridge, strength in held_by.items()},
        "directions": int((counted > 0).sum()),
        "windows": len(table),
        "people": len(np.unique(table.person)),
    }
    return Heads(heads, "cca", tried[best], details)


def _importance(held: Floats) -> Floats:
    """(E,) factor of each direction in both heads: the square root of r / (1 - r^2).

    The inner product is then the part of the log likelihood ratio of "same moment" against
    "another moment" that both modalities share (probabilistic CCA, Bach and Jordan 2005).
    """
    r = np.clip(held, 0.0, _HIGHEST)
    if not r.any():  # nothing held on others: keep a space, of the first direction alone
        return np.asarray(np.eye(len(held))[0])
    return np.asarray(np.sqrt(r / (1.0 - r**2)))


def _scaled(table: WindowTable, modality: str, scale: Singles) -> Floats:
    """(N, D) float64, zero rows where the modality is missing: they add nothing to sums."""
    there = table.present(modality)[:, None]
    return np.where(there, table.vectors[modality] / scale, 0.0).astype(np.float64)


def _axes(rows: Floats, most: int) -> Floats:
    """(D, C) orthonormal principal axes, strongest first; the identity where D is small enough."""
    if (width := rows.shape[1]) <= most:
        return np.eye(width)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return np.asarray(vectors[:, ::-1][:, :most])


def _moments(rows: dict[str, Floats], table: WindowTable, chosen: Flags) -> _Moments:
    pairs = list(itertools.combinations_with_replacement(rows, 2))
    return _Moments(
        {(a, b): rows[a][chosen].T @ rows[b][chosen] for a, b in pairs},
        {(a, b): int((table.present(a) & table.present(b) & chosen).sum()) for a, b in pairs},
    )


def _directions(
    moments: _Moments, names: tuple[str, ...], ridge: float, size: int
) -> dict[str, Floats]:
    """Modality -> (D, E) directions, strongest first, of unit variance in their modality."""
    within = {m: moments.sums[m, m] / max(1, moments.counts[m, m]) for m in names}
    # (D, D): rows @ it have unit variance
    whiteners = {
        m: np.linalg.inv(np.linalg.cholesky(own + ridge * np.eye(len(own)))).T
        for m, own in within.items()
    }
    ends = itertools.accumulate((len(own) for own in within.values()), initial=0)
    starts = {m: slice(*edges) for m, edges in zip(names, itertools.pairwise(ends), strict=True)}
    size_of_all = sum(len(own) for own in within.values())
    between = np.zeros((size_of_all, size_of_all))
    for a, b in itertools.combinations(names, 2):
        if moments.counts[a, b]:
            block = whiteners[a].T @ (moments.sums[a, b] / moments.counts[a, b]) @ whiteners[b]
            between[starts[a], starts[b]], between[starts[b], starts[a]] = block, block.T
    values, vectors = np.linalg.eigh(between)
    order = np.argsort(-values, kind="stable")[:size]
    found = {}
    for m in names:
        part = whiteners[m] @ vectors[starts[m]][:, order]
        spread = np.sqrt(np.maximum(((within[m] @ part) * part).sum(axis=0), 0.0))
        unit = np.divide(part, spread, out=np.zeros_like(part), where=spread > 1e-9)
        unit[:, values[order] <= 1e-9] = 0.0  # no shared direction is left
        found[m] = np.pad(unit, ((0, 0), (0, size - unit.shape[1])))
    # The signs of directions are arbitrary; fixed, so that files are equal everywhere.
    first = found[names[0]]
    largest = np.take_along_axis(first, np.abs(first).argmax(axis=0)[None], axis=0)[0]
    signs = np.where(largest < 0, -1.0, 1.0)
    return {m: rows * signs for m, rows in found.items()}


@dataclass(frozen=True, eq=False)
class _Part:
    """A fold: covariances of all other people, and its own windows by pair of modalities."""

    others: _Moments
    own: dict[tuple[str, str], tuple[Floats, Floats]]


def _parts(
    rows: dict[str, Floats], table: WindowTable, moments: _Moments, folds: Ints
) -> Iterator[_Part]:
    """Everything that does not depend on the ridge, computed once."""
    present = {m: table.present(m) for m in rows}
    for fold in np.unique(folds):
        out = folds == fold
        both = {(a, b): out & present[a] & present[b] for a, b in itertools.combinations(rows, 2)}
        yield _Part(
                moments - _moments(rows, table, out),
                {(a, b): (rows[a][there], rows[b][there])
                 for (a, b), there in both.items() if there.sum() >= 3},
            )  # fmt: skip


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
