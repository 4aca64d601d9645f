"""Faces and voice of one source, pushed in as frames and sound; what reading it gives.

This is how every recording is read: a file pushes what it decodes, a camera what it sees, each with
its media time. Knows no files. See ``docs/streaming.md`` for what is final when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from nunbit.core.messages import Text
from nunbit.core.schema import Box, ReadingNote
from nunbit.core.streams import FACE_RATE_HZ, AudioChunk, Frame, MediaInfo, Transcript, VoiceStream
from nunbit.model.encoders import Bundle
from nunbit.pictures.faces import DetectorSettings
from nunbit.recording.face_motion import without_landmarks
from nunbit.recording.face_part import FacePart
from nunbit.recording.face_reader import FaceReader, FaceReadings, FaceSettings
from nunbit.recording.face_search import Found
from nunbit.recording.tracking import Target, TargetBox
from nunbit.recording.transcript import Diarisation
from nunbit.recording.voice.quality import VoiceQuality, quality_stretches, read_quality
from nunbit.recording.voice.voice_reader import VoiceReader
from nunbit.runtime.config import Threads

CAUSAL_FACES = frozenset(
    {
        *("times_s", "boxes_xyxy", "det_score", "sharpness", "reasons", "rotation", "pose_deg"),
        *("landmarks", "mouth_open", "eye_aspect", "channels", "embeddings", "probabilities"),
        "track_id",
    }
)
"""Columns of a face track that are final when its frame has been read; ``track_id`` one sample
later, where another face came into the place of one. ``motion`` and ``tremor`` are read from the
whole recording, and so is whose tracks are analysed (``FaceStream.targets``); ``lips`` come in at
its end, in place of the landmarks."""

CAUSAL_VOICE = frozenset({"times_s", "present", "clipped"})
"""Columns of the voice that are final when their sound has been heard. Where somebody speaks is
decided with the eight seconds on both sides, the level about the recording's offset, the pitch in a
second pass within the range that a first one found."""


@dataclass(frozen=True, eq=False)
class Observed:
    """All that is known of a recording before anything is measured.

    Attributes:
        media: From probing the file; its ``reading`` is what that showed.
        faces: None without video.
        voice: None without sound.
        quality: Of the voice; None without sound, and where the source cannot be replayed.
        transcript: As given or recognised, or None.
        speakers: Who spoke when, from a diarisation; nobody without one.
        notices: What was odd about the file's end.
        reading: Notes that only decoding and reading the faces gave, without those in
            ``media.reading``.
        fit: Whether given words lie where somebody speaks.
    """

    media: MediaInfo
    faces: FaceReadings | None
    voice: VoiceStream | None
    quality: VoiceQuality | None = None
    transcript: Transcript | None = None
    speakers: Diarisation = field(default_factory=lambda: Diarisation(()))
    notices: tuple[Text, ...] = ()
    reading: tuple[ReadingNote, ...] = ()
    fit: tuple[ReadingNote, ...] = ()


Replay = Callable[[], Iterable[AudioChunk]]


class Observer:
    """Reads faces and voice of one source.

    Args:
        bundle: Gives class probabilities of faces; None leaves them out.
        settings: How faces are read.
        media: Which streams there are, and the size of the upright picture.

    Attributes:
        faces: Their reader, None without pictures.
        voice: Its reader, None without sound.
    """

    def __init__(self, bundle: Bundle | None, settings: FaceSettings, media: MediaInfo) -> None:
        self._media = media
        self.faces = FaceReader(bundle, settings, media) if media.video else None
        self.voice = VoiceReader() if media.audio else None

    def push(self, item: Frame | AudioChunk, found: Found | None = None) -> None:
        """Take the next frame or the next piece of sound; each kind in the order of its times.

        Args:
            item: With its media time.
            found: Where the frame's faces are, from ``faces.search``, which may run ahead in
                another thread; None looks for them here.
        """
        if isinstance(item, Frame):
            if self.faces is not None:
                self.faces.read(item, found or self.faces.search(item))
        elif self.voice is not None:
            self.voice.add(item)

    def take(self) -> FacePart | None:
        """What became final of the faces since the last call, None where nothing did.

        Memory does not grow where this is called now and then.
        """
        return None if self.faces is None else self.faces.take_part()

    def finish(
        self, duration_s: float, replay: Replay | None = None, parts: Iterable[FacePart] = ()
    ) -> Observed:
        """Faces and voice, once the source has ended.

        Args:
            duration_s: Of the source.
            replay: Gives the same sound again; None where it cannot be.
            parts: All that were taken, in order.
        """
        faces = voice = quality = None
        if self.faces is not None:
            faces = self.faces.finish(parts)
            faces = replace(faces, tracks=tuple(map(without_landmarks, faces.tracks)))
        if self.voice is not None:
            voice = self.voice.finish(replay, duration_s)
            if replay is not None:
                quality = VoiceQuality.of(read_quality(replay, voice, quality_stretches(voice)))
        reading = () if self.faces is None else self.faces.reading()
        return Observed(self._media, faces, voice, quality, reading=reading)


# A window holds a few words at least; ten steps a second are finer than any measure here.
WindowS = Annotated[float, msgspec.Meta(ge=0.5, le=600)]
HopS = Annotated[float, msgspec.Meta(ge=0.1, le=600)]
RateHz = Annotated[float, msgspec.Meta(ge=1, le=60)]
FacePx = Annotated[float, msgspec.Meta(ge=8, le=4000)]
MediaS = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
AudioStream = Annotated[int, msgspec.Meta(ge=0, le=255)]

# Frames are at most 1280 px wide: at half of that a face of 40 px, the least that is read, has the
# 20 px that the detector needs, and the whole picture is searched every second.
_SIZES_PX = (160, 320, 640)


@dataclass(frozen=True)
class ReadingSettings:
    """How faces, sound and words of a recording are read.

    The fields mean what they mean in ``AnalyzeSettings`` and ``AlignSettings``, which make these.

    Attributes:
        keep_embeddings: Keep the model's vectors of faces in memory, for an aligned bundle.
    """

    target_speaker: str = ""
    asr: Literal["", "auto", "vosk", "faster-whisper"] = ""
    asr_model: str = ""
    asr_download: bool = False
    language: str = "ko"
    full_rate: bool = False
    rate_hz: RateHz = FACE_RATE_HZ
    target: Literal["largest", "only"] = "largest"
    target_box: Box | None = None
    target_time: MediaS | None = None
    min_face_px: FacePx = 40.0
    audio_stream: AudioStream = 0
    keep_embeddings: bool = False
    threads: Threads = 1
    overlap: bool = True

    @classmethod
    def of(cls, settings: object, *, keep_embeddings: bool = False) -> ReadingSettings:
        """The reading's part of a command's settings: its fields of the same names."""
        given = {
            f.name: getattr(settings, f.name) for f in fields(cls) if hasattr(settings, f.name)
        }
        return cls(**given | {"keep_embeddings": keep_embeddings})

    @property
    def person(self) -> Target:
        """Whose face is analysed."""
        box = self.target_box
        return self.target if box is None else TargetBox(box, self.target_time)

    def face_settings(self, media: MediaInfo) -> FaceSettings:
        """Settings of the face reader; ``full_rate`` reads at the recording's own rate."""
        fps = media.video.fps if media.video else None
        return FaceSettings(
            rate_hz=float(Fraction(fps)) if self.full_rate and fps else self.rate_hz,
            detector=DetectorSettings(sizes_px=_SIZES_PX),
            min_size_px=self.min_face_px,
            keep_embeddings=self.keep_embeddings,
        )


@dataclass(frozen=True, slots=True)
class RecordingJob:
    """One recording to be read, as plain data that crosses to a worker process.

    Attributes:
        media: The recording.
        session: Its name.
        parts_folder: Where what was read is kept until the recording is done.
        transcript: Beside it, or None.
        speakers: Diarisation (RTTM) beside it, or None.
        bundle: Folder of the models.
        bundle_hash: Of the bundle.
        settings: How.
        notes: What was odd before the recording was opened.
        there: Whether the recording is there; else only what was kept of it is.
    """

    media: Path
    session: str
    parts_folder: Path
    transcript: Path | None
    speakers: Path | None
    bundle: Path
    bundle_hash: str
    settings: ReadingSettings
    notes: tuple[ReadingNote, ...] = ()
    there: bool = True
