"""Results shown again, definitions, and what this machine can do."""

from __future__ import annotations

from pathlib import Path

import click

from nunbit.cli.shared import PATHS, command, show
from nunbit.errors import Lang


@command("report")
@click.argument("path", type=PATHS)
def report(path: Path, as_json: bool, lang: Lang) -> None:
    """Render the report of an evaluation again, for example in the other language.

    \b
    Example:
      nunbit report eval --lang ko
    """
    from nunbit.report import render_evaluation

    written = render_evaluation(path, lang=lang)
    show({"report": str(written)}, str(written), as_json)


@command("doctor")
def doctor(as_json: bool, lang: Lang) -> None:
    """Say what works on this machine, what is missing, and the line that installs it.

    \b
    Example:
      nunbit doctor
    """
    from nunbit.doctor import examine, findings_text

    findings = examine()
    document = {"findings": [f.to_dict(lang) for f in findings]}
    show(document, findings_text(findings, lang), as_json)
