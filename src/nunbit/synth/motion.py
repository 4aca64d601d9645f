"""What the face does in every frame: a script and its sound, evaluated at the frame times.

All frames are computed at once as arrays; drawing takes one row at a time. Knows nothing of
pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nunbit.streams import Flags, Floats
from nunbit.synth.curves import curve
from nunbit.synth.expression import (
    EMOTIONS,
    NEUTRAL,
    PARAMETERS,
    Expression,
    rows_of,
    within_bounds,
)
from nunbit.synth.faces import face_box
from nunbit.synth.geometry import Pose
from nunbit.synth.people import Person
from nunbit.synth.script import VideoScript
from nunbit.synth.speech import SpeechTrack

LABELS = tuple(EMOTIONS)
_COLUMN = {name: k for k, name in enumerate(PARAMETERS)}
_PLACE = {"x": 0.5, "y": 0.42}  # shares of width and height where the head rests
_CLOSING_S, _CLOSED_S, _OPENING_S = 0.08, 0.04, 0.13  # of a blink
_UNEVEN_SHARE = 0.2  # of the steps of a variable rate are longer
_CLOCK_HZ = 90_000


@dataclass(frozen=True, eq=False)
class Motion:
    """N frames of one face.

    Attributes:
        times_s: (N,) script time of each frame; exact fractions are in ``ticks``.
        ticks: (N,) the same in units of ``time_base``.
        time_base: Seconds of one tick.
        weights: (N, 7) intensities in the order of ``LABELS``; neutral is what is left of 1.
        rows: (N, parameters) of ``expression.Expression``.
        pose_deg: (N, 3) yaw, pitch, roll of ``geometry.Pose``.
        place: (N, 3) x, y and scale in pixels, as in ``geometry.Pose``.
        speaking: (N,) how far speech opens the mouth, 0 to 1.
        shown: (N,) whether the face is drawn (it may still be partly outside the picture).
        cartoon: (N,) whether a cartoon fills the picture.
        blinks_s: Times at which the eyes are closed.
    """

    times_s: Floats
    ticks: NDArray[np.int64]
    time_base: Fraction
    weights: Floats
    rows: Floats
    pose_deg: Floats
    place: Floats
    speaking: Floats
    shown: Flags
    cartoon: Flags
    blinks_s: tuple[float, ...]

    def expression(self, k: int) -> Expression:
        """What the face does in frame k."""
        return Expression(*self.rows[k].tolist())

    def pose(self, k: int) -> Pose:
        """Where the head is in frame k."""
        (x, y, scale), (yaw, pitch, roll) = self.place[k].tolist(), self.pose_deg[k].tolist()
        return Pose(x, y, scale, roll_deg=roll, yaw_deg=yaw, pitch_deg=pitch)


def frame_ticks(script: VideoScript) -> tuple[NDArray[np.int64], Fraction]:
    """Times of the frames as whole ticks, and the length of a tick in seconds.

    Frames before ``video_start_s`` and in stretches without frames are left out.
    """
    rate = script.frame_rate
    if rate is not None:
        time_base = 1 / rate
        ticks = np.arange(math.ceil(script.duration_s * rate), dtype=np.int64)
    else:
        time_base = Fraction(1, _CLOCK_HZ)
        rng = np.random.default_rng([script.seed, 5])
        count = math.ceil(script.duration_s * 30) + 1
        steps = np.full(count, 3000, dtype=np.int64)
        uneven = rng.random(count) < _UNEVEN_SHARE
        steps[uneven] = rng.integers(3500, 9000, int(uneven.sum()))
        ticks = np.concatenate([[0], np.cumsum(steps)])
        ticks = ticks[ticks < script.duration_s * _CLOCK_HZ]
    times = ticks.astype(np.float64) * float(time_base)
    keep = times >= script.video_start_s - 1e-9
    for hole in script.dropouts:
        if hole.kind == "frames":
            keep &= (times < hole.start_s) | (times >= hole.end_s)
    return ticks[keep], time_base


def plan_motion(script: VideoScript, person: Person, speech: SpeechTrack | None) -> Motion:
    """Evaluate a script at its frame times.

    Args:
        script: The script.
        person: Who is drawn; decides how far a face must move to leave the picture.
        speech: Its sound before any offset, or None: the mouth then follows the keys alone.
    """
    ticks, time_base = frame_ticks(script)
    times = ticks.astype(np.float64) * float(time_base)
    shown, cartoon = ~_within(script, times, "face"), _within(script, times, "cartoon")
    frames = times
    if script.hold_s:  # the small number keeps 0.6 / 0.2 from falling to 2
        times = np.floor(times / script.hold_s + 1e-6) * script.hold_s
    weights = _weights(script, times)
    speaking, rounding = _speaking(script, speech, times)
    blinks = _blinks(script)
    rows = _expressions(script, times, weights, speaking, rounding)
    rows[:, _COLUMN["eye_open"]] *= 1.0 - _closure(times, blinks)
    pose_deg, place = _poses(script, times)
    place[:, 0] += _slide(script, person, times)
    return Motion(
        frames, ticks, time_base, weights, within_bounds(rows), pose_deg, place, speaking,
        shown & ~cartoon, cartoon, blinks,
    )  # fmt: skip


def visible_share(box: tuple[float, float, float, float], width: int, height: int) -> float:
    """How much of a face's box lies inside the picture, 0 to 1."""
    x0, y0, x1, y1 = box
    wide = max(0.0, min(x1, width) - max(x0, 0.0))
    tall = max(0.0, min(y1, height) - max(y0, 0.0))
    return wide * tall / ((x1 - x0) * (y1 - y0))


