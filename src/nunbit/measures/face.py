"""Measures of the face: coverage, apparent expression, motion of face and head.

Only the samples in which the target person may be read take part; the others say why they do not.
Apparent expression is also given apart for speaking and not speaking, because speech shapes the
mouth. Knows nothing of files or models. M samples, S spans, K labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nunbit.measures.definitions import SUFFIXES, definitions
from nunbit.measures.estimate import (
    CODE,
    Codes,
    Estimate,
    Formula,
    first_reason,
    missing,
)
from nunbit.measures.face_samples import Chosen, FaceSamples, choose, readable
from nunbit.measures.motion import (
    BLINK_RATE_HZ,
    blink_times,
)
from nunbit.measures.roles import Role, Roles
from nunbit.measures.spans import (
    Spans,
    Stretches,
    held,
    lengths,
    quantile_rows,
    rows_in,
    runs,
    sum_rows,
)
from nunbit.streams import Flags, Floats

MIN_FRAMES = 20
MIN_SESSION_S = 60.0
JOY_ON, JOY_OFF, JOY_MIN_S = 0.5, 0.4, 0.5
LONGEST_HOLE_S = 0.5  # an episode of joy does not outlast a longer stretch without a face
DOWN_DEG = 10.0
_TREMOR, _TREMOR_SPREAD = 1.0, 0.87
_FACE_TREMOR = 1.4  # landmarks of a still photo under sensor noise tremble together: 1.25 is seen
"""What tremor alone measures in units of itself: a median of 0.9, up to 1 where it has a little
memory, and 1.645 standard errors (0.53) of a median of one value in half a second."""

HEAD = ("head_speed", "head_range_yaw", "head_range_pitch", "head_range_roll", "head_down_share")


def _estimate(formula: Formula, parts: tuple[Floats, ...], chosen: Chosen,
              *rules: tuple[Flags, str]) -> Estimate:  # fmt: skip
    reason = first_reason((chosen.reason != 0, chosen.reason), *rules, n=len(chosen.n_valid))
    return Estimate(formula, parts, chosen.n_expected, chosen.n_valid, chosen.confidence, reason)


def _mean(values: Floats, chosen: Chosen, *rules: tuple[Flags, str]) -> Estimate:
    total = sum_rows(values[chosen.index], chosen.rows)
    return _estimate("ratio", (total, chosen.n_valid.astype(np.float64)), chosen, *rules)


def _spread(values: Floats, chosen: Chosen, *rules: tuple[Flags, str]) -> Estimate:
    picked = values[chosen.index]
    centred = picked - (picked.mean() if len(picked) else 0.0)
    sums = sum_rows(np.stack([centred, centred**2], axis=1), chosen.rows)
    parts = (chosen.n_valid.astype(np.float64), sums[:, 0], sums[:, 1])
    return _estimate("sd", parts, chosen, *rules)


def _median(values: Floats, times_s: Floats, chosen: Chosen, *rules: tuple[Flags, str]) -> Estimate:
    picked = values[chosen.index]
    middle = quantile_rows(picked, chosen.rows, 0.5)
    made = _estimate("given", (middle,), chosen, *rules)
    return replace(made, sample=(times_s[chosen.index], picked))


def _below_noise(above: Floats, chosen: Chosen, tremor: float) -> tuple[Flags, str]:
    """Spans whose typical motion does not stand out of the tremor of the landmarks."""
    typical = quantile_rows(above[chosen.index], chosen.rows, 0.5)
    independent = np.maximum(chosen.n_valid / 5.0, 1.0)
    return np.asarray(typical < tremor + _TREMOR_SPREAD / np.sqrt(independent)), "below_noise"


def face_estimates(
    samples: FaceSamples | None, spans: Spans, roles: Roles, speaking: Stretches | None
) -> dict[str, Estimate]:
    """All measures of the face that every sampling rate can carry.

    Args:
        samples: None without video.
        spans: S spans.
        roles: Parts of the classes.
        speaking: None without sound.

    Returns:
        Measure name -> estimate.
    """
    names = (*EXPRESSION, "joy_episode_rate", "joy_episode_mean_s", "face_motion", *HEAD)
    if samples is None:
        found = {name: missing(len(spans), "no_video") for name in ("face_coverage", *names)}
    else:
        found = {"face_coverage": _coverage(samples, spans)}
        found |= _of_expression(samples, spans, roles, None)
        found |= _episodes(samples, spans, roles)
        found |= _of_motion(samples, spans, None)
    split = [definition.id for definition in definitions() if definition.split]
    for suffix in SUFFIXES:
        part = _split(samples, spans, speaking, suffix)
        if samples is None or part is None:
            why = "no_video" if samples is None else "no_audio"
            found |= {name + suffix: missing(len(spans), why) for name in split}
            continue
        apart = _of_expression(samples, spans, roles, part) | _of_motion(samples, spans, part)
        found |= {name + suffix: apart[name] for name in split}
    return found


def _split(
    samples: FaceSamples | None, spans: Spans, speaking: Stretches | None, suffix: str
) -> tuple[Flags, Floats, str] | None:
    if samples is None or speaking is None:
        return None
    talks, seconds = speaking.at(samples.times_s), speaking.within(spans)
    if suffix == "_speaking":
        return talks, seconds, "silence"
    return ~talks, spans.duration_s - seconds, "too_few"


def _coverage(samples: FaceSamples, spans: Spans) -> Estimate:
    sampled = lengths(rows_in(samples.times_s, spans))
    chosen = choose(samples, spans, samples.code)
    parts = (chosen.n_valid.astype(np.float64), sampled.astype(np.float64))
    reason = first_reason((sampled == 0, "gap"), n=len(spans))
    return Estimate("ratio", parts, chosen.n_expected, chosen.n_valid, chosen.confidence, reason)


EXPRESSION: dict[str, tuple[Role, ...]] = {
    "expressivity": ("neutral",),
    "joy_time": ("joy",),
    "valence_sd": ("joy", "negative"),
    "negative_share": ("negative",),
    "depgroup_share": ("depgroup",),
}
"""Measures of apparent expression and the parts of the classes they need."""


def _of_expression(
    samples: FaceSamples, spans: Spans, roles: Roles, subset: tuple[Flags, Floats, str] | None
) -> dict[str, Estimate]:
    if samples.chances is None:
        return {name: missing(len(spans), "no_model") for name in EXPRESSION}
    chosen = choose(samples, spans, readable(samples), subset)
    p = samples.chances
    short = np.full(len(spans), session_s(spans) < MIN_SESSION_S)

    def one(name: str) -> Estimate:
        if why := roles.reason(*EXPRESSION[name]):
            return missing(len(spans), why)
        if name == "expressivity":
            return _mean(1.0 - p @ roles.weights("neutral"), chosen)
        if name == "joy_time":
            joy = (p @ roles.weights("joy") >= JOY_ON).astype(np.float64)
            return _mean(joy, chosen, (short, "too_short"))
        if name == "valence_sd":
            few = chosen.n_valid < MIN_FRAMES
            return _spread(p @ roles.valence_weights(), chosen, (few, "too_few"))
        role: Role = "negative" if name == "negative_share" else "depgroup"
        return _mean(p @ roles.weights(role), chosen)

    return {name: one(name) for name in EXPRESSION}


def session_s(spans: Spans) -> float:
    """Length of the session, seconds."""
    lasted = spans.duration_s[spans.parts["session"]]
    return float(lasted[0]) if len(lasted) else 0.0


def joy_episodes(samples: FaceSamples, roles: Roles) -> tuple[Floats, Floats]:
    """Episodes of apparent joy: on from p >= .5 until p < .4, at least 0.5 s.

    Returns:
        (E, 2) onset and offset, and (E,) the largest probability inside.
    """
    none = np.empty((0, 2)), np.empty(0)
    if samples.chances is None or roles.reason("joy"):
        return none
    index = np.flatnonzero(readable(samples) == 0)
    if not len(index):
        return none
    times, step = samples.times_s[index], 1.0 / samples.rate_hz
    joy = samples.chances[index] @ roles.weights("joy")
    breaks = np.concatenate([[True], np.diff(times) > LONGEST_HOLE_S + 1e-9])
    found = runs(held(joy, JOY_ON, JOY_OFF, breaks), breaks)
    edges = np.stack([times[found[:, 0]], times[found[:, 1] - 1] + step], axis=1)
    long = edges[:, 1] - edges[:, 0] >= JOY_MIN_S - 1e-9
    peaks = np.array([joy[a:b].max() for a, b in found[long]])
    return edges[long], peaks


def _episodes(samples: FaceSamples, spans: Spans, roles: Roles) -> dict[str, Estimate]:
    names = ("joy_episode_rate", "joy_episode_mean_s")
    why = "no_model" if samples.chances is None else roles.reason("joy")
    if why:
        return {name: missing(len(spans), why) for name in names}
    chosen = choose(samples, spans, readable(samples))
    edges, _ = joy_episodes(samples, roles)
    rows = rows_in(edges[:, 0], spans)
    count = lengths(rows).astype(np.float64)
    lasted = sum_rows(edges[:, 1] - edges[:, 0], rows)
    minutes = chosen.n_valid / samples.rate_hz / 60.0
    short = (spans.duration_s < MIN_SESSION_S, "too_short")
    none = (count == 0, "too_few")
    return {
        names[0]: _estimate("ratio", (count, minutes), chosen, short),
        names[1]: _estimate("ratio", (lasted, count), chosen, short, none),
    }


def _of_motion(
    samples: FaceSamples, spans: Spans, subset: tuple[Flags, Floats, str] | None
) -> dict[str, Estimate]:
    if not samples.has_landmarks:
        return {name: missing(len(spans), "no_landmarks") for name in ("face_motion", *HEAD)}
    pose = np.asarray(np.isfinite(samples.pose_deg).all(axis=1))
    still = _without(samples.code, pose, "no_landmarks")
    turning = np.isfinite(samples.speed_deg_s)
    moving = _without(still, turning, "too_few")
    # No reason of its own for a head that turns too fast: such frames are of low quality here.
    lively = _without(moving, np.isfinite(samples.motion), "low_quality")
    at_rest = choose(samples, spans, still, subset)
    in_pairs = choose(samples, spans, moving, subset)
    steady = choose(samples, spans, lively, subset)
    usual = np.median(samples.pose_deg[still == 0, 1]) if (still == 0).any() else 0.0
    down = (samples.pose_deg[:, 1] > usual + DOWN_DEG).astype(np.float64)
    found = {
        "face_motion": _mean(
            samples.motion, steady, _below_noise(samples.motion_above, steady, _FACE_TREMOR)
        ),
        "head_speed": _median(
            samples.speed_deg_s,
            samples.times_s,
            in_pairs,
            _below_noise(samples.turn_above, in_pairs, _TREMOR),
        ),
        "head_down_share": _mean(down, at_rest),
    }
    for column, axis in enumerate(("yaw", "pitch", "roll")):
        found[f"head_range_{axis}"] = _spread(samples.pose_deg[:, column], at_rest)
    return found


def _without(code: Codes, good: Flags, reason: str) -> Codes:
    return np.where((code == 0) & ~good, CODE[reason], code).astype(np.int8)


def blink_estimate(samples: FaceSamples | None, spans: Spans, full_rate: bool) -> Estimate:
    """Blinks per minute of valid time; needs every frame, at 25 a second or more."""
    if samples is None:
        return missing(len(spans), "no_video")
    if not samples.has_landmarks:
        return missing(len(spans), "no_landmarks")
    apart = np.diff(samples.times_s)
    rate = 1.0 / float(np.median(apart)) if len(apart) else 0.0
    if not full_rate or rate < BLINK_RATE_HZ - 0.1:  # 25 fps in milliseconds is not exactly 25
        return missing(len(spans), "not_full_rate")
    chosen = choose(
        samples, spans, _without(samples.code, np.isfinite(samples.eye_aspect), "no_landmarks")
    )
    times = blink_times(samples.times_s[chosen.index], samples.eye_aspect[chosen.index], rate)
    count = lengths(rows_in(times, spans)).astype(np.float64)
    return _estimate("ratio", (count, chosen.n_valid / rate / 60.0), chosen)
