"""The words that a training step predicts among: those of its batch, and some drawn by their frequency in the text.

T time, B batch, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lmgen.data.ids import Ids
from lmgen.nn.cross_entropy import Among
from lmgen.tasks.task import Batch

MOST_COUNTED = 1 << 22  # symbols, from the start of the text on
CERTAIN = 6  # standard deviations beyond the mean: so many words are hardly ever drawn
LINE = 64  # the number of words is a multiple of it
NEVER = 1e4  # ln π where there is no word: its logit is far below all others


@dataclass(frozen=True)
class Sampled:
    """Batches of `symbols` targets with `draws` words a step beside their own.

    `batches[k]` depends on nothing but k and the text.
    """

    batches: Any
    symbols: int
    draws: int
    rates: np.ndarray  # [V] of each word among all symbols
    seed: tuple[int, int]

    @cached_property
    def room(self) -> int:
        """The number of words that a step predicts among, with the places that stay free."""
        return room_for(self.rates, self.symbols, self.draws)

    @cached_property
    def _cumulated(self) -> np.ndarray:
        return np.cumsum(self.rates)

    @cached_property
    def _log_rates(self) -> np.ndarray:
        return np.log(included(self.rates, self.symbols + self.draws)).astype(np.float32)

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
        uniform = np.random.default_rng((*self.seed, step)).random(self.draws)
        drawn = np.minimum(np.searchsorted(self._cumulated, uniform, side="right"), len(self.rates) - 1)
        own = np.unique(batch.targets)
        others = np.setdiff1d(drawn, own)[: self.room - len(own)]
        ids = np.sort(np.concatenate([own, others])).astype(np.int32)
        free = 0, self.room - len(ids)
        at = np.searchsorted(ids, batch.targets).astype(np.int32)
        log_rates = np.pad(self._log_rates[ids], free, constant_values=NEVER)
        return batch._replace(targets=Among(at, np.pad(ids, free), log_rates))


def rates_of(ids: Ids, kinds: int) -> np.ndarray:
    """The rate of each of so many kinds of symbols in a text, each counted once more than it occurs so that none is 0."""
    counts = np.bincount(ids.stream[1 : MOST_COUNTED + 1], minlength=kinds) + 1.0
    return counts / counts.sum()


def included(rates: np.ndarray, n: int) -> np.ndarray:
    """The probability π that words of these rates are among n symbols."""
    return -np.expm1(n * np.log1p(-rates))


def room_for(rates: np.ndarray, symbols: int, draws: int) -> int:
    """The most words that a step predicts among: all steps have arrays of this one shape. The words of its batch always fit."""
    pi = included(rates, symbols + draws)
    most = pi.sum() + CERTAIN * np.sqrt((pi * (1 - pi)).sum())
    return min(len(rates), -(-max(int(most), symbols) // LINE) * LINE)
