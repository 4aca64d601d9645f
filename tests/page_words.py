"""What a clinician must not meet in a text of the pages: ids, options, English in Korean."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nunbit
from nunbit.runtime.resources import packaged_table

PAGE = Path(nunbit.__file__).parent / "app" / "page"

ALLOWED = {
    "nunbit": "the program's name",
    "English": "the button of the other language, in that language",
    "Language": "the same, for screen readers",
    "Excel": "a program", "SPSS": "a program", "ELAN": "a program", "R": "a program",
    "Chrome": "a program", "Edge": "a program", "Firefox": "a program", "Safari": "a program",
    "Praat": "a program",
    "CSV": "a kind of file", "PDF": "a kind of file", "SVG": "a kind of file",
    "PNG": "a kind of file", "SRT": "a kind of file", "VTT": "a kind of file",
    "TextGrid": "a kind of file", "RTTM": "a kind of file", "MP": "of MP4, a kind of file",
    "JPEG": "a kind of file", "WebP": "a kind of file", "BMP": "a kind of file",
    "DOI": "a kind of address", "https": "a kind of address", "http": "a kind of address",
    "Hz": "a unit", "dB": "a unit", "dBFS": "a unit", "MB": "a unit", "kB": "a unit",
    "GB": "a unit", "B": "a unit", "px": "a unit", "s": "a unit", "p": "percentage points",
    "Ctrl": "a key", "Shift": "a key", "Page": "a key", "Up": "a key", "Down": "a key",
    "Home": "a key", "End": "a key", "Tab": "a key", "P": "a key and a code",
    "M": "a key", "N": "a key", "Q": "a key", "A": "a key and a grade", "B ": "a key",
    "f": "a letter of a law", "UAR": "a measure with a sentence beside it",
    "xlsx": "an ending of files", "sav": "an ending of files", "eaf": "an ending of files",
    "zip": "an ending of files", "json": "an ending of files",
    "key": "the part of an address", "result": "a file that is to be found by its name",
    "dpi": "a unit", "happy": "a folder name that is recognised",
    "sad": "a folder name that is recognised",
    "txt": "an ending of files",
    "desktop": "a file's ending", "C": "a grade", "z": "a statistic with a sentence beside it",
}  # fmt: skip
"""Latin words that may stand in Korean, each with its reason."""

_ID = re.compile(r"\b[a-zA-Z0-9]+(?:_[a-zA-Z0-9]+)+\b")
_OPTION = re.compile(r"(?<![\w-])--[a-z]")
_COMMAND = re.compile(
    r"\bnunbit (?:adapt|align|analyze|app|check|doctor|evaluate|export|figure|models|predict|"
    r"prepare|report|search|study|tables|train)\b|\bpip install\b"
)
_LATIN = re.compile(r"[A-Za-z]{1,}")
_HANGUL = re.compile("[가-힣]")


def wrong_words(text: str, lang: str, own: tuple[str, ...] = ()) -> list[str]:
    """What a text says that it must not; ``own`` are words of the user's own."""
    for word in sorted(own, key=len, reverse=True):
        text = text.replace(word, " ")
    text = re.sub(r"\{\w+\}|\b[a-z]\d+\b", " ", text)  # gaps, codes given as examples
    found = [m[0] for m in _ID.finditer(text)] + [m[0] for m in _OPTION.finditer(text)]
    found += [m[0] for m in _COMMAND.finditer(text)] + (["`"] if "`" in text else [])
    found += [word for word in ("undefined", "[object", "NaN", "null") if word in text]
    if lang == "ko":
        found += [m[0] for m in _LATIN.finditer(text) if m[0] not in ALLOWED]
    else:
        found += [m[0] for m in _HANGUL.finditer(text)]
    return found


def page_texts() -> dict[str, tuple[str, str]]:
    """Key -> Korean and English of every sentence of the pages' scripts."""
    line = re.compile(r'^  "?([\w.]+)"?: (\[.*\]),$', re.MULTILINE)
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(PAGE.glob("texts*.js")):
        for key, pair in line.findall(path.read_text(encoding="utf-8")):
            korean, english = json.loads(pair)
            found[key] = korean, english
    return found


def refusals() -> dict[str, tuple[str, str]]:
    """Code -> Korean and English of what the pages show where something is refused."""
    programs = {"no_key", "wrong_key", "wrong_host", "wrong_origin", "packed", "bad_form",
                "bad_message", "frame_too_large", "too_many_rows", "too_long", "bad_method",
                "session_key", "no_media"}  # fmt: skip
    table = packaged_table("app/texts.toml")
    return {code: (told["ko"], told["en"]) for code, told in table.items() if code not in programs}


def plain_sentences() -> dict[str, tuple[str, str]]:
    """The report's sentences in a clinician's words."""
    table = packaged_table("report/timeline_texts.toml")["plain"]
    return {key: (told["ko"], told["en"]) for key, told in table.items()}
