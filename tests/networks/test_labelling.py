"""The network that labels equals a tagger and a classifier written in NumPy, one sequence at a time, in float64.

Shapes: T time, B batch, N cell size, L labels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from equations import by_hand
from lmgen.data.vocab import EOS, UNK
from lmgen.labelled import packing, spelling
from lmgen.labelled.packing import Packing
from lmgen.networks import labelling, words
from lmgen.networks.labelling import LabelConfig, inputs_of, nats
from lmgen.networks.words import Spelt
from lmgen.nn import model, native
from lmgen.nn.cells import CELLS

WORDS = ("the", "cat", "sat", "on", "mats", "of", "Taipei-2")
OTHERS = ("dogs", "Cat")  # not in the vocabulary: ids beyond it
V = 2 + len(WORDS)
TINY = LabelConfig(V, "lstm", size=6, embedding=5, direction="both", labels=("x", "y", "z"), tags=("A", "B"), words=V)
LETTERS = spelling.hashed(["", "", *WORDS, *OTHERS])
network = jax.jit(labelling.logits, static_argnums=(0, 1))
SEQUENCES = [[2, 3, 4], [5], [8, 9, 2, 3, 6, 7, 10, 4], [3, 3], [UNK, 4, 9], [2, 3, 4, 5, 6, 7, 8]]


def random_params(config, seed=0):
    """Weights of normal size everywhere, the biases too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(labelling.init, config), jax.random.key(0))
    return jax.tree.map(lambda a: rng.normal(0, 0.3, a.shape).astype(np.float32), shapes)


def stream_of(sequences):
    lengths = np.array([*map(len, sequences)], np.int32)
    stream = np.array([EOS, *(id for one in sequences for id in [*one, EOS])], np.int32)
    return stream, 1 + np.cumsum(lengths + 1) - (lengths + 1), lengths


def packed(sequences, rows=12):
    """All sequences in columns of some rows: the stream and the block."""
    stream, starts, lengths = stream_of(sequences)
    columns = packing.best_fit(lengths, rows)
    return stream, packing.block(columns, starts, lengths, rows, len(columns) + 1, len(sequences) + 2)


def by_column(config, params, sequences, precision="f32", rows=12):
    """The logits of each sequence, from columns that hold several."""
    stream, block = packed(sequences, rows)
    found = network(config, precision, params, inputs_of(stream, block, Spelt(LETTERS if config.hashed else None)))
    parts = {}
    for slot, k in enumerate(block.of):
        if k >= 0:
            place = slice(block.first[slot], block.last[slot] + 1), block.column[slot]
            parts[int(k)] = {name: np.asarray(array[place] if name == "tags" else array[slot]) for name, array in found.items()}
    return [parts[k] for k in range(len(sequences))]


def by_definition(config, params, ids):
    """The logits of one sequence alone, from EOS to EOS, with every formula written out."""
    p = jax.tree.map(np.float64, params)
    ids = np.array([EOS, *ids, EOS])
    E = p["embedding"][np.where(ids < config.words, ids, UNK)]
    if config.hashed:
        for row, id in zip(E, ids, strict=True):
            buckets = LETTERS[id][LETTERS[id] >= 0]
            row += p["letters"][buckets].sum(0) / np.sqrt(max(1, len(buckets)))
    if config.vectors:
        E = np.concatenate([E, p["vectors"][np.where(ids < config.vocab, ids, UNK)]], 1)

    def norm(p, a):
        return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5) * p["gain"] + p["shift"]

    def top(stack, inputs):
        a = inputs
        for k, layer in enumerate(stack["layers"]):
            start = jax.tree.map(np.asarray, CELLS[config.cell].start(1, config.size))
            read = norm(stack["norms"][k], a) if config.layer_norm else a
            hs = by_hand(config.cell, layer, start, read[:, None], np.zeros((len(a), 1), bool))[1][:, 0]
            a = a + hs if config.residual and k else hs
        return a

    hs = top(p, E)
    if config.direction == "both":
        hs = np.concatenate([hs, top(p["back"], E[::-1])[::-1]], 1)
    hs = (norm(p["heads"]["norm"], hs) if config.layer_norm or CELLS[config.cell].normalises else hs)[1:-1]
    last = np.concatenate([hs[-1, : config.size], hs[0, config.size :]])
    pooled = {"last": [last], "mean": [hs.mean(0)], "both": [last, hs.mean(0)]}[config.pool]
    heads = {"tags": hs, "labels": np.concatenate(pooled)}
    return {name: a @ p["heads"][name]["W"] + p["heads"][name]["b"] for name, a in heads.items()}


def assert_as_defined(config, precision="f32", **tolerance):
    params = random_params(config)
    for found, ids in zip(by_column(config, params, SEQUENCES, precision), SEQUENCES, strict=True):
        wanted = by_definition(config, params, ids)
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], **({"atol": 1e-5, "rtol": 1e-5} | tolerance))


# ---- the definition ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("cell", CELLS)
def test_logits_are_those_of_the_definition_for_every_cell(cell, direction):
    """Packed with others: neither the sequences beside it nor those in its column nor what is left over is seen."""
    assert_as_defined(replace(TINY, cell=cell, direction=direction))


