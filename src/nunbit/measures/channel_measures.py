"""Measures of the expression channels (smiles, mouth, brows, lids, gaze, jaw), and blinks.

Channels are a network's estimates of single movements of the face (``expression_channels``), not
action units, and faces differ at rest: compare within one person. The measures are those that the
literature on depression names; each has a noise floor, found by ``benchmarks/landmarks.py``,
below which a mean cannot be told from nothing. M samples, C channels, S spans.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nunbit.core.spans import (
    Spans,
    Stretches,
    after_gaps,
    lengths,
    quantile_rows,
    rows_in,
    runs,
    sum_rows,
)
from nunbit.core.streams import Flags, Floats, Ints
from nunbit.core.timebase import SAME_S
from nunbit.measures.definitions import Roles
from nunbit.measures.estimate import Codes, Estimate, all_missing, missing
from nunbit.measures.face_measures import (
    MIN_SESSION_S,
    Chosen,
    FaceSamples,
    choose,
    estimate_over,
    face_estimates,
    held_episodes,
    mean_over,
    with_reason,
)
from nunbit.pictures.expression_channels import KEPT_CHANNELS

SMILE_ON, SMILE_OFF = 0.4, 0.25
"""Of 1,125 pictures of single faces, one rater's label each, 70% of those called joyful reach 0.4,
4% of the neutral and 12% of the sad ones (faces_web, training persons)."""

ASYMMETRY_FROM = 0.3
"""Below this mean of both sides there is no smile whose sides could differ."""

BLINK_SHARE = 0.7
BLINK_MEDIAN_S = 5.0
BLINK_S = (0.05, 0.5)
BLINK_RATE_HZ = 25.0

LIDS_SHUT = 0.5
"""The channel is 0.1 for usual open eyes and above 0.6 for drawn closed ones."""

MEANS: Mapping[str, tuple[str, ...]] = {
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "dimpler": ("mouthDimpleLeft", "mouthDimpleRight"),
    "mouth_corners_down": ("mouthFrownLeft", "mouthFrownRight"),
    "lips_pressed": ("mouthPressLeft", "mouthPressRight"),
    "brow_raise": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "brow_lowering": ("browDownLeft", "browDownRight"),
    "gaze_down": ("eyeLookDownLeft", "eyeLookDownRight"),
    "jaw_open": ("jawOpen",),
}
"""Measure -> the channels whose mean it is."""

EPISODES = ("smile_rate", "smile_mean_s")
NAMES = (*MEANS, "lids_shut_share", "smile_asymmetry", *EPISODES)


def estimates_of_face(
    samples: FaceSamples | None, spans: Spans, roles: Roles, speaking: Stretches | None
) -> dict[str, Estimate]:
    """All measures of the face that need no particular sampling rate; see ``face_estimates``."""
    return face_estimates(samples, spans, roles, speaking) | channel_estimates(samples, spans)


def channel_estimates(samples: FaceSamples | None, spans: Spans) -> dict[str, Estimate]:
    """Measure name -> estimate on all spans.

    Args:
        samples: None without video.
        spans: S spans.
    """
    if samples is None or samples.channels is None:
        return all_missing(NAMES, spans, "no_video" if samples is None else "no_landmarks")
    seen = np.asarray(np.isfinite(samples.channels).all(axis=1))
    code = with_reason(samples.code, seen, "no_landmarks")
    chosen = choose(samples, spans, code)
    found = {name: mean_over(_level(samples.channels, *MEANS[name]), chosen) for name in MEANS}
    lids = _level(samples.channels, "eyeBlinkLeft", "eyeBlinkRight")
    found["lids_shut_share"] = mean_over((lids >= LIDS_SHUT).astype(np.float64), chosen)
    found["smile_asymmetry"] = _asymmetry(samples, spans, code)
    return found | _smiles(samples, spans, chosen)


def smile_episodes(samples: FaceSamples, index: Ints) -> tuple[Floats, Floats]:
    """Episodes of smiling among the samples ``index``: on from 0.4 until below 0.25, 0.5 s or more.

    Returns:
        (E, 2) onset and offset, and (E,) the strongest smile inside.
    """
    if samples.channels is None:
        return np.empty((0, 2)), np.empty(0)
    smile = _level(samples.channels, *MEANS["smile"])
    return held_episodes(samples, index, smile, SMILE_ON, SMILE_OFF)


def _smiles(samples: FaceSamples, spans: Spans, chosen: Chosen) -> dict[str, Estimate]:
    edges, _ = smile_episodes(samples, chosen.index)
    rows = rows_in(edges[:, 0], spans)
    count = lengths(rows).astype(np.float64)
    lasted = sum_rows(edges[:, 1] - edges[:, 0], rows)
    minutes = chosen.n_valid / samples.rate_hz / 60.0
    short = (spans.duration_s < MIN_SESSION_S, "too_short")
    return {
        "smile_rate": estimate_over("ratio", (count, minutes), chosen, short),
        "smile_mean_s": estimate_over(
            "ratio", (lasted, count), chosen, short, (count == 0, "too_few")
        ),
    }


def _asymmetry(samples: FaceSamples, spans: Spans, code: Codes) -> Estimate:
    assert samples.channels is not None
    left, right = (_level(samples.channels, name) for name in MEANS["smile"])
    smiling: Flags = (left + right) / 2 >= ASYMMETRY_FROM
    chosen = choose(samples, spans, code)
    total, count = (
        sum_rows(values[chosen.index], chosen.rows)
        for values in (np.where(smiling, np.abs(left - right), 0.0), smiling.astype(np.float64))
    )
    # Ten frames of smiling, one second: fewer are the beginning and end of a smile.
    return estimate_over("ratio", (total, count), chosen, (count < 10, "too_few"))


def _level(channels: Floats, *names: str) -> Floats:
    return np.asarray(channels[:, [KEPT_CHANNELS.index(name) for name in names]].mean(axis=1))


def blink_times(times_s: Floats, eye_aspect: Floats, rate_hz: float) -> Floats:
    """When the person blinked: middles of the stretches with the eyes nearly shut.

    Shut = below 0.7 of the median of the 5 s around, for 50 to 500 ms. ``times_s`` and
    ``eye_aspect`` (M,) are of valid samples; below 25 Hz a blink falls between frames.
    """
    if len(times_s) < 2:
        return np.empty(0)
    half = BLINK_MEDIAN_S / 2.0
    # The median moves slowly: four times a second is plenty, 250 times less work than per frame.
    centres = np.arange(times_s[0], times_s[-1] + 0.25, 0.25)
    around = Spans(centres - half, centres + half, {})
    usual = quantile_rows(eye_aspect, rows_in(times_s, around), 0.5)
    known = np.isfinite(usual)
    level = np.interp(times_s, centres[known], usual[known])
    shut = runs(eye_aspect < BLINK_SHARE * level, after_gaps(times_s, 1.5 / rate_hz))
    lasted = (shut[:, 1] - shut[:, 0]) / rate_hz
    good = (lasted >= BLINK_S[0] - SAME_S) & (lasted <= BLINK_S[1] + SAME_S)
    return np.asarray((times_s[shut[good, 0]] + times_s[shut[good, 1] - 1]) / 2.0)


def blink_estimate(samples: FaceSamples | None, spans: Spans, full_rate: bool) -> Estimate:
    """Blinks per minute of valid time; needs every frame, at 25 a second or more."""
    if samples is None or not samples.has_landmarks:
        return missing(len(spans), "no_video" if samples is None else "no_landmarks")
    apart = np.diff(samples.times_s)
    rate = 1.0 / float(np.median(apart)) if len(apart) else 0.0
    if not full_rate or rate < BLINK_RATE_HZ - 0.1:  # 25 fps in milliseconds is not exactly 25
        return missing(len(spans), "not_full_rate")
    seen = with_reason(samples.code, np.isfinite(samples.eye_aspect), "no_landmarks")
    chosen = choose(samples, spans, seen)
    times = blink_times(samples.times_s[chosen.index], samples.eye_aspect[chosen.index], rate)
    count = lengths(rows_in(times, spans)).astype(np.float64)
    return estimate_over("ratio", (count, chosen.n_valid / rate / 60.0), chosen)
