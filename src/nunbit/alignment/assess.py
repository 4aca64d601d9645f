"""Fit on some people, judge on others: the numbers that decide whether an alignment is one.

Every person is left out once; heads fitted to the others place their windows. All windows are
judged so, each by heads that never saw the person, and candidates come from the same fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.heads import Heads
from nunbit.alignment.identity import identity_probe
from nunbit.alignment.retrieval import (
    RetrievalSettings,
    ranks_of,
    recall_summary,
    time_shift_null,
)
from nunbit.alignment.table import PAIRS, WindowTable
from nunbit.streams import Floats, Singles

Codes = NDArray[np.int64]
Fit = Callable[[WindowTable], Heads]

_GUARD_S = 8.0


@dataclass(frozen=True, eq=False)
class Assessment:
    """What was found on people (or, with one person, on times) that were left out.

    Attributes:
        by: ``person``, or ``time`` where there is one person only.
        fold: (N,) fold of each window.
        embeddings: Modality -> (N, E), by heads that did not see the fold.
        agreement: Pair ``a-b`` -> (N,) cosine, NaN where one is missing.
        document: Plain data for ``result.json``.
    """

    by: str
    fold: Codes
    embeddings: dict[str, Singles]
    agreement: dict[str, Floats]
    document: dict[str, Any]


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
) -> Assessment:
    """Judge a way of fitting heads by leaving people out.

    Args:
        table: Mean-removed windows.
        raw: The same windows with the means in, for the probe of identity.
        fit: Fits heads to the windows it is given.
        settings: Of retrieval.
        most_folds: Groups of people.

    Returns:
        The assessment; numbers that cannot be had are None in the document, with the reason in
        ``limits``.
    """
    settings = settings or RetrievalSettings()
    fold, by = choose_folds(table, most_folds)
    placed: dict[str, Singles] = {}
    for each in np.unique(fold):
        out = fold == each
        heads = fit(table.rows(_training_rows(table, out, by)))
        for modality, rows in heads.project(table.rows(out)).items():
            full = placed.setdefault(
                modality, np.full((len(table), rows.shape[1]), np.nan, np.float32)
            )
            full[out] = rows
    pairs = {f"{a}-{b}": (a, b) for a, b in PAIRS if a in placed and b in placed}
    agreement = {
        name: np.asarray((placed[a] * placed[b]).sum(axis=1), np.float64)
        for name, (a, b) in pairs.items()
    }
    document = {
        "by": by,
        "folds": len(np.unique(fold)),
        "people": len(np.unique(table.person)),
        "recordings": len(np.unique(table.recording)),
        "windows": len(table),
        "pairs": {
            name: _pair(table, placed[a], placed[b], fold, settings)
            for name, (a, b) in pairs.items()
        },
        "identity": _identity(table, raw, placed, fold, settings) if by == "person" else {},
    }
    document["limits"] = _limits(document)
    return Assessment(by, fold, placed, agreement, document)


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


def _pair(
    table: WindowTable, a: Singles, b: Singles, fold: Codes, settings: RetrievalSettings
) -> dict[str, Any]:
    """Both directions of a pair: within the person, when shifted, among other people.

    With one person the folds are stretches of time with a space of their own each, and so are the
    pools of candidates: a person is then one pool a fold.
    """
    one = len(np.unique(table.person)) < 2
    inside = _by_fold(table, fold) if one else table
    found: dict[str, Any] = {}
    for name, (query, answer) in {"forward": (a, b), "backward": (b, a)}.items():
        within = ranks_of(inside, query, answer, settings, pool=fold)
        if one:  # and no interval over people
            within = replace(within, person=np.zeros_like(within.person))
        across = None
        if not one:
            across = ranks_of(inside, query, answer, settings, against="others", pool=fold)
        found[name] = {
            "within": recall_summary(within, settings),
            "shifted_r1": time_shift_null(inside, query, answer, settings),
            "across": None if across is None else recall_summary(across, settings),
        }
    return found


def _by_fold(table: WindowTable, fold: Codes) -> WindowTable:
    """One person's stretches of time as if they were people, with recordings of their own."""
    stretch = table.recording * (int(fold.max()) + 1) + fold
    return WindowTable(table.vectors, stretch, fold, table.start_s, table.length_s)


def _identity(
    table: WindowTable,
    raw: WindowTable,
    placed: dict[str, Singles],
    fold: Codes,
    settings: RetrievalSettings,
) -> dict[str, Any]:
    """The probe for every modality: embeddings against mean-removed inputs, and the raw ones."""
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
            seed=settings.seed,
            n_resamples=settings.n_resamples,
        )
        if probe is None:
            continue
        gaps = [d["ci95"] for d in probe["difference"]["mean_removed"].values()]
        probe["passes"] = all(gap is not None and gap[0] <= 0.0 for gap in gaps)
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
    sides = [side for pair in document["pairs"].values() for side in pair.values()]
    if any(side["within"] is None for side in sides):
        limits.append("too_short")
    if any(side["shifted_r1"] is None for side in sides):
        limits.append("no_null")
    return limits
