"""Windows of many recordings in memory: 128 numbers of 16 bits a window and modality.

A hundred hours at one window a second are 360,000 windows: 92 MB a modality. They are compared in
blocks, so that nothing of that size is made again in single precision. Fixed point and not half
precision, which processors turn into single precision many times more slowly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nunbit.analyze.aligned import WINDOWS_FILE, read_windows
from nunbit.errors import InputError
from nunbit.streams import Flags, Floats, Singles

Fixed = NDArray[np.int16]

_BLOCK = 2048  # rows turned to single precision at once: 1 MB, which a processor's cache holds
_ONE = 32767
_MODALITIES = ("face", "voice", "text")


@dataclass(frozen=True, eq=False)
class WindowIndex:
    """N windows of several recordings.

    Attributes:
        sessions: Names of the recordings.
        folders: Where each is.
        session: (N,) which recording.
        t_start: (N,) seconds.
        t_end: (N,) seconds.
        embeddings: Modality -> (N, E) unit rows times 32767, zero where missing.
        present: Modality -> (N,) whether it is there.
        excerpts: Per recording, one text a window.
        first: (S,) the first row of each recording.
        bundle: Hash of the bundle that made them.
    """

    sessions: tuple[str, ...]
    folders: tuple[Path, ...]
    session: NDArray[np.int32]
    t_start: Floats
    t_end: Floats
    embeddings: dict[str, Fixed]
    present: dict[str, Flags]
    excerpts: tuple[Sequence[str], ...]
    first: NDArray[np.int64]
    bundle: str

    def __len__(self) -> int:
        return len(self.t_start)

    def excerpt(self, row: int) -> str:
        """What is said in a window."""
        recording = int(self.session[row])
        return self.excerpts[recording][row - int(self.first[recording])]

    def similarity(self, query: Singles, modalities: Sequence[str]) -> Singles:
        """(N,) mean cosine of a (E,) unit query with the modalities a window has; NaN without."""
        total = np.zeros(len(self), np.float32)
        count = np.zeros(len(self), np.float32)
        for name in modalities:
            rows, scaled = self.embeddings[name], query / np.float32(_ONE)
            for start in range(0, len(rows), _BLOCK):
                part = rows[start : start + _BLOCK].astype(np.float32)
                total[start : start + _BLOCK] += part @ scaled
            count += self.present[name]
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), np.float32)

    def ranked(
        self, score: Singles, most: int, apart_s: float, lowest: float = -np.inf
    ) -> list[int]:
        """Rows by falling score, no two of a recording closer than ``apart_s``."""
        usable = np.flatnonzero(np.isfinite(score) & (score >= lowest))
        found: list[int] = []
        taken: dict[int, list[float]] = {}
        # The best few hundred suffice in almost all cases; the rest is sorted only if not.
        for size in (min(len(usable), 64 * most), len(usable)):
            best = usable
            if size < len(usable):
                best = usable[np.argpartition(-score[usable], size)[:size]]
            found, taken = [], {}
            for row in best[np.lexsort((best, -score[best]))].tolist():
                times = taken.setdefault(int(self.session[row]), [])
                if all(abs(self.t_start[row] - t) >= apart_s for t in times):
                    times.append(float(self.t_start[row]))
                    found.append(row)
                    if len(found) == most:
                        return found
        return found


def load_index(timelines: Iterable[Path]) -> WindowIndex:
    """Read every ``windows.npz`` below the given folders.

    Args:
        timelines: Folders that ``nunbit analyze`` wrote, or single session folders.

    Raises:
        InputError: There is none, one is damaged, or they come from different alignments.
    """
    timelines = tuple(timelines)
    paths = [path for folder in timelines for path in _files(folder)]
    if not paths:
        first = timelines[0] if timelines else Path()
        raise InputError(
            en=f"{first}: no {WINDOWS_FILE} here; analyse with an aligned bundle first: nunbit "
            "analyze MEDIA --bundle RUN/bundle --out TIMELINES (RUN from nunbit align)",
            ko=f"{first}: {WINDOWS_FILE} 파일이 없습니다. 먼저 정렬된 번들로 분석하십시오: nunbit "
            "analyze MEDIA --bundle RUN/bundle --out TIMELINES (RUN은 nunbit align의 결과)",
        )
    parts = [_fixed(read_windows(path)) for path in paths]
    bundles = {str(part["bundle"]) for part in parts}
    if len(bundles) > 1:
        raise InputError(
            en="these timelines come from different aligned bundles, whose spaces cannot be "
            "compared; analyse them again with one bundle",
            ko="이 타임라인들은 서로 다른 정렬 번들로 만들어져 비교할 수 없습니다. 하나의 번들로 "
            "다시 분석하십시오",
        )
    counts = [len(part["t_start"]) for part in parts]
    embeddings = {m: np.concatenate([part.pop(m) for part in parts]) for m in _MODALITIES}
    return WindowIndex(
        sessions=tuple(str(part["session"]) for part in parts),
        folders=tuple(path.parent for path in paths),
        session=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        t_start=np.concatenate([part["t_start"] for part in parts]),
        t_end=np.concatenate([part["t_end"] for part in parts]),
        embeddings=embeddings,
        present={m: np.asarray(rows.any(axis=1)) for m, rows in embeddings.items()},
        excerpts=tuple(part["excerpts"] for part in parts),
        first=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        bundle=bundles.pop(),
    )


def _fixed(part: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a recording with embeddings in fixed point."""
    for name in _MODALITIES:
        rows = np.nan_to_num(part[name].astype(np.float32))
        part[name] = np.rint(rows * _ONE).astype(np.int16)
    return part


def _files(folder: Path) -> list[Path]:
    if folder.is_file() and folder.name == WINDOWS_FILE:
        return [folder]
    own = folder / WINDOWS_FILE
    return [own] if own.is_file() else sorted(folder.glob(f"*/{WINDOWS_FILE}"))
