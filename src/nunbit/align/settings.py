"""Settings of ``nunbit align``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from nunbit.alignment.table import Centre
from nunbit.analyze.face_reader import FaceSettings
from nunbit.analyze.settings import AnalyzeSettings, HopS, WindowS
from nunbit.config import Seed, Threads, Workers
from nunbit.streams import FACE_RATE_HZ, MediaInfo

ENOUGH_FOR_INFONCE = 5_000
"""Windows that do not overlap; below, contrastive learning overfits and ridge CCA is taken."""

RECORDINGS = "recordings"
"""Folder of a run with what was read of every recording: vectors that tell who it is."""

RESULT = "result.json"

FEWEST_WINDOWS = 60
"""Windows with two modalities without which nothing can be fitted and judged."""


@dataclass(frozen=True)
class ReadingSettings(AnalyzeSettings):
    """As ``nunbit analyze`` reads, with the model's vectors kept."""

    def face_settings(self, media: MediaInfo) -> FaceSettings:
        """What the face reader needs of these."""
        # super() needs the class by name: dataclass makes no new class without slots.
        return dataclasses.replace(super().face_settings(media), keep_embeddings=True)


@dataclass(frozen=True)
class AlignSettings:
    """How an alignment is learned and judged.

    Attributes:
        persons: CSV file with the columns media and person; empty = by folder or file name.
        transcript: Transcript file, or a folder with one file of the same stem a recording.
        speakers: Diarisation (RTTM), given like ``transcript``.
        target_speaker: Who of the speakers is the person; empty = who speaks most.
        asr: Recognise the words where no transcript is given.
        language: Of the speech.
        method: ``cca``, ``infonce``, or ``auto``: ridge CCA below 5,000 windows that do not
            overlap, contrastive learning from there on.
        centre: Whose mean is taken out: ``recording`` (and with it the person), or ``person``.
        without_talking: Use heads from which talking and the mouth are erased; what they find is
            then the headline.
        rate_hz: Faces sampled per second.
        window_s: Length of a window.
        hop_s: Step between windows.
        min_face_px: Smaller faces count as low quality.
        audio_stream: Which audio stream, from 0.
        n_candidates: Windows among which the right one is sought.
        apart_s: Distance of the others of the same recording.
        folds: Groups of people left out in turn.
        steps: Of contrastive learning.
        batch_size: Windows a step.
        lr: Peak rate.
        threads: Of the models of one recording.
        workers: Recordings read at once; 0 = the cores this process may use.
        forget: Delete what was read of the recordings (``RUN/recordings``) after the run.
        seed: Of candidates and batches.
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
    rate_hz: Annotated[float, msgspec.Meta(ge=1, le=60)] = FACE_RATE_HZ
    window_s: WindowS = 4.0
    hop_s: HopS = 1.0
    min_face_px: Annotated[float, msgspec.Meta(ge=8, le=4000)] = 40.0
    audio_stream: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    n_candidates: Annotated[int, msgspec.Meta(ge=5, le=100)] = 20
    apart_s: Annotated[float, msgspec.Meta(ge=0.1, le=86400)] = 8.0
    folds: Annotated[int, msgspec.Meta(ge=2, le=20)] = 5
    steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2000
    batch_size: Annotated[int, msgspec.Meta(ge=16, le=65_536)] = 256
    lr: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1e-3
    threads: Threads = 1
    workers: Workers = 0
    forget: bool = False
    seed: Seed = 0

    def reading(self) -> ReadingSettings:
        """How recordings are read."""
        return ReadingSettings(
            target_speaker=self.target_speaker,
            asr=self.asr,
            language=self.language,
            rate_hz=self.rate_hz,
            window_s=self.window_s,
            hop_s=self.hop_s,
            min_face_px=self.min_face_px,
            audio_stream=self.audio_stream,
            threads=self.threads,
        )
