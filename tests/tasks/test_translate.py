"""Translation predicted among few words: its words, its loss and gradient against predicting among all, and what it learns."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.applied.translator import Translator
from lmgen.data.vocab import UNK, Vocab
from lmgen.defaults import language, translating
from lmgen.defaults.config import TrainingConfig
from lmgen.errors import InputError
from lmgen.networks.translating import TranslatorConfig
from lmgen.structured.bitext import PairCorpus, encode
from lmgen.tasks.sampled import rates_of, room_for
from lmgen.tasks.translate import Translate
from lmgen.training import loop, parallel

KINDS, TARGETS = 300, 202  # ids, of which the first can be predicted
VOCAB = Vocab("word", tuple(f"w{k}" for k in range(KINDS - 2)))
NETWORK = TranslatorConfig(len(VOCAB), "gru", size=16, embedding=16, tie=True, targets=TARGETS)
CONFIG = TrainingConfig(batch=16, window=24, learning_rate=0.02, steps=150, weight_decay=0.0, sampled=40)
HEADS = {"tied": {}, "own": {"tie": False}, "projected": {"embedding": 8}}


def pairs(number: int, seed: int):
    """Of each w_k with k below 200 the target is w_(199 − k); some words of targets are of sources alone, and some unknown."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        source = (200 * rng.random(rng.integers(1, 8)) ** 2).astype(int).tolist()
        target = [f"w{199 - k}" for k in source] + [["w250"], ["new"], [], []][rng.integers(4)]
        yield [f"w{k}" for k in source], target


DATA = encode(pairs(400, 0), VOCAB)


def batches_of(config: TrainingConfig = CONFIG):
    return parallel.batches(Translate(NETWORK), DATA, config)


def test_the_rates_are_those_of_predicted_symbols():
    """Neither sources nor their separators are counted, and words that cannot be predicted are UNK."""
    data = encode([(["w9", "w3"], ["w1"]), (["w5"], ["w1", "w250", "new"])], VOCAB)
    counts = np.ones(TARGETS)
    counts[[0, 3, UNK]] += 2  # the id of w1 is 3
    np.testing.assert_allclose(rates_of(data, TARGETS), counts / counts.sum())
    assert data.predicted(5).tolist() == [3, 0]
    assert data.predicted(1).tolist() == []


def test_the_words_of_a_batch_are_among_those_that_it_predicts_among():
    few, plain = batches_of(), batches_of(replace(CONFIG, sampled=0))
    rates = rates_of(DATA, TARGETS)
    for k in range(2 * few.per_epoch):
        batch, (at, ids, log_rates) = plain[k], few[k].targets
        np.testing.assert_array_equal(ids[at], np.where(batch.targets < TARGETS, batch.targets, UNK))
        np.testing.assert_array_equal(few[k].weights, batch.weights)
        some, drawn = log_rates <= 0, int(batch.weights.sum()) + CONFIG.sampled
        assert len({*ids[some].tolist()}) == some.sum()
        assert len(ids) == room_for(rates, batch.targets.size, CONFIG.sampled)
        np.testing.assert_allclose(np.exp(log_rates[some]), 1 - (1 - rates[ids[some]]) ** drawn, rtol=1e-4)
        for one, other in zip(few[k].targets, batches_of()[k].targets, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_with_all_words_drawn_loss_and_gradient_are_those_of_predicting_among_all(head, smoothing):
    network = replace(NETWORK, dropout=0.2, smoothing=smoothing, **head)
    task, key = Translate(network), jax.random.key(1)
    few, plain = (batches_of(replace(CONFIG, sampled=n))[0] for n in (100_000, 0))
    assert (few.targets.log_rates <= 0).sum() == TARGETS
    few = few._replace(targets=few.targets._replace(log_rates=np.where(few.targets.log_rates <= 0, 0, few.targets.log_rates)))

    def loss(params, batch):
        return (task.loss(params, [], batch, key)[0] * batch.weights).sum()

    params = task.init(jax.random.key(0))
    params["head"]["b"] = jax.random.normal(jax.random.key(2), (TARGETS,))
    (one, of_few), (other, of_all) = (jax.value_and_grad(loss)(params, batch) for batch in (few, plain))
    assert float(one) == pytest.approx(float(other), rel=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), *jax.device_get((of_few, of_all)))


def test_a_training_reaches_what_one_over_all_words_reaches():
    held_out, nats = encode(pairs(60, 1), VOCAB), {}
    for draws in (0, CONFIG.sampled):
        config = replace(CONFIG, sampled=draws)
        training = loop.Training(config, Translate(NETWORK), batches_of(config), None)
        for _ in training:
            pass
        nats[draws] = Translator(NETWORK, jax.tree.map(jnp.asarray, training.state.params), VOCAB).validate(held_out)[0]
    assert nats[0] < 0.7 * np.log(TARGETS)
    assert nats[CONFIG.sampled] < 1.05 * nats[0]


@pytest.mark.parametrize(
    ("kinds", "given", "draws"),
    [
        (language.SAMPLED_FROM, {}, language.SAMPLED),
        (language.SAMPLED_FROM - 1, {}, 0),
        (language.SAMPLED_FROM, {"sampled": 0}, 0),
        (TARGETS, {"sampled": 7}, 7),
        (language.SAMPLED_FROM, {"copy": True}, 0),
    ],
)
def test_many_kinds_of_target_symbols_are_predicted_among_few(kinds, given, draws):
    data = PairCorpus(DATA, None, VOCAB, kinds, np.zeros(0, np.uint64), "")
    assert translating.choose(data, "translate", False, given, None)[1]["sampled"] == draws


def test_what_is_copied_is_not_predicted_among_few():
    data = PairCorpus(DATA, None, VOCAB, TARGETS, np.zeros(0, np.uint64), "")
    with pytest.raises(InputError, match="--copy needs the probabilities of all words, and --sampled"):
        translating.choose(data, "translate", False, {"copy": True, "sampled": 5}, None)
