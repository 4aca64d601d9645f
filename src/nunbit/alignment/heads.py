"""Linear heads: from a modality's mean-removed vector to the shared space.

A head scales every dimension, multiplies by a matrix and brings the row to length one. Nothing in
it is about a person: what it is given has the person's mean taken out already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nunbit.alignment.table import WindowTable
from nunbit.streams import Floats, Singles

SPACE = 128
"""E, the size of the shared space; where fewer directions are shared the others are zero."""

_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Head:
    """One modality's way into the shared space.

    Attributes:
        centre: (D,) mean over the training windows before the person's mean was removed: what is
            taken from a vector that belongs to no recording, such as a sentence searched for.
        scale: (D,) what mean-removed vectors are divided by.
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
        details: How they were fitted, plain data.
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
