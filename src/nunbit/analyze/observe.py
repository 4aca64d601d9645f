"""Decode a recording once; read faces and voice as they pass, and keep what was read of faces.

Faces cost most of the time. What was read of them goes to disk minute by minute, beside the result,
so that memory does not grow with the recording and the same line goes on from there after a crash;
sound is cheap and read again from the start.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nunbit.ahead import run_ahead
from nunbit.analyze.aligned import is_aligned
from nunbit.analyze.face_looks import LOOKS_SAMPLES
from nunbit.analyze.face_part import FacePart, Unfinished
from nunbit.analyze.face_reader import FaceReader, FaceSettings
from nunbit.analyze.face_search import Found
from nunbit.analyze.settings import AnalyzeSettings
from nunbit.encoders import Bundle
from nunbit.errors import Lang
from nunbit.faces import end_detector_process
from nunbit.files import sha256_file
from nunbit.landmarks import landmarks_missing
from nunbit.measures import VoiceQuality, quality_stretches
from nunbit.media import iter_audio, read_media
from nunbit.memory import give_back_freed_memory
from nunbit.progress import say
from nunbit.provenance import nunbit_version
from nunbit.reading import ReadingNote
from nunbit.streams import AudioChunk, FaceStream, Frame, MediaInfo, VoiceStream
from nunbit.tracking import Person
from nunbit.voice import VoiceReader, read_quality
from nunbit.workers import available_cores

Notices = list[tuple[str, str]]

PART_S = 60.0
"""Media time after which what was read of faces is written down."""

# Frames and half seconds of sound that wait, 3 MB a frame at most.
_DECODED_AHEAD, _SEARCHED_AHEAD = 4, 8


@dataclass(frozen=True, slots=True)
class SessionJob:
    """What one recording needs, as plain data that crosses to a worker process."""

    media: Path
    folder: Path
    session: str
    transcript: Path | None
    speakers: Path | None
    bundle: Path
    bundle_hash: str
    settings: AnalyzeSettings
    lang: Lang
    notes: tuple[ReadingNote, ...] = ()

    @property
    def parts_folder(self) -> Path:
        """Where what was read of faces is kept until the recording is done."""
        return self.folder / f"{self.session}.unfinished"


@dataclass(frozen=True, eq=False, slots=True)
class Observed:
    """What one pass over the file gave.

    Attributes:
        media: From probing the file; its ``reading`` is what that showed.
        faces: None without video.
        voice: None without sound.
        persons: Who is to be seen.
        quality: Of the voice.
        reading: What only decoding and reading the faces showed; nothing of ``media.reading``.
    """

    media: MediaInfo
    faces: FaceStream | None
    voice: VoiceStream | None
    persons: tuple[Person, ...] = ()
    quality: VoiceQuality | None = None
    reading: tuple[ReadingNote, ...] = ()


def observe(
    job: SessionJob,
    info: MediaInfo,
    bundle: Bundle,
    advance: Callable[[int], None],
    notices: Notices,
) -> Observed:
    """Decode the file once; faces and voice are read as they pass.

    Faces read by an earlier run that was killed are taken over; whoever writes the result then
    deletes ``job.parts_folder``.

    Args:
        job: What to do.
        info: From probing the file.
        bundle: The loaded bundle.
        advance: Called with the number of media seconds that were read.
        notices: Gets what was odd, as (en, ko) pairs.

    Raises:
        MediaError: The file cannot be decoded.
        InputError: The recording's folder cannot be written.
        MissingExtra: A needed package is not installed.
    """
    settings = job.settings
    seek = settings.face_settings(info)
    seek = dataclasses.replace(seek, keep_embeddings=seek.keep_embeddings or is_aligned(bundle))
    faces, parts, last = None, None, None
    if info.video:
        in_parts = info.duration_s > PART_S
        faces = FaceReader(bundle, seek, info, in_parts=in_parts)
        if in_parts:
            parts = Unfinished(job.parts_folder, _key(job, seek))
            last = _restore(job, faces, parts)
    voice = VoiceReader() if info.audio else None
    reading: list[ReadingNote] = []
    reached, part_number = 0, 0 if last is None else int(last.end_s // PART_S)
    with closing(_searched(job, faces, last, notices, reading)) as items:
        for item, found in items:
            if isinstance(item, Frame):
                now = item.time_s
                if faces is not None and found is not None:
                    # At fixed media times, so that batches of the model are those of any run.
                    if parts is not None and now // PART_S > part_number:
                        part_number = int(now // PART_S)
                        _keep(faces, parts)
                    faces.read(item, found)
            else:
                now = item.start_s
                if voice is not None:
                    voice.add(item)
            if int(now) > reached:
                advance(int(now) - reached)
                reached = int(now)

    end_detector_process()

    def replay() -> Iterator[Any]:
        return iter_audio(job.media, audio_stream=settings.audio_stream)

    face_stream = None if faces is None else faces.finish(() if parts is None else parts.parts())
    choice = None if faces is None else faces.choice
    notices += [] if choice is None else choice.notices
    reading += () if faces is None else faces.reading()
    said = {note.code for note in info.reading}
    seen = Observed(
        info,
        face_stream,
        None,
        () if choice is None else choice.persons,
        reading=tuple(note for note in reading if note.code not in said),
    )
    if voice is None:
        return seen
    heard = voice.finish(replay, info.duration_s)
    stretches = read_quality(replay, heard, quality_stretches(heard))
    return dataclasses.replace(seen, voice=heard, quality=VoiceQuality.of(stretches))


def _searched(
    job: SessionJob,
    faces: FaceReader | None,
    last: FacePart | None,
    notices: Notices,
    reading: list[ReadingNote],
) -> Generator[tuple[Frame | AudioChunk, Found | None], None, None]:
    """Frames with where their faces are, and sound.

    On several cores decoding and the search for faces each run ahead of what uses them; what comes
    is the same. Frames up to the end of ``last``, which an earlier run has read, come without.
    """
    settings = job.settings
    overlap = available_cores() > 1 and settings.overlap
    items = read_media(
        job.media,
        rate_hz=None if settings.full_rate else settings.rate_hz,
        audio_stream=settings.audio_stream,
        notices=notices,
        reading=reading,
    )
    if overlap:
        items = run_ahead(items, _DECODED_AHEAD)

    def search() -> Iterator[tuple[Frame | AudioChunk, Found | None]]:
        done_s = -math.inf if last is None else last.end_s
        for item in items:
            if faces is None or not isinstance(item, Frame):
                yield item, None
            elif item.time_s > done_s:
                yield item, faces.search(item)
            else:
                if last is not None and item.time_s in last.times_s[-LOOKS_SAMPLES:]:
                    faces.resume_looks(last, item)
                if last is not None and item.time_s == done_s:
                    faces.resume_search(last, item)
                yield item, None

    yield from run_ahead(search(), _SEARCHED_AHEAD) if overlap else search()


def _restore(job: SessionJob, faces: FaceReader, parts: Unfinished) -> FacePart | None:
    """Take over what an earlier run has read; its last part, None where there is none."""
    last = None
    for part in parts.recover():
        faces.restore(part)
        last = part
    if last is not None:
        at = f"{int(last.end_s // 60)}:{int(last.end_s % 60):02d}"
        say(
            f"{job.session}: faces up to {at} were read before, going on from there"
            if job.lang == "en"
            else f"{job.session}: {at}까지의 얼굴은 이미 읽어 두었으므로 이어서 진행합니다"
        )
    return last


def _keep(faces: FaceReader, parts: Unfinished) -> None:
    part = faces.take_part()
    if part is not None:
        parts.add(part)
        # Frames are allocated in one thread and freed in another: left alone, glibc's arenas grow
        # in steps of tens of megabytes over hours.
        give_back_freed_memory()


def _key(job: SessionJob, seek: FaceSettings) -> dict[str, Any]:
    """What decides the readings, as it comes back from JSON."""
    settings = {
        # Who is analysed and what is linked is decided from the readings.
        name: value
        for name, value in msgspec.to_builtins(seek).items()
        if name not in {"target", "link"}
    }
    key = {
        "version": nunbit_version(),
        "media": sha256_file(job.media),
        "bundle": job.bundle_hash,
        "landmarks": landmarks_missing() is None,
        "settings": settings,
    }
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain
