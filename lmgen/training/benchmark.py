"""What each cell costs: parameters, products, and its speed on this machine."""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lmgen.nn import model, recurrence
from lmgen.nn.cells import CELLS
from lmgen.nn.precision import precision_of
from lmgen.training import loop

VOCAB, BATCH, WINDOW = 64, 32, 64
SECONDS = 0.5  # of measuring, for each cell


@dataclass(frozen=True)
class Cost:
    """Of a layer of N units that reads N numbers: `weights` · N + `vectors` parameters a unit; in a step `of_input` products
    N × N for all times at once, and `of_state` products step by step, in `in_turn` that wait for each other."""

    name: str
    about: str
    weights: int
    vectors: int
    of_input: int
    of_state: int
    in_turn: int


def cost(name: str, size: int = 8) -> Cost:
    """What a cell costs, counted in its weights and in its step."""
    cell = CELLS[name]
    p = jax.eval_shape(lambda key: cell.init(key, size, size), jax.random.key(0))
    state = jax.eval_shape(lambda: cell.start(1, size))
    x = jax.eval_shape(lambda p: cell.inputs(p, jnp.zeros((1, size)), jnp.matmul), p)
    blocks = {key: w.size // size**2 for key, w in p.items() if w.ndim == 2}
    made = [key for key, _ in recurrence.products(cell, p, state, x)]
    return Cost(
        name=name,
        about=inspect.getdoc(type(cell)) or "",
        weights=sum(blocks.values()),
        vectors=sum(w.size // size for w in p.values() if w.ndim == 1),
        of_input=blocks["W"],
        of_state=sum(blocks[key] for key in made),
        in_turn=len(made),
    )


def speeds(names: Iterable[str], size: int, precision: str = "auto") -> Iterator[float]:
    """Symbols a second in training, for each cell: the median step of a model with one layer of `size` units, compiled before."""
    ids = np.random.default_rng(0).integers(0, VOCAB, (WINDOW + 1, BATCH)).astype(np.int32)
    begins = np.zeros(BATCH, bool)
    for name in names:
        config = loop.TrainingConfig(BATCH, WINDOW, 1e-3, precision=precision_of(precision, name))
        network = model.NetworkConfig(VOCAB, name, size=size, embedding=size, carry=True)
        state, _ = loop.step(config.update, network, loop.begin(config, network), ids, begins, 0.0, 0)
        jax.block_until_ready(state)
        times: list[float] = []
        while sum(times) < SECONDS or len(times) < 3:
            start = time.perf_counter()
            state, _ = loop.step(config.update, network, state, ids, begins, 0.0, 0)
            jax.block_until_ready(state)
            times.append(time.perf_counter() - start)
        yield BATCH * WINDOW / statistics.median(times)
