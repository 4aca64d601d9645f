"""The command line: options in, a story called, a short table or one JSON object out.

Nothing is computed here. Stories are imported inside the command bodies, so that ``--help`` stays
fast and ``train`` alone loads torch. One module per group of commands; importing it registers them.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from itertools import pairwise

import click

from nunbit.cli import (  # noqa: F401 (importing registers the commands)
    adaptation,
    commands,
    experiment,
    machine,
    papers,
)
from nunbit.cli.shared import (
    Shown,
    cli,
    fit_consoles,
    flush_result,
    in_flags,
    show_error,
    system_refusal,
)
from nunbit.core.messages import Lang, NunbitError, Text, system_language
from nunbit.runtime.progress import put_in_words, set_lang, spoken_lang

__all__ = ["cli", "main"]

_OUT_OF_MEMORY = Text(
    "out of memory: lower batch_size or the number of workers with --set",
    "메모리가 부족합니다. --set으로 batch_size나 작업 프로세스 수를 줄이십시오",
)

_ENDED = Text(
    "a file ended before it should: it was not copied completely; look for one of 0 bytes, and "
    "run the same line again",
    "파일이 끝나기 전에 끊겼습니다. 완전히 복사되지 않은 파일(0바이트)이 있는지 확인하고 같은 "
    "명령을 다시 실행하십시오",
)


def main() -> None:
    """Entry point: run a command and turn errors into one line and an exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as an interrupt
    # torch's threads spin while they wait, which on a busy machine costs eight times the work;
    # read when torch loads, so it is set before any command does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:]
    fit_consoles()
    Shown.as_json = Shown.document = False
    Shown.lang = _language_of(arguments)
    set_lang(Shown.lang or system_language())
    put_in_words(in_flags)
    try:
        _run(arguments)
        flush_result()
    except NunbitError as exc:
        show_error(exc.text, arguments)
        sys.exit(1)
    except (click.exceptions.Abort, KeyboardInterrupt) as exc:
        # click takes the end of a file for the end of a person's patience.
        if isinstance(exc.__cause__, EOFError):
            show_error(_ENDED, arguments)
            sys.exit(1)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as exc:
        show_error(system_refusal(exc), arguments)
        sys.exit(1)
    except MemoryError:
        show_error(_OUT_OF_MEMORY, arguments)
        sys.exit(1)


def _run(arguments: list[str]) -> None:
    """Run a command; wrong usage ends with 2 and what is wrong, in the reader's language."""
    with ExitStack() as stack:
        if spoken_lang() == "ko":
            from nunbit.cli.korean import in_korean

            stack.enter_context(in_korean(cli))
        try:
            cli.main(args=arguments, prog_name="nunbit", standalone_mode=False)
        except click.ClickException as exc:
            exc.show()
            sys.exit(2)


def _language_of(arguments: list[str]) -> Lang | None:
    for argument, following in pairwise([*arguments, ""]):
        value = following if argument == "--lang" else argument.removeprefix("--lang=")
        if value in ("ko", "en") and argument.startswith("--lang"):
            return "ko" if value == "ko" else "en"
    return None
