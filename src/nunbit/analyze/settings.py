"""Settings of ``nunbit analyze``."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

import msgspec

from nunbit.analyze.face_reader import FaceSettings
from nunbit.config import Seed, Threads, Workers
from nunbit.errors import SettingsError
from nunbit.faces import DetectorSettings
from nunbit.schema import Box
from nunbit.streams import FACE_RATE_HZ, Interval, MediaInfo
from nunbit.tracking import TargetBox

# A window holds a few words at least; ten steps a second are finer than any measure here.
WindowS = Annotated[float, msgspec.Meta(ge=0.5, le=600)]
HopS = Annotated[float, msgspec.Meta(ge=0.1, le=600)]


# Frames are at most 1280 px wide: at half of that a face of 40 px, the least that is read, has the
# 20 px that the detector needs, and the whole picture is searched every second.
_SIZES_PX = (160, 320, 640)


@dataclass(frozen=True)
class AnalyzeSettings:
    """How recordings become timelines.

    Attributes:
        transcript: Transcript file; for several media a folder with one file of the same stem
            each; empty = none.
        speakers: Diarisation (RTTM), given like ``transcript``; empty = one speaker is assumed.
        target_speaker: The speaker who is analysed, as diarisation or transcript name them;
            empty = the one who speaks most.
        single_speaker: Nobody else is heard: everything said is the person's.
        asr: Recognise the words where no transcript is given: ``vosk`` or ``faster-whisper``.
        asr_model: Model folder (or size name) of the recogniser; empty = what is installed.
        asr_download: Let faster-whisper fetch the model of a size name from the network, once.
        language: BCP 47 language of the speech; empty = whatever Whisper takes it for.
        export: Formats besides Parquet: eaf, textgrid, vtt, csv, openface.
        baseline: The person's neutral stretch as ``A-B`` in seconds, 60 s or more of valid data.
        subject: Name or code of the person, written into every row.
        embed: Put the video into the report instead of linking it.
        full_rate: Read every frame, which blinks need; slower.
        rate_hz: Faces sampled per second.
        window_s: Length of a window.
        hop_s: Step between windows.
        target: The person analysed: ``largest`` face, or ``only`` where nobody else is shown.
        target_box: x0, y0, x1, y1 in pixels of the upright picture: the face here instead.
        target_time: When, in seconds; None takes whoever is in this place most.
        min_face_px: Smaller faces count as low quality.
        audio_stream: Which audio stream, from 0.
        fuse_voice: Let the experimental voice tower of the bundle take part in the fused index;
            without it its answers are shown only. It never takes part in disagreement.
        unproven_agreement: Show the agreement of face, voice and words although the verdict of
            the aligned bundle is not ``found``.
        threads: Threads of the models of one recording.
        workers: Recordings worked on at once; 0 = the cores this process may use.
        overlap: Decode, search for faces and read them at the same time, on several cores; the
            results are the same.
        seed: Of bootstrap intervals and surrogates.
    """

    transcript: str = ""
    speakers: str = ""
    target_speaker: str = ""
    single_speaker: bool = False
    asr: Literal["", "vosk", "faster-whisper"] = ""
    asr_model: str = ""
    asr_download: bool = False
    language: str = "ko"
    export: tuple[Literal["eaf", "textgrid", "vtt", "csv", "openface"], ...] = ()
    baseline: str = ""
    subject: str = ""
    embed: bool = False
    full_rate: bool = False
    rate_hz: Annotated[float, msgspec.Meta(ge=1, le=60)] = FACE_RATE_HZ
    window_s: WindowS = 4.0
    hop_s: HopS = 1.0
    target: Literal["largest", "only"] = "largest"
    target_box: Box | None = None
    target_time: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    min_face_px: Annotated[float, msgspec.Meta(ge=8, le=4000)] = 40.0
    audio_stream: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    fuse_voice: bool = False
    unproven_agreement: bool = False
    threads: Threads = 1
    workers: Workers = 0
    overlap: bool = True
    seed: Seed = 0

    def baseline_interval(self) -> Interval | None:
        """``baseline`` as an interval, None where none is given.

        Raises:
            SettingsError: It is not two increasing numbers.
        """
        if not self.baseline:
            return None
        try:
            start, end = (float(part) for part in self.baseline.split("-"))
            return Interval(start, end)
        except ValueError as exc:
            raise SettingsError(
                en=f"--baseline {self.baseline}: expected seconds as START-END, for example 0-75",
                ko=f"--baseline {self.baseline}: 초 단위 시작-끝으로 적으십시오. 예: 0-75",
            ) from exc

    def face_settings(self, media: MediaInfo) -> FaceSettings:
        """What the face reader needs of these; ``full_rate`` reads at the recording's own rate."""
        fps = media.video.fps if media.video else None
        return FaceSettings(
            rate_hz=float(Fraction(fps)) if self.full_rate and fps else self.rate_hz,
            detector=DetectorSettings(sizes_px=_SIZES_PX),
            min_size_px=self.min_face_px,
            target=self.target
            if self.target_box is None
            else TargetBox(self.target_box, self.target_time),
        )
