"""What docs/networks.md states is asserted: worked examples, gradients, what is learnt over a gap, answers to questions.

Shapes: T time, B batch, N cell size.
"""

from __future__ import annotations

import math
import os
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from the_page import PARTS, examples, networks, table, value, σ

from lmgen.data.vocab import EOS
from lmgen.nn import cells, embedding, model, recurrence
from lmgen.nn.cells import CELLS


def timeline(name):
    """A table with a column for each time, as it is computed now: the values of each row."""
    return {label: [value(cell) for cell in row] for label, row in table(networks.EXAMPLES[name]()).items()}


def normal(like, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(0, scale, a.shape).astype(np.float32), like)


def random_weights(name, inputs, size, scale=1.0):
    return normal(jax.eval_shape(lambda key: CELLS[name].init(key, inputs, size), jax.random.key(0)), scale=scale)


@partial(jax.jit, static_argnums=0)
def run(cell, p, state, inputs):
    """The last state and all outputs of a window of inputs [T, B, D]."""
    xs = cell.inputs(p, jnp.float32(inputs), jnp.matmul)
    return recurrence.run(cell, p, state, xs, jnp.zeros(inputs.shape[:2], bool), "f32")


# ---- worked examples ---------------------------------------------------------------------------------------------------


def test_three_activations():
    rows = timeline("squashed")
    for name, φ in (("elman", np.tanh), ("elman-relu", lambda a: max(a, 0)), ("elman-linear", lambda a: a)):
        h = 0.0
        for x, shown in zip(rows["x"], rows[f"h of {name}"], strict=True):
            h = φ(x + h)
            assert shown == pytest.approx(h, abs=0.006)


def test_jordan_network_hears_what_its_output_weights_let_through():
    """V = 0: nothing; V = 2: it settles where y = tanh(2 tanh(y)), and not at zero."""
    rows = timeline("echoed")
    assert rows["y of jordan, V = 0"] == [0] * 6
    last = rows["y of jordan, V = 2"][-1]
    assert last == pytest.approx(math.tanh(2 * math.tanh(last)), abs=0.006)
    assert last > 0.5


def test_peephole_clock_strikes_at_every_fourth_input():
    rows, count = timeline("clock"), 0
    for memory, output in zip(rows["memory c"], rows["output h"], strict=True):
        count = count % 4 + 1
        assert (memory, output) == (count, 4 if count == 4 else 0)


def test_gates_see_the_memory_through_peepholes_alone():
    """With h = 0 the next memory of an LSTM is a linear function of the last one: its gates do not depend on it."""
    for name, bends in (("lstm", False), ("lstm-peephole", True)):
        p, x = random_weights(name, 3, 2), np.ones((1, 1, 3))
        after = [run(CELLS[name], p, {"h": jnp.zeros((1, 2)), "c": jnp.full((1, 2), c)}, x)[0]["c"] for c in (0.0, 1.0, 2.0)]
        assert np.allclose(after[2] - after[1], after[1] - after[0], atol=1e-6) != bends


def test_fresh_peepholes_make_an_lstm():
    p, inputs = CELLS["lstm-peephole"].init(jax.random.key(0), 3, 4), normal(np.zeros((9, 2, 3)))
    ours, theirs = (run(CELLS[name], p, CELLS[name].start(2, 4), inputs)[1] for name in ("lstm", "lstm-peephole"))
    np.testing.assert_array_equal(ours, theirs)


def test_three_memories_fill_up():
    """Geometric series with f = σ(1) and i = ½; as much kept, i = 1 − f; and a sum without end."""
    rows, t, f = timeline("filled"), np.arange(1, 11), σ(1)
    assert rows["c of lstm"] == pytest.approx((0.5 * (1 - f**t) / (1 - f)).tolist(), abs=0.006)
    assert rows["c of lstm-coupled"] == pytest.approx((1 - f**t).tolist(), abs=0.006)
    assert rows["c of lstm-no-forget"] == (t / 2).tolist()


def test_memory_with_a_capped_gate_fills_up_to_one():
    """Geometric series with f = σ(1) and i = 1, or i = 1 − f; then what is left of them."""
    rows, f, t = timeline("capped"), σ(1), np.arange(1, 5)
    for name, limit in (("lstm", 1 / (1 - f)), ("lstm-capped", 1)):
        filled = limit * (1 - f**t)
        assert rows[f"c of {name}"] == pytest.approx([*filled, *(filled[-1] * f**t)], abs=0.006)


