"""Measuring: totals divided once, the same whatever the batch and the window, against models whose values are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmgen
from lmgen.data import corpus
from lmgen.data.reading import Text
from lmgen.data.vocab import EOS, UNK, Vocab
from lmgen.errors import InputError
from lmgen.evaluation import scores
from lmgen.models import scoring
from lmgen.models.capabilities import Generates
from lmgen.models.recurrent import Recurrent
from lmgen.nn.model import NetworkConfig


class Bigram(Generates):
    """A language model that anyone can check: a table of p(next | last); its state is not needed."""

    carry = False

    def __init__(self, vocab: Vocab, table: np.ndarray):
        self.vocab, self.table = vocab, jnp.asarray(np.log(table), jnp.float32)

    def start(self, batch):
        return jnp.zeros((batch, 1))

    def nats(self, state, window):
        return state, -self.table[window[:-1], window[1:]]


@pytest.fixture
def ab(tmp_path) -> tuple[Vocab, corpus.Ids]:
    """The text ab, a over the symbols a and b."""
    path = tmp_path / "ab.txt"
    path.write_text("ab\na\n")
    vocab = Vocab("char", ("a", "b"))
    return vocab, corpus.encode(iter(Text([path])), vocab)


def test_a_uniform_model_has_perplexity_v(ab):
    vocab, ids = ab
    measures = scores.measure(Bigram(vocab, np.full((4, 4), 0.25)), ids)
    assert measures.perplexity == pytest.approx(4, rel=1e-6)
    assert measures.bits_per_character == pytest.approx(2, rel=1e-6)


def test_a_bigram_model_gets_its_value_worked_by_hand(ab):
    """EOS a b EOS a EOS: p = 1/2, 1/4, 1/8, 1/2, 1/4, so 9 bits over 5 symbols, 5 characters, 5 bytes."""
    vocab, ids = ab
    a, b = 2, 3
    table = np.full((4, 4), 1e-3)
    table[EOS, a], table[a, b], table[b, EOS], table[a, EOS] = 1 / 2, 1 / 4, 1 / 8, 1 / 4
    measures = scores.measure(Bigram(vocab, table), ids)
    assert (measures.symbols, measures.characters, measures.bytes, measures.unknown) == (5, 5, 5, 0)
    assert measures.nats == pytest.approx(9 * math.log(2), rel=1e-6)
    assert measures.perplexity == pytest.approx(2 ** (9 / 5), rel=1e-6)
    assert measures.bits_per_byte == pytest.approx(9 / 5, rel=1e-6)


def test_unknown_symbols_are_scored_and_counted_apart(tmp_path):
    """EOS é EOS: the unknown é costs 3 bits, EOS after it 1; without it 1 bit over one symbol. Bytes are those of the text."""
    path = tmp_path / "e.txt"
    path.write_text("é\n", "utf-8")
    vocab = Vocab("char", ("a",))
    ids = corpus.encode(iter(Text([path])), vocab)
    table = np.full((3, 3), 0.5)
    table[EOS, UNK] = 1 / 8
    measures = scores.measure(Bigram(vocab, table), ids)
    assert (measures.symbols, measures.unknown, measures.characters, measures.bytes) == (2, 1, 2, 3)
    assert measures.nats == pytest.approx(4 * math.log(2), rel=1e-6)
    assert measures.perplexity_known == pytest.approx(2, rel=1e-6)
    assert measures.bits_per_byte == pytest.approx(4 / 3, rel=1e-6)


def test_a_network_without_preferences_has_perplexity_v(model_path, words_file):
    model = lmgen.load(model_path)
    blank = jax.tree.map(jnp.zeros_like, model.lm.params["head"])
    model.lm = replace(model.lm, params={**model.lm.params, "head": blank})
    assert model.evaluate(words_file).perplexity == pytest.approx(len(model.lm.vocab), rel=1e-6)


@pytest.mark.parametrize("carry", [False, True])
def test_neither_batch_nor_window_changes_the_result(model_path, words_file, carry):
    """To six digits, and equal to reading symbol by symbol; the network is one trained on single lines, read in both ways."""
    model = lmgen.load(model_path, precision="f32")
    model.lm = replace(model.lm, config=replace(model.lm.config, carry=carry))
    ids = corpus.encode(iter(Text([words_file])), model.lm.vocab)
    loop, state = 0.0, model.lm.start(1)
    for now, following in zip(ids.stream[:-1], ids.stream[1:], strict=True):
        state, logits = model.lm.read(state, jnp.full((1, 1), now, jnp.int32))
        loop -= float(jax.nn.log_softmax(logits[0, 0])[int(following)])
    for batch in (1, 7, 64):
        for window in (1, 17, 256):
            assert scores.measure(model.lm, ids, batch, window).nats == pytest.approx(loop, rel=5e-7), (batch, window)


def test_a_memory_that_never_fades_is_still_measured_exactly():
    """A model whose prediction depends on the first symbol of the text for ever: no column may start in ignorance of it."""
    stream = np.array([EOS, *([2, 3] * 500), EOS], np.uint16)

    class Remembers(Generates):
        vocab, carry = Vocab("char", ("a", "b")), True

        def start(self, batch):
            return jnp.zeros(batch, jnp.int32)

        def nats(self, state, window):
            rows = []
            for now in window[1:]:
                rows.append(jnp.where(state == 2, 1.0, 7.0))
                state = jnp.where(state == 0, now, state)
            return state, jnp.stack(rows)

    nats = scoring.stream_nats(Remembers(), stream, batch=8, window=16)
    assert nats.tolist() == [7.0] + [1.0] * 1000


def test_the_whole_is_the_sum_of_its_lines(model_path, words_file):
    model = lmgen.load(model_path)
    lines = words_file.read_text().split()
    scores = list(model.score(lines))
    assert sum(s.nats for s in scores) == pytest.approx(model.evaluate(words_file).nats, rel=1e-6)
    assert [s.text for s in scores] == lines
    assert all(s.nats == pytest.approx(sum(n for _, n in s.symbols), rel=1e-6) for s in scores)
    assert all("".join(spelt for spelt, _ in s.symbols) == s.text for s in scores)


def test_a_carried_score_goes_on_from_the_line_before(model_path):
    """score(a then b) = score(a) + score(b given a), however the lines are grouped."""
    model = lmgen.load(model_path, precision="f32")
    model.lm = replace(model.lm, config=replace(model.lm.config, carry=True))
    lines = ["bade", "kimo", "", "suno"] * 20
    together = [s.nats for s in model.score(lines)]
    stream = np.concatenate([[EOS], *(part for line in lines for part in (model.lm.vocab.encode(line), [EOS]))])
    assert sum(together) == pytest.approx(float(scoring.stream_nats(model.lm, stream).sum(dtype=np.float64)), rel=1e-6)
    assert together[0] != pytest.approx(together[4], rel=1e-6)


def test_scores_are_those_of_a_network_in_float64(model_path):
    """The LSTM and its head by their equations in NumPy, symbol by symbol: each to six digits."""
    model = lmgen.load(model_path, precision="f32")
    params = jax.tree.map(np.float64, model.lm.params)
    (layer,), head = params["layers"], params["head"]

    def σ(a):
        return 1 / (1 + np.exp(-a))

    lines = ["bade", "kimosuno", "", "xyz"]
    for line, score in zip(lines, model.score(lines), strict=True):
        ids = [EOS, *model.lm.vocab.encode(line).tolist(), EOS]
        h = c = np.zeros(model.lm.config.size)
        for now, following, (_, nats) in zip(ids, ids[1:], score.symbols, strict=False):
            i, f, o, g = np.split(params["embedding"][now] @ layer["W"] + h @ layer["U"] + layer["b"], 4)
            c = σ(f) * c + σ(i) * np.tanh(g)
            h = σ(o) * np.tanh(c)
            logits = h @ head["W"] + head["b"]
            wanted = np.log(np.exp(logits).sum()) - logits[following]
            if following != UNK:  # whose spelling is added to its nats
                assert nats == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_texts_like_the_corpus_are_likelier_than_shuffled_ones(model_path, words_file, tmp_path):
    model = lmgen.load(model_path)
    shuffled = tmp_path / "shuffled.txt"
    draw = np.random.default_rng(0)
    shuffled.write_text("".join("".join(draw.permutation(list(w))) + "\n" for w in words_file.read_text().split()))
    assert model.evaluate(words_file).nats < model.evaluate(shuffled).nats


def test_without_files_the_held_out_text_is_measured(model_path):
    model = lmgen.load(model_path)
    assert model.evaluate().nats_per_symbol == pytest.approx(model.lm.provenance.about["valid_nats"], rel=1e-6)


def test_a_text_without_final_line_end_has_one_character_less(model_path, tmp_path):
    Path(tmp_path / "a").write_text("bade\nki\n")
    Path(tmp_path / "b").write_text("bade\nki")
    a, b = (lmgen.load(model_path).evaluate(tmp_path / name) for name in "ab")
    assert (a.symbols, a.characters, a.nats) == (8, 8, b.nats)
    assert (b.symbols, b.characters) == (8, 7)


def test_memory_that_does_not_show_for_a_while_still_counts():
    """An LSTM of one unit: "a" writes, "b" does nothing, "c" shows. What is hidden for whole windows must reach the end."""
    config = NetworkConfig(5, "lstm", size=1, embedding=3, carry=True)
    embedding = np.zeros((5, 3), np.float32)
    embedding[2, 0] = embedding[4, 2] = 1
    gates = np.array([[40, 0, 0, 10], [0, 0, 0, 0], [0, 0, 60, 0]], np.float32)  # i f o g
    layer = {"W": gates, "U": np.zeros((1, 4), np.float32), "b": np.array([-20, 20, -30, 0], np.float32)}
    head = {"W": np.array([[5, 0, 0, 0, -5]], np.float32), "b": np.zeros(5, np.float32)}
    lm = Recurrent(config, {"embedding": embedding, "layers": [layer], "head": head}, Vocab("char", tuple("abc")))
    stream = np.array([EOS, 2, *[3] * 60, 4, 4], np.int32)
    alone = scoring.stream_nats(lm, stream, batch=1)
    for batch, window in ((2, 8), (4, 4), (64, 2)):
        np.testing.assert_allclose(scoring.stream_nats(lm, stream, batch, window), alone, rtol=1e-5)


def test_validation_reads_carried_text_in_columns_to_many_digits(model_path, words_file):
    """The quick way of training, against the exact one."""
    model = lmgen.load(model_path)
    lm = replace(model.lm, config=replace(model.lm.config, carry=True))
    stream = corpus.encode(iter(Text([words_file])), lm.vocab).stream
    quick, exact = (scoring.stream_nats(lm, stream, 8, 64, exact=e).sum(dtype=np.float64) for e in (False, True))
    assert quick == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("wrong", [{"window": -1}, {"window": 0}, {"batch": 0}, {"batch": 1.5}, {"window": "9"}, {"batch": True}])
def test_windows_and_batches_that_mean_nothing_are_refused(model_path, words_file, wrong):
    model = lmgen.load(model_path)
    with pytest.raises(InputError, match=r"give 1 or more|is not a whole number"):
        model.evaluate(words_file, **wrong)
    with pytest.raises(InputError, match=r"give 1 or more|is not a whole number"):
        scores.measure(model.lm, model.source(words_file).ids, cold=True, **wrong)
