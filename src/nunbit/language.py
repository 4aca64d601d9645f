"""Which language people read: chosen by ``--lang``, else by the system."""

from __future__ import annotations

import os

from nunbit.errors import Lang


def system_language() -> Lang:
    """``ko`` where the system's message language is Korean, else ``en``."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "ko" if value.lower().startswith("ko") else "en"
    return "en"
