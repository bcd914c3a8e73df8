"""The network that translates equals one in NumPy, one pair at a time, in float64; no target is seen before it is written.

Shapes: T time, B batch, N cell size.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from equations import by_hand
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.labelled import packing
from lmgen.networks import translating
from lmgen.networks.translating import TranslatorConfig
from lmgen.nn.cells import CELLS
from lmgen.structured.bitext import encode
from lmgen.tasks.task import Batch

VOCAB = Vocab("char", tuple("abcdefg"))
TARGETS = 6  # EOS, UNK, a to d: e, f and g are of sources alone
PAIRS = [("abc", "cba"), ("gfe", "a"), ("a", "abcd"), ("exbz", "bxa"), ("bb", "dd"), ("z", "zqz"), ("abcdefg", "aab")]
TINY = TranslatorConfig(len(VOCAB), "lstm", size=6, embedding=5, targets=TARGETS)
CASES = {
    "attention": {},
    "plain": {"attention": False},
    "copy": {"copy": True},
    "gru, two layers": {"cell": "gru", "layers": 2},
    "layer norm, residual": {"layers": 3, "layer_norm": True, "residual": True},
    "tied": {"tie": True},
    "tied, by a projection": {"tie": True, "embedding": 4},
}
read = jax.jit(translating.nats, static_argnums=(0, 1))


def random_params(config, seed=0):
    """Weights of normal size everywhere, the biases too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(translating.init, config), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(0, 0.4, a.shape).astype(np.float32), shapes)


def packed(pairs=PAIRS, rows=16):
    """All pairs in columns of some rows: their numbers, the block and the batch."""
    data = encode(pairs, VOCAB)
    columns = packing.best_fit(data.lengths, rows)
    block = packing.block(columns, data.starts, data.lengths, rows, len(columns) + 1, len(pairs) + 2)
    found = translating.inputs_of(data, block, int((data.lengths - data.sources).sum()) + 5)
    return data, block, Batch(*found, None)


def by_column(config, params, pairs=PAIRS, rows=16):
    """The nats of the symbols of each target, from columns that hold several pairs."""
    _, block, batch = packed(pairs, rows)
    nats = np.asarray(read(config, "f32", params, batch.inputs, batch.targets, None))
    of = np.append(block.of, -1)[block.slots].reshape(-1)
    found = [[] for _ in pairs]
    for place, n in sorted(zip(batch.inputs.at[batch.weights > 0].tolist(), nats.tolist(), strict=False)):
        found[of[place]].append(n)
    return found


def by_definition(config, params, source, target):
    """The nats of the symbols of a target, EOS included, with every formula written out, and the weights of attention."""
    p = jax.tree.map(np.float64, params)
    raw = [VOCAB.ids.get(c, f"word {c}") for c in source + target]
    x, y = raw[: len(source)], raw[len(source) :]
    ids = [one if isinstance(one, int) else UNK for one in [EOS, *x, len(VOCAB), *y]]

    def norm(p, a):
        return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5) * p["gain"] + p["shift"]

    def top(stack, rows):
        for k, layer in enumerate(stack["layers"]):
            inputs = norm(stack["norms"][k], rows) if config.layer_norm else rows
            start = jax.tree.map(np.asarray, CELLS[config.cell].start(1, config.size))
            hs = by_hand(config.cell, layer, start, inputs[:, None], np.zeros((len(inputs), 1), bool))[1][:, 0]
            rows = rows + hs if config.residual and k else hs
        return rows

    embedded = p["embedding"][ids]
    hs = top(p, embedded)
    n = len(x)
    back = top(p["back"], embedded[1 : n + 2][::-1])[1:][::-1]  # SEP first, then x from its end
    memory = np.concatenate([hs[1 : n + 1], back], -1)
    queries = hs[n + 1 :]
    if config.layer_norm:
        queries = norm(p["head"], queries)
    found, looked = [], []
    for q, gold in zip(queries, [*y, EOS], strict=True):
        if config.attention:
            scores = memory @ (q @ p["attention"])
            a = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            looked.append(a)
            q = np.tanh(np.concatenate([q, a @ memory]) @ p["join"]["W"] + p["join"]["b"])
        W = p["head"].get("W")
        if W is None:
            W = p["head"].get("P", np.eye(config.size)) @ p["embedding"][:TARGETS].T
        logits = q @ W + p["head"]["b"]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        writable = isinstance(gold, int) and gold < TARGETS
        written = probabilities[gold if writable else UNK]
        if config.copy:
            copied = sum(a[k] for k in range(n) if x[k] == gold)
            g = 1 / (1 + np.exp(-(q @ p["gate"]["W"] + p["gate"]["b"])[0]))
            written = g * (written if writable or not copied else 0) + (1 - g) * copied
        found.append(-np.log(written))
    return found, looked


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_the_nats_of_a_target_are_those_of_the_definition(options):
    config = replace(TINY, **options)
    params = random_params(config)
    for pair, nats in zip(PAIRS, by_column(config, params), strict=True):
        np.testing.assert_allclose(nats, by_definition(config, params, *pair)[0], rtol=2e-4, atol=2e-5)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize("cell", CELLS)
