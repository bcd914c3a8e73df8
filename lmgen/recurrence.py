"""The time loop: a cell's step over a window, and its gradient.

Two ways, tested equal. `plain` scans the step and leaves the gradient to JAX: it serves every cell and is the oracle.
`hoisted` takes the weight gradient out of the reverse loop: where a step is one product u_t = h_{t-1} U and an elementwise
update, the cotangents du_t of all times give dU = Σ_t h_{t-1}ᵀ du_t as one product, instead of a small one at every step.

Shapes: T time, B batch, N cell size, G gates; xs [T, B, G N] are the input products of all times, forget [T, B] is true where
the state is given up before the step (where EOS is read).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from lmgen.cells import Cell, Params, State
from lmgen.devices import product


def run(cell: Cell, p: Params, state: State, xs: Array, forget: Array, precision: str) -> tuple[State, Array]:
    """The state after a window and the outputs h [T, B, N] at every time, by the fastest way that the cell allows."""
    if cell.whole is not None and len(xs) > 1:
        return cell.whole(p, state, xs, forget)
    way = hoisted if cell.one_product else plain
    return way(cell, precision, p, state, xs, forget)


def plain(cell: Cell, precision: str, p: Params, state: State, xs: Array, forget: Array) -> tuple[State, Array]:
    """The loop as it is written down: forget, step, output."""

    def at(state: State, now: tuple[Array, Array]) -> tuple[State, Array]:
        x, forget = now
        state = cell.step(p, forgotten(state, forget), x, partial(product, precision=precision))
        return state, state["h"]

    return lax.scan(at, state, (xs, forget))


def forgotten(state: State, forget: Array) -> State:
    """The state with zeros in the rows where `forget` [B] is true."""
    return {name: jnp.where(forget[:, None], 0, s) for name, s in state.items()}


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def hoisted(cell: Cell, precision: str, p: Params, state: State, xs: Array, forget: Array) -> tuple[State, Array]:
    """As `plain`, with the weight gradient computed once for all times."""
    return plain(cell, precision, p, state, xs, forget)


def _forward(cell: Cell, precision: str, p: Params, state: State, xs: Array, forget: Array):
    U = p["U"]

    def loop(p: Params, state: State, xs: Array, taps: Array):
        """`taps` are zeros added to every u_t: their cotangents are the du_t."""

        def at(state: State, now: tuple[Array, Array, Array]):
            x, tap, forget = now
            state = forgotten(state, forget)
            before = state["h"]
            state = cell.update(p, state, x, product(before, U, precision) + tap)
            return state, (state["h"], before)

        state, (hs, befores) = lax.scan(at, state, (xs, taps, forget))
        return (state, hs), befores

    others = {name: w for name, w in p.items() if name != "U"}
    taps = jnp.zeros((*xs.shape[:2], U.shape[1]), xs.dtype)
    out, pullback, befores = jax.vjp(loop, others, state, xs, taps, has_aux=True)
    return out, (pullback, befores)


def _backward(cell: Cell, precision: str, kept, cotangent):
    pullback, befores = kept
    dp, dstate, dxs, dus = pullback(cotangent)
    rows = befores.reshape(-1, befores.shape[-1])
    dp = {**dp, "U": product(rows.T, dus.reshape(rows.shape[0], -1), precision)}
    return dp, dstate, dxs, None


hoisted.defvjp(_forward, _backward)
