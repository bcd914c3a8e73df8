"""Arrays and what describes them <-> one directory, written atomically, verified by hash, without pickle.

Every array file is a safetensors file that verifies itself: under the one metadata key "lmgen" stands a JSON object with the
format, the kind, the hashes of the files it belongs to, and "sha256" over all arrays and that object. So one rename commits it.
Nothing that a file claims is believed before it is checked: reading takes time and memory in proportion to what is really there.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from lmgen import __version__
from lmgen.errors import CheckpointError, InputError, LmgenError

FORMAT = 1
HOME = Path("checkpoints")
KEEP = 2  # how many snapshots of a training are kept
OURS = {"config.json", "vocab.json", "known.safetensors", "model.safetensors", "metrics.jsonl", "README.md", "train"}
_TIED = ("config.json", "vocab.json")  # the files that array files are tied to by hash
_HEADER_MAX, _ARRAYS_MAX = 1 << 21, 10_000  # bytes; as many hold what describes so many arrays
_TEXT_MAX = {"config.json": 1 << 20, "vocab.json": 1 << 26}  # bytes
_DIMENSIONS_MAX, _DIMENSION_MAX = 8, 1 << 40
_LEFTOVER = re.compile(r"\.(?:[\w-]+\.(?:json|jsonl|md|safetensors))\.\d+\.part")
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
        with open(part, "wb", opener=_no_link) as file:
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


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that flushes no directories
            raise
    finally:
        os.close(handle)


def _subfolder(path: Path, name: str) -> Path:
    """A directory in another, made and flushed to disk if need be; a link is none, since it may lead anywhere."""
    folder = path / name
    try:
        if folder.is_symlink():
            raise CheckpointError(f"{folder} is a link and may lead anywhere: put the directory itself in its place")
        if not folder.is_dir():
            folder.mkdir()
            _sync(path)
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
        have = _size(path)
        with open(path, "rb") as file:
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
    except FileNotFoundError:
        raise CheckpointError(f"there is no {path}: {_not_a_model(path.parent)}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} is no array file of lmgen: give a directory that lmgen train wrote") from None
    if number != FORMAT:
        raise CheckpointError(f"{path} {_of_another_format(number, about.get('lmgen'))}")
    if have != need:
        raise CheckpointError(f"{path} is damaged (have {have:,} bytes, need {need:,}): copy it again")
    if found != kind:
        raise CheckpointError(f"{path} holds a {_printable(str(found))}, not a {kind}: give a directory that lmgen train wrote")
    return about


def _size(path: Path) -> int:
    """The bytes of a file; CheckpointError for what is none, such as a pipe, which would be waited for."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path} is no file: give a directory that lmgen train wrote")
    return found.st_size


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
    if type(number) is not int or number < FORMAT:
        return f"has format {_printable(str(number))}, which no lmgen has written: give a directory that lmgen train wrote"
    known = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,30}", version)
    by, wanted = (f"lmgen {version}", f"lmgen ≥ {version}") if known else ("a newer lmgen", "a newer lmgen")
    return f"was made by {by} (format {_printable(str(number))}, this one reads format {FORMAT}): install {wanted}"


