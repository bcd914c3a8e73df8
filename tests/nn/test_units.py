"""Units watched and held: the loop that shows them is the loop that runs, and its gates are those of the equations."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from equations import by_hand, σ
from lmgen.nn import recurrence, units
from lmgen.nn.cells import CELLS

T, B, D, N = 9, 2, 3, 4
every_cell = pytest.mark.parametrize("name", CELLS)


def problem(name):
    """Weights, a start state, inputs, and where it is forgotten."""
    rng, cell = np.random.default_rng(1), CELLS[name]
    shapes = jax.eval_shape(lambda key: cell.init(key, D, N), jax.random.key(0)), jax.eval_shape(lambda: cell.start(B, N))
    p, state = jax.tree.map(lambda a: rng.normal(0, 0.5, a.shape).astype(np.float32), shapes)
    return p, state, rng.normal(size=(T, B, D)).astype(np.float32), rng.random((T, B)) < 0.2


@partial(jax.jit, static_argnums=0)
def watched(name, *arrays):
    p, state, inputs, forget = arrays
    seen = []
    state, hs = units.watched(seen)(CELLS[name], p, state, inputs, None, forget, "f32")
    return state, hs, seen[0]


@every_cell
def test_watching_changes_nothing(name):
    p, state, inputs, forget = problem(name)
    after, hs, seen = watched(name, p, state, inputs, forget)
    expected = by_hand(name, p, state, inputs, forget)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), (after, hs), expected)
    np.testing.assert_array_equal(seen["h"], hs)


def _lstm(f):
    return lambda g, before: f(g) * before["c"] + g["i"] * g["g"]


def _gru(g, before):
    return g["z"] * g["n"] + (1 - g["z"]) * before["h"]


MEMORY = {  # the memory after a step, from its gates and the memory before it
    "lstm": _lstm(lambda g: g["f"]),
    "lstm-peephole": _lstm(lambda g: g["f"]),
    "lstm-coupled": _lstm(lambda g: 1 - g["i"]),
    "lstm-no-forget": _lstm(lambda g: 1),
    "lstm-capped": _lstm(lambda g: g["f"]),
    "lstm-mogrifier": _lstm(lambda g: g["f"]),
    "gru": _gru,
    "gru-reset-before": _gru,
    "gru-simple": _gru,
    "min-gru": _gru,
    "min-lstm": lambda g, before: g["f"] * before["h"] + g["i"] * g["n"],
}


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if type(cell) in units.GATES])
def test_the_gates_make_the_memory(name):
    """What the equation of the memory gives of the gates that are shown is the memory that is shown."""
    p, state, inputs, forget = problem(name)
    _, hs, seen = watched(name, p, state, inputs, forget)
    seen = jax.tree.map(np.float64, seen)
    memory = "c" if "c" in seen else "h"
    before = {k: np.concatenate([state[k][None], seen[k][:-1]]) * ~forget[..., None] for k in ("h", memory)}
    np.testing.assert_allclose(MEMORY[name](seen, before), seen[memory], atol=1e-5)
    if memory == "c":
        np.testing.assert_allclose(seen["o"] * np.tanh(seen["c"]), hs, atol=1e-5)
    for gate in {"i", "f", "o", "z", "r"} & set(seen):
        assert ((seen[gate] >= 0) & (seen[gate] <= 1)).all()
    if "r" in seen:
        own = slice(N, 2 * N)
        r = σ(inputs @ p["W"][:, own] + before["h"] @ p["U"][:, own] + p["b"][own])
        np.testing.assert_allclose(seen["r"], r, atol=1e-5)


@every_cell
def test_a_held_unit_has_its_value_and_the_others_follow(name):
    """As a loop by hand in which the unit is set after each step; with no unit held nothing changes."""
    p, state, inputs, forget = problem(name)
    mask, level = np.arange(N) == 2, np.full(N, 0.7, np.float32)

    @jax.jit
    def run(mask):
        return units.held(CELLS[name], p | {"held": mask, "level": level}, state, inputs, None, forget, "f32")[1]

    @jax.jit
    def step(state, x, forget):
        after, (h,) = recurrence.layer(CELLS[name], p, state, x[None], None, forget[None], "f32")
        return after, h

    expected, now = [], state
    for x, forgotten in zip(inputs, forget, strict=True):
        now, h = step(now, x, forgotten)
        h = np.where(mask, level, h)
        now = now | {"h": h}
        expected.append(h)
    np.testing.assert_allclose(run(mask), expected, atol=1e-5)
    np.testing.assert_allclose(run(np.zeros(N, bool)), watched(name, p, state, inputs, forget)[1], atol=1e-6)
