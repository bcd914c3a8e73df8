"""Pairs in numbers: of a parallel text in a file of the cache, which is mapped into memory; of a few in memory.

The text is read twice, as a stream: to scan it, and to encode it unless its ids are in the cache.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from lmgen.data import ids, subword
from lmgen.data.advice import number
from lmgen.data.finding import names_of
from lmgen.data.preparing.spilling import AT_A_TIME, Hashes, WordCounts, distinct
from lmgen.data.split import WHOLE, Split, fingerprint
from lmgen.data.vocab import EOS, MOST_SYMBOLS, SPECIAL, UNITS, Vocab
from lmgen.data.writing import segments
from lmgen.errors import InputError
from lmgen.labelled.corpus import ENOUGH, HELD_OUT, MOST_HELD_OUT, origin, share_of, sides, unit_of
from lmgen.labelled.forms import Example
from lmgen.structured.pairs import Pair, Pairs

RARE = 2  # where words come often, one that is seen less often is unknown; it may be copied from the source
LONGEST = 2_048  # symbols of a pair: attention costs their square
SHORT = np.dtype(np.int16)  # of the lengths of pairs that are not longer
BLOCK = 1 << 20  # ids, or pairs, that are looked through at a time


@dataclass(frozen=True)
class CodedPairs:
    """Pairs in numbers.

    `stream` is `EOS x SEP y EOS x SEP y EOS`, where SEP is the id behind the vocabulary, and the ids beyond it are the words of
    the pair that are not in the vocabulary, in order: those of pair k are `others[k]`, where they are kept. Pair k has
    `lengths[k]` symbols from `starts[k]` on, SEP included, of which the first `sources[k]` are the source. `characters` are those
    of the targets, with one for each EOS.
    """

    stream: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    sources: np.ndarray
    characters: int
    others: Sequence[Sequence[str]] = ()

    @classmethod
    def of(cls, stream: np.ndarray, counts: np.ndarray, separator: int, kind: np.dtype = SHORT, **others: Any) -> CodedPairs:
        """From a stream and the counts of its `Encoder`; `kind` is the type of the lengths."""
        _, pairs, characters = counts[:3].tolist()
        starts, lengths, sources = np.empty(pairs + 1, np.int64), np.empty(pairs, kind), np.empty(pairs, kind)
        ended = parted = 0  # the EOS and the SEP so far
        for first in range(0, len(stream), BLOCK):
            block = np.asarray(stream[first : first + BLOCK])
            ends, middles = (np.flatnonzero(block == id) + first for id in (EOS, separator))
            starts[ended : ended + len(ends)] = ends + 1
            ended += len(ends)
            until = slice(parted, parted + len(middles))
            sources[until] = middles - starts[until]
            parted += len(middles)
        for first in range(0, pairs, BLOCK):
            lengths[first : first + BLOCK] = np.diff(starts[first : first + BLOCK + 1]) - 1
        return cls(stream, starts[:-1], lengths, sources, characters, **others)

    @property
    def characters_per_symbol(self) -> float:
        """Of the symbols of targets, with one for each EOS."""
        return self.characters / max(1, self.symbols)

    def predicted(self, most: int) -> np.ndarray:
        """The first symbols that are predicted, of whole targets; `most` is their largest number."""
        each = self.lengths - self.sources
        ends = np.cumsum(each, dtype=np.int64)
        k = int(np.searchsorted(ends, most, "right"))
        first = self.starts[:k] + self.sources[:k] + 1 - (ends - each)[:k]
        return self.stream[np.repeat(first, each[:k]) + np.arange(ends[k - 1] if k else 0)]

    @property
    def symbols(self) -> int:
        """The number of symbols that are predicted: those of the targets, with an EOS for each."""
        return int((self.lengths - self.sources).sum())

    @property
    def sequences(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class PairCorpus:
    """The data of a training on pairs. The first `targets` ids of the vocabulary can be predicted; the others are of sources."""

    train: CodedPairs
    valid: CodedPairs | None
    vocab: Vocab
    targets: int
    known: np.ndarray
    sha256: str
    notes: tuple[str, ...] = ()
    split: Split = WHOLE
    vectors: None = None
    warnings: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What there is to learn, in words."""
        return f"pairs, whose targets have {self.targets - SPECIAL:,} different symbols"


