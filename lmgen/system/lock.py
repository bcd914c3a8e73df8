"""One process at a time trains in a model directory: its lock ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from lmgen.errors import CheckpointError, InputError, LmgenError
from lmgen.system import files

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LEFTOVER = re.compile(r"\.(?:[\w-]+\.(?:json|jsonl|md|safetensors))\.\d+\.part")


class TakenError(InputError):
    """A name or a directory that is in use."""


def locked(path: Path) -> contextlib.AbstractContextManager[None]:
    """Lock a model for training. Raises TakenError, which names the process that holds the lock."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} is no model: give a directory that lmgen train wrote")
    return held(path, path)


@contextlib.contextmanager
def held(folder: Path, name: Path) -> Iterator[None]:
    """Lock a directory that users call `name`. Raises TakenError, which names the process that holds the lock."""
    with contextlib.ExitStack() as stack:
        try:
            file = files.subfolder(folder, "train") / "lock"
            if fcntl:
                _flock(file, stack)
            else:
                _claim(file, name / "train" / "lock", stack)
        except BlockingIOError:
            holder = "".join(file.read_text("utf-8", "replace")[:20].split()[:1]) if file.is_file() else ""
            raise TakenError(f"{name} is being trained by process {holder}: wait for it, or choose another --output") from None
        except (OSError, LmgenError) as error:
            if isinstance(error.__cause__ or error, FileNotFoundError):  # the directory was renamed or removed meanwhile
                way_out = "wait for it, or choose another --output"
                raise TakenError(f"{name} is being replaced by another process: {way_out}") from None
            if isinstance(error, LmgenError):
                raise
            way_out = "copy the directory to where you can write"
            raise LmgenError(f"cannot train in {name} (lock: {error.strerror}): {way_out}") from None
        for part in (*folder.glob(".*.part"), *folder.glob("train/.*.part")):  # of a save that was killed
            if LEFTOVER.fullmatch(part.name):
                with contextlib.suppress(OSError):
                    part.unlink()
        yield


def _flock(path: Path, stack: contextlib.ExitStack) -> None:
    """Lock a file with flock(2) and write the process id into it. Raises BlockingIOError if another process holds it."""
    file = stack.enter_context(open(path, "rb+", opener=lambda name, flags: files.no_link(name, flags | os.O_CREAT)))  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not os.path.samestat(os.fstat(file.fileno()), path.lstat()):
        raise FileNotFoundError
    with contextlib.suppress(OSError):  # on a full disk the file stays empty
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())


# ---- without flock -----------------------------------------------------------------------------------------------------

_CLAIMS: set[str] = set()  # of this process
_SETTLE = 0.02  # seconds in which another process may replace a claim that it did not see


def _claim(path: Path, later: Path, stack: contextlib.ExitStack) -> None:
    """Write a claim, "PID TOKEN", into the lock file. Raises BlockingIOError while the process of another claim is alive.

    The file is not kept open, since Windows renames no directory with an open file in it; `later` is where it may be by the end.
    """
    found = path.read_text("utf-8", "replace") if path.is_file() else ""
    process, token = (*found.split(), "", "")[:2]
    if token and (found in _CLAIMS if process == str(os.getpid()) else process.isdigit() and alive(int(process))):
        raise BlockingIOError
    claim = f"{os.getpid()} {secrets.token_hex(8)}"
    part = path.with_name(f".lock.json.{os.getpid()}.part")
    part.write_text(claim)
    os.replace(part, path)
    time.sleep(_SETTLE)
    if path.read_text("utf-8", "replace") != claim:
        raise BlockingIOError
    _CLAIMS.add(claim)
    stack.callback(_release, claim, (path, later))


def _release(claim: str, paths: tuple[Path, ...]) -> None:
    _CLAIMS.discard(claim)
    for path in paths:
        with contextlib.suppress(OSError):
            if path.read_text("utf-8", "replace") == claim:
                path.write_text(str(os.getpid()))


def alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    if os.name != "nt":
        try:
            os.kill(process, 0)
        except OSError as error:
            return not isinstance(error, ProcessLookupError)
        return True
    kernel, code = ctypes.windll.kernel32, ctypes.c_ulong()  # type: ignore[attr-defined, unused-ignore]
    handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
    running = bool(handle) and bool(kernel.GetExitCodeProcess(handle, ctypes.byref(code))) and code.value == 259  # STILL_ACTIVE
    kernel.CloseHandle(handle)
    return running
