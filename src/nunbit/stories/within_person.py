"""The story of ``nunbit compare``: conditions within persons, from windows to intervals.

Neighbouring windows repeat one another, so a mean of windows has an interval that counts
independent stretches (``statistics.series``); and recordings of one person are alike, so a mean
over persons counts each person once. Mixed models are left to R: ``cells.csv`` is what they want.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nunbit.core.messages import InputError, NunbitError, Text
from nunbit.core.streams import Flags, Floats
from nunbit.datasets.tabular import open_table
from nunbit.report.group_figures import (
    MIN_PERSONS,
    distinct_names,
    mean_over_persons,
    recordings_below,
)
from nunbit.report.joined_tables import in_order
from nunbit.report.paper_figures import seconds_of
from nunbit.report.timeline_data import Recording
from nunbit.runtime.files import atomic_path, write_json, writing
from nunbit.runtime.progress import say
from nunbit.runtime.resources import nunbit_version
from nunbit.runtime.results import write_csv_table
from nunbit.statistics import t_quantile
from nunbit.statistics.series import STUDENT_12, summarise

USUAL = (
    *("face.p_joy", "face.expressivity", "face.negative_share", "face.head_speed"),
    *("voice.speech_share", "voice.f0_median", "voice.f0_sd_st", "voice.level_sd"),
    "text.speech_rate",
)
"""Measures where none are asked for."""

CELLS_FILE, DIFFERENCES_FILE, SUMMARY_FILE = "cells.csv", "differences.csv", "comparison.json"
SPEAKING = ("speaking", "not_speaking")
_SPEAKS = 0.5  # a window in which the person speaks half of the time or more
_EDGE_S = 1e-6


@dataclass(frozen=True)
class CompareOrder:
    """What is compared.

    Attributes:
        measures: ``<modality>.<measure>``; empty = ``USUAL``.
        by: ``group`` of the recordings, or ``speaking`` (windows in which the person speaks).
        conditions: Table of stretches (recording, start, end, condition); wins over ``by``.
    """

    measures: tuple[str, ...] = ()
    by: str = "group"
    conditions: Path | None = None


@dataclass(frozen=True)
class ConditionStretch:
    """A stretch of a recording in one condition, [start, end) seconds."""

    start_s: float
    end_s: float
    condition: str


@dataclass(frozen=True)
class Compared:
    """What ``compare`` found.

    Attributes:
        cells: A row a recording, condition and measure.
        differences: A row a person, pair of conditions and measure; ``person`` is ``*`` for all.
        document: ``comparison.json``.
    """

    cells: pa.Table
    differences: pa.Table
    document: Mapping[str, Any]


def compare(timelines: Sequence[Path], out: Path, order: CompareOrder) -> Compared:
    """Compare conditions within persons and write three files.

    Args:
        timelines: Folders of recordings, or of many of them.
        out: Gets ``cells.csv``, ``differences.csv`` and ``comparison.json``.
        order: What is compared.

    Raises:
        InputError: There is no recording, a stretch cannot be read, there is one condition only,
            or a table that is read would be written over.
    """
    _refuse_input(out, order.conditions)
    recordings = recordings_below(timelines)
    names = distinct_names([recording.folder for recording in recordings])
    given = None if order.conditions is None else read_stretches(order.conditions, recordings)
    rows: list[dict[str, Any]] = []
    for recording in recordings:
        masks = _masks(recording, order.by, given)
        for measure in order.measures or USUAL:
            modality, _, name = measure.partition(".")
            series = recording.find(modality, name)
            if series is not None:
                own = names[recording.folder]
                rows += [
                    _cell(recording, own, c, measure, series.value, m) for c, m in masks.items()
                ]
    if order.measures:
        _require(order.measures, rows, recordings)
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    if len(conditions) < 2:
        by_speech = given is None and order.by == "speaking"
        raise InputError(_NOBODY_SPEAKS if by_speech else _one_condition(conditions))
    differences = differences_of(rows)
    document = {
        "kind": "comparison",
        "nunbit": nunbit_version(),
        "by": "conditions" if given is not None else order.by,
        "conditions": conditions,
        "persons": sorted({row["person"] for row in rows}),
        "unnamed": sorted(names[r.folder] for r in recordings if not r.summary.get("subject")),
        "recordings": len(recordings),
        "measures": list(dict.fromkeys(row["measure"] for row in rows)),
        "differences": [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            for row in differences
        ],
    }
    result = Compared(
        _table_of(rows, _CELL_COLUMNS), _table_of(differences, _DIFFERENCE_COLUMNS), document
    )
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, table in ((CELLS_FILE, result.cells), (DIFFERENCES_FILE, result.differences)):
        with atomic_path(out / name) as partial:
            write_csv_table(partial, table)
    write_json(out / SUMMARY_FILE, document)
    return result


def _refuse_input(out: Path, table: Path | None) -> None:
    written = {(out / name).resolve() for name in (CELLS_FILE, DIFFERENCES_FILE, SUMMARY_FILE)}
    if table is not None and table.resolve() in written:
        raise InputError(
            Text(
                f"{table}: would be written over; choose another `out`",
                f"{table}: 읽을 표를 덮어쓰게 됩니다. 다른 `out`을 고르십시오",
            )
        )


# --- which windows belong to which condition ---


def read_stretches(
    path: Path, recordings: Sequence[Recording]
) -> dict[Path, list[ConditionStretch]]:
    """The conditions within recordings, from a table.

    Args:
        path: Columns recording (its folder's name, or the file's; of several folders of one name
            with the folder above it), start, end, condition; times as ``90`` or ``1:30``.
        recordings: Those there are.

    Raises:
        InputError: A column is missing, a row cannot be read or is of several recordings; names
            the row.
    """
    table = open_table(path)
    wanted = ("recording", "start", "end", "condition")
    if missing := [name for name in wanted if name not in table.columns]:
        have = ", ".join(table.columns)
        raise table.error(
            Text(
                f"no column {', '.join(missing)}; there are: {have}",
                f"{', '.join(missing)} 열이 없습니다. 있는 열: {have}",
            )
        )
    names = _known_names(recordings)
    found: dict[Path, list[ConditionStretch]] = {}
    for row in table.rows():
        given, condition = row.text("recording") or "", row.text("condition") or ""
        if given not in names or not condition:
            known = ", ".join(sorted(names)[:4])
            raise row.error(
                Text(
                    f"no recording '{given}' here; there are: {known}, …"
                    if condition
                    else "no condition is given",
                    f"'{given}' 녹화가 없습니다. 있는 녹화: {known}, …"
                    if condition
                    else "조건이 적혀 있지 않습니다",
                )
            )
        if len(names[given]) > 1:
            raise row.error(_ambiguous(given, names[given]))
        try:
            start, end = (seconds_of(row.text(edge) or "", edge) for edge in ("start", "end"))
        except NunbitError as exc:
            raise row.error(exc.text) from exc
        if not start < end:
            raise row.error(Text("the end is not after the start", "끝이 시작보다 뒤가 아닙니다"))
        own = found.setdefault(names[given][0], [])
        own.append(ConditionStretch(start, end, condition))
    return found


def _known_names(recordings: Sequence[Recording]) -> dict[str, list[Path]]:
    """What a table may call a recording -> the folders that are called so."""
    names: dict[str, list[Path]] = {}
    for folder, name in distinct_names([each.folder for each in recordings]).items():
        for known in {name, folder.absolute().name}:
            names.setdefault(known, []).append(folder)
    files: dict[str, list[Path]] = {}
    for recording in recordings:
        file = str(recording.summary["media"]["name"])
        for known in {file, Path(file).stem}:
            files.setdefault(known, []).append(recording.folder)
    return files | names  # a folder's name wins over a file's


def _ambiguous(name: str, folders: Sequence[Path]) -> Text:
    own = list(distinct_names(folders).values())
    which = ", ".join(map(str, folders[:3]))
    return Text(
        f"several recordings are called '{name}': {which}; write for example '{own[0]}'",
        f"'{name}' 녹화가 여럿입니다: {which}. 예를 들어 '{own[0]}'처럼 적으십시오",
    )


def _masks(
    recording: Recording, by: str, given: Mapping[Path, list[ConditionStretch]] | None
) -> dict[str, Flags]:
    """Condition -> (W,) whether a window lies wholly inside it."""
    starts, ends = recording.starts, recording.ends
    if given is not None:
        found: dict[str, Flags] = {}
        for each in given.get(recording.folder, ()):
            inside = (starts >= each.start_s - _EDGE_S) & (ends <= each.end_s + _EDGE_S)
            found[each.condition] = found.get(each.condition, np.zeros(len(starts), bool)) | inside
        return found
    if by == "speaking":
        series = recording.find("voice", "speech_share")
        if series is None:
            return {}
        speaks = series.value >= _SPEAKS
        return {SPEAKING[0]: speaks & series.there, SPEAKING[1]: ~speaks & series.there}
    group = dict(recording.summary.get("about") or {}).get("group") or ""
    return {group: np.ones(len(starts), bool)} if group else {}


# --- a cell: one measure in one condition of one recording ---


def _cell(
    recording: Recording, name: str, condition: str, measure: str, values: Floats, inside: Flags
) -> dict[str, Any]:
    series = np.where(inside, values, np.nan)
    found = summarise(series, recording.hop_s) if len(series) else None
    about = dict(recording.summary.get("about") or {})
    low, high = (found.ci95 if found is not None and found.ci95 else None) or (math.nan, math.nan)
    return {
        "recording": name,
        "person": str(recording.summary.get("subject") or name),
        "session": about.get("session") or name,
        "group": about.get("group") or "",
        "condition": condition,
        "measure": measure,
        "value": math.nan if found is None else found.mean,
        "low": low,
        "high": high,
        "n_windows": int(np.isfinite(series).sum()),
        "n_independent": math.nan if found is None else found.n_independent,
        "why": (found.reason if found is not None else "too_few") or "",
    }


_TEXTS = ("recording", "person", "session", "group", "condition", "measure", "why", "from",
          "to", "interval_of")  # fmt: skip


def _table_of(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> pa.Table:
    return pa.table(
        {
            name: pa.array(
                [row[name] if row[name] != "" else None for row in rows],
                pa.string() if name in _TEXTS else pa.int64() if name in _WHOLE else pa.float64(),
            )
            for name in names
        }
    )


_WHOLE = ("n_windows", "n_persons", "n_recordings", "n_left_out")
_CELL_COLUMNS = ("recording", "person", "session", "group", "condition", "measure", "value", "low",
                 "high", "n_windows", "n_independent", "why")  # fmt: skip
_DIFFERENCE_COLUMNS = ("person", "measure", "from", "to", "difference", "low", "high",
                       "interval_of", "n_recordings", "n_persons", "n_left_out")  # fmt: skip


# --- differences within a person, and over persons ---


def differences_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Differences between conditions for every person and measure, then over persons.

    Args:
        rows: Cells.

    Returns:
        ``interval_of`` says what an interval is over: ``recordings`` (three or more of both
        conditions), ``time`` (the recordings that there are), ``persons``, '' where none is given.
        ``n_left_out`` counts recordings with one of the conditions, where others have both.
    """
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    persons = list(dict.fromkeys(row["person"] for row in rows))
    found: list[dict[str, Any]] = []
    for measure in dict.fromkeys(row["measure"] for row in rows):
        for first, second in combinations(conditions, 2):
            own = []
            for person in persons:
                cells = [
                    [r for r in rows if (r["person"], r["measure"], r["condition"]) ==
                     (person, measure, condition) and math.isfinite(r["value"])]
                    for condition in (first, second)
                ]  # fmt: skip
                if all(cells):
                    own.append(_difference(person, measure, first, second, *cells))
            found += own
            if len(own) > 1:
                found.append(_over_persons(own))
    return found


