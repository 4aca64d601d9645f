"""How far other persons would differ: bootstrap by person, jackknife for few, gaps between groups.

One person gives many images, so images are not independent, and a bootstrap of images gives
intervals that are too narrow. Here persons are drawn with replacement. A statistic is first written
as sums over images (cells of a confusion matrix, sums of a bin); sums per person form a matrix (P,
cells), the draws form a matrix of weights (R, P), and their product is all resampled sums at once.

The intervals of a bootstrap cover the truth in 80% of cases with 4 persons and in 90% with 12,
instead of 95% (``benchmarks/honesty_evaluation.py``). Of few persons every one is left out in turn.
That gives a standard error of any statistic, also of a nonlinear one such as UAR or macro-F1 (Efron
and Stein 1981; as 'CV3' the best of the cluster-robust estimators where clusters are few,
MacKinnon, Nielsen and Webb 2023), and a t quantile accounts for the error of that standard error.

The highest and the lowest of ten groups always differ. A plain interval of that difference ignores
that the two were chosen: without any true difference it excludes zero in 40 of 100 cases with six
groups. Here the whole range of the groups is compared with the range that chance alone gives (the
studentised-range idea, Tukey 1953, with bootstrap draws for its law).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import Flags, Floats, Ints, Singles
from nunbit.statistics.scores import ratio

Scale = Literal["share", "positive", "difference"]

# Below this many persons the bootstrap is too narrow; from here on both agree within a tenth.
FEW = 40
LEVEL = 0.95
# Half-width of a 95% interval of the normal law, in standard errors.
NORMAL = 1.959964
# Steps of the integral behind a t quantile: six exact digits.
_STEPS = 20_001
# A share left next to 0 or 1 has no useful logit: nearer than this, and than half of the whole's.
_EDGE = 1e-3
# A share nearer to 0 or 1 than so many of its standard errors has a lopsided law.
_LOPSIDED = 5.0


def jackknife_interval(
    statistic: Callable[..., Any],
    tables: Sequence[NDArray[Any]],
    sizes: Sequence[NDArray[Any]],
    *,
    scale: Scale = "share",
) -> tuple[float, float] | None:
    """95% interval of a statistic of sums over persons, by leaving out each person in turn.

    The degrees of freedom are Kish's effective number of persons minus one: if one person has half
    of all images, n - 1 would be too many. Shares are treated as logits and positive numbers as
    logarithms: their intervals stay inside their range and lean the right way near its end. Where
    one person has all the wrong (or right) answers, leaving that person out gives a share of 1 (or
    0), whose logit has no end: the error is then taken of the shares and divided by p (1 - p), the
    slope of the logit (the delta method).

    Args:
        statistic: Takes one array (..., cells) for each table and gives (...).
        tables: Sums per person, each (P, cells).
        sizes: (P,) images of each person, for each side that the statistic compares; the side with
            the fewest effective persons decides.
        scale: ``share`` in [0, 1], ``positive`` in (0, inf), or a ``difference``.

    Returns:
        Low and high; None for fewer than two persons, where the statistic is undefined with a
        person left out, and if all persons are alike, so that nothing shows how much others would
        differ.
    """
    taking_part = np.any([size > 0 for size in sizes], axis=0)
    if taking_part.sum() < 2:
        return None
    totals = [np.asarray(table, dtype=np.float64).sum(axis=0) for table in tables]
    left_out = [t - table[taking_part] for t, table in zip(totals, tables, strict=True)]
    there, back = _TRANSFORMS[scale]
    plain = np.asarray(statistic(*totals), dtype=np.float64)
    without = np.asarray(statistic(*left_out), dtype=np.float64)
    distance = float(np.minimum(plain, 1.0 - plain))
    edge = min(_EDGE, distance / 2.0) if distance > 0.0 else _EDGE
    if scale == "share":
        plain = np.clip(plain, edge, 1.0 - edge)
    value = there(plain)
    if scale == "share" and bool(np.any((without < edge) | (without > 1.0 - edge))):
        error = _spread(without) / float(plain * (1.0 - plain))
    else:
        error = _spread(there(without))
    if not error > 1e-12:  # NaN where undefined; rounding alone is below 1e-12
        return None
    reach = error * t_quantile(max(1.0, min(effective(size) for size in sizes) - 1.0))
    return float(back(value - reach)), float(back(value + reach))


def _spread(values: Floats) -> float:
    """Standard error by the jackknife, from the (P,) values with each person left out."""
    n = len(values)
    return math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))


def all_alike_interval(value: float, n: int, *more: int) -> tuple[float, float]:
    """95% interval of a share of exactly 0 or 1, found in every one of n persons.

    Resampling or leaving out such persons changes nothing: it would give an interval of no width.
    But n persons who are all right have a chance of at most p^n where the share is p, however alike
    the images of a person are (Clopper and Pearson 1934, a person counting as one trial).

    Args:
        value: 0 or 1.
        n: Persons.
        more: Persons of the other classes where the share is a mean over classes: the mean of the
            bounds of all is its bound.
    """
    bound = sum(((1.0 - LEVEL) / 2.0) ** (1.0 / each) for each in (n, *more)) / (1 + len(more))
    return (bound, 1.0) if value == 1.0 else (0.0, 1.0 - bound)


def lopsided(value: float, draws: NDArray[Any]) -> bool:
    """Whether a share lies so near to 0 or 1 that percentiles of its draws miss the far side.

    Ends of their 95% intervals lay above a true 0.98 in 9% of cases with 60 persons. The logit of
    ``jackknife_interval`` leans the right way.
    """
    defined = draws[~np.isnan(draws)]
    return bool(len(defined) and min(value, 1.0 - value) < _LOPSIDED * float(np.std(defined)))


def class_sides(tables: NDArray[Any], n_classes: int) -> list[NDArray[Any]]:
    """What a mean over classes (UAR, macro-F1) rests on: the images of each true class.

    Args:
        tables: (P, K * K) confusion matrices of persons, rows = truth.
        n_classes: K.

    Returns:
        (P, K) for each class that has images.
    """
    rows = np.asarray(tables).reshape(len(tables), n_classes, n_classes)
    return [rows[:, k] for k in range(n_classes) if rows[:, k].any()]


def effective(sizes: NDArray[Any]) -> float:
    """Kish's effective number of persons: as many of equal size would be as informative."""
    sizes = np.asarray(sizes, dtype=np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def stretch(persons: float) -> float:
    """How much wider than a bootstrap's an interval over few effective persons has to be, >= 1.

    A bootstrap divides by n where n - 1 are free, and its law knows no error of the spread.
    """
    free = max(persons - 1.0, 1.0)
    return math.sqrt(max(persons, 1.0) / free) * t_quantile(free) / NORMAL


def t_quantile(df: float, level: float = LEVEL) -> float:
    """The half-width of a central interval of Student's t, in standard errors.

    Args:
        df: Degrees of freedom, >= 1, not necessarily whole.
        level: Probability inside.
    """
    # With t = sqrt(df) tan(angle) the density is a power of the cosine, and the range is finite.
    angle = np.linspace(0.0, math.pi / 2.0, _STEPS)
    density = np.cos(angle[:-1]) ** (df - 1.0)
    density = np.append(density, 1.0 if df == 1.0 else 0.0)
    inside = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2.0))
    return math.sqrt(df) * math.tan(float(np.interp(level * inside[-1], inside, angle)))


