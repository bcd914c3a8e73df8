"""Files that are not plain text: their kind, by their content, and the command that makes text of them."""

from __future__ import annotations

import codecs
import csv
import json
import re
import shlex
from pathlib import Path

HEAD = 1 << 16  # bytes at the beginning of a file that decide

# The first bytes of the files of a kind, its name, and the command that writes their text, if there is one.
MAGIC: dict[bytes, tuple[str, str]] = {
    b"\x1f\x8b": ("gzip", "zcat {}"),
    b"PK\x03\x04\x14\x00\x06\x00": ("a document of Office", ""),
    b"PK\x03\x04": ("a zip archive", "unzip -p {}"),
    b"%PDF": ("a PDF", "pdftotext {} -"),
    b"PAR1\x15": ("parquet", ""),
    b"BZh91AY&SY": ("bzip2", "bzcat {}"),
    b"\xfd7zXZ": ("xz", "xzcat {}"),
    b"\x28\xb5\x2f\xfd": ("zstandard", "zstdcat {}"),
}
BYTE_ORDER_MARKS = {  # the longer ones first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_READ = "import {module}, sys; sys.stdin.reconfigure(encoding='utf-8-sig'); "  # programs of other systems begin files with a mark
_JSON = _READ.format(module="json") + "[print(json.loads(line)[{field}]) for line in sys.stdin]"
_CSV = _READ.format(module="csv") + "[print(row[{field}]) for row in csv.DictReader(sys.stdin, delimiter={delimiter})]"
_DELIMITERS = {".csv": ",;\t", ".tsv": "\t,;"}  # the usual one first


def refusal(start: bytes, name: str | None) -> str:
    """The kind of a file with this beginning, and the way out, or nothing where it may be text; `name` is None for stdin."""
    for magic, (kind, command) in MAGIC.items():
        if start.startswith(magic):
            way = "save its text as a text file first"
            if command:
                pipe = command.format(shlex.quote(name or ""))
                way = f"pipe it, as in {pipe} | lmgen train -" if name else "name its file, for a command that makes text of it"
            return f"looks like {kind}, not like text: {way}"
    return ""


def is_binary(path: Path) -> bool:
    """Whether a file is binary, by its beginning. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        start = file.read(HEAD)
    return bool(refusal(start, "")) or (b"\0" in start and not start.startswith(tuple(BYTE_ORDER_MARKS)))


def hint(path: Path) -> str:
    """For a file of records, a sentence with the command that extracts the field of its text; nothing for other files.

    JSON Lines are recognised by their first line, CSV and TSV by the suffix. The field is "text", or the longest.
    """
    if path.suffix == ".spool":  # a pipe has been read by now
        return ""
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            head = file.read(HEAD)
        first = head.partition("\n")[0]
        delimiter = max(_DELIMITERS.get(path.suffix.lower(), ""), key=re.sub('"[^"]*"', "", first).count, default="")
        record = json.loads(first) if first.startswith("{") and not delimiter else {}
        if delimiter:
            names, values, *_ = csv.reader(head.splitlines(keepends=True), delimiter=delimiter)
            record = dict(zip(names, values, strict=False)) if len(names) > 1 else {}  # one column is no table
    except (OSError, ValueError, RecursionError, csv.Error):
        return ""
    record = {name: value for name, value in record.items() if isinstance(value, str)}
    if not record:
        return ""
    field = "text" if "text" in record else max(record, key=lambda name: len(record[name]))
    program = (_CSV if delimiter else _JSON).format(field=json.dumps(field, ensure_ascii=False), delimiter=json.dumps(delimiter))
    kind = path.suffix[1:].upper() if delimiter else "JSON Lines"
    command = f"python3 -c {shlex.quote(program)} < {shlex.quote(str(path))} | lmgen train -"
    return f"{path} looks like {kind} and is read as it is; for its field {field!r} alone: {command}"
