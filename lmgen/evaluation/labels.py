"""How good predicted labels, tags and spans are: accuracy, F1, confusion, and intervals by a bootstrap over sequences.

Every measure is a function of counts, so a thousand resamples are one product of matrices. n predictions, K labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmgen.errors import printable
from lmgen.labelled import tagging
from lmgen.system import pictures

RESAMPLES = 1000
BLOCKS, FEW = 1024, 20  # the most blocks of sequences that are resampled, and the least
CELLS = 1 << 23  # blocks × K at most
DRAWN, WRITTEN = 60, 25  # the most labels of a plot, and of one with numbers in it


class Counts(NamedTuple):
    """How often each label was predicted rightly, was predicted, and was to be predicted: [K] each, or [blocks, K]."""

    right: np.ndarray
    predicted: np.ndarray
    gold: np.ndarray

    @property
    def total(self) -> Counts:
        """The counts [K] of all blocks."""
        return Counts(*(part.sum(0) for part in self))


Measure = Callable[[Counts], np.ndarray]


# ---- counts [blocks, K] ------------------------------------------------------------------------------------------------


def _counts(events: Iterable[Iterable[np.ndarray]], sequences: int, K: int) -> Counts:
    """Counts of what was right, predicted and gold, from the sequence and the label of each.

    A block is a sequence, or several neighbours where there are very many.
    """
    blocks = max(1, min(sequences, BLOCKS, CELLS // max(1, K)))
    cells = (place * blocks // max(1, sequences) * K + label for place, label in events)
    return Counts(*(np.bincount(cell, minlength=blocks * K).reshape(blocks, K).astype(np.float64) for cell in cells))


def of_labels(gold: np.ndarray, predicted: np.ndarray, K: int, sequence: np.ndarray | None = None) -> Counts:
    """Count labels given as ids [n]; −1 stands for none, as where a model abstains.

    `sequence` [n] is the number, from 0, of the sequence that each belongs to; without it each is one.
    """
    place = np.arange(len(gold)) if sequence is None else sequence
    ids = (np.where(gold == predicted, gold, -1), predicted, gold)
    return _counts(((place[some >= 0], some[some >= 0]) for some in ids), int(place.max(initial=-1)) + 1, K)


def of_sets(gold: np.ndarray, predicted: np.ndarray) -> Counts:
    """Count the labels of sequences that have several, or none: bool [n, K]."""
    return _counts(map(np.nonzero, (gold & predicted, predicted, gold)), *gold.shape)


def of_spans(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]], scheme: str) -> tuple[list[str], Counts]:
    """The labels of the spans of tags, and the counts of these: a span is right if a gold one has its label, start and end.

    Tags that break their scheme have spans by the rule of `tagging.spans`.
    """
    events: list[list[tuple[int, str]]] = [[], [], []]
    sequences = 0
    for tags, guess in zip(gold, predicted, strict=True):
        wanted, found = set(tagging.spans(tags, scheme)), set(tagging.spans(guess, scheme))
        for kept, some in zip(events, (wanted & found, found, wanted), strict=True):
            kept += ((sequences, span.label) for span in some)
        sequences += 1
    names = sorted({label for kept in events for _, label in kept})
    ids = {name: k for k, name in enumerate(names)}
    arrays = (np.array([(place, ids[label]) for place, label in kept], np.intp).reshape(-1, 2).T for kept in events)
    return names, _counts(arrays, sequences, len(names))


# ---- measures: [..., K] or [...] ---------------------------------------------------------------------------------------


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where there is none."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)


def precision(counts: Counts) -> np.ndarray:
    """Of each label, the share of predictions that are right."""
    return _ratio(counts.right, counts.predicted)


def recall(counts: Counts) -> np.ndarray:
    """Of each label, the share that is found."""
    return _ratio(counts.right, counts.gold)


def f1(counts: Counts) -> np.ndarray:
    """Of each label, the harmonic mean of precision and recall."""
    return _ratio(2 * counts.right, counts.predicted + counts.gold)


def accuracy(counts: Counts) -> np.ndarray:
    """The share of all labels that is found: the accuracy where one is predicted for each."""
    return _ratio(counts.right.sum(-1), counts.gold.sum(-1))


def micro_f1(counts: Counts) -> np.ndarray:
    """F1 over all labels together; over spans, the entity F1 of CoNLL."""
    return _ratio(2 * counts.right.sum(-1), (counts.predicted + counts.gold).sum(-1))


def macro_f1(counts: Counts) -> np.ndarray:
    """The mean F1 of the labels that are gold or predicted."""
    return _ratio(f1(counts).sum(-1), (counts.predicted + counts.gold > 0).sum(-1))


MEASURES: dict[str, Measure] = {"accuracy": accuracy, "macro_f1": macro_f1, "micro_f1": micro_f1}


# ---- intervals ---------------------------------------------------------------------------------------------------------


def draws(blocks: int) -> Iterator[np.ndarray]:
    """How often each resample has each block: [100, blocks], ten times, the same for as many blocks."""
    rng = np.random.default_rng(0)
    return (rng.multinomial(blocks, np.full(blocks, 1 / blocks), 100).astype(np.float64) for _ in range(RESAMPLES // 100))


def _resampled(measure: Measure, counts: Counts) -> np.ndarray:
    """A measure of each resample [1000]."""
    return np.concatenate([measure(Counts(*(times @ part for part in counts))) for times in draws(len(counts.gold))])


def middle(values: np.ndarray) -> tuple[float, float]:
    """The interval that holds 95 % of some values."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def interval(measure: Measure, counts: Counts) -> tuple[float, float] | None:
    """The 95 % interval of a measure by a bootstrap over blocks (Efron 1979); None for fewer than 20."""
    return middle(_resampled(measure, counts)) if len(counts.gold) >= FEW else None


