"""How fast the command line answers: `nunbit --help` and `import nunbit`, against bare Python.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 9
LIMITS_S = {"nunbit --help": 0.30, "import nunbit": 0.15}
COMMANDS = {
    "bare python": [sys.executable, "-c", "pass"],
    "import nunbit": [sys.executable, "-c", "import nunbit"],
    "nunbit --help": [sys.executable, "-m", "nunbit", "--help"],
}


def main() -> int:
    """Print the median of several runs; exit 1 if a limit is missed."""
    medians = {}
    for name, command in COMMANDS.items():
        times = []
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - started)
        medians[name] = statistics.median(times[1:])
    base = medians["bare python"]
    missed = False
    for name, seconds in medians.items():
        limit = LIMITS_S.get(name)
        missed |= limit is not None and seconds > limit
        tail = f"limit {limit:.2f} s" if limit else "baseline"
        print(f"{name:14} {seconds:.3f} s  {seconds / base:5.1f} x bare python  {tail}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
