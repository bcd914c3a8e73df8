"""Rows of a table by their numbers, with a gradient that is fast on every device."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.nn.precision import product

ONE_HOT = 1024  # rows: the gradient of a smaller table is a product with one-hot rows, that of a larger one a scatter


class Rows(NamedTuple):
    """A few rows of a table [V, D]: values [T, B, D] of the rows that ids [T, B] name.

    As a gradient: the values of an id that occurs more than once are summed; the other rows are zero.
    """

    ids: Array
    values: Array


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def lookup(table: Array, ids: Array, precision: str = "f32") -> Array:
    """The rows of table [V, D] that ids [T, B] name; its gradient may be a product at this precision."""
    return table[ids]


def summed(rows: int, ids: Array, values: Array, precision: str = "f32") -> Array:
    """Scatter-add, the VJP of `lookup`: a table [rows, D] whose row k is the sum of the values [..., D] whose ids [...] are k."""
    flat, values = ids.reshape(-1), values.reshape(-1, values.shape[-1])
    if rows <= ONE_HOT:
        return product(jax.nn.one_hot(flat, rows, axis=0, dtype=values.dtype), values, precision)
    return jnp.zeros((rows, values.shape[-1]), values.dtype).at[flat].add(values)


def _backward(precision: str, kept: tuple[Array, Array], cotangent: Array):
    ids, table = kept
    return summed(len(table), ids, cotangent, precision), None


lookup.defvjp(lambda table, ids, precision: (table[ids], (ids, table)), _backward)
