"""A model directory held by one process: the lock dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lmgen.errors import CheckpointError, InputError, LmgenError
from lmgen.system import arrayfile

LEFTOVER = re.compile(r"\.(?:[\w-]+\.(?:json|jsonl|md|safetensors))\.\d+\.part")


class TakenError(InputError):
    """A name or a directory that is in use."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a model for one training; TakenError names the process that holds it."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} is no model: give a directory that lmgen train wrote")
    with held(path, path):
        yield


@contextlib.contextmanager
def held(folder: Path, name: Path) -> Iterator[None]:
    """Hold a directory that users call `name`; TakenError names the process that holds it."""
    with _acquired(folder, name) as file:
        with contextlib.suppress(OSError):  # on a full disk the process goes without its name
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), str(os.getpid()).encode(), 0)
        _clear_leftovers(folder)
        yield


def _acquired(folder: Path, name: Path) -> IO[str]:
    try:
        lock = arrayfile.subfolder(folder, "train") / "lock"
        file: IO[str] = open(lock, "r+", opener=lambda name, flags: arrayfile.no_link(name, flags | os.O_CREAT))  # noqa: SIM115
        with contextlib.ExitStack() as held:
            held.enter_context(file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), lock.lstat()):
                raise FileNotFoundError
            held.pop_all()
            return file
    except BlockingIOError:
        holder = lock.read_text("utf-8", "replace")[:20].strip() if lock.is_file() else ""
        raise TakenError(f"{name} is being trained by process {holder}: wait for it, or choose another --output") from None
    except (OSError, LmgenError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, FileNotFoundError):  # the directory got another name, or went, while it was opened
            raise TakenError(f"{name} is being replaced by another process: wait for it, or choose another --output") from None
        if isinstance(error, LmgenError):
            raise
        raise LmgenError(f"cannot train in {name} (lock: {error.strerror}): copy the directory to where you can write") from None


def _clear_leftovers(path: Path) -> None:
    """Remove what a killed save left half-written in a directory that is ours."""
    for part in (*path.glob(".*.part"), *path.glob("train/.*.part")):
        if LEFTOVER.fullmatch(part.name):
            with contextlib.suppress(OSError):
                part.unlink()
