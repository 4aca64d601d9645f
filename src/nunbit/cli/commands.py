"""Every command but those of the paper's experiment; each tells one story and shows its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nunbit.cli.shared import (
    BUNDLE,
    PATHS,
    PRIOR,
    SPEAKERS,
    TRANSCRIPT,
    Given,
    bundle_folder,
    command,
    engine_options,
    show,
    terminal_columns,
)
from nunbit.core.messages import InputError, Text
from nunbit.runtime.progress import spoken_lang


@command("predict", settings=True)
@click.argument("files", nargs=-1, required=True, type=PATHS, metavar="FILE...")
@BUNDLE
@click.option(
    "--prompts", help="paper, natural, english, a TOML file, or a text file of sentences."
)
@click.option("--prompt", multiple=True, metavar="TEXT", help="A sentence of yours; repeatable.")
@click.option("--label-set", help="Classes to tell apart (default: those of the bundle).")
@click.option("--crops", is_flag=True, default=None, help="The pictures are face crops already.")
@click.option(
    "--neutral",
    multiple=True,
    type=PATHS,
    metavar="FILE",
    help="Own face of the person at rest: photo or folder; repeatable.",
)
@PRIOR
@click.option(
    "--annotate", type=PATHS, metavar="OUT", help="Draw boxes and labels on copies: file or folder."
)
@click.option("--csv", type=PATHS, metavar="FILE", help="Write a table with a row a face.")
def predict(
    files: tuple[Path, ...],
    bundle: Path | None,
    annotate: Path | None,
    csv: Path | None,
    neutral: tuple[Path, ...],
    given: Given,
    **options: Any,
) -> None:
    """Estimate the apparent expression of the faces in photos.

    FILE is a photo (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF; HEIC with pi-heif) or a folder of
    photos. Your own sentences are compared among themselves, beside the classes. With --neutral,
    all FILEs must show the same person.

    \b
    Examples:
      nunbit predict photo.jpg
      nunbit predict album/ --annotate marked --csv faces.csv
      nunbit predict photo.jpg --prompt '환하게 웃는 얼굴' --prompt '침울한 얼굴'
    """
    from nunbit.stories.predict import predict as run_prediction
    from nunbit.stories.predict.texts import PredictSettings

    options["prompt"] = options["prompt"] or None
    result = run_prediction(
        files,
        given.read(PredictSettings, options),
        bundle=bundle,
        annotate=annotate,
        neutral=neutral,
    )
    if csv is not None:
        result.save(csv if csv.suffix.lower() == ".csv" else csv.with_name(f"{csv.name}.csv"))
    show(result.document, result.text(spoken_lang()))
    if result.failure is not None:
        raise result.failure


@command("check", settings=True)
@click.argument("files", nargs=-1, required=True, type=PATHS, metavar="FILE...")
@TRANSCRIPT
@SPEAKERS
def check(
    files: tuple[Path, ...],
    given: Given,
    **options: Any,
) -> None:
    """Report in seconds what would be read, repaired or left out of files, without analysing them.

    FILE is a recording, transcript, diarisation (RTTM) or photo, or a folder of them. Ten frames
    and two minutes of sound of each recording are read. Exit code 1 where a file cannot be used.

    \b
    Examples:
      nunbit check interview.mp4 --transcript interview.srt
      nunbit check visits/ --transcript subtitles/
    """
    from nunbit.stories.check import check as run_check
    from nunbit.stories.check import check_document
    from nunbit.stories.check.listing import check_text
    from nunbit.stories.check.look import CheckSettings

    results, unread = run_check(files, given.read(CheckSettings, options))
    text = check_text(results, unread, spoken_lang(), terminal_columns())
    show(check_document(results, unread, spoken_lang()), text)
    failed = [result.error for result in results if result.error is not None]
    if len(results) == 1 and failed:
        raise InputError(failed[0])
    if failed:
        raise InputError(
            Text(
                f"{len(failed)} of {len(results)} files cannot be used; see above",
                f"파일 {len(results)}개 중 {len(failed)}개를 사용할 수 없습니다. 위를 보십시오",
            )
        )


@command("analyze", settings=True)
@click.argument("media", nargs=-1, type=PATHS, metavar="[MEDIA]...")
@click.option("--out", required=True, type=PATHS, help="Folder; gets one folder per recording.")
@click.option("--transcript", help="SRT, VTT, TextGrid, EAF, JSON or CSV; a folder for several.")
@SPEAKERS
@BUNDLE
@click.option(
    "--asr", type=click.Choice(["auto", "vosk", "faster-whisper"]), help="Recognise the words."
)
@click.option(
    "--export",
    metavar="A,B",
    help="eaf (eaf:valence,pitch adds tiers), textgrid, vtt, csv, openface.",
)
@click.option(
    "--baseline", metavar="A-B", help="Neutral stretch of the person, in seconds, 60 s or more."
)
@click.option(
    "--neutral", metavar="A-B|auto", help="Person's face at rest, seconds; results relative to it."
)
@PRIOR
@click.option("--subject", help="Code of the person, written into every row.")
@click.option(
    "--people",
    type=PATHS,
    metavar="TABLE",
    help="CSV of the recordings: file, person, session, group, baseline, transcript, speakers, "
    "neutral; MEDIA may then be left out.",
)
@click.option("--embed", is_flag=True, default=None, help="Put the video into the report.")
@click.option("--forget", is_flag=True, default=None, help="Keep only the tables.")
@click.option("--full-rate", is_flag=True, default=None, help="Read every frame (blinks); slower.")
@click.option("--without-words", is_flag=True, default=None, help="Write nothing of what was said.")
@click.option("--part", metavar="I/N", help="Analyse only part I of N (job arrays).")
@engine_options
def analyze(
    media: tuple[Path, ...],
    out: Path,
    bundle: Path | None,
    people: Path | None,
    given: Given,
    **options: Any,
) -> None:
    """Bring face, voice and words of recordings onto one clock, with measures and a report.

    MEDIA is video or sound, or folders of them. Give the same line again to resume: recordings that
    are done are kept. Other exports, languages or baselines need no second reading, nor the
    recording: give its folder of results. It summarises apparent expression and is not a diagnosis.

    \b
    Examples:
      nunbit analyze interview.mp4 --transcript interview.srt --out timelines
      nunbit analyze visits/ --transcript subtitles/ --export eaf,csv --out timelines
      nunbit analyze interview.mp4 --neutral 5-15 --out timelines
      nunbit analyze --people people.csv --out timelines
    """
    if not media and people is None:
        raise click.UsageError(
            Text(
                "Give MEDIA (recordings or folders), or --people TABLE.",
                "MEDIA(녹화나 폴더) 또는 --people 표를 주십시오.",
            ).pick(spoken_lang())
        )
    from nunbit.report.measure_tiers import parse_export
    from nunbit.stories.analyze import analyze as run_analysis
    from nunbit.stories.analyze.job import AnalyzeSettings
    from nunbit.stories.analyze.outcome import outcomes_text

    if options["export"] is not None:
        options["export"], tiers = parse_export(options["export"])
        options |= {"eaf_tiers": tiers} if tiers else {}
    outcomes = run_analysis(
        media, out, given.read(AnalyzeSettings, options), bundle=bundle, people=people
    )
    document = {"sessions": [outcome.to_dict(spoken_lang()) for outcome in outcomes]}
    show(document, outcomes_text(outcomes, out, spoken_lang()))
    failed = sum(outcome.error is not None for outcome in outcomes)
    if failed:
        raise InputError(
            Text(
                f"{failed} of {len(outcomes)} recordings could not be analysed; see above",
                f"기록 {len(outcomes)}개 중 {failed}개를 분석하지 못했습니다. 위를 보십시오",
            )
        )


@command("align", settings=True)
@click.argument("media", nargs=-1, type=PATHS, metavar="MEDIA...")
@click.option("--out", required=True, type=PATHS, help="Folder of the run.")
@click.option(
    "--forget",
    is_flag=True,
    help="Delete the window vectors of the recordings after the run; without MEDIA, now.",
)
@click.option("--persons", help="CSV with media,person (default: by folder or file name).")
@TRANSCRIPT
@SPEAKERS
@BUNDLE
@engine_options
def align(
    media: tuple[Path, ...],
    out: Path,
    bundle: Path | None,
    given: Given,
    forget: bool,
    **options: Any,
) -> None:
    """Learn from unlabelled recordings how face, voice and words go together, and judge it.

    MEDIA is video of many people, or folders of it. The mean of every recording is removed, and
    people are left out in turn: the report says whether the right moment of the same person is
    found. RUN/bundle is for `analyze --bundle` and `search`. RUN/recordings keeps window vectors,
    which make a rerun quick and from which people can be recognised; --forget deletes them.

    \b
    Example:
      nunbit align interviews/*/ --transcript subtitles/ --out run
      nunbit align --forget --out run
    """
    if not media:
        if not forget:
            raise click.UsageError(
                Text(
                    "give MEDIA (recordings or folders), or --forget with --out",
                    "MEDIA(녹화나 폴더)를 주거나 --out과 --forget을 함께 주십시오",
                ).pick(spoken_lang())
            )
        from nunbit.stories.align import forget as forget_run

        show({"readings": forget_run(out)["readings"]}, str(out))
        return
    from nunbit import api
    from nunbit.report.alignment_page import result_text
    from nunbit.space.window_reading import AlignSettings

    settings = given.read(AlignSettings, options | ({"forget": True} if forget else {}))
    result = api.align(media, out, model=bundle, settings=settings)
    show(result.document, result_text(dict(result.document), out, spoken_lang()))


@command("search", settings=True)
@click.argument("timelines", nargs=-1, required=True, type=PATHS, metavar="TIMELINES...")
@click.argument("text")
@click.option(
    "--bundle",
    required=True,
    type=bundle_folder,
    metavar="PATH",
    help="The aligned bundle (RUN/bundle).",
)
@click.option("--top", type=int, help="Windows to show (default 10).")
@click.option(
    "--modality",
    type=click.Choice(["all", "face", "voice", "text"]),
    help="Modality compared with the sentence (default: all that a window has).",
)
def search(
    timelines: tuple[Path, ...],
    text: str,
    bundle: Path,
    given: Given,
    **options: Any,
) -> None:
    """Find the windows of analysed recordings that are nearest to a sentence, with times.

    TIMELINES are folders that `nunbit analyze --bundle RUN/bundle` wrote.

    \b
    Example:
      nunbit search timelines "웃으면서 힘들다고 말한다" --bundle run/bundle
    """
    from nunbit import api
    from nunbit.stories.search import SearchSettings

    result = api.search(timelines, text, model=bundle, settings=given.read(SearchSettings, options))
    show(result.document, result.lines())


@command("study", settings=True)
@click.argument("timelines", nargs=-1, required=True, type=PATHS, metavar="TIMELINES...")
@click.option("--labels", required=True, type=PATHS, help="CSV or Parquet with the labels.")
@click.option("--out", required=True, type=PATHS, help="Folder of the study.")
@click.option("--outcome", help="Column of the outcome or class (default: by its name).")
@click.option("--covariates", metavar="A,B", help="Columns for the control of covariates.")
@click.option("--cutoff", type=float, help="Positive from this outcome on, for the AUROC.")
@click.option(
    "--plan-only", is_flag=True, default=None, help="Write and hash the plan; read no label."
)
def study(
    timelines: tuple[Path, ...], labels: Path, out: Path, given: Given, **options: Any
) -> None:
    """Ask whether participants' measures say more about labels than the controls do.

    Labels are an outcome a person or session (person, phq9, …), or a class a stretch of time
    (session, t_start, t_end, label). Controls always run: interviewer, covariates and duration,
    sites left out, permutations. plan.toml is written and hashed before labels are read. It is
    about groups: no score of a person is written. No diagnosis, no screening.

    \b
    Example:
      nunbit synth study world --world effect
      nunbit study world/timelines --labels world/labels.csv --out study
    """
    from nunbit.api import studies
    from nunbit.report.study_page import study_text
    from nunbit.stories.study.study_plan import StudySettings

    if options["covariates"] is not None:
        options["covariates"] = tuple(c.strip() for c in options["covariates"].split(",") if c)
    result = studies.study(timelines, labels, out, settings=given.read(StudySettings, options))
    text = study_text(dict(result.document), out, spoken_lang()) if result.finished else str(out)
    show(result.document, text)


@command("report")
@click.argument("path", type=PATHS)
def report(path: Path) -> None:
    """Render the report of an evaluation, a timeline or many sessions again.

    For example in the other language. PATH is the folder that evaluate or analyze wrote.

    \b
    Examples:
      nunbit report eval --lang ko
      nunbit report timelines/interview
    """
    from nunbit.report import render_any

    written = render_any(path, lang=spoken_lang())
    show({"report": str(written)}, str(written))


@command("measures")
@click.option("--label-set", help="Name the classes a measure uses: fer7, aihub7 or a TOML file.")
def measures(label_set: str | None) -> None:
    """Print the definition of every measure: formula, unit, validity, grade, source.

    \b
    Example:
      nunbit measures --label-set fer7
    """
    from nunbit.language.labels import load_label_set
    from nunbit.measures import definitions
    from nunbit.measures.definitions import definitions_document, definitions_text

    found = definitions(load_label_set(label_set) if label_set else None)
    show({"measures": definitions_document(found)}, definitions_text(found, spoken_lang()))
