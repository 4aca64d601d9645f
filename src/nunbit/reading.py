"""The reading protocol: what was read of a file, what was repaired and what was left out.

Readers of media, transcripts and tables make the notes; ``check``, ``analyze`` and the report show
them. A file is read right, or a note says what is not. Knows nothing of any format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nunbit.errors import Lang

Treatment = Literal["read", "repaired", "left_out"]
TREATMENTS: tuple[Treatment, ...] = ("read", "repaired", "left_out")

PLAIN_CODES = frozenset({"video", "sound", "transcript", "speakers", "photo"})
"""Codes of notes that say no more than what was read; every other note is something to know."""

_COUNTED = {
    "line": "행", "row": "행", "segment": "번째 항목", "item": "번째 항목", "result": "번째 항목",
    "word": "번째 단어", "token": "번째 단어", "value": "번째 값",
}  # fmt: skip
_PLACE = re.compile(rf"({'|'.join(_COUNTED)}) (\d+)")
_PLACES = re.compile(rf"{_PLACE.pattern}(?: {_PLACE.pattern})*")


@dataclass(frozen=True, slots=True)
class ReadingNote:
    """One thing to know about how a file was read.

    Attributes:
        treatment: ``read`` (as it is, but the user should know), ``repaired`` (another value than
            the file's was used) or ``left_out``.
        code: Stable name in snake case, such as ``time_not_a_number``; the same in all languages.
        count: How many entries, samples or frames it concerns, at least 1.
        first: The first place: ``line 12``, ``0:03.2`` (media time), or a file name.
        en: One sentence for a reader: what, where, what to do.
        ko: The same in Korean.
    """

    treatment: Treatment
    code: str
    count: int
    first: str
    en: str
    ko: str

    def text(self, lang: Lang) -> str:
        """The sentence in the reader's language."""
        return self.ko if lang == "ko" else self.en


def reading_document(notes: Iterable[ReadingNote]) -> dict[str, list[dict[str, object]]]:
    """Plain data for JSON: lists of ``{code, count, first, en, ko}`` by treatment."""
    found: dict[str, list[dict[str, object]]] = {treatment: [] for treatment in TREATMENTS}
    for note in notes:
        found[note.treatment].append(
            {
                "code": note.code,
                "count": note.count,
                "first": note.first,
                "en": note.en,
                "ko": note.ko,
            }
        )
    return found


def place_text(first: str, lang: Lang) -> str:
    """The first place of a note for a reader: ``line 12`` is ``12행`` in Korean.

    ``segment 3 word 1`` is ``3번째 항목 1번째 단어``; times and file names stay as they are.
    """
    if lang != "ko" or not _PLACES.fullmatch(first):
        return first
    return _PLACE.sub(lambda found: f"{found[2]}{_COUNTED[found[1]]}", first)
