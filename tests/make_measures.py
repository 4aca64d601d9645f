"""Recordings with known truth for the tests of measures and fusion: arrays, no media."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nunbit.core.streams import (
    FaceStream,
    FaceTrack,
    Interval,
    MeasureBlock,
    Transcript,
    Turn,
    Utterance,
    VoiceStream,
    Word,
)
from nunbit.core.timebase import window_grid
from nunbit.language.labels import load_label_set
from nunbit.measures import MeasureInput

AIHUB = load_label_set("aihub7").ids
FER = load_label_set("fer7").ids
EYES = ((0,), (1,))


def softmax(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (grown / grown.sum(axis=1, keepdims=True)).astype(np.float32)


def chances(labels: Sequence[str], **shares: Any) -> np.ndarray:
    """Rows with the given share per label (scalars or arrays), the rest neutral."""
    n = max((len(np.atleast_1d(v)) for v in shares.values()), default=1)
    table = np.zeros((n, len(labels)))
    for label, share in shares.items():
        table[:, labels.index(label)] = share
    table[:, labels.index("neutral")] += 1.0 - table.sum(axis=1)
    return table.astype(np.float32)


def rotation(yaw: Any = 0.0, pitch: Any = 0.0, roll: Any = 0.0) -> np.ndarray:
    """(N, 3, 3) turns about y, x, z; degrees."""
    yaw, pitch, roll = np.broadcast_arrays(
        *(np.radians(np.atleast_1d(a)) for a in (yaw, pitch, roll))
    )
    one, zero = np.ones(yaw.shape), np.zeros(yaw.shape)

    def stack(*rows: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    c, s = np.cos, np.sin
    about_y = stack((c(yaw), zero, s(yaw)), (zero, one, zero), (-s(yaw), zero, c(yaw)))
    about_x = stack((one, zero, zero), (zero, c(pitch), -s(pitch)), (zero, s(pitch), c(pitch)))
    about_z = stack((c(roll), -s(roll), zero), (s(roll), c(roll), zero), (zero, zero, one))
    return about_y @ about_x @ about_z


def make_track(times: Any, **fields: Any) -> FaceTrack:
    """A track; what is not given is plain and valid, without landmarks."""
    times = np.asarray(times, float)
    n = len(times)
    given: dict[str, Any] = {
        "track_id": 0,
        "times_s": times,
        "boxes_xyxy": np.tile(np.array([10, 10, 110, 110], np.float32), (n, 1)),
        "det_score": np.full(n, 0.95, np.float32),
        "sharpness": np.full(n, 200.0, np.float32),
        "reasons": np.full(n, "", "<U12"),
        "rotation": np.full((n, 3, 3), np.nan),
        "pose_deg": np.full((n, 3), np.nan),
        "landmarks": None,
        "mouth_open": np.full(n, np.nan, np.float32),
        "eye_aspect": np.full(n, np.nan, np.float32),
    }
    return FaceTrack(**(given | fields))


def make_faces(
    tracks: Sequence[FaceTrack],
    *,
    duration_s: float,
    rate_hz: float = 10.0,
    labels: Sequence[str] = AIHUB,
    n_faces: Any = None,
    targets: tuple[int, ...] = (0,),
    sample_times: Any = None,
) -> FaceStream:
    times = (
        np.arange(round(duration_s * rate_hz)) / rate_hz if sample_times is None else sample_times
    )
    if n_faces is None:
        seen = [np.isin(np.round(times, 6), np.round(t.times_s, 6)) for t in tracks]
        n_faces = np.sum(seen, axis=0) if seen else np.zeros(len(times))
    return FaceStream(
        rate_hz=rate_hz,
        sample_times_s=np.asarray(times, float),
        n_faces=np.asarray(n_faces, np.int64),
        tracks=tuple(tracks),
        targets=targets,
        labels=tuple(labels),
        has_landmarks=any(np.isfinite(t.rotation).any() for t in tracks),
    )


def faces_of(p: np.ndarray, *, labels: Any = AIHUB, duration_s: float | None = None,
             **fields: Any) -> Any:  # fmt: skip
    """A track with these probabilities at 10 Hz from 0."""
    times = np.arange(len(p)) / 10.0
    track = make_track(times, probabilities=p, **fields)
    return make_faces([track], duration_s=duration_s or len(p) / 10.0, labels=labels)


def make_voice(
    duration_s: float,
    segments: Sequence[tuple[float, float]],
    *,
    f0: Any = 120.0,
    level: Any = -20.0,
    present: Sequence[tuple[float, float]] | None = None,
) -> VoiceStream:
    """Speech in the segments: F0 and level there (a number or a function of time)."""
    times = np.arange(round(duration_s * 100)) * 0.01 + 0.005
    speech = np.zeros(len(times), bool)
    for start, end in segments:
        speech |= (times >= start) & (times < end)
    here = np.ones(len(times), bool)
    if present is not None:
        here = np.zeros(len(times), bool)
        for start, end in present:
            here |= (times >= start) & (times < end)
    hertz = f0(times) if callable(f0) else np.full(len(times), f0)
    loud = level(times) if callable(level) else np.full(len(times), level)
    return VoiceStream(
        times_s=times,
        present=here,
        speech=speech & here,
        f0_hz=np.where(speech & here, hertz, np.nan).astype(np.float32),
        level_dbfs=np.where(here, np.where(speech, loud, -70.0), np.nan).astype(np.float32),
        segments=tuple(Interval(a, b) for a, b in segments),
    )


def make_words(
    start_s: float, text: str, *, word_s: float = 0.4, step_s: float = 0.5, **fields: Any
) -> Utterance:
    """One utterance, a word every ``step_s``; every Hangul block is a syllable."""
    words = tuple(
        Word(
            Interval(start_s + i * step_s, start_s + i * step_s + word_s),
            token,
            syllables=sum("가" <= c <= "힣" for c in token),
            filler=token in ("어", "음", "어,", "음,"),
            confidence=fields.get("word_confidence"),
            estimated=fields.get("estimated", False),
        )
        for i, token in enumerate(text.split())
    )
    return Utterance(
        Interval(words[0].interval.start_s, words[-1].interval.end_s),
        text,
        speaker=fields.get("speaker"),
        confidence=fields.get("confidence"),
        words=words,
    )


def make_transcript(*utterances: Utterance) -> Transcript:
    return Transcript(tuple(utterances), source="csv", language="ko")


def turn(start: float, end: float, speaker: str = "", target: bool = True,
         question: int | None = None) -> Turn:  # fmt: skip
    return Turn(Interval(start, end), speaker, target, question)


def make_input(duration_s: float, **fields: Any) -> MeasureInput:
    """A recording; what is not given is missing."""
    given: dict[str, Any] = {
        "duration_s": duration_s,
        "labels": AIHUB,
        "unvalidated": frozenset(),
        "faces": None,
        "voice": None,
        "transcript": None,
        "turns": (),
        "windows": window_grid(duration_s),
    }
    return MeasureInput(**(given | fields))


def pick(
    blocks: Sequence[MeasureBlock], measure: str, scope: str = "session", modality: str = ""
) -> MeasureBlock:
    """The one block of this name."""
    found = [
        b
        for b in blocks
        if b.measure == measure and b.scope == scope and modality in ("", b.modality)
    ]
    assert len(found) == 1, (measure, scope, len(found))
    return found[0]


def value(blocks: Sequence[MeasureBlock], measure: str, scope: str = "session",
          modality: str = "") -> float:  # fmt: skip
    block = pick(blocks, measure, scope, modality)
    assert len(block.value) == 1
    return float(block.value[0])


def reason(blocks: Sequence[MeasureBlock], measure: str, scope: str = "session",
           modality: str = "") -> str:  # fmt: skip
    block = pick(blocks, measure, scope, modality)
    assert np.isnan(block.value[0])
    return str(block.mask_reason[0])


def long_recording(hours: float = 2.0, *, landmarks: int = 0, seed: int = 0) -> MeasureInput:
    """An interview of some hours with everything in it, random but plausible."""
    rng = np.random.default_rng(seed)
    duration = hours * 3600.0
    n = int(duration * 10)
    keep = rng.random(n) > 0.1
    times = (np.arange(n) / 10.0)[keep]
    m = len(times)
    angles = rng.normal(0, 1, (m, 3)).cumsum(axis=0) % 20 - 10
    points = None
    if landmarks:
        shape = rng.normal(0, 50, (1, landmarks, 3)).astype(np.float32)
        points = shape + rng.normal(0, 0.5, (m, landmarks, 3)).astype(np.float32)
    track = make_track(
        times,
        probabilities=softmax(rng.normal(0, 2, (m, 7))),
        rotation=rotation(angles[:, 0], angles[:, 1], angles[:, 2]),
        pose_deg=angles,
        landmarks=points,
        eye_aspect=np.full(m, 0.3, np.float32),
    )
    starts = np.arange(0, duration - 30, 30.0)
    turns, segments, utterances = [], [], []
    for i, start in enumerate(starts):
        turns.append(turn(start, start + 5, "interviewer", False))
        turns.append(turn(start + 6, start + 28, "person", True, 2 * i))
        segments.append((start, start + 5))
        at = start + 6
        while at < start + 27:
            end = min(at + rng.uniform(0.8, 3.0), start + 28)
            segments.append((at, end))
            at = end + rng.uniform(0.1, 1.2)
        segments[-1] = (segments[-1][0], start + 28)
        utterances.append(make_words(start + 6, "저는 항상 너무 슬퍼요 그리고 힘들었어요 " * 7,
                                     speaker="person", confidence=0.9))  # fmt: skip
    windows = window_grid(duration)
    return make_input(
        duration,
        faces=make_faces([track], duration_s=duration),
        voice=make_voice(
            duration, segments,
            f0=lambda t: 120 * 2 ** (rng.normal(0, 2, len(t)) / 12),
            level=lambda t: -25 + rng.normal(0, 5, len(t)),
        ),
        transcript=make_transcript(*utterances),
        turns=tuple(turns),
        windows=windows,
        baseline=Interval(0.0, 300.0),
        eye_points=EYES,
        text_probabilities=softmax(rng.normal(0, 2, (len(utterances), 7))),
        voice_probabilities=softmax(rng.normal(0, 2, (len(windows), 7))),
    )  # fmt: skip
