"""Checkpoints: the whole state of a run at a step, and the weights that are kept beside it.

Files are written beside their name and renamed, so a killed run leaves whole ones only; they hold
tensors and plain values and are read without executing anything (``weights_only``).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from nunbit.errors import InputError
from nunbit.files import atomic_path

BEST = "best.pt"
"""The weights that were best so far."""
START = "start.pt"
"""The pretrained weights that a run began with, where it is to average with them."""
AVERAGED = "averaged.pt"
"""The best weights averaged with the start: what a run with ``average_with_start`` ends in."""
_PATTERN = "step-*.pt"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint and delete all but the newest ``keep``.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    path = _path(folder, step)
    _save(path, state)
    for old in _newest_first(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path


def save_weights(folder: Path, name: str, state: dict[str, Any]) -> None:
    """Write weights that are kept under a name of their own.

    Args:
        folder: Of the checkpoints.
        name: ``BEST``, ``START`` or ``AVERAGED``.
        state: ``model`` and what is known of it.

    Raises:
        InputError: The disk is full, the folder is not writable, or the like.
    """
    _save(folder / name, state)


def load_final(folder: Path) -> dict[str, Any] | None:
    """The weights to export: the averaged ones, else the best ones, else None.

    Raises:
        InputError: They cannot be read.
    """
    paths = [folder / name for name in (AVERAGED, BEST) if (folder / name).is_file()]
    return load_state(paths[0]) if paths else None


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None if there is none.

    Raises:
        InputError: The newest checkpoint cannot be read.
    """
    paths = _newest_first(folder)
    return load_state(paths[0]) if paths else None


def load_step(folder: Path, step: int) -> dict[str, Any]:
    """The state at a step.

    Raises:
        InputError: Its checkpoint is missing or cannot be read.
    """
    return load_state(_path(folder, step))


def newest_path(folder: Path) -> Path | None:
    """Where the newest checkpoint is, or None."""
    paths = _newest_first(folder)
    return paths[0] if paths else None


def remove_partials(folder: Path) -> None:
    """Delete what a killed run left half-written."""
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)


def load_state(path: Path) -> dict[str, Any]:
    """Read a file of this module onto the CPU.

    Raises:
        InputError: The file is missing, damaged or holds more than data.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as exc:
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise InputError(
            en=f"{path}: cannot read this checkpoint: {reason}; delete it to go on from an older "
            "one, or train into a new --out",
            ko=f"{path}: 체크포인트를 읽을 수 없습니다: {reason}. 이 파일을 지우면 이전 "
            "체크포인트에서 이어 갑니다. 또는 새 --out에 학습하십시오",
        ) from exc
    return state


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.pt"


def _save(path: Path, state: dict[str, Any]) -> None:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        torch.save(state, stream)  # to a stream: to a path, a full disk is a bare RuntimeError


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(_PATTERN), reverse=True)
