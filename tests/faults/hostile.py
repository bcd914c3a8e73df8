"""Model directories that were made to do harm: each a function that makes one."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import save

from lmgen.system import arrayfile, checkpoint

Make = Callable[[Path], None]
SECONDS, MEMORY = 1.0, 200e6  # of the processor: how long it takes on the clock is for benchmarks/trust.py to say


class Evil:
    """Unpickling this writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harmed",)


def framed(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header; `length` is what it claims to be long."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def about(**more: Any) -> dict[str, str]:
    """The metadata that our files have, with a hash that does not fit."""
    content = {"format": arrayfile.FORMAT, "kind": "model", "sha256": "0" * 64, **more}
    return {"lmgen": json.dumps(content)}


def array(shape: Any = (1,), place: Any = (0, 4), dtype: Any = "F32") -> dict[str, Any]:
    """What a header says of an array."""
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


def with_arrays(data: int = 4, **arrays: Any) -> Make:
    """A model file with our metadata and these entries in its header."""
    return as_model(framed({"__metadata__": about(), **arrays}, bytes(data)))


def as_model(content: bytes | Callable[[], bytes]) -> Make:
    """A directory whose model.safetensors holds these bytes."""

    def make(path: Path) -> None:
        save.make(path)
        (path / "model.safetensors").write_bytes(content if isinstance(content, bytes) else content())

    return make


def many(count: int) -> bytes:
    """A file of so many arrays without a number in them."""
    entries = b",".join(b'"a%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % k for k in range(count))
    return framed(b'{"__metadata__":' + json.dumps(about()).encode() + b"," + entries + b"}")


def signed(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Make:
    """A whole file with hashes that fit which says what no file of ours says: `change` gets its arrays and what is said."""

    def make(path: Path) -> None:
        save.make(path)
        files = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in ("config.json", "vocab.json")}
        arrays, said = {"W": np.zeros(3, np.float32)}, {"step": 1, "files": files}
        change(arrays, said)
        arrayfile.write_arrays(path / "model.safetensors", "model", arrays, said)

    return make


def other(place: str, make_it: Callable[[Path], object]) -> Make:
    """A whole model in which something else stands in the place of a file."""

    def make(path: Path) -> None:
        save.make(path)
        save.save(path, 1)
        (path / place).unlink()
        make_it(path / place)

    return make


def sparse(size: int) -> Callable[[Path], None]:
    """A file of so many bytes that takes no room."""

    def make(path: Path) -> None:
        path.write_bytes(framed({"__metadata__": about(), "W": array()}))
        os.truncate(path, size)

    return make


DEEP = b"[" * 100_000
TWICE = json.dumps({"__metadata__": about()})[:-1] + ', "W": ' + json.dumps(array()) + ', "W": ' + json.dumps(array()) + "}"

HOSTILE: dict[str, Make] = {
    "pickle": as_model(pickle.dumps(Evil())),
    "pickle in a zip archive": as_model(b"PK\x03\x04" + pickle.dumps(Evil())),
    "pickle behind a header": as_model(framed({"__metadata__": about(), "W": array((40,), (0, 40), "U8")}, pickle.dumps(Evil()))),
    "pickle as dtype": with_arrays(W=array(dtype="O")),
    "empty": as_model(b""),
    "a header of 2^63 bytes": as_model(framed(b"{}", length=1 << 63)),
    "a header of 2^40 bytes": as_model(framed(b"{}", length=1 << 40)),
    "a header of 100 MB": as_model(lambda: framed(b"{" + b" " * 100_000_000 + b"}")),
    "a header longer than the file": as_model(framed(b"{}", length=1 << 20)),
    "a header that is no JSON": as_model(framed(b"{'a': __import__('os')}")),
    "a header that is no UTF-8": as_model(framed(b'{"\xff": 1}')),
    "a header that is a list": as_model(framed(b"[]")),
    "deep JSON in the header": as_model(framed(DEEP)),
    "deep JSON in the metadata": as_model(framed({"__metadata__": {"lmgen": DEEP.decode()}})),
    "2 MB of lists": as_model(lambda: framed(b"[" + b"[]," * 699_000 + b"[]]")),
    "2 MB of lists as a shape": as_model(
        lambda: framed(b'{"W": {"dtype": "F32", "data_offsets": [0, 4], "shape": [' + b"[]," * 698_000 + b"1]}}")
    ),
    "a number of a million digits": as_model(lambda: framed(b'{"a": ' + b"9" * 1_000_000 + b"}")),
    "a hundred thousand dimensions": as_model(
        lambda: framed({"__metadata__": about(), "W": array([9_999_999_999] * 100_000)}, bytes(4))
    ),
    "a shape of 2^60": with_arrays(W=array((1 << 60,), (0, 4))),
    "a shape of 2^60 in its place": with_arrays(W=array((1 << 60,), (0, 1 << 62))),
    "a shape whose product overflows": with_arrays(W=array((1 << 32, 1 << 32), (0, 4))),
    "a shape of nothing times 2^60": with_arrays(0, W=array((1 << 60, 0), (0, 0))),
    "a negative shape": with_arrays(W=array((-1,), (0, 4))),
    "two negative sizes": with_arrays(W=array((-1, -1), (0, 4))),
    "a shape of floats": with_arrays(W=array((1.0,), (0, 4))),
    "a shape of truth": with_arrays(W=array((True,), (0, 4))),
    "a shape that is text": with_arrays(W=array("1")),
    "a shape that is infinite": as_model(
        framed(b'{"__metadata__": {}, "W": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 4]}}')
    ),
    "negative places": with_arrays(W=array((1,), (-4, 0))),
    "places the wrong way round": with_arrays(W=array((1,), (4, 0))),
    "places beyond the end": with_arrays(W=array((1,), (1 << 50, (1 << 50) + 4))),
    "arrays over each other": with_arrays(4, W=array(), b=array()),
    "arrays half over each other": with_arrays(6, W=array(), b=array((1,), (2, 6))),
    "a gap between arrays": with_arrays(12, W=array(), b=array((1,), (8, 12))),
    "bytes after the last array": with_arrays(8, W=array()),
    "one place": with_arrays(W=array((1,), (0,))),
    "no type": with_arrays(W={"shape": [1], "data_offsets": [0, 4]}),
    "a type that is a list": with_arrays(W=array(dtype=["F32"])),
    "an unknown type": with_arrays(W=array(dtype="F128")),
    "an array that is a number": with_arrays(W=7),
    "the same array twice": as_model(framed(TWICE.encode(), bytes(4))),
    "../ in a name": with_arrays(**{"../../outside.txt": array()}),
    "an absolute name": with_arrays(**{"/etc/passwd": array()}),
    "escape codes in a name": with_arrays(**{"\x1b]0;owned\x07\x1b[31m": array(), "\u202egnp": array()}),
    "NUL in a name": with_arrays(**{"W\0.py": array()}),
    "a million arrays": as_model(lambda: many(1_000_000)),
    "30,000 arrays": as_model(lambda: many(30_000)),
    "9,000 arrays": as_model(lambda: many(9_000)),
    "no metadata": as_model(framed({"W": array()}, bytes(4))),
    "metadata that is a list": as_model(framed({"__metadata__": [], "W": array()}, bytes(4))),
    "metadata of another": as_model(framed({"__metadata__": {"format": "pt"}, "W": array()}, bytes(4))),
    "a description that is a list": as_model(framed({"__metadata__": {"lmgen": "[]"}, "W": array()}, bytes(4))),
    "a description that is a number": as_model(framed({"__metadata__": {"lmgen": "7"}, "W": array()}, bytes(4))),
    "a format of escape codes": as_model(framed({"__metadata__": about(format="\x1b[31m"), "W": array()}, bytes(4))),
    "a kind of escape codes": as_model(framed({"__metadata__": about(kind="\x1b[31m"), "W": array()}, bytes(4))),
    "a version of escape codes": as_model(framed({"__metadata__": about(format=99, lmgen="\x1b[31m"), "W": array()}, bytes(4))),
    "a hash that is none": as_model(framed({"__metadata__": about(sha256=[]), "W": array()}, bytes(4))),
    "files beside the model's": signed(lambda _, said: said["files"].update({"../outside.txt": "0" * 64})),
    "files that are a list": signed(lambda _, said: said.update(files=["config.json", "vocab.json"])),
    "files without hashes": signed(lambda _, said: said["files"].update({"config.json": None})),
    "no files": signed(lambda _, said: said.pop("files")),
    "a link to a device": other("model.safetensors", lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": other("model.safetensors", lambda path: path.symlink_to(path)),
    "a pipe as the model": other("model.safetensors", os.mkfifo),
    "a pipe as the configuration": other("config.json", os.mkfifo),
    "a pipe as the vocabulary": other("vocab.json", os.mkfifo),
    "a folder as the model": other("model.safetensors", os.mkdir),
    "a folder as the vocabulary": other("vocab.json", os.mkdir),
    "a model of a terabyte that takes no room": other("model.safetensors", sparse(1 << 40)),
    "a configuration of a terabyte that takes no room": other("config.json", sparse(1 << 40)),
    "a vocabulary of a terabyte that takes no room": other("vocab.json", sparse(1 << 40)),
    "a configuration that is no UTF-8": other("config.json", lambda path: path.write_bytes(b"\xff\xfe{")),
}


def make_all(folder: Path) -> None:
    """Each hostile directory, below a folder, under its name."""
    for name, make in HOSTILE.items():
        make(folder / name.replace("/", "-"))


def altered(model_path: Path, path: Path, config: dict | None = None, vocab: dict | None = None, arrays=None) -> Path:
    """A copy of a model with another configuration, vocabulary or arrays, and hashes that fit, as its maker could have them."""
    shutil.copytree(model_path, path)
    content, about, texts = checkpoint.read_model(path)
    known = checkpoint.read_known(path)
    for name, change in (("config.json", config), ("vocab.json", vocab)):
        (path / name).write_text(json.dumps(json.loads(texts[name]) | (change or {})))
    for name in ("files", "format", "kind"):
        about.pop(name)
    checkpoint.write_model(path, arrays(content) if arrays else content, about)
    if known is not None:
        checkpoint.write_known(path, known)
    return path


def of_model(model_path: Path, **change) -> dict:
    return {"model": json.loads((model_path / "config.json").read_text())["model"] | change}
