"""What `nunbit synth video` planted, read back from its truth file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import Floats, Interval
from nunbit.runtime.files import read_json
from nunbit.synth.truth import FORMAT, FrameTruth, UtteranceTruth, VideoTruth, VoiceTruth, WordTruth


def read_truth(path: Path) -> VideoTruth:
    """Read what :func:`write_truth` wrote.

    Raises:
        InputError: The file is missing or no truth file.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            Text(
                f"{path}: is not a truth file of `nunbit synth video`",
                f"{path}: `nunbit synth video`의 정답 파일이 아닙니다",
            )
        )
    parts = ("blinks_s", "dropouts", "visitors", "utterances", "frames", "voice")
    return VideoTruth(
        head={k: v for k, v in document.items() if k not in parts},
        frames=None if document["frames"] is None else _read_frames(document["frames"]),
        voice=None if document["voice"] is None else _read_voice(document["voice"]),
        utterances=tuple(_read_utterance(u) for u in document["utterances"]),
        blinks_s=tuple(document["blinks_s"]),
        dropouts=tuple((d["kind"], _interval(d)) for d in document["dropouts"]),
        visitors=tuple(_interval(v) for v in document["visitors"]),
    )


def _floats(values: list[Any]) -> Floats:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _interval(document: dict[str, Any]) -> Interval:
    return Interval(document["start_s"], document["end_s"])


def _read_frames(d: dict[str, Any]) -> FrameTruth:
    return FrameTruth(
        times_s=_floats(d["times_s"]),
        visible=_floats(d["visible"]),
        n_faces=np.array(d["n_faces"], dtype=np.int64),
        cartoon=np.array(d["cartoon"], dtype=np.bool_),
        emotions=_floats(d["emotions"]),
        labels=tuple(d["labels"]),
        pose_deg=_floats(d["pose_deg"]),
        boxes_xyxy=_floats(d["boxes_xyxy"]),
        mouth_open=_floats(d["mouth_open"]),
        mouth_gap=_floats(d["mouth_gap"]),
        eye_open=_floats(d["eye_open"]),
    )


def _read_voice(d: dict[str, Any]) -> VoiceTruth:
    return VoiceTruth(
        times_s=_floats(d["times_s"]),
        present=np.array(d["present"], dtype=np.bool_),
        speech=np.array(d["speech"], dtype=np.bool_),
        f0_hz=None if d["f0_hz"] is None else _floats(d["f0_hz"]),
        level_dbfs=_floats(d["level_dbfs"]),
        segments=tuple(map(_interval, d["segments"])),
        pauses=tuple(map(_interval, d["pauses"])),
    )


def _read_utterance(d: dict[str, Any]) -> UtteranceTruth:
    words = tuple(WordTruth(_interval(w), w["text"], w["syllables"]) for w in d["words"] or ())
    return UtteranceTruth(_interval(d), d["text"], words)
