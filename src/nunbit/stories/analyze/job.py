"""What analysing one recording needs: settings, its folder of results, and whether it is done.

A folder counts as done only while every file is there, whole. ``summary.json`` is written last and
holds size and digest of every other file except the report, which can be rendered again at any
time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from nunbit.core.messages import NO_TEXT, InputError, SettingsError, Text
from nunbit.core.schema import Box
from nunbit.core.streams import FACE_RATE_HZ, Interval
from nunbit.pictures.face_mesh import landmark_digest
from nunbit.recording.observer import (
    AudioStream,
    FacePx,
    HopS,
    MediaS,
    RateHz,
    ReadingSettings,
    RecordingJob,
    WindowS,
)
from nunbit.recording.read import length_in_header
from nunbit.runtime.claims import require_own
from nunbit.runtime.config import Seed, Threads, Workers, settings_to_dict
from nunbit.runtime.engines import EngineName
from nunbit.runtime.files import read_json, sha256_file, write_json, writing
from nunbit.runtime.progress import say, spoken_lang


@dataclass(frozen=True)
class AnalyzeSettings:
    """How recordings are analysed.

    Attributes:
        transcript: Transcript file; for several recordings a folder with one file of the same stem
            each; empty = none.
        speakers: Who speaks when (RTTM), given like ``transcript``; empty = one speaker is assumed.
        target_speaker: Name of the speaker to analyse, as the diarisation or the transcript has it;
            empty = the one who speaks most.
        lips: Who speaks where nothing names speakers, by whose lips move: ``auto`` = where that is
            sure enough, ``always``, ``never``.
        single_speaker: Only this person speaks in the recording: all speech is theirs.
        asr: Recogniser of the words where no transcript is given, or none with times: ``vosk``,
            ``faster-whisper``, or ``auto`` for the one that has a model here. With a transcript
            whose cues have times it finds the times of their words.
        asr_model: Model folder or size name of the recogniser; empty = what is installed.
        asr_download: Let faster-whisper download the model of a size name, once.
        language: BCP 47 language of the speech; empty = Whisper detects it.
        export: Formats besides Parquet: eaf, textgrid, vtt, csv, openface.
        eaf_tiers: Measures that become tiers of the ELAN file, for example valence, pitch or
            face.p_joy; ``--export eaf:valence,pitch`` sets both.
        baseline: Neutral stretch of the person as ``A-B`` in seconds; it needs 60 s or more of
            valid data.
        neutral: Where the person's own face is at rest, as ``A-B`` in seconds, or ``auto`` = found
            in the recording: class probabilities are then relative to it; empty = they are not.
        prior: Class shares that the probabilities of faces assume: ``train`` = as the bundle is,
            ``balanced`` = all classes alike, or a file with ``label,share``.
        subject: Name or code of the person, written into every row.
        embed: Put the video into the report instead of linking to it.
        full_rate: Read every frame, as blinks need; slower.
        rate_hz: Frames sampled for faces per second.
        window_s: Length of a window.
        hop_s: Step from one window to the next.
        target: Person to analyse: ``largest`` = the largest face, ``only`` = the only person in the
            picture.
        target_box: x0, y0, x1, y1 in pixels of the upright picture: the face in this box instead.
        target_time: Time at which ``target_box`` holds, seconds; None = the person who is in the
            box most.
        min_face_px: Smaller faces count as low quality.
        audio_stream: Number of the audio stream, from 0.
        fuse_voice: Let the bundle's experimental voice tower contribute to the fused index;
            otherwise its estimates are shown only. It never contributes to disagreement.
        unproven_agreement: Show the agreement of face, voice and words even if the verdict of the
            aligned bundle is not ``found``.
        threads: Threads of the models of one recording.
        workers: Recordings analysed at once; 0 = as many as the cores allow.
        part: ``i/n``: analyse only every n-th recording from the i-th on (1 ≤ i ≤ n), for job
            arrays. Tables over all recordings are written by every job; the last has them all.
        engine: Who analyses: ``local`` = processes of this machine, ``ray`` = a Ray cluster.
        address: Of ``ray``: HOST:PORT; '' = what RAY_ADDRESS names, else one started here.
        without_words: Write nothing of what was said: no words, no quotations, no transcript in
            exports; measures of the words stay. Implies ``forget``.
        codes: With a table of people: name folders, files and the recording itself in all results
            by person and session, not by the file's name.
        forget: Keep nothing that was observed, only the tables: other exports, languages and
            baselines then take the whole analysis again.
        overlap: Decode, search for faces and read them at the same time, on several cores; the
            results are the same.
        seed: Decides bootstrap intervals and surrogates.
    """

    transcript: str = ""
    speakers: str = ""
    target_speaker: str = ""
    lips: Literal["auto", "always", "never"] = "auto"
    single_speaker: bool = False
    asr: Literal["", "auto", "vosk", "faster-whisper"] = ""
    asr_model: str = ""
    asr_download: bool = False
    language: str = "ko"
    export: tuple[Literal["eaf", "textgrid", "vtt", "csv", "openface"], ...] = ()
    eaf_tiers: tuple[str, ...] = ()
    baseline: str = ""
    neutral: str = ""
    prior: str = "train"
    subject: str = ""
    embed: bool = False
    full_rate: bool = False
    rate_hz: RateHz = FACE_RATE_HZ
    window_s: WindowS = 4.0
    hop_s: HopS = 1.0
    target: Literal["largest", "only"] = "largest"
    target_box: Box | None = None
    target_time: MediaS | None = None
    min_face_px: FacePx = 40.0
    audio_stream: AudioStream = 0
    fuse_voice: bool = False
    unproven_agreement: bool = False
    threads: Threads = 1
    workers: Workers = 0
    part: str | None = None
    engine: EngineName = "local"
    address: str = ""
    without_words: bool = False
    codes: bool = False
    forget: bool = False
    overlap: bool = True
    seed: Seed = 0

    def baseline_interval(self) -> Interval | None:
        """``baseline`` as an interval, None where none is given.

        Raises:
            SettingsError: It is not two increasing numbers.
        """
        return _interval("baseline", self.baseline)

    def neutral_interval(self) -> Interval | None:
        """``neutral`` as an interval, None where none is given or it is to be found.

        Raises:
            SettingsError: It is not two increasing numbers.
        """
        return None if self.neutral == AUTO else _interval("neutral", self.neutral)

    def reading(self) -> ReadingSettings:
        """What reading the recording needs of these."""
        return ReadingSettings.of(self)


def _interval(name: str, text: str) -> Interval | None:
    if not text:
        return None
    try:
        start, end = (float(part) for part in text.split("-"))
        return Interval(start, end)
    except ValueError as exc:
        raise SettingsError(
            Text(
                f"`{name}={text}`: expected seconds as START-END, for example 0-75",
                f"`{name}={text}`: 초 단위 시작-끝으로 적으십시오. 예: 0-75",
            )
        ) from exc


AUTO = "auto"
"""``neutral``: the person's resting face is looked for in the recording."""

