"""Renders a script: OUT.mp4, OUT.truth.json and OUT.srt.

Pictures are drawn like the stills, and the sound has its own source; the truth of both is written
beside the file. The file has exact presentation times: there are no B-frames, so no decoder delay
hides in the container, and the sound starts at the sample it says.
"""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from nunbit.core.messages import SettingsError, Text
from nunbit.core.streams import Interval, Singles
from nunbit.pictures.landmarks import pose_angles
from nunbit.recording.media.container import load_av
from nunbit.runtime.config import settings_to_dict
from nunbit.runtime.files import atomic_path, write_text
from nunbit.runtime.progress import Progress
from nunbit.runtime.resources import nunbit_version
from nunbit.synth.actors import DrawnPerson, sample_person
from nunbit.synth.drawing import rotation_of
from nunbit.synth.features import mouth_shape
from nunbit.synth.filming import LABELS, ActorMotion, Drawn, Pictures, draw_frames, plan_motion
from nunbit.synth.script import VideoScript
from nunbit.synth.speech import SpeechTrack, espeak_version, speak_script
from nunbit.synth.truth import (
    FORMAT,
    Audio,
    FrameTruth,
    VideoTruth,
    heard,
    srt_text,
    utterances_of,
    voice_truth,
    write_truth,
)

# --- media files ----------------------------------------------------------------------------------

MARK = "nunbit-synth-video"
"""Comment in the container that says it is drawn."""

_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".m4a": "mp4", ".mkv": "matroska",
               ".mka": "matroska", ".wav": "wav"}  # fmt: skip
_CODECS = {  # the first of each is what auto takes
    "mp4": ("aac",), "mov": ("aac",), "matroska": ("flac", "pcm", "aac"), "wav": ("pcm",),
}  # fmt: skip
_SOUND_ONLY = {".m4a", ".mka", ".wav"}


@dataclass(frozen=True, slots=True)
class Container:
    """How a file is written.

    Attributes:
        format: FFmpeg's name.
        audio_codec: ``aac``, ``flac`` or ``pcm``.
        has_video: Whether the suffix allows pictures.
    """

    format: str
    audio_codec: str
    has_video: bool


def container_of(path: Path, audio_codec: str) -> Container:
    """How a file of this name is written.

    Raises:
        SettingsError: The suffix is unknown or does not hold the codec.
    """
    suffix, known = path.suffix.lower(), ", ".join(_CONTAINERS)
    if suffix not in _CONTAINERS:
        raise SettingsError(
            Text(
                f"{path}: the suffix says what is written; choose one of {known}",
                f"{path}: 확장자로 형식이 정해집니다. 다음 가운데 고르십시오: {known}",
            )
        )
    name = _CONTAINERS[suffix]
    codec = _CODECS[name][0] if audio_codec == "auto" else audio_codec
    known = ", ".join(_CODECS[name])
    if codec not in _CODECS[name]:
        raise SettingsError(
            Text(
                f"audio_codec = {codec}: {suffix} holds {known}; choose that or another suffix",
                f"audio_codec = {codec}: {suffix}에는 {known}만 쓸 수 있습니다. 그것을 고르거나 "
                "확장자를 바꾸십시오",
            )
        )
    return Container(name, codec, suffix not in _SOUND_ONLY)


