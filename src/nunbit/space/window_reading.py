"""What ``align`` learns from: its settings, the person and the windows of every recording.

A recording is read as ``nunbit analyze`` reads it, and its window vectors stay beside the run: a
rerun with the same file, bundle and settings takes these. They are small (0.6 MB for ten minutes)
and hold no picture and no sound, but people can be recognised from the face vectors, so they can be
deleted (``forget=true``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from nunbit.core.messages import InputError, MissingExtra, NunbitError, Text
from nunbit.core.schema import SYNTHETIC_MARK
from nunbit.core.streams import FACE_RATE_HZ, Floats, Singles
from nunbit.core.timebase import SAME_SUM_S, window_grid
from nunbit.measures.turns import turns_from
from nunbit.model.bundle import BUNDLE_FILE
from nunbit.model.encoders import load_bundle
from nunbit.recording.observer import (
    AudioStream,
    FacePx,
    HopS,
    Observed,
    RateHz,
    ReadingSettings,
    RecordingJob,
    WindowS,
)
from nunbit.recording.read import observe_recording
from nunbit.runtime.claims import is_part, remove_own_parts, require_own
from nunbit.runtime.config import Seed, Threads, Workers, settings_to_dict
from nunbit.runtime.engines import EngineName
from nunbit.runtime.files import (
    PartStore,
    read_arrays,
    read_json,
    sha256_file,
    write_json,
    writing,
)  # fmt: skip
from nunbit.runtime.progress import say
from nunbit.runtime.workers import Tools, fault_text
from nunbit.space.vectors import Centre, nuisance_numbers, own_stretches
from nunbit.space.windows import ALIGNMENT, WindowStreams, window_inputs

ENOUGH_FOR_INFONCE = 5_000
"""Windows that do not overlap; below, contrastive learning overfits and ridge CCA is taken."""

RECORDINGS = "recordings"
"""Folder of a run with what was read of every recording: vectors that tell who it is."""

RESULT = "result.json"

FEWEST_WINDOWS = 60
"""Windows with two modalities without which nothing can be fitted and judged."""


@dataclass(frozen=True)
class AlignSettings:
    """How an alignment is learned and tested.

    Attributes:
        persons: CSV file with the columns media and person; empty = the person follows from folder
            or file name.
        transcript: Transcript file, or a folder with one file of the same stem for each recording.
        speakers: Who speaks when (RTTM), given like ``transcript``.
        target_speaker: Name of the speaker to analyse; empty = the one who speaks most.
        asr: Recogniser of the words where no transcript is given.
        language: BCP 47 language of the speech.
        method: ``cca``, ``infonce``, or ``auto``: ridge CCA below 5,000 windows that do not
            overlap, contrastive learning from there on.
        centre: Mean that is subtracted: that of the ``recording`` (and so of the person in it), of
            the ``person``, or ``none``.
        without_talking: Use heads from which talking and mouth movement are removed; their result
            is then the headline.
        rate_hz: Frames sampled for faces per second.
        window_s: Length of a window.
        hop_s: Step from one window to the next.
        min_face_px: Smaller faces count as low quality.
        audio_stream: Number of the audio stream, from 0.
        n_candidates: Candidate windows among which the matching one is searched for.
        apart_s: Least distance between candidates of the same recording.
        folds: Groups of people, each left out in turn.
        steps: Steps of contrastive learning.
        batch_size: Windows a step.
        lr: Peak learning rate.
        threads: Threads of the models of one recording.
        workers: Recordings read at once; 0 = as many as the cores allow.
        engine: Who reads: ``local`` = processes of this machine, ``ray`` = a Ray cluster.
        address: Of ``ray``: HOST:PORT; '' = what RAY_ADDRESS names, else one started here.
        forget: Delete the window vectors of the recordings (``RUN/recordings``) after the run.
        seed: Decides candidates and batches.
    """

    persons: str = ""
    transcript: str = ""
    speakers: str = ""
    target_speaker: str = ""
    asr: Literal["", "vosk", "faster-whisper"] = ""
    language: str = "ko"
    method: Literal["auto", "cca", "infonce"] = "auto"
    centre: Centre = "recording"
    without_talking: bool = False
    rate_hz: RateHz = FACE_RATE_HZ
    window_s: WindowS = 4.0
    hop_s: HopS = 1.0
    min_face_px: FacePx = 40.0
    audio_stream: AudioStream = 0
    n_candidates: Annotated[int, msgspec.Meta(ge=5, le=100)] = 20
    apart_s: Annotated[float, msgspec.Meta(ge=0.1, le=86400)] = 8.0
    folds: Annotated[int, msgspec.Meta(ge=2, le=20)] = 5
    steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2000
    batch_size: Annotated[int, msgspec.Meta(ge=16, le=65_536)] = 256
    lr: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1e-3
    threads: Threads = 1
    workers: Workers = 0
    engine: EngineName = "local"
    address: str = ""
    forget: bool = False
    seed: Seed = 0

    def reading(self) -> ReadingSettings:
        """How recordings are read: as ``nunbit analyze`` does, with the model's vectors kept."""
        return ReadingSettings.of(self, keep_embeddings=True)


