"""The font that pictures are labelled in: Nunbit Hangul, a subset of NanumGothic (SIL OFL 1.1)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import ImageFont

FAMILY = "Nunbit Hangul"


def font_path() -> Path:
    """The font file; it has Latin, Greek, Hangul and common symbols."""
    return Path(__file__).parent / "data" / "fonts" / "NunbitHangul.ttf"


@cache
def load_font(size_px: int) -> ImageFont.FreeTypeFont:
    """The font at a size, for Pillow."""
    return ImageFont.truetype(str(font_path()), size_px)
