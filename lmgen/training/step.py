"""One jitted training step, the same for every task.

Truncated back-propagation through time: the state after a window is an argument of the next step; the gradient is taken over the
parameters alone. Shapes: T time, B batch.

The step is the same on one device and on many. Where its arrays lie on several, each device computes with its part of the batch,
which is one of the leading axis, and what is a mean over the batch is averaged over the devices.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from lmgen.defaults.config import TrainingConfig
from lmgen.nn.embedding import Rows
from lmgen.nn.model import Params
from lmgen.system import devices, trees
from lmgen.system.arrayfile import Arrays
from lmgen.tasks.task import Batch, Task
from lmgen.training import optimiser

TINY = 1e-30  # in place of a sum of weights that is 0
AXIS = "data"  # the axis of the devices, over which the columns of a batch are shared
WARM = 10  # after k steps an average looks back over a share k ÷ (k + WARM) of its weight at most, so that it forgets the start


class State(NamedTuple):
    """What a step changes: all that resume needs but for the position, which is the number of the step."""

    params: Params
    optimiser: Any
    carried: Any
    key: Array
    bad: Array  # steps in a row whose update was left out
    skipped: Array  # such steps in all
    average: Any = ()  # of the learnt parameters over the steps, where there is to be one

    @property
    def kept(self) -> Params:
        """The parameters that are validated and become the model."""
        return {**self.params, **dict(self.average)}


# What all devices have, and what each has a part of.
LAYOUT = State._make([P(), P(), P(AXIS), P(), P(), P(), P()])


def begin(task: Task, config: TrainingConfig, given: Params | None = None) -> State:
    """The state before the first step, drawn from the seed but for the parameters that are `given`."""
    weights, key = jax.random.split(devices.random_key(config.seed))
    params = {**task.init(weights), **jax.tree.map(jnp.array, given or {})}  # copies, which a step may overwrite
    bad, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    learnt = _learnt(task, params)
    moments = optimiser.optimiser(config.optimiser).init(learnt)
    average = jax.tree.map(jnp.zeros_like, learnt) if config.average else ()
    return State(params, moments, task.start(config.batch), jax.random.key_data(key), bad, skipped, average)


def given_of(state: State, arrays: Arrays, where: str) -> Params:
    """The parameters with which every network begins, of their arrays. Raises CheckpointError where they do not fit."""
    names = {name.partition("/")[0] for name in arrays}
    return trees.unflatten({name: state.params[name] for name in names & state.params.keys()}, arrays, where)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def step(
    task: Task, config: optimiser.OptimiserConfig, state: State, batch: Batch, rate: Array, number: Array
) -> tuple[State, Array, Array]:
    """One update; the new state, the mean nats of the targets before it, weighted, and the norm of the gradient, not clipped.

    `number` is that of the step. A gradient that is not finite leaves everything but the counts as it was.
    """
    mesh = jax.typeof(batch.begins).sharding.mesh
    if mesh.empty:
        return _updated(task, config, state, batch, rate, number)

    def part(state: State, batch: Batch, rate: Array, number: Array) -> tuple[State, Array, Array]:
        key = jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(state.key), jax.lax.axis_index(AXIS)))
        own = jax.tree.map(lambda a: a[0], batch)
        after, nats, norm = _updated(task, config, state._replace(key=key), own, rate, number, AXIS)
        return after._replace(key=state.key), nats, norm

    # The kernels have no rule by which JAX could check what is the same on all devices.
    given, made = (LAYOUT, P(AXIS), P(), P()), (LAYOUT, P(), P())
    return jax.shard_map(part, mesh=mesh, in_specs=given, out_specs=made, check_vma=False)(state, batch, rate, number)


def _updated(
    task: Task,
    config: optimiser.OptimiserConfig,
    state: State,
    batch: Batch,
    rate: Array,
    number: Array,
    axis: str | None = None,
) -> tuple[State, Array, Array]:
    """`step` on one device; with an axis, on one of several."""
    carried = jax.tree.map(lambda s: jnp.where(batch.begins[:, None], 0, s), state.carried)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), number)

    def loss(params: Params) -> tuple[Array, Any]:
        nats, after = task.loss({**frozen, **params}, carried, batch, key)
        if batch.weights is None:
            return nats.mean(), after
        means = jax.tree.map(lambda n, w: (n * w).sum() / jnp.maximum(_mean(w.sum(), axis), TINY), nats, batch.weights)
        return jax.tree.reduce(jnp.add, means), after

    learnt = _learnt(task, state.params)
    frozen = {name: p for name, p in state.params.items() if name not in learnt}
    (nats, after), gradient = _gradient(loss, learnt, _rows_read(task, batch, axis))
    nats, gradient = _mean(nats, axis), _mean_gradient(gradient, axis)
    params, moments, norm = optimiser.updated(config, learnt, state.optimiser, gradient, nats, rate)
    fine = jnp.isfinite(nats) & jnp.isfinite(norm)
    carried, bad = jax.tree.map(lambda a: jnp.where(fine, a, 0), after), jnp.where(fine, 0, state.bad + 1)
    average = state.average
    if config.average:
        decay = jnp.where(fine, jnp.minimum(config.average, number / (number + WARM)), 1)
        average = jax.tree.map(lambda a, p: p + decay * (a - p), average, params)
    return State({**frozen, **params}, moments, carried, state.key, bad, state.skipped + ~fine, average), nats, norm


def _rows_read(task: Task, batch: Batch, axis: str | None) -> Array | None:
    """The ids of the embedding's rows that a gradient holds; None for all, also where the devices read more than there are."""
    ids = task.rows_read(batch)
    many = ids is not None and axis is not None and ids.size * jax.lax.axis_size(axis) > task.network.rows
    return None if many else ids


def _mean(tree: Any, axis: str | None) -> Any:
    """The mean over the devices."""
    return tree if axis is None else jax.lax.pmean(tree, axis)


def _mean_gradient(gradient: Params, axis: str | None) -> Params:
    """The mean of a gradient over the devices; those of a few rows are gathered."""
    rows = gradient.get("embedding")
    if axis is None or not isinstance(rows, Rows):
        return _mean(gradient, axis)
    ids, values = (jax.lax.all_gather(part, axis, tiled=True) for part in rows)
    rest = {name: g for name, g in gradient.items() if name != "embedding"}
    return _mean(rest, axis) | {"embedding": Rows(ids, values / jax.lax.axis_size(axis))}


def _learnt(task: Task, params: Params) -> Params:
    """The parameters that training changes."""
    return {name: p for name, p in params.items() if name not in task.frozen}


def _gradient(loss: Any, params: Params, ids: Array | None) -> tuple[Any, Params]:
    """The loss with its state, and the gradient; given `ids`, that of the embedding holds only their rows."""
    if ids is None:
        return jax.value_and_grad(loss, has_aux=True)(params)
    params = params | {"embedding": Rows(ids, params["embedding"][ids])}
    outcome, gradient = jax.value_and_grad(loss, has_aux=True, allow_int=True)(params)
    return outcome, gradient | {"embedding": Rows(ids, gradient["embedding"].values)}
