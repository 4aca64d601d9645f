"""Collects confusion matrices and other sums, resamples them all in one pass, reads them off.

Sections of an evaluation come twice: first each puts its sums on the board, then, after one
bootstrap of everything, each reads its scores and intervals. Sharing the draws makes every
difference between two entries a paired one. Where few persons take part in an entry, its
intervals come from leaving them out one by one instead (``metrics.few``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        self._groups = metrics.grouped(clusters, seed)
        self._n_clusters: dict[str, int] = {}
        self._tables: dict[str, NDArray[np.float32]] = {}

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

    def per_person(self, name: str) -> NDArray[np.float32]:
        """Sums per person (or group of persons, where there are thousands); (P, n_cells)."""
        if name not in self._tables:
            self._tables[name] = metrics.per_cluster(self._sums[name], self._groups)
        return self._tables[name]

    def interval(
        self,
        names: str | tuple[str, ...],
        statistic: Callable[..., Any],
        *,
        scale: metrics.Scale = "share",
        sides: Callable[..., Sequence[Any]] | None = None,
    ) -> list[float] | None:
        """95% interval of a statistic of entries.

        Percentiles of the bootstrap where many persons take part; a t interval of the jackknife
        over persons below ``metrics.FEW``; an exact bound for a share of exactly 0 or 1.

        Args:
            names: Entries that the statistic needs.
            statistic: Takes the sums (..., n_cells) of each entry; gives (...).
            scale: Range of the statistic, see ``metrics.jackknife_interval``.
            sides: Takes the per-person sums of each entry and gives those counts of images that the
                statistic rests on, one array (P, ...) for each side that it compares; None takes
                the entries themselves. The side with the fewest persons decides.

        Returns:
            Low and high; None for fewer than two persons, and where few persons are all alike.
        """
        names = (names,) if isinstance(names, str) else names
        value = float(statistic(*map(self.total, names)))
        alike = scale == "share" and value in (0.0, 1.0)
        if sides is None and min(map(self.n_clusters, names)) >= metrics.FEW and not alike:
            return self._percentiles(names, statistic)
        tables = [self.per_person(name) for name in names]
        counted = tables if sides is None else sides(*tables)
        sizes = [np.asarray(side).reshape(len(side), -1).sum(axis=1) for side in counted]
        n = min(int((size > 0).sum()) for size in sizes)
        if alike:
            return pair(metrics.all_alike_interval(value, n)) if n > 1 else None
        if n >= metrics.FEW:
            return self._percentiles(names, statistic)
        return pair(metrics.jackknife_interval(statistic, tables, sizes, scale=scale))

    def mean_interval(self, name: str, count: str) -> list[float] | None:
        """95% interval of a mean of positive numbers.

        Args:
            name: Entry with the sum of the numbers, one cell.
            count: Entry with the number of images, one cell.
        """

        def mean(total: Any, n: Any) -> Any:
            # A resample of few persons can hold no image at all: undefined, not zero.
            return total[..., 0] / np.where(n[..., 0] > 0, n[..., 0], np.nan)

        return self.interval((name, count), mean, scale="positive", sides=lambda total, n: (n,))

    def method(self, name: str) -> str | None:
        """How an entry's intervals are made: ``jackknife_t``, ``bootstrap``, or None for none."""
        n = self.n_clusters(name)
        return None if n < 2 else "jackknife_t" if n < metrics.FEW else "bootstrap"

    def _percentiles(
        self, names: tuple[str, ...], statistic: Callable[..., Any]
    ) -> list[float] | None:
        return pair(metrics.interval(statistic(*(self.draws(name) for name in names))))

    def scores(self, name: str) -> dict[str, Any]:
        """Scores of a confusion matrix with intervals, as plain data; None where undefined."""
        confusion = self.confusion(name)
        return {
            "n": int(confusion.sum()),
            "n_subjects": self.n_clusters(name) if self.persons else None,
            **{key: number(score(confusion)) for key, score in HEADLINE.items()},
            "ci95": {key: self.interval(name, self.of(score)) for key, score in HEADLINE.items()},
            "ci_method": self.method(name),
        }

    def difference(self, name: str, other: str) -> dict[str, Any]:
        """``name`` minus ``other``, paired: value and interval of each headline score."""
        a, b = self.confusion(name), self.confusion(other)
        result: dict[str, Any] = {"ci95": {}}
        for key, score in HEADLINE.items():
            result[key] = number(score(a) - score(b))
            of = self.of(score)
            result["ci95"][key] = self.interval(
                (name, other), lambda x, y, of=of: of(x) - of(y), scale="difference"
            )
        return result

    def of(self, score: Callable[[Any], Floats]) -> Callable[[Any], Floats]:
        """A score of confusion matrices as a statistic of their cells."""
        k = self.n_classes
        return lambda cells: score(cells.reshape(*cells.shape[:-1], k, k))


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
