"""Model directories by name: found, taken, put in place, renamed, removed.

A new directory is made under a hidden name beside, `.NAME.new`, and gets its name when it can be used; what it replaces goes only
then, as `.NAME.old`. So under a name there is always a whole model, whenever a process is killed.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from lmgen.errors import CheckpointError, InputError, LmgenError, printable
from lmgen.system import arrayfile, checkpoint, lock
from lmgen.system.lock import TakenError

HOME = Path("checkpoints")
OURS = {"config.json", "vocab.json", "known.safetensors", "model.safetensors", "metrics.jsonl", "README.md", "train"}


# ---- new ones ---------------------------------------------------------------------------------------------------------


class Place:
    """Where a model directory is: `path` is its name, `folder` where it lies, which is elsewhere until `publish`."""

    def __init__(self, path: Path, folder: Path | None = None, force: bool = False):
        self.path, self.folder, self.force = path, folder or path, force

    @property
    def published(self) -> bool:
        """Whether it lies under its name."""
        return self.folder == self.path

    def publish(self) -> None:
        """Give the directory its name, in the place of what it replaces; the next free name, where another took it meanwhile."""
        if self.published:
            return
        try:
            check_free(self.path, self.force)
        except TakenError:
            self.path = free(self.path)
        old = _hidden(self.path, "old")
        try:
            if os.path.lexists(self.path):
                _remove(old)
                os.rename(self.path, old)
            try:
                os.rename(self.folder, self.path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.rename(old, self.path)
                raise
            arrayfile.sync(self.path.absolute().parent)
        except OSError as error:
            raise LmgenError(f"cannot put {self.folder} in the place of {self.path}: {error.strerror}") from None
        self.folder = self.path
        _remove(old)

    def rescue(self) -> None:
        """Give weights that were saved without a snapshot a free name: too little to replace a model, too much to be lost."""
        if not self.published and (self.folder / "model.safetensors").exists():
            self.force = False
            self.publish()


@contextlib.contextmanager
def new(path: Path, force: bool = False, count_on: bool = False) -> Iterator[Place]:
    """A place for a new model, held from before anything is written; where it is not published, nothing of it stays.

    With `force` it replaces the model of that name; with `count_on` it takes the next free name. Raises TakenError where the name
    is in use, InputError where no directory can be made.
    """
    path = path if path.name else path.absolute()
    with contextlib.ExitStack() as held:
        for candidate in _counted(path) if count_on else [path]:
            try:
                place = held.enter_context(_claimed(candidate, force))
                break
            except TakenError:
                if not count_on:
                    raise
        yield place


@contextlib.contextmanager
def _claimed(path: Path, force: bool) -> Iterator[Place]:
    mend(path)
    check_free(path, force)
    folder = _hidden(path, "new")
    if os.path.lexists(folder) and not _ours(folder):
        raise TakenError(f"{folder} is in the way and not of lmgen: remove it yourself, or choose another --output")
    made = [p for p in folder.parents if not p.exists()]
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock.held(folder, path))
            place = Place(path, folder, force)
            held.callback(_give_up, place, made)
            check_free(path, force)  # another may just have been published
            if (path / "config.json").is_file():
                held.enter_context(lock.locked(path))
            _clear(path, folder)
        except OSError as error:
            raise InputError(f"cannot make the model directory {path}: {error.strerror}") from None
        yield place


def _clear(path: Path, folder: Path) -> None:
    """Remove what killed processes have left of a new directory and beside a name."""
    for file in (*folder.iterdir(), *(folder / "train").iterdir()):
        if file.name not in ("train", "lock"):
            file.unlink()
    for left in path.parent.glob(f".{glob.escape(path.name)}.*[0-9].removed"):
        if _ours(left):
            shutil.rmtree(left, ignore_errors=True)
    if os.path.lexists(path):
        _remove(_hidden(path, "old"))


def _give_up(place: Place, made: list[Path]) -> None:
    with contextlib.suppress(LmgenError):
        place.rescue()
    if not place.published:
        _remove(place.folder)
        with contextlib.suppress(OSError):
            for parent in made:
                parent.rmdir()


def check_free(path: Path, force: bool = False) -> None:
    """TakenError where a path is in use; with `force`, where what is there is no model of ours.

    What a killed training has left before its first save is not in use.
    """
    if not os.path.lexists(path):
        return
    ours = _ours(path) and ((path / "config.json").exists() or not any(path.glob("[!.]*")))
    if ours and (force or not ((path / "model.safetensors").exists() or checkpoint.snapshots(path))):
        return
    if not force:
        raise TakenError(
            f"{path} is there already and nothing is overwritten: choose another --output (such as {free(path)}), "
            f"add --force to replace it, or go on with --resume {path}"
        )
    raise TakenError(f"{path} holds more than a model of lmgen, or none, so --force leaves it alone: remove it yourself")


def free(path: Path) -> Path:
    """This path, or the first of path-2, path-3, … that is free."""
    path = path if path.name else path.absolute() / "model"  # . and / have no name to count on from
    return next(candidate for candidate in _counted(path) if not os.path.lexists(candidate))


def _counted(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in count(2))


def safe_name(name: str) -> str:
    """A name for a run made from a file's name: printable, no slash, no leading dot or dash, at most 100 bytes."""
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in name).lstrip(".- ")
    return name.encode()[:100].decode(errors="ignore").rstrip() or "model"


