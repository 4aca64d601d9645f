"""Parts on a Ray cluster (extra ``cluster``): one task of Ray's a part, one actor for progress.

A part goes as bytes, which a worker opens once it has been compared with the machine that started
the run. Ray's own retries are off: the engine counts, and says so.
"""

from __future__ import annotations

import importlib
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic

from nunbit.core.messages import InputError, NunbitError, Text
from nunbit.runtime.claims import MachineTurn
from nunbit.runtime.engines import ATTEMPTS, Engine, Queue, Work, tried_again
from nunbit.runtime.progress import say, set_lang, speak_elsewhere, spoken_lang
from nunbit.runtime.ray_cluster import joined_cluster, portable, problem_error
from nunbit.runtime.workers import Done, R, Reporter, T, Tools, outcome

_LOOK_S = 0.5  # how often progress is fetched
_REPORT_EVERY_S = 0.5
_BOARD_S = 5.0


class Bulletin:
    """Collects what parts report until the run fetches it; an actor of the cluster."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str, Any]] = []

    def put(self, number: int, kind: str, value: Any) -> None:
        """Take a report: ``units``, ``tell`` or ``say``."""
        self._lines.append((number, kind, value))

    def take(self) -> list[tuple[int, str, Any]]:
        """Everything since the last call."""
        lines, self._lines = self._lines, []
        return lines


def do_part(payload: bytes, board: Any, number: int) -> tuple[str, Any]:
    """Do one part in a worker process of the cluster: the machine's name and the outcome."""
    function, task, lang, folder = pickle.loads(payload)
    set_lang(lang)
    with suppress(OSError):  # where it is needed, it was looked for
        os.chdir(folder)

    def put(kind: str, value: Any) -> None:
        with suppress(Exception):  # progress may be lost, work must not
            board.put.remote(number, kind, value)

    reporter = Reporter(partial(put, "units"), _REPORT_EVERY_S)
    speak_elsewhere(partial(put, "say"))
    try:
        tools = Tools(reporter.advance, MachineTurn(), partial(put, "tell"))
        result = outcome(function, task, tools)
    finally:
        reporter.flush()
        speak_elsewhere(None)
    return socket.gethostname(), result


@contextmanager
def open_ray(
    address: str, most: int, parts: int, *, reads: Sequence[Path], out: Path | None
) -> Iterator[RayEngine]:
    """The engine of a cluster; see :func:`nunbit.runtime.ray_cluster.joined_cluster`."""
    with joined_cluster(address, most, parts, reads=reads, out=out) as (ray, workers, expected):
        yield RayEngine(workers, "ray", ray, expected)


@dataclass(frozen=True, eq=False)
class RayEngine(Engine):
    """A joined cluster; made by :func:`open_ray`.

    Attributes:
        workers: Parts at once.
        name: ``ray``.
        ray: The module.
        expected: What every worker must have.
    """

    ray: Any
    expected: dict[str, Any]

    def results(self, work: Work[T, R]) -> Iterator[R]:
        """As :meth:`nunbit.runtime.engines.Engine.run` says."""
        going = _Going(self, work, Queue(work.tasks))
        try:
            going.fill()
            while going.waiting:
                yield from going.next_results()
                going.fill()
        finally:
            going.stop()


@dataclass(eq=False)
class _Going(Generic[T, R]):
    """Parts that are with the cluster."""

    engine: RayEngine
    work: Work[T, R]
    queue: Queue[T]
    waiting: dict[Any, tuple[int, T]] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)
    given: int = 0

    def __post_init__(self) -> None:
        ray = self.engine.ray
        here = ray.get_runtime_context().get_node_id()
        pinned = importlib.import_module("ray.util.scheduling_strategies")
        near = pinned.NodeAffinitySchedulingStrategy(here, soft=True)
        self.board = ray.remote(Bulletin).options(num_cpus=0, scheduling_strategy=near).remote()
        options = {"num_cpus": 1, "max_retries": 0, "name": "nunbit part"}
        self.part = ray.remote(portable()[1]).options(**options)

    def fill(self) -> None:
        """Give out parts until every worker has one."""
        while len(self.waiting) < self.engine.workers:
            try:
                task = next(self.queue)
            except StopIteration:
                return
            payload = pickle.dumps((self.work.function, task, spoken_lang(), os.getcwd()))  # noqa: PTH109
            ref = self.part.remote(self.engine.expected, payload, self.board, self.given)
            self.waiting[ref] = (self.given, task)
            self.given += 1

    def next_results(self) -> Iterator[R]:
        """Results that came in the next half second; what is lost goes back into the queue.

        Raises:
            NunbitError: What a part raised, with its machine.
            InputError: A part was lost too often, or a machine cannot take part.
        """
        ray = self.engine.ray
        done, _ = ray.wait(list(self.waiting), num_returns=1, timeout=_LOOK_S)
        self.fetch()
        for ref in done:
            number, task = self.waiting.pop(ref)
            try:
                answer = ray.get(ref)
            except ray.exceptions.RayTaskError as exc:  # a defect: again would be the same
                print(exc, file=sys.stderr)  # noqa: T201
                raise _defect(exc) from exc
            except ray.exceptions.RayError as exc:
                self.work.advance(-self.counted.pop(number, 0))
                if self.queue.again(task):
                    say(tried_again(self.queue.attempt(task)))
                    continue
                error = _given_up(exc)
                if self.work.lost is None:
                    raise error from exc
                yield self.work.lost(task, error)
                continue
            if len(answer) == 4:
                raise problem_error(answer)
            host, message = answer
            if isinstance(message, Done):
                yield message.result
                continue
            elsewhere = host != socket.gethostname()
            raise type(message)(message.text.under(host)) if elsewhere else message

    def fetch(self) -> None:
        """Pass on what parts reported; a board that does not answer loses progress only."""
        ray = self.engine.ray
        try:
            lines = ray.get(self.board.take.remote(), timeout=_BOARD_S)
        except ray.exceptions.RayError:
            return
        for number, kind, value in lines:
            if kind == "units":
                self.counted[number] = self.counted.get(number, 0) + value
                self.work.advance(value)
            elif kind == "tell":
                self.work.tell(value)
            else:
                say(value)

    def stop(self) -> None:
        """Fetch the last reports; end what is still being done."""
        self.fetch()
        for ref in self.waiting:
            with suppress(Exception):
                self.engine.ray.cancel(ref, force=True)


def _given_up(exc: Exception) -> InputError:
    why = " ".join(str(exc).split())[:200]
    return InputError(
        Text(
            f"a part was lost {ATTEMPTS} times with its worker ({type(exc).__name__}: {why}); "
            "finished work is kept: run the same line again, with fewer workers a machine if "
            "memory is short",
            f"한 부분이 작업 프로세스와 함께 {ATTEMPTS}번 사라졌습니다({type(exc).__name__}: "
            f"{why}). 완료된 작업은 보존됩니다. 같은 명령을 다시 실행하고, 메모리가 부족하면 "
            "기계당 작업 프로세스를 줄이십시오",
        )
    )


def _defect(exc: Exception) -> NunbitError:
    last = traceback.format_exception_only(exc)[-1].strip().splitlines()[-1]
    return InputError(
        Text(
            f"a part failed by an error in nunbit (its traceback is above): {last}; finished work "
            "is kept",
            f"nunbit의 오류로 한 부분이 실패했습니다(위의 traceback 참고): {last}. 완료된 작업은 "
            "보존됩니다",
        )
    )
