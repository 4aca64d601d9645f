"""Fit on some people, judge on others: the numbers that decide whether an alignment is one.

Every person is left out once; heads fitted to the others place their windows. All windows are
judged so, each by heads that never saw the person, and candidates come from the same fold.

A pair is judged in steps, each harder than the one before: ``plain`` (the mean of every recording
taken out), ``detrended`` (a curve taken out as well), ``matched`` (candidates that were spent
talking as much as the right window: the headline) and ``without_talking`` (what carries talking and
mouth erased from the vectors). ``nuisance`` is time, talking and mouth alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.cca import fit_cca
from nunbit.alignment.heads import Heads
from nunbit.alignment.identity import identity_probe
from nunbit.alignment.persons import estimate, person_means
from nunbit.alignment.retrieval import (
    Ranks,
    RetrievalSettings,
    ranks_of,
    recall_summary,
    time_shift_null,
)
from nunbit.alignment.table import PAIRS, WindowTable, detrended
from nunbit.alignment.talking import MOUTH, TALK, fit_eraser, measured, nuisance_rows
from nunbit.alignment.verdict import decide, overall, sentence
from nunbit.streams import Floats, Singles

Codes = NDArray[np.int64]
Fit = Callable[[WindowTable], Heads]
Placed = dict[str, Singles]

Headline = Literal["matched", "without_talking"]

_GUARD_S = 8.0
_MOST_UNMEASURED = 0.5  # of the windows of a pair; with more of them nuisances are unknown
_NUISANCE = "nuisance"


@dataclass(frozen=True, eq=False)
class Assessment:
    """What was found on people (or, with one person, on times) that were left out.

    Attributes:
        by: ``person``, or ``time`` where there is one person only.
        fold: (N,) fold of each window.
        embeddings: Modality -> (N, E) of the headline run, by heads that did not see the fold.
        agreement: Pair ``a-b`` -> (N,) cosine, NaN where one is missing.
        document: Plain data for ``result.json``.
    """

    by: str
    fold: Codes
    embeddings: dict[str, Singles]
    agreement: dict[str, Floats]
    document: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Step:
    """One way of judging: which windows, where they are placed, what candidates are matched on."""

    table: WindowTable
    placed: Placed
    match: Floats | None = None


def choose_folds(table: WindowTable, most: int = 5) -> tuple[Codes, str]:
    """(N,) fold of each window, and by what: whole people, or stretches of one person's time."""
    people = np.unique(table.person)
    if len(people) >= 2:
        n_folds = min(most, max(2, len(people) // 2))
        return np.asarray(np.searchsorted(people, table.person) % n_folds, np.int64), "person"
    order = np.arange(len(table)) * most // max(1, len(table))
    return np.asarray(order, np.int64), "time"


def assess(
    table: WindowTable,
    raw: WindowTable,
    fit: Fit,
    settings: RetrievalSettings | None = None,
    *,
    most_folds: int = 5,
    headline: Headline = "matched",
) -> Assessment:
    """Judge a way of fitting heads by leaving people out.

    Args:
        table: Mean-removed windows: the plain run.
        raw: The same windows with means and trends in: for the other runs, and the probe.
        fit: Fits heads to the windows it is given.
        settings: Of retrieval.
        most_folds: Groups of people.
        headline: The step whose heads are used and whose figures are the result.

    Returns:
        The assessment; numbers that cannot be had are None in the document, with the reason in
        ``limits``.
    """
    settings = settings or RetrievalSettings()
    fold, by = choose_folds(table, most_folds)
    level = detrended(raw)
    talk = raw.nuisance[TALK] if measured(raw, TALK).any() else None
    placed = {
        "plain": _place(table, fold, by, fit),
        "detrended": _place(level, fold, by, fit),
        "without_talking": _place(level, fold, by, erasing(fit)),
    }
    steps = {
        "plain": _Step(table, placed["plain"]),
        "detrended": _Step(level, placed["detrended"]),
        "matched": _Step(level, placed["detrended"], talk),
        "without_talking": _Step(level, placed["without_talking"], talk),
    }
    used = steps[headline].placed
    pairs = {
        f"{a}-{b}": (a, b)
        for a, b in PAIRS
        if all(a in each and b in each for each in placed.values())
    }
    judged = {
        name: _pair(
            (steps, headline), _nuisance_step(table, raw, pair, fold, by), pair, fold, settings
        )
        for name, pair in pairs.items()
    }
    verdicts = {}
    for name, pair in pairs.items():
        figures = judged[name].pop("people")
        figures["headline"] = figures[headline]
        verdicts[name] = decide(figures, _measured(raw, pair), len(pairs))
        en, ko = sentence(name, verdicts[name])
        verdicts[name] |= {"text": en, "text_ko": ko}
        judged[name]["verdict"] = verdicts[name]
    document = {
        "by": by,
        "folds": len(np.unique(fold)),
        "people": len(np.unique(table.person)),
        "recordings": len(np.unique(table.recording)),
        "windows": len(table),
        "headline": headline,
        "verdict": {
            "code": overall(verdicts),
            "pairs": {name: verdict["code"] for name, verdict in verdicts.items()},
        },
        "pairs": judged,
        "identity": _identity(level, raw, used, fold) if by == "person" else {},
        "nuisance_coverage": {
            name: float(np.isfinite(values).mean()) for name, values in raw.nuisance.items()
        },
    }  # fmt: skip
    document["limits"] = _limits(document)
    agreement = {
        name: np.asarray((used[a] * used[b]).sum(axis=1), np.float64)
        for name, (a, b) in pairs.items()
    }
    return Assessment(by, fold, used, agreement, document)


def erasing(fit: Fit) -> Fit:
    """The same fit after erasing talking and mouth; its heads take unerased vectors."""

    def fitted(part: WindowTable) -> Heads:
        eraser = fit_eraser(part)
        return eraser.before(fit(eraser.apply(part)))

    return fitted


def _place(table: WindowTable, fold: Codes, by: str, fit: Fit) -> Placed:
    """Modality -> (N, E) by heads that did not see the fold."""
    placed: Placed = {}
    for each in np.unique(fold):
        out = fold == each
        heads = fit(table.rows(_training_rows(table, out, by)))
        for modality, rows in heads.project(table.rows(out)).items():
            full = placed.setdefault(
                modality, np.full((len(table), rows.shape[1]), np.nan, np.float32)
            )
            full[out] = rows
    return placed


def _training_rows(table: WindowTable, out: NDArray[np.bool_], by: str) -> NDArray[np.bool_]:
    """What is not left out; within one person not what is next to it either."""
    rows = ~out
    if by == "person":
        return rows
    for recording in np.unique(table.recording[out]):
        inside = table.recording == recording
        times = table.start_s[out & inside]
        near = (table.start_s > times.min() - _GUARD_S) & (table.start_s < times.max() + _GUARD_S)
        rows &= ~(inside & near)
    return rows


def _nuisance_step(
    table: WindowTable, raw: WindowTable, pair: tuple[str, str], fold: Codes, by: str
) -> tuple[Placed, Placed]:
    """Time, talking and mouth placed with the first and with the second modality of a pair."""
    rows = nuisance_rows(raw)
    both = table.present(pair[0]) & table.present(pair[1])
    rows = np.where(both[:, None], rows, np.nan).astype(np.float32)

    def fit(part: WindowTable) -> Heads:
        return fit_cca(
            part, centres={m: np.zeros(v.shape[1], np.float32) for m, v in part.vectors.items()}
        )

    first, second = (
        _place(replace(table, vectors={_NUISANCE: rows, m: table.vectors[m]}), fold, by, fit)
        for m in pair
    )
    return first, second


def _pair(
    given: tuple[dict[str, _Step], Headline],
    nuisance: tuple[Placed, Placed],
    pair: tuple[str, str],
    fold: Codes,
    settings: RetrievalSettings,
) -> dict[str, Any]:
    """Every step of a pair in both directions, and R@1 of each person (``people``)."""
    steps, headline = given
    a, b = pair
    found: dict[str, Any] = {"steps": {}, "people": {}}
    for name, step in steps.items():
        own: list[Floats] = []
        nulls: list[Floats | None] = []
        for key, (query, answer) in {"forward": (a, b), "backward": (b, a)}.items():
            ranks, null, across = _ranked(step, (query, answer), fold, settings,
                                          others=name == headline)  # fmt: skip
            own.append(_first(ranks, step.table))
            nulls.append(None if null is None else _first(null, step.table))
            if name == headline:
                found[key] = {
                    "within": recall_summary(ranks),
                    "null": None if null is None else recall_summary(null),
                    "across": None if across is None else recall_summary(across),
                }
        r1, null_r1 = _mean(own), _mean(nulls)
        assert r1 is not None
        found["people"][name] = (r1, null_r1)
        found["steps"][name] = _figures(r1, null_r1)
    plain = steps["plain"].table
    alone = [
        _first(_ranked(_Step(plain, placed), (_NUISANCE, answer), fold, settings)[0], plain)
        for placed, answer in zip(nuisance, pair, strict=True)
        if answer in placed and _NUISANCE in placed
    ]
    r1 = _mean(alone) if len(alone) == len(pair) else None
    r1 = np.full(int(plain.person.max()) + 1, np.nan) if r1 is None else r1
    found["people"][_NUISANCE] = (r1, None)
    found["steps"][_NUISANCE] = _figures(r1, None)
    return found


def _ranked(
    step: _Step,
    direction: tuple[str, str],
    fold: Codes,
    settings: RetrievalSettings,
    *,
    others: bool = False,
) -> tuple[Ranks, Ranks | None, Ranks | None]:
    """Ranks within the person, when shuffled in time, and (asked for) among other people.

    With one person the folds are stretches of time with a space of their own each, and so are the
    pools of candidates: a person is then one pool a fold, and there are no others.
    """
    query, answer = (step.placed[name] for name in direction)
    one = len(np.unique(step.table.person)) < 2
    where = _by_fold(step.table, fold) if one else step.table
    ranks = ranks_of(where, query, answer, settings, pool=fold, match=step.match)
    null = time_shift_null(where, query, answer, settings, match=step.match)
    across = None
    if others and not one:
        across = ranks_of(where, query, answer, settings, against="others", pool=fold)
    if one:
        ranks = replace(ranks, person=np.zeros_like(ranks.person))
        null = None if null is None else replace(null, person=np.zeros_like(null.person))
    return ranks, null, across


def _first(ranks: Ranks, table: WindowTable) -> Floats:
    """(P,) R@1 of each person, NaN where none of their windows could be asked."""
    return person_means(ranks.first, ranks.person, int(table.person.max()) + 1)


def _mean(rows: Sequence[Floats | None]) -> Floats | None:
    """(P,) mean of both directions; None where one is missing."""
    there = [row for row in rows if row is not None]
    return np.asarray(np.mean(there, axis=0), np.float64) if len(there) == len(rows) else None


def _figures(r1: Floats, null: Floats | None) -> dict[str, Any]:
    """R@1 and its null over people, each with its interval, and the paired difference."""
    own = estimate(r1)
    chance = None if null is None else estimate(null)
    gain = None if null is None else estimate(r1 - null)
    return {
        "n_people": own.n,
        "r1": own.value if own.n else None,
        "ci95": own.ci(),
        "null": None if chance is None or not chance.n else chance.value,
        "null_ci95": None if chance is None else chance.ci(),
        "above_null": None if gain is None or not gain.n else gain.value,
        "above_null_ci95": None if gain is None else gain.ci(),
    }


def _by_fold(table: WindowTable, fold: Codes) -> WindowTable:
    """One person's stretches of time as if they were people, with recordings of their own."""
    stretch = table.recording * (int(fold.max()) + 1) + fold
    return WindowTable(table.vectors, stretch, fold, table.start_s, table.length_s)


def _measured(raw: WindowTable, pair: tuple[str, str]) -> bool:
    """Whether talking, and with a face the mouth, is known in most windows of the pair."""
    both = raw.present(pair[0]) & raw.present(pair[1])
    names = (TALK, MOUTH) if "face" in pair else (TALK,)
    return bool(both.any()) and all(
        measured(raw, name)[both].mean() >= 1.0 - _MOST_UNMEASURED for name in names
    )


def _identity(table: WindowTable, raw: WindowTable, placed: Placed, fold: Codes) -> dict[str, Any]:
    """The probe for every modality: embeddings, what went in, and the raw vectors beside them."""
    found = {}
    for modality, rows in placed.items():
        probe = identity_probe(
            table,
            {
                "embeddings": rows,
                "mean_removed": table.vectors[modality],
                "raw": raw.vectors[modality],
            },
            pool=fold,
        )
        if probe is not None:
            found[modality] = probe
    return found


def _limits(document: dict[str, Any]) -> list[str]:
    """Ids of what these numbers cannot say."""
    limits = []
    if document["people"] == 1:
        limits.append("one_person")
    elif document["people"] < 10:
        limits.append("few_people")
    if document["by"] == "person" and not document["identity"]:
        limits.append("no_identity_probe")
    sides = [pair[key] for pair in document["pairs"].values() for key in ("forward", "backward")]
    if any(side["within"] is None for side in sides):
        limits.append("too_short")
    if any(side["null"] is None for side in sides):
        limits.append("no_null")
    if any(p["verdict"]["code"] == "talking_unmeasured" for p in document["pairs"].values()):
        limits.append("talking_unmeasured")
    return limits
