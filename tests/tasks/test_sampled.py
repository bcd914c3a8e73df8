"""The sampled softmax against its formula, and a training by it against one that predicts among all words."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmgen.data.ids import Ids, encode
from lmgen.data.reading import Piece
from lmgen.data.vocab import Vocab
from lmgen.data.windows import Share
from lmgen.defaults.config import TrainingConfig
from lmgen.models import scoring
from lmgen.models.recurrent import Recurrent
from lmgen.nn import cross_entropy, model
from lmgen.nn.cross_entropy import Among
from lmgen.nn.model import NetworkConfig
from lmgen.tasks.language import Language
from lmgen.tasks.sampled import Sampled, included, rates_of, room_for
from lmgen.training import loop, parallel

KINDS = 600
VOCAB = Vocab("word", tuple(f"w{k}" for k in range(KINDS)))
CONFIG = TrainingConfig(batch=4, window=8, learning_rate=0.02, steps=300, weight_decay=0.0, sampled=60)
NETWORK = NetworkConfig(len(VOCAB), size=16, embedding=16, carry=True)


def text(sequences: int, seed: int) -> Ids:
    """Sequences in which w_k is mostly followed by w_(2 k + 1), and which begin anywhere, rarely with the last words."""
    rng, pieces = np.random.default_rng(seed), []
    for _ in range(sequences):
        k, words = int(KINDS * rng.random() ** 3), []
        for _ in range(12):
            words.append(f"w{k}")
            k = (2 * k + 1) % KINDS if rng.random() < 0.9 else int(KINDS * rng.random() ** 3)
        pieces.append(Piece(" ".join(words), True, True, 1))
    return encode(iter(pieces), VOCAB)


TEXT = text(400, 0)


def batches_of(config: TrainingConfig = CONFIG, share: Share = Share()) -> Sampled:
    plain = Language(NETWORK).batches(TEXT, config.batch, config.window, config.seed, share)
    rates = rates_of(TEXT, len(VOCAB))
    return Sampled(plain, config.sampled, rates, (config.seed, share.device))


def test_the_words_of_a_batch_are_among_those_that_it_predicts_among():
    batches, plain = batches_of(), Language(NETWORK).batches(TEXT, CONFIG.batch, CONFIG.window, CONFIG.seed)
    shapes = set()
    for k in range(50):
        at, ids, log_rates = batches[k].targets
        np.testing.assert_array_equal(ids[at], plain[k].targets)
        some = log_rates <= 0
        assert len({*ids[some].tolist()}) == some.sum() > len(np.unique(plain[k].targets))
        np.testing.assert_allclose(np.exp(log_rates[some]), included(batches.rates[ids[some]], 32 + 60), rtol=1e-5)
        shapes.add((at.shape, ids.shape, log_rates.shape))
    assert shapes == {((8, 4), (len(ids),), (len(ids),))}
    assert len(ids) < len(VOCAB) / 2


def test_a_step_depends_on_its_number_and_the_device_alone():
    for one, other in zip(batches_of()[7].targets, batches_of()[7].targets, strict=True):
        np.testing.assert_array_equal(one, other)
    first, second = (batches_of(share=Share(k, 2))[7].targets.ids for k in range(2))
    assert first.shape == second.shape
    assert {*first.tolist()} != {*second.tolist()}


def test_so_often_are_words_among_those_drawn():
    rates = np.array([0.5, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(0)
    found = np.mean([np.isin(np.arange(4), rng.choice(4, 6, p=rates)) for _ in range(20_000)], 0)
    np.testing.assert_allclose(included(rates, 6), found, atol=0.015)


def test_the_expected_sum_over_the_few_is_the_sum_over_all():
    """Each batch of words is drawn by the rates, as the drawn words are."""
    rng, rates, room = np.random.default_rng(1), rates_of(TEXT, len(VOCAB)), 0
    logits, sums = rng.normal(size=len(VOCAB)), []
    for _ in range(4000):
        ids = np.unique(rng.choice(len(VOCAB), 92, p=rates))
        sums.append((np.exp(logits[ids]) / included(rates[ids], 92)).sum())
        room = max(room, len(ids))
    assert np.mean(sums) == pytest.approx(np.exp(logits).sum(), rel=0.02)
    assert room <= room_for(rates, 32, 60)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("projected", [False, True])
def test_the_loss_is_that_of_the_formula(tie, projected):
    network = replace(NETWORK, tie=tie, embedding=8 if projected else 16)
    params = model.init(network, jax.random.key(0))
    params["head"]["b"] = jax.random.normal(jax.random.key(1), (len(VOCAB),))
    hs = jax.random.normal(jax.random.key(2), (3, 2, network.size))
    among = Among(np.array([[0, 2], [1, 1], [2, 0]]), np.array([5, 17, 400, 0]), np.array([-0.1, -0.5, -3.0, 1e4], np.float32))
    found = model.nats(*_of(cross_entropy.narrowed(params, among), hs), "f32")
    logits = np.float64(model.logits(params, hs, "f32"))[..., among.ids[:3]] - np.float64(among.log_rates[:3])
    expected = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, among.at[..., None], -1)[..., 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _of(narrowed, hs):
    head, targets = narrowed
    return head, hs, targets


def test_words_that_are_not_among_them_have_no_gradient():
    task, batch = Language(NETWORK), batches_of()[0]
    params = task.init(jax.random.key(0))
    gradient = jax.grad(lambda p: task.loss(p, task.start(4), batch, jax.random.key(1))[0].mean())(params)["head"]["W"]
    among = np.isin(np.arange(len(VOCAB)), batch.targets.ids[batch.targets.log_rates <= 0])
    assert not np.asarray(gradient)[:, ~among].any()
    assert np.asarray(gradient)[:, among].any(0).all()


@pytest.mark.parametrize("tie", [False, True])
def test_a_training_reaches_what_one_over_all_words_reaches(tie):
    network, held_out = replace(NETWORK, tie=tie), text(60, 1)
    nats = {}
    for draws in (0, CONFIG.sampled):
        config = replace(CONFIG, sampled=draws)
        task = Language(network)
        training = loop.Training(config, task, parallel.batches(task, TEXT, config), None)
        for _ in training:
            pass
        lm = Recurrent(network, jax.tree.map(jnp.asarray, training.state.params), VOCAB, "f32")
        nats[draws] = scoring.stream_nats(lm, held_out.stream).mean()
    assert nats[CONFIG.sampled] < 0.75 * np.log(len(VOCAB))
    assert nats[CONFIG.sampled] < 1.05 * nats[0]
