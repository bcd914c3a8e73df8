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
    """A folder `name` of our cache that can be written, if need be one for this process alone."""
    return lasting(name) or Path(tempfile.mkdtemp(prefix="lmgen-"))


def lasting(name: str) -> Path | None:
    """A folder `name` of our cache that can be written and the next process finds again: under $XDG_CACHE_HOME or ~/.cache, or
    else that for temporary files; None where there is none."""
    homes = (os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache"))
    ours = [Path(home, "lmgen") for home in homes if home and os.path.isabs(home)]
    temporary = Path(tempfile.gettempdir(), _private())
    for base in (*ours, *([] if temporary.is_symlink() else [temporary])):  # anyone may have put a link there
        try:
            base.parent.mkdir(parents=True, exist_ok=True)
            if _ours(base) and _ours(base / name):
                return base / name
        except OSError:
            continue
    return None


def _ours(path: Path) -> bool:
    """Make a folder that is ours alone, if there is none; whether it belongs to us and can be written."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.getuid():
        return False
    if found.st_mode & 0o077:
        path.chmod(found.st_mode & 0o700)
    return os.access(path, os.W_OK | os.X_OK)


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
