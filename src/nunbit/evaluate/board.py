"""Collects confusion matrices and other sums, resamples them all in one pass, reads them off.

Sections of an evaluation come twice: first each puts its sums on the board, then, after one
bootstrap of everything, each reads its scores and intervals. Sharing the draws makes every
difference between two entries a paired one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import metrics

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Draws = NDArray[np.float32]

HEADLINE: Mapping[str, Callable[[Any], Floats]] = {
    "top1": metrics.top1,
    "macro_f1": metrics.macro_f1,
    "uar": metrics.uar,
}


class Board:
    """Named sums over N images with person codes.

    Args:
        clusters: (N,) codes of ``metrics.cluster_codes``.
        persons: Whether the codes are persons; False means every image stands for itself.
        n_classes: K.
        n_resamples: R.
        seed: Seed of the draws.
    """

    def __init__(
        self, clusters: Codes, *, persons: bool, n_classes: int, n_resamples: int, seed: int
    ) -> None:
        self.clusters, self.persons, self.n_classes = clusters, persons, n_classes
        self._n_resamples, self._seed = n_resamples, seed
        self._sums: dict[str, metrics.Additive] = {}
        self._draws: dict[str, Draws] = {}
        self._n_codes = int(clusters.max()) + 1
        self._n_clusters: dict[str, int] = {}

    @property
    def unit(self) -> str:
        """What the bootstrap draws: ``person`` or ``image``."""
        return "person" if self.persons else "image"

    def add(self, name: str, entry: metrics.Additive) -> None:
        """Put sums on the board; a name is used once."""
        if name in self._sums:
            raise ValueError(f"board: expected a new name, got {name} twice")
        self._sums[name] = entry
        present = np.zeros(self._n_codes, dtype=bool)
        present[self.clusters[entry.cells >= 0]] = True
        self._n_clusters[name] = int(present.sum())

    def add_confusion(self, name: str, truth: Codes, predicted: Codes) -> None:
        """Put a confusion matrix on the board; images with truth -1 do not take part."""
        self.add(name, metrics.confusion_cells(truth, predicted, self.n_classes))

    def run(self) -> None:
        """Resample everything that is on the board."""
        self._draws = metrics.resample(
            self._sums, self.clusters, n_resamples=self._n_resamples, seed=self._seed
        )

    def total(self, name: str) -> Floats:
        """The sums as they are; (n_cells,)."""
        return self._sums[name].total()

    def draws(self, name: str) -> Draws:
        """The resampled sums; (R, n_cells)."""
        return self._draws[name]

    def confusion(self, name: str) -> Floats:
        """The confusion matrix as it is; (K, K)."""
        return self.total(name).reshape(self.n_classes, self.n_classes)

    def confusion_draws(self, name: str) -> Draws:
        """The resampled confusion matrices; (R, K, K)."""
        return self.draws(name).reshape(-1, self.n_classes, self.n_classes)

    def n_clusters(self, name: str) -> int:
        """Persons (or images) that take part in an entry."""
        return self._n_clusters[name]

    def interval(self, name: str, draws: Floats | Draws) -> list[float] | None:
        """95% interval of draws made from an entry; None for fewer than two persons."""
        return pair(metrics.interval(draws)) if self.n_clusters(name) > 1 else None

    def scores(self, name: str) -> dict[str, Any]:
        """Scores of a confusion matrix with intervals, as plain data; None where undefined."""
        confusion, draws = self.confusion(name), self.confusion_draws(name)
        return {
            "n": int(confusion.sum()),
            "n_subjects": self.n_clusters(name) if self.persons else None,
            **{key: number(score(confusion)) for key, score in HEADLINE.items()},
            "ci95": {key: self.interval(name, score(draws)) for key, score in HEADLINE.items()},
        }

    def difference(self, name: str, other: str) -> dict[str, Any]:
        """``name`` minus ``other``, paired: value and interval of each headline score."""
        a, b = self.confusion(name), self.confusion(other)
        a_draws, b_draws = self.confusion_draws(name), self.confusion_draws(other)
        result: dict[str, Any] = {"ci95": {}}
        for key, score in HEADLINE.items():
            result[key] = number(score(a) - score(b))
            result["ci95"][key] = self.interval(name, score(a_draws) - score(b_draws))
        return result


def number(value: Any, digits: int = 6) -> float | None:
    """A float that JSON can hold: rounded, None for NaN."""
    return None if value is None or np.isnan(value) else round(float(value), digits)


def pair(interval: tuple[float, float] | None) -> list[float] | None:
    """An interval as a list, rounded; None stays None."""
    return None if interval is None else [round(interval[0], 6), round(interval[1], 6)]


def numbers(values: Any, digits: int = 6) -> list[Any]:
    """An array of any depth as nested lists with None for NaN."""
    array = np.asarray(values)
    if array.ndim > 1:
        return [numbers(row, digits) for row in array]
    return [number(v, digits) for v in array]
