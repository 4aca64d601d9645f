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

_NEAR = 12
"""Characters within which a phrase of ``unless`` is about a place: speech without full stops holds
several sentences, and a figure of speech in one must not hide another."""

_CHATTED = "(?:싶|십|시퍼|시픈|시프|시포|파|픈|퍼)"
"""싶 as it is spelled in chats."""

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
        said, first = sentence[0], sentence.start()
        for group in _groups():
            found = [m.span() for m in group.found.finditer(said)]
            if not found:
                continue
            other = [m.span() for m in group.unless.finditer(said)] if group.unless else []
            spans += [
                (first + a, first + b)
                for a, b in found
                if not any(c - _NEAR < b and a < d + _NEAR for c, d in other)
            ]
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
    joined = re.sub(r"\{([가-힣])\}", _endings, "|".join(f"(?:{p})" for p in patterns))
    if blanks:
        # Korean blanks are often left out or put in: a blank in a pattern is any or none. Inside a
        # look-behind it has to keep its length.
        parts = re.split(r"(\(\?<![^)]*\))", joined)
        joined = "".join(
            part if part.startswith("(?<!") else re.sub(r" \??", r"\\s*", part) for part in parts
        )
    return re.compile(joined, re.IGNORECASE)


def _endings(syllable: re.Match[str]) -> str:
    """``{하}``: the syllable itself and with ㄴ ㄹ ㅁ ㅂ ㅆ under it, as endings put them there."""
    if syllable[1] == "싶":
        return _CHATTED
    first = ord(syllable[1])
    if (first - 0xAC00) % 28:  # it has a consonant already: {끝} is 끝
        return syllable[1]
    return "[" + "".join(chr(first + final) for final in (0, 4, 8, 16, 17, 20)) + "]"
