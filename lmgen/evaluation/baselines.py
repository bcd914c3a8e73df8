"""What simple rules reach on labels and tags: the figures to beat.

Each baseline is fitted on the examples of the training text and predicts the labels, or the tags, of another example.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Literal

import numpy as np

from lmgen.data.vocab import UNITS
from lmgen.labelled.examples import Example

MOST_GRAMS = 2_000_000  # that naive Bayes counts; those seen later are left out
MOST_LABELS = 100  # of one sequence that naive Bayes learns from

Gram = str | tuple[str, str]


def _symbols(example: Example, unit: str) -> Sequence[str]:
    return UNITS[unit].split(example.text) if isinstance(example.text, str) else example.text


class Majority:
    """The most frequent labels of a sequence for each sequence, or the most frequent tag for each symbol."""

    def __init__(self, of: Literal["labels", "tags"], unit: str = "word"):
        self.of, self.unit = of, unit

    def fit(self, examples: Iterable[Example]) -> Majority:
        counts = Counter[tuple[str, ...]]()
        for example in examples:
            counts.update([example.labels] if self.of == "labels" else [(tag,) for tag in example.tags or ()])
        self.answer: tuple[str, ...] = min(counts, key=lambda answer: (-counts[answer], answer), default=())
        return self

    def predict(self, example: Example) -> tuple[str, ...]:
        return self.answer * (1 if self.of == "labels" else len(_symbols(example, self.unit)))


class FrequentTag:
    """The most frequent tag of each symbol, and of all symbols for an unknown one."""

    def __init__(self, unit: str = "word"):
        self.unit = unit

    def fit(self, examples: Iterable[Example]) -> FrequentTag:
        pairs = Counter[tuple[str, str]]()
        for example in examples:
            pairs.update(zip(_symbols(example, self.unit), example.tags or (), strict=False))
        self.tags: dict[str, str] = {}
        counts = Counter[str]()
        for (symbol, tag), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
            self.tags.setdefault(symbol, tag)
            counts[tag] += count
        self.other = min(counts, key=lambda tag: (-counts[tag], tag), default="")
        return self

    def predict(self, example: Example) -> tuple[str, ...]:
        return tuple(self.tags.get(symbol, self.other) for symbol in _symbols(example, self.unit))


class NaiveBayes:
    """Multinomial naive Bayes on the 1- and 2-grams of symbols, or without `pairs` on the symbols alone, add-one (McCallum and
    Nigam 1998).

    It predicts the likeliest label; where any sequence of the training text has several labels or none, every label that a
    sequence is likelier to have than not.
    """

    def __init__(self, unit: str = "word", pairs: bool = True):
        self.unit, self.pairs = unit, pairs

    def fit(self, examples: Iterable[Example]) -> NaiveBayes:
        self.grams: dict[Gram, int] = {}
        labels: dict[str, int] = {}
        grams, cells, given = array("q"), array("q"), array("q")  # ids of grams; gram and label of each pair; ids of labels
        sequences, self.several = 0, False
        for example in examples:
            found = self._ids(example, grow=True)
            names = [labels.setdefault(name, len(labels)) for name in dict.fromkeys(example.labels[:MOST_LABELS])]
            grams.extend(found)
            cells.extend(gram << 32 | name for name in names for gram in found)
            given.extend(names)
            sequences += 1
            self.several |= len(names) != 1
        self.several |= not labels
        self.names, V = [*labels], max(1, len(self.grams))
        pairs, counts = np.unique(np.array(cells, np.int64), return_counts=True)
        self.starts, self.labels = np.searchsorted(pairs >> 32, np.arange(len(self.grams) + 1)), pairs & 0xFFFFFFFF
        yes = np.bincount(self.labels, counts, len(labels))  # the grams of the sequences that have a label
        have = np.bincount(np.array(given, np.int64), minlength=len(labels))
        # The score of a label: prior − n cost + Σ over the n grams of (gain where they were seen with it, else 0) − base.
        self.prior, self.cost, self.gain = np.log(have), np.log(yes + V), np.log1p(counts)
        self.base = np.zeros(len(self.grams))
        if self.several:  # against the sequences that do not have it
            every = np.bincount(np.array(grams, np.int64), minlength=len(self.grams))
            with np.errstate(divide="ignore"):
                self.prior -= np.log(sequences - have)
            self.cost -= np.log(len(grams) - yes + V)
            self.base = np.log1p(every)
            self.gain += self.base[pairs >> 32] - np.log1p(every[pairs >> 32] - counts)
        return self

    def predict(self, example: Example) -> tuple[str, ...]:
        found = self._ids(example)
        score = self.prior - len(found) * self.cost
        for gram, times in Counter(found).items():
            cell = slice(self.starts[gram], self.starts[gram + 1])
            score[self.labels[cell]] += times * self.gain[cell]
        likely = np.flatnonzero(score > self.base[found].sum()) if self.several else [score.argmax()]
        return tuple(self.names[k] for k in likely)

    def _ids(self, example: Example, grow: bool = False) -> list[int]:
        """The ids of the known grams of an example; with `grow`, new ones become known."""
        symbols, ids = _symbols(example, self.unit), self.grams
        grams: Iterable[Gram] = chain(symbols, pairwise(symbols) if self.pairs else ())
        found = []
        for gram in grams:
            if grow and gram not in ids and len(ids) < MOST_GRAMS:
                ids[gram] = len(ids)
            if gram in ids:
                found.append(ids[gram])
        return found
