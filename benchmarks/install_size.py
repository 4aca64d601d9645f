"""How large an installation is, package by package, and whether it predicts.

python benchmarks/install_size.py [--python PYTHON] [--only core|media] [--constraint FILE]

For the core and for core plus media: a fresh virtual environment, ``pip install`` of this checkout,
the bytes of the files each distribution brought (compiled bytecode included, pip and setuptools
not), then ``nunbit predict`` on a synthetic picture there. 1 MB is 1,000,000 bytes. Exit code 1 if
a limit is missed or predict fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMITS_MB = {"core": 450.0, "media": 650.0}
SMALL_MB = 1.0

# Runs inside the new environment: a file counts once, for the distribution whose RECORD names it.
_MEASURE = """
import json
from importlib.metadata import distributions
from pathlib import Path
seen, sizes = set(), {}
for dist in distributions():
    name = dist.metadata["Name"]
    own = sizes.setdefault(name, 0)
    for file in dist.files or ():
        path = Path(dist.locate_file(file)).resolve()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        sizes[name] += path.stat().st_size
print(json.dumps(sizes))
"""

# One drawn face; the sheet of one person has seven of them under Korean headings.
_DRAW = f"""
import sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
from pathlib import Path
from PIL import Image
from development.sheet import contact_sheet
contact_sheet(Path("sheet.png"), persons=1)
Image.open("sheet.png").crop((0, 50, 200, 250)).save("picture.png")
"""


def main() -> int:
    """Measure the installations asked for; 1 if one is too large or does not predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    parser.add_argument("--only", choices=sorted(LIMITS_MB))
    parser.add_argument("--constraint", type=Path, help="passed to pip, e.g. constraints.txt")
    options = parser.parse_args()
    good = True
    for kind in [options.only] if options.only else LIMITS_MB:
        with tempfile.TemporaryDirectory(prefix="nunbit-size-") as folder:
            good &= _one(kind, options.python, options.constraint, Path(folder))
    return 0 if good else 1


def _one(kind: str, python: str, constraint: Path | None, folder: Path) -> bool:
    binaries = _install(kind, python, constraint, folder / "venv")
    sizes = _sizes(binaries)
    total = sum(sizes.values())
    print(f"== {kind}, {_run([str(binaries / 'python'), '--version'], folder).strip()}")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size >= SMALL_MB:
            print(f"{name:28} {size:7.1f} MB")
    small = [size for size in sizes.values() if size < SMALL_MB]
    print(f"{f'{len(small)} smaller ones':28} {sum(small):7.1f} MB")
    fits = total <= LIMITS_MB[kind]
    verdict = "reached" if fits else f"missed by {total - LIMITS_MB[kind]:.1f} MB"
    print(f"{'total':28} {total:7.1f} MB  limit {LIMITS_MB[kind]:.0f} MB: {verdict}")
    print(f"predict: {_predict(binaries, folder)}", flush=True)
    return fits


def _install(kind: str, python: str, constraint: Path | None, venv: Path) -> Path:
    """Make the environment and return the folder of its programs."""
    subprocess.run([python, "-m", "venv", str(venv)], check=True)
    binaries = venv / ("Scripts" if os.name == "nt" else "bin")
    wanted = str(ROOT) if kind == "core" else f"{ROOT}[{kind}]"
    command = [str(binaries / "python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", *(["-c", str(constraint)] if constraint else [])]
    subprocess.run([*command, wanted], check=True)
    return binaries


def _sizes(binaries: Path) -> dict[str, float]:
    """MB of every distribution but the installers."""
    sizes = json.loads(_run([str(binaries / "python"), "-c", _MEASURE], binaries))
    return {n: size / 1e6 for n, size in sizes.items() if n not in {"pip", "setuptools", "wheel"}}


def _predict(binaries: Path, folder: Path) -> str:
    """Use the installation as a newcomer would; an error of any step ends the benchmark."""
    nunbit = str(binaries / "nunbit")
    _run([nunbit, "predict", "--help"], folder)
    _run([str(binaries / "python"), "-c", _DRAW], folder)
    command = [nunbit, "predict", "picture.png", "--crops", "--lang", "ko", "--json"]
    answer = json.loads(_run([*command, "--annotate", "drawn"], folder))
    drawn = [path for path in (folder / "drawn").rglob("*") if path.is_file()]
    if not drawn:
        raise SystemExit("predict --annotate drew nothing")
    return f"{json.dumps(answer, ensure_ascii=False)[:160]}…; drew {drawn[0].name}"


def _run(command: list[str], folder: Path) -> str:
    """Standard output; PYTHONPATH is kept out so that the installed code is what runs."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
