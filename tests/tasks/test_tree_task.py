"""Trees to learn: what a batch weighs, that every tree comes once an epoch, and that no label is read."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from lmgen.data.reading import Piece
from lmgen.data.vocab import Vocab
from lmgen.defaults.config import TrainingConfig
from lmgen.labelled.corpus import UNKNOWN, Labels
from lmgen.networks.tree import TreeConfig
from lmgen.structured import trees
from lmgen.structured.forest import encode
from lmgen.tasks import task_of
from lmgen.training.step import begin, step

VOCAB, LABELS = Vocab("word", ("a", "b", "not")), Labels(("x", "y"))
NETWORK = TreeConfig(len(VOCAB), size=12, embedding=8, labels=LABELS.labels, words=len(VOCAB))


def batches(text, batch=2, window=4, labels=LABELS, seed=0):
    some = map(trees.tree_of, trees.outlines([Piece(text, True, True, 0)], Path("text")))
    return task_of(NETWORK, "f32").batches(encode(some, VOCAB, labels), batch, window, seed)


def epoch(found, number=0):
    return [found[number * found.per_epoch + k] for k in range(found.per_epoch)]


TEXT = "(x (y a) (x b)) (y b) (new (x a) (y (x b) (new a) (x b))) (y (y a) (y b)) (x (x (x a)))" * 4


def test_each_node_counts_once_an_epoch_and_each_root_once_more():
    """What `folded` adds, filler, and labels that training does not know do not count."""
    found = batches(TEXT)
    assert found.per_epoch > 2
    for number in range(2):
        steps = epoch(found, number)
        nodes = [t for one in steps for t in one.targets[one.weights["nodes"] > 0].tolist()]
        roots = [t for one in steps for t in one.targets[one.weights["roots"] > 0].tolist()]
        assert sorted(nodes) == 4 * 8 * [0] + 4 * 6 * [1]
        assert sorted(roots) == 4 * 2 * [0] + 4 * 2 * [1]
        assert {value for one in steps for part in one.weights.values() for value in np.unique(part)} == {0, 1}


def test_steps_have_about_as_many_nodes_in_an_order_that_each_epoch_draws():
    found = batches("(x (y a) (x b))" * 100, batch=5, window=3)
    first, second = epoch(found), epoch(found, 1)
    assert {int((one.weights["nodes"] > 0).sum()) for one in first} == {15}
    again = epoch(batches("(x (y a) (x b))" * 100, batch=5, window=3), 1)
    same = [jax.tree.all(jax.tree.map(np.array_equal, one, other)) for one, other in zip(second, again, strict=True)]
    assert all(same)  # a pure function of the step
    order = batches("".join(f"({'xy'[k % 2]} a)" for k in range(50)), batch=10, window=1)
    targets = [[one.targets.tolist() for one in epoch(order, k)] for k in (0, 1)]
    assert targets[0] != targets[1]


def test_no_label_is_read():
    one, other = batches(TEXT)[0], batches(TEXT.replace("(y", "(x"))[0]
    assert jax.tree.all(jax.tree.map(np.array_equal, one.inputs, other.inputs))
    assert not np.array_equal(one.targets, other.targets)


def test_the_loss_is_the_mean_of_the_nodes_and_that_of_the_roots():
    """With everything at zero each costs ln 2."""
    task, config = task_of(NETWORK, "f32"), TrainingConfig(batch=2, window=4, learning_rate=0.0, steps=1)
    state = begin(task, config)
    state = state._replace(params=jax.tree.map(lambda a: 0 * a, state.params))
    _, nats, _ = step(task, config.optimiser, state, batches(TEXT)[0], 0.0, 0)
    assert float(nats) == pytest.approx(2 * np.log(2), rel=1e-5)


def test_trees_without_a_known_label_have_batches():
    """As when a training goes on with another text."""
    one = batches("(new (new a) (new b))")[0]
    assert set(one.targets.tolist()) == {UNKNOWN}
    assert not one.weights["nodes"].any()


@pytest.mark.parametrize("cell", ["elman", "lstm"])
def test_it_learns_what_depends_on_the_order_of_the_tree(cell):
    """ "not" turns what it stands before: (not a) is y where a is x; what stands before "not" stays."""
    text = "(x a) (y b) (y (x not) (x a)) (x (x not) (y b)) (x (x a) (x not)) (y (y b) (x not)) (x (x not) (y (x not) (x a)))"
    network = TreeConfig(len(VOCAB), cell, size=16, embedding=8, labels=LABELS.labels, words=len(VOCAB))
    some = [*map(trees.tree_of, trees.outlines([Piece(text, True, True, 0)], Path("text")))]
    task, config = task_of(network, "f32"), TrainingConfig(16, 4, 0.02, steps=150, weight_decay=0.0)
    data, state = task.batches(encode(some, VOCAB, LABELS), 16, 4, 0), begin(task, config)
    losses = []
    for number in range(150):
        state, nats, _ = step(task, config.optimiser, state, data[number], 0.02, number)
        losses.append(float(nats))
    assert np.mean(losses[-20:]) < 0.7  # of 2 ln 2; what is read as UNK cannot be known
