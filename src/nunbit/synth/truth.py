"""The truth of a synthetic recording: as types and JSON, of what is heard, and planted.

All times are seconds of the file's own clock (presentation times minus the earliest start of any
stream), after the offset between picture and sound, as a reader of the file should find them.
Where a source does not tell something (the pitch of espeak-ng), the truth has None, never a guess.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import VOICE_HOP_S, Flags, Floats, Interval, Singles
from nunbit.core.timebase import stamp
from nunbit.runtime.files import write_text
from nunbit.synth.script import EmotionKey, HeadKey, Saying, VideoScript, VoiceKey
from nunbit.synth.speech import SpeechTrack, level_dbfs, room_noise

FORMAT = "nunbit-synth-video-1"

# Decimals in the file.
_FRAME_DIGITS = {
    "times_s": 9, "visible": 4, "emotions": 5, "pose_deg": 5, "boxes_xyxy": 2, "mouth_open": 5,
    "mouth_gap": 5, "eye_open": 5,
}  # fmt: skip
_VOICE_DIGITS = {"times_s": 6, "f0_hz": 4, "level_dbfs": 3}


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """N frames as they are stored.

    Attributes:
        times_s: (N,) presentation times.
        visible: (N,) how much of the face's box lies in the picture, 0 to 1; 0 in dropouts.
        n_faces: (N,) faces in the picture, visitors included.
        cartoon: (N,) whether a cartoon fills the picture.
        labels: Ids of the label set ``aihub7``.
        emotions: (N, 7) intensities in the order of ``labels``.
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
    labels: tuple[str, ...]
    emotions: Floats
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
        "frames": _tracks(truth.frames, _FRAME_DIGITS),
        "voice": _tracks(truth.voice, _VOICE_DIGITS),
    }
    write_text(path, _text(document) + "\n")


def srt_text(utterances: tuple[UtteranceTruth, ...]) -> str:
    """The words as SubRip subtitles."""
    return "\n".join(
        f"{number}\n{stamp(u.interval.start_s, ',')} --> {stamp(u.interval.end_s, ',')}\n{u.text}\n"
        for number, u in enumerate(utterances, start=1)
    )


