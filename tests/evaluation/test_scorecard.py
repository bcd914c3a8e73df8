"""What makes figures honest: spelling, intervals, cold windows, baselines on the same bytes, overlap, mixtures."""

from __future__ import annotations

import json
import lzma
import math
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import lmgen
from lmgen.cli.main import cli
from lmgen.data import corpus
from lmgen.data.reading import Text, whole
from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import InputError
from lmgen.evaluation import scores
from lmgen.models import scoring
from lmgen.models.mixed import mixed_nats, mixing_weight
from lmgen.training import counting

SMALL = {"steps": 2, "size": 6, "embedding": 4, "batch": 2, "window": 8, "precision": "f32"}


def written(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def made(tmp_path):
    """A training text, a text to measure that shares two lines with it, and an n-gram model."""
    rng = np.random.default_rng(0)
    words = ["ana", "bela", "cleo", "dora", "ella", "fee"]
    lines = sorted({"".join(rng.choice(words, 3)) for _ in range(90)})
    train, test = written(tmp_path / "train.txt", lines[:60]), written(tmp_path / "test.txt", [*lines[60:], *lines[:2]])
    valid = written(tmp_path / "valid.txt", lines[50:60])
    return lmgen.train(train, valid=valid, cell="ngram", order=2, output=tmp_path / "two"), train, test


# ---- spelling ----------------------------------------------------------------------------------------------------------


def test_unknown_symbols_pay_for_their_bytes(tmp_path):
    vocab = Vocab("word", ("ab", "b"))
    ids = corpus.encode(iter(Text([written(tmp_path / "t.txt", ["ab é é b", "b"])])), vocab)
    # The vocabulary spells a once, b twice and ends twice; one more for each of 257: 262 in all. é is two bytes that it lacks.
    cost = 2 * (2 * math.log(262 / 1) + math.log(262 / 3))
    assert scores.spelling_nats(ids, vocab) == pytest.approx(cost)
    assert np.exp(-scores.spelling_code(vocab)).sum() == pytest.approx(1)


def test_the_mark_of_the_corpus_is_told_by_a_bit(tmp_path):
    path = written(tmp_path / "t.txt", ["ab <unk> zz <unk>"])
    vocab = Vocab("word", ("ab",), "<unk>")
    ids = corpus.encode(iter(Text([path])), vocab)
    assert (ids.unknown, ids.marked) == (3, 2)
    code = scores.spelling_code(vocab)
    assert scores.spelling_nats(ids, vocab) == pytest.approx(3 * math.log(2) + 2 * code[ord("z")] + code[256])


def test_a_small_vocabulary_cannot_cheat(made, tmp_path):
    _, train, test = made
    few = lmgen.train(train, cell="ngram", order=1, vocab_size=4, output=tmp_path / "few").evaluate(test)
    every = lmgen.train(train, cell="ngram", order=1, output=tmp_path / "every").evaluate(test)
    assert few.bits_per_byte < every.bits_per_byte
    assert few.spelt_bits_per_byte > every.spelt_bits_per_byte


# ---- intervals ---------------------------------------------------------------------------------------------------------


def test_the_interval_holds_the_mean_as_often_as_it_says():
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 9, 150)
        stream = np.concatenate([[EOS], *(np.append(np.full(n, 2), EOS) for n in lengths)])
        level = np.repeat(rng.normal(2, 0.5, len(lengths)), lengths + 1)  # what a sequence costs is alike within it
        low, high = scores.interval_of(level + rng.normal(0, 0.1, len(level)), stream, carry=False)
        held.append(low < 2 < high)
    assert 0.90 <= np.mean(held) <= 0.99


def test_intervals_need_enough_blocks_and_are_always_the_same():
    nats = np.random.default_rng(0).normal(2, 1, 256 * 19 + 256)
    stream = np.full(len(nats) + 1, 2)
    assert scores.interval_of(nats[: 256 * 19], stream[: 256 * 19 + 1], carry=True) is None
    found = scores.interval_of(nats, stream, carry=True)
    assert found == scores.interval_of(nats, stream, carry=True)
    assert found[0] < nats.mean() < found[1]


