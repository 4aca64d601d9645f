"""Scripts with a planted truth for the alignment of face and voice: state, identity, or both.

A hidden state of a few numbers wanders slowly; it moves the face (emotions), the voice (pitch,
liveliness, level, rate), or each by a state of its own, in which case nothing but the person is
shared. A learner that finds agreement in the second kind of recording has learned identity.
Pictures are small and few a second: a person of 60 windows takes seconds, not minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nunbit.streams import Floats
from nunbit.synth.script import EmotionKey, HeadKey, Saying, VideoScript, VoiceKey

STATE_SIZE = 3
"""Valence, tension and arousal, each about -1 to 1."""

_STEP_S = 1.0  # between keys; the state is smooth between them
_SYLLABLES = "가나다라마바사아자하고노도로모보소오조호구누두루무부수우주후기니디리미비시이지히"


@dataclass(frozen=True)
class PlantedSettings:
    """What is planted.

    Attributes:
        shared: Whether face and voice follow the same state; else each follows its own.
        identity: Whether persons differ in looks and in the base of their voice; else every
            recording shows the same person.
        duration_s: Length of a recording.
        memory_s: Time after which the state has forgotten itself to 1/e.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        hold_s: The face moves in steps of this length.
        seed: Of all states and words.
    """

    shared: bool = True
    identity: bool = True
    duration_s: float = 240.0
    memory_s: float = 8.0
    width: int = 160
    height: int = 120
    fps: int = 10
    hold_s: float = 0.2
    seed: int = 0


def planted_state(duration_s: float, memory_s: float, seed: tuple[int, ...]) -> Floats:
    """A smooth wandering state at whole seconds: (seconds + 1, 3), within -1 and 1.

    A first-order autoregressive process squeezed by tanh, standard deviation about 0.6.
    """
    rng = np.random.default_rng(seed)
    count = int(duration_s / _STEP_S) + 2
    keep = float(np.exp(-_STEP_S / memory_s))
    state = np.empty((count, STATE_SIZE))
    state[0] = rng.standard_normal(STATE_SIZE)
    for k in range(1, count):
        state[k] = keep * state[k - 1] + np.sqrt(1 - keep**2) * rng.standard_normal(STATE_SIZE)
    squeezed: Floats = np.tanh(state)
    return squeezed


def planted_script(
    person: int, recording: int, settings: PlantedSettings
) -> tuple[VideoScript, Floats, Floats]:
    """One recording of one person.

    Args:
        person: Which person; decides looks and voice if identity is planted.
        recording: Which of the person's recordings; decides states and words.
        settings: What is planted.

    Returns:
        The script, the state of the face and that of the voice, (seconds + 1, 3) each; they are
        equal if the state is shared.
    """
    seed, length = settings.seed, settings.duration_s
    face = planted_state(length, settings.memory_s, (seed, 10, person, recording))
    voice = face
    if not settings.shared:
        voice = planted_state(length, settings.memory_s, (seed, 11, person, recording))
    who = person if settings.identity else 0
    script = VideoScript(
        duration_s=length,
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        seed=int(np.random.default_rng([seed, 12, person, recording]).integers(2**31)),
        person=who,
        hold_s=settings.hold_s,
        emotions=tuple(_face_key(k * _STEP_S, row) for k, row in enumerate(face)),
        head=(HeadKey(at_s=0.0, yaw_deg=0.0),),
        sayings=_babble(length, np.random.default_rng([seed, 13, person, recording])),
        voice="formant",
        voice_keys=tuple(_voice_key(k * _STEP_S, row) for k, row in enumerate(voice)),
        mouth_gain=0.0,  # lips that move with the sound would be a shared state of their own
        crf=24,
    )
    return script, face, voice


def _face_key(at_s: float, state: Floats) -> EmotionKey:
    """Valence is joy or sadness, tension is anger, arousal is anxiety or (low) hurt."""
    valence, tension, arousal = (float(v) for v in state)
    return EmotionKey(
        at_s=at_s,
        joy=max(0.0, valence),
        sadness=max(0.0, -valence),
        anger=max(0.0, 0.8 * tension),
        anxiety=max(0.0, 0.8 * arousal),
        hurt=max(0.0, -0.8 * arousal),
        ease="linear",
    )


def _voice_key(at_s: float, state: Floats) -> VoiceKey:
    """Valence is pitch, tension level, arousal liveliness and rate."""
    valence, tension, arousal = (float(v) for v in state)
    return VoiceKey(
        at_s=at_s,
        f0_st=4.0 * valence,
        level_db=5.0 * tension,
        range_st=3.5 + 3.0 * arousal,
        rate=float(1.3**arousal),
    )


def _babble(duration_s: float, rng: np.random.Generator) -> tuple[Saying, ...]:
    """Words without meaning, so that nothing but the voice tells the state: a breath every 4 s."""
    sayings = []
    for breath in np.arange(0.1, duration_s - 3.8, 4.0):
        words = ["".join(rng.choice(list(_SYLLABLES), 3)) for _ in range(int(rng.integers(3, 5)))]
        start = float(breath) + float(rng.uniform(0.0, 0.2))
        # Twelve syllables at the slowest rate take 3.7 s.
        sayings.append(Saying(start_s=round(start, 3), text=" ".join(words)))
    return tuple(sayings)
