"""All windows of all recordings in one table, and the mean that is taken out before anything else.

A person's face and voice are theirs in every window: the mean over a person's windows is who they
are, what is left is how they are. Taking it out per recording also takes out the camera, the room
and the microphone, which would tell the recordings of one person apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    """

    vectors: Mapping[str, Singles]
    recording: Codes
    person: Codes
    start_s: Floats
    length_s: float = 4.0

    def __post_init__(self) -> None:
        n = len(self.start_s)
        sizes = {name: len(rows) for name, rows in self.vectors.items()}
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
