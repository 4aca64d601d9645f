"""Find the matching window among twenty windows of the same person, and the verdict on a pair.

Candidates are windows of the same person, so identity does not help. Retrieval among other people
is reported separately: it can be nearly perfect without any shared state. Guessing finds 1 in 20,
but the chance level on real windows is measured: neighbours of the right window are no candidates,
so slow series find it more often than 1 in 20 without sharing anything.

The verdict says whether a shared state was found. ``found`` needs three results, all paired over
people: the headline step (drift removed, candidates matched on talking) is above its null; it is
above time, talking and mouth alone in the plain step; and with talking and mouth movement erased
from the vectors something is left above the null. The second alone is not enough, because a noisy
measure of talking finds less than talking itself. The third alone is not enough, because little may
be left. N windows, Q of them queries, M candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nunbit.core.messages import Text
from nunbit.core.spans import groups_of
from nunbit.core.streams import Flags, Floats, Ints, Singles
from nunbit.core.timebase import SAME_S
from nunbit.space.controls import gain_over, mean_of, over_persons
from nunbit.space.vectors import WindowTable
from nunbit.statistics.resampling import distinct_draws

Against = Literal["same", "others"]

_SAME_COSINE = 1e-7

_BLOCK = 2_000_000
"""Scores compared at once (queries times windows): 16 MB, whatever the length of a recording."""


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How retrieval is done.

    Attributes:
        n_candidates: Number of candidates, with the right window.
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
    """Ranks of the right windows.

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
    person: Ints
    row: Ints
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
    pool: Ints | None = None,
    shift: int = 0,
    match: Floats | None = None,
) -> Ranks:
    """Rank the right window among candidates, for every window with both modalities.

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
    if against == "others" and match is not None:
        raise ValueError("candidates among other people are not matched")
    both = _both(query, answer, match)
    pool = np.zeros(len(table), np.int64) if pool is None else pool
    search = _Search(
        table=table,
        placed=_used(query, answer, both),
        settings=settings,
        match=match,
        rng=np.random.default_rng([settings.seed, shift, against == "others"]),
    )
    right = _shifted(table, both, shift)
    usable = np.flatnonzero(both)
    groups = pool if against == "others" else table.person
    rank_block = _rank_among_others if against == "others" else _rank_block
    parts = []
    for rows in groups_of(groups[usable]):
        inside = usable[rows]
        if against == "same" and (pool[inside] != pool[inside[0]]).any():
            raise ValueError("a person's windows are in several pools")
        inside = inside[np.argsort(table.person[inside], kind="stable")]
        step = max(1, _BLOCK // len(inside))
        blocks = (inside[at : at + step] for at in range(0, len(inside), step))
        parts += [rank_block(search, asked, right[asked], inside) for asked in blocks]
    rows = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
    rank, first, five = (
        np.concatenate([np.zeros(0), *(part[k] for part in parts)]) for k in (1, 2, 3)
    )
    return Ranks(rank, first, five, table.person[rows], rows, len(usable) - len(rows))


Placing = tuple[Ints, Floats, Floats, Floats]  # queries; rank, first and five of each


@dataclass(frozen=True, eq=False)
class _Search:
    """What all blocks of one retrieval share: see :func:`ranks_of`; ``placed`` has both sides."""

    table: WindowTable
    placed: tuple[Floats, Floats]
    settings: RetrievalSettings
    match: Floats | None
    rng: np.random.Generator


def _rank_block(search: _Search, asked: Ints, right: Ints, inside: Ints) -> Placing:
    """Among windows of the same person, far enough from the right one."""
    query, answer = search.placed
    wanted, table = search.settings.n_candidates - 1, search.table
    gap = np.abs(table.start_s[inside][None, :] - table.start_s[right][:, None])
    other = table.recording[inside][None, :] != table.recording[right][:, None]
    free = (gap >= search.settings.apart_s - SAME_S) | other
    enough = free.sum(axis=1) >= wanted
    asked, right, free = asked[enough], right[enough], free[enough]
    if not len(asked):
        return asked, np.zeros(0), np.zeros(0), np.zeros(0)
    # Random keys choose without replacement; nearness in ``match`` comes before them.
    keys = search.rng.random(free.shape)
    if search.match is not None:
        keys = 1e-9 * keys + np.abs(search.match[inside][None] - search.match[right][:, None])
    keys = np.where(free, keys, np.inf)
    chosen = np.argpartition(keys, wanted - 1, axis=1)[:, :wanted]
    near = (query[asked] * answer[right]).sum(axis=1)
    return asked, *_places(near, np.take_along_axis(query[asked] @ answer[inside].T, chosen, 1))


def _rank_among_others(search: _Search, asked: Ints, right: Ints, inside: Ints) -> Placing:
    """Among windows of other people: drawn by number, so that time does not grow with the square.

    ``inside`` is in order of persons: what is no candidate is one stretch of it, the person's own.
    """
    query, answer = search.placed
    person, wanted = search.table.person, search.settings.n_candidates - 1
    begin = np.searchsorted(person[inside], person[right], "left")
    own = np.searchsorted(person[inside], person[right], "right") - begin
    enough = len(inside) - own >= wanted
    asked, right, begin, own = (rows[enough] for rows in (asked, right, begin, own))
    drawn = distinct_draws(search.rng, len(inside) - own, wanted)
    chosen = inside[np.where(drawn < begin[:, None], drawn, drawn + own[:, None])]
    near = (query[asked] * answer[right]).sum(axis=1)
    return asked, *_places(near, np.einsum("qe,qce->qc", query[asked], answer[chosen]))


def _places(near: Floats, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Rank, first and five of (Q,) right windows beside the (Q, C) scores of candidates."""
    above = (scores > near[:, None] + _SAME_COSINE).sum(axis=1)
    equal = (np.abs(scores - near[:, None]) <= _SAME_COSINE).sum(axis=1)
    return (
        1.0 + above + equal / 2.0,
        np.where(above == 0, 1.0 / (1 + equal), 0.0),
        np.clip((5 - above) / (1 + equal), 0.0, 1.0),
    )


