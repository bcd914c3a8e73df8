"""Files compressed in one pass by a model that learns them on the way, so that no model is needed to restore them.

A file holds a header (the level, the columns, and the versions on which the numbers of a network depend); segments, each with
its size and its frames; and its end, with the number of bytes in all. A frame has the size and a checksum of its words, by
which damage is known, and a checksum of what they mean, by which a machine that computes other numbers is: nothing is written
before it is checked. The memory that both directions take depends on the level alone.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from lmgen.errors import InputError
from lmgen.evaluation.online.coding import DAMAGED, FRAME, LEVELS, SEGMENT, Predictor

MAGIC = b"lmo\x01"
BY_MODEL = b"lmz"  # how a file begins that `evaluation.compression` wrote
HEADER = struct.Struct("<4s1sBBI")  # magic, level, logarithm of the columns, bytes of the versions, checksum of all that
SIZE = struct.Struct("<I")  # of a segment; 0 ends the file
FRAME_HEAD = struct.Struct("<III")  # bytes of the words, checksums of what they mean, and of all that
END = struct.Struct("<Q")  # bytes in all
LARGEST = 16 * FRAME  # bytes of words


def compress(source: IO[bytes], target: IO[bytes], level: str = "2", report: Callable[[int, int], Any] = lambda *_: None) -> None:
    """Compress what a file has, in one pass; `report` is called after each segment, and at the end, with the bytes read and
    written."""
    content = _read(source, SEGMENT)
    columns = LEVELS[level].columns_of(len(content))
    versions = _versions(level)
    predictor = Predictor(LEVELS[level], columns) if content else None
    read, written = 0, target.write(_header(level, columns, versions) + versions)
    while predictor and content:
        written += target.write(SIZE.pack(len(content)))
        for words, meaning in predictor.written(content):
            head = len(words), zlib.crc32(meaning)
            written += target.write(FRAME_HEAD.pack(*head, _check(len(content), *head, words)) + words)
        read += len(content)
        report(read, written)
        content = _read(source, SEGMENT)
    report(read, written + target.write(SIZE.pack(0) + END.pack(read)))


def decompress(source: IO[bytes], target: IO[bytes], report: Callable[[int, int], Any] = lambda *_: None) -> None:
    """Restore what `compress` was given; `report` is called after each segment with the bytes read and written.

    Raises InputError for data that is no such file, is damaged, cut short or followed by other data, and where this machine or
    these versions compute other numbers than those that compressed it.
    """
    head = _read(source, HEADER.size)
    if head.startswith(BY_MODEL):
        raise InputError("the file was compressed by a model: name that before the file")
    if len(head) < HEADER.size or head[:3] != MAGIC[:3]:
        raise InputError("this is no file that lmgen compress --online wrote: give one")
    magic, name, columns, length, _ = HEADER.unpack(head)
    if magic != MAGIC:
        raise InputError("the file was written by a newer lmgen: install that")
    versions, level = _exactly(source, length), name.decode("latin-1")
    if head != _header(level, 1 << min(columns, 63), versions) or level not in LEVELS or 1 << columns > LEVELS[level].columns:
        raise InputError(DAMAGED)
    predictor: Predictor | None = None
    read, written = len(head) + length, 0
    while size := SIZE.unpack(_exactly(source, SIZE.size))[0]:
        if size > SEGMENT:
            raise InputError(DAMAGED)
        predictor = predictor or Predictor(LEVELS[level], 1 << columns)
        text, frames = np.zeros(size, np.uint8), _Frames(source, size)
        for meaning in predictor.read(text, frames):
            if zlib.crc32(meaning) != frames.wanted:
                raise InputError(_differs(versions.decode("latin-1"), level))
        read, written = read + SIZE.size + frames.bytes, written + target.write(text.tobytes())
        report(read, written)
    if END.unpack(_exactly(source, END.size))[0] != written:
        raise InputError(DAMAGED)
    if source.read(1):
        raise InputError("other data follows the end of the compressed file: cut that off")


class _Frames(Iterator[bytes]):
    """The words of the frames of a segment; `wanted` is the checksum of what the last one means."""

    def __init__(self, source: IO[bytes], segment: int):
        self.source, self.segment, self.wanted, self.bytes = source, segment, 0, 0

    def __next__(self) -> bytes:
        size, self.wanted, check = FRAME_HEAD.unpack(_exactly(self.source, FRAME_HEAD.size))
        if size > LARGEST or size % 4:
            raise InputError(DAMAGED)
        words = _exactly(self.source, size)
        if _check(self.segment, size, self.wanted, words) != check:
            raise InputError(DAMAGED)
        self.bytes += FRAME_HEAD.size + size
        return words


def _check(segment: int, size: int, meaning: int, words: bytes) -> int:
    """The checksum of a frame, which also knows the size of its segment."""
    return zlib.crc32(SIZE.pack(segment) + FRAME_HEAD.pack(size, meaning, 0) + words)


def _header(level: str, columns: int, versions: bytes) -> bytes:
    fields = MAGIC, level.encode("latin-1"), columns.bit_length() - 1, len(versions)
    return HEADER.pack(*fields, zlib.crc32(HEADER.pack(*fields, 0) + versions))


def _versions(level: str) -> bytes:
    """What the numbers of a level depend on; those of counts alone are the same everywhere."""
    if not LEVELS[level].size:
        return b""
    from lmgen.models import facts
    from lmgen.system import devices

    return f"{facts.versions()}; {devices.processor()}".encode("latin-1", "replace")[:255]


def _differs(then: str, level: str) -> str:
    now = _versions(level).decode("latin-1")
    if now == then:
        return "this machine does not compute the numbers by which the file was compressed: restore it where it was compressed"
    return f"the file was compressed with {then}, and here are {now}, which compute other numbers: restore it with the former"


def _read(source: IO[bytes], size: int) -> bytes:
    """This many bytes, or all that there are, also of a pipe that gives less at a time."""
    parts = []
    while size and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _exactly(source: IO[bytes], size: int) -> bytes:
    """This many bytes. Raises InputError where there are fewer."""
    found = _read(source, size)
    if len(found) < size:
        raise InputError("the file is cut short: copy it again")
    return found
