"""Texts in tables: a column of CSV, TSV, parquet or Arrow files, or a field of JSON Lines, row by row.

A column has a name, which the header of the table has, too, or a number from 1, and then the first row is one of texts.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lmgen.data import formats
from lmgen.data.finding import name_of, opened
from lmgen.errors import InputError
from lmgen.options.kinds import did_you_mean, quoted

DELIMITERS = ",;\t"
SHORT, LONGEST_CELL = 1 << 17, 1 << 27  # the most characters of a cell: of an example, and of a text to be cut into sequences
ROWS = 64  # of a parquet file that are read at a time
SHOWN = 10  # columns named in a message
_SUFFIXES = {".csv": ",;\t", ".tsv": "\t,;"}  # and the delimiters, the usual one first


def wrong(path: Path, line: int, what: str) -> InputError:
    """The error for a line of a file."""
    return InputError(f"{name_of(path)}, line {line:,}: {what}")


def delimiter_of(header: str) -> str:
    """The delimiter of a table."""
    return max(DELIMITERS, key=re.sub('"[^"]*"', "", header).count)


def table(path: Path, lines: Iterable[str], longest: int = SHORT) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, each with the number of its first line; quotes mean nothing where TABs separate.

    Raises InputError for a row that is no CSV.
    """
    lines = iter(lines)
    header = next(lines, "")
    csv.field_size_limit(longest)  # of all readers
    rows = _reader((f"{line}\n" for line in chain([header], lines)), delimiter_of(header))
    begins = 1
    try:
        for row in rows:
            if row:
                yield begins, row
            begins = rows.line_num + 1
    except csv.Error as error:
        raise unreadable(path, begins, error) from None


def record(text: str, delimiter: str) -> list[str]:
    """One row of a table. Raises csv.Error for a text that is none."""
    csv.field_size_limit(SHORT)  # of all readers
    return next(_reader([f"{line}\n" for line in text.split("\n")], delimiter), [])


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)


def unreadable(path: Path, line: int, error: csv.Error) -> InputError:
    """The error for a row that is no CSV."""
    return wrong(path, line, f"no row of a table ({error}): close every quote, and double those within a text")


def is_json(line: str) -> bool:
    """Whether a file with this first line that is not blank is JSON Lines."""
    return line.lstrip().startswith("{")


def texts(path: Path, lines: Iterable[str], column: str | int) -> Iterator[str | None]:
    """The texts in a column of a table, by the lines of that: None for a row without a text.

    Raises InputError, with its line, for a row that is not one of the table.
    """
    blank: list[str] = []
    lines = iter(lines)
    for first in lines:
        if first.strip():
            yield from (_fields if is_json(first) else _cells)(path, chain(blank, [first], lines), column)
        blank.append(first)


def _fields(path: Path, lines: Iterable[str], field: str | int) -> Iterator[str | None]:
    """The values of a field of JSON Lines."""
    known = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise wrong(path, number, "not a JSON object: write one a line")
        if not (known or field in record):
            raise _missing(path, field, record, "field")
        known, value = True, record.get(field)
        if not isinstance(value, str | None):
            raise wrong(path, number, f"{field} is {quoted(value)}, not a text: give another field")
        yield value or None


def _cells(path: Path, lines: Iterable[str], column: str | int) -> Iterator[str | None]:
    """The cells of a column of CSV or TSV."""
    width = place = 0
    for number, row in table(path, lines, LONGEST_CELL):
        if not width:
            width = len(row)
            header = [cell.strip() for cell in row] if isinstance(column, str) else [*range(1, width + 1)]
            if column not in header:
                raise _missing(path, column, header)
            place = header.index(column)
            if isinstance(column, str):
                continue
        if len(row) != width:
            raise wrong(path, number, f"{len(row)} columns where the first row has {width}: quote texts with delimiters")
        yield row[place] or None


def _missing(path: Path, column: str | int, has: Iterable[Any], noun: str = "column") -> InputError:
    """The error for a column that a table does not have."""
    names = [*has]
    way = did_you_mean(column, names) or f": it has {_listed(names)}"
    return InputError(f"{name_of(path)} has no {noun} {quoted(column)}{way}")


def has_column(path: Path, column: str | int) -> bool:
    """Whether a file is a table with this column; where it has a number, by the name of the file."""
    head = _head(path)
    if formats.is_table(head):
        return True
    if isinstance(column, int):
        return bool(_delimiters(path))
    first = next(filter(str.strip, _decoded(head).splitlines()), "")
    try:
        return column in (json.loads(first) if is_json(first) else next(csv.reader([first], delimiter=delimiter_of(first)), []))
    except (ValueError, RecursionError, csv.Error):
        return False


