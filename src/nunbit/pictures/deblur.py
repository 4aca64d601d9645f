"""Take blur off a face before a network sees it: estimated from its spectrum, and only if strong.

Faces out of focus, moved or enlarged from few pixels have lost their fine detail. How much is read
from the picture's power at four frequencies against that of sharp faces (the training images of
FER2013, 48 px), as if it were a Gaussian blur; a Wiener filter then gives back what is left. A
sharp face is not touched. S = side.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nunbit.core.streams import Flags, Floats, Pixels

# Of a face of S px, in cycles a side: the band that is compared with, and those that are compared.
# Above eleven cycles little is left of a blurred face but rounding.
_LOW = (1.5, 3.8)
_BANDS = ((3.8, 5.8), (5.8, 8.2), (8.2, 11.0))
# Mean log power of each band over the lowest, of sharp faces.
SHARP = (-1.61, -2.78, -3.81)

SHARE_PX = 48.0
"""Blur is counted in pixels of a face of this side, whatever the side is."""

LEAST, MOST = 1.45, 2.4
"""Less than this is left alone (sharp faces are estimated at 0 to 1); more is not believed."""

_KEPT = 0.3  # of the estimate stays: too much sharpening costs more than too little
# Where blur left nothing, what is there is noise: of rounding, of the camera, of JPEG. It decides
# how much is given back: so much noise over power at a tenth of the sampling rate of 48 px where
# there is nothing but rounding, and more by this power of what is there over rounding.
_NOISE_BAND = (14.0, 18.0)
_ROUNDING, _LEAST_NOISE, _GROWTH = 4e-6, 2e-3, 1.0


def estimated_blur(grey: Pixels) -> float:
    """Standard deviation of the Gaussian blur that a face seems to have, in ``SHARE_PX`` pixels.

    Args:
        grey: (S, S) uint8, a face as a detector frames it.

    Returns:
        0 or more.
    """
    return _spread(np.abs(np.fft.rfft2(_mirrored(grey))) ** 2, grey.shape[0])


def deblurred(grey: Pixels) -> Pixels:
    """The same face with its blur taken off; the same array where it has little.

    Args:
        grey: (S, S) uint8.

    Returns:
        (S, S) uint8.
    """
    power = np.abs(spectrum := np.fft.rfft2(_mirrored(grey))) ** 2
    found = _spread(power, side := grey.shape[0])
    if found < LEAST:
        return grey
    masks, _ = _masks(side)
    floor = float(power[masks[-1]].mean()) / (float(power[masks[0]].mean()) + 1e-9)
    spread = (min(found, MOST) - _KEPT) * side / SHARE_PX
    across = _frequency(side)
    blur = np.exp(-2 * np.pi**2 * spread**2 * across**2)
    # The power of pictures falls with the square of frequency, that of noise does not.
    at_tenth = _LEAST_NOISE * max(1.0, floor / _ROUNDING) ** _GROWTH
    noise = at_tenth * (np.maximum(across, 0.5 / side) * (side / SHARE_PX) / 0.1) ** 2
    gain = blur / (blur**2 + noise) * (1.0 + noise)
    whole = np.fft.irfft2(spectrum * gain, s=(2 * side, 2 * side))
    return np.clip(np.rint(whole[:side, :side]), 0, 255).astype(np.uint8)


def _spread(power: Floats, side: int) -> float:
    masks, squares = _masks(side)
    low = float(power[masks[0]].mean()) + 1e-9
    logs = np.array([np.log((float(power[mask].mean()) + 1e-9) / low) for mask in masks[1:-1]])
    # log |H|^2 = -4 pi^2 sd^2 f^2: least squares through the origin.
    variance = float(squares @ (np.array(SHARP) - logs) / (squares @ squares))
    return float(np.sqrt(max(variance, 0.0)))


def _mirrored(grey: Pixels) -> Floats:
    """(2S, 2S): mirrored at its edges, so that they are no steps."""
    half = np.concatenate([grey, grey[::-1]], axis=0).astype(np.float64)
    return np.concatenate([half, half[:, ::-1]], axis=1)


@lru_cache(maxsize=8)
def _frequency(side: int) -> Floats:
    """(2S, S + 1) distance from the origin in cycles a pixel."""
    down, along = np.fft.fftfreq(2 * side)[:, None], np.fft.rfftfreq(2 * side)[None]
    return np.asarray(np.hypot(down, along))


@lru_cache(maxsize=8)
def _masks(side: int) -> tuple[list[Flags], Floats]:
    """Bands (the lowest, those compared, noise), and 4 pi^2 f^2 of the compared over the lowest."""
    cycles = _frequency(side) * side
    masks = [(cycles > low) & (cycles <= high) for low, high in (_LOW, *_BANDS, _NOISE_BAND)]
    squares = np.array([4 * np.pi**2 * np.mean((cycles[m] / SHARE_PX) ** 2) for m in masks[:-1]])
    return masks, squares[1:] - squares[0]
