"""Draws the frames of a recording: background, the person, visitors, or a cartoon.

Equal states give the same picture and are drawn once. Knows nothing of sound, time or containers.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nunbit.schema import Box
from nunbit.synth.expression import NEUTRAL, Expression
from nunbit.synth.faces import face_box, render_face
from nunbit.synth.geometry import Pose
from nunbit.synth.people import Person, Rgb
from nunbit.synth.scenes import draw_scene

_CACHE_BYTES = 96 * 2**20
_CARTOON_STEP_S = 0.2
_LARGE_PX = 140.0  # a face of this scale is not supersampled: four times the pixels for little
_REACH = 2.6  # face units from the middle to beyond the shoulders, tilted


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in a state; what a picture of them depends on."""

    person: Person
    expression: Expression
    pose: Pose

    @property
    def box_xyxy(self) -> Box:
        """The face's box, pixels; may reach past the frame."""
        return face_box(self.person, self.expression, self.pose)


class Stage:
    """Where the actors are drawn.

    Args:
        size: Width and height of the picture.
        scene: A name of ``scenes.SCENES`` or ``plain``.
        seed: Of the background.
    """

    def __init__(self, size: tuple[int, int], scene: str, seed: int) -> None:
        self._size = size
        rng = np.random.default_rng([seed, 1])
        if scene == "plain":
            self._background = _wall(size, rng)
        else:
            self._background = draw_scene(scene, size, rng)
        self._known: OrderedDict[object, NDArray[np.uint8]] = OrderedDict()
        self._capacity = max(1, _CACHE_BYTES // (3 * size[0] * size[1]))

    def show(self, actors: tuple[Actor, ...]) -> NDArray[np.uint8]:
        """The picture with these people, later ones in front: (H, W, 3) uint8 RGB."""
        return self._once(actors, lambda: self._draw(actors))

    def cartoon(self, time_s: float) -> NDArray[np.uint8]:
        """A drawn animal in a meadow, moving in steps of 0.2 s; no detector of faces sees it."""
        step = math.floor(time_s / _CARTOON_STEP_S + 1e-6)
        return self._once(("cartoon", step % 10), lambda: _cartoon(self._size, step % 10))

    def _once(self, key: object, draw: Callable[[], Image.Image]) -> NDArray[np.uint8]:
        found = self._known.get(key)
        if found is None:
            found = np.asarray(draw())
            self._known[key] = found
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return found

    def _draw(self, actors: tuple[Actor, ...]) -> Image.Image:
        picture = self._background.copy()
        for actor in actors:
            # Only the part of the picture that the figure reaches: half of a wide one is wall.
            pose, (width, height) = actor.pose, self._size
            left = min(max(0, math.floor(pose.x - _REACH * pose.scale)), width - 1)
            right = max(min(width, math.ceil(pose.x + _REACH * pose.scale)), left + 1)
            moved = replace(pose, x=pose.x - left)
            figure = render_face(
                actor.person,
                actor.expression,
                moved,
                (right - left, height),
                zoom=1 if pose.scale >= _LARGE_PX else 2,
                turning=True,
            )
            picture.paste(figure.image, (left, 0), figure.mask)
        return picture


def visitor_state(time_s: float, start_s: float, pose: Pose, person: Person) -> Actor:
    """A visitor: neutral, with a blink every 3.4 s."""
    closed = (time_s - start_s) % 3.4 > 3.25
    expression = Expression(eye_open=0.0) if closed else NEUTRAL
    return Actor(person, expression, pose)


def _wall(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A plain wall, lighter in the middle."""
    width, height = size
    tone = np.array([206.0, 212.0, 216.0]) + rng.normal(0, 10, 3)
    x = np.linspace(-1, 1, width)[None, :, None]
    y = np.linspace(-1, 1, height)[:, None, None]
    pixels = tone * (1.04 - 0.08 * (x**2 + y**2))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _cartoon(size: tuple[int, int], step: int) -> Image.Image:
    """A blue snail that creeps through a meadow."""
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
    return picture
