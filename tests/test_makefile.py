"""``make bench``: figures are found in what scripts print, kept, and rendered from there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import bench
import measured_docs


def test_every_script_and_pattern_is_one(tmp_path: Path) -> None:
    ids = [figure["id"] for script in bench.scripts() for figure in script["figure"]]
    assert len(ids) == len(set(ids))
    for script in bench.scripts():
        assert (ROOT / "benchmarks" / f"{script['name']}.py").is_file()
        for figure in script["figure"]:
            for key in ("pattern", "base"):
                assert re.compile(figure.get(key, "()")).groups == 1
            assert figure["baseline"]
            assert sum(key in figure for key in ("least", "most", "least_ratio")) <= 1


def test_a_figure_and_its_baseline_are_found() -> None:
    figure = {
        "what": "w", "unit": "images/s", "baseline": "plain", "pattern": r"ours +([\d.]+)",
        "base": r"plain +([\d.]+)", "least_ratio": 3.0,
    }  # fmt: skip
    printed = "plain   10.0 images/s\nours    35.5 images/s\n"
    row = bench.found(figure, printed)
    assert row is not None
    assert (row["value"], row["base"], row["reached"]) == (35.5, 10.0, True)
    assert row["bar"] == "≥ 3 × the baseline"
    assert bench.found(figure, "nothing") is None
    slow = bench.found(figure, printed.replace("35.5", "29.0"))
    assert slow is not None
    assert slow["reached"] is False
    about = {"busy": 9.0, "date": "2026-11-30", "command": "c", "machine": "m"}
    assert "35.5" in bench.table({"a": row | about})
    assert "[busy machine]" in bench.table({"a": row | about})


def _script(folder: Path, monkeypatch: Any, body: str) -> dict[str, Any]:
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "one.py").write_text(body)
    monkeypatch.setattr(bench, "FOLDER", folder / "benchmarks")
    monkeypatch.setattr(bench, "WRITTEN", folder / "docs" / "measured" / "bench.json")
    (folder / "docs").mkdir()
    return {
        "name": "one", "args": ["--long"], "quick": ["--short"],
        "figure": [{"id": "a", "what": "w", "unit": "s", "baseline": "b", "pattern": r"(\d+) s",
                    "most": 5.0}],
    }  # fmt: skip


def test_a_quick_run_does_not_take_the_place_of_a_whole_one(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    body = "import sys\nprint(4 if '--long' in sys.argv else 3, 's')\n"
    script = _script(tmp_path, monkeypatch, body)
    monkeypatch.setattr(bench, "scripts", lambda: [script])
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 0.5, 0.5))
    for line, value in ((["--quick"], 3.0), ([], 4.0), (["--quick"], 4.0)):
        monkeypatch.setattr(sys, "argv", ["bench.py", *line])
        assert bench.main() == 0
        kept = json.loads(bench.WRITTEN.read_text())["figures"]["a"]
        assert kept["value"] == value
    assert kept["command"] == "python benchmarks/one.py --long"
    assert "w " in capsys.readouterr().out


def test_times_of_a_busy_machine_are_not_kept(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    script = _script(tmp_path, monkeypatch, "print(4, 's')\n")
    script["figure"].append(script["figure"][0] | {"id": "b", "steady": True})
    monkeypatch.setattr(bench, "scripts", lambda: [script])
    monkeypatch.setattr("os.getloadavg", lambda: (900.0, 900.0, 900.0))
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    assert bench.main() == 0
    assert list(json.loads(bench.WRITTEN.read_text())["figures"]) == ["b"]
    told = capsys.readouterr()
    assert "a: the machine is busy, not kept" in told.err
    assert told.out.count("[busy machine]") == 2


def test_a_script_that_fails_is_told_and_missed(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    script = _script(tmp_path, monkeypatch, "raise SystemExit('broken')\n")
    monkeypatch.setattr(bench, "scripts", lambda: [script])
    monkeypatch.setattr(sys, "argv", ["bench.py"])
    assert bench.main() == 1
    assert "one: no figure a: broken" in capsys.readouterr().err


def test_the_generated_tables_are_those_of_the_numbers() -> None:
    assert measured_docs.stale() == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_knows_both_targets() -> None:
    for target, words in (("bench", "benchmarks/bench.py;"), ("bench-quick", "bench.py --quick")):
        line = ["make", "-n", "-o", ".venv/.installed", "-o", "setup", target]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
        assert words in done.stdout


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    body = "import sys\nopen('runs', 'a').write('x')\nprint(4, 's')\n"
    script = _script(tmp_path, monkeypatch, body)
    (tmp_path / "benchmarks" / "two.py").write_text(body)
    other = script | {"name": "two", "figure": [script["figure"][0] | {"id": "b"}]}
    monkeypatch.setattr(bench, "scripts", lambda: [script, other])
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 0.5, 0.5))

    def bench_main(*words: str) -> tuple[int, int]:
        monkeypatch.setattr(sys, "argv", ["bench.py", *words])
        code = bench.main()
        runs = tmp_path / "runs"
        return code, len(runs.read_text()) if runs.is_file() else 0

    assert bench_main("--for", "-1") == (1, 0)
    assert "left: one, two; the same line goes on" in capsys.readouterr().out
    assert bench_main("--only", "one") == (0, 1)
    assert bench_main() == (0, 2)  # the first is kept
    assert bench_main() == (0, 2)
    assert "w " in capsys.readouterr().out
    package = tmp_path / "src" / "nunbit"
    package.mkdir(parents=True)
    (package / "new.py").write_text("")
    assert bench_main() == (0, 4)  # other code
    assert bench_main("--again") == (0, 6)
