"""The words that a training step predicts among: those of its batch, and some drawn by their frequency in the text.

T time, B batch, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lmgen.data.vocab import UNK
from lmgen.nn.cross_entropy import Among
from lmgen.tasks.task import Batch

MOST_COUNTED = 1 << 22  # symbols, from the start of the text on
CERTAIN = 6  # standard deviations beyond the mean: more words than that are hardly ever drawn
LINE = 64  # the number of words is a multiple of it
NEVER = 1e4  # ln π where there is no word: its logit is far below all others


@dataclass(frozen=True)
class Sampled:
    """Batches whose targets are predicted among their own words and those of `draws` a step.

    `batches[k]` depends on nothing but k and the text. A target that cannot be predicted is UNK.
    """

    batches: Any
    draws: int
    rates: np.ndarray  # [V] of each word among all symbols
    seed: tuple[int, int]

    @cached_property
    def _cumulated(self) -> np.ndarray:
        return np.cumsum(self.rates)

    @cached_property
    def _rooms(self) -> dict[int, int]:
        return {}  # by the number of targets, of which a text has one or two

    @property
    def per_epoch(self) -> int:
        """Steps in one pass over the text."""
        return self.batches.per_epoch

    @property
    def filler(self) -> float:
        """The share of places that hold no text."""
        return self.batches.filler

    def __getitem__(self, step: int) -> Batch:
        batch = self.batches[step]
        targets = np.where(batch.targets < len(self.rates), batch.targets, UNK)
        symbols = targets.size if batch.weights is None else int(np.count_nonzero(batch.weights))
        room = self._rooms.get(targets.size) or room_for(self.rates, targets.size, self.draws)
        self._rooms[targets.size] = room
        uniform = np.random.default_rng((*self.seed, step)).random(self.draws)
        drawn = np.minimum(np.searchsorted(self._cumulated, uniform, side="right"), len(self.rates) - 1)
        own = np.unique(targets)
        others = np.setdiff1d(drawn, own)[: room - len(own)]
        ids = np.sort(np.concatenate([own, others])).astype(np.int32)
        free = 0, room - len(ids)
        at = np.searchsorted(ids, targets).astype(np.int32)
        log_rates = np.log(included(self.rates[ids], symbols + self.draws)).astype(np.float32)
        return batch._replace(targets=Among(at, np.pad(ids, free), np.pad(log_rates, free, constant_values=NEVER)))


def rates_of(data: Any, kinds: int) -> np.ndarray:
    """The rate of each kind of symbol among those of a text that are predicted. Each is counted once more than it occurs, so that
    none is 0."""
    symbols = data.predicted(MOST_COUNTED)
    counts = np.bincount(np.where(symbols < kinds, symbols, UNK), minlength=kinds) + 1.0
    return counts / counts.sum()


def included(rates: np.ndarray, n: int) -> np.ndarray:
    """The probability π that words of these rates are among n symbols."""
    return -np.expm1(n * np.log1p(-rates))


def room_for(rates: np.ndarray, symbols: int, draws: int) -> int:
    """The most words that a step predicts among: all steps have arrays of this one shape. The words of its batch always fit."""
    pi = included(rates, symbols + draws)
    most = pi.sum() + CERTAIN * np.sqrt((pi * (1 - pi)).sum())
    return min(len(rates), -(-max(int(most), symbols) // LINE) * LINE)
