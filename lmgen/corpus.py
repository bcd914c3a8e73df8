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

from lmgen import damage
from lmgen.errors import InputError
from lmgen.ids import Ids, encode
from lmgen.signs import Shape, Signs
from lmgen.split import LEAST_HELD_OUT, WHOLE, Split, fingerprint, split_of
from lmgen.text import Piece, Text, names_of
from lmgen.vocab import EOS, UNITS, Vocab

RESTARTS = 1 / 50  # how often a column of running text gives up its state between two windows
PER_WORD = 5  # characters, about
MAX_BLOCKS = 1 << 16  # sequences are shuffled one by one up to this number, beyond it in blocks of neighbours


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


class Windows:
    """The windows of training, step by step: `windows[k]` is [T + 1, B] int32; its last row is the first of the next window.
    With `ahead` they are so many rows longer: a cloze model looks one symbol further.

    The stream is a ring. With `carry` column b starts at b/B of it and reads on for ever: the state flows on from window to
    window and from epoch to epoch, but for a restart now and then, without which the network would not learn how to begin.
    Otherwise each epoch reads the sequences in an order of its own, drawn from (seed, epoch), and starts with a fresh state.
    Any step can be asked for: what a window holds depends on nothing but its number.
    """

    def __init__(self, ids: Ids, batch: int, window: int, carry: bool, seed: int, ahead: int = 0):
        self.ring = ids.stream[:-1]  # the last EOS is the first
        self.batch, self.window, self.carry, self.seed, self.ahead = batch, window, carry, seed, ahead
        self.per_epoch = max(1, -(-len(self.ring) // (batch * window)))
        self._blocks = np.zeros(1, np.int64) if carry else _block_starts(self.ring)
        self._epoch = -1

    def begins(self, step: int) -> np.ndarray:
        """In which columns [B] the state starts anew with this window."""
        if self.carry and step:
            return np.random.default_rng([self.seed, step]).random(self.batch) < RESTARTS
        return np.full(self.batch, self.carry or step % self.per_epoch == 0)

    def __getitem__(self, step: int) -> np.ndarray:
        n = len(self.ring)
        epoch, within = (0, step) if self.carry else divmod(step, self.per_epoch)
        self._shuffle(epoch)
        columns = np.arange(self.batch, dtype=np.int64) * n // self.batch + within * self.window
        place = (columns + np.arange(self.window + 1 + self.ahead, dtype=np.int64)[:, None]) % n  # in the order of this epoch
        block = np.searchsorted(self._ends, place, side="right")
        return self.ring[place + self._shift[block]].astype(np.int32)

    def _shuffle(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        starts = self._blocks
        lengths = np.diff(starts, append=len(self.ring))
        order = np.arange(len(starts)) if self.carry else np.random.default_rng([self.seed, epoch]).permutation(len(starts))
        self._ends = np.cumsum(lengths[order])
        self._shift = starts[order] - (self._ends - lengths[order])  # from a place in the order to a place in the ring
        self._epoch = epoch


def _block_starts(ring: np.ndarray) -> np.ndarray:
    """Where the blocks to be shuffled start: at every EOS, or, where there are too many, at one near each k/MAX_BLOCKS."""
    span = max(1, len(ring) // MAX_BLOCKS)
    starts: list[np.ndarray] = []
    for offset in range(0, len(ring), 1 << 22):
        found = np.flatnonzero(ring[offset : offset + (1 << 22)] == EOS) + offset
        starts.append(found[np.diff(found // span, prepend=-1) > 0] if span > 1 else found)
    return np.concatenate(starts).astype(np.int64)


def unit_noun(vocab: Vocab) -> str:
    """What a symbol of this vocabulary is called."""
    return UNITS[vocab.unit].noun
