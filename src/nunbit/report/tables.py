"""Tables for a paper: each as CSV (full precision, for programs) and LaTeX (for print)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.files import spreadsheet_text, write_text
from nunbit.report.contrasts import compared
from nunbit.report.view import View

Cell = str | int | float | None
_SCORES = ("top1", "macro_f1", "uar")
_BINARY = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain cells.

    Attributes:
        name: File name without its ending.
        header: Column names.
        rows: Cells; a score is a share, its interval two further columns.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def write_tables(folder: Path, view: View) -> None:
    """Write every table of a result that has rows."""
    for table in evaluation_tables(view):
        if table.rows:
            # Excel takes a CSV without this mark for CP949 and breaks every Hangul.
            write_text(folder / f"{table.name}.csv", "\ufeff" + csv_text(table))
            write_text(folder / f"{table.name}.tex", latex_text(table))


def evaluation_tables(view: View) -> Iterator[Table]:
    """The tables of a result."""
    d, t = view.d, view.t
    labels = d["labels"]
    names = [view.name(label) for label in labels]
    corner = f"{t('confusion.truth')} / {t('confusion.prediction')}"
    yield Table(
        "confusion",
        (corner, *names),
        tuple((name, *row) for name, row in zip(names, d["confusion"], strict=True)),
    )
    yield _scores(view, "headline", [(view.policy(d["policy"]), d)])
    keys = ("precision", "recall", "f1")
    yield Table(
        "per_class",
        (t("metric.class"), *_with_intervals(view, keys), t("metric.support")),
        tuple(
            (view.name(x), *_cells(d["per_class"][x], keys), d["per_class"][x]["support"])
            for x in labels
        ),
    )
    yield _scores(view, "policies", [(view.policy(k), e) for k, e in d["policies"].items()])
    yield _scores(view, "templates", list(d["per_template"].items()))
    yield _scores(view, "ensembles", [(t(f"ensemble.{k}"), e) for k, e in d["ensembles"].items()])
    groups = [
        (f"{t.get(f'subgroups.{attribute}')}: {group['value']}", group)
        for attribute, section in d["subgroups"].items()
        for group in section["groups"]
    ]
    yield _scores(view, "subgroups", groups)
    yield _binary(view)
    others = compared(view) if d["comparison"] else []
    entries = [(name, {**entry, "ci95": entry.get("ci95") or {}}) for name, entry, _ in others]
    yield _scores(view, "comparison", entries)
    runs = d["seeds"]["runs"] if d["seeds"] else []
    yield Table(
        "seeds",
        (t("metric.name"), *(t(f"metric.{key}") for key in _SCORES)),
        tuple((r["name"] or t("comparison.this"), *(r[key] for key in _SCORES)) for r in runs),
    )


def csv_text(table: Table) -> str:
    """A table as CSV; an empty cell is a number that does not exist, no text is a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([spreadsheet_text(name) for name in table.header])
    writer.writerows([[_csv_cell(cell) for cell in row] for row in table.rows])
    return stream.getvalue()


def _csv_cell(cell: Cell) -> Cell:
    if cell is None:
        return ""
    return spreadsheet_text(cell) if isinstance(cell, str) else cell


def latex_text(table: Table) -> str:
    """A table as a LaTeX ``tabular`` in booktabs style; intervals stand in brackets.

    Hangul needs a class or package with Korean fonts, for example ``kotex``.
    """
    header, rows = _merge_intervals(table)
    columns = "l" + "r" * (len(header) - 1)
    lines = [
        "% needs \\usepackage{booktabs}; Korean text needs \\usepackage{kotex}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(_escape(h) for h in header) + r" \\",
        "\\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _scores(view: View, name: str, entries: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    return Table(
        name,
        (view.t("metric.name"), *_with_intervals(view, _SCORES), view.t("metric.support")),
        tuple((label, *_cells(e, _SCORES), e["n"]) for label, e in entries),
    )


def _binary(view: View) -> Table:
    d, t = view.d["binary"], view.t
    rows: list[tuple[Cell, ...]] = []
    if d.get("group"):
        ways = {
            t("binary.posterior_sum"): d["posterior_sum"],
            t("binary.threshold", value=f"{d['threshold']['value']:.2f}"): d["threshold"],
            t("binary.collapsed"): d["collapsed"],
            t("binary.two_prompt"): d["two_prompt"],
            **{
                t("binary.wording", name=t.get(f"binary.{k}")): e
                for k, e in d["two_prompt"]["wordings"].items()
            },
            t("binary.constant"): d["constant"],
        }
        rows = [(name, *_cells(e, _BINARY), e["n"]) for name, e in ways.items() if e["n"]]
    header = (t("metric.name"), *_with_intervals(view, _BINARY), t("metric.support"))
    return Table("binary", header, tuple(rows))


def _with_intervals(view: View, keys: Sequence[str]) -> Iterator[str]:
    for key in keys:
        name = view.t(f"metric.{key}")
        yield from (name, f"{name} 2.5%", f"{name} 97.5%")


def _cells(entry: dict[str, Any], keys: Sequence[str]) -> Iterator[Cell]:
    for key in keys:
        yield entry[key]
        yield from entry["ci95"].get(key) or (None, None)


def _merge_intervals(table: Table) -> tuple[list[str], list[list[str]]]:
    """Put each interval behind its score: three columns become one."""
    groups: list[tuple[str, int, bool]] = []
    i = 0
    while i < len(table.header):
        merged = i + 2 < len(table.header) and table.header[i + 2].endswith(" 97.5%")
        groups.append((table.header[i], i, merged))
        i += 3 if merged else 1
    rows = []
    for row in table.rows:
        cells = []
        for _, start, merged in groups:
            text = _latex_cell(row[start])
            if merged and row[start + 1] is not None:
                text += f" [{_latex_cell(row[start + 1])}, {_latex_cell(row[start + 2])}]"
            cells.append(text)
        rows.append(cells)
    return [name for name, _, _ in groups], rows


def _latex_cell(cell: Cell) -> str:
    if cell is None:
        return "--"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else _escape(cell)


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