def test_mogrifier_reads_an_input_by_the_sign_of_the_last_output():
    rows, h = timeline("modulated"), 0.0
    for x, shown in zip(rows["x"], rows["h"], strict=True):
        h = x * (1 + np.sign(h))
        assert shown == h


def test_memory_of_a_coupled_and_a_capped_lstm_stays_within_bounds():
    inputs = normal(np.zeros((50, 3, 2)), scale=3)
    most = {}
    for name in ("lstm-coupled", "lstm-capped", "lstm-no-forget"):
        p, state = random_weights(name, 2, 5), CELLS[name].start(3, 5)
        most[name] = max(abs(s["c"]).max() for s in examples.states(name, p, inputs, 5, state))
    assert max(most["lstm-coupled"], most["lstm-capped"]) <= 1 < most["lstm-no-forget"]


def test_gru_keeps_the_last_input_that_its_gate_let_in():
    rows, kept = timeline("gated"), 0.0
    for x1, x2, h in zip(*rows.values(), strict=True):
        kept = x1 if x2 else kept
        assert h == kept


def test_reset_gate_before_and_after_the_product():
    h, r, swap = np.array([3, 5]), np.array([1, 0]), np.array([[0, 1], [1, 0]])
    wanted = {"gru-simple": swap @ h, "gru": r * (swap @ h), "gru-reset-before": swap @ (r * h)}
    shown = {name: row[1] for name, row in table(examples.reset()).items()}
    assert shown == {name: f"({', '.join(map(str, v))})" for name, v in wanted.items()}


@pytest.mark.parametrize(("name", "keep"), [("min-gru", 1 / 2), ("min-lstm", 3 / 4)])
def test_steps_that_compose(name, keep):
    rows, h = timeline(name), 0.0
    assert rows["h, step by step"] == rows["h, all at once"]
    for n, shown in zip(rows["n"], rows["h, all at once"], strict=True):
        h = keep * h + (1 - keep) * n
        assert shown == pytest.approx(h, abs=0.006)


def test_chain_is_a_power():
    for w, row in table(examples.chain()).items():
        for n, shown in zip((10, 100, 999), row, strict=True):
            assert value(shown) == pytest.approx(float(w) ** n, rel=0.06)


def test_clip_is_its_formula():
    rows = [re.findall(r"[\d.,]+", line) for line in examples.clipped().splitlines()[2:]]
    assert len(rows) == 5
    for row in rows:
        a, b, norm, c, clipped_a, clipped_b, clipped_norm = (float(x.strip(",")) for x in row)
        scale = c / norm if norm >= c else 1.0
        assert (norm, clipped_norm) == pytest.approx((math.hypot(a, b), norm * scale))
        assert (clipped_a, clipped_b) == pytest.approx((a * scale, b * scale))


def test_draws_are_as_frequent_as_they_are_probable():
    """χ² as the page has it, below its 95 % point."""
    rows = table(examples.drawn())
    p, counts = ([value(x) for x in rows[name]] for name in ("probability", "drawn"))
    assert sum(counts) == 10_000
    χ2 = sum((n - 10_000 * q) ** 2 / (10_000 * q) for q, n in zip(p, counts, strict=True))
    assert χ2 < 7.8
    assert f"χ² is {χ2:.2f}." in PARTS["drawn"]


# ---- what is left, and gradients ---------------------------------------------------------------------------------------


def test_what_is_left_of_an_input_before_training():
    shares = {name: networks.left(name) for name in ("lstm-no-forget", "lstm", "elman", "min-gru", "min-lstm", "tdnn")}
    t = np.arange(31)
    assert shares["min-gru"] == pytest.approx(0.5**t, rel=1e-4)
    assert shares["min-lstm"] == pytest.approx((σ(1) / (σ(1) + σ(0))) ** t, rel=1e-4)
    assert (shares["elman"][1:11] ** (1 / t[1:11])).tolist() == pytest.approx([3**-0.5] * 10, rel=0.1)
    assert (shares["lstm"][1:] > 1.3 ** t[1:] * shares["elman"][1:]).all()
    assert (shares["lstm-no-forget"] >= 1 - 1e-6).all()
    assert (shares["tdnn"] > 0).tolist() == (t <= 4).tolist()


@pytest.fixture
def small(monkeypatch):
    """Gradients of networks of 4 units over 6 steps."""
    monkeypatch.setattr(networks, "FRESH", 4)
    monkeypatch.setattr(networks, "STEPS", 6)


