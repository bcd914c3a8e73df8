"""The folder in which a text is prepared, part by part: what was finished before the process was killed is found again."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.data.preparing.lines import NotInPartsError
from lmgen.errors import LmgenError
from lmgen.system import cache, files
from lmgen.system.cluster import pool
from lmgen.system.lock import alive

FORMAT = 1  # of the files below: another makes them anew
WORTH_A_PROCESS = 1 << 24  # bytes of a text for which it pays to start one

Arrays = dict[str, np.ndarray]


@contextlib.contextmanager
def workplace(key: str) -> Iterator[Path]:
    """A folder for what `key` describes, of this process alone; one that a killed process left is taken over.

    It stays until `clear`, for a process that is killed in the next pass, and where this one is stopped. After an error it is
    removed.
    """
    folder = cache.folder("corpora")
    digest = hashlib.sha256(f"{FORMAT} {key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    host = re.sub(r"\W", "", socket.gethostname())
    own = folder / f"{digest}.{host}.{os.getpid()}.parts"
    with _explained(folder):
        for left in folder.glob(f"{digest}.{host}.*.parts"):
            if not alive(int(left.suffixes[-2][1:])):
                with contextlib.suppress(OSError):  # another process was faster
                    left.rename(own)
                    break
        own.mkdir(exist_ok=True)
    try:
        yield own
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise
    _finished.add(own)


_finished: set[Path] = set()


@atexit.register
def clear() -> None:
    """Remove the folders that are no longer used."""
    while _finished:
        shutil.rmtree(_finished.pop(), ignore_errors=True)


def made(folder: Path, function: str, tasks: Sequence[dict[str, Any]], size: int) -> Iterator[tuple[dict[str, Any], Arrays]]:
    """What a function, "module:name", makes of each part, in order: an answer, and arrays.

    `size` is that of the text in bytes. What is in the folder already, and whole, is not made again. Raises NotInPartsError, and
    LmgenError where there is no room.
    """
    paths = [folder / f"{k}.part" for k in range(len(tasks))]
    given: list[dict[str, Any]] = [
        {"path": str(path), "function": function, "task": task} for path, task in zip(paths, tasks, strict=True)
    ]
    missing = {k for k, path in enumerate(paths) if not path.exists()}
    new = pool.each(f"{__name__}:make", [given[k] for k in sorted(missing)], min(pool.cores(), size // WORTH_A_PROCESS))
    with contextlib.closing(new):
        for k, path in enumerate(paths):
            if k in missing and not next(new):
                raise NotInPartsError
            found = _read(path)
            if found is None and k not in missing and make(**given[k]):  # it was damaged when the machine stopped
                found = _read(path)
            if found is None:
                raise LmgenError(f"a file in {folder.parent} is not what was written: the disk or the memory is faulty")
            yield found


def make(path: str, function: str, task: dict[str, Any]) -> bool:
    """Write what a function makes of a part into a file, whole or not at all. False where it raises NotInPartsError."""
    try:
        answer, arrays = pool.named(function)(**task)
    except NotInPartsError:
        return False
    kinds = {name: (array.dtype.str, len(array)) for name, array in arrays.items()}
    head = json.dumps([answer, kinds]).encode()
    contents: list[Any] = [len(head).to_bytes(8, "little"), head, *(np.ascontiguousarray(a).data for a in arrays.values())]
    part = Path(f"{path}.{socket.gethostname()}.{os.getpid()}")
    with _explained(part.parents[1]):
        try:
            with open(part, "wb") as file:
                checksum = 0
                for content in contents:
                    checksum = zlib.crc32(content, checksum)
                    file.write(content)
                file.write(checksum.to_bytes(8, "little"))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return True


def _read(path: Path) -> tuple[Any, Arrays] | None:
    """What is in a file; None where it is damaged or missing."""
    try:
        content = memoryview(path.read_bytes())
    except OSError:
        return None
    if len(content) < 16 or zlib.crc32(content[:-8]) != int.from_bytes(content[-8:], "little"):
        return None
    at = 8 + int.from_bytes(content[:8], "little")
    (answer, kinds), arrays = json.loads(bytes(content[8:at])), {}
    for name, (kind, length) in kinds.items():
        arrays[name] = np.frombuffer(content, kind, length, at)
        at += arrays[name].nbytes
    return answer, arrays


def _explained(folder: Path) -> contextlib.AbstractContextManager[None]:
    return files.explained(f"cannot prepare the text in {folder}", "; free some space, or set XDG_CACHE_HOME")
