"""How long a big job takes on many machines: a simulation of stragglers, failures; its check.

python benchmarks/scale_plan.py [--check] [--parts 12] [--repeats 3] [--write]

The plan: parts of lognormal length are given to whoever is free; workers fail at random and take a
while to come back, a part that is lost is tried again, three times at most; some machines are slow.
The full AI Hub set and 10,000 hours of video are planned from rates that were measured
(docs/scale.md says which). Baseline: work divided by workers, nothing lost, nobody slow.

``--check`` runs parts of known length on a local Ray with two workers, undisturbed and with one
worker killed in the middle, and compares the times with the simulated ones. Bar: within 15% of it.
``--write`` writes docs/measured/scale.json.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from nunbit.runtime.engines import ATTEMPTS, EngineChoice, open_engine
from nunbit.runtime.workers import Tools

WRITTEN = Path(__file__).parents[1] / "docs" / "measured" / "scale.json"
CHECK_BAR = 0.15
YEAR_H = 24 * 365


@dataclass(frozen=True)
class Job:
    """A big piece of work, by what was measured on one core.

    Attributes:
        name: What it is.
        units: How many.
        unit: Of what.
        cpu_s: Seconds of one core a unit.
        read_mb: Read from storage a unit, megabytes.
        written_mb: Written a unit, megabytes.
        part: Units in a part.
        spread: Standard deviation of the logarithm of a part's length.
        serial_s: What one process does before and after: listing, joining.
        source: Where the rate comes from.
    """

    name: str
    units: int
    unit: str
    cpu_s: float
    read_mb: float
    written_mb: float
    part: int
    spread: float
    serial_s: float
    source: str


# Rates: docs/scale.md. 836 GiB in 469,266 photos are 1.91 MB (1.82 MiB) each.
JOBS = (
    Job("prepare, full AI Hub set", 469_266, "photos", 0.032, 1.91, 0.022, 1000, 0.05, 60,
        "prepare_speed.py: 63 photos/s on 2 cores"),
    Job("evaluate fer7-lite, full set", 469_266, "crops", 0.0043, 0.022, 0.0003, 2048, 0.02, 15,
        "predict_latency.py: 4.25 ms a face"),
    Job("evaluate, ViT-B/32 int8, full set", 469_266, "crops", 0.036, 0.022, 0.0003, 2048, 0.02, 15,
        "inference_speed.py: 56.5 images/s on 2 cores"),
    Job("analyze, 10,000 hours of 720p", 10_000, "hours", 1018.0, 900.0, 1.5, 1, 0.5, 600,
        "analyze_speed.py: 26 s of CPU for 92 s"),
)  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """Machines.

    Attributes:
        machines: How many.
        cores: Of each.
        storage_mb_s: What the shared storage gives all of them together.
        failures_a_year: Of one machine, every kind of loss of it counted.
        back_after_s: Until its workers work again.
        slow_share: Share of slow machines.
        slow_factor: How much longer these take.
    """

    machines: int
    cores: int = 16
    storage_mb_s: float = 1000.0
    failures_a_year: float = 12.0
    back_after_s: float = 600.0
    slow_share: float = 0.05
    slow_factor: float = 1.5

    @property
    def workers(self) -> int:
        """Parts at once."""
        return self.machines * self.cores


@dataclass(frozen=True)
class Run:
    """A simulated run: its length, working time lost, parts given up."""

    makespan_s: float
    lost_s: float
    given_up: int


def simulate(
    lengths: Sequence[float],
    speed: Sequence[float],
    deaths: Sequence[Sequence[float]],
    back_after_s: float,
) -> Run:
    """Give parts to whoever is free, in order; a part whose worker dies is the next one.

    Args:
        lengths: Seconds of each part on a worker of speed 1.
        speed: Factor of each worker on that time.
        deaths: Of each worker, increasing times at which it dies.
        back_after_s: From a death until that worker takes a part again.
    """
    waiting = deque((length, 1) for length in lengths)
    free = [(0.0, worker) for worker in range(len(speed))]
    heapq.heapify(free)
    coming = [deque(times) for times in deaths]
    end = lost = 0.0
    given_up = 0
    while waiting:
        now, worker = heapq.heappop(free)
        dying = coming[worker]
        while dying and dying[0] <= now:  # died while it had nothing: as if it came back
            dying.popleft()
        length, attempt = waiting.popleft()
        until = now + length * speed[worker]
        if dying and dying[0] < until:
            death = dying.popleft()
            lost += death - now
            if attempt < ATTEMPTS:
                # It is known to be lost at its death; who is free earlier has taken another.
                waiting.appendleft((length, attempt + 1))
                if free and free[0][0] < death:
                    waiting.rotate(-1)
            else:
                given_up += 1
            heapq.heappush(free, (death + back_after_s, worker))
            end = max(end, death)
        else:
            heapq.heappush(free, (until, worker))
            end = max(end, until)
    return Run(end, lost, given_up)


def plan(job: Job, cluster: Cluster, runs: int = 20) -> dict[str, Any]:
    """Hours of a job on a cluster: the median and the worst of 20 simulated runs."""
    rng = np.random.default_rng([cluster.machines, len(job.name)])
    parts = -(-job.units // job.part)
    # The storage is shared: a part takes no less than its bytes take at an equal share of it.
    seconds = job.part * job.cpu_s
    busy = min(cluster.workers, parts)
    moving = job.part * (job.read_mb + job.written_mb) * busy / cluster.storage_mb_s
    found = []
    for _ in range(runs):
        spread = rng.lognormal(-(job.spread**2) / 2, job.spread, parts)
        lengths = np.maximum(seconds * spread, moving)
        slow = rng.random(cluster.machines) < cluster.slow_share
        speed = np.repeat(np.where(slow, cluster.slow_factor, 1.0), cluster.cores)
        horizon = 4 * lengths.sum() / cluster.workers + 8 * lengths.max()
        found.append(simulate(lengths, speed, _deaths(rng, cluster, horizon), cluster.back_after_s))
    hours = (np.array([run.makespan_s for run in found]) + job.serial_s) / 3600
    ideal = max(seconds, moving) * max(1.0, parts / cluster.workers) / 3600
    return {
        "job": job.name,
        "machines": cluster.machines,
        "cores": cluster.workers,
        "ideal_h": round(float(ideal), 3),
        "median_h": round(float(np.median(hours)), 3),
        "worst_h": round(float(hours.max()), 3),
        "lost_share": round(sum(r.lost_s for r in found) / runs / (parts * seconds), 5),
        "given_up": sum(run.given_up for run in found),
        "limited_by": "storage" if moving > seconds else "cores",
        "read_gb": round(job.units * job.read_mb / 1000, 1),
        "written_gb": round(job.units * job.written_mb / 1000, 1),
    }


def _deaths(
    rng: np.random.Generator, cluster: Cluster, horizon_s: float
) -> list[NDArray[np.float64]]:
    """All workers of a machine die with it."""
    mean = YEAR_H * 3600 / cluster.failures_a_year
    found: list[NDArray[np.float64]] = []
    for _ in range(cluster.machines):
        count = rng.poisson(horizon_s / mean)
        times = np.sort(rng.uniform(0, horizon_s, count))
        found += [times] * cluster.cores
    return found


# -- the check: a local Ray, two workers, one of them killed ------------------------------------


def wait(length_s: float, tools: Tools) -> tuple[float, float, int]:
    """A part of known length; when it began and ended, and its process."""
    begun = time.time()
    time.sleep(length_s)
    return begun, time.time(), os.getpid()


def observed(lengths: Sequence[float], kill_at: float | None) -> dict[str, float]:
    """Run parts on two workers of a local Ray; the first part's beginning is time 0."""
    began: list[float] = []
    killed: list[float] = []
    victims: list[int] = []

    def kill() -> None:
        time.sleep(max(0.0, began[0] + (kill_at or 0) - time.time()))
        while not killed:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "nunbit part" in " ".join(process.cmdline()):
                        process.kill()
                        victims.append(process.pid)
                        killed.append(time.time())
                        return

    killer = threading.Thread(target=kill, daemon=True)
    with open_engine(EngineChoice("ray", workers=2), len(lengths)) as engine:
        # Until both workers are there: then the clock starts.
        warm: set[int] = set()
        while len(warm) < 2:
            warm |= {done[2] for done in engine.run(wait, [1.0, 1.0], advance=lambda _: None)}
        began.append(time.time())
        if kill_at is not None:
            killer.start()
        done = list(engine.run(wait, list(lengths), advance=lambda _: None))
    end = max(end for _, end, _ in done)
    taken = sum(end - start for start, end, _ in done)
    old = {process for start, _, process in done if killed and start < killed[0]}
    fresh = [start for start, _, process in done if killed and process not in old | warm]
    before = [began[0], *(end for _, end, process in done if process in victims)]
    return {
        "makespan_s": end - began[0],
        "between_parts_s": max(0.0, (2 * (end - began[0]) - taken) / len(lengths)),
        "back_after_s": min(fresh) - killed[0] if fresh else 0.0,
        "killed_s": killed[0] - began[0] if killed else 0.0,
        "lost_s": killed[0] - max(before) if killed else 0.0,
    }


