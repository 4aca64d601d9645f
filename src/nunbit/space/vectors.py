"""Window vectors, one per modality, the table of all of them, and the removal of means.

Face: mean of the model's vectors over the readable samples. Voice: statistics of pitch, level and
timing (``PROSODY``). Words: mean of the sentences' vectors, by how much of each lies in the window.
A modality that is not there is a row of NaN.

The mean over a person's windows carries who the person is; what remains carries the person's
state. Removing it per recording also removes camera, room and microphone, which differ between the
recordings of one person. N windows of all recordings, W of one, D the size of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from nunbit.core.spans import Stretches, covered_s, groups_of, lengths, rows_in, runs, spans_of
from nunbit.core.streams import (
    MODALITIES,
    FaceStream,
    Flags,
    Floats,
    Interval,
    Ints,
    Singles,
    Transcript,
    Turn,
    VoiceStream,
)
from nunbit.core.timebase import MIN_SPEECH_S, PAUSE_S, SAME_S, bounds, intersect_intervals

NUISANCES = ("talk_share", "mouth_open", "mouth_moves")
"""Share of the window in which the person talks; mean and standard deviation of the opening of the
mouth (inner lip gap over eye distance) in it."""

Centre = Literal["recording", "person", "none"]


MIN_TO_CENTRE = 8
"""With fewer windows the mean is mostly the windows themselves, so the modality counts as
missing."""

TREND_DEGREE = 2
"""Of the curve taken out against drift: fatigue, warming up, a light or a gain that settles. What
is slower than half a recording goes with it, whatever it was."""


@dataclass(frozen=True, eq=False)
class WindowTable:
    """Windows of one length.

    Attributes:
        vectors: Modality -> (N, D) float32; a row of NaN where the modality is missing.
        recording: (N,) code of the recording; a recording's rows are together and in order of time.
        person: (N,) code of the person.
        start_s: (N,) start of the window.
        length_s: Length of every window.
        nuisance: Name -> (N,) what face and voice may share without any state: how much of the
            window was spent talking, how the mouth moved (``NUISANCES``); NaN where not measured.
    """

    vectors: Mapping[str, Singles]
    recording: Ints
    person: Ints
    start_s: Floats
    length_s: float = 4.0
    nuisance: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = {"recording": self.recording, "person": self.person}
        every: dict[str, Sized] = {**self.vectors, **self.nuisance, **own}
        for name, rows in every.items():
            if len(rows) != len(self):
                raise ValueError(f"{name}: expected {len(self)} rows, got {len(rows)}")

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that are there in at least one window, in the order of ``MODALITIES``."""
        return tuple(
            m
            for m in dict.fromkeys((*MODALITIES, *self.vectors))
            if m in self.vectors and self.present(m).any()
        )

    def present(self, modality: str) -> Flags:
        """(N,) whether the modality is there."""
        return np.asarray(np.isfinite(self.vectors[modality]).all(axis=1))

    def rows(self, chosen: Flags | Ints) -> WindowTable:
        """Some of the windows."""
        return replace(
            self,
            vectors={m: v[chosen] for m, v in self.vectors.items()},
            recording=self.recording[chosen],
            person=self.person[chosen],
            start_s=self.start_s[chosen],
            nuisance={name: values[chosen] for name, values in self.nuisance.items()},
        )

    def folds(self, most: int, by_person: int | None = None) -> tuple[Ints, str]:
        """(N,) fold of each window, and its kind: whole people, or stretches of one person's time.

        Args:
            most: Folds at most.
            by_person: At most so many where there are several people; None means one a person.
        """
        people = np.unique(self.person)
        if len(people) < 2:
            return np.arange(len(self)) * most // max(1, len(self)), "time"
        n_folds = min(most, by_person or len(people))
        return np.asarray(np.searchsorted(people, self.person) % n_folds, np.int64), "person"

    def only(self, modalities: tuple[str, ...]) -> WindowTable:
        """The same windows with some of the modalities."""
        return replace(self, vectors={m: self.vectors[m] for m in modalities})


def centred(table: WindowTable, by: Centre = "recording") -> WindowTable:
    """Remove the mean of every recording (or person) from vectors as the models gave them.

    The mean of the ``recording`` takes out the person as well, and the session with them; ``none``
    leaves everything in (only to show what that does). A modality with fewer than eight windows in
    a group is missing there.
    """
    if by == "none":
        return table
    group = table.recording if by == "recording" else table.person
    vectors = {m: _centred(v, table.present(m), group) for m, v in table.vectors.items()}
    return replace(table, vectors=vectors)


