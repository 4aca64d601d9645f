"""The story of ``nunbit analyze``: any video to face, voice and words on one clock."""

from nunbit.analyze.listing import outcomes_text
from nunbit.analyze.settings import AnalyzeSettings
from nunbit.analyze.story import Outcome, analyze

__all__ = ["AnalyzeSettings", "Outcome", "analyze", "outcomes_text"]
