"""A text as ids in a file of the cache: written, checked and mapped into memory.

The file holds the ids, then the counts of their text and a checksum of all before it, as int64. A file of the cache may be a
month old, so its checksum is verified before it is used: a damaged file is written again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.data.reading import Piece
from lmgen.data.split import utf_8
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import LmgenError
from lmgen.system import cache, files

COUNTS = 7 + 256  # integers that count
BEHIND = 8 * (COUNTS + 1)  # bytes behind the ids
BLOCK = 1 << 20  # bytes verified at a time


@dataclass(frozen=True)
class Ids:
    """An encoded text: `stream` (uint16 or uint32, memory-mapped or in shards) begins and ends with EOS; the counts are those of
    its text.

    `words` are separated by white space. Of the `unknown` symbols `marked` are the corpus's own mark of an unknown; `spelling`
    [256] counts the bytes of the others. The ids are those of `vocab`.
    """

    stream: np.ndarray
    sequences: int
    characters: int
    bytes: int
    unknown: int
    words: int = 0
    marked: int = 0
    spelling: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    vocab: Vocab | None = None
    blocks: np.ndarray | None = None  # the starts of the blocks that training shuffles, where they are known

    @classmethod
    def of(cls, stream: Any, counts: np.ndarray, vocab: Vocab, blocks: np.ndarray | None = None) -> Ids:
        """From the counts of an `Encoder`."""
        sequences, characters, size, unknown, words, marked = counts[1:7].tolist()
        return cls(stream, sequences, characters, size, unknown, words, marked, counts[7:], vocab, blocks)

    @property
    def symbols(self) -> int:
        """The number of predicted symbols, each EOS included."""
        return len(self.stream) - 1

    def predicted(self, most: int) -> np.ndarray:
        """The first symbols that are predicted; `most` is their largest number."""
        return self.stream[1 : most + 1]

    @property
    def characters_per_symbol(self) -> float:
        return self.characters / max(1, self.symbols)


def encode(pieces: Iterable[Piece], vocab: Vocab) -> Ids:
    """The ids of a text, in a file that is removed with the last use of the array."""
    return encode_sides(((False, piece) for piece in pieces), vocab, [None])[0]


def encode_sides(sides: Iterator[tuple[bool, Piece | Encoded]], vocab: Vocab, keys: Sequence[str | None]) -> list[Ids]:
    """The ids of each side of a text (the second is held out), as `written` has them."""
    return [Ids.of(stream, counts, vocab) for stream, counts in written(sides, [Encoder(vocab) for _ in keys], keys)]


def written(
    sides: Iterable[tuple[bool, Any]], encoders: Sequence[Encoder], keys: Sequence[str | None]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The stream of each side of a text (the second is held out) and the counts of its encoder, written in one pass into files of
    the cache, which are mapped into memory.

    With keys (fingerprints of text, split, side and vocabulary) the files stay and serve the next run, which does not read the
    text. Raises LmgenError where a file does not hold what was written.
    """
    folder = cache.folder("corpora")
    kept = [folder / f"{key}-{COUNTS + 1}.ids" if key else None for key in keys]
    found = [ids for path, encoder in zip(kept, encoders, strict=True) if path and (ids := _mapped(path, encoder))]
    if len(found) == len(keys):
        for path in filter(None, kept):
            os.utime(path)
        return found
    cache.clear_old(folder)
    with contextlib.ExitStack() as stack:
        writers = [_Writer(folder, encoder, stack) for encoder in encoders]
        for side, piece in sides:
            writers[side].add(piece)
        return [writer.finish(path) for writer, path in zip(writers, kept, strict=True)]


@dataclass(frozen=True)
class Encoded:
    """The ids of many sequences, each with the EOS that ends it, as bytes, and their `counts` as an `Encoder` has them."""

    content: bytes | memoryview
    counts: np.ndarray


