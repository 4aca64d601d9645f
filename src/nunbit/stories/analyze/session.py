"""One recording from its file to its folder: read, ask, measure, find, write.

What was observed is kept beside the result (``kept``): a later run of the same recording with other
exports, language, baseline, person or measures reads that and not the recording.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.core.messages import Text
from nunbit.core.schema import SYNTHETIC_MARK, ReadingNote
from nunbit.core.streams import Episode, FaceStream, MeasureBlock, MediaInfo, Modality, Timeline
from nunbit.measures import MeasureInput, compute_measures, measure_notices
from nunbit.measures.episodes import find_episodes, find_states
from nunbit.measures.fusion import fuse_windows
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.recording.observer import Observed
from nunbit.recording.read import (
    protocol,
    read_companions,
    read_recording,
    reading_key,
    unsaid,
    words_of,
)
from nunbit.report import render_timeline
from nunbit.report.exports import EXPORTS, OF_FACES, SUFFIXES, write_timeline
from nunbit.report.timeline_view import UNPROVEN
from nunbit.runtime.files import remove_folder, write_json, writing
from nunbit.runtime.progress import say, spoken_lang
from nunbit.runtime.resources import provenance
from nunbit.runtime.workers import give_back_freed_memory
from nunbit.space.windows import agreement_blocks, is_aligned, write_windows
from nunbit.stories.analyze.answers import (
    Answers,
    Scene,
    answers_of,
    derivable,
    gone,
    masked,
    resting_on,
    scene_of,
    verdicts,
)
from nunbit.stories.analyze.findings import (
    VOICE_APART,
    VOICE_FUSED,
    Findings,
    baseline_notices,
    missing_models,
    summary_document,
    told_of,
)
from nunbit.stories.analyze.job import (
    SUMMARY,
    AnalyzeSettings,
    SessionJob,
    describe_written,
    described_before,
    inputs_of,
    remove_stale,
    say_all,
    settings_of,
    stamps,
)
from nunbit.stories.analyze.kept import OBSERVED_FILE, Kept, KeptHead, read_kept, write_kept


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured in a recording."""

    given: MeasureInput
    blocks: tuple[MeasureBlock, ...]
    episodes: tuple[Episode, ...]


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
    media = job.recording.media
    document = _write_tables(job, advance)
    give_back_freed_memory()
    render_timeline(job.folder, lang=spoken_lang(), embed=job.settings.embed, media=media)
    remove_folder(job.recording.parts_folder)
    return document


def _write_tables(job: SessionJob, advance: Callable[[int], None]) -> dict[str, Any]:
    """All but the report."""
    recording = job.recording
    bundle = load_bundle(recording.bundle, threads=recording.settings.threads)
    kept = kept_of(job)
    seen, scene, answers = observed(job, bundle, kept, advance)
    bundle.unload()
    give_back_freed_memory()
    measured = measure(job, bundle, seen, scene, answers)
    found = find(job, bundle, seen, scene, answers, measured)
    timeline = Timeline(
        media=seen.media,
        session=job.session,
        subject=job.settings.subject,
        labels=bundle.label_set.ids,
        windows=scene.windows,
        faces=scene.faces,
        voice=seen.voice,
        transcript=seen.transcript,
        turns=scene.turns,
        blocks=measured.blocks,
        episodes=measured.episodes,
    )
    head = KeptHead(
        key=key_of(job, seen.media),
        inputs=inputs_of(job),
        path=found.path,
        settings=recording.settings,
        recognised=recognised(job, seen, kept),
        synthetic=found.synthetic,
    )
    return _write(job, timeline, found, Kept(head, seen, answers))


