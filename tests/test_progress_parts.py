"""Progress never stands still: file, part, rate and time left, while nothing is counted too."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("av")

from command import run_command
from make_media import Sound, clicks, write_media
from nunbit.core.messages import Text
from nunbit.runtime import progress
from nunbit.runtime.progress import Progress
from nunbit.runtime.workers import Tools, run_tasks
from nunbit.stories.analyze import analyze
from nunbit.stories.analyze.job import AnalyzeSettings


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal, and knows when it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.times = [time.monotonic()]

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.times.append(time.monotonic())
        return super().write(text)


@pytest.mark.slow
def test_a_bar_goes_on_while_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with Progress(Text("analyze", "분석"), 100, "s") as bar:
        bar.advance(40)
        bar.tell("interview: measures")
        time.sleep(3.5)
    gaps = [b - a for a, b in zip(shown.times, shown.times[1:], strict=False)]
    assert max(gaps) < 2.0
    last = shown.getvalue().split("\r")[-1]
    for words in ("40%", "40/100", "s/s", "interview: measures"):
        assert words in last


@pytest.mark.slow
def test_a_log_gets_a_line_while_nothing_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.5)
    with Progress(Text("analyze", "분석"), 100, "s") as bar:
        bar.advance(40)
        bar.tell("interview: measures")
        time.sleep(1.5)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("analyze: 40/100 s, ")
    assert " left, interview: measures" in line


def _told(task: str, tools: Tools) -> str:
    tools.tell(f"{task}: part")
    return task


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_worker_does_is_told_to_the_parent(workers: int) -> None:
    heard: list[str] = []
    done = set(run_tasks(_told, ["a", "b"], num_workers=workers, advance=lambda n: None,
                         tell=heard.append))  # fmt: skip
    assert done == {"a", "b"}
    assert sorted(heard) == ["a: part", "b: part"]


@pytest.mark.slow
def test_analyze_tells_file_part_rate_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Terminal()
    for name in ("one", "two"):
        write_media(tmp_path / f"{name}.wav", sounds=[Sound(clicks([0.5], 3.0), codec="pcm_s16le")])
    monkeypatch.setattr(sys, "stderr", shown)
    analyze([tmp_path / "one.wav", tmp_path / "two.wav"], tmp_path / "out",
            AnalyzeSettings(workers=1))  # fmt: skip
    text = shown.getvalue()
    for words in ("one: reading faces and voice", "one: measures", "two: report", "/6 ",
                  "one: done (1/2)", "two: done (2/2)"):  # fmt: skip
        assert words in text, words


@pytest.mark.slow
def test_a_log_has_a_line_a_recording(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_media(tmp_path / f"{name}.wav", sounds=[Sound(clicks([0.5], 3.0), codec="pcm_s16le")])
    done = run_command("analyze", tmp_path / "one.wav", tmp_path / "two.wav", "--out",
                       tmp_path / "out", "--lang", "ko")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "one: 완료" in done.stderr
    assert "분석: 6/6 s" in done.stderr