class Encoder:
    """The ids of one side of a text, piece by piece. `counts` [COUNTS] are the number of ids, the first EOS included, and the
    sums of the fields of `Ids`, in their order; all ids are below `kinds`. One of another structure overrides `encoded` and
    counts in its own way, but for the number of ids."""

    def __init__(self, vocab: Vocab, kinds: int = 0):
        self.vocab, self.kinds = vocab, kinds or len(vocab)
        self.dtype = np.dtype("<u2" if self.kinds <= 1 << 16 else "<u4")
        self.eos = np.array([EOS], self.dtype).tobytes()
        self.counts = np.zeros(COUNTS, np.int64)
        self.counts[0] = 1

    def encoded(self, piece: Any) -> bytes | memoryview:
        """The ids of the next piece, with the EOS that ends it."""
        if isinstance(piece, Encoded):
            self.counts += piece.counts
            return piece.content
        ids, text = self.vocab.encode(piece.text, piece.begins), piece.text
        unknown = marked = 0
        if len(places := np.flatnonzero(ids == UNK)):
            symbols = self.vocab.split(text, piece.begins)
            spelt = [symbol for k in places.tolist() if (symbol := symbols[k]) not in self.vocab.ids]
            unknown, marked = len(places), len(places) - len(spelt)
            self.counts[7:] += bytes_in("".join(spelt))
        size = piece.gap + (len(text) if text.isascii() else len(utf_8(text)))
        length, characters, words = len(ids) + piece.ends, len(text) + piece.gap, len(text.split())
        self.counts[:7] += (length, piece.ends, characters, size, unknown, words, marked)
        return ids.tobytes() + self.eos * piece.ends


def bytes_in(text: str) -> np.ndarray:
    """How often each byte occurs in the UTF-8 of a text [256]."""
    return np.bincount(np.frombuffer(utf_8(text), np.uint8), minlength=256)


class _Writer:
    """One side of a text on its way into a file; the stack closes it and removes the name that only its writing has."""

    def __init__(self, folder: Path, encoder: Encoder, stack: contextlib.ExitStack):
        handle, name = tempfile.mkstemp(suffix=".part", dir=folder)
        self.path, self.encoder, self.sum = Path(name), encoder, 0
        stack.callback(cache.remove, self.path)
        self.file, self.held = os.fdopen(handle, "wb"), bytearray(encoder.eos)
        stack.callback(self._close)

    def add(self, piece: Any) -> None:
        self.held += self.encoder.encoded(piece)
        if len(self.held) > BLOCK:
            self._write()

    def finish(self, kept: Path | None) -> tuple[np.ndarray, np.ndarray]:
        """Write the counts, give the file the name `kept`, if any, once it is on the disk, verify it and map it into memory."""
        self.held += self.encoder.counts.astype("<i8").tobytes()
        self._write()
        self.held += np.array([self.sum], "<i8").tobytes()
        self._write()
        if kept:
            os.fsync(self.file.fileno())
        self.file.close()
        path = self.path
        with contextlib.suppress(PermissionError):  # on Windows, where another process uses the file of that name
            path = path.replace(kept) if kept else path
        ids = _mapped(path, self.encoder)
        if ids is None:
            cache.remove(path)
            raise LmgenError(f"the ids in {self.path.parent} are not those that were written: the disk or the memory is faulty")
        return ids

    def _write(self) -> None:
        with files.explained(f"cannot prepare the text in {self.path.parent}", "; free some space, or set XDG_CACHE_HOME"):
            self.file.write(self.held)
            self.file.flush()
        self.sum = zlib.crc32(self.held, self.sum)
        self.held = bytearray()

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # the disk is still full
            self.file.close()


def _mapped(path: Path, encoder: Encoder) -> tuple[np.ndarray, np.ndarray] | None:
    """An id file mapped into memory, and its counts; None where it is missing or damaged, or has ids that the encoder has not."""
    dtype = encoder.dtype
    try:
        with open(path, "rb") as file:
            length = (os.fstat(file.fileno()).st_size - BEHIND) // dtype.itemsize
            checked, left = 0, length * dtype.itemsize
            while left > 0 and (block := file.read(min(BLOCK, left))):
                checked, left = zlib.crc32(block, checked), left - len(block)
                if np.frombuffer(block, dtype).max() >= encoder.kinds:
                    return None
            behind = file.read()
            counts, checked = np.frombuffer(behind[:-8], "<i8"), zlib.crc32(behind[:-8], checked)
            if length < 1 or len(behind) != BEHIND or counts[0] != length or int.from_bytes(behind[-8:], "little") != checked:
                return None
            stream = np.memmap(file, dtype, "r", shape=(length,))
        return stream, counts
    except (OSError, ValueError):
        return None
