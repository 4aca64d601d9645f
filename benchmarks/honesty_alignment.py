"""Rows of the honesty table on alignment: planted nuisances, planted states, planted identity.

Vectors with known truth, judged by ``nunbit.space.held_out`` as ``nunbit align`` judges
recordings. Nuisances: face and voice follow states of their own and share only a linear drift, or
the share of the window spent talking (measured with a reliability of .64, as a detector would). A
drift or share of k standard deviations moves every dimension by k times its noise-free weight.
``python benchmarks/honesty.py --only alignment`` prints the table; this file alone prints it, too.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nunbit.space.cca import Heads, fit_cca
from nunbit.space.controls import identity_probe
from nunbit.space.held_out import assess_alignment
from nunbit.space.vectors import WindowTable, centred

sys.path.insert(0, str(Path(__file__).parent))
from honesty import Row, print_rows

Floats = NDArray[np.float64]

SIZES = {"face": 24, "voice": 12}
HOP_S, MEMORY_S, NOISE = 1.0, 4.0, 0.6
RELIABILITY = 0.8  # correlation of the measured with the true share
NUISANCE_SEEDS, STATE_SEEDS = 10, 10
POWER_PEOPLE, POWER_STATES, POWER_WINDOWS = (7, 20, 40), (0.1, 0.2, 0.4), 60
IDENTITY = {3: 0.12, 5: 0.17, 7: 0.18, 10: 0.22}  # people -> strength that gives 6 to 9 points
IDENTITY_SEEDS = 40


@dataclass(frozen=True, slots=True)
class Planted:
    """What face and voice share, in standard deviations of a modality's own state.

    Attributes:
        drift: Linear, from the beginning of a recording to its end.
        talk: The share of the window spent talking.
        state: Three numbers that wander.
        people: Recordings, one a person.
        windows: Of a recording.
    """

    drift: float = 0.0
    talk: float = 0.0
    state: float = 0.0
    people: int = 40
    windows: int = 120


def planted(what: Planted, seed: int) -> WindowTable:
    """Vectors of windows of 4 s, one a second."""
    rng = np.random.default_rng([seed, 20_261_129])
    own = {m: rng.standard_normal((4, w)) / 2.0 for m, w in SIZES.items()}
    shared = {m: rng.standard_normal((3, w)) / np.sqrt(3.0) for m, w in SIZES.items()}
    nuisance = {m: rng.standard_normal(w) for m, w in SIZES.items()}
    time = np.linspace(-np.sqrt(3.0), np.sqrt(3.0), what.windows)[:, None]  # of variance one
    vectors: dict[str, list[Floats]] = {m: [] for m in SIZES}
    talk, mouth = [], []
    for _ in range(what.people):
        spoken = _wander(rng, what.windows, 1)
        state = _wander(rng, what.windows, 3)
        for m, width in SIZES.items():
            vectors[m].append(
                _wander(rng, what.windows, 4) @ own[m]
                + what.state * state @ shared[m]
                + (what.drift * time + what.talk * spoken) * nuisance[m]
                + NOISE * rng.standard_normal((what.windows, width))
            )
        error = np.sqrt(1.0 - RELIABILITY**2) * rng.standard_normal(what.windows)
        talk.append(RELIABILITY * spoken[:, 0] + error)
        mouth.append(_wander(rng, what.windows, 2))
    person = np.repeat(np.arange(what.people), what.windows)
    lips = np.concatenate(mouth)
    return WindowTable(
        {m: np.concatenate(rows).astype(np.float32) for m, rows in vectors.items()},
        person,
        person,
        np.tile(np.arange(what.windows) * HOP_S, what.people),
        nuisance={
            "talk_share": np.concatenate(talk),
            "mouth_open": lips[:, 0],
            "mouth_moves": lips[:, 1],
        },
    )


def _wander(rng: np.random.Generator, n: int, size: int) -> Floats:
    """(n, size) first-order autoregressive series of variance one."""
    keep = float(np.exp(-HOP_S / MEMORY_S))
    series = rng.standard_normal((n, size))
    for k in range(1, n):
        series[k] = keep * series[k - 1] + np.sqrt(1.0 - keep**2) * series[k]
    return series


def fit(table: WindowTable) -> Heads:
    """Ridge CCA, as ``nunbit align`` takes it."""
    return fit_cca(
        table, centres={m: np.zeros(v.shape[1], np.float32) for m, v in table.vectors.items()}
    )


def judged(what: Planted, seed: int) -> dict[str, object]:
    """The pair's part of ``result.json``."""
    raw = planted(what, seed)
    pair: dict[str, object] = assess_alignment(centred(raw), raw, fit).document["pairs"][
        "face-voice"
    ]
    return pair