def detrended(table: WindowTable) -> WindowTable:
    """Remove a quadratic trend from every recording, per modality and nuisance.

    A drift of the recording is in face and voice at the same time and looks like a shared state; no
    shift of time reveals it. The mean is removed with the trend. A modality with fewer than eight
    windows in a recording is missing there.
    """
    groups = groups_of(table.recording)

    def level(rows: Singles | Floats) -> Floats:
        wide = rows.reshape(len(rows), -1)
        result = np.full(wide.shape, np.nan)
        there = np.asarray(np.isfinite(wide).all(axis=1))
        for group in groups:
            own = group[there[group]]
            if len(own) >= MIN_TO_CENTRE:
                curve = _curve(table.start_s[own])
                values = wide[own].astype(np.float64)
                result[own] = values - curve @ (curve.T @ values)
        return result.reshape(rows.shape)

    return replace(
        table,
        vectors={m: level(v).astype(np.float32) for m, v in table.vectors.items()},
        nuisance={name: level(values) for name, values in table.nuisance.items()},
    )


def _curve(times: Floats) -> Floats:
    """(n, 3) orthonormal columns that span constant, line and parabola over the times."""
    scaled = 2.0 * (times - times.min()) / max(float(np.ptp(times)), SAME_S) - 1.0
    return np.asarray(np.linalg.qr(np.vander(scaled, TREND_DEGREE + 1))[0])


def _centred(rows: Singles, there: Flags, group: Ints) -> Singles:
    n_groups = int(group.max(initial=-1)) + 1
    counts = np.bincount(group[there], minlength=n_groups)
    sums = np.zeros((n_groups, rows.shape[1]))
    np.add.at(sums, group[there], rows[there].astype(np.float64))
    result = (rows - (sums / np.maximum(counts, 1)[:, None])[group]).astype(np.float32)
    result[~there | (counts[group] < MIN_TO_CENTRE)] = np.nan
    return result


# -- vectors ---------------------------------------------------------------------------------------

MIN_FACE_SHARE = 0.5
"""Of the samples of a window that a face must be readable in."""

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
_SMOOTH = 5  # frames of the level in which syllables are counted: 50 ms
_PEAK_DB = 2.0


def face_vectors(faces: FaceStream | None, windows: Sequence[Interval]) -> Singles | None:
    """(W, D) mean of the target's embeddings; None without video or without kept embeddings.

    A window counts where the target is readable in half of its sampled frames at least.
    """
    seen = None if faces is None else _readable_samples(faces, "embeddings")
    if faces is None or seen is None:
        return None
    times, embeddings = seen
    rows = np.full((len(windows), embeddings.shape[1]), np.nan, np.float32)
    for w, (start, stop) in enumerate(_enough_faces(faces, times, windows)):
        if stop > start:
            rows[w] = embeddings[start:stop].mean(axis=0)
    return rows


def _readable_samples(faces: FaceStream, column: str) -> tuple[Floats, Singles] | None:
    """Times at which the target is readable, and a column of the tracks; None without it."""
    targets = (t for t in faces.tracks if t.track_id in faces.targets)
    tracks = [t for t in targets if getattr(t, column) is not None]
    if not tracks:
        return None
    times = np.concatenate([t.times_s for t in tracks])
    order = np.argsort(times, kind="stable")
    order = order[np.concatenate([t.reasons == "" for t in tracks])[order]]
    return times[order], np.concatenate([getattr(t, column) for t in tracks])[order]


def _enough_faces(faces: FaceStream, times: Floats, windows: Sequence[Interval]) -> Ints:
    """(W, 2) first and last sample of each window; an empty range where too few are known."""
    sampled = np.diff(rows_in(faces.sample_times_s, spans_of(windows)), axis=1)[:, 0]
    expected = np.array([w.duration_s for w in windows]) * faces.rate_hz
    # Frames that the file does not have count as not readable.
    needed = MIN_FACE_SHARE * np.maximum(sampled, np.floor(expected))
    ranges = rows_in(times, spans_of(windows))
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
        for w, (start, stop) in enumerate(rows_in(voice.times_s, spans_of(windows))):
            if stop > start and voice.present[start:stop].mean() >= MIN_FACE_SHARE:
                found["talk_share"][w] = talk[start:stop].mean()
    elif transcript is not None:
        said = [u.interval for u in transcript.utterances]
        said = said if own is None else list(intersect_intervals(said, own))
        spans = spans_of(windows)
        found["talk_share"] = covered_s(said, spans) / spans.duration_s if said else np.zeros(n)
    if faces is None or not faces.has_landmarks:
        return found
    if (seen := _readable_samples(faces, "mouth_open")) is not None:
        there = np.isfinite(seen[1])
        times, opening = seen[0][there], seen[1][there].astype(np.float64)
        for w, (start, stop) in enumerate(_enough_faces(faces, times, windows)):
            if stop > start:
                part = opening[start:stop]
                found["mouth_open"][w], found["mouth_moves"][w] = part.mean(), part.std()
    return found