CACHE_FORMAT = "nunbit-align-windows-2"

# What changes the windows, besides the files and the bundle.
_READING = (
    *("target_speaker", "asr", "asr_model", "language", "rate_hz", "window_s", "hop_s", "target"),
    *("min_face_px", "audio_stream"),
)


@dataclass(frozen=True, eq=False)
class RecordingWindows:
    """One recording's windows.

    Attributes:
        session: Name of the recording.
        start_s: (W,).
        vectors: Modality -> (W, D), NaN where missing.
        nuisance: Name -> (W,), talking and mouth (``vectors.NUISANCES``), NaN where missing.
        duration_s: Of the recording.
        transcript: Whether there are words, given or recognised.
        synthetic: Whether the recording was drawn.
        kept: Whether it came from an earlier run.
        error: Why it could not be read or None.
        notices: Notices about it.
    """

    session: str
    start_s: Floats
    vectors: dict[str, Singles]
    nuisance: dict[str, Floats] = field(default_factory=dict)
    duration_s: float = 0.0
    transcript: bool = False
    synthetic: bool = False
    kept: bool = False
    error: Text | None = None
    notices: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowsJob:
    """One recording whose windows are wanted, as plain data that crosses to a worker process."""

    recording: RecordingJob
    cache: Path
    window_s: float
    hop_s: float


def windows_job(
    media: Path,
    session: str,
    cache: Path,
    bundle: tuple[Path, str],
    settings: AlignSettings,
    beside: tuple[Path | None, Path | None] = (None, None),
) -> WindowsJob:
    """The job of one recording; its windows go to ``cache``, ``beside`` are words and speakers."""
    recording = RecordingJob(
        media=media,
        session=session,
        parts_folder=cache / f"{session}.unfinished",
        transcript=beside[0],
        speakers=beside[1],
        bundle=bundle[0],
        bundle_hash=bundle[1],
        settings=settings.reading(),
    )
    return WindowsJob(recording, cache, settings.window_s, settings.hop_s)


def recording_windows(job: WindowsJob, tools: Tools) -> RecordingWindows:
    """Windows of one recording, from the cache where it fits; errors are returned, not raised."""
    media = job.recording.media
    try:
        return _read_windows(job, tools)
    except (MissingExtra, NunbitError) as exc:
        error = exc.text
    except MemoryError:
        error = _OUT_OF_MEMORY.under(media)
    except OSError as exc:
        why = exc.strerror or str(exc)
        error = Text(f"cannot be read ({why})", f"읽을 수 없습니다({why})").under(media)
    except Exception as exc:  # whatever it is: the other recordings must be read
        error = fault_text(media, exc)
    return RecordingWindows(job.recording.session, np.zeros(0), {}, error=error)


