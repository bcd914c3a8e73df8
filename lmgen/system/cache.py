"""The private cache folder: encoded corpora and compiled programs, all of which can be made again."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

KEEP_SECONDS = 30 * 24 * 3600  # files unused for longer are removed
WRITING_SECONDS = 3600  # for which a file may be neither open nor mapped although it is about to be used
_POSIX = hasattr(os, "getuid")  # Windows has neither owners nor modes of this kind


def folder(name: str) -> Path:
    """A writable cache folder, for this process alone if there is no lasting one."""
    return lasting(name) or Path(tempfile.mkdtemp(prefix="lmgen-"))


def lasting(name: str) -> Path | None:
    """A writable cache folder that later processes find again, or None.

    It is in $XDG_CACHE_HOME, %LOCALAPPDATA% (of Windows), ~/.cache or the temporary folder.
    """
    homes = (os.environ.get("XDG_CACHE_HOME"), os.environ.get("LOCALAPPDATA"), os.path.expanduser("~/.cache"))
    bases = [Path(home, "lmgen") for home in homes if home and os.path.isabs(home)]
    temporary = Path(tempfile.gettempdir(), f"lmgen-of-{os.getuid() if _POSIX else 'user'}")
    for base in (*bases, *([] if temporary.is_symlink() else [temporary])):  # anyone may put a link there
        with contextlib.suppress(OSError):
            base.parent.mkdir(parents=True, exist_ok=True)
            if _ours(base) and _ours(base / name):
                return base / name
    return None


def _ours(path: Path) -> bool:
    """Create a private folder if missing; whether it belongs to this user and is writable."""
    path.mkdir(mode=0o700, exist_ok=True)
    if _POSIX:
        found = path.stat()
        if found.st_uid != os.getuid():
            return False
        if found.st_mode & 0o077:
            path.chmod(found.st_mode & 0o700)
    return os.access(path, os.W_OK | os.X_OK)


def remove(path: Path) -> None:
    """Remove a file for a single use; Windows removes none that is open or mapped, so there it may stay until `clear_old`."""
    with contextlib.suppress(OSError):
        path.unlink()


def clear_old(path: Path) -> None:
    """Remove encoded, copied and half prepared texts in a folder that were not used for `KEEP_SECONDS`, and what `remove` had to
    leave."""
    single = KEEP_SECONDS if _POSIX else WRITING_SECONDS
    for pattern, seconds in {"*.ids": KEEP_SECONDS, "*.part": single, "*.parts": KEEP_SECONDS, "*.spool": single}.items():
        for file in path.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > seconds:
                    shutil.rmtree(file) if file.is_dir() else file.unlink()