VARIANTS = {
    "last": {"pool": "last"},
    "mean": {"pool": "mean"},
    "last, forward": {"pool": "last", "direction": "forward"},
    "mean, forward": {"pool": "mean", "direction": "forward"},
    "hashing": {"hashed": True},
    "hashing, fewer words": {"hashed": True, "words": 5},
    "vectors": {"vectors": 4, "words": 6},
    "hashing and vectors": {"hashed": True, "vectors": 3, "words": 5},
    "deep": {"layers": 3, "residual": True, "layer_norm": True},
    "deep, forward": {"layers": 3, "residual": True, "layer_norm": True, "direction": "forward"},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_logits_are_those_of_the_definition_for_every_input_and_pool(changes):
    assert_as_defined(replace(TINY, **changes))


@pytest.mark.skipif(not native.kind("f32"), reason="the compiled kernels do not run here")
@pytest.mark.parametrize("cell", native.CELLS)
def test_compiled_kernels_have_the_gradient_of_the_plain_loop(cell, monkeypatch):
    """Of all parameters, through both directions, two layers and both heads; the logits are those of the definition."""
    config = replace(TINY, cell=cell, size=32, layers=2)
    assert_as_defined(config)
    stream, block = packed(SEQUENCES)
    inputs, weights = inputs_of(stream, block, Spelt()), np.random.default_rng(3).normal(size=(12, block.places.shape[1], 2))

    @jax.grad
    def slope(params):
        found = labelling.logits(config, "f32", params, inputs)
        return (found["tags"] * weights).sum() + found["labels"][: len(SEQUENCES)].sum()

    compiled = slope(random_params(config))
    monkeypatch.setattr(native, "serves", lambda *_: False)
    plain = slope(random_params(config))
    for one, other in zip(jax.tree.leaves(compiled), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max() + 1e-7)


@pytest.mark.few("cell", "lstm", "gru", "transformer")
@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_has_the_same_logits_in_any_company(cell):
    """Alone, packed tightly, or packed loosely."""
    config = replace(TINY, cell=cell)
    params = random_params(config)
    tight, loose = (by_column(config, params, SEQUENCES, rows=rows) for rows in (10, 30))
    alone = [by_column(config, params, [ids])[0] for ids in SEQUENCES]
    for parts in zip(tight, loose, alone, strict=True):
        for name in ("tags", "labels"):
            for other in parts[1:]:
                np.testing.assert_allclose(parts[0][name], other[name], atol=1e-5, rtol=1e-5)


def test_a_network_has_the_heads_of_its_names_alone():
    for changes, heads in (({"tags": ()}, {"labels"}), ({"labels": ()}, {"tags"})):
        config = replace(TINY, **changes)
        assert labelling.init(config, jax.random.key(0))["heads"].keys() == heads
        assert by_column(config, random_params(config), SEQUENCES)[0].keys() == heads


# ---- what it sees ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "seen"), [("forward", [1, 2]), ("both", [1, 2, 3, 4])])
def test_a_tag_depends_on_its_own_sequence_alone(direction, seen):
    """By gradient, in one column: on no other sequence; from the left, on nothing behind it."""
    config = replace(TINY, direction=direction, labels=(), vocab=20, words=20)
    params = random_params(config)
    sequences = [[2, 3], [4, 5, 6, 7], [8, 9, 10]]
    stream, starts, lengths = stream_of(sequences)
    block = packing.block([[0, 1, 2]], starts, lengths, 16, 1, 3)
    inputs = inputs_of(stream, block, Spelt())
    row = int(block.first[1]) + 1

    @jax.grad
    def slope(params):
        return labelling.logits(config, "f32", params, inputs)["tags"][row, 0].sum()

    moved = np.flatnonzero(np.asarray(slope(params)["embedding"]).any(1))
    assert [id for id in moved.tolist() if id != EOS] == [sequences[1][k - 1] for k in seen]


@pytest.mark.parametrize("pool", ["last", "mean", "both"])
def test_a_label_depends_on_every_symbol_of_its_sequence_and_on_no_other(pool):
    config = replace(TINY, pool=pool, tags=(), vocab=20, words=20)
    stream, starts, lengths = stream_of([[2, 3], [4, 5, 6, 7], [8, 9, 10]])
    block = packing.block([[0, 1, 2]], starts, lengths, 16, 1, 3)

    @jax.grad
    def slope(params):
        return labelling.logits(config, "f32", params, inputs_of(stream, block, Spelt()))["labels"][1, 0]

    moved = np.flatnonzero(np.asarray(slope(random_params(config))["embedding"]).any(1))
    assert [id for id in moved.tolist() if id != EOS] == [4, 5, 6, 7]


def test_an_unknown_word_is_read_as_unk_and_by_its_letters_where_it_has_any():
    for hashed in (False, True):
        config = replace(TINY, hashed=hashed)
        params = random_params(config)
        unknown, dogs, cat = (by_column(config, params, [[2, id, 3]])[0]["tags"] for id in (UNK, V, V + 1))
        assert np.allclose(unknown, dogs) == np.allclose(dogs, cat) == (not hashed)


def test_some_symbols_are_read_as_unk_in_training_and_none_after_it():
    """About a tenth, and never EOS: by an embedding whose rows are one-hot."""
    config = replace(TINY, vocab=40, words=40, embedding=40, dropout=0.0)
    params = {**random_params(config), "embedding": np.eye(40, dtype=np.float32)}
    ids = np.random.default_rng(0).integers(2, 40, (50, 60))
    ids[0] = EOS
    inputs = labelling.Inputs(ids, ids, *(np.zeros(1, np.int32),) * 3)
    assert (np.asarray(words.embedded(config, "f32", params, inputs, None)).argmax(-1) == ids).all()
    read = np.asarray(words.embedded(config, "f32", params, inputs, jax.random.key(0))).argmax(-1)
    changed = read != ids
    assert set(read[changed].tolist()) == {UNK}
    assert not changed[0].any()
    assert changed[1:].mean() == pytest.approx(words.FORGOTTEN, abs=0.02)


# ---- the loss ----------------------------------------------------------------------------------------------------------


def test_nats_are_those_of_the_definition():
    """Of one label among several, and the sum over labels that are independent."""
    logits = np.random.default_rng(0).normal(0, 3, (4, 7, 5)).astype(np.float32)
    chosen = np.random.default_rng(1).integers(0, 5, (4, 7))
    p = np.exp(np.float64(logits))
    wanted = -np.log(np.take_along_axis(p / p.sum(-1, keepdims=True), chosen[..., None], -1))[..., 0]
    np.testing.assert_allclose(nats(logits, jax.numpy.asarray(chosen)), wanted, rtol=1e-5)
    holds = np.random.default_rng(2).random((4, 7, 5)) < 0.4
    yes = 1 / (1 + np.exp(-np.float64(logits)))
    np.testing.assert_allclose(nats(logits, jax.numpy.asarray(holds)), -np.log(np.where(holds, yes, 1 - yes)).sum(-1), rtol=1e-5)


def test_nats_of_logits_beyond_the_exponential_are_finite():
    logits = np.array([[200.0, -200.0]], np.float32)
    assert float(nats(logits, jax.numpy.array([1]))[0]) == pytest.approx(400)
    assert float(nats(logits, jax.numpy.array([[False, True]]))[0]) == pytest.approx(400)


def test_fresh_parameters_are_drawn_from_the_key_and_vectors_wait_to_be_given():
    config = replace(TINY, hashed=True, vectors=3, layer_norm=True)
    one, same, other = (labelling.init(config, jax.random.key(seed)) for seed in (0, 0, 1))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, same))
    assert not np.array_equal(one["heads"]["tags"]["W"], other["heads"]["tags"]["W"])
    assert not np.array_equal(one["layers"][0]["W"], one["back"]["layers"][0]["W"])
    assert not np.asarray(one["vectors"]).any()
    assert model.parameters(one) == sum(a.size for a in jax.tree.leaves(random_params(config)))


