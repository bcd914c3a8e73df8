"""The symbols of a text: how often each occurs, which are rare, and which share of them vocabularies of some sizes lack."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest

import numpy as np

from lmgen.data.reading import Piece
from lmgen.data.split import fingerprint
from lmgen.data.vocab import SPECIAL, UNITS

# The sizes of the vocabularies whose unknown share is reported.
SIZES_OF_CHARACTERS = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
SIZES_OF_WORDS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
RARE = 5  # a symbol seen less often is rare
MOST_WORDS = 4_000_000  # kinds of words that are counted one by one
LONG_WORD = 100  # characters of a word beyond which its beginning and fingerprint stand for it
SHOWN = 40  # characters of a sequence in an excerpt


@dataclass(frozen=True)
class Symbols:
    """The number of characters or words, of their kinds (at least), and of those that occur once, or fewer than `RARE` times."""

    unit: str
    total: int
    kinds: int
    once: int
    rare: int
    examples: list[str]  # of the rare ones


@dataclass(frozen=True)
class Unknown:
    """The share of the symbols of a part that a vocabulary of `size` ids (None: all) lacks, made from the training part."""

    unit: str
    of: str
    size: int | None
    share: float


def excerpt(text: str) -> str:
    """The first `SHOWN` characters of a sequence, on one line."""
    return re.sub(r"\s", " ", text[:SHOWN]) + "…" * (len(text) > SHOWN)


class Characters:
    """How often each character occurs, counted many at a time."""

    def __init__(self) -> None:
        self.points = np.zeros(0x110000, np.int64)
        self._held: list[str] = []
        self._size = 0

    def add(self, text: str) -> None:
        self._held.append(text)
        self._size += len(text)
        if self._size > 1 << 16:
            self._count()

    def counts(self) -> dict[str, int]:
        """Each character that occurs, with its number."""
        self._count()
        return {chr(point): int(self.points[point]) for point in np.flatnonzero(self.points)}

    def _count(self) -> None:
        found = np.bincount(np.frombuffer("".join(self._held).encode("utf-32-le", "surrogatepass"), "<u4"))
        self.points[: len(found)] += found
        self._held, self._size = [], 0


class Counts:
    """How often each character and each word occurs; beyond `MOST_WORDS` kinds, new words are only counted as `others`."""

    def __init__(self, unit: str, pieces: Iterable[Piece] = ()):
        self.unit, self.characters, self.words, self.others = unit, Characters(), Counter[str](), 0
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        """Count the symbols of the next part of a text."""
        self.characters.add(piece.text)
        found = UNITS[self.unit].split(piece.text, begins=piece.begins)
        if len(piece.text) > LONG_WORD:
            found = [w if len(w) <= LONG_WORD else f"{w[:SHOWN]}…{fingerprint(w):x}" for w in found]
        if len(self.words) >= MOST_WORDS:
            self.others += len(found)
            found = [word for word in found if word in self.words]
            self.others -= len(found)
        self.words.update(found)

    def __add__(self, other: Counts) -> Counts:
        both = Counts(self.unit)
        for one in (self, other):
            one.characters.counts()
            both.characters.points += one.characters.points
        both.words, both.others = self.words + other.words, self.others + other.others
        return both

    def by_unit(self, unit: str) -> tuple[Mapping[str, int], int]:
        """The number of each character or word, and of all."""
        counts = self.characters.counts() if unit == "char" else self.words
        return counts, sum(counts.values()) + self.others * (unit != "char")

    def symbols(self, unit: str) -> Symbols:
        """The report on characters or words."""
        counts, total = self.by_unit(unit)
        rare = [(n, symbol) for symbol, n in counts.items() if n < RARE]
        examples = [excerpt(symbol) for _, symbol in nsmallest(10, rare)]
        return Symbols(unit, total, len(counts), sum(n == 1 for n, _ in rare), len(rare), examples)


def unknown_shares(unit: str, parts: Mapping[str, Counts]) -> Iterator[Unknown]:
    """The share that vocabularies of growing size lack of each validating part, or of the training text if there is none."""
    counts, _ = parts["training"].by_unit(unit)
    kept = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    some = SIZES_OF_CHARACTERS if unit == "char" else SIZES_OF_WORDS
    sizes: list[int | None] = [size for size in some if size < len(kept) + SPECIAL]
    for name in [name for name in parts if name != "training"] or ["training"]:
        of, total = parts[name].by_unit(unit)
        seen = np.cumsum([0, *(of.get(symbol, 0) for symbol in kept)])
        for size in [*sizes, None]:
            known = int(seen[-1] if size is None else seen[size - SPECIAL])
            yield Unknown(unit, name, size, (total - known) / total if total else 0.0)
