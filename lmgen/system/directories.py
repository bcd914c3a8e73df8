"""Model directories by name: find, create, replace, rename, remove.

A new directory begins as `.NAME.new` and gets its name when it holds a usable model; the one it replaces is then renamed to
`.NAME.old` and removed. So a name always leads to a complete model, whenever a process is killed.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import re
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from lmgen.errors import CheckpointError, InputError, LmgenError, printable
from lmgen.system import checkpoint, files, lock, signals
from lmgen.system.lock import TakenError

HOME = Path("checkpoints")
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)  # of Windows, any suffix
OURS = {
    *("config.json", "vocab.json", "known.safetensors", "model.safetensors", "mixture.safetensors", "metrics.jsonl", "README.md"),
    "train",
}


# ---- create ------------------------------------------------------------------------------------------------------------


class Place:
    """The place of a model directory: `path` is its name, and `folder` where it is until `publish`."""

    def __init__(self, path: Path, folder: Path | None = None, force: bool = False):
        self.path, self.folder, self.force = path, folder or path, force

    @property
    def published(self) -> bool:
        """Whether the directory has its name."""
        return self.folder == self.path

    def publish(self) -> None:
        """Rename the directory to its name, replacing an old one; to the next free name if another process took it meanwhile."""
        if self.published:
            return
        try:
            check_free(self.path, self.force)
        except TakenError:
            self.path = free(self.path)
        old = _hidden(self.path, "old")
        with files.explained(f"cannot put {self.folder} in the place of {self.path}"):
            if os.path.lexists(self.path):
                _remove(old)
                os.rename(self.path, old)
            try:
                os.rename(self.folder, self.path)
            except OSError:
                with contextlib.suppress(OSError):
                    os.rename(old, self.path)
                raise
            files.sync(self.path.absolute().parent)
        self.folder = self.path
        _remove(old)

    def rescue(self) -> None:
        """Publish weights saved without a snapshot under a free name: they cannot be resumed, so they replace no model."""
        if not self.published and (self.folder / "model.safetensors").exists():
            self.force = False
            self.publish()


@contextlib.contextmanager
def new(path: Path, force: bool = False, count_on: bool = False) -> Iterator[Place]:
    """A locked place for a new model, which is removed at the end unless it is published.

    `force` replaces the model of that name, `count_on` takes the next free name. Raises TakenError if the name is in use,
    InputError if no directory can be created.
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
        with files.explained(f"cannot make the model directory {path}", kind=InputError):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock.held(folder, path))
            place = Place(path, folder, force)

            def give_up() -> None:
                with contextlib.suppress(LmgenError):
                    place.rescue()
                if not place.published:
                    _remove(place.folder)
                    with contextlib.suppress(OSError):
                        for parent in made:
                            parent.rmdir()

            signals.STOP.cleanups.append(give_up)
            held.callback(signals.STOP.cleanups.remove, give_up)
            held.callback(give_up)
            check_free(path, force)  # another process may just have published
            if (path / "config.json").is_file():
                held.enter_context(lock.locked(path))
            _clear(path, folder)
        yield place


def _clear(path: Path, folder: Path) -> None:
    """Remove what killed processes left in a new directory and beside its name."""
    for file in (*folder.iterdir(), *(folder / "train").iterdir()):
        if file.name not in ("train", "lock"):
            file.unlink()
    for left in path.parent.glob(f".{glob.escape(path.name)}.*[0-9].removed"):
        if _ours(left):
            shutil.rmtree(left, ignore_errors=True)
    if os.path.lexists(path):
        _remove(_hidden(path, "old"))


def check_free(path: Path, force: bool = False) -> None:
    """Raise TakenError if a path is in use; with `force`, only if it holds more than a model.

    What a training left that was killed before its first save is not in use.
    """
    if not os.path.lexists(path):
        return
    ours = _ours(path) and ((path / "config.json").exists() or not any(path.glob("[!.]*")))
    if ours and (force or not ((path / "model.safetensors").exists() or checkpoint.snapshots(path))):
        return
    if not force:
        raise TakenError(
            f"{path} exists, and nothing is overwritten: choose another --output (such as {free(path)}), "
            f"add --force to replace it, or go on with --resume {path}"
        )
    raise TakenError(f"{path} is no model of lmgen, or holds other files, so --force does not replace it: remove it yourself")


