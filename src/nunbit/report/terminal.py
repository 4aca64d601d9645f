"""A result in a terminal: aligned although a Hangul syllable is two columns wide."""

from __future__ import annotations

from pathlib import Path

from nunbit.columns import pad, width
from nunbit.errors import Lang
from nunbit.report import shapes
from nunbit.report.view import View
from nunbit.schema import EvalResult


def confusion_text(result: EvalResult, lang: Lang) -> str:
    """The confusion matrix for a terminal: counts, rows = truth, recall at the end of each row."""
    view = View(result.document, lang)
    names = [view.name(label) for label in result.labels]
    first = max(width(name) for name in names)
    cells = [[f"{int(count)}" for count in row] for row in result.confusion]
    columns = [max(width(name), *(len(row[j]) for row in cells)) for j, name in enumerate(names)]
    last = view.t("metric.recall")
    header = (
        " " * first
        + "  "
        + "  ".join(pad(name, size) for name, size in zip(names, columns, strict=True))
    )
    lines = [f"({view.t('terminal.rows_truth')})", f"{header}   {last}"]
    for name, row, recall in zip(names, cells, result.recall, strict=True):
        counts = "  ".join(pad(c, size) for c, size in zip(row, columns, strict=True))
        share = shapes.percent(None if recall != recall else float(recall))
        lines.append(f"{pad(name, first, left=True)}  {counts}   {pad(share, width(last))}")
    return "\n".join(lines)


def evaluation_text(result: EvalResult, out: Path, lang: Lang) -> str:
    """Headline, warnings, confusion matrix and the place of the report, for a terminal.

    Args:
        result: What was found.
        out: Folder of the evaluation.
        lang: Language.
    """
    view = View(result.document, lang)
    facts = " · ".join(f"{name} {value}" for name, value in view.facts())
    scores = [
        f"{pad(view.t(f'metric.{key}'), 22, left=True)} "
        f"{shapes.percent(result.document[key]):>6}  "
        f"[{shapes.percent_interval(result.ci95[key])}]"
        for key in ("top1", "macro_f1", "uar")
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
