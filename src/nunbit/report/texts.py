"""The words of the reports, read from ``texts.toml`` and its sisters."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from nunbit.errors import Lang


class Texts:
    """Texts in one language: ``texts("headline.title")``, ``texts("facts.n_images", n="3")``.

    Args:
        lang: Language of all texts.
        file: The table of texts beside this module.
    """

    def __init__(self, lang: Lang, file: str = "texts.toml") -> None:
        self.lang: Lang = lang
        self._file = file

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key with its gaps filled.

        Raises:
            KeyError: There is no such text, or a gap was not given.
        """
        section, _, name = key.partition(".")
        text: str = _tables(self._file)[section][name][self.lang]
        return text.format(**values) if values else text

    def get(self, key: str) -> str:
        """The text of a key, or its last part where there is no such text (a user's own name)."""
        section, _, name = key.partition(".")
        return self(key) if name in _tables(self._file).get(section, {}) else name

    def section(self, name: str) -> dict[str, str]:
        """All texts of a section, for a script that fills its own gaps."""
        return {key: text[self.lang] for key, text in _tables(self._file)[name].items()}


@cache
def _tables(file: str) -> dict[str, Any]:
    source = resources.files("nunbit.report") / file
    return tomllib.loads(source.read_text(encoding="utf-8"))
