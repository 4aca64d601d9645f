"""What the measures are computed from: the streams of one recording, as the story hands them over.

Nothing here reads files. W windows, U utterances, K labels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from nunbit.headpose import KEPT_EYES
from nunbit.labels import LabelSet
from nunbit.streams import (
    FaceStream,
    Flags,
    Floats,
    Interval,
    Modality,
    Singles,
    Transcript,
    Turn,
    VoiceStream,
)

BaselineForm = Literal["z", "openwillis"]

QUALITY_S = 2.0
"""Longest stretch whose voice quality is taken at once."""


class StretchQuality(Protocol):
    """What is known of one stretch; ``nunbit.voice.VoiceQuality`` is such."""

    @property
    def interval(self) -> Interval: ...  # noqa: D102
    @property
    def n_periods(self) -> int: ...  # noqa: D102
    @property
    def n_frames(self) -> int: ...  # noqa: D102
    @property
    def jitter_local(self) -> float: ...  # noqa: D102
    @property
    def shimmer_local_db(self) -> float: ...  # noqa: D102
    @property
    def hnr_db(self) -> float: ...  # noqa: D102
    @property
    def clipped(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class VoiceQuality:
    """Voice quality of stretches of speech; experimental.

    Attributes:
        times_s: (V,) centres of the stretches, increasing.
        n_periods: (V,) pairs of periods that jitter and shimmer rest on.
        n_frames: (V,) voiced frames that the harmonicity rests on.
        jitter_local: (V,) mean |T_i - T_i+1| / mean T, NaN where not measurable.
        shimmer_local_db: (V,) mean |20 log10(A_i+1 / A_i)|.
        hnr_db: (V,) 10 log10(r / (1 - r)).
        clipped: (V,) whether nothing was measured because the voice is clipped, None for nowhere.
    """

    times_s: Floats
    n_periods: Floats
    n_frames: Floats
    jitter_local: Floats
    shimmer_local_db: Floats
    hnr_db: Floats
    clipped: Flags | None = None

    @classmethod
    def of(cls, stretches: Sequence[StretchQuality]) -> VoiceQuality:
        """Gather stretches, in any order."""
        found = sorted(stretches, key=lambda s: s.interval.start_s + s.interval.end_s)
        return cls(
            times_s=np.array([(s.interval.start_s + s.interval.end_s) / 2.0 for s in found]),
            n_periods=np.array([s.n_periods for s in found], np.float64),
            n_frames=np.array([s.n_frames for s in found], np.float64),
            jitter_local=np.array([s.jitter_local for s in found], np.float64),
            shimmer_local_db=np.array([s.shimmer_local_db for s in found], np.float64),
            hnr_db=np.array([s.hnr_db for s in found], np.float64),
            clipped=np.array([s.clipped for s in found], np.bool_),
        )


def quality_stretches(voice: VoiceStream) -> tuple[Interval, ...]:
    """Stretches of speech of two seconds at most, short enough to belong to a window."""
    pieces = []
    for segment in voice.segments:
        n = max(1, math.ceil(round(segment.duration_s / QUALITY_S, 6)))
        edges = np.linspace(segment.start_s, segment.end_s, n + 1).tolist()
        pieces += [Interval(a, b) for a, b in itertools.pairwise(edges)]
    return tuple(pieces)


@dataclass(frozen=True, eq=False)
class MeasureInput:
    """One recording.

    Attributes:
        duration_s: Of the medium.
        labels: K label ids of all probabilities.
        unvalidated: Labels the model knows by their prompt only.
        faces: None without video.
        voice: None without audio.
        transcript: None without words.
        turns: As :func:`nunbit.measures.turns_from` makes them.
        windows: The window grid.
        baseline: Stretch the user marked as neutral, or None.
        full_rate: Whether every frame was read.
        text_probabilities: (U, K), NaN rows where there are none; or None without a model.
        voice_probabilities: (W, K), NaN rows where there are none; or None without a model.
        apart: Modalities whose model is experimental: shown and compared, but not fused.
        label_set: Groups and valence of the labels; None takes those of the packaged label sets.
        voice_quality: None where it was not measured.
        single_speaker: The user says that nobody else is heard; then unnamed turns are the
            person's, and the share of speech is theirs.
        baseline_form: ``z`` = (x - median) / (1.4826 MAD + eps); ``openwillis`` =
            (x + 1) / (mean + 1) - 1.
        eye_points: Where the corners of each eye are among the landmarks of a track.
        seed: Of the bootstrap and of the circular shifts.
        memo: What measures, fusion and episodes share, computed once; never set by callers.
    """

    duration_s: float
    labels: tuple[str, ...]
    unvalidated: frozenset[str]
    faces: FaceStream | None
    voice: VoiceStream | None
    transcript: Transcript | None
    turns: tuple[Turn, ...]
    windows: tuple[Interval, ...]
    baseline: Interval | None = None
    full_rate: bool = False
    text_probabilities: Singles | None = None
    voice_probabilities: Singles | None = None
    apart: frozenset[Modality] = frozenset()
    label_set: LabelSet | None = None
    voice_quality: VoiceQuality | None = None
    single_speaker: bool = False
    baseline_form: BaselineForm = "z"
    eye_points: tuple[tuple[int, ...], tuple[int, ...]] = KEPT_EYES
    seed: int = 0
    memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        k = len(self.labels)
        text, utterances = self.text_probabilities, self.transcript
        if text is not None:
            expected = (len(utterances.utterances) if utterances else 0, k)
            if text.shape != expected:
                raise ValueError(f"text_probabilities: expected {expected}, got {text.shape}")
        voice = self.voice_probabilities
        if voice is not None and voice.shape != (len(self.windows), k):
            expected = (len(self.windows), k)
            raise ValueError(f"voice_probabilities: expected {expected}, got {voice.shape}")
        for track in self.faces.tracks if self.faces else ():
            found = track.probabilities
            if found is not None and found.shape[1:] != (k,):
                raise ValueError(
                    f"probabilities of track {track.track_id}: expected {k} columns, "
                    f"got shape {found.shape}"
                )
