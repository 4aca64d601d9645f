"""A look before the work: check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nunbit.cli.shared import PATHS, command, settings_files, show, terminal_columns
from nunbit.errors import InputError, Lang


@command("check", settings=True)
@click.argument("files", nargs=-1, required=True, type=PATHS, metavar="FILE...")
@click.option("--transcript", help="Transcript; a folder for several recordings.")
@click.option("--speakers", help="Who speaks when (RTTM); a folder for several.")
def check(
    files: tuple[Path, ...],
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Say in seconds what would be read of files, repaired or left out, without analysing.

    FILE is a recording, transcript, diarisation (RTTM) or photo, or a folder of them. Ten frames
    and two minutes of sound of each recording are looked at. Exit code 1 where a file cannot be
    used.

    \b
    Examples:
      nunbit check interview.mp4 --transcript interview.srt
      nunbit check visits/ --transcript subtitles/
    """
    from nunbit.check import CheckSettings, check_document, check_text
    from nunbit.check import check as run_check
    from nunbit.config import read_settings

    settings = read_settings(
        CheckSettings, files=settings_files(config), overrides=overrides, options=options
    )
    results, unread = run_check(files, settings, lang=lang)
    text = check_text(results, unread, lang, terminal_columns())
    show(check_document(results, unread, lang), text, as_json)
    failed = [result for result in results if result.error is not None]
    if len(results) == 1 and failed and failed[0].error is not None:
        raise InputError(en=failed[0].error[0], ko=failed[0].error[1])
    if failed:
        raise InputError(
            en=f"{len(failed)} of {len(results)} files cannot be used; see above",
            ko=f"파일 {len(results)}개 중 {len(failed)}개를 사용할 수 없습니다. 위를 보십시오",
        )
