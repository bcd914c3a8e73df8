"""The memory of the process."""

from __future__ import annotations

import contextlib
import ctypes


def keep_freed() -> None:
    """Tell the C library not to give large blocks back at every step, which would fault them in again (mallopt(3) of glibc)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # not glibc
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    mallopt(arena_max, 1)  # the one heap that can grow beyond 64 MiB
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(top_pad, 64 << 20)


def give_back() -> None:
    """Give free memory back to the system (malloc_trim(3) of glibc): the holes of a first step, into which no other fits."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
