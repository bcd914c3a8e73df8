"""Measures of trees: all nodes, roots and sides of the middle, counted by hand, beside rules."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from lmgen.applied.tree import TreeLabeller, TreePrediction
from lmgen.data.reading import Piece
from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.evaluation.cards import treecard
from lmgen.networks import tree as network
from lmgen.networks.tree import TreeConfig
from lmgen.structured import trees

VOCAB, LABELS = Vocab("word", ("a", "b")), ("0", "1", "2", "3", "4")
CONFIG = TreeConfig(len(VOCAB), size=4, embedding=3, labels=LABELS, words=len(VOCAB))


def of(text):
    return [*map(trees.tree_of, trees.outlines([Piece(text, True, True, 0)], Path("text")))]


class Fixed(TreeLabeller):
    """A model whose probabilities are given."""

    def predict(self, texts):
        for tree, p in zip(texts, SHARES, strict=True):
            best = p.argmax(-1)
            yield TreePrediction(tree, tuple(LABELS[k] for k in best), tuple(p.max(-1)), p)


GOLD = of("(4 (0 a) (2 b)) (1 a) (2 (2 b) (3 new)) (3 b)")
SHARES = [
    np.array([[0.1, 0.1, 0.4, 0.2, 0.2], [0.9, 0.1, 0, 0, 0], [0, 0, 1, 0, 0]]),  # root: 2, wrong; 0.4 above to 0.2 below
    np.array([[0.0, 0.8, 0.0, 0.1, 0.1]]),  # right
    np.array([[0.0, 0.0, 0.2, 0.8, 0.0], [0, 0, 0.6, 0.4, 0], [0, 0, 0.6, 0.4, 0]]),  # wrong, right, wrong; in the middle
    np.array([[0.3, 0.2, 0.1, 0.4, 0.0]]),  # right; but 0.5 below to 0.4 above
]


def card(config=CONFIG, kind=Fixed):
    return treecard.card(kind(config, network.init(config, jax.random.key(0)), VOCAB), "text", GOLD, baselines=False)


def test_figures_by_hand():
    found = card()
    nodes, roots, binary = found.parts
    assert [part.of for part in found.parts] == ["nodes", "roots", "root_binary"]
    assert (found.sequences, found.symbols, found.unknown) == (4, 6, 1)
    assert (nodes.count, nodes.accuracy) == (8, 5 / 8)
    assert (roots.count, roots.accuracy, found.accuracy) == (4, 2 / 4, 2 / 4)
    assert (binary.count, binary.accuracy) == (3, 2 / 3)
    assert roots.nats == pytest.approx(-np.log([0.2, 0.8, 0.2, 0.4]).mean())
    assert binary.nats == pytest.approx(-np.log([4 / 6, 8 / 10, 4 / 9]).mean())
    assert binary.names == ["below", "above"]
    assert binary.confusion.tolist() == [[1, 0], [1, 1]]
    assert not nodes.baselines
    record = found.as_dict()
    assert record["root_binary"]["accuracy"] == 2 / 3
    assert record["accuracy"] == record["roots"]["accuracy"] == 0.5


def test_a_label_that_training_has_not_seen_is_wrong_and_counted():
    (GOLD[0], kept) = (GOLD[0]._replace(labels=("9", "0", "2")), GOLD[0])
    try:
        nodes, roots, binary = card().parts
    finally:
        GOLD[0] = kept
    assert (nodes.unseen, roots.unseen, binary.count) == (1, 1, 2)


@pytest.mark.parametrize(
    ("labels", "sides"),
    [
        (("0", "1", "2", "3", "4"), ["below", "below", "", "above", "above"]),
        (("-1", "0", "+1"), ["below", "", "above"]),
        (("1", "2", "3", "4"), ["below", "below", "above", "above"]),
        (("0", "1"), None),
        (("NP", "VP", "S"), None),
        (("0.5", "1", "2"), None),
    ],
)
def test_the_side_of_the_middle_that_a_label_is_on(labels, sides):
    found = treecard.sides(labels)
    assert found == (None if sides is None else dict(zip(labels, sides, strict=True)))


def test_other_labels_have_no_sides():
    config = TreeConfig(len(VOCAB), size=4, embedding=3, labels=("NP", "S", "VP"), words=len(VOCAB))
    assert [part.of for part in card(config, TreeLabeller).parts] == ["nodes", "roots"]


def test_a_text_without_trees_is_refused():
    with pytest.raises(InputError, match="no tree in text"):
        treecard.card(TreeLabeller(CONFIG, network.init(CONFIG, jax.random.key(0)), VOCAB), "text", [], baselines=False)