_TRANSFORMS: dict[Scale, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "share": (
        lambda share: np.log(share / (1.0 - share)),
        lambda odds: 1.0 / (1.0 + np.exp(-odds)),
    ),
    "positive": (lambda value: np.log(np.maximum(value, 1e-12)), np.exp),
    "difference": (np.asarray, np.asarray),
}


Draws = Singles
# An evaluation keeps some seventy of these per image: half the bytes matter.
Cells = NDArray[np.int32] | Ints

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


def cluster_codes(subjects: Sequence[str | None] | None, n: int) -> Ints:
    """Number the persons; an image without a person counts as a person of its own.

    Args:
        subjects: (N,) person keys or None, or None when the source knows no persons.
        n: N.

    Returns:
        (N,) codes 0 … P-1.
    """
    if subjects is None:
        return np.arange(n)
    # The kind keeps the image of an unknown person apart from a person called "3".
    keys = [("person", s) if s is not None else ("image", i) for i, s in enumerate(subjects)]
    numbers: dict[tuple[str, str | int], int] = {}
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(keys))


def confusion_cells(truth: Ints, prediction: Ints, n_classes: int) -> Additive:
    """A confusion matrix as sums; images with truth or prediction < 0 do not take part."""
    cells = np.where((truth >= 0) & (prediction >= 0), truth * n_classes + prediction, -1)
    return Additive(cells=cells.astype(np.int32), n_cells=n_classes**2)


