"""The language model: predict every next symbol."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import Array

from lmgen.nn import model
from lmgen.tasks.task import Batch, Task


class Language(Task):
    """Read from left to right and predict the next symbol, EOS included."""

    def batch(self, window: np.ndarray, begins: np.ndarray) -> Batch:
        return Batch(window[:-1], window[1:], None, begins)

    def rows_read(self, batch: Batch) -> Array | None:
        return batch.inputs if model.reads_few_rows(self.network, batch.inputs.size) else None

    def loss(self, params: model.Params, state: Any, batch: Batch, key: Array) -> tuple[Array, Any]:
        state, hs = model.read(self.network, self.precision, params, state, batch.inputs, key)
        return model.nats(params, hs, batch.targets, self.precision), state
