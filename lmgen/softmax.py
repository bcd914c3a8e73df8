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


def _backward(precision: str, transposed: bool, kept, cotangent: Array):
    h, W, excess = kept
    g = cotangent[:, None]
    dh = g * native.product(excess, W, precision, transposed_b=not transposed)
    product = partial(native.product, precision=precision, transposed_a=True)
    dW = product(excess, g * h) if transposed else product(g * h, excess)
    return dh, dW, product(g, excess)[0], None


nats.defvjp(_forward, _backward)
