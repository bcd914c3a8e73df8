"""The kernels for GPUs against `plain`: interpreted here, compiled where there is a GPU (LMGEN_OPTIMISE=1 pytest -m gpu).

Shapes: T time, B batch, N cell size, D input size.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.nn import persistent, recurrence
from lmgen.nn.cells import CELLS
from lmgen.nn.embedding import lookup
from lmgen.nn.persistent import Chip, Plan, plan
from lmgen.nn.precision import product

D = 5
LIKE_H100, LIKE_4090, LIKE_T4 = Chip(132, 227 << 10), Chip(128, 99 << 10), Chip(40, 99 << 10)
both_cells = pytest.mark.parametrize("name", ["lstm", "gru"])
both_precisions = pytest.mark.parametrize(("precision", "tolerance"), [("f32", 1e-5), ("bf16", 5e-3)])
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore:The Pallas Triton backend"),
]
interpreted = pytest.mark.skipif(jax.default_backend() != "cpu", reason="Pallas interprets on CPUs")


def problem(name, T, B, N, rows=None, seed=0):
    """Parameters, state, inputs (rows of a table with their ids, or one for each time and column), forgetting, cotangents."""
    rng, cell = np.random.default_rng(seed), CELLS[name]
    p = jax.tree.map(lambda a: jnp.asarray(rng.normal(0, N**-0.5, a.shape), jnp.float32), cell.init(jax.random.key(0), D, N))
    state, last = ({key: rng.normal(size=(B, N)).astype(np.float32) for key in cell.memory} for _ in range(2))
    ids = None if rows is None else rng.integers(0, rows, (T, B))
    inputs = rng.normal(size=(T, B, D) if rows is None else (rows, D)).astype(np.float32)
    return (p, state, inputs), ids, rng.random((T, B)) < 0.2, (last, rng.normal(size=(T, B, N)).astype(np.float32))


def by_scan(cell, p, state, rows, ids, forget, precision):
    """A layer by `plain`."""
    xs = cell.inputs(p, rows, partial(product, precision=precision))
    return recurrence.plain(cell, precision, p, state, xs if ids is None else lookup(xs, ids, precision), forget)


def results(way, name, case, precision):
    """Last state and outputs, and the gradient."""
    inputs, ids, forget, cotangent = case

    @jax.jit
    def both(inputs, cotangent):
        out, pullback = jax.vjp(lambda *inputs: way(CELLS[name], *inputs, ids, jnp.asarray(forget), precision), *inputs)
        return out, pullback(cotangent)

    return jax.tree.map(np.asarray, both(inputs, cotangent))


def close(ours, theirs, tolerance):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


@pytest.fixture
def shared_out(monkeypatch):
    """Programs of so many units and columns, as on a GPU that is large enough."""

    def choose(units, columns, B, N):
        monkeypatch.setattr(persistent, "plan", lambda *_: Plan(units, columns, -(-N // units), -(-B // columns)))

    return choose


# ---- interpreted -------------------------------------------------------------------------------------------------------


@interpreted
@both_cells
@both_precisions
@pytest.mark.parametrize(
    ("T", "B", "N", "units", "columns", "rows"), [(1, 1, 1, 16, 16, None), (5, 17, 19, 8, 16, None), (4, 3, 40, 16, 16, 7)]
)
def test_a_layer_equals_plain(name, precision, tolerance, T, B, N, units, columns, rows, shared_out):
    """In values and gradients, whichever way it is shared out; `rows` are those of a table that is looked up."""
    shared_out(units, columns, B, N)
    case = problem(name, T, B, N, rows)
    close(results(persistent.layer, name, case, precision), results(by_scan, name, case, precision), tolerance)


def after_forgetting(name, T, B, N):
    """The outputs from time 2 on, when all columns forget, of two windows that differ in the state and the inputs before."""
    (p, state, inputs), _, forget, _ = problem(name, T, B, N)
    forget[2] = True
    ran = jax.jit(lambda state, inputs: persistent.layer(CELLS[name], p, state, inputs, None, jnp.asarray(forget), "bf16")[1])
    other = inputs.copy()
    other[:2] += 1
    whole, others = ran(state, inputs), ran(jax.tree.map(np.ones_like, state), other)
    assert (whole[1] != others[1]).any()
    return whole[2:], others[2:]


@interpreted
@both_cells
def test_a_column_that_forgot_remembers_nothing(name, shared_out):
    shared_out(8, 16, 3, 11)
    np.testing.assert_array_equal(*after_forgetting(name, 5, 3, 11))


@pytest.mark.parametrize(
    ("B", "N", "precision", "chip", "wanted"),
    [
        (32, 256, "bf16", LIKE_H100, Plan(16, 16, 16, 2)),
        (64, 512, "bf16", LIKE_H100, Plan(16, 16, 32, 4)),  # two programs on a multiprocessor
        (20, 650, "bf16", LIKE_H100, Plan(16, 16, 41, 2)),
        (64, 512, "bf16", LIKE_4090, Plan(16, 32, 32, 2)),
        (100, 512, "f32", LIKE_H100, None),
        (20, 650, "bf16", LIKE_T4, None),  # too few multiprocessors
        (20, 2000, "bf16", LIKE_H100, None),  # too large a part of U
        (1, 8, "bf16", Chip(0, 0), None),
    ],
)
def test_programs_fit(B, N, precision, chip, wanted):
    assert plan(B, N, precision, chip) == wanted


def test_no_kernel_runs_on_a_cpu():
    if jax.default_backend() == "cpu":
        assert persistent.chip() == Chip(0, 0)


# ---- compiled ----------------------------------------------------------------------------------------------------------

LARGE = [("lstm", 128, 32, 256), ("lstm", 35, 20, 400), ("gru", 60, 50, 300), ("lstm", 3, 2, 5)]


def compiled(*parameters):
    """A test that needs a GPU."""

    def marked(test):
        for mark in [*on_gpu, *parameters]:
            test = mark(test)
        return test

    return marked


@compiled(pytest.mark.parametrize("precision", ["f32", "bf16"]), pytest.mark.parametrize(("name", "T", "B", "N"), LARGE))
def test_a_compiled_layer_equals_plain(name, T, B, N, precision):
    """Products round to 11 bits with f32, as all of JAX's on these GPUs; the same inputs give the same bits."""
    assert persistent.plan(B, N, precision, persistent.chip())
    case = problem(name, T, B, N)
    ours = results(persistent.layer, name, case, precision)
    with jax.default_matmul_precision("highest"):
        close(ours, results(by_scan, name, case, "f32"), 2e-3 if precision == "f32" else 2e-2)
    for _ in range(3):
        jax.tree.map(np.testing.assert_array_equal, results(persistent.layer, name, case, precision), ours)


