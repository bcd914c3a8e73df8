"""What training drops: numbers become 0, the others are divided by 1 − rate, so that the mean stays (Srivastava et al. 2014).

All is dropped after the layer norm that reads it, never before: the norm would divide by the larger spread of training.

| rate                | what is dropped                                                                | a mask holds for       |
|---------------------|--------------------------------------------------------------------------------|------------------------|
| `embedding_dropout` | rows of the embedding: all of a symbol, wherever it is read (Gal et al. 2016)  | a step                 |
| `input_dropout`     | what the first layer reads (Zaremba et al. 2014)                               | one number             |
| `state_dropout`     | the output of the step before, as U reads it (Gal & Ghahramani 2016)           | a column of a window   |
| `weight_dropout`    | the recurrent weights U (DropConnect: Wan et al. 2013, Merity et al. 2017)     | a step                 |
| `dropout`           | what a layer reads of the layer below (Zaremba et al. 2014)                    | one number             |
| `output_dropout`    | what the head reads; where it is None, at the rate `dropout`                   | one number             |

The masks of a step are a function of its random key alone, which depends on the seed, the step and the device. That is why the
mask of the state is drawn anew for each window, not for each sequence: nothing of it has to be carried from step to step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

FIRST = 1 << 16  # the numbers below are those of the layers


class Place(NamedTuple):
    """Where something is dropped: the number of its random key, and the axes along which the mask varies, None for all."""

    number: int
    axes: tuple[int, ...] | None = None


PLACES = {
    "embedding_dropout": Place(FIRST, (0,)),
    "input_dropout": Place(FIRST + 1),
    "state_dropout": Place(FIRST + 2),
    "weight_dropout": Place(FIRST + 3),
}


def mask(key: Array, rate: float, shape: tuple[int, ...]) -> Array:
    """Factors: 0 for a share of the numbers, 1 / (1 − rate) for the others. To draw random words takes the time, so each of 32
    bits serves two of them."""
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size].reshape(shape)
    return jnp.where(halves >= round(rate * (1 << 16)), 1 / (1 - rate), 0)


def mask_of(config: Any, name: str, key: Array | None, shape: tuple[int, ...], layer: int = 0) -> Array | None:
    """The mask of one of PLACES for an array of a shape; None without a random key, as in evaluation, and at the rate 0."""
    rate, place = getattr(config, name), PLACES[name]
    if key is None or not rate:
        return None
    own = jax.random.fold_in(jax.random.fold_in(key, place.number), layer)
    return mask(own, rate, tuple(n if place.axes is None or axis in place.axes else 1 for axis, n in enumerate(shape)))


def described(config: Any) -> str:
    """The rates, but for those that are 0, in words."""
    rates = {name.replace("_", " "): getattr(config, name) for name in (*PLACES, "output_dropout")}
    return ", ".join([f"dropout {config.dropout:g}", *(f"{name} {rate:g}" for name, rate in rates.items() if rate)])
