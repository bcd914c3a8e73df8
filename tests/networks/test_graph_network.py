"""The network of graphs equals one written with dense matrices in float64 NumPy; messages go where the edges lead, no further.

Shapes: n nodes, N cell size, E embedding, K rounds, L labels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import support
from equations import by_hand
from lmgen.data.vocab import UNK, Vocab
from lmgen.networks import graph
from lmgen.networks.graph import GraphConfig, Room, inputs_of
from lmgen.nn import model
from lmgen.nn.cells import CELLS
from lmgen.structured.graphs import Graph, GraphNames, encode

VOCAB = Vocab("word", ("C", "N", "O", "ring", "marked"))
NAMES = GraphNames(("x", "y", "z"), ("A", "B"), False, ("double", "single"))
TINY = GraphConfig(
    len(VOCAB), size=6, embedding=5, rounds=3, labels=NAMES.labels, tags=NAMES.tags, edges=NAMES.edges
)  # fmt: skip
network = jax.jit(graph.logits, static_argnums=(0, 1))


def random_graph(random, nodes=None, directed=False):
    """Several edges between two nodes, loops, nodes with no or several features, unknown names."""
    n = nodes or int(random.integers(1, 9))
    features = [tuple(random.choice([*VOCAB.symbols, "new"], random.integers(0, 3))) for _ in range(n)]
    names = ["double", "single", "", "new"]
    edges = [(*map(int, random.integers(n, size=2)), str(random.choice(names))) for _ in range(random.integers(0, 2 * n + 1))]
    return Graph(tuple(features), tuple(edges), directed)


RANDOM = np.random.default_rng(0)
GRAPHS = [random_graph(RANDOM, directed=k % 3 == 0) for k in range(12)]


def random_params(config, seed=0):
    """Weights of normal size everywhere, the biases and what UNK adds too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(graph.init, config), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(0, 0.3, a.shape).astype(np.float32), shapes)


def packed(graphs, spare=3):
    """Graphs side by side, with filler behind them."""
    data = encode(graphs, VOCAB, NAMES)
    everything = np.arange(len(graphs))
    return inputs_of(data, everything, Room(*(n + spare for n in Room.needed(data, everything))))


def side_by_side(config, params, graphs, precision="f32"):
    """The logits of each graph, computed all at once."""
    found = network(config, precision, params, packed(graphs))
    ends = np.cumsum([len(one.nodes) for one in graphs])
    tags = np.split(np.asarray(found["tags"]), ends)
    return [{"tags": tags[k], "labels": np.asarray(found["labels"][k])} for k in range(len(graphs))]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def by_definition(config, params, one):
    """The logits of one graph alone, with dense matrices: S[v, u, k] arcs with name k lead from u to v."""
    p, n = jax.tree.map(np.float64, params), len(one.nodes)
    x = np.zeros((n, config.embedding))
    for v, node in enumerate(one.nodes):
        for name in node:
            x[v] += p["embedding"][VOCAB.ids.get(name, UNK)]
    S = np.zeros((n, n, len(p["edges"])))
    for s, t, name in one.edges:
        kind = {"": 0, "double": 2, "single": 3}.get(name, UNK)
        S[t, s, kind] += 1
        if not one.directed and s != t:
            S[s, t, kind] += 1
    state = jax.tree.map(np.asarray, CELLS[config.cell].start(n, config.size))
    state = {**state, "h": np.tanh(x @ p["start"]["W"] + p["start"]["b"])}
    heard, sent = p["message"][:, : config.size], p["message"][:, config.size :]
    for _ in range(config.rounds):
        h = np.asarray(state["h"])
        all_pairs = (h @ heard)[:, None, None] + (h @ sent)[None, :, None] + p["edges"]
        m = (S[..., None] * np.maximum(all_pairs, 0)).sum((1, 2))
        state = by_hand(config.cell, p["cell"], state, m[None], np.zeros((1, n), bool))[0]
    hs = np.concatenate([np.asarray(state["h"]), x], 1)
    i, j = np.split(hs @ p["readout"]["W"] + p["readout"]["b"], 2, -1)
    parts = sigmoid(i) * np.tanh(j)
    pooled = np.concatenate([parts.sum(0), parts.mean(0), parts.max(0)])
    return {name: a @ p["heads"][name]["W"] + p["heads"][name]["b"] for name, a in (("tags", hs), ("labels", pooled))}


def assert_close(found, wanted, **tolerance):
    for name in ("tags", "labels"):
        np.testing.assert_allclose(found[name], wanted[name], **({"atol": 1e-5, "rtol": 1e-5} | tolerance))


# ---- the definition ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_logits_are_those_of_dense_matrices_for_every_cell(cell):
    """Side by side with others, which are not seen, nor is filler."""
    config = replace(TINY, cell=cell)
    params = random_params(config)
    for found, one in zip(side_by_side(config, params, GRAPHS), GRAPHS, strict=True):
        assert_close(found, by_definition(config, params, one))


def test_bf16_is_near():
    params = random_params(TINY)
    for found, one in zip(side_by_side(TINY, params, GRAPHS, "bf16"), GRAPHS, strict=True):
        assert_close(found, by_definition(TINY, params, one), atol=0.1, rtol=0.1)


def test_one_by_one_and_side_by_side_are_the_same():
    params = random_params(TINY)
    for found, one in zip(side_by_side(TINY, params, GRAPHS), GRAPHS, strict=True):
        assert_close(found, side_by_side(TINY, params, [one])[0])


