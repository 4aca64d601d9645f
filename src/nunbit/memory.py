"""Give freed memory back to the system between the stages of a long job.

Freed blocks stay with the process, in glibc's arenas and in Arrow's pool, until somebody asks:
after hours of video a stage would start from the peak of the one before. Training wants the
opposite, the same blocks again for every step: ``training.allocator``.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import sys


def give_back_freed_memory() -> None:
    """Return what is free; costs some milliseconds. Other C libraries than glibc are left alone."""
    gc.collect()
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
