"""The package as it would find Windows: modules are missing for lmgen, and names of os and signal.

Only imports by modules of lmgen are masked; the standard library, JAX and the tests have the real ones. What renames and removes
files fails for all as on Windows: where a process has a file open or mapped, and where the new name is taken.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import errno
import os
import signal
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}
OF_OS = """
    O_NOFOLLOW O_NONBLOCK O_DIRECTORY O_CLOEXEC O_NOCTTY O_SYNC O_DSYNC O_PATH O_TMPFILE WNOHANG
    getuid geteuid getgid getegid getgroups getpgid getpgrp getsid setsid setuid setgid setpgid getloadavg uname ctermid
    fork forkpty openpty ttyname tcgetpgrp tcsetpgrp killpg nice wait wait3 wait4 register_at_fork
    sysconf sysconf_names pathconf fpathconf confstr statvfs fstatvfs mkfifo mknod chown lchown fchown chroot fchdir lockf
    pread preadv pwrite pwritev readv writev sendfile posix_fadvise posix_fallocate fdatasync sync memfd_create
    sched_getaffinity sched_setaffinity sched_yield getpriority setpriority
"""
OF_SIGNAL = """
    SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGCONT SIGPIPE SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGWINCH
    alarm pause getitimer setitimer siginterrupt pthread_kill pthread_sigmask sigpending sigwait sigtimedwait
"""
MOVING = ("unlink", "remove", "rmdir", "rename", "replace")  # functions of os
NAMES = {"os": set(OF_OS.split()), "signal": set(OF_SIGNAL.split())}
REAL = {"os": os, "signal": signal}


class Masked(types.ModuleType):
    """A module without some of its names; what tests patch in the real one is patched here."""

    def __getattr__(self, name: str) -> Any:
        if name in NAMES[self.__name__]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(REAL[self.__name__], name)


class Kernel32:
    """The functions of Windows that lmgen calls, on a POSIX system."""

    def OpenProcess(self, access: int, inherits: bool, process: int) -> int:
        with contextlib.suppress(OSError):
            os.kill(process, 0)
            return process
        return 0

    def GetExitCodeProcess(self, handle: int, code: Any) -> bool:
        code._obj.value = 259
        return True

    def CloseHandle(self, handle: int) -> bool:
        return bool(handle)


def in_use(path: Any) -> str:
    """A file that this process has open or mapped and that is at a path or below it; empty if there is none."""
    here = os.path.realpath(os.path.dirname(os.path.abspath(path))) + os.sep + os.path.basename(os.path.abspath(path))
    files = [line.split(maxsplit=5)[5].strip() for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line]
    for handle in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            files.append(os.readlink(f"/proc/self/fd/{handle}"))
    return next((file for file in files if file == here or file.startswith(here + os.sep)), "")


def as_on_windows(function: Callable) -> Callable:
    """A function that renames or removes, and fails where that of Windows does."""

    def checking(path: Any, *rest: Any, **others: Any) -> Any:
        if not any(isinstance(value, int) for value in others.values()):  # relative to an open directory
            for each in (path, *rest[:1]):
                if file := in_use(each):
                    raise PermissionError(errno.EACCES, f"{file} is in use", os.fspath(each))
            if rest and os.path.lexists(rest[0]) and (function.__name__ == "rename" or os.path.isdir(rest[0])):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(rest[0]))
        return function(path, *rest, **others)

    checking.masked = True  # type: ignore[attr-defined]
    return checking


def mask() -> None:
    """Mask the imports of all modules of lmgen that are imported from now on."""
    imported, masked = builtins.__import__, {name: Masked(name) for name in NAMES}

    def masking(name: str, names: Any = None, local: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if not level and str((names or {}).get("__name__", "")).partition(".")[0] == "lmgen":
            top = name.partition(".")[0]
            if top in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in masked or (top in masked and not fromlist):
                return masked[top]
        return imported(name, names, local, fromlist, level)

    builtins.__import__ = masking
    masked["os"].name = "nt"  # type: ignore[attr-defined]
    ctypes.windll = types.SimpleNamespace(kernel32=Kernel32())  # type: ignore[attr-defined]
    if os.path.isdir("/proc/self/fd"):
        for name in MOVING:
            setattr(os, name, as_on_windows(getattr(os, name)))
