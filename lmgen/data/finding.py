"""The files that a user's words name: files, folders, pipes, and the corpora that ship with lmgen."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import iglob
from pathlib import Path
from typing import Any, BinaryIO

from lmgen.data import formats
from lmgen.data.sources.packed import SUFFIXES, unpacked
from lmgen.errors import InputError, printable
from lmgen.options.kinds import Duration
from lmgen.system import cache

STDIN = "standard input"  # its name in messages
PYTHON = "text from Python"
SPOOL = ".spool"  # how the name of a copy ends
STRINGS = f".strings{SPOOL}"  # the name of a copy of strings ends so: of no table, even where a column is wanted of others
ROWS, FIELD = f".rows{SPOOL}", "text"  # or so: each is in this field of a line of JSON
RECORDS = f".records{SPOOL}"  # the name of a copy of rows ends so, which are no plain text
COPIED = 1 << 20  # bytes of a pipe copied at a time
MOST_NAMES = 500_000  # characters of the names of files: they go into the model's config.json, which has a limit

# In an installed lmgen the corpora are inside the package, in a clone beside it.
_PLACES = (Path(__file__).parents[1] / "corpora", Path(__file__).parents[2] / "corpora")
CORPORA = next((place for place in _PLACES if place.is_dir()), Path("corpora"))
SHIPPED = {
    "cities": "names of cities and towns of the world",
    "dates": "dates in words and figures, and the same dates as 2021-03-04, for translation",
    "genes": "genes as a program invents them: a promoter, codons, a stop",
    "names": "given names from many languages",
    "names-by-language": "given names and the language each is most at home in, for classification",
    "poems": "poems of four lines that rhyme, invented by a program",
    "python-reference": "the reference pages of the Python language, as `help()` shows them",
    "server-log": "requests in the log of a server, invented by a program",
    "tunes": "tunes in ABC notation, invented by a program",
    "verses": "Chinese verses of four lines, invented by a program",
}


def find(names: Sequence[str], glob: str | None = None, note: Callable[[str], None] = lambda _: None) -> list[Path]:
    """The files that a user's words name: files, patterns such as logs/*.txt, the *.txt of folders, "-" for stdin, or corpora
    that ship. A folder with a seq.in is labelled text, and stays one path.

    With `glob` the files below folders whose names match it, sorted, without hidden and binary ones. `note` gets the number of
    files that are left out: of these, and of the compressed ones of a folder without `glob`. Pipes are copied into the cache,
    since a text is read more than once. Raises InputError for a missing file.
    """
    paths: list[Path] = []
    if glob and not any(Path(name).is_dir() for name in names):
        raise InputError("--glob chooses among the files of a folder: name one, or leave it out")
    for name in names:
        with readable(name):
            paths += _below(Path(name), glob, note) if glob and Path(name).is_dir() else _find(name, note)
    if sum(len(str(path.absolute())) for path in paths) > MOST_NAMES:
        way = "pipe them in, as in find FOLDER -type f -exec cat {} + | lmgen train -"
        raise InputError(f"{len(paths):,} files are more than a model keeps the names of: {way}")
    return paths


def _find(name: str, note: Callable[[str], None]) -> list[Path]:
    path = Path(name)
    if name == "-":
        return [spooled(standard_input(), "stdin")]
    if path.is_dir():
        if (path / "seq.in").is_file():  # labelled text in a folder of its own
            return [path]
        packed = [p for p in path.glob("*.txt.*") if p.suffix in SUFFIXES]
        if found := sorted(p for p in path.glob("*.txt") if p.is_file()):
            if packed:
                note(f"{name}: left out {len(packed):,} compressed file{'s' * (len(packed) > 1)}: --glob '*.txt*' reads all")
            return found
        example = "*.txt*" if packed else "*.md"
        raise InputError(
            f"{name} is a folder without *.txt files: name the files, or which with --glob, as in --glob '{example}'"
        )
    if path.is_fifo():
        with path.open("rb") as file:
            return [spooled(file, path.name)]
    if not os.path.lexists(path):
        if name in SHIPPED:
            return [shipped(name)]
        if found := sorted(Path(match) for match in iglob(name, recursive=True) if os.path.isfile(match)):
            return found
    opened(path).close()
    return [path]


def _below(folder: Path, glob: str, note: Callable[[str], None]) -> list[Path]:
    """The files below a folder that match a pattern."""
    matching = sorted(path for path in folder.rglob(glob) if path.is_file())
    seen = [path for path in matching if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    found = [path for path in seen if not _is_binary(path)]
    for count, kind in ((len(matching) - len(seen), "hidden"), (len(seen) - len(found), "binary")):
        if count:
            note(f"{folder}: left out {count:,} {kind} file{'s' * (count > 1)}")
    if not found:
        raise InputError(f"there is no text file {glob} below {folder}: give another --glob")
    note(f"{folder}: {len(found):,} file{'s' * (len(found) > 1)} {glob}")
    return found


def _is_binary(path: Path) -> bool:
    with opened(path) as file:
        return formats.is_binary(file.read(formats.HEAD))


@contextlib.contextmanager
def readable(name: object) -> Iterator[None]:
    """Within it, a file of this name that cannot be read raises InputError."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:  # also a closed file, a NUL in a name, a pattern
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {printable(str(name), 4096)}: {reason}") from None


