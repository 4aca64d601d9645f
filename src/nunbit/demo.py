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

from nunbit.config import read_settings
from nunbit.errors import InputError, Lang, MissingExtra
from nunbit.evaluate import EvaluateSettings, evaluate
from nunbit.files import write_json, writing
from nunbit.prepare import PrepareSettings, prepare
from nunbit.progress import say
from nunbit.report import confusion_text, render_evaluation
from nunbit.schema import SYNTHETIC_MARK, EvalResult
from nunbit.synth.aihub import SynthSettings, write_tree
from nunbit.workers import Tools, available_cores, run_tasks

_MARK = ".nunbit-demo"
_STEPS = 7

_SYNTH = SynthSettings(per_class=240, per_class_validation=60, photo_width=480, seed=0)
_PREPARE = PrepareSettings(size=64)
_TRAIN = ("init=tiny", "image_size=48", "epochs=20")
_PEOPLE, _PERSON_S, _PERSON_FPS = 6, 40.0, 2  # enough to find the state, and half a minute's work
_EVALUATE = EvaluateSettings(split="validation", prompts="paper", compare="paper")


@dataclass(frozen=True)
class DemoResult:
    """What the demo did.

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
        unseen = self.document["unseen_top1"]
        if lang == "ko":
            lines = [
                "",
                "그려 낸 얼굴로 한 축소 실험입니다. "
                "아래 수치는 사람 얼굴에 대해 아무것도 말하지 않습니다.",
                f"정확도 {self.result.top1:.3f}, 처음 보는 인물만 {unseen:.3f} "
                f"(그림 {self.result.n}장, {self.document['seconds']:.0f}초)",
                "",
                confusion_text(self.result, lang),
                "",
                f"보고서: {self.report}",
                *self._media_lines(lang),
            ]
        else:
            lines = [
                "",
                "A miniature on drawn faces: these figures say nothing about human faces.",
                f"top-1 {self.result.top1:.3f}, unseen persons only {unseen:.3f} "
                f"({self.result.n} drawings, {self.document['seconds']:.0f} s)",
                "",
                confusion_text(self.result, lang),
                "",
                f"report: {self.report}",
                *self._media_lines(lang),
            ]
        return "\n".join(lines)

    def _media_lines(self, lang: Lang) -> list[str]:
        if self.timeline is None:
            return [
                "미디어 확장이 없어 정렬과 타임라인을 건너뜁니다"
                if lang == "ko"
                else "no alignment and no timeline: the extra media is missing"
            ]
        found = self.document["alignment"]
        if lang == "ko":
            return [
                f"정렬: {self.alignment}",
                f"  그려 낸 {found['people']}명. {found['verdict_ko']}",
                "  프로그램이 동작함을 보일 뿐 사람에 대한 증거가 아닙니다.",
                f"타임라인: {self.timeline}",
            ]
        return [
            f"alignment: {self.alignment}",
            f"  {found['people']} drawn people. {found['verdict']}",
            "  This shows that the program works; it is no evidence about people.",
            f"timeline: {self.timeline}",
        ]


def run_demo(out: Path, *, lang: Lang) -> DemoResult:
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
    _announce(lang, 1, "drawing synthetic faces", "합성 얼굴을 그립니다")
    tree = write_tree(out / "synthetic_aihub", _SYNTH, lang=lang)
    _announce(lang, 2, "preparing crops", "얼굴 자르기")
    sources = [out / "synthetic_aihub"]
    prepared = prepare(sources, out / "data", _PREPARE, lang=lang)
    _announce(lang, 3, "training a small dual encoder", "작은 이중 인코더를 학습합니다")
    settings = read_settings(TrainSettings, files=[recipe_path("paper")], overrides=_TRAIN)
    trained = train(out / "data", out / "run", settings, resume=False, lang=lang)
    _announce(lang, 4, "evaluating zero-shot", "제로샷으로 평가합니다")
    result = evaluate(out / "data", out / "run" / "bundle", out / "eval", _EVALUATE, lang=lang)
    report = render_evaluation(out / "eval", lang=lang)
    alignment = timeline = None
    aligned: dict[str, Any] | None = None
    if find_spec("av") is not None:
        aligned, alignment = _alignment(out, lang)
        timeline = _timeline(out, lang)
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


def _alignment(out: Path, lang: Lang) -> tuple[dict[str, Any], Path]:
    """A space of face and voice, learned from drawn people in whom both follow one hidden state."""
    from nunbit.align import AlignSettings, align

    _announce(lang, 5, "drawing people for an alignment", "정렬에 쓸 인물들을 그립니다")
    people = out / "people"
    jobs = [people / f"person{number:02d}" / f"talk{number:02d}.mp4" for number in range(_PEOPLE)]
    workers = min(available_cores(), _PEOPLE)
    paths = sorted(run_tasks(_draw_person, jobs, num_workers=workers, advance=lambda units: None))
    # The faces move twice a second: more samples would see the same again.
    settings = AlignSettings(rate_hz=float(_PERSON_FPS))
    document = align(paths, out / "alignment", settings, lang=lang)
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
    from nunbit.synth.planted import PlantedSettings, planted_script
    from nunbit.synth.video import render_video

    settings = PlantedSettings(
        shared=True, duration_s=_PERSON_S, fps=_PERSON_FPS, hold_s=1.0 / _PERSON_FPS, memory_s=4.0
    )
    path.parent.mkdir(parents=True)
    (path.parent / SYNTHETIC_MARK).touch()
    script = planted_script(int(path.stem.removeprefix("talk")), 0, settings)[0]
    render_video(path, script, lang="en")
    return path


def _timeline(out: Path, lang: Lang) -> Path:
    """The shipped model, which knows real faces, on a talking drawn face with its own script."""
    from nunbit.analyze import AnalyzeSettings, analyze
    from nunbit.synth.script import load_script
    from nunbit.synth.video import render_video

    clips = out / "clip"
    clips.mkdir()
    (clips / SYNTHETIC_MARK).touch()
    _announce(lang, 6, "drawing a talking face", "말하는 얼굴을 그립니다")
    render_video(clips / "clip.mp4", load_script(None), lang=lang)
    _announce(lang, 7, "its timeline with that alignment", "그 정렬로 타임라인을 만듭니다")
    # Drawn people prove the program only; their alignment is shown whatever its verdict.
    settings = AnalyzeSettings(
        transcript=str(clips / "clip.srt"), single_speaker=True, unproven_agreement=True
    )
    bundle = out / "alignment" / "bundle"
    media = [clips / "clip.mp4"]
    outcome = analyze(media, out / "timelines", settings, bundle=bundle, lang=lang)[0]
    return outcome.folder / "report.html"


def _announce(lang: Lang, step: int, en: str, ko: str) -> None:
    say(f"[{step}/{_STEPS}] {ko if lang == 'ko' else en}")


def _make_room(out: Path) -> None:
    """Start from an empty folder: the demo is quick, so it never resumes."""
    import shutil

    if out.exists() and not out.is_dir():
        raise InputError(
            en=f"{out}: is a file; choose another --out",
            ko=f"{out}: 파일입니다. 다른 --out을 고르십시오",
        )
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file():
        raise InputError(
            en=f"{out}: holds files that are not from a demo; choose another --out",
            ko=f"{out}: 데모가 만들지 않은 파일이 있습니다. 다른 --out을 고르십시오",
        )
    with writing(out):
        if out.is_dir():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / _MARK).write_text(json.dumps({"made_by": "nunbit demo"}), encoding="utf-8")
