"""Vectors of words that were made elsewhere: GloVe's text, word2vec's text and binary form, fastText's .vec; each may be gzipped.

In a text each line is a word and its D numbers; the word may contain spaces, as in some files of GloVe. In word2vec and fastText
a first line `n D` announces them. In the binary form a space and D little-endian floats of 32 bits follow each word.
"""

from __future__ import annotations

import codecs
import gzip
import math
import re
import statistics
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from lmgen.data import formats
from lmgen.data.finding import finite
from lmgen.errors import InputError, printable
from lmgen.system import memory

MOST_NUMBERS = 1 << 15  # of a vector
LONGEST = 1 << 20  # bytes of a line, and of a word of the binary form
BLOCK = 1 << 20  # bytes of the binary form read at a time
HEAD = 20  # lines that decide how many numbers a vector has, where no first line does
CHECKED = 10_000  # vectors, after each of which there must be memory for more

GZIP = b"\x1f\x8b"
_FOREIGN = {magic: kind for magic, (kind, _) in formats.MAGIC.items() if magic != GZIP}
_FOREIGN |= {mark: f"{name.upper()} text" for mark, name in formats.BYTE_ORDER_MARKS.items()}
_FOREIGN[b"\xba\x16\x4f\x2f"] = "a model of fastText (.bin)"
_NUMERALS = b"0123456789+-.eE \t\r\n"
_WAY_OUT = "give a whole file of GloVe's, word2vec's or fastText's (.vec) vectors"


class Vectors(NamedTuple):
    """Words and the vector of each: float32 [n, D]."""

    words: list[str]
    matrix: np.ndarray


