"""Networks and n-grams that predict together: against the formula in float64, and in every way that a model is read."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import CheckpointError
from lmgen.generation import compiled, sampling
from lmgen.models import mixed, ngram, ngramtree, scoring
from lmgen.models.mixed import Mixed
from lmgen.models.provenance import Provenance
from lmgen.models.recurrent import Recurrent
from lmgen.nn import model, native
from lmgen.nn.model import NetworkConfig
from lmgen.system import arrayfile, checkpoint
from lmgen.training import counting

LETTERS = "abcd"
VOCAB = Vocab("char", tuple(LETTERS))
TEXT = ["abab", "abcab", "dab", "abba", "cab", "bad", "abab", "dcba", "abc", "bb"]
lines = st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=12)


def stream_of(sequences: list[str]) -> np.ndarray:
    return np.concatenate([[EOS], *([*VOCAB.encode(s), EOS] for s in sequences)]).astype(np.int64)


def network(seed: int = 0, carry: bool = False, **shape) -> Recurrent:
    config = NetworkConfig(vocab=len(VOCAB), **{"size": 8, "embedding": 4, "layers": 1, "carry": carry, **shape})
    params = jax.tree.map(lambda a: 3 * a, model.init(config, jax.random.key(seed)))  # far from uniform
    return Recurrent(config, params, VOCAB, "f32", Provenance(about={"valid_nats": 2.0}))


def mixture(order: int = 3, networks: int = 1, carry: bool = False, **shape) -> Mixed:
    ngrams = counting.fitted(stream_of(TEXT), None, VOCAB, carry, order).lm
    weights = np.linspace(0.2, 0.9, order).astype(np.float32)
    parts = [network(seed, carry, **shape) for seed in range(networks)]
    return Mixed(parts, ngrams, weights, Provenance(about={"valid_nats": 1.5}))


def by_formula(lm: Mixed, stream: np.ndarray) -> np.ndarray:
    """−ln p of each symbol: Σ over the parts, a symbol at a time in float64; a context is known if the text has it."""
    text, n = stream_of(TEXT).tolist(), len(lm.weights)
    states, at, found = [one.start(1) for one in lm.networks], lm.ngrams.start(1), []
    for k, (id, following) in enumerate(itertools.pairwise(stream)):
        reads = [one.read(state, np.array([[id]], np.int32)) for one, state in zip(lm.networks, states, strict=True)]
        states = [after for after, _ in reads]
        p = np.mean([np.exp(np.float64(z[0, 0])) / np.exp(np.float64(z[0, 0])).sum() for _, z in reads], 0)[following]
        at, log_q = lm.ngrams.read(at, np.array([[id]]))
        past = stream[: k + 1].tolist()
        if not lm.carry:
            past = past[len(past) - 1 - past[::-1].index(EOS) :]
            past = [EOS] if past == [EOS] else past
        known = 0
        for length in range(1, min(n, len(past) + 1)):
            context = past[-length:]
            if not lm.carry and EOS in context[1:]:
                break
            places = [i for i in range(len(text) - length) if text[i : i + length] == context]
            known = length if places or length == 1 else known
        weight = float(lm.weights[known])
        found.append(-np.log(weight * np.exp(float(log_q[0, 0, following])) + (1 - weight) * p))
    return np.array(found)


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize(("order", "networks"), [(1, 1), (2, 1), (4, 1), (3, 3)])
def test_the_nats_are_those_of_the_formula(order, networks, carry):
    lm, stream = mixture(order, networks, carry), stream_of(["abad", "dacb", "", "cc"])
    found = scoring.stream_nats(lm, stream, batch=3, window=4)
    np.testing.assert_allclose(found, by_formula(lm, stream), rtol=2e-4, atol=1e-5)


@pytest.mark.few("order", 3)
@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize(("order", "networks"), [(1, 1), (4, 1), (3, 2)])
def test_all_ways_to_read_agree(order, networks, carry):
    lm, stream = mixture(order, networks, carry), stream_of(["abad", "dacb"]).astype(np.int32)
    window = np.stack([stream, stream[::-1]], 1)
    _, log_p = lm.read(lm.start(2), window[:-1])
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, atol=1e-5)
    _, nats = lm.nats(lm.start(2), window)
    np.testing.assert_allclose(-np.take_along_axis(np.asarray(log_p), window[1:, :, None], -1)[..., 0], nats, atol=1e-4)
    weights, step = lm.stepper()
    state = lm.start(2)
    for row, expected in zip(window[:-1], log_p, strict=True):
        state, found = step(weights, state, row)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@given(lines, lines)
@settings(max_examples=5, deadline=None)
@pytest.mark.parametrize(("order", "carry"), [(1, False), (2, True), (5, False), (4, True)])
def test_the_tree_reads_as_the_keys_do(order, carry, train, test):
    lm = counting.fitted(stream_of(train), None, VOCAB, carry, order).lm
    if not all(len(level.keys) for level in lm.levels):
        return
    tree, stream = ngramtree.tree_of(lm.levels), stream_of(test).astype(np.int32)
    step, nodes = jax.jit(ngramtree.stepper(ngramtree.most_children(tree), carry)), lm.start(1).astype(np.int32)
    tree = jax.tree.map(jax.numpy.asarray, tree)
    state, expected = lm.read(lm.start(1), stream[:, None])
    for k, id in enumerate(stream):
        nodes, log_p = step(tree, nodes, np.array([id]))
        np.testing.assert_allclose(log_p[0], expected[k, 0], atol=1e-5)
    np.testing.assert_array_equal(nodes, state)


def test_rare_ngrams_are_left_out_and_their_probability_goes_to_shorter_ones():
    counts = ngram.Counts(stream_of(TEXT), len(VOCAB), False)
    whole, cut = (ngram.smoothed(counts, 4, least) for least in (1, 2))
    assert [len(level.keys) for level in cut[1:]] == [int((level.raw >= 2).sum()) for level in counts.upto(4)[1:]]
    assert sum(len(level.keys) for level in cut) < sum(len(level.keys) for level in whole)
    assert ngram.longer(counts, 4, 2) == sum(len(level.keys) for level in cut[1:])
    lm = ngram.NGramModel(ngram.NGramConfig(len(VOCAB), 4), cut, VOCAB)
    _, log_p = lm.read(lm.start(1), stream_of(TEXT)[:, None])
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, atol=1e-5)


def test_at_most_so_many_ngrams_are_kept():
    lm = counting.fitted(stream_of(TEXT), None, VOCAB, False, 4, most=12).lm
    assert sum(len(level.keys) for level in lm.levels[1:]) <= 12
    assert [*lm.levels[0].keys] == [*range(len(VOCAB))]


# ---- the weights -------------------------------------------------------------------------------------------------------


def test_the_weights_by_length_are_the_best_with_what_was_seen_before():
    rng = np.random.default_rng(0)
    nats, other, lengths = rng.exponential(2, 200), rng.exponential(2, 200), rng.integers(0, 3, 200)
    lengths[lengths == 1] = 0
    found = mixed.weights_by_length(nats, other, lengths, 3)
    single = mixed.mixing_weight(nats, other)
    grid = np.linspace(0.0005, 0.9995, 1000)
    for k, weight in enumerate(found):
        some = lengths == k
        costs = [
            mixed.mixed_nats(nats[some], other[some], w).sum() - mixed.PRIOR * (single * np.log(w) + (1 - single) * np.log(1 - w))
            for w in grid
        ]
        assert abs(weight - grid[np.argmin(costs)]) < 2e-3
    assert found[1] == pytest.approx(single, abs=1e-4)  # a length that never occurs


def test_a_model_that_is_always_worse_gets_no_weight():
    nats, other = np.full(5, 3.0), np.full(5, 1.0)
    assert mixed.mixing_weight(nats, other) == 0
    assert [*mixed.weights_by_length(nats, other, np.zeros(5, int), 2)] == pytest.approx([0, 0], abs=1e-6)


# ---- the compiled sampler ----------------------------------------------------------------------------------------------


@pytest.mark.few("cell", "lstm")
@pytest.mark.parametrize("cell", native.CELLS)
@pytest.mark.parametrize("shape", [{}, {"layers": 2, "layer_norm": True, "residual": True}])
@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("networks", [1, 3])
def test_the_kernels_write_what_the_loop_writes(cell, shape, carry, networks, monkeypatch):
    if not native.kind("f32"):
        pytest.skip("the compiled kernels do not run here")
    lm = mixture(4, networks=networks, carry=carry, cell=cell, **shape)
    assert compiled.weights(lm)
    how = sampling.Settings(max_length=70, temperature=0.9, top_k=5, lines=3 if carry else None)

    def drawn() -> list[sampling.Sample]:
        found = sampling.samples(lm, how, 3, "ab")
        return [next(found) for _ in range(20)]

    by_kernels = drawn()
    monkeypatch.setattr(compiled, "weights", lambda lm: None)
    by_loop = drawn()
    assert [one.text for one in by_kernels] == [one.text for one in by_loop]
    np.testing.assert_allclose([one.nats for one in by_kernels], [one.nats for one in by_loop], rtol=1e-4)
    for one in by_kernels[:5]:
        prompt = scoring.stream_nats(lm, stream_of(["ab"]))[:2].sum()
        if one.ended and not carry:
            assert scoring.stream_nats(lm, stream_of([one.text])).sum() - prompt == pytest.approx(one.nats, rel=1e-3)


# ---- the file ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A model directory with parts, written by hand."""
    lm = mixture(3, networks=2)
    mixed.write(tmp_path, lm, 1.5)
    return tmp_path, lm


