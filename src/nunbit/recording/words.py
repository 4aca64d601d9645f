"""What belongs to a recording besides its pictures and its sound: words, speakers, a recogniser.

Words are given with times, given without (then their places are looked for in the sound), or
recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nunbit.core.messages import InputError, Text
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import MediaInfo, Transcript, VoiceStream
from nunbit.recording.media import iter_audio
from nunbit.recording.observer import RecordingJob
from nunbit.recording.transcript import (
    Diarisation,
    KeptBlocks,
    Recogniser,
    Script,
    fit_notes,
    fit_words,
    load_recogniser,
    place_script,
    read_rttm,
    read_words,
    refine_cues,
    said_intervals,
)
from nunbit.runtime.progress import say


@dataclass(frozen=True, eq=False)
class Companions:
    """What belongs to a recording besides its pictures and its sound.

    Attributes:
        transcript: As given, or None.
        speakers: Who spoke when; nobody where no diarisation was given.
        recogniser: For the words where none were given and they are asked for, and to place a
            script; else None.
        script: The transcript as given where it has no times; then ``transcript`` is None.
    """

    transcript: Transcript | None
    speakers: Diarisation
    recogniser: Recogniser | None = None
    script: Script | None = None


def read_companions(job: RecordingJob, info: MediaInfo) -> Companions:
    """Transcript, diarisation and recogniser of a recording.

    Raises:
        InputError: A file cannot be read or is that of another recording; or the recogniser's model
            is not here or does not know the language.
        MissingExtra: The recogniser asked for is not installed.
    """
    transcript, script = None, None
    if job.transcript is not None:
        given = read_words(job.transcript, duration_s=info.duration_s, media=info.name)
        if isinstance(given, Script):
            script = _with_sound(job.transcript, given, info)
        else:
            transcript = given
    speakers = (
        Diarisation(())
        if job.speakers is None
        else read_rttm(job.speakers, duration_s=info.duration_s, media=info.name)
    )
    recogniser, settings = None, job.settings
    asked = settings.asr or ("auto" if script is not None else "")
    if (transcript is None or is_loose(transcript)) and asked and info.audio is not None:
        recogniser = load_recogniser(
            asked, settings.asr_model or None, allow_download=settings.asr_download
        )
        recogniser.check_language(settings.language or None)
    return Companions(transcript, speakers, recogniser, script)


def _with_sound(path: Path, script: Script, info: MediaInfo) -> Script:
    if info.audio is None:
        raise InputError(
            Text(
                "this transcript has no times and the recording has no sound to place its words",
                "시각이 없는 전사인데 녹화에 소리가 없어 단어의 자리를 찾을 수 없습니다",
            ).under(path)
        )
    return script


def needs_listening(path: Path, asr: str) -> bool:
    """Whether the words of a transcript get their times from the sound.

    Args:
        path: The transcript.
        asr: Recogniser asked for, '' for none.

    Raises:
        InputError: It cannot be read.
    """
    found = read_words(path)
    return isinstance(found, Script) or (bool(asr) and is_loose(found))


def is_loose(transcript: Transcript) -> bool:
    """Whether most words of a transcript have no times of their own: subtitles, for example."""
    words = [word.estimated for utterance in transcript.utterances for word in utterance.words]
    return 2 * sum(words) > len(words)


def words_of(
    job: RecordingJob, given: Companions, voice: VoiceStream | None, duration_s: float
) -> tuple[Transcript | None, tuple[ReadingNote, ...]]:
    """The words as given or recognised, with notes where given ones do not lie on speech."""
    if voice is None:
        return given.transcript, ()
    transcript = given.transcript
    fit: tuple[ReadingNote, ...] = ()
    if transcript is not None:
        fit = fit_notes(fit_words(voice.segments, said_intervals(transcript), duration_s))
    if given.recogniser is None:
        return transcript, fit
    heard = _recognised(job, given.recogniser, voice)
    words = [word for utterance in heard.utterances for word in utterance.words]
    language = heard.language or job.settings.language or None
    if transcript is not None:
        return refine_cues(transcript, words, language), fit
    if given.script is None or job.transcript is None:
        return heard, ()
    return place_script(
        given.script, words, voice.segments, path=job.transcript, language=language
    ).transcript, ()


def _recognised(job: RecordingJob, recogniser: Recogniser, voice: VoiceStream) -> Transcript:
    """Words by the recogniser asked for; going on where a run before was ended."""
    settings, language = job.settings, job.settings.language or None
    key = {"engine": recogniser.engine, "model": settings.asr_model or None, "language": language}
    kept = KeptBlocks(job.parts_folder, key)
    if len(kept):
        say(
            Text(
                f"{job.session}: {len(kept)} stretch(es) of speech were recognised earlier; "
                "resuming",
                f"{job.session}: 말소리 {len(kept)}구간은 이미 인식했으므로 이어서 진행합니다",
            )
        )
    return recogniser.transcribe(
        iter_audio(job.media, audio_stream=settings.audio_stream),
        language=language,
        speech=voice.segments,
        kept=kept,
    )