def _digest(arrays: Arrays, about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, a in sorted(arrays.items()):
        digest.update(f"\n{name} {a.dtype} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()


def _read_text(path: Path) -> bytes:
    """A file of a model directory as it is; CheckpointError for one that cannot be read."""
    try:
        if (have := _size(path)) > _TEXT_MAX[path.name]:
            raise CheckpointError(f"{path} is damaged ({have:,} bytes, more than any has): copy the whole directory again")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; copy the whole directory again") from None


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
    names = {name for name in names if not _LEFTOVER.fullmatch(name)}
    if names and ("config.json" not in names or names - OURS):
        raise InputError(f"{path} holds more than a model of lmgen, or none, so --force leaves it alone: remove it yourself")


def create(path: Path, texts: Mapping[str, str], force: bool = False) -> None:
    """Make a model directory with its text files (config.json, vocab.json), with `force` in place of another.

    Raises InputError where the path is taken, or where the other is being trained.
    """
    check_free(path, force)
    if len(texts.get("vocab.json", "")) > _TEXT_MAX["vocab.json"]:
        raise InputError("the vocabulary is too large to be saved: give a higher --min-count or a smaller --vocab-size")
    old = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}.old")
    try:
        if force and path.exists():
            with locked(path) if (path / "config.json").exists() else contextlib.nullcontext():
                os.rename(path.absolute(), old)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        _sync(path.absolute().parent)
    except OSError as error:
        raise InputError(f"cannot make the model directory {path}: {error.strerror}") from None
    finally:
        shutil.rmtree(old, ignore_errors=True)
    for name, text in texts.items():
        write_bytes(path / name, text.encode())


def write_model(path: Path, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write the weights of a directory that `create` made, tied by hash to its text files."""
    write_arrays(path / "model.safetensors", "model", arrays, {**about, "files": _hashes(path)})


def read_model(path: Path) -> tuple[Arrays, dict[str, Any], dict[str, str]]:
    """The weights, what describes them, and the text files, each checked against the hash that the weights hold."""
    arrays, about = read_arrays(path / "model.safetensors", "model")
    return arrays, about, read_texts(path, about)


def read_texts(path: Path, about: Mapping[str, Any]) -> dict[str, str]:
    """config.json and vocab.json, checked against the hashes in `about`."""
    files = about.get("files")
    if not isinstance(files, dict) or set(files) != set(_TIED):
        raise CheckpointError(f"{path} names other files than a model has: give a directory that lmgen train wrote")
    texts = {}
    for name in _TIED:
        content = _read_text(path / name)
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError:
            raise CheckpointError(f"{path / name} is damaged (it is no UTF-8): copy the whole directory again") from None
        if hashlib.sha256(content).hexdigest() != files[name]:
            raise CheckpointError(f"{path / name} is damaged or of another model: copy the whole directory again")
    return texts


def _hashes(path: Path) -> dict[str, str]:
    return {name: hashlib.sha256(_read_text(path / name)).hexdigest() for name in _TIED}


def snapshots(path: Path) -> list[Path]:
    """The snapshots of a training in a model directory, the newest first."""
    found = (path / "train").glob("step-*.safetensors")
    return sorted((p for p in found if re.fullmatch(r"step-\d{8,}", p.stem)), reverse=True)


def write_snapshot(path: Path, step: int, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write what resume needs, tied by hash to the text files, and clear all but the newest few."""
    name = _subfolder(path, "train") / f"step-{step:08d}.safetensors"
    write_arrays(name, "training", arrays, {**about, "files": _hashes(path)})
    for old in snapshots(path)[KEEP:]:
        with contextlib.suppress(OSError):
            old.unlink()


def read_snapshot(path: Path) -> tuple[Arrays, dict[str, Any], dict[str, str], list[str]]:
    """The newest snapshot that is whole, what describes it, the text files, and a sentence for each that is not whole."""
    damaged: list[CheckpointError] = []
    for snapshot in snapshots(path):
        try:
            arrays, about = read_arrays(snapshot, "training")
        except CheckpointError as error:
            damaged.append(error)
            continue
        return arrays, about, read_texts(path, about), [f"{error}; going back to the snapshot before it" for error in damaged]
    if damaged:
        raise damaged[0]
    raise CheckpointError(f"{path} holds no snapshot, so there is nothing to resume: train it anew")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a directory for one training; InputError names the process that holds it. The lock dies with its holder."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path} is no model: give a directory that lmgen train wrote")
    lock = _subfolder(path, "train") / "lock"
    try:
        file: IO[str] = open(lock, "r+", opener=lambda name, flags: _no_link(name, flags | os.O_CREAT))  # noqa: SIM115
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
        if _LEFTOVER.fullmatch(part.name):
            with contextlib.suppress(OSError):
                part.unlink()


# ---- names ------------------------------------------------------------------------------------------------------------


def free(path: Path) -> Path:
    """This path, or the first of path-2, path-3, … that is free."""
    number = 1
    path = path if path.name else path.absolute() / "model"  # . and / have no name to count on from
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
