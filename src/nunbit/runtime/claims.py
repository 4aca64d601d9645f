"""One run at a time writes into a folder; what killed runs left half-written is deleted.

A run claims its output with a locked file in it. The system lets go of the lock when the process
ends, however it ends, so a claim never has to be taken away by hand. A second run is refused in
one line: to wait for hours without a word would be worse.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from nunbit.core.messages import InputError, Text

LOCK = ".nunbit.lock"
"""Of the run that writes into the folder; deleted when it ends."""

_OTHER_MACHINE_S = 7 * 24 * 3600
"""A half-written file of another machine, which cannot be asked, counts as left after a week."""

_LEAVING_S = 5.0
_ORPHANS_S = 30.0  # its workers look for it every five seconds, later on a busy machine

_OURS = re.compile(
    r"\..+(?:\.([0-9a-f]{6})-([0-9]+)\.(?:partial|old)"
    r"|\.(?:json|jsonl|toml|tar|zip|part|pt|npz|parquet|onnx|csv|html)\.[0-9]{1,7}\.partial)"
)
"""Names of half-written files: machine and process; version 0.1 named the process alone, behind an
ending of its files. Whatever else ends so, like ``.bashrc.old``, is the user's."""

_held: set[str] = set()


@cache
def machine() -> str:
    """Six letters that tell this machine from others that share a disk."""
    return hashlib.sha256(socket.gethostname().encode("utf-8", "replace")).hexdigest()[:6]


def partial_path(path: Path, suffix: str = "partial") -> Path:
    """Where this process writes until ``path`` is whole; the name says which process it is."""
    return path.with_name(f".{path.name}.{machine()}-{os.getpid()}.{suffix}")


def is_left(path: Path) -> bool:
    """Whether a file or folder is half-written, and the process that wrote it has ended.

    Args:
        path: Any; False where its name is not as :func:`partial_path` or version 0.1 made it.
    """
    found = _OURS.fullmatch(path.name)
    if found is None:
        return False
    where, number = found.groups()
    if where is None:
        return True  # no version that may be running names them so
    if where != machine():
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > _OTHER_MACHINE_S
        return False
    return int(number) != os.getpid() and not _is_running(int(number))


def remove_left(folder: Path, name: str = "*", *, deep: bool = False) -> int:
    """Delete what killed runs left half-written.

    Args:
        folder: Where to look; it may be missing.
        name: Of the files that were to be written, as a pattern.
        deep: Look into folders in it, too.

    Returns:
        How many files and folders were deleted. What cannot be deleted stays.
    """
    removed = 0
    for suffix in ("partial", "old"):
        pattern = f".{name}.{suffix}"
        for path in list(folder.rglob(pattern) if deep else folder.glob(pattern)):
            if not is_left(path):
                continue
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed += 1
    return removed


PART = b"nunbit-part-"
"""Finished parts of long work begin so; the version of their form comes behind."""


def is_part(path: Path) -> bool:
    """Whether nunbit wrote this file as a finished part of long work."""
    try:
        with path.open("rb") as stream:
            return path.suffix == ".part" and stream.read(len(PART)) == PART
    except OSError:
        return False


def remove_own_parts(folder: Path) -> None:
    """Delete nunbit's own parts below a folder, then folders that are empty; the rest stays.

    Raises:
        InputError: A part cannot be deleted.
    """
    from nunbit.runtime.files import writing

    if not folder.is_dir() or folder.is_symlink():
        return
    with writing(folder):
        for path in list(folder.iterdir()):
            if path.is_dir():
                remove_own_parts(path)
            elif not path.is_symlink() and path.is_file() and (is_part(path) or is_left(path)):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()  # only an empty one can be removed


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder beside ``out``; if the body succeeds, it takes ``out``'s place.

    Of two processes that do so at once, the last one's folder stays. If the body raises, ``out``
    is as it was; a killed process can leave a ``.partial`` folder, which the next one deletes.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    from nunbit.runtime.files import writing

    partial, old = partial_path(out), partial_path(out, "old")
    with writing(out):
        remove_left(out.parent, f"{out.name}.*")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            _put_in_place(partial, out, old)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _put_in_place(partial: Path, out: Path, old: Path) -> None:
    while True:
        with suppress(FileNotFoundError):  # nothing is there, or another one is just being put
            out.rename(old)
        try:
            partial.rename(out)
        except OSError as exc:
            if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            return


@contextmanager
def claimed(
    folder: Path, *, part: str = "", deep: bool = True, wait_s: float = _LEAVING_S
) -> Iterator[None]:
    """Be the only run that writes into a folder; what killed runs left there is deleted.

    The folder is made; if nothing was written into it, it is gone again afterwards. The same
    process may claim a folder again inside its own claim. On a disk without locks the claim is
    not made and the run goes on.

    Args:
        folder: The output.
        part: Jobs of different parts may write into one folder; of the same part, one.
        deep: Whether folders in it belong to the output, too.
        wait_s: How long to wait for it: workers of a killed run take a moment to leave. Seconds.

    Raises:
        InputError: Another run has claimed it, or it cannot be written.
    """
    from nunbit.runtime.files import writing  # that module names half-written files by this one

    name = LOCK if not part else f"{LOCK}.{part.replace('/', '-of-')}"
    lock = Path(os.path.abspath(folder)) / name  # noqa: PTH100  (resolve() fails on loops of links)
    if str(lock) in _held:
        yield
        return
    new = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = _locked(lock, folder, time.monotonic() + wait_s)
    _held.add(str(lock))
    try:
        remove_left(folder, deep=deep)
        _remove_left_locks(lock)
        yield
    finally:
        _held.discard(str(lock))
        with suppress(OSError):
            _let_go(lock, stream)
        if new:
            with suppress(OSError):
                folder.rmdir()  # only an empty one can be removed


