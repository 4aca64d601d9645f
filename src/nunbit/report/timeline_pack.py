"""Arrays small enough to lie inside a page: scaled integers in base64, and min/median/max bins.

A packed array is ``{"k": "u1"|"u2"|"i4", "d": base64, "s": scale, "o": offset}``, little endian;
value = offset + scale x raw, and the largest raw of an unsigned kind means 'missing'. The script
of the page holds the other half of this.
"""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.streams import Flags, Floats

Packed = dict[str, Any]

_LARGEST = {"u1": 255, "u2": 65535}


def pack(values: Floats, low: float, high: float, kind: Literal["u1", "u2"] = "u2") -> Packed:
    """Pack numbers of a known range; NaN and infinities become 'missing'.

    Args:
        values: (N,) any range; clipped to ``low`` .. ``high``.
        low: Smallest value that can be told.
        high: Largest, above ``low``.
        kind: One byte (a step of range/254) or two (a step of range/65534).
    """
    largest = _LARGEST[kind]
    scale = (high - low) / (largest - 1)
    there = np.isfinite(values)
    raw = np.full(len(values), largest, dtype=np.int64)
    raw[there] = np.rint((np.clip(values[there], low, high) - low) / scale).astype(np.int64)
    return {"k": kind, "d": _base64(raw.astype("<" + kind)), "s": scale, "o": low}


def pack_fit(values: Floats, kind: Literal["u1", "u2"] = "u2") -> Packed:
    """Pack numbers over the range they have."""
    there = values[np.isfinite(values)]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 1.0)
    return pack(values, low, high if high > low else low + 1.0, kind)


def pack_times(times_s: Floats) -> Packed:
    """Pack times to the millisecond."""
    return {"k": "i4", "d": _base64(np.rint(times_s * 1000.0).astype("<i4")), "s": 0.001, "o": 0}


def pack_codes(codes: NDArray[Any]) -> Packed:
    """Pack small whole numbers, 0 to 254."""
    return {"k": "u1", "d": _base64(codes.astype("<u1")), "s": 1, "o": 0}


def unpack(packed: Packed) -> Floats:
    """What the page's script makes of a packed array; NaN where missing."""
    raw = np.frombuffer(base64.b64decode(packed["d"]), dtype="<" + packed["k"])
    values: Floats = packed["o"] + packed["s"] * raw.astype(np.float64)
    if packed["k"] in _LARGEST:
        values[raw == _LARGEST[packed["k"]]] = np.nan
    return values


def bins(values: Floats, size: int) -> tuple[Floats, Floats, Floats]:
    """Smallest, median and largest value of every ``size`` consecutive samples.

    Missing samples are left out; a bin without any is NaN. The last bin may be shorter.
    """
    count = -(-len(values) // size)
    padded = np.full(count * size, np.nan)
    padded[: len(values)] = values
    rows = np.sort(padded.reshape(count, size), axis=1)  # NaN last
    n = np.isfinite(rows).sum(axis=1)
    at = np.arange(count)
    last = np.maximum(n - 1, 0)
    low, high = rows[:, 0].copy(), rows[at, last]
    median = 0.5 * (rows[at, last // 2] + rows[at, (last + 1) // 2])
    return low, median, high


def runs(flags: Flags) -> NDArray[np.int64]:
    """(R, 2) starts and stops (exclusive) of the stretches that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def _base64(raw: NDArray[Any]) -> str:
    return base64.b64encode(raw.tobytes()).decode("ascii")
