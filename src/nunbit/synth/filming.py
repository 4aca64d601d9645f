"""The frames of a recording: how the face moves in them, and their pictures.

A script and its sound are evaluated at the frame times, all at once as arrays; drawing takes one
row at a time. Pictures show the person, visitors or a cartoon before a place; equal states give the
same picture and are drawn once. Knows nothing of containers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nunbit.core.schema import Box
from nunbit.core.streams import Flags, Floats
from nunbit.runtime.progress import Progress
from nunbit.synth.actors import (
    EMOTIONS,
    NEUTRAL,
    PARAMETERS,
    DrawnPerson,
    Expression,
    Rgb,
    rows_of,
    sample_person,
    within_bounds,
)
from nunbit.synth.drawing import Pose
from nunbit.synth.drawn_face import face_box, render_face
from nunbit.synth.drawn_photo import draw_scene
from nunbit.synth.script import VideoScript, curve, key_curve
from nunbit.synth.speech import SpeechTrack

LABELS = tuple(EMOTIONS)
_COLUMN = {name: k for k, name in enumerate(PARAMETERS)}
_PLACE = {"x": 0.5, "y": 0.42}  # shares of width and height where the head rests
_CLOSING_S, _CLOSED_S, _OPENING_S = 0.08, 0.04, 0.13  # of a blink
_UNEVEN_SHARE = 0.2  # of the steps of a variable rate are longer
_CLOCK_HZ = 90_000


@dataclass(frozen=True, eq=False)
class ActorMotion:
    """N frames of one face.

    Attributes:
        times_s: (N,) script time of each frame; exact fractions are in ``ticks``.
        ticks: (N,) the same in units of ``time_base``.
        time_base: Seconds of one tick.
        weights: (N, 7) intensities in the order of ``LABELS``; neutral is what is left of 1.
        rows: (N, parameters) of ``actors.Expression``.
        pose_deg: (N, 3) yaw, pitch, roll of ``drawing.Pose``.
        place: (N, 3) x, y and scale in pixels, as in ``drawing.Pose``.
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
    keep = (times >= script.video_start_s - 1e-9) & ~_within(script, times, "frames")
    return ticks[keep], time_base


def plan_motion(
    script: VideoScript, person: DrawnPerson, speech: SpeechTrack | None
) -> ActorMotion:
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
    return ActorMotion(
        frames, ticks, time_base, weights, within_bounds(rows), pose_deg, place, speaking,
        shown & ~cartoon, cartoon, blinks,
    )  # fmt: skip


def visible_share(box: tuple[float, float, float, float], width: int, height: int) -> float:
    """How much of a face's box lies inside the picture, 0 to 1."""
    x0, y0, x1, y1 = box
    wide = max(0.0, min(x1, width) - max(x0, 0.0))
    return wide * max(0.0, min(y1, height) - max(y0, 0.0)) / ((x1 - x0) * (y1 - y0))


def _weights(script: VideoScript, times: Floats) -> Floats:
    weights = np.zeros((len(times), len(LABELS)))
    for k, label in enumerate(LABELS):
        if label != "neutral":
            weights[:, k] = key_curve(script.emotions, label).at(times)
    weights[:, LABELS.index("neutral")] = np.maximum(0.0, 1.0 - weights.sum(axis=1))
    return weights


def _speaking(
    script: VideoScript, speech: SpeechTrack | None, times: Floats
) -> tuple[Floats, Floats]:
    if speech is None or not len(speech.openness):
        return np.zeros(len(times)), np.zeros(len(times))
    centres = (np.arange(len(speech.openness)) + 0.5) * 0.01
    opened, rounding = (np.interp(times, centres, t) for t in (speech.openness, speech.rounding))
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
    mouth = _COLUMN["mouth_open"]
    # An emotion holds the mouth open less while it speaks: lips close between the syllables.
    busy = np.clip(_local_maximum(times, speaking), 0.0, 1.0)
    rows[:, mouth] = rows[:, mouth] * (1.0 - 0.7 * busy) + 0.6 * speaking
    rows[:, _COLUMN["lip_press"]] *= 1.0 - busy
    rows[:, _COLUMN["stretch"]] -= 0.5 * rounding * speaking
    return rows


