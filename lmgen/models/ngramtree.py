"""An n-gram model for compiled loops: its tree in arrays of 32 bits, read one symbol at a time.

The children of node n of the level below are the nodes from first[n] to first[n + 1], in the order of their last symbols, `ids`
(ngram.py has the tree in keys of 64 bits, which JAX lacks). Shapes: B rows, V vocabulary, m nodes of a level of n parents.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from lmgen.data.vocab import EOS
from lmgen.models.ngram import Level

AT_ONCE = 64  # children of a node that are looked up at a time


class Branches(NamedTuple):
    """A level of the tree: first [n + 1] and ids [m], int32; ln p and ln of the backoff weight [m], float32."""

    first: Any
    ids: Any
    log_p: Any
    backoff: Any


def tree_of(levels: Sequence[Level]) -> list[Branches]:
    """The tree of a model."""
    tree, parents, vocab = [], 1, len(levels[0].keys)
    for level in levels:
        edges = np.arange(parents + 1, dtype=np.uint64) * np.uint64(vocab)
        first = np.searchsorted(level.keys, edges).astype(np.int32)
        ids = (level.keys % np.uint64(vocab)).astype(np.int32)
        tree.append(Branches(first, ids, level.log_p, level.backoff))
        parents = len(level.keys)
    return tree


def most_children(tree: Sequence[Branches]) -> tuple[int, ...]:
    """The most children that a node of each level but the last has."""
    return tuple(int(np.diff(level.first).max(initial=1)) for level in tree[1:])


@cache
def stepper(most: tuple[int, ...], carry: bool) -> Any:
    """A function (tree, nodes [order − 1, B], ids [B]) -> (nodes after the ids, ln p [B, V] of what follows); `most` is the
    number of children that a node has at most, and without `carry` no context reaches back over EOS."""

    def step(tree: Sequence[Branches], nodes: Array, ids: Array) -> tuple[Array, Array]:
        after = [ids] if most else []
        for k in range(len(most) - 1):
            node = _child(tree[k + 1], most[k], nodes[k], ids)
            after.append(node if carry else jnp.where(ids == EOS, -1, node))
        log_p = jnp.tile(tree[0].log_p, (len(ids), 1))
        for k, node in enumerate(after):
            log_p = log_p + jnp.where(node >= 0, tree[k].backoff[node], 0)[:, None]
            log_p = _with_children(tree[k + 1], min(most[k], AT_ONCE), node, log_p)
        return jnp.stack(after) if after else nodes, log_p

    return step


def _child(level: Branches, most: int, parents: Array, ids: Array) -> Array:
    """The nodes of ids [B] under their parents [B], −1 where there is none: a binary search."""
    low, end = level.first[parents], level.first[parents + 1]
    high, last = end, len(level.ids) - 1
    for _ in range(most.bit_length()):
        middle = (low + high) // 2
        less = (low < high) & (level.ids[jnp.minimum(middle, last)] < ids)
        low, high = jnp.where(less, middle + 1, low), jnp.where(less, high, jnp.minimum(middle, high))
    found = (parents >= 0) & (low < end) & (level.ids[jnp.minimum(low, last)] == ids)
    return jnp.where(found, low, -1)


def _with_children(level: Branches, width: int, nodes: Array, log_p: Array) -> Array:
    """ln p [B, V], in which the children of the nodes [B] have their own."""
    first = level.first[nodes]
    count = jnp.where(nodes >= 0, level.first[nodes + 1] - first, 0)
    rows = jnp.arange(len(nodes))[:, None]

    def more(carry: tuple[Array, Array]) -> Array:
        return carry[0] < count.max()

    def some(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        at, log_p = carry
        place = at + jnp.arange(width)
        inside = place < count[:, None]
        node = jnp.where(inside, first[:, None] + place, 0)
        ids = jnp.where(inside, level.ids[node], log_p.shape[1])  # beyond the vocabulary: left out
        return at + width, log_p.at[rows, ids].set(level.log_p[node], mode="drop")

    return lax.while_loop(more, some, (jnp.int32(0), log_p))[1]
