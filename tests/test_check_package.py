"""``make check-package``: what was done stays done for the same wheel; uv looks where pip looks."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import check_package


def _row(good: bool) -> dict[str, Any]:
    return {"good": good, "failure": "" if good else "pip: no", "megabytes": 3.0, "packages": 2,
            "seconds": 1.0}  # fmt: skip


def test_what_went_well_is_not_done_again(tmp_path: Path) -> None:
    done: list[str] = []

    def one(name: str, good: bool) -> Any:
        return lambda: done.append(name) or _row(good)

    for wheel, until, expected in (
        ("a", 60, ["x", "y"]),
        ("a", 60, ["y"]),  # what failed is tried again
        ("a", -1, []),  # time is over
        ("b", 60, ["x", "y"]),  # another wheel
    ):
        results = check_package.Results(tmp_path / "r.json", wheel, time.monotonic() + until)
        done.clear()
        results.do("x", one("x", True))
        results.do("y", one("y", False))
        assert done == expected
        assert not results.good()
        table = results.table([])
        assert "FAILED: pip: no" in table
    empty = check_package.Results(tmp_path / "none.json", "a", 0.0)
    empty.do("x", one("x", True))
    assert "not done yet" in empty.table([])
    assert not empty.good()


def test_uv_looks_where_pip_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "global.extra-index-url='https://a/simple https://b/simple'\n:env:.find-links='/w /v'\n"
    answer = subprocess.CompletedProcess([], 0, stdout=told, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: answer)
    found = check_package._indexes_of_pip()
    assert found["UV_INDEX"] == "https://a/simple https://b/simple"
    assert found["UV_FIND_LINKS"] == "/w,/v"
    assert "UV_DEFAULT_INDEX" not in found


def test_every_extra_is_tried() -> None:
    assert set(check_package.SMOKE) == {check_package.CORE, *check_package.every_extra()}