def block_of(codec: str, rate_hz: int) -> int:
    """Samples that a codec encodes together: where a hole in the stream may begin and end."""
    if codec == "pcm":
        return 1024  # any number would do
    context = load_av().CodecContext.create(codec, "w")
    context.sample_rate, context.layout = rate_hz, "mono"
    context.format = "fltp" if codec == "aac" else "s16"
    context.time_base = Fraction(1, rate_hz)
    context.open()
    return int(context.frame_size)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a container made of a stream's times.

    Attributes:
        start_s: First presentation time, not yet counted from the earliest stream.
        time_base: Seconds to which times are rounded.
    """

    start_s: Fraction
    time_base: Fraction


def stored_streams(path: Path) -> dict[str, Stored]:
    """Start of each stream as the file has it, by ``video`` and ``audio``."""
    with load_av().open(str(path)) as file:
        return {
            s.type: Stored(Fraction(s.start_time or 0) * s.time_base, Fraction(s.time_base))
            for s in file.streams
        }


def write_media(
    path: Path,
    container: Container,
    script: VideoScript,
    time_base: Fraction | None,
    audio: Audio | None,
    pictures: Pictures,
) -> None:
    """Encode a file.

    Args:
        path: File to write; its suffix does not matter.
        container: How.
        script: Says size, rate and quality of the pictures.
        time_base: Seconds of one tick of the pictures; None for sound alone.
        audio: None for silent video.
        pictures: The frames; consumed as they are encoded.
    """
    av = load_av()
    options = {}
    if container.format in ("mp4", "mov"):
        # The start of a stream is stored in this unit; the usual millisecond would round it.
        units = [time_base.denominator] if time_base is not None else []
        units += [audio.rate_hz] if audio is not None else []
        options["movie_timescale"] = str(math.lcm(*units))
    with av.open(str(path), "w", format=container.format, options=options) as file:
        file.metadata["comment"] = MARK
        sound = _Sound(av, file, audio, container.audio_codec) if audio is not None else None
        if time_base is not None:
            stream = _video_stream(file, script, time_base)
            for tick, pixels in pictures:
                if sound is not None:  # interleave: players and memory want both at one pace
                    sound.write_until(float(tick * time_base))
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", threads=1)
                frame.pts, frame.time_base = tick, time_base
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        if sound is not None:
            sound.finish()


def _video_stream(file: Any, script: VideoScript, time_base: Fraction) -> Any:
    stream = file.add_stream("libx264", rate=script.frame_rate or Fraction(24))
    stream.width, stream.height = script.width, script.height
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = time_base
    context.thread_count = 1  # the number of threads changes the bits
    stream.options = {"preset": "veryfast", "crf": str(script.crf), "bf": "0", "g": "50"}
    return stream


class _Sound:
    """Feeds an encoder block by block.

    Args:
        av: The library.
        file: Open container.
        audio: What to write.
        codec: ``aac``, ``flac`` or ``pcm``.
    """

    def __init__(self, av: Any, file: Any, audio: Audio, codec: str) -> None:
        name = {"pcm": "pcm_s16le"}.get(codec, codec)
        self._av, self._file, self._audio, self._codec = av, file, audio, codec
        self._stream = file.add_stream(name, rate=audio.rate_hz, layout="mono")
        if codec == "aac":
            self._stream.codec_context.bit_rate = 96_000
        self._done = 0

    def write_until(self, time_s: float) -> None:
        """Encode blocks that begin before a time of the file."""
        audio = self._audio
        while self._done < len(audio.samples):
            index = audio.first + self._done
            if index / audio.rate_hz >= time_s:
                return
            block = audio.samples[self._done : self._done + audio.block]
            self._done += len(block)
            if not any(a <= index < b for a, b in audio.holes):
                self._file.mux(self._stream.encode(self._frame(block, index)))

    def finish(self) -> None:
        """Encode the rest."""
        self.write_until(float("inf"))
        self._file.mux(self._stream.encode())

    def _frame(self, block: Singles, index: int) -> Any:
        samples, form = np.ascontiguousarray(block[None]), "fltp"
        if self._codec != "aac":
            samples, form = np.round(np.clip(samples, -1, 1) * 32767.0).astype(np.int16), "s16"
        frame = self._av.AudioFrame.from_ndarray(samples, format=form, layout="mono")
        frame.sample_rate = self._audio.rate_hz
        frame.pts, frame.time_base = index, Fraction(1, self._audio.rate_hz)
        return frame


# --- rendering ------------------------------------------------------------------------------------

_MIDDLE = 12  # of the 25 points of a lip


@dataclass(frozen=True, eq=False)
class _Play:
    """A script, evaluated."""

    script: VideoScript
    person: DrawnPerson
    container: Container
    speech: SpeechTrack | None
    audio: Audio | None
    motion: ActorMotion | None


class RenderedVideo(TypedDict):
    """What was rendered: the paths, duration, frames, what spoke, seconds it took."""

    synthetic: bool
    media: str
    truth: str
    transcript: str | None
    duration_s: float
    frames: int
    voice: str | None
    utterances: int
    seconds: float
    times_real_time: float


def render_video(out: Path, script: VideoScript) -> RenderedVideo:
    """Render a script.

    Args:
        out: File to write; the suffix decides the container (mp4, mov, mkv; wav, m4a and mka hold
            the sound alone). ``OUT.truth.json`` and, if anything is said, ``OUT.srt`` go beside.
        script: What is shown and said.

    Returns:
        Plain data: the three paths, duration, frames, what spoke, seconds it took.

    Raises:
        SettingsError: The suffix is unknown, or the script leaves neither picture nor sound.
        MissingExtra: PyAV or the asked-for espeak-ng is not installed.
        InputError: The file cannot be written.
    """
    began = time.perf_counter()
    play = _prepare(out, script)
    total = 0 if play.motion is None else len(play.motion.times_s)
    drawn = Drawn(np.zeros(total), np.zeros(total, dtype=np.int64), np.full((total, 4), math.nan))
    title = Text("rendering", "영상 그리기")
    with atomic_path(out) as partial:
        with Progress(title, total, "frame") as progress:
            pictures: Pictures = iter(())
            time_base = None
            if play.motion is not None:
                time_base = play.motion.time_base
                pictures = draw_frames(script, play.person, play.motion, drawn, progress)
            write_media(partial, play.container, script, time_base, play.audio, pictures)
        stored = stored_streams(partial)
    truth = _truth(play, drawn, stored)
    write_truth(truth_path(out), truth)
    if truth.utterances:
        write_text(transcript_path(out), srt_text(truth.utterances))
    seconds = time.perf_counter() - began
    return {
        "synthetic": True,
        "media": str(out),
        "truth": str(truth_path(out)),
        "transcript": str(transcript_path(out)) if truth.utterances else None,
        "duration_s": script.duration_s,
        "frames": total,
        "voice": None if play.speech is None else play.speech.source,
        "utterances": len(truth.utterances),
        "seconds": round(seconds, 2),
        "times_real_time": round(script.duration_s / seconds, 2),
    }


def truth_path(media: Path) -> Path:
    """Where the truth of a recording is."""
    return media.with_name(media.stem + ".truth.json")


def transcript_path(media: Path) -> Path:
    """Where the words of a recording are."""
    return media.with_suffix(".srt")


def _prepare(out: Path, script: VideoScript) -> _Play:
    container = container_of(out, script.audio_codec)
    load_av()  # before seconds of work that would be lost
    person = sample_person(np.random.default_rng(script.person))
    speech = speak_script(script, person) if script.sound else None
    block = block_of(container.audio_codec, script.audio_rate_hz) if script.sound else 0
    audio = heard(script, speech, block) if speech is not None else None
    motion = plan_motion(script, person, speech) if container.has_video else None
    if motion is not None and not len(motion.times_s):
        raise SettingsError(
            Text(
                "dropouts: no frame is left; shorten the stretches of kind frames",
                "dropouts: 남는 프레임이 없습니다. kind가 frames인 구간을 줄이십시오",
            )
        )
    if motion is None and audio is None:
        raise SettingsError(
            Text(
                f"{out}: sound = false and a file for sound alone leave nothing to write",
                f"{out}: sound = false이고 소리만 담는 파일이면 쓸 것이 없습니다",
            )
        )
    return _Play(script, person, container, speech, audio, motion)


# --- truth ----------------------------------------------------------------------------------------


def _truth(play: _Play, drawn: Drawn, stored: dict[str, Stored]) -> VideoTruth:
    script, speech, audio = play.script, play.speech, play.audio
    origin = min(stream.start_s for stream in stored.values())
    shift = float(origin)
    dropouts: list[tuple[str, Interval]] = [(d.kind, _on_file(d.start_s, d.end_s, shift))
                for d in script.dropouts if d.kind != "sound"]  # fmt: skip
    if audio is not None:
        rate = audio.rate_hz
        dropouts += [("sound", _on_file(a / rate, b / rate, shift)) for a, b in audio.holes]
    return VideoTruth(
        head=_head(play, stored, origin),
        frames=_frame_truth(play, drawn, stored["video"], origin) if play.motion else None,
        voice=voice_truth(script, speech, audio, shift) if speech and audio else None,
        utterances=utterances_of(script, speech, shift) if speech and audio else (),
        blinks_s=() if play.motion is None
        else tuple(round(b - shift, 6) for b in play.motion.blinks_s),
        dropouts=tuple(sorted(dropouts, key=lambda row: row[1])),
        visitors=tuple(_on_file(v.start_s, v.end_s, shift) for v in script.visitors),
    )  # fmt: skip


def _on_file(start_s: float, end_s: float, origin_s: float) -> Interval:
    return Interval(start_s - origin_s, end_s - origin_s)


def _frame_truth(play: _Play, drawn: Drawn, stream: Stored, origin: Fraction) -> FrameTruth:
    motion = play.motion
    assert motion is not None
    # As the container rounds: half a tick goes up.
    unit = stream.time_base
    exact = [(tick * motion.time_base) / unit + Fraction(1, 2) for tick in motion.ticks.tolist()]
    times = np.array([float(math.floor(t) * unit - origin) for t in exact])
    expressions = [motion.expression(k) for k in range(len(times))]
    mouths = (mouth_shape(play.person, e) for e in expressions)
    gaps = [m.inner_lower[_MIDDLE, 1] - m.inner_upper[_MIDDLE, 1] for m in mouths]
    return FrameTruth(
        times_s=times,
        visible=drawn.visible,
        n_faces=drawn.n_faces,
        cartoon=motion.cartoon,
        emotions=motion.weights,
        labels=LABELS,
        pose_deg=pose_angles(np.stack([rotation_of(*row) for row in motion.pose_deg.tolist()])),
        boxes_xyxy=drawn.boxes,
        mouth_open=np.array([e.mouth_open for e in expressions]),
        mouth_gap=np.array([gap / (2.0 * play.person.eye_distance) for gap in gaps]),
        eye_open=np.array([e.eye_open for e in expressions]),
    )


def _head(play: _Play, stored: dict[str, Stored], origin: Fraction) -> dict[str, Any]:
    script, speech = play.script, play.speech
    versions = {"nunbit": nunbit_version(), "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in ("numpy", "pillow", "av")}
    if speech is not None and speech.source == "espeak":
        versions["espeak"] = espeak_version() or ""
    return {
        "format": FORMAT,
        "synthetic": True,
        "seed": script.seed,
        "versions": versions,
        "script": settings_to_dict(script),
        "person": {"seed": script.person, "gender": play.person.gender, "age": play.person.age},
        "streams": {
            kind: {"start_s": round(float(stream.start_s - origin), 9),
                   "time_base": str(stream.time_base)}
            for kind, stream in sorted(stored.items())
        },
        "duration_s": round(script.duration_s - float(origin), 9),
        "origin_s": round(float(origin), 9),
        "speaker": None if speech is None else speech.source,
        "av_offset_s": script.audio_offset_s,
        "convention": "yaw + to the image's right, pitch + down, roll + clockwise, degrees, as "
        "nunbit.pictures.landmarks.pose_angles has them; times in seconds of the file's clock",
    }  # fmt: skip
