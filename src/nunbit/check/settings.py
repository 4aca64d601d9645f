"""Settings of ``nunbit check``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from nunbit.config import Workers


@dataclass(frozen=True)
class CheckSettings:
    """How closely files are looked at.

    Attributes:
        transcript: Transcript file; for several recordings a folder with one file of the same stem
            each; empty = none.
        speakers: Diarisation (RTTM), given like ``transcript``.
        audio_stream: Which sound stream of recordings, from 0.
        frames: Frames in which faces are sought, spread over the recording.
        sound_s: Seconds of sound in which speech is sought; a shorter recording is heard whole.
        workers: Files looked at at once; 0 = the cores this process may use.
    """

    transcript: str = ""
    speakers: str = ""
    audio_stream: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    frames: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    sound_s: Annotated[float, msgspec.Meta(ge=10.0, le=86_400.0)] = 120.0
    workers: Workers = 0