def free(path: Path, beside: str = "") -> Path:
    """This path, or the first of path-2, path-3, … that is free, and so is its name followed by `beside`."""
    path = path if path.name else path.absolute() / "model"  # . and / have no name to number
    names = ((one, one.with_name(one.name + beside)) for one in _counted(path))
    return next(one for one, other in names if not (os.path.lexists(one) or os.path.lexists(other)))


def _counted(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_name(f"{path.name}-{number}") for number in count(2))


def brief(path: Path) -> str:
    """A path as seen from here; as it is where no relative path leads there, such as to another drive of Windows."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


def safe_name(name: str) -> str:
    """A name for a model from the name of a file: printable, at most 100 bytes, without a leading dot or dash and without what
    Windows cannot store (slashes and wildcards, a dot or space at the end, the names of its devices)."""
    name = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in name).lstrip(".- ")
    name = f"model-{name}" if _DEVICE.match(name) else name
    return name.encode()[:100].decode(errors="ignore").rstrip(". ") or "model"


# ---- rename and remove -----------------------------------------------------------------------------------------------


def removable(name: str) -> Path:
    """The directory of a model. Raises InputError for a link and for a directory that holds other files, too."""
    path = Path(os.path.abspath(find(name)))
    if not (_ours(path) and (path / "config.json").is_file()):
        raise InputError(f"{printable(name)} is a link or holds more than a model of lmgen: remove or rename it yourself")
    return path


def remove(path: Path) -> None:
    """Remove a model, all of it or nothing if killed. Raises TakenError if it is being trained."""
    with lock.locked(path):
        _remove(_hidden(path, "old"))
        if not _remove(path):
            raise LmgenError(f"cannot remove {path}: make its folder writable")


def rename(path: Path, name: str) -> Path:
    """Rename a model within its folder. Raises InputError for an unsafe or taken name, TakenError if it is being trained."""
    if safe_name(name) != name:
        raise InputError(f"{printable(name)!r} cannot be a name: give one such as {safe_name(name)}")
    target = path.with_name(name)
    if os.path.lexists(target):
        raise TakenError(f"the name {name} is taken: give another one, such as {free(target).name}")
    with lock.locked(path), new(target), files.explained(f"cannot rename {path}"):
        _remove(_hidden(path, "old"))
        os.rename(path, target)
        files.sync(target.parent)
    return target


# ---- hidden names -----------------------------------------------------------------------------------------------------


def _hidden(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def _ours(path: Path) -> bool:
    """Whether a path is a directory, not a link, and holds only files of lmgen."""
    if path.is_symlink() or not path.is_dir():
        return False
    try:
        return all(p.name in OURS or lock.LEFTOVER.fullmatch(p.name) for p in path.iterdir())
    except FileNotFoundError:  # another process removed it meanwhile
        return False


def _remove(path: Path) -> bool:
    """Remove a directory of lmgen, after renaming it; whether that was possible."""
    going = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.removed")
    with contextlib.suppress(OSError):
        if _ours(path):
            os.rename(path, going)
            files.sync(going.absolute().parent)
            shutil.rmtree(going, ignore_errors=True)
            return True
    return False


def mend(path: Path) -> None:
    """Restore the model that a killed `publish` had moved aside; wait for one in progress."""
    for _ in range(10):
        if os.path.lexists(path) or not os.path.isfile((old := _hidden(path, "old")) / "config.json"):
            return
        with contextlib.suppress(LmgenError, OSError), lock.held(old, path):
            if not os.path.lexists(path):
                os.rename(old, path)
            return
        time.sleep(checkpoint.PAUSE)


# ---- find ------------------------------------------------------------------------------------------------------------


def models(home: Path = HOME) -> list[Path]:
    """The model directories in `home`, newest first."""
    for old in home.glob(".*.old"):
        mend(old.with_name(old.name[1 : -len(".old")]))
    times = {p.parent: p.stat().st_mtime_ns for p in home.glob("[!.]*/model.safetensors") if p.is_file()}
    return sorted(times, key=lambda path: times[path], reverse=True)


def find(name: str | None, home: Path = HOME) -> Path:
    """The model directory that a user names: a path, a name in `home`, or None for the newest one."""
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
