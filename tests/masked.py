"""The package as it would find a system that is not POSIX: modules are missing for lmgen, and names of os and signal.

Only imports by modules of lmgen are masked; the standard library, JAX and the tests have the real ones.
"""

from __future__ import annotations

import builtins
import os
import signal
import types
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
NAMES = {"os": set(OF_OS.split()), "signal": set(OF_SIGNAL.split())}
REAL = {"os": os, "signal": signal}


class Masked(types.ModuleType):
    """A module without some of its names; what tests patch in the real one is patched here."""

    def __getattr__(self, name: str) -> Any:
        if name in NAMES[self.__name__]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(REAL[self.__name__], name)


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