def _weights(script: VideoScript, times: Floats) -> Floats:
    weights = np.zeros((len(times), len(LABELS)))
    for k, label in enumerate(LABELS):
        if label != "neutral":
            keys = [(key.at_s, getattr(key, label), key.ease) for key in script.emotions]
            weights[:, k] = curve(keys).at(times)
    weights[:, LABELS.index("neutral")] = np.maximum(0.0, 1.0 - weights.sum(axis=1))
    return weights


def _speaking(
    script: VideoScript, speech: SpeechTrack | None, times: Floats
) -> tuple[Floats, Floats]:
    if speech is None or not len(speech.openness):
        return np.zeros(len(times)), np.zeros(len(times))
    centres = (np.arange(len(speech.openness)) + 0.5) * 0.01
    opened = np.interp(times, centres, speech.openness)
    rounding = np.interp(times, centres, speech.rounding)
    return opened, rounding


def _expressions(
    script: VideoScript, times: Floats, weights: Floats, speaking: Floats, rounding: Floats
) -> Floats:
    """Emotions, then keys of single parameters, then speech on top."""
    chosen = [NEUTRAL if label == "neutral" else EMOTIONS[label][script.variants.get(label, 0)]
              for label in LABELS]  # fmt: skip
    rows = weights @ rows_of(chosen)
    for name in sorted({name for key in script.face for name in key.values}):
        keys = [(key.at_s, key.values[name], key.ease) for key in script.face if name in key.values]
        rows[:, _COLUMN[name]] = curve(keys).at(times)
    rows = within_bounds(rows)
    mouth, press = _COLUMN["mouth_open"], _COLUMN["lip_press"]
    # An emotion holds the mouth open less while it speaks: lips close between the syllables.
    busy = np.clip(_local_maximum(times, speaking), 0.0, 1.0)
    rows[:, mouth] = rows[:, mouth] * (1.0 - 0.7 * busy) + 0.6 * speaking
    rows[:, press] *= 1.0 - busy
    rows[:, _COLUMN["stretch"]] -= 0.5 * rounding * speaking
    return rows


def _local_maximum(times: Floats, values: Floats) -> Floats:
    """Largest value within 0.3 s before and after, so that it is steady through a phrase."""
    first = np.searchsorted(times, times - 0.3)
    last = np.searchsorted(times, times + 0.3, side="right")
    rows = [values[a:b].max() for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    return np.array(rows)


def _blinks(script: VideoScript) -> tuple[float, ...]:
    times = sorted(script.blinks_s)
    wanted = round(script.blinks_per_min * script.duration_s / 60.0)
    rng = np.random.default_rng([script.seed, 4])
    for _ in range(20 * wanted):
        if wanted == len(times) - len(script.blinks_s):
            break
        time = round(float(rng.uniform(0.5, max(0.6, script.duration_s - 0.5))), 3)
        if all(abs(time - other) >= 1.0 for other in times):
            times.append(time)
    return tuple(sorted(times))


def _closure(times: Floats, blinks: tuple[float, ...]) -> Floats:
    """0 open to 1 closed; closed in the middle of each blink."""
    closed = np.zeros(len(times))
    for blink in blinks:
        before = (blink - 0.5 * _CLOSED_S - times) / _CLOSING_S
        after = (times - blink - 0.5 * _CLOSED_S) / _OPENING_S
        away = np.clip(np.maximum(before, after), 0.0, 1.0)
        closed = np.maximum(closed, 0.5 + 0.5 * np.cos(math.pi * away))
    return closed


def _poses(script: VideoScript, times: Floats) -> tuple[Floats, Floats]:
    def along(name: str, default: float) -> Floats:
        keys = [(k.at_s, getattr(k, name), k.ease) for k in script.head
                if getattr(k, name) is not None]  # fmt: skip
        return curve(keys, default).at(times)

    names = ("yaw_deg", "pitch_deg", "roll_deg")
    angles = np.column_stack([along(name, 0.0) for name in names])
    if script.sway_deg:
        angles += script.sway_deg * _sway(script.seed, times)
    x, y = (along(name, default) for name, default in _PLACE.items())
    scale = along("scale", script.face_scale)
    place = np.column_stack([x * script.width, y * script.height, scale * script.height])
    return angles, place


def _sway(seed: int, times: Floats) -> Floats:
    """Slow involuntary movement of yaw, pitch and roll, RMS about 0.6, (N, 3)."""
    rng = np.random.default_rng([seed, 6])
    total = np.zeros((len(times), 3))
    for axis, strength in enumerate((1.0, 0.7, 0.5)):
        for hertz in rng.uniform(0.08, 0.4, 3):
            total[:, axis] += strength / 2 * np.sin(2 * math.pi * (hertz * times + rng.random()))
    return total


def _within(script: VideoScript, times: Floats, kind: str) -> Flags:
    inside = np.zeros(len(times), dtype=np.bool_)
    for stretch in script.dropouts:
        if stretch.kind == kind:
            inside |= (times >= stretch.start_s) & (times < stretch.end_s)
    return inside


def _slide(script: VideoScript, person: Person, times: Floats) -> Floats:
    """Pixels by which the face has moved out to the right around its dropouts."""
    moved = np.zeros(len(times))
    box = face_box(person, NEUTRAL, Pose(0.0, 0.0, script.face_scale * script.height))
    way = 0.5 * script.width + 0.8 * (box[2] - box[0])
    for stretch in script.dropouts:
        if stretch.kind == "face" and stretch.slide_s > 0:
            leaving = np.clip((times - stretch.start_s) / stretch.slide_s + 1.0, 0.0, 1.0)
            coming = np.clip(1.0 - (times - stretch.end_s) / stretch.slide_s, 0.0, 1.0)
            share = np.where(times < stretch.start_s, leaving, coming)
            moved = np.maximum(moved, way * share * share * (3.0 - 2.0 * share))
    return moved
