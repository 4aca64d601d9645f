"""Find stretches in which a time series changed by more than chance explains.

Means over stretches of 4 s to 2 min are compared with the mean of the series or of a baseline. The
threshold comes from surrogates, the same series with random phases: the same values and memory, but
no event. The largest distance over all stretches and lengths is compared with the largest of each
surrogate, so the probability of a false finding is bounded for the whole series, not for each
stretch. How long neighbours are alike, and the shape of the distribution, are read from the series,
not assumed. Pure numpy; knows no measures. N values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import Flags, Floats, Singles
from nunbit.statistics.series import SURE, likeness, memory, normal_scores, series_of

Side = Literal["both", "up", "down"]

MIN_VALUES = 30
"""Fewer values are no series in which a change could be told from chance."""

LEVEL = 0.02
"""Nominal chance of any change where nothing changes; 5% is kept with it (see the benchmark)."""

REST, KNOWN_REST = 4, 8
"""Lengths of a stretch that a series needs besides it, to be held against the rest: with draws that
had as few, and without any."""

STANDS_OUT = 5.0
"""Standard deviations of the rest below which no stretch is so large that its draws hide it; only
saves time. What is added to the level is one draw in 299 at most."""

SURELY, MIN_FORGETTING = 6.0, 40.0
"""Standard deviations that no draws are asked about, if the rest of the series is surely worth that
many independent values. They are counted twice, by the means found in the rest, of which there may
be few, and by what its memory makes of them."""

MOST_ALIKE = 0.5
"""Where more of the values are one and the same (a share that is mostly 0), the spread of the rest
says little of rare bursts: such a series is held against its draws alone."""

DRAWS = 299
REFINED = 4
"""Rounds that give draws of a series with equal values (a share that is often 0) its memory back,
which drawing by rank weakens (Schreiber & Schmitz 1996)."""

SHORTEST_S, LONGEST_S, GROWTH = 4.0, 120.0, 1.5
MIN_FILLED = 2.0 / 3.0
ROUNDS = 3
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Change:
    """A stretch whose mean differs from the usual one by more than chance explains.

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