def test_pairs_in_one_column_do_not_see_each_other(cell):
    config = replace(TINY, cell=cell)
    params = random_params(config)
    together = by_column(config, params, rows=32)
    for pair, nats in zip(PAIRS, together, strict=True):
        np.testing.assert_allclose(nats, by_column(config, params, [pair])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_no_symbol_of_a_target_is_seen_before_it_is_written(options):
    """The gradient of each symbol's nats with respect to the vectors of symbols is 0 for itself and for those behind it."""
    config = replace(TINY, **options)
    params = random_params(config)
    data, _, batch = packed([("abc", "dcba")], rows=16)
    start = int(data.starts[0])
    n = int(data.sources[0])

    def nats(shift, k):
        def shifted(table, ids, precision):
            return table[ids] + shift

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(translating, "lookup", shifted)
            return translating.nats(config, "f32", params, batch.inputs, batch.targets, None)[k]

    for k in range(5):
        gradient = np.asarray(jax.grad(nats)(jnp.zeros((*batch.inputs.ids.shape, config.embedding)), k))
        reach, last = np.abs(gradient[:, 0]).max(-1), start + n + k  # the row after which target k is predicted
        assert (reach[start : last + 1] > 0).all()
        assert (reach[last + 1 :] == 0).all()


def test_the_layout_is_that_written_by_hand():
    data, block, batch = packed([("ab", "cz"), ("g", "a")], rows=16)
    separator, z = len(VOCAB), len(VOCAB) + 1
    assert data.stream.tolist() == [EOS, 2, 3, separator, 4, z, EOS, 8, separator, 2, EOS]
    assert (data.starts.tolist(), data.lengths.tolist(), data.sources.tolist()) == ([1, 7], [5, 3], [2, 1])
    assert batch.inputs.ids[:11, 0].tolist() == data.stream.tolist()
    assert np.flatnonzero(batch.inputs.source[:, 0]).tolist() == [1, 2, 7]
    assert np.flatnonzero(~batch.inputs.fresh[:, 0]).tolist() == [1, 2, 3, 4, 5, 7, 8, 9]
    columns = block.places.shape[1]
    assert (batch.inputs.at[:5] // columns).tolist() == [3, 4, 5, 8, 9]
    assert batch.targets.tolist()[:5] == [4, z, EOS, 2, EOS]
    assert batch.weights.tolist() == [1] * 5 + [0] * 5


@pytest.mark.parametrize("options", [{}, {"tie": True}, {"tie": True, "embedding": 4}], ids=["own", "tied", "projected"])
def test_smoothing_adds_the_nats_of_the_uniform_distribution(options):
    """(1 − ε) −ln p of the target + ε × its mean over all symbols that can be predicted (Szegedy et al. 2016)."""
    config = replace(TINY, dropout=0.0, **options)
    params = random_params(config)
    _, _, batch = packed([("abc", "dcba")])
    key = jax.random.key(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translating, "FORGOTTEN", 0.0)
        plain = translating.nats(config, "f32", params, batch.inputs, batch.targets, key)
        smooth = translating.nats(replace(config, smoothing=0.3), "f32", params, batch.inputs, batch.targets, key)
        every = [
            translating.nats(config, "f32", params, batch.inputs, np.full_like(batch.targets, symbol), key)
            for symbol in range(TARGETS)
        ]
    np.testing.assert_allclose(smooth, 0.7 * plain + 0.3 * np.mean(every, 0), rtol=1e-4)


def test_an_unknown_word_of_the_target_that_the_source_has_is_copied():
    """What copying cannot give, no weight of the network can: without it the target is UNK."""
    config = replace(TINY, copy=True)
    params = random_params(config)
    params["gate"]["b"][:] = -30.0  # all is copied
    found, looked = by_definition(config, params, "exbz", "z")
    assert by_column(config, params, [("exbz", "z")])[0][0] == pytest.approx(-np.log(looked[0][3]), rel=1e-4)
    assert found[0] == pytest.approx(-np.log(looked[0][3]))
