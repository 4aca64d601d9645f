"""Settings of a live session, and what it says while it runs.

Frozen dataclasses; ``type`` names the event and ``encode`` makes its JSON. ``t`` is seconds on
the session's clock, ``captured_ms`` milliseconds on the sender's. What is missing is None, with a
reason beside it: a code of ``REASONS``, or '' while nothing is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from nunbit.core.streams import FACE_RATE_HZ
from nunbit.recording.observer import FacePx, HopS, RateHz, WindowS
from nunbit.runtime.config import Threads

FaceState = Literal[
    "ok", "no_face", "too_dark", "two_people", "turned_away", "low_quality", "mouth_covered"
]
VoiceState = Literal["ok", "silence", "clipped", "no_audio"]
NoteKind = Literal["marker", "note", "question", "answer", "neutral_start", "neutral_end"]
Chances = Mapping[str, float]
"""Label id -> probability, 0 to 1; they sum to one."""


@dataclass(frozen=True)
class LiveSettings:
    """How a session is read while it runs.

    Attributes:
        camera: Whether frames will come.
        sound: Whether sound will come; it is the clock.
        rate_hz: Frames analysed a second, at most.
        window_s: Length of a window.
        hop_s: Step from one window to the next.
        min_face_px: Smaller faces count as low quality.
        asr: Recogniser of the words: ``vosk`` or ``faster-whisper``; empty = none.
        asr_model: Model folder or size name of the recogniser; empty = what is installed.
        language: BCP 47 language of the speech; empty = Whisper detects it.
        threads: Threads of the models.
        session: Id of the session, for events; empty for a try-out.
        subject: Code of the person, written into every row of the tables.
    """

    camera: bool = True
    sound: bool = True
    rate_hz: RateHz = FACE_RATE_HZ
    window_s: WindowS = 4.0
    hop_s: HopS = 1.0
    min_face_px: FacePx = 40.0
    asr: Literal["", "vosk", "faster-whisper"] = ""
    asr_model: str = ""
    language: str = "ko"
    threads: Threads = 1
    session: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class LabelShown:
    """One class as it is shown.

    Attributes:
        id: Canonical id.
        ko, en: Its names.
        colour: ``#rrggbb``, the same in every report.
        unvalidated: Whether the model knows it by its prompt only.
    """

    id: str
    ko: str
    en: str
    colour: str
    unvalidated: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The models are loaded: frames and sound may come.

    Attributes:
        session: Its id, None for a try-out.
        recording: Whether pictures and sound are kept.
        words: The recogniser, '' for none.
        rate_hz: Frames analysed a second, at most. Send half as many again: of each step of
            1 / rate_hz on the session's clock the first that comes is taken.
        window_s, hop_s: Of the windows, seconds.
        labels: Classes in the order of the model.
        target_size: Width and height at which pictures are best sent, pixels.
        aligned: Whether agreement is that of the bundle's shared space; else it is anchored in the
            prompts.
    """

    session: str | None
    recording: bool
    words: Literal["", "vosk", "faster-whisper"]
    rate_hz: float
    window_s: float
    hop_s: float
    labels: tuple[LabelShown, ...]
    target_size: tuple[int, int] = (640, 480)
    aligned: bool = False
    type: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One face in the picture.

    Attributes:
        box: x0, y0, x1, y1 as shares of the picture's width and height, not mirrored.
        target: Whether it is the face that is analysed at this moment.
        reason: Why it is not readable; '' if it is.
    """

    box: tuple[float, float, float, float]
    target: bool
    reason: str


@dataclass(frozen=True, slots=True)
class FaceEvent:
    """One analysed frame.

    Attributes:
        seq: As the frame was numbered.
        t: Time of the frame, whole milliseconds.
        captured_ms: As it was given.
        state: What is wrong, ``ok`` if nothing.
        faces: Largest first.
        p: Class probabilities of the target face, None without a readable one.
        valence: −1 to 1, likewise.
        dropped: Frames so far that came while another was analysed.
        analysed_ms: How long it took from taking the frame.
    """

    seq: int
    t: float
    captured_ms: float
    state: FaceState
    faces: tuple[FaceBox, ...]
    p: Chances | None
    valence: float | None
    dropped: int
    analysed_ms: float
    type: Literal["face"] = "face"


@dataclass(frozen=True, slots=True)
class VoiceEvent:
    """The sound since the event before, in steps of ``hop_s``.

    Attributes:
        t: Start of the first step.
        level_dbfs: Level, dB full scale.
        speech: Probability of speech, 0 to 1.
        f0_hz: Pitch, None where unvoiced.
        state: Of the last second.
        hop_s: Length of a step.
        provisional: Level, speech and pitch are settled when the session ends.
    """

    t: float
    level_dbfs: tuple[float, ...]
    speech: tuple[float, ...]
    f0_hz: tuple[float | None, ...]
    state: VoiceState
    hop_s: float = 0.05
    provisional: bool = True
    type: Literal["voice"] = "voice"


@dataclass(frozen=True, slots=True)
class PauseEvent:
    """Silence of 0.25 s or more between two stretches of speech."""

    t_start: float
    t_end: float
    provisional: bool = True
    type: Literal["pause"] = "pause"


@dataclass(frozen=True, slots=True)
class WordsEvent:
    """Words of one utterance.

    Attributes:
        t_start, t_end: Of the utterance.
        text: As recognised.
        confidence: Mean of its words, 0 to 1; None where the recogniser gives none.
        p: Class probabilities of the sentence, None where there are none.
        reason: Why ``p`` is None.
        provisional: Words are recognised again from the whole when the session ends.
        open: The utterance still goes on: the next event of words replaces this one, and without
            text takes it away. Such words have no probabilities and are not kept.
    """

    t_start: float
    t_end: float
    text: str
    confidence: float | None
    p: Chances | None
    reason: str = ""
    provisional: bool = True
    open: bool = False
    type: Literal["words"] = "words"


@dataclass(frozen=True, slots=True)
class FaceWindow:
    """The face in a window: final, it never changes."""

    p: Chances | None
    valence: float | None
    reason: str
    measures: Mapping[str, float | None] = field(default_factory=dict)
    final: Literal[True] = True


@dataclass(frozen=True, slots=True)
class VoiceWindow:
    """The voice in a window, as heard so far.

    Attributes:
        p: Class probabilities by the experimental voice tower.
        valence: Of these.
        reason: Why they are None.
        level_dbfs: Level of the mean energy of the speech, else of the sound; dB of full scale.
        speech_share: Share of the time with sound that is speech, 0 to 1.
    """

    p: Chances | None
    valence: float | None
    reason: str
    level_dbfs: float | None
    speech_share: float | None
    final: Literal[False] = False


@dataclass(frozen=True, slots=True)
class WordsWindow:
    """The words in a window, as recognised so far."""

    p: Chances | None
    valence: float | None
    reason: str
    final: Literal[False] = False


@dataclass(frozen=True, slots=True)
class Value:
    """A number, or why there is none."""

    value: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Agreement of two modalities in a window, −1 to 1; experimental.

    Attributes:
        anchor: ``text``: cosine of the places that the class probabilities give in the prompt
            space. ``aligned``: cosine in the space of the aligned bundle, of what is known so far.
    """

    face_voice: Value
    face_words: Value
    voice_words: Value
    anchor: Literal["text", "aligned"] = "text"
    experimental: Literal[True] = True


