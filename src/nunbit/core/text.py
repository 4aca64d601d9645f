"""One text for people in English and Korean: the only bilingual form there is.

Errors, notices, notes, names and definitions hold a :class:`Text`; whoever shows it picks the
language. Files keep both languages under the keys they always had: :meth:`Text.pair`,
:meth:`Text.to_dict` and :func:`text_of` lead there and back. Knows nothing else of nunbit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Lang = Literal["en", "ko"]
LANGS: tuple[Lang, Lang] = ("en", "ko")
"""In the order of every pair of texts."""


@dataclass(frozen=True, slots=True)
class Text:
    """The same words in two languages.

    Attributes:
        en: English.
        ko: Korean.
    """

    en: str
    ko: str

    def pick(self, lang: Lang) -> str:
        """The words in the reader's language."""
        return self.ko if lang == "ko" else self.en

    def flat(self) -> Text:
        """The same, each language on one line."""
        return Text(" ".join(self.en.split()), " ".join(self.ko.split()))

    def line(self, lang: Lang) -> str:
        """The words in the reader's language, on one line."""
        return self.flat().pick(lang)

    def under(self, where: object) -> Text:
        """The same, with what it is about in front: ``where: words``."""
        return Text(f"{where}: {self.en}", f"{where}: {self.ko}")

    def fill(self, **gaps: object) -> Text:
        """The same with its ``{gaps}`` filled; a gap may be a text itself."""
        en = {name: gap.en if isinstance(gap, Text) else gap for name, gap in gaps.items()}
        ko = {name: gap.ko if isinstance(gap, Text) else gap for name, gap in gaps.items()}
        return Text(self.en.format(**en), self.ko.format(**ko))

    def pair(self) -> list[str]:
        """``[en, ko]``, as notices stand in JSON."""
        return [self.en, self.ko]

    def to_dict(self) -> dict[str, str]:
        """``{"en": …, "ko": …}``, as other texts stand in JSON."""
        return {"en": self.en, "ko": self.ko}


NO_TEXT = Text("", "")


def text_of(stored: Any) -> Text:
    """Read a text from plain data: ``[en, ko]``, ``{"en": …, "ko": …}`` or one for both languages.

    A text in one language alone, as old files have it, serves for both.
    """
    if isinstance(stored, str):
        return Text(stored, stored)
    if isinstance(stored, dict):
        en, ko = stored.get("en"), stored.get("ko")
    else:
        en, ko = stored
    return Text(str(en or ko or ""), str(ko or en or ""))


def joined(separator: str, texts: Iterable[Text]) -> Text:
    """The texts behind one another, in each language."""
    listed = list(texts)
    return Text(separator.join(t.en for t in listed), separator.join(t.ko for t in listed))


def system_language() -> Lang:
    """``ko`` where the system's message language is Korean, else ``en``."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "ko" if value.lower().startswith("ko") else "en"
    return "en"
