"""Rotations of known angles, for tests of head pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import Floats


def rotation_from_angles(pose_deg: NDArray[np.floating]) -> Floats:
    """The inverse of ``headpose.pose_angles``: (..., 3) degrees to (..., 3, 3)."""
    yaw, pitch, roll = np.moveaxis(np.radians(np.asarray(pose_deg, np.float64)), -1, 0)
    return _about(1, -yaw) @ _about(0, pitch) @ _about(2, roll)


def _about(axis: int, angle: Floats) -> Floats:
    """(...) radians about x, y or z to (..., 3, 3)."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i], matrix[..., i, j] = np.sin(angle), -np.sin(angle)
    return matrix
