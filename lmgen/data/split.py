"""Which sequences of a text are held out for validation."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lmgen.data.reading import Piece, Text

HELD_OUT = 0.1  # the share of a text that is held out, where no validation text is given …
HELD_OUT_CHARACTERS = 500_000  # … and about the most characters of it
LEAST_HELD_OUT = 500  # symbols: on fewer, choosing the best of several models is chance, so the model trains on them instead
WORTH_CUTTING = 2_000  # characters of a text from which on its tail is held out, if its items all fall on one side
LONG = 1_000  # characters of a line that may be cut to hold out its end
TRAINING, VALIDATION = -1, -2  # sides of a piece, beside the hashes that `Choice` yields


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
        pieces = text if pieces is None else pieces
        if self.head is not None:
            return self._by_tail(pieces, self.head, seen, text.sequence == "file")
        return self._by_item(pieces) if self.share else ((False, piece) for piece in pieces)

    def part(self, text: Text, held_out: bool) -> Iterator[Piece]:
        """The pieces of one side."""
        return (piece for side, piece in self.sides(text) if side == held_out)

    def holds_out(self, hash: int) -> bool:
        """Whether a sequence with this fingerprint is held out by item."""
        return hash < self.share * 2.0**64

    def _by_item(self, pieces: Iterable[Piece]) -> Iterator[tuple[bool, Piece]]:
        side = False
        for piece in pieces:
            if piece.begins:
                side = self.holds_out(fingerprint(piece.text))
            yield side, piece

    def _by_tail(self, pieces: Iterable[Piece], head: int, seen: int, is_file: bool) -> Iterator[tuple[bool, Piece]]:
        side = False
        for piece in pieces:
            if not side and seen >= head and piece.begins:
                side = True
            long = is_file or not (piece.begins and piece.ends) or len(piece.text) > max(LONG, head // 10)
            if not side and long and seen + len(piece.text) > head:
                cut = piece.text.find("\n", head - seen, -1) + 1 or head - seen  # at the end of a line that is not the last
                yield False, Piece(piece.text[:cut], piece.begins, True, 0)
                side, piece = True, Piece(piece.text[cut:], True, piece.ends, piece.gap)
            yield side, piece
            seen += _size(piece)


WHOLE = Split()  # nothing is held out


class Choice:
    """The split of a text, chosen while its pieces pass by once: `split` is known after the last one.

    What is held out depends on the length of the text, but the share only falls and the head only grows with every character.
    So all pieces but the last half million characters, and all sequences but those of low hash (whose number grows with the
    logarithm of the length), are known to train as they are read. The split is by tail where order matters, else by item (or by
    tail, where all items would fall on one side), and none where fewer than `least` characters would be held out. A split that
    is `given` is not chosen again.
    """

    def __init__(self, text: Text, carry: bool, least: int = LEAST_HELD_OUT, given: Split | None = None):
        self.text, self.least, self.given = text, least, given
        self.by_item = not carry and text.sequence != "file"
        self.split = given or WHOLE
        self.characters = 0
        self._low: Counter[int] = Counter()  # characters of the sequences that may be held out by item

    def sides(self, pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
        """Each piece (in two, where the head ends within it) with its side: TRAINING, VALIDATION, or a hash that `validates`
        knows after the last piece."""
        if self.given is None:
            return self._undecided(pieces)
        return ((VALIDATION if held_out else TRAINING, piece) for held_out, piece in self.given.sides(self.text, pieces))

    def validates(self, side: int) -> bool:
        """Whether pieces of this side are held out."""
        return side == VALIDATION or (side >= 0 and self.split.holds_out(side))

    def _undecided(self, pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
        last: deque[tuple[int, Piece]] = deque()  # the pieces that may be held out by tail
        seen, side = 0, TRAINING  # characters before them
        for piece in pieces:
            if self.by_item and piece.begins:
                hash = fingerprint(piece.text)
                side = hash if hash < _share(self.characters) * 2.0**64 else TRAINING
            if side != TRAINING:
                self._low[side] += _size(piece)
            self.characters += _size(piece)
            last.append((side, piece))
            head = self._head
            while seen + (size := _size(last[0][1])) < head:
                seen += size
                yield last.popleft()
        self.split = self._chosen([piece for _, piece in last], seen)
        if self.split.head is None:
            yield from last
        else:
            for held_out, piece in self.split.sides(self.text, (piece for _, piece in last), seen):
                yield VALIDATION if held_out else TRAINING, piece

    @property
    def _head(self) -> int:
        return round((1 - _share(self.characters)) * self.characters)

    def _chosen(self, last: list[Piece], seen: int) -> Split:
        item, tail = Split(share=_share(self.characters)), Split(head=self._head)
        if self.by_item and self._divides(sum(size for hash, size in self._low.items() if item.holds_out(hash))):
            return item
        if not self.by_item or self.characters >= WORTH_CUTTING:
            sides = tail.sides(self.text, last, seen)
            if self._divides(sum(_size(piece) for held_out, piece in sides if held_out)):
                return tail
        return WHOLE

    def _divides(self, held_out: int) -> bool:
        return self.least <= held_out < self.characters


def _size(piece: Piece) -> int:
    return len(piece.text) + piece.gap


def _share(characters: int) -> float:
    """The share of a text of so many characters that is held out."""
    return min(HELD_OUT, HELD_OUT_CHARACTERS / max(1, characters))


def fingerprint(sequence: str) -> int:
    """A 64-bit hash of a sequence: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(utf_8(sequence), digest_size=8).digest(), "little")


def utf_8(text: str) -> bytes:
    """The bytes of a text, which may hold halves of characters."""
    return text.encode("utf-8", "surrogatepass")


def split_of(text: Text, carry: bool, least: int = LEAST_HELD_OUT) -> Split:
    """The split that `lmgen train` chooses for a text, as `Choice` says."""
    choice = Choice(text, carry, least)
    for _ in choice.sides(text):
        pass
    return choice.split


def split_of_format_1(text: Text, carry: bool) -> Split:
    """The split of models of format 1, whose config.json lacks it: they held out any part, however small, and for a tail they
    took instead of a share they did not count line ends. Such a text is read twice more."""
    written = gaps = 0
    for piece in text:
        written += len(piece.text)
        gaps += piece.gap
    share = _share(written + gaps)
    if carry or text.sequence == "file":
        return Split(head=round((1 - share) * (written + gaps)))
    item = Split(share=share)
    sides = {held_out for held_out, _ in item.sides(text)}
    if len(sides) == 2 or (written < WORTH_CUTTING and False in sides):
        return item
    return WHOLE if written < WORTH_CUTTING else Split(head=round((1 - share) * written))
