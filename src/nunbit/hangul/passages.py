"""Wording of wanting to die and of self-harm, found so that it is scored as no emotion.

A list of patterns over the text as written, which needs no analyser. It is neither a screening nor
an assessment: it takes in denials, questions and quotations, because words cannot tell who is
meant, and it misses whatever is not listed. What is found must stay inside this run: no table,
summary or export may hold it or count it. The patterns are data (``data/passages.toml``).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

_SENTENCE = re.compile(r"[^.?!…\n]*(?:[.?!…\n]+|$)")


@dataclass(frozen=True, slots=True)
class _Group:
    found: re.Pattern[str]
    unless: re.Pattern[str] | None


def has_passage(text: str) -> bool:
    """Whether a text (NFC) holds such wording."""
    return bool(find_passages(text))


def find_passages(text: str) -> tuple[tuple[int, int], ...]:
    """Places of such wording in a text (NFC): first character and after the last, in order."""
    spans = []
    for sentence in _SENTENCE.finditer(text):
        said = sentence[0]
        for group in _groups():
            if group.unless is not None and group.unless.search(said):
                continue
            first = sentence.start()
            spans += [(first + m.start(), first + m.end()) for m in group.found.finditer(said)]
    return tuple(sorted(set(spans)))


@cache
def _groups() -> tuple[_Group, ...]:
    source = resources.files("nunbit") / "data" / "passages.toml"
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    return tuple(
        _Group(
            _one_of(group["patterns"], blanks=language == "ko"),
            _one_of(group["unless"], blanks=language == "ko") if group.get("unless") else None,
        )
        for language in ("ko", "en")
        for group in document[language]
    )


def _one_of(patterns: list[str], *, blanks: bool) -> re.Pattern[str]:
    joined = "|".join(f"(?:{p})" for p in patterns)
    if blanks:
        # Korean blanks are often left out or put in: a blank in a pattern is any or none. Inside a
        # look-behind it has to keep its length.
        parts = re.split(r"(\(\?<![^)]*\))", joined)
        joined = "".join(
            part if part.startswith("(?<!") else re.sub(r" \??", r"\\s*", part) for part in parts
        )
    return re.compile(joined, re.IGNORECASE)
