"""The whole experiment in miniature, and the shipped model on a drawn clip.

Synthetic faces → prepare → train → evaluate → report; then drawn people whose face and voice follow
one hidden state → alignment; then a talking drawn face → timeline with their agreement.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Lang, MissingExtra, Text
from nunbit.core.schema import SYNTHETIC_MARK
from nunbit.report import confusion_text, render_evaluation
from nunbit.runtime.config import read_settings
from nunbit.runtime.files import write_json, writing
from nunbit.runtime.progress import say, spoken_lang
from nunbit.runtime.results import EvalResult
from nunbit.runtime.workers import Tools, available_cores, run_tasks
from nunbit.stories.evaluate import evaluate
from nunbit.stories.evaluate.assess import EvaluateSettings
from nunbit.stories.prepare import PrepareSettings, prepare
from nunbit.synth.aihub_records import SynthSettings
from nunbit.synth.aihub_tree import write_tree

_MARK = ".nunbit-demo"
_STEPS = 7

_SYNTH = SynthSettings(per_class=240, per_class_validation=60, photo_width=480, seed=0)
_PREPARE = PrepareSettings(size=64)
_TRAIN = ("init=tiny", "image_size=48", "epochs=20")
_PEOPLE, _PERSON_S, _PERSON_FPS = 6, 40.0, 2  # enough to find the state, and half a minute's work
_EVALUATE = EvaluateSettings(split="validation", prompts="paper", compare="paper")


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        document: Plain data for ``--json``: top1, uar, n, seconds, report.
        result: The evaluation on the synthetic validation photos.
        report: The evaluation's HTML report.
        timeline: The clip's HTML report; None where the extra ``media`` is not installed.
        alignment: The alignment's HTML report; None likewise.
    """

    document: dict[str, Any]
    result: EvalResult
    report: Path
    timeline: Path | None = None
    alignment: Path | None = None

    def text(self, lang: Lang) -> str:
        """Accuracy, confusion matrix and where the report is, for a terminal."""
        unseen, n = self.document["unseen_top1"], self.result.n
        head = Text(
            "A miniature experiment on drawn faces: the numbers say nothing about human "
            f"faces.\ntop-1 {self.result.top1:.3f}, unseen persons only {unseen:.3f} ({n} "
            f"drawings, {self.document['seconds']:.0f} s)",
            "그려 낸 얼굴로 한 축소 실험입니다. 아래 수치로는 사람 얼굴에 대해 아무것도 알 수 "
            f"없습니다.\n정확도 {self.result.top1:.3f}, 처음 보는 인물만 {unseen:.3f} (그림 "
            f"{n}장, {self.document['seconds']:.0f}초)",
        )
        report = Text(f"report: {self.report}", f"보고서: {self.report}")
        parts = ["", head.pick(lang), "", confusion_text(self.result, lang), ""]
        return "\n".join([*parts, report.pick(lang), self._media().pick(lang)])

    def _media(self) -> Text:
        if self.timeline is None:
            return Text(
                "no alignment and no timeline: the extra media is missing",
                "미디어 확장이 없어 정렬과 타임라인을 건너뜁니다",
            )
        found = self.document["alignment"]
        return Text(
            f"alignment: {self.alignment}\n"
            f"  {found['people']} drawn people. {found['verdict']}\n"
            "  This shows that the program works; it is no evidence about people.\n"
            f"timeline: {self.timeline}",
            f"정렬: {self.alignment}\n"
            f"  그려 낸 {found['people']}명. {found['verdict_ko']}\n"
            "  프로그램이 동작함을 보일 뿐 사람에 대한 증거가 아닙니다.\n"
            f"타임라인: {self.timeline}",
        )


def run_demo(out: Path) -> DemoResult:
    """Run every step of the paper's experiment on drawn faces; at most four minutes on two cores.

    Raises:
        MissingExtra: torch is not installed.
        InputError: ``out`` holds something that is not an earlier demo.
    """
    try:
        from nunbit.training.loop import train
        from nunbit.training.settings import TrainSettings, recipe_path
    except ImportError as exc:
        raise MissingExtra("torch", "train") from exc

    started = time.monotonic()
    _make_room(out)
    _announce(1, Text("drawing synthetic faces", "합성 얼굴을 그립니다"))
    tree = write_tree(out / "synthetic_aihub", _SYNTH)
    _announce(2, Text("preparing crops", "얼굴 자르기"))
    prepared = prepare([out / "synthetic_aihub"], out / "data", _PREPARE)
    _announce(3, Text("training a small dual encoder", "작은 이중 인코더를 학습합니다"))
    settings = read_settings(TrainSettings, files=[recipe_path("paper")], overrides=_TRAIN)
    trained = train(out / "data", out / "run", settings, resume=False)
    _announce(4, Text("evaluating zero-shot", "제로샷으로 평가합니다"))
    result = evaluate(out / "data", out / "run" / "bundle", out / "eval", _EVALUATE)
    report = render_evaluation(out / "eval", lang=spoken_lang())
    alignment = timeline = aligned = None
    if find_spec("av") is not None:
        aligned, alignment = _alignment(out)
        timeline = _timeline(out)
    document = {
        "synthetic": True,
        "top1": result.top1,
        "unseen_top1": result.document["unseen_subjects"]["top1"],
        "uar": result.uar,
        "n": result.n,
        "seconds": round(time.monotonic() - started, 1),
        "report": str(report),
        "timeline": None if timeline is None else str(timeline),
        "alignment": aligned,
    }
    write_json(out / "data" / "summary.json", {"tree": tree, "prepare": prepared, "train": trained})
    return DemoResult(document, result, report, timeline, alignment)


