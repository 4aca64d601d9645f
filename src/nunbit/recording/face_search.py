"""Find faces in frame after frame at a bounded cost.

The whole picture is searched at first, after a cut and about once a second, to notice new faces
(small ones within four seconds while a face is followed). In between only the surroundings of known
faces are searched, at the size that suits the detector best. Knows nothing of tracks, landmarks or
models of expression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.schema import Box, box_iou
from nunbit.pictures.faces import DetectorSettings, FaceDetection, detect_faces

Pixels = NDArray[np.uint8]

_SURROUNDINGS = 2.25  # side of the searched square in face sizes
_SURROUNDINGS_PX = 160  # which makes the face 71 px: 5 ms; boxes are no steadier at larger sizes
_QUICK_SIZES_PX = (160, 320)  # for a face that was lost: 10 ms
_LARGEST_AGAIN_PX = 640  # the search once a second: up to 40 ms; the first one takes all sizes
_COARSE_AGAIN_PX = 320  # three times of four while somebody is known: 10 ms
_FINE_EVERY_S = 4.0
_SURELY_SEEN_PX = 24.0  # larger faces (at the largest size searched) cannot be overlooked twice
_SAME_FACE_IOU = 0.3
_MISSES_ALLOWED = 1

# A cut changes most of a coarse grey picture by more than people and exposure do in 0.1 s: at most
# 14% of its cells on real clips, 84 to 100% at cuts to another scene.
_COARSE = (32, 18)
_CELL_CHANGED = 20.0
_CUT_SHARE = 0.5


@dataclass(slots=True)
class _Known:
    """A face of the frame before."""

    box: Box
    misses: int = 0  # searches of the whole picture in a row that did not see it

    @property
    def size_px(self) -> float:
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class SearchState:
    """State of the search for the next frame, besides the picture of the last one.

    Attributes:
        known: Faces followed: box in pixels of the frame, searches in a row that missed it.
        unfollowed: Faces too many to be followed.
        searched_s: Time of the last search of a whole picture; -inf before the first.
        finely_s: Time of the last fine one.
        size: Shape of the last picture; empty before the first.
    """

    known: tuple[tuple[Box, int], ...] = ()
    unfollowed: int = 0
    searched_s: float = -math.inf
    finely_s: float = -math.inf
    size: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in one frame.

    Attributes:
        faces: Largest first, pixels of the frame.
        count: How many faces there are: those found, and those of the last search of the whole
            picture that are too many to be followed.
        cut: Whether the whole picture changed since the frame before.
        state: From which the search goes on.
    """

    faces: tuple[FaceDetection, ...]
    count: int
    cut: bool
    state: SearchState = SearchState()


