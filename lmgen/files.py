"""Files that users name: whole or not there, and never in the place of another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lmgen.errors import InputError


@contextlib.contextmanager
def new(path: Path) -> Iterator[IO[str]]:
    """A text file (UTF-8) that gets its name when all of it is written.

    Raises InputError where it cannot be written, or where there is a file of that name.
    """
    part = path.with_name(f".lmgen.{os.getpid()}.part")
    try:
        if os.path.lexists(path):
            raise FileExistsError(0, "it is there already and nothing is overwritten")
        try:
            with open(part, "x", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _give_name(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another --output") from None


def _give_name(part: Path, path: Path) -> None:
    """Rename a file, but not over another."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.rename(part, path)
