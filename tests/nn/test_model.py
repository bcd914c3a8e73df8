"""The language model around the cells: what it may look at, the ways to compute it that must agree, and that it learns.

Shapes: T time, B batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmgen
from lmgen.data.vocab import EOS, Vocab
from lmgen.defaults import language
from lmgen.defaults.config import TrainingConfig
from lmgen.generation import sampling
from lmgen.models.recurrent import Recurrent
from lmgen.models.scoring import stream_nats
from lmgen.nn import cross_entropy, embedding, model, native, recurrence
from lmgen.nn.cells import CELLS, Cell, sigmoid
from lmgen.tasks.language import Language
from lmgen.training import benchmark
from lmgen.training.step import begin, step
from support import scratch

V = 11
VOCAB = Vocab("char", tuple("abcdefghi"))
TINY = model.NetworkConfig(V, "lstm", size=6, embedding=5)

every_cell = pytest.mark.parametrize("cell", CELLS)


def random_params(config, seed=0):
    """Weights of normal size everywhere, the biases too: nothing is hidden by a zero."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(model.init, config), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(0, 0.3, a.shape).astype(np.float32), shapes)


def random_ids(T, B, seed=0):
    """Ids with an EOS now and then."""
    return np.random.default_rng(seed).integers(0, V, (T, B)).astype(np.int32)


def nats_of(config, params, window):
    """The nats of a window [T + 1, B], read from the start."""
    _, hs = model.read(config, "f32", params, model.start(config, window.shape[1]), window[:-1])
    return model.nats(params, hs, window[1:], "f32")


def close(ours, theirs, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), ours, theirs)


# ---- what it may look at -----------------------------------------------------------------------------------------------


@every_cell
def test_logits_do_not_see_what_comes_after(cell):
    """Other ids after t: up to t not a bit differs, at t + 1 something does; in a stack with all that can stand around a cell."""
    config = replace(TINY, cell=cell, layers=2, residual=True, layer_norm=True)
    lm, t = Recurrent(config, random_params(config), VOCAB), 6
    ids = random_ids(12, 2)
    other = np.concatenate([ids[: t + 1], (ids[t + 1 :] + 1) % V])
    (_, ours), (_, theirs) = (lm.read(lm.start(2), some) for some in (ids, other))
    np.testing.assert_array_equal(ours[: t + 1], theirs[: t + 1])
    assert (np.asarray(ours[t + 1]) != theirs[t + 1]).any()


@every_cell
@pytest.mark.parametrize("B", [1, 2])
def test_gradient_of_the_past_with_respect_to_the_future_is_exactly_zero(cell, B):
    """The loss up to t moves the embedding of no symbol that is read only after t, and of every other one.

    With one column the symbols are looked up before the input product, with two after it.
    """
    config, t = replace(TINY, cell=cell), 4
    first, second = [2, 3, 4, 5, 6], [7, 8, 9, 10, 7]
    ids = np.repeat(np.array([*first, *second], np.int32)[:, None], B, 1)

    @jax.jit
    @jax.grad
    def slope(params):
        _, hs = model.read(config, "f32", params, model.start(config, B), ids)
        return model.nats(params, hs, np.full_like(ids, 2), "f32")[: t + 1].sum()

    moved = np.asarray(slope(random_params(config))["embedding"]).any(axis=1)
    assert np.flatnonzero(moved).tolist() == first


