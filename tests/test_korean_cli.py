"""The command line in Korean: complete, anywhere on the line, and gone afterwards."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from command import run_command
from nunbit.cli import cli
from nunbit.cli.korean import korean_help
from nunbit.runtime.resources import packaged_table

HANGUL = re.compile("[가-힣]")


def commands(group: click.Command = cli, path: str = "") -> dict[str, click.Command]:
    found = {path: group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, f"{path} {name}".strip())
    return found


@pytest.mark.parametrize("path", commands())
def test_every_command_and_option_has_korean(path: str) -> None:
    command, table = commands()[path], packaged_table("cli/korean.toml")
    assert path in table["commands"]
    assert HANGUL.search(korean_help(path, command.help or ""))
    for option in command.params:
        if isinstance(option, click.Option) and option.help:
            assert option.help in table["options"] or option.help in table["click"], option.help


def test_no_korean_is_left_over() -> None:
    table = packaged_table("cli/korean.toml")
    assert set(table["commands"]) == set(commands())
    used = {p.help for c in commands().values() for p in c.params if isinstance(p, click.Option)}
    assert set(table["options"]) <= used


@pytest.mark.parametrize(
    "line",
    ["--lang ko --help", "--help --lang ko", "analyze --help --lang ko", "analyze --lang=ko --help",
     "--lang ko analyze --help"],
)  # fmt: skip
def test_help_is_korean_wherever_it_is_asked_for(line: str) -> None:
    done = run_command(*line.split())
    assert done.returncode == 0, done.stderr
    assert "사용법: nunbit" in done.stdout
    assert "이 도움말을 보여 줍니다." in done.stdout
    for english in ("Usage", "Options", "Show this", "Examples:", "Folder"):
        assert english not in done.stdout
    assert "nunbit analyze interview.mp4" in done.stdout or "nunbit prepare" in done.stdout


def test_help_is_korean_on_a_korean_system_and_english_again_afterwards() -> None:
    assert "사용법" in run_command("figure", "--help", LANG="ko_KR.UTF-8").stdout
    again = run_command("figure", "--help").stdout
    assert "Usage: nunbit figure" in again
    assert not HANGUL.search(again)
    assert "Show this message and exit." in again


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("analyze a.mp4 --lang ko", "빠진 옵션 '--out'"),
        ("analyze --out o --lang ko", "MEDIA(녹화나 폴더) 또는 --people 표를 주십시오."),
        ("analyse a.mp4 --lang ko", "'analyse' 명령은 없습니다."),
        ("figure s --out f.pdf --width three --lang ko", "가운데 하나가 아닙니다"),
        ("search t x --bundle fer7-lite --top many --lang ko", "오류:"),
        ("tables --lang ko", "빠진 인자 'TIMELINES'"),
        ("figure --lang ko s --out", "값이 필요합니다"),
        ("tables a b --lang ko", "필요 없는 인자가 있습니다(b)"),
    ],
)
def test_wrong_usage_is_told_in_korean(line: str, words: str) -> None:
    done = run_command(*line.split())
    assert done.returncode in (1, 2)
    assert words in done.stderr
    for english in ("Error", "Usage", "Missing", "No such", "Try "):
        assert english not in done.stderr, done.stderr


def test_a_language_before_the_command_stays(tmp_path: Path) -> None:
    done = run_command("--lang", "ko", "tables", tmp_path)
    assert done.returncode == 1
    assert "분석한 녹화가 없습니다" in done.stderr
