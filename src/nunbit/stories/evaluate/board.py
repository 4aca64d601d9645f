"""Sums collected and resampled in one pass; how far the probabilities can be believed.

Every section of an evaluation runs twice: first it adds its sums to the board; after one bootstrap
of everything it reads its scores and intervals. All entries share the draws, so differences between
two entries are paired. Where few persons take part in an entry, its intervals come from leaving
them out one by one instead (``statistics.jackknife_interval``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit import statistics
from nunbit.datasets.predictions import Predictions, deciding_templates
from nunbit.model.zeroshot import probabilities
from nunbit.statistics.remapping import softmax

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Draws = NDArray[np.float32]

HEADLINE: Mapping[str, Callable[[Any], Floats]] = {
    "top1": statistics.top1,
    "macro_f1": statistics.macro_f1,
    "uar": statistics.uar,
}
# Means over classes: they are as uncertain as their rarest class.
_OF_CLASSES = ("macro_f1", "uar")


class Board:
    """Named sums over N images with person codes.

    Args:
        clusters: (N,) codes of ``statistics.cluster_codes``.
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
        self._sums: dict[str, statistics.Additive] = {}
        self._draws: dict[str, Draws] = {}
        self._n_codes = int(clusters.max()) + 1
        self._groups = statistics.grouped(clusters, seed)
        self._n_clusters: dict[str, int] = {}
        self._tables: dict[str, NDArray[np.float32]] = {}

    @property
    def unit(self) -> str:
        """What the bootstrap draws: ``person`` or ``image``."""
        return "person" if self.persons else "image"

    def add(self, name: str, entry: statistics.Additive) -> None:
        """Put sums on the board; a name is used once."""
        if name in self._sums:
            raise ValueError(f"board: expected a new name, got {name} twice")
        self._sums[name] = entry
        present = np.zeros(self._n_codes, dtype=bool)
        present[self.clusters[entry.cells >= 0]] = True
        self._n_clusters[name] = int(present.sum())

    def add_confusion(self, name: str, truth: Codes, predicted: Codes) -> None:
        """Put a confusion matrix on the board; images with truth -1 do not take part."""
        self.add(name, statistics.confusion_cells(truth, predicted, self.n_classes))

    def run(self) -> None:
        """Resample all sums."""
        self._draws = statistics.resample(
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
            self._tables[name] = statistics.per_cluster(self._sums[name], self._groups)
        return self._tables[name]

    def interval(
        self,
        names: str | tuple[str, ...],
        statistic: Callable[..., Any],
        *,
        scale: statistics.Scale = "share",
        sides: Callable[..., Sequence[Any]] | None = None,
        mean_of_sides: bool = False,
    ) -> list[float] | None:
        """95% interval of a statistic of entries.

        Percentiles of the bootstrap where many persons take part; a t interval of the jackknife
        over persons below ``statistics.FEW`` and for shares close to 0 or 1; an exact bound for a
        share of exactly 0 or 1.

        Args:
            names: Entries that the statistic needs.
            statistic: Takes the sums (..., n_cells) of each entry; gives (...).
            scale: Range of the statistic, see ``statistics.jackknife_interval``.
            sides: Takes the per-person sums of each entry and gives those counts of images that the
                statistic rests on, one array (P, ...) for each side that it compares; None takes
                the entries themselves. The side with the fewest persons decides.
            mean_of_sides: Whether the statistic is a mean of shares of the sides, as UAR is.

        Returns:
            Low and high; None for fewer than two persons, and where few persons are all alike.
        """
        names = (names,) if isinstance(names, str) else names
        value = float(statistic(*map(self.total, names)))
        alike = scale == "share" and value in (0.0, 1.0)
        tables = [self.per_person(name) for name in names]
        counted = tables if sides is None else sides(*tables)
        sizes = [np.asarray(side).reshape(len(side), -1).sum(axis=1) for side in counted]
        persons = [int((size > 0).sum()) for size in sizes]
        n = min(persons, default=0)
        if n < 1 or min(map(self.n_clusters, names)) < 2:
            return None
        if alike:
            each = persons if mean_of_sides else [n]
            known = mean_of_sides or n > 1
            return pair(statistics.all_alike_interval(value, *each)) if known else None
        if n >= statistics.FEW:
            draws = statistic(*(self.draws(name) for name in names))
            if scale != "share" or not statistics.lopsided(value, draws):
                return pair(statistics.interval(draws))
        return pair(statistics.jackknife_interval(statistic, tables, sizes, scale=scale))

    def mean_interval(self, name: str, count: str) -> list[float] | None:
        """95% interval of a mean of positive numbers.

        Args:
            name: Entry with the sum of the numbers, one cell.
            count: Entry with the number of images, one cell.
        """
        return self.interval(
            (name, count),
            lambda total, n: share(total[..., 0], n[..., 0]),
            scale="positive",
            sides=lambda total, n: (n,),
        )

    def method(self, name: str) -> str | None:
        """How an entry's intervals are made: ``jackknife_t``, ``bootstrap``, or None for none."""
        n = self.n_clusters(name)
        return None if n < 2 else "jackknife_t" if n < statistics.FEW else "bootstrap"

    def scores(self, name: str) -> dict[str, Any]:
        """Scores of a confusion matrix with intervals, as plain data; None where undefined."""
        confusion = self.confusion(name)
        return {
            "n": int(confusion.sum()),
            "n_subjects": self.n_clusters(name) if self.persons else None,
            **{key: number(score(confusion)) for key, score in HEADLINE.items()},
            "ci95": {
                key: self.interval(
                    name, self.of(score), sides=self._sides(key), mean_of_sides=key in _OF_CLASSES
                )
                for key, score in HEADLINE.items()
            },
            "ci_method": self.method(name),
        }

    def rarest(self, name: str) -> int:
        """Persons (or images) of the class that has the fewest, among classes with images."""
        sides = statistics.class_sides(self.per_person(name), self.n_classes)
        return min((int(side.any(axis=1).sum()) for side in sides), default=0)

    def difference(self, name: str, other: str) -> dict[str, Any]:
        """``name`` minus ``other``, paired: value and interval of each headline score."""
        a, b = self.confusion(name), self.confusion(other)
        result: dict[str, Any] = {"ci95": {}}
        for key, score in HEADLINE.items():
            result[key] = number(score(a) - score(b))
            of = self.of(score)
            result["ci95"][key] = self.interval(
                (name, other),
                lambda x, y, of=of: of(x) - of(y),
                scale="difference",
                sides=self._sides(key),
            )
        return result

    def _sides(self, key: str) -> Callable[..., Sequence[Any]] | None:
        """What a headline score rests on: each true class, or all images."""
        if key not in _OF_CLASSES:
            return None
        return lambda *tables: [
            side for table in tables for side in statistics.class_sides(table, self.n_classes)
        ]

    def of(self, score: Callable[[Any], Floats]) -> Callable[[Any], Floats]:
        """A score of confusion matrices as a statistic of their cells."""
        k = self.n_classes
        return lambda cells: score(cells.reshape(*cells.shape[:-1], k, k))


def share(sums: Any, counts: Any) -> Any:
    """Sums over counts; a resample of few persons can hold no image: undefined, not zero."""
    return sums / np.where(counts > 0, counts, np.nan)


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


# --- calibration, and the most confident mistakes

_POINTS = 100
_COVERAGES = (0.5, 0.8, 0.9)


def calibration_section(p: Predictions, board: Board, n_bins: int) -> Callable[[], dict[str, Any]]:
    """ECE, Brier score and likelihood before and after the bundle's temperature.

    The temperature comes from the bundle, which fitted it on its selection split; it is never
    fitted on the images that are judged here.
    """
    rows = np.flatnonzero(p.truth >= 0)
    truth = p.truth[rows]
    after = _Judged(p.probability[rows].astype(np.float64), truth, n_bins)
    before = _Judged(_before_temperature(p)[rows], truth, n_bins)
    for name, judged in (("before", before), ("after", after)):
        for key, entry in judged.sums().items():
            cells = np.full(len(p), -1, dtype=np.int32)
            cells[rows] = entry.cells
            values = None
            if entry.values is not None:
                values = np.zeros(len(p))
                values[rows] = entry.values
            board.add(f"{key}/{name}", statistics.Additive(cells, entry.n_cells, values))

    def read() -> dict[str, Any]:
        result: dict[str, Any] = {
            "temperature": number(p.temperature),
            "temperature_source": "bundle",
            "n_bins": len(after.bins.count),
        }
        ci95: dict[str, Any] = {}
        for name, judged in (("before", before), ("after", after)):
            result[f"ece_{name}"] = number(judged.bins.ece)
            result[f"nll_{name}"] = number(judged.nll.mean())
            result["brier" if name == "after" else "brier_before"] = number(judged.brier.mean())
            ci95[f"ece_{name}"] = _ece_interval(board, name, len(rows))
            result[f"ece_noise_floor_{name}"] = number(
                statistics.ece_noise_floor(judged.confidence, judged.bins)
            )
            result[f"ece_noise_floor_persons_{name}"] = _person_floor(board, name, len(rows))
            for key in ("nll", "brier"):
                full = f"{key}_{name}" if (key, name) != ("brier", "after") else "brier"
                ci95[full] = board.mean_interval(f"{key}/{name}", "n/after")
        return {
            **result,
            "ci95": ci95,
            "bins": _bins(board, after),
            "bins_before": _bins(board, before, name="before"),
            "risk_coverage": _risk_coverage(after),
        }

    return read


def confident_mistakes(p: Predictions, n: int) -> list[dict[str, Any]]:
    """The wrong answers with the highest probabilities, as references to images."""
    wrong = np.flatnonzero((p.truth >= 0) & (p.predicted != p.truth))
    confidence = p.probability.max(axis=1)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:n]
    deciding = deciding_templates(p)
    names = [t["id"] for t in p.templates["templates"]] if p.templates else []
    return [
        {
            "record_id": p.record_id[i],
            "truth": p.label_set.ids[p.truth[i]],
            "prediction": p.label_set.ids[p.predicted[i]],
            "probability": number(confidence[i]),
            "probability_of_truth": number(p.probability[i, p.truth[i]]),
            "deciding_template": names[deciding[i]] if deciding is not None else None,
            "votes": list(p.votes[i]),
        }
        for i in order
    ]


