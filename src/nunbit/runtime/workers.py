"""Many independent tasks on several processes, stages in threads, cores and freed memory.

Processes are started afresh (spawn), so it works on every system and whatever the caller has
loaded. A worker that dies is reported as an error and never waited for; an interrupted parent
stops its workers; workers of a killed parent notice and stop.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import multiprocessing.connection
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic, TypeVar, cast

from nunbit.core.messages import InputError, Lang, NunbitError, Text
from nunbit.runtime.claims import MachineTurn
from nunbit.runtime.progress import set_lang, spoken_lang

T = TypeVar("T")
R = TypeVar("R")

_REPORT_EVERY_S = 0.2
_PATIENCE_S = 5.0
_GONE = (BrokenPipeError, ConnectionResetError)  # what sending to a dead process raises


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """A finished task's result."""

    result: R


class WorkerKilled(InputError):  # noqa: N818  (what happened, not what is wrong)
    """A worker was killed by a signal: the same task may succeed elsewhere or later."""


@dataclass(frozen=True, slots=True)
class _Told:
    text: str


_Message = int | _Told | Done[R] | NunbitError
"""What a worker sends: units finished, what it does now, the result, or the error of its task."""


def nobody(_: str) -> None:
    """Nobody wants to know what a task does now."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a task may use of its process.

    Attributes:
        advance: Call with the number of units finished since the last call.
        turn: Hold it for work that only one process at a time may do.
        tell: Call with what the task does now, a few words for people.
    """

    advance: Callable[[int], None]
    turn: AbstractContextManager[object]
    tell: Callable[[str], None] = nobody


def run_tasks(
    function: Callable[[T, Tools], R],
    tasks: Iterable[T],
    *,
    num_workers: int,
    advance: Callable[[int], None],
    lost: Callable[[T, InputError], R] | None = None,
    tell: Callable[[str], None] = nobody,
) -> Iterator[R]:
    """Yield ``function(task, tools)`` for every task, in the order of completion.

    Args:
        function: A module-level function.
        tasks: Made one by one, when a worker is free.
        num_workers: 1 works in this process; more start that many processes.
        advance: Gets the units that tasks report, in this process.
        lost: Makes the result of a task whose worker died; a new worker goes on with the others.
            Tasks then run in processes of their own even with one worker. None: the death of a
            worker ends the whole run.
        tell: Gets what tasks say that they do now, in this process.

    Raises:
        NunbitError: What a task raised; the other workers are stopped first.
        InputError: A worker died (killed, out of memory, a defect: its traceback is on stderr).
    """
    if num_workers <= 1 and lost is None:
        yield from (function(task, Tools(advance, nullcontext(), tell)) for task in tasks)
        return
    pool: _Pool[T, R] = _Pool(function)
    try:
        pending = iter(tasks)
        for task in islice(pending, max(1, num_workers)):
            pool.start(task)
        while pool.workers:
            for ready in multiprocessing.connection.wait(list(pool.workers)):
                here = cast("Connection", ready)
                try:
                    message = pool.receive(here)
                except InputError as exc:
                    if lost is None:
                        raise
                    advance(-pool.counted.pop(here, 0))  # of a task that is not finished
                    yield lost(pool.drop(here), exc)
                    for task in islice(pending, 1):
                        pool.start(task)
                    continue
                if isinstance(message, int):
                    pool.counted[here] = pool.counted.get(here, 0) + message
                    advance(message)
                elif isinstance(message, _Told):
                    tell(message.text)
                elif isinstance(message, NunbitError):
                    raise message
                else:
                    pool.counted.pop(here, None)
                    yield message.result
                    pool.go_on(here, pending)
    finally:
        pool.stop()


class _Pool(Generic[T, R]):
    """Processes that work, each by its end of a pipe, and the task that each has."""

    def __init__(self, function: Callable[[T, Tools], R]) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._function = function
        self.workers: dict[Connection, BaseProcess] = {}
        self.counted: dict[Connection, int] = {}
        self._doing: dict[Connection, T] = {}

    def start(self, task: T) -> None:
        """Start a process with its first task."""
        here, there = self._context.Pipe()
        arguments = (self._function, there, spoken_lang())
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        with _interrupts_held_back():
            process.start()
        there.close()
        self.workers[here] = process
        self._give(here, task)

    def _give(self, here: Connection, task: T) -> None:
        self._doing[here] = task
        with suppress(*_GONE):  # dead already: reading from it says so
            here.send(task)

    def receive(self, here: Connection) -> _Message[R]:
        """What a worker sent.

        Raises:
            InputError: It died.
        """
        try:
            return cast("_Message[R]", here.recv())
        except (EOFError, ConnectionResetError) as exc:
            process = self.workers[here]
            process.join(_PATIENCE_S)
            raise _death(process.exitcode) from exc

    def go_on(self, here: Connection, pending: Iterator[T]) -> None:
        """Give a worker the next task; without one it ends."""
        for task in islice(pending, 1):
            self._give(here, task)
            return
        with suppress(*_GONE):  # dead already, with all its work done
            here.send(None)
        self.drop(here)

    def drop(self, here: Connection) -> T:
        """Wait for a worker that ends; its last task."""
        self.workers.pop(here).join()
        here.close()
        return self._doing.pop(here)

    def stop(self) -> None:
        """End all workers, at once where they do not end themselves."""
        for process in self.workers.values():
            process.terminate()
        deadline = time.monotonic() + _PATIENCE_S
        for here, process in self.workers.items():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
            here.close()


