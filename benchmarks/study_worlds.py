"""Do studies judge planted worlds rightly, and how long do they take?

``python benchmarks/study_worlds.py [--runs 200] [--worlds null,effect,leak] [--keep runs.jsonl]``;
worlds: null, null60, effect, leak, site, fusion, speed. With ``--keep`` a stopped run goes on.

Worlds are drawn as numbers with the same draw that ``nunbit synth study`` writes to files
(``tests/test_study.py`` checks that both give the same result). Baselines in the same run: the
naive test (the headline's interval above zero, no other control), and the best single modality.
Permutations: 99 a run, and only where all other controls were beaten, since the verdict needs all
of them; everything else as by default.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nunbit.statistics.outcome_scores import above_by_chance
from nunbit.stories.study import outcome_study
from nunbit.stories.study.emotions import assess_stretches
from nunbit.stories.study.fusions import LabelledStretches
from nunbit.stories.study.outcome_study import OutcomeSample, assess_outcomes
from nunbit.stories.study.study_plan import StudySettings
from nunbit.synth.study_worlds import WorldSettings, draw_outcomes, draw_stretches


def outcome_sample(settings: WorldSettings) -> OutcomeSample:
    """A drawn world as the arrays that a study of its files would have."""
    world = draw_outcomes(settings)
    names = {m: tuple(sorted(f"{m}.{k}" for k in t)) for m, t in world.measures.items()}
    tables = {
        m: np.stack([world.measures[m][n.split(".", 1)[1]] for n in names[m]], axis=1)
        for m in names
    }
    asked = [v for t in world.asked.values() for v in t.values()]
    covariates = [world.age, (world.sex == 0) * 1.0, (world.sex == 1) * 1.0]
    several = len(np.unique(world.site)) > 1
    if several:
        covariates += [(world.site == s) * 1.0 for s in np.unique(world.site)]
    n = settings.persons
    return OutcomeSample(
        np.arange(n), world.outcome, tables, names,
        np.stack(asked, axis=1) if asked else None, tuple(map(str, range(len(asked)))),
        np.stack(covariates, axis=1), tuple(map(str, range(len(covariates)))),
        world.site if several else None,
    )  # fmt: skip


def stretches_sample(settings: WorldSettings) -> LabelledStretches:
    """A drawn world of stretches, relative to each person's mean."""
    world = draw_stretches(settings)
    p, s = world.truth.shape
    names = {m: tuple(f"{m}.{k}" for k in t) for m, t in world.measures.items()}
    tables = {
        m: np.stack([(v - v.mean(axis=1, keepdims=True)).ravel() for v in t.values()], axis=1)
        for m, t in world.measures.items()
    }
    place = np.tile(np.arange(s) / s, p)
    rng = np.random.default_rng([settings.seed, 8])
    return LabelledStretches(
        np.repeat(np.arange(p), s), world.truth.ravel(), world.classes, tables, names,
        world.chances["fused"].reshape(p * s, -1), rng.normal(size=(p * s, 3)),
        np.stack([place, place**2], axis=1), ("place", "place_squared"),
    )  # fmt: skip


def run_outcome(given: tuple[WorldSettings, int]) -> dict[str, Any]:
    """Verdict of one world; permutations last, and only where they still matter."""
    world, permutations = given
    settings = StudySettings(seed=world.seed, permutations=permutations)
    sample = outcome_sample(world)
    plain = outcome_study._Nested.permuted
    studies: list[Any] = []

    def passed(study: Any, _store: Any) -> dict[str, Any]:
        """First without permutations: a null below every score passes whatever has to be."""
        studies.append(study)
        return {n: np.full(permutations, -1.0) for n in (*study.tables, "mean", "hybrid")}

    outcome_study._Nested.permuted = passed
    try:
        found = assess_outcomes(sample, settings)
    finally:
        outcome_study._Nested.permuted = plain
    head, code = found["models"][settings.headline], found["code"]
    if code == "more_than_controls":
        null = plain(studies[0], None)[settings.headline]
        if above_by_chance(head["ccc"], null) >= outcome_study.ALPHA:
            code = "not_more_than_controls"
    return {"code": code, "naive": head["ci95"][0] > 0, "ccc": head["ccc"],
            "asked": found["controls"]["interviewer"].get("ccc")}  # fmt: skip


def run_fusion(world: WorldSettings) -> dict[str, Any]:
    """Verdict of one world of stretches, and whether the headline adds to the best modality."""
    found = assess_stretches(
        stretches_sample(world), StudySettings(seed=world.seed, permutations=199, folds=5)
    )
    return {"code": found["code"], "adds": found["fusion"]["code"] == "adds",
            "uar": found["models"]["concat"]["uar"],
            "best": found["models"][found["fusion"]["best_single"]]["uar"],
            "hybrid": found["models"]["hybrid"]["uar"],
            "index": found["models"]["index"]["uar"]}  # fmt: skip