class _Judged:
    """Probabilities compared with the truth; N labelled images."""

    def __init__(
        self, probability: NDArray[np.float64], truth: NDArray[np.int64], n_bins: int
    ) -> None:
        self.confidence = probability.max(axis=1)
        self.correct = probability.argmax(axis=1) == truth
        self.bins = statistics.reliability(self.confidence, self.correct, n_bins)
        self.nll = statistics.negative_log_likelihood(probability, truth)
        self.brier = statistics.brier(probability, truth)

    def sums(self) -> dict[str, statistics.Additive]:
        """Everything of it that is a sum over images."""
        bins, n_bins = self.bins.bin_of, len(self.bins.count)
        one = np.zeros(len(bins), dtype=np.int64)
        return {
            "n": statistics.Additive(one, 1),
            "nll": statistics.Additive(one, 1, self.nll),
            "brier": statistics.Additive(one, 1, self.brier),
            "gap": statistics.Additive(bins, n_bins, self.confidence - self.correct),
            "right": statistics.Additive(bins, n_bins, self.correct.astype(np.float64)),
            "mass": statistics.Additive(bins, n_bins),
        }


def _before_temperature(p: Predictions) -> NDArray[np.float64]:
    """Probabilities as if the temperature were 1."""
    if p.ensemble == "vote":  # shares of templates, not a softmax: no temperature applies
        return p.probability.astype(np.float64)
    if p.cosine is not None:
        return probabilities(p.cosine, p.logit_scale).astype(np.float64)
    logits = np.log(np.maximum(p.probability.astype(np.float64), 1e-12)) * p.temperature
    return softmax(logits)


