"""Who does the parts of a piece of work: processes of this machine, or a Ray cluster.

A story cuts its work into parts that are the same wherever they are done, and hands them to an
engine with the function that does one. The engine only decides who runs a part, and tries a part
again whose worker was killed. Files have the same names and contents with every engine.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal

from nunbit.core.messages import InputError, SettingsError, Text
from nunbit.runtime.progress import say
from nunbit.runtime.workers import R, T, Tools, WorkerKilled, available_cores, nobody, run_tasks

EngineName = Literal["local", "ray"]

ATTEMPTS = 3
"""A part whose worker was killed so often is given up: it is the part, not the worker."""

Lost = Callable[[T, InputError], R]


@dataclass(frozen=True, slots=True)
class Work(Generic[T, R]):
    """What an engine is given to do; see :meth:`Engine.run`."""

    function: Callable[[T, Tools], R]
    tasks: Iterable[T]
    advance: Callable[[int], None]
    lost: Lost[T, R] | None
    tell: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Engine(ABC):
    """Runs parts.

    Attributes:
        workers: Parts done at once.
        name: ``local`` or ``ray``.
    """

    workers: int
    name: EngineName

    def run(
        self,
        function: Callable[[T, Tools], R],
        tasks: Iterable[T],
        *,
        advance: Callable[[int], None],
        lost: Lost[T, R] | None = None,
        tell: Callable[[str], None] = nobody,
    ) -> Iterator[R]:
        """Yield ``function(task, tools)`` of every task, in the order of completion.

        Args:
            function: A module-level function.
            tasks: Made one by one, when a worker is free; plain data.
            advance: Gets the units that tasks report, in this process.
            lost: Makes the result of a task whose workers were killed ``ATTEMPTS`` times, or whose
                only worker ended itself. None: that ends the run.
            tell: Gets what tasks say that they do now, in this process.

        Raises:
            NunbitError: What a task raised; what others have finished stays.
            InputError: A worker was killed too often, or the cluster is gone.
        """
        return self.results(Work(function, tasks, advance, lost, tell))

    @abstractmethod
    def results(self, work: Work[T, R]) -> Iterator[R]:
        """What :meth:`run` yields."""


def described(engine: Engine) -> dict[str, str | int]:
    """The engine as provenance names it."""
    return {"name": engine.name, "workers": engine.workers}


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What the user asks for.

    Attributes:
        name: Of the engine.
        address: ``HOST:PORT`` of a running cluster; '' = the one that ``RAY_ADDRESS`` names, else
            one that is started here and ends with the run.
        workers: Most parts at once; 0 = one a core.
    """

    name: EngineName = "local"
    address: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
        if self.address and self.name != "ray":
            raise SettingsError(
                Text(
                    f"`address={self.address}` is of a Ray cluster; add `engine=ray` or leave it "
                    "out",
                    f"`address={self.address}`은(는) Ray 클러스터의 주소입니다. `engine=ray`를 "
                    "붙이거나 빼십시오",
                )
            )


@contextmanager
def open_engine(
    choice: EngineChoice, parts: int, *, reads: Sequence[Path] = (), out: Path | None = None
) -> Iterator[Engine]:
    """An engine for so many parts, closed at the end.

    Args:
        choice: Of the user.
        parts: How many there are to do; for none nothing is started.
        reads: Files and folders that every machine needs.
        out: Folder that all machines write to; there already.

    Raises:
        MissingExtra: Ray is not installed.
        InputError: The cluster does not answer, its machines have other versions, or they lack
            one of the paths.
    """
    if choice.name == "local" or not parts:
        workers = min(choice.workers or available_cores(), max(1, parts))
        yield LocalEngine(workers if parts else 0, choice.name)
        return
    from nunbit.runtime.ray_engine import open_ray

    # Workers go to this working folder; where a path is relative to it, they need it.
    folder = [] if all(map(Path.is_absolute, [*reads, *filter(None, [out])])) else [Path.cwd()]
    needed = [Path(os.path.abspath(path)) for path in (*reads, *folder)]  # noqa: PTH100
    shared = None if out is None else Path(os.path.abspath(out))  # noqa: PTH100
    with open_ray(choice.address, choice.workers, parts, reads=needed, out=shared) as engine:
        yield engine


@dataclass(frozen=True, slots=True)
class LocalEngine(Engine):
    """Processes of this machine; one worker works in this process.

    Attributes:
        workers: Processes.
        name: ``local``, or the engine asked for where there is nothing to do.
    """

    workers: int = 1
    name: EngineName = "local"

    def results(self, work: Work[T, R]) -> Iterator[R]:
        """As :meth:`Engine.run` says."""
        do, advance, tell = work.function, work.advance, work.tell
        if self.workers <= 1 and work.lost is None:
            yield from run_tasks(do, work.tasks, num_workers=1, advance=advance, tell=tell)
            return
        queue = Queue(work.tasks)

        def killed(task: T, error: InputError) -> R | Again:
            if isinstance(error, WorkerKilled) and queue.again(task):
                say(tried_again(queue.attempt(task)))
                return AGAIN
            if work.lost is None:
                raise error
            return work.lost(task, error)

        for result in run_tasks(
            do, queue, num_workers=self.workers, advance=advance, lost=killed, tell=tell
        ):
            if not isinstance(result, Again):
                yield result


@dataclass(frozen=True, slots=True)
class Again:
    """In the place of a result: the task is tried again."""


AGAIN = Again()


def tried_again(attempt: int) -> Text:
    """The line that says so."""
    return Text(
        f"a worker was killed; its part is tried again (attempt {attempt} of {ATTEMPTS})",
        f"작업 프로세스가 강제 종료되어 맡은 부분을 다시 시도합니다({ATTEMPTS}번 중 {attempt}번째)",
    )


@dataclass(eq=False)
class Queue(Generic[T]):
    """Tasks to be given out; one that was lost comes before the next new one.

    Unlike a generator it can have a next one again after it had none.
    """

    tasks: Iterable[T]
    # id of a lost task -> itself, so that no other gets its id, and attempts so far
    _attempts: dict[int, tuple[T, int]] = field(default_factory=dict)
    _back: deque[T] = field(default_factory=deque)
    _fresh: Iterator[T] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._back:
            return self._back.popleft()
        if self._fresh is None:
            self._fresh = iter(self.tasks)
        return next(self._fresh)

    def again(self, task: T) -> bool:
        """Whether a lost task may be tried again; then it is the next."""
        done = self.attempt(task)
        if done >= ATTEMPTS:
            return False
        self._attempts[id(task)] = (task, done + 1)
        self._back.append(task)
        return True

    def attempt(self, task: T) -> int:
        """Number of the attempt that a task is at, from 1."""
        return self._attempts.get(id(task), (task, 1))[1]
