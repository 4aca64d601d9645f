"""One recording from its file to its folder: decode once, measure, fuse, write, render."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nunbit.analyze.aligned import (
    Seen,
    agreement_blocks,
    align_windows,
    masked_notice,
    verdict_notices,
    write_windows,
)
from nunbit.analyze.baseline import baseline_notices, told_of
from nunbit.analyze.document import summary_document
from nunbit.analyze.face_part import remove_parts
from nunbit.analyze.observe import Observed, SessionJob, observe
from nunbit.analyze.synchrony import check_synchrony
from nunbit.analyze.voice_chances import voice_chances
from nunbit.analyze.words import Missing, read_words, text_chances
from nunbit.analyze.written import describe_written, is_whole, stamps
from nunbit.config import settings_to_dict
from nunbit.encoders import Bundle, load_bundle
from nunbit.errors import InputError
from nunbit.exports import EXPORTS, SUFFIXES, write_timeline
from nunbit.files import read_json, sha256_file, write_json, writing
from nunbit.fuse import find_episodes, find_states, fuse_windows
from nunbit.landmarks import MODEL_INSTALL, RUNTIME_INSTALL, landmarks_missing
from nunbit.measures import (
    MeasureInput,
    compute_measures,
    measure_notices,
    turns_from,
)
from nunbit.media import iter_audio, probe_media
from nunbit.memory import give_back_freed_memory
from nunbit.progress import say
from nunbit.protocol import protocol, unsaid
from nunbit.provenance import provenance
from nunbit.report import render_timeline
from nunbit.report.timeline_view import UNPROVEN
from nunbit.schema import SYNTHETIC_MARK
from nunbit.streams import (
    FaceStream,
    MediaInfo,
    Timeline,
    Transcript,
    VoiceStream,
)
from nunbit.timebase import intersect_intervals, window_grid
from nunbit.transcript import (
    Diarisation,
    KeptBlocks,
    Recogniser,
    fit_notes,
    fit_words,
    load_recogniser,
    read_rttm,
    said_intervals,
)

SUMMARY = "summary.json"
Notices = list[tuple[str, str]]

VOICE_APART = (
    "the voice tower is experimental (acted speech only): its probabilities are shown, but take "
    "part neither in the fused index nor in disagreement. --set fuse_voice=true takes them into "
    "the fused index, never into disagreement",
    "음성 인코더는 실험적입니다(연기한 음성으로만 학습). 확률은 보여 주지만 결합 지수와 불일치에는 "
    "넣지 않습니다. --set fuse_voice=true를 주면 결합 지수에는 넣고, 불일치에는 어떤 경우에도 넣지 "
    "않습니다",
)
VOICE_FUSED = (
    "as asked (fuse_voice), the experimental voice tower (acted speech only) takes part in the "
    "fused index; it takes no part in disagreement",
    "요청에 따라(fuse_voice) 실험적인 음성 인코더(연기한 음성으로만 학습)를 결합 지수에 "
    "넣었습니다. 불일치에는 넣지 않습니다",
)

# What changes speed or who does the work, and no result.
_FREE = frozenset({"threads", "workers", "overlap", "asr_download"})


def is_done(job: SessionJob) -> bool:
    """Whether the folder holds, whole, the result of the same file, bundle and settings."""
    path, report = job.folder / SUMMARY, job.folder / "report.html"
    if not path.is_file():
        return False
    try:
        summary = read_json(path)
        stored = summary["provenance"]
        return bool(
            job.media.is_file()
            and stored.get("settings") == _settings_of(job)
            and stored.get("inputs") == _inputs_of(job)
            and report.is_file()
            and report.stat().st_size
            and is_whole(job.folder, summary.get("files"))
        )
    except (InputError, AttributeError, KeyError, TypeError):
        return False  # no summary of this version


def analyse_session(job: SessionJob, advance: Callable[[int], None]) -> dict[str, Any]:
    """Analyse one recording and write its folder.

    Args:
        job: What to do.
        advance: Called with the number of media seconds that were read.

    Returns:
        ``summary.json``.

    Raises:
        InputError: The recording or a file beside it cannot be used.
        MissingExtra: A needed package is not installed.
    """
    document = _write_tables(job, advance)
    give_back_freed_memory()
    render_timeline(job.folder, lang=job.lang, embed=job.settings.embed, media=job.media)
    remove_parts(job.parts_folder)
    return document


def _write_tables(job: SessionJob, advance: Callable[[int], None]) -> dict[str, Any]:
    """Observe, measure, and write all but the report."""
    notices: Notices = []
    info = probe_media(job.media, audio_stream=job.settings.audio_stream, notices=notices)
    transcript = read_words(job.transcript, info)  # first: a wrong one should not cost an hour
    diarisation = read_speakers(job, info)
    recogniser = load_words(job, info) if transcript is None else None
    # A bundle of its own: its image tower goes when the faces are read.
    threads = job.settings.threads
    seen = observe(job, info, load_bundle(job.bundle, threads=threads), advance, notices)
    # What was odd about the recording; the report says it, too. Notes are said with the outcome.
    for en, ko in unsaid(notices, (*info.reading, *seen.reading)):
        say(f"{job.session}: {en if job.lang == 'en' else ko}")
    bundle = load_bundle(job.bundle, threads=threads)
    seen = with_word_fit(seen, transcript)
    if recogniser is not None and seen.voice is not None:
        transcript = recognise(job, recogniser, seen.voice)
    give_back_freed_memory()
    timeline, found = measure(job, seen, transcript, diarisation, bundle, notices)
    del seen  # and with it the landmarks, half of what a long recording holds
    with writing(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
    # The summary is what marks a folder as done: it goes last, and an old one goes first.
    (job.folder / SUMMARY).unlink(missing_ok=True)
    before = stamps(job.folder)
    document = summary_document(timeline, found)
    timeline = dataclasses.replace(timeline, document=document)
    write_timeline(job.folder, timeline)
    if found["aligned"] is not None:
        write_windows(
            job.folder, found["aligned"], session=job.session, bundle_hash=job.bundle_hash
        )
    for kind in job.settings.export:
        EXPORTS[kind](job.folder / f"{job.session}{SUFFIXES[kind]}", timeline)
    document["files"] = describe_written(job.folder, before)
    write_json(job.folder / SUMMARY, document)
    return document


def read_speakers(job: SessionJob, info: MediaInfo) -> Diarisation:
    """Who spoke when, from the file beside the recording; nobody where none was given.

    Raises:
        InputError: It cannot be read, or is that of another recording.
    """
    if job.speakers is None:
        return Diarisation(())
    return read_rttm(job.speakers, duration_s=info.duration_s, media=info.name)


def with_word_fit(seen: Observed, transcript: Transcript | None) -> Observed:
    """With a note where the words of a transcript do not lie where somebody speaks."""
    if transcript is None or seen.voice is None:
        return seen
    said = said_intervals(transcript)
    fit = fit_words(seen.voice.segments, said, seen.media.duration_s)
    return dataclasses.replace(seen, reading=(*seen.reading, *fit_notes(fit)))


def load_words(job: SessionJob, info: MediaInfo) -> Recogniser | None:
    """The recogniser asked for, loaded before the recording is read; None without sound.

    Raises:
        MissingExtra: It is not installed.
        InputError: Its model is not here or does not know the language.
    """
    settings = job.settings
    if not settings.asr or info.audio is None:
        return None
    recogniser = load_recogniser(
        settings.asr, settings.asr_model or None, allow_download=settings.asr_download
    )
    recogniser.check_language(settings.language or None)
    return recogniser


def recognise(job: SessionJob, recogniser: Recogniser, voice: VoiceStream) -> Transcript:
    """Words by the recogniser the user asked for; going on where a run before was ended."""
    settings = job.settings
    key = {
        "engine": recogniser.engine,
        "model": settings.asr_model or None,
        "language": settings.language or None,
    }
    kept = KeptBlocks(job.parts_folder, key)
    if len(kept):
        say(
            f"{job.session}: {len(kept)} stretch(es) of speech were recognised before, going on"
            if job.lang == "en"
            else f"{job.session}: 말소리 {len(kept)}구간은 이미 인식해 두었으므로 이어서 진행합니다"
        )
    return recogniser.transcribe(
        iter_audio(job.media, audio_stream=settings.audio_stream),
        language=settings.language or None,
        speech=voice.segments,
        kept=kept,
    )


def measure(
    job: SessionJob,
    seen: Observed,
    transcript: Transcript | None,
    speakers: Diarisation,
    bundle: Bundle,
    notices: Notices,
) -> tuple[Timeline, dict[str, Any]]:
    """Measures, fusion, episodes and states of what was observed."""
    settings, info = job.settings, seen.media
    windows = window_grid(info.duration_s, settings.window_s, settings.hop_s)
    turns = turns_from(
        seen.voice, transcript, speakers.stretches, info.duration_s, target=settings.target_speaker
    )
    text = text_chances(bundle, transcript)
    own = tuple(turn.interval for turn in turns if turn.target)
    spoken = None
    if seen.voice is not None:
        sound = partial(iter_audio, job.media, audio_stream=settings.audio_stream)
        spoken = voice_chances(bundle, sound, windows, seen.voice, own or None)
    given = MeasureInput(
        duration_s=info.duration_s,
        labels=bundle.label_set.ids,
        unvalidated=frozenset(bundle.document.get("unvalidated_labels") or ()),
        faces=seen.faces,
        voice=seen.voice,
        transcript=transcript,
        turns=turns,
        windows=windows,
        baseline=settings.baseline_interval(),
        full_rate=settings.full_rate,
        text_probabilities=text.chances,
        text_reasons=text.reasons,
        voice_probabilities=spoken,
        apart=frozenset() if spoken is None or settings.fuse_voice else frozenset({"voice"}),
        experimental=frozenset() if spoken is None else frozenset({"voice"}),
        label_set=bundle.label_set,
        voice_quality=seen.quality,
        single_speaker=settings.single_speaker,
        seed=settings.seed,
    )
    if given.experimental:
        notices.append(VOICE_APART if given.apart else VOICE_FUSED)
    unproven = False
    aligned = align_windows(bundle, Seen(seen.faces, seen.voice, transcript, turns, windows))
    if aligned is not None:
        about = masked_notice(aligned.verdicts, settings.unproven_agreement)
        unproven = about is not None and settings.unproven_agreement
        said = [*verdict_notices(aligned.verdicts), about]
        for notice in (pair for pair in said if pair is not None):
            notices.append(notice)
            say(f"{job.session}: {notice[job.lang == 'ko']}")
    speech = intersect_intervals(seen.voice.segments, own) if seen.voice else ()
    sync = check_synchrony(job.media, info, seen.faces, seen.voice, speech)
    bundle.unload()
    give_back_freed_memory()
    blocks = (
        *compute_measures(given),
        *fuse_windows(given),
        *(
            ()
            if aligned is None
            else agreement_blocks(aligned, unproven=settings.unproven_agreement)
        ),
    )
    episodes = sorted(
        (*find_episodes(given, blocks), *find_states(given)), key=lambda e: e.interval.start_s
    )
    timeline = Timeline(
        media=info,
        session=job.session,
        subject=settings.subject,
        labels=bundle.label_set.ids,
        windows=windows,
        faces=None if seen.faces is None else without_landmarks(seen.faces),
        voice=seen.voice,
        transcript=transcript,
        turns=turns,
        blocks=blocks,
        episodes=tuple(episodes),
    )
    target = next((t.speaker for t in turns if t.target), None)
    notes = protocol(info, transcript, speakers, (*job.notes, *seen.reading))
    unused = baseline_notices(given.baseline, blocks, info.duration_s)
    for en, ko in unused:
        say(f"{job.session}: {en if job.lang == 'en' else ko}")
    notices += [*(transcript.notices if transcript else ()), *measure_notices(given), *unused]
    found = {
        "label_set": bundle.label_set,
        "persons": seen.persons,
        "bundle": {"name": bundle.document.get("name", ""), "hash": bundle.hash},
        "unvalidated": given.unvalidated,
        "windows": {"length_s": settings.window_s, "hop_s": settings.hop_s},
        "sync": sync,
        "speech": {
            "turns": len(turns),
            "target": target,
            "assumed_single": len({t.speaker for t in turns}) <= 1,
        },
        "missing": [*text.missing, *missing_models(seen)],
        "notices": unsaid(notices, notes),
        "told": (
            *told_of(given, baseline_unused=bool(unused)),
            *((UNPROVEN,) if unproven else ()),
        ),
        "reading": notes,
        "provenance": provenance(
            "analyze", _settings_of(job), seeds={"seed": settings.seed}, inputs=_inputs_of(job)
        ),
        "aligned": aligned,
        "synthetic": (job.media.parent / SYNTHETIC_MARK).is_file(),
        "path": _relative(job.media, job.folder),
    }
    return timeline, found


def without_landmarks(faces: FaceStream) -> FaceStream:
    """The stream for writing: no table has the points that the measures were made from."""
    tracks = tuple(dataclasses.replace(track, landmarks=None) for track in faces.tracks)
    return dataclasses.replace(faces, tracks=tracks)


def missing_models(seen: Observed) -> tuple[Missing, ...]:
    """The landmark model where faces were read without it, with the line that installs it."""
    absent = landmarks_missing()
    if absent is None or seen.faces is None or seen.faces.has_landmarks:
        return ()
    return (
        {
            "what": "landmarks",
            "reason_en": absent.en,
            "reason_ko": absent.ko,
            "install": f"{RUNTIME_INSTALL}; {MODEL_INSTALL}",
        },
    )


def _settings_of(job: SessionJob) -> dict[str, Any]:
    """What decides the result, as it comes back from JSON."""
    # Where transcript and diarisation are does not matter, what they hold does: see the inputs.
    left_out = _FREE | {"transcript", "speakers"}
    given = {k: v for k, v in settings_to_dict(job.settings).items() if k not in left_out}
    plain: dict[str, Any] = json.loads(json.dumps(given | {"lang": job.lang}))
    return plain


def _inputs_of(job: SessionJob) -> dict[str, str]:
    files = {"media": job.media, "transcript": job.transcript, "speakers": job.speakers}
    found = {name: sha256_file(path) for name, path in files.items() if path is not None}
    return found | {"bundle": job.bundle_hash}


def _relative(media: Path, folder: Path) -> str:
    """How the report, opened from its folder, finds the recording."""
    try:
        return Path(os.path.relpath(media.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return media.name
