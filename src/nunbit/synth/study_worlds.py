"""Planted worlds for ``nunbit study``: timelines and labels whose truth is known.

A world is drawn as numbers first (:func:`draw_outcomes`, :func:`draw_stretches`), which benchmarks
use as they are; :mod:`nunbit.synth.world_files` writes them. Nobody was recorded: values
have the names, units and rough sizes of real measures, and no other likeness to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import Floats
from nunbit.runtime.config import Seed
from nunbit.statistics.pooling import pool
from nunbit.statistics.remapping import softmax

World = Literal["null", "effect", "leak", "site", "complementary", "redundant", "useless"]
FUSION_WORLDS = ("complementary", "redundant", "useless")

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """Settings of ``nunbit synth study``.

    Attributes:
        world: ``null`` = labels unrelated to anything, ``effect`` = the outcome goes with the
            participants' measures, ``leak`` = only what the interviewer does tells the outcome and
            colours the answers, ``site`` = sites differ in outcome and microphone;
            ``complementary`` = face and voice each know half of the class, ``redundant`` = all know
            the same, ``useless`` = only the face knows anything.
        labels: ``outcome`` = a number a person, ``emotion`` = a class a stretch of time; ``auto`` =
            what the world is about.
        persons: How many.
        r: Correlation of the outcome with the state behind the measures, in ``effect``.
        stretches: Labelled stretches a person, in worlds of emotion.
        missing_face: Share of persons without a face.
        interviewer: Whether interviewers have timelines, too.
        seed: Decides everything that is random.
    """

    world: World = "null"
    labels: Literal["auto", "outcome", "emotion"] = "auto"
    persons: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 150
    r: Annotated[float, msgspec.Meta(ge=0.0, le=0.99)] = 0.4
    stretches: Annotated[int, msgspec.Meta(ge=4, le=1000)] = 16
    missing_face: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    interviewer: bool = True
    seed: Seed = 0

    @property
    def of_emotion(self) -> bool:
        """Whether labels are classes of stretches."""
        return self.labels == "emotion" or (self.labels == "auto" and self.world in FUSION_WORLDS)


# measure -> usual value, spread over persons, loading of the state
_MEASURES: dict[str, dict[str, tuple[float, float, float]]] = {
    "face": {
        "expressivity": (0.45, 0.1, 0.0), "joy_time": (0.12, 0.05, -0.8),
        "valence_sd": (0.3, 0.07, 0.0), "negative_share": (0.3, 0.08, 0.0),
        "head_speed": (8.0, 2.5, -0.8), "head_range_yaw": (18.0, 5.0, 0.0),
        "smile": (0.2, 0.08, -0.8), "smile_rate": (3.0, 1.0, 0.0),
        "brow_lowering": (0.1, 0.04, 0.0), "gaze_down": (0.2, 0.07, 0.0),
        "face_motion": (0.08, 0.02, 0.0),
    },
    "voice": {
        "speech_share": (0.5, 0.1, 0.0), "pause_ratio": (0.25, 0.07, 0.8),
        "pause_mean": (0.6, 0.15, 0.0), "pause_sd": (0.45, 0.12, 0.8),
        "response_latency": (1.2, 0.4, 0.0), "f0_sd_st": (2.4, 0.5, -0.8),
        "f0_median": (170.0, 30.0, 0.0), "level_mean": (-28.0, 4.0, 0.0),
        "level_sd": (5.0, 1.0, 0.0),
    },
    "text": {
        "speech_rate": (4.1, 0.6, -0.8), "articulation_rate": (5.0, 0.6, 0.0),
        "filler_rate": (4.0, 1.5, 0.0), "p_sadness": (0.15, 0.05, 0.8),
        "p_joy": (0.2, 0.06, 0.0), "valence": (0.0, 0.15, 0.0),
    },
    "fused": {
        "incongruence": (0.1, 0.04, 0.0), "coupling": (0.2, 0.1, 0.0),
        "p_sadness": (0.16, 0.04, 0.8), "p_joy": (0.22, 0.05, 0.0), "valence": (0.02, 0.12, 0.0),
    },
}  # fmt: skip

_STYLE = 0.45
"""Loading of a person's style, which the measures of a modality share: they are correlated."""

