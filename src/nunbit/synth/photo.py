"""A photo of a drawn person: framing, scene, light, camera and JPEG with an EXIF tag.

A ``Photo`` says everything about a picture before a pixel is drawn, its face box included, so
label files can be written without waiting for the drawing. Knows nothing of labels or folders.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from nunbit.schema import Box
from nunbit.synth.expression import UPRIGHT, Expression, HeadTilt
from nunbit.synth.faces import face_box, render_face
from nunbit.synth.geometry import Pose
from nunbit.synth.people import Person
from nunbit.synth.scenes import draw_scene

_ORIENTATION, _SOFTWARE = 0x0112, 0x0131

# How the upright picture must be stored so that applying the tag brings it back.
_STORED_AS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_ASPECTS, _ASPECT_SHARE = (4 / 3, 16 / 9, 1.0, 3 / 4), (0.68, 0.22, 0.05, 0.05)
_NOISE_SIDE = 256


@dataclass(frozen=True, slots=True)
class Photo:
    """All that a picture depends on.

    Attributes:
        person: Who.
        expression: What the face does.
        pose: Where the head is, in pixels of the upright picture.
        size: Width and height of the upright picture.
        scene: Name of the background.
        scene_seed: Seed of the background and the noise.
        light: x and y of the direction the light comes from, and its strength, 0 to 0.5.
        cast: Factors of red, green and blue.
        noise: Standard deviation of the sensor noise, 8-bit steps.
        blur: Gaussian radius in pixels, 0 for sharp.
        quality: JPEG quality.
    """

    person: Person
    expression: Expression
    pose: Pose
    size: tuple[int, int]
    scene: str
    scene_seed: int
    light: tuple[float, float, float]
    cast: tuple[float, float, float]
    noise: float
    blur: float
    quality: int

    @property
    def box_xyxy(self) -> Box:
        """The true face box in pixels of the upright picture."""
        return face_box(self.person, self.expression, self.pose)


def sample_photo(
    person: Person,
    expression: Expression,
    scene: str,
    width: int,
    rng: np.random.Generator,
    *,
    tilt: HeadTilt = UPRIGHT,
) -> Photo:
    """Frame a person as a phone held at arm's length would.

    Args:
        person: Who.
        expression: What the face does.
        scene: Name of the background.
        width: Typical width of the pictures, pixels; each differs by up to a quarter.
        rng: Source of the variation.
        tilt: Mean pose of the head.
    """
    aspect = float(rng.choice(_ASPECTS, p=_ASPECT_SHARE))
    long_side = width * rng.uniform(0.8, 1.25)
    columns = round(long_side if aspect >= 1 else long_side * aspect)
    rows = round(columns / aspect)
    # A face takes about half of the frame's height, as in the real photos (section 3 of the facts).
    face_rows = rows * min(rng.uniform(0.40, 0.60), 0.62 * aspect)
    scale = face_rows / (person.chin + 0.72)
    pose = Pose(
        x=columns * (0.5 + rng.normal(0, 0.05)),
        y=rows * 0.44 + rows * rng.normal(0, 0.03),
        scale=scale,
        roll_deg=float(np.clip(tilt.roll + rng.normal(0, 5), -14, 14)),
        yaw_deg=float(np.clip(tilt.yaw + rng.normal(0, 7), -18, 18)),
        pitch_deg=float(np.clip(tilt.pitch + rng.normal(0, 4), -10, 14)),
    )
    angle = rng.uniform(0, 2 * np.pi)
    gain, warm = rng.uniform(0.78, 1.10), rng.normal(0, 0.06)
    return Photo(
        person=person,
        expression=expression,
        pose=pose,
        size=(columns, rows),
        scene=scene,
        scene_seed=int(rng.integers(1 << 31)),
        light=(float(np.cos(angle)), float(np.sin(angle)), float(rng.uniform(0.03, 0.32))),
        cast=(float(gain * (1 + warm)), float(gain * (1 + rng.normal(0, 0.015))),
              float(gain * (1 - warm))),
        noise=float(rng.gamma(2.0, 1.8)),
        blur=float(rng.uniform(0.5, 1.4)) * columns / 640 if rng.random() < 0.3 else 0.0,
        quality=int(rng.integers(74, 95)),
    )  # fmt: skip


def draw_photo(photo: Photo) -> Image.Image:
    """Draw the upright picture."""
    rng = np.random.default_rng(photo.scene_seed)
    picture = draw_scene(photo.scene, photo.size, rng)
    pose, (columns, rows) = photo.pose, photo.size
    reach = 2.5 * pose.scale
    left, right = max(0, int(pose.x - reach)), min(columns, int(pose.x + reach))
    top = max(0, int(pose.y - 2.1 * pose.scale))
    moved = Pose(
        pose.x - left, pose.y - top, pose.scale, pose.roll_deg, pose.yaw_deg, pose.pitch_deg
    )
    figure = render_face(photo.person, photo.expression, moved, (right - left, rows - top))
    picture.paste(figure.image, (left, top), figure.mask)
    if photo.blur > 0:
        picture = picture.filter(ImageFilter.GaussianBlur(photo.blur))
    return _expose(picture, photo, rng)


def encode_photo(picture: Image.Image, quality: int, orientation: int | None) -> bytes:
    """JPEG bytes of an upright picture as a camera held otherwise would store it.

    Args:
        picture: The upright picture.
        quality: JPEG quality.
        orientation: EXIF tag 0 to 8, or None for a file without EXIF.
    """
    if orientation in _STORED_AS:
        picture = picture.transpose(_STORED_AS[orientation])
    buffer = io.BytesIO()
    if orientation is None:
        picture.save(buffer, "JPEG", quality=quality)
    else:
        picture.save(buffer, "JPEG", quality=quality, exif=exif_of(orientation))
    return buffer.getvalue()


def exif_of(orientation: int) -> Image.Exif:
    """EXIF data that says how the picture is stored and that nobody was photographed."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    exif[_SOFTWARE] = "nunbit synth (drawn, not a person)"
    return exif