def test_letters_of_a_block_are_those_of_its_own_words():
    """Few rows of letters are looked up, whatever the size of the vocabulary; their number is a power of two."""
    stream, starts, lengths = stream_of(SEQUENCES)
    block = Packing(starts, lengths, 1000, 0)[0]
    plain, hashed = (inputs_of(stream, block, Spelt(letters)) for letters in (None, LETTERS))
    np.testing.assert_array_equal(hashed.words[hashed.ids], plain.ids)
    np.testing.assert_array_equal(hashed.buckets, LETTERS[hashed.words])
    assert len(hashed.words) == 16


@pytest.mark.parametrize("hashed", [False, True])
def test_a_word_without_an_id_has_the_vector_of_its_lower_case_and_its_own_letters(hashed):
    """Where vectors were made elsewhere: those of GloVe are of words in lower case."""
    symbols = ("in", "oslo")
    config = replace(TINY, vocab=4, words=3, vectors=3, hashed=hashed)
    params = random_params(config)
    read = words.spelt(config, symbols, ["Oslo", "In", "Rome"])
    ids = np.array([[2, 3, 4, 5, 6]])
    inputs = words.inputs_of(ids, read)
    packed = labelling.Inputs(inputs[0], *(np.zeros((1, 5), np.int32),) * 4, *inputs[1:])
    found = np.asarray(words.embedded(config, "f32", params, packed, None))[0]
    own, made = found[:, : config.embedding], found[:, config.embedding :]
    assert np.array_equal(made, params["vectors"][[2, 3, 3, 2, UNK]])
    buckets = spelling.hashed(["", "", *symbols, "Oslo", "In", "Rome"])
    spelt = np.asarray(words.vectors(params["letters"], buckets[2:])) if hashed else 0
    np.testing.assert_allclose(own, params["embedding"][[2, UNK, UNK, 2, UNK]] + spelt, atol=1e-6)
    assert words.spelt(replace(config, vectors=0), symbols, ["Oslo"]).alike is None