# ---- windows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["ngram", "gru"])
def test_windows_start_cold_whatever_the_batch(tmp_path, cell):
    path = written(tmp_path / "t.txt", ["abcab", "bca", "cab" * 9] * 3)
    extra = {"order": 3} if cell == "ngram" else SMALL
    lm = lmgen.train(path, cell=cell, carry=True, output=tmp_path / "m", **extra).lm
    stream = corpus.encode(iter(Text([path])), lm.vocab).stream.astype(np.int32)
    slow = []
    for first in range(0, len(stream) - 1, 7):
        window = stream[first : first + 8, None]
        slow += np.asarray(lm.nats(lm.start(1), window)[1])[:, 0].tolist()
    for batch in (1, 3, 64):
        np.testing.assert_allclose(scoring.stream_nats(lm, stream, batch, 7, cold=True), slow, rtol=1e-5, atol=1e-5)


# ---- baselines and overlap ---------------------------------------------------------------------------------------------


def test_baselines_are_fitted_on_the_training_text_and_scored_on_the_same_bytes(made):
    model, train, test = made
    (source,) = model.sources(test)
    card = model.judge().card(source)
    found = {b.name: b for b in card.baselines}
    one = counting.fitted(corpus.encode(iter(Text([train])), model.lm.vocab).stream, None, model.lm.vocab, False, 1).lm
    wanted = scores.measure(one, source.ids)
    assert found["unigram"].nats_per_symbol == pytest.approx(wanted.nats_per_symbol)
    assert found["unigram"].bits_per_byte == pytest.approx(wanted.spelt_bits_per_byte)
    grown = len(zlib.compress(train.read_bytes() + test.read_bytes(), 9)) - len(zlib.compress(train.read_bytes(), 9))
    assert found["gzip, primed"].bits_per_byte == pytest.approx(8 * grown / test.stat().st_size)
    assert 0 < found["xz, primed"].bits_per_byte < 8 * len(lzma.compress(test.read_bytes())) / test.stat().st_size
    assert (card.overlap.known, card.overlap.sequences) == (2, len(test.read_text().split()))


def test_a_text_that_stands_in_the_training_text_overlaps_and_costs_least(made, tmp_path):
    model, train, test = made
    mixed_up = written(tmp_path / "mixed.txt", ["".join(sorted(line)) for line in test.read_text().split()])
    cards = [model.judge().card(source) for source in model.sources(train, test, mixed_up)]
    assert cards[0].overlap.share == 1
    nats = [card.measures.nats_per_symbol for card in cards]
    assert nats == sorted(nats)


def test_held_out_text_of_the_corpus_itself(tmp_path):
    rng = np.random.default_rng(0)
    lines = sorted({"".join(rng.choice(["an", "be", "ci", "do"], 5)) for _ in range(700)})
    path = written(tmp_path / "t.txt", lines)
    model = lmgen.train(path, cell="ngram", output=tmp_path / "m")
    judge = model.judge()
    card = judge.card(judge.held_out())
    assert card.overlap.known == 0
    assert card.measures.nats == pytest.approx(model.evaluate().nats)
    kept = {*whole(judge.origin.training())}, {*whole(judge.origin.held_out())}
    assert kept[0] | kept[1] == set(lines)
    assert not kept[0] & kept[1]


def test_without_the_training_text_the_measures_stand_alone(made, tmp_path):
    _model, train, test = made
    train.unlink()
    run = CliRunner().invoke(cli, ["eval", str(tmp_path / "two"), str(test)])
    assert run.exit_code == 0
    assert "no baselines" in run.stdout
    assert "nats per symbol" in run.stdout
    assert isinstance(CliRunner().invoke(cli, ["eval", str(tmp_path / "two")]).exception, InputError)


