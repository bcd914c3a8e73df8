"""What a cell computes: its equations as NumPy loops in float64, examples worked by hand, and what holds for every cell.

Shapes: T time, B batch, D inputs, N cell size. Inputs are [T, B, D].
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equations import EQUATIONS, by_hand
from lmgen.nn import recurrence
from lmgen.nn.cells import CELLS

SMALL = 2.0**-10  # tanh is linear near zero: inputs and memory in this unit make an LSTM with tanh one with linear g and h

every_cell = pytest.mark.parametrize("name", CELLS)


# ---- our side ----------------------------------------------------------------------------------------------------------


def normal(like, seed, scale=1.0):
    """Random numbers for every array of a pytree."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(0, scale, a.shape).astype(np.float32), like)


def weights(name, inputs, size, seed=0):
    """Random weights, the biases as well, of a scale at which no cell explodes."""
    return normal(shapes(name, inputs, size), seed, 0.8 * size**-0.5)


def shapes(name, inputs, size):
    """Of a cell's weights."""
    return jax.eval_shape(lambda key: CELLS[name].init(key, inputs, size), jax.random.key(0))


def zeros(name, inputs, size):
    return jax.tree.map(lambda a: np.zeros(a.shape, np.float32), shapes(name, inputs, size))


def scan(name, p, inputs, state=None, forget=None):
    """A cell over a window as the model runs it: the input products of all times at once, then the time loop."""
    T, B, _ = np.shape(inputs)
    size = p["b"].size // (1 if name in ("tdnn", "narx") else CELLS[name].gates)
    state = CELLS[name].start(B, size) if state is None else state
    return _scan(name, p, inputs, state, np.zeros((T, B), bool) if forget is None else forget)


@partial(jax.jit, static_argnums=0)
def _scan(name, p, inputs, state, forget):
    cell = CELLS[name]
    return recurrence.run(cell, p, state, cell.inputs(p, jnp.float32(inputs), jnp.matmul), forget, "f32")


def problem(name, T, B, D, N):
    """Weights, a start state, inputs, and where it is forgotten: about every fifth place."""
    rng = np.random.default_rng(T)
    inputs = rng.normal(size=(T, B, D)).astype(np.float32)
    return weights(name, D, N), normal(CELLS[name].start(B, N), 1), inputs, rng.random((T, B)) < 0.2


def close(ours, theirs, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, theirs)


# ---- every cell --------------------------------------------------------------------------------------------------------


def test_equations_are_those_of_cells():
    """No equations are left behind by a cell that is gone or has another name."""
    assert set(EQUATIONS) <= set(CELLS)


@every_cell
@pytest.mark.parametrize(("T", "B", "D", "N"), [(1, 1, 1, 1), (7, 3, 5, 2), (23, 2, 3, 17)])
def test_scan_is_the_loop_of_the_equations(name, T, B, D, N):
    p, state, inputs, forget = problem(name, T, B, D, N)
    close(scan(name, p, inputs, state, forget), by_hand(name, p, state, inputs, forget), 1e-5)


@every_cell
def test_window_cut_in_two_with_carried_state_is_the_whole_window(name):
    """Cut at its first, at a middle and at its last place."""
    p, state, inputs, forget = problem(name, 8, 3, 3, 4)
    whole = scan(name, p, inputs, state, forget)
    for cut in (1, 4, 7):
        middle, first = scan(name, p, inputs[:cut], state, forget[:cut])
        last, second = scan(name, p, inputs[cut:], middle, forget[cut:])
        close((last, np.concatenate([first, second])), whole, 1e-6)


@every_cell
def test_batch_of_one_is_a_row_of_a_bigger_batch(name):
    p, state, inputs, forget = problem(name, 8, 3, 3, 4)
    after, hs = scan(name, p, inputs, state, forget)
    for b in range(3):
        row = slice(b, b + 1)
        alone = scan(name, p, inputs[:, row], {key: s[row] for key, s in state.items()}, forget[:, row])
        close(alone, ({key: s[row] for key, s in after.items()}, hs[:, row]), 1e-6)


