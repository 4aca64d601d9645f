"""What every command has: common options, one JSON object or a text, the languages."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nunbit.errors import Lang, MissingExtra
from nunbit.files import json_text, whole_text
from nunbit.language import system_language

if TYPE_CHECKING:
    from nunbit.preset import Command

S = TypeVar("S")

PATHS = click.Path(path_type=Path)


_ORDER = (
    *("demo", "synth", "prepare", "train", "export", "evaluate", "predict"),
    *("check", "analyze", "align", "search", "measures", "report", "doctor"),
)
"""Commands in the order of the work, not of the alphabet."""


class Group(click.Group):
    """A group that lists its commands in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in that order; commands of an inner group as they were registered."""
        return sorted(self.commands, key=lambda n: _ORDER.index(n) if n in _ORDER else len(_ORDER))


def command(
    name: str, *, settings: bool = False, group: click.Group | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Register a command with the options that every command has."""

    def decorate(function: Callable[..., None]) -> click.Command:
        wrapped: Any = function
        if settings:
            wrapped = click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="One setting; may be repeated; wins over --config.",
            )(wrapped)
            wrapped = click.option(
                "--config", type=PATHS, help="TOML file of settings; unknown keys are refused."
            )(wrapped)
        wrapped = click.option(
            "--lang",
            type=click.Choice(["ko", "en"]),
            default=system_language,
            help="Language of messages and reports (default: the system's).",
        )(wrapped)
        wrapped = click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON object to stdout, nothing else."
        )(wrapped)
        register = (group or cli).command(name, context_settings={"max_content_width": 100})
        return register(wrapped)

    return decorate


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nunbit")
def cli() -> None:
    """눈빛 nunbit: apparent emotion in face, voice and words, without clinical labels.

    \b
    The paper's experiment, from the AI Hub download to the report:
      nunbit prepare DOWNLOAD --out data
      nunbit train data --out run --init openai/clip-vit-base-patch32
      nunbit evaluate data --bundle run/bundle --out eval

    nunbit summarises apparent expression. It is not a diagnosis.
    """


def need(package: str, extra: str) -> None:
    """Refuse before any work where a package is missing.

    Raises:
        MissingExtra: It is not installed.
    """
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtra(package, extra)


def settings_files(config: Path | None) -> list[Path]:
    """The settings files of a command: that of ``--config``, if any."""
    return [] if config is None else [config]


def paper_settings(command: Command, kind: type[S], *, paper: bool, lang: Lang, **given: Any) -> S:
    """Settings of a command that has ``--paper``.

    With ``--paper`` every setting is said with its mark, and where the user's own value wins.

    Args:
        command: Which.
        kind: Its settings.
        paper: Whether ``--paper`` was given.
        lang: Of what is said.
        given: ``files``, ``overrides`` and ``options`` of :func:`nunbit.config.read_settings`.
    """
    from nunbit.config import read_settings
    from nunbit.preset import preset_lines, preset_values
    from nunbit.progress import say

    settings = read_settings(kind, preset=preset_values(command) if paper else {}, **given)
    for line in preset_lines(command, settings, lang) if paper else ():
        say(line)
    return settings


class _Shown:
    """Whether this process has printed its JSON object."""

    document = False


def show(document: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print the result to stdout: one JSON object, or a text for people."""
    if as_json:
        _Shown.document = True
        click.echo(json_text(document))
    elif text:
        click.echo(whole_text(text))


def terminal_columns() -> int | None:
    """Columns of the terminal that reads stdout (or ``COLUMNS``); None for a file or a pipe."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return None
    return shutil.get_terminal_size().columns


def show_error(line: str, arguments: Sequence[str]) -> None:
    """Print ``{"error": line}`` to stdout where ``--json`` was given and nothing is there yet."""
    if "--json" in arguments and not _Shown.document:
        show({"error": line}, "", as_json=True)
