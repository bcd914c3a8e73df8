"""The files of a model directory: each is written atomically, and hashes tie them together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.errors import CheckpointError, InputError
from lmgen.system import arrayfile, files

PAUSE = 0.01  # seconds: replacing a directory takes less
MIXTURE = "mixture.safetensors"  # the parts of a model but its network, where there are any
GIVEN = "given.safetensors"  # in train/, the parameters with which further networks begin
KNOWN = "known.safetensors"  # the fingerprints of its text
KEEP = 2  # snapshots kept of a training
TEXT_MAX = {"config.json": 1 << 20, "vocab.json": 1 << 26}  # bytes of the text files, whose hashes the array files hold
TOO_LARGE = {
    "config.json": "more names of files or labels than a model can keep: give fewer, or pipe the texts in: cat … | lmgen train -",
    "vocab.json": "the vocabulary is too large to be saved: give a higher --min-count or a smaller --vocab-size",
}
_PATHS = ("files", "valid_files")  # entries of config.json that may change: the text may move


def create(path: Path, texts: Mapping[str, str]) -> None:
    """Write the text files (config.json, vocab.json) of a new directory. Raises InputError if it has other files."""
    _check_sizes(texts)
    with files.explained(f"cannot make the model directory {path}", kind=InputError):
        path.mkdir(parents=True, exist_ok=True)
        files.sync(path.absolute().parent)
        if {p.name for p in path.iterdir()} - {"train"}:
            raise InputError(f"{path} exists, and nothing is overwritten: choose another directory")
    for name, text in texts.items():
        files.write_bytes(path / name, text.encode())


def _check_sizes(texts: Mapping[str, str]) -> None:
    """Raise InputError for a text that is too large to be read again."""
    for name, text in texts.items():
        if len(text) > TEXT_MAX[name]:
            raise InputError(TOO_LARGE[name])


def write_model(path: Path, arrays: arrayfile.Arrays, about: Mapping[str, Any]) -> None:
    """Write the weights of a directory with the hashes of its text files."""
    arrayfile.write_arrays(path / "model.safetensors", "model", arrays, {**about, "files": _hashes(path)})


def write_member(path: Path, member: int, arrays: arrayfile.Arrays, about: Mapping[str, Any]) -> None:
    """Write the best weights of a further network of a training; `member` counts from 1."""
    name = files.subfolder(path, "train") / f"network-{member}.safetensors"
    arrayfile.write_arrays(name, "model", arrays, {**about, "files": _hashes(path)})


def write_given(path: Path, arrays: arrayfile.Arrays) -> None:
    """Write the parameters with which every network of a training begins."""
    arrayfile.write_arrays(files.subfolder(path, "train") / GIVEN, "model", arrays, {"files": _hashes(path)})


def read_given(path: Path) -> arrayfile.Arrays:
    """The parameters with which every network of a training begins. Raises CheckpointError where they are missing or damaged."""
    arrays, about = arrayfile.read_arrays(path / "train" / GIVEN, "model")
    read_texts(path, about)
    return arrays


def write_known(path: Path, known: np.ndarray) -> None:
    """Write the fingerprints of a text with the hashes of the text files."""
    arrayfile.write_arrays(path / KNOWN, "known", {"known": known}, {"files": _hashes(path)})


def read_known(path: Path) -> np.ndarray | None:
    """The fingerprints of a directory, sorted; None where it has none. Raises CheckpointError where they are damaged, or those of
    another model, which models written before they were tied to it cannot tell."""
    if not (file := path / KNOWN).exists():
        return None
    arrays, about = arrayfile.read_arrays(file, "known")
    known = arrays.get("known")
    if known is None or known.dtype != np.uint64 or known.ndim != 1 or (known[1:] <= known[:-1]).any():
        raise CheckpointError(f"{file} holds no fingerprints: copy the whole directory again")
    hashes = about.get("files")
    if hashes is not None and not all(_fits(name, _read_text(path / name), hashes) for name in TEXT_MAX):
        raise CheckpointError(f"{file} is of another model: copy the whole directory again, or remove that file")
    return known


def read_member(path: Path, member: int) -> arrayfile.Arrays:
    """The weights of a further network. Raises CheckpointError where they are missing, damaged or of another training."""
    arrays, about = arrayfile.read_arrays(path / "train" / f"network-{member}.safetensors", "model")
    read_texts(path, about)
    return arrays


def read_model(path: Path, weights: bool = True) -> tuple[arrayfile.Arrays, dict[str, Any], dict[str, str]]:
    """The weights (none without `weights`), their metadata, and the text files, whose hashes are checked.

    All is read again if `train --force` replaced the directory meanwhile.
    """
    before = _identity(path)
    try:
        return _read_model(path, weights)
    except CheckpointError:
        if _identity(path) is None:  # between the two renames
            time.sleep(PAUSE)
        if _identity(path) == before:
            raise
        return _read_model(path, weights)


def _read_model(path: Path, weights: bool) -> tuple[arrayfile.Arrays, dict[str, Any], dict[str, str]]:
    model = path / "model.safetensors"
    if not model.exists() and snapshots(path):
        raise CheckpointError(f"there is no {model}: its training has not validated yet; go on with lmgen train --resume {path}")
    arrays, about = arrayfile.read_arrays(model, "model") if weights else ({}, arrayfile.read_about(model, "model"))
    return arrays, about, read_texts(path, about)


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
        if not _fits(name, content, hashes):
            raise CheckpointError(f"{path / name} is damaged or of another model: copy the whole directory again")
    return texts


def _fits(name: str, content: bytes, hashes: Any) -> bool:
    """Whether a text file is the one whose hash an array file holds."""
    found = hashes.get(name) if isinstance(hashes, dict) else None
    return found in (hashlib.sha256(content).hexdigest(), _hash(name, content))


def _hashes(path: Path) -> dict[str, str]:
    return {name: _hash(name, _read_text(path / name)) for name in TEXT_MAX}


def config_text(settings: Mapping[str, Any]) -> str:
    """config.json of these settings, with a hash of itself."""
    content = {name: value for name, value in settings.items() if name != "sha256"}
    return json.dumps({**content, "sha256": _hash_of_json(content)}, indent=1) + "\n"


def change_config(path: Path, settings: Mapping[str, Any]) -> None:
    """Replace config.json if only the training options and the paths of the text change, which keeps the hashes of it valid."""
    name, content = "config.json", config_text(settings)
    _check_sizes({name: content})
    new, old = content.encode(), _read_text(path / name)
    if new != old and _hash(name, new) == _hash(name, old):
        files.write_bytes(path / name, new)


def _hash(name: str, content: bytes) -> str:
    """The hash of a text file in the array files: of config.json that of the network and of how the text was read, the parts that
    they depend on. Of another file, and of config.json in format 1, that of the whole file."""
    if name == "config.json":
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            settings = json.loads(content)
            if "sha256" in settings and config_text(settings).encode() == content:
                text = {field: value for field, value in settings["text"].items() if field not in _PATHS}
                return _hash_of_json({"model": settings["model"], "text": text})
    return hashlib.sha256(content).hexdigest()


def _hash_of_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
    raise damaged[0] if damaged else CheckpointError(f"{path} holds no snapshot, so there is nothing to resume: train it anew")


def _read_text(path: Path) -> bytes:
    """A text file of a model directory. Raises CheckpointError if it cannot be read."""
    with files.opened(path) as (file, have):
        if have > TEXT_MAX[path.name]:
            raise CheckpointError(f"{path} is damaged ({have:,} bytes, more than any model has): copy the whole directory again")
        return file.read(have)
