"""The processes of one run: communication, random states, stopping.

Launchers (``torchrun``, ``accelerate launch``, mpirun) say by environment variables how many
processes there are; without them there is one, and nothing is communicated. Processes talk over
gloo, with GPUs over NCCL. Every process computes the same weights; only the first one writes files
and prints. Knows nothing of models or data. R processes.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from nunbit.core.messages import NunbitError, Text, TrainingError
from nunbit.runtime.workers import available_cores

T = TypeVar("T")

# torchrun and accelerate set the first; the others are mpirun's, which accelerate uses on CPUs.
_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK")
_SIZE = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_LOCAL_RANK = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK")
_LOCAL_SIZE = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
_CPU = torch.device("cpu")
_PATIENCE_S = 1800.0
_BUCKET = 8_000_000  # numbers that are summed in one message


@dataclass(frozen=True, eq=False)
class World:
    """This process among the processes of a run.

    Attributes:
        rank: Of this process, from 0.
        size: R.
        device: What this process computes on.
        local_size: How many of the processes share this machine.
        store: A key-value store shared by the processes, also after one of them is lost.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU
    local_size: int = 1
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def own(self, batch: NDArray[Any], parts: int = 1) -> NDArray[Any]:
        """This process's share of a batch, of each of its parts.

        Args:
            batch: (B, ...), B a multiple of ``parts`` x R.
            parts: Micro-batches; each is divided among the processes, so that all of them together
                work on one micro-batch at a time, the same one as a single process would.

        Returns:
            (B / R, ...).
        """
        shape = (parts, self.size, len(batch) // (parts * self.size), *batch.shape[1:])
        return batch.reshape(shape)[:, self.rank].reshape(-1, *batch.shape[1:])

    def whole(self, own: Tensor, parts: int = 1) -> Tensor:
        """Undo :meth:`own`: (B / R, ...) of every process to (B, ...), without gradient."""
        found = self.gather(own).reshape(self.size, parts, -1, *own.shape[1:])
        return found.transpose(0, 1).reshape(-1, *own.shape[1:])

    def span(self, count: int) -> range:
        """The positions of ``count`` things that this process does: a run of them, maybe empty."""
        each = -(-count // self.size)
        return range(min(self.rank * each, count), min((self.rank + 1) * each, count))

    def gather(self, tensor: Tensor) -> Tensor:
        """(R, ...) the tensors of all processes, of one shape, without gradient."""
        tensor = tensor.detach().contiguous()
        if self.size == 1:
            return tensor[None]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with _talking():
            dist.all_gather(found, tensor)
        return torch.stack(found)

    def join_spans(self, own: Tensor, count: int) -> Tensor:
        """(count, ...) from each process's span of it, without gradient."""
        padded = own.new_zeros((-(-count // self.size), *own.shape[1:]))
        padded[: len(own)] = own
        return self.gather(padded).reshape(-1, *own.shape[1:])[:count]

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.size > 1:
            with _talking():
                dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[Tensor], *, each_has_all: bool = False) -> None:
        """Add up what each process found of a gradient.

        Args:
            parameters: Those with a gradient have one in every process.
            each_has_all: Every process found the whole gradient; they settle on the mean, so that
                rounding cannot drive them apart.
        """
        if self.size == 1:
            return
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            total = torch.cat([g.reshape(-1) for g in bucket])
            self.sum_(total)
            if each_has_all:
                total /= self.size
            parts = torch.split(total, [g.numel() for g in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process raised it; all processes get the same answer."""
        if self.size == 1:
            return flags
        raised = self.sum_(torch.tensor([float(flag) for flag in flags]))
        return tuple(bool(value) for value in raised > 0)

    def of_first(self, value: T) -> T:
        """The first process's value; plain data."""
        if self.size == 1:
            return value
        box = [value if self.first else None]
        with _talking():
            dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def copy_first_(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.size == 1:
            return
        for tensor in tensors:
            data = tensor.detach().contiguous()
            with _talking():
                dist.broadcast(data, src=0)
            tensor.detach().copy_(data)

    def all_of(self, value: T) -> list[T]:
        """The values of all processes, by rank; plain data."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        with _talking():
            dist.all_gather_object(box, value)
        return box

    def takes_the_floor(self) -> bool:
        """Whether this process reports the error."""
        if self.store is None:
            return True
        try:
            return bool(self.store.add("nunbit/said", 1) == 1)
        except RuntimeError:
            return True  # the process that kept the store is gone: rather twice than never


class LostProcess(TrainingError):  # noqa: N818  (it is another process that failed)
    """Another process of the run ended, so this one cannot go on."""


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes that a launcher started; one process needs no launcher.

    Raises:
        NunbitError: Of several processes only one raises what went wrong.
        SystemExit: In the others.
    """
    rank, size = _number(_RANK, 0), _number(_SIZE, 1)
    if size == 1 or "MASTER_ADDR" not in os.environ:
        yield World(device=_device(0))
        return
    device = _device(_number(_LOCAL_RANK, 0))
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}  # where mpirun has other names
    with _talking():
        store = _fresh(next(iter(rendezvous("env://")))[0], rank, size)
    world = World(rank, size, device, _number(_LOCAL_SIZE, size), store)
    try:
        with _talking():
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        yield world
    except NunbitError:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's: this one ends anyway
        if world.takes_the_floor():
            raise
        raise SystemExit(1) from None
    # Not after an error: the others may be gone, and leaving in good order would wait for them.
    dist.destroy_process_group()


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as exc:
        reason = _reason(exc)
        raise LostProcess(
            Text(
                "another process of this run ended or cannot be reached; the same line with "
                f"`resume=True` continues from the last checkpoint ({reason})",
                "이 학습의 다른 프로세스가 끝났거나 연결되지 않습니다. 같은 명령에 `resume=True`를 "
                f"더하면 마지막 체크포인트에서 이어집니다 ({reason})",
            )
        ) from exc


def _reason(exc: RuntimeError) -> str:
    """The first sentence of a library's message, without its source file."""
    text = re.sub(r"^(?:\w+ failed with )?\[[^\]]*\]\s*", "", str(exc).strip())
    return re.split(r"\.\s|\n", text)[0] or type(exc).__name__


def _fresh(store: Any, rank: int, size: int) -> Any:
    """A part of the store that no earlier attempt wrote to.

    After a restart torchrun may hand out the store of the attempt that failed, with the addresses
    of processes that are gone. So the first process chooses a name and sends it to every process
    that reports with a name of its own, until all have answered.

    Raises:
        RuntimeError: The others do not come.
    """
    me, until = uuid.uuid4().hex, time.monotonic() + _PATIENCE_S
    if rank:
        store.set(f"nunbit/hello/{rank}", me)
        while not store.check([f"nunbit/welcome/{me}"]):
            _pause(until)
        name = store.get(f"nunbit/welcome/{me}").decode()
        store.set(f"nunbit/here/{name}/{rank}", "")
        return PrefixStore(name, store)
    missing = set(range(1, size))
    while missing:
        for other in sorted(missing):
            if store.check([f"nunbit/hello/{other}"]):
                store.set(f"nunbit/welcome/{store.get(f'nunbit/hello/{other}').decode()}", me)
        missing = {r for r in missing if not store.check([f"nunbit/here/{me}/{r}"])}
        _pause(until)
    return PrefixStore(me, store)


def _pause(until: float) -> None:
    # Not a blocking wait: a signal must be able to end it.
    if time.monotonic() > until:
        raise RuntimeError("waited half an hour for the other processes")
    time.sleep(0.05)


def _device(local_rank: int) -> torch.device:
    wants_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if wants_cpu or not torch.cuda.is_available():
        return _CPU
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def _number(names: tuple[str, ...], otherwise: int) -> int:
    given = (os.environ.get(name, "") for name in names)
    return next((int(value) for value in given if value.isdecimal()), otherwise)


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one kind of number, some million at a time."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(g.numel() for g in bucket) + gradient.numel() > _BUCKET
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextmanager
def torch_threads(count: int, processes: int = 1) -> Iterator[None]:
    """While active, torch computes with so many threads; 0 = one a core, shared by processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or max(available_cores() // processes, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- random states --------------------------------------------------------------------------------
# Of dropout and similar layers, one for each process; order, augmentation and captions do not
# depend on them.


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


# --- how far a loop has come, and when it stops ---------------------------------------------------


class StopRequest:
    """While active, the first signal sets :attr:`requested`; the second interrupts at once.

    Outside the main thread Python allows no handlers, so it is never requested.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@dataclass
class Standing:
    """How far a loop has come; saved as it is.

    Attributes:
        step: Steps done.
        evaluated: The last step that was evaluated.
        best: Best value of the selecting metric, -1 before the first evaluation.
        best_step: Its step.
        stale: Evaluations since then.
        lines: Lines written to the metrics log.
    """

    step: int = 0
    evaluated: int = 0
    best: float = -1.0
    best_step: int = 0
    stale: int = 0
    lines: int = 0

    def is_due(self, every: int, total: int) -> bool:
        """Whether the step done last is to be evaluated and is not yet."""
        due = self.step > 0 and (self.step % every == 0 or self.step == total)
        return due and self.evaluated != self.step

    def is_over(self, patience: int, total: int) -> bool:
        """Whether all steps are done, or nothing got better for ``patience`` (0: any number)."""
        return self.step >= total or 0 < patience <= self.stale

    def is_best(self, value: float) -> bool:
        """Note the evaluation of the step done last; whether it is the best so far."""
        self.evaluated = self.step
        self.stale += 1
        if not value > self.best:  # NaN is no best
            return False
        self.best, self.best_step, self.stale = value, self.step, 0
        return True
