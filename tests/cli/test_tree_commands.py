"""Trees on the command line: trained, predicted from a file and from a pipe, measured, and refused in a sentence."""

from __future__ import annotations

import json

import pytest

import lmgen as library
from lmgen.errors import InputError

SMALL = ["--size", "6", "--embedding", "5", "--batch", "8", "--steps", "12", "--quiet"]


def lines(count):
    """Trees of sums: a word for each number, and at a node whether the sum is below, at or above 3."""
    names = ("none", "one", "two", "three", "four")
    for k in range(count):
        a, b, c = k % 5, k // 5 % 5, k // 25 % 3
        of = [str((n > 3) - (n < 3)) for n in (a + b + c, a, b + c, b, c)]
        yield f"({of[0]} ({of[1]} {names[a]}) ({of[2]} ({of[3]} {names[b]}) ({of[4]} {names[c]})))"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of trees, and the file that it was trained on."""
    folder = tmp_path_factory.mktemp("trees")
    text = folder / "trees.txt"
    text.write_text("".join(f"{line}\n" for line in lines(75)) * 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        library.train(text, output=folder / "model", size=6, embedding=5, batch=8, steps=12)
    return folder / "model"


def test_train_says_what_it_found_and_what_comes_next(lmgen, tmp_path):
    (tmp_path / "trees.txt").write_text("".join(f"{line}\n" for line in lines(75)) * 8)
    code, out, err = lmgen("train", "trees.txt", *SMALL[:-1], "-o", "model")
    assert (code, out) == (0, "")
    assert "trees.txt has 3 different labels in" in err
    assert "learning to label trees" in " ".join(err.split())
    assert "lmgen predict model FILE" in " ".join(err.split())
    code, out, _ = lmgen("show", "model", "--json")
    assert json.loads(out)["task"] == "tree"


def test_predict_prints_the_tree_with_its_labels(lmgen, model, tmp_path):
    tree = "(0 (-1 one) (-1 (-1 one) (-1 new)))"
    shape = "(? (? one) (? (? one) (? new)))"
    code, from_pipe, _ = lmgen("predict", model, stdin=f"{tree}\n((one) ((one) (new)))\n(one (one\n new))")
    assert code == 0
    first, *others = from_pipe.splitlines()
    assert others == [first, first]
    (tmp_path / "t.txt").write_text(tree)
    assert lmgen("predict", model, "t.txt")[1] == f"{first}\n"
    assert lmgen("predict", model, "t.txt", "--above", "1")[1] == f"{shape}\n"
    record = json.loads(lmgen("predict", model, "t.txt", "--json")[1])
    assert record["tree"] == first
    assert record["text"] == "one one new"
    assert [(node["start"], node["end"]) for node in record["nodes"]] == [(0, 3), (0, 1), (1, 3), (1, 2), (2, 3)]
    assert record["label"] == record["nodes"][0]["label"]
    assert all(1 / 3 <= node["probability"] <= 1 for node in record["nodes"])
    (found,) = library.load(model).predict([tree])
    assert found.brackets == first
    assert library.load(model).predict(tree).brackets == first


def test_eval_measures_nodes_roots_and_sides(lmgen, model, tmp_path):
    code, out, _ = lmgen("eval", model, model.parent / "trees.txt", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["nodes"]["count"] == 3000
    assert record["roots"]["count"] == 600
    assert record["root_binary"]["count"] < 600
    assert [rule["name"] for rule in record["roots"]["baselines"]] == ["majority", "naive Bayes"]
    code, out, _ = lmgen("eval", model)  # the trees that were held out
    assert code == 0
    assert "root_binary" in out


def test_labels_that_are_no_numbers_have_no_sides(lmgen, tmp_path):
    (tmp_path / "trees.txt").write_text("(S (NP (NP he)) (VP (V goes) (NP home)))\n(S (NP it) (VP rains))\n" * 20)
    library.train("trees.txt", output="phrases", size=6, embedding=5, batch=8, steps=3)
    code, out, _ = lmgen("eval", "phrases", "trees.txt", "--json")
    record = json.loads(out)
    assert code == 0
    assert "root_binary" not in record
    assert [rule["name"] for rule in record["roots"]["baselines"]] == ["majority", "naive Bayes"]
    assert record["nodes"]["count"] == 20 * 9


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(1 (0 one)", "line 1: a bracket is not closed"),
        ("one two", "'one' stands outside of brackets"),
        ("()", "line 1: an empty bracket"),
        ("(" * 5000, "brackets are open at once"),
        ("(" * 100_000 + "x" + ")" * 100_000, "brackets are open at once"),
        ("\x00\x01", "binary"),
    ],
)
def test_what_is_no_tree_is_refused_in_a_sentence(lmgen, model, tmp_path, text, why):
    (tmp_path / "t.txt").write_text(text)
    for words in (("predict", model, "t.txt"), ("predict", model)):
        code, out, err = lmgen(*words, stdin=text)
        assert (code, out) == (2, "")
        assert why in " ".join(err.split())
    if text != "()":
        with pytest.raises(InputError):
            library.load(model).predict(text)
    assert lmgen("eval", model, "t.txt")[0] == 2


def test_nothing_to_predict_is_nothing(lmgen, model):
    assert lmgen("predict", model, stdin="")[:2] == (0, "")
    assert lmgen("predict", model, "--top", "2", stdin="")[0] == 2
