"""Files that are written as a whole or not at all, and that no link leads elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from lmgen.errors import CheckpointError, InputError, LmgenError

_NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)  # Windows has neither of the two
_NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
_PAUSES = (0.02, 0.1, 0.3, 0.6) if os.name == "nt" else ()  # seconds: scanners and readers close a file soon


@contextlib.contextmanager
def explained(sentence: str, way_out: str = "", kind: type[LmgenError] = LmgenError) -> Iterator[None]:
    """Turn an error of the system into one of lmgen: the sentence, what the system says, and the way out."""
    try:
        yield
    except OSError as error:
        raise kind(f"{sentence}: {error.strerror or error}{way_out}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically: write a temporary file beside it, flush that to disk, rename it, flush the directory."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with explained(f"cannot save {path} ({len(content):,} bytes)", "; the previous version is intact"):
        try:
            with open(part, "wb", opener=no_link) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            replace(part, path)
            sync(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def replace(part: Path, path: Path) -> None:
    """Rename a file to a name that may be taken; on Windows, wait up to a second for others to close the file of that name."""
    for pause in _PAUSES:
        try:
            os.replace(part, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(part, path)


def no_link(path: str, flags: int) -> int:
    """An opener for `open` that follows no symbolic link."""
    if not _NO_FOLLOW and os.path.islink(path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return os.open(path, flags | _NO_FOLLOW, 0o666)


def sync(folder: Path) -> None:
    """Flush the entries of a directory to disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no directory
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system cannot flush directories
            raise
    finally:
        os.close(handle)


def subfolder(path: Path, name: str) -> Path:
    """A directory in another, created and flushed to disk if missing. Raises CheckpointError for a symbolic link."""
    folder = path / name
    with explained(f"cannot make {folder}", "; the previous version is intact"):
        if folder.is_symlink():
            raise CheckpointError(f"{folder} is a link and may lead anywhere: put the directory itself in its place")
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)  # another process may create it at the same time
            sync(path)
    return folder


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A file open for reading and its size in bytes. Raises CheckpointError if it is no regular file or cannot be read."""
    no_file = CheckpointError(f"{path} is no file: give a directory that lmgen train wrote")
    if not _NO_WAIT and path.exists() and not path.is_file():
        raise no_file
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_WAIT)) as file:  # does not wait for a pipe
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise no_file
            yield file, found.st_size
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no {path}: {path.parent} is no model, or an incomplete one; give a directory that lmgen train wrote"
        ) from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; copy the whole directory again") from None


@contextlib.contextmanager
def new(path: Path, option: str = "--output", text: bool = False) -> Iterator[IO[Any]]:
    """A new file of bytes, or of UTF-8 text, that gets its name once it is complete.

    Raises InputError, which names the `option`, if a file of that name exists or it cannot be written.
    """
    how: dict[str, Any] = {"mode": "x", "encoding": "utf-8", "newline": "\n"} if text else {"mode": "xb"}
    with explained(f"cannot write {path}", f"; choose another {option}", InputError):
        if os.path.lexists(path):
            raise FileExistsError(0, "it exists, and nothing is overwritten")
        part = path.with_name(f".lmgen.{os.getpid()}.part")
        try:
            with open(part, **how) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(part, path)  # unlike a renaming, this replaces no file
            except FileExistsError:
                raise
            except OSError:  # the file system has no hard links
                os.rename(part, path)
        finally:
            part.unlink(missing_ok=True)


def put(path: Path, contents: Mapping[str, bytes], force: bool = False) -> None:
    """Write contents, whole or not at all: a file of those under the name "", or else a directory of a file for each name.

    `force` replaces a file, and a directory that holds nothing but files of these names. Raises InputError where something else
    is in the way, and where nothing can be written.
    """
    way_out = "--output, or add --force"
    if not force or not os.path.lexists(path):
        if "" not in contents:
            _put_folder(path, contents, way_out)
            return
        with new(path, way_out) as file:
            file.write(contents[""])
        return
    names = {entry.name for entry in path.iterdir()} if path.is_dir() and not path.is_symlink() else {""}
    if not names <= {*contents}:
        raise InputError(f"{path} is not what an export wrote, so --force does not replace it: choose another --output")
    if "" in contents:
        write_bytes(path, contents[""])
        return
    with explained(f"cannot replace {path}", "; choose another --output", InputError):
        old = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            os.rename(path, os.path.join(old, path.name))
            try:
                _put_folder(path, contents, way_out)
            except BaseException:
                os.rename(os.path.join(old, path.name), path)
                raise
        finally:
            shutil.rmtree(old, ignore_errors=True)


def _put_folder(path: Path, contents: Mapping[str, bytes], way_out: str) -> None:
    """A new directory of files, which gets its name once it is complete."""
    with explained(f"cannot write {path}", f"; choose another {way_out}", InputError):
        if os.path.lexists(path):
            raise FileExistsError(0, "it exists, and nothing is overwritten")
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as part:
            folder = Path(part, path.name)
            folder.mkdir()
            for name, content in contents.items():
                write_bytes(folder / name, content)
            os.rename(folder, path)
        sync(path.absolute().parent)
