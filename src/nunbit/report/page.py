"""The page of an evaluation, its CSV and LaTeX tables, and the short table on the terminal."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nunbit.core.messages import InputError, Lang, Text
from nunbit.report import sections, shapes
from nunbit.report.figures import write_figures
from nunbit.report.sections import BINARY, compared
from nunbit.report.shapes import Document
from nunbit.report.view import HEADLINE, View
from nunbit.runtime.files import read_json, spreadsheet_text, write_text
from nunbit.runtime.progress import pad, width
from nunbit.runtime.resources import packaged_text
from nunbit.runtime.results import EvalResult

# --- tables for a paper: each as CSV (full precision, for programs) and LaTeX (for print) ---

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class ReportTable:
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
    """Write every table of a result that has rows.

    LaTeX speaks the report's language; CSV is English whatever the language, so that a script
    which reads it goes on working.
    """
    same = evaluation_tables(View(view.d, "en"))
    for table, plain in zip(evaluation_tables(view), same, strict=True):
        if table.rows:
            # Excel takes a CSV without this mark for CP949 and breaks what is not ASCII.
            write_text(folder / f"{table.name}.csv", "\ufeff" + csv_text(plain))
            write_text(folder / f"{table.name}.tex", latex_text(table))


def evaluation_tables(view: View) -> Iterator[ReportTable]:
    """The tables of a result."""
    d, t = view.d, view.t
    labels = d["labels"]
    names = [view.name(label) for label in labels]
    corner = f"{t('confusion.truth')} / {t('confusion.prediction')}"
    yield ReportTable(
        "confusion",
        (corner, *names),
        tuple((name, *row) for name, row in zip(names, d["confusion"], strict=True)),
    )
    yield _scores(view, "headline", [(view.policy(d["policy"]), d)])
    keys = ("precision", "recall", "f1")
    yield ReportTable(
        "per_class",
        _score_header(view, keys, "class"),
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
    yield ReportTable(
        "seeds",
        (t("metric.name"), *(t(f"metric.{key}") for key in HEADLINE)),
        tuple(
            (run["name"] or t("comparison.this"), *(run[key] for key in HEADLINE))
            for run in (d["seeds"]["runs"] if d["seeds"] else ())
        ),
    )


def csv_text(table: ReportTable) -> str:
    """A table as CSV; an empty cell is a number that does not exist, no text is a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([spreadsheet_text(name) for name in table.header])
    writer.writerows(
        [spreadsheet_text(cell) if isinstance(cell, str) else cell for cell in row]
        for row in table.rows
    )
    return stream.getvalue()