def _local_maximum(times: Floats, values: Floats) -> Floats:
    """Largest value within 0.3 s before and after, so that it is steady through a phrase."""
    first = np.searchsorted(times, times - 0.3)
    last = np.searchsorted(times, times + 0.3, side="right")
    return np.array([values[a:b].max() for a, b in zip(first.tolist(), last.tolist(), strict=True)])


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
        away = np.clip(np.maximum(before, (times - blink - 0.5 * _CLOSED_S) / _OPENING_S), 0.0, 1.0)
        closed = np.maximum(closed, 0.5 + 0.5 * np.cos(math.pi * away))
    return closed


def _poses(script: VideoScript, times: Floats) -> tuple[Floats, Floats]:
    def along(name: str, default: float = 0.0) -> Floats:
        return key_curve(script.head, name, default).at(times)

    angles = np.column_stack([along(f"{name}_deg") for name in ("yaw", "pitch", "roll")])
    if script.sway_deg:
        angles += script.sway_deg * _sway(script.seed, times)
    x, y = (along(name, default) for name, default in _PLACE.items())
    scale = along("scale", script.face_scale)
    return angles, np.column_stack([x * script.width, y * script.height, scale * script.height])


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


def _slide(script: VideoScript, person: DrawnPerson, times: Floats) -> Floats:
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


# --- pictures -------------------------------------------------------------------------------------

_CACHE_BYTES = 96 * 2**20


_CARTOON_STEP_S = 0.2


_LARGE_PX = 140.0  # a face of this scale is not supersampled: four times the pixels for little


_REACH = 2.6  # face units from the middle to beyond the shoulders, tilted


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in a state; what a picture of them depends on."""

    person: DrawnPerson
    expression: Expression
    pose: Pose

    @property
    def box_xyxy(self) -> Box:
        """The face's box, pixels; may reach past the frame."""
        return face_box(self.person, self.expression, self.pose)


def _show(background: Image.Image, actors: tuple[Actor, ...]) -> NDArray[np.uint8]:
    """The picture with these people, later ones in front: (H, W, 3) uint8 RGB."""
    picture, (width, height) = background.copy(), background.size
    for actor in actors:
        # Only the part of the picture that the figure reaches: half of a wide one is wall.
        pose, reach = actor.pose, _REACH * actor.pose.scale
        left = min(max(0, math.floor(pose.x - reach)), width - 1)
        right = max(min(width, math.ceil(pose.x + reach)), left + 1)
        figure = render_face(
            actor.person,
            actor.expression,
            replace(pose, x=pose.x - left),
            (right - left, height),
            zoom=1 if pose.scale >= _LARGE_PX else 2,
            turning=True,
        )
        picture.paste(figure.image, (left, 0), figure.mask)
    return np.asarray(picture)


