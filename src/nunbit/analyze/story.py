"""Run ``nunbit analyze``: every recording to a folder of its own, then one table over all.

A recording that is done is not done again: its ``summary.json`` says from which file, bundle and
settings it came. One that cannot be read is reported and never stops the others.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.analyze.observe import SessionJob
from nunbit.analyze.session import analyse_session, is_done
from nunbit.analyze.sessions import write_sessions
from nunbit.analyze.settings import AnalyzeSettings
from nunbit.encoders import load_bundle
from nunbit.errors import InputError, Lang, MissingExtra, NunbitError
from nunbit.files import read_json, writing
from nunbit.predict.shipped import default_bundle_path
from nunbit.progress import Progress, say
from nunbit.report import check_embeddable, render_sessions
from nunbit.workers import Tools, available_cores, run_tasks

TRANSCRIPT_SUFFIXES = (".srt", ".vtt", ".textgrid", ".eaf", ".json", ".csv", ".tsv", ".txt")
MEDIA_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".ts", ".mts"),
        *(".3gp", ".flv", ".ogv", ".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus"),
        *(".wma", ".aiff"),
    )
)


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
    jobs = [
        SessionJob(
            media=path,
            folder=out / name,
            session=name,
            transcript=companion(settings.transcript, path, len(paths), TRANSCRIPT_SUFFIXES),
            speakers=companion(settings.speakers, path, len(paths), (".rttm",)),
            bundle=folder,
            bundle_hash=digest,
            settings=settings,
            lang=lang,
        )
        for path, name in zip(paths, names, strict=True)
    ]
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
    with Progress(title, None, "s", lang=lang) as bar:
        for outcome in run_tasks(_work, left, num_workers=workers, advance=bar.advance):
            outcomes[outcome.session] = outcome
            # The error of an only recording is raised, and said by whoever catches it.
            if outcome.error is not None and len(jobs) > 1:
                say(f"nunbit: {outcome.error[0] if lang == 'en' else outcome.error[1]}")
            for en, ko in ((outcome.summary or {}).get("transcript") or {}).get("notices", ()):
                say(f"{outcome.session}: {en if lang == 'en' else ko}")
    return [outcomes[job.session] for job in jobs]


def _work(job: SessionJob, tools: Tools) -> Outcome:
    try:
        summary = analyse_session(job, tools.advance)
    except (MissingExtra, NunbitError) as exc:
        return Outcome(job.session, job.folder, "failed", None, (exc.en, exc.ko))
    return Outcome(job.session, job.folder, "done", summary)


def list_media(media: Sequence[Path]) -> tuple[Path, ...]:
    """Every recording once, folders replaced by the recordings directly in them.

    Raises:
        InputError: A path is missing, or a folder has no recording.
    """
    found: dict[Path, None] = {}
    for path in media:
        if path.is_dir():
            inside = sorted(
                p for p in path.iterdir() if p.suffix.lower() in MEDIA_SUFFIXES and p.is_file()
            )
            if not inside:
                raise InputError(
                    en=f"{path}: no video or sound file in this folder",
                    ko=f"{path}: 이 폴더에 영상이나 음성 파일이 없습니다",
                )
            found |= dict.fromkeys(inside)
        elif path.exists():
            found[path] = None
        else:
            raise InputError(en=f"{path}: there is no such file", ko=f"{path}: 파일이 없습니다")
    if not found:
        raise InputError(en="no recording given", ko="영상이나 음성 파일을 하나 이상 주십시오")
    return tuple(found)


def session_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """One folder name per recording: the stem; with its folder or suffix where stems repeat.

    Raises:
        InputError: Two recordings cannot be told apart even so.
    """
    stems = [unicodedata.normalize("NFC", p.stem) for p in paths]
    names = []
    for path, stem in zip(paths, stems, strict=True):
        name = stem
        if stems.count(stem) > 1:
            name = f"{unicodedata.normalize('NFC', path.resolve().parent.name)}-{path.name}"
        names.append(name)
    if len({name.casefold() for name in names}) < len(names):
        raise InputError(
            en="two recordings have the same folder and file name; analyse them in two calls",
            ko="폴더와 파일 이름이 같은 기록이 둘 있습니다. 따로 분석하십시오",
        )
    return tuple(names)


def companion(given: str, media: Path, n_media: int, suffixes: tuple[str, ...]) -> Path | None:
    """The transcript or diarisation that belongs to a recording.

    Args:
        given: A file, a folder with one file of the recording's stem, or '' for none.
        media: The recording.
        n_media: How many recordings there are: a single file fits only one.
        suffixes: Of files in a folder, preferred first.

    Raises:
        InputError: It does not exist, or one file is given for several recordings.
    """
    if not given:
        return None
    path = Path(given)
    if path.is_dir():
        stem = unicodedata.normalize("NFC", media.stem)
        same = {
            p.suffix.lower(): p
            for p in sorted(path.iterdir())
            if unicodedata.normalize("NFC", p.stem) == stem
        }
        return next((same[s] for s in suffixes if s in same), None)
    if not path.is_file():
        raise InputError(en=f"{path}: there is no such file", ko=f"{path}: 파일이 없습니다")
    if n_media > 1:
        raise InputError(
            en=f"{path}: one file for {n_media} recordings; give a folder with one file of the "
            "same name for each",
            ko=f"{path}: 기록이 {n_media}개인데 파일은 하나입니다. 기록과 같은 이름의 파일이 든 "
            "폴더를 주십시오",
        )
    return path


def require_media_extra() -> None:
    """Say at once, and not after an hour, that decoding is impossible.

    Raises:
        MissingExtra: PyAV is not installed.
    """
    from importlib.util import find_spec

    if find_spec("av") is None:
        raise MissingExtra("av", "media")
    os.environ.setdefault("AV_LOG_FORCE_NOCOLOR", "1")