SUMMARY, BEFORE = "summary.json", ".summary.before.json"
"""The summary of a result that is whole; that of the one before, while its files are written."""

Stamp = tuple[int, int, int]
Described = dict[str, dict[str, Any]]


def stamps(folder: Path) -> dict[str, Stamp]:
    """Files directly in a folder, with stamps that change when they are written again."""
    if not folder.is_dir():
        return {}
    files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    stats = {path.name: path.stat() for path in files}
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns) for name, s in stats.items()}


def describe_written(folder: Path, before: Mapping[str, Stamp]) -> Described:
    """Name -> ``bytes`` and ``sha256`` of the files that are new or changed since ``before``."""
    return {
        name: {"bytes": stamp[1], "sha256": sha256_file(folder / name)}
        for name, stamp in sorted(stamps(folder).items())
        if before.get(name) != stamp
    }


def described_before(folder: Path) -> Described:
    """What the summary of an earlier run says it wrote; empty without one."""
    found = summary_before(folder).get("files")
    return found if isinstance(found, dict) else {}


def summary_before(folder: Path) -> dict[str, Any]:
    """The summary of an earlier run, also where a run was killed while it wrote; else empty."""
    for name in (SUMMARY, BEFORE):
        try:
            found = read_json(folder / name)
        except InputError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def remove_stale(folder: Path, earlier: Described, written: Described) -> tuple[str, ...]:
    """Delete what an earlier run wrote and this one did not: exports of other settings.

    Returns:
        Names of those that are kept, because somebody changed them since.
    """
    changed = []
    for name in sorted(set(earlier) - set(written)):
        path = folder / name
        if path.parent != folder or not path.is_file():
            continue
        if is_whole(folder, {name: earlier[name]}):
            with writing(path):
                path.unlink()
        else:
            changed.append(name)
    return tuple(changed)


