"""What the measures are computed from: the streams of one recording, as the story hands them over.

Nothing here reads files. W windows, U utterances, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nunbit.headpose import KEPT_EYES
from nunbit.labels import LabelSet
from nunbit.streams import (
    FaceStream,
    Floats,
    Interval,
    Singles,
    Transcript,
    Turn,
    VoiceStream,
)

BaselineForm = Literal["z", "openwillis"]


@dataclass(frozen=True, eq=False)
class VoiceQuality:
    """Voice quality of voiced stretches; experimental.

    Attributes:
        times_s: (V,) centres of the stretches, increasing.
        jitter_local: (V,) mean |T_i - T_i+1| / mean T, NaN where not measurable.
        shimmer_db: (V,) mean |20 log10(A_i+1 / A_i)|.
        hnr_db: (V,) 10 log10(r / (1 - r)).
    """

    times_s: Floats
    jitter_local: Floats
    shimmer_db: Floats
    hnr_db: Floats


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