def observed(
    job: SessionJob, bundle: Bundle, kept: Kept | None, advance: Callable[[int], None]
) -> tuple[Observed, Scene, Answers]:
    """What is known before anything is measured: as kept, or read now."""
    recording = job.recording
    if kept is not None:
        seen = kept.observed
        scene = scene_of(recording, seen, job.settings)
        rest_on = resting_on(bundle, seen, scene)
    if kept is None or not derivable(kept.answers, rest_on):
        kept = None
        seen = _read(job, bundle, advance)
        scene = scene_of(recording, seen, job.settings)
        rest_on = resting_on(bundle, seen, scene)
        notices = (*seen.notices, *scene.notices)
        say_all(job, unsaid(notices, (*seen.media.reading, *seen.reading)))
    answers = answers_of(recording, bundle, seen, scene, rest_on, kept.answers if kept else None)
    if kept is None:
        say_all(job, verdicts(answers, job.settings))
    else:
        say(_DERIVED.pick(spoken_lang()).format(job.session))
    return seen, scene, answers


def _read(job: SessionJob, bundle: Bundle, advance: Callable[[int], None]) -> Observed:
    recording = job.recording
    if not recording.there:
        raise gone(recording, "reading")
    # The windows of an aligned bundle are made from vectors of faces.
    wanted = dataclasses.replace(recording.settings, keep_embeddings=is_aligned(bundle))
    return read_recording(dataclasses.replace(recording, settings=wanted), bundle, advance)


_DERIVED = Text(
    "{}: read before; derived from what was observed then", "{}: 전에 읽은 자료에서 다시 만듭니다"
)


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
    if keeps:  # then there is nothing to recognise
        calm = dataclasses.replace(recording.settings, asr="")
        asked = dataclasses.replace(recording, settings=calm)
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
    return job.recording.transcript is None and same and (job.from_kept or kept.head.recognised)


def recognised(job: SessionJob, seen: Observed, kept: Kept | None) -> bool:
    """Whether the words were recognised, and not given."""
    if kept is not None and _keeps_words(job, kept):
        return kept.head.recognised
    return seen.transcript is not None and job.recording.transcript is None


def key_of(job: SessionJob, media: MediaInfo) -> dict[str, Any]:
    """What decides the readings of faces and voice, as it comes back from JSON.

    What differs here needs the recording again; everything else is derived from what is kept.
    """
    return reading_key(job.recording, media, inputs_of(job)["media"])


def measure(
    job: SessionJob, bundle: Bundle, seen: Observed, scene: Scene, answers: Answers
) -> Measured:
    """Compute measures, fusion, episodes and states from the observation."""
    settings, spoken = job.settings, answers.spoken
    agreement: tuple[MeasureBlock, ...] = ()
    if answers.aligned is not None:
        agreement = agreement_blocks(answers.aligned, unproven=settings.unproven_agreement)
    experimental: frozenset[Modality] = frozenset() if spoken is None else frozenset({"voice"})
    given = MeasureInput(
        duration_s=seen.media.duration_s,
        labels=bundle.label_set.ids,
        unvalidated=frozenset(bundle.document.unvalidated_labels or ()),
        faces=scene.faces,
        voice=seen.voice,
        transcript=seen.transcript,
        turns=scene.turns,
        windows=scene.windows,
        baseline=settings.baseline_interval(),
        full_rate=settings.full_rate,
        text_probabilities=answers.text.chances,
        text_reasons=answers.text.reasons,
        wordings=answers.wordings,
        voice_probabilities=spoken,
        apart=frozenset() if settings.fuse_voice else experimental,
        experimental=experimental,
        label_set=bundle.label_set,
        voice_quality=seen.quality,
        single_speaker=settings.single_speaker,
        seed=settings.seed,
    )
    blocks = (*compute_measures(given), *fuse_windows(given), *agreement)
    episodes = sorted(
        (*find_episodes(given, blocks), *find_states(given)), key=lambda e: e.interval.start_s
    )
    return Measured(given, blocks, tuple(episodes))


