"""The language model: predict every next symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array

from lmgen.data.ids import Ids
from lmgen.data.vocab import Vocab
from lmgen.data.windows import ALL, Share
from lmgen.networks import letters
from lmgen.nn import cross_entropy, model
from lmgen.tasks.task import Batch, Batches, Task


class Language(Task):
    """Read from left to right and predict the next symbol, EOS included."""

    def batch(self, window: np.ndarray, begins: np.ndarray) -> Batch:
        return Batch(window[:-1], window[1:], None, begins)

    def batches(self, ids: Ids, batch: int, window: int, seed: int, share: Share = ALL) -> Batches:
        plain = super().batches(ids, batch, window, seed, share)
        if not self.network.hashed:
            return plain
        assert ids.vocab
        return SpeltBatches(plain.task, plain.windows, letters.of_vocabulary(ids.vocab), share.devices > 1)

    def rows_read(self, batch: Batch) -> Array | None:
        if not model.reads_few_rows(self.network, jax.tree.leaves(batch.targets)[0].size):
            return None
        return batch.inputs.words if self.network.hashed else batch.inputs

    def loss(self, params: model.Params, state: Any, batch: Batch, key: Array) -> tuple[Array, Any]:
        read, ids = params, batch.inputs
        if self.network.hashed:
            rows = letters.read(params, batch.inputs, self.precision)
            read, ids = {**params, "embedding": rows}, rows.ids
        state, hs = model.read(self.network, self.precision, read, state, ids, key)
        head, targets = cross_entropy.narrowed(params, batch.targets)
        return model.nats(head, hs, targets, self.precision), state

    def folded(self, params: model.Params, vocab: Vocab) -> tuple[model.NetworkConfig, model.Params]:
        if self.network.hashed:
            params = letters.folded(params, letters.of_vocabulary(vocab))
        return self.network.folded, params


@dataclass(frozen=True)
class SpeltBatches(Batches):
    """Batches whose inputs are words with the buckets of their letters; `letters` [V, M] has those of every id, and
    `full` is as for `letters.words_of`."""

    letters: np.ndarray
    full: bool

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        return batch._replace(inputs=letters.words_of(batch.inputs, self.letters, self.full))