@every_cell
def test_forgetting_makes_the_past_irrelevant(name):
    """After it the bits are those of a run from the start state, in the rows that forget; the others remember."""
    p, state, inputs, _ = problem(name, 8, 3, 3, 4)
    forget = np.zeros((8, 3), bool)
    forget[4, 0] = True
    _, hs = scan(name, p, inputs, state, forget)
    inputs = np.concatenate([inputs[:4] + 1, inputs[4:]])  # never in place: the computation may still be reading it
    after, other = scan(name, p, inputs, normal(state, 2), forget)
    np.testing.assert_array_equal(hs[4:, 0], other[4:, 0])
    assert (hs[4, 1:] != other[4, 1:]).any()
    afresh, fresh = scan(name, p, inputs[4:])
    close((after["h"][0], other[4:, 0]), (afresh["h"][0], fresh[:, 0]), 1e-6)


@every_cell
def test_weights_start_small_and_states_start_at_zero(name):
    """Uniform in ±1/√N, as PyTorch draws them: the deviation is 1/√(3 N). W_2 reads 4 N units; of the gates in rounds each matrix
    reads as many as it has rows."""
    p = CELLS[name].init(jax.random.key(3), 20, 64)
    matrices = {key: w for key, w in p.items() if w.ndim == 2}
    rounds = [f"{matrix}_{k}" for k in range(1, 1 + getattr(CELLS[name], "rounds", 0)) for matrix in "AB"]
    assert matrices.keys() == {"W", *CELLS[name].recurrent, *rounds, *({"P"} if CELLS[name].normalises else ())}
    for key, matrix in matrices.items():
        inputs = len(matrix) if key in rounds else 4 * 64 if key == "W_2" else 64
        assert abs(matrix).max() <= inputs**-0.5
        assert float(matrix.std()) == pytest.approx((3 * inputs) ** -0.5, rel=0.05)
    state = CELLS[name].start(2, 64)
    assert state["h"].shape == (2, 64)
    assert not any(s.any() for s in state.values())


# ---- some cells --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "states", "outputs"),
    [([1, 1, 2], [2, 6, 16], [4, 12, 32]), ([2, 1, 1], [4, 10, 22], [8, 20, 44])],
)
def test_linear_elman_worked_by_hand(inputs, states, outputs):
    """Two inputs, units and outputs, every weight 1: h = 2 x + 2 h, y = 2 h. Another order gives other outputs."""
    p = zeros("elman-linear", 2, 2) | {"W": np.ones((2, 2), np.float32), "U": np.ones((2, 2), np.float32)}
    _, hs = scan("elman-linear", p, np.repeat(inputs, 2).reshape(3, 1, 2))
    assert hs[:, 0].tolist() == [[h, h] for h in states]
    assert (hs[:, 0] @ np.ones((2, 2))).tolist() == [[y, y] for y in outputs]


def one_lstm(**gates):
    """An LSTM of one unit without recurrent weights, from (input weights, bias) of the gates i, f, o and g."""
    W, b = zip(*(gates[name] for name in "ifog"), strict=True)
    return zeros("lstm", len(W[0]), 1) | {"W": np.float32(W).T, "b": np.float32(b)}


def test_lstm_memory_worked_by_hand():
    """x2 = 1 adds x1 to the memory, x2 = −1 clears it, x3 = 1 lets it out."""
    p = one_lstm(i=([0, 100, 0], -10), f=([0, 100, 0], 10), o=([0, 0, 100], -10), g=([SMALL, 0, 0], 0))
    inputs = [(3, 1, 0), (4, 1, 0), (2, 0, 0), (1, 0, 1), (3, -1, 0)]
    state, memory, output = None, [], []
    for x in inputs:
        state, _ = scan("lstm", p, np.reshape(x, (1, 1, 3)), state)
        memory.append(state["c"].item() / SMALL)
        output.append(state["h"].item() / SMALL)
    np.testing.assert_allclose(memory, [3, 7, 7, 7, 0], atol=0.005)
    np.testing.assert_allclose(output, [0, 0, 0, 7, 0], atol=0.005)


