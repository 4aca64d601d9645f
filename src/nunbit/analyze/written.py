"""Which files an analysis wrote, so that a folder counts as done only while they are there, whole.

``summary.json`` is written last and holds size and digest of everything else but the report, which
can be rendered again at any time (in another language, for example).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nunbit.files import sha256_file

Stamp = tuple[int, int, int]
Described = dict[str, dict[str, Any]]


def stamps(folder: Path) -> dict[str, Stamp]:
    """Files directly in a folder with what tells whether they were written anew."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in folder.iterdir():
        if path.is_file() and not path.name.startswith("."):
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def describe_written(folder: Path, before: Mapping[str, Stamp]) -> Described:
    """Name -> ``bytes`` and ``sha256`` of the files that are new or changed since ``before``."""
    now = stamps(folder)
    return {
        name: {"bytes": stamp[1], "sha256": sha256_file(folder / name)}
        for name, stamp in sorted(now.items())
        if before.get(name) != stamp
    }


def is_whole(folder: Path, described: object) -> bool:
    """Whether every file is there as it was written; False where nothing is described."""
    if not isinstance(described, dict) or not described:
        return False
    for name, facts in described.items():
        path = folder / str(name)
        if path.parent != folder or not isinstance(facts, dict) or not path.is_file():
            return False
        if path.stat().st_size != facts.get("bytes") or sha256_file(path) != facts.get("sha256"):
            return False
    return True