def require_own(path: Path, formats: Collection[str], kinds: Collection[str] = ()) -> None:
    """Refuse to write over a result of another command, or somebody's own file of that name.

    Args:
        path: The JSON document that is to be written; it may be missing, or damaged.
        formats: What ``format`` of it may be.
        kinds: What ``kind`` of it may be, where it has that instead.

    Raises:
        InputError: Another document is there.
    """
    from nunbit.runtime.files import read_json  # that module names half-written files by this one

    try:
        found = read_json(path) if path.is_file() else None
    except InputError:
        return  # damaged: it is made anew
    if found is None:
        return
    about = found if isinstance(found, dict) else {}
    if about.get("format") in formats or about.get("kind") in kinds:
        return
    raise InputError(
        Text(
            f"{path}: was not written by this command and would be lost; choose another `out`",
            f"{path}: 이 명령이 만든 파일이 아니어서 덮어쓰지 않습니다. 다른 `out`을 고르십시오",
        )
    )


def tidy(folder: Path) -> None:
    """Delete what killed runs left in an output that is whole, unless a run is writing there."""
    with suppress(InputError), claimed(folder, wait_s=0.0):
        pass


def _remove_left_locks(own: Path) -> None:
    """Delete the locks of other parts whose runs were killed."""
    for path in own.parent.glob(f"{LOCK}*"):
        if path == own:
            continue
        with suppress(OSError), path.open("a+b") as stream:
            if _try_lock(stream) and _is_same(path, stream):
                path.unlink()


def _locked(lock: Path, folder: Path, until: float) -> IO[bytes]:
    """The lock's file, locked; tried until a time of the monotonic clock.

    Raises:
        InputError: Another process has locked it.
        OSError: The folder cannot be written.
    """
    longest = until + _ORPHANS_S if until > time.monotonic() else until
    while True:
        stream = lock.open("a+b")
        try:
            if not _try_lock(stream):
                stream.seek(0)
                holder = stream.read(100).decode("utf-8", "replace").strip()
                if time.monotonic() < (longest if _has_ended(holder) else until):
                    stream.close()
                    time.sleep(0.1)
                    continue
                raise _taken(folder, holder)
            # The one that held it may just have deleted the file: then this is not the lock.
            if not _is_same(lock, stream):
                stream.close()
                continue
            stream.truncate(0)
            stream.write(f"{os.getpid()} {socket.gethostname()}\n".encode())
            stream.flush()
        except BaseException:
            stream.close()
            raise
        return stream


def _is_same(lock: Path, stream: IO[bytes]) -> bool:
    try:
        return sys.platform == "win32" or os.path.samestat(lock.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _let_go(lock: Path, stream: IO[bytes]) -> None:
    if sys.platform != "win32":
        with suppress(FileNotFoundError):
            lock.unlink()
        stream.close()
    else:
        stream.close()
        lock.unlink()


def _try_lock(stream: IO[bytes]) -> bool:
    """Lock a file; False where another process has it. A disk without locks counts as locked."""
    if sys.platform == "win32":
        import msvcrt

        try:
            stream.seek(1 << 20)  # behind the text, which others read
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _has_ended(holder: str) -> bool:
    """Whether the run that locked it is gone from this machine, so that its workers hold it."""
    process, _, host = holder.partition(" ")
    return host == socket.gethostname() and process.isdigit() and not _is_running(int(process))


def _is_running(process: int) -> bool:
    if sys.platform == "win32":
        return True  # there, asking by a signal would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _taken(folder: Path, holder: str) -> InputError:
    number, _, host = holder.partition(" ")
    en = f" (process {number} on {host})" if host else ""
    ko = f" ({host}의 프로세스 {number})" if host else ""
    return InputError(
        Text(
            f"{folder}: another run is writing here{en}; wait until it ends and run the same line "
            "again, or choose another `out`",
            f"{folder}: 다른 실행이 여기에 쓰고 있습니다{ko}. 끝난 뒤 같은 명령을 다시 "
            "실행하거나 다른 `out`을 고르십시오",
        )
    )


class MachineTurn:
    """The one turn that all processes of this user on this machine have together.

    Held, as a context, for work of which the machine bears one at a time; may be held again. The
    system gives the turn back when its holder dies. Where no lock can be had nothing is held.
    """

    def __init__(self) -> None:
        own = os.getuid() if hasattr(os, "getuid") else 0
        self._place = Path(tempfile.gettempdir()) / f"nunbit-{own}.turn"
        self._held: int | None = None

    def __enter__(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with suppress(OSError):
            self._held = os.open(self._place, flags, 0o600)
            _wait_for_lock(self._held)

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _wait_for_lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError:
                time.sleep(0.1)
            else:
                return
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