class Encoder(ids.Encoder):
    """The ids of one side of a text of pairs, but for those of more than `LONGEST` symbols. `counts` are the numbers of ids, of
    pairs, of characters of the targets with one for each EOS, and of pairs that are left out."""

    def __init__(self, vocab: Vocab):
        super().__init__(vocab, len(vocab) + 1 + LONGEST)

    def encoded(self, piece: Pair) -> bytes:
        """The ids of the next pair, with the EOS that ends it."""
        source, target = self.vocab.split(piece.source), self.vocab.split(piece.target)
        if len(source) + len(target) > LONGEST:
            self.counts[3] += 1
            return b""
        numbers, _ = _numbers(source, target, self.vocab)
        self.counts[:3] += (len(numbers), 1, _characters(target))
        return np.array(numbers, self.dtype).tobytes()


def _numbers(source: Sequence[str], target: Sequence[str], vocab: Vocab) -> tuple[list[int], list[str]]:
    """The ids of a pair, with the EOS that ends it, and the words that are not in the vocabulary."""
    symbols, others = [*source, *target], dict[str, int]()
    found: list = [*map(vocab.ids.get, symbols)]
    if None in found:
        beyond = len(vocab) + 1
        for k, symbol in enumerate(symbols):
            if found[k] is None:
                found[k] = beyond + others.setdefault(symbol, len(others))
    return [*found[: len(source)], len(vocab), *found[len(source) :], EOS], [*others]


def _characters(target: Sequence[str]) -> int:
    return subword.characters("".join(target)) + 1


def encode(pairs: Iterable[tuple[Sequence[str], Sequence[str]]], vocab: Vocab) -> CodedPairs:
    """Pairs of symbols in numbers, in memory."""
    stream, others, characters = array("i", [EOS]), list[list[str]](), 0
    for source, target in pairs:
        numbers, unknown = _numbers(source, target, vocab)
        stream.extend(numbers)
        others.append(unknown)
        characters += _characters(target)
    counts, ids = np.array([len(stream), len(others), characters]), np.frombuffer(stream, np.int32)
    return CodedPairs.of(ids, counts, len(vocab), ids.dtype, others=others)  # of any length


class Scan:
    """What a pass over pairs finds: their `number`, the `split`, the fingerprints of the targets, and unless the vocabulary is
    known how often each symbol of the training part occurs, in all and in targets."""

    def __init__(self, pairs: Pairs, reader: Vocab, split: Split | None):
        lossy = UNITS[reader.unit].learns
        self.number, self.symbols, self.targets, self._hashes = 0, WordCounts(lossy), WordCounts(lossy), Hashes()
        self._reader, hashes = reader, array("Q")
        last: list[tuple[int, Pair]] = []  # pairs that may be held out: the share only falls with their number
        for pair in pairs:
            self.number += 1
            hashes.append(fingerprint(pair.target))
            if len(hashes) == AT_A_TIME:
                self._hashes.add(np.frombuffer(hashes, np.uint64))
                hashes = array("Q")
            share = split.share if split else min(HELD_OUT, MOST_HELD_OUT / self.number)
            if (hash := fingerprint(pair.source)) < share * 2.0**64:
                last.append((hash, pair))
            else:
                self._count(pair)
        self._hashes.add(np.frombuffer(hashes, np.uint64))
        split = split or share_of(self.number)
        held = sum(split.holds_out(hash) for hash, _ in last)
        self.split = split if held < self.number else WHOLE
        for hash, pair in last:
            if not self.split.holds_out(hash):
                self._count(pair)

    def _count(self, pair: Pair) -> None:
        if not self._reader.symbols:
            target = self._reader.split(pair.target)
            self.targets.update(target)
            self.symbols.update([*self._reader.split(pair.source), *target])

    @property
    def known(self) -> np.ndarray:
        """The sorted fingerprints of the targets."""
        return distinct(self._hashes.blocks())


