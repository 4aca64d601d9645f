"""The checks of licences and vulnerabilities notice what they are for."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

import check_deps


def test_every_dependency_has_a_licence_that_is_allowed() -> None:
    wanted = check_deps.closure()
    assert {"numpy", "onnxruntime", "pillow"} <= set(wanted)
    assert wanted["numpy"] >= {"", "train"}
    assert list(check_deps.licence_faults(wanted)) == []


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-2-Clause", True),
        ("Mozilla Public License 2.0 (MPL 2.0)", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("CC-BY-NC-4.0", False),
        ("MIT AND Proprietary", False),
        ("GPL-3.0-or-later", False),
    ],
)
def test_licences_are_read_part_by_part(told: str, known: bool) -> None:
    assert check_deps.is_known(told) is known


def test_no_licence_and_copyleft_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"numpy": "", "pillow": "GPL-3.0", "click": "CC-BY-NC-4.0", "jinja2": "MIT"}

    def licence(dist: Distribution) -> str:
        return said[dist.metadata["Name"].lower()]

    monkeypatch.setattr(check_deps, "licence_of", licence)
    faults = list(check_deps.licence_faults({name: {""} for name in said}))
    assert [line.split()[0] for line in faults] == ["click", "numpy", "pillow"]
    assert "states none" in faults[1]


def test_known_vulnerabilities_are_reported(tmp_path: Path) -> None:
    answer = {
        "dependencies": [
            {
                "name": "pillow",
                "version": "1.0",
                "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.0"]}],
            },
            {"name": "numpy", "version": "1.0", "vulns": []},
            {"name": "own", "version": "1.0", "skip_reason": "not on PyPI"},
        ]
    }
    (tmp_path / "audit.json").write_text(json.dumps(answer))
    found, asked = check_deps.vulnerabilities({}, tmp_path / "audit.json")
    assert found == ["pillow 1.0: PYSEC-1 (mended in 2.0)"]
    assert asked == 2


def test_what_could_not_be_asked_is_not_called_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, asked = check_deps.vulnerabilities({"numpy": {""}}, tmp_path / "missing.json")
    assert (found, asked) == ([], 0)
    assert "missing.json" in capsys.readouterr().out
    assert distribution("numpy").version
