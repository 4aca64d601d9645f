"""Look at one recording: ten frames, two minutes of sound and its transcript.

The frames and stretches of sound lie evenly over the recording, at places that depend on its
length alone; a recording shorter than the sampled sound is read whole.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from nunbit.core.messages import Lang, Text
from nunbit.core.schema import ReadingNote, problems, reading_document
from nunbit.core.spans import runs
from nunbit.core.streams import (
    AUDIO_RATE_HZ,
    AudioChunk,
    Flags,
    Floats,
    Interval,
    MediaInfo,
    Singles,
    Transcript,
)
from nunbit.core.timebase import clock, intersect_intervals
from nunbit.pictures.faces import DetectorSettings, detect_faces
from nunbit.recording.media import SoundFacts, level_notes, sample_sound
from nunbit.recording.media.decoder import sample_stretches
from nunbit.recording.media.frames import sample_frames
from nunbit.recording.transcript import fit_notes, fit_words, said_intervals
from nunbit.recording.voice.voice_reader import CHUNK, ActivitySettings, SpeechDetector
from nunbit.runtime.config import Workers


@dataclass(frozen=True)
class CheckSettings:
    """How thoroughly files are checked.

    Attributes:
        transcript: Transcript file; for several recordings a folder with one file of the same stem
            each; empty = none.
        speakers: Who speaks when (RTTM), given like ``transcript``.
        audio_stream: Number of the audio stream, from 0.
        frames: Frames in which faces are searched for, spread over the recording.
        sound_s: Length of sound in which speech is searched for; a shorter recording is read whole.
        workers: Files checked at once; 0 = as many as the cores allow.
    """

    transcript: str = ""
    speakers: str = ""
    audio_stream: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    frames: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    sound_s: Annotated[float, msgspec.Meta(ge=10.0, le=86_400.0)] = 120.0
    workers: Workers = 0


Kind = Literal["recording", "transcript", "speakers", "photo"]
State = Literal["ok", "noted", "failed"]


@dataclass(frozen=True, slots=True)
class Heard:
    """The sound of a recording, sampled.

    Attributes:
        level_dbfs: Of the loudest channel, 20 log10 of the RMS.
        peak: Largest sample; 1 is full scale.
        clipped_share: Of the samples, 0 to 1.
        speech_share: Share of the sampled sound with speech, 0 to 1; None if none was sampled.
        listened_s: Length of the sampled sound, seconds.
        whole: Whether all sound of the recording was sampled.
    """

    level_dbfs: float
    peak: float
    clipped_share: float
    speech_share: float | None
    listened_s: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The sampled frames of a recording, or a photo (one frame).

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
    """How the words fit the sampled sound.

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
        kind: Its detected kind.
        notes: The reading protocol.
        error: Why it cannot be used or None.
        media: What a recording holds.
        heard: Its sound, None without.
        seen: Its frames, or the photo; None without.
        fit: Of the transcript, None without words or sound.
    """

    file: str
    kind: Kind
    notes: tuple[ReadingNote, ...] = ()
    error: Text | None = None
    media: MediaInfo | None = None
    heard: Heard | None = None
    seen: Seen | None = None
    fit: Fit | None = None

    @property
    def state(self) -> State:
        """``failed`` if unusable, ``noted`` with notes, ``ok`` without."""
        if self.error is not None:
            return "failed"
        return "noted" if problems(self.notes) else "ok"

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """Plain data for ``--json``."""
        media = None
        if self.media is not None:
            media = {k: v for k, v in asdict(self.media).items() if k != "reading"}
        return {
            "file": self.file,
            "kind": self.kind,
            "state": self.state,
            "error": None if self.error is None else self.error.line(lang),
            "reading": reading_document(self.notes),
            "media": media,
            "sound": None if self.heard is None else asdict(self.heard),
            "faces": None if self.seen is None else asdict(self.seen),
            "transcript_fit": None if self.fit is None else asdict(self.fit),
        }


_STRETCH_S = 6.0  # long enough to hear a sentence begin and end, short enough for twenty of them
_GOLDEN = 0.6180339887498949  # multiples of it are spread as evenly over [0, 1) as can be
_SIZES_PX = (160, 320, 640)  # as analyze searches: frames are at most 1280 px wide
_SMALL_PX = 40.0  # analyze masks smaller faces as low_quality unless told otherwise
_EDGE_S = 0.3  # Silero's edges, and those of words, lie that far off
_GAP_S = 0.05  # chunks further apart than this have no sound between them
_FLOOR_DBFS = -120.0
_LITTLE_SPEECH = 0.02
_FEW_WORDS = 5  # fewer words say nothing of the fit
_FITS = 0.5  # words of the right transcript lie in speech nine times in ten, of a wrong one as
# often as there is speech

Notes = list[ReadingNote]


def look_at_frames(path: Path, media: MediaInfo, settings: CheckSettings) -> tuple[Seen, Notes]:
    """Faces in frames spread over a recording with video, and notes about them."""
    video = media.video
    assert video is not None
    n, length = settings.frames, video.end_s - video.start_s
    times = [video.start_s + length * (k + 0.5) / n for k in range(n)]
    detector = DetectorSettings(_SIZES_PX)
    decoded: Notes = []
    frames = sample_frames(path, times, noted=decoded)
    found = [[face.size_px for face in detect_faces(f.pixels, detector)] for f in frames]
    largest = [max(sizes) for sizes in found if sizes]
    seen = Seen(
        frames=len(found),
        with_face=len(largest),
        several=sum(len(sizes) > 1 for sizes in found),
        size_px=round(statistics.median(largest), 1) if largest else None,
    )
    missing = n - seen.frames
    # A film of few pictures has no more; of the others every place gives one.
    if seen.frames and 2 * missing >= n and float(Fraction(video.fps or 0)) * length >= 2 * n:
        decoded.append(
            ReadingNote(
                "read",
                "no_frame",
                missing,
                clock(times[-1], tenths=True),
                Text(
                    f"{missing} of the {n} sampled places gave no frame: time stamps or key "
                    "frames are missing; convert the file if analyze finds as few",
                    f"살펴본 {n}곳 중 {missing}곳에서 장면을 얻지 못했습니다. 시각 정보나 키 "
                    "프레임이 없습니다. analyze에서도 그러면 파일을 다시 변환하십시오",
                ),
            )
        )
    return seen, [*decoded, *_face_notes(seen)]


def _look_note(code: str, count: int, text: Text) -> ReadingNote:
    """A note on the whole recording, which is read as it is."""
    return ReadingNote("read", code, count, "0:00.0", text)


def _face_notes(seen: Seen) -> Iterator[ReadingNote]:
    n = seen.frames
    if not n:
        said = Text(
            "no frame could be decoded at the sampled places; copy the file again",
            "살펴본 위치에서 영상을 읽지 못했습니다. 파일을 다시 복사하십시오",
        )
        yield ReadingNote("left_out", "no_frame", 1, "0:00.0", said)
        return
    if not seen.with_face:
        yield _look_note(
            "no_face_seen",
            n,
            Text(
                f"no face in any of the {n} sampled frames; face measures will be missing",
                f"살펴본 {n}장면 어디에도 얼굴이 없습니다. 얼굴 측정값을 구할 수 없습니다",
            ),
        )
    elif seen.with_face * 2 < n:
        yield _look_note(
            "few_faces_seen",
            n - seen.with_face,
            Text(
                f"a face in only {seen.with_face} of the {n} sampled frames",
                f"살펴본 {n}장면 중 {seen.with_face}장면에서만 얼굴이 보입니다",
            ),
        )
    if seen.several:
        yield _look_note(
            "several_faces",
            seen.several,
            Text(
                f"several faces in {seen.several} of the {n} sampled frames; the largest is "
                "analysed; choose another with `target_box=[x0,y0,x1,y1]`",
                f"살펴본 {n}장면 중 {seen.several}장면에 얼굴이 여럿입니다. 가장 큰 얼굴을 "
                "분석하며, 다른 얼굴은 `target_box=[x0,y0,x1,y1]`로 지정하십시오",
            ),
        )
    if seen.size_px is not None and seen.size_px < _SMALL_PX:
        yield _look_note(
            "small_faces",
            seen.with_face,
            Text(
                f"faces are {seen.size_px:.0f} px large; below {_SMALL_PX:.0f} px they are "
                "not read (low_quality)",
                f"얼굴 크기가 {seen.size_px:.0f}픽셀입니다. {_SMALL_PX:.0f}픽셀보다 작으면 "
                "읽지 않습니다(low_quality)",
            ),
        )


def listen(
    path: Path, media: MediaInfo, settings: CheckSettings
) -> tuple[Heard, tuple[Interval, ...], tuple[Interval, ...]]:
    """Sample the sound of a recording: its properties, the stretches sampled, the speech.

    Returns:
        The sound; the stretches sampled; the stretches of speech in them.
    """
    audio = media.audio
    assert audio is not None
    places = stretches_of(Interval(audio.start_s, audio.end_s), settings.sound_s)
    detector = SpeechDetector()
    heard: list[Interval] = []
    speech: list[Interval] = []
    for stretch, chunks in sample_stretches(path, places, audio_stream=settings.audio_stream):
        for piece in _pieces(chunks, stretch):
            chances = np.concatenate([detector.add(piece.samples), detector.end()])
            heard.append(_span(piece))
            speech += _speech(chances, heard[-1])
    facts = sample_sound(path, audio_stream=settings.audio_stream)
    listened_s = sum(each.duration_s for each in heard)
    share = sum(each.duration_s for each in speech) / listened_s if listened_s else None
    found = Heard(
        level_dbfs=_FLOOR_DBFS if facts is None else round(facts.level_dbfs, 1),
        peak=0.0 if facts is None else round(facts.peak, 4),
        clipped_share=0.0 if facts is None else round(facts.clipped_share, 6),
        speech_share=None if share is None else round(share, 4),
        listened_s=round(listened_s, 2),
        whole=len(places) == 1,
    )
    return found, tuple(heard), tuple(speech)


def sound_notes(heard: Heard, facts: SoundFacts | None) -> Notes:
    """Notes about the sound: level, clipping, missing speech."""
    notes = [] if facts is None else list(level_notes(facts))
    silent = any(note.code == "silent" for note in notes)
    share = heard.speech_share
    if share is not None and share < _LITTLE_SPEECH and not silent:
        what = "" if heard.whole else " looked at"
        notes.append(
            _look_note(
                "no_speech",
                1,
                Text(
                    f"almost no speech in the {heard.listened_s:.0f} s of sound{what}; voice "
                    "measures will be missing",
                    f"살펴본 소리 {heard.listened_s:.0f}초에 말소리가 거의 없습니다. 목소리 "
                    "측정값을 구할 수 없습니다",
                ),
            )
        )
    return notes


def stretches_of(span: Interval, budget_s: float) -> tuple[Interval, ...]:
    """Stretches to sample: the whole recording if short enough, else spread over it."""
    if span.duration_s <= budget_s:
        return (span,)
    n = max(1, round(budget_s / _STRETCH_S))
    step_s = span.duration_s / n
    # At another place in every step: a recording that repeats itself would be heard at one phase.
    places = [k + (k * _GOLDEN) % 1.0 * (1.0 - _STRETCH_S / step_s) for k in range(n)]
    starts = [span.start_s + step_s * place for place in places]
    return tuple(Interval(start, start + _STRETCH_S) for start in starts)


def fit_of(
    transcript: Transcript,
    heard: Sequence[Interval],
    speech: Sequence[Interval],
    whole_s: float | None = None,
) -> tuple[Fit, Notes]:
    """Whether words lie in speech, in the sampled sound.

    Args:
        transcript: With words.
        heard: The stretches sampled.
        speech: The speech in them.
        whole_s: Length of the recording if all of its sound was read: then words are compared as in
            ``analyze``; otherwise the sampled words are counted.
    """
    spans = [word.interval for u in transcript.utterances for word in u.words]
    middles = np.array([(span.start_s + span.end_s) / 2 for span in spans])
    near = [Interval(each.start_s - _EDGE_S, each.end_s + _EDGE_S) for each in speech]
    inside = _inside(middles, heard)
    spoken = inside & _inside(middles, near)
    said = sorted(u.interval for u in transcript.utterances)
    fit = Fit(
        words=int(inside.sum()),
        in_speech=int(spoken.sum()),
        speech_s=round(sum(each.duration_s for each in speech), 2),
        covered_s=round(sum(i.duration_s for i in intersect_intervals(speech, said)), 2),
    )
    if whole_s is not None:
        compared = fit_words(speech, said_intervals(transcript), whole_s)
        if compared.kind != "unknown":
            return fit, list(fit_notes(compared))
    outside = fit.words - fit.in_speech
    if fit.words < _FEW_WORDS or fit.in_speech >= _FITS * fit.words:
        return fit, []
    note = ReadingNote(
        "read",
        "words_outside_speech",
        outside,
        clock(float(middles[inside & ~spoken][0]), tenths=True),
        Text(
            f"{outside} of {fit.words} sampled words lie outside speech: the transcript may be "
            "late, early, or of another recording",
            f"살펴본 단어 {fit.words}개 중 {outside}개가 말소리가 없는 곳에 있습니다. 전사의 "
            "시각이 어긋났거나 다른 녹화의 전사일 수 있습니다",
        ),
    )
    return fit, [note]


def _inside(times_s: Floats, spans: Sequence[Interval]) -> Flags:
    found = np.zeros(len(times_s), bool)
    for span in spans:
        found |= (times_s >= span.start_s) & (times_s < span.end_s)
    return found


def _pieces(chunks: Sequence[AudioChunk], stretch: Interval) -> Iterator[AudioChunk]:
    """The sound of a stretch without gaps inside, cut at its end; a gap begins a new piece."""
    held: list[Singles] = []
    start_s = next_s = 0.0
    for chunk in chunks:
        samples = chunk.samples[: max(0, round((stretch.end_s - chunk.start_s) * AUDIO_RATE_HZ))]
        if not len(samples):
            continue
        if held and abs(chunk.start_s - next_s) > _GAP_S:
            yield AudioChunk(start_s, np.concatenate(held))
            held = []
        if not held:
            start_s = chunk.start_s
        held.append(samples)
        next_s = chunk.start_s + len(samples) / AUDIO_RATE_HZ
    if held:
        yield AudioChunk(start_s, np.concatenate(held))


def _span(piece: AudioChunk) -> Interval:
    return Interval(piece.start_s, piece.start_s + len(piece.samples) / AUDIO_RATE_HZ)


def _speech(chances: Singles, piece: Interval) -> list[Interval]:
    """Stretches of speech by Silero's probabilities of 32 ms each, from the start of the piece."""
    flags = chances >= ActivitySettings().on
    step_s = CHUNK / AUDIO_RATE_HZ
    return [
        Interval(piece.start_s + a * step_s, min(piece.start_s + b * step_s, piece.end_s))
        for a, b in runs(flags).tolist()
    ]
