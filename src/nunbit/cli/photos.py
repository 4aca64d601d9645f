"""``nunbit predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nunbit.cli.shared import PATHS, command, settings_files, show
from nunbit.errors import Lang


@command("predict", settings=True)
@click.argument("files", nargs=-1, required=True, type=PATHS, metavar="FILE...")
@click.option("--bundle", type=PATHS, help="Bundle folder (default: the shipped one).")
@click.option(
    "--prompts", help="paper, natural, english, a TOML file, or a text file of sentences."
)
@click.option("--prompt", multiple=True, metavar="TEXT", help="A sentence of yours; repeatable.")
@click.option("--label-set", help="Classes to tell apart (default: those of the bundle).")
@click.option("--crops", is_flag=True, default=None, help="The pictures are face crops already.")
@click.option("--annotate", type=PATHS, metavar="OUT", help="Draw the answers: file or folder.")
def predict(
    files: tuple[Path, ...],
    bundle: Path | None,
    annotate: Path | None,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Estimate the apparent expression of the faces in photos.

    FILE is a photo (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF; HEIC with pi-heif) or a folder of
    photos. Your own sentences are compared among themselves, beside the classes.

    \b
    Examples:
      nunbit predict photo.jpg
      nunbit predict album/ --annotate marked --json
      nunbit predict photo.jpg --prompt '환하게 웃는 얼굴' --prompt '침울한 얼굴'
    """
    from nunbit.config import read_settings
    from nunbit.predict import PredictSettings
    from nunbit.predict import predict as run_prediction

    options["prompt"] = options["prompt"] or None
    settings = read_settings(
        PredictSettings, files=settings_files(config), overrides=overrides, options=options
    )
    result = run_prediction(files, settings, bundle=bundle, annotate=annotate, lang=lang)
    show(result.document, result.text(lang), as_json)
    if result.failure is not None:
        raise result.failure
