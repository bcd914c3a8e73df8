"""Layer normalisation (Ba et al. 2016)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def init_norm(size: int) -> dict[str, Array]:
    """Parameters that leave normalised rows as they are."""
    return {"gain": jnp.ones(size), "shift": jnp.zeros(size)}


def normalised(p: dict[str, Array], rows: Array) -> Array:
    """Each row with mean 0 and deviation 1, times gain, plus shift."""
    centred = rows - rows.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["gain"] + p["shift"]
