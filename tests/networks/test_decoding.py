"""The search for targets: a wide beam finds what trying all targets finds, and what is drawn has the model's probabilities."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import jax
import numpy as np
import pytest
from test_translating import random_params

from lmgen.applied import records, translator
from lmgen.applied.translator import Translator
from lmgen.data.vocab import UNK, Vocab
from lmgen.errors import InputError
from lmgen.networks import decoding
from lmgen.networks.translating import TranslatorConfig
from lmgen.structured import bitext
from lmgen.structured.pairs import Pair

VOCAB = Vocab("char", tuple("abcde"))
CONFIG = TranslatorConfig(len(VOCAB), "gru", size=6, embedding=5, targets=5)  # a, b and c can be written
SOURCES = ["abc", "d", "ebb", "za", "abcdeabcde"]


def model_of(config=CONFIG, seed=3, ends=2.0, unknown=-30.0):
    """A translator of random weights, whose targets are short and, unless they are said to be, without UNK."""
    params = random_params(config, seed)
    params["head"]["b"][:2] = ends, unknown
    return Translator(config, params, VOCAB)


def every_target(lm, source, longest=5):
    """All targets up to a length with their nats, the likeliest first."""
    texts = ["".join(text) for n in range(1, longest + 1) for text in product("abc", repeat=n)]
    nats = [one.nats for one in lm.score(Pair(source, text) for text in texts)]
    return sorted(zip(nats, texts, strict=True))


@pytest.mark.parametrize("copy", [False, True], ids=["written", "copied, too"])
@pytest.mark.parametrize("penalty", [0.0, 0.3])
def test_a_wide_beam_finds_the_best_of_all_targets(penalty, copy):
    lm = model_of(replace(CONFIG, copy=copy))
    for found in lm.predict(["abc", "cab"], beam=100, best=30, length_penalty=penalty):
        short = [one for one in (found, *found.others) if 1 <= len(one.text) <= 5]
        wanted = sorted((n / (len(text) + 1) ** penalty, text) for n, text in every_target(lm, found.source))
        assert len(short) >= 10
        texts = [text for _, text in wanted[: len(short)]]
        assert [one.text for one in short][:10] == texts[:10]
        np.testing.assert_allclose(
            [one.nats / (len(one.text) + 1) ** penalty for one in short][:10], [n for n, _ in wanted][:10], rtol=1e-4
        )


@pytest.mark.parametrize("options", [{}, {"attention": False}, {"copy": True}, {"layer_norm": True, "layers": 2}])
def test_the_nats_of_a_translation_are_those_of_its_score(options):
    lm = model_of(replace(CONFIG, **options))
    for beam in (1, 4):
        found = [one for one in lm.predict(SOURCES, beam=beam) if one.text and one.ended]
        scores = lm.score(Pair(one.source, one.text) for one in found)
        np.testing.assert_allclose([one.nats for one in found], [one.nats for one in scores], rtol=1e-4)


def test_greedy_takes_the_likeliest_symbol_each_time():
    lm = model_of()
    (found,) = lm.predict(["abc"])
    text = ""
    for symbol in found.text:
        nats = {c: next(lm.score([Pair("abc", text + c)])).symbols[len(text)][1] for c in "abc"}
        assert symbol == min(nats, key=nats.get)
        text += symbol


def test_a_wider_beam_never_scores_worse_where_nothing_is_pruned_by_length():
    lm = model_of()
    nats = [[one.nats for one in lm.predict(SOURCES, beam=beam, length_penalty=0.0)] for beam in (1, 50)]
    assert (np.array(nats[1]) <= np.array(nats[0]) + 1e-4).all()


def test_drawn_translations_come_as_often_as_they_are_likely():
    lm = model_of()
    texts = [one.text for one in lm.predict(["ab"] * 2000, temperature=1.0, seed=1)]
    counts, likely = Counter(texts), every_target(lm, "ab", 2)[:5]
    for nats, text in likely:
        p = np.exp(-nats)
        assert abs(counts[text] - 2000 * p) < 4.5 * np.sqrt(2000 * p * (1 - p))
    again = [one.text for one in lm.predict(["ab"] * 50, temperature=1.0, seed=1)]
    assert again != [one.text for one in lm.predict(["ab"] * 50, temperature=1.0, seed=2)]
    assert again == [one.text for one in lm.predict(["ab"] * 50, temperature=1.0, seed=1)]


def test_sources_are_translated_alone_as_together_and_in_order():
    lm = model_of()
    together = [*lm.predict(SOURCES, beam=3)]
    assert [one.source for one in together] == SOURCES
    for source, one in zip(SOURCES, together, strict=True):
        (alone,) = lm.predict([source], beam=3)
        assert alone.text == one.text
        assert alone.nats == pytest.approx(one.nats, rel=1e-4)
        assert one.weights.shape == (len(one.symbols) + 1, len(source))
        np.testing.assert_allclose(one.weights.sum(1), 1, rtol=1e-4)


def test_long_sources_are_read_few_at_a_time(monkeypatch):
    """What is kept of where each symbol looked grows with the square of the source, so its size is bounded."""
    shapes = []

    def decode(config, precision, params, inputs, search, key):
        rows, columns = inputs.ids.shape
        shapes.append(columns)
        assert columns == 1 or rows * columns * search.beam * search.longest <= translator.MOST
        return decoding.decode(config, precision, params, inputs, search, key)

    lm, sources = model_of(), ["abc", *("ab" * n for n in range(20, 25)), "d"]
    whole = [one.text for one in lm.predict(sources, beam=3)]
    monkeypatch.setattr(translator, "decode", decode)
    monkeypatch.setattr(translator, "MOST", 2 * 64 * 160 * 3)
    assert [one.text for one in lm.predict(sources, beam=3)] == whole
    assert shapes == [2, 2, 2, 2]


def test_a_column_without_a_source_writes_nothing():
    """Filler of a batch, which would otherwise be written on to the longest target."""
    lm = model_of(ends=-30.0)
    data = bitext.encode([("abc", ())], VOCAB)
    inputs = translator._right_aligned(data, np.array([0]), 16, 4)
    found = decoding.decode(CONFIG, "f32", lm.params, inputs, decoding.Search(beam=2, longest=12), jax.random.key(0))
    assert np.asarray(found.lengths).tolist() == [[12, 12], *[[0, 0]] * 3]
    assert np.asarray(found.ended)[1:].all()


def test_an_unknown_symbol_becomes_the_source_symbol_that_was_looked_at():
    lm = model_of(unknown=30.0)
    (found,) = lm.predict(["z"])
    assert set(found.text) == {"z"}
    plain = model_of(replace(CONFIG, attention=False), unknown=30.0)
    assert all("\N{REPLACEMENT CHARACTER}" not in one.text for one in plain.predict(SOURCES))


def test_a_word_that_cannot_be_written_is_copied():
    lm = model_of(replace(CONFIG, copy=True))
    lm.params["gate"]["b"][:] = -30.0
    (found,) = lm.predict(["zd"], beam=2)
    assert set(found.text) <= {"z", "d"}
    assert (
        found.nats
        == pytest.approx(
            -np.log([row[found.read.index(c)] for row, c in zip(found.weights, found.text, strict=False)]).sum(), rel=1e-3
        )
        or not found.ended
    )


def test_an_endless_translation_is_cut_and_says_so():
    lm = model_of(ends=-30.0)
    (found,) = lm.predict(["ab"])
    assert not found.ended
    assert len(found.text) > 20
    record = records.pairs(found, weights=True)
    assert not record["ended"]
    assert len(record["symbols"]) == len(record["weights"]) == len(found.text)  # there is no EOS, which would have looked, too


def test_a_blank_source_has_a_blank_translation():
    found = [*model_of(ends=-30.0).predict(["ab", "", "c"])]
    assert [bool(one.text) for one in found] == [True, False, True]
    assert [one.text for one in model_of().predict([""])] == [""]


@pytest.mark.parametrize("symbols", [4_000, 40_000, 140_000])
def test_too_long_a_source_is_a_sentence(symbols):
    with pytest.raises(InputError, match="too long to be read whole"):
        next(model_of().predict(["ab" * (symbols // 2)]))


def test_none_asks_for_what_came_before():
    lm, asked = model_of(), []

    def lines():
        for line in ("ab", None, "c"):
            asked.append(line)
            yield line

    found = lm.predict(lines())
    assert next(found).source == "ab"
    assert asked == ["ab", None]
    assert UNK not in asked