def keep_edited(job: SessionJob, earlier: Described, suffixes: Iterable[str]) -> dict[Path, Path]:
    """Rename exports that are not as nunbit wrote them, before they are written again.

    Args:
        job: Of the folder.
        earlier: What the earlier run wrote.
        suffixes: Of the exports that are written now.

    Returns:
        Where each was, and where it is.
    """
    kept: dict[Path, Path] = {}
    for suffix in suffixes:
        path = job.folder / f"{job.session}{suffix}"
        facts = earlier.get(path.name)
        if not path.is_file() or (facts and is_whole(job.folder, {path.name: facts})):
            continue
        names = (f"{job.session}.edited{number or ''}{suffix}" for number in (0, *range(2, 1000)))
        free = next(name for name in names if not (job.folder / name).exists())
        with writing(path):
            kept[path] = path.rename(job.folder / free)
    return kept


def tell_edited(kept: Mapping[Path, Path]) -> Iterator[Text]:
    """What to say of them; one that is written just so again, by a run that was killed, goes."""
    for path, place in kept.items():
        if path.is_file() and sha256_file(path) == sha256_file(place):
            place.unlink()
            continue
        yield Text(
            f"{path.name} was not as nunbit wrote it: it is kept as {place.name}",
            f"{path.name} 파일은 nunbit이 쓴 그대로가 아니어서 {place.name}(으)로 남겨 둡니다",
        )


def is_whole(folder: Path, described: object) -> bool:
    """Whether every described file is there unchanged; False if nothing is described."""
    if not isinstance(described, dict) or not described:
        return False
    for name, facts in described.items():
        path = folder / str(name)
        if path.parent != folder or not isinstance(facts, dict) or not path.is_file():
            return False
        if path.stat().st_size != facts.get("bytes") or sha256_file(path) != facts.get("sha256"):
            return False
    return True


# What changes speed, who does the work, or what is kept, and no result. The places of transcript
# and diarisation do not matter; their content does: see the inputs.
_FREE = {"threads", "workers", "overlap", "asr_download", "forget", "transcript", "speakers"} | {
    *("part", "engine", "address"),
}


@dataclass(frozen=True, slots=True)
class SessionJob:
    """One recording and its folder of results, as plain data that crosses to a worker process.

    Attributes:
        recording: What is read.
        folder: Gets the results.
        settings: How.
        kept_in: Folder with what an earlier run observed.
        from_kept: Whether that is all that was given: then the recording may be gone.
        inputs: Digests that are known of an earlier run, where its folder was given.
        synthetic: Whether a recording that is gone was drawn.
        about: Session, group and the user's own columns of the table of people; None without one:
            what an earlier run knew of it stays.
        length_s: Of the recording, whole seconds, for progress; 0 where unknown.
        engine: Name and workers of the engine that runs the job.
    """

    recording: RecordingJob
    folder: Path
    settings: AnalyzeSettings
    kept_in: Path
    from_kept: bool = False
    inputs: tuple[tuple[str, str], ...] = ()
    synthetic: bool = False
    about: tuple[tuple[str, str], ...] | None = None
    length_s: int = 0
    engine: tuple[str, int] = ("local", 1)

    @property
    def session(self) -> str:
        """Name of the recording."""
        return self.recording.session


_MOST_OPENED = 100
"""Opening a file takes 5 to 50 ms, and nothing is shown before."""


