"""Test an alignment: fit on some people, test on others.

Every person is left out once; heads fitted to the others place their windows. So all windows are
tested with heads that never saw the person, and candidates come from the same fold.

A pair is tested in steps, each harder than the one before: ``plain`` (the mean of every recording
removed), ``detrended`` (a curve removed as well), ``matched`` (candidates with as much talking as
the right window; the headline) and ``without_talking`` (directions of talking and mouth erased from
the vectors). ``nuisance`` uses time, talking and mouth alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nunbit.core.streams import Flags, Floats, Ints, Singles
from nunbit.measures.modality_pairs import PAIRS
from nunbit.space.cca import Heads, fit_cca
from nunbit.space.controls import (
    MOUTH,
    TALK,
    fit_eraser,
    gain_over,
    identity_probe,
    mean_of,
    measured,
    nuisance_rows,
    person_means,
)
from nunbit.space.retrieval import (
    Ranks,
    RetrievalSettings,
    decide,
    overall,
    ranks_of,
    recall_summary,
    sentence,
    time_shift_null,
)
from nunbit.space.vectors import WindowTable, detrended

Fit = Callable[[WindowTable], Heads]
Placed = dict[str, Singles]

Headline = Literal["matched", "without_talking"]

_GUARD_S = 8.0
_MOST_UNMEASURED = 0.5  # of the windows of a pair; with more of them nuisances are unknown
_NUISANCE = "nuisance"


@dataclass(frozen=True, eq=False)
class Assessment:
    """Results on people (or, with one person, on times) that were left out.

    Attributes:
        by: ``person``, or ``time`` where there is one person only.
        fold: (N,) fold of each window.
        embeddings: Modality -> (N, E) of the headline run, by heads that did not see the fold.
        agreement: Pair ``a-b`` -> (N,) cosine, NaN where one is missing.
        document: Plain data for ``result.json``.
    """

    by: str
    fold: Ints
    embeddings: dict[str, Singles]
    agreement: dict[str, Floats]
    document: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Step:
    """One step of the test: the windows, their embeddings, what candidates are matched on."""

    table: WindowTable
    placed: Placed
    match: Floats | None = None


def assess_alignment(
    table: WindowTable,
    raw: WindowTable,
    fit: Fit,
    settings: RetrievalSettings | None = None,
    *,
    most_folds: int = 5,
    headline: Headline = "matched",
) -> Assessment:
    """Test a way of fitting heads by leaving people out.

    Args:
        table: Mean-removed windows, for the plain step.
        raw: The same windows including means and trends, for the other steps and the probe.
        fit: Fits heads to the windows it is given.
        settings: Of retrieval.
        most_folds: Groups of people.
        headline: The step whose heads are used and whose numbers are the result.

    Returns:
        The assessment; missing numbers are None in the document, with the reason in ``limits``.
    """
    settings = settings or RetrievalSettings()
    people = max(2, len(np.unique(table.person)) // 2)  # a space is fitted to two at least
    fold, by = table.folds(most_folds, people)
    steps = _steps(table, raw, fold, by, fit)
    there = set.intersection(*(set(step.placed) for step in steps.values()))
    used = steps[headline].placed
    pairs = {f"{a}-{b}": (a, b) for a, b in PAIRS if {a, b} <= there}
    judged = {}
    for name, pair in pairs.items():
        nuisance = _nuisance_step(table, raw, pair, fold, by)
        judged[name] = _pair((steps, headline), nuisance, pair, fold, settings)
        people = judged[name].pop("people")
        verdict = decide(people | {"headline": people[headline]}, _measured(raw, pair), len(pairs))
        said = sentence(name, verdict)
        judged[name]["verdict"] = verdict | {"text": said.en, "text_ko": said.ko}
    verdicts = {name: found["verdict"] for name, found in judged.items()}
    codes = {name: verdict["code"] for name, verdict in verdicts.items()}
    document = {
        "by": by,
        "folds": len(np.unique(fold)),
        "people": len(np.unique(table.person)),
        "recordings": len(np.unique(table.recording)),
        "windows": len(table),
        "headline": headline,
        "verdict": {"code": overall(verdicts), "pairs": codes},
        "pairs": judged,
        "identity": _identity(steps[headline], raw, fold) if by == "person" else {},
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


def _steps(table: WindowTable, raw: WindowTable, fold: Ints, by: str, fit: Fit) -> dict[str, _Step]:
    """The steps of the test that are about the modalities themselves."""
    level = detrended(raw)
    talk = raw.nuisance[TALK] if measured(raw, TALK).any() else None
    placed = _place(level, fold, by, fit)
    return {
        "plain": _Step(table, _place(table, fold, by, fit)),
        "detrended": _Step(level, placed),
        "matched": _Step(level, placed, talk),
        "without_talking": _Step(level, _place(level, fold, by, erasing(fit)), talk),
    }


def erasing(fit: Fit) -> Fit:
    """The same fit after erasing talking and mouth; its heads take unerased vectors."""

    def fitted(part: WindowTable) -> Heads:
        eraser = fit_eraser(part)
        return eraser.before(fit(eraser.apply(part)))

    return fitted


def _place(table: WindowTable, fold: Ints, by: str, fit: Fit) -> Placed:
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


def _training_rows(table: WindowTable, out: Flags, by: str) -> Flags:
    """The training rows; within one person also without the neighbours of the test rows."""
    rows = ~out
    for recording in np.unique(table.recording[out]) if by == "time" else ():
        inside = table.recording == recording
        times = table.start_s[out & inside]
        near = (table.start_s > times.min() - _GUARD_S) & (table.start_s < times.max() + _GUARD_S)
        rows &= ~(inside & near)
    return rows


def _nuisance_step(
    table: WindowTable, raw: WindowTable, pair: tuple[str, str], fold: Ints, by: str
) -> tuple[Placed, Placed]:
    """The step that embeds time, talking and mouth with either modality of a pair."""
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
    fold: Ints,
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
                sides = {"within": ranks, "null": null, "across": across}
                found[key] = {side: recall_summary(each) for side, each in sides.items()}
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
    fold: Ints,
    settings: RetrievalSettings,
    *,
    others: bool = False,
) -> tuple[Ranks, Ranks | None, Ranks | None]:
    """Ranks within the person, with time shuffled, and on request among other people.

    With one person the folds are stretches of time with a space of their own each, and so are the
    pools of candidates: a person is then one pool a fold, and there are no others.
    """
    query, answer = (step.placed[name] for name in direction)
    one = len(np.unique(step.table.person)) < 2
    where = _by_fold(step.table, fold) if one else step.table
    ranks = ranks_of(where, query, answer, settings, pool=fold, match=step.match)
    null = time_shift_null(where, query, answer, settings, match=step.match)
    across = (
        ranks_of(where, query, answer, settings, against="others", pool=fold)
        if others and not one
        else None
    )
    if one:
        ranks = replace(ranks, person=np.zeros_like(ranks.person))
        null = None if null is None else replace(null, person=np.zeros_like(null.person))
    return ranks, null, across


def _first(ranks: Ranks, table: WindowTable) -> Floats:
    """(P,) R@1 of each person, NaN if none of their windows could be a query."""
    return person_means(ranks.first, ranks.person, int(table.person.max()) + 1)


def _mean(rows: Sequence[Floats | None]) -> Floats | None:
    """(P,) mean of both directions; None where one is missing."""
    there = [row for row in rows if row is not None]
    return np.asarray(np.mean(there, axis=0), np.float64) if len(there) == len(rows) else None


def _figures(r1: Floats, null: Floats | None) -> dict[str, Any]:
    """R@1 and its null over people, each with its interval, and the paired difference."""
    own, chance, gain = mean_of(r1), mean_of(null), gain_over(r1, null)
    return {
        "n_people": own.n,
        "r1": own.shown,
        "ci95": own.ci(),
        "null": chance.shown,
        "null_ci95": chance.ci(),
        "above_null": gain.shown,
        "above_null_ci95": gain.ci(),
    }


def _by_fold(table: WindowTable, fold: Ints) -> WindowTable:
    """One person's stretches of time as if they were people, with recordings of their own."""
    stretch = table.recording * (int(fold.max()) + 1) + fold
    return WindowTable(table.vectors, stretch, fold, table.start_s, table.length_s)


