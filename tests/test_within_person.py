"""Conditions within persons: planted differences, honest intervals, tables for lme4."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command import run_command
from make_timeline import Recipe, make_timeline
from nunbit.stories.within_person import differences_of

LENGTH_S = 600.0


def plant(folder: Path, person: str, group: str, level: Any, seed: int) -> None:
    """A made-up recording whose face.p_joy is a slow series around ``level`` (number or row)."""
    make_timeline(folder, Recipe(duration_s=LENGTH_S, seed=seed))
    path = folder / "timeline.parquet"
    table = pq.read_table(path)
    rows = [i for i, (s, m, q, t) in enumerate(zip(*(table[c].to_pylist() for c in (
        "scope", "modality", "measure", "track")), strict=True))
        if (s, m, q) == ("window", "face", "p_joy") and not t]  # fmt: skip
    noise, rng = np.zeros(len(rows)), np.random.default_rng(seed)
    for k in range(1, len(rows)):
        noise[k] = 0.5 * noise[k - 1] + rng.normal(0, 0.05)
    values = np.array(table["value"].to_pylist(), float)
    values[rows] = level + noise
    table = table.set_column(table.column_names.index("value"), "value", pa.array(values))
    pq.write_table(table, path)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    summary |= {"subject": person, "about": {"group": group} if group else {}}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_planted_difference_between_sessions_is_found_and_persons_are_counted(
    tmp_path: Path,
) -> None:
    for n, person in enumerate(("P1", "P2", "P3")):
        for k, group in enumerate(("before", "after")):
            level = 0.3 + 0.1 * n + 0.15 * k
            plant(tmp_path / "t" / f"{person}_{k}", person, group, level, 40 + 2 * n + k)
    done = run_command("compare", tmp_path / "t", "--out", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stderr
    found = [d for d in json.loads(done.stdout)["differences"] if d["measure"] == "face.p_joy"]
    assert [d["person"] for d in found] == ["P1", "P2", "P3", "*"]
    sign = 1 if found[0]["from"] == "before" else -1
    for each in found:
        assert sign * each["difference"] == pytest.approx(0.15, abs=0.05)
        low, high = sorted((sign * each["low"], sign * each["high"]))
        assert low > 0 or each["person"] != "*"
        assert low < 0.15 < high
    assert [d["interval_of"] for d in found] == ["time", "time", "time", "persons"]
    cells = [r for r in rows_of(tmp_path / "c" / "cells.csv") if r["measure"] == "face.p_joy"]
    assert len(cells) == 6
    # 597 windows, far fewer independent stretches.
    assert all(20 < float(r["n_independent"]) < 400 < int(r["n_windows"]) for r in cells)


def test_conditions_within_a_recording(tmp_path: Path) -> None:
    level = np.where(np.arange(int(LENGTH_S) - 3) < 300, 0.2, 0.5)
    plant(tmp_path / "t" / "talk", "P1", "", level, 5)
    table = tmp_path / "questions.csv"
    table.write_text(
        "condition,recording,start,end\nneutral,talk,0,5:00\npersonal,talk,5:04,10:00\n",
        encoding="utf-8",
    )
    done = run_command("compare", tmp_path / "t", "--conditions", table, "--measure", "face.p_joy",
                       "--out", tmp_path / "c")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = rows_of(tmp_path / "c" / "differences.csv")
    assert float(row["difference"]) == pytest.approx(0.3, abs=0.06)
    assert float(row["low"]) > 0.1
    assert (row["from"], row["to"], row["interval_of"]) == ("neutral", "personal", "time")
    cells = rows_of(tmp_path / "c" / "cells.csv")
    assert [int(c["n_windows"]) for c in cells] == [297, 293]  # windows wholly inside


def test_nothing_planted_is_rarely_found(tmp_path: Path) -> None:
    """The naive interval of windows as cases would leave out 0 in half of these."""
    from nunbit.statistics.series import summarise
    from nunbit.stories.within_person import _half_in_time

    rng, wrong, naive, n = np.random.default_rng(1), 0, 0, 120
    for _ in range(n):
        cells, means, spreads = [], [], []
        for _ in range(2):
            x = np.zeros(900)
            for k in range(1, 900):
                x[k] = 0.8 * x[k - 1] + rng.normal()
            found = summarise(x, 1.0)
            assert found.ci95 is not None
            cells.append([{"low": found.ci95[0], "high": found.ci95[1]}])
            means.append(found.mean)
            spreads.append(x.var() / 900)
        wrong += abs(means[1] - means[0]) > _half_in_time(*cells)
        naive += abs(means[1] - means[0]) > 1.96 * sum(spreads) ** 0.5
    assert wrong <= 0.08 * n
    assert naive >= 0.3 * n


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nobody,0,10,a", "questions.csv, row 2: no recording 'nobody' here; there are: s"),
        ("s,soon,10,a", "questions.csv, row 2: --start soon: expected seconds or minutes:seconds"),
        ("s,20,10,a", "questions.csv, row 2: the end is not after the start"),
        ("s,0,20,", "questions.csv, row 2: no condition is given"),
        ("s,0,20,a", "nothing to compare: the recordings have one condition (a)"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path: Path, line: str, message: str) -> None:
    make_timeline(tmp_path / "t" / "s", Recipe(duration_s=30.0))
    table = tmp_path / "questions.csv"
    table.write_text(f"recording,start,end,condition\n{line}\n", encoding="utf-8")
    done = run_command("compare", tmp_path / "t", "--conditions", table, "--out", tmp_path / "c")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_where_nobody_is_known_to_speak_speaking_is_not_advised(tmp_path: Path, lang: str) -> None:
    make_timeline(tmp_path / "t" / "s", Recipe(duration_s=40.0, voice=False))
    done = run_command(
        "compare", tmp_path / "t", "--by", "speaking", "--out", tmp_path / "c", "--lang", lang
    )
    assert done.returncode == 1
    assert "--by" not in done.stderr
    assert {"en": "somebody speaks", "ko": "언제 말하는지"}[lang] in done.stderr


def test_speaking_and_not(tmp_path: Path) -> None:
    make_timeline(tmp_path / "t" / "s", Recipe(duration_s=120.0))
    done = run_command("compare", tmp_path / "t", "--by", "speaking", "--out", tmp_path / "c")
    if done.returncode == 1:  # the made-up recording has no share of speech a window
        assert "nothing to compare" in done.stderr
        return
    assert {r["condition"] for r in rows_of(tmp_path / "c" / "cells.csv")} == {
        "speaking", "not_speaking"}  # fmt: skip


def cell(recording: str, condition: str, value: float, person: str = "P1") -> dict[str, Any]:
    return {"recording": recording, "person": person, "condition": condition, "measure": "m",
            "value": value, "low": value - 0.01, "high": value + 0.01}  # fmt: skip


def test_a_recording_with_one_condition_does_not_undo_the_pairs() -> None:
    pairs = [cell(f"r{n}", c, 0.2 * n + (c == "B") * (0.05 + 0.002 * n))
             for n in range(5) for c in ("A", "B")]  # fmt: skip
    (plain,) = differences_of(pairs)
    (again,) = differences_of([*pairs, cell("r9", "A", 0.9), cell("r8", "B", math.nan)])
    assert plain["difference"] == pytest.approx(0.054)
    for key in ("difference", "low", "high", "n_recordings"):
        assert again[key] == plain[key]
    assert (plain["n_left_out"], again["n_left_out"]) == (0, 1)
    # Where no recording has both, those of each are compared.
    (apart,) = differences_of([cell("a", "A", 0.1), cell("b", "B", 0.4)])
    assert apart["difference"] == pytest.approx(0.3)


@pytest.mark.parametrize("step", [0.0, 0.25])
def test_no_interval_of_no_width(step: float) -> None:
    rows = [cell(f"r{n}", c, step * (c == "B"), f"P{n}") for n in range(3) for c in ("A", "B")]
    (over,) = [row for row in differences_of(rows) if row["person"] == "*"]
    assert over["difference"] == pytest.approx(step)
    assert math.isnan(over["low"])
    assert over["interval_of"] == ""


def test_recordings_without_a_person_are_named(tmp_path: Path) -> None:
    for n, group in enumerate(("before", "after")):
        plant(tmp_path / "t" / f"r{n}", "", group, 0.3, n)
    done = run_command("compare", tmp_path / "t", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert "r0, r1" in done.stdout
    document = json.loads((tmp_path / "c" / "comparison.json").read_text(encoding="utf-8"))
    assert document["unnamed"] == ["r0", "r1"]


def two_of_one_name(folder: Path, people: tuple[str, str]) -> None:
    for n, person in enumerate(people):
        plant(folder / f"w{n}" / "interview", person, "", 0.3, n)


def compared(folder: Path, table: str, *more: Any) -> Any:
    (folder / "cond.csv").write_text(f"recording,start,end,condition\n{table}", encoding="utf-8")
    return run_command("compare", folder / "w0", folder / "w1", "--conditions", folder / "cond.csv",
                       "--measure", "face.p_joy", "--out", folder / "c", *more)  # fmt: skip


def test_a_name_of_two_recordings_is_refused_and_longer_names_tell_them_apart(
    tmp_path: Path,
) -> None:
    two_of_one_name(tmp_path, ("P1", "P2"))
    done = compared(tmp_path, "interview,0,60,a\ninterview,60,120,b\n")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for n in range(2):
        assert str(tmp_path / f"w{n}" / "interview") in done.stderr
    rows = "".join(f"w{n}/interview,{60 * k},{60 * k + 60},{c}\n"
                   for n in range(2) for k, c in enumerate("ab"))  # fmt: skip
    done = compared(tmp_path, rows)
    assert done.returncode == 0, done.stderr
    cells = rows_of(tmp_path / "c" / "cells.csv")
    assert {(r["recording"], r["person"]) for r in cells} == {
        ("w0/interview", "P1"), ("w1/interview", "P2")}  # fmt: skip
    assert all(r["n_recordings"] == "1" for r in rows_of(tmp_path / "c" / "differences.csv")
               if r["person"] != "*")  # fmt: skip


def test_recordings_of_one_name_and_person_are_not_paired_with_each_other(tmp_path: Path) -> None:
    two_of_one_name(tmp_path, ("P1", "P1"))
    for n, group in enumerate("ab"):
        path = tmp_path / f"w{n}" / "interview" / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8")) | {"about": {"group": group}}
        path.write_text(json.dumps(summary), encoding="utf-8")
    twice = [tmp_path / "w0", tmp_path / "w1", tmp_path / "w0", tmp_path / "w1" / "interview"]
    done = run_command("compare", *twice, "--measure", "face.p_joy", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    (row,) = rows_of(tmp_path / "c" / "differences.csv")
    assert row["n_recordings"] == "2"  # each once, although given twice
    assert len(rows_of(tmp_path / "c" / "cells.csv")) == 2


def test_the_table_of_conditions_is_not_written_over(tmp_path: Path) -> None:
    make_timeline(tmp_path / "t" / "s", Recipe(duration_s=60.0))
    (tmp_path / "c").mkdir()
    table, text = (
        tmp_path / "c" / "cells.csv",
        "recording,start,end,condition\ns,0,20,a\ns,20,40,b\n",
    )
    table.write_text(text, encoding="utf-8")
    done = run_command("compare", tmp_path / "t", "--conditions", table, "--out", tmp_path / "c")
    assert done.returncode == 1
    assert "cells.csv: would be written over" in done.stderr
    assert table.read_text(encoding="utf-8") == text


def test_a_damaged_recording_is_named_and_left_out(tmp_path: Path) -> None:
    for n, group in enumerate(("before", "after", "after")):
        plant(tmp_path / "t" / f"r{n}", "P1", group, 0.3, n)
    broken = tmp_path / "t" / "r2" / "timeline.parquet"
    broken.write_bytes(broken.read_bytes()[:1000])
    done = run_command("compare", tmp_path / "t", "--out", tmp_path / "c", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recordings"] == 2
    assert f"left out: {broken}" in done.stderr
    done = run_command("compare", tmp_path / "t" / "r2", "--out", tmp_path / "c")
    assert done.returncode == 1