def resample(
    sums: Mapping[str, Additive], clusters: Ints, *, n_resamples: int, seed: int
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
    kept = {name: per_cluster(s, clusters) for name, s in sums.items() if small}
    start = 0
    for weights in _weights(n_clusters, n_resamples, seed):
        stop = start + len(weights)
        for name, entry in sums.items():
            table = kept[name] if small else per_cluster(entry, clusters)
            results[name][start:stop] = weights @ table
        start = stop
    return results


def per_cluster(entry: Additive, clusters: Ints) -> Draws:
    """Sums of each person; (P, n_cells)."""
    n_clusters = int(clusters.max()) + 1
    taking_part = entry.cells >= 0
    cells = clusters[taking_part] * entry.n_cells + entry.cells[taking_part]
    values = None if entry.values is None else entry.values[taking_part]
    flat = np.bincount(cells, weights=values, minlength=n_clusters * entry.n_cells)
    return flat.reshape(n_clusters, entry.n_cells).astype(np.float32)


def grouped(clusters: Ints, seed: int) -> Ints:
    """The clusters that ``resample`` draws: persons, or random groups of them above 4,000."""
    n_clusters = int(clusters.max()) + 1
    if n_clusters <= _MOST_CLUSTERS:
        return clusters
    group_of = np.random.default_rng([seed, 1]).permutation(n_clusters) % _MOST_CLUSTERS
    return np.asarray(group_of[clusters])


def interval(draws: Floats | Draws, *, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of bootstrap draws; None when fewer than half of them are defined."""
    defined = draws[~np.isnan(draws)]
    if 2 * len(defined) < len(draws) or not len(defined):
        return None
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def rank_bins(score: Floats, positive: Flags, n_bins: int = 200) -> Additive:
    """A ranking as sums: positives and negatives per bin of rank; equal scores share a bin.

    AUROC itself is no sum over images; with 200 bins of equal mass its error is below 1e-4, far
    inside any interval.
    """
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    middles = np.cumsum(sizes) - sizes / 2.0
    bins = (middles * n_bins / len(score)).astype(np.int64)[group]
    return Additive(cells=(2 * bins + positive).astype(np.int32), n_cells=2 * n_bins)


def auroc_from_bins(counts: Floats | Draws) -> Floats:
    """AUROC of (..., 2B) counts from ``rank_bins``; (...), NaN where one side is empty."""
    counts = counts.astype(np.float64)
    negative, positive = counts[..., 0::2], counts[..., 1::2]
    below = np.cumsum(negative, axis=-1) - negative / 2.0
    return ratio((positive * below).sum(axis=-1), positive.sum(axis=-1) * negative.sum(axis=-1))


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
    low, high = np.quantile(abs(resampled).sum(axis=1), [0.025, 0.975]).tolist()
    noise = float(np.quantile(abs(resampled - found).sum(axis=1), 0.975))
    lower = 0.0 if ece <= noise else max(0.0, 2.0 * ece - high)
    return lower, max(ece, (2.0 * ece - low + high) / 2.0)


def _weights(n_clusters: int, n_resamples: int, seed: int) -> Iterator[Singles]:
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


@dataclass(frozen=True, slots=True)
class Gap:
    """Best minus worst of G groups.

    Attributes:
        best: Position of the highest group.
        worst: Position of the lowest group.
        difference: Highest minus lowest, >= 0.
        expected: What it is on average where all groups are alike: it is never zero.
        low: Lower end of the 95% interval of the true gap; zero unless the test rejects.
        high: Upper end.
        p_value: Chance of a gap at least as large where all groups are alike.
    """

    best: int
    worst: int
    difference: float
    expected: float
    low: float
    high: float
    p_value: float


def largest_gap(values: Floats, draws: NDArray[Any], persons: Floats) -> Gap | None:
    """Test the range of several groups with a max-statistic bootstrap.

    The draws around the groups' own values show how far chance moves them; the range of these
    movements is the law of the range under no difference. Draws of few persons vary too little, so
    they are stretched: by n / (n - 1) in variance, and by a t quantile in place of the normal one.

    Args:
        values: (G,) score of each group, G >= 2.
        draws: (R, G) the same, resampled jointly; undefined draws are NaN and left out.
        persons: (G,) effective persons in each group (``few.effective``; images, where no persons
            are known), > 1.

    Returns:
        The gap; None where fewer than half of the draws are defined.
    """
    defined = draws[~np.isnan(draws).any(axis=1)].astype(np.float64)
    if 2 * len(defined) < len(draws):
        return None
    free = np.maximum(persons - 1.0, 1.0)
    # As in Tukey's studentised range, the spreads of all groups together carry the uncertainty.
    pooled = t_quantile(float(free.sum())) / NORMAL
    moved = (defined - values) * np.sqrt(np.maximum(persons, 1.0) / free) * pooled
    ranges = moved.max(axis=1) - moved.min(axis=1)
    best, worst = int(values.argmax()), int(values.argmin())
    gap = float(values[best] - values[worst])
    # The truly best and worst are some pair, so no pair's upper limit can be left out of account.
    covariance = np.atleast_2d(np.cov(moved, rowvar=False))
    own = np.diag(covariance)
    spread = np.sqrt(np.maximum(own[:, None] + own[None, :] - 2.0 * covariance, 0.0))  # (G, G)
    return Gap(
        best=best,
        worst=worst,
        difference=gap,
        expected=float(ranges.mean()),
        low=max(0.0, gap - float(np.quantile(ranges, 0.95))),
        high=float((values[:, None] - values[None, :] + NORMAL * spread).max()),
        p_value=float((1 + (ranges >= gap).sum()) / (1 + len(ranges))),
    )


def distinct_draws(rng: np.random.Generator, below: Ints, count: int) -> Ints:
    """Draw without replacement from many ranges at once, in time that does not depend on them.

    Floyd's algorithm (Bentley and Floyd 1987, "Programming pearls: a sample of brilliance",
    Communications of the ACM 30): every set is as likely.

    Args:
        rng: For the draws.
        below: (Q,) sizes of the ranges, ``count`` at least.
        count: How many of each, C.

    Returns:
        (Q, C) different numbers a row, from 0 up to below the row's size.
    """
    found = np.empty((len(below), count), np.int64)
    for k in range(count):
        last = below - count + k
        drawn = rng.integers(0, last + 1)
        found[:, k] = np.where((found[:, :k] == drawn[:, None]).any(axis=1), last, drawn)
    return found
