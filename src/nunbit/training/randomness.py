"""The random states that dropout and its like draw from, one in each process.

Order, augmentation and captions do not depend on them: see ``data``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nunbit.training.processes import World


def begin_random(seed: int, world: World) -> None:
    """Give every process but the first, which goes on as it began, a stream of its own."""
    if world.rank:
        torch.manual_seed((seed + 1) * 1_000_003 + world.rank)


def random_states(world: World) -> dict[str, Any]:
    """The states of all processes, for a checkpoint; all processes must ask at once."""
    own = {"random": torch.get_rng_state(), "random_cuda": []}
    if world.device.type == "cuda":
        own["random_cuda"] = [torch.cuda.get_rng_state(world.device)]
    first, *others = world.all_of(own)
    return {**first, "random_others": others}


def restore_random(state: dict[str, Any], seed: int, world: World) -> None:
    """Go on from a checkpoint, which other numbers of processes may have written."""
    others = state.get("random_others", [])
    if world.rank > len(others):
        begin_random(seed, world)
        return
    own = others[world.rank - 1] if world.rank else state
    torch.set_rng_state(own["random"])
    if own["random_cuda"] and world.device.type == "cuda":
        torch.cuda.set_rng_state(own["random_cuda"][0], world.device)


def random_state(device: torch.device) -> Tensor:
    """The state of the generator that layers on a device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def from_random_state(state: Tensor, device: torch.device) -> Iterator[None]:
    """While active, random numbers are those that followed ``state``; then they go on as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)
        yield
