"""A double click starts the app, a second one opens it, and a plain page tells what is missing."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")

from command import run_command
from make_app import RunningApp, running_app
from nunbit.app import is_in_use
from nunbit.app.shortcut import (
    desktop_folder,
    find_running,
    make_shortcut,
    remove_shortcut,
    shortcut_path,
)
from nunbit.core.messages import SettingsError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the scripts of Linux are run here")

ODD = '눈 빛 $HOME `id` "q" 100%'


class Desk:
    """A home with a desktop, and a browser that notes what it is told to open."""

    def __init__(self, folder: Path) -> None:
        self.home, self.data, self.opened = folder / "home", folder / ODD, folder / "opened"
        self.desktop = self.home / "Desktop"
        self.desktop.mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        script = f"#!/bin/sh\nprintf '%s\\n' \"$1\" >> {shlex.quote(str(self.opened))}\n"
        for name in ("browser", "xdg-open", "gio"):
            (programs / name).write_text(script if name != "gio" else "#!/bin/sh\n")
            (programs / name).chmod(0o755)
        self.environment = {
            **os.environ, "HOME": str(self.home), "BROWSER": f"{programs / 'browser'} %s",
            "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def double_click(self, entry: Path, seconds: float = 90.0) -> None:
        """What a desktop does with an entry: its line is parsed as the specification says."""
        read = configparser.ConfigParser(interpolation=None)
        read.optionxform = str  # type: ignore[assignment,method-assign]
        read.read(entry, encoding="utf-8")
        line = read["Desktop Entry"]["Exec"].replace("\\\\", "\\").replace("%%", "%")
        assert line[0] == line[-1] == '"'  # one quoted word, in which four letters are escaped
        program = re.sub(r'\\(["`$\\])', r"\1", line[1:-1])
        subprocess.run([program], env=self.environment, timeout=seconds, check=False)

    def pages(self, least: int = 1, seconds: float = 60.0) -> list[str]:
        """Addresses that were opened."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.opened.read_text().splitlines() if self.opened.is_file() else []
            if len(found) >= least:
                return found
            time.sleep(0.1)
        return []


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(tmp_path)
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.setenv("PATH", made.environment["PATH"])
    yield made
    told = made.data / "start" / "out"
    if told.is_file() and is_in_use(made.data):
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            words = place.read_bytes().split(b"\0") if place.exists() else []
            if b"app" in words and os.fsencode(made.data) in words:
                os.kill(int(place.parent.name), signal.SIGKILL)


def test_where_the_desktop_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".config").mkdir(parents=True)
    with pytest.raises(SettingsError, match="no desktop"):
        desktop_folder("linux", home, {})
    (home / "바탕화면").mkdir()
    assert desktop_folder("linux", home, {}) == home / "바탕화면"
    (home / "Schreibtisch").mkdir()
    listed = home / ".config" / "user-dirs.dirs"
    listed.write_text('# x\nXDG_DESKTOP_DIR="$HOME/Schreibtisch"\n')
    assert desktop_folder("linux", home, {}) == home / "Schreibtisch"
    listed.write_text('XDG_DESKTOP_DIR="$HOME/"\n')  # no desktop in this session
    assert desktop_folder("linux", home, {}) == home / "바탕화면"
    (home / "Desktop").mkdir()
    assert desktop_folder("darwin", home, {}) == home / "Desktop"


def test_a_double_click_starts_the_app_and_a_second_one_opens_it(desk: Desk) -> None:
    entry = make_shortcut(None, desk.data, ["--port", "0"])
    assert entry == desk.desktop / "nunbit.desktop"
    assert entry.stat().st_mode & 0o777 == 0o700
    assert "Name[ko]=눈빛 nunbit" in entry.read_text(encoding="utf-8")
    assert "Terminal=false" in entry.read_text(encoding="utf-8")
    desk.double_click(entry)
    first = desk.pages()
    assert first[0].startswith("http://127.0.0.1:")
    assert "#key=" in first[0]
    there = find_running(desk.data)
    assert there is not None
    assert there.opens == first[0]
    began = time.monotonic()
    desk.double_click(entry)
    assert desk.pages(2) == [first[0], first[0]]
    assert time.monotonic() - began < 30
    # The command opens the running one as well, and the address is printed.
    done = run_command(
        "app", "--data", str(desk.data), "--json", BROWSER=desk.environment["BROWSER"]
    )
    assert json.loads(done.stdout)["opens"] == first[0]
    assert len(desk.pages(3)) == 3
    # Ended from the page, and nothing is left that would mislead the next double click.
    import httpx

    headers = {"Authorization": f"Bearer {there.key}"}
    shown = httpx.get(f"{there.url}api/program", headers=headers, trust_env=False).json()
    assert shown == {"shortcut": True, "name": "nunbit.desktop", "jobs": 0}
    httpx.post(f"{there.url}api/program/end", headers=headers, trust_env=False)
    end = time.monotonic() + 30
    while is_in_use(desk.data) and time.monotonic() < end:
        time.sleep(0.1)
    assert find_running(desk.data) is None
    assert not (desk.data / "address.json").exists()
    gone = remove_shortcut(None, desk.data)
    assert entry in gone
    assert not entry.exists()
    assert not (desk.data / "start").exists()
    assert (desk.data / "nunbit.sqlite").is_file()


