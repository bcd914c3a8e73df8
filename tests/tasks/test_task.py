"""A task is one file and one line in a table: here a third one, which predicts the parity of the letters read so far."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen import tasks
from lmgen.data.ids import encode
from lmgen.data.reading import Piece
from lmgen.data.vocab import EOS, Vocab
from lmgen.defaults.config import TrainingConfig
from lmgen.nn import model
from lmgen.tasks.cloze import Cloze
from lmgen.tasks.generate import Generate
from lmgen.tasks.label import Label
from lmgen.tasks.language import Language
from lmgen.tasks.task import Batch, Task
from lmgen.training import loop
from lmgen.training.step import begin, step

VOCAB = Vocab("char", tuple("ab"))
NETWORK = model.NetworkConfig(len(VOCAB), "lstm", size=24, embedding=8)
CONFIG = TrainingConfig(batch=8, window=12, learning_rate=0.02, steps=400, weight_decay=0.0)
LINES = ["".join("ab"[int(bit)] for bit in np.binary_repr(k)) for k in range(2, 200)]


class Parity(Task):
    """Whether an even or an odd number of a has been read since the last EOS; after EOS nothing is predicted."""

    def batch(self, window, begins):
        odd, targets = np.zeros(window.shape[1], np.int32), []
        for ids in window[:-1]:
            odd = np.where(ids == EOS, 0, odd ^ (ids == VOCAB.ids["a"]))
            targets.append(odd)
        return Batch(window[:-1], np.array(targets), (window[:-1] != EOS).astype(np.float32), begins)

    def init(self, key):
        head, rest = jax.random.split(key)
        params = model.init(self.network, rest)
        return params | {"head": {"W": 0.1 * jax.random.normal(head, (self.network.size, 2)), "b": jnp.zeros(2)}}

    def loss(self, params, state, batch, key):
        state, hs = model.read(self.network, self.precision, params, state, batch.inputs, key)
        return model.nats(params, hs, batch.targets, self.precision), state


def text():
    return encode((Piece(line, True, True, 1) for line in LINES), VOCAB)


def test_a_third_task_trains_by_the_same_step_and_loop(monkeypatch):
    """Guessing costs ln 2; it has learnt to count modulo two, mostly."""
    monkeypatch.setitem(tasks.TASKS, "parity", Parity)
    task = tasks.TASKS["parity"](NETWORK)
    batches = task.batches(text(), CONFIG.batch, CONFIG.window, seed=0)
    reports = list(loop.Training(CONFIG, task, batches, None))
    told = [report.train_nats for report in reports if report.train_nats is not None]
    assert told[0] > 0.5
    assert told[-1] < 0.4


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_what_is_predicted_is_what_the_inputs_surround(direction):
    """A language model predicts what follows each input, a cloze model what stands between; the next batch goes on from there."""
    network = model.NetworkConfig(len(VOCAB), size=4, embedding=4, direction=direction, carry=True)
    batches = tasks.task_of(network, "f32").batches(text(), 2, 5, seed=0)
    first, second = batches[0], batches[1]
    assert first.targets.shape == (5, 2)
    assert first.weights is None
    following = first.inputs[1:-1] if direction == "both" else first.inputs[1:]
    np.testing.assert_array_equal(following, first.targets[: len(following)])
    np.testing.assert_array_equal(second.inputs[0], first.targets[-1])


def test_a_cloze_model_of_independent_lines_counts_no_eos():
    network = model.NetworkConfig(len(VOCAB), size=4, embedding=4, direction="both")
    batch = tasks.task_of(network, "f32").batches(text(), 2, 50, seed=0)[0]
    np.testing.assert_array_equal(batch.weights, batch.targets != EOS)


def weighted(weights):
    """The loss of a step on one window whose predictions have weights."""
    task = Language(NETWORK)
    window = np.random.default_rng(0).integers(0, len(VOCAB), (6, 3)).astype(np.int32)
    batch = Batch(window[:-1], window[1:], weights, np.ones(3, bool))
    state, nats, _ = step(task, CONFIG.optimiser, begin(task, replace(CONFIG, batch=3)), batch, 0.1, 0)
    return float(nats), state.params


def test_the_loss_is_the_weighted_mean():
    """Equal weights are no weights; a weight of 0 leaves a prediction out of loss and gradient; all 0 change nothing."""
    plain, params = weighted(None)
    even, same = weighted(np.full((5, 3), 0.5, np.float32))
    assert even == pytest.approx(plain, rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), params, same)
    weights = np.zeros((5, 3), np.float32)
    weights[0, 0], weights[2, 1] = 1, 3
    first, second = (np.where(np.arange(15).reshape(5, 3) == k, 1, 0).astype(np.float32) for k in (0, 7))
    assert weighted(weights)[0] == pytest.approx((weighted(first)[0] + 3 * weighted(second)[0]) / 4, rel=1e-5)
    assert weighted(np.zeros((5, 3), np.float32))[0] == 0


def test_every_task_of_the_table_has_its_network():
    labels = dict.fromkeys(("tag", "classify", "tag-classify"), Label)
    assert {"language": Language, "cloze": Cloze, "generate": Generate, **labels}.items() <= tasks.TASKS.items()
    for direction, kind in (("forward", Language), ("both", Cloze)):
        assert type(tasks.task_of(model.NetworkConfig(9, direction=direction), "f32")) is kind
