"""Compressed files, recognised by their first bytes and unpacked as they are read: never on the disk, never whole in memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from lmgen.errors import InputError

BUFFER = 1 << 16  # bytes unpacked at a time
LARGEST_RATIO = 1_000  # of unpacked bytes to packed ones, which no text reaches …
MUCH = 1 << 24  # … once this number of bytes is unpacked
LONGEST_MAGIC = 10
SUFFIXES = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Packing:
    """A form of compression: its name, the tool that unpacks it to stdout, and what opens it as a stream of unpacked bytes."""

    name: str
    tool: str
    opened: Callable[[Any], Any]


def _zstandard(file: io.RawIOBase) -> Any:
    try:
        from backports import zstd
    except ImportError:
        raise InputError("zstandard needs backports.zstd, which is not installed: pip install 'lmgen[zstd]'") from None
    return zstd.ZstdFile(file)


PACKINGS = {
    b"\x1f\x8b": Packing("gzip", "zcat", lambda file: gzip.GzipFile(fileobj=file)),
    **{b"BZh%d1AY&SY" % level: Packing("bzip2", "bzcat", bz2.BZ2File) for level in range(1, 10)},
    b"\xfd7zXZ": Packing("xz", "xzcat", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": Packing("zstandard", "zstdcat", _zstandard),
}


def packing_of(start: bytes) -> Packing | None:
    """The compression of what begins with these bytes."""
    return next((packing for magic, packing in PACKINGS.items() if start.startswith(magic)), None)


def unpacked(file: BinaryIO, name: str) -> tuple[BinaryIO, Packing | None]:
    """The unpacked content of an open file or pipe, and its compression; of any other file the content as it is.

    Reading raises InputError, which names the file, for damaged and truncated content and for a decompression bomb.
    """
    start = b""
    while len(start) < LONGEST_MAGIC and (more := file.read1(LONGEST_MAGIC - len(start))):  # type: ignore[attr-defined]
        start += more
        if not any(magic.startswith(start[: len(magic)]) for magic in PACKINGS):
            break
    packing = packing_of(start)
    if packing is None and file.seekable():
        file.seek(-len(start), io.SEEK_CUR)
        return file, None
    rest = _Rest(start, file)
    return io.BufferedReader(_Unpacking(rest, packing, name) if packing else rest, BUFFER), packing


class _Rest(io.RawIOBase):
    """A file whose first bytes, `start`, were read already, as one stream; `taken` counts the bytes that it has given.

    A read gives what is there, so that it does not wait for more of a pipe.
    """

    def __init__(self, start: bytes, file: BinaryIO):
        self.start, self.file, self.taken = start, file, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        part = self.start[: len(into)] or self.file.read1(len(into))  # type: ignore[attr-defined]
        self.start = self.start[len(part) :]
        into[: len(part)] = part
        self.taken += len(part)
        return len(part)

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()
        super().close()


class _Unpacking(io.RawIOBase):
    """The unpacked bytes of a compressed file."""

    def __init__(self, packed: _Rest, packing: Packing, name: str):
        self.packed, self.packing, self.name, self.given = packed, packing, name, 0
        self.stream = packing.opened(packed)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        try:
            part = self.stream.read1(len(into))
        except EOFError:
            way = "copy or download it again"
            raise InputError(f"{self.name} ends in the middle of its {self.packing.name} data: {way}") from None
        except MemoryError:
            raise InputError(f"{self.name} needs more memory than there is to be unpacked: pack it at a lower level") from None
        except Exception as error:  # each library has errors of its own
            raise InputError(f"{self.name} is damaged {self.packing.name} data ({error}): copy it again") from None
        self.given += len(part)
        if self.given > MUCH and self.given > LARGEST_RATIO * self.packed.taken:
            ratio = f"{LARGEST_RATIO:,} times its size"
            raise InputError(f"{self.name} unpacks to more than {ratio}, as no text does: give the text itself")
        into[: len(part)] = part
        return len(part)

    def fileno(self) -> int:
        return self.packed.fileno()

    def close(self) -> None:
        self.stream.close()
        self.packed.close()
        super().close()