def find_changes(
    values: ArrayLike,
    hop_s: float,
    baseline: tuple[float, float] | None = None,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Stretches in which a series differs from its mean or baseline by more than chance.

    Where nothing changes, at most about one series in twenty has any, whatever its memory; of two
    values only (yes or no) that stay for long, up to one in four. Found are stretches of 4 s or
    more; a series of fewer than 30 values, or one that does not vary, has none.

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
    series = series_of(values, hop_s)
    usual = None
    if baseline is not None:
        usual = np.zeros(len(series), bool)
        first, last = (round(edge / hop_s) for edge in baseline)
        usual[max(first, 0) : max(last, 0)] = True
        if not (usual & np.isfinite(series)).any():
            raise InputError(
                Text(
                    f"baseline {baseline[0]:g}–{baseline[1]:g} s: no value lies in it; "
                    "choose a stretch of the series that has values",
                    f"기준 구간 {baseline[0]:g}–{baseline[1]:g}초: 값이 하나도 없습니다. "
                    "값이 있는 구간을 지정하십시오",
                )
            )
    found = scan_series(series, hop_s, usual=usual, seed=seed)
    return [(each.start * hop_s, each.end * hop_s) for each in found]


def scan_series(
    values: Floats,
    hop_s: float,
    *,
    usual: Flags | None = None,
    side: Side = "both",
    level: float = LEVEL,
    seed: int = 0,
) -> list[Change]:
    """Stretches that differ from the usual mean, with a bounded probability of any false one.

    After the strongest have been found they are taken out and the rest is searched again, so that
    one event does not hide another.

    Args:
        values: (N,) at equal steps, NaN where missing.
        hop_s: Step, seconds.
        usual: (N,) values whose mean is the usual one; None takes all.
        side: Whether to look for stretches above, below or both.
        level: Probability of any stretch in a series without change.
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
    """Stretches above what only ``level`` of the draws reach; see :func:`_far_off` for the ways."""
    there = np.isfinite(values)
    known = values[there]
    if len(known) < MIN_VALUES or np.ptp(known) <= _TINY * np.abs(known).max():
        return []
    base = there if usual is None else usual & there
    if not base.any():
        return []
    grown = _running_sums(known, there, base, seed)
    plain = _far_off(grown, there, hop_s, side)
    if plain is None:
        return []
    bar = float(np.sort(plain.farthest[1:])[-max(math.floor(level * (DRAWS + 1)), 1)])
    if plain.farthest[0] > bar:
        return _strongest(plain.distance, plain.distance, bar, side)
    centred = usual is None
    alone = _far_off(grown[:1], there, hop_s, side, _Rest(centred, KNOWN_REST))
    if alone is None or alone.farthest[0] < STANDS_OUT:
        return []
    mostly_alike = np.unique(known, return_counts=True)[1].max() > MOST_ALIKE * len(known)
    if alone.farthest[0] > SURELY and not mostly_alike and _surely(values, alone.distance):
        return _strongest(alone.distance, plain.distance, SURELY, side)
    rest = _far_off(grown, there, hop_s, side, _Rest(centred, REST, in_units=True))
    if rest is None or rest.farthest[0] <= (bar := float(rest.farthest[1:].max())):
        return []
    return _strongest(rest.distance, plain.distance, bar, side)


def _surely(values: Floats, distance: dict[int, Floats]) -> bool:
    """Whether the strongest stretch lies far from the rest, which itself is known well.

    It must be worth many independent values; then the spread of its means follows from their
    number, and no draws are needed: those of a series with one long and very large change take it
    for a long memory.
    """
    width = max(distance, key=lambda w: float(np.abs(distance[w]).max()))
    start = int(np.abs(distance[width]).argmax())
    there = np.isfinite(values)
    scores = np.zeros(len(values))
    scores[there] = normal_scores(values[there])
    inside = there.copy()
    inside[:start], inside[start + width :] = False, False
    rest = there & ~inside
    usual, n = float(scores[rest].mean()), int(rest.sum())
    apart = np.where(rest, scores - usual, 0.0)
    if not apart.any():
        return False
    independent = memory(apart[None], rest[None]).independent(n, SURE)
    error = math.sqrt(float(apart @ apart) / independent / max(inside.sum(), 1))
    far = abs(float(scores[inside].mean()) - usual)
    return independent >= MIN_FORGETTING and far > SURELY * error


@dataclass(frozen=True, slots=True)
class _Rest:
    """Hold stretches against the rest of the same series.

    Attributes:
        centred: Whether the mean of the rest is the usual one.
        lengths: So many lengths of the stretch there must be at least.
        in_units: Whether each width gets its own unit: short and long stretches spread unlike.
    """

    centred: bool
    lengths: int
    in_units: bool = False


@dataclass(frozen=True, eq=False)
class _Measured:
    """How far stretches lie from the usual mean.

    Attributes:
        distance: Width in values -> (places,) of the series itself, 0 where too little is there.
        farthest: (rows,) of series and draws.
    """

    distance: dict[int, Floats]
    farthest: Floats


def _far_off(
    grown: Singles,
    there: Flags,
    hop_s: float,
    side: Side,
    rest: _Rest | None = None,
) -> _Measured | None:
    """How far every stretch lies from the usual mean, and the farthest of series and draws.

    Two ways: in standard deviations of means over that width in all draws, which finds most
    changes; and in those of the rest of the same series (``rest``), which finds a long and very
    large one that makes its own draws wild. None where nothing can be compared.
    """
    filled = np.concatenate([[0], np.cumsum(there)])
    observed: dict[int, Floats] = {}
    farthest = np.full(len(grown), -np.inf)
    for width in _widths(len(there), hop_s):
        count = filled[width:] - filled[:-width]
        open_ = count >= MIN_FILLED * width
        if not open_.any() or (rest is not None and open_.sum() < rest.lengths * width):
            continue
        z = grown[:, width:] - grown[:, :-width]
        if not open_.all():
            z = z[:, open_]
        z /= count[open_].astype(np.float32)
        if rest is None:
            z /= z[1:].std()
        else:
            z = _against_the_rest(z, width, centred=rest.centred)
        above, below = z.max(axis=1), -z.min(axis=1)
        reached = {"up": above, "down": below, "both": np.maximum(above, below)}[side]
        unit = float(np.median(reached[1:])) if rest is not None and rest.in_units else 1.0
        np.maximum(farthest, reached / unit, out=farthest)
        observed[width] = np.zeros(len(count))
        observed[width][open_] = z[0] / unit
    return _Measured(observed, farthest) if observed else None


def _running_sums(known: Floats, there: Flags, base: Flags, seed: int) -> Singles:
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


def _against_the_rest(distance: Singles, width: int, *, centred: bool) -> Singles:
    """(rows, places) means in standard deviations of the means that share no value with them."""
    n = distance.shape[1]
    at = np.arange(n)
    others = (n - (np.minimum(at + width, n) - np.maximum(at - width + 1, 0))).astype(np.float32)

    def rest(values: Singles) -> Singles:
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
    known = np.where(there, scores, 0.0)[None]
    phi = min(max(likeness(known, there[None], 1), 0.0), 0.999)
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
    step, drawn = math.sqrt(1.0 - phi * phi), rng.standard_normal(n).tolist()
    path = accumulate(drawn, lambda before, fresh: phi * before + step * fresh)
    return np.fromiter(path, np.float64, n)


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
    widths, length = set(), SHORTEST_S
    while length <= longest + _TINY:
        widths.add(max(round(length / hop_s), 1))
        length *= GROWTH
    return sorted(widths)


def _strongest(
    observed: dict[int, Floats], plain: dict[int, Floats], bar: float, side: Side
) -> list[Change]:
    """Stretches above the bar, the strongest first, none touching another.

    Where it lies is read from the plain distances: held against the rest, a stretch much longer
    than the change may look the strongest.
    """
    toward = {"both": np.abs, "up": np.positive, "down": np.negative}[side]
    judged = {w: toward(z) for w, z in observed.items()}
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
