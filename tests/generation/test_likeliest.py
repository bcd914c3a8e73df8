"""The likeliest texts against all texts, listed; two models mixed; the temperature that matches a surprise; receipts."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import islice, product

import numpy as np
import pytest
from test_conditional import LONGEST, MODELS, network

import lmgen as library
from lmgen.data.vocab import EOS, Vocab
from lmgen.errors import InputError
from lmgen.evaluation.scores import scores
from lmgen.generation import likeliest as search
from lmgen.generation.likeliest import likeliest
from lmgen.generation.mixture import mixture
from lmgen.generation.sampling import Sample, Settings, samples
from lmgen.generation.surprise import match

TEXTS = ["".join(letters) for n in range(LONGEST + 1) for letters in product("abc", repeat=n)]


def listed(lm, pattern: str = ".*", prompt: str = "") -> list[tuple[float, str]]:
    """All texts of at most LONGEST symbols that match, with their nats behind the prompt, the likeliest first."""
    fitting = [text for text in TEXTS if text.startswith(prompt) and re.fullmatch(pattern, text)]
    each = ([nats for _, nats in score.symbols] for score in scores(lm, fitting))
    return sorted((sum(nats[len(prompt) :]), text) for nats, text in zip(each, fitting, strict=True))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("asked", "pattern", "prompt"),
    [({}, ".*", ""), ({}, ".*", "ca"), ({"ends_with": "b", "length": "2:"}, ".+b", ""), ({"ban": "a"}, "[bc]*", "c")],
)
def test_the_likeliest_are_the_first_of_all_texts(model, asked, pattern, prompt):
    """In their order, with their nats; and the bound lies between the last one listed and the next."""
    lm, wanted = MODELS[model], Settings(**asked, max_length=LONGEST + 1 - len(prompt))
    expected = listed(lm, pattern, prompt)
    for count in (1, 7, 40):
        ranking = likeliest(lm, count, wanted, prompt)
        assert [one.text for one in ranking.found] == [text for _, text in expected[:count]]
        assert np.allclose([one.nats for one in ranking.found], [nats for nats, _ in expected[:count]], rtol=1e-4)
        assert ranking.whole
        assert expected[count - 1][0] - 1e-3 <= ranking.bound <= expected[count][0] + 1e-3


def test_where_all_are_listed_there_is_no_other():
    ranking = likeliest(MODELS["gru"], 100, Settings(matches="a?b?c?"))
    assert len(ranking.found) == 8
    assert ranking.whole
    assert ranking.bound == math.inf


@pytest.mark.parametrize("limit", [{"MOST_BEGINNINGS": 40}, {"MOST_MEMORY": 20_000}], ids=str)
def test_a_search_that_stops_early_says_what_it_proved(limit, monkeypatch):
    for name, value in limit.items():
        monkeypatch.setattr(search, name, value)
    lm = MODELS["lstm"]
    ranking = likeliest(lm, 500, Settings(max_length=LONGEST + 1), most=limit.get("MOST_BEGINNINGS", 10**9))
    expected = listed(lm)
    assert not ranking.whole
    assert [one.text for one in ranking.found] == [text for _, text in expected[: len(ranking.found)]]
    assert ranking.bound <= expected[len(ranking.found)][0] + 1e-3


def test_the_command_prints_the_likeliest_and_the_bound(lmgen, model_path):
    code, out, err = lmgen("top", model_path, 5, "--starts-with", "ba", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [one["text"] for one in found] == [one.text for one in library.load(model_path).top(5, starts_with="ba").found]
    assert all(math.isclose(one["probability"], math.exp(-one["nats"])) for one in found)
    bound = float(re.fullmatch(r"no other text has a probability above ([\d.e-]+)\n", err)[1])
    assert bound <= found[-1]["probability"] * 1.01
    code, out, err = lmgen("top", model_path, 9, "--matches", "ba|bi")
    assert (code, len(out.splitlines()), err) == (0, 2, "there is no other text\n")
    assert lmgen("top", model_path, 0)[0] == 2
    assert "knows no '9'" in lmgen("top", model_path, "--contains", "9")[2]


# ---- mixtures ----------------------------------------------------------------------------------------------------------


def test_a_mixture_is_the_mean_of_the_probabilities():
    """Of each symbol given those before it; for networks and n-grams beside each other."""
    one, other = MODELS["gru"], MODELS["n-grams"]
    both = mixture(one, other, 0.3)
    window = np.array([[EOS, EOS], [2, 3], [4, 4], [EOS, 2]])
    parts = [np.exp(-np.asarray(lm.nats(lm.start(2), window)[1])) for lm in (one, other, both)]
    np.testing.assert_allclose(0.7 * parts[0] + 0.3 * parts[1], parts[2], rtol=1e-4)


@pytest.mark.parametrize(("weight", "model"), [(0.0, "gru"), (1.0, "n-grams")])
def test_a_weight_of_0_or_1_is_one_model_alone(weight, model):
    both = mixture(MODELS["gru"], MODELS["n-grams"], weight)
    alone = [one.text for one in islice(samples(MODELS[model], Settings(ends_with="b"), 3), 20)]
    assert [one.text for one in islice(samples(both, Settings(ends_with="b"), 3), 20)] == alone


def test_models_that_cannot_be_mixed_are_refused():
    one = MODELS["gru"]
    with pytest.raises(InputError, match="do not have the same symbols"):
        mixture(one, replace(one, vocab=Vocab("char", tuple("abd"))), 0.5)
    with pytest.raises(InputError, match="carries its state"):
        mixture(one, network(carry=True), 0.5)


def test_two_models_write_on_the_command_line(lmgen, model_path, words_file, tmp_path):
    library.train(words_file, cell="ngram", order=3, output=tmp_path / "trigrams")
    drawn = library.load(model_path).mixed(tmp_path / "trigrams", 0.25).sample(6, seed=1)
    words = ["-n", 6, "--seed", 1, "--with"]
    assert lmgen("sample", model_path, *words, f"{tmp_path / 'trigrams'}:0.25")[1].splitlines() == [one.text for one in drawn]
    for wrong, sentence in (("trigrams:1.5", "1 at most"), ("nowhere", "nowhere"), (":", "")):
        code, out, err = lmgen("sample", model_path, *words, wrong)
        assert code in (2, 3)
        assert not out
        assert sentence in err


# ---- surprise and receipts ---------------------------------------------------------------------------------------------


def test_the_temperature_that_matches_is_found_by_bisection():
    """Where samples have T² nats per symbol, that of 1.44 nats is 1.2."""
    found = match(lambda temperature: [Sample("a", 2 * temperature**2, 2, True)], 1.44)
    assert found.temperature == pytest.approx(1.2, rel=1e-3)
    assert found.samples == pytest.approx(1.44, rel=1e-2)
    with pytest.raises(InputError, match=r"no temperature from 0\.2 to 3\.0"):
        match(lambda temperature: [Sample("a", 1.0, 1, True)], 1.44)


def test_samples_at_that_temperature_are_as_surprising_as_held_out_text(lmgen, model_path):
    model = library.load(model_path)
    found = model.match_surprise(seed=1)
    drawn = model.sample(400, seed=2, temperature=found.temperature)
    assert sum(one.nats for one in drawn) / sum(one.symbols for one in drawn) == pytest.approx(found.held_out, rel=0.1)
    assert found.held_out == pytest.approx(model.evaluate().nats_per_symbol, rel=1e-4)
    code, out, err = lmgen("sample", model_path, "-n", 4, "--seed", 1, "--match-surprise")
    assert code == 0
    assert out.splitlines() == [one.text for one in model.sample(4, seed=1, temperature=found.temperature)]
    assert err.startswith(f"temperature {found.temperature}: samples have ")
    assert "leave out --temperature" in lmgen("sample", model_path, "--match-surprise", "-t", "0.5")[2]


def test_a_receipt_draws_the_same_samples(lmgen, model_path, tmp_path):
    words = ["-n", 5, "--starts-with", "b", "--length", "3:9", "--novel", "--receipt", "r.json"]
    code, out, _ = lmgen("sample", model_path, *words)
    assert code == 0
    assert lmgen("verify", "r.json") == (0, out, "5 samples are as in the receipt\n")
    assert lmgen("verify", "r.json", model_path)[:2] == (0, out)
    assert "and nothing is overwritten" in lmgen("sample", model_path, *words)[2]


def test_what_differs_from_a_receipt_is_said(lmgen, model_path, words_file, tmp_path):
    assert lmgen("sample", model_path, "-n", 3, "--receipt", "r.json")[0] == 0
    content = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps({**content, "samples": [*content["samples"][:2], "0"]}))
    code, out, err = lmgen("verify", "r.json")
    assert (code, out) == (1, "")
    assert "sample 3 of 3 is not that of the receipt: the models and versions are the same, so the receipt was edited" in err
    older = {**content, "samples": ["0"], "versions": {**content["versions"], "jax": "0.1"}}
    (tmp_path / "r.json").write_text(json.dumps(older))
    assert "sample 1 of 1 is not that of the receipt: jax was 0.1 and is" in lmgen("verify", "r.json")[2]
    library.train(words_file, cell="ngram", order=2, output=tmp_path / "other")
    code, _, err = lmgen("verify", "r.json", tmp_path / "other")
    assert code == 2
    assert "is not the model of the receipt (sha256" in err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 9999,
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": 1, "models": [3], "precision": "f32", "versions": {}, "options": {}, "samples": []}',
    ],
)
def test_what_is_no_receipt_is_a_sentence(lmgen, tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    code, out, err = lmgen("verify", "r.json")
    assert (code, out) == (2, "")
    assert "is no receipt of lmgen sample --receipt" in err
    assert lmgen("verify", "missing.json")[0] == 2


@pytest.mark.parametrize(
    "wrong", [{"temperature": "hot"}, {"unheard": 1}, {"seed": -1}, {"matches": "("}, {"with_weight": 3}, {"label": "x"}]
)
def test_a_receipt_with_options_that_cannot_be_is_a_sentence(lmgen, model_path, tmp_path, wrong):
    lmgen("sample", model_path, "-n", 1, "--receipt", "r.json")
    content = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps({**content, "options": {**content["options"], **wrong}}))
    code, out, _ = lmgen("verify", "r.json")
    assert (code, out) in ((2, ""), (0, out) if wrong == {"with_weight": 3} else (2, ""))
