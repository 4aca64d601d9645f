"""Praat TextGrid, in the long and the short text form.

Praat itself reads only free-standing numbers, quoted strings and ``<exists>`` and skips the rest;
so does this, which makes the two forms one. Where a line of the long form names its value
(``xmin =``, ``text =``), the name must be the one expected: lines in another order would make a
tier's name speech.

Why not praatio (6.2.2, MIT), tried on the same files: it refuses tiers of one name, intervals that
overlap or have no length (forced aligners write both), does not read CP949, and takes a file that
is cut off for a shorter one without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from nunbit.errors import InputError
from nunbit.transcript.cues import Cue, Cues, bad_file
from nunbit.transcript.notes import Notes
from nunbit.transcript.tiers import Tier, cues_of

_Kind = Literal["string", "number", "flag", "end"]
_Token = tuple[_Kind, str, str, int]  # kind, value, the name before '=', place in the text
_BARE = re.compile(r"[^\s\"]+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LONGEST_NUMBER = 40  # characters


class _Tokens:
    """The meaningful tokens of a file, taken one after another."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text
        self._found = _tokens(text)

    def string(self, *names: str) -> str:
        return self._next("string", names)

    def number(self, *names: str) -> float:
        return float(self._next("number", names))

    def count(self) -> int:
        number = self.number("size")
        # A file cannot hold more entries than characters.
        if not (number.is_integer() and 0 <= number <= len(self._text)):
            raise self._broken(0)
        return int(number)

    def flag(self) -> str:
        return self._next("flag", ())

    def _next(self, kind: _Kind, names: tuple[str, ...]) -> str:
        found, value, name, place = next(self._found)
        if found == "end":
            raise bad_file(
                self._path,
                "the TextGrid ends too early: the file is cut off",
                "TextGrid가 도중에 끝납니다. 파일이 잘렸습니다",
            )
        if found != kind or (names and name and name not in names):
            raise self._broken(place)
        return value

    def _broken(self, place: int) -> InputError:
        line = self._text.count("\n", 0, place) + 1
        where_en, where_ko = (f" (line {line})", f"({line}행)") if place else ("", "")
        return bad_file(
            self._path,
            f"not a well-formed TextGrid{where_en}; open it in Praat and save it as a text file",
            f"형식이 잘못된 TextGrid입니다{where_ko}. Praat에서 열어 텍스트 파일로 다시 "
            "저장하십시오",
        )


def _tokens(text: str) -> Iterator[_Token]:
    """All tokens in one pass, then ``end`` for ever."""
    position, name, equals = 0, "", False
    while True:
        while position < len(text) and text[position].isspace():
            if text[position] == "\n":
                name, equals = "", False
            position += 1
        if position >= len(text):
            break
        begin = position
        if text[position] == '"':
            position = _closing(text, position + 1)
            if position < 0:
                break
            value = text[begin + 1 : position].replace('""', '"')
            position += 1
            yield "string", value, name if equals else "", begin
            name, equals = "", False
            continue
        match = _BARE.match(text, position)
        bare = match[0] if match else text[position]
        position += len(bare)
        if bare == "=":
            equals = True
        elif bare in ("<exists>", "<absent>"):
            yield "flag", bare, "", begin
        elif len(bare) <= _LONGEST_NUMBER and _NUMBER.fullmatch(bare):
            if math.isfinite(float(bare)):
                yield "number", bare, name if equals else "", begin
            name, equals = "", False
        else:
            name, equals = bare, False
    while True:
        yield "end", "", "", len(text)


def _closing(text: str, start: int) -> int:
    """Where a string ends; a doubled mark stands for itself. -1 where it does not end."""
    while (end := text.find('"', start)) >= 0 and text.startswith('"', end + 1):
        start = end + 2
    return end


def read_textgrid(path: Path, text: str, notes: Notes) -> Cues:
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
    tokens.number("xmin")
    tokens.number("xmax")
    tiers: list[Tier] = []
    if tokens.flag() == "<exists>":
        for _ in range(tokens.count()):
            kind, name = tokens.string("class"), tokens.string("name")
            if kind not in ("IntervalTier", "TextTier"):
                raise _unknown_tier(path, kind)
            tiers.append(Tier(name, tuple(_entries(tokens, kind))))
    return Cues(cues_of(path, tiers, notes), "textgrid")


def _entries(tokens: _Tokens, kind: str) -> Iterator[Cue]:
    tokens.number("xmin")
    tokens.number("xmax")
    for _ in range(tokens.count()):
        if kind == "IntervalTier":
            start, end = tokens.number("xmin"), tokens.number("xmax")
            text = tokens.string("text")
            if text.strip():
                yield Cue(start, end, " ".join(text.split()))
        else:  # a point has no length and cannot be a word
            tokens.number("number", "time")
            tokens.string("mark", "text")


def _unknown_tier(path: Path, kind: str) -> InputError:
    return bad_file(
        path,
        f"not a well-formed TextGrid: a tier of the class '{kind[:40]}'; open it in Praat and save "
        "it as a text file",
        f"형식이 잘못된 TextGrid입니다. '{kind[:40]}' 종류의 층이 있습니다. Praat에서 열어 텍스트 "
        "파일로 다시 저장하십시오",
    )
