"""One series of values in time: its mean with an interval, and the stretches in which it changed.

Neighbouring values of such a series are alike, so that n of them say less than n. Both functions
read from the series itself how long that likeness lasts: nothing here assumes a block length.
Neither assumes a shape of the distribution. Pure numpy; knows no measures. N values, C stretches.

The interval: the variance of the mean is taken from the slowest parts of the series (its first
cosines, after a first-order autoregression has been taken out), where likeness of neighbours
shows, and averaged, two to one, with the variance of the means of 24 blocks. A Student interval
with the number of cosines as degrees of freedom covers 95% for memories up to a twentieth of the
recording; the bootstrap over blocks of 10 s that stood here covered 37 to 74%
(benchmarks/honesty_series.py).

The changes: means over stretches of 4 s to 2 min are held against the mean of the whole or of a
baseline. What counts as large is what the same series does when its phases are drawn at random:
same values, same memory, no event. The largest of all stretches and lengths is compared with the
largest of each such draw, so the chance of finding anything where nothing changes is bounded for
the whole series, not for each stretch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nunbit.errors import InputError
from nunbit.streams import Flags, Floats

Side = Literal["both", "up", "down"]

MIN_INDEPENDENT = 20
"""Fewer values that do not repeat their neighbours give no interval: it could not keep its 95%."""

COSINES = 8
"""Slowest parts that the variance of a mean is read from; more would reach into faster ones."""

STUDENT_8 = 2.3060041350333704
"""97.5% of Student's t with 8 degrees of freedom."""

BLOCKS = 24
"""Of which the second opinion on that variance is made; 2.5 min in an hour."""

SURE = 1.6448536269514722
"""Standard errors between the likeness found and the largest one that it may well be (95%)."""

WIDEN = 6.0
"""Uncertainty of the likeness itself: widens by 1 + 6 / n, of no weight from some 100 on."""

MIN_VALUES = 30
"""Fewer values are no series in which a change could be told from chance."""

LEVEL = 0.02
"""Nominal chance of any change where nothing changes; 5% is kept with it (see the benchmark)."""

REST = 4
"""Lengths of a stretch that a series needs besides it, to be held against the rest."""

DRAWS = 299
REFINED = 4
"""Rounds that give draws of a series with equal values (a share that is often 0) its memory back,
which drawing by rank weakens (Schreiber & Schmitz 1996)."""

SHORTEST_S, LONGEST_S, GROWTH = 4.0, 120.0, 1.5
MIN_FILLED = 2.0 / 3.0
ROUNDS = 3
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """Mean of a series and how well it is known.

    Attributes:
        mean: Of the values that are there; NaN without any.
        ci95: 95% interval of the mean, or None where none can be given.
        reason: Why there is no interval, else None: ``too_few`` (no or one value),
            ``constant``, ``too_few_independent``.
        n_independent: Independent values that the series is worth at least; NaN if unknown.
    """

    mean: float
    ci95: tuple[float, float] | None
    reason: str | None
    n_independent: float


@dataclass(frozen=True, slots=True)
class LongRun:
    """How well a sum over a series is known.

    Attributes:
        error: Standard error of the sum, widened for what is not known about the memory.
        n_independent: Lower 95% bound of the number of independent values.
        reason: '' or why no interval may be made of it.
    """

    error: float
    n_independent: float
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """A stretch whose mean is farther from the usual one than chance brings about.

    Attributes:
        start: Index of its first value.
        end: Index after its last.
        up: Whether its mean is above.
        z: Distance in units of what only ``level`` of the draws reach: above 1.
    """

    start: int
    end: int
    up: bool
    z: float


def summarise(values: ArrayLike, hop_s: float, seed: int = 0) -> SeriesSummary:
    """Mean of a series of autocorrelated values, with a 95% interval where one can be given.

    Args:
        values: (N,) at equal steps, NaN where missing.
        hop_s: Step, seconds.
        seed: Of no effect (nothing is drawn); here so that all statistics are called alike.

    Raises:
        InputError: The values are not one row of numbers, or the step is not positive.
    """
    del seed
    series = _series(values, hop_s)
    there = np.isfinite(series)
    n = int(there.sum())
    mean = float(series[there].mean()) if n else math.nan
    found = long_run(np.where(there, series - mean, 0.0), there)
    if found.reason:
        return SeriesSummary(mean, None, found.reason, found.n_independent)
    half = STUDENT_8 * found.error / n
    return SeriesSummary(mean, (mean - half, mean + half), None, found.n_independent)


