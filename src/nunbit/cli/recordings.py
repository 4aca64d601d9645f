"""Recordings: analyze."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nunbit.cli.shared import PATHS, command, settings_files, show
from nunbit.errors import InputError, Lang


@command("analyze", settings=True)
@click.argument("media", nargs=-1, required=True, type=PATHS, metavar="MEDIA...")
@click.option("--out", required=True, type=PATHS, help="Folder; gets one folder per recording.")
@click.option("--transcript", help="SRT, VTT, TextGrid, EAF, JSON or CSV; a folder for several.")
@click.option("--speakers", help="Who speaks when (RTTM); a folder for several.")
@click.option("--bundle", type=PATHS, help="Bundle folder (default: the shipped one).")
@click.option("--asr", type=click.Choice(["vosk", "faster-whisper"]), help="Recognise the words.")
@click.option("--export", metavar="A,B", help="eaf, textgrid, vtt, csv, openface.")
@click.option("--baseline", metavar="A-B", help="The person's neutral stretch, in seconds.")
@click.option("--subject", help="Code of the person, written into every row.")
@click.option("--embed", is_flag=True, default=None, help="Put the video into the report.")
@click.option("--full-rate", is_flag=True, default=None, help="Read every frame (blinks); slower.")
def analyze(
    media: tuple[Path, ...],
    out: Path,
    bundle: Path | None,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Bring face, voice and words of recordings onto one clock, with measures and a report.

    MEDIA is video or sound, or folders of them. Recordings that are done are kept: the same line
    goes on where it was interrupted. It summarises apparent expression and is not a diagnosis.

    \b
    Examples:
      nunbit analyze interview.mp4 --transcript interview.srt --out timelines
      nunbit analyze visits/ --transcript subtitles/ --export eaf,csv --out timelines
    """
    from nunbit.analyze import AnalyzeSettings, outcomes_text
    from nunbit.analyze import analyze as run_analysis
    from nunbit.config import read_settings

    if options["export"] is not None:
        options["export"] = tuple(k.strip() for k in options["export"].split(",") if k.strip())
    settings = read_settings(
        AnalyzeSettings, files=settings_files(config), overrides=overrides, options=options
    )
    outcomes = run_analysis(media, out, settings, bundle=bundle, lang=lang)
    document = {"sessions": [outcome.to_dict(lang) for outcome in outcomes]}
    show(document, outcomes_text(outcomes, out, lang), as_json)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        raise InputError(
            en=f"{len(failed)} of {len(outcomes)} recordings could not be analysed; see above",
            ko=f"기록 {len(outcomes)}개 중 {len(failed)}개를 분석하지 못했습니다. 위를 보십시오",
        )