def opened(path: Path) -> BinaryIO:
    """The content of a file, open, and unpacked if it is compressed. Raises InputError where there is none."""
    return unpacked(regular(path), name_of(path))[0]


def regular(path: Path) -> BinaryIO:
    """A file of a text, open. Raises InputError where there is none."""
    with readable(path):
        try:
            if stat.S_ISREG(path.stat().st_mode):
                return path.open("rb")
        except FileNotFoundError:
            raise InputError(_missing(path)) from None
    raise InputError(f"{path} is not a file of text: name a file, a folder or - for standard input")


def _missing(path: Path) -> str:
    near = {p.name: str(p) for p in path.parent.iterdir()} if path.parent.is_dir() else {}
    near |= {name: name for name in SHIPPED}
    missing = f"there is no {printable(str(path), 4096)}"
    if (unit := Duration.unit(str(path))) in Duration.UNITS:
        return f"{missing}: if it belongs to --budget, write that as one word, such as --budget 5{unit}"
    for close in difflib.get_close_matches(path.name, near, 1):
        return f"{missing}: did you mean {printable(near[close], 4096)}?"
    return f"{missing}: name a file, a folder, - for standard input, or one of {', '.join(SHIPPED)}"


def name_of(path: Path) -> str:
    """The name of a file in messages; - and the copy of a pipe are standard input."""
    if str(path) == "-":
        return STDIN
    if path.suffix == ".spool":
        return PYTHON if path.name.startswith("python-") else STDIN
    return str(path)


def names_of(paths: Iterable[Path]) -> str:
    """The names of files in messages."""
    return ", ".join(map(name_of, paths))


def finite(path: Path) -> Path:
    """A path, unless it is that of a device, which may have no end: InputError."""
    if path.is_char_device() or path.is_block_device():
        raise InputError(f"{path} is a device: name a file, or - for standard input")
    return path


def standard_input() -> BinaryIO:
    """Standard input. Raises InputError for a terminal, or where it is closed."""
    if sys.stdin is None or sys.stdin.buffer.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        raise InputError(f"standard input is {what}: pipe a text into it, or name a file")
    with contextlib.suppress(OSError):  # without waiting, a slow writer would look like the end
        os.set_blocking(sys.stdin.buffer.fileno(), True)
    return sys.stdin.buffer


def spooled(blocks: BinaryIO | Iterable[bytes], name: str, suffix: str = SPOOL) -> Path:
    """Copy a pipe, or blocks of bytes, into a file of the cache that is removed when the program ends."""
    handle, copy = tempfile.mkstemp(prefix=f"{name}-", suffix=suffix, dir=cache.folder("corpora"))
    atexit.register(cache.remove, Path(copy))
    with os.fdopen(handle, "wb") as file:
        file.writelines(iter(lambda: blocks.read(COPIED), b"") if hasattr(blocks, "read") else blocks)
    return Path(copy)


def shipped(name: str) -> Path:
    """The file of a corpus that ships; the Python reference is written into the cache. Raises InputError for another name."""
    if name not in SHIPPED:
        raise InputError(f"there is no corpus {name!r}: choose from {', '.join(SHIPPED)}")
    if name != "python-reference":
        table = CORPORA / f"{name}.tsv"
        return table if table.exists() else CORPORA / f"{name}.txt"
    path = cache.folder("corpora") / f"{name}-{platform.python_version()}.txt"
    if not path.exists():
        try:
            from pydoc_data.topics import topics
        except ImportError:
            raise InputError("this Python lacks its reference pages (pydoc_data): install the full standard library") from None
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text("\n\n".join(topics[topic].strip() for topic in sorted(topics)) + "\n", "utf-8")
        part.replace(path)
    return path


def listing() -> list[dict[str, Any]]:
    """Name, bytes and a description of each corpus that ships."""
    return [{"name": name, "bytes": shipped(name).stat().st_size, "about": about} for name, about in SHIPPED.items()]