def _both(query: Singles, answer: Singles, match: Floats | None) -> Flags:
    """(N,) windows with both sides and, if candidates are matched, with its number."""
    both = np.asarray(np.isfinite(query).all(axis=1) & np.isfinite(answer).all(axis=1))
    return both if match is None else both & np.isfinite(match)


def _used(query: Singles, answer: Singles, both: Flags) -> tuple[Floats, Floats]:
    """Both without the directions that are zero throughout: most of a space has none."""
    columns = (query[both] != 0).any(axis=0) & (answer[both] != 0).any(axis=0)
    return query[:, columns].astype(np.float64), answer[:, columns].astype(np.float64)


def _shifted(table: WindowTable, both: Flags, shift: int) -> Ints:
    """(N,) the window that counts as right: the window itself, or one later in its recording."""
    right = np.arange(len(table))
    usable = np.flatnonzero(both)
    for own in groups_of(table.recording[usable]):
        right[usable[own]] = np.roll(usable[own], -shift)
    return right


def time_shift_null(
    table: WindowTable,
    query: Singles,
    answer: Singles,
    settings: RetrievalSettings,
    *,
    match: Floats | None = None,
) -> Ranks | None:
    """The chance level on these windows: ranks within the person with time shifted.

    Shifts are spread evenly over the shortest recording that can be shifted by ``apart_s`` from
    either end; the windows of shorter ones are not asked. None where all are shorter.
    """
    both = _both(query, answer, match)
    counts = np.bincount(table.recording[both], minlength=int(table.recording.max(initial=0)) + 1)
    steps = np.diff(table.start_s)
    hop = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    least = int(np.ceil(settings.apart_s / hop))
    long_enough = counts >= 2 * least + 1
    if not long_enough.any():
        return None
    most = int(counts[long_enough].min()) - least
    shifts = np.unique(np.linspace(least, most, settings.n_shifts).astype(int))
    found = [ranks_of(table, query, answer, settings, shift=int(s), match=match) for s in shifts]
    kept = [long_enough[table.recording[each.row]] for each in found]
    if not sum(int(rows.sum()) for rows in kept):
        return None
    rank, first, five, person, row = (
        np.concatenate([getattr(each, name)[rows] for each, rows in zip(found, kept, strict=True)])
        for name in ("rank", "first", "five", "person", "row")
    )
    return Ranks(rank, first, five, person, row, sum(each.n_skipped for each in found))


