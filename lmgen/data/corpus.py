"""A text as ids, its held-out part, and the windows [T + 1, B] that training reads.

The ids of a text are one stream `EOS e m m a EOS o l i v i a EOS`: every EOS after the first is predicted, every one but the
last is read. T is the length of a window, B the number of columns that read side by side.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmgen.data import damage
from lmgen.data.damage import Shape, Signs
from lmgen.data.finding import names_of
from lmgen.data.ids import Ids, encode
from lmgen.data.reading import Piece, Text
from lmgen.data.split import LEAST_HELD_OUT, WHOLE, Split, fingerprint, split_of
from lmgen.data.vocab import UNITS, Vocab
from lmgen.errors import InputError

PER_WORD = 5  # characters, about


@dataclass(frozen=True)
class Corpus:
    """What training reads: ids to train on, ids held out (none of them, where the text is too small), the vocabulary, sorted
    hashes of the sequences that the text holds, by which samples are told new or known, the signs of its faults, and what is held
    out of the text."""

    train: Ids
    valid: Ids | None
    vocab: Vocab
    known: np.ndarray
    sha256: str
    signs: Signs
    notes: tuple[str, ...] = ()
    split: Split = WHOLE

    @cached_property
    def characters_per_symbol(self) -> float:
        return self.train.characters / max(1, self.train.symbols)


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
    """Count, split and encode a text; with `vocab` (a training that goes on) nothing is counted.

    Without a validation text `split` says what is held out, or else the size of the text does. Vocabulary and every other choice
    come from the training part only. Raises InputError where there is nothing to train on.
    """
    least = LEAST_HELD_OUT * (1 if unit == "char" else PER_WORD)
    split = WHOLE if valid else split or split_of(text, carry, least)
    read = _count(text, split, unit, unk_token)
    if not read.counts:
        raise InputError(f"there is no text in {names_of(text.paths)}: give a file with at least one line of it")
    vocab = vocab or Vocab.of(read.counts, unit, min_count, vocab_size, unk_token)
    key = f"{text.sha256}-{text.encoding}-{text.errors}-{text.sequence}-{text.keep_blank}-{split}-{vocab.sha256}"

    sha256 = text.sha256

    def part(held_out: bool) -> Ids:
        named = hashlib.sha256(f"{key}-{held_out}".encode()).hexdigest()
        return encode(_unchanged(split.part(text, held_out), text, sha256), vocab, named)

    train = part(False)
    rest = encode(iter(valid), vocab) if valid else part(True)
    if valid:
        sha256 = f"{sha256}+{valid.sha256}"
    if valid and not rest.symbols:
        raise InputError(f"there is no text in {names_of(valid.paths)}: give validation text, or leave --valid out")
    notes = (*text.notes, *(valid.notes if valid else ()))
    known = np.unique(read.hashes)
    signs = _signs(text, carry, read, known, _count(valid, WHOLE, unit, unk_token).hashes if valid else read.hashes[:0])
    if unk_token is None:  # a corpus that marks its unknown words knows of them
        signs = replace(signs, held_out=rest.symbols - rest.sequences, unknown=rest.unknown)
    return Corpus(train, rest if rest.symbols else None, vocab, known, sha256, signs, notes, split)


def _signs(text: Text, carry: bool, read: _Read, known: np.ndarray, of_valid: np.ndarray) -> Signs:
    """The signs of faults in a text, without those that need a vocabulary."""
    empty = np.uint64(fingerprint(""))
    hashes, compared = (some[some != empty] for some in (read.hashes, of_valid))
    sequences, compared_with = len(hashes), known
    if carry and len(compared):  # where lines go on from one another, a short one comes again by chance
        compared, compared_with = runs(compared), np.unique(runs(hashes))
    return Signs(
        noun=UNITS[read.unit].noun,
        sequence=text.sequence,
        carry=carry,
        characters=read.shape.characters,
        sequences=sequences,
        repeated=sequences - int(np.count_nonzero(known != empty)),
        damaged=damage.count(read.counts) + read.garbled,
        longest=read.shape.longest,
        repetition=read.shape.repetition,
        compared=len(compared),
        shared=int(np.count_nonzero(among(compared, compared_with))),
    )


def runs(hashes: np.ndarray) -> np.ndarray:
    """A fingerprint of each run of three sequences, from theirs."""
    prime = np.uint64(0x9E3779B97F4A7C15)
    return (hashes[:-2] * prime + hashes[1:-1]) * prime + hashes[2:]


def among(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the hashes stand in the sorted ones."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    return known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes


def _unchanged(pieces: Iterator[Piece], text: Text, sha256: str) -> Iterator[Piece]:
    """The pieces; InputError at their end where the text is not any more the one that was counted."""
    yield from pieces
    if text.sha256 != sha256:
        raise InputError(f"{names_of(text.paths)} changed while it was read: wait until it is written, then start again")


@dataclass(frozen=True)
class _Read:
    """What a first reading finds: how often each symbol of the training side occurs, the fingerprints of all sequences (as the
    vocabulary writes them) in their order, and the shape of the text."""

    unit: str
    counts: Counter[str]
    hashes: np.ndarray
    characters: int
    garbled: Counter[str]
    shape: Shape


def _count(text: Text, split: Split, unit: str, unk_token: str | None) -> _Read:
    characters, shape = 0, Shape()
    counts: Counter[str] = Counter()
    garbled: Counter[str] = Counter()
    hashes = array("Q")
    symbols = Vocab(unit, (), unk_token).split
    plain = unit == "char" and not unk_token
    for held_out, piece in split.sides(text):
        found = piece.text if plain else symbols(piece.text, piece.begins)
        if piece.begins and piece.ends:
            hashes.append(fingerprint(UNITS[unit].join(found)))
        characters += len(piece.text)
        shape.add(piece)
        if not held_out:
            counts.update(found)
        if not piece.text.isascii():
            garbled["garbled"] += sum(len(was) for _, was in damage.garbled(piece.text))
    return _Read(unit, counts, np.frombuffer(hashes, np.uint64), characters, garbled, shape)


def unit_noun(vocab: Vocab) -> str:
    """What a symbol of this vocabulary is called."""
    return UNITS[vocab.unit].noun
