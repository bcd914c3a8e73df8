"""The files of a model directory: each is written atomically, and hashes tie them together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lmgen.errors import CheckpointError, InputError
from lmgen.system import arrayfile, files

PAUSE = 0.01  # seconds: replacing a directory takes less
KEEP = 2  # snapshots kept of a training
TEXT_MAX = {"config.json": 1 << 20, "vocab.json": 1 << 26}  # bytes of the text files, whose hashes the array files hold
_PATHS = ("files", "valid_files")  # entries of config.json that may change: the text may move


def create(path: Path, texts: Mapping[str, str]) -> None:
    """Write the text files (config.json, vocab.json) of a new directory. Raises InputError if it has other files."""
    if len(texts.get("vocab.json", "")) > TEXT_MAX["vocab.json"]:
        raise InputError("the vocabulary is too large to be saved: give a higher --min-count or a smaller --vocab-size")
    _check_size(texts.get("config.json", ""))
    try:
        path.mkdir(parents=True, exist_ok=True)
        files.sync(path.absolute().parent)
        if {p.name for p in path.iterdir()} - {"train"}:
            raise InputError(f"{path} exists, and nothing is overwritten: choose another directory")
    except OSError as error:
        raise InputError(f"cannot make the model directory {path}: {error.strerror}") from None
    for name, text in texts.items():
        files.write_bytes(path / name, text.encode())


def write_model(path: Path, arrays: arrayfile.Arrays, about: Mapping[str, Any]) -> None:
    """Write the weights of a directory with the hashes of its text files."""
    arrayfile.write_arrays(path / "model.safetensors", "model", arrays, {**about, "files": _hashes(path)})


def read_model(path: Path) -> tuple[arrayfile.Arrays, dict[str, Any], dict[str, str]]:
    """The weights, their metadata, and the text files, whose hashes are checked."""
    arrays, about, texts = _read(path, arrayfile.read_arrays)
    return arrays, about, texts


def read_about(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """As `read_model`, without the weights."""
    about, texts = _read(path, lambda model, kind: (arrayfile.read_about(model, kind),))
    return about, texts


def _read(path: Path, read: Callable[[Path, str], tuple[Any, ...]]) -> tuple[Any, ...]:
    """What `read` gives of the weights, and the text files; read again if `train --force` replaced the directory meanwhile."""

    def once() -> tuple[Any, ...]:
        model = path / "model.safetensors"
        if not model.exists() and snapshots(path):
            raise CheckpointError(
                f"there is no {model}: its training has not validated yet; go on with lmgen train --resume {path}"
            )
        *arrays, about = read(model, "model")
        return *arrays, about, read_texts(path, about)

    before = _identity(path)
    try:
        return once()
    except CheckpointError:
        if _identity(path) is None:  # between the two renames
            time.sleep(PAUSE)
        if _identity(path) == before:
            raise
        return once()


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def read_texts(path: Path, about: Mapping[str, Any]) -> dict[str, str]:
    """config.json and vocab.json. Raises CheckpointError unless they match the hashes in `about`."""
    hashes = about.get("files")
    if not isinstance(hashes, dict) or set(hashes) != set(TEXT_MAX):
        raise CheckpointError(f"{path} names other files than a model has: give a directory that lmgen train wrote")
    texts = {}
    for name in TEXT_MAX:
        content = _read_text(path / name)
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError:
            raise CheckpointError(f"{path / name} is damaged (it is no UTF-8): copy the whole directory again") from None
        if not isinstance(hashes[name], str) or hashes[name] not in (_sha256(content), _hash_of_config(name, content)):
            raise CheckpointError(f"{path / name} is damaged or of another model: copy the whole directory again")
    return texts


def _hashes(path: Path) -> dict[str, str]:
    contents = {name: _read_text(path / name) for name in TEXT_MAX}
    return {name: _hash_of_config(name, content) or _sha256(content) for name, content in contents.items()}


def config_text(settings: Mapping[str, Any]) -> str:
    """config.json of these settings, with a hash of itself."""
    content = {name: value for name, value in settings.items() if name != "sha256"}
    return json.dumps({**content, "sha256": _sha256(_canonical(content))}, indent=1) + "\n"


def change_config(path: Path, settings: Mapping[str, Any]) -> None:
    """Replace config.json if only the training options and the paths of the text change, which keeps the hashes of it valid."""
    content, old = _check_size(config_text(settings)).encode(), _read_text(path / "config.json")
    if content != old and _hash_of_config("config.json", content) == _hash_of_config("config.json", old):
        files.write_bytes(path / "config.json", content)


def _check_size(config: str) -> str:
    """config.json as given. Raises InputError if the names of its files make it too large to be read again."""
    if len(config) > TEXT_MAX["config.json"]:
        raise InputError("the names of the files are more than a model can keep: pipe the texts in, as in cat … | lmgen train -")
    return config


def _hash_of_config(name: str, content: bytes) -> str | None:
    """The hash of the network and of how the text was read, the parts of config.json that array files depend on. None for another
    file and for format 1, in which they hold the hash of the whole file."""
    if name != "config.json":
        return None
    try:
        settings = json.loads(content)
        if "sha256" not in settings or config_text(settings).encode() != content:
            return None
        text = {name: value for name, value in settings["text"].items() if name not in _PATHS}
        return _sha256(_canonical({"model": settings["model"], "text": text}))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def snapshots(path: Path) -> list[Path]:
    """The snapshots in a model directory, newest first."""
    found = [p for p in (path / "train").glob("step-*.safetensors") if re.fullmatch(r"step-\d{8,}", p.stem)]
    return sorted(found, key=step_of, reverse=True)


def step_of(snapshot: Path) -> int:
    """The step in the name of a snapshot."""
    return int(snapshot.stem.removeprefix("step-"))


def write_snapshot(path: Path, step: int, arrays: arrayfile.Arrays, about: Mapping[str, Any]) -> None:
    """Write a snapshot with the hashes of the text files, and remove old ones.

    Snapshots of later steps are removed, too: the training was resumed from an earlier one because they are damaged.
    """
    name = files.subfolder(path, "train") / f"step-{step:08d}.safetensors"
    arrayfile.write_arrays(name, "training", arrays, {**about, "files": _hashes(path)})
    before = [snapshot for snapshot in snapshots(path) if step_of(snapshot) < step]
    for old in {*snapshots(path)} - {name, *before[: KEEP - 1]}:
        with contextlib.suppress(OSError):
            old.unlink()


def read_snapshot(path: Path) -> tuple[arrayfile.Arrays, dict[str, Any], dict[str, str], list[str]]:
    """The newest intact snapshot, its metadata, the text files, and a sentence for each damaged snapshot."""
    damaged: list[CheckpointError] = []
    for snapshot in snapshots(path):
        try:
            arrays, about = arrayfile.read_arrays(snapshot, "training")
        except CheckpointError as error:
            damaged.append(error)
            continue
        return arrays, about, read_texts(path, about), [f"{error}; going back to the snapshot before it" for error in damaged]
    if damaged:
        raise damaged[0]
    raise CheckpointError(f"{path} holds no snapshot, so there is nothing to resume: train it anew")


def _read_text(path: Path) -> bytes:
    """A text file of a model directory. Raises CheckpointError if it cannot be read."""
    with files.opened(path) as (file, have):
        if have > TEXT_MAX[path.name]:
            raise CheckpointError(f"{path} is damaged ({have:,} bytes, more than any model has): copy the whole directory again")
        return file.read(have)
