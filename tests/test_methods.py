"""The Methods paragraph says what was done, in both languages, and what differs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from command import run_command
from make_timeline import Recipe, make_timeline
from nunbit import __version__
from nunbit.runtime.config import settings_to_dict
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.stories.methods import methods_text

PLAIN = settings_to_dict(AnalyzeSettings())
ROOT = Path(__file__).parent.parent


def change(folder: Path, **changes: Any) -> None:
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    settings = changes.pop("settings", {})
    summary |= changes
    summary["provenance"]["settings"] |= settings
    path.write_text(json.dumps(summary), encoding="utf-8")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for name, length in (("a", 60.0), ("b", 90.0)):
        change(make_timeline(tmp_path / name, Recipe(duration_s=length)), subject=name,
               settings={"rate_hz": 5.0, "min_face_px": 40.0})  # fmt: skip
    return tmp_path


def test_it_tells_numbers_settings_versions_and_limits(two: Path) -> None:
    done = run_command("methods", two, "--out", two / "m.txt", "--lang", "en")
    assert done.returncode == 0, done.stderr
    text = (two / "m.txt").read_text(encoding="utf-8")
    for words in ("2 recordings of 2 persons (2.5 min in all, 1:00 to 1:30 each)",
                  f"nunbit {__version__}",
                  "5 frames per second", "joy, surprise, anger", "windows of 4 s, one every 1 s",
                  "not what a person feels", "no diagnosis", "sha256", "CITATION.cff",
                  "No neutral stretch"):  # fmt: skip
        assert words in text, words
    assert "not all analysed alike" not in text


def test_korean(two: Path) -> None:
    text = methods_text([two], "ko", PLAIN)
    for words in ("2명의 녹화 2개", "초당 5프레임", "기쁨, 놀람, 분노", "진단이 아니며"):
        assert words in text, words


def test_recordings_that_were_not_analysed_alike_are_named(two: Path) -> None:
    change(two / "b", settings={"rate_hz": 10.0, "target": "only"}, synthetic=True)
    change(two / "a", settings={"target": "largest"})
    text = methods_text([two], "en", PLAIN)
    assert "5/10 frames per second" in text
    assert "Settings other than the defaults: target = only." in text
    assert "not all analysed alike (rate_hz, target differ)" in text
    assert "1 of them were made by a program" in text


def test_the_citation_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    lines = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {version}" in lines
    assert "cff-version: 1.2.0" in lines
