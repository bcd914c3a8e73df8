"""The recurrent language model: embed, stacked cells, head.

Parameters are a pytree of dicts: "embedding" [V, E], "layers" (a list of what each cell wants), "head" {"W": [N, V], "b": [V]}.
The state is a list of what each layer's cell remembers. Shapes: T time, B batch, E embedding, N cell size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from lmgen import recurrence
from lmgen.cells import CELLS, State
from lmgen.devices import product
from lmgen.vocab import EOS

Params = dict[str, Any]
CHUNK = 1 << 23  # logits held at a time, in numbers


@dataclass(frozen=True)
class Config:
    """What rebuilds a model. With `carry` the state flows on over EOS, without it every sequence starts anew."""

    vocab: int
    cell: str = "lstm"
    size: int = 256
    layers: int = 1
    embedding: int = 256
    tie: bool = False
    dropout: float = 0.0
    carry: bool = False


def init(config: Config, key: Array) -> Params:
    """Fresh parameters: the embedding is normal with deviation 1/√E, the head uniform in ±1/√N, its bias zero."""
    embedding, head, *layers = jax.random.split(key, 2 + config.layers)
    inputs = [config.embedding] + [config.size] * (config.layers - 1)
    bound = config.size**-0.5
    params: Params = {
        "embedding": jax.random.normal(embedding, (config.vocab, config.embedding)) * config.embedding**-0.5,
        "layers": [CELLS[config.cell].init(k, d, config.size) for k, d in zip(layers, inputs, strict=True)],
        "head": {"b": jnp.zeros(config.vocab)},
    }
    if config.tie:
        if config.size != config.embedding:
            params["head"]["P"] = jax.random.uniform(head, (config.size, config.embedding), minval=-bound, maxval=bound)
    else:
        params["head"]["W"] = jax.random.uniform(head, (config.size, config.vocab), minval=-bound, maxval=bound)
    return params


def parameters(params: Params) -> int:
    """How many numbers a model learns."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def start(config: Config, batch: int) -> list[State]:
    """The state before anything is read."""
    return [CELLS[config.cell].start(batch, config.size) for _ in range(config.layers)]


def read(
    config: Config, precision: str, params: Params, state: list[State], ids: Array, dropout: Array | None = None
) -> tuple[list[State], Array]:
    """Read ids [T, B]; the state after them and the top layer's outputs [T, B, N].

    `dropout` is a random key in training and None otherwise. What is dropped are the outputs of each layer (Zaremba et al. 2014).
    """
    cell = CELLS[config.cell]
    multiply = partial(product, precision=precision)
    forget = jnp.zeros(ids.shape, bool) if config.carry else ids == EOS
    after: list[State] = []
    hs: Array | None = None
    for k, (p, s) in enumerate(zip(params["layers"], state, strict=True)):
        if hs is not None:
            xs = cell.inputs(p, hs, multiply)
        elif config.vocab <= ids.size:  # fewer products: take every row of the embedding once, then look up
            xs = _lookup(cell.inputs(p, params["embedding"], multiply), ids)
        else:
            xs = cell.inputs(p, _lookup(params["embedding"], ids), multiply)
        s, hs = recurrence.run(cell, p, s, xs, forget, precision)
        if dropout is not None and config.dropout:
            hs = _drop(hs, config.dropout, jax.random.fold_in(dropout, k))
        after.append(s)
    assert hs is not None
    return after, hs


def logits(params: Params, hs: Array, precision: str) -> Array:
    """Unnormalised log-probabilities [..., V] of what follows, from outputs [..., N]."""
    head = params["head"]
    if "W" in head:
        return product(hs, head["W"], precision) + head["b"]
    if "P" in head:
        hs = product(hs, head["P"], precision)
    return product(hs, params["embedding"].T, precision) + head["b"]


def nats(params: Params, hs: Array, targets: Array, precision: str) -> Array:
    """−ln p of each target [T, B] given the outputs [T, B, N]; of the logits only a chunk of times is held at a time."""

    def of(rows: tuple[Array, Array]) -> Array:
        scores = logits(params, rows[0], precision)
        return jax.nn.logsumexp(scores, -1) - jnp.take_along_axis(scores, rows[1][..., None], -1)[..., 0]

    T, B = targets.shape
    chunks = next(c for c in range(1, T + 1) if (T % c == 0 and T // c * B * params["head"]["b"].size <= CHUNK) or c == T)
    if chunks == 1:
        return of((hs, targets))
    cut = (hs.reshape(chunks, T // chunks, *hs.shape[1:]), targets.reshape(chunks, T // chunks, B))
    return lax.map(jax.checkpoint(of), cut).reshape(T, B)


def _drop(hs: Array, rate: float, key: Array) -> Array:
    keep = jax.random.bernoulli(key, 1 - rate, hs.shape)
    return jnp.where(keep, hs / (1 - rate), 0)


ONE_HOT = 1024  # up to so many rows the gradient of a lookup is a product with one-hot rows, beyond it a scatter


@jax.custom_vjp
def _lookup(table: Array, ids: Array) -> Array:
    """The rows of table [V, D] that ids [T, B] name."""
    return table[ids]


def _lookup_backward(kept, cotangent):
    ids, table = kept
    rows = cotangent.reshape(-1, cotangent.shape[-1])
    flat = ids.reshape(-1)
    if table.shape[0] <= ONE_HOT:
        return jax.nn.one_hot(flat, table.shape[0], axis=0, dtype=rows.dtype) @ rows, None
    return jnp.zeros(table.shape, rows.dtype).at[flat].add(rows), None


_lookup.defvjp(lambda table, ids: (table[ids], (ids, table)), _lookup_backward)
