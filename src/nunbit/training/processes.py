"""The processes of one run: who this one is, and how they talk.

Launchers (``torchrun``, ``accelerate launch``, mpirun) say by environment variables how many
processes there are; without them there is one, and nothing here does anything. The processes talk
over gloo, with GPUs over NCCL. Every process computes the same weights; the first one alone writes
and says. Knows nothing of models or data. R processes.
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
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from nunbit.errors import NunbitError, TrainingError

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
        store: Where processes leave notes for each other, also after one of them is lost.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU
    local_size: int = 1
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this process writes and says."""
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
        each = -(-count // self.size)
        padded = own.new_zeros((each, *own.shape[1:]))
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
        gradients = [p.grad for p in parameters if p.grad is not None]
        for bucket in _buckets(gradients):
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
        raised = torch.tensor([float(flag) for flag in flags])
        return tuple(bool(value) for value in self.sum_(raised) > 0)

    def of_first(self, value: T) -> T:
        """What the first process has; plain data."""
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
        """What every process has, by rank; plain data."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        with _talking():
            dist.all_gather_object(box, value)
        return box

    def takes_the_floor(self) -> bool:
        """Whether this process is the one that says what went wrong."""
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
            en="another process of this run ended or cannot be reached; the same line with "
            f"--resume goes on from the last checkpoint ({reason})",
            ko="이 학습의 다른 프로세스가 끝났거나 연결되지 않습니다. 같은 명령에 --resume을 "
            f"더하면 마지막 체크포인트에서 이어집니다 ({reason})",
        ) from exc


def _reason(exc: RuntimeError) -> str:
    """The first sentence of what a library said, without its source file."""
    text = re.sub(r"^(?:\w+ failed with )?\[[^\]]*\]\s*", "", str(exc).strip())
    return re.split(r"\.\s|\n", text)[0] or type(exc).__name__


def _fresh(store: Any, rank: int, size: int) -> Any:
    """A part of the store that no earlier attempt wrote to.

    After a restart torchrun may hand out the store of the attempt that failed, with the addresses
    of processes that are gone. So the first process makes up a name, and tells it to those who
    greet it with names of their own, until all have answered.

    Raises:
        RuntimeError: The others do not come.
    """
    me = uuid.uuid4().hex
    until = time.monotonic() + _PATIENCE_S
    if rank:
        store.set(f"nunbit/hello/{rank}", me)
        _wait_for(store, f"nunbit/welcome/{me}", until)
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


def _wait_for(store: Any, key: str, until: float) -> None:
    while not store.check([key]):
        _pause(until)


def _pause(until: float) -> None:
    # Not a blocking wait: a signal must be able to end it.
    if time.monotonic() > until:
        raise RuntimeError("waited half an hour for the other processes")
    time.sleep(0.05)


def _device(local_rank: int) -> torch.device:
    wants_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if wants_cpu or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def _number(names: tuple[str, ...], otherwise: int) -> int:
    for name in names:
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    return otherwise


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