ASKED = {"voice": {"speech_share": (0.3, 0.08, 0.0), "pause_mean": (0.5, 0.1, 0.0)},
          "text": {"speech_rate": (4.5, 0.5, 0.0), "filler_rate": (2.0, 0.8, 0.0)}}  # fmt: skip
_PROMPTED, _ANSWERED = 0.7, 0.5
"""In ``leak``: correlation of the interviewer's talking and pace with the outcome, and of the
participant's timing with the interviewer's talking: a naive analysis finds an effect."""

_SITES, _SITE_SHIFT = 3, 1.0
_CLASSES = ("joy", "anger", "sadness", "neutral")
_BITS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
"""Two bits of each class: pleasant, lively."""


@dataclass(frozen=True, eq=False)
class OutcomeWorld:
    """Persons with an outcome.

    Attributes:
        outcome: (P,) whole numbers 0 to 27.
        measures: Modality -> measure -> (P,), NaN where missing.
        asked: The same of the interviewers; empty without.
        age, sex: (P,) of the participants.
        site: (P,) codes; all 0 but in ``site``.
    """

    outcome: Floats
    measures: Mapping[str, Mapping[str, Floats]]
    asked: Mapping[str, Mapping[str, Floats]]
    age: Floats
    sex: Codes
    site: Codes


def draw_outcomes(settings: WorldSettings) -> OutcomeWorld:
    """Draw a world of outcomes."""
    rng = np.random.default_rng([settings.seed, 5])
    n = settings.persons
    site = np.arange(n) % _SITES if settings.world == "site" else np.zeros(n, np.int64)
    shift = (site - (_SITES - 1) / 2.0) * _SITE_SHIFT if settings.world == "site" else np.zeros(n)
    state, free = rng.normal(size=n), rng.normal(size=n)
    r = settings.r if settings.world == "effect" else 0.0
    wanted = r * state + np.sqrt(1.0 - r * r) * free + shift
    talk = rng.normal(size=n)
    if settings.world == "leak":
        talk = _PROMPTED * wanted + np.sqrt(1.0 - _PROMPTED**2) * talk
    measures: dict[str, dict[str, Floats]] = {}
    for modality, table in _MEASURES.items():
        style = rng.normal(size=n)
        measures[modality] = {
            name: _values(rng, rows, state, style) for name, rows in table.items()
        }
    if settings.world == "leak":
        for name in ("response_latency", "speech_share", "pause_mean"):
            usual, spread, _ = _MEASURES["voice"][name]
            own = (measures["voice"][name] - usual) / spread
            mixed = _ANSWERED * talk + np.sqrt(1.0 - _ANSWERED**2) * own
            measures["voice"][name] = usual + spread * mixed
    if settings.world == "site":
        for modality, name in (("voice", "level_mean"), ("voice", "f0_median"),
                               ("face", "head_range_yaw"), ("text", "filler_rate")):  # fmt: skip
            measures[modality][name] = (
                measures[modality][name] + _MEASURES[modality][name][1] * shift
            )
    gone = rng.random(n) < settings.missing_face
    for values in measures["face"].values():
        values[gone] = np.nan
    asked: dict[str, dict[str, Floats]] = {}
    for modality, table in ASKED.items() if settings.interviewer else ():
        style = rng.normal(size=n)
        asked[modality] = {k: _values(rng, rows, state * 0.0, style) for k, rows in table.items()}
    if asked and settings.world == "leak":
        usual, spread, _ = ASKED["voice"]["speech_share"]
        asked["voice"]["speech_share"] = usual + spread * talk
    return OutcomeWorld(
        outcome=np.clip(np.round(10.0 + 5.0 * wanted), 0.0, 27.0),
        measures=measures,
        asked=asked,
        age=np.asarray(np.round(np.clip(rng.normal(38.0, 12.0, n), 18.0, 80.0)), np.float64),
        sex=rng.integers(0, 2, n),
        site=np.asarray(site, np.int64),
    )


