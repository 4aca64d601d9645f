"""Results shown again, definitions, and what this machine can do."""

from __future__ import annotations

from pathlib import Path

import click

from nunbit.cli.shared import PATHS, command, show
from nunbit.errors import Lang


@command("report")
@click.argument("path", type=PATHS)
def report(path: Path, as_json: bool, lang: Lang) -> None:
    """Render the report of an evaluation, a timeline or many sessions again.

    For example in the other language. PATH is the folder that evaluate or analyze wrote.

    \b
    Examples:
      nunbit report eval --lang ko
      nunbit report timelines/interview
    """
    from nunbit.report import render_any

    written = render_any(path, lang=lang)
    show({"report": str(written)}, str(written), as_json)


@command("measures")
@click.option("--label-set", help="Name the classes a measure uses: fer7, aihub7 or a TOML file.")
def measures(label_set: str | None, as_json: bool, lang: Lang) -> None:
    """Print the definition of every measure: formula, unit, validity, grade, source.

    \b
    Example:
      nunbit measures --label-set fer7
    """
    from nunbit.labels import load_label_set
    from nunbit.measures import definitions
    from nunbit.measures.listing import definitions_document, definitions_text

    found = definitions(load_label_set(label_set) if label_set else None)
    show({"measures": definitions_document(found)}, definitions_text(found, lang), as_json)


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
