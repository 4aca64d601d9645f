"""``nunbit adapt``: a bundle fitted to the user's people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nunbit.cli.shared import PATHS, Given, bundle_folder, command, show
from nunbit.runtime.progress import spoken_lang


@command("adapt", settings=True)
@click.argument("bundle", type=bundle_folder, metavar="BUNDLE")
@click.argument("data", type=PATHS, required=False)
@click.option("--out", required=True, type=PATHS, help="Folder of the new bundle.")
@click.option("--crops", is_flag=True, default=None, help="The pictures are face crops already.")
@click.option("--label-set", help="TOML file with more spellings of the bundle's classes.")
@click.option("--labels", "policy", help="Label policy for votes (default: the label given).")
@click.option(
    "--unlabelled", is_flag=True, default=None, help="No labels: estimate the class shares only."
)
@click.option("--remove", is_flag=True, default=None, help="Take an adaptation off again.")
@click.option("--figure", metavar="FILE", help="Picture of before and after: .svg, .png or .pdf.")
def adapt(bundle: Path, data: Path | None, out: Path, given: Given, **options: Any) -> None:
    """Fit a bundle to your people with 20 or more labelled faces; keep it only where it helps.

    BUNDLE is a folder or a shipped name (fer7-lite) and is never changed. DATA is a prepared data
    set, class folders, or a table with path,label,subject. Class shares, temperature and a
    re-mapping of the class probabilities are fitted; every figure is of persons left out.

    \b
    Examples:
      nunbit adapt fer7-lite faces.csv --out mine
      nunbit adapt fer7-lite faces/ --out mine --figure before-after.svg
      nunbit adapt fer7-lite photos/ --unlabelled --out mine
      nunbit adapt mine --remove --out plain
    """
    from nunbit.stories.adapt import AdaptSettings
    from nunbit.stories.adapt import adapt as run_adaptation

    result = run_adaptation(bundle, data, out, given.read(AdaptSettings, options))
    show(result.document, result.text(spoken_lang()))
