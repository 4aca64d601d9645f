"""Measures of the face: coverage, apparent expression, and motion of face and head.

The tracks of one person are joined into one row per sampled frame. Only samples in which the person
is readable are used; the others have a reason. Apparent expression is also given separately for
speaking and not speaking, because speech moves the mouth. Knows nothing of files or models.
M samples, S spans, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nunbit.core.spans import (
    Spans,
    Stretches,
    after_gaps,
    grid_counts,
    held,
    lengths,
    quantile_rows,
    rows_in,
    runs,
    sum_rows,
)
from nunbit.core.streams import FaceStream, FaceTrack, Flags, Floats, Ints, Singles
from nunbit.core.timebase import MIN_SPEECH_S, SAME_S, nearest_indices
from nunbit.measures.definitions import SUFFIXES, Role, Roles, definitions
from nunbit.measures.estimate import (
    CODE,
    Codes,
    Counts,
    Estimate,
    Formula,
    Rule,
    all_missing,
    estimate_of,
    first_reason,
    missing,
    moments,
)
from nunbit.pictures.expression_channels import KEPT_CHANNELS
from nunbit.recording.face_motion import (
    FACE_MIN_SCORE,
    EyePoints,
    face_motions,
    head_turns,
    steps_between,
    without_landmarks,
)
from nunbit.statistics.scores import ratio

STEADY_DEG_S = 20.0
"""Above this head speed, rotation out of the picture plane leaks into face motion."""

MIN_SHARE = 0.5

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
        channels: (M, C) expression channels, NaN rows without; None without their network.
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
    channels: Floats | None
    has_landmarks: bool


def target_samples(faces: FaceStream, roles: Roles, eye_points: EyePoints) -> FaceSamples:
    """Join the tracks of the target person into one row per sampled frame."""
    m, k = len(faces.sample_times_s), len(roles.labels)
    several = np.asarray(faces.n_faces) > 1
    code = np.where(several, CODE["multiple_faces"], CODE["no_face"]).astype(np.int8)
    columns = {name: np.full(m, np.nan) for name in _COLUMNS} | {
        "pose_deg": np.full((m, 3), np.nan)
    }
    tracks = [t for t in faces.tracks if t.track_id in faces.targets and len(t.times_s)]
    # A model that met no face of the person is no missing model.
    has_model = k > 0 and (bool(faces.labels) or any(t.probabilities is not None for t in tracks))
    chances = np.full((m, k), np.nan) if has_model else None
    moved = any(t.channels is not None for t in faces.tracks)
    channels = np.full((m, len(KEPT_CHANNELS)), np.nan) if moved else None
    for track in tracks:
        rows = nearest_indices(faces.sample_times_s, track.times_s)
        codes = _codes(track)
        # Where two tracks claim the person at once, the surer detection is taken.
        better = ~(columns["score"][rows] >= track.det_score)
        at, own = rows[better], np.flatnonzero(better)
        code[at] = codes[own]
        for name, values in _track_columns(track, codes, eye_points).items():
            columns[name][at] = values[own]
        if chances is not None and track.probabilities is not None:
            chances[at] = track.probabilities[own]
        if channels is not None and track.channels is not None:
            channels[at] = track.channels[own]
    return FaceSamples(
        rate_hz=_rate(faces),
        times_s=faces.sample_times_s,
        code=code,
        chances=None if chances is None else roles.usable(chances),
        raw=chances,
        channels=channels,
        has_landmarks=faces.has_landmarks,
        **columns,
    )


_COLUMNS = ("score", "speed_deg_s", "turn_above", "motion", "motion_above", "eye_aspect")


def _track_columns(
    track: FaceTrack, codes: Codes, eye_points: EyePoints
) -> dict[str, Floats | Singles]:
    """The columns of :class:`FaceSamples` that a track gives, for all its samples."""
    turned = head_turns(track.rotation, steps_between(track.times_s, codes == 0))
    found: dict[str, Floats | Singles] = {
        "score": track.det_score,
        "pose_deg": track.pose_deg,
        "eye_aspect": track.eye_aspect,
        "speed_deg_s": turned.speed,
        "turn_above": turned.above_noise,
    }
    track = without_landmarks(track, eye_points)
    if track.motion is not None:
        moved = face_motions(track.motion, track.tremor)
        steady = turned.speed <= STEADY_DEG_S
        found["motion"] = np.where(steady, moved.speed, np.nan)
        found["motion_above"] = np.where(steady, moved.above_noise, np.nan)
    return found


def _rate(faces: FaceStream) -> float:
    """Samples a second: as asked for, or as they are where every frame was read."""
    apart = np.diff(faces.sample_times_s)
    usual = float(np.median(apart)) if len(apart) else 0.0
    found = 1.0 / usual if usual > 0 else 0.0
    # Grid times take the nearest frame, so single steps are uneven: only a clear excess counts.
    return found if found > _DENSER * faces.rate_hz else faces.rate_hz


def _codes(track: FaceTrack) -> Codes:
    kinds, inverse = np.unique(track.reasons, return_inverse=True)
    known = np.array([CODE.get(str(kind), CODE["low_quality"]) for kind in kinds], np.int8)
    codes = known[inverse] if len(kinds) else np.zeros(0, np.int8)
    unsure = (codes == 0) & ~(track.det_score >= FACE_MIN_SCORE)
    return np.where(unsure, CODE["low_conf"], codes).astype(np.int8)


Subset = tuple[Flags, Floats, str]
"""Samples asked about (M,), the seconds of each span they should cover (S,), and the reason where
that is less than a second."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """The samples used by a measure, and the reason if a span has too few of them."""

    index: Ints
    rows: Ints
    n_expected: Counts
    n_valid: Counts
    confidence: Floats
    reason: Codes


def choose(samples: FaceSamples, spans: Spans, code: Codes, subset: Subset | None = None) -> Chosen:
    """Choose the samples without a reason (``code``); a span needs half of those it should have."""
    expected = grid_counts(spans, samples.rate_hz)
    asked = np.ones(len(code), bool)
    rules: list[Rule] = []
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
        confidence=ratio(sum_rows(samples.score[index], rows), n_valid),
        reason=first_reason(*rules, n=len(spans)),
    )


def readable(samples: FaceSamples) -> Codes:
    """(M,) reasons of the samples for measures that need class probabilities."""
    if samples.chances is None:
        return np.full(len(samples.code), CODE["no_model"], np.int8)
    return with_reason(samples.code, np.isfinite(samples.chances.sum(axis=1)), "no_model")


# -- measures --------------------------------------------------------------------------------------

MIN_FRAMES = 20
MIN_SESSION_S = 60.0
JOY_ON, JOY_OFF, JOY_MIN_S = 0.5, 0.4, 0.5
LONGEST_HOLE_S = 0.5  # an episode of joy does not outlast a longer stretch without a face
DOWN_DEG = 10.0

_TREMOR, _TREMOR_SPREAD = 1.0, 0.87
_FACE_TREMOR = 1.4  # landmarks of a still photo under sensor noise tremble together: 1.25 is seen
"""Threshold of motion in units of the tremor: tremor alone has a median of 0.9, up to 1 if it has a
little memory, plus 1.645 standard errors (0.53) of a median of one value in half a second."""

EPISODES = ("joy_episode_rate", "joy_episode_mean_s")
_AXES = ("yaw", "pitch", "roll")
MOTION = ("face_motion", "head_speed", "head_down_share", *(f"head_range_{a}" for a in _AXES))


def estimate_over(
    formula: Formula, parts: tuple[Floats, ...], chosen: Chosen, *rules: Rule
) -> Estimate:
    """An estimate from the samples chosen, with their counts and reasons."""
    counts = (chosen.n_expected, chosen.n_valid)
    why = (chosen.reason != 0, chosen.reason)
    return estimate_of(formula, parts, counts, why, *rules, confidence=chosen.confidence)


def mean_over(values: Floats, chosen: Chosen, *rules: Rule) -> Estimate:
    """The mean of values (M,) over the samples chosen."""
    total = sum_rows(values[chosen.index], chosen.rows)
    return estimate_over("ratio", (total, chosen.n_valid.astype(np.float64)), chosen, *rules)


def _spread(values: Floats, chosen: Chosen, *rules: Rule) -> Estimate:
    return estimate_over("sd", moments(values[chosen.index], chosen.rows), chosen, *rules)


def _below_noise(above: Floats, chosen: Chosen, tremor: float) -> Rule:
    """Spans whose typical motion does not stand out of the tremor of the landmarks."""
    typical = quantile_rows(above[chosen.index], chosen.rows, 0.5)
    independent = np.maximum(chosen.n_valid / 5.0, 1.0)
    return np.asarray(typical < tremor + _TREMOR_SPREAD / np.sqrt(independent)), "below_noise"


def face_estimates(
    samples: FaceSamples | None, spans: Spans, roles: Roles, speaking: Stretches | None
) -> dict[str, Estimate]:
    """Measure name -> estimate, of all measures of the face that need no particular sampling rate.

    Args:
        samples: None without video.
        spans: S spans.
        roles: Parts of the classes.
        speaking: None without sound.
    """
    split = [d.id for d in definitions() if d.split]
    parts = [name + suffix for name in split for suffix in SUFFIXES]
    if samples is None:
        names = ("face_coverage", *EXPRESSION, *EPISODES, *MOTION, *parts)
        return all_missing(names, spans, "no_video")
    found = {
        "face_coverage": _coverage(samples, spans),
        **_of_expression(samples, spans, roles, None),
        **_episodes(samples, spans, roles),
        **_of_motion(samples, spans, None),
    }
    if speaking is None:
        return found | all_missing(parts, spans, "no_audio")
    talks, seconds = speaking.at(samples.times_s), speaking.within(spans)
    subsets: tuple[Subset, Subset] = (
        (talks, seconds, "silence"),
        (~talks, spans.duration_s - seconds, "too_few"),
    )
    for suffix, part in zip(SUFFIXES, subsets, strict=True):
        apart = _of_expression(samples, spans, roles, part) | _of_motion(samples, spans, part)
        found |= {name + suffix: apart[name] for name in split}
    return found


def _coverage(samples: FaceSamples, spans: Spans) -> Estimate:
    sampled = lengths(rows_in(samples.times_s, spans)).astype(np.float64)
    chosen = choose(samples, spans, samples.code)
    return estimate_of(
        "ratio",
        (chosen.n_valid.astype(np.float64), sampled),
        (chosen.n_expected, chosen.n_valid),
        (sampled == 0, "gap"),
        confidence=chosen.confidence,
    )


EXPRESSION: dict[str, tuple[Role, ...]] = {
    "expressivity": ("neutral",),
    "joy_time": ("joy",),
    "valence_sd": ("joy", "negative"),
    "negative_share": ("negative",),
    "depgroup_share": ("depgroup",),
}
"""Measures of apparent expression and the parts of the classes they need."""


def _of_expression(
    samples: FaceSamples, spans: Spans, roles: Roles, subset: Subset | None
) -> dict[str, Estimate]:
    if samples.chances is None:
        return all_missing(EXPRESSION, spans, "no_model")
    chosen = choose(samples, spans, readable(samples), subset)
    p, weights = samples.chances, roles.weights
    session = spans.of("session").duration_s.sum()
    short = (np.full(len(spans), session < MIN_SESSION_S), "too_short")
    found = {
        "expressivity": mean_over(1.0 - p @ weights("neutral"), chosen),
        "joy_time": mean_over((p @ weights("joy") >= JOY_ON).astype(np.float64), chosen, short),
        "valence_sd": _spread(
            p @ roles.valence_weights(), chosen, (chosen.n_valid < MIN_FRAMES, "too_few")
        ),
        "negative_share": mean_over(p @ weights("negative"), chosen),
        "depgroup_share": mean_over(p @ weights("depgroup"), chosen),
    }
    why = {name: roles.reason(*needs) for name, needs in EXPRESSION.items()}
    return {n: missing(len(spans), why[n]) if why[n] else each for n, each in found.items()}


def joy_episodes(samples: FaceSamples, roles: Roles) -> tuple[Floats, Floats]:
    """Episodes of apparent joy: on from p >= .5 until p < .4, at least 0.5 s.

    Returns:
        (E, 2) onset and offset, and (E,) the largest probability inside.
    """
    index = np.flatnonzero(readable(samples) == 0)
    if samples.chances is None or roles.reason("joy") or not len(index):
        return np.empty((0, 2)), np.empty(0)
    return held_episodes(samples, index, samples.chances @ roles.weights("joy"), JOY_ON, JOY_OFF)


def held_episodes(
    samples: FaceSamples, index: Ints, values: Floats, on: float, off: float
) -> tuple[Floats, Floats]:
    """Episodes of half a second or more: from a value >= ``on`` until one < ``off``.

    Args:
        samples: M samples.
        index: Those that may be used.
        values: (M,), finite at ``index``.
        on: Where an episode begins.
        off: Where it ends.

    Returns:
        (E, 2) onset and offset, and (E,) the largest value inside.
    """
    times, used = samples.times_s[index], values[index]
    breaks = after_gaps(times, LONGEST_HOLE_S + SAME_S)
    found = runs(held(used, on, off, breaks), breaks)
    edges = np.stack([times[found[:, 0]], times[found[:, 1] - 1] + 1.0 / samples.rate_hz], axis=1)
    long = edges[:, 1] - edges[:, 0] >= JOY_MIN_S - SAME_S
    return edges[long], np.array([used[a:b].max() for a, b in found[long]])


def _episodes(samples: FaceSamples, spans: Spans, roles: Roles) -> dict[str, Estimate]:
    if why := "no_model" if samples.chances is None else roles.reason("joy"):
        return all_missing(EPISODES, spans, why)
    chosen = choose(samples, spans, readable(samples))
    edges, _ = joy_episodes(samples, roles)
    rows = rows_in(edges[:, 0], spans)
    count = lengths(rows).astype(np.float64)
    lasted = sum_rows(edges[:, 1] - edges[:, 0], rows)
    minutes = chosen.n_valid / samples.rate_hz / 60.0
    short = (spans.duration_s < MIN_SESSION_S, "too_short")
    none = (count == 0, "too_few")
    return {
        "joy_episode_rate": estimate_over("ratio", (count, minutes), chosen, short),
        "joy_episode_mean_s": estimate_over("ratio", (lasted, count), chosen, short, none),
    }


def _of_motion(samples: FaceSamples, spans: Spans, subset: Subset | None) -> dict[str, Estimate]:
    if not samples.has_landmarks:
        return all_missing(MOTION, spans, "no_landmarks")
    posed = np.asarray(np.isfinite(samples.pose_deg).all(axis=1))
    still = with_reason(samples.code, posed, "no_landmarks")
    moving = with_reason(still, np.isfinite(samples.speed_deg_s), "too_few")
    # No reason of its own for a head that turns too fast: such frames are of low quality here.
    lively = with_reason(moving, np.isfinite(samples.motion), "low_quality")
    at_rest, in_pairs, steady = (choose(samples, spans, c, subset) for c in (still, moving, lively))
    usual = np.median(samples.pose_deg[still == 0, 1]) if (still == 0).any() else 0.0
    down = (samples.pose_deg[:, 1] > usual + DOWN_DEG).astype(np.float64)
    faint = _below_noise(samples.motion_above, steady, _FACE_TREMOR)
    slow = _below_noise(samples.turn_above, in_pairs, _TREMOR)
    times, speeds = samples.times_s[in_pairs.index], samples.speed_deg_s[in_pairs.index]
    middle = estimate_over("given", (quantile_rows(speeds, in_pairs.rows, 0.5),), in_pairs, slow)
    return {
        "face_motion": mean_over(samples.motion, steady, faint),
        "head_speed": replace(middle, sample=(times, speeds)),
        "head_down_share": mean_over(down, at_rest),
    } | {
        f"head_range_{axis}": _spread(samples.pose_deg[:, column], at_rest)
        for column, axis in enumerate(_AXES)
    }


def with_reason(code: Codes, good: Flags, reason: str) -> Codes:
    """The reasons with another for the samples that would be valid but are not good."""
    return np.where((code == 0) & ~good, CODE[reason], code).astype(np.int8)
