"""One recording from its file to its folder: read, ask, measure, find, write.

What was observed is kept beside the result (``kept``): a later run of the same recording with other
exports, language, baseline, person or measures reads that and not the recording.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.core.messages import Text
from nunbit.core.schema import SYNTHETIC_MARK, ReadingNote, unsaid
from nunbit.core.streams import (
    Episode,
    MeasureBlock,
    MediaInfo,
    Modality,
    Timeline,
)
from nunbit.measures import MeasureInput, compute_measures, measure_notices
from nunbit.measures.episodes import find_episodes, find_states
from nunbit.measures.fusion import fuse_windows
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.model.said import text_side
from nunbit.recording.observer import Observed
from nunbit.recording.read import observe_recording, protocol
from nunbit.report import render_timeline
from nunbit.report.annotations import write_eaf
from nunbit.report.exports import EXPORTS, OF_FACES, SUFFIXES, write_timeline
from nunbit.report.measure_tiers import measure_tiers
from nunbit.report.timeline_view import UNPROVEN
from nunbit.runtime.claims import claimed
from nunbit.runtime.files import remove_folder, write_json, writing
from nunbit.runtime.progress import say, spoken_lang
from nunbit.runtime.resources import provenance
from nunbit.runtime.workers import give_back_freed_memory
from nunbit.space.windows import agreement_blocks, write_windows
from nunbit.stories.analyze.answers import (
    Answers,
    Scene,
    Watched,
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
    speech_facts,
    summary_document,
    told_of,
)
from nunbit.stories.analyze.job import (
    BEFORE,
    SUMMARY,
    AnalyzeSettings,
    SessionJob,
    about_of,
    describe_written,
    described_before,
    inputs_of,
    keep_edited,
    remove_stale,
    say_all,
    settings_of,
    stamps,
    tell_edited,
)
from nunbit.stories.analyze.kept import OBSERVED_FILE, Kept, KeptHead, write_kept
from nunbit.stories.analyze.kept_words import kept_of, key_of, recognised
from nunbit.stories.analyze.relative import Shown, shown_in


@dataclass(frozen=True, eq=False)
class KnownRecording:
    """All that is known of a recording before anything is measured.

    Attributes:
        seen: What was observed.
        scene: Who is analysed, and in which windows.
        reading: The reading protocol.
        answers: Of the models, and of the recording once the scene is known.
        missing: Models that were not there, and what installs them.
        bundle: Name and hash of the models, and what reads the words.
    """

    seen: Observed
    scene: Scene
    reading: tuple[ReadingNote, ...]
    answers: Answers
    missing: tuple[Mapping[str, str], ...]
    bundle: Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured in a recording."""

    given: MeasureInput
    blocks: tuple[MeasureBlock, ...]
    episodes: tuple[Episode, ...]


PARTS = {
    "read": Text("reading faces and voice", "얼굴과 목소리 읽기"),
    "ask": Text("words and classes", "말과 클래스"),
    "measure": Text("measures", "측정값"),
    "write": Text("writing", "쓰기"),
    "report": Text("report", "보고서"),
}
"""What takes time in a recording, in order."""


def _silent(_: str) -> None:
    """Nobody wants to know which part is being worked on."""


def analyse_session(
    job: SessionJob,
    advance: Callable[[int], None],
    tell: Callable[[str], None] = _silent,
    watched: Watched | None = None,
) -> dict[str, Any]:
    """Analyse one recording and write its folder.

    Args:
        job: What to do.
        advance: Called with the number of media seconds that were read.
        tell: Called with the key of the part (``PARTS``) that begins.
        watched: What was observed, where it was read while it ran; None reads the recording.

    Returns:
        ``summary.json``.

    Raises:
        InputError: The recording or a file beside it cannot be used.
        MissingExtra: A needed package is not installed.
    """
    media = job.recording.media
    with claimed(job.folder):
        document, unscored = _write_tables(job, advance, tell, watched)
        tell("report")
        give_back_freed_memory()
        shown = None if job.settings.codes and not job.settings.embed else media
        render_timeline(
            job.folder,
            lang=spoken_lang(),
            embed=job.settings.embed,
            media=shown,
            unscored=unscored,
        )
        remove_folder(job.recording.parts_folder)
        return document


