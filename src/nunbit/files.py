"""Files read and written with care: nothing half-written under a final name, one line of refusal.

What is given may be missing, a pipe or a device, damaged or hostile: reading says so at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nunbit.errors import InputError, NunbitError

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


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
    """Write UTF-8 text atomically; half characters (lone surrogates) become U+FFFD."""
    with atomic_path(path) as partial:
        partial.write_text(whole_text(text), encoding="utf-8", newline="\n")


def whole_text(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, from names or damaged JSON, become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def json_text(document: Any, *, indent: int | None = None) -> str:
    """JSON that UTF-8 can hold, Hangul readable; NaN refused, lone surrogates as JSON escapes."""
    text = json.dumps(document, ensure_ascii=False, indent=indent, allow_nan=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write_json(path: Path, document: Any) -> None:
    """Write JSON atomically: UTF-8, Hangul readable, NaN refused, one trailing newline."""
    write_text(path, json_text(document, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: The file is missing, unreadable, no regular file, not JSON, nested too deeply
            or with numbers of thousands of digits.
    """
    try:
        require_regular(path)
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        reason = "nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise InputError(
            en=f"{path}: cannot read this JSON file: {reason}",
            ko=f"{path}: JSON 파일을 읽을 수 없습니다: {reason}",
        ) from exc


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as plain data.

    Raises:
        tomllib.TOMLDecodeError: It is not TOML, nested too deeply, or holds a number of thousands
            of digits.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as exc:
        raise tomllib.TOMLDecodeError("nested too deeply") from exc
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as exc:  # Python refuses whole numbers of more than 4,300 digits
        raise tomllib.TOMLDecodeError(str(exc)) from exc


def require_regular(path: Path) -> None:
    """Refuse what is no regular file: opening a pipe or a device can wait for ever.

    Raises:
        InputError: It is a pipe, a device or a socket (also behind a link).
        OSError: It is missing or cannot be looked at.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(
            en=f"{path}: a pipe or a device, not a regular file; save it as a file first",
            ko=f"{path}: 일반 파일이 아니라 파이프나 장치입니다. 먼저 파일로 저장하십시오",
        )


def missing_file(path: Path) -> InputError:
    """The error for a path at which there is nothing, with the likely reason."""
    shown = str(path)
    # Path('https://x') is spelled 'https:/x'.
    if found := re.match(r"(https?|ftp|rtsp):/+", shown):
        address = f"{found[1]}://{shown[found.end() :]}"
        return InputError(
            en=f"{address}: an address, not a file; nunbit downloads nothing: save it first",
            ko=f"{address}: 파일이 아니라 주소입니다. nunbit은 내려받지 않습니다. 먼저 "
            "저장하십시오",
        )
    if shown.startswith("~"):
        return InputError(
            en=f"{path}: there is no such file; the shell replaces ~ only without quotes",
            ko=f"{path}: 파일이 없습니다. ~는 따옴표로 싸지 않아야 홈 폴더로 바뀝니다",
        )
    if any(mark in shown for mark in "*?["):
        return InputError(
            en=f"{path}: no such file, and nothing matches it as a pattern; check the folder, and "
            "write patterns without quotes",
            ko=f"{path}: 그런 파일이 없고 이 패턴에 맞는 파일도 없습니다. 폴더를 확인하고, 패턴은 "
            "따옴표 없이 쓰십시오",
        )
    return InputError(
        en=f"{path}: there is no such file; check the path",
        ko=f"{path}: 파일이 없습니다. 경로를 확인하십시오",
    )


def spreadsheet_text(text: str) -> str:
    """A text cell that no spreadsheet takes for a formula (OWASP, 'CSV Injection').

    A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return gets ``'`` in
    front. Only for text: numbers keep their sign. :func:`from_spreadsheet_text` undoes it.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def from_spreadsheet_text(text: str) -> str:
    """The text before :func:`spreadsheet_text`; anything else as it is."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA_STARTS) else text


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces.

    Raises:
        InputError: It is a pipe or a device, which may never end.
        OSError: It cannot be read.
    """
    require_regular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
