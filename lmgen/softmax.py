"""Softmax cross-entropy by the kernels of native/: −ln p of targets, and its gradient."""

from __future__ import annotations

from functools import partial

import jax
from jax import Array

from lmgen import native


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def nats(precision: str, transposed: bool, h: Array, W: Array, b: Array, targets: Array) -> Array:
    """−ln p [n] of targets [n] under softmax(h W + b), from h [n, N] and W [N, V], or `transposed` [V, N].

    Where a gradient is wanted, p less the one-hot target is kept [n, V]; otherwise only a block of the logits ever exists.
    """
    return native.head(h, W, b, targets, precision, transposed, keep=False)[0]


def _forward(precision: str, transposed: bool, h: Array, W: Array, b: Array, targets: Array):
    nats, excess = native.head(h, W, b, targets, precision, transposed, keep=True)
    return nats, (h, W, excess)


def _backward(precision: str, transposed: bool, kept, g: Array):
    h, W, excess = kept
    product = partial(native.product, precision=precision, weights=g)
    dh = product(excess, W, transposed_b=not transposed, shape=h.shape)
    a, b = (excess, h) if transposed else (h, excess)
    dW = product(a, b, transposed_a=True, shape=W.shape)
    return dh, dW, native.weighted_sum(g, excess, W.shape[not transposed], precision), None


nats.defvjp(_forward, _backward)
