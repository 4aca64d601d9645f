"""Freed memory kept for the next step, where the C library would hand it back to the system.

A step of a convolutional network frees and asks for the same hundreds of megabytes again. glibc
takes large blocks from the system and returns them at once, so every step pays for all pages anew.
Analysing wants the opposite, free memory back between two stages: ``nunbit.memory``.
"""

from __future__ import annotations

import ctypes
import platform

# <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for this process.

    The peak stays what it was, but memory is not given back before the process ends.

    Returns:
        Whether it was told; another C library is left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _TOP_PAD_BYTES))
    return all(library.mallopt(option, value) == 1 for option, value in wanted)
