"""Find faces in frame after frame at a bounded cost.

The whole picture is searched at first, after a cut and about once a second, to notice new faces
(small ones within four seconds while a face is followed). In between known faces are followed by
their landmarks (``face_follow``); where that is unsure, or without the network for it, their
surroundings are searched, at the size that suits the detector best. Knows nothing of tracks or
models of expression.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from nunbit.core.schema import Box, box_iou
from nunbit.core.streams import Pixels, Singles
from nunbit.pictures.face_mesh import Landmarker, Mesh
from nunbit.pictures.faces import DetectorSettings, FaceDetection, detect_faces
from nunbit.recording.face_follow import Follower, Place, SeenFace, confirmed, iou_of

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


@dataclass(frozen=True, slots=True)
class KnownFace:
    """A face of the frame before.

    Attributes:
        box_xyxy: Pixels of the frame.
        misses: Searches in a row that missed it.
        score: The detector's confidence when it saw it last.
        place: By which it is followed; None where it is not.
    """

    box_xyxy: Box
    misses: int = 0
    score: float = 0.0
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class SearchState:
    """State of the search for the next frame, besides the picture of the last one.

    Attributes:
        known: Faces followed.
        unfollowed: Faces too many to be followed.
        searched_s: Time of the last search of a whole picture; -inf before the first.
        finely_s: Time of the last fine one.
        size: Shape of the last picture; empty before the first.
    """

    known: tuple[KnownFace, ...] = ()
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
        meshes: Landmarks of each face, None where it has none; None as a whole where nobody is
            followed by them, and nobody's were looked for.
    """

    faces: tuple[FaceDetection, ...]
    count: int
    cut: bool
    state: SearchState = SearchState()
    meshes: tuple[Mesh | None, ...] | None = None


