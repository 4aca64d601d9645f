"""Finding the right moment: of twenty windows of a person, which belongs to this one?

Candidates of the same person at other times cannot be told by who it is, only by how they are.
Retrieval among other people is reported apart: it can be near perfect with nothing learned about
state. Chance is 1 in 20 for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.table import WindowTable
from nunbit.metrics.bootstrap import Additive, interval, resample
from nunbit.streams import Flags, Singles

Codes = NDArray[np.int64]
Against = Literal["same", "others"]

_SAME_S = 1e-9


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How moments are told apart.

    Attributes:
        n_candidates: The right window and so many less one.
        apart_s: Candidates of the same recording start at least so far from the right window.
        n_shifts: Shifts of time of the null.
        seed: Of the choice of candidates and of the bootstrap.
        n_resamples: Of people.
    """

    n_candidates: int = 20
    apart_s: float = 8.0
    n_shifts: int = 4
    seed: int = 0
    n_resamples: int = 1000


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the right window stood.

    Attributes:
        rank: (Q,) 1 is best; the expected rank where candidates are equally near, so 1.5 and the
            like occur.
        first: (Q,) probability of being first, ties shared.
        five: (Q,) probability of being among the first five.
        person: (Q,) whose window it was.
        n_skipped: Windows with both modalities but too few others of the person far enough away.
    """

    rank: NDArray[np.float64]
    first: NDArray[np.float64]
    five: NDArray[np.float64]
    person: Codes
    n_skipped: int

    def __len__(self) -> int:
        return len(self.rank)


def ranks_of(
    table: WindowTable,
    query: Singles,
    answer: Singles,
    settings: RetrievalSettings,
    *,
    against: Against = "same",
    pool: Codes | None = None,
    shift: int = 0,
) -> Ranks:
    """Rank the right window among candidates for every window that has both.

    Args:
        table: Recording, person and time of the N windows.
        query: (N, E) unit rows, NaN where missing.
        answer: (N, E) of the other modality.
        settings: How.
        against: Candidates are of the same person at other times, or of other people.
        pool: (N,) candidates come from the same pool only (the same fold); None means one pool.
        shift: For the null: the "right" window is so many windows later in the recording, around
            its end.
    """
    both = _both(query, answer)
    pool = np.zeros(len(table), np.int64) if pool is None else pool
    rng = np.random.default_rng([settings.seed, shift, against == "others"])
    right = _shifted(table, both, shift)
    wanted = settings.n_candidates - 1
    usable = np.flatnonzero(both)
    groups = pool if against == "others" else table.person
    ranks, first, five, whose = [], [], [], []
    skipped = 0
    for group in np.unique(groups[usable]):
        inside = usable[groups[usable] == group]
        if against == "same" and len(np.unique(pool[inside])) > 1:
            raise ValueError("a person's windows are in several pools")
        for row in inside:
            free = inside[_eligible(table, inside, int(right[row]), settings, against)]
            if len(free) < wanted:
                skipped += 1
                continue
            # Random keys choose without replacement, and need no call per draw.
            chosen = free[np.argpartition(rng.random(len(free)), wanted - 1)[:wanted]]
            near = float(query[row] @ answer[right[row]])
            scores = answer[chosen] @ query[row]
            above, equal = (
                int((scores > near + 1e-7).sum()),
                int((np.abs(scores - near) <= 1e-7).sum()),
            )
            ranks.append(1.0 + above + equal / 2.0)
            first.append(1.0 / (1 + equal) if above == 0 else 0.0)
            five.append(min(1.0, max(0.0, (5 - above) / (1 + equal))))
            whose.append(int(table.person[row]))
    return Ranks(
        np.array(ranks), np.array(first), np.array(five), np.array(whose, np.int64), skipped
    )


def _both(query: Singles, answer: Singles) -> Flags:
    return np.asarray(np.isfinite(query).all(axis=1) & np.isfinite(answer).all(axis=1))


def _shifted(table: WindowTable, both: Flags, shift: int) -> Codes:
    """(N,) the window that counts as right: the window itself, or one later in its recording."""
    right = np.arange(len(table))
    if not shift:
        return right
    for recording in np.unique(table.recording):
        rows = np.flatnonzero((table.recording == recording) & both)
        right[rows] = np.roll(rows, -shift)
    return right


def _eligible(
    table: WindowTable, rows: Codes, right: int, settings: RetrievalSettings, against: Against
) -> Flags:
    if against == "others":
        return np.asarray(table.person[rows] != table.person[right])
    apart = np.abs(table.start_s[rows] - table.start_s[right]) >= settings.apart_s - _SAME_S
    return np.asarray(apart | (table.recording[rows] != table.recording[right]))


def time_shift_null(
    table: WindowTable, query: Singles, answer: Singles, settings: RetrievalSettings
) -> float | None:
    """R@1 within the person when time is shifted: what chance gives on these very windows.

    Shifts are spread evenly over the shortest recording, at least ``apart_s`` from either end.
    None where a recording is too short for that.
    """
    both = _both(query, answer)
    counts = np.bincount(table.recording[both]) if both.any() else np.zeros(1, np.int64)
    counts = counts[counts > 0]
    steps = np.diff(table.start_s)
    hop = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    least = int(np.ceil(settings.apart_s / hop))
    if not len(counts) or counts.min() < 2 * least + 1:
        return None
    shifts = np.unique(np.linspace(least, counts.min() - least, settings.n_shifts).astype(int))
    found = [ranks_of(table, query, answer, settings, shift=int(s)).first for s in shifts]
    values = np.concatenate(found)
    return float(values.mean()) if len(values) else None


def recall_summary(ranks: Ranks, settings: RetrievalSettings) -> dict[str, object] | None:
    """R@1, R@5 and median rank with 95% intervals over people; None without a query."""
    n = len(ranks)
    if not n:
        return None
    _, person = np.unique(ranks.person, return_inverse=True)
    # A rank of 3.5 counts half in 3 and half in 4.
    low = np.floor(ranks.rank).astype(np.int64)
    ones = np.zeros(n, np.int32)
    most = settings.n_candidates + 1
    halves = np.where(ranks.rank > low, 0.5, 1.0)
    sums = {
        "n": Additive(ones, 1),
        "first": Additive(ones, 1, ranks.first),
        "five": Additive(ones, 1, ranks.five),
        "low": Additive(low.astype(np.int32), most, halves),
        "high": Additive(np.where(ranks.rank > low, low + 1, -1).astype(np.int32), most, halves),
    }
    several = len(np.unique(person)) > 1
    draws = resample(sums, person, n_resamples=settings.n_resamples, seed=settings.seed)
    intervals = {
        "r1": interval(draws["first"][:, 0] / draws["n"][:, 0]),
        "r5": interval(draws["five"][:, 0] / draws["n"][:, 0]),
        "median_rank": interval(_medians(draws["low"] + draws["high"])),
    }
    return {
        "n": n,
        "n_people": len(np.unique(person)),
        "n_skipped": ranks.n_skipped,
        "r1": float(ranks.first.mean()),
        "r5": float(ranks.five.mean()),
        "median_rank": float(np.median(ranks.rank)),
        "ci95": {k: None if v is None or not several else list(v) for k, v in intervals.items()},
    }


def _medians(counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """(R,) median rank of (R, C) counts per rank."""
    cumulated = np.cumsum(counts.astype(np.float64), axis=1)
    half = cumulated[:, -1:] / 2.0
    return np.asarray((cumulated < half).sum(axis=1), np.float64)
