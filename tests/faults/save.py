"""Save once into the directory of a training, as a training does, without JAX: python save.py DIRECTORY STEP [HOW].

HOW is save, or replace for what `train --force` does. The arrays are filled with the number of the step.
Ends with exit code 1 and a sentence where that fails.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import numpy as np

from lmgen.errors import LmgenError
from lmgen.system import checkpoint, directories, files


def mark(path: Path, word: str) -> None:
    """A system call that stands out in a trace."""
    with contextlib.suppress(OSError):
        os.close(os.open(path / f"here-a-save-{word}", os.O_RDONLY))


def make(path: Path) -> None:
    """The directory of a training that has not saved yet."""
    checkpoint.create(path, {"config.json": '{"model": {}}', "vocab.json": "{}"})


def save(path: Path, step: int) -> None:
    """What Run.save writes."""
    arrays = {"W": np.full((4, 5), step, np.float32), "b": np.full(3, step, np.int32)}
    checkpoint.write_model(path, arrays, {"step": step})
    files.write_bytes(path / "README.md", f"step {step}\n".encode())
    checkpoint.write_snapshot(path, step, arrays, {"progress": {"step": step}})


def replace(path: Path, step: int) -> None:
    """A new training of the same name, as far as its first save."""
    with directories.new(path, force=True) as place:
        make(place.folder)
        save(place.folder, step)
        place.publish()


def main() -> None:
    path, step = Path(sys.argv[1]), int(sys.argv[2])
    mark(path, "begins")
    try:
        (replace if sys.argv[3:] == ["replace"] else save)(path, step)
    except LmgenError as error:
        sys.exit(str(error))
    finally:
        mark(path, "ends")


if __name__ == "__main__":
    main()
