"""A labelled text in numbers: its stream of ids, the labels of its sequences and of its symbols, and what is held out of it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from lmgen.data import subword
from lmgen.data.advice import number, percent
from lmgen.data.finding import names_of
from lmgen.data.split import WHOLE, Split, fingerprint
from lmgen.data.vocab import EOS, SPECIAL, UNITS, Vocab
from lmgen.errors import InputError
from lmgen.labelled import tagging, vectors
from lmgen.labelled.examples import Example, Examples

HELD_OUT = 0.1  # the share of the examples that is held out, where no validation text is given …
MOST_HELD_OUT = 5_000  # … this number of them at most …
LEAST_HELD_OUT = 50  # … and nothing if there would be fewer
LOOSE = 0.1  # if the tags of more than this share of the sequences break their scheme, predicted tags need not obey it
ENOUGH = 1_000  # examples to choose a unit by
UNKNOWN = -1  # stands for a label that training has not seen


@dataclass(frozen=True)
class Labels:
    """The names of what is predicted: `labels` of a sequence, of which `several` may hold at once, and `tags` of a symbol."""

    labels: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    several: bool = False

    @cached_property
    def scheme(self) -> str | None:
        """BIO or IOBES where the tags are such."""
        return tagging.scheme(self.tags)

    @cached_property
    def label_ids(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.labels)}

    @cached_property
    def tag_ids(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.tags)}


@dataclass(frozen=True)
class Coded:
    """Labelled text in numbers.

    `stream` is `EOS x EOS y EOS`, in which ids from `len(vocab)` on are the words of `others`, which are not in the vocabulary;
    sequence k has `lengths[k]` symbols from `starts[k]` on. `tags` [len(stream)] and `labels` [n], or with several [n, L] of
    bool, are the numbers of the names (`UNKNOWN` for others); None where nothing is labelled.
    """

    stream: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    tags: np.ndarray | None
    labels: np.ndarray | None
    words: tuple[str, ...] = ()
    others: list[str] = field(default_factory=list)

    @cached_property
    def characters_per_symbol(self) -> float:
        """Of symbols that are no words, with one for each EOS."""
        lengths = np.array([1] * SPECIAL + [*map(subword.characters, (*self.words, *self.others))])
        return float(lengths[self.stream[1:]].mean())

    @property
    def symbols(self) -> int:
        """The number of symbols, an EOS for each sequence included."""
        return len(self.stream) - 1

    @property
    def sequences(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class LabelledCorpus:
    """The data of a training on labelled text: examples to train on and held-out ones, the vocabulary, the names of labels."""

    train: Any  # `Coded`, or what another structure of labelled text is in numbers
    valid: Any
    vocab: Vocab
    labels: Labels
    known: np.ndarray
    sha256: str
    notes: tuple[str, ...] = ()
    split: Split = WHOLE
    seen: int = 0  # ids of symbols that training has seen; those beyond have a vector only
    vectors: np.ndarray | None = None  # made elsewhere, for every id

    @cached_property
    def broken(self) -> int:
        """The number of sequences to train on whose tags break their scheme."""
        if self.labels.scheme is None or not isinstance(self.train, Coded) or self.train.tags is None:
            return 0
        breaks = tagging.breaks(self.train.tags, tagging.allowed(self.labels.tags, self.labels.scheme))
        return len(np.unique(np.searchsorted(self.train.starts, np.flatnonzero(breaks) + 1, "right")))

    @property
    def loose(self) -> bool:
        """Whether more than the share `LOOSE` of them break it; then predicted tags need not obey it, either. Tags in IOB1 are
        such: there a span mostly begins with an I."""
        return self.broken > LOOSE * self.train.sequences

    @property
    def warnings(self) -> list[str]:
        """Sentences on the faults of the text."""
        if not self.loose:
            return []
        share = percent(self.broken, self.train.sequences)
        return [f"the tags of {share} of the texts break {self.labels.scheme}, so predicted tags need not obey it, either"]

    @property
    def summary(self) -> str:
        """What there is to learn, in words."""
        several = ", of which each may have several or none" * self.labels.several
        found = [f"{len(self.labels.labels):,} labels{several}"] if self.labels.labels else []
        scheme = f" ({self.labels.scheme})" if self.labels.scheme else ""
        found += [f"{len(self.labels.tags):,} tags{scheme}"] if self.labels.tags else []
        return " and ".join(found)


def symbols_of(text: str | tuple[str, ...], vocab: Vocab) -> list[str]:
    """The symbols of a text; tokens are symbols already if they are words, or single characters where the unit is that."""
    unit = UNITS[vocab.unit]
    if isinstance(text, str) or unit.learns or (vocab.unit == "char" and any(len(token) > 1 for token in text)):
        return vocab.split(text if isinstance(text, str) else " ".join(text))
    lead = unit.lead
    return [lead + vocab.normal.of(token).removeprefix(lead) for token in text]


class Scan:
    """Labelled text read once, before its vocabulary and its labels are known: symbols, tags and labels have the numbers in which
    they came."""

    def __init__(self, examples: Iterable[Example], vocab: Vocab):
        self.symbols, self.tag_names, self.label_names = (dict[str, int]() for _ in range(3))
        ids, tags, lengths, labels, counts = (array("i") for _ in range(5))
        for example in examples:
            symbols = symbols_of(example.text, vocab)
            lengths.append(len(symbols))
            counts.append(len(example.labels))
            ids.extend(_numbers(symbols, self.symbols))
            tagged = example.tags is not None and len(example.tags) == len(symbols)
            tags.extend(_numbers(example.tags or (), self.tag_names) if tagged else [UNKNOWN] * len(symbols))
            labels.extend(_numbers(example.labels, self.label_names))
        self.ids, self.tags, self.lengths, self.labels, self.counts = map(np.array, (ids, tags, lengths, labels, counts))

    def cut(self, vocab: Vocab) -> Scan:
        """The same text with the words that were read cut into the subwords of a vocabulary."""
        parts = [vocab.cut([word]) for word in self.symbols]
        sizes, cut = np.array([*map(len, parts), 0]), copy(self)
        cut.symbols = dict[str, int]()
        numbers = np.array(_numbers(chain(*parts), cut.symbols), np.int32)
        each, starts = sizes[self.ids], (np.cumsum(sizes) - sizes)[self.ids]
        ends = np.cumsum(each)
        cut.ids = numbers[np.arange(each.sum()) + np.repeat(starts - ends + each, each)]
        cut.lengths = np.diff(np.append(0, ends)[np.append(0, np.cumsum(self.lengths))])
        cut.tags = np.full(len(cut.ids), UNKNOWN)
        return cut

    def coded(self, chosen: np.ndarray, vocab: Vocab, labels: Labels) -> Coded:
        """The chosen examples, bool [n], in the numbers of a vocabulary and of the names of labels."""
        lengths, within = self.lengths[chosen], np.repeat(chosen, self.lengths)
        starts = np.cumsum(lengths + 1, dtype=np.int64) - lengths
        inner = np.ones(int((lengths + 1).sum()) + 1, bool)
        inner[[0, *(starts + lengths)]] = False
        ids, symbols = self.ids[within], [*self.symbols]
        known = np.array([vocab.ids.get(symbol, UNKNOWN) for symbol in symbols], np.int32)
        others = np.flatnonzero(np.bincount(ids, minlength=len(symbols)).astype(bool) & (known == UNKNOWN))
        known[others] = len(vocab) + np.arange(len(others))
        stream, tags = np.full(len(inner), EOS, np.int32), np.full(len(inner), UNKNOWN, np.int32)
        stream[inner] = known[ids]
        tags[inner] = renumbered(self.tags[within], self.tag_names, labels.tag_ids)
        ids_of_labels = renumbered(self.labels[np.repeat(chosen, self.counts)], self.label_names, labels.label_ids)
        return Coded(
            stream,
            starts,
            lengths,
            tags if labels.tags else None,
            label_array(ids_of_labels, self.counts[chosen], labels) if labels.labels else None,
            vocab.symbols,
            [symbols[k] for k in others.tolist()],
        )

    def names(self, chosen: np.ndarray) -> Labels:
        """The labels and tags of the chosen examples, bool [n]."""
        labels = np.unique(self.labels[np.repeat(chosen, self.counts)])
        tags = np.unique(self.tags[np.repeat(chosen, self.lengths)])
        label_names, tag_names = [*self.label_names], [*self.tag_names]
        return Labels(
            tuple(sorted(label_names[k] for k in labels.tolist())),
            tuple(sorted(tag_names[k] for k in tags.tolist() if k != UNKNOWN)),
            bool((self.counts[chosen] != 1).any()),
        )

    def symbol_counts(self, chosen: np.ndarray) -> Counter[str]:
        """How often each symbol is in the chosen examples, bool [n]."""
        counts = np.bincount(self.ids[np.repeat(chosen, self.lengths)], minlength=len(self.symbols))
        return +Counter(dict(zip(self.symbols, counts.tolist(), strict=True)))


def _numbers(names: Iterable[str], known: dict[str, int]) -> list[int]:
    """The number of each name; new names get the next ones."""
    return [known.setdefault(name, len(known)) for name in names]


def renumbered(numbers: np.ndarray, names: Iterable[str], ids: dict[str, int], otherwise: int = UNKNOWN) -> np.ndarray:
    """The ids of the names with these numbers; `otherwise` where a name has none, or the number is −1."""
    return np.array([*(ids.get(name, otherwise) for name in names), otherwise], np.int32)[numbers]  # number −1 is the last one


def label_array(ids: np.ndarray, counts: np.ndarray, labels: Labels) -> np.ndarray:
    """The labels of n sequences, which have `counts` [n] of the ids each: the first of each [n], or with several bool [n, L]."""
    if not labels.several:
        return np.append(ids, np.int32(UNKNOWN))[np.where(counts, np.cumsum(counts) - counts, -1)]
    found = np.zeros((len(counts), len(labels.labels)), bool)
    found[np.repeat(np.arange(len(counts)), counts)[ids != UNKNOWN], ids[ids != UNKNOWN]] = True
    return found


def encode(examples: Iterable[Example], vocab: Vocab, labels: Labels) -> Coded:
    """Examples in numbers."""
    scan = Scan(examples, vocab)
    return scan.coded(np.ones(len(scan.lengths), bool), vocab, labels)


def labelled(label: str, text: str) -> str:
    """A text under its label, as the fingerprints of a model that writes by label are made."""
    return f"{label}\0{text}"


def sides(examples: Iterable[Any], split: Split) -> Iterator[tuple[bool, Any]]:
    """Each example with its side: True where it is held out. Equal texts are on one side."""
    for example in examples:
        yield split.holds_out(fingerprint(example.joined)), example


def load(
    examples: Examples,
    valid: Examples | None,
    task: str,
    unit: str | None,
    min_count: int = 1,
    vocab_size: int | None = None,
    unk_token: str | None = None,
    vocab: Vocab | None = None,
    labels: Labels | None = None,
    split: Split | None = None,
    vectors_of: str | Path | None = None,
    learnt: Iterable[str] = (),
) -> LabelledCorpus:
    """Scan, split and encode labelled text, with the vocabulary and the labels of a model if given.

    Without validation text a tenth of the examples is held out. Vocabulary and labels come from the training part only, but for
    the symbols that another model has `learnt`; examples without a symbol are left out. Raises InputError where there is nothing
    to train on.
    """
    writes = task == "generate"
    unit = unit or (vocab.unit if vocab else "char" if writes else unit_of(examples))
    hashes, known = array("Q"), set[int]()

    def known_too() -> Iterator[Example]:
        for example in noted(examples, hashes):
            known.update([fingerprint(labelled(name, example.joined)) for name in example.labels] if writes else hashes[-1:])
            yield example

    if "tag" in task and UNITS[unit].learns:
        raise InputError(f"a tag belongs to a word, and --unit {unit} cuts words: leave that out")
    if vectors_of and UNITS[unit].learns:
        raise InputError(f"the vectors of --vectors are those of words, and --unit {unit} cuts words: leave one of them out")
    scan = Scan(known_too(), vocab or Vocab(unit, (), unk_token))
    if "tag" in task and unit == "char" and not scan.tag_names:
        raise InputError(f"the tokens of {names_of(examples.paths)} are longer than a character: leave out --unit char")
    written = scan.lengths > 0
    split = split or (WHOLE if valid else share_of(int(written.sum())))
    split, held = held_out(hashes, split, written)
    chosen, notes = written & ~held, list[str]()
    if not chosen.any():
        raise InputError(f"there is no text in {names_of(examples.paths)}: give a file with at least one line of it")
    if labels is None:
        found, of_sequences = scan.names(chosen), writes or "classify" in task
        labels = Labels(found.labels if of_sequences else (), found.tags if "tag" in task else (), found.several and of_sequences)
        if labels.several and not writes and scan.counts.max() <= 1:
            notes.append(lacking(int((scan.counts[chosen] == 0).sum()), int(chosen.sum())))
        for noun, asked, names in (("label", of_sequences, labels.labels), ("tag", "tag" in task, labels.tags)):
            if asked and len(names) < 2:
                has = f"only the {noun} {names[0]!r}" if names else f"no {noun}s"
                way = f"so there is nothing to tell apart: give examples of two {noun}s or more"
                raise InputError(f"{names_of(examples.paths)} has {has}, {way}")
    if vocab is None:
        vocab = Vocab.of(scan.symbol_counts(chosen), unit, min_count, vocab_size, unk_token)
        scan = scan.cut(vocab) if UNITS[unit].learns else scan
        vocab = with_symbols(vocab, learnt)
    seen, matrix = len(vocab), None
    if vectors_of:
        vocab, matrix, note = with_vectors(vocab, vectors.read(Path(vectors_of)))
        notes.append(note)
    train = scan.coded(chosen, vocab, labels)
    if valid:
        scan = Scan(valid, vocab)
        held = scan.lengths > 0
        if labels.labels and not labels.several and (further := int((scan.counts > 1).sum())):
            notes.append(f"{number(further, 'validation text')} with several labels, of which the first counts")
    rest = scan.coded(held & (scan.lengths > 0), vocab, labels) if held.any() else None
    sha256, said = origin(examples, valid)
    fingerprints = np.sort(np.fromiter(known, np.uint64, len(known)))
    return LabelledCorpus(train, rest, vocab, labels, fingerprints, sha256, (*said, *notes), split, seen, matrix)


def lacking(without: int, examples: int) -> str:
    """The note on a text whose examples would have one label each, but for some that have none."""
    have = "has" if without == 1 else "have"
    way = "so each label is predicted by itself, and none may hold: for one label of each text, label the rest or remove it"
    return f"{without:,} of {number(examples, 'text')} to train on {have} no label, {way}"


def noted(examples: Iterable[Any], hashes: array[int]) -> Iterator[Any]:
    """Examples as they pass by; `hashes` gets the fingerprint of each."""
    for example in examples:
        hashes.append(fingerprint(example.joined))
        yield example


def held_out(hashes: array[int], split: Split, usable: np.ndarray | None = None) -> tuple[Split, np.ndarray]:
    """The split and the examples that it holds out, bool [n], from their fingerprints; nothing is held out where none of those
    that are `usable` would be left."""
    held = np.fromiter(map(split.holds_out, hashes), bool, len(hashes))
    if (~held if usable is None else usable & ~held).any():
        return split, held
    return WHOLE, np.zeros(len(hashes), bool)


def origin(*texts: Any) -> tuple[str, tuple[str, ...]]:
    """The fingerprint of the texts that were read, and their notes; None stands for no text."""
    there = [text for text in texts if text]
    return "+".join(text.sha256 for text in there), tuple(note for text in there for note in text.notes)


def with_symbols(vocab: Vocab, symbols: Iterable[str]) -> Vocab:
    """The vocabulary with those of the symbols that it lacks behind its own."""
    known = set(vocab.symbols)
    return Vocab(vocab.unit, (*vocab.symbols, *(one for one in symbols if one not in known)), vocab.unk_token, vocab.normal)


def with_vectors(vocab: Vocab, given: vectors.Vectors) -> tuple[Vocab, np.ndarray, str]:
    """The vocabulary with all words that have a vector behind its own, a vector for every id, and how many have one."""
    _, found = vectors.rows(given, [*map(str.strip, vocab.symbols)])
    lead = UNITS[vocab.unit].lead  # a word has it, a mark mostly follows a word at once
    larger = with_symbols(vocab, (lead + word if word[:1].isalnum() else word for word in given.words) if lead else given.words)
    matrix, _ = vectors.rows(given, [*map(str.strip, larger.symbols)])
    share = f"{found.sum():,} of {len(found):,} words of the text have a vector, and {len(larger) - len(vocab):,} other words"
    return larger, np.concatenate([np.zeros((SPECIAL, matrix.shape[1]), np.float32), matrix]), share


def share_of(count: int) -> Split:
    """The split of a text of some examples without a validation text of its own."""
    share = min(HELD_OUT, MOST_HELD_OUT / max(1, count))
    return Split(share) if share * count >= LEAST_HELD_OUT else WHOLE


def unit_of(examples: Iterable[Any]) -> str:
    """The unit that suits the text, by its beginning: tokens are words, or characters if all are; texts of single words are read
    as characters."""
    texts = words = attached = apart = 0
    for example in islice(examples, ENOUGH):
        if not isinstance(example.text, str):
            if any(len(token) > 1 for token in example.text):
                return "word"
            continue
        split = example.text.split()
        texts, words = texts + 1, words + len(split)
        attached += sum(len(word) > 1 and word[-1] in ".,!?" for word in split)
        apart += sum(word in {".", ",", "!", "?"} for word in split)
    if words <= 2.5 * texts:
        return "char"
    return "word" if apart >= attached else "word-punct"
