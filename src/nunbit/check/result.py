"""What a look at one file found, as types and as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from nunbit.errors import Lang
from nunbit.protocol import problems
from nunbit.reading import ReadingNote, reading_document
from nunbit.streams import MediaInfo

Kind = Literal["recording", "transcript", "speakers", "photo"]
State = Literal["ok", "noted", "failed"]


@dataclass(frozen=True, slots=True)
class Heard:
    """The sound of a recording, sampled.

    Attributes:
        level_dbfs: Of the loudest channel, 20 log10 of the RMS.
        peak: Largest sample; 1 is full scale.
        clipped_share: Of the samples, 0 to 1.
        speech_share: Share of the sound listened to in which somebody speaks, 0 to 1; None where
            none was listened to.
        listened_s: How much was listened to, seconds.
        whole: Whether that is all the recording has.
    """

    level_dbfs: float
    peak: float
    clipped_share: float
    speech_share: float | None
    listened_s: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The frames of a recording that were looked at, or a photo (one frame).

    Attributes:
        frames: How many.
        with_face: In how many of them at least one face was found.
        several: In how many of them more than one.
        size_px: Median longer side of the largest face, pixels of the frame; None without faces.
    """

    frames: int
    with_face: int
    several: int
    size_px: float | None


@dataclass(frozen=True, slots=True)
class Fit:
    """How the words lie in the sound that was listened to.

    Attributes:
        words: Words whose middle lies there.
        in_speech: Those of them that lie in speech.
        speech_s: Seconds of speech there.
        covered_s: Those of them under an utterance.
    """

    words: int
    in_speech: int
    speech_s: float
    covered_s: float


@dataclass(frozen=True, slots=True)
class Checked:
    """One file.

    Attributes:
        file: As the user gave it, or its place in the folder they gave.
        kind: What it was taken for.
        notes: The reading protocol.
        error: Why it cannot be used, as (en, ko), or None.
        media: What a recording holds.
        heard: Its sound, None without.
        seen: Its frames, or the photo; None without.
        fit: Of the transcript, None without words or sound.
    """

    file: str
    kind: Kind
    notes: tuple[ReadingNote, ...] = ()
    error: tuple[str, str] | None = None
    media: MediaInfo | None = None
    heard: Heard | None = None
    seen: Seen | None = None
    fit: Fit | None = None

    @property
    def state(self) -> State:
        """``failed`` cannot be used, ``noted`` has something to know, ``ok`` has nothing."""
        if self.error is not None:
            return "failed"
        return "noted" if problems(self.notes) else "ok"

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """Plain data for ``--json``."""
        media = None
        if self.media is not None:
            media = {k: v for k, v in asdict(self.media).items() if k != "reading"}
        error = None if self.error is None else " ".join(self.error[lang == "ko"].split())
        return {
            "file": self.file,
            "kind": self.kind,
            "state": self.state,
            "error": error,
            "reading": reading_document(self.notes),
            "media": media,
            "sound": None if self.heard is None else asdict(self.heard),
            "faces": None if self.seen is None else asdict(self.seen),
            "transcript_fit": None if self.fit is None else asdict(self.fit),
        }
