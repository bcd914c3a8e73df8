"""Bytes to bits and back, by models that learn them on the way.

A segment of a file is read in columns side by side, a row of one byte each at a time, and a row bit by bit. The counts predict
each bit, with what the network predicts among their inputs, and a range coder (constriction's; Martin 1979) takes −log2 p for
it. Writing and reading do the same in the same order; they differ in where a bit comes from. Rows make frames, each with the
words of a coder of its own, so that a reader can check them one by one. Shapes: B columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmgen.errors import InputError
from lmgen.evaluation.online.counts import RING, counts

SEGMENT = 1 << 20  # bytes at most
FRAME = 1 << 16  # bytes of the rows of a frame, about
DAMAGED = "the file is damaged: copy it again"


@dataclass(frozen=True)
class Level:
    """How much work is done for fewer bits: the units of the network (0: none), how many earlier blocks it reads again after each
    block, the bytes of a column, and the most columns."""

    size: int
    again: int
    column: int
    columns: int

    def columns_of(self, size: int) -> int:
        """The columns of a file whose first segment has this size: a power of two, so that few shapes are compiled."""
        return min(self.columns, 1 << max(0, (size // self.column).bit_length() - 1))


LEVELS = {"1": Level(0, 0, 1 << 15, 16), "2": Level(256, 6, 1 << 14, 32), "3": Level(512, 12, 1 << 14, 32)}


class Predictor:
    """What a level has learnt of a file, and the coding of segments by it."""

    def __init__(self, level: Level, columns: int):
        self.counts, self.network, self.columns, self.place = counts(columns), None, columns, 0
        self.none = np.zeros((columns, 256))
        if level.size:
            from lmgen.evaluation.online.network import Network

            self.network = Network(columns, level.size, level.again)

    def written(self, content: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The words of each frame of a segment, and the bytes of its rows."""
        ends, rows = self._begin(len(content))
        text = np.frombuffer(content + b"\0", np.uint8)
        for frame in _frames(rows, self.columns):
            coder = _Writer()
            parts = []
            for row in frame:
                active = ends[:-1] + row < ends[1:]
                byte = np.where(active, text[np.minimum(ends[:-1] + row, len(content))], 0)
                self._row(coder, byte.astype(np.int64), active)
                parts.append(byte[active])
            yield coder.words(), np.concatenate(parts).astype(np.uint8).tobytes()

    def read(self, text: np.ndarray, words: Iterator[bytes]) -> Iterator[bytes]:
        """Fill the text of a segment from the words of its frames; yields the bytes of the rows of each, to be checked.

        Raises InputError for words that no writer makes.
        """
        ends, rows = self._begin(len(text))
        for frame in _frames(rows, self.columns):
            coder = _Reader(next(words))
            parts = []
            for row in frame:
                active = ends[:-1] + row < ends[1:]
                byte = self._row(coder, None, active)[active]
                text[(ends[:-1] + row)[active]] = byte
                parts.append(byte)
            yield np.concatenate(parts).astype(np.uint8).tobytes()

    def _begin(self, size: int) -> tuple[np.ndarray, int]:
        """Where the columns of a segment begin and end [B + 1], and the number of rows."""
        ends = np.arange(self.columns + 1) * size // self.columns
        self.counts.begin(self.place + ends[:-1], size)
        self.place = (self.place + size) % RING
        return ends, -(-size // self.columns)

    def _row(self, coder: Any, byte: np.ndarray | None, active: np.ndarray) -> np.ndarray:
        """Code the next byte of the columns that are `active` [B], the others have ended; returns the bytes [B]."""
        odds, every = self.network.predict() if self.network else self.none, np.arange(self.columns)
        bits = np.zeros(self.columns, np.int64)
        for depth in range(7, -1, -1):
            p = self.counts.predict(odds[every, self.counts.node])
            bits[active] = coder.step(p[active], None if byte is None else (byte >> depth & 1)[active])
            self.counts.learn(bits)
        byte = self.counts.end_byte()
        if self.network:
            self.network.read(byte)
        return byte


def _frames(rows: int, columns: int) -> Iterator[range]:
    """The rows of each frame."""
    size = FRAME // columns
    return (range(row, min(row + size, rows)) for row in range(0, rows, size))


def _queue() -> Any:
    try:
        from constriction import stream
    except ImportError:
        raise InputError("compression needs constriction, which is not installed: pip install constriction") from None
    return stream


class _Writer:
    """Keeps bits and their probabilities, and codes them in one go."""

    def __init__(self) -> None:
        self.bits: list[np.ndarray] = []
        self.p: list[np.ndarray] = []

    def step(self, p: np.ndarray, bits: np.ndarray) -> np.ndarray:
        self.p.append(p)
        self.bits.append(bits)
        return bits

    def words(self) -> bytes:
        stream = _queue()
        coder = stream.queue.RangeEncoder()
        bits = np.concatenate(self.bits).astype(np.int32)
        coder.encode(bits, stream.model.Bernoulli(perfect=False), np.concatenate(self.p))
        return coder.get_compressed().astype("<u4").tobytes()


class _Reader:
    def __init__(self, words: bytes):
        stream = _queue()
        self.coder = stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))
        self.model = stream.model.Bernoulli(perfect=False)

    def step(self, p: np.ndarray, _: None) -> np.ndarray:
        try:
            return self.coder.decode(self.model, p)
        except (AssertionError, ValueError):  # no writer makes such words
            raise InputError(DAMAGED) from None
