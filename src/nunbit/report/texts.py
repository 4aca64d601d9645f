"""The words of the report, read from ``texts.toml``."""

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
    """

    def __init__(self, lang: Lang) -> None:
        self.lang: Lang = lang

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key with its gaps filled.

        Raises:
            KeyError: There is no such text, or a gap was not given.
        """
        section, _, name = key.partition(".")
        text: str = _tables()[section][name][self.lang]
        return text.format(**values) if values else text

    def get(self, key: str) -> str:
        """The text of a key, or its last part where there is no such text (a user's own name)."""
        section, _, name = key.partition(".")
        return self(key) if name in _tables().get(section, {}) else name


@cache
def _tables() -> dict[str, Any]:
    source = resources.files("nunbit.report") / "texts.toml"
    return tomllib.loads(source.read_text(encoding="utf-8"))