class FaceSearch:
    """Searches frames in order of time; keeps boxes and a coarse grey picture only.

    Args:
        detector: Sizes and confidence of the search of a whole picture.
        again_s: Time between searches of the whole picture.
        most_faces: As many of the largest faces are followed between these.
        landmarker: By whose points they are followed; its :meth:`Landmarker.find` is then called
            here and nowhere else.
    """

    def __init__(
        self,
        detector: DetectorSettings,
        *,
        again_s: float = 1.0,
        most_faces: int = 6,
        landmarker: Landmarker | None = None,
    ) -> None:
        self._detector = detector
        self._again_s, self._most_faces = again_s, most_faces
        self._follower = Follower(landmarker)
        self.resume(SearchState(), None)

    def resume(self, state: SearchState, pixels: Pixels | None) -> None:
        """Continue as if the frames up to now had been searched here.

        Args:
            state: After the last of them.
            pixels: Its picture; None leaves a cut right after it unnoticed.
        """
        self._state = state
        self._coarse = None if pixels is None else _coarse_grey(pixels)

    def find(self, time_s: float, pixels: Pixels) -> Found:
        """Search the next frame.

        Args:
            time_s: Later than the frame before.
            pixels: (H, W, 3) uint8 RGB, upright.
        """
        cut, state = self._is_cut(pixels), self._state
        if cut or state.size != pixels.shape:
            state = SearchState(size=pixels.shape)
        followed = self._followed(pixels, state.known)
        if time_s - state.searched_s >= self._again_s - 0.01:
            fine = not state.known or time_s - state.finely_s >= _FINE_EVERY_S - 0.01
            faces, known = self._whole(pixels, state, followed, fine=fine)
            seen = [*_with_places(faces, followed)]
            finely_s = time_s if fine else state.finely_s
            unfollowed = max(0, len(seen) - self._most_faces)
            state = SearchState(known, unfollowed, time_s, finely_s, state.size)
        else:
            seen = self._near(pixels, state.known, followed)
        seen.sort(key=lambda s: (-s.face.size_px, s.face.box_xyxy))
        for n, each in enumerate(seen[: self._most_faces]):
            if each.mesh is None:
                seen[n] = self._follower.located(pixels, each)
        self._state = replace(state, known=self._remembered(seen, state.known))
        count = max(len(seen), min(len(seen), self._most_faces) + state.unfollowed)
        meshes = tuple(each.mesh for each in seen) if self._follower.follows else None
        return Found(tuple(each.face for each in seen), count, cut, self._state, meshes)

    def _followed(self, pixels: Pixels, known: Sequence[KnownFace]) -> list[SeenFace | None]:
        """Known faces as their landmarks show them; None for those that the detector must find."""
        found = [self._follower.follow(pixels, each.place, each.score) for each in known]
        near = [
            0.0 if seen is None else iou_of(seen.face.box_xyxy, each.box_xyxy)
            for seen, each in zip(found, known, strict=True)
        ]
        kept: list[SeenFace | None] = [None] * len(found)
        # Where one hides another both end on the one in front: the other one has lost its way.
        for at in sorted(range(len(found)), key=lambda k: -near[k]):
            seen = found[at]
            if seen is not None:
                others = [each.face for each in kept if each is not None]
                kept[at] = seen if overlapping(seen.face.box_xyxy, others) is None else None
        return kept

    def _whole(
        self,
        pixels: Pixels,
        state: SearchState,
        followed: Sequence[SeenFace | None],
        *,
        fine: bool,
    ) -> tuple[list[FaceDetection], tuple[KnownFace, ...]]:
        """The faces of the whole picture, and the known ones with their misses."""
        longer = max(pixels.shape[:2])
        # Enlarging helps in a single photo only: a face too small for it is read badly anyway.
        sizes = [s for s in self._detector.sizes_px if s <= longer] or [
            min(self._detector.sizes_px)
        ]
        if state.searched_s > -math.inf:  # not the first time
            # While nobody is known every size that is affordable; else new faces half as fine.
            most = min(_LARGEST_AGAIN_PX, longer / 2) if state.known else _LARGEST_AGAIN_PX
            most = most if fine else min(most, _COARSE_AGAIN_PX)
            sizes = [s for s in sizes if s <= most] or [min(sizes)]
        found = list(detect_faces(pixels, DetectorSettings(tuple(sizes), self._detector.min_score)))
        scale = max(sizes) / longer
        known, again = [], []
        for each, seen in zip(state.known, followed, strict=True):
            box, misses = each.box_xyxy if seen is None else seen.face.box_xyxy, each.misses
            if overlapping(box, found) is None:
                misses = 0 if _side(box) * scale < _SURELY_SEEN_PX else misses + 1
                if misses <= _MISSES_ALLOWED:
                    again.append(self._around(pixels, box))
            known.append(replace(each, box_xyxy=box, misses=misses))
        every = _distinct(SeenFace(face) for face in (*found, *again) if face is not None)
        return [each.face for each in every], tuple(known)

    def _near(
        self, pixels: Pixels, known: Sequence[KnownFace], followed: Sequence[SeenFace | None]
    ) -> list[SeenFace]:
        """The known faces where they were; new ones too, where somebody is lost or nobody known."""
        seen = [each for each in followed if each is not None]
        lost = [each for each, there in zip(known, followed, strict=True) if there is None]
        around = [(self._around(pixels, each.box_xyxy), each.place) for each in lost]
        found = [SeenFace(face, place=place) for face, place in around if face is not None]
        if len(found) < len(lost) or not known:
            sizes = tuple(s for s in self._detector.sizes_px if s in _QUICK_SIZES_PX)
            quick = DetectorSettings(sizes or self._detector.sizes_px[:1], self._detector.min_score)
            found += map(SeenFace, detect_faces(pixels, quick))
        return _distinct([*seen, *found])

    def _remembered(
        self, seen: Sequence[SeenFace], before: Sequence[KnownFace]
    ) -> tuple[KnownFace, ...]:
        """The largest of the faces, from the largest on, for the next frame."""
        return tuple(
            KnownFace(
                each.face.box_xyxy,
                max((b.misses for b in before if overlapping(b.box_xyxy, [each.face])), default=0),
                each.face.score,
                each.place,
            )
            for each in seen[: self._most_faces]
        )

    def _around(self, pixels: Pixels, box: Box) -> FaceDetection | None:
        """Search for one face near its last place."""
        height, width = pixels.shape[:2]
        half = _SURROUNDINGS / 2 * _side(box)
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
        return overlapping(box, seen)

    def _is_cut(self, pixels: Pixels) -> bool:
        before, self._coarse = self._coarse, _coarse_grey(pixels)
        if before is None:
            return False
        return bool((np.abs(self._coarse - before) > _CELL_CHANGED).mean() >= _CUT_SHARE)


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _coarse_grey(pixels: Pixels) -> Singles:
    # Skipping rows and columns first: reading all of a large picture takes longer than finding the
    # face in it.
    step = max(1, min(pixels.shape[:2]) // 72)
    grey = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step])).convert("L")
    return np.asarray(grey.resize(_COARSE, Image.Resampling.BOX), np.float32)


def overlapping(box: Box, faces: Sequence[FaceDetection]) -> FaceDetection | None:
    """The face that overlaps a box most, None if none does."""
    if not faces:
        return None
    overlaps = box_iou(np.array([box]), np.array([f.box_xyxy for f in faces]))[0]
    best = int(overlaps.argmax())
    return faces[best] if overlaps[best] >= _SAME_FACE_IOU else None


def _distinct(faces: Iterable[SeenFace]) -> list[SeenFace]:
    """Each face once, as the first search that saw it has it."""
    kept: list[SeenFace] = []
    for seen in faces:
        if overlapping(seen.face.box_xyxy, [each.face for each in kept]) is None:
            kept.append(seen)
    return kept


def _with_places(
    faces: Sequence[FaceDetection], followed: Sequence[SeenFace | None]
) -> Iterator[SeenFace]:
    """The detector's faces, with the landmarks of those that were followed."""
    left = [each for each in followed if each is not None]
    for face in faces:
        own = overlapping(face.box_xyxy, [each.face for each in left])
        at = [each.face for each in left].index(own) if own is not None else -1
        yield SeenFace(face) if own is None else confirmed(left.pop(at), face)