def recall_summary(ranks: Ranks | None) -> dict[str, object] | None:
    """R@1, R@5 and median rank; intervals by Student's t over people; None without a query.

    R@1 and R@5 are means of the people's own means, so that every person counts the same.
    """
    if ranks is None or not len(ranks):
        return None
    first, five = (over_persons(rows, ranks.person) for rows in (ranks.first, ranks.five))
    return {
        "n": len(ranks),
        "n_people": first.n,
        "n_skipped": ranks.n_skipped,
        "r1": first.value,
        "r5": five.value,
        "median_rank": float(np.median(ranks.rank)),
        "ci95": {"r1": first.ci(), "r5": five.ci()},
    }


# -- verdict ---------------------------------------------------------------------------------------

FEWEST_PEOPLE = 5
"""With fewer people their means do not describe people in general."""

DETECTABLE = 0.10
"""'Not found' needs an interval that excludes this much above the null; otherwise it is open."""

LEAST_LEFT = 0.02
"""What must be left above the null without talking and mouth: less is useless, however narrow its
interval."""

LEVEL = 0.05
"""Probability of a false 'found', shared among the pairs."""

CODES = (
    "found",
    "not_more_than_nuisance",
    "talking_unmeasured",
    "not_found",
    "cannot_tell",
    "too_little",
)
"""Ints from the most to the least informative."""

NO_VERDICT = "no_verdict"
"""Of bundles made before there were verdicts."""


def decide(
    steps: Mapping[str, tuple[Floats, Floats | None]], measured: bool, pairs: int
) -> dict[str, Any]:
    """The verdict on one pair.

    Args:
        steps: ``plain``, ``headline`` and ``without_talking`` -> (P,) R@1 of each person and of
            their null, NaN where a person has none; ``nuisance`` -> R@1 of each person and None.
        measured: Whether talking (and the mouth, where a face takes part) could be measured.
        pairs: Pairs of modalities judged at once.

    Returns:
        Plain data: ``code`` and the figures that it follows from.
    """
    level = 1.0 - LEVEL / max(1, pairs)
    r1, null = (mean_of(rows) for rows in steps["headline"])
    above = gain_over(*steps["headline"])
    found: dict[str, Any] = {
        "code": "too_little",
        "n_people": above.n,
        "level": level,
        "r1": r1.shown,
        "ci95": r1.ci(),
        "null": null.shown,
        "null_ci95": null.ci(),
        "above_null": above.shown,
        "above_null_ci": above.ci(level),
        "fewest_people": FEWEST_PEOPLE,
        "detectable": DETECTABLE,
    }
    if above.n < FEWEST_PEOPLE or above.ci(level) is None:
        return found | {"reason": "people" if r1.n >= 1 else "windows"}
    nuisance, left, plain = (steps[name] for name in ("nuisance", "without_talking", "plain"))
    beyond, remaining = gain_over(steps["headline"][0], nuisance[0]), gain_over(*left)
    found |= {
        "nuisance": mean_of(nuisance[0]).shown,
        "above_nuisance": beyond.shown,
        "above_nuisance_ci": beyond.ci(level),
        "left": mean_of(left[0]).shown,
        "left_null": mean_of(left[1]).shown,
        "left_above": remaining.shown,
        "left_above_ci": remaining.ci(level),
        "plain": mean_of(plain[0]).shown,
        "plain_above_ci": gain_over(*plain).ci(level),
    }
    return found | {"code": _code(found, measured)}


def _code(found: Mapping[str, Any], measured: bool) -> str:
    if _positive(found["above_null_ci"]):
        left = _positive(found["left_above_ci"]) and found["left_above"] >= LEAST_LEFT
        if not (left and _positive(found["above_nuisance_ci"])):
            return "not_more_than_nuisance"
        return "found" if measured else "talking_unmeasured"
    if _positive(found["plain_above_ci"]):  # there until drift and talking were controlled
        return "not_more_than_nuisance"
    return "not_found" if found["above_null_ci"][1] < DETECTABLE else "cannot_tell"


