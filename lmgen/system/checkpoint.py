"""The files of one model directory: each written atomically, all tied together by hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lmgen.errors import CheckpointError, InputError
from lmgen.system import arrayfile

Read = TypeVar("Read")

PAUSE = 0.01  # seconds that a directory's replacement takes at the most
KEEP = 2  # how many snapshots of a training are kept
_TIED = ("config.json", "vocab.json")  # the files that array files are tied to by hash
_PLACES = ("files", "valid_files")  # of the text, which may move
TEXT_MAX = {"config.json": 1 << 20, "vocab.json": 1 << 26}  # bytes


def create(path: Path, texts: Mapping[str, str]) -> None:
    """Write the text files (config.json, vocab.json) of a new directory; InputError where there are others already."""
    if len(texts.get("vocab.json", "")) > TEXT_MAX["vocab.json"]:
        raise InputError("the vocabulary is too large to be saved: give a higher --min-count or a smaller --vocab-size")
    _check_size(texts.get("config.json", ""))
    try:
        path.mkdir(parents=True, exist_ok=True)
        arrayfile.sync(path.absolute().parent)
        if {p.name for p in path.iterdir()} - {"train"}:
            raise InputError(f"{path} is there already and nothing is overwritten: choose another directory")
    except OSError as error:
        raise InputError(f"cannot make the model directory {path}: {error.strerror}") from None
    for name, text in texts.items():
        arrayfile.write_bytes(path / name, text.encode())


def write_model(path: Path, arrays: arrayfile.Arrays, about: Mapping[str, Any]) -> None:
    """Write the weights of a directory that `create` made, tied by hash to its text files."""
    arrayfile.write_arrays(path / "model.safetensors", "model", arrays, {**about, "files": _hashes(path)})


def read_model(path: Path) -> tuple[arrayfile.Arrays, dict[str, Any], dict[str, str]]:
    """The weights, what describes them, and the text files, each checked against the hash that the weights hold."""

    def read() -> tuple[arrayfile.Arrays, dict[str, Any], dict[str, str]]:
        _check_validated(path)
        arrays, about = arrayfile.read_arrays(path / "model.safetensors", "model")
        return arrays, about, read_texts(path, about)

    return _steady(path, read)


def read_about(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What `read_model` reads, without the weights."""

    def read() -> tuple[dict[str, Any], dict[str, str]]:
        _check_validated(path)
        about = arrayfile.read_about(path / "model.safetensors", "model")
        return about, read_texts(path, about)

    return _steady(path, read)


def _steady(path: Path, read: Callable[[], Read]) -> Read:
    """What is read of a directory; once more where `train --force` put another one in its place meanwhile."""
    before = _identity(path)
    try:
        return read()
    except CheckpointError:
        if _identity(path) is None:  # the moment between two renames
            time.sleep(PAUSE)
        if _identity(path) == before:
            raise
        return read()


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _check_validated(path: Path) -> None:
    model = path / "model.safetensors"
    if not model.exists() and snapshots(path):
        raise CheckpointError(f"there is no {model}: its training has not validated yet; go on with lmgen train --resume {path}")


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
        if not isinstance(files[name], str) or files[name] not in (_sha256(content), _tie(name, content)):
            raise CheckpointError(f"{path / name} is damaged or of another model: copy the whole directory again")
    return texts


def _hashes(path: Path) -> dict[str, str]:
    contents = {name: _read_text(path / name) for name in _TIED}
    return {name: _tie(name, content) or _sha256(content) for name, content in contents.items()}


def config_text(settings: Mapping[str, Any]) -> str:
    """config.json of these settings; it holds a hash of itself."""
    content = {name: value for name, value in settings.items() if name != "sha256"}
    return json.dumps({**content, "sha256": _sha256(_canonical(content))}, indent=1) + "\n"


def change_config(path: Path, settings: Mapping[str, Any]) -> None:
    """Write config.json anew, where that unties nothing: what may change are the training and the places of the text."""
    content, old = _check_size(config_text(settings)).encode(), _read_text(path / "config.json")
    if content != old and _tie("config.json", content) == _tie("config.json", old):
        arrayfile.write_bytes(path / "config.json", content)


def _check_size(config: str) -> str:
    """A config.json, if it is not too large to be read again. Raises InputError for the names of too many files."""
    if len(config) > TEXT_MAX["config.json"]:
        raise InputError("the names of the files are more than a model can keep: pipe the texts in, as in cat … | lmgen train -")
    return config


def _tie(name: str, content: bytes) -> str | None:
    """The hash of what array files are tied to in config.json: of the network, and of how the text was read. None where the file
    is not as `config_text` writes it (format 1 had no hash in it)."""
    if name != "config.json":
        return None
    try:
        settings = json.loads(content)
        if "sha256" not in settings or config_text(settings).encode() != content:
            return None
        text = {name: value for name, value in settings["text"].items() if name not in _PLACES}
        return _sha256(_canonical({"model": settings["model"], "text": text}))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def snapshots(path: Path) -> list[Path]:
    """The snapshots of a training in a model directory, the newest first."""
    found = [p for p in (path / "train").glob("step-*.safetensors") if re.fullmatch(r"step-\d{8,}", p.stem)]
    return sorted(found, key=step_of, reverse=True)


def step_of(snapshot: Path) -> int:
    """The step of a snapshot, by its name."""
    return int(snapshot.stem.removeprefix("step-"))


def write_snapshot(path: Path, step: int, arrays: arrayfile.Arrays, about: Mapping[str, Any]) -> None:
    """Write what resume needs, tied by hash to the text files, and clear all but the newest few.

    Those of later steps were passed over when the training went on from this side of them: they are damaged.
    """
    name = arrayfile.subfolder(path, "train") / f"step-{step:08d}.safetensors"
    arrayfile.write_arrays(name, "training", arrays, {**about, "files": _hashes(path)})
    before = [snapshot for snapshot in snapshots(path) if step_of(snapshot) < step]
    for old in {*snapshots(path)} - {name, *before[: KEEP - 1]}:
        with contextlib.suppress(OSError):
            old.unlink()


def read_snapshot(path: Path) -> tuple[arrayfile.Arrays, dict[str, Any], dict[str, str], list[str]]:
    """The newest snapshot that is whole, what describes it, the text files, and a sentence for each that is not whole."""
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
    """A file of a model directory as it is; CheckpointError for one that cannot be read."""
    with arrayfile.opened(path) as (file, have):
        if have > TEXT_MAX[path.name]:
            raise CheckpointError(f"{path} is damaged ({have:,} bytes, more than any has): copy the whole directory again")
        return file.read(have)
