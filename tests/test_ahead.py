"""A stage that works ahead gives what plain iteration gives, and ends with its user."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from nunbit.runtime.workers import run_ahead


def _threads() -> int:
    return sum(t.name == "nunbit-ahead" for t in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_order_and_values_are_those_of_plain_iteration(depth: int) -> None:
    assert list(run_ahead(iter(range(50)), depth)) == list(range(50))
    assert _threads() == 0


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("third")

    got = []
    with pytest.raises(LookupError, match="third"):
        for item in run_ahead(items(), 8):
            got.append(item)  # noqa: PERF402  # the error is what is looked at
    assert got == [1, 2]
    assert _threads() == 0


def test_it_is_at_most_the_depth_ahead() -> None:
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        while made < 100:
            made += 1
            yield made

    stage: Any = run_ahead(items(), 4)
    assert next(stage) == 1
    deadline = time.monotonic() + 5.0
    while made < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    # One is out, four wait, one is in the hands of the thread.
    assert made == 6
    stage.close()


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    stage: Any = run_ahead(items(), 2)
    next(stage)
    stage.close()
    assert closed.is_set()
    assert _threads() == 0