def test_neither_the_numbers_of_nodes_nor_the_order_of_edges_matter():
    params, random = random_params(TINY), np.random.default_rng(1)
    for one in (random_graph(random, 9, directed) for directed in (False, True) for _ in range(4)):
        to = random.permutation(9)
        edges = [(int(to[s]), int(to[t]), name) for s, t, name in one.edges]
        random.shuffle(edges)
        nodes = tuple(one.nodes[v] for v in np.argsort(to))
        found, other = side_by_side(TINY, params, [one, Graph(nodes, tuple(map(tuple, edges)), one.directed)])
        assert_close({"tags": other["tags"][to], "labels": other["labels"]}, found)


def test_an_edge_without_direction_is_two_with_one():
    params, random = random_params(TINY), np.random.default_rng(2)
    for _ in range(5):
        one = random_graph(random, 7)
        back = tuple((t, s, name) for s, t, name in one.edges if s != t)
        both, (first, second) = Graph(one.nodes, one.edges + back, True), side_by_side(TINY, params, [one, one])
        assert_close(side_by_side(TINY, params, [both])[0], first)
        assert_close(second, first)


# ---- where messages go -------------------------------------------------------------------------------------------------


def reached(config, graphs):
    """Whether the tags of node v depend on the embedding of node u: bool [v, u], over all nodes of the graphs side by side."""
    inputs = packed(graphs, spare=0)
    params = random_params(config)
    n = len(inputs.slots)

    def tags(rows):  # a row of the table for each node
        return network(config, "f32", {**params, "embedding": rows}, inputs._replace(ids=inputs.owners))["tags"].sum(-1)

    rows = jnp.asarray(np.random.default_rng(3).normal(size=(n, config.embedding)), jnp.float32)
    slopes = jax.jacobian(tags)(rows)
    return (np.abs(slopes).max(-1) > 0)[:-1, :-1]  # without the filler


def chain(n, directed=False):
    return Graph((("C",),) * n, tuple((v, v + 1, "") for v in range(n - 1)), directed)


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
def test_a_node_sees_as_far_as_there_are_rounds(rounds):
    config = replace(TINY, rounds=rounds, size=16)
    distance = np.abs(np.arange(8)[:, None] - np.arange(8))
    np.testing.assert_array_equal(reached(config, [chain(8)]), distance <= rounds)


def test_messages_go_along_the_direction_of_an_edge():
    config = replace(TINY, rounds=2, size=16)
    ahead = np.arange(6)[:, None] - np.arange(6)
    np.testing.assert_array_equal(reached(config, [chain(6, directed=True)]), (ahead >= 0) & (ahead <= 2))


def test_no_message_passes_from_one_graph_to_another():
    config = replace(TINY, rounds=4, size=16)
    found = reached(config, [chain(3), chain(2), chain(4)])
    graph_of = np.repeat([0, 1, 2], [3, 2, 4])
    np.testing.assert_array_equal(found, graph_of[:, None] == graph_of)


def test_a_graph_reads_its_own_nodes_alone():
    inputs = packed([chain(2), chain(3)])
    params, config = random_params(TINY), replace(TINY, rounds=1)
    hs = jnp.asarray(np.random.default_rng(4).normal(size=(len(inputs.slots), config.size + config.embedding)), jnp.float32)
    slopes = np.abs(jax.jacobian(lambda hs: graph.pool(params, hs, inputs, "f32").sum(-1))(hs)).max(-1) > 0
    np.testing.assert_array_equal(slopes[:2, :5], [[True] * 2 + [False] * 3, [False] * 2 + [True] * 3])


def test_gradients_are_finite_where_graphs_are_filler():
    inputs = packed(GRAPHS, spare=9)
    slopes = jax.grad(lambda p: sum(a.sum() for a in network(TINY, "f32", p, inputs).values()))(random_params(TINY))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("rounds", [1, 4])
def test_gradients_of_many_messages_are_the_same_and_take_less_memory(monkeypatch, rounds):
    config, params = replace(TINY, rounds=rounds), random_params(TINY)
    inputs = packed([random_graph(np.random.default_rng(5), 60) for _ in range(40)])

    def slopes(params):
        return jax.grad(lambda p: sum((a**2).sum() for a in graph.logits(config, "f32", p, inputs).values()))(params)

    kept, memory = jax.jit(slopes)(params), support.scratch(slopes, params)
    monkeypatch.setattr(model, "KEPT", 0)
    again = jax.jit(lambda params: slopes(params))(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), again, kept)
    if rounds > 1:
        assert support.scratch(lambda params: slopes(params), params) < memory


def test_what_training_has_not_seen_adds_nothing_at_the_start():
    params = graph.init(TINY, jax.random.key(0))
    known, unknown = Graph((("C",), ())), Graph((("C", "new"), ("new",)))
    assert_close(*side_by_side(TINY, params, [known, unknown]))


def test_dropout_changes_what_is_computed_in_training_alone():
    config, inputs = replace(TINY, dropout=0.5), packed(GRAPHS)
    params = random_params(config)
    first, second = (graph.logits(config, "f32", params, inputs, jax.random.key(k))["labels"] for k in (0, 1))
    assert not np.allclose(first, second)
    assert_close(network(config, "f32", params, inputs), network(TINY, "f32", params, inputs))
