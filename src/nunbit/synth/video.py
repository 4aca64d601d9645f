"""Renders a script: OUT.mp4, OUT.truth.json and OUT.srt.

The picture goes through the same drawing as the stills and the sound through its own source; what
was really drawn and sounded is written down beside them.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.config import settings_to_dict
from nunbit.errors import Lang, SettingsError
from nunbit.files import atomic_path, write_text
from nunbit.headpose import pose_angles
from nunbit.progress import Progress
from nunbit.provenance import nunbit_version
from nunbit.streams import Floats, Interval
from nunbit.synth.espeak import espeak_version
from nunbit.synth.expression import Expression
from nunbit.synth.features import mouth_shape
from nunbit.synth.geometry import Pose, rotation_of
from nunbit.synth.motion import LABELS, Motion, plan_motion, visible_share
from nunbit.synth.mux import (
    Audio,
    Container,
    Pictures,
    Stored,
    Video,
    block_of,
    container_of,
    load_av,
    stored_streams,
    write_media,
)
from nunbit.synth.people import Person, sample_person
from nunbit.synth.script import VideoScript, load_script
from nunbit.synth.soundtrack import heard, holes_of, utterances_of, voice_truth
from nunbit.synth.speech import SpeechTrack, speak_script
from nunbit.synth.stage import Actor, Stage, visitor_state
from nunbit.synth.truth import FORMAT, FrameTruth, VideoTruth, srt_text, write_truth

__all__ = ["VideoScript", "load_script", "render_video", "transcript_path", "truth_path"]

_PROGRESS_EVERY = 25
_MIDDLE = 12  # of the 25 points of a lip


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What became visible in each frame, gathered while drawing."""

    visible: Floats
    n_faces: NDArray[np.int64]
    boxes: Floats


@dataclass(frozen=True, eq=False)
class _Play:
    """A script, evaluated."""

    script: VideoScript
    person: Person
    container: Container
    speech: SpeechTrack | None
    audio: Audio | None
    motion: Motion | None