def test_a_program_that_is_gone_is_told_on_a_page(desk: Desk) -> None:
    entry = make_shortcut(None, desk.data, python=str(desk.home / "no" / "python"))
    desk.double_click(entry)
    [page] = desk.pages()
    told = Path(page).read_text(encoding="utf-8")
    for words in ("설치된 자리에 없습니다", "not where it was installed", "no/python",
                  "그대로 있습니다"):  # fmt: skip
        assert words in told


def test_what_hinders_the_start_is_told_on_a_page(desk: Desk) -> None:
    entry = make_shortcut(None, desk.data, ["--set", "media_mb=many"])
    desk.double_click(entry)
    [page] = desk.pages()
    assert page.startswith("file://")
    told = (desk.data / "start" / "problem.html").read_text(encoding="utf-8")
    assert "눈빛을 시작하지 못했습니다" in told
    assert "could not be started" in told
    assert "media_mb" in told
    assert "Traceback" not in told


def test_the_usual_port_may_be_taken_by_another_program(desk: Desk) -> None:
    import socket

    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", 8709))
        except OSError:
            pytest.skip("the port is used on this machine")
        other.listen()
        entry = make_shortcut(None, desk.data)
        desk.double_click(entry)
        assert desk.pages()[0].startswith("http://127.0.0.1:")
        assert ":8709/" not in desk.pages()[0]


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_the_files_of_other_systems(tmp_path: Path, system: str) -> None:
    data = tmp_path / "자료 100%"
    path = make_shortcut(tmp_path, data, system=system, python="C:\\눈빛 env\\python.exe")
    text = path.read_bytes().decode("utf-8")
    missing = str(data / "start" / "missing.html")
    if system == "win32":
        assert path.name == "nunbit.bat"
        lines = text.split("\r\n")
        assert lines[0] == "@echo off"
        assert "chcp 65001 >nul" in lines  # else names in Hangul are read as cp949
        assert '"C:\\눈빛 env\\python.exe" -P -c' in text
        assert str(data).replace("%", "%%") in text
        assert f'start "" "{missing.replace("%", "%%")}"' in text
    else:
        assert path.name == "nunbit.command"
        assert text.startswith("#!/bin/sh\n")
        assert path.stat().st_mode & 0o100
        assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
        assert f"exec open {shlex.quote(missing)}" in text
    assert remove_shortcut(tmp_path, data, system=system)[0] == path


def test_bad_places_are_refused_in_one_line(desk: Desk) -> None:
    with pytest.raises(SettingsError, match="no such folder"):
        shortcut_path(desk.home / "nowhere")
    done = run_command("app", "--shortcut", str(desk.home / "nowhere"), "--data", str(desk.data))
    assert done.returncode == 1
    assert "--shortcut" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    done = run_command("app", "--shortcut", "--data", str(desk.data), HOME=str(desk.home))
    assert done.returncode == 0, done.stderr
    assert (desk.desktop / "nunbit.desktop").is_file()
    done = run_command("app", "--remove-shortcut", "--data", str(desk.data), HOME=str(desk.home))
    assert not (desk.desktop / "nunbit.desktop").exists()


def test_a_second_app_for_programs_is_still_refused(tmp_path: Path) -> None:
    with running_app(tmp_path / "data") as app:
        again = RunningApp(tmp_path / "data")
        with pytest.raises(KeyError):
            again.start()
        assert "another nunbit app" in again.told["error"]
        there = find_running(tmp_path / "data")
        assert there is not None
        assert there.key == app.key
    # The address of a killed app misleads nobody.
    assert find_running(tmp_path / "data") is None
