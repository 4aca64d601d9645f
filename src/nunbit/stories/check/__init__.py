"""The story of ``nunbit check``: what would be read of every file, in seconds.

Recordings, transcripts, diarisations and photos, or folders of them. A file that is unusable, or
that kills its process, is reported and does not stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nunbit.core.messages import InputError, Lang, NunbitError, Text, missing_file
from nunbit.core.schema import ReadingNote
from nunbit.pictures.faces import detect_faces, end_detector_process
from nunbit.pictures.photos import NOTE_TEXTS, read_photo
from nunbit.pictures.photos import SUFFIXES as PHOTO_SUFFIXES
from nunbit.recording.media import probe_media, sample_sound
from nunbit.recording.paths import (
    MEDIA_SUFFIXES,
    SPEAKER_SUFFIXES,
    TRANSCRIPT_SUFFIXES,
    companion,
    require_media_extra,
    unread_folders,
    without_companion,
)
from nunbit.recording.read import protocol, script_notes, speakers_notes
from nunbit.recording.transcript import Diarisation, Script, read_rttm, read_words
from nunbit.runtime.files import require_regular
from nunbit.runtime.progress import Progress
from nunbit.runtime.workers import Tools, available_cores, fault_text, run_tasks
from nunbit.stories.check.look import (
    Checked,
    CheckSettings,
    Kind,
    Seen,
    fit_of,
    listen,
    look_at_frames,
    sound_notes,
)

FORMAT = "nunbit-check-1"

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(TRANSCRIPT_SUFFIXES, "transcript"),
    **dict.fromkeys(SPEAKER_SUFFIXES, "speakers"),
    **dict.fromkeys(PHOTO_SUFFIXES, "photo"),
    **dict.fromkeys(MEDIA_SUFFIXES, "recording"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One file to check, as plain data for a worker process."""

    number: int
    path: Path
    kind: Kind
    transcript: Path | None
    speakers: Path | None
    settings: CheckSettings
    notes: tuple[ReadingNote, ...] = ()


def check(
    files: Sequence[Path], settings: CheckSettings
) -> tuple[tuple[Checked, ...], tuple[Text, ...]]:
    """Check files without analysing them.

    Args:
        files: Recordings, transcripts, diarisations (RTTM), photos, or folders of them.
        settings: How closely, and where the transcripts of recordings are.

    Returns:
        One result per file, in the order given; and sentences on what was not looked
        at.

    Raises:
        InputError: A path is missing, a folder holds nothing of these, or one transcript is given
            for several recordings.
        MissingExtra: There are recordings and the extra ``media`` is not installed.
    """
    listed, unread = _listed(files)
    jobs = list(_jobs(listed, settings))
    if any(job.kind == "recording" for job in jobs):
        require_media_extra()
    workers = min(settings.workers or available_cores(), len(jobs))
    lost = _lost if len(jobs) > 1 else None
    with Progress(Text("checking", "살펴보기"), len(jobs), "file") as bar:
        results = dict(run_tasks(_work, jobs, num_workers=workers, advance=bar.advance, lost=lost))
    return tuple(results[job.number] for job in jobs), unread


def check_document(
    results: Sequence[Checked], unread: Sequence[Text], lang: Lang
) -> dict[str, Any]:
    """What ``--json`` prints."""
    states = Counter(result.state for result in results)
    return {
        "format": FORMAT,
        "sampled": True,
        "counts": {state: states[state] for state in ("ok", "noted", "failed")},
        "files": [result.to_dict(lang) for result in results],
        "notices": [notice.pair() for notice in unread],
    }


def _listed(files: Sequence[Path]) -> tuple[list[tuple[Path, Kind]], tuple[Text, ...]]:
    """Every file once with its kind, and the files in folders that are skipped."""
    found: dict[Path, Kind] = {}
    said = list(unread_folders(files))
    for path in files:
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.is_file() and p.name[:1] != "."]
            known = {p: _KINDS[p.suffix.lower()] for p in inside if p.suffix.lower() in _KINDS}
            others = Counter(p.suffix.lower() or p.name for p in inside if p not in known)
            if not known:
                raise InputError(
                    Text(
                        f"{path}: no recording, transcript or photo directly in this folder",
                        f"{path}: 이 폴더 바로 아래에 녹화, 전사, 사진이 없습니다",
                    )
                )
            found |= known
            if others:
                names = ", ".join(f"{n} {suffix}" for suffix, n in sorted(others.items())[:5])
                said.append(
                    Text(f"{path}: skipped: {names}", f"{path}: 살펴보지 않은 파일: {names}")
                )
        elif path.exists():
            require_regular(path)
            found[path] = _KINDS.get(path.suffix.lower(), "recording")
        else:
            raise missing_file(path)
    if not found:
        raise InputError(Text("no file given", "파일을 하나 이상 주십시오"))
    return list(found.items()), tuple(said)


