"""Functions of logits that steer what is drawn, and the draw: logits [B, V], value [] or [B, 1] -> logits [B, V]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.data.vocab import UNK

NOTHING = -1e30  # the logit of a symbol that must not be drawn
LEAST = 1e-30  # temperature and top-p that 32 bits can tell from 0


def temperature(logits: Array, value: Array) -> Array:
    """Divide by the temperature, after shifting the largest logit to 0, so that temperature 0 keeps the largest alone."""
    return (logits - logits.max(-1, keepdims=True)) / jnp.maximum(value, LEAST)


def top_k(logits: Array, value: Array) -> Array:
    """Keep the k largest (and those equal to the k-th); k beyond V keeps all (Fan et al. 2018)."""
    at = jnp.broadcast_to(jnp.clip(value - 1, 0, logits.shape[1] - 1), (len(logits), 1))
    kth = jnp.take_along_axis(jnp.sort(logits, -1, descending=True), at, -1)
    return jnp.where(logits < kth, NOTHING, logits)


def top_p(logits: Array, value: Array) -> Array:
    """Keep the fewest largest whose probabilities sum to p or more (Holtzman et al. 2020)."""
    order = jnp.argsort(logits, -1, descending=True)
    p = jnp.take_along_axis(jax.nn.softmax(logits, -1), order, -1)
    kept = jnp.cumsum(p, -1) - p < value  # the larger ones do not reach p
    rank = jnp.argsort(order, -1)
    return jnp.where(jnp.take_along_axis(kept, rank, -1), logits, NOTHING)


def min_p(logits: Array, value: Array) -> Array:
    """Keep those with at least min_p times the probability of the largest (Nguyen et al. 2024)."""
    return jnp.where(logits - logits.max(-1, keepdims=True) < jnp.log(value), NOTHING, logits)


def typical(logits: Array, value: Array) -> Array:
    """Keep the fewest whose nats are closest to their mean and whose probabilities sum to the value (Meister et al. 2023)."""
    log_p = jax.nn.log_softmax(logits, -1)
    p = jnp.exp(log_p)
    unusual = jnp.abs(log_p + jnp.where(p > 0, -p * log_p, 0).sum(-1, keepdims=True))
    order = jnp.argsort(unusual, -1)
    sorted_p = jnp.take_along_axis(p, order, -1)
    kept = jnp.cumsum(sorted_p, -1) - sorted_p < value
    return jnp.where(jnp.take_along_axis(kept, jnp.argsort(order, -1), -1), logits, NOTHING)


def repetition_penalty(logits: Array, value: Array) -> Array:
    """Raise the probabilities to powers [B, V] (Keskar et al. 2019 scale logits, but these have no fixed zero)."""
    return jax.nn.log_softmax(logits, -1) * value


# In the order in which they apply, by the field of Settings; with the value that turns each off, whose type is that of the field.
TRANSFORMS: dict[str, tuple[Callable[[Array, Array], Array], float]] = {
    "repetition_penalty": (repetition_penalty, 1.0),
    "temperature": (temperature, 1.0),
    "top_k": (top_k, 0),
    "top_p": (top_p, 1.0),
    "min_p": (min_p, 0.0),
    "typical": (typical, 1.0),
}
OF_SEEN = {"repetition_penalty"}  # those that change only the symbols that a row has read


def transformed(logits: Array, names: tuple[str, ...], values: tuple[Any, ...], seen: Any = True) -> Array:
    """The logits after the named transforms, in rows that have `seen` [B, V] some symbols; each value is for all rows, or [B]."""
    for name, value in zip(names, values, strict=True):
        transform, off = TRANSFORMS[name]
        value = jnp.reshape(value, (-1, 1))
        changed = transform(logits, jnp.where(seen, value, off) if name in OF_SEEN else value)
        logits = jnp.where(value == off, logits, changed)
    return logits


def without_unknown(logits: Array, unknown: Any) -> Array:
    """The logits without UNK, but in the rows where `unknown`, one for all or [B], is true."""
    return logits.at[:, UNK].set(jnp.where(unknown, logits[:, UNK], NOTHING))


def draw(logits: Array, uniform: Array) -> Array:
    """A symbol for each row, by inverting the cumulated softmax at a uniform number in [0, 1)."""
    p = jax.nn.softmax(logits, -1)
    cumulated = jnp.cumsum(p, -1)
    total = cumulated[:, -1:]
    place = jnp.minimum(uniform[:, None] * total, jnp.nextafter(total, 0.0))
    return jnp.argmax(cumulated > place, -1).astype(jnp.int32)