def lost_windows(job: WindowsJob, error: InputError) -> RecordingWindows:
    """What a recording gives whose process was killed."""
    said = error.text.under(job.recording.media)
    return RecordingWindows(job.recording.session, np.zeros(0), {}, error=said)


_OUT_OF_MEMORY = Text(
    "out of memory; close other programs and run the same line again with `workers=1`",
    "메모리가 부족합니다. 다른 프로그램을 닫고 `workers=1`로 같은 명령을 다시 실행하십시오",
)


def _read_windows(job: WindowsJob, tools: Tools) -> RecordingWindows:
    own_job = job.recording
    store = window_store(job)
    synthetic = (own_job.media.parent / SYNTHETIC_MARK).is_file()
    if (kept := store.read(own_job.session)) is not None:
        return replace(kept, synthetic=synthetic, kept=True)
    # Version 0.1 kept the same vectors in a file of another kind.
    if _is_first_version(old := job.cache / f"{own_job.session}.npz"):
        old.unlink(missing_ok=True)
    bundle = load_bundle(own_job.bundle, threads=own_job.settings.threads)
    seen = observe_recording(own_job, bundle, tools.advance)
    duration_s, transcript, voice = seen.media.duration_s, seen.transcript, seen.voice
    faces, choice = (
        (None, None) if seen.faces is None else seen.faces.choose(own_job.settings.person)
    )
    turns = turns_from(
        voice,
        transcript,
        seen.speakers.stretches,
        duration_s,
        target=own_job.settings.target_speaker,
    )
    # The clipped last window is another kind of sample.
    whole = tuple(
        window
        for window in window_grid(duration_s, job.window_s, job.hop_s)
        if window.duration_s >= job.window_s - SAME_SUM_S
    )
    found = RecordingWindows(
        session=own_job.session,
        start_s=np.array([w.start_s for w in whole], np.float64),
        vectors=window_inputs(bundle, WindowStreams(faces, voice, transcript, turns, whole)),
        nuisance=nuisance_numbers(faces, voice, transcript, whole, own_stretches(turns)),
        duration_s=duration_s,
        transcript=transcript is not None,
        synthetic=synthetic,
        notices=_notices(own_job, seen, () if choice is None else choice.notices),
    )
    store.write(own_job.session, found)
    remove_own_parts(own_job.parts_folder)
    return found


def _notices(job: RecordingJob, seen: Observed, chosen: tuple[Text, ...]) -> tuple[Text, ...]:
    """What was odd about the files of a recording, each once."""
    given = seen.transcript.reading if job.transcript and seen.transcript else ()
    beside = [note for note in (*given, *seen.speakers.reading) if note.treatment != "read"]
    notes = [note.text for note in (*seen.media.reading, *beside)]
    return tuple(dict.fromkeys((*notes, *seen.notices, *chosen)))


def window_store(job: WindowsJob) -> PartStore[RecordingWindows]:
    """Where the windows of a recording are kept, by everything they depend on."""
    own = job.recording
    files = {"media": own.media, "transcript": own.transcript, "speakers": own.speakers}
    inputs = {name: sha256_file(p) for name, p in files.items() if p is not None}
    given = settings_to_dict(own.settings) | {"window_s": job.window_s, "hop_s": job.hop_s}
    key = (CACHE_FORMAT, inputs, own.bundle_hash, {name: given.get(name) for name in _READING})
    return PartStore(job.cache, RecordingWindows, key)


# -- forgetting ------------------------------------------------------------------------------------

FORGOTTEN = "forgotten.json"
"""File with the time of the deletion, so that the next run can explain why it reads again."""


