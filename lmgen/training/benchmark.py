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

from lmgen.defaults.config import TrainingConfig
from lmgen.nn import model, recurrence
from lmgen.nn.attention import Attention
from lmgen.nn.cells import CELLS
from lmgen.nn.precision import precision_of
from lmgen.tasks import task_of
from lmgen.tasks.task import Batch
from lmgen.training.step import begin, step

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
    vectors = sum(w.size // size for w in p.values() if w.ndim == 1)
    products = [] if isinstance(cell, Attention) else [blocks[key] for key, _ in recurrence.products(cell, p, state, x)]
    about = inspect.getdoc(type(cell)) or ""
    weights = sum(blocks.values())
    return Cost(name, about, weights, vectors, weights - sum(products), sum(products), len(products))


def speeds(names: Iterable[str], size: int, precision: str = "auto") -> Iterator[float]:
    """Symbols a second in training, for each cell: the median step of one layer of `size` units, after compilation."""
    ids = np.random.default_rng(0).integers(0, VOCAB, (WINDOW + 1, BATCH)).astype(np.int32)
    batch = Batch(ids[:-1], ids[1:], None, np.zeros(BATCH, bool))
    for name in names:
        config = TrainingConfig(BATCH, WINDOW, 1e-3, precision=precision_of(precision, name))
        task = task_of(model.NetworkConfig(VOCAB, name, size=size, embedding=size, carry=True), config.precision)
        state = begin(task, config)
        times: list[float] = []
        while sum(times[1:]) < SECONDS or len(times) < 4:  # the first one compiles
            start = time.perf_counter()
            state, *_ = step(task, config.optimiser, state, batch, 0.0, 0)
            jax.block_until_ready(state)
            times.append(time.perf_counter() - start)
        yield BATCH * WINDOW / statistics.median(times[1:])
