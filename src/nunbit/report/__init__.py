"""Reports: a result as one self-contained HTML page, as figures, as tables, as terminal text.

Reads the documents that stories write and knows nothing of models, data sets or encoders.
"""

from nunbit.report.again import render_any
from nunbit.report.page import render_evaluation
from nunbit.report.terminal import confusion_text, evaluation_text
from nunbit.report.timeline_figure import draw_timeline
from nunbit.report.timeline_page import check_embeddable, render_timeline
from nunbit.report.timeline_sessions import render_sessions

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
