"""The text that Python code passes: names of files, open files, or strings."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lmgen.data import finding, reading
from lmgen.errors import InputError
from lmgen.options.kinds import quoted


def files(given: Iterable[Any], options: Mapping[str, Any]) -> list[str]:
    """The names of the files of a text, read with these options.

    Each part of it is the name of a file, an open file, or strings, each of which is a sequence. A list is one of names if its
    first string names a file or looks like the name of one. Open files and strings are copied into the cache. Raises InputError
    for anything else.
    """
    found: list[str] = []
    for one in given:
        if isinstance(one, str | os.PathLike):
            found.append(_named(one))
        elif hasattr(one, "read"):
            found.append(_copied(_blocks(one), options["encoding"]))
        elif isinstance(one, list | tuple) and one and is_name(one[0]):
            found += files(one, options)
        elif isinstance(one, Iterable) and not isinstance(one, bytes | bytearray | memoryview):
            sequences = _sequences(one, options["sequence"])
            parts = ([part] for part in sequences) if options["sequence"] == "file" else [sequences]
            found += [_copied(part, options["encoding"]) for part in parts]
        else:
            raise InputError(f"{quoted(one)} is not a text: give the name of a file, an open file, or strings")
    return found


def is_name(first: Any) -> bool:
    """Whether a list with this first item is a list of files."""
    if not isinstance(first, str):
        return isinstance(first, os.PathLike) or hasattr(first, "read")
    return os.path.exists(first) or first in finding.SHIPPED or bool(re.fullmatch(r"\S*(?:\w\.\w{1,5}|/)", first))


def _named(name: str | os.PathLike) -> str:
    """The name of a file. Raises InputError for a string that is itself a text."""
    path = os.fspath(name)
    if not isinstance(path, str):
        raise InputError(f"{quoted(name)} is not a text: give the name of a file as a string")
    if isinstance(name, str) and len(path.splitlines()) > 1:
        raise InputError("a string names a file, and this one is itself a text: give its lines, text.splitlines()")
    if not path:
        raise InputError("'' names no file: give a name, or strings in a list")
    if " " in path and not os.path.lexists(path):
        try:
            finding.find([path])
        except InputError as error:
            raise InputError(f"{error}; to train on the string itself give it in a list") from None
    return path


def _blocks(file: Any) -> Iterator[str | bytes]:
    """The rest of an open file, of text or of bytes."""
    with finding.readable(quoted(file)):  # closed, not for reading, not of this encoding
        while block := file.read(reading.BLOCK):
            yield block


def _sequences(strings: Iterable[Any], sequence: str) -> Iterator[str]:
    """Strings with the line ends that make each a sequence of a file. Raises InputError for one that would be several."""
    boundary = reading.SEQUENCES[sequence]
    for number, one in enumerate(strings, 1):
        if not isinstance(one, str):
            raise InputError(f"the text holds {quoted(one)}: give strings, each of which is a sequence")
        if boundary and boundary.search(one.removesuffix("\n")):
            way_out = "sequence='paragraph', or its lines" if sequence == "line" else "sequence='file', or its paragraphs"
            raise InputError(f"string {number:,} is more than one {sequence}, and each must be a sequence: give {way_out}")
        yield one.removesuffix("\n") + reading.BETWEEN[sequence] if boundary else one


def _copied(parts: Iterable[str | bytes], encoding: str) -> str:
    """The name of a file of the cache that holds these parts."""
    encoder = codecs.getincrementalencoder(reading.known_encoding(encoding))()
    try:
        return str(finding.spooled((part if isinstance(part, bytes) else encoder.encode(part) for part in parts), "python"))
    except UnicodeEncodeError as error:
        bad = error.object[error.start]
        raise InputError(f"{bad!r} of the text cannot be encoded as {encoding}: leave it out, or give another encoding") from None
