"""What a synthetic recording really shows and says: the oracle of tests, as types and as JSON.

All times are seconds of the file's own clock (presentation times minus the earliest start of any
stream), after the offset between picture and sound, as a reader of the file should find them.
Where a source does not tell something (the pitch of espeak-ng), the truth has None, never a guess.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import InputError
from nunbit.files import read_json, write_text
from nunbit.streams import Flags, Floats, Interval

FORMAT = "nunbit-synth-video-1"


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """N frames as they are stored.

    Attributes:
        times_s: (N,) presentation times.
        visible: (N,) how much of the face's box lies in the picture, 0 to 1; 0 in dropouts.
        n_faces: (N,) faces in the picture, visitors included.
        cartoon: (N,) whether a cartoon fills the picture.
        emotions: (N, 7) intensities in the order of ``labels``.
        labels: Ids of the label set ``aihub7``.
        pose_deg: (N, 3) yaw (+ to the image's right), pitch (+ down), roll (+ clockwise), with the
            order of turns of ``headpose.pose_angles``.
        boxes_xyxy: (N, 4) hairline to chin, pixels; NaN where the face is not drawn.
        mouth_open: (N,) jaw and lips, 0 to 1, as drawn.
        mouth_gap: (N,) gap between the inner lips over the distance of the pupils, as drawn on
            a head that looks at the viewer.
        eye_open: (N,) 0 closed, 1 at rest.
    """

    times_s: Floats
    visible: Floats
    n_faces: NDArray[np.int64]
    cartoon: Flags
    emotions: Floats
    labels: tuple[str, ...]
    pose_deg: Floats
    boxes_xyxy: Floats
    mouth_open: Floats
    mouth_gap: Floats
    eye_open: Floats


@dataclass(frozen=True, eq=False)
class VoiceTruth:
    """M frames of 10 ms of the sound, before the codec.

    Attributes:
        times_s: (M,) centres.
        present: (M,) whether the file has samples there.
        speech: (M,) whether somebody speaks, pauses excluded.
        f0_hz: (M,) NaN where unvoiced or absent; None where the source does not tell.
        level_dbfs: (M,) RMS of 20 ms, NaN where absent.
        segments: Stretches of speech between the pauses.
        pauses: Between the segments, from the first to the last.
    """

    times_s: Floats
    present: Flags
    speech: Flags
    f0_hz: Floats | None
    level_dbfs: Floats
    segments: tuple[Interval, ...]
    pauses: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class WordTruth:
    """A spoken word and its syllables."""

    interval: Interval
    text: str
    syllables: int


@dataclass(frozen=True, slots=True)
class UtteranceTruth:
    """An utterance; ``words`` is empty where the source does not tell their times."""

    interval: Interval
    text: str
    words: tuple[WordTruth, ...]


@dataclass(frozen=True, eq=False)
class VideoTruth:
    """Everything known about a recording.

    Attributes:
        head: Plain data: format, seed, versions, the effective script, the streams, the offset.
        frames: None for sound alone.
        voice: None for silent video.
        utterances: In order.
        blinks_s: Times at which the eyes are closed.
        dropouts: Kind and interval, as they came out in the file.
        visitors: Stretches with a second face.
    """

    head: dict[str, Any]
    frames: FrameTruth | None
    voice: VoiceTruth | None
    utterances: tuple[UtteranceTruth, ...]
    blinks_s: tuple[float, ...]
    dropouts: tuple[tuple[str, Interval], ...]
    visitors: tuple[Interval, ...]

    @property
    def av_offset_s(self) -> float:
        """By how much the sound is late."""
        return float(self.head["av_offset_s"])


def write_truth(path: Path, truth: VideoTruth) -> None:
    """Write a truth file: readable head, one line for each track."""
    document = dict(truth.head) | {
        "blinks_s": list(truth.blinks_s),
        "dropouts": [{"kind": kind} | _span(where) for kind, where in truth.dropouts],
        "visitors": [_span(where) for where in truth.visitors],
        "utterances": [_utterance(u) for u in truth.utterances],
        "frames": None if truth.frames is None else _frames(truth.frames),
        "voice": None if truth.voice is None else _voice(truth.voice),
    }
    write_text(path, _text(document) + "\n")


def read_truth(path: Path) -> VideoTruth:
    """Read what :func:`write_truth` wrote.

    Raises:
        InputError: The file is missing or no truth file.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            en=f"{path}: is not a truth file of `nunbit synth video`",
            ko=f"{path}: `nunbit synth video`의 정답 파일이 아닙니다",
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


def srt_text(utterances: tuple[UtteranceTruth, ...]) -> str:
    """The words as SubRip subtitles."""
    cues = [
        f"{number}\n{_srt_time(u.interval.start_s)} --> {_srt_time(u.interval.end_s)}\n{u.text}\n"
        for number, u in enumerate(utterances, start=1)
    ]
    return "\n".join(cues)


def _srt_time(seconds: float) -> str:
    whole = round(max(seconds, 0.0) * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    return "{:02d}:{:02d}:{:02d},{:03d}".format(*divmod(minutes, 60), *divmod(milliseconds, 1000))


# ---------------------------------------------------------------- to plain data and back


def _text(document: dict[str, Any]) -> str:
    """JSON with a line for each key of the two outer levels: tracks are long, heads are not."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"  {_line(k)}: {_line(v)}" for k, v in value.items())
            lines.append(f" {_line(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {_line(key)}: {_line(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _numbers(values: Floats, digits: int) -> list[Any]:
    """Plain numbers, None for NaN."""
    rounded = np.round(np.asarray(values, dtype=np.float64), digits)
    plain = rounded.astype(object)
    plain[np.isnan(rounded)] = None
    listed: list[Any] = plain.tolist()
    return listed


def _floats(values: list[Any]) -> Floats:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _span(interval: Interval) -> dict[str, float]:
    return {"start_s": round(interval.start_s, 6), "end_s": round(interval.end_s, 6)}


def _interval(document: dict[str, Any]) -> Interval:
    return Interval(document["start_s"], document["end_s"])


def _frames(frames: FrameTruth) -> dict[str, Any]:
    return {
        "times_s": _numbers(frames.times_s, 9),
        "visible": _numbers(frames.visible, 4),
        "n_faces": frames.n_faces.tolist(),
        "cartoon": frames.cartoon.astype(int).tolist(),
        "labels": list(frames.labels),
        "emotions": _numbers(frames.emotions, 5),
        "pose_deg": _numbers(frames.pose_deg, 5),
        "boxes_xyxy": _numbers(frames.boxes_xyxy, 2),
        "mouth_open": _numbers(frames.mouth_open, 5),
        "mouth_gap": _numbers(frames.mouth_gap, 5),
        "eye_open": _numbers(frames.eye_open, 5),
    }


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


def _voice(voice: VoiceTruth) -> dict[str, Any]:
    return {
        "times_s": _numbers(voice.times_s, 6),
        "present": voice.present.astype(int).tolist(),
        "speech": voice.speech.astype(int).tolist(),
        "f0_hz": None if voice.f0_hz is None else _numbers(voice.f0_hz, 4),
        "level_dbfs": _numbers(voice.level_dbfs, 3),
        "segments": [_span(s) for s in voice.segments],
        "pauses": [_span(s) for s in voice.pauses],
    }


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


def _utterance(utterance: UtteranceTruth) -> dict[str, Any]:
    words = [_span(w.interval) | {"text": w.text, "syllables": w.syllables}
             for w in utterance.words]  # fmt: skip
    return _span(utterance.interval) | {"text": utterance.text, "words": words or None}


def _read_utterance(d: dict[str, Any]) -> UtteranceTruth:
    words = tuple(WordTruth(_interval(w), w["text"], w["syllables"]) for w in d["words"] or ())
    return UtteranceTruth(_interval(d), d["text"], words)
