"""Render whatever report belongs to a folder again."""

from __future__ import annotations

from pathlib import Path

from nunbit.errors import InputError, Lang
from nunbit.files import read_json
from nunbit.report.alignment_page import EARLIER, FORMAT, render_alignment
from nunbit.report.page import render_evaluation
from nunbit.report.timeline_page import render_timeline
from nunbit.report.timeline_sessions import render_sessions


def render_any(path: Path, *, lang: Lang) -> Path:
    """The report of an evaluation, an alignment, a timeline, or all timelines below a folder.

    Raises:
        InputError: The folder holds none of these.
    """
    if (path / "result.json").is_file():
        if read_json(path / "result.json").get("format") in (EARLIER, FORMAT):
            return render_alignment(path, lang=lang)
        return render_evaluation(path, lang=lang)
    if (path / "summary.json").is_file() and (path / "timeline.parquet").is_file():
        return render_timeline(path, lang=lang)
    if any(path.glob("*/timeline.parquet")):
        return render_sessions(path, lang=lang)
    raise InputError(
        en=f"{path}: neither an evaluation (result.json) nor timelines (summary.json) here; give "
        "the --out of nunbit evaluate or nunbit analyze",
        ko=f"{path}: 평가(result.json)도 타임라인(summary.json)도 없습니다. nunbit evaluate나 "
        "nunbit analyze의 --out 폴더를 주십시오",
    )