def fault_text(path: Path, exc: Exception) -> Text:
    """What to say of an error that nobody expected: it is nunbit's, and where.

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
    return Text(
        f"{path}: an error in nunbit, not in your file; please report this line: {what}",
        f"{path}: 파일이 아니라 nunbit의 오류입니다. 이 줄을 개발자에게 알려 주십시오: {what}",
    )


def _death(exitcode: int | None) -> InputError:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return WorkerKilled(
            Text(
                f"a worker process was killed ({name}), most likely for lack of memory; finished "
                "work is kept: run the same line again, if it happens again with fewer workers "
                "(`num_workers=1`; analyze: `workers=1`)",
                f"작업 프로세스가 강제 종료되었습니다({name}). 메모리 부족 때문일 가능성이 "
                "큽니다. 완료된 작업은 보존되므로 같은 명령을 다시 실행하고, 반복되면 작업 "
                "프로세스 수를 줄이십시오(`num_workers=1`, analyze는 `workers=1`)",
            )
        )
    return InputError(
        Text(
            f"a worker process ended with code {exitcode} (its traceback is above); finished work "
            "is kept. In a script of your own, call this below `if __name__ == '__main__':`",
            f"작업 프로세스가 코드 {exitcode}(으)로 끝났습니다(위의 traceback 참고). 완료된 "
            "작업은 보존됩니다. 직접 쓴 스크립트라면 `if __name__ == '__main__':` 아래에서 "
            "부르십시오",
        )
    )


@contextmanager
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
    function: Callable[[T, Tools], R],
    parent: Connection,
    lang: Lang,
) -> None:
    """Body of a worker: receive, work, answer; end on request or when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_lang(lang)
    # As an exception, so that temporary files are removed.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    with suppress(BrokenPipeError, EOFError, ConnectionResetError):
        while (task := parent.recv()) is not None:
            reporter = Reporter(parent.send)  # which notices, too, if the parent is gone
            tools = Tools(reporter.advance, MachineTurn(), lambda text: parent.send(_Told(text)))
            message = outcome(function, task, tools)
            reporter.flush()
            parent.send(message)


def outcome(function: Callable[[T, Tools], R], task: T, tools: Tools) -> Done[R] | NunbitError:
    """Do a task; its result, or its error as a value that another process can be sent."""
    try:
        result = function(task, tools)
    except NunbitError as exc:
        return exc
    except MemoryError:
        return InputError(
            Text(
                "out of memory; finished work is kept: run the same line again with "
                "`num_workers=1`",
                "메모리가 부족합니다. 완료된 작업은 보존됩니다. `num_workers=1`로 다시 "
                "실행하십시오",
            )
        )
    return Done(result)


class Reporter:
    """Adds up what a task counts and sends it on a few times a second.

    Args:
        send: Gets the sum of what was counted since the call before.
        every_s: How often, seconds.
    """

    def __init__(self, send: Callable[[int], None], every_s: float = _REPORT_EVERY_S) -> None:
        self._send, self._every_s = send, every_s
        self._count, self._last = 0, time.monotonic()

    def advance(self, units: int) -> None:
        """Count."""
        self._count += units
        if time.monotonic() - self._last >= self._every_s:
            self.flush()

    def flush(self) -> None:
        """Send what was counted."""
        self._send(self._count)
        self._count, self._last = 0, time.monotonic()


# -- a stage of a pipeline that works ahead of the next -------------------------------------------
# It pays where a stage spends its time in native code that releases the interpreter's lock, or
# waits for another process. Order and values are those of plain iteration.

_LOOK_S = 0.2  # how often a stage whose queue is full checks whether the consumer is still there


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a stage: the error that ended it, if any."""

    error: BaseException | None = None


def run_ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Iterate over ``items`` in a thread that is at most ``depth`` items ahead.

    Closing the iterator (or its collection) ends the thread before it returns.

    Args:
        items: Touched by that thread alone while this runs.
        depth: Bounds the memory that waiting items take.

    Raises:
        BaseException: Whatever ``items`` raised, after the items before it.
    """
    stage = _Stage(items, depth)
    stage.start()
    try:
        while not isinstance(item := stage.ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stage.stop()


class _Stage(threading.Thread, Generic[T]):
    """The thread and the items it has ready."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        super().__init__(name="nunbit-ahead", daemon=True)
        self._items = items
        self.ready: queue.Queue[T | _End] = queue.Queue(depth)
        self._unwanted = threading.Event()

    def stop(self) -> None:
        self._unwanted.set()
        self.join()

    def run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as exc:  # raised again where the items are used
            error = exc
        if (close := getattr(self._items, "close", None)) is not None:
            close()  # generators are closed by the thread that ran them
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        while not self._unwanted.is_set():
            try:
                self.ready.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False


# -- cores and memory of this machine -------------------------------------------------------------
# What is freed stays with a process or goes back to the system as the C library likes. Long
# analyses want it back between two stages, training wants to keep it from step to step.

# <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 256 * 2**20


def available_cores() -> int:
    """Cores this process may use; containers and ``taskset`` allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def give_back_freed_memory() -> None:
    """Return what is free to the system; costs some milliseconds.

    Freed blocks stay in glibc's arenas and in Arrow's pool until somebody asks: after hours of
    video a stage would start from the peak of the one before. Other C libraries are left alone.
    """
    gc.collect()
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for this process.

    A step of a convolutional network frees and asks for the same hundreds of megabytes again.
    glibc takes large blocks from the system and returns them at once, so every step would pay for
    all pages anew. The peak stays what it was, but memory is not given back before the process
    ends.

    Returns:
        Whether it was done; with another C library than glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _TOP_PAD_BYTES))
    return all(library.mallopt(option, value) == 1 for option, value in wanted)