def kept_readings(run: Path) -> dict[str, Any]:
    """How many files are kept, their bytes, and when earlier ones were deleted (or None)."""
    folder = run / RECORDINGS
    own = [*filter(is_part, folder.glob("*.part")), *_of_first_version(folder)]
    sizes = [path.stat().st_size for path in own]
    gone = run / FORGOTTEN
    return {
        "folder": RECORDINGS,
        "files": len(sizes),
        "bytes": sum(sizes),
        "deleted": str(read_json(gone)["deleted"]) if gone.is_file() else None,
    }


ALIGNMENTS = ("nunbit-alignment-1", "nunbit-alignment-2")
"""What ``format`` of a result of an alignment may be."""


def delete_readings(run: Path) -> dict[str, Any]:
    """Delete the window vectors of a run; its result, report and bundle stay, and files of others.

    Returns:
        ``result.json`` as it is now; without a result what is kept now.

    Raises:
        InputError: There is no run here, or a file cannot be deleted.
    """
    path, folder = run / RESULT, run / RECORDINGS
    result = path.is_file()
    if result:
        require_own(path, ALIGNMENTS)
    elif not any(map(is_part, folder.rglob("*.part"))) and not _of_first_version(folder):
        raise InputError(
            Text(
                f"{run}: no run of nunbit align here; give its folder as `out`",
                f"{run}: nunbit align의 결과 폴더가 아닙니다. 그 폴더를 `out`으로 지정하십시오",
            )
        )
    count = kept_readings(run)["files"]
    with writing(folder):
        for old in _of_first_version(folder):
            old.unlink()
        remove_own_parts(folder)
        if count:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(run / FORGOTTEN, {"deleted": now, "files": count})
    say(
        Text(
            f"what was read of {count} recordings is deleted",
            f"녹화 {count}개의 창 벡터를 삭제했습니다",
        ).under(folder)
    )
    kept = {"readings": kept_readings(run)}
    if not result:  # ended before it had a result
        return kept
    document: dict[str, Any] = read_json(path) | kept
    write_json(path, document)
    return document


def _of_first_version(folder: Path) -> list[Path]:
    """Window vectors as version 0.1 kept them; arrays of others are left out."""
    return [path for path in sorted(folder.glob("*.npz")) if _is_first_version(path)]


def _is_first_version(path: Path) -> bool:
    try:
        read_arrays(path, ("key", "start_s"))
    except (InputError, OSError, ValueError):
        return False
    return True


def refuse_other_run(run: Path) -> None:
    """Refuse a folder with a result or a bundle of another command, before anything is read.

    Raises:
        InputError: Either would be lost.
    """
    require_own(run / RESULT, ALIGNMENTS)
    bundle = run / "bundle"
    if not bundle.exists() or _format(run / RESULT) in ALIGNMENTS:
        return
    if ALIGNMENT in _document(bundle / BUNDLE_FILE):  # of a run that was killed before its result
        return
    raise InputError(
        Text(
            f"{bundle}: was not written by this command and would be lost; choose another `out`",
            f"{bundle}: 이 명령이 만든 번들이 아니어서 덮어쓰지 않습니다. 다른 `out`을 고르십시오",
        )
    )


def _document(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path) if path.is_file() else None
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def _format(path: Path) -> object:
    return _document(path).get("format")


def refuse_inside(media: Sequence[Path], run: Path) -> None:
    """Refuse recordings in the folder where a run keeps what it read.

    Raises:
        InputError: One lies there.
    """
    folder = os.path.realpath(run / RECORDINGS)
    for path in media:
        inside = folder in map(str, Path(os.path.realpath(path)).parents)
        if inside or folder in map(str, Path(os.path.abspath(path)).parents):  # noqa: PTH100
            raise InputError(
                Text(
                    f"{path}: lies in {run / RECORDINGS}, where the run keeps what it reads and "
                    "deletes it; choose another `out`",
                    f"{path}: 실행이 읽은 값을 보관하고 지우는 {run / RECORDINGS} 안에 있습니다. "
                    "다른 `out`을 고르십시오",
                )
            )
