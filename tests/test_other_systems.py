"""What Windows and macOS do differently, as far as Linux can tell: consoles, languages, paths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from make_timeline import Recipe, make_timeline
from nunbit.core import messages
from nunbit.stories.analyze.job import AnalyzeSettings
from nunbit.stories.analyze.roster import read_people


def run(encoding: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The program with a console of another encoding."""
    return subprocess.run(
        [sys.executable, "-m", "nunbit", *arguments], capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LANG": "C"}
        | environment,
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["cp949", "cp1252", "ascii"])
@pytest.mark.parametrize("line", ["measures --lang ko", "figure --help --lang ko",
                                  "tables nowhere --lang ko"])  # fmt: skip
def test_a_console_that_lacks_characters_loses_no_result(encoding: str, line: str) -> None:
    done = run(encoding, *line.split())
    assert done.returncode == (1 if "nowhere" in line else 0), done.stderr
    assert b"Traceback" not in done.stderr
    # To a pipe without any encoding worth the name UTF-8 is written.
    text = (done.stdout + done.stderr).decode("utf-8" if encoding == "ascii" else encoding)
    assert len(text) > 40
    if encoding == "cp949":
        assert any("가" <= c <= "힣" for c in text)


@pytest.mark.parametrize("encoding", ["cp949", "cp1252"])
def test_json_is_whole_on_every_console(encoding: str, tmp_path: Path) -> None:
    make_timeline(tmp_path / "s", Recipe(duration_s=20.0))
    done = run(encoding, "methods", str(tmp_path), "--json", "--lang", "ko")
    assert done.returncode == 0, done.stderr
    assert "분석하였다" in json.loads(done.stdout)["methods"]


def test_the_language_of_windows_is_taken_where_no_variable_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for language, wanted in ((0x12, "ko"), (0x09, "en"), (0, "en")):
        monkeypatch.setattr(messages, "_windows_language", lambda language=language: language)
        assert messages.system_language() == wanted
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.setattr(messages, "_windows_language", lambda: 0x12)
    assert messages.system_language() == "en"


def test_a_table_made_on_windows_or_a_mac_names_files_here(tmp_path: Path) -> None:
    """Backslashes and line ends of Windows; Korean letters taken apart, as macOS stores them."""
    (tmp_path / "visits").mkdir()
    (tmp_path / "visits" / "면담.wav").touch()
    apart = unicodedata.normalize("NFD", "visits\\면담.wav")
    for name in ("visits\\면담.wav", apart, apart.replace("\\", "/")):
        (tmp_path / "people.csv").write_bytes(f"file;person\r\n{name};P01\r\n".encode("utf-8-sig"))
        people = read_people(tmp_path / "people.csv", AnalyzeSettings())
        assert [row.media.name for row in people.rows] == ["면담.wav"], people.bad
