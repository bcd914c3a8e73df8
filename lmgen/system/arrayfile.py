"""Array files: named arrays and their metadata in one file, written atomically and verified by a hash, without pickle.

An array file is a safetensors file whose one metadata key "lmgen" holds a JSON object: the format, the kind, the hashes of the
files it belongs with, and "sha256" over all arrays and that object. The header has a limit, so reading takes time and memory in
proportion to the size of the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from lmgen._version import __version__
from lmgen.errors import CheckpointError, LmgenError, printable
from lmgen.system import files

FORMAT = 2  # since it, config.json holds a hash of itself; files of format 1 are still read
_HEADER_MAX = 1 << 21  # bytes

Arrays = dict[str, np.ndarray]


def write_arrays(path: Path, kind: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write an array file of a kind ("model", "training", "known") with JSON metadata `about`."""
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    content = {"format": FORMAT, "kind": kind, "lmgen": __version__, **about}
    content["sha256"] = digest(arrays, content)
    file = safetensors.numpy.save(arrays, {"lmgen": json.dumps(content)})
    if int.from_bytes(file[:8], "little") > _HEADER_MAX:
        raise LmgenError(f"cannot save {path}: {len(arrays):,} arrays are too many to be read again; give fewer --layers")
    files.write_bytes(path, file)


def read_arrays(path: Path, kind: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the metadata of a file. Raises CheckpointError if it is damaged, foreign or of another kind."""
    with files.opened(path) as (file, have):  # once: a save may replace the file meanwhile
        about = _read_header(path, kind, file, have)
        file.seek(0)
        content = file.read(have)
    try:
        arrays = safetensors.numpy.load(content)
        if about.pop("sha256") != digest(arrays, about):
            raise ValueError("its content does not match its sha256")
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({printable(str(error))}): copy it again") from None
    return arrays, about


def content(arrays: Arrays) -> bytes:
    """Named arrays as bytes, without metadata."""
    return safetensors.numpy.save({name: np.asarray(a, order="C") for name, a in arrays.items()})


def arrays_of(content: bytes) -> Arrays:
    """The arrays of `content`; what follows them is left out."""
    length = 8 + int.from_bytes(content[:8], "little")
    ends = (array["data_offsets"][1] for array in json.loads(content[8:length]).values())
    return safetensors.numpy.load(content[: length + max(ends, default=0)])


def read_about(path: Path, kind: str) -> dict[str, Any]:
    """The metadata of a file, from its header alone. Raises as `read_arrays` does, except for damaged arrays."""
    with files.opened(path) as (file, have):
        return _read_header(path, kind, file, have)


def _read_header(path: Path, kind: str, file: IO[bytes], have: int) -> dict[str, Any]:
    need = 8 + int.from_bytes(file.read(8), "little") if have >= 8 else 8
    try:
        if need > 8 + _HEADER_MAX:
            raise ValueError
        if have < need:
            raise CheckpointError(f"{path} is damaged (have {have:,} bytes, need {need:,} and more): copy it again")
        header = json.loads(file.read(need - 8), object_pairs_hook=_once)
        about = json.loads(header.pop("__metadata__")["lmgen"], object_pairs_hook=_once)
        need += max((array["data_offsets"][1] for array in header.values()), default=0)
        if not 0 <= need < 1 << 63:
            raise ValueError
        number, found, _ = about["format"], about["kind"], about["sha256"]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
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
        raise ValueError("duplicate key")
    return found


def _of_another_format(number: Any, version: Any) -> str:
    if type(number) is not int or number < 1:
        return f"has format {printable(str(number))}, which no lmgen has written: give a directory that lmgen train wrote"
    known = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,30}", version)
    by, wanted = (f"lmgen {version}", f"lmgen ≥ {version}") if known else ("a newer lmgen", "a newer lmgen")
    return f"was made by {by} (format {printable(str(number))}, this one reads format {FORMAT}): install {wanted}"


def digest(arrays: Arrays, about: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The sha256 of arrays with their names, and of metadata."""
    digest = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for name, a in sorted(arrays.items()):
        digest.update(f"\n{name} {a.dtype} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()
