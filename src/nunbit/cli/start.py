"""``nunbit demo``."""

from __future__ import annotations

from pathlib import Path

import click

from nunbit.cli.shared import PATHS, command, show
from nunbit.errors import Lang


@command("demo")
@click.option("--out", type=PATHS, default=Path("demo"), show_default=True, help="Folder to write.")
def demo(out: Path, as_json: bool, lang: Lang) -> None:
    """Run the whole experiment in miniature on synthetic faces.

    \b
    Example:
      nunbit demo --out demo
    """
    from nunbit.demo import run_demo

    result = run_demo(out, lang=lang)
    show(result.document, result.text(lang), as_json)
