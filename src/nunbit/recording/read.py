"""Read a recording: words and speakers beside it, faces and voice in one pass, and the protocol.

Faces take most of the time. Their results are written to disk every minute, beside the output, so
that memory stays bounded and the same line resumes there after a crash. Sound is quick and is read
again from the start. Files beside it are read before: a wrong one should not cost an hour.
``check`` and ``analyze`` show the same protocol: the readers note what is odd, and here what was
read is added and all is put in order.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nunbit.core.messages import NO_TEXT, InputError, Text, joined
from nunbit.core.schema import TREATMENTS, ReadingNote
from nunbit.core.streams import AudioChunk, Frame, MediaInfo, Transcript
from nunbit.core.timebase import clock, frame_rate
from nunbit.model.encoders import Bundle
from nunbit.pictures.face_mesh import landmark_network
from nunbit.pictures.faces import end_detector_process
from nunbit.recording.face_follow import follows_with
from nunbit.recording.face_looks import LOOKS_SAMPLES
from nunbit.recording.face_part import FacePart, Unfinished
from nunbit.recording.face_reader import FaceReader, FaceSettings
from nunbit.recording.face_search import Found
from nunbit.recording.media import iter_audio, probe_media, read_media
from nunbit.recording.observer import Observed, Observer, ReadingSettings, RecordingJob, Replay
from nunbit.recording.transcript import Diarisation, Script
from nunbit.recording.words import read_companions, words_of
from nunbit.runtime.files import sha256_file
from nunbit.runtime.progress import listed, say
from nunbit.runtime.resources import nunbit_version
from nunbit.runtime.workers import available_cores, give_back_freed_memory, run_ahead

_CHANNELS = {1: Text("mono", "모노"), 2: Text("stereo", "스테레오")}
_FORMATS = {
    "srt": "SRT", "vtt": "WebVTT", "textgrid": "TextGrid", "eaf": "ELAN", "csv": "CSV",
    "txt": "txt", "docx": "Word", "table": "CSV",
    "whisper": "Whisper", "vosk": "Vosk", "faster-whisper": "faster-whisper",
}  # fmt: skip
_MOST_NAMES = 5


def protocol(
    media: MediaInfo | None,
    transcript: Transcript | None,
    speakers: Diarisation,
    noticed: Iterable[ReadingNote] = (),
) -> tuple[ReadingNote, ...]:
    """All notes of a recording, in the order read, repaired, left out.

    Args:
        media: As probed, with its notes; None for a transcript alone.
        transcript: With its notes, or None.
        speakers: Of the diarisation file, with its notes; empty without one.
        noticed: Further notes, in any order; equal notes are kept once.
    """
    notes = [] if media is None else [*_media_notes(media), *media.reading]
    if transcript is not None:
        notes += [transcript_note(transcript), *transcript.reading]
    notes += [*speakers_notes(speakers), *noticed]
    return tuple(sorted(dict.fromkeys(notes), key=lambda note: TREATMENTS.index(note.treatment)))


def transcript_note(transcript: Transcript) -> ReadingNote:
    """The note that states what was read of a transcript."""
    cues = len(transcript.utterances)
    words = sum(len(u.words) for u in transcript.utterances)
    names = list(dict.fromkeys(u.speaker for u in transcript.utterances if u.speaker))
    kind = _FORMATS.get(transcript.source, transcript.source)
    some = listed(names, _MOST_NAMES)
    who = Text(f", speakers {some}", f", 화자 {some}") if names else NO_TEXT
    return ReadingNote(
        treatment="read",
        code="transcript",
        count=max(cues, 1),
        first=clock(transcript.utterances[0].interval.start_s, tenths=True) if cues else "–",
        text=Text(
            f"transcript: {kind}, {cues:,} utterances, {words:,} words{who.en}",
            f"전사: {kind}, 발화 {cues:,}개, 단어 {words:,}개{who.ko}",
        ),
    )


def script_notes(script: Script) -> tuple[ReadingNote, ...]:
    """Notes about a transcript without times."""
    words = sum(len(line.text.split()) for line in script.lines)
    n, kind = len(script.lines), _FORMATS[script.source]
    stated = ReadingNote(
        treatment="read",
        code="transcript",
        count=n,
        first="–",
        text=Text(
            f"transcript without times ({kind}): {n:,} sentences, {words:,} words; `analyze` "
            "places them by listening to the sound",
            f"시각이 없는 전사({kind}): 문장 {n:,}개, 단어 {words:,}개. `analyze`가 소리를 들어 "
            "단어의 자리를 찾습니다",
        ),
    )
    return (stated, *script.reading)


def speakers_notes(diarisation: Diarisation) -> tuple[ReadingNote, ...]:
    """Notes about a diarisation file; empty without one."""
    spoken = diarisation.stretches
    if not spoken:
        return diarisation.reading
    names = list(dict.fromkeys(name for _, name in spoken))
    read = ReadingNote(
        treatment="read",
        code="speakers",
        count=len(spoken),
        first=clock(spoken[0][0].start_s, tenths=True),
        text=Text(
            f"who speaks when: {len(names)} speakers ({listed(names, _MOST_NAMES)}), "
            f"{len(spoken):,} stretches",
            f"화자 구분: {len(names)}명({listed(names, _MOST_NAMES)}), {len(spoken):,}구간",
        ),
    )
    return (read, *diarisation.reading)


def _media_notes(media: MediaInfo) -> Iterator[ReadingNote]:
    if (video := media.video) is not None:
        turn = video.rotation_deg
        parts: list[Text | str] = [
            Text("video", "영상"),
            f"{video.width}×{video.height}",
            *([f"{frame_rate(video.fps)} fps"] if video.fps else []),
            clock(video.end_s - video.start_s),
            *([Text(f"turned by {turn}°", f"{turn}° 돌려 읽음")] if turn else []),
        ]
        yield _stream_note("video", video.start_s, parts)
    if (audio := media.audio) is not None:
        n, which, rate = audio.n_streams, audio.stream, f"{audio.rate_hz / 1000:g} kHz"
        several = Text(f"{audio.channels} channels", f"{audio.channels}채널")
        channels = _CHANNELS.get(audio.channels, several)
        which_of = Text(f"stream {which} of {n}, from 0", f"스트림 {n}개 중 {which}번(0부터)")
        parts = [
            Text("sound", "소리"),
            Text(f"{rate} {channels.en}", f"{rate} {channels.ko}"),
            clock(audio.end_s - audio.start_s),
            *([which_of] if n > 1 else []),
        ]
        yield _stream_note("sound", audio.start_s, parts)


def _stream_note(code: str, start_s: float, parts: Sequence[Text | str]) -> ReadingNote:
    """The note that states what was read of a stream: its name, then its properties."""
    name, *rest = (part if isinstance(part, Text) else Text(part, part) for part in parts)
    text = joined(": ", (name, joined(", ", rest)))
    return ReadingNote("read", code, 1, clock(start_s, tenths=True), text)


PART_S = 60.0
"""Media time after which face results are written to disk."""

_KEPT_SOUND_S = 300.0  # 19 MB: so much sound need not be decoded again

# Frames and half seconds of sound that wait, 3 MB a frame at most.
_DECODED_AHEAD, _SEARCHED_AHEAD = 4, 8

Item = Frame | AudioChunk


def observe_recording(
    job: RecordingJob, bundle: Bundle, advance: Callable[[int], None]
) -> Observed:
    """Read a file once: faces and voice as they pass, then its words.

    Face results of a killed run are reused. The caller deletes ``job.parts_folder`` after the
    result is written. The bundle has its models given up.

    Args:
        job: What to do.
        bundle: The loaded bundle.
        advance: Called with the number of media seconds that were read.

    Raises:
        MediaError: The file cannot be decoded.
        InputError: A file beside it cannot be used, or its folder cannot be written.
        MissingExtra: A needed package is not installed.
    """
    info = probe_media(job.media, audio_stream=job.settings.audio_stream)
    given = read_companions(job, info)
    seen = _observe(job, info, bundle, advance)
    bundle.unload()
    transcript, fit = words_of(job, given, seen.voice, info.duration_s)
    give_back_freed_memory()
    return replace(seen, transcript=transcript, speakers=given.speakers, fit=fit)


def refuse_shared(found: Iterable[tuple[Path, str, Path | None]]) -> None:
    """Refuse one file of a folder for recordings of several folders.

    Args:
        found: Recording, what was given (a folder, a file or ''), and the file found.

    Raises:
        InputError: A file, found by its name, would be read for the recordings of two people.
    """
    readers: dict[Path, Path] = {}
    for media, given, file in found:
        if not given or file is None:
            continue
        first = readers.setdefault(file, media)
        if os.path.realpath(first.parent) != os.path.realpath(media.parent):
            raise InputError(
                Text(
                    f"{file}: would be read for both {first} and {media}; give recordings and "
                    "files different names, or `analyze` a table of `people` with a file a row",
                    f"{file}: {first}와 {media}에 함께 쓰이게 됩니다. 녹화와 파일의 이름을 서로 "
                    "다르게 하거나, `analyze`에 줄마다 파일을 적은 `people` 표를 주십시오",
                )
            )


def same_recordings(media: Sequence[Path], persons: Sequence[str]) -> tuple[Text, ...]:
    """Notices of recordings that are given twice: each counts as one of its own.

    Raises:
        InputError: One is given for two persons.
    """
    sizes = collections.Counter(path.stat().st_size for path in media)
    first: dict[str, tuple[Path, str]] = {}
    notices = []
    for path, person in zip(media, persons, strict=True):
        if sizes[path.stat().st_size] < 2:
            continue
        try:
            other, theirs = first.setdefault(sha256_file(path), (path, person))
        except OSError:
            continue  # it is reported when it is read
        if theirs != person:
            raise InputError(
                Text(
                    f"{other}, {path}: the same recording for two persons ({theirs}, {person}), "
                    "which would be learned from and tested on at once; give it once",
                    f"{other}, {path}: 같은 녹화가 두 사람({theirs}, {person})의 것으로 주어져 "
                    "학습과 평가에 함께 쓰이게 됩니다. 한 번만 주십시오",
                )
            )
        if other != path:
            notices.append(
                Text(
                    f"{other.name}, {path.name}: the same recording counts twice",
                    f"{other.name}, {path.name}: 같은 녹화를 두 번 셉니다",
                )
            )
    return tuple(notices)


def _observe(
    job: RecordingJob, info: MediaInfo, bundle: Bundle, advance: Callable[[int], None]
) -> Observed:
    """Faces and voice of a file, without its words."""
    settings = job.settings
    observer = Observer(bundle, settings.face_settings(info), info)
    parts = None
    if info.video is not None and info.duration_s > PART_S:
        key = ReadingKey.of(job, info, sha256_file(job.media))
        vectors = {"embeddings": settings.keep_embeddings, "version": nunbit_version()}
        parts = Unfinished(job.parts_folder, (key, vectors))
    last = None if parts is None else _restore(job, observer, parts)
    items = read_media(
        job.media,
        rate_hz=None if settings.full_rate else settings.rate_hz,
        audio_stream=settings.audio_stream,
    )
    sound = _Sound(partial(iter_audio, job.media, audio_stream=settings.audio_stream))
    reached, part_number = 0, 0 if last is None else int(last.end_s // PART_S)
    with closing(_searched(settings, items, observer.faces, last)) as searched:
        for item, found in searched:
            now = item.time_s if isinstance(item, Frame) else item.start_s
            # At fixed media times, so that batches of the model are those of any run.
            if found is not None and parts is not None and now // PART_S > part_number:
                part_number = int(now // PART_S)
                _keep(observer, parts)
            if isinstance(item, AudioChunk):
                sound.add(item)
            if found is not None or isinstance(item, AudioChunk):
                observer.push(item, found)
            if int(now) > reached:
                advance(int(now) - reached)
                reached = int(now)
    end_detector_process()
    seen = observer.finish(info.duration_s, sound.replay, () if parts is None else parts.parts())
    said = {note.code for note in info.reading}
    reading = (*items.odd.ends, *items.odd.signals, *seen.reading)
    return replace(
        seen,
        notices=tuple(note.text for note in items.odd.ends),
        reading=tuple(note for note in reading if note.code not in said),
    )


class _Sound:
    """The sound of a recording, heard again: from memory where it is short.

    Args:
        decode: Reads it from the file.
    """

    def __init__(self, decode: Replay) -> None:
        self._decode = decode
        self._kept: list[AudioChunk] | None = []

    def add(self, chunk: AudioChunk) -> None:
        """Take the next piece while the file is read."""
        if self._kept is not None:
            self._kept.append(chunk)
            if chunk.start_s > _KEPT_SOUND_S:
                self._kept = None

    def replay(self) -> Iterable[AudioChunk]:
        """All pieces, from the first one on."""
        return self._decode() if self._kept is None else self._kept


def _searched(
    settings: ReadingSettings,
    items: Iterator[Item],
    faces: FaceReader | None,
    last: FacePart | None,
) -> Generator[tuple[Item, Found | None], None, None]:
    """Frames with their face boxes, and sound.

    On several cores decoding and face search run ahead in threads; the results are the same. Frames
    up to the end of ``last``, read by an earlier run, come without boxes.
    """
    overlap = available_cores() > 1 and settings.overlap
    if overlap:
        items = run_ahead(items, _DECODED_AHEAD)

    def search() -> Iterator[tuple[Item, Found | None]]:
        for item in items:
            found = None
            if faces is not None and isinstance(item, Frame):
                if last is None or item.time_s > last.end_s:
                    found = faces.search(item)
                elif item.time_s in last.times_s[-LOOKS_SAMPLES:]:
                    faces.resume(last, item)
            yield item, found

    yield from run_ahead(search(), _SEARCHED_AHEAD) if overlap else search()


def _restore(job: RecordingJob, observer: Observer, parts: Unfinished) -> FacePart | None:
    """Restore the parts of an earlier run; returns the last one, None if there is none."""
    last = None
    assert observer.faces is not None
    for last in parts.recover():
        observer.faces.restore(last)
    if last is not None:
        at = f"{int(last.end_s // 60)}:{int(last.end_s % 60):02d}"
        say(
            Text(
                f"{job.session}: faces up to {at} were read earlier; resuming there",
                f"{job.session}: {at}까지의 얼굴은 이미 읽었으므로 그 뒤부터 이어서 분석합니다",
            )
        )
    return last


def _keep(observer: Observer, parts: Unfinished) -> None:
    if (part := observer.take()) is not None:
        parts.add(part)
        # Frames are allocated in one thread and freed in another: left alone, glibc's arenas grow
        # in steps of tens of megabytes over hours.
        give_back_freed_memory()


def length_in_header(path: Path) -> float:
    """Length that the file's header states, seconds, for progress; 0 where it states none."""
    import av

    try:
        with av.open(str(path)) as container:
            return max(0.0, (container.duration or 0) / 1_000_000)
    except (OSError, ValueError, av.FFmpegError):
        return 0.0  # whoever reads it says what is wrong


@dataclass(frozen=True)
class ReadingKey:
    """What decides the readings of faces and voice.

    Attributes:
        media: Digest of the recording.
        bundle: Hash of the models.
        faces: How faces are read. ``link`` and ``keep_embeddings`` are the defaults: linking comes
            after reading, and vectors are in memory only.
        landmarks: Network of the landmarks; None where there is none, a flag in early files.
        followed: Whether faces are followed by it.
        audio_stream: Number of the audio stream.
    """

    media: str
    bundle: str
    faces: FaceSettings
    landmarks: str | bool | None = None
    followed: bool = False
    audio_stream: int = 0

    @classmethod
    def of(cls, job: RecordingJob, media: MediaInfo, digest: str) -> ReadingKey:
        """The key of a recording that is read now, with its digest."""
        network, usual = landmark_network(), FaceSettings()
        faces = replace(
            job.settings.face_settings(media),
            link=usual.link,
            keep_embeddings=usual.keep_embeddings,
        )
        stream = job.settings.audio_stream
        return cls(digest, job.bundle_hash, faces, network, follows_with(network), stream)
