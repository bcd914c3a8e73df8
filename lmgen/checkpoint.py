"""Arrays and what describes them <-> one directory, written atomically, verified by hash, without pickle.

Every array file is a safetensors file that verifies itself: under the one metadata key "lmgen" stands a JSON object with the
format, the kind, the hashes of the files it belongs to, and "sha256" over all arrays and that object. So one rename commits it.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from lmgen.errors import CheckpointError, InputError, LmgenError

FORMAT = 1
HOME = Path("checkpoints")
KEEP = 2  # how many snapshots of a training are kept
OURS = {"config.json", "vocab.json", "known.safetensors", "model.safetensors", "metrics.jsonl", "README.md", "train"}
_HEADER_MAX = 1 << 24
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


# ---- a pytree <-> named arrays ----------------------------------------------------------------------------------------


def flatten(tree: Any, prefix: str = "") -> Arrays:
    """The leaves of nested dicts, lists and tuples, named by their path: {"layers/0/W": …}."""
    if isinstance(tree, Mapping):
        items = [(str(k), v) for k, v in sorted(tree.items())]
    elif isinstance(tree, list | tuple):
        items = [(str(k), v) for k, v in enumerate(tree)]
    else:
        return {prefix: np.asarray(tree)}
    return {name: leaf for k, v in items for name, leaf in flatten(v, f"{prefix}/{k}" if prefix else k).items()}


def unflatten(template: Any, arrays: Arrays, where: str) -> Any:
    """The arrays in the shape of `template`; CheckpointError names the first that is missing, extra or of another kind."""
    wanted = {name: (leaf.shape, np.dtype(leaf.dtype)) for name, leaf in _leaves(template)}
    for name, (shape, dtype) in wanted.items():
        if name not in arrays:
            raise CheckpointError(f"{where} lacks the array {name}: it belongs to another configuration")
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise CheckpointError(
                f"{where}: {name} should be {dtype} {list(shape)} but is {found.dtype} {list(found.shape)}, "
                "so weights and config.json do not belong together: copy the whole directory again"
            )
    if extra := sorted(arrays.keys() - wanted.keys()):
        raise CheckpointError(
            f"{where} holds the array {_printable(extra[0])} that its configuration lacks: copy the directory again"
        )
    return _fill(template, arrays, "")


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping | list | tuple):
        items = sorted(tree.items()) if isinstance(tree, Mapping) else enumerate(tree)
        for k, v in items:
            yield from _leaves(v, f"{prefix}/{k}" if prefix else str(k))
    else:
        yield prefix, tree


def _fill(tree: Any, arrays: Arrays, prefix: str) -> Any:
    def at(k: Any, v: Any) -> Any:
        return _fill(v, arrays, f"{prefix}/{k}" if prefix else str(k))

    if isinstance(tree, Mapping):
        return {k: at(k, v) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named tuple, as optax's states are
        return type(tree)(*(at(k, v) for k, v in enumerate(tree)))
    if isinstance(tree, list | tuple):
        return type(tree)(at(k, v) for k, v in enumerate(tree))
    return arrays[prefix]


# ---- one file ---------------------------------------------------------------------------------------------------------


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole or not at all: write beside it, flush to disk, rename, flush the directory."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise LmgenError(
            f"cannot save {path} ({len(content):,} bytes): {error.strerror}; what was saved before is intact"
        ) from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_arrays(path: Path, kind: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write an array file of a kind ("model", "training", "known"); `about` is what JSON can hold."""
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    content = {"format": FORMAT, "kind": kind, **about}
    content["sha256"] = _digest(arrays, content)
    write_bytes(path, safetensors.numpy.save(arrays, {"lmgen": json.dumps(content)}))