# ---- renamed, removed -------------------------------------------------------------------------------------------------


def removable(name: str) -> Path:
    """The directory of a model that is all ours; InputError for a link and for one that holds anything else."""
    path = Path(os.path.abspath(find(name)))
    if not (_ours(path) and (path / "config.json").is_file()):
        raise InputError(f"{printable(name)} is a link or holds more than a model of lmgen: it is left alone, do it yourself")
    return path


def remove(path: Path) -> None:
    """Remove a model: it loses its name first, so that a kill leaves all of it or nothing there.

    Raises TakenError where it is being trained.
    """
    with lock.locked(path):
        _remove(_hidden(path, "old"))
        if not _remove(path):
            raise LmgenError(f"cannot remove {path}: make its folder writable")


def rename(path: Path, name: str) -> Path:
    """Give a model another name in its folder. Raises InputError for a name that is unsafe or taken; TakenError in training."""
    if safe_name(name) != name:
        raise InputError(f"{printable(name)!r} cannot be a name: give one such as {safe_name(name)}")
    target = path.with_name(name)
    if os.path.lexists(target):
        raise TakenError(f"the name {name} is taken: give another one, such as {free(target).name}")
    with lock.locked(path), new(target):
        try:
            _remove(_hidden(path, "old"))
            os.rename(path, target)
            arrayfile.sync(target.parent)
        except OSError as error:
            raise LmgenError(f"cannot rename {path}: {error.strerror}") from None
    return target


# ---- hidden names -----------------------------------------------------------------------------------------------------


def _hidden(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def _ours(path: Path) -> bool:
    """Whether a path is a directory, no link, that holds nothing but what lmgen writes."""
    if path.is_symlink() or not path.is_dir():
        return False
    return all(p.name in OURS or lock.LEFTOVER.fullmatch(p.name) for p in path.iterdir())


def _remove(path: Path) -> bool:
    """Remove a directory of ours, which loses its name before its first file; whether it could be."""
    going = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.removed")
    with contextlib.suppress(OSError):
        if _ours(path):
            os.rename(path, going)
            arrayfile.sync(going.absolute().parent)
            shutil.rmtree(going, ignore_errors=True)
            return True
    return False


def mend(path: Path) -> None:
    """Bring back the model that a killed `publish` had moved aside; one that is at work is waited for."""
    for _ in range(10):
        if os.path.lexists(path) or not os.path.isfile((old := _hidden(path, "old")) / "config.json"):
            return
        with contextlib.suppress(LmgenError, OSError), lock.held(old, path):
            if not os.path.lexists(path):
                os.rename(old, path)
            return
        time.sleep(checkpoint.PAUSE)


# ---- those that are there ---------------------------------------------------------------------------------------------


def models(home: Path = HOME) -> list[Path]:
    """The model directories in `home`, the one written last first."""
    for old in home.glob(".*.old"):
        mend(old.with_name(old.name[1 : -len(".old")]))
    entries = home.iterdir() if home.is_dir() else ()
    found = [(p / "model.safetensors", p) for p in entries if not p.name.startswith(".")]
    times = {p: model.stat().st_mtime_ns for model, p in found if model.is_file()}
    return sorted(times, key=lambda p: times[p], reverse=True)


def find(name: str | None, home: Path = HOME) -> Path:
    """The model directory that a user names: a path, a name in `home`, or None for the newest there."""
    if name is None:
        if newest := models(home):
            return newest[0]
        raise CheckpointError(f"there is no model in {home}: train one first (lmgen train FILE) or name its directory")
    for path in (Path(name), home / name):
        mend(path)
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
    way_out = f"did you mean {printable(close[0])}?" if close else "lmgen list shows those in checkpoints/"
    raise CheckpointError(f"there is no model {printable(name)}: {way_out}")