def hint(path: Path) -> str:
    """For a file of records, a sentence with the option that reads one field of them alone; nothing for other files.

    JSON Lines are recognised by their first line, CSV and TSV by the suffix. The field is "text", or the longest.
    """
    if path.suffix == ".spool":  # it came from a pipe, or from Python
        return ""
    head = _decoded(_head(path))
    first, delimiters = head.partition("\n")[0], _delimiters(path)
    delimiter = max(delimiters, key=re.sub('"[^"]*"', "", first).count, default="")
    try:
        record = json.loads(first) if is_json(first) and not delimiter else {}
        if delimiter:
            names, values, *_ = csv.reader(head.splitlines(keepends=True), delimiter=delimiter)
            record = dict(zip(names, values, strict=False)) if len(names) > 1 else {}  # one column is no table
    except (ValueError, RecursionError, csv.Error):
        return ""
    if not (record := {name: value for name, value in record.items() if name and isinstance(value, str)}):
        return ""
    field = "text" if "text" in record else max(record, key=lambda name: len(record[name]))
    kind, noun = ("a table", "column") if delimiter else ("JSON Lines", "field")
    way = f"for its {noun} {field!r} alone add --{noun} {shlex.quote(field)}"
    if delimiter != "\t" or len(names) > 2:  # a label, a TAB and a text need no names
        way = f"to learn labels name two {noun}s text and label; {way}"
    return f"{path} looks like {kind} and is read as it is: {way}"


def _delimiters(path: Path) -> str:
    """The delimiters that the name of a file promises, which may be compressed."""
    return next((_SUFFIXES[suffix] for one in path.suffixes[-2:] if (suffix := one.lower()) in _SUFFIXES), "")


def _head(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(formats.HEAD)


def _decoded(head: bytes) -> str:
    return head.decode("utf-8-sig", "replace")


# ---- parquet and Arrow ----------------------------------------------------------------------------------------------------


def binary_texts(path: Path, column: str | int | None) -> Iterator[str | None]:
    """The texts in a column of a parquet or Arrow file: None for a row without a text.

    A few rows are in memory at a time. Raises InputError where the file is damaged, has no such column, or pyarrow is missing.
    """
    try:
        import pyarrow
    except ImportError:
        raise InputError(f"{name_of(path)} needs pyarrow, which is not installed: pip install 'lmgen[table]'") from None
    try:
        with open(path, "rb") as file:
            batches = _parquet if file.read(len(formats.PARQUET)) == formats.PARQUET else _arrow
        yield from (cell.as_py() or None for cells in batches(path, column) for cell in cells)
    except MemoryError:
        raise InputError(f"{name_of(path)} has rows that do not fit into memory: write it anew with smaller ones") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{name_of(path)} is damaged ({reason}): copy it again") from None


def _parquet(path: Path, column: str | int | None) -> Iterator[Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        wanted = _named(path, column, file.schema_arrow)
    with parquet.ParquetFile(path, read_dictionary=[wanted]) as file:  # a text that comes often is in memory once
        for batch in file.iter_batches(ROWS, columns=[wanted], use_threads=False):
            yield batch.column(0)


def _arrow(path: Path, column: str | int | None) -> Iterator[Any]:
    from pyarrow import ipc, memory_map

    with memory_map(str(path)) as source:
        is_file = source.read(len(formats.ARROW)) == formats.ARROW
        source.seek(0)
        with (ipc.open_file if is_file else ipc.open_stream)(source) as reader:
            place = reader.schema.get_field_index(_named(path, column, reader.schema))
            for batch in map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader:
                yield batch.column(place)


def _named(path: Path, column: str | int | None, schema: Any) -> str:
    """The name of a column of text. Raises InputError where it is not one."""
    from pyarrow import types

    def is_text(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)

    name = schema.names[column - 1] if isinstance(column, int) and column <= len(schema.names) else column
    of_text = _listed([field.name for field in schema if is_text(field.type)])
    if name is None:
        raise InputError(f"{name_of(path)} is a table: name the column of its text with --column: {of_text}")
    if not isinstance(name, str) or schema.names.count(name) != 1:
        raise _missing(path, name, schema.names)
    if not is_text(kind := schema.field(name).type):
        raise InputError(f"column {name} of {name_of(path)} holds {kind}, not text: give another --column: {of_text}")
    return name


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names[:SHOWN])) + " …" * (len(names) > SHOWN) or "none"
