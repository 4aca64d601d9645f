"""What ``align`` keeps of the recordings, and how it is deleted.

``RUN/recordings`` holds the face model's vectors of every window as they are, means in: people can
be recognised from them. They save reading everything again, and nothing else needs them.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nunbit.align.settings import RECORDINGS, RESULT
from nunbit.errors import InputError, Lang
from nunbit.files import read_json, write_json, writing
from nunbit.progress import say
from nunbit.report.alignment_page import render_alignment

FORGOTTEN = "forgotten.json"
"""Says when readings were deleted, so that a run that reads again can say why."""


def kept_readings(run: Path) -> dict[str, Any]:
    """How many files are kept, their bytes, and when earlier ones were deleted (or None)."""
    files = _files(run)
    return {
        "folder": RECORDINGS,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "deleted": _deleted(run),
    }


def forget(run: Path, *, lang: Lang) -> dict[str, Any]:
    """Delete the readings of a run; its result, report and bundle stay.

    Args:
        run: Folder of the run.
        lang: Language of the report, which is rendered again to say so.

    Returns:
        ``result.json`` as it is now.

    Raises:
        InputError: There is no run here, or a file cannot be deleted.
    """
    path = run / RESULT
    folder = run / RECORDINGS
    if not path.is_file() and not folder.is_dir():
        raise InputError(
            en=f"{run}: no run of nunbit align here; give its --out",
            ko=f"{run}: nunbit align의 실행 결과가 아닙니다. 그 --out 폴더를 주십시오",
        )
    count = len(_files(run))
    with writing(folder):
        if folder.is_dir():
            shutil.rmtree(folder)
        if count:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(run / FORGOTTEN, {"deleted": now, "files": count})
    if lang == "ko":
        say(f"{folder}: 읽어 둔 녹화 {count}개를 삭제했습니다")
    else:
        say(f"{folder}: what was read of {count} recordings is deleted")
    if not path.is_file():  # ended before it had a result
        return {"readings": kept_readings(run)}
    document: dict[str, Any] = read_json(path)
    document["readings"] = kept_readings(run)
    write_json(path, document)
    render_alignment(run, lang=lang)
    return document


def say_forgotten(run: Path, lang: Lang) -> None:
    """Before reading: say if the readings of this run had been deleted."""
    when = _deleted(run)
    if when is None or _files(run):
        return
    if lang == "ko":
        say(f"이 실행의 읽어 둔 녹화는 {when[:10]}에 삭제되어 녹화를 다시 읽습니다")
    else:
        say(f"what this run had read was deleted on {when[:10]}: the recordings are read again")


def _files(run: Path) -> list[Path]:
    return sorted((run / RECORDINGS).glob("*.npz"))


def _deleted(run: Path) -> str | None:
    path = run / FORGOTTEN
    return str(read_json(path)["deleted"]) if path.is_file() else None
