"""What follows from the points of a face mesh: head rotation, mouth and eye opening.

The points are those of MediaPipe's face mesh, 468 or, with the irises, 478; ``face_mesh`` finds
them. Axes are the picture's: x right, y down, z away from the camera. A head's own axes coincide
with them when it faces the camera straight on: its rotation (camera from head) is then the
identity. Leading dimensions are kept; NaN in gives NaN out. Knows nothing of networks and video.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import Floats

# Left point, its mirror image, and where the left one lies: origin between the outer corners of
# the eyes, their distance = 1. Only what hardly moves with an expression: forehead, temples,
# cheekbones, ridge of the nose, corners of the eyes, hind part of the jaw. It is the mean mesh of
# 13 people in 97 frames and of 1326 small photos, made symmetric (own measurement with the network
# ``face-mesh``; that of ``face-landmarker`` is the same but for half a degree of pitch), and stood
# upright by fitting 35 points of MediaPipe's canonical face model, which says what 'straight on'
# is.
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

_OUTER_LIPS = (0, 17)  # upper and lower outer edge, in the middle
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


def lip_height(points: NDArray[np.floating]) -> Floats:
    """Distance of the lips' outer edges over that of the eyes, in space, points (..., N, 3).

    Goes with the loudness of speech, whichever network gave the points: correlation with the level
    of eight sentences of a talker .31 (``face-landmarker``) and .29 (``face-mesh``), of eight other
    talkers .33 and .34; :func:`mouth_opening` has .28 and .31, .28 and .34.
    """
    return _lip_height(points, _OUTER_LIPS, EYES)


def kept_lip_height(kept: NDArray[np.floating]) -> Floats:
    """The same of ``KEPT_POINTS``, (..., L, 3)."""
    upper, lower = (KEPT_POINTS.index(point) for point in _OUTER_LIPS)
    return _lip_height(kept, (upper, lower), KEPT_EYES)


def _lip_height(
    points: NDArray[np.floating],
    lips: tuple[int, int],
    eyes: tuple[tuple[int, int], tuple[int, int]],
) -> Floats:
    p = np.asarray(points, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_length(p, *lips) / _eye_distance(p, eyes))


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


def _eye_distance(points: Floats, eyes: tuple[tuple[int, int], tuple[int, int]] = EYES) -> Floats:
    left, right = (points[..., list(eye), :].mean(axis=-2) for eye in eyes)
    return np.asarray(np.linalg.norm(left - right, axis=-1))


def _length(points: Floats, a: int, b: int) -> Floats:
    return np.asarray(np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1))
