"""Finding the right moment: of twenty windows of a person, which belongs to this one?

Candidates of the same person at other times cannot be told by who it is, only by how they are.
Retrieval among other people is reported apart: it can be near perfect with nothing learned about
state. Guessing finds 1 in 20, but what chance gives on real windows is measured: neighbours of the
right window are no candidates, and series that change slowly then find it more often than 1 in 20
without sharing anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.persons import Estimate, over_persons
from nunbit.alignment.table import WindowTable
from nunbit.streams import Flags, Floats, Singles

Codes = NDArray[np.int64]
Against = Literal["same", "others"]

_SAME_S = 1e-9
_SAME_COSINE = 1e-7

_BLOCK = 2_000_000
"""Scores compared at once (queries times windows): 16 MB, whatever the length of a recording."""


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How moments are told apart.

    Attributes:
        n_candidates: The right window and so many less one.
        apart_s: Candidates of the same recording start at least so far from the right window.
        n_shifts: Shifts of time of the null.
        seed: Of the choice of candidates.
    """

    n_candidates: int = 20
    apart_s: float = 8.0
    n_shifts: int = 4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the right window stood.

    Attributes:
        rank: (Q,) 1 is best; the expected rank where candidates are equally near, so 1.5 and the
            like occur.
        first: (Q,) probability of being first, ties shared.
        five: (Q,) probability of being among the first five.
        person: (Q,) whose window it was.
        row: (Q,) which window.
        n_skipped: Windows with both modalities but too few others of the person far enough away.
    """

    rank: Floats
    first: Floats
    five: Floats
    person: Codes
    row: Codes
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
    match: Floats | None = None,
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
        match: (N,) candidates are those nearest to the right window in this number, such as the
            share of the window spent talking; windows without it are left out. None takes any.
    """
    both = _both(query, answer)
    if match is not None:
        both &= np.isfinite(match)
    pool = np.zeros(len(table), np.int64) if pool is None else pool
    rng = np.random.default_rng([settings.seed, shift, against == "others"])
    right = _shifted(table, both, shift)
    placed = _used(query, answer, both)
    usable = np.flatnonzero(both)
    groups = pool if against == "others" else table.person
    parts: list[tuple[Codes, Floats, Floats, Floats]] = []
    for group in np.unique(groups[usable]):
        inside = usable[groups[usable] == group]
        if against == "same" and len(np.unique(pool[inside])) > 1:
            raise ValueError("a person's windows are in several pools")
        step = max(1, _BLOCK // len(inside))
        for at in range(0, len(inside), step):
            asked = inside[at : at + step]
            parts.append(
                _rank_block(table, placed, asked, right[asked], inside,
                            settings, against, match, rng)
            )  # fmt: skip
    rows = np.concatenate([p[0] for p in parts]) if parts else np.zeros(0, np.int64)
    rank, first, five = (
        np.concatenate([np.zeros(0), *(part[k] for part in parts)]) for k in (1, 2, 3)
    )
    return Ranks(rank, first, five, table.person[rows], rows, len(usable) - len(rows))


def _rank_block(
    table: WindowTable,
    rows: tuple[Floats, Floats],
    asked: Codes,
    right: Codes,
    inside: Codes,
    settings: RetrievalSettings,
    against: Against,
    match: Floats | None,
    rng: np.random.Generator,
) -> tuple[Codes, Floats, Floats, Floats]:
    """Rows that could be asked, and rank, first and five of each."""
    query, answer = rows
    wanted = settings.n_candidates - 1
    free = _eligible(table, inside, right, settings, against)
    enough = free.sum(axis=1) >= wanted
    asked, right, free = asked[enough], right[enough], free[enough]
    if not len(asked):
        return asked, np.zeros(0), np.zeros(0), np.zeros(0)
    # Random keys choose without replacement; nearness in ``match`` comes before them.
    keys = rng.random(free.shape)
    if match is not None:
        gap = np.abs(match[inside][None, :] - match[right][:, None])
        keys = np.where(free, gap, np.inf) + 1e-9 * keys
    keys = np.where(free, keys, np.inf)
    if free.shape[1] > wanted:
        chosen = np.argpartition(keys, wanted - 1, axis=1)[:, :wanted]
    else:
        chosen = np.tile(np.arange(free.shape[1]), (len(asked), 1))
    near = (query[asked] * answer[right]).sum(axis=1)
    scores = np.take_along_axis(query[asked] @ answer[inside].T, chosen, axis=1)
    above = (scores > near[:, None] + _SAME_COSINE).sum(axis=1)
    equal = (np.abs(scores - near[:, None]) <= _SAME_COSINE).sum(axis=1)
    return (
        asked,
        1.0 + above + equal / 2.0,
        np.where(above == 0, 1.0 / (1 + equal), 0.0),
        np.clip((5 - above) / (1 + equal), 0.0, 1.0),
    )


def _both(query: Singles, answer: Singles) -> Flags:
    return np.asarray(np.isfinite(query).all(axis=1) & np.isfinite(answer).all(axis=1))


def _used(query: Singles, answer: Singles, both: Flags) -> tuple[Floats, Floats]:
    """Both without the directions that are zero throughout: most of a space has none."""
    columns = (query[both] != 0).any(axis=0) & (answer[both] != 0).any(axis=0)
    return query[:, columns].astype(np.float64), answer[:, columns].astype(np.float64)


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
    table: WindowTable,
    inside: Codes,
    right: Codes,
    settings: RetrievalSettings,
    against: Against,
) -> Flags:
    """(Q, M) whether a window may stand against the right one."""
    if against == "others":
        return np.asarray(table.person[inside][None, :] != table.person[right][:, None])
    gap = np.abs(table.start_s[inside][None, :] - table.start_s[right][:, None])
    other = table.recording[inside][None, :] != table.recording[right][:, None]
    return np.asarray((gap >= settings.apart_s - _SAME_S) | other)


