"""Bootstrap by person: every statistic that is a function of sums over images, in one pass.

One person gives many images, so images are not independent and an interval that resamples them is
too narrow. Here persons are drawn with replacement. A statistic is first written as sums over
images (cells of a confusion matrix, sums of a bin); sums per person form a matrix (P, cells), the
draws form a matrix of weights (R, P), and their product is all resampled sums at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Draws = NDArray[np.float32]
# An evaluation keeps some seventy of these per image: half the bytes matter.
Cells = NDArray[np.int32] | NDArray[np.int64]

# Entries of the largest temporary arrays: 100 MB of per-person sums, 32 MB of weights.
_MOST_ENTRIES = 24_000_000
_MOST_WEIGHTS = 8_000_000
# More persons than this are drawn in random groups of equal size.
_MOST_CLUSTERS = 4_000


@dataclass(frozen=True, eq=False)
class Additive:
    """Sums over images: image i adds ``values[i]`` to cell ``cells[i]``.

    Attributes:
        cells: (N,) positions in [0, n_cells), -1 for an image that does not take part.
        n_cells: Number of sums.
        values: (N,) what each image adds, or None for a count.
    """

    cells: Cells
    n_cells: int
    values: Floats | None = None

    def total(self) -> Floats:
        """The sums over the images as they are; (n_cells,)."""
        taking_part = self.cells >= 0
        values = None if self.values is None else self.values[taking_part]
        totals = np.bincount(self.cells[taking_part], weights=values, minlength=self.n_cells)
        return totals.astype(np.float64)


def cluster_codes(subjects: Sequence[str | None] | None, n: int) -> Codes:
    """Number the persons; an image without a person is a person of its own.

    Args:
        subjects: (N,) person keys or None, or None when the source knows no persons.
        n: N.

    Returns:
        (N,) codes 0 … P-1.
    """
    if subjects is None:
        return np.arange(n)
    # The kind keeps an unknown person's image from meeting a person who is called "3".
    keys = [("person", s) if s is not None else ("image", i) for i, s in enumerate(subjects)]
    numbers: dict[tuple[str, str | int], int] = {}
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(keys))


def confusion_cells(truth: Codes, prediction: Codes, n_classes: int) -> Additive:
    """A confusion matrix as sums; images with truth or prediction < 0 do not take part."""
    cells = np.where((truth >= 0) & (prediction >= 0), truth * n_classes + prediction, -1)
    return Additive(cells=cells.astype(np.int32), n_cells=n_classes**2)


def resample(
    sums: Mapping[str, Additive], clusters: Codes, *, n_resamples: int, seed: int
) -> dict[str, Draws]:
    """Draw persons with replacement and add up their images, R times.

    All entries share the same draws, so that differences between them are paired. More than 4,000
    persons are first gathered into 4,000 random groups of equal size, and groups are drawn: the
    method of random groups (Wolter 2007), whose standard errors are as right on average and vary
    by about one per cent, at a cost that no longer grows with the number of persons.

    Args:
        sums: Named sums over the same N images.
        clusters: (N,) person codes of ``cluster_codes``.
        n_resamples: R.
        seed: Seed of the draws; the same seed gives the same draws whatever ``sums`` holds.

    Returns:
        Name -> (R, n_cells) float32, exact for counts.
    """
    clusters = grouped(clusters, seed)
    n_clusters = int(clusters.max()) + 1
    results = {n: np.empty((n_resamples, s.n_cells), np.float32) for n, s in sums.items()}
    small = n_clusters * sum(s.n_cells for s in sums.values()) <= _MOST_ENTRIES
    kept = {name: _per_cluster(s, clusters, n_clusters) for name, s in sums.items() if small}
    start = 0
    for weights in _weights(n_clusters, n_resamples, seed):
        stop = start + len(weights)
        for name, entry in sums.items():
            table = kept[name] if small else _per_cluster(entry, clusters, n_clusters)
            results[name][start:stop] = weights @ table
        start = stop
    return results


def per_cluster(entry: Additive, clusters: Codes) -> NDArray[np.float32]:
    """Sums of each person; (P, n_cells)."""
    return _per_cluster(entry, clusters, int(clusters.max()) + 1)


def grouped(clusters: Codes, seed: int) -> Codes:
    """The persons as ``resample`` draws them: more than 4,000 are put into random groups."""
    n_clusters = int(clusters.max()) + 1
    if n_clusters <= _MOST_CLUSTERS:
        return clusters
    group_of = np.random.default_rng([seed, 1]).permutation(n_clusters) % _MOST_CLUSTERS
    codes: Codes = group_of[clusters]
    return codes


def interval(draws: Floats | Draws, *, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of bootstrap draws; None when fewer than half of them are defined."""
    defined = draws[~np.isnan(draws)]
    if 2 * len(defined) < len(draws) or not len(defined):
        return None
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def rank_bins(score: Floats, positive: NDArray[np.bool_], n_bins: int = 200) -> Additive:
    """A ranking as sums: positives and negatives per bin of rank; equal scores share a bin.

    AUROC itself is no sum over images; with 200 bins of equal mass its error is below 1e-4, far
    inside any interval.
    """
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    bins = ((ends - sizes / 2.0) * n_bins / len(score)).astype(np.int64)[group]
    return Additive(cells=(2 * bins + positive).astype(np.int32), n_cells=2 * n_bins)


