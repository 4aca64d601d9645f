"""What face and voice share without any state: time, how much was said, how the mouth moved.

Talking opens the mouth and fills the window with voice: both modalities then carry one number that
is no emotion, and a shift of time destroys it exactly as it would destroy a state. Three answers:

* Candidates that were spent talking as much as the right window (``retrieval``, ``match``).
* ``Eraser`` takes the directions out of the vectors that carry talking and mouth. Taking out what a
  *measured* share predicts is not enough: the measure is noisy, and what it misses stays in both
  modalities. A noisy measure still points in the right direction (noise in it is unrelated to the
  vectors), so the whole direction is removed, as in spectral attribute removal (Shao, Ziser and
  Cohen 2023) and LEACE (Belrose et al. 2023).
* ``nuisance_rows``: what time, talking and mouth find by themselves; an alignment must find more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nunbit.alignment.heads import Head, Heads, scales_of
from nunbit.alignment.table import MIN_TO_CENTRE, WindowTable
from nunbit.streams import Floats, Singles

NUISANCES = ("talk_share", "mouth_open", "mouth_moves")
"""Share of the window in which the person talks; mean and standard deviation of the opening of the
mouth (inner lip gap over eye distance) in it."""

TALK = "talk_share"
MOUTH = "mouth_open"

_CLIP = 3.0  # standard deviations: a landmark that slipped must not make a square of its own
_SHIFTS = 24
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Eraser:
    """Directions to take out of each modality's vectors.

    Attributes:
        scale: Modality -> (D,) what the vectors are divided by first.
        axes: Modality -> (D, R) orthonormal directions; R may be 0.
    """

    scale: Mapping[str, Singles]
    axes: Mapping[str, Floats]

    def apply(self, table: WindowTable) -> WindowTable:
        """The table without these directions; NaN stays NaN."""
        vectors = dict(table.vectors)
        for m, axes in self.axes.items():
            if axes.shape[1]:
                scaled = vectors[m] / self.scale[m]
                kept = scaled - (scaled @ axes) @ axes.T
                vectors[m] = np.asarray(kept * self.scale[m], np.float32)
        return replace(table, vectors=vectors)

    def before(self, heads: Heads) -> Heads:
        """Heads that take the directions out themselves: they may be given what was not erased."""
        found = {}
        for m, head in heads.heads.items():
            axes, scale = self.axes[m], self.scale[m]
            weight = head.weight / head.scale[:, None] * scale[:, None]
            weight = weight - axes @ (axes.T @ weight)
            weight = weight / scale[:, None] * head.scale[:, None]
            found[m] = Head(head.centre, head.scale, np.asarray(weight, np.float32))
        return Heads(found, heads.method, heads.correlations, heads.details)


def measured(table: WindowTable, name: str) -> NDArray[np.bool_]:
    """(N,) whether a nuisance is known."""
    values = table.nuisance.get(name)
    return np.zeros(len(table), bool) if values is None else np.isfinite(values)


def nuisance_basis(table: WindowTable) -> Floats:
    """(N, 2 K) every measured nuisance, centred per recording, and its square; NaN where unknown.

    The square is for what is no straight line: an embedding moves with an opening mouth, but not
    in proportion.
    """
    columns = []
    for name in NUISANCES:
        known = measured(table, name)
        if known.sum() < MIN_TO_CENTRE:
            continue
        values = _per_recording(table.nuisance[name], table.recording, known)
        spread = float(values[known].std())
        if spread < _TINY:
            continue
        scaled = np.clip(values / spread, -_CLIP, _CLIP)
        columns += [scaled, _per_recording(scaled**2, table.recording, known)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0))


def fit_eraser(table: WindowTable) -> Eraser:
    """Find the directions of the vectors that carry talking and mouth.

    How many there are is measured: a direction counts where its correlation with the nuisances is
    above what these have with the vectors of another time (the same series shifted within the
    recording). Without that, noise would be erased, and states with it.

    Args:
        table: Training windows, detrended.
    """
    basis = nuisance_basis(table)
    scale, axes = {}, {}
    for m in table.modalities:
        scale[m] = scales_of(table, m)
        rows = (table.vectors[m] / scale[m]).astype(np.float64)
        axes[m] = _directions(rows, basis, table.recording)
    return Eraser(scale, axes)


def _directions(rows: Floats, basis: Floats, recording: NDArray[np.int64]) -> Floats:
    """(D, R) strongest directions of the covariance with the nuisances, above their null."""
    there = np.isfinite(rows).all(axis=1)
    known = there & np.isfinite(basis).all(axis=1) if basis.shape[1] else there & False
    if known.sum() < MIN_TO_CENTRE:
        return np.zeros((rows.shape[1], 0))
    rows, basis, recording = rows[known], basis[known], recording[known]
    basis = basis / np.maximum(basis.std(axis=0), _TINY)
    found, strength, _ = np.linalg.svd(rows.T @ basis / len(rows), full_matrices=False)
    null = [
        np.linalg.svd(rows.T @ _turned(basis, recording, k / (_SHIFTS + 1.0)) / len(rows),
                      compute_uv=False)
        for k in range(1, _SHIFTS + 1)
    ]  # fmt: skip
    # The first of the true ones against the first of the null, the second against the second.
    real = strength > np.max(null, axis=0)
    count = int(np.argmin(real)) if not real.all() else len(real)
    return np.asarray(found[:, :count])


def _turned(basis: Floats, recording: NDArray[np.int64], part: float) -> Floats:
    """Every recording's rows moved on by a part of its length, around its end."""
    turned = basis.copy()
    for each in np.unique(recording):
        own = np.flatnonzero(recording == each)
        turned[own] = np.roll(basis[own], max(1, round(part * len(own))), axis=0)
    return turned


def nuisance_rows(table: WindowTable) -> Singles:
    """(N, ...) time in the recording (three powers), talking and mouth as one more modality."""
    time = np.zeros(len(table))
    for each in np.unique(table.recording):
        own = table.recording == each
        start = table.start_s[own]
        time[own] = 2.0 * (start - start.min()) / max(float(np.ptp(start)), _TINY) - 1.0
    everything = np.ones(len(table), bool)
    powers = [_per_recording(time**k, table.recording, everything) for k in (1, 2, 3)]
    return np.concatenate([np.stack(powers, axis=1), nuisance_basis(table)], axis=1).astype(
        np.float32
    )


def _per_recording(
    values: Floats, recording: NDArray[np.int64], known: NDArray[np.bool_]
) -> Floats:
    """Values less the mean of their recording; NaN where not known."""
    size = int(recording.max()) + 1 if len(recording) else 0
    counts = np.bincount(recording[known], minlength=size)
    sums = np.bincount(recording[known], weights=values[known], minlength=size)
    means = sums / np.maximum(counts, 1)
    return np.where(known, values - means[recording], np.nan)