def _alignment(out: Path) -> tuple[dict[str, Any], Path]:
    """Align face and voice of drawn people in whom both follow one hidden state."""
    from nunbit.space.window_reading import AlignSettings
    from nunbit.stories.align import align

    _announce(5, Text("drawing people for an alignment", "정렬에 쓸 인물들을 그립니다"))
    jobs = [out / "people" / f"person{n:02d}" / f"talk{n:02d}.mp4" for n in range(_PEOPLE)]
    workers = min(available_cores(), _PEOPLE)
    paths = sorted(run_tasks(_draw_person, jobs, num_workers=workers, advance=lambda units: None))
    # The faces move twice a second: more samples would see the same again.
    document = align(paths, out / "alignment", AlignSettings(rate_hz=float(_PERSON_FPS)))
    # One result.json: that of the experiment.
    (out / "alignment" / "result.json").rename(out / "alignment" / "summary.json")
    judged = document["assessment"]
    verdict = judged["pairs"]["face-voice"]["verdict"]
    found = {
        "people": judged["people"],
        "windows": judged["windows"],
        "r1": verdict["r1"],
        "null": verdict["null"],
        "code": verdict["code"],
        "verdict": verdict["text"],
        "verdict_ko": verdict["text_ko"],
    }
    return found, out / "alignment" / "report.html"


def _draw_person(path: Path, tools: Tools) -> Path:
    from nunbit.synth.truth import PlantedSettings, planted_script
    from nunbit.synth.video import render_video

    settings = PlantedSettings(
        shared=True, duration_s=_PERSON_S, fps=_PERSON_FPS, hold_s=1.0 / _PERSON_FPS, memory_s=4.0
    )
    path.parent.mkdir(parents=True)
    (path.parent / SYNTHETIC_MARK).touch()
    script = planted_script(int(path.stem.removeprefix("talk")), 0, settings)[0]
    render_video(path, script)
    return path


def _timeline(out: Path) -> Path:
    """Analyse a talking drawn face with the shipped model."""
    from nunbit.stories.analyze import analyze
    from nunbit.stories.analyze.job import AnalyzeSettings
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video

    clips = out / "clip"
    clips.mkdir()
    (clips / SYNTHETIC_MARK).touch()
    _announce(6, Text("drawing a talking face", "말하는 얼굴을 그립니다"))
    render_video(clips / "clip.mp4", load_script(None))
    _announce(7, Text("its timeline with that alignment", "그 정렬로 타임라인을 만듭니다"))
    # Drawn people prove the program only; their alignment is shown whatever its verdict.
    settings = AnalyzeSettings(
        transcript=str(clips / "clip.srt"), single_speaker=True, unproven_agreement=True
    )
    bundle = out / "alignment" / "bundle"
    outcomes = analyze([clips / "clip.mp4"], out / "timelines", settings, bundle=bundle)
    return outcomes[0].folder / "report.html"


def _announce(step: int, text: Text) -> None:
    say(Text(f"[{step}/{_STEPS}] {text.en}", f"[{step}/{_STEPS}] {text.ko}"))


def _make_room(out: Path) -> None:
    """Empty the folder: the demo is quick, so it is never resumed."""
    import shutil

    if out.exists() and not out.is_dir():
        raise InputError(
            Text(
                f"{out}: is a file; choose another --out",
                f"{out}: 파일입니다. 다른 --out을 고르십시오",
            )
        )
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file():
        raise InputError(
            Text(
                f"{out}: holds files that are not from a demo; choose another --out",
                f"{out}: 데모가 만들지 않은 파일이 있습니다. 다른 --out을 고르십시오",
            )
        )
    with writing(out):
        if out.is_dir():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / _MARK).write_text(json.dumps({"made_by": "nunbit demo"}), encoding="utf-8")
