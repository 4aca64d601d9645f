"""Time series part of the honesty table: intervals, episodes, power, windows far from a baseline.

Series of one value a second are drawn where nothing changes (autoregressive, with the memory
named), or with one change planted. What version 0.1 gave is quoted from the review that found it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import nunbit
from honesty import Row
from nunbit.measures.spans import lay_out
from nunbit.measures.summary import Summariser, normalised

MEMORIES_S = (2, 5, 10, 30)
LENGTHS_S = (60, 180, 600, 1800)
Rows = NDArray[np.float64]


def autoregressive(rng: np.random.Generator, rows: int, n: int, memory_s: float) -> Rows:
    """(rows, n) of variance one, likeness falling to 1 / e after ``memory_s`` steps."""
    phi = np.exp(-1.0 / memory_s)
    x = rng.standard_normal((rows, n))
    for t in range(1, n):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1.0 - phi**2) * x[:, t]
    return x


def _shapes(rng: np.random.Generator, rows: int) -> dict[str, tuple[Rows, float]]:
    white = rng.standard_normal((rows, 602))
    five = autoregressive(rng, rows, 600, 5)
    gappy = autoregressive(rng, rows, 600, 5)
    for row in gappy:
        for start in rng.integers(0, 590, 14):
            row[start : start + 10] = np.nan
    wave = rng.standard_normal((rows, 800))
    for t in range(2, 800):
        wave[:, t] += 1.72 * wave[:, t - 1] - 0.82 * wave[:, t - 2]
    return {
        "white, windows of 3 s": ((white[:, :-2] + white[:, 1:-1] + white[:, 2:]) / 3.0, 0.0),
        "memory 5 s, 20% missing in runs": (gappy, 0.0),
        "bounded 0 to 1, memory 5 s": (1.0 / (1.0 + np.exp(-2.0 * five)), 0.5),
        "log-normal, memory 5 s": (np.exp(autoregressive(rng, rows, 600, 5)), float(np.exp(0.5))),
        "damped wave of 20 s": (wave[:, 200:], 0.0),
    }


def _intervals(rows: Rows, truth: float = 0.0) -> tuple[float, float]:
    found = [nunbit.summarise(row, 1.0).ci95 for row in rows]
    held = [pair[0] <= truth <= pair[1] for pair in found if pair is not None]
    return len(held) / len(rows), float(np.mean(held)) if held else np.nan


def _interval_rows(quick: bool) -> list[Row]:
    rng, n_rows = np.random.default_rng(1), 200 if quick else 1000
    before = {60: "61% (10 s)", 180: "72% (10 s)", 600: "74% (10 s)", 1800: "–"}
    made = []
    for n in LENGTHS_S:
        for memory_s in MEMORIES_S:
            shown, covered = _intervals(autoregressive(rng, n_rows, n, memory_s))
            enough = shown * n_rows >= 30  # fewer intervals say nothing about their coverage
            value = (
                f"{covered:.1%} where shown ({shown:.0%})" if enough else f"shown in {shown:.1%}"
            )
            due = n == 600 and memory_s <= 5
            reached = (not enough or 0.90 <= covered <= 0.98) and (not due or shown >= 0.8)
            bar = "90–98%, shown in ≥ 80%" if due else "90–98%"
            made.append(Row(f"session interval, {n // 60} min, memory {memory_s} s",
                            before[n], value, bar, reached))  # fmt: skip
    for name, (rows, truth) in _shapes(rng, n_rows).items():
        shown, covered = _intervals(rows, truth)
        made.append(Row(f"session interval, 10 min, {name}", "–",
                        f"{covered:.1%} where shown ({shown:.0%})", "90–98%",
                        0.90 <= covered <= 0.98))  # fmt: skip
    return made


def _fired(rows: Rows, where: slice | None = None) -> float:
    hits = 0
    for seed, row in enumerate(rows):
        found = nunbit.find_changes(row, 1.0, seed=seed)
        hits += any(where is None or (a < where.stop and b > where.start) for a, b in found)
    return hits / len(rows)


def _change_rows(quick: bool) -> list[Row]:
    rng, n_rows = np.random.default_rng(2), 40 if quick else 200
    made = []
    for memory_s in MEMORIES_S:
        fired = _fired(autoregressive(rng, n_rows, 600, memory_s))
        made.append(Row(f"10 stationary minutes with a change, memory {memory_s} s", "96–100%",
                        f"{fired:.1%}", "≤ 5%", fired <= 0.05))  # fmt: skip
    for name, (rows, _) in _shapes(rng, n_rows // 2).items():
        fired = _fired(rows)
        made.append(Row(f"… {name}", "–", f"{fired:.1%}", "≤ 5%", fired <= 0.05))
    n_rows = 20 if quick else 60
    curve = [(2, 2.5, 20), (2, 1.5, 20), (2, 4.0, 20), (2, 2.5, 10), (2, 2.5, 60), (5, 2.5, 20),
             (5, 4.0, 20), (10, 4.0, 20), (10, 4.0, 60), (30, 4.0, 60)]  # fmt: skip
    for memory_s, size, length in curve:
        rows = autoregressive(rng, n_rows, 600, memory_s)
        rows[:, 300 : 300 + length] += size
        found = _fired(rows, slice(300, 300 + length))
        due = (memory_s, size, length) == (2, 2.5, 20)
        made.append(Row(f"power: {size:g} SD for {length} s in 10 min, memory {memory_s} s", "–",
                        f"{found:.0%}", "≥ 80%" if due else "printed",
                        found >= 0.8 if due else None))  # fmt: skip
    return made


def _far_rows(quick: bool) -> list[Row]:
    rng, n_rows = np.random.default_rng(3), 60 if quick else 300
    steps = [(float(k), k + 1.0) for k in range(600)]
    whole = [(0.0, 600.0)]
    spans = lay_out({"window": steps, "turn": whole, "question": whole, "session": whole,
                     "block": steps, "baseline": [(0.0, 60.0)]})  # fmt: skip
    summariser = Summariser(spans, {}, "z")
    before = {2: "8%", 5: "11%", 10: "19%", 30: "34%"}
    made = []
    for memory_s in MEMORIES_S:
        far = []
        for row in autoregressive(rng, n_rows, 600, memory_s):
            value = np.full(len(spans), np.nan)
            value[spans.parts["window"]] = row
            z = normalised(row, summariser.baseline(value), "z")
            far += [np.mean(np.abs(z) > 2)] if np.isfinite(z).any() else []
        mean = float(np.mean(far)) if far else 0.0
        made.append(Row(f"windows with |z| > 2, baseline 60 s, memory {memory_s} s",
                        before[memory_s], f"{mean:.1%} (shown in {len(far) / n_rows:.0%})",
                        "≤ 7%", mean <= 0.07))  # fmt: skip
    return made


def rows(quick: bool) -> list[Row]:
    """All rows of this part."""
    return [*_interval_rows(quick), *_change_rows(quick), *_far_rows(quick)]