def _write_tables(
    job: SessionJob,
    advance: Callable[[int], None],
    tell: Callable[[str], None],
    watched: Watched | None,
) -> tuple[dict[str, Any], frozenset[int] | None]:
    """All but the report, and the numbers of the utterances that are not scored."""
    recording = job.recording
    bundle = load_bundle(recording.bundle, threads=recording.settings.threads)
    tell("read")
    kept = None if watched is not None else kept_of(job)
    known = observed(job, bundle, kept, advance, tell, watched)
    seen = known.seen
    tell("measure")
    bundle.unload()
    give_back_freed_memory()
    shown = shown_in(known.scene, bundle, job.settings)
    say_all(job, shown.notices)
    scene = shown.scene
    measured = measure(job, bundle, known, scene)
    found = find(job, bundle, known, shown, measured)
    timeline = Timeline(
        media=_called(job, seen.media),
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
        path="" if job.settings.codes else _relative(job.recording.media, job.folder),
        names={label.id: label.name.ko for label in bundle.label_set.labels},
    )
    head = KeptHead(
        key=key_of(job, seen.media),
        inputs=inputs_of(job),
        path=_relative(job.recording.media, job.folder),
        settings=recording.settings,
        recognised=recognised(job, seen, kept),
        synthetic=found.synthetic,
    )
    tell("write")
    kept = Kept(head, seen, known.answers)
    document = _write(job, timeline, found, kept, own_probabilities=shown.changed)
    wordings = known.answers.wordings
    if wordings is None:
        return document, None
    return document, frozenset(
        i for i, wording in enumerate(wordings) if wording.unscored == "not_scored"
    )


def _called(job: SessionJob, media: MediaInfo) -> MediaInfo:
    """The recording under the name that results may have."""
    if not job.settings.codes:
        return media
    return dataclasses.replace(media, name=job.session + job.recording.media.suffix.lower())


def observed(
    job: SessionJob,
    bundle: Bundle,
    kept: Kept | None,
    advance: Callable[[int], None],
    tell: Callable[[str], None] = _silent,
    watched: Watched | None = None,
) -> KnownRecording:
    """What is known before anything is measured: as kept, or read now."""
    recording = job.recording
    if kept is not None:
        seen = kept.observed
        scene = scene_of(recording, seen, job.settings)
        rest_on = resting_on(bundle, seen, scene)
    if kept is None or not derivable(kept.answers, rest_on):
        kept = None
        seen = _read(job, bundle, advance) if watched is None else watched.seen
        scene = scene_of(recording, seen, job.settings)
        rest_on = resting_on(bundle, seen, scene)
        say_all(job, unsaid((*seen.notices, *scene.notices), (*seen.media.reading, *seen.reading)))
    noticed = (*job.recording.notes, *seen.reading, *seen.fit, *_left_out(job.settings, scene))
    reading = protocol(seen.media, seen.transcript, seen.speakers, noticed)
    missing = missing_models(seen)
    tell("ask")
    earlier = kept.answers if kept else None
    answers = answers_of(recording, bundle, seen, scene, rest_on, earlier, watched)
    if kept is None:
        say_all(job, verdicts(answers, job.settings))
    else:
        say(
            Text(
                f"{job.session}: read before; derived from what was observed then",
                f"{job.session}: 전에 읽은 자료에서 다시 만듭니다",
            )
        )
    return KnownRecording(
        seen=seen,
        scene=scene,
        reading=reading,
        answers=answers,
        missing=(*answers.text.missing, *missing),
        bundle={
            "name": bundle.document.name,
            "hash": bundle.hash,
            "text_side": text_side(bundle),
        },
    )


def _read(job: SessionJob, bundle: Bundle, advance: Callable[[int], None]) -> Observed:
    recording = job.recording
    if not recording.there:
        raise gone(recording, "reading")
    # The windows of an aligned bundle are made from vectors of faces.
    wanted = dataclasses.replace(recording.settings, keep_embeddings=bundle.is_aligned)
    return observe_recording(dataclasses.replace(recording, settings=wanted), bundle, advance)


def measure(job: SessionJob, bundle: Bundle, known: KnownRecording, scene: Scene) -> Measured:
    """Compute measures, fusion, episodes and states, with the faces of ``scene`` as shown."""
    settings, seen, answers = job.settings, known.seen, known.answers
    spoken = answers.spoken
    agreement: tuple[MeasureBlock, ...] = ()
    if answers.aligned is not None:
        agreement = tuple(agreement_blocks(answers.aligned, unproven=settings.unproven_agreement))
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
        text_none=answers.text.none,
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
    if settings.without_words:  # a note is codes, then a colon and what was said
        episodes = [dataclasses.replace(e, note=e.note.partition(":")[0]) for e in episodes]
    return Measured(given, blocks, tuple(episodes))


