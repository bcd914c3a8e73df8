"""Where the files of a corpus in shards lie: a folder, or a store such as S3, whose files are fetched into the cache.

Each file is verified, by the size and the hash that the manifest has of it, before it is mapped into memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from lmgen.errors import InputError, LmgenError, printable
from lmgen.system import cache

SCHEMES = ("s3", "gs", "az")  # of the addresses of stores
KEPT = 64 << 30  # bytes of fetched files that stay on the disk; half of its free space, if that is less
BLOCK = 1 << 20  # bytes that are verified or fetched at a time
WAITS = (0.5, 1, 2, 4, 8, 15, 30)  # seconds before each new try
NO_CREDENTIALS = ("169.254.169.254", "MissingAccount")  # the metadata of a cloud, the last resort, and a name that is not set
AGAIN = "copy the whole corpus again"
T = TypeVar("T")


class ShardError(LmgenError):
    """A file of a corpus in shards that is missing, or is not what the manifest says."""


class StoreError(ShardError):
    """A store that does not answer; the same command may succeed later."""

    exit_code = 75


@dataclass(frozen=True)
class Entry:
    """A file of a corpus: its name, the number and the type of the integers in it, and its sha256."""

    name: str
    count: int
    dtype: str
    sha256: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * np.dtype(self.dtype).itemsize


class Folder:
    """The files of a corpus in a folder."""

    def __init__(self, address: str):
        self.address = address

    def content(self, name: str, most: int) -> bytes:
        """The content of a file of at most `most` bytes, not verified. Raises ShardError."""
        path = Path(self.address, name)
        with _readable(path), open(path, "rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise too_large(str(path), path.stat().st_size, most)
        return content

    def mapped(self, entry: Entry, below: int | None = None) -> np.ndarray:
        """The integers of a file, verified and mapped into memory; all are less than `below`. Raises ShardError."""
        path = Path(self.address, entry.name)
        with _readable(path):
            return _mapped(path, str(path), entry, below)


class Remote:
    """The files of a corpus in a store. Fetched ones are kept in the cache under their hash, and the disk that they take is
    bounded: those that were not used for the longest time make room for others."""

    def __init__(self, address: str):
        try:
            from obstore import exceptions, store
        except ImportError:
            raise InputError(f"reading {address} needs the package obstore: pip install 'lmgen[remote]'") from None
        self.address, self.folder = address, cache.folder("shards")
        cache.clear_old(self.folder)
        self._mapped: WeakValueDictionary[str, Any] = WeakValueDictionary()  # by their hash
        self._fetched: set[str] = set()  # hashes of files that are on their way
        self._lock = threading.Lock()
        try:
            self._store = store.from_url(address, retry_config={"max_retries": 1})
        except exceptions.BaseError as error:
            raise _refused(address, error) from None

    def content(self, name: str, most: int) -> bytes:
        """As `Folder.content`. Raises StoreError where the store does not answer."""
        return self._tried(name, lambda: b"".join(self._blocks(name, most)))

    def mapped(self, entry: Entry, below: int | None = None) -> np.ndarray:
        """As `Folder.mapped`. Raises StoreError where the store does not answer."""
        kept, shown = self.folder / f"{entry.sha256}.ids", f"{self.address}/{entry.name}"
        found: np.ndarray | None = None
        with contextlib.suppress(OSError, ShardError):  # not there, or damaged in the cache
            found = _mapped(kept, shown, entry, below)
            os.utime(kept)
        if found is None:
            self._make_room(entry.size)
            self._fetched.add(entry.sha256)
            try:
                self._tried(entry.name, lambda: self._fetch(entry, kept))
                found = _mapped(kept, shown, entry, below)
            except OSError as error:
                raise ShardError(f"cannot keep {shown} in {self.folder}: {error.strerror}; free some space") from None
            finally:
                self._fetched.discard(entry.sha256)
        self._mapped[entry.sha256] = found
        return found

    def _fetch(self, entry: Entry, kept: Path) -> None:
        """Copy a file into the cache."""
        handle, part = tempfile.mkstemp(suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(self._blocks(entry.name, entry.size))
            os.replace(part, kept)
        finally:
            Path(part).unlink(missing_ok=True)

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        """The content of a file of at most `most` bytes."""
        import obstore

        answer = obstore.get(self._store, name)
        if (size := answer.meta["size"]) > most:
            raise too_large(f"{self.address}/{name}", size, most)
        yield from map(bytes, answer.stream(min_chunk_size=BLOCK))

    def _tried(self, name: str, ask: Callable[[], T]) -> T:
        """What the store is asked for, again with growing pauses while it does not answer."""
        from obstore import exceptions

        shown, waits = f"{self.address}/{name}", iter(WAITS)
        while True:
            try:
                return ask()
            except (exceptions.NotFoundError, FileNotFoundError):
                raise ShardError(f"there is no {shown}: name a corpus in shards, or {AGAIN}") from None
            except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
                raise _refused(shown, error) from None
            except exceptions.BaseError as error:
                if any(sign in str(error) for sign in NO_CREDENTIALS):
                    raise _refused(shown, error) from None
                wait = next(waits, None)
                if wait is None or not _waited(wait):
                    why = f"{_reason(error)}, {len(WAITS) + 1} tries in {sum(WAITS):.0f} s"
                    raise StoreError(f"cannot read {shown} ({why}): try again when the store answers") from None

    def _make_room(self, size: int) -> None:
        """Remove the files that were not used for the longest time, so that there is room for one of this size."""
        with self._lock, contextlib.suppress(OSError):
            found = [(status.st_mtime, status.st_size, path) for path in self.folder.glob("*.ids") if (status := path.stat())]
            total = sum(own for _, own, _ in found) + size
            most = min(KEPT, (total + shutil.disk_usage(self.folder).free) // 2)
            for _, own, path in sorted(found):
                if total > most and path.stem not in self._mapped and path.stem not in self._fetched:
                    with contextlib.suppress(OSError):  # on Windows where another process has mapped it
                        path.unlink(missing_ok=True)
                        total -= own


Store = Folder | Remote


def too_large(shown: str, size: int, most: int) -> ShardError:
    """The error for a file that is larger than it may be."""
    return ShardError(f"{shown} is damaged ({size:,} bytes, and {most:,} are expected at most): {AGAIN}")


def _mapped(path: Path, shown: str, entry: Entry, below: int | None) -> np.ndarray:
    """The integers of a file, mapped into memory. Raises ShardError where they are not those of the entry."""
    digest, dtype, largest = hashlib.sha256(), np.dtype(entry.dtype), 0
    with open(path, "rb") as file:
        if (have := os.fstat(file.fileno()).st_size) != entry.size:
            raise ShardError(f"{shown} is damaged (have {have:,} bytes, need {entry.size:,}): {AGAIN}")
        while block := file.read(BLOCK):
            digest.update(block)
            if below is not None:
                largest = max(largest, int(np.frombuffer(block, dtype).max()))
        if digest.hexdigest() != entry.sha256:
            raise ShardError(f"{shown} is damaged (its sha256 is not that of the manifest): {AGAIN}")
        if below is not None and largest >= below:
            raise ShardError(f"{shown} holds the id {largest:,}, and the vocabulary ends at {below - 1:,}: {AGAIN}")
        return np.memmap(file, dtype, "r", shape=(entry.count,)) if entry.count else np.zeros(0, dtype)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Within it, a file that cannot be read raises ShardError."""
    try:
        yield
    except FileNotFoundError:
        raise ShardError(f"there is no {path}: {AGAIN}") from None
    except OSError as error:
        raise ShardError(f"cannot read {path}: {error.strerror}") from None


def _waited(seconds: float) -> bool:
    """Wait for so long; a thread that fetches ahead of the main thread stops waiting where that has ended, and gets False."""
    main = threading.main_thread()
    if threading.current_thread() is main:
        time.sleep(seconds)
    else:
        main.join(seconds)
    return main.is_alive()


def _refused(shown: str, error: Exception) -> ShardError:
    way_out = "give the credentials of the store in the environment, such as AWS_ACCESS_KEY_ID"
    return ShardError(f"the store refuses {shown} ({_reason(error)}): {way_out}")


def _reason(error: Exception) -> str:
    """What went wrong, of the many lines of a store's error."""
    return printable(str(error).strip().partition("\n")[0].rpartition(" - ")[2])
