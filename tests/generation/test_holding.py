"""Writing while units are held: a network with a unit held is the network whose weights say the same."""

from __future__ import annotations

import math
from itertools import islice

import jax
import numpy as np
import pytest

from lmgen.data.vocab import Vocab
from lmgen.errors import InputError
from lmgen.generation.holding import Hold, holding
from lmgen.generation.sampling import Settings, samples
from lmgen.models.ngram import NGramConfig, NGramModel
from lmgen.models.recurrent import Recurrent
from lmgen.nn import model
from lmgen.nn.model import NetworkConfig

LETTERS = Vocab("char", tuple("abcde"))
CONFIG = NetworkConfig(len(LETTERS), cell="elman", size=6, embedding=4)


@pytest.fixture
def lm():
    return Recurrent(CONFIG, model.init(CONFIG, jax.random.key(5)), LETTERS)


def texts(lm, seed=1):
    return [sample.text for sample in islice(samples(lm, Settings(max_length=12), seed, "a"), 8)]


def test_no_hold_changes_nothing(lm):
    assert texts(holding(lm, [])) == texts(lm)


def test_a_unit_held_at_what_its_weights_make_it(lm):
    """An Elman unit without inputs is tanh of its bias: holding it there is the same as such weights."""
    layer = jax.tree.map(np.array, lm.params["layers"][0])
    layer["W"][:, 2] = layer["U"][:, 2] = 0
    layer["b"][2] = 1.5
    still = Recurrent(CONFIG, {**lm.params, "layers": [layer]}, LETTERS)
    held = holding(lm, [Hold(0, 2, math.tanh(1.5))])
    window = np.array([[0], [2], [3], [4], [0]], np.int32)
    np.testing.assert_allclose(held.read(held.start(1), window)[1], still.read(still.start(1), window)[1], atol=1e-5)
    np.testing.assert_allclose(held.nats(held.start(1), window)[1], still.nats(still.start(1), window)[1], atol=1e-5)
    assert texts(held) == texts(still) != texts(lm)


def test_what_cannot_be_held(lm):
    for hold in (Hold(1, 0, 0), Hold(-1, 0, 0), Hold(0, 6, 0), Hold(0, -1, 0)):
        with pytest.raises(InputError, match=r"there is no unit .* has 1 × 6 units"):
            holding(lm, [hold])
    for value in (math.nan, math.inf, -1e30):
        with pytest.raises(InputError, match="cannot be held at"):
            holding(lm, [Hold(0, 0, value)])
    with pytest.raises(InputError, match="an n-gram model"):
        holding(NGramModel(NGramConfig(3, 1), [], Vocab("char", ("a",))), [])