@compiled(both_cells)
def test_a_compiled_column_that_forgot_remembers_nothing(name):
    np.testing.assert_array_equal(*after_forgetting(name, 50, 20, 200))


@compiled(pytest.mark.parametrize(("units", "columns"), [(8, 16), (8, 32), (16, 64), (16, 128), (32, 16)]))
def test_a_compiled_layer_however_it_is_shared_out(units, columns, shared_out):
    shared_out(units, columns, 70, 100)
    case = problem("lstm", 9, 70, 100)
    close(results(persistent.layer, "lstm", case, "bf16"), results(by_scan, "lstm", case, "bf16"), 5e-3)


@compiled()
def test_a_layer_takes_the_kernels(monkeypatch):
    """Where there is a GPU; not for one step, for other cells, or where f32 must not be rounded."""
    monkeypatch.setattr(persistent, "layer", lambda *_: "kernels")
    (p, state, inputs), _, forget, _ = problem("lstm", 4, 3, 16)

    def chosen(precision="bf16", T=4):
        return recurrence.layer(CELLS["lstm"], p, state, jnp.asarray(inputs)[:T], None, jnp.asarray(forget)[:T], precision)

    assert (chosen(), chosen("f32")) == ("kernels", "kernels")
    assert chosen(T=1) != "kernels"
    with jax.default_matmul_precision("highest"):
        assert chosen("f32") != "kernels"


@compiled()
def test_a_training_learns(tmp_path):
    """The alphabet's first letters, over and over: in the end only the first one of a line could be wrong."""
    import lmgen

    (tmp_path / "text.txt").write_text("abcdefgh\n" * 2000, "utf-8")
    settings = {"steps": 200, "size": 64, "embedding": 16, "batch": 8, "window": 32, "learning_rate": 1e-2}
    model = lmgen.train(tmp_path / "text.txt", output=tmp_path / "model", no_valid=True, **settings)
    assert model.score("abcdefgh").nats < 0.5
