"""What every command has: options, one JSON object or a text, the language, flags in messages.

Errors name an argument of the library as `` `out` `` or `` `batch_size=32` ``. A person at a
terminal reads the option that sets it: :func:`in_flags` is the only place that knows which.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nunbit.core.messages import NO_TEXT, Lang, MissingExtra, Text, system_language
from nunbit.runtime.files import json_text, whole_text
from nunbit.runtime.progress import say, set_lang, spoken_lang

if TYPE_CHECKING:
    from nunbit.runtime.config import Command


FLAGS = {
    "address": "--address",
    "annotate": "--annotate",
    "asr": "--asr",
    "baseline": "--baseline",
    "bind": "--bind",
    "compare": "--compare",
    "covariates": "--covariates",
    "crops": "--crops",
    "cutoff": "--cutoff",
    "embed": "--embed",
    "engine": "--engine",
    "ensemble": "--ensemble",
    "export": "--export",
    "figure": "--figure",
    "forget": "--forget",
    "full_rate": "--full-rate",
    "init": "--init",
    "kind": "--source",
    "label_set": "--label-set",
    "measure": "--measure",
    "modality": "--modality",
    "neutral": "--neutral",
    "model": "--bundle",
    "out": "--out",
    "outcome": "--outcome",
    "part": "--part",
    "people": "--people",
    "persons": "--persons",
    "policy": "--labels",
    "prior": "--prior",
    "prompt": "--prompt",
    "prompts": "--prompts",
    "recipe": "--recipe",
    "remove": "--remove",
    "resume": "--resume",
    "seeds": "--seeds",
    "size": "--size",
    "shortcut": "--shortcut",
    "speakers": "--speakers",
    "split": "--split",
    "subject": "--subject",
    "token": "--token",
    "top": "--top",
    "transcript": "--transcript",
    "unlabelled": "--unlabelled",
    "wheels": "--wheel",
    "without_words": "--without-words",
}
"""Argument -> flag. What is not here and has a value is a setting (``--set name=value``)."""

VERBS = (
    "adapt",
    "align",
    "analyze",
    "check",
    "evaluate",
    "export",
    "predict",
    "prepare",
    "search",
    "study",
    "train",
)

_MARKED = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


def in_flags(text: str) -> str:
    """A message of the library in the words of the command line; the rest of it as it is."""
    return _MARKED.sub(_translated, text)


def _translated(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if name in FLAGS:
        return FLAGS[name] if value in (None, "True") else f"{FLAGS[name]} {value}"
    if value is not None:
        return f"--set {name}={value}"
    return f"`nunbit {name}`" if name in VERBS else found[0]


def bundle_folder(name_or_path: str) -> Path:
    """The folder of a bundle, or of one that is shipped under this name.

    Raises:
        BundleError: There is no such bundle.
    """
    from nunbit.model.bundle import find_bundle

    return find_bundle(name_or_path)


S = TypeVar("S")

PATHS = click.Path(path_type=Path)


BUNDLE = click.option(
    "--bundle", type=bundle_folder, metavar="PATH", help="Bundle folder (default: the shipped one)."
)
TRANSCRIPT = click.option("--transcript", help="Transcript; a folder for several recordings.")
SPEAKERS = click.option("--speakers", help="Who speaks when (RTTM); a folder for several.")

PRIOR = click.option(
    "--prior", metavar="train|balanced|FILE", help="Class shares to assume (default: train)."
)


def engine_options(function: Any) -> Any:
    """Give a command ``--engine`` and ``--address``."""
    names = click.Choice(["local", "ray"])
    told = "Who does the parts: this machine or a Ray cluster (default: local)."
    where = "Cluster of --engine ray (default: RAY_ADDRESS, else one started here)."
    return click.option("--engine", type=names, help=told)(
        click.option("--address", metavar="HOST:PORT", help=where)(function)
    )


_ORDER = (
    *("demo", "synth", "prepare", "train", "export", "evaluate", "predict", "adapt"),
    *("check", "analyze", "align", "search", "study", "figure", "tables", "methods"),
    *("compare", "measures", "report", "app", "models", "doctor"),
)
"""Commands in the order of the work, not of the alphabet."""


_ALIASES = {"serve": "app"}


class Group(click.Group):
    """A group that lists its commands in the order of the work, and knows other names of some."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name or its other name."""
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))

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
                help="One setting; may be repeated; wins over --config. "
                "All keys: docs/settings.md.",
            )(_with_given(wrapped))
            wrapped = click.option(
                "--config", type=PATHS, help="TOML file of settings; unknown keys are refused."
            )(wrapped)
        wrapped = spoken_or_json(wrapped)
        register = (group or cli).command(name, context_settings={"max_content_width": 100})
        return register(wrapped)

    return decorate


def _told_language(_: click.Context, __: click.Parameter, lang: Lang | None) -> None:
    """What this word of the line says, else what another one said, else the system."""
    set_lang(lang or Shown.lang or system_language())


_LANG = click.option(
    "--lang",
    type=click.Choice(["ko", "en"]),
    callback=_told_language,
    expose_value=False,
    help="Language of messages and reports (default: the system's).",
)


