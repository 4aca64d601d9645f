"""The growing rows of one track, packed so that hours of them take little memory.

With landmarks about 0.6 kB a sample: 43 MB for two hours of one face at 10 Hz.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.headpose import KEPT_POINTS, pose_angles
from nunbit.schema import Box
from nunbit.streams import REASONS, FaceTrack, Floats, Singles

_PACK_AT = 256  # loose rows take 100 bytes more each


class Column:
    """Rows of one shape and type; packed every 256 rows."""

    def __init__(self, shape: tuple[int, ...], kind: type[np.generic]) -> None:
        self._shape, self._kind = shape, kind
        self._packed: list[NDArray[Any]] = []
        self._loose: list[Any] = []

    def add(self, row: Any) -> None:
        """Append one row."""
        self._loose.append(row)
        if len(self._loose) == _PACK_AT:
            self._pack()

    def take(self) -> NDArray[Any]:
        """All rows as one array; the column is empty afterwards."""
        self._pack()
        parts, self._packed = self._packed, []
        return np.concatenate(parts)

    def _pack(self) -> None:
        rows = np.array(self._loose, self._kind).reshape(len(self._loose), *self._shape)
        self._packed.append(rows)
        self._loose = []


class TrackRows:
    """One track while it is read.

    Args:
        with_landmarks: Whether there is a landmark model.
    """

    def __init__(self, *, with_landmarks: bool) -> None:
        self._times, self._reasons = Column((), np.float64), Column((), np.int8)
        self._boxes = Column((4,), np.float32)
        self._scores, self._sharpness = Column((), np.float32), Column((), np.float32)
        self._rotations = Column((3, 3), np.float32)
        self._mouths, self._eyes = Column((), np.float32), Column((), np.float32)
        self._landmarks = Column((len(KEPT_POINTS), 3), np.float32) if with_landmarks else None
        self._chances: Column | None = None
        self._vectors: Column | None = None

    def add(
        self,
        *,
        time_s: float,
        box: Box,
        det_score: float,
        sharpness: float,
        reason: str,
        rotation: Floats,
        landmarks: Floats | None,
        mouth_open: float,
        eye_aspect: float,
    ) -> None:
        """Append a sample; the fields are those of ``FaceTrack``."""
        self._times.add(time_s)
        self._boxes.add(box)
        self._scores.add(det_score)
        self._sharpness.add(sharpness)
        self._reasons.add(REASONS.index(reason))
        self._rotations.add(rotation)
        self._mouths.add(mouth_open)
        self._eyes.add(eye_aspect)
        if self._landmarks is not None:
            nothing = np.full((len(KEPT_POINTS), 3), np.nan)
            self._landmarks.add(nothing if landmarks is None else landmarks)

    def add_answer(self, chances: Singles, vector: Singles | None) -> None:
        """Append the model's answer to the oldest sample that has none yet."""
        if self._chances is None:
            self._chances = Column(chances.shape, np.float32)
            self._vectors = None if vector is None else Column(vector.shape, np.float32)
        self._chances.add(chances)
        if self._vectors is not None:
            self._vectors.add(vector)

    def track(self, track_id: int) -> FaceTrack:
        """The finished track; the rows are gone afterwards."""
        rotation = self._rotations.take().astype(np.float64)
        return FaceTrack(
            track_id=track_id,
            times_s=self._times.take(),
            boxes_xyxy=self._boxes.take(),
            det_score=self._scores.take(),
            sharpness=self._sharpness.take(),
            reasons=np.array(REASONS)[self._reasons.take()],
            rotation=rotation,
            pose_deg=pose_angles(rotation),
            landmarks=None if self._landmarks is None else self._landmarks.take(),
            mouth_open=self._mouths.take(),
            eye_aspect=self._eyes.take(),
            embeddings=None if self._vectors is None else self._vectors.take(),
            probabilities=None if self._chances is None else self._chances.take(),
        )
