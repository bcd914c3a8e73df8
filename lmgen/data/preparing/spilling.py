"""What grows with a text beyond memory: fingerprints, and how often each word occurs. Beyond a limit they go to disk.

A file of this kind has no name, so that nothing is left of it however the process ends. It is checked as it is read back.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import weakref
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import IO

import numpy as np

from lmgen.data import subword
from lmgen.errors import LmgenError
from lmgen.system import cache, files

MOST_HASHES = 1 << 22  # fingerprints that are sorted in memory
MOST_WORDS = 1 << 19  # kinds of words that are counted in memory
FAN_IN = 16  # runs that are merged at a time
AT_A_TIME = 1 << 16  # fingerprints of a run that are read at a time …
WORDS_AT_A_TIME = 1 << 13  # … and words

Block = tuple[list[str], list[int]]  # words in order, and how often each occurs


class Spill:
    """Blocks of bytes in a file without a name. Raises LmgenError where the disk is full, or holds something else."""

    def __init__(self) -> None:
        self.folder = cache.folder("corpora")
        self.blocks: list[tuple[int, int]] = []  # the size and the checksum of each
        with self._explained():
            self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        weakref.finalize(self, _close, self.file)

    def write(self, content: bytes) -> None:
        """Append a block."""
        with self._explained():
            self.file.write(content)
            self.file.flush()
        self.blocks.append((len(content), zlib.crc32(content)))

    def __iter__(self) -> Iterator[bytes]:
        """The blocks as they were written."""
        at = 0
        for size, checksum in self.blocks:
            with self._explained():
                self.file.seek(at)
                content = self.file.read(size)
            if zlib.crc32(content) != checksum:
                raise LmgenError(f"a file in {self.folder} is not what was written: the disk or the memory is faulty")
            at += size
            yield content

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return files.explained(f"cannot prepare the text in {self.folder}", "; free some space, or set XDG_CACHE_HOME")


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # the disk is still full
        file.close()


# ---- fingerprints ------------------------------------------------------------------------------------------------------


class Hashes:
    """Fingerprints in the order in which they are added."""

    def __init__(self) -> None:
        self.length = 0
        self._held: list[np.ndarray] = []
        self._size = 0
        self._spill: Spill | None = None

    def add(self, hashes: np.ndarray) -> None:
        """Append fingerprints [n]."""
        self.length += len(hashes)
        self._size += len(hashes)
        self._held.append(hashes)
        if self._size > MOST_HASHES:
            self._spill = self._spill or Spill()
            self._spill.write(np.concatenate(self._held).tobytes())
            self._held, self._size = [], 0

    def blocks(self) -> Iterator[np.ndarray]:
        """All of them, in blocks."""
        if self._spill:
            yield from map(_hashes, self._spill)
        yield from self._held


def distinct(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Those fingerprints that differ, sorted; beyond `MOST_HASHES` in a file that is mapped into memory."""
    runs: list[Spill] = []
    held: list[np.ndarray] = []
    size = 0
    for block in blocks:
        held.append(block)
        size += len(block)
        if size > MOST_HASHES:
            runs.append(_written(_sorted(held)))
            held, size = [], 0
    if not runs:
        return _sorted(held)
    merged = Spill()
    for found in _merged_hashes([iter([_sorted(held)]), *(map(_hashes, run) for run in runs)]):
        merged.write(found.tobytes())
    return np.memmap(merged.file, np.uint64, "r", shape=(sum(size for size, _ in merged.blocks) // 8,))


def _written(run: np.ndarray) -> Spill:
    spill = Spill()
    for k in range(0, len(run), AT_A_TIME):
        spill.write(run[k : k + AT_A_TIME].tobytes())
    return spill


def _hashes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint64)


def _sorted(parts: list[np.ndarray]) -> np.ndarray:
    found = np.sort(np.concatenate([np.zeros(0, np.uint64), *parts]))
    return found[np.append(True, found[1:] != found[:-1])[: len(found)]]


def _merged_hashes(readers: list[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """The union of sorted runs: all up to the smallest last one of the blocks at hand, then on."""
    heads = [(block, reader) for reader in readers if len(block := next(reader, _NONE))]
    while heads:
        bound = min(block[-1] for block, _ in heads)
        ready, left = [], []
        for block, reader in heads:
            cut = int(np.searchsorted(block, bound, side="right"))
            ready.append(block[:cut])
            if len(rest := block[cut:] if cut < len(block) else next(reader, _NONE)):
                left.append((rest, reader))
        yield _sorted(ready)
        heads = left


_NONE = np.zeros(0, np.uint64)


# ---- words -------------------------------------------------------------------------------------------------------------


class WordCounts:
    """How often each word occurs: in memory up to `MOST_WORDS` kinds, beyond it in sorted runs on disk.

    `lossy` counts, from which subwords are learnt, stay in memory without the rarest words.
    """

    def __init__(self, lossy: bool = False) -> None:
        self._lossy = lossy
        self._counts = Counter[str]()
        self._levels: list[list[Spill]] = []  # the runs of level k are merged from FAN_IN of the level before

    def update(self, counts: Mapping[str, int] | Iterable[str]) -> None:
        """Count words, or add their counts."""
        self._counts.update(counts)
        if self._lossy:
            self._counts = subword.fewer(self._counts)
        elif len(self._counts) > MOST_WORDS:
            self._add(0, _run(_in_blocks(self._counts)))
            self._counts = Counter()

    def __bool__(self) -> bool:
        return bool(self._levels) or any(self._counts.values())

    def subtract(self, others: Mapping[str, int]) -> None:
        """Subtract counts, which these contain."""
        self.update({word: -n for word, n in others.items()})

    def items(self) -> Iterator[tuple[str, int]]:
        """Each word that occurs, with its number."""
        for words, counts in self._blocks():
            yield from ((word, n) for word, n in zip(words, counts, strict=True) if n > 0)

    def most(self, number: int) -> Counter[str]:
        """The `number` most frequent words, of equal ones those that come first in the order of code points."""
        found: list[tuple[int, str]] = []
        least = 1  # of the words that may be among them
        for words, counts in self._blocks():
            found += [(-n, word) for word, n in zip(words, counts, strict=True) if n >= least]
            if len(found) > 2 * number:
                found = sorted(found)[:number]
                least = -found[-1][0]
        return Counter({word: -n for n, word in sorted(found)[:number]})

    def _blocks(self) -> Iterator[Block]:
        """The counts, from memory or from one sorted run."""
        if not self._levels:
            yield [*self._counts], [*self._counts.values()]
            return
        runs = [run for level in self._levels for run in level]
        if self._counts or len(runs) > 1:
            runs = [_run(_merged_words([_in_blocks(self._counts), *map(_blocks, runs)]))]
            self._counts, self._levels = Counter(), [runs]
        yield from _blocks(runs[0])

    def _add(self, level: int, run: Spill) -> None:
        if level == len(self._levels):
            self._levels.append([])
        runs = self._levels[level]
        runs.append(run)
        if len(runs) == FAN_IN:
            self._levels[level] = []
            self._add(level + 1, _run(_merged_words([_blocks(run) for run in runs])))


def _in_blocks(counts: Mapping[str, int]) -> Iterator[Block]:
    words = sorted(counts)
    for k in range(0, len(words), WORDS_AT_A_TIME):
        some = words[k : k + WORDS_AT_A_TIME]
        yield some, [counts[word] for word in some]


def _run(blocks: Iterable[Block]) -> Spill:
    """A sorted run on disk: of each block the number of words, their counts and lengths, and the words."""
    run = Spill()
    for words, counts in blocks:
        numbers = np.concatenate([[len(words)], counts, [*map(len, words)]]).astype(np.int64)
        run.write(numbers.tobytes() + "".join(words).encode("utf-8", "surrogatepass"))
    return run


def _blocks(run: Spill) -> Iterator[Block]:
    for content in run:
        number = int.from_bytes(content[:8], sys.byteorder)
        counts, lengths = np.frombuffer(content[8 : 8 + 16 * number], np.int64).reshape(2, number)
        text = content[8 + 16 * number :].decode("utf-8", "surrogatepass")
        yield [text[a:b] for a, b in pairwise([0, *np.cumsum(lengths).tolist()])], counts.tolist()


def _merged_words(runs: list[Iterator[Block]]) -> Iterator[Block]:
    """The sum of sorted runs, in blocks: all up to the smallest last word of the blocks at hand, then on."""
    heads = [(*block, run) for run in runs if (block := next(run, None))]
    while heads:
        bound = min(words[-1] for words, _, _ in heads)
        total: dict[str, int] = {}
        left = []
        for words, counts, run in heads:
            cut = bisect_right(words, bound)
            for word, n in zip(words[:cut], counts[:cut], strict=True):
                total[word] = total.get(word, 0) + n
            if cut < len(words):
                left.append((words[cut:], counts[cut:], run))
            elif block := next(run, None):
                left.append((*block, run))
        found = sorted(total)
        yield found, [total[word] for word in found]
        heads = left
