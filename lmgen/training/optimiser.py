"""From a gradient to new weights: clipping by global norm, then AdamW; by optax, or by one compiled kernel in one pass."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lmgen.defaults.config import OptimiserConfig
from lmgen.nn import embedding, native
from lmgen.nn.embedding import Rows

Params = Any
EPSILON = 1e-8


def optimiser(config: OptimiserConfig) -> optax.GradientTransformation:
    """AdamW after clipping by global norm, without the learning rate, which changes from step to step."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.scale_by_adam(config.beta1, config.beta2, EPSILON),
        optax.add_decayed_weights(config.weight_decay, mask=_decayed),
    )


def _decayed(params: Params) -> Params:
    return jax.tree.map(lambda p: p.ndim > 1, params)


Updated = tuple[Params, Any, Array]


def updated(config: OptimiserConfig, params: Params, moments: Any, gradient: Params, nats: Array, rate: Array) -> Updated:
    """New weights and moments, and the global norm of the gradient; unless that and the loss are finite both stay as they are.

    The gradient of one table may be `Rows`.
    """
    way = compiled if all(native.serves("f32", p) for p in jax.tree.leaves(params)) else plain
    return way(config, params, moments, gradient, nats, rate)


def plain(config: OptimiserConfig, params: Params, moments: Any, gradient: Params, nats: Array, rate: Array) -> Updated:
    """`updated` by optax."""

    def whole(p: Array, g: Any) -> Array:
        return embedding.summed(len(p), *g, config.precision) if isinstance(g, Rows) else g

    gradient = jax.tree.map(whole, params, gradient)
    updates, following = optimiser(config).update(gradient, moments, params)
    norm = optax.tree.norm(gradient)
    fine = jnp.isfinite(nats) & jnp.isfinite(norm)
    after = jax.tree.map(lambda p, u: p - rate * u, params, updates), following
    kept = jax.tree.map(lambda new, old: jnp.where(fine, new, old), after, (params, moments))
    return *kept, norm


def compiled(config: OptimiserConfig, params: Params, moments: Any, gradient: Params, nats: Array, rate: Array) -> Updated:
    """`updated` by a kernel, which changes weights and moments in place."""
    clipping, adam, decay = moments
    leaves, structure = jax.tree.flatten(params)
    gradients = jax.tree.leaves(gradient, is_leaf=lambda g: isinstance(g, Rows))
    ids, table = None, -1
    for k, g in enumerate(gradients):
        if isinstance(g, Rows):
            ids, table, gradients[k] = g.ids.reshape(-1), k, g.values.reshape(-1, g.values.shape[-1])
    scalars, arrays = jnp.stack([nats, jnp.asarray(rate, nats.dtype)]), [*jax.tree.leaves((params, adam.mu, adam.nu)), *gradients]
    decays = [config.weight_decay * on for on in jax.tree.leaves(_decayed(params))]
    numbers = {"clip": config.clip, "beta1": config.beta1, "beta2": config.beta2, "epsilon": EPSILON}
    *after, norm = native.adamw(scalars, adam.count, arrays, decays, ids, table, **numbers)
    n = len(leaves)
    params, mu, nu = (jax.tree.unflatten(structure, after[k : k + n]) for k in (0, n, 2 * n))
    fine = jnp.isfinite(nats) & jnp.isfinite(norm)
    count = jnp.where(fine, optax.safe_increment(adam.count), adam.count)
    return params, (clipping, adam._replace(count=count, mu=mu, nu=nu), decay), norm
