"""Labels of a study: a table with an outcome a person or session, or a label a stretch of time.

The header alone says which kind it is, so that the plan can be written before a label is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.core.spans import lists_by_key
from nunbit.datasets.tabular import OpenTable, TableRow, open_table

Kind = Literal["outcome", "emotion"]

_PERSON = ("person", "subject", "subject_id", "participant", "participant_id")
_SESSION = ("session", "recording", "file", "media")
_SITE = ("site", "center", "centre")
_INTERVIEWER = ("interviewer", "interviewer_session")
_START, _END = ("t_start", "start", "start_s"), ("t_end", "end", "end_s")
_LABEL = ("label", "emotion")
_COVARIATES = ("age", "sex", "gender", "education")
_OUTCOMES = (
    "outcome", "score", "total", "phq9", "phq_9", "phq-9", "phq9_total", "phq8", "phq_8", "phq-8",
    "gad7", "gad-7", "bdi", "bdi2", "bdi-ii", "cesd", "ces-d",
)  # fmt: skip

RANGES = {"phq9": (0.0, 27.0), "phq8": (0.0, 24.0), "gad7": (0.0, 21.0), "bdi": (0.0, 63.0),
          "cesd": (0.0, 60.0)}  # fmt: skip
"""Lowest and highest total of known scales; a value outside is a typing error or another scale."""

Value = float | str


@dataclass(frozen=True)
class Columns:
    """What the header says.

    Attributes:
        kind: Outcomes, or labels of stretches of time.
        person, session, site, interviewer: Names of these columns, or None.
        outcome: Of the outcome or label.
        span: Of start and end, seconds; None for outcomes.
        covariates: Columns used as covariates.
        unused: Columns that are not used.
    """

    kind: Kind
    person: str | None
    session: str | None
    site: str | None
    interviewer: str | None
    outcome: str
    span: tuple[str, str] | None
    covariates: tuple[str, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class LabelRow:
    """One row of the table.

    Attributes:
        line: In the file.
        person, session, site, interviewer: As written, or None.
        outcome: The number; NaN where there is none, and for labels.
        label: The class; '' for outcomes.
        span: Start and end, seconds; None for outcomes.
        covariates: By column; None where empty.
    """

    line: int
    person: str | None
    session: str | None
    site: str | None
    interviewer: str | None
    outcome: float = math.nan
    label: str = ""
    span: tuple[float, float] | None = None
    covariates: dict[str, Value | None] = field(default_factory=dict)


def read_columns(
    path: Path, kind: str, outcome: str | None, covariates: Sequence[str]
) -> tuple[OpenTable, Columns]:
    """What the header of a label table says; no label is read.

    Args:
        path: CSV or Parquet.
        kind: ``auto``, ``outcome`` or ``emotion``.
        outcome: The column of the outcome, or None to find it.
        covariates: Columns; empty takes those with a usual name.

    Raises:
        InputError: The table cannot be read, or the columns it needs are missing.
        SettingsError: A column that was named does not exist.
    """
    if not path.is_file():
        raise InputError(
            Text(
                f"{path}: there is no such table of labels; check the path",
                f"{path}: 레이블 표가 없습니다. 경로를 확인하십시오",
            )
        )
    table = open_table(path)
    names = table.columns
    person, session = _first(names, _PERSON), _first(names, _SESSION)
    if person is None and session is None:
        raise table.error(
            Text(
                f"no column says whose the labels are: name one person or session (there are: "
                f"{', '.join(names)})",
                f"누구의 레이블인지 알 수 없습니다. person이나 session 열이 필요합니다(있는 열: "
                f"{', '.join(names)})",
            )
        )
    start, end = _first(names, _START), _first(names, _END)
    span = (start, end) if start and end else None
    found = _kind(table, kind, span)
    taken = {person, session, start, end} | {_first(names, _SITE), _first(names, _INTERVIEWER)}
    chosen = _outcome(table, found, outcome, [n for n in names if n not in taken], covariates)
    wanted = tuple(name.casefold() for name in covariates)
    for name in wanted:
        if name not in names or name == chosen:
            raise _no_column("covariates", name, names)
    used = wanted or tuple(n for n in _COVARIATES if n in names and n != chosen)
    left = tuple(n for n in names if n not in taken | {chosen, *used})
    return table, Columns(found, person, session, _first(names, _SITE),
                          _first(names, _INTERVIEWER), chosen,
                          span if found == "emotion" else None, used, left)  # fmt: skip


def _first(names: Sequence[str], known: Sequence[str]) -> str | None:
    return next((name for name in known if name in names), None)


def _kind(table: OpenTable, kind: str, span: tuple[str, str] | None) -> Kind:
    if kind == "outcome" or (kind == "auto" and span is None):
        return "outcome"
    if span is None or _first(table.columns, _SESSION) is None:
        raise table.error(
            Text(
                "labels of stretches of time need the columns session, t_start, t_end and label",
                "시간 구간의 레이블에는 session, t_start, t_end, label 열이 필요합니다",
            )
        )
    return "emotion"


def _outcome(
    table: OpenTable, kind: Kind, given: str | None, free: Sequence[str], covariates: Sequence[str]
) -> str:
    if given is not None:
        name = given.casefold()
        if name not in table.columns:
            raise _no_column("outcome", given, table.columns)
        return name
    known = _first(free, _LABEL if kind == "emotion" else _OUTCOMES)
    if known is not None:
        return known
    others = [n for n in free if n not in _COVARIATES and n not in covariates]
    if kind == "outcome" and len(others) == 1:
        return others[0]
    raise table.error(
        Text(
            f"which column is the outcome? Name it with `outcome` (there are: {', '.join(free)})",
            f"어느 열이 결과 변수입니까? `outcome`으로 지정하십시오(있는 열: {', '.join(free)})",
        )
    )


def _no_column(setting: str, name: str, names: Sequence[str]) -> SettingsError:
    return SettingsError(
        Text(
            f"`{setting}`: the labels have no column '{name}'; there are: {', '.join(names)}",
            f"`{setting}`: 레이블 표에 '{name}' 열이 없습니다. 있는 열: {', '.join(names)}",
        )
    )


def read_labels(table: OpenTable, columns: Columns) -> tuple[LabelRow, ...]:
    """All rows, checked; rows without an outcome or label are kept with NaN or ''.

    Raises:
        InputError: A value is out of range, a row contradicts another, or nothing varies.
    """
    rows = tuple(_read(table, columns))
    if not rows:
        raise table.error(Text("there is no row of labels", "레이블 행이 없습니다"))
    (_check_outcomes if columns.kind == "outcome" else _check_stretches)(table, columns, rows)
    return rows


def _read(table: OpenTable, columns: Columns) -> Iterator[LabelRow]:
    limits = scale_limits(columns.outcome)
    for row in table.rows():

        def text(name: str | None, row: TableRow = row) -> str | None:
            return None if name is None else row.text(name)

        covariates = {name: _value(row, name) for name in columns.covariates}
        person, session, site = text(columns.person), text(columns.session), text(columns.site)
        if person is None and session is None:
            raise row.error(Text("no person and no session", "person도 session도 없습니다"))
        interviewer = text(columns.interviewer)
        if columns.kind == "outcome":
            outcome = _number(row, columns.outcome, limits)
            yield LabelRow(row.line, person, session, site, interviewer, outcome,
                           covariates=covariates)  # fmt: skip
            continue
        assert columns.span is not None
        start, end = (row.number(name) for name in columns.span)
        if start is None or end is None or not start < end:
            raise row.error(
                Text(
                    f"a label needs a start before its end, in seconds; got {start} and {end}",
                    f"레이블의 시작은 끝보다 앞서야 합니다(초). 값: {start}, {end}",
                )
            )
        yield LabelRow(row.line, person, session, site, interviewer,
                       label=row.text(columns.outcome) or "", span=(start, end),
                       covariates=covariates)  # fmt: skip


def _value(row: TableRow, name: str) -> Value | None:
    text = row.text(name)
    if text is None:
        return None
    try:
        return row.number_of(name, text)
    except InputError:
        return text


def scale_limits(name: str) -> tuple[float, float] | None:
    """Lowest and highest value of a scale known by the name of its column."""
    plain = re.sub(r"[^a-z0-9]", "", name.casefold())
    return next((limits for key, limits in RANGES.items() if plain.startswith(key)), None)


def _number(row: TableRow, name: str, limits: tuple[float, float] | None) -> float:
    value = row.number(name)
    if value is None:
        return math.nan
    if limits is not None and not limits[0] <= value <= limits[1]:
        raise row.error(
            Text(
                f"{name} is {value:g}, but the scale goes from {limits[0]:g} to {limits[1]:g}; "
                "correct it, or name the column otherwise",
                f"{name} 값이 {value:g}인데 척도의 범위는 {limits[0]:g}–{limits[1]:g}입니다. 값을 "
                "고치거나 열 이름을 바꾸십시오",
            )
        )
    return value


def _check_outcomes(table: OpenTable, columns: Columns, rows: Sequence[LabelRow]) -> None:
    keys = [f"{row.session}" if row.session else f"\0{row.person}" for row in rows]
    if said := contradiction(list(zip(keys, rows, strict=True)), columns):
        raise table.error(said)
    values = {row.outcome for row in rows if math.isfinite(row.outcome)}
    if len(values) < 2:
        shown = f"{values.pop():g}" if values else "-"
        raise table.error(
            Text(
                f"{columns.outcome} has the same value in every row ({shown}): a constant cannot "
                "be studied",
                f"{columns.outcome} 값이 모든 행에서 같습니다({shown}). 변하지 않는 값은 연구할 "
                "수 없습니다",
            )
        )


def _check_stretches(table: OpenTable, columns: Columns, rows: Sequence[LabelRow]) -> None:
    classes = {row.label for row in rows if row.label}
    if len(classes) < 2:
        raise table.error(
            Text(
                f"only one class ({', '.join(classes) or '-'}): at least two are needed",
                f"클래스가 하나뿐입니다({', '.join(classes) or '-'}). 둘 이상이 필요합니다",
            )
        )
    if said := contradiction([(f"{r.session or r.person}", r) for r in rows], columns):
        raise table.error(said)


def contradiction(labelled: Sequence[tuple[str, LabelRow]], columns: Columns) -> Text | None:
    """How two rows of the same session contradict each other; None where none do.

    Args:
        labelled: Key of the session (or person), and the row.
        columns: Of the labels.
    """
    for rows in lists_by_key(labelled).values():
        said = _two_classes(rows) if columns.kind == "emotion" else _two_values(rows, columns)
        if said is not None:
            return said
    return None


def _two_values(rows: Sequence[LabelRow], columns: Columns) -> Text | None:
    known = [row for row in rows if math.isfinite(row.outcome)]
    other = next((row for row in known if row.outcome != known[0].outcome), None)
    if other is None:
        return None
    first, whose = known[0].line, other.session or other.person
    return Text(
        f"rows {first} and {other.line} give two values of {columns.outcome} for '{whose}'; "
        "keep one, or name the sessions",
        f"{first}행과 {other.line}행에 '{whose}'의 {columns.outcome} 값이 서로 다르게 있습니다. "
        "하나만 남기거나 session을 적으십시오",
    )


def _two_classes(rows: Sequence[LabelRow]) -> Text | None:
    """Two classes given to one time; a long stretch is compared with all that begin in it."""
    timed = sorted(((row.span, row) for row in rows if row.span is not None and row.label),
                   key=lambda each: each[0])  # fmt: skip
    reach: dict[str, tuple[float, LabelRow]] = {}
    for (start, end), row in timed:
        for label, (until, before) in reach.items():
            if label != row.label and start < until - 1e-6:
                whose = row.session or row.person
                return Text(
                    f"rows {before.line} and {row.line} give two labels ('{before.label}', "
                    f"'{row.label}') for the same time of '{whose}'; keep one",
                    f"{before.line}행과 {row.line}행이 '{whose}'의 같은 시간에 서로 다른 "
                    f"레이블('{before.label}', '{row.label}')을 줍니다. 하나만 남기십시오",
                )
        if end > reach.get(row.label, (-math.inf, row))[0]:
            reach[row.label] = (end, row)
    return None
