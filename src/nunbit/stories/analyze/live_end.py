"""The end of a live session: its folder gets the tables that ``nunbit analyze`` writes.

Faces are those that were read while it ran. The voice is read from the kept sound, in both passes;
the measures that need the end are made now. After a crash the folder alone will do: pictures and
sound where they were kept, else what was observed, and the voice as it was heard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nunbit.core.messages import InputError, MissingExtra, Text
from nunbit.core.spans import flags_of
from nunbit.core.streams import (
    AUDIO_RATE_HZ,
    VOICE_HOP_S,
    AudioInfo,
    Flags,
    MediaInfo,
    Singles,
    Transcript,
    VideoInfo,
    VoiceStream,
)
from nunbit.live.events import LiveSettings
from nunbit.live.recorder import (
    MEDIA_FILE,
    PARTS_FILE,
    HeardPart,
    KeptSound,
    read_lines,
    read_parts,
    reading_settings,
)
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.recording.face_part import FacePart
from nunbit.recording.media import iter_audio, level_notes, probe_media
from nunbit.recording.observer import Observed, Observer, RecordingJob, Replay
from nunbit.recording.transcript import load_recogniser
from nunbit.recording.transcript.assemble import assemble
from nunbit.recording.transcript.cues import Cue, Cues
from nunbit.recording.voice.level import frame_count, voice_times
from nunbit.recording.voice.pitch import personal_range
from nunbit.recording.voice.voice_reader import intervals_of, speech_runs
from nunbit.stories.analyze.answers import Watched
from nunbit.stories.analyze.job import AnalyzeSettings, SessionJob, is_done
from nunbit.stories.analyze.session import analyse_session

_LEAST_BASELINE_S = 60.0  # as AnalyzeSettings.baseline has it


def finish_live(folder: Path, sound: KeptSound | None = None) -> Mapping[str, Any]:
    """Write the tables of a session's folder.

    Args:
        folder: Of the session.
        sound: Its sound, where no file has it; None after a crash.

    Returns:
        ``summary.json``.

    Raises:
        InputError: There is no session here, nothing of it was kept, or it cannot be written.
        BundleError: The model it was read with is gone.
    """
    lines = list(read_lines(folder))
    if not lines or lines[0].get("type") != "start":
        raise InputError(
            Text(
                f"{folder}: no live session here (no live.jsonl)",
                f"{folder}: 실시간 세션이 없습니다(live.jsonl 없음)",
            )
        )
    start, settings = lines[0], msgspec.convert(lines[0]["settings"], LiveSettings)
    bundle = _bundle(start)
    job = _job(folder, settings, bundle, lines)
    if is_done(job):
        return dict(msgspec.json.decode((folder / "summary.json").read_bytes()))
    if not any(True for _ in read_parts(folder)):
        if not job.recording.there:
            raise InputError(
                Text(
                    f"{folder}: nothing of this session was kept; it ended before its first second",
                    f"{folder}: 이 세션에서 남은 것이 없습니다. 첫 1초 전에 끝났습니다",
                )
            )
        return analyse_session(job, _nothing)
    document = analyse_session(job, _nothing, watched=_watched(job, settings, bundle, lines, sound))
    (folder / PARTS_FILE).unlink(missing_ok=True)
    return document


finish = finish_live


def _nothing(_: int) -> None:
    return


def _bundle(start: dict[str, Any]) -> Bundle:
    path = Path(start["bundle"])
    bundle = load_bundle(path if path.is_dir() else default_bundle_path(), threads=1)
    if bundle.hash != start["bundle_hash"]:
        raise InputError(
            Text(
                f"{path}: the model this session was read with is gone or was changed; bring it "
                "back",
                f"{path}: 이 세션을 읽은 모델이 없거나 바뀌었습니다. 되돌려 놓으십시오",
            )
        )
    return bundle


def _job(
    folder: Path, given: LiveSettings, bundle: Bundle, lines: Sequence[dict[str, Any]]
) -> SessionJob:
    reading = reading_settings(given, bundle)
    own = {f.name for f in fields(AnalyzeSettings)}
    settings = AnalyzeSettings(
        **{f.name: getattr(reading, f.name) for f in fields(reading) if f.name in own}
        | {"window_s": given.window_s, "hop_s": given.hop_s, "subject": given.subject},
        baseline=_baseline(lines),
    )
    media = folder / MEDIA_FILE
    there = media.is_file() and media.stat().st_size > 0
    inputs: tuple[tuple[str, str], ...] = ()
    if not there:
        # Stands for the recording that was not kept: the session's first line, which no other has.
        digest = hashlib.sha256(msgspec.json.encode(lines[0])).hexdigest()
        inputs = (("media", digest),)
    recording = RecordingJob(
        media=media,
        session=folder.resolve().name,
        parts_folder=folder / "session.unfinished",
        transcript=None,
        speakers=None,
        bundle=bundle.path,
        bundle_hash=bundle.hash,
        settings=settings.reading(),
        there=there,
    )
    return SessionJob(recording, folder, settings, kept_in=folder, inputs=inputs)


def _baseline(lines: Sequence[dict[str, Any]]) -> str:
    """The stretch that was marked as neutral, the last one that is long enough; '' without one."""
    found, begun = "", None
    for line in lines:
        if line.get("type") != "note":
            continue
        if line["kind"] == "neutral_start":
            begun = float(line["t"])
        elif line["kind"] == "neutral_end" and begun is not None:
            if line["t"] - begun >= _LEAST_BASELINE_S:
                found = f"{begun:.3f}-{line['t']:.3f}"
            begun = None
    return found


def _watched(
    job: SessionJob,
    given: LiveSettings,
    bundle: Bundle,
    lines: Sequence[dict[str, Any]],
    sound: KeptSound | None,
) -> Watched:
    """All that was observed of the session."""
    folder, there = job.folder, job.recording.there
    replay: Replay | None = None
    if given.sound:
        replay = partial(iter_audio, folder / MEDIA_FILE) if there else None
        replay = sound.replay if sound is not None and not there else replay
    media = probe_media(folder / MEDIA_FILE) if there else _media(folder, given, lines, sound)
    hears = media.audio is not None and replay is not None
    read = media if hears else replace(media, audio=None)
    observer = Observer(bundle, job.recording.settings.face_settings(media), read)
    faces = observer.faces
    if faces is not None:
        for part in _face_parts(folder):
            faces.restore(part)
    for chunk in replay() if hears and replay is not None else ():
        observer.push(chunk)
    seen = observer.finish(media.duration_s, replay, _face_parts(folder))
    reading = list(seen.reading)
    if sound is not None and not there:
        reading += level_notes(sound.facts())
    seen = replace(seen, media=media, reading=tuple(reading))
    if replay is None and given.sound:
        seen = replace(seen, voice=_heard(folder, media.duration_s), notices=(_AS_HEARD,))
    return Watched(replace(seen, transcript=_words(job, seen, replay, lines)), replay)


def _face_parts(folder: Path) -> Iterator[FacePart]:
    return (part for part in read_parts(folder) if isinstance(part, FacePart))


def _media(
    folder: Path,
    given: LiveSettings,
    lines: Sequence[dict[str, Any]],
    sound: KeptSound | None,
) -> MediaInfo:
    """What a file of the session would hold."""
    first_s = last_s = heard_s = None
    for part in read_parts(folder):
        if isinstance(part, FacePart):
            first_s = float(part.times_s[0]) if first_s is None else first_s
            last_s = part.end_s
        else:
            heard_s = (part.first + len(part.present)) * VOICE_HOP_S
    if sound is not None:
        heard_s = sound.end_s
    picture = next((line for line in lines if line.get("type") == "picture"), None)
    video = audio = None
    if first_s is not None and last_s is not None and picture is not None:
        end_s = last_s + 1 / given.rate_hz
        size = int(picture["width"]), int(picture["height"])
        video = VideoInfo(*size, 0, f"{given.rate_hz:g}", first_s, end_s)
    if heard_s:
        audio = AudioInfo(AUDIO_RATE_HZ, 1, 0.0, heard_s)
    ends = [each.end_s for each in (video, audio) if each is not None]
    return MediaInfo(MEDIA_FILE, max(ends, default=0.0), video, audio)


def _heard(folder: Path, duration_s: float) -> VoiceStream | None:
    """The voice as it was heard while the session ran."""
    n = frame_count(duration_s)
    level, f0 = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    probability: Singles = np.zeros(n, np.float32)
    present: Flags = np.zeros(n, bool)
    clipped: Flags = np.zeros(n, bool)
    for part in read_parts(folder):
        if isinstance(part, HeardPart):
            rows = slice(part.first, part.first + len(part.present))
            for whole, own in (
                (level, part.level_dbfs), (f0, part.f0_hz), (probability, part.probability),
                (present, part.present), (clipped, part.clipped),
            ):  # fmt: skip
                whole[rows] = own[: len(whole[rows])]
    if not present.any():
        return None
    stretches = speech_runs(probability, level, present)
    speech = flags_of(stretches, n)
    f0[~speech] = np.nan
    return VoiceStream(
        times_s=voice_times(n), present=present, speech=speech, f0_hz=f0, level_dbfs=level,
        segments=intervals_of(stretches, duration_s), f0_range_hz=personal_range(f0),
        clipped=clipped,
    )  # fmt: skip


def _words(
    job: SessionJob, seen: Observed, replay: Replay | None, lines: Sequence[dict[str, Any]]
) -> Transcript | None:
    """The words, recognised from the whole sound; else as they were recognised live."""
    settings, why = job.recording.settings, _AS_RECOGNISED
    if not settings.asr or seen.voice is None:
        return None
    if replay is not None:
        try:
            recogniser = load_recogniser(settings.asr, settings.asr_model or None)
            return recogniser.transcribe(
                replay(), language=settings.language or None, speech=seen.voice.segments
            )
        except (InputError, MissingExtra) as exc:  # the model went: the words heard are kept
            why = _NO_RECOGNISER.fill(reason=exc.text)
    said = [line for line in lines if line.get("type") == "words"]
    cues = tuple(Cue(x["t_start"], x["t_end"], x["text"], confidence=x["confidence"]) for x in said)
    return assemble(job.folder, Cues(cues, settings.asr, settings.language or None, (why,)))


_AS_HEARD = Text(
    "the session was cut off and its sound was not kept: the voice is as it was heard while the "
    "session ran, its quality and its class probabilities are missing",
    "세션이 중간에 끊겼고 소리를 보관하지 않았습니다. 목소리는 진행 중에 들은 그대로이며, 음질과 "
    "클래스 확률은 없습니다",
)
_AS_RECOGNISED = Text(
    "the words are as they were recognised while the session ran",
    "말은 세션 중에 인식한 그대로입니다",
)
_NO_RECOGNISER = Text(
    "the words are as they were recognised while the session ran, since they cannot be recognised "
    "again: {reason}",
    "말을 다시 인식할 수 없어 세션 중에 인식한 그대로 둡니다: {reason}",
)
