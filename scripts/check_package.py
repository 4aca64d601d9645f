"""Build sdist and wheel, install them into empty environments, and see that they work there.

python scripts/check_package.py [--python PYTHON…] [--extra EXTRA…] [--for SECONDS] [--work FOLDER]

For every interpreter that is found (3.11, 3.12, 3.13) and every extra of ``pyproject.toml``: a new
virtual environment, WHEEL[EXTRA] in it, ``pip check``, the bytes that were installed, and
commands of that extra, run outside the checkout. Core and sdist are installed by pip, extras by uv
(Apache-2.0), whose cache spares most of the work of the next environment. What was done for the
same wheel is kept in ``FOLDER/result.json``, so that the same line goes on. Prints a table; exit
code 1 if something failed. An interpreter that is not here is said, and fails nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
CORE, SDIST = "core", "sdist"
BIG = ("dev", "cluster", "asr", "train")

# What must work with an extra alone. {tmp} is an empty folder; words of one line each.
_TREE = "nunbit synth aihub {tmp}/tree --per-class 1"
_DATA = "nunbit prepare {tmp}/tree --out {tmp}/data --size 64"
_PHOTO = "python -c \"from PIL import Image; Image.new('RGB', (96, 96)).save(r'{tmp}/photo.png')\""
SMOKE: dict[str, tuple[str, ...]] = {
    CORE: (
        "nunbit --version",
        "nunbit doctor --json",
        "nunbit measures --json",
        _TREE,
        _DATA,
        _PHOTO,
        "nunbit predict {tmp}/photo.png --crops --json",
        'python -c "import nunbit; print(nunbit.load())"',
    ),
    "media": (
        "nunbit synth video {tmp}/talk.mp4",
        "nunbit check {tmp}/talk.mp4 --json",
        "nunbit analyze {tmp}/talk.mp4 --out {tmp}/out --json",
    ),
    "train": (
        "nunbit synth aihub {tmp}/tree --per-class 10",  # enough to hold persons out
        _DATA,
        "nunbit train {tmp}/data --out {tmp}/run --init tiny --set max_steps=2 --set image_size=32",
    ),
    "asr": (
        'python -c "import docx, faster_whisper, kiwipiepy, rapidfuzz, vosk"',
        "python -c \"import kiwipiepy; print(kiwipiepy.Kiwi().tokenize('슬프지 않다')[0].form)\"",
    ),
    "web": ('python -c "import fastapi, multipart, uvicorn, websockets, nunbit.app"',),
    "figures": ('python -c "import matplotlib.pyplot, nunbit.report.figures"',),
    "pandas": (
        _PHOTO,
        'python -c "import nunbit; '
        "print(nunbit.predict(r'{tmp}/photo.png', crops=True).to_pandas().shape)\"",
    ),
    "tables": ('python -c "import openpyxl, pyreadstat, pandas, nunbit.report.table_files"',),
    "heic": ('python -c "import pi_heif"',),
    "cluster": ('python -c "import ray"',),
    "fuzz": ('python -c "import schemathesis"',),
    "dev": ("pytest --version", "ruff --version", "mypy --version"),
}

_MEASURE = """
import json
from importlib.metadata import distributions
from pathlib import Path
seen, total = set(), 0
for dist in distributions():
    if dist.metadata["Name"] in ("pip", "setuptools"):
        continue
    for file in dist.files or ():
        path = Path(dist.locate_file(file)).resolve()
        if path not in seen and path.is_file():
            seen.add(path)
            total += path.stat().st_size
print(json.dumps([total, len(list(distributions()))]))
"""


def main() -> int:
    """Check what was asked for; 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="*", help="interpreters (default: those that are found)")
    parser.add_argument("--extra", nargs="*", help="extras, core, sdist (default: all)")
    parser.add_argument("--for", dest="most_s", type=float, default=float("inf"),
                        help="begin nothing after so many seconds")  # fmt: skip
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "check-package")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    pythons = options.python or found_pythons()
    for version in VERSIONS:
        if not options.python and not any(version in _version(p) for p in pythons):
            print(f"-- Python {version}: not on this machine, not checked")
    wheel, sdist = build(options.work)
    uv = options.work / "tools" / "bin" / "uv"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    results = Results(options.work / "result.json", digest, time.monotonic() + options.most_s)
    # The big ones (networks, CUDA) last: what is small is known soon.
    every = [CORE, SDIST, *sorted(every_extra(), key=lambda extra: (extra in BIG, extra))]
    for name in options.extra or every:
        given = (sdist, CORE, uv) if name == SDIST else (wheel, name, uv)
        for python in pythons:
            results.do(f"{_version(python)} {name}", lambda p=python, g=given: one(p, *g))
    print(results.table([wheel, sdist]))
    return 0 if results.good() else 1


