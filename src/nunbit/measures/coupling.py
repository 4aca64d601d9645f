"""Do face and voice of one person rise and fall together, more than chance would have it?

Windowed cross-correlation of apparent expressivity with the level of speech, compared with the
same recording shifted in time against itself: so neither the person nor the slowness of the
signals can pass for coupling. Knows nothing of files or models. N samples at 10 Hz, S spans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nunbit.measures.estimate import CODE, Estimate, missing
from nunbit.measures.face_samples import FaceSamples, readable
from nunbit.measures.roles import Roles
from nunbit.measures.spans import Spans, rows_in
from nunbit.measures.voice import VoiceSamples
from nunbit.streams import Flags, Floats
from nunbit.timebase import nearest_within, sample_grid

RATE_HZ = 10.0
WINDOW_S, HOP_S = 10.0, 5.0
LAG_S, LAG_STEP_S = 2.0, 1.0  # more lags find more chance than coupling
SHIFTS = 100
SHORTEST_SHIFT_S = 30.0
MIN_S = 180.0
MIN_WINDOWS = 6
MIN_FACE, MIN_SPEECH = 0.5, 0.3
"""Shares of a window in which the face may be read and the person speaks."""


@dataclass(frozen=True, slots=True)
class Coupling:
    """How strongly two series go together.

    Attributes:
        z: Standard deviations above the circular shifts; NaN where it cannot be told.
        peak: Mean over the windows of the highest correlation at any lag.
        n_windows: Windows that were used.
    """

    z: float
    peak: float
    n_windows: int


def couple(x: Floats, y: Floats, *, seed: int, n_shifts: int = SHIFTS) -> Coupling:
    """Windowed cross-correlation of two series against circular shifts of one of them.

    In each 10 s window, every 5 s, the highest correlation at lags of -2, -1, 0, 1 and 2 s is
    taken; their mean is compared with its mean and spread over shifts of 30 s and more. Missing
    samples add nothing to a correlation, as if they lay at their window's mean.

    Args:
        x: (N,) at 10 Hz, NaN where missing.
        y: (N,) likewise; this one is shifted.
        seed: Of the shifts.
        n_shifts: How many, 100 or more for a z that can be trusted.
    """
    n, width = len(x), round(WINDOW_S * RATE_HZ)
    least = round(SHORTEST_SHIFT_S * RATE_HZ)
    if n < 2 * least + width:
        return Coupling(np.nan, np.nan, 0)
    windows = _windows(x, width, round(HOP_S * RATE_HZ))
    rng = np.random.default_rng(seed)
    shifts = rng.integers(least, n - least + 1, n_shifts)
    true, used = _mean_peak(windows, y, width)
    if used < MIN_WINDOWS:
        return Coupling(np.nan, np.nan, used)
    chance = np.array([_mean_peak(windows, np.roll(y, s), width)[0] for s in shifts])
    chance = chance[np.isfinite(chance)]
    spread = float(chance.std()) if len(chance) > 1 else 0.0
    z = (true - float(chance.mean())) / spread if spread > 0 else np.nan
    return Coupling(z, true, used)


def _windows(x: Floats, width: int, hop: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows of x as unit vectors (W, width), zero where missing, and where they begin."""
    starts = np.arange(0, len(x) - width + 1, hop)
    rows = sliding_window_view(x, width)[starts]
    there = np.isfinite(rows)
    enough = there.mean(axis=1) >= MIN_FACE
    rows, there, starts = rows[enough], there[enough], starts[enough]
    filled = np.where(there, rows, 0.0)
    mean = filled.sum(axis=1, keepdims=True) / there.sum(axis=1, keepdims=True)
    centred = np.where(there, rows - mean, 0.0)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    moving = size[:, 0] > 0
    return (centred[moving] / size[moving]).astype(np.float32), starts[moving]


