"""Pictures as a Python user gives them: paths, PIL images, arrays, or lists of these.

A wrong type is a ``TypeError`` and a wrong value an ``InputError``; both name the argument and say
what to give instead. Pixels are converted when a picture's turn comes, not before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nunbit.core.messages import InputError, Text
from nunbit.pictures.decode import CropError
from nunbit.pictures.faces import detect_faces
from nunbit.pictures.photos import Photo, PhotoError, photo_of_image
from nunbit.runtime.results import as_path

Picture = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
Pictures = Picture | Iterable[Picture]

_CROP_SIDES_PX = (16, 1024)  # what `prepare` makes
_CROP_LONGEST = 1.6  # sides of a crop; photos are 4:3 (1.33) to 16:9, faces in them small
_LOOKED_FOR_ABOVE_PX = 160  # below, what is in a picture is a face or nothing
_FACE_FILLS = 0.4  # a crop's face is at least this share of its longer side
_LOOKED_AT = 30  # crops in which the detector looks for a face: a second or two
# A crop is often too tight for the detector; with a rim around it the face is found.
_RIM = 0.5
CROP_WITH_MARGIN, CROP_WITHOUT_MARGIN = 1 / 3, 0.55
"""A face's least share of its crop.

In 95 of 100 crops of FER2013 and web photos, cut without a margin, it has 0.68 or more; in photos
taken at arm's length, seen whole, half at most.
"""
FEWEST_FACES = 0.5
"""With faces in fewer of them, pictures are no face crops.

The detector finds one in 97 to 100 of 100 crops of FER2013 and web photos, and in none of noise.
"""


@dataclass(frozen=True, slots=True, eq=False)
class GivenPicture:
    """A picture that is in memory.

    Attributes:
        name: What it is called in results: its file's name, or its place in the argument.
        image: As it was given, checked.
    """

    name: str
    image: Image.Image

    def photo(self) -> Photo:
        """The picture upright, as 8-bit RGB.

        Raises:
            PhotoError: Its pixels cannot be read or have no fixed range.
        """
        try:
            return photo_of_image(self.image)
        except (CropError, PhotoError) as exc:
            raise PhotoError(exc.text.under(self.name), exc.reason) from exc


def given_pictures(images: Any, argument: str = "images") -> list[Path | GivenPicture]:
    """Check what the user gave; one picture counts as a list of one.

    Args:
        images: A path, a PIL image, a (H, W, 3) or grey (H, W) uint8 array, several of these in
            any iterable, or a (N, H, W, 3) array.
        argument: What the messages call it.

    Raises:
        TypeError: Something is of another type or an array has another dtype.
        InputError: Nothing is given, or an array has another shape.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
        return [_checked(images, argument)]
    if isinstance(images, np.ndarray):
        if images.ndim < 2 and images.dtype.kind in "UO":
            return given_pictures(images.tolist(), argument)
        if images.ndim != 4:
            return [_checked(images, argument)]
    elif getattr(images, "ndim", 1) > 1 and hasattr(images, "__array__"):
        raise _wrong_type(images, argument)  # a tensor or a data frame
    elif isinstance(images, bytes | bytearray | Mapping) or not isinstance(images, Iterable):
        raise _wrong_type(images, argument)
    found = [_checked(image, f"{argument}[{n}]") for n, image in enumerate(images)]
    if not found:
        raise InputError(
            Text(
                f"`{argument}` is empty: give at least one picture",
                f"`{argument}`이(가) 비어 있습니다. 사진을 하나 이상 주십시오",
            )
        )
    return found


def require_crop(pixels: NDArray[np.uint8], name: str) -> None:
    """Refuse a picture that is no face crop, where that can be told.

    A crop is roughly square, 16 to 1,024 px, and its face fills it. A picture in which no face is
    found passes: crops are often too tight for the detector.

    Raises:
        InputError: It looks like a whole photo, or is too small to show a face.
    """
    height, width = pixels.shape[:2]
    short, long = sorted((height, width))
    why = None
    if short < _CROP_SIDES_PX[0] or long > _CROP_SIDES_PX[1] or long > _CROP_LONGEST * short:
        why = Text(f"{width}x{height} pixels", f"{width}x{height} 픽셀")
    elif long > _LOOKED_FOR_ABOVE_PX:
        largest = max((face.size_px for face in detect_faces(pixels)), default=float(long))
        if largest < _FACE_FILLS * long:
            why = Text(
                f"the face in it has {largest:.0f} of {long} pixels",
                f"얼굴이 {long}픽셀 중 {largest:.0f}픽셀",
            )
    if why is not None:
        raise InputError(
            Text(
                f"{name}: no face crop ({why.en}); cut the face out, or leave `crops` out so that "
                "faces are searched for",
                f"{name}: 얼굴만 자른 그림이 아닙니다({why.ko}). 얼굴을 잘라 주거나 `crops`를 빼고 "
                "얼굴을 찾게 하십시오",
            )
        )


