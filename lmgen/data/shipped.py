"""The corpora that ship: files in corpora/, and one that is read from the running Python interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmgen.errors import InputError
from lmgen.system import cache

# In an installed lmgen the corpora lie inside the package, in a clone beside it.
_PLACES = (Path(__file__).parents[1] / "corpora", Path(__file__).parents[2] / "corpora")
FOLDER = next((place for place in _PLACES if place.is_dir()), Path("corpora"))


def python_reference() -> str:
    """The reference pages of the Python language, as `help()` shows them: 450 KB of English prose and more."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError("this Python lacks its reference pages (pydoc_data): install the full standard library") from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


FILES = {"cities": "names of cities and towns of the world", "names": "given names from many languages"}
MADE: dict[str, Callable[[], str]] = {"python-reference": python_reference}
NAMES = (*FILES, *MADE)


def find(name: str) -> Path | None:
    """The file of a corpus that ships, made in the cache if need be; None where the name is not one of ours."""
    if name in FILES:
        return FOLDER / f"{name}.txt"
    if name not in MADE:
        return None
    path = cache.folder("corpora") / f"{name}-{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}.txt"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(MADE[name](), "utf-8")
        part.replace(path)
    return path


def text(name: str) -> str:
    """The text of a corpus that ships; InputError for a name that is none."""
    path = find(name)
    if path is None:
        raise InputError(f"there is no corpus {name!r}: choose from {', '.join(NAMES)}")
    return path.read_text("utf-8")


def listing() -> list[dict[str, Any]]:
    """Name, bytes and a description of each."""
    about = {**FILES, **{name: (make.__doc__ or "").split(":")[0] for name, make in MADE.items()}}
    return [{"name": name, "bytes": len(text(name).encode()), "about": about[name]} for name in NAMES]