class FaceSearch:
    """Searches frames in order of time; keeps boxes and a coarse grey picture only.

    Args:
        detector: Sizes and confidence of the search of a whole picture.
        again_s: Time between searches of the whole picture.
        most_faces: As many of the largest faces are followed between these.
    """

    def __init__(
        self, detector: DetectorSettings, *, again_s: float = 1.0, most_faces: int = 6
    ) -> None:
        self._detector = detector
        self._again_s, self._most_faces = again_s, most_faces
        self.resume(SearchState(), None)

    def resume(self, state: SearchState, pixels: Pixels | None) -> None:
        """Continue as if the frames up to now had been searched here.

        Args:
            state: After the last of them.
            pixels: Its picture; None leaves a cut right after it unnoticed.
        """
        self._known: list[_Known] = [_Known(box, misses) for box, misses in state.known]
        self._unfollowed, self._size = state.unfollowed, state.size
        self._searched_s, self._finely_s = state.searched_s, state.finely_s
        self._coarse = None if pixels is None else _coarse_grey(pixels)

    def find(self, time_s: float, pixels: Pixels) -> Found:
        """Search the next frame.

        Args:
            time_s: Later than the frame before.
            pixels: (H, W, 3) uint8 RGB, upright.
        """
        cut = self._is_cut(pixels)
        if cut or self._size != pixels.shape:
            self._known, self._size = [], pixels.shape
            self._searched_s = self._finely_s = -math.inf
        if time_s - self._searched_s >= self._again_s - 0.01:
            first = self._searched_s == -math.inf
            self._searched_s = time_s
            fine = not self._known or time_s - self._finely_s >= _FINE_EVERY_S - 0.01
            if fine:
                self._finely_s = time_s
            faces = self._whole(pixels, first=first, fine=fine)
            self._unfollowed = max(0, len(faces) - self._most_faces)
        else:
            faces = self._near(pixels)
        self._remember(faces)
        count = max(len(faces), min(len(faces), self._most_faces) + self._unfollowed)
        ordered = sorted(faces, key=lambda f: (-f.size_px, f.box_xyxy))
        return Found(tuple(ordered), count, cut, self._state())

    def _state(self) -> SearchState:
        return SearchState(
            known=tuple((face.box, face.misses) for face in self._known),
            unfollowed=self._unfollowed,
            searched_s=self._searched_s,
            finely_s=self._finely_s,
            size=tuple(self._size),
        )

    def _whole(self, pixels: Pixels, *, first: bool, fine: bool) -> list[FaceDetection]:
        longer = max(pixels.shape[:2])
        # Enlarging helps in a single photo only: a face too small for it is read badly anyway.
        sizes = [s for s in self._detector.sizes_px if s <= longer] or [
            min(self._detector.sizes_px)
        ]
        if not first:
            # While nobody is known every size that is affordable; else new faces half as fine.
            most = min(_LARGEST_AGAIN_PX, longer / 2) if self._known else _LARGEST_AGAIN_PX
            most = most if fine else min(most, _COARSE_AGAIN_PX)
            sizes = [s for s in sizes if s <= most] or [min(sizes)]
        seen = list(detect_faces(pixels, DetectorSettings(tuple(sizes), self._detector.min_score)))
        scale = max(sizes) / longer
        known = []
        for face in self._known:
            if _overlapping(face.box, seen) is None:
                small = face.size_px * scale < _SURELY_SEEN_PX
                face.misses = 0 if small else face.misses + 1
                if face.misses <= _MISSES_ALLOWED:
                    known.append(face)
        again = [d for d in (self._around(pixels, k.box) for k in known) if d is not None]
        return _distinct([*seen, *again])

    def _near(self, pixels: Pixels) -> list[FaceDetection]:
        around = [self._around(pixels, face.box) for face in self._known]
        faces = [face for face in around if face is not None]
        if len(faces) < len(around) or not around:
            sizes = tuple(s for s in self._detector.sizes_px if s in _QUICK_SIZES_PX)
            quick = DetectorSettings(sizes or self._detector.sizes_px[:1], self._detector.min_score)
            faces += detect_faces(pixels, quick)
        return _distinct(faces)

    def _remember(self, faces: list[FaceDetection]) -> None:
        before, self._known = self._known, []
        for face in sorted(faces, key=lambda f: -f.size_px)[: self._most_faces]:
            same = [k.misses for k in before if _overlapping(k.box, [face]) is not None]
            self._known.append(_Known(face.box_xyxy, max(same, default=0)))

    def _around(self, pixels: Pixels, box: Box) -> FaceDetection | None:
        """Search for one face near its last place."""
        height, width = pixels.shape[:2]
        half = _SURROUNDINGS / 2 * max(box[2] - box[0], box[3] - box[1])
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        left, top = max(0, math.floor(x - half)), max(0, math.floor(y - half))
        right, bottom = min(width, math.ceil(x + half)), min(height, math.ceil(y + half))
        if right - left < 8 or bottom - top < 8:
            return None
        # Every other row will do for a large face: the detector gets far fewer.
        step = max(1, (bottom - top) // (2 * _SURROUNDINGS_PX))
        part = np.ascontiguousarray(pixels[top:bottom:step, left:right:step])
        settings = DetectorSettings((_SURROUNDINGS_PX,), self._detector.min_score)
        seen = [
            FaceDetection(
                (x0 * step + left, y0 * step + top, x1 * step + left, y1 * step + top), face.score
            )
            for face in detect_faces(part, settings)
            for x0, y0, x1, y1 in [face.box_xyxy]
        ]
        best = _overlapping(box, seen)
        return None if best is None else seen[best]

    def _is_cut(self, pixels: Pixels) -> bool:
        before, self._coarse = self._coarse, _coarse_grey(pixels)
        if before is None:
            return False
        return bool((np.abs(self._coarse - before) > _CELL_CHANGED).mean() >= _CUT_SHARE)


def _coarse_grey(pixels: Pixels) -> NDArray[np.float32]:
    # Skipping rows and columns first: reading all of a large picture takes longer than finding the
    # face in it.
    step = max(1, min(pixels.shape[:2]) // 72)
    grey = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step])).convert("L")
    return np.asarray(grey.resize(_COARSE, Image.Resampling.BOX), np.float32)


def _overlapping(box: Box, faces: list[FaceDetection]) -> int | None:
    """Position of the face that overlaps a box most, None if none does."""
    if not faces:
        return None
    overlaps = box_iou(np.array([box]), np.array([f.box_xyxy for f in faces]))[0]
    best = int(overlaps.argmax())
    return best if overlaps[best] >= _SAME_FACE_IOU else None


def _distinct(faces: list[FaceDetection]) -> list[FaceDetection]:
    """Each face once, as the first search that saw it has it."""
    kept: list[FaceDetection] = []
    for face in faces:
        if _overlapping(face.box_xyxy, kept) is None:
            kept.append(face)
    return kept
