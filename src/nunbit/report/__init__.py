"""Reports: a result as one self-contained HTML page, as figures, as tables, as terminal text.

Reads the documents that stories write and knows nothing of models, data sets or encoders.
"""

from __future__ import annotations

from pathlib import Path

from nunbit.core.messages import InputError, Lang, MissingExtra, NunbitError, Text
from nunbit.report.alignment_page import EARLIER, FORMAT, render_alignment
from nunbit.report.figures import draw_timeline
from nunbit.report.joined_tables import keep_current
from nunbit.report.page import confusion_text, evaluation_text, render_evaluation
from nunbit.report.study_page import FORMAT as STUDY
from nunbit.report.study_page import render_study
from nunbit.report.timeline_page import check_embeddable, render_sessions, render_timeline
from nunbit.runtime.files import read_json
from nunbit.runtime.progress import Progress, say
from nunbit.runtime.results import as_written


def render_any(path: Path, *, lang: Lang) -> Path:
    """The report of an evaluation, alignment, study, timeline, or all timelines below a folder.

    Raises:
        InputError: The folder holds none of these.
    """
    if (path / "result.json").is_file():
        with as_written(path / "result.json"):
            kind = read_json(path / "result.json").get("format")
            if kind in (EARLIER, FORMAT):
                return render_alignment(path, lang=lang)
            if kind == STUDY:
                return render_study(path, lang=lang)
            return render_evaluation(path, lang=lang)
    if (path / "summary.json").is_file() and (path / "timeline.parquet").is_file():
        with as_written(path / "summary.json"):
            return _again(path, lang)
    if folders := sorted(found.parent for found in path.glob("*/timeline.parquet")):
        with Progress(Text("report", "보고서"), len(folders), "reports") as bar:
            for folder in folders:
                bar.tell(folder.name)
                try:
                    with as_written(folder / "summary.json"):
                        _again(folder, lang)
                except NunbitError as exc:  # the list says so, too; the others are rendered
                    say(exc.text)
                bar.advance()
        keep_current(path, lang=lang)
        with as_written(path):
            return render_sessions(path, lang=lang)
    raise InputError(
        Text(
            f"{path}: neither an evaluation (result.json) nor timelines (summary.json) here; give "
            "the `out` of `evaluate` or `analyze`",
            f"{path}: 평가(result.json)도 타임라인(summary.json)도 없습니다. `evaluate`나 "
            "`analyze`의 `out` 폴더를 주십시오",
        )
    )


def _again(folder: Path, lang: Lang) -> Path:
    """The report of a timeline, and its picture where one was drawn before: in one language."""
    if (folder / "timeline.png").is_file():
        try:
            draw_timeline(folder, lang=lang)
        except MissingExtra as exc:
            say(exc.text)
    return render_timeline(folder, lang=lang)


__all__ = [
    "check_embeddable",
    "confusion_text",
    "draw_timeline",
    "evaluation_text",
    "render_any",
    "render_evaluation",
    "render_sessions",
    "render_timeline",
]
