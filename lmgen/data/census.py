"""The symbols of a text: how many there are of each kind, which are rare, and what a vocabulary of some size would not know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import nsmallest

import numpy as np

from lmgen.data.reading import Piece, Text
from lmgen.data.split import WHOLE, fingerprint, split_of
from lmgen.data.vocab import SPECIAL, UNITS

# The vocabularies whose unknown share is told.
SIZES_OF_CHARACTERS = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
SIZES_OF_WORDS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
RARE = 5  # a symbol seen less often is rare
MOST_WORDS = 4_000_000  # kinds of words that are counted; one that first comes later is not
LONG_WORD = 100  # characters from which on a word is known by its beginning and its fingerprint
SHOWN = 40  # characters of a sequence that are shown


@dataclass(frozen=True)
class Symbols:
    """Characters or words: how many, of how many kinds (at least), how many kinds occur once and fewer than `RARE` times."""

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
    """What is shown of a sequence: its first `SHOWN` characters, on one line."""
    return re.sub(r"\s", " ", text[:SHOWN]) + "…" * (len(text) > SHOWN)


class Counts:
    """How often each character and each word occurs; beyond `MOST_WORDS` kinds, new words are only counted as `others`."""

    def __init__(self, unit: str):
        self.unit = unit
        self.points = np.zeros(0x110000, np.int64)
        self.words: Counter[str] = Counter()
        self.others = 0
        self._held: list[str] = []
        self._size = 0

    def add(self, piece: Piece) -> None:
        """Count the symbols of the next part of a text."""
        self._held.append(piece.text)
        self._size += len(piece.text)
        if self._size > 1 << 16:
            self.flush()
        found = UNITS[self.unit].split(piece.text, begins=piece.begins)
        if len(piece.text) > LONG_WORD:
            found = [w if len(w) <= LONG_WORD else f"{w[:SHOWN]}…{fingerprint(w):x}" for w in found]
        if len(self.words) < MOST_WORDS:
            self.words.update(found)
        else:
            counted = [word for word in found if word in self.words]
            self.words.update(counted)
            self.others += len(found) - len(counted)

    def flush(self) -> None:
        """Count the characters that are held back: many at once are counted quickly."""
        found = np.bincount(np.frombuffer("".join(self._held).encode("utf-32-le", "surrogatepass"), "<u4"))
        self.points[: len(found)] += found
        self._held, self._size = [], 0

    def __add__(self, other: Counts) -> Counts:
        both = Counts(self.unit)
        both.points = self.points + other.points
        both.words, both.others = self.words + other.words, self.others + other.others
        return both

    def of(self, unit: str) -> Counter[str] | dict[str, int]:
        """Each symbol of a unit with its number."""
        return {chr(p): int(self.points[p]) for p in np.flatnonzero(self.points)} if unit == "char" else self.words

    def total(self, unit: str) -> int:
        """All symbols of a unit."""
        return int(self.points.sum()) if unit == "char" else self.words.total() + self.others

    def symbols(self, unit: str) -> Symbols:
        """What is told of the symbols of a unit."""
        counts = self.of(unit)
        rare = [(n, symbol) for symbol, n in counts.items() if n < RARE]
        once, examples = sum(n == 1 for n, _ in rare), nsmallest(10, rare)
        return Symbols(unit, self.total(unit), len(counts), once, len(rare), [excerpt(s) for _, s in examples])


def counted(pieces: Iterable[Piece], unit: str) -> Counts:
    counts = Counts(unit)
    for piece in pieces:
        counts.add(piece)
    counts.flush()
    return counts


def parts(text: Text, valid: Text | None, test: Text | None, unit: str) -> dict[str, Counts]:
    """The symbols of the training part, and of each part that measures: given, or held out as `lmgen train` would."""
    split = WHOLE if valid else split_of(text, text.keep_blank)
    parts = {"training": Counts(unit), "held-out": Counts(unit)}
    for held_out, piece in split.sides(text):
        parts["held-out" if held_out else "training"].add(piece)
    for part in parts.values():
        part.flush()
    parts |= {name: counted(given, unit) for name, given in (("validation", valid), ("test", test)) if given}
    if not parts["held-out"].total("char"):
        del parts["held-out"]
    return parts


def unknown_shares(unit: str, parts: dict[str, Counts]) -> Iterator[Unknown]:
    """What vocabularies of growing size lack of each part that measures; of the training text itself, where there is none."""
    counts = parts["training"].of(unit)
    kept = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    some = SIZES_OF_CHARACTERS if unit == "char" else SIZES_OF_WORDS
    sizes: list[int | None] = [size for size in some if size < len(kept) + SPECIAL]
    for name in [name for name in parts if name != "training"] or ["training"]:
        of, total = parts[name].of(unit), parts[name].total(unit)
        seen = np.cumsum([0, *(of.get(symbol, 0) for symbol in kept)])
        for size in [*sizes, None]:
            known = int(seen[-1] if size is None else seen[size - SPECIAL])
            yield Unknown(unit, name, size, (total - known) / total if total else 0.0)