def nuisance_row(seeds: int) -> Row:
    """Four kinds of nuisance: how many are read 'found'."""
    kinds = {
        "drift ½": Planted(drift=0.5), "drift 1": Planted(drift=1.0),
        "talking ½": Planted(talk=0.5), "talking 1": Planted(talk=1.0),
    }  # fmt: skip
    found, parts = 0, []
    for name, what in kinds.items():
        pairs = [judged(what, seed) for seed in range(seeds)]
        codes = Counter(p["verdict"]["code"] for p in pairs)  # type: ignore[index]
        found += codes["found"]
        r1 = {s: np.mean([p["steps"][s]["r1"] for p in pairs])  # type: ignore[index]
              for s in ("plain", "matched", "without_talking", "nuisance")}  # fmt: skip
        parts.append(f"{name} SD: {codes['found']} of {seeds} (R@1 plain {r1['plain']:.3f}, "
                     f"headline {r1['matched']:.3f}, erased {r1['without_talking']:.3f}, "
                     f"nuisance alone {r1['nuisance']:.3f})")  # fmt: skip
    n = seeds * len(kinds)
    return Row(f"nuisance alignments read 'found', {n} runs", "all four kinds",
               f"{found} of {n}; " + "; ".join(parts), "≤ 5 of 40", found <= n / 8)  # fmt: skip


def state_row(seeds: int) -> Row:
    """A planted state with talking beside it: is it still found, and how well?"""
    pairs = [judged(Planted(state=1.0, talk=0.5), 100 + seed) for seed in range(seeds)]
    r1 = [float(p["verdict"]["r1"]) for p in pairs]  # type: ignore[index]
    left = [float(p["verdict"]["left"]) for p in pairs]  # type: ignore[index]
    found = sum(p["verdict"]["code"] == "found" for p in pairs)  # type: ignore[index]
    return Row(
        "planted state (1 SD, talking ½ SD beside it) still found, R@1",
        ".60 on planted media",
        f"found in {found} of {seeds}, R@1 {np.mean(r1):.3f} (lowest {min(r1):.3f}); with talking "
        f"and mouth movement erased {np.mean(left):.3f}",
        "≥ .45",
        found == seeds and float(np.mean(r1)) >= 0.45,
    )


def power_rows(seeds: int) -> list[Row]:
    """How often smaller states are found, by people."""
    rows = []
    for people in POWER_PEOPLE:
        parts = []
        for state in POWER_STATES:
            what = Planted(state=state, people=people, windows=POWER_WINDOWS)
            pairs = [judged(what, 200 + seed) for seed in range(seeds)]
            codes = Counter(p["verdict"]["code"] for p in pairs)  # type: ignore[index]
            r1 = np.mean([p["verdict"]["r1"] for p in pairs])  # type: ignore[index]
            others = ", ".join(f"{c} {n}" for c, n in codes.items() if c != "found")
            parts.append(f"{state:g} SD (R@1 {r1:.3f}): {codes['found']} of {seeds}"
                         + (f" ({others})" if others else ""))  # fmt: skip
        rows.append(Row(f"power: state found, {people} people x {POWER_WINDOWS} windows", "–",
                        "; ".join(parts), "–", None))  # fmt: skip
    return rows


def identity_row(seeds: int) -> Row:
    """Identity of six to nine points left in: how often does the probe pass?"""
    passed, runs, points, plain, clean = 0, 0, [], 0, 0
    for people, left_in in IDENTITY.items():
        for seed in range(seeds):
            for strength in (0.0, left_in):
                probe = _identity(people, seed, strength)
                if strength:
                    runs += 1
                    passed += probe["state"] == "passed"
                    best = max(a["value"] for a in probe["above_chance"].values())
                    points.append(100.0 * best)
                elif people >= 7:
                    clean += 1
                    plain += probe["state"] == "passed"
    low, middle, high = np.percentile(points, [25, 50, 75])
    return Row(
        "identity left in, 3–10 people: the probe passes",
        "22–28 of 40",
        f"{passed} of {runs} (recognition {middle:.1f} points above chance, half of runs {low:.1f} "
        f"to {high:.1f}); without identity, 7 and 10 people, it passes {plain} of {clean}",
        "≤ 10%",
        passed <= runs / 10,
    )


def _identity(people: int, seed: int, strength: float) -> dict[str, object]:
    """The probe on embeddings of four minutes a person that hold a little of who it is."""
    rng = np.random.default_rng([seed, people, round(strength * 100)])
    windows, size = 240, 6
    person = np.repeat(np.arange(people), windows)
    who = rng.standard_normal((people, size))
    rows = np.concatenate([_wander(rng, windows, size) for _ in range(people)])
    rows = (rows + strength * who[person]).astype(np.float32)
    table = WindowTable({"face": rows}, person, person,
                        np.tile(np.arange(windows) * HOP_S, people))  # fmt: skip
    if not strength:
        rows = centred(table).vectors["face"]
    probe = identity_probe(table, {"embeddings": rows})
    assert probe is not None
    return probe


def rows(quick: bool) -> list[Row]:
    """All rows; ``quick`` takes a fifth of the draws."""
    part = 5 if quick else 1
    return [
        nuisance_row(max(2, NUISANCE_SEEDS // part)),
        state_row(max(2, STATE_SEEDS // part)),
        *power_rows(max(2, STATE_SEEDS // part)),
        identity_row(max(4, IDENTITY_SEEDS // part)),
    ]


if __name__ == "__main__":
    print_rows(rows("--quick" in sys.argv))
