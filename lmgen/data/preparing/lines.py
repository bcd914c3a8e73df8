"""A part of a text, from one line end to another, as arrays: where its lines begin and end, in bytes and in characters."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmgen.data.finding import names_of, opened, readable
from lmgen.data.preparing import compiled
from lmgen.data.reading import BLOCK, Piece, Text, undecodable
from lmgen.data.split import LONG, Split
from lmgen.errors import InputError

SIZE = 1 << 23  # bytes of a part, about
LONGEST = 1 << 20  # bytes of a line that is read in one piece, whatever is read before it
AT_A_TIME = 1 << 15  # characters that are counted at a time
LINE_END = ord("\n")
_SPACES = np.zeros(0x3001 + 1, bool)  # by code point, which str.split() splits at; the last place serves all beyond
_SPACES[[point for point in range(0x3001) if chr(point).isspace()]] = True
_MAY_BE_SPACE = np.isin(np.arange(256), [*range(0x21), 0xC2, 0xE1, 0xE2, 0xE3])  # the first byte of white space, or of others


class Part(NamedTuple):
    """The bytes of a file from `start` to `stop`, between line ends, and the size and time of the file when they were chosen."""

    path: str
    start: int
    stop: int
    size: int
    time: int


class NotInPartsError(Exception):
    """A text that cannot be read in parts, since what is made of one depends on what was read before it."""


def parts(text: Text) -> list[Part]:
    """A text in parts of about `SIZE` bytes, always the same. Raises NotInPartsError."""
    found = []
    for path in text.paths:
        with readable(path), opened(path) as file:
            about = os.fstat(file.fileno())
            start = 0
            while start < about.st_size:
                stop = about.st_size
                if start + SIZE < about.st_size:
                    file.seek(start + SIZE - 1)
                    found_end = len(file.readline(LONGEST + 1))
                    if found_end > LONGEST:
                        raise NotInPartsError
                    stop = start + SIZE - 1 + found_end
                found.append(Part(str(path), start, stop, about.st_size, about.st_mtime_ns))
                start = stop
    return found


class Lines:
    """The lines of a part, read as `Text` reads them: UTF-8, with "\\n" for "\\r\\n", without a byte-order mark.

    `text` is all of it, in UTF-8. Blank lines, unless `keep_blank`, are not among its lines: `starts` and `stops` [n] are the
    places of the others in bytes. Raises InputError for other bytes or a file that changes, NotInPartsError for too long a line.
    """

    def __init__(self, part: Part, errors: str, keep_blank: bool):
        raw = _read(part)
        self.marked = part.start == 0 and raw.startswith(codecs.BOM_UTF8)
        raw = _checked(raw, part, errors)
        both, alone = 0, 0
        if b"\r" in raw:
            both, alone = raw.count(b"\r\n"), raw.count(b"\r")
            raw = raw.replace(b"\r\n", b"\n")
        self.text = raw
        ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == LINE_END)
        self.line_ends = {"CR LF": both, "LF": len(ends) - both, "CR": alone - both}
        self.open = bool(raw) and not raw.endswith(b"\n")  # whether the last line has no end
        self.all_stops = np.append(ends, len(raw)) if self.open else ends
        self.all_starts = np.append(0, ends + 1)[: len(self.all_stops)]
        if len(self.all_stops) and (self.all_stops - self.all_starts).max() >= LONGEST:
            raise NotInPartsError
        self.kept = np.ones(len(self.all_stops), bool) if keep_blank else ~self._blanks()
        self.starts, self.stops = self.all_starts[self.kept], self.all_stops[self.kept]

    def _blanks(self) -> np.ndarray:
        """Which of all lines have nothing but white space."""
        blank = self.all_starts == self.all_stops
        if not self.text:
            return blank
        firsts = np.frombuffer(self.text, np.uint8)[self.all_starts]
        for k in np.flatnonzero(~blank & _MAY_BE_SPACE[firsts]).tolist():
            blank[k] = not self.any_line(k).strip()
        return blank

    def any_line(self, k: int) -> str:
        """Line number k of all."""
        return self.text[self.all_starts[k] : self.all_stops[k]].decode("utf-8", "surrogatepass")

    def line(self, k: int) -> str:
        """Line number k of those that are not left out."""
        return self.text[self.starts[k] : self.stops[k]].decode("utf-8", "surrogatepass")

    def pieces(self) -> Iterator[Piece]:
        """The lines as `Text` gives them."""
        last = len(self.starts) - 1 if self.open and self.kept[-1] else -1
        for k in range(len(self.starts)):
            yield Piece(self.line(k), True, True, int(k != last))

    @cached_property
    def string(self) -> str:
        """All of it as a string."""
        return self.text.decode("utf-8", "surrogatepass")

    @cached_property
    def points(self) -> np.ndarray:
        """The code points of all characters, line ends included."""
        return points_of(self.text)

    @cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where all lines begin and end, in characters."""
        if self.text.isascii():
            return self.all_starts, self.all_stops
        ends = np.flatnonzero(self.points == LINE_END)
        stops = np.append(ends, len(self.points)) if self.open else ends
        return np.append(0, ends + 1)[: len(stops)], stops

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of characters of each line."""
        starts, stops = self.places
        return (stops - starts)[self.kept]

    @cached_property
    def gaps(self) -> np.ndarray:
        """The number of line ends after each line: one, but for the last line of a file without an end."""
        gaps = np.ones(len(self.kept), np.int64)
        if self.open:
            gaps[-1] = 0
        return gaps[self.kept]

    @cached_property
    def sizes(self) -> np.ndarray:
        """The number of characters of each line with its end."""
        return self.lengths + self.gaps

    @cached_property
    def fingerprints(self) -> np.ndarray:
        """The fingerprint of each line."""
        return compiled.fingerprints(self.text, self.starts, self.stops)

    def held_out(self, split: Split, seen: int) -> np.ndarray:
        """Which lines a split holds out, after `seen` characters. Raises NotInPartsError where it cuts a line in two."""
        if split.head is None:
            return split.among(self.fingerprints) if split.share else np.zeros(len(self.starts), bool)
        before = seen + np.cumsum(self.sizes) - self.sizes
        long = self.lengths > max(LONG, split.head // 10)
        if (long & (before < split.head) & (before + self.lengths > split.head)).any():
            raise NotInPartsError
        return before >= split.head


def points_of(text: bytes) -> np.ndarray:
    """The code points of UTF-8: uint8 where it is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text, np.uint8)
    return np.frombuffer(text.decode("utf-8", "surrogatepass").encode("utf-32-le", "surrogatepass"), "<u4")


