"""What tests of the compiled kernels share: the precisions that run here, how close numbers have to be, problems."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from lmgen.nn import native, recurrence
from lmgen.nn.cells import CELLS
from lmgen.nn.precision import product

PRECISIONS = [name for name in ("f32", "bf16") if native.kind(name)]
LIMITS = {"f32": (1e-5, 1e-4), "bf16": (1e-2, 1e-2)}  # of values, of gradients

kernels = pytest.mark.skipif(not PRECISIONS, reason="the compiled kernels do not run here")
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


def close(ours, theirs, limit):
    """Within `limit` of the largest number of each array; of 1 where all are smaller, since cotangents are of that size."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * np.abs(b).max(initial=1))


def plain(cell, precision, p, state, rows, ids, forget):
    """A layer as it is written down, in float32."""
    xs = cell.inputs(p, rows, partial(product, precision="f32"))
    return recurrence.plain(cell, "f32", p, state, xs if ids is None else xs[ids], forget)


def problem(name, T, B, N, D, table, seed=0):
    """What is differentiated (weights, state, what is read), what is not (ids, forget), and cotangents."""
    rng = np.random.default_rng(seed)
    cell = CELLS[name]
    weights, state = jax.eval_shape(lambda key: cell.init(key, D, N), jax.random.key(0)), jax.eval_shape(lambda: cell.start(B, N))
    p = jax.tree.map(lambda a: rng.normal(0, 0.8 * N**-0.5, a.shape).astype(np.float32), weights)
    if name == "lstm-capped":  # units far above the cap and far below: at the cap the gradient jumps, and roundings decide
        p["b"][:N] = 9 * (-1.0) ** np.arange(N)
    state, last = (jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), state) for _ in range(2))
    rows = rng.normal(size=(table, D) if table else (T, B, D)).astype(np.float32)
    ids = rng.integers(0, table, (T, B)).astype(np.int32) if table else None
    return (p, state, rows), (ids, rng.random((T, B)) < 0.2), (last, rng.normal(size=(T, B, N)).astype(np.float32))


@partial(jax.jit, static_argnums=(0, 1, 2))
def results(way, name, precision, inputs, others, cotangent):
    """The last state and the outputs, and the gradient."""
    out, pullback = jax.vjp(lambda *inputs: way(CELLS[name], precision, *inputs, *others), *inputs)
    return out, pullback(cotangent)
