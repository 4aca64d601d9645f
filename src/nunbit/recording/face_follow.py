"""Follow a face from frame to frame by its landmarks.

The network that finds the points also says whether there is a face, so in the next frame it is
given the place where the points were, and the detector is not needed. What the detector said is
kept: its confidence, and how its box lies about the points, because the model of expression was
fitted to crops from its boxes. A face whose points are unsure or jump goes back to the detector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from nunbit.core.schema import Box, box_iou
from nunbit.core.streams import Pixels
from nunbit.pictures.face_mesh import Landmarker, LandmarkNetwork, Mesh
from nunbit.pictures.faces import FaceDetection

_SURE = 0.9  # faces that were found again have 0.99 and more
_JUMPED_IOU = 0.4  # of the places in two frames: at 10 Hz four face widths a second
# Within these the points move by 1.4% of the eye distance, the head by 0.8 degrees (medians of 54
# faces; 0.6% and 0.3 degrees come of 1% alone). Beyond them the network is asked once more, around
# the new place.
_OFF_CENTRE, _OFF_SIZE = 0.1, 1.1
# Where the face has gone the network sees one in a plain wall, as surely as in a face (.90 to
# .996 in the drawn clips). A wall has 2 grey levels there, a face 50; a face in the dark, which has
# few as well, is looked for by the detector, as it would be otherwise.
_FLAT_LEVELS = 6.0
_NEWEST = 0.5  # weight of the newest of the detector's boxes: each trembles by 1 to 3%


@dataclass(frozen=True, slots=True)
class Place:
    """Where a face's landmarks were, and how the detector's box lies about them.

    Attributes:
        box_xyxy: ``Mesh.box_xyxy``, pixels of the frame.
        roll_deg: ``Mesh.roll_deg``.
        shift: How far the detector's box lies to the right and down, in widths and heights.
        stretch: Its width and height over those of the place.
    """

    box_xyxy: Box
    roll_deg: float
    shift: tuple[float, float]
    stretch: tuple[float, float]

    @property
    def face_xyxy(self) -> Box:
        """The box that the detector would give."""
        x, y, width, height = _middle_and_sides(self.box_xyxy)
        x, y = x + self.shift[0] * width, y + self.shift[1] * height
        across, down = self.stretch[0] * width / 2, self.stretch[1] * height / 2
        return x - across, y - down, x + across, y + down


@dataclass(frozen=True, eq=False, slots=True)
class SeenFace:
    """One face in one frame.

    Attributes:
        face: Box and confidence; the detector's, or what they would be.
        mesh: Its landmarks; None where there are none, or none were looked for yet.
        place: Of these; without them where it was in the frame before, if that is known.
    """

    face: FaceDetection
    mesh: Mesh | None = None
    place: Place | None = None


def follows_with(network: LandmarkNetwork | None) -> bool:
    """Whether faces are followed by this network's landmarks.

    The older one works beside the detector, as it always did: it needs another for the eyelids and
    takes a third of the time.
    """
    return network == "face-landmarker"


class Follower:
    """Finds the landmarks of faces, and the faces by them.

    Args:
        landmarker: With one that :func:`follows_with` refuses, or None, nobody is followed and no
            landmarks are found.
    """

    def __init__(self, landmarker: Landmarker | None) -> None:
        network = None if landmarker is None else landmarker.network
        self._landmarker = landmarker if follows_with(network) else None

    @property
    def follows(self) -> bool:
        """Whether landmarks are found here."""
        return self._landmarker is not None

    def follow(self, pixels: Pixels, place: Place | None, score: float) -> SeenFace | None:
        """The face near its last place; None where that is not sure.

        Args:
            pixels: (H, W, 3) uint8 RGB, the frame after the one of ``place``.
            place: Of the face.
            score: The detector's confidence when it saw it last.
        """
        if self._landmarker is None or place is None:
            return None
        box, roll_deg = place.box_xyxy, place.roll_deg
        for _ in range(2):
            mesh = self._landmarker.find(pixels, box, min_score=_SURE, roll_deg=roll_deg)
            if mesh is None:
                return None
            before, box, roll_deg = box, mesh.box_xyxy, mesh.roll_deg
            if not _is_off(before, box):
                break
        if iou_of(place.box_xyxy, box) < _JUMPED_IOU or _is_flat(pixels, box):
            return None
        place = replace(place, box_xyxy=box, roll_deg=roll_deg)
        return SeenFace(FaceDetection(place.face_xyxy, score), mesh, place)

    def located(self, pixels: Pixels, seen: SeenFace) -> SeenFace:
        """A face that the detector has found, with its landmarks if it has any."""
        face, find = seen.face, None if self._landmarker is None else self._landmarker.find
        mesh = None if find is None else find(pixels, face.box_xyxy)
        return SeenFace(face) if mesh is None else _settled(face, mesh, seen.place)


def confirmed(seen: SeenFace, face: FaceDetection) -> SeenFace:
    """A face that was followed, now that the detector has seen it, too."""
    return seen if seen.mesh is None else _settled(face, seen.mesh, seen.place)


def _settled(face: FaceDetection, mesh: Mesh, before: Place | None) -> SeenFace:
    """The face with the place of its landmarks; its box trembles less than the detector's."""
    place = _place(mesh, face.box_xyxy)
    if before is None:
        return SeenFace(face, mesh, place)
    shift, stretch = _nearer(before.shift, place.shift), _nearer(before.stretch, place.stretch)
    place = replace(place, shift=shift, stretch=stretch)
    return SeenFace(FaceDetection(place.face_xyxy, face.score), mesh, place)


def _place(mesh: Mesh, face_xyxy: Box) -> Place:
    x, y, width, height = _middle_and_sides(mesh.box_xyxy)
    face_x, face_y, across, down = _middle_and_sides(face_xyxy)
    shift = (face_x - x) / width, (face_y - y) / height
    return Place(mesh.box_xyxy, mesh.roll_deg, shift, (across / width, down / height))


def _middle_and_sides(box: Box) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def _nearer(old: tuple[float, float], new: tuple[float, float]) -> tuple[float, float]:
    across, down = (a + _NEWEST * (b - a) for a, b in zip(old, new, strict=True))
    return across, down


def _is_off(square: Box, box: Box) -> bool:
    """Whether a face lies so far from where it was looked for that its points are less exact."""
    x0, y0, *sides = _middle_and_sides(square)
    x1, y1, *now = _middle_and_sides(box)
    side, size = max(sides), max(now)
    grown = max(size / side, side / size)
    return math.hypot(x1 - x0, y1 - y0) > _OFF_CENTRE * side or grown > _OFF_SIZE


def iou_of(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    return float(box_iou(np.array([first]), np.array([second]))[0, 0])


def _is_flat(pixels: Pixels, box: Box) -> bool:
    """Whether a place has no contrast that a face would have: standard deviation of its grey."""
    height, width = pixels.shape[:2]
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    x1, y1 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    step = max(1, (y1 - y0) // 32)  # 32 rows tell
    part = pixels[y0:y1:step, x0:x1:step]
    return part.size == 0 or float(part.mean(axis=2).std()) < _FLAT_LEVELS
