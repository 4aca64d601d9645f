"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from nunbit.errors import Lang

_LINE_EVERY_S = 15.0


def say(text: str) -> None:
    """One line to stderr, where progress goes; stdout stays for results."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


class Progress:
    """Counts work and shows rate and time left; use as a context manager.

    Args:
        title: What is being done, in the reader's language.
        total: Number of units, or None if unknown.
        unit: Name of a unit, for example ``img``.
        done: Units finished in an earlier run; they count for the bar, not for the rate.
        lang: Language of the lines.
    """

    def __init__(
        self, title: str, total: int | None, unit: str, *, done: int = 0, lang: Lang = "en"
    ) -> None:
        from tqdm import tqdm

        self._title, self._total, self._unit, self._lang = title, total, unit, lang
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            desc=title,
            unit=unit,
            initial=done,
            file=sys.stderr,
            disable=not self._terminal,
            dynamic_ncols=True,
        )
        self._count, self._initial = done, done
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._terminal and kind is None and self._count > self._initial:
            self._line()
        self._bar.close()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished units; ``note`` stands beside the rate (for example the loss)."""
        self._count += units
        if self._terminal:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
        elif time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._line(note)

    def _line(self, note: str = "") -> None:
        now = time.monotonic()
        self._last_line = now
        rate = (self._count - self._initial) / max(now - self._start, 1e-9)
        left = ""
        if self._total is not None and rate > 0:
            seconds = int((self._total - self._count) / rate)
            clock = f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"
            left = f", 남은 시간 {clock}" if self._lang == "ko" else f", {clock} left"
        of = f"/{self._total}" if self._total is not None else ""
        tail = f", {note}" if note else ""
        say(f"{self._title}: {self._count}{of} {self._unit}, {rate:.1f} {self._unit}/s{left}{tail}")