@pytest.mark.few("cell", "lstm", "gru", "attention", "transformer")
@every_cell
@pytest.mark.parametrize("carry", [False, True])
def test_stream_in_windows_gives_the_nats_of_each_line_alone(cell, carry):
    """Symbol by symbol, to six digits, for any number of columns and any window; where the state is carried over EOS, those of
    the whole stream read one symbol at a time. The other way round, single steps (as in sampling) equal whole windows."""
    lines = [random_ids(n, 1, n)[:, 0] % (V - 2) + 2 for n in (3, 1, 7, 0, 12, 30, 5, 2, 40, 9)]
    config = replace(TINY, cell=cell, carry=carry, layers=2, residual=True, layer_norm=not carry)
    lm = Recurrent(config, random_params(config), VOCAB)
    alone, state = [], lm.start(1)
    for line in lines:
        state = state if carry else lm.start(1)
        for read, following in zip([EOS, *line], [*line, EOS], strict=True):
            state, logits = lm.read(state, np.array([[read]], np.int32))
            scores = np.float64(logits[0, 0])
            alone.append(np.log(np.exp(scores).sum()) - scores[following])
    stream = np.concatenate([[EOS], *([*line, EOS] for line in lines)]).astype(np.int32)
    for batch, window in ((1, 128), (7, 8), (64, 2)):
        np.testing.assert_allclose(stream_nats(lm, stream, batch, window), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru-reset-before"])
def test_skip_connections_are_those_written_down(cell, layer_norm):
    """The second layer reads the first one and the symbol, and the head reads both layers (Graves 2013)."""
    config = replace(TINY, cell=cell, layers=2, skip=True, layer_norm=layer_norm)
    params, ids = random_params(config), random_ids(9, 3)
    symbols, forget = params["embedding"][ids], ids == EOS
    assert [p["W"].shape[0] for p in params["layers"]] == [5, 6 + 5]

    def read(k, rows):
        rows = model.normalised(params["norms"][k], rows) if layer_norm else rows
        state = CELLS[cell].start(3, 6)
        return recurrence.layer(CELLS[cell], params["layers"][k], state, jnp.asarray(rows), None, forget, "f32")[1]

    first = read(0, symbols)
    wanted = jnp.concatenate([first, read(1, jnp.concatenate([first, symbols], -1))], -1)
    wanted = model.normalised(params["head"], wanted) if layer_norm else wanted
    close(model.read(config, "f32", params, model.start(config, 3), ids)[1], wanted, 1e-5)


# ---- two ways to compute one thing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("T", [12, 7])
def test_nats_in_chunks_of_time_are_those_of_all_times_at_once(T, kernels, monkeypatch):
    """Values and gradients; and what is kept of all times is never held at once. Seven times only fall into seven chunks."""
    rng, V, B = np.random.default_rng(1), 1000, 30
    head = {"W": rng.normal(0, 0.3, (6, V)).astype(np.float32), "b": rng.normal(0, 0.3, V).astype(np.float32)}
    hs, targets = rng.normal(size=(T, B, 6)).astype(np.float32), rng.integers(0, V, (T, B)).astype(np.int32)

    def compute(head, hs):
        nats = model.nats({"head": head}, hs, targets, "f32")
        return (nats * np.arange(T)[:, None]).sum(), nats

    if not kernels:
        monkeypatch.setattr(native, "kind", lambda precision: "")
    held, results = [], []
    for kept, logits in ((T * B * V, T * B * V), (3 * B * V, T * B * V), (T * B * V, 3 * B * V)):
        monkeypatch.setattr(model, "KEPT", kept)
        monkeypatch.setattr(cross_entropy, "CHUNK", logits)
        program = jax.value_and_grad(lambda *a: compute(*a), (0, 1), has_aux=True)
        held.append(scratch(program, head, hs))
        results.append(jax.jit(program)(head, hs))
    assert held[0] > 4 * T * B * V > held[1]
    close(results[1], results[0], 1e-5)
    close(results[2], results[0], 1e-5)


@pytest.mark.parametrize("T", [3, 9])
def test_multiplying_the_embedding_first_equals_looking_up_first(T):
    """Three times are fewer ids than symbols, nine are more; both equal the written-down way, gradients too."""
    config, ids, start = TINY, random_ids(T, 2), model.start(TINY, 2)

    def read(params):
        _, hs = model.read(config, "f32", params, start, ids)
        return (hs * np.arange(T)[:, None, None]).sum(), hs

    def written_down(params):
        p = params["layers"][0]
        xs = params["embedding"][ids] @ p["W"] + p["b"]
        _, hs = recurrence.plain(CELLS[config.cell], "f32", p, start[0], xs, jnp.asarray(ids == EOS))
        return (hs * np.arange(T)[:, None, None]).sum(), hs

    params = jax.tree.map(jnp.asarray, random_params(config))
    close(*(jax.jit(jax.value_and_grad(way, has_aux=True))(params) for way in (read, written_down)), 1e-5)


@pytest.mark.parametrize("T", [3, 9])
@pytest.mark.parametrize(("residual", "layer_norm"), [(True, False), (False, True), (True, True)])
def test_residual_and_layer_norm_are_what_is_written_down(T, residual, layer_norm):
    """Three layers: from the second on the input is added to the output; every layer and the head read rows with mean 0 and
    deviation 1, times a gain, plus a shift. The embedding is multiplied before the lookup or after it."""
    config = replace(TINY, cell="gru", layers=3, residual=residual, layer_norm=layer_norm)
    ids, start, params = random_ids(T, 2), model.start(config, 2), random_params(config)

    def normal(p, rows):
        if not layer_norm:
            return rows
        return (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5) * p["gain"] + p["shift"]

    xs = params["embedding"][ids]
    for k, p in enumerate(params["layers"]):
        rows = normal(params["norms"][k] if layer_norm else None, xs)
        _, hs = recurrence.plain(CELLS["gru"], "f32", p, start[k], rows @ p["W"] + p["b"], jnp.asarray(ids == EOS))
        xs = xs + np.asarray(hs) if residual and k else np.asarray(hs)
    _, outputs = model.read(config, "f32", params, start, ids)
    read = normal(params["head"], xs)
    close(outputs, read, 1e-5)
    close(model.logits(params, outputs, "f32"), read @ params["head"]["W"] + params["head"]["b"], 1e-5)


def test_layer_norm_starts_as_mere_normalisation():
    norms = [*(params := model.init(replace(TINY, layers=2, layer_norm=True), jax.random.key(0)))["norms"], params["head"]]
    assert all((p["gain"] == 1).all() and not p["shift"].any() for p in norms)
    assert [p["gain"].size for p in norms] == [5, 6, 6]


@pytest.mark.parametrize("one_hot", [0, 1024])
def test_gradient_of_a_lookup_sums_over_where_a_row_was_read(one_hot, monkeypatch):
    """By a scatter and by a product with one-hot rows alike; rows that were not read get zero."""
    monkeypatch.setattr(embedding, "ONE_HOT", one_hot)
    ids, cotangent = np.array([[3, 0], [3, 1], [5, 3]]), np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    rows, pullback = jax.vjp(lambda table: embedding.lookup(table, ids), jnp.arange(28.0).reshape(7, 4))
    np.testing.assert_array_equal(rows[..., 0], 4 * ids)
    wanted = np.zeros((7, 4))
    np.add.at(wanted, ids, cotangent)
    np.testing.assert_allclose(pullback(cotangent)[0], wanted, atol=1e-6)


def test_tied_head_reads_with_the_embedding():
    """Its logits are h Eᵀ + b, and (h P) Eᵀ + b where the sizes differ; there is no other matrix."""
    hs = np.random.default_rng(2).normal(size=(3, 2, 6)).astype(np.float32)
    for config, added in ((replace(TINY, tie=True, embedding=6), {"b"}), (replace(TINY, tie=True), {"b", "P"})):
        params = random_params(config)
        head, E = params["head"], params["embedding"]
        assert head.keys() == added
        wanted = (hs @ head["P"] if "P" in head else hs) @ E.T + head["b"]
        close(model.logits(params, hs, "f32"), wanted, 1e-5)


def test_size_of_a_model_worked_by_hand():
    """Embedding 11 × 5; LSTM 4 · 6 · (5 + 6 + 1), above it 4 · 6 · (6 + 6 + 1); head 6 × 11 + 11; or tied 6 × 5 + 11."""
    for config, count in (
        (TINY, 55 + 288 + 77),
        (replace(TINY, layers=2), 55 + 288 + 312 + 77),
        (replace(TINY, tie=True), 55 + 288 + 41),
        (replace(TINY, layers=2, layer_norm=True), 55 + 288 + 312 + 77 + 2 * (5 + 6 + 6)),
        (replace(TINY, direction="both"), 55 + 2 * 288 + 12 * 11 + 11),
        (replace(TINY, direction="both", tie=True, layer_norm=True), 55 + 2 * (288 + 10) + 60 + 11 + 24),
    ):
        assert model.parameters(random_params(config)) == count


# ---- probabilities -----------------------------------------------------------------------------------------------------


def test_probabilities_of_all_that_may_follow_sum_to_one():
    ids, params = random_ids(5, 3), random_params(TINY)
    _, hs = model.read(TINY, "f32", params, model.start(TINY, 3), ids)
    total = sum(np.exp(-np.float64(model.nats(params, hs, np.full_like(ids, v), "f32"))) for v in range(V))
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_uniform_model_has_perplexity_v():
    """With a head of zeros every symbol costs ln V, whatever the network remembers."""
    params = random_params(TINY) | {"head": {"W": np.zeros((6, V), np.float32), "b": np.zeros(V, np.float32)}}
    nats = stream_nats(Recurrent(TINY, params, VOCAB), random_ids(30, 1)[:, 0])
    assert nats == pytest.approx(np.full(29, math.log(V)))
    assert math.exp(nats.mean(dtype=np.float64)) == pytest.approx(V, rel=1e-6)


def test_dropout_zeroes_its_share_of_outputs_and_scales_the_rest():
    """In training alone, by another pattern for another key; the rate 0 drops nothing."""
    config, ids = replace(TINY, size=50, dropout=0.3), random_ids(20, 10)
    params, start = random_params(config), model.start(config, 10)
    read = jax.jit(model.read, static_argnums=(0, 1))
    (state, whole), (state_in_training, dropped), (_, others) = (
        read(config, "f32", params, start, ids, key) for key in (None, jax.random.key(0), jax.random.key(1))
    )
    zero = np.asarray(dropped) == 0
    assert zero.mean() == pytest.approx(0.3, abs=0.015)  # three deviations of 10,000 draws
    np.testing.assert_allclose(dropped[~zero], whole[~zero] / 0.7, rtol=1e-6)
    assert (zero != (np.asarray(others) == 0)).any()
    close(state_in_training, state, 0)
    close(read(replace(config, dropout=0.0), "f32", params, start, ids, jax.random.key(0))[1], whole, 0)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@every_cell
@pytest.mark.parametrize("around", [{}, {"direction": "both", "layer_norm": True}], ids=str)
def test_mean_logits_over_many_masks_are_those_without_dropout(cell, around, monkeypatch):
    """Dropout must not change the scale of what the head reads, else a model is too sure of itself in evaluation."""
    assert mean_share(replace(TINY, cell=cell, size=24, dropout=0.5, **around), monkeypatch) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("around", [{"residual": True}, {"layer_norm": True}, {"residual": True, "layer_norm": True}], ids=str)
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_dropout_in_a_stack_moves_the_mean_logits_by_no_more_than_the_noise_of_lower_layers(around, direction, monkeypatch):
    """A layer norm cannot but see the noise that the layer below makes of what it read; nothing else may move the mean."""
    config = replace(TINY, cell="gru", size=24, layers=2, dropout=0.2, direction=direction, **around)
    assert mean_share(config, monkeypatch) == pytest.approx(1, abs=0.16 if "layer_norm" in around else 0.02)


def mean_share(config, monkeypatch):
    """The mean logits under many masks as a share of those without dropout: of 2,000 columns each reads the same text with a mask
    of its own."""
    monkeypatch.setattr(model, "BLANKED", 0.0)
    params, ids = model.init(config, jax.random.key(1)), np.repeat(random_ids(6, 1), 500, 1)
    start = model.start(config, 500)

    @jax.jit
    def logits(key):
        if config.direction == "both":
            hs = model.read_between(config, "f32", params, start, start, ids, dropout=key)[1]
        else:
            hs = model.read(config, "f32", params, start, ids, key)[1]
        return model.logits(params, hs, "f32").mean(1)

    clean, dropped = np.float64(logits(None)), np.mean([np.float64(logits(jax.random.key(k))) for k in range(4)], 0)
    return (dropped * clean).sum() / (clean**2).sum()


# ---- it learns ---------------------------------------------------------------------------------------------------------


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize(("cell", "layers"), [*((cell, 1) for cell in CELLS), ("lstm", 6), ("gru", 6)])
def test_overfits_one_line_and_its_samples_are_that_line(cell, layers):
    """Six layers with residual connections and layer norm, as they get without being asked for."""
    line, vocab = "anemone", Vocab.of(Counter("anemone"), "char")
    deep = layers >= language.DEEP
    network = model.NetworkConfig(len(vocab), cell, size=24, layers=layers, embedding=8, residual=deep, layer_norm=deep)
    config = TrainingConfig(batch=1, window=len(line) + 1, learning_rate=0.02, steps=250, weight_decay=0.0)
    window, begins = np.array([[EOS, *vocab.encode(line), EOS]], np.int32).T, np.array([False])
    task = Language(network)
    state, batch = begin(task, config), task.batch(window, begins)
    for number in range(config.steps):
        state, nats, _ = step(task, config.optimiser, state, batch, config.learning_rate, number)
    assert math.exp(nats) < 1.005
    drawn = islice(sampling.samples(Recurrent(network, state.params, vocab), sampling.Settings(temperature=0.5)), 16)
    assert {s.text for s in drawn} == {line}


def test_new_cell_of_a_few_lines_trains_and_samples(words_file, tmp_path, monkeypatch):
    """A class and its name in the table are all it takes: here the minimal gated unit (Zhou et al. 2016)."""

    class Minimal(Cell):
        """f = σ(W x_t + U h_{t-1} + b),  n = tanh(W x_t + U_n (f ⊙ h_{t-1}) + b),  h_t = f ⊙ n + (1 − f) ⊙ h_{t-1}."""

        gates = 2
        recurrent: ClassVar = {"U": 1, "U_n": 1}

        def step(self, p, state, x, times):
            h = state["h"]
            x_f, x_n = jnp.split(x, 2, axis=-1)
            f = sigmoid(x_f + times(h, "U"))
            return {"h": f * jnp.tanh(x_n + times(f * h, "U_n")) + (1 - f) * h}

    monkeypatch.setitem(CELLS, "minimal", Minimal())
    small = {"size": 12, "embedding": 6, "batch": 4, "window": 8, "learning_rate": 0.01}
    trained = lmgen.train(words_file, cell="minimal", output=tmp_path / "minimal", steps=30, **small)
    assert trained.evaluate().nats_per_symbol < math.log(trained.lm.config.vocab)
    assert len(trained.sample(3)) == 3
    assert (benchmark.cost("minimal").weights, benchmark.cost("minimal").in_turn) == (4, 2)
