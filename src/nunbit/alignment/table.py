"""All windows of all recordings in one table, and the mean that is taken out before anything else.

A person's face and voice are theirs in every window: the mean over a person's windows is who they
are, what is left is how they are. Taking it out per recording also takes out the camera, the room
and the microphone, which would tell the recordings of one person apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nunbit.streams import Flags, Floats, Singles

Codes = NDArray[np.int64]
Centre = Literal["recording", "person", "none"]

MODALITIES = ("face", "voice", "text")
PAIRS = (("face", "voice"), ("face", "text"), ("voice", "text"))

MIN_TO_CENTRE = 8
"""With fewer windows the mean is mostly the windows themselves: the modality is missing then."""

TREND_DEGREE = 2
"""Of the curve taken out against drift: fatigue, warming up, a light or a gain that settles. What
is slower than half a recording goes with it, whatever it was."""

_SAME_S = 1e-9


@dataclass(frozen=True, eq=False)
class WindowTable:
    """Windows of one length.

    Attributes:
        vectors: Modality -> (N, D) float32; a row of NaN where the modality is missing.
        recording: (N,) code of the recording; a recording's rows are together and in order of time.
        person: (N,) code of the person.
        start_s: (N,) start of the window.
        length_s: Length of every window.
        nuisance: Name -> (N,) what face and voice may share without any state: how much of the
            window was spent talking, how the mouth moved (``talking.NUISANCES``); NaN where not
            measured.
    """

    vectors: Mapping[str, Singles]
    recording: Codes
    person: Codes
    start_s: Floats
    length_s: float = 4.0
    nuisance: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.start_s)
        sizes = {name: len(rows) for name, rows in self.vectors.items()}
        sizes |= {name: len(values) for name, values in self.nuisance.items()}
        sizes |= {"recording": len(self.recording), "person": len(self.person)}
        for name, size in sizes.items():
            if size != n:
                raise ValueError(f"{name}: expected {n} rows, got {size}")

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that are there in at least one window, in the order of ``MODALITIES``."""
        known = [m for m in MODALITIES if m in self.vectors]
        known += [m for m in self.vectors if m not in MODALITIES]
        return tuple(m for m in known if self.present(m).any())

    def present(self, modality: str) -> Flags:
        """(N,) whether the modality is there."""
        return np.asarray(np.isfinite(self.vectors[modality]).all(axis=1))

    def rows(self, chosen: NDArray[np.bool_] | Codes) -> WindowTable:
        """Some of the windows."""
        return replace(
            self,
            vectors={m: v[chosen] for m, v in self.vectors.items()},
            recording=self.recording[chosen],
            person=self.person[chosen],
            start_s=self.start_s[chosen],
            nuisance={name: values[chosen] for name, values in self.nuisance.items()},
        )

    def only(self, modalities: tuple[str, ...]) -> WindowTable:
        """The same windows with some of the modalities."""
        return replace(self, vectors={m: self.vectors[m] for m in modalities})


def centred(table: WindowTable, by: Centre = "recording") -> WindowTable:
    """Take out the mean of every recording (or person), per modality.

    Args:
        table: With vectors as the models gave them.
        by: Whose mean. ``recording`` takes out the person as well, and the session with them;
            ``none`` leaves everything in (only to show what that does).

    Returns:
        The table; a modality with fewer than eight windows in a group is missing there.
    """
    if by == "none":
        return table
    group = table.recording if by == "recording" else table.person
    n_groups = int(group.max()) + 1 if len(group) else 0
    return replace(
        table,
        vectors={m: _centred(v, table.present(m), group, n_groups)
                 for m, v in table.vectors.items()},
    )  # fmt: skip


def detrended(table: WindowTable) -> WindowTable:
    """Take a curve of second degree over time out of every recording, per modality and nuisance.

    Whatever drifts in a recording drifts in face and voice at the same time and looks like a shared
    state; no shift of time can tell. The mean goes with the curve.

    Args:
        table: With or without means.

    Returns:
        The table; a modality with fewer than eight windows in a recording is missing there.
    """
    groups = [np.flatnonzero(table.recording == each) for each in np.unique(table.recording)]

    def level(rows: Singles | Floats) -> Floats:
        wide = rows.reshape(len(rows), -1)
        result = np.full(wide.shape, np.nan)
        there = np.asarray(np.isfinite(wide).all(axis=1))
        for group in groups:
            own = group[there[group]]
            if len(own) >= MIN_TO_CENTRE:
                curve = _curve(table.start_s[own])
                values = wide[own].astype(np.float64)
                result[own] = values - curve @ (curve.T @ values)
        return result.reshape(rows.shape)

    return replace(
        table,
        vectors={m: level(v).astype(np.float32) for m, v in table.vectors.items()},
        nuisance={name: level(values) for name, values in table.nuisance.items()},
    )


def _curve(times: Floats) -> Floats:
    """(n, 3) orthonormal columns that span constant, line and parabola over the times."""
    span = max(float(np.ptp(times)), _SAME_S)
    scaled = 2.0 * (times - times.min()) / span - 1.0
    basis: Floats = np.linalg.qr(np.vander(scaled, TREND_DEGREE + 1))[0]
    return basis


def _centred(rows: Singles, there: Flags, group: Codes, n_groups: int) -> Singles:
    counts = np.bincount(group[there], minlength=n_groups)
    sums = np.zeros((n_groups, rows.shape[1]))
    np.add.at(sums, group[there], rows[there].astype(np.float64))
    means = sums / np.maximum(counts, 1)[:, None]
    result = (rows - means[group]).astype(np.float32)
    result[~there | (counts[group] < MIN_TO_CENTRE)] = np.nan
    return result


def independent_windows(table: WindowTable) -> int:
    """How many windows with two modalities or more do not overlap: what there is to learn from."""
    if not len(table):
        return 0
    several = np.sum([table.present(m) for m in table.vectors], axis=0) >= 2
    count, recording, free_from = 0, -1, -np.inf
    for row in np.flatnonzero(several):
        if table.recording[row] != recording:
            recording, free_from = int(table.recording[row]), -np.inf
        if table.start_s[row] >= free_from - _SAME_S:
            count += 1
            free_from = table.start_s[row] + table.length_s
    return count
