"""A photo of a drawn person: place, framing, light, camera and JPEG with an EXIF tag.

A ``DrawnPhoto`` says everything about a picture before a pixel is drawn, its face box included, so
label files can be written without waiting for the drawing. Knows nothing of labels or folders.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from nunbit.core.schema import Box
from nunbit.synth.actors import UPRIGHT, DrawnPerson, Expression, HeadTilt, Rgb
from nunbit.synth.drawing import Pose, mix, shade
from nunbit.synth.drawn_face import face_box, render_face

# --- places ---------------------------------------------------------------------------------------
# Each is drawn at half size and enlarged, which is quick and looks like a shallow lens.

Rng = np.random.Generator
_Drawer = Callable[[ImageDraw.ImageDraw, int, int, Rng], None]

_WALLS: tuple[Rgb, ...] = (
    (226, 218, 204), (204, 212, 216), (214, 200, 186), (188, 198, 186), (232, 230, 226),
    (176, 186, 202), (222, 206, 208), (150, 158, 164),
)  # fmt: skip
_THINGS: tuple[Rgb, ...] = (
    (150, 78, 62), (62, 104, 140), (90, 128, 84), (204, 164, 84), (96, 84, 116), (70, 74, 82),
    (210, 120, 96), (236, 232, 220), (120, 92, 66),
)  # fmt: skip


def draw_scene(name: str, size: tuple[int, int], rng: Rng) -> Image.Image:
    """Paint the background of a photo.

    Args:
        name: One of ``SCENES``.
        size: Width and height in pixels.
        rng: Source of the variation.
    """
    small = (max(size[0] // 2, 8), max(size[1] // 2, 8))
    picture = Image.new("RGB", small)
    SCENES[name](ImageDraw.Draw(picture), *small, rng)
    return picture.resize(size, Image.Resampling.BILINEAR)


def _pick(palette: tuple[Rgb, ...], rng: Rng) -> Rgb:
    return shade(palette[int(rng.integers(len(palette)))], float(rng.uniform(0.88, 1.06)))


def _box(d: ImageDraw.ImageDraw, x: float, y: float, w: float, h: float, color: Rgb) -> None:
    d.rectangle((x, y, x + max(w, 1), y + max(h, 1)), fill=color)


def _boxes(d: ImageDraw.ImageDraw, *boxes: tuple[float, float, float, float, Rgb]) -> None:
    """Left, top, width, height and color of each; later ones in front."""
    for box in boxes:
        _box(d, *box)


def _sky(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    top: Rgb = (112, 164, 216) if rng.random() < 0.7 else (168, 176, 186)
    bands = 14
    for k in range(bands):
        _box(d, 0, h * k / bands, w, h / bands + 1, mix(top, (234, 238, 240), k / bands))
    for _ in range(int(rng.integers(0, 4))):
        x, y, r = rng.uniform(0, w), rng.uniform(0, 0.35 * h), rng.uniform(0.05, 0.12) * w
        d.ellipse((x - 1.8 * r, y - 0.5 * r, x + 1.8 * r, y + 0.5 * r), fill=(244, 246, 248))


def _room(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    wall = _pick(_WALLS, rng)
    _boxes(
        d,
        (0, 0, w, h, wall),
        (0, 0.84 * h, w, 0.02 * h, shade(wall, 0.8)),
        (0, 0.86 * h, w, h, mix(wall, (120, 88, 60), 0.5)),
    )
    if rng.random() < 0.6:  # window with a curtain
        x = rng.uniform(-0.1, 0.7) * w
        _boxes(
            d,
            (x, 0.08 * h, 0.34 * w, 0.5 * h, (248, 248, 244)),
            (x + 0.015 * w, 0.1 * h, 0.31 * w, 0.46 * h, (206, 226, 238)),
            (x + 0.165 * w, 0.1 * h, 0.01 * w, 0.46 * h, (248, 248, 244)),
            (x - 0.05 * w, 0.04 * h, 0.09 * w, 0.66 * h, _pick(_THINGS, rng)),
        )
    else:  # pictures
        for _ in range(int(rng.integers(1, 4))):
            x, y = rng.uniform(0, 0.85) * w, rng.uniform(0.05, 0.4) * h
            inside = (x + 0.012 * w, y + 0.016 * h, 0.116 * w, 0.168 * h, _pick(_THINGS, rng))
            _boxes(d, (x, y, 0.14 * w, 0.2 * h, (66, 54, 46)), inside)
    if rng.random() < 0.7:  # sofa or bed
        _box(d, rng.uniform(-0.2, 0.4) * w, 0.66 * h, 0.6 * w, 0.3 * h, _pick(_THINGS, rng))
    if rng.random() < 0.5:  # lamp
        x = rng.uniform(0.02, 0.9) * w
        _box(d, x, 0.34 * h, 0.012 * w, 0.5 * h, (74, 70, 66))
        d.ellipse((x - 0.06 * w, 0.2 * h, x + 0.07 * w, 0.38 * h), fill=(250, 232, 184))


def _office(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    _box(d, 0, 0, w, h, _pick(_WALLS, rng))
    if rng.random() < 0.5:  # blinds
        for k in range(16):
            _box(d, 0, h * k / 18, w, h / 36, (238, 238, 230) if k % 2 else (196, 204, 206))
    else:
        _box(d, 0.08 * w, 0.08 * h, 0.8 * w, 0.45 * h, (246, 248, 248))
        for _ in range(6):
            x, y = rng.uniform(0.1, 0.7) * w, rng.uniform(0.12, 0.48) * h
            _box(d, x, y, rng.uniform(0.05, 0.2) * w, 0.008 * h, _pick(_THINGS, rng))
    _box(d, 0, 0.7 * h, w, 0.3 * h, (150, 126, 98))
    for _ in range(2):
        x = rng.uniform(-0.05, 0.8) * w
        screen = (x + 0.01 * w, 0.475 * h, 0.24 * w, 0.18 * h, (130, 166, 196))
        _boxes(d, (x, 0.46 * h, 0.26 * w, 0.22 * h, (44, 46, 52)), screen)


def _shop(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    _box(d, 0, 0, w, h, _pick(_WALLS, rng))
    for row in range(4):
        y = (0.04 + 0.24 * row) * h
        x = 0.0
        while x < w:
            wide, tall = rng.uniform(0.03, 0.08) * w, rng.uniform(0.1, 0.18) * h
            _box(d, x, y + 0.19 * h - tall, wide * 0.88, tall, _pick(_THINGS, rng))
            x += wide
        _box(d, 0, y + 0.19 * h, w, 0.03 * h, (112, 98, 84))


def _transport(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    if rng.random() < 0.4:  # lift: metal panels
        for k in range(6):
            _box(d, w * k / 6, 0, w / 6, h, shade((178, 182, 186), float(rng.uniform(0.8, 1.15))))
        _box(d, 0.88 * w, 0.35 * h, 0.05 * w, 0.3 * h, (60, 62, 66))
        return
    _box(d, 0, 0, w, h, (206, 208, 206))
    for k in range(3):
        x = (0.02 + 0.34 * k) * w
        _box(d, x, 0.1 * h, 0.29 * w, 0.46 * h, (70, 76, 84))
        view = mix((150, 178, 196), (96, 120, 96), float(rng.random()))
        _box(d, x + 0.01 * w, 0.12 * h, 0.27 * w, 0.42 * h, view)
    _box(d, 0, 0.68 * h, w, 0.32 * h, _pick(_THINGS, rng))
    for tone in ((222, 224, 226), (226, 200, 90)):
        _box(d, rng.uniform(0.05, 0.95) * w, 0, 0.015 * w, h, tone)


def _public(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    wall = mix(_pick(_WALLS, rng), (240, 244, 244), 0.5)
    _boxes(d, (0, 0, w, h, wall), (0, 0.62 * h, w, 0.1 * h, _pick(_THINGS, rng)))
    for _ in range(2):
        x = rng.uniform(-0.05, 0.85) * w
        window = (x + 0.05 * w, 0.22 * h, 0.06 * w, 0.2 * h, (196, 220, 230))
        _boxes(d, (x, 0.14 * h, 0.2 * w, 0.86 * h, shade(wall, 0.82)), window)
    for k in range(3):
        _box(d, (0.1 + 0.3 * k) * w, 0.02 * h, 0.18 * w, 0.04 * h, (255, 255, 252))


def _sports(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    _sky(d, w, h, rng)
    stand = rng.uniform(0.3, 0.45) * h
    for row in range(6):
        for k in range(24):
            _box(d, w * k / 24, stand + 0.035 * h * row, w / 30, 0.026 * h, _pick(_THINGS, rng))
    field: Rgb = (92, 142, 78) if rng.random() < 0.6 else (190, 112, 78)
    _box(d, 0, stand + 0.21 * h, w, h, field)
    for _ in range(3):
        y = rng.uniform(0.66, 0.98) * h
        end = (w, y + rng.uniform(-0.1, 0.1) * h)
        d.line((0, y, *end), fill=(240, 240, 236), width=max(w // 90, 1))


def _theatre(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    tone: Rgb = (112, 34, 40) if rng.random() < 0.5 else (46, 48, 72)
    for k in range(22):
        _box(d, w * k / 22, 0, w / 22 + 1, h, shade(tone, 0.8 + 0.4 * (k % 3) / 2))
    for _ in range(int(rng.integers(4, 12))):
        x, y, r = rng.uniform(0, w), rng.uniform(0, 0.6 * h), rng.uniform(0.012, 0.05) * w
        glow = mix((255, 226, 160), _pick(_THINGS, rng), float(rng.uniform(0, 0.7)))
        d.ellipse((x - r, y - r, x + r, y + r), fill=glow)


def _nature(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    _sky(d, w, h, rng)
    leaf: Rgb = (176, 118, 58) if rng.random() < 0.3 else (84, 124, 72)  # autumn or summer
    for k in range(3):
        y, tone = (0.38 + 0.08 * k) * h, mix((140, 164, 170), leaf, 0.3 + 0.3 * k)
        ridge = [(x * w / 8, y - rng.uniform(0, 0.14) * h) for x in range(9)]
        d.polygon([(0, h), *ridge, (w, h)], fill=tone)
    _box(d, 0, 0.74 * h, w, h, mix(leaf, (150, 160, 90), 0.35))
    for _ in range(int(rng.integers(2, 7))):
        x, y, r = rng.uniform(0, w), rng.uniform(0.2, 0.5) * h, rng.uniform(0.06, 0.16) * w
        _box(d, x - 0.01 * w, y, 0.025 * w, 0.8 * h - y, (92, 70, 54))
        for _ in range(4):
            dx, dy = rng.uniform(-0.6, 0.6, 2) * r
            tone = shade(leaf, float(rng.uniform(0.75, 1.25)))
            d.ellipse((x + dx - r, y + dy - r, x + dx + r, y + dy + r), fill=tone)


def _city(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    _sky(d, w, h, rng)
    x = -0.05 * w
    while x < w:
        wide, top = rng.uniform(0.1, 0.24) * w, rng.uniform(0.05, 0.45) * h
        tone = mix(_pick(_WALLS, rng), (96, 104, 118), float(rng.uniform(0.1, 0.8)))
        _box(d, x, top, wide, h, tone)
        for row in range(8):
            for k in range(4):
                if rng.random() < 0.8:
                    _box(d, x + wide * (0.1 + 0.22 * k), top + h * (0.03 + 0.07 * row),
                         0.13 * wide, 0.04 * h, shade(tone, 0.7))  # fmt: skip
        x += wide
    _box(d, 0, 0.82 * h, w, h, (120, 122, 124))


def _heritage(d: ImageDraw.ImageDraw, w: int, h: int, rng: Rng) -> None:
    _sky(d, w, h, rng)
    y, tile = rng.uniform(0.16, 0.3) * h, (70, 76, 80)
    d.polygon([(-0.1 * w, y + 0.1 * h), (0.12 * w, y), (0.88 * w, y), (1.1 * w, y + 0.1 * h),
               (1.1 * w, y + 0.18 * h), (-0.1 * w, y + 0.18 * h)], fill=tile)  # fmt: skip
    for k in range(26):
        _box(d, w * k / 26, y + 0.01 * h, w / 90, 0.16 * h, shade(tile, 1.25))
    _boxes(
        d,
        (0, y + 0.18 * h, w, 0.05 * h, (66, 122, 104)),
        (0, y + 0.23 * h, w, 0.45 * h, (226, 214, 194)),
    )
    for k in range(5):
        _box(d, (0.02 + 0.24 * k) * w, y + 0.2 * h, 0.035 * w, 0.5 * h, (134, 62, 50))
    for row in range(4):
        for k in range(9):
            tone = shade((158, 152, 142), float(rng.uniform(0.85, 1.12)))
            _box(
                d, w * (k - 0.5 * (row % 2)) / 8, (0.74 + 0.07 * row) * h, w / 8.6, 0.062 * h, tone
            )


SCENES: dict[str, _Drawer] = {
    "public": _public,
    "transport": _transport,
    "shop": _shop,
    "sports": _sports,
    "theatre": _theatre,
    "office": _office,
    "nature": _nature,
    "city": _city,
    "heritage": _heritage,
    "room": _room,
}


# --- photos ---------------------------------------------------------------------------------------

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
class DrawnPhoto:
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

    person: DrawnPerson
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
    person: DrawnPerson,
    expression: Expression,
    scene: str,
    width: int,
    rng: np.random.Generator,
    *,
    tilt: HeadTilt = UPRIGHT,
) -> DrawnPhoto:
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
    scale = rows * min(rng.uniform(0.40, 0.60), 0.62 * aspect) / (person.chin + 0.72)
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
    return DrawnPhoto(
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


def draw_photo(photo: DrawnPhoto) -> Image.Image:
    """Draw the upright picture."""
    rng = np.random.default_rng(photo.scene_seed)
    picture = draw_scene(photo.scene, photo.size, rng)
    pose, (columns, rows) = photo.pose, photo.size
    reach, top = 2.5 * pose.scale, max(0, int(pose.y - 2.1 * pose.scale))
    left, right = max(0, int(pose.x - reach)), min(columns, int(pose.x + reach))
    moved = replace(pose, x=pose.x - left, y=pose.y - top)
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
    tags = {} if orientation is None else {"exif": exif_of(orientation)}
    picture.save(buffer, "JPEG", quality=quality, **tags)
    return buffer.getvalue()


def exif_of(orientation: int) -> Image.Exif:
    """EXIF data that says how the picture is stored and that nobody was photographed."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    exif[_SOFTWARE] = "nunbit synth (drawn, not a person)"
    return exif


def _expose(picture: Image.Image, photo: DrawnPhoto, rng: np.random.Generator) -> Image.Image:
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
    pixels = np.multiply(np.asarray(picture), plane, dtype=np.float32) * np.float32(1 / 128)
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
    size = (_NOISE_SIDE, _NOISE_SIDE, 3)
    return np.random.default_rng(20230914).standard_normal(size, dtype=np.float32)
