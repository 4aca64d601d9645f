"""The command line: options in, a story called, a short table or one JSON object out.

Nothing is computed here. Stories are imported inside the command bodies, so that ``--help`` stays
fast and ``train`` alone loads torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from nunbit.errors import Lang, MissingExtra, NunbitError
from nunbit.language import system_language

_PATHS = click.Path(path_type=Path)


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of the work, not of the alphabet


def _command(
    name: str, *, settings: bool = False, group: click.Group | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Register a command with the options that every command has."""

    def decorate(function: Callable[..., None]) -> click.Command:
        wrapped: Any = function
        if settings:
            wrapped = click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="One setting; may be repeated; wins over --config.",
            )(wrapped)
            wrapped = click.option(
                "--config", type=_PATHS, help="TOML file of settings; unknown keys are refused."
            )(wrapped)
        wrapped = click.option(
            "--lang",
            type=click.Choice(["ko", "en"]),
            default=system_language,
            help="Language of messages and reports (default: the system's).",
        )(wrapped)
        wrapped = click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON object to stdout, nothing else."
        )(wrapped)
        register = (group or cli).command(name, context_settings={"max_content_width": 100})
        return register(wrapped)

    return decorate


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nunbit")
def cli() -> None:
    """눈빛 nunbit: apparent emotion in face, voice and words, without clinical labels.

    \b
    The paper's experiment, from the AI Hub download to the report:
      nunbit prepare DOWNLOAD --out data
      nunbit train data --out run --init openai/clip-vit-base-patch32
      nunbit evaluate data --bundle run/bundle --out eval

    nunbit summarises apparent expression. It is not a diagnosis.
    """


@_command("demo")
@click.option(
    "--out", type=_PATHS, default=Path("demo"), show_default=True, help="Folder to write."
)
def demo(out: Path, as_json: bool, lang: Lang) -> None:
    """Run the whole experiment in miniature on synthetic faces.

    \b
    Example:
      nunbit demo --out demo
    """
    from nunbit.demo import run_demo

    result = run_demo(out, lang=lang)
    _show(result.document, result.text(lang), as_json)


@cli.group("synth", cls=_Group)
def synth() -> None:
    """Write synthetic data with known truth."""