def latex_text(table: ReportTable) -> str:
    """A table as a LaTeX ``tabular`` in booktabs style; intervals stand in brackets.

    Hangul needs a class or package with Korean fonts, for example ``kotex``.
    """
    # An interval stands behind its score: three columns become one.
    bounds = {n for n, name in enumerate(table.header) if name.endswith((" 2.5%", " 97.5%"))}
    kept = [n for n in range(len(table.header)) if n not in bounds]
    lines = [
        "% needs \\usepackage{booktabs}; Korean text needs \\usepackage{kotex}",
        f"\\begin{{tabular}}{{l{'r' * (len(kept) - 1)}}}",
        "\\toprule",
        " & ".join(_escape(table.header[n]) for n in kept) + r" \\",
        "\\midrule",
        *(" & ".join(_latex_score(row, n, n + 1 in bounds) for n in kept) + r" \\"
          for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _scores(view: View, name: str, entries: Sequence[tuple[str, Document]]) -> ReportTable:
    return ReportTable(
        name,
        _score_header(view, HEADLINE),
        tuple((label, *_cells(e, HEADLINE), e["n"]) for label, e in entries),
    )


def _binary(view: View) -> ReportTable:
    d, t, rows = view.d["binary"], view.t, list[tuple[Cell, ...]]()
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
        rows = [(name, *_cells(e, BINARY), e["n"]) for name, e in ways.items() if e["n"]]
    return ReportTable("binary", _score_header(view, BINARY), tuple(rows))


def _score_header(view: View, keys: Sequence[str], first: str = "name") -> tuple[str, ...]:
    """Names of the columns: what is scored, each score with its interval, images."""
    scores = [view.t(f"metric.{key}") + end for key in keys for end in ("", " 2.5%", " 97.5%")]
    return (view.t(f"metric.{first}"), *scores, view.t("metric.support"))


def _cells(entry: Document, keys: Sequence[str]) -> Iterator[Cell]:
    for key in keys:
        yield entry[key]
        yield from entry["ci95"].get(key) or (None, None)


def _latex_score(row: Sequence[Cell], at: int, bounded: bool) -> str:
    text = _latex_cell(row[at])
    if not bounded or row[at + 1] is None:
        return text
    return f"{text} [{_latex_cell(row[at + 1])}, {_latex_cell(row[at + 2])}]"


def _latex_cell(cell: Cell) -> str:
    if cell is None:
        return "--"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else _escape(cell)


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


# --- a result on a terminal, aligned although a Hangul syllable is two columns wide ---


def confusion_text(result: EvalResult, lang: Lang) -> str:
    """The confusion matrix for a terminal: counts, rows = truth, recall at the end of each row."""
    view = View(result.document, lang)
    names = [view.name(label) for label in result.labels]
    first = max(width(name) for name in names)
    cells = [[f"{int(count)}" for count in row] for row in result.confusion]
    columns = [max(map(width, column)) for column in zip(names, *cells, strict=True)]
    last = view.t("metric.recall")
    recalls = (None if recall != recall else float(recall) for recall in result.recall)
    shares = [pad(shapes.percent(recall), width(last)) for recall in recalls]
    lines = [f"({view.t('terminal.rows_truth')})"]
    for name, row, share in zip(["", *names], [names, *cells], [last, *shares], strict=True):
        counts = "  ".join(pad(cell, size) for cell, size in zip(row, columns, strict=True))
        lines.append(f"{pad(name, first, left=True)}  {counts}   {share}")
    return "\n".join(lines)


def evaluation_text(result: EvalResult, out: Path, lang: Lang) -> str:
    """Headline, warnings, confusion matrix and the place of the report, for a terminal.

    Args:
        result: The timeline.
        out: Folder of the evaluation.
        lang: Language.
    """
    view = View(result.document, lang)
    facts = " · ".join(f"{name} {value}" for name, value in view.facts())
    scores = [
        f"{pad(view.t(f'metric.{key}'), 22, left=True)} "
        f"{shapes.percent(result.document[key]):>6}  "
        f"[{shapes.percent_interval(result.ci95[key])}]"
        for key in HEADLINE
    ]
    warnings = [f"! {text}" for text in view.warnings("warning")]
    return "\n".join(
        [
            facts,
            "",
            *scores,
            "",
            confusion_text(result, lang),
            "",
            *warnings,
            *([""] if warnings else []),
            f"{view.t('terminal.report')}: {out / 'report.html'}",
        ]
    )


# --- ``EVAL/report.html``: one self-contained file made from ``result.json`` ---

REPORT = "report.html"
PICTURES = "mistakes"

_CONTENTS = (
    "headline",
    "confusion",
    "classes",
    "labels",
    "people",
    "subgroups",
    "calibration",
    "prompts",
    "binary",
    "comparison",
    "mistakes",
    "method",
)


def render_evaluation(eval_dir: Path, *, lang: Lang) -> Path:
    """Write the report, its figures and its tables from ``result.json``.

    Crops in ``mistakes/`` (written on request) are put into the page; nothing else is read, and
    the page loads nothing from anywhere.

    Args:
        eval_dir: Folder of the evaluation.
        lang: Language of the page, the figures and the tables.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: There is no evaluation here, or it cannot be read or written.
    """
    view = View(read_result(eval_dir), lang)
    path = eval_dir / REPORT
    write_text(path, evaluation_html(view, _pictures(eval_dir, view.d)))
    write_figures(eval_dir, view)
    write_tables(eval_dir / "tables", view)
    return path


def read_result(eval_dir: Path) -> Document:
    """``result.json`` of an evaluation.

    Raises:
        InputError: There is none, or it is of another format.
    """
    path = eval_dir / "result.json"
    if not path.is_file():
        raise InputError(
            Text(
                f"{eval_dir}: no evaluation here (no result.json); give the folder that `evaluate` "
                "wrote",
                f"{eval_dir}: 평가 결과가 아닙니다(result.json 없음). `evaluate`가 만든 폴더를 "
                "주십시오",
            )
        )
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != "nunbit-evaluation-1":
        raise InputError(
            Text(
                f"{path}: not a result of this nunbit's evaluate; evaluate again",
                f"{path}: 이 nunbit의 평가 결과가 아닙니다. 다시 평가하십시오",
            )
        )
    return document


def evaluation_html(view: View, pictures: dict[str, str]) -> str:
    """The page as text.

    Args:
        view: The result and its texts.
        pictures: Record id -> data URI of a crop.
    """
    sentences, plot = view.headline()
    labels, comparison = sections.labels(view), sections.comparison(view)
    absent = set() if comparison else {"comparison"}
    absent |= set() if labels["policies"] or labels["annotators"] else {"labels"}
    return page(
        "evaluation.html",
        view.t,
        view=view,
        d=view.d,
        title=view.heading(),
        script=asset("script.js"),
        version=view.d["provenance"]["nunbit"],
        synthetic=bool((view.d["dataset"] or {}).get("synthetic")),
        contents=[(key, view.t(f"{key}.title")) for key in _CONTENTS if key not in absent],
        warnings=view.warnings("warning"),
        notes=view.warnings("note"),
        headline_sentences=sentences,
        headline_plot=plot,
        chance=shapes.percent(view.d["chance"]["uniform"]),
        confusion=view.confusion(),
        distribution=view.distribution(),
        classes=view.classes(),
        people=sections.people(view),
        subgroups=sections.subgroups(view),
        gap_tested=sections.gap_tested(view),
        calibration=sections.calibration(view),
        prompts=sections.prompts(view),
        binary=sections.binary(view),
        mistakes=view.mistakes(pictures),
        method=view.method(),
        labels=labels,
        comparison=comparison,
    )


# --- parts of every page ---


def page(template: str, t: shapes.Texts, *, more_style: str = "", **parts: Any) -> str:
    """A page as text: a template with its texts and parts; it loads nothing from anywhere."""
    style = asset("style.css") + more_style
    return str(environment().get_template(template).render(lang=t.lang, t=t, style=style, **parts))


@cache
def environment() -> Environment:
    """The templates of the package: everything is escaped, nothing may be undefined."""
    return Environment(
        loader=PackageLoader("nunbit.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """A style or script of the package, which is code and not data: not escaped."""
    return Markup(packaged_text(f"report/templates/{name}"))


def _pictures(eval_dir: Path, document: Document) -> dict[str, str]:
    found: dict[str, str] = {}
    if not (document["provenance"].get("settings") or {}).get("with_images"):
        return found  # a folder of that name is somebody else's, or of an earlier evaluation
    for mistake in document["confident_mistakes"]:
        record = mistake["record_id"]
        path = eval_dir / PICTURES / f"{record}.jpg"
        # Ids of foreign prediction files may hold anything; a path may not.
        if path.name == f"{record}.jpg" and path.is_file():
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            found[record] = f"data:image/jpeg;base64,{data}"
    return found
