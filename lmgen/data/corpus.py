"""A text as ids to train on and ids to validate on, with its vocabulary, its fingerprints and the signs of its faults.

The ids of a text are one stream `EOS e m m a EOS o l i v i a EOS`: every EOS after the first is predicted, every one but the
last is read. A text is decoded once to scan it and, unless its ids are in the cache, once more to encode both its sides.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lmgen.data import advice, damage, subword
from lmgen.data.advice import Shape, Signs
from lmgen.data.finding import names_of
from lmgen.data.ids import Ids, encode, encode_sides
from lmgen.data.reading import Piece, Text
from lmgen.data.split import LEAST_HELD_OUT, TRAINING, WHOLE, Choice, Split, fingerprint
from lmgen.data.symbols import Characters
from lmgen.data.vocab import UNITS, Vocab
from lmgen.data.writing import segments
from lmgen.errors import InputError

__all__ = ["Corpus", "Ids", "among", "encode", "fingerprint", "load", "runs", "unit_noun"]
PER_WORD = 5  # characters, about
EMPTY = np.uint64(fingerprint(""))


@dataclass(frozen=True)
class Corpus:
    """The data of a training: ids to train on and held-out ids (None where the text is too small), the vocabulary, the sorted
    fingerprints of the sequences, by which samples are classed as known or new, the signs of faults, and the split."""

    train: Ids
    valid: Ids | None
    vocab: Vocab
    known: np.ndarray
    sha256: str
    signs: Signs
    notes: tuple[str, ...] = ()
    split: Split = WHOLE

    @property
    def warnings(self) -> list[str]:
        """Sentences on the faults of the text, the most serious first."""
        return advice.warnings(self.signs)

    @property
    def summary(self) -> str:
        """The size of the text, in words."""
        return f"{self.signs.characters:,} characters with line ends"


def load(
    text: Text,
    valid: Text | None,
    unit: str,
    carry: bool,
    min_count: int = 1,
    vocab_size: int | None = None,
    unk_token: str | None = None,
    vocab: Vocab | None = None,
    split: Split | None = None,
) -> Corpus:
    """Scan, split and encode a text, with `vocab` if given (by a model that was trained on it).

    Without a validation text, `split` gives the held-out part, or else the length of the text does. Vocabulary and every other
    choice come from the training part only. Raises InputError where there is nothing to train on.
    """
    least = LEAST_HELD_OUT * (1 if unit == "char" else PER_WORD)
    choice = Choice(text, carry, least, WHOLE if valid else split)
    counts, hashes, known, signs = _scan(text, choice, unit, unk_token)
    if not counts:
        raise InputError(f"there is no text in {names_of(text.paths)}: give a file with at least one line of it")
    if valid:
        _, of_valid, _, its_signs = _scan(valid, Choice(valid, carry, least, WHOLE), unit, unk_token)
        if not its_signs.characters:
            raise InputError(f"there is no text in {names_of(valid.paths)}: give validation text, or leave --valid out")
        compared, within = of_valid[of_valid != EMPTY], known
        if carry:  # in running text a short line occurs again by chance
            compared, within = runs(compared), np.unique(runs(hashes[hashes != EMPTY]))
        signs = replace(signs, compared=len(compared), shared=int(np.count_nonzero(among(compared, within))))
    vocab = vocab or Vocab.of(counts, unit, min_count, vocab_size, unk_token)
    train, *held_out = _encoded(text, choice.split, vocab)
    if valid:
        held_out = _encoded(valid, WHOLE, vocab)
    rest = held_out[0] if held_out and held_out[0].symbols else None
    if rest and unk_token is None:  # a corpus that marks its unknown words is aware of them
        signs = replace(signs, held_out=rest.symbols - rest.sequences, unknown=rest.unknown)
    texts = [text, valid] if valid else [text]
    notes = tuple(note for one in texts for note in one.notes)
    return Corpus(train, rest, vocab, known, "+".join(one.sha256 for one in texts), signs, notes, choice.split)


def _scan(text: Text, choice: Choice, unit: str, unk_token: str | None) -> tuple[Counter[str], np.ndarray, np.ndarray, Signs]:
    """The first pass: the counts of the symbols of the training part, the fingerprints of all sequences (as the unit writes
    them), in order and sorted, and the signs of faults that need neither a vocabulary nor another text."""
    shape, found, garbled = Shape(), array("Q"), 0
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)  # of each side
    split, join = Vocab(unit, (), unk_token).split, UNITS[unit].join
    plain = unit == "char" and not unk_token
    characters = Characters()  # of most of the training part
    for side, piece in choice.sides(shape.measured(text)):
        symbols = piece.text if plain else split(piece.text, piece.begins)
        if plain and side == TRAINING:
            characters.add(piece.text)
        else:
            counts[side].update(symbols)
            if UNITS[unit].learns:
                counts[side] = subword.fewer(counts[side])
        if piece.begins and piece.ends:
            found.append(fingerprint(piece.text if plain else join(symbols)))
        if not piece.text.isascii():
            garbled += sum(len(was) for _, was in damage.garbled(piece.text))
    train, held_out = counts.pop(TRAINING, Counter()), Counter[str]()
    train.update(characters.counts())
    for side, some in counts.items():
        (held_out if choice.validates(side) else train).update(some)
    hashes = np.frombuffer(found, np.uint64)
    known, sequences = np.unique(hashes), int(np.count_nonzero(hashes != EMPTY))
    damaged = damage.count(train) + damage.count(held_out) + Counter(garbled=garbled)
    repeated = sequences - int(np.count_nonzero(known != EMPTY))
    noun, size, longest = UNITS[unit].noun, shape.characters, shape.longest
    signs = Signs(noun, text.sequence, choice.carry, size, sequences, repeated, damaged, longest, shape.repetition)
    if noun == "word" and not UNITS[unit].language:
        signs = replace(signs, unspaced=segments.language_of(train))
    return train, hashes, known, signs


def _encoded(text: Text, split: Split, vocab: Vocab) -> list[Ids]:
    """The ids to train on and, unless the split is WHOLE, those held out, of a text that has been scanned."""
    key = f"{text.sha256}-{text.how}-{split}-{vocab.sha256}"
    sides = [False] if split == WHOLE else [False, True]
    keys = [hashlib.sha256(f"{key}-{held_out}".encode()).hexdigest() for held_out in sides]
    return encode_sides(_unchanged(split.sides(text), text), vocab, keys)


def _unchanged(sides: Iterator[tuple[bool, Piece]], text: Text) -> Iterator[tuple[bool, Piece]]:
    """The pieces of a text, and InputError at their end where it is not the text that was scanned."""
    sha256 = text.sha256
    yield from sides
    if text.sha256 != sha256:
        raise InputError(f"{names_of(text.paths)} changed while it was read: wait until it is written, then start again")


def runs(hashes: np.ndarray) -> np.ndarray:
    """A fingerprint of each run of three sequences, from theirs."""
    prime = np.uint64(0x9E3779B97F4A7C15)
    return (hashes[:-2] * prime + hashes[1:-1]) * prime + hashes[2:]


def among(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the hashes are among the sorted ones."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    return known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes


def unit_noun(vocab: Vocab) -> str:
    """The noun for a symbol of this vocabulary."""
    return UNITS[vocab.unit].noun
