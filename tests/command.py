"""`nunbit ...` inside the process of the test: the real entry point, no new interpreter."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from nunbit.cli import main


@dataclass(frozen=True)
class Done:
    """What a shell would see of a finished command."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*arguments: object, folder: Path | None = None, **environment: str) -> Done:
    """Run a command line as ``python -m nunbit`` would.

    Args:
        arguments: The words after ``nunbit``.
        folder: Current folder while it runs; None leaves it.
        environment: Further variables; the system's language is English unless LANG is among them.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    before = signal.getsignal(signal.SIGTERM)
    code: object = 0
    with (
        mock.patch.dict(os.environ, {"LANG": "C.UTF-8"} | environment),
        mock.patch.object(sys, "argv", ["nunbit", *map(str, arguments)]),
        contextlib.chdir(folder or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, before)
    written = [stream.buffer.getvalue().decode() for stream in (out, err)]
    assert isinstance(code, int), code
    return Done(code, *written)