def test_a_file_gives_the_same_model(folder):
    path, lm = folder
    found = mixed.with_parts(path, lm.network)
    assert isinstance(found, Mixed)
    assert len(found.networks) == 2
    assert found.provenance.about["valid_nats"] == 1.5
    stream = stream_of(["abad", "dacb"])
    np.testing.assert_array_equal(scoring.stream_nats(found, stream), scoring.stream_nats(lm, stream))


def test_parts_of_another_network_are_refused(folder):
    path, _ = folder
    with pytest.raises(CheckpointError, match=r"of another network.*--no-mixture"):
        mixed.with_parts(path, network(7))


CHANGES = {
    "a weight above 1": {"weights": np.array([0.1, 0.2, 1.5], np.float32)},
    "a weight that is no number": {"weights": np.array([0.1, 0.2, np.nan], np.float32)},
    "too few weights": {"weights": np.zeros(2, np.float32)},
    "weights of 64 bits": {"weights": np.zeros(3)},
    "no weights": {"weights": None},
    "an array of no part": {"networks/2/embedding": np.zeros(3, np.float32)},
    "a part with a strange name": {"../x": np.zeros(3, np.float32)},
    "keys out of range": {"ngrams/1/keys": np.array([2**63], np.uint64)},
    "no n-grams of an order": {
        f"ngrams/2/{name}": np.zeros(0, t) for name, t in (("keys", "u8"), ("log_p", "f4"), ("backoff", "f4"))
    },
    "a network of another shape": {"networks/1/embedding": np.zeros((3, 3), np.float32)},
    "a network with NaN": {"networks/1/head/b": np.full(len(VOCAB), np.nan, np.float32)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_damaged_parts_are_refused(folder, change):
    path, lm = folder
    arrays, about = arrayfile.read_arrays(path / checkpoint.MIXTURE, "mixture")
    changed = {name: a for name, a in {**arrays, **change}.items() if a is not None}
    arrayfile.write_arrays(path / checkpoint.MIXTURE, "mixture", changed, about)
    with pytest.raises(CheckpointError):
        mixed.with_parts(path, lm.network)


@pytest.mark.parametrize("field", ["order", "networks", "network", "valid_nats", "network_nats", "ngrams", "times"])
@pytest.mark.parametrize("value", [None, -1, 10**9, "x", [], float("nan")])
def test_strange_metadata_are_refused(folder, field, value):
    path, lm = folder
    arrays, about = arrayfile.read_arrays(path / checkpoint.MIXTURE, "mixture")
    fine = {"valid_nats": (int, float), "network_nats": (int, float), "ngrams": (int,), "times": (int, float)}
    if isinstance(value, fine.get(field, ())) and value == value and (value > 0 or field.endswith("nats")):
        return
    arrayfile.write_arrays(path / checkpoint.MIXTURE, "mixture", arrays, {**about, field: value})
    with pytest.raises(CheckpointError):
        mixed.with_parts(path, lm.network)


def test_a_flipped_bit_is_found(folder):
    path, lm = folder
    file = path / checkpoint.MIXTURE
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged"):
        mixed.with_parts(path, lm.network)
