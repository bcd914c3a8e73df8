"""Named arrays and what describes them <-> one file, written atomically, verified by hash, without pickle.

It is a safetensors file that verifies itself: under the one metadata key "lmgen" stands a JSON object with the format, the kind,
the hashes of the files it belongs to, and "sha256" over all arrays and that object. So one rename commits it.
Nothing that a file claims is believed before it is checked: reading takes time and memory in proportion to what is really there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from lmgen._version import __version__
from lmgen.errors import CheckpointError, LmgenError, printable

FORMAT = 2  # in which config.json holds a hash of itself; 1, which did not, is read, too
_HEADER_MAX, _ARRAYS_MAX = 1 << 21, 10_000  # bytes; as many hold what describes so many arrays
_DIMENSIONS_MAX, _DIMENSION_MAX = 8, 1 << 40
_ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "BF16": 2,
    "F16": 2,
    "I64": 8,
    "I32": 4,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "BOOL": 1,
}

Arrays = dict[str, np.ndarray]


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole or not at all: write beside it, flush to disk, rename, flush the directory."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb", opener=no_link) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise LmgenError(
            f"cannot save {path} ({len(content):,} bytes): {error.strerror}; what was saved before is intact"
        ) from error


def no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that flushes no directories
            raise
    finally:
        os.close(handle)


def subfolder(path: Path, name: str) -> Path:
    """A directory in another, made and flushed to disk if need be; a link is none, since it may lead anywhere."""
    folder = path / name
    try:
        if folder.is_symlink():
            raise CheckpointError(f"{folder} is a link and may lead anywhere: put the directory itself in its place")
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)  # another process may be as far
            sync(path)
    except OSError as error:
        raise LmgenError(f"cannot make {folder}: {error.strerror}; what was saved before is intact") from error
    return folder


def write_arrays(path: Path, kind: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write an array file of a kind ("model", "training", "known"); `about` is what JSON can hold."""
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    content = {"format": FORMAT, "kind": kind, "lmgen": __version__, **about}
    content["sha256"] = _digest(arrays, content)
    file = safetensors.numpy.save(arrays, {"lmgen": json.dumps(content)})
    if int.from_bytes(file[:8], "little") > _HEADER_MAX or len(arrays) > _ARRAYS_MAX:
        raise LmgenError(f"cannot save {path}: {len(arrays):,} arrays are more than can be read again; give fewer --layers")
    write_bytes(path, file)


def read_arrays(path: Path, kind: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a file and what describes them; CheckpointError where the file is not whole, not ours or not of this kind."""
    with opened(path) as (file, have):  # once: a save may put another file under this name meanwhile
        about = _read_header(path, kind, file, have)
        file.seek(0)
        content = file.read(have)
    try:
        arrays = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({printable(str(error))}): copy it again") from None
    claimed = about.pop("sha256")
    if claimed != _digest(arrays, about):
        raise CheckpointError(f"{path} is damaged (its content does not match its sha256): copy it again")
    return arrays, about


def read_about(path: Path, kind: str) -> dict[str, Any]:
    """What describes the arrays of a file, from its header alone; the same errors as `read_arrays`, but for damaged arrays."""
    with opened(path) as (file, have):
        return _read_header(path, kind, file, have)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A file of a model directory and its bytes; CheckpointError for one that cannot be read, such as a pipe."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:  # waits for no pipe
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise CheckpointError(f"{path} is no file: give a directory that lmgen train wrote")
            yield file, found.st_size
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no {path}: {path.parent} is no model, or not a whole one; give a directory that lmgen train wrote"
        ) from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; copy the whole directory again") from None


def _read_header(path: Path, kind: str, file: IO[bytes], have: int) -> dict[str, Any]:
    try:
        length = int.from_bytes(file.read(8), "little")
        if have < 8 or (length <= _HEADER_MAX and have < 8 + length):
            need = 8 + length if have >= 8 else 8
            raise CheckpointError(f"{path} is damaged (have {have:,} bytes, need {need:,} and more): copy it again")
        if length > _HEADER_MAX:
            raise CheckpointError(f"{path} is no array file of lmgen, or damaged: copy it again")
        header = json.loads(file.read(length), object_pairs_hook=_once)
        metadata = header.pop("__metadata__")
        need = 8 + length + _extent(header)
        about = json.loads(metadata["lmgen"], object_pairs_hook=_once)
        number, found, _ = about["format"], about["kind"], about["sha256"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} is no array file of lmgen: give a directory that lmgen train wrote") from None
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise CheckpointError(f"{path} {_of_another_format(number, about.get('lmgen'))}")
    if have != need:
        raise CheckpointError(f"{path} is damaged (have {have:,} bytes, need {need:,}): copy it again")
    if found != kind:
        raise CheckpointError(f"{path} holds a {printable(str(found))}, not a {kind}: give a directory that lmgen train wrote")
    return about


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _extent(header: Mapping[str, Any]) -> int:
    """The bytes of all arrays of a header. Raises ValueError where they are not exactly one behind the other."""
    if len(header) > _ARRAYS_MAX:
        raise ValueError("more arrays than any model has")
    spans = []
    for array in header.values():
        shape, (begin, end) = array["shape"], array["data_offsets"]
        numbers = [*shape, begin, end]
        if len(shape) > _DIMENSIONS_MAX or any(type(n) is not int or not 0 <= n < _DIMENSION_MAX for n in numbers):
            raise ValueError("no shape or no place of an array")
        if end - begin != math.prod(shape) * _ITEM_BYTES[array["dtype"]]:
            raise ValueError("an array of another size than its place")
        spans.append((begin, end))
    last = 0
    for begin, end in sorted(spans):
        if begin != last:
            raise ValueError("a gap between arrays, or one over the other")
        last = end
    return last


def _of_another_format(number: Any, version: Any) -> str:
    if type(number) is not int or number < 1:
        return f"has format {printable(str(number))}, which no lmgen has written: give a directory that lmgen train wrote"
    known = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,30}", version)
    by, wanted = (f"lmgen {version}", f"lmgen ≥ {version}") if known else ("a newer lmgen", "a newer lmgen")
    return f"was made by {by} (format {printable(str(number))}, this one reads format {FORMAT}): install {wanted}"


def _digest(arrays: Arrays, about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, a in sorted(arrays.items()):
        digest.update(f"\n{name} {a.dtype} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()
