"""What can go wrong, said in one line in two languages.

    NunbitError
    ├── InputError      a file, folder, table or value the user gave
    │   └── MediaError  an image, video or sound that cannot be decoded
    ├── BundleError     a model bundle that is missing, damaged or does not fit
    ├── SettingsError   an option or configuration value
    ├── TrainingError   a run that cannot go on (NaN loss, class missing)
    └── MissingExtra    an optional dependency that is not installed

Every message names what, where and what to do. Adapters translate library exceptions with
``raise … from exc``; only the workers of ``analyze`` and ``check`` catch broadly, so that one file
never takes the others down (``workers.fault_text``). Knows nothing else of nunbit.
"""

from __future__ import annotations

from typing import Literal

Lang = Literal["en", "ko"]
LANGS: tuple[Lang, Lang] = ("en", "ko")
"""In the order of every pair of texts."""


class NunbitError(Exception):
    """Base of all expected errors; ends a command with one line and exit code 1.

    Args:
        en: The message in English: what is wrong, where, and the remedy.
        ko: The same in Korean.
    """

    def __init__(self, *, en: str, ko: str) -> None:
        super().__init__(en)
        self.en = en
        self.ko = ko

    def text(self, lang: Lang) -> str:
        """The message in the reader's language, on one line."""
        return " ".join((self.ko if lang == "ko" else self.en).split())

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and workers raise these.
        return (_rebuild, (type(self), self.en, self.ko))


def _rebuild(kind: type[NunbitError], en: str, ko: str) -> NunbitError:
    return kind(en=en, ko=ko)


class InputError(NunbitError):
    """A file, folder, table or value the user gave cannot be used."""


class MediaError(InputError):
    """An image, video or sound cannot be decoded."""


class BundleError(NunbitError):
    """A model bundle is missing, damaged or does not fit the request."""


class SettingsError(NunbitError):
    """An option or configuration value is unknown or out of range."""


class TrainingError(NunbitError):
    """A training run cannot start or go on."""


class MissingExtra(NunbitError):  # noqa: N818  (reads better than MissingExtraError)
    """An optional dependency is not installed.

    Args:
        package: The import name that is missing.
        extra: The extra of nunbit that installs it.
    """

    def __init__(
        self, package: str = "", extra: str = "", *, en: str | None = None, ko: str | None = None
    ) -> None:
        line = f"pip install 'nunbit[{extra}]'"
        super().__init__(
            en=en or f"this needs the package {package}, which is not installed: {line}",
            ko=ko or f"{package} 패키지가 설치되어 있지 않습니다: {line}",
        )
