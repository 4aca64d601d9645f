"""Look at one recording without analysing it: ten frames, two minutes of sound, its transcript.

The frames and stretches of sound lie evenly over the recording, at places that depend on its length
alone; a recording that is shorter than what is listened to is heard whole.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nunbit.check.result import Fit, Heard, Seen
from nunbit.check.settings import CheckSettings
from nunbit.faces import DetectorSettings, detect_faces
from nunbit.media import SoundFacts, level_notes, sample_sound
from nunbit.media.sampling import sample_frames, sample_stretches
from nunbit.reading import ReadingNote
from nunbit.streams import (
    AUDIO_RATE_HZ,
    AudioChunk,
    Flags,
    Floats,
    Interval,
    MediaInfo,
    Singles,
    Transcript,
)
from nunbit.timebase import clock, intersect_intervals
from nunbit.transcript import fit_notes, fit_words, said_intervals
from nunbit.voice.activity import CHUNK, ActivitySettings, SpeechDetector

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
    """Faces in frames spread over a recording with video, and what to say of them."""
    video = media.video
    assert video is not None
    n, length = settings.frames, video.end_s - video.start_s
    times = [video.start_s + length * (k + 0.5) / n for k in range(n)]
    detector = DetectorSettings(_SIZES_PX)
    counts, sizes = [], []
    decoded: Notes = []
    for frame in sample_frames(path, times, noted=decoded):
        faces = detect_faces(frame.pixels, detector)
        counts.append(len(faces))
        if faces:
            sizes.append(max(face.size_px for face in faces))
    seen = Seen(
        frames=len(counts),
        with_face=sum(count > 0 for count in counts),
        several=sum(count > 1 for count in counts),
        size_px=round(statistics.median(sizes), 1) if sizes else None,
    )
    return seen, [*decoded, *_face_notes(seen)]


def _face_notes(seen: Seen) -> Notes:
    notes = []
    n = seen.frames
    if not n:
        return [ReadingNote(
            "left_out", "no_frame", 1, "0:00.0",
            "no frame could be decoded at the places looked at; copy the file again",
            "살펴본 자리에서 영상을 읽지 못했습니다. 파일을 다시 복사하십시오",
        )]  # fmt: skip
    if not seen.with_face:
        notes.append(ReadingNote(
            "read", "no_face_seen", n, "0:00.0",
            f"no face in any of the {n} frames looked at; face measures will be missing",
            f"살펴본 {n}장면 어디에도 얼굴이 없습니다. 얼굴 측정값이 비게 됩니다",
        ))  # fmt: skip
    elif seen.with_face * 2 < n:
        notes.append(ReadingNote(
            "read", "few_faces_seen", n - seen.with_face, "0:00.0",
            f"a face in only {seen.with_face} of the {n} frames looked at",
            f"살펴본 {n}장면 중 {seen.with_face}장면에서만 얼굴이 보입니다",
        ))  # fmt: skip
    if seen.several:
        notes.append(ReadingNote(
            "read", "several_faces", seen.several, "0:00.0",
            f"several faces in {seen.several} of the {n} frames looked at; the largest is "
            "analysed, another with --set target_box=[x0,y0,x1,y1]",
            f"살펴본 {n}장면 중 {seen.several}장면에 얼굴이 여럿입니다. 가장 큰 얼굴을 분석하며, "
            "다른 얼굴은 --set target_box=[x0,y0,x1,y1]로 지정하십시오",
        ))  # fmt: skip
    if seen.size_px is not None and seen.size_px < _SMALL_PX:
        notes.append(ReadingNote(
            "read", "small_faces", seen.with_face, "0:00.0",
            f"faces are {seen.size_px:.0f} px large; below {_SMALL_PX:.0f} px they are not read "
            "(low_quality)",
            f"얼굴 크기가 {seen.size_px:.0f}픽셀입니다. {_SMALL_PX:.0f}픽셀보다 작으면 읽지 "
            "않습니다(low_quality)",
        ))  # fmt: skip
    return notes


def listen(
    path: Path, media: MediaInfo, settings: CheckSettings
) -> tuple[Heard, tuple[Interval, ...], tuple[Interval, ...]]:
    """The sound of a recording that has any: what it is like, where it was heard, where is speech.

    Returns:
        The sound; the stretches listened to; the stretches of speech in them.
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
    """What to say of the sound: level, clipping, and where nobody speaks."""
    notes = [] if facts is None else list(level_notes(facts))
    silent = any(note.code == "silent" for note in notes)
    share = heard.speech_share
    if share is not None and share < _LITTLE_SPEECH and not silent:
        what = "" if heard.whole else " looked at"
        notes.append(ReadingNote(
            "read", "no_speech", 1, "0:00.0",
            f"hardly any speech in the {heard.listened_s:.0f} s of sound{what}; voice measures "
            "will be missing",
            f"살펴본 소리 {heard.listened_s:.0f}초에 말소리가 거의 없습니다. 목소리 측정값이 "
            "비게 됩니다",
        ))  # fmt: skip
    return notes


def stretches_of(span: Interval, budget_s: float) -> tuple[Interval, ...]:
    """Where to listen: the whole where that is within the budget, else stretches spread over it."""
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
    """Whether words lie where somebody speaks, in the sound that was listened to.

    Args:
        transcript: With words.
        heard: The stretches listened to.
        speech: The speech in them.
        whole_s: Length of the recording where all of it was listened to: then the words are
            compared as ``analyze`` does; else the sampled words are counted.
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
    first = float(middles[inside & ~spoken][0])
    note = ReadingNote(
        "read", "words_outside_speech", outside, clock(first, tenths=True),
        f"{outside} of {fit.words} words looked at lie where nobody speaks: the transcript may be "
        "late, early, or of another recording",
        f"살펴본 단어 {fit.words}개 중 {outside}개가 말소리가 없는 곳에 있습니다. 전사의 시각이 "
        "어긋났거나 다른 녹화의 전사일 수 있습니다",
    )  # fmt: skip
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
        room = max(0, round((stretch.end_s - chunk.start_s) * AUDIO_RATE_HZ))
        samples = chunk.samples[:room]
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
    """Stretches that Silero takes for speech: chances of 32 ms each from the piece's start."""
    flags = chances >= ActivitySettings().on
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).reshape(-1, 2)
    step_s = CHUNK / AUDIO_RATE_HZ
    return [
        Interval(piece.start_s + a * step_s, min(piece.start_s + b * step_s, piece.end_s))
        for a, b in edges.tolist()
    ]
