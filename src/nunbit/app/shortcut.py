"""Starting and ending the app without a terminal: a file on the desktop, and what it runs.

A double click runs this module, which opens the app that is running or starts one, and shows a page
of plain words where it cannot. Nothing else of the web is needed to do so: what is missing is what
that page must tell. Linux gets a desktop entry, macOS a ``.command``, Windows a ``.bat``.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nunbit.app import ADDRESS_FILE, Address, is_in_use
from nunbit.app.access import app_key, write_secret
from nunbit.core.messages import SettingsError, Text, text_of
from nunbit.runtime.files import write_text, writing
from nunbit.runtime.resources import packaged_path, packaged_table

if TYPE_CHECKING:
    from fastapi import APIRouter

_NAMES = {"win32": "nunbit.bat", "darwin": "nunbit.command"}
_ENTRY = "nunbit.desktop"
_PLACE, _SCRIPT, _MISSING, _PROBLEM = "start", "start.sh", "missing.html", "problem.html"
_PATIENCE_S = 60.0  # a cold start from a slow disk; the page opens whenever the app is ready
_LOOK_S, _ANSWER_S = 0.1, 2.0
_LOG_LETTERS = 4000
_CALL = "from nunbit.app.shortcut import open_app; open_app()"


# -- the file on the desktop -----------------------------------------------------------------------


def desktop_folder(
    system: str = sys.platform, home: Path | None = None, given: Mapping[str, str] | None = None
) -> Path:
    """Where this user's desktop is, also where it has another name or lies in a cloud folder.

    Args:
        system: As ``sys.platform`` has it.
        home: Of the user.
        given: The environment.

    Raises:
        SettingsError: There is none.
    """
    home, given = home or Path.home(), os.environ if given is None else given
    places = [home / "Desktop", home / "바탕화면", home / "바탕 화면"]
    if sys.platform == "win32" and system == "win32":
        places.insert(0, _windows_desktop())
    elif system not in _NAMES:
        listed = Path(given.get("XDG_CONFIG_HOME") or home / ".config") / "user-dirs.dirs"
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in listed.read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition("=")
                if name.strip() == "XDG_DESKTOP_DIR" and value:
                    places.insert(0, Path(value.strip().strip('"').replace("$HOME", str(home))))
    found = next((place for place in places if place.is_dir() and place != home), None)
    if found is None:
        raise SettingsError(
            Text(
                "no desktop folder was found; give a folder for the file: `shortcut=FOLDER`",
                "바탕 화면 폴더를 찾지 못했습니다. 파일을 둘 폴더를 주십시오: `shortcut=폴더`",
            )
        )
    return found


def _windows_desktop() -> Path:
    """The desktop as Windows knows it: OneDrive may have moved it."""
    if sys.platform == "win32":
        import winreg

        key = r"Software\Microsoft\Windows\CurrentVersion\Explorer\User Shell Folders"
        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
            return Path(os.path.expandvars(str(winreg.QueryValueEx(opened, "Desktop")[0])))
    return Path.home() / "Desktop"


def shortcut_path(where: Path | None, system: str = sys.platform) -> Path:
    """The file of a shortcut in a folder; None is the desktop.

    Raises:
        SettingsError: There is no desktop, or no such folder.
    """
    folder = desktop_folder(system) if where is None else where
    if not folder.is_dir():
        raise SettingsError(
            Text(
                f"{folder}: no such folder; make it, or give another: `shortcut=FOLDER`",
                f"{folder}: 그런 폴더가 없습니다. 폴더를 만들거나 다른 폴더를 주십시오: "
                "`shortcut=폴더`",
            )
        )
    return folder / _NAMES.get(system, _ENTRY)


def make_shortcut(
    where: Path | None,
    data: Path,
    options: Sequence[str] = (),
    *,
    system: str = sys.platform,
    python: str = sys.executable,
) -> Path:
    """Write the file that starts the app by a double click; an earlier one is replaced.

    Args:
        where: Folder; None is the desktop.
        data: Data folder of the app.
        options: Of ``nunbit app``, as they are given there.
        system: For which the file is, as ``sys.platform`` has it.
        python: The Python that has nunbit.

    Returns:
        The file.

    Raises:
        SettingsError: There is no such folder.
        InputError: It cannot be written.
    """
    path, place = shortcut_path(where, system), data.resolve() / _PLACE
    words = [str(data.resolve()), *options]
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        data.chmod(0o700)
    missing = place / _MISSING
    write_text(missing, _page("missing", python=python))
    if system == "win32":
        _write_program(path, _windows_script(python, words, missing))
        return path
    script = _posix_script(python, words, missing, "open" if system == "darwin" else "xdg-open")
    if system == "darwin":
        _write_program(path, script)
        return path
    _write_program(place / _SCRIPT, script)
    _write_program(path, _desktop_entry(place / _SCRIPT))
    # GNOME starts a file of the desktop only where its owner trusts it.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["gio", "set", str(path), "metadata::trusted", "true"],
                       capture_output=True, timeout=5, check=False)  # fmt: skip
    return path


def remove_shortcut(where: Path | None, data: Path, *, system: str = sys.platform) -> list[Path]:
    """Remove the file and what it runs; returns what was there. No data are touched.

    Raises:
        SettingsError: There is no such folder.
        InputError: It cannot be removed.
    """
    place = data.resolve() / _PLACE
    mine = [shortcut_path(where, system)]
    mine += sorted(place.iterdir()) if place.is_dir() else []
    found = [path for path in mine if path.is_file()]
    for path in found:
        with writing(path):
            path.unlink()
    with contextlib.suppress(OSError):
        place.rmdir()
    return found


def _write_program(path: Path, text: str) -> None:
    """A file that only its owner may read and run: what it passes on may hold a token."""
    write_secret(path, text.removesuffix("\n"))
    with writing(path):
        path.chmod(0o700)


def _posix_script(python: str, words: Sequence[str], missing: Path, opener: str) -> str:
    given = " ".join(map(shlex.quote, words))
    return (
        "#!/bin/sh\n"
        "# Starts nunbit and opens its page. Made by: nunbit app --shortcut\n"
        f"PYTHON={shlex.quote(python)}\n"
        f'if [ -x "$PYTHON" ] && "$PYTHON" -P -c \'{_CALL}\' {given}; then\n'
        "  exit 0\n"
        "fi\n"
        f"exec {opener} {shlex.quote(str(missing))}\n"
    )


def _windows_script(python: str, words: Sequence[str], missing: Path) -> str:
    def quoted(word: str) -> str:
        return '"' + word.replace("%", "%%").replace('"', '""') + '"'

    given = " ".join(map(quoted, words))
    lines = (
        "@echo off",
        "rem Starts nunbit and opens its page. Made by: nunbit app --shortcut",
        "chcp 65001 >nul",
        f'"{python.replace("%", "%%")}" -P -c "{_CALL}" {given} 2>nul',
        f'if errorlevel 1 start "" {quoted(str(missing))}',
    )
    return "\r\n".join(lines) + "\r\n"


def _desktop_entry(script: Path) -> str:
    """An entry of the freedesktop specification 1.5; its words are quoted twice, as that asks."""
    word = str(script)
    for letter in '\\"`$':
        word = word.replace(letter, "\\" + letter)
    word = '"' + word.replace("%", "%%") + '"'
    table = packaged_table("app/shortcut.toml")["entry"]
    return (
        "[Desktop Entry]\nType=Application\nVersion=1.5\n"
        f"Name={table['name']['en']}\nName[ko]={table['name']['ko']}\n"
        f"Comment={table['comment']['en']}\nComment[ko]={table['comment']['ko']}\n"
        f"Exec={word.replace(chr(92), chr(92) * 2)}\n"
        f"Icon={packaged_path('app/page/icon.svg')}\n"
        "Terminal=false\nCategories=Science;Education;\n"
    )


# -- what it runs ----------------------------------------------------------------------------------


def find_running(data: Path) -> Address | None:
    """The app that runs on a data folder and answers; None where there is none."""
    if not is_in_use(data):
        return None
    try:
        told = json.loads((data / ADDRESS_FILE).read_text(encoding="utf-8"))
        url, port, own = str(told["url"]), int(told["port"]), bool(told["own_key"])
        asking = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with asking.open(f"{url}api/health", timeout=_ANSWER_S) as answer:
            if json.loads(answer.read(200)) != {"status": "ok"}:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Address(url, port, app_key(data) if own else "")


def open_app() -> None:
    """Open the running app, or start one; ``sys.argv``: its data folder, then its options.

    Whatever goes wrong is told on a page in the browser: nobody sees what is printed here.
    """
    data, *options = sys.argv[1:]
    folder = Path(data)
    there = find_running(folder)
    if there is not None:
        webbrowser.open(there.opens)
        return
    try:
        problem = _started(folder, options)
    except OSError as exc:
        problem = str(exc)
    if problem:
        page = _page("problem", reason=problem, log=_last(folder / _PLACE / "log"))
        webbrowser.open(_kept(folder, page).as_uri())


def _started(folder: Path, options: Sequence[str]) -> str:
    """Start the app in a process of its own; returns '' or why it did not start."""
    place = folder / _PLACE
    place.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-P", "-m", "nunbit", "app", "--json", "--data", str(folder), *options]
    with (place / "out").open("wb") as out, (place / "log").open("wb") as log:
        child = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=folder,
            start_new_session=True, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        told = _told(place / "out")
        if "url" in told:
            return ""
        if child.poll() is not None:
            if is_in_use(folder):  # a second click was faster than the first one's start
                return ""
            lines = _last(place / "log").strip().splitlines() or ["?"]
            return str(told.get("error") or lines[-1])
        time.sleep(_LOOK_S)
    return ""


def _told(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _last(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-_LOG_LETTERS:]
    except OSError:
        return ""


def _kept(folder: Path, page: str) -> Path:
    """The page as a file, in the temporary folder where the data folder cannot be written."""
    try:
        path = folder / _PLACE / _PROBLEM
        path.write_text(page, encoding="utf-8")
    except OSError:
        path = Path(tempfile.gettempdir()) / f"nunbit_{_PROBLEM}"
        path.write_text(page, encoding="utf-8")
    return path


def _page(kind: str, **values: str) -> str:
    """A page of plain words in both languages that needs no app."""
    table = packaged_table("app/shortcut.toml")
    filled = {name: html.escape(value) for name, value in values.items()}
    parts = []
    for lang in ("ko", "en"):
        told = {key: text_of(pair).pick(lang).format(**filled) for key, pair in table[kind].items()}
        title, log = told.pop("title"), told.pop("log", "")
        body = "".join(f"<p>{text}</p>" for text in told.values())
        if log and filled.get("log"):
            body += f"<details><summary>{log}</summary><pre>{filled['log']}</pre></details>"
        parts.append(f'<section lang="{lang}"><h1>{title}</h1>{body}</section>')
    return (
        '<!doctype html><html lang="ko"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>눈빛 nunbit</title>'
        f"<style>{table['style']}</style></head><body><main>{''.join(parts)}</main></body></html>"
    )


# -- the same from the page ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProgramShown:
    """The program itself: where it starts from by a double click, and what would go on later.

    Attributes:
        shortcut: Whether the file on the desktop is there.
        name: What it is called.
        jobs: Analyses that wait or run: they go on at the next start.
    """

    shortcut: bool
    name: str
    jobs: int


def routes() -> APIRouter:
    """Routes on the program itself; only for this machine."""
    from fastapi import APIRouter, Request

    from nunbit.app.access import Refusal
    from nunbit.app.routes import Owner, desk_of

    router = APIRouter(prefix="/api/program")

    def shown(request: Request) -> ProgramShown:
        desk = desk_of(request)
        if not desk.here:
            raise Refusal("not_here")
        path = None
        with contextlib.suppress(SettingsError):
            path = shortcut_path(None)
        states = ("queued", "running")
        busy = sum(len(desk.sessions.store.rows("jobs", state=state)) for state in states)
        return ProgramShown(path is not None and path.is_file(), path.name if path else "", busy)

    def make(request: Request) -> ProgramShown:
        shown(request)
        make_shortcut(None, desk_of(request).folder)
        return shown(request)

    def remove(request: Request) -> ProgramShown:
        shown(request)
        remove_shortcut(None, desk_of(request).folder)
        return shown(request)

    def end(request: Request) -> ProgramShown:
        found = shown(request)
        desk_of(request).end()
        return found

    # The module is imported without FastAPI, so types stand here and not in the signatures.
    for act, method, path, words in (
        (shown, "GET", "", "Whether a double click starts the app, and what is unfinished."),
        (make, "POST", "/shortcut", "Put the file on the desktop that starts the app."),
        (remove, "DELETE", "/shortcut", "Take it away again."),
        (end, "POST", "/end", "End the app; unfinished work goes on at its next start."),
    ):
        act.__annotations__ = {"request": Request, "return": ProgramShown}
        router.add_api_route(path, act, methods=[method], dependencies=[Owner], description=words)
    return router
