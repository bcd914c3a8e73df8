"""Networks over trees against loops in float64, one node at a time: states, gradients, and that a node sees its subtree alone.

Shapes: M nodes, N cell size, K labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.data.reading import Piece
from lmgen.data.vocab import UNK, Vocab
from lmgen.labelled import spelling
from lmgen.labelled.corpus import Labels
from lmgen.networks import tree as network
from lmgen.networks.labelling import nats
from lmgen.networks.tree import CELLS, TreeConfig, inputs_of, logits
from lmgen.networks.words import Spelt
from lmgen.structured import trees
from lmgen.structured.forest import encode, steps

VOCAB, LABELS = Vocab("word", ("a", "b", "c", "d")), Labels(("x", "y", "z"))
TINY = TreeConfig(len(VOCAB), size=5, embedding=4, labels=LABELS.labels, words=len(VOCAB))
TEXT = """(x (y a) (z (x b) (y c)))
(x d)
(x (y (z (x (y a)))) (z (x new) (y b) (z c) (y (x d) (y a)) (x b)))
(x (y (y (y (y a) (x b)) (x c)) (x d)) (z other))
(y a)"""
TREES = [*map(trees.tree_of, trees.outlines([Piece(TEXT, True, True, 0)], Path("text")))]


def random_params(config, seed=0):
    params = network.init(config, jax.random.key(seed))
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda p: p + 0.3 * draw.normal(size=p.shape).astype(np.float32), params)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def recursive(p, x, left, right):
    """The state (h,) of a node of a recursive network."""
    return (np.tanh(x @ p["W"] + np.concatenate([left[0], right[0]]) @ p["U"] + p["b"]),)


def tree_lstm(p, x, left, right):
    """The state (h, c) of a node of a Tree-LSTM."""
    N = len(left[0])
    gate = [x @ p["W"][:, k * N : (k + 1) * N] + p["b"][k * N : (k + 1) * N] for k in range(5)]
    for k in range(5):
        gate[k] = gate[k] + left[0] @ p["U"][:N, k * N : (k + 1) * N] + right[0] @ p["U"][N:, k * N : (k + 1) * N]
    i, f_left, f_right, o = map(sigmoid, gate[:4])
    c = i * np.tanh(gate[4]) + f_left * left[1] + f_right * right[1]
    return o * np.tanh(c), c


NODES = {"elman": (recursive, 1), "lstm": (tree_lstm, 2)}


def by_hand(config, params, tree):
    """The logits [M, K] of a tree in float64, node after node; a node of many children reads them one after the other."""
    node, parts = NODES[config.cell]
    p, N = params["cell"], config.size
    nothing = tuple(np.zeros(N) for _ in range(parts))
    states = {}
    for k in reversed(range(len(tree.parents))):
        children = [child for child, parent in enumerate(tree.parents) if parent == k]
        if not children:
            id = VOCAB.ids.get(tree.words[k], UNK)
            states[k] = node(p, params["embedding"][id], nothing, nothing)
            continue
        none = np.zeros(p["W"].shape[0])
        state = states[children[0]]
        for child in children[1:]:
            state = node(p, none, state, states[child])
        states[k] = node(p, none, state, nothing) if len(children) == 1 else state
    hs = np.stack([states[k][0] for k in range(len(tree.parents))])
    return hs @ params["head"]["W"] + params["head"]["b"]


def in_batch(config, params, some, width=3):
    """The logits [M, K] of each tree, read together."""
    data = encode(some, VOCAB, LABELS)
    found = steps(data, np.arange(len(some)), width)
    letters = spelling.hashed(["", "", *VOCAB.symbols, *data.others]) if config.hashed else None
    read = logits(config, "f32", params, inputs_of(data, found, Spelt(letters)))
    rows = {int(node): k for k, node in enumerate(found.nodes) if node >= 0}
    return [jnp.stack([read[rows[int(at) + k]] for k in range(own)]) for at, own in zip(data.starts, data.own, strict=False)]


def wide(params):
    return jax.tree.map(lambda p: np.asarray(p, np.float64), params)


@pytest.mark.parametrize("cell", CELLS)
def test_many_trees_at_once_are_each_as_a_loop_over_its_nodes(cell):
    """With unary chains, five children, unknown words, and trees of a single word."""
    config = replace(TINY, cell=cell)
    params = random_params(config)
    for tree, read in zip(TREES, in_batch(config, params, TREES), strict=True):
        np.testing.assert_allclose(read, by_hand(config, wide(params), tree), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_tree_is_read_alone_as_among_others(cell, hashed):
    config = replace(TINY, cell=cell, hashed=hashed)
    params = random_params(config)
    for tree, read in zip(TREES, in_batch(config, params, TREES, width=8), strict=True):
        (alone,) = in_batch(config, params, [tree], width=1)
        np.testing.assert_allclose(read, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_is_that_of_the_loop(cell):
    """By central differences in float64, along random directions."""
    config = replace(TINY, cell=cell)
    params = random_params(config)
    data = encode(TREES, VOCAB, LABELS)
    found = steps(data, np.arange(len(TREES)), 3)
    inputs = inputs_of(data, found, Spelt())
    targets, counted = data.labels[found.nodes], (found.nodes >= 0) & (data.labels[found.nodes] >= 0)

    def loss(params):
        return (nats(logits(config, "f32", params, inputs), targets) * counted).sum()

    def loop(params):
        each = [(by_hand(config, params, tree), [LABELS.label_ids[label] for label in tree.labels]) for tree in TREES]
        return sum(np.log(np.exp(z).sum(-1)).sum() - z[np.arange(len(z)), gold].sum() for z, gold in each)

    assert float(loss(params)) == pytest.approx(loop(wide(params)), rel=1e-5)
    gradient, draw = jax.grad(loss)(params), np.random.default_rng(0)
    for _ in range(5):
        way = jax.tree.map(lambda p: draw.normal(size=p.shape), wide(params))
        ahead, behind = (loop(jax.tree.map(lambda p, w, s=s: p + s * 1e-5 * w, wide(params), way)) for s in (1, -1))
        slope = sum(float((g * w).sum()) for g, w in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True))
        assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-3, abs=1e-3)


def test_a_recursive_network_by_hand():
    """W and U with a single number: h(a) = tanh 1, h(b) = tanh −1, and of (a b) and (b a) by their order."""
    config = replace(TINY, cell="elman", size=1, embedding=1)
    params = {
        "embedding": np.array([[0], [0], [1], [-1], [0], [0]], np.float32),
        "cell": {"W": np.ones((1, 1)), "U": np.array([[2.0], [0.5]]), "b": np.zeros(1)},
        "head": {"W": np.array([[1.0, 0, 0]]), "b": np.zeros(3)},
    }
    text = "(x (y a) (z b)) (x (y b) (z a)) (x (y a))"
    some = [*map(trees.tree_of, trees.outlines([Piece(text, True, True, 0)], Path("text")))]
    one, other, unary = (read[:, 0] for read in in_batch(config, params, some))
    a = np.tanh(1)
    np.testing.assert_allclose(one, [np.tanh(2 * a - 0.5 * a), a, -a], rtol=1e-6)
    np.testing.assert_allclose(other, [np.tanh(-2 * a + 0.5 * a), -a, a], rtol=1e-6)
    np.testing.assert_allclose(unary, [np.tanh(2 * a), a], rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_node_sees_the_words_of_its_subtree_alone_and_all_of_them(cell):
    config = replace(TINY, cell=cell)
    params = random_params(config)
    data = encode(TREES, VOCAB, LABELS)
    found = steps(data, np.arange(len(TREES)), 3)
    inputs = inputs_of(data, found, Spelt())
    xs = jnp.asarray(params["embedding"])[inputs.ids]

    def outputs(xs):
        return network.states(CELLS[cell], "f32", params["cell"], xs, inputs.left, inputs.right)[:-1, : config.size].sum(-1)

    seen = np.abs(np.asarray(jax.jacobian(outputs)(xs))).max(-1) > 0  # [M, L]
    row = {int(node): k for k, node in enumerate(found.nodes) if node >= 0}
    for at, tree in zip(data.starts, TREES, strict=False):
        leaves = [k for k, word in enumerate(tree.words) if word is not None]
        for k, (start, end) in enumerate(tree.spans):
            wanted = {row[int(at) + leaf] for leaf in leaves[start:end]}
            assert set(np.flatnonzero(seen[row[int(at) + k]]).tolist()) == wanted


@pytest.mark.parametrize("cell", CELLS)
def test_the_order_of_the_children_counts(cell):
    text = "(x (y a) (z b)) (x (z b) (y a)) (x (y a) (z b) (x c)) (x (z b) (y a) (x c))"
    some = [*map(trees.tree_of, trees.outlines([Piece(text, True, True, 0)], Path("text")))]
    roots = [np.asarray(read[0]) for read in in_batch(replace(TINY, cell=cell), random_params(replace(TINY, cell=cell)), some)]
    assert np.abs(roots[0] - roots[1]).max() > 1e-3
    assert np.abs(roots[2] - roots[3]).max() > 1e-3


def test_dropout_is_in_training_alone_and_drawn_by_its_key():
    config = replace(TINY, dropout=0.5)
    params, data = random_params(config), encode(TREES, VOCAB, LABELS)
    inputs = inputs_of(data, steps(data, np.arange(len(TREES)), 3), Spelt())
    read = [np.asarray(logits(config, "f32", params, inputs, key)) for key in (None, None, *map(jax.random.key, (1, 1, 2)))]
    assert np.array_equal(read[0], read[1])
    assert np.array_equal(read[2], read[3])
    assert not np.array_equal(read[0], read[2])
    assert not np.array_equal(read[2], read[4])
