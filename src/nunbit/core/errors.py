"""Errors, each told in one line, in English and Korean.

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

from nunbit.core.text import Text


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
