"""The growing rows of one track, packed so that hours of them take little memory.

With landmarks about 0.6 kB a sample: 43 MB for two hours of one face at 10 Hz.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    def extend(self, rows: NDArray[Any]) -> None:
        """Append many rows, (M, *shape)."""
        self._pack()
        self._packed.append(np.array(rows, self._kind))

    def take(self) -> NDArray[Any]:
        """All rows as one array; the column is empty afterwards."""
        self._pack()
        parts, self._packed = self._packed, []
        return np.concatenate(parts)

    def _pack(self) -> None:
        rows = np.array(self._loose, self._kind).reshape(len(self._loose), *self._shape)
        self._packed.append(rows)
        self._loose = []


@dataclass(frozen=True, eq=False, slots=True)
class FaceSample:
    """What the pixels of one face in one frame gave; the fields are those of ``FaceTrack``.

    Attributes:
        time_s: Of the frame.
        box_xyxy: Pixels of the upright picture.
        landmarks: (L, 3) of ``KEPT_POINTS``, or None where they were not found.
    """

    time_s: float
    box_xyxy: Box
    det_score: float
    sharpness: float
    reason: str
    rotation: Floats
    landmarks: Floats | None
    mouth_open: float
    eye_aspect: float


class TrackRows:
    """One track while it is read.

    Args:
        with_landmarks: Whether there is a landmark model.
    """

    def __init__(self, *, with_landmarks: bool) -> None:
        self._columns = {
            "times_s": Column((), np.float64),
            "boxes_xyxy": Column((4,), np.float32),
            "det_score": Column((), np.float32),
            "sharpness": Column((), np.float32),
            "reasons": Column((), np.int8),
            "rotation": Column((3, 3), np.float32),
            "mouth_open": Column((), np.float32),
            "eye_aspect": Column((), np.float32),
        }
        if with_landmarks:
            self._columns["landmarks"] = Column((len(KEPT_POINTS), 3), np.float32)

    def add(self, sample: FaceSample) -> None:
        """Append a sample."""
        columns = self._columns
        columns["times_s"].add(sample.time_s)
        columns["boxes_xyxy"].add(sample.box_xyxy)
        columns["det_score"].add(sample.det_score)
        columns["sharpness"].add(sample.sharpness)
        columns["reasons"].add(REASONS.index(sample.reason))
        columns["rotation"].add(sample.rotation)
        columns["mouth_open"].add(sample.mouth_open)
        columns["eye_aspect"].add(sample.eye_aspect)
        if "landmarks" in columns:
            nothing = np.full((len(KEPT_POINTS), 3), np.nan)
            columns["landmarks"].add(nothing if sample.landmarks is None else sample.landmarks)

    def add_answer(self, chances: Singles, vector: Singles | None) -> None:
        """Append the model's answer to the oldest sample that has none yet."""
        given = {"probabilities": chances} | ({} if vector is None else {"embeddings": vector})
        for name, row in given.items():
            if name not in self._columns:
                self._columns[name] = Column(row.shape, np.float32)
            self._columns[name].add(row)

    def extend(self, rows: dict[str, NDArray[Any]]) -> None:
        """Append many samples with their answers, named as :meth:`take` names them."""
        for name, column in rows.items():
            if name not in self._columns:
                self._columns[name] = Column(column.shape[1:], np.float32)
            self._columns[name].extend(column)

    def take(self) -> dict[str, NDArray[Any]]:
        """All rows by the names of ``FaceTrack``; ``reasons`` as indices; empty afterwards."""
        return {name: column.take() for name, column in self._columns.items()}

    def track(self, track_id: int) -> FaceTrack:
        """The finished track; the rows are gone afterwards."""
        rows = self.take()
        rotation = rows["rotation"].astype(np.float64)
        return FaceTrack(
            track_id=track_id,
            times_s=rows["times_s"],
            boxes_xyxy=rows["boxes_xyxy"],
            det_score=rows["det_score"],
            sharpness=rows["sharpness"],
            reasons=np.array(REASONS)[rows["reasons"]],
            rotation=rotation,
            pose_deg=pose_angles(rotation),
            landmarks=rows.get("landmarks"),
            mouth_open=rows["mouth_open"],
            eye_aspect=rows["eye_aspect"],
            embeddings=rows.get("embeddings"),
            probabilities=rows.get("probabilities"),
        )