@_command("aihub", settings=True, group=synth)
@click.argument("out", type=_PATHS)
@click.option("--per-class", type=int, help="Training photos of each emotion (default 200).")
@click.option("--seed", type=int, help="Everything follows from it (default 0).")
def synth_aihub(
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Write a tree of drawn faces with every trait of the AI Hub download.

    Real zips with CP949 names in two roots, EXIF orientations, bad boxes, broken and giant files,
    annotators who disagree. The same seed gives the same bytes.

    \b
    Example:
      nunbit synth aihub synthetic --per-class 100
    """
    from nunbit.config import read_settings
    from nunbit.synth.aihub import SynthSettings, write_tree

    settings = read_settings(
        SynthSettings, files=_files(config), overrides=overrides, options=options
    )
    document = write_tree(out, settings, lang=lang)
    _show(document, str(out), as_json)


@_command("prepare", settings=True)
@click.argument("src", nargs=-1, required=True, type=_PATHS)
@click.option("--out", required=True, type=_PATHS, help="Folder of the prepared data set.")
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
def prepare(
    src: tuple[Path, ...],
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Turn labelled photos into a prepared data set of face crops.

    SRC is the AI Hub download (zips in place or unpacked; several folders may be given), a folder
    of class folders or a zip of it, or a CSV or Parquet table. An interrupted run goes on where it
    was when the same line is given again.

    \b
    Examples:
      nunbit prepare ~/aihub/Training ~/aihub/Validation --out data
      nunbit prepare faces.csv --label-set fer7 --labels votes --size 48 --out data
    """
    from nunbit.config import read_settings
    from nunbit.prepare import PrepareSettings
    from nunbit.prepare import prepare as prepare_data

    settings = read_settings(
        PrepareSettings, files=_files(config), overrides=overrides, options=options
    )
    document = prepare_data(src, out, settings, lang=lang)
    _show(document, _prepare_text(document, out, lang), as_json)


@_command("train", settings=True)
@click.argument("data", type=_PATHS)
@click.option("--out", required=True, type=_PATHS, help="Folder of the run.")
@click.option(
    "--recipe", default="paper", show_default=True, help="paper, fer7-lite or a TOML file."
)
@click.option("--init", help="Starting weights: a hub id, a folder or file, lite or tiny.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of --out.")
@click.option(
    "--baseline",
    type=click.Choice(["linear", "knn", "efficientnet", "resnet", "majority"]),
    help="Train a classifier to compare with instead.",
)
@click.option("--bundle", type=_PATHS, help="Bundle whose embeddings linear and knn use.")
def train(
    data: Path,
    out: Path,
    recipe: str,
    resume: bool,
    baseline: str | None,
    bundle: Path | None,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Fine-tune both encoders on a prepared data set; no classifier head.

    \b
    Examples:
      nunbit train data --out run --init openai/clip-vit-base-patch32
      nunbit train data --out run --init lite --set epochs=4 --set image_size=64
      nunbit train data --out run --resume
      nunbit train data --out probe --baseline linear --bundle run/bundle
    """
    _need("torch", "train")
    from nunbit.config import read_settings
    from nunbit.training.baselines import train_baseline
    from nunbit.training.loop import train as run_training
    from nunbit.training.settings import TrainSettings, recipe_path

    settings = read_settings(
        TrainSettings,
        files=[recipe_path(recipe), *_files(config)],
        overrides=overrides,
        options=options,
    )
    if baseline is None:
        document = run_training(data, out, settings, resume=resume, lang=lang)
    else:
        document = train_baseline(
            data, out, baseline, settings, bundle=bundle, resume=resume, lang=lang
        )
    _show(document, _train_text(document, out, lang), as_json)


@_command("export")
@click.argument("run", type=_PATHS)
@click.option("--out", required=True, type=_PATHS, help="Folder of the bundle.")
def export(run: Path, out: Path, as_json: bool, lang: Lang) -> None:
    """Write the bundle of a run again: ONNX, prompts, tokenizer, model card.

    \b
    Example:
      nunbit export run --out bundle
    """
    _need("torch", "train")
    from nunbit.training.export import export_run

    document = export_run(run, out, lang=lang)
    _show(document, f"{out}", as_json)


@_command("evaluate", settings=True)
@click.argument("data", type=_PATHS)
@click.option("--bundle", type=_PATHS, help="Bundle folder (default: the shipped one).")
@click.option("--out", required=True, type=_PATHS, help="Folder of the evaluation.")
@click.option("--split", help="train, validation or test (default: test if there is one).")
@click.option("--labels", "policy", help="Label policy (default: that of the data set).")
@click.option("--prompts", help="paper, natural, english or a TOML file.")
@click.option("--ensemble", help="mean_embedding, mean_similarity, max or vote.")
@click.option(
    "--compare",
    multiple=True,
    help="`paper`, or another evaluation or prediction file; repeatable.",
)
@click.option("--seeds", multiple=True, help="Folder of an evaluation of another seed; repeatable.")
@click.option("--part", metavar="I/N", help="Score only share I of N (job arrays).")
def evaluate(
    data: Path,
    bundle: Path | None,
    out: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    lang: Lang,
    **options: Any,
) -> None:
    """Evaluate a bundle zero-shot: cosine to prompts, intervals, calibration, report.

    \b
    Examples:
      nunbit evaluate data --bundle run/bundle --out eval
      nunbit evaluate data --bundle run/bundle --out eval --prompts natural --compare paper
      nunbit evaluate probe/predictions.parquet --out eval-probe --compare eval
    """
    for key in ("compare", "seeds"):
        options[key] = options[key] or None
    from nunbit.config import read_settings
    from nunbit.evaluate import EvaluateSettings, Unfinished, evaluate_part
    from nunbit.evaluate import evaluate as run_evaluation
    from nunbit.report import evaluation_text

    settings = read_settings(
        EvaluateSettings, files=_files(config), overrides=overrides, options=options
    )
    run = run_evaluation if settings.part is None else evaluate_part
    result = run(data, bundle, out, settings, lang=lang)
    if isinstance(result, Unfinished):
        left = result.parts_missing
        line = f"{left} parts to go" if lang == "en" else f"남은 조각 {left}개"
        _show({"finished": False, "parts_missing": left}, f"{out}: {line}", as_json)
        return
    _show(result.document, evaluation_text(result, out, lang), as_json)


@_command("predict", settings=True)
@click.argument("files", nargs=-1, required=True, type=_PATHS, metavar="FILE...")
@click.option("--bundle", type=_PATHS, help="Bundle folder (default: the shipped one).")
@click.option(
    "--prompts", help="paper, natural, english, a TOML file, or a text file of sentences."
)
@click.option("--prompt", multiple=True, metavar="TEXT", help="A sentence of yours; repeatable.")
@click.option("--label-set", help="Classes to tell apart (default: those of the bundle).")
@click.option("--crops", is_flag=True, default=None, help="The pictures are face crops already.")
@click.option("--annotate", type=_PATHS, metavar="OUT", help="Draw the answers: file or folder.")
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

    FILE is a photo (JPEG, PNG, WebP, BMP, TIFF, GIF; HEIC with pi-heif) or a folder of photos.
    Your own sentences are compared among themselves, beside the classes.

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
        PredictSettings, files=_files(config), overrides=overrides, options=options
    )
    result = run_prediction(files, settings, bundle=bundle, annotate=annotate, lang=lang)
    _show(result.document, result.text(lang), as_json)
    if result.failure is not None:
        raise result.failure


@_command("report")
@click.argument("path", type=_PATHS)
def report(path: Path, as_json: bool, lang: Lang) -> None:
    """Render the report of an evaluation again, for example in the other language.

    \b
    Example:
      nunbit report eval --lang ko
    """
    from nunbit.report import render_evaluation

    written = render_evaluation(path, lang=lang)
    _show({"report": str(written)}, str(written), as_json)


@_command("doctor")
def doctor(as_json: bool, lang: Lang) -> None:
    """Say what works on this machine, what is missing, and the line that installs it.

    \b
    Example:
      nunbit doctor
    """
    from nunbit.doctor import examine, findings_text

    findings = examine()
    document = {"findings": [f.to_dict(lang) for f in findings]}
    _show(document, findings_text(findings, lang), as_json)


def main() -> None:
    """Entry point: run a command and turn errors into one line and an exit code."""
    _treat_sigterm_as_interrupt()
    # torch's threads spin while they wait, which on a busy machine costs eight times the work;
    # read when torch loads, so it is set before any command does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:]
    try:
        cli.main(args=arguments, prog_name="nunbit", standalone_mode=False)
    except NunbitError as exc:
        _fail(exc.text(_language_of(arguments)))
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as exc:
        exc.show()
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except MemoryError:
        _fail("out of memory: lower batch_size or num_workers with --set")


def _treat_sigterm_as_interrupt() -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _fail(line: str) -> None:
    click.echo(f"nunbit: error: {line}", err=True)
    sys.exit(1)


def _language_of(arguments: list[str]) -> Lang:
    for position, argument in enumerate(arguments):
        value = argument.removeprefix("--lang=")
        if argument == "--lang" and position + 1 < len(arguments):
            value = arguments[position + 1]
        if value in ("ko", "en") and argument.startswith("--lang"):
            return "ko" if value == "ko" else "en"
    return system_language()


def _need(package: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtra(package, extra)


def _files(config: Path | None) -> list[Path]:
    return [] if config is None else [config]


def _show(document: Mapping[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(text)


def _prepare_text(document: Mapping[str, Any], out: Path, lang: Lang) -> str:
    counts = document["counts"]
    rows = [(split, str(n)) for split, n in counts["by_split"].items()]
    rejects = sum(counts["rejects"].values())
    rows.append(("rejects" if lang == "en" else "제외", str(rejects)))
    lines = [f"{name:<12}{value:>9}" for name, value in rows]
    lines += [f"  {reason}: {n}" for reason, n in sorted(counts["rejects"].items())]
    lines += [f"! {note}" for note in document["notes"]]
    return "\n".join([*lines, str(out)])


def _train_text(document: Mapping[str, Any], out: Path, lang: Lang) -> str:
    validation = document["validation"]
    names = ("top1", "uar", "macro_f1")
    figures = ", ".join(f"{name} {validation[name]:.3f}" for name in names)
    chosen = "선택 분할" if lang == "ko" else "selection split"
    return f"{chosen}: {figures}\n{document.get('predictions', out / 'bundle')}"
