"""Translation: write a target for a source, from the stream `EOS x SEP y EOS`; only y and its EOS are predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from lmgen.data.windows import ALL, Share
from lmgen.labelled.packing import Packing
from lmgen.networks import translating
from lmgen.networks.translating import TranslatorConfig
from lmgen.structured.bitext import CodedPairs
from lmgen.tasks.task import Batch, Task


@dataclass(frozen=True)
class Translate(Task):
    """Read whole pairs, packed into columns, and predict the symbols of the target, each given the source and those before it."""

    network: TranslatorConfig

    def batches(self, data: Any, batch: int, window: int, seed: int, share: Share = ALL) -> Any:
        return PairBatches(data, batch * window, seed, share)

    def init(self, key: Array) -> Any:
        return translating.init(self.network, key)

    def start(self, batch: int) -> Any:
        return []

    def loss(self, params: Any, state: Any, batch: Batch, key: Array) -> tuple[Any, Any]:
        return translating.nats(self.network, self.precision, params, batch.inputs, batch.targets, key), state


class PairBatches:
    """The batches of pairs: blocks of whole pairs, all blocks of one shape with as much room for predicted symbols."""

    def __init__(self, data: CodedPairs, symbols: int, seed: int, share: Share = ALL):
        self.data = data
        kinds = data.lengths * np.int32(data.sources.max() + 1) + data.sources
        self.packing = Packing(data.starts, data.lengths, symbols, seed, kinds, share)
        self.per_epoch, self.filler = self.packing.per_epoch, self.packing.filler
        self.room = self.packing.room(data.lengths - data.sources)

    def __getitem__(self, step: int) -> Batch:
        block = self.packing[step]
        inputs, targets, weights = translating.inputs_of(self.data, block, self.room[len(block.places)])
        return Batch(inputs, targets, weights, np.zeros(1, bool))
