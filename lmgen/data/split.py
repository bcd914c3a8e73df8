"""Which sequences of a text are held out to validate on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from lmgen.data.reading import Piece, Text

HELD_OUT = 0.1  # the share of a text that validates, where no validation text is given …
HELD_OUT_CHARACTERS = 500_000  # … and about the most characters it takes
LEAST_HELD_OUT = 500  # symbols: the "best" of several models on fewer is chance, so the model learns them instead
WORTH_CUTTING = 2_000  # characters in so few sequences that they all fell to one side, from which on the tail is held out
LONG = 1_000  # characters of a line that may be cut to hold out its end


@dataclass(frozen=True)
class Split:
    """Which sequences of a text are held out.

    By item (`share` of the distinct sequences, chosen by their hash, so that equal ones stand on one side), by tail (what comes
    after `head` characters, for running text), or not at all. The side is True where a piece is held out.
    """

    share: float = 0.0
    head: int | None = None

    def sides(self, text: Text) -> Iterator[tuple[bool, Piece]]:
        """Each piece with its side."""
        if self.head is not None:
            return self._by_tail(text, self.head)
        return self._by_item(text) if self.share else ((False, piece) for piece in text)

    def part(self, text: Text, held_out: bool) -> Iterator[Piece]:
        """The pieces of one side."""
        return (piece for side, piece in self.sides(text) if side == held_out)

    def _by_item(self, text: Text) -> Iterator[tuple[bool, Piece]]:
        side = False
        for piece in text:
            if piece.begins:
                side = fingerprint(piece.text) < self.share * 2.0**64
            yield side, piece

    def _by_tail(self, text: Text, head: int) -> Iterator[tuple[bool, Piece]]:
        seen, side = 0, False
        for piece in text:
            if not side and seen >= head and piece.begins:
                side = True
            part = not (piece.begins and piece.ends)
            long = text.sequence == "file" or part or len(piece.text) > max(LONG, head // 10)
            if not side and long and seen + len(piece.text) > head:
                cut = piece.text.find("\n", head - seen, -1) + 1 or head - seen  # at the end of a line that is not the last
                yield False, Piece(piece.text[:cut], piece.begins, True, 0)
                side, piece = True, Piece(piece.text[cut:], True, piece.ends, piece.gap)
            yield side, piece
            seen += len(piece.text) + piece.gap


WHOLE = Split()  # all of a text trains


def fingerprint(sequence: str) -> int:
    """A 64-bit hash of a sequence: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(sequence.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def split_of(text: Text, carry: bool, least: int = LEAST_HELD_OUT) -> Split:
    """How to hold out a part of this text: by tail where order matters, by distinct item where it does not (or by tail, where all
    of it would fall to one side). Nothing is held out where that would be fewer than `least` characters."""
    characters = sum(len(piece.text) + piece.gap for piece in text)
    share = min(HELD_OUT, HELD_OUT_CHARACTERS / max(1, characters))
    tail = Split(head=round((1 - share) * characters))
    if carry or text.sequence == "file":
        ways = [tail]
    else:
        ways = [Split(share=share), tail] if characters >= WORTH_CUTTING else [Split(share=share)]
    return next((way for way in ways if _divides(way, text, least)), WHOLE)


def split_of_format_1(text: Text, carry: bool) -> Split:
    """How models of format 1, which do not say it, held out a part: any part at all, its beginning counted without line ends."""
    written = gaps = 0
    for piece in text:
        written += len(piece.text)
        gaps += piece.gap
    share = min(HELD_OUT, HELD_OUT_CHARACTERS / max(1, written + gaps))
    if carry or text.sequence == "file":
        return Split(head=round((1 - share) * (written + gaps)))
    if _divides(Split(share=share), text, 1) or written < WORTH_CUTTING:
        sides = [side for side, _ in Split(share=share).sides(text)]
        return WHOLE if all(sides) else Split(share=share)
    return Split(head=round((1 - share) * written))


def _divides(split: Split, text: Text, least: int) -> bool:
    """Whether a split leaves something to train on and `least` characters to validate; reads no further than it takes to see."""
    held_out, trains = 0, False
    for side, piece in split.sides(text):
        trains |= not side
        held_out += side * (len(piece.text) + piece.gap)
        if trains and held_out >= least:
            return True
    return False
