"""The lines of docs/tables.md for R, pandas and SPSS do what they say, on made recordings."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from command import run_command
from make_timeline import Recipe, make_timeline

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [DOCS / "tables.md", DOCS / "tables.ko.md"]


def block(page: Path, kind: str, after: str = "") -> str:
    """The first block of a kind behind a heading."""
    whole = page.read_text(encoding="utf-8")
    text = whole.partition(after)[2] if after else whole
    found = re.search(rf"^```{kind}\n(.*?)^```$", text, re.S | re.M)
    assert found, (page, kind)
    return found[1]


@pytest.fixture(scope="module")
def timelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two persons, two conditions each, with all tables."""
    pytest.importorskip("pyreadstat")
    folder = tmp_path_factory.mktemp("tables")
    for n, (person, group) in enumerate((p, g) for p in ("P1", "P2") for g in ("before", "after")):
        one = make_timeline(folder / "timelines" / f"{person}_{group}",
                            Recipe(duration_s=120.0, seed=n))  # fmt: skip
        summary = json.loads((one / "summary.json").read_text(encoding="utf-8"))
        summary |= {"subject": person, "about": {"session": str(n), "group": group}}
        (one / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    for line in ("tables timelines --format xlsx,sav", "compare timelines --out comparison",
                 "compare timelines --by speaking --out speaking"):  # fmt: skip
        done = run_command(*line.split(), folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", PAGES, ids=["en", "ko"])
def test_the_lines_for_pandas_run(
    page: Path, timelines: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas")
    names: dict[str, object] = {}
    with contextlib.chdir(timelines):
        exec(compile(block(page, "python"), page.name, "exec"), names)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("P1", "P2", "before", "after"))


@pytest.mark.parametrize("page", PAGES, ids=["en", "ko"])
def test_the_lines_for_r_run_where_r_is_installed(page: Path, timelines: Path) -> None:
    if (rscript := shutil.which("Rscript")) is None:
        pytest.skip("R is not installed")
    lines, mixed = block(page, "r").partition("library(lme4)")[::2]
    has_lme4 = subprocess.run(
        [rscript, "-e", "stopifnot(requireNamespace('lme4'))"], capture_output=True, check=False
    )
    nested = mixed.replace("(1 | person)", "(1 | person/recording)")
    script = lines
    if has_lme4.returncode == 0:
        again = lines[lines.index("d <- read.csv") :].replace("comparison/", "speaking/")
        again = again.replace("face.p_joy", "face.expressivity")
        script += f"library(lme4){mixed}\n{again}\n{nested}\n{lines}"
    (timelines / "lines.R").write_text(
        script + "\nprint(nrow(s)); print(names(w)[1:4]); print(nrow(d))\n", encoding="utf-8"
    )
    done = subprocess.run(
        [rscript, "lines.R"], capture_output=True, text=True, check=False, cwd=timelines
    )
    assert done.returncode == 0, done.stderr
    assert "[1] 4" in done.stdout
    assert '"recording" "person"    "session"   "group"' in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=["en", "ko"])
def test_the_names_in_the_lines_for_spss_and_r_are_in_the_files(
    page: Path, timelines: Path
) -> None:
    import pyreadstat

    spss = block(page, "", "## SPSS")
    files = re.findall(r"GET FILE='(.*?)'\.\n(.*?)\.\n", spss)
    assert len(files) == 2
    for name, order in files:
        _, meta = pyreadstat.read_sav(str(timelines / name), metadataonly=True)
        wanted = set(re.findall(r"(?:TABLES=|BY |VARIABLES=)([\w.]+)", order))
        assert wanted
        assert wanted <= set(meta.column_names)
    cells = (timelines / "comparison" / "cells.csv").read_text(encoding="utf-8-sig")
    head = cells.splitlines()[0].replace('"', "").split(",")
    r = block(page, "r")
    assert {"measure", "value", "condition", "person", "recording", "n_independent"} <= set(head)
    assert all(name in r for name in ("condition", "person/recording", "n_independent"))
