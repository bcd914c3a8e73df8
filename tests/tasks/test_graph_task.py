"""Graphs to learn: what a batch holds and weighs, that a step is a pure function of its number, and that paths are learnt."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lmgen.data.vocab import Vocab
from lmgen.defaults.config import TrainingConfig
from lmgen.labelled.corpus import UNKNOWN
from lmgen.networks.graph import GraphConfig
from lmgen.structured.graphs import Graph, GraphNames, encode
from lmgen.tasks import task_of
from lmgen.training.step import begin, step

VOCAB = Vocab("word", tuple(f"n{k}" for k in range(60)))
NAMES = GraphNames(("x", "y"), ("A", "B"))
NETWORK = GraphConfig(len(VOCAB), size=16, embedding=8, rounds=3, labels=NAMES.labels, tags=NAMES.tags)


def graphs(count, seed=0):
    """Graph k: its first node is nk; its label and the tag of each node follow from k and the node's number."""
    random, found = np.random.default_rng(seed), []
    for k in range(count):
        n = int(random.integers(1, 9))
        edges = tuple((int(a), int(b), "") for a, b in random.integers(n, size=(random.integers(0, 9), 2)))
        tags = tuple((None, "A", "B")[(k + v) % 3] for v in range(n))
        found.append(Graph(((f"n{k}",),) * n, edges, False, ("xyz"[k % 3],), tags))
    return found


def batches(data, nodes=24, seed=0, network=NETWORK):
    return task_of(network, "f32").batches(encode(data, VOCAB, network.names), 1, nodes, seed)


def test_each_graph_stands_in_one_step_of_an_epoch_with_its_label_and_tags():
    data = graphs(60)
    found = batches(data)
    for epoch in (0, 1):
        seen = []
        for k in range(epoch * found.per_epoch, (epoch + 1) * found.per_epoch):
            one = found[k]
            for slot in np.flatnonzero(one.inputs.sizes):
                nodes = np.flatnonzero(one.inputs.slots == slot)
                (name,) = {VOCAB.spell(id) for id, owner in zip(one.inputs.ids, one.inputs.owners, strict=True) if owner in nodes}
                number = int(name[1:])
                seen.append(number)
                assert len(nodes) == len(data[number].nodes) == one.inputs.sizes[slot]
                wanted = [UNKNOWN if tag is None else "AB".index(tag) for tag in data[number].tags]
                assert one.targets["tags"][nodes].tolist() == wanted
                assert one.weights["tags"][nodes].tolist() == [float(tag != UNKNOWN) for tag in wanted]
                label = {"x": 0, "y": 1}.get(data[number].labels[0], UNKNOWN)
                assert (one.targets["labels"][slot], one.weights["labels"][slot]) == (label, float(label != UNKNOWN))
            filler = one.inputs.slots == len(one.inputs.sizes) - 1
            assert filler[-1]
            assert not one.weights["tags"][filler].any()
            assert not one.weights["labels"][one.inputs.sizes == 0].any()
        assert sorted(seen) == [*range(60)]


def test_a_step_depends_on_its_number_and_the_seed_alone():
    data = graphs(60)
    first, second, other = batches(data), batches(data), batches(data, seed=1)
    for k in (7, 0, 3 * first.per_epoch + 1, 2):
        assert jax.tree.all(jax.tree.map(np.array_equal, first[k], second[k]))
    assert any(not np.array_equal(first[k].inputs.ids, other[k].inputs.ids) for k in range(3))
    assert not np.array_equal(first[0].inputs.ids, first[first.per_epoch].inputs.ids)


def test_steps_are_of_few_shapes_and_of_about_the_nodes_asked_for():
    data = graphs(3_000)
    data = [one._replace(nodes=((f"n{k % 60}",),) * len(one.nodes)) for k, one in enumerate(data)]
    found = batches(data, nodes=200)
    shapes = {tuple(a.shape for a in found[k].inputs) for k in range(2 * found.per_epoch)}
    assert len(shapes) <= 3
    assert all(200 <= len(found[k].inputs.slots) <= 300 for k in range(found.per_epoch))


def test_a_graph_larger_than_a_step_is_a_step():
    large = Graph((("n0",),) * 500, tuple((v, v + 1, "") for v in range(499)), False, ("x",))
    found = batches([*graphs(20), large])
    assert 500 in {int(found[k].inputs.sizes.max()) for k in range(found.per_epoch)}


def test_several_labels_are_all_targets():
    network = GraphConfig(len(VOCAB), size=4, embedding=4, rounds=1, labels=NAMES.labels, several=True)
    data = [Graph((("n0",),), labels=("x", "y")), Graph((("n1",),)), Graph((("n2",),), labels=("y",))]
    one = batches(data, network=network)[0]
    found = {VOCAB.spell(id): tuple(one.targets["labels"][k]) for k, id in enumerate(one.inputs.ids[:3])}
    assert found == {"n0": (True, True), "n1": (False, False), "n2": (False, True)}
    assert one.weights["labels"][:4].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("rounds", [1, 2])
def test_that_two_nodes_are_neighbours_of_one_takes_a_round(rounds):
    """Marked nodes at the ends of a path of two edges, or of a path and a node apart: without edges both are the same bag."""
    vocab, random = Vocab("word", ("marked", "plain")), np.random.default_rng(0)
    network = GraphConfig(len(vocab), size=16, embedding=8, rounds=rounds, labels=("apart", "joined"))
    data = []
    for k in range(200):
        to, edges = random.permutation(6), ((0, 1), (1, 2), (3, 4), (4, 5))
        ends = (0, 2) if k % 2 else (0, 3)
        nodes = tuple(("marked",) if v in to[[*ends]] else ("plain",) for v in range(6))
        data.append(Graph(nodes, tuple((int(to[s]), int(to[t]), "") for s, t in edges), False, (("apart", "joined")[k % 2],)))
    task, config = task_of(network, "f32"), TrainingConfig(1, 600, 0.02, steps=60)
    state, found = begin(task, config), task.batches(encode(data, vocab, network.names), 1, 600, 0)
    for k in range(60):
        state, nats, _ = step(task, config.optimiser, state, found[k], 0.02, k)
    assert float(nats) < 0.05