def find_changes(
    values: ArrayLike,
    hop_s: float,
    baseline: tuple[float, float] | None = None,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Stretches in which a series differs from its mean or baseline by more than chance.

    Where nothing changes, at most one series in twenty has any, whatever its memory. Found are
    stretches of 4 s or more; a series of fewer than 30 values, or one that does not vary, has none.

    Args:
        values: (N,) at equal steps, NaN where missing; value i stands for [i, i + 1) steps.
        hop_s: Step, seconds.
        baseline: Start and end of the stretch to compare with, seconds; None: the whole series.
        seed: Of the draws.

    Returns:
        (start, end) in seconds, by start; they do not overlap.

    Raises:
        InputError: The values are not one row of numbers, the step is not positive, or the
            baseline has no value.
    """
    series = _series(values, hop_s)
    usual = None
    if baseline is not None:
        usual = np.zeros(len(series), bool)
        first, last = (round(edge / hop_s) for edge in baseline)
        usual[max(first, 0) : max(last, 0)] = True
        if not (usual & np.isfinite(series)).any():
            raise InputError(
                en=f"baseline {baseline[0]:g}–{baseline[1]:g} s: no value lies in it; "
                "choose a stretch of the series that has values",
                ko=f"기준 구간 {baseline[0]:g}–{baseline[1]:g}초: 값이 하나도 없습니다. "
                "값이 있는 구간을 지정하십시오",
            )
    found = scan(series, hop_s, usual=usual, seed=seed)
    return [(each.start * hop_s, each.end * hop_s) for each in found]


def _series(values: ArrayLike, hop_s: float) -> Floats:
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or np.isinf(series).any():
        raise InputError(
            en=f"series: expected one row of finite numbers or NaN, got shape {series.shape}",
            ko=f"계열: 유한한 수 또는 NaN의 한 줄이어야 하는데 모양이 {series.shape}입니다",
        )
    if not (math.isfinite(hop_s) and hop_s > 0):
        raise InputError(
            en=f"hop_s: expected seconds above 0, got {hop_s}",
            ko=f"hop_s: 0보다 큰 초여야 하는데 {hop_s}입니다",
        )
    return series


def long_run(deviations: Floats, there: Flags) -> LongRun:
    """How well the sum of a stationary series is known, from the series itself.

    Missing values are zeros, which is what they add to the sum (Parzen's amplitude modulation).

    Args:
        deviations: (N,) that sum to zero, 0 where missing.
        there: (N,) what is not missing.
    """
    n = int(there.sum())
    if n < 2:
        return LongRun(math.nan, math.nan, "too_few")
    # Zeros before the first and after the last value are outside the recording.
    first, last = np.flatnonzero(there)[[0, -1]]
    d, here = deviations[first : last + 1], there[first : last + 1]
    variance = float(d @ d) / n
    if variance <= (_TINY * float(np.abs(d).max(initial=0.0))) ** 2 or n <= MIN_INDEPENDENT:
        return LongRun(math.nan, float(n), "constant" if variance == 0 else "too_few_independent")
    independent = memory(d[None], here[None]).independent(n, SURE)
    if independent < MIN_INDEPENDENT:
        return LongRun(math.nan, independent, "too_few_independent")
    phi = likeness(d[None], here[None], 1)
    power = (2.0 * _slow_power(d, phi) + _block_power(d)) / 3.0
    error = math.sqrt(power * len(d) * (1.0 + WIDEN / independent))
    return LongRun(error, independent, "")


@dataclass(frozen=True, slots=True)
class Memory:
    """For how long the values of a series are alike.

    Attributes:
        lag: Steps after which they are half alike at most.
        likeness: Their correlation over this lag.
        n: Values it was estimated from.
    """

    lag: int
    likeness: float
    n: int

    def independent(self, n: int, sure: float = 0.0) -> float:
        """How many independent values n of them are worth.

        Args:
            n: Values.
            sure: Standard errors to be on the safe side.
        """
        error = math.sqrt(max(1.0 - self.likeness**2, 0.0) * self.lag / self.n)
        most = min(max(self.likeness + sure * error, 0.0), 1.0 - self.lag / max(n, self.lag + 1))
        return n / self.lag * (1.0 - most) / (1.0 + most)

    def freedom(self, n: int) -> float:
        """Degrees of freedom of the variance of n values: squares forget sooner (Bartlett 1946)."""
        square = max(self.likeness, 0.0) ** 2
        return max(n / self.lag * (1.0 - square) / (1.0 + square) - 1.0, 1.0)


def memory(d: Floats, here: Flags) -> Memory:
    """Memory of a series, read at the lag where its values are half alike.

    At the first lag already, overlapping windows and smooth series look more alike than the
    seconds behind them are.

    Args:
        d: (M, N) deviations from the mean of each row, 0 where missing, not all 0; N > 3.
        here: (M, N) what is not missing.
    """
    lag, n = 1, int(here.sum())
    while lag < d.shape[1] // 10 and _alike(d, here, lag) >= 0.5:
        lag += 1
    return Memory(lag, likeness(d, here, lag), n)


def _alike(d: Floats, here: Flags, lag: int) -> float:
    n, pairs = int(here.sum()), int((here[:, lag:] & here[:, :-lag]).sum())
    raw = float((d[:, lag:] * d[:, :-lag]).sum()) / max(pairs, 1)
    return raw / (float((d * d).sum()) / n)


def likeness(d: Floats, here: Flags, lag: int) -> float:
    """Correlation over a lag, without the bias that taking out the means of the rows brings."""
    n = here.sum() / len(d) / lag
    # Kendall 1954: E raw = phi - (1 + 3 phi) / n
    corrected = (_alike(d, here, lag) * n + 1.0) / max(n - 3.0, 1.0)
    return float(np.clip(corrected, -0.5, 1.0 - 1.0 / max(n, 2.0)))


def _slow_power(d: Floats, phi: float) -> float:
    """Long-run variance from the first cosines of what the autoregression leaves unexplained."""
    rest = d.copy()
    rest[1:] -= phi * d[:-1]
    rest[0] *= math.sqrt(1.0 - phi * phi)
    parts = rest @ _cosines(len(d))
    return float(parts @ parts) / COSINES / (1.0 - phi) ** 2


@lru_cache(maxsize=8)
def _cosines(n: int) -> Floats:
    at = (np.arange(n) + 0.5) / n
    waves: Floats = np.sqrt(2.0 / n) * np.cos(np.pi * np.outer(at, np.arange(1, COSINES + 1)))
    return waves


def _block_power(d: Floats) -> float:
    """Long-run variance from sums over blocks and the likeness of neighbouring ones."""
    edges = np.arange(BLOCKS) * len(d) // BLOCKS
    sums = np.add.reduceat(d, edges)
    total = float(sums @ sums)
    if total == 0:
        return 0.0
    raw = float(sums[1:] @ sums[:-1]) / total * BLOCKS / (BLOCKS - 1)
    phi = float(np.clip((raw * BLOCKS + 1.0) / (BLOCKS - 3.0), 0.0, 0.97))
    return total / len(d) * (1.0 + phi) / (1.0 - phi)


def scan(
    values: Floats,
    hop_s: float,
    *,
    usual: Flags | None = None,
    side: Side = "both",
    level: float = LEVEL,
    seed: int = 0,
) -> list[Change]:
    """Stretches that differ from the usual mean, with a bounded chance of any where nothing does.

    After the strongest have been found they are taken out and the rest is searched again, so that
    one event does not hide another.

    Args:
        values: (N,) at equal steps, NaN where missing.
        hop_s: Step, seconds.
        usual: (N,) values whose mean is the usual one; None takes all.
        side: Whether stretches above, below or both are asked about.
        level: Chance of any stretch in a series without change.
        seed: Of the draws.

    Returns:
        By start; they do not overlap.
    """
    rest = np.array(values, np.float64)
    found: list[Change] = []
    for round_ in range(ROUNDS):
        base = None if usual is None else usual & np.isfinite(rest)
        more = _scan_once(rest, hop_s, base, side, level, seed + round_)
        if not more:
            break
        found += more
        for each in more:
            rest[each.start : each.end] = np.nan
    return sorted(found, key=lambda each: each.start)


def _scan_once(
    values: Floats, hop_s: float, usual: Flags | None, side: Side, level: float, seed: int
) -> list[Change]:
    measured = _held_against_draws(values, hop_s, usual, side, seed)
    if not measured:
        return []
    rank = max(math.floor(level * (DRAWS + 1)), 1)
    # Two ways of measuring, one chance: each in units of what only `level` of the draws reach.
    bars = [float(np.sort(highest[1:])[-rank]) for _, highest in measured]
    units = [highest / bar for (_, highest), bar in zip(measured, bars, strict=True)]
    together = np.maximum.reduce(units)
    bar = float(np.sort(together[1:])[-rank])
    if together[0] <= bar:
        return []
    observed: dict[int, Floats] = {}
    for (distances, _), unit in zip(measured, bars, strict=True):
        for width, z in distances.items():
            best = observed.get(width, np.zeros_like(z))
            observed[width] = np.where(np.abs(z) / unit > np.abs(best), z / unit, best)
    return _strongest(observed, measured[0][0], bar, side)


_Measured = tuple[dict[int, Floats], Floats]


def _held_against_draws(
    values: Floats, hop_s: float, usual: Flags | None, side: Side, seed: int
) -> list[_Measured]:
    """How far every stretch lies from the usual mean, and the farthest of series and draws.

    Two ways: in standard deviations of means over that width in all draws, which finds short
    changes; and in those of the rest of the same series, which finds a long or large one that
    makes its own draws wild.

    Returns:
        For each way: width in values -> (places,) distances, 0 where too little is there; and
        (1 + DRAWS,) the farthest, of the series itself first. Empty where nothing can be compared.
    """
    there = np.isfinite(values)
    known = values[there]
    if len(known) < MIN_VALUES or np.ptp(known) <= _TINY * np.abs(known).max():
        return []
    base = there if usual is None else usual & there
    if not base.any():
        return []
    grown = _running_sums(known, there, base, seed)
    filled = np.concatenate([[0], np.cumsum(there)])
    ways: list[_Measured] = [({}, np.full(DRAWS + 1, -np.inf)) for _ in range(2)]
    for width in _widths(len(values), hop_s):
        count = filled[width:] - filled[:-width]
        open_ = count >= MIN_FILLED * width
        if not open_.any():
            continue
        distance = grown[:, width:] - grown[:, :-width]
        if not open_.all():
            distance = distance[:, open_]
        distance /= count[open_].astype(np.float32)
        scaled = [distance / distance[1:].std()]
        if distance.shape[1] >= REST * width:
            scaled.append(_against_the_rest(distance, width, centred=usual is None))
        for (observed, highest), z in zip(ways, scaled, strict=False):
            above, below = z.max(axis=1), -z.min(axis=1)
            reached = {"up": above, "down": below, "both": np.maximum(above, below)}[side]
            # Against the rest, short and long stretches spread unlike: each in its own unit.
            unit = 1.0 if observed is ways[0][0] else float(np.median(reached[1:]))
            np.maximum(highest, reached / unit, out=highest)
            observed[width] = np.zeros(len(count))
            observed[width][open_] = z[0] / unit
    return [way for way in ways if way[0]]


def _running_sums(known: Floats, there: Flags, base: Flags, seed: int) -> NDArray[np.float32]:
    """(1 + DRAWS, n + 1) sums up to each place of the series and its draws, less the usual mean."""
    scores = np.full(len(there), np.nan)
    scores[there] = normal_scores(known)
    first, last = np.flatnonzero(there)[[0, -1]]
    rows = np.zeros((DRAWS + 1, len(there)))
    rows[0, there] = scores[there]
    rng = np.random.default_rng(seed)
    rows[1:, first : last + 1] = _without_events(_filled(scores[first : last + 1], rng), rng)
    rows -= rows[:, base].mean(axis=1, keepdims=True)
    rows[:, ~there] = 0.0
    grown = np.zeros((DRAWS + 1, len(there) + 1), np.float32)
    np.cumsum(rows, axis=1, out=grown[:, 1:])
    return grown


def _against_the_rest(
    distance: NDArray[np.float32], width: int, *, centred: bool
) -> NDArray[np.float32]:
    """(rows, places) means in standard deviations of the means that share no value with them."""
    n = distance.shape[1]
    at = np.arange(n)
    others = (n - (np.minimum(at + width, n) - np.maximum(at - width + 1, 0))).astype(np.float32)

    def rest(values: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = np.zeros((len(values), n + 2 * width - 1), np.float32)
        np.cumsum(values, axis=1, out=sums[:, width : width + n])
        sums[:, width + n :] = sums[:, width + n - 1, None]
        near = sums[:, 2 * width - 1 : 2 * width - 1 + n] - sums[:, :n]
        return np.asarray((sums[:, -1:] - near) / others)

    mean = rest(distance)
    spread = np.sqrt(np.maximum(rest(distance**2) - mean**2, 1e-6))
    return np.asarray((distance - mean if centred else distance) / spread)


def _filled(scores: Floats, rng: np.random.Generator) -> Floats:
    """(n,) gaps filled with what a first-order autoregression may well have done in them.

    Leaving a gap out would join values that are not neighbours and shorten the memory; a straight
    line across it would lengthen it.

    Args:
        scores: (n,) about normal, NaN in gaps, not at the ends.
        rng: For the draw.
    """
    there = np.isfinite(scores)
    if there.all():
        return scores
    at, missing = np.flatnonzero(there), np.flatnonzero(~there)
    d = np.where(there, scores, 0.0)
    phi = float(np.clip(likeness(d[None], there[None], 1), 0.0, 0.999))
    path = _autoregression(len(scores), phi, rng)
    right = at[np.searchsorted(at, missing)]
    left = at[np.searchsorted(at, missing) - 1]
    near, far = (missing - left).astype(np.float64), (right - missing).astype(np.float64)
    # Of a first-order process only the two edges of a gap matter; this is their exact weight.
    whole = np.maximum(1.0 - phi ** (2.0 * (near + far)), _TINY)
    from_left = phi**near * (1.0 - phi ** (2.0 * far)) / whole
    from_right = phi**far * (1.0 - phi ** (2.0 * near)) / whole
    filled = scores.copy()
    filled[missing] = (
        path[missing]
        + from_left * (scores[left] - path[left])
        + from_right * (scores[right] - path[right])
    )
    return filled


def _autoregression(n: int, phi: float, rng: np.random.Generator) -> Floats:
    """(n,) a first-order autoregression of variance one."""
    step, path = math.sqrt(1.0 - phi * phi), rng.standard_normal(n)
    for i in range(1, n):
        path[i] = phi * path[i - 1] + step * path[i]
    return path


def _without_events(scores: Floats, rng: np.random.Generator) -> Floats:
    """(DRAWS, n) series with the same values and memory, whose phases are drawn at random."""
    n, ranked = len(scores), np.sort(scores)
    size = np.abs(np.fft.rfft(scores))
    parts = size * np.exp(2j * np.pi * rng.random((DRAWS, len(size))))
    for _ in range(1 + REFINED * bool((np.diff(ranked) == 0).any())):
        drawn = np.fft.irfft(parts, n=n, axis=1)
        # The same values exactly: else one rare value would weigh less in the draws.
        made = np.empty_like(drawn)
        np.put_along_axis(made, np.argsort(drawn, axis=1), ranked[None, :], axis=1)
        parts = np.fft.rfft(made, axis=1)
        parts *= size / np.maximum(np.abs(parts), _TINY)
    return made


def _widths(n: int, hop_s: float) -> list[int]:
    """Lengths of stretches in values: from 4 s by half to 2 min or a quarter of the series."""
    longest = min(LONGEST_S, n * hop_s / 4.0)
    widths, length = [], SHORTEST_S
    while length <= longest + _TINY:
        widths.append(max(round(length / hop_s), 1))
        length *= GROWTH
    return sorted(set(widths))


def _strongest(
    observed: dict[int, Floats], plain: dict[int, Floats], bar: float, side: Side
) -> list[Change]:
    """Stretches above the bar, the strongest first, none touching another.

    Where it lies is read from the plain distances: held against the rest, a stretch much longer
    than the change may look the strongest.
    """
    sign = {"both": 0.0, "up": 1.0, "down": -1.0}[side]
    judged = {w: np.abs(z) if not sign else sign * z for w, z in observed.items()}
    found: list[Change] = []
    while True:
        width = max(judged, key=lambda w: judged[w].max())
        start = int(judged[width].argmax())
        if not judged[width][start] > bar:
            return found
        start, width = _place(judged, plain, (start, start + width), bar)
        end, z = start + width, float(observed[width][start])
        found.append(Change(start, end, z > 0, abs(z)))
        for other, places in judged.items():
            places[max(start - other + 1, 0) : end] = -np.inf


def _place(
    judged: dict[int, Floats], plain: dict[int, Floats], found: tuple[int, int], bar: float
) -> tuple[int, int]:
    """Start and width of the stretch above the bar that lies farthest off, touching the found."""
    best = (-1.0, found[0], found[1] - found[0])
    for width, places in judged.items():
        near = slice(max(found[0] - width + 1, 0), found[1])
        size = np.where(places[near] > bar, np.abs(plain[width][near]), -1.0)
        if len(size) and size.max() > best[0]:
            best = (float(size.max()), near.start + int(size.argmax()), width)
    return best[1], best[2]


@lru_cache(maxsize=8)
def _scores_of_ranks(n: int) -> Floats:
    """(n,) what ranks 1 to n are worth on a normal distribution (Blom 1958)."""
    bell = NormalDist()
    return np.array([bell.inv_cdf((rank - 0.375) / (n + 0.25)) for rank in range(1, n + 1)])


def normal_scores(values: Floats) -> Floats:
    """(n,) values by their rank as if they were normal, equal ones alike.

    So a bounded or skewed series becomes comparable with what random phases make of it.
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    edges = np.concatenate([[0], np.cumsum(count)])
    total = np.concatenate([[0.0], np.cumsum(_scores_of_ranks(len(values)))])
    per_level = (total[edges[1:]] - total[edges[:-1]]) / count
    return np.asarray(per_level[place])
