"""What models and the recording itself say once it is known who is analysed and in which windows.

An answer that rests on the same as one kept from an earlier run is taken from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from nunbit.core.messages import InputError, Text
from nunbit.core.streams import FaceStream, Interval, Singles, Turn
from nunbit.core.timebase import intersect_intervals, window_grid
from nunbit.language.morphemes import analyser_missing
from nunbit.measures import turns_from
from nunbit.measures.class_probabilities import (
    Replay,
    TextChances,
    text_chances,
    voice_chances,
    voice_section,
)
from nunbit.measures.lips import PERSON, LipGuess, guess_speakers, lips_notice, names_missing
from nunbit.measures.wording import Wording, read_wording
from nunbit.model.encoders import Bundle
from nunbit.recording.media import iter_audio
from nunbit.recording.observer import Observed, RecordingJob
from nunbit.recording.synchrony import check_synchrony
from nunbit.recording.tracking import TargetChoice
from nunbit.space.windows import (
    AlignedWindows,
    WindowStreams,
    align_windows,
    masked_notice,
    verdict_notices,
)
from nunbit.stories.analyze.job import AnalyzeSettings


@dataclass(frozen=True, eq=False)
class Scene:
    """Who is analysed, when they have the floor, and the windows.

    Attributes:
        faces: With the person's tracks, None without video.
        choice: Who is who; None without video.
        turns: Turns of the recording.
        own: The person's turns.
        speech: Stretches in which the person speaks.
        windows: The grid.
        lips: The guess by lips that the turns rest on; None where they rest on something else.
    """

    faces: FaceStream | None
    choice: TargetChoice | None
    turns: tuple[Turn, ...]
    own: tuple[Interval, ...]
    speech: tuple[Interval, ...]
    windows: tuple[Interval, ...]
    lips: LipGuess | None = None

    @property
    def notices(self) -> tuple[Text, ...]:
        """About the choice of the person, and of who speaks."""
        said = () if self.choice is None else self.choice.notices
        return said if self.lips is None else (*said, lips_notice(self.lips))


@dataclass(frozen=True, eq=False)
class Answers:
    """What is known only by asking models, or the recording again.

    Attributes:
        spoken: (W, K) class probabilities of how each window is spoken, or None.
        text: Class probabilities of the sentences.
        wordings: (U,) what each sentence says of its sign; None without words.
        aligned: The windows in the shared space, None where the bundle is not aligned.
        sync: Offset between sound and picture, or why there is none.
        rest_on: Digest of what each of these was made from.
    """

    spoken: Singles | None
    text: TextChances
    wordings: tuple[Wording, ...] | None
    aligned: AlignedWindows | None
    sync: Mapping[str, Any]
    rest_on: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Watched:
    """A recording that was read while it ran: a live session.

    Attributes:
        seen: All that was observed.
        sound: Gives its sound again; None where that is gone.
    """

    seen: Observed
    sound: Replay | None


def scene_of(job: RecordingJob, seen: Observed, settings: AnalyzeSettings) -> Scene:
    """Choose the person and lay out turns and windows.

    Raises:
        SettingsError: The target box has no face.
        InputError: The target speaker is nobody's name.
    """
    faces, choice = None, None
    if seen.faces is not None:
        faces, choice = seen.faces.choose(job.settings.person)
    duration_s, voice = seen.media.duration_s, seen.voice
    given, target = seen.speakers.stretches, settings.target_speaker
    lips = _lips(faces, seen, settings)
    if lips is not None:
        given, target = lips.stretches, PERSON
    turns = turns_from(voice, seen.transcript, given, duration_s, target=target)
    own = tuple(turn.interval for turn in turns if turn.target)
    return Scene(
        faces=faces,
        choice=choice,
        turns=turns,
        own=own,
        speech=intersect_intervals(voice.segments, own) if voice else (),
        windows=window_grid(duration_s, settings.window_s, settings.hop_s),
        lips=lips,
    )


def _lips(faces: FaceStream | None, seen: Observed, settings: AnalyzeSettings) -> LipGuess | None:
    """The guess by lips where it is to be used: nothing names speakers, and it is sure enough."""
    if settings.lips == "never" or settings.single_speaker or settings.target_speaker:
        return None
    if seen.voice is None or not names_missing(seen.speakers.stretches, seen.transcript):
        return None
    guess = guess_speakers(faces, seen.voice.segments)
    asked = settings.lips == "always" and any(name == PERSON for _, name in guess.stretches)
    return guess if not guess.reason or asked else None


def derivable(kept: Answers, rest_on: Mapping[str, str]) -> bool:
    """Whether all else follows from what is kept.

    Not so where other windows of an aligned bundle are wanted: vectors of faces are not kept, so
    the recording has to be read again.
    """
    return kept.aligned is None or kept.rest_on.get("aligned") == rest_on["aligned"]


def answers_of(
    job: RecordingJob,
    bundle: Bundle,
    seen: Observed,
    scene: Scene,
    rest_on: Mapping[str, str],
    kept: Answers | None,
    watched: Watched | None = None,
) -> Answers:
    """Ask the recording, then the models; or take what is kept.

    Args:
        job: Where the recording is.
        bundle: The loaded bundle.
        seen: What was observed.
        scene: Who and when.
        rest_on: What the answers rest on, see :func:`resting_on`.
        kept: Of an earlier run, or None.
        watched: A live session instead of a recording: without pictures to ask, perhaps without
            sound.

    Raises:
        InputError: The recording has to be asked and is gone.
    """

    def chosen(name: str, ask: Callable[[], Any], *, asks_recording: bool = False) -> Any:
        if kept is not None and kept.rest_on.get(name) == rest_on[name]:
            return getattr(kept, name)
        if asks_recording and not job.there and watched is None:
            raise gone(job, name)
        return ask()

    def in_sync() -> Mapping[str, Any]:
        if watched is not None and not job.there and both:
            return {"reason": "not_kept"}
        return check_synchrony(job.media, seen.media, scene.faces, voice, scene.speech)

    voice, words = seen.voice, seen.transcript
    both = voice is not None and scene.faces is not None
    sync = chosen("sync", in_sync, asks_recording=both)
    sound: Replay | None = partial(iter_audio, job.media, audio_stream=job.settings.audio_stream)
    if watched is not None:
        sound = watched.sound
    heard = voice is not None and voice_section(bundle) is not None
    spoken = chosen(
        "spoken",
        lambda: (
            None
            if voice is None or sound is None
            else voice_chances(bundle, sound, scene.windows, voice, scene.own or None)
        ),
        asks_recording=heard,
    )
    wordings = chosen("wordings", lambda: None if words is None else read_wording(words))
    given = WindowStreams(scene.faces, voice, words, scene.turns, scene.windows)
    return Answers(
        spoken=spoken,
        text=chosen("text", lambda: text_chances(bundle, words, wordings)),
        wordings=wordings,
        aligned=chosen("aligned", lambda: align_windows(bundle, given)),
        sync=sync,
        rest_on=rest_on,
    )


def resting_on(bundle: Bundle, seen: Observed, scene: Scene) -> dict[str, str]:
    """Digest of what each answer is made from, by its name."""
    targets = () if scene.faces is None else scene.faces.targets
    words, analysed = seen.transcript, analyser_missing() is None
    made_from = {
        "spoken": (bundle.hash, scene.windows, scene.own),
        "text": (bundle.hash, words, analysed),
        "wordings": (words, analysed, "function"),
        "aligned": (bundle.hash, scene.windows, scene.turns, targets, words),
        "sync": (targets, scene.speech),
    }
    return {name: _digest(things) for name, things in made_from.items()}


def _digest(things: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(things)).hexdigest()[:16]


def gone(job: RecordingJob, what: str) -> InputError:
    """The error where the recording is needed and is not there."""
    why = _WHY[what]
    return InputError(
        Text(
            f"{job.media}: the recording is gone, and {why.en}; bring it back, or leave these "
            "settings as they were",
            f"{job.media}: 녹화가 없는데 {why.ko}. 녹화를 되돌려 놓거나 이 설정을 그대로 두십시오",
        )
    )


_WHY = {
    "spoken": Text(
        "other windows, or another person's turns, need its sound",
        "구간이나 분석할 화자를 바꾸면 소리를 다시 들어야 합니다",
    ),
    "sync": Text(
        "another person to analyse needs its pictures",
        "분석할 사람을 바꾸면 화면을 다시 보아야 합니다",
    ),
    "reading": Text(
        "what was kept of it is damaged, or was read with another bundle or other settings",
        "남아 있는 자료는 손상되었거나 다른 번들이나 설정으로 읽은 것입니다",
    ),
    "words": Text("its words are to be recognised", "말을 인식해야 합니다"),
}


def masked(answers: Answers, settings: AnalyzeSettings) -> Text | None:
    """The notice about masked or unproven agreement; None if every pair was found."""
    if answers.aligned is None:
        return None
    return masked_notice(answers.aligned.verdicts, settings.unproven_agreement)


def verdicts(answers: Answers, settings: AnalyzeSettings) -> tuple[Text, ...]:
    """What the alignment of the bundle is worth, and what became of it."""
    if answers.aligned is None:
        return ()
    about = masked(answers, settings)
    return (*verdict_notices(answers.aligned.verdicts), *(() if about is None else (about,)))
