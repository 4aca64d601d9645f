"""A few of the trials of benchmarks/faults.py and benchmarks/fuzz.py; the rest are run by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, signals and mounts of Linux"),
]


def run(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(900)
def test_the_same_line_after_a_fault_gives_the_same_result(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    log = tmp_path / "log.jsonl"
    line = ("--trials", 40, "--only", "prepare", "--log", log, "--work", tmp_path / "work")
    assert "| prepare |" in run(BENCHMARKS / "faults.py", *line)
    rows = [json.loads(row) for row in log.read_text().splitlines()]
    assert len(rows) == 10
    assert len({row["fault"] for row in rows}) >= 7
    before = log.read_bytes()
    run(BENCHMARKS / "faults.py", *line)  # all is done
    assert log.read_bytes() == before


@pytest.mark.timeout(900)
def test_mutated_files_through_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("av")
    table = run(
        BENCHMARKS / "fuzz.py", "files", "--n", 36, "--seed", 5, "--log", tmp_path / "log",
        "--work", tmp_path / "work",
    )  # fmt: skip
    assert "| transcript | 6 | 0 |" in table


@pytest.mark.timeout(900)
def test_time_of_fuzzing_adds_up_and_findings_are_mended(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="needs the extra fuzz")
    record = tmp_path / "record.json"
    places = ("--work", tmp_path / "work", "--record", record)
    line = ("parsers", "--only", "srt", "labels", "--seconds", 2, "--slice", 1, *places)
    table = run(BENCHMARKS / "fuzz.py", *line)
    kept = json.loads(record.read_text())
    assert all(kept[name]["cpu_s"] >= 2 and kept[name]["runs"] > 10 for name in ("srt", "labels"))
    assert f"| srt | {kept['srt']['runs']:,} |" in table
    assert kept["rttm"]["runs"] == 0
    run(BENCHMARKS / "fuzz.py", *line)  # both have had their time
    assert json.loads(record.read_text()) == kept
    found = tmp_path / "work" / "found" / "srt"
    (found / "1.input").write_bytes(b"1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    (found / "1.place").write_text("ValueError gone.py:1")
    run(BENCHMARKS / "fuzz.py", "again", *places)
    assert json.loads(record.read_text())["srt"]["mended"] == ["ValueError gone.py:1"]


@pytest.mark.timeout(900)
def test_requests_made_from_the_pages_own_document(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="needs the extra fuzz")
    pytest.importorskip("fastapi")
    program = Path(sys.executable).with_name("schemathesis")
    assert "the app answers: True" in run(
        BENCHMARKS / "fuzz_app.py", "--examples", 1, "--schemathesis", program
    )
