"""Recordings to windows: decode once, keep the window vectors beside the run.

The reading is that of ``nunbit analyze``. What is kept per recording is small (0.6 MB for ten
minutes) and holds no picture and no sound, but the model's vectors of the face as they are: people
can be recognised from them. They are used again while file, bundle and settings are the same, and
``--forget`` deletes
them (``forgetting``).
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nunbit.align.settings import AlignSettings, ReadingSettings
from nunbit.alignment.vectors import nuisance_numbers, own_stretches
from nunbit.analyze.aligned import Seen, window_inputs
from nunbit.analyze.face_part import remove_parts
from nunbit.analyze.observe import SessionJob, observe
from nunbit.analyze.session import load_words, read_speakers, recognise
from nunbit.analyze.words import read_words
from nunbit.config import settings_to_dict
from nunbit.encoders import load_bundle
from nunbit.errors import MissingExtra, NunbitError
from nunbit.files import atomic_path, sha256_file
from nunbit.measures import turns_from
from nunbit.media import probe_media
from nunbit.schema import SYNTHETIC_MARK
from nunbit.streams import Floats, Singles
from nunbit.timebase import window_grid
from nunbit.workers import Tools

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
        nuisance: Name -> (W,), talking and mouth (``alignment.NUISANCES``), NaN where missing.
        duration_s: Of the recording.
        transcript: Whether words were given or recognised.
        synthetic: Whether the recording was drawn.
        kept: Whether it came from an earlier run.
        error: Why it could not be read, as (en, ko), or None.
        notices: What was odd about it.
    """

    session: str
    start_s: Floats
    vectors: dict[str, Singles]
    nuisance: dict[str, Floats] = dataclasses.field(default_factory=dict)
    duration_s: float = 0.0
    transcript: bool = False
    synthetic: bool = False
    kept: bool = False
    error: tuple[str, str] | None = None
    notices: tuple[tuple[str, str], ...] = ()


def reading_job(
    media: Path, session: str, cache: Path, bundle: tuple[Path, str], settings: AlignSettings
) -> SessionJob:
    """The job of one recording; transcript and diarisation are filled in by the caller."""
    return SessionJob(
        media=media,
        folder=cache,
        session=session,
        transcript=None,
        speakers=None,
        bundle=bundle[0],
        bundle_hash=bundle[1],
        settings=settings.reading(),
        lang="en",
    )


def read_recording(job: SessionJob, tools: Tools) -> RecordingWindows:
    """Windows of one recording, from the cache where it fits; errors are returned, not raised."""
    try:
        return _read(job, tools)
    except (MissingExtra, NunbitError) as exc:
        return RecordingWindows(job.session, np.zeros(0), {}, error=(exc.en, exc.ko))


def _read(job: SessionJob, tools: Tools) -> RecordingWindows:
    path = job.folder / f"{job.session}.npz"
    key = _key(job)
    synthetic = (job.media.parent / SYNTHETIC_MARK).is_file()
    kept = _from_cache(path, key, job.session)
    if kept is not None:
        return dataclasses.replace(kept, synthetic=synthetic)
    notices: list[tuple[str, str]] = []
    info = probe_media(job.media, audio_stream=job.settings.audio_stream, notices=notices)
    transcript = read_words(job.transcript, info)
    diarisation = read_speakers(job, info)
    speakers = diarisation.stretches
    reading = (*(transcript.reading if transcript else ()), *diarisation.reading)
    notices += [(note.en, note.ko) for note in reading if note.treatment != "read"]
    recogniser = load_words(job, info) if transcript is None else None
    bundle = load_bundle(job.bundle, threads=job.settings.threads)
    seen = observe(job, info, bundle, tools.advance, notices)
    if recogniser is not None and seen.voice is not None:
        transcript = recognise(job, recogniser, seen.voice)
    turns = turns_from(
        seen.voice, transcript, speakers, info.duration_s, target=job.settings.target_speaker
    )
    windows = window_grid(info.duration_s, job.settings.window_s, job.settings.hop_s)
    # The clipped last window is another kind of sample.
    whole = tuple(w for w in windows if w.duration_s >= job.settings.window_s - 1e-6)
    vectors = window_inputs(bundle, Seen(seen.faces, seen.voice, transcript, turns, whole))
    own = own_stretches(turns) if turns else None
    found = RecordingWindows(
        session=job.session,
        start_s=np.array([w.start_s for w in whole], np.float64),
        vectors=vectors,
        nuisance=nuisance_numbers(seen.faces, seen.voice, transcript, whole, own),
        duration_s=info.duration_s,
        transcript=transcript is not None,
        synthetic=synthetic,
        notices=tuple(notices),
    )
    _to_cache(path, key, found)
    remove_parts(job.parts_folder)
    return found


def _key(job: SessionJob) -> str:
    """What the windows depend on, as text to compare."""
    files = {"media": job.media, "transcript": job.transcript, "speakers": job.speakers}
    inputs = {name: sha256_file(p) for name, p in files.items() if p is not None}
    given = settings_to_dict(job.settings)
    settings = {name: given.get(name) for name in _READING}
    return json.dumps(
        {"format": CACHE_FORMAT, "inputs": inputs, "bundle": job.bundle_hash,
         "settings": settings}, sort_keys=True, ensure_ascii=False,
    )  # fmt: skip


def _to_cache(path: Path, key: str, found: RecordingWindows) -> None:
    arrays: dict[str, Any] = {
        "key": np.array(key),
        "start_s": found.start_s,
        "duration_s": np.array(found.duration_s),
        "transcript": np.array(found.transcript),
        "notices": np.array(json.dumps(found.notices, ensure_ascii=False)),
    }
    arrays |= {f"v_{m}": v for m, v in found.vectors.items()}
    arrays |= {f"n_{name}": v for name, v in found.nuisance.items()}
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def _from_cache(path: Path, key: str, session: str) -> RecordingWindows | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            return RecordingWindows(
                session=session,
                start_s=arrays["start_s"],
                vectors={n[2:]: arrays[n] for n in arrays.files if n.startswith("v_")},
                nuisance={n[2:]: arrays[n] for n in arrays.files if n.startswith("n_")},
                duration_s=float(arrays["duration_s"]),
                transcript=bool(arrays["transcript"]),
                kept=True,
                notices=tuple((en, ko) for en, ko in json.loads(str(arrays["notices"]))),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None  # an interrupted or older run: read again


def with_companions(job: SessionJob, transcript: Path | None, speakers: Path | None) -> SessionJob:
    """The job with its transcript and diarisation."""
    return dataclasses.replace(job, transcript=transcript, speakers=speakers)


__all__ = [
    "ReadingSettings",
    "RecordingWindows",
    "read_recording",
    "reading_job",
    "with_companions",
]
