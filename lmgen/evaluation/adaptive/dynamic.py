"""Dynamic evaluation: after each segment of a text the weights take a step down its gradient (Krause et al. 2018).

θ ← θ − η g / (s + ε) + min(1, λ s̃) (θ₀ − θ), where g is the gradient of the segment's mean nats, s the root mean square of
such gradients on a validation text at the trained weights θ₀, and s̃ = s / mean(s), so that weights which matter return faster
(section 4 of the paper). ε is the mean of s in an array: weights that the validation text hardly used take no giant steps.
Shapes: T the symbols of a segment, N size of the head's inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lmgen.evaluation.adaptive.cache import EMPTY, Block, only_text
from lmgen.models.capabilities import Adapts
from lmgen.nn import model
from lmgen.nn.model import NetworkConfig, Params

SEGMENT = 20  # symbols
RATES = tuple(10.0 ** (k / 2) for k in range(-12, -1))
DECAYS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FIRST_RATE, FIRST_DECAY = RATES.index(1e-4), DECAYS.index(1e-3)


@dataclass(frozen=True, eq=False)
class Dynamic:
    """The settings: the learning rate η, the decay λ, and s for each array of weights."""

    rate: float
    decay: float
    scale: Params

    def read(self, lm: Adapts, stream: np.ndarray) -> Iterator[Block]:
        """The blocks of a text, a segment each. A symbol is scored before it is learnt from."""
        learnt, state = jax.tree.map(jnp.copy, lm.params), lm.start(1)
        for window, counts in segments(stream, SEGMENT):
            numbers = jnp.float32(self.rate), jnp.float32(self.decay)
            learnt, state, h, nats = _step(lm.config, lm.precision, numbers, lm.params, self.scale, learnt, state, window, counts)
            yield np.asarray(h), np.where(counts, window[1:, 0], EMPTY), np.asarray(nats)


def fit(lm: Adapts, stream: np.ndarray) -> Dynamic:
    """The settings that give a text the fewest nats: first the rate, then the decay, each as long as the next value is better."""
    scale = _scale(lm, stream)

    def nats(rate: int, decay: int) -> float:
        found = Dynamic(RATES[rate], DECAYS[decay], scale).read(lm, stream)
        total = float(sum(only_text(block).sum(dtype=np.float64) for block in found))
        return total if np.isfinite(total) else np.inf

    rate = _climbed(lambda k: nats(k, FIRST_DECAY), FIRST_RATE, len(RATES))
    decay = _climbed(lambda k: nats(rate, k), FIRST_DECAY, len(DECAYS))
    return Dynamic(RATES[rate], DECAYS[decay], scale)


def segments(stream: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The windows [T + 1, 1] of a stream, the last one filled up with zeros, and which of their targets count [T]."""
    for at in range(0, len(stream) - 1, size):
        window = np.zeros((size + 1, 1), np.int32)
        ids = stream[at : at + size + 1]
        window[: len(ids), 0] = ids
        yield window, np.arange(size) < len(ids) - 1


def _climbed(cost: Any, at: int, count: int) -> int:
    """The place of the lowest cost that steps in one direction reach from a place."""
    costs = {at: cost(at)}
    for way in (1, -1):
        while 0 <= (following := at + way) < count:
            if following not in costs:
                costs[following] = cost(following)
            if costs[following] >= costs[at]:
                break
            at = following
    return at


def _scale(lm: Adapts, stream: np.ndarray) -> Params:
    """The root mean square of the gradients of the segments of a text, at the trained weights."""
    squares, state, count = jax.tree.map(jnp.zeros_like, lm.params), lm.start(1), 0
    for window, counts in segments(stream, SEGMENT):
        squares, state = _squares(lm.config, lm.precision, lm.params, squares, state, window, counts)
        count += 1
    return jax.tree.map(lambda q: jnp.sqrt(q / max(1, count)), squares)


Gradient = tuple[Any, Params]


def _gradient(config: NetworkConfig, precision: str, params: Params, state: Any, window: Array, counts: Array) -> Gradient:
    def loss(params: Params) -> tuple[Array, Any]:
        after, hs = model.read(config, precision, params, state, window[:-1])
        nats = model.nats(params, hs, window[1:], precision)[:, 0]
        return jnp.where(counts, nats, 0).sum() / jnp.maximum(1, counts.sum()), (after, hs[:, 0], nats)

    (_, read), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return read, gradient


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _squares(config: NetworkConfig, precision: str, params: Params, squares: Params, state: Any, window: Any, counts: Any) -> Any:
    (after, *_), gradient = _gradient(config, precision, params, state, window, counts)
    return jax.tree.map(lambda q, g: q + g * g, squares, gradient), after


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
def _step(
    config: NetworkConfig, precision: str, numbers: Any, trained: Params, scale: Params, params: Params, state: Any, *segment: Any
) -> Any:
    """The weights after a segment and the state, the head's inputs [T, N] and the nats [T] before it was learnt from."""
    (after, h, nats), gradient = _gradient(config, precision, params, state, *segment)
    rate, decay = numbers
    leaves = jax.tree.leaves(scale)
    mean = sum(s.sum() for s in leaves) / sum(s.size for s in leaves) + 1e-30

    def stepped(p: Array, p0: Array, g: Array, s: Array) -> Array:
        return p - rate * g / (s + s.mean() + 1e-12) + jnp.minimum(1, decay * s / mean) * (p0 - p)

    return jax.tree.map(stepped, params, trained, gradient, scale), after, h, nats