def test_mogrifier_reads_an_input_by_the_last_output_worked_by_hand():
    """With one round that counts: double after a positive output, not at all after a negative one, as it is after zero."""
    gates = {"W": np.float32([[0, 0, 0, 1]]), "b": np.float32([100, -100, 100, 0])}
    p = zeros("lstm-mogrifier", 1, 1) | gates | {"A_1": np.float32([[100 / SMALL]]), "B_1": np.float32([[1]])}
    _, hs = scan("lstm-mogrifier", p, np.reshape(SMALL * np.float32([1, 1, -1, 1, 1, 1, -1, 1]), (8, 1, 1)))
    np.testing.assert_allclose(hs[:, 0, 0] / SMALL, [1, 2, -2, 0, 1, 2, -2, 0], atol=1e-4)


def test_mogrifier_without_rounds_that_count_is_an_lstm():
    """Gates of 2σ(0) = 1 leave input and output as they are."""
    rng = np.random.default_rng(0)
    p = {key: rng.normal(size=a.shape).astype(np.float32) for key, a in zeros("lstm", 3, 4).items()}
    inputs = rng.normal(size=(6, 2, 3)).astype(np.float32)
    (_, ours), (_, theirs) = (scan(name, zeros(name, 3, 4) | p, inputs) for name in ("lstm-mogrifier", "lstm"))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("forget_bias", "count"), [(100, 6), (-100, 1)])
def test_lstm_counts_while_its_forget_gate_is_open(forget_bias, count):
    """Before the logistic, 100 keeps the memory and −100 clears it: six ones among ten inputs, the last of them a one."""
    p = one_lstm(i=([0], 100), f=([0], forget_bias), o=([0], 100), g=([SMALL], 0))
    state, _ = scan("lstm", p, np.reshape([1, 0, 1, 1, 0, 0, 1, 1, 0, 1], (10, 1, 1)))
    assert state["c"].item() / SMALL == pytest.approx(count, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "memory", "gates"),
    [
        *((name, "h", [-100]) for name in ("gru", "gru-reset-before", "gru-simple", "min-gru")),
        *((name, "c", [-100, 100]) for name in ("lstm", "lstm-peephole")),
        *((name, "c", [-100]) for name in ("lstm-coupled", "lstm-no-forget")),
        ("min-lstm", "h", [100, -100]),
    ],
)
def test_closed_gate_keeps_the_memory_over_any_number_of_steps(name, memory, gates):
    """Update gate 0 of a GRU; input gate 0 and forget gate 1 of an LSTM: not a bit changes in 500 steps."""
    p, state, inputs, _ = problem(name, 500, 2, 3, 4)
    p["b"][: 4 * len(gates)] = np.repeat(gates, 4)
    after, hs = scan(name, p, inputs, state)
    np.testing.assert_array_equal(after[memory], state[memory])
    assert np.isfinite(hs).all()


@pytest.mark.parametrize(("w", "reached"), [(1.01, 20751), (0.99, 4.4e-5)])
def test_linear_chain_explodes_or_vanishes(w, reached):
    """One unit, a single input 1 at time 1: y_1000 = w^999, and so is the gradient of y_1000 with respect to that input."""
    p = zeros("elman-linear", 1, 1) | {"W": np.float32([[1]]), "U": np.float32([[w]])}
    inputs = np.zeros((1000, 1, 1), np.float32)
    inputs[0] = 1
    y, slope = jax.value_and_grad(lambda inputs: scan("elman-linear", p, inputs)[0]["h"].sum())(inputs)
    assert [float(y), float(slope[0, 0, 0])] == pytest.approx([w**999] * 2, rel=1e-4)
    assert float(y) == pytest.approx(reached, rel=0.01)


