"""Curves through keyframes: what a script says between the times it names.

A curve holds its first value before the first key and its last value after the last one. ``linear``
pieces have constant speed (a head that turns by 30 degrees a second does exactly that); ``smooth``
pieces start and end at rest, as faces do. Knows nothing of faces or voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nunbit.streams import Floats

Ease = Literal["smooth", "linear"]


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """Values over time.

    Attributes:
        times_s: (N,) increasing.
        values: (N,)
        smooth: (N,) whether the piece that ends at each key is smooth rather than linear.
    """

    times_s: Floats
    values: Floats
    smooth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    def at(self, times_s: Floats) -> Floats:
        """Values at the given times, shape of ``times_s``."""
        times = np.asarray(times_s, dtype=np.float64)
        if len(self.times_s) == 1:
            return np.full(times.shape, self.values[0])
        end = np.clip(np.searchsorted(self.times_s, times, side="right"), 1, len(self.times_s) - 1)
        t0, t1 = self.times_s[end - 1], self.times_s[end]
        share = np.clip((times - t0) / (t1 - t0), 0.0, 1.0)
        # Minimum jerk (Flash & Hogan 1985): speed and acceleration vanish at both ends.
        eased = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)
        share = np.where(self.smooth[end], eased, share)
        between: Floats = self.values[end - 1] + share * (self.values[end] - self.values[end - 1])
        return between


def curve(keys: Sequence[tuple[float, float, Ease]], default: float = 0.0) -> Curve:
    """A curve from (time in seconds, value, ease of the piece before it).

    Args:
        keys: Any order; of two keys at one time the later one counts.
        default: Value everywhere if there are no keys.
    """
    if not keys:
        return Curve(np.zeros(1), np.full(1, default), np.zeros(1, dtype=np.bool_))
    table = {time: (value, ease) for time, value, ease in sorted(keys, key=lambda key: key[0])}
    values = np.array([value for value, _ in table.values()], dtype=np.float64)
    smooth = np.array([ease == "smooth" for _, ease in table.values()])
    return Curve(np.array(list(table), dtype=np.float64), values, smooth)
