"""A model directory held by one process: the lock dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lmgen import arrayfile
from lmgen.errors import CheckpointError, InputError, LmgenError

LEFTOVER = re.compile(r"\.(?:[\w-]+\.(?:json|jsonl|md|safetensors))\.\d+\.part")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a directory for one training; InputError names the process that holds it. The lock dies with its holder."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} is no model: give a directory that lmgen train wrote")
    lock = arrayfile.subfolder(path, "train") / "lock"
    try:
        file: IO[str] = open(lock, "r+", opener=lambda name, flags: arrayfile.no_link(name, flags | os.O_CREAT))  # noqa: SIM115
        with contextlib.ExitStack() as held:
            held.enter_context(file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.pop_all()
    except BlockingIOError:
        holder = lock.read_text("utf-8", "replace")[:20].strip()
        raise InputError(f"{path} is being trained by process {holder}: wait for it, or choose another --output") from None
    except OSError as error:
        raise LmgenError(
            f"cannot train in {path} ({lock.name}: {error.strerror}): copy the directory to where you can write"
        ) from None
    with file:
        with contextlib.suppress(OSError):  # on a full disk the process goes without its name
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), str(os.getpid()).encode(), 0)
        _clear_leftovers(path)
        yield


def _clear_leftovers(path: Path) -> None:
    """Remove what a killed save left half-written in a directory that is ours."""
    for part in (*path.glob(".*.part"), *path.glob("train/.*.part")):
        if LEFTOVER.fullmatch(part.name):
            with contextlib.suppress(OSError):
                part.unlink()