def find(
    job: SessionJob,
    bundle: Bundle,
    seen: Observed,
    scene: Scene,
    answers: Answers,
    measured: Measured,
) -> Findings:
    """What a reader must know besides the numbers."""
    settings, given, transcript = job.settings, measured.given, seen.transcript
    unused = baseline_notices(given.baseline, measured.blocks, seen.media.duration_s)
    say_all(job, unused)
    voice = VOICE_APART if given.apart else VOICE_FUSED
    notices = (
        *seen.notices,
        *scene.notices,
        *((voice,) if given.experimental else ()),
        *verdicts(answers, settings),
        *(transcript.notices if transcript else ()),
        *measure_notices(given),
        *unused,
    )
    told = told_of(given, baseline_unused=bool(unused))
    if settings.unproven_agreement and masked(answers, settings):
        told = (*told, UNPROVEN)
    notes = protocol(
        seen.media,
        transcript,
        seen.speakers,
        (*job.recording.notes, *seen.reading, *seen.fit, *_left_out(settings, scene.faces)),
    )
    unsaid_notices = unsaid(notices, notes)
    turns = scene.turns
    return Findings(
        label_set=bundle.label_set,
        bundle={"name": bundle.document.name, "hash": bundle.hash},
        unvalidated=given.unvalidated,
        windows={"length_s": settings.window_s, "hop_s": settings.hop_s},
        persons=scene.choice.persons if scene.choice else (),
        sync=answers.sync,
        speech={
            "turns": len(turns),
            "target": next((t.speaker for t in turns if t.target), None),
            "assumed_single": len({t.speaker for t in turns}) <= 1,
        },
        missing=(*answers.text.missing, *missing_models(seen)),
        notices=unsaid_notices,
        told=told,
        reading=notes,
        provenance=provenance(
            "analyze", settings_of(job), seeds={"seed": settings.seed}, inputs=inputs_of(job)
        ),
        synthetic=(job.recording.media.parent / SYNTHETIC_MARK).is_file()
        if job.recording.there
        else job.synthetic,
        path=_relative(job.recording.media, job.folder),
    )


def _write(job: SessionJob, timeline: Timeline, found: Findings, keep: Kept) -> dict[str, Any]:
    """The folder without its report; the summary, which marks it as done, goes last."""
    folder = job.folder
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    earlier = described_before(folder)
    (folder / SUMMARY).unlink(missing_ok=True)
    before = stamps(folder)
    document = summary_document(timeline, found)
    timeline = dataclasses.replace(timeline, document=document)
    write_timeline(folder, timeline)
    if keep.answers.aligned is not None:
        aligned, bundle_hash = keep.answers.aligned, job.recording.bundle_hash
        write_windows(folder, aligned, session=job.session, bundle_hash=bundle_hash)
    if job.settings.forget:
        (folder / OBSERVED_FILE).unlink(missing_ok=True)
    else:
        write_kept(folder, keep)
    for kind in job.settings.export:
        if kind in OF_FACES and timeline.faces is None:
            continue  # said in the reading protocol
        EXPORTS[kind](folder / f"{job.session}{SUFFIXES[kind]}", timeline)
    document["files"] = describe_written(folder, before)
    document["files"].pop(OBSERVED_FILE, None)  # without it the result is as whole
    for name in remove_stale(folder, earlier, document["files"]):
        say(_CHANGED.pick(spoken_lang()).format(job.session, name))
    write_json(folder / SUMMARY, document)
    return document


def _left_out(settings: AnalyzeSettings, faces: FaceStream | None) -> Iterator[ReadingNote]:
    """Notes about exports that hold faces alone, where the recording has no pictures."""
    for kind in settings.export if faces is None else ():
        if kind in OF_FACES:
            yield ReadingNote(
                treatment="left_out",
                code="export_without_pictures",
                count=1,
                first=kind,
                text=Text(
                    f"the export {kind} is of faces; the recording has no pictures: not written",
                    f"{kind} 내보내기는 얼굴에 관한 것인데 녹화에 영상이 없어 쓰지 않았습니다",
                ),
            )


_CHANGED = Text(
    "{}: {} was not asked for this time, but was changed since nunbit wrote it: kept",
    "{}: {} 파일은 이번에 요청하지 않았지만 만든 뒤에 바뀌었으므로 그대로 둡니다",
)


def _relative(media: Path, folder: Path) -> str:
    """Path from the report's folder to the recording."""
    try:
        return Path(os.path.relpath(media.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return media.name
