"""Bytes to sequences: files and pipes are read in blocks, decoded, checked and cut, and never held whole.

A sequence ends with an EOS: a line, a paragraph or a file. It comes as one piece, or as several if it is very long.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lmgen.data import formats
from lmgen.data.finding import FIELD, ROWS, STDIN, STRINGS, find, name_of, readable, regular, standard_input
from lmgen.data.sources import encodings, tables
from lmgen.data.sources.packed import Packing, unpacked
from lmgen.data.writing.normalization import AS_IT_IS, Normalization
from lmgen.errors import InputError

AUTO = "auto"  # the encoding that a byte-order mark names, or UTF-8
BLOCK = 1 << 20  # bytes read at a time, and characters of a sequence after which it comes in pieces

# The end of a sequence. A paragraph ends with one blank line or more.
SEQUENCES: dict[str, re.Pattern[str] | None] = {
    "line": re.compile("\n"),
    "paragraph": re.compile("\n(?:[ \t]*\n)+"),
    "file": None,
}
BETWEEN = {"line": "\n", "paragraph": "\n\n", "file": ""}  # what is usually written between two sequences

_STARTS = (*formats.MAGIC, *formats.BYTE_ORDER_MARKS, codecs.BOM_UTF8)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1b")) + b"\x7f"


class Piece(NamedTuple):
    """A sequence or a part of one: its text, whether a sequence begins and ends with it, and the number of line ends after it."""

    text: str
    begins: bool
    ends: bool
    gap: int


PAUSE = Piece("", False, False, 0)  # comes from a pipe before each wait for more


@dataclass(eq=False)
class Text:
    """The pieces of some files, to be iterated over as often as needed; those of a `pipe` (see `once`) only once.

    After a whole pass, `notes` has sentences on the text (a byte-order mark, blank lines), `sha256` is the fingerprint of the
    unpacked bytes (of several files, of their fingerprints), `size` their number, and `line_ends` counts those of each kind. Of a
    text that was read in parts `parts` are these, each with the number of characters before it. With `keep_blank` (for running
    text) an empty line is an empty sequence; without, it is passed over. A compressed file is unpacked. With a `column` each file
    is a table, and the cells of that column are its text: its lines, or each a sequence that is a file. Every sequence is read in
    the form of `normal`. Raises InputError for a file that is not text.
    """

    paths: Sequence[Path]
    sequence: str = "line"
    keep_blank: bool = False
    encoding: str = "utf-8"
    errors: str = "strict"
    pipe: BinaryIO | None = None
    column: str | int | None = None
    normal: Normalization = AS_IT_IS
    notes: dict[str, None] = field(default_factory=dict, init=False)
    sha256: str = field(default="", init=False)
    size: int = field(default=0, init=False)
    line_ends: Counter[str] = field(default_factory=Counter, init=False)
    parts: Sequence[tuple[Any, int]] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.encoding = known_encoding(self.encoding)

    def __iter__(self) -> Iterator[Piece]:
        self.line_ends, self.size = Counter(), 0
        digests, blank = [], 0
        for path in self.paths:
            fingerprint = hashlib.sha256()
            for piece in chain.from_iterable(_pieces(part, SEQUENCES[self.sequence]) for part in self._parts(path, fingerprint)):
                if piece.begins and piece.ends and not self.keep_blank and not piece.text.strip():
                    blank += self.sequence == "line"
                elif self.normal == AS_IT_IS or not piece.text:
                    yield piece
                else:
                    yield piece._replace(text=self.normal.of(piece.text))
            digests.append(fingerprint.hexdigest())
        if blank:
            self.notes[blank_lines(blank)] = None
        self.sha256 = combined(digests)

    @property
    def how(self) -> str:
        """How the bytes become pieces: texts with the same bytes that are read alike are equal."""
        table = f"-{self.column!r}" if self.column is not None else ""
        normal = f"-{self.normal}" if self.normal != AS_IT_IS else ""
        return f"{self.encoding}-{self.errors}-{self.sequence}-{self.keep_blank}{table}{normal}"

    def _parts(self, path: Path, fingerprint: hashlib._Hash) -> Iterator[Iterable[str]]:
        """The parts of a file that are cut into sequences, in blocks: the whole, or each row of a table if that is a sequence."""
        binary = not self.pipe and _is_table(path)
        column = FIELD if path.name.endswith(ROWS) else None if path.name.endswith(STRINGS) else self.column
        if binary:
            rows = self._of_binary(path, fingerprint)
        elif column is not None:
            rows = tables.texts(path, self._lines(path, fingerprint), column)
        else:
            yield self._blocks(path, fingerprint)
            return
        texts = self._written(path, rows)
        if self.sequence == "file":
            yield from ([text] for text in texts)
        else:
            yield (text.removesuffix("\n") + BETWEEN[self.sequence] for text in texts)

    def _written(self, path: Path, rows: Iterable[str | None]) -> Iterator[str]:
        """The texts of rows, without those that have none."""
        lacking = 0
        for text in rows:
            if text is None:
                lacking += 1
            else:
                yield text
        if lacking:
            self.notes[f"{name_of(path)}: passed over {lacking:,} row{'s' * (lacking > 1)} without a text"] = None

    def _of_binary(self, path: Path, fingerprint: hashlib._Hash) -> Iterator[str | None]:
        """The texts of a table of parquet or Arrow, whose fingerprint is that of the texts."""
        for text in tables.binary_texts(path, self.column):
            content = (text or "").encode("utf-8", "surrogatepass")
            fingerprint.update(b"%d " % len(content) + content)
            self.size += len(content)
            yield text

    def _lines(self, path: Path, fingerprint: hashlib._Hash) -> Iterator[str]:
        """The lines of a table. Raises InputError for one that is too long."""
        length, number = 0, 1

        def bounded() -> Iterator[Piece]:
            nonlocal length, number
            for piece in _pieces(self._blocks(path, fingerprint), SEQUENCES["line"]):
                length = len(piece.text) + length * (not piece.begins)
                if length > tables.LONGEST_CELL:
                    raise tables.wrong(path, number, f"longer than {tables.LONGEST_CELL:,} characters: this is no table of texts")
                number += piece.ends
                yield piece

        return whole(bounded())

    def _blocks(self, path: Path, fingerprint: hashlib._Hash) -> Iterator[str]:
        """The text of one file in blocks, with "\\n" for "\\r\\n" and without a byte-order mark; "" before each wait."""
        shown, crlf, position, line = name_of(path), 0, 0, 1
        with readable(path), self.pipe or regular(path) as given:
            before = None if self.pipe else os.fstat(given.fileno())
            if self.pipe:
                yield ""
            file, packing = unpacked(given, shown)
            read = partial(file.read1 if self.pipe else file.read, BLOCK)  # type: ignore[attr-defined]
            raw = read()
            while self.pipe and raw and any(start.startswith(raw) for start in _STARTS) and (more := read()):
                raw += more
            encoding = self._encoding_of(shown, raw, packing)
            decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(self.errors), translate=False)
            while True:
                fingerprint.update(raw)
                try:
                    text = decoder.decode(raw, final=not raw)
                except UnicodeDecodeError as error:
                    at = position - (len(error.object) - len(raw)) + error.start
                    line += error.object[: error.start].count(b"\n")
                    raise InputError(undecodable(path, encoding, at, line, error.object, error.start)) from None
                except UnicodeError as error:  # a missing byte-order mark, an encoding that decodes nothing
                    raise InputError(f"{shown} cannot be read as {encoding} ({error}): give another --encoding") from None
                if position == 0 and encoding == "utf-8" and text.startswith("\ufeff"):
                    self.notes[marked(shown)] = None
                    text = text[1:]
                line += raw.count(b"\n")
                position += len(raw)
                self.size += len(raw)
                both = text.count("\r\n")
                crlf += both
                self.line_ends += Counter({"CR LF": both, "LF": text.count("\n") - both, "CR": text.count("\r") - both})
                if text:
                    yield text.replace("\r\n", "\n")
                if not raw:
                    break
                if self.pipe:
                    yield ""
                raw = read()
            after = os.fstat(given.fileno()) if before else None
            if before and after and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise InputError(f"{path} changed while it was read: wait until it is written, then start again")
        if crlf:
            self.notes[windows_ends(shown, crlf)] = None

    def in_lines(self) -> bool:
        """Whether each line can be read by itself, wherever it begins: lines of UTF-8 in files, neither packed nor of a table.
        Raises as reading them does."""
        if self.pipe or self.sequence != "line" or self.column is not None or self.normal != AS_IT_IS:
            return False
        for path in self.paths:
            if path.name.endswith(ROWS) or _is_table(path):
                return False
            with readable(path), regular(path) as given:
                file, packing = unpacked(given, name_of(path))
                if packing or self._encoding_of(name_of(path), file.read(BLOCK), None) != "utf-8":
                    return False
        return True

    def _encoding_of(self, shown: str, start: bytes, packing: Packing | None) -> str:
        """The encoding, checked against the first block. Raises InputError for a binary file and another byte-order mark."""
        if refusal := formats.refusal(start, None if shown == STDIN else shown, packing):
            raise InputError(f"{shown} {refusal}")
        if self.encoding not in ("utf-8", "utf-8-sig", AUTO):
            return self.encoding
        for mark, name in formats.BYTE_ORDER_MARKS.items():
            if start.startswith(mark):
                if self.encoding == AUTO:
                    self.notes[f"{shown} is {name.upper()}, as its byte-order mark says"] = None
                    return name
                raise InputError(f"{shown} is {name.upper()}, not UTF-8, as its byte-order mark says: add --encoding {name}")
        if len(start.translate(None, _CONTROL)) < 0.7 * len(start):
            raise InputError(f"{shown} is mostly control characters, so it looks like a binary file: give a text file")
        return "utf-8"


def _is_table(path: Path) -> bool:
    with regular(path) as file:
        return formats.is_table(file.read(formats.HEAD))


def _pieces(blocks: Iterable[str], boundary: re.Pattern[str] | None) -> Iterator[Piece]:
    rest, begins = "", True
    paragraphs = boundary is SEQUENCES["paragraph"]
    nothing_yet = paragraphs
    for block in blocks:
        if not block:
            yield PAUSE
            continue
        rest += block
        start = 0
        if nothing_yet:  # blank lines before the first paragraph
            start = re.match("(?:[ \t]*\n)*", rest).end()  # type: ignore[union-attr]
            nothing_yet = not rest[start:].strip(" \t")
        text_ends = len(rest.rstrip(" \t\n")) if paragraphs else len(rest)  # the blank rest may go on in the next block
        for match in boundary.finditer(rest, start) if boundary else ():
            if match.start() >= text_ends:
                break
            yield Piece(rest[start : match.start()], begins, True, match.end() - match.start())
            start, begins = match.end(), True
        rest = rest[start:]
        while text_ends - start > BLOCK:
            cut = _cut(rest, 0, BLOCK)
            start += cut
            yield Piece(rest[:cut], begins, False, 0)
            rest, begins = rest[cut:], False
    if rest or not begins:
        text = rest if boundary is None else re.sub(r"\n(?:[ \t]*\n)*\Z", "", rest)
        yield Piece(text, begins, True, len(rest) - len(text))


def _cut(text: str, start: int, longest: int) -> int:
    """Where a part of a text of at most `longest` characters from `start` on ends: between words, where there are any."""
    space = text.rfind(" ", start + longest // 2, start + longest)
    return start + (len(text[start : space + 1].rstrip(" ")) or longest)


def in_parts(pieces: Iterable[Piece], longest: int) -> Iterator[Piece]:
    """The pieces of a text, none of more than `longest` characters."""
    for piece in pieces:
        text, start, begins = piece.text, 0, piece.begins
        while len(text) - start > longest:
            end = _cut(text, start, longest)
            yield Piece(text[start:end], begins, False, 0)
            start, begins = end, False
        yield piece._replace(text=text[start:], begins=begins) if start else piece


def once(
    name: str,
    sequence: str = "line",
    keep_blank: bool = False,
    encoding: str = "utf-8",
    errors: str = "strict",
    column: str | int | None = None,
) -> Text:
    """A text to iterate over once: a pipe is not copied but read as it comes, with a `PAUSE` before each wait for more.

    Raises InputError for a missing file.
    """
    pipe, paths = None, [Path(STDIN)]
    with readable(name):
        if name == "-":
            pipe = standard_input()
        elif Path(name).is_fifo():
            pipe, paths = open(name, "rb"), [Path(name)]  # noqa: SIM115
        else:
            paths = find([name])
    return Text(paths, sequence, keep_blank, encoding, errors, pipe, column)


def arriving(pieces: Iterable[Piece]) -> Iterator[str | None]:
    """The sequences of a text, each in one string, and None before each wait for more."""
    parts: list[str] = []
    for piece in pieces:
        if piece is PAUSE:
            yield None
            continue
        parts.append(piece.text)
        if piece.ends:
            yield "".join(parts)
            parts.clear()


def whole(pieces: Iterable[Piece]) -> Iterator[str]:
    """The sequences of a text, each in one string."""
    return (sequence for sequence in arriving(pieces) if sequence is not None)


def blank_lines(number: int) -> str:
    """The note on blank lines that were left out."""
    return f"passed over {number:,} blank line{'s' * (number > 1)}"


def marked(shown: str) -> str:
    """The note on a byte-order mark."""
    return f"{shown}: the byte-order mark at its start was dropped"


def windows_ends(shown: str, number: int) -> str:
    """The note on line ends of Windows."""
    return f"{shown}: {number:,} line ends of Windows (CR LF) were read as line ends"


def undecodable(path: Path, encoding: str, at: int, line: int, content: bytes, start: int) -> str:
    """The sentence on bytes of a file that its encoding does not have: their place in it, and in some of its content."""
    found = content[start : start + 4].hex(" ")
    where = f"{encoding.replace('utf-8', 'UTF-8')} at byte {at:,} (line {line:,}, bytes {found})"
    way = encodings.way_out(content, start, encoding)
    return f"{name_of(path)} is not {where}: {way}, or --errors replace to go on with U+FFFD there"


def combined(digests: list[str]) -> str:
    """The fingerprint of a text of some files, from those of the files: of one file its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def known_encoding(name: str) -> str:
    """Python's name of an encoding of text, or AUTO. Raises InputError where there is none."""
    if name == AUTO:
        return name
    try:
        found = codecs.lookup(name)
        if not found._is_text_encoding:
            raise LookupError(name)
        return found.name
    except (LookupError, ValueError):
        raise InputError(f"there is no encoding {name!r}: give one that Python knows, such as utf-8, utf-16 or latin-1") from None
