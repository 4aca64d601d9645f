"""What nunbit says to people: texts in two languages, and the errors that carry them.

Errors, notices, notes, names and definitions hold a :class:`Text`, the only bilingual form there
is; whoever shows it picks the language. Files keep both languages under the keys they always had:
:meth:`Text.pair`, :meth:`Text.to_dict` and :func:`text_of` lead there and back.

    NunbitError
    ├── InputError      a file, folder, table or value the user gave
    │   └── MediaError  an image, video or sound that cannot be decoded
    ├── BundleError     a model bundle that is missing, damaged or does not fit
    ├── SettingsError   an option or configuration value
    ├── TrainingError   a run that cannot go on (NaN loss, class missing)
    └── MissingExtra    an optional dependency that is not installed

Every message names what, where and what to do. Adapters translate library exceptions with
``raise … from exc``; only the workers of ``analyze`` and ``check`` catch broadly, so that one
file never takes the others down (``workers.fault_text``). Knows nothing else of nunbit.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
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
    en, ko = (stored.get("en"), stored.get("ko")) if isinstance(stored, dict) else stored
    return Text(str(en or ko or ""), str(ko or en or ""))


def joined(separator: str, texts: Iterable[Text]) -> Text:
    """The texts behind one another, in each language."""
    listed = list(texts)
    return Text(separator.join(t.en for t in listed), separator.join(t.ko for t in listed))


def system_language() -> Lang:
    """``ko`` where the system's message language is Korean, else ``en``."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(variable, ""):
            return "ko" if value.lower().startswith("ko") else "en"
    return "ko" if _windows_language() == _KOREAN else "en"


_KOREAN = 0x12  # the primary language of Windows' LANGID


def _windows_language() -> int:
    """Primary language of Windows' own texts, 0 elsewhere: there no variable tells it."""
    if sys.platform != "win32":
        return 0
    import ctypes

    return int(ctypes.windll.kernel32.GetUserDefaultUILanguage()) & 0x3FF


# -- errors ----------------------------------------------------------------------------------------


class NunbitError(Exception):
    """Base of all expected errors; ends a command with one line and exit code 1.

    Args:
        text: What is wrong, where, and the remedy. ``str()`` of the error is the English.
    """

    def __init__(self, text: Text) -> None:
        super().__init__(text)  # as its one argument, so that workers can hand it on
        self.text = text

    def __str__(self) -> str:
        return self.text.en


class InputError(NunbitError):
    """A file, folder, table or value the user gave cannot be used."""


class MediaError(InputError):
    """An image, video or sound cannot be decoded.

    Args:
        text: What is wrong; who knows the file adds its name.
        reason: Stable id, as ``rejects.jsonl`` has it.
    """

    def __init__(self, text: Text, reason: str = "unreadable") -> None:
        super().__init__(text)
        self.reason = reason


class BundleError(NunbitError):
    """A model bundle is missing, damaged or does not fit the request."""


class SettingsError(NunbitError):
    """An option or configuration value is unknown or out of range."""


class TrainingError(NunbitError):
    """A training run cannot start or go on."""


class MissingExtra(NunbitError):  # noqa: N818  (reads better than MissingExtraError)
    """An optional dependency is not installed.

    Args:
        package: The import name that is missing, or all that is to be said.
        extra: The extra of nunbit that installs it.
    """

    def __init__(self, package: str | Text, extra: str = "") -> None:
        if isinstance(package, str):
            line = f"pip install 'nunbit[{extra}]'"
            package = Text(
                f"this needs the package {package}, which is not installed: {line}",
                f"{package} 패키지가 설치되어 있지 않습니다: {line}",
            )
        super().__init__(package)


def missing_file(path: Path) -> InputError:
    """The error for a path where there is no file, with the likely reason."""
    shown = str(path)
    why = Text("there is no such file; check the path", "파일이 없습니다. 경로를 확인하십시오")
    # Path('https://x') is spelled 'https:/x'.
    if found := re.match(r"(https?|ftp|rtsp):/+", shown):
        shown = f"{found[1]}://{shown[found.end() :]}"
        why = Text(
            "an address, not a file; nunbit downloads nothing, so save the file first",
            "파일이 아니라 주소입니다. nunbit은 파일을 내려받지 않으므로 먼저 저장하십시오",
        )
    elif shown.startswith("~"):
        why = Text(
            "there is no such file; the shell expands ~ only without quotes",
            "파일이 없습니다. ~는 따옴표로 싸지 않아야 홈 폴더로 바뀝니다",
        )
    elif any(mark in shown for mark in "*?["):
        why = Text(
            "there is no such file, and nothing matches this pattern; check the folder, and write "
            "patterns without quotes",
            "그런 파일이 없고 이 패턴에 맞는 파일도 없습니다. 폴더를 확인하고, 패턴은 따옴표 없이 "
            "쓰십시오",
        )
    return InputError(why.under(shown))
