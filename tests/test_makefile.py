"""``make bench`` can pass: a script that asks for arguments is passed over, a fault is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parent.parent / "Makefile"
ASKS = "import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()\n"
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def _bench(folder: Path, **scripts: str) -> subprocess.CompletedProcess[str]:
    (folder / "benchmarks").mkdir()
    for name, text in scripts.items():
        (folder / "benchmarks" / f"{name}.py").write_text(text, encoding="utf-8")
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".installed").touch()  # newer than both: nothing is installed
    line = ["make", "-f", str(MAKEFILE), "bench", f"BIN={Path(sys.executable).parent}"]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def test_bench_passes_over_scripts_that_ask_for_arguments(tmp_path: Path) -> None:
    done = _bench(tmp_path, a_asks=ASKS, b_runs="print('measured')\n")
    assert done.returncode == 0, done.stderr
    assert "-- benchmarks/a_asks.py: skipped, it needs arguments" in done.stdout
    assert "measured" in done.stdout


def test_bench_stops_at_a_script_that_fails(tmp_path: Path) -> None:
    done = _bench(tmp_path, a_fails="raise SystemExit('wrong')\n", b_runs="print('measured')\n")
    assert done.returncode != 0
    assert "measured" not in done.stdout
