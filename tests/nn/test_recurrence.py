"""The time loop and its gradient: both ways against each other, against finite differences and real-time recurrent learning.

Shapes: T time, B batch, G N what a cell reads of its input at one time. Cells read xs [T, B, G N] and give outputs [T, B, N].
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.nn import recurrence
from lmgen.nn.attention import Attention
from lmgen.nn.cells import CELLS, LinearCell, MogrifierLSTM
from support import operations

LINEAR = [name for name, cell in CELLS.items() if isinstance(cell, LinearCell)]
ATTENDING = [name for name, cell in CELLS.items() if isinstance(cell, Attention)]
FED_BACK = [name for name, cell in CELLS.items() if cell.recurrent]
SIZES = [(1, 3, 2), (7, 1, 1), (13, 4, 9)]  # T, B, N

every_cell = pytest.mark.parametrize("name", CELLS)


def problem(name, T, B, N, seed=0, dtype=np.float32):
    """What is differentiated (weights, start state, xs), where the state is forgotten, and cotangents of the results."""
    rng = np.random.default_rng(seed)
    cell = CELLS[name]
    shapes = jax.eval_shape(lambda key: cell.init(key, N, N), jax.random.key(0)), jax.eval_shape(lambda: cell.start(B, N))
    p, state, last = jax.tree.map(lambda a: rng.normal(0, 0.8 * N**-0.5, a.shape).astype(dtype), (*shapes, shapes[1]))
    wide = jax.eval_shape(lambda p: cell.inputs(p, jnp.zeros((1, N)), jnp.matmul), p).shape[1]
    xs, outputs = (rng.normal(size=(T, B, n)).astype(dtype) for n in (wide, N))
    if not isinstance(cell, MogrifierLSTM):
        del p["W"]  # xs are its products already
    return (p, state, xs), rng.random((T, B)) < 0.2, (last, outputs)


@partial(jax.jit, static_argnums=(0, 1, 2))
def results(way, name, precision, inputs, forget, cotangent):
    """The last state and the outputs, and the gradient of their sum weighted with the cotangent."""
    out, pullback = jax.vjp(lambda *inputs: way(CELLS[name], precision, *inputs, forget), *inputs)
    return out, pullback(cotangent)


def chosen(cell, precision, p, state, xs, forget):
    """Whichever way the cell takes."""
    return recurrence.run(cell, p, state, xs, forget, precision)


def dot(a, b):
    """The inner product of two pytrees."""
    return sum(np.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def close(ours, theirs, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, theirs)


@pytest.mark.parametrize(
    ("way", "name"),
    [
        *((recurrence.hoisted, name) for name in CELLS),
        *((recurrence.parallel, name) for name in LINEAR),
        *((recurrence.attended, name) for name in ATTENDING),
    ],
)
@pytest.mark.parametrize(("T", "B", "N"), SIZES)
def test_every_way_equals_plain(way, name, T, B, N):
    """In values and in the gradient with respect to weights, start state and inputs."""
    case = problem(name, T, B, N)
    ours, slopes = results(way, name, "f32", *case)
    theirs, their_slopes = results(recurrence.plain, name, "f32", *case)
    close(ours, theirs, 1e-5)
    close(slopes, their_slopes, 1e-4)


@every_cell
@pytest.mark.parametrize("T", [1, 2])
def test_each_cell_takes_its_fastest_way(name, T, monkeypatch):
    """Those linear in their state take all times at once, but for a single step, as in sampling; those with attention always."""
    for way in ("hoisted", "plain", "parallel", "attended"):
        monkeypatch.setattr(recurrence, way, lambda *_, way=way: way)
    wanted = "attended" if name in ATTENDING else "parallel" if name in LINEAR and T > 1 else "hoisted"
    assert recurrence.run(CELLS[name], {}, {}, np.zeros((T, 1, 1)), None, "f32") == wanted


def test_a_matrix_that_is_used_twice_in_a_step_gets_the_sum_of_both_gradients():
    """h_t = tanh(x_t + tanh(h_{t-1} U) U), not one of the table."""

    class Twice(type(CELLS["elman"])):
        def step(self, p, state, x, times):
            return {"h": jnp.tanh(x + times(jnp.tanh(times(state["h"], "U")), "U"))}

    inputs, forget, cotangent = problem("elman", 7, 3, 4)
    slopes = []
    for way in (recurrence.hoisted, recurrence.plain):
        _, pullback = jax.vjp(lambda *inputs, way=way: way(Twice(), "f32", *inputs, forget), *inputs)
        slopes.append(pullback(cotangent))
    close(*slopes, 1e-4)


@pytest.mark.parametrize(("name", "products"), [("lstm", 1), ("jordan", 2), ("tdnn", 0)])
def test_weight_gradients_are_taken_out_of_the_loop(name, products):
    """Plainly each product of a step takes three in the loop: itself, and two for its gradients. That of the weights leaves it,
    and its operations then grow with the time, where those in a loop count once."""
    B, N = 8, 32
    size = products * 2 * B * N * N * CELLS[name].recurrent.get("U", 0)

    def counted(way, T):
        return operations(partial(results.__wrapped__, way, name, "f32"), *problem(name, T, B, N))

    plain, hoisted = counted(recurrence.plain, 5), counted(recurrence.hoisted, 5)
    assert counted(recurrence.plain, 9) == plain
    assert counted(recurrence.hoisted, 9) - hoisted == pytest.approx(4 * size)
    assert plain - (hoisted - 5 * size) == pytest.approx(size, rel=0.1)


@every_cell
def test_gradient_is_that_of_finite_differences(name):
    """Along random directions in float64, through whichever way the cell takes."""
    inputs, forget, cotangent = problem(name, 9, 2, 5, dtype=np.float64)

    def at(inputs):
        with jax.enable_x64(True):
            out, slopes = results(chosen, name, "f32", inputs, forget, cotangent)
        return dot(out, cotangent), slopes

    _, slopes = at(inputs)
    for seed in range(1, 6):
        direction, *_ = problem(name, 9, 2, 5, seed, np.float64)
        above, _ = at(jax.tree.map(lambda a, d: a + 1e-5 * d, inputs, direction))
        below, _ = at(jax.tree.map(lambda a, d: a - 1e-5 * d, inputs, direction))
        assert dot(slopes, direction) == pytest.approx((above - below) / 2e-5, rel=1e-7, abs=1e-7)


def test_real_time_recurrent_learning_gives_the_gradient_of_back_propagation():
    """Williams & Zipser 1989: ∂h/∂U goes forward in time beside h_t = tanh(x_t + U h_{t-1}), and nothing is carried back."""
    T, N = 11, 4
    with jax.enable_x64(True):
        (p, state, xs), _, (last, outputs) = problem("elman", T, 1, N, dtype=np.float64)
        remembered = jnp.zeros((T, 1), bool)
        _, (back, *_) = results(recurrence.hoisted, "elman", "f32", (p, state, xs), remembered, (last, outputs))
    U, h = np.asarray(p["U"]), np.asarray(state["h"])[0]
    J, slope = np.zeros((N, N, N)), np.zeros((N, N))  # J[k, i, j] = ∂h_k / ∂U_ij
    for t in range(T):
        direct = np.einsum("i,jk->kij", h, np.eye(N))  # U_ij weighs h_i in unit j
        h = np.tanh(np.asarray(xs)[t, 0] + h @ U)
        J = (1 - h**2)[:, None, None] * (direct + np.einsum("lk,lij->kij", U, J))
        slope += np.einsum("k,kij->ij", np.asarray(outputs)[t, 0], J)
    slope += np.einsum("k,kij->ij", np.asarray(last["h"])[0], J)
    np.testing.assert_allclose(back["U"], slope, rtol=1e-9)


@every_cell
def test_no_gradient_flows_over_a_forgetting(name):
    """What comes after depends neither on the state nor on the inputs before; column 1, which remembers, depends on both."""
    inputs, forget, (last, outputs) = problem(name, *SIZES[-1])
    forget[:] = False
    forget[3, 0] = True
    outputs[:3] = 0
    _, (_, state, xs) = results(chosen, name, "f32", inputs, forget, (last, outputs))
    assert not any(s[0].any() for s in state.values())
    assert not xs[:3, 0].any()
    assert any(s[1].any() for s in state.values())
    assert xs[:3, 1].any()


@every_cell
def test_forgetting_puts_zeros_in_the_rows_that_forget_alone(name):
    (_, state, _), _, _ = problem(name, 1, 3, 2)
    for key, s in recurrence.forgotten(state, jnp.array([False, True, False])).items():
        np.testing.assert_array_equal(s, state[key] * np.array([[1], [0], [1]]))


@pytest.mark.parametrize("name", FED_BACK)
def test_products_in_bf16_are_near_those_in_f32(name):
    """bfloat16 keeps 8 bits: results differ, by two hundredths at the most; the state between steps stays in float32."""
    case = problem(name, *SIZES[-1])
    full, slopes = results(recurrence.hoisted, name, "f32", *case)
    rounded, rounded_slopes = results(recurrence.hoisted, name, "bf16", *case)
    assert {a.dtype for a in jax.tree.leaves(rounded)} == {np.dtype("float32")}
    assert (full[1] != rounded[1]).any()
    close(rounded, full, 2e-2)
    for f, r in zip(jax.tree.leaves(slopes), jax.tree.leaves(rounded_slopes), strict=True):
        assert np.linalg.norm(r - f) <= 2e-2 * np.linalg.norm(f)
