"""Matrix products at a precision, and the choice of the precision "auto"."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lmgen.nn import native, speeds
from lmgen.system.devices import cpu_flags

Axes = tuple[int, ...]


def product(a: Array, b: Array, precision: str, transposed: bool = False) -> Array:
    """The matrix product a b of a [..., N] and b [N, M], or with `transposed` a bᵀ of b [M, N], in the type of a.

    With "bf16" the operands are rounded to bfloat16, also in the gradient, and sums are float32.
    """
    return _rounded(a, b, transposed) if precision == "bf16" else _contracted(a, b, *_axes(a, transposed))


def weight_gradient(a: Array, g: Array, precision: str) -> Array:
    """aᵀ g [N, M] of a [..., N] and g [..., M], summed over all rows, at a precision as in `product`."""
    a, g = a.reshape(-1, a.shape[-1]), g.reshape(-1, g.shape[-1])
    if precision != "bf16":
        return _contracted(a, g, (0,), (0,))
    # Split the rows over two axes if possible: XLA's product for CPUs would transpose a single one, which is slow.
    parts = next((k for k in (2, 3, 5, 7, 11) if len(a) % k == 0), 1) if jax.default_backend() == "cpu" else 1
    a, g = (x.reshape(parts, -1, x.shape[-1]) for x in (a, g))
    return _narrow(a, g, (0, 1), (0, 1))


def _axes(a: Array, transposed: bool) -> tuple[Axes, Axes]:
    return (a.ndim - 1,), (1 if transposed else 0,)


def _contracted(a: Array, b: Array, axes_a: Axes, axes_b: Axes, out: Any = None) -> Array:
    return jax.lax.dot_general(a, b, ((axes_a, axes_b), ((), ())), preferred_element_type=out)


def _narrow(a: Array, b: Array, axes_a: Axes, axes_b: Axes) -> Array:
    out = _contracted(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), axes_a, axes_b, jnp.float32)
    # XLA for CPUs would fold a transpose into the product, and then fail to compute it.
    return jax.lax.optimization_barrier(out) if jax.default_backend() == "cpu" else out


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded(a: Array, b: Array, transposed: bool) -> Array:
    return _narrow(a, b, *_axes(a, transposed))


def _rounded_backward(transposed: bool, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    a, b = kept  # automatic differentiation would not round g
    return _rounded(g, b, not transposed), weight_gradient(*((g, a) if transposed else (a, g)), "bf16")


_rounded.defvjp(lambda a, b, transposed: (_rounded(a, b, transposed), (a, b)), _rounded_backward)


def precision_of(choice: str, cell: str = "lstm") -> str:
    """The precision "auto" for a cell: bf16 if the device, the kernels or the processor are faster with it, else f32."""
    if choice != "auto":
        return choice
    if jax.default_backend() != "cpu":
        return "bf16"
    if cell in native.CELLS and native.kind("f32"):
        found = speeds.measured()
        return found.choice if found else "bf16" if native.kind("bf16") else "f32"
    return "f32" if cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"}) else "bf16"


def auto() -> str:
    """The precision "auto" and the speeds it was chosen by, for `lmgen doctor`."""
    found = speeds.measured()
    times = f": a layer takes {found.bf16:.1f} ms with bf16, {found.f32:.1f} ms with f32" if found else ""
    return f"auto means {precision_of('auto')}{times}"


def lacking() -> str:
    """Why the compiled kernels that could run here do not; empty if they do, or none could."""
    found = native.library()
    return found.lack if found.expected and jax.default_backend() == "cpu" else ""


def kernels() -> str:
    """Which compiled kernels run here, or why none do, for `lmgen doctor`."""
    found = [f"{precision} with {native.kind(precision)}" for precision in ("f32", "bf16") if native.kind(precision)]
    if found:
        return f"{', '.join(found)}; {native.threads()} threads"
    return f"none, so training is slower: {native.library().lack or 'there are none for this processor'}"