def spoken_or_json(function: Any) -> Any:
    """Give a command the options ``--lang`` and ``--json``."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        callback=_json_wanted,
        expose_value=False,
        help="Print one JSON object to stdout and nothing else.",
    )(_LANG(function))


def _json_wanted(_: click.Context, __: click.Parameter, value: bool) -> None:
    Shown.as_json = value


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nunbit")
@_LANG
def cli() -> None:
    """눈빛 nunbit: apparent emotion in face, voice and words, without clinical labels.

    \b
    The paper's experiment, from the AI Hub download to the report:
      nunbit prepare DOWNLOAD --out data --paper
      nunbit train data --out run --paper
      nunbit evaluate data --bundle run/bundle --out eval --paper

    nunbit summarises apparent expression. It is not a diagnosis.
    """


def need(package: str, extra: str) -> None:
    """Raise before any work starts if a package is missing.

    Raises:
        MissingExtra: It is not installed.
    """
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtra(package, extra)


@dataclass(frozen=True)
class Given:
    """What the command line says of settings, besides its options.

    Attributes:
        config: Of ``--config``.
        overrides: Of ``--set``.
    """

    config: Path | None
    overrides: tuple[str, ...]

    def read(
        self,
        kind: type[S],
        options: Mapping[str, Any],
        *,
        files: Sequence[Path] = (),
        paper: Command | None = None,
    ) -> S:
        """The settings of a command.

        Args:
            kind: Their type.
            options: Of the command; None = not given.
            files: Settings files that ``--config`` wins over.
            paper: The command, where ``--paper`` was given: every setting is printed with its
                mark, and where the user's own value wins.
        """
        from nunbit.runtime.config import preset_lines, preset_values, read_settings

        settings = read_settings(
            kind,
            preset={} if paper is None else preset_values(paper),
            files=[*files, *([] if self.config is None else [self.config])],
            overrides=self.overrides,
            options=options,
        )
        for line in () if paper is None else preset_lines(paper, settings):
            say(line)
        return settings


def _with_given(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--config`` and ``--set`` as one argument, ``given``."""

    @wraps(function)
    def run(config: Path | None, overrides: tuple[str, ...], **options: Any) -> None:
        function(given=Given(config, overrides), **options)

    return run


class Shown:
    """What this command has shown; :func:`nunbit.cli.main` begins anew with every command.

    Attributes:
        as_json: Whether ``--json`` was given.
        document: Whether the JSON object has been printed.
        lang: What the line says of the language, wherever it does; None where it says nothing.
    """

    as_json = document = False
    lang: Lang | None = None


def fit_consoles() -> None:
    """Let a console that lacks a character (cp949, cp1252) show ``?`` in its place.

    Windows' old consoles and pipes have such encodings; a result must not be lost for a dash.
    """
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        if not encoding.startswith("utf") and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _json_line(document: Mapping[str, Any]) -> str:
    """JSON as stdout can hold it: readable in UTF-8, escaped elsewhere, so that nothing is lost."""
    line = json_text(document)
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    return line if encoding.startswith("utf") else json.dumps(json.loads(line))


def show(document: Mapping[str, Any], text: str) -> None:
    """Print the result to stdout: with ``--json`` one JSON object, else a text for people."""
    if Shown.as_json:
        Shown.document = True
        click.echo(_json_line(document))
    elif text:
        click.echo(whole_text(in_flags(text)))


def flush_result() -> None:
    """Write out what was printed, while an error can still be reported."""
    sys.stdout.flush()


def system_refusal(exc: OSError) -> Text:
    """The line for an error of the system that nothing has reported yet, mostly of stdout."""
    reason = exc.strerror or exc
    if exc.filename is not None or not _is_of_stdout(exc):
        where = Text(f"{exc.filename}: ", f"{exc.filename}: ") if exc.filename else NO_TEXT
        return Text(
            f"{where.en}{reason}; finished work is kept: mend that and run the same line again",
            f"{where.ko}{reason}. 완료된 작업은 보존됩니다. 고친 뒤 같은 명령을 다시 실행하십시오",
        )
    # What is left in the buffer would fail once more when Python ends, in its own words.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    Shown.document = True  # nothing more can be printed there
    return Text(
        f"standard output: cannot write the result: {reason}; files that were written stay. Send "
        "the output elsewhere and run the same line again",
        f"표준 출력: 결과를 쓸 수 없습니다: {reason}. 이미 쓴 파일은 남아 있습니다. 출력을 다른 "
        "곳으로 보내고 같은 명령을 다시 실행하십시오",
    )


def terminal_columns() -> int | None:
    """Columns of the terminal that reads stdout (or ``COLUMNS``); None for a file or a pipe."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return None
    return shutil.get_terminal_size().columns


def _is_of_stdout(exc: OSError) -> bool:
    """Whether printing raised it; such an error does not name its file."""
    names = {frame.name for frame in traceback.extract_tb(exc.__traceback__)}
    return bool(names & {"echo", flush_result.__name__})


def show_error(text: Text, arguments: Sequence[str]) -> None:
    """Say an error in one line; with ``--json`` also as ``{"error": line}`` to an empty stdout."""
    line = in_flags(text.line(spoken_lang()))
    if "--json" in arguments and not Shown.document:
        try:
            click.echo(_json_line({"error": line}))
        except OSError as exc:  # stdout is on a full disk: the line on stderr must do
            system_refusal(exc)
    with suppress(OSError):
        click.echo(f"nunbit: error: {line}", err=True)
