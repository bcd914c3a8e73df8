"""A text as ids in a file of the cache: written, checked and mapped into memory.

The file holds the ids, then the counts of their text and a checksum of all before it, as int64. A file of the cache may be as old
as a month, so its checksum is computed anew before it is used: one that is damaged is made again.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from lmgen.data.reading import Piece
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import LmgenError
from lmgen.system import cache

COUNTS = 7 + 256  # numbers that count
BEHIND = 8 * (COUNTS + 1)  # bytes behind the ids
BLOCK = 1 << 20  # bytes that are checked at a time


@dataclass(frozen=True)
class Ids:
    """An encoded text: `stream` (uint16 or uint32, memory-mapped) begins and ends with EOS; the counts are those of its text.

    `words` are what white space separates. Of the `unknown` symbols `marked` are the corpus's own mark of an unknown;
    `spelling` [256] counts the bytes of the others.
    """

    stream: np.ndarray
    sequences: int
    characters: int
    bytes: int
    unknown: int
    words: int = 0
    marked: int = 0
    spelling: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))

    @property
    def symbols(self) -> int:
        """How many symbols are predicted, each EOS included."""
        return len(self.stream) - 1


def encode(pieces: Iterator[Piece], vocab: Vocab, key: str | None = None) -> Ids:
    """Write the ids of pieces into a file of the cache and map it into memory.

    With a key (a fingerprint of text, split and vocabulary) the file stays and serves the next run; without, it is gone with the
    last user of the array. Raises LmgenError where the file does not hold what was written.
    """
    folder = cache.folder("corpora")
    kept = folder / f"{key}-{COUNTS + 1}.ids" if key else None
    if kept and (ids := _mapped(kept, vocab)):
        os.utime(kept)
        return ids
    cache.clear_old(folder)
    handle, name = tempfile.mkstemp(suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            _write(_Summed(file), pieces, vocab)
            if kept:
                file.flush()
                os.fsync(file.fileno())
        ids = _mapped(Path(name), vocab)
        if ids is None:
            raise LmgenError(f"the ids in {folder} are not those that were written: its disk or the memory is faulty")
        if kept:
            os.replace(name, kept)
        return ids
    finally:
        Path(name).unlink(missing_ok=True)


class _Summed:
    """A file and the checksum of what was written to it."""

    def __init__(self, file: IO[bytes]):
        self.file, self.sum = file, 0

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.sum = zlib.crc32(content, self.sum)


def _write(file: _Summed, pieces: Iterator[Piece], vocab: Vocab) -> None:
    sequences = characters = size = words = symbols = 0
    unknown = _Unknown(vocab)
    eos = np.array([EOS], vocab.dtype).tobytes()
    file.write(eos)
    for piece in pieces:
        encoded = vocab.encode(piece.text, piece.begins)
        file.write(encoded.tobytes() + eos * piece.ends)
        symbols += len(encoded) + piece.ends
        sequences += piece.ends
        characters += len(piece.text) + piece.gap
        size += piece.gap + _bytes(piece.text)
        words += len(piece.text.split())
        unknown.count(piece, encoded)
    counts = [1 + symbols, sequences, characters, size, unknown.symbols, words, unknown.marked]
    file.write(np.array([*counts, *unknown.spelling], "<i8").tobytes())
    file.write(np.array([file.sum], "<i8").tobytes())


class _Unknown:
    """The symbols that a vocabulary lacks, and how they are spelt."""

    def __init__(self, vocab: Vocab):
        self.vocab, self.symbols, self.marked, self.spelling = vocab, 0, 0, np.zeros(256, np.int64)

    def count(self, piece: Piece, ids: np.ndarray) -> None:
        places = np.flatnonzero(ids == UNK)
        if not len(places):
            return
        symbols = self.vocab.split(piece.text, piece.begins)
        unknown = [symbols[k] for k in places.tolist()]
        spelt = [s for s in unknown if s not in self.vocab.ids]
        self.symbols += len(unknown)
        self.marked += len(unknown) - len(spelt)
        self.spelling += np.bincount(np.frombuffer("".join(spelt).encode("utf-8", "surrogatepass"), np.uint8), minlength=256)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _mapped(path: Path, vocab: Vocab) -> Ids | None:
    """An id file mapped into memory; None where it is not there or not as it was written, or holds ids of no symbol."""
    try:
        with open(path, "rb") as file:
            length = (os.fstat(file.fileno()).st_size - BEHIND) // vocab.dtype.itemsize
            checked, left = 0, length * vocab.dtype.itemsize
            while left > 0 and (block := file.read(min(BLOCK, left))):
                checked, left = zlib.crc32(block, checked), left - len(block)
                if np.frombuffer(block, vocab.dtype).max() >= len(vocab):
                    return None
            behind = file.read()
            counts, checked = np.frombuffer(behind[:-8], "<i8"), zlib.crc32(behind[:-8], checked)
            if length < 1 or len(behind) != BEHIND or counts[0] != length or int.from_bytes(behind[-8:], "little") != checked:
                return None
            stream = np.memmap(file, vocab.dtype, "r", shape=(length,))
        sequences, characters, size, unknown, words, marked = counts[1:7].tolist()
        return Ids(stream, sequences, characters, size, unknown, words, marked, counts[7:])
    except (OSError, ValueError):
        return None
