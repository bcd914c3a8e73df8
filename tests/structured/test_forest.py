"""Trees in numbers: made binary, split and coded, and the steps in which many are read at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgen.data.reading import Piece
from lmgen.data.vocab import EOS, SPECIAL, Vocab
from lmgen.errors import InputError
from lmgen.labelled.corpus import UNKNOWN, Labels
from lmgen.structured import forest, trees
from lmgen.structured.forest import NONE, encode, folded, load, rounded, steps
from lmgen.structured.trees import DEEPEST, Tree, Trees

VOCAB, LABELS = Vocab("word", ("a", "b")), Labels(("x", "y"))


def of(text):
    """The trees of a text."""
    return [*map(trees.tree_of, trees.outlines([Piece(text, True, True, 0)], Path("text")))]


def random_tree(draw, nodes):
    """A tree of words a, b or c and labels x, y or z; each node hangs below one on the path to the newest."""
    parents = [-1]
    for k in range(1, nodes):
        at = k - 1
        while parents[at] >= 0 and draw.random() < 0.6:
            at = parents[at]
        parents.append(at)
    words = tuple(None if k in parents else draw.choice([*"abc"]) for k in range(nodes))
    return Tree(tuple(parents), tuple(draw.choice([*"xyz"], nodes).tolist()), words)


def some_trees(seed=0, count=30, most=25):
    draw = np.random.default_rng(seed)
    return [random_tree(draw, int(draw.integers(1, most))) for _ in range(count)]


def test_a_node_of_many_children_is_folded_from_the_left():
    """(S A B C D) is read as (((A B) C) D); an only child is a left one."""
    (tree,) = of("(S (A a) (B b) (C c) (D (E e)))")
    left, right, depths = folded(tree.parents)
    assert tree.labels == ("S", "A", "B", "C", "D", "E")
    assert left == [7, NONE, NONE, NONE, 5, NONE, 1, 6]
    assert right == [4, NONE, NONE, NONE, NONE, NONE, 2, 3]
    assert depths == [0, 3, 3, 2, 1, 2, 2, 1]


@given(st.integers(0, 10_000))
def test_folding_keeps_the_words_in_their_order_and_depths_are_true(seed):
    tree = random_tree(np.random.default_rng(seed), 1 + seed % 30)
    left, right, depths = folded(tree.parents)
    words, waiting, seen = [], [(0, 0)], []
    while waiting:
        node, depth = waiting.pop()
        seen.append(node)
        assert depths[node] == depth
        assert (left[node] == NONE) == (node < len(tree.words) and tree.words[node] is not None)
        words += [tree.words[node]] if left[node] == NONE else []
        waiting += [(child, depth + 1) for child in (right[node], left[node]) if child != NONE]
    assert tuple(words) == tree.leaves
    assert sorted(seen) == [*range(len(left))]


def test_trees_in_numbers():
    data = encode(of("(x (y a) (z c)) (y b) (y (x a) (x (y a) (y c)) (x d))"), VOCAB, LABELS)
    a, b, c, d = SPECIAL, SPECIAL + 1, len(VOCAB), len(VOCAB) + 1
    assert data.others == ["c", "d"]
    assert data.starts.tolist() == [0, 3, 4, 11]
    assert data.own.tolist() == [3, 1, 6]
    assert data.words.tolist() == [EOS, a, c, b, EOS, a, EOS, a, c, d, EOS]
    assert data.labels.tolist() == [0, 1, UNKNOWN, 1, 1, 0, 0, 1, 1, 0, UNKNOWN]
    assert data.left.tolist() == [1, NONE, NONE, NONE, 10, NONE, 7, NONE, NONE, NONE, 5]
    assert data.right.tolist() == [2, NONE, NONE, NONE, 9, NONE, 8, NONE, NONE, NONE, 6]
    assert (data.symbols, data.sequences) == (10, 3)


@pytest.mark.parametrize("width", [1, 3, 8, 64])
def test_every_node_is_read_once_and_after_its_children(width):
    data = encode(some_trees(), VOCAB, LABELS)
    chosen = np.random.default_rng(1).permutation(data.sequences)[:20]
    found = steps(data, chosen, width)
    wanted = [node for k in chosen for node in range(data.starts[k], data.starts[k + 1])]
    assert sorted(found.nodes[found.nodes >= 0].tolist()) == sorted(wanted)
    assert (data.left[found.nodes[: found.leaves][found.nodes[: found.leaves] >= 0]] == NONE).all()
    nothing = found.leaves + found.left.size
    nodes = np.append(found.nodes, NONE)
    for row, (left, right) in enumerate(zip(found.left.ravel(), found.right.ravel(), strict=True), found.leaves):
        begins = found.leaves + (row - found.leaves) // width * width  # of its step
        node = nodes[row]
        assert all(child < begins or child == nothing for child in (left, right))
        assert (nodes[left], nodes[right]) == ((data.left[node], data.right[node]) if node >= 0 else (NONE, NONE))


def test_steps_are_about_as_few_as_can_be():
    """There can be no fewer than levels above the leaves, nor than nodes by width."""
    data = encode(some_trees(count=60, most=60), VOCAB, LABELS)
    for width in (2, 8, 32, 1000):
        found = steps(data, np.arange(data.sequences), width)
        inner = int((data.left != NONE).sum())
        least = max(int(data.depths.max()), -(-inner // width))
        assert len(found.left) <= rounded(least + 3)


def test_steps_have_few_shapes():
    assert [rounded(n) for n in (0, 1, 8, 9, 12, 13, 17, 25, 33, 49, 97)] == [8, 8, 8, 12, 12, 16, 24, 32, 48, 64, 128]
    data = encode(some_trees(count=200), VOCAB, LABELS)
    draw = np.random.default_rng(0)
    shapes = {steps(data, draw.permutation(200)[:32], 32)[1].shape for _ in range(30)}
    assert len(shapes) <= 3


def test_no_tree_and_single_words_have_steps():
    data = encode(of("(x a) (y b)"), VOCAB, LABELS)
    assert steps(data, np.arange(2), 8).left.shape == (0, 8)
    assert (steps(data, np.arange(0), 8).nodes == -1).all()


def test_too_many_levels_are_refused():
    with pytest.raises(InputError, match=f"line 1 is over {DEEPEST:,} levels deep"):
        encode(of("(x " + "(y a)" * (DEEPEST + 2) + ")"), VOCAB, LABELS)
    assert encode(of("(x " + "(y a)" * (DEEPEST + 1) + ")"), VOCAB, LABELS).depths.max() == DEEPEST


@pytest.fixture
def text(tmp_path):
    """Writes a file of trees, each line of which gets a number as a word, and gives its reader."""

    def write(lines, name="trees.txt"):
        (tmp_path / name).write_text("".join(f"(x (y a) (y {line}))\n" for line in lines), "utf-8")
        return Trees([tmp_path / name])

    return write


def test_a_tenth_is_held_out_by_its_words(text):
    numbers = [*range(600), *range(300)]
    data = load(text(numbers), None)
    assert data.valid.sequences + data.train.sequences == 900
    assert 60 < data.valid.sequences < 120
    assert len(data.known) == 600
    held = {data.valid.others[id - len(data.vocab)] for id in data.valid.words.tolist() if id >= len(data.vocab)}
    assert not held & set(data.vocab.symbols)  # equal trees are on one side
    assert len(held) > 30
    assert data.labels.labels == ("x", "y")
    again = load(text(numbers), None, vocab=data.vocab, labels=data.labels, split=data.split)
    assert again.sha256 == data.sha256
    assert np.array_equal(again.train.words, data.train.words)


def test_vocabulary_and_labels_are_those_of_the_training_text(text, tmp_path):
    (tmp_path / "valid.txt").write_text("(z (y new) (y a))\n")
    data = load(text([1, 2, 1]), Trees([tmp_path / "valid.txt"]), min_count=2)
    assert data.vocab.symbols == ("a", "1")
    assert data.valid.labels.tolist() == [UNKNOWN, 1, 1]
    assert data.valid.others == ["new"]
    assert data.train.others == ["2"]
    assert data.sha256.count("+") == 1


def test_nothing_to_train_on_is_refused(tmp_path):
    for content, why in (("\n", "there is no tree"), ("(x (x a) (x b))", "only the label 'x'")):
        (tmp_path / "t").write_text(content)
        with pytest.raises(InputError, match=why):
            load(Trees([tmp_path / "t"]), None)


def test_known_words_have_the_vectors_made_elsewhere(text, tmp_path):
    (tmp_path / "vectors.txt").write_text("a 1 2\nnever 3 4\n")
    data = load(text([1, 2]), None, vectors_of=tmp_path / "vectors.txt")
    assert data.vectors[data.vocab.ids["a"]].tolist() == [1, 2]
    assert data.vectors[data.vocab.ids["never"]].tolist() == [3, 4]
    assert data.vocab.ids["never"] >= data.seen
    assert "1 of 3 words" in data.notes[-1]
    assert forest.encode(of("(x never)"), data.vocab, data.labels).words.tolist() == [data.vocab.ids["never"]]
