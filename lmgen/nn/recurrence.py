"""The time loop: the step of a cell over a window, and its gradient.

There are six implementations, tested equal:
* `plain` is lax.scan with automatic differentiation, for every cell.
* `hoisted` moves the weight gradients out of the backward loop: for a recurrent product u_t = a_t U, one product
  dU = Σ_t a_tᵀ du_t replaces T small ones. If the step depends only on x_t + u_t, du_t is dx_t.
* `parallel` computes all time steps of a linear cell by an associative scan.
* `attended` computes all time steps of a cell with attention.
* `compiled` computes a whole layer of LSTM, capped LSTM or GRU with the kernels of native/.
* `persistent.layer` computes a whole layer of LSTM or GRU with one kernel for all time steps, on NVIDIA GPUs.

Shapes: T time, B batch, N cell size, G gates. xs [T, B, G N] are the input products, forget [T, B] is true where the state is
reset before the step (where EOS is read). In training p may hold a "mask" [B, N], by which recurrent products multiply what they
read: dropout of the state.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from lmgen.nn import native
from lmgen.nn.attention import Attention
from lmgen.nn.cell import Cell, Params, State
from lmgen.nn.cells import GRU, LSTM, CappedLSTM, LinearCell
from lmgen.nn.embedding import lookup
from lmgen.nn.precision import product, weight_gradient

COMPILED: dict[type[Cell], str] = {LSTM: "lstm", GRU: "gru", CappedLSTM: "lstm-capped"}  # the names of cells with kernels


def layer(
    cell: Cell, p: Params, state: State, rows: Array, ids: Array | None, forget: Array, precision: str
) -> tuple[State, Array]:
    """As `run`, from the inputs of the layer: rows [T, B, D], or a table [R, D] and the ids [T, B] of its rows."""
    # For a single step the kernels would do little but pack the weights.
    if type(cell) in COMPILED and len(forget) > 1 and native.serves(precision, rows):
        return compiled(cell, precision, p, state, rows, ids, forget)
    if len(forget) > 1 and jax.default_backend() == "gpu":
        from lmgen.nn import persistent  # here, because Pallas takes long to import

        if "mask" not in p and persistent.serves(cell, state["h"].shape[-1], forget, precision, rows):
            return persistent.layer(cell, p, state, rows, ids, forget, precision)
    xs = cell.inputs(p, rows, partial(product, precision=precision))
    return run(cell, p, state, xs if ids is None else lookup(xs, ids, precision), forget, precision)


def run(cell: Cell, p: Params, state: State, xs: Array, forget: Array, precision: str) -> tuple[State, Array]:
    """The state after a window and the outputs h [T, B, N], by the fastest implementation for the cell."""
    if isinstance(cell, LinearCell) and len(xs) > 1:
        return parallel(cell, precision, p, state, xs, forget)
    if isinstance(cell, Attention):
        return attended(cell, precision, p, state, xs, forget)
    return hoisted(cell, precision, p, state, xs, forget)


def plain(cell: Cell, precision: str, p: Params, state: State, xs: Array, forget: Array) -> tuple[State, Array]:
    """A scan over time: reset, step, output."""
    return _scanned(cell, precision, p, state, xs, forget, None)[0]


def _scanned(cell: Cell, precision: str, p: Params, state: State, xs: Array, forget: Array, taps: list[Array] | None):
    """As `plain`, and with `taps` the factors a_t of the recurrent products, too.

    Taps are zeros added to the products u_t: their cotangents are du_t. None are needed where these are dx_t.
    """

    def at(state: State, now: tuple[Array, Array, list[Array] | None]):
        x, forget, taps = now
        factors: list[Array] = []

        def times(a: Array, name: str) -> Array:
            a = a * p["mask"] if "mask" in p and name in cell.recurrent else a
            factors.append(a)
            u = product(a, p[name], precision)
            return u + taps[len(factors) - 1] if taps else u

        state = cell.step(p, forgotten(state, forget), x, times)
        return state, (state["h"], [] if taps is None else factors)

    state, (hs, factors) = lax.scan(at, state, (xs, forget, taps))
    return (state, hs), factors


def forgotten(state: State, forget: Array) -> State:
    """The state, zero in the rows where `forget` [B] is true."""
    return {name: jnp.where(forget[:, None], 0, s) for name, s in state.items()}


def products(cell: Cell, p: Params, state: State, x: Array) -> list[tuple[str, jax.ShapeDtypeStruct]]:
    """The recurrent products of one step, in order: the name of the matrix, the shape and type of the result."""
    made: list[tuple[str, jax.ShapeDtypeStruct]] = []

    def times(a: Array, name: str) -> Array:
        u = product(a, p[name], "f32")
        made.append((name, jax.ShapeDtypeStruct(u.shape, u.dtype)))
        return u

    jax.eval_shape(lambda p, state, x: cell.step(p, state, x, times), p, state, x)
    return made


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def hoisted(cell: Cell, precision: str, p: Params, state: State, xs: Array, forget: Array) -> tuple[State, Array]:
    """As `plain`, with one product a weight gradient."""
    return plain(cell, precision, p, state, xs, forget)


def _sees_sums(cell: Cell) -> bool:
    """Whether the step depends only on the sum of x_t and its recurrent product, so that they share a cotangent."""
    return type(cell).step is Cell.step


def _forward(cell: Cell, precision: str, p: Params, state: State, xs: Array, forget: Array):
    made = products(cell, p, state, xs[0])
    others = {name: w for name, w in p.items() if name not in dict(made)}
    taps = [] if _sees_sums(cell) else [jnp.zeros((len(xs), *u.shape), u.dtype) for _, u in made]

    def loop(others: Params, state: State, xs: Array, taps: list[Array]):
        return _scanned(cell, precision, p | others, state, xs, forget, taps)

    out, pullback, factors = jax.vjp(loop, others, state, xs, taps, has_aux=True)
    return out, (pullback, factors, p)


def _backward(cell: Cell, precision: str, kept, cotangent):
    pullback, factors, p = kept
    dp, dstate, dxs, dus = pullback(cotangent)
    dus = [dxs] if _sees_sums(cell) else dus
    names = [name for name, _ in products(cell, p, dstate, dxs[0])]
    for name, a, du in zip(names, factors, dus, strict=True):
        dU = weight_gradient(a, du, precision)
        dp[name] = dp[name] + dU if name in dp else dU
    return dp, dstate, dxs, None


hoisted.defvjp(_forward, _backward)


def parallel(cell: LinearCell, precision: str, p: Params, state: State, xs: Array, forget: Array) -> tuple[State, Array]:
    """As `plain`, for a linear cell, in O(log T) steps (Blelloch 1990)."""
    keep, write = cell.factors(p, xs)
    keep = jnp.where(forget[..., None], 0, keep)
    hs = _composed(keep, write.at[0].add(keep[0] * state["h"]))
    return {"h": hs[-1]}, hs


def _scan(keep: Array, write: Array, reverse: bool = False) -> Array:
    def after(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * second[0], second[0] * first[1] + second[1]

    return lax.associative_scan(after, (keep, write), reverse)[1]


@jax.custom_vjp
def _composed(keep: Array, write: Array) -> Array:
    """h_t = keep_t ⊙ h_{t-1} + write_t for all t, from h_{-1} = 0. The gradient is the same recurrence backward in time."""
    return _scan(keep, write)


def _composed_backward(kept, dhs):
    keep, hs = kept
    dwrite = _scan(jnp.concatenate([keep[1:], jnp.zeros_like(keep[:1])]), dhs, reverse=True)
    dkeep = dwrite * jnp.concatenate([jnp.zeros_like(hs[:1]), hs[:-1]])
    return dkeep, dwrite


_composed.defvjp(lambda keep, write: (hs := _scan(keep, write), (keep, hs)), _composed_backward)


def attended(cell: Attention, precision: str, p: Params, state: State, xs: Array, forget: Array) -> tuple[State, Array]:
    """As `plain`, for a cell with attention, which sees the whole window."""
    return cell.window(p, state, xs, forget, lambda a, name: product(a, p[name], precision))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def compiled(
    cell: Cell, precision: str, p: Params, state: State, rows: Array, ids: Array | None, forget: Array
) -> tuple[State, Array]:
    """As `layer`, for the cells of `COMPILED`, with the kernels of native/."""
    return _compiled(cell, precision, p, state, rows, ids, forget, keep=False)[0]


def _compiled(cell, precision, p, state, rows, ids, forget, keep):
    gru = isinstance(cell, GRU)
    b_u, c0 = (p["b_u"], jnp.zeros((0, 0))) if gru else (jnp.zeros(0), state["c"])
    inputs = native.inputs(rows.reshape(-1, rows.shape[-1]), p["W"], p["b"], cell.gates, rows.shape[:-1], precision)
    mask = p.get("mask")
    hs, c, *kept = native.forward(COMPILED[type(cell)], precision, keep, inputs, ids, p["U"], b_u, state["h"], c0, forget, mask)
    after = {"h": hs[-1]} if gru else {"h": hs[-1], "c": c}
    return (after, hs), (kept, p["W"], p["U"], c0 if mask is None or not gru else state["h"], rows, ids, forget, mask)


def _compiled_backward(cell, precision, residuals, cotangent):
    kept, W, U, c0, rows, ids, forget, mask = residuals
    dstate, dhs = cotangent
    gru, G = isinstance(cell, GRU), cell.gates
    dc = jnp.zeros((0, 0)) if gru else dstate["c"]
    du, dh0, dc0 = native.backward(COMPILED[type(cell)], precision, kept, U, c0, forget, dhs, dstate["h"], dc, mask)
    P = du.shape[-1]
    du = du.reshape(-1, 4 * P)  # gates of GRU: n z r q, of which z r q belong to U and n z r to W
    dU, dbs = native.weight_gradient(kept[0].reshape(-1, P), du, U.shape, precision, b_from=(4 - G) * P, c_gates=G)
    dx = du if ids is None else native.sum_rows(ids.reshape(-1), du, rows.shape[0], precision)
    flat, first = rows.reshape(-1, rows.shape[-1]), 2 if gru else 0
    dW, db = native.weight_gradient(flat, dx, W.shape, precision, c_gates=G, first_gate=first)
    drows = native.product(dx, W, precision, transposed_b=True, shape=flat.shape, b_gates=G, first_gate=first).reshape(rows.shape)
    dp = {"W": dW, "U": dU, "b": db} | ({"b_u": dbs[2 * len(U) :]} if gru else {}) | ({} if mask is None else {"mask": None})
    return dp, {"h": dh0} if gru else {"h": dh0, "c": dc0}, drows, None, None


compiled.defvjp(partial(_compiled, keep=True), _compiled_backward)