def paired(measure: Measure, ours: Counts, theirs: Counts) -> tuple[float, float] | None:
    """The 95 % interval of the difference of two systems on the same sequences, by the same resamples (Koehn 2004)."""
    if len(ours.gold) != len(theirs.gold):
        raise ValueError("the counts of the two systems are not of the same sequences")
    return middle(_resampled(measure, ours) - _resampled(measure, theirs)) if len(ours.gold) >= FEW else None


# ---- confusion ---------------------------------------------------------------------------------------------------------


def confusion(gold: np.ndarray, predicted: np.ndarray, K: int) -> np.ndarray:
    """How often each label (row) was predicted as each (column): [K, K], from ids [n]."""
    return np.bincount(gold * K + predicted, minlength=K * K).reshape(K, K)


def plot(confusion: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw a confusion into a new file, each row as shares of its gold label; of many labels the 60 most frequent.

    Raises InputError where matplotlib is missing or the file cannot be written.
    """
    support = confusion.sum(1)
    shown = np.sort(np.argsort(-support, kind="stable")[:DRAWN])
    shares = (confusion / np.maximum(support, 1)[:, None])[np.ix_(shown, shown)]
    ticks = [printable(names[k], 30) for k in shown]
    side = 3 + 0.28 * len(shown)
    figure = pictures.figure(side + 1, side)
    axes = figure.subplots()
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the gold label", shrink=0.6)
    axes.set_xticks(range(len(shown)), ticks, rotation=90, parse_math=False)
    axes.set_yticks(range(len(shown)), ticks, parse_math=False)
    axes.set(xlabel="predicted", ylabel="gold")
    if len(shown) < len(names):
        axes.set_title(f"the {len(shown)} most frequent of {len(names):,} labels")
    if len(shown) <= WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "white" if share > 0.5 else "black"
                axes.text(column, row, f"{share:.0%}"[:-1], ha="center", va="center", fontsize=7, color=colour)
    with warnings.catch_warnings(action="ignore"):  # of letters that the font lacks: they are drawn as boxes
        pictures.save(figure, path)
