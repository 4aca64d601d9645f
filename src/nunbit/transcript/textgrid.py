"""Praat TextGrid, in the long and the short text form.

Praat itself reads only free-standing numbers, quoted strings and ``<exists>`` and skips the rest;
so does this, which makes the two forms one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nunbit.errors import InputError
from nunbit.transcript.cues import Cue, Cues, bad_file
from nunbit.transcript.tiers import Tier, cues_of

_TOKEN = re.compile(
    r'"((?:[^"]|"")*)"|(?<!\S)(<exists>|<absent>)(?!\S)|'
    r"(?<!\S)([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)"
)


class _Tokens:
    """The meaningful tokens of a file, taken one after another."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._found: Iterator[re.Match[str]] = _TOKEN.finditer(text)

    def string(self) -> str:
        match = self._next()
        if match[1] is None:
            raise self._broken()
        return match[1].replace('""', '"')

    def number(self) -> float:
        match = self._next()
        if match[3] is None:
            raise self._broken()
        return float(match[3])

    def count(self) -> int:
        return int(self.number())

    def flag(self) -> str:
        match = self._next()
        if match[2] is None:
            raise self._broken()
        return match[2]

    def _next(self) -> re.Match[str]:
        match = next(self._found, None)
        if match is None:
            raise bad_file(
                self._path,
                "the TextGrid ends too early: the file is cut off",
                "TextGrid가 도중에 끝납니다. 파일이 잘렸습니다",
            )
        return match

    def _broken(self) -> InputError:
        return bad_file(
            self._path,
            "not a well-formed TextGrid; open it in Praat and save it as a text file",
            "형식이 잘못된 TextGrid입니다. Praat에서 열어 텍스트 파일로 다시 저장하십시오",
        )


def read_textgrid(path: Path, text: str) -> Cues:
    """Read the tiers of a TextGrid that hold words or utterances.

    Raises:
        InputError: The file is cut off, not a TextGrid, or has no such tier.
    """
    tokens = _Tokens(path, text)
    tokens.string()  # ooTextFile
    if tokens.string() != "TextGrid":
        raise bad_file(
            path,
            "a Praat file, but not a TextGrid",
            "Praat 파일이지만 TextGrid가 아닙니다",
        )
    tokens.number()
    tokens.number()
    tiers: list[Tier] = []
    if tokens.flag() == "<exists>":
        for _ in range(tokens.count()):
            kind, name = tokens.string(), tokens.string()
            tiers.append(Tier(name, tuple(_entries(tokens, kind))))
    return Cues(cues_of(path, tiers), "textgrid")


def _entries(tokens: _Tokens, kind: str) -> Iterator[Cue]:
    tokens.number()
    tokens.number()
    for _ in range(tokens.count()):
        if kind == "IntervalTier":
            start, end, text = tokens.number(), tokens.number(), tokens.string()
            if text.strip():
                yield Cue(start, end, " ".join(text.split()))
        else:  # a point has no length and cannot be a word
            tokens.number()
            tokens.string()
