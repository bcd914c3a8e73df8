"""The text that Python code passes: names of files, open files, strings, or tables of strings."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lmgen.data import finding, reading
from lmgen.errors import InputError
from lmgen.options.kinds import quoted

BATCH = 1_000  # rows of a Dataset that are read at a time


def files(given: Iterable[Any], options: Mapping[str, Any]) -> list[str]:
    """The names of the files of a text, read with these options.

    Each part of it is the name of a file, an open file, or strings, each of which is a sequence. A list is one of names if its
    first string names a file or looks like the name of one. Of a table (a DataFrame, a Dataset of Hugging Face, a table of Arrow,
    dicts) the strings are those of the column `field`; it is recognised by its methods, and streamed. Open files and strings are
    copied into the cache. Raises InputError for anything else.
    """
    found: list[str] = []
    named = options.get("column")
    column = named if isinstance(named, str) else options.get("field")
    for one in given:
        if isinstance(one, str | os.PathLike):
            found.append(_named(one))
        elif hasattr(one, "read"):
            found.append(_copied(_blocks(one), options["encoding"]))
        elif isinstance(one, list | tuple) and one and is_name(one[0]):
            found += files(one, options)
        elif isinstance(one, Iterable) and not isinstance(one, bytes | bytearray | memoryview):
            found.append(_strings(_cells(one, column), options["sequence"], options["encoding"]))
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


def _cells(table: Iterable[Any], column: str | int | None) -> Iterator[Any]:
    """What is in a column of a table, or in anything else that is iterable. Raises InputError where there is no such column."""
    names = getattr(table, "column_names", None)
    names = getattr(table, "columns", None) if names is None else names
    if isinstance(table, Mapping) and names is None:
        raise InputError(f"a dict of {_some(table)} is not a text: give one of its values, or strings in a list")
    if isinstance(table, Mapping):  # the parts of a Dataset
        raise InputError(f"the dataset has the parts {_some(table)}: give one, as in data[{next(iter(table))!r}]")
    if names is None or callable(names):
        yield from (_cell(one, column) if isinstance(one, Mapping) else one for one in table)
        return
    if column not in [*names]:
        missing = "" if column is None else f" and no {column!r}"
        way = f"name the column of its text, as in field={str(next(iter(names), 'text'))!r}"
        raise InputError(f"the table has the columns {_some(names)}{missing}: {way}")
    if callable(batches := getattr(table, "iter", None)):  # a Dataset, whose rows are on a disk or on their way
        yield from (one for batch in batches(BATCH) for one in batch[column])
    else:
        yield from table[column]  # type: ignore[index]


def _cell(row: Mapping[Any, Any], column: str | int | None) -> Any:
    if column not in row:
        raise InputError(f"a row has {_some(row)}: name the field of its text, as in field={next(iter(row), 'text')!r}")
    return row[column]


def _some(names: Iterable[Any]) -> str:
    found = [*map(str, names)]
    return ", ".join(found[:10]) + " …" * (len(found) > 10)


def _strings(strings: Iterable[Any], sequence: str, encoding: str) -> str:
    """The name of a file of the cache with strings, each a sequence."""
    parts = _sequences(strings, sequence)
    if sequence != "file":
        return _copied(parts, encoding)
    return _copied((json.dumps({finding.FIELD: part}) + "\n" for part in parts), encoding, finding.ROWS)


def _sequences(strings: Iterable[Any], sequence: str) -> Iterator[str]:
    """Strings with the line ends that make each a sequence of a file. Raises InputError for one that would be several."""
    boundary = reading.SEQUENCES[sequence]
    for number, one in enumerate(strings, 1):
        one = one.as_py() if hasattr(one, "as_py") else one  # a value of Arrow
        if not isinstance(one, str):
            missing = one is None or one != one or type(one).__name__ in ("NAType", "NaTType")
            way = "leave out the rows without a text" if missing else "give strings, each of which is a sequence"
            raise InputError(f"the text holds {quoted(one)} as string {number:,}: {way}")
        if boundary and boundary.search(one.removesuffix("\n")):
            way_out = "sequence='paragraph', or its lines" if sequence == "line" else "sequence='file', or its paragraphs"
            raise InputError(f"string {number:,} is more than one {sequence}, and each must be a sequence: give {way_out}")
        yield one.removesuffix("\n") + reading.BETWEEN[sequence] if boundary else one


def _copied(parts: Iterable[str | bytes], encoding: str, suffix: str = finding.SPOOL) -> str:
    """The name of a file of the cache that holds these parts."""
    encoder = codecs.getincrementalencoder(reading.known_encoding(encoding).replace(reading.AUTO, "utf-8"))()
    try:
        return str(
            finding.spooled((part if isinstance(part, bytes) else encoder.encode(part) for part in parts), "python", suffix)
        )
    except UnicodeEncodeError as error:
        bad = error.object[error.start]
        raise InputError(f"{bad!r} of the text cannot be encoded as {encoding}: leave it out, or give another encoding") from None
