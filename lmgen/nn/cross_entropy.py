"""Softmax cross-entropy: −ln p of targets, with a gradient that keeps only p − one-hot.

A sampled softmax predicts a word among few instead of all (Jean et al. 2015, section 3): those of the batch, and others drawn by
their frequency. From each logit ln π is subtracted, π being the probability that the word is among them, so that the expected sum
over the few is the sum over all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from lmgen.nn import native
from lmgen.nn.precision import product, weight_gradient

CHUNK = 1 << 24  # logits in memory at a time, without kernels


class Among(NamedTuple):
    """Targets as places `at` [T, B] among the words `ids` [K], with their ln π [K]; a place of no word has a large one."""

    at: Any
    ids: Any
    log_rates: Any


def narrowed(params: dict[str, Any], targets: Any) -> tuple[dict[str, Any], Array]:
    """The parameters of a head that knows the words of `targets` alone, and their places; what was given for plain targets."""
    if not isinstance(targets, Among):
        return params, targets
    head = {**params["head"], "b": params["head"]["b"][targets.ids] - targets.log_rates}
    if "W" in head:
        return {"head": {**head, "W": head["W"][:, targets.ids]}}, targets.at
    return {"head": head, "embedding": params["embedding"][targets.ids]}, targets.at


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def nats(precision: str, transposed: bool, h: Array, W: Array, b: Array, targets: Array) -> Array:
    """−ln p [n] of targets [n] under softmax(h W + b), from h [n, N] and W [N, V], or `transposed` [V, N].

    The gradient keeps p − one-hot [n, V], with "bf16" in bfloat16. Without a gradient the logits are computed in chunks.
    """
    return _nats(precision, transposed, h, W, b, targets, keep=False)[0]


def _nats(precision: str, transposed: bool, h: Array, W: Array, b: Array, targets: Array, keep: bool) -> list[Array]:
    if native.serves(precision, h):
        return native.head(h, W, b, targets, precision, transposed, keep)

    def of(rows: tuple[Array, Array]) -> list[Array]:
        h, targets = rows
        scores = product(h, W, precision, transposed) + b
        total = jax.nn.logsumexp(scores, -1)
        nats = total - jnp.take_along_axis(scores, targets[:, None], -1)[:, 0]
        if not keep:
            return [nats]
        excess = jnp.exp(scores - total[:, None]) - (targets[:, None] == jnp.arange(b.size))
        return [nats, excess.astype(jnp.bfloat16 if precision == "bf16" else h.dtype)]

    return in_chunks(of, (h, targets), -(-len(h) * b.size // CHUNK))


def in_chunks(of: Callable[[Any], Any], arrays: tuple[Array, ...], chunks: int) -> Any:
    """The result of a function of arrays [n, …] that treats each row alone, computed in chunks of rows one after another."""
    if chunks <= 1:
        return of(arrays)
    n = len(arrays[0])
    rows = -(-n // chunks)
    padded = (jnp.pad(a, ((0, chunks * rows - n), *((0, 0),) * (a.ndim - 1))) for a in arrays)
    parts = lax.map(of, tuple(a.reshape(chunks, rows, *a.shape[1:]) for a in padded))
    return jax.tree.map(lambda part: part.reshape(chunks * rows, *part.shape[2:])[:n], parts)


def _forward(precision: str, transposed: bool, h: Array, W: Array, b: Array, targets: Array):
    nats, excess, *factors = _nats(precision, transposed, h, W, b, targets, keep=True)
    return nats, (h, W, excess, factors)


def _backward(precision: str, transposed: bool, kept, g: Array):
    h, W, excess, factors = kept
    if not native.serves(precision, h):
        excess, weighted = excess.astype(h.dtype), g[:, None] * h
        dh = g[:, None] * product(excess, W, precision, not transposed)
        dW = weight_gradient(*((excess, weighted) if transposed else (weighted, excess)), precision)
        return dh, dW, product(g[None], excess, "f32")[0], None
    g *= factors[0]
    times = partial(native.product, precision=precision, weights=g)
    dh = times(excess, W, transposed_b=not transposed, shape=h.shape)
    if not transposed:
        return dh, *native.weight_gradient(h, excess, W.shape, precision, g), None
    dW = times(excess, h, transposed_a=True, shape=W.shape)
    return dh, dW, native.weighted_sum(g, excess, len(W), precision), None


nats.defvjp(_forward, _backward)