def share(hits: int, n: int) -> str:
    """A share with its Wilson 95% interval."""
    z, p = 1.959964, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = max(middle - half, 0.0)
    return f"{hits}/{n} = {p:.1%} [{low:.1%}, {middle + half:.1%}]"


class Runs:
    """Finished runs, each kept as a line of a file as soon as it is done."""

    def __init__(self, path: Path | None, workers: int) -> None:
        self._path, self._workers = path, workers
        lines = path.read_text().splitlines() if path is not None and path.is_file() else []
        self._done = {(r["world"], r["seed"]): r for r in map(json.loads, lines)}

    def of(
        self, world: str, seeds: range, run: Callable[[Any], dict[str, Any]], given: list[Any]
    ) -> list[dict[str, Any]]:
        """The results of all seeds, those that are kept and those that are run now."""
        missing = [i for i, seed in enumerate(seeds) if (world, seed) not in self._done]
        with ProcessPoolExecutor(self._workers) as pool:
            running = {pool.submit(run, given[i]): seeds[i] for i in missing}
            for future in as_completed(running):
                found = {"world": world, "seed": running[future], **future.result()}
                self._done[world, found["seed"]] = found
                if self._path is not None:
                    with self._path.open("a") as stream:
                        stream.write(json.dumps(found) + "\n")
        return [self._done[world, seed] for seed in seeds]


def outcome_worlds(names: list[str], seeds: range, runs: Runs) -> None:
    """A line a world after every block of runs, so that a stopped run has figures, too."""
    kinds = {
        "null": WorldSettings(world="null"),
        "null60": WorldSettings(world="null", persons=60),
        "effect": WorldSettings(world="effect"),
        "leak": WorldSettings(world="leak"),
        "site": WorldSettings(world="site"),
    }
    for name in (n for n in names if n in kinds):
        found: list[dict[str, Any]] = []
        for at in range(0, len(seeds), _BLOCK):
            block = seeds[at : at + _BLOCK]
            worlds = [(dataclasses.replace(kinds[name], seed=seed), 99) for seed in block]
            found += runs.of(name, block, run_outcome, worlds)
            print(_line(name, kinds[name].persons, found), flush=True)


_BLOCK = 20


def _line(name: str, persons: int, done: list[dict[str, Any]]) -> str:
    called = sum(f["code"] == "more_than_controls" for f in done)
    naive = sum(f["naive"] for f in done)
    asked = np.mean([f["asked"] for f in done if f["asked"] is not None])
    return (
        f"{name} (n = {persons}): more_than_controls {share(called, len(done))}; naive "
        f"{share(naive, len(done))}; mean CCC of the headline "
        f"{np.mean([f['ccc'] for f in done]):.3f}, of the interviewer {asked:.3f}"
    )


def fusion_worlds(seeds: range, runs: Runs) -> None:
    """A line a world of stretches."""
    for name in ("null", "complementary", "redundant", "useless"):
        worlds = [
            WorldSettings(world=name, labels="emotion", persons=40, seed=seed)  # type: ignore[arg-type]
            for seed in seeds
        ]
        found = runs.of(f"fusion-{name}", seeds, run_fusion, worlds)
        called = sum(f["code"] == "more_than_controls" for f in found)
        means = {k: np.mean([f[k] for f in found]) for k in ("uar", "hybrid", "best", "index")}
        print(
            f"{name} (40 persons, 16 stretches): more_than_controls {share(called, len(seeds))}; "
            f"fusion adds {share(sum(f['adds'] for f in found), len(seeds))}; UAR one ridge "
            f"{means['uar']:.3f}, hybrid {means['hybrid']:.3f}, best single "
            f"{means['best']:.3f}, label-free index {means['index']:.3f}",
            flush=True,
        )


def speed() -> None:
    """300 persons, 4 modalities, 1,000 permutations, as by default."""
    began = time.perf_counter()
    sample = outcome_sample(WorldSettings(world="effect", persons=300))
    assess_outcomes(sample, StudySettings())
    print(f"300 persons x 4 modalities x 1,000 permutations: {time.perf_counter() - began:.0f} s")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=1, help="seed of the first run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worlds", default="null,null60,effect,leak,site,fusion,speed")
    parser.add_argument("--keep", type=Path, help="file that finished runs are kept in")
    given = parser.parse_args()
    names = given.worlds.split(",")
    runs = Runs(given.keep, given.workers)
    outcome_worlds(names, range(given.first, given.first + given.runs), runs)
    if "fusion" in names:
        fusion_worlds(range(given.first, given.first + max(given.runs // 5, 5)), runs)
    if "speed" in names:
        speed()


if __name__ == "__main__":
    main()
