"""Run many independent tasks on several processes, and stop cleanly whatever happens to one.

Processes are started afresh (spawn), so it works on every system and whatever the caller has
loaded. A worker that dies is an error that says so, never a wait for ever; an interrupted parent
takes its workers with it; a killed parent's workers notice and leave.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic, TypeVar, cast

from nunbit.errors import InputError, NunbitError

T = TypeVar("T")
R = TypeVar("R")

_REPORT_EVERY_S = 0.2
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Advance:
    units: int


@dataclass(frozen=True, slots=True)
class _Done(Generic[R]):
    result: R


@dataclass(frozen=True, slots=True)
class _Failed:
    error: NunbitError


_Message = _Advance | _Done[R] | _Failed


@dataclass(frozen=True, slots=True)
class Tools:
    """What a task may use of its surroundings.

    Attributes:
        advance: Call with the number of units finished since the last call.
        turn: Hold it for work that only one process at a time may do.
    """

    advance: Callable[[int], None]
    turn: AbstractContextManager[object]


def available_cores() -> int:
    """Cores this process may use (not those of the machine: containers and job systems)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def run_tasks(
    function: Callable[[T, Tools], R],
    tasks: Iterable[T],
    *,
    num_workers: int,
    advance: Callable[[int], None],
    lost: Callable[[T, InputError], R] | None = None,
) -> Iterator[R]:
    """Yield ``function(task, tools)`` for every task, in the order of completion.

    Args:
        function: A module-level function.
        tasks: Made one by one, when a worker is free.
        num_workers: 1 works in this process; more start that many processes.
        advance: Gets the units that tasks report, in this process.
        lost: Makes the result of a task whose worker died; a new worker goes on with the others.
            Tasks then run in processes of their own even with one worker, and must not use
            ``Tools.turn``: its holder could take it to the grave. None: a death ends all.

    Raises:
        NunbitError: What a task raised; the other workers are stopped first.
        InputError: A worker died (killed, out of memory, a defect: its traceback is on stderr).
    """
    if num_workers <= 1 and lost is None:
        for task in tasks:
            yield function(task, Tools(advance, contextlib.nullcontext()))
        return
    context = multiprocessing.get_context("spawn")
    turn = context.Lock()
    workers: dict[Connection, BaseProcess] = {}
    doing: dict[Connection, T] = {}

    def start(task: T) -> None:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(function, there, turn), daemon=True)
        with _interrupts_held_back():
            process.start()
        there.close()
        workers[here], doing[here] = process, task
        with contextlib.suppress(BrokenPipeError):  # dead already: reading from it says so
            here.send(task)

    try:
        pending = iter(tasks)
        for task in _take(pending, max(1, num_workers)):
            start(task)
        while workers:
            for ready in multiprocessing.connection.wait(list(workers)):
                here = cast("Connection", ready)
                try:
                    message: _Message[R] = _receive(here, workers[here])
                except InputError as exc:
                    if lost is None:
                        raise
                    workers.pop(here).join()
                    here.close()
                    yield lost(doing.pop(here), exc)
                    for task in _take(pending, 1):
                        start(task)
                    continue
                if isinstance(message, _Advance):
                    advance(message.units)
                elif isinstance(message, _Failed):
                    raise message.error
                else:
                    yield message.result
                    for task in _take(pending, 1):
                        doing[here] = task
                        with contextlib.suppress(BrokenPipeError):
                            here.send(task)
                        break
                    else:
                        here.send(None)
                        workers.pop(here).join()
                        here.close()
    finally:
        _stop(workers)


def fault_text(path: Path, exc: Exception) -> tuple[str, str]:
    """What to say, as (en, ko), of an error that nobody expected: it is nunbit's, and where.

    Args:
        path: The file that was worked on.
        exc: With its traceback; nothing of it but the place is shown.
    """
    own = [f for f in traceback.extract_tb(exc.__traceback__) if "nunbit" in Path(f.filename).parts]
    where = ""
    if own:
        place = Path(own[-1].filename)
        where = f" ({place.parent.name}/{place.name}:{own[-1].lineno})"
    what = f"{type(exc).__name__}: {exc}{where}"
    return (
        f"{path}: a fault of nunbit, not of your file; please report this line: {what}",
        f"{path}: 파일이 아니라 nunbit의 오류입니다. 이 줄을 알려 주십시오: {what}",
    )


def _take(tasks: Iterator[T], count: int) -> Iterator[T]:
    for _ in range(count):
        try:
            yield next(tasks)
        except StopIteration:
            return


def _receive(here: Connection, process: BaseProcess) -> _Message[R]:
    try:
        return cast("_Message[R]", here.recv())
    except (EOFError, ConnectionResetError) as exc:
        process.join(_PATIENCE_S)
        raise _death(process.exitcode) from exc


def _death(exitcode: int | None) -> InputError:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return InputError(
            en=f"a worker process was killed ({name}), most likely for lack of memory; finished "
            "work is kept: run the same line again, if it happens again with fewer workers "
            "(--set num_workers=1; analyze: workers=1)",
            ko=f"작업 프로세스가 강제 종료되었습니다({name}). 메모리 부족일 가능성이 큽니다. 끝난 "
            "작업은 남아 있으니 같은 명령을 다시 실행하고, 반복되면 작업 프로세스 수를 "
            "줄이십시오(--set num_workers=1, analyze는 workers=1)",
        )
    return InputError(
        en=f"a worker process ended with code {exitcode} (its traceback is above); finished work "
        "is kept. In a script of your own, call this below `if __name__ == '__main__':`",
        ko=f"작업 프로세스가 코드 {exitcode}(으)로 끝났습니다(위의 traceback 참고). 끝난 작업은 "
        "남아 있습니다. 직접 쓴 스크립트라면 `if __name__ == '__main__':` 아래에서 부르십시오",
    )


def _stop(workers: dict[Connection, BaseProcess]) -> None:
    for process in workers.values():
        process.terminate()
    deadline = time.monotonic() + _PATIENCE_S
    for here, process in workers.items():
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()
        here.close()


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    # Ctrl-C reaches the whole group; the parent alone decides. A worker inherits the mask, so even
    # one that is still importing prints no traceback; the parent gets its own signal afterwards.
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    function: Callable[[T, Tools], R], parent: Connection, turn: AbstractContextManager[object]
) -> None:
    """A worker's life: receive, work, answer; end when told or when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As an exception, so that temporary files are removed.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    with contextlib.suppress(BrokenPipeError, EOFError, ConnectionResetError):
        while (task := parent.recv()) is not None:
            parent.send(_outcome(function, task, Tools(_Reporter(parent), turn)))


def _outcome(function: Callable[[T, Tools], R], task: T, tools: Tools) -> _Message[R]:
    try:
        result = function(task, tools)
    except NunbitError as exc:
        return _Failed(exc)
    except MemoryError:
        return _Failed(
            InputError(
                en="out of memory; finished work is kept: run the same line again with "
                "--set num_workers=1",
                ko="메모리가 부족합니다. 끝난 작업은 남아 있습니다. --set num_workers=1로 다시 "
                "실행하십시오",
            )
        )
    if isinstance(tools.advance, _Reporter):
        tools.advance.flush()
    return _Done(result)


class _Reporter:
    """Sends counts to the parent a few times a second, which also tells whether it still lives."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._count = 0
        self._last = time.monotonic()

    def __call__(self, units: int) -> None:
        self._count += units
        if time.monotonic() - self._last >= _REPORT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        self._parent.send(_Advance(self._count))
        self._count, self._last = 0, time.monotonic()