def read_arrays(path: Path, kind: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a file and what describes them; CheckpointError where the file is not whole, not ours or not of this kind."""
    about = read_about(path, kind)
    try:
        arrays = safetensors.numpy.load(path.read_bytes())
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged ({_printable(str(error))}): copy it again") from None
    claimed = about.pop("sha256")
    if claimed != _digest(arrays, about):
        raise CheckpointError(f"{path} is damaged (its content does not match its sha256): copy it again")
    return arrays, about


def read_about(path: Path, kind: str) -> dict[str, Any]:
    """What describes the arrays of a file, from its header alone; the same errors as `read_arrays`, but for damaged arrays."""
    try:
        have = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_HEADER_MAX, have):
                raise CheckpointError(f"{path} is damaged or no safetensors file (have {have:,} bytes): copy it again")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__")
        need = 8 + length + sum(math.prod(a["shape"]) * _ITEM_BYTES[a["dtype"]] for a in header.values())
        about = json.loads(metadata["lmgen"])
        found = about["format"], about["kind"], about["sha256"]
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}: {_not_a_model(path.parent)}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} is no array file of lmgen: give a directory that lmgen train wrote") from None
    if found[0] != FORMAT:
        raise CheckpointError(
            f"{path} has format {_printable(str(found[0]))}, this lmgen reads format {FORMAT}: install a newer lmgen"
        )
    if have != need:
        raise CheckpointError(f"{path} is damaged (have {have:,} bytes, need {need:,}): copy it again")
    if found[1] != kind:
        raise CheckpointError(
            f"{path} holds a {_printable(str(found[1]))}, not a {kind}: give a directory that lmgen train wrote"
        )
    return about


def _digest(arrays: Arrays, about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, a in sorted(arrays.items()):
        digest.update(f"\n{name} {a.dtype} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


# ---- one directory ----------------------------------------------------------------------------------------------------


def check_free(path: Path, force: bool = False) -> None:
    """InputError where a path is taken; with `force`, where what is there is no model of ours."""
    if not os.path.lexists(path):
        return
    if not force:
        raise InputError(
            f"{path} is there already and nothing is overwritten: choose another --output (such as {free(path)}), "
            f"add --force to replace it, or go on with --resume {path}"
        )
    names = {p.name for p in path.iterdir()} if path.is_dir() and not path.is_symlink() else {""}
    if names and ("config.json" not in names or any(n not in OURS and not n.endswith(".part") for n in names)):
        raise InputError(f"{path} holds more than a model of lmgen, or none, so --force leaves it alone: remove it yourself")


def create(path: Path, texts: Mapping[str, str], force: bool = False) -> None:
    """Make a model directory with its text files (config.json, vocab.json), with `force` in place of another.

    Raises InputError where the path is taken, or where the other is being trained.
    """
    check_free(path, force)
    old = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}.old")
    try:
        if force and path.exists():
            with locked(path) if (path / "config.json").exists() else contextlib.nullcontext():
                os.rename(path.absolute(), old)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except OSError as error:
        raise InputError(f"cannot make the model directory {path}: {error.strerror}") from None
    finally:
        shutil.rmtree(old, ignore_errors=True)
    for name, text in texts.items():
        write_bytes(path / name, text.encode())


def write_model(path: Path, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write the weights of a directory that `create` made, tied by hash to its text files."""
    files = {name: _sha256(path / name) for name in ("config.json", "vocab.json")}
    write_arrays(path / "model.safetensors", "model", arrays, {**about, "files": files})


def read_model(path: Path) -> tuple[Arrays, dict[str, Any], dict[str, str]]:
    """The weights, what describes them, and the text files, each checked against the hash that the weights hold."""
    arrays, about = read_arrays(path / "model.safetensors", "model")
    return arrays, about, read_texts(path, about)


def read_texts(path: Path, about: Mapping[str, Any]) -> dict[str, str]:
    """config.json and vocab.json, checked against the hashes in `about`."""
    texts = {}
    for name, sha256 in about.get("files", {}).items():
        if name not in ("config.json", "vocab.json"):
            raise CheckpointError(f"{path} names a file that no model has: give a directory that lmgen train wrote")
        try:
            content = (path / name).read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read {path / name}: {error.strerror}; copy the whole directory again") from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CheckpointError(f"{path / name} is damaged or of another model: copy the whole directory again")
        texts[name] = content.decode()
    return texts


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def snapshots(path: Path) -> list[Path]:
    """The snapshots of a training in a model directory, the newest first."""
    found = (path / "train").glob("step-*.safetensors")
    return sorted((p for p in found if re.fullmatch(r"step-\d{8,}", p.stem)), reverse=True)


def write_snapshot(path: Path, step: int, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write what resume needs and clear all but the newest few."""
    (path / "train").mkdir(exist_ok=True)
    write_arrays(path / "train" / f"step-{step:08d}.safetensors", "training", arrays, about)
    for old in snapshots(path)[KEEP:]:
        old.unlink(missing_ok=True)


def read_snapshot(path: Path) -> tuple[Arrays, dict[str, Any], list[str]]:
    """The newest snapshot that is whole, and a sentence for each that is not."""
    complaints: list[str] = []
    for snapshot in snapshots(path):
        try:
            return *read_arrays(snapshot, "training"), complaints
        except CheckpointError as error:
            complaints.append(f"{error}; going back to the snapshot before it")
    raise CheckpointError(complaints[-1] if complaints else f"{path} holds no snapshot to resume from: train it anew")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a directory for one training; InputError names the process that holds it. The lock dies with its holder."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} is no model: give a directory that lmgen train wrote")
    (path / "train").mkdir(exist_ok=True)
    file: IO[str] = open(path / "train" / "lock", "a+")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read(20).strip()
            raise InputError(f"{path} is being trained by process {holder}: wait for it, or choose another --output") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _clear_leftovers(path)
        yield


def _clear_leftovers(path: Path) -> None:
    """Remove what a killed save left half-written in a directory that is ours."""
    for part in (*path.glob(".*.part"), *path.glob("train/.*.part")):
        part.unlink(missing_ok=True)


# ---- names ------------------------------------------------------------------------------------------------------------


def free(path: Path) -> Path:
    """This path, or the first of path-2, path-3, … that is free."""
    number = 1
    candidate = path
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def safe_name(name: str) -> str:
    """A name for a run made from a file's name: printable, no slash, no leading dot or dash, at most 100 bytes."""
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in name).lstrip(".- ")
    return name.encode()[:100].decode(errors="ignore").rstrip() or "model"


def models(home: Path = HOME) -> list[Path]:
    """The model directories in `home`, the one written last first."""
    found = [p for p in home.iterdir() if (p / "model.safetensors").is_file()] if home.is_dir() else []
    return sorted(found, key=lambda p: (p / "model.safetensors").stat().st_mtime_ns, reverse=True)


def find(name: str | None, home: Path = HOME) -> Path:
    """The model directory that a user names: a path, a name in `home`, or None for the newest there."""
    if name is None:
        if newest := models(home):
            return newest[0]
        raise CheckpointError(f"there is no model in {home}: train one first (lmgen train FILE) or name its directory")
    for path in (Path(name), home / name):
        if (path / "config.json").is_file():
            return path
    for path in (Path(name), home / name):
        if path.name == "model.safetensors" and path.is_file():
            return path.parent
        if path.is_dir():
            return path
    if Path(name).exists():
        raise CheckpointError(f"{name} is a file, not a model: give a directory that lmgen train wrote")
    near = [p.name for p in models(home)] + [str(p) for p in models(Path(name).parent)]
    close = difflib.get_close_matches(name, near, 1)
    raise CheckpointError(
        f"there is no model {name}: " + (f"did you mean {close[0]}?" if close else "lmgen show lists those in checkpoints/")
    )


def _not_a_model(folder: Path) -> str:
    if snapshots(folder):
        return f"its training has not validated yet; go on with lmgen train --resume {folder}"
    return f"{folder} is no model; give a directory that lmgen train wrote"
