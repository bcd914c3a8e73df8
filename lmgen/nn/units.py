"""The units of a network, watched and held: two functions that stand in for `recurrence.layer` while a stack is read.

Both take the time loop step by step, for every cell. Shapes: T time, B batch, N cell size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from lmgen.nn import cells, recurrence
from lmgen.nn.cell import Cell, Params, State
from lmgen.nn.cells import sigmoid, tanh
from lmgen.nn.embedding import lookup
from lmgen.nn.precision import product

Layer = Callable[[Cell, Params, State, Array, Any, Array, str], tuple[State, Array]]  # as recurrence.layer
Each = Callable[[State, State, Array, list[Array]], tuple[State, Any]]
Gates = dict[str, Array]

# ---- the gates of a step, from the state before and after it, its inputs x [B, G N] and its recurrent products -------------


def _lstm(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    i, f, o, g = jnp.split(x + products[0], 4, axis=-1)
    w_i, w_f, w_o = jnp.split(p["v"], 3) if "v" in p else (0, 0, 0)
    i, f, o = i + w_i * before["c"], f + w_f * before["c"], o + w_o * after["c"]
    return {"i": sigmoid(i), "f": sigmoid(f), "o": sigmoid(o), "g": tanh(g)}


def _lstm_of_three(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    i, o, g = jnp.split(x + products[0], 3, axis=-1)
    return {"i": sigmoid(i), "o": sigmoid(o), "g": tanh(g)}


def _lstm_capped(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    gates = _lstm(p, before, after, x, products)
    return gates | {"i": jnp.minimum(gates["i"], 1 - gates["f"])}


def _lstm_mogrifier(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    return _lstm(p, before, after, products[-2] + p["b"], products[-1:])  # those of W and U come last


def _gru(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    x_z, x_r, x_n = jnp.split(x, 3, axis=-1)
    u_z, u_r, u_n = jnp.split(products[0], 3, axis=-1)
    r = sigmoid(x_r + u_r)
    return {"z": sigmoid(x_z + u_z), "r": r, "n": tanh(x_n + r * (u_n + p["b_u"]))}


def _gru_reset_before(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    z, r, n = jnp.split(x + jnp.concatenate(products, -1), 3, axis=-1)
    return {"z": sigmoid(z), "r": sigmoid(r), "n": tanh(n)}


def _gru_simple(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    z, n = jnp.split(x + products[0], 2, axis=-1)
    return {"z": sigmoid(z), "n": tanh(n)}


def _min_gru(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    z, n = jnp.split(x, 2, axis=-1)
    return {"z": sigmoid(z), "n": n}


def _min_lstm(p: Params, before: State, after: State, x: Array, products: list[Array]) -> Gates:
    keep, _ = cells.MinLSTM().factors(p, x)
    return {"f": keep, "i": 1 - keep, "n": jnp.split(x, 3, axis=-1)[2]}


GATES: dict[type[Cell], Callable[[Params, State, State, Array, list[Array]], Gates]] = {
    cells.LSTM: _lstm,
    cells.PeepholeLSTM: _lstm,
    cells.CoupledLSTM: _lstm_of_three,
    cells.NoForgetLSTM: _lstm_of_three,
    cells.CappedLSTM: _lstm_capped,
    cells.MogrifierLSTM: _lstm_mogrifier,
    cells.GRU: _gru,
    cells.ResetBeforeGRU: _gru_reset_before,
    cells.SimpleGRU: _gru_simple,
    cells.MinGRU: _min_gru,
    cells.MinLSTM: _min_lstm,
}


# ---- the layers ----------------------------------------------------------------------------------------------------------


def watched(seen: list[dict[str, Array]]) -> Layer:
    """A layer that adds to `seen` what its units were after each step: arrays [T, B, N] by name, those of the state ("h", "c")
    and the gates that its cell has."""

    def layer(cell: Cell, p: Params, state: State, *rest: Any) -> tuple[State, Array]:
        gates = GATES.get(type(cell), lambda *_: {})

        def each(before: State, after: State, x: Array, products: list[Array]) -> tuple[State, Any]:
            kept = {name: after[name] for name, size in cell.memory.items() if size == 1}
            return after, kept | gates(p, before, after, x, products)

        state, values = _stepwise(each, cell, p, state, *rest)
        seen.append(values)
        return state, values["h"]

    return layer


def held(cell: Cell, p: Params, state: State, *rest: Any) -> tuple[State, Array]:
    """A layer whose outputs h are p["level"] [N] after every step where p["held"] [N] is true."""

    def each(before: State, after: State, x: Array, products: list[Array]) -> tuple[State, Array]:
        h = jnp.where(p["held"], p["level"], after["h"])
        return after | {"h": h}, h

    return _stepwise(each, cell, p, state, *rest)


def _stepwise(
    each: Each, cell: Cell, p: Params, state: State, rows: Array, ids: Array | None, forget: Array, precision: str
) -> tuple[State, Any]:
    """The state after a window, and what `each` gives beside the state, for every step."""
    xs = cell.inputs(p, rows, partial(product, precision=precision))

    def at(state: State, now: tuple[Array, Array]) -> tuple[State, Any]:
        x, forget = now
        before, products = recurrence.forgotten(state, forget), []

        def times(a: Array, name: str) -> Array:
            products.append(product(a, p[name], precision))
            return products[-1]

        return each(before, cell.step(p, before, x, times), x, products)

    return lax.scan(at, state, (xs if ids is None else lookup(xs, ids, precision), forget))