def time_shift_null(
    table: WindowTable,
    query: Singles,
    answer: Singles,
    settings: RetrievalSettings,
    *,
    match: Floats | None = None,
) -> Ranks | None:
    """Ranks within the person when time is shifted: what chance gives on these very windows.

    Shifts are spread evenly over the shortest recording that can be shifted by ``apart_s`` from
    either end; the windows of shorter ones are not asked. None where all are shorter.
    """
    both = _both(query, answer)
    if match is not None:
        both &= np.isfinite(match)
    counts = np.bincount(table.recording[both], minlength=int(table.recording.max(initial=0)) + 1)
    steps = np.diff(table.start_s)
    hop = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    least = int(np.ceil(settings.apart_s / hop))
    long_enough = counts >= 2 * least + 1
    if not long_enough.any():
        return None
    shortest = int(counts[long_enough].min())
    shifts = np.unique(np.linspace(least, shortest - least, settings.n_shifts).astype(int))
    found = [ranks_of(table, query, answer, settings, shift=int(s), match=match) for s in shifts]
    kept = [long_enough[table.recording[each.row]] for each in found]
    if not sum(int(rows.sum()) for rows in kept):
        return None
    rank, first, five, person, row = (
        np.concatenate([getattr(each, name)[rows] for each, rows in zip(found, kept, strict=True)])
        for name in ("rank", "first", "five", "person", "row")
    )
    return Ranks(rank, first, five, person, row, sum(each.n_skipped for each in found))


def recall_summary(ranks: Ranks) -> dict[str, object] | None:
    """R@1, R@5 and median rank; intervals by Student's t over people; None without a query.

    R@1 and R@5 are means of the people's own means, so that nobody counts for more than one.
    """
    if not len(ranks):
        return None
    first: Estimate = over_persons(ranks.first, ranks.person)
    five: Estimate = over_persons(ranks.five, ranks.person)
    return {
        "n": len(ranks),
        "n_people": first.n,
        "n_skipped": ranks.n_skipped,
        "r1": first.value,
        "r5": five.value,
        "median_rank": float(np.median(ranks.rank)),
        "ci95": {"r1": first.ci(), "r5": five.ci()},
    }
