"""The memory of the process and of the machine, as far as the system tells it."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

CONTROL_GROUP = Path("/sys/fs/cgroup")


def keep_freed() -> None:
    """Make glibc keep freed blocks, which would otherwise be returned and faulted in again at every step (mallopt(3))."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; Windows has no library None
        return
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8
    mallopt(arena_max, 1)  # only the main heap can grow beyond 64 MiB
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(top_pad, 64 << 20)


def give_back() -> None:
    """Return free memory to the system (malloc_trim(3)): the first step leaves holes that nothing else fits into."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget(array: Any) -> None:
    """Let go of the pages of a file that is mapped into memory as this array; they come back when they are read."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def total() -> int | None:
    """The memory of the machine in bytes; None if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def available() -> float:
    """The bytes that this process can still allocate, by the limits of Linux, the control group and the process, or infinity."""
    free = math.inf
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        free = 1024.0 * sum(int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    with contextlib.suppress(OSError, ValueError):  # no group, or "max"
        most, used = (int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, most - used)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else None
    if limit is not None and limit != resource.RLIM_INFINITY:
        used = 0
        with contextlib.suppress(OSError, ValueError):
            used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        free = min(free, max(0, limit - used))
    return free
