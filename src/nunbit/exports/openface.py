"""CSV with OpenFace's column names, for tools that expect them; only what was measured.

No action units, gaze, landmarks or distances: nunbit does not measure them the way OpenFace does,
and a column of guesses would be taken for a measurement. A frame without a face has ``success`` 0
and empty angles, where OpenFace writes zeros.

Angles are radians with OpenFace's axes (x right, y down, z away from the camera) and its order
R = Rx Ry Rz (``RotationHelpers.h``): pose_Rx + looks down, pose_Ry + turns to the image's left,
pose_Rz + tilts clockwise in the image.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.errors import InputError
from nunbit.files import atomic_path
from nunbit.streams import FaceStream, Floats, Timeline

_COLUMNS = ("frame", "face_id", "timestamp", "confidence", "success")
_POSE = ("pose_Rx", "pose_Ry", "pose_Rz")


def write_openface(path: Path, timeline: Timeline) -> None:
    """Write one row for each face in each sampled frame, by time.

    ``frame`` counts the sampled frames from 1 (not the video's own frames), ``face_id`` is the
    track, ``confidence`` the detector's. The pose columns exist only if landmarks were measured.

    Args:
        path: ``….csv``.
        timeline: What was found.

    Raises:
        InputError: There is no video, or the file cannot be written.
    """
    faces = timeline.faces
    if faces is None:
        raise InputError(
            en=f"{timeline.media.name}: no video, so there is nothing to write for OpenFace",
            ko=f"{timeline.media.name}: 영상이 없어 OpenFace 형식으로 쓸 내용이 없습니다",
        )
    columns = (*_COLUMNS, *_POSE) if faces.has_landmarks else _COLUMNS
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(row[: len(columns)] for row in _rows(faces))


def openface_angles(rotation: NDArray[np.floating]) -> Floats:
    """Rx, Ry, Rz of rotations with R = Rx Ry Rz.

    Args:
        rotation: (..., 3, 3) camera from head, axes x right, y down, z away from the camera.

    Returns:
        (..., 3) radians; NaN where the rotation is.
    """
    r = np.asarray(rotation, np.float64)
    about_x = np.arctan2(-r[..., 1, 2], r[..., 2, 2])
    about_y = np.arcsin(np.clip(r[..., 0, 2], -1.0, 1.0))
    about_z = np.arctan2(-r[..., 0, 1], r[..., 0, 0])
    return np.stack([about_x, about_y, about_z], axis=-1)


def _rows(faces: FaceStream) -> Iterator[tuple[object, ...]]:
    seen: dict[int, list[tuple[object, ...]]] = {}
    for track in faces.tracks:
        # A track's times are among the sampled times; nearest guards against rounding.
        frames = np.searchsorted(faces.sample_times_s, track.times_s - 1e-6)
        angles = openface_angles(track.rotation)
        for row, frame in enumerate(frames):
            pose = ["" if np.isnan(a) else f"{a:.4f}" for a in angles[row]]
            score = f"{min(1.0, max(0.0, float(track.det_score[row]))):.3f}"
            readable = int(track.reasons[row] == "")
            time = f"{track.times_s[row]:.4f}"
            line = (int(frame) + 1, track.track_id, time, score, readable, *pose)
            seen.setdefault(int(frame), []).append(line)
    for frame, time_s in enumerate(faces.sample_times_s):
        nobody = (frame + 1, 0, f"{time_s:.4f}", "0.000", 0, "", "", "")
        yield from sorted(seen.get(frame, [nobody]), key=lambda line: str(line[1]).zfill(6))
