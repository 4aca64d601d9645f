"""The script of a synthetic recording: a frozen dataclass, read from TOML.

All times are seconds of the script's own clock, on which picture and sound belong together; only
``audio_offset_s`` moves the sound away from it. What happens between the times that a script names
follows curves: they hold the first value before the first key and the last after the last one;
``linear`` pieces have constant speed (a head that turns by 30 degrees a second does exactly that);
``smooth`` pieces start and end at rest, as faces do. Knows nothing of drawing, sound or containers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
import numpy as np

from nunbit.core.messages import SettingsError, Text
from nunbit.core.streams import Floats
from nunbit.runtime.config import read_settings
from nunbit.runtime.files import parse_toml
from nunbit.runtime.resources import packaged_path
from nunbit.synth.actors import EMOTIONS, PARAMETERS
from nunbit.synth.drawn_photo import SCENES

Ease = Literal["smooth", "linear"]


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """Values over time.

    Attributes:
        times_s: (N,) increasing.
        values: (N,)
        smooth: (N,) whether the piece that ends at each key is smooth rather than linear.
    """

    times_s: Floats
    values: Floats
    smooth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    def at(self, times_s: Floats) -> Floats:
        """Values at the given times, shape of ``times_s``."""
        times = np.asarray(times_s, dtype=np.float64)
        if len(self.times_s) == 1:
            return np.full(times.shape, self.values[0])
        end = np.clip(np.searchsorted(self.times_s, times, side="right"), 1, len(self.times_s) - 1)
        t0, t1 = self.times_s[end - 1], self.times_s[end]
        share = np.clip((times - t0) / (t1 - t0), 0.0, 1.0)
        # Minimum jerk (Flash & Hogan 1985): speed and acceleration vanish at both ends.
        share = np.where(self.smooth[end], share**3 * (10.0 - 15.0 * share + 6.0 * share**2), share)
        return np.asarray(self.values[end - 1] + share * (self.values[end] - self.values[end - 1]))


def curve(keys: Sequence[tuple[float, float, Ease]], default: float = 0.0) -> Curve:
    """A curve from (time in seconds, value, ease of the piece before it).

    Args:
        keys: Any order; of two keys at one time the later one counts.
        default: Value everywhere if there are no keys.
    """
    if not keys:
        return Curve(np.zeros(1), np.full(1, default), np.zeros(1, dtype=np.bool_))
    table = {time: (value, ease) for time, value, ease in sorted(keys, key=lambda key: key[0])}
    values = np.array([value for value, _ in table.values()], dtype=np.float64)
    smooth = np.array([ease == "smooth" for _, ease in table.values()])
    return Curve(np.array(list(table), dtype=np.float64), values, smooth)


def key_curve(keys: Sequence[Any], name: str, default: float = 0.0) -> Curve:
    """The curve of one value of keyframes, through the keys that name it."""
    named = [key for key in keys if getattr(key, name) is not None]
    return curve([(key.at_s, getattr(key, name), key.ease) for key in named], default)


Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.2)]
Level = Annotated[float, msgspec.Meta(ge=-120.0, le=0.0)]
Voice = Literal["auto", "formant", "espeak"]


@dataclass(frozen=True, slots=True)
class EmotionKey:
    """Intensities of the emotions at one time; those not named are 0 and the rest is neutral.

    Attributes:
        at_s: When.
        joy: 0 absent, 1 full, up to 1.2; the others likewise.
        ease: How the face gets here from the key before.
    """

    at_s: Seconds
    joy: Share = 0.0
    flustered: Share = 0.0
    anger: Share = 0.0
    anxiety: Share = 0.0
    hurt: Share = 0.0
    sadness: Share = 0.0
    ease: Ease = "smooth"


@dataclass(frozen=True, slots=True)
class FaceKey:
    """Facial parameters at one time; they replace what the emotions say about them.

    Attributes:
        at_s: When.
        values: Names of ``actors.Expression`` with their values; a parameter that some key
            names follows the keys that name it through the whole recording.
        ease: How the face gets here from the key before.
    """

    at_s: Seconds
    values: dict[str, float]
    ease: Ease = "smooth"


@dataclass(frozen=True, slots=True)
class HeadKey:
    """Pose of the head at one time; what is not named keeps its curve from the other keys.

    Attributes:
        at_s: When.
        yaw_deg: Turn towards the image's right.
        pitch_deg: Nod downwards.
        roll_deg: Clockwise tilt.
        x: Place of the point between the eyes, share of the width.
        y: The same, share of the height.
        scale: Half a face's width, share of the height.
        ease: ``linear`` moves at constant speed.
    """

    at_s: Seconds
    yaw_deg: Annotated[float, msgspec.Meta(ge=-60, le=60)] | None = None
    pitch_deg: Annotated[float, msgspec.Meta(ge=-45, le=45)] | None = None
    roll_deg: Annotated[float, msgspec.Meta(ge=-60, le=60)] | None = None
    x: float | None = None
    y: float | None = None
    scale: Annotated[float, msgspec.Meta(gt=0.02, le=1.0)] | None = None
    ease: Ease = "smooth"


@dataclass(frozen=True, slots=True)
class VoiceKey:
    """How the voice sounds at one time; what is not named keeps its curve from the other keys.

    Attributes:
        at_s: When.
        f0_st: Semitones above the speaker's base.
        range_st: Height of the rise on each word, semitones.
        level_db: Decibels above the speaker's level.
        rate: Factor of the speaking rate.
        ease: How the voice gets here from the key before.
    """

    at_s: Seconds
    f0_st: Annotated[float, msgspec.Meta(ge=-18, le=18)] | None = None
    range_st: Annotated[float, msgspec.Meta(ge=0, le=12)] | None = None
    level_db: Annotated[float, msgspec.Meta(ge=-40, le=20)] | None = None
    rate: Annotated[float, msgspec.Meta(ge=0.3, le=3)] | None = None
    ease: Ease = "linear"


@dataclass(frozen=True, slots=True)
class Saying:
    """One utterance.

    Attributes:
        start_s: First sound.
        text: What is said; ``[0.8]`` between words is a pause of 0.8 s.
        f0_st: Semitones above the voice's curve.
        level_db: Decibels above the voice's curve.
        rate: Factor of the speaking rate.
    """

    start_s: Seconds
    text: str
    f0_st: Annotated[float, msgspec.Meta(ge=-18, le=18)] = 0.0
    level_db: Annotated[float, msgspec.Meta(ge=-40, le=20)] = 0.0
    rate: Annotated[float, msgspec.Meta(ge=0.3, le=3)] = 1.0


@dataclass(frozen=True, slots=True)
class Dropout:
    """A stretch in which something is missing.

    Attributes:
        start_s: From here.
        end_s: To here, not included.
        kind: ``face``: it leaves the picture; ``cartoon``: a drawn animal fills the picture;
            ``sound``: the stream has no samples; ``silence``: it has samples, all zero;
            ``frames``: the stream has no pictures.
        slide_s: How long the face takes to leave and to come back, before and after the stretch;
            0 is a cut.
    """

    start_s: Seconds
    end_s: Positive
    kind: Literal["face", "cartoon", "sound", "silence", "frames"]
    slide_s: Annotated[float, msgspec.Meta(ge=0, le=5)] = 0.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """A second person in the picture: neutral, silent, blinking now and then.

    Attributes:
        start_s: From here.
        end_s: To here, not included.
        person: Who, as in the script.
        x: Place between the eyes, share of the width.
        y: The same, share of the height.
        scale: Half a face's width, share of the height.
    """

    start_s: Seconds
    end_s: Positive
    person: Annotated[int, msgspec.Meta(ge=0)] = 1
    x: float = 0.82
    y: float = 0.36
    scale: Annotated[float, msgspec.Meta(gt=0.02, le=1.0)] = 0.16


@dataclass(frozen=True)
class VideoScript:
    """A whole recording.

    Attributes:
        duration_s: Length of the recording.
        width: Width of the picture, pixels, even.
        height: Height of the picture, pixels, even.
        fps: ``25``, a fraction like ``30000/1001``, or ``variable``: 30 a second with an uneven
            step now and then, 24 on average.
        seed: Decides blinks, sway, room and noise.
        person: Who is drawn and speaks (a seed of ``sample_person``).
        scene: Background: a name of ``SCENES``, or ``plain``.
        face_scale: Half the width of the face, as a share of the height.
        variants: Which way of showing each emotion is drawn (an index into ``EMOTIONS``).
        hold_s: The face moves in steps of this length (0 = in every frame). Equal pictures are
            drawn once, which makes long recordings quick. The truth holds what is drawn.
        sway_deg: Amplitude of a slow involuntary movement of the head.
        blinks_s: Times at which the eyes are closed.
        blinks_per_min: Further blinks at random times, at least 1 s from every other.
        emotions: Table of keyframes of the emotions.
        face: Table of keyframes of single facial parameters.
        head: Table of keyframes of the head pose.
        sayings: Table of utterances, which do not overlap.
        voice: ``formant`` = nunbit's own source with exact truth; ``espeak`` needs espeak-ng;
            ``auto`` = espeak if it is installed.
        voice_keys: Table of keyframes of the voice.
        f0_hz: Base pitch of the voice; 0 = that of the person.
        level_dbfs: RMS level of the speech where ``level_db`` is 0; full scale = 0 dB.
        syllables_per_s: Articulation rate where ``rate`` is 1.
        mouth_gain: How far speech opens the mouth; 0 = it stays closed.
        noise_dbfs: RMS level of the room noise.
        sound: Write an audio stream.
        audio_rate_hz: Sampling rate of the audio stream.
        audio_codec: ``auto`` = AAC in mp4 and mov, FLAC in mkv, PCM in wav.
        audio_offset_s: Shift of the sound against the picture; positive = the sound is late.
        video_start_s: Start of the video stream; earlier pictures are left out.
        audio_start_s: Start of the audio stream; earlier samples are left out.
        dropouts: Table of stretches in which something is missing.
        visitors: Table of second faces.
        crf: Quality of x264; smaller is better.
        language: BCP 47 language of the words.
    """

    duration_s: Annotated[float, msgspec.Meta(ge=0.5, le=7200)] = 10.0
    width: Annotated[int, msgspec.Meta(ge=64, le=3840, multiple_of=2)] = 320
    height: Annotated[int, msgspec.Meta(ge=64, le=2160, multiple_of=2)] = 240
    fps: int | str = 25
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    person: Annotated[int, msgspec.Meta(ge=0)] = 0
    scene: str = "plain"
    face_scale: Annotated[float, msgspec.Meta(gt=0.02, le=0.6)] = 0.29
    variants: dict[str, int] = field(default_factory=dict)
    hold_s: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0
    sway_deg: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0
    blinks_s: tuple[Seconds, ...] = ()
    blinks_per_min: Annotated[float, msgspec.Meta(ge=0, le=40)] = 0.0
    emotions: tuple[EmotionKey, ...] = ()
    face: tuple[FaceKey, ...] = ()
    head: tuple[HeadKey, ...] = ()
    sayings: tuple[Saying, ...] = ()
    voice: Voice = "auto"
    voice_keys: tuple[VoiceKey, ...] = ()
    f0_hz: Annotated[float, msgspec.Meta(ge=0, le=500)] = 0.0
    level_dbfs: Level = -24.0
    syllables_per_s: Annotated[float, msgspec.Meta(ge=1, le=9)] = 4.6
    mouth_gain: Annotated[float, msgspec.Meta(ge=0, le=1.5)] = 1.0
    noise_dbfs: Level = -72.0
    sound: bool = True
    audio_rate_hz: Literal[16000, 22050, 44100, 48000] = 16000
    audio_codec: Literal["auto", "aac", "flac", "pcm"] = "auto"
    audio_offset_s: Annotated[float, msgspec.Meta(ge=-5, le=5)] = 0.0
    video_start_s: Seconds = 0.0
    audio_start_s: Seconds = 0.0
    dropouts: tuple[Dropout, ...] = ()
    visitors: tuple[Visitor, ...] = ()
    crf: Annotated[int, msgspec.Meta(ge=0, le=40)] = 20
    language: str = "ko"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def frame_rate(self) -> Fraction | None:
        """Pictures per second, or None where it varies."""
        return None if self.fps == "variable" else Fraction(str(self.fps))


def load_script(
    path: Path | None,
    *,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> VideoScript:
    """Read a script.

    Args:
        path: TOML file; None takes the script of the demo.
        overrides: ``key=value`` strings that win over the file.
        options: Values from the command line; None means not given.

    Raises:
        SettingsError: The file cannot be read, a key is unknown or a value does not fit.
    """
    if path is not None:
        _refuse_unknown_keys(path)
    file = path or packaged_path("synth/scripts/demo.toml")
    return read_settings(VideoScript, files=[file], overrides=overrides, options=options)


def _refuse_unknown_keys(path: Path) -> None:
    """Nested tables: ``read_settings`` knows the outermost keys only."""
    try:
        values = parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return  # read_settings says it
    for key, hint in get_type_hints(VideoScript).items():
        kind = next((k for k in get_args(hint) if is_dataclass(k)), None)
        rows = values.get(key, [])
        if kind is None or not isinstance(rows, list):
            continue
        known = {f.name for f in fields(kind)}
        for number, row in enumerate(rows, start=1):
            unknown = sorted(set(row) - known) if isinstance(row, dict) else []
            if unknown:
                names = ", ".join(sorted(known))
                raise SettingsError(
                    Text(
                        f"{path}: [[{key}]] number {number}: unknown key {', '.join(unknown)}; "
                        f"there are: {names}",
                        f"{path}: {number}번째 [[{key}]]: 알 수 없는 키 {', '.join(unknown)}. "
                        f"쓸 수 있는 키: {names}",
                    )
                )


def _check(script: VideoScript) -> None:
    """What types cannot say; ``SettingsError`` names the key."""
    _check_fps(script.fps)
    unknown = sorted({n for key in script.face for n in key.values} - set(PARAMETERS))
    if unknown:
        raise SettingsError(
            Text(
                f"face: unknown parameter {', '.join(unknown)}; there are: {', '.join(PARAMETERS)}",
                f"face: 알 수 없는 매개변수 {', '.join(unknown)}. 쓸 수 있는 것: "
                f"{', '.join(PARAMETERS)}",
            )
        )
    for name, index in script.variants.items():
        if name not in EMOTIONS or not 0 <= index < len(EMOTIONS[name]):
            ranges = ", ".join(f"{n} 0-{len(v) - 1}" for n, v in EMOTIONS.items())
            raise SettingsError(
                Text(
                    f"variants: {name} = {index} does not exist; there are: {ranges}",
                    f"variants: {name} = {index}은(는) 없습니다. 쓸 수 있는 것: {ranges}",
                )
            )
    if script.scene not in {"plain", *SCENES}:
        names = ", ".join(["plain", *SCENES])
        raise SettingsError(
            Text(
                f"scene = {script.scene!r} does not exist; there are: {names}",
                f"scene = {script.scene!r}은(는) 없습니다. 쓸 수 있는 것: {names}",
            )
        )
    stretches: tuple[Dropout | Visitor, ...] = (*script.dropouts, *script.visitors)
    for stretch in stretches:
        if not stretch.start_s < stretch.end_s:
            raise SettingsError(
                Text(
                    f"a stretch must end after it starts, got {stretch.start_s} to {stretch.end_s}",
                    f"구간의 끝은 시작보다 뒤여야 합니다: {stretch.start_s}-{stretch.end_s}",
                )
            )
    for saying in script.sayings:
        if saying.start_s >= script.duration_s:
            raise SettingsError(
                Text(
                    f"sayings: start_s = {saying.start_s} is after the end ({script.duration_s} s)",
                    f"sayings: start_s = {saying.start_s}은(는) 끝({script.duration_s}초)보다 "
                    "뒤입니다",
                )
            )
    if max(script.video_start_s, script.audio_start_s) >= script.duration_s:
        raise SettingsError(
            Text(
                "video_start_s and audio_start_s must lie before the end",
                "video_start_s와 audio_start_s는 끝보다 앞이어야 합니다",
            )
        )


def _check_fps(value: int | str) -> None:
    if value == "variable":
        return
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 1 <= rate <= 120:
        raise SettingsError(
            Text(
                f"fps = {value!r}: expected a rate from 1 to 120, such as 25 or 30000/1001, or "
                "variable",
                f"fps = {value!r}: 25나 30000/1001처럼 1에서 120까지의 값 또는 variable이어야 "
                "합니다",
            )
        )
