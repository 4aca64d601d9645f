"""The preset ``--paper``: the settings of the paper's experiment, each marked 'paper' or 'assumed'.

``data/paper_preset.toml`` is the only place of the marks. A preset lies below everything that the
user gives: the recipe or file, options and ``--set`` win, and every difference is said.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec

from nunbit.config import settings_to_dict
from nunbit.errors import Lang

Command = Literal["prepare", "train", "evaluate"]
COMMANDS: tuple[Command, ...] = ("prepare", "train", "evaluate")


@dataclass(frozen=True, slots=True)
class Marked:
    """One setting of the paper's experiment.

    Attributes:
        value: What the preset sets.
        mark: ``paper`` where the paper states it, else ``assumed``.
        en: Why, in English.
        ko: Why, in Korean.
    """

    value: str | int
    mark: Literal["paper", "assumed"]
    en: str
    ko: str


@cache
def paper_preset() -> dict[str, dict[str, Marked]]:
    """The preset of every command: command -> setting -> value and mark."""
    source = resources.files("nunbit") / "data" / "paper_preset.toml"
    return msgspec.convert(
        tomllib.loads(source.read_text(encoding="utf-8")), dict[str, dict[str, Marked]]
    )


def preset_values(command: Command) -> dict[str, Any]:
    """What ``--paper`` sets, as the lowest layer of ``config.read_settings``."""
    return {name: entry.value for name, entry in paper_preset()[command].items()}


def stated_by_paper(command: Command) -> frozenset[str]:
    """Names of the settings that the paper states."""
    return frozenset(n for n, entry in paper_preset()[command].items() if entry.mark == "paper")


def preset_lines(command: Command, settings: Any, lang: Lang) -> list[str]:
    """What a run with ``--paper`` uses, a line a setting, and what departs from the preset.

    Args:
        command: The command.
        settings: Its effective settings.
        lang: Language of the lines.
    """
    given = settings_to_dict(settings)
    lines, departing = [], []
    for name, entry in paper_preset()[command].items():
        value = _plain(given.get(name))
        lines.append(f"  {name} = {value}  [{entry.mark}] {getattr(entry, lang)}")
        if value != entry.value:
            lines[-1] = f"  {name} = {value}"
            departing.append(
                f"! --paper: {name} = {value} was given and wins; the preset's is {entry.value} "
                f"[{entry.mark}]"
                if lang == "en"
                else f"! --paper: 지정한 {name} = {value} 값을 씁니다. 프리셋 값은 {entry.value} "
                f"[{entry.mark}]"
            )
    head = (
        f"--paper: settings of {command}, each marked 'paper' (stated) or 'assumed'"
        if lang == "en"
        else f"--paper: {command} 설정. paper는 논문에 있는 것, assumed는 가정한 것"
    )
    return [head, *lines, *departing]


def preset_table(lang: Lang) -> str:
    """The whole preset as a Markdown table, for the documents."""
    head = {
        "en": "| command | setting | value | mark | why |",
        "ko": "| 명령 | 설정 | 값 | 표시 | 까닭 |",
    }[lang]
    rows = (
        f"| `{command}` | `{name}` | `{entry.value}` | {_mark(entry)} | {getattr(entry, lang)} |"
        for command in COMMANDS
        for name, entry in paper_preset()[command].items()
    )
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def with_table(page: str, lang: Lang) -> str:
    """A document with the table between its two markers written anew.

    Raises:
        ValueError: The markers are missing.
    """
    before, opening, rest = page.partition(OPENING)
    _, closing, after = rest.partition(CLOSING)
    if not opening or not closing:
        raise ValueError(f"expected {OPENING} and {CLOSING} in the page")
    return f"{before}{opening}\n{preset_table(lang)}\n{closing}{after}"


OPENING = "<!-- preset: python scripts/preset_docs.py -->"
CLOSING = "<!-- /preset -->"


def _mark(entry: Marked) -> str:
    return "**paper**" if entry.mark == "paper" else entry.mark


def _plain(value: Any) -> Any:
    # One comparison may be given as a list of one.
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        values = list(value)
        return values[0] if len(values) == 1 else ", ".join(map(str, values))
    return value
