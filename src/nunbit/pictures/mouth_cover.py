"""Whether something of another colour than the face covers the mouth: a mask, a scarf, a cup.

The networks draw a mouth where they expect one, and classes are given from what cannot be seen. The
colour around the mouth is therefore held against that of the brow and below the eyes. A hand, which
has the face's own colour, and covers in grey pictures stay unseen. Knows nothing of networks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nunbit.core.streams import Floats

# Points of the mesh whose skin is bare under a mask, and those that it covers: brow and below the
# eyes; lips, chin and the lower cheeks.
_BARE = (9, 151, 107, 336, 108, 337, 117, 346, 118, 347)
_COVERED = (
    *(164, 0, 17, 18, 200, 199, 175, 61, 291, 57, 287),
    *(212, 432, 214, 434, 192, 416, 135, 364),
)
_EYES = ((33, 133), (362, 263))
_PATCH = 0.05  # half side of a patch in eye distances
_FEWEST = 5  # patches inside the picture on either side

# Shares of red, green and blue: their distance is above 0.1 in none of 272 frames of 64 clips of 24
# bare faces and in 71% of masks of four colours, drawn on coloured pictures. Of 1,049 pictures of
# faces_web, 245 of them coloured, 10 pass a limit: one face is covered, three are in profile (left
# out as turned), three have the shadow of a visor on the brow. No real mask could be tried.
_OTHER_COLOUR = 0.1
# Logarithm of the brightness below over that above: bare faces are between -0.77 and 0.26 (98%).
_DARKER, _BRIGHTER = -1.4, 0.8


def mouth_is_covered(pixels: NDArray[np.uint8], points: NDArray[np.floating]) -> bool:
    """Whether the mouth is behind something of another colour or brightness than the face.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        points: (468 or more, 2 or 3) of the mesh, pixels.
    """
    bare, covered = (_patches(pixels, points, chosen) for chosen in (_BARE, _COVERED))
    if min(len(bare), len(covered)) < _FEWEST:
        return False
    (above, skin), (below, cover) = (_colour(patches) for patches in (bare, covered))
    brighter = float(np.log(max(below, 1.0) / max(above, 1.0)))
    apart = float(np.linalg.norm(skin - cover))
    return apart > _OTHER_COLOUR or not _DARKER <= brighter <= _BRIGHTER


def _colour(patches: Floats) -> tuple[float, Floats]:
    """Median brightness, and median shares of red, green and blue."""
    sums = patches.sum(axis=1, keepdims=True)
    shares = patches / np.maximum(sums, 1.0)
    return float(np.median(sums)) / 3.0, np.asarray(np.median(shares, axis=0))


def _patches(
    pixels: NDArray[np.uint8], points: NDArray[np.floating], chosen: tuple[int, ...]
) -> Floats:
    """(n, 3) mean colours around the chosen points that lie in the picture."""
    left, right = (points[list(eye), :2].mean(axis=0) for eye in _EYES)
    half = max(1.0, _PATCH * float(np.hypot(*(left - right))))
    height, width = pixels.shape[:2]
    x, y = np.asarray(points[list(chosen), :2], np.float64).T
    inside = (half <= x) & (x < width - half) & (half <= y) & (y < height - half)
    # One look-up for all patches: a loop over them takes six times as long.
    side = np.arange(int(2 * half) + 1)
    rows, columns = ((at[inside] - half).astype(np.int64)[:, None] + side for at in (y, x))
    return np.asarray(pixels[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2)), np.float64)
