"""Which sequences of a text are held out for validation."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lmgen.data.reading import Piece, Text

HELD_OUT = 0.1  # the share of a text that is held out, where no validation text is given …
HELD_OUT_CHARACTERS = 500_000  # … and about the most characters of it
LEAST_HELD_OUT = 500  # symbols: on fewer, choosing the best of several models is chance, so the model trains on them instead
WORTH_CUTTING = 2_000  # characters of a text from which on its tail is held out, if its items all fall on one side
LONG = 1_000  # characters of a line that may be cut to hold out its end
SIDES = TRAINING, VALIDATION = -1, -2  # the sides of a piece for `Choice`, which also has hashes in their place


@dataclass(frozen=True)
class Split:
    """The rule by which sequences are held out.

    By item (`share` of the distinct sequences, chosen by their hash, so that equal ones are on one side), by tail (all after
    `head` characters, for running text), or none.
    """

    share: float = 0.0
    head: int | None = None

    def sides(self, text: Text, pieces: Iterable[Piece] | None = None, seen: int = 0) -> Iterator[tuple[bool, Piece]]:
        """Each piece with its side: True where it is held out. `pieces` are all of the text, or those after `seen` characters."""
        side, head, is_file = False, self.head, text.sequence == "file"
        for piece in text if pieces is None else pieces:
            if head is None and self.share and piece.begins:
                side = self.holds_out(fingerprint(piece.text))
            elif head is not None and not side:
                side = seen >= head and piece.begins
                long = is_file or not (piece.begins and piece.ends) or len(piece.text) > max(LONG, head // 10)
                if not side and long and seen + len(piece.text) > head:
                    cut = piece.text.find("\n", head - seen, -1) + 1 or head - seen  # at the end of a line that is not the last
                    yield False, Piece(piece.text[:cut], piece.begins, True, 0)
                    side, piece = True, Piece(piece.text[cut:], True, piece.ends, piece.gap)
                seen += size_of(piece)
            yield side, piece

    def part(self, text: Text, held_out: bool) -> Iterator[Piece]:
        """The pieces of one side."""
        return (piece for side, piece in self.sides(text) if side == held_out)

    def holds_out(self, hash: int) -> bool:
        """Whether a sequence with this fingerprint is held out by item."""
        return hash < self.share * 2.0**64

    def among(self, hashes: np.ndarray) -> np.ndarray:
        """Which sequences are held out by item, by their fingerprints [n]."""
        bound = math.ceil(self.share * 2.0**64)
        return hashes < np.uint64(bound) if bound < 1 << 64 else np.ones(len(hashes), bool)


WHOLE = Split()  # nothing is held out


class Choice:
    """The split of a text, chosen while its pieces pass by once: `split` is known after the last one.

    By tail where order matters, else by item (or by tail, where all items would fall on one side), and none where fewer than
    `least` characters would be held out. That depends on the length of the text, but the share only falls and the head only
    grows with every character. So all but the last half million characters and the sequences of low hash (whose number grows
    with the logarithm of the length) are known to train as soon as they are read. A `given` split is kept.
    """

    def __init__(self, text: Text, carry: bool, least: int = LEAST_HELD_OUT, given: Split | None = None):
        self.text, self.carry, self.least, self.given, self.split = text, carry, least, given, given or WHOLE
        self.by_item = not carry and text.sequence != "file"

    def sides(self, pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
        """Each piece (in two, where the head ends within it) with its side: TRAINING, VALIDATION, or a hash, on which `validates`
        decides after the last piece."""
        if self.given:
            yield from ((SIDES[held_out], piece) for held_out, piece in self.given.sides(self.text, pieces))
            return
        last: deque[tuple[int, Piece]] = deque()  # the pieces that may be held out by tail …
        seen, side = 0, TRAINING  # … and the number of characters before them
        share, head, characters = HELD_OUT, 0, 0
        sizes: Counter[int] = Counter()  # characters of each side
        for piece in pieces:
            if self.by_item and piece.begins:
                hash = fingerprint(piece.text)
                side = hash if hash < share * 2.0**64 else TRAINING
            sizes[side] += size_of(piece)
            characters += size_of(piece)
            share = share_of(characters)
            head = round((1 - share) * characters)
            last.append((side, piece))
            while seen + (size := size_of(last[0][1])) < head:
                seen += size
                yield last.popleft()
        kept = [piece for _, piece in last]

        def held_out(split: Split) -> int:
            if split.head is None:
                return sum(size for side, size in sizes.items() if side >= 0 and split.holds_out(side))
            return sum(size_of(piece) for held_out, piece in split.sides(self.text, kept, seen) if held_out)

        self.decide(characters, held_out)
        if self.split.head is not None:
            yield from ((SIDES[held_out], piece) for held_out, piece in self.split.sides(self.text, kept, seen))
        else:
            yield from last

    def decide(self, characters: int, held_out: Callable[[Split], int]) -> None:
        """Choose the split of a text with this number of characters; `held_out` gives the number that a split holds out."""
        share = share_of(characters)
        tail = Split(head=round((1 - share) * characters))
        ways = [Split(share)] * self.by_item + [tail] * (not self.by_item or characters >= WORTH_CUTTING)
        self.split = next((way for way in ways if self.least <= held_out(way) < characters), WHOLE)

    def validates(self, side: int) -> bool:
        """Whether pieces of this side are held out."""
        return side == VALIDATION or (side >= 0 and self.split.holds_out(side))


def size_of(piece: Piece) -> int:
    """The number of characters of a piece with its line ends."""
    return len(piece.text) + piece.gap


def share_of(characters: int) -> float:
    """The share that is held out of a text of this length."""
    return min(HELD_OUT, HELD_OUT_CHARACTERS / max(1, characters))


def fingerprint(sequence: str) -> int:
    """A 64-bit hash of a sequence: the same on every machine."""
    return fingerprint_of(utf_8(sequence))


def fingerprint_of(sequence: bytes) -> int:
    """The fingerprint of a sequence, from its UTF-8."""
    return int.from_bytes(hashlib.blake2b(sequence, digest_size=8).digest(), "little")


def utf_8(text: str) -> bytes:
    """The bytes of a text, which may hold halves of characters."""
    return text.encode("utf-8", "surrogatepass")


def split_of(text: Text, carry: bool, least: int = LEAST_HELD_OUT) -> Split:
    """The split that `lmgen train` chooses for a text, as `Choice` says."""
    choice = Choice(text, carry, least)
    deque(choice.sides(text), maxlen=0)
    return choice.split


def split_of_format_1(text: Text, carry: bool) -> Split:
    """The split of models of format 1, whose config.json lacks it. They held out any part, however small, and did not count line
    ends for a tail that they took instead of items. Such a text is read twice more."""
    written = gaps = 0
    for piece in text:
        written += len(piece.text)
        gaps += piece.gap
    share = share_of(written + gaps)
    if carry or text.sequence == "file":
        return Split(head=round((1 - share) * (written + gaps)))
    sides = {held_out for held_out, _ in Split(share).sides(text)}
    if len(sides) == 2 or (written < WORTH_CUTTING and False in sides):
        return Split(share)
    return WHOLE if written < WORTH_CUTTING else Split(head=round((1 - share) * written))
