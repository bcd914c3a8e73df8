"""The signs of a text's faults, in counts: of what a reading of it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmgen.text import Piece

OPENING = 1 << 18  # characters of a text in which repetition is looked for
DOUBLINGS = 6
STRETCH = 1 << DOUBLINGS  # characters of what may repeat
_PRIME = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Signs:
    """What a reading shows of the faults of a text, in counts; `advice.warnings` makes sentences of them.

    `characters` are those of the text with line ends, `longest` those of its longest sequence; `repeated` of the `sequences`
    (those that are not empty) equal an earlier one; `repetition` is the share of the stretches of 64 characters of its opening
    that equal an earlier one; `damaged` counts the characters of each kind of `damage.KINDS`; `shared` of the `compared`
    sequences of the validation text (with `carry`: runs of three) stand in the training text, too; `unknown` of the `held_out`
    symbols the vocabulary lacks.
    """

    noun: str  # of a symbol
    sequence: str
    carry: bool
    characters: int
    sequences: int
    repeated: int
    damaged: dict[str, int]
    longest: int = 0
    repetition: float = 0.0
    compared: int = 0
    shared: int = 0
    held_out: int = 0
    unknown: int = 0


class Shape:
    """How many characters a text has, line ends included, how many its longest sequence has, and how its opening repeats."""

    def __init__(self) -> None:
        self.characters = self.longest = self._length = self._held = 0
        self._opening: list[str] = []

    def add(self, piece: Piece) -> None:
        """Take in the next part of the text."""
        self.characters += len(piece.text) + piece.gap
        self._length = len(piece.text) + self._length * (not piece.begins)
        self.longest = max(self.longest, self._length)
        if self._held < OPENING:
            self._opening.append(piece.text[: OPENING - self._held] + "\n" * piece.ends)
            self._held += len(self._opening[-1])

    @property
    def repetition(self) -> float:
        """The share of the stretches of 64 characters that equal an earlier one, by a hash of each; 0 of a shorter text."""
        hashes = np.frombuffer("".join(self._opening).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
        factor = _PRIME
        for k in range(DOUBLINGS):  # the hash of twice as many characters, from those of both halves
            hashes = hashes[: -(1 << k)] * np.uint64(factor) + hashes[1 << k :]
            factor = factor * factor % (1 << 64)
        return 1 - len(np.unique(hashes)) / len(hashes) if len(hashes) else 0.0