def _own_speech(voice: VoiceStream, own: Sequence[Interval] | None) -> Flags:
    """(M,) whether the person analysed speaks."""
    speech = np.asarray(voice.speech & voice.present)
    return speech if own is None else speech & Stretches.of(own).at(voice.times_s)


def text_vectors(
    transcript: Transcript | None,
    sentences: Singles | None,
    windows: Sequence[Interval],
    own: Sequence[Interval] | None = None,
) -> Singles | None:
    """(W, D) mean of the sentences' vectors (U, D), weighted by seconds inside the window.

    ``own`` are the stretches in which the person has the floor; None means always.
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
    edges = bounds(part for _, part in spoken)
    which = np.array([i for i, _ in spoken], np.int64)
    for w, window in enumerate(windows):
        shared = np.minimum(edges[:, 1], window.end_s) - np.maximum(edges[:, 0], window.start_s)
        inside = shared > 0
        if shared[inside].sum() >= min(MIN_SPEECH_S, window.duration_s / 2.0):
            rows[w] = np.average(sentences[which[inside]], axis=0, weights=shared[inside])
    return rows


def own_stretches(turns: Sequence[Turn]) -> tuple[Interval, ...] | None:
    """Turns of the person analysed; None if nobody else speaks."""
    if all(turn.target for turn in turns):
        return None
    return tuple(turn.interval for turn in turns if turn.target)


def prosody_vectors(
    voice: VoiceStream | None,
    windows: Sequence[Interval],
    own: Sequence[Interval] | None = None,
    *,
    fill: bool = True,
) -> Singles | None:
    """(W, 22) the numbers of ``PROSODY``; None without audio.

    A window counts with 1 s of speech (half of a shorter window) and 0.3 s of voice. A number that
    such a window does not give (no line through a single stretch) is filled with the recording's
    mean, which is zero after centring.

    Args:
        voice: 10 ms grid.
        windows: W windows.
        own: Stretches in which the person has the floor; None means always.
        fill: False leaves NaN where a window does not give a number.
    """
    if voice is None:
        return None
    speech = _own_speech(voice, own) & np.isfinite(voice.level_dbfs)
    rows = np.full((len(windows), len(PROSODY)), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        pitch = 12.0 * np.log2(voice.f0_hz.astype(np.float64) / 27.5)
    level = voice.level_dbfs.astype(np.float64)
    for w, (start, stop) in enumerate(rows_in(voice.times_s, spans_of(windows))):
        part = slice(int(start), int(stop))
        talk = speech[part]
        needed = min(MIN_SPEECH_S, windows[w].duration_s / 2.0) / _HOP_S
        voiced = talk & np.isfinite(pitch[part])
        if talk.sum() >= needed - 0.5 and voiced.sum() >= MIN_VOICED_S / _HOP_S:
            rows[w] = _prosody(voice.times_s[part], pitch[part], level[part], talk, voiced)
    if not fill:
        return rows.astype(np.float32)
    finite = np.isfinite(rows)
    there = finite.any(axis=1)
    means = np.where(finite, rows, 0.0)[there].sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    return np.where(there[:, None] & ~finite, means, rows).astype(np.float32)


def _prosody(times: Floats, pitch: Floats, level: Floats, talk: Flags, voiced: Flags) -> Floats:
    """The numbers of one window that has enough speech."""
    f0, loud = pitch[voiced], level[talk]
    f0_p = np.percentile(f0, [5, 20, 50, 80, 95])
    loud_p = np.percentile(loud, [20, 80])
    f0_steps = np.diff(pitch)[voiced[1:] & voiced[:-1]]
    level_steps = np.diff(level)[talk[1:] & talk[:-1]]
    speech_s, window_s = talk.sum() * _HOP_S, len(talk) * _HOP_S
    tones, said = lengths(runs(voiced)), runs(talk)
    gaps = said[1:, 0] - said[:-1, 1]
    pauses = gaps[gaps >= PAUSE_S / _HOP_S]  # frames
    return np.array(
        [
            *(f0_p[2], f0_p[1], f0_p[3], f0.std(), f0_p[4] - f0_p[0]),
            _mean(np.abs(f0_steps)),
            _slope(times[voiced], f0),
            _mean((f0_steps > 0).astype(np.float64)),
            *(loud.mean(), loud_p[0], loud_p[1], loud.std()),
            _mean(np.abs(level_steps)),
            _slope(times[talk], loud),
            speech_s / window_s,
            pauses.sum() / (said[-1, 1] - said[0, 0]),
            len(pauses) / window_s,
            voiced.sum() / talk.sum(),
            len(tones) / speech_s,
            tones.mean() * _HOP_S,
            _peaks(level, talk) / speech_s,
            _correlation(f0, level[voiced]),
        ]
    )


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
    return float(t @ values / (t @ t)) if np.ptp(times) >= 0.5 else float("nan")


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 1e-9 else float("nan")
