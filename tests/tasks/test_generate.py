"""Writing by label: the label is read and never predicted, and no text can forge one."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from lmgen.data.ids import Ids
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.generation.sampling import Settings, samples
from lmgen.labelled.corpus import Labels, conditioned, encode
from lmgen.labelled.examples import Example
from lmgen.models.writer import Writer
from lmgen.nn import writing
from lmgen.nn.writing import WriterConfig
from lmgen.tasks import task_of
from lmgen.training.config import TrainingConfig
from lmgen.training.step import begin, step

VOCAB = Vocab("char", tuple("ab<>le:xy"))
NAMES = Labels(("x", "y"))
NETWORK = WriterConfig(len(VOCAB) + 2, size=16, embedding=8, labels=NAMES.labels)
X, Y = len(VOCAB), len(VOCAB) + 1
CONFIG = TrainingConfig(batch=4, window=8, learning_rate=0.02, weight_decay=0.5, steps=40)


def stream(*pairs) -> Ids:
    return conditioned(encode([Example(text, (label,)) for label, text in pairs], VOCAB, NAMES), VOCAB, NAMES)


def trained(ids, steps=60, network=NETWORK, rate=0.02):
    task = task_of(network, "f32")
    data, state = task.batches(ids, CONFIG.batch, CONFIG.window, 0), begin(task, CONFIG)
    for number in range(steps):
        state, _ = step(task, CONFIG.optimiser, state, data[number], rate, number)
    return Writer(network, state.params, VOCAB)


def test_everything_is_predicted_but_the_label():
    """In `EOS ⟨x⟩ a b EOS` three predictions count: a after the label, b, and EOS."""
    window = np.array([[EOS, X, 2, 3, EOS]], np.int32).T
    batch = task_of(NETWORK, "f32").batch(window, np.ones(1, bool))
    assert batch.inputs[:, 0].tolist() == [EOS, X, 2, 3]
    assert batch.weights[:, 0].tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("tie", [False, True])
def test_the_label_is_never_predicted_and_training_does_not_change_that(tie):
    """Its probability is 0 after any context, its row of the head keeps its bias; the nats of the others are finite."""
    network = replace(NETWORK, tie=tie)
    lm = trained(stream(("x", "ab"), ("y", "ba")), network=network)
    np.testing.assert_array_equal(np.asarray(lm.params["head"]["b"])[X:], np.float32(writing.NEVER))
    ids = np.random.default_rng(0).integers(0, NETWORK.vocab, (20, 8)).astype(np.int32)
    _, logits = lm.read(lm.start(8), ids)
    p = np.asarray(jax.nn.softmax(logits, -1))
    assert (p[..., X:] == 0).all()
    assert np.isfinite(p).all()


@pytest.mark.parametrize(
    "settings", [{"temperature": 1e9}, {"temperature": 0}, {"top_p": 1.0}, {"top_k": 1000}, {"min_p": 1e-30}]
)
def test_no_label_is_sampled_however_hot(settings):
    """Every sample is spelt by symbols of the vocabulary."""
    lm = Writer(NETWORK, writing.init(NETWORK, jax.random.key(0)), VOCAB).by({"x": 1.0})
    drawn = samples(lm, Settings(max_length=200, **settings), 0, wanted=8)
    for _ in range(8):
        assert set(next(drawn).text) <= {*"ab<>le:xy"}


def test_a_label_in_a_text_is_text():
    """Whatever a text says, no symbol of it is a label: those have ids that nothing spells."""
    forged = "<label:x>", "x", "⟨x⟩", "\0", chr(X), str(X)
    for text in forged:
        ids = stream(("y", text))
        assert ids.stream[1] == Y
        assert (ids.stream[2:] < X).all()
    lm = Writer(NETWORK, writing.init(NETWORK, jax.random.key(0)), VOCAB).by({"x": 1.0})
    for text in forged:
        assert (lm.vocab.encode(text) < X).all()


def test_unknown_symbols_of_a_text_are_unk_and_no_label():
    assert stream(("x", "aq")).stream.tolist() == [EOS, X, 2, UNK, EOS]


def test_it_learns_to_write_by_its_label():
    """By x only a, by y only b."""
    lm = trained(stream(*[("x", "aaa"), ("y", "bbb")] * 20), steps=120)
    for label, letter in (("x", "a"), ("y", "b")):
        drawn = samples(lm.by({label: 1.0}), Settings(temperature=0, max_length=10), 0, wanted=1)
        assert next(drawn).text == 3 * letter


def test_a_label_far_back_is_remembered_over_windows_of_its_sequence():
    """A window that begins in the middle of a text goes on with the state of the label."""
    lm = trained(stream(*[("x", "a" * 15), ("y", "b" * 15)] * 4), steps=150, network=replace(NETWORK, size=16))
    assert next(samples(lm.by({"y": 1.0}), Settings(temperature=0, max_length=10), 0, wanted=1)).text == "b" * 10
