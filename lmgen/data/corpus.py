"""A text as ids to train on and ids to validate on, with its vocabulary, its fingerprints and the signs of its faults.

The ids of a text are one stream `EOS e m m a EOS o l i v i a EOS`: every EOS after the first is predicted, every one but the
last is read. A text is decoded once to scan it and, unless its ids are in the cache, once more to encode both its sides.
"""

from __future__ import annotations

import contextlib
import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from lmgen.data import advice, damage
from lmgen.data.advice import Signs
from lmgen.data.finding import names_of
from lmgen.data.ids import Encoded, Ids, encode, encode_sides
from lmgen.data.preparing import encoding, scanning, workplace
from lmgen.data.preparing.lines import NotInPartsError
from lmgen.data.preparing.scanning import Scan
from lmgen.data.preparing.spilling import AT_A_TIME, WordCounts, distinct
from lmgen.data.reading import Piece, Text
from lmgen.data.split import LEAST_HELD_OUT, TRAINING, WHOLE, Choice, Split, fingerprint
from lmgen.data.symbols import Characters
from lmgen.data.vocab import MOST_SYMBOLS, SPECIAL, UNITS, Vocab
from lmgen.data.writing import segments
from lmgen.errors import InputError

__all__ = ["Corpus", "Ids", "among", "encode", "fingerprint", "load", "runs", "unit_noun"]
PER_WORD = 5  # characters, about
LARGE = 1 << 22  # bytes of a text that is read in parts
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
    encoded: Callable[[Text, Split, Vocab], list[Ids]] | None = None,
) -> Corpus:
    """Scan, split and encode a text, with `vocab` if given (by a model that was trained on it).

    Without a validation text, `split` gives the held-out part, or else the length of the text does. Vocabulary and every other
    choice come from the training part only. `encoded` writes the ids of each side of a text elsewhere than into the cache. Raises
    InputError where there is nothing to train on.
    """
    encoded = encoded or _encoded
    least = LEAST_HELD_OUT * (1 if unit == "char" else PER_WORD)
    choice = Choice(text, carry, least, WHOLE if valid else split)
    scan = _scan(text, choice, unit, unk_token)
    if not scan.counts:
        raise InputError(f"there is no text in {names_of(text.paths)}: give a file with at least one line of it")
    known = distinct(scan.hashes.blocks())
    signs = _signs(text, scan, known, unit, carry)
    if valid:
        of_valid = _scan(valid, Choice(valid, carry, least, WHOLE), unit, unk_token)
        if not of_valid.shape.characters:
            raise InputError(f"there is no text in {names_of(valid.paths)}: give validation text, or leave --valid out")
        within = distinct(_compared(scan, carry)) if carry else known
        found = [among(np.sort(block), within) for block in _compared(of_valid, carry)]
        signs = replace(signs, compared=sum(map(len, found)), shared=sum(int(np.count_nonzero(one)) for one in found))
    most = (vocab_size or MOST_SYMBOLS) + SPECIAL + 1  # more than the vocabulary keeps
    vocab = vocab or Vocab.of(scan.counts.most(most), unit, min_count, vocab_size, unk_token)
    train, *held_out = encoded(text, choice.split, vocab)
    if valid:
        held_out = encoded(valid, WHOLE, vocab)
    rest = held_out[0] if held_out and held_out[0].symbols else None
    if rest and unk_token is None:  # a corpus that marks its unknown words is aware of them
        signs = replace(signs, held_out=rest.symbols - rest.sequences, unknown=rest.unknown)
    texts = [text, valid] if valid else [text]
    notes = tuple(note for one in texts for note in one.notes)
    return Corpus(train, rest, vocab, known, "+".join(one.sha256 for one in texts), signs, notes, choice.split)


def _scan(text: Text, choice: Choice, unit: str, unk_token: str | None) -> Scan:
    """The first pass: over the parts of a large text, or over its pieces."""
    if sum(path.stat().st_size for path in text.paths if path.is_file()) >= LARGE and text.in_lines():
        with contextlib.suppress(NotInPartsError):
            return scanning.scan(text, choice, unit, unk_token)
    scan, found = Scan(WordCounts(lossy=UNITS[unit].learns)), array("Q")
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)  # of each side but the training part
    split, join = Vocab(unit, (), unk_token).split, UNITS[unit].join
    plain = unit == "char" and not unk_token
    characters = Characters()  # of most of the training part
    for side, piece in choice.sides(scan.shape.measured(text)):
        symbols = piece.text if plain else split(piece.text, piece.begins)
        if side != TRAINING:
            counts[side].update(symbols)
        elif plain:
            characters.add(piece.text)
        else:
            scan.counts.update(symbols)
        if piece.begins and piece.ends:
            found.append(fingerprint(piece.text if plain else join(symbols)))
            if len(found) == AT_A_TIME:
                scan.hashes.add(np.frombuffer(found, np.uint64))
                found = array("Q")
        if not piece.text.isascii():
            scan.damaged["garbled"] += sum(len(was) for _, was in damage.garbled(piece.text))
    scan.hashes.add(np.frombuffer(found, np.uint64))
    scan.counts.update(characters.counts())
    for side, some in counts.items():
        (scan.held_out if choice.validates(side) else scan.counts).update(some)
    scan.damaged += damage.count(scan.counts) + damage.count(scan.held_out)
    return scan


def _signs(text: Text, scan: Scan, known: np.ndarray, unit: str, carry: bool) -> Signs:
    """The signs of faults that need neither a vocabulary nor another text."""
    sequences = sum(int(np.count_nonzero(block != EMPTY)) for block in scan.hashes.blocks())
    repeated = sequences - len(known) + int(among(np.array([EMPTY]), known)[0])
    noun, shape, damaged = UNITS[unit].noun, scan.shape, scan.damaged
    signs = Signs(noun, text.sequence, carry, shape.characters, sequences, repeated, damaged, shape.longest, shape.repetition)
    if noun == "word" and not UNITS[unit].language:
        signs = replace(signs, unspaced=segments.language_of(scan.counts.items()))
    return signs


def _compared(scan: Scan, carry: bool) -> Iterator[np.ndarray]:
    """The fingerprints by which texts are compared: of the sequences that are not empty, or in running text, where a short line
    occurs again by chance, of the runs of three."""
    last = np.zeros(0, np.uint64)
    for block in scan.hashes.blocks():
        block = block[block != EMPTY]
        if carry:
            both = np.concatenate([last, block])
            last, block = both[-2:], runs(both)
        yield block


def _encoded(text: Text, split: Split, vocab: Vocab) -> list[Ids]:
    """The ids to train on and, unless the split is WHOLE, those held out, of a text that has been scanned."""
    found = encode_sides(sides_of(text, split, vocab), vocab, keys_of(text, split, vocab))
    workplace.clear()
    return found


def keys_of(text: Text, split: Split, vocab: Vocab) -> list[str]:
    """The fingerprint of the ids of each side of a text that has been scanned: the training part and, unless the split is WHOLE,
    the held-out part."""
    key = f"{text.sha256}-{text.how}-{split}-{vocab.sha256}"
    sides = [False] if split == WHOLE else [False, True]
    return [hashlib.sha256(f"{key}-{held_out}".encode()).hexdigest() for held_out in sides]


def sides_of(text: Text, split: Split, vocab: Vocab) -> Iterator[tuple[bool, Piece | Encoded]]:
    """The pieces of a text with their sides, or the ids of its parts, and InputError at their end where it is not the text that
    was scanned."""
    if text.parts:
        yield from encoding.encode(text, split, vocab)
        return
    sha256 = text.sha256
    yield from split.sides(text)
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
