"""The shared space of face, voice and words: align, search."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from nunbit.cli.shared import PATHS, command, settings_files, show
from nunbit.errors import Lang


@command("align", settings=True)
@click.argument("media", nargs=-1, type=PATHS, metavar="MEDIA...")
@click.option("--out", required=True, type=PATHS, help="Folder of the run.")
@click.option(
    "--forget",
    is_flag=True,
    help="Delete what was read of the recordings (face vectors) afterwards; without MEDIA, now.",
)
@click.option("--persons", help="CSV with media,person (default: by folder or file name).")
@click.option("--transcript", help="Transcript; a folder for several recordings.")
@click.option("--speakers", help="Who speaks when (RTTM); a folder for several.")
@click.option("--bundle", type=PATHS, help="Bundle folder (default: the shipped one).")
def align(
    media: tuple[Path, ...],
    out: Path,
    bundle: Path | None,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    forget: bool,
    **options: Any,
) -> None:
    """Learn from unlabelled recordings how face, voice and words go together, and judge it.

    MEDIA is video of many people, or folders of it. Every recording's mean is removed, and people
    are left out in turn: what is reported is whether the right moment of the same person is found.
    RUN/bundle is for `analyze --bundle` and `search`. RUN/recordings keeps face vectors from which
    people can be recognised, so that a rerun is quick; --forget deletes them.

    \b
    Example:
      nunbit align interviews/*/ --transcript subtitles/ --out run
      nunbit align --forget --out run
    """
    if not media:
        if not forget:
            raise click.UsageError("give MEDIA (recordings or folders), or --forget with --out")
        from nunbit.align.forgetting import forget as forget_run

        document = forget_run(out, lang=lang)
        show({"readings": document["readings"]}, str(out), as_json)
        return
    from nunbit.align import AlignSettings, result_text
    from nunbit.align import align as run_alignment
    from nunbit.config import read_settings

    settings = read_settings(
        AlignSettings,
        files=settings_files(config),
        overrides=overrides,
        options=options | ({"forget": True} if forget else {}),
    )
    contrastive = None
    if settings.method != "cca" and find_spec("torch") is not None:

        def contrastive(*given: Any) -> Any:
            # torch takes seconds to load: only once there are windows enough for it.
            from nunbit.training.align_stage import fit_infonce

            return fit_infonce(*given)

    document = run_alignment(
        media, out, settings, bundle=bundle, contrastive=contrastive, lang=lang
    )
    show(document, result_text(document, out, lang), as_json)


@command("search", settings=True)
@click.argument("timelines", nargs=-1, required=True, type=PATHS, metavar="TIMELINES...")
@click.argument("text")
@click.option("--bundle", required=True, type=PATHS, help="The aligned bundle (RUN/bundle).")
@click.option("--top", type=int, help="How many windows (default 10).")
@click.option(
    "--modality",
    type=click.Choice(["all", "face", "voice", "text"]),
    help="What is compared with the sentence (default: all a window has).",
)
def search(
    timelines: tuple[Path, ...],
    text: str,
    bundle: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Find the windows of analysed recordings that are nearest to a sentence, with times.

    TIMELINES are folders that `nunbit analyze --bundle RUN/bundle` wrote.

    \b
    Example:
      nunbit search timelines "웃으면서 힘들다고 말한다" --bundle run/bundle
    """
    from nunbit.config import read_settings
    from nunbit.encoders import load_bundle
    from nunbit.search import SearchSettings, hits_text, load_index, search_notices
    from nunbit.search import search as run_search

    settings = read_settings(
        SearchSettings, files=settings_files(config), overrides=overrides, options=options
    )
    loaded = load_bundle(bundle)
    hits = run_search(load_index(timelines), loaded, text, settings)
    notices = search_notices(loaded, settings.modality)
    said = [f"! {pair[lang == 'ko']}" for pair in notices]
    show(
        {"text": text, "hits": [h.to_dict() for h in hits], "notices": notices},
        "\n".join([*said, hits_text(hits, lang)]),
        as_json,
    )
