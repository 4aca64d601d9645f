"""Learn the alignment of face, voice and words from recordings, and judge it."""

from nunbit.align.listing import result_text
from nunbit.align.settings import AlignSettings
from nunbit.align.story import align

__all__ = ["AlignSettings", "align", "result_text"]
