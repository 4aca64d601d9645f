"""The paper's experiment: synth, prepare, train, export, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nunbit.cli.shared import (
    BUNDLE,
    PATHS,
    PRIOR,
    Given,
    Group,
    bundle_folder,
    cli,
    command,
    engine_options,
    need,
    show,
    spoken_or_json,
)
from nunbit.core.messages import Lang, Text, text_of
from nunbit.runtime.progress import spoken_lang


@cli.group("synth", cls=Group)
@spoken_or_json
def synth() -> None:
    """Write synthetic data with known truth.

    \b
    Examples:
      nunbit synth aihub synthetic
      nunbit synth video drawn.mp4
    """


@command("aihub", settings=True, group=synth)
@click.argument("out", type=PATHS)
@click.option("--per-class", type=int, help="Training photos of each emotion (default 200).")
@click.option("--seed", type=int, help="Decides everything that is random (default 0).")
def synth_aihub(
    out: Path,
    given: Given,
    **options: Any,
) -> None:
    """Write a folder tree of drawn faces with every peculiarity of the AI Hub download.

    Real zips with CP949 names in two roots, EXIF orientations, bad boxes, broken and giant files,
    annotators who disagree. The same seed gives the same bytes.

    \b
    Example:
      nunbit synth aihub synthetic --per-class 100
    """
    from nunbit.synth.aihub_records import SynthSettings
    from nunbit.synth.aihub_tree import write_tree

    show(write_tree(out, given.read(SynthSettings, options)), str(out))


@command("video", settings=True, group=synth)
@click.argument("out", type=PATHS)
@click.option("--script", type=PATHS, help="TOML file of what is shown and said (default: a demo).")
@click.option("--seed", type=int, help="Decides blinks, sway and noise.")
def synth_video(
    out: Path,
    script: Path | None,
    seed: int | None,
    given: Given,
) -> None:
    """Write a talking drawn face with known truth: OUT, OUT.truth.json and OUT.srt.

    Expressions, head, blinks, speech, pitch, pauses, dropouts and the offset between sound and
    picture follow the script.

    \b
    Example:
      nunbit synth video clip.mp4
    """
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video

    made = load_script(script or given.config, overrides=given.overrides, options={"seed": seed})
    show(render_video(out, made), str(out))


@command("study", settings=True, group=synth)
@click.argument("out", type=PATHS)
@click.option(
    "--world",
    type=click.Choice(["null", "effect", "leak", "site", "complementary", "redundant", "useless"]),
    help="What is planted (default null).",
)
@click.option("--persons", type=int, help="How many (default 150).")
@click.option("--seed", type=int, help="Decides everything that is random (default 0).")
def synth_study(out: Path, given: Given, **options: Any) -> None:
    """Write timelines and labels of a planted world: OUT/timelines and OUT/labels.csv.

    null: labels of nothing. effect: r = .4. leak: only the interviewer tells. site: clinics differ.
    complementary, redundant, useless: labelled stretches in which modalities know different
    things, the same, or nothing.

    \b
    Example:
      nunbit synth study world --world effect
    """
    from nunbit.synth.study_worlds import WorldSettings
    from nunbit.synth.world_files import write_study_world

    show(write_study_world(out, given.read(WorldSettings, options)), str(out))


@command("prepare", settings=True)
@click.argument("src", nargs=-1, required=True, type=PATHS)
@click.option("--out", required=True, type=PATHS, help="Folder of the prepared data set.")
@click.option(
    "--source",
    "kind",
    type=click.Choice(["aihub", "folder", "table"]),
    help="Kind of SRC (default: recognised).",
)
@click.option("--label-set", help="aihub7, fer7 or a TOML file.")
@click.option("--labels", "policy", help="uploader, annot_a, majority, unanimous or votes.")
@click.option("--size", type=int, help="Side of the crops in pixels (default 224).")
@click.option("--part", metavar="I/N", help="Prepare only part I of N (job arrays).")
@engine_options
@click.option("--paper", is_flag=True, help="The paper's crop and labels; what you give wins.")
def prepare(
    src: tuple[Path, ...],
    out: Path,
    paper: bool,
    given: Given,
    **options: Any,
) -> None:
    """Turn labelled photos into a prepared data set of face crops.

    SRC is the AI Hub download (zips in place or unpacked; several folders may be given), a folder
    of class folders or a zip of it, or a CSV or Parquet table. Give the same line again to resume
    an interrupted run.

    \b
    Examples:
      nunbit prepare ~/aihub/Training ~/aihub/Validation --out data
      nunbit prepare ~/aihub/Training ~/aihub/Validation --out data --paper
      nunbit prepare faces.csv --label-set fer7 --labels votes --size 48 --out data
    """
    from nunbit.stories.prepare import PrepareSettings
    from nunbit.stories.prepare import prepare as prepare_data

    settings = given.read(PrepareSettings, options, paper="prepare" if paper else None)
    document = prepare_data(src, out, settings)
    show(document, _prepare_text(document, out, spoken_lang()))


@command("train", settings=True)
@click.argument("data", type=PATHS)
@click.option("--out", required=True, type=PATHS, help="Folder of the run.")
@click.option(
    "--recipe",
    default="paper",
    show_default=True,
    help="paper, nunbit, fer7-lite, fer7-lite-words, fer7-lite-wider or a TOML file.",
)
@click.option(
    "--init",
    help="Starting weights: a hub id, a folder or file, an earlier RUN, a bundle, lite or tiny.",
)
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of --out.")
@click.option(
    "--baseline",
    type=click.Choice(["linear", "knn", "efficientnet", "resnet", "majority"]),
    help="Train a classifier to compare with instead.",
)
@click.option(
    "--bundle",
    type=bundle_folder,
    metavar="PATH",
    help="Bundle whose embeddings linear and knn use.",
)
@click.option("--paper", is_flag=True, help="The paper's training; what you give wins.")
def train(
    data: Path,
    out: Path,
    recipe: str,
    paper: bool,
    resume: bool,
    baseline: str | None,
    bundle: Path | None,
    given: Given,
    **options: Any,
) -> None:
    """Fine-tune both encoders on a prepared data set; no classifier head.

    \b
    Examples:
      nunbit train data --out run --init openai/clip-vit-base-patch32
      nunbit train data --out run --paper
      nunbit train data --out run --init lite --set epochs=4 --set image_size=64
      nunbit train data --out run --resume
      nunbit train data --out probe --baseline linear --bundle run/bundle
    """
    need("torch", "train")
    from nunbit import api
    from nunbit.training.settings import TrainSettings, recipe_path

    settings = given.read(
        TrainSettings, options, files=[recipe_path(recipe)], paper="train" if paper else None
    )
    result = api.train(data, out, model=bundle, settings=settings, baseline=baseline, resume=resume)
    show(result.document, _train_text(result.document, out, spoken_lang()))


@command("export")
@click.argument("run", type=PATHS)
@click.option("--out", required=True, type=PATHS, help="Folder of the bundle.")
def export(run: Path, out: Path) -> None:
    """Write the bundle of a run again: ONNX, prompts, tokenizer, model card.

    \b
    Example:
      nunbit export run --out bundle
    """
    need("torch", "train")
    from nunbit.training.export import export_run

    show(export_run(run, out), str(out))


@command("evaluate", settings=True)
@click.argument("data", type=PATHS)
@BUNDLE
@click.option("--out", required=True, type=PATHS, help="Folder of the evaluation.")
@click.option("--split", help="train, validation, test or all (default: test if there is one).")
@click.option("--labels", "policy", help="Label policy (default: that of the data set).")
@click.option("--prompts", help="paper, natural, english or a TOML file.")
@click.option("--ensemble", help="mean_embedding, mean_similarity, max or vote.")
@PRIOR
@click.option(
    "--compare",
    multiple=True,
    help="`paper`, or another evaluation or prediction file; repeatable.",
)
@click.option("--seeds", multiple=True, help="Folder of an evaluation of another seed; repeatable.")
@click.option("--part", metavar="I/N", help="Embed only part I of N (job arrays).")
@engine_options
@click.option("--paper", is_flag=True, help="The paper's evaluation; what you give wins.")
def evaluate(
    data: Path,
    bundle: Path | None,
    out: Path,
    paper: bool,
    given: Given,
    **options: Any,
) -> None:
    """Evaluate a bundle zero-shot: cosine to prompts, intervals, calibration, report.

    DATA is a prepared data set, a file of predictions, or a folder of class folders, which is
    prepared in OUT/data first and evaluated whole.

    \b
    Examples:
      nunbit evaluate data --bundle run/bundle --out eval
      nunbit evaluate faces/ --out eval
      nunbit evaluate data --bundle run/bundle --out eval --paper
      nunbit evaluate data --bundle run/bundle --out eval --prompts natural --compare paper
      nunbit evaluate probe/predictions.parquet --out eval-probe --compare eval
    """
    for key in ("compare", "seeds"):
        options[key] = options[key] or None
    from nunbit.api.folders import prepared
    from nunbit.report import evaluation_text
    from nunbit.stories.evaluate import Unfinished, evaluate_part
    from nunbit.stories.evaluate import evaluate as run_evaluation
    from nunbit.stories.evaluate.assess import EvaluateSettings

    settings = given.read(EvaluateSettings, options, paper="evaluate" if paper else None)
    data, settings = prepared(data, bundle, out, settings)
    run = run_evaluation if settings.part is None else evaluate_part
    result = run(data, bundle, out, settings)
    if isinstance(result, Unfinished):
        left = result.parts_missing
        line = Text(f"{left} parts to go", f"남은 조각 {left}개").pick(spoken_lang())
        show({"finished": False, "parts_missing": left}, f"{out}: {line}")
        return
    show(result.document, evaluation_text(result, out, spoken_lang()))


def _prepare_text(document: Mapping[str, Any], out: Path, lang: Lang) -> str:
    if not document["finished"]:
        done, total = document["shards_finished"], document["shards"]
        left = Text(
            f"{done} of {total} shards are done; the other --parts finish the rest",
            f"샤드 {total}개 중 {done}개 완료. 나머지는 다른 --part가 마칩니다",
        )
        return left.under(out).pick(lang)
    from nunbit.runtime.progress import pad

    counts = document["counts"]
    rows = [(split, str(n)) for split, n in counts["by_split"].items()]
    rows.append((Text("rejects", "제외").pick(lang), str(sum(counts["rejects"].values()))))
    lines = (
        *(pad(name, 12, left=True) + pad(value, 9) for name, value in rows),
        *(f"  {reason}: {n}" for reason, n in sorted(counts["rejects"].items())),
        *(f"! {text_of(note).pick(lang)}" for note in document["notes"]),
    )
    return "\n".join([*lines, str(out)])


def _train_text(document: Mapping[str, Any], out: Path, lang: Lang) -> str:
    scores = document["validation"]
    figures = ", ".join(f"{name} {scores[name]:.3f}" for name in ("top1", "uar", "macro_f1"))
    chosen = Text("selection split", "선택 분할").pick(lang)
    return f"{chosen}: {figures}\n{document.get('predictions', out / 'bundle')}"