def _wall(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A plain wall, lighter in the middle."""
    width, height = size
    tone = np.array([206.0, 212.0, 216.0]) + rng.normal(0, 10, 3)
    x, y = np.linspace(-1, 1, width)[None, :, None], np.linspace(-1, 1, height)[:, None, None]
    pixels = tone * (1.04 - 0.08 * (x**2 + y**2))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@lru_cache(maxsize=10)
def _cartoon(size: tuple[int, int], step: int) -> NDArray[np.uint8]:
    """A blue snail that creeps through a meadow; no detector of faces sees it."""
    w, h = size
    picture = Image.new("RGB", size, (150, 208, 240))
    d = ImageDraw.Draw(picture)
    d.rectangle((0, 0.68 * h, w, h), fill=(126, 196, 92))
    d.ellipse((0.78 * w, 0.06 * h, 0.78 * w + 0.2 * h, 0.26 * h), fill=(255, 222, 70))
    for k in range(5):  # flowers
        x, y, r = (0.1 + 0.2 * k) * w, (0.82 + 0.06 * (k % 2)) * h, 0.03 * h
        d.line((x, y, x, y + 0.12 * h), fill=(70, 140, 60), width=max(1, w // 160))
        d.ellipse((x - r, y - r, x + r, y + r), fill=(240, 110, 140) if k % 2 else (250, 250, 250))
    x = (0.2 + 0.03 * step) * w
    body: Rgb = (84, 120, 214)
    d.ellipse((x - 0.02 * w, 0.66 * h, x + 0.42 * w, 0.78 * h), fill=body)
    d.ellipse((x + 0.3 * w, 0.5 * h, x + 0.44 * w, 0.76 * h), fill=body)
    for k, tone in enumerate(((190, 90, 60), (224, 140, 84), (190, 90, 60), (240, 176, 110))):
        r = (0.2 - 0.045 * k) * h
        d.ellipse((x + 0.15 * w - r, 0.54 * h - r, x + 0.15 * w + r, 0.54 * h + r), fill=tone)
    for k in (0, 1):
        tip = (x + (0.34 + 0.1 * k) * w, (0.36 + 0.02 * ((step + k) % 2)) * h)
        d.line((x + 0.37 * w, 0.55 * h, *tip), fill=body, width=max(2, w // 60))
        r = 0.035 * h
        d.ellipse((tip[0] - r, tip[1] - r, tip[0] + r, tip[1] + r), fill=(255, 255, 255))
        d.ellipse((tip[0], tip[1] - r / 3, tip[0] + r * 0.7, tip[1] + r / 2), fill=(20, 20, 30))
    return np.asarray(picture)


_PROGRESS_EVERY = 25


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is visible in each frame, recorded while drawing."""

    visible: Floats
    n_faces: NDArray[np.int64]
    boxes: Floats


Pictures = Iterator[tuple[int, NDArray[np.uint8]]]
"""(tick, (H, W, 3) uint8 RGB) in order."""


def draw_frames(
    script: VideoScript, person: DrawnPerson, motion: ActorMotion, drawn: Drawn, progress: Progress
) -> Pictures:
    """Draw frame after frame and record what is visible."""
    size, rng = (script.width, script.height), np.random.default_rng([script.seed, 1])
    plain = script.scene == "plain"
    background = _wall(size, rng) if plain else draw_scene(script.scene, size, rng)
    show = lru_cache(max(1, _CACHE_BYTES // (3 * size[0] * size[1])))(partial(_show, background))
    for k, tick in enumerate(motion.ticks.tolist()):
        now = float(motion.times_s[k])
        if motion.cartoon[k]:
            yield tick, _cartoon(size, math.floor(now / _CARTOON_STEP_S + 1e-6) % 10)
        else:
            actors = list(_visitors(script, now))
            drawn.n_faces[k] = len(actors)
            if motion.shown[k]:
                actor = Actor(person, motion.expression(k), motion.pose(k))
                drawn.boxes[k] = actor.box_xyxy
                drawn.visible[k] = visible_share(actor.box_xyxy, script.width, script.height)
                drawn.n_faces[k] += drawn.visible[k] > 0
                actors.append(actor)
            yield tick, show(tuple(actors))
        if k % _PROGRESS_EVERY == _PROGRESS_EVERY - 1:
            progress.advance(_PROGRESS_EVERY)


def _visitors(script: VideoScript, now: float) -> Iterator[Actor]:
    for visitor in script.visitors:
        if visitor.start_s <= now < visitor.end_s:
            pose = Pose(visitor.x * script.width, visitor.y * script.height,
                        visitor.scale * script.height)  # fmt: skip
            person = sample_person(np.random.default_rng(visitor.person))
            blinking = (now - visitor.start_s) % 3.4 > 3.25
            yield Actor(person, Expression(eye_open=0.0) if blinking else NEUTRAL, pose)