def read(path: Path, most: int | None = None) -> Vectors:
    """The first `most` vectors of a file, or all; its content shows its form.

    Raises InputError, with the line or the number of the vector, for a file that is damaged or holds no vectors.
    """
    try:
        with open(finite(path), "rb") as file:
            if not file.peek(2).startswith(GZIP):
                return _Reader(file, path).vectors(most)
            with gzip.open(file) as unpacked:
                return _Reader(unpacked, path).vectors(most)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked ({error}): {_WAY_OUT}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def rows(vectors: Vectors, symbols: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The vector of each symbol, float32 [n, D], or 0 where there is none; and whether there is one, bool [n].

    A symbol is looked up as it is spelt, then in lower case. Of a word that is there twice the first vector is taken.
    """
    places = dict(zip(reversed(vectors.words), reversed(range(len(vectors.words))), strict=True))
    at = np.array([places.get(symbol, places.get(symbol.lower(), -1)) for symbol in symbols], np.int64)
    found = at >= 0
    matrix = np.zeros((len(symbols), vectors.matrix.shape[1]), np.float32)
    matrix[found] = vectors.matrix[at[found]]
    return matrix, found


class _Reader:
    """One file. D numbers make a vector; `count` vectors are announced, if any are; `unit` and `number` say where it is read."""

    def __init__(self, file: BufferedIOBase, path: Path):
        self.file, self.path, self.unit, self.number = file, path, "line", 1
        start = file.read(4)
        for magic, kind in _FOREIGN.items():
            if start.startswith(magic):
                raise InputError(f"{path} looks like {kind}: unpack or convert it, or {_WAY_OUT}")
        self.begin = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
        file.seek(self.begin)
        first = file.readline(LONGEST)
        announced = re.fullmatch(rb"(\d{1,18})[ \t]+(\d{1,18})\s*", first)
        self.count = int(announced[1]) if announced else None
        if announced:
            self.D, self.begin = int(announced[2]), file.tell()
        else:
            fields = [len(line.split()) for line in (first, *islice(self.lines(), HEAD)) if line.strip()]
            self.D = statistics.mode(fields or [0]) - 1
        if not 0 < self.D <= MOST_NUMBERS:
            self.fail(f"a vector has 1 to {MOST_NUMBERS:,} numbers, not {max(0, self.D):,}")

    def vectors(self, most: int | None) -> Vectors:
        form = self.text()
        if self.count is not None:
            self.file.seek(self.begin)
            self.number = 2
            if self.is_binary():
                form, self.unit, self.number = self.binary(self.count), "vector", 1
        first, words, numbers = self.number, list[str](), bytearray()
        self.file.seek(self.begin)
        for word, vector in islice(form, most):
            try:
                words.append(codecs.utf_8_decode(word, "strict", False)[0])  # word2vec cuts long words, and characters in two
            except UnicodeDecodeError:
                self.fail(f"the word {printable(word.decode('latin-1'), 40)!r} is not UTF-8")
            numbers += vector
            if len(words) % CHECKED == 0 and len(numbers) > memory.available():
                raise InputError(f"not enough memory for over {len(words):,} vectors: give only the first lines of {self.path}")
        if self.count is not None and len(words) != min(self.count, self.count if most is None else most):
            self.fail(f"there are {len(words):,} vectors where the first line announces {self.count:,}")
        if not words:
            self.fail("there are no vectors")
        matrix = np.frombuffer(numbers, "<f4").reshape(-1, self.D)
        with np.errstate(invalid="ignore"):  # inf − inf
            whole = np.isfinite(matrix.sum(axis=1, dtype=np.float64))
        if not whole.all():
            self.number = first + int(np.argmin(whole))
            self.fail("a number is not finite")
        return Vectors(words, matrix)

    def lines(self) -> Iterator[bytes]:
        return iter(partial(self.file.readline, LONGEST), b"")

    def text(self) -> Iterator[tuple[bytes, bytes]]:
        """Each word with its vector in the binary form."""
        pack, lines = struct.Struct(f"<{self.D}f").pack, self.lines()
        for number, line in enumerate(lines, self.number):
            self.number = number
            word, *numbers = line.rsplit(None, self.D) or [b""]
            if not word and not any(map(bytes.strip, lines)):
                return  # only blank lines followed
            if len(line) == LONGEST:
                self.fail(f"it is {LONGEST >> 20} MiB long or longer")
            if len(numbers) < self.D or any(map(_is_number, word.split()[1:])):
                self.fail(f"there are {sum(map(_is_number, line.split()[1:])):,} numbers where a vector has {self.D:,}")
            try:
                vector = pack(*map(float, numbers))
            except OverflowError:
                self.fail("a number is too large for 32 bits")
            except ValueError:
                bad = next(field for field in numbers if not _is_number(field))
                self.fail(f"{printable(bad.decode('latin-1'), 40)!r} is not a number")
            yield word.strip(), vector

    def is_binary(self) -> bool:
        """Whether what follows the first word is not the numbers of a text, of which each takes two bytes or more."""
        after = re.split(rb"[ \t]", self.file.read(BLOCK), maxsplit=1)[-1][: 2 * self.D]
        odd = after.translate(None, _NUMERALS)  # damaged text has few of them, and they are letters
        return len(odd) > len(after) / 2 or re.search(rb"[^ -~]", odd) is not None

    def binary(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        """Each word with its vector; word2vec itself ends them with a line end, others do not."""
        size, buffer, at = 4 * self.D, b"", 0
        for number in range(1, count + 1):
            self.number = number
            while (end := buffer.find(b" ", at)) < 0 or len(buffer) <= end + size:
                more = self.file.read(BLOCK)
                if not more or len(buffer) - at > LONGEST:
                    self.fail(f"the file ends within it, and {count:,} vectors are announced")
                buffer, at = buffer[at:] + more, 0
            yield buffer[at:end].lstrip(b"\n"), buffer[end + 1 : end + 1 + size]
            at = end + 1 + size
        if (buffer[at:] + self.file.read(1)).strip():
            self.fail(f"more follows it, and {count:,} vectors are announced")

    def fail(self, why: str) -> NoReturn:
        raise InputError(f"{self.path}, {self.unit} {self.number:,}: {why}, so these vectors cannot be read: {_WAY_OUT}")


def _is_number(field: bytes) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(field))
    return False
