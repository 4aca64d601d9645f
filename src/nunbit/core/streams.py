"""Frozen types of a recording: face, voice and words on one clock.

Time is seconds on the media clock: presentation timestamps minus the earliest start of any stream
of the file, which is also what a browser's video element counts from. Intervals are half-open.
Absent is NaN or None with a reason, never zero and never 'neutral'. Nothing here reads files or
knows a model. N samples of a track, M samples of a stream, W windows, K labels, D embedding size.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.core.messages import Text
from nunbit.core.schema import ReadingNote

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]

AUDIO_RATE_HZ = 16_000
VOICE_HOP_S = 0.01
FACE_RATE_HZ = 10.0

MOST_CLIPPED = 0.1
"""Share of the voiced 10 ms frames of a stretch that may hold clipped samples. Up to a tenth,
shimmer is off by at most 3% of itself in nine of ten stretches, beyond a fifth by 15%, beyond two
by 36%; jitter and harmonicity suffer less and later (``benchmarks/clipped_voice.py``)."""

Modality = Literal["face", "voice", "text", "fused", "media"]
MODALITIES: tuple[Modality, ...] = ("face", "voice", "text")
"""What a window is fused from, in the order of tables."""
Scope = Literal["window", "turn", "question", "session"]
Grade = Literal["A", "B", "C"]

REASONS = (
    "",  # valid
    "no_video", "no_audio", "no_transcript", "no_face", "multiple_faces", "low_conf",
    "low_quality", "no_landmarks", "silence", "other_speaker", "gap", "too_few", "too_short",
    "no_turns", "no_model", "no_label", "not_full_rate", "uncertain_speaker", "unvalidated",
    "constant", "too_few_independent", "no_like_baseline", "below_noise", "not_a_mean", "clipped",
    "no_analyser", "negated", "wish", "not_scored", "mouth_covered",
)  # fmt: skip
"""Why a value is missing; '' where it is there."""


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Half-open stretch [start, end) of the media clock, never empty; seconds."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not self.start_s < self.end_s:  # NaN is refused, too
            raise ValueError(f"interval: expected start < end, got {self.start_s}, {self.end_s}")

    @property
    def duration_s(self) -> float:
        """Length, seconds."""
        return self.end_s - self.start_s

    def overlap_s(self, other: Interval) -> float:
        """Seconds that both share, 0 if none."""
        return max(0.0, min(self.end_s, other.end_s) - max(self.start_s, other.start_s))


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The video stream that is read.

    Attributes:
        width, height: Of the upright picture (rotation metadata applied), pixels.
        rotation_deg: Clockwise rotation that the file asks for: 0, 90, 180, 270.
        fps: Average frame rate as an exact fraction, for example ``30000/1001``, or None.
        start_s, end_s: First presentation time and end of the last frame on the media clock.
    """

    width: int
    height: int
    rotation_deg: int
    fps: str | None
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The audio stream that is read.

    Attributes:
        rate_hz, channels: As stored; read as the mean of the channels in ``SoundFacts.used``.
        start_s, end_s: First presentation time and end of the last sample on the media clock.
        stream: Which of the audio streams, from 0.
        n_streams: How many there are.
    """

    rate_hz: int
    channels: int
    start_s: float
    end_s: float
    stream: int = 0
    n_streams: int = 1


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Properties of a media file.

    Attributes:
        name: File name without folders, NFC.
        duration_s: End of the last sample or frame on the media clock.
        video: None for audio alone.
        audio: None for silent video.
        reading: Notes of probing the file: lengths, interlacing, high dynamic range.
    """

    name: str
    duration_s: float
    video: VideoInfo | None
    audio: AudioInfo | None
    reading: tuple[ReadingNote, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One decoded picture.

    Attributes:
        time_s: Presentation time.
        pixels: (H, W, 3) uint8 RGB, upright.
    """

    time_s: float
    pixels: Pixels


@dataclass(frozen=True, eq=False, slots=True)
class AudioChunk:
    """Consecutive samples; a gap in the stream begins a new chunk with a later start.

    Attributes:
        start_s: Time of the first sample.
        samples: (n,) float32, mono, 16 kHz; full scale is 1, which float sound may exceed.
        clipped: Where samples of the file were found clipped since the chunk before; not always
            inside this chunk.
    """

    start_s: float
    samples: Singles
    clipped: tuple[Interval, ...] = ()


def _check_rows(owner: object, n: int, names: tuple[str, ...], where: str = "") -> None:
    for name in names:
        if (rows := getattr(owner, name)) is not None and len(rows) != n:
            raise ValueError(f"{where}{name}: expected {n} rows, got {len(rows)}")


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face followed through time, at the sampled frames in which it was seen.

    Attributes:
        track_id: From 0, in order of first appearance.
        times_s: (N,) increasing.
        boxes_xyxy: (N, 4) pixels of the upright picture.
        det_score: (N,) the detector's confidence, 0 to 1.
        sharpness: (N,) variance of the Laplacian of the 64 px grey crop, levels squared.
        reasons: (N,) of str; '' if the face is readable, else why not (``low_quality``,
            ``low_conf``, ``mouth_covered``).
        rotation: (N, 3, 3) head rotation, camera from head, NaN without landmarks.
        pose_deg: (N, 3) yaw (+ to the image's right), pitch (+ down), roll (+ clockwise); NaN
            without landmarks.
        landmarks: (N, L, 3) pixels (z in the scale of x), or None.
        mouth_open: (N,) inner lip gap over eye distance, NaN without landmarks.
        eye_aspect: (N,) mean eye aspect ratio, NaN without landmarks.
        channels: (N, C) of ``KEPT_CHANNELS``, NaN without a mesh; or None without their network.
        embeddings: (N, D) unit rows, or None without a model.
        probabilities: (N, K) rows sum to one, or None without a model.
        motion: (N,) how far the face moved since about 0.1 s before, tremor included, in eye
            distances per second; or None. Stands for the landmarks where they are not kept.
        tremor: Motion that the landmarks' trembling alone brings about, NaN where unknown.
        lips: (N,) height of the lips over eye distance, or None; likewise.
    """

    track_id: int
    times_s: Floats
    boxes_xyxy: Singles
    det_score: Singles
    sharpness: Singles
    reasons: NDArray[np.str_]
    rotation: Floats
    pose_deg: Floats
    landmarks: Singles | None
    mouth_open: Singles
    eye_aspect: Singles
    embeddings: Singles | None = None
    probabilities: Singles | None = None
    channels: Singles | None = None
    motion: Floats | None = None
    tremor: float = float("nan")
    lips: Floats | None = None

    def __post_init__(self) -> None:
        if not (np.diff(self.times_s) > 0).all():
            raise ValueError("times_s: expected increasing times")
        names = tuple(f.name for f in fields(self) if f.name not in ("track_id", "tremor"))
        _check_rows(self, len(self.times_s), names)


@dataclass(frozen=True, eq=False)
class FaceStream:
    """All faces of a recording.

    Attributes:
        rate_hz: Sampling rate asked for.
        sample_times_s: (M,) the sampled frames; a grid time without a frame within 50 ms is not
            among them.
        n_faces: (M,) faces found in each.
        tracks: Every track, target or not.
        targets: Ids of the tracks of the person analysed (one person may leave and return).
        labels: K label ids of ``probabilities``; empty without a model.
        has_landmarks: Whether a landmark model was there.
    """

    rate_hz: float
    sample_times_s: Floats
    n_faces: Ints
    tracks: tuple[FaceTrack, ...]
    targets: tuple[int, ...]
    labels: tuple[str, ...] = ()
    has_landmarks: bool = False


@dataclass(frozen=True, eq=False)
class VoiceStream:
    """The voice of a recording.

    Attributes:
        times_s: (M,) centres of the frames; the grid is regular, k x 10 ms + 5 ms.
        present: (M,) whether the file has sound there.
        speech: (M,) whether somebody speaks (after joining and padding).
        f0_hz: (M,) NaN where unvoiced.
        level_dbfs: (M,) 20 log10 of the RMS of 20 ms around the centre, full scale = 0 dB; -inf
            is clipped to -120; NaN where absent.
        segments: Stretches of speech, in order, not overlapping.
        f0_range_hz: Search range of the second pass.
        clipped: (M,) whether samples are clipped there, None where it is not known.
    """

    times_s: Floats
    present: Flags
    speech: Flags
    f0_hz: Singles
    level_dbfs: Singles
    segments: tuple[Interval, ...]
    f0_range_hz: tuple[float, float] | None = None
    clipped: Flags | None = None

    def are_clipped(self, start_s: Floats, end_s: Floats) -> Flags:
        """(S,) whether too much of the voice in each span is clipped to use its sound."""
        if self.clipped is None:
            return np.zeros(len(start_s), bool)
        voiced = np.isfinite(self.f0_hz)
        first, last = (np.searchsorted(self.times_s, edges) for edges in (start_s, end_s))
        sums = [np.concatenate([[0], np.cumsum(f)]) for f in (voiced & self.clipped, voiced)]
        spoilt, there = (total[last] - total[first] for total in sums)
        return np.asarray((there > 0) & (spoilt > MOST_CLIPPED * there))


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch in which one speaker has the floor (a turn).

    Attributes:
        interval: From the first to the last sound, pauses inside included.
        speaker: As the diarisation or transcript names them.
        target: Whether this is the person analysed.
        question: The interviewer's turn this one answers (index into the turns), or None.
    """

    interval: Interval
    speaker: str
    target: bool
    question: int | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """One written word (eojeol in Korean) with its time.

    Attributes:
        interval: Seconds.
        text: NFC, punctuation kept.
        confidence: 0 to 1, or None where the source gives none.
        syllables: Spoken syllables: Hangul blocks after numbers and Latin letters are spoken out.
        filler: 어, 음, uh and their like.
        estimated: True where the time was spread over a longer cue and not measured.
    """

    interval: Interval
    text: str
    confidence: float | None = None
    syllables: int = 0
    filler: bool = False
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance of one speaker.

    Attributes:
        interval: Seconds.
        text: NFC.
        speaker: As the source names them, or None.
        confidence: 0 to 1, or None.
        words: In order; times estimated where the source has none.
    """

    interval: Interval
    text: str
    speaker: str | None = None
    confidence: float | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcript:
    """All utterances of a recording.

    Attributes:
        utterances: By start.
        source: A format (``srt``, ``vtt``, ``eaf`` …), a recogniser, or a service (``clova`` …).
        language: BCP 47, or None.
        notices: What was odd and what was done about it.
        reading: What was read, repaired and left out of the file.
    """

    utterances: tuple[Utterance, ...]
    source: str
    language: str | None = None
    notices: tuple[Text, ...] = ()
    reading: tuple[ReadingNote, ...] = ()


@dataclass(frozen=True, eq=False)
class MeasureBlock:
    """One measure of one modality in one scope: W rows of ``timeline.parquet``.

    Attributes:
        scope: What the rows are: windows, turns, questions, or the session (W = 1).
        modality: Where the value comes from.
        measure: Name as in the definitions, or ``p_<label>``.
        unit: Of ``value``.
        grade: Strength of evidence, A to C; None for what is no depression-related measure.
        t_start, t_end: (W,) seconds.
        value: (W,) NaN where invalid.
        n_expected: (W,) samples there would be in a complete window.
        n_valid: (W,) samples that were used.
        confidence: (W,) mean confidence of these, 0 to 1, NaN where none.
        mask_reason: (W,) of str; '' where valid.
        ci_low, ci_high: (W,) ends of the 95% interval, or None where there is none.
        baseline: The person's own baseline in the same unit, NaN where there is none.
        track, version: Of a face measure where several persons are reported; of the definition.
        experimental: Left out of summaries unless requested.
        ci_reason: Why a value has no interval; '' if it has one or none was computed.
    """

    scope: Scope
    modality: Modality
    measure: str
    unit: str
    grade: Grade | None
    t_start: Floats
    t_end: Floats
    value: Floats
    n_expected: Ints
    n_valid: Ints
    confidence: Floats
    mask_reason: NDArray[np.str_]
    ci_low: Floats | None = None
    ci_high: Floats | None = None
    baseline: float = float("nan")
    track: str = ""
    version: str = "1"
    experimental: bool = False
    ci_reason: str = ""

    def __post_init__(self) -> None:
        names = ("t_end", "value", "n_expected", "n_valid", "confidence", "mask_reason")
        _check_rows(self, len(self.t_start), names, f"{self.measure}.")
        unexplained = np.flatnonzero(np.isnan(self.value) & (self.mask_reason == ""))
        if len(unexplained):
            raise ValueError(f"{self.measure}: row {unexplained[0]}: a missing value, no reason")


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch in which something lasted.

    Attributes:
        kind: ``joy``, ``depgroup``, ``incongruence``, ``low_agreement``, or a state: ``no_face``,
            ``multiple_faces``, ``low_quality``, ``mouth_covered``, ``silence``, ``gap``.
        interval: Onset to offset.
        peak: Largest value inside (lowest for ``low_agreement``), NaN for states.
        note: A short excerpt or detail.
    """

    kind: str
    interval: Interval
    peak: float = float("nan")
    note: str = ""


@dataclass(frozen=True, eq=False)
class Timeline:
    """All results of one recording.

    Attributes:
        media: The file.
        session: Name of the recording: the file's stem.
        subject: Name of the person analysed, as given by the user; '' if none.
        labels: K label ids of the class probabilities.
        windows: The window grid.
        faces, voice, transcript: None without video, audio, words.
        turns: In order; empty where nobody speaks.
        blocks, episodes: All measures; all episodes and states, by start.
        path, names: Of the recording, from its folder ('' = untold); label id -> Korean name.
    """

    media: MediaInfo
    session: str
    subject: str
    labels: tuple[str, ...]
    windows: tuple[Interval, ...]
    faces: FaceStream | None
    voice: VoiceStream | None
    transcript: Transcript | None
    turns: tuple[Turn, ...]
    blocks: tuple[MeasureBlock, ...]
    episodes: tuple[Episode, ...]
    path: str = ""
    names: dict[str, str] = field(default_factory=dict)
