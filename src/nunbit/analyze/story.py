"""Run ``nunbit analyze``: every recording to a folder of its own, then one table over all.

A recording that is done is not done again: its ``summary.json`` says from which file, bundle and
settings it came, and which files were written. One that cannot be read, or in which nunbit itself
fails, is reported and never stops the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.analyze.observe import SessionJob
from nunbit.analyze.session import analyse_session, is_done
from nunbit.analyze.sessions import write_sessions
from nunbit.analyze.settings import AnalyzeSettings
from nunbit.encoders import load_bundle
from nunbit.errors import InputError, Lang, NunbitError
from nunbit.files import read_json, writing
from nunbit.predict.shipped import default_bundle_path
from nunbit.progress import Progress, say
from nunbit.protocol import note_lines, notes_of_document, problems, unsaid
from nunbit.recordings import (
    SPEAKER_SUFFIXES,
    TRANSCRIPT_SUFFIXES,
    companion,
    list_media,
    require_media_extra,
    session_names,
    unread_folders,
    without_companion,
)
from nunbit.report import check_embeddable, render_sessions
from nunbit.workers import Tools, available_cores, fault_text, run_tasks

__all__ = [
    "TRANSCRIPT_SUFFIXES",
    "Outcome",
    "analyze",
    "companion",
    "list_media",
    "require_media_extra",
    "session_names",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recording.

    Attributes:
        session: Its name.
        folder: Where its files are.
        state: ``done``, ``kept`` (was done before) or ``failed``.
        summary: ``summary.json``, or None where it failed.
        error: Why it failed, as (en, ko), or None.
    """

    session: str
    folder: Path
    state: str
    summary: dict[str, Any] | None
    error: tuple[str, str] | None = None

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """Plain data for ``--json``."""
        said = None if self.error is None else self.error[1 if lang == "ko" else 0]
        return {
            "session": self.session,
            "state": self.state,
            "folder": str(self.folder),
            "error": said,
            "reading": (self.summary or {}).get("reading"),
            "summary": self.summary,
        }


def analyze(
    media: Sequence[Path],
    out: Path,
    settings: AnalyzeSettings,
    *,
    bundle: Path | None = None,
    lang: Lang,
) -> tuple[Outcome, ...]:
    """Bring recordings onto one clock, one folder each below ``out``.

    Args:
        media: Video or sound files, or folders of them.
        out: Gets ``<session>/`` per recording; for several also ``sessions.parquet`` and
            ``index.html``.
        settings: How.
        bundle: Bundle folder; None takes the shipped one.
        lang: Language of progress and reports.

    Returns:
        One outcome per recording, in the order given.

    Raises:
        InputError: Nothing to do, or the only recording cannot be used.
        SettingsError: Settings do not fit.
        BundleError: The bundle is missing or damaged.
        MissingExtra: The extra ``media`` is not installed.
    """
    settings.baseline_interval()
    require_media_extra()
    paths = list(list_media(media))
    folder = (bundle or default_bundle_path()).resolve()
    digest = load_bundle(folder, threads=1).hash
    names = session_names(paths)
    if settings.embed:
        for path in paths:
            check_embeddable(path, path.name)
    jobs = []
    for path, name in zip(paths, names, strict=True):
        words = companion(settings.transcript, path, len(paths), TRANSCRIPT_SUFFIXES)
        spoken = companion(settings.speakers, path, len(paths), SPEAKER_SUFFIXES)
        job = SessionJob(
            media=path,
            folder=out / name,
            session=name,
            transcript=words,
            speakers=spoken,
            bundle=folder,
            bundle_hash=digest,
            settings=settings,
            lang=lang,
            notes=without_companion(
                path,
                transcript=(settings.transcript, words),
                speakers=(settings.speakers, spoken),
            ),
        )
        jobs.append(job)
    for en, ko in unread_folders(media):
        say(en if lang == "en" else ko)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)  # now, not when an hour has been read
    outcomes = _run(jobs, settings, lang)
    failed = [o for o in outcomes if o.error is not None]
    if len(outcomes) == 1 and failed and failed[0].error is not None:
        raise InputError(en=failed[0].error[0], ko=failed[0].error[1])
    if len(outcomes) > max(1, len(failed)):
        write_sessions(out, [o.folder for o in outcomes if o.error is None])
        render_sessions(out, lang=lang)
    return tuple(outcomes)


def _run(jobs: Sequence[SessionJob], settings: AnalyzeSettings, lang: Lang) -> list[Outcome]:
    outcomes: dict[str, Outcome] = {}
    left = []
    for job in jobs:
        if is_done(job):
            summary = read_json(job.folder / "summary.json")
            outcomes[job.session] = Outcome(job.session, job.folder, "kept", summary)
            say(
                f"{job.session}: already analysed with these settings, kept"
                if lang == "en"
                else f"{job.session}: 같은 설정으로 이미 분석되어 있어 그대로 둡니다"
            )
        else:
            left.append(job)
    workers = min(settings.workers or available_cores(), len(left))
    title = "분석" if lang == "ko" else "analyze"
    # A recording that kills its process, for lack of memory, must not take the others with it.
    lost = _lost if len(left) > 1 else None
    with Progress(title, None, "s", lang=lang) as bar:
        for outcome in run_tasks(_work, left, num_workers=workers, advance=bar.advance, lost=lost):
            outcomes[outcome.session] = outcome
            # The error of an only recording is raised, and said by whoever catches it.
            if outcome.error is not None and len(jobs) > 1:
                say(f"nunbit: {outcome.error[0] if lang == 'en' else outcome.error[1]}")
            for line in _reading_lines(outcome, lang):
                say(f"{outcome.session}: {line}")
    return [outcomes[job.session] for job in jobs]


def _reading_lines(outcome: Outcome, lang: Lang) -> list[str]:
    """What was odd about the files of a recording: notes, then notices of the transcript."""
    summary = outcome.summary or {}
    notes = problems(notes_of_document(summary.get("reading")))
    notices = (summary.get("transcript") or {}).get("notices", ())
    rest = unsaid(((en, ko) for en, ko in notices), notes)
    return [*note_lines(notes, lang), *(en if lang == "en" else ko for en, ko in rest)]


def _work(job: SessionJob, tools: Tools) -> Outcome:
    try:
        summary = analyse_session(job, tools.advance)
    except NunbitError as exc:
        return Outcome(job.session, job.folder, "failed", None, (exc.en, exc.ko))
    except MemoryError:
        return Outcome(job.session, job.folder, "failed", None, _out_of_memory(job))
    except Exception as exc:  # whatever it is: the other recordings must be written
        return Outcome(job.session, job.folder, "failed", None, fault_text(job.media, exc))
    return Outcome(job.session, job.folder, "done", summary)


def _lost(job: SessionJob, error: InputError) -> Outcome:
    """The outcome of a recording whose process was killed."""
    said = (f"{job.media}: {error.en}", f"{job.media}: {error.ko}")
    return Outcome(job.session, job.folder, "failed", None, said)


def _out_of_memory(job: SessionJob) -> tuple[str, str]:
    return (
        f"{job.media}: out of memory; close other programs and run the same line again, with "
        "--set workers=1 where there are several recordings",
        f"{job.media}: 메모리가 부족합니다. 다른 프로그램을 닫고 같은 명령을 다시 실행하십시오. "
        "기록이 여럿이면 --set workers=1을 붙이십시오",
    )
