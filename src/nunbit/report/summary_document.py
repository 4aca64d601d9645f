"""``summary.json`` of a timeline, as its readers take it for granted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nunbit.core.messages import InputError, Text
from nunbit.report.shapes import Document
from nunbit.runtime.files import read_json


@dataclass(frozen=True, slots=True)
class _Media:
    name: str
    duration_s: float
    video: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Windows:
    length_s: float
    hop_s: float


@dataclass(frozen=True, slots=True)
class _Measure:
    measure: str
    modality: str
    value: float | None
    unit: str
    ci: tuple[float, float] | None = None
    mask_reason: str | None = None
    track: str | None = None


@dataclass(frozen=True, slots=True)
class _Episode:
    kind: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class _Summary:
    """What readers of ``summary.json`` take for granted."""

    media: _Media
    session: str
    windows: _Windows
    measures: tuple[_Measure, ...]
    subject: str | None = None
    episodes: tuple[_Episode, ...] = ()
    persons: tuple[dict[str, Any], ...] = ()
    about: dict[str, str] | None = None
    bundle: dict[str, Any] | None = None
    label_set: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None


def read_summary(folder: Path) -> Document:
    """``summary.json`` of a timeline.

    Raises:
        InputError: There is none, or it is not of a timeline.
    """
    path = folder / "summary.json"
    if not path.is_file():
        raise InputError(
            Text(
                f"{folder}: no timeline here (no summary.json); give a folder that `analyze` wrote",
                f"{folder}: 타임라인이 아닙니다(summary.json 없음). `analyze`가 만든 폴더를 "
                "주십시오",
            )
        )
    document = read_json(path)
    if not isinstance(document, dict) or document.get("kind") != "timeline":
        raise again(path, "not a timeline of this nunbit", "이 nunbit의 타임라인이 아닙니다")
    absent = [key for key in ("media", "session", "windows", "measures") if key not in document]
    if absent:
        names = ", ".join(absent)
        raise again(path, f"incomplete ({names} missing)", f"불완전합니다({names} 없음)")
    try:
        msgspec.convert(document, _Summary)
    except msgspec.ValidationError as exc:
        raise again(
            path, f"changed or damaged ({exc})", f"바뀌었거나 손상되었습니다({exc})"
        ) from exc
    return document


def again(path: Path, en: str, ko: str) -> InputError:
    """The error for a file of a timeline that has to be made again."""
    return InputError(
        Text(
            f"{path}: {en}; analyse the recording again", f"{path}: {ko}. 녹화를 다시 분석하십시오"
        )
    )
