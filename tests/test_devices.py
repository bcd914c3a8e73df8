"""Products at both precisions, against float64 loops over the operands that are really multiplied."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen import devices

SHAPES = [(1, 1, 1, 1), (1, 5, 7, 300), (3, 1, 64, 17), (35, 4, 2, 65), (7, 1, 33, 3), (13, 1, 5, 1), (47, 33, 12, 20)]


def operands(precision, *arrays):
    """The numbers that a product at this precision multiplies, in float64."""
    return [np.asarray(a.astype(jnp.bfloat16) if precision == "bf16" else a, np.float64) for a in map(jnp.asarray, arrays)]


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("T", "B", "N", "M"), SHAPES)
def test_a_product_and_its_gradient(T, B, N, M, transposed, precision):
    """Also where what uses them wants them transposed, which XLA has compiled into what it could not run."""
    rng = np.random.default_rng(T)
    a, b, g = (rng.normal(size=shape).astype(np.float32) for shape in ((T, B, N), (M, N) if transposed else (N, M), (T, B, M)))

    @jax.jit
    def ours(a, b, g):
        c, pullback = jax.vjp(lambda a, b: devices.product(a, b, precision, transposed), a, b)
        return [x if x.ndim > 2 else x.T for x in (c, c.reshape(-1, M), *pullback(g))]

    wide_a, wide_b, wide_g = operands(precision, a, b, g)
    right = wide_b.T if transposed else wide_b
    c, db = wide_a @ right, np.einsum("tbn,tbm->nm", wide_a, wide_g)
    wanted = (c, c.reshape(-1, M).T, wide_g @ right.T, db if transposed else db.T)
    for x, y in zip(ours(a, b, g), wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5 * np.abs(y).max())


def test_rounded_products_multiply_rounded_numbers_only():
    """In the gradient, too: processors multiply them faster only if neither operand is wider."""

    def loss(a, b):
        return jnp.sin(devices.product(a, b, "bf16")).sum()

    program = jax.jit(jax.grad(loss, (0, 1))).lower(jnp.ones((3, 4)), jnp.ones((4, 5))).as_text()
    products = [line.rsplit(":", 1)[1] for line in program.splitlines() if "dot_general" in line]
    assert len(products) == 3
    assert all(types.count("bf16") == 2 and types.count("f32") == 1 for types in products)


@pytest.mark.parametrize(
    ("backend", "kinds", "flag", "cell", "wanted"),
    [
        ("gpu", (), "", "elman", "bf16"),
        ("cpu", ("f32", "bf16"), "avx512_bf16", "lstm", "bf16"),
        ("cpu", ("f32",), "avx512_bf16", "lstm", "f32"),  # held back: the kernel of float32 is faster than none
        ("cpu", ("f32",), "avx512_bf16", "elman", "bf16"),
        ("cpu", ("f32",), "avx2", "elman", "f32"),
        ("cpu", (), "amx_bf16", "lstm", "bf16"),
        ("cpu", (), "avx2", "lstm", "f32"),
    ],
)
def test_auto_rounds_where_that_is_faster(backend, kinds, flag, cell, wanted, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(devices.native, "kind", lambda precision: "some" if precision in kinds else "")
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset({flag}))
    assert devices.precision_of("auto", cell) == wanted
    assert {devices.precision_of(choice, cell) for choice in ("f32", "bf16")} == {"f32", "bf16"}
