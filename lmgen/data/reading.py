"""Bytes to sequences: files and pipes are read in blocks, decoded, checked and cut, and never held whole.

A sequence ends with an EOS: a line, a paragraph or a file. It comes as one piece, or as several if it is very long.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lmgen.data import formats
from lmgen.data.finding import STDIN, find, name_of, opened, standard_input
from lmgen.errors import InputError

BLOCK = 1 << 20  # bytes read at a time, and characters of a sequence after which it comes in pieces

# The end of a sequence. A paragraph ends with one blank line or more.
SEQUENCES: dict[str, re.Pattern[str] | None] = {
    "line": re.compile("\n"),
    "paragraph": re.compile("\n(?:[ \t]*\n)+"),
    "file": None,
}

_STARTS = (*formats.MAGIC, *formats.BYTE_ORDER_MARKS, codecs.BOM_UTF8)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1b")) + b"\x7f"


class Piece(NamedTuple):
    """A sequence or a part of one: its text, whether a sequence begins and ends with it, and the number of line ends after it."""

    text: str
    begins: bool
    ends: bool
    gap: int


PAUSE = Piece("", False, False, 0)  # comes from a pipe before each wait for more


class Text:
    """The pieces of some files, to be iterated over as often as needed; those of a `pipe` (see `once`) only once.

    After a whole pass, `notes` has sentences on the text (a byte-order mark, blank lines), `sha256` is the fingerprint of the
    bytes (of several files, of their fingerprints), and `line_ends` counts those of each kind. With `keep_blank` (for running
    text) an empty line is an empty sequence; without, it is passed over. Raises InputError for a file that is not text.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        sequence: str = "line",
        keep_blank: bool = False,
        encoding: str = "utf-8",
        errors: str = "strict",
        pipe: BinaryIO | None = None,
    ):
        self.paths = tuple(paths)
        self.pipe = pipe
        self.sequence = sequence
        self.keep_blank = keep_blank
        self.encoding = known_encoding(encoding)
        self.errors = _known_errors(errors)
        self.notes: dict[str, None] = {}
        self.sha256 = ""
        self.line_ends: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Piece]:
        digests = []
        self.line_ends = Counter()
        blank = 0
        for path in self.paths:
            fingerprint = hashlib.sha256()
            for piece in _pieces(self._blocks(path, fingerprint), SEQUENCES[self.sequence]):
                if piece.begins and piece.ends and not self.keep_blank and not piece.text.strip():
                    blank += self.sequence == "line"
                else:
                    yield piece
            digests.append(fingerprint.hexdigest())
        if blank:
            self.notes[f"passed over {blank:,} blank line{'s' * (blank > 1)}"] = None
        self.sha256 = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def _blocks(self, path: Path, fingerprint: hashlib._Hash) -> Iterator[str]:
        """The text of one file in blocks, with "\\n" for "\\r\\n" and without a byte-order mark."""
        held, crlf, position, line = "", 0, 0, 1
        with self.pipe or opened(path) as file:
            before = os.fstat(file.fileno()) if not self.pipe else None
            if self.pipe:
                yield ""
            raw = self._read(file, path)
            while self.pipe and raw and any(start.startswith(raw) for start in _STARTS) and (more := self._read(file, path)):
                raw += more
            encoding = self._encoding_of(path, raw)
            decoder = codecs.getincrementaldecoder(encoding)(self.errors)
            while True:
                fingerprint.update(raw)
                try:
                    text = decoder.decode(raw, final=not raw)
                except UnicodeDecodeError as error:
                    at = position - (len(error.object) - len(raw)) + error.start
                    line += error.object[: error.start].count(b"\n")
                    raise InputError(_invalid(path, encoding, at, line, error)) from None
                except UnicodeError as error:  # a missing byte-order mark, an encoding that decodes nothing
                    raise InputError(f"{name_of(path)} cannot be read as {encoding} ({error}): give another --encoding") from None
                if position == 0 and encoding == "utf-8" and text.startswith("\ufeff"):
                    self.notes[f"{name_of(path)}: the byte-order mark at its start was dropped"] = None
                    text = text[1:]
                line += raw.count(b"\n")
                position += len(raw)
                text, held = held + text, ""
                if text.endswith("\r") and raw:
                    text, held = text[:-1], "\r"
                both = text.count("\r\n")
                crlf += both
                self.line_ends += Counter({"CR LF": both, "LF": text.count("\n") - both, "CR": text.count("\r") - both})
                if text:
                    yield text.replace("\r\n", "\n")
                if not raw:
                    break
                if self.pipe:
                    yield ""
                raw = self._read(file, path)
            after = os.fstat(file.fileno()) if before else None
            if before and after and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise InputError(f"{path} changed while it was read: wait until it is written, then start again")
        if crlf:
            self.notes[f"{name_of(path)}: {crlf:,} line ends of Windows (CR LF) were read as line ends"] = None

    def _read(self, file: BinaryIO, path: Path) -> bytes:
        """The next bytes; of a pipe those that are there, once there are any."""
        try:
            return file.read1(BLOCK) if self.pipe else file.read(BLOCK)  # type: ignore[attr-defined]
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None

    def _encoding_of(self, path: Path, start: bytes) -> str:
        """The encoding, checked against the first block. Raises InputError for a binary file and another byte-order mark."""
        shown = name_of(path)
        if refusal := formats.refusal(start, None if shown == STDIN else shown):
            raise InputError(f"{shown} {refusal}")
        if self.encoding in ("utf-8", "utf-8-sig"):
            for mark, name in formats.BYTE_ORDER_MARKS.items():
                if start.startswith(mark):
                    raise InputError(f"{shown} is {name.upper()}, not UTF-8, as its byte-order mark says: add --encoding {name}")
            if len(start.translate(None, _CONTROL)) < 0.7 * len(start):
                raise InputError(f"{shown} is mostly control characters, so it looks like a binary file: give a text file")
            return "utf-8"
        return self.encoding


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
            cut = len(rest[: rest.rfind(" ", BLOCK // 2, BLOCK) + 1].rstrip(" ")) or BLOCK  # between words, where there are any
            start += cut
            yield Piece(rest[:cut], begins, False, 0)
            rest, begins = rest[cut:], False
    if rest or not begins:
        text = rest if boundary is None else re.sub(r"\n(?:[ \t]*\n)*\Z", "", rest)
        yield Piece(text, begins, True, len(rest) - len(text))


def once(name: str, sequence: str = "line", keep_blank: bool = False, encoding: str = "utf-8", errors: str = "strict") -> Text:
    """A text to iterate over once: a pipe is not copied but read as it comes, with a `PAUSE` before each wait for more.

    Raises InputError for a missing file.
    """
    pipe, paths = None, [Path(STDIN)]
    try:
        if name == "-":
            pipe = standard_input()
        elif Path(name).is_fifo():
            pipe, paths = open(name, "rb"), [Path(name)]  # noqa: SIM115
        else:
            paths = find([name])
    except OSError as error:
        raise InputError(f"cannot read {name[:100]!r}: {error.strerror}") from None
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


def known_encoding(name: str) -> str:
    """Python's name of an encoding of text. Raises InputError where there is none."""
    try:
        found = codecs.lookup(name)
        if not found._is_text_encoding:
            raise LookupError(name)
        return found.name
    except (LookupError, ValueError):
        raise InputError(f"there is no encoding {name!r}: give one that Python knows, such as utf-8, utf-16 or latin-1") from None


def _known_errors(name: str) -> str:
    try:
        codecs.lookup_error(name)
        return name
    except (LookupError, ValueError):
        raise InputError(f"there is no way to treat errors named {name!r}: give strict or replace") from None


def _invalid(path: Path, encoding: str, at: int, line: int, error: UnicodeDecodeError) -> str:
    found = error.object[error.start : error.start + 4].hex(" ")
    name = "UTF-8" if encoding.startswith("utf-8") else encoding
    return (
        f"{name_of(path)} is not {name} at byte {at:,} (line {line:,}, bytes {found}): "
        "give its --encoding (such as latin-1), or --errors replace to go on with U+FFFD there"
    )