def _text(document: dict[str, Any]) -> str:
    """JSON with a line for each key of the two outer levels: tracks are long, heads are not."""
    lines = []
    for key, value in document.items():
        text = _line(value)
        if isinstance(value, dict):
            inner = ",\n".join(f"  {_line(k)}: {_line(v)}" for k, v in value.items())
            text = f"{{\n{inner}\n }}"
        lines.append(f" {_line(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _numbers(values: Floats, digits: int) -> list[Any]:
    """Plain numbers, None for NaN."""
    rounded = np.round(np.asarray(values, dtype=np.float64), digits)
    plain = rounded.astype(object)
    plain[np.isnan(rounded)] = None
    return list(plain.tolist())


def _span(interval: Interval) -> dict[str, float]:
    return {"start_s": round(interval.start_s, 6), "end_s": round(interval.end_s, 6)}


def _tracks(truth: FrameTruth | VoiceTruth | None, digits: dict[str, int]) -> Any:
    """The fields in their order; of numbers so many digits, flags as 0 and 1."""
    if truth is None:
        return None
    found: dict[str, Any] = {}
    for name, value in vars(truth).items():
        if isinstance(value, tuple):
            found[name] = [_span(v) if isinstance(v, Interval) else v for v in value]
        elif value is None or name in digits:
            found[name] = None if value is None else _numbers(value, digits[name])
        else:
            found[name] = value.astype(int).tolist()
    return found


def _utterance(utterance: UtteranceTruth) -> dict[str, Any]:
    words = [_span(w.interval) | {"text": w.text, "syllables": w.syllables}
             for w in utterance.words]  # fmt: skip
    return _span(utterance.interval) | {"text": utterance.text, "words": words or None}


# --- the sound of a file --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class Audio:
    """A stream of samples.

    Attributes:
        samples: (n,) float32 mono.
        rate_hz: Of them.
        first: Index that the first sample has on the clock of the file.
        block: Samples that are encoded together, from :func:`block_of`.
        holes: Stretches [a, b) of these indices without samples, on multiples of ``block`` after
            ``first``.
    """

    samples: Singles
    rate_hz: int
    first: int
    block: int
    holes: tuple[tuple[int, int], ...]


def heard(script: VideoScript, speech: SpeechTrack, block: int) -> Audio:
    """The samples of the file, on the script's clock.

    Args:
        script: Says the offset and what is missing.
        speech: The sound before that.
        block: Samples that the codec encodes together; holes are widened to whole blocks.
    """
    rate, n = speech.rate_hz, len(speech.samples)
    late, first = round(script.audio_offset_s * rate), round(script.audio_start_s * rate)
    samples, holes = room_noise(n, rate, script.noise_dbfs, script.seed), []
    if late >= 0:
        samples[late:] = speech.samples[: n - late]
    else:
        samples[: n + late] = speech.samples[-late:]
    for stretch in script.dropouts:
        a, b = round(stretch.start_s * rate), round(stretch.end_s * rate)
        if stretch.kind == "silence":
            samples[max(a, 0) : b] = 0.0
        elif stretch.kind == "sound":
            low = max(0, math.floor((a - first) / block))
            high = math.ceil((min(b, n) - first) / block)
            if low < high:
                holes.append((first + low * block, first + high * block))
    return Audio(np.clip(samples[first:], -1.0, 1.0), rate, first, block, tuple(holes))


def voice_truth(
    script: VideoScript, speech: SpeechTrack, audio: Audio, origin_s: float
) -> VoiceTruth:
    """What is heard every 10 ms, on the file's clock.

    Args:
        script: The script.
        speech: Its sound before offset and holes.
        audio: The sound of the file.
        origin_s: Script time of the file's time 0.
    """
    rate, end = audio.rate_hz, audio.first + len(audio.samples)
    count = math.ceil((end / rate - origin_s) / VOICE_HOP_S - 1e-9)
    times = (np.arange(count, dtype=np.float64) + 0.5) * VOICE_HOP_S
    index = (times + origin_s) * rate
    present = (index >= audio.first) & (index < end)
    for a, b in audio.holes:
        present &= (index < a) | (index >= b)
    level = level_dbfs(audio.samples, rate, times + origin_s - audio.first / rate)
    segments = _moved([s for u in speech.spoken for s in u.segments], script, origin_s)
    talking = np.zeros(count, dtype=np.bool_)
    for segment in segments:
        talking |= (times >= segment.start_s) & (times < segment.end_s)
    pauses = [Interval(a.end_s, b.start_s) for a, b in itertools.pairwise(segments)
              if a.end_s < b.start_s]  # fmt: skip
    f0 = None
    if speech.f0_hz is not None:
        spoken, n = (times + origin_s - script.audio_offset_s) / VOICE_HOP_S, len(speech.f0_hz)
        hop = np.floor(spoken + 1e-6).astype(np.int64)
        f0 = np.where(
            present & (hop >= 0) & (hop < n), speech.f0_hz[np.clip(hop, 0, n - 1)], math.nan
        )
    return VoiceTruth(
        times, present, talking & present, f0, np.where(present, level, math.nan),
        tuple(segments), tuple(pauses),
    )  # fmt: skip


def utterances_of(
    script: VideoScript, speech: SpeechTrack, origin_s: float
) -> tuple[UtteranceTruth, ...]:
    """What is said, on the file's clock; what the offset moves out of the file is left out."""
    found = []
    for spoken in speech.spoken:
        words = tuple(
            WordTruth(where, word.text, word.syllables)
            for word in spoken.words
            for where in _moved([Interval(word.start_s, word.end_s)], script, origin_s)
        )
        found += [
            UtteranceTruth(where, spoken.text, words)
            for where in _moved([spoken.interval], script, origin_s)
        ]
    return tuple(found)


def _moved(intervals: list[Interval], script: VideoScript, origin_s: float) -> list[Interval]:
    """From the script's clock to the file's, cut at its ends."""
    late, low = script.audio_offset_s - origin_s, script.audio_start_s - origin_s
    high = script.duration_s - origin_s
    moved = [(max(i.start_s + late, low), min(i.end_s + late, high)) for i in intervals]
    return [Interval(a, b) for a, b in moved if a < b]


# --- scripts with a planted truth -----------------------------------------------------------------
# For the alignment of face and voice. A hidden state of a few numbers wanders slowly; it moves the
# face (emotions) and the voice (pitch, liveliness, level, rate), or each has a state of its own, in
# which case only the person is shared: a method that finds agreement there has learned identity.
# Pictures are small and few a second: a person of 60 windows takes seconds.

STATE_SIZE = 3
"""Valence, tension and arousal, each about -1 to 1."""

_STEP_S = 1.0  # between keys; the state is smooth between them
_SYLLABLES = "가나다라마바사아자하고노도로모보소오조호구누두루무부수우주후기니디리미비시이지히"


@dataclass(frozen=True)
class PlantedSettings:
    """The planted truth.

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
    keep, count = float(np.exp(-_STEP_S / memory_s)), int(duration_s / _STEP_S) + 2
    state = np.empty((count, STATE_SIZE))
    state[0] = rng.standard_normal(STATE_SIZE)
    for k in range(1, count):
        state[k] = keep * state[k - 1] + np.sqrt(1 - keep**2) * rng.standard_normal(STATE_SIZE)
    return np.asarray(np.tanh(state))


def planted_script(
    person: int, recording: int, settings: PlantedSettings
) -> tuple[VideoScript, Floats, Floats]:
    """One recording of one person.

    Args:
        person: Decides looks and voice if identity is planted.
        recording: Of the person; decides states and words.
        settings: The planted truth.

    Returns:
        The script, the state of the face and that of the voice, (seconds + 1, 3) each.
    """
    seed, length = settings.seed, settings.duration_s
    face, own = (
        planted_state(length, settings.memory_s, (seed, stream, person, recording))
        for stream in (10, 11)
    )
    voice = face if settings.shared else own
    script = VideoScript(
        duration_s=length,
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        seed=int(np.random.default_rng([seed, 12, person, recording]).integers(2**31)),
        person=person if settings.identity else 0,
        hold_s=settings.hold_s,
        emotions=tuple(_face_key(k * _STEP_S, *row) for k, row in enumerate(face.tolist())),
        head=(HeadKey(at_s=0.0, yaw_deg=0.0),),
        sayings=_babble(length, np.random.default_rng([seed, 13, person, recording])),
        voice="formant",
        voice_keys=tuple(_voice_key(k * _STEP_S, *row) for k, row in enumerate(voice.tolist())),
        mouth_gain=0.0,  # lips that move with the sound would be a shared state of their own
        crf=24,
    )
    return script, face, voice


def _face_key(at_s: float, valence: float, tension: float, arousal: float) -> EmotionKey:
    """Valence is joy or sadness, tension is anger, arousal is anxiety or (low) hurt."""
    return EmotionKey(
        at_s=at_s,
        joy=max(0.0, valence),
        sadness=max(0.0, -valence),
        anger=max(0.0, 0.8 * tension),
        anxiety=max(0.0, 0.8 * arousal),
        hurt=max(0.0, -0.8 * arousal),
        ease="linear",
    )


def _voice_key(at_s: float, valence: float, tension: float, arousal: float) -> VoiceKey:
    """Valence is pitch, tension level, arousal liveliness and rate."""
    return VoiceKey(
        at_s=at_s,
        f0_st=4.0 * valence,
        level_db=5.0 * tension,
        range_st=3.5 + 3.0 * arousal,
        rate=float(1.3**arousal),
    )


def _babble(duration_s: float, rng: np.random.Generator) -> tuple[Saying, ...]:
    """Words without meaning, so that nothing but the voice tells the state: a breath every 4 s.

    Twelve syllables at the slowest rate take 3.7 s.
    """
    sayings = []
    for breath in np.arange(0.1, duration_s - 3.8, 4.0):
        words = ["".join(rng.choice(list(_SYLLABLES), 3)) for _ in range(int(rng.integers(3, 5)))]
        start = round(float(breath) + float(rng.uniform(0.0, 0.2)), 3)
        sayings.append(Saying(start_s=start, text=" ".join(words)))
    return tuple(sayings)
