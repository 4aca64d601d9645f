"""Checkpoints: the complete state of a run at a step, and weights kept beside it.

Files are written beside their name and renamed, so a killed run leaves whole ones only; they hold
tensors and plain values and are read without executing anything (``weights_only``). Each ends with
a digest of its own: torch would read a flipped bit as a weight.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from nunbit.core.messages import InputError, NunbitError, Text
from nunbit.runtime.claims import remove_left
from nunbit.runtime.files import ZIP_ERRORS, atomic_path, require_regular

BEST = "best.pt"
"""The weights that were best so far."""

START = "start.pt"
"""The pretrained weights that a run began with, where it is to average with them."""

AVERAGED = "averaged.pt"
"""The best weights averaged with the start: what a run with ``average_with_start`` ends in."""


_PATTERN = "step-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write a checkpoint and delete all but the newest ``keep``.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    save_weights(folder, _name(step), state)
    for old in _newest_first(folder)[keep:]:
        old.unlink(missing_ok=True)


def save_weights(folder: Path, name: str, state: dict[str, Any]) -> None:
    """Write weights that are kept under a name of their own.

    Args:
        folder: Of the checkpoints.
        name: ``BEST``, ``START`` or ``AVERAGED``.
        state: ``model`` and facts about it.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    with atomic_path(folder / name) as partial, partial.open("wb") as stream:
        sealed = _Sealing(stream)
        try:
            torch.save(state, cast("IO[bytes]", sealed))  # it only writes
        except RuntimeError:
            if sealed.failure is not None:  # torch says nothing of a full disk
                raise sealed.failure from None
            raise
        stream.write(_SEAL + sealed.digest())


class _Sealing:
    """A stream that computes the digest of what torch writes, and keeps what went wrong."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._hash = stream, hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        try:
            return self._stream.write(data)
        except OSError as exc:
            self.failure = exc
            raise

    def flush(self) -> None:
        self._stream.flush()

    def digest(self) -> bytes:
        return self._hash.digest()


def load_final(folder: Path) -> dict[str, Any] | None:
    """The weights to export: the averaged ones, else the best ones, else None.

    Raises:
        InputError: They cannot be read.
    """
    path = final_path(folder)
    return load_state(path) if path else None


def final_path(folder: Path) -> Path | None:
    """Where the weights to export are, or None."""
    return next((p for p in (folder / AVERAGED, folder / BEST) if p.is_file()), None)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None if there is none.

    Raises:
        InputError: The newest checkpoint cannot be read.
    """
    path = newest_path(folder)
    return load_state(path) if path else None


def load_step(folder: Path, step: int) -> dict[str, Any]:
    """The state at a step.

    Raises:
        InputError: Its checkpoint is missing or cannot be read.
    """
    return load_state(folder / _name(step))


def newest_path(folder: Path) -> Path | None:
    """Where the newest checkpoint is, or None."""
    return next(iter(_newest_first(folder)), None)


def remove_partials(folder: Path) -> None:
    """Delete half-written files of a killed run."""
    remove_left(folder)


def load_state(path: Path) -> dict[str, Any]:
    """Read a file of this module onto the CPU.

    Raises:
        InputError: The file is missing, damaged, holds more than data, or no weights.
    """
    with fitting(path):
        require_regular(path)
        _check_seal(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
            raise ValueError("it holds no weights of a run")
        return state


@contextmanager
def fitting(path: Path | None) -> Iterator[None]:
    """Turn what reading a checkpoint, or putting it into a network, raises into one line.

    Args:
        path: The checkpoint; None for none.

    Raises:
        InputError: It is damaged, or of another network.
    """
    try:
        yield
    except NunbitError:
        raise
    except (
        *(*ZIP_ERRORS, OSError, pickle.UnpicklingError),
        *(KeyError, TypeError, AttributeError, IndexError),
    ) as exc:
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        if isinstance(exc, KeyError):
            reason = f"no {exc.args[0]}"
        raise InputError(
            Text(
                f"{path}: cannot read this checkpoint: {reason}; delete it to go on from an older "
                "one, or train into a new `out`",
                f"{path}: 체크포인트를 읽을 수 없습니다: {reason}. 이 파일을 지우면 이전 "
                "체크포인트에서 이어 갑니다. 또는 새 `out`에 학습하십시오",
            )
        ) from exc


_SEAL = b"nunbit-sha256\n"
"""Ends a checkpoint, with the digest of all that stands before it; torch reads over it."""


def _check_seal(path: Path) -> None:
    """Compare a checkpoint with its own digest, one of version 0.1 with its zip's checksums.

    Raises:
        ValueError: It differs.
    """
    size, digest = path.stat().st_size, hashlib.sha256()
    tail = len(_SEAL) + digest.digest_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - tail))
        if not (seal := stream.read()).startswith(_SEAL):
            # A seal that is damaged itself leaves a zip that is followed by something.
            with zipfile.ZipFile(stream) as archive:
                if archive.testzip() is not None or not _ends_with_zip(seal):
                    raise ValueError(_DIFFERS)
            return
        stream.seek(0)
        for left in range(size - tail, 0, -_READ_AT_ONCE):
            digest.update(stream.read(min(_READ_AT_ONCE, left)))
    if seal != _SEAL + digest.digest():
        raise ValueError(_DIFFERS)


_READ_AT_ONCE = 1 << 20
_DIFFERS = "its checksum differs: it was changed or not copied completely"


def _ends_with_zip(tail: bytes) -> bool:
    """Whether a zip ends with the file, without a comment, as torch writes it."""
    return tail[-22:-18] == b"PK\x05\x06"


def _name(step: int) -> str:
    return f"step-{step:08d}.pt"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(_PATTERN), reverse=True)
