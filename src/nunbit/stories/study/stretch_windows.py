"""Windows of labelled stretches: their means, the label-free index, and the shared space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nunbit.core.streams import Floats
from nunbit.space.vectors import WindowTable
from nunbit.space.windows import read_windows
from nunbit.statistics.nested import Codes
from nunbit.stories.study.study_labels import LabelRow
from nunbit.stories.study.study_sample import StudySession, WindowRows, over_stretch


@dataclass(frozen=True, eq=False)
class LabelledSession:
    """One row of labels with its timelines.

    Attributes:
        row: Of the labels.
        session: The participant's timeline.
        person: Whose; stays in memory.
        interviewer: The interviewer's own timeline, or None.
    """

    row: LabelRow
    session: StudySession
    person: str
    interviewer: StudySession | None


def asked_in_stretch(pair: LabelledSession) -> dict[str, float]:
    """The same for a labelled stretch: from windows, or from the whole session without them."""
    found: dict[str, float] = {}
    separate = None if pair.interviewer is None else pair.interviewer.windows
    for prefix, rows in (("interviewer", separate), ("other", pair.session.other_windows)):
        if rows is not None:
            level = about_session_mean(rows)
            values = over_stretch(level, level.names, *span_of(pair.row))
            found |= {f"{prefix}.{n}": float(v) for n, v in zip(level.names, values, strict=True)}
    return found


def span_of(row: LabelRow) -> tuple[float, float]:
    """Start and end of a row of labels that has them, seconds."""
    assert row.span is not None
    return row.span


def has_windows(rows: WindowRows, row: LabelRow) -> bool:
    """Whether any window overlaps the stretch."""
    start, end = span_of(row)
    return bool(((rows.end_s > start) & (rows.start_s < end)).any())


def about_session_mean(rows: WindowRows) -> WindowRows:
    """Windows relative to the mean of the session."""
    there = np.isfinite(rows.values)
    with np.errstate(invalid="ignore"):
        mean = np.where(there, rows.values, 0.0).sum(axis=0) / there.sum(axis=0)
    return WindowRows(rows.start_s, rows.end_s, rows.names, rows.values - mean)


def index_of(pairs: Sequence[LabelledSession], classes: tuple[str, ...]) -> Floats | None:
    """(N, K) the timelines' own fused index, rows sum to one; None where classes differ."""
    names = [f"fused.p_{c}" for c in classes]
    known = {n for p in pairs if p.session.windows for n in p.session.windows.names}
    if not set(names) <= known:
        return None
    rows = [over_stretch(p.session.windows, names, *span_of(p.row)) for p in pairs
            if p.session.windows is not None]  # fmt: skip
    table = np.stack(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(table / table.sum(axis=1, keepdims=True))


def window_table(
    pairs: Sequence[LabelledSession],
    levels: Mapping[int, WindowRows],
    names: Mapping[str, Sequence[str]],
    person: Codes,
) -> tuple[WindowTable | None, tuple[tuple[Codes, Floats], ...]]:
    """All windows of the labelled sessions, and those that each stretch overlaps."""
    if len(names) < 2:
        return None, ()
    first: dict[int, int] = {}
    vectors: dict[str, list[Floats]] = {m: [] for m in names}
    starts, people, recordings = [], [], []
    total = 0
    for at, pair in enumerate(pairs):
        key = id(pair.session)
        if key in first:
            continue
        rows = levels[key]
        first[key] = total
        total += len(rows.start_s)
        place = {n: i for i, n in enumerate(rows.names)}
        for m, columns in names.items():
            vectors[m].append(_filled(rows, [place.get(c, -1) for c in columns]))
        starts.append(rows.start_s)
        people.append(np.full(len(rows.start_s), person[at]))
        recordings.append(np.full(len(rows.start_s), len(first) - 1))
    inside = []
    for pair in pairs:
        rows, (start, end) = levels[id(pair.session)], span_of(pair.row)
        shared = np.minimum(rows.end_s, end) - np.maximum(rows.start_s, start)
        chosen = np.flatnonzero(shared > 0)
        inside.append((chosen + first[id(pair.session)], shared[chosen]))
    length = float(np.median(np.concatenate([r.end_s - r.start_s for r in levels.values()])))
    table = WindowTable(
        vectors={m: np.concatenate(v).astype(np.float32) for m, v in vectors.items()},
        recording=np.concatenate(recordings).astype(np.int64),
        person=np.concatenate(people).astype(np.int64),
        start_s=np.concatenate(starts),
        length_s=length,
    )
    return table, tuple(inside)


def _filled(rows: WindowRows, places: Sequence[int]) -> Floats:
    """(W, F) vectors: 0 (the session's mean) for a gap, NaN rows where most are missing."""
    values = np.full((len(rows.start_s), len(places)), np.nan)
    for column, place in enumerate(places):
        if place >= 0:
            values[:, column] = rows.values[:, place]
    empty = np.isfinite(values).mean(axis=1) < 0.5
    return np.where(empty[:, None], np.nan, np.nan_to_num(values))


def aligned_vectors(pairs: Sequence[LabelledSession]) -> Floats | None:
    """(N, E) mean aligned vectors of each stretch; None unless every session has them."""
    if any(p.session.aligned is None for p in pairs):
        return None
    read: dict[int, dict[str, Any]] = {}
    found = []
    for pair in pairs:
        key = id(pair.session)
        if key not in read and pair.session.aligned is not None:
            read[key] = read_windows(pair.session.aligned)
        stored, (start, end) = read[key], span_of(pair.row)
        inside = (stored["t_end"] > start) & (stored["t_start"] < end)
        parts = []
        for modality in ("face", "voice", "text"):
            rows = np.asarray(stored[modality], np.float64)[inside]
            known = rows[np.isfinite(rows).all(axis=1)]
            parts.append(known.mean(axis=0) if len(known) else np.full(rows.shape[1], np.nan))
        found.append(np.concatenate(parts))
    return np.stack(found)