def find(
    job: SessionJob, bundle: Bundle, known: KnownRecording, shown: Shown, measured: Measured
) -> Findings:
    """What a reader must know besides the numbers."""
    seen, scene, answers = known.seen, shown.scene, known.answers
    settings, given, transcript = job.settings, measured.given, seen.transcript
    unused = baseline_notices(given.baseline, measured.blocks, seen.media.duration_s)
    say_all(job, unused)
    voice = VOICE_APART if given.apart else VOICE_FUSED
    notices = (
        *seen.notices,
        *scene.notices,
        *shown.notices,
        *((voice,) if given.experimental else ()),
        *verdicts(answers, settings),
        *(transcript.notices if transcript else ()),
        *measure_notices(given),
        *unused,
    )
    told = told_of(given, baseline_unused=bool(unused))
    if settings.unproven_agreement and masked(answers, settings):
        told = (*told, UNPROVEN)
    return Findings(
        label_set=bundle.label_set,
        bundle=known.bundle,
        posterior=shown.facts,
        unvalidated=given.unvalidated,
        windows={"length_s": settings.window_s, "hop_s": settings.hop_s},
        persons=scene.choice.persons if scene.choice else (),
        sync=answers.sync,
        speech=speech_facts(scene.turns),
        missing=known.missing,
        notices=unsaid(notices, known.reading),
        told=told,
        reading=known.reading,
        provenance=provenance(
            "analyze",
            settings_of(job),
            seeds={"seed": settings.seed},
            inputs=inputs_of(job),
            engine=dict(zip(("name", "workers"), job.engine, strict=True)),
        ),
        synthetic=(job.recording.media.parent / SYNTHETIC_MARK).is_file()
        if job.recording.there
        else job.synthetic,
    )


def _write(
    job: SessionJob, timeline: Timeline, found: Findings, keep: Kept, *, own_probabilities: bool
) -> dict[str, Any]:
    """The folder without its report; the summary, which marks it as done, goes last."""
    folder = job.folder
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    earlier, about = described_before(folder), about_of(job)
    edited = keep_edited(job, earlier, (SUFFIXES[kind] for kind in job.settings.export))
    if (folder / SUMMARY).is_file():
        (folder / SUMMARY).replace(folder / BEFORE)
    before = stamps(folder)
    document = summary_document(timeline, found)
    document["about"] = about
    if job.settings.without_words:
        timeline = dataclasses.replace(timeline, transcript=None)
    write_timeline(folder, timeline)
    if keep.answers.aligned is not None:
        aligned, bundle_hash = keep.answers.aligned, job.recording.bundle_hash
        if job.settings.without_words:
            aligned = dataclasses.replace(aligned, excerpts=tuple("" for _ in aligned.excerpts))
        write_windows(folder, aligned, session=job.session, bundle_hash=bundle_hash)
    if job.settings.forget:
        (folder / OBSERVED_FILE).unlink(missing_ok=True)
    else:
        write_kept(folder, keep, own_probabilities=own_probabilities)
    for kind in job.settings.export:
        if kind in OF_FACES and timeline.faces is None:
            continue  # said in the reading protocol
        path = folder / f"{job.session}{SUFFIXES[kind]}"
        if kind == "eaf":
            write_eaf(path, timeline, measure_tiers(timeline, job.settings.eaf_tiers))
        else:
            EXPORTS[kind](path, timeline)
    say_all(job, tell_edited(edited))
    document["files"] = describe_written(folder, before)
    document["files"].pop(OBSERVED_FILE, None)  # without it the result is as whole
    for name in remove_stale(folder, earlier, document["files"]):
        say(
            Text(
                f"{job.session}: {name} was not asked for this time, but was changed since nunbit "
                "wrote it: kept",
                f"{job.session}: {name} 파일은 이번에 요청하지 않았지만 만든 뒤에 바뀌었으므로 "
                "그대로 둡니다",
            )
        )
    write_json(folder / SUMMARY, document)
    (folder / BEFORE).unlink(missing_ok=True)
    return document


def _left_out(settings: AnalyzeSettings, scene: Scene) -> Iterator[ReadingNote]:
    """Notes about exports that hold faces alone, where the recording has no pictures."""
    for kind in settings.export if scene.faces is None else ():
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


def _relative(media: Path, folder: Path) -> str:
    """Path from the report's folder to the recording."""
    try:
        return Path(os.path.relpath(media.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return media.name