@pytest.mark.parametrize(
    ("name", "times", "besides"),
    [
        ("elman", (1, 1, 1), 0),
        ("elman-relu", (1, 1, 1), 0),
        ("elman-linear", (1, 1, 1), 0),
        ("jordan", (1, 2, 2), 0),
        ("tdnn", (5, 0, 1), 0),
        ("narx", (5, 4, 1), 0),
        ("lstm", (4, 4, 4), 0),
        ("lstm-peephole", (4, 4, 4), 3),
        ("lstm-coupled", (3, 3, 3), 0),
        ("lstm-capped", (4, 4, 4), 0),
        ("lstm-no-forget", (3, 3, 3), 0),
        ("gru", (3, 3, 3), 1),
        ("gru-reset-before", (3, 3, 3), 0),
        ("gru-simple", (2, 2, 2), 0),
        ("min-gru", (2, 0, 2), 0),
        ("min-lstm", (3, 0, 3), 0),
        ("attention", (1, 4, 3), 3),
        ("transformer", (1, 12, 3), 10),
    ],
)
def test_size_of_a_layer_worked_by_hand(name, times, besides):
    """Five inputs and nine units: so many times 5 × 9 weights of the input, 9 × 9 of what is fed back, 9 biases, and 9 others."""
    weights = 45 * times[0] + 81 * times[1] + 9 * times[2] + 9 * besides
    assert sum(w.size for w in shapes(name, 5, 9).values()) == weights


FIRST_BIASES = {
    "lstm": [0, 1, 0, 0],
    "lstm-peephole": [0, 1, 0, 0],
    "lstm-capped": [0, 1, 0, 0],
    "lstm-mogrifier": [0, 1, 0, 0],
    "lstm-coupled": [-1, 0, 0],  # f = 1 − σ(−1) = σ(1)
    "min-lstm": [1, 0, 0],
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_vectors_start_at_zero_and_the_forget_bias_at_one(name):
    p = CELLS[name].init(jax.random.key(0), 2, 3)
    wanted = np.repeat(FIRST_BIASES.get(name, [0] * (p["b"].size // 3)), 3)
    np.testing.assert_array_equal(p["b"], wanted)
    gains = {key for key in p if key.startswith("gain")}
    assert all((p[key] == 1).all() for key in gains)
    assert not any(w.any() for key, w in p.items() if w.ndim == 1 and key not in {"b", *gains})


@pytest.mark.parametrize(("name", "reach"), [("tdnn", 4), ("narx", 99), ("elman", 99)])
def test_time_delay_network_sees_so_many_inputs_and_no_further(name, reach):
    """What another input at time 0 changes: with four delays the outputs 0 to 4, with a feedback all of them."""
    p, state, inputs, _ = problem(name, 12, 1, 3, 4)
    other = inputs.copy()
    other[0] += 1
    (_, ours), (_, theirs) = (scan(name, p, some, state) for some in (inputs, other))
    changed = (np.asarray(ours) != theirs).any(axis=(1, 2))
    assert changed.tolist() == [t <= reach for t in range(12)]


def test_delayed_sums_worked_by_hand():
    """One unit and small inputs, for which tanh is linear: W_k = 1, 2, 3, 4, 5 play back in this order what came once."""
    p = zeros("tdnn", 1, 1) | {"W": np.float32([[1, 2, 3, 4, 5]])}
    _, hs = scan("tdnn", p, np.reshape([SMALL, 0, 0, SMALL, 0, 0, 0, 0, 0], (9, 1, 1)))
    np.testing.assert_allclose(hs[:, 0, 0] / SMALL, [1, 2, 3, 4 + 1, 5 + 2, 3, 4, 5, 0], rtol=1e-4)


def test_fed_back_output_of_narx_skips_steps_worked_by_hand():
    """One unit, U_3 = 1 alone: what came once comes back every third step; each tanh takes next to nothing of it."""
    p = zeros("narx", 1, 1) | {"W": np.float32([[1, 0, 0, 0, 0]]), "U": np.float32([[0, 0, 1, 0]])}
    _, hs = scan("narx", p, np.reshape([SMALL] + [0] * 9, (10, 1, 1)))
    np.testing.assert_allclose(hs[:, 0, 0] / SMALL, [1, 0, 0, 1, 0, 0, 1, 0, 0, 1], atol=1e-4)