@dataclass(frozen=True, slots=True)
class WindowEvent:
    """One window, at its end or when its words came.

    Attributes:
        t_start, t_end: Of the window.
        face: Final.
        voice, words: As known now; a later event of the same window replaces them.
        disagreement: Difference in valence of face and words beyond the usual so far.
        agreement: Of each pair.
    """

    t_start: float
    t_end: float
    face: FaceWindow
    voice: VoiceWindow
    words: WordsWindow
    disagreement: Value
    agreement: PairAgreement
    type: Literal["window"] = "window"


@dataclass(frozen=True, slots=True)
class NoteEvent:
    """A note on the axis."""

    t: float
    kind: NoteKind
    text: str
    id: int
    type: Literal["note"] = "note"


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """Once a second: how the session is.

    Attributes:
        t: Now.
        fps: Frames analysed a second, over the last five.
        latency_p50_ms, latency_p95_ms: From the capture of a frame to its answer, over the last ten
            seconds, where the sender's clock can be told from the arrival of its frames; None
            without frames.
        dropped: Frames so far that came while another was analysed.
        memory_mb: Resident memory of this process.
        clock_error_ms: How far sound and sender's clock were apart in the last second.
        drift_ppm: How much faster the sender's clock goes than the sound, parts per million.
        recording: Whether what comes is being written.
        recorded_bytes: So far.
    """

    t: float
    fps: float
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    dropped: int
    memory_mb: float
    clock_error_ms: float | None
    drift_ppm: float | None
    recording: bool
    recorded_bytes: int
    type: Literal["health"] = "health"


@dataclass(frozen=True, slots=True)
class ProblemEvent:
    """Something a person should know.

    Attributes:
        code: Stable id.
        ko, en: In words.
        fatal: Whether the session has ended by it.
    """

    code: str
    ko: str
    en: str
    fatal: bool = False
    type: Literal["problem"] = "problem"


@dataclass(frozen=True, slots=True)
class StoppedEvent:
    """The session has ended."""

    session: str | None
    job: str | None = None
    type: Literal["stopped"] = "stopped"


Event = (
    Ready
    | FaceEvent
    | VoiceEvent
    | PauseEvent
    | WordsEvent
    | WindowEvent
    | NoteEvent
    | HealthEvent
    | ProblemEvent
    | StoppedEvent
)


def encode(event: Event) -> bytes:
    """UTF-8 JSON of an event; a NaN becomes null."""
    return msgspec.json.encode(event)
