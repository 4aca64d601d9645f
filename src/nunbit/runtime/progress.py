"""Progress on stderr, the language of this process, and text in columns on a terminal.

The process speaks one language, English until the command line says otherwise (:func:`set_lang`);
workers get it with their start. Reports that a story writes are in the same language.
"""

from __future__ import annotations

import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from types import TracebackType
from typing import ParamSpec, TypeVar

from nunbit.core.messages import LANGS, InputError, Lang, Text

P = ParamSpec("P")
R = TypeVar("R")


def width(text: str) -> int:
    """Columns a text takes in a terminal: Hangul syllables two, combining marks none."""
    return sum(
        (not unicodedata.combining(c)) + (unicodedata.east_asian_width(c) in "WF") for c in text
    )


def listed(names: Sequence[str], most: int) -> str:
    """The first names, with commas between them and ``…`` for the others."""
    return ", ".join([*names[:most], *(["…"] if len(names) > most else [])])


def pad(text: str, columns: int, *, left: bool = False) -> str:
    """Fill a text up to a number of columns; ``left`` puts the text there."""
    space = " " * max(0, columns - width(text))
    return text + space if left else space + text


def wrapped(text: str, columns: int, *, indent: int = 0) -> list[str]:
    """Lines of at most so many columns, broken at blanks; a longer word has a line of its own."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and indent + width(longer) > columns:
            lines.append(" " * indent + line)
            longer = word
        line = longer
    return [*lines, " " * indent + line] if line else lines


# -- progress: a bar on a terminal, a line now and then elsewhere ---------------------------------

_LINE_EVERY_S = 15.0
_BEAT_S = 1.0
"""Nothing on a terminal stands still for two seconds."""


class _Spoken:
    lang: Lang = "en"
    line_every_s = _LINE_EVERY_S
    words: Callable[[str], str] = str
    elsewhere: Callable[[str], None] | None = None


def set_lang(lang: Lang) -> None:
    """Set the language of this process: of what is said, and of reports unless they are told."""
    _Spoken.lang = lang


def speak_every(seconds: float) -> None:
    """Set how often progress is a line where there is no terminal (15 s)."""
    _Spoken.line_every_s = seconds


def put_in_words(words: Callable[[str], str]) -> None:
    """Set how lines name arguments: the command line turns them into its flags."""
    _Spoken.words = staticmethod(words)


def speak_elsewhere(take: Callable[[str], None] | None) -> None:
    """Hand the lines of :func:`say` to a function instead of stderr: to another machine's."""
    _Spoken.elsewhere = None if take is None else staticmethod(take)


def spoken_lang() -> Lang:
    """The language of this process."""
    return _Spoken.lang


def in_language(verb: Callable[P, R]) -> Callable[P, R]:
    """Let a function of the library speak its argument ``lang`` while it runs."""

    @wraps(verb)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> R:
        before, asked = spoken_lang(), kwargs.get("lang")
        if asked is not None and asked not in LANGS:
            raise InputError(
                Text(
                    f"`lang` must be one of {', '.join(LANGS)}, got {asked!r}",
                    f"`lang`은 {', '.join(LANGS)} 중 하나여야 하는데 {asked!r}입니다",
                )
            )
        set_lang(before if asked is None else asked)
        try:
            return verb(*args, **kwargs)
        finally:
            set_lang(before)

    return spoken


def say(text: Text | str) -> None:
    """Print one line to stderr, where progress goes; stdout is for results.

    Args:
        text: What to say; a plain string is the same in every language (a figure, a name).
    """
    from tqdm import tqdm

    line = text if isinstance(text, str) else text.pick(spoken_lang())
    if _Spoken.elsewhere is not None:
        _Spoken.elsewhere(line)
        return
    tqdm.write(_Spoken.words(line), file=sys.stderr)


class Progress(AbstractContextManager["Progress"]):
    """Counts work and shows rate and time left; use as a context manager.

    Args:
        title: What is being done.
        total: Number of units, or None if unknown.
        unit: Name of a unit, for example ``img``.
        done: Units finished in an earlier run; they count for the bar, not for the rate.
    """

    def __init__(self, title: Text, total: int | None, unit: str, *, done: int = 0) -> None:
        from tqdm import tqdm

        self._title, self._total, self._unit = title.pick(spoken_lang()), total, unit
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            desc=self._title,
            unit=unit,
            initial=done,
            file=sys.stderr,
            disable=not self._terminal,
            dynamic_ncols=True,
        )
        self._count, self._initial, self._doing = done, done, ""
        self._start = self._last_line = time.monotonic()
        self._ended = threading.Event()
        # Work may take many seconds between two counts; the time shown must go on meanwhile.
        self._beat = threading.Thread(target=self._go_on, daemon=True)
        self._beat.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._beat.join()
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
        elif time.monotonic() - self._last_line >= _Spoken.line_every_s:
            self._line(note)

    def tell(self, doing: str) -> None:
        """Say what is being done now; it stands beside the rate until something else is."""
        self._doing = doing
        if self._terminal:
            self._bar.set_postfix_str(doing)

    def _go_on(self) -> None:
        while not self._ended.wait(_BEAT_S):
            if self._terminal:
                self._bar.refresh()
            elif time.monotonic() - self._last_line >= _LINE_EVERY_S:
                self._line()

    def _line(self, note: str = "") -> None:
        from nunbit.core.timebase import clock  # numpy: not for `nunbit --help`

        now = time.monotonic()
        self._last_line = now
        rate = (self._count - self._initial) / max(now - self._start, 1e-9)
        left = ""
        if self._total is not None and rate > 0:
            time_left = clock((self._total - self._count) / rate)
            left = Text(f", {time_left} left", f", 남은 시간 {time_left}").pick(spoken_lang())
        of = f"/{self._total}" if self._total is not None else ""
        told = note or self._doing
        tail = f", {told}" if told else ""
        say(f"{self._title}: {self._count}{of} {self._unit}, {rate:.1f} {self._unit}/s{left}{tail}")
