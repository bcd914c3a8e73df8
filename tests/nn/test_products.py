"""Products and sums by the compiled kernels: of any size, transposed or not, stored, weighted and of gates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from natively import LIMITS, close, every_precision, kernels

from lmgen.nn import native

pytestmark = kernels


def test_arrays_of_the_wrong_type_or_shape_are_an_error():
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    for wrong in (a.astype(np.int32), np.ones((3, 3), np.float32), np.ones(12, np.float32)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="argument 0"):
            native.product(wrong, b, "f32", shape=(3, 5)).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match="outside of argument 1"):
        native.product(a, b, "f32", b_from=3, shape=(3, 5)).block_until_ready()


@every_precision
@pytest.mark.parametrize(("M", "K", "N"), [(1, 1, 1), (5, 1700, 7), (101, 40, 33), (49, 3, 130), (17, 32, 49), (33, 1100, 80)])
def test_products(M, K, N, precision):
    rng = np.random.default_rng(M)
    a, b, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((M, K), (K, N), N))
    if precision == "bf16":  # of numbers that are bfloat16 the products are exact
        a, b = (np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32) for x in (a, b))
    limit = LIMITS["f32"][0]
    for ta in (False, True):
        for tb in (False, True):
            ours = native.product(
                a.T.copy() if ta else a, b.T.copy() if tb else b, precision, bias=bias, transposed_a=ta, transposed_b=tb
            )
            close(ours, jnp.asarray(a) @ b + bias, limit)
    wide_a, wide_b = (np.pad(x, ((0, 0), (3, 2)), constant_values=np.nan) for x in (a, b))
    close(native.product(a, wide_b, precision, b_from=3, shape=(M, N)), jnp.asarray(a) @ b, limit)
    close(native.product(wide_a, b, precision, a_from=3, shape=(M, N)), jnp.asarray(a) @ b, limit)


@every_precision
@pytest.mark.parametrize(("M", "K", "N"), [(13, 1090, 70), (25, 1063, 17)])
def test_products_of_stored_and_weighted_rows(M, K, N, precision):
    """Rows of what kernels stored, read where they lie or packed, aligned or not; the rows in memory may have weights."""
    rng = np.random.default_rng(K)
    narrow = jnp.bfloat16 if precision == "bf16" else jnp.float32
    a, b = (jnp.asarray(rng.normal(size=shape), narrow) for shape in ((M, K), (K, N)))
    exact = a.astype(jnp.float32) @ b.astype(jnp.float32)
    heavy, light = rng.normal(size=M).astype(np.float32), rng.normal(size=K).astype(np.float32)
    for spare, start in ((0, 0), (7, 3), (2**14 - K, 0)):
        wide = jnp.pad(a, ((0, 0), (start, spare)), constant_values=np.nan)
        close(native.product(wide, b, precision, a_from=start, shape=(M, N)), exact, LIMITS["f32"][0])
        ours = native.product(wide, b, precision, a_from=start, shape=(M, N), weights=heavy)
        close(ours, heavy[:, None] * exact, LIMITS["f32"][0])
        tall = jnp.pad(a.T, ((0, 0), (start, spare)), constant_values=np.nan)
        ours = native.product(tall, b, precision, transposed_a=True, a_from=start, shape=(M, N), weights=light)
        close(ours, a.astype(jnp.float32) @ (light[:, None] * b.astype(jnp.float32)), LIMITS[precision][0])


@every_precision
@pytest.mark.parametrize(("gates", "N", "first"), [(4, 5, 0), (3, 20, 2), (2, 33, 1), (3, 16, 0)])
def test_products_of_gates(gates, N, first, precision):
    """They equal those of matrices that are padded, and turned to the first gate, beforehand."""
    rng = np.random.default_rng(N)
    P = native.padded(N, precision)
    W, x, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((9, gates * N), (7, 9), gates * N))
    dz = rng.normal(size=(7, gates * P)).astype(np.float32)

    def padded(w):
        apart = np.roll(w.reshape(-1, gates, N), -first, 1)
        return np.pad(apart, ((0, 0), (0, 0), (0, P - N))).reshape(*w.shape[:-1], gates * P)

    meant = {"first_gate": first, "precision": precision}
    forward = native.product(x, W, bias=bias, b_gates=gates, shape=(7, gates, P), **meant)
    close(forward.reshape(7, -1), native.product(x, padded(W), precision, bias=padded(bias)), 1e-6)
    back = native.product(dz, W, transposed_b=True, b_gates=gates, shape=(7, 9), **meant)
    close(back, native.product(dz, padded(W), precision, transposed_b=True), 1e-6)
    gradient = native.product(x, dz, transposed_a=True, c_gates=gates, shape=W.shape, **meant)
    whole = np.asarray(native.product(x, dz, precision, transposed_a=True)).reshape(9, gates, P)
    close(gradient, np.roll(whole, first, 1)[:, :, :N].reshape(W.shape), 1e-6)


@pytest.mark.parametrize("wrong", [{"b_gates": 2}, {"b_gates": 0}, {"c_gates": 2}, {"b_gates": 5, "first_gate": 5}])
def test_gates_that_do_not_fit_are_an_error(wrong):
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="lmgen: "):
        native.product(a, b, "f32", shape=(3, 5), **wrong).block_until_ready()


@every_precision
@pytest.mark.parametrize(("n", "columns"), [(1, 1), (6, 40), (9, 9001)])
def test_sums_of_rows(n, columns, precision):
    rng = np.random.default_rng(n)
    narrow = jnp.bfloat16 if precision == "bf16" else jnp.float32
    x, weights = jnp.asarray(rng.normal(size=(n, columns)), narrow), rng.normal(size=n).astype(np.float32)
    exact = np.asarray(x, np.float32)
    wide = jnp.pad(x, ((0, 0), (0, 5)), constant_values=np.nan)
    close(native.weighted_sum(weights, wide, columns, precision), weights @ exact, 1e-6)
    ids = rng.integers(0, 3, n).astype(np.int32)
    close(native.sum_rows(ids, x, 3, precision), np.eye(3, dtype=np.float32)[ids].T @ exact, 1e-6)
