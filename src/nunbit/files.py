"""Writing files so that nothing half-written ever stands under a final name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nunbit.errors import InputError, NunbitError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` if the body succeeds.

    The parent folder is made. If the body raises, the temporary file is removed and ``path`` is
    as it was. A killed process can leave a ``.partial`` file, never a wrong final one.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate the operating system's refusals into one line that says what to do.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    try:
        yield
    except NunbitError:
        raise
    except OSError as exc:
        raise write_error(path, exc) from exc


def write_error(path: Path, exc: OSError) -> InputError:
    """The message for an ``OSError`` met while writing below ``path``."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            en=f"{path}: the disk is full; make room and run the same line again, "
            "finished work is kept",
            ko=f"{path}: 디스크가 가득 찼습니다. 공간을 비우고 같은 명령을 다시 실행하십시오. "
            "끝난 작업은 남아 있습니다",
        )
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(
            en=f"{path}: no permission to write here; choose another --out",
            ko=f"{path}: 쓰기 권한이 없습니다. 다른 --out을 고르십시오",
        )
    if exc.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return InputError(
            en=f"{path}: a file stands where a folder is needed, or the reverse; "
            "choose another --out",
            ko=f"{path}: 폴더 자리에 파일이 있거나 그 반대입니다. 다른 --out을 고르십시오",
        )
    return InputError(
        en=f"{path}: cannot write: {exc.strerror or exc}",
        ko=f"{path}: 쓸 수 없습니다: {exc.strerror or exc}",
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, document: Any) -> None:
    """Write JSON atomically: UTF-8, Hangul readable, NaN refused, one trailing newline."""
    write_text(path, json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: The file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise InputError(
            en=f"{path}: cannot read this JSON file: {exc}",
            ko=f"{path}: JSON 파일을 읽을 수 없습니다: {exc}",
        ) from exc


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
