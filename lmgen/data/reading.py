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
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lmgen.data import formats
from lmgen.data.finding import STDIN, find, name_of, opened, readable, standard_input
from lmgen.errors import InputError

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
    bytes (of several files, of their fingerprints), and `line_ends` counts those of each kind. Of a text that was read in parts
    `parts` are these, each with the number of characters before it. With `keep_blank` (for running
    text) an empty line is an empty sequence; without, it is passed over. Raises InputError for a file that is not text.
    """

    paths: Sequence[Path]
    sequence: str = "line"
    keep_blank: bool = False
    encoding: str = "utf-8"
    errors: str = "strict"
    pipe: BinaryIO | None = None
    notes: dict[str, None] = field(default_factory=dict, init=False)
    sha256: str = field(default="", init=False)
    line_ends: Counter[str] = field(default_factory=Counter, init=False)
    parts: Sequence[tuple[Any, int]] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.encoding = known_encoding(self.encoding)

    def __iter__(self) -> Iterator[Piece]:
        self.line_ends = Counter()
        digests, blank = [], 0
        for path in self.paths:
            fingerprint = hashlib.sha256()
            for piece in _pieces(self._blocks(path, fingerprint), SEQUENCES[self.sequence]):
                if piece.begins and piece.ends and not self.keep_blank and not piece.text.strip():
                    blank += self.sequence == "line"
                else:
                    yield piece
            digests.append(fingerprint.hexdigest())
        if blank:
            self.notes[blank_lines(blank)] = None
        self.sha256 = combined(digests)

    def _blocks(self, path: Path, fingerprint: hashlib._Hash) -> Iterator[str]:
        """The text of one file in blocks, with "\\n" for "\\r\\n" and without a byte-order mark; "" before each wait."""
        shown, crlf, position, line = name_of(path), 0, 0, 1
        with readable(path), self.pipe or opened(path) as file:
            before = None if self.pipe else os.fstat(file.fileno())
            read = partial(file.read1 if self.pipe else file.read, BLOCK)  # type: ignore[attr-defined]
            if self.pipe:
                yield ""
            raw = read()
            while self.pipe and raw and any(start.startswith(raw) for start in _STARTS) and (more := read()):
                raw += more
            encoding = self._encoding_of(shown, raw)
            decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(self.errors), translate=False)
            while True:
                fingerprint.update(raw)
                try:
                    text = decoder.decode(raw, final=not raw)
                except UnicodeDecodeError as error:
                    at = position - (len(error.object) - len(raw)) + error.start
                    line += error.object[: error.start].count(b"\n")
                    found = error.object[error.start : error.start + 4]
                    raise InputError(undecodable(path, encoding, at, line, found)) from None
                except UnicodeError as error:  # a missing byte-order mark, an encoding that decodes nothing
                    raise InputError(f"{shown} cannot be read as {encoding} ({error}): give another --encoding") from None
                if position == 0 and encoding == "utf-8" and text.startswith("\ufeff"):
                    self.notes[marked(shown)] = None
                    text = text[1:]
                line += raw.count(b"\n")
                position += len(raw)
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
            after = os.fstat(file.fileno()) if before else None
            if before and after and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise InputError(f"{path} changed while it was read: wait until it is written, then start again")
        if crlf:
            self.notes[windows_ends(shown, crlf)] = None

    def in_lines(self) -> bool:
        """Whether each line can be read by itself, wherever it begins: lines of UTF-8 in files. Raises as reading them does."""
        if self.pipe or self.sequence != "line":
            return False
        for path in self.paths:
            with readable(path), opened(path) as file:
                if self._encoding_of(name_of(path), file.read(BLOCK)) != "utf-8":
                    return False
        return True

    def _encoding_of(self, shown: str, start: bytes) -> str:
        """The encoding, checked against the first block. Raises InputError for a binary file and another byte-order mark."""
        if refusal := formats.refusal(start, None if shown == STDIN else shown):
            raise InputError(f"{shown} {refusal}")
        if self.encoding not in ("utf-8", "utf-8-sig"):
            return self.encoding
        for mark, name in formats.BYTE_ORDER_MARKS.items():
            if start.startswith(mark):
                raise InputError(f"{shown} is {name.upper()}, not UTF-8, as its byte-order mark says: add --encoding {name}")
        if len(start.translate(None, _CONTROL)) < 0.7 * len(start):
            raise InputError(f"{shown} is mostly control characters, so it looks like a binary file: give a text file")
        return "utf-8"


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


def once(name: str, sequence: str = "line", keep_blank: bool = False, encoding: str = "utf-8", errors: str = "strict") -> Text:
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
    return Text(paths, sequence, keep_blank, encoding, errors, pipe)


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


def undecodable(path: Path, encoding: str, at: int, line: int, found: bytes) -> str:
    """The sentence on bytes of a file that its encoding does not have, by their place."""
    return (
        f"{name_of(path)} is not {encoding.replace('utf-8', 'UTF-8')} at byte {at:,} (line {line:,}, bytes {found.hex(' ')}): "
        "give its --encoding (such as latin-1), or --errors replace to go on with U+FFFD there"
    )


def combined(digests: list[str]) -> str:
    """The fingerprint of a text of some files, from those of the files: of one file its own."""
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def known_encoding(name: str) -> str:
    """Python's name of an encoding of text. Raises InputError where there is none."""
    try:
        found = codecs.lookup(name)
        if not found._is_text_encoding:
            raise LookupError(name)
        return found.name
    except (LookupError, ValueError):
        raise InputError(f"there is no encoding {name!r}: give one that Python knows, such as utf-8, utf-16 or latin-1") from None