def check(parts: int, repeats: int) -> tuple[list[dict[str, float]], bool]:
    """Compare simulated with observed times."""
    rng = np.random.default_rng(0)
    rows, gaps = [], []
    for repeat in range(repeats):
        lengths = rng.lognormal(1.6, 0.6, parts)  # about six seconds: giving out takes one
        quiet = observed(lengths, None)
        gaps.append(quiet["between_parts_s"])
        # What lies between two parts of a worker is measured on the undisturbed run just before.
        told = lengths + gaps[-1]
        plain = simulate(told, [1, 1], [(), ()], 0.0)
        at = float(told.sum() / 4)
        hit = observed(lengths, at)
        # Which of the two was killed shows in how long it had had its part.
        dead, away = (hit["killed_s"],), hit["back_after_s"]
        either = [simulate(told, [1, 1], deaths, away) for deaths in ([dead, ()], [(), dead])]
        simulated = min(either, key=lambda run: abs(run.lost_s - hit["lost_s"]))
        rows.append(
            {
                "quiet_observed_s": round(quiet["makespan_s"], 2),
                "quiet_simulated_s": round(float(plain.makespan_s), 2),
                "killed_observed_s": round(hit["makespan_s"], 2),
                "killed_simulated_s": round(float(simulated.makespan_s), 2),
                "back_after_s": round(hit["back_after_s"], 2),
                "between_parts_s": round(gaps[-1], 3),
            }
        )
        print(f"check {repeat}: {rows[-1]}", flush=True)
    apart = max(
        abs(row[f"{kind}_simulated_s"] / row[f"{kind}_observed_s"] - 1)
        for row in rows
        for kind in ("quiet", "killed")
    )
    print(f"largest difference {apart:.1%} (bar {CHECK_BAR:.0%})")
    return [{key: float(value) for key, value in row.items()} for row in rows], apart <= CHECK_BAR


def main() -> int:
    """Print the plan; exit 1 if the check misses its bar."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--parts", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    a = parser.parse_args()
    rows = [plan(job, Cluster(machines)) for job in JOBS for machines in (1, 4, 16, 64)]
    for row in rows:
        print(
            f"{row['job']:<36} {row['machines']:>3} x 16 cores: {row['median_h']:8.2f} h, worst "
            f"{row['worst_h']:8.2f} (ideal {row['ideal_h']:8.2f}), limited by {row['limited_by']}"
        )
    document: dict[str, Any] = {"plan": rows}
    if WRITTEN.is_file():
        document = json.loads(WRITTEN.read_text()) | document
    good = True
    if a.check:
        document["check"], good = check(a.parts, a.repeats)
    if a.write:
        WRITTEN.write_text(json.dumps(document, indent=1) + "\n")
    return int(not good)


if __name__ == "__main__":
    # Workers know the function of a part by its module, and none of theirs is this `__main__`.
    import scale_plan

    sys.exit(scale_plan.main())