def _difference(
    person: str,
    measure: str,
    first: str,
    second: str,
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    # Recordings with both conditions are compared each with itself, and others not at all: who has
    # one condition only would bring in what sets recordings apart.
    names = [{r["recording"] for r in cells} for cells in (before, after)]
    both = names[0] & names[1]
    if both:
        before, after = (
            sorted((r for r in cells if r["recording"] in both), key=lambda r: r["recording"])
            for cells in (before, after)
        )
        steps = np.array([b["value"] - a["value"] for a, b in zip(before, after, strict=True)])
        difference, half = float(steps.mean()), _half_of(steps)
    else:
        a, b = (np.array([r["value"] for r in cells]) for cells in (before, after))
        difference, half = float(b.mean() - a.mean()), _half_of(a, b)
    kind = "recordings"
    if math.isnan(half):
        half, kind = _half_in_time(before, after), "time"
    low, high = difference - half, difference + half
    return {
        "person": person, "measure": measure, "from": first, "to": second,
        "difference": difference, "low": low, "high": high,
        "interval_of": "" if math.isnan(half) else kind,
        "n_recordings": len({r["recording"] for r in (*before, *after)}), "n_persons": 1,
        "n_left_out": len(names[0] ^ names[1]) if both else 0,
    }  # fmt: skip


def _half_of(*samples: Floats) -> float:
    """Half a 95% t interval over recordings; NaN of fewer than three, or where all are alike."""
    if min(map(len, samples)) < MIN_PERSONS or not any(np.ptp(x) for x in samples):
        return math.nan
    parts = [float(x.var(ddof=1)) / len(x) for x in samples]
    df = min(len(x) - 1.0 for x in samples)  # the careful one of those in use for unequal spreads
    return t_quantile(df) * math.sqrt(sum(parts))


def _half_in_time(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> float:
    """Half an interval that says how well the means of just these recordings are known."""
    total = 0.0
    for cells in (before, after):
        errors = [(r["high"] - r["low"]) / 2 / STUDENT_12 / len(cells) for r in cells]
        total += sum(error**2 for error in errors)
    return STUDENT_12 * math.sqrt(total) if total else math.nan


def _over_persons(own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mean, low, high = mean_over_persons([(row["person"], row["difference"]) for row in own])
    return {
        **own[0], "person": "*", "difference": mean, "low": low, "high": high,
        "interval_of": "" if math.isnan(low) else "persons",
        "n_recordings": sum(row["n_recordings"] for row in own), "n_persons": len(own),
        "n_left_out": sum(row["n_left_out"] for row in own),
    }  # fmt: skip


# --- what cannot be compared ---


_NOBODY_SPEAKS = Text(
    "nothing to compare: no recording tells when somebody speaks; their sound was not read or "
    "holds no speech. Analyze them with sound",
    "비교할 것이 없습니다. 언제 말하는지 알 수 있는 녹화가 없습니다. 소리를 읽지 않았거나 말소리가 "
    "없습니다. 소리가 있는 녹화를 분석하십시오",
)


def _one_condition(conditions: Sequence[str]) -> Text:
    have = ", ".join(conditions) or "-"
    return Text(
        f"nothing to compare: the recordings have one condition ({have}). Give groups with "
        "`people` of `analyze`, stretches with --conditions, or --by speaking",
        f"비교할 것이 없습니다. 녹화의 조건이 하나입니다({have}). `analyze`의 `people`로 집단을, "
        "--conditions로 구간을 주거나 --by speaking을 쓰십시오",
    )


def _require(
    measures: Sequence[str], rows: Sequence[Mapping[str, Any]], recordings: Sequence[Recording]
) -> None:
    known = in_order({f"{m}.{n}" for r in recordings for m, n, track in r.series if not track})
    if unknown := [name for name in measures if name not in known]:
        raise InputError(
            Text(
                f"no windows of {', '.join(unknown)}; there are: {', '.join(known[:10])}, …",
                f"{', '.join(unknown)}의 창이 없습니다. 있는 측정값: {', '.join(known[:10])}, …",
            )
        )
    for name in measures:
        if not any(row["measure"] == name and math.isfinite(row["value"]) for row in rows):
            say(Text(f"{name}: no values in the conditions", f"{name}: 조건 안에 값이 없습니다"))