@pytest.mark.parametrize("name", ["lstm", "gru-reset-before", "min-lstm", "narx"])
def test_gradient_norms_are_those_of_the_whole_window(name, small):
    """The product of the one-step derivatives against one derivative through all steps at once."""
    p, inputs = CELLS[name].init(jax.random.key(0), 4, 4), np.random.default_rng(0).normal(size=(12, 1, 4))
    middle, _ = run(CELLS[name], p, CELLS[name].start(1, 4), inputs[:6])
    flat, unravel = ravel_pytree(middle)
    whole = jax.jacrev(lambda s: ravel_pytree(run(CELLS[name], p, unravel(s), inputs[6:])[0])[0])(flat)
    norms = networks.gradient_norms(name, times=1)
    assert norms[0] == 1
    assert norms[-1] == pytest.approx(np.linalg.norm(whole, 2), rel=1e-4)


def test_gradient_of_a_linear_network_is_a_power_of_its_matrix(small):
    U = np.asarray(CELLS["elman-linear"].init(jax.random.key(0), 4, 4)["U"], np.float64)
    powers = [np.linalg.norm(np.linalg.matrix_power(U, d), 2) for d in range(7)]
    assert networks.gradient_norms("elman-linear", times=1) == pytest.approx(powers, rel=1e-5)


def test_gradients_vanish_first_without_gates():
    """Three rows of the page computed anew, and their order; with larger weights the gradient explodes."""
    norms = {name: networks.gradient_norms(name) for name in ("elman", "gru", "lstm")}
    rows = table(PARTS["vanishing"])
    for name, found in norms.items():
        assert [value(x) for x in rows[name]] == pytest.approx([found[d] for d in networks.SHOWN], rel=0.06)
    assert (norms["elman"][3:] < norms["gru"][3:]).all()
    assert (norms["gru"][3:] < norms["lstm"][3:]).all()
    far = {name: value(row[-1]) for name, row in rows.items()}
    assert far["elman"] < 1e-10
    assert min(far[name] for name in ("narx", "min-gru", "min-lstm", "gru-simple", "gru-reset-before")) > far["elman"]
    doubled = networks.gradient_norms("elman-linear", times=2, change=lambda p: p | {"U": 2 * p["U"]})
    assert (doubled[[10, 20, 50]] > [2, 20, 1000]).all()


@pytest.mark.parametrize(("name", "memory", "gates"), [("lstm", "c", [-100, 100]), ("gru", "h", [-100])])
def test_closed_gate_hands_the_gradient_back_whole(name, memory, gates):
    """Input gate 0 and forget gate 1 of an LSTM, update gate 0 of a GRU: the derivative over 200 steps is exactly 1."""
    p, inputs = random_weights(name, 3, 4, scale=0.4), normal(np.zeros((200, 1, 3)))
    p["b"][: 4 * len(gates)] = np.repeat(gates, 4)
    start = normal(CELLS[name].start(1, 4), 1)
    whole = jax.jacrev(lambda s: run(CELLS[name], p, start | {memory: s}, inputs)[0][memory])(start[memory])
    np.testing.assert_array_equal(whole[0, :, 0], np.eye(4))


def test_forget_bias_decides_what_arrives():
    """In the memory alone σ(bias) a step; in a fresh network more for a greater bias, and growing above 2."""
    for bias in (0.0, 1.0, 3.0):
        p = examples.weights("lstm", 1, 1, b=[0, bias, 0, 0])
        start = CELLS["lstm"].start(1, 1)
        slope = jax.grad(lambda c, p=p, start=start: run(CELLS["lstm"], p, start | {"c": c}, np.zeros((10, 1, 1)))[0]["c"].sum())
        assert slope(start["c"]).item() == pytest.approx(σ(bias) ** 10, rel=1e-5)
    rows = [[value(x) for x in row] for row in table(networks.forgetful()).values()]
    for row, shown in zip(rows, table(PARTS["forgetful"]).values(), strict=True):
        assert row == pytest.approx([value(x) for x in shown], rel=0.06)
    assert (np.diff(rows, axis=0) > -0.01).all()
    assert rows[-1][1:] == sorted(rows[-1][1:])


def test_both_ways_give_the_same_gradient():
    back, forward = networks.both_ways(50)
    np.testing.assert_allclose(back, forward, rtol=1e-10, atol=1e-10)
    assert all(value(row[1]) < 1e-12 for row in table(PARTS["real_time"]).values())


# ---- agreement ---------------------------------------------------------------------------------------------------------


