"""Completions: the text of lmgen sample, whatever else is asked for at the time; judged, cut and streamed as clients expect."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from clients import events, joined, message

import lmgen
from lmgen.data.vocab import EOS

SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 0},
    {"top_k": 3, "top_p": 0.9},
    {"min_p": 0.1, "unknown": True},
    {"typical": 0.6},
    {"repetition_penalty": 3},
]


def texts(answer):
    return [choice["text"] for choice in answer["choices"]]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_seed_gives_the_text_of_lmgen_sample(complete, model, settings):
    for prompt in ("", "ba"):
        theirs = model.sample(5, prompt=prompt, seed=7, max_length=40, **settings)
        answer = complete(prompt=prompt, seed=7, n=5, max_tokens=40, echo=True, **settings)
        assert texts(answer) == [one.text for one in theirs]
        assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop" if one.ended else "length" for one in theirs]
        assert answer["usage"]["completion_tokens"] == sum(one.symbols for one in theirs)


def test_a_seed_gives_the_same_text_alone_and_among_many_others(complete):
    """Requests of all settings at once, each several times, come and go beside each other."""
    asked = [
        {"seed": seed, "n": 1 + seed % 3, "prompt": "bado"[: seed % 5], "max_tokens": 5 + 20 * (seed % 4), **settings}
        for seed in range(6)
        for settings in SETTINGS
    ]
    alone = [texts(complete(**body)) for body in asked]
    with ThreadPoolExecutor(24) as pool:
        assert [*pool.map(lambda body: texts(complete(**body)), asked * 2)] == alone * 2


def test_without_a_seed_texts_differ(complete):
    assert len({text for _ in range(5) for text in texts(complete(n=8))}) > 8


def test_prompts_are_a_text_or_ids_or_several(complete, model):
    ids = model.lm.vocab.encode("ba").tolist()
    one = texts(complete(prompt="ba", seed=3, n=2))
    assert texts(complete(prompt=ids, seed=3, n=2)) == one
    assert texts(complete(prompt=["ba", "ba"], seed=3, n=2)) == one * 2
    assert texts(complete(prompt=[ids, [EOS, *ids]], seed=3, n=2)) == one * 2
    assert texts(complete(prompt=["<EOS>ba", "\nba"], seed=3, n=2)) == one * 2


def test_a_stop_cuts_the_text_of_the_seed(complete, model):
    """Whether it is one symbol or several, in one event or over two, and not in the prompt."""
    whole = texts(complete(prompt="ba", seed=1, n=20))
    for stop in ("a", ["ki", "o"], "tu", "☃"):
        found = texts(complete(prompt="ba", seed=1, n=20, stop=stop))
        marks = [stop] if isinstance(stop, str) else stop
        assert found == [one.text[2:] for one in model.sample(20, prompt="ba", seed=1, stop=stop)]
        assert found == [text[: min((at for m in marks if (at := text.find(m)) >= 0), default=len(text))] for text in whole]
    assert found == whole


def test_all_symbols_of_an_echoed_prompt_are_judged(complete, model):
    """As lm-evaluation-harness asks: a symbol more than the prompt has, the first without a number, and each number that of
    lmgen score. The likeliest symbol has the number of the symbol itself where it is that."""
    for text in ("ba", "bada", "dimimimimimo" * 9):
        ids = [EOS, *model.lm.vocab.encode(text).tolist()]
        (choice,) = complete(prompt=[ids], echo=True, logprobs=1, max_tokens=1, temperature=0)["choices"]
        found = choice["logprobs"]
        assert all(len(entry) == len(ids) + 1 for entry in found.values())
        assert found["tokens"][: len(ids)] == ["<EOS>", *text]
        assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
        nats = [nats for _, nats in model.score(text).symbols][: len(text)]
        np.testing.assert_allclose(found["token_logprobs"][1:-1], np.negative(nats), rtol=1e-4, atol=1e-5)
        for log_p, top in zip(found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True):
            assert max(top.values()) >= log_p
            assert log_p in top.values()
        assert max(top.values()) == log_p  # temperature 0 takes the likeliest


def test_alternatives_are_the_likeliest_symbols(complete, model):
    found = complete(prompt="ba", echo=True, logprobs=5, max_tokens=0)["choices"][0]["logprobs"]
    lm = model.lm
    _, logits = lm.read(lm.start(1), np.array([[EOS], lm.vocab.encode("b")]))
    log_p = np.asarray(jax.nn.log_softmax(logits[-1, 0]))
    names = ["<EOS>", lm.vocab.spell(1), *lm.vocab.symbols]
    best = {names[k]: float(log_p[k]) for k in np.argsort(-log_p)[:5]}
    expected = best | {"a": float(log_p[lm.vocab.encode("a")[0]])}
    assert found["top_logprobs"][1] == pytest.approx(expected, rel=1e-5)


def test_offsets_are_the_places_of_the_tokens(complete):
    for echo in (False, True):
        (choice,) = complete(prompt="ba\nba", echo=echo, logprobs=0, seed=2)["choices"]
        logprobs = choice["logprobs"]
        for token, at in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
            assert token == "<EOS>" or choice["text"][at:].lstrip("\n").startswith(token)
        assert (choice["text"][:5] == "ba\nba") == echo


@pytest.mark.parametrize("judged", [None, 2])
@pytest.mark.parametrize("stop", [None, "o", ["kik", "mi"]], ids=str)
def test_a_stream_is_the_whole_answer_in_parts(client, complete, judged, stop):
    body = {"prompt": ["ba", "di"], "seed": 4, "n": 3, "echo": True, "logprobs": judged, "stop": stop}
    whole = complete(**body)
    with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        parts = events(answer.read().decode())
    for choice in whole["choices"]:
        text, logprobs, finish = joined(parts, choice["index"])
        assert (text, finish) == (choice["text"], choice["finish_reason"])
        assert logprobs == choice["logprobs"]
    assert len({part["id"] for part in parts}) == 1


def test_a_stream_ends_with_the_usage_if_it_is_asked_for(client):
    body = {"seed": 4, "stream": True, "max_tokens": 3, "stream_options": {"include_usage": True}}
    *_, last = events(client.post("/v1/completions", json=body).text)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] <= 3


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"foo": 1}, "there is no field 'foo'"),
        ({"\ud83d": 1}, "there is no field"),
        ({"model": "\ud83d"}, "there is no model"),
        ({"temprature": 1}, "did you mean temperature?"),
        ({"temperature": -1}, "temperature: -1.0 cannot be used: give 0 or more"),
        ({"temperature": "hot"}, "temperature: 'hot' is not a number"),
        ({"n": True}, "n: True is not a whole number"),
        ({"prompt": [[-1]]}, "give a text, or ids from 0 to"),
        ({"prompt": [True]}, "cannot be used"),
        ({"prompt": ["a", 1]}, "cannot be used"),
        ({"prompt": [1.0]}, "cannot be used"),
        ({"prompt": {}}, "cannot be used"),
        ({"suffix": "x"}, "no such setting"),
        ({"frequency_penalty": 1}, "no such setting"),
        ({"lines": 2}, "no use for lines"),
        ({"label": "x"}, "cannot write by label"),
        ({"seed": -1}, "seed: -1 cannot be used"),
        ({"stop": ["a"] * 17}, "a list of 16 at most"),
        ({"stop": ""}, "is in every text"),
        ({"stop": {}}, "stop: {} cannot be used"),
        ({"stream_options": []}, "stream_options"),
    ],
    ids=ascii,
)
def test_what_cannot_be_used_is_refused_in_a_sentence(client, body, why):
    answer = client.post("/v1/completions", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (400, 404)
    assert why in message(answer)


def test_what_asks_for_nothing_is_accepted(complete):
    neutral = {"user": "x", "best_of": 1, "suffix": None, "frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}}
    assert texts(complete(seed=1, **neutral)) == texts(complete(seed=1))


def test_models_are_named(served, model, tmp_path):
    (tmp_path / "ab.txt").write_text("ab ba\nba ab\n" * 50)
    ngram = lmgen.train(tmp_path / "ab.txt", output=tmp_path / "ab", cell="ngram", order=3)
    client = served({"words": model, "ab": ngram})
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["words", "ab"]
    assert client.get("/v1/models/ab").json()["network"] == "ngram of order 3"
    answer = client.post("/v1/completions", json={"model": "ab", "seed": 5, "n": 4, "logprobs": 1}).json()
    assert answer["model"] == "ab"
    assert texts(answer) == [one.text for one in ngram.sample(4, seed=5)]
    missing = client.post("/v1/completions", json={"model": "nix"})
    assert missing.status_code == 404
    assert "the models are words, ab" in message(missing)
    assert client.get("/v1/models/nix").status_code == 404


def test_running_text_has_lines(served, tmp_path):
    (tmp_path / "text.txt").write_text("one two\nthree four\n" * 40)
    small = {"steps": 5, "size": 8, "embedding": 4, "batch": 4, "window": 8, "precision": "f32"}
    model = lmgen.train(tmp_path / "text.txt", output=tmp_path / "model", carry=True, **small)
    client = served({"text": model})
    (one,) = model.sample(1, seed=3, prompt="one", lines=4, max_length=200)
    answer = client.post("/v1/completions", json={"seed": 3, "prompt": "one", "lines": 4, "max_tokens": 200, "echo": True})
    assert texts(answer.json()) == [one.text]
