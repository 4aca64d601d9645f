"""What an earlier run observed of a recording, with the words that are wanted now."""

from __future__ import annotations

import dataclasses

from nunbit.core.streams import MediaInfo
from nunbit.recording.observer import Observed
from nunbit.recording.read import ReadingKey
from nunbit.recording.words import needs_listening, read_companions, words_of
from nunbit.stories.analyze.answers import gone
from nunbit.stories.analyze.job import SessionJob, inputs_of
from nunbit.stories.analyze.kept import Kept, read_kept


def kept_of(job: SessionJob) -> Kept | None:
    """What an earlier run observed, with the words of this one; None where it does not fit."""
    kept = read_kept(job.kept_in)
    if kept is None or kept.head.key != key_of(job, kept.observed.media):
        return None
    return dataclasses.replace(kept, observed=_with_words(job, kept))


def _with_words(job: SessionJob, kept: Kept) -> Observed:
    """What was observed, with transcript and diarisation as they are given now."""
    seen, recording = kept.observed, job.recording
    keeps = _keeps_words(job, kept)
    asked = recording
    if keeps:  # then there is nothing to recognise or to place
        calm = dataclasses.replace(recording.settings, asr="")
        path = None if _is_placed(job) else recording.transcript
        asked = dataclasses.replace(recording, settings=calm, transcript=path)
    given = read_companions(asked, seen.media)
    if keeps and not kept.head.recognised:
        given = dataclasses.replace(given, transcript=seen.transcript)
    if given.recogniser is not None and not recording.there:
        raise gone(recording, "words")
    keeps_speakers = job.from_kept and recording.speakers is None
    speakers = seen.speakers if keeps_speakers else given.speakers
    words, fit = words_of(recording, given, seen.voice, seen.media.duration_s)
    if keeps and kept.head.recognised:
        words = seen.transcript
    return dataclasses.replace(seen, transcript=words, speakers=speakers, fit=fit)


def _keeps_words(job: SessionJob, kept: Kept) -> bool:
    """Whether the words kept are those wanted: recognised alike, or not given anew."""
    wanted, had = job.recording.settings, kept.head.settings
    same = all(
        getattr(wanted, name) == getattr(had, name) for name in ("asr", "asr_model", "language")
    )
    if _is_placed(job):
        return same and inputs_of(job).get("transcript") == kept.head.inputs.get("transcript")
    return job.recording.transcript is None and same and (job.from_kept or kept.head.recognised)


def _is_placed(job: SessionJob) -> bool:
    """Whether the words are given, and their times come from the sound."""
    path = job.recording.transcript
    return path is not None and needs_listening(path, job.recording.settings.asr)


def recognised(job: SessionJob, seen: Observed, kept: Kept | None) -> bool:
    """Whether the words were recognised, and not given."""
    if kept is not None and _keeps_words(job, kept):
        return kept.head.recognised
    return seen.transcript is not None and job.recording.transcript is None


def key_of(job: SessionJob, media: MediaInfo) -> ReadingKey:
    """What needs the recording again where it differs; all else is derived from what is kept."""
    return ReadingKey.of(job.recording, media, inputs_of(job)["media"])
