"""What a window is made of: one vector per modality, before any mean is taken out.

Face: mean of the model's vectors over the readable samples. Voice: statistics of pitch, level and
timing (``PROSODY``). Words: mean of the sentences' vectors, by how much of each lies in the window.
A modality that is not there is a row of NaN. W windows, D the size of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.talking import NUISANCES
from nunbit.streams import (
    FaceStream,
    Flags,
    Floats,
    Interval,
    Singles,
    Transcript,
    Turn,
    VoiceStream,
)
from nunbit.timebase import covered_s, intersect_intervals, rows_of

MIN_FACE_SHARE = 0.5
"""Of the samples of a window that a face must be readable in."""

MIN_SPEECH_S = 1.0
"""Speech of the person that a window must hold, for voice and for words."""

MIN_VOICED_S = 0.3

PROSODY = (
    "f0_median",  # semitones above 27.5 Hz
    "f0_p20",
    "f0_p80",
    "f0_sd",
    "f0_range",  # 5th to 95th percentile
    "f0_step",  # mean change from frame to frame, st per 10 ms
    "f0_slope",  # of a line through the window, st/s
    "f0_rising",  # share of steps that go up
    "level_mean",  # dB full scale over speech
    "level_p20",
    "level_p80",
    "level_sd",
    "level_step",  # mean change in 10 ms, dB
    "level_slope",  # dB/s
    "speech_share",  # of the window
    "pause_share",  # of the time between first and last speech
    "pause_rate",  # pauses of 0.25 s and more, per second
    "voiced_share",  # of speech
    "voiced_rate",  # voiced stretches per second of speech
    "voiced_length",  # mean, s
    "peak_rate",  # peaks of the smoothed level per second of speech: syllables, roughly
    "f0_with_level",  # correlation over voiced frames
)
"""The numbers of the voice vector, in order."""

_HOP_S = 0.01
_PAUSE_S = 0.25
_SMOOTH = 5  # frames of the level in which syllables are counted: 50 ms
_PEAK_DB = 2.0


def face_vectors(faces: FaceStream | None, windows: Sequence[Interval]) -> Singles | None:
    """(W, D) mean of the target's embeddings; None without video or without kept embeddings.

    A window counts where the target is readable in half of its sampled frames at least.
    """
    if faces is None:
        return None
    tracks = [t for t in faces.tracks if t.track_id in faces.targets and t.embeddings is not None]
    if not tracks:
        return None
    times = np.concatenate([t.times_s for t in tracks])
    embeddings = np.concatenate([t.embeddings for t in tracks if t.embeddings is not None])
    readable = np.concatenate([t.reasons == "" for t in tracks])
    order = np.argsort(times, kind="stable")
    order = order[readable[order]]
    times, embeddings = times[order], embeddings[order]
    rows = np.full((len(windows), embeddings.shape[1]), np.nan, np.float32)
    for w, (start, stop) in enumerate(_enough_faces(faces, times, windows)):
        if stop > start:
            rows[w] = embeddings[start:stop].mean(axis=0)
    return rows


def _enough_faces(
    faces: FaceStream, times: Floats, windows: Sequence[Interval]
) -> NDArray[np.int64]:
    """(W, 2) first and last sample of each window; an empty range where too few are known."""
    sampled = np.diff(rows_of(faces.sample_times_s, windows), axis=1)[:, 0]
    expected = np.array([w.duration_s for w in windows]) * faces.rate_hz
    # Frames that the file does not have count as not readable.
    needed = MIN_FACE_SHARE * np.maximum(sampled, np.floor(expected))
    ranges = np.array(rows_of(times, windows))
    few = np.diff(ranges, axis=1)[:, 0] < np.maximum(1.0, needed)
    ranges[few, 1] = ranges[few, 0]
    return ranges


def nuisance_numbers(
    faces: FaceStream | None,
    voice: VoiceStream | None,
    transcript: Transcript | None,
    windows: Sequence[Interval],
    own: Sequence[Interval] | None = None,
) -> dict[str, Floats]:
    """Name of ``NUISANCES`` -> (W,), NaN where it cannot be measured.

    The share spent talking is that of detected speech, without sound that of the transcript. The
    mouth takes landmarks in half of a window's samples.
    """
    n = len(windows)
    found = {name: np.full(n, np.nan) for name in NUISANCES}
    if voice is not None:
        talk = _own_speech(voice, own)
        for w, (start, stop) in enumerate(rows_of(voice.times_s, windows)):
            if stop > start and voice.present[start:stop].mean() >= MIN_FACE_SHARE:
                found["talk_share"][w] = talk[start:stop].mean()
    elif transcript is not None:
        said = [u.interval for u in transcript.utterances]
        said = said if own is None else list(intersect_intervals(said, own))
        lengths = np.array([w.duration_s for w in windows])
        found["talk_share"] = covered_s(said, windows) / lengths if said else np.zeros(n)
    if faces is not None and faces.has_landmarks:
        tracks = [t for t in faces.tracks if t.track_id in faces.targets]
        times = np.concatenate([np.zeros(0), *(t.times_s for t in tracks)])
        opening = np.concatenate([np.zeros(0), *(t.mouth_open for t in tracks)])
        readable = np.concatenate([np.zeros(0, bool), *(t.reasons == "" for t in tracks)])
        order = np.argsort(times, kind="stable")
        order = order[readable[order] & np.isfinite(opening[order])]
        for w, (start, stop) in enumerate(_enough_faces(faces, times[order], windows)):
            if stop > start:
                part = opening[order[start:stop]].astype(np.float64)
                found["mouth_open"][w], found["mouth_moves"][w] = part.mean(), part.std()
    return found


def _own_speech(voice: VoiceStream, own: Sequence[Interval] | None) -> Flags:
    """(M,) whether the person analysed speaks."""
    speech = voice.speech & voice.present
    if own is None:
        return np.asarray(speech)
    mine = np.zeros(len(speech), bool)
    for start, stop in rows_of(voice.times_s, own):
        mine[start:stop] = True
    return np.asarray(speech & mine)


def text_vectors(
    transcript: Transcript | None,
    sentences: Singles | None,
    windows: Sequence[Interval],
    own: Sequence[Interval] | None = None,
) -> Singles | None:
    """(W, D) mean of the sentences' vectors, weighted by seconds inside the window.

    Args:
        transcript: U utterances, or None.
        sentences: (U, D) unit rows of a text tower, or None.
        windows: W windows.
        own: Stretches in which the person has the floor; None means always.
    """
    if transcript is None or sentences is None or not len(sentences):
        return None
    rows = np.full((len(windows), sentences.shape[1]), np.nan, np.float32)
    spoken = [
        (i, part)
        for i, utterance in enumerate(transcript.utterances)
        for part in (
            (utterance.interval,) if own is None else intersect_intervals([utterance.interval], own)
        )
    ]
    starts = np.array([part.start_s for _, part in spoken])
    ends = np.array([part.end_s for _, part in spoken])
    which = np.array([i for i, _ in spoken], np.int64)
    for w, window in enumerate(windows):
        shared = np.minimum(ends, window.end_s) - np.maximum(starts, window.start_s)
        inside = shared > 0
        if shared[inside].sum() >= min(MIN_SPEECH_S, window.duration_s / 2.0):
            rows[w] = np.average(sentences[which[inside]], axis=0, weights=shared[inside])
    return rows


def own_stretches(turns: Sequence[Turn]) -> tuple[Interval, ...] | None:
    """When the person analysed has the floor; None where nobody else does."""
    if all(turn.target for turn in turns):
        return None
    return tuple(turn.interval for turn in turns if turn.target)


def prosody_vectors(
    voice: VoiceStream | None,
    windows: Sequence[Interval],
    own: Sequence[Interval] | None = None,
) -> Singles | None:
    """(W, 22) the numbers of ``PROSODY``; None without audio.

    A window counts with 1 s of speech (half of a shorter window) and 0.3 s of voice. A number that
    such a window does not give (no line through a single stretch) is filled with the recording's
    mean, which is zero after centring.

    Args:
        voice: 10 ms grid.
        windows: W windows.
        own: Stretches in which the person has the floor; None means always.
    """
    if voice is None:
        return None
    speech = _own_speech(voice, own) & np.isfinite(voice.level_dbfs)
    rows = np.full((len(windows), len(PROSODY)), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        pitch = 12.0 * np.log2(voice.f0_hz.astype(np.float64) / 27.5)
    level = voice.level_dbfs.astype(np.float64)
    for w, (start, stop) in enumerate(rows_of(voice.times_s, windows)):
        part = slice(int(start), int(stop))
        talk = speech[part]
        needed = min(MIN_SPEECH_S, windows[w].duration_s / 2.0) / _HOP_S
        voiced = talk & np.isfinite(pitch[part])
        if talk.sum() >= needed - 0.5 and voiced.sum() >= MIN_VOICED_S / _HOP_S:
            rows[w] = _prosody(voice.times_s[part], pitch[part], level[part], talk, voiced)
    there = np.isfinite(rows).any(axis=1)
    if there.any():
        finite = np.isfinite(rows[there])
        sums = np.where(finite, rows[there], 0.0).sum(axis=0)
        means = sums / np.maximum(finite.sum(axis=0), 1)
        rows[there] = np.where(finite, rows[there], means)
    return rows.astype(np.float32)


def _prosody(
    times: Floats, pitch: Floats, level: Floats, talk: Flags, voiced: Flags
) -> NDArray[np.float64]:
    """The numbers of one window that has enough speech."""
    f0, loud = pitch[voiced], level[talk]
    f0_p = np.percentile(f0, [5, 20, 50, 80, 95])
    loud_p = np.percentile(loud, [20, 80])
    next_to = voiced[1:] & voiced[:-1]
    f0_steps = np.diff(pitch)[next_to]
    level_steps = np.diff(level)[talk[1:] & talk[:-1]]
    speech_s, window_s = talk.sum() * _HOP_S, len(talk) * _HOP_S
    starts, stops = _stretches(voiced)
    pauses = _pauses(talk)
    first, last = np.flatnonzero(talk)[[0, -1]]
    return np.array(
        [
            f0_p[2],
            f0_p[1],
            f0_p[3],
            f0.std(),
            f0_p[4] - f0_p[0],
            _mean(np.abs(f0_steps)),
            _slope(times[voiced], f0),
            _mean((f0_steps > 0).astype(np.float64)),
            loud.mean(),
            loud_p[0],
            loud_p[1],
            loud.std(),
            _mean(np.abs(level_steps)),
            _slope(times[talk], loud),
            speech_s / window_s,
            pauses.sum() / (last - first + 1),
            len(pauses) / window_s,
            voiced.sum() / talk.sum(),
            len(starts) / speech_s,
            (stops - starts).mean() * _HOP_S,
            _peaks(level, talk) / speech_s,
            _correlation(f0, level[voiced]),
        ]
    )


def _stretches(flags: Flags) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]


def _pauses(talk: Flags) -> NDArray[np.int64]:
    """Lengths in frames of the gaps of 0.25 s and more between first and last speech."""
    starts, stops = _stretches(talk)
    gaps = starts[1:] - stops[:-1]
    return gaps[gaps >= _PAUSE_S / _HOP_S]


def _peaks(level: Floats, talk: Flags) -> int:
    """Peaks of the smoothed level that stand 2 dB above both neighbouring dips."""
    filled = np.where(np.isfinite(level), level, -120.0)
    smooth = np.convolve(filled, np.ones(_SMOOTH) / _SMOOTH, "same")
    count, low, high, rising = 0, np.inf, -np.inf, True
    for value in smooth[talk]:
        if rising:
            high = max(high, value)
            if value < high - _PEAK_DB:
                count, low, rising = count + 1, value, False
        else:
            low = min(low, value)
            if value > low + _PEAK_DB:
                high, rising = value, True
    return count


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _slope(times: Floats, values: Floats) -> float:
    """Of the least-squares line; NaN over less than half a second."""
    t = times - times.mean()
    if np.ptp(times) < 0.5:
        return float("nan")
    return float(t @ values / (t @ t))


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 1e-9 else float("nan")