def overall(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """The code of all pairs together: the most informative one."""
    codes = [verdict["code"] for verdict in verdicts.values()]
    return min(codes, key=CODES.index) if codes else "too_little"


def _positive(interval: list[float] | None) -> bool:
    return interval is not None and interval[0] > 0.0


_PAIR_NAMES = {
    "face-voice": Text("face and voice", "얼굴과 목소리"),
    "face-text": Text("face and words", "얼굴과 말"),
    "voice-text": Text("voice and words", "목소리와 말"),
}

_SENTENCES = {
    "found": Text(
        "{pair}: found. The right moment comes first in {r1} of cases, {null} by chance and "
        "{nuisance} by drift, talking and mouth alone; with talking and mouth movement erased "
        "{left} are left ({left_null} by chance). {n} people.",
        "{pair}: 찾았습니다. 맞는 순간이 1위인 비율은 {r1}입니다. 우연은 {null}, 시간·말하는 양·입 "
        "움직임만으로는 {nuisance}이며, 말하기와 입 움직임을 지워도 {left}(우연 {left_null})가 "
        "남습니다. {n}명 기준입니다.",
    ),
    "not_more_than_nuisance": Text(
        "{pair}: NOT shown to exceed drift, talking and mouth movement. The right moment comes "
        "first in {r1} of cases ({null} by chance; {plain} before controlling for drift and "
        "talking); these alone find it in {nuisance}, and with talking and mouth movement erased "
        "{left} are left ({left_null} by chance).",
        "{pair}: 시간에 따른 변화, 말하는 양, 입 움직임만으로 설명되지 않는 대응은 확인되지 "
        "않았습니다. 맞는 순간이 1위인 비율은 {r1}(우연 {null}, 통제 전 {plain})이고, "
        "그것들만으로는 {nuisance}, 말하기와 입 움직임을 지우면 {left}(우연 {left_null})입니다.",
    ),
    "talking_unmeasured": Text(
        "{pair}: NOT shown. The right moment comes first in {r1} of cases (chance {null}), but "
        "talking or mouth movement could not be measured, so articulation alone may explain it; "
        "nunbit doctor prints the line that installs the landmarks.",
        "{pair}: 확인되지 않았습니다. 맞는 순간이 1위인 비율은 {r1}(우연 {null})이지만 말하는 "
        "양이나 입 움직임을 재지 못했으므로 발음 동작만으로 설명될 수 있습니다. 랜드마크 설치 "
        "명령은 nunbit doctor가 알려 줍니다.",
    ),
    "not_found": Text(
        "{pair}: NOT found. The right moment comes first in {r1} of cases, chance gives {null}; "
        "with {n} people more than {upper} above chance is excluded.",
        "{pair}: 찾지 못했습니다. 맞는 순간이 1위인 비율은 {r1}, 우연은 {null}입니다. {n}명의 "
        "자료로 우연보다 {upper} 넘게 높을 가능성은 배제됩니다.",
    ),
    "cannot_tell": Text(
        "{pair}: undecided. {r1} against {null} by chance; with {n} people anything up to "
        "{upper} above chance is possible.",
        "{pair}: 판단할 수 없습니다. {r1}, 우연 {null}입니다. {n}명의 자료로는 우연보다 "
        "{upper}까지 높을 수 있습니다.",
    ),
    "too_little": Text(
        "{pair}: too few data. {n} people could be tested, at least {fewest} are needed, each "
        "with recordings long enough for windows far apart.",
        "{pair}: 자료가 너무 적습니다. 판정할 수 있는 사람이 {n}명입니다. 서로 떨어진 창이 "
        "충분한 녹화를 가진 사람이 {fewest}명 이상 필요합니다.",
    ),
    NO_VERDICT: Text(
        "{pair}: this bundle was made before alignments were tested against drift and talking, "
        "so it has no such verdict. Run nunbit align again.",
        "{pair}: 시간에 따른 변화와 말하는 양을 통제하지 않던 버전에서 만든 번들이므로 이 판정이 "
        "없습니다. nunbit align을 다시 실행하십시오.",
    ),
}


def sentence(pair: str, verdict: Mapping[str, Any]) -> Text:
    """The sentence of a verdict, in English and Korean."""
    shares = {
        name: _percent(verdict.get(name), "%")
        for name in ("r1", "null", "nuisance", "plain", "left", "left_null")
    }
    upper = (verdict.get("above_null_ci") or (None, None))[1]
    return _SENTENCES[verdict["code"]].fill(
        pair=_PAIR_NAMES.get(pair, Text(pair, pair)),
        upper=Text(_percent(upper, " points"), _percent(upper, "%p")),
        n=verdict.get("n_people", 0),
        fewest=verdict.get("fewest_people", FEWEST_PEOPLE),
        **shares,
    )


def _percent(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{100.0 * value:.1f}{unit}"
