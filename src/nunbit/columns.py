"""Text in a terminal: aligned although a Hangul syllable is two columns wide."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """Columns a text takes in a terminal: Hangul syllables two, combining marks none."""
    narrow = sum(0 if unicodedata.combining(c) else 1 for c in text)
    return narrow + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def pad(text: str, columns: int, *, left: bool = False) -> str:
    """Fill a text up to a number of columns; ``left`` puts the text there."""
    space = " " * max(0, columns - width(text))
    return text + space if left else space + text


def wrapped(text: str, columns: int, *, indent: int = 0) -> list[str]:
    """Lines of at most so many columns, broken at blanks; a longer word has a line of its own."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and indent + width(longer) > columns:
            lines.append(" " * indent + line)
            longer = word
        line = longer
    return [*lines, " " * indent + line] if line else lines