def with_lengths(jobs: Sequence[SessionJob]) -> list[SessionJob]:
    """The jobs with the lengths of their recordings; of very many the mean of some stands for all.

    A recording that cannot be opened says so when it is read.
    """
    some = [job for job in jobs[:: max(1, len(jobs) // _MOST_OPENED)] if job.recording.there]
    lengths = {job.folder: round(length_in_header(job.recording.media)) for job in some}
    usual = round(sum(lengths.values()) / len(lengths)) if len(jobs) > len(some) and lengths else 0
    return [replace(job, length_s=lengths.get(job.folder, usual)) for job in jobs]


def is_done(job: SessionJob) -> bool:
    """Whether the folder holds the complete result of the same file, bundle and settings."""
    path, report = job.folder / SUMMARY, job.folder / "report.html"
    if not path.is_file():
        return False
    try:
        summary = read_json(path)
        stored = summary["provenance"]
        return bool(
            stored.get("settings") == settings_of(job)
            and stored.get("inputs") == inputs_of(job)
            and report.is_file()
            and report.stat().st_size
            and is_whole(job.folder, summary.get("files"))
        )
    except (InputError, OSError, AttributeError, KeyError, TypeError):
        return False  # no summary of this version, or a file that reading it will tell of


def refuse_other(job: SessionJob) -> None:
    """Refuse a folder with the result of another recording, or with a file of somebody's.

    A file that was replaced under its own name is the same recording; with codes, the table says.

    Raises:
        InputError: What is there would be lost.
    """
    require_own(job.folder / SUMMARY, (), kinds=("timeline",))
    try:
        summary = summary_before(job.folder)
        theirs, shown = summary["provenance"]["inputs"]["media"], summary["media"]["path"]
        own = inputs_of(job).get("media")
        if theirs == own or own is None or job.settings.codes:
            return
    except (OSError, AttributeError, KeyError, TypeError):
        return  # no result, or a recording that reading it will tell of
    if shown and os.path.realpath(job.folder / shown) == os.path.realpath(job.recording.media):
        return
    named = Text(f" ({shown})", f"({shown})") if shown else NO_TEXT
    raise InputError(
        Text(
            f"{job.folder}: has the result of another recording{named.en}, not of "
            f"{job.recording.media}; choose another `out`, rename one of the two, or delete the "
            "folder if its result is to be replaced",
            f"{job.folder}: {job.recording.media}이(가) 아니라 다른 녹화{named.ko}의 결과가 들어 "
            "있습니다. 다른 `out`을 고르거나 한쪽의 이름을 바꾸십시오. 결과를 바꾸려면 폴더를 먼저 "
            "지우십시오",
        )
    )


def about_of(job: SessionJob) -> dict[str, str]:
    """What the table of people says of the recording: as given, else as an earlier run knew it."""
    if job.about is not None:
        return {name: text for name, text in job.about if text}
    found = summary_before(job.folder).get("about")
    return dict(found) if isinstance(found, dict) else {}


def note_about(job: SessionJob) -> None:
    """Bring what the table of people says into a folder that is done."""
    summary, about = read_json(job.folder / SUMMARY), about_of(job)
    if (summary.get("about") or {}) != about:
        write_json(job.folder / SUMMARY, summary | {"about": about})


def settings_of(job: SessionJob) -> dict[str, Any]:
    """Everything that decides the result, as plain JSON data."""
    given = {k: v for k, v in settings_to_dict(job.settings).items() if k not in _FREE}
    return dict(json.loads(json.dumps(given | {"lang": spoken_lang()})))


def inputs_of(job: SessionJob) -> dict[str, str]:
    """Digests of the recording and the files beside it, of the bundle and the landmark network."""
    recording = job.recording
    files = {
        "media": recording.media if recording.there else None,
        "transcript": recording.transcript,
        "speakers": recording.speakers,
    }
    found = {name: _sha256(path) for name, path in files.items() if path is not None}
    landmarks = {"landmarks": digest} if (digest := landmark_digest()) else {}
    return dict(job.inputs) | found | {"bundle": recording.bundle_hash} | landmarks


def _sha256(path: Path) -> str:
    about = path.stat()
    return _sha256_of(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=16)
def _sha256_of(path: Path, _size: int, _changed: int) -> str:
    return sha256_file(path)  # an hour of video takes seconds, and is asked for several times


def say_all(job: SessionJob, notices: Iterable[Text]) -> None:
    """Say notices, given while the recording is worked on."""
    for notice in notices:
        say(notice.under(job.session))