def _expose(picture: Image.Image, photo: Photo, rng: np.random.Generator) -> Image.Image:
    """Light from one side, colour cast and noise, in one pass over the pixels."""
    columns, rows = photo.size
    lx, ly, strength = photo.light
    grid_x = (np.linspace(0, columns, 24) - photo.pose.x) / (1.2 * photo.pose.scale)
    grid_y = (np.linspace(0, rows, 18) - photo.pose.y) / (1.2 * photo.pose.scale)
    slope = np.clip(lx * grid_x[None, :] + ly * grid_y[:, None], -1.3, 1.3)
    gain = (1.0 + strength * slope)[:, :, None] * np.array(photo.cast)
    # 8 bits are enough for a smooth gain (128 = 1.0), and Pillow enlarges RGB in one call.
    small = Image.fromarray(np.clip(gain * 128, 0, 255).astype(np.uint8))
    plane = np.asarray(small.resize((columns, rows), Image.Resampling.BILINEAR))
    pixels = np.multiply(np.asarray(picture), plane, dtype=np.float32)
    pixels *= np.float32(1 / 128)
    if photo.noise > 0.3:
        _add_noise(pixels, photo.noise, rng)
    np.clip(pixels, 0, 255, out=pixels)
    return Image.fromarray(pixels.astype(np.uint8))


def _add_noise(pixels: NDArray[np.float32], sigma: float, rng: np.random.Generator) -> None:
    # Fresh normal numbers would cost as much as the drawing; a shifted tile looks the same.
    shift = rng.integers(_NOISE_SIDE, size=2)
    tile = np.roll(_noise_tile(), shift, axis=(0, 1)) * np.float32(sigma)
    for y in range(0, pixels.shape[0], _NOISE_SIDE):
        for x in range(0, pixels.shape[1], _NOISE_SIDE):
            block = pixels[y : y + _NOISE_SIDE, x : x + _NOISE_SIDE]
            block += tile[: block.shape[0], : block.shape[1]]


@cache
def _noise_tile() -> NDArray[np.float32]:
    rng = np.random.default_rng(20230914)
    return rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE, 3), dtype=np.float32)
