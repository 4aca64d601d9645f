from __future__ import annotations

import os
import signal
import time

import pytest

from nunbit.core.messages import InputError, Text
from nunbit.runtime.workers import Tools, available_cores, run_tasks


def work(task: int, tools: Tools) -> int:
    tools.advance(1)
    if task == -2:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == -3:
        os._exit(7)
    if task == -4:
        raise InputError(Text("four", "넷"))
    if task == -5:
        raise MemoryError
    with tools.turn:
        return task * 10


@pytest.mark.parametrize("num_workers", [1, 2])
def test_every_task_is_done_once_and_counted(num_workers: int) -> None:
    advanced: list[int] = []
    tasks = iter([1, 2, 3, 4, 5])
    done = run_tasks(work, tasks, num_workers=num_workers, advance=advanced.append)
    assert sorted(done) == [10, 20, 30, 40, 50]
    assert sum(advanced) == 5


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (-2, "SIGKILL.*memory"),
        (-3, "ended with code 7"),
        (-4, "^four$"),
        (-5, "out of memory.*num_workers=1"),
    ],
)
def test_a_lost_worker_is_an_error_and_not_a_wait(task: int, message: str) -> None:
    begin = time.monotonic()
    with pytest.raises(InputError, match=message):
        list(run_tasks(work, [1, task, 2], num_workers=2, advance=lambda _: None))
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.seconds
def test_a_lost_task_may_have_a_result_and_the_others_go_on(num_workers: int) -> None:
    def lost(task: int, error: InputError) -> int:
        assert "SIGKILL" in error.text.en or "code 7" in error.text.en
        return task

    tasks = [1, -2, -3, 2, 3]
    done = run_tasks(work, tasks, num_workers=num_workers, advance=lambda _: None, lost=lost)
    assert sorted(done) == [-3, -2, 10, 20, 30]


def test_an_abandoned_run_stops_its_workers() -> None:
    running = run_tasks(work, [1, 2, 3, 4], num_workers=2, advance=lambda _: None)
    next(running)
    running.close()  # type: ignore[attr-defined]
    import multiprocessing

    assert multiprocessing.active_children() == []


def test_available_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_a_worker_that_dies_after_its_last_result_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from multiprocessing.connection import Connection

    send = Connection.send

    def gone(self: Connection, task: object) -> None:
        send(self, task)
        if task is None:  # as if it were dead already
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(Connection, "send", gone)
    done = run_tasks(work, iter([1, 2, 3, 4]), num_workers=2, advance=lambda _: None)
    assert sorted(done) == [10, 20, 30, 40]
