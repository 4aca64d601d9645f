"""The target person at every sampled frame, and which samples a measure may rest on.

Tracks of one person are joined into one row per sampled frame; a sample that may not be used says
why. Knows nothing of files or models. M samples, S spans, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nunbit.measures.estimate import CODE, Codes, Counts, first_reason, mean_confidence
from nunbit.measures.motion import STEADY_DEG_S, face_motions, head_turns, steps_between
from nunbit.measures.roles import Roles
from nunbit.measures.spans import Spans, grid_counts, lengths, rows_in, sum_rows
from nunbit.streams import FaceStream, FaceTrack, Flags, Floats

FACE_MIN_SCORE = 0.8
"""Detections below this take no part. The detector's score is no calibrated probability: faces of
25 real clips score 0.92 to 0.95, so this drops false alarms. Size and blur are the reader's own
reasons, which come first."""

MIN_SHARE = 0.5
MIN_SPEECH_S = 1.0

_DENSER = 1.5


@dataclass(frozen=True, eq=False)
class FaceSamples:
    """The target person at every sampled frame.

    Attributes:
        rate_hz: Samples a second of a complete recording.
        times_s: (M,) increasing.
        code: (M,) reason as a code of ``REASONS``, 0 where the face may be read.
        score: (M,) detector's score, NaN without the target.
        chances: (M, K) over the validated classes, NaN rows without; None without a model.
        raw: (M, K) over all classes as the model gave them; the same as ``chances`` where all
            are validated.
        pose_deg: (M, 3) yaw, pitch, roll; NaN without.
        speed_deg_s: (M,) geodesic head speed, freed of tremor.
        turn_above: (M,) the measured speed in units of what tremor alone brings about.
        motion: (M,) face motion, eye distances per second, fast head turns left out.
        motion_above: (M,) likewise in units of tremor.
        eye_aspect: (M,).
        has_landmarks: Whether there was a landmark model.
    """

    rate_hz: float
    times_s: Floats
    code: Codes
    score: Floats
    chances: Floats | None
    raw: Floats | None
    pose_deg: Floats
    speed_deg_s: Floats
    turn_above: Floats
    motion: Floats
    motion_above: Floats
    eye_aspect: Floats
    has_landmarks: bool


def target_samples(
    faces: FaceStream, roles: Roles, eye_points: tuple[tuple[int, ...], tuple[int, ...]]
) -> FaceSamples:
    """Join the tracks of the target person into one row per sampled frame."""
    m, k = len(faces.sample_times_s), len(roles.labels)
    several = np.asarray(faces.n_faces) > 1
    code = np.where(several, CODE["multiple_faces"], CODE["no_face"]).astype(np.int8)
    score, eye = np.full(m, np.nan), np.full(m, np.nan)
    pose = np.full((m, 3), np.nan)
    speed, turn_above, motion, motion_above = (np.full(m, np.nan) for _ in range(4))
    tracks = [t for t in faces.tracks if t.track_id in faces.targets and len(t.times_s)]
    # A model that met no face of the person is no missing model.
    has_model = k > 0 and (bool(faces.labels) or any(t.probabilities is not None for t in tracks))
    chances = np.full((m, k), np.nan) if has_model else None
    for track in tracks:
        rows = _nearest(faces.sample_times_s, track.times_s)
        codes = _codes(track)
        # Where two tracks claim the person at once, the surer detection is taken.
        better = ~(score[rows] >= track.det_score)
        at, own = rows[better], np.flatnonzero(better)
        code[at], score[at] = codes[own], track.det_score[own]
        pose[at], eye[at] = track.pose_deg[own], track.eye_aspect[own]
        steps = steps_between(track.times_s, codes == 0)
        turned = head_turns(track.rotation, steps)
        speed[at], turn_above[at] = turned.speed[own], turned.above_noise[own]
        if track.landmarks is not None:
            moved = face_motions(track.landmarks, steps, eye_points)
            steady = turned.speed <= STEADY_DEG_S
            motion[at] = np.where(steady, moved.speed, np.nan)[own]
            motion_above[at] = np.where(steady, moved.above_noise, np.nan)[own]
        if chances is not None and track.probabilities is not None:
            chances[at] = track.probabilities[own]
    return FaceSamples(
        rate_hz=_rate(faces),
        times_s=faces.sample_times_s,
        code=code,
        score=score,
        chances=None if chances is None else roles.usable(chances),
        raw=chances,
        pose_deg=pose,
        speed_deg_s=speed,
        turn_above=turn_above,
        motion=motion,
        motion_above=motion_above,
        eye_aspect=eye,
        has_landmarks=faces.has_landmarks,
    )


def _rate(faces: FaceStream) -> float:
    """Samples a second: as asked for, or as they are where every frame was read."""
    apart = np.diff(faces.sample_times_s)
    usual = float(np.median(apart)) if len(apart) else 0.0
    found = 1.0 / usual if usual > 0 else 0.0
    # Grid times take the nearest frame, so single steps are uneven: only a clear excess counts.
    return found if found > _DENSER * faces.rate_hz else faces.rate_hz


def _nearest(grid_s: Floats, times_s: Floats) -> NDArray[np.int64]:
    right = np.clip(np.searchsorted(grid_s, times_s), 0, len(grid_s) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.abs(times_s - grid_s[left]) < np.abs(grid_s[right] - times_s)
    return np.where(nearer, left, right).astype(np.int64)


def _codes(track: FaceTrack) -> Codes:
    kinds, inverse = np.unique(track.reasons, return_inverse=True)
    known = np.array([CODE.get(str(kind), CODE["low_quality"]) for kind in kinds], np.int8)
    codes = known[inverse] if len(kinds) else np.zeros(0, np.int8)
    unsure = (codes == 0) & ~(track.det_score >= FACE_MIN_SCORE)
    return np.where(unsure, CODE["low_conf"], codes).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Chosen:
    """The samples a measure rests on, and why a span has too few of them."""

    index: NDArray[np.int64]
    rows: NDArray[np.int64]
    n_expected: Counts
    n_valid: Counts
    confidence: Floats
    reason: Codes


def choose(
    samples: FaceSamples,
    spans: Spans,
    code: Codes,
    subset: tuple[Flags, Floats, str] | None = None,
) -> Chosen:
    """Take the samples without a reason; a span needs half of those it should have.

    Args:
        samples: Of the target.
        spans: S spans.
        code: (M,) why a sample may not be used.
        subset: Samples asked about (M,), the seconds of each span they should cover (S,), and
            the reason where that is less than a second; None for all samples.
    """
    expected = grid_counts(spans, samples.rate_hz)
    asked = np.ones(len(code), bool)
    rules: list[tuple[Flags, str | Codes]] = []
    if subset is not None:
        asked, seconds, why = subset
        expected = np.minimum(np.rint(seconds * samples.rate_hz).astype(np.int64), expected)
        rules.append((seconds < MIN_SPEECH_S, why))
    index = np.flatnonzero((code == 0) & asked)
    rows = rows_in(samples.times_s[index], spans)
    n_valid = lengths(rows)
    seen = rows_in(samples.times_s[asked], spans)
    kinds = np.unique(code[code > 0])
    table = [sum_rows((code[asked] == kind).astype(np.float64), seen) for kind in kinds]
    table.append(np.maximum(expected - lengths(seen), 0))
    names = np.append(kinds, CODE["gap"]).astype(np.int8)
    counts = np.stack(table)
    commonest = names[np.argmax(counts, axis=0)]
    few = (n_valid < MIN_SHARE * expected) | (n_valid == 0)
    rules += [(few & (counts.max(axis=0) > 0), commonest), (few, "too_few")]
    return Chosen(
        index=index,
        rows=rows,
        n_expected=expected,
        n_valid=n_valid,
        confidence=mean_confidence(sum_rows(samples.score[index], rows), n_valid),
        reason=first_reason(*rules, n=len(spans)),
    )


def readable(samples: FaceSamples) -> Codes:
    """(M,) reasons of the samples for measures that need class probabilities."""
    if samples.chances is None:
        return np.full(len(samples.code), CODE["no_model"], np.int8)
    empty = ~np.isfinite(samples.chances).all(axis=1)
    return np.where((samples.code == 0) & empty, CODE["no_model"], samples.code).astype(np.int8)
