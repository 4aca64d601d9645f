"""Every speed, memory and size figure in one table, each beside its named baseline of the same run.

python benchmarks/bench.py [--quick] [--only startup prepare_speed …] [--for SECONDS] [--again]
    [--table]

Runs the scripts that ``bench.toml`` names, one by one, finds the figures in what they print, and
keeps them in docs/measured/bench.json with date, command, machine and how busy it was; times on the
clock of a busy machine are printed, but not kept. What is kept of the same code and command is not
measured again unless ``--again`` says so: a run that was stopped goes on, also one that ``--for``
ended (no script begins after so many seconds). ``--quick`` takes what fits into three minutes of
two idle cores. ``--table`` prints what is kept. The table of docs/results.md is rendered from the
same file (``python scripts/measured_docs.py``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
WRITTEN = FOLDER.parent / "docs" / "measured" / "bench.json"
BUSY = 1.5
"""With more waiting processes a core than this before we start, times on the clock say little."""


def scripts() -> list[dict[str, Any]]:
    """The scripts and their figures."""
    with (FOLDER / "bench.toml").open("rb") as stream:
        return list(tomllib.load(stream)["script"])


def found(figure: dict[str, Any], printed: str) -> dict[str, Any] | None:
    """The figure in what a script printed; None where it is not there."""
    hits = re.findall(figure["pattern"], printed)
    if not hits:
        return None
    row: dict[str, Any] = {
        key: figure[key] for key in ("what", "unit", "baseline") if key in figure
    }
    row["value"] = float(hits[-1])
    bases = re.findall(figure["base"], printed) if "base" in figure else []
    row["base"] = float(bases[-1]) * figure.get("base_unit", 1.0) if bases else None
    row["bar"], row["reached"] = bar(figure, row["value"], row["base"])
    return row


def bar(figure: dict[str, Any], value: float, base: float | None) -> tuple[str, bool | None]:
    """The bar in words, and whether it is reached; ('', None) without one."""
    if "most" in figure:
        return f"≤ {figure['most']:g} {figure['unit']}", value <= figure["most"]
    if "least" in figure:
        return f"≥ {figure['least']:g} {figure['unit']}", value >= figure["least"]
    if "least_ratio" in figure and base:
        return f"≥ {figure['least_ratio']:g} × the baseline", value / base >= figure["least_ratio"]
    return "", None


def machine() -> str:
    """Kind of machine, without its name."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def children_cpu_s() -> float:
    """CPU seconds of all processes that were started and have ended: what an idle machine needs."""
    times = os.times()
    return times.children_user + times.children_system


def code() -> str:
    """Digest of the package's code and texts: what was measured."""
    package = FOLDER.parent / "src" / "nunbit"
    found = hashlib.sha256()
    for path in sorted(p for p in package.rglob("*") if p.suffix in (".py", ".toml", ".js")):
        found.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _command(script: dict[str, Any], quick: bool) -> str:
    arguments = script["quick"] if quick else script["args"]
    return " ".join(["python", f"benchmarks/{script['name']}.py", *arguments])


def _is_kept(row: dict[str, Any] | None, script: dict[str, Any], now: str) -> bool:
    """Whether a figure was measured whole, by this code and this command."""
    if row is None or row.get("quick", True) or row.get("code") != now:
        return False
    return bool(row["command"] == _command(script, quick=False))


def run(script: dict[str, Any], quick: bool) -> dict[str, dict[str, Any]]:
    """Run a script; its figures, or an error as their reason."""
    arguments = script["quick"] if quick else script["args"]
    load = os.getloadavg()[0]
    began, cpu = time.perf_counter(), children_cpu_s()
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{script['name']}.py"), *arguments],
        capture_output=True, text=True, check=False, cwd=FOLDER.parent,
    )  # fmt: skip
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": _command(script, quick),
        "machine": machine(),
        "busy": round(load / (os.cpu_count() or 1), 1),
        "took_s": round(time.perf_counter() - began, 1),
        "cpu_s": round(children_cpu_s() - cpu, 1),
    }
    rows = {}
    for figure in script["figure"]:
        row = found(figure, done.stdout)
        if row is None:
            last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
            print(f"{script['name']}: no figure {figure['id']}: {last}", file=sys.stderr)
        else:
            rows[figure["id"]] = row | about
    return rows


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures as a table in text."""
    lines = []
    for row in figures.values():
        base = "" if row["base"] is None else f" {row['base']:g}"
        ratio = "" if not row["base"] else f" ({row['value'] / row['base']:.2f} x)"
        state = {True: "reached", False: "MISSED", None: ""}[row["reached"]]
        busy = "  [busy machine]" if row["busy"] > BUSY else ""
        lines.append(
            f"{row['what'][:64]:<64} {row['value']:>9g} {row['unit']:<12} {row['baseline']}{base}"
            f"{ratio}  {row['bar']} {state}{busy}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run, keep, print; 1 where a figure is missing or misses its bar."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--for", dest="most_s", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--table", action="store_true")
    a = parser.parse_args()
    kept: dict[str, Any] = json.loads(WRITTEN.read_text()) if WRITTEN.is_file() else {}
    figures = kept.setdefault("figures", {})
    if a.table:
        print(table(figures))
        return 0
    wanted = [s for s in scripts() if a.only is None or s["name"] in a.only]
    good, began = True, time.perf_counter()
    shown: dict[str, dict[str, Any]] = {}
    left: list[str] = []
    now = code()
    for script in wanted:
        here = [figure["id"] for figure in script["figure"]]
        if not (a.quick or a.again) and all(_is_kept(figures.get(i), script, now) for i in here):
            shown |= {i: figures[i] for i in here}
            good &= all(figures[i]["reached"] is not False for i in here)
            continue
        if time.perf_counter() - began > a.most_s:
            left.append(script["name"])
            continue
        if a.quick and "quick" not in script:
            continue
        rows = run(script, a.quick)
        good &= len(rows) == len(script["figure"])
        good &= all(row["reached"] is not False for row in rows.values())
        shown |= rows
        # A quick run measures less: it does not take the place of a whole one.
        steady = {figure["id"] for figure in script["figure"] if figure.get("steady")}
        for name, row in rows.items():
            if row["busy"] > BUSY and name not in steady:
                print(f"{name}: the machine is busy, not kept", file=sys.stderr)
            elif not a.quick or figures.get(name, {}).get("quick", True):
                figures[name] = row | {"quick": a.quick, "code": now}
        order = [figure["id"] for s in scripts() for figure in s["figure"]]
        kept["figures"] = figures = {name: figures[name] for name in order if name in figures}
        WRITTEN.parent.mkdir(exist_ok=True)
        WRITTEN.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(shown))
    print(f"{time.perf_counter() - began:.0f} s in all, {children_cpu_s():.0f} s of CPU")
    if left:
        print(f"left: {', '.join(left)}; the same line goes on")
    return int(not good or bool(left))


if __name__ == "__main__":
    sys.exit(main())