# ---- mixtures ----------------------------------------------------------------------------------------------------------

nats_of = st.lists(st.tuples(st.floats(0.01, 20), st.floats(0.01, 20)), min_size=1, max_size=30)


@given(nats_of)
@settings(max_examples=60, deadline=None)
def test_the_weight_is_the_best_there_is(pairs):
    a, b = np.array(pairs).T
    best = mixed_nats(a, b, mixing_weight(a, b)).sum()
    for weight in np.linspace(0, 1, 101):
        assert best <= mixed_nats(a, b, weight).sum() + 1e-4 * len(a)


def test_mixing_models_mixes_their_probabilities(made, tmp_path):
    model, train, test = made
    other = lmgen.train(train, valid=tmp_path / "valid.txt", cell="ngram", order=4, output=tmp_path / "four")
    run = CliRunner().invoke(cli, ["eval", str(tmp_path / "two"), str(test), "--with", str(tmp_path / "four"), "--json"])
    found = json.loads(run.stdout)
    (source,) = model.sources(test)
    a, b = (np.exp(-scoring.stream_nats(m.lm, source.ids.stream).astype(np.float64)) for m in (model, other))
    weight = found["weight"]
    assert found["nats"] == pytest.approx(-np.log(weight * a + (1 - weight) * b).sum(), rel=1e-5)
    valid = model.source(tmp_path / "valid.txt").ids
    assert weight == model.judge(other).weight(valid)


def test_models_that_cannot_be_mixed(made, tmp_path):
    model, train, _ = made
    words = lmgen.train(train, cell="ngram", unit="word", output=tmp_path / "words")
    with pytest.raises(InputError, match="different symbols"):
        model.judge(words)
    cloze = lmgen.train(train, direction="both", output=tmp_path / "cloze", **SMALL)
    with pytest.raises(InputError, match=r"a cloze network .*can be mixed"):
        model.judge(cloze)


# ---- the command -------------------------------------------------------------------------------------------------------


def test_the_scorecard_as_table_json_and_markdown(made, tmp_path):
    _, train, test = made
    words = ["eval", str(tmp_path / "two"), str(train), str(test)]
    shown = CliRunner().invoke(cli, words).stdout
    assert shown.count("this model") == 2
    assert "are in the training text" in shown
    objects = [json.loads(line) for line in CliRunner().invoke(cli, [*words, "--json"]).stdout.splitlines()]
    assert [o["file"] for o in objects] == [str(train), str(test)]
    assert objects[1]["baselines"][0]["name"] == "unigram"
    rows = CliRunner().invoke(cli, [*words, "--markdown"]).stdout.splitlines()
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert f"{objects[1]['nats_per_symbol']:.4f}" in rows[3]
    cold = json.loads(CliRunner().invoke(cli, [*words[:3], "--json", "--protocol", "windows", "--window", "3"]).stdout)
    assert cold["window"] == 3


@pytest.mark.parametrize(
    ("words", "message"), [(["--with", "x"], "name a FILE"), (["t.txt", "--valid", "v"], "give one of these")]
)
def test_wrong_usage_is_told(words, message):
    run = CliRunner().invoke(cli, ["eval", "m", *words])
    assert run.exit_code == 2
    assert message in run.stderr


def test_words_and_bytes_are_those_of_the_text(tmp_path):
    path = written(tmp_path / "t.txt", ["two  words", "é"])
    model = lmgen.train(path, cell="ngram", order=1, output=tmp_path / "m")
    m = model.evaluate(path)
    assert (m.words, m.bytes, m.characters) == (3, 14, 13)
    assert m.word_perplexity == pytest.approx(math.exp(m.nats / 3))
    assert m.byte_perplexity == pytest.approx(math.exp(m.nats / 14))


def test_origin_of_a_model_without_text(made, tmp_path):
    model, *_ = made
    model.lm.provenance.about["text_sha256"] = ""
    with pytest.raises(InputError, match="name a file"):
        _ = model.lm.origin