def _values(
    rng: np.random.Generator, row: tuple[float, float, float], state: Floats, style: Floats
) -> Floats:
    usual, spread, loading = row
    rest = np.sqrt(1.0 - loading**2)
    own = _STYLE * style + np.sqrt(1.0 - _STYLE**2) * rng.normal(size=len(style))
    return np.asarray(usual + spread * (loading * state + rest * own))


@dataclass(frozen=True, eq=False)
class StretchWorld:
    """Persons with labelled stretches; each stretch lasts four seconds, a pause of two after it.

    Attributes:
        truth: (P, S) classes.
        measures: Modality -> measure -> (P, S).
        chances: Modality -> (P, S, K) label-free class probabilities; ``fused`` among them.
    """

    truth: Codes
    measures: Mapping[str, Mapping[str, Floats]]
    chances: Mapping[str, Floats]
    classes: tuple[str, ...] = _CLASSES


_CUES = {
    "face": ("smile", "joy_time", "brow_lowering", "expressivity"),
    "voice": ("f0_sd_st", "level_mean", "level_sd", "pause_ratio"),
    "text": ("speech_rate", "articulation_rate", "filler_rate", "valence"),
}
_KNOWS: dict[str, dict[str, tuple[float, float]]] = {
    "complementary": {"face": (1.4, 0.0), "voice": (0.0, 1.4), "text": (0.3, 0.3)},
    "redundant": {"face": (1.0, 1.0), "voice": (1.0, 1.0), "text": (1.0, 1.0)},
    "useless": {"face": (1.2, 1.2), "voice": (0.0, 0.0), "text": (0.0, 0.0)},
}
"""World -> modality -> how strongly it shows the two bits, in its own noise."""


def draw_stretches(settings: WorldSettings) -> StretchWorld:
    """Draw a world of labelled stretches; any other world than the three has labels of nothing."""
    rng = np.random.default_rng([settings.seed, 6])
    p, s = settings.persons, settings.stretches
    truth = rng.permuted(np.tile(np.arange(s) % len(_CLASSES), (p, 1)), axis=1)
    knows = _KNOWS.get(settings.world, dict.fromkeys(_CUES, (0.0, 0.0)))
    bits = _BITS[truth]  # (P, S, 2)
    # Redundant modalities repeat one another's errors, too.
    shared = rng.normal(size=bits.shape)
    measures: dict[str, dict[str, Floats]] = {}
    chances: dict[str, Floats] = {}
    gone = rng.random(p) < settings.missing_face
    for modality, cues in _CUES.items():
        noise = shared if settings.world == "redundant" else rng.normal(size=bits.shape)
        seen = bits * np.array(knows[modality]) + noise
        found = {}
        for at, name in enumerate(cues):
            usual, spread, _ = _MEASURES[modality][name]
            signal = seen[:, :, at % 2] + 0.3 * rng.normal(size=truth.shape)
            found[name] = usual + spread * (0.6 * signal + rng.normal(size=(p, 1)))
            if modality == "face":
                found[name][gone] = np.nan
        measures[modality] = found
        chances[modality] = softmax(0.5 * seen @ _BITS.T)
        if modality == "face":
            chances[modality][gone] = np.nan
    tables = np.stack([c.reshape(p * s, -1) for c in chances.values()])
    there = np.asarray(np.isfinite(tables).all(axis=2), np.float64)
    chances["fused"] = pool(tables, there).reshape(p, s, -1)
    return StretchWorld(truth, measures, chances)
