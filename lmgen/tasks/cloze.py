"""The cloze model: predict every symbol from all others, those before it and those after it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.data.vocab import EOS
from lmgen.nn import model
from lmgen.tasks.task import Batch, Task


class Cloze(Task):
    """Read from both sides and predict the symbol between. Inputs [T + 2, B] reach one symbol beyond the targets on each side.

    Where sequences are independent their ends are given, so EOS is not counted.
    """

    ahead = 1

    def batch(self, window: np.ndarray, begins: np.ndarray) -> Batch:
        targets = window[1:-1]
        return Batch(window, targets, None if self.network.carry else (targets != EOS).astype(np.float32), begins)

    def loss(self, params: model.Params, state: Any, batch: Batch, key: Array) -> tuple[Array, Any]:
        fresh = jax.tree.map(jnp.zeros_like, state)  # the text after the window is unknown
        state, hs = model.read_between(self.network, self.precision, params, state, fresh, batch.inputs, dropout=key)
        return model.nats(params, hs, batch.targets, self.precision), state