def _checked(image: Any, name: str) -> Path | GivenPicture:
    if isinstance(image, str | os.PathLike):
        return as_path(image, name)
    if isinstance(image, Image.Image):
        return GivenPicture(str(getattr(image, "filename", "") or name), image)
    if isinstance(image, np.ndarray):
        return GivenPicture(name, Image.fromarray(_rgb(image, name)))
    raise _wrong_type(image, name)


def _rgb(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """The array as (H, W, 3), or (H, W) where it is grey."""
    if array.dtype != np.uint8:
        raise TypeError(f"{name}: expected uint8 values 0 to 255, got {_dtype_remedy(array)}")
    shape = array.shape
    if not array.size:
        raise _wrong_shape(name, shape, Text("it is empty", "비어 있습니다"))
    if array.ndim == 2 or (array.ndim == 3 and shape[2] == 3):
        return array
    if array.ndim == 3 and shape[2] == 1:
        return array[:, :, 0]
    if array.ndim == 3 and shape[0] == 3:
        raise _wrong_shape(
            name, shape, Text("colours come last: x.transpose(1, 2, 0)",
            "색이 마지막 축이어야 합니다: x.transpose(1, 2, 0)")
        )  # fmt: skip
    if array.ndim == 3 and shape[2] == 4:
        raise _wrong_shape(
            name, shape, Text("give PIL.Image.fromarray(x) for RGBA, or x[:, :, :3]",
            "RGBA라면 PIL.Image.fromarray(x)나 x[:, :, :3]을 주십시오")
        )  # fmt: skip
    raise _wrong_shape(
        name, shape, Text("one picture an array", "배열 하나에 사진 하나를 담으십시오")
    )


def _dtype_remedy(array: NDArray[Any]) -> str:
    if array.dtype.kind == "f" and array.size:
        low, high = float(array.min()), float(array.max())
        if low >= 0 and high <= 1:
            return f"{array.dtype} from 0 to 1; give (x * 255).round().astype('uint8')"
        return f"{array.dtype} from {low:g} to {high:g}; undo the scaling, then .astype('uint8')"
    return f"{array.dtype}; give x.astype('uint8') if its values are 0 to 255"


def _wrong_shape(name: str, shape: tuple[int, ...], text: Text) -> InputError:
    return InputError(
        Text(
            f"{name}: expected an array of shape (H, W, 3), got {shape}; {text.en}",
            f"{name}: (H, W, 3) 모양의 배열이어야 하는데 {shape}입니다. {text.ko}",
        )
    )


def _wrong_type(value: Any, name: str) -> TypeError:
    remedy = "; give x.numpy() as uint8 (H, W, 3)" if hasattr(value, "numpy") else ""
    return TypeError(
        f"{name}: expected a path, a PIL image, a uint8 RGB array or a list of these, got "
        f"{type(value).__name__}{remedy}"
    )


def faces_found(
    crops: Sequence[NDArray[np.uint8]], fills: float = CROP_WITH_MARGIN
) -> tuple[int, int]:
    """In how many of some crops, evenly spaced among all, the detector finds a face that fills it.

    Args:
        crops: (H, W, 3) uint8 RGB each, at least one; no more than 30 of them are looked at.
        fills: Least size of the face, as a share of the crop's longer side.

    Returns:
        How many show a face, and how many were looked at.
    """
    at = np.linspace(0, len(crops) - 1, min(_LOOKED_AT, len(crops))).astype(int)
    return sum(_face_share(crops[int(i)]) >= fills for i in at), len(at)


def _face_share(crop: NDArray[np.uint8]) -> float:
    """Largest face that the detector finds in a crop, enlarged and with a rim; 0 without one."""
    side = max(160, max(crop.shape[:2]))
    pad = int(side * _RIM / 2)
    canvas = Image.new("RGB", (side + 2 * pad, side + 2 * pad), (128, 128, 128))
    canvas.paste(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC), (pad, pad))
    return max((face.size_px / side for face in detect_faces(np.asarray(canvas))), default=0.0)
