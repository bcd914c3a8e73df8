"""A network that predicts bytes and trains on them as they come: after each block it takes a step on that block, and others on
blocks before it.

Everything that it computes depends on the bytes before, the settings and the seed alone, so a reader that gets the bytes in
the same order, with the same versions on such a processor, computes the same numbers. Shapes: T the bytes of a block in a
column, B columns.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.defaults.config import TrainingConfig
from lmgen.nn import model
from lmgen.nn.model import NetworkConfig, Params
from lmgen.tasks.language import Language
from lmgen.tasks.task import Batch
from lmgen.training import step

BLOCK = 32
REMEMBERED = 1 << 22  # bytes of blocks that are read again
RATE, HALVED = 6e-3, 4000  # the learning rate of the first step, and the number of steps after which it is half of that
LEAST = 2.0**-20  # probability of a byte


class Network:
    """Predicts the next byte of each of B columns. After each block, `again` earlier blocks are read once more."""

    def __init__(self, columns: int, size: int, again: int):
        self.config = NetworkConfig(256, "lstm", size, 1, 64, carry=True)
        self.task = Language(self.config)
        self.training = TrainingConfig(columns, BLOCK, RATE, weight_decay=0.0)
        self.again, self.steps = again, 0
        self.learnt = step.begin(self.task, self.training)
        self.state = model.start(self.config, columns)
        self.window = np.zeros((BLOCK + 1, columns), np.uint8)
        self.row = 0
        self.blocks: list[np.ndarray] = []
        self.draw = np.random.default_rng(0)

    def predict(self) -> np.ndarray:
        """The odds [B, 256] that the bit after each node of the tree of a byte's bits is 1; those of node 0 mean nothing."""
        self.state, odds = _predicted(self.config, self.learnt.params, self.state, self.window[self.row])
        return np.asarray(odds, np.float64)

    def read(self, byte: np.ndarray) -> None:
        """Read the bytes [B] that came, and learn where they end a block."""
        self.row += 1
        self.window[self.row] = byte
        if self.row < BLOCK:
            return
        self._step(self.window, False)
        carried = self.learnt.carried
        if self.blocks:
            for number in self.draw.integers(len(self.blocks), size=self.again):
                self._step(self.blocks[number], True)
        self.learnt = self.learnt._replace(carried=carried)
        self._remember(self.window.copy())
        self.window[0] = byte
        self.row = 0

    def _step(self, window: np.ndarray, alone: bool) -> None:
        """A step on a block; one that is read `alone` begins with an empty state."""
        ids = window.astype(np.int32)
        batch = Batch(ids[:-1], ids[1:], None, jnp.full(ids.shape[1], alone))
        rate = np.float32(RATE * HALVED / (HALVED + self.steps))
        # A step reuses the memory of what it is given.
        given = self.learnt._replace(carried=jax.tree.map(jnp.copy, self.learnt.carried)) if alone else self.learnt
        self.learnt, *_ = step.step(self.task, self.training.optimiser, given, batch, rate, np.int32(self.steps))
        self.steps += 1

    def _remember(self, window: np.ndarray) -> None:
        if len(self.blocks) < REMEMBERED // window.size:
            self.blocks.append(window)
        else:
            self.blocks[self.draw.integers(len(self.blocks))] = window


@partial(jax.jit, static_argnums=0)
def _predicted(config: NetworkConfig, params: Params, state: Any, bytes_: Any) -> tuple[Any, Array]:
    """The state after the bytes [B], and the odds [B, 256] of the nodes."""
    state, hs = model.read(config, "f32", params, state, bytes_[None].astype(jnp.int32))
    p = jax.nn.softmax(model.logits(params, hs[0], "f32")) + LEAST
    odds = []
    while p.shape[1] > 1:  # from the leaves to the root: nodes 128 to 255 decide the last bit
        left, right = p[:, ::2], p[:, 1::2]
        odds.append(jnp.log(right) - jnp.log(left))
        p = left + right
    return state, jnp.clip(jnp.concatenate([p, *reversed(odds)], 1), -12, 12)