def _ece_interval(board: Board, name: str, n: int) -> list[float] | None:
    if board.n_clusters("n/after") < 2:
        return None
    return pair(
        statistics.ece_interval(
            board.total(f"gap/{name}"),
            n,
            board.draws(f"gap/{name}"),
            _image_draws(board),
            stretch=_stretch(board),
        )
    )


def _person_floor(board: Board, name: str, n: int) -> float | None:
    """The noise of the ECE when the images of a person err together; None without persons."""
    if not board.persons or board.n_clusters("n/after") < 2:
        return None
    found = board.total(f"gap/{name}") / n
    draws = board.draws(f"gap/{name}") / _image_draws(board)[:, None]
    return number(_stretch(board) * np.nanmean(abs(draws - found).sum(axis=1)))


def _image_draws(board: Board) -> NDArray[np.float32]:
    # A resample of few persons can hold no labelled image: undefined, not zero.
    n_draws = board.draws("n/after")[:, 0]
    return np.asarray(np.where(n_draws > 0, n_draws, np.float32(np.nan)))


def _stretch(board: Board) -> float:
    if board.method("n/after") != "jackknife_t":
        return 1.0
    return statistics.stretch(statistics.effective(board.per_person("n/after")[:, 0]))


def _bins(board: Board, judged: _Judged, name: str = "after") -> list[dict[str, Any]]:
    bins = judged.bins

    def interval(b: int) -> list[float] | None:
        return board.interval(
            (f"right/{name}", f"mass/{name}"),
            lambda right, mass: share(right[..., b], mass[..., b]),
            sides=lambda right, mass: (mass[:, b],),
        )

    return [
        {
            "confidence": number(bins.confidence[b]),
            "accuracy": number(bins.accuracy[b]),
            "n": int(bins.count[b]),
            "ci95": interval(b),
        }
        for b in range(len(bins.count))
    ]


def _risk_coverage(judged: _Judged) -> dict[str, Any]:
    curve = statistics.risk_coverage(judged.confidence, judged.correct, _POINTS)
    at = {
        f"{coverage:.0%}": number(np.interp(coverage, curve.coverage, curve.accuracy))
        for coverage in _COVERAGES
    }
    return {
        "coverage": numbers(curve.coverage, 4),
        "accuracy": numbers(curve.accuracy, 4),
        "aurc": number(curve.aurc),
        "accuracy_at_coverage": at,
    }