def render_video(out: Path, script: VideoScript, *, lang: Lang) -> dict[str, Any]:
    """Render a script.

    Args:
        out: File to write; the suffix decides the container (mp4, mov, mkv; wav, m4a and mka hold
            the sound alone). ``OUT.truth.json`` and, if anything is said, ``OUT.srt`` go beside.
        script: What is shown and said.
        lang: Language of the progress lines.

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
    drawn = _Drawn(np.zeros(total), np.zeros(total, dtype=np.int64), np.full((total, 4), math.nan))
    title = "영상 그리기" if lang == "ko" else "rendering"
    with atomic_path(out) as partial:
        with Progress(title, total, "frame", lang=lang) as progress:
            pictures = _pictures(play, drawn, progress)
            write_media(partial, play.container, _video(play), play.audio, pictures)
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
    audio = None
    if speech is not None:
        audio = heard(script, speech, block_of(container.audio_codec, script.audio_rate_hz))
    motion = plan_motion(script, person, speech) if container.has_video else None
    if motion is not None and not len(motion.times_s):
        raise SettingsError(
            en="dropouts: no frame is left; shorten the stretches of kind frames",
            ko="dropouts: 남는 프레임이 없습니다. kind가 frames인 구간을 줄이십시오",
        )
    if motion is None and audio is None:
        raise SettingsError(
            en=f"{out}: sound = false and a file for sound alone leave nothing to write",
            ko=f"{out}: sound = false이고 소리만 담는 파일이면 쓸 것이 없습니다",
        )
    return _Play(script, person, container, speech, audio, motion)


def _video(play: _Play) -> Video | None:
    if play.motion is None:
        return None
    script = play.script
    rate = script.frame_rate or Fraction(24)
    return Video((script.width, script.height), play.motion.time_base, rate, script.crf)


def _pictures(play: _Play, drawn: _Drawn, progress: Progress) -> Pictures:
    """Draw frame after frame and note what is to be seen."""
    motion, script = play.motion, play.script
    if motion is None:
        return
    stage = Stage((script.width, script.height), script.scene, script.seed)
    for k, tick in enumerate(motion.ticks.tolist()):
        now = float(motion.times_s[k])
        if motion.cartoon[k]:
            yield tick, stage.cartoon(now)
        else:
            actors = list(_visitors(script, now))
            drawn.n_faces[k] = len(actors)
            if motion.shown[k]:
                actor = Actor(play.person, motion.expression(k), motion.pose(k))
                drawn.boxes[k] = actor.box_xyxy
                drawn.visible[k] = visible_share(actor.box_xyxy, script.width, script.height)
                drawn.n_faces[k] += drawn.visible[k] > 0
                actors.append(actor)
            yield tick, stage.show(tuple(actors))
        if k % _PROGRESS_EVERY == _PROGRESS_EVERY - 1:
            progress.advance(_PROGRESS_EVERY)


def _visitors(script: VideoScript, now: float) -> Iterator[Actor]:
    for visitor in script.visitors:
        if visitor.start_s <= now < visitor.end_s:
            pose = Pose(visitor.x * script.width, visitor.y * script.height,
                        visitor.scale * script.height)  # fmt: skip
            person = sample_person(np.random.default_rng(visitor.person))
            yield visitor_state(now, visitor.start_s, pose, person)


# ---------------------------------------------------------------- truth


def _truth(play: _Play, drawn: _Drawn, stored: dict[str, Stored]) -> VideoTruth:
    script, speech, audio = play.script, play.speech, play.audio
    origin = min(stream.start_s for stream in stored.values())
    shift = float(origin)
    frames = None if play.motion is None else _frame_truth(play, drawn, stored["video"], origin)
    dropouts: list[tuple[str, Interval]] = [(d.kind, _on_file(d.start_s, d.end_s, shift))
                for d in script.dropouts if d.kind != "sound"]  # fmt: skip
    if audio is not None:
        dropouts += [("sound", hole) for hole in holes_of(audio, shift)]
    heard_words = speech is not None and audio is not None
    return VideoTruth(
        head=_head(play, stored, origin),
        frames=frames,
        voice=voice_truth(script, speech, audio, shift) if speech and audio else None,
        utterances=utterances_of(script, speech, shift) if speech and heard_words else (),
        blinks_s=() if play.motion is None
        else tuple(round(b - shift, 6) for b in play.motion.blinks_s),
        dropouts=tuple(sorted(dropouts, key=lambda row: row[1])),
        visitors=tuple(_on_file(v.start_s, v.end_s, shift) for v in script.visitors),
    )  # fmt: skip


def _on_file(start_s: float, end_s: float, origin_s: float) -> Interval:
    return Interval(start_s - origin_s, end_s - origin_s)


def _frame_truth(play: _Play, drawn: _Drawn, stream: Stored, origin: Fraction) -> FrameTruth:
    motion = play.motion
    assert motion is not None
    # As the container rounds: half a tick goes up.
    unit = stream.time_base
    exact = [(tick * motion.time_base) / unit + Fraction(1, 2) for tick in motion.ticks.tolist()]
    times = np.array([float(math.floor(t) * unit - origin) for t in exact])
    expressions = [motion.expression(k) for k in range(len(times))]
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
        mouth_gap=np.array([_mouth_gap(play.person, e) for e in expressions]),
        eye_open=np.array([e.eye_open for e in expressions]),
    )


def _mouth_gap(person: Person, expression: Expression) -> float:
    """Inner lip gap over the distance of the pupils."""
    shape = mouth_shape(person, expression)
    gap = shape.inner_lower[_MIDDLE, 1] - shape.inner_upper[_MIDDLE, 1]
    return float(gap / (2.0 * person.eye_distance))


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
        "nunbit.headpose.pose_angles has them; times in seconds of the file's clock",
    }  # fmt: skip
