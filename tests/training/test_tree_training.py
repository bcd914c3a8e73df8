"""Trainings on trees: resumed to the bit, with defaults that fit, and refused where an option means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exact import advance, everything

import lmgen
from lmgen.errors import InputError
from lmgen.models.provenance import TextSettings
from lmgen.training import run
from support import invented_words

WORDS = invented_words(40)
SMALL = {"size": 8, "embedding": 6, "batch": 8, "learning_rate": 1e-2}


def lines(count=600, seed=0):
    """Trees whose label says whether an odd number of words is long."""
    random, found = np.random.default_rng(seed), []

    def grown(depth):
        if depth == 0 or random.random() < 0.3:
            word = str(random.choice(WORDS))
            return len(word) > 4, f"({int(len(word) > 4)} {word})"
        parts = [grown(depth - 1) for _ in range(random.integers(1, 4))]
        odd = sum(one for one, _ in parts) % 2
        return odd, f"({odd} {' '.join(text for _, text in parts)})"

    for _ in range(count):
        found.append(grown(3)[1])
    return found


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "trees.txt"
    path.write_text("".join(f"{line}\n" for line in lines()))
    return path


@pytest.fixture
def vectors(tmp_path) -> Path:
    """Those of half of the words."""
    random, path = np.random.default_rng(1), tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, random.normal(size=5).round(3)))}\n" for word in [*WORDS[::2], "other"]))
    return path


CASES = {
    "tree-lstm": {},
    "recursive": {"cell": "elman", "input": "symbol"},
    "vectors": {"vectors": True},
    "vectors, tuned": {"vectors": True, "tune": True, "input": "symbol"},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_resume_is_exact_to_the_bit(tmp_path, path, vectors, options):
    """With dropout, over the end of an epoch, with validations."""
    text = TextSettings((str(path),), form="trees", task="tree")
    options = SMALL | options | ({"vectors": vectors} if "vectors" in options else {})
    begun = [run.new(tmp_path / name, text, steps=170, **options) for name in ("once", "twice")]
    assert begun[0].training.batches.per_epoch < 90
    assert begun[0].data.valid
    advance(begun[0])
    advance(begun[1], 73)
    resumed, complaints = run.resume(tmp_path / "twice")
    assert not complaints
    advance(resumed)
    assert everything(tmp_path / "once") == everything(tmp_path / "twice")


def test_vectors_made_elsewhere_stay_as_they_are_unless_tuned(path, vectors, tmp_path):
    kept, tuned = (
        lmgen.train(path, output=tmp_path / f"{tune}", vectors=vectors, tune=tune, steps=20, **SMALL).lm for tune in (False, True)
    )
    given = {line.split()[0]: [*map(float, line.split()[1:])] for line in vectors.read_text().splitlines()}
    for word, numbers in given.items():
        np.testing.assert_allclose(kept.params["vectors"][kept.vocab.ids[word]], numbers, rtol=1e-6)
    assert not np.allclose(tuned.params["vectors"], kept.params["vectors"])


def test_a_trained_model_knows_its_trees(path, tmp_path):
    """The labels follow from the words by a rule, which is learnt in part."""
    lm = lmgen.train(path, output=tmp_path / "m", steps=300, dropout=0.0, **SMALL).lm
    hits = [k == gold for one in lm.predict(lines(100, seed=1)) for k, gold in zip(one.labels, one.tree.labels, strict=True)]
    assert np.mean(hits) > 0.85


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"cell": "gru"}, "gru reads no trees"),
        ({"layers": 2}, "has no layers"),
        ({"unit": "char"}, "has no unit"),
        ({"window": 8}, "has no window"),
        ({"from_": "other"}, "has no from"),
        ({"task": "classify"}, "nothing to classify"),
        ({"cell": "rnn"}, "there is no cell"),
    ],
)
def test_what_means_nothing_for_trees_is_refused(path, tmp_path, options, why):
    with pytest.raises(InputError, match=why):
        lmgen.train(path, output=tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_trees_can_be_asked_for_and_left_alone(tmp_path):
    """Two flat trees are too few to be recognised; --task language reads any trees as plain text."""
    flat = tmp_path / "flat.txt"
    flat.write_text("(S (A a) (B b))\n(T (A a) (B c))\n")
    assert lmgen.train(flat, output=tmp_path / "one", task="tree", steps=2, **SMALL).lm.config.task == "tree"
    assert not lmgen.train(flat, output=tmp_path / "two", steps=2, batch=2, window=8, size=8, embedding=4).predicts
    prose = tmp_path / "prose.txt"
    prose.write_text("no brackets\n")
    with pytest.raises(InputError, match="line 1: 'no' stands outside of brackets"):
        lmgen.train(prose, output=tmp_path / "three", task="tree")
