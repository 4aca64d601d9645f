"""Reports: a result as one self-contained HTML page, as figures, as tables, as terminal text.

Reads the documents that stories write and knows nothing of models, data sets or encoders.
"""

from nunbit.report.page import render_evaluation
from nunbit.report.terminal import confusion_text, evaluation_text

__all__ = ["confusion_text", "evaluation_text", "render_evaluation"]
