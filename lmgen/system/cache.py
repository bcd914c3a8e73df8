"""The private cache folder: encoded corpora and compiled programs, all of which can be made again."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

KEEP_SECONDS = 30 * 24 * 3600  # files unused for longer are removed
_POSIX = hasattr(os, "getuid")  # Windows has neither owners nor modes of this kind


def folder(name: str) -> Path:
    """A writable cache folder, for this process alone if there is no lasting one."""
    return lasting(name) or Path(tempfile.mkdtemp(prefix="lmgen-"))


def lasting(name: str) -> Path | None:
    """A writable cache folder that later processes find again, or None: in $XDG_CACHE_HOME, ~/.cache or the temporary folder."""
    homes = (os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache"))
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


def clear_old(path: Path) -> None:
    """Remove encoded, copied and half prepared texts in a folder that were not used for `KEEP_SECONDS`."""
    for file in (*path.glob("*.ids"), *path.glob("*.part"), *path.glob("*.parts"), *path.glob("*.spool")):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