def auroc_from_bins(counts: Floats | Draws) -> Floats:
    """AUROC of (..., 2B) counts from ``rank_bins``; (...), NaN where one side is empty."""
    counts = counts.astype(np.float64)
    negative, positive = counts[..., 0::2], counts[..., 1::2]
    below = np.cumsum(negative, axis=-1) - negative / 2.0
    pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
    area = np.full(pairs.shape, np.nan)
    np.divide((positive * below).sum(axis=-1), pairs, out=area, where=pairs > 0)
    return area


def ece_interval(
    gaps: Floats, n: int, gap_draws: Draws, n_draws: Draws, *, stretch: float = 1.0
) -> tuple[float, float]:
    """95% interval of an expected calibration error, corrected for its upward bias.

    An ECE adds absolute values, so noise can only enlarge it, and a resample enlarges it again: a
    percentile interval of a well-calibrated model misses the truth always. The lower end is
    therefore the reflected draw, and zero while the ECE is no larger than the noise of its bins;
    the upper end lies between the reflected and the plain draw. In simulations with 500 persons
    it covers the truth in 92 to 98 of 100 cases from perfect calibration to an ECE of 0.1.

    Args:
        gaps: (B,) sum of confidence minus correctness in each bin.
        n: Images.
        gap_draws: (R, B) resampled ``gaps``.
        n_draws: (R,) resampled ``n``; NaN for a resample without images, which is left out.
        stretch: Of few persons: how much further the draws have to lie from ``gaps``.
    """
    gap_draws, n_draws = gap_draws[n_draws > 0], n_draws[n_draws > 0]
    found = gaps / n
    resampled = found + stretch * (gap_draws / n_draws[:, None] - found)
    ece = float(abs(found).sum())
    draws = abs(resampled).sum(axis=1)
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    noise = float(np.quantile(abs(resampled - found).sum(axis=1), 0.975))
    lower = 0.0 if ece <= noise else max(0.0, 2.0 * ece - high)
    return lower, max(ece, (2.0 * ece - low + high) / 2.0)


def _weights(n_clusters: int, n_resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """How often each person was drawn, in chunks (C, P); every row sums to P."""
    rng = np.random.default_rng(seed)
    rows = max(1, min(n_resamples, _MOST_WEIGHTS // n_clusters))
    for start in range(0, n_resamples, rows):
        count = min(rows, n_resamples - start)
        # One stream of draws whatever the chunk size, so that results do not depend on it.
        draws = rng.integers(0, n_clusters, size=(count, n_clusters))
        draws += n_clusters * np.arange(count)[:, None]
        flat = np.bincount(draws.ravel(), minlength=count * n_clusters)
        yield flat.reshape(count, n_clusters).astype(np.float32)


def _per_cluster(entry: Additive, clusters: Codes, n_clusters: int) -> NDArray[np.float32]:
    """Sums per person; (P, n_cells)."""
    taking_part = entry.cells >= 0
    cells = clusters[taking_part] * entry.n_cells + entry.cells[taking_part]
    values = None if entry.values is None else entry.values[taking_part]
    flat = np.bincount(cells, weights=values, minlength=n_clusters * entry.n_cells)
    return flat.reshape(n_clusters, entry.n_cells).astype(np.float32)