def _measured(raw: WindowTable, pair: tuple[str, str]) -> bool:
    """Whether talking, and with a face the mouth, is known in most windows of the pair."""
    both = raw.present(pair[0]) & raw.present(pair[1])
    return bool(both.any()) and all(
        measured(raw, name)[both].mean() >= 1.0 - _MOST_UNMEASURED
        for name in ((TALK, MOUTH) if "face" in pair else (TALK,))
    )


def _identity(step: _Step, raw: WindowTable, fold: Ints) -> dict[str, Any]:
    """The probe for every modality: embeddings, what went in, and the raw vectors beside them."""
    probes = {
        m: identity_probe(
            step.table,
            {"embeddings": rows, "mean_removed": step.table.vectors[m], "raw": raw.vectors[m]},
            pool=fold,
        )
        for m, rows in step.placed.items()
    }
    return {modality: probe for modality, probe in probes.items() if probe is not None}


def _limits(document: dict[str, Any]) -> list[str]:
    """Ids of the limits of these numbers."""
    pairs = document["pairs"].values()
    sides = [pair[key] for pair in pairs for key in ("forward", "backward")]
    apply = {
        "one_person": document["people"] == 1,
        "few_people": 1 < document["people"] < 10,
        "no_identity_probe": document["by"] == "person" and not document["identity"],
        "too_short": any(side["within"] is None for side in sides),
        "no_null": any(side["null"] is None for side in sides),
        "talking_unmeasured": any(p["verdict"]["code"] == "talking_unmeasured" for p in pairs),
    }
    return [limit for limit, applies in apply.items() if applies]
