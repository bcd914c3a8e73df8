"""Files that users name: whole or not there, and never in the place of another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lmgen.errors import InputError


@contextlib.contextmanager
def new(path: Path, option: str = "--output", text: bool = False) -> Iterator[IO[Any]]:
    """A file of bytes, or of text (UTF-8), that gets its name when all of it is written.

    Raises InputError, with the option that names it, where it cannot be written, or where there is a file of that name.
    """
    how: dict[str, Any] = {"mode": "x", "encoding": "utf-8", "newline": "\n"} if text else {"mode": "xb"}
    try:
        if os.path.lexists(path):
            raise FileExistsError(0, "it is there already and nothing is overwritten")
        part = path.with_name(f".lmgen.{os.getpid()}.part")
        try:
            with open(part, **how) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _give_name(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another {option}") from None


def _give_name(part: Path, path: Path) -> None:
    """Rename a file, but not over another."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.rename(part, path)
