"""The text that Python code passes: names of files, open files, strings, or tables of strings."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from lmgen.data import finding, reading
from lmgen.data.sources import packed
from lmgen.errors import InputError
from lmgen.options.kinds import quoted

BATCH = 1_000  # rows of a Dataset that are read at a time
SUFFIXES = (  # of names of text files
    *(".txt", ".text", ".md", ".tsv", ".csv", ".json", ".jsonl", ".conll", ".conllu", ".bio", ".log"),
    *(".parquet", ".arrow", *packed.SUFFIXES),
)


def files(given: Iterable[Any], options: Mapping[str, Any], records: bool = False) -> list[str]:
    """The names of the files of a text, read with these options.

    Each part of it is the name of a file, an open file, or strings, each of which is a sequence; `are_names` says which lists are
    names. Of a table (a DataFrame, a Dataset of Hugging Face, a table of Arrow, dicts) the strings are those of the column
    `field`; it is recognised by its methods, and streamed. Without a `field`, and where `records` are wanted, its rows become
    lines of JSON, and tuples of two strings lines of TSV, so that what belongs to a text is seen as in a file. Open files,
    strings and rows are copied into the cache. Raises InputError for anything else.
    """
    found: list[str] = []
    named = options.get("column")
    column = named if isinstance(named, str) else options.get("field")
    for one in given:
        if isinstance(one, str | os.PathLike):
            found.append(_named(one))
        elif hasattr(one, "read"):
            found.append(_copied(_blocks(one), options["encoding"]))
        elif are_names(one):
            found += files(one, options)
        elif isinstance(one, Iterable) and not isinstance(one, bytes | bytearray | memoryview):
            found.append(_held(one, column, options, records))
        else:
            raise InputError(f"{quoted(one)} is not a text: give the name of a file, an open file, or strings")
    return found


def are_names(given: Any) -> bool:
    """Whether a list names files: each of its items is a path or an open file, or a string that names a file, a folder or a
    corpus that ships, or ends as names of text files do."""
    return isinstance(given, list | tuple) and bool(given) and all(map(_is_name, given))


def _is_name(one: Any) -> bool:
    if not isinstance(one, str):
        return isinstance(one, os.PathLike) or hasattr(one, "read")
    return one in finding.SHIPPED or os.path.exists(one) or one.lower().endswith(SUFFIXES)


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


def _held(given: Iterable[Any], column: str | int | None, options: Mapping[str, Any], records: bool) -> str:
    """The name of a file of the cache that holds the strings of an iterable or, where they are wanted, its rows."""
    wanted = records and column is None
    rows = _rows(given) if wanted else _cells(given, column)
    head = [*islice(rows, 1)]
    rows = chain(head, rows)
    if wanted and any(map(_is_row, head)):
        return _copied(map(_line, count(1), rows), options["encoding"], finding.RECORDS)
    return _strings(rows, options["sequence"], options["encoding"])


def _columns(table: Iterable[Any]) -> list[Any] | None:
    """The columns of a table; None for anything else that is iterable. Raises InputError for a dict of tables or of texts."""
    names = getattr(table, "column_names", None)
    names = getattr(table, "columns", None) if names is None else names
    if isinstance(table, Mapping) and names is None:
        raise InputError(f"a dict of {_some(table)} is not a text: give one of its values, or strings in a list")
    if isinstance(table, Mapping):  # the parts of a Dataset
        raise InputError(f"the dataset has the parts {_some(table)}: give one, as in data[{next(iter(table))!r}]")
    return None if names is None or callable(names) else [*names]


def _rows(table: Iterable[Any]) -> Iterator[Any]:
    """The rows of a table, each a dict, or what is in anything else that is iterable."""
    if (names := _columns(table)) is None:
        yield from table
    elif callable(batches := getattr(table, "iter", None)):  # a Dataset, whose rows are on a disk or on their way
        for batch in batches(BATCH):
            yield from (dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True))
    else:
        columns = (table[name] for name in names)  # type: ignore[index]
        yield from (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _is_row(one: Any) -> bool:
    return isinstance(one, Mapping) or (isinstance(one, tuple | list) and len(one) == 2)


def _line(number: int, row: Any) -> str:
    """A row as a line: a dict as JSON, tokens with their tags, too, and two texts with a TAB between them."""
    if isinstance(row, Mapping):
        return json.dumps({str(name): value for name, value in row.items()}, default=_plain) + "\n"
    both = [str(part) if isinstance(part, int) else part for part in row] if _is_row(row) else []
    if both and all(isinstance(part, tuple | list) for part in both):
        return json.dumps(dict(zip(("tokens", "tags"), both, strict=True)), default=_plain) + "\n"
    if not both or not all(isinstance(part, str) for part in both):
        raise InputError(f"row {number:,} is {quoted(row)}: give two texts, tokens and tags, or a dict")
    if any(mark in part for part in both for mark in "\t\n\r"):
        raise InputError(f"row {number:,} has a TAB or a line end in it: give dicts, with source and target, or text and label")
    return "\t".join(both) + "\n"


def _plain(value: Any) -> Any:
    """A value of another library in JSON."""
    return value.as_py() if hasattr(value, "as_py") else value.tolist() if hasattr(value, "tolist") else str(value)


def unseen(path: Path) -> InputError:
    """The error for a file of rows in which nothing to learn was recognised."""
    with finding.opened(path) as file:
        line = file.readline()
    names = _some(json.loads(line)) if line.startswith(b"{") else ""
    if not names:
        return InputError("the rows could be texts with labels, or pairs: say task='classify' or 'translate', or give dicts")
    way = f"name the field of the text, as in field={names.split(', ')[0]!r}"
    return InputError(
        f"a row has {names}, of which nothing to learn is recognised: {way}, or rename fields, as to text and label"
    )


def _cells(table: Iterable[Any], column: str | int | None) -> Iterator[Any]:
    """What is in a column of a table, or in anything else that is iterable. Raises InputError where there is no such column."""
    if (names := _columns(table)) is None:
        yield from (_cell(one, column) if isinstance(one, Mapping) else one for one in table)
        return
    if column not in names:
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
        return _copied(parts, encoding, finding.STRINGS)
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
