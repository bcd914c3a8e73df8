"""Rows of a table by their numbers, with a gradient that is fast on every device."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.nn.precision import product

ONE_HOT = 1024  # up to so many rows the gradient of a lookup is a product with one-hot rows, beyond it a scatter


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def lookup(table: Array, ids: Array, precision: str = "f32") -> Array:
    """The rows of table [V, D] that ids [T, B] name; its gradient may be a product at this precision."""
    return table[ids]


def summed(rows: int, ids: Array, values: Array, precision: str = "f32") -> Array:
    """A table [rows, D] whose rows are the sums of those values [..., D] that have their numbers as ids [...]: what `lookup`'s
    gradient is of the cotangents of what it gave."""
    flat, values = ids.reshape(-1), values.reshape(-1, values.shape[-1])
    if rows <= ONE_HOT:
        return product(jax.nn.one_hot(flat, rows, axis=0, dtype=values.dtype), values, precision)
    return jnp.zeros((rows, values.shape[-1]), values.dtype).at[flat].add(values)


def _backward(precision: str, kept: tuple[Array, Array], cotangent: Array):
    ids, table = kept
    return summed(len(table), ids, cotangent, precision), None


lookup.defvjp(lambda table, ids, precision: (table[ids], (ids, table)), _backward)