def counted(points: np.ndarray) -> np.ndarray:
    """How often each code point occurs, up to the largest or 255."""
    largest = 255 if points.dtype == np.uint8 else int(points.max(initial=255))
    found = np.zeros(largest + 1, np.int64)
    for k in range(0, len(points), AT_A_TIME):  # they are converted, and stay in the cache
        some = np.bincount(points[k : k + AT_A_TIME])
        found[: len(some)] += some
    return found


def spaces(points: np.ndarray) -> np.ndarray:
    """Which characters are white space, by code point."""
    return _SPACES[points if points.dtype == np.uint8 else np.minimum(points, len(_SPACES) - 1)]


def _read(part: Part) -> bytes:
    path = Path(part.path)
    with readable(path), opened(path) as file:
        file.seek(part.start)
        raw = file.read(part.stop - part.start)
        about = os.fstat(file.fileno())
    if (about.st_size, about.st_mtime_ns) != (part.size, part.time) or len(raw) != part.stop - part.start:
        raise InputError(f"{names_of([path])} changed while it was read: wait until it is written, then start again")
    return raw


def _checked(raw: bytes, part: Part, errors: str) -> bytes:
    """The UTF-8 of a part, without a byte-order mark at the start of a file."""
    if raw.isascii():
        return raw
    try:
        text = raw.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        at, path = part.start + error.start, Path(part.path)
        with open(path, "rb") as file:
            blocks = iter(lambda: file.read(min(SIZE, at - file.tell())), b"")
            line = 1 + sum(block.count(b"\n") for block in blocks)
            file.seek(first := max(0, at - BLOCK))
            around = file.read(2 * BLOCK)
        raise InputError(undecodable(path, "utf-8", at, line, around, at - first)) from None
    if part.start == 0:
        text = text.removeprefix("\ufeff")
    return text.encode("utf-8", "surrogatepass")