def _jobs(listed: Sequence[tuple[Path, Kind]], settings: CheckSettings) -> Iterator[Job]:
    n_media = sum(kind == "recording" for _, kind in listed)
    for number, (path, kind) in enumerate(listed):
        if kind != "recording":
            yield Job(number, path, kind, None, None, settings)
            continue
        words = companion(settings.transcript, path, n_media, TRANSCRIPT_SUFFIXES)
        spoken = companion(settings.speakers, path, n_media, SPEAKER_SUFFIXES)
        absent = without_companion(
            path, transcript=(settings.transcript, words), speakers=(settings.speakers, spoken)
        )
        yield Job(number, path, kind, words, spoken, settings, absent)


def _work(job: Job, tools: Tools) -> tuple[int, Checked]:
    look = {
        "recording": _recording,
        "transcript": _transcript,
        "speakers": _speakers,
        "photo": _photo,
    }
    try:
        checked = look[job.kind](job)
    except NunbitError as exc:
        checked = _failed(job, exc.text)
    except Exception as exc:  # whatever it is: the other files must be judged
        checked = _failed(job, fault_text(job.path, exc))
    tools.advance(1)
    return job.number, checked


def _lost(job: Job, error: InputError) -> tuple[int, Checked]:
    return job.number, _failed(job, error.text.under(job.path))


def _failed(job: Job, why: Text) -> Checked:
    return Checked(str(job.path), job.kind, error=why)


def _recording(job: Job) -> Checked:
    settings = job.settings
    media = probe_media(job.path, audio_stream=settings.audio_stream)
    transcript, spoken = None, Diarisation(())
    noticed = list(job.notes)
    if job.transcript is not None:
        words = read_words(job.transcript, duration_s=media.duration_s, media=media.name)
        if isinstance(words, Script):
            noticed += script_notes(words)
        else:
            transcript = words
    if job.speakers is not None:
        spoken = read_rttm(job.speakers, duration_s=media.duration_s, media=media.name)
    seen = heard = fit = None
    if media.video is not None:
        seen, own = look_at_frames(job.path, media, settings)
        noticed += own
        end_detector_process()
    if media.audio is not None:
        heard, listened, speech = listen(job.path, media, settings)
        noticed += sound_notes(heard, sample_sound(job.path, audio_stream=settings.audio_stream))
        if transcript is not None:
            fit, own = fit_of(
                transcript, listened, speech, media.duration_s if heard.whole else None
            )
            noticed += own
    notes = protocol(media, transcript, spoken, noticed)
    return Checked(str(job.path), "recording", notes, None, media, heard, seen, fit)


def _transcript(job: Job) -> Checked:
    found = read_words(job.path)
    if isinstance(found, Script):
        return Checked(str(job.path), "transcript", script_notes(found))
    return Checked(str(job.path), "transcript", protocol(None, found, Diarisation(())))


def _speakers(job: Job) -> Checked:
    return Checked(str(job.path), "speakers", speakers_notes(read_rttm(job.path)))


def _photo(job: Job) -> Checked:
    photo = read_photo(job.path)
    faces = detect_faces(photo.pixels)
    end_detector_process()
    size = max((face.size_px for face in faces), default=None)
    seen = Seen(1, int(bool(faces)), int(len(faces) > 1), size)
    width, height = photo.size
    read = {
        "photo": Text(
            f"photo: {width}×{height}, faces: {len(faces)}",
            f"사진: {width}×{height}, 얼굴 {len(faces)}개",
        )
    }
    if not faces:
        read["no_face_seen"] = Text("no face found", "얼굴을 찾지 못했습니다")
    name = job.path.name
    notes = (
        *(ReadingNote("read", code, 1, name, said) for code, said in read.items()),
        *(ReadingNote("repaired", note, 1, name, NOTE_TEXTS[note]) for note in photo.notes),
    )
    return Checked(str(job.path), "photo", notes, seen=seen)
