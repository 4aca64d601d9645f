"""``EVAL/report.html``: one self-contained file made from ``result.json``."""

from __future__ import annotations

import base64
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nunbit.errors import InputError, Lang
from nunbit.files import read_json, write_text
from nunbit.report import contrasts, sections, shapes
from nunbit.report.figures import write_figures
from nunbit.report.tables import write_tables
from nunbit.report.view import View

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


def read_result(eval_dir: Path) -> dict[str, Any]:
    """``result.json`` of an evaluation.

    Raises:
        InputError: There is none, or it is of another format.
    """
    path = eval_dir / "result.json"
    if not path.is_file():
        raise InputError(
            en=f"{eval_dir}: no evaluation here (no result.json); give the folder that nunbit "
            "evaluate wrote",
            ko=f"{eval_dir}: 평가 결과가 아닙니다(result.json 없음). nunbit evaluate가 만든 폴더를 "
            "주십시오",
        )
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != "nunbit-evaluation-1":
        raise InputError(
            en=f"{path}: not a result of this nunbit's evaluate; evaluate again",
            ko=f"{path}: 이 nunbit의 평가 결과가 아닙니다. 다시 평가하십시오",
        )
    return document


def evaluation_html(view: View, pictures: dict[str, str]) -> str:
    """The page as text.

    Args:
        view: The result and its texts.
        pictures: Record id -> data URI of a crop.
    """
    t = view.t
    sentences, plot = view.headline()
    shown = {
        "labels": sections.labels(view),
        "comparison": contrasts.comparison(view),
    }
    contents = [
        (key, t(f"{key}.title"))
        for key in _CONTENTS
        if not (key == "comparison" and shown["comparison"] is None)
        and not (key == "labels" and not _any_plot(shown["labels"]))
    ]
    html: str = (
        environment()
        .get_template("evaluation.html")
        .render(
            lang=view.lang,
            t=t,
            d=view.d,
            view=view,
            title=view.heading(),
            style=asset("style.css"),
            script=asset("script.js"),
            synthetic=bool((view.d["dataset"] or {}).get("synthetic")),
            contents=contents,
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
            binary=contrasts.binary(view),
            mistakes=view.mistakes(pictures),
            method=view.method(),
            **shown,
        )
    )
    return html


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


def _any_plot(labels: dict[str, Any] | None) -> bool:
    return bool(labels and (labels["policies"] or labels["annotators"]))


def asset(name: str) -> Markup:
    """A style or script of the package, which is code and not data: not escaped."""
    source = resources.files("nunbit.report") / "templates" / name
    return Markup(source.read_text(encoding="utf-8"))


def _pictures(eval_dir: Path, document: dict[str, Any]) -> dict[str, str]:
    found = {}
    for mistake in document["confident_mistakes"]:
        record = mistake["record_id"]
        path = eval_dir / PICTURES / f"{record}.jpg"
        # Ids of foreign prediction files may hold anything; a path may not.
        if path.name == f"{record}.jpg" and path.is_file():
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            found[record] = f"data:image/jpeg;base64,{data}"
    return found
