"""Run ``nunbit analyze``: a folder for every recording, then one table for all.

A finished recording is not analysed again: its ``summary.json`` names file, bundle, settings and
the files written. A recording that cannot be read, or in which nunbit itself fails, is reported and
does not stop the others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from nunbit.core.messages import InputError, NunbitError, SettingsError, Text, text_of
from nunbit.core.schema import note_lines, notes_of_document, problems, unsaid
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import load_bundle
from nunbit.recording.observer import ReadingSettings, RecordingJob
from nunbit.recording.paths import (
    SPEAKER_SUFFIXES,
    TRANSCRIPT_SUFFIXES,
    companion,
    list_media,
    require_media_extra,
    session_names,
    unread_folders,
    without_companion,
)
from nunbit.recording.read import refuse_shared
from nunbit.report import check_embeddable
from nunbit.report.joined_tables import write_joined
from nunbit.report.measure_tiers import check_tiers
from nunbit.runtime.claims import claimed, tidy
from nunbit.runtime.config import parse_part
from nunbit.runtime.engines import EngineChoice, open_engine
from nunbit.runtime.files import read_json, sha256_file, writing
from nunbit.runtime.progress import Progress, say, spoken_lang
from nunbit.runtime.workers import Tools, fault_text
from nunbit.stories.analyze.job import (
    BEFORE,
    SUMMARY,
    AnalyzeSettings,
    SessionJob,
    is_done,
    note_about,
    refuse_other,
    summary_before,
    with_lengths,
)
from nunbit.stories.analyze.kept import OBSERVED_FILE, forgotten_in, read_head, results_in
from nunbit.stories.analyze.outcome import (
    STATES,
    Outcome,
)
from nunbit.stories.analyze.roster import (
    People,
    PersonRow,
    as_before,
    folder_names,
    read_people,
    refuse_inputs,
)
from nunbit.stories.analyze.session import PARTS, analyse_session

_EMBEDDED_WORDS = Text(
    "--embed puts the recording with its sound into report.html, --without-words lets nothing of "
    "what was said into a file: give one of the two",
    "--embed는 녹화를 소리와 함께 report.html에 넣고, --without-words는 말한 내용을 어느 파일에도 "
    "남기지 않습니다. 둘 중 하나만 쓰십시오",
)
_JOINING_S = 600.0
"""How long to wait for another analysis that writes the tables of the same folder."""


def analyze(
    media: Sequence[Path],
    out: Path,
    settings: AnalyzeSettings,
    *,
    bundle: Path | None = None,
    people: Path | None = None,
) -> tuple[Outcome, ...]:
    """Analyse recordings; each gets a folder below ``out``.

    Args:
        media: Video or sound files, or folders of them; also folders of earlier results, whose
            recordings may be gone: what was observed then is in them.
        out: Gets ``<session>/`` per recording, and over all recordings in it, of this run or an
            earlier one: ``index.html`` and the tables of :mod:`nunbit.report.joined_tables`.
        settings: How.
        bundle: Bundle folder; None takes the shipped one.
        people: Table of recordings, see :func:`nunbit.stories.analyze.roster.read_people`;
            ``media`` may then be empty.

    Returns:
        One outcome per recording, in the order given; then those of the table, and the rows of it
        that cannot be used.

    Raises:
        InputError: There are no recordings, or the only one is unusable.
        SettingsError: Settings do not fit.
        BundleError: The bundle is missing or damaged.
        MissingExtra: The extra ``media`` is not installed.
    """
    settings.baseline_interval()
    settings.neutral_interval()
    if settings.embed and settings.without_words:
        raise InputError(_EMBEDDED_WORDS)
    share = parse_part(settings.part)
    choice = EngineChoice(settings.engine, settings.address, settings.workers)
    settings = replace(settings, forget=settings.forget or settings.without_words)
    folder = (bundle or default_bundle_path()).resolve()
    models = (folder, load_bundle(folder, threads=1).hash)
    table = People((), (), ()) if people is None else read_people(people, settings)
    require_media_extra()
    jobs = _all_jobs(media, table, out, settings, models)[share[0] - 1 :: share[1]]
    refuse_inputs(jobs, people, out)
    check_tiers(settings.eaf_tiers)
    for notice in (*table.notices, *(bad.error for bad in table.bad)):
        say(notice)
    for job in jobs if settings.embed else ():
        check_embeddable(job.recording.media, job.recording.media.name)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)  # now, not when an hour has been read
    outcomes = [
        *_run(jobs, out, choice),
        *(Outcome(b.name, out / b.name, "failed", None, b.error) for b in table.bad),
    ]
    failed = [o.error for o in outcomes if o.error is not None]
    if len(outcomes) == 1 and failed:
        raise InputError(failed[0])
    if len(failed) < len(outcomes):
        with claimed(out, deep=False, wait_s=_JOINING_S):
            _join(out)
    return tuple(outcomes)


def _join(out: Path) -> None:
    """Write the tables over all recordings in ``out``, again if other jobs finished meanwhile."""
    there = None
    while there != (now := {p: p.stat().st_mtime_ns for p in out.glob(f"*/{SUMMARY}")}):
        there = now
        write_joined(out, lang=spoken_lang())


def _all_jobs(
    media: Sequence[Path],
    table: People,
    out: Path,
    settings: AnalyzeSettings,
    models: tuple[Path, str],
) -> list[SessionJob]:
    """The jobs of recordings, of folders of earlier results, and of the table of people."""
    if settings.codes and not table.rows:
        raise SettingsError(
            Text(
                "`codes=true` names results by person and session: give them as `people`",
                "`codes=true`는 결과에 사람과 회기로 이름을 붙입니다. 표를 `people`로 주십시오",
            )
        )
    earlier = [each for path in media for each in results_in(path)]
    folders = {path for path in media if results_in(path)}
    others = [path for path in media if path not in folders]
    none = bool(earlier or table.rows or table.bad) and not others
    paths = () if none else list_media(others)
    names = folder_names(table, settings)
    if not settings.codes:
        names = as_before([row.media for row in table.rows], names, out)
    rows = [
        _job_of_row(row, out / name, models) for row, name in zip(table.rows, names, strict=True)
    ]
    taken = {os.path.realpath(job.recording.media) for job in rows}
    paths = tuple(path for path in paths if os.path.realpath(path) not in taken)
    jobs = [*rows, *_jobs(paths, out, settings, models)]
    done = {job.folder.resolve() for job in jobs}
    again = {path.resolve(): _job_again(path, out, settings, models) for path in earlier}
    # A recording that is given together with its own result is read, not derived.
    jobs += [job for place, job in again.items() if place not in done]
    for notice in (*unread_folders(others), *filter(None, map(forgotten_in, media))):
        say(notice)
    refuse_shared(
        (job.recording.media, given, file)
        for job in jobs
        for given, file in (
            (job.settings.transcript, job.recording.transcript),
            (job.settings.speakers, job.recording.speakers),
        )
    )
    return _apart(jobs)


def _apart(jobs: list[SessionJob]) -> list[SessionJob]:
    """The same jobs.

    Raises:
        InputError: Two of them would be written to one folder.
    """
    seen: dict[str, SessionJob] = {}
    for job in jobs:
        name = job.session.casefold()
        if name in seen:
            places = (
                each.kept_in if each.from_kept else each.recording.media
                for each in (seen[name], job)
            )
            both = ", ".join(map(str, places))
            raise InputError(
                Text(
                    f"{both}: both would be written to {job.folder}; name one of them differently, "
                    "choose another `out` for it, or put recordings into one table",
                    f"{both}: 둘 다 {job.folder}에 쓰게 됩니다. 하나의 이름을 바꾸거나 다른 "
                    "`out`을 고르십시오. 녹화라면 표에 함께 넣어도 됩니다",
                )
            )
        seen[name] = job
    return jobs


def _jobs(
    paths: Sequence[Path], out: Path, settings: AnalyzeSettings, models: tuple[Path, str]
) -> list[SessionJob]:
    """The jobs of recordings, with the files that lie beside them."""
    return [
        SessionJob(
            _recording(path, len(paths), out / name, settings, models),
            out / name,
            settings,
            kept_in=out / name,
        )
        for path, name in zip(paths, as_before(paths, session_names(paths), out), strict=True)
    ]


def _job_of_row(row: PersonRow, folder: Path, models: tuple[Path, str]) -> SessionJob:
    """The job of a row of the table of people."""
    plain = replace(row.settings, transcript="", speakers="")
    recording = _recording(row.media, 1, folder, plain, models)
    beside = without_companion(
        row.media,
        transcript=(row.settings.transcript, row.transcript),
        speakers=(row.settings.speakers, row.speakers),
    )
    return SessionJob(
        replace(recording, transcript=row.transcript, speakers=row.speakers, notes=beside),
        folder,
        row.settings,
        kept_in=folder,
        about=row.about,
    )


def _recording(
    path: Path, n: int, folder: Path, settings: AnalyzeSettings, models: tuple[Path, str]
) -> RecordingJob:
    """One of n recordings, with the files that lie beside it."""
    words = companion(settings.transcript, path, n, TRANSCRIPT_SUFFIXES)
    spoken = companion(settings.speakers, path, n, SPEAKER_SUFFIXES)
    return RecordingJob(
        media=path,
        session=folder.name,
        parts_folder=folder / f"{folder.name}.unfinished",
        transcript=words,
        speakers=spoken,
        bundle=models[0],
        bundle_hash=models[1],
        settings=settings.reading(),
        notes=without_companion(
            path, transcript=(settings.transcript, words), speakers=(settings.speakers, spoken)
        ),
    )


def _job_again(
    results: Path, out: Path, settings: AnalyzeSettings, models: tuple[Path, str]
) -> SessionJob:
    """The job of a folder of earlier results.

    How the recording was read, its words and its speakers stay as they were where nothing else is
    given.

    Raises:
        InputError: What was observed cannot be read.
    """
    kept = read_head(results)
    if kept is None:
        raise InputError(
            Text(
                f"{results}: {OBSERVED_FILE} is damaged or of another version; analyse the "
                "recording itself again",
                f"{results}: {OBSERVED_FILE} 파일이 손상되었거나 버전이 다릅니다. 녹화를 다시 "
                "분석하십시오",
            )
        )
    plain = AnalyzeSettings()
    had = {
        f.name: getattr(kept.settings, f.name)
        for f in fields(ReadingSettings)
        if hasattr(plain, f.name) and getattr(settings, f.name) == getattr(plain, f.name)
    }
    person = settings.subject or str(summary_before(results).get("subject") or "")
    settings = replace(settings, **had, subject=person)
    media, inputs = results / kept.path, dict(kept.inputs)
    place = Path(os.path.normpath(media))
    there = place.is_file() and sha256_file(place) == inputs["media"]
    folder = out / results.resolve().name
    recording = _recording(place, 1, folder, settings, models)
    return SessionJob(
        replace(recording, notes=(), there=there),
        folder,
        settings,
        kept_in=results,
        from_kept=True,
        inputs=tuple(inputs.items()),
        synthetic=kept.synthetic,
    )


def _read_by(jobs: Sequence[SessionJob]) -> list[Path]:
    """Folders and files that the jobs read, each once: what a machine may lack."""
    needed = {job.recording.media.parent if job.recording.there else job.kept_in for job in jobs}
    for recording in (job.recording for job in jobs):
        beside = (recording.bundle, recording.transcript, recording.speakers)
        needed |= {path for path in beside if path is not None}
    return sorted(needed)


def _run(jobs: Sequence[SessionJob], out: Path, choice: EngineChoice) -> list[Outcome]:
    outcomes: dict[str, Outcome] = {}
    left = []
    for job in jobs:
        if is_done(job):
            tidy(job.folder)
            (job.folder / BEFORE).unlink(missing_ok=True)  # of a run that was killed at its end
            note_about(job)
            summary = read_json(job.folder / SUMMARY)
            if job.settings.forget:
                (job.folder / OBSERVED_FILE).unlink(missing_ok=True)
            outcomes[job.session] = Outcome(job.session, job.folder, "kept", summary)
            say(
                Text(
                    f"{job.session}: already analysed with these settings; kept",
                    f"{job.session}: 같은 설정으로 이미 분석했으므로 그대로 둡니다",
                )
            )
        else:
            left.append(job)
    # A recording that kills its process, for lack of memory, must not take the others with it.
    lost = _lost if len(left) > 1 else None
    left = with_lengths(left)
    total = sum(job.length_s for job in left) or None
    done = 0
    with (
        open_engine(choice, len(left), reads=_read_by(left), out=out) as engine,
        Progress(Text("analyze", "분석"), total, "s") as bar,
    ):
        left = [replace(job, engine=(engine.name, engine.workers)) for job in left]
        for outcome in engine.run(_work, left, advance=bar.advance, lost=lost, tell=bar.tell):
            outcomes[outcome.session] = outcome
            done += 1
            if len(left) > 1 and outcome.error is None:
                say(f"{outcome.session}: {STATES['done'].pick(spoken_lang())} ({done}/{len(left)})")
            # With a single recording the error is raised, and the caller prints it.
            if outcome.error is not None and len(jobs) > 1:
                say(outcome.error.under("nunbit"))
            for line in _reading_lines(outcome):
                say(line.under(outcome.session))
    return [outcomes[job.session] for job in jobs]


def _reading_lines(outcome: Outcome) -> list[Text]:
    """Lines about the files of a recording: notes, then notices of the transcript."""
    summary = outcome.summary or {}
    notes = problems(notes_of_document(summary.get("reading")))
    notices = (summary.get("transcript") or {}).get("notices", ())
    return [*note_lines(notes), *unsaid(map(text_of, notices), notes)]


def _work(job: SessionJob, tools: Tools) -> Outcome:
    read = 0

    def advance(seconds: int) -> None:
        nonlocal read
        read += seconds
        tools.advance(seconds)

    def tell(part: str) -> None:
        tools.tell(f"{job.session}: {PARTS[part].pick(spoken_lang())}")

    try:
        refuse_other(job)
        summary = analyse_session(job, advance, tell)
        tools.advance(max(0, job.length_s - read))  # what was known before takes no reading
        return Outcome(job.session, job.folder, "done", summary)
    except NunbitError as exc:
        error = exc.text
    except MemoryError:
        error = _OUT_OF_MEMORY.under(job.recording.media)
    except Exception as exc:  # whatever it is: the other recordings must be written
        error = fault_text(job.recording.media, exc)
    return Outcome(job.session, job.folder, "failed", None, error)


def _lost(job: SessionJob, error: InputError) -> Outcome:
    """Outcome of a recording whose process was killed."""
    return Outcome(job.session, job.folder, "failed", None, error.text.under(job.recording.media))


_OUT_OF_MEMORY = Text(
    "out of memory; close other programs and run the same line again, with `workers=1` where there "
    "are several recordings",
    "메모리가 부족합니다. 다른 프로그램을 닫고 같은 명령을 다시 실행하십시오. 녹화가 여럿이면 "
    "`workers=1`을 붙이십시오",
)
