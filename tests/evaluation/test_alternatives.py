"""The probability of each symbol and the likeliest others, by one read of the whole text."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import CheckpointError
from lmgen.evaluation.alternatives import Reader
from lmgen.models.recurrent import Recurrent
from lmgen.nn.model import NetworkConfig, init


def model(**changes) -> Recurrent:
    config = NetworkConfig(**{"vocab": 13, "size": 8, "embedding": 8, "carry": True} | changes)
    return Recurrent(config, jax.tree.map(lambda w: 3 * w, init(config, jax.random.key(0))), Vocab("char", tuple("abcdefghijk")))


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("cuts", [[], [1, 2, 300], [350]], ids=str)
def test_symbols_read_in_parts_are_as_in_one_read(carry, cuts):
    lm = model(carry=carry)
    ids = np.random.default_rng(0).integers(0, 13, 400)
    _, logits = lm.read(lm.start(1), np.array([EOS, *ids[:-1]])[:, None])
    log_p = np.asarray(jax.nn.log_softmax(logits[:, 0]))
    reader = Reader(lm, 4)
    read = [likely for part in np.split(ids, cuts) for likely in reader.read(part)]
    np.testing.assert_allclose(np.concatenate([one.log_p for one in read]), log_p[np.arange(400), ids], rtol=1e-4, atol=1e-5)
    best = np.argsort(-log_p)[:, :4]
    assert (np.concatenate([one.ids for one in read]) == best).mean() > 0.99  # but for ties within the rounding
    np.testing.assert_allclose(
        np.concatenate([one.of_ids for one in read]), np.take_along_axis(log_p, best, 1), rtol=1e-4, atol=1e-5
    )


def test_a_symbol_that_is_the_likeliest_has_that_number():
    lm = model()
    reader = Reader(lm, 1)
    for _ in range(40):
        (first,) = Reader.read(reader, np.array([3]))
        assert first.of_ids[0, 0] >= first.log_p[0]
        assert (first.ids[0, 0] == 3) == (first.of_ids[0, 0] == first.log_p[0])


def test_no_more_alternatives_than_symbols():
    (likely,) = Reader(model(), 99).read(np.array([2]))
    assert likely.ids.shape == (1, 13)


def test_numbers_that_are_not_finite_are_an_error():
    lm = model()
    broken = Recurrent(lm.config, jax.tree.map(lambda w: w * np.nan, lm.params), lm.vocab)
    with pytest.raises(CheckpointError, match="not finite"):
        next(Reader(broken, 2).read(np.array([2])))
