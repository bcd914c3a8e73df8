"""Model directories by name: found, free, taken."""

from __future__ import annotations

import contextlib
import difflib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lmgen import arrayfile, checkpoint, lock
from lmgen.errors import CheckpointError, InputError

HOME = Path("checkpoints")
OURS = {"config.json", "vocab.json", "known.safetensors", "model.safetensors", "metrics.jsonl", "README.md", "train"}


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
    names = {name for name in names if not lock.LEFTOVER.fullmatch(name)}
    if names and ("config.json" not in names or names - OURS):
        raise InputError(f"{path} holds more than a model of lmgen, or none, so --force leaves it alone: remove it yourself")


def create(path: Path, texts: Mapping[str, str], force: bool = False) -> None:
    """Make a model directory with its text files (config.json, vocab.json), with `force` in place of another.

    Raises InputError where the path is taken, or where the other is being trained.
    """
    check_free(path, force)
    if len(texts.get("vocab.json", "")) > checkpoint.TEXT_MAX["vocab.json"]:
        raise InputError("the vocabulary is too large to be saved: give a higher --min-count or a smaller --vocab-size")
    old = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}.old")
    try:
        if force and path.exists():
            with lock.locked(path) if (path / "config.json").exists() else contextlib.nullcontext():
                os.rename(path.absolute(), old)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        arrayfile.sync(path.absolute().parent)
    except OSError as error:
        raise InputError(f"cannot make the model directory {path}: {error.strerror}") from None
    finally:
        shutil.rmtree(old, ignore_errors=True)
    for name, text in texts.items():
        arrayfile.write_bytes(path / name, text.encode())


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
