"""Activation regularisation: what pulls the outputs of the top layer towards 0 and towards each other (Merity et al. 2017)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def regularised(ar: float, tar: float, hs: Array) -> Array:
    """The outputs hs [T, B, N] as they are, with the gradient of a loss to which ar times the mean of h_t² and tar times the mean
    of (h_t − h_{t−1})² are added. The loss itself stays what is reported: nats."""
    return hs


def _backward(ar: float, tar: float, hs: Array, slope: Array) -> tuple[Array]:
    slope = slope + 2 * ar / hs.size * hs
    if tar and len(hs) > 1:
        steps = jnp.diff(hs, axis=0)
        between = jnp.pad(steps, ((1, 0), (0, 0), (0, 0))) - jnp.pad(steps, ((0, 1), (0, 0), (0, 0)))
        slope = slope + 2 * tar / steps.size * between
    return (slope,)


regularised.defvjp(lambda ar, tar, hs: (hs, hs), _backward)
