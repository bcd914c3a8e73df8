"""Writing by label: the language model of labelled texts, each of which is read with the vector of its label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from lmgen.data.windows import ALL, Share
from lmgen.labelled.corpus import Coded
from lmgen.labelled.packing import Packing
from lmgen.networks import writing
from lmgen.networks.writing import WriterConfig
from lmgen.tasks.task import Batch, Task


@dataclass(frozen=True)
class Generate(Task):
    """Read whole texts, packed into columns, from left to right, and predict the next symbol, EOS included."""

    network: WriterConfig

    def batches(self, data: Any, batch: int, window: int, seed: int, share: Share = ALL) -> Any:
        return WrittenBatches(data, batch * window, seed, self.network, share)

    def init(self, key: Array) -> Any:
        return writing.init(self.network, key)

    def start(self, batch: int) -> Any:
        return []

    def loss(self, params: Any, state: Any, batch: Batch, key: Array) -> tuple[Any, Any]:
        return writing.nats(self.network, self.precision, params, batch.inputs, batch.targets, key), state


class WrittenBatches:
    """The batches of labelled texts to write: blocks of whole texts."""

    def __init__(self, data: Coded, symbols: int, seed: int, network: WriterConfig, share: Share = ALL):
        self.data, self.network = data, network
        self.packing = Packing(data.starts, data.lengths, symbols, seed, share=share)
        self.per_epoch, self.filler = self.packing.per_epoch, self.packing.filler

    def __getitem__(self, step: int) -> Batch:
        inputs = writing.inputs_of(self.data, self.packing[step], self.network.vocab, len(self.network.labels))
        return Batch(*inputs, np.zeros(1, bool))