def load(
    pairs: Pairs,
    valid: Pairs | None,
    task: str,
    unit: str | None,
    min_count: int = 1,
    vocab_size: int | None = None,
    unk_token: str | None = None,
    vocab: Vocab | None = None,
    split: Split | None = None,
    labels: int | None = None,
) -> PairCorpus:
    """Scan, split and encode pairs, with the vocabulary of a model and the number of its ids that can be predicted (`labels`) if
    given.

    Without validation text a tenth of the pairs is held out, chosen by their sources. The vocabulary comes from the training part
    only; ids of symbols that targets have come first. Pairs of more than `LONGEST` symbols are left out. Raises InputError where
    there is nothing to train on.
    """
    way = ""
    if unit is None:
        unit, way = (vocab.unit, "") if vocab else _unit(pairs)
    scan = Scan(pairs, vocab or Vocab(unit, (), unk_token), split or (WHOLE if valid else None))
    if not scan.number:
        raise InputError(f"there is no pair in {names_of(pairs.paths)}: give a file with at least one")
    if vocab is None:
        vocab, labels = _vocabulary(scan, unit, min_count, vocab_size, unk_token)
    key = f"{pairs.sha256}-{pairs.how}-{scan.split}-{vocab.sha256}"
    keys: list[str | None] = [hashlib.sha256(f"{key}-{held}".encode()).hexdigest() for held in (False, True)]
    keys = keys[:1] if scan.split == WHOLE else keys
    found = ids.written(_sides(pairs, scan.split), [Encoder(vocab) for _ in keys], keys)
    if valid:
        found = [found[0], *ids.written(((False, pair) for pair in valid), [Encoder(vocab)], [None])]
    train, *rest = (CodedPairs.of(*one, len(vocab)) for one in found)
    if not train.sequences:
        raise InputError(f"all pairs of {names_of(pairs.paths)} are too long: give parts of at most {LONGEST:,} symbols")
    sha256, notes = origin(pairs, valid)
    notes = (*notes, way) if way else notes
    if long := sum(int(counts[3]) for _, counts in found):
        notes = (*notes, f"left out {number(long, 'pair')} of more than {LONGEST:,} symbols")
    held_out = rest[0] if rest and rest[0].sequences else None
    return PairCorpus(train, held_out, vocab, labels or len(vocab), scan.known, sha256, notes, scan.split)


def _unit(pairs: Iterable[Pair]) -> tuple[str, str]:
    """The unit that suits both sides, by their beginning, and a sentence about it where one has no spaces between its words."""
    some = [*islice(pairs, ENOUGH)]
    sides = {"sources": [pair.source for pair in some], "targets": [pair.target for pair in some]}
    for name, texts in sides.items():
        language = segments.language_of(Counter(word for text in texts for word in text.split()).items())
        if language is not None:
            way = f": --segment {language} cuts them into words" if language else ""
            return "char", f"the {name} are written without spaces between words, so characters are the symbols{way}"
    return unit_of(Example(text) for texts in zip(*sides.values(), strict=True) for text in texts), ""


def _sides(pairs: Pairs, split: Split) -> Iterator[tuple[bool, Pair]]:
    """Pairs that have been scanned with their sides, and InputError at their end where they are not those."""
    sha256 = pairs.sha256
    yield from sides(pairs, split)
    if pairs.sha256 != sha256:
        raise InputError(f"{names_of(pairs.paths)} changed while it was read: wait until it is written, then start again")


def _vocabulary(scan: Scan, unit: str, min_count: int, size: int | None, unk_token: str | None) -> tuple[Vocab, int]:
    """The vocabulary of both sides, and the number of its ids that can be predicted, which are the first."""
    if UNITS[unit].learns:
        vocab = Vocab.of(Counter(dict(scan.symbols.items())), unit, min_count, size, unk_token)
        return vocab, len(vocab)
    kinds = total = 0
    for _, times in scan.targets.items():
        kinds, total = kinds + 1, total + times
    least = max(min_count, RARE) if unit != "char" and total > 10 * kinds else min_count
    most = (size or MOST_SYMBOLS) + SPECIAL + 1  # more than the vocabulary keeps
    targets = Vocab.of(scan.targets.most(most), unit, least, size, unk_token)
    both = scan.symbols.most(most + len(targets))
    rest = [symbol for symbol, times in both.items() if times >= least and symbol not in targets.ids]
    return Vocab(unit, (*targets.symbols, *rest[: max(0, (size or MOST_SYMBOLS) - len(targets))]), unk_token), len(targets)
