"""The command line: options in, a story called, a short table or one JSON object out.

Nothing is computed here. Stories are imported inside the command bodies, so that ``--help`` stays
fast and ``train`` alone loads torch. One module per group of commands; importing it registers them.
"""

from __future__ import annotations

import os
import signal
import sys

import click

# Importing a module registers its commands.
from nunbit.cli import aligning, checking, experiment, photos, recordings, showing, start  # noqa: F401
from nunbit.cli.shared import cli, show_error
from nunbit.errors import Lang, NunbitError
from nunbit.language import system_language

__all__ = ["cli", "main"]

_OUT_OF_MEMORY: dict[Lang, str] = {
    "en": "out of memory: lower batch_size or the number of workers with --set",
    "ko": "메모리가 부족합니다. --set으로 batch_size나 작업 프로세스 수를 줄이십시오",
}


def main() -> None:
    """Entry point: run a command and turn errors into one line and an exit code."""
    _treat_sigterm_as_interrupt()
    # torch's threads spin while they wait, which on a busy machine costs eight times the work;
    # read when torch loads, so it is set before any command does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:]
    try:
        cli.main(args=arguments, prog_name="nunbit", standalone_mode=False)
    except NunbitError as exc:
        line = exc.text(_language_of(arguments))
        show_error(line, arguments)
        _fail(line)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except MemoryError:
        line = _OUT_OF_MEMORY[_language_of(arguments)]
        show_error(line, arguments)
        _fail(line)


def _treat_sigterm_as_interrupt() -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _fail(line: str) -> None:
    click.echo(f"nunbit: error: {line}", err=True)
    sys.exit(1)


def _language_of(arguments: list[str]) -> Lang:
    for position, argument in enumerate(arguments):
        value = argument.removeprefix("--lang=")
        if argument == "--lang" and position + 1 < len(arguments):
            value = arguments[position + 1]
        if value in ("ko", "en") and argument.startswith("--lang"):
            return "ko" if value == "ko" else "en"
    return system_language()
