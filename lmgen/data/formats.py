"""Files that are not plain text: their kind, by their content, and the command that makes text of them."""

from __future__ import annotations

import codecs
import re
import shlex
from pathlib import Path

from lmgen.data.sources.packed import PACKINGS, Packing, packing_of

HEAD = 1 << 16  # bytes at the beginning of a file that decide
HTML = "HTML"
PARQUET, ARROW = b"PAR1", b"ARROW1\0\0"
_ARROW_STREAM = re.compile(rb"\xff{4}[\x08-\xf8]..\0", re.DOTALL)  # the length of a message

# The first bytes of the files of a kind, its name, and the command that writes their text, if there is one.
MAGIC: dict[bytes, tuple[str, str]] = {
    **{magic: (packing.name, f"{packing.tool} {{}}") for magic, packing in PACKINGS.items()},
    b"PK\x03\x04\x14\x00\x06\x00": ("a document of Office", "pandoc -t plain {}"),
    b"PK\x03\x04": ("a zip archive", "unzip -p {}"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z e -so {}"),
    b"Rar!\x1a\x07": ("a RAR archive", "unrar p -inul {}"),
    b"%PDF": ("a PDF", "pdftotext {} -"),
    b"%!PS": ("PostScript", "ps2ascii {}"),
    b"{\\rtf": ("RTF", "pandoc -f rtf -t plain {}"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old document of Office", "catdoc {}"),
    b"AT&TFORM": ("DjVu", "djvutxt {}"),
    b"\x89PNG\r\n": ("a picture", "tesseract {} -"),
    b"\xff\xd8\xff": ("a picture", "tesseract {} -"),
    b"SQLite format 3\x00": ("a database of SQLite", "sqlite3 {} 'SELECT text FROM texts'"),
    PARQUET: ("parquet", ""),
}
# Kinds that more than the first bytes tell, in the same way.
_SIGNS: dict[re.Pattern[bytes], tuple[str, str]] = {
    re.compile(pattern, re.DOTALL | re.IGNORECASE): kind
    for pattern, kind in {
        rb"PK\x03\x04.{26}mimetypeapplication/epub": ("an EPUB", "pandoc -t plain {}"),
        rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis": ("an OpenDocument", "pandoc -t plain {}"),
        rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|word/|docProps/)": ("a document of Office", "pandoc -t plain {}"),
        rb".{257}ustar": ("a tar archive", "tar -xOf {}"),
        rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.{0,4000}?-->\s*)?<(!doctype\s+html|html[\s>])": (
            HTML,
            "pandoc -f html -t plain {}",
        ),
    }.items()
}
BYTE_ORDER_MARKS = {  # the longer ones first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def kind_of(start: bytes) -> tuple[str, str]:
    """The kind of a file with this beginning that is not plain text, and the command that writes its text; empty where it may be
    text."""
    signs = (kind for sign, kind in _SIGNS.items() if sign.match(start))
    return next(signs, None) or next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), ("", ""))


def refusal(start: bytes, name: str | None, packing: Packing | None = None) -> str:
    """What a file with this beginning is, and the way out, or nothing where it may be text; `name` is None for stdin. What was
    unpacked from a `packing` is unpacked once."""
    kind, command = kind_of(start)
    if not kind:
        return ""
    looks = f"looks like {kind}{f' within {packing.name}' if packing else ''}, not like text"
    if name is None:
        return f"{looks}: name its file, for a command that makes text of it"
    if not command:
        return f"{looks}: save its text as a text file first"
    if packing is None:
        return f"{looks}: pipe it, as in {command.format(shlex.quote(name))} | lmgen train -"
    if packing_of(start):
        return f"{looks}: pipe it, as in {packing.tool} {shlex.quote(name)} | lmgen train -"
    inner = shlex.quote(Path(name).stem)
    return f"{looks}: unpack it, as in {packing.tool} {shlex.quote(name)} > {inner}; {command.format(inner)} | lmgen train -"


def is_table(start: bytes) -> bool:
    """Whether a file with this beginning is a table of parquet or Arrow."""
    return start.startswith((PARQUET, ARROW)) or bool(_ARROW_STREAM.match(start))


def is_binary(start: bytes) -> bool:
    """Whether an unpacked file with this beginning has no text at all."""
    if is_table(start) or kind_of(start)[0] == HTML:
        return False
    return bool(kind_of(start)[0]) or (b"\0" in start and not start.startswith(tuple(BYTE_ORDER_MARKS)))
