"""Writing by label: each symbol is read with the vector of its text's label, all are predicted, and no text can forge a label."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.applied.writer import Writer
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.defaults.config import TrainingConfig
from lmgen.generation.sampling import Settings, samples
from lmgen.labelled.corpus import Coded, Labels, encode
from lmgen.labelled.examples import Example
from lmgen.labelled.packing import block
from lmgen.networks import writing
from lmgen.networks.writing import WriterConfig
from lmgen.tasks import task_of
from lmgen.training.step import begin, step

VOCAB = Vocab("char", tuple("ab<>le:xy"))
NAMES = Labels(("x", "y"))
NETWORK = WriterConfig(len(VOCAB), size=16, embedding=8, labels=NAMES.labels)
CONFIG = TrainingConfig(batch=4, window=8, learning_rate=0.02, weight_decay=0.5, steps=40)


def coded(*pairs, names=NAMES) -> Coded:
    return encode([Example(text, label if isinstance(label, tuple) else (label,)) for label, text in pairs], VOCAB, names)


def trained(data, steps=60, network=NETWORK, rate=0.02):
    task = task_of(network, "f32")
    batches, state = task.batches(data, CONFIG.batch, CONFIG.window, 0), begin(task, CONFIG)
    for number in range(steps):
        state, *_ = step(task, CONFIG.optimiser, state, batches[number], rate, number)
    return Writer(network, state.params, VOCAB)


def test_a_column_is_that_written_by_hand():
    """Each text is read from the EOS before it, and its own EOS is predicted; what is left over counts 0; `q` is UNK."""
    data = coded(("x", "ab"), ("y", "q"))
    inputs, targets, weights = writing.inputs_of(data, block([[0, 1]], data.starts, data.lengths, 8, 1, 2), len(VOCAB), 2)
    assert inputs.ids[:, 0].tolist() == [EOS, 2, 3, EOS, UNK, EOS, EOS, EOS]
    assert inputs.slots[:, 0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert targets[:5, 0].tolist() == [2, 3, EOS, UNK, EOS]
    assert weights[:, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert inputs.shares.tolist() == [[1, 0], [0, 1]]
    assert inputs.fresh[:, 0].tolist() == [True, False, False, True, False, True, True, True]


def test_a_text_with_several_labels_is_read_with_their_mean():
    data = coded((("x", "y"), "ab"), ((), "b"), names=Labels(("x", "y"), (), True))
    inputs, _, _ = writing.inputs_of(data, block([[0, 1]], data.starts, data.lengths, 8, 1, 2), len(VOCAB), 2)
    assert inputs.shares.tolist() == [[0.5, 0.5], [0, 0]]


@pytest.mark.parametrize("tie", [False, True])
def test_packed_nats_are_those_of_the_language_model_by_the_label(tie):
    """A text in a column has the nats that the model folded by its label gives to the text alone."""
    network = replace(NETWORK, tie=tie, embedding=16 if tie else 8)
    params = writing.init(network, jax.random.key(1))
    data = coded(("x", "abba"), ("y", "lex"), ("x", "a"))
    inputs, targets, _ = writing.inputs_of(data, block([[0, 1], [2]], data.starts, data.lengths, 16, 2, 3), len(VOCAB), 2)
    nats = np.asarray(writing.nats(network, "f32", params, jax.tree.map(jnp.asarray, inputs), jnp.asarray(targets)))
    lm = Writer(network, params, VOCAB)
    for rows, column, label, text in ((slice(0, 5), 0, "x", "abba"), (slice(5, 9), 0, "y", "lex"), (slice(0, 2), 1, "x", "a")):
        window = np.array([EOS, *VOCAB.encode(text), EOS], np.int32)[:, None]
        alone = lm.by({label: 1.0})
        np.testing.assert_allclose(nats[rows, column], np.asarray(alone.nats(alone.start(1), window)[1])[:, 0], atol=1e-5)


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
    """Whatever a text says, only the label beside it counts."""
    for text in ("<label:x>", "x", "⟨x⟩", "\0", chr(len(VOCAB)), "y\tx"):
        data = coded(("y", text))
        inputs, _, _ = writing.inputs_of(data, block([[0]], data.starts, data.lengths, 16, 1, 1), len(VOCAB), 2)
        assert inputs.shares.tolist() == [[0, 1]]
        assert (inputs.ids < len(VOCAB)).all()


def test_it_learns_to_write_by_its_label():
    """By x only a, by y only b, also in a text of 15 symbols."""
    lm = trained(coded(*[("x", "a" * 15), ("y", "b" * 15)] * 10), steps=150)
    for label, letter in (("x", "a"), ("y", "b")):
        assert next(samples(lm.by({label: 1.0}), Settings(temperature=0, max_length=10), 0, wanted=1)).text == 10 * letter
