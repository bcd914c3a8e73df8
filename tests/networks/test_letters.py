"""A language model whose words are read with their letters: by loops in float64, and as the plain network that it becomes.

Shapes: T time, B batch, N cell size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmgen
from equations import by_hand
from lmgen.data.ids import encode
from lmgen.data.reading import Piece
from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import InputError
from lmgen.labelled.spelling import hashed
from lmgen.models.recurrent import Recurrent
from lmgen.nn import model
from lmgen.nn.cells import CELLS
from lmgen.tasks.language import Language

VOCAB = Vocab("word", ("the", "cat", "sat", "on", "mats", "of", "Taipei-2", *(f"word{k}" for k in range(40))))
V = len(VOCAB)
LINES = ["the cat sat on mats", "of the dogs", "the Taipei-2 cats", "word7 word8 of word9", "mats", "sat on word39 on mats"]
NETWORKS = {
    "untied": {},
    "tied": {"tie": True, "embedding": 6},
    "tied by a projection": {"tie": True},
    "norms, two layers, carried": {"cell": "gru", "layers": 2, "residual": True, "layer_norm": True, "carry": True},
}


def text():
    return encode((Piece(line, True, True, 1) for line in LINES), VOCAB)


def task_of(**network) -> Language:
    return Language(model.NetworkConfig(**{"vocab": V, "size": 6, "embedding": 5, "hashed": True, **network}))


def weights(task, seed=0):
    """Weights of normal size everywhere, the biases too."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(rng.normal(0, 0.3, a.shape), jnp.float32), jax.eval_shape(task.init, jax.random.key(0))
    )


def loss(task, params, batch):
    nats, _ = task.loss(params, task.start(batch.targets.shape[1]), batch, None)
    return nats


def windows(task, batch=2, window=9):
    return task.batches(text(), batch, window, seed=0)[0], Language(replace(task.network, hashed=False)).batches(
        text(), batch, window, seed=0
    )[0]


def of_letters(table, words=("", "", *VOCAB.symbols)):
    """The vector of each word's letters, by a loop."""
    found = []
    for word in words:
        buckets = [k for k in hashed([word])[0] if k >= 0]
        found.append(sum(np.float64(table[k]) for k in buckets) / len(buckets) ** 0.5)
    return np.array(found)


def log_softmax(a):
    a = a - a.max(-1, keepdims=True)
    return a - np.log(np.exp(a).sum(-1, keepdims=True))


@pytest.mark.parametrize("name", ["untied", "tied", "tied by a projection"])
def test_the_nats_are_those_of_a_loop(name):
    """A tied head predicts by the vectors of the ids alone."""
    task = task_of(**NETWORKS[name])
    params, (batch, plain) = weights(task), windows(task)
    own = np.float64(params["embedding"])
    inputs = (own + of_letters(params["letters"]))[plain.inputs]
    start = jax.tree.map(np.float64, CELLS["lstm"].start(2, 6))
    hs = by_hand("lstm", params["layers"][0], start, inputs, plain.inputs == EOS)[1]
    head = jax.tree.map(np.float64, params["head"])
    logits = hs @ head["W"] if "W" in head else (hs @ head["P"] if "P" in head else hs) @ own.T
    expected = -np.take_along_axis(log_softmax(logits + head["b"]), plain.targets[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(loss(task, params, batch), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_plain_network_reads_and_predicts_the_same(name):
    task = task_of(**NETWORKS[name])
    params, (batch, plain) = weights(task), windows(task)
    network, folded = task.folded(params, VOCAB)
    assert not network.hashed
    lm = Recurrent(network, folded, VOCAB)
    window = np.concatenate([plain.inputs, plain.targets[-1:]])
    np.testing.assert_allclose(loss(task, params, batch), lm.nats(lm.start(2), window)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [9, 40])  # 40 × 2 symbols are more than the vocabulary has
@pytest.mark.parametrize("name", ["untied", "tied", "tied by a projection"])
def test_the_gradient_is_that_of_a_dense_product(name, window):
    """The letters of all words as one matrix [V, buckets], times the table."""
    task = task_of(**NETWORKS[name])
    params, (batch, plain) = weights(task), windows(task, window=window)
    shares = np.zeros((V, len(params["letters"])), np.float32)
    for row, word in zip(shares, ("", "", *VOCAB.symbols), strict=True):
        buckets = [k for k in hashed([word])[0] if k >= 0]
        np.add.at(row, buckets, len(buckets) ** -0.5)

    def dense(params):
        network, start = task.network.folded, model.start(task.network, 2)
        read = {**params, "embedding": params["embedding"] + shares @ params["letters"]}
        hs = model.read(network, "f32", read, start, plain.inputs)[1]
        return model.nats(params, hs, plain.targets, "f32").mean()

    expected = jax.grad(dense)(params)
    found = jax.grad(lambda params: loss(task, params, batch).mean())(params)
    assert np.abs(found["letters"]).max() > 1e-4
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, expected)


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{line} word{k % 40} {LINES[k % 5]}\n" for k, line in enumerate(LINES * 60)), "utf-8")
    return path


@pytest.mark.parametrize("options", [{"tie": True}, {"tie": False, "embedding": 7}])
def test_a_trained_model_is_loaded_as_a_plain_one(tmp_path, words, options):
    """It measures what the training measured."""
    small = {"size": 8, "batch": 4, "window": 8, "steps": 20, "valid": words, "precision": "f32", "mixture": False, **options}
    trained = lmgen.train(words, unit="word", input="hash", output=tmp_path / "m", **small)
    loaded = lmgen.load(tmp_path / "m", precision="f32")
    assert not loaded.lm.config.hashed
    assert "letters" not in loaded.lm.params
    ids = encode((Piece(line, True, True, 1) for line in words.read_text().splitlines()), loaded.lm.vocab)
    assert loaded.lm.validate(ids)[0] == pytest.approx(trained.lm.provenance.about["valid_nats"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--input hash reads the letters of words, and the unit is char"),
        ({"direction": "both", "unit": "word"}, "has no input"),
    ],
)
def test_letters_need_words_that_are_read_from_the_left(tmp_path, words, options, message):
    with pytest.raises(InputError, match=message):
        lmgen.train(words, input="hash", output=tmp_path / "m", steps=1, **options)
    assert not (tmp_path / "m").exists()
