"""The memory of the process and of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import resource
from pathlib import Path


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


def available() -> float:
    """The bytes that this process could still get, as Linux, its control group and its limits say; infinity where none does."""
    return min(_meminfo(), _control_group(), _limit())


def _meminfo() -> float:
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return 1024.0 * sum(int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, ValueError, KeyError):
        return float("inf")


def _control_group(folder: Path = Path("/sys/fs/cgroup")) -> float:
    try:
        return float(int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text()))
    except (OSError, ValueError):  # none, or "max"
        return float("inf")


def _limit() -> float:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return float("inf")
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        used = 0
    return float(max(0, soft - used))


def give_back() -> None:
    """Give free memory back to the system (malloc_trim(3) of glibc): the holes of a first step, into which no other fits."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
