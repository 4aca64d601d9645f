"""Let one stage of a pipeline work ahead of the next, in a thread of its own.

Worth it where a stage spends its time in native code that releases the interpreter's lock, or
waits for another process. Order and values are those of plain iteration.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOK_S = 0.2  # how often a stage with nowhere to put its item looks whether anybody still wants it


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing a stage gives: the error that ended it, if any."""

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
    return _receive(_Stage(items, depth))


class _Stage(Generic[T]):
    """The thread and what it has ready."""

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items = items
        self.ready: queue.Queue[T | _End] = queue.Queue(depth)
        self._unwanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="nunbit-ahead", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._unwanted.set()
        self._thread.join()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as exc:  # raised again where the items are used
            error = exc
        close = getattr(self._items, "close", None)
        if close is not None:
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


def _receive(stage: _Stage[T]) -> Iterator[T]:
    stage.start()
    try:
        while True:
            item = stage.ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stage.stop()
