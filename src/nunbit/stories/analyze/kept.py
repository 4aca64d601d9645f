"""What was observed of a recording, kept beside its tables so that all else is derived again.

``observed.npz`` holds what the tables beside it do not: head rotations, motion of the face, where
the voice is clipped, words, and what models and the recording answered. Faces and voice frames are
those of ``frames.parquet`` and ``voice.parquet``; a digest of their values says whether these are
still the ones that belong to it. No pixels, no sound, and no vectors that tell who somebody is.
``docs/streaming.md`` describes the format.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nunbit.core.messages import Text
from nunbit.core.schema import ReadingNote
from nunbit.core.streams import REASONS, FaceTrack, Interval, MediaInfo, Transcript, VoiceStream
from nunbit.measures.class_probabilities import TextChances
from nunbit.measures.wording import Wording
from nunbit.pictures.expression_channels import KEPT_CHANNELS
from nunbit.pictures.landmarks import pose_angles
from nunbit.recording.face_reader import FaceReadings
from nunbit.recording.observer import Observed, ReadingSettings
from nunbit.recording.paths import MEDIA_SUFFIXES
from nunbit.recording.read import ReadingKey
from nunbit.recording.transcript import Diarisation
from nunbit.recording.voice.quality import VoiceQuality
from nunbit.report.exports import FRAMES_FILE, VOICE_FILE
from nunbit.runtime.files import atomic_path
from nunbit.runtime.progress import listed
from nunbit.space.windows import SAID, WINDOWS_FILE, AlignedWindows, read_windows
from nunbit.stories.analyze.answers import Answers

OBSERVED_FILE = "observed.npz"
OBSERVED_FORMAT = "nunbit-observed-1"

_MOST_NAMED = 8
_BOX = ("x0", "y0", "x1", "y1")
_VOICE = ("time", "present", "speech", "f0_hz", "level_dbfs")
_QUALITY = ("times_s", "n_periods", "n_frames", "jitter_local", "shimmer_local_db", "hnr_db")
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile,
               msgspec.MsgspecError, pa.ArrowException)  # fmt: skip


@dataclass(frozen=True)
class _Faces:
    """The parts of ``FaceReadings`` that are no table."""

    rate_hz: float
    labels: tuple[str, ...]
    has_landmarks: bool
    tracks: tuple[int, ...]
    tremor: tuple[float | None, ...]
    has_motion: bool
    cuts_s: tuple[float, ...]
    changes_s: tuple[float, ...]
    follows: dict[int, int]


@dataclass(frozen=True)
class _Voice:
    """The parts of ``VoiceStream`` that are no table."""

    segments: tuple[Interval, ...]
    f0_range_hz: tuple[float, float] | None


@dataclass(frozen=True)
class _Said:
    """The answers that are no arrays."""

    rest_on: dict[str, str]
    sync: dict[str, Any]
    missing: tuple[dict[str, str], ...]
    text_reasons: tuple[str, ...]
    wordings: tuple[Wording, ...] | None
    verdicts: dict[str, Any] | None


@dataclass(frozen=True)
class KeptHead:
    """From what the rest of the file was made.

    Attributes:
        key: What decides the readings of faces and voice.
        inputs: Digests of the recording and of the files beside it.
        path: Of the recording, from the folder.
        settings: With which it was read.
        recognised: Whether the words were recognised.
        synthetic: Whether the recording was drawn.
        format: Of the file.
    """

    key: ReadingKey
    inputs: dict[str, str]
    path: str
    settings: ReadingSettings
    recognised: bool
    synthetic: bool
    format: str = OBSERVED_FORMAT


@dataclass(frozen=True)
class _About:
    """``about`` of the file: JSON with all that is no array and not in the head."""

    media: MediaInfo
    faces: _Faces | None
    voice: _Voice | None
    transcript: Transcript | None
    speakers: tuple[tuple[Interval, str], ...]
    speakers_reading: tuple[ReadingNote, ...]
    notices: tuple[Text, ...]
    reading: tuple[ReadingNote, ...]
    said: _Said
    tables: str


@dataclass(frozen=True, eq=False)
class Kept:
    """What an earlier run observed.

    Attributes:
        head: From what.
        observed: All of it, without the fit of the words.
        answers: Of that run.
    """

    head: KeptHead
    observed: Observed
    answers: Answers


def write_kept(folder: Path, kept: Kept, *, own_probabilities: bool = False) -> None:
    """Write ``observed.npz`` beside the tables of the same recording.

    Args:
        folder: Of the tables.
        kept: What was observed.
        own_probabilities: The class probabilities in the tables are not those observed (another
            prior, relative to a neutral face): keep the observed ones here.

    Raises:
        InputError: It cannot be written.
    """
    seen, answers = kept.observed, kept.answers
    arrays: dict[str, Any] = _face_arrays(seen.faces) | _voice_arrays(seen)
    arrays |= _answer_arrays(answers)
    if own_probabilities and seen.faces is not None:
        rows = [t.probabilities for t in seen.faces.tracks if t.probabilities is not None]
        k = len(seen.faces.labels)
        arrays["probabilities"] = np.concatenate([np.zeros((0, k), np.float32), *rows])
    about = _About(
        media=seen.media,
        faces=None if seen.faces is None else _faces_about(seen.faces),
        voice=None if seen.voice is None else _Voice(seen.voice.segments, seen.voice.f0_range_hz),
        transcript=seen.transcript,
        speakers=seen.speakers.stretches,
        speakers_reading=seen.speakers.reading,
        notices=seen.notices,
        reading=seen.reading,
        said=_Said(
            rest_on=dict(answers.rest_on),
            sync=dict(answers.sync),
            missing=answers.text.missing,
            text_reasons=answers.text.reasons,
            wordings=answers.wordings,
            verdicts=None if answers.aligned is None else dict(answers.aligned.verdicts),
        ),
        tables=_digest(_table_arrays(seen)),
    )
    for name, part in (("head", kept.head), ("about", about)):
        arrays[name] = np.frombuffer(msgspec.json.encode(part), np.uint8)
    with atomic_path(folder / OBSERVED_FILE) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def read_head(folder: Path) -> KeptHead | None:
    """From what an earlier run was made; None where nothing is kept, or it cannot be read."""
    try:
        with _opened(folder) as stored:
            head = msgspec.json.decode(stored["head"].tobytes(), type=KeptHead)
    except _UNREADABLE:
        return None
    return head if head.format == OBSERVED_FORMAT else None


def read_kept(folder: Path) -> Kept | None:
    """What an earlier run observed; None where nothing is kept, or it is not whole."""
    head = read_head(folder)
    if head is None:
        return None
    try:
        with _opened(folder) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = msgspec.json.decode(arrays["about"].tobytes(), type=_About)
        seen = Observed(
            media=about.media,
            faces=_faces(folder, about.faces, arrays),
            voice=_voice(folder, about.voice, arrays),
            quality=_quality(arrays),
            transcript=about.transcript,
            speakers=Diarisation(about.speakers, about.speakers_reading),
            notices=about.notices,
            reading=about.reading,
        )
        if _digest(_table_arrays(seen)) != about.tables:
            return None  # the tables beside it are others
        answers = _answers(folder, about.said, arrays)
    except _UNREADABLE:
        return None
    return Kept(head, seen, answers)


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    # Opened here: of what is no archive, numpy would leave the file open.
    path = folder / OBSERVED_FILE
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        yield stored


def _table_arrays(seen: Observed) -> Iterable[NDArray[Any]]:
    """What is read from the tables."""
    for track in () if seen.faces is None else seen.faces.tracks:
        yield from (track.times_s, track.boxes_xyxy, track.det_score, track.sharpness)
        yield from (_codes(track.reasons), track.mouth_open, track.eye_aspect)
        for table in (track.probabilities, track.channels):
            if table is not None:
                yield table
    voice = seen.voice
    if voice is not None:
        yield from (voice.times_s, voice.present, voice.speech, voice.f0_hz, voice.level_dbfs)


def _digest(arrays: Iterable[NDArray[Any]]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _codes(reasons: NDArray[np.str_]) -> NDArray[np.int8]:
    kinds, inverse = np.unique(reasons, return_inverse=True)
    codes = np.array([REASONS.index(str(kind)) for kind in kinds], np.int8)
    return codes[inverse] if len(kinds) else np.zeros(0, np.int8)


def _faces_about(faces: FaceReadings) -> _Faces:
    return _Faces(
        rate_hz=faces.rate_hz,
        labels=faces.labels,
        has_landmarks=faces.has_landmarks,
        tracks=tuple(track.track_id for track in faces.tracks),
        tremor=tuple(float(t.tremor) if np.isfinite(t.tremor) else None for t in faces.tracks),
        has_motion=any(track.motion is not None for track in faces.tracks),
        cuts_s=faces.cuts_s,
        changes_s=faces.changes_s,
        follows=dict(faces.follows),
    )


def _face_arrays(faces: FaceReadings | None) -> dict[str, NDArray[Any]]:
    if faces is None:
        return {}
    rotation = [track.rotation.astype(np.float32) for track in faces.tracks]
    motion = [track.motion for track in faces.tracks if track.motion is not None]
    return {
        "sample_times": faces.sample_times_s,
        "n_faces": faces.n_faces,
        "rotation": np.concatenate([np.zeros((0, 3, 3), np.float32), *rotation]),
        "motion": np.concatenate([np.zeros(0), *motion]),
    }


def _faces(
    folder: Path, about: _Faces | None, arrays: Mapping[str, NDArray[Any]]
) -> FaceReadings | None:
    if about is None:
        return None
    table = pq.ParquetFile(folder / FRAMES_FILE).read()
    column = {name: table[name].to_numpy() for name in table.column_names if name != "reason"}
    reasons = np.array(table["reason"].to_pylist(), dtype=np.array(REASONS).dtype)
    tracks, done = [], 0
    for track_id, tremor in zip(about.tracks, about.tremor, strict=True):
        rows = np.flatnonzero(column["track"] == track_id)
        here = slice(done, done + len(rows))
        done = here.stop
        own = {name: values[rows] for name, values in column.items()}
        rotation = arrays["rotation"][here].astype(np.float64)
        chances = [own[f"p_{label}"] for label in about.labels]
        observed = arrays["probabilities"][here] if "probabilities" in arrays else None
        channels = [own[name] for name in KEPT_CHANNELS if name in own]
        tracks.append(
            FaceTrack(
                track_id=track_id,
                times_s=own["time"],
                boxes_xyxy=np.stack([own[name] for name in _BOX], axis=1),
                det_score=own["det_score"],
                sharpness=own["sharpness"],
                reasons=reasons[rows],
                rotation=rotation,
                pose_deg=pose_angles(rotation),
                landmarks=None,
                mouth_open=own["mouth_open"],
                eye_aspect=own["eye_aspect"],
                probabilities=observed
                if observed is not None
                else np.stack(chances, axis=1)
                if chances
                else None,
                channels=np.stack(channels, axis=1) if channels else None,
                motion=arrays["motion"][here] if about.has_motion else None,
                tremor=np.nan if tremor is None else tremor,
            )
        )
    return FaceReadings(
        rate_hz=about.rate_hz,
        sample_times_s=arrays["sample_times"],
        n_faces=arrays["n_faces"],
        tracks=tuple(tracks),
        labels=about.labels,
        has_landmarks=about.has_landmarks,
        cuts_s=about.cuts_s,
        changes_s=about.changes_s,
        follows=about.follows,
    )


def _voice_arrays(seen: Observed) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    if seen.voice is not None and seen.voice.clipped is not None:
        found["clipped"] = np.packbits(seen.voice.clipped)
    if seen.quality is not None:
        found |= {f"quality_{name}": getattr(seen.quality, name) for name in _QUALITY}
        if seen.quality.clipped is not None:
            found["quality_clipped"] = seen.quality.clipped
    return found


def _voice(
    folder: Path, about: _Voice | None, arrays: Mapping[str, NDArray[Any]]
) -> VoiceStream | None:
    if about is None:
        return None
    table = pq.ParquetFile(folder / VOICE_FILE).read(list(_VOICE))
    times, present, speech, f0, level = (table[name].to_numpy() for name in _VOICE)
    bits = arrays.get("clipped")
    return VoiceStream(
        times_s=times,
        present=present,
        speech=speech,
        f0_hz=f0,
        level_dbfs=level,
        segments=about.segments,
        f0_range_hz=about.f0_range_hz,
        clipped=None if bits is None else np.unpackbits(bits, count=len(times)).astype(bool),
    )


def _quality(arrays: Mapping[str, NDArray[Any]]) -> VoiceQuality | None:
    if "quality_times_s" not in arrays:
        return None
    columns = {name: arrays[f"quality_{name}"] for name in _QUALITY}
    return VoiceQuality(**columns, clipped=arrays.get("quality_clipped"))


def _answer_arrays(answers: Answers) -> dict[str, NDArray[Any]]:
    text, aligned = answers.text, answers.aligned
    known = {"spoken": answers.spoken, "text": text.chances, "text_none": text.none}
    found: dict[str, NDArray[Any]] = {n: rows for n, rows in known.items() if rows is not None}
    if aligned is not None:
        found |= {f"agreement_{pair}": values for pair, values in aligned.agreement.items()}
        found |= {f"why_{name}": _codes(values) for name, values in aligned.reasons.items()}
    return found


def _answers(folder: Path, said: _Said, arrays: Mapping[str, NDArray[Any]]) -> Answers:
    aligned = None
    if said.verdicts is not None:
        why = {n.removeprefix("why_"): a for n, a in arrays.items() if n.startswith("why_")}
        windows = read_windows(folder / WINDOWS_FILE)
        edges = zip(windows["t_start"].tolist(), windows["t_end"].tolist(), strict=True)
        aligned = AlignedWindows(
            windows=tuple(Interval(a, b) for a, b in edges),
            embeddings={name: windows[name] for name in why},
            reasons={name: np.array(REASONS)[codes] for name, codes in why.items()},
            agreement={
                n.removeprefix("agreement_"): a
                for n, a in arrays.items()
                if n.startswith("agreement_")
            },
            excerpts=windows["excerpts"],
            verdicts=said.verdicts,
            said=windows.get(SAID),
        )
    return Answers(
        spoken=arrays.get("spoken"),
        text=TextChances(
            arrays.get("text"), said.missing, said.text_reasons, arrays.get("text_none")
        ),
        wordings=said.wordings,
        aligned=aligned,
        sync=said.sync,
        rest_on=said.rest_on,
    )


def results_in(path: Path) -> tuple[Path, ...]:
    """Folders of earlier results: this one, or those in it where it holds no recording itself."""
    if (path / OBSERVED_FILE).is_file():
        return (path,)
    if not path.is_dir() or _has_media(path):
        return ()
    return tuple(sorted(p.parent for p in path.glob(f"*/{OBSERVED_FILE}")))


def forgotten_in(path: Path) -> Text | None:
    """What to say of results in a folder that were made with ``forget``; None without one."""
    if not path.is_dir() or _has_media(path):
        return None
    whole = (each.parent for each in (*path.glob("summary.json"), *path.glob("*/summary.json")))
    names = sorted(each.name for each in whole if not (each / OBSERVED_FILE).is_file())
    if not names:
        return None
    told = listed(names, _MOST_NAMED)
    return Text(
        f"{path}: results that keep nothing of what was observed (`forget`) cannot be derived "
        f"again and stay as they are ({told}); to change them, analyse the recordings",
        f"{path}: 관찰한 것을 남기지 않은(`forget`) 결과는 다시 만들 수 없어 그대로 "
        f"둡니다({told}). 바꾸려면 녹화를 분석하십시오",
    )


def _has_media(folder: Path) -> bool:
    return any(p.suffix.lower() in MEDIA_SUFFIXES and p.is_file() for p in folder.iterdir())
