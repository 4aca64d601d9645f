"""The command line in Korean: help, options, and what click itself says of wrong usage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from gettext import gettext, ngettext
from inspect import cleandoc
from typing import Any

import click

from nunbit.runtime.resources import packaged_table

FILE = "cli/korean.toml"
_EXAMPLES = "\n\n\b\n"
_CLICK = ("core", "decorators", "exceptions", "formatting", "parser", "types")


def korean_help(path: str, english: str) -> str:
    """Help of a command; the examples stay as they are.

    Args:
        path: As ``models get``; '' is the program itself.
        english: Its help.
    """
    told = packaged_table(FILE)["commands"].get(path)
    if told is None:
        return english
    examples = cleandoc(english).partition(_EXAMPLES)[2]
    head, _, lines = examples.partition("\n")
    named = "예:" if head.startswith("Example") else "논문의 실험, 다운로드에서 보고서까지:"
    tail = lines.partition("\n\n")[0]
    return f"{told}{_EXAMPLES}{named}\n{tail}" if examples else told


@contextmanager
def in_korean(root: click.Group) -> Iterator[None]:
    """Let a command line speak Korean for a while; another one in this process is as before."""
    table = packaged_table(FILE)
    with ExitStack() as stack:
        for path, command in _commands(root):
            english = command.help or ""
            stack.enter_context(_set(command, "help", korean_help(path, english)))
            if hasattr(command, "_help_option"):  # click keeps it once it was made
                stack.enter_context(_set(command, "_help_option", None))
            for each in command.params:
                english = getattr(each, "help", None) or ""
                told = table["options"].get(english) or table["click"].get(english)
                if told is not None:
                    stack.enter_context(_set(each, "help", told))
        for name in _CLICK:
            module = sys.modules.get(f"click.{name}")
            for word, function in (("_", _one), ("ngettext", _many)):
                if hasattr(module, word):
                    stack.enter_context(_set(module, word, function(table["click"])))
        yield


@contextmanager
def _set(thing: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(thing, name)
    setattr(thing, name, value)
    try:
        yield
    finally:
        setattr(thing, name, before)


def _one(words: dict[str, str]) -> Callable[[str], str]:
    return lambda text: words.get(text) or gettext(text)


def _many(words: dict[str, str]) -> Callable[[str, str, int], str]:
    def told(one: str, several: str, n: int) -> str:
        return words.get(one if n == 1 else several) or ngettext(one, several, n)

    return told


def _commands(group: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, f"{path} {name}".strip())