def _mean_peak(
    windows: tuple[NDArray[np.float32], NDArray[np.int64]], y: Floats, width: int
) -> tuple[float, int]:
    """Mean over the windows of the highest correlation at any lag, and how many had one."""
    x, starts = windows
    if not len(x):
        return np.nan, 0
    reach, step = round(LAG_S * RATE_HZ), round(LAG_STEP_S * RATE_HZ)
    there = np.isfinite(y)
    centre = float(y[there].mean()) if there.any() else 0.0
    filled = np.pad(np.where(there, y - centre, 0.0), reach)
    mask = np.pad(there.astype(np.float64), reach)
    count, total, squares = (_rolling(v, width) for v in (mask, filled, filled**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        size = np.sqrt(np.maximum(squares - total * mean, 0.0))
    places = starts[:, None] + np.arange(0, 2 * reach + 1, step)  # (W, lags)
    values = sliding_window_view(filled.astype(np.float32), width)
    masks = sliding_window_view(mask.astype(np.float32), width)
    product = np.empty(places.shape)
    for lag in range(places.shape[1]):
        at = places[:, lag]
        # sum of x (y - mean of y) over what is there; x is zero where it is missing
        product[:, lag] = np.einsum("wk,wk->w", x, values[at]) - np.nan_to_num(
            mean[at]
        ) * np.einsum("wk,wk->w", x, masks[at])
    usable = (count[places] >= MIN_SPEECH * width) & (size[places] > 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.where(usable, product / size[places], -np.inf)
    peaks = r.max(axis=1)
    peaks = peaks[np.isfinite(peaks)]
    return (float(peaks.mean()), len(peaks)) if len(peaks) else (np.nan, 0)


def _rolling(values: Floats, width: int) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    rolled: Floats = sums[width:] - sums[:-width]
    return rolled


def coupling_estimate(
    face: FaceSamples | None, voice: VoiceSamples | None, spans: Spans, roles: Roles, seed: int
) -> Estimate:
    """Coupling of expressivity and speech level on every span of three minutes or more."""
    n = len(spans)
    if face is None or voice is None:
        return missing(n, "no_video" if face is None else "no_audio")
    if face.chances is None:
        return missing(n, "no_model")
    if why := roles.reason("neutral"):
        return missing(n, why)
    asked = np.flatnonzero((spans.duration_s >= MIN_S) & spans.is_a("turn", "question", "session"))
    value, used = np.full(n, np.nan), np.zeros(n, np.int64)
    expected = np.maximum((spans.duration_s - WINDOW_S) // HOP_S + 1, 0).astype(np.int64)
    reason = np.full(n, CODE["too_short"], np.int8)
    if len(asked):
        grid = sample_grid(0.0, float(spans.end_s.max()), RATE_HZ)
        x = _like_with_like(_expressivity(face, roles, grid), voice.speaking.at(grid))
        y = _level(voice, grid)
        rows = rows_in(grid, spans)
        for i in asked:
            found = couple(x[rows[i, 0] : rows[i, 1]], y[rows[i, 0] : rows[i, 1]], seed=seed)
            value[i], used[i] = found.z, found.n_windows
            reason[i] = 0 if np.isfinite(found.z) else CODE["too_few"]
    return Estimate("given", (value,), expected, used, np.full(n, np.nan), reason)


def _expressivity(face: FaceSamples, roles: Roles, grid: Floats) -> Floats:
    index = nearest_within(face.times_s, grid)
    values = np.full(len(grid), np.nan)
    there = index >= 0
    good = readable(face)[index[there]] == 0
    if face.chances is not None:
        lively = 1.0 - face.chances[index[there]] @ roles.weights("neutral")
        values[there] = np.where(good, lively, np.nan)
    return values


def _like_with_like(x: Floats, speaking: Flags) -> Floats:
    """Expressivity less its mean while speaking or while not.

    Speech moves the mouth: without this every beginning of speech would pass for coupling.
    """
    level = np.zeros(len(x))
    for part in (speaking, ~speaking):
        known = x[part & np.isfinite(x)]
        level[part] = known.mean() if len(known) else 0.0
    return x - level


def _level(voice: VoiceSamples, grid: Floats) -> Floats:
    """Mean level of the target's speech in the tenth of a second around each grid time."""
    stream = voice.stream
    loud = np.flatnonzero(voice.target & stream.present & np.isfinite(stream.level_dbfs))
    bins = np.rint(stream.times_s[loud] * RATE_HZ).astype(np.int64)
    inside = bins < len(grid)
    bins, level = bins[inside], stream.level_dbfs[loud][inside].astype(np.float64)
    n = np.bincount(bins, minlength=len(grid))
    total = np.bincount(bins, weights=level, minlength=len(grid))
    values = np.full(len(grid), np.nan)
    np.divide(total, n, out=values, where=n > 0)
    return values
