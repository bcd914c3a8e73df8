"""The private folder of things that can be made again: encoded corpora and compiled programs."""

from __future__ import annotations

import contextlib
import getpass
import os
import tempfile
import time
from pathlib import Path

KEEP_SECONDS = 30 * 24 * 3600  # what was not used for so long is cleared


def folder(name: str) -> Path:
    """A folder `name` of our cache that can be written: under $XDG_CACHE_HOME or ~/.cache, or else a temporary one."""
    bases = [os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache"), os.path.join(tempfile.gettempdir(), _private())]
    for base in filter(None, bases):
        if not os.path.isabs(base):
            continue
        path = Path(base, "lmgen", name)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.stat().st_uid == os.getuid() and os.access(path, os.W_OK | os.X_OK):
                return path
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="lmgen-"))


def _private() -> str:
    try:
        return f"lmgen-of-{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name
        return f"lmgen-of-{os.getuid()}"


def clear_old(path: Path) -> None:
    """Remove the encoded and the copied texts directly in `path` that were not used for `KEEP_SECONDS`."""
    with contextlib.suppress(OSError):
        for file in (*path.glob("*.ids"), *path.glob("*.part"), *path.glob("*.spool")):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > KEEP_SECONDS:
                    file.unlink()