def every_extra() -> list[str]:
    """The extras of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(project["optional-dependencies"])


def found_pythons() -> list[str]:
    """An interpreter of each version: on the path, or of pyenv."""
    found = []
    for version in VERSIONS:
        places = [shutil.which(f"python{version}")]
        places += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
        working = [p for p in places if p is not None and version in _version(p)]
        found += working[:1]
    return found


def _version(python: str) -> str:
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return run.stdout.strip()


def build(work: Path) -> tuple[Path, Path]:
    """Build wheel and sdist of this checkout."""
    dist = work / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    tools = work / "tools"
    if not (tools / "bin" / "uv").is_file():
        venv.create(tools, with_pip=True)
        _run([str(tools / "bin" / "pip"), "install", "-q", "hatchling>=1.26", "uv"])
    # One after the other, reproducibly: the same checkout gives the same bytes.
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    for target in ("wheel", "sdist"):
        _run(
            [str(tools / "bin" / "hatchling"), "build", "-d", str(dist), "-t", target],
            environment=environment,
            cwd=ROOT,
        )
    return next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))


class Results:
    """What was done, kept in a file as long as the wheel is the same."""

    def __init__(self, path: Path, digest: str, until: float) -> None:
        self._path, self._digest, self._until = path, digest, until
        self._asked: list[str] = []
        stored = json.loads(path.read_text()) if path.is_file() else {}
        self._done: dict[str, Any] = stored["done"] if stored.get("wheel") == digest else {}

    def do(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Do a piece of work unless it was done and went well, or time is over."""
        self._asked.append(name)
        if not self._done.get(name, {}).get("good") and time.monotonic() < self._until:
            print(f"== {name}", flush=True)
            self._done[name] = work()
            print(self.line(name), flush=True)
            self._path.write_text(json.dumps({"wheel": self._digest, "done": self._done}, indent=1))

    def good(self) -> bool:
        """Whether all that was asked for was done and went well."""
        return all(self._done.get(name, {}).get("good") for name in self._asked)

    def line(self, name: str) -> str:
        """What was done under this name, for people."""
        row = self._done.get(name)
        if row is None:
            return f"{name:18} not done yet: the same line goes on"
        state = "ok" if row["good"] else f"FAILED: {row['failure']}"
        return (
            f"{name:18} {row['megabytes']:8.1f} MB {row['packages']:4d} packages "
            f"{row['seconds']:5.0f} s  {state}"
        )

    def table(self, files: list[Path]) -> str:
        """All that was asked for, for people."""
        lines = [f"{file.name}: {file.stat().st_size / 1e6:.1f} MB" for file in files]
        return "\n".join([*lines, *map(self.line, self._asked)])


def one(python: str, package: Path, extra: str, uv: Path) -> dict[str, Any]:
    """Install into an empty environment, and try."""
    begun = time.monotonic()
    row: dict[str, Any] = {"good": False, "failure": "", "megabytes": 0.0, "packages": 0}
    with tempfile.TemporaryDirectory(prefix="nunbit-package-") as folder:
        place = Path(folder) / "venv"
        inside = str(place / "bin" / "python")
        try:
            if extra == CORE:
                _run([python, "-m", "venv", str(place)])
                _run([inside, "-m", "pip", "install", "-q", str(package)])
                _run([inside, "-m", "pip", "check"])
            else:
                known = _indexes_of_pip()
                _run([str(uv), "venv", "-q", "--python", python, str(place)], known)
                wanted = f"{package}[{extra}]"
                _run([str(uv), "pip", "install", "-q", "--python", inside, wanted], known)
                _run([str(uv), "pip", "check", "-q", "--python", inside], known)
            total, row["packages"] = json.loads(_run([inside, "-c", _MEASURE]))
            row["megabytes"] = total / 1e6
            empty = Path(folder) / "empty"
            empty.mkdir()
            for line in SMOKE.get(extra, ()):
                _shell(line.replace("{tmp}", str(empty)), place, empty)
            row["good"] = True
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
            told = (exc.stderr or exc.stdout or str(exc)).strip().splitlines()
            row["failure"] = f"{exc.cmd if isinstance(exc.cmd, str) else ' '.join(exc.cmd[-3:])}: "
            row["failure"] += told[-1] if told else "no message"
    row["seconds"] = round(time.monotonic() - begun, 1)
    return row


def _indexes_of_pip() -> dict[str, str]:
    """The environment that lets uv look where pip looks: it does not read pip's settings."""
    run = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    told = dict(line.partition("=")[::2] for line in run.stdout.splitlines())
    of = {key.rpartition(".")[2]: value.strip("'\" ") for key, value in told.items()}
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
    }
    found = {uv: " ".join(of[pip].split()) for pip, uv in names.items() if of.get(pip)}
    if links := found.get("UV_FIND_LINKS"):
        found["UV_FIND_LINKS"] = links.replace(" ", ",")
    return os.environ | found | {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NATIVE_TLS": "1"}


def _shell(line: str, place: Path, folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUNBIT"))}
    environment["PATH"] = f"{place / 'bin'}{os.pathsep}{environment['PATH']}"
    subprocess.run(
        line, shell=True, cwd=folder, env=environment, check=True, capture_output=True,
        text=True, timeout=1200,
    )  # fmt: skip


def _run(
    command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None
) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, check=True,
        capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