def test_sentences_have_their_gaps_and_their_verbs():
    """Each column one sentence of every gap; the verb is that of the subject; the words between tell nothing."""
    gaps, spell = (0, 4, 9), networks.WORDS.spell
    window = networks.windows(np.random.default_rng(0), gaps, 300)
    assert window.shape == (1 + sum(gaps) + 4 * len(gaps), 300)
    number = {word: many for pair in networks.NOUNS for many, word in enumerate(pair)}
    plural = []
    for column in window.T:
        assert column[0] == column[-1] == EOS
        found = " ".join(spell(id) or "." for id in column[1:]).rstrip(" .").split(" . ")
        assert sorted(len(sentence.split()) - 3 for sentence in found) == list(gaps)
        for sentence in found:
            the, noun, *between, verb = sentence.split()
            assert the == "the"
            assert networks.VERBS[number[noun]] == verb
            assert not between or (between[:2] == [",", "which"] and between[-1] == ",")
            assert set(between[2:-1]) <= set(networks.FILLERS)
            plural.append(number[noun])
    assert np.mean(plural) == pytest.approx(0.5, abs=0.06)  # three and a half deviations of 900 draws


def test_networks_are_of_about_the_same_size():
    sizes = [
        model.parameters(
            jax.eval_shape(partial(model.init, model.NetworkConfig(len(networks.WORDS), cell, size, embedding=16)), key)
        )
        for key in [jax.random.key(0)]
        for cell, size in networks.SIZES.items()
    ]
    assert max(sizes) < 1.1 * min(sizes)
    assert [value(row[0]) for row in table(PARTS["agreement"]).values()] == sizes


@pytest.fixture
def optimised():
    """What trains for long is compiled as users compile it."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", "LMGEN_OPTIMISE" not in os.environ)  # as conftest.py has it


@pytest.mark.slow
def test_agreement_over_a_gap_is_learnt_by_gates(optimised):
    """48 words, where the page's Elman networks are near chance; two thirds of its steps."""
    shares = {cell: networks.right(*networks.trained(cell, (0, 48), 0, 2000), 48) for cell in networks.SIZES}
    assert shares["elman"] < 0.75
    assert min(shares["gru"], shares["lstm"]) > 0.9


@pytest.mark.slow
def test_short_gaps_teach_what_long_ones_need(optimised):
    """The Elman network that has read gaps of all lengths gets the longest one right."""
    assert networks.right(*networks.trained("elman", networks.MIXTURE, 0, 2000), networks.MIXTURE[-1]) > 0.9


# ---- questions ---------------------------------------------------------------------------------------------------------


def test_a_lookup_is_a_product_with_one_hot_rows():
    """Values to the bit, gradients up to the order of the sum."""
    ids = np.array([[3, 0, 3], [5, 3, 1]])
    E, cotangent = normal(np.zeros((7, 4))), normal(np.zeros((2, 3, 4)), 1)
    looked_up, back = jax.vjp(lambda E: embedding.lookup(E, ids), E)
    multiplied, their_back = jax.vjp(lambda E: jax.nn.one_hot(ids, 7) @ E, E)
    np.testing.assert_array_equal(looked_up, multiplied)
    np.testing.assert_allclose(back(cotangent)[0], their_back(cotangent)[0], rtol=1e-6, atol=1e-6)


def test_exchanging_z_and_one_minus_z_flips_the_sign_of_one_gate():
    """Outputs are the same; of the gradient that with respect to this gate's weights changes its sign, too, and no other."""

    class Exchanged(cells.GRU):
        def step(self, p, state, x, times):
            x_z, x_r, x_n = jnp.split(x, 3, axis=-1)
            u_z, u_r, u_n = jnp.split(times(state["h"], "U"), 3, axis=-1)
            z, r = jax.nn.sigmoid(x_z + u_z), jax.nn.sigmoid(x_r + u_r)
            n = jnp.tanh(x_n + r * (u_n + p["b_u"]))
            return {"h": (1 - z) * n + z * state["h"]}

    def flipped(p):
        return {name: w if name == "b_u" else jnp.concatenate([-w[..., :4], w[..., 4:]], -1) for name, w in p.items()}

    p, inputs, cotangent = random_weights("gru", 3, 4), normal(np.zeros((8, 2, 3))), normal(np.zeros((8, 2, 4)), 1)
    start = CELLS["gru"].start(2, 4)
    ours, back = jax.vjp(lambda p: run(CELLS["gru"], p, start, inputs)[1], p)
    theirs, their_back = jax.vjp(lambda p: run(Exchanged(), p, start, inputs)[1], flipped(p))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for name, slope in flipped(their_back(cotangent)[0]).items():
        np.testing.assert_allclose(back(cotangent)[0][name], slope, rtol=1e-4, atol=1e-5)
