"""Trees in brackets: what is read, printed, refused and recognised."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgen.data.reading import Piece
from lmgen.errors import InputError
from lmgen.structured import trees
from lmgen.structured.trees import DEEPEST, LARGEST, LONGEST, Tree, Trees, recognise

SENTENCE = "(3 (2 It) (4 (2 's) (3 good)))"
SENTIMENT = f"{SENTENCE}\n(1 (1 (2 not) (3 good)) (2 .))\n(2 (2 a) (2 film))\n(4 (2 a) (4 (4 great) (2 film)))\n"


def written(path, text):
    path.write_text(text, "utf-8", newline="")
    return path


def read(text, known=None):
    """The trees of a text."""
    return [
        trees.tree_of(one, known)
        for one in trees.outlines([Piece(line, True, True, 1) for line in text.split("\n")], Path("text"))
    ]


def test_a_tree_by_hand():
    (tree,) = read(SENTENCE)
    assert tree == Tree((-1, 0, 0, 2, 2), ("3", "2", "4", "2", "3"), (None, "It", None, "'s", "good"), 1)
    assert tree.leaves == ("It", "'s", "good")
    assert tree.joined == "It 's good"
    assert tree.spans == [(0, 3), (0, 1), (1, 3), (1, 2), (2, 3)]
    assert tree.brackets("abcde") == "(a (b It) (c (d 's) (e good)))"


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "(3 good)",
        "(S (VP (VB (x go))))",  # a unary chain
        "(S (A a) (B b) (C c) (D (E e) (F f) (G g)))",  # any number of children
        "(NP (-LRB- -LRB-) (NN x) (-RRB- -RRB-))",
        '(0 (label,with"marks (1\\/2 é)) (😀 no\u00a0break))',
    ],
)
def test_what_is_read_is_printed_again(text):
    assert [tree.brackets() for tree in read(text)] == [text]


@st.composite
def shapes(draw):
    """A tree by the parent of each node, with labels and words."""
    parents = [-1]
    for k in range(1, draw(st.integers(1, 12))):
        path = [k - 1]  # a new node belongs to the newest one, or to a node above it
        while path[-1] >= 0:
            path.append(parents[path[-1]])
        parents.append(draw(st.sampled_from(path[:-1])))
    token = st.text(st.characters(blacklist_characters="() \t\n\r\v\f", blacklist_categories=["Cs"]), min_size=1, max_size=3)
    labels = tuple(draw(token) for _ in parents)
    return Tree(tuple(parents), labels, tuple(None if k in parents else draw(token) for k in range(len(parents))), 1)


@given(shapes())
def test_any_tree_is_read_as_it_was_printed(tree):
    assert read(tree.brackets()) == [tree]
    bare = tree._replace(labels=(None,) * len(tree.labels))
    assert [one.joined for one in read(bare.brackets(), ())] == [tree.joined]


def test_a_tree_may_take_several_lines_and_a_line_several_trees():
    assert [(tree.brackets(), tree.line) for tree in read(f"\n(S\n  (A a)\n\n  (B b)) (C c)\n{SENTENCE}")] == [
        ("(S (A a) (B b))", 2),
        ("(C c)", 5),
        (SENTENCE, 6),
    ]


def test_a_line_of_many_megabytes_is_read_like_any_other(tmp_path):
    """It comes in pieces, which may part a word."""
    path = written(tmp_path / "t", "".join(f"(3 (2 {k:07}) (4 good))" for k in range(100_000)))
    assert [int(tree.leaves[0]) for tree in Trees([path])] == [*range(100_000)]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("((not (very good)) though)", "(((not) ((very) (good))) (though))"),
        ("((not) ((very) (good)))", "((not) ((very) (good)))"),
        ("(not (very good))", "((not) ((very) (good)))"),  # fits the form with labels, but these are none
        ("(good)", "(good)"),
        ("(2 (3 good) (9 film))", "(2 (3 good) (9 film))"),  # labels, of which one is new
    ],
)
def test_trees_without_labels_are_told_by_the_labels_that_are_known(text, tree):
    assert [one.brackets() for one in read(text, ("2", "3"))] == [tree]


def test_a_bracket_without_a_label_may_stand_around_the_whole():
    """So the Penn Treebank writes each of its trees."""
    tree = "(S (NP (DT The) (NN cat)) (VP (VBZ is) (-LRB- -LRB-)) (. .))"
    assert [one.brackets() for one in read(f"( {tree} )\n( (S (NP it)\n (VP rains)) )")] == [tree, "(S (NP it) (VP rains))"]
    assert [one.brackets() for one in read(f"({tree})", ("S",))] == [tree]


WRONG = {
    "((3 (2 a)) )(((2 a)))": "line 1: a bracket without a label",
    "(3 (2 a) (2 b)": "line 1: a bracket is not closed",
    "\n(3 (2 a)\n((2 b": "line 2: 3 brackets are not closed",
    f"{SENTENCE}\n(2 a))": r"line 2: a \) closes nothing",
    "(2 a)\nprose (2 b)": "line 2: 'prose' stands outside of brackets",
    "((2 a) (2 b))": "line 1: a bracket without a label",
    "(2 a)\n()": "line 2: a bracket without a label",
    "(2)": "the bracket labelled '2' holds nothing else",
    "(2 a b)": "the bracket labelled '2' holds several words",
    "(2 a (3 b))": "the bracket labelled '2' holds several words",
    "(2 (3 b) a)": "the bracket labelled '2' holds words beside brackets",
    "(" * (1 << 20): f"line 1: over {DEEPEST:,} brackets are open",
    "(2 " * 100_000 + "x" + ")" * 100_000: f"line 1: over {DEEPEST:,} brackets are open",
    "(2 " + "x" * (LONGEST + 1) + ")": "line 1: a word of over",
    "(2 " + "(2 x)" * (LARGEST + 1) + ")": "line 1: the tree has over 65,536 nodes",
    "(2" + " x" * (5 * LARGEST) + ")": "line 1: the tree has over 65,536 nodes",
    ")": r"line 1: a \) closes nothing",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:20])
def test_what_is_no_tree_is_refused_with_its_line(tmp_path, text):
    with pytest.raises(InputError, match=WRONG[text]) as found:
        [*Trees([written(tmp_path / "trees.txt", text)])]
    assert "trees.txt" in str(found.value)
    assert len(str(found.value)) < 300


@pytest.mark.parametrize("known", [("2",), ()])
@given(st.text(st.sampled_from("(()) 23ab\n\t'\x00\u00a0é")))
def test_any_text_is_trees_or_is_refused_in_a_sentence(known, text):
    for labels in (None, known):
        try:
            found = read(text, labels)
        except InputError:
            continue
        for tree in found:
            assert read(tree.brackets(), labels)[0].joined == tree.joined


def test_a_whole_pass_leaves_fingerprint_and_notes(tmp_path):
    one = Trees([written(tmp_path / "a", f"\ufeff{SENTENCE}\r\n")])
    two = Trees([*one.paths, *one.paths])
    assert not one.sha256
    assert [*two] == 2 * [*one]
    assert len(one.sha256) == len(two.sha256) == 64
    assert one.sha256 != two.sha256
    assert any("byte-order mark" in note for note in one.notes)


def test_trees_are_recognised(tmp_path):
    found = recognise([written(tmp_path / "trees.txt", SENTIMENT)])
    assert found
    assert (found.form, found.task) == ("trees", "tree")
    assert "4 different labels in 4 trees" in found.reason
    over_lines = SENTIMENT.replace(" (", "\n  (")
    assert recognise([written(tmp_path / "over.txt", over_lines)])
    assert recognise([written(tmp_path / "long.txt", over_lines * 2000)])  # cut within a tree
    assert recognise([written(tmp_path / "long.txt", SENTIMENT * 2000)])
    assert recognise([tmp_path / "trees.txt", tmp_path / "over.txt"])
    assert recognise([written(tmp_path / "damaged.txt", SENTIMENT * 50 + "(2 (2 a\n")])  # reading it says what is wrong


OTHERS = {
    "nothing": "",
    "prose": "(Applause.) He said (as always) nothing.\n(She left.)\n" * 20,
    "lines in brackets": "(he said)\n(she said)\n(it rained)\n" * 20,
    "sums": "(+ 1 (* 2 3))\n(* (+ 1 2) 3)\n" * 20,
    "lisp": "(defun fact (n) (if (< n 2) 1 (* n (fact (- n 1)))))\n(print (fact 10))\n" * 20,
    "lisp, calls": "(require 'a)\n(load x)\n(provide 'b)\n" * 20,
    "records": "(person (name Bob) (age 3))\n(person (name Eve) (age 4))\n" * 20,
    "dune": "(library\n (name a)\n (libraries b))\n(executable (name main))\n" * 20,
    "sql": "CREATE TABLE a (b int, c (d));\nINSERT INTO a VALUES (1, 2), (3, 4);\n" * 20,
    "tuples": "(1, 2)\n(3, 4)\n" * 20,
    "trees without labels": "((a b) (c d))\n" * 20,
    "trees among prose": (SENTENCE + "\nand so on\n") * 20,
    "open brackets": "(" * 5000,
}


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_is_taken_for_trees(tmp_path, name):
    path = written(tmp_path / "text.txt", OTHERS[name])
    assert recognise([path]) is None
    assert recognise([written(tmp_path / "trees.txt", SENTIMENT), path]) is None


def test_a_binary_file_is_not_taken_for_trees(tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(bytes(range(256)) * 100)
    assert recognise([path]) is None
    with pytest.raises(InputError, match="binary"):
        [*Trees([path])]
    with pytest.raises(InputError, match="there is no"):
        recognise([tmp_path / "missing"])
